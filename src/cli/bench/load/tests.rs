//! The load against a server on the same simulated engine: time is virtual, so a stall is exact.

use super::super::exchange::{Expectation, Work};
use super::*;
use crate::base::Address;
use crate::engine::{DriverChoice, ListenOptions, Outgoing, SimSettings};
use crate::protocol::http::Method;

/// Settings of a closed loop with one connection, to be changed by the test.
pub fn settings(url: &str) -> Settings {
    let address = "127.0.0.1:80".parse().unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    Settings {
        url: url.to_owned(),
        address,
        work: Work::Http { requests: [request.into()].into(), method: Method::Get },
        expectation: Expectation { status: None, length: None, any_length: false },
        connections: 1,
        threads: 1,
        duration: Some(Duration::from_secs(10)),
        requests: None,
        warm_up: Duration::ZERO,
        rate: None,
        spin: false,
        new_connection: false,
        timeout: Duration::from_secs(10),
        driver: DriverChoice::Auto,
    }
}

/// What the server of a test does.
#[derive(Clone)]
struct Server {
    /// The answers, one after another and from the start again.
    answers: Vec<&'static str>,
    /// Answers nothing from `stall_at` for `stall`.
    stall_at: Duration,
    stall: Duration,
    closes: bool,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Default for Server {
    fn default() -> Server {
        Server { answers: vec![OK], stall_at: Duration::ZERO, stall: Duration::ZERO, closes: false }
    }
}

async fn serve(engine: Engine, server: Server) {
    let start = engine.now();
    let listener = engine.listen(&Address::Ip("127.0.0.1:80".parse().unwrap()), &ListenOptions::default()).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (engine, server) = (engine.clone(), server.clone());
        engine.clone().spawn(async move {
            let mut outgoing = Outgoing::default();
            let stall = start + server.stall_at..start + server.stall_at + server.stall;
            for answer in server.answers.iter().cycle() {
                if !stream.receive().await.is_ok_and(|chunk| !chunk.is_empty()) {
                    return;
                }
                if stall.contains(&engine.now()) {
                    engine.sleep_until(stall.end).await;
                }
                outgoing.text().extend_from_slice(answer.as_bytes());
                if stream.send(&mut outgoing).await.is_err() || server.closes {
                    return;
                }
            }
        });
    }
}

/// All that one thread counted.
fn load(settings: Settings, server: Server) -> Tally {
    let latency = (Duration::from_micros(500), Duration::from_millis(1));
    let engine = Engine::simulated(&SimSettings { latency, ..SimSettings::default() }).unwrap();
    engine.spawn(serve(engine.clone(), server));
    let total = Rc::new(RefCell::new(Tally::default()));
    let sum = total.clone();
    let share = Share::of(&settings, 0, Arc::default());
    engine.run(drive(engine.clone(), share, move |report| {
        if let Report::Interval { tally, .. } = report {
            sum.borrow_mut().add(&tally);
        }
    }));
    engine.stop();
    total.take()
}

fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

#[test]
fn a_stalled_server_cannot_hide_behind_an_open_loop() {
    let server = Server { stall_at: Duration::from_secs(4), stall: Duration::from_secs(2), ..Server::default() };
    let open = load(Settings { rate: Some(100.0), connections: 4, ..settings("") }, server.clone());
    assert!((995..=1000).contains(&open.requests), "{} requests", open.requests);
    assert_eq!((open.errors_total(), open.unsent), (0, 0));
    // 200 of 1,000 requests were due during the stall of 2 s: their latencies spread evenly from 0 to 2 s.
    let at = |quantile| millis(open.latency.value_at_quantile(quantile));
    assert!((900..=1100).contains(&at(0.90)), "p90 {} ms", at(0.90));
    assert!((1700..=2100).contains(&at(0.99)), "p99 {} ms", at(0.99));

    // A closed loop stops asking while it waits: four slow answers among thousands.
    let closed = load(Settings { connections: 4, ..settings("") }, server);
    assert!(closed.latency.value_at_quantile(0.99) < 100_000_000);
}

#[test]
fn requests_that_no_connection_was_free_for_are_told() {
    let server = Server { stall: Duration::from_secs(60), ..Server::default() };
    let tally = load(Settings { rate: Some(10.0), timeout: Duration::from_secs(60), ..settings("") }, server);
    assert!((98..=100).contains(&tally.unsent), "{} unsent", tally.unsent);
}

#[test]
fn a_number_of_requests_is_exact() {
    for rate in [None, Some(50.0)] {
        let tally = load(
            Settings { requests: Some(123), duration: None, connections: 7, rate, ..settings("") },
            Server::default(),
        );
        assert_eq!((tally.requests, tally.errors_total(), tally.unsent), (123, 0, 0), "rate {rate:?}");
        assert_eq!(tally.statuses[&200], 123);
    }
}

#[test]
fn each_wrong_answer_is_counted_by_its_kind() {
    let expect = Expectation { status: None, length: Some(2), any_length: false };
    for (answer, kind, example) in [
        ("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", ErrorKind::WrongStatus, "status 503"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", ErrorKind::WrongLength, "3 bytes instead of 2"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nyes", ErrorKind::Malformed, "bytes after the end of the answer"),
        ("HTTP/1.1 200 OK\r\nNo Name: 2\r\n\r\n", ErrorKind::Malformed, "malformed head: field_name"),
    ] {
        let server = Server { answers: vec![OK, answer], ..Server::default() };
        let tally = load(Settings { requests: Some(2), duration: None, expectation: expect, ..settings("") }, server);
        assert_eq!((tally.requests, tally.errors_total()), (1, 1), "{answer:?}");
        assert_eq!((tally.errors[&kind], tally.examples[&kind].as_str()), (1, example));
    }
}

#[test]
fn a_chunked_answer_counts_by_its_data() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    let server = Server { answers: vec![OK, chunked], ..Server::default() };
    let tally = load(Settings { requests: Some(4), duration: None, ..settings("") }, server);
    assert_eq!((tally.requests, tally.errors_total()), (4, 0), "{:?}", tally.examples);
}

#[test]
fn a_closed_connection_is_told_from_a_slow_one() {
    let early =
        Server { answers: vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"], closes: true, ..Server::default() };
    let tally = load(Settings { requests: Some(3), duration: None, ..settings("") }, early);
    assert_eq!((tally.requests, tally.errors[&ErrorKind::ClosedEarly]), (0, 3));

    let slow = Server { stall: Duration::from_secs(60), ..Server::default() };
    let tally =
        load(Settings { requests: Some(1), duration: None, timeout: Duration::from_secs(1), ..settings("") }, slow);
    assert_eq!((tally.requests, tally.errors[&ErrorKind::Timeout]), (0, 1));
}

#[test]
fn until_close_and_interim_heads_are_understood() {
    let answers = vec!["HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody"];
    let tally = load(
        Settings { requests: Some(4), duration: None, ..settings("") },
        Server { answers, closes: true, ..Server::default() },
    );
    assert_eq!((tally.requests, tally.errors_total()), (4, 0));
}

#[test]
fn the_warm_up_is_not_measured() {
    let server = Server { stall: Duration::from_secs(1), ..Server::default() };
    let warmed = load(Settings { warm_up: Duration::from_secs(2), ..settings("") }, server);
    assert!(warmed.latency.max() < 100_000_000, "{} ms", millis(warmed.latency.max()));
}
