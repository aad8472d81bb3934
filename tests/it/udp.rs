//! The UDP relay: flows that keep their endpoint, replies, limits, silence, endpoints that are gone, reloads, and a real DNS
//! server behind it.

use super::*;
use crate::framing::pattern;
use crate::harness::{HEAD, PATIENCE, UdpClient, UdpOrigin, Unbound, dig, wait_for};
use ringgate::engine::{self, DatagramOptions};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;

on_each_engine!(
    datagrams_of_every_size_go_there_and_back,
    an_empty_datagram_is_one_too,
    a_flow_keeps_its_endpoint,
    flows_end_by_silence,
    flows_end_with_their_replies,
    leaves_an_endpoint_that_refuses,
    goes_on_with_an_endpoint_that_comes_back,
    refuses_flows_above_the_limit,
    limits_the_flows_of_each_client,
    a_reload_keeps_flows,
    flows_leave_a_removed_endpoint,
    a_removed_listener_lets_its_flows_end,
    a_listener_that_comes_back_goes_on,
    a_drain_waits_for_flows_until_its_deadline,
    answers_from_the_address_that_was_asked,
    serves_ipv6,
    segments_keep_their_borders_both_ways,
    tcp_and_udp_share_an_address,
    logs_and_shows_each_flow,
    a_real_dns_server_answers,
    a_flood_of_flows_is_bounded,
);

/// One udp listener `udp` with these lines, and these origins.
fn config(lines: &str, origins: &[&UdpOrigin]) -> String {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    config_of("127.0.0.4:0", lines, &endpoints.join(", "))
}

fn config_of(address: &str, lines: &str, endpoints: &str) -> String {
    format!(
        "{HEAD}[[listener]]\nname = \"udp\"\naddress = \"{address}\"\nprotocol = \"udp\"\nupstream = \"app\"\n{lines}\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{endpoints}]\n"
    )
}

fn one_worker(config: &str) -> String {
    config.replace("workers = 2", "workers = 1")
}

fn client(gate: &Gate) -> UdpClient {
    UdpClient::connect(gate.address("udp"))
}

#[track_caller]
fn wait_metric(gate: &Gate, name: &str, parts: &[&str], wanted: f64) {
    wait_for(&format!("{name} {parts:?} to be {wanted}"), || (gate.metric(name, parts) == wanted).then_some(()));
}

fn datagrams_of_every_size_go_there_and_back(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("", &[&origin]));
    let client = client(&gate);
    for size in [1, 2, 100, 512, 1_472, 1_473, 9_000, 32_768, 65_000, 65_507] {
        let bytes = pattern(size);
        assert!(client.ask(&bytes) == bytes, "{size} bytes changed");
    }
    assert_eq!(origin.flows(), 1);
    assert_eq!(gate.metric("ringgate_udp_datagrams_received_total", &[]), 10.0);
    assert_eq!(gate.metric("ringgate_udp_datagrams_dropped_total", &[]), 0.0);
}

fn an_empty_datagram_is_one_too(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("", &[&origin]));
    let client = client(&gate);
    assert_eq!(client.ask(""), b"");
    assert_eq!(client.ask("after"), b"after");
}

fn a_flow_keeps_its_endpoint(engine: Engine) {
    let (one, other) = (UdpOrigin::text("one"), UdpOrigin::text("other"));
    let gate = Gate::start(engine, &config("", &[&one, &other]));
    let clients: Vec<UdpClient> = (0..40).map(|_| client(&gate)).collect();
    let first: Vec<Vec<u8>> = clients.iter().map(|client| client.ask("who?")).collect();
    for _ in 0..5 {
        let again: Vec<Vec<u8>> = clients.iter().map(|client| client.ask("who?")).collect();
        assert_eq!(first, again);
    }
    assert_eq!(one.flows() + other.flows(), 40);
    assert!(one.flows() > 10 && other.flows() > 10, "in turn");
}

