//! Records from a worker's hand to the file.

use super::*;
use crate::base::Address;
use crate::telemetry::LogStats;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// 2001-09-09T01:46:40Z
const WALL: u64 = 1_000_000_000_000_000;

fn address(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

fn request() -> HttpRecord<'static> {
    static ENDPOINT: LazyLock<Address> = LazyLock::new(|| address("10.0.0.1:9000"));
    static CLIENT: LazyLock<Address> = LazyLock::new(|| address("192.0.2.7:40000"));
    HttpRecord {
        started: Instant(5_000_000_000),
        generation: 3,
        listener: "web",
        route: Some("api"),
        upstream: Some("api"),
        endpoint: Some(&ENDPOINT),
        client: &CLIENT,
        proxy: None,
        unique_id: None,
        method: b"GET",
        host: b"api.example.com",
        path: b"/v1/\"quoted\"/\xff",
        protocol: "HTTP/1.1",
        status: 200,
        bytes_received: 120,
        bytes_sent: 4_096,
        phases: Phases {
            request_head: Some(Duration::from_micros(12)),
            connect: None,
            upstream_head: Some(Duration::from_micros(1_500)),
            response: Some(Duration::from_micros(30)),
            total: Duration::from_micros(1_550),
        },
        attempts: 2,
        connection_reused: true,
        reason: None,
        detail: None,
        request_id: Some(b"abc"),
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    let lines = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", line.escape_ascii()))).collect()
}

fn drained(reader: &mut AccessLogReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.drain(|part| bytes.extend_from_slice(part));
    bytes
}

#[test]
fn a_request_is_one_line_of_json() {
    let (writer, mut reader) = with_ring(1, RING_BYTES);
    let stats = WorkerStats::default();
    writer.sync_clock(Instant(4_000_000_000), WALL);
    assert!(writer.http(&stats, &request()));
    let expected = json!({
        "time": "2001-09-09T01:46:41.000000Z", "listener": "web", "route": "api", "upstream": "api",
        "endpoint": "10.0.0.1:9000", "client": "192.0.2.7:40000", "method": "GET", "host": "api.example.com",
        "path": "/v1/\"quoted\"/\u{fffd}", "protocol": "HTTP/1.1", "status": 200, "bytes_received": 120,
        "bytes_sent": 4096, "request_head_us": 12, "upstream_head_us": 1500, "response_us": 30, "total_us": 1550,
        "attempts": 2, "connection_reused": true, "request_id": "abc", "worker": 1, "generation": 3,
    });
    assert_eq!(lines(&drained(&mut reader)), [expected]);
    assert_eq!((stats.access_log_written.get(), stats.access_log_dropped.get()), (1, 0));
}

#[test]
fn a_connection_is_one_line_of_json() {
    let (writer, mut reader) = with_ring(0, RING_BYTES);
    writer.sync_clock(Instant(0), WALL);
    let record = TcpRecord {
        started: Instant(1_500),
        generation: 1,
        listener: "redis",
        route: Some("redis a.b"),
        upstream: Some("redis"),
        endpoint: None,
        client: &address("[2001:db8::1]:80"),
        proxy: Some(&address("10.0.0.9:5000")),
        sni: Some(b"a.b"),
        unique_id: Some(b"f00"),
        bytes_received: 1,
        bytes_sent: 0,
        connect: None,
        total: Duration::from_secs(1),
        attempts: 1,
        reason: Some("connect_refused"),
    };
    writer.tcp(&WorkerStats::default(), &record);
    let expected = json!({
        "time": "2001-09-09T01:46:40.000001Z", "listener": "redis", "upstream": "redis", "client": "[2001:db8::1]:80",
        "route": "redis a.b", "sni": "a.b", "proxy": "10.0.0.9:5000", "unique_id": "f00",
        "protocol": "tcp", "bytes_received": 1, "bytes_sent": 0, "total_us": 1_000_000, "attempts": 1,
        "reason": "connect_refused", "worker": 0, "generation": 1,
    });
    assert_eq!(lines(&drained(&mut reader)), [expected]);
}

#[test]
fn a_flow_is_one_line_of_json() {
    let (writer, mut reader) = with_ring(0, RING_BYTES);
    writer.sync_clock(Instant(0), WALL);
    let record = FlowRecord {
        started: Instant(1_500),
        generation: 1,
        listener: "dns",
        upstream: Some("resolvers"),
        endpoint: &address("10.0.0.2:53"),
        client: "192.0.2.7:4242".parse().unwrap(),
        received: (2, 60),
        sent: (1, 120),
        total: Duration::from_millis(3),
        attempts: 1,
        end: "expired",
        reason: None,
    };
    writer.flow(&WorkerStats::default(), &record);
    let expected = json!({
        "time": "2001-09-09T01:46:40.000001Z", "listener": "dns", "upstream": "resolvers", "endpoint": "10.0.0.2:53",
        "client": "192.0.2.7:4242", "protocol": "udp", "bytes_received": 60, "bytes_sent": 120,
        "datagrams_received": 2, "datagrams_sent": 1, "total_us": 3_000, "attempts": 1, "end": "expired", "worker": 0,
        "generation": 1,
    });
    assert_eq!(lines(&drained(&mut reader)), [expected]);
}

#[test]
fn a_full_ring_drops_whole_records_and_counts_them() {
    let (writer, mut reader) = with_ring(0, 2_000);
    let stats = WorkerStats::default();
    let mut read = Vec::new();
    for round in 0..50 {
        let written = (0..20).filter(|_| writer.http(&stats, &request())).count();
        assert!((1..20).contains(&written), "{round}");
        read.extend(lines(&drained(&mut reader)));
    }
    assert_eq!(read.len() as u64, stats.access_log_written.get());
    assert_eq!(stats.access_log_written.get() + stats.access_log_dropped.get(), 1_000);
}

#[test]
fn the_longest_record_needs_no_allocation() {
    let (writer, mut reader) = with_ring(usize::MAX, RING_BYTES);
    let long = vec![0xffu8; 10_000];
    let name = "\u{1}".repeat(10_000);
    let record = HttpRecord {
        listener: &name,
        route: Some(&name),
        upstream: Some(&name),
        reason: Some(&name),
        protocol: &name,
        method: &long,
        host: &long,
        path: &long,
        request_id: Some(&long),
        unique_id: Some(&long),
        generation: u64::MAX,
        bytes_received: u64::MAX,
        bytes_sent: u64::MAX,
        ..request()
    };
    assert!(writer.http(&WorkerStats::default(), &record));
    assert_eq!(writer.state.borrow().line.capacity(), RECORD_BYTES_MAX);
    let bytes = drained(&mut reader);
    assert!(bytes.len() <= RECORD_BYTES_MAX);
    assert_eq!(lines(&bytes).len(), 1);
}

/// A path of its own for each test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("ringgate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn lines(&self, name: &str) -> usize {
        lines(&std::fs::read(self.file(name)).unwrap()).len()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_thread_writes_everything_before_it_ends() {
    let scratch = Scratch::new("finish");
    let (writers, readers): (Vec<_>, Vec<_>) = (0..3).map(access_log).unzip();
    let stats = Arc::new(LogStats::default());
    let destination = Some(Destination::File(scratch.file("log")));
    let thread = LogThread::start(destination, readers, Vec::new(), stats.clone()).unwrap();
    for _ in 0..1_000 {
        writers.iter().for_each(|writer| assert!(writer.http(&WorkerStats::default(), &request())));
    }
    assert!(thread.finish(Duration::from_secs(10)));
    assert_eq!(scratch.lines("log"), 3_000);
    assert_eq!(stats.bytes_written.get(), std::fs::metadata(scratch.file("log")).unwrap().len());
}

#[test]
fn a_rotated_file_gets_what_was_before_and_the_new_one_what_came_after() {
    let scratch = Scratch::new("rotate");
    let (writer, reader) = access_log(0);
    let stats = Arc::new(LogStats::default());
    let destination = Some(Destination::File(scratch.file("log")));
    let thread = LogThread::start(destination, vec![reader], Vec::new(), stats.clone()).unwrap();
    let write = |count| (0..count).for_each(|_| assert!(writer.http(&WorkerStats::default(), &request())));
    let settled = |bytes: u64| {
        while stats.bytes_written.get() < bytes {
            std::thread::yield_now();
        }
    };
    write(10);
    let one = writer.state.borrow().line.len() as u64;
    settled(one * 10);
    std::fs::rename(scratch.file("log"), scratch.file("log.1")).unwrap();
    thread.reopen();
    // The command comes before what is written after it shows: the new file exists.
    while !scratch.file("log").exists() {
        std::thread::yield_now();
    }
    write(5);
    settled(one * 15);
    assert!(thread.finish(Duration::from_secs(10)));
    assert_eq!((scratch.lines("log.1"), scratch.lines("log")), (10, 5));
}

#[test]
fn a_full_device_is_counted_and_does_not_stop_the_thread() {
    let (writer, reader) = access_log(0);
    let stats = Arc::new(LogStats::default());
    let thread =
        LogThread::start(Some(Destination::File("/dev/full".into())), vec![reader], Vec::new(), stats.clone()).unwrap();
    assert!(writer.http(&WorkerStats::default(), &request()));
    assert!(thread.finish(Duration::from_secs(10)));
    assert!(stats.bytes_lost.get() > 0);
    assert!(stats.write_errors.get() > 0);
}

#[test]
fn the_guide_explains_every_field() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md")).unwrap();
    let (writer, mut reader) = access_log(0);
    let phases = Phases { connect: Some(Duration::ZERO), ..request().phases };
    let proxy = address("10.0.0.9:5000");
    let proxy = Some(&proxy);
    let all = HttpRecord { reason: Some("internal"), phases, proxy, unique_id: Some(b"f00"), ..request() };
    writer.http(&WorkerStats::default(), &all);
    let line = lines(&drained(&mut reader)).remove(0);
    let tcp = ["sni", "route"].map(str::to_owned);
    for field in line.as_object().unwrap().keys().chain(&tcp) {
        assert!(guide.contains(&format!("`{field}`")), "{field} is not explained");
    }
}
