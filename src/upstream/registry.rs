//! What outlives a snapshot, handed out by identity: an upstream by its name, an endpoint by upstream and address, a
//! listener by its address, a route by its name. Asking for an identity that something still holds gives that very
//! value back, so a swap that does not mention it changes nothing about it.
//!
//! Not a table of what is in force (that is the snapshot) and not shared: the control plane alone owns the one
//! [`Registry`] and asks it while it compiles a snapshot.

use super::{EndpointIdentity, ListenerIdentity, Transport, UpstreamIdentity};
use crate::base::{Address, Gauge, Secret, Sharded};
use crate::telemetry::{ListenerStats, RouteStats, UdpStats};
use arc_swap::ArcSwapOption;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};

/// Hands out identities. It holds none of them alive: a value lives for as long as a snapshot or a worker holds it.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    /// Unknown outside of the process: what is to be impossible to guess and has no secret of its own comes from it. In
    /// a process that must do the same each time, it is set to something known.
    pub secret: Secret,
    upstreams: Living<String, UpstreamIdentity>,
    /// Of upstreams; held by their endpoints too, which may outlive them.
    in_flight: Living<String, Sharded<Gauge>>,
    endpoints: HashMap<(String, Address), (u32, Weak<EndpointIdentity>)>,
    endpoint_ids: Ids,
    listeners: HashMap<ListenerKey, (u32, Weak<ListenerIdentity>)>,
    listener_ids: Ids,
    routes: Living<String, Sharded<RouteStats>>,
}

impl Registry {
    /// `workers` is how many shards each counter gets: one for each data-plane thread.
    pub fn new(workers: usize) -> Registry {
        Registry {
            workers,
            secret: unknown(),
            upstreams: Living::default(),
            in_flight: Living::default(),
            endpoints: HashMap::new(),
            endpoint_ids: Ids::default(),
            listeners: HashMap::new(),
            listener_ids: Ids::default(),
            routes: Living::default(),
        }
    }

    /// Forgets what nothing holds any more and takes its ids back. Called once before each compilation, so that a
    /// gateway whose endpoints come and go for years stays as small as its table.
    pub fn sweep(&mut self) {
        self.upstreams.sweep();
        self.in_flight.sweep();
        self.routes.sweep();
        sweep_numbered(&mut self.endpoints, &mut self.endpoint_ids);
        sweep_numbered(&mut self.listeners, &mut self.listener_ids);
    }

    /// The identity of the upstream of this name.
    pub fn upstream(&mut self, name: &str) -> Arc<UpstreamIdentity> {
        let workers = self.workers;
        let in_flight = self.in_flight.get_or_make(name, || Sharded::new(workers));
        self.upstreams.get_or_make(name, || {
            let mut made = UpstreamIdentity::new(name, workers);
            made.in_flight = in_flight;
            made
        })
    }

    /// The identity of one address of one upstream. The same address in two upstreams is two identities.
    pub fn endpoint(&mut self, upstream: &str, address: &Address) -> Arc<EndpointIdentity> {
        let key = (upstream.to_owned(), address.clone());
        if let Some(held) = self.endpoints.get(&key).and_then(|(_, weak)| weak.upgrade()) {
            return held;
        }
        let id = renew(&mut self.endpoints, &key, &mut self.endpoint_ids);
        let mut made = EndpointIdentity::new(id, upstream, address.clone(), self.workers);
        made.upstream_in_flight = self.in_flight.get_or_make(upstream, || Sharded::new(self.workers));
        let made = Arc::new(made);
        self.endpoints.insert(key, (id, Arc::downgrade(&made)));
        made
    }

    /// The identity of the listener at this address. With port 0 each start picks a port of its own, so there the name
    /// tells listeners apart.
    pub fn listener(&mut self, name: &str, address: &Address, transport: Transport) -> Arc<ListenerIdentity> {
        let name = if address.port() == Some(0) { name.to_owned() } else { String::new() };
        let key = ListenerKey { address: address.clone(), transport, name };
        if let Some(held) = self.listeners.get(&key).and_then(|(_, weak)| weak.upgrade()) {
            return held;
        }
        let id = renew(&mut self.listeners, &key, &mut self.listener_ids);
        let stats = Sharded::<ListenerStats>::new(self.workers);
        let udp = (transport == Transport::Datagram).then(|| Sharded::<UdpStats>::new(self.workers));
        let made = Arc::new(ListenerIdentity {
            id,
            bound: OnceLock::new(),
            shared: ArcSwapOption::empty(),
            stats,
            udp,
            flows: AtomicU32::new(0),
            clients: OnceLock::new(),
            accepts: AtomicU64::new(0),
        });
        self.listeners.insert(key, (id, Arc::downgrade(&made)));
        made
    }

    /// The counters of the route of this name.
    pub fn route(&mut self, name: &str) -> Arc<Sharded<RouteStats>> {
        let workers = self.workers;
        self.routes.get_or_make(name, || Sharded::new(workers))
    }
}