fn flows_end_by_silence(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("idle_timeout = \"50ms\"", &[&origin]));
    let client = client(&gate);
    for round in 1..=3 {
        client.ask("once");
        wait_metric(&gate, "ringgate_udp_flows_expired_total", &[], f64::from(round));
        wait_metric(&gate, "ringgate_udp_flows_active", &[], 0.0);
    }
    // A flow that has ended is another one when it goes on.
    assert_eq!(gate.metric("ringgate_udp_flows_opened_total", &[]), 3.0);
    assert_eq!(gate.metric("ringgate_endpoint_requests_active", &[]), 0.0);
}

fn flows_end_with_their_replies(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("replies = 1\nidle_timeout = \"1h\"", &[&origin]));
    let clients: Vec<UdpClient> = (0..20).map(|_| client(&gate)).collect();
    for client in &clients {
        client.ask("question");
    }
    wait_metric(&gate, "ringgate_udp_flows_answered_total", &[], 20.0);
    assert_eq!(gate.metric("ringgate_udp_flows_active", &[]), 0.0);
    // Three questions at once from one port are three answers.
    for number in ["1", "2", "3"] {
        clients[0].send(number);
    }
    let mut answers: Vec<Vec<u8>> = (0..3).map(|_| clients[0].receive()).collect();
    answers.sort();
    assert_eq!(answers, [b"1", b"2", b"3"]);
}

fn leaves_an_endpoint_that_refuses(engine: Engine) {
    let (gone, origin) = (UdpOrigin::text("gone"), UdpOrigin::text("here"));
    let config = one_worker(&config("unreachable_timeout = \"1h\"", &[&gone, &origin]));
    let gate = Gate::start(engine, &config);
    let clients: Vec<UdpClient> = (0..10).map(|_| client(&gate)).collect();
    clients.iter().for_each(|client| assert!([&b"gone"[..], b"here"].contains(&&client.ask("who?")[..])));
    drop(gone);
    // Each flow loses what it sent to the endpoint that is gone, and then goes on with the other one.
    for client in &clients {
        assert_eq!(client.insist("who?"), b"here");
    }
    assert_eq!(gate.metric("ringgate_udp_flows_moved_total", &[]), 5.0);
    assert!(gate.metric("ringgate_udp_datagrams_dropped_total", &["reason=\"connect_refused\""]) >= 5.0);
    assert!(gate.metric("ringgate_endpoint_failures_total", &[]) >= 5.0);
    gate.wait_log("cannot be reached by UDP");
    // New flows do not lose anything.
    let before = gate.metric("ringgate_udp_datagrams_dropped_total", &[]);
    for _ in 0..10 {
        assert_eq!(UdpClient::connect(gate.address("udp")).ask("who?"), b"here");
    }
    assert_eq!(gate.metric("ringgate_udp_datagrams_dropped_total", &[]), before);
}

fn goes_on_with_an_endpoint_that_comes_back(engine: Engine) {
    let origin = UdpOrigin::echo();
    let address = origin.address;
    let gate = Gate::start(engine, &config("", &[&origin]));
    let client = client(&gate);
    client.ask("before");
    drop(origin);
    client.send("lost");
    wait_for("a refusal", || {
        let dropped = gate.metric("ringgate_udp_datagrams_dropped_total", &["reason=\"connect_refused\""]);
        (dropped > 0.0).then_some(())
    });
    let _origin = UdpOrigin::start(address, |bytes| vec![bytes.to_vec()]);
    assert_eq!(client.insist("after"), b"after");
}

fn refuses_flows_above_the_limit(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("flows_max = 10", &[&origin]));
    let first: Vec<UdpClient> = (0..10).map(|_| client(&gate)).collect();
    first.iter().for_each(|client| assert_eq!(client.ask("in"), b"in"));
    let late: Vec<UdpClient> = (0..10).map(|_| client(&gate)).collect();
    late.iter().for_each(|client| _ = client.send("out"));
    let refused = &["reason=\"flows_full\""];
    wait_metric(&gate, "ringgate_udp_datagrams_dropped_total", refused, 10.0);
    assert_eq!(gate.metric("ringgate_udp_flows_refused_total", &[]), 10.0);
    gate.wait_log("`flows_max` = 10 is reached");
    // The flows that are there are not touched, and nobody else got anything.
    first.iter().for_each(|client| assert_eq!(client.ask("still in"), b"still in"));
    assert!(late.iter().all(|client| client.pending(1).is_empty()));
    assert_eq!(origin.flows(), 10);
    assert_eq!(gate.metric("ringgate_udp_flows_max", &["listener=\"udp\""]), 10.0);
    // A higher limit lets them in.
    gate.reload(&config("flows_max = 20", &[&origin]));
    late.iter().for_each(|client| assert_eq!(client.ask("in"), b"in"));
}

