//! Rendezvous: every endpoint draws a number from the key; the highest for its weight has it.
//!
//! The idea (Thaler and Ravishankar 1996; with weights by the logarithm, Schindelhauer and Schomaker 2005): no table, and the
//! least disruption there can be. When an endpoint comes, goes or changes its weight, exactly the keys that it gains or
//! loses move, and shares follow weights exactly. O(n) a pick: it asks every endpoint, about 2 ns each where weights are
//! equal and 10 ns where not. So an upstream may have [`RENDEZVOUS_ENDPOINTS_MAX`] endpoints at most, which the
//! configuration is held to; for more use `maglev`.

use super::mix;
use super::plan::{Group, Plan};

/// Endpoints of an upstream that is balanced so.
pub const RENDEZVOUS_ENDPOINTS_MAX: usize = 128;

/// The endpoint of a key among those that `takes` allows.
pub(super) fn pick(plan: &Plan, group: &Group, key: u64, takes: impl Fn(usize) -> bool) -> Option<usize> {
    let draw = |index: usize| mix(key ^ plan.hash_of(index));
    let members = group.members.iter().map(|index| *index as usize).filter(|index| takes(*index));
    if group.draw.is_equal() {
        return members.max_by_key(|index| draw(*index));
    }
    // The exponential race: -ln(u) / weight is the time of the first arrival, and the earliest wins.
    let time = |index: usize| {
        let unit = ((draw(index) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -unit.ln() / f64::from(plan.weight(index))
    };
    members.map(|index| (time(index), index)).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, index)| index)
}
