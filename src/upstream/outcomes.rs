//! What became of the attempts at one endpoint: counted by workers, read by control, which judges the endpoint by it.
//!
//! Each worker counts in a shard of its own; reading sums them, so what is read is exact but for what is being written.
//! Shared by all workers are the lengths of the present streaks of failures alone, because only their sum is true: they are
//! written by failures, and by the first success after one.

use crate::base::{Counter, Sharded};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What became of one attempt, as far as its endpoint is to be judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeClass {
    /// A response below 500; a connection on which the endpoint spoke; a reply.
    Success,
    /// A response of 500 or above that is not of a gateway.
    ServerError,
    /// 502, 503 or 504, or no valid response: reset, cut off, malformed.
    Gateway,
    /// The same, because the response took too long.
    Timeout,
    /// 503 with Retry-After: a gateway failure, and a request to be spared.
    Unavailable,
    /// No connection could be opened: refused, unreachable or late.
    Unconnected,
    /// 429: the endpoint works, and has too much to do.
    Overload,
    /// The client left before there was an answer. Only the time that it had waited is noted.
    Abandoned,
}

/// From which streak on control is to look at once, and which answers are slow. 0 is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRule {
    pub gateway_streak: u32,
    pub server_error_streak: u32,
    pub unconnected_streak: u32,
    /// Answers that take as long are slow.
    pub slow: Duration,
}

impl Default for OutcomeRule {
    fn default() -> OutcomeRule {
        OutcomeRule { gateway_streak: 0, server_error_streak: 0, unconnected_streak: 0, slow: Duration::MAX }
    }
}

/// Sums of outcomes since an endpoint became known, or over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// All but those that the client abandoned.
    pub attempts: u64,
    pub server_errors: u64,
    /// Timeouts included.
    pub gateway_failures: u64,
    pub timeouts: u64,
    pub unconnected: u64,
    /// 429, and 503 with Retry-After.
    pub overloads: u64,
    /// Answers that took as long as the rule's `slow`.
    pub slow: u64,
    /// Answers whose latency is in the next sum.
    pub timed: u64,
    /// Binary logarithms of latencies in nanoseconds, in units of 1/256: their mean is robust where that of latencies is not.
    pub latency_log: u64,
}

impl OutcomeCounts {
    pub fn failures(&self) -> u64 {
        self.server_errors + self.gateway_failures + self.unconnected
    }

    pub fn successes(&self) -> u64 {
        self.attempts.saturating_sub(self.failures())
    }

    /// The part of attempts that failed, 0 to 1; 0 where there were none.
    pub fn failure_rate(&self) -> f64 {
        if self.attempts == 0 { 0.0 } else { self.failures() as f64 / self.attempts as f64 }
    }

    /// The mean of the binary logarithms of latencies in nanoseconds.
    pub fn latency_log_mean(&self) -> Option<f64> {
        (self.timed > 0).then(|| self.latency_log as f64 / LOG_UNIT / self.timed as f64)
    }

    fn zip(self, other: OutcomeCounts, with: impl Fn(u64, u64) -> u64) -> OutcomeCounts {
        OutcomeCounts {
            attempts: with(self.attempts, other.attempts),
            server_errors: with(self.server_errors, other.server_errors),
            gateway_failures: with(self.gateway_failures, other.gateway_failures),
            timeouts: with(self.timeouts, other.timeouts),
            unconnected: with(self.unconnected, other.unconnected),
            overloads: with(self.overloads, other.overloads),
            slow: with(self.slow, other.slow),
            timed: with(self.timed, other.timed),
            latency_log: with(self.latency_log, other.latency_log),
        }
    }

    #[must_use]
    pub fn plus(self, other: OutcomeCounts) -> OutcomeCounts {
        self.zip(other, u64::wrapping_add)
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: OutcomeCounts) -> OutcomeCounts {
        self.zip(earlier, u64::saturating_sub)
    }
}

