//! What the admin listener and the metrics show of verdicts.

use super::record::Counted;
use crate::base::{Address, Instant};
use crate::health::breaker::Breaker;
use crate::health::{Case, HealthSettings};
use crate::snapshot::Upstream;
use crate::telemetry::timestamp::{rfc3339, wall_clock_micros};
use crate::upstream::{BreakerState, Endpoint, OutcomeCounts, Standing};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One upstream at one moment.
#[derive(Debug)]
pub struct UpstreamHealth {
    pub name: String,
    pub breaker: BreakerState,
    pub breaker_on: bool,
    pub breaker_since: String,
    pub breaker_why: Option<String>,
    pub counted: Counted,
    pub endpoints: Vec<EndpointHealth>,
}

/// One endpoint at one moment.
#[derive(Debug)]
pub struct EndpointHealth {
    pub address: Address,
    pub standing: Standing,
    pub configured_weight: u32,
    pub since: String,
    pub why: String,
    pub remedy: &'static str,
    pub until: Option<String>,
    pub held: Option<String>,
    pub ejections: u32,
    /// Within the window.
    pub counts: OutcomeCounts,
    pub total: OutcomeCounts,
    pub in_flight: u32,
}

impl UpstreamHealth {
    pub(super) fn new(
        now: Instant,
        upstream: &Upstream,
        breaker: &Breaker,
        counted: Counted,
        endpoints: Vec<EndpointHealth>,
    ) -> UpstreamHealth {
        let HealthSettings { breaker: settings, .. } = &upstream.health;
        UpstreamHealth {
            name: upstream.identity.name.clone(),
            breaker: breaker.state(),
            breaker_on: settings.is_some(),
            breaker_since: wall(now, breaker.since()),
            breaker_why: breaker.why().map(|why| why.to_string()),
            counted,
            endpoints,
        }
    }
}

impl EndpointHealth {
    pub(super) fn new(now: Instant, endpoint: &Endpoint, case: &Case) -> EndpointHealth {
        let (remedy, until) = case.remedy();
        EndpointHealth {
            address: endpoint.identity.address.clone(),
            standing: case.standing(),
            configured_weight: endpoint.weight,
            since: wall(now, case.since()),
            why: case.why(),
            remedy,
            until: until.map(|until| wall(now, until)),
            held: case.held().map(|hold| hold.to_string()),
            ejections: case.ejections(),
            counts: case.counts(),
            total: endpoint.identity.outcomes.counts(),
            in_flight: endpoint.identity.in_flight.load(Ordering::Relaxed),
        }
    }
}

/// An instant of control's clock as people say it.
fn wall(now: Instant, at: Instant) -> String {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let wall = wall_clock_micros().saturating_sub(micros(now - at)).saturating_add(micros(at - now));
    String::from_utf8_lossy(&rfc3339(wall)).into_owned()
}
