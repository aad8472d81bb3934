//! Answers as servers give them, and ones that nobody should give; and the schedule over made-up time.

use super::dialogue::{ANSWER_BYTES_MAX, Heard, Step, step};
use super::schedule::{Limits, Schedule, Ticket};
use crate::base::{Address, Instant};
use crate::control::config;
use crate::health::probe::{HttpProbe, ProbeFailure, ProbeKind, Secret, StatusRange, Verdict};
use crate::snapshot::Snapshot;
use crate::upstream::{EndpointState, ProbedState, Registry};
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;

fn http(method: &str, expect: &str) -> ProbeKind {
    ProbeKind::Http(HttpProbe {
        method: method.to_owned(),
        path: "/healthz?full".to_owned(),
        host: None,
        headers: vec![("Accept".to_owned(), "text/plain".to_owned())],
        statuses: vec![StatusRange { first: 200, last: 399 }, StatusRange { first: 429, last: 429 }],
        expect: expect.as_bytes().to_vec(),
    })
}

fn tcp(send: &str, expect: &str) -> ProbeKind {
    ProbeKind::Tcp { send: send.as_bytes().to_vec(), expect: expect.as_bytes().to_vec() }
}

fn redis(password: Option<&str>) -> ProbeKind {
    ProbeKind::Redis { user: None, password: password.map(|password| Secret(password.to_owned())) }
}

fn mysql(user: Option<&str>) -> ProbeKind {
    ProbeKind::Mysql { user: user.map(str::to_owned) }
}

fn postgres(user: Option<&str>) -> ProbeKind {
    ProbeKind::Postgres { user: user.map(str::to_owned), database: None }
}

fn next(kind: &ProbeKind, bytes: &[u8], sent: usize, ended: bool) -> Step {
    step(kind, "10.0.0.1:80", Heard { bytes, sent, ended })
}

