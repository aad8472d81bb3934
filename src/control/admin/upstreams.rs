//! `/upstreams`: how every endpoint stands, why, since when and what would bring it back; and what operators do about it.

use super::AdminState;
use crate::base::Address;
use crate::control::health::{EndpointHealth, Unknown, UpstreamHealth, Wish};
use crate::health::Operation;
use crate::upstream::{OutcomeCounts, WHOLE_SHARE};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize)]
pub(super) struct UpstreamView {
    name: String,
    /// Absent where the configuration has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerView>,
    endpoints: Vec<EndpointView>,
}

#[derive(Debug, Serialize)]
struct BreakerView {
    /// `admit`, `reject` or `probe`.
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct EndpointView {
    address: Address,
    /// `serving`, `ejected`, `draining` or `down`.
    state: &'static str,
    why: String,
    since: String,
    /// What would bring it back to its full share; absent where it has it.
    #[serde(skip_serializing_if = "str::is_empty")]
    back: &'static str,
    /// When its time out of service is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Why it is kept although it should go.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    /// The part of its weight that counts, 0 to 1.
    share: f64,
    /// An operator's, or the configured one.
    weight: u32,
    configured_weight: u32,
    /// Not forgiven yet: they make the next one longer.
    ejections: u32,
    /// Requests (http), connections (tcp) or flows (udp).
    in_flight: u32,
    lately: CountsView,
}

/// Within `outlier_window`.
#[derive(Debug, Serialize)]
struct CountsView {
    requests: u64,
    failures: u64,
    server_errors: u64,
    gateway_failures: u64,
    timeouts: u64,
    connect_failures: u64,
    overloads: u64,
    /// The geometric mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_seconds: Option<f64>,
}

pub(super) fn all(state: &AdminState) -> Vec<UpstreamView> {
    state.verdicts.view().into_iter().map(UpstreamView::from).collect()
}

impl From<UpstreamHealth> for UpstreamView {
    fn from(of: UpstreamHealth) -> UpstreamView {
        let breaker = BreakerView { state: of.breaker.name(), since: of.breaker_since, why: of.breaker_why };
        UpstreamView {
            name: of.name,
            breaker: of.breaker_on.then_some(breaker),
            endpoints: of.endpoints.into_iter().map(EndpointView::from).collect(),
        }
    }
}

impl From<EndpointHealth> for EndpointView {
    fn from(of: EndpointHealth) -> EndpointView {
        EndpointView {
            address: of.address,
            state: of.standing.state.name(),
            why: of.why,
            since: of.since,
            back: of.remedy,
            until: of.until,
            kept: of.held,
            share: f64::from(of.standing.share) / f64::from(WHOLE_SHARE),
            weight: of.standing.weight.map_or(of.configured_weight, u32::from),
            configured_weight: of.configured_weight,
            ejections: of.ejections,
            in_flight: of.in_flight,
            lately: CountsView::from(of.counts),
        }
    }
}

impl From<OutcomeCounts> for CountsView {
    fn from(counts: OutcomeCounts) -> CountsView {
        CountsView {
            requests: counts.attempts,
            failures: counts.failures(),
            server_errors: counts.server_errors,
            gateway_failures: counts.gateway_failures,
            timeouts: counts.timeouts,
            connect_failures: counts.unconnected,
            overloads: counts.overloads,
            latency_seconds: counts.latency_log_mean().map(|log| log.exp2() / 1e9),
        }
    }
}

/// What stands behind the `?` of an operator's request.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    endpoint: Option<String>,
    weight: Option<String>,
}

/// Why an operator's request was refused, and the status that says so.
#[derive(Debug)]
pub(super) enum Refused {
    Malformed(String),
    Missing(String),
}

/// Does what an operator wants of an endpoint, and says how that endpoint stands then.
pub(super) fn operate(
    state: &AdminState,
    upstream: &str,
    action: &str,
    query: &Query,
) -> Result<EndpointView, Refused> {
    let wish = wish(action, query.weight.as_deref()).map_err(Refused::Malformed)?;
    let Some(endpoint) = query.endpoint.as_deref() else {
        let form = format!("which one? POST /upstreams/{upstream}/{action}?endpoint=ADDRESS");
        return Err(Refused::Malformed(form));
    };
    let unknown = |unknown: Unknown| {
        let views = state.verdicts.view();
        let (what, known): (_, Vec<String>) = match unknown {
            Unknown::Upstream => ("upstream", views.into_iter().map(|of| of.name).collect()),
            Unknown::Endpoint => {
                let of = views.into_iter().find(|of| of.name == upstream);
                let endpoints = of.map_or_else(Vec::new, |of| of.endpoints);
                ("endpoint", endpoints.into_iter().map(|of| of.address.to_string()).collect())
            }
        };
        let name = if unknown == Unknown::Upstream { upstream } else { endpoint };
        Refused::Missing(format!("there is no {what} `{name}`; there is {}", shown(&known)))
    };
    state.verdicts.wish(upstream, endpoint, wish).map_err(unknown)?;
    let views = state.verdicts.view();
    let of = views.into_iter().find(|of| of.name == upstream).map_or_else(Vec::new, |of| of.endpoints);
    let found = of.into_iter().find(|of| of.address.to_string() == endpoint);
    found.map(EndpointView::from).ok_or_else(|| unknown(Unknown::Endpoint))
}

fn wish(action: &str, weight: Option<&str>) -> Result<Wish, String> {
    match (action, weight) {
        ("drain", None) => Ok(Wish::Operate(Operation::Drain)),
        ("disable", None) => Ok(Wish::Operate(Operation::Disable)),
        ("return", None) => Ok(Wish::Return),
        ("weight", Some("configured")) => Ok(Wish::Weigh(None)),
        ("weight", Some(weight)) => match weight.parse::<u16>() {
            Ok(weight) => Ok(Wish::Weigh(Some(weight))),
            Err(_) => Err(format!("`{weight}` is no weight: 0 to 65535, or `configured`")),
        },
        ("weight", None) => Err("which weight? Add &weight=N, or &weight=configured".to_owned()),
        ("drain" | "disable" | "return", Some(_)) => Err(format!("`{action}` takes no weight")),
        _ => Err(format!("there is no action `{action}`; there is drain, disable, return and weight")),
    }
}

/// Names, and not too many of them.
fn shown(names: &[String]) -> String {
    const SHOWN_MAX: usize = 20;
    let some: Vec<&str> = names.iter().take(SHOWN_MAX).map(String::as_str).collect();
    let more = if names.len() > SHOWN_MAX { ", ..." } else { "" };
    if some.is_empty() { "none".to_owned() } else { format!("{}{more}", some.join(", ")) }
}
