//! Equal keys to the same endpoint, by `maglev`, `ring_hash` or `rendezvous`, and on to another one where that endpoint
//! does not serve, was tried or has too much to do.
//!
//! Bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018): with `hash_load_max = "125%"` an
//! endpoint takes no key beyond 1.25 times its part of what is in flight, and such a key goes where it would go if that
//! endpoint were gone. The bound: no endpoint is above the limit, give or take what other workers add in the same instant;
//! a key leaves its endpoint only while that is full. Not where a key must never meet two endpoints at once.
//!
//! A key that falls on one that cannot take it is hashed again, up to [`PROBES_MAX`] times; beyond that, which takes nearly all
//! endpoints being out at once, its hash draws by weight among those that serve. A request without a key is drawn at random.

use super::maglev::Maglev;
use super::plan::{Group, Plan};
use super::ring::Ring;
use super::{Balance, ONE, in_flight, is_tried, mix, rendezvous};
use crate::upstream::Endpoint;

/// Places that a key is looked for at.
const PROBES_MAX: usize = 64;

/// What a group is looked up in; made of configured weights, so that it holds whatever the endpoints' states.
#[derive(Debug)]
pub(super) enum Table {
    Maglev(Maglev),
    Ring(Ring),
}

impl Table {
    pub fn new(balance: Balance, endpoints: impl Iterator<Item = (u32, u64, u32)> + Clone) -> Option<Table> {
        match balance {
            Balance::Maglev => Some(Table::Maglev(Maglev::new(endpoints))),
            Balance::RingHash => Some(Table::Ring(Ring::new(endpoints))),
            _ => None,
        }
    }
}

/// The endpoint of `key`. `all_in_flight` is what the upstream has in flight.
pub(super) fn pick(
    plan: &Plan,
    group: &Group,
    endpoints: &[Endpoint],
    (tried, key): (&[u32], u64),
    all_in_flight: u64,
) -> Option<usize> {
    let bound = Bound::new(plan, group, all_in_flight);
    let takes = |index: usize| {
        let weight = plan.weight(index);
        weight > 0 && !is_tried(tried, index) && bound.is_none_or(|bound| bound.has_room(endpoints, index, weight))
    };
    let stays = |index: &usize| takes(*index) && plan.admits(*index, key);
    let found = match group.table.as_deref() {
        None => rendezvous::pick(plan, group, key, takes),
        Some(Table::Maglev(table)) => (0..PROBES_MAX as u64).map_while(|at| table.at(rehash(key, at))).find(stays),
        Some(Table::Ring(ring)) => ring.from(key).take(PROBES_MAX).find(stays),
    };
    found.or_else(|| group.draw_except(plan, tried, mix(key)))
}

/// How much an endpoint may have in flight. In whole numbers, so that a limit that comes out even is one.
#[derive(Clone, Copy)]
struct Bound {
    /// For all weight together, in thousandths.
    of_all: u128,
    weight: u128,
}

impl Bound {
    fn new(plan: &Plan, group: &Group, all_in_flight: u64) -> Option<Bound> {
        let load_max = u128::from(plan.policy.hash_load_max?);
        let of_group = (u128::from(all_in_flight) * u128::from(group.share)) >> 32;
        Some(Bound { of_all: (of_group + 1) * load_max, weight: u128::from(group.weight) })
    }

    /// With one more it has at most what it may, rounded up.
    fn has_room(self, endpoints: &[Endpoint], index: usize, weight: u32) -> bool {
        let has = u128::from(in_flight(endpoints, index)) * u128::from(ONE);
        has * self.weight < self.of_all * u128::from(weight)
    }
}

/// Where a key is looked for the first time, the second time, and so on.
fn rehash(key: u64, at: u64) -> u64 {
    if at == 0 { key } else { mix(key.wrapping_add(at)) }
}
