//! The PROXY protocol, with headers made here byte by byte: who must bring one, who the client then is, what is refused, and
//! what endpoints are told. Against the implementations of others: `proxy_rivals`.

use super::*;
use crate::harness::{HEAD, PATIENCE, RAW, WEB, closed_address, wait_for};
use std::sync::Mutex;
use std::sync::mpsc;

on_each_engine!(
    the_header_says_who_the_client_is,
    a_header_comes_in_any_pieces,
    a_tcp_header_comes_in_any_pieces,
    senders_that_speak_for_themselves_are_the_client,
    others_are_taken_as_they_are,
    wrong_headers_close_with_the_reason,
    a_header_that_does_not_come_is_not_waited_for,
    a_look_at_the_port_is_no_failure,
    waiting_for_a_header_is_parked,
    a_reload_changes_who_must_bring_a_header,
    endpoints_are_told_who_the_client_is,
    each_attempt_begins_with_the_header,
    connections_with_a_header_serve_one_client,
    what_a_header_said_is_passed_on,
    clients_of_unix_sockets_are_passed_on,
);

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";
/// Version 2: 192.0.2.7:40000 to 198.51.100.1:443.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// A listener that wants a header from every address of the loopback.
fn wanting(listener: &str) -> String {
    listener.replacen("address =", "proxy_protocol = [\"127.0.0.0/8\"]\naddress =", 1)
}

fn app(origin: &Origin, more: &str) -> String {
    format!("\n[upstream.app]\nendpoints = [\"{}\"]\n{more}\n", origin.address)
}

fn web(engine: Engine, origin: &Origin) -> Gate {
    Gate::start(engine, &format!("{HEAD}{}{}", wanting(WEB), app(origin, "")))
}

fn raw(engine: Engine, origin: &Origin) -> Gate {
    Gate::start(engine, &format!("{HEAD}{}{}", wanting(RAW), app(origin, "")))
}

fn the_header_says_who_the_client_is(engine: Engine) {
    let origin = Origin::text("");
    let listener = wanting(WEB).replacen("address =", "trusted = [\"192.0.2.0/24\"]\naddress =", 1);
    let gate = Gate::start(engine, &format!("{HEAD}{listener}{}", app(&origin, "")));
    for header in [LINE, BINARY] {
        let mut client = gate.client();
        client.send([header, GET].concat()).response();
        // The header counts for the connection, not for a request.
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n").response();
    }
    let seen: Vec<String> = origin.requests().iter().map(|request| request.all("x-forwarded-for").join(", ")).collect();
    let trusted = "10.1.1.1, 192.0.2.7";
    assert_eq!(seen, ["192.0.2.7", trusted, "192.0.2.7", trusted]);
    let record = gate.wait_access("client", "192.0.2.7:40000");
    assert!(record["proxy"].as_str().is_some_and(|proxy| proxy.starts_with("127.0.0.1:")), "{record}");
    assert_eq!(gate.metric("ringgate_listener_proxy_headers_total", &["listener=\"web\""]), 2.0);
}

fn a_header_comes_in_any_pieces(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = web(engine, &origin);
    for header in [LINE, BINARY] {
        let mut client = gate.client();
        for byte in [header, GET].concat() {
            client.send([byte]);
        }
        assert_eq!(client.response().body, b"hello");
        for cut in [1, 5, 13, 15, header.len() - 1, header.len()] {
            let mut client = gate.client();
            client.send(&header[..cut]);
            client.send([&header[cut..], GET].concat());
            assert_eq!(client.response().body, b"hello", "cut at {cut}");
        }
    }
    assert!(origin.requests().iter().all(|request| request.field("x-forwarded-for") == Some("192.0.2.7")));
}

fn a_tcp_header_comes_in_any_pieces(engine: Engine) {
    let origin = Origin::echo();
    let gate = raw(engine, &origin);
    for header in [LINE, BINARY] {
        gate.tcp_client().send([header, b"with data behind"].concat()).expect("with data behind");
        let mut client = gate.tcp_client();
        for byte in [header, b"byte by byte"].concat() {
            client.send([byte]);
        }
        client.expect("byte by byte").shutdown_write().expect_end();
    }
    gate.wait_access("client", "192.0.2.7:40000");
}

