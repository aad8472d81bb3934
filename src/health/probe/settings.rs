//! What a probe is told: whom it asks, what, and which answer passes. Checked values; `control::config` makes them from
//! `[upstream.NAME.probe]`, and the prober of the control plane acts on them.

use super::ProbeRules;
use crate::base::Address;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the endpoints of an upstream are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub rules: ProbeRules,
    /// From the start of a probe to its end.
    pub timeout: Duration,
    pub place: ProbePlace,
    pub kind: ProbeKind,
    /// The address that probes of IPv4 come from; `None`: the kernel's choice.
    pub source_v4: Option<IpAddr>,
    /// The same for IPv6.
    pub source_v6: Option<IpAddr>,
    /// What a connection begins with: a PROXY header that says that nobody stands behind it.
    pub preamble: Vec<u8>,
}

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbePlace {
    /// Where requests go.
    Endpoint,
    /// To the endpoint's host at another port.
    Port(u16),
    /// To one address for all endpoints.
    Address(Address),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection; with something to send it is sent, and with something to expect an answer must contain it.
    Tcp {
        send: Vec<u8>,
        expect: Vec<u8>,
    },
    /// A datagram; an answer must come, and contain what is expected.
    Udp {
        send: Vec<u8>,
        expect: Vec<u8>,
    },
    Http(HttpProbe),
    Exec(ExecProbe),
    /// PING, after AUTH where there is a password.
    Redis {
        user: Option<String>,
        password: Option<Secret>,
    },
    /// The server's greeting; with a user a login without password.
    Mysql {
        user: Option<String>,
    },
    /// An SSLRequest; with a user the beginning of a session.
    Postgres {
        user: Option<String>,
        database: Option<String>,
    },
}

/// A request over HTTP/1.1 and what its response must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    pub method: String,
    /// A path, with its query if it has one.
    pub path: String,
    /// `None`: the address that is asked.
    pub host: Option<String>,
    /// Beside Host, User-Agent and Connection.
    pub headers: Vec<(String, String)>,
    /// At least one.
    pub statuses: Vec<StatusRange>,
    /// What the body must contain; empty: it is not read.
    pub expect: Vec<u8>,
}

/// Statuses from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// A command that passes by ending with 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecProbe {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
