//! The text of `/metrics`: every table of `telemetry::stats`, with the names of the snapshot in force as labels.

use super::{AdminState, process};
use crate::base::Sharded;
use crate::control::health::UpstreamHealth;
use crate::control::supervisor::{Drain, Drained};
use crate::health::Failure;
use crate::health::governor::Hold;
use crate::health::outlier::Cause;
use crate::health::probe::ProbeFailure;
use crate::snapshot::{Listener, Phase, Protocol, Snapshot};
use crate::telemetry::prometheus::{Counted, Page, Shards, labels};
use crate::telemetry::stats::{self, EndpointStats, ListenerStats, RouteStats, UdpStats, UpstreamStats, WorkerStats};
use crate::upstream::{BreakerState, OutcomeCounts, ProbedState, Transport, WHOLE_SHARE};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A first guess of the page's size, so that it does not grow by copying.
const SERIES_BYTES: usize = 100;

pub(super) fn page(state: &AdminState) -> String {
    let snapshot = state.published.load();
    let reasons: Vec<&str> = Failure::ALL.iter().map(|failure| failure.verdict().name).collect();
    let endpoints: usize = snapshot.upstreams.iter().map(|upstream| upstream.endpoints.len()).sum();
    let series = endpoints * 16 + snapshot.upstreams.len() * 60 + snapshot.routes.len() * 40 + 500;
    let mut page = Page::with_capacity(series * SERIES_BYTES);
    gateway(&mut page, state, &snapshot);
    page.table(&listeners(&snapshot), &reasons);
    page.table(&udp_listeners(&snapshot), &reasons);
    page.table(&routes(&snapshot), &reasons);
    page.table(&upstreams(&snapshot), &reasons);
    probes(&mut page, &snapshot);
    let drains = state.drains.parts();
    endpoint_tables(&mut page, &snapshot, &drains, &reasons);
    let draining = drains.iter().map(|drain| match &drain.of {
        Drained::Listener { name, .. } => (labels(&[("kind", "listener"), ("name", name)]), drain.of.connections()),
        Drained::Endpoint(endpoint) => {
            let name = format!("{} {}", endpoint.upstream, endpoint.address);
            (labels(&[("kind", "endpoint"), ("name", &name)]), drain.of.connections())
        }
    });
    page.metric(&stats::DRAINING_CONNECTIONS, draining);
    verdicts(&mut page, &state.verdicts.view());
    page.table(&workers(&state.workers), &reasons);
    page.table(&[Counted { labels: String::new(), shards: Shards::One(&*state.config) }], &reasons);
    page.table(&[Counted { labels: String::new(), shards: Shards::One(&*state.log) }], &reasons);
    if let Some(usage) = process::usage() {
        usage.show(&mut page);
    }
    page.into_text()
}

/// What no counter stands behind.
fn gateway(page: &mut Page, state: &AdminState, snapshot: &Snapshot) {
    let plain = String::new;
    page.metric(&stats::BUILD_INFO, [(labels(&[("version", env!("CARGO_PKG_VERSION"))]), 1)]);
    page.metric(&stats::ENGINE_INFO, [(labels(&[("engine", state.engine)]), 1)]);
    let ready = state.started.load(Ordering::Acquire) && state.published.phase() == Phase::Serving;
    page.metric(&stats::READY, [(plain(), u8::from(ready))]);
    page.metric(&stats::CONFIG_GENERATION, [(plain(), snapshot.generation)]);
    page.metric(&stats::MEMORY_HEAP, [(plain(), state.budget.held())]);
    page.metric(&stats::MEMORY_HEAP_MAX, [(plain(), state.budget.full())]);
    let mut once = Once::default();
    let of_streams = |l: &&Listener| l.protocol.transport() == Transport::Stream;
    let listeners = snapshot.listeners.iter().filter(of_streams);
    let maxima = listeners.filter_map(|l| Some((once.take(&[("listener", &l.name)])?, l.connections_max)));
    page.metric(&stats::LISTENER_CONNECTIONS_MAX, maxima);
    let flows = snapshot.listeners.iter().filter_map(|l| match &l.protocol {
        Protocol::Udp(udp) => Some((once.take(&[("listener", &l.name)])?, udp.flows_max)),
        _ => None,
    });
    page.metric(&stats::UDP_FLOWS_MAX, flows);
    let mut once = Once::default();
    let upstreams = snapshot.upstreams.iter();
    let sizes = upstreams.filter_map(|u| Some((once.take(&[("upstream", &u.identity.name)])?, u.endpoints.len())));
    page.metric(&stats::UPSTREAM_ENDPOINTS, sizes);
}

