//! Outlier detection: which endpoints of an upstream do worse than they should, by the traffic that they serve.
//!
//! Two kinds of evidence. *Streaks* (failures without a success between them) need no comparison and act within one
//! request of the last; a streak of five at an endpoint that fails one request in ten by chance comes once in 100,000. The
//! *comparisons* look at a sliding window: an endpoint's failure rate against that of all others together, by the test of two
//! proportions, so that few requests or few endpoints yield no verdict rather than a wrong one; its latency against the
//! median of the others, in units of their spread (median absolute deviation; Hampel, "The Influence Curve and its Role in
//! Robust Estimation", 1974), where the latency of an endpoint is the geometric mean of its answers, which a few stuck
//! requests do not move.
//!
//! Bounds: a comparison needs `requests_min` attempts within the window at the endpoint and at the others, latency also two
//! other endpoints. One look costs O(n log n) for n endpoints, and O(n) for each that is suspected.
//!
//! Not for endpoints that differ by design: a latency comparison across zones or machine generations finds the far and the
//! old ones. It is off unless asked for.

use crate::upstream::{OutcomeCounts, Streaks};
use std::fmt;
use std::time::Duration;

/// What is watched for, and what follows. Rates are parts of 1; 0 and `None` are off.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierSettings {
    pub consecutive_gateway: u32,
    pub consecutive_5xx: u32,
    pub consecutive_connect: u32,
    /// How much higher than that of the others a failure rate may be.
    pub failure_rate_above: Option<f64>,
    /// How high a failure rate may be, whatever the others do.
    pub failure_rate: Option<f64>,
    /// How many times the median latency of the others.
    pub latency_factor: Option<f64>,
    /// Attempts within the window before anything is compared.
    pub requests_min: u32,
    pub window: Duration,
    /// How long the first ejection lasts; each further one twice as long.
    pub eject_time: Duration,
    pub eject_time_max: Duration,
    /// The part of an upstream's endpoints that may be ejected at a time.
    pub eject_max: f64,
    /// How many times the load that endpoints have been seen to carry well they may be brought to by ejections.
    pub load_max: f64,
}

impl Default for OutlierSettings {
    /// Nothing is watched for.
    fn default() -> OutlierSettings {
        OutlierSettings {
            consecutive_gateway: 0,
            consecutive_5xx: 0,
            consecutive_connect: 0,
            failure_rate_above: None,
            failure_rate: None,
            latency_factor: None,
            requests_min: 20,
            window: Duration::from_secs(10),
            eject_time: Duration::from_secs(10),
            eject_time_max: Duration::from_secs(300),
            eject_max: 0.5,
            load_max: 2.0,
        }
    }
}

/// Why an endpoint is taken for an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    Gateway {
        streak: u32,
    },
    ServerErrors {
        streak: u32,
    },
    Unconnected {
        streak: u32,
    },
    FailureRateAbove {
        own: f64,
        others: f64,
    },
    FailureRate {
        own: f64,
        attempts: u64,
    },
    Latency {
        own: Duration,
        others: Duration,
    },
    /// It was on probation after an earlier ejection.
    Probation {
        failures: u64,
        attempts: u64,
    },
}

impl Cause {
    /// The value of the metric's label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Gateway { .. } => "consecutive_gateway",
            Cause::ServerErrors { .. } => "consecutive_5xx",
            Cause::Unconnected { .. } => "consecutive_connect",
            Cause::FailureRateAbove { .. } => "failure_rate_above",
            Cause::FailureRate { .. } => "failure_rate",
            Cause::Latency { .. } => "latency",
            Cause::Probation { .. } => "probation",
        }
    }

    /// Each `name`, in the order of [`index`](Cause::index).
    pub const NAMES: [&'static str; 7] = [
        "consecutive_gateway",
        "consecutive_5xx",
        "consecutive_connect",
        "failure_rate_above",
        "failure_rate",
        "latency",
        "probation",
    ];

    pub fn index(self) -> usize {
        Cause::NAMES.iter().position(|name| *name == self.name()).unwrap_or_default()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Gateway { streak } => write!(f, "{streak} gateway failures in a row"),
            Cause::ServerErrors { streak } => write!(f, "{streak} responses of 5xx in a row"),
            Cause::Unconnected { streak } => write!(f, "{streak} failures to connect in a row"),
            Cause::FailureRateAbove { own, others } => {
                write!(f, "{:.0} % of its requests failed, of the others' {:.0} %", own * 100.0, others * 100.0)
            }
            Cause::FailureRate { own, attempts } => {
                write!(f, "{:.0} % of its last {attempts} requests failed", own * 100.0)
            }
            Cause::Latency { own, others } => {
                write!(f, "it answers in {}, the others in {}", shown(*own), shown(*others))
            }
            Cause::Probation { failures, attempts } => {
                write!(f, "{failures} of {attempts} requests failed while it was on probation")
            }
        }
    }
}

