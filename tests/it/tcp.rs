//! The TCP relay: bytes both ways, ends of one side, resets, retries and idleness.

use super::*;
use crate::framing::pattern;
use crate::harness::{PATIENCE, RAW, closed_address, wait_for};
use std::sync::Mutex;
use std::sync::mpsc;

on_each_engine!(
    relays_both_ways,
    passes_each_end_on_by_itself,
    the_origin_may_speak_first,
    connects_to_another_endpoint,
    closes_when_no_endpoint_connects,
    a_reset_ends_both_sides,
    closes_idle_connections,
    stalled_readers_hold_bounded_memory,
    counts_connections_and_bytes,
);

fn relays_both_ways(engine: Engine) {
    let origin = Origin::echo();
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    for length in [1, 10, 1_000, 50_000] {
        let bytes = pattern(length);
        client.send(&bytes);
        assert!(client.read_exact(length) == bytes, "{length} bytes changed");
    }
}

fn passes_each_end_on_by_itself(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        let received = connection.read_to_end().map_or(0, |bytes| bytes.len());
        connection.send(format!("{received} received"));
    });
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    client.send(pattern(100_000)).shutdown_write().expect("100000 received").expect_end();
}

fn the_origin_may_speak_first(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.send("220 ready\r\n").shutdown_write();
        connection.read_to_end();
    });
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    client.expect("220 ready\r\n").expect_end();
    // The other direction is open still.
    client.send("QUIT\r\n").shutdown_write();
}

fn connects_to_another_endpoint(engine: Engine) {
    let (_socket, closed) = closed_address();
    let origin = Origin::echo();
    let config =
        format!("{}{RAW}\n[upstream.app]\nendpoints = [\"{closed}\", \"{}\"]\n", crate::harness::HEAD, origin.address);
    let gate = Gate::start(engine, &config);
    for _ in 0..10 {
        gate.tcp_client().send("hello").expect("hello");
    }
}

fn closes_when_no_endpoint_connects(engine: Engine) {
    let (_socket, closed) = closed_address();
    let config = format!("{}{RAW}\n[upstream.app]\nendpoints = [\"{closed}\"]\n", crate::harness::HEAD);
    let mut gate = Gate::start(engine, &config);
    for _ in 0..10 {
        Client::expect_closed(gate.address("raw"));
    }
    wait_for("ten refused connections in the metrics", || {
        (gate.metric("ringgate_listener_failures_total", &["connect_refused"]) == 10.0).then_some(())
    });
    gate.expect_running();
}

fn a_reset_ends_both_sides(engine: Engine) {
    let (sender, gone) = mpsc::channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |mut connection| {
        connection.send("hello");
        if connection.index == 1 {
            connection.reset();
            return;
        }
        connection.read_to_end();
        let _ = sender.lock().expect("one at a time").send(());
    });
    let gate = Gate::tcp(engine, &[&origin]);
    let mut leaving = gate.tcp_client();
    leaving.expect("hello");
    leaving.reset();
    gone.recv_timeout(PATIENCE).expect("the origin's side ends with the client's");
    gate.tcp_client().expect_gone();
}

fn closes_idle_connections(engine: Engine) {
    let origin = Origin::echo();
    let idle = RAW.replacen("upstream =", "idle_timeout = \"200ms\"\nupstream =", 1);
    let config = format!("{}{idle}\n[upstream.app]\nendpoints = [\"{}\"]\n", crate::harness::HEAD, origin.address);
    let gate = Gate::start(engine, &config);
    let mut client = gate.tcp_client();
    client.send("once").expect("once").expect_gone();
}

/// What the process has in memory, in KiB.
fn resident(gate: &Gate) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.process())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says it");
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
}

fn stalled_readers_hold_bounded_memory(engine: Engine) {
    let origin = Origin::raw(|connection| {
        // Reads nothing for as long as the process lives.
        std::mem::forget(connection);
    });
    let gate = Gate::tcp(engine, &[&origin]);
    let stalled = || -> Vec<Client> {
        let mut clients: Vec<Client> = (0..20).map(|_| gate.tcp_client()).collect();
        for client in &mut clients {
            let sent = client.fill(1 << 30);
            assert!(sent < 1 << 30, "a stalled reader took {sent} bytes");
        }
        clients
    };
    // The first ones also touch the receive buffers that all share.
    let _first = stalled();
    let before = resident(&gate);
    let _second = stalled();
    // Above what a connection may hold, far below what was sent.
    let grown = resident(&gate).saturating_sub(before);
    assert!(grown < 20 * 1024, "{grown} KiB for 20 stalled connections");
}

fn counts_connections_and_bytes(engine: Engine) {
    let origin = Origin::echo();
    let gate = Gate::tcp(engine, &[&origin]);
    for _ in 0..3 {
        gate.tcp_client().send("12345").expect("12345").shutdown_write().expect_end();
    }
    wait_for("three connections in the metrics", || {
        (gate.metric("ringgate_listener_connections_accepted_total", &["listener=\"raw\""]) == 3.0).then_some(())
    });
}
