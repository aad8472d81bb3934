//! One connection on which requests never stop: it gets its answers in order, costs no more than another, and keeps
//! nobody waiting.

use super::*;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

on_each_engine!(a_hundred_thousand_requests_on_one_connection);

const REQUESTS: usize = 100_000;
/// So many requests, one goes to the origin; the others end at the gateway.
const PASSED: usize = 10;
/// KiB that the process may grow by: far less than what is sent, or answered.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// The most memory that the process has had, in KiB.
fn memory_peak(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.process())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn a_hundred_thousand_requests_on_one_connection(engine: Engine) {
    let origin = Origin::http(|_| Response::ok("passed"));
    let route = "upstream = \"app\"\npath = \"/passed\"\n";
    let config = Gate::http_config(&[&origin], "").replacen("upstream = \"app\"\n", route, 1);
    // One worker: whoever waits, waits for that connection.
    let gate = Gate::start(engine, &config.replace("workers = 2", "workers = 1"));
    let mut other = gate.client();
    assert_eq!(other.get("/passed").text(), "passed");
    let before = memory_peak(&gate);
    let stream = TcpStream::connect(gate.address("web")).expect("the gate accepts");
    stream.set_read_timeout(Some(harness::PATIENCE)).expect("not zero");
    let mut sending = stream.try_clone().expect("an open socket");
    let sender = std::thread::spawn(move || {
        let batch: String = (0..PASSED)
            .map(|at| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", if at == 0 { "passed" } else { "none" }))
            .collect();
        for _ in 0..REQUESTS / PASSED {
            sending.write_all(batch.as_bytes()).expect("the gate takes it");
        }
    });
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = answered.clone();
    let reader = std::thread::spawn(move || {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        for at in 0..REQUESTS {
            let response = Response::read(&mut stream, "GET").expect("a whole response");
            assert_eq!(response.status, if at % PASSED == 0 { 200 } else { 404 }, "answer {at}");
            counted.store(at + 1, Ordering::Relaxed);
        }
    });
    harness::wait_for("the first answers", || (answered.load(Ordering::Relaxed) > 1_000).then_some(()));
    for _ in 0..20 {
        assert_eq!(other.get("/passed").text(), "passed");
    }
    assert!(answered.load(Ordering::Relaxed) < REQUESTS, "the others had to wait for the last of them");
    reader.join().expect("every answer, in order");
    sender.join().expect("every request");
    let growth = memory_peak(&gate) - before;
    assert!(growth <= GROWTH_KIB_MAX, "grew by {growth} KiB");
}
