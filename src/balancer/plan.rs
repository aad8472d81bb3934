//! Who can be picked, and in what proportion: one immutable value that is made off the workers from endpoints and their
//! conditions, and read by every pick. Nothing in it changes; [`Planned`](super::Planned) swaps it for another.
//!
//! Endpoints are divided into groups by rank: priority, own zone or another, backup. A pick takes a group by its share of
//! the traffic and an endpoint within it by the balance; where the group has none left that was not tried, the next
//! group in the order of preference is asked.

use super::consistent::Table;
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
    /// By endpoint, for balances by key: the hash of its address.
    hashes: Arc<[u64]>,
    /// By endpoint, for balances by a table: the thousandths of its keys that it takes, against the one that takes most.
    admitted: Box<[u16]>,
    /// In the order of preference. The same endpoints make the same groups whatever their conditions.
    pub(super) groups: Box<[Group]>,
    fails_open: bool,
}

/// Endpoints of one rank.
#[derive(Debug)]
pub(super) struct Group {
    /// Where its share of the traffic ends, of 2³²: it begins where that of the group before it ends.
    until: u64,
    /// The share itself.
    pub share: u64,
    /// The sum of its members' weights, and the mean.
    pub weight: u64,
    pub mean_weight: f32,
    /// Indexes of those endpoints that can be picked, in their order.
    pub members: Box<[u32]>,
    /// Draws a place in `members`.
    pub draw: Weighted,
    /// For balances by a table: where keys are looked up.
    pub table: Option<Arc<Table>>,
}

impl Plan {
    /// The first plan of an upstream.
    pub fn new(policy: Arc<Policy>, endpoints: &[Endpoint]) -> Plan {
        Plan::of(policy, endpoints, standings(endpoints), None)
    }

    /// The plan that follows this one, if the conditions are others now.
    pub(super) fn next(&self, endpoints: &[Endpoint]) -> Option<Plan> {
        let standings = standings(endpoints);
        let changed = *standings != *self.standings;
        changed.then(|| Plan::of(self.policy.clone(), endpoints, standings, Some(self)))
    }

    fn of(policy: Arc<Policy>, endpoints: &[Endpoint], standings: Box<[Standing]>, before: Option<&Plan>) -> Plan {
        let of_endpoint = endpoints.iter().zip(&standings);
        let wholes: Vec<u32> = of_endpoint.map(|(endpoint, standing)| whole(&policy, endpoint, standing)).collect();
        let mut weights: Box<[u32]> = wholes.iter().zip(&standings).map(|(whole, of)| effective(*whole, of)).collect();
        let fails_open = policy.fail == Fail::Open && weights.iter().all(|weight| *weight == 0);
        if fails_open {
            weights = wholes.iter().zip(&standings).map(|(whole, of)| last_resort(*whole, of)).collect();
        }
        let hashes = match before {
            Some(before) => before.hashes.clone(),
            None if policy.balance.is_keyed() => policy.hash_seed.endpoints(endpoints).into(),
            None => Arc::default(),
        };
        let same_weight = |(a, b): (&Standing, &Standing)| a.weight == b.weight;
        let tables = before.filter(|before| before.standings.iter().zip(&standings).all(same_weight));
        let admitted = if fails_open { Box::default() } else { admitted(&policy, &wholes, &weights) };
        let mut plan = Plan {
            epoch: before.map_or(1, |before| before.epoch + 1),
            groups: Box::default(),
            policy,
            standings,
            weights,
            hashes,
            admitted,
            fails_open,
        };
        plan.groups = plan.make_groups(endpoints, &wholes, tables);
        plan
    }

