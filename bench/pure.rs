//! What the pure parts cost: parser, writers, router, balancers, histogram, and the swap of the table beside its readers.
//! `cargo bench --bench pure`, or with a name as filter. Wall-clock numbers: compare runs on one idle machine only.

#[path = "pure/balancer.rs"]
mod balancer;
#[path = "pure/protocol.rs"]
mod protocol;
#[path = "pure/router.rs"]
mod router;
#[path = "pure/table.rs"]
mod table;

criterion::criterion_group!(
    pure,
    protocol::request,
    protocol::response,
    protocol::chunked,
    router::route,
    balancer::pick,
    table::swap,
    table::histogram,
    table::outcome
);
criterion::criterion_main!(pure);
