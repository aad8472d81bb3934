//! The client's side of a connection: who it is, which listener it came to, and its part in the counts.

use super::context::{Context, View};
use crate::base::{Address, Instant};
use crate::engine::{Event, Latch};
use crate::health::{Failure, is_old};
use crate::protocol::proxy::{Addresses, Extensions, Header, UNIX_BYTES};
use crate::snapshot::{HttpSettings, ProxyExtensions, ProxyHeader, Upstream};
use crate::telemetry::ListenerStats;
use crate::upstream::{ClientPlace, ListenerIdentity};
use std::borrow::Cow;
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
    /// Until when a connection without a request may still bring one; [`Instant::NEVER`] unless it drains.
    pub(super) idle_until: Cell<Instant>,
    /// The deadline of its drain has come: connections end at once.
    pub cut: Latch,
    /// Its last connection has ended.
    pub emptied: Event,
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
            idle_until: Cell::new(Instant::NEVER),
            cut: Latch::default(),
            emptied: Event::default(),
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

    /// Lets its connections end: those without a request from `idle_until` on.
    pub fn drain(&self, idle_until: Instant) {
        self.draining.set(true);
        self.idle_until.set(idle_until);
    }

    pub fn is_draining(&self, context: &Context) -> bool {
        self.draining.get() || context.is_draining()
    }

    /// Whether a connection that has no request is to end.
    pub(super) fn closes_idle(&self, context: &Context) -> bool {
        context.engine.now() >= self.idle_until.get()
    }
}

/// What a client's connection waits for while it is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A PROXY header.
    Header,
    /// A ClientHello.
    Hello,
    /// A request.
    Open,
}

/// What a PROXY header said, beside the client's address.
pub(super) struct Conveyed {
    /// Who sent it.
    pub sender: Address,
    /// Where the client had connected to.
    pub destination: Option<SocketAddr>,
    /// Of a client and a listener that were unix sockets.
    pub unix: Option<Box<[[u8; UNIX_BYTES]; 2]>>,
    pub authority: Option<Box<[u8]>>,
    pub alpn: Option<Box<[u8]>>,
    pub unique_id: Option<Box<[u8]>>,
    /// The client spoke TLS to the sender.
    pub tls: bool,
}

/// Endpoints to which one client may have idle connections of its own.
const BOUND_MAX: usize = 4;
const UNBOUND: u32 = u32::MAX;

/// A client's connection. Dropping it takes it out of the counts.
pub struct Client {
    /// Where it connected from; after a PROXY header, what that said. Everything that depends on who the client is depends
    /// on this. A client of a Unix socket has no IP address, and what goes by that leaves it alone.
    pub address: Address,
    pub(super) stage: Stage,
    pub(super) conveyed: Option<Box<Conveyed>>,
    /// From 1; tells it from all other clients that this worker ever had.
    pub(super) id: u64,
    /// Ids of the endpoints to which idle connections are kept for this client alone.
    bound: Cell<[u32; BOUND_MAX]>,
    pub listener: Rc<ListenerHandle>,
    pub accepted: Instant,
    /// When its own bytes could begin: once it was accepted, or its PROXY header complete.
    pub(super) opened: Instant,
    /// Requests that it has sent.
    pub requests: u32,
    /// Where it is counted as one of its client's.
    place: Option<ClientPlace>,
    context: Rc<Context>,
}

impl Client {
    /// Counts a connection that `listener` has just accepted.
    pub(super) fn new(
        context: &Rc<Context>,
        listener: &Rc<ListenerHandle>,
        address: Address,
        place: Option<ClientPlace>,
    ) -> Client {
        let stats = listener.identity.stats.shard(context.worker);
        stats.connections_accepted.inc();
        stats.connections_active.inc();
        context.worker_stats().connections_active.inc();
        context.connections.set(context.connections.get() + 1);
        listener.connections.set(listener.connections.get() + 1);
        Client {
            address,
            stage: Stage::Open,
            conveyed: None,
            id: context.next_client_id(),
            bound: Cell::new([UNBOUND; BOUND_MAX]),
            listener: listener.clone(),
            accepted: context.engine.now(),
            opened: context.engine.now(),
            requests: 0,
            place,
            context: context.clone(),
        }
    }

