//! Bodies that are buffered: a request's before an endpoint is picked, a response's ahead of a slow client.

use super::*;
use crate::harness::{PATIENCE, closed_address, wait_for};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

on_each_engine!(
    a_slow_sender_holds_no_endpoint,
    a_longer_body_streams_behind_its_beginning,
    a_buffered_body_is_sent_again,
    a_body_beyond_its_buffer_is_not_sent_again,
    a_request_that_may_have_worked_is_not_repeated_with_its_body,
    a_buffered_upload_is_invited_by_the_gateway,
    a_buffered_upload_that_fails_meets_no_endpoint,
    chunks_trailers_and_what_follows_them_are_kept_apart,
    a_slow_reader_holds_no_endpoint,
    a_longer_response_waits_for_its_reader,
    every_kind_of_response_passes_through_its_buffer,
    a_response_that_breaks_off_is_cut_short_for_its_reader,
    a_reader_that_leaves_frees_its_endpoint,
    buffers_take_their_part_of_memory_and_no_more,
);

/// One worker, so that a connection that is free is found again; the route with these lines.
fn with_route(origins: &[&Origin], lines: &str) -> String {
    let config = Gate::http_config(origins, "").replace("workers = 2", "workers = 1");
    config.replacen("upstream = \"app\"\n", &format!("upstream = \"app\"\n{lines}\n"), 1)
}

fn with_listener(config: &str, lines: &str) -> String {
    config.replacen("protocol = \"http\"\n", &format!("protocol = \"http\"\n{lines}\n"), 1)
}

fn echo() -> Origin {
    Origin::http(|request| Response::ok(request.body.clone()))
}

#[track_caller]
fn wait_buffered(gate: &Gate, bytes: usize) {
    wait_for("the bytes to be buffered", || {
        (gate.metric("ringgate_worker_memory_buffered_bytes", &[]) == bytes as f64).then_some(())
    });
}

fn a_slow_sender_holds_no_endpoint(engine: Engine) {
    let origin = echo();
    let gate = Gate::start(engine, &with_route(&[&origin], "request_buffer = \"64KiB\""));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n").send("x".repeat(9000));
    wait_buffered(&gate, 9000);
    assert_eq!(origin.accepted(), 0, "no endpoint before the body is there");
    client.send("y".repeat(1000));
    let response = client.response();
    assert_eq!(response.text(), "x".repeat(9000) + &"y".repeat(1000));
    assert_eq!(client.get("/").status, 200, "the connection goes on");
    wait_buffered(&gate, 0);
}

fn a_longer_body_streams_behind_its_beginning(engine: Engine) {
    let (seen, begun) = mpsc::channel();
    let seen = Mutex::new(seen);
    let origin = Origin::raw(move |mut connection| {
        connection.head();
        connection.read_exact(64 * 1024 + 10);
        let _ = seen.lock().expect("one at a time").send(());
        connection.read_exact(100_000 - 10);
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gate = Gate::start(engine, &with_route(&[&origin], "request_buffer = \"64KiB\""));
    let mut client = gate.client();
    let length = 64 * 1024 + 100_000;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    client.send("x".repeat(64 * 1024 + 10));
    begun.recv_timeout(PATIENCE).expect("what is beyond the buffer comes while the rest has not been sent");
    client.send("x".repeat(100_000 - 10));
    assert_eq!(client.response().text(), "ok");
}

/// An origin that reads each request whole, counts it and resets the connection without an answer.
fn resetting(count: &Arc<AtomicUsize>) -> Origin {
    let count = count.clone();
    Origin::raw(move |mut connection| {
        if connection.request().is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            connection.reset();
        }
    })
}

/// The gate on an endpoint that resets and one that echoes, and what the first of them has counted.
fn beside_a_resetting_one(engine: Engine, lines: &str) -> (Gate, Origin, Arc<AtomicUsize>) {
    let (count, good) = (Arc::default(), echo());
    let bad = resetting(&count);
    let config = with_route(&[&bad, &good], lines);
    let gate = Gate::start(engine, &config.replace("[upstream.app]\n", "[upstream.app]\nbalance = \"round_robin\"\n"));
    (gate, good, count)
}

fn a_buffered_body_is_sent_again(engine: Engine) {
    let (gate, good, count) = beside_a_resetting_one(engine, "request_buffer = \"1MiB\"");
    let mut client = gate.client();
    for length in [1, 1000, 300_000, 1 << 20] {
        for _ in 0..4 {
            let body = "b".repeat(length);
            client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"));
            let response = client.response();
            assert!(response.status == 200 && response.text() == body, "{length}: {}", response.status);
        }
    }
    assert_eq!(good.requests().len(), 16);
    assert!(count.load(Ordering::SeqCst) > 0, "some were tried there first");
    wait_buffered(&gate, 0);
}

fn a_body_beyond_its_buffer_is_not_sent_again(engine: Engine) {
    let (gate, good, count) = beside_a_resetting_one(engine, "request_buffer = \"1KiB\"");
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let mut client = gate.client();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n{}", "b".repeat(2000)));
        statuses.push(client.response().status);
    }
    let failed = statuses.iter().filter(|status| **status == 502).count();
    assert!(failed > 0 && failed == count.load(Ordering::SeqCst), "{statuses:?}");
    assert_eq!(good.requests().len(), 6 - failed);
    assert!(good.requests().iter().all(|request| request.body.len() == 2000));
}

