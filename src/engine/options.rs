//! Options of the streams and listeners that an engine is asked for.

use std::net::IpAddr;
use std::time::Duration;

/// Options of a listening socket.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Connections that the kernel queues for [`Listener::accept`](super::Listener::accept).
    pub backlog: i32,
    /// Several listeners, one a worker, share an IP address (SO_REUSEPORT). Unix sockets are shared otherwise:
    /// [`Engine::listen_shared`](super::Engine::listen_shared).
    pub reuse_port: bool,
    /// Accepts connections to addresses that are not of this machine (IP_TRANSPARENT).
    pub transparent: bool,
    /// TCP Fast Open: connections that may wait with their first bytes before the handshake is done; 0 is off.
    pub fast_open: u32,
    /// What every accepted connection begins with.
    pub tcp: TcpOptions,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            backlog: BACKLOG,
            reuse_port: true,
            transparent: false,
            fast_open: 0,
            tcp: TcpOptions::default(),
        }
    }
}

/// Connections that the kernel queues for a listener that has said nothing else.
pub const BACKLOG: i32 = 4096;

/// How TCP finds out that the other side is gone. Nothing here means anything for a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// After so much silence the kernel asks the other side; [`KEEPALIVE_PROBES`] questions without an answer end the
    /// connection. `None`: it never asks.
    pub keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT). `None`: as the kernel's retransmissions have it.
    pub user_timeout: Option<Duration>,
}

/// Questions without an answer before the kernel gives a connection up.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Options of a connection that is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The address to connect from, of the same family; the kernel chooses the port when it knows where to.
    pub source: Option<IpAddr>,
    /// `source` need not be an address of this machine (IP_TRANSPARENT).
    pub transparent: bool,
    /// TCP Fast Open: once the other side is known to take it, the connection is made with the first bytes that are
    /// sent, and until then nothing can be received or has failed.
    pub fast_open: bool,
    pub tcp: TcpOptions,
}
