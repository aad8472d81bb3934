//! What is counted and logged, and how it is shown: counters as one table ([`stats`]), histograms, the access log, the
//! log of the program itself.
//!
//! Workers write here and are never blocked by it; the control plane reads. Nothing here knows what a listener or an
//! upstream is: those hold their counters and give them their names.

pub mod access_log;
pub mod histogram;
pub mod log;
pub mod prometheus;
pub mod stats;
pub mod timestamp;

pub use histogram::Histogram;
pub use stats::{
    ConfigStats, EndpointStats, ListenerStats, LogStats, ProbeStats, RouteStats, UdpStats, UpstreamStats, WorkerStats,
};
