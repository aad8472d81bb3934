//! The simulation driver: time, network and chance made up from one seed, so that a run can be had again exactly.
//!
//! Time stands still while tasks run and jumps to the next event or timer when none is ready; every turn costs some
//! microseconds, so that tasks which never rest see time pass. The network joins listeners and connections of the same
//! engine. Nothing here leaves the process.

mod datagrams;
mod network;
mod parts;
mod settings;
mod splicing;

use super::buffer::{Arena, Chunk, Outgoing};
use super::driver::{ListenerId, RemoteWaker, StreamId};
use super::{ConnectOptions, EngineCounts, ListenOptions};
use crate::base::heap::{Pressure, pressure};
use crate::base::{Address, Instant, SharedSocket};
use network::Network;
use parts::{End, Pending};
pub use settings::{SimFaults, SimSettings};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// What a turn costs: so much passes even while tasks never rest.
const TURN: Duration = Duration::from_micros(20);
/// With nothing to happen sooner than this, only another thread can set things going again.
const STANDSTILL: Duration = Duration::from_secs(24 * 3600);
/// How long it is given for that, in real time.
const STANDSTILL_WAIT_MS: i32 = 10_000;
/// After how long a receive without a buffer tries again.
const AGAIN: Duration = Duration::from_micros(500);

pub(super) struct Sim {
    network: Network,
    arena: Rc<Arena>,
    datagram_size: usize,
    /// Streams that wait for a buffer, the longest waiting first.
    starved: VecDeque<u32>,
    /// Those that were told that there is no buffer although there is one, and when they try again.
    refused: VecDeque<(Instant, Waker)>,
    remote: Arc<RemoteWaker>,
    counts: EngineCounts,
}

