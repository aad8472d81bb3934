//! Random: each pick is independent, in proportion to weight.
//!
//! The idea: no state, so nothing to agree on between workers or snapshots. O(1) a pick. The bound: with n endpoints and as
//! many requests at once, the busiest one has about ln n / ln ln n of them (Raab and Steger 1998), where the better of two
//! has ln ln n. Not for few slow requests: use `least_request`. Not where an even spread of few requests matters: use
//! `round_robin`.

use super::plan::{Group, Plan};

pub(super) fn pick(plan: &Plan, group: &Group, tried: &[u32], random: u64) -> Option<usize> {
    group.draw_except(plan, tried, random)
}
