//! The attempts of one request: each sends it on one connection and takes its response back to the client.

use super::ahead::Ahead;
use super::buffered::Buffered;
use super::record::Record;
use super::sides::{BodySource, RequestSink, ResponseSink, ResponseSource, SinkError, SourceError};
use super::transfer::{TransferError, Upload, transfer, unless_left, upload};
use super::{Outcome, Scene};
use crate::base::Instant;
use crate::connection::affinity::Preference;
use crate::connection::connect::{Load, UpstreamConnection};
use crate::connection::http1::Pair;
use crate::connection::outcome;
use crate::health::Failure;
use crate::protocol::http::{BodyLength, ResponseHead, Version};
use crate::protocol::http1::{Forwarding, ResponseOptions};
use crate::snapshot::{Route, Upstream};
use crate::upstream::EndpointIdentity;
use std::cell::Cell;
use std::pin::pin;

/// Interim responses to one request. No endpoint has reason to send more, and each costs a write.
const INTERIM_MAX: u32 = 32;

/// What every attempt of a request works with.
pub(super) struct Attempt<'a> {
    pub scene: Scene<'a>,
    pub route: &'a Route,
    pub upstream: &'a Upstream,
    pub preference: Preference,
    /// The index of the endpoint of the present attempt.
    pub chosen: usize,
    /// When the response head is to be there.
    pub deadline: Instant,
    /// The endpoint is asked for the invitation that the client waits for.
    pub expects: bool,
    /// The place that the present attempt takes at its endpoint.
    pub load: Option<Load>,
    pub response: &'a mut ResponseHead,
    pub record: &'a mut Record,
}

/// Why an attempt failed, and how far it had come.
pub(super) struct AttemptError {
    pub failure: Failure,
    /// Some of the request's body has been taken from the client and not kept: it cannot be sent again.
    pub body_lost: bool,
    /// Some of a response has arrived.
    pub response_begun: bool,
    /// The connection had been idle and ended without a sign of a response.
    pub stale: bool,
}

impl AttemptError {
    /// The endpoint has seen nothing of the request.
    pub(super) fn before_request(failure: Failure) -> AttemptError {
        AttemptError { failure, body_lost: false, response_begun: false, stale: false }
    }

    /// On a connection that was `reused`, or was not.
    fn during(failure: Failure, reused: bool, body_lost: bool, response_begun: bool) -> AttemptError {
        let closed = matches!(failure, Failure::UpstreamReset | Failure::UpstreamClosedEarly);
        AttemptError { failure, body_lost, response_begun, stale: reused && closed && !response_begun }
    }
}

