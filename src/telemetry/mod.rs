//! What is counted and how it is shown. Nothing here may block a worker.

pub mod histogram;
pub mod log;
pub mod prometheus;
pub mod stats;
pub mod timestamp;

pub use histogram::Histogram;
pub use stats::{ConfigStats, EndpointStats, ListenerStats, LogStats, RouteStats, UpstreamStats, WorkerStats};