/// From the keys that the standard library gets from the kernel for its tables.
fn unknown() -> Secret {
    Secret((0..4).flat_map(|part| RandomState::new().hash_one(part).to_ne_bytes()).collect())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListenerKey {
    address: Address,
    transport: Transport,
    name: String,
}

/// Values by key, for as long as something else holds them.
#[derive(Debug)]
struct Living<K, V>(HashMap<K, Weak<V>>);

impl<K, V> Default for Living<K, V> {
    fn default() -> Living<K, V> {
        Living(HashMap::new())
    }
}

impl<V> Living<String, V> {
    fn get_or_make(&mut self, key: &str, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(held) = self.0.get(key).and_then(Weak::upgrade) {
            return held;
        }
        let made = Arc::new(make());
        self.0.insert(key.to_owned(), Arc::downgrade(&made));
        made
    }

    fn sweep(&mut self) {
        self.0.retain(|_, weak| weak.strong_count() > 0);
    }
}

/// Numbers from 0 up, the smallest free one first, so that they stay dense and can index a table.
#[derive(Debug, Default)]
struct Ids {
    next: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Ids {
    fn take(&mut self) -> u32 {
        if let Some(Reverse(id)) = self.free.pop() {
            return id;
        }
        let id = self.next;
        self.next += 1;
        id
    }

    fn give_back(&mut self, id: u32) {
        self.free.push(Reverse(id));
    }
}

/// A fresh id for `key`, whose earlier value, if there was one, is held by nothing: its id returns first.
fn renew<K: Hash + Eq, V>(table: &mut HashMap<K, (u32, Weak<V>)>, key: &K, ids: &mut Ids) -> u32 {
    if let Some((id, _)) = table.remove(key) {
        ids.give_back(id);
    }
    ids.take()
}

/// An id is free only when no strong reference is left. None can come back: upgrading happens in the registry alone.
fn sweep_numbered<K: Hash + Eq, V>(table: &mut HashMap<K, (u32, Weak<V>)>, ids: &mut Ids) {
    table.retain(|_, (id, weak)| {
        let held = weak.strong_count() > 0;
        if !held {
            ids.give_back(*id);
        }
        held
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};
    use std::sync::atomic::Ordering;

    fn address(port: u16) -> Address {
        Address::Ip(std::net::SocketAddr::from(([10, 0, 0, 1], port)))
    }

    #[test]
    fn an_identity_that_is_held_is_handed_out_again() {
        let mut registry = Registry::new(2);
        let first = registry.endpoint("api", &address(1));
        first.in_flight.store(7, Ordering::Relaxed);
        registry.sweep();
        assert!(Arc::ptr_eq(&first, &registry.endpoint("api", &address(1))));
        assert!(!Arc::ptr_eq(&first, &registry.endpoint("web", &address(1))));
        let route = registry.route("a");
        assert!(Arc::ptr_eq(&route, &registry.route("a")));
        let upstream = registry.upstream("api");
        assert!(Arc::ptr_eq(&upstream, &registry.upstream("api")));
    }

    #[test]
    fn a_listener_is_its_address_and_with_port_0_also_its_name() {
        let mut registry = Registry::new(1);
        let web = registry.listener("web", &address(80), Transport::Stream);
        let renamed = registry.listener("renamed", &address(80), Transport::Stream);
        assert!(Arc::ptr_eq(&web, &renamed));
        let udp = registry.listener("web", &address(80), Transport::Datagram);
        assert!(udp.id != web.id && udp.udp.is_some() && web.udp.is_none());
        let a = registry.listener("a", &address(0), Transport::Stream);
        let b = registry.listener("b", &address(0), Transport::Stream);
        assert_ne!(a.id, b.id);
    }

    #[test]
    fn an_id_returns_only_when_nothing_holds_its_endpoint() {
        let mut registry = Registry::new(1);
        let kept_by_a_worker = registry.endpoint("api", &address(1));
        registry.sweep();
        assert_eq!(registry.endpoint("api", &address(2)).id, 1);
        drop(kept_by_a_worker);
        registry.sweep();
        assert_eq!(registry.endpoint("api", &address(3)).id, 0);
    }

    proptest! {
        /// Tables come and go while old ones are still held for a while, as workers do.
        #[test]
        fn a_swap_changes_nothing_about_an_endpoint_that_it_does_not_touch(
            tables in prop::collection::vec(prop::collection::btree_set(1u16..20, 0..12), 1..40),
            held in 1usize..4,
        ) {
            let mut registry = Registry::new(1);
            let mut snapshots: VecDeque<Vec<Arc<EndpointIdentity>>> = VecDeque::new();
            for table in tables {
                registry.sweep();
                let now: Vec<_> = table.iter().map(|port| registry.endpoint("api", &address(*port))).collect();
                for endpoint in &now {
                    for old in snapshots.iter().flatten() {
                        prop_assert_eq!(old.address == endpoint.address, Arc::ptr_eq(old, endpoint));
                    }
                }
                snapshots.push_back(now);
                let alive: BTreeSet<_> = snapshots.iter().flatten().map(|e| e.address.clone()).collect();
                let ids: BTreeSet<_> = snapshots.iter().flatten().map(|e| e.id).collect();
                prop_assert_eq!(alive.len(), ids.len(), "an id is used twice");
                prop_assert!(ids.iter().all(|id| *id < 20), "ids are not dense");
                if snapshots.len() > held {
                    snapshots.pop_front();
                }
            }
        }
    }
}
