//! The record of one flow of a udp listener, and how it becomes a line. `docs/observability.md` explains its fields.

use super::json::{Object, key};
use super::record::{NAME_BYTES_MAX, duration, name};
use crate::base::{Address, Instant};
use std::net::SocketAddr;
use std::time::Duration;

/// One flow, written when it has ended.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord<'a> {
    /// When its first datagram arrived.
    pub started: Instant,
    /// Of the snapshot that it ended on.
    pub generation: u64,
    pub listener: &'a str,
    pub upstream: Option<&'a str>,
    /// The last that it had.
    pub endpoint: &'a Address,
    pub client: SocketAddr,
    /// From the client: datagrams and their bytes.
    pub received: (u64, u64),
    /// To the client.
    pub sent: (u64, u64),
    /// From the first datagram to the last, in either direction.
    pub total: Duration,
    /// Endpoints that it was given.
    pub attempts: u32,
    /// Why it ended: `expired`, `answered`, `drained`.
    pub end: &'static str,
    /// The name of the last failure (`health::Verdict::name`); `None`: there was none.
    pub reason: Option<&'a str>,
}

impl FlowRecord<'_> {
    /// `time` is `started` in microseconds since 1970-01-01 UTC.
    pub(super) fn encode(&self, line: &mut Vec<u8>, time: u64, worker: usize) {
        let mut object = Object::new(line, time);
        object.text(key!("listener"), self.listener.as_bytes(), NAME_BYTES_MAX);
        name(&mut object, key!("upstream"), self.upstream);
        object.address(key!("endpoint"), self.endpoint);
        object.address(key!("client"), &self.client.into());
        object.text(key!("protocol"), b"udp", NAME_BYTES_MAX);
        object.number(key!("bytes_received"), self.received.1);
        object.number(key!("bytes_sent"), self.sent.1);
        object.number(key!("datagrams_received"), self.received.0);
        object.number(key!("datagrams_sent"), self.sent.0);
        duration(&mut object, key!("total_us"), Some(self.total));
        object.number(key!("attempts"), u64::from(self.attempts));
        object.text(key!("end"), self.end.as_bytes(), NAME_BYTES_MAX);
        name(&mut object, key!("reason"), self.reason);
        object.number(key!("worker"), worker as u64);
        object.number(key!("generation"), self.generation);
        object.end_line();
    }
}
