//! The JSON of `/snapshot` and `/workers`: what is in force and how it is loaded at this moment.

use crate::base::{Address, Gauge, Sharded};
use crate::control::supervisor::{Drained, Drains};
use crate::snapshot::{Destination, Listener, Phase, Protocol, Published, Route, Snapshot, Upstream};
use crate::telemetry::WorkerStats;
use crate::telemetry::stats::{Read, Stats as _};
use crate::telemetry::timestamp::rfc3339;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Debug, Serialize)]
pub(super) struct SnapshotView {
    generation: u64,
    drain_timeout_seconds: f64,
    access_log: bool,
    listeners: Vec<ListenerView>,
    routes: Vec<RouteView>,
    upstreams: Vec<UpstreamView>,
}

#[derive(Debug, Serialize)]
struct ListenerView {
    name: String,
    /// As configured.
    address: Address,
    /// Where it is bound: another port if the configured one is 0.
    bound: Address,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_active: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_max: Option<u32>,
    /// Of udp listeners, instead of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    flows_active: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows_max: Option<u32>,
    /// Only tcp and udp listeners send straight to an upstream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<DestinationView>,
}

#[derive(Debug, Serialize)]
struct RouteView {
    name: String,
    requests: u64,
    upstreams: Vec<DestinationView>,
}

#[derive(Debug, Serialize)]
struct DestinationView {
    upstream: String,
    weight: u32,
}

#[derive(Debug, Serialize)]
struct UpstreamView {
    name: String,
    balance: &'static str,
    retries: u32,
    connect_timeout_seconds: f64,
    endpoints: Vec<EndpointView>,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    address: Address,
    weight: u32,
    /// Requests (http), connections (tcp) or flows (udp).
    in_flight: u32,
    connections_idle: i64,
}

pub(super) fn snapshot(snapshot: &Snapshot) -> SnapshotView {
    SnapshotView {
        generation: snapshot.generation,
        drain_timeout_seconds: snapshot.drain_timeout.as_secs_f64(),
        access_log: snapshot.access_log,
        listeners: snapshot.listeners.iter().map(|each| listener(snapshot, each)).collect(),
        routes: snapshot.routes.iter().map(|each| route(snapshot, each)).collect(),
        upstreams: snapshot.upstreams.iter().map(upstream).collect(),
    }
}

fn listener(snapshot: &Snapshot, listener: &Listener) -> ListenerView {
    let (protocol, upstreams) = match &listener.protocol {
        Protocol::Http(_) => ("http", Vec::new()),
        Protocol::Tcp(tcp) => ("tcp", tcp.upstream.as_ref().map_or_else(Vec::new, |to| destination(snapshot, to))),
        Protocol::Udp(udp) => ("udp", destination(snapshot, &udp.upstream)),
    };
    let flows = match (&listener.protocol, &listener.identity.udp) {
        (Protocol::Udp(udp), Some(stats)) => Some((level(stats, |stats| &stats.flows_active), udp.flows_max)),
        _ => None,
    };
    let connections = match flows {
        None => Some((level(&listener.identity.stats, |stats| &stats.connections_active), listener.connections_max)),
        Some(_) => None,
    };
    ListenerView {
        name: listener.name.clone(),
        address: listener.address.clone(),
        bound: listener.bound_address().clone(),
        protocol,
        connections_active: connections.map(|(active, _)| active),
        connections_max: connections.map(|(_, max)| max),
        flows_active: flows.map(|(active, _)| active),
        flows_max: flows.map(|(_, max)| max),
        upstreams,
    }
}

fn route(snapshot: &Snapshot, route: &Route) -> RouteView {
    RouteView {
        name: route.name.clone(),
        requests: route.stats.sum(|stats| stats.requests.get()),
        upstreams: destination(snapshot, &route.destination),
    }
}

fn destination(snapshot: &Snapshot, destination: &Destination) -> Vec<DestinationView> {
    let parts = match destination {
        Destination::One(index) => &[(1, *index)][..],
        Destination::Split { parts, .. } => parts,
    };
    let name = |index: u32| snapshot.upstreams.get(index as usize).map(|upstream| upstream.identity.name.clone());
    parts
        .iter()
        .map(|(weight, index)| DestinationView { upstream: name(index.0).unwrap_or_default(), weight: *weight })
        .collect()
}

fn upstream(upstream: &Upstream) -> UpstreamView {
    let endpoints = upstream.endpoints.iter().map(|endpoint| EndpointView {
        address: endpoint.identity.address.clone(),
        weight: endpoint.weight,
        in_flight: endpoint.identity.in_flight.load(Ordering::Relaxed),
        connections_idle: level(&endpoint.identity.stats, |stats| &stats.connections_idle),
    });
    UpstreamView {
        name: upstream.identity.name.clone(),
        balance: upstream.policy.balance.name(),
        retries: upstream.retries,
        connect_timeout_seconds: upstream.connect_timeout.as_secs_f64(),
        endpoints: endpoints.collect(),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct DrainsView {
    /// `serving` or `draining`: the process.
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Of clients.
    connections_active: i64,
    draining: Vec<DrainView>,
}

#[derive(Debug, Serialize)]
struct DrainView {
    /// `listener` or `endpoint`.
    kind: &'static str,
    /// The name of the listener, or of the endpoint's upstream.
    name: String,
    /// Of an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Address>,
    since: String,
    /// When what is left is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    connections: u64,
}

pub(super) fn drains(drains: &Drains, published: &Published) -> DrainsView {
    let time = |micros: u64| String::from_utf8_lossy(&rfc3339(micros)).into_owned();
    let draining = drains.parts().into_iter().map(|drain| {
        let micros = |timeout: Duration| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        let (kind, name, address) = match &drain.of {
            Drained::Listener { name, .. } => ("listener", name.clone(), None),
            Drained::Endpoint(endpoint) => ("endpoint", endpoint.upstream.clone(), Some(endpoint.address.clone())),
        };
        let until = drain.timeout.map(|timeout| time(drain.since.saturating_add(micros(timeout))));
        DrainView { kind, name, address, since: time(drain.since), until, connections: drain.of.connections() }
    });
    let snapshot = published.load();
    let open =
        snapshot.listeners.iter().map(|listener| level(&listener.identity.stats, |stats| &stats.connections_active));
    DrainsView {
        phase: if published.phase() == Phase::Serving { "serving" } else { "draining" },
        since: drains.process().map(time),
        connections_active: open.sum(),
        draining: draining.collect(),
    }
}

fn level<S>(stats: &Sharded<S>, gauge: impl Fn(&S) -> &Gauge) -> i64 {
    stats.iter().map(|shard| gauge(shard).get()).sum()
}

/// One object for each worker; its members are the metrics of the worker table without their prefix.
pub(super) fn workers(workers: &Sharded<WorkerStats>) -> Vec<Map<String, Value>> {
    let each = workers.iter().enumerate();
    each.map(|(worker, stats)| {
        let mut members = Map::new();
        members.insert("worker".into(), worker.into());
        for row in WorkerStats::TABLE {
            let value: Value = match row.read {
                Read::Counter(read) => read(stats).get().into(),
                Read::Gauge(read) => read(stats).get().into(),
                Read::Span(read) => (read(stats).get() as f64 / 1e6).into(),
                _ => continue,
            };
            let name = row.metric.name.trim_start_matches("ringgate_worker_").trim_end_matches("_total");
            members.insert(name.into(), value);
        }
        members
    })
    .collect()
}
