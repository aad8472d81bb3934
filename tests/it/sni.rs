//! TLS passed through by its server name: with real clients and real servers, and with ClientHellos cut and damaged by hand.

use super::*;
use crate::harness::{HEAD, PATIENCE, RAW, curl, try_curl, wait_for};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;

on_each_engine!(
    each_name_finds_its_route,
    what_no_route_is_for_goes_to_the_default,
    no_route_is_an_alert,
    a_hello_in_pieces_finds_its_route,
    a_real_hello_is_cut_into_records_and_bytes,
    a_huge_hello_passes_unchanged,
    hellos_beyond_the_limit_are_refused,
    what_is_wrong_gets_an_alert,
    plain_connections_go_to_the_default_or_nowhere,
    a_hello_that_does_not_come_is_not_waited_for,
    waiting_for_a_hello_is_parked,
    a_header_comes_before_the_hello,
    endpoints_are_told_the_name,
    a_reload_changes_the_routes,
    many_slow_hellos_hold_bounded_memory,
);

/// What `openssl s_client -servername a.example.com -alpn h2` sends first.
const HELLO: &[u8] = include_bytes!("../fuzz/corpus/client_hello/openssl");

/// A tcp listener without an upstream of its own, so that it has routes alone.
fn by_name(more: &str) -> String {
    RAW.replacen("upstream = \"app\"", more, 1)
}

/// Routes `a.example.com` and `*.example.com` to these upstreams.
fn routes(exact: SocketAddr, wildcard: SocketAddr) -> String {
    format!(
        r#"
[[route]]
listener = "raw"
sni = "a.example.com"
upstream = "exact"
[[route]]
listener = "raw"
sni = "*.example.com"
upstream = "wildcard"
[upstream.exact]
endpoints = ["{exact}"]
[upstream.wildcard]
endpoints = ["{wildcard}"]
"#
    )
}

fn gate_with(engine: Engine, listener: &str, exact: SocketAddr, wildcard: SocketAddr) -> Gate {
    Gate::start(engine, &format!("{HEAD}{}{}", by_name(listener), routes(exact, wildcard)))
}

fn default_to(origin: SocketAddr) -> String {
    format!("\n[upstream.other]\nendpoints = [\"{origin}\"]\n")
}

/// Asks `https://HOST/` of the gate, as any client of TLS would.
#[track_caller]
fn ask(gate: &Gate, host: &str, more: &[&str]) -> String {
    let to = gate.address("raw");
    let (url, resolve) = (format!("https://{host}:{}/", to.port()), format!("{host}:{}:{}", to.port(), to.ip()));
    curl(&[&["-k", "--resolve", &resolve, &url], more].concat())
}

/// What openssl says of the connection that it cannot make.
fn openssl(gate: &Gate, arguments: &[&str]) -> String {
    let to = gate.address("raw").to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &to])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed by scripts/test");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn each_name_finds_its_route(engine: Engine) {
    let exact = Nginx::tls(&format!("exact-{}", engine.name()), &["a.example.com"]);
    let wildcard = Nginx::tls(&format!("wildcard-{}", engine.name()), &["b.example.com", "x.y.example.com"]);
    let gate = gate_with(engine, "", exact.address, wildcard.address);
    for protocol in ["--http1.1", "--http2", "--tlsv1.3"] {
        let name = |of: &str| format!("{of}-{}", engine.name());
        assert_eq!(ask(&gate, "a.example.com", &[protocol]), format!("{} as a.example.com", name("exact")));
        assert_eq!(ask(&gate, "A.Example.COM", &[protocol]), format!("{} as a.example.com", name("exact")));
        assert_eq!(ask(&gate, "b.example.com", &[protocol]), format!("{} as b.example.com", name("wildcard")));
        assert_eq!(ask(&gate, "x.y.example.com", &[protocol]), format!("{} as x.y.example.com", name("wildcard")));
    }
    // The certificate is the endpoint's: a client that checks it is satisfied.
    let authority = exact.folder().join("a.example.com.crt").display().to_string();
    let to = gate.address("raw");
    let url = format!("https://a.example.com:{}/", to.port());
    curl(&["--cacert", &authority, "--resolve", &format!("a.example.com:{}:{}", to.port(), to.ip()), &url]);
    let record = gate.wait_access("sni", "b.example.com");
    assert_eq!((&record["route"], &record["upstream"]), (&"raw *.example.com".into(), &"wildcard".into()));
    let matched = || gate.metric("ringgate_route_requests_total", &["route=\"raw a.example.com\""]);
    wait_for("the connections in the metrics", || (matched() == 7.0).then_some(()));
}

