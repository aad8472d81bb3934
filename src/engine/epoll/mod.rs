//! The epoll driver: edge-triggered, one epoll_ctl for the life of a descriptor, no system call that a known
//! readiness makes needless. It gives readiness the same completion-style face as the other drivers.
//!
//! Nothing is in flight in the kernel, so a slot ends with its close, and events of a batch are all handled before
//! anything can be closed: no event ever names a later occupant of a slot.

mod calls;
mod connections;
mod datagrams;
mod receiving;
mod sending;
mod splicing;

use super::buffer::{Arena, Outgoing};
use super::datagram::DatagramSlot;
use super::driver::{RemoteWaker, monotonic};
use super::spent::Spent;
use super::{EngineCounts, EngineSettings, socket};
use crate::base::{Instant, SharedSocket};
use calls::Poller;
use slab::Slab;
use socket2::Socket;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

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
