//! What a configuration says of how an upstream's endpoints are picked.

use super::hash::HashSeed;
use crate::base::Instant;
use crate::upstream::{EndpointIdentity, Labels, Weighing};
use std::sync::Arc;
use std::time::Duration;

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The less loaded of two that chance proposes.
    LeastRequest,
    /// In turn, each in proportion to its weight.
    RoundRobin,
    /// By chance, in proportion to weight.
    Random,
    /// The one of two that is likely to answer sooner; slow answers are believed at once.
    PeakEwma,
    /// The one of two that is likely to answer sooner, by mean latency.
    LeastTime,
    /// Equal keys to the same endpoint, by a table.
    Maglev,
    /// Equal keys to the same endpoint, by a ring of points.
    RingHash,
    /// Equal keys to the same endpoint, by the highest draw of all.
    Rendezvous,
}

impl Balance {
    pub const ALL: [Balance; 8] = [
        Balance::LeastRequest,
        Balance::RoundRobin,
        Balance::Random,
        Balance::PeakEwma,
        Balance::LeastTime,
        Balance::Maglev,
        Balance::RingHash,
        Balance::Rendezvous,
    ];

    /// The names of all of them, in the same order.
    pub const NAMES: [&str; Balance::ALL.len()] = {
        let mut names = [""; Balance::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Balance::ALL[at].name();
            at += 1;
        }
        names
    };

    /// As the configuration and the admin listener say it.
    pub const fn name(self) -> &'static str {
        match self {
            Balance::LeastRequest => "least_request",
            Balance::RoundRobin => "round_robin",
            Balance::Random => "random",
            Balance::PeakEwma => "peak_ewma",
            Balance::LeastTime => "least_time",
            Balance::Maglev => "maglev",
            Balance::RingHash => "ring_hash",
            Balance::Rendezvous => "rendezvous",
        }
    }

    /// Whether equal keys go to the same endpoint.
    pub fn is_keyed(self) -> bool {
        matches!(self, Balance::Maglev | Balance::RingHash | Balance::Rendezvous)
    }

    /// Whether it goes by a table that is made beforehand.
    pub(super) fn has_table(self) -> bool {
        matches!(self, Balance::Maglev | Balance::RingHash)
    }

    /// Whether it goes by how quickly endpoints answer.
    pub fn is_timed(self) -> bool {
        matches!(self, Balance::PeakEwma | Balance::LeastTime)
    }

    /// Whether it chooses among several that chance proposes.
    pub fn has_choices(self) -> bool {
        self.is_timed() || self == Balance::LeastRequest
    }
}

/// What becomes of a request when no endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// It is tried with an endpoint that is ejected or down: verdicts may be wrong. Draining and disabled ones are left alone.
    Open,
    /// It is refused at once.
    Closed,
}

/// What of a request is its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address: an IPv4 address, or the /64 of an IPv6 one.
    Source,
    /// The path that routes match, without the query.
    Path,
    /// The value of the first field of this name.
    Header(Box<str>),
    /// The value of the first cookie of this name.
    Cookie(Box<str>),
    /// The value of the first query parameter of this name, as it is written.
    Query(Box<str>),
}

/// All that a configuration says of how an upstream's endpoints are picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub balance: Balance,
    pub fail: Fail,
    /// Where the gateway is; endpoints of the same zone are preferred.
    pub zone: Option<Arc<str>>,
    /// By how much the endpoints of a level may be asked for more than their part before the next level helps, in
    /// thousandths; [`ONE`](super::ONE) or more.
    pub overprovisioning: u32,
    /// Endpoints without all of these are as if they were not there.
    pub labels: Labels,
    /// Endpoints that are compared; at least 2.
    pub choices: u32,
    /// What the key is: the first of these that a request has.
    pub hash_on: Vec<HashKey>,
    pub hash_seed: HashSeed,
    /// How much more than its part of what is in flight an endpoint may have before keys go elsewhere, in thousandths.
    pub hash_load_max: Option<u32>,
    /// How long it takes until a latency counts half.
    pub latency_decay: Duration,
    /// What a failure counts as.
    pub failure_penalty: Duration,
}

impl Policy {
    /// As a configuration that says nothing else.
    pub fn new(balance: Balance) -> Policy {
        Policy {
            balance,
            fail: Fail::Open,
            zone: None,
            overprovisioning: 1400,
            labels: Labels::new(),
            choices: 2,
            hash_on: vec![HashKey::Source],
            hash_seed: HashSeed([0; 16]),
            hash_load_max: None,
            latency_decay: Duration::from_secs(10),
            failure_penalty: Duration::from_secs(1),
        }
    }

    /// An attempt at an endpoint has ended: with an answer after this time, or (`None`) with a failure. One compare and
    /// swap where the balance goes by it, else nothing.
    #[inline]
    pub fn observe(&self, endpoint: &EndpointIdentity, latency: Option<Duration>, now: Instant) {
        let weighing = match self.balance {
            Balance::PeakEwma => Weighing::Peak,
            Balance::LeastTime => Weighing::Mean,
            _ => return,
        };
        let latency = latency.unwrap_or(self.failure_penalty);
        endpoint.latency.observe(latency, now, self.latency_decay, weighing);
    }
}
