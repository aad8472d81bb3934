//! When a request is sent again, and when it must not be.

use super::*;
use crate::harness::{PATIENCE, closed_address};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

on_each_engine!(
    a_refused_endpoint_costs_no_request,
    a_stale_idle_connection_costs_no_request,
    a_request_that_may_have_worked_is_not_sent_twice,
    an_idempotent_request_moves_on_after_a_reset,
    an_early_response_ends_the_upload,
    a_client_that_leaves_frees_the_origin,
    a_client_that_leaves_frees_a_silent_origin,
    a_client_that_resets_frees_a_silent_origin,
    a_client_may_end_its_sending_side_where_the_file_says_so,
    a_client_that_sent_requests_ahead_has_not_left,
);

fn a_refused_endpoint_costs_no_request(engine: Engine) {
    let (_socket, closed) = closed_address();
    let origin = Origin::http(|request| Response::ok(request.body.clone()));
    let config = Gate::http_config(&[&origin], "");
    let gate = Gate::start(engine, &config.replace("endpoints = [", &format!("endpoints = [\"{closed}\", ")));
    let mut client = gate.client();
    for _ in 0..10 {
        // Nothing reached the endpoint that refused: even a POST with a body is safe to send again.
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.response().text(), "body");
    }
    assert_eq!(origin.requests().len(), 10);
}

fn a_stale_idle_connection_costs_no_request(engine: Engine) {
    // The origin announces nothing and closes after each answer: the gateway's idle connection is always stale.
    let origin = Origin::raw(|mut connection| {
        if !connection.head().method.is_empty() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..200 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
}

/// An origin that reads each request whole, counts it and resets the connection without an answer.
fn resetting(count: &'static AtomicUsize) -> Origin {
    Origin::raw(move |mut connection| {
        if connection.request().is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            connection.reset();
        }
    })
}

fn a_request_that_may_have_worked_is_not_sent_twice(engine: Engine) {
    let count: &'static AtomicUsize = Box::leak(Box::default());
    let origins = [resetting(count), resetting(count)];
    let gate = Gate::http(engine, &[&origins[0], &origins[1]]);
    let mut client = gate.client();
    client.send("POST /buy HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().status, 502);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    gate.wait_access("reason", "upstream_reset");
}

fn an_idempotent_request_moves_on_after_a_reset(engine: Engine) {
    let count: &'static AtomicUsize = Box::leak(Box::default());
    let (broken, origin) = (resetting(count), Origin::text("ok"));
    let gate = Gate::http(engine, &[&broken, &origin]);
    let mut client = gate.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert!(count.load(Ordering::SeqCst) > 0, "the broken endpoint was never tried");
}

fn an_early_response_ends_the_upload(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        connection.read_to_end();
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\npart");
    // The answer comes while most of the body is still unsent.
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

fn a_client_that_leaves_frees_the_origin(engine: Engine) {
    let (sender, gone) = mpsc::channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |mut connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegun");
        while connection.try_send(&[b'x'; 16 * 1024]) {}
        let _ = sender.lock().expect("one at a time").send(());
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response_head();
    client.expect("begun");
    client.reset();
    gone.recv_timeout(PATIENCE).expect("the gateway closes what nobody reads any more");
}

/// An origin that answers nothing, and says when its connection has ended.
fn silent() -> (Origin, mpsc::Receiver<()>) {
    let (sender, gone) = mpsc::channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |mut connection| {
        connection.head();
        connection.read_to_end();
        let _ = sender.lock().expect("one at a time").send(());
    });
    (origin, gone)
}

fn a_client_that_leaves_frees_a_silent_origin(engine: Engine) {
    for body in ["", "body"] {
        let (origin, gone) = silent();
        let gate = Gate::http(engine, &[&origin]);
        let mut client = gate.client();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        origin.wait_accepted(1);
        drop(client);
        gone.recv_timeout(PATIENCE).expect("the gateway closes what nobody waits for any more");
        assert_eq!(gate.wait_access("reason", "client_closed")["attempts"], 1);
    }
}

fn a_client_that_resets_frees_a_silent_origin(engine: Engine) {
    let (origin, gone) = silent();
    let config = Gate::http_config(&[&origin], "").replacen(
        "protocol = \"http\"\n",
        "protocol = \"http\"\nabort_on_close = false\n",
        1,
    );
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_accepted(1);
    client.reset();
    gone.recv_timeout(PATIENCE).expect("the gateway closes what nobody waits for any more");
    gate.wait_access("reason", "client_closed");
}

/// Sends after the client has ended its sending side, and says what the client then gets.
fn after_half_close(engine: Engine, lines: &str, requests: &str) -> Client {
    let (cue, waiting) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let origin = Origin::raw(move |mut connection| {
        while !connection.head().method.is_empty() {
            let _ = waiting.lock().expect("one at a time").recv_timeout(PATIENCE);
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        }
    });
    let http = "protocol = \"http\"\n";
    let config = Gate::http_config(&[&origin], "").replacen(http, &format!("{http}{lines}"), 1);
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    client.send(requests).shutdown_write();
    origin.wait_accepted(1);
    // The gateway has seen the end by now, if it looks: it has served another client since.
    gate.admin("/snapshot");
    for _ in 0..2 {
        let _ = cue.send(());
    }
    let responses: Vec<_> = requests.matches("GET").map(|_| client.response().text()).collect();
    assert!(responses.iter().all(|text| text == "late"), "{responses:?}");
    client
}

fn a_client_may_end_its_sending_side_where_the_file_says_so(engine: Engine) {
    after_half_close(engine, "abort_on_close = false\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_end();
}

fn a_client_that_sent_requests_ahead_has_not_left(engine: Engine) {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let config = "abort_on_close = false\n";
    after_half_close(engine, config, &format!("{request}{request}")).expect_end();
}
