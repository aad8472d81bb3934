//! Splicing: readiness comes with the edges that are there anyway, so nothing is armed and nothing to be undone.

use super::{End, Epoll, Input, set_waker};
use crate::engine::driver::StreamId;
use crate::engine::pipe::Pipe;
use crate::engine::splice::stream_error;
use std::io;
use std::os::fd::AsRawFd;
use std::task::{Poll, Waker};

impl Epoll {
    pub(in crate::engine) fn poll_spliceable(&mut self, id: StreamId, waker: &Waker) -> Poll<bool> {
        let slot = &mut self.streams[id.0 as usize];
        if !matches!(slot.end, End::Open) {
            return Poll::Ready(false);
        }
        if slot.input.get() == Input::Drained {
            set_waker(&mut slot.receive_waker, waker);
            return Poll::Pending;
        }
        Poll::Ready(true)
    }

    pub(in crate::engine) fn splice_in(&mut self, id: StreamId, pipe: &mut Pipe, max: usize) -> io::Result<usize> {
        let slot = &mut self.streams[id.0 as usize];
        match pipe.fill_from(slot.fd.as_raw_fd(), max) {
            Ok(0) => slot.end = End::Finished,
            // Whether the pipe was full or the socket empty is not told: the next one finds out.
            Ok(moved) => {
                slot.received = slot.received.wrapping_add(moved as u32);
                slot.input.set(Input::Unknown);
                return Ok(moved);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => slot.input.set(Input::Drained),
            Err(error) => slot.end = End::Failed(stream_error(error)?),
        }
        Ok(0)
    }

    pub(in crate::engine) fn splice_out(&mut self, id: StreamId, pipe: &mut Pipe) -> io::Result<usize> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.send_broken || slot.send.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let moved = pipe.drain_to(slot.fd.as_raw_fd());
        if moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.counts.sends_stalled += 1;
            slot.full = true;
        }
        moved
    }

    pub(in crate::engine) fn poll_writable(&mut self, id: StreamId, waker: &Waker) -> Poll<()> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.full {
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
