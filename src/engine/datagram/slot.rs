//! A datagram socket in a driver that is told when something has arrived (by epoll, or by a poll on the ring) and then
//! receives by itself. What both drivers do is here; how they are told is theirs.

use super::batch::Batch;
use super::kernel::KernelSocket;
use std::io;
use std::task::{Poll, Waker};

pub(crate) struct DatagramSlot {
    /// Valid until the close.
    pub(crate) socket: KernelSocket,
    /// Something has arrived, and no receive has found the end of the queue since.
    ready: bool,
    waker: Option<Waker>,
    /// Closed, and a poll that names the slot is still in flight.
    pub(crate) closed: bool,
}

impl DatagramSlot {
    pub(crate) fn new(socket: KernelSocket) -> DatagramSlot {
        DatagramSlot { socket, ready: false, waker: None, closed: false }
    }

    /// Something has arrived, or gone wrong.
    pub(crate) fn arrived(&mut self) {
        self.ready = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Receives what is there, or sees to it that the waker is woken at the next arrival.
    pub(crate) fn poll_receive(&mut self, waker: &Waker, batch: &mut Batch) -> Poll<io::Result<()>> {
        while self.ready {
            match self.socket.receive(batch) {
                Ok(more) => {
                    // Every datagram that comes is told anew, so a receive that was not filled has found the end.
                    self.ready = more;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Datagrams may wait behind the error.
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if !self.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        Poll::Pending
    }

    /// Nobody waits any more. The slot stays until its poll has ended.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.waker = None;
    }
}
