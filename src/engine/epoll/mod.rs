//! The epoll driver: edge-triggered, one epoll_ctl for the life of a descriptor, no system call that a known
//! readiness makes needless. It gives readiness the same completion-style face as the other drivers.
//!
//! Nothing is in flight in the kernel, so a slot ends with its close, and events of a batch are all handled before
//! anything can be closed: no event ever names a later occupant of a slot.

mod calls;
mod datagrams;
mod splicing;

use super::buffer::{Arena, Chunk, Outgoing};
use super::datagram::DatagramSlot;
use super::driver::{ListenerId, RemoteWaker, StreamId, monotonic};
use super::spent::Spent;
use super::{ConnectOptions, EngineCounts, EngineSettings, ListenOptions, socket};
use crate::base::heap::{Pressure, pressure};
use crate::base::{Address, Instant, SharedSocket};
use calls::Poller;
use slab::Slab;
use socket2::Socket;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Events taken from the kernel at once; more stay there for the next turn.
const EVENTS_MAX: usize = 1024;
/// What one stream or listener may do in one turn before the others have theirs. Without these a fast sender that
/// always has more to give would keep its task, and with it the thread, for ever.
const RECEIVES_A_TURN: u8 = 4;
const SENDS_A_TURN: u8 = 16;
const ACCEPTS_A_TURN: u8 = 64;

/// What an event is for: the upper half of its data.
const KIND_STREAM: u32 = 0;
const KIND_LISTENER: u32 = 1;
const KIND_REMOTE: u32 = 2;
const KIND_DATAGRAM: u32 = 3;

const STREAM_INTEREST: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;
const INPUT: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const HANGUP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const FAILURE: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
const OUTPUT: u32 = libc::EPOLLOUT as u32;

/// What is known about the bytes that wait in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The last receive took everything, and no edge has come since.
    Drained,
    /// The last receive filled its buffer: more may have come with the same edge.
    Unknown,
    Waiting,
}

/// How a stream ended for its receiver.
#[derive(Clone, Copy, Debug)]
enum End {
    Open,
    Finished,
    Failed(i32),
}

struct StreamSlot {
    fd: OwnedFd,
    input: Cell<Input>,
    /// Bytes, modulo 2³².
    received: u32,
    end: End,
    /// The other side has ended or failed: a short receive does not mean that there is nothing left to receive.
    hangup: bool,
    connecting: bool,
    send_broken: bool,
    /// The last splice into it moved nothing, and no edge has come since.
    full: bool,
    starved: bool,
    receives: Spent,
    sends: Spent,
    receive_waker: Option<Waker>,
    send_waker: Option<Waker>,
    send: Option<Box<Pending>>,
    /// Of a Unix socket: the bytes that the kernel has taken.
    unix_sent: Option<u64>,
}

/// A send that was not done at once.
struct Pending {
    outgoing: Outgoing,
    result: Option<io::Result<()>>,
    /// The turn in which it came to be; its result is given in a later one.
    turn: u32,
}

struct ListenerSlot {
    socket: Listening,
    /// In the epoll set.
    registered: bool,
    /// Accepted since it was put into the epoll set.
    accepted: bool,
    /// An edge has come, and no accept has found the queue empty since.
    ready: bool,
    accepts: Spent,
    waker: Option<Waker>,
}

/// A listening socket of this engine, or one that it shares.
enum Listening {
    Own(Socket),
    Shared(Arc<SharedSocket>),
}

impl Listening {
    fn fd(&self) -> RawFd {
        match self {
            Listening::Own(socket) => socket.as_raw_fd(),
            Listening::Shared(socket) => socket.fd(),
        }
    }

    /// Exclusive: a connection wakes one of those who share the socket.
    fn interest(&self) -> i32 {
        match self {
            Listening::Own(_) => libc::EPOLLIN,
            Listening::Shared(_) => libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
        }
    }
}

pub(super) struct Epoll {
    poller: Poller,
    arena: Rc<Arena>,
    streams: Slab<StreamSlot>,
    listeners: Slab<ListenerSlot>,
    datagrams: Slab<DatagramSlot>,
    datagram_size: usize,
    events: Vec<libc::epoll_event>,
    vectors: Vec<libc::iovec>,
    /// Who has had its share of this turn and goes on in the next.
    postponed: Vec<Waker>,
    /// Streams that wait for a buffer, the longest waiting first.
    starved: VecDeque<u32>,
    remote: Arc<RemoteWaker>,
    turn: u32,
    counts: EngineCounts,
}

