//! The io_uring driver: multishot accept and receive, a provided-buffer ring, vectored sends from receive buffers.
//!
//! Memory that the kernel reads or writes is owned here (the arena, the send and connect records in the slots), never
//! by a future. A slot is used again only when every operation of it has completed for the last time.

mod connections;
mod datagrams;
mod queue;
mod receiving;
mod ring;
mod sending;
mod splicing;

use super::buffer::Arena;
use super::datagram::DatagramSlot;
use super::driver::{RemoteWaker, monotonic};
use super::{EngineCounts, EngineSettings};
use crate::base::{Address, Instant, SharedSocket};
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use queue::ChunkQueue;
use ring::{BufferRing, Ring};
use sending::Send;
use slab::Slab;
use socket2::{SockAddr, Socket};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// What a completion is for: the top byte of its user data.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Receive = 1,
    Send,
    Connect,
    Accept,
    Remote,
    Readable,
    Writable,
    Ignore,
    Datagram,
}

fn user_data(kind: Kind, index: u32) -> u64 {
    (kind as u64) << 56 | u64::from(index)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// No receive is in flight.
    Off,
    Multishot,
    Single,
    /// In flight, and a cancellation has been submitted.
    Ending,
    /// Waits until buffers return.
    Starved,
    /// Not a receive: a poll for bytes to splice is in flight.
    Polling,
}

/// How a stream ended for its receiver.
#[derive(Clone, Copy, Debug)]
enum End {
    Open,
    Finished,
    Failed(i32),
}

struct StreamSlot {
    fd: RawFd,
    receive: Receive,
    bulk: bool,
    /// Named in the driver's `holders`.
    holder: bool,
    closed: bool,
    send_broken: bool,
    sending: bool,
    /// The socket is O_NONBLOCK, as it must be to be spliced. The ring's own operations do not care.
    nonblocking: bool,
    /// The last splice out of it moved nothing, and no poll has said since that another would.
    dry: bool,
    /// The same for splices into it, and whether the poll is in flight.
    full: bool,
    polling_full: bool,
    /// Operations that have not completed for the last time.
    in_flight: u8,
    /// Bytes, modulo 2³².
    received: u32,
    end: End,
    queue: ChunkQueue,
    receive_waker: Option<Waker>,
    send_waker: Option<Waker>,
    send: Option<Box<Send>>,
    connect: Option<Box<Connect>>,
    /// Of a Unix socket: the bytes that the kernel has taken.
    unix_sent: Option<u64>,
}

struct Connect {
    address: SockAddr,
    result: Option<i32>,
}

struct ListenerSlot {
    /// `None`: closed.
    socket: Option<Listening>,
    unix: bool,
    armed: bool,
    closed: bool,
    accepted: VecDeque<io::Result<RawFd>>,
    waker: Option<Waker>,
}

/// A listening socket of this engine, or one that it shares.
enum Listening {
    Own(Socket),
    Shared(Arc<SharedSocket>),
}

impl ListenerSlot {
    fn new(socket: Listening, local: &Address) -> ListenerSlot {
        let accepted = VecDeque::new();
        ListenerSlot { socket: Some(socket), unix: local.is_unix(), armed: false, closed: false, accepted, waker: None }
    }
}

pub(super) struct Uring {
    ring: ManuallyDrop<Ring>,
    buffers: BufferRing,
    arena: ManuallyDrop<Rc<Arena>>,
    streams: Slab<StreamSlot>,
    listeners: Slab<ListenerSlot>,
    datagrams: Slab<DatagramSlot>,
    datagram_size: usize,
    /// Send records to use again; boxed, because the kernel is given their addresses.
    #[allow(clippy::vec_box)]
    spare_sends: Vec<Box<Send>>,
    /// Streams whose receive waits until buffers return, the longest waiting first.
    starved: VecDeque<u32>,
    /// Streams that hold receive buffers in their queues.
    holders: Vec<u32>,
    remote: Arc<RemoteWaker>,
    completions: Vec<cqueue::Entry>,
    /// Descriptors are being closed.
    closing: bool,
    counts: EngineCounts,
}

impl Uring {
    pub(super) fn new(settings: &EngineSettings) -> io::Result<Uring> {
        let ring = Ring::new()?;
        let arena = Arena::new(settings.buffers, settings.buffer_size)?;
        let buffers = BufferRing::new(&ring, &arena)?;
        let mut uring = Uring {
            ring: ManuallyDrop::new(ring),
            buffers,
            arena: ManuallyDrop::new(arena),
            streams: Slab::new(),
            listeners: Slab::new(),
            datagrams: Slab::new(),
            datagram_size: settings.datagram_size,
            spare_sends: Vec::new(),
            starved: VecDeque::new(),
            holders: Vec::new(),
            remote: Arc::new(RemoteWaker::new()?),
            completions: Vec::with_capacity(ring::COMPLETIONS as usize),
            closing: false,
            counts: EngineCounts::default(),
        };
        uring.arm_remote();
        Ok(uring)
    }

