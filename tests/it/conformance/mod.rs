//! RFC 9110 and RFC 9112 as raw bytes: what a client sends, what the origin gets, what the client gets. The cases stand in
//! tables, one file an area; each is played whole and again in single bytes, with the same outcome. `docs/http-conformance.md`
//! is written from the same tables (`UPDATE_GOLDEN=1 cargo test --test it conformance`).

mod case;
mod chunks;
mod connection;
mod expect;
mod fields;
mod framing;
mod page;
mod responses;
pub mod seeds;
mod stage;
mod start_line;
mod wire;

use crate::harness::{Engine, on_each_engine};
use case::Case;
use stage::{Segments, Stage};

on_each_engine!(
    requests_whole,
    requests_by_bytes,
    requests_buffered,
    responses_whole,
    responses_by_bytes,
    responses_buffered,
);

/// The areas, each with its heading on the page.
fn areas() -> [(&'static str, Vec<Case>); 7] {
    [
        ("Lines, the request line and its target", start_line::cases()),
        ("Field lines and Host", fields::cases()),
        ("Content-Length and Transfer-Encoding", framing::cases()),
        ("Chunks and trailers", chunks::cases()),
        ("Connections", connection::cases()),
        ("Expectations, upgrades and methods", expect::cases()),
        ("Responses of endpoints", responses::cases()),
    ]
}

fn requests() -> Vec<Case> {
    areas().into_iter().take(6).flat_map(|(_, cases)| cases).collect()
}

fn play(engine: Engine, cases: &[Case], segments: Segments) {
    play_on(Stage::start(engine, ""), cases, segments);
}

fn play_on(stage: Stage, cases: &[Case], segments: Segments) {
    let faults = stage.play(cases, segments);
    assert!(faults.is_empty(), "{} of {} cases:\n\n{}", faults.len(), cases.len(), faults.join("\n\n"));
}

fn requests_whole(engine: Engine) {
    play(engine, &requests(), Segments::Whole);
}

fn requests_by_bytes(engine: Engine) {
    play(engine, &requests(), Segments::Bytes);
}

/// Buffers change nothing of what either side gets.
fn requests_buffered(engine: Engine) {
    let cases: Vec<Case> = areas().into_iter().take(5).flat_map(|(_, cases)| cases).collect();
    play_on(Stage::start(engine, BUFFERS), &cases, Segments::Bytes);
}

const BUFFERS: &str = "request_buffer = \"64KiB\"\nresponse_buffer = \"64KiB\"\n";

/// Without a buffer for requests: no endpoint answers then before it has the body.
fn responses_buffered(engine: Engine) {
    play_on(Stage::start(engine, "response_buffer = \"64KiB\"\n"), &responses::cases(), Segments::Bytes);
}

fn responses_whole(engine: Engine) {
    play(engine, &responses::cases(), Segments::Whole);
}

fn responses_by_bytes(engine: Engine) {
    play(engine, &responses::cases(), Segments::Bytes);
}
