//! Balances by latency: slow, failing and unknown endpoints get little.

use super::*;
use std::time::Duration;

const TIMED: [Balance; 2] = [Balance::PeakEwma, Balance::LeastTime];

/// Requests one after another, each with the latency of its endpoint, `rate` a second; how many each endpoint got.
fn run(balance: Balance, latencies: &[Option<Duration>], rate: u64, seconds: u64) -> Vec<usize> {
    let endpoints = endpoints(&vec![1; latencies.len()]);
    let mut worker = Worker::of(balance, &endpoints);
    let policy = Policy::new(balance);
    let mut counts = vec![0; latencies.len()];
    let mut under_way: Vec<(u64, usize)> = Vec::new();
    for request in 0..rate * seconds {
        let now = Instant(1_000_000_000 + request * (1_000_000_000 / rate));
        under_way.retain(|(until, index)| {
            if *until <= now.0 {
                endpoints[*index].identity.in_flight.fetch_sub(1, Ordering::Relaxed);
                policy.observe(&endpoints[*index].identity, latencies[*index], Instant(*until));
            }
            *until > now.0
        });
        let ask = Ask { now, ..worker.ask(&[], mix(request)) };
        let index = worker.picker.pick(&worker.planned.load(), &endpoints, &ask).unwrap();
        endpoints[index].identity.in_flight.fetch_add(1, Ordering::Relaxed);
        counts[index] += 1;
        let takes = latencies[index].unwrap_or(Duration::from_micros(100));
        under_way.push((now.0 + takes.as_nanos() as u64, index));
    }
    counts
}

const fn ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms))
}

#[test]
fn equal_endpoints_share() {
    for balance in TIMED {
        let counts = run(balance, &[ms(10); 4], 1000, 10);
        assert!(counts.iter().all(|count| count.abs_diff(2500) < 900), "{balance:?} {counts:?}");
    }
}

#[test]
fn a_slow_endpoint_gets_little() {
    for balance in TIMED {
        let mut latencies = [ms(10); 20];
        latencies[3] = ms(200);
        let counts = run(balance, &latencies, 1000, 10);
        assert!(counts[3] < 100, "{balance:?} {counts:?}");
    }
}

#[test]
fn failing_fast_is_not_being_fast() {
    for balance in TIMED {
        let counts = run(balance, &[ms(10), ms(10), None, ms(10)], 1000, 10);
        assert!(counts[2] < 50, "{balance:?} {counts:?}");
    }
}

#[test]
fn an_unknown_endpoint_gets_one_request_at_a_time() {
    let endpoints = endpoints(&[1; 3]);
    let now = Instant(1_000_000_000);
    for balance in TIMED {
        for endpoint in &endpoints[1..] {
            Policy::new(balance).observe(&endpoint.identity, ms(10), now);
        }
        let mut worker = Worker::of(balance, &endpoints);
        endpoints[0].identity.in_flight.store(1, Ordering::Relaxed);
        assert_eq!(counts(&mut worker, 500, 1)[0], 0, "{balance:?}");
        endpoints[0].identity.in_flight.store(0, Ordering::Relaxed);
        assert!(counts(&mut worker, 500, 1)[0] > 200, "{balance:?}");
    }
}

#[test]
fn others_cost_nothing() {
    let endpoint = &endpoints(&[1])[0];
    for balance in ALL.into_iter().filter(|balance| !balance.is_timed()) {
        Policy::new(balance).observe(&endpoint.identity, ms(1), Instant(1));
    }
    assert_eq!(endpoint.identity.latency.get(Instant(1), Duration::from_secs(1)), None);
}
