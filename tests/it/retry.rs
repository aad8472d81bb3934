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
