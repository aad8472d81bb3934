//! The table of upstreams and endpoints, and the identity that outlives any table.

use crate::base::Sharded;
use crate::telemetry::{EndpointStats, UpstreamStats};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// The index of an upstream in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamIndex(pub u32);

/// What belongs to an endpoint's identity (upstream name + address) and survives every swap.
#[derive(Debug)]
pub struct EndpointIdentity {
    /// Dense and never reused while anything holds this value: workers key idle connections by it.
    pub id: u32,
    pub upstream: String,
    pub address: SocketAddr,
    /// Requests (http) or connections (tcp) in flight, over all workers.
    pub in_flight: AtomicU32,
    pub stats: Sharded<EndpointStats>,
}

/// One address of an upstream as the snapshot has it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub identity: Arc<EndpointIdentity>,
    /// 1 to 65,535; an endpoint of weight 0 is not in the table.
    pub weight: u32,
}

/// What belongs to an upstream's name and survives every swap.
#[derive(Debug)]
pub struct UpstreamIdentity {
    pub name: String,
    pub stats: Sharded<UpstreamStats>,
}
