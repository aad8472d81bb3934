//! Sending: everything at once if the other side takes it; what it does not take is copied aside and left to the kernel
//! to wait with. One send at a time on a stream; its memory is the slot's until the completion.

use super::{Kind, StreamSlot, Uring, set_waker, user_data};
use crate::base::heap::{Pressure, pressure};
use crate::engine::buffer::Outgoing;
use crate::engine::driver::StreamId;
use crate::engine::socket;
use io_uring::opcode;
use io_uring::types::Fd;
use std::io;
use std::task::{Poll, Waker};

/// Send records that are kept for sends to come.
const SPARE_SENDS_MAX: usize = 256;

/// A send that is in flight or done: everything that the kernel reads.
pub(super) struct Send {
    pub(super) outgoing: Outgoing,
    pub(super) vectors: Vec<libc::iovec>,
    pub(super) message: libc::msghdr,
    /// The first attempt takes what fits at once; after a stall the kernel is left to wait for room.
    pub(super) stalled: bool,
    /// It has been cancelled because memory is short.
    pub(super) shed: bool,
    pub(super) result: Option<io::Result<()>>,
}

impl Uring {
    pub(in crate::engine) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.send_broken || slot.send.is_some() {
            return Some(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        let mut send = self.spare_sends.pop().unwrap_or_else(Send::new);
        std::mem::swap(&mut send.outgoing, outgoing);
        send.stalled = false;
        send.shed = false;
        send.result = None;
        slot.send = Some(send);
        self.submit_send(id.0);
        None
    }

    pub(super) fn submit_send(&mut self, index: u32) {
        let slot = &mut self.streams[index as usize];
        let Some(send) = slot.send.as_deref_mut() else { return };
        let flags = libc::MSG_NOSIGNAL
            | match (send.stalled, slot.unix_sent) {
                (false, _) => libc::MSG_DONTWAIT,
                (true, None) => libc::MSG_WAITALL,
                // Piece by piece: how much was taken is known from the completions alone.
                (true, Some(_)) => 0,
            }
            | if send.outgoing.is_last() { libc::MSG_MORE } else { 0 };
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

    pub(super) fn sent(&mut self, index: u32, result: i32) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight -= 1;
        slot.sending = false;
        if slot.closed {
            return self.release(index);
        }
        let Some(send) = slot.send.as_deref_mut() else { return };
        if result >= 0 {
            send.outgoing.sent(result as usize);
            if let Some(sent) = &mut slot.unix_sent {
                *sent += result as u64;
            }
        }
        if (result >= 0 || result == -libc::EAGAIN || result == -libc::EINTR)
            && !send.outgoing.is_empty()
            && !slot.send_broken
            && !send.shed
        {
            if send.stalled {
                return self.submit_send(index);
            }
            self.counts.sends_stalled += 1;
            if pressure() != Pressure::Full {
                send.stalled = true;
                send.outgoing.detach();
                return self.submit_send(index);
            }
            self.counts.sends_refused += 1;
            send.shed = true;
        }
        let cut_off = send.shed && !send.outgoing.is_empty();
        let result = if cut_off { -libc::ENOMEM } else { result };
        send.outgoing.clear();
        if slot.send_broken {
            self.recycle_send(index);
            return;
        }
        if cut_off {
            // What it has sent may be a part of something: nothing can follow it, and its end must not look complete.
            slot.send_broken = true;
            socket::linger_off(slot.fd);
        }
        send.result = Some(if result >= 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-result)) });
        if let Some(waker) = slot.send_waker.take() {
            waker.wake();
        }
    }

    pub(in crate::engine) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
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
        self.keep_send(send);
        Poll::Ready((outgoing, result))
    }

    pub(in crate::engine) fn abandon_send(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        slot.send_broken = true;
        if slot.sending {
            self.cancel(user_data(Kind::Send, id.0));
        } else {
            self.recycle_send(id.0);
        }
    }

    pub(in crate::engine) fn stalled_sends(&self) -> Vec<(usize, StreamId)> {
        let held = |slot: &StreamSlot| {
            let send = slot.send.as_deref().filter(|send| send.stalled && !send.shed && send.result.is_none())?;
            Some(send.outgoing.len())
        };
        self.streams.iter().filter_map(|(index, slot)| Some((held(slot)?, StreamId(index as u32)))).collect()
    }

    /// Cancels a stalled send; its result is then ENOMEM.
    pub(in crate::engine) fn fail_send(&mut self, id: StreamId) {
        let Some(send) = self.streams[id.0 as usize].send.as_deref_mut() else { return };
        send.shed = true;
        self.cancel(user_data(Kind::Send, id.0));
    }

    pub(super) fn recycle_send(&mut self, index: u32) {
        if let Some(mut send) = self.streams[index as usize].send.take() {
            send.outgoing.clear();
            self.keep_send(send);
        }
    }

    fn keep_send(&mut self, send: Box<Send>) {
        if self.spare_sends.len() < SPARE_SENDS_MAX {
            self.spare_sends.push(send);
        }
    }

    /// Gives back what is kept for sends to come.
    pub(in crate::engine) fn give_back_spares(&mut self) {
        self.spare_sends = Vec::new();
    }
}

impl Send {
    pub(super) fn new() -> Box<Send> {
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let message = unsafe { std::mem::zeroed() };
        Box::new(Send {
            outgoing: Outgoing::default(),
            vectors: Vec::new(),
            message,
            stalled: false,
            shed: false,
            result: None,
        })
    }

    pub(super) fn fill_vectors(&mut self) {
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
