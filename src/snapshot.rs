//! The one value that crosses from control to data: listeners, routes and upstreams as one immutable value with a
//! generation number. Compiled by `control`, read by workers. No behaviour lives here
//! beyond the swap itself ([`Published`]).

use crate::balancer::{Planned, Policy, Sticky};
use crate::base::{Address, Bell, Networks, Sharded};
use crate::health::probe::Probe;
use crate::health::{HealthSettings, PaceRule, Rate};
use crate::router::{PathPolicy, Router};
use crate::telemetry::RouteStats;
use crate::upstream::{Endpoint, ListenerIdentity, OutcomeRule, Transport, UpstreamIdentity, UpstreamIndex};
use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Everything the data plane acts on. A request runs to its end on the snapshot it began with.
#[derive(Debug)]
pub struct Snapshot {
    /// Goes up by one with every publication; the first is 1.
    pub generation: u64,
    /// In the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// In the order of the file. Routers and logs refer to one by its index here.
    pub routes: Vec<Route>,
    /// Indexed by [`UpstreamIndex`].
    pub upstreams: Vec<Upstream>,
    /// The deadline of a drain, at shutdown and of a listener that is gone.
    pub drain_timeout: Duration,
    /// How long events may wait in a worker before it refuses new connections.
    pub worker_lag_max: Duration,
    /// How long an idle connection may still bring a request while it drains.
    pub drain_idle_timeout: Duration,
    /// Whether workers write access log records.
    pub access_log: bool,
}

/// An address where clients connect. Its identity over swaps is its address: a listener whose address stays keeps its
/// sockets and connections.
#[derive(Debug)]
pub struct Listener {
    /// What outlives this snapshot: the same in every one for as long as the address stays (with port 0, address and
    /// name). What workers tell listeners apart by.
    pub identity: Arc<ListenerIdentity>,
    /// As configured, or the address as written there. Unique; a reload may change it.
    pub name: String,
    /// Where to bind. Port 0 takes a port that is free when the listener is added.
    pub address: Address,
    /// Open connections of clients, all workers together; at least 1. A udp listener has flows instead.
    pub connections_max: u32,
    /// Options of its sockets.
    pub socket: SocketSettings,
    /// Whose connections begin with a PROXY header, which says who the client is.
    pub proxy_protocol: Networks,
    /// From the accept to the last byte of a PROXY header.
    pub proxy_protocol_timeout: Duration,
    /// The same of one client, which is an IPv4 address or the /64 of an IPv6 one.
    pub connections_max_per_client: Option<u32>,
    /// Clients that `connections_max_per_client` does not hold for.
    pub clients_exempt: Networks,
    /// How many connections are accepted in a second, all workers together.
    pub accept_rate: Option<Rate>,
    /// What the listener speaks, with the settings of that protocol.
    pub protocol: Protocol,
}

impl Listener {
    /// Where its sockets are bound: the configured address, with the port that was found for port 0.
    pub fn bound_address(&self) -> &Address {
        self.identity.bound.get().unwrap_or(&self.address)
    }
}

/// Options of a listener's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// Permissions of the file of a Unix socket.
    pub mode: u32,
    pub tcp: TcpSocket,
    /// TCP Fast Open: connections that may wait with their first bytes before the handshake is done; 0 is off.
    pub fast_open: u32,
    /// Connections to addresses that are not of this machine are accepted too.
    pub transparent: bool,
}

/// How TCP finds out that the other side is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSocket {
    /// After so much silence the kernel asks the other side; `None`: it never asks.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged; `None`: as the kernel has it.
    pub user_timeout: Option<Duration>,
}

/// Options of connections to endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectSettings {
    /// The address that connections to endpoints of IPv4 come from; `None`: the kernel's choice.
    pub source_v4: Option<IpAddr>,
    /// The same for IPv6.
    pub source_v6: Option<IpAddr>,
    /// Connections come from the client's own address.
    pub transparent: bool,
    /// TCP Fast Open, for requests that may arrive twice.
    pub fast_open: bool,
    pub tcp: TcpSocket,
}

impl Default for SocketSettings {
    fn default() -> SocketSettings {
        SocketSettings { mode: 0o660, tcp: TcpSocket::default(), fast_open: 0, transparent: false }
    }
}

/// What a listener speaks.
// There are few listeners, and each is reached by one step less without a box.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Protocol {
    Http(HttpSettings),
    Tcp(TcpSettings),
    Udp(UdpSettings),
}