/// What is sent first.
#[track_caller]
fn opening(kind: &ProbeKind) -> String {
    match next(kind, b"", 0, false) {
        Step::Send(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// The answer passes, whole and in every piece from its start, of which none fails.
#[track_caller]
fn passes(kind: &ProbeKind, answer: &[u8], sent: usize) {
    for len in 0..answer.len() {
        let step = next(kind, &answer[..len], sent, false);
        assert!(!matches!(step, Step::Fail(_)), "after {len} bytes: {step:?}");
    }
    assert!(matches!(next(kind, answer, sent, true), Step::Pass(_)), "{:?}", next(kind, answer, sent, true));
}

/// The answer fails for this reason, said with these words.
#[track_caller]
fn fails(kind: &ProbeKind, answer: &[u8], sent: usize, failure: ProbeFailure, words: &str) {
    match next(kind, answer, sent, true) {
        Step::Fail(fault) => assert!(fault.failure == failure && fault.why.contains(words), "{fault:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tcp_expects_what_it_is_told_to() {
    assert_eq!(next(&tcp("", ""), b"", 0, false), Step::Pass(b""));
    assert_eq!(opening(&tcp("PING\r\n", "")), "PING\r\n");
    assert_eq!(next(&tcp("PING\r\n", ""), b"", 1, false), Step::Pass(b""));
    passes(&tcp("", "220 "), b"220 mail.example.com ESMTP\r\n", 0);
    fails(&tcp("", "220 "), b"554 go away\r\n", 0, ProbeFailure::Answer, "554 go away");
    fails(&tcp("", "220 "), b"", 0, ProbeFailure::Closed, "closed without an answer");
}

#[test]
fn http_judges_status_and_body() {
    let request = opening(&http("GET", ""));
    assert!(
        request.starts_with("GET /healthz?full HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: ringgate/"),
        "{request}"
    );
    assert!(request.ends_with("Accept: text/plain\r\nConnection: close\r\n\r\n"), "{request}");
    assert!(opening(&http("POST", "")).contains("\r\nContent-Length: 0\r\n"));
    passes(&http("GET", ""), b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 1);
    passes(&http("GET", ""), b"HTTP/1.0 429 Slow down\r\n\r\n", 1);
    let failing = b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n";
    fails(&http("GET", ""), failing, 1, ProbeFailure::Status, "HTTP 503, expected 200-399, 429");
    passes(&http("GET", "ready"), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall ready", 1);
    passes(&http("GET", "ready"), b"HTTP/1.1 200 OK\r\n\r\nall ready", 1);
    // What is looked for may lie across two chunks.
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n";
    passes(&http("GET", "ready"), chunked, 1);
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno\nready";
    fails(&http("GET", "ready"), short, 1, ProbeFailure::Answer, "does not contain \"ready\"");
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nno";
    fails(&http("GET", "ready"), cut, 1, ProbeFailure::Closed, "in the middle");
    fails(&http("GET", ""), b"SSH-2.0-OpenSSH_9.2\r\n", 1, ProbeFailure::Malformed, "no response of HTTP/1.1");
    fails(&http("GET", ""), b"\x15\x03\x01\0\x02\x02\x46", 1, ProbeFailure::Malformed, "TLS");
    fails(&http("GET", ""), b"", 1, ProbeFailure::Closed, "closed without an answer");
    passes(&http("HEAD", ""), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 1);
    let long = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'x'; ANSWER_BYTES_MAX - 19]].concat();
    assert_eq!(long.len(), ANSWER_BYTES_MAX);
    fails(&http("GET", "ready"), &long, 1, ProbeFailure::Answer, "not contain");
}

#[test]
fn redis_pings_and_logs_in() {
    assert_eq!(opening(&redis(None)), "*1\r\n$4\r\nPING\r\n");
    assert_eq!(opening(&redis(Some("a b"))), "*2\r\n$4\r\nAUTH\r\n$3\r\na b\r\n*1\r\n$4\r\nPING\r\n");
    passes(&redis(None), b"+PONG\r\n", 1);
    passes(&redis(Some("x")), b"+OK\r\n+PONG\r\n", 1);
    fails(&redis(None), b"-NOAUTH Authentication required.\r\n", 1, ProbeFailure::Answer, "set `password`");
    fails(&redis(None), b"-LOADING Redis is loading\r\n", 1, ProbeFailure::Answer, "LOADING");
    fails(&redis(Some("x")), b"-WRONGPASS no\r\n-NOAUTH\r\n", 1, ProbeFailure::Answer, "WRONGPASS");
    fails(&redis(None), b"HTTP/1.1 400 Bad Request\r\n", 1, ProbeFailure::Malformed, "HTTP/1.1 400");
    fails(&redis(None), &[b'x'; 2000], 1, ProbeFailure::Malformed, "xxx");
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_le_bytes();
    [&len[..3], &[number], payload].concat()
}

fn greeting() -> Vec<u8> {
    let rest = [&b"12345678"[..], &[0], &0xf7ffu16.to_le_bytes(), &[45, 2, 0], &[0; 40]].concat();
    packet(0, &[&b"\x0a10.11.6-MariaDB\0"[..], &[1, 0, 0, 0], &rest].concat())
}

#[test]
fn mysql_greets_and_logs_in() {
    passes(&mysql(None), &greeting(), 0);
    assert!(
        matches!(next(&mysql(Some("probe")), &greeting(), 0, false), Step::Send(login) if login.ends_with(b"probe\0\0mysql_native_password\0"))
    );
    let after = |packets: &[Vec<u8>]| [greeting(), packets.concat()].concat();
    passes(&mysql(Some("probe")), &after(&[packet(2, &[0, 0, 0, 2, 0, 0, 0])]), 1);
    let denied = packet(2, b"\xff\x15\x04#28000Access denied for user 'probe'");
    fails(&mysql(Some("probe")), &after(&[denied]), 1, ProbeFailure::Answer, "MySQL error 1045: Access denied");
    fails(&mysql(None), &packet(0, b"\xff\x10\x04Too many connections"), 0, ProbeFailure::Answer, "1040: Too many");
    let other_method = packet(2, b"\xfecaching_sha2_password\0salt\0");
    let asked = after(std::slice::from_ref(&other_method));
    assert_eq!(next(&mysql(Some("probe")), &asked, 1, false), Step::Send(vec![0, 0, 0, 3]));
    passes(&mysql(Some("probe")), &after(&[other_method, packet(4, &[1, 3]), packet(5, &[0, 0, 0])]), 2);
    fails(&mysql(None), b"+PONG\r\n", 0, ProbeFailure::Malformed, "no packet of MySQL");
    fails(&mysql(None), &packet(0, b"\x095.0\0"), 0, ProbeFailure::Malformed, "protocol version 9");
    fails(&mysql(None), &packet(0, b"\x0a5.0\0"), 0, ProbeFailure::Malformed, "too short");
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

#[test]
fn postgres_answers_and_begins_sessions() {
    assert_eq!(next(&postgres(None), b"", 0, false), Step::Send(vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]));
    passes(&postgres(None), b"S", 1);
    passes(&postgres(None), b"N", 1);
    assert!(opening(&postgres(Some("probe"))).contains("user\0probe\0application_name\0ringgate\0\0"));
    // Asked for a password: it serves.
    passes(&postgres(Some("probe")), &message(b'R', &[0, 0, 0, 10, b'S']), 1);
    let trusted =
        [message(b'R', &[0; 4]), message(b'S', b"a\0b\0"), message(b'K', &[0; 8]), message(b'Z', b"I")].concat();
    passes(&postgres(Some("probe")), &trusted, 1);
    let starting = message(b'E', b"SFATAL\0C57P03\0Mthe database system is starting up\0\0");
    let words = "PostgreSQL says 57P03: the database system is starting up";
    fails(&postgres(Some("probe")), &starting, 1, ProbeFailure::Answer, words);
    let no_database = [message(b'R', &[0; 4]), message(b'E', b"C3D000\0Mdatabase \"x\" does not exist\0\0")].concat();
    fails(&postgres(Some("probe")), &no_database, 1, ProbeFailure::Answer, "3D000");
    fails(&postgres(None), b"HTTP/1.1 400\r\n", 1, ProbeFailure::Malformed, "no answer of PostgreSQL");
    fails(&postgres(Some("probe")), b"HTTP/1.1 400\r\n", 1, ProbeFailure::Malformed, "no answer of PostgreSQL");
}

proptest! {
    #[test]
    fn no_answer_panics_and_an_end_decides(bytes in prop::collection::vec(any::<u8>(), 0..300), sent in 0usize..4, lead in 0usize..6) {
        let leads: [&[u8]; 6] = [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &greeting(), b"R\0\0\0\x08\0\0\0\0", b"+OK\r\n"];
        let bytes = [leads[lead], &bytes].concat();
        for kind in [
            tcp("", ""), tcp("a", "b"), http("GET", ""), http("HEAD", ""), http("GET", "ok"), redis(None), redis(Some("x")),
            mysql(None), mysql(Some("a")), postgres(None), postgres(Some("a")),
        ] {
            next(&kind, &bytes, sent, false);
            prop_assert!(next(&kind, &bytes, sent, true) != Step::Receive, "{kind:?}");
        }
    }
}

/// Two upstreams of probed endpoints, as many as these, with more keys for the first one's probe.
fn snapshot(registry: &mut Registry, generation: u64, ports: std::ops::Range<u16>, probe: &str) -> Snapshot {
    let endpoints: Vec<String> = ports.map(|port| format!("\"10.0.0.1:{port}\"")).collect();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = {{ a = 1, b = 1 }}\n[upstream.a]\nendpoints = [{}]\n{probe}\n\
         [upstream.b]\nendpoints = [\"10.0.0.2:1\"]\nprobe = {{ kind = \"exec\", command = [\"/bin/true\"] }}\n",
        endpoints.join(", ")
    );
    let loaded =
        config::load_text("test.toml", &text, &|_, _| Ok(Vec::new())).unwrap_or_else(|report| panic!("{report}"));
    config::compile(loaded.settings, registry, generation)
}

const TCP: &str = "probe = { kind = \"tcp\", interval = \"10s\", jitter = \"0%\" }";
const FIRST: &str = "probe = { kind = \"tcp\", interval = \"10s\", initial = \"probe\" }";
const LIMITS: Limits = Limits { probes_max: 1000, commands_max: 1 };
const SECOND: Duration = Duration::from_secs(1);

fn begun(schedule: &mut Schedule, now: Instant) -> Vec<Ticket> {
    std::iter::from_fn(|| schedule.next_ticket(now)).collect()
}

/// Runs every probe that is due until `end`; each takes no time and ends as `passes` says of its port. What changed.
fn run(schedule: &mut Schedule, now: &mut Instant, end: Instant, passes: impl Fn(u16) -> bool) -> Vec<(u16, Verdict)> {
    let mut changes = Vec::new();
    while let Some(due) = schedule.next_due().filter(|due| *due <= end) {
        *now = due.max(*now);
        for ticket in begun(schedule, *now) {
            let port = ticket.identity.address.port().unwrap_or(0);
            if let Some(change) = schedule.take(&ticket, Some(passes(port)), *now) {
                changes.push((port, change.verdict.expect("a result decides")));
            }
        }
    }
    *now = end;
    changes
}

#[test]
fn probes_are_spread_and_each_endpoint_has_its_turn() {
    let mut registry = Registry::new(1);
    let table = snapshot(&mut registry, 1, 1..201, TCP);
    let mut schedule = Schedule::new(LIMITS, 7);
    let changes = schedule.follow(&table, Instant(0));
    assert!(changes.len() == 201 && changes.iter().all(|change| change.verdict == Some(Verdict::Up)));
    let mut asked = HashSet::new();
    let mut now = Instant(0);
    for _ in 0..10 {
        now = now + SECOND;
        let tickets = begun(&mut schedule, now);
        assert!((5..60).contains(&tickets.len()), "{} of 200 in a tenth of the interval", tickets.len());
        for ticket in &tickets {
            asked.insert(ticket.identity.id);
            assert!(schedule.take(ticket, Some(true), now).is_none());
        }
    }
    assert_eq!(asked.len(), 201);
}

#[test]
fn a_reload_leaves_what_is_known_of_endpoints() {
    let mut registry = Registry::new(1);
    let table = snapshot(&mut registry, 1, 1..11, TCP);
    let mut schedule = Schedule::new(LIMITS, 7);
    schedule.follow(&table, Instant(0));
    let mut now = Instant(0);
    let changes = run(&mut schedule, &mut now, Instant(0) + SECOND * 60, |port| port != 3);
    assert_eq!(changes, [(3, Verdict::Down)]);
    let state = |table: &Snapshot, index: usize| table.upstreams[0].endpoints[index].identity.probed.load();
    assert_eq!((state(&table, 2), state(&table, 3)), (ProbedState::Down, ProbedState::Up));
    // The endpoint leaves while somebody holds it, and comes back; another one is new.
    let without = snapshot(&mut registry, 2, 4..12, TCP);
    let changes = schedule.follow(&without, now);
    assert_eq!(changes.len(), 1, "the new endpoint alone is a change");
    let back = snapshot(&mut registry, 3, 1..12, TCP);
    let down: Vec<_> = schedule.follow(&back, now).into_iter().filter(|c| c.verdict == Some(Verdict::Down)).collect();
    assert!(down.len() == 1 && down[0].identity.address.port() == Some(3));
    let changes = run(&mut schedule, &mut now, Instant(0) + SECOND * 120, |_| true);
    assert_eq!(changes, [(3, Verdict::Up)]);
    // Without a probe it is released.
    let unprobed = snapshot(&mut registry, 4, 1..12, "");
    let changes = schedule.follow(&unprobed, now);
    assert!(changes.len() == 11 && changes.iter().all(|change| change.verdict.is_none()));
    assert_eq!(state(&unprobed, 0), ProbedState::Unprobed);
}

#[test]
fn a_result_that_comes_after_other_settings_is_void() {
    let mut registry = Registry::new(1);
    let table = snapshot(&mut registry, 1, 1..2, FIRST);
    let mut schedule = Schedule::new(LIMITS, 7);
    schedule.follow(&table, Instant(0));
    let ticket = schedule.next_ticket(Instant(0)).expect("the first probe is not put off");
    let other = snapshot(&mut registry, 2, 1..2, &FIRST.replace("10s", "20s"));
    schedule.follow(&other, Instant(0));
    assert!(schedule.take(&ticket, Some(true), Instant(1)).is_none());
    let now = Instant(0) + SECOND * 20;
    let ticket =
        begun(&mut schedule, now).into_iter().find(|t| t.identity.id == ticket.identity.id).expect("asked anew");
    let change = schedule.take(&ticket, Some(true), now).expect("it was waited for");
    assert!(change.first && change.verdict == Some(Verdict::Up));
}

#[test]
fn a_new_endpoint_takes_nothing_before_its_answer_where_the_file_says_so() {
    let mut registry = Registry::new(1);
    let table = snapshot(&mut registry, 1, 1..3, FIRST);
    let state = |table: &Snapshot, index: usize| table.upstreams[0].endpoints[index].identity.condition.load().state;
    assert_eq!((state(&table, 0), state(&table, 1)), (EndpointState::Down, EndpointState::Down));
    // One that serves when a reload gives it a probe goes on serving.
    let mut registry = Registry::new(1);
    let unprobed = snapshot(&mut registry, 1, 1..2, "");
    let probed = snapshot(&mut registry, 2, 1..3, FIRST);
    assert_eq!((state(&unprobed, 0), state(&probed, 0)), (EndpointState::Serving, EndpointState::Serving));
    assert_eq!(state(&probed, 1), EndpointState::Down);
}

#[test]
fn limits_hold() {
    let mut registry = Registry::new(1);
    let table = snapshot(&mut registry, 1, 1..101, FIRST);
    let limits = Limits { probes_max: 10, commands_max: 1 };
    let mut schedule = Schedule::new(limits, 7);
    schedule.follow(&table, Instant(0));
    let tickets = begun(&mut schedule, Instant(0));
    assert_eq!((tickets.len(), schedule.next_due()), (10, None));
    let later = Instant(0) + SECOND * 2;
    for ticket in &tickets[..4] {
        schedule.take(ticket, Some(true), later);
    }
    assert_eq!(begun(&mut schedule, later).len(), 4);
    let stats = table.upstreams[0].identity.probes.get().expect("it is probed");
    assert_eq!((stats.sent.get(), stats.late.get()), (14, 4));
}

#[test]
fn commands_have_a_limit_of_their_own() {
    let mut registry = Registry::new(1);
    let exec = "probe = { kind = \"exec\", command = [\"/bin/true\"], initial = \"probe\" }";
    let table = snapshot(&mut registry, 1, 1..6, exec);
    let mut schedule = Schedule::new(LIMITS, 7);
    schedule.follow(&table, Instant(0));
    for _ in 0..5 {
        let tickets = begun(&mut schedule, Instant(0));
        assert_eq!(tickets.len(), 1);
        schedule.take(&tickets[0], Some(true), Instant(0));
    }
}

#[test]
fn where_a_probe_asks() {
    use crate::health::probe::ProbePlace;
    let address = |text: &str| Address::Ip(text.parse().expect("an address"));
    let endpoint = address("10.0.0.1:80");
    assert_eq!(super::dial::asked_address(&ProbePlace::Endpoint, &endpoint), endpoint);
    assert_eq!(super::dial::asked_address(&ProbePlace::Port(81), &endpoint), address("10.0.0.1:81"));
    let other = address("10.0.0.9:1");
    assert_eq!(super::dial::asked_address(&ProbePlace::Address(other.clone()), &endpoint), other);
}
