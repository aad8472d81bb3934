//! Sending: at once as far as the other side takes it; the rest is copied aside and goes on with the edges that say that there is
//! room.

use super::{Epoll, Pending, SENDS_A_TURN, StreamSlot, calls, set_waker, wake};
use crate::base::heap::{Pressure, pressure};
use crate::engine::buffer::Outgoing;
use crate::engine::driver::StreamId;
use std::io;
use std::os::fd::AsRawFd;
use std::task::{Poll, Waker};

impl Epoll {
    pub(in crate::engine) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
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

    pub(super) fn resume_send(&mut self, index: u32) {
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

    pub(in crate::engine) fn stalled_sends(&self) -> Vec<(usize, StreamId)> {
        let held = |slot: &StreamSlot| {
            let send = slot.send.as_deref().filter(|send| send.result.is_none())?;
            Some(send.outgoing.len())
        };
        self.streams.iter().filter_map(|(index, slot)| Some((held(slot)?, StreamId(index as u32)))).collect()
    }

    /// Ends a stalled send with ENOMEM.
    pub(in crate::engine) fn fail_send(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        let Some(send) = slot.send.as_deref_mut() else { return };
        send.outgoing.clear();
        send.result = Some(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        slot.cut_off();
        wake(&mut slot.send_waker);
    }

    /// Nothing is kept for sends to come.
    pub(in crate::engine) fn give_back_spares(&mut self) {}

    pub(in crate::engine) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
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

    pub(in crate::engine) fn abandon_send(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        slot.send_broken = true;
        slot.send = None;
    }
}
