//! The engine: one thread's sockets, timers and tasks. This page is the whole interface.
//!
//! Completion style: an operation is started and awaited, and received bytes come as [`Chunk`]s of the engine's own
//! buffers. Behind the interface stand three drivers of equal behaviour: `uring`, `epoll`, and `sim` (virtual time,
//! network and randomness from one seed). A caller that needs to know which one it has is a bug.
//!
//! Rules for callers: one receive and one send at a time on a stream (they may overlap each other); dropping a
//! receive loses nothing; dropping a send that has not finished breaks the stream's sending side; an [`Engine`] and
//! all that it makes stay on their thread ([`Remote`] alone may leave it).
#![allow(unsafe_code)]

mod buffer;
mod counts;
mod datagram;
mod driver;
mod epoll;
mod executor;
mod future;
mod lag;
mod options;
mod parking;
mod pipe;
mod sim;
mod socket;
mod spent;
mod splice;
mod timer;
mod uring;

pub use buffer::{Chunk, Outgoing};
pub use counts::EngineCounts;
pub use datagram::{Datagram, DatagramOptions, DatagramSocket, Received, WakeTimer, Wakes};
pub use future::{Elapsed, Enrolled, Event, Latch, Raced, Timeout, join, race};
pub use options::{BACKLOG, ConnectOptions, KEEPALIVE_PROBES, ListenOptions, TcpOptions};
pub use parking::{Parked, Parking, Ticket};
pub use sim::{SimFaults, SimSettings};
pub use socket::{pin_thread, processors, raise_fd_limit};
pub use splice::{Filled, Splice};

use crate::base::{Address, Instant, SharedSocket};
use datagram::Batch;
use driver::{Driver, ListenerId, StreamId};
use executor::Executor;
use pipe::Pipes;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use timer::Wheel;

/// Which driver is asked for: the configuration's `engine`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// uring where the kernel permits it, else epoll; [`Engine::fallback`] says why.
    #[default]
    Auto,
    Uring,
    Epoll,
}

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    pub driver: DriverChoice,
    /// Receive buffers: a power of two up to 32,768.
    pub buffers: u16,
    /// Bytes of each receive buffer. Memory is touched only where data arrives.
    pub buffer_size: usize,
    /// Bytes of the longest datagram, or piece of several, that is received; a longer one is lost, and counted.
    /// Below 64 KiB the kernel is not asked to make pieces.
    pub datagram_size: usize,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings { driver: DriverChoice::Auto, buffers: 64, buffer_size: 256 * 1024, datagram_size: 64 * 1024 }
    }
}

/// How long a connection to a Unix socket whose queue is full waits before it is tried again: at first, and at most.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);
const QUEUE_FULL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Tasks polled before events are taken again, so that tasks that keep each other busy starve no socket.
const POLLS_A_TURN: usize = 1024;

/// Handle to the engine of this thread; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    core: Rc<Core>,
}

struct Core {
    executor: Executor,
    timers: RefCell<Wheel>,
    driver: RefCell<Driver>,
    pipes: RefCell<Pipes>,
    /// Where datagrams are received to; made with the first that are.
    batch: Cell<Option<Box<Batch>>>,
    now: Cell<Instant>,
    turns: Cell<u64>,
    /// Who has had its share of this turn and goes on in the next.
    postponed: RefCell<Vec<Waker>>,
    random: Cell<u64>,
    lag: lag::Lag,
    remote: Remote,
    woken: Event,
    fallback: Option<String>,
}

/// Wakes an engine from any thread.
#[derive(Clone)]
pub struct Remote {
    waker: Arc<driver::RemoteWaker>,
}

impl Remote {
    /// Makes [`Engine::woken`] return. Wakes before the next return are one.
    pub fn wake(&self) {
        self.waker.wake();
    }
}

impl Engine {
    /// The engine of this thread. Errors: the driver that was asked for is not permitted or not supported here (the
    /// text says why and what to do), or the thread has an engine already.
    pub fn new(settings: &EngineSettings) -> io::Result<Engine> {
        let (driver, fallback) = Driver::new(settings)?;
        Engine::with(driver, fallback, rand_seed())
    }

