//! Splicing, simulated: a pipe is a queue of bytes, and moves are cut short by chance as receives and sends are.

use super::Sim;
use super::parts::End;
use crate::engine::buffer::Outgoing;
use crate::engine::driver::StreamId;
use crate::engine::pipe::Pipe;
use std::io;
use std::task::{Poll, Waker};

impl Sim {
    pub(in crate::engine) fn is_short_of_pipes(&mut self) -> bool {
        self.network.dice.happens(self.network.settings.faults.no_pipe)
    }

    pub(in crate::engine) fn poll_spliceable(&mut self, id: StreamId, waker: &Waker) -> Poll<bool> {
        let side = &mut self.network.sides[id.0 as usize];
        if !side.arrived.is_empty() {
            return Poll::Ready(true);
        }
        if side.end != End::Open {
            return Poll::Ready(false);
        }
        side.receive_waker = Some(waker.clone());
        Poll::Pending
    }

    pub(in crate::engine) fn splice_in(&mut self, id: StreamId, pipe: &mut Pipe, max: usize) -> io::Result<usize> {
        let arrived = self.network.sides[id.0 as usize].arrived.len();
        let mut room = vec![0; arrived.min(pipe.room()).min(max)];
        let moved = self.network.take(id.0, &mut room);
        pipe.simulated().ok_or(io::ErrorKind::Unsupported)?.extend(&room[..moved]);
        pipe.changed();
        Ok(moved)
    }

    pub(in crate::engine) fn splice_out(&mut self, id: StreamId, pipe: &mut Pipe) -> io::Result<usize> {
        let side = &self.network.sides[id.0 as usize];
        if side.send_broken || side.send.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        let bytes = pipe.simulated().ok_or(io::ErrorKind::Unsupported)?;
        let offered = bytes.len();
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(bytes.make_contiguous());
        if let Some(Err(error)) = self.network.send(id.0, &mut outgoing) {
            return Err(error);
        }
        let moved = offered - outgoing.len();
        bytes.drain(..moved);
        pipe.changed();
        let side = &mut self.network.sides[id.0 as usize];
        side.full = moved == 0;
        if moved == 0 {
            self.network.sends_stalled += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(moved)
    }

    pub(in crate::engine) fn poll_writable(&mut self, id: StreamId, waker: &Waker) -> Poll<()> {
        let side = &mut self.network.sides[id.0 as usize];
        if side.full {
            side.send_waker = Some(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}