fn a_request_that_may_have_worked_is_not_repeated_with_its_body(engine: Engine) {
    let (gate, good, count) = beside_a_resetting_one(engine, "request_buffer = \"64KiB\"");
    let mut failed = 0;
    for _ in 0..6 {
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nonce!");
        failed += usize::from(client.response().status == 502);
    }
    assert!(failed > 0 && failed == count.load(Ordering::SeqCst));
    assert_eq!(good.requests().len(), 6 - failed);
    // Where nothing of it reached the endpoint, it is.
    let (_socket, closed) = closed_address();
    let config = with_route(&[&good], "request_buffer = \"64KiB\"");
    let gate = Gate::start(engine, &config.replace("endpoints = [", &format!("endpoints = [\"{closed}\", ")));
    for _ in 0..6 {
        let mut client = gate.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nonce!");
        assert_eq!(client.response().text(), "once!");
    }
}

fn a_buffered_upload_is_invited_by_the_gateway(engine: Engine) {
    let origin = echo();
    let gate = Gate::start(engine, &with_route(&[&origin], "request_buffer = \"64KiB\""));
    let mut client = gate.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        client.expect("HTTP/1.1 100 Continue\r\n\r\n").send("hello");
        assert_eq!(client.response().text(), "hello");
    }
    let requests = origin.requests();
    assert!(requests.iter().all(|request| request.field("expect").is_none()), "{requests:?}");
    assert_eq!(requests.iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 0], "the connection is kept");
}

fn a_buffered_upload_that_fails_meets_no_endpoint(engine: Engine) {
    let origin = echo();
    let config = with_route(&[&origin], "request_buffer = \"64KiB\"");
    let gate =
        Gate::start(engine, &with_listener(&config, "body_max = \"32KiB\"\nrequest_body_idle_timeout = \"300ms\""));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let too_large = format!("{chunked}8001\r\n{}\r\n0\r\n\r\n", "x".repeat(0x8001));
    for (sent, status, reason) in [
        (too_large, 413, "request_body_too_large"),
        (format!("{chunked}5\r\nhello\r\nzz\r\n"), 400, "request_body_malformed"),
        (format!("{chunked}5\r\nhel"), 408, "request_body_timeout"),
    ] {
        assert_eq!(gate.client().send(sent).response().status, status, "{reason}");
        gate.wait_access("reason", reason);
    }
    let mut client = gate.client();
    client.send(format!("{chunked}5\r\nhel")).shutdown_write();
    client.expect_end();
    gate.wait_access("reason", "client_closed");
    assert_eq!(origin.accepted(), 0);
    wait_buffered(&gate, 0);
}

fn chunks_trailers_and_what_follows_them_are_kept_apart(engine: Engine) {
    let origin = echo();
    let gate = Gate::start(engine, &with_route(&[&origin], "request_buffer = \"64KiB\""));
    let mut client = gate.client();
    let chunks: String = (0..5000).map(|_| "1\r\nx\r\n").collect();
    let one =
        format!("POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\nX-Sum: 7\r\n\r\n");
    client.send(format!("{one}{one}GET /two HTTP/1.1\r\nHost: a\r\n\r\n"));
    for expected in ["x".repeat(5000), "x".repeat(5000), String::new()] {
        assert_eq!(client.response().text(), expected);
    }
    let requests = origin.requests();
    assert!(has_sum(&requests[0].trailers) && has_sum(&requests[1].trailers), "{requests:?}");
    assert_eq!((requests[2].target.as_str(), requests[2].trailers.len()), ("/two", 0));
}

fn has_sum(trailers: &[(String, String)]) -> bool {
    trailers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-sum") && value == "7")
}

/// Answers with so many bytes that tell their place.
fn long(length: usize) -> Origin {
    Origin::http(move |_| Response::ok(body(length)))
}

fn body(length: usize) -> Vec<u8> {
    (0..length as u32 / 4).flat_map(u32::to_be_bytes).collect()
}

/// Longer than what the kernel holds for a client that does not read.
const LONG: usize = 24 << 20;

fn a_slow_reader_holds_no_endpoint(engine: Engine) {
    let origin = long(LONG);
    let gate = Gate::start(engine, &with_route(&[&origin], "response_buffer = \"32MiB\""));
    let mut slow = Client::connect_small(gate.address("web"));
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the endpoint to be free", || {
        (gate.metric("ringgate_endpoint_connections_idle", &[]) == 1.0).then_some(())
    });
    assert_eq!(gate.metric("ringgate_endpoint_requests_active", &[]), 0.0);
    let mut other = gate.client();
    assert_eq!(other.get("/").body.len(), LONG);
    assert_eq!(origin.accepted(), 1, "both on one connection, while the first client still reads");
    assert!(slow.response().body == body(LONG));
    assert_eq!(slow.get("/").body.len(), LONG);
    wait_buffered(&gate, 0);
}

