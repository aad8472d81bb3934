//! What every algorithm promises: weights are respected, nothing tried is picked while another is left, nothing panics.

mod keyed;
mod sticky;
mod timed;

use super::*;
use crate::base::Instant;
use crate::upstream::{EndpointIdentity, EndpointState, Placement, Standing};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ALL: [Balance; 8] = Balance::ALL;

fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let endpoint = |(index, weight): (usize, &u32)| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, index as u16)).into();
        let identity = Arc::new(EndpointIdentity::new(index as u32, "u", address, 1));
        Endpoint { identity, weight: *weight, placement: Placement::default() }
    };
    weights.iter().enumerate().map(endpoint).collect()
}

/// What one worker picks by.
struct Worker {
    endpoints: Vec<Endpoint>,
    planned: Planned,
    picker: Picker,
}

impl Worker {
    fn new(policy: Policy, endpoints: &[Endpoint]) -> Worker {
        let planned = Planned::new(Arc::new(policy), endpoints);
        Worker { planned, endpoints: endpoints.to_vec(), picker: Picker::default() }
    }

    fn of(balance: Balance, endpoints: &[Endpoint]) -> Worker {
        Worker::new(Policy::new(balance), endpoints)
    }

    fn pick(&mut self, tried: &[u32], random: u64) -> Option<usize> {
        let ask = self.ask(tried, random);
        self.picker.pick(&self.planned.load(), &self.endpoints, &ask)
    }
}

impl Worker {
    fn ask<'a>(&self, tried: &'a [u32], random: u64) -> Ask<'a> {
        let affinity = Affinity { key: Some(mix(random ^ 1)), kept: None };
        let in_flight = |endpoint: &Endpoint| u64::from(endpoint.identity.in_flight.load(Ordering::Relaxed));
        let in_flight = self.endpoints.iter().map(in_flight).sum();
        Ask { tried, random, now: Instant(1_000_000_000), affinity, in_flight }
    }
}

fn set(endpoint: &Endpoint, state: EndpointState, share: u16) {
    endpoint.identity.condition.store(Standing { state, share, weight: None });
}

/// How often each endpoint is picked in `picks` picks with nothing in flight.
fn shares(balance: Balance, weights: &[u32], picks: usize, seed: u64) -> Vec<usize> {
    counts(&mut Worker::of(balance, &endpoints(weights)), picks, seed)
}

fn counts(worker: &mut Worker, picks: usize, seed: u64) -> Vec<usize> {
    let mut counts = vec![0; worker.endpoints.len()];
    for at in 0..picks {
        counts[worker.pick(&[], mix(seed.wrapping_add(at as u64 * 7919))).unwrap()] += 1;
    }
    counts
}

#[test]
fn no_endpoint_is_no_pick() {
    for balance in ALL {
        assert_eq!(Worker::of(balance, &[]).pick(&[], 2), None);
        assert_eq!(Worker::of(balance, &[]).pick(&[0, 7], 2), None);
    }
}

#[test]
fn round_robin_takes_equal_endpoints_in_turn() {
    let mut worker = Worker::of(Balance::RoundRobin, &endpoints(&[1; 5]));
    let first = worker.pick(&[], 0).unwrap();
    for turn in 1..20 {
        assert_eq!(worker.pick(&[], 0), Some((first + turn) % 5));
    }
}

#[test]
fn round_robin_spreads_a_heavy_endpoint_evenly() {
    let endpoints = endpoints(&[5, 1, 1]);
    for seed in 0..50 {
        let mut worker = Worker::of(Balance::RoundRobin, &endpoints);
        let picks: Vec<usize> = (0..70).map(|_| worker.pick(&[], seed).unwrap()).collect();
        for window in picks.windows(4) {
            assert!(window.contains(&0), "seed {seed}: {picks:?}");
        }
    }
}

#[test]
fn round_robin_starts_differ() {
    let endpoints = endpoints(&[1; 16]);
    let starts: std::collections::HashSet<_> =
        (0..64).map(|seed| Worker::of(Balance::RoundRobin, &endpoints).pick(&[], mix(seed))).collect();
    assert!(starts.len() > 8);
}

#[test]
fn round_robin_takes_a_new_plan_in_its_stride() {
    let endpoints = endpoints(&[1, 2, 3, 4]);
    let mut worker = Worker::of(Balance::RoundRobin, &endpoints);
    counts(&mut worker, 101, 1);
    set(&endpoints[3], EndpointState::Ejected, 1000);
    assert!(worker.planned.replan(&endpoints));
    assert_eq!(counts(&mut worker, 600, 2), [100, 200, 300, 0].map(|count: usize| count), "ejected");
    set(&endpoints[3], EndpointState::Serving, 500);
    assert!(worker.planned.replan(&endpoints));
    let back = counts(&mut worker, 800, 3);
    for (count, expected) in back.iter().zip([100usize, 200, 300, 200]) {
        assert!(count.abs_diff(expected) <= 2, "{back:?}");
    }
}