    /// An engine whose time, network and randomness come from one seed.
    pub fn simulated(settings: &SimSettings) -> io::Result<Engine> {
        Engine::with(Driver::simulated(settings)?, None, settings.seed)
    }

    fn with(driver: Driver, fallback: Option<String>, seed: u64) -> io::Result<Engine> {
        let executor = Executor::new().map_err(|_| io::Error::other("this thread has an engine already"))?;
        let now = driver.now();
        let remote = Remote { waker: driver.remote() };
        let core = Core {
            executor,
            timers: RefCell::new(Wheel::new(now)),
            pipes: RefCell::new(Pipes::new(matches!(driver, Driver::Sim(_)))),
            driver: RefCell::new(driver),
            batch: Cell::new(None),
            now: Cell::new(now),
            turns: Cell::new(0),
            postponed: RefCell::default(),
            random: Cell::new(seed),
            lag: lag::Lag::default(),
            remote,
            woken: Event::default(),
            fallback,
        };
        Ok(Engine { core: Rc::new(core) })
    }

    /// "uring", "epoll" or "sim".
    pub fn driver_name(&self) -> &'static str {
        self.core.driver.borrow().name()
    }

    /// Why `Auto` did not choose uring, in one line; `None` if it did or was not asked.
    pub fn fallback(&self) -> Option<&str> {
        self.core.fallback.as_deref()
    }

    /// The time, read once for each turn of the event loop.
    pub fn now(&self) -> Instant {
        self.core.now.get()
    }

    /// How long whatever became ready in the last half second had to wait for its turn at least: near zero for a worker that
    /// keeps up.
    pub fn lag(&self) -> std::time::Duration {
        self.core.lag.at(self.now())
    }

    /// A random number; under simulation it comes from the seed. Not for secrets.
    pub fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = self.core.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.core.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Starts a task. A panic in it costs the task alone: it is caught and counted.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.core.executor.spawn(Box::pin(task));
    }

    /// Runs tasks and events until `main` is done; other tasks then stay where they are.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let written = result.clone();
        self.spawn(async move {
            let value = main.await;
            *written.borrow_mut() = Some(value);
        });
        loop {
            let more = self.core.executor.run_ready(POLLS_A_TURN);
            if let Some(value) = result.borrow_mut().take() {
                return value;
            }
            assert!(Rc::strong_count(&result) > 1, "the main task panicked");
            self.turn(more);
        }
    }

    /// Takes events, and waits for them unless tasks are ready.
    fn turn(&self, more: bool) {
        let core = &*self.core;
        let more = more || !core.postponed.borrow().is_empty();
        let until = if more { Some(core.now.get()) } else { core.timers.borrow().next_deadline() };
        if core.executor.reached_mark() || !more {
            core.lag.reached(core.driver.borrow().now());
        }
        let now = core.driver.borrow_mut().wait(until);
        core.now.set(now);
        core.turns.set(core.turns.get() + 1);
        core.timers.borrow_mut().advance(now);
        // Last in the queue: those that have waited for their events go first.
        core.postponed.borrow_mut().drain(..).for_each(Waker::wake);
        if core.remote.waker.take() {
            core.woken.notify();
        }
        if core.lag.marks(now, core.executor.is_idle()) {
            core.executor.mark();
        }
    }

    /// Waits until another thread has called [`Remote::wake`].
    pub async fn woken(&self) {
        self.core.woken.wait().await;
    }

    pub fn remote(&self) -> Remote {
        self.core.remote.clone()
    }

    pub async fn sleep_until(&self, at: Instant) {
        future::Sleep::new(&self.core, at).await;
    }

    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Runs `future` until `at` at the latest. One timer, set only if the future is not ready at once.
    pub fn timeout<F: Future>(&self, at: Instant, future: F) -> Timeout<F> {
        Timeout::new(&self.core, at, future)
    }

    /// Lets the other tasks that are ready run first.
    pub async fn yield_now(&self) {
        future::yield_now().await;
    }

    pub fn listen(&self, address: &Address, options: &ListenOptions) -> io::Result<Listener> {
        let (id, local) = self.core.driver.borrow_mut().listen(address, options)?;
        Ok(Listener { core: self.core.clone(), id, local })
    }

    /// Accepts from a socket that other engines, of the same driver, accept from too. Each connection goes to one of
    /// them, in turn as far as they are idle.
    pub fn listen_shared(&self, socket: &Arc<SharedSocket>) -> io::Result<Listener> {
        let id = self.core.driver.borrow_mut().listen_shared(socket)?;
        Ok(Listener { core: self.core.clone(), id, local: socket.address().clone() })
    }

    /// A connection to `address`. A Unix socket whose queue is full is waited for: who calls sets a limit.
    pub async fn connect(&self, address: &Address, options: &ConnectOptions) -> io::Result<Stream> {
        let mut pause = QUEUE_FULL_PAUSE;
        loop {
            match self.try_connect(address, options).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && address.is_unix() => {
                    self.sleep(pause).await;
                    pause = (pause * 2).min(QUEUE_FULL_PAUSE_MAX);
                }
                done => return done,
            }
        }
    }

    async fn try_connect(&self, address: &Address, options: &ConnectOptions) -> io::Result<Stream> {
        let id = self.core.driver.borrow_mut().connect(address, options)?;
        let stream = Stream { core: self.core.clone(), id };
        poll_fn(|context| self.core.driver.borrow_mut().poll_connected(id, context.waker())).await?;
        Ok(stream)
    }

    /// A socket that receives the datagrams of anybody who sends to `address`.
    pub fn bind_datagrams(&self, address: SocketAddr, options: &DatagramOptions) -> io::Result<DatagramSocket> {
        let (id, local) = self.core.driver.borrow_mut().bind_datagrams(address, options)?;
        Ok(DatagramSocket::new(&self.core, id, local))
    }

    /// A socket that exchanges datagrams with `address` alone.
    pub fn connect_datagrams(&self, address: SocketAddr, options: &DatagramOptions) -> io::Result<DatagramSocket> {
        let (id, local) = self.core.driver.borrow_mut().connect_datagrams(address, options)?;
        Ok(DatagramSocket::new(&self.core, id, local))
    }

    /// Moves bytes from one stream to another inside the kernel, for long transfers: chatter is cheaper to copy.
    pub fn splice<'a>(&self, from: &'a Stream, to: &'a Stream) -> Splice<'a> {
        Splice::new(from, to)
    }

    /// Under simulation a hash of all that has happened: equal for two runs only if they went the same way. Else 0.
    pub fn trace(&self) -> u64 {
        match &*self.core.driver.borrow() {
            Driver::Sim(sim) => sim.trace(),
            Driver::Uring(_) | Driver::Epoll(_) => 0,
        }
    }

    /// Gives back memory that is kept for later use alone.
    pub fn give_back_spares(&self) {
        self.core.driver.borrow_mut().give_back_spares();
    }

    /// Fails sends that wait for slow readers, those that hold the most first, until `bytes` are given back, which is when
    /// their senders have seen it. How many sends, and how many bytes. See [`is_out_of_memory`].
    pub fn shed_sends(&self, bytes: usize) -> (usize, usize) {
        self.core.driver.borrow_mut().shed_sends(bytes)
    }

    pub fn counts(&self) -> EngineCounts {
        let mut counts = self.core.driver.borrow().counts();
        counts.tasks_panicked = self.core.executor.panicked();
        counts.tasks_active = self.core.executor.active() as u64;
        let pipes = self.core.pipes.borrow();
        counts.spliced_bytes = pipes.moved;
        counts.pipes_refused = pipes.refused;
        counts.pipes_used = pipes.lent() as u64;
        counts.pipe_bytes = pipes.bytes as u64;
        counts.bytes_detached = buffer::detached_bytes() as u64;
        counts
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Tasks hold engines: the outermost handle of a finished run drops them so that the cycle ends.
        if Rc::strong_count(&self.core) == 1 {
            self.core.executor.clear();
        }
    }
}

