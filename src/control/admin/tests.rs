//! The admin listener over a real socket, as curl and Prometheus see it.

use super::*;
use crate::balancer::{Balance, Planned, Policy};
use crate::base::{Address, Networks, Sharded};
use crate::health::Failure;
use crate::snapshot::{
    ConnectSettings, Destination, Listener, Phase, Protocol, Route, Snapshot, SocketSettings, TcpSettings, Upstream,
};
use crate::telemetry::prometheus::strict;
use crate::upstream::{Endpoint, EndpointState, Registry, Standing, Transport, UpstreamIndex};
use serde_json::Value;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One tcp listener "web \"quoted\"", one route of the name "api", `endpoints` endpoints.
fn snapshot(endpoints: u16) -> Snapshot {
    let (mut registry, second) = (Registry::new(2), Duration::from_secs(1));
    let name = "web \"quoted\"".to_owned();
    let address = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let identity = registry.listener(&name, &address, Transport::Stream);
    let destination = Destination::Split { parts: vec![(3, UpstreamIndex(0)), (1, UpstreamIndex(7))], total: 4 };
    let protocol = Protocol::Tcp(TcpSettings {
        upstream: Some(destination),
        sni: None,
        client_hello_timeout: second,
        idle_timeout: second,
    });
    let route = || Route {
        name: "api".into(),
        destination: Destination::One(UpstreamIndex(0)),
        subsets: Box::default(),
        response_head_timeout: second,
        response_body_idle_timeout: second,
        request_buffer: 0,
        response_buffer: 0,
        stats: Arc::new(Sharded::new(2)),
    };
    let upstream = upstream(&mut registry, endpoints);
    Snapshot {
        generation: 4,
        listeners: vec![Listener {
            identity,
            name,
            address,
            connections_max: 100,
            socket: SocketSettings::default(),
            proxy_protocol: Networks::default(),
            proxy_protocol_timeout: second,
            connections_max_per_client: None,
            clients_exempt: Default::default(),
            accept_rate: None,
            protocol,
        }],
        // Two routes of one name: no compiler makes them, and Prometheus must not see a series twice all the same.
        routes: vec![route(), route()],
        upstreams: vec![upstream],
        drain_timeout: second,
        worker_lag_max: std::time::Duration::from_millis(500),
        drain_idle_timeout: second,
        access_log: true,
    }
}

fn upstream(registry: &mut Registry, endpoints: u16) -> Upstream {
    let second = Duration::from_secs(1);
    let endpoint = |port| {
        let address = SocketAddr::from(([10, 0, 0, 1], port)).into();
        Endpoint { identity: registry.endpoint("api", &address), weight: 5, placement: Default::default() }
    };
    let endpoints: Vec<Endpoint> = (1..=endpoints).map(endpoint).collect();
    let policy = Arc::new(Policy::new(Balance::LeastRequest));
    Upstream {
        identity: registry.upstream("api"),
        plan: Planned::new(Arc::clone(&policy), &endpoints),
        policy,
        subsets: Box::default(),
        sticky: None,
        endpoints,
        connect_timeout: second,
        retries: 1,
        idle_connections_max: 1,
        idle_timeout: second,
        connection_requests_max: u32::MAX,
        connection_age_max: None,
        drain_timeout: None,
        connect: ConnectSettings::default(),
        proxy_protocol: None,
        probe: None,
        health: Default::default(),
        rule: Default::default(),
        rejection: Default::default(),
    }
}

fn state(endpoints: u16) -> AdminState {
    let published = Arc::new(Published::new(snapshot(endpoints)));
    AdminState {
        budget: crate::base::heap::Budget::unlimited(),
        verdicts: crate::control::health::Verdicts::new(published.clone()),
        published,
        started: Arc::new(AtomicBool::new(true)),
        engine: "epoll",
        workers: Arc::new(Sharded::new(2)),
        config: Arc::default(),
        log: Arc::default(),
        drains: Arc::default(),
        reload: Box::new(|| {
            Box::pin(async { ReloadOutcome { applied: true, generation: 5, text: "1 endpoint added".into() } })
        }),
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn start(state: Arc<AdminState>) -> SocketAddr {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, state));
    address
}

