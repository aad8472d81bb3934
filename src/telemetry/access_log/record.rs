//! What a record of the access log holds and how it becomes a line. `docs/observability.md` explains the same fields to
//! users: a change here is a change there.

use super::json::{Object, key};
use crate::base::{Address, Instant};
use std::time::Duration;

/// Bytes of a configured name (listener, route, upstream) that are shown.
pub(super) const NAME_BYTES_MAX: usize = 128;
const METHOD_BYTES_MAX: usize = 32;
/// As long as a host name can be, with a port.
const HOST_BYTES_MAX: usize = 262;
const PATH_BYTES_MAX: usize = 2_048;
const REQUEST_ID_BYTES_MAX: usize = 128;

/// How long each phase took; `None`: the request did not get that far, or the phase does not apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// First byte of the request head to its last.
    pub request_head: Option<Duration>,
    /// To open a connection to the endpoint, or to take an idle one; over all attempts.
    pub connect: Option<Duration>,
    /// Request head sent to response head received.
    pub upstream_head: Option<Duration>,
    /// Response head received to the last byte of the response handed to the kernel.
    pub response: Option<Duration>,
    /// From the start to the end of it all.
    pub total: Duration,
}

/// One request. Texts may hold any bytes and are cut at a limit.
#[derive(Clone, Copy, Debug)]
pub struct HttpRecord<'a> {
    /// When the first byte of the request head arrived.
    pub started: Instant,
    /// Of the snapshot that the request ran on.
    pub generation: u64,
    pub listener: &'a str,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<&'a Address>,
    /// As the PROXY header said, where there was one.
    pub client: &'a Address,
    /// Who sent that header.
    pub proxy: Option<&'a Address>,
    /// Of the client's connection, where a PROXY header said or says it.
    pub unique_id: Option<&'a [u8]>,
    /// As received, also of a head that was refused, as far as it can be told. The same for host; empty where there is none.
    pub method: &'a [u8],
    pub host: &'a [u8],
    /// In the form that the endpoint gets. Without the query: queries carry secrets.
    pub path: &'a [u8],
    /// `HTTP/1.1` and the like.
    pub protocol: &'a str,
    /// As sent to the client; 0 if nothing was sent.
    pub status: u16,
    /// From the client: head and body.
    pub bytes_received: u64,
    /// To the client: head and body.
    pub bytes_sent: u64,
    pub phases: Phases,
    /// 0 if no endpoint was tried.
    pub attempts: u32,
    /// Whether the last attempt went over a connection that was idle before.
    pub connection_reused: bool,
    /// The name of the failure (`health::Verdict::name`); `None`: the request went well.
    pub reason: Option<&'a str>,
    /// Which rule a refused request broke.
    pub detail: Option<&'a str>,
    pub request_id: Option<&'a [u8]>,
}

/// One connection of a tcp listener.
#[derive(Clone, Copy, Debug)]
pub struct TcpRecord<'a> {
    /// When it was accepted.
    pub started: Instant,
    /// Of the snapshot that the connection began on.
    pub generation: u64,
    pub listener: &'a str,
    /// The one that the server name found.
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<&'a Address>,
    /// As the PROXY header said, where there was one.
    pub client: &'a Address,
    /// Who sent that header.
    pub proxy: Option<&'a Address>,
    /// The server name of its ClientHello, as received.
    pub sni: Option<&'a [u8]>,
    /// Of the client's connection, where a PROXY header said or says it.
    pub unique_id: Option<&'a [u8]>,
    /// From the client.
    pub bytes_received: u64,
    /// To the client.
    pub bytes_sent: u64,
    /// To open the connection to the endpoint, over all attempts.
    pub connect: Option<Duration>,
    pub total: Duration,
    /// 0 if no endpoint was tried.
    pub attempts: u32,
    /// The name of the failure (`health::Verdict::name`); `None`: both sides closed in good order.
    pub reason: Option<&'a str>,
}

impl<'a> HttpRecord<'a> {
    /// A record of a connection of which no more is known than where it came from: the rest is empty.
    pub fn of_connection(started: Instant, generation: u64, listener: &'a str, client: &'a Address) -> HttpRecord<'a> {
        HttpRecord {
            detail: None,
            started,
            generation,
            listener,
            route: None,
            upstream: None,
            endpoint: None,
            client,
            proxy: None,
            unique_id: None,
            method: b"",
            host: b"",
            path: b"",
            protocol: "",
            status: 0,
            bytes_received: 0,
            bytes_sent: 0,
            phases: Phases::default(),
            attempts: 0,
            connection_reused: false,
            reason: None,
            request_id: None,
        }
    }
}