fn what_no_route_is_for_goes_to_the_default(engine: Engine) {
    let routed = Nginx::tls(&format!("routed-{}", engine.name()), &["a.example.com"]);
    let other = Nginx::tls(&format!("other-{}", engine.name()), &["example.com"]);
    let config = format!(
        "{HEAD}{}{}{}",
        by_name("upstream = \"other\""),
        routes(routed.address, routed.address),
        default_to(other.address)
    );
    let gate = Gate::start(engine, &config);
    let of_other = format!("other-{} as example.com", engine.name());
    // The wildcard does not stand for the name itself.
    assert_eq!(ask(&gate, "example.com", &[]), of_other);
    assert_eq!(ask(&gate, "example.org", &[]), of_other);
    // A client that connects to an address asks for no name.
    assert_eq!(curl(&["-k", &format!("https://{}/", gate.address("raw"))]), of_other);
    assert_eq!(ask(&gate, "a.example.com", &[]), format!("routed-{} as a.example.com", engine.name()));
    let record = gate.wait_access("sni", "example.org");
    assert_eq!((record.get("route"), &record["upstream"]), (None, &"other".into()));
}

fn no_route_is_an_alert(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    let said = openssl(&gate, &["-servername", "example.org"]);
    assert!(said.contains("unrecognized name") && said.contains("alert number 112"), "{said}");
    let said = openssl(&gate, &["-servername", "example.org", "-tls1_2"]);
    assert!(said.contains("alert number 112"), "{said}");
    let said = openssl(&gate, &["-noservername"]);
    assert!(said.contains("missing extension") && said.contains("alert number 109"), "{said}");
    let to = gate.address("raw");
    let resolve = format!("example.org:{}:{}", to.port(), to.ip());
    let output = try_curl(&["-k", "--resolve", &resolve, &format!("https://example.org:{}/", to.port())]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("unrecognized name"), "{said}");
    let record = gate.wait_access("sni", "example.org");
    assert_eq!((&record["reason"], &record["attempts"]), (&"no_route".into(), &0.into()));
    let refused = || gate.metric("ringgate_listener_failures_total", &["listener=\"raw\"", "no_route"]);
    wait_for("the failures in the metrics", || (refused() == 4.0).then_some(()));
    assert_eq!(origin.accepted(), 0);
}

/// The handshake message of `hello` in records of `size` bytes.
fn recut(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

fn a_hello_in_pieces_finds_its_route(engine: Engine) {
    let origin = Origin::echo();
    let nowhere = Origin::raw(drop);
    let gate = gate_with(engine, "", origin.address, nowhere.address);
    for (size, piece) in [(16_384, 1), (16_384, 100), (1, 1), (7, 50), (1, 100_000), (100, 104)] {
        let bytes = [&recut(HELLO, size)[..], b"and what follows"].concat();
        let mut client = gate.tcp_client();
        for part in bytes.chunks(piece) {
            client.send(part);
        }
        assert_eq!(client.read_exact(bytes.len()), bytes, "records of {size}, pieces of {piece}");
        client.shutdown_write().expect_end();
    }
    let record = gate.wait_access("bytes_received", HELLO.len() + 16);
    assert_eq!(record["sni"], "a.example.com");
}

/// Stands between a real client and the gate and sends the client's first record anew: in records of `size` bytes, byte by
/// byte.
fn cutter(to: SocketAddr, size: usize) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut gate = TcpStream::connect(to).expect("the gate accepts");
            gate.set_nodelay(true).expect("an open socket");
            let mut header = [0; 5];
            client.read_exact(&mut header).expect("a record");
            let mut message = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            client.read_exact(&mut message).expect("a whole record");
            for byte in recut(&[&header[..], &message].concat(), size) {
                gate.write_all(&[byte]).expect("the gate takes it");
            }
            let (mut from, mut back) = (gate.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
            std::thread::spawn(move || std::io::copy(&mut from, &mut back));
            let _ = std::io::copy(&mut client, &mut gate);
        }
    });
    address
}

fn a_real_hello_is_cut_into_records_and_bytes(engine: Engine) {
    let name = format!("cut-{}", engine.name());
    let nginx = Nginx::tls(&name, &["a.example.com"]);
    let gate = gate_with(engine, "", nginx.address, nginx.address);
    for size in [16_384, 100] {
        let by = cutter(gate.address("raw"), size);
        let resolve = format!("a.example.com:{}:127.0.0.1", by.port());
        let answer = curl(&["-k", "--resolve", &resolve, &format!("https://a.example.com:{}/", by.port())]);
        assert_eq!(answer, format!("{name} as a.example.com"), "in records of {size}");
    }
}