#[test]
fn least_request_avoids_the_busy_one() {
    let endpoints = endpoints(&[1, 1]);
    endpoints[0].identity.in_flight.store(3, Ordering::Relaxed);
    let mut worker = Worker::of(Balance::LeastRequest, &endpoints);
    for random in 0..1000 {
        assert_eq!(worker.pick(&[], mix(random)), Some(1));
    }
}

#[test]
fn least_request_levels_load_by_weight() {
    let endpoints = endpoints(&[10, 20, 30, 40]);
    let mut worker = Worker::of(Balance::LeastRequest, &endpoints);
    for random in 0..1000 {
        let index = worker.pick(&[], mix(random)).unwrap();
        endpoints[index].identity.in_flight.fetch_add(1, Ordering::Relaxed);
    }
    for endpoint in &endpoints {
        let in_flight = endpoint.identity.in_flight.load(Ordering::Relaxed);
        assert!(in_flight.abs_diff(endpoint.weight * 10) <= 5, "{} for {in_flight}", endpoint.weight);
    }
}

#[test]
fn a_huge_weight_beside_a_small_one() {
    // A ring gives each endpoint a point.
    for balance in ALL.into_iter().filter(|balance| *balance != Balance::RingHash) {
        let counts = shares(balance, &[u32::MAX, 1, u32::MAX], 10_000, 5);
        assert!(counts[1] <= 1, "{balance:?} {counts:?}");
        assert!(counts[0].abs_diff(counts[2]) < 500, "{balance:?} {counts:?}");
    }
}

#[test]
fn where_none_serves_the_policy_decides() {
    let endpoints = endpoints(&[1; 4]);
    let states = [EndpointState::Ejected, EndpointState::Down, EndpointState::Draining, EndpointState::Down];
    for (endpoint, state) in endpoints.iter().zip(states) {
        set(endpoint, state, 0);
    }
    let disabled = Standing { state: EndpointState::Down, share: 0, weight: Some(0) };
    endpoints[3].identity.condition.store(disabled);
    for balance in ALL {
        let counts = counts(&mut Worker::of(balance, &endpoints), 1000, 9);
        assert!(counts[0] > 300 && counts[1] > 300 && counts[2..] == [0, 0], "{balance:?} {counts:?}");
        let closed = Policy { fail: Fail::Closed, ..Policy::new(balance) };
        assert_eq!(Worker::new(closed, &endpoints).pick(&[], 1), None);
    }
}

#[test]
fn an_operators_weight_counts_in_place_of_the_configured_one() {
    let endpoints = endpoints(&[1, 1, 1]);
    let weight = |weight| Standing { weight: Some(weight), ..Standing::default() };
    endpoints[0].identity.condition.store(weight(3));
    endpoints[1].identity.condition.store(weight(0));
    for balance in ALL {
        let counts = counts(&mut Worker::of(balance, &endpoints), 4000, 3);
        assert!(counts[0].abs_diff(3000) < 200 && counts[1] == 0, "{balance:?} {counts:?}");
    }
}

#[test]
fn backups_and_lower_priorities_wait_until_they_are_needed() {
    let mut endpoints = endpoints(&[1; 4]);
    endpoints[2].placement.priority = 1;
    endpoints[3].placement.backup = true;
    for balance in ALL {
        endpoints.iter().for_each(|endpoint| set(endpoint, EndpointState::Serving, 1000));
        let mut worker = Worker::of(balance, &endpoints);
        let mut counts_with = |out: &[usize]| {
            out.iter().for_each(|index| set(&endpoints[*index], EndpointState::Down, 0));
            worker.planned.replan(&endpoints);
            counts(&mut worker, 1000, 4)
        };
        assert_eq!(counts_with(&[])[2..], [0, 0]);
        let half = counts_with(&[0]);
        assert!(half[1].abs_diff(700) < 80 && half[2].abs_diff(300) < 80 && half[3] == 0, "{half:?}");
        assert_eq!(counts_with(&[0, 1]), [0, 0, 1000, 0]);
        assert_eq!(counts_with(&[0, 1, 2]), [0, 0, 0, 1000]);
        // A request that has tried what is in use is better served by a backup than not at all.
        set(&endpoints[0], EndpointState::Serving, 1000);
        worker.planned.replan(&endpoints);
        assert_eq!(worker.pick(&[0], 5), Some(3));
        assert_eq!(worker.pick(&[0, 3], 5), None);
    }
}