    /// Takes over what a PROXY header says: from here on, the client is who the header says it is.
    pub(super) fn convey(&mut self, header: &Header<'_>) {
        if header.addresses == Addresses::Unknown && header.extensions == Extensions::default() {
            return;
        }
        let owned = |value: Option<&[u8]>| value.map(Box::from);
        let Extensions { authority, alpn, unique_id } = header.extensions;
        let mut conveyed = Conveyed {
            sender: self.address.clone(),
            destination: None,
            unix: None,
            authority: owned(authority),
            alpn: owned(alpn),
            unique_id: owned(unique_id),
            tls: header.tls,
        };
        match header.addresses {
            Addresses::Unknown => {}
            Addresses::Ip { source, destination } => {
                self.address = Address::Ip(SocketAddr::new(source.ip().to_canonical(), source.port()));
                conveyed.destination = Some(destination);
            }
            Addresses::Unix { source, destination } => conveyed.unix = Some(Box::new([*source, *destination])),
        }
        self.conveyed = Some(Box::new(conveyed));
    }

    /// Whether the connection may carry another request after the present one.
    pub(super) fn may_go_on(&self, settings: &HttpSettings) -> bool {
        let age = self.context.engine.now() - self.accepted;
        self.requests < settings.keep_alive_requests_max && !is_old(age, settings.keep_alive_age_max, self.id)
    }

    /// The proxy that said who the client is.
    pub(super) fn sender(&self) -> Option<&Address> {
        Some(&self.conveyed.as_ref()?.sender)
    }

    /// The id of the connection: the one that a PROXY header gave it, else one of ours.
    pub(super) fn unique_id(&self) -> Cow<'_, [u8]> {
        match self.conveyed.as_ref().and_then(|conveyed| conveyed.unique_id.as_deref()) {
            Some(given) => Cow::Borrowed(given),
            None => Cow::Owned(self.context.unique_id(self.id).as_bytes().unwrap_or_default().to_vec()),
        }
    }

    /// The id of the connection if anybody else knows it: who sent the header, or the endpoints of `upstream`.
    pub(super) fn known_unique_id(&self, upstream: Option<&Upstream>) -> Option<Cow<'_, [u8]>> {
        let received = self.conveyed.as_ref().is_some_and(|conveyed| conveyed.unique_id.is_some());
        let header = upstream.and_then(|upstream| upstream.proxy_protocol);
        let sent = matches!(header, Some(ProxyHeader::V2(ProxyExtensions { unique_id: true, .. })));
        (received || sent).then(|| self.unique_id())
    }

    /// Notes that an idle connection to this endpoint is kept for this client alone; false if it has too many.
    pub(super) fn bind(&self, endpoint: u32) -> bool {
        let mut bound = self.bound.get();
        let place = bound.iter().position(|id| *id == endpoint).or(bound.iter().position(|id| *id == UNBOUND));
        let Some(place) = place else { return false };
        bound[place] = endpoint;
        self.bound.set(bound);
        true
    }

    /// Counts the connection as one of its client's, once it is known who that is.
    ///
    /// # Errors
    /// If the client has as many connections as it may.
    pub(super) fn count(&mut self) -> Result<(), Failure> {
        self.give_back_place();
        let (view, index) = self.listener.current(&self.context);
        self.place = super::admission::count_client(&self.context, &view.snapshot.listeners[index], &self.address)?;
        Ok(())
    }

    fn give_back_place(&mut self) {
        if let (Some(place), Some(table)) = (self.place.take(), self.listener.identity.clients.get()) {
            table.give_back(place);
        }
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
        for endpoint in self.bound.get().into_iter().filter(|id| *id != UNBOUND) {
            self.context.idle.close(endpoint, self.id, self.context.worker);
        }
        self.give_back_place();
        self.stats().connections_active.dec();
        self.context.worker_stats().connections_active.dec();
        self.context.connections.set(self.context.connections.get().saturating_sub(1));
        let left = self.listener.connections.get().saturating_sub(1);
        self.listener.connections.set(left);
        if left == 0 {
            self.listener.emptied.notify();
        }
        if self.listener.cut.is_given() {
            self.stats().connections_cut.inc();
        } else if self.listener.is_draining(&self.context) {
            self.stats().connections_drained.inc();
        }
    }
}
