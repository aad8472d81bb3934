//! A latency histogram of fixed memory: one thread records, any thread reads.

use crate::base::Counter;

/// Buckets: log-linear over microseconds.
pub const BUCKETS: usize = 128;

/// Counts of durations in microseconds.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum_micros: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: std::time::Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.add(micros);
        let bucket = 64 - micros.leading_zeros() as usize;
        self.buckets[bucket.min(BUCKETS - 1)].inc();
    }
}
