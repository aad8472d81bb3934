//! What all connections of one worker share, and the worker's view of the snapshot.

use super::admission::Answers;
use super::affinity::Preference;
use super::client::{Client, ListenerHandle};
use super::drain::{self, EndpointDrains};
use super::exchange::RequestId;
use super::http1::Spare;
use super::idle::IdleConnections;
use super::memory::Memory;
use super::opening::Refusals;
use super::udp::Flows;
use crate::balancer::{Ask, Picker, Plan};
use crate::base::{Instant, Sharded};
use crate::engine::{Engine, Parking};
use crate::snapshot::{Destination, Phase, Published, Snapshot};
use crate::telemetry::WorkerStats;
use crate::telemetry::access_log::AccessLogWriter;
use crate::telemetry::log::WorkerLog;
use crate::upstream::{UpstreamIdentity, UpstreamIndex};
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Missing source addresses are logged once in this time.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// Shared by all connections of a worker.
pub struct Context {
    pub engine: Engine,
    /// The index of this worker, from 0: which shard of every statistic it writes.
    pub worker: usize,
    pub published: Arc<Published>,
    pub stats: Arc<Sharded<WorkerStats>>,
    pub access_log: AccessLogWriter,
    pub log: WorkerLog,
    /// Connections of clients that are open.
    pub connections: Cell<u32>,
    /// Until when nothing is said of source addresses that are missing.
    quiet_until: Cell<Instant>,
    /// Accept loops that have not ended.
    pub accepting: Cell<u32>,
    /// Client connections that wait for their next request.
    pub(super) parking: Parking<Client>,
    /// Client connections that wait for their next request with their task.
    pub(super) waiting: Cell<u32>,
    pub(super) idle: IdleConnections,
    pub(super) drains: EndpointDrains,
    pub(super) spare: Spare,
    pub(super) memory: Memory,
    pub(super) answers: Answers,
    pub(super) refusals: Refusals,
    /// Clients so far.
    clients: Cell<u64>,
    /// Tells this worker's run from all others, once something needs that.
    run: OnceCell<u64>,
    /// Of udp listeners.
    pub(super) flows: Flows,
    view: RefCell<Rc<View>>,
}

impl Context {
    pub fn new(
        engine: &Engine,
        worker: usize,
        published: Arc<Published>,
        stats: Arc<Sharded<WorkerStats>>,
        access_log: AccessLogWriter,
        log: WorkerLog,
    ) -> Rc<Context> {
        let view = RefCell::new(View::new(published.load()));
        Rc::new(Context {
            engine: engine.clone(),
            worker,
            published,
            stats,
            access_log,
            log,
            connections: Cell::new(0),
            quiet_until: Cell::new(Instant(0)),
            accepting: Cell::new(0),
            parking: Parking::new(engine),
            waiting: Cell::new(0),
            idle: IdleConnections::new(engine),
            drains: EndpointDrains::default(),
            spare: Spare::default(),
            memory: Memory::default(),
            answers: Answers::default(),
            refusals: Refusals::default(),
            clients: Cell::new(0),
            run: OnceCell::new(),
            flows: Flows::new(engine),
            view,
        })
    }

