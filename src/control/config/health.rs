//! What an upstream's health is judged by, from its table.

use super::reader::Reader;
use super::upstreams::count;
use crate::health::{BreakerSettings, Curve, HealthSettings, OutlierSettings, ReturnSettings};
use crate::snapshot::Rejection;
use std::time::Duration;

pub(super) fn read(reader: &Reader<'_, '_>) -> HealthSettings {
    // Who fails closed has probes obeyed, whatever the load.
    let keep_needed = reader.choice("fail") == 0;
    HealthSettings { outlier: outlier(reader), returning: returning(reader), breaker: breaker(reader), keep_needed }
}

/// The fallback is found once all upstreams are known.
pub(super) fn rejection(reader: &Reader<'_, '_>) -> Rejection {
    let status = u16::try_from(reader.integer("breaker_status")).unwrap_or(503);
    let _ = reader.text("breaker_fallback");
    Rejection { fallback: None, status, body: reader.text("breaker_body") }
}

fn outlier(reader: &Reader<'_, '_>) -> OutlierSettings {
    OutlierSettings {
        consecutive_gateway: count(reader, "outlier_consecutive_gateway"),
        consecutive_5xx: count(reader, "outlier_consecutive_5xx"),
        consecutive_connect: count(reader, "outlier_consecutive_connect"),
        failure_rate_above: reader.percent_or_off("outlier_failure_rate_above").map(part),
        failure_rate: reader.percent_or_off("outlier_failure_rate").map(part),
        latency_factor: reader.percent_or_off("outlier_latency").map(part),
        requests_min: count(reader, "outlier_requests_min"),
        window: reader.duration("outlier_window"),
        eject_time: reader.duration("outlier_eject_time"),
        eject_time_max: reader.duration("outlier_eject_time_max"),
        eject_max: part(reader.percent("outlier_eject_max")),
        load_max: part(reader.percent("outlier_load_max")),
    }
}

fn returning(reader: &Reader<'_, '_>) -> ReturnSettings {
    ReturnSettings {
        probation: reader.duration_or_off("outlier_probation").unwrap_or(Duration::ZERO),
        slow_start: reader.duration_or_off("slow_start").unwrap_or(Duration::ZERO),
        curve: [Curve::Linear, Curve::Late, Curve::Early][reader.choice("slow_start_curve").min(2)],
        slow_start_min: part(reader.percent("slow_start_min")),
    }
}

fn breaker(reader: &Reader<'_, '_>) -> Option<BreakerSettings> {
    let rate = |key| reader.percent_or_off(key).map(part);
    let settings = BreakerSettings {
        failure_rate: rate("breaker_failure_rate"),
        slow_rate: rate("breaker_slow_rate"),
        slow_after: reader.duration("breaker_slow_after"),
        window: reader.duration("breaker_window"),
        requests_min: count(reader, "breaker_requests_min"),
        reject_time: reader.duration("breaker_reject_time"),
        probes: u16::try_from(reader.integer("breaker_probes")).unwrap_or(1),
    };
    let is_on = settings.failure_rate.is_some() || settings.slow_rate.is_some();
    is_on.then_some(settings)
}

/// Thousandths as a part of 1.
fn part(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1_000.0
}
