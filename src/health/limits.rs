//! How many new connections a listener takes in a second. Pure: the one number that is remembered comes in and goes out,
//! so that several workers can share it with one atomic exchange.
//!
//! The generic cell rate algorithm (ITU-T I.371): remembered is when the next connection is due at the agreed rate. One that
//! comes earlier is let in as long as it is not earlier than the burst allows. It is a token bucket without tokens: no
//! clock ticks and nothing is filled up.

use std::time::Duration;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From one to the next, in nanoseconds; at least 1.
    interval: u64,
    /// How early one may come, in nanoseconds.
    early_max: u64,
}

impl Rate {
    /// `per_second` on average, and `burst` of them at once; both at least 1.
    pub fn new(per_second: u32, burst: u32) -> Rate {
        let interval = (1_000_000_000 / u64::from(per_second.max(1))).max(1);
        Rate { interval, early_max: u64::from(burst.max(1) - 1) * interval }
    }

    /// Whether one is let in at `now`; what is to be remembered, if so. `due` is what was remembered, 0 at first; both are
    /// in nanoseconds of one clock.
    pub fn admit(self, due: u64, now: u64) -> Option<u64> {
        let due = due.max(now);
        (due - now <= self.early_max).then(|| due.saturating_add(self.interval))
    }

    /// From one to the next at the agreed rate.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_let_in_and_then_the_rate() {
        let rate = Rate::new(10, 3);
        let mut due = 0;
        let mut admit = |now| rate.admit(due, now).map(|next| due = next).is_some();
        let start = 5 * SECOND;
        assert_eq!([start; 4].map(&mut admit), [true, true, true, false]);
        assert!(admit(start + SECOND / 10));
        assert!(!admit(start + SECOND / 10));
        assert_eq!([start + 9 * SECOND; 4].map(&mut admit), [true, true, true, false]);
    }

    proptest! {
        /// In every span of time at most the burst and what the rate gives.
        #[test]
        fn no_span_has_more_than_burst_and_rate(
            per_second in 1u32..5_000,
            burst in 1u32..100,
            gaps in prop::collection::vec(0u64..20_000_000, 1..400),
        ) {
            let rate = Rate::new(per_second, burst);
            let (mut due, mut now) = (0, SECOND);
            let mut admitted = Vec::new();
            for gap in gaps {
                now += gap;
                if let Some(next) = rate.admit(due, now) {
                    due = next;
                    admitted.push(now);
                }
            }
            prop_assert!(!admitted.is_empty(), "the first is let in");
            let interval = rate.interval().as_nanos() as u64;
            for (at, first) in admitted.iter().enumerate() {
                for (count, last) in admitted[at..].iter().enumerate() {
                    let most = u64::from(burst) + (last - first) / interval;
                    prop_assert!((count as u64) < most, "{} in {} ns", count + 1, last - first);
                }
            }
        }

        /// Who keeps to the rate is never refused.
        #[test]
        fn the_agreed_rate_is_always_let_in(per_second in 1u32..5_000, count in 1usize..200) {
            let rate = Rate::new(per_second, 1);
            let mut due = 0;
            for step in 0..count as u64 {
                let next = rate.admit(due, SECOND + step * rate.interval().as_nanos() as u64);
                prop_assert!(next.is_some());
                due = next.unwrap();
            }
        }
    }
}
