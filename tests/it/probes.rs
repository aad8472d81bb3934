//! Probes: what each kind finds out, what the log and the metrics say, and where requests go while an endpoint is down.

use super::*;
use crate::harness::{Database, HEAD, RAW, UdpOrigin, WEB, closed_address, wait_for};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

on_each_engine!(
    an_endpoint_that_fails_its_probe_goes_and_comes_back,
    what_is_known_of_an_endpoint_survives_reloads,
    a_new_endpoint_waits_for_its_first_answer,
    any_probe_on_any_upstream,
    a_command_decides,
    a_redis_is_asked_in_its_language,
    a_mariadb_is_asked_in_its_language,
    a_postgres_is_asked_in_its_language,
    two_thousand_endpoints_delay_nobody,
);

/// Fast rules for a probe of a scenario.
const FAST: &str = "interval = \"100ms\"\ninterval_fast = \"100ms\"\ntimeout = \"10s\"\n";

/// An origin whose answers to /healthz a scenario decides.
fn judged(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answered = status.clone();
    let origin = Origin::http(move |request| match request.target.as_str() {
        "/healthz" => Response::new(answered.load(Ordering::SeqCst), "probed").close(),
        _ => Response::ok(name),
    });
    (origin, status)
}

fn probed(keys: &str) -> String {
    format!("[upstream.app.probe]\n{FAST}{keys}\n")
}

/// What the metrics say of an endpoint.
#[track_caller]
fn wait_state(gate: &Gate, endpoint: &str, up: bool) {
    let label = format!("endpoint=\"{endpoint}\"");
    let wanted = f64::from(u8::from(up));
    let state = || gate.metric("ringgate_endpoint_probe_up", &[&label]);
    wait_for(&format!("{endpoint} to be up: {up}"), || (state() == wanted).then_some(()));
}

fn an_endpoint_that_fails_its_probe_goes_and_comes_back(engine: Engine) {
    let (good, _) = judged("good");
    let (bad, status) = judged("bad");
    let keys = probed("kind = \"http\"\npath = \"/healthz\"");
    let gate = Gate::start(engine, &Gate::http_config(&[&good, &bad], &keys));
    status.store(503, Ordering::SeqCst);
    let line = gate.wait_log(&format!("endpoint {} of app is down", bad.address));
    assert!(line.ends_with("is down: 3 probes failed in a row: HTTP 503, expected 200-399"), "{line}");
    wait_state(&gate, &bad.address.to_string(), false);
    let mut client = gate.client();
    wait_for("the bad endpoint to be left out", || (0..30).all(|_| client.get("/").text() == "good").then_some(()));
    assert!(gate.metric("ringgate_probe_failures_total", &["reason=\"status\"", "upstream=\"app\""]) >= 3.0);
    assert_eq!(gate.metric("ringgate_probe_downs_total", &["upstream=\"app\""]), 1.0);
    status.store(204, Ordering::SeqCst);
    gate.wait_log(&format!("endpoint {} of app is up: 2 probes passed in a row", bad.address));
    wait_for("the endpoint to be back", || (client.get("/").text() == "bad").then_some(()));
    assert!(gate.metric("ringgate_probe_sent_total", &["upstream=\"app\""]) >= 5.0);
    assert!(gate.metric("ringgate_probe_duration_seconds_count", &["upstream=\"app\""]) >= 5.0);
}

fn what_is_known_of_an_endpoint_survives_reloads(engine: Engine) {
    let (good, _) = judged("good");
    let (bad, status) = judged("bad");
    status.store(500, Ordering::SeqCst);
    let http = "kind = \"http\"\npath = \"/healthz\"\n";
    let gate = Gate::start(engine, &Gate::http_config(&[&good, &bad], &probed(http)));
    wait_state(&gate, &bad.address.to_string(), false);
    let mut client = gate.client();
    let left_out = |client: &mut Client| (0..30).all(|_| client.get("/").text() == "good");
    wait_for("the bad endpoint to be left out", || left_out(&mut client).then_some(()));
    // Other settings of everything but the endpoint, and a probe that would take an hour to find out.
    for keys in ["rise = 3\n", "jitter = \"50%\"\n"] {
        let slow = format!("[upstream.app.probe]\ninterval = \"1h\"\n{http}{keys}");
        gate.reload(&Gate::http_config(&[&good, &bad], &format!("retries = 1\n{slow}")));
        assert!(left_out(&mut client));
    }
    wait_state(&gate, &bad.address.to_string(), false);
    // Without a probe it is as any other.
    gate.reload(&Gate::http_config(&[&good, &bad], ""));
    wait_for("the endpoint to be back", || (client.get("/").text() == "bad").then_some(()));
}

