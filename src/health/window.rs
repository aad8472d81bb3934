//! What was counted over the last so many seconds: a ring of ten slots, of which the oldest is forgotten as time goes on.
//! The sum covers between nine tenths and all of the window.

use crate::base::Instant;
use crate::upstream::OutcomeCounts;
use std::time::Duration;

const SLOTS: usize = 10;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Window {
    slots: [OutcomeCounts; SLOTS],
    sum: OutcomeCounts,
    /// How long a slot is, and the number of the newest since the beginning of time.
    slot: (u64, u64),
}

impl Window {
    /// Goes on to `now`, and adds what was counted since the last call. Another `length` forgets what was there.
    pub fn add(&mut self, now: Instant, length: Duration, counted: OutcomeCounts) {
        let slot_len = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(SLOTS as u64) / SLOTS as u64;
        let newest = now.0 / slot_len;
        if self.slot.0 != slot_len || newest.saturating_sub(self.slot.1) >= SLOTS as u64 {
            *self = Window { slot: (slot_len, newest), ..Window::default() };
        }
        while self.slot.1 < newest {
            self.slot.1 += 1;
            let oldest = &mut self.slots[(self.slot.1 % SLOTS as u64) as usize];
            self.sum = self.sum.since(std::mem::take(oldest));
        }
        let slot = &mut self.slots[(self.slot.1 % SLOTS as u64) as usize];
        *slot = slot.plus(counted);
        self.sum = self.sum.plus(counted);
    }

    /// Everything in the window.
    pub fn sum(&self) -> OutcomeCounts {
        self.sum
    }

    /// Forgets what was counted: it was before something that changed all.
    pub fn clear(&mut self) {
        *self = Window { slot: self.slot, ..Window::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attempts(count: u64) -> OutcomeCounts {
        OutcomeCounts { attempts: count, ..OutcomeCounts::default() }
    }

    proptest! {
        /// What is younger than nine tenths of the window is in the sum, what is older than the window is not.
        #[test]
        fn the_sum_is_that_of_the_window(steps in prop::collection::vec((0u64..3_000, 0u64..5), 1..100)) {
            let length = Duration::from_secs(5);
            let mut window = Window::default();
            let mut counted: Vec<(u64, u64)> = Vec::new();
            let mut now = 1_000_000;
            for (gap, count) in steps {
                now += gap;
                window.add(Instant(now * 1_000_000), length, attempts(count));
                counted.push((now, count));
                let within = |age: u64| -> u64 {
                    counted.iter().filter(|(at, _)| now - at < age).map(|(_, count)| count).sum()
                };
                let sum = window.sum().attempts;
                prop_assert!((within(4_500)..=within(5_001)).contains(&sum), "{sum}");
            }
        }
    }

    #[test]
    fn another_length_begins_anew() {
        let mut window = Window::default();
        window.add(Instant(1), Duration::from_secs(10), attempts(3));
        window.add(Instant(2), Duration::from_secs(20), attempts(4));
        assert_eq!(window.sum().attempts, 4);
        window.clear();
        assert_eq!(window.sum().attempts, 0);
        window.add(Instant(3), Duration::ZERO, attempts(5));
        assert_eq!(window.sum().attempts, 5);
    }
}