impl<'a> TcpRecord<'a> {
    /// A record of a connection of which no more is known than where it came from: the rest is empty.
    pub fn of_connection(started: Instant, generation: u64, listener: &'a str, client: &'a Address) -> TcpRecord<'a> {
        TcpRecord {
            route: None,
            sni: None,
            started,
            generation,
            listener,
            upstream: None,
            endpoint: None,
            client,
            proxy: None,
            unique_id: None,
            bytes_received: 0,
            bytes_sent: 0,
            connect: None,
            total: Duration::ZERO,
            attempts: 0,
            reason: None,
        }
    }
}

impl HttpRecord<'_> {
    /// `time` is `started` in microseconds since 1970-01-01 UTC.
    pub(super) fn encode(&self, line: &mut Vec<u8>, time: u64, worker: usize) {
        let mut object = Object::new(line, time);
        object.text(key!("listener"), self.listener.as_bytes(), NAME_BYTES_MAX);
        name(&mut object, key!("route"), self.route);
        name(&mut object, key!("upstream"), self.upstream);
        if let Some(endpoint) = self.endpoint {
            object.address(key!("endpoint"), endpoint);
        }
        object.address(key!("client"), self.client);
        if let Some(proxy) = self.proxy {
            object.address(key!("proxy"), proxy);
        }
        object.text(key!("method"), self.method, METHOD_BYTES_MAX);
        object.text(key!("host"), self.host, HOST_BYTES_MAX);
        object.text(key!("path"), self.path, PATH_BYTES_MAX);
        object.text(key!("protocol"), self.protocol.as_bytes(), NAME_BYTES_MAX);
        object.number(key!("status"), u64::from(self.status));
        object.number(key!("bytes_received"), self.bytes_received);
        object.number(key!("bytes_sent"), self.bytes_sent);
        duration(&mut object, key!("request_head_us"), self.phases.request_head);
        duration(&mut object, key!("connect_us"), self.phases.connect);
        duration(&mut object, key!("upstream_head_us"), self.phases.upstream_head);
        duration(&mut object, key!("response_us"), self.phases.response);
        duration(&mut object, key!("total_us"), Some(self.phases.total));
        object.number(key!("attempts"), u64::from(self.attempts));
        object.flag(key!("connection_reused"), self.connection_reused);
        name(&mut object, key!("reason"), self.reason);
        name(&mut object, key!("detail"), self.detail);
        if let Some(request_id) = self.request_id {
            object.text(key!("request_id"), request_id, REQUEST_ID_BYTES_MAX);
        }
        if let Some(unique_id) = self.unique_id {
            object.text(key!("unique_id"), unique_id, REQUEST_ID_BYTES_MAX);
        }
        object.number(key!("worker"), worker as u64);
        object.number(key!("generation"), self.generation);
        object.end_line();
    }
}

impl TcpRecord<'_> {
    /// `time` is `started` in microseconds since 1970-01-01 UTC.
    pub(super) fn encode(&self, line: &mut Vec<u8>, time: u64, worker: usize) {
        let mut object = Object::new(line, time);
        object.text(key!("listener"), self.listener.as_bytes(), NAME_BYTES_MAX);
        name(&mut object, key!("route"), self.route);
        name(&mut object, key!("upstream"), self.upstream);
        if let Some(endpoint) = self.endpoint {
            object.address(key!("endpoint"), endpoint);
        }
        object.address(key!("client"), self.client);
        if let Some(proxy) = self.proxy {
            object.address(key!("proxy"), proxy);
        }
        if let Some(sni) = self.sni {
            object.text(key!("sni"), sni, HOST_BYTES_MAX);
        }
        object.text(key!("protocol"), b"tcp", NAME_BYTES_MAX);
        object.number(key!("bytes_received"), self.bytes_received);
        object.number(key!("bytes_sent"), self.bytes_sent);
        duration(&mut object, key!("connect_us"), self.connect);
        duration(&mut object, key!("total_us"), Some(self.total));
        object.number(key!("attempts"), u64::from(self.attempts));
        name(&mut object, key!("reason"), self.reason);
        if let Some(unique_id) = self.unique_id {
            object.text(key!("unique_id"), unique_id, REQUEST_ID_BYTES_MAX);
        }
        object.number(key!("worker"), worker as u64);
        object.number(key!("generation"), self.generation);
        object.end_line();
    }
}

#[inline(always)]
pub(super) fn name(object: &mut Object, key: &'static str, name: Option<&str>) {
    if let Some(name) = name {
        object.text(key, name.as_bytes(), NAME_BYTES_MAX);
    }
}

#[inline(always)]
pub(super) fn duration(object: &mut Object, key: &'static str, duration: Option<Duration>) {
    if let Some(duration) = duration {
        object.number(key, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}
