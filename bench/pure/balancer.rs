//! One pick among few and many endpoints, of equal and of different weights.

use criterion::Criterion;
use ringgate::balancer::{Balance, Picker};
use ringgate::base::Sharded;
use ringgate::upstream::{Endpoint, EndpointIdentity};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub fn endpoints(count: u32, weight: impl Fn(u32) -> u32) -> Vec<Endpoint> {
    let endpoint = |index: u32| Endpoint {
        identity: Arc::new(EndpointIdentity {
            id: index,
            upstream: "upstream".to_owned(),
            address: SocketAddr::from((Ipv4Addr::from(index), 80)).into(),
            in_flight: AtomicU32::new(index % 7),
            reachability: Default::default(),
            stats: Sharded::new(1),
        }),
        weight: weight(index),
    };
    (0..count).map(endpoint).collect()
}

pub fn pick(criterion: &mut Criterion) {
    for (name, balance) in
        [("round_robin", Balance::RoundRobin), ("least_request", Balance::LeastRequest), ("random", Balance::Random)]
    {
        let mut group = criterion.benchmark_group(name);
        for count in [3, 1000, 10_000] {
            for (weights, modulus) in [("equal", 1), ("weighted", 100)] {
                let endpoints = endpoints(count, |index| 1 + index % modulus);
                let mut picker = Picker::new(balance, &endpoints, 1);
                let mut random = 0u64;
                group.bench_function(format!("{count} {weights}"), |bencher| {
                    bencher.iter(|| {
                        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        picker.pick(black_box(&endpoints), &[], random)
                    });
                });
            }
        }
        group.finish();
    }
}
