//! The table of upstreams and endpoints, and the identity that outlives any table. State that must survive a swap
//! (load, counters, later health) belongs to the identity and never to the table. Not a place where anything is
//! decided: `balancer` picks, `control` publishes. Workers read; [`Registry`] is the control plane's alone.

mod clients;
mod condition;
mod gate;
mod latency;
mod outcomes;
mod probed;
mod registry;

pub use clients::{CLIENT_CONNECTIONS_MAX, ClientPlace, ClientTable, Counted};
pub use condition::{Condition, EndpointState, Standing, WHOLE_SHARE};
pub use gate::{Admission, BreakerGate, BreakerState};
pub use latency::{Latency, Weighing};
pub use outcomes::{OutcomeClass, OutcomeCounts, OutcomeRule, Outcomes, Streaks};
pub use probed::{Probed, ProbedState};
pub use registry::Registry;

use crate::base::{Address, Gauge, Instant, Sharded, SharedSocket};
use crate::telemetry::{EndpointStats, ListenerStats, ProbeStats, UdpStats, UpstreamStats};
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The index of an upstream in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamIndex(pub u32);

/// What belongs to an endpoint's identity (upstream name + address) and survives every swap.
#[derive(Debug)]
pub struct EndpointIdentity {
    /// Dense and never reused while anything holds this value: workers key idle connections by it.
    pub id: u32,
    /// The name of the upstream that it belongs to.
    pub upstream: String,
    /// Where to connect. A host name is resolved before it comes here.
    pub address: Address,
    /// Requests (http), connections (tcp) or flows (udp) in flight, over all workers.
    pub in_flight: AtomicU32,
    /// Its state, and how much of its weight counts.
    pub condition: Condition,
    /// What its probes say, where it has any.
    pub probed: Probed,
    /// What became of the attempts at it.
    pub outcomes: Outcomes,
    /// How quickly it answers; kept where its balance goes by it.
    pub latency: Latency,
    /// Requests, connections and flows in flight at all endpoints of its upstream; one count a worker.
    pub upstream_in_flight: Arc<Sharded<Gauge>>,
    /// Whether datagrams reach it, as far as that is heard of.
    pub reachability: Reachability,
    /// Counters, one shard a worker.
    pub stats: Sharded<EndpointStats>,
}

impl EndpointIdentity {
    /// An endpoint of which nothing is known yet. `workers` is how many shards each counter gets.
    pub fn new(id: u32, upstream: &str, address: Address, workers: usize) -> EndpointIdentity {
        EndpointIdentity {
            id,
            upstream: upstream.to_owned(),
            address,
            in_flight: AtomicU32::new(0),
            condition: Condition::default(),
            probed: Probed::default(),
            outcomes: Outcomes::new(workers),
            latency: Latency::default(),
            upstream_in_flight: Arc::new(Sharded::new(workers)),
            reachability: Reachability::default(),
            stats: Sharded::new(workers),
        }
    }
}

/// Until when an endpoint is taken for unreachable by datagrams. Nanoseconds of the engines' clock; 0: it is not.
#[derive(Debug, Default)]
pub struct Reachability(AtomicU64);

impl Reachability {
    /// Somebody was told that nothing listens there.
    pub fn note_unreachable(&self, until: Instant) {
        self.0.fetch_max(until.0, Ordering::Relaxed);
    }

    /// It has spoken.
    pub fn note_reachable(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    pub fn is_unreachable(&self, now: Instant) -> bool {
        self.0.load(Ordering::Relaxed) > now.0
    }
}

/// One address of an upstream as the snapshot has it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What outlives this table.
    pub identity: Arc<EndpointIdentity>,
    /// 1 to 65,535; an endpoint of weight 0 is not in the table.
    pub weight: u32,
    /// Where it stands among the others.
    pub placement: Placement,
}

/// Where an endpoint stands among the others of its upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// 0 is asked first.
    pub priority: u8,
    /// Asked only where none that is no backup is available.
    pub backup: bool,
    /// Where it is.
    pub zone: Option<Arc<str>>,
    /// What else is said of it.
    pub labels: Labels,
}

impl Placement {
    /// Whether it has all of these labels.
    pub fn has(&self, labels: &Labels) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }
}

/// Names and values that tell endpoints of one upstream apart.
pub type Labels = BTreeMap<Box<str>, Box<str>>;

/// What belongs to an upstream's name and survives every swap.
#[derive(Debug)]
pub struct UpstreamIdentity {
    /// As configured: the NAME of `[upstream.NAME]`.
    pub name: String,
    /// Requests, connections and flows in flight; one count a worker, so that none waits for another.
    pub in_flight: Arc<Sharded<Gauge>>,
    /// Whether requests are let through to it.
    pub breaker: BreakerGate,
    /// A worker has seen something at one of its endpoints that control should look at before its time.
    pub alarm: AtomicBool,
    /// Counters, one shard a worker.
    pub stats: Sharded<UpstreamStats>,
    /// What the prober counts, from the first snapshot on that has it probed.
    pub probes: OnceLock<Box<ProbeStats>>,
}

impl UpstreamIdentity {
    /// An upstream of which nothing is known yet. `workers` is how many shards each counter gets.
    pub fn new(name: &str, workers: usize) -> UpstreamIdentity {
        UpstreamIdentity {
            name: name.to_owned(),
            breaker: BreakerGate::default(),
            alarm: AtomicBool::new(false),
            probes: OnceLock::new(),
            in_flight: Arc::new(Sharded::new(workers)),
            stats: Sharded::new(workers),
        }
    }
}

/// What a listener's sockets carry. A stream and a datagram socket may share an address and a port: they are two listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Stream,
    Datagram,
}

/// What belongs to a listener's address and survives every swap.
#[derive(Debug)]
pub struct ListenerIdentity {
    /// Dense and never reused while anything holds this value.
    pub id: u32,
    /// Where it is bound, once it is: with port 0 the port that was free then, the same for every worker.
    pub bound: OnceLock<Address>,
    /// The socket that all workers accept from, where each cannot have one of its own: a Unix socket. Control puts it here
    /// before a snapshot has the listener, and takes it away with it.
    pub shared: ArcSwapOption<SharedSocket>,
    /// Counters, one shard a worker.
    pub stats: Sharded<ListenerStats>,
    /// Those of a datagram listener beside them.
    pub udp: Option<Sharded<UdpStats>>,
    /// Open flows of a datagram listener, over all workers: never more than its limit, not even for a moment.
    pub flows: AtomicU32,
    /// What each client has open, from the first snapshot on that limits it.
    pub clients: OnceLock<ClientTable>,
    /// Where the accept rate stands, for all workers: see `health::limits`.
    pub accepts: AtomicU64,
}
