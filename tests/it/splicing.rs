//! Bulk through tcp listeners and tunnels, and long bodies: it is spliced, and nobody can tell but by the counters.

use super::*;
use crate::framing::pattern;
use crate::harness::{HEAD, RAW, wait_for};

on_each_engine!(
    bulk_is_spliced_and_arrives_whole,
    chatter_is_not_spliced,
    bulk_and_chatter_take_turns,
    each_direction_by_itself,
    a_tunnel_is_spliced_too,
    an_end_within_bulk_is_passed_on,
    a_client_that_resets_within_bulk_is_named,
    an_endpoint_that_resets_within_bulk_is_named,
    a_stalled_reader_of_bulk_is_idle,
    a_stalled_reader_of_bulk_goes_on,
    long_responses_are_spliced_and_connections_stay,
    a_long_request_is_spliced,
    what_follows_a_spliced_body_is_not_part_of_it,
    a_spliced_response_that_is_cut_off_looks_so,
    a_client_that_leaves_within_a_spliced_response_is_named,
);

/// Enough to be bulk beyond doubt.
const BULK: usize = 24 << 20;

/// More than all sockets on the way hold: a reader that waits makes the gateway wait, and then bytes come in large pieces
/// however slow the machine is.
const MORE_THAN_BUFFERS: usize = 64 << 20;

/// Waits until the workers have reported it, which they do once a second.
fn wait_spliced(gate: &Gate) -> f64 {
    wait_for("the spliced bytes in the metrics", || {
        let spliced = gate.metric("ringgate_worker_engine_spliced_bytes_total", &[]);
        (spliced > 0.0).then_some(spliced)
    })
}

fn wait_stalled(gate: &Gate) {
    wait_for("a stall", || (gate.metric("ringgate_worker_engine_sends_stalled_total", &[]) > 0.0).then_some(()));
}

fn source(bytes: usize) -> Origin {
    Origin::raw(move |mut connection| {
        connection.send(pattern(bytes)).shutdown_write();
        connection.read_to_end();
    })
}

fn bulk_is_spliced_and_arrives_whole(engine: Engine) {
    let origin = source(MORE_THAN_BUFFERS);
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    wait_stalled(&gate);
    assert!(client.read_to_end() == pattern(MORE_THAN_BUFFERS));
    client.shutdown_write();
    let record = gate.wait_access("bytes_sent", MORE_THAN_BUFFERS);
    assert!(record["reason"].is_null(), "{record}");
    assert!(wait_spliced(&gate) <= MORE_THAN_BUFFERS as f64);
    let sent = gate.metric("ringgate_listener_bytes_sent_total", &["listener=\"raw\""]);
    assert_eq!(sent, MORE_THAN_BUFFERS as f64);
}

fn chatter_is_not_spliced(engine: Engine) {
    let origin = Origin::echo();
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    for _ in 0..1000 {
        client.send(pattern(1000)).read_exact(1000);
    }
    client.shutdown_write().expect_end();
    gate.wait_access("bytes_sent", 1_000_000);
    let turns = || gate.metric("ringgate_worker_engine_turns_total", &[]);
    // The report after the next one has everything in it, of both workers.
    for _ in 0..2 {
        let before = turns();
        wait_for("a report of the workers", || (turns() > before).then_some(()));
    }
    assert_eq!(gate.metric("ringgate_worker_engine_spliced_bytes_total", &[]), 0.0);
}

fn bulk_and_chatter_take_turns(engine: Engine) {
    let origin = Origin::echo();
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    for length in [100_000, 1, 100_000, 3_000].into_iter().flat_map(|length| std::iter::repeat_n(length, 30)) {
        let bytes = pattern(length);
        client.send(&bytes);
        assert!(client.read_exact(length) == bytes, "{length} bytes changed");
    }
}

fn each_direction_by_itself(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.send(pattern(BULK)).shutdown_write();
        let received = connection.read_to_end().unwrap_or_default();
        assert!(received == pattern(BULK));
    });
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    let bytes = pattern(BULK);
    // The other direction is chatter while the one is bulk, and then the other way round.
    for (at, piece) in bytes.chunks(65_536).enumerate() {
        assert!(client.read_exact(piece.len()) == piece);
        client.send(&bytes[at..=at]);
    }
    client.expect_end();
    client.send(&bytes[BULK / 65_536..]).shutdown_write();
    let record = gate.wait_access("bytes_received", BULK);
    assert_eq!(record["bytes_sent"], BULK);
    assert!(record["reason"].is_null(), "{record}");
}

fn a_tunnel_is_spliced_too(engine: Engine) {
    let origin = Origin::upgrade_echo();
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.response_head().status, 101);
    let sent = client.fill(1 << 30);
    assert!(client.read_exact(sent).iter().all(|byte| *byte == b'x'));
    wait_spliced(&gate);
    client.shutdown_write().expect_end();
}