/// A latency with as many digits as matter.
fn shown(latency: Duration) -> String {
    let ms = latency.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// What is known of one endpoint that takes requests.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub streaks: Streaks,
    /// Within the window.
    pub counts: OutcomeCounts,
}

/// The endpoints that should be taken out, as indexes of `samples`, and why: those that need no comparison first.
pub fn suspects(settings: &OutlierSettings, samples: &[Sample]) -> Vec<(usize, Cause)> {
    let mut found: Vec<(usize, Cause)> = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        found.extend(by_streak(settings, sample.streaks).map(|cause| (index, cause)));
    }
    let mut more = by_failures(settings, samples);
    more.extend(by_latency(settings, samples));
    for (index, cause) in more {
        if found.iter().all(|(other, _)| *other != index) {
            found.push((index, cause));
        }
    }
    found
}

fn by_streak(settings: &OutlierSettings, streaks: Streaks) -> Option<Cause> {
    let reached = |streak: u32, limit: u32| limit > 0 && streak >= limit;
    if reached(streaks.unconnected, settings.consecutive_connect) {
        return Some(Cause::Unconnected { streak: streaks.unconnected });
    }
    if reached(streaks.gateway, settings.consecutive_gateway) {
        return Some(Cause::Gateway { streak: streaks.gateway });
    }
    let errors = streaks.server_error;
    reached(errors, settings.consecutive_5xx).then_some(Cause::ServerErrors { streak: errors })
}

/// How many standard deviations a difference of failure rates must be, to be no chance: one look in 30,000 is wrong.
const DEVIATIONS_MIN: f64 = 4.0;

fn by_failures(settings: &OutlierSettings, samples: &[Sample]) -> Vec<(usize, Cause)> {
    let all = samples.iter().fold(OutcomeCounts::default(), |sum, sample| sum.plus(sample.counts));
    let enough = |counts: &OutcomeCounts| counts.attempts >= u64::from(settings.requests_min.max(1));
    let cause = |counts: &OutcomeCounts| {
        let own = counts.failure_rate();
        if settings.failure_rate.is_some_and(|most| own >= most) {
            return Some(Cause::FailureRate { own, attempts: counts.attempts });
        }
        let rest = all.since(*counts);
        let others = rest.failure_rate();
        let more = settings.failure_rate_above.filter(|_| enough(&rest)).is_some_and(|above| own - others >= above);
        (more && deviations(counts, &rest) >= DEVIATIONS_MIN).then_some(Cause::FailureRateAbove { own, others })
    };
    let judged = samples.iter().enumerate().filter(|(_, sample)| enough(&sample.counts));
    judged.filter_map(|(index, sample)| Some((index, cause(&sample.counts)?))).collect()
}

/// By how many standard deviations the failure rate of the first is above that of the second: the test of two proportions,
/// its variance from both together (Pearson 1900), as it would be were they the same.
fn deviations(first: &OutcomeCounts, second: &OutcomeCounts) -> f64 {
    let both = first.plus(*second).failure_rate();
    let (of_first, of_second) = (first.attempts.max(1) as f64, second.attempts.max(1) as f64);
    let variance = both * (1.0 - both) * (1.0 / of_first + 1.0 / of_second);
    (first.failure_rate() - second.failure_rate()) / variance.max(f64::MIN_POSITIVE).sqrt()
}

/// Endpoints with enough answers before latencies are compared.
const LATENCY_ENDPOINTS_MIN: usize = 3;
/// Differences below this are nobody's trouble, whatever their factor.
const LATENCY_DIFFERENCE_MIN: Duration = Duration::from_millis(2);
/// Median absolute deviations of the others that a latency must be above their median.
const SPREADS_MIN: f64 = 4.0;
/// With more endpoints than this, leaving one out changes no median worth speaking of.
const EXACT_MAX: usize = 64;