impl Epoll {
    pub(super) fn new(settings: &EngineSettings) -> io::Result<Epoll> {
        let poller = Poller::new()?;
        let remote = Arc::new(RemoteWaker::new()?);
        poller.add(remote.fd(), libc::EPOLLIN, data(KIND_REMOTE, 0))?;
        Ok(Epoll {
            poller,
            arena: Arena::new(settings.buffers, settings.buffer_size)?,
            streams: Slab::new(),
            listeners: Slab::new(),
            datagrams: Slab::new(),
            datagram_size: settings.datagram_size,
            events: Vec::with_capacity(EVENTS_MAX),
            vectors: Vec::new(),
            postponed: Vec::new(),
            starved: VecDeque::new(),
            remote,
            turn: 1,
            counts: EngineCounts::default(),
        })
    }

    pub(super) fn remote(&self) -> Arc<RemoteWaker> {
        self.remote.clone()
    }

    pub(super) fn counts(&self) -> EngineCounts {
        let free = self.arena.free_count();
        EngineCounts {
            buffers_free: free as u64,
            bytes_received_held: self.arena.held_bytes(free),
            streams: self.streams.len() as u64,
            datagram_sockets: self.datagrams.len() as u64,
            ..self.counts
        }
    }

    pub(super) fn wait(&mut self, until: Option<Instant>) -> Instant {
        let fed = self.feed_starved();
        let timeout_ms = if fed || !self.postponed.is_empty() { 0 } else { timeout_ms(until) };
        let mut events = std::mem::take(&mut self.events);
        self.poller.wait(&mut events, timeout_ms);
        self.turn = self.turn.wrapping_add(1);
        self.counts.turns += 1;
        self.counts.completions += events.len() as u64;
        for event in &events {
            let (kind, index) = ((event.u64 >> 32) as u32, event.u64 as u32);
            match kind {
                KIND_STREAM => self.stream_event(index, event.events),
                KIND_LISTENER => self.listener_event(index),
                KIND_DATAGRAM => self.datagram_event(index),
                // The engine looks at the flag after every turn.
                _ => {}
            }
        }
        self.events = events;
        // Last in the queue: those that have waited for their events go first.
        self.postponed.drain(..).for_each(Waker::wake);
        monotonic()
    }

    fn stream_event(&mut self, index: u32, events: u32) {
        let Some(slot) = self.streams.get_mut(index as usize) else { return };
        if events & HANGUP != 0 {
            slot.hangup = true;
        }
        if slot.connecting && events & (OUTPUT | FAILURE) != 0 {
            slot.connecting = false;
            wake(&mut slot.send_waker);
        }
        if events & INPUT != 0 {
            slot.input.set(Input::Waiting);
            wake(&mut slot.receive_waker);
        }
        if events & (OUTPUT | FAILURE) != 0 {
            slot.full = false;
            match slot.send {
                Some(_) => self.resume_send(index),
                None => wake(&mut slot.send_waker),
            }
        }
    }

    fn listener_event(&mut self, index: u32) {
        let Some(slot) = self.listeners.get_mut(index as usize) else { return };
        slot.ready = true;
        wake(&mut slot.waker);
    }

    // ---- receiving

    /// Wakes as many streams as there are buffers. True if there was one.
    fn feed_starved(&mut self) -> bool {
        let mut free = self.arena.free_count();
        let mut fed = false;
        while free > 0
            && let Some(index) = self.starved.pop_front()
        {
            // The stream may be closed, or another in its place, which is starved only if it says so.
            let Some(slot) = self.streams.get_mut(index as usize) else { continue };
            if std::mem::take(&mut slot.starved) {
                wake(&mut slot.receive_waker);
                free -= 1;
                fed = true;
            }
        }
        fed
    }

