//! Does one thing of the data path many times, to be counted by callgrind: `scripts/instructions` runs it and holds the
//! counts to `bench/instructions.txt`. Counts are the same on every run of one build, where seconds are not. Without
//! arguments it lists its cases.

#[path = "pure/balancer.rs"]
#[allow(dead_code)]
mod balancer;
#[path = "pure/protocol.rs"]
#[allow(dead_code)]
mod protocol;
#[path = "pure/router.rs"]
#[allow(dead_code)]
mod router;

use ringgate::balancer::{Balance, Picker, Plan, Policy};
use ringgate::base::Instant;
use ringgate::protocol::http::{Method, PathPolicy, RequestHead, ResponseHead, Version};
use ringgate::protocol::http1::{
    Forwarding, HeadLimits, ResponseOptions, parse_request, parse_response, write_request, write_response,
};
use ringgate::telemetry::Histogram;
use ringgate::upstream::{OutcomeClass, OutcomeRule, Outcomes};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// A case makes its input once and does its work as often as it is told.
type Case = fn(u64);

const CASES: &[(&str, Case)] = &[
    ("request_parse", request_parse),
    ("request_write", request_write),
    ("path_normalize", path_normalize),
    ("response_parse", response_parse),
    ("response_write", response_write),
    ("route_of_1", |times| route(1, times)),
    ("route_of_1000", |times| route(1000, times)),
    ("pick_least_request_of_10", |times| pick(Balance::LeastRequest, 10, times)),
    ("pick_least_request_of_1000", |times| pick(Balance::LeastRequest, 1000, times)),
    ("pick_least_request_of_10000", |times| pick(Balance::LeastRequest, 10_000, times)),
    ("pick_round_robin_of_10", |times| pick(Balance::RoundRobin, 10, times)),
    ("pick_round_robin_of_1000", |times| pick(Balance::RoundRobin, 1000, times)),
    ("pick_round_robin_of_10000", |times| pick(Balance::RoundRobin, 10_000, times)),
    ("pick_random_of_1000", |times| pick(Balance::Random, 1000, times)),
    ("pick_peak_ewma_of_10", |times| pick(Balance::PeakEwma, 10, times)),
    ("pick_peak_ewma_of_10000", |times| pick(Balance::PeakEwma, 10_000, times)),
    ("pick_maglev_of_10", |times| pick(Balance::Maglev, 10, times)),
    ("pick_maglev_of_10000", |times| pick(Balance::Maglev, 10_000, times)),
    ("pick_ring_hash_of_10", |times| pick(Balance::RingHash, 10, times)),
    ("pick_ring_hash_of_10000", |times| pick(Balance::RingHash, 10_000, times)),
    ("pick_rendezvous_of_10", |times| pick(Balance::Rendezvous, 10, times)),
    ("latency_observe", latency_observe),
    ("histogram_record", histogram_record),
    ("outcome_note", outcome_note),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let case = CASES.iter().find(|(name, _)| arguments.first().is_some_and(|argument| argument == name));
    match (case, arguments.get(1).and_then(|times| times.parse().ok())) {
        (Some((_, case)), Some(times)) => case(times),
        _ => CASES.iter().for_each(|(name, _)| println!("{name}")),
    }
}

fn request_parse(times: u64) {
    let mut head = RequestHead::new();
    for _ in 0..times {
        let _ = black_box(parse_request(black_box(protocol::GET), &HeadLimits::default(), &mut head));
    }
}

/// A path in its form, as nearly all are.
fn path_normalize(times: u64) {
    let mut head = RequestHead::new();
    let _ = parse_request(protocol::GET, &HeadLimits::default(), &mut head);
    for _ in 0..times {
        let _ = black_box(black_box(&mut head).normalize_path(PathPolicy::Merge));
    }
}

fn request_write(times: u64) {
    let mut head = RequestHead::new();
    let _ = parse_request(protocol::GET, &HeadLimits::default(), &mut head);
    let mut out = Vec::with_capacity(4096);
    for _ in 0..times {
        out.clear();
        let forwarding = Forwarding {
            client: Some(IpAddr::V4(Ipv4Addr::new(192, 168, 13, 7))),
            scheme: "http",
            trusted: false,
            request_id: Some(b"0123456789abcdef"),
            expect: true,
            upgrade: true,
            keep_alive: true,
        };
        write_request(black_box(&mut out), black_box(&head), black_box(&forwarding));
    }
}

fn response_parse(times: u64) {
    let mut head = ResponseHead::new();
    for _ in 0..times {
        let _ = black_box(parse_response(black_box(protocol::OK), &HeadLimits::default(), Method::Get, &mut head));
    }
}

fn response_write(times: u64) {
    let mut head = ResponseHead::new();
    let _ = parse_response(protocol::OK, &HeadLimits::default(), Method::Get, &mut head);
    let mut out = Vec::with_capacity(4096);
    for _ in 0..times {
        out.clear();
        let options = ResponseOptions {
            version: Version::Http11,
            keep_alive: true,
            body: head.body,
            request_id: Some(b"0123456789abcdef"),
        };
        write_response(black_box(&mut out), black_box(&head), black_box(&options));
    }
}

fn route(routes: u32, times: u64) {
    let router = router::router(routes);
    let host = format!("service-{}.example.com:8080", routes / 2);
    for _ in 0..times {
        let _ = black_box(router.route(black_box(host.as_bytes()), black_box(b"/api/v1/items"), black_box(b"GET")));
    }
}

fn pick(balance: Balance, count: u32, times: u64) {
    let endpoints = balancer::endpoints(count, |index| 1 + index % 100);
    let plan = Plan::new(Arc::new(Policy::new(balance)), &endpoints);
    let mut picker = Picker::default();
    for random in 0..times {
        let random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        black_box(picker.pick(black_box(&plan), &endpoints, &balancer::ask(random)));
    }
}

fn latency_observe(times: u64) {
    let (policy, endpoints) = (Policy::new(Balance::PeakEwma), balancer::endpoints(1, |_| 1));
    for time in 0..times {
        let latency = Some(Duration::from_micros(time % 1000));
        policy.observe(black_box(&endpoints[0].identity), latency, Instant(time << 20));
    }
}

/// A success, as nearly all are.
fn outcome_note(times: u64) {
    let (outcomes, rule) = (Outcomes::new(2), OutcomeRule::default());
    for time in 0..times {
        let latency = Some(black_box(Duration::from_micros(time)));
        black_box(outcomes.note(black_box(1), OutcomeClass::Success, latency, black_box(&rule)));
    }
}

fn histogram_record(times: u64) {
    let histogram = Histogram::default();
    for time in 0..times {
        histogram.record(black_box(Duration::from_micros(time)));
    }
    black_box(&histogram);
}
