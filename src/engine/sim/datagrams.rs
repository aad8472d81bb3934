//! Datagrams of the simulation: sockets, and what becomes of a datagram between two of them. It arrives or not, once or
//! twice, in its order or later; where nothing is bound, a connected sender is told.

use super::Sim;
use super::network::{Network, listens, loopback};
use super::parts::{Event, Name};
use crate::base::Instant;
use crate::engine::datagram::{Batch, Datagram, DatagramOptions, parts};
use crate::engine::driver::DatagramId;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, Waker};

/// Datagrams that wait on one socket; more are dropped, as a kernel would.
const QUEUED_MAX: usize = 256;
/// The longest datagram that can be sent: what UDP over IPv4 has room for.
const DATAGRAM_BYTES_MAX: usize = 65_507;

pub(super) struct Socket {
    serial: u64,
    local: SocketAddr,
    /// Whom it is connected to.
    other: Option<SocketAddr>,
    reuse_port: bool,
    coalesce: bool,
    queue: VecDeque<Arrived>,
    overflowed: u64,
    error: Option<i32>,
    /// When the last datagram that was sent from here in good order arrives.
    last_arrival: Instant,
    waker: Option<Waker>,
}

struct Arrived {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    fn add_socket(&mut self, local: SocketAddr, other: Option<SocketAddr>, options: &DatagramOptions) -> u32 {
        self.serial += 1;
        let socket = Socket {
            serial: self.serial,
            local,
            other,
            reuse_port: options.reuse_port,
            coalesce: options.coalesce,
            queue: VecDeque::new(),
            overflowed: 0,
            error: None,
            last_arrival: self.now,
            waker: None,
        };
        self.sockets.insert(socket) as u32
    }

    fn socket_name(&self, index: u32) -> Name {
        Name { index, serial: self.sockets[index as usize].serial }
    }

