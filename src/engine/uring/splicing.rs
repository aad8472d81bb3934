//! Splicing: splice(2) itself, and polls through the ring that say when it is worth trying. A stream is polled or
//! received from, never both.

use super::{End, Kind, Receive, Uring, set_waker, user_data};
use crate::engine::driver::StreamId;
use crate::engine::pipe::Pipe;
use crate::engine::socket;
use crate::engine::splice::stream_error;
use io_uring::opcode;
use io_uring::types::Fd;
use std::io;
use std::task::{Poll, Waker};

impl Uring {
    pub(in crate::engine) fn poll_spliceable(&mut self, id: StreamId, waker: &Waker) -> Poll<bool> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.is_readable() {
            return Poll::Ready(false);
        }
        match slot.receive {
            Receive::Off if !slot.dry => return Poll::Ready(true),
            Receive::Off => {
                slot.receive = Receive::Polling;
                self.arm_poll(id.0, Kind::Readable, libc::POLLIN | libc::POLLRDHUP);
            }
            // Nothing is in flight; whoever feeds the starved sees that it is not any more.
            Receive::Starved => {
                slot.receive = Receive::Off;
                return Poll::Ready(true);
            }
            Receive::Multishot | Receive::Single => {
                // What is received while splicing is on is received piece by piece: a multishot would only be ended again.
                slot.bulk = true;
                self.end_receive(id.0);
            }
            Receive::Ending | Receive::Polling => {}
        }
        set_waker(&mut self.streams[id.0 as usize].receive_waker, waker);
        Poll::Pending
    }

    pub(in crate::engine) fn splice_in(&mut self, id: StreamId, pipe: &mut Pipe, max: usize) -> io::Result<usize> {
        self.make_nonblocking(id.0);
        let slot = &mut self.streams[id.0 as usize];
        match pipe.fill_from(slot.fd, max) {
            Ok(0) => slot.end = End::Finished,
            Ok(moved) => {
                slot.received = slot.received.wrapping_add(moved as u32);
                return Ok(moved);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => slot.dry = true,
            Err(error) => slot.end = End::Failed(stream_error(error)?),
        }
        Ok(0)
    }

    pub(in crate::engine) fn splice_out(&mut self, id: StreamId, pipe: &mut Pipe) -> io::Result<usize> {
        self.make_nonblocking(id.0);
        let slot = &mut self.streams[id.0 as usize];
        if slot.send_broken || slot.send.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let moved = pipe.drain_to(slot.fd);
        if moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.counts.sends_stalled += 1;
            slot.full = true;
        }
        moved
    }

    pub(in crate::engine) fn poll_writable(&mut self, id: StreamId, waker: &Waker) -> Poll<()> {
        let slot = &mut self.streams[id.0 as usize];
        if !slot.full {
            return Poll::Ready(());
        }
        set_waker(&mut slot.send_waker, waker);
        if !std::mem::replace(&mut slot.polling_full, true) {
            self.arm_poll(id.0, Kind::Writable, libc::POLLOUT);
        }
        Poll::Pending
    }

    fn arm_poll(&mut self, index: u32, kind: Kind, events: i16) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight += 1;
        let entry = opcode::PollAdd::new(Fd(slot.fd), events as u32).build().user_data(user_data(kind, index));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    /// A poll for bytes has ended; even if it failed, the next splice or receive tells how the stream is.
    pub(super) fn readable(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight -= 1;
        slot.receive = Receive::Off;
        slot.dry = false;
        if slot.closed {
            return self.release(index);
        }
        if let Some(waker) = slot.receive_waker.take() {
            waker.wake();
        }
    }

    pub(super) fn writable(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight -= 1;
        (slot.full, slot.polling_full) = (false, false);
        if slot.closed {
            return self.release(index);
        }
        if let Some(waker) = slot.send_waker.take() {
            waker.wake();
        }
    }

    fn make_nonblocking(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        if !std::mem::replace(&mut slot.nonblocking, true) {
            socket::make_nonblocking(slot.fd);
        }
    }
}
