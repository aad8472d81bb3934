//! Which flow a datagram belongs to, and how many flows each client address has. One table for each udp listener on each
//! worker. It decides nothing and knows no sockets.
//!
//! Whoever sends datagrams picks their source address, so both maps are keyed with secrets (SipHash with random keys).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What tells flows of one listener apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    pub(super) client: SocketAddr,
    /// The local address that the client sends to, where the listener is bound to every address.
    pub(super) local: Option<IpAddr>,
}

impl Hash for FlowKey {
    /// In as few words as possible: a hash is made for each datagram.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.client.ip() {
            IpAddr::V4(ip) => state.write_u64(u64::from(u32::from(ip)) << 16 | u64::from(self.client.port())),
            IpAddr::V6(ip) => {
                state.write_u128(u128::from(ip));
                state.write_u16(self.client.port());
            }
        }
        match self.local {
            None => {}
            Some(IpAddr::V4(ip)) => state.write_u32(u32::from(ip)),
            Some(IpAddr::V6(ip)) => state.write_u128(u128::from(ip)),
        }
    }
}

/// Flows by their keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    flows: HashMap<FlowKey, u32>,
    clients: HashMap<IpAddr, u32>,
}

impl Table {
    pub(super) fn get(&self, key: &FlowKey) -> Option<u32> {
        self.flows.get(key).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Flows of the address, or of its /64.
    pub(super) fn of_client(&self, client: IpAddr) -> u32 {
        self.clients.get(&owner(client)).copied().unwrap_or(0)
    }

    /// The key must not be there.
    pub(super) fn insert(&mut self, key: FlowKey, flow: u32) {
        let earlier = self.flows.insert(key, flow);
        debug_assert!(earlier.is_none());
        *self.clients.entry(owner(key.client.ip())).or_default() += 1;
    }

    pub(super) fn remove(&mut self, key: &FlowKey) {
        if self.flows.remove(key).is_none() {
            return;
        }
        let owner = owner(key.client.ip());
        if let Some(count) = self.clients.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&owner);
            }
        }
    }

    /// All flows, in an order that does not depend on the keys of the hash.
    pub(super) fn flows(&self) -> Vec<u32> {
        let mut flows: Vec<u32> = self.flows.values().copied().collect();
        flows.sort_unstable();
        flows
    }
}

/// What one subscriber has: an IPv4 address, or the /64 around an IPv6 address.
fn owner(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(client: &str, local: Option<&str>) -> FlowKey {
        FlowKey { client: client.parse().unwrap(), local: local.map(|local| local.parse().unwrap()) }
    }

    #[test]
    fn address_port_and_local_address_tell_flows_apart() {
        let mut table = Table::default();
        let keys = [
            key("10.0.0.1:1", None),
            key("10.0.0.1:2", None),
            key("10.0.0.2:1", None),
            key("10.0.0.1:1", Some("10.9.0.1")),
            key("[2001:db8::1]:1", Some("2001:db8::9")),
            key("[2001:db8::2]:1", Some("2001:db8::9")),
            key("[2001:db8:0:1::1]:1", None),
        ];
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(table.get(key), None);
            table.insert(*key, number as u32);
        }
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(table.get(key), Some(number as u32));
        }
        let of = |address: &str| table.of_client(address.parse().unwrap());
        assert_eq!((of("10.0.0.1"), of("10.0.0.2"), of("10.0.0.3")), (3, 1, 0));
        // One /64 is one client.
        assert_eq!((of("2001:db8::ffff"), of("2001:db8:0:1::")), (2, 1));
    }

    proptest! {
        #[test]
        fn counts_what_it_holds(changes in prop::collection::vec((any::<bool>(), 0u8..8, 0u16..4), 0..200)) {
            let mut table = Table::default();
            let mut model: BTreeMap<(u8, u16), u32> = BTreeMap::new();
            for (number, (add, host, port)) in changes.into_iter().enumerate() {
                let key = FlowKey { client: SocketAddr::from(([10, 0, 0, host], port)), local: None };
                match (add, model.contains_key(&(host, port))) {
                    (true, false) => {
                        table.insert(key, number as u32);
                        model.insert((host, port), number as u32);
                    }
                    (false, _) => {
                        table.remove(&key);
                        model.remove(&(host, port));
                    }
                    (true, true) => {}
                }
                prop_assert_eq!(table.get(&key), model.get(&(host, port)).copied());
                let of_host = model.keys().filter(|(other, _)| *other == host).count();
                prop_assert_eq!(table.of_client(key.client.ip()) as usize, of_host);
                prop_assert_eq!(table.len(), model.len());
            }
            let clients: std::collections::BTreeSet<u8> = model.keys().map(|(host, _)| *host).collect();
            prop_assert_eq!(table.clients.len(), clients.len());
        }
    }
}
