//! A latency histogram of fixed memory: one thread records, any thread reads.
//!
//! Log-linear over microseconds, as HdrHistogram is: every power of two is cut into four equal buckets, so
//! the relative error is bounded over the whole range. It is not HdrHistogram because there is one for each route and
//! upstream of each worker, and those must be small and written without a lock.

use crate::base::Counter;
use std::time::Duration;

/// Buckets in each power of two. The value that stands for a bucket is at most 1/9 (11.1 %) away from any value in it.
const SUBDIVISIONS: usize = 1 << SUBDIVISION_BITS;
const SUBDIVISION_BITS: usize = 2;

/// Buckets of a histogram: up to 2³³ microseconds (2 h 23 min). Longer durations count in the last.
pub const BUCKETS: usize = 128;

/// The `le` bounds that metrics show, in microseconds, each with its text in seconds.
///
/// A bound falls inside a bucket; the bucket counts as below it if the value that stands for the bucket is below it.
pub const BOUNDS: [(u64, &str); 20] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
    (30_000_000, "30"),
    (60_000_000, "60"),
    (300_000_000, "300"),
    (3_600_000_000, "3600"),
];

/// Counts of durations, written by one thread.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

// One for each route and upstream of each worker: 1,000 routes on 16 workers are 17 MiB.
const _: () = assert!(size_of::<Histogram>() <= 1_200);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: std::array::from_fn(|_| Counter::default()), sum_micros: Counter::default() }
    }
}

impl Histogram {
    /// Counts one duration, cut to whole microseconds.
    pub fn record(&self, duration: Duration) {
        let micros = duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()));
        self.record_micros(micros);
    }

    /// Counts one duration in microseconds.
    pub fn record_micros(&self, micros: u64) {
        self.sum_micros.add(micros);
        self.buckets[bucket_of(micros)].inc();
    }
}

/// What a reader holds: the sum of the histograms of all workers at about one moment.
#[derive(Clone, Debug)]
pub struct HistogramReading {
    buckets: [u64; BUCKETS],
    sum_micros: u64,
}

impl Default for HistogramReading {
    fn default() -> HistogramReading {
        HistogramReading { buckets: [0; BUCKETS], sum_micros: 0 }
    }
}

impl HistogramReading {
    /// Adds what one worker has counted.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.get());
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all durations in microseconds.
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros
    }

    /// For each of [`BOUNDS`]: how many durations are at most that long, up to the error of a bucket.
    pub fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut counts = [0; BOUNDS.len()];
        let mut below = 0;
        let mut bucket = 0;
        for (count, (bound, _)) in counts.iter_mut().zip(BOUNDS) {
            while bucket < BUCKETS && value_of(bucket) <= bound {
                below += self.buckets[bucket];
                bucket += 1;
            }
            *count = below;
        }
        counts
    }

    /// The duration in microseconds that a share of all durations does not exceed, off by at most 11.2 %; 0 if nothing
    /// was counted. `quantile` is from 0 to 1: 0.5 is the median.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = (self.count() as f64 * quantile.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return value_of(bucket);
            }
        }
        0
    }
}

/// The bucket of a duration. The first four hold one value each; above, the exponent and the two bits below the leading
/// one are the number of the bucket.
fn bucket_of(micros: u64) -> usize {
    if micros < SUBDIVISIONS as u64 {
        return micros as usize;
    }
    let exponent = 63 - micros.leading_zeros() as usize;
    let within = (micros >> (exponent - SUBDIVISION_BITS)) as usize & (SUBDIVISIONS - 1);
    let bucket = (exponent - SUBDIVISION_BITS + 1) * SUBDIVISIONS + within;
    bucket.min(BUCKETS - 1)
}

/// The smallest duration of a bucket.
fn start_of(bucket: usize) -> u64 {
    if bucket < SUBDIVISIONS {
        return bucket as u64;
    }
    let shift = bucket / SUBDIVISIONS - 1;
    ((SUBDIVISIONS + bucket % SUBDIVISIONS) as u64) << shift
}

/// The duration that stands for a bucket: the harmonic mean of its ends, from which both ends are equally far in
/// relative terms.
fn value_of(bucket: usize) -> u64 {
    let (first, last) = (u128::from(start_of(bucket)), u128::from(start_of(bucket + 1) - 1));
    match first + last {
        0 => 0,
        sum => ((2 * first * last + sum / 2) / sum) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(durations: &[u64]) -> HistogramReading {
        let histogram = Histogram::default();
        durations.iter().for_each(|&micros| histogram.record_micros(micros));
        let mut reading = HistogramReading::default();
        reading.add(&histogram);
        reading
    }

    #[test]
    fn buckets_meet_without_gap_or_overlap() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(start_of(bucket)), bucket);
            if bucket > 0 {
                assert_eq!(bucket_of(start_of(bucket) - 1), bucket - 1);
            }
        }
        assert!(start_of(BUCKETS) > 2 * 3_600_000_000);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_bound_that_was_met_counts_below_the_next() {
        let counts = reading(&[80, 400, 2_000, 90_000, 90_000, 10_000_000_000]).cumulative();
        assert_eq!(counts, [1, 1, 2, 2, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]);
    }

    #[test]
    fn extremes() {
        assert_eq!(reading(&[]).quantile(0.5), 0);
        assert_eq!(reading(&[0]).quantile(1.0), 0);
        assert_eq!(reading(&[3]).quantile(0.0), 3);
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        histogram.record(Duration::from_nanos(1_999));
        let mut reading = HistogramReading::default();
        reading.add(&histogram);
        assert_eq!((reading.count(), reading.quantile(0.5)), (2, 1));
    }

    #[test]
    fn bounds_read_as_seconds() {
        for (micros, text) in BOUNDS {
            assert!((text.parse::<f64>().unwrap() * 1e6 - micros as f64).abs() < 1e-6, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_error_of_a_bucket_is_bounded(micros in 1u64..8_000_000_000) {
            let shown = value_of(bucket_of(micros)) as f64;
            let error = (shown - micros as f64).abs() / micros as f64;
            prop_assert!(error <= 0.112, "{micros} is shown as {shown}");
        }

        #[test]
        fn a_quantile_is_near_the_true_one(mut durations in prop::collection::vec(1u64..10_000_000, 1..200), quantile in 0.0f64..=1.0) {
            let shown = reading(&durations).quantile(quantile) as f64;
            durations.sort_unstable();
            let rank = (durations.len() as f64 * quantile).ceil().max(1.0) as usize;
            let exact = durations[rank - 1] as f64;
            prop_assert!((shown - exact).abs() / exact <= 0.112);
        }

        #[test]
        fn counts_rise_with_the_bound_and_end_at_the_total(durations in prop::collection::vec(0u64..3_000_000_000, 0..100)) {
            let reading = reading(&durations);
            let counts = reading.cumulative();
            prop_assert!(counts.is_sorted());
            prop_assert_eq!(counts[BOUNDS.len() - 1], reading.count());
            prop_assert_eq!(reading.sum_micros(), durations.iter().sum::<u64>());
        }
    }
}
