//! Datagram sockets: bound ones that hear anybody, and connected ones that speak with one address and learn when nothing
//! listens there.
//!
//! Received datagrams are lent, many at a time, for the length of a call: nothing holds a buffer afterwards, and nothing is
//! allocated for them. What the kernel has coalesced (UDP_GRO) comes as one piece with the length of its parts, and may be
//! sent on as one piece (UDP_SEGMENT). A send never waits: what the kernel does not take at once is an error, and the
//! caller's to count.

mod batch;
mod kernel;
mod slot;

pub(super) use batch::Batch;
pub(super) use kernel::KernelSocket;
pub(super) use slot::DatagramSlot;

use super::driver::DatagramId;
use super::spent::Spent;
use super::timer::TimerId;
use super::{Core, Engine, executor};
use crate::base::Instant;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Receives of one socket in one turn before the others have theirs.
const RECEIVES_A_TURN: u8 = 4;

/// Options of a datagram socket.
#[derive(Clone, Debug)]
pub struct DatagramOptions {
    /// Several bound sockets, one a worker, share the address: the kernel gives each sender to one of them
    /// (SO_REUSEPORT).
    pub reuse_port: bool,
    /// Datagrams of one sender that arrive together come as one piece, where the kernel can (UDP_GRO).
    pub coalesce: bool,
    /// Bytes that the kernel may queue (SO_RCVBUF), as far as `net.core.rmem_max` allows; 0 leaves it at its default.
    pub queue_bytes: usize,
}

impl Default for DatagramOptions {
    fn default() -> DatagramOptions {
        DatagramOptions { reuse_port: false, coalesce: true, queue_bytes: 0 }
    }
}

/// One received datagram, or several of one sender that arrived together.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub from: SocketAddr,
    /// The local address that it was sent to, where the socket is bound to every address of the machine: what an answer
    /// must come from.
    pub to: Option<IpAddr>,
    pub bytes: &'a [u8],
    /// The length of each datagram in `bytes`; the last may be shorter. 0 where it is one without bytes.
    pub segment: usize,
}

impl Datagram<'_> {
    /// How many datagrams it is.
    pub fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.segment.max(1)).max(1)
    }
}

/// The datagrams that a piece is cut into.
pub(super) fn parts(bytes: &[u8], segment: usize) -> impl Iterator<Item = &[u8]> {
    let segment = if segment == 0 { bytes.len() } else { segment };
    bytes.is_empty().then_some(bytes).into_iter().chain(bytes.chunks(segment.max(1)))
}

/// What a receive gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Datagrams that were handed over.
    pub datagrams: usize,
    /// Those that were longer than a buffer: they are lost.
    pub truncated: usize,
}

/// A datagram socket. Dropping it closes it; what was sent before still goes out.
pub struct DatagramSocket {
    core: Rc<Core>,
    id: DatagramId,
    local: SocketAddr,
    receives: Cell<Spent>,
}

impl DatagramSocket {
    pub(super) fn new(core: &Rc<Core>, id: DatagramId, local: SocketAddr) -> DatagramSocket {
        DatagramSocket { core: core.clone(), id, local, receives: Cell::default() }
    }