fn a_new_endpoint_waits_for_its_first_answer(engine: Engine) {
    let ready = Arc::new(AtomicBool::new(false));
    let seen = ready.clone();
    let origin = Origin::http(move |request| match (request.target.as_str(), seen.load(Ordering::SeqCst)) {
        ("/healthz", false) => Response::new(503, "").close(),
        _ => Response::ok("new"),
    });
    let (old, _) = judged("old");
    let first = Gate::http_config(&[&old], "");
    let gate = Gate::start(engine, &first);
    let keys = probed("kind = \"http\"\npath = \"/healthz\"\ninitial = \"probe\"");
    gate.reload(&Gate::http_config(&[&old, &origin], &keys));
    let mut client = gate.client();
    // The one that served goes on, the new one has not answered well yet.
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "old");
    }
    let line = gate.wait_log(&format!("endpoint {} of app is down", origin.address));
    assert!(line.contains("its first probe failed: HTTP 503"), "{line}");
    ready.store(true, Ordering::SeqCst);
    gate.wait_log(&format!("endpoint {} of app is up", origin.address));
    wait_for("the new endpoint", || (client.get("/").text() == "new").then_some(()));
}

fn any_probe_on_any_upstream(engine: Engine) {
    let echo = Origin::echo();
    let (health, status) = judged("health");
    let udp = UdpOrigin::echo();
    let (_held, closed) = closed_address();
    let greets = Origin::raw(|mut connection| _ = connection.send("220 ready\r\n"));
    let config = format!(
        "{HEAD}{RAW}\n[upstream.app]\nendpoints = [\"{echo}\"]\n{over_http}\nport = {port}\n\
         [[listener]]\nname = \"dns\"\naddress = \"127.0.0.4:0\"\nprotocol = \"udp\"\nupstream = {{ dns = 1, dead = 1, gone = 1 }}\n\
         [upstream.dns]\nendpoints = [\"{udp}\"]\n[upstream.dns.probe]\nkind = \"udp\"\nsend = \"hex:6f 6b\"\nexpect = \"ok\"\n{FAST}\n\
         [upstream.dead]\nendpoints = [\"{closed}\"]\n[upstream.dead.probe]\nkind = \"udp\"\nsend = \"ok\"\n{FAST}\n\
         [upstream.gone]\nendpoints = [\"127.0.0.1:1\"]\n[upstream.gone.probe]\nkind = \"tcp\"\naddress = \"{greets}\"\nexpect = \"554\"\n{FAST}\n",
        echo = echo.address,
        port = health.address.port(),
        over_http = probed("kind = \"http\"\npath = \"/healthz\""),
        udp = udp.address,
        greets = greets.address,
    );
    let gate = Gate::start(engine, &config);
    let line = gate.wait_log(&format!("endpoint {closed} of dead is down"));
    assert!(line.ends_with("in a row: connection refused"), "{line}");
    let line = gate.wait_log("endpoint 127.0.0.1:1 of gone is down");
    assert!(line.ends_with("the answer \"220 ready\" does not contain \"554\""), "{line}");
    wait_for("probes by datagrams", || (udp.received().len() > 3).then_some(()));
    wait_state(&gate, &udp.address.to_string(), true);
    wait_state(&gate, &echo.address.to_string(), true);
    status.store(500, Ordering::SeqCst);
    gate.wait_log(&format!("endpoint {} of app is down", echo.address));
}

