//! Least request: chance proposes two endpoints in proportion to weight, the one with fewer requests in flight for its
//! weight is taken.
//!
//! The idea: the power of two choices (Azar et al. 1994; Mitzenmacher 2001). O(1) a pick. The bound: the busiest of n
//! endpoints has ln ln n / ln 2 + O(1) requests, exponentially better than one choice, and, unlike picking the least loaded
//! of all, workers that see the same counts do not all run to the same endpoint. With no load it follows the weights
//! exactly. Not where requests in flight say nothing about load (a few long-lived streams): use `round_robin`; not where
//! a broken endpoint answers fastest of all: use `peak_ewma`.
//!
//! With more choices the spread is a little more even (ln ln n / ln d), at one cache line each; with as many as there are
//! endpoints it is the least loaded of all, O(n) a pick, for few endpoints and few, long requests.

use super::plan::{Group, Plan};
use super::{choice, in_flight};
use crate::upstream::Endpoint;

#[inline]
pub(super) fn pick(plan: &Plan, group: &Group, endpoints: &[Endpoint], tried: &[u32], random: u64) -> Option<usize> {
    let load = |index: usize| (in_flight(endpoints, index) * 2, u64::from(plan.weight(index)));
    // (in_flight₂ + ½) / weight₂ < in_flight₁ / weight₁. The half lets the first stand on equal load, so that weights
    // decide while little is in flight; among equal weights it changes nothing.
    let beats = |(load2, weight2): (u64, u64), (load1, weight1): (u64, u64)| {
        (load2 + 1).saturating_mul(weight1) < load1.saturating_mul(weight2)
    };
    choice::best(plan, group, tried, random, load, beats)
}
