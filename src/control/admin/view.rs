//! The JSON of `/snapshot` and `/workers`: what is in force and how it is loaded at this moment.

use crate::balancer::Balance;
use crate::base::{Address, Gauge, Sharded};
use crate::snapshot::{Destination, Listener, Protocol, Route, Snapshot, Upstream};
use crate::telemetry::WorkerStats;
use crate::telemetry::stats::{Read, Stats as _};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::atomic::Ordering;

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
        balance: match upstream.balance {
            Balance::RoundRobin => "round_robin",
            Balance::LeastRequest => "least_request",
            Balance::Random => "random",
        },
        retries: upstream.retries,
        connect_timeout_seconds: upstream.connect_timeout.as_secs_f64(),
        endpoints: endpoints.collect(),
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
                _ => continue,
            };
            let name = row.metric.name.trim_start_matches("ringgate_worker_").trim_end_matches("_total");
            members.insert(name.into(), value);
        }
        members
    })
    .collect()
}
