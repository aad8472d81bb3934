//! Endpoints that have left the snapshot, or have weight 0 there: relays to them may go on for the upstream's drain timeout
//! and are then cut off. A request in flight ends by itself, and an idle connection is closed at once (`idle`).

use super::context::Context;
use crate::base::Instant;
use crate::engine::{Engine, Event, Latch};
use crate::snapshot::Snapshot;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

/// The drains of one worker, by endpoint id.
#[derive(Default)]
pub(super) struct EndpointDrains {
    /// What relays wait for.
    cuts: RefCell<HashMap<u32, Rc<Latch>>>,
    /// When relays to endpoints that have left are cut off, those included that are only being connected.
    until: RefCell<HashMap<u32, Instant>>,
    /// A drain has begun.
    begun: Event,
}

impl EndpointDrains {
    /// What a relay to this endpoint is to wait for. It holds the endpoint's identity for as long, so that the id stays its.
    pub(super) fn cut_of(&self, endpoint: u32) -> Rc<Latch> {
        self.cuts.borrow_mut().entry(endpoint).or_default().clone()
    }

    /// Notes which endpoints are there, and how long what is relayed to those that have gone may go on.
    fn note(&self, present: &HashSet<u32>, gone: &HashMap<u32, Option<Duration>>, now: Instant) {
        self.cuts.borrow_mut().retain(|_, cut| Rc::strong_count(cut) > 1);
        let mut until = self.until.borrow_mut();
        until.retain(|endpoint, _| !present.contains(endpoint));
        until.extend(gone.iter().filter_map(|(endpoint, timeout)| Some((*endpoint, now + (*timeout)?))));
        self.begun.notify();
    }

    /// Cuts off what is at its deadline. Gives when the next one is.
    fn end(&self, now: Instant) -> Instant {
        let mut next = Instant::NEVER;
        self.until.borrow_mut().retain(|endpoint, until| {
            if *until <= now {
                self.cuts.borrow_mut().remove(endpoint).inspect(|cut| cut.give());
                return false;
            }
            next = next.min(*until);
            true
        });
        next
    }

    /// Cuts off what has gone on for too long. One task of the worker runs it.
    pub(super) async fn serve(&self, engine: &Engine) {
        loop {
            let next = self.end(engine.now());
            let _ = engine.timeout(next, self.begun.wait()).await;
        }
    }
}

/// Closes the idle connections to endpoints that `new` does not have, and sets a deadline to what is relayed to them.
pub(super) fn follow(context: &Context, old: &Snapshot, new: &Snapshot) {
    // Most swaps change weights and rules alone, and to sort a thousand endpoints keeps a worker from its requests.
    if endpoints(old).map(|(id, _)| id).eq(endpoints(new).map(|(id, _)| id)) {
        return;
    }
    let present: HashSet<u32> = endpoints(new).map(|(id, _)| id).collect();
    let gone = endpoints(old).filter(|(id, _)| !present.contains(id));
    let gone: HashMap<u32, Option<Duration>> =
        gone.map(|(id, upstream)| (id, drain_timeout(upstream, old, new))).collect();
    context.idle.retire(&present, gone.keys(), context.worker);
    context.drains.note(&present, &gone, context.engine.now());
}

/// Every endpoint with the index of its upstream.
fn endpoints(snapshot: &Snapshot) -> impl Iterator<Item = (u32, usize)> {
    let upstreams = snapshot.upstreams.iter().enumerate();
    upstreams.flat_map(|(index, upstream)| upstream.endpoints.iter().map(move |each| (each.identity.id, index)))
}

/// As the upstream has it now, or had it at last.
fn drain_timeout(upstream: usize, old: &Snapshot, new: &Snapshot) -> Option<Duration> {
    let upstream = old.upstreams.get(upstream)?;
    let now = new.upstreams.iter().find(|other| other.identity.name == upstream.identity.name);
    now.unwrap_or(upstream).drain_timeout
}
