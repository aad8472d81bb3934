//! How long connections are used, on either side: by count, by age, and what the other side is told.

use super::*;
use crate::harness::wait_for;

on_each_engine!(
    a_client_connection_ends_with_its_last_request,
    a_client_connection_ends_when_it_is_old,
    an_endpoint_connection_ends_with_its_last_request,
    an_endpoint_connection_ends_when_it_is_old,
);

fn with_listener(origin: &Origin, lines: &str) -> String {
    let http = "protocol = \"http\"\n";
    Gate::http_config(&[origin], "").replacen(http, &format!("{http}{lines}"), 1)
}

fn a_client_connection_ends_with_its_last_request(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = Gate::start(engine, &with_listener(&origin, "keep_alive_requests_max = 3\n"));
    for _ in 0..2 {
        let mut client = gate.client();
        assert_eq!(client.get("/").field("connection"), None);
        assert_eq!(client.get("/").field("connection"), None);
        assert_eq!(client.get("/").field("connection"), Some("close"));
        client.expect_end();
    }
    assert_eq!(gate.metric("ringgate_listener_keep_alive_ended_total", &[]), 2.0);
    // Requests sent ahead beyond the last are not answered, and the client can tell which.
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
    for expected in [None, None, Some("close")] {
        assert_eq!(client.response().field("connection"), expected);
    }
    client.expect_end();
    assert_eq!(origin.requests().len(), 9);
}

fn a_client_connection_ends_when_it_is_old(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = Gate::start(engine, &with_listener(&origin, "keep_alive_age_max = \"300ms\"\n"));
    let mut client = gate.client();
    let mut answered = 0;
    wait_for("a last response", || {
        answered += 1;
        (client.get("/").field("connection") == Some("close")).then_some(())
    });
    client.expect_end();
    assert!(answered > 1, "it was not old at its first request");
    assert_eq!(origin.requests().len(), answered);
}

/// What the origin's connections heard of their end, in the order of its requests.
fn heard(origin: &Origin) -> Vec<(usize, bool)> {
    let close = |request: &crate::harness::Request| request.field("connection") == Some("close");
    origin.requests().iter().map(|request| (request.connection, close(request))).collect()
}

fn an_endpoint_connection_ends_with_its_last_request(engine: Engine) {
    let origin = Origin::text("hello");
    let config = Gate::http_config(&[&origin], "connection_requests_max = 2").replace("workers = 2", "workers = 1");
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "hello");
    }
    assert_eq!(heard(&origin), [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)]);
}

fn an_endpoint_connection_ends_when_it_is_old(engine: Engine) {
    let origin = Origin::text("hello");
    let config = Gate::http_config(&[&origin], "connection_age_max = \"300ms\"").replace("workers = 2", "workers = 1");
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    wait_for("a second connection", || {
        assert_eq!(client.get("/").text(), "hello");
        (origin.accepted() > 1).then_some(())
    });
    let heard = heard(&origin);
    let last = heard.iter().rposition(|(connection, _)| *connection == 0).expect("the first connection");
    assert!(heard[..last].iter().all(|(_, close)| !close) && heard[last].1, "{heard:?}");
}
