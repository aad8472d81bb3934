//! The control plane: configuration, supervision, the admin listener. Its threads may block, allocate and log, and no
//! worker ever waits for them. It hands the data plane one immutable [`Snapshot`](crate::snapshot::Snapshot) after
//! another, and knows neither the engine nor the workers: `cli/run` wires them together.

pub mod admin;
pub mod config;
pub mod health;
pub mod memory;
pub mod prober;
pub mod supervisor;