    pub(super) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
        let slot = &mut self.streams[id.0 as usize];
        match slot.end {
            End::Finished => return Poll::Ready(Ok(Chunk::empty())),
            End::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            End::Open => {}
        }
        if slot.input.get() == Input::Drained {
            set_waker(&mut slot.receive_waker, waker);
            return Poll::Pending;
        }
        if !slot.receives.spend(self.turn, RECEIVES_A_TURN) {
            self.postponed.push(waker.clone());
            return Poll::Pending;
        }
        let Some(buffer) = self.arena.take() else {
            set_waker(&mut slot.receive_waker, waker);
            if !std::mem::replace(&mut slot.starved, true) {
                self.counts.receive_paused += 1;
                self.starved.push_back(id.0);
            }
            return Poll::Pending;
        };
        let received = receive(slot, &self.arena, buffer);
        if received.is_pending() {
            set_waker(&mut slot.receive_waker, waker);
        }
        received
    }

    pub(super) fn watch(&mut self, id: StreamId, waker: &Waker) {
        let slot = &mut self.streams[id.0 as usize];
        if slot.is_readable() {
            return waker.wake_by_ref();
        }
        set_waker(&mut slot.receive_waker, waker);
    }

    pub(super) fn poll_end(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        // The kernel is asked only once it has said that there is an end, which bytes may still stand before.
        if slot.hangup && matches!(slot.end, End::Open) {
            match calls::peek(slot.fd.as_raw_fd()) {
                Ok(0) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    slot.end = End::Failed(error.raw_os_error().unwrap_or(libc::EIO));
                }
                _ => {}
            }
        }
        match slot.end {
            End::Finished => return Poll::Ready(Ok(())),
            End::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            End::Open => {}
        }
        set_waker(&mut slot.receive_waker, waker);
        Poll::Pending
    }

    pub(super) fn is_readable(&self, id: StreamId) -> bool {
        self.streams[id.0 as usize].is_readable()
    }

    /// Here every receive is made as it is asked for.
    pub(super) fn expect_bulk(&mut self, _id: StreamId, _bulk: bool) {}

    // ---- sending

    pub(super) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.send_broken || slot.send.is_some() {
            return Some(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        let before = outgoing.len();
        let sent = calls::send(slot.fd.as_raw_fd(), outgoing, &mut self.vectors);
        slot.count_sent(before - outgoing.len());
        let result = match sent {
            Ok(true) if slot.sends.spend(self.turn, SENDS_A_TURN) => return Some(Ok(())),
            Ok(true) => Some(Ok(())),
            Ok(false) => {
                self.counts.sends_stalled += 1;
                if pressure() == Pressure::Full {
                    self.counts.sends_refused += 1;
                    slot.cut_off();
                    outgoing.clear();
                    return Some(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
                }
                outgoing.detach();
                None
            }
            Err(error) => {
                outgoing.clear();
                return Some(Err(error));
            }
        };
        slot.send = Some(Box::new(Pending { outgoing: std::mem::take(outgoing), result, turn: self.turn }));
        None
    }

    fn resume_send(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        let Some(send) = slot.send.as_deref_mut() else { return };
        if send.result.is_some() {
            return;
        }
        let before = send.outgoing.len();
        let sent = calls::send(slot.fd.as_raw_fd(), &mut send.outgoing, &mut self.vectors);
        let taken = before - send.outgoing.len();
        match sent {
            Ok(false) => {}
            Ok(true) => send.result = Some(Ok(())),
            Err(error) => {
                send.outgoing.clear();
                send.result = Some(Err(error));
            }
        }
        let done = send.result.is_some();
        slot.count_sent(taken);
        if !done {
            return;
        }
        wake(&mut slot.send_waker);
    }

    pub(super) fn stalled_sends(&self) -> Vec<(usize, StreamId)> {
        let held = |slot: &StreamSlot| {
            let send = slot.send.as_deref().filter(|send| send.result.is_none())?;
            Some(send.outgoing.len())
        };
        self.streams.iter().filter_map(|(index, slot)| Some((held(slot)?, StreamId(index as u32)))).collect()
    }

    /// Ends a stalled send with ENOMEM.
    pub(super) fn fail_send(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        let Some(send) = slot.send.as_deref_mut() else { return };
        send.outgoing.clear();
        send.result = Some(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        slot.cut_off();
        wake(&mut slot.send_waker);
    }

    /// Nothing is kept for sends to come.
    pub(super) fn give_back_spares(&mut self) {}

    pub(super) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
        let slot = &mut self.streams[id.0 as usize];
        let Some(send) = slot.send.as_deref_mut() else {
            return Poll::Ready((Outgoing::default(), Err(io::Error::from_raw_os_error(libc::EPIPE))));
        };
        if send.result.is_some() && send.turn == self.turn {
            self.postponed.push(waker.clone());
            return Poll::Pending;
        }
        let Some(result) = send.result.take() else {
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        };
        let outgoing = std::mem::take(&mut send.outgoing);
        slot.send = None;
        Poll::Ready((outgoing, result))
    }

    pub(super) fn abandon_send(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        slot.send_broken = true;
        slot.send = None;
    }

    // ---- connections

    pub(super) fn connect(&mut self, address: &Address, options: &ConnectOptions) -> io::Result<StreamId> {
        let socket = socket::connecting(address, options, true)?;
        match socket.connect(&address.to_kernel()?) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        // Only now: a socket that has not begun to connect reports a hangup.
        self.add_stream(socket.into(), true, address.is_unix())
    }

    pub(super) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.connecting {
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        }
        if !slot.hangup {
            return Poll::Ready(Ok(()));
        }
        // The other side may have accepted, sent and closed in the meantime: only an error is a failed connect.
        match socket::take_error(slot.fd.as_raw_fd()) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn add_stream(&mut self, fd: OwnedFd, connecting: bool, unix: bool) -> io::Result<StreamId> {
        let entry = self.streams.vacant_entry();
        let index = entry.key() as u32;
        self.poller.add(fd.as_raw_fd(), STREAM_INTEREST, data(KIND_STREAM, index))?;
        entry.insert(StreamSlot::new(fd, connecting, unix));
        Ok(StreamId(index))
    }

    fn fd(&self, id: StreamId) -> RawFd {
        self.streams[id.0 as usize].fd.as_raw_fd()
    }

    pub(super) fn shutdown(&mut self, id: StreamId) {
        socket::shutdown_send(self.fd(id));
    }

    pub(super) fn linger_off(&mut self, id: StreamId) {
        socket::linger_off(self.fd(id));
    }

    pub(super) fn acknowledged(&self, id: StreamId) -> u64 {
        socket::acknowledged(self.fd(id), self.streams[id.0 as usize].unix_sent)
    }

    pub(super) fn was_reset(&self, id: StreamId) -> bool {
        socket::was_reset(self.fd(id), self.streams[id.0 as usize].received)
    }

    pub(super) fn local_address(&self, id: StreamId) -> io::Result<Address> {
        socket::local_address(self.fd(id))
    }

    pub(super) fn close(&mut self, id: StreamId) {
        self.streams.remove(id.0 as usize);
    }

    // ---- accepting

    pub(super) fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<(ListenerId, Address)> {
        let (socket, local) = socket::listening(address, options, true)?;
        Ok((self.add_listener(Listening::Own(socket))?, local))
    }

    pub(super) fn listen_shared(&mut self, socket: &Arc<SharedSocket>) -> io::Result<ListenerId> {
        // Another thread may take the connection that this one was told of.
        socket.set_nonblocking(true)?;
        self.add_listener(Listening::Shared(socket.clone()))
    }

    fn add_listener(&mut self, socket: Listening) -> io::Result<ListenerId> {
        let accepts = Spent::default();
        let slot = ListenerSlot { socket, registered: false, accepted: false, ready: false, accepts, waker: None };
        let id = ListenerId(self.listeners.insert(slot) as u32);
        self.register(id).inspect_err(|_| _ = self.listeners.remove(id.0 as usize))?;
        Ok(id)
    }

    fn register(&mut self, id: ListenerId) -> io::Result<()> {
        let slot = &mut self.listeners[id.0 as usize];
        self.poller.add(slot.socket.fd(), slot.socket.interest(), data(KIND_LISTENER, id.0))?;
        (slot.registered, slot.accepted) = (true, false);
        Ok(())
    }

    /// Puts a shared listener behind the others that wait for the same socket. Without this the same thread would be
    /// woken first for every connection.
    fn stand_behind(&mut self, id: ListenerId) -> io::Result<()> {
        let slot = &mut self.listeners[id.0 as usize];
        if slot.registered {
            if !slot.accepted || matches!(slot.socket, Listening::Own(_)) {
                return Ok(());
            }
            self.poller.remove(slot.socket.fd());
            slot.registered = false;
        }
        self.register(id)
    }

    pub(super) fn poll_accept(&mut self, id: ListenerId, waker: &Waker) -> Poll<io::Result<(StreamId, Address)>> {
        loop {
            let slot = &mut self.listeners[id.0 as usize];
            if !slot.ready {
                if let Err(error) = self.stand_behind(id) {
                    return Poll::Ready(Err(error));
                }
                let slot = &mut self.listeners[id.0 as usize];
                set_waker(&mut slot.waker, waker);
                return Poll::Pending;
            }
            if !slot.accepts.spend(self.turn, ACCEPTS_A_TURN) {
                self.postponed.push(waker.clone());
                return Poll::Pending;
            }
            match calls::accept(slot.socket.fd()) {
                Ok((fd, client)) => {
                    slot.accepted = true;
                    let stream = self.add_stream(fd, false, client.is_unix());
                    return Poll::Ready(stream.map(|id| (id, client)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => slot.ready = false,
                Err(error) if is_of_connection(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(super) fn listener_fd(&self, id: ListenerId) -> RawFd {
        self.listeners[id.0 as usize].socket.fd()
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        let slot = self.listeners.remove(id.0 as usize);
        if let Listening::Shared(socket) = &slot.socket {
            // Others keep the socket open: without this it would go on waking an engine that accepts no more.
            self.poller.remove(socket.fd());
        }
    }
}

impl StreamSlot {
    fn new(fd: OwnedFd, connecting: bool, unix: bool) -> StreamSlot {
        StreamSlot {
            fd,
            // Adding it to the epoll set reports what is there already.
            input: Cell::new(Input::Drained),
            received: 0,
            end: End::Open,
            hangup: false,
            connecting,
            send_broken: false,
            full: false,
            starved: false,
            receives: Spent::default(),
            sends: Spent::default(),
            receive_waker: None,
            send_waker: None,
            send: None,
            unix_sent: unix.then_some(0),
        }
    }

    fn count_sent(&mut self, bytes: usize) {
        if let Some(sent) = &mut self.unix_sent {
            *sent += bytes as u64;
        }
    }

    /// What it has sent may be a part of something: nothing can follow it, and its end must not look complete.
    fn cut_off(&mut self) {
        self.send_broken = true;
        socket::linger_off(self.fd.as_raw_fd());
    }

    fn is_readable(&self) -> bool {
        if !matches!(self.end, End::Open) {
            return true;
        }
        if self.input.get() == Input::Unknown {
            let waiting = calls::has_input(self.fd.as_raw_fd());
            self.input.set(if waiting { Input::Waiting } else { Input::Drained });
        }
        self.input.get() == Input::Waiting
    }
}

/// Receives once, and learns from the length whether the kernel has more.
fn receive(slot: &mut StreamSlot, arena: &Rc<Arena>, buffer: u16) -> Poll<io::Result<Chunk>> {
    loop {
        match calls::receive(slot.fd.as_raw_fd(), arena, buffer) {
            Ok(0) => {
                slot.end = End::Finished;
                arena.give_back(buffer);
                return Poll::Ready(Ok(Chunk::empty()));
            }
            Ok(len) => {
                slot.received = slot.received.wrapping_add(len as u32);
                let drained = len < arena.buffer_size() && !slot.hangup;
                slot.input.set(if drained { Input::Drained } else { Input::Unknown });
                return Poll::Ready(Ok(arena.chunk(buffer, len)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                slot.input.set(Input::Drained);
                arena.give_back(buffer);
                return Poll::Pending;
            }
            Err(error) => {
                slot.end = End::Failed(error.raw_os_error().unwrap_or(libc::EIO));
                arena.give_back(buffer);
                return Poll::Ready(Err(error));
            }
        }
    }
}

/// Errors of accept(2) that are those of the connection at the head of the queue, which the kernel then has dropped.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}

fn data(kind: u32, index: u32) -> u64 {
    u64::from(kind) << 32 | u64::from(index)
}

/// Rounds up: a wait that ends too early would be made again for nothing.
fn timeout_ms(until: Option<Instant>) -> i32 {
    match until {
        None => -1,
        Some(Instant(0)) => 0,
        Some(until) => {
            let left = until.0.saturating_sub(monotonic().0);
            i32::try_from(left.div_ceil(1_000_000)).unwrap_or(i32::MAX)
        }
    }
}

fn set_waker(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
