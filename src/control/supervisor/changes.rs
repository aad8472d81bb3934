//! What a reload changed, in words: listeners, routes, upstreams and endpoints that were added, removed or set
//! otherwise, and how many connections were kept. Pure; the supervisor logs it and the admin listener answers with it.

use super::drain::{busy_connections, open_connections};
use crate::snapshot::{
    Destination, HttpSettings, Listener, Protocol, Route, Snapshot, TcpSettings, UdpSettings, Upstream,
};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// More lines than this are counted, not shown.
const LINES_SHOWN_MAX: usize = 100;

/// The difference of two snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// One change each.
    pub lines: Vec<String>,
    pub listeners_kept: usize,
    /// Open connections of listeners that stay, at the moment of the reload.
    pub connections_kept: u64,
    /// Open connections of listeners, and busy ones to endpoints, that were removed: they drain.
    pub connections_draining: u64,
}

impl Changes {
    pub fn between(old: &Snapshot, new: &Snapshot) -> Changes {
        let mut changes = Changes::default();
        changes.listeners(old, new);
        changes.routes(old, new);
        changes.upstreams(old, new);
        if old.drain_timeout != new.drain_timeout {
            changes.lines.push("drain_timeout changed".to_owned());
        }
        if old.drain_idle_timeout != new.drain_idle_timeout {
            changes.lines.push("drain_idle_timeout changed".to_owned());
        }
        changes
    }

    fn listeners(&mut self, old: &Snapshot, new: &Snapshot) {
        let before: HashMap<u32, &Listener> =
            old.listeners.iter().map(|listener| (listener.identity.id, listener)).collect();
        let after: HashSet<u32> = new.listeners.iter().map(|listener| listener.identity.id).collect();
        for listener in &new.listeners {
            let Some(earlier) = before.get(&listener.identity.id) else {
                let Listener { name, address, .. } = listener;
                self.lines.push(format!("listener `{name}` added at {address}"));
                continue;
            };
            self.listeners_kept += 1;
            self.connections_kept += open_connections(listener);
            if earlier.name != listener.name {
                let line = format!("listener `{}` renamed from `{}`", listener.name, earlier.name);
                self.lines.push(line);
            }
            if !same_listener((old, earlier), (new, listener)) {
                self.lines.push(format!("listener `{}` has other settings", listener.name));
            }
        }
        for listener in old.listeners.iter().filter(|listener| !after.contains(&listener.identity.id)) {
            let open = open_connections(listener);
            self.connections_draining += open;
            let Listener { name, address, .. } = listener;
            let line = format!("listener `{name}` at {address} removed: {open} connections drain");
            self.lines.push(line);
        }
    }

    fn routes(&mut self, old: &Snapshot, new: &Snapshot) {
        let before: HashMap<&str, &Route> = old.routes.iter().map(|route| (route.name.as_str(), route)).collect();
        let after: HashSet<&str> = new.routes.iter().map(|route| route.name.as_str()).collect();
        for route in &new.routes {
            match before.get(route.name.as_str()) {
                None => self.lines.push(format!("route `{}` added", route.name)),
                Some(earlier) if !same_route((old, earlier), (new, route)) => {
                    self.lines.push(format!("route `{}` has other settings", route.name));
                }
                Some(_) => {}
            }
        }
        for route in old.routes.iter().filter(|route| !after.contains(route.name.as_str())) {
            self.lines.push(format!("route `{}` removed", route.name));
        }
    }

    fn upstreams(&mut self, old: &Snapshot, new: &Snapshot) {
        fn by_name(snapshot: &Snapshot) -> HashMap<&str, &Upstream> {
            snapshot.upstreams.iter().map(|upstream| (upstream.identity.name.as_str(), upstream)).collect()
        }
        let (before, after) = (by_name(old), by_name(new));
        for upstream in &new.upstreams {
            let name = upstream.identity.name.as_str();
            match before.get(name) {
                None => {
                    let count = upstream.endpoints.len();
                    self.lines.push(format!("upstream `{name}` added with {count} endpoints"));
                }
                Some(earlier) => self.upstream(earlier, upstream),
            }
        }
        for upstream in &old.upstreams {
            let name = upstream.identity.name.as_str();
            if !after.contains_key(name) {
                let busy: u64 = upstream.endpoints.iter().map(|endpoint| busy_connections(&endpoint.identity)).sum();
                self.connections_draining += busy;
                self.lines.push(match busy {
                    0 => format!("upstream `{name}` removed"),
                    _ => format!("upstream `{name}` removed: {busy} connections drain"),
                });
            }
        }
    }

