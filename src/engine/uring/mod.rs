//! The io_uring driver: multishot accept and receive, a provided-buffer ring, vectored sends from receive buffers.
//!
//! Memory that the kernel reads or writes is owned here (the arena, the send and connect records in the slots), never
//! by a future. A slot is used again only when every operation of it has completed for the last time.

mod ring;

use super::buffer::{Arena, Chunk, Outgoing};
use super::driver::{ListenerId, RemoteWaker, StreamId, monotonic};
use super::{EngineCounts, EngineSettings, ListenOptions, socket};
use crate::base::Instant;
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use ring::{BUFFER_GROUP, BufferRing, Ring};
use slab::Slab;
use socket2::{SockAddr, Socket};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Chunks that may wait on one stream before its multishot receive is ended.
const QUEUED_MAX: usize = 2;
/// A chunk up to this size that nobody waits for is copied aside at once.
const QUEUED_COPY_MAX: usize = 4096;
/// Accepted connections that may wait before accepting pauses.
const ACCEPTED_MAX: usize = 1024;

/// What a completion is for: the top byte of its user data.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Receive = 1,
    Send,
    Connect,
    Accept,
    Remote,
    Ignore,
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
    /// Operations that have not completed for the last time.
    in_flight: u8,
    end: End,
    queue: VecDeque<Chunk>,
    receive_waker: Option<Waker>,
    send_waker: Option<Waker>,
    send: Option<Box<Send>>,
    connect: Option<Box<Connect>>,
}

/// A send that is in flight or done: everything that the kernel reads.
struct Send {
    outgoing: Outgoing,
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
    /// The first attempt takes what fits at once; after a stall the kernel is left to wait for room.
    stalled: bool,
    result: Option<io::Result<()>>,
}

struct Connect {
    address: SockAddr,
    result: Option<i32>,
}

struct ListenerSlot {
    socket: Option<Socket>,
    armed: bool,
    closed: bool,
    accepted: VecDeque<io::Result<RawFd>>,
    waker: Option<Waker>,
}

