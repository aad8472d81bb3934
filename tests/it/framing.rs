//! Bodies and connections of HTTP/1.1: what is framed how, in which order, and what stays open (RFC 9112).

use super::*;
use crate::harness::{PATIENCE, curl};
use std::sync::{Arc, Condvar, Mutex, mpsc};

on_each_engine!(
    keeps_both_connections_open,
    answers_pipelined_requests_in_order,
    passes_bodies_by_length,
    passes_chunked_bodies_and_trailers,
    keeps_trailers_to_their_message,
    passes_a_response_until_close,
    speaks_to_http_1_0_clients,
    leaves_out_bodies_of_head_204_and_304,
    passes_interim_responses,
    continues_when_the_client_waits,
    takes_a_head_byte_by_byte,
    closes_when_asked,
    serves_curl_from_nginx,
    large_bodies_arrive_whole,
    a_slow_reader_gets_everything,
    a_slow_origin_gets_everything,
    waiting_requests_starve_nobody,
);

fn keeps_both_connections_open(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = Gate::start(engine, &Gate::http_config(&[&origin], "").replace("workers = 2", "workers = 1"));
    let mut client = gate.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "hello");
    }
    assert_eq!(origin.accepted(), 1);
}

fn answers_pipelined_requests_in_order(engine: Engine) {
    let origin = Origin::http(|request| Response::ok(format!("{} {}", request.target, request.body.len())));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    let requests: String = (0..50)
        .map(|n| match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"),
            _ => format!("PUT /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        })
        .collect();
    client.send(requests);
    for n in 0..50 {
        assert_eq!(client.response().text(), format!("/{n} {}", [0, 4, 2][n % 3]));
    }
}

fn passes_bodies_by_length(engine: Engine) {
    let origin = Origin::http(|request| Response::ok(request.body.clone()));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for length in [0, 1, 100, 5_000, 300_000] {
        let body = pattern(length);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).send(&body);
        let response = client.response();
        assert_eq!(response.field("content-length"), Some(length.to_string().as_str()));
        assert!(response.body == body, "a body of {length} bytes changed");
    }
    assert!(origin.requests().iter().all(|request| request.field("transfer-encoding").is_none()));
}

fn passes_chunked_bodies_and_trailers(engine: Engine) {
    let origin = Origin::http(|request| {
        let sum = request.trailers.iter().map(|(name, value)| format!("{name}={value}")).collect::<String>();
        Response::ok(request.body.clone()).chunked().trailer("X-Seen", &sum.to_lowercase())
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    for round in 0..3 {
        client.send(head).send("5;ext=1\r\nhello\r\n").send("1\r\n \r\n").send("5\r\nworld\r\n0\r\n");
        client.send(format!("X-Sum: {round}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.text(), "hello world");
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        assert_eq!(response.trailers, [("X-Seen".to_string(), format!("x-sum={round}"))]);
    }
}

/// A chunked response's trailers must not appear behind the next response that is framed to the client in chunks, which
/// may be another client's.
fn keeps_trailers_to_their_message(engine: Engine) {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/chunked" => Response::ok("first").chunked().trailer("X-Secret", "of the first"),
        _ => Response::raw("HTTP/1.1 200 OK\r\n\r\nsecond").close(),
    });
    let gate = Gate::start(engine, &Gate::http_config(&[&origin], "").replace("workers = 2", "workers = 1"));
    for _ in 0..3 {
        assert_eq!(gate.client().get("/chunked").trailers, [("X-Secret".to_string(), "of the first".to_string())]);
        let response = gate.client().get("/until-close");
        assert_eq!((response.text().as_str(), response.trailers.len()), ("second", 0));
    }
}

fn passes_a_response_until_close(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        connection.head();
        connection.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil ").send("the end");
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    // A client of HTTP/1.1 keeps its connection: the gateway frames what the origin does not.
    assert_eq!(client.get("/").text(), "until the end");
    assert_eq!(client.get("/").text(), "until the end");
    let mut old = gate.client();
    let response = old.send("GET / HTTP/1.0\r\n\r\n").response();
    assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("until the end", None));
}

fn speaks_to_http_1_0_clients(engine: Engine) {
    let origin = Origin::http(|_| Response::ok("hello").chunked());
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    let response = client.send("GET / HTTP/1.0\r\n\r\n").response();
    assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("hello", None));
    // RFC 9110 section 2.5: each side speaks its own version, on each of its connections.
    assert_eq!(response.version, "HTTP/1.1");
    assert_eq!(origin.request().version, "HTTP/1.1");
    client.expect_end();
    let origin = Origin::text("kept");
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..2 {
        let response = client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").response();
        assert_eq!((response.text().as_str(), response.field("content-length")), ("kept", Some("4")));
    }
}

fn leaves_out_bodies_of_head_204_and_304(engine: Engine) {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/204" => Response::new(204, ""),
        "/304" => Response::new(304, "").with("ETag", "\"a\"").with("Content-Length", "1234"),
        _ => Response::ok("a body"),
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response_to("HEAD");
    assert_eq!((response.status, response.field("content-length")), (200, Some("6")));
    assert_eq!(client.get("/204").status, 204);
    let response = client.get("/304");
    assert_eq!((response.status, response.field("etag")), (304, Some("\"a\"")));
    assert_eq!(client.get("/").text(), "a body");
}

fn passes_interim_responses(engine: Engine) {
    let origin = Origin::raw(|mut connection| {
        while !connection.head().method.is_empty() {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..3 {
        let interim = client.get("/");
        assert_eq!((interim.status, interim.field("link")), (103, Some("</a.css>; rel=preload")));
        assert_eq!(client.response().text(), "ok");
    }
    // RFC 9110 section 15.2: none is sent to a client of HTTP/1.0.
    let mut old = gate.client();
    assert_eq!(old.send("GET / HTTP/1.0\r\n\r\n").response().status, 200);
}

fn continues_when_the_client_waits(engine: Engine) {
    let origin = Origin::http(|request| Response::ok(request.body.clone()));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.response().status, 100);
        assert_eq!(client.send("hello").response().text(), "hello");
    }
}

fn takes_a_head_byte_by_byte(engine: Engine) {
    let origin = Origin::http(|request| Response::ok(request.field("x-long").unwrap_or("").len().to_string()));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for byte in format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "y".repeat(300)).bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().text(), "300");
}