impl Attempt<'_> {
    pub(super) async fn run(
        &mut self,
        connection: UpstreamConnection,
        pair: &mut Pair,
        body: &mut Buffered<'_, '_, impl BodySource>,
        sink: &mut impl ResponseSink,
    ) -> Result<Outcome, AttemptError> {
        let scene = self.scene;
        (self.record.whole_sent, self.record.response_head) = (None, None);
        body.rewind();
        let (mut request, mut source) =
            pair.open(&scene.context.engine, &connection.stream, self.route.response_body_idle_timeout);
        let keep_alive = !connection.is_last;
        let forwarding = Forwarding { keep_alive, expect: self.expects, ..forwarding(scene, self.record) };
        request.request_head(scene.request, &forwarding);
        let has_body = !matches!(scene.request.body, BodyLength::Empty | BodyLength::Exact(0));
        let reused = connection.reused;
        let exchanged = if has_body {
            // Boxed: a request with a body is rare and long beside the room that its state takes.
            Box::pin(self.exchange(body, sink, &mut request, &mut source)).await
        } else {
            // Requests that the client sent ahead wait for this one's response, and must hold no receive buffer meanwhile.
            body.detach();
            pin!(self.exchange_without_body(body, sink, &mut request, &mut source)).await
        };
        let kept = body.kept();
        let end = exchanged
            .map_err(|failure| AttemptError::during(failure, reused, !kept.is_repeatable(), source.has_begun()))?;
        if !end.body_left {
            let reusable = source.is_reusable();
            return Ok(self.finish(connection, &end, reusable));
        }
        let ahead = Ahead::new(&scene.context.memory, self.route.response_buffer);
        // Boxed: few routes have it.
        let mut passing = Box::pin(ahead.pass(sink));
        let (taken, mut passed) = Box::pin(ahead.take_beside(&mut source, passing.as_mut())).await;
        // The endpoint has done its part, well or not: it is free while the client still reads.
        let reusable = source.is_reusable();
        let outcome = match taken {
            Ok(()) => Ok(self.finish(connection, &end, reusable)),
            Err(error) => {
                drop(connection);
                Err(error)
            }
        };
        self.load = None;
        if passed.is_none() {
            passed = Some(passing.await);
        }
        let passed = passed.unwrap_or(Ok(())).map_err(TransferError::Sink);
        let done = outcome.and_then(|outcome| passed.map(|()| outcome)).map_err(response_failure);
        done.map_err(|failure| AttemptError::during(failure, reused, true, true))
    }

    /// Tells what became of an attempt at `endpoint`: `failure` of one that has none.
    pub(super) fn note(&self, endpoint: &EndpointIdentity, failure: Option<Failure>) {
        let context = self.scene.context;
        let (sent, head) = (self.record.whole_sent, self.record.response_head);
        match failure {
            None => {
                let latency = sent.zip(head).map(|(sent, head)| head - sent);
                outcome::note(context, self.upstream, endpoint, outcome::of_response(self.response), latency);
            }
            Some(failure) => {
                // Who leaves after the head has seen the endpoint answer.
                let waited = sent.filter(|_| head.is_none()).map(|sent| context.engine.now() - sent);
                outcome::note_failure(context, self.upstream, endpoint, failure, waited);
            }
        }
    }

    fn finish(&mut self, connection: UpstreamConnection, end: &End, reusable: bool) -> Outcome {
        if end.upgraded {
            return Outcome::Tunnel(connection);
        }
        let stats = self.upstream.identity.stats.shard(self.scene.context.worker);
        if let (Some(sent), Some(head)) = (self.record.request_sent, self.record.response_head) {
            stats.response_head_duration.record(head - sent);
        }
        // An endpoint that answered without asking for the body may take that for the next request.
        let unasked = self.expects && !end.continued;
        if end.uploaded && reusable && self.response.keep_alive && !unasked {
            connection.keep(self.scene.context, self.upstream, self.scene.client);
        }
        match (end.uploaded, end.keep_alive) {
            (true, true) => Outcome::Keep,
            _ => Outcome::Close,
        }
    }

    /// The usual case: the request is its head.
    async fn exchange_without_body(
        &mut self,
        body: &impl BodySource,
        sink: &mut impl ResponseSink,
        request: &mut impl RequestSink,
        source: &mut impl ResponseSource,
    ) -> Result<End, Failure> {
        // A send that fails is not the last word: the endpoint may have answered before it closed.
        let _ = pin!(request.flush()).await;
        self.record.request_sent = Some(self.scene.context.engine.now());
        self.record.whole_sent = self.record.request_sent;
        let head = pin!(unless_left(body, self.response_head(sink, source))).await;
        let continued = head.unwrap_or(Err(Failure::ClientClosed))?;
        let head = self.begin_response(sink, true, continued)?;
        if head.upgraded {
            sink.flush().await.map_err(client_failure)?;
        } else if !head.body_left {
            pin!(transfer(source, sink)).await.map_err(response_failure)?;
        }
        Ok(head)
    }

    /// The request's body goes to the endpoint while its response may come already.
    async fn exchange(
        &mut self,
        body: &mut Buffered<'_, '_, impl BodySource>,
        sink: &mut impl ResponseSink,
        request: &mut impl RequestSink,
        source: &mut impl ResponseSource,
    ) -> Result<End, Failure> {
        let kept = body.kept();
        let sent = Cell::new(None);
        let upload = pin!(upload(&self.scene.context.engine, body, request, &sent));
        let mut upload = Upload::new(upload, &sent);
        self.record.request_sent = Some(self.scene.context.engine.now());
        let headed = upload.beside(self.response_head(sink, source)).await;
        self.record.whole_sent = sent.get();
        let continued = headed??;
        // RFC 9110 section 7.8: the whole request comes first. What follows would be its body to one reader and another
        // protocol to the other.
        if self.response.status == 101 && !upload.is_complete() {
            return Err(Failure::UpstreamMalformed);
        }
        kept.give_away(upload.is_complete());
        let head = self.begin_response(sink, upload.is_complete(), continued)?;
        if head.upgraded {
            sink.flush().await.map_err(client_failure)?;
            return Ok(head);
        }
        if head.body_left {
            return Ok(head);
        }
        // A client that stops its upload still reads the response that it has.
        upload.alongside(transfer(source, sink)).await.map_err(response_failure)?;
        Ok(head)
    }

    /// Receives the final response head; interim ones go to the client as they come. Whether a 100 was among them.
    async fn response_head(
        &mut self,
        sink: &mut impl ResponseSink,
        source: &mut impl ResponseSource,
    ) -> Result<bool, Failure> {
        let scene = self.scene;
        let mut continued = false;
        let mut left = INTERIM_MAX;
        loop {
            pin!(source.head(scene.request.method, self.response, self.deadline)).await.map_err(head_failure)?;
            let upgraded = self.response.status == 101;
            if upgraded && !scene.request.upgrade {
                return Err(Failure::UpstreamMalformed);
            }
            if upgraded || !self.response.is_interim() {
                let now = scene.context.engine.now();
                self.record.response_head = Some(now);
                self.observe(now);
                return Ok(continued);
            }
            continued |= self.response.status == 100;
            left = left.checked_sub(1).ok_or(Failure::UpstreamMalformed)?;
            // RFC 9110 section 15.2: no 1xx to an HTTP/1.0 client.
            if scene.request.version != Version::Http10 {
                source.detach();
                sink.interim(self.response, &self.options(true, BodyLength::Empty));
                sink.flush().await.map_err(client_failure)?;
                scene.invited.set(continued);
            }
        }
    }

    /// Writes the final head. A connection whose upload is not complete is closed after the response.
    fn begin_response(
        &mut self,
        sink: &mut impl ResponseSink,
        uploaded: bool,
        continued: bool,
    ) -> Result<End, Failure> {
        let scene = self.scene;
        let upgraded = self.response.status == 101;
        let length = self.response.body.for_downstream(scene.request.version);
        // The drain may have begun since the request came.
        let staying = scene.keep_alive && !scene.client.listener.is_draining(scene.context);
        let keep_alive = staying && uploaded && length != BodyLength::UntilClose;
        self.record.status = self.response.status;
        self.set_cookie();
        sink.response_head(self.response, &self.options(keep_alive, length));
        let body_left = !upgraded && uploaded && self.route.response_buffer > 0;
        Ok(End { upgraded, keep_alive, uploaded, continued, body_left })
    }

    /// Tells the balance how long the endpoint has taken.
    fn observe(&self, now: Instant) {
        let Some(endpoint) = self.upstream.endpoints.get(self.chosen) else { return };
        let sent = self.record.request_sent.filter(|_| self.response.status < 500);
        self.upstream.policy.observe(&endpoint.identity, sent.map(|sent| now - sent), now);
    }

    /// Takes the client back to this endpoint, unless it is here by its cookie.
    fn set_cookie(&mut self) {
        let Some(sticky) = &self.upstream.sticky else { return };
        if self.preference.affinity.kept == u32::try_from(self.chosen).ok() {
            return;
        }
        let encrypted = self.scene.client.conveyed.as_ref().is_some_and(|conveyed| conveyed.tls);
        if let Some(cookie) = sticky.set_cookie(self.chosen, encrypted) {
            // Of characters that the configuration was held to, so there is a place for it in any head.
            let _ = self.response.headers.push(b"Set-Cookie", cookie.as_bytes());
        }
    }

    fn options(&self, keep_alive: bool, body: BodyLength) -> ResponseOptions<'_> {
        ResponseOptions {
            version: self.scene.request.version,
            keep_alive,
            body,
            request_id: self.record.shown_request_id(self.scene.request),
        }
    }
}

