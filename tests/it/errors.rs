//! Every status that the gateway answers by itself, with the reason that its log gives.

use super::*;
use crate::harness::{PATIENCE, closed_address, full_address, wait_for};
use std::sync::Mutex;
use std::sync::mpsc;

on_each_engine!(
    refuses_malformed_requests,
    logs_what_it_refused,
    refuses_what_no_route_takes,
    refuses_what_is_too_large,
    lets_a_refused_upload_end,
    refuses_unknown_expectations_and_codings,
    times_out_slow_requests,
    cuts_off_slow_bodies,
    cuts_off_slow_readers,
    waits_for_a_slow_origin_without_blame,
    answers_for_a_refused_connection,
    answers_for_no_endpoint,
    answers_for_a_malformed_response,
    answers_for_a_silent_origin,
    answers_for_an_origin_that_does_not_accept,
    ends_a_response_that_breaks_off,
);

/// The file with more lines in the table of its http listener.
fn with_listener(config: &str, lines: &str) -> String {
    config.replacen("protocol = \"http\"\n", &format!("protocol = \"http\"\n{lines}"), 1)
}

/// Sends one request and expects this status, this reason in the log and the end of the connection.
#[track_caller]
fn refused(gate: &Gate, bytes: &str, status: u16, reason: &str) {
    let mut client = gate.client();
    client.send(bytes);
    let response = client.response();
    assert_eq!(response.status, status, "{bytes:?} {response:?}");
    assert!(!response.body.is_empty() && response.field("content-type").is_some(), "{response:?}");
    gate.wait_access("reason", reason);
}

fn refuses_malformed_requests(engine: Engine) {
    let origin = Origin::text("never");
    let gate = Gate::http(engine, &[&origin]);
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "no request at all\r\n\r\n",
    ] {
        refused(&gate, bytes, 400, "request_malformed");
    }
    assert_eq!(origin.accepted(), 0);
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(client.response().status, 400);
    gate.wait_access("reason", "request_body_malformed");
}

/// Who asks at night why a client gets 400 is told which request it was, and which rule it broke.
fn logs_what_it_refused(engine: Engine) {
    let origin = Origin::text("never");
    let gate = Gate::http(engine, &[&origin]);
    for (sent, method, path, host, detail) in [
        ("GET /a?token=1 HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "GET", "/a", "a", "field_name"),
        (
            "POST /b HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST",
            "/b",
            "b",
            "framing",
        ),
        ("PUT /c HTTP/1.1\r\n\r\n", "PUT", "/c", "", "host"),
        ("GET /d\\e HTTP/1.1\r\nHost: d\r\n\r\n", "GET", "/d\\e", "d", "path_backslash"),
        ("\"\u{7}\" nonsense\r\n\r\n", "\"\u{7}\"", "nonsense", "", "start_line"),
    ] {
        assert_eq!(gate.client().send(sent).response().status, 400, "{sent}");
        let record = gate.wait_access("path", path);
        assert_eq!(
            (&record["method"], &record["host"], &record["detail"]),
            (&method.into(), &host.into(), &detail.into())
        );
    }
    // What never ended is told as far as it came.
    let mut client = gate.client();
    client.send("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n");
    assert_eq!(client.response().status, 405);
    assert_eq!(gate.wait_access("path", "db:5432")["method"], "CONNECT");
}

fn refuses_what_no_route_takes(engine: Engine) {
    let origin = Origin::text("hello");
    let route = "upstream = \"app\"\nhost = \"a\"\nmethod = [\"GET\", \"HEAD\"]\n";
    let config = Gate::http_config(&[&origin], "").replacen("upstream = \"app\"\n", route, 1);
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: b\r\n\r\n").response().status, 404);
    gate.wait_access("reason", "no_route");
    let response = client.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").response();
    assert_eq!((response.status, response.field("allow")), (405, Some("GET, HEAD")));
    gate.wait_access("reason", "method_not_allowed");
    let response = gate.client().send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").response();
    assert_eq!(response.status, 405);
    assert!(response.field("allow").is_some_and(|allow| !allow.contains("CONNECT")), "{response:?}");
    // A miss costs no connection.
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response().text(), "hello");
}

fn refuses_what_is_too_large(engine: Engine) {
    let origin = Origin::text("never");
    let limits = "body_max = \"1KiB\"
head_max = \"8KiB\"
target_max = \"2KiB\"
headers_max = 20
";
    let gate = Gate::start(engine, &with_listener(&Gate::http_config(&[&origin], ""), limits));
    let long = "y".repeat(10_000);
    refused(&gate, &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..3_000]), 414, "request_target_too_long");
    refused(&gate, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431, "request_head_too_large");
    let many: String = (0..30).map(|n| format!("X-{n}: 1\r\n")).collect();
    refused(&gate, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, "request_head_too_large");
    let length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n";
    refused(&gate, length, 413, "request_body_too_large");
    assert_eq!(origin.accepted(), 0);
    let chunks = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n0\r\n\r\n",
        &long[..2048]
    );
    let mut client = gate.client();
    client.send(chunks);
    assert_eq!(client.response().status, 413);
}

/// A client that looks at the answer only once it has sent everything, which is more than all buffers on the way hold.
fn lets_a_refused_upload_end(engine: Engine) {
    const LEN: usize = 24 << 20;
    let origin = Origin::text("never");
    let gate = Gate::start(engine, &with_listener(&Gate::http_config(&[&origin], ""), "body_max = \"1KiB\"\n"));
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n");
    let mut client = gate.client();
    client.send(head);
    for piece in vec![b'x'; LEN].chunks(1 << 20) {
        client.send(piece);
    }
    let response = client.response();
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    client.expect_end();
}

