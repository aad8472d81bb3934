//! One request and its response, whatever version of HTTP either side speaks: route, pick, try, try again, answer.
//!
//! The client's protocol calls [`run`] with its side; the endpoint's side is opened here. Everything that is decided is
//! decided by pure modules; this is the order in which they are asked.

mod ahead;
mod answer;
mod attempt;
mod buffered;
mod lasting;
mod pieces;
mod record;
mod sides;
mod transfer;

pub(super) use lasting::Lasting;
pub(super) use record::{Record, RequestId};
pub(super) use sides::{
    BodySink, BodySource, Ready, RequestSink, ResponseSink, ResponseSource, SinkError, SourceError,
};

use super::Client;
use super::affinity::Preference;
use super::announce::announcement;
use super::breaker::{self, Admitted};
use super::connect::{Load, Tried, UpstreamConnection, count_failure};
use super::context::{Context, View};
use super::http1::Pair;
use crate::engine::Stream;
use crate::health::Failure;
use crate::health::failure::{Fault, Retry};
use crate::protocol::http::{BodyLength, RequestHead, ResponseHead, TargetForm};
use crate::protocol::http1::request_id;
use crate::router::Miss;
use crate::snapshot::{HttpSettings, Route, Upstream};
use crate::upstream::{EndpointIdentity, UpstreamIndex};
use answer::{Answer, last_recipient};
use attempt::{Attempt, AttemptError, client_failure, forwarding};
use buffered::{Buffered, Kept};
use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use transfer::request_failure;

/// What the exchange works with, fixed for its time.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub context: &'a Context,
    pub view: &'a View,
    pub settings: &'a HttpSettings,
    pub client: &'a Client,
    /// The client's.
    pub stream: &'a Stream,
    pub request: &'a RequestHead,
    /// The client's connection may carry another request after this one.
    pub keep_alive: bool,
    /// False while the client waits for `100 Continue` before it sends its body.
    pub invited: &'a Cell<bool>,
}

/// What becomes of the client's connection.
pub(super) enum Outcome {
    /// It is ready for another request.
    Keep,
    /// It is closed; what the client still sends is taken for a while, so that it can read the response.
    Close,
    /// It is closed at once: the response was cut short, and the client sees that by its framing.
    Abort,
    /// It is reset: an orderly end would look like the end of what was cut short.
    Reset,
    /// Both sides speak another protocol from here on.
    Tunnel(UpstreamConnection),
}

/// Runs one exchange to its end and notes in `record` what happened.
pub(super) async fn run(
    scene: Scene<'_>,
    body: &mut impl BodySource,
    sink: &mut impl ResponseSink,
    response: &mut ResponseHead,
    pair: &mut Pair,
    record: &mut Record,
) -> Outcome {
    let own = record.request_id.as_bytes();
    record.client_request_id = request_id(scene.request, &forwarding(scene, record)) != own;
    let mut allow = Vec::new();
    let answer = match scene.request.max_forwards {
        Some(0) => last_recipient(scene, record, &mut allow),
        _ => {
            let forwarded = forward(scene, body, sink, response, pair, record, &mut allow);
            let ended = pin!(scene.client.listener.cut.unless(forwarded)).await;
            match ended {
                Some(Ok(outcome)) => return outcome,
                Some(Err(Failure::BreakerOpen)) => Answer::of_breaker(scene, record),
                Some(Err(failure)) => Answer::to(failure),
                None => Answer::to(Failure::Draining),
            }
        }
    };
    // A client that does not read would keep megabytes in the kernel for minutes more.
    let unread = matches!(answer.failure, Some(Failure::ClientStalled | Failure::ClientTooSlow | Failure::MemoryFull));
    let unframed = response.body.for_downstream(scene.request.version) == BodyLength::UntilClose;
    if sink.has_begun() && (unframed || unread) {
        record.failure = answer.failure;
        return Outcome::Reset;
    }
    // Boxed: most exchanges end without.
    Box::pin(answer.send(scene, &allow, body, sink, record)).await
}

