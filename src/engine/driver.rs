//! What every driver does, and which one does it. The semantics are written here once; `uring`, `epoll` and `sim`
//! obey them, and the conformance suite (`engine/tests`) holds them to it.
//!
//! An enum and not a trait object: the branch is predicted, and a driver's calls inline.

use super::buffer::{Chunk, Outgoing};
use super::datagram::{Batch, DatagramOptions};
use super::epoll::Epoll;
use super::pipe::Pipe;
use super::sim::{Sim, SimSettings};
use super::uring::Uring;
use super::{ConnectOptions, DriverChoice, EngineCounts, EngineSettings, ListenOptions};
use crate::base::{Address, Instant, SharedSocket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

/// A stream of the driver: an index that is not used again before [`Driver::close`] and the end of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamId(pub(super) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenerId(pub(super) u32);

/// A datagram socket of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DatagramId(pub(super) u32);

/// Boxed each: there is one driver a thread, and its size is nobody's concern.
pub(super) enum Driver {
    Uring(Box<Uring>),
    Epoll(Box<Epoll>),
    Sim(Box<Sim>),
}

macro_rules! each {
    ($self:expr, $driver:ident => $call:expr) => {
        match $self {
            Driver::Uring($driver) => $call,
            Driver::Epoll($driver) => $call,
            Driver::Sim($driver) => $call,
        }
    };
}

impl Driver {
    /// The driver, and why it is not uring if that was left to us.
    pub(super) fn new(settings: &EngineSettings) -> io::Result<(Driver, Option<String>)> {
        let epoll = || Epoll::new(settings).map(|epoll| Driver::Epoll(Box::new(epoll)));
        match settings.driver {
            DriverChoice::Epoll => Ok((epoll()?, None)),
            DriverChoice::Uring => match Uring::new(settings) {
                Ok(uring) => Ok((Driver::Uring(Box::new(uring)), None)),
                Err(error) => Err(io::Error::new(error.kind(), format!("io_uring cannot be used: {}", cause(&error)))),
            },
            DriverChoice::Auto => match Uring::new(settings) {
                Ok(uring) => Ok((Driver::Uring(Box::new(uring)), None)),
                Err(error) => Ok((epoll()?, Some(cause(&error)))),
            },
        }
    }

    pub(super) fn simulated(settings: &SimSettings) -> io::Result<Driver> {
        Ok(Driver::Sim(Box::new(Sim::new(settings)?)))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Driver::Uring(_) => "uring",
            Driver::Epoll(_) => "epoll",
            Driver::Sim(_) => "sim",
        }
    }

    pub(super) fn now(&self) -> Instant {
        match self {
            Driver::Uring(_) | Driver::Epoll(_) => monotonic(),
            Driver::Sim(sim) => sim.now(),
        }
    }

    pub(super) fn remote(&self) -> Arc<RemoteWaker> {
        each!(self, driver => driver.remote())
    }

    /// Submits what is pending, waits for events until `until` at the latest (`None`: for ever; the past: not at
    /// all), wakes whoever waits for them, and returns the time then.
    pub(super) fn wait(&mut self, until: Option<Instant>) -> Instant {
        each!(self, driver => driver.wait(until))
    }

    pub(super) fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<(ListenerId, Address)> {
        each!(self, driver => driver.listen(address, options))
    }

    /// Accepts from a socket of which other threads accept too: a connection wakes one of them, and who has accepted
    /// stands behind the others.
    pub(super) fn listen_shared(&mut self, socket: &Arc<SharedSocket>) -> io::Result<ListenerId> {
        each!(self, driver => driver.listen_shared(socket))
    }

    pub(super) fn set_listen_options(
        &self,
        id: ListenerId,
        local: &Address,
        options: &ListenOptions,
    ) -> io::Result<()> {
        let fd = match self {
            Driver::Uring(uring) => uring.listener_fd(id),
            Driver::Epoll(epoll) => epoll.listener_fd(id),
            // The simulated network knows no options.
            Driver::Sim(_) => return Ok(()),
        };
        super::socket::configure_listener(fd, local, options)
    }

    /// A new connection and its client's address. An error ends nothing: the next poll accepts again.
    pub(super) fn poll_accept(&mut self, id: ListenerId, waker: &Waker) -> Poll<io::Result<(StreamId, Address)>> {
        each!(self, driver => driver.poll_accept(id, waker))
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        each!(self, driver => driver.close_listener(id))
    }

    /// Starts a connection; the stream exists at once and may be closed at any time.
    pub(super) fn connect(&mut self, address: &Address, options: &ConnectOptions) -> io::Result<StreamId> {
        each!(self, driver => driver.connect(address, options))
    }

    pub(super) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        each!(self, driver => driver.poll_connected(id, waker))
    }

    /// The next bytes; an empty chunk is the end, again at every later call. A failed receive fails again.
    pub(super) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
        each!(self, driver => driver.poll_receive(id, waker))
    }

    /// Wakes `waker` when bytes, the end or an error can be received; at once if they can be now. Holds no buffer
    /// until then. Replaces an earlier waker of watch or receive.
    pub(super) fn watch(&mut self, id: StreamId, waker: &Waker) {
        each!(self, driver => driver.watch(id, waker))
    }

    /// Whether bytes, the end or an error can be received at once.
    pub(super) fn is_readable(&self, id: StreamId) -> bool {
        each!(self, driver => driver.is_readable(id))
    }

    /// How the stream has ended for its receiver, once nothing before the end is left to receive; a failure at once.
    /// Consumes nothing. Replaces an earlier waker of watch or receive, and wakes it also for bytes.
    pub(super) fn poll_end(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        each!(self, driver => driver.poll_end(id, waker))
    }

    pub(super) fn expect_bulk(&mut self, id: StreamId, bulk: bool) {
        each!(self, driver => driver.expect_bulk(id, bulk))
    }

    /// Starts to send all of `outgoing`. `Some`: done at once, and `outgoing` is empty. `None`: it has been taken, and
    /// [`Driver::poll_sent`] gives it back. A send that stalls is detached, so that it pins no receive buffer.
    pub(super) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        each!(self, driver => driver.send(id, outgoing))
    }

    pub(super) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
        each!(self, driver => driver.poll_sent(id, waker))
    }

    /// Nobody waits for the send any more: it is cancelled, and every later send fails with EPIPE.
    pub(super) fn abandon_send(&mut self, id: StreamId) {
        each!(self, driver => driver.abandon_send(id))
    }

    /// Waits until bytes may be taken from the kernel past the receive: true. False: to receive is what helps, because
    /// bytes have been received already, or the stream has ended or failed. Ends a receive that is in flight first.
    /// Replaces an earlier waker of watch or receive.
    pub(super) fn poll_spliceable(&mut self, id: StreamId, waker: &Waker) -> Poll<bool> {
        each!(self, driver => driver.poll_spliceable(id, waker))
    }

    /// Moves received bytes into an empty pipe; waits for nothing. Zero: there were none, and
    /// [`Driver::poll_spliceable`] knows what comes next. An error: this kernel does not do that.
    pub(super) fn splice_in(&mut self, id: StreamId, pipe: &mut Pipe, max: usize) -> io::Result<usize> {
        each!(self, driver => driver.splice_in(id, pipe, max))
    }

    /// Sends bytes of a pipe, as many as are taken at once. WouldBlock: none are.
    pub(super) fn splice_out(&mut self, id: StreamId, pipe: &mut Pipe) -> io::Result<usize> {
        each!(self, driver => driver.splice_out(id, pipe))
    }

    /// Waits until a splice_out that would have blocked is worth another try.
    pub(super) fn poll_writable(&mut self, id: StreamId, waker: &Waker) -> Poll<()> {
        each!(self, driver => driver.poll_writable(id, waker))
    }

    /// Whether chance has it that there is no pipe this time: only under simulation.
    pub(super) fn is_short_of_pipes(&mut self) -> bool {
        match self {
            Driver::Uring(_) | Driver::Epoll(_) => false,
            Driver::Sim(sim) => sim.is_short_of_pipes(),
        }
    }

    /// Gives back memory that is kept for later use alone.
    pub(super) fn give_back_spares(&mut self) {
        each!(self, driver => driver.give_back_spares())
    }

    /// Fails stalled sends, those that hold the most first, until they have held `bytes` together. How many, and what they
    /// have held.
    pub(super) fn shed_sends(&mut self, bytes: usize) -> (usize, usize) {
        let mut stalled = each!(self, driver => driver.stalled_sends());
        stalled.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let (mut count, mut given) = (0, 0);
        for (held, id) in stalled {
            if given >= bytes {
                break;
            }
            each!(self, driver => driver.fail_send(id));
            (count, given) = (count + 1, given + held);
        }
        (count, given)
    }

    pub(super) fn shutdown(&mut self, id: StreamId) {
        each!(self, driver => driver.shutdown(id))
    }

    /// Makes the coming close a reset.
    pub(super) fn linger_off(&mut self, id: StreamId) {
        each!(self, driver => driver.linger_off(id))
    }

    /// Cancels what is in flight and closes; what was handed to the kernel before still goes out.
    pub(super) fn close(&mut self, id: StreamId) {
        each!(self, driver => driver.close(id))
    }

    pub(super) fn acknowledged(&self, id: StreamId) -> u64 {
        each!(self, driver => driver.acknowledged(id))
    }

    pub(super) fn was_reset(&self, id: StreamId) -> bool {
        each!(self, driver => driver.was_reset(id))
    }

    pub(super) fn local_address(&self, id: StreamId) -> io::Result<Address> {
        each!(self, driver => driver.local_address(id))
    }

    /// A datagram socket and its local address.
    pub(super) fn bind_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        each!(self, driver => driver.bind_datagrams(address, options))
    }

    /// The same, connected. Nothing is sent for that, so it does not wait.
    pub(super) fn connect_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        each!(self, driver => driver.connect_datagrams(address, options))
    }

    /// The length that places of a batch have.
    pub(super) fn datagram_size(&self) -> usize {
        each!(self, driver => driver.datagram_size())
    }

    /// Fills the batch with what has arrived, in order. An error is of one earlier datagram: what has arrived since comes
    /// with the next call.
    pub(super) fn poll_receive_datagrams(
        &mut self,
        id: DatagramId,
        waker: &Waker,
        batch: &mut Batch,
    ) -> Poll<io::Result<()>> {
        each!(self, driver => driver.poll_receive_datagrams(id, waker, batch))
    }

    /// Sends at once or fails: to the other side of a connected socket, or `to` an address and from another.
    pub(super) fn send_datagram(
        &mut self,
        id: DatagramId,
        bytes: &[u8],
        segment: usize,
        to: Option<(SocketAddr, Option<IpAddr>)>,
    ) -> io::Result<()> {
        each!(self, driver => driver.send_datagram(id, bytes, segment, to))
    }

    pub(super) fn datagrams_overflowed(&self, id: DatagramId) -> u64 {
        each!(self, driver => driver.datagrams_overflowed(id))
    }

    pub(super) fn close_datagrams(&mut self, id: DatagramId) {
        each!(self, driver => driver.close_datagrams(id))
    }

    pub(super) fn counts(&self) -> EngineCounts {
        each!(self, driver => driver.counts())
    }

    /// Received bytes that nobody has taken yet.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Driver::Uring(uring) => uring.held_bytes(),
            Driver::Epoll(_) | Driver::Sim(_) => 0,
        }
    }
}