fn limits_the_flows_of_each_client(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &one_worker(&config("flows_per_client_max = 4", &[&origin])));
    let from = |last: u8| {
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        UdpClient::connect_from(address, gate.address("udp"))
    };
    let greedy: Vec<UdpClient> = (0..7).map(|_| from(50)).collect();
    greedy.iter().for_each(|client| _ = client.send("x"));
    wait_metric(&gate, "ringgate_udp_datagrams_dropped_total", &["reason=\"client_flows_full\""], 3.0);
    assert_eq!(from(51).ask("another"), b"another");
    assert_eq!(gate.metric("ringgate_udp_flows_active", &[]), 5.0);
}

fn a_reload_keeps_flows(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("", &[&origin]));
    let clients: Vec<UdpClient> = (0..20).map(|_| client(&gate)).collect();
    for round in 0..10 {
        for client in &clients {
            let bytes = pattern(100 + round);
            assert!(client.ask(&bytes) == bytes);
        }
        gate.reload(&config(&format!("idle_timeout = \"{}s\"", 60 + round), &[&origin]));
    }
    assert_eq!(origin.flows(), 20, "the same sockets all the time");
    assert_eq!(gate.metric("ringgate_udp_datagrams_dropped_total", &[]), 0.0);
    // A shorter silence holds for the flows that are there.
    gate.reload(&config("idle_timeout = \"50ms\"", &[&origin]));
    clients.iter().for_each(|client| _ = client.ask("last"));
    wait_metric(&gate, "ringgate_udp_flows_active", &[], 0.0);
}

fn flows_leave_a_removed_endpoint(engine: Engine) {
    let (old, new) = (UdpOrigin::text("old"), UdpOrigin::text("new"));
    let gate = Gate::start(engine, &config("", &[&old]));
    let clients: Vec<UdpClient> = (0..10).map(|_| client(&gate)).collect();
    clients.iter().for_each(|client| assert_eq!(client.ask("who?"), b"old"));
    gate.reload(&config("", &[&old, &new]));
    clients.iter().for_each(|client| assert_eq!(client.ask("who?"), b"old"));
    gate.reload(&config("", &[&new]));
    clients.iter().for_each(|client| assert_eq!(client.ask("who?"), b"new"));
    assert_eq!(gate.metric("ringgate_udp_flows_moved_total", &[]), 10.0);
    assert_eq!((old.flows(), new.flows()), (10, 10));
}

/// An http listener alone, so that there is one.
fn without_udp() -> String {
    format!("{HEAD}{}\n[upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n", crate::harness::WEB)
}

fn a_removed_listener_lets_its_flows_end(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("idle_timeout = \"300ms\"", &[&origin]));
    let (known, address) = (client(&gate), gate.address("udp"));
    known.ask("hello");
    gate.reload(&without_udp());
    assert_eq!(known.insist("still here"), b"still here");
    UdpClient::connect(address).send("nobody knows me");
    gate.wait_log("listener `udp` drained: 1 connections ended by themselves");
    let record = gate.wait_access("protocol", "udp");
    assert_eq!((record["end"].as_str(), record["listener"].as_str()), (Some("expired"), Some("udp")));
    assert_eq!(origin.flows(), 1);
    // Then the address is free.
    wait_for("the address to be free", || std::net::UdpSocket::bind(address).is_ok().then_some(()));
}

fn a_listener_that_comes_back_goes_on(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("idle_timeout = \"1h\"", &[&origin]));
    let mut known: Vec<UdpClient> = (0..10).map(|_| client(&gate)).collect();
    known.iter().for_each(|client| _ = client.ask("hello"));
    for _ in 0..3 {
        gate.reload(&without_udp());
        gate.reload(&config("idle_timeout = \"1h\"", &[&origin]));
        known.iter().for_each(|client| assert_eq!(client.insist("known"), b"known"));
        // Held, so that no port is used again.
        let new = |_| {
            let client = client(&gate);
            assert_eq!(client.insist("new"), b"new");
            client
        };
        known.extend((0..20).map(new));
    }
    assert_eq!(origin.flows(), 70);
}

