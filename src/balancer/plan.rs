//! Who can be picked, and in what proportion: one immutable value that is made off the workers from endpoints and their
//! conditions, and read by every pick. Nothing in it changes; [`Planned`](super::Planned) swaps it for another.
//!
//! Endpoints are divided into groups by rank: priority, own zone or another, backup. A pick takes a group by its share of
//! the traffic and an endpoint within it by the balance; where the group has none left that was not tried, the next
//! group in the order of preference is asked.

use super::levels::{self, Capacity, Rank};
use super::weighted::Weighted;
use super::{Fail, Policy, below, is_tried, mix};
use crate::upstream::{Endpoint, EndpointState, Standing, WHOLE_SHARE};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Draws that may hit an endpoint to be left out before the remaining ones are walked.
const DRAWS_MAX: u64 = 8;

/// See the module.
#[derive(Debug)]
pub struct Plan {
    pub(super) policy: Arc<Policy>,
    /// Goes up with each plan of one upstream; the first is 1.
    pub(super) epoch: u64,
    /// By endpoint: the conditions that it was made from.
    standings: Box<[Standing]>,
    /// By endpoint: its weight times its share, in thousandths; 0 where it is not picked.
    weights: Box<[u32]>,
    /// In the order of preference. The same endpoints make the same groups whatever their conditions.
    pub(super) groups: Box<[Group]>,
    fails_open: bool,
}

/// Endpoints of one rank.
#[derive(Debug)]
pub(super) struct Group {
    /// Where its share of the traffic ends, of 2³²: it begins where that of the group before it ends.
    until: u64,
    /// Indexes of those endpoints that can be picked, in their order.
    pub members: Box<[u32]>,
    /// Draws a place in `members`.
    pub draw: Weighted,
}

impl Plan {
    /// The first plan of an upstream.
    pub fn new(policy: Arc<Policy>, endpoints: &[Endpoint]) -> Plan {
        Plan::of(policy, endpoints, standings(endpoints), 1)
    }

    /// The plan that follows this one, if the conditions are others now.
    pub(super) fn next(&self, endpoints: &[Endpoint]) -> Option<Plan> {
        let standings = standings(endpoints);
        let changed = *standings != *self.standings;
        changed.then(|| Plan::of(self.policy.clone(), endpoints, standings, self.epoch + 1))
    }

    fn of(policy: Arc<Policy>, endpoints: &[Endpoint], standings: Box<[Standing]>, epoch: u64) -> Plan {
        let wholes: Vec<u32> = endpoints.iter().zip(&standings).map(|(of, standing)| whole(of, standing)).collect();
        let mut weights: Box<[u32]> = wholes.iter().zip(&standings).map(|(whole, of)| effective(*whole, of)).collect();
        let fails_open = policy.fail == Fail::Open && weights.iter().all(|weight| *weight == 0);
        if fails_open {
            weights = wholes.iter().zip(&standings).map(|(whole, of)| last_resort(*whole, of)).collect();
        }
        let groups = groups(&policy, endpoints, &wholes, &weights);
        Plan { policy, epoch, standings, weights, groups, fails_open }
    }

    /// The weight of an endpoint while this plan is in force, in thousandths of a configured one; 0: it is not picked.
    pub fn weight(&self, index: usize) -> u32 {
        self.weights.get(index).copied().unwrap_or(0)
    }

    /// Endpoints that can be picked.
    pub fn available(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }

    /// Whether none of the endpoints serves, and all that are not taken out on purpose are tried.
    pub fn fails_open(&self) -> bool {
        self.fails_open
    }

    /// The group that a request belongs to; `point` decides by the groups' shares.
    pub(super) fn group_at(&self, point: u64) -> usize {
        let point = point >> 32;
        self.groups.iter().position(|group| point < group.until).unwrap_or(0)
    }
}

fn standings(endpoints: &[Endpoint]) -> Box<[Standing]> {
    endpoints.iter().map(|endpoint| endpoint.identity.condition.load()).collect()
}

