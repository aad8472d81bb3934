//! How quickly an endpoint answers: an average that forgets, in one word that all workers add to.
//!
//! An answer counts by its age: after `decay` without another, an average counts half (1 / (1 + age / decay), which needs no
//! exponential function and differs little from one while answers come often). An answer that another worker's
//! overtakes is left out, so that nobody waits: under load this is a sample of all answers, and which of them is left
//! out has nothing to do with how long it took.

use crate::base::Instant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time in the upper half of the word counts in 2¹⁸ nanoseconds, 0.26 ms: it comes round again after 13 days.
const TICK_BITS: u32 = 18;

/// How an answer is weighed against the average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// By its age alone.
    Mean,
    /// One that is slower than the average is believed at once.
    Peak,
}

/// See the module. 0: there was no answer yet.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// Adds an answer that took `latency`.
    pub fn observe(&self, latency: Duration, now: Instant, decay: Duration, weighing: Weighing) {
        let before = self.0.load(Ordering::Relaxed);
        let sample = latency.as_secs_f32() * 1e6;
        let after = match value(before) {
            None => sample,
            Some(average) => {
                let kept = kept(before, now, decay);
                match weighing {
                    Weighing::Peak if sample >= average * kept => sample,
                    _ => {
                        // Many answers within one tick count as one of a tick's age.
                        let kept = kept.min(kept_after(1, decay));
                        average * kept + sample * (1.0 - kept)
                    }
                }
            }
        };
        let _ = self.0.compare_exchange(before, word(after, now), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The average in microseconds, and less the longer nothing has been heard, so that an endpoint that was slow is tried
    /// again; `None` before the first answer.
    #[inline]
    pub fn get(&self, now: Instant, decay: Duration) -> Option<f32> {
        let word = self.0.load(Ordering::Relaxed);
        value(word).map(|average| average * kept(word, now, decay))
    }
}

fn tick(now: Instant) -> u32 {
    (now.0 >> TICK_BITS) as u32
}

fn word(average: f32, now: Instant) -> u64 {
    // Never 0, which is no answer.
    u64::from(average.max(f32::MIN_POSITIVE).to_bits()) | u64::from(tick(now)) << 32
}

fn value(word: u64) -> Option<f32> {
    (word != 0).then(|| f32::from_bits(word as u32))
}

/// The part of an average that counts still.
#[inline]
fn kept(word: u64, now: Instant, decay: Duration) -> f32 {
    kept_after(tick(now).wrapping_sub((word >> 32) as u32), decay)
}

#[inline]
fn kept_after(ticks: u32, decay: Duration) -> f32 {
    // A worker's clock may be read a moment before another's.
    let age = if ticks > u32::MAX / 2 { 0.0 } else { ticks as f32 * ((1u64 << TICK_BITS) as f32 * 1e-9) };
    let decay = decay.as_secs_f32();
    decay / (decay + age).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.get(at(0), DECAY), None);
        latency.observe(ms(1), at(1000), DECAY, Weighing::Peak);
        latency.observe(ms(100), at(1010), DECAY, Weighing::Peak);
        assert!((latency.get(at(1010), DECAY).unwrap() - 100_000.0).abs() < 100.0);
        for answer in 0..1000 {
            latency.observe(ms(1), at(1010 + answer * 10), DECAY, Weighing::Peak);
        }
        let later = latency.get(at(11_000), DECAY).unwrap();
        assert!((30_000.0..60_000.0).contains(&later), "{later}");
        assert!(latency.get(at(21_000), DECAY).unwrap() < later * 0.6, "silence forgets too");
    }

    #[test]
    fn a_mean_follows_both_ways_alike() {
        let latency = Latency::default();
        for answer in 0..100_000 {
            let sample = if answer % 2 == 0 { 1 } else { 3 };
            latency.observe(ms(sample), at(answer), DECAY, Weighing::Mean);
        }
        let mean = latency.get(at(100_000), DECAY).unwrap();
        assert!((mean - 2000.0).abs() < 50.0, "{mean}");
    }

    proptest! {
        #[test]
        fn it_stays_within_what_was_seen(
            samples in prop::collection::vec((0u64..100_000, 0u64..1_000_000), 1..50), peak: bool, decay in 1u64..60_000,
        ) {
            let latency = Latency::default();
            let weighing = if peak { Weighing::Peak } else { Weighing::Mean };
            let most = samples.iter().map(|(sample, _)| *sample).max().unwrap() as f32 * 1000.0;
            for (sample, now) in samples {
                latency.observe(ms(sample), at(now), ms(decay), weighing);
                let average = latency.get(at(now), ms(decay)).unwrap();
                prop_assert!((0.0..=most * 1.001 + 1.0).contains(&average), "{} {}", average, most);
            }
        }
    }
}