fn senders_that_speak_for_themselves_are_the_client(engine: Engine) {
    let origin = Origin::text("");
    let gate = web(engine, &origin);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x03abc";
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN who knows\r\n", local, unspecified] {
        gate.client().send([header, GET].concat()).response();
    }
    assert_eq!(origin.requests().len(), 4);
    assert!(origin.requests().iter().all(|request| request.field("x-forwarded-for") == Some("127.0.0.1")));
}

fn others_are_taken_as_they_are(engine: Engine) {
    let origin = Origin::text("");
    let gate =
        Gate::start(engine, &format!("{HEAD}{}{}", wanting(WEB).replace("127.0.0.0/8", "127.0.0.9"), app(&origin, "")));
    gate.client().send(GET).response();
    let claimed = gate.client().send([LINE, GET].concat()).response();
    assert_eq!(claimed.status, 400, "whoever is not listed cannot say who it is");
    Client::connect_from([127, 0, 0, 9], gate.address("web")).send([LINE, GET].concat()).response();
    let seen: Vec<_> = origin.requests().iter().map(|request| request.all("x-forwarded-for").join(", ")).collect();
    assert_eq!(seen, ["127.0.0.1", "192.0.2.7"]);
}

fn wrong_headers_close_with_the_reason(engine: Engine) {
    let origin = Origin::text("");
    let gate = Gate::start(engine, &format!("{HEAD}{}{}{}", wanting(WEB), wanting(RAW), app(&origin, "")));
    let mut checked = [BINARY, b"\x03\0\x04\0\0\0\0"].concat();
    checked[15] += 7;
    let huge = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff";
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let wrong: [&[u8]; 6] = [GET, b"PROXY TCP4 192.0.2.7\r\n", &checked, huge, &long, b"\r\n\r\n\0\r\nQUIT\n\x33"];
    for bytes in wrong {
        gate.client().send(bytes).expect_gone();
        gate.tcp_client().send(bytes).expect_gone();
    }
    gate.client().send(&LINE[..20]).shutdown_write().expect_gone();
    let failures =
        |listener: &str| gate.metric("ringgate_listener_failures_total", &["proxy_header_malformed", listener]);
    wait_for("the failures in the metrics", || {
        (failures("listener=\"web\"") == 7.0 && failures("listener=\"raw\"") == 6.0).then_some(())
    });
    gate.wait_access("reason", "proxy_header_malformed");
    let line = gate.wait_log("does not begin with a PROXY header but with \"GET / HTTP/1.1");
    assert!(line.contains("listener `") && line.contains("127.0.0.1:"), "{line}");
    let lines = gate.log_lines().iter().filter(|line| line.contains("closed a connection from")).count();
    assert!(lines < 13, "a line for each");
    assert_eq!(origin.accepted(), 0);
}

fn a_header_that_does_not_come_is_not_waited_for(engine: Engine) {
    let origin = Origin::text("");
    let soon =
        |listener: &str| wanting(listener).replacen("address =", "proxy_protocol_timeout = \"200ms\"\naddress =", 1);
    let gate = Gate::start(engine, &format!("{HEAD}{}{}{}", soon(WEB), soon(RAW), app(&origin, "")));
    let (mut silent, mut slow) = (gate.client(), gate.client());
    slow.send(&BINARY[..BINARY.len() - 1]);
    let (mut silent_tcp, mut slow_tcp) = (gate.tcp_client(), gate.tcp_client());
    slow_tcp.send(b"PROXY ");
    for client in [&mut silent, &mut slow, &mut silent_tcp, &mut slow_tcp] {
        client.expect_gone();
    }
    let late = || gate.metric("ringgate_listener_failures_total", &["proxy_header_timeout"]);
    wait_for("the failures in the metrics", || (late() == 4.0).then_some(()));
    gate.wait_access("reason", "proxy_header_timeout");
    gate.wait_log("did not arrive within `proxy_protocol_timeout`");
}

