//! Peak EWMA and least time: of two endpoints that chance proposes in proportion to weight, the one where the request is
//! likely to be answered sooner.
//!
//! The idea: cost = latency × (requests in flight for its part + 1), with the latency as an average that forgets. `peak_ewma`
//! (Finagle, Linkerd) believes a slow answer at once and a fast one slowly, so that an endpoint that begins to stall loses
//! its traffic with the first slow answers; `least_time` (as in nginx) believes both alike, and follows the mean. A failure counts
//! as an answer after `failure_penalty`: an endpoint that fails fast is not a fast endpoint. Both are O(1) a pick.
//!
//! An endpoint of which nothing is known gets one request at a time until it has answered one.
//!
//! The bound: that of two choices where latencies are equal; where one endpoint of n is k times slower, its share falls to
//! about 1 / k of its part or less, because it is taken only where it is drawn against one that is busier by that factor.
//! What is shared: the average belongs to the endpoint's identity and all workers add to it; an answer that arrives in the
//! same instant as another worker's is not added, so under load it is a sample of the answers. Not where latency says
//! more of the request than of the endpoint (a few slow reports among many small requests): use `least_request`.

use super::plan::{Group, Plan};
use super::{choice, in_flight};
use crate::base::Instant;
use crate::upstream::Endpoint;

/// The latency of an endpoint that has not answered yet and has something in flight, in microseconds.
const UNKNOWN: f32 = 1e9;

#[inline]
pub(super) fn pick(
    plan: &Plan,
    group: &Group,
    endpoints: &[Endpoint],
    (tried, random): (&[u32], u64),
    now: Instant,
) -> Option<usize> {
    let decay = plan.policy.latency_decay;
    let cost = |index: usize| {
        let in_flight = in_flight(endpoints, index) as f32;
        let latency = endpoints.get(index).and_then(|endpoint| endpoint.identity.latency.get(now, decay));
        // Of an endpoint of twice the weight, twice as much in flight is as much.
        let part = group.mean_weight / plan.weight(index).max(1) as f32;
        match latency {
            Some(latency) => latency * (in_flight * part + 1.0),
            None if in_flight == 0.0 => 0.0,
            None => UNKNOWN * in_flight * part,
        }
    };
    choice::best(plan, group, tried, random, cost, |challenger, best| challenger < best)
}