impl Engine {
    /// Drops every task and with them their streams and listeners. For the end of a run.
    pub fn stop(&self) {
        self.core.executor.clear();
    }
}

/// A listening socket. Dropping it closes it; connections that it accepted but gave to nobody are closed too.
pub struct Listener {
    core: Rc<Core>,
    id: ListenerId,
    local: Address,
}

impl Listener {
    /// The next connection and the address of its client. Errors are the kernel's (EMFILE, ...): the caller pauses
    /// and accepts again.
    pub async fn accept(&self) -> io::Result<(Stream, Address)> {
        let (id, client) =
            poll_fn(|context| self.core.driver.borrow_mut().poll_accept(self.id, context.waker())).await?;
        Ok((Stream { core: self.core.clone(), id }, client))
    }

    /// Changes the options of an open listener. Those of connections hold for what is accepted from now on; `backlog` and
    /// `reuse_port` stay as they are.
    pub fn set_options(&self, options: &ListenOptions) -> io::Result<()> {
        self.core.driver.borrow().set_listen_options(self.id, &self.local, options)
    }

    /// The address that it is bound to: with port 0, the one that the kernel chose.
    pub fn local_address(&self) -> Address {
        self.local.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.core.driver.borrow_mut().close_listener(self.id);
    }
}

/// A connected byte stream. Dropping it closes it; what was sent before still goes out.
pub struct Stream {
    core: Rc<Core>,
    id: StreamId,
}

