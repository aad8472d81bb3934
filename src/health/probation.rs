//! How an endpoint is given its traffic: all at once is what kills one that has just come back, or has cold caches.
//!
//! After an ejection a *trickle* decides: a twentieth of its share, until it has answered a few requests and a part of the
//! time is up; failures there eject it again, for twice as long. Then its share grows in a straight line. A *slow start*,
//! for endpoints that are new or have come up again, follows a curve of the configuration and asks for no proof.
//!
//! ```text
//!   Ejected ──time is up──→ Trickle ──proven──→ Ramp ──time is up──→ full share
//!      ↑                       │                 │
//!      └──── half of its requests fail ──────────┘
//! ```

use crate::base::Instant;
use crate::upstream::{OutcomeCounts, WHOLE_SHARE};
use std::time::Duration;

/// How endpoints come back and how they begin.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnSettings {
    /// From the end of an ejection to the full share; zero: at once.
    pub probation: Duration,
    /// From the start of a new endpoint to its full share; zero: at once.
    pub slow_start: Duration,
    pub curve: Curve,
    /// Where a slow start begins: a part of the share, 0 to 1.
    pub slow_start_min: f64,
}

impl Default for ReturnSettings {
    fn default() -> ReturnSettings {
        ReturnSettings {
            probation: Duration::from_secs(10),
            slow_start: Duration::ZERO,
            curve: Curve::Linear,
            slow_start_min: 0.1,
        }
    }
}

/// The form of a slow start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    #[default]
    Linear,
    /// Little at first: for caches that must be filled.
    Late,
    /// Much at first: for compilers that need work to warm up.
    Early,
}

/// Thousandths of its share that an endpoint gets while it has to prove itself.
const TRICKLE: u16 = WHOLE_SHARE / 20;
/// The part of the probation that is a trickle.
const TRICKLE_PART: u32 = 4;
/// Good answers that end the trickle. Without so much traffic, the time alone does.
const PROOF: u64 = 3;
/// Requests on probation before half of them failing says anything.
const FAILURES_MIN: u64 = 2;

/// An endpoint that has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probation {
    pub since: Instant,
    /// What had been counted when it began.
    before: OutcomeCounts,
    /// When its share began to grow.
    ramp: Option<Instant>,
}

/// What becomes of a probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on with this many thousandths of the share.
    Share(u16),
    Passed,
    Failed {
        failures: u64,
        attempts: u64,
    },
}

impl Probation {
    pub fn begin(now: Instant, counts: OutcomeCounts) -> Probation {
        Probation { since: now, before: counts, ramp: None }
    }

    /// `counts` is all that was ever counted at the endpoint.
    pub fn look(&mut self, settings: &ReturnSettings, now: Instant, counts: OutcomeCounts) -> Progress {
        let seen = counts.since(self.before);
        let (failures, attempts) = (seen.failures(), seen.attempts);
        if failures >= FAILURES_MIN && failures * 2 >= attempts {
            return Progress::Failed { failures, attempts };
        }
        let Some(ramp) = self.ramp else {
            let proven = now - self.since >= settings.probation / TRICKLE_PART && seen.successes() >= PROOF;
            if proven || now - self.since >= settings.probation {
                self.ramp = Some(now);
            }
            let over = settings.probation.is_zero();
            return if over { Progress::Passed } else { Progress::Share(TRICKLE) };
        };
        let time = settings.probation - settings.probation / TRICKLE_PART;
        match part(now - ramp, time) {
            1.0.. => Progress::Passed,
            done => Progress::Share(share(f64::from(TRICKLE) / f64::from(WHOLE_SHARE), done)),
        }
    }
}

/// The share of an endpoint that has begun this long ago; `None`: all of it.
pub fn slow_start(settings: &ReturnSettings, age: Duration) -> Option<u16> {
    let time = part(age, settings.slow_start);
    if time >= 1.0 {
        return None;
    }
    let done = match settings.curve {
        Curve::Linear => time,
        Curve::Late => time * time,
        Curve::Early => time.sqrt(),
    };
    Some(share(settings.slow_start_min, done))
}

fn part(age: Duration, of: Duration) -> f64 {
    if of.is_zero() { 1.0 } else { age.as_secs_f64() / of.as_secs_f64() }
}