fn a_drain_waits_for_flows_until_its_deadline(engine: Engine) {
    let origin = UdpOrigin::echo();
    for (lines, end) in [("idle_timeout = \"300ms\"", "expired"), ("idle_timeout = \"1h\"", "drained")] {
        let config = format!("drain_timeout = \"1s\"\n{}", config(lines, &[&origin]));
        let mut gate = Gate::start(engine, &config);
        let client = client(&gate);
        client.ask("hello");
        gate.signal("TERM");
        assert!(gate.wait_exit().success());
        assert_eq!(gate.wait_access("protocol", "udp")["end"], end);
    }
}

fn answers_from_the_address_that_was_asked(engine: Engine) {
    let origin = UdpOrigin::echo();
    let endpoints = format!("\"{}\"", origin.address);
    let gate = Gate::start(engine, &config_of("0.0.0.0:0", "", &endpoints));
    let port = gate.address("udp").port();
    for last in [1, 7, 200] {
        // A connected socket takes nothing from any other address.
        let client = UdpClient::connect(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port)));
        assert_eq!(client.ask("hello"), b"hello");
    }
    assert_eq!(origin.flows(), 3);
}

fn serves_ipv6(engine: Engine) {
    let origin = UdpOrigin::start("[::1]:0".parse().expect("an address"), |bytes| vec![bytes.to_vec()]);
    for address in ["[::1]:0", "[::]:0"] {
        let gate = Gate::start(engine, &config_of(address, "", &format!("\"{}\"", origin.address)));
        let client = UdpClient::connect(SocketAddr::from((
            "::1".parse::<IpAddr>().expect("an address"),
            gate.address("udp").port(),
        )));
        for size in [1, 1_452, 65_000] {
            assert!(client.ask(pattern(size)) == pattern(size));
        }
    }
    // From one family to the other.
    let gate = Gate::start(engine, &config_of("127.0.0.4:0", "", &format!("\"{}\"", origin.address)));
    assert_eq!(client(&gate).ask("hello"), b"hello");
}

/// An origin that sends back what it receives as the pieces in which it came: where the gateway has sent several datagrams
/// as one, they come as one and go back as one. It goes on until the process ends.
fn coalescing_echo() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let engine = engine::Engine::new(&engine_settings()).expect("epoll is everywhere");
        let inner = engine.clone();
        engine.run(async move {
            let options = DatagramOptions { queue_bytes: 8 << 20, ..DatagramOptions::default() };
            let socket = inner.bind_datagrams(([127, 0, 0, 1], 0).into(), &options).expect("a free port");
            tell.send(socket.local_address()).expect("the scenario waits");
            while socket.receive(|one| _ = socket.send_to(one.bytes, one.segment, one.from, one.to)).await.is_ok() {}
        });
    });
    told.recv_timeout(PATIENCE).expect("an origin")
}

fn engine_settings() -> engine::EngineSettings {
    engine::EngineSettings { driver: engine::DriverChoice::Epoll, ..engine::EngineSettings::default() }
}

/// Bytes, and the length of each datagram that they are cut into.
const PIECES: [(usize, usize); 6] =
    [(10, 3), (64, 1), (12_000, 1_200), (60_000, 1_350), (100_000, 1_472), (3_000, 2_999)];

