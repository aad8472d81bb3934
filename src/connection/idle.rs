//! Idle connections to endpoints: parked, so that an endpoint's close is seen at once, and found by the endpoint's id.
//!
//! A connection that began with a PROXY header speaks for one client, its owner: nobody else is given it, and it is closed
//! with the owner's own connection.

use crate::base::Instant;
use crate::engine::{Engine, Parking, Stream, Ticket};
use crate::upstream::EndpointIdentity;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// The idle connections of one worker, to all endpoints.
pub(super) struct IdleConnections {
    engine: Engine,
    parking: Parking<Idle>,
    /// By endpoint id.
    by_endpoint: RefCell<Vec<Places>>,
}

#[derive(Default)]
struct Places {
    /// The one used last comes first, so that the others may grow old.
    open: Vec<Place>,
    /// No snapshot has the endpoint any more: what comes back from a request is closed.
    retired: bool,
}

/// The owner of connections that are anybody's.
pub(super) const ANYBODY: u64 = 0;

struct Place {
    ticket: Ticket,
    /// The id of a client, or [`ANYBODY`].
    owner: u64,
}

struct Idle {
    endpoint: Arc<EndpointIdentity>,
    use_so_far: Use,
}

/// How a connection has been used so far.
#[derive(Clone, Copy)]
pub(super) struct Use {
    /// When it was opened.
    pub since: Instant,
    /// Requests that it has carried, the present one included.
    pub requests: u32,
}

impl IdleConnections {
    pub(super) fn new(engine: &Engine) -> IdleConnections {
        IdleConnections { engine: engine.clone(), parking: Parking::new(engine), by_endpoint: RefCell::default() }
    }

    /// Keeps a connection, unless the endpoint has `max` of them.
    pub(super) fn put(
        &self,
        stream: Stream,
        endpoint: &Arc<EndpointIdentity>,
        (owner, use_so_far): (u64, Use),
        max: u32,
        timeout: Duration,
        worker: usize,
    ) {
        let mut by_endpoint = self.by_endpoint.borrow_mut();
        let id = endpoint.id as usize;
        if by_endpoint.len() <= id {
            by_endpoint.resize_with(id + 1, Places::default);
        }
        let places = &mut by_endpoint[id];
        if places.retired || places.open.len() >= max as usize || stream.is_readable() {
            return;
        }
        let until = self.engine.now() + timeout;
        let ticket = self.parking.park(stream, until, Idle { endpoint: endpoint.clone(), use_so_far });
        places.open.push(Place { ticket, owner });
        endpoint.stats.shard(worker).connections_idle.inc();
    }

    /// An idle connection of this owner on which nothing has happened.
    pub(super) fn take(&self, endpoint: u32, owner: u64, worker: usize) -> Option<(Stream, Use)> {
        loop {
            let mut by_endpoint = self.by_endpoint.borrow_mut();
            let places = &mut by_endpoint.get_mut(endpoint as usize)?.open;
            let at = places.iter().rposition(|place| place.owner == owner)?;
            let place = places.remove(at);
            drop(by_endpoint);
            let Some(parked) = self.parking.take(place.ticket) else { continue };
            parked.record.endpoint.stats.shard(worker).connections_idle.dec();
            // An endpoint that spoke unasked or closed: its connection is of no use.
            if !parked.stream.is_readable() {
                return Some((parked.stream, parked.record.use_so_far));
            }
        }
    }

    /// Closes the connections that this owner leaves behind.
    pub(super) fn close(&self, endpoint: u32, owner: u64, worker: usize) {
        while self.take(endpoint, owner, worker).is_some() {}
    }

    /// Closes the connections to endpoints that are gone and not `present`, and keeps no more of them.
    pub(super) fn retire<'a>(&self, present: &HashSet<u32>, gone: impl Iterator<Item = &'a u32>, worker: usize) {
        let mut by_endpoint = self.by_endpoint.borrow_mut();
        let len = gone.map(|id| *id as usize + 1).max().unwrap_or(0).max(by_endpoint.len());
        by_endpoint.resize_with(len, Places::default);
        for (id, places) in by_endpoint.iter_mut().enumerate() {
            places.retired = !present.contains(&(id as u32));
            if !places.retired {
                continue;
            }
            for place in std::mem::take(&mut places.open) {
                if let Some(parked) = self.parking.take(place.ticket) {
                    parked.record.endpoint.stats.shard(worker).connections_idle.dec();
                }
            }
        }
    }

    /// Closes up to `count` connections, those first whose time would be up first. How many.
    pub(super) fn close_idlest(&self, count: usize, worker: usize) -> usize {
        let closed = self.parking.take_idlest(count);
        let mut by_endpoint = self.by_endpoint.borrow_mut();
        for gone in &closed {
            gone.record.endpoint.stats.shard(worker).connections_idle.dec();
            if let Some(places) = by_endpoint.get_mut(gone.record.endpoint.id as usize) {
                places.open.retain(|place| self.parking.holds(place.ticket));
            }
        }
        closed.len()
    }

    /// Closes connections as their endpoints close them, or as they grow too old.
    pub(super) async fn watch(&self, worker: usize) {
        loop {
            let gone = self.parking.next().await;
            gone.record.endpoint.stats.shard(worker).connections_idle.dec();
            if let Some(places) = self.by_endpoint.borrow_mut().get_mut(gone.record.endpoint.id as usize) {
                places.open.retain(|place| self.parking.holds(place.ticket));
            }
        }
    }
}
