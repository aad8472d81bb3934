//! What is measured of one run, and what comes out of it.

use crate::base::Instant;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Latencies above this are counted as this.
const LATENCY_MAX_MICROS: u64 = 3_600_000_000;
/// A time in which fewer requests arrive says nothing of attempts for each.
const ARRIVED_MIN: u64 = 20;
const NANOS: u64 = 1_000_000_000;

/// One second of a run.
#[derive(Clone, Debug, Default)]
pub struct Second {
    pub arrived: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub attempts: u64,
    /// Attempts at endpoints that something befalls.
    pub attempts_hurt: u64,
    pub latency_max_micros: u64,
    latencies: Vec<u32>,
    /// The part of the whole weight that is in service, at its end.
    pub capacity: f64,
}

/// While a run goes on.
#[derive(Debug)]
pub struct Measure {
    from: Instant,
    latencies: Histogram<u64>,
    pub seconds: Vec<Second>,
    by_endpoint: Vec<u64>,
    requests: u64,
    succeeded: u64,
    attempts: u64,
    hurt_since: Option<Instant>,
    hurt_until: Option<Instant>,
    found_after: Option<Duration>,
    capacity_min: f64,
    pub taken_out: u64,
    pub taken_out_wrongly: u64,
}

/// What one run comes to. `NaN` has no place in JSON: what was not seen is absent.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub requests: u64,
    /// The part of requests that were answered well, retries of the gateway included.
    pub success: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    /// Attempts for each request; over the whole run.
    pub amplification: f64,
    /// The same from the beginning of the run to any of its seconds, at its highest.
    pub amplification_max: f64,
    /// The same of its worst second alone.
    pub amplification_second: f64,
    /// The most requests of one endpoint that nothing befell, against their mean.
    pub spread: f64,
    /// The part of attempts that went to endpoints while something befell them, in the last quarter of that time.
    pub hurt_part: f64,
    /// From the beginning of the first fault to the first verdict on one of its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_after_s: Option<f64>,
    /// Verdicts that took endpoints out, and those of them on endpoints that nothing befell.
    pub taken_out: u64,
    pub taken_out_wrongly: u64,
    /// The least part of the whole weight that was in service.
    pub capacity_min: f64,
    /// From the end of the last fault or change to the first of ten seconds that all went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_after_s: Option<f64>,
}