    pub(super) fn remote(&self) -> Arc<RemoteWaker> {
        self.remote.clone()
    }

    pub(super) fn counts(&self) -> EngineCounts {
        let free = self.buffers.available + self.arena.free_count();
        EngineCounts {
            buffers_free: free as u64,
            bytes_received_held: self.arena.held_bytes(free),
            streams: self.streams.len() as u64,
            datagram_sockets: self.datagrams.len() as u64,
            ..self.counts
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.streams.iter().map(|(_, slot)| slot.queue.bytes()).sum()
    }

    fn arm_remote(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.remote.fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(user_data(Kind::Remote, 0));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn wait(&mut self, until: Option<Instant>) -> Instant {
        self.buffers.refill();
        if !self.holders.is_empty() {
            self.look_at_holders();
        }
        self.feed_starved();
        let until = if std::mem::take(&mut self.closing) {
            // The kernel lets go of closed sockets on the way back to user space, not while it waits for completions:
            // without this turn a FIN would be sent only with the next event.
            self.ring.wait(Some(Instant(0)));
            if self.ring.has_completion() { Some(Instant(0)) } else { until }
        } else {
            until
        };
        self.ring.wait(until);
        self.counts.turns += 1;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        self.counts.completions += completions.len() as u64;
        for completion in completions.drain(..) {
            self.complete(&completion);
        }
        self.completions = completions;
        self.counts.completion_overflows = u64::from(self.ring.overflows());
        monotonic()
    }

    fn complete(&mut self, completion: &cqueue::Entry) {
        let data = completion.user_data();
        let index = data as u32;
        match (data >> 56) as u8 {
            kind if kind == Kind::Receive as u8 => self.received(index, completion.result(), completion.flags()),
            kind if kind == Kind::Send as u8 => self.sent(index, completion.result()),
            kind if kind == Kind::Connect as u8 => self.connected(index, completion.result()),
            kind if kind == Kind::Accept as u8 => self.accepted(index, completion.result(), completion.flags()),
            kind if kind == Kind::Readable as u8 => self.readable(index),
            kind if kind == Kind::Writable as u8 => self.writable(index),
            kind if kind == Kind::Datagram as u8 => self.datagram_event(index, completion.flags()),
            kind if kind == Kind::Remote as u8 && !cqueue::more(completion.flags()) => self.arm_remote(),
            _ => {}
        }
    }
}

impl StreamSlot {
    fn new(fd: RawFd, unix: bool) -> StreamSlot {
        StreamSlot {
            fd,
            receive: Receive::Off,
            bulk: false,
            holder: false,
            closed: false,
            send_broken: false,
            sending: false,
            nonblocking: false,
            dry: false,
            full: false,
            polling_full: false,
            in_flight: 0,
            received: 0,
            end: End::Open,
            queue: ChunkQueue::default(),
            receive_waker: None,
            send_waker: None,
            send: None,
            connect: None,
            unix_sent: unix.then_some(0),
        }
    }

    fn is_readable(&self) -> bool {
        !self.queue.is_empty() || !self.is_open()
    }

    fn is_open(&self) -> bool {
        matches!(self.end, End::Open)
    }
}

fn set_waker(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

impl Drop for Uring {
    /// Dropping a ring does not stop the kernel: everything is cancelled and reaped first. What cannot be is leaked.
    fn drop(&mut self) {
        const ROUNDS_MAX: usize = 16;
        let mut open: Vec<RawFd> = self.streams.iter().map(|(_, slot)| slot.fd).filter(|fd| *fd >= 0).collect();
        for (_, slot) in std::mem::take(&mut self.listeners) {
            open.extend(slot.accepted.into_iter().flatten());
        }
        let ended = (0..ROUNDS_MAX).any(|_| {
            let ended = self.ring.cancel_all();
            self.ring.wait(Some(Instant(0)));
            while let Some(completion) = self.ring.completion() {
                // Accepted, and nobody will ever be told.
                if (completion.user_data() >> 56) as u8 == Kind::Accept as u8 && completion.result() >= 0 {
                    open.push(completion.result());
                }
            }
            ended
        });
        for fd in open {
            // SAFETY: the descriptor is ours; nothing names it after this.
            unsafe { libc::close(fd) };
        }
        if !ended {
            std::mem::forget(std::mem::take(&mut self.streams));
            return;
        }
        // SAFETY: neither is used again; the kernel has no operation left that could write to the arena.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            ManuallyDrop::drop(&mut self.arena);
        }
        self.buffers.unmap();
    }
}
