//! What the simulated network consists of: the two sides of streams, listeners, and events that are under way.

use crate::base::{Address, Instant};
use crate::engine::buffer::Outgoing;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;

/// A stream for as long as the world stands: slots are used again, serials are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) index: u32,
    pub(super) serial: u64,
}

/// How a stream ends for its receiver, once what arrived before has been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Finished,
    Failed(i32),
}

pub(super) struct Side {
    pub(super) local: Address,
    pub(super) serial: u64,
    pub(super) other: Option<Name>,
    /// Bytes that may be received.
    pub(super) arrived: VecDeque<u8>,
    pub(super) end: End,
    /// When the last thing that is under way to this side arrives: nothing overtakes it.
    pub(super) last_arrival: Instant,
    /// Bytes that were sent from here and not yet received there.
    pub(super) unreceived: usize,
    /// Bytes that were sent from here and received there.
    pub(super) acknowledged: u64,
    pub(super) window: usize,
    pub(super) slow: bool,
    pub(super) connecting: bool,
    pub(super) connect_error: Option<i32>,
    /// In the queue of a listener.
    pub(super) queued: bool,
    pub(super) starved: bool,
    pub(super) shut: bool,
    /// A reset has come: nothing can be sent any more.
    pub(super) reset: bool,
    pub(super) send_broken: bool,
    /// The last splice into it moved nothing, and the window has not moved since.
    pub(super) full: bool,
    pub(super) linger_off: bool,
    pub(super) send: Option<Pending>,
    pub(super) receive_waker: Option<Waker>,
    pub(super) send_waker: Option<Waker>,
}

impl Side {
    /// What it has sent may be a part of something: nothing can follow it, and its end must not look complete.
    pub(super) fn cut_off(&mut self) {
        self.send_broken = true;
        self.linger_off = true;
    }
}

/// A send that was not done at once.
pub(super) struct Pending {
    pub(super) outgoing: Outgoing,
    pub(super) result: Option<io::Result<()>>,
}

pub(super) struct Acceptor {
    pub(super) address: Address,
    pub(super) reuse_port: bool,
    pub(super) backlog: usize,
    pub(super) queue: VecDeque<Name>,
    pub(super) deaf_until: Instant,
    pub(super) waker: Option<Waker>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A connection reaches the address that it is meant for.
    Connect {
        client: Name,
        address: Address,
    },
    Connected {
        client: Name,
        error: Option<i32>,
    },
    Bytes {
        to: Name,
        from: Name,
        bytes: Vec<u8>,
    },
    End {
        to: Name,
    },
    Reset {
        to: Name,
    },
    /// The other side has received so many bytes.
    Received {
        by: Name,
        count: usize,
    },
    /// A send or a receive goes on.
    GoOn {
        side: Name,
    },
    Listen {
        index: u32,
    },
    /// A datagram reaches the address that it is meant for. `sender` is told if it is connected and nothing is there.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        sender: Option<Name>,
        bytes: Vec<u8>,
    },
    /// Nothing is where a datagram of this socket was sent to.
    Unreachable {
        socket: Name,
    },
}

impl Event {
    /// What the trace keeps of it beside its time and number.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Event::Connect { client, .. } => client.serial,
            Event::Connected { client, error } => client.serial ^ (error.unwrap_or(0) as u64) << 40,
            Event::Bytes { to, bytes, .. } => to.serial ^ (bytes.len() as u64) << 32,
            Event::End { to } | Event::Reset { to } => to.serial ^ 1 << 60,
            Event::Received { by, count } => by.serial ^ (*count as u64) << 33,
            Event::GoOn { side } => side.serial ^ 1 << 61,
            Event::Listen { index } => u64::from(*index) ^ 1 << 62,
            Event::Datagram { from, to, bytes, .. } => {
                u64::from(from.port()) ^ u64::from(to.port()) << 16 ^ (bytes.len() as u64) << 34
            }
            Event::Unreachable { socket } => socket.serial ^ 1 << 59,
        }
    }
}