#[test]
fn the_own_zone_is_preferred() {
    let mut endpoints = endpoints(&[1; 4]);
    let zone = |name: &str| Some(Arc::from(name));
    for (endpoint, name) in endpoints.iter_mut().zip(["a", "a", "b", "c"]) {
        endpoint.placement.zone = zone(name);
    }
    for balance in ALL {
        endpoints.iter().for_each(|endpoint| set(endpoint, EndpointState::Serving, 1000));
        let mut worker = Worker::new(Policy { zone: zone("a"), ..Policy::new(balance) }, &endpoints);
        assert_eq!(counts(&mut worker, 1000, 4)[2..], [0, 0]);
        set(&endpoints[0], EndpointState::Ejected, 0);
        worker.planned.replan(&endpoints);
        let spilt = counts(&mut worker, 1000, 4);
        assert!(spilt[1].abs_diff(700) < 80 && spilt[2].abs_diff(150) < 60, "{spilt:?}");
        // A zone that no endpoint is in changes nothing.
        let mut worker = Worker::new(Policy { zone: zone("d"), ..Policy::new(balance) }, &endpoints);
        assert!(counts(&mut worker, 900, 4)[1..].iter().all(|count| count.abs_diff(300) < 80));
    }
}

#[test]
fn replanning_changes_nothing_unless_a_condition_has() {
    let endpoints = endpoints(&[1; 3]);
    let planned = Planned::new(Arc::new(Policy::new(Balance::Random)), &endpoints);
    let first = planned.load();
    assert!(!planned.replan(&endpoints) && planned.is_current(&first));
    set(&endpoints[0], EndpointState::Down, 0);
    assert!(planned.replan(&endpoints) && !planned.is_current(&first));
    assert_eq!(planned.load().available(), 2);
}

#[test]
fn with_as_many_choices_as_endpoints_the_least_loaded_is_taken() {
    let endpoints = endpoints(&[1; 50]);
    for (index, endpoint) in endpoints.iter().enumerate() {
        endpoint.identity.in_flight.store(if index == 31 { 4 } else { 5 }, Ordering::Relaxed);
    }
    let mut worker = Worker::new(Policy { choices: 50, ..Policy::new(Balance::LeastRequest) }, &endpoints);
    assert_eq!(counts(&mut worker, 100, 1)[31], 100);
    assert_ne!(worker.pick(&[31], 1), Some(31));
    // With fewer it is found as often as it is drawn.
    let mut worker = Worker::new(Policy { choices: 10, ..Policy::new(Balance::LeastRequest) }, &endpoints);
    assert!(counts(&mut worker, 1000, 1)[31].abs_diff(183) < 60);
}

/// Weight, load, priority, part as a backup, zone.
type Placed = (u32, u32, u8, bool, u8);
/// State, share, an operator's weight.
type Stands = (usize, u16, Option<u16>);
/// Conditions of all, and what is asked for while they hold.
type Round = (Vec<Stands>, Vec<(Vec<u32>, u64)>);

fn placed() -> impl Strategy<Value = Vec<Placed>> {
    let weight = prop_oneof![1u32..5, Just(65_535), Just(u32::MAX), Just(0)];
    prop::collection::vec((weight, any::<u32>(), 0u8..3, any::<bool>(), 0u8..3), 0..20)
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let share = prop_oneof![Just(1000u16), 0u16..1000];
    let weight = prop_oneof![4 => Just(None), 1 => (0u16..9).prop_map(Some)];
    let conditions = prop::collection::vec((0usize..4, share, weight), 20);
    let picks = prop::collection::vec((prop::collection::vec(0u32..25, 0..20), any::<u64>()), 1..12);
    prop::collection::vec((conditions, picks), 1..6)
}

