//! The checked settings: what a file says once nothing is wrong with it. Every reference is resolved, every value in
//! range. Values only; `check` makes them, `compile` turns them into a snapshot.

use crate::balancer::{Policy, StickyPolicy};
use crate::base::{Address, Networks, Secret};
use crate::health::probe::Probe;
use crate::health::{HealthSettings, Rate};
use crate::snapshot::{ConnectSettings, Destination, Protocol, ProxyHeader, Rejection, SocketSettings};
use crate::telemetry::access_log;
use crate::upstream::{Labels, Placement};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// All that a configuration says.
#[derive(Debug)]
pub struct Settings {
    pub process: ProcessSettings,
    /// See [`crate::snapshot::Snapshot::drain_timeout`].
    pub drain_timeout: Duration,
    /// See [`crate::snapshot::Snapshot::worker_lag_max`].
    pub worker_lag_max: Duration,
    /// Bytes that the process may hold; `None` is a part of what the machine has.
    pub memory_max: Option<u64>,
    /// See [`crate::snapshot::Snapshot::drain_idle_timeout`].
    pub drain_idle_timeout: Duration,
    /// Whether to reload when a file changes on disk.
    pub watch: bool,
    /// At least one, each with a name and an address of its own.
    pub listeners: Vec<ListenerSettings>,
    pub routes: Vec<RouteSettings>,
    pub upstreams: Vec<UpstreamSettings>,
}

/// What holds from the start of the process to its end. A reload that would change it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Data-plane threads; `None` is one for each core that the process may run on.
    pub workers: Option<u32>,
    pub engine: EngineChoice,
    /// Where the admin listener listens; `None` is nowhere.
    pub admin: Option<SocketAddr>,
    /// Where the access log goes; `None` is no access log. Paths are already relative to the file that names them.
    pub access_log: Option<access_log::Destination>,
}

/// How workers talk to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    Uring,
    Epoll,
}

/// One `[[listener]]`, with the routers of its routes.
#[derive(Debug)]
pub struct ListenerSettings {
    pub name: String,
    pub address: Address,
    pub socket: SocketSettings,
    /// See [`crate::snapshot::Listener::connections_max`].
    pub connections_max: u32,
    /// See [`crate::snapshot::Listener::proxy_protocol`].
    pub proxy_protocol: Networks,
    pub proxy_protocol_timeout: Duration,
    /// See [`crate::snapshot::Listener::connections_max_per_client`].
    pub connections_max_per_client: Option<u32>,
    /// See [`crate::snapshot::Listener::clients_exempt`].
    pub clients_exempt: Networks,
    /// See [`crate::snapshot::Listener::accept_rate`].
    pub accept_rate: Option<Rate>,
    pub protocol: Protocol,
}

/// One `[[route]]`, or the `upstream` of an http listener.
#[derive(Debug)]
pub struct RouteSettings {
    /// As configured, or what it matches; unique.
    pub name: String,
    pub destination: Destination,
    /// Those that an endpoint needs.
    pub labels: Labels,
    /// See [`crate::snapshot::Route::response_head_timeout`].
    pub response_head_timeout: Duration,
    /// See [`crate::snapshot::Route::response_body_idle_timeout`].
    pub response_body_idle_timeout: Duration,
    /// See [`crate::snapshot::Route::request_buffer`].
    pub request_buffer: usize,
    /// See [`crate::snapshot::Route::response_buffer`].
    pub response_buffer: usize,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    pub address: Address,
    pub weight: u32,
    pub placement: Placement,
}

/// How an upstream's endpoints are picked.
#[derive(Debug)]
pub struct BalanceSettings {
    /// See [`crate::snapshot::Upstream::policy`]; its seed is made of the secret.
    pub policy: Policy,
    /// `None`: that of the process.
    pub hash_secret: Option<Secret>,
    pub sticky: Option<StickySettings>,
}

/// See [`crate::balancer::Sticky`].
#[derive(Debug)]
pub struct StickySettings {
    pub policy: StickyPolicy,
    /// `None`: that of the process.
    pub secret: Option<Secret>,
}

/// One `[upstream.NAME]`.
#[derive(Debug)]
pub struct UpstreamSettings {
    pub name: String,
    pub balance: BalanceSettings,
    /// Each address once, with a weight of 1 to 65,535; none if the file gives each the weight 0.
    pub endpoints: Vec<EndpointSettings>,
    pub connect_timeout: Duration,
    /// See [`crate::snapshot::Upstream::retries`].
    pub retries: u32,
    /// See [`crate::snapshot::Upstream::idle_connections_max`].
    pub idle_connections_max: u32,
    pub idle_timeout: Duration,
    /// See [`crate::snapshot::Upstream::connection_requests_max`].
    pub connection_requests_max: u32,
    pub connection_age_max: Option<Duration>,
    /// See [`crate::snapshot::Upstream::drain_timeout`].
    pub drain_timeout: Option<Duration>,
    /// See [`crate::snapshot::Upstream::connect`].
    pub connect: ConnectSettings,
    /// See [`crate::snapshot::Upstream::proxy_protocol`].
    pub proxy_protocol: Option<ProxyHeader>,
    /// See [`crate::snapshot::Upstream::probe`].
    pub probe: Option<Arc<Probe>>,
    /// See [`crate::snapshot::Upstream::health`].
    pub health: HealthSettings,
    /// See [`crate::snapshot::Upstream::rejection`].
    pub rejection: Rejection,
}
