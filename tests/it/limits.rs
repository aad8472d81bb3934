//! Who is let in: limits for each client and for the rate at which connections come, and what one that is refused sees.

use super::*;
use crate::harness::{HEAD, RAW, WEB, wait_for};

on_each_engine!(
    one_client_has_no_more_than_its_share,
    an_exempt_client_has_more,
    a_refused_tcp_client_is_closed_at_once,
    connections_beyond_the_rate_are_refused,
    a_proxy_is_not_its_clients,
);

fn gate(engine: Engine, origin: &Origin, keys: &str) -> Gate {
    let web = WEB.replacen("protocol = \"http\"\n", &format!("protocol = \"http\"\n{keys}\n"), 1);
    let raw = RAW.replacen("protocol = \"tcp\"\n", &format!("protocol = \"tcp\"\n{keys}\n"), 1);
    Gate::start(engine, &format!("{HEAD}{web}{raw}\n[upstream.app]\nendpoints = [\"{}\"]\n", origin.address))
}

/// A client of the listener `web` with this address.
fn client_from(gate: &Gate, from: [u8; 4]) -> Client {
    Client::connect_from(from, gate.address("web"))
}

fn one_client_has_no_more_than_its_share(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = gate(engine, &origin, "connections_max_per_client = 3");
    let mut held: Vec<Client> = (0..3).map(|_| gate.client()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").text(), "hello");
    }
    // The listener's workers count together: whichever takes the fourth refuses it.
    let refused = gate.client().response();
    assert_eq!(refused.status, 429);
    assert_eq!((refused.field("retry-after"), refused.field("connection")), (Some("1"), Some("close")));
    let record = gate.wait_access("reason", "client_full");
    assert_eq!((record["status"].as_u64(), record["listener"].as_str()), (Some(429), Some("web")));
    assert_eq!(gate.metric("ringgate_listener_failures_total", &["reason=\"client_full\""]), 1.0);
    assert_eq!(client_from(&gate, [127, 0, 0, 9]).get("/").text(), "hello");
    held.pop();
    wait_for("a free place", || {
        let mut client = gate.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().ok().filter(|response| response.status == 200)
    });
}

fn an_exempt_client_has_more(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = gate(engine, &origin, "connections_max_per_client = 1\nclients_exempt = [\"127.0.0.8/30\"]");
    let mut held: Vec<Client> = (0..5).map(|_| client_from(&gate, [127, 0, 0, 9])).collect();
    for client in &mut held {
        assert_eq!(client.get("/").text(), "hello");
    }
}

fn a_refused_tcp_client_is_closed_at_once(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate(engine, &origin, "connections_max_per_client = 1");
    let mut held = gate.tcp_client();
    held.send("one").expect("one");
    gate.tcp_client().expect_gone();
    let record = gate.wait_access("reason", "client_full");
    assert_eq!((record["protocol"].as_str(), record["listener"].as_str()), (Some("tcp"), Some("raw")));
    held.send("two").expect("two");
}

fn connections_beyond_the_rate_are_refused(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = gate(engine, &origin, "accepts_per_second = 1\naccepts_burst = 5");
    let statuses: Vec<u16> = (0..40)
        .map(|_| {
            let mut client = gate.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.response().status
        })
        .collect();
    assert_eq!(statuses[..5], [200; 5], "the burst is let in");
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(refused > 0 && statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    let counted = gate.metric("ringgate_listener_failures_total", &["reason=\"accept_rate\""]);
    assert_eq!(counted, refused as f64);
    assert_eq!(gate.metric("ringgate_listener_connections_refused_total", &["listener=\"web\""]), counted);
}

/// Behind a proxy it is the clients that the PROXY header names who are held to the limit.
fn a_proxy_is_not_its_clients(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = gate(engine, &origin, "connections_max_per_client = 1\nproxy_protocol = [\"127.0.0.1/32\"]");
    let conveyed = |client: &str| {
        let mut connection = gate.client();
        connection.send(format!("PROXY TCP4 {client} 192.0.2.1 4000 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let status = connection.response().status;
        (connection, status)
    };
    let (first, status) = conveyed("198.51.100.1");
    assert_eq!(status, 200);
    assert_eq!(conveyed("198.51.100.2").1, 200);
    assert_eq!(conveyed("198.51.100.1").1, 429);
    drop(first);
    wait_for("a free place", || (conveyed("198.51.100.1").1 == 200).then_some(()));
}
