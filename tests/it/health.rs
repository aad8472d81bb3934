//! Endpoints that fail, and what becomes of them: found by the traffic alone, taken out, and given their traffic back.

use super::*;
use crate::harness::{HEAD, RAW, closed_address, wait_for};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

on_each_engine!(
    one_that_answers_500_is_ejected_and_comes_back,
    one_that_refuses_is_ejected,
    one_that_refuses_tcp_is_ejected,
    the_last_one_is_kept,
    a_breaker_rejects_probes_and_admits,
    a_breaker_falls_back,
    the_slow_one_is_found_by_its_latency,
    who_is_needed_is_kept,
    operators_cost_no_request,
);

/// An origin that answers 500 while it is broken.
fn breakable(text: &'static str) -> (Origin, Arc<AtomicBool>) {
    let broken = Arc::new(AtomicBool::new(false));
    let told = broken.clone();
    let origin = Origin::http(move |_| match told.load(Ordering::SeqCst) {
        true => Response::new(500, "broken"),
        false => Response::ok(text),
    });
    (origin, broken)
}

/// Asks until the log has this line.
#[track_caller]
fn ask_until_log(gate: &Gate, client: &mut Client, text: &str) {
    wait_for(&format!("{text:?} in the log, under load"), || {
        client.get("/");
        gate.log_lines().iter().any(|line| line.contains(text)).then_some(())
    });
}

fn one_that_answers_500_is_ejected_and_comes_back(engine: Engine) {
    let (first, second) = (Origin::text("first"), Origin::text("second"));
    let (third, broken) = breakable("third");
    let keys = "outlier_failure_rate_above = \"30%\"\noutlier_eject_time = \"1s\"\noutlier_probation = \"500ms\"";
    let gate = Gate::start(engine, &Gate::http_config(&[&first, &second, &third], keys));
    let mut client = gate.client();
    broken.store(true, Ordering::SeqCst);
    let address = third.address.to_string();
    ask_until_log(&gate, &mut client, &format!("endpoint {address} is ejected for 1s"));
    // On probation it fails again, and is out for twice as long.
    ask_until_log(&gate, &mut client, &format!("endpoint {address} is ejected for 2s"));
    broken.store(false, Ordering::SeqCst);
    ask_until_log(&gate, &mut client, &format!("endpoint {address} is back"));
    wait_for("the third to answer", || (client.get("/").text() == "third").then_some(()));
}

fn one_that_refuses_is_ejected(engine: Engine) {
    let (_socket, closed) = closed_address();
    let origin = Origin::text("ok");
    let config = Gate::http_config(&[&origin], "balance = \"round_robin\"\noutlier_eject_time = \"1h\"");
    let gate = Gate::start(engine, &config.replace("endpoints = [", &format!("endpoints = [\"{closed}\", ")));
    let mut client = gate.client();
    let line = format!("endpoint {closed} is ejected for 1h: 3 failures to connect in a row");
    ask_until_log(&gate, &mut client, &line);
    // Requests that had been picked for it may be under way; from here on none is.
    let before = gate.metric("ringgate_endpoint_connect_failures_total", &[&closed.to_string()]);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(gate.metric("ringgate_endpoint_connect_failures_total", &[&closed.to_string()]), before);
}

fn one_that_refuses_tcp_is_ejected(engine: Engine) {
    let (_socket, closed) = closed_address();
    let origin = Origin::echo();
    let endpoints = format!("endpoints = [\"{closed}\", \"{}\"]", origin.address);
    let keys = "balance = \"round_robin\"\noutlier_eject_time = \"1h\"";
    let gate = Gate::start(engine, &format!("{HEAD}{RAW}\n[upstream.app]\n{endpoints}\n{keys}\n"));
    wait_for("an ejection", || {
        gate.tcp_client().send("hello").expect("hello");
        gate.log_lines().iter().any(|line| line.contains(&format!("endpoint {closed} is ejected"))).then_some(())
    });
    for _ in 0..5 {
        gate.tcp_client().send("hello").expect("hello");
    }
}