fn segments_keep_their_borders_both_ways(engine: Engine) {
    let gate = Gate::start(engine, &config_of("127.0.0.4:0", "", &format!("\"{}\"", coalescing_echo())));
    let address = gate.address("udp");
    let client = engine::Engine::new(&engine_settings()).expect("epoll is everywhere");
    let inner = client.clone();
    client.run(async move {
        let options = DatagramOptions { queue_bytes: 8 << 20, ..DatagramOptions::default() };
        let socket = inner.connect_datagrams(address, &options).expect("a socket");
        for (total, segment) in PIECES {
            let bytes = pattern(total);
            socket.send(&bytes, segment).expect("the kernel takes it");
            let mut found: Vec<Vec<u8>> = Vec::new();
            while found.len() < total.div_ceil(segment) {
                let until = inner.now() + PATIENCE;
                let receiving = socket.receive(|one| found.extend(one.bytes.chunks(one.segment).map(<[u8]>::to_vec)));
                inner.timeout(until, receiving).await.expect("all come back").expect("the gateway listens");
            }
            assert!(found.iter().map(|one| &one[..]).eq(bytes.chunks(segment)), "{total} bytes by {segment}");
        }
    });
    let sent: usize = PIECES.iter().map(|(total, segment)| total.div_ceil(*segment)).sum();
    assert_eq!(gate.metric("ringgate_udp_datagrams_received_total", &[]), sent as f64);
    assert_eq!(gate.metric("ringgate_udp_datagrams_sent_total", &[]), sent as f64);
    assert_eq!(gate.metric("ringgate_udp_flows_opened_total", &[]), 1.0);
}

fn tcp_and_udp_share_an_address(engine: Engine) {
    let (tcp, udp) = (Origin::echo(), UdpOrigin::echo());
    let port = std::net::UdpSocket::bind("127.0.0.5:0").and_then(|free| free.local_addr()).expect("a port").port();
    let config = format!(
        "{}\n[[listener]]\nname = \"raw\"\naddress = \"127.0.0.5:{port}\"\nprotocol = \"tcp\"\nupstream = \"raw\"\n\
         [upstream.raw]\nendpoints = [\"{}\"]\n",
        config("", &[&udp]).replace("127.0.0.4:0", &format!("127.0.0.5:{port}")),
        tcp.address
    );
    let gate = Gate::start(engine, &config);
    assert_eq!(gate.address("udp"), gate.address("raw"));
    assert_eq!(client(&gate).ask("datagram"), b"datagram");
    gate.tcp_client().send("stream").expect("stream");
    // The tcp one goes; the udp one does not notice.
    gate.reload(&config.replace("protocol = \"tcp\"\nupstream = \"raw\"", "protocol = \"http\"\nupstream = \"raw\""));
    assert_eq!(client(&gate).ask("datagram"), b"datagram");
}

fn logs_and_shows_each_flow(engine: Engine) {
    let origin = UdpOrigin::echo();
    let gate = Gate::start(engine, &config("replies = 2\nidle_timeout = \"1h\"", &[&origin]));
    let client = client(&gate);
    client.ask("12345");
    let shown: serde_json::Value = serde_json::from_str(&gate.admin("/snapshot").text()).expect("JSON");
    let listener = &shown["listeners"][0];
    assert_eq!((listener["protocol"].as_str(), listener["flows_active"].as_u64()), (Some("udp"), Some(1)));
    assert_eq!(shown["upstreams"][0]["endpoints"][0]["in_flight"], 1);
    gate.reload(&config("replies = 1\nidle_timeout = \"1h\"", &[&origin]));
    client.ask("123");
    let record = gate.wait_access("end", "answered");
    let address = client.socket.local_addr().expect("a bound socket").to_string();
    let endpoint = origin.address.to_string();
    for (key, value) in [("protocol", "udp"), ("listener", "udp"), ("upstream", "app"), ("endpoint", &endpoint)] {
        assert_eq!(record[key], value);
    }
    assert_eq!(record["client"], address);
    for (key, value) in [("datagrams_received", 2), ("datagrams_sent", 2), ("bytes_received", 8), ("attempts", 1)] {
        assert_eq!(record[key], value, "{key}");
    }
    assert!(record.get("reason").is_none());
    assert_eq!(gate.metric("ringgate_udp_bytes_sent_total", &["listener=\"udp\""]), 8.0);
    assert_eq!(gate.metric("ringgate_endpoint_bytes_sent_total", &[]), 8.0);
    assert_eq!(gate.metric("ringgate_endpoint_bytes_received_total", &[]), 8.0);
}

