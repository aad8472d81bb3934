//! The breaker of an upstream: on the failure rate, or the rate of slow answers, of everything that is sent to it, it rejects
//! requests for a while, lets a few through to find out, and then admits all again (Nygard, "Release It!", 2007; the sliding
//! window and the slow calls as in Resilience4j).
//!
//! ```text
//!            a rate is reached              `reject_time` is up
//!   Admit ──────────────────────→ Reject ──────────────────────→ Probe
//!     ↑                              ↑                             │
//!     │                              └── the rate is reached again ┤
//!     └───────── as many probes as may run at a time do well ──────┘
//! ```
//!
//! Where endpoints fail one by one, outlier ejection is the better tool: it takes out the one and keeps the others. A
//! breaker is for what they share, a database behind all of them: it answers clients at once instead of late, and gives the
//! upstream time to recover. It is off unless asked for.

use super::window::Window;
use crate::base::Instant;
use crate::upstream::{BreakerState, OutcomeCounts};
use std::fmt;
use std::time::Duration;

/// When a breaker turns. Rates are parts of 1, above 0.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    pub failure_rate: Option<f64>,
    pub slow_rate: Option<f64>,
    /// Answers that take as long are slow.
    pub slow_after: Duration,
    pub window: Duration,
    /// Attempts within the window before a rate says anything.
    pub requests_min: u32,
    pub reject_time: Duration,
    /// Requests at a time that find out whether it is well again, and how many must have been answered.
    pub probes: u16,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: BreakerState,
    since: Instant,
    /// In state Admit.
    window: Window,
    /// In state Probe: since it began.
    probed: OutcomeCounts,
    why: Option<Trip>,
}

/// Why it rejects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trip {
    Failures { rate: f64, attempts: u64 },
    Slow { rate: f64, attempts: u64 },
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trip::Failures { rate, attempts } => {
                write!(f, "{:.0} % of the last {attempts} requests failed", rate * 100.0)
            }
            Trip::Slow { rate, attempts } => {
                write!(f, "{:.0} % of the last {attempts} answers were slow", rate * 100.0)
            }
        }
    }
}

impl Breaker {
    pub fn state(&self) -> BreakerState {
        self.state
    }

    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why it rejected last, while it does not admit.
    pub fn why(&self) -> Option<Trip> {
        self.why
    }

    /// Looks at what was counted since the last look. `Some`: it is in another state now.
    pub fn look(&mut self, settings: &BreakerSettings, now: Instant, counted: OutcomeCounts) -> Option<BreakerState> {
        match self.state {
            BreakerState::Admit => {
                self.window.add(now, settings.window, counted);
                if counted.attempts.max(counted.timed) == 0 {
                    // The rate may rise all the same, as good answers grow old; but nobody is there to be rejected.
                    return None;
                }
                let trip = trip(settings, self.window.sum(), u64::from(settings.requests_min))?;
                Some(self.reject(now, trip))
            }
            BreakerState::Reject => {
                let over = now - self.since >= settings.reject_time;
                over.then(|| self.turn(now, BreakerState::Probe))
            }
            BreakerState::Probe => {
                self.probed = self.probed.plus(counted);
                let probes = u64::from(settings.probes);
                if let Some(trip) = trip(settings, self.probed, probes).or_else(|| lost(settings, self.probed)) {
                    return Some(self.reject(now, trip));
                }
                (self.probed.attempts >= probes).then(|| self.admit(now))
            }
        }
    }

    /// Where the configuration has no breaker any more.
    pub fn admit(&mut self, now: Instant) -> BreakerState {
        self.why = None;
        self.turn(now, BreakerState::Admit)
    }

    fn reject(&mut self, now: Instant, trip: Trip) -> BreakerState {
        self.why = Some(trip);
        self.turn(now, BreakerState::Reject)
    }

    fn turn(&mut self, now: Instant, state: BreakerState) -> BreakerState {
        self.window.clear();
        (self.state, self.since, self.probed) = (state, now, OutcomeCounts::default());
        state
    }
}