/// HELLO with another extension of `len` bytes, of a kind that nobody knows.
fn padded(len: usize) -> Vec<u8> {
    let mut message = HELLO[5..].to_vec();
    // The extensions are last, and their length stands where the first of them begins.
    let at = 4 + 2 + 32;
    let session = usize::from(message[at]);
    let suites = at + 1 + session;
    let compression = suites + 2 + usize::from(u16::from_be_bytes([message[suites], message[suites + 1]]));
    let extensions = compression + 1 + usize::from(message[compression]);
    let grown = u16::from_be_bytes([message[extensions], message[extensions + 1]]) + 4 + len as u16;
    message[extensions..extensions + 2].copy_from_slice(&grown.to_be_bytes());
    message.extend([0xfe, 0xed]);
    message.extend((len as u16).to_be_bytes());
    message.resize(message.len() + len, 7);
    let size = (message.len() as u32 - 4).to_be_bytes();
    message[1..4].copy_from_slice(&size[1..]);
    [&[22, 3, 1, 0, 0], &message[..]].concat()
}

fn a_huge_hello_passes_unchanged(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    for len in [2_000, 10_000, 16_384 - HELLO.len()] {
        for (size, piece) in [(16_384, 1_400), (1_400, 200_000), (500, 300)] {
            let bytes = recut(&padded(len), size);
            let mut client = gate.tcp_client();
            for part in bytes.chunks(piece) {
                client.send(part);
            }
            assert!(client.read_exact(bytes.len()) == bytes, "{len} bytes in records of {size}, pieces of {piece}");
        }
    }
}

const DECODE_ERROR: &[u8] = b"\x15\x03\x03\0\x02\x02\x32";

fn hellos_beyond_the_limit_are_refused(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    // One byte too many, ten times the limit as far as lengths can say it, and records that are nearly all header.
    for bytes in
        [recut(&padded(16_385 - HELLO.len() + 1), 16_384), recut(&padded(60_000), 16_384), recut(&padded(8_000), 1)]
    {
        let mut client = gate.tcp_client();
        client.send(&bytes).expect(DECODE_ERROR).shutdown_write().expect_end();
    }
    let refused = || gate.metric("ringgate_listener_failures_total", &["client_hello_too_large"]);
    wait_for("the failures in the metrics", || (refused() == 3.0).then_some(()));
    gate.wait_access("reason", "client_hello_too_large");
    assert_eq!(origin.accepted(), 0);
}

fn what_is_wrong_gets_an_alert(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    let mut empty_name = HELLO.to_vec();
    let name = empty_name.windows(13).position(|part| part == b"a.example.com").expect("it is in there");
    empty_name[name - 1] = 0;
    let wrong: [&[u8]; 4] =
        [b"\x16\x03\x01\0\0", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\0\x04\x02\0\0\0", &empty_name];
    for bytes in wrong {
        gate.tcp_client().send(bytes).expect(DECODE_ERROR).shutdown_write().expect_end();
    }
    gate.tcp_client().send(&HELLO[..100]).shutdown_write().expect_gone();
    gate.wait_access("reason", "client_closed");
    let refused = || gate.metric("ringgate_listener_failures_total", &["client_hello_malformed"]);
    wait_for("the failures in the metrics", || (refused() == 4.0).then_some(()));
    // A look at the port is no failure.
    gate.tcp_client().shutdown_write().expect_gone();
    assert_eq!(gate.metric("ringgate_listener_failures_total", &["listener=\"raw\""]), 5.0);
    assert_eq!(origin.accepted(), 0);
}

fn plain_connections_go_to_the_default_or_nowhere(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    gate.tcp_client().send("GET / HTTP/1.1\r\n\r\n").expect_gone();
    gate.wait_access("reason", "not_tls");
    let routed = Origin::raw(drop);
    let config = format!(
        "{HEAD}{}{}{}",
        by_name("upstream = \"other\""),
        routes(routed.address, routed.address),
        default_to(origin.address)
    );
    let gate = Gate::start(engine, &config);
    for plain in [&b"SSH-2.0-client\r\n"[..], b"\x16"] {
        let mut client = gate.tcp_client();
        // What may be TLS yet is waited for.
        client.send(plain).send("GET").expect([plain, b"GET"].concat());
    }
    assert_eq!(routed.accepted(), 0);
}

fn a_hello_that_does_not_come_is_not_waited_for(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "client_hello_timeout = \"200ms\"", origin.address, origin.address);
    let (mut silent, mut slow) = (gate.tcp_client(), gate.tcp_client());
    slow.send(&HELLO[..HELLO.len() - 1]);
    silent.expect_gone();
    slow.expect_gone();
    gate.wait_access("reason", "client_hello_timeout");
    let late = || gate.metric("ringgate_listener_failures_total", &["client_hello_timeout"]);
    wait_for("the failures in the metrics", || (late() == 2.0).then_some(()));
    // Once the hello is there, the time is over.
    let mut client = gate.tcp_client();
    client.send(HELLO);
    assert_eq!(client.read_exact(HELLO.len()), HELLO);
    wait_for("the time to pass", || {
        let mut other = gate.tcp_client();
        other.expect_gone();
        Some(())
    });
    client.send("still here").expect("still here");
}

