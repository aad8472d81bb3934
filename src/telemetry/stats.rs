//! The counters of each thing that is counted. A worker writes its own shard; the admin listener reads all.

use super::Histogram;
use crate::base::{Counter, Gauge};

/// How many failure kinds can be told apart (`health::Failure` has fewer).
pub const FAILURE_KINDS_MAX: usize = 32;

#[derive(Debug, Default)]
pub struct ListenerStats {
    pub connections_accepted: Counter,
    pub connections_active: Gauge,
    pub connections_refused: Counter,
    pub connections_drained: Counter,
    pub accept_errors: Counter,
    pub requests: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    /// Failures before a route was chosen, by kind.
    pub failures: [Counter; FAILURE_KINDS_MAX],
}

#[derive(Debug, Default)]
pub struct RouteStats {
    pub requests: Counter,
    /// Responses sent, by class: 1xx at 0 ... 5xx at 4.
    pub responses: [Counter; 5],
    pub failures: [Counter; FAILURE_KINDS_MAX],
    /// From the first byte of the request head to the last byte of the response handed to the kernel.
    pub duration: Histogram,
}

#[derive(Debug, Default)]
pub struct UpstreamStats {
    pub requests: Counter,
    pub retries: Counter,
    pub connects: Counter,
    pub connect_failures: Counter,
    pub connect_duration: Histogram,
    /// From the last byte of the request head sent to the response head received.
    pub response_head_duration: Histogram,
}

#[derive(Debug, Default)]
pub struct EndpointStats {
    pub requests: Counter,
    pub requests_active: Gauge,
    pub failures: Counter,
    pub connects: Counter,
    pub connect_failures: Counter,
    pub connections_active: Gauge,
    pub connections_idle: Gauge,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
}

#[derive(Debug, Default)]
pub struct WorkerStats {
    pub connections_active: Gauge,
    pub connections_parked: Gauge,
    pub tasks_active: Gauge,
    pub tasks_panicked: Counter,
    pub snapshot_generation: Gauge,
    pub access_log_written: Counter,
    pub access_log_dropped: Counter,
    pub engine_turns: Counter,
    pub engine_completions: Counter,
    pub engine_receive_paused: Counter,
    pub engine_sends_stalled: Counter,
    pub engine_completion_overflows: Counter,
    pub engine_buffers_free: Gauge,
}