/// How the exchange on a connection ended.
struct End {
    upgraded: bool,
    keep_alive: bool,
    /// The request was complete before its response began.
    uploaded: bool,
    /// A 100 came before the final response.
    continued: bool,
    /// The response's body is to be taken ahead of the client.
    body_left: bool,
}

/// What the endpoint is told about the client.
pub(super) fn forwarding<'a>(scene: Scene<'a>, record: &'a Record) -> Forwarding<'a> {
    let client = &scene.client.address;
    let tls = scene.client.conveyed.as_ref().is_some_and(|conveyed| conveyed.tls);
    Forwarding {
        // A listener at `::` sees clients of IPv4 as addresses of IPv6.
        client: client.ip().map(|client| client.to_canonical()),
        scheme: if tls { "https" } else { "http" },
        trusted: scene.settings.trusted.contains(client),
        request_id: record.request_id.as_bytes(),
        expect: true,
        upgrade: scene.request.upgrade,
        keep_alive: true,
    }
}

fn head_failure(error: SourceError) -> Failure {
    match error {
        SourceError::Timeout => Failure::UpstreamHeadTimeout,
        error => body_failure(error),
    }
}

fn body_failure(error: SourceError) -> Failure {
    match error {
        SourceError::Closed => Failure::UpstreamClosedEarly,
        SourceError::Reset => Failure::UpstreamReset,
        SourceError::Timeout | SourceError::TooSlow => Failure::UpstreamBodyTimeout,
        SourceError::Malformed | SourceError::TooLarge => Failure::UpstreamMalformed,
    }
}

pub(super) fn client_failure(error: SinkError) -> Failure {
    match error {
        SinkError::Closed => Failure::ClientClosed,
        SinkError::Timeout => Failure::ClientStalled,
        SinkError::TooSlow => Failure::ClientTooSlow,
        SinkError::NoMemory => Failure::MemoryFull,
    }
}

fn response_failure(error: TransferError) -> Failure {
    match error {
        TransferError::Source(error) => body_failure(error),
        TransferError::Sink(error) => client_failure(error),
    }
}
