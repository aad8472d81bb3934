//! What every algorithm promises: weights are respected, nothing tried is picked while another is left, nothing panics.

use super::*;
use crate::upstream::EndpointIdentity;
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ALL: [Balance; 3] = [Balance::RoundRobin, Balance::LeastRequest, Balance::Random];

fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let endpoint = |(index, weight): (usize, &u32)| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, index as u16)).into();
        Endpoint { identity: Arc::new(EndpointIdentity::new(index as u32, "u", address, 1)), weight: *weight }
    };
    weights.iter().enumerate().map(endpoint).collect()
}

/// How often each endpoint is picked in `picks` picks with nothing in flight.
fn shares(balance: Balance, weights: &[u32], picks: usize, seed: u64) -> Vec<usize> {
    let endpoints = endpoints(weights);
    let mut picker = Picker::new(balance, &endpoints, seed);
    let mut counts = vec![0; weights.len()];
    for at in 0..picks {
        counts[picker.pick(&endpoints, &[], mix(seed.wrapping_add(at as u64 * 7919))).unwrap()] += 1;
    }
    counts
}

#[test]
fn no_endpoint_is_no_pick() {
    for balance in ALL {
        assert_eq!(Picker::new(balance, &[], 1).pick(&[], &[], 2), None);
        assert_eq!(Picker::new(balance, &[], 1).pick(&[], &[0, 7], 2), None);
    }
}

#[test]
fn round_robin_takes_equal_endpoints_in_turn() {
    let endpoints = endpoints(&[1; 5]);
    let mut picker = Picker::new(Balance::RoundRobin, &endpoints, 3);
    let first = picker.pick(&endpoints, &[], 0).unwrap();
    for turn in 1..20 {
        assert_eq!(picker.pick(&endpoints, &[], 0), Some((first + turn) % 5));
    }
}

#[test]
fn round_robin_spreads_a_heavy_endpoint_evenly() {
    let endpoints = endpoints(&[5, 1, 1]);
    for seed in 0..50 {
        let mut picker = Picker::new(Balance::RoundRobin, &endpoints, seed);
        let picks: Vec<usize> = (0..70).map(|_| picker.pick(&endpoints, &[], 0).unwrap()).collect();
        for window in picks.windows(4) {
            assert!(window.contains(&0), "seed {seed}: {picks:?}");
        }
    }
}

#[test]
fn round_robin_starts_differ() {
    let endpoints = endpoints(&[1; 16]);
    let starts: std::collections::HashSet<_> =
        (0..64).map(|seed| Picker::new(Balance::RoundRobin, &endpoints, seed).pick(&endpoints, &[], 0)).collect();
    assert!(starts.len() > 8);
}

#[test]
fn least_request_avoids_the_busy_one() {
    let endpoints = endpoints(&[1, 1]);
    endpoints[0].identity.in_flight.store(3, Ordering::Relaxed);
    let mut picker = Picker::new(Balance::LeastRequest, &endpoints, 0);
    for random in 0..1000 {
        assert_eq!(picker.pick(&endpoints, &[], mix(random)), Some(1));
    }
}

#[test]
fn least_request_levels_load_by_weight() {
    let endpoints = endpoints(&[10, 20, 30, 40]);
    let mut picker = Picker::new(Balance::LeastRequest, &endpoints, 0);
    for random in 0..1000 {
        let index = picker.pick(&endpoints, &[], mix(random)).unwrap();
        endpoints[index].identity.in_flight.fetch_add(1, Ordering::Relaxed);
    }
    for endpoint in &endpoints {
        let in_flight = endpoint.identity.in_flight.load(Ordering::Relaxed);
        assert!(in_flight.abs_diff(endpoint.weight * 10) <= 5, "{} for {in_flight}", endpoint.weight);
    }
}

#[test]
fn a_huge_weight_beside_a_small_one() {
    for balance in ALL {
        let counts = shares(balance, &[u32::MAX, 1, u32::MAX], 10_000, 5);
        assert!(counts[1] <= 1, "{balance:?} {counts:?}");
        assert!(counts[0].abs_diff(counts[2]) < 500, "{balance:?} {counts:?}");
    }
}

proptest! {
    #[test]
    fn weights_are_respected(weights in prop::collection::vec(1u32..50, 1..12), seed: u64) {
        let total: u32 = weights.iter().sum();
        let picks = 20_000;
        for balance in ALL {
            let counts = shares(balance, &weights, picks, seed);
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = picks as f64 * f64::from(*weight) / f64::from(total);
                // Round robin gives or takes two; chance, six standard deviations.
                let tolerance = if balance == Balance::RoundRobin { 2.0 } else { 6.0 * expected.sqrt().max(1.0) };
                prop_assert!((*count as f64 - expected).abs() <= tolerance, "{balance:?} {weights:?} {counts:?}");
            }
        }
    }

    #[test]
    fn nothing_tried_is_picked(
        weights in prop::collection::vec(prop_oneof![1u32..5, Just(65_535), Just(u32::MAX), Just(0)], 0..20),
        picks in prop::collection::vec((prop::collection::vec(0u32..25, 0..20), any::<u64>()), 1..50),
        loads in prop::collection::vec(any::<u32>(), 20),
        seed: u64,
    ) {
        let endpoints = endpoints(&weights);
        for (endpoint, load) in endpoints.iter().zip(loads) {
            endpoint.identity.in_flight.store(load, Ordering::Relaxed);
        }
        for balance in ALL {
            let mut picker = Picker::new(balance, &endpoints, seed);
            for (tried, random) in &picks {
                let left = (0..weights.len()).any(|index| !is_tried(tried, index));
                match picker.pick(&endpoints, tried, *random) {
                    Some(index) => prop_assert!(index < weights.len() && !is_tried(tried, index)),
                    None => prop_assert!(!left, "{balance:?} found none"),
                }
            }
        }
    }

    #[test]
    fn a_retry_costs_round_robin_no_turn(weights in prop::collection::vec(1u32..9, 2..8), seed: u64) {
        // The endpoint that was tried keeps its place: the pick after the retry is what it would have been.
        let endpoints = endpoints(&weights);
        let mut picker = Picker::new(Balance::RoundRobin, &endpoints, seed);
        let mut counts = vec![0u32; weights.len()];
        let rounds = 100;
        for _ in 0..rounds * weights.iter().sum::<u32>() {
            let index = picker.pick(&endpoints, &[], 0).unwrap();
            counts[index] += 1;
            prop_assert_ne!(picker.pick(&endpoints, &(0..weights.len() as u32).collect::<Vec<_>>(), 0), Some(index));
        }
        for (count, weight) in counts.iter().zip(&weights) {
            prop_assert!(count.abs_diff(weight * rounds) <= 2);
        }
    }
}
