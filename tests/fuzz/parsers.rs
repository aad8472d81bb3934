//! What reads bytes from outside, and what that needs of the rest: a small library under the program's own name, so that the
//! fuzzer is built, with its instrumentation, in seconds. Without engine, threads and admin pages.
#![allow(dead_code)]

#[path = "../../src/balancer/mod.rs"]
pub mod balancer;
#[path = "../../src/base/mod.rs"]
pub mod base;
#[path = "../../src/control/config/mod.rs"]
pub mod config;
#[path = "../../src/control/prober/dialogue/mod.rs"]
pub mod dialogue;
#[path = "../../src/health/mod.rs"]
pub mod health;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../src/router/mod.rs"]
pub mod router;
#[path = "../../src/snapshot.rs"]
pub mod snapshot;
#[path = "../../src/telemetry/mod.rs"]
pub mod telemetry;
#[path = "../../src/upstream/mod.rs"]
pub mod upstream;

/// As it is called in the program.
pub mod control {
    pub use super::config;
    pub mod prober {
        pub use crate::dialogue;
    }
}
