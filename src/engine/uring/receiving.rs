//! Receiving: multishot into the buffers of the ring, single receives for bulk, and what to do when buffers run out.
//! Chunks that nobody has asked for yet wait in their stream's queue, few and never for long in a receive buffer.

use super::ring::BUFFER_GROUP;
use super::{End, Kind, Receive, Uring, set_waker, user_data};
use crate::engine::buffer::Chunk;
use crate::engine::driver::StreamId;
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use std::io;
use std::task::{Poll, Waker};

/// Chunks that may wait on one stream before its multishot receive is ended.
const QUEUED_MAX: usize = 2;
/// A chunk up to this size that nobody waits for is copied aside at once.
const QUEUED_COPY_MAX: usize = 4096;

impl Uring {
    pub(super) fn arm_receive(&mut self, index: u32) {
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

    pub(super) fn received(&mut self, index: u32, result: i32, flags: u32) {
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
                slot.received = slot.received.wrapping_add(count as u32);
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
            // The receive was ended to hold the sender back or to splice; who waits now says how it goes on.
            error if error == -libc::ECANCELED => {}
            error => slot.end = End::Failed(-error),
        }
        if let Some(waker) = self.streams[index as usize].receive_waker.take() {
            waker.wake();
        }
    }

    /// Keeps a chunk for its receiver, and keeps the sender from sending ahead of it.
    pub(super) fn queue_chunk(&mut self, index: u32, mut chunk: Chunk) {
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

    pub(super) fn end_receive(&mut self, index: u32) {
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
    pub(super) fn look_at_holders(&mut self) {
        let few = self.buffers.available < self.arena.buffer_count() / 2;
        let streams = &mut self.streams;
        self.holders.retain(|index| {
            // A slot with a new occupant that holds nothing is as good as one that has been emptied.
            let Some(slot) = streams.get_mut(*index as usize) else { return false };
            slot.holder = !few && !slot.queue.is_empty();
            if few {
                slot.queue.detach();
            }
            slot.holder
        });
        if few {
            self.buffers.refill();
        }
    }

    /// Receives again for as many streams as there are buffers.
    pub(super) fn feed_starved(&mut self) {
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

    pub(in crate::engine) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
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

    pub(in crate::engine) fn watch(&mut self, id: StreamId, waker: &Waker) {
        let slot = &mut self.streams[id.0 as usize];
        if slot.is_readable() {
            return waker.wake_by_ref();
        }
        slot.queue.shrink();
        set_waker(&mut slot.receive_waker, waker);
        if slot.receive == Receive::Off {
            self.arm_receive(id.0);
        }
    }

    pub(in crate::engine) fn poll_end(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        match slot.end {
            End::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            End::Finished if slot.queue.is_empty() => return Poll::Ready(Ok(())),
            _ => {}
        }
        set_waker(&mut slot.receive_waker, waker);
        if slot.receive == Receive::Off && slot.is_open() && slot.queue.is_empty() {
            self.arm_receive(id.0);
        }
        Poll::Pending
    }

    pub(in crate::engine) fn is_readable(&self, id: StreamId) -> bool {
        self.streams[id.0 as usize].is_readable()
    }

    pub(in crate::engine) fn expect_bulk(&mut self, id: StreamId, bulk: bool) {
        let slot = &mut self.streams[id.0 as usize];
        slot.bulk = bulk;
        if bulk && slot.receive == Receive::Multishot {
            self.end_receive(id.0);
        }
    }
}
