//! The one value that crosses from control to data: listeners, routes and upstreams as one immutable value with a
//! generation number. Compiled by `control`, read by workers. No behaviour lives here.

use crate::balancer::Balance;
use crate::base::Sharded;
use crate::router::Router;
use crate::telemetry::{ListenerStats, RouteStats};
use crate::upstream::{Endpoint, UpstreamIdentity, UpstreamIndex};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything the data plane acts on. A request runs to its end on the snapshot it began with.
#[derive(Debug)]
pub struct Snapshot {
    /// Goes up by one with every publication; the first is 1.
    pub generation: u64,
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
    pub upstreams: Vec<Upstream>,
    /// The deadline of a drain, at shutdown or when a listener is removed.
    pub drain_timeout: Duration,
    /// Whether workers write access log records.
    pub access_log: bool,
}

/// An address where clients connect. Its identity over swaps is its address: a listener whose address stays keeps its
/// sockets and connections.
#[derive(Debug)]
pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    pub connections_max: u32,
    pub protocol: Protocol,
    pub stats: Arc<Sharded<ListenerStats>>,
}

#[derive(Debug)]
pub enum Protocol {
    Http(HttpSettings),
    Tcp(TcpSettings),
}

#[derive(Debug)]
pub struct HttpSettings {
    /// Request head → index into [`Snapshot::routes`].
    pub router: Router,
    /// Client addresses whose X-Forwarded-* and Forwarded headers are believed and extended; others' are replaced.
    pub trusted: Vec<ipnet::IpNet>,
    /// Bytes; the request line and all fields.
    pub head_max: usize,
    pub headers_max: usize,
    /// Bytes; the request target alone.
    pub target_max: usize,
    /// Bytes of request body; `u64::MAX` is no limit.
    pub body_max: u64,
    pub request_head_timeout: Duration,
    pub request_body_idle_timeout: Duration,
    pub keep_alive_timeout: Duration,
    /// The client does not take what it is sent.
    pub send_timeout: Duration,
    pub tunnel_idle_timeout: Duration,
    pub request_id_header: bool,
}

#[derive(Debug)]
pub struct TcpSettings {
    pub upstream: Target,
    pub idle_timeout: Duration,
}

/// Where a route sends to.
#[derive(Debug)]
pub enum Target {
    One(UpstreamIndex),
    /// Weights, each at least 1, and their sum.
    Split {
        parts: Vec<(u32, UpstreamIndex)>,
        total: u32,
    },
}

#[derive(Debug)]
pub struct Route {
    /// As the log and the metrics show it: the configured name, or what it matches.
    pub name: String,
    pub target: Target,
    /// From the request head to the response head; `None` is no limit of its own.
    pub response_head_timeout: Duration,
    /// Silence of the endpoint within a response body.
    pub response_body_idle_timeout: Duration,
    pub stats: Arc<Sharded<RouteStats>>,
}

#[derive(Debug)]
pub struct Upstream {
    pub identity: Arc<UpstreamIdentity>,
    pub balance: Balance,
    pub endpoints: Vec<Endpoint>,
    pub connect_timeout: Duration,
    /// Further attempts after the first, each on an endpoint not tried yet.
    pub retries: u32,
    /// Idle connections kept for each endpoint by each worker.
    pub idle_connections_max: u32,
    pub idle_timeout: Duration,
}