fn closes_when_asked(engine: Engine) {
    let origin = Origin::text("bye");
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    let response = client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("bye", Some("close")));
    client.expect_end();
}

fn serves_curl_from_nginx(engine: Engine) {
    let nginx = Nginx::start(&format!("curl-{}", engine.name()));
    nginx.write("hello.txt", b"from nginx\n");
    let config = Gate::http_config(&[], "").replace("[]", &format!("[\"{}\"]", nginx.address));
    let gate = Gate::start(engine, &config);
    let url = |path: &str| format!("http://{}{path}", gate.address("web"));
    assert_eq!(curl(&[&url("/hello.txt"), &url("/hello.txt")]), "from nginx\nfrom nginx\n");
    assert!(curl(&["-I", &url("/hello.txt")]).to_lowercase().contains("content-length: 11\r\n"));
    assert_eq!(curl(&["-r", "5-9", &url("/hello.txt")]), "nginx");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", &url("/gone/")]), "410");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code} %{num_connects}", &url("/none")]), "404 1");
}

fn large_bodies_arrive_whole(engine: Engine) {
    const LENGTH: usize = 24 << 20;
    let nginx = Nginx::start(&format!("large-{}", engine.name()));
    let body = pattern(LENGTH);
    nginx.write("large", &body);
    let config = Gate::http_config(&[], "").replace("[]", &format!("[\"{}\"]", nginx.address));
    let gate = Gate::start(engine, &config);
    let response = gate.client().get("/large");
    assert!(response.body == body, "{} bytes of {LENGTH}, or changed ones", response.body.len());
}

fn a_slow_reader_gets_everything(engine: Engine) {
    const LENGTH: usize = 8 << 20;
    let origin = Origin::http(|request| {
        let response = Response::ok(pattern(LENGTH));
        if request.target == "/chunked" { response.chunked() } else { response }
    });
    let gate = Gate::http(engine, &[&origin]);
    for target in ["/length", "/chunked"] {
        let mut slow = Client::connect_small(gate.address("web"));
        slow.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        // Everything between stands still before the reader begins: the request is known, its response is not taken.
        origin.wait_accepted(1);
        assert_eq!(gate.client().get("/chunked").body.len(), LENGTH);
        assert!(slow.response().body == pattern(LENGTH));
    }
}

fn a_slow_origin_gets_everything(engine: Engine) {
    const LENGTH: usize = 8 << 20;
    let (cue, waiting) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let origin = Origin::http(|request| Response::ok(request.body.len().to_string()));
    let slow = Origin::raw(move |mut connection| {
        let _ = waiting.lock().expect("one at a time").recv_timeout(PATIENCE);
        let whole = connection.request().is_some_and(|request| request.body == pattern(LENGTH));
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{}", if whole { "same" } else { "torn" }));
    });
    let mut config = Gate::http_config(&[&origin], "");
    let route = "[[route]]\nlistener = \"web\"\npath = \"/slow\"\nupstream = \"slow\"\n";
    config.push_str(&format!("{route}[upstream.slow]\nendpoints = [\"{}\"]\n", slow.address));
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let uploading = std::thread::spawn(move || {
        client.send(pattern(LENGTH));
        client
    });
    // While that stands still, others go on.
    slow.wait_accepted(1);
    assert_eq!(gate.client().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok").response().text(), "2");
    cue.send(()).expect("the origin waits");
    assert_eq!(uploading.join().expect("it does not panic").response().text(), "same");
}

fn waiting_requests_starve_nobody(engine: Engine) {
    // More than there are receive buffers.
    const WAITING: usize = 200;
    let gates = Arc::new((Mutex::new(false), Condvar::new()));
    let held = gates.clone();
    let origin = Origin::http(move |request| {
        if request.target == "/held" {
            let open = held.0.lock().expect("nothing panics with it");
            drop(held.1.wait_while(open, |open| !*open).expect("nothing panics with it"));
        }
        Response::ok(request.target.clone())
    });
    let gate = Gate::http(engine, &[&origin]);
    let mut waiting: Vec<Client> = (0..WAITING).map(|_| gate.client()).collect();
    for client in &mut waiting {
        client.send("POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    }
    origin.wait_accepted(WAITING);
    for _ in 0..10 {
        assert_eq!(gate.client().get("/free").text(), "/free");
    }
    *gates.0.lock().expect("nothing panics with it") = true;
    gates.1.notify_all();
    for client in &mut waiting {
        assert_eq!(client.response().text(), "/held");
    }
}

/// Bytes that repeat at no power of two, so that a chunk lost, doubled or moved shows.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 65_521) as u8).collect()
}