impl Protocol {
    /// What it is spoken over.
    pub fn transport(&self) -> Transport {
        match self {
            Protocol::Http(_) | Protocol::Tcp(_) => Transport::Stream,
            Protocol::Udp(_) => Transport::Datagram,
        }
    }
}

/// Settings of a listener that speaks HTTP.
#[derive(Debug)]
pub struct HttpSettings {
    /// Request head → index into [`Snapshot::routes`].
    pub router: Router,
    /// The form that request paths are put into, for the router and the endpoint alike.
    pub path_policy: PathPolicy,
    /// Clients whose X-Forwarded-* and Forwarded headers are believed and extended; others' are replaced.
    pub trusted: Networks,
    /// Bytes; the request line and all fields.
    pub head_max: usize,
    /// Fields of a request head.
    pub headers_max: usize,
    /// Bytes; the request target alone.
    pub target_max: usize,
    /// Bytes of request body; `u64::MAX` is no limit.
    pub body_max: u64,
    /// From the first byte of a request head (or the accept) to its last.
    pub request_head_timeout: Duration,
    /// How slowly a client may send a request body.
    pub request_body_pace: PaceRule,
    /// From the end of a response to the first byte of the next request.
    pub keep_alive_timeout: Duration,
    /// Requests of one connection; `u32::MAX` is no limit.
    pub keep_alive_requests_max: u32,
    /// After so long, or up to a tenth less, a connection ends with its next response.
    pub keep_alive_age_max: Option<Duration>,
    /// How slowly a client may take a response.
    pub response_pace: PaceRule,
    /// A client that ends its sending side while its endpoint has not answered yet has left.
    pub abort_on_close: bool,
    /// Silence in both directions of an upgraded connection.
    pub tunnel_idle_timeout: Duration,
    /// Whether each request carries an `X-Request-Id` to the endpoint and back.
    pub request_id_header: bool,
}

/// Settings of a listener that relays bytes.
#[derive(Debug)]
pub struct TcpSettings {
    /// Where each connection goes that no route by server name is for; `None`: it is closed.
    pub upstream: Option<Destination>,
    /// Server name of a ClientHello → index into [`Snapshot::routes`], as hosts with any path. `None`: nothing is read
    /// before connecting.
    pub sni: Option<Router>,
    /// From the accept, or the end of a PROXY header, to the last byte of the ClientHello.
    pub client_hello_timeout: Duration,
    /// Silence in both directions.
    pub idle_timeout: Duration,
}

/// Settings of a listener that relays datagrams.
#[derive(Debug)]
pub struct UdpSettings {
    /// Where each flow goes.
    pub upstream: Destination,
    /// Silence in both directions.
    pub idle_timeout: Duration,
    /// Open flows, all workers together; at least 1.
    pub flows_max: u32,
    /// Open flows of one client address (of one /64 for IPv6), all workers together; at least 1.
    pub flows_per_client_max: u32,
    /// Datagrams from the endpoint for each one from the client; when all have come the flow ends.
    pub replies: Option<u32>,
    /// How long an endpoint gets no new flows after one learnt that nothing listens there.
    pub unreachable_timeout: Duration,
}

/// Where a route sends to.
#[derive(Debug)]
pub enum Destination {
    /// All of it to one upstream.
    One(UpstreamIndex),
    /// Weights, each at least 1, and their sum.
    Split { parts: Vec<(u32, UpstreamIndex)>, total: u32 },
}

/// One `[[route]]` of the file; what it matches is in the routers of its listeners.
#[derive(Debug)]
pub struct Route {
    /// As the log and the metrics show it: the configured name, or what it matches.
    pub name: String,
    /// Where its requests go.
    pub destination: Destination,
    /// The part of an upstream that they go to, where that is not all of it: 1 is the first of its `subsets`.
    pub subsets: Box<[(UpstreamIndex, u32)]>,
    /// From the request head received to the response head received; all attempts together.
    pub response_head_timeout: Duration,
    /// Silence of the endpoint within a response body.
    pub response_body_idle_timeout: Duration,
    /// Bytes of a request's body that are taken before an endpoint is picked; 0 is none.
    pub request_buffer: usize,
    /// Bytes of a response's body that are taken ahead of the client; 0 is none.
    pub response_buffer: usize,
    /// Counters by the route's name, one shard a worker.
    pub stats: Arc<Sharded<RouteStats>>,
}