fn by_latency(settings: &OutlierSettings, samples: &[Sample]) -> Vec<(usize, Cause)> {
    let Some(factor) = settings.latency_factor.filter(|factor| *factor > 1.0) else { return Vec::new() };
    let enough = |counts: &OutcomeCounts| counts.timed >= u64::from(settings.requests_min.max(1));
    let timed = samples.iter().enumerate().filter(|(_, sample)| enough(&sample.counts));
    let logs: Vec<(usize, f64)> =
        timed.filter_map(|(index, sample)| Some((index, sample.counts.latency_log_mean()?))).collect();
    if logs.len() < LATENCY_ENDPOINTS_MIN {
        return Vec::new();
    }
    let mut sorted: Vec<f64> = logs.iter().map(|(_, log)| *log).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let (all_median, all_spread) = median_and_spread(&sorted);
    let cause = |own: f64| {
        if own - all_median < factor.log2() / 2.0 {
            return None;
        }
        let (median, spread) = match logs.len() {
            ..=EXACT_MAX => median_and_spread(&without(&sorted, own)),
            _ => (all_median, all_spread),
        };
        let far = own - median >= factor.log2().max(SPREADS_MIN * spread);
        let (own, others) = (latency(own), latency(median));
        (far && own.saturating_sub(others) >= LATENCY_DIFFERENCE_MIN).then_some(Cause::Latency { own, others })
    };
    logs.iter().filter_map(|(index, log)| Some((*index, cause(*log)?))).collect()
}

/// A sorted list without one of its values.
fn without(sorted: &[f64], value: f64) -> Vec<f64> {
    let mut others = sorted.to_vec();
    if let Some(at) = others.iter().position(|other| *other == value) {
        others.remove(at);
    }
    others
}

