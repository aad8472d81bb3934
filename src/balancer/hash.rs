//! Keys of requests and of endpoints as numbers, for the balances that send equal keys to the same endpoint.
//!
//! SipHash-1-3 (Aumasson and Bernstein 2012) with a secret seed: whoever chooses keys without knowing it cannot choose
//! where they go, and so cannot send a crowd to one endpoint. The seed is the same for all workers and all
//! configurations of a process, so a reload moves nothing; with a configured seed it is the same for all gateways.

use super::secret;
use crate::base::Address;
use crate::upstream::Endpoint;
use siphasher::sip::SipHasher13;
use std::fmt;
use std::net::IpAddr;

/// What makes the hash of a key unknown to those who choose keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub [u8; 16]);

impl fmt::Debug for HashSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSeed")
    }
}

impl HashSeed {
    /// The seed that a secret of any length stands for.
    pub fn of(secret: &[u8]) -> HashSeed {
        let derived = secret::derive(secret, b"hash_seed");
        HashSeed(derived.first_chunk().copied().unwrap_or_default())
    }

    pub fn hash(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(bytes)
    }

    /// The key of a client; a Unix socket has none.
    pub fn client(&self, address: &Address) -> Option<u64> {
        Some(match address.ip()?.to_canonical() {
            IpAddr::V4(v4) => self.hash(&v4.octets()),
            IpAddr::V6(v6) => self.hash(&v6.octets()[..8]),
        })
    }

    /// By endpoint: a number that depends on its address alone.
    pub(super) fn endpoints(&self, endpoints: &[Endpoint]) -> Box<[u64]> {
        endpoints.iter().map(|endpoint| self.hash(endpoint.identity.address.to_string().as_bytes())).collect()
    }
}