fn an_end_within_bulk_is_passed_on(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        let received = connection.read_to_end().map_or(0, |bytes| bytes.len());
        connection.send(format!("{received} received"));
    });
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    client.send(pattern(BULK)).shutdown_write().expect(format!("{BULK} received")).expect_end();
}

fn a_client_that_resets_within_bulk_is_named(engine: Engine) {
    let origin = Origin::raw(|mut connection| while connection.try_send(&pattern(100_000)) {});
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    client.read_exact(BULK);
    client.reset();
    let record = gate.wait_access("reason", "client_closed");
    assert!(record["bytes_sent"].as_u64().is_some_and(|sent| sent >= BULK as u64), "{record}");
}

fn an_endpoint_that_resets_within_bulk_is_named(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.send(pattern(BULK));
        connection.reset();
    });
    let gate = Gate::tcp(engine, &[&origin]);
    gate.tcp_client().expect_gone();
    gate.wait_access("reason", "upstream_reset");
}

/// The reader takes nothing for longer than the idle timeout: that ends the relay, pipe and all.
fn a_stalled_reader_of_bulk_is_idle(engine: Engine) {
    let origin = Origin::raw(|mut connection| while connection.try_send(&pattern(100_000)) {});
    let idle = RAW.replacen("upstream =", "idle_timeout = \"2s\"\nupstream =", 1);
    let config = format!("{HEAD}{idle}\n[upstream.app]\nendpoints = [\"{}\"]\n", origin.address);
    let gate = Gate::start(engine, &config);
    let mut client = gate.tcp_client();
    client.read_exact(BULK);
    wait_for("the end of the relay", || {
        (gate.metric("ringgate_listener_connections_active", &["listener=\"raw\""]) == 0.0).then_some(())
    });
    wait_for("no pipe in use", || (gate.metric("ringgate_worker_engine_pipes_used", &[]) == 0.0).then_some(()));
    drop(client);
}

fn a_stalled_reader_of_bulk_goes_on(engine: Engine) {
    let origin = Origin::raw(|mut connection| while connection.try_send(&pattern(1 << 20)) {});
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    let block = pattern(1 << 20);
    let mut read = |blocks: usize| (0..blocks).for_each(|_| assert!(client.read_exact(1 << 20) == block));
    read(20);
    wait_for("a pipe in use", || (gate.metric("ringgate_worker_engine_pipes_used", &[]) == 1.0).then_some(()));
    let held = gate.metric("ringgate_worker_engine_pipe_bytes", &[]);
    assert!(held <= 1_048_576.0, "{held} bytes in a pipe");
    read(40);
    drop(client);
    wait_for("no pipe in use", || (gate.metric("ringgate_worker_engine_pipes_used", &[]) == 0.0).then_some(()));
}

fn long_responses_are_spliced_and_connections_stay(engine: Engine) {
    let origin = Origin::http(|_| Response::ok(pattern(BULK)));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    // The second request is sent ahead.
    client.send("GET /1 HTTP/1.1\r\nHost: example.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: example.com\r\n\r\n");
    for _ in 0..2 {
        assert!(client.response().body == pattern(BULK));
    }
    assert!(client.get("/3").body == pattern(BULK));
    assert_eq!(origin.accepted(), 1);
    wait_spliced(&gate);
    let record = gate.wait_access("path", "/3");
    assert!(record["bytes_sent"].as_u64().is_some_and(|sent| sent > BULK as u64), "{record}");
    assert!(record["reason"].is_null(), "{record}");
}

fn a_long_request_is_spliced(engine: Engine) {
    let origin = Origin::http(|request| Response::ok(if request.body == pattern(BULK) { "same" } else { "another" }));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..2 {
        client.send(format!("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: {BULK}\r\n\r\n"));
        assert_eq!(client.send(pattern(BULK)).response().text(), "same");
    }
    assert_eq!(origin.accepted(), 1);
    wait_spliced(&gate);
}

/// What an endpoint says beyond its response is nobody's: no client gets it, and the connection is used no more.
fn what_follows_a_spliced_body_is_not_part_of_it(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BULK}\r\n\r\n")).send(pattern(BULK));
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
        connection.read_to_end();
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..2 {
        assert!(client.get("/").body == pattern(BULK));
    }
    assert_eq!(origin.accepted(), 2);
}

fn a_spliced_response_that_is_cut_off_looks_so(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BULK}\r\n\r\n"));
        connection.send(&pattern(BULK)[1..]).shutdown_write();
        connection.read_to_end();
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(client.try_response().is_err());
    gate.wait_access("reason", "upstream_closed_early");
}

fn a_client_that_leaves_within_a_spliced_response_is_named(engine: Engine) {
    let origin = Origin::http(|_| Response::ok(pattern(MORE_THAN_BUFFERS)));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").read_exact(BULK);
    client.reset();
    gate.wait_access("reason", "client_closed");
    wait_for("no pipe in use", || (gate.metric("ringgate_worker_engine_pipes_used", &[]) == 0.0).then_some(()));
}
