//! How long what becomes ready waits for its turn. Now and then a mark is put at the end of the queue of what is ready, and
//! the time until it comes to the front is what everything else waits too; of these times the least over a while counts.
//! One long wait is a hiccup, or a machine that had no time for the process; only a worker whose every wait is long has
//! more to do than it can.
//!
//! After CoDel (Nichols and Jacobson, "Controlling Queue Delay", 2012): the least sojourn time over an interval tells a
//! standing queue from a burst.

use crate::base::Instant;
use std::cell::Cell;
use std::time::Duration;

/// Over how long, and over how many waits, the least is taken at least.
const WINDOW: Duration = Duration::from_millis(500);
const WAITS_MIN: u32 = 4;

#[derive(Default)]
pub(super) struct Lag {
    /// When the mark that is in the queue was put there.
    marked: Cell<Option<Instant>>,
    /// The window: when it ends, the waits in it and the least of them.
    ends: Cell<Instant>,
    waits: Cell<u32>,
    least: Cell<Duration>,
    /// The least of the window before.
    last: Cell<Duration>,
}

impl Lag {
    /// Whether a mark is to be put into the queue at `now`: if there is none, and the queue is not empty.
    pub(super) fn marks(&self, now: Instant, queue_is_empty: bool) -> bool {
        let marks = self.marked.get().is_none() && !queue_is_empty;
        if marks {
            self.marked.set(Some(now));
        }
        marks
    }

    /// The queue has been worked on until `now`, and has come to its mark or is empty.
    pub(super) fn reached(&self, now: Instant) {
        let waited = self.marked.take().map_or(Duration::ZERO, |marked| now - marked);
        let waits = self.waits.get();
        self.least.set(if waits == 0 { waited } else { self.least.get().min(waited) });
        self.waits.set(waits + 1);
        if now >= self.ends.get() && waits + 1 >= WAITS_MIN {
            self.last.set(self.least.get());
            self.waits.set(0);
            self.ends.set(now + WINDOW);
        }
    }

    /// What every wait of the last window took at least.
    pub(super) fn at(&self, now: Instant) -> Duration {
        // A worker that had nothing to do for so long is not behind.
        let stale = now >= self.ends.get() + WINDOW && self.marked.get().is_none_or(|marked| now - marked < WINDOW);
        if stale { Duration::ZERO } else { self.last.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    /// Waits of this length follow each other until `until`; the time then.
    fn run(lag: &Lag, mut now: u64, wait: u64, until: u64) -> u64 {
        while now < until {
            assert!(lag.marks(ms(now), false));
            assert!(!lag.marks(ms(now), false), "one mark at a time");
            now += wait;
            lag.reached(ms(now));
        }
        now
    }

    #[test]
    fn one_long_wait_is_no_lag() {
        let lag = Lag::default();
        let now = run(&lag, 0, 1, 1_000);
        let now = run(&lag, now, 900, now + 1);
        let now = run(&lag, now, 1, now + 2_000);
        assert_eq!(lag.at(ms(now)), Duration::from_millis(1));
        // Not even where the window has just begun.
        let lag = Lag::default();
        let now = run(&lag, 0, 900, 900);
        assert_eq!(lag.at(ms(now)), Duration::ZERO);
    }

    #[test]
    fn a_standing_queue_is_a_lag_and_passes() {
        let lag = Lag::default();
        let now = run(&lag, 0, 600, 5_000);
        assert_eq!(lag.at(ms(now)), Duration::from_millis(600));
        let now = run(&lag, now, 2, now + 1_500);
        assert_eq!(lag.at(ms(now)), Duration::from_millis(2));
    }

    #[test]
    fn a_worker_with_nothing_to_do_does_not_lag() {
        let lag = Lag::default();
        let now = run(&lag, 0, 600, 5_000);
        assert!(!lag.marks(ms(now), true));
        assert_eq!(lag.at(ms(now + 2_000)), Duration::ZERO);
    }
}
