//! A lookup among one route and among a thousand.

use criterion::Criterion;
use ringgate::router::{PathMatch, Router, RouterBuilder};
use std::hint::black_box;

/// `count` routes, each a host with a path prefix, and one for everything else.
pub fn router(count: u32) -> Router {
    let mut builder = RouterBuilder::new();
    let none: [&str; 0] = [];
    for route in 1..count {
        let host = [format!("service-{route}.example.com")];
        builder.add(&host, PathMatch::Prefix("/api/v1"), &none, route).expect("hosts differ");
    }
    builder.add(&none, PathMatch::Prefix("/"), &none, 0).expect("the only one of any host");
    builder.build()
}

pub fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let one = router(1);
    group.bench_function("1 route", |bencher| {
        bencher
            .iter(|| one.route(black_box(b"www.example.com"), black_box(b"/api/v1/items"), black_box(b"GET")).is_ok());
    });
    let many = router(1000);
    let hosts: Vec<String> = (1..1000).map(|route| format!("service-{route}.example.com:8080")).collect();
    let mut at = 0;
    group.bench_function("1000 routes", |bencher| {
        bencher.iter(|| {
            // Far apart, so that the caches help no more than they would.
            at = (at + 617) % hosts.len();
            many.route(black_box(hosts[at].as_bytes()), black_box(b"/api/v1/items"), black_box(b"GET")).is_ok()
        });
    });
    group.finish();
}
