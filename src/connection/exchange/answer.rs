//! The gateway's own answers, and what becomes of the connection behind them: a short body that nobody read is read away,
//! so that the next request is found; otherwise the connection is closed.

use super::record::Record;
use super::sides::{BodySource, Ready, ResponseSink};
use super::{Outcome, Scene, routed_path};
use crate::connection::context::Context;
use crate::health::Failure;
use crate::protocol::http::{BodyLength, Method};
use crate::protocol::http1::ErrorResponse;
use crate::router::METHODS;
use std::pin::pin;
use std::time::Duration;

/// Bytes of a request's body that are read behind an answer of the gateway's own, for the sake of the connection.
const DRAIN_BYTES_MAX: usize = 64 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// What the gateway answers in place of an endpoint.
pub(super) struct Answer<'a> {
    status: u16,
    text: &'a str,
    /// The Retry-After field, in seconds.
    retry_after: Option<u32>,
    pub failure: Option<Failure>,
}

/// Answers OPTIONS or TRACE that may not be passed on (RFC 9110 section 7.6.2).
pub(super) fn last_recipient(scene: Scene<'_>, record: &mut Record, allow: &mut Vec<u8>) -> Answer<'static> {
    let request = scene.request;
    let found = scene.settings.router.route(request.host(), routed_path(request), request.method_bytes());
    record.route = found.as_ref().ok().copied();
    scene.settings.router.allow(request.host(), routed_path(request)).write(allow);
    // RFC 9110 section 9.3.8 would have TRACE sent back; but a request may hold what its sender must not read.
    if request.method == Method::Trace {
        if allow == METHODS.as_bytes() {
            *allow = METHODS.replace(" TRACE,", "").into_bytes();
        }
        return Answer::to(Failure::MethodNotAllowed);
    }
    if allow.is_empty() {
        return Answer::to(Failure::NoRoute);
    }
    Answer { status: 200, text: "This gateway is as far as Max-Forwards allows.", retry_after: None, failure: None }
}

impl<'a> Answer<'a> {
    pub(super) fn to(failure: Failure) -> Answer<'static> {
        let verdict = failure.verdict();
        Answer { status: verdict.status, text: verdict.text, retry_after: None, failure: Some(failure) }
    }

    /// To a request that the breaker of its upstream has rejected.
    pub(super) fn of_breaker(scene: Scene<'a>, record: &Record) -> Answer<'a> {
        let mut answer = Answer::to(Failure::BreakerOpen);
        let upstream = record.upstream.and_then(|index| scene.view.snapshot.upstreams.get(index.0 as usize));
        if let Some(upstream) = upstream {
            answer.status = upstream.rejection.status;
            answer.text = upstream.rejection.body.as_deref().unwrap_or(answer.text);
            answer.retry_after = Some(u32::from(upstream.identity.breaker.retry_after()));
        }
        answer
    }

    /// Sends the answer, unless some of another has gone out.
    pub(super) async fn send(
        self,
        scene: Scene<'_>,
        allow: &[u8],
        body: &mut impl BodySource,
        sink: &mut impl ResponseSink,
        record: &mut Record,
    ) -> Outcome {
        record.failure = self.failure;
        if sink.has_begun() || self.status == 0 {
            return Outcome::Abort;
        }
        record.status = self.status;
        body.detach();
        let keep_alive = scene.keep_alive && (body.is_complete() || is_drainable(scene, self.failure));
        sink.error(&ErrorResponse {
            status: self.status,
            text: self.text,
            version: scene.request.version,
            keep_alive,
            head_only: scene.request.method == Method::Head,
            allow: (!allow.is_empty()).then_some(allow),
            retry_after_s: self.retry_after,
            request_id: record.shown_request_id(scene.request),
        });
        match sink.flush().await {
            Ok(()) if keep_alive && drain(scene.context, body).await => Outcome::Keep,
            Ok(()) => Outcome::Close,
            Err(_) => Outcome::Abort,
        }
    }
}

/// Whether what is left of the body may stand between the answer and the next request. Who waits for 100 may send it or
/// not (RFC 9110 section 10.1.1): nobody could tell it from a request.
fn is_drainable(scene: Scene<'_>, failure: Option<Failure>) -> bool {
    use Failure::{RequestBodyMalformed, RequestBodyTimeout, RequestBodyTooLarge, RequestBodyTooSlow};
    let failed =
        |of| matches!(of, RequestBodyMalformed | RequestBodyTimeout | RequestBodyTooLarge | RequestBodyTooSlow);
    let body_failed = failure.is_some_and(failed);
    let request = scene.request;
    let is_short = !matches!(request.body, BodyLength::Exact(len) if len > DRAIN_BYTES_MAX as u64);
    let is_plain = request.body.is_empty() || scene.invited.get() && !request.upgrade;
    !body_failed && is_short && is_plain
}

/// Reads what is left of the body. False if it takes too much, and the connection is of no more use.
async fn drain(context: &Context, body: &mut impl BodySource) -> bool {
    let until = context.engine.now() + DRAIN_TIME_MAX;
    let mut left = DRAIN_BYTES_MAX;
    loop {
        match body.ready() {
            Ok(Ready::End) => return true,
            Ok(Ready::Piece(piece)) if piece.len() <= left => left -= piece.len(),
            Ok(Ready::Wait) => match context.engine.timeout(until, pin!(body.wait())).await {
                Ok(Ok(())) => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}