/// What an endpoint weighs when it takes all that it can, in thousandths.
fn whole(endpoint: &Endpoint, standing: &Standing) -> u32 {
    standing.weight.map_or(endpoint.weight, u32::from).saturating_mul(u32::from(WHOLE_SHARE))
}

fn effective(whole: u32, standing: &Standing) -> u32 {
    match standing.state {
        EndpointState::Serving => {
            (u64::from(whole) * u64::from(standing.share.min(WHOLE_SHARE)) / u64::from(WHOLE_SHARE)) as u32
        }
        EndpointState::Ejected | EndpointState::Draining | EndpointState::Down => 0,
    }
}

/// Where none serves: whoever is out by a verdict is tried, whoever is out by an operator's word is not. A disabled
/// endpoint is one that is down and has the weight 0.
fn last_resort(whole: u32, standing: &Standing) -> u32 {
    if standing.state == EndpointState::Draining { 0 } else { whole }
}

fn groups(policy: &Policy, endpoints: &[Endpoint], wholes: &[u32], weights: &[u32]) -> Box<[Group]> {
    let mut ranks: BTreeMap<Rank, Vec<u32>> = BTreeMap::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let place = &endpoint.placement;
        let remote = policy.zone.is_some() && place.zone != policy.zone;
        let rank = Rank { backup: place.backup, priority: place.priority, remote };
        ranks.entry(rank).or_default().push(index as u32);
    }
    let sum = |of: &[u32], indexes: &[u32]| indexes.iter().map(|index| u64::from(of[*index as usize])).sum();
    let capacities: Vec<Capacity> = ranks
        .iter()
        .map(|(rank, all)| Capacity { rank: *rank, whole: sum(wholes, all), available: sum(weights, all) })
        .collect();
    let shares = levels::shares(&capacities, policy.overprovisioning);
    let mut until = 0;
    let groups = ranks.into_values().zip(shares).map(|(all, share)| {
        until += share;
        let members: Box<[u32]> = all.into_iter().filter(|index| weights[*index as usize] > 0).collect();
        let of_members: Vec<u32> = members.iter().map(|index| weights[*index as usize]).collect();
        Group { until, draw: Weighted::new(&of_members), members }
    });
    groups.collect()
}

impl Group {
    #[inline]
    fn at(&self, place: usize) -> Option<usize> {
        self.members.get(place).map(|index| *index as usize)
    }

    /// An endpoint that was not tried, in proportion to the weights of those left; `None` where none is left.
    #[inline]
    pub fn draw_except(&self, plan: &Plan, tried: &[u32], random: u64) -> Option<usize> {
        if tried.is_empty() {
            return self.at(self.draw.draw(random)?);
        }
        let draws = (0..DRAWS_MAX).filter_map(|at| self.at(self.draw.draw(mix(random.wrapping_add(at)))?));
        let mut left = draws.filter(|index| !is_tried(tried, *index));
        left.next().or_else(|| self.walk_except(plan, tried, mix(!random)))
    }

    /// The same by walking all: those that were tried have nearly all the weight, or are nearly all.
    fn walk_except(&self, plan: &Plan, tried: &[u32], random: u64) -> Option<usize> {
        let left = || self.members.iter().map(|index| *index as usize).filter(|index| !is_tried(tried, *index));
        let total: u64 = left().map(|index| u64::from(plan.weight(index))).sum();
        let mut rest = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        left().find(|index| {
            let weight = u64::from(plan.weight(*index));
            let here = rest < weight;
            rest = rest.saturating_sub(weight);
            here
        })
    }

    /// Another endpoint than `first`: drawn by weight, or the next one at hand where the draw falls on `first` again.
    #[inline]
    pub fn draw_other(&self, first: usize, tried: &[u32], random: u64) -> Option<usize> {
        let is_other = |index: &usize| *index != first && !is_tried(tried, *index);
        let drawn = self.draw.draw(random).and_then(|place| self.at(place)).filter(is_other);
        drawn.or_else(|| {
            let count = self.members.len();
            let from = below(mix(random), u32::try_from(count).unwrap_or(u32::MAX)) as usize;
            (from..from + tried.len() + 2).filter_map(|place| self.at(place % count.max(1))).find(is_other)
        })
    }
}