fn the_last_one_is_kept(engine: Engine) {
    let (origin, broken) = breakable("well");
    let gate = Gate::start(engine, &Gate::http_config(&[&origin], "outlier_consecutive_5xx = 5"));
    let mut client = gate.client();
    broken.store(true, Ordering::SeqCst);
    ask_until_log(&gate, &mut client, "is kept: no other endpoint is in service");
    assert_eq!(client.get("/").status, 500);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(client.get("/").text(), "well");
}

const BREAKER: &str = "breaker_failure_rate = \"50%\"\nbreaker_requests_min = 10\nbreaker_reject_time = \"1s\"\n\
                       breaker_probes = 3\noutlier_failure_rate_above = \"off\"\n";

fn a_breaker_rejects_probes_and_admits(engine: Engine) {
    let (origin, broken) = breakable("well");
    let keys = format!("{BREAKER}breaker_status = 529\nbreaker_body = \"Back in a minute.\"");
    let gate = Gate::start(engine, &Gate::http_config(&[&origin], &keys));
    let mut client = gate.client();
    broken.store(true, Ordering::SeqCst);
    let rejected = wait_for("a rejection", || Some(client.get("/")).filter(|response| response.status != 500));
    assert_eq!((rejected.status, rejected.text().trim_end()), (529, "Back in a minute."));
    assert_eq!(rejected.field("retry-after"), Some("1"));
    gate.wait_access("reason", "breaker_open");
    gate.wait_log("the breaker rejects requests for 1s: ");
    // Its probes fail, and it rejects again; then they do not.
    ask_until_log(&gate, &mut client, "the breaker lets up to 3 requests at a time through");
    wait_for("another rejection", || {
        client.get("/");
        let lines = gate.log_lines();
        (lines.iter().filter(|line| line.contains("the breaker rejects")).count() > 1).then_some(())
    });
    broken.store(false, Ordering::SeqCst);
    ask_until_log(&gate, &mut client, "the breaker admits requests again");
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "well");
    }
}

fn a_breaker_falls_back(engine: Engine) {
    let (origin, broken) = breakable("well");
    let spare = Origin::text("spare");
    let keys = format!("{BREAKER}breaker_fallback = \"spare\"\n[upstream.spare]\nendpoints = [\"{}\"]", spare.address);
    let gate = Gate::start(engine, &Gate::http_config(&[&origin], &keys));
    let mut client = gate.client();
    broken.store(true, Ordering::SeqCst);
    wait_for("the spare one", || (client.get("/").text() == "spare").then_some(()));
    assert_eq!(gate.wait_access("upstream", "spare")["status"], 200);
}

/// An origin that takes its time: far longer than the others, far shorter than anybody's patience.
fn slow(text: &'static str) -> Origin {
    Origin::http(move |_| {
        std::thread::park_timeout(std::time::Duration::from_millis(40));
        Response::ok(text)
    })
}

const LATENCY: &str = "balance = \"round_robin\"\noutlier_latency = \"300%\"\noutlier_requests_min = 5\n\
                       outlier_eject_time = \"1h\"\n";

fn the_slow_one_is_found_by_its_latency(engine: Engine) {
    let fast = [Origin::text("fast"), Origin::text("fast"), Origin::text("fast")];
    let slow = slow("slow");
    let gate = Gate::start(engine, &Gate::http_config(&[&fast[0], &slow, &fast[1], &fast[2]], LATENCY));
    let mut client = gate.client();
    ask_until_log(&gate, &mut client, &format!("endpoint {} is ejected for 1h: it answers in", slow.address));
    let before = slow.requests().len();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "fast");
    }
    assert_eq!(slow.requests().len(), before);
    assert_eq!(gate.metric("ringgate_upstream_ejections_total", &["reason=\"latency\""]), 1.0);
    assert_eq!(gate.metric("ringgate_endpoint_state", &[&slow.address.to_string(), "ejected"]), 1.0);
}

