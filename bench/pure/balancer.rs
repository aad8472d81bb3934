//! One pick among few and many endpoints, of equal and of different weights.

use criterion::Criterion;
use ringgate::balancer::{Affinity, Ask, Balance, Picker, Plan, Policy};
use ringgate::base::Instant;
use ringgate::upstream::{Endpoint, EndpointIdentity};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub fn endpoints(count: u32, weight: impl Fn(u32) -> u32) -> Vec<Endpoint> {
    let endpoint = |index: u32| {
        let address = SocketAddr::from((Ipv4Addr::from(index), 80)).into();
        let identity = EndpointIdentity::new(index, "upstream", address, 1);
        identity.in_flight.store(index % 7, Ordering::Relaxed);
        Endpoint { identity: Arc::new(identity), weight: weight(index), placement: Default::default() }
    };
    (0..count).map(endpoint).collect()
}

/// Every request has another key.
pub fn ask(random: u64) -> Ask<'static> {
    let affinity = Affinity { key: Some(random), kept: None };
    Ask { tried: &[], random, now: Instant(random >> 20), affinity, in_flight: 1 }
}

pub fn pick(criterion: &mut Criterion) {
    for balance in Balance::ALL {
        let mut group = criterion.benchmark_group(balance.name());
        for count in [10, 1000, 10_000] {
            for (weights, modulus) in [("equal", 1), ("weighted", 100)] {
                let endpoints = endpoints(count, |index| 1 + index % modulus);
                let plan = Plan::new(Arc::new(Policy::new(balance)), &endpoints);
                let mut picker = Picker::default();
                let mut random = 0u64;
                group.bench_function(format!("{count} {weights}"), |bencher| {
                    bencher.iter(|| {
                        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        picker.pick(black_box(&plan), &endpoints, &ask(random))
                    });
                });
            }
        }
        group.finish();
    }
}