/// The rate that is reached, if there are enough attempts.
fn trip(settings: &BreakerSettings, counts: OutcomeCounts, attempts_min: u64) -> Option<Trip> {
    let attempts = counts.attempts.max(counts.timed);
    if attempts < attempts_min.max(1) {
        return None;
    }
    let (failed, slow) = (counts.failure_rate(), counts.slow as f64 / attempts as f64);
    if settings.failure_rate.is_some_and(|most| failed >= most) {
        return Some(Trip::Failures { rate: failed, attempts: counts.attempts });
    }
    settings.slow_rate.is_some_and(|most| slow >= most).then_some(Trip::Slow { rate: slow, attempts })
}

/// Probes of which so many have failed that the others cannot bring the rate down any more.
fn lost(settings: &BreakerSettings, probed: OutcomeCounts) -> Option<Trip> {
    let most = settings.failure_rate?;
    let failures = probed.failures();
    let lost = failures > 0 && failures as f64 / f64::from(settings.probes) >= most;
    lost.then(|| Trip::Failures { rate: probed.failure_rate(), attempts: probed.attempts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings() -> BreakerSettings {
        BreakerSettings {
            failure_rate: Some(0.5),
            slow_rate: Some(0.8),
            slow_after: Duration::from_secs(1),
            window: Duration::from_secs(10),
            requests_min: 10,
            reject_time: Duration::from_secs(5),
            probes: 4,
        }
    }

    fn counts(attempts: u64, failures: u64, slow: u64) -> OutcomeCounts {
        OutcomeCounts { attempts, server_errors: failures, timed: attempts, slow, ..OutcomeCounts::default() }
    }

    fn at(seconds: u64) -> Instant {
        Instant(1) + Duration::from_secs(seconds)
    }

    #[test]
    fn it_rejects_probes_and_admits() {
        let mut breaker = Breaker::default();
        let mut look = |seconds, counted| breaker.look(&settings(), at(seconds), counted);
        assert_eq!(look(1, counts(9, 9, 0)), None, "too few");
        assert_eq!(look(2, counts(1, 0, 0)), Some(BreakerState::Reject));
        assert_eq!(look(6, counts(20, 20, 0)), None, "what was under way changes nothing");
        assert_eq!(look(7, counts(0, 0, 0)), Some(BreakerState::Probe));
        assert_eq!(look(8, counts(2, 1, 0)), None);
        assert_eq!(look(9, counts(1, 1, 0)), Some(BreakerState::Reject), "two of four is half");
        assert_eq!(look(14, counts(0, 0, 0)), Some(BreakerState::Probe));
        assert_eq!(look(15, counts(4, 1, 0)), Some(BreakerState::Admit));
        assert_eq!(look(16, counts(9, 9, 0)), None, "it begins anew");
    }

    #[test]
    fn slow_answers_are_enough() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.look(&settings(), at(1), counts(10, 0, 7)), None);
        assert_eq!(breaker.look(&settings(), at(2), counts(10, 0, 9)), Some(BreakerState::Reject));
        assert!(matches!(breaker.why(), Some(Trip::Slow { attempts: 20, .. })));
    }

    #[test]
    fn what_is_old_does_not_count() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.look(&settings(), at(1), counts(9, 9, 0)), None);
        assert_eq!(breaker.look(&settings(), at(20), counts(9, 9, 0)), None);
    }

    proptest! {
        /// It rejects only where a rate was reached, and never for ever.
        #[test]
        fn it_never_rejects_without_reason_and_always_ends(steps in prop::collection::vec((0u64..30, 0.0f64..1.0), 1..200)) {
            let (mut breaker, mut second) = (Breaker::default(), 0);
            for (attempts, failing) in steps {
                second += 1;
                let failures = (attempts as f64 * failing) as u64;
                let before = breaker.state();
                let turned = breaker.look(&settings(), at(second), counts(attempts, failures, 0));
                if turned == Some(BreakerState::Reject) {
                    let has_reason = matches!(breaker.why(), Some(Trip::Failures { .. }));
                    prop_assert!(has_reason);
                    prop_assert_ne!(before, BreakerState::Reject);
                }
                let long = at(second) - breaker.since() > settings().reject_time;
                prop_assert!(breaker.state() != BreakerState::Reject || !long);
            }
            breaker.look(&settings(), at(second + 6), counts(0, 0, 0));
            prop_assert_ne!(breaker.state(), BreakerState::Reject);
        }
    }
}