fn a_command_decides(engine: Engine) {
    let origin = Origin::text("hello");
    let folder = std::env::temp_dir().join(format!("ringgate-it-probes-{}-{}", std::process::id(), engine.name()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let script = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a temporary file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path.display().to_string()
    };
    let seen = folder.join("seen");
    let told = script("told", &format!("env > {}.new && mv {0}.new {0}; test \"$1\" = well", seen.display()));
    let fails = script("fails", "echo out of order >&2; exit 3");
    // Holds its output, and has a child that does; both go with it.
    let hangs = script("hangs", "echo waiting; sleep 1000 & sleep 1000");
    let upstream = |name: &str, command: &str, keys: &str| {
        format!(
            "[upstream.{name}]\nendpoints = [\"{}\"]\n[upstream.{name}.probe]\nkind = \"exec\"\ncommand = [{command}]\n\
             interval = \"100ms\"\n{keys}\n",
            origin.address
        )
    };
    let config = format!(
        "{HEAD}{}{}{}{}",
        WEB.replace("upstream = \"app\"", "upstream = { told = 1, fails = 1, hangs = 1 }"),
        upstream("told", &format!("\"{told}\", \"well\""), "timeout = \"10s\""),
        upstream("fails", &format!("\"{fails}\""), "timeout = \"10s\""),
        upstream("hangs", &format!("\"{hangs}\""), "timeout = \"100ms\"\nfall = 1"),
    );
    let gate = Gate::start(engine, &config);
    let line = gate.wait_log("of fails is down");
    assert!(line.ends_with("3 probes failed in a row: the command ended with 3: out of order"), "{line}");
    let line = gate.wait_log("of hangs is down");
    assert!(line.contains("the command did not end within 100ms"), "{line}");
    let told = wait_for("the environment", || fs::read_to_string(&seen).ok());
    for wanted in [
        "RINGGATE_UPSTREAM=told".to_owned(),
        format!("RINGGATE_ENDPOINT={}", origin.address),
        "RINGGATE_ADDRESS=127.0.0.1".to_owned(),
        format!("RINGGATE_PORT={}", origin.address.port()),
    ] {
        assert!(told.lines().any(|line| line == wanted), "{wanted} in {told}");
    }
    assert!(!told.contains("RINGGATE_ENGINE"), "the gateway's own environment: {told}");
    wait_for("many probes", || {
        (gate.metric("ringgate_probe_sent_total", &["upstream=\"hangs\""]) > 10.0).then_some(())
    });
    // No more processes than are under way: none is left as a zombie, none lives on.
    wait_for("few children", || (children(gate.process()) <= 16).then_some(()));
    assert_eq!(gate.metric("ringgate_probe_downs_total", &["upstream=\"told\""]), 0.0);
    drop(gate);
    let _ = fs::remove_dir_all(&folder);
}

/// Children of a process, zombies included.
fn children(process: u32) -> usize {
    let of = |stat: String| stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok();
    let stats = fs::read_dir("/proc").expect("there is a /proc").flatten();
    let parents = stats.filter_map(|entry| of(fs::read_to_string(entry.path().join("stat")).ok()?));
    parents.filter(|parent| *parent == process).count()
}

/// One tcp listener, and an upstream for each of these endpoints and probes.
fn databases(engine: Engine, upstreams: &[(&str, &str, &str)]) -> Gate {
    let parts: Vec<String> = upstreams.iter().map(|(name, ..)| format!("{name} = 1")).collect();
    let mut config = format!("{HEAD}{}", RAW.replace("\"app\"", &format!("{{ {} }}", parts.join(", "))));
    for (name, endpoint, keys) in upstreams {
        config.push_str(&format!(
            "\n[upstream.{name}]\nendpoints = [\"{endpoint}\"]\n[upstream.{name}.probe]\n{FAST}{keys}\n"
        ));
    }
    Gate::start(engine, &config)
}

/// The probes of `upstream` pass: several were sent, and none failed.
#[track_caller]
fn expect_passing(gate: &Gate, upstream: &str) {
    let label = format!("upstream=\"{upstream}\"");
    let of = |name: &str| gate.metric(name, &[&label]);
    wait_for("several probes", || (of("ringgate_probe_duration_seconds_count") >= 3.0).then_some(()));
    assert_eq!(of("ringgate_probe_failures_total"), 0.0, "{upstream}: {:?}", gate.log_lines());
}

fn a_redis_is_asked_in_its_language(engine: Engine) {
    let mut open = Database::redis(&format!("redis-{}", engine.name()), &[]);
    let locked = Database::redis(&format!("locked-{}", engine.name()), &["--requirepass", "a secret"]);
    let secret = locked.folder().join("password");
    fs::write(&secret, "a secret\n").expect("a temporary file");
    let with_password = format!("kind = \"redis\"\npassword = \"file:{}\"", secret.display());
    let gate = databases(
        engine,
        &[
            ("open", &open.endpoint(), "kind = \"redis\""),
            ("locked", &locked.endpoint(), &with_password),
            ("refused", &locked.endpoint(), "kind = \"redis\""),
            ("confused", &locked.endpoint(), "kind = \"mysql\""),
        ],
    );
    let line = gate.wait_log("of refused is down");
    assert!(line.contains("Redis says \"NOAUTH Authentication required.\"; set `password`"), "{line}");
    expect_passing(&gate, "open");
    expect_passing(&gate, "locked");
    // It speaks first, and Redis does not: nothing passes.
    assert_eq!(gate.metric("ringgate_probe_ups_total", &["upstream=\"confused\""]), 0.0);
    open.kill();
    let line = gate.wait_log("of open is down");
    assert!(line.ends_with("in a row: connection refused"), "{line}");
}

fn a_mariadb_is_asked_in_its_language(engine: Engine) {
    let database = Database::mariadb(&format!("mariadb-{}", engine.name()));
    let endpoint = database.endpoint();
    let gate = databases(
        engine,
        &[
            ("greeted", &endpoint, "kind = \"mysql\""),
            ("known", &endpoint, "kind = \"mysql\"\nuser = \"root\""),
            ("unknown", &endpoint, "kind = \"mysql\"\nuser = \"stranger\""),
            ("confused", &endpoint, "kind = \"redis\""),
        ],
    );
    let line = gate.wait_log("of unknown is down");
    assert!(line.contains("MySQL error 1045: Access denied for user 'stranger'@'localhost'"), "{line}");
    gate.wait_log("of confused is down");
    expect_passing(&gate, "greeted");
    expect_passing(&gate, "known");
}

fn a_postgres_is_asked_in_its_language(engine: Engine) {
    let serving = Database::postgres(&format!("postgres-{}", engine.name()), false);
    let recovering = Database::postgres(&format!("standby-{}", engine.name()), true);
    let gate = databases(
        engine,
        &[
            ("asked", &serving.endpoint(), "kind = \"postgres\""),
            ("known", &serving.endpoint(), "kind = \"postgres\"\nuser = \"postgres\""),
            ("unknown", &serving.endpoint(), "kind = \"postgres\"\nuser = \"postgres\"\ndatabase = \"nothing\""),
            ("recovering", &recovering.endpoint(), "kind = \"postgres\"\nuser = \"postgres\""),
            ("confused", &serving.endpoint(), "kind = \"http\""),
        ],
    );
    let line = gate.wait_log("of unknown is down");
    assert!(line.contains("PostgreSQL says 3D000: database \"nothing\" does not exist"), "{line}");
    let line = gate.wait_log("of recovering is down");
    assert!(line.contains("PostgreSQL says 57P03: "), "{line}");
    gate.wait_log("of confused is down");
    expect_passing(&gate, "asked");
    expect_passing(&gate, "known");
}

/// Every one of them hangs, so that as many probes are under way as may be; pages and reloads come all the same.
fn two_thousand_endpoints_delay_nobody(engine: Engine) {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let endpoints: Vec<String> = (0..2_000).map(|n| format!("\"127.9.{}.{}:{port}\"", n / 250, n % 250 + 1)).collect();
    let config = |interval: &str| {
        format!(
            "{HEAD}{WEB}\n[upstream.app]\nendpoints = [{}]\n[upstream.app.probe]\nkind = \"tcp\"\ninterval = \"{interval}\"\n",
            endpoints.join(", ")
        )
    };
    let gate = Gate::start(engine, &config("500ms"));
    for interval in ["400ms", "300ms", "500ms"] {
        gate.reload(&config(interval));
    }
    let sent = || gate.metric("ringgate_probe_sent_total", &["upstream=\"app\""]);
    wait_for("a probe of each", || (sent() >= 2_000.0).then_some(()));
    drop(listener);
    wait_for("all to be down", || (gate.metric("ringgate_probe_downs_total", &[]) >= 2_000.0).then_some(()));
    // A hundred lines a second are enough to know.
    let lines = gate.log_lines().iter().filter(|line| line.contains("of app is down")).count();
    assert!(lines < 2_000, "{lines} lines");
}
