//! Checked settings → snapshot: gives every listener, route, upstream and endpoint the identity that outlives the
//! snapshot. Cannot fail: whatever could be wrong was found by `check`.

use super::settings::{BalanceSettings, Settings, UpstreamSettings};
use crate::balancer::{HashSeed, Planned, Policy, Sticky, StickyKey};
use crate::base::Secret;
use crate::health::probe::Initial;
use crate::snapshot::{Destination, Listener, Route, Snapshot, Upstream};
use crate::upstream::{
    ClientTable, Endpoint, EndpointIdentity, EndpointState, Labels, ProbedState, Registry, Standing, UpstreamIndex,
};
use std::sync::Arc;

/// The snapshot of `settings`, with what the registry holds for its identities.
pub fn compile(settings: Settings, registry: &mut Registry, generation: u64) -> Snapshot {
    registry.sweep();
    let listeners = settings.listeners.into_iter().map(|listener| {
        let identity = registry.listener(&listener.name, &listener.address, listener.protocol.transport());
        if listener.connections_max_per_client.is_some() {
            identity.clients.get_or_init(|| ClientTable::new(listener.connections_max));
        }
        Listener {
            identity,
            name: listener.name,
            address: listener.address,
            connections_max: listener.connections_max,
            socket: listener.socket,
            proxy_protocol: listener.proxy_protocol,
            proxy_protocol_timeout: listener.proxy_protocol_timeout,
            connections_max_per_client: listener.connections_max_per_client,
            clients_exempt: listener.clients_exempt,
            accept_rate: listener.accept_rate,
            protocol: listener.protocol,
        }
    });
    let listeners = listeners.collect();
    let mut subsets: Vec<Vec<Labels>> = settings.upstreams.iter().map(|_| Vec::new()).collect();
    let routes = settings.routes.into_iter().map(|route| Route {
        stats: registry.route(&route.name),
        name: route.name,
        subsets: subsets_of(&route.destination, &route.labels, &mut subsets),
        destination: route.destination,
        response_head_timeout: route.response_head_timeout,
        response_body_idle_timeout: route.response_body_idle_timeout,
        request_buffer: route.request_buffer,
        response_buffer: route.response_buffer,
    });
    let routes = routes.collect();
    let upstreams = settings.upstreams.into_iter().zip(subsets);
    let upstreams = upstreams.map(|(upstream, subsets)| compile_upstream(upstream, &subsets, registry));
    Snapshot {
        generation,
        listeners,
        routes,
        upstreams: upstreams.collect(),
        drain_timeout: settings.drain_timeout,
        worker_lag_max: settings.worker_lag_max,
        drain_idle_timeout: settings.drain_idle_timeout,
        access_log: settings.process.access_log.is_some(),
    }
}

/// Where the labels of a route stand among those that are asked for of each of its upstreams, from 1.
fn subsets_of(destination: &Destination, labels: &Labels, all: &mut [Vec<Labels>]) -> Box<[(UpstreamIndex, u32)]> {
    if labels.is_empty() {
        return Box::default();
    }
    let mut place = |index: UpstreamIndex| {
        let known = all.get_mut(index.0 as usize)?;
        let at = known.iter().position(|other| other == labels).unwrap_or_else(|| {
            known.push(labels.clone());
            known.len() - 1
        });
        Some((index, at as u32 + 1))
    };
    match destination {
        Destination::One(index) => place(*index).into_iter().collect(),
        Destination::Split { parts, .. } => parts.iter().filter_map(|(_, index)| place(*index)).collect(),
    }
}

fn compile_upstream(settings: UpstreamSettings, subsets: &[Labels], registry: &mut Registry) -> Upstream {
    let endpoints = settings.endpoints.into_iter().map(|endpoint| Endpoint {
        identity: registry.endpoint(&settings.name, &endpoint.address),
        weight: endpoint.weight,
        placement: endpoint.placement,
    });
    let endpoints: Vec<Endpoint> = endpoints.collect();
    let BalanceSettings { policy, hash_secret, sticky } = settings.balance;
    let secret = |own: Option<Secret>| own.unwrap_or_else(|| registry.secret.clone()).0;
    let policy = Arc::new(Policy { hash_seed: HashSeed::of(&secret(hash_secret)), ..policy });
    let sticky = sticky.map(|sticky| {
        let key = StickyKey::of(&secret(sticky.secret));
        Sticky::new(sticky.policy, &key, &settings.name, &endpoints)
    });
    let subsets = subsets.iter().map(|labels| {
        let policy = Policy { labels: labels.clone(), ..Policy::clone(&policy) };
        Planned::new(Arc::new(policy), &endpoints)
    });
    let identity = registry.upstream(&settings.name);
    if let Some(probe) = &settings.probe {
        identity.probes.get_or_init(Box::default);
        if probe.rules.initial == Initial::Probe {
            endpoints.iter().for_each(|endpoint| hold_until_probed(&endpoint.identity));
        }
    }
    Upstream {
        identity,
        plan: Planned::new(Arc::clone(&policy), &endpoints),
        subsets: subsets.collect(),
        sticky,
        policy,
        endpoints,
        connect_timeout: settings.connect_timeout,
        retries: settings.retries,
        idle_connections_max: settings.idle_connections_max,
        idle_timeout: settings.idle_timeout,
        connection_requests_max: settings.connection_requests_max,
        connection_age_max: settings.connection_age_max,
        drain_timeout: settings.drain_timeout,
        connect: settings.connect,
        proxy_protocol: settings.proxy_protocol,
        probe: settings.probe,
        rule: settings.health.rule(),
        health: settings.health,
        rejection: settings.rejection,
    }
}

/// Sends nothing to an endpoint that appears with this snapshot before it has passed a probe. One that serves already goes
/// on: a reload takes nothing out by itself.
fn hold_until_probed(identity: &Arc<EndpointIdentity>) {
    let appears = Arc::strong_count(identity) == 1;
    if appears {
        identity.probed.store(ProbedState::Waiting);
        identity.condition.store(Standing { state: EndpointState::Down, ..Standing::default() });
    }
}