fn refuses_unknown_expectations_and_codings(engine: Engine) {
    let origin = Origin::text("never");
    let gate = Gate::http(engine, &[&origin]);
    refused(&gate, "GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417, "expectation_unknown");
    let coded = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    refused(&gate, coded, 501, "transfer_coding_unknown");
    refused(&gate, "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "version_unsupported");
    assert_eq!(origin.accepted(), 0);
}

fn times_out_slow_requests(engine: Engine) {
    let origin = Origin::http(|_| Response::ok(""));
    let timeouts = "request_head_timeout = \"200ms\"\nrequest_body_idle_timeout = \"200ms\"\n";
    let gate = Gate::start(engine, &with_listener(&Gate::http_config(&[&origin], ""), timeouts));
    refused(&gate, "GET / HTTP/1.1\r\nHost: a\r\nX-Unfin", 408, "request_head_timeout");
    refused(&gate, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", 408, "request_body_timeout");
}

/// Sends a piece again and again until the gateway answers or closes.
fn trickle(client: &mut Client, piece: &[u8]) {
    wait_for("the gateway to lose patience", || {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        (!client.try_send(piece) || client.has_input()).then_some(())
    });
}

fn cuts_off_slow_bodies(engine: Engine) {
    let origin = Origin::http(|_| Response::ok(""));
    let rate = "request_body_rate_min = \"1MiB/s\"\nrate_grace = \"300ms\"\n";
    let gate = Gate::start(engine, &with_listener(&Gate::http_config(&[&origin], ""), rate));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    // Never silent for as long as `request_body_idle_timeout` bears.
    trickle(&mut client, b"drop by drop");
    assert_eq!(client.response().status, 408);
    gate.wait_access("reason", "request_body_too_slow");
    // As fast as is asked for.
    let body = "y".repeat(100_000);
    client = gate.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.response().status, 200);
}

fn cuts_off_slow_readers(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while connection.try_send(&[b'x'; 16 * 1024]) {}
    });
    let rate = "response_rate_min = \"100MiB/s\"\nrate_grace = \"500ms\"\n";
    let gate = Gate::start(engine, &with_listener(&Gate::http_config(&[&origin], ""), rate));
    let mut client = Client::connect_small(gate.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response_head();
    // It takes something all the time, and far less than is asked for.
    wait_for("the gateway to lose patience", || {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        client.try_read(2048).is_err().then_some(())
    });
    gate.wait_access("reason", "client_too_slow");
}

fn waits_for_a_slow_origin_without_blame(engine: Engine) {
    const LENGTH: usize = 8 << 20;
    let (cue, waiting) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let origin = Origin::raw(move |mut connection| {
        connection.head();
        // Takes nothing for longer than any client may be slow.
        let _ = waiting.lock().expect("one at a time").recv_timeout(PATIENCE);
        connection.read_exact(LENGTH);
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        connection.read_to_end();
    });
    let times = "request_body_rate_min = \"1MiB/s\"\nrate_grace = \"100ms\"\nrequest_body_idle_timeout = \"100ms\"\n";
    let gate = Gate::start(engine, &with_listener(&Gate::http_config(&[&origin], ""), times));
    let mut client = gate.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let sent = client.fill(LENGTH);
    std::thread::park_timeout(std::time::Duration::from_millis(500));
    cue.send(()).expect("the origin waits");
    client.send(vec![b'x'; LENGTH - sent]);
    assert_eq!(client.response().status, 200);
}

fn answers_for_a_refused_connection(engine: Engine) {
    let (_socket, address) = closed_address();
    let gate = Gate::start(engine, &Gate::http_config(&[], "").replace("[]", &format!("[\"{address}\"]")));
    let mut client = gate.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").status, 502);
    }
    let record = gate.wait_access("reason", "connect_refused");
    assert_eq!(record["status"], 502);
}

fn answers_for_no_endpoint(engine: Engine) {
    let (_socket, address) = closed_address();
    let empty = format!("[{{ address = \"{address}\", weight = 0 }}]");
    let gate = Gate::start(engine, &Gate::http_config(&[], "").replace("[]", &empty));
    assert_eq!(gate.client().get("/").status, 503);
    gate.wait_access("reason", "no_endpoint");
}

fn answers_for_a_malformed_response(engine: Engine) {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/both" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "/fold" => Response::raw("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        _ => Response::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for target in ["/", "/both", "/fold"] {
        assert_eq!(client.get(target).status, 502, "{target}");
    }
    gate.wait_access("reason", "upstream_malformed");
}

fn answers_for_a_silent_origin(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.read_to_end();
    });
    let config = Gate::http_config(&[&origin], "");
    let route = "listener = \"web\"\ntimeout = \"200ms\"\n";
    let gate = Gate::start(engine, &config.replacen("listener = \"web\"\n", route, 1));
    assert_eq!(gate.client().get("/").status, 504);
    gate.wait_access("reason", "upstream_head_timeout");
}

fn answers_for_an_origin_that_does_not_accept(engine: Engine) {
    let (_sockets, address) = full_address();
    let config = Gate::http_config(&[], "connect_timeout = \"200ms\"");
    let gate = Gate::start(engine, &config.replace("[]", &format!("[\"{address}\"]")));
    assert_eq!(gate.client().get("/").status, 504);
    gate.wait_access("reason", "connect_timeout");
}

fn ends_a_response_that_breaks_off(engine: Engine) {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/length" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").close(),
        _ => Response::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").close(),
    });
    let gate = Gate::http(engine, &[&origin]);
    for target in ["/length", "/chunked"] {
        let mut client = gate.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        // The status is out already: all that is left is an end that cannot be taken for the whole.
        assert!(client.try_response().is_err(), "{target}: half a body passed for a whole one");
    }
    gate.wait_access("reason", "upstream_closed_early");
}