fn listeners(snapshot: &Snapshot) -> Vec<Counted<'_, ListenerStats>> {
    let mut once = Once::default();
    let all = snapshot.listeners.iter();
    all.filter_map(|listener| once.counted(&[("listener", &listener.name)], &listener.identity.stats)).collect()
}

fn udp_listeners(snapshot: &Snapshot) -> Vec<Counted<'_, UdpStats>> {
    let mut once = Once::default();
    let all = snapshot.listeners.iter();
    all.filter_map(|listener| once.counted(&[("listener", &listener.name)], listener.identity.udp.as_ref()?)).collect()
}

fn routes(snapshot: &Snapshot) -> Vec<Counted<'_, RouteStats>> {
    let mut once = Once::default();
    snapshot.routes.iter().filter_map(|route| once.counted(&[("route", &route.name)], &route.stats)).collect()
}

fn upstreams(snapshot: &Snapshot) -> Vec<Counted<'_, UpstreamStats>> {
    let mut once = Once::default();
    let all = snapshot.upstreams.iter().map(|upstream| &upstream.identity);
    all.filter_map(|identity| once.counted(&[("upstream", &identity.name)], &identity.stats)).collect()
}

/// What the prober counts, and what it says of each endpoint.
fn probes(page: &mut Page, snapshot: &Snapshot) {
    let probed = || snapshot.upstreams.iter().filter(|upstream| upstream.probe.is_some());
    let counted = probed().filter_map(|upstream| {
        let stats = upstream.identity.probes.get()?;
        Some(Counted { labels: labels(&[("upstream", &upstream.identity.name)]), shards: Shards::One(&**stats) })
    });
    page.table(&counted.collect::<Vec<_>>(), &ProbeFailure::NAMES);
    let endpoints = probed().flat_map(|upstream| &upstream.endpoints).map(|endpoint| &endpoint.identity);
    let states = endpoints.map(|identity| {
        let pairs = [("upstream", identity.upstream.as_str()), ("endpoint", &identity.address.to_string())];
        (labels(&pairs), u8::from(identity.probed.load() == ProbedState::Up))
    });
    page.metric(&stats::ENDPOINT_PROBE_UP, states);
}

/// The counters of endpoints, those that drain included, and their weights, which share their labels.
fn endpoint_tables(page: &mut Page, snapshot: &Snapshot, drains: &[Arc<Drain>], reasons: &[&str]) {
    let mut once = Once::default();
    let mut weights = Vec::new();
    let mut counted: Vec<Counted<'_, EndpointStats>> = Vec::new();
    let present = snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let present = present.map(|endpoint| (&endpoint.identity, endpoint.weight));
    let draining = drains.iter().filter_map(|drain| match &drain.of {
        Drained::Endpoint(identity) => Some((identity, 0)),
        Drained::Listener { .. } => None,
    });
    for (identity, weight) in present.chain(draining) {
        let pairs = [("upstream", identity.upstream.as_str()), ("endpoint", &identity.address.to_string())];
        if let Some(series) = once.counted(&pairs, &identity.stats) {
            weights.push(weight);
            counted.push(series);
        }
    }
    let labels = counted.iter().map(|series| series.labels.clone());
    page.metric(&stats::ENDPOINT_WEIGHT, labels.zip(weights));
    page.table(&counted, reasons);
}

