//! What is cut off does not look complete: where only the end of a connection says that everything has come, a failure on
//! one side reaches the other one as a reset.

use super::*;
use crate::harness::{HEAD, PATIENCE, RAW, closed_address};
use std::sync::{Mutex, mpsc};

on_each_engine!(
    a_tcp_stream_that_an_origin_resets,
    a_tcp_stream_that_a_client_resets,
    a_tcp_connection_that_no_endpoint_takes,
    a_tunnel_that_an_origin_resets,
    a_tunnel_that_a_client_resets,
    a_response_that_ends_with_the_connection,
);

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// An origin that sends a word and resets as soon as it has one byte of answer.
fn resetting(upgrade: bool) -> Origin {
    Origin::raw(move |mut connection| {
        if upgrade {
            connection.head();
            connection.send(SWITCHED);
        }
        connection.send("hello");
        connection.read_exact(1);
        connection.reset();
    })
}

/// An origin that sends a word and tells whether the end that follows was an orderly one.
fn watching(upgrade: bool) -> (Origin, mpsc::Receiver<bool>) {
    let (sender, ends) = mpsc::channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |mut connection| {
        if upgrade {
            connection.head();
            connection.send(SWITCHED);
        }
        connection.send("hello");
        let orderly = connection.read_to_end().is_some();
        let _ = sender.lock().expect("one at a time").send(orderly);
    });
    (origin, ends)
}

fn a_tcp_stream_that_an_origin_resets(engine: Engine) {
    let origin = resetting(false);
    let gate = Gate::tcp(engine, &[&origin]);
    gate.tcp_client().expect("hello").send(".").expect_reset();
}

fn a_tcp_stream_that_a_client_resets(engine: Engine) {
    let (origin, ends) = watching(false);
    let gate = Gate::tcp(engine, &[&origin]);
    let mut client = gate.tcp_client();
    client.expect("hello");
    client.reset();
    assert!(!ends.recv_timeout(PATIENCE).expect("an end"), "the origin saw an orderly end");
}

fn a_tcp_connection_that_no_endpoint_takes(engine: Engine) {
    let (_socket, closed) = closed_address();
    let gate = Gate::start(engine, &format!("{HEAD}{RAW}\n[upstream.app]\nendpoints = [\"{closed}\"]\n"));
    if let Some(mut client) = Client::connect_unless_reset(gate.address("raw")) {
        client.expect_reset();
    }
}

fn a_tunnel_that_an_origin_resets(engine: Engine) {
    let origin = resetting(true);
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    assert_eq!(client.send(UPGRADE).response_head().status, 101);
    client.expect("hello").send(".").expect_reset();
}

fn a_tunnel_that_a_client_resets(engine: Engine) {
    let (origin, ends) = watching(true);
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    assert_eq!(client.send(UPGRADE).response_head().status, 101);
    client.expect("hello");
    client.reset();
    assert!(!ends.recv_timeout(PATIENCE).expect("an end"), "the origin saw an orderly end");
}

/// RFC 9112 section 8: with neither chunks nor a length, only the kind of its end tells a client that a response is cut.
fn a_response_that_ends_with_the_connection(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhe");
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    let head = client.send("GET / HTTP/1.0\r\n\r\n").response_head();
    assert_eq!((head.status, head.field("transfer-encoding")), (200, None));
    client.expect("hellohe").expect_reset();
}
