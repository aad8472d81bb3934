//! A udp listener: datagrams of clients to endpoints and back.
//!
//! What one client address and port sends to one local address is a flow. It has an endpoint, picked as for a connection,
//! and a socket of its own that is connected to it: what arrives there is a reply, goes back by the listener's socket, from
//! the address that the client spoke to; and the kernel tells when nothing listens there. A flow costs a table entry, its
//! record and that socket: no task, no buffer. All flows of a worker are served by one task.
//!
//! | file | what it is |
//! |---|---|
//! | `table` | which flow a datagram belongs to; pure |
//! | `flow` | one flow from its first datagram to its end |
//! | `endpoint` | an endpoint for a flow, and what is noted when it cannot be reached |

mod endpoint;
mod flow;
mod table;

use super::client::ListenerHandle;
use super::context::{Context, View};
use crate::base::Instant;
use crate::engine::{Datagram, DatagramSocket, Event, Raced, Wakes, race};
use crate::health::Failure;
use crate::snapshot::{Listener, Protocol, UdpSettings};
use crate::telemetry::UdpStats;
use crate::upstream::ListenerIdentity;
use flow::{End, Flow};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use table::{FlowKey, Table};

/// How long receiving pauses after an error of the socket.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);
/// The same trouble is logged once in this time.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether the kernel has dropped something.
const OVERFLOW_LOOK: Duration = Duration::from_secs(1);

/// One udp listener on one worker, for as long as it or one of its flows lives.
pub(super) struct UdpListener {
    identity: Arc<ListenerIdentity>,
    handle: RefCell<Rc<ListenerHandle>>,
    socket: DatagramSocket,
    table: RefCell<Table>,
    /// It takes no new flows; `drained` tells when the last has ended, or when it is to go on.
    draining: Cell<bool>,
    drained: Event,
    quiet_until: Cell<Instant>,
    overflow: Cell<(Instant, u64)>,
}

impl UdpListener {
    fn stats<'a>(&'a self, context: &Context) -> Option<&'a UdpStats> {
        self.identity.udp.as_ref().map(|stats| stats.shard(context.worker))
    }

    fn count_drop(&self, context: &Context, failure: Failure, datagrams: usize) {
        if let Some(stats) = self.stats(context) {
            stats.datagrams_dropped[failure as usize].add(datagrams as u64);
        }
    }

    /// Now and then, at most once in [`LOG_PAUSE`].
    fn warn(&self, context: &Context, text: std::fmt::Arguments<'_>) {
        let now = context.engine.now();
        if now >= self.quiet_until.get() {
            self.quiet_until.set(now + LOG_PAUSE);
            context.log.warn(text);
        }
    }

    fn look_for_overflow(&self, context: &Context) {
        let (next, before) = self.overflow.get();
        let now = context.engine.now();
        if now >= next {
            let count = self.socket.overflowed();
            if let Some(stats) = self.stats(context) {
                stats.queue_overflows.add(count.saturating_sub(before));
            }
            self.overflow.set((now + OVERFLOW_LOOK, count));
        }
    }
}

/// The listener as the snapshot in force has it, for the datagrams of one receive.
struct Place {
    view: Rc<View>,
    index: usize,
    now: Instant,
}

impl Place {
    fn of(context: &Context, listener: &UdpListener) -> Place {
        let (view, index) = listener.handle.borrow().current(context);
        Place { view, index, now: context.engine.now() }
    }

    fn listener(&self) -> &Listener {
        &self.view.snapshot.listeners[self.index]
    }

    /// `None` cannot be: a listener that speaks otherwise has another identity.
    fn settings(&self) -> Option<&UdpSettings> {
        match &self.listener().protocol {
            Protocol::Udp(settings) => Some(settings),
            Protocol::Http(_) | Protocol::Tcp(_) => None,
        }
    }
}