fn a_longer_response_waits_for_its_reader(engine: Engine) {
    let origin = long(LONG);
    let gate = Gate::start(engine, &with_route(&[&origin], "response_buffer = \"1MiB\""));
    let mut slow = Client::connect_small(gate.address("web"));
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the buffer to be full", || {
        (gate.metric("ringgate_worker_memory_buffered_bytes", &[]) >= f64::from(1 << 20)).then_some(())
    });
    assert_eq!(gate.metric("ringgate_endpoint_requests_active", &[]), 1.0);
    // One receive buffer may go beyond.
    assert!(gate.metric("ringgate_worker_memory_buffered_bytes", &[]) < f64::from((1 << 20) + (256 << 10)));
    assert!(slow.response().body == body(LONG));
    wait_buffered(&gate, 0);
}

fn every_kind_of_response_passes_through_its_buffer(engine: Engine) {
    let chunked: String = (0..3000).map(|_| "1\r\nx\r\n").collect();
    let answers = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), String::new()),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), String::new()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "hello".to_owned()),
        (
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\nX-Sum: 7\r\n\r\n"),
            "x".repeat(3000),
        ),
        (format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}", "y".repeat(5000)), "y".repeat(5000)),
    ];
    let expected = answers.clone();
    let origin = Origin::raw(move |mut connection| {
        loop {
            let target = connection.head().target;
            let Some(answer) = target.strip_prefix('/').and_then(|number| number.parse::<usize>().ok()) else { return };
            connection.send(&answers[answer].0);
            if answer == 4 {
                return;
            }
        }
    });
    let gate = Gate::start(engine, &with_route(&[&origin], "request_buffer = \"1KiB\"\nresponse_buffer = \"1KiB\""));
    let mut client = gate.client();
    for _ in 0..2 {
        for (number, (_, text)) in expected.iter().enumerate() {
            client.send(format!("PUT /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
            if number == 4 {
                assert_eq!(client.response_head().status, 100);
            }
            let response = client.response();
            assert_eq!((response.status / 100, &response.text()), (2, text), "{number}");
            if number == 3 {
                assert!(has_sum(&response.trailers), "{response:?}");
            }
        }
        let head = client.send("HEAD /0 HTTP/1.1\r\nHost: a\r\n\r\n").response_to("HEAD");
        assert_eq!(head.status, 200);
    }
}

fn a_response_that_breaks_off_is_cut_short_for_its_reader(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    });
    let gate = Gate::start(engine, &with_route(&[&origin], "response_buffer = \"64KiB\""));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let found = String::from_utf8(client.read_to_end()).expect("text");
    assert!(found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\nonly this"), "{found}");
    gate.wait_access("reason", "upstream_closed_early");
}

fn a_reader_that_leaves_frees_its_endpoint(engine: Engine) {
    let origin = long(LONG);
    let gate = Gate::start(engine, &with_route(&[&origin], "response_buffer = \"1MiB\""));
    let mut client = Client::connect_small(gate.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read_exact(1000);
    client.reset();
    gate.wait_access("reason", "client_closed");
    wait_for("the endpoint to be free", || {
        (gate.metric("ringgate_endpoint_requests_active", &[]) == 0.0).then_some(())
    });
    wait_buffered(&gate, 0);
}

fn buffers_take_their_part_of_memory_and_no_more(engine: Engine) {
    const MIB: usize = 1 << 20;
    let origin = echo();
    let config = with_route(&[&origin], "request_buffer = \"1MiB\"");
    let gate = Gate::start(engine, &format!("memory_max = \"128MiB\"\n{config}"));
    let part = gate.metric("ringgate_memory_heap_max_bytes", &[]) as usize / 4;
    assert!((4 * MIB..32 * MIB).contains(&part), "{part}");
    let (body, rest) = ("x".repeat(MIB - 1), "x");
    let mut crowd: Vec<Client> = (0..2 * part / MIB).map(|_| gate.client()).collect();
    for client in &mut crowd {
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n{body}"));
    }
    // Those that find no room are streamed from where they are, and hold an endpoint as they would without a buffer. How many
    // they are depends on whose bytes come first.
    wait_for("some to be streamed", || {
        let held = gate.metric("ringgate_worker_memory_buffered_bytes", &[]) as usize;
        assert!(held <= part + 256 * 1024, "{held} of {part}");
        (origin.accepted() > 0).then_some(())
    });
    assert_eq!(gate.client().get("/").status, 200, "nobody else is in want of memory");
    for client in &mut crowd {
        client.send(rest);
        assert_eq!(client.response().body.len(), MIB);
    }
    wait_buffered(&gate, 0);
}