fn who_is_needed_is_kept(engine: Engine) {
    let fast = [Origin::text("fast"), Origin::text("fast")];
    let slow = slow("slow");
    // No endpoint may be brought above what it was seen to carry: so none that works can be spared.
    let keys = format!("{LATENCY}outlier_load_max = \"100%\"");
    let gate = Gate::start(engine, &Gate::http_config(&[&fast[0], &slow, &fast[1]], &keys));
    let mut client = gate.client();
    ask_until_log(&gate, &mut client, &format!("endpoint {} should go (it answers in", slow.address));
    gate.wait_log("is kept: the others would have to carry");
    assert_eq!(gate.metric("ringgate_endpoint_state", &[&slow.address.to_string(), "serving"]), 1.0);
    assert!(gate.metric("ringgate_upstream_ejections_held_total", &["reason=\"load\""]) >= 1.0);
}

/// Asks the admin listener to act on an endpoint, and gives what it says of it then.
#[track_caller]
fn operate(gate: &Gate, action: &str, origin: &Origin, weight: &str) -> serde_json::Value {
    let target = format!("/upstreams/app/{action}?endpoint={}{weight}", origin.address);
    let request = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let response = Client::connect(gate.address("admin")).send(request).response();
    assert_eq!(response.status, 200, "{target}: {}", response.text());
    serde_json::from_str(&response.text()).expect("JSON")
}

/// Waits until nothing is under way at an origin any more.
#[track_caller]
fn wait_unused(gate: &Gate, origin: &Origin) {
    wait_for("requests under way to end", || {
        let shown: serde_json::Value = serde_json::from_str(&gate.admin("/upstreams").text()).expect("JSON");
        let endpoints = shown[0]["endpoints"].as_array().expect("a list").clone();
        let of = endpoints.into_iter().find(|of| of["address"] == origin.address.to_string()).expect("it is listed");
        (of["in_flight"] == 0).then_some(())
    });
}

fn operators_cost_no_request(engine: Engine) {
    let origins = [Origin::text("a"), Origin::text("b"), Origin::text("c")];
    let config = Gate::http_config(&[&origins[0], &origins[1], &origins[2]], "balance = \"round_robin\"");
    let gate = Gate::start(engine, &config);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (mut client, ended) = (gate.client(), &ended);
                scope.spawn(move || {
                    let mut failed = 0;
                    while !ended.load(Ordering::Relaxed) {
                        failed += usize::from(client.get("/").status != 200);
                    }
                    failed
                })
            })
            .collect();
        let gets_nothing = |origin: &Origin| {
            wait_unused(&gate, origin);
            let (before, others) =
                (origin.requests().len(), || origins.iter().map(|of| of.requests().len()).sum::<usize>());
            let enough = others() + 50;
            wait_for("more requests", || (others() >= enough).then_some(()));
            assert_eq!(origin.requests().len(), before);
        };
        assert_eq!(operate(&gate, "drain", &origins[0], "")["state"], "draining");
        gets_nothing(&origins[0]);
        assert_eq!(operate(&gate, "disable", &origins[1], "")["state"], "down");
        gets_nothing(&origins[1]);
        gets_nothing(&origins[0]);
        // All of it holds over a reload.
        gate.reload(&config.replace("round_robin", "least_request"));
        gets_nothing(&origins[0]);
        gets_nothing(&origins[1]);
        operate(&gate, "return", &origins[0], "");
        operate(&gate, "weight", &origins[2], "&weight=0");
        gets_nothing(&origins[2]);
        operate(&gate, "return", &origins[1], "");
        operate(&gate, "weight", &origins[2], "&weight=configured");
        for origin in &origins {
            let before = origin.requests().len();
            wait_for("its share", || (origin.requests().len() > before).then_some(()));
        }
        ended.store(true, Ordering::Relaxed);
        let failed: usize = clients.into_iter().map(|client| client.join().expect("a client")).sum();
        assert_eq!(failed, 0);
    });
}