/// Connections that are silent cost no task.
fn waiting_for_a_hello_is_parked(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    let before = gate.metric("ringgate_worker_tasks_active", &[]);
    let mut waiting: Vec<Client> = (0..50).map(|_| gate.tcp_client()).collect();
    wait_for("the connections to be parked", || {
        (gate.metric("ringgate_worker_connections_parked", &[]) == 50.0).then_some(())
    });
    assert!(gate.metric("ringgate_worker_tasks_active", &[]) <= before);
    assert_eq!(origin.accepted(), 0);
    for client in &mut waiting {
        client.send(HELLO);
        assert_eq!(client.read_exact(HELLO.len()), HELLO);
    }
}

fn a_header_comes_before_the_hello(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "proxy_protocol = [\"127.0.0.0/8\"]", origin.address, origin.address);
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";
    let all = [&line[..], HELLO].concat();
    for piece in [1, line.len(), all.len()] {
        let mut client = gate.tcp_client();
        for part in all.chunks(piece) {
            client.send(part);
        }
        assert_eq!(client.read_exact(HELLO.len()), HELLO);
    }
    let record = gate.wait_access("sni", "a.example.com");
    assert_eq!(record["client"], "192.0.2.7:40000");
}

fn endpoints_are_told_the_name(engine: Engine) {
    let (sender, received) = mpsc::channel();
    let sender = Mutex::new(sender);
    let origin = Origin::raw(move |mut connection| {
        let received = connection.read_to_end().unwrap_or_default();
        let _ = sender.lock().expect("one at a time").send(received);
    });
    let header = "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"sni\", \"alpn\"]\nendpoints";
    let routes = routes(origin.address, origin.address).replace("endpoints", header);
    let gate = Gate::start(engine, &format!("{HEAD}{}{routes}", by_name("")));
    gate.tcp_client().send(HELLO).shutdown_write();
    let told = received.recv_timeout(PATIENCE).expect("the origin is told");
    let expected = [&b"\x02\0\x0da.example.com\x01\0\x02h2"[..], HELLO].concat();
    assert!(told.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11") && told[28..] == expected, "{}", told.escape_ascii());
}

fn a_reload_changes_the_routes(engine: Engine) {
    let (first, second) = (Origin::echo(), Origin::echo());
    let gate = gate_with(engine, "", first.address, first.address);
    let mut before = gate.tcp_client();
    before.send(HELLO);
    assert_eq!(before.read_exact(HELLO.len()), HELLO);
    gate.reload(&format!("{HEAD}{}{}", by_name(""), routes(second.address, first.address)));
    wait_for("both workers to know the new routes", || {
        let mut client = gate.tcp_client();
        client.send(HELLO);
        assert_eq!(client.read_exact(HELLO.len()), HELLO);
        (second.accepted() >= 4).then_some(())
    });
    before.send("still here").expect("still here");
}

/// Clients that stop within their ClientHello hold what they have sent and no more.
fn many_slow_hellos_hold_bounded_memory(engine: Engine) {
    let origin = Origin::echo();
    let gate = gate_with(engine, "", origin.address, origin.address);
    let bytes = recut(&padded(16_384 - HELLO.len()), 16_384);
    // More of them than there are receive buffers.
    let mut held: Vec<Client> = (0..200).map(|_| gate.tcp_client()).collect();
    for client in &mut held {
        client.send(&bytes[..bytes.len() - 1]);
    }
    let mut other = gate.tcp_client();
    other.send(HELLO);
    assert_eq!(other.read_exact(HELLO.len()), HELLO, "others are served meanwhile");
    wait_for("all of them to wait within their ClientHello", || {
        (gate.metric("ringgate_worker_tasks_active", &[]) >= 200.0).then_some(())
    });
    let free = gate.metric("ringgate_worker_engine_buffers_free", &[]);
    assert!(free >= 120.0, "{free} buffers are free: clients that are slow hold some");
    for client in &mut held {
        client.send(&bytes[bytes.len() - 1..]);
        assert!(client.read_exact(bytes.len()) == bytes, "changed");
    }
}
