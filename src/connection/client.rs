//! The client's side of a connection: who it is, which listener it came to, and its part in the counts.

use super::context::{Context, View};
use crate::base::Instant;
use crate::engine::Event;
use crate::snapshot::Listener;
use crate::telemetry::ListenerStats;
use crate::upstream::ListenerIdentity;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// One listener on one worker, for as long as it or one of its connections lives.
pub struct ListenerHandle {
    pub identity: Arc<ListenerIdentity>,
    /// Its accept loop is to end.
    pub stop: Event,
    /// Open connections of this worker.
    pub connections: Cell<u32>,
    /// No snapshot has it any more: connections end with their present request.
    draining: Cell<bool>,
    /// The last view that has it, and its index there.
    place: RefCell<(Rc<View>, usize)>,
}

impl ListenerHandle {
    pub fn new(view: &Rc<View>, index: usize) -> Option<Rc<ListenerHandle>> {
        let listener = view.snapshot.listeners.get(index)?;
        Some(Rc::new(ListenerHandle {
            identity: listener.identity.clone(),
            stop: Event::default(),
            connections: Cell::new(0),
            draining: Cell::new(false),
            place: RefCell::new((view.clone(), index)),
        }))
    }

    /// The listener as the snapshot in force has it, or the last one that had it.
    pub fn current(&self, context: &Context) -> (Rc<View>, usize) {
        let mut place = self.place.borrow_mut();
        let view = context.view();
        if !Rc::ptr_eq(&place.0, &view) && !self.draining.get() {
            match view.snapshot.listeners.iter().position(|listener| listener.identity.id == self.identity.id) {
                Some(index) => *place = (view, index),
                None => self.draining.set(true),
            }
        }
        place.clone()
    }

    pub fn is_draining(&self, context: &Context) -> bool {
        self.draining.get() || context.is_draining()
    }
}

/// A client's connection. Dropping it takes it out of the counts.
pub struct Client {
    pub address: SocketAddr,
    pub listener: Rc<ListenerHandle>,
    pub accepted: Instant,
    /// Requests that it has sent.
    pub requests: u32,
    context: Rc<Context>,
}

impl Client {
    /// Counts a connection that `listener` has just accepted.
    pub fn new(context: &Rc<Context>, listener: &Rc<ListenerHandle>, address: SocketAddr) -> Client {
        let stats = listener.identity.stats.shard(context.worker);
        stats.connections_accepted.inc();
        stats.connections_active.inc();
        context.worker_stats().connections_active.inc();
        context.connections.set(context.connections.get() + 1);
        listener.connections.set(listener.connections.get() + 1);
        let accepted = context.engine.now();
        Client { address, listener: listener.clone(), accepted, requests: 0, context: context.clone() }
    }

    /// Whether `listener` has room for another connection, all workers together.
    pub fn has_room(listener: &Listener) -> bool {
        let open: i64 = listener.identity.stats.iter().map(|shard| shard.connections_active.get()).sum();
        open < i64::from(listener.connections_max)
    }

    pub fn context(&self) -> &Rc<Context> {
        &self.context
    }

    pub(super) fn stats(&self) -> &ListenerStats {
        self.listener.identity.stats.shard(self.context.worker)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stats().connections_active.dec();
        self.context.worker_stats().connections_active.dec();
        self.context.connections.set(self.context.connections.get().saturating_sub(1));
        self.listener.connections.set(self.listener.connections.get().saturating_sub(1));
        if self.listener.is_draining(&self.context) {
            self.stats().connections_drained.inc();
        }
    }
}
