//! Slow attacks by a tool that others wrote, slowhttptest, while wrk plays a good client: slow headers, slow bodies, slow
//! readers. The good client is served without an error and the attack costs little. How far the attack moves the good
//! client's latencies is printed, and held here only to be of the same order: `scripts/slow` measures it.

use super::*;
use crate::harness::{HEAD, WEB};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

on_each_engine!(a_good_client_does_not_feel_slow_ones);

/// Connections of an attack, and how long it and the good client go on, in seconds.
const ATTACKERS: usize = 400;
const LASTS: &str = "3";
/// A machine that runs all scenarios at once has longer pauses of its own than any that an attack makes.
const PAUSE_US: f64 = 500_000.0;
const RATIO_MAX: f64 = 20.0;
/// Bytes that an attacker's connection may cost the gateway, as an average.
const BYTES_EACH_MAX: f64 = 300_000.0;

fn a_good_client_does_not_feel_slow_ones(engine: Engine) {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/large" => Response::ok("x".repeat(400_000)),
        _ => Response::ok("hello"),
    });
    let gate = Gate::start(engine, &format!("{HEAD}{WEB}\n[upstream.app]\nendpoints = [\"{}\"]\n", origin.address));
    let web = gate.address("web");
    let alone = GoodClient::run(web);
    let heap = gate.metric("ringgate_memory_heap_bytes", &[]);
    for (name, attack) in [
        ("slow headers", &["-H", "-i", "1", "-x", "24"][..]),
        ("slow bodies", &["-B", "-i", "1", "-s", "8192", "-x", "10"]),
        ("slow readers", &["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "1"]),
    ] {
        let path = if attack[0] == "-X" { "large" } else { "" };
        let mut attacking = start_attack(web, path, attack);
        let beside = GoodClient::run(web);
        let held = gate.metric("ringgate_memory_heap_bytes", &[]) - heap;
        println!("{} {name}: p99 {} us, alone {} us; {held} bytes", engine.name(), beside.p99_us, alone.p99_us);
        assert!(beside.p99_us <= alone.p99_us * RATIO_MAX + PAUSE_US, "the good client feels {name}");
        assert!(held < ATTACKERS as f64 * BYTES_EACH_MAX, "{name} hold {held} bytes");
        let _ = attacking.kill();
        attacking.wait().expect("our own child");
    }
    assert_eq!(gate.metric("ringgate_route_responses_total", &["class=\"5xx\""]), 0.0);
}

fn start_attack(web: SocketAddr, path: &str, kind: &[&str]) -> Child {
    let url = format!("http://{web}/{path}");
    let count = ATTACKERS.to_string();
    let mut command = Command::new("slowhttptest");
    command.args(kind).args(["-c", &count, "-r", &count, "-l", LASTS, "-p", "3", "-u", &url]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("slowhttptest is installed")
}

/// What wrk has seen.
struct GoodClient {
    p99_us: f64,
}

impl GoodClient {
    /// Asks for a while, and has no error at all.
    #[track_caller]
    fn run(web: SocketAddr) -> GoodClient {
        let duration = format!("-d{LASTS}s");
        let url = format!("http://{web}/");
        let output = Command::new("wrk").args(["-t1", "-c8", &duration, "--latency", &url]).output();
        let output = output.expect("wrk is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "the good client had errors:\n{text}");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("99%")).unwrap_or_else(|| panic!("{text}"));
        GoodClient { p99_us: microseconds(line.trim()) }
    }
}

/// `1.23ms` as wrk writes it.
fn microseconds(text: &str) -> f64 {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let read = |(unit, factor): (&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor);
    units.into_iter().find_map(read).unwrap_or_else(|| panic!("no duration: {text}"))
}