    /// The address that it is bound to: with port 0, the one that the kernel chose.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Waits for datagrams and hands those that are there to `take`, in their order, a limited number at once. A connected
    /// socket fails with ECONNREFUSED once for each time that it heard that nothing listens at the other side.
    pub async fn receive(&self, take: impl FnMut(Datagram<'_>)) -> io::Result<Received> {
        let batch = poll_fn(|context| self.poll_batch(context.waker())).await?;
        Ok(self.hand_over(batch, take))
    }

    /// The same for datagrams that are there already. Without any, `None`, and `key` will be woken when some come.
    pub fn receive_now(&self, wakes: &Wakes, key: u32, take: impl FnMut(Datagram<'_>)) -> Option<io::Result<Received>> {
        match self.poll_batch(&wakes.waker(key)) {
            Poll::Ready(Ok(batch)) => Some(Ok(self.hand_over(batch, take))),
            Poll::Ready(Err(error)) => Some(Err(error)),
            Poll::Pending => None,
        }
    }

    fn poll_batch(&self, waker: &Waker) -> Poll<io::Result<Box<Batch>>> {
        let turn = self.core.turns.get() as u32;
        let mut receives = self.receives.get();
        if receives.is_spent(turn, RECEIVES_A_TURN) {
            self.core.postponed.borrow_mut().push(waker.clone());
            return Poll::Pending;
        }
        let mut driver = self.core.driver.borrow_mut();
        let mut batch = match self.core.batch.take() {
            Some(batch) => batch,
            None => Box::new(Batch::new(driver.datagram_size())?),
        };
        let error = match driver.poll_receive_datagrams(self.id, waker, &mut batch) {
            Poll::Ready(Ok(())) => {
                receives.spend(turn, RECEIVES_A_TURN);
                self.receives.set(receives);
                return Poll::Ready(Ok(batch));
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.core.batch.set(Some(batch));
        error
    }

    /// The batch is nobody else's meanwhile: `take` may send, and even receive.
    fn hand_over(&self, batch: Box<Batch>, mut take: impl FnMut(Datagram<'_>)) -> Received {
        let mut received = Received { datagrams: 0, truncated: batch.truncated() };
        for datagram in batch.datagrams() {
            received.datagrams += datagram.count();
            take(datagram);
        }
        self.core.batch.set(Some(batch));
        received
    }

    /// Sends from a connected socket: one datagram, or several of `segment` bytes each. Errors: WouldBlock where the kernel
    /// has no room for it; ECONNREFUSED where nothing listened at the other side earlier, and then nothing was sent.
    pub fn send(&self, bytes: &[u8], segment: usize) -> io::Result<()> {
        self.core.driver.borrow_mut().send_datagram(self.id, bytes, segment, None)
    }

    /// Sends from a bound socket, as `from` where that is given and the socket is bound to every address.
    pub fn send_to(&self, bytes: &[u8], segment: usize, to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.core.driver.borrow_mut().send_datagram(self.id, bytes, segment, Some((to, from)))
    }

    /// Datagrams that the kernel has dropped because the queue was full. One system call.
    pub fn overflowed(&self) -> u64 {
        self.core.driver.borrow().datagrams_overflowed(self.id)
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        self.core.driver.borrow_mut().close_datagrams(self.id);
    }
}

/// A queue of keys that were woken, so that one task can serve many sockets. What a key means is the caller's; one may come
/// up without a reason.
pub struct Wakes {
    engine: Engine,
    lot: u8,
}

/// Names a timer that was set with [`Wakes::wake_at`].
pub struct WakeTimer(TimerId);

impl Wakes {
    /// A queue of this engine; with [parking lots](super::Parking) it has room for 127.
    pub fn new(engine: &Engine) -> Wakes {
        Wakes { engine: engine.clone(), lot: executor::new_lot() }
    }

    /// The next key that was woken. For one caller at a time.
    pub async fn next(&self) -> u32 {
        poll_fn(|context| match executor::next_woken(self.lot, context.waker()) {
            Some(key) => Poll::Ready(key),
            None => Poll::Pending,
        })
        .await
    }

    /// Wakes `key` in this turn.
    pub fn wake(&self, key: u32) {
        self.waker(key).wake();
    }

    /// Wakes `key` at an instant.
    pub fn wake_at(&self, at: Instant, key: u32) -> WakeTimer {
        WakeTimer(self.engine.core.timers.borrow_mut().insert(at, self.waker(key)))
    }

    pub fn cancel(&self, timer: &WakeTimer) {
        self.engine.core.timers.borrow_mut().cancel(timer.0);
    }

    fn waker(&self, key: u32) -> Waker {
        executor::lot_waker(self.lot, key)
    }
}