/// The median, and the median absolute deviation as an estimate of the standard deviation.
fn median_and_spread(sorted: &[f64]) -> (f64, f64) {
    let median = median_of_sorted(sorted);
    let mut distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
    distances.sort_unstable_by(f64::total_cmp);
    (median, 1.4826 * median_of_sorted(&distances))
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

fn latency(log: f64) -> Duration {
    Duration::try_from_secs_f64(log.exp2() / 1e9).unwrap_or(Duration::MAX)
}

/// How often an endpoint was ejected lately: each time doubles the time of the next, and every such time that it then serves
/// well is forgiven by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ejections(u32);

impl Ejections {
    /// One more; how long it lasts.
    pub fn next(&mut self, settings: &OutlierSettings) -> Duration {
        let time = self.time(settings);
        self.0 = self.0.saturating_add(1);
        time
    }

    /// How long the next would last, which is also how long it takes to forgive one.
    pub fn time(&self, settings: &OutlierSettings) -> Duration {
        let factor = 1u32.checked_shl(self.0).unwrap_or(u32::MAX);
        settings.eject_time.saturating_mul(factor).min(settings.eject_time_max.max(settings.eject_time))
    }

    pub fn forgive(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    pub fn count(&self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> OutlierSettings {
        OutlierSettings {
            consecutive_gateway: 5,
            consecutive_5xx: 7,
            consecutive_connect: 3,
            failure_rate_above: Some(0.3),
            latency_factor: Some(3.0),
            ..OutlierSettings::default()
        }
    }

    fn failing(attempts: u64, failures: u64) -> Sample {
        let counts = OutcomeCounts { attempts, server_errors: failures, ..OutcomeCounts::default() };
        Sample { streaks: Streaks::default(), counts }
    }

    /// One that answers in so many milliseconds.
    fn taking(timed: u64, ms: f64) -> Sample {
        let latency_log = ((ms * 1e6).log2() * 256.0) as u64 * timed;
        let counts = OutcomeCounts { attempts: timed, timed, latency_log, ..OutcomeCounts::default() };
        Sample { streaks: Streaks::default(), counts }
    }

    fn found(settings: &OutlierSettings, samples: &[Sample]) -> Vec<(usize, &'static str)> {
        suspects(settings, samples).into_iter().map(|(index, cause)| (index, cause.name())).collect()
    }

    #[test]
    fn streaks_need_no_comparison() {
        let of = |gateway, server_error, unconnected| Sample {
            streaks: Streaks { gateway, server_error, unconnected },
            counts: OutcomeCounts::default(),
        };
        let samples = [of(4, 6, 2), of(5, 5, 0), of(0, 7, 0), of(0, 0, 3)];
        let expected = [(1, "consecutive_gateway"), (2, "consecutive_5xx"), (3, "consecutive_connect")];
        assert_eq!(found(&settings(), &samples), expected);
        assert_eq!(found(&OutlierSettings::default(), &samples), []);
    }

    #[test]
    fn one_that_fails_more_than_the_others_is_found_even_of_two() {
        let settings = settings();
        assert_eq!(found(&settings, &[failing(100, 40), failing(100, 2)]), [(0, "failure_rate_above")]);
        assert_eq!(found(&settings, &[failing(100, 90), failing(100, 85)]), [], "all do");
        assert_eq!(found(&settings, &[failing(19, 19), failing(100, 0)]), [], "too few");
        assert_eq!(found(&settings, &[failing(100, 100), failing(19, 0)]), [], "nothing to compare with");
        assert_eq!(found(&settings, &[failing(20, 7), failing(20, 1)]), [], "it may be chance");
    }

    #[test]
    fn a_failure_rate_may_be_too_high_by_itself() {
        let settings = OutlierSettings { failure_rate: Some(0.8), ..settings() };
        assert_eq!(found(&settings, &[failing(20, 16)]), [(0, "failure_rate")]);
        assert_eq!(found(&settings, &[failing(20, 15)]), []);
    }

    #[test]
    fn the_slow_one_of_twenty_is_found() {
        let mut samples: Vec<Sample> = (0..20).map(|index| taking(30, 8.0 + f64::from(index) / 5.0)).collect();
        assert_eq!(found(&settings(), &samples), []);
        samples[7] = taking(30, 60.0);
        assert_eq!(found(&settings(), &samples), [(7, "latency")]);
    }

    #[test]
    fn latency_says_nothing_of_two_of_few_requests_of_microseconds_or_where_all_differ() {
        let settings = settings();
        assert_eq!(found(&settings, &[taking(100, 5.0), taking(100, 500.0)]), []);
        assert_eq!(found(&settings, &[taking(100, 5.0), taking(100, 5.0), taking(19, 500.0)]), []);
        assert_eq!(found(&settings, &[taking(100, 0.1), taking(100, 0.1), taking(100, 1.0)]), []);
        let spread = [taking(50, 2.0), taking(50, 8.0), taking(50, 32.0), taking(50, 128.0)];
        assert_eq!(found(&settings, &spread), [], "no one stands out");
    }

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let settings = settings();
        let mut ejections = Ejections::default();
        let times: Vec<u64> = (0..7).map(|_| ejections.next(&settings).as_secs()).collect();
        assert_eq!(times, [10, 20, 40, 80, 160, 300, 300]);
        (0..6).for_each(|_| ejections.forgive());
        assert_eq!((ejections.count(), ejections.next(&settings).as_secs()), (1, 20));
    }

    #[test]
    fn every_cause_has_its_name_and_says_why() {
        let second = Duration::from_secs(1);
        for cause in [
            Cause::Gateway { streak: 5 },
            Cause::ServerErrors { streak: 5 },
            Cause::Unconnected { streak: 3 },
            Cause::FailureRateAbove { own: 0.5, others: 0.01 },
            Cause::FailureRate { own: 0.9, attempts: 40 },
            Cause::Latency { own: second, others: second / 1_000 },
            Cause::Probation { failures: 2, attempts: 3 },
        ] {
            assert_eq!(Cause::NAMES[cause.index()], cause.name());
            assert!(!cause.to_string().is_empty());
        }
    }

    /// Endpoints that fail alike are not told apart by chance: at any rate that all of them share, hardly any look finds
    /// anybody.
    #[test]
    fn equals_are_not_outliers() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut wrong = 0;
        for look in 0..2_000u64 {
            let (rate, count, attempts) = (random(), 2 + look % 18, 20 + look % 150);
            let samples: Vec<Sample> = (0..count)
                .map(|_| failing(attempts, (0..attempts).filter(|_| random() < rate).count() as u64))
                .collect();
            wrong += found(&settings(), &samples).len();
        }
        assert!(wrong <= 2, "{wrong} of some 20,000 were found");
    }
}
