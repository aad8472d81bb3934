//! What operators see: the admin pages, the metrics and the access log.

use super::*;
use crate::harness::{PATIENCE, curl, wait_for};

on_each_engine!(
    the_admin_pages_answer,
    metrics_count_what_happened,
    the_access_log_tells_a_request,
    the_access_log_tells_a_tcp_connection,
    latencies_are_histograms,
);

fn the_admin_pages_answer(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = Gate::http(engine, &[&origin]);
    assert_eq!(gate.admin("/live").status, 200);
    assert_eq!(gate.admin("/ready").status, 200);
    assert_eq!(gate.admin("/nothing").status, 404);
    let snapshot: serde_json::Value = serde_json::from_str(&gate.admin("/snapshot").text()).expect("JSON");
    assert_eq!(snapshot["generation"], 1);
    assert!(snapshot.to_string().contains(&origin.address.to_string()), "{snapshot}");
    let metrics = curl(&["-i", &format!("http://{}/metrics", gate.address("admin"))]);
    assert!(metrics.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{metrics}");
}

fn metrics_count_what_happened(engine: Engine) {
    let origin = Origin::http(|request| Response::new(if request.target == "/bad" { 500 } else { 200 }, "hello"));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..7 {
        client.get("/");
    }
    client.get("/bad");
    let endpoint = format!("endpoint=\"{}\"", origin.address);
    wait_for("eight requests in the metrics", || {
        (gate.metric("ringgate_route_requests_total", &[]) == 8.0).then_some(())
    });
    assert_eq!(gate.metric("ringgate_route_responses_total", &["class=\"2xx\""]), 7.0);
    assert_eq!(gate.metric("ringgate_route_responses_total", &["class=\"5xx\""]), 1.0);
    assert_eq!(gate.metric("ringgate_endpoint_requests_total", &["upstream=\"app\"", &endpoint]), 8.0);
    assert_eq!(gate.metric("ringgate_listener_connections_accepted_total", &["listener=\"web\""]), 1.0);
    assert_eq!(gate.metric("ringgate_ready", &[]), 1.0);
}

fn the_access_log_tells_a_request(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    client.send("POST /path?query HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\n\r\nbody").response();
    let record = gate.wait_access("status", 200);
    for (key, value) in [("listener", "web"), ("method", "POST"), ("host", "shop.example"), ("upstream", "app")] {
        assert_eq!(record[key], value, "{record}");
    }
    assert_eq!(record["client"], client.local_address().to_string());
    assert_eq!(record["endpoint"], origin.address.to_string());
    assert_eq!((&record["attempts"], &record["generation"]), (&1.into(), &1.into()));
    let id = origin.request().field("x-request-id").map(str::to_string);
    assert_eq!(record["request_id"].as_str(), id.as_deref());
}

fn the_access_log_tells_a_tcp_connection(engine: Engine) {
    let origin = Origin::echo();
    let gate = Gate::tcp(engine, &[&origin]);
    gate.tcp_client().send("12345").expect("12345").shutdown_write().expect_end();
    let record = gate.wait_access("listener", "raw");
    assert_eq!((&record["bytes_received"], &record["bytes_sent"]), (&5.into(), &5.into()), "{record}");
    assert_eq!(record["endpoint"], origin.address.to_string());
}

fn latencies_are_histograms(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = Gate::http(engine, &[&origin]);
    for _ in 0..5 {
        gate.client().get("/");
    }
    let name = "ringgate_route_duration_seconds";
    wait_for("five durations", || (gate.metric(&format!("{name}_count"), &[]) == 5.0).then_some(()));
    let sum = gate.metric(&format!("{name}_sum"), &[]);
    assert!(sum > 0.0 && sum < PATIENCE.as_secs_f64(), "{sum}");
    assert_eq!(gate.metric(&format!("{name}_bucket"), &["le=\"+Inf\""]), 5.0);
}
