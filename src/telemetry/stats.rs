//! Everything that is counted, as one table: field, kind, unit, help. The structs that workers write, the names, types
//! and help texts of `/metrics`, and `docs/metrics.md` all come from it. A counter exists first as a line here.
//!
//! A worker writes its own shard; the admin listener reads all of them (see [`crate::telemetry::prometheus`]). The
//! name of a metric is `ringgate_SUBJECT_FIELD` with `_seconds` for durations and `_total` for counters.

use super::Histogram;
use crate::base::{Counter, Gauge};

/// How many failure kinds can be told apart (`health::Failure` has fewer).
pub const FAILURE_KINDS_MAX: usize = 64;

/// One counter for each kind of failure, by its index.
#[derive(Debug)]
pub struct PerFailure([Counter; FAILURE_KINDS_MAX]);

impl Default for PerFailure {
    fn default() -> PerFailure {
        PerFailure(std::array::from_fn(|_| Counter::default()))
    }
}

impl std::ops::Deref for PerFailure {
    type Target = [Counter];
    fn deref(&self) -> &[Counter] {
        &self.0
    }
}

/// The values of the label `class`: the class of a status, 1xx at index 0.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a number does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up; starts at 0 with its subject.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of durations by `le`, their sum and their number.
    Histogram,
}

impl Kind {
    /// As `# TYPE` says it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// What a number counts. Base units only: no milliseconds, no kibibytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Seconds,
}

/// How a metric is shown and explained.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// One sentence.
    pub help: &'static str,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
}

/// A row of a table: a metric and where its number is in the struct.
#[derive(Clone, Copy, Debug)]
pub struct Row<S: 'static> {
    pub metric: Metric,
    pub read: Read<S>,
}

/// Where the number of a row is.
#[derive(Clone, Copy, Debug)]
pub enum Read<S: 'static> {
    Counter(fn(&S) -> &Counter),
    Gauge(fn(&S) -> &Gauge),
    /// A gauge in microseconds, shown in seconds.
    Span(fn(&S) -> &Gauge),
    Histogram(fn(&S) -> &Histogram),
    /// One counter for each failure kind, shown with the label `reason`.
    Failures(fn(&S) -> &[Counter]),
    /// One counter for each class of status, shown with the label `class`.
    Classes(fn(&S) -> &[Counter]),
}

/// A struct of counters that the table below has made.
pub trait Stats: Sized + 'static {
    /// What is counted, as a heading.
    const SUBJECT: &'static str;
    const TABLE: &'static [Row<Self>];
}

macro_rules! field {
    (counter) => {
        Counter
    };
    (gauge) => {
        Gauge
    };
    (span) => {
        Gauge
    };
    (histogram) => {
        Histogram
    };
    (failures) => {
        PerFailure
    };
    (classes) => {
        [Counter; CLASSES.len()]
    };
}
macro_rules! kind {
    (gauge) => {
        Kind::Gauge
    };
    (span) => {
        Kind::Gauge
    };
    (histogram) => {
        Kind::Histogram
    };
    ($counter:ident) => {
        Kind::Counter
    };
}
macro_rules! unit {
    (count) => {
        Unit::Count
    };
    (bytes) => {
        Unit::Bytes
    };
    (seconds) => {
        Unit::Seconds
    };
}
macro_rules! suffix {
    (gauge seconds) => {
        "_seconds"
    };
    (span seconds) => {
        "_seconds"
    };
    (gauge $unit:ident) => {
        ""
    };
    (histogram seconds) => {
        "_seconds"
    };
    ($counter:ident seconds) => {
        "_seconds_total"
    };
    ($counter:ident $unit:ident) => {
        "_total"
    };
}
macro_rules! labels {
    (failures $($label:literal)*) => { &[$($label,)* "reason"] };
    (classes $($label:literal)*) => { &[$($label,)* "class"] };
    ($kind:ident $($label:literal)*) => { &[$($label),*] };
}
macro_rules! read {
    (counter $field:ident) => {
        Read::Counter(|stats| &stats.$field)
    };
    (gauge $field:ident) => {
        Read::Gauge(|stats| &stats.$field)
    };
    (span $field:ident) => {
        Read::Span(|stats| &stats.$field)
    };
    (histogram $field:ident) => {
        Read::Histogram(|stats| &stats.$field)
    };
    (failures $field:ident) => {
        Read::Failures(|stats| &stats.$field)
    };
    (classes $field:ident) => {
        Read::Classes(|stats| &stats.$field)
    };
}