fn a_real_dns_server_answers(engine: Engine) {
    let long: Vec<String> = (0..40).map(|number| format!("many.test. 60 IN A 192.0.2.{number}")).collect();
    let mut records =
        vec!["a.test. 60 IN A 192.0.2.1", "a.test. 60 IN AAAA 2001:db8::1", "t.test. 60 IN TXT \"hello\""];
    records.extend(long.iter().map(String::as_str));
    let dns = Unbound::start(engine.name(), &records);
    let port = std::net::UdpSocket::bind("127.0.0.6:0").and_then(|free| free.local_addr()).expect("a port").port();
    let address = format!("127.0.0.6:{port}");
    let config = format!(
        "{}\n[[listener]]\nname = \"raw\"\naddress = \"{address}\"\nprotocol = \"tcp\"\nupstream = \"app\"\n",
        config_of(&address, "replies = 1", &format!("\"{}\"", dns.address))
    );
    let gate = Gate::start(engine, &config);
    let server = gate.address("udp");
    assert_eq!(dig(server, &["a.test"]), "192.0.2.1\n");
    assert_eq!(dig(server, &["a.test", "AAAA"]), "2001:db8::1\n");
    assert_eq!(dig(server, &["t.test", "TXT"]), "\"hello\"\n");
    assert_eq!(dig(server, &["gone.test"]), "");
    assert_eq!(gate.metric("ringgate_udp_flows_opened_total", &[]), 4.0);
    wait_metric(&gate, "ringgate_udp_flows_answered_total", &[], 4.0);
    // What does not fit a datagram is asked again by TCP, on the same port.
    assert_eq!(dig(server, &["many.test", "+bufsize=512"]).lines().count(), 40);
    assert_eq!(gate.metric("ringgate_listener_connections_accepted_total", &["listener=\"raw\""]), 1.0);
}

fn a_flood_of_flows_is_bounded(engine: Engine) {
    const FLOWS_MAX: usize = 500;
    const SENT: usize = 3_000;
    const EACH: usize = 4;
    let origin = UdpOrigin::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |_| Vec::new());
    let lines = format!("flows_max = {FLOWS_MAX}\nidle_timeout = \"1h\"");
    let mut gate = Gate::start(engine, &config(&lines, &[&origin]));
    let good = client(&gate);
    good.send("first");
    wait_metric(&gate, "ringgate_udp_flows_active", &[], 1.0);
    let address = gate.address("udp");
    let mut received = 0;
    for number in 0..SENT {
        // From all over 127.0.0.0/8, each from a port of its own, as an attacker who makes up addresses.
        let [_, b, c, d] = (number as u32).wrapping_mul(2_654_435_761).to_be_bytes();
        let from = SocketAddr::from((Ipv4Addr::new(127, b, c, d.clamp(1, 254)), 0));
        let one = UdpClient::connect_from(from, address);
        for _ in 0..EACH {
            one.send([0xc0; 1_200]);
        }
        received += EACH;
        if number % 200 == 0 {
            let total = |gate: &Gate| {
                gate.metric("ringgate_udp_datagrams_received_total", &[])
                    + gate.metric("ringgate_udp_queue_overflows_total", &[])
            };
            wait_for("the flood to be taken in", || (total(&gate) >= received as f64).then_some(()));
        }
    }
    wait_for("an end of the flood", || {
        let taken = gate.metric("ringgate_udp_datagrams_received_total", &[]);
        let lost = gate.metric("ringgate_udp_queue_overflows_total", &[]);
        (taken + lost >= (SENT * EACH) as f64).then_some(())
    });
    let opened = gate.metric("ringgate_udp_flows_opened_total", &[]);
    assert_eq!(gate.metric("ringgate_udp_flows_active", &[]), opened);
    assert!(opened <= FLOWS_MAX as f64 && opened >= FLOWS_MAX as f64 / 2.0, "{opened}");
    assert!(gate.metric("ringgate_udp_datagrams_dropped_total", &["reason=\"flows_full\""]) > 0.0);
    // Whoever was there before is served.
    good.send("last");
    wait_for("the last datagram", || {
        origin.received().values().any(|all| all.last().is_some_and(|last| last == b"last")).then_some(())
    });
    let borders: BTreeSet<usize> = origin.received().values().flatten().map(Vec::len).collect();
    assert!(borders.iter().all(|len| [4, 5, 1_200].contains(len)), "{borders:?}");
    gate.expect_running();
}