pub(super) struct Uring {
    ring: ManuallyDrop<Ring>,
    buffers: BufferRing,
    arena: ManuallyDrop<Rc<Arena>>,
    streams: Slab<StreamSlot>,
    listeners: Slab<ListenerSlot>,
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
        EngineCounts {
            buffers_free: self.buffers.available as u64 + self.arena.free_count() as u64,
            streams: self.streams.len() as u64,
            ..self.counts
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.streams.iter().flat_map(|(_, slot)| &slot.queue).map(|chunk| chunk.len()).sum()
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
            kind if kind == Kind::Remote as u8 && !cqueue::more(completion.flags()) => self.arm_remote(),
            _ => {}
        }
    }

    // ---- receiving

    fn arm_receive(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        let data = user_data(Kind::Receive, index);
        let entry = if slot.bulk {
            slot.receive = Receive::Single;
            opcode::Recv::new(Fd(slot.fd), std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(Flags::BUFFER_SELECT)
        } else {
            slot.receive = Receive::Multishot;
            opcode::RecvMulti::new(Fd(slot.fd), BUFFER_GROUP).build()
        };
        slot.in_flight += 1;
        // SAFETY: the kernel writes only to buffers of the ring, which outlive it.
        unsafe { self.ring.push(entry.user_data(data)) };
    }

    fn received(&mut self, index: u32, result: i32, flags: u32) {
        let chunk = cqueue::buffer_select(flags).map(|buffer| {
            self.buffers.available -= 1;
            if result > 0 {
                return self.arena.chunk(buffer, result as usize);
            }
            self.arena.give_back(buffer);
            Chunk::empty()
        });
        let slot = &mut self.streams[index as usize];
        if !cqueue::more(flags) {
            slot.receive = Receive::Off;
            slot.in_flight -= 1;
        }
        if slot.closed {
            return self.release(index);
        }
        match result {
            0 => slot.end = End::Finished,
            count if count > 0 => {
                if let Some(chunk) = chunk {
                    self.queue_chunk(index, chunk);
                }
            }
            error if error == -libc::ENOBUFS => {
                self.counts.receive_paused += 1;
                slot.receive = Receive::Starved;
                self.starved.push_back(index);
                return;
            }
            // The receive was ended to hold the sender back; it starts again when the queue has been taken.
            error if error == -libc::ECANCELED => {
                if slot.receive_waker.is_some() && slot.queue.is_empty() {
                    self.arm_receive(index);
                }
                return;
            }
            error => slot.end = End::Failed(-error),
        }
        if let Some(waker) = self.streams[index as usize].receive_waker.take() {
            waker.wake();
        }
    }

    /// Keeps a chunk for its receiver, and keeps the sender from sending ahead of it.
    fn queue_chunk(&mut self, index: u32, mut chunk: Chunk) {
        let slot = &mut self.streams[index as usize];
        if slot.receive_waker.is_none() && chunk.len() <= QUEUED_COPY_MAX {
            chunk.detach();
        } else if !std::mem::replace(&mut slot.holder, true) {
            // Even if someone seems to wait: the receive may have been dropped.
            self.holders.push(index);
        }
        slot.queue.push_back(chunk);
        if slot.queue.len() >= QUEUED_MAX && slot.receive == Receive::Multishot {
            slot.bulk = true;
            self.end_receive(index);
        }
    }

    fn end_receive(&mut self, index: u32) {
        self.streams[index as usize].receive = Receive::Ending;
        let entry = opcode::AsyncCancel::new(user_data(Kind::Receive, index))
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(user_data(Kind::Ignore, 0));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    /// Tasks have run since the chunks came. What still waits in queues is copied aside when buffers become few, so that
    /// the kernel has some again.
    fn look_at_holders(&mut self) {
        let few = self.buffers.available < self.arena.buffer_count() / 2;
        let streams = &mut self.streams;
        self.holders.retain(|index| {
            // A slot with a new occupant that holds nothing is as good as one that has been emptied.
            let Some(slot) = streams.get_mut(*index as usize) else { return false };
            slot.holder = !few && !slot.queue.is_empty();
            if few {
                slot.queue.iter_mut().for_each(Chunk::detach);
            }
            slot.holder
        });
        if few {
            self.buffers.refill();
        }
    }

    /// Receives again for as many streams as there are buffers.
    fn feed_starved(&mut self) {
        let mut free = self.buffers.available;
        while free > 0
            && let Some(index) = self.starved.pop_front()
        {
            // The slot may have been closed, or have a new occupant, in the meantime.
            if self.streams.get(index as usize).is_some_and(|slot| slot.receive == Receive::Starved) {
                self.arm_receive(index);
                free -= 1;
            }
        }
    }

    pub(super) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
        let slot = &mut self.streams[id.0 as usize];
        if let Some(chunk) = slot.queue.pop_front() {
            return Poll::Ready(Ok(chunk));
        }
        match slot.end {
            End::Finished => return Poll::Ready(Ok(Chunk::empty())),
            End::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            End::Open => {}
        }
        set_waker(&mut slot.receive_waker, waker);
        if slot.receive == Receive::Off {
            self.arm_receive(id.0);
        }
        Poll::Pending
    }

    pub(super) fn watch(&mut self, id: StreamId, waker: &Waker) {
        let slot = &mut self.streams[id.0 as usize];
        if slot.is_readable() {
            return waker.wake_by_ref();
        }
        set_waker(&mut slot.receive_waker, waker);
        slot.bulk = false;
        if slot.receive == Receive::Off {
            self.arm_receive(id.0);
        }
    }

    pub(super) fn is_readable(&self, id: StreamId) -> bool {
        self.streams[id.0 as usize].is_readable()
    }

    pub(super) fn expect_bulk(&mut self, id: StreamId, bulk: bool) {
        let slot = &mut self.streams[id.0 as usize];
        slot.bulk = bulk;
        if bulk && slot.receive == Receive::Multishot {
            self.end_receive(id.0);
        }
    }

    // ---- sending

    pub(super) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.send_broken || slot.send.is_some() {
            return Some(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        let mut send = self.spare_sends.pop().unwrap_or_else(Send::new);
        std::mem::swap(&mut send.outgoing, outgoing);
        send.stalled = false;
        send.result = None;
        slot.send = Some(send);
        self.submit_send(id.0);
        None
    }

    fn submit_send(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        let Some(send) = slot.send.as_deref_mut() else { return };
        let flags = libc::MSG_NOSIGNAL | if send.stalled { libc::MSG_WAITALL } else { libc::MSG_DONTWAIT };
        send.fill_vectors();
        let fd = Fd(slot.fd);
        let entry = match send.vectors.as_slice() {
            [only] => opcode::Send::new(fd, only.iov_base.cast(), only.iov_len as u32).flags(flags).build(),
            _ => opcode::SendMsg::new(fd, &raw const send.message).flags(flags as u32).build(),
        };
        slot.in_flight += 1;
        slot.sending = true;
        // SAFETY: message, vectors and bytes are owned by the boxed record in the slot, which is released only after
        // the completion; nothing changes them meanwhile.
        unsafe { self.ring.push(entry.user_data(user_data(Kind::Send, index))) };
    }

    fn sent(&mut self, index: u32, result: i32) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight -= 1;
        slot.sending = false;
        if slot.closed {
            return self.release(index);
        }
        let Some(send) = slot.send.as_deref_mut() else { return };
        if result >= 0 {
            send.outgoing.sent(result as usize);
        }
        if (result >= 0 || result == -libc::EAGAIN || result == -libc::EINTR)
            && !send.outgoing.is_empty()
            && !slot.send_broken
        {
            if !send.stalled {
                self.counts.sends_stalled += 1;
                send.stalled = true;
                send.outgoing.detach();
            }
            return self.submit_send(index);
        }
        send.outgoing.clear();
        if slot.send_broken {
            self.recycle_send(index);
            return;
        }
        send.result = Some(if result >= 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-result)) });
        if let Some(waker) = slot.send_waker.take() {
            waker.wake();
        }
    }

    pub(super) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
        let slot = &mut self.streams[id.0 as usize];
        let Some(mut send) = slot.send.take() else {
            return Poll::Ready((Outgoing::default(), Err(io::Error::from_raw_os_error(libc::EPIPE))));
        };
        let Some(result) = send.result.take() else {
            slot.send = Some(send);
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        };
        let outgoing = std::mem::take(&mut send.outgoing);
        self.spare_sends.push(send);
        Poll::Ready((outgoing, result))
    }

    pub(super) fn abandon_send(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        slot.send_broken = true;
        if slot.sending {
            self.cancel(user_data(Kind::Send, id.0));
        } else {
            self.recycle_send(id.0);
        }
    }

    fn recycle_send(&mut self, index: u32) {
        if let Some(mut send) = self.streams[index as usize].send.take() {
            send.outgoing.clear();
            self.spare_sends.push(send);
        }
    }

    // ---- connections

    pub(super) fn connect(&mut self, address: SocketAddr) -> io::Result<StreamId> {
        let fd = socket::connecting(address, false)?.into_raw_fd();
        let index = self.add_stream(fd);
        let slot = &mut self.streams[index as usize];
        let connect = slot.connect.insert(Box::new(Connect { address: address.into(), result: None }));
        let entry = opcode::Connect::new(Fd(fd), connect.address.as_ptr().cast(), connect.address.len())
            .build()
            .user_data(user_data(Kind::Connect, index));
        slot.in_flight += 1;
        // SAFETY: the address is boxed in the slot until the completion.
        unsafe { self.ring.push(entry) };
        Ok(StreamId(index))
    }

    fn connected(&mut self, index: u32, result: i32) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight -= 1;
        if slot.closed {
            return self.release(index);
        }
        if let Some(connect) = &mut slot.connect {
            connect.result = Some(result);
        }
        if let Some(waker) = slot.send_waker.take() {
            waker.wake();
        }
    }

    pub(super) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        let Some(connect) = &slot.connect else {
            return Poll::Ready(Ok(()));
        };
        let Some(result) = connect.result else {
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        };
        slot.connect = None;
        Poll::Ready(if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) })
    }

    fn add_stream(&mut self, fd: RawFd) -> u32 {
        self.streams.insert(StreamSlot::new(fd)) as u32
    }

    pub(super) fn shutdown(&mut self, id: StreamId) {
        socket::shutdown_send(self.streams[id.0 as usize].fd);
    }

    pub(super) fn linger_off(&mut self, id: StreamId) {
        socket::linger_off(self.streams[id.0 as usize].fd);
    }

    pub(super) fn local_address(&self, id: StreamId) -> io::Result<SocketAddr> {
        socket::local_address(self.streams[id.0 as usize].fd)
    }

    pub(super) fn close(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        slot.closed = true;
        slot.queue.clear();
        (slot.receive_waker, slot.send_waker) = (None, None);
        let (fd, receive, sending, connecting) = (slot.fd, slot.receive, slot.sending, slot.connect.is_some());
        slot.fd = -1;
        if matches!(receive, Receive::Multishot | Receive::Single) {
            self.cancel(user_data(Kind::Receive, id.0));
        }
        if sending {
            self.cancel(user_data(Kind::Send, id.0));
        } else {
            self.recycle_send(id.0);
        }
        if connecting {
            self.cancel(user_data(Kind::Connect, id.0));
        }
        self.close_fd(fd);
        self.release(id.0);
    }

    fn cancel(&mut self, data: u64) {
        let entry =
            opcode::AsyncCancel::new(data).build().flags(Flags::SKIP_SUCCESS).user_data(user_data(Kind::Ignore, 0));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    fn close_fd(&mut self, fd: RawFd) {
        self.closing = true;
        let entry = opcode::Close::new(Fd(fd)).build().flags(Flags::SKIP_SUCCESS).user_data(user_data(Kind::Ignore, 0));
        // SAFETY: the entry points to no memory; the descriptor is ours and named nowhere else any more.
        unsafe { self.ring.push(entry) };
    }

    /// Frees the slot of a closed stream once its last operation has completed.
    fn release(&mut self, index: u32) {
        let slot = &self.streams[index as usize];
        if slot.closed && slot.in_flight == 0 {
            self.recycle_send(index);
            self.streams.remove(index as usize);
        }
    }

    // ---- accepting

    pub(super) fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        let (socket, local) = socket::listening(address, options, false)?;
        let slot =
            ListenerSlot { socket: Some(socket), armed: false, closed: false, accepted: VecDeque::new(), waker: None };
        Ok((ListenerId(self.listeners.insert(slot) as u32), local))
    }

    pub(super) fn poll_accept(&mut self, id: ListenerId, waker: &Waker) -> Poll<io::Result<(StreamId, SocketAddr)>> {
        loop {
            let slot = &mut self.listeners[id.0 as usize];
            match slot.accepted.pop_front() {
                Some(Ok(fd)) => match socket::remote_address(fd) {
                    Ok(client) => return Poll::Ready(Ok((StreamId(self.add_stream(fd)), client))),
                    // The client is gone already.
                    Err(_) => self.close_fd(fd),
                },
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    set_waker(&mut slot.waker, waker);
                    if !slot.armed {
                        self.arm_accept(id.0);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn arm_accept(&mut self, index: u32) {
        let slot = &mut self.listeners[index as usize];
        let Some(socket) = &slot.socket else { return };
        slot.armed = true;
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(Kind::Accept, index));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    fn accepted(&mut self, index: u32, result: i32, flags: u32) {
        let slot = &mut self.listeners[index as usize];
        if !cqueue::more(flags) {
            slot.armed = false;
        }
        if slot.closed {
            let armed = slot.armed;
            if result >= 0 {
                self.close_fd(result);
            }
            if !armed {
                self.listeners.remove(index as usize);
            }
            return;
        }
        if result >= 0 {
            slot.accepted.push_back(Ok(result));
        } else if result != -libc::ECANCELED {
            slot.accepted.push_back(Err(io::Error::from_raw_os_error(-result)));
        }
        let pause = slot.armed && slot.accepted.len() == ACCEPTED_MAX;
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        if pause {
            self.cancel(user_data(Kind::Accept, index));
        }
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        let slot = &mut self.listeners[id.0 as usize];
        slot.closed = true;
        let accepted = std::mem::take(&mut slot.accepted);
        let socket = slot.socket.take();
        let armed = slot.armed;
        if armed {
            // Before the close: a multishot accept holds the socket and would go on accepting.
            self.cancel(user_data(Kind::Accept, id.0));
        } else {
            self.listeners.remove(id.0 as usize);
        }
        for fd in accepted.into_iter().flatten() {
            self.close_fd(fd);
        }
        if let Some(socket) = socket {
            self.close_fd(socket.into_raw_fd());
        }
    }
}

impl StreamSlot {
    fn new(fd: RawFd) -> StreamSlot {
        StreamSlot {
            fd,
            receive: Receive::Off,
            bulk: false,
            holder: false,
            closed: false,
            send_broken: false,
            sending: false,
            in_flight: 0,
            end: End::Open,
            queue: VecDeque::new(),
            receive_waker: None,
            send_waker: None,
            send: None,
            connect: None,
        }
    }

    fn is_readable(&self) -> bool {
        !self.queue.is_empty() || !matches!(self.end, End::Open)
    }
}

impl Send {
    fn new() -> Box<Send> {
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let message = unsafe { std::mem::zeroed() };
        Box::new(Send { outgoing: Outgoing::default(), vectors: Vec::new(), message, stalled: false, result: None })
    }

    fn fill_vectors(&mut self) {
        self.vectors.clear();
        let vectors = self
            .outgoing
            .slices()
            .map(|slice| libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() });
        self.vectors.extend(vectors);
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = self.vectors.len();
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