macro_rules! stats {
    ($($(#[$about:meta])* $name:ident = $subject:literal [$($label:literal)*] $rows:tt)*) => {
        $(stats!(@one $(#[$about])* $name $subject [$($label)*] $rows);)*
        /// Every metric of the table, subject by subject.
        pub fn described() -> Vec<(&'static str, Vec<Metric>)> {
            vec![$(($subject, $name::TABLE.iter().map(|row| row.metric).collect()),)*]
        }
    };
    (@one $(#[$about:meta])* $name:ident $subject:literal $labels:tt
        { $($field:ident: $kind:ident $unit:ident $help:literal;)* }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $name {
            $(#[doc = $help] pub $field: field!($kind),)*
        }
        impl Stats for $name {
            const SUBJECT: &'static str = $subject;
            const TABLE: &'static [Row<$name>] = &[$(Row {
                metric: Metric {
                    name: concat!("ringgate_", $subject, "_", stringify!($field), suffix!($kind $unit)),
                    kind: kind!($kind),
                    unit: unit!($unit),
                    help: $help,
                    labels: stats!(@labels $kind $labels),
                },
                read: read!($kind $field),
            },)*];
        }
    };
    (@labels $kind:ident [$($label:literal)*]) => { labels!($kind $($label)*) };
}

stats! {
    /// What one worker counts for one listener.
    ListenerStats = "listener" ["listener"] {
        connections_accepted: counter count "Connections of clients that were accepted.";
        connections_active: gauge count "Connections of clients that are open.";
        connections_refused: counter count "Connections that were not let in; the reason is in the failures.";
        connections_shed: counter count "Waiting connections closed because memory was short.";
        clients_uncounted: counter count "Connections let in although their client could not be counted.";
        keep_alive_ended: counter count "Last responses of keep-alive connections because of their number of requests or their age.";
        connections_drained: counter count "Connections that ended by themselves during a drain.";
        connections_cut: counter count "Connections cut off at the deadline of a drain.";
        proxy_headers: counter count "PROXY headers received that said who the client is.";
        accept_errors: counter count "Accepts that failed, for example for want of file descriptors.";
        requests: counter count "Requests received.";
        bytes_received: counter bytes "Bytes received from clients.";
        bytes_sent: counter bytes "Bytes sent to clients.";
        failures: failures count "Requests and connections that failed before a route was chosen, by reason.";
    }
    /// What one worker counts for one udp listener, beside the failures of the listener table.
    UdpStats = "udp" ["listener"] {
        flows_opened: counter count "Flows opened: one for each client address and port, until it is silent.";
        flows_active: gauge count "Flows that are open.";
        flows_expired: counter count "Flows ended by silence.";
        flows_answered: counter count "Flows ended because every reply that was to come (`replies`) had come.";
        flows_refused: counter count "Datagrams of new flows that were dropped because a limit was reached or the listener drains.";
        flows_moved: counter count "Times that a flow went on with another endpoint, because its own was unreachable or left the configuration.";
        datagrams_received: counter count "Datagrams received from clients.";
        datagrams_sent: counter count "Datagrams sent to clients.";
        bytes_received: counter bytes "Bytes of datagrams received from clients.";
        bytes_sent: counter bytes "Bytes of datagrams sent to clients.";
        datagrams_dropped: failures count "Datagrams that were received and not sent on, by reason.";
        queue_overflows: counter count "Datagrams that the kernel dropped because the queue of the listener's socket was full.";
    }
    /// What one worker counts for one route.
    RouteStats = "route" ["route"] {
        requests: counter count "Requests (http) or connections (tcp, by server name) that the route matched.";
        responses: classes count "Responses sent to clients, by the class of their status.";
        failures: failures count "Requests and connections that failed after the route was chosen, by reason.";
        duration: histogram seconds "From the first byte of the request head to the last byte of the response handed to the kernel; of a connection, from its accept to its end.";
    }
    /// What one worker counts for one upstream.
    UpstreamStats = "upstream" ["upstream"] {
        requests: counter count "Requests (http), connections (tcp) or flows (udp) sent to the upstream, without retries.";
        retries: counter count "Further attempts after the first.";
        connects: counter count "Connections opened to endpoints.";
        connect_failures: counter count "Connections to endpoints that could not be opened.";
        connect_duration: histogram seconds "From the start of a connect to its success.";
        response_head_duration: histogram seconds "From the last byte of the request head sent to the response head received.";
    }
    /// What the prober counts for one upstream. One thread writes it.
    ProbeStats = "probe" ["upstream"] {
        sent: counter count "Probes sent to endpoints of the upstream.";
        failures: failures count "Probes that failed, by reason.";
        ups: counter count "Times that an endpoint was found up by its probes.";
        downs: counter count "Times that an endpoint was found down by its probes.";
        late: counter count "Probes that began over a second late because as many as allowed were under way.";
        duration: histogram seconds "From the start of a probe to its result.";
    }
    /// What one worker counts for one endpoint.
    EndpointStats = "endpoint" ["upstream" "endpoint"] {
        requests: counter count "Requests (http), connections (tcp) or flows (udp) sent to the endpoint, retries included.";
        requests_active: gauge count "Requests (http), connections (tcp) or flows (udp) under way.";
        failures: counter count "Requests or connections that failed by the endpoint's fault.";
        connects: counter count "Connections opened.";
        connect_failures: counter count "Connections that could not be opened.";
        connections_active: gauge count "Open connections that carry a request or a relay.";
        connections_idle: gauge count "Open connections that wait for a request.";
        connections_cut: counter count "Relays cut off because the endpoint had left, at the deadline of its drain.";
        bytes_received: counter bytes "Bytes received from the endpoint.";
        bytes_sent: counter bytes "Bytes sent to the endpoint.";
    }
    /// What one worker counts for itself.
    WorkerStats = "worker" ["worker"] {
        connections_active: gauge count "Connections of clients that are open on this worker.";
        connections_parked: gauge count "Those of them that are idle and cost neither task nor buffer.";
        tasks_active: gauge count "Tasks on the executor.";
        tasks_panicked: counter count "Tasks that a bug ended; each cost one connection.";
        snapshot_generation: gauge count "The generation of the snapshot that new requests run on.";
        access_log_written: counter count "Access log records handed to the log thread.";
        access_log_dropped: counter count "Access log records dropped because the log thread was too slow.";
        lag: span seconds "How long everything that became ready in the last half second waited for its turn at least; beyond `worker_lag_max` the worker refuses connections.";
        engine_turns: counter count "Turns of the event loop.";
        engine_completions: counter count "Operations completed by the driver.";
        engine_receive_paused: counter count "Receives paused for want of a buffer or by a connection's cap.";
        engine_sends_stalled: counter count "Sends that had to wait for a slow reader.";
        engine_completion_overflows: counter count "Times that the completion queue was full.";
        engine_buffers_free: gauge count "Receive buffers that are free.";
        engine_spliced_bytes: counter bytes "Bytes relayed inside the kernel, through a pipe, without being copied.";
        engine_pipes_refused: counter count "Times that bytes to be spliced were copied because no pipe was free.";
        engine_pipes_used: gauge count "Pipes that hold bytes for a slow reader.";
        engine_pipe_bytes: gauge bytes "Bytes in these pipes.";
        engine_sends_refused: counter count "Sends that failed because a slow reader took nothing and memory was short.";
        memory_idle_closed: counter count "Idle connections to endpoints closed because memory was short.";
        memory_heap_bytes: gauge bytes "What the worker's thread has allocated, all kinds together.";
        memory_receive_bytes: gauge bytes "Receive buffers that hold something, of those set aside at the start.";
        memory_waiting_bytes: gauge bytes "Bytes of messages that wait for a slow reader or are buffered.";
        memory_buffered_bytes: gauge bytes "Of those, the ones that `request_buffer` and `response_buffer` had taken.";
        memory_request_bytes: gauge bytes "Heads and buffers of requests under way.";
        memory_spare_bytes: gauge bytes "The same, kept for requests to come.";
    }
    /// What the supervisor counts about reloads. One thread writes it.
    ConfigStats = "config" [] {
        reloads: counter count "Reloads that were applied.";
        reloads_refused: counter count "Reloads that changed nothing because the configuration had mistakes.";
        last_reload_successful: gauge count "1 if the last start or reload was applied, 0 if it was refused.";
        last_reload_success_timestamp: gauge seconds "When the configuration in force was applied, since 1970-01-01 UTC.";
    }
    /// What the log thread counts.
    LogStats = "access_log" [] {
        bytes_written: counter bytes "Bytes of access log written to its file.";
        bytes_lost: counter bytes "Bytes of access log lost because writing failed.";
        write_errors: counter count "Writes and reopenings of the access log that failed.";
    }
}

macro_rules! derived {
    ($($constant:ident = $name:literal $kind:ident $unit:ident [$($label:literal)*] $help:literal;)*) => {
        $(#[doc = $help]
        pub const $constant: Metric =
            Metric { name: $name, kind: kind!($kind), unit: unit!($unit), help: $help, labels: &[$($label),*] };)*
        /// Every metric that no counter stands behind: read from the snapshot or the operating system.
        pub const DERIVED: &[Metric] = &[$($constant),*];
    };
}

derived! {
    BUILD_INFO = "ringgate_build_info" gauge count ["version"] "Always 1; the label says which version runs.";
    ENGINE_INFO = "ringgate_engine_info" gauge count ["engine"] "Always 1; the label says which driver the workers run on.";
    READY = "ringgate_ready" gauge count [] "1 while the gateway serves, 0 before and while it drains.";
    CONFIG_GENERATION = "ringgate_config_generation" gauge count [] "The generation of the snapshot in force.";
    UDP_FLOWS_MAX = "ringgate_udp_flows_max" gauge count ["listener"] "The limit of open flows.";
    MEMORY_HEAP = "ringgate_memory_heap_bytes" gauge bytes [] "What the whole process has allocated.";
    MEMORY_HEAP_MAX = "ringgate_memory_heap_max_bytes" gauge bytes [] "Where it is full: what `memory_max` leaves for it.";
    LISTENER_CONNECTIONS_MAX = "ringgate_listener_connections_max" gauge count ["listener"] "The limit of open connections.";
    UPSTREAM_ENDPOINTS = "ringgate_upstream_endpoints" gauge count ["upstream"] "Endpoints of the upstream.";
    ENDPOINT_WEIGHT = "ringgate_endpoint_weight" gauge count ["upstream" "endpoint"] "The weight of the endpoint.";
    ENDPOINT_PROBE_UP = "ringgate_endpoint_probe_up" gauge count ["upstream" "endpoint"] "1 if the probes of the endpoint say that it is up, else 0.";
    ENDPOINT_STATE = "ringgate_endpoint_state" gauge count ["upstream" "endpoint" "state"] "Always 1; the label says how the endpoint stands: serving, ejected, draining or down.";
    ENDPOINT_SHARE = "ringgate_endpoint_share" gauge count ["upstream" "endpoint"] "The part of its weight that counts while the endpoint serves, 0 to 1: less during probation and slow start.";
    ENDPOINT_OUTCOMES = "ringgate_endpoint_outcomes_total" counter count ["upstream" "endpoint" "outcome"] "What became of attempts at the endpoint: success, server_error, gateway_failure, timeout, connect_failure.";
    ENDPOINT_OVERLOADS = "ringgate_endpoint_overloads_total" counter count ["upstream" "endpoint"] "Answers of 429, and of 503 with Retry-After: the endpoint asks to be spared.";
    UPSTREAM_EJECTIONS = "ringgate_upstream_ejections_total" counter count ["upstream" "reason"] "Endpoints ejected, by reason.";
    UPSTREAM_EJECTIONS_HELD = "ringgate_upstream_ejections_held_total" counter count ["upstream" "reason"] "Times that an endpoint should have gone and was kept, by reason.";
    UPSTREAM_RETURNS = "ringgate_upstream_returns_total" counter count ["upstream"] "Endpoints that got their full share again after an ejection.";
    UPSTREAM_BREAKER_STATE = "ringgate_upstream_breaker_state" gauge count ["upstream" "state"] "Always 1; the label says what the upstream's breaker does: admit, reject or probe.";
    UPSTREAM_BREAKER_TURNS = "ringgate_upstream_breaker_turns_total" counter count ["upstream" "state"] "Times that the upstream's breaker turned to this state.";
    DRAINING_CONNECTIONS = "ringgate_draining_connections" gauge count ["kind" "name"] "Connections left of a listener, or to an endpoint, that a reload took out.";
    PROCESS_CPU = "process_cpu_seconds_total" counter seconds [] "CPU time of the process, user and system.";
    PROCESS_MEMORY_RESIDENT = "process_resident_memory_bytes" gauge bytes [] "Resident memory of the process.";
    PROCESS_MEMORY_VIRTUAL = "process_virtual_memory_bytes" gauge bytes [] "Virtual memory of the process.";
    PROCESS_FDS = "process_open_fds" gauge count [] "Open file descriptors.";
    PROCESS_FDS_MAX = "process_max_fds" gauge count [] "The limit of open file descriptors.";
    PROCESS_THREADS = "process_threads" gauge count [] "Threads of the process.";
    PROCESS_START_TIME = "process_start_time_seconds" gauge seconds [] "When the process started, since 1970-01-01 UTC.";
}

/// `docs/metrics.md`, from the table.
pub fn markdown() -> String {
    let mut page = String::from(HEADING);
    for (subject, metrics) in described() {
        section(&mut page, subject, &metrics);
    }
    section(&mut page, "derived", DERIVED);
    page
}

const HEADING: &str = "\
# Metrics

What `GET /metrics` on the admin listener shows. This page is generated from the table in
`src/telemetry/stats.rs`; a test holds it to it. Durations are in seconds, sizes in bytes.
A counter starts at 0 with the thing that it counts for, lives for as long as a configuration
mentions that thing, and is not touched by a reload. Series with the label `reason` appear with
their first failure; the values are those of `reason` in the access log.
";

fn section(page: &mut String, subject: &str, metrics: &[Metric]) {
    page.push_str(&format!("\n## {subject}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n"));
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
        page.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn all() -> Vec<Metric> {
        let mut all: Vec<Metric> = described().into_iter().flat_map(|(_, metrics)| metrics).collect();
        all.extend(DERIVED);
        all
    }

    #[test]
    fn names_are_valid_unique_and_carry_their_unit() {
        let mut seen = HashSet::new();
        for metric in all() {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.contains("_seconds"), metric.unit == Unit::Seconds, "{name}");
            assert_eq!(name.contains("bytes"), metric.unit == Unit::Bytes, "{name}");
            assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        }
    }

    #[test]
    fn names_stay_what_dashboards_know() {
        let metric = &ListenerStats::TABLE[0].metric;
        assert_eq!(metric.name, "ringgate_listener_connections_accepted_total");
        assert_eq!(RouteStats::TABLE[1].metric.labels, ["route", "class"]);
        assert_eq!(RouteStats::TABLE[3].metric.name, "ringgate_route_duration_seconds");
    }

    /// `RINGGATE_BLESS=1 cargo test --lib telemetry::stats` writes the page anew.
    #[test]
    fn the_page_is_held_to_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("RINGGATE_BLESS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), markdown(), "run with RINGGATE_BLESS=1 to write the page");
    }
}