async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A reset after the answer (the rest of a refused request was not read) is fine.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    Answer { status: head[9..12].parse().unwrap(), head: head.to_ascii_lowercase(), body: body.into() }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    send(address, &format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn ready_follows_the_phase() {
    let state = Arc::new(AdminState { started: Arc::default(), ..state(1) });
    let address = start(state.clone()).await;
    let ready = async || {
        let answer = ask(address, "GET", "/ready").await;
        (answer.status, answer.body)
    };
    assert_eq!(ready().await, (503, "starting\n".into()));
    state.started.store(true, Ordering::Release);
    assert_eq!(ready().await, (200, "ready\n".into()));
    state.published.advance(Phase::Draining);
    assert_eq!(ready().await, (503, "draining\n".into()));
    assert_eq!(ask(address, "GET", "/live").await.status, 200);
}

#[tokio::test]
async fn metrics_are_valid_and_show_everything() {
    let state = Arc::new(state(3));
    let snapshot = state.published.load();
    snapshot.listeners[0].identity.stats.shard(1).connections_accepted.add(9);
    snapshot.upstreams[0].endpoints[2].identity.stats.shard(0).requests.add(7);
    state.workers.shard(1).engine_turns.add(3);
    state.config.reloads.inc();
    let answer = ask(start(state).await, "GET", "/metrics").await;
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let series = strict::parse(&answer.body).unwrap_or_else(|wrong| panic!("{wrong}\n{}", answer.body));
    for (name, value) in [
        ("ringgate_listener_connections_accepted_total{listener=\"web \\\"quoted\\\"\"}", 9.0),
        ("ringgate_listener_connections_max{listener=\"web \\\"quoted\\\"\"}", 100.0),
        ("ringgate_endpoint_requests_total{upstream=\"api\",endpoint=\"10.0.0.1:3\"}", 7.0),
        ("ringgate_endpoint_weight{upstream=\"api\",endpoint=\"10.0.0.1:1\"}", 5.0),
        ("ringgate_upstream_endpoints{upstream=\"api\"}", 3.0),
        ("ringgate_route_requests_total{route=\"api\"}", 0.0),
        ("ringgate_worker_engine_turns_total{worker=\"1\"}", 3.0),
        ("ringgate_config_reloads_total{}", 1.0),
        ("ringgate_config_generation{}", 4.0),
        ("ringgate_ready{}", 1.0),
        ("ringgate_engine_info{engine=\"epoll\"}", 1.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}\n{}", answer.body);
    }
    assert!(series["process_resident_memory_bytes{}"] > 0.0);
}

#[test]
fn ten_thousand_endpoints_are_one_valid_page() {
    let page = metrics::page(&state(10_000));
    let series = strict::parse(&page).unwrap();
    assert!(series.len() > 100_000);
    // The page was given enough room at first.
    assert!(page.len() < 160_000 * 130, "{}", page.len());
}

#[tokio::test]
async fn the_snapshot_in_force_is_shown() {
    let state = Arc::new(state(2));
    let snapshot = state.published.load();
    snapshot.upstreams[0].endpoints[1].identity.in_flight.store(6, Ordering::Relaxed);
    let address = start(state).await;
    let shown = ask(address, "GET", "/snapshot").await.json();
    assert_eq!(shown["generation"], 4);
    assert_eq!(shown["listeners"][0]["bound"], snapshot.listeners[0].bound_address().to_string());
    assert_eq!(shown["listeners"][0]["upstreams"][0]["upstream"], "api");
    assert_eq!(shown["upstreams"][0]["balance"], "least_request");
    assert_eq!(shown["upstreams"][0]["endpoints"][1]["address"], "10.0.0.1:2");
    assert_eq!(shown["upstreams"][0]["endpoints"][1]["in_flight"], 6);
    let workers = ask(address, "GET", "/workers").await.json();
    assert_eq!(workers[1]["worker"], 1);
    assert_eq!(workers[1]["engine_turns"], 0);
}

#[tokio::test]
async fn operators_say_what_becomes_of_an_endpoint() {
    let state = Arc::new(state(3));
    let snapshot = state.published.load();
    let standing = |index: usize| snapshot.upstreams[0].endpoints[index].identity.condition.load();
    let address = start(state.clone()).await;
    let shown = ask(address, "GET", "/upstreams").await.json();
    assert_eq!((&shown[0]["name"], &shown[0]["endpoints"][2]["state"]), (&"api".into(), &"serving".into()));
    let post = async |path: &str| ask(address, "POST", &format!("/upstreams/{path}")).await;
    let drained = post("api/drain?endpoint=10.0.0.1:2").await.json();
    assert_eq!((&drained["state"], &drained["back"]), (&"draining".into(), &"an operator's `return`".into()));
    assert_eq!(standing(1).state, EndpointState::Draining);
    post("api/disable?endpoint=10.0.0.1:1").await;
    assert_eq!((standing(0).state, standing(0).weight), (EndpointState::Down, Some(0)));
    assert_eq!(post("api/weight?endpoint=10.0.0.1:3&weight=9").await.json()["weight"], 9);
    assert_eq!(standing(2).weight, Some(9));
    for endpoint in 1..=3 {
        assert_eq!(post(&format!("api/return?endpoint=10.0.0.1:{endpoint}")).await.json()["weight"], 5);
    }
    assert_eq!((0..3).map(standing).filter(|standing| *standing == Standing::default()).count(), 3);
    for (path, status, why) in [
        ("api/drain", 400, "?endpoint=ADDRESS"),
        ("api/sink?endpoint=10.0.0.1:1", 400, "drain, disable, return and weight"),
        ("api/weight?endpoint=10.0.0.1:1&weight=70000", 400, "0 to 65535"),
        ("web/drain?endpoint=10.0.0.1:1", 404, "no upstream `web`; there is api"),
        ("api/drain?endpoint=10.0.0.1:9", 404, "there is 10.0.0.1:1, 10.0.0.1:2"),
    ] {
        let refused = post(path).await;
        assert!(refused.status == status && refused.body.contains(why), "{path}: {} {}", refused.status, refused.body);
    }
    assert_eq!(ask(address, "GET", "/upstreams/api/drain?endpoint=10.0.0.1:1").await.status, 405);
}

#[tokio::test]
async fn reload_says_how_it_went() {
    let address = start(Arc::new(state(1))).await;
    let applied = ask(address, "POST", "/reload").await;
    assert_eq!((applied.status, applied.json()["generation"].as_u64()), (200, Some(5)));
    let refuse: Box<dyn Fn() -> ReloadFuture + Send + Sync> = Box::new(|| {
        Box::pin(async { ReloadOutcome { applied: false, generation: 4, text: "error: unknown key".into() } })
    });
    let refused = ask(start(Arc::new(AdminState { reload: refuse, ..state(1) })).await, "POST", "/reload").await;
    assert_eq!((refused.status, refused.json()["text"].as_str()), (422, Some("error: unknown key")));
    let bug: Box<dyn Fn() -> ReloadFuture + Send + Sync> = Box::new(|| Box::pin(async { panic!("a bug") }));
    let failed = ask(start(Arc::new(AdminState { reload: bug, ..state(1) })).await, "POST", "/reload").await;
    assert_eq!(failed.status, 500);
}

#[tokio::test]
async fn web_pages_and_wrong_methods_are_refused() {
    let address = start(Arc::new(state(1))).await;
    let with = async |headers: &str| {
        send(address, &format!("POST /reload HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).await.status
    };
    assert_eq!(with("Host: localhost\r\nOrigin: http://evil.example\r\n").await, 403);
    assert_eq!(with("Host: evil.example\r\n").await, 403);
    assert_eq!(with("Host: localhost\r\nContent-Length: 999999999\r\n").await, 200);
    assert_eq!(ask(address, "GET", "/reload").await.status, 405);
    assert_eq!(ask(address, "POST", "/metrics").await.status, 405);
    assert_eq!(ask(address, "GET", "/nothing").await.status, 404);
    assert!(ask(address, "GET", "/").await.body.contains("/snapshot"));
    let long = "a".repeat(HEAD_BYTES_MAX);
    assert_eq!(ask(address, "GET", &format!("/{long}")).await.status, 431);
}

/// `RINGGATE_BLESS=1 cargo test --lib control::admin` writes the list anew.
#[test]
fn the_guide_explains_every_reason() {
    let mut list = String::from("| reason | status | meaning |\n|---|---|---|\n");
    for (failure, verdict) in Failure::ALL.iter().map(|failure| (*failure, failure.verdict())) {
        let status = if verdict.status == 0 { "–".into() } else { verdict.status.to_string() };
        let text = if failure == Failure::ClientTooSlow {
            "The client reads more slowly than `response_rate_min`."
        } else if verdict.text.is_empty() {
            "The client went away or stopped reading."
        } else {
            verdict.text
        };
        list.push_str(&format!("| `{}` | {status} | {text} |\n", verdict.name));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let start = guide.find("| reason | status").expect("the guide has the list");
    let end = start + guide[start..].find("\n\n").expect("the list ends") + 1;
    if std::env::var_os("RINGGATE_BLESS").is_some() {
        std::fs::write(path, [&guide[..start], &list, &guide[end..]].concat()).unwrap();
    } else {
        assert_eq!(guide[start..end], list, "run with RINGGATE_BLESS=1 to write the list");
    }
}
