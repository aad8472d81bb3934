//! Checked settings → snapshot: gives every listener, route, upstream and endpoint the identity that outlives the
//! snapshot. Cannot fail: whatever could be wrong was found by `check`.

use super::settings::{Settings, UpstreamSettings};
use crate::balancer::Planned;
use crate::health::probe::Initial;
use crate::snapshot::{Listener, Route, Snapshot, Upstream};
use crate::upstream::{ClientTable, Endpoint, EndpointIdentity, EndpointState, ProbedState, Registry, Standing};
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
    let routes = settings.routes.into_iter().map(|route| Route {
        stats: registry.route(&route.name),
        name: route.name,
        destination: route.destination,
        response_head_timeout: route.response_head_timeout,
        response_body_idle_timeout: route.response_body_idle_timeout,
        request_buffer: route.request_buffer,
        response_buffer: route.response_buffer,
    });
    let routes = routes.collect();
    let upstreams = settings.upstreams.into_iter().map(|upstream| compile_upstream(upstream, registry));
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

/// One upstream of the file, with what outlives the snapshot.
fn compile_upstream(upstream: UpstreamSettings, registry: &mut Registry) -> Upstream {
    let endpoints = upstream.endpoints.into_iter().map(|endpoint| Endpoint {
        identity: registry.endpoint(&upstream.name, &endpoint.address),
        weight: endpoint.weight,
        placement: endpoint.placement,
    });
    let endpoints: Vec<Endpoint> = endpoints.collect();
    let policy = Arc::new(upstream.policy);
    let identity = registry.upstream(&upstream.name);
    if let Some(probe) = &upstream.probe {
        identity.probes.get_or_init(Box::default);
        if probe.rules.initial == Initial::Probe {
            endpoints.iter().for_each(|endpoint| hold_until_probed(&endpoint.identity));
        }
    }
    Upstream {
        identity,
        plan: Planned::new(Arc::clone(&policy), &endpoints),
        policy,
        endpoints,
        connect_timeout: upstream.connect_timeout,
        retries: upstream.retries,
        idle_connections_max: upstream.idle_connections_max,
        idle_timeout: upstream.idle_timeout,
        connection_requests_max: upstream.connection_requests_max,
        connection_age_max: upstream.connection_age_max,
        drain_timeout: upstream.drain_timeout,
        connect: upstream.connect,
        proxy_protocol: upstream.proxy_protocol,
        probe: upstream.probe,
        rule: upstream.health.rule(),
        health: upstream.health,
        rejection: upstream.rejection,
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