    /// `before` has tables that hold still.
    fn make_groups(&self, endpoints: &[Endpoint], wholes: &[u32], before: Option<&Plan>) -> Box<[Group]> {
        let mut ranks: BTreeMap<Rank, Vec<u32>> = BTreeMap::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            ranks.entry(rank(&self.policy, endpoint)).or_default().push(index as u32);
        }
        let sum = |of: &[u32], indexes: &[u32]| indexes.iter().map(|index| u64::from(of[*index as usize])).sum();
        let capacity = |(rank, all): (&Rank, &Vec<u32>)| Capacity {
            rank: *rank,
            whole: sum(wholes, all),
            available: sum(&self.weights, all),
        };
        let capacities: Vec<Capacity> = ranks.iter().map(capacity).collect();
        let shares = levels::shares(&capacities, self.policy.overprovisioning);
        let mut until = 0;
        let groups = ranks.into_values().zip(shares).enumerate().map(|(at, (all, share))| {
            until += share;
            let table = match before.and_then(|before| before.groups.get(at)) {
                Some(group) => group.table.clone(),
                None => self.table(&all, wholes),
            };
            let members = all.into_iter().filter(|index| self.weight(*index as usize) > 0).collect();
            self.group(members, (share, until), table)
        });
        groups.collect()
    }

    fn group(&self, members: Box<[u32]>, (share, until): (u64, u64), table: Option<Arc<Table>>) -> Group {
        let weights: Vec<u32> = members.iter().map(|index| self.weight(*index as usize)).collect();
        let weight = weights.iter().map(|weight| u64::from(*weight)).sum();
        Group {
            until,
            share,
            weight,
            mean_weight: weight as f32 / members.len().max(1) as f32,
            draw: Weighted::new(&weights),
            members,
            table,
        }
    }

    fn table(&self, all: &[u32], wholes: &[u32]) -> Option<Arc<Table>> {
        let of =
            |index: &u32| (*index, self.hash_of(*index as usize), wholes.get(*index as usize).copied().unwrap_or(0));
        Table::new(self.policy.balance, all.iter().map(of).filter(|(_, _, weight)| *weight > 0)).map(Arc::new)
    }

    /// The weight of an endpoint while this plan is in force, in thousandths of a configured one; 0: it is not picked.
    #[inline]
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

    /// The hash of an endpoint's address, for balances by key.
    #[inline]
    pub(super) fn hash_of(&self, index: usize) -> u64 {
        self.hashes.get(index).copied().unwrap_or(0)
    }

    /// Whether a key that falls on an endpoint stays there while the endpoint takes a part of its keys.
    #[inline]
    pub(super) fn admits(&self, index: usize, key: u64) -> bool {
        match self.admitted.get(index) {
            None | Some(&WHOLE_SHARE) => true,
            Some(part) => mix(key ^ self.hash_of(index)) % u64::from(WHOLE_SHARE) < u64::from(*part),
        }
    }

    /// The group that a request belongs to; `point` decides by the groups' shares.
    #[inline]
    pub(super) fn group_at(&self, point: u64) -> usize {
        let point = point >> 32;
        self.groups.iter().position(|group| point < group.until).unwrap_or(0)
    }
}

fn standings(endpoints: &[Endpoint]) -> Box<[Standing]> {
    endpoints.iter().map(|endpoint| endpoint.identity.condition.load()).collect()
}

fn rank(policy: &Policy, endpoint: &Endpoint) -> Rank {
    let place = &endpoint.placement;
    Rank { backup: place.backup, priority: place.priority, remote: policy.zone.is_some() && place.zone != policy.zone }
}

/// What an endpoint weighs when it takes all that it can, in thousandths; 0 where it lacks the labels that are asked for.
fn whole(policy: &Policy, endpoint: &Endpoint, standing: &Standing) -> u32 {
    if !endpoint.placement.has(&policy.labels) {
        return 0;
    }
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

/// Tables are made of whole weights; what of its keys an endpoint takes is its share, against the largest share there is.
fn admitted(policy: &Policy, wholes: &[u32], weights: &[u32]) -> Box<[u16]> {
    if !policy.balance.has_table() {
        return Box::default();
    }
    let share = |(whole, weight): (&u32, &u32)| {
        (u64::from(*weight) * u64::from(WHOLE_SHARE)).checked_div(u64::from(*whole)).unwrap_or(0)
    };
    let most = wholes.iter().zip(weights).map(share).max().unwrap_or(0).max(1);
    let part = |both| (share(both) * u64::from(WHOLE_SHARE)).div_ceil(most) as u16;
    wholes.iter().zip(weights).map(part).collect()
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
