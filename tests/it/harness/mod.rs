//! What scenarios are written with: the gate (the program under test), origins behind it and clients before it.
//! Everything that waits has one generous limit, [`PATIENCE`]; no scenario measures time.

mod certificate;
mod client;
mod database;
mod datagram;
mod gate;
mod haproxy;
mod message;
mod namespace;
mod nginx;
mod origin;

pub use certificate::certificate;
pub use client::{Client, curl, try_curl};
pub use database::Database;
pub use datagram::{UdpClient, UdpOrigin, Unbound, dig};
pub use gate::{Engine, Gate, HEAD, RAW, WEB};
pub use haproxy::Haproxy;
pub use message::{Request, Response};
pub use namespace::Namespace;
pub use nginx::Nginx;
pub use origin::{Origin, closed_address, full_address};

use std::time::{Duration, Instant};

/// How long anything may take before a scenario fails: far more than it ever takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; fails the scenario when patience runs out.
#[track_caller]
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Makes a test for each engine out of each scenario named.
macro_rules! on_each_engine {
    ($($(#[$attribute:meta])* $scenario:ident),* $(,)?) => {
        mod uring {
            $(#[test] $(#[$attribute])* fn $scenario() { super::$scenario($crate::harness::Engine::Uring); })*
        }
        mod epoll {
            $(#[test] $(#[$attribute])* fn $scenario() { super::$scenario($crate::harness::Engine::Epoll); })*
        }
    };
}
pub(crate) use on_each_engine;