fn a_look_at_the_port_is_no_failure(engine: Engine) {
    let origin = Origin::text("");
    let gate = web(engine, &origin);
    for _ in 0..5 {
        gate.client().shutdown_write().expect_end();
    }
    gate.client().send([LINE, GET].concat()).response();
    assert_eq!(gate.metric("ringgate_listener_failures_total", &["listener=\"web\""]), 0.0);
}

/// Connections that are silent cost no task, whatever they are to bring.
fn waiting_for_a_header_is_parked(engine: Engine) {
    let origin = Origin::echo();
    let gate = raw(engine, &origin);
    let before = gate.metric("ringgate_worker_tasks_active", &[]);
    let mut waiting: Vec<Client> = (0..50).map(|_| gate.tcp_client()).collect();
    wait_for("the connections to be parked", || {
        (gate.metric("ringgate_worker_connections_parked", &[]) == 50.0).then_some(())
    });
    assert!(gate.metric("ringgate_worker_tasks_active", &[]) <= before);
    assert_eq!(origin.accepted(), 0);
    for client in &mut waiting {
        client.send([LINE, b"hello"].concat()).expect("hello");
    }
}

fn a_reload_changes_who_must_bring_a_header(engine: Engine) {
    let origin = Origin::text("");
    let without = format!("{HEAD}{WEB}{}", app(&origin, ""));
    let gate = Gate::start(engine, &without);
    let mut before = gate.client();
    before.get("/");
    let with = format!("{HEAD}{}{}", wanting(WEB), app(&origin, ""));
    gate.reload(&with);
    // What was accepted before stays what it was.
    assert_eq!(before.get("/").status, 200);
    wait_for("both workers to want a header", || {
        let mut client = gate.client();
        client.send(GET);
        client.try_response().is_err().then_some(())
    });
    gate.client().send([LINE, GET].concat()).response();
}

/// An origin that gives what it receives before a blank in its stream.
fn telling(sender: mpsc::Sender<Vec<u8>>) -> Origin {
    let sender = Mutex::new(sender);
    Origin::raw(move |mut connection| {
        let received = connection.read_to_end().unwrap_or_default();
        let _ = sender.lock().expect("one at a time").send(received);
    })
}

fn endpoints_are_told_who_the_client_is(engine: Engine) {
    let (sender, received) = mpsc::channel();
    let origin = telling(sender);
    let told = |more: &str| {
        let gate = Gate::start(engine, &format!("{HEAD}{RAW}{}", app(&origin, more)));
        let mut client = gate.tcp_client();
        let (port, to) = (client.local_address().port(), client.remote_address().port());
        client.send("hello").shutdown_write();
        let received = received.recv_timeout(PATIENCE).expect("the origin is told");
        let log = move || gate.wait_access("listener", "raw");
        (received, port, to, log)
    };
    let (line, port, to, _) = told("proxy_protocol = \"v1\"");
    assert_eq!(String::from_utf8_lossy(&line), format!("PROXY TCP4 127.0.0.1 127.0.0.3 {port} {to}\r\nhello"));
    let (binary, port, to, _) = told("proxy_protocol = \"v2\"");
    let (port, to) = (port.to_be_bytes(), to.to_be_bytes());
    let addresses = [127, 0, 0, 1, 127, 0, 0, 3, port[0], port[1], to[0], to[1]];
    assert_eq!(binary, [&BINARY[..16], &addresses, b"hello"].concat());
    let (binary, _, _, log) =
        told("proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"unique_id\", \"crc32c\", \"sni\"]");
    let id = log()["unique_id"].as_str().expect("it is logged").to_owned();
    assert_eq!((binary[15], id.len(), &binary[28..31]), (12 + 35 + 7, 32, &b"\x05\0\x20"[..]));
    assert_eq!(&binary[31..63], id.as_bytes());
    assert!(binary[63..66] == *b"\x03\0\x04" && binary.ends_with(b"hello"), "{}", binary.escape_ascii());
}

