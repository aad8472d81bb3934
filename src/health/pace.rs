//! How slow the other side of a connection may be: silence up to a limit, and beyond a grace at least so many bytes a
//! second, so that a client which trickles costs a bounded time and not a connection for ever.
//!
//! Credit in time. It begins with the grace, each second of waiting spends a second of it, and each byte earns what it may
//! take at the minimum rate. It never grows beyond the silence that is borne, so a fast beginning buys no slow end. With a
//! rate at or above the minimum it is never spent; below, it is spent after `credit / (1 - rate / rate_min)`.
//! The caller counts only the time in which it waited for the other side, and sees to it that one timer is enough:
//! [`Pace::patience`] is how long nothing can be wrong.

use std::time::Duration;

/// What is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceRule {
    /// Bytes a second; 0 is no minimum.
    pub rate_min: u64,
    /// How long it may be slower at first.
    pub grace: Duration,
    /// How long nothing at all may come.
    pub silence_max: Duration,
}

impl PaceRule {
    /// Silence alone is limited.
    pub const fn silence(silence_max: Duration) -> PaceRule {
        PaceRule { rate_min: 0, grace: Duration::ZERO, silence_max }
    }
}

/// What is wrong with the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Nothing came for as long as is borne.
    Silent,
    /// Something came, and less than the minimum rate.
    BelowRate,
}

/// The other side of one transfer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rule: PaceRule,
    credit: Duration,
    /// Waited since the last byte.
    silent: Duration,
}

impl Pace {
    pub fn new(rule: PaceRule) -> Pace {
        let credit = if rule.rate_min == 0 { rule.silence_max } else { rule.grace.min(rule.silence_max) };
        Pace { rule, credit, silent: Duration::ZERO }
    }

    /// How long may be waited from here on before [`Pace::slow`] can be true.
    pub fn patience(&self) -> Duration {
        self.credit
    }

    /// In `time` of waiting `bytes` came.
    pub fn waited(&mut self, time: Duration, bytes: u64) {
        self.silent = if bytes == 0 { self.silent.saturating_add(time) } else { Duration::ZERO };
        let earned = match (bytes, self.rule.rate_min) {
            (0, _) => Duration::ZERO,
            (_, 0) => self.rule.silence_max.saturating_add(time),
            (bytes, rate) => Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate),
        };
        // Spent only after it is earned: who looks late must still find that it was not enough.
        self.credit = self.credit.saturating_add(earned).saturating_sub(time).min(self.rule.silence_max);
    }

    /// Whether the other side is slower than is borne.
    pub fn slow(&self) -> Option<Slow> {
        match self.credit {
            Duration::ZERO if self.silent >= self.rule.silence_max => Some(Slow::Silent),
            Duration::ZERO => Some(Slow::BelowRate),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: PaceRule =
        PaceRule { rate_min: 240, grace: Duration::from_secs(5), silence_max: Duration::from_secs(30) };

    /// Sends `bytes` every `every` for `last`; says what was wrong, and when.
    fn run(rule: PaceRule, bytes: u64, every: Duration, last: Duration) -> Option<(Slow, Duration)> {
        let (mut pace, mut now) = (Pace::new(rule), Duration::ZERO);
        while now < last {
            let step = every.min(pace.patience());
            now += step;
            pace.waited(step, if step == every { bytes } else { 0 });
            if let Some(slow) = pace.slow() {
                return Some((slow, now));
            }
        }
        None
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_rate_is_borne_and_less_is_not() {
        let every = Duration::from_secs(1);
        assert_eq!(run(RULE, 240, every, HOUR), None);
        assert_eq!(
            run(RULE, 2400, 10 * every, HOUR).map(|(slow, _)| slow),
            Some(Slow::BelowRate),
            "the grace is shorter"
        );
        let (slow, at) = run(RULE, 120, every, HOUR).unwrap();
        assert_eq!((slow, at.as_millis()), (Slow::BelowRate, 9_500), "half the rate spends half a second each second");
        assert_eq!(run(RULE, 1, every, HOUR).map(|(_, at)| at.as_secs()), Some(5));
    }

    #[test]
    fn silence_after_a_good_beginning_is_borne_as_long_as_silence_is() {
        let mut pace = Pace::new(RULE);
        pace.waited(Duration::from_millis(1), 1 << 30);
        assert_eq!(pace.patience(), RULE.silence_max);
        pace.waited(RULE.silence_max, 0);
        assert_eq!(pace.slow(), Some(Slow::Silent));
    }

    #[test]
    fn without_a_rate_only_silence_counts() {
        let rule = PaceRule::silence(Duration::from_secs(30));
        assert_eq!(run(rule, 1, Duration::from_secs(29), HOUR), None);
        assert_eq!(run(rule, 1, Duration::from_secs(31), HOUR), Some((Slow::Silent, Duration::from_secs(30))));
    }

    #[test]
    fn a_late_look_finds_the_same() {
        let mut pace = Pace::new(RULE);
        pace.waited(Duration::from_secs(60), 240 * 54);
        assert_eq!(pace.slow(), Some(Slow::BelowRate));
        let mut pace = Pace::new(RULE);
        pace.waited(Duration::from_secs(60), 240 * 56);
        assert_eq!((pace.slow(), pace.patience()), (None, Duration::from_secs(1)));
    }

    proptest! {
        /// Whoever keeps the rate from one step to the next is never cut off, whatever came before.
        #[test]
        fn nobody_at_the_rate_is_cut(
            steps in prop::collection::vec((1u64..5_000, 0u64..2_000), 1..200),
            rate_min in 0u64..1_000,
        ) {
            let mut pace = Pace::new(PaceRule { rate_min, ..RULE });
            for (millis, more) in steps {
                let step = Duration::from_millis(millis);
                prop_assert!(step < pace.patience() || millis == 5_000);
                pace.waited(step, (millis * rate_min).div_ceil(1_000) + more.max(1));
                prop_assert_eq!(pace.slow(), None);
                prop_assert!(pace.patience() <= RULE.silence_max);
            }
        }

        /// Whoever falls to half the rate is cut off within twice the silence that is borne, however good the beginning was.
        #[test]
        fn nobody_slow_is_borne_for_long(first: u32, rate_min in 2u64..1_000_000, every_ms in 1u64..60_000) {
            let mut pace = Pace::new(PaceRule { rate_min, ..RULE });
            pace.waited(Duration::ZERO, u64::from(first));
            let (every, mut time) = (Duration::from_millis(every_ms), Duration::ZERO);
            while pace.slow().is_none() {
                let step = every.min(pace.patience());
                time += step;
                pace.waited(step, if step == every { rate_min * every_ms / 2_000 } else { 0 });
                prop_assert!(time <= 2 * RULE.silence_max + 2 * every, "still borne after {time:?}");
            }
        }

        #[test]
        fn no_number_panics(rate_min: u64, millis in 0u64..u64::MAX / 2, bytes: u64) {
            let rule = PaceRule { rate_min, grace: Duration::MAX, silence_max: Duration::MAX };
            let mut pace = Pace::new(rule);
            pace.waited(Duration::from_millis(millis), bytes);
            pace.waited(Duration::MAX, bytes);
            let _ = (pace.slow(), pace.patience());
        }
    }
}