impl Sim {
    pub(super) fn new(settings: &SimSettings) -> io::Result<Sim> {
        Ok(Sim {
            network: Network::new(settings),
            arena: Arena::new(settings.buffers, settings.buffer_size)?,
            datagram_size: settings.datagram_size,
            starved: VecDeque::new(),
            refused: VecDeque::new(),
            remote: Arc::new(RemoteWaker::new()?),
            counts: EngineCounts::default(),
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.network.now
    }

    /// The same for two runs only if the same happened in them at the same times.
    pub(super) fn trace(&self) -> u64 {
        self.network.trace
    }

    pub(super) fn remote(&self) -> Arc<RemoteWaker> {
        self.remote.clone()
    }

    pub(super) fn counts(&self) -> EngineCounts {
        EngineCounts {
            buffers_free: self.arena.free_count() as u64,
            bytes_received_held: self.arena.held_bytes(self.arena.free_count()),
            streams: (self.network.sides.len() - self.network.queued) as u64,
            datagram_sockets: self.network.sockets.len() as u64,
            sends_stalled: self.network.sends_stalled,
            ..self.counts
        }
    }

    pub(super) fn wait(&mut self, until: Option<Instant>) -> Instant {
        self.feed_starved();
        let busy = !self.network.woken.is_empty() || self.remote.is_raised();
        let earliest = self.network.now + TURN;
        let next = [until, self.network.next(), self.refused.front().map(|(at, _)| *at)].into_iter().flatten().min();
        match next {
            _ if busy => self.network.now = earliest,
            Some(at) if at.since(earliest) < STANDSTILL => self.network.now = at.max(earliest),
            _ => self.stand_still(),
        }
        self.counts.turns += 1;
        self.counts.completions += self.network.pass();
        while self.refused.front().is_some_and(|(at, _)| *at <= self.network.now) {
            self.network.woken.extend(self.refused.pop_front().map(|(_, waker)| waker));
        }
        self.wake_in_any_order();
        self.network.now
    }

    /// The order in which connections that became ready together are served is chance too.
    fn wake_in_any_order(&mut self) {
        let mut woken = std::mem::take(&mut self.network.woken);
        for last in (1..woken.len()).rev() {
            woken.swap(last, self.network.dice.below(last as u64 + 1) as usize);
        }
        woken.drain(..).for_each(Waker::wake);
        self.network.woken = woken;
    }

    /// Only another thread can help now.
    fn stand_still(&self) {
        let mut poll = libc::pollfd { fd: self.remote.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid record, which the kernel reads and fills during the call.
        let woken = unsafe { libc::poll(&mut poll, 1, STANDSTILL_WAIT_MS) };
        assert!(woken > 0, "the simulation stands still: no event, no timer and no task is left");
    }

    // ---- receiving

    fn feed_starved(&mut self) {
        let mut free = self.arena.free_count();
        while free > 0
            && let Some(index) = self.starved.pop_front()
        {
            // The stream may be closed, or another in its place, which is starved only if it says so.
            let Some(side) = self.network.sides.get_mut(index as usize) else { continue };
            if std::mem::take(&mut side.starved) {
                self.network.woken.extend(side.receive_waker.take());
                free -= 1;
            }
        }
    }

    pub(super) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
        let side = &mut self.network.sides[id.0 as usize];
        if side.arrived.is_empty() {
            match side.end {
                End::Finished => return Poll::Ready(Ok(Chunk::empty())),
                End::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
                End::Open => {}
            }
            side.receive_waker = Some(waker.clone());
            return Poll::Pending;
        }
        if self.network.dice.happens(self.network.settings.faults.no_buffer) {
            self.counts.receive_paused += 1;
            self.refused.push_back((self.network.now + AGAIN, waker.clone()));
            return Poll::Pending;
        }
        let Some(buffer) = self.arena.take() else {
            side.receive_waker = Some(waker.clone());
            if !std::mem::replace(&mut side.starved, true) {
                self.counts.receive_paused += 1;
                self.starved.push_back(id.0);
            }
            return Poll::Pending;
        };
        // SAFETY: the buffer is ours (taken, not yet a chunk) and `buffer_size` bytes long; its pages are zeroed
        // memory of the mapping, so they are initialised.
        let room = unsafe { std::slice::from_raw_parts_mut(self.arena.address(buffer), self.arena.buffer_size()) };
        let len = self.network.take(id.0, room);
        Poll::Ready(Ok(self.arena.chunk(buffer, len)))
    }

    pub(super) fn watch(&mut self, id: StreamId, waker: &Waker) {
        if self.is_readable(id) {
            return waker.wake_by_ref();
        }
        self.network.sides[id.0 as usize].receive_waker = Some(waker.clone());
    }

    pub(super) fn poll_end(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let side = &mut self.network.sides[id.0 as usize];
        match side.end {
            End::Failed(error) => return Poll::Ready(Err(io::Error::from_raw_os_error(error))),
            End::Finished if side.arrived.is_empty() => return Poll::Ready(Ok(())),
            _ => {}
        }
        side.receive_waker = Some(waker.clone());
        Poll::Pending
    }

    pub(super) fn is_readable(&self, id: StreamId) -> bool {
        let side = &self.network.sides[id.0 as usize];
        !side.arrived.is_empty() || side.end != End::Open
    }

    /// Here every receive is made as it is asked for.
    pub(super) fn expect_bulk(&mut self, _id: StreamId, _bulk: bool) {}

    // ---- sending

    pub(super) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        let side = &self.network.sides[id.0 as usize];
        if side.send_broken || side.send.is_some() {
            return Some(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        if let Some(done) = self.network.send(id.0, outgoing) {
            return Some(done);
        }
        self.network.sends_stalled += 1;
        if pressure() == Pressure::Full {
            self.counts.sends_refused += 1;
            self.network.sides[id.0 as usize].cut_off();
            outgoing.clear();
            return Some(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        }
        outgoing.detach();
        let pending = Pending { outgoing: std::mem::take(outgoing), result: None };
        self.network.sides[id.0 as usize].send = Some(pending);
        None
    }

    pub(super) fn stalled_sends(&self) -> Vec<(usize, StreamId)> {
        let sides = self.network.sides.iter().map(|(index, side)| (StreamId(index as u32), side.send.as_ref()));
        let stalled = sides.filter_map(|(id, send)| Some((id, send.filter(|send| send.result.is_none())?)));
        stalled.map(|(id, send)| (send.outgoing.len(), id)).collect()
    }

    /// Ends a stalled send with ENOMEM.
    pub(super) fn fail_send(&mut self, id: StreamId) {
        let side = &mut self.network.sides[id.0 as usize];
        let Some(send) = side.send.as_mut() else { return };
        send.outgoing.clear();
        send.result = Some(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        side.cut_off();
        self.network.woken.extend(side.send_waker.take());
    }

    /// Nothing is kept for sends to come.
    pub(super) fn give_back_spares(&mut self) {}

    pub(super) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
        let side = &mut self.network.sides[id.0 as usize];
        match side.send.take() {
            None => Poll::Ready((Outgoing::default(), Err(io::Error::from_raw_os_error(libc::EPIPE)))),
            Some(Pending { outgoing, result: Some(result) }) => Poll::Ready((outgoing, result)),
            waiting => {
                side.send = waiting;
                side.send_waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn abandon_send(&mut self, id: StreamId) {
        let side = &mut self.network.sides[id.0 as usize];
        side.send_broken = true;
        side.send = None;
    }

    // ---- connections

    /// The simulated network has every address and takes no options beside the source.
    pub(super) fn connect(&mut self, address: &Address, options: &ConnectOptions) -> io::Result<StreamId> {
        Ok(StreamId(self.network.connect(address, options.source)))
    }

    pub(super) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let side = &mut self.network.sides[id.0 as usize];
        if side.connecting {
            side.send_waker = Some(waker.clone());
            return Poll::Pending;
        }
        Poll::Ready(match side.connect_error {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => Ok(()),
        })
    }

    pub(super) fn shutdown(&mut self, id: StreamId) {
        self.network.shutdown(id.0);
    }

    pub(super) fn linger_off(&mut self, id: StreamId) {
        self.network.reset_at_close(id.0);
    }

    pub(super) fn acknowledged(&self, id: StreamId) -> u64 {
        self.network.sides[id.0 as usize].acknowledged
    }

    /// Here no call takes an error from another.
    pub(super) fn was_reset(&self, id: StreamId) -> bool {
        matches!(self.network.sides[id.0 as usize].end, End::Failed(_))
    }

    pub(super) fn local_address(&self, id: StreamId) -> io::Result<Address> {
        Ok(self.network.sides[id.0 as usize].local.clone())
    }

    pub(super) fn close(&mut self, id: StreamId) {
        self.network.close(id.0);
    }

    // ---- accepting

    pub(super) fn listen(&mut self, address: &Address, options: &ListenOptions) -> io::Result<(ListenerId, Address)> {
        let backlog = usize::try_from(options.backlog).unwrap_or(1);
        let (index, local) = self.network.listen(address, backlog, options.reuse_port)?;
        Ok((ListenerId(index), local))
    }

    /// The kernel's sockets are outside of this network; what is bound to their address is of this engine alone.
    pub(super) fn listen_shared(&mut self, socket: &Arc<SharedSocket>) -> io::Result<ListenerId> {
        self.listen(socket.address(), &ListenOptions::default()).map(|(id, _)| id)
    }

    pub(super) fn poll_accept(&mut self, id: ListenerId, waker: &Waker) -> Poll<io::Result<(StreamId, Address)>> {
        let now = self.network.now;
        let acceptor = &mut self.network.acceptors[id.0 as usize];
        if acceptor.queue.is_empty() || acceptor.deaf_until > now {
            acceptor.waker = Some(waker.clone());
            return Poll::Pending;
        }
        if self.network.dice.happens(self.network.settings.faults.accept_error) {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EMFILE)));
        }
        match self.network.accept(id.0) {
            Some((index, client)) => Poll::Ready(Ok((StreamId(index), client))),
            None => Poll::Pending,
        }
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        self.network.close_acceptor(id.0);
    }
}