    fn send_datagrams(
        &mut self,
        index: u32,
        bytes: &[u8],
        segment: usize,
        to: Option<(SocketAddr, Option<IpAddr>)>,
    ) -> io::Result<()> {
        let sender = self.socket_name(index);
        let socket = &mut self.sockets[index as usize];
        if let Some(error) = socket.error.take() {
            return Err(io::Error::from_raw_os_error(error));
        }
        let mut from = socket.local;
        let to = match (socket.other, to) {
            (Some(other), _) => other,
            (None, None) => return Err(io::Error::from_raw_os_error(libc::EDESTADDRREQ)),
            (None, Some((to, source))) => {
                if from.ip().is_unspecified() {
                    from.set_ip(source.unwrap_or(loopback(to)));
                }
                to
            }
        };
        let connected = socket.other.map(|_| sender);
        if parts(bytes, segment).any(|one| one.len() > DATAGRAM_BYTES_MAX) {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        if self.dice.happens(self.settings.faults.datagram_unsent) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for one in parts(bytes, segment) {
            self.send_one(index, from, to, connected, one);
        }
        Ok(())
    }

    fn send_one(&mut self, index: u32, from: SocketAddr, to: SocketAddr, sender: Option<Name>, bytes: &[u8]) {
        let faults = self.settings.faults.clone();
        if self.dice.happens(faults.datagram_lost) {
            return;
        }
        let times = if self.dice.happens(faults.datagram_doubled) { 2 } else { 1 };
        for _ in 0..times {
            let mut at = self.now + self.latency(false);
            if self.dice.happens(faults.datagram_overtaken) {
                at = at + self.latency(false) * 4;
            } else {
                let socket = &mut self.sockets[index as usize];
                at = socket.last_arrival.max(at);
                socket.last_arrival = at;
            }
            self.schedule(at, Event::Datagram { from, to, sender, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn datagram(&mut self, from: SocketAddr, to: SocketAddr, sender: Option<Name>, bytes: Vec<u8>) {
        let connected = |socket: &Socket| socket.local == to && socket.other == Some(from);
        let open = |socket: &Socket| socket.other.is_none() && listens(socket.local, to);
        let found = self.sockets.iter().find(|(_, socket)| connected(socket));
        let found = found.or_else(|| self.sockets.iter().find(|(_, socket)| open(socket))).map(|(index, _)| index);
        match (found, sender) {
            (Some(index), _) => {
                let socket = &mut self.sockets[index];
                if socket.queue.len() >= QUEUED_MAX {
                    socket.overflowed += 1;
                    return;
                }
                socket.queue.push_back(Arrived { from, to, bytes });
                self.woken.extend(socket.waker.take());
            }
            (None, Some(socket)) => {
                let at = self.now + self.latency(false);
                self.schedule(at, Event::Unreachable { socket });
            }
            (None, None) => {}
        }
    }

    pub(super) fn unreachable(&mut self, name: Name) {
        let socket = self.sockets.get_mut(name.index as usize);
        if let Some(socket) = socket.filter(|socket| socket.serial == name.serial) {
            socket.error = Some(libc::ECONNREFUSED);
            self.woken.extend(socket.waker.take());
        }
    }

    /// Moves what has arrived into the batch, equal neighbours as one piece where chance says so.
    fn fill(&mut self, index: u32, batch: &mut Batch) {
        batch.clear();
        while !batch.is_full()
            && let Some(mut first) = self.sockets[index as usize].queue.pop_front()
        {
            let segment = first.bytes.len();
            let coalesced = self.sockets[index as usize].coalesce
                && segment > 0
                && self.dice.happens(self.settings.faults.datagrams_coalesced);
            let socket = &mut self.sockets[index as usize];
            while coalesced
                && first.bytes.len() % segment == 0
                && let Some(next) = socket.queue.front()
                && next.from == first.from
                && next.to == first.to
                && (1..=segment).contains(&next.bytes.len())
                && first.bytes.len() + next.bytes.len() <= DATAGRAM_BYTES_MAX
                && let Some(next) = socket.queue.pop_front()
            {
                first.bytes.extend_from_slice(&next.bytes);
            }
            let to = socket.local.ip().is_unspecified().then_some(first.to.ip());
            batch.put(&Datagram { from: first.from, to, bytes: &first.bytes, segment });
            self.record(first.bytes.len() as u64);
        }
    }
}

impl Sim {
    pub(in crate::engine) fn bind_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        let mut local = address;
        if local.port() == 0 {
            local.set_port(self.network.next_port());
        }
        let taken = |socket: &Socket| {
            socket.other.is_none() && socket.local == local && !(socket.reuse_port && options.reuse_port)
        };
        if self.network.sockets.iter().any(|(_, socket)| taken(socket)) {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        Ok((DatagramId(self.network.add_socket(local, None, options)), local))
    }

    pub(in crate::engine) fn connect_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        let local = SocketAddr::new(loopback(address), self.network.next_port());
        Ok((DatagramId(self.network.add_socket(local, Some(address), options)), local))
    }

    pub(in crate::engine) fn datagram_size(&self) -> usize {
        self.datagram_size
    }

    pub(in crate::engine) fn poll_receive_datagrams(
        &mut self,
        id: DatagramId,
        waker: &Waker,
        batch: &mut Batch,
    ) -> Poll<io::Result<()>> {
        let socket = &mut self.network.sockets[id.0 as usize];
        if let Some(error) = socket.error.take() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
        if socket.queue.is_empty() {
            socket.waker = Some(waker.clone());
            return Poll::Pending;
        }
        self.network.fill(id.0, batch);
        Poll::Ready(Ok(()))
    }

    pub(in crate::engine) fn send_datagram(
        &mut self,
        id: DatagramId,
        bytes: &[u8],
        segment: usize,
        to: Option<(SocketAddr, Option<IpAddr>)>,
    ) -> io::Result<()> {
        self.network.send_datagrams(id.0, bytes, segment, to)
    }

    pub(in crate::engine) fn datagrams_overflowed(&self, id: DatagramId) -> u64 {
        self.network.sockets[id.0 as usize].overflowed
    }

    pub(in crate::engine) fn close_datagrams(&mut self, id: DatagramId) {
        self.network.sockets.remove(id.0 as usize);
    }
}