/// CLOCK_MONOTONIC.
pub(super) fn monotonic() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the kernel to fill; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    Instant(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

fn cause(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "io_uring_setup is not permitted (a seccomp filter or kernel.io_uring_disabled forbids it; \
                              container runtimes do so by default)"
                .to_string()
        }
        Some(libc::ENOSYS) => "the kernel has no io_uring".to_string(),
        Some(libc::EINVAL) => "the kernel's io_uring is too old (6.1 or newer is needed)".to_string(),
        Some(libc::ENOMEM) => "the kernel refused the memory for a ring (raise RLIMIT_MEMLOCK)".to_string(),
        _ => error.to_string(),
    }
}

/// An eventfd that any thread may write and the engine reads, and the flag that it stands for.
pub(super) struct RemoteWaker {
    event: OwnedFd,
    raised: AtomicBool,
}

impl RemoteWaker {
    pub(super) fn new() -> io::Result<RemoteWaker> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us alone.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(RemoteWaker { event, raised: AtomicBool::new(false) })
    }

    pub(super) fn wake(&self) {
        if self.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1u64;
        // SAFETY: eight readable bytes; the descriptor lives as long as self. A full counter means that it is readable
        // already, so the result does not matter.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Whether it was raised since the last call; empties the eventfd if so.
    pub(super) fn take(&self) -> bool {
        if !self.raised.load(Ordering::Relaxed) {
            return false;
        }
        let mut count = 0u64;
        // SAFETY: eight writable bytes; the descriptor is non-blocking, an empty one answers EAGAIN.
        unsafe { libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), 8) };
        self.raised.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