    /// The snapshot in force, as this worker sees it. One relaxed load unless there is a new one.
    pub fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if view.snapshot.generation != self.published.generation() {
            *view = View::new(self.published.load());
        }
        view.clone()
    }

    pub(super) fn next_client_id(&self) -> u64 {
        self.clients.set(self.clients.get() + 1);
        self.clients.get()
    }

    /// An id that no other client's connection has, anywhere and ever, as far as chance goes.
    pub(super) fn unique_id(&self, client: u64) -> RequestId {
        RequestId::new(*self.run.get_or_init(|| self.engine.random()), client)
    }

    /// Whether to say that a source address is missing: once in [`LOG_PAUSE`].
    pub(super) fn may_warn(&self) -> bool {
        let now = self.engine.now();
        let may = now >= self.quiet_until.get();
        if may {
            self.quiet_until.set(now + LOG_PAUSE);
        }
        may
    }

    /// Has control look at an upstream before its time.
    pub(super) fn alarm(&self, upstream: &UpstreamIdentity) {
        upstream.alarm.store(true, Ordering::Relaxed);
        self.published.bell.ring();
    }

    /// This worker's shard of the worker statistics.
    pub fn worker_stats(&self) -> &WorkerStats {
        self.stats.shard(self.worker)
    }

    /// Whether connections are to be closed when their present request is done.
    pub fn is_draining(&self) -> bool {
        self.published.phase() != Phase::Serving
    }

    /// Whether no connection of a client and no flow is open.
    pub fn is_unused(&self) -> bool {
        self.connections.get() == 0 && self.flows.len() == 0
    }

    /// Brings replies of udp endpoints back, and ends flows. One task of the worker runs it.
    pub async fn serve_flows(&self) {
        self.flows.serve(self).await;
    }

    /// Ends every flow.
    pub fn end_flows(&self) {
        self.flows.end_all(self);
    }

    /// Client connections that are parked.
    pub fn parked(&self) -> usize {
        self.parking.len()
    }

    /// Bytes of requests under way (heads and buffers), and of what is kept for requests to come.
    pub fn memory_held(&self) -> (usize, usize) {
        (self.memory.requests.get(), self.memory.spares.get())
    }

    /// Bytes of bodies that are buffered.
    pub fn memory_buffered(&self) -> usize {
        self.memory.buffered_bytes()
    }

    /// Closes the client connections of one listener that wait for a request.
    pub fn close_parked_of(&self, listener: &Rc<ListenerHandle>) {
        self.parking.take_where(|client| Rc::ptr_eq(&client.listener, listener));
    }

    /// Closes idle connections to endpoints that are in force no more, and sets a deadline to what is relayed to them.
    pub fn follow_endpoints(&self, old: &View, new: &View) {
        drain::follow(self, &old.snapshot, &new.snapshot);
    }

    /// Cuts off what is relayed to endpoints that left too long ago. One task of the worker runs it.
    pub async fn serve_drains(&self) {
        self.drains.serve(&self.engine).await;
    }

    /// Gives back idle connections to endpoints as they end. One task of the worker runs it.
    pub async fn watch_idle(&self) {
        self.idle.watch(self.worker).await;
    }
}

/// A snapshot and what this worker adds to it.
pub struct View {
    pub snapshot: Arc<Snapshot>,
    /// Made when first used: a snapshot may have many upstreams that this worker never sends to. By upstream, and then by
    /// the part of its endpoints.
    pickers: Vec<OnceCell<RefCell<Planned>>>,
    /// Where an upstream's pickers begin.
    first: Vec<u32>,
}

/// The plan of an upstream that this worker goes by, and its own state beside it.
struct Planned {
    plan: Arc<Plan>,
    picker: Picker,
}

impl View {
    fn new(snapshot: Arc<Snapshot>) -> Rc<View> {
        let mut pickers = Vec::new();
        let mut first = Vec::with_capacity(snapshot.upstreams.len());
        for upstream in &snapshot.upstreams {
            first.push(pickers.len() as u32);
            pickers.resize_with(pickers.len() + 1 + upstream.subsets.len(), OnceCell::new);
        }
        Rc::new(View { snapshot, pickers, first })
    }

    /// The endpoint for the next attempt: an index into the upstream's endpoints.
    pub(super) fn pick(
        &self,
        upstream: UpstreamIndex,
        preference: Preference,
        tried: &[u32],
        engine: &Engine,
    ) -> Option<usize> {
        let index = upstream.0 as usize;
        let settings = self.snapshot.upstreams.get(index)?;
        let Preference { subset, affinity } = preference;
        let in_force = settings.plan_of(subset)?;
        let picker = self.pickers.get((*self.first.get(index)? + subset) as usize)?;
        let planned = || RefCell::new(Planned { plan: in_force.load(), picker: Picker::default() });
        let mut planned = picker.get_or_init(planned).borrow_mut();
        if !in_force.is_current(&planned.plan) {
            planned.plan = in_force.load();
        }
        let Planned { plan, picker } = &mut *planned;
        let in_flight = match settings.policy.hash_load_max {
            Some(_) => settings.identity.in_flight.sum(|in_flight| in_flight.get().max(0) as u64),
            None => 0,
        };
        let ask = Ask { tried, random: engine.random(), now: engine.now(), affinity, in_flight };
        picker.pick(plan, &settings.endpoints, &ask)
    }

    /// The upstream that a destination means this time.
    pub(super) fn upstream_of(&self, destination: &Destination, engine: &Engine) -> UpstreamIndex {
        match destination {
            Destination::One(upstream) => *upstream,
            Destination::Split { parts, total } => {
                let mut left = (((engine.random() >> 32) * u64::from(*total)) >> 32) as u32;
                for (weight, upstream) in parts {
                    if left < *weight {
                        return *upstream;
                    }
                    left -= weight;
                }
                // The sum covers every number, so this is reached only by an empty split, which names no upstream.
                parts.last().map_or(UpstreamIndex(u32::MAX), |(_, upstream)| *upstream)
            }
        }
    }
}