impl Measure {
    /// Measures from `from` on; `hurt` is when the first fault begins and the last one ends.
    pub fn new(from: Instant, seconds: usize, endpoints: usize, hurt: (Option<Instant>, Option<Instant>)) -> Measure {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_MICROS, 3);
        Measure {
            from,
            latencies: latencies.unwrap_or_else(|_| Histogram::new(3).expect("three digits are within its limits")),
            seconds: vec![Second { capacity: 1.0, ..Second::default() }; seconds + 1],
            by_endpoint: vec![0; endpoints],
            requests: 0,
            succeeded: 0,
            attempts: 0,
            hurt_since: hurt.0,
            hurt_until: hurt.1,
            found_after: None,
            capacity_min: 1.0,
            taken_out: 0,
            taken_out_wrongly: 0,
        }
    }

    fn second(&mut self, at: Instant) -> Option<&mut Second> {
        self.seconds.get_mut((at.0 / NANOS) as usize)
    }

    pub fn arrived(&mut self, at: Instant) {
        if let Some(second) = self.second(at) {
            second.arrived += 1;
        }
    }

    pub fn attempted(&mut self, at: Instant, endpoint: usize, hurt: bool) {
        if at >= self.from {
            self.attempts += 1;
            if let Some(count) = self.by_endpoint.get_mut(endpoint) {
                *count += 1;
            }
        }
        if let Some(second) = self.second(at) {
            second.attempts += 1;
            second.attempts_hurt += u64::from(hurt);
        }
    }

    /// A request that came at `arrived` is over.
    pub fn ended(&mut self, arrived: Instant, now: Instant, succeeded: bool) {
        let micros = u64::try_from((now - arrived).as_micros()).unwrap_or(u64::MAX).clamp(1, LATENCY_MAX_MICROS);
        if arrived >= self.from {
            self.requests += 1;
            self.succeeded += u64::from(succeeded);
            self.latencies.saturating_record(micros);
        }
        if let Some(second) = self.second(arrived) {
            match succeeded {
                true => second.succeeded += 1,
                false => second.failed += 1,
            }
            second.latency_max_micros = second.latency_max_micros.max(micros);
            second.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
    }

    /// An endpoint was taken out of service.
    pub fn took_out(&mut self, now: Instant, hurt: bool) {
        self.taken_out += 1;
        if !hurt {
            self.taken_out_wrongly += 1;
        } else if let Some(since) = self.hurt_since {
            self.found_after.get_or_insert(now - since);
        }
    }

    /// The part of the whole weight that is in service now.
    pub fn capacity(&mut self, now: Instant, part: f64) {
        self.capacity_min = self.capacity_min.min(part);
        if let Some(second) = self.second(now) {
            second.capacity = part;
        }
    }

    pub fn figures(&self, is_hurt: impl Fn(usize) -> bool) -> Figures {
        let ms = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let requests = self.requests.max(1) as f64;
        let from = (self.from.0 / NANOS) as usize;
        let ratio = |second: &Second| second.attempts as f64 / second.arrived as f64;
        // A second in which next to nothing arrives says nothing.
        let worst =
            self.seconds[from.min(self.seconds.len())..].iter().filter(|second| second.arrived >= 20).map(ratio);
        Figures {
            requests: self.requests,
            success: self.succeeded as f64 / requests,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            amplification: self.attempts as f64 / requests,
            amplification_max: self.amplification_max(),
            amplification_second: worst.fold(0.0, f64::max),
            spread: self.spread(is_hurt),
            hurt_part: self.hurt_part(),
            found_after_s: self.found_after.map(|after| after.as_secs_f64()),
            taken_out: self.taken_out,
            taken_out_wrongly: self.taken_out_wrongly,
            capacity_min: self.capacity_min,
            recovered_after_s: self.recovered_after(),
        }
    }

    fn amplification_max(&self) -> f64 {
        let (mut arrived, mut attempts, mut most) = (0, 0, 0.0f64);
        for second in &self.seconds {
            arrived += second.arrived;
            attempts += second.attempts;
            if arrived >= ARRIVED_MIN {
                most = most.max(attempts as f64 / arrived as f64);
            }
        }
        most
    }

    fn spread(&self, is_hurt: impl Fn(usize) -> bool) -> f64 {
        let well =
            || self.by_endpoint.iter().enumerate().filter(|(index, _)| !is_hurt(*index)).map(|(_, count)| *count);
        let (sum, most, count) = (well().sum::<u64>(), well().max().unwrap_or(0), well().count().max(1));
        if sum == 0 { 1.0 } else { most as f64 * count as f64 / sum as f64 }
    }

    fn hurt_part(&self) -> f64 {
        let (Some(since), Some(until)) = (self.hurt_since, self.hurt_until) else { return 0.0 };
        let begins = Instant(until.0 - (until.0 - since.0) / 4);
        let (first, last) = ((begins.0 / NANOS) as usize, (until.0 / NANOS) as usize);
        let seconds = self.seconds.get(first..last.min(self.seconds.len())).unwrap_or_default();
        let (hurt, all) = seconds.iter().fold((0, 0), |(hurt, all), s| (hurt + s.attempts_hurt, all + s.attempts));
        if all == 0 { 0.0 } else { hurt as f64 / all as f64 }
    }

    fn recovered_after(&self) -> Option<f64> {
        const WELL: f64 = 0.999;
        const SECONDS: usize = 10;
        let until = self.hurt_until?;
        let first = until.0.div_ceil(NANOS) as usize;
        let is_well = |second: &Second| second.succeeded as f64 >= WELL * (second.succeeded + second.failed) as f64;
        let later = self.seconds.get(first..)?;
        let at = later.windows(SECONDS).position(|seconds| seconds.iter().all(is_well))?;
        Some((first + at) as f64 - until.0 as f64 / NANOS as f64)
    }

    /// The 99th percentile of one second's latencies, in milliseconds.
    pub fn p99_ms(second: &Second) -> f64 {
        let mut latencies = second.latencies.clone();
        latencies.sort_unstable();
        let at = (latencies.len() * 99 / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0.0, |micros| f64::from(*micros) / 1e3)
    }
}