/// Failures without a success between them, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streaks {
    pub gateway: u32,
    /// Responses of 500 and above, and gateway failures.
    pub server_error: u32,
    pub unconnected: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Outcomes {
    shards: Sharded<Shard>,
    gateway: AtomicU32,
    server_error: AtomicU32,
    unconnected: AtomicU32,
}

#[derive(Debug, Default)]
struct Shard {
    attempts: Counter,
    server_errors: Counter,
    gateway_failures: Counter,
    timeouts: Counter,
    unconnected: Counter,
    overloads: Counter,
    slow: Counter,
    timed: Counter,
    latency_log: Counter,
}

impl Outcomes {
    pub fn new(workers: usize) -> Outcomes {
        Outcomes {
            shards: Sharded::new(workers),
            gateway: AtomicU32::new(0),
            server_error: AtomicU32::new(0),
            unconnected: AtomicU32::new(0),
        }
    }

    /// Counts one attempt. `latency` is how long the endpoint took to answer, or had not answered for. True if a streak has
    /// just become as long as the rule has it: whoever is told has control look.
    #[inline]
    pub fn note(&self, worker: usize, class: OutcomeClass, latency: Option<Duration>, rule: &OutcomeRule) -> bool {
        let shard = self.shards.shard(worker);
        if let Some(latency) = latency {
            shard.timed.inc();
            shard.latency_log.add(log2(latency));
            if latency >= rule.slow {
                shard.slow.inc();
            }
        }
        if class == OutcomeClass::Abandoned {
            return false;
        }
        shard.attempts.inc();
        if class == OutcomeClass::Success {
            self.end_streaks();
            return false;
        }
        self.note_trouble(shard, class, rule)
    }

    fn note_trouble(&self, shard: &Shard, class: OutcomeClass, rule: &OutcomeRule) -> bool {
        use OutcomeClass::{Gateway, Overload, ServerError, Timeout, Unavailable, Unconnected};
        if matches!(class, Overload | Unavailable) {
            shard.overloads.inc();
        }
        match class {
            ServerError => {
                shard.server_errors.inc();
                end(&self.gateway);
                end(&self.unconnected);
                lengthen(&self.server_error, rule.server_error_streak)
            }
            Gateway | Timeout | Unavailable => {
                shard.gateway_failures.inc();
                if class == Timeout {
                    shard.timeouts.inc();
                }
                end(&self.unconnected);
                let server_errors = lengthen(&self.server_error, rule.server_error_streak);
                lengthen(&self.gateway, rule.gateway_streak) || server_errors
            }
            Unconnected => {
                shard.unconnected.inc();
                lengthen(&self.unconnected, rule.unconnected_streak)
            }
            _ => {
                self.end_streaks();
                false
            }
        }
    }

    /// A connection was opened; what becomes of it is not known yet.
    pub fn note_connected(&self) {
        end(&self.unconnected);
    }

    /// Ends every streak: of a success, and when control has acted on one.
    #[inline]
    pub fn end_streaks(&self) {
        end(&self.gateway);
        end(&self.server_error);
        end(&self.unconnected);
    }

    pub fn streaks(&self) -> Streaks {
        Streaks {
            gateway: self.gateway.load(Ordering::Relaxed),
            server_error: self.server_error.load(Ordering::Relaxed),
            unconnected: self.unconnected.load(Ordering::Relaxed),
        }
    }

    /// Everything so far, over all workers.
    pub fn counts(&self) -> OutcomeCounts {
        let each = self.shards.iter().map(|shard| OutcomeCounts {
            attempts: shard.attempts.get(),
            server_errors: shard.server_errors.get(),
            gateway_failures: shard.gateway_failures.get(),
            timeouts: shard.timeouts.get(),
            unconnected: shard.unconnected.get(),
            overloads: shard.overloads.get(),
            slow: shard.slow.get(),
            timed: shard.timed.get(),
            latency_log: shard.latency_log.get(),
        });
        each.fold(OutcomeCounts::default(), OutcomeCounts::plus)
    }
}

