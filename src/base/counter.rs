//! Numbers that one thread writes and any thread reads, and their division into one shard a worker.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A count that only goes up. One thread writes it; any thread may read it.
///
/// Adding is a plain load and store, with no locked instruction: two writers would lose counts.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
    pub fn inc(&self) {
        self.add(1);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that goes up and down. One thread writes it; any thread may read it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, by: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
    pub fn inc(&self) {
        self.add(1);
    }
    pub fn dec(&self) {
        self.add(-1);
    }
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One `T` for each worker, on cache lines of its own. Worker `n` writes shard `n` alone; readers sum all of them.
#[derive(Debug)]
pub struct Sharded<T>(Box<[CachePadded<T>]>);

impl<T: Default> Sharded<T> {
    /// `shards` is the number of workers, at least 1.
    pub fn new(shards: usize) -> Sharded<T> {
        Sharded((0..shards.max(1)).map(|_| CachePadded::new(T::default())).collect())
    }
}

impl<T> Sharded<T> {
    /// The shard of one worker. An index past the end means the first shard, so that no index can panic.
    pub fn shard(&self, worker: usize) -> &T {
        self.0.get(worker).unwrap_or(&self.0[0])
    }
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &**shard)
    }
    /// The sum over all workers of one number of the shard.
    pub fn sum(&self, number: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(number).sum()
    }
}
