//! The simulated network: streams, listeners, and what is under way between them, in the order of virtual time.
//!
//! It knows no tasks and no buffers; whoever is to be woken is collected in `woken`. Called by the driver alone.

use super::datagrams::Socket;
use super::parts::{Acceptor, End, Event, Name, Side};
use super::settings::{Dice, SimSettings};
use crate::base::{Address, Instant};
use crate::engine::buffer::Outgoing;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

/// Ports that connections and listeners on port 0 are given, in turn.
const PORT_FIRST: u16 = 20_000;
/// How long a connection that nobody answers takes to fail, and until a full listener is asked again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
/// The longest time for which a listener hears of nothing.
const DEAF_MAX_MS: u64 = 20;
/// With the latency that a slow stream has, a little more than the least that a client must take of a response.
const SLOW_WINDOW_MIN: u64 = 640;
const SLOW_WINDOW_MAX: u64 = 4096;
const SLOW_LATENCY_FACTOR: u32 = 20;

pub(super) struct Network {
    pub(super) settings: SimSettings,
    pub(super) dice: Dice,
    pub(super) now: Instant,
    pub(super) sides: Slab<Side>,
    pub(super) acceptors: Slab<Acceptor>,
    pub(super) sockets: Slab<Socket>,
    pub(super) woken: Vec<Waker>,
    /// A hash of all that has happened.
    pub(super) trace: u64,
    pub(super) sends_stalled: u64,
    pub(super) queued: usize,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    pub(super) serial: u64,
    port: u16,
}

impl Network {
    pub(super) fn new(settings: &SimSettings) -> Network {
        Network {
            settings: settings.clone(),
            dice: Dice::new(settings.seed),
            // Not zero, so that an instant before the start can be named.
            now: Instant(1_000_000_000),
            sides: Slab::new(),
            acceptors: Slab::new(),
            sockets: Slab::new(),
            woken: Vec::new(),
            trace: 0,
            sends_stalled: 0,
            queued: 0,
            events: BinaryHeap::new(),
            serial: 0,
            port: PORT_FIRST,
        }
    }

    // ---- time

    /// When something happens next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.events.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Lets everything up to `now` happen. Returns how much that was.
    pub(super) fn pass(&mut self) -> u64 {
        let mut happened = 0;
        while self.next().is_some_and(|at| at <= self.now)
            && let Some(Reverse((at, serial, event))) = self.events.pop()
        {
            self.record(at.0 ^ serial.rotate_left(32) ^ event.weight());
            self.happen(event);
            happened += 1;
        }
        happened
    }

