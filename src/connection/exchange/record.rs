//! What is known of one exchange when it ends: for the statistics and the access log.

use crate::base::{Address, Instant, Sharded};
use crate::connection::names::Named;
use crate::connection::{Client, Context, View};
use crate::health::Failure;
use crate::protocol::http::{Known, RequestHead};
use crate::snapshot::Route;
use crate::telemetry::RouteStats;
use crate::telemetry::access_log::{HttpRecord, Phases};
use crate::upstream::UpstreamIndex;

/// Filled as the exchange goes on.
#[derive(Default)]
pub(crate) struct Record {
    pub started: Instant,
    pub head_received: Instant,
    pub route: Option<u32>,
    pub upstream: Option<UpstreamIndex>,
    pub endpoint: Option<Address>,
    pub attempts: u32,
    pub connection_reused: bool,
    pub status: u16,
    pub failure: Option<Failure>,
    /// Which rule a refused request broke.
    pub detail: Option<&'static str>,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub request_sent: Option<Instant>,
    /// When the endpoint had all of the request, its body included: from then on it is the endpoint that takes time.
    pub whole_sent: Option<Instant>,
    pub response_head: Option<Instant>,
    pub connect: Option<std::time::Duration>,
    /// Made by us.
    pub request_id: RequestId,
    /// The client's own id is the one that the endpoint sees, and that is shown.
    pub client_request_id: bool,
}

/// What a request asked for, as the log shows it.
pub(super) struct Asked<'a> {
    pub method: &'a [u8],
    pub host: &'a [u8],
    pub path: &'a [u8],
    pub protocol: &'static str,
    pub request_id: Option<&'a [u8]>,
}

/// The two digits of each byte.
const HEXADECIMAL: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// 32 hexadecimal digits, or empty.
#[derive(Default)]
pub(crate) struct RequestId {
    digits: [u8; 32],
    present: bool,
}

impl RequestId {
    pub(crate) fn new(high: u64, low: u64) -> RequestId {
        let mut digits = [0; 32];
        for index in 0..16 {
            let number = if index < 8 { high } else { low };
            let [first, second] = HEXADECIMAL[(number >> (56 - 8 * (index % 8))) as usize & 255];
            digits[2 * index] = first;
            digits[2 * index + 1] = second;
        }
        RequestId { digits, present: true }
    }

    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        self.present.then_some(&self.digits[..])
    }
}

impl Record {
    /// The request's id as the endpoint, the client and the log see it.
    pub(crate) fn shown_request_id<'a>(&'a self, request: &'a RequestHead) -> Option<&'a [u8]> {
        if self.client_request_id { request.headers.get(Known::XRequestId) } else { self.request_id.as_bytes() }
    }

    pub(super) fn route<'v>(&self, view: &'v View) -> Option<&'v Route> {
        view.snapshot.routes.get(self.route? as usize)
    }

    pub(super) fn asked<'a>(&'a self, request: &'a RequestHead) -> Asked<'a> {
        Asked {
            method: request.method_bytes(),
            host: request.host(),
            path: request.path(),
            protocol: request.version.name(),
            request_id: self.shown_request_id(request),
        }
    }

    /// Counts the exchange and writes its line.
    pub(crate) fn finish(
        &self,
        context: &Context,
        view: &View,
        listener: usize,
        client: &Client,
        request: &RequestHead,
    ) {
        let route = self.route(view);
        self.count(context, client, route.map(|route| &*route.stats));
        if view.snapshot.access_log {
            let named = Named::of(client, view, listener, route, self.upstream);
            self.write(context, client, &named, self.asked(request));
        }
    }

    pub(super) fn count(&self, context: &Context, client: &Client, route: Option<&Sharded<RouteStats>>) {
        let stats = client.stats();
        stats.requests.inc();
        stats.bytes_received.add(self.bytes_received);
        stats.bytes_sent.add(self.bytes_sent);
        let Some(route) = route else {
            if let Some(failure) = self.failure {
                stats.failures[failure as usize].inc();
            }
            return;
        };
        let stats = route.shard(context.worker);
        stats.requests.inc();
        if let Some(class) = stats.responses.get(usize::from(self.status / 100).wrapping_sub(1)) {
            class.inc();
        }
        stats.duration.record(context.engine.now() - self.started);
        if let Some(failure) = self.failure {
            stats.failures[failure as usize].inc();
        }
    }

    pub(super) fn write(&self, context: &Context, client: &Client, named: &Named<'_>, asked: Asked<'_>) {
        let record = HttpRecord {
            started: self.started,
            generation: named.generation,
            listener: named.listener,
            route: named.route,
            upstream: named.upstream,
            endpoint: self.endpoint.as_ref(),
            client: &client.address,
            proxy: client.sender(),
            unique_id: named.unique_id.as_deref(),
            method: asked.method,
            host: asked.host,
            path: asked.path,
            protocol: asked.protocol,
            status: self.status,
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            phases: self.phases(context.engine.now()),
            attempts: self.attempts,
            connection_reused: self.connection_reused,
            reason: self.failure.map(|failure| failure.verdict().name),
            detail: self.detail,
            request_id: asked.request_id,
        };
        context.access_log.http(context.worker_stats(), &record);
    }

    fn phases(&self, now: Instant) -> Phases {
        let between = |from: Option<Instant>, to: Option<Instant>| Some(to? - from?);
        Phases {
            request_head: Some(self.head_received - self.started),
            connect: self.connect,
            upstream_head: between(self.request_sent, self.response_head),
            response: between(self.response_head, Some(now)),
            total: now - self.started,
        }
    }
}
