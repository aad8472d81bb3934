//! A set of addresses that something is allowed or believed from: networks, and whoever comes over a Unix socket.

use super::Address;
use ipnet::IpNet;

/// Networks, and perhaps Unix sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    pub ip: Vec<IpNet>,
    /// Whoever connects over a Unix socket.
    pub unix: bool,
}

impl Networks {
    /// An IPv4 address is found in its own form and as IPv6 has it (`::ffff:10.0.0.1`).
    pub fn contains(&self, address: &Address) -> bool {
        match address.ip() {
            Some(ip) => self.ip.iter().any(|network| network.contains(&ip.to_canonical()) || network.contains(&ip)),
            None => self.unix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_unix_sockets_are_apart() {
        let ip = |text: &str| Address::Ip(text.parse().expect("an address"));
        let networks = Networks { ip: vec!["10.0.0.0/8".parse().expect("a network")], unix: false };
        assert!(networks.contains(&ip("10.1.2.3:4")) && networks.contains(&ip("[::ffff:10.1.2.3]:4")));
        assert!(!networks.contains(&ip("11.1.2.3:4")) && !networks.contains(&Address::UnixUnnamed));
        let unix = Networks { ip: Vec::new(), unix: true };
        assert!(unix.contains(&Address::UnixUnnamed) && unix.contains(&Address::unix("/a")));
        assert!(!unix.contains(&ip("127.0.0.1:4")));
    }
}