    fn upstream(&mut self, old: &Upstream, new: &Upstream) {
        let name = &new.identity.name;
        let before: HashMap<_, _> = old.endpoints.iter().map(|e| (&e.identity.address, e)).collect();
        let after: HashSet<_> = new.endpoints.iter().map(|e| &e.identity.address).collect();
        for endpoint in &new.endpoints {
            let (address, weight) = (&endpoint.identity.address, endpoint.weight);
            let line = match before.get(address) {
                None => format!("upstream `{name}`: endpoint {address} added"),
                Some(earlier) if earlier.weight != weight => {
                    format!("upstream `{name}`: endpoint {address} has weight {weight} instead of {}", earlier.weight)
                }
                Some(earlier) if earlier.placement != endpoint.placement => {
                    format!("upstream `{name}`: endpoint {address} has another priority, zone or part as a backup")
                }
                Some(_) => continue,
            };
            self.lines.push(line);
        }
        for endpoint in old.endpoints.iter().filter(|e| !after.contains(&e.identity.address)) {
            let address = &endpoint.identity.address;
            let busy = busy_connections(&endpoint.identity);
            self.connections_draining += busy;
            self.lines.push(match busy {
                0 => format!("upstream `{name}`: endpoint {address} removed"),
                _ => format!("upstream `{name}`: endpoint {address} removed: {busy} connections drain"),
            });
        }
        let settings = |of: &Upstream| {
            let idle = (of.idle_connections_max, of.idle_timeout, of.connection_requests_max, of.connection_age_max);
            (of.policy.clone(), of.connect_timeout, of.retries, idle, of.drain_timeout)
        };
        let begun = (&old.proxy_protocol, &old.connect) != (&new.proxy_protocol, &new.connect);
        if settings(old) != settings(new) || begun {
            self.lines.push(format!("upstream `{name}` has other settings"));
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines.iter().take(LINES_SHOWN_MAX) {
            writeln!(f, "{line}")?;
        }
        if self.lines.len() > LINES_SHOWN_MAX {
            writeln!(f, "... and {} more changes", self.lines.len() - LINES_SHOWN_MAX)?;
        }
        if self.lines.is_empty() {
            writeln!(f, "nothing changed")?;
        }
        let (listeners, kept, draining) = (self.listeners_kept, self.connections_kept, self.connections_draining);
        write!(f, "listeners kept: {listeners}; connections kept: {kept}; connections draining: {draining}")
    }
}

/// All but the router, whose routes are compared by themselves.
fn same_listener((old_in, old): (&Snapshot, &Listener), (new_in, new): (&Snapshot, &Listener)) -> bool {
    let times = |http: &HttpSettings| {
        let of_request = (http.request_head_timeout, http.request_body_pace);
        let keep_alive = (http.keep_alive_timeout, http.keep_alive_requests_max, http.keep_alive_age_max);
        (of_request, keep_alive, http.response_pace, http.tunnel_idle_timeout)
    };
    let limits = |http: &HttpSettings| (http.head_max, http.headers_max, http.target_max, http.body_max);
    let protocol = match (&old.protocol, &new.protocol) {
        (Protocol::Http(old), Protocol::Http(new)) => {
            let words = |http: &HttpSettings| (http.request_id_header, http.abort_on_close);
            words(old) == words(new)
                && old.trusted == new.trusted
                && times(old) == times(new)
                && limits(old) == limits(new)
        }
        (Protocol::Tcp(old), Protocol::Tcp(new)) => {
            let times = |tcp: &TcpSettings| (tcp.idle_timeout, tcp.client_hello_timeout);
            let to = |snapshot, tcp: &'_ TcpSettings| tcp.upstream.as_ref().map(|to| weights(snapshot, to));
            times(old) == times(new) && to(old_in, old) == to(new_in, new)
        }
        (Protocol::Udp(old), Protocol::Udp(new)) => {
            let limits = |udp: &UdpSettings| (udp.flows_max, udp.flows_per_client_max, udp.replies);
            let times = |udp: &UdpSettings| (udp.idle_timeout, udp.unreachable_timeout);
            limits(old) == limits(new)
                && times(old) == times(new)
                && weights(old_in, &old.upstream) == weights(new_in, &new.upstream)
        }
        _ => false,
    };
    let senders = old.proxy_protocol == new.proxy_protocol && old.proxy_protocol_timeout == new.proxy_protocol_timeout;
    protocol && senders && old.connections_max == new.connections_max && old.socket == new.socket
}

fn same_route((old_in, old): (&Snapshot, &Route), (new_in, new): (&Snapshot, &Route)) -> bool {
    let times = |route: &Route| (route.response_head_timeout, route.response_body_idle_timeout);
    let buffers = |route: &Route| (route.request_buffer, route.response_buffer);
    times(old) == times(new)
        && buffers(old) == buffers(new)
        && weights(old_in, &old.destination) == weights(new_in, &new.destination)
}

/// Where a destination sends to, by name: indices mean nothing from one snapshot to the next.
fn weights<'s>(snapshot: &'s Snapshot, destination: &Destination) -> Vec<(&'s str, u32)> {
    let name = |index: u32| {
        let upstream = snapshot.upstreams.get(index as usize);
        upstream.map_or("", |upstream| upstream.identity.name.as_str())
    };
    match destination {
        Destination::One(index) => vec![(name(index.0), 1)],
        Destination::Split { parts, .. } => parts.iter().map(|(weight, index)| (name(index.0), *weight)).collect(),
    }
}