async fn forward(
    scene: Scene<'_>,
    body: &mut impl BodySource,
    sink: &mut impl ResponseSink,
    response: &mut ResponseHead,
    pair: &mut Pair,
    record: &mut Record,
    allow: &mut Vec<u8>,
) -> Result<Outcome, Failure> {
    let (route, upstream_index, upstream, _admitted) = find(scene, record, allow)?;
    if matches!(scene.request.body, BodyLength::Exact(len) if len > scene.settings.body_max) {
        return Err(Failure::RequestBodyTooLarge);
    }
    let kept = Kept::new(&scene.context.memory);
    let mut body = Buffered::new(body, &kept);
    let (mut began, mut expects) = (record.started, scene.request.expect_continue);
    if route.request_buffer > 0 && !scene.request.body.is_empty() {
        // Boxed: few requests have it.
        Box::pin(buffer(scene, route, &mut body, sink)).await?;
        // The time so far was the client's.
        (began, expects) = (scene.context.engine.now(), false);
    }
    let deadline = began + route.response_head_timeout;
    upstream.identity.stats.shard(scene.context.worker).requests.inc();
    let of_request = (scene.request, routed_path(scene.request));
    let preference = Preference::of_request(route, (upstream_index, upstream), scene.client, of_request);
    let (load, chosen) = (None, 0);
    let mut attempt = Attempt { scene, route, upstream, preference, chosen, deadline, expects, load, response, record };
    let mut tried = Tried::default();
    let mut failure = Failure::NoEndpoint;
    while attempt.record.attempts <= upstream.retries {
        let Some(index) = scene.view.pick(upstream_index, preference, tried.as_slice(), &scene.context.engine) else {
            break;
        };
        attempt.chosen = index;
        attempt.record.attempts += 1;
        if attempt.record.attempts > 1 {
            upstream.identity.stats.shard(scene.context.worker).retries.inc();
        }
        let endpoint = &upstream.endpoints[index].identity;
        let ended = pin!(try_endpoint(&mut attempt, endpoint, &mut body, sink, pair)).await;
        attempt.note(endpoint, ended.as_ref().err().map(|error| error.failure));
        let error = match ended {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        attempt.load = None;
        failure = error.failure;
        count_failure(scene.context, endpoint, failure);
        if failure.verdict().fault == Fault::Endpoint {
            upstream.policy.observe(endpoint, None, scene.context.engine.now());
        }
        let again = error.may_repeat(scene.request) && scene.context.engine.now() < deadline && tried.add(index);
        if !again {
            break;
        }
    }
    Err(failure)
}

/// Takes the body, or its beginning, from the client before an endpoint is held for it.
async fn buffer(
    scene: Scene<'_>,
    route: &Route,
    body: &mut Buffered<'_, '_, impl BodySource>,
    sink: &mut impl ResponseSink,
) -> Result<(), Failure> {
    // The endpoint has no say then in whether the body is wanted (RFC 9110 section 10.1.1 leaves that to the recipient).
    if !scene.invited.replace(true) {
        sink.invite();
        sink.flush().await.map_err(client_failure)?;
    }
    body.collect(route.request_buffer).await.map_err(request_failure)
}

/// The path by which the request finds its route: the same that the endpoint gets.
fn routed_path(request: &RequestHead) -> &[u8] {
    match request.form() {
        TargetForm::Asterisk => b"/",
        _ => request.path(),
    }
}

/// The route of the request, and the upstream that it goes to this time, past its breaker.
fn find<'a>(
    scene: Scene<'a>,
    record: &mut Record,
    allow: &mut Vec<u8>,
) -> Result<(&'a Route, UpstreamIndex, &'a Upstream, Admitted), Failure> {
    let request = scene.request;
    let path = routed_path(request);
    let index = match scene.settings.router.route(request.host(), path, request.method_bytes()) {
        Ok(index) => index,
        Err(Miss::NoRoute) => return Err(Failure::NoRoute),
        Err(Miss::MethodNotAllowed(methods)) => {
            methods.write(allow);
            return Err(Failure::MethodNotAllowed);
        }
    };
    let snapshot = &scene.view.snapshot;
    let route = snapshot.routes.get(index as usize).ok_or(Failure::NoRoute)?;
    record.route = Some(index);
    let upstream_index = scene.view.upstream_of(&route.destination, &scene.context.engine);
    record.upstream = Some(upstream_index);
    let (admitted, upstream_index) = breaker::admit(scene.view, upstream_index).ok_or(Failure::BreakerOpen)?;
    let upstream = snapshot.upstreams.get(upstream_index.0 as usize).ok_or(Failure::NoEndpoint)?;
    record.upstream = Some(upstream_index);
    Ok((route, upstream_index, upstream, admitted))
}

/// One attempt at one endpoint; a stale idle connection costs it another connection, not the attempt.
async fn try_endpoint(
    attempt: &mut Attempt<'_>,
    endpoint: &Arc<EndpointIdentity>,
    body: &mut Buffered<'_, '_, impl BodySource>,
    sink: &mut impl ResponseSink,
    pair: &mut Pair,
) -> Result<Outcome, AttemptError> {
    let Scene { context, client, stream, request, .. } = attempt.scene;
    attempt.record.endpoint = Some(endpoint.address.clone());
    attempt.load = Some(Load::new(endpoint, context.worker));
    let owner = UpstreamConnection::owner(attempt.upstream, client);
    if let Some(connection) = UpstreamConnection::idle(context, attempt.upstream, endpoint, owner) {
        attempt.record.connection_reused = true;
        match pin!(attempt.run(connection, pair, body, sink)).await {
            Err(error) if error.stale && error.may_repeat(request) => {}
            done => return done,
        }
    }
    attempt.record.connection_reused = false;
    let started = context.engine.now();
    body.detach();
    // Boxed: most requests find an idle connection, and the rest can bear the allocation.
    let (upstream, deadline) = (attempt.upstream, attempt.deadline);
    let header = announcement(upstream, client, stream, None);
    let repeatable = request.method.is_idempotent();
    let opening = UpstreamConnection::open(context, upstream, endpoint, client, deadline, &header, repeatable);
    let opened = Box::pin(opening).await;
    attempt.record.connect = Some(context.engine.now() - started);
    let connection = opened.map_err(AttemptError::before_request)?;
    pin!(attempt.run(connection, pair, body, sink)).await
}

impl AttemptError {
    /// Whether the request may be sent again, here or elsewhere (RFC 9110 section 9.2.2).
    fn may_repeat(&self, request: &RequestHead) -> bool {
        if self.body_lost {
            return false;
        }
        match self.failure.verdict().retry {
            Retry::Never => false,
            Retry::Always => true,
            Retry::Idempotent => request.method.is_idempotent() && !self.response_begun,
        }
    }
}