/// How endpoints stand and what was decided about them.
fn verdicts(page: &mut Page, upstreams: &[UpstreamHealth]) {
    let endpoints = || {
        let each = upstreams.iter().flat_map(|of| of.endpoints.iter().map(|endpoint| (&of.name, endpoint)));
        each.map(|(name, of)| ([("upstream", name.as_str()), ("endpoint", "")], of.address.to_string(), of))
    };
    let with = |upstream: &str, address: &str, key: &'static str, value: &str| {
        labels(&[("upstream", upstream), ("endpoint", address), (key, value)])
    };
    let states =
        endpoints().map(|([(_, name), _], address, of)| (with(name, &address, "state", of.standing.state.name()), 1));
    page.metric(&stats::ENDPOINT_STATE, states);
    let shares = endpoints().map(|([(_, name), _], address, of)| {
        let share = f64::from(of.standing.share) / f64::from(WHOLE_SHARE);
        (labels(&[("upstream", name), ("endpoint", &address)]), share)
    });
    page.metric(&stats::ENDPOINT_SHARE, shares);
    let outcomes = endpoints().flat_map(|([(_, name), _], address, of)| {
        let kinds = outcomes(&of.total).into_iter().filter(|(kind, count)| *count > 0 || *kind == "success");
        kinds.map(move |(kind, count)| (with(name, &address, "outcome", kind), count)).collect::<Vec<_>>()
    });
    page.metric(&stats::ENDPOINT_OUTCOMES, outcomes);
    let overloads = endpoints().map(|([(_, name), _], address, of)| {
        (labels(&[("upstream", name), ("endpoint", &address)]), of.total.overloads)
    });
    page.metric(&stats::ENDPOINT_OVERLOADS, overloads);
    upstream_verdicts(page, upstreams);
}

/// Kinds that add up to all attempts.
fn outcomes(total: &OutcomeCounts) -> [(&'static str, u64); 5] {
    [
        ("success", total.successes()),
        ("server_error", total.server_errors),
        ("gateway_failure", total.gateway_failures.saturating_sub(total.timeouts)),
        ("timeout", total.timeouts),
        ("connect_failure", total.unconnected),
    ]
}

fn upstream_verdicts(page: &mut Page, upstreams: &[UpstreamHealth]) {
    fn by_reason<'u>(
        of: &'u UpstreamHealth,
        names: &'u [&str],
        counts: &'u [u64],
    ) -> impl Iterator<Item = (String, u64)> {
        let each = names.iter().zip(counts);
        each.map(|(reason, count)| (labels(&[("upstream", &of.name), ("reason", reason)]), *count))
    }
    let ejections = upstreams.iter().flat_map(|of| by_reason(of, &Cause::NAMES, &of.counted.ejections));
    page.metric(&stats::UPSTREAM_EJECTIONS, ejections);
    let held = upstreams.iter().flat_map(|of| by_reason(of, &Hold::NAMES, &of.counted.held));
    page.metric(&stats::UPSTREAM_EJECTIONS_HELD, held);
    let returns = upstreams.iter().map(|of| (labels(&[("upstream", &of.name)]), of.counted.returns));
    page.metric(&stats::UPSTREAM_RETURNS, returns);
    let with_breaker = || upstreams.iter().filter(|of| of.breaker_on);
    let state = |of: &UpstreamHealth, state: BreakerState| labels(&[("upstream", &of.name), ("state", state.name())]);
    page.metric(&stats::UPSTREAM_BREAKER_STATE, with_breaker().map(|of| (state(of, of.breaker), 1)));
    let turns = with_breaker()
        .flat_map(|of| BreakerState::ALL.map(|into| (state(of, into), of.counted.breaker_turns[into as usize])));
    page.metric(&stats::UPSTREAM_BREAKER_TURNS, turns);
}

fn workers(workers: &Sharded<WorkerStats>) -> Vec<Counted<'_, WorkerStats>> {
    let each = workers.iter().enumerate();
    each.map(|(worker, shard)| Counted { labels: format!("worker=\"{worker}\""), shards: Shards::One(shard) }).collect()
}

/// Labels that were used. A series that is there twice makes Prometheus refuse the whole page, so a name that two things
/// share (their counters are the same, being kept by name) is shown once.
#[derive(Default)]
struct Once(HashSet<String>);

impl Once {
    fn take(&mut self, pairs: &[(&str, &str)]) -> Option<String> {
        let labels = labels(pairs);
        self.0.insert(labels.clone()).then_some(labels)
    }

    fn counted<'a, S>(&mut self, pairs: &[(&str, &str)], stats: &'a Sharded<S>) -> Option<Counted<'a, S>> {
        Some(Counted { labels: self.take(pairs)?, shards: Shards::All(stats) })
    }
}
