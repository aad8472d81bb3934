//! When requests are due at a constant rate. Values only: it is told the time and reads no clock.
//!
//! A request that is due while every connection is busy is taken late, and its latency counts from when it was due:
//! a server that stalls cannot make the generator stop asking ("coordinated omission", Gil Tene).

use crate::base::Instant;
use std::time::Duration;

/// The engine's timers go off on whole milliseconds; without spinning, so do requests.
const TICK_NANOS: u64 = 1_000_000;

/// The schedule of one thread: request `n` is due at `start + n × interval`.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    /// Nanoseconds between two requests; a fraction is kept, so that the rate stays exact.
    interval_nanos: f64,
    /// Due times are rounded up to whole milliseconds of the engine's clock.
    on_the_millisecond: bool,
}

impl Schedule {
    /// `per_second` is above 0.
    pub fn new(start: Instant, per_second: f64, on_the_millisecond: bool) -> Schedule {
        Schedule { start, interval_nanos: 1e9 / per_second, on_the_millisecond }
    }

    /// When request `number`, counted from 0, is due.
    pub fn due(&self, number: u64) -> Instant {
        let at = self.start + Duration::from_nanos((number as f64 * self.interval_nanos) as u64);
        if self.on_the_millisecond { Instant(at.0.div_ceil(TICK_NANOS) * TICK_NANOS) } else { at }
    }

    /// How many requests, from the first, are due at `now`, given that `known` are.
    pub fn due_count(&self, now: Instant, known: u64) -> u64 {
        let mut count = known;
        while self.due(count) <= now {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_stays_exact_over_a_million_requests() {
        let schedule = Schedule::new(Instant(5), 3.0, false);
        assert_eq!(schedule.due(0), Instant(5));
        assert_eq!(schedule.due(3_000_000), Instant(5) + Duration::from_secs(1_000_000));
    }

    #[test]
    fn on_the_millisecond_nothing_is_due_early() {
        let schedule = Schedule::new(Instant(1), 10_000.0, true);
        assert_eq!(schedule.due(0), Instant(TICK_NANOS));
        assert_eq!(schedule.due_count(Instant(TICK_NANOS - 1), 0), 0);
        assert_eq!(schedule.due_count(Instant(TICK_NANOS), 0), 10);
        assert_eq!(schedule.due_count(Instant(2 * TICK_NANOS), 10), 20);
    }
}