/// Conditions change under a worker's hands; whatever it picks then is the best that is left.
fn picks_the_best(balances: &[Balance], all: &[Placed], rounds: &[Round], fail: Fail) -> Result<(), TestCaseError> {
    let mut endpoints = endpoints(&all.iter().map(|(weight, ..)| *weight).collect::<Vec<_>>());
    for (endpoint, (_, load, priority, backup, zone)) in endpoints.iter_mut().zip(all) {
        endpoint.identity.in_flight.store(*load, Ordering::Relaxed);
        let zone = Some(Arc::from(zone.to_string()));
        endpoint.placement = Placement { priority: *priority, backup: *backup, zone, ..Placement::default() };
    }
    for balance in balances {
        let hash_load_max = (fail == Fail::Open).then_some(1250);
        let policy = Policy { fail, zone: Some(Arc::from("1")), hash_load_max, ..Policy::new(*balance) };
        let mut worker = Worker::new(policy, &endpoints);
        for (standings, picks) in rounds {
            for (endpoint, (state, share, weight)) in endpoints.iter().zip(standings) {
                let standing = Standing { state: EndpointState::ALL[*state], share: *share, weight: *weight };
                endpoint.identity.condition.store(standing);
            }
            worker.planned.replan(&endpoints);
            for (tried, random) in picks {
                let found = worker.pick(tried, *random);
                prop_assert!(is_best(&endpoints, fail, tried, found), "{:?} {:?}", balance, found);
            }
        }
    }
    Ok(())
}

proptest! {
    // A table takes its time.
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn nothing_tried_and_nothing_out_of_service_is_picked_from_a_table(
        all in placed(), rounds in rounds(), closed: bool,
    ) {
        let fail = if closed { Fail::Closed } else { Fail::Open };
        picks_the_best(&[Balance::Maglev], &all, &rounds, fail)?;
    }
}

proptest! {
    #[test]
    fn nothing_tried_and_nothing_out_of_service_is_picked(all in placed(), rounds in rounds(), closed: bool) {
        let fail = if closed { Fail::Closed } else { Fail::Open };
        let balances: Vec<_> = ALL.into_iter().filter(|balance| *balance != Balance::Maglev).collect();
        picks_the_best(&balances, &all, &rounds, fail)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn weights_are_respected(weights in prop::collection::vec(1u32..50, 1..12), seed: u64) {
        let total: u32 = weights.iter().sum();
        let picks = 20_000;
        for balance in ALL {
            let counts = shares(balance, &weights, picks, seed);
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = picks as f64 * f64::from(*weight) / f64::from(total);
                // Round robin gives or takes two; chance, six standard deviations; a ring what its points make.
                let chance = 6.0 * expected.sqrt().max(1.0);
                let points = 160.0 * weights.len() as f64 * f64::from(*weight) / f64::from(total);
                let tolerance = match balance {
                    Balance::RoundRobin => 2.0,
                    Balance::RingHash => chance + 6.0 * expected / points.sqrt() + 20_000.0 / 160.0,
                    _ => chance,
                };
                prop_assert!((*count as f64 - expected).abs() <= tolerance, "{balance:?} {weights:?} {counts:?}");
            }
        }
    }

    #[test]
    fn a_retry_costs_round_robin_no_turn(weights in prop::collection::vec(1u32..9, 2..8), seed: u64) {
        // The endpoint that was tried keeps its place: the pick after the retry is what it would have been.
        let mut worker = Worker::of(Balance::RoundRobin, &endpoints(&weights));
        let mut counts = vec![0u32; weights.len()];
        let rounds = 100;
        for at in 0..u64::from(rounds * weights.iter().sum::<u32>()) {
            let index = worker.pick(&[], mix(seed ^ at)).unwrap();
            counts[index] += 1;
            prop_assert_eq!(worker.pick(&(0..weights.len() as u32).collect::<Vec<_>>(), 0), None);
        }
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert!(count.abs_diff(weight * rounds) <= 2);
        }
    }
}

/// Whether `found` serves and was not tried; or, where none serves, is what the policy allows.
fn is_best(endpoints: &[Endpoint], fail: Fail, tried: &[u32], found: Option<usize>) -> bool {
    let standing = |endpoint: &Endpoint| endpoint.identity.condition.load();
    let weight = |endpoint: &Endpoint| standing(endpoint).weight.map_or(endpoint.weight, u32::from);
    let serves = |endpoint: &Endpoint| {
        let Standing { state, share, .. } = standing(endpoint);
        let thousandths = u64::from(weight(endpoint).saturating_mul(1000)) * u64::from(share) / 1000;
        state == EndpointState::Serving && thousandths > 0
    };
    let last_resort = |endpoint: &Endpoint| standing(endpoint).state != EndpointState::Draining && weight(endpoint) > 0;
    let none_serves = !endpoints.iter().any(serves);
    let candidate = |endpoint: &Endpoint| match (none_serves, fail) {
        (false, _) => serves(endpoint),
        (true, Fail::Open) => last_resort(endpoint),
        (true, Fail::Closed) => false,
    };
    let left = |index: usize| candidate(&endpoints[index]) && !is_tried(tried, index);
    match found {
        Some(index) => left(index),
        None => !(0..endpoints.len()).any(left),
    }
}
