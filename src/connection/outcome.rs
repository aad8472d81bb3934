//! What became of each attempt, told to the endpoint's identity, by which control judges the endpoint. The one place where
//! failures and statuses become outcomes; whoever makes an attempt calls it once when the attempt has ended.

use super::context::Context;
use crate::health::Failure;
use crate::health::failure::Fault;
use crate::protocol::http::ResponseHead;
use crate::snapshot::Upstream;
use crate::upstream::{EndpointIdentity, OutcomeClass, OutcomeRule, UpstreamIdentity};
use std::time::Duration;

/// A client that leaves sooner says nothing about the endpoint.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Counts one attempt, and has control look at once where it ends a streak that is long enough. `latency`: how long the
/// endpoint took to answer, or had not answered for.
pub(super) fn note(
    context: &Context,
    upstream: &Upstream,
    endpoint: &EndpointIdentity,
    class: OutcomeClass,
    latency: Option<Duration>,
) {
    note_by(context, (&upstream.identity, &upstream.rule), endpoint, class, latency);
}

/// The same by the rule of a snapshot that is not held any more.
pub(super) fn note_by(
    context: &Context,
    (upstream, rule): (&UpstreamIdentity, &OutcomeRule),
    endpoint: &EndpointIdentity,
    class: OutcomeClass,
    latency: Option<Duration>,
) {
    if endpoint.outcomes.note(context.worker, class, latency, rule) {
        context.alarm(upstream);
    }
}

/// The same of an attempt that failed. What is nobody's but the client's or the gateway's fault is no outcome.
pub(super) fn note_failure(
    context: &Context,
    upstream: &Upstream,
    endpoint: &EndpointIdentity,
    failure: Failure,
    waited: Option<Duration>,
) {
    let Some(class) = of_failure(failure) else { return };
    let latency = match class {
        OutcomeClass::Timeout => waited,
        OutcomeClass::Abandoned => waited.filter(|waited| *waited >= PATIENCE_MIN),
        // What fails fast is not fast.
        _ => None,
    };
    note(context, upstream, endpoint, class, latency);
}

fn of_failure(failure: Failure) -> Option<OutcomeClass> {
    match failure {
        Failure::ConnectRefused | Failure::ConnectTimeout => Some(OutcomeClass::Unconnected),
        Failure::UpstreamHeadTimeout | Failure::UpstreamBodyTimeout => Some(OutcomeClass::Timeout),
        Failure::ClientClosed => Some(OutcomeClass::Abandoned),
        failure => (failure.verdict().fault == Fault::Endpoint).then_some(OutcomeClass::Gateway),
    }
}

/// What a response says of the endpoint that sent it.
pub(super) fn of_response(response: &ResponseHead) -> OutcomeClass {
    match response.status {
        429 => OutcomeClass::Overload,
        503 if response.headers.get_name(b"retry-after").is_some() => OutcomeClass::Unavailable,
        502..=504 => OutcomeClass::Gateway,
        500.. => OutcomeClass::ServerError,
        _ => OutcomeClass::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_endpoints_fault_counts_against_it() {
        for failure in Failure::ALL {
            let class = of_failure(*failure);
            let against = class.is_some_and(|class| class != OutcomeClass::Abandoned);
            assert_eq!(against, failure.verdict().fault == Fault::Endpoint, "{failure:?}");
        }
    }
}
