//! The swap of the table: what publishing and looking cost; and the histogram that every request is counted in.

use crate::balancer::endpoints;
use criterion::Criterion;
use ringgate::balancer::{Balance, Planned, Policy};
use ringgate::snapshot::{Published, Snapshot, Upstream};
use ringgate::telemetry::Histogram;
use ringgate::upstream::{BreakerGate, OutcomeClass, OutcomeRule, Outcomes, UpstreamIdentity};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// A thousand upstreams of ten endpoints.
fn snapshot(generation: u64) -> Snapshot {
    let policy = Arc::new(Policy::new(Balance::RoundRobin));
    let upstream = |index: u32| Upstream {
        identity: Arc::new(UpstreamIdentity::new(&format!("upstream-{index}"), 1)),
        plan: Planned::new(Arc::clone(&policy), &endpoints(10, |_| 1)),
        policy: Arc::clone(&policy),
        subsets: Box::default(),
        sticky: None,
        endpoints: endpoints(10, |_| 1),
        connect_timeout: Duration::from_secs(1),
        retries: 1,
        idle_connections_max: 1,
        idle_timeout: Duration::from_secs(1),
        connection_requests_max: u32::MAX,
        connection_age_max: None,
        drain_timeout: None,
        connect: ringgate::snapshot::ConnectSettings::default(),
        proxy_protocol: None,
        probe: None,
        health: Default::default(),
        rule: Default::default(),
        rejection: Default::default(),
    };
    Snapshot {
        generation,
        listeners: Vec::new(),
        routes: Vec::new(),
        upstreams: (0..1000).map(upstream).collect(),
        drain_timeout: Duration::from_secs(1),
        worker_lag_max: std::time::Duration::from_millis(500),
        drain_idle_timeout: Duration::from_secs(1),
        access_log: false,
    }
}

pub fn swap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    let published = Published::new(snapshot(1));
    group.bench_function("look at the generation", |bencher| {
        bencher.iter(|| black_box(&published).generation());
    });
    group.bench_function("take the snapshot", |bencher| bencher.iter(|| black_box(&published).load()));
    // The snapshots live on, so that this is the swap alone and not the end of a thousand upstreams.
    let snapshots = [Arc::new(snapshot(2)), Arc::new(snapshot(3))];
    let mut turn = 0;
    group.bench_function("publish", |bencher| {
        bencher.iter(|| {
            turn ^= 1;
            published.publish(Arc::clone(&snapshots[turn]));
        });
    });
    group.finish();
}

pub fn histogram(criterion: &mut Criterion) {
    let histogram = Histogram::default();
    let mut nanoseconds = 1;
    criterion.bench_function("histogram", |bencher| {
        bencher.iter(|| {
            nanoseconds = nanoseconds * 5 % 1_000_000_007;
            histogram.record(black_box(Duration::from_nanos(nanoseconds)));
        });
    });
}

/// What each attempt is counted in, for the judges; the breaker that each request asks.
pub fn outcome(criterion: &mut Criterion) {
    let (outcomes, rule) = (Outcomes::new(2), OutcomeRule::default());
    let mut group = criterion.benchmark_group("outcome");
    for (name, class) in [("success", OutcomeClass::Success), ("failure", OutcomeClass::Gateway)] {
        group.bench_function(name, |bencher| {
            let mut micros = 0;
            bencher.iter(|| {
                micros += 1;
                let latency = Some(Duration::from_micros(black_box(micros)));
                outcomes.note(black_box(1), black_box(class), latency, black_box(&rule))
            });
        });
    }
    let gate = BreakerGate::default();
    group.bench_function("admit", |bencher| bencher.iter(|| black_box(&gate).admit()));
    group.finish();
}