/// All flows of one worker.
pub(super) struct Flows {
    wakes: Wakes,
    flows: RefCell<Slab<Box<Flow>>>,
    /// Listeners that no snapshot has any more and that have flows still.
    draining: RefCell<Vec<Rc<UdpListener>>>,
}

impl Flows {
    pub(super) fn new(engine: &crate::engine::Engine) -> Flows {
        Flows { wakes: Wakes::new(engine), flows: RefCell::default(), draining: RefCell::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.borrow().len()
    }

    /// Brings replies back and ends flows, for ever. One task of the worker runs it.
    pub(super) async fn serve(&self, context: &Context) {
        loop {
            let index = self.wakes.next().await;
            let mut flows = self.flows.borrow_mut();
            // A flow that has ended may have left a wake for its place: a new occupant does not mind.
            let end = flows.get_mut(index as usize).and_then(|flow| flow.attend(context, index));
            drop(flows);
            if let Some(end) = end {
                self.end(context, index, end);
            }
        }
    }

    fn end(&self, context: &Context, index: u32, end: End) {
        let flow = self.flows.borrow_mut().remove(index as usize);
        flow.finish(context, end);
    }

    /// Ends every flow.
    pub(super) fn end_all(&self, context: &Context) {
        let all: Vec<u32> = self.flows.borrow().iter().map(|(index, _)| index as u32).collect();
        all.into_iter().for_each(|index| self.end(context, index, End::Drained));
    }
}

/// Serves a listener until it is to stop, and then its flows until the last has ended or the drain's deadline has come.
pub async fn serve(context: Rc<Context>, socket: DatagramSocket, handle: Rc<ListenerHandle>) {
    let listener = Rc::new(UdpListener {
        identity: handle.identity.clone(),
        handle: RefCell::new(handle),
        socket,
        table: RefCell::default(),
        draining: Cell::new(false),
        drained: Event::default(),
        quiet_until: Cell::new(Instant(0)),
        overflow: Cell::new((Instant(0), 0)),
    });
    loop {
        let handle = listener.handle.borrow().clone();
        while let Raced::First(()) = race(receive(&context, &listener), handle.stop.wait()).await {}
        if !drain(&context, &listener).await {
            break;
        }
    }
    let left = listener.table.borrow().flows();
    left.into_iter().for_each(|index| context.flows.end(&context, index, End::Drained));
}

/// Lets flows end, and takes no new ones. True if a snapshot has the listener again.
async fn drain(context: &Rc<Context>, listener: &Rc<UdpListener>) -> bool {
    let all = &context.flows.draining;
    listener.draining.set(true);
    all.borrow_mut().push(listener.clone());
    let deadline = context.engine.now() + context.view().snapshot.drain_timeout;
    while listener.draining.get() && listener.table.borrow().len() > 0 && context.engine.now() < deadline {
        let over = race(listener.drained.wait(), context.engine.sleep_until(deadline));
        race(receive(context, listener), over).await;
    }
    all.borrow_mut().retain(|other| !Rc::ptr_eq(other, listener));
    !listener.draining.get()
}

/// Goes on with a listener that drains, if `handle` is of such a one: a second socket at its address would share its flows
/// with it, and each would know a part of them.
pub fn resume(context: &Context, handle: &Rc<ListenerHandle>) -> bool {
    let all = context.flows.draining.borrow();
    let found =
        all.iter().find(|listener| Arc::ptr_eq(&listener.identity, &handle.identity) && listener.draining.get());
    let Some(listener) = found else { return false };
    *listener.handle.borrow_mut() = handle.clone();
    listener.draining.set(false);
    listener.drained.notify();
    true
}

/// Takes what has arrived. After an error it waits a little.
async fn receive(context: &Rc<Context>, listener: &Rc<UdpListener>) {
    let mut place = None;
    let receiving = listener.socket.receive(|datagram| {
        let place = place.get_or_insert_with(|| Place::of(context, listener));
        if let Err(failure) = forward(context, listener, place, &datagram) {
            listener.count_drop(context, failure, datagram.count());
        }
    });
    match receiving.await {
        Ok(received) => {
            if received.truncated > 0 {
                listener.count_drop(context, Failure::DatagramTruncated, received.truncated);
            }
            listener.look_for_overflow(context);
        }
        Err(error) => {
            listener.identity.stats.shard(context.worker).accept_errors.inc();
            let place = Place::of(context, listener);
            listener
                .warn(context, format_args!("listener `{}` cannot receive datagrams: {error}", place.listener().name));
            context.engine.sleep(RECEIVE_PAUSE).await;
        }
    }
}

/// Sends a client's datagram on, by its flow or by a new one.
fn forward(
    context: &Rc<Context>,
    listener: &Rc<UdpListener>,
    place: &Place,
    datagram: &Datagram<'_>,
) -> Result<(), Failure> {
    if let Some(stats) = listener.stats(context) {
        stats.datagrams_received.add(datagram.count() as u64);
        stats.bytes_received.add(datagram.bytes.len() as u64);
    }
    let key = FlowKey { client: datagram.from, local: datagram.to };
    let known = listener.table.borrow().get(&key);
    let index = match known {
        Some(index) => index,
        None => open(context, listener, place, key)
            .inspect_err(|_| listener.stats(context).iter().for_each(|stats| stats.flows_refused.inc()))?,
    };
    match context.flows.flows.borrow_mut().get_mut(index as usize) {
        Some(flow) => flow.forward(context, place, datagram, index),
        None => Err(Failure::Internal),
    }
}

/// A new flow, if there is room for one and an endpoint for it.
///
/// Where there is no room the newest is refused, not the oldest ended: whoever makes up source addresses could otherwise
/// push out everybody else.
fn open(context: &Rc<Context>, listener: &Rc<UdpListener>, place: &Place, key: FlowKey) -> Result<u32, Failure> {
    let settings = place.settings().ok_or(Failure::Internal)?;
    if listener.draining.get() {
        return Err(Failure::Draining);
    }
    let name = &place.listener().name;
    let most = settings.flows_max;
    let Some(room) = Room::take(listener, most) else {
        let advice = "raise it, shorten `idle_timeout`, or set `replies`";
        listener
            .warn(context, format_args!("listener `{name}` refuses flows: `flows_max` = {most} is reached; {advice}"));
        return Err(Failure::FlowsFull);
    };
    let (client, most) = (key.client.ip(), settings.flows_per_client_max);
    if listener.table.borrow().of_client(client) >= share(most, listener) {
        let text =
            format_args!("listener `{name}` refuses flows of {client}: `flows_per_client_max` = {most} is reached");
        listener.warn(context, text);
        return Err(Failure::ClientFlowsFull);
    }
    let (upstream, endpoint) = endpoint::first(context, listener, place, settings, key.client)?;
    let mut flows = context.flows.flows.borrow_mut();
    let entry = flows.vacant_entry();
    let index = entry.key() as u32;
    entry.insert(Box::new(Flow::new(context, listener, place, settings, (key, index), (upstream, endpoint), room)));
    listener.table.borrow_mut().insert(key, index);
    Ok(index)
}

/// One flow's part of `flows_max`; dropping it gives it back.
struct Room(Arc<ListenerIdentity>);

impl Room {
    fn take(listener: &UdpListener, most: u32) -> Option<Room> {
        let flows = &listener.identity.flows;
        if flows.fetch_add(1, Ordering::Relaxed) >= most {
            flows.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Room(listener.identity.clone()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.flows.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What each worker may allow one client: the kernel spreads a client's ports evenly over the workers.
fn share(most: u32, listener: &UdpListener) -> u32 {
    let workers = listener.identity.udp.as_ref().map_or(1, |stats| stats.iter().count());
    most.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX).max(1))
}

/// Whether an error of a connected socket says that the other side cannot be reached.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN)
    )
}