/// One `[upstream.NAME]` of the file.
#[derive(Debug)]
pub struct Upstream {
    /// What outlives this snapshot.
    pub identity: Arc<UpstreamIdentity>,
    /// How an endpoint is picked.
    pub policy: Arc<Policy>,
    /// Each address once, none with weight 0; none at all if the file gives each that weight.
    pub endpoints: Vec<Endpoint>,
    /// Which of them take requests now, and in what proportion.
    pub plan: Planned,
    /// The same for each set of labels that a route asks for.
    pub subsets: Box<[Planned]>,
    /// The cookies of sticky sessions.
    pub sticky: Option<Sticky>,
    /// From the start of one connection attempt to its end.
    pub connect_timeout: Duration,
    /// Further attempts after the first, each on an endpoint not tried yet.
    pub retries: u32,
    /// Idle connections kept for each endpoint by each worker.
    pub idle_connections_max: u32,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Requests that one connection to an endpoint carries; `u32::MAX` is no limit.
    pub connection_requests_max: u32,
    /// After so long, or up to a tenth less, a connection carries one more request at most.
    pub connection_age_max: Option<Duration>,
    /// How long relays to an endpoint that is gone may go on; `None` is to their end.
    pub drain_timeout: Option<Duration>,
    /// Options of its connections.
    pub connect: ConnectSettings,
    /// What each connection to an endpoint begins with.
    pub proxy_protocol: Option<ProxyHeader>,
    /// How its endpoints are probed; `None`: they are not. The prober alone reads it.
    pub probe: Option<Arc<Probe>>,
    /// What its endpoints are judged by, and when it is given a rest.
    pub health: HealthSettings,
    /// What workers need to know of that.
    pub rule: OutcomeRule,
    /// What becomes of requests that its breaker rejects.
    pub rejection: Rejection,
}

/// What becomes of requests that a breaker rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// They go to another upstream, unless its breaker rejects them too.
    pub fallback: Option<UpstreamIndex>,
    /// Otherwise they are answered with this status ...
    pub status: u16,
    /// ... and this text, if there is one.
    pub body: Option<String>,
}

impl Default for Rejection {
    fn default() -> Rejection {
        Rejection { fallback: None, status: 503, body: None }
    }
}

impl Upstream {
    /// The plan of one part of the endpoints: 0 is all of them.
    pub fn plan_of(&self, subset: u32) -> Option<&Planned> {
        match subset.checked_sub(1) {
            None => Some(&self.plan),
            Some(subset) => self.subsets.get(subset as usize),
        }
    }

    /// Follows the conditions of the endpoints: whoever has changed one calls this. False if nothing is to be done.
    pub fn replan(&self) -> bool {
        let changed = self.plan.replan(&self.endpoints);
        self.subsets.iter().fold(changed, |changed, subset| subset.replan(&self.endpoints) | changed)
    }
}

/// The version of a PROXY header that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    V1,
    V2(ProxyExtensions),
}

/// What a PROXY header of version 2 says beside the addresses, where it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyExtensions {
    pub sni: bool,
    pub alpn: bool,
    pub unique_id: bool,
    pub crc32c: bool,
}

/// The seam between control and data: the snapshot in force, and what the process is about. Control writes it, workers
/// read it. Whoever publishes also wakes the workers; that is not done here.
#[derive(Debug)]
pub struct Published {
    /// Workers ring it when control should look at what they have counted before its time.
    pub bell: Bell,
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    phase: AtomicU8,
}

/// What the process is about. It only ever goes down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Accepting connections.
    Serving = 0,
    /// Listeners are closed; open connections may end until the drain deadline.
    Draining = 1,
    /// Every connection is closed at once.
    Stopping = 2,
}

impl Published {
    /// The first snapshot is in force from the start.
    pub fn new(snapshot: Snapshot) -> Published {
        let generation = AtomicU64::new(snapshot.generation);
        Published {
            bell: Bell::default(),
            snapshot: ArcSwap::from_pointee(snapshot),
            generation,
            phase: AtomicU8::new(Phase::Serving as u8),
        }
    }

    /// The generation in force: one relaxed load. When it differs from that of the snapshot at hand, take the new one
    /// with [`load`](Published::load) before the next request.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The snapshot in force. Never blocks.
    pub fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts `snapshot` in force by one swap. Its generation must be above the present one.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        debug_assert!(generation > self.generation(), "generations go up");
        self.snapshot.store(snapshot);
        self.generation.store(generation, Ordering::Release);
    }

    /// What the process is about.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Goes on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }
}