fn each_attempt_begins_with_the_header(engine: Engine) {
    let (_socket, closed) = closed_address();
    let (sender, received) = mpsc::channel();
    let origin = telling(sender);
    let upstream =
        format!("\n[upstream.app]\nproxy_protocol = \"v1\"\nendpoints = [\"{closed}\", \"{}\"]\n", origin.address);
    let gate = Gate::start(engine, &format!("{HEAD}{RAW}{upstream}"));
    for _ in 0..10 {
        gate.tcp_client().send("hello").shutdown_write();
        let told = received.recv_timeout(PATIENCE).expect("the origin is told");
        assert!(told.starts_with(b"PROXY TCP4 127.0.0.1 ") && told.ends_with(b"\r\nhello"), "{}", told.escape_ascii());
    }
}

/// Answers each request with the number of its connection and the port that this connection's header named.
fn naming() -> Origin {
    Origin::raw(|mut connection| {
        let line = connection.line();
        let port = line.split(' ').nth(4).unwrap_or_default().to_owned();
        while connection.head().method == "GET" {
            let body = format!("{} {port}", connection.index);
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

fn connections_with_a_header_serve_one_client(engine: Engine) {
    let origin = naming();
    let gate = Gate::start(engine, &format!("{HEAD}{WEB}{}", app(&origin, "proxy_protocol = \"v1\"")));
    let mut clients: Vec<Client> = (0..8).map(|_| gate.client()).collect();
    let mut connections = Vec::new();
    for round in 0..5 {
        for (index, client) in clients.iter_mut().enumerate() {
            let answer = client.get("/").text();
            let (connection, port) = answer.split_once(' ').expect("two words");
            assert_eq!(port, client.local_address().port().to_string(), "another client's connection");
            match round {
                0 => connections.push(connection.to_owned()),
                _ => assert_eq!(connections[index], connection, "its own connection is used again"),
            }
        }
    }
    assert_eq!(origin.accepted(), 8);
    let idle = || gate.metric("ringgate_endpoint_connections_idle", &[]);
    assert_eq!(idle(), 8.0);
    drop(clients);
    wait_for("their connections to end with the clients", || (idle() == 0.0).then_some(()));
}

fn what_a_header_said_is_passed_on(engine: Engine) {
    let (sender, received) = mpsc::channel();
    let origin = telling(sender);
    let more = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"sni\", \"alpn\", \"unique_id\"]";
    let gate = Gate::start(engine, &format!("{HEAD}{}{}", wanting(RAW), app(&origin, more)));
    let known = b"\x02\0\x0bexample.com\x01\0\x02h2\x05\0\x04id-7";
    let mut header = [BINARY, known, b"\xe0\0\x03own"].concat();
    header[15] += known.len() as u8 + 6;
    gate.tcp_client().send([&header, &b"hello"[..]].concat()).shutdown_write();
    let mut passed = [BINARY, known, b"hello"].concat();
    passed[15] += known.len() as u8;
    let told = received.recv_timeout(PATIENCE).expect("the origin is told");
    assert_eq!(told.escape_ascii().to_string(), passed.escape_ascii().to_string());
    let record = gate.wait_access("client", "192.0.2.7:40000");
    assert_eq!(record["unique_id"], "id-7");
}

fn clients_of_unix_sockets_are_passed_on(engine: Engine) {
    let (sender, received) = mpsc::channel();
    let origin = telling(sender);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8/client".to_vec();
    header.resize(16 + 108, 0);
    header.extend(b"/listener");
    header.resize(16 + 216, 0);
    for (version, expected) in [("v2", header.clone()), ("v1", b"PROXY UNKNOWN\r\n".to_vec())] {
        let more = format!("proxy_protocol = \"{version}\"");
        let gate = Gate::start(engine, &format!("{HEAD}{}{}", wanting(RAW), app(&origin, &more)));
        gate.tcp_client().send(&header).shutdown_write();
        let told = received.recv_timeout(PATIENCE).expect("the origin is told");
        assert_eq!(told.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}
