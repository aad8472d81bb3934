//! One modelled endpoint: so many places at which a request is worked on, a queue before them, and a time that each takes.
//! A request that nobody waits for any more is worked on all the same, as most servers do: overload feeds on that.

use super::chance::Chance;
use super::scenario::{Endpoints, Fault};
use crate::base::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How long it takes to hear that a connection is refused, or that a queue is full.
pub const REFUSAL: Duration = Duration::from_micros(300);

/// What becomes of a request at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered {
        at: Instant,
    },
    /// 500.
    Failed {
        at: Instant,
    },
    /// 503, from a full queue.
    Full {
        at: Instant,
    },
    Refused {
        at: Instant,
    },
    /// Never answered.
    Hung,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Server {
    pub zone: u32,
    skew: f64,
    /// When each place is free; a place that was never used is not here.
    busy: BinaryHeap<Reverse<Instant>>,
    /// When each request that is here leaves, so that those that wait can be counted.
    present: BinaryHeap<Reverse<Instant>>,
    /// Indexes of the faults that it has now.
    pub faults: Vec<usize>,
}

impl Server {
    pub fn new(index: u32, all: &Endpoints) -> Server {
        Server {
            zone: index % all.zones,
            skew: all.skew.get(index as usize).copied().unwrap_or(1.0),
            busy: BinaryHeap::new(),
            present: BinaryHeap::new(),
            faults: Vec::new(),
        }
    }

    /// Whether something befalls it now that hurts requests.
    pub fn is_hurt(&self, faults: &[Fault]) -> bool {
        self.faults.iter().filter_map(|at| faults.get(*at)).any(Fault::hurts)
    }

    /// Takes a request at `now`.
    pub fn take(&mut self, now: Instant, all: &Endpoints, faults: &[Fault], chance: &mut Chance) -> Fate {
        let own = || self.faults.iter().filter_map(|at| faults.get(*at));
        if own().any(|fault| fault.refuses) {
            return Fate::Refused { at: now + REFUSAL };
        }
        if own().any(|fault| fault.hangs) {
            return Fate::Hung;
        }
        let slow: f64 = own().filter_map(|fault| fault.slow).product();
        let failing = own().find(|fault| fault.fails.is_some_and(|part| chance.part() < part));
        if let Some(after) = failing.and_then(|fault| fault.fails_after) {
            return Fate::Failed { at: now + after };
        }
        let failed = failing.is_some();
        while self.present.peek().is_some_and(|Reverse(leaves)| *leaves <= now) {
            self.present.pop();
        }
        if self.present.len() >= (all.concurrency + all.queue) as usize {
            return Fate::Full { at: now + REFUSAL };
        }
        let begins = match self.busy.len() < all.concurrency as usize {
            true => now,
            false => self.busy.pop().map_or(now, |Reverse(free)| free.max(now)),
        };
        let at = begins + chance.latency(all).mul_f64(slow * self.skew);
        self.busy.push(Reverse(at));
        self.present.push(Reverse(at));
        if failed { Fate::Failed { at } } else { Fate::Answered { at } }
    }

    /// Whether a probe passes, and how long it takes; `None`: it does not come back.
    pub fn probe(&self, all: &Endpoints, faults: &[Fault], chance: &mut Chance) -> Option<(bool, Duration)> {
        let own = || self.faults.iter().filter_map(|at| faults.get(*at));
        if own().any(|fault| fault.hangs) {
            return None;
        }
        if own().any(|fault| fault.refuses) {
            return Some((false, REFUSAL));
        }
        let slow: f64 = own().filter_map(|fault| fault.slow).product();
        let fails = own().filter_map(|fault| fault.probes_fail).any(|part| chance.part() < part);
        Some((!fails, chance.latency(all).mul_f64(slow * self.skew)))
    }
}