    pub(super) fn record(&mut self, word: u64) {
        self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial, event)));
    }

    pub(super) fn latency(&mut self, slow: bool) -> Duration {
        let latency = self.dice.between(self.settings.latency).max(Duration::from_nanos(1));
        let stall = match self.dice.happens(self.settings.faults.stall) {
            true => self.dice.between((Duration::ZERO, self.settings.faults.stall_time)),
            false => Duration::ZERO,
        };
        stall + if slow { latency * SLOW_LATENCY_FACTOR } else { latency }
    }

    /// Schedules what reaches a side of a stream, behind all that is under way to it.
    fn send_to(&mut self, to: Name, len: usize, event: Event) {
        let slow = self.side(to).is_some_and(|side| side.slow);
        let at = self.now + self.latency(slow);
        let carried = Duration::from_nanos((len as u64).saturating_mul(1_000_000_000) / self.settings.bandwidth.max(1));
        let at = match self.side(to) {
            Some(side) => {
                side.last_arrival = side.last_arrival.max(at) + carried;
                side.last_arrival
            }
            None => at + carried,
        };
        self.schedule(at, event);
    }

    // ---- what happens

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect { client, address } => self.arrive_at(client, &address),
            Event::Connected { client, error } => self.connected(client, error),
            Event::Bytes { to, from, bytes } => self.bytes(to, from, &bytes),
            Event::End { to } => self.end(to, End::Finished),
            Event::Reset { to } => self.end(to, End::Failed(libc::ECONNRESET)),
            Event::Received { by, count } => {
                if let Some(side) = self.side(by) {
                    side.unreceived -= count;
                    side.acknowledged += count as u64;
                }
                self.go_on(by);
            }
            Event::GoOn { side } => {
                self.go_on(side);
                self.wake_receiver(side);
            }
            Event::Listen { index } => self.wake_acceptor(index),
            Event::Datagram { from, to, sender, bytes } => self.datagram(from, to, sender, bytes),
            Event::Unreachable { socket } => self.unreachable(socket),
        }
    }

    fn arrive_at(&mut self, client: Name, address: &Address) {
        if self.side(client).is_none() {
            return;
        }
        let listening: Vec<u32> = self
            .acceptors
            .iter()
            .filter(|(_, acceptor)| reaches(&acceptor.address, address))
            .map(|(index, _)| index as u32)
            .collect();
        if listening.is_empty() {
            return self.send_to(client, 0, Event::Connected { client, error: Some(libc::ECONNREFUSED) });
        }
        let index = listening[self.dice.below(listening.len() as u64) as usize];
        let acceptor = &self.acceptors[index as usize];
        if acceptor.queue.len() >= acceptor.backlog {
            let again = self.now + CONNECT_AGAIN;
            return self.schedule(again, Event::Connect { client, address: address.clone() });
        }
        let server = self.add_side(address.clone());
        self.join(client, server);
        self.sides[server.index as usize].queued = true;
        self.queued += 1;
        let burst = self.dice.happens(self.settings.faults.accept_burst);
        let deaf_ms = 1 + self.dice.below(DEAF_MAX_MS);
        let acceptor = &mut self.acceptors[index as usize];
        acceptor.queue.push_back(server);
        if burst {
            acceptor.deaf_until = self.now + Duration::from_millis(deaf_ms);
            let until = acceptor.deaf_until;
            self.schedule(until, Event::Listen { index });
        }
        self.wake_acceptor(index);
        self.send_to(client, 0, Event::Connected { client, error: None });
    }

    fn join(&mut self, client: Name, server: Name) {
        let slow = self.dice.happens(self.settings.faults.slow);
        let window = match slow {
            true => SLOW_WINDOW_MIN + self.dice.below(SLOW_WINDOW_MAX - SLOW_WINDOW_MIN + 1),
            false => self.settings.window as u64,
        } as usize;
        for (one, other) in [(client, server), (server, client)] {
            if let Some(side) = self.side(one) {
                side.other = Some(other);
                (side.slow, side.window) = (slow, window);
            }
        }
    }

    fn connected(&mut self, client: Name, error: Option<i32>) {
        let Some(side) = self.side(client) else { return };
        side.connecting = false;
        side.connect_error = error;
        let waker = side.send_waker.take();
        self.woken.extend(waker);
    }

    fn bytes(&mut self, to: Name, from: Name, bytes: &[u8]) {
        let lost = self.dice.happens(self.settings.faults.lost_multishot);
        match self.side(to) {
            Some(side) if side.end == End::Open => side.arrived.extend(bytes),
            // Nobody is there to receive them.
            _ => return self.send_to(from, 0, Event::Reset { to: from }),
        }
        if lost {
            let later = self.now + self.latency(false);
            return self.schedule(later, Event::GoOn { side: to });
        }
        self.wake_receiver(to);
    }

    fn end(&mut self, to: Name, end: End) {
        let Some(side) = self.side(to) else { return };
        // What was received in good order stays so: a reset behind it concerns what is sent.
        if side.end == End::Open {
            side.end = end;
        }
        if let End::Failed(error) = end {
            side.reset = true;
            side.other = None;
            side.full = false;
            let waker = side.send_waker.take();
            if let Some(send) = side.send.as_mut()
                && send.result.is_none()
            {
                send.outgoing.clear();
                send.result = Some(Err(io::Error::from_raw_os_error(error)));
            }
            self.woken.extend(waker);
        }
        self.wake_receiver(to);
    }

    fn wake_receiver(&mut self, name: Name) {
        let waker = self.side(name).and_then(|side| side.receive_waker.take());
        self.woken.extend(waker);
    }

    fn wake_acceptor(&mut self, index: u32) {
        let Some(acceptor) = self.acceptors.get_mut(index as usize) else { return };
        if acceptor.deaf_until <= self.now && !acceptor.queue.is_empty() {
            let waker = acceptor.waker.take();
            self.woken.extend(waker);
        }
    }

    // ---- streams

    fn side(&mut self, name: Name) -> Option<&mut Side> {
        self.sides.get_mut(name.index as usize).filter(|side| side.serial == name.serial)
    }

    pub(super) fn name(&self, index: u32) -> Name {
        Name { index, serial: self.sides[index as usize].serial }
    }

    fn add_side(&mut self, local: Address) -> Name {
        self.serial += 1;
        let serial = self.serial;
        let index = self.sides.insert(Side {
            local,
            serial,
            other: None,
            arrived: VecDeque::new(),
            end: End::Open,
            last_arrival: self.now,
            unreceived: 0,
            acknowledged: 0,
            window: self.settings.window,
            slow: false,
            connecting: false,
            connect_error: None,
            queued: false,
            starved: false,
            shut: false,
            reset: false,
            send_broken: false,
            full: false,
            linger_off: false,
            send: None,
            receive_waker: None,
            send_waker: None,
        });
        Name { index: index as u32, serial }
    }

    pub(super) fn connect(&mut self, address: &Address, source: Option<IpAddr>) -> u32 {
        let local = match address {
            Address::Ip(ip) => {
                let source = source.unwrap_or_else(|| loopback(*ip));
                Address::Ip(SocketAddr::new(source, self.next_port()))
            }
            Address::Unix(_) | Address::UnixUnnamed => Address::UnixUnnamed,
        };
        let client = self.add_side(local);
        self.sides[client.index as usize].connecting = true;
        let event = if self.dice.happens(self.settings.faults.connect_timeout) {
            let at = self.now + CONNECT_TIMEOUT;
            self.schedule(at, Event::Connected { client, error: Some(libc::ETIMEDOUT) });
            return client.index;
        } else if self.dice.happens(self.settings.faults.connect_refused) {
            Event::Connected { client, error: Some(libc::ECONNREFUSED) }
        } else {
            Event::Connect { client, address: address.clone() }
        };
        self.send_to(client, 0, event);
        client.index
    }

    /// Moves bytes that have arrived into `room`, as many as fit, and lets the other side know. Returns how many.
    pub(super) fn take(&mut self, index: u32, room: &mut [u8]) -> usize {
        let mut count = self.sides[index as usize].arrived.len().min(room.len());
        if self.dice.happens(self.settings.faults.short_receive) {
            count = 1 + self.dice.below(count as u64) as usize;
        }
        self.record(count as u64);
        if let Some(other) = self.sides[index as usize].other {
            self.send_to(other, 0, Event::Received { by: other, count });
        }
        let arrived = &mut self.sides[index as usize].arrived;
        let (front, back) = arrived.as_slices();
        let split = front.len().min(count);
        room[..split].copy_from_slice(&front[..split]);
        room[split..count].copy_from_slice(&back[..count - split]);
        arrived.drain(..count);
        count
    }

    /// Sends what the window takes. `Some`: all is sent, or it failed.
    pub(super) fn send(&mut self, index: u32, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        let from = self.name(index);
        let side = &self.sides[index as usize];
        if side.reset || side.shut {
            outgoing.clear();
            return Some(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        // Without another side the bytes go nowhere: its end is under way to this one.
        let Some(to) = side.other else {
            outgoing.clear();
            return Some(Ok(()));
        };
        if self.dice.happens(self.settings.faults.reset) {
            self.send_to(to, 0, Event::Reset { to });
            self.send_to(from, 0, Event::Reset { to: from });
        }
        let side = &self.sides[index as usize];
        let mut count = outgoing.len().min(side.window.saturating_sub(side.unreceived));
        if count > 1 && self.dice.happens(self.settings.faults.short_send) {
            count = 1 + self.dice.below(count as u64) as usize;
            let later = self.now + self.latency(false);
            self.schedule(later, Event::GoOn { side: from });
        }
        self.record(count as u64);
        if count > 0 {
            let bytes = first(outgoing, count);
            outgoing.sent(count);
            self.sides[index as usize].unreceived += count;
            self.send_to(to, count, Event::Bytes { to, from, bytes });
        }
        outgoing.is_empty().then(|| {
            outgoing.clear();
            Ok(())
        })
    }

    /// Goes on with a send that waits for the window; a splice goes on by itself.
    fn go_on(&mut self, name: Name) {
        let Some(side) = self.side(name) else { return };
        if std::mem::take(&mut side.full) {
            let waker = side.send_waker.take();
            self.woken.extend(waker);
            return;
        }
        let Some(mut send) = side.send.take() else { return };
        if send.result.is_none() {
            send.result = self.send(name.index, &mut send.outgoing);
        }
        let side = &mut self.sides[name.index as usize];
        if send.result.is_some() {
            self.woken.extend(side.send_waker.take());
        }
        side.send = Some(send);
    }

    pub(super) fn shutdown(&mut self, index: u32) {
        let side = &mut self.sides[index as usize];
        if !std::mem::replace(&mut side.shut, true)
            && let Some(to) = side.other
        {
            self.send_to(to, 0, Event::End { to });
        }
    }

    /// A Unix socket has no reset of its own: there the close stays an end.
    pub(super) fn reset_at_close(&mut self, index: u32) {
        let side = &mut self.sides[index as usize];
        side.linger_off = !side.local.is_unix();
    }

    pub(super) fn close(&mut self, index: u32) {
        let side = self.sides.remove(index as usize);
        self.queued -= usize::from(side.queued);
        let Some(to) = side.other else { return };
        if side.linger_off || !side.arrived.is_empty() {
            self.send_to(to, 0, Event::Reset { to });
        } else if !side.shut {
            self.send_to(to, 0, Event::End { to });
        }
    }

    // ---- listeners

    pub(super) fn listen(&mut self, address: &Address, backlog: usize, reuse_port: bool) -> io::Result<(u32, Address)> {
        let mut address = address.clone();
        if let Address::Ip(ip) = &mut address
            && ip.port() == 0
        {
            ip.set_port(self.next_port());
        }
        let reuse_port = reuse_port && !address.is_unix();
        if self.acceptors.iter().any(|(_, other)| other.address == address && !(other.reuse_port && reuse_port)) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let index = self.acceptors.insert(Acceptor {
            address: address.clone(),
            reuse_port,
            backlog: backlog.max(1),
            queue: VecDeque::new(),
            deaf_until: self.now,
            waker: None,
        });
        Ok((index as u32, address))
    }

    /// The next connection of a listener's queue, and its client's address.
    pub(super) fn accept(&mut self, index: u32) -> Option<(u32, Address)> {
        let name = self.acceptors[index as usize].queue.pop_front()?;
        let other = self.side(name).and_then(|side| {
            side.queued = false;
            side.other
        });
        self.queued -= 1;
        // A client that is gone again has no address any more that could be told.
        let unknown = match self.acceptors[index as usize].address.is_unix() {
            true => Address::UnixUnnamed,
            false => Address::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1)),
        };
        let client = other.and_then(|other| self.side(other)).map_or(unknown, |side| side.local.clone());
        Some((name.index, client))
    }

    pub(super) fn close_acceptor(&mut self, index: u32) {
        let acceptor = self.acceptors.remove(index as usize);
        for name in acceptor.queue {
            self.sides[name.index as usize].linger_off = true;
            self.close(name.index);
        }
    }

    pub(super) fn next_port(&mut self) -> u16 {
        self.port = if self.port == u16::MAX { PORT_FIRST } else { self.port + 1 };
        self.port
    }
}

fn reaches(listening: &Address, wanted: &Address) -> bool {
    let ip = || listening.as_ip().zip(wanted.as_ip()).is_some_and(|(listening, wanted)| listens(listening, wanted));
    listening == wanted || ip()
}

pub(super) fn listens(listening: SocketAddr, wanted: SocketAddr) -> bool {
    listening == wanted
        || (listening.port() == wanted.port()
            && listening.ip().is_unspecified()
            && listening.is_ipv4() == wanted.is_ipv4())
}

pub(super) fn loopback(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

fn first(outgoing: &mut Outgoing, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    for slice in outgoing.slices() {
        bytes.extend_from_slice(&slice[..slice.len().min(count - bytes.len())]);
    }
    bytes
}