impl Stream {
    /// The next bytes, as they arrived; an empty chunk is the end of the stream.
    pub async fn receive(&self) -> io::Result<Chunk> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        self.core.driver.borrow_mut().poll_receive(self.id, context.waker())
    }

    /// Whether a receive would return at once. May be wrong in the driver's favour (false although bytes are there).
    pub fn is_readable(&self) -> bool {
        self.core.driver.borrow().is_readable(self.id)
    }

    /// How the other side has ended, while nothing is received: `Ok` is an orderly end (it sends no more and may still
    /// read) before which nothing is left to receive, an error is a reset. Costs no system call while it goes on.
    pub fn poll_end(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core.driver.borrow_mut().poll_end(self.id, context.waker())
    }

    /// Expect a long message (true): receive piece by piece as asked, rather than ahead of being asked.
    pub fn expect_bulk(&self, bulk: bool) {
        self.core.driver.borrow_mut().expect_bulk(self.id, bulk);
    }

    /// Hands all of `outgoing` to the kernel, in order, and gives it back empty.
    pub async fn send(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        if outgoing.is_empty() {
            outgoing.clear();
            return Ok(());
        }
        if let Some(done) = self.core.driver.borrow_mut().send(self.id, outgoing) {
            return done;
        }
        let mut sending = pin!(future::Sending::new(&self.core, self.id));
        let (returned, result) = poll_fn(|context| sending.as_mut().poll(context)).await;
        *outgoing = returned;
        result
    }

    /// Bytes that the other side has taken since the connection began: grows as long as a slow reader reads. Of a Unix
    /// socket, about: what its buffer holds is known with what the kernel needs to hold it. One or two system calls.
    pub fn acknowledged(&self) -> u64 {
        self.core.driver.borrow().acknowledged(self.id)
    }

    /// After a receive has given the end of the stream, and before a [`shutdown`](Stream::shutdown): whether it was a reset
    /// in truth. The kernel tells an error once, and a send may have been told. One system call. False for an end that
    /// came in good order, even if a reset came behind it.
    pub fn was_reset(&self) -> bool {
        self.core.driver.borrow().was_reset(self.id)
    }

    /// Ends the sending side (FIN); receiving goes on.
    pub fn shutdown(&self) {
        self.core.driver.borrow_mut().shutdown(self.id);
    }

    /// Closes with a reset instead of an orderly end.
    pub fn reset(self) {
        self.core.driver.borrow_mut().linger_off(self.id);
    }

    /// The address of this side.
    pub fn local_address(&self) -> io::Result<Address> {
        self.core.driver.borrow().local_address(self.id)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.core.driver.borrow_mut().close(self.id);
    }
}

/// Whether a send failed because there was no memory to hold what the other side did not take: the heap was full when it
/// stalled, or [`Engine::shed_sends`] has chosen it. Nothing can be sent after it, and closing the stream resets it.
pub fn is_out_of_memory(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u64)
}

#[cfg(test)]
mod tests;
