//! Receiving: one system call for each receive that is asked for, as long as there is a buffer and the stream has not had its
//! share of the turn.

use super::{End, Epoll, Input, RECEIVES_A_TURN, StreamSlot, calls, set_waker, wake};
use crate::engine::buffer::{Arena, Chunk};
use crate::engine::driver::StreamId;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

impl Epoll {
    /// Wakes as many streams as there are buffers. True if there was one.
    pub(super) fn feed_starved(&mut self) -> bool {
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

    pub(in crate::engine) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
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

    pub(in crate::engine) fn watch(&mut self, id: StreamId, waker: &Waker) {
        let slot = &mut self.streams[id.0 as usize];
        if slot.is_readable() {
            return waker.wake_by_ref();
        }
        set_waker(&mut slot.receive_waker, waker);
    }

    pub(in crate::engine) fn poll_end(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
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

    pub(in crate::engine) fn is_readable(&self, id: StreamId) -> bool {
        self.streams[id.0 as usize].is_readable()
    }

    /// Here every receive is made as it is asked for.
    pub(in crate::engine) fn expect_bulk(&mut self, _id: StreamId, _bulk: bool) {}
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
