//! What drains: the process, listeners and endpoints that a reload has taken out. Kept until nothing is left of them, so
//! that the admin listener can show it, and logged at the end. The workers drain by themselves; here it is only watched.

use crate::base::Gauge;
use crate::snapshot::{Listener, Snapshot, Upstream};
use crate::telemetry::log;
use crate::telemetry::timestamp::wall_clock_micros;
use crate::upstream::{EndpointIdentity, ListenerIdentity};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the counts are looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// Workers cut off what is left at the deadline; so much later it is to be gone.
const DEADLINE_GRACE: Duration = Duration::from_secs(1);

/// Connections of clients, or flows, that are open on a listener, all workers together.
pub fn open_connections(listener: &Listener) -> u64 {
    of_listener(&listener.identity)
}

/// Requests and relays under way at an endpoint, all workers together.
pub fn busy_connections(endpoint: &EndpointIdentity) -> u64 {
    endpoint.stats.sum(|shard| level(&shard.connections_active))
}

fn of_listener(identity: &ListenerIdentity) -> u64 {
    let flows = identity.udp.as_ref().map_or(0, |udp| udp.sum(|shard| level(&shard.flows_active)));
    identity.stats.sum(|shard| level(&shard.connections_active)) + flows
}

fn level(gauge: &Gauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or(0)
}

/// All that drains.
#[derive(Debug, Default)]
pub struct Drains {
    now: Mutex<Draining>,
}

#[derive(Debug, Default)]
struct Draining {
    /// Since when the process does, in microseconds since 1970-01-01 UTC.
    process: Option<u64>,
    parts: Vec<Arc<Drain>>,
}

/// A listener or an endpoint that drains.
#[derive(Debug)]
pub struct Drain {
    pub of: Drained,
    /// In microseconds since 1970-01-01 UTC.
    pub since: u64,
    /// When what is left is cut off, from then on; `None` is never.
    pub timeout: Option<Duration>,
    /// Connections at the beginning, and what had been cut off by then.
    at_first: u64,
    cut_before: u64,
}

#[derive(Debug)]
pub enum Drained {
    Listener { name: String, identity: Arc<ListenerIdentity> },
    Endpoint(Arc<EndpointIdentity>),
}

impl Drained {
    /// Connections that are left.
    pub fn connections(&self) -> u64 {
        match self {
            Drained::Listener { identity, .. } => of_listener(identity),
            Drained::Endpoint(identity) => busy_connections(identity),
        }
    }

    fn cut(&self) -> u64 {
        match self {
            Drained::Listener { identity, .. } => identity.stats.sum(|stats| stats.connections_cut.get()),
            Drained::Endpoint(identity) => identity.stats.sum(|stats| stats.connections_cut.get()),
        }
    }
}

impl Drain {
    fn of(of: Drained, timeout: Option<Duration>) -> Drain {
        let (at_first, cut_before) = (of.connections(), of.cut());
        Drain { of, since: wall_clock_micros(), timeout, at_first, cut_before }
    }

    fn report(&self) {
        let left = self.of.connections();
        let cut = self.of.cut().saturating_sub(self.cut_before);
        let ended = self.at_first.saturating_sub(left + cut);
        let what = match &self.of {
            Drained::Listener { name, .. } => format!("listener `{name}`"),
            Drained::Endpoint(endpoint) => format!("endpoint {} of upstream `{}`", endpoint.address, endpoint.upstream),
        };
        if left + cut == 0 {
            log::info!("{what} drained: {ended} connections ended by themselves");
        } else {
            log::warn!(
                "{what} drained: {ended} connections ended by themselves, {cut} were cut off, {left} are open still"
            );
        }
    }
}

impl Drains {
    fn lock(&self) -> MutexGuard<'_, Draining> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process drains from now on.
    pub fn begin_process(&self) {
        self.lock().process.get_or_insert(wall_clock_micros());
    }

    /// Since when the process drains, in microseconds since 1970-01-01 UTC.
    pub fn process(&self) -> Option<u64> {
        self.lock().process
    }

    /// The listeners and endpoints that drain.
    pub fn parts(&self) -> Vec<Arc<Drain>> {
        self.lock().parts.clone()
    }

    /// Notes what `new` lacks of `old`, and what it has again. Within a tokio runtime: each drain is watched to its end.
    pub fn follow(self: &Arc<Self>, old: &Snapshot, new: &Snapshot) {
        let mut now = self.lock();
        now.parts.retain(|part| !has(new, &part.of));
        let mut begun: Vec<Drain> = gone_listeners(old, new).collect();
        begun.extend(gone_endpoints(old, new).map(|(of, timeout)| Drain::of(of, timeout)));
        for drain in begun {
            let drain = Arc::new(drain);
            now.parts.push(Arc::clone(&drain));
            tokio::spawn(Arc::clone(self).watch(drain));
        }
    }

    /// Waits until nothing is left, or it does not drain any more.
    async fn watch(self: Arc<Self>, drain: Arc<Drain>) {
        let deadline = drain.timeout.map(|timeout| Instant::now() + timeout + DEADLINE_GRACE);
        let mut stays = true;
        while stays && drain.of.connections() > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            sleep(INTERVAL).await;
            stays = self.lock().parts.iter().any(|part| Arc::ptr_eq(part, &drain));
        }
        if stays {
            self.lock().parts.retain(|part| !Arc::ptr_eq(part, &drain));
            drain.report();
        }
    }
}

fn has(snapshot: &Snapshot, drained: &Drained) -> bool {
    match drained {
        // A listener that comes back opens anew; what it had before drains on.
        Drained::Listener { .. } => false,
        Drained::Endpoint(identity) => {
            let mut endpoints = snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
            endpoints.any(|endpoint| Arc::ptr_eq(&endpoint.identity, identity))
        }
    }
}

fn gone_listeners(old: &Snapshot, new: &Snapshot) -> impl Iterator<Item = Drain> {
    let gone = |listener: &&Listener| !new.listeners.iter().any(|kept| kept.identity.id == listener.identity.id);
    let timeout = new.drain_timeout;
    old.listeners.iter().filter(gone).map(move |listener| {
        let (name, identity) = (listener.name.clone(), Arc::clone(&listener.identity));
        Drain::of(Drained::Listener { name, identity }, Some(timeout))
    })
}

/// The endpoints that `new` lacks and something is under way to, with the drain timeout of their upstream as it is now.
fn gone_endpoints(old: &Snapshot, new: &Snapshot) -> impl Iterator<Item = (Drained, Option<Duration>)> {
    let kept: HashSet<u32> =
        new.upstreams.iter().flat_map(|upstream| &upstream.endpoints).map(|e| e.identity.id).collect();
    let timeout = |upstream: &Upstream| {
        let same = new.upstreams.iter().find(|other| other.identity.name == upstream.identity.name);
        same.unwrap_or(upstream).drain_timeout
    };
    let of_upstream = old.upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(move |e| (upstream, e)));
    let gone = of_upstream.filter(move |(_, endpoint)| !kept.contains(&endpoint.identity.id));
    let busy = gone.filter(|(_, endpoint)| busy_connections(&endpoint.identity) > 0);
    busy.map(move |(upstream, endpoint)| (Drained::Endpoint(Arc::clone(&endpoint.identity)), timeout(upstream)))
}
