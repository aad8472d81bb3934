//! Endpoints + load + random number → endpoint. Pure: no clock, and randomness comes in as a number. One algorithm a file.
//!
//! Control makes a [`Plan`] of an upstream's endpoints and their conditions; `connection` keeps one [`Picker`] for each
//! worker and upstream of a snapshot, and asks it once per attempt.

mod choice;
mod consistent;
mod hash;
mod latency;
mod least_request;
mod levels;
mod maglev;
mod plan;
mod planned;
mod policy;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod secret;
mod sticky;
mod weighted;

#[cfg(test)]
mod tests;

pub use hash::HashSeed;
pub use levels::ONE;
pub use plan::Plan;
pub use planned::Planned;
pub use policy::{Balance, Fail, HashKey, Policy};
pub use rendezvous::RENDEZVOUS_ENDPOINTS_MAX;
pub use sticky::{SameSite, Secure, Sticky, StickyKey, StickyPolicy};

use crate::base::Instant;
use crate::upstream::Endpoint;
use plan::Group;
use round_robin::RoundRobin;
use std::sync::atomic::Ordering;

/// What is asked of a picker for one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Indexes of the endpoints that this request has been sent to already; none of them is picked.
    pub tried: &'a [u32],
    /// A fresh number.
    pub random: u64,
    pub now: Instant,
    pub affinity: Affinity,
    /// What the upstream has in flight, all endpoints and workers together; only where `hash_load_max` asks for it.
    pub in_flight: u64,
}

/// What binds a request to an endpoint, if anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The hash of its key, for balances by key.
    pub key: Option<u64>,
    /// The endpoint that its cookie names.
    pub kept: Option<u32>,
}

/// What one worker keeps of one upstream between picks.
#[derive(Debug, Default)]
pub struct Picker {
    /// The epoch of the plan that `rounds` follow.
    epoch: u64,
    /// By group.
    rounds: Vec<RoundRobin>,
}

impl Picker {
    /// The index of the endpoint for the next attempt. `endpoints` are those that the plan was made for.
    ///
    /// `None` where there is no endpoint to pick or all were tried.
    #[inline]
    pub fn pick(&mut self, plan: &Plan, endpoints: &[Endpoint], ask: &Ask<'_>) -> Option<usize> {
        if self.epoch != plan.epoch {
            self.follow(plan, ask.random);
        }
        let Affinity { key, kept } = ask.affinity;
        if let Some(index) = kept.map(|index| index as usize)
            && plan.weight(index) > 0
            && !is_tried(ask.tried, index)
        {
            return Some(index).filter(|index| *index < endpoints.len());
        }
        let first = plan.group_at(mix(!key.unwrap_or(ask.random)));
        let picked = self.pick_of(plan, first, endpoints, ask).or_else(|| {
            let others = (0..plan.groups.len()).filter(|group| *group != first);
            others.into_iter().find_map(|group| self.pick_of(plan, group, endpoints, ask))
        });
        // Endpoints of another snapshot would be the caller's mistake; it costs an attempt and no panic.
        picked.filter(|index| *index < endpoints.len())
    }

    #[inline]
    fn pick_of(&mut self, plan: &Plan, at: usize, endpoints: &[Endpoint], ask: &Ask<'_>) -> Option<usize> {
        let group: &Group = plan.groups.get(at)?;
        match plan.policy.balance {
            Balance::RoundRobin => self.rounds.get_mut(at)?.pick(plan, group, ask.tried, ask.random),
            Balance::LeastRequest => least_request::pick(plan, group, endpoints, ask.tried, ask.random),
            Balance::Random => random::pick(plan, group, ask.tried, ask.random),
            Balance::PeakEwma | Balance::LeastTime => {
                latency::pick(plan, group, endpoints, (ask.tried, ask.random), ask.now)
            }
            Balance::Maglev | Balance::RingHash | Balance::Rendezvous => match ask.affinity.key {
                Some(key) => consistent::pick(plan, group, endpoints, (ask.tried, key), ask.in_flight),
                None => random::pick(plan, group, ask.tried, ask.random),
            },
        }
    }

    /// Another plan is in force.
    #[cold]
    fn follow(&mut self, plan: &Plan, random: u64) {
        self.epoch = plan.epoch;
        if plan.policy.balance == Balance::RoundRobin {
            self.rounds.resize_with(plan.groups.len(), RoundRobin::default);
            for (round, group) in self.rounds.iter_mut().zip(&plan.groups) {
                round.follow(group, mix(random));
            }
        }
    }
}

fn in_flight(endpoints: &[Endpoint], index: usize) -> u64 {
    endpoints
        .get(index)
        .map_or(u64::from(u32::MAX), |endpoint| u64::from(endpoint.identity.in_flight.load(Ordering::Relaxed)))
}

/// Turns one random number into another, equally good (the output function of SplitMix64, Steele et al. 2014).
fn mix(random: u64) -> u64 {
    let mut bits = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `bound` from the upper half of `random`, without division (Lemire 2019). Off by at most bound / 2³².
fn below(random: u64, bound: u32) -> u32 {
    (((random >> 32) * u64::from(bound)) >> 32) as u32
}

fn is_tried(tried: &[u32], index: usize) -> bool {
    tried.iter().any(|tried| *tried as usize == index)
}