/// Thousandths on the way from `least` to all; never 0, or nothing would be learnt.
fn share(least: f64, done: f64) -> u16 {
    let part = least + (1.0 - least) * done;
    (part * f64::from(WHOLE_SHARE)).round().clamp(1.0, f64::from(WHOLE_SHARE)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn counts(attempts: u64, failures: u64) -> OutcomeCounts {
        OutcomeCounts { attempts, gateway_failures: failures, ..OutcomeCounts::default() }
    }

    fn at(seconds: f64) -> Instant {
        Instant(1_000_000) + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_trickle_then_a_ramp_then_all() {
        let settings = ReturnSettings { probation: 8 * SECOND, ..ReturnSettings::default() };
        let mut probation = Probation::begin(at(0.0), counts(100, 50));
        let mut look = |seconds, attempts: u64| probation.look(&settings, at(seconds), counts(100 + attempts, 50));
        assert_eq!(look(1.0, 10), Progress::Share(TRICKLE));
        assert_eq!(look(2.0, 10), Progress::Share(TRICKLE), "proven");
        assert_eq!(look(5.0, 20), Progress::Share(525), "half of the ramp");
        assert_eq!(look(8.0, 20), Progress::Passed);
    }

    #[test]
    fn who_is_asked_nothing_comes_back_by_time() {
        let settings = ReturnSettings { probation: 8 * SECOND, ..ReturnSettings::default() };
        let mut probation = Probation::begin(at(0.0), counts(0, 0));
        assert_eq!(probation.look(&settings, at(7.9), counts(2, 0)), Progress::Share(TRICKLE));
        assert_eq!(probation.look(&settings, at(8.0), counts(2, 0)), Progress::Share(TRICKLE));
        assert_eq!(probation.look(&settings, at(14.0), counts(2, 0)), Progress::Passed);
    }

    #[test]
    fn failures_end_it() {
        let settings = ReturnSettings::default();
        let mut probation = Probation::begin(at(0.0), counts(100, 50));
        assert_eq!(probation.look(&settings, at(0.1), counts(101, 51)), Progress::Share(TRICKLE), "one may be chance");
        let failed = Progress::Failed { failures: 2, attempts: 3 };
        assert_eq!(probation.look(&settings, at(0.2), counts(103, 52)), failed);
    }

    #[test]
    fn without_a_probation_all_is_given_at_once() {
        let settings = ReturnSettings { probation: Duration::ZERO, ..ReturnSettings::default() };
        let mut probation = Probation::begin(at(0.0), counts(0, 0));
        assert_eq!(probation.look(&settings, at(0.0), counts(0, 0)), Progress::Passed);
        assert_eq!(slow_start(&settings, Duration::ZERO), None);
    }

    #[test]
    fn the_curve_is_that_of_the_file() {
        let of = |curve| ReturnSettings { slow_start: 10 * SECOND, curve, ..ReturnSettings::default() };
        let shares = |curve| [0, 5, 9].map(|age| slow_start(&of(curve), age * SECOND));
        assert_eq!(shares(Curve::Linear), [Some(100), Some(550), Some(910)]);
        assert_eq!(shares(Curve::Late), [Some(100), Some(325), Some(829)]);
        assert_eq!(shares(Curve::Early), [Some(100), Some(736), Some(954)]);
        assert_eq!(slow_start(&of(Curve::Late), 10 * SECOND), None);
    }

    proptest! {
        /// Whatever the curve, more time is never less share, and never none.
        #[test]
        fn a_share_only_grows(ages in prop::collection::vec(0u64..20_000, 2..20), least in 0.0f64..1.0) {
            for curve in [Curve::Linear, Curve::Late, Curve::Early] {
                let settings =
                    ReturnSettings { slow_start: 10 * SECOND, slow_start_min: least, curve, ..ReturnSettings::default() };
                let mut ages = ages.clone();
                ages.sort_unstable();
                let shares: Vec<u16> = ages
                    .iter()
                    .map(|age| slow_start(&settings, Duration::from_millis(*age)).unwrap_or(WHOLE_SHARE))
                    .collect();
                prop_assert!(shares.is_sorted() && shares[0] > 0, "{shares:?}");
            }
        }
    }
}