/// Written only where there is something to end: the usual success reads a line that nobody writes.
#[inline]
fn end(streak: &AtomicU32) {
    if streak.load(Ordering::Relaxed) != 0 {
        streak.store(0, Ordering::Relaxed);
    }
}

fn lengthen(streak: &AtomicU32, until: u32) -> bool {
    // Wraps after four thousand million failures without a success, which is as good as a streak that has just begun.
    streak.fetch_add(1, Ordering::Relaxed).wrapping_add(1) == until
}

const LOG_UNIT: f64 = 256.0;

/// The binary logarithm of a latency in nanoseconds, in units of 1/256; at most 0.086 too small (it is straight between
/// powers of two).
#[inline]
fn log2(latency: Duration) -> u64 {
    let nanos =
        latency.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(latency.subsec_nanos())).max(1);
    let zeros = nanos.leading_zeros();
    let whole = u64::from(63 - zeros);
    // What follows the leading one.
    let fraction = (nanos << zeros << 1) >> 56;
    whole << 8 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: OutcomeRule = OutcomeRule {
        gateway_streak: 3,
        server_error_streak: 5,
        unconnected_streak: 2,
        slow: Duration::from_millis(100),
    };

    #[test]
    fn logarithms_are_near() {
        for nanos in [1u64, 2, 3, 1_000, 1_000_000, 123_456_789, 60_000_000_000] {
            let exact = (nanos as f64).log2();
            let found = log2(Duration::from_nanos(nanos)) as f64 / LOG_UNIT;
            assert!(exact - found >= -1e-9 && exact - found < 0.09, "{nanos}: {found} for {exact}");
        }
        log2(Duration::MAX);
    }

    #[test]
    fn a_streak_is_told_of_once_and_ends_with_a_success() {
        use OutcomeClass::{Gateway, ServerError, Success, Unconnected};
        let outcomes = Outcomes::new(2);
        let note = |worker, class| outcomes.note(worker, class, None, &RULE);
        let told: Vec<bool> = (0..5).map(|at| note(at % 2, Gateway)).collect();
        assert_eq!(told, [false, false, true, false, true], "the third of a gateway, and the fifth of 500 and above");
        assert_eq!(outcomes.streaks(), Streaks { gateway: 5, server_error: 5, unconnected: 0 });
        note(0, ServerError);
        assert_eq!(outcomes.streaks(), Streaks { gateway: 0, server_error: 6, unconnected: 0 });
        assert!(!note(0, Unconnected) && note(1, Unconnected));
        outcomes.note_connected();
        assert_eq!(outcomes.streaks().unconnected, 0);
        note(1, Success);
        assert_eq!(outcomes.streaks(), Streaks::default());
    }

    #[test]
    fn counts_are_sums_over_workers() {
        use OutcomeClass::{Abandoned, Overload, Success, Timeout, Unavailable, Unconnected};
        let outcomes = Outcomes::new(3);
        let (fast, slow) = (Some(Duration::from_millis(1)), Some(Duration::from_millis(100)));
        for (worker, class, latency) in [
            (0, Success, fast),
            (1, Success, slow),
            (2, Timeout, slow),
            (2, Unavailable, None),
            (1, Overload, fast),
            (0, Unconnected, None),
            (0, Abandoned, slow),
        ] {
            outcomes.note(worker, class, latency, &RULE);
        }
        let counts = outcomes.counts();
        assert_eq!((counts.attempts, counts.failures(), counts.successes()), (6, 3, 3));
        assert_eq!((counts.gateway_failures, counts.timeouts, counts.unconnected, counts.overloads), (2, 1, 1, 2));
        assert_eq!((counts.timed, counts.slow), (5, 3));
        assert_eq!(counts.since(counts), OutcomeCounts::default());
    }
}
