//! Whether an upstream takes requests: one word that the breaker of control writes and workers read for each request.
//!
//! ```text
//!            too many failures                after a while
//!   Admit ──────────────────────→ Reject ──────────────────→ Probe
//!     ↑                              ↑                         │
//!     │                              └──── a probe fails ──────┤
//!     └───────────────────────────────── probes succeed ───────┘
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

/// What the breaker does with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BreakerState {
    /// All go to the upstream.
    #[default]
    Admit = 0,
    /// None does.
    Reject = 1,
    /// A few do, to find out.
    Probe = 2,
}

impl BreakerState {
    pub const ALL: [BreakerState; 3] = [BreakerState::Admit, BreakerState::Reject, BreakerState::Probe];

    /// As metrics, the log and the admin listener say it.
    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Admit => "admit",
            BreakerState::Reject => "reject",
            BreakerState::Probe => "probe",
        }
    }
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Admitted as one of few; the number is to be given back with [`BreakerGate::give_back`].
    Probe(u32),
    Rejected,
}

/// The word: 8 bits of state, 16 of free probes (or seconds to wait), 32 that tell one state from the next. 0 admits, so
/// that the usual request costs a load and a comparison.
#[derive(Debug, Default)]
pub struct BreakerGate(AtomicU64);

const STATE: u64 = 0xff;
const NUMBER_AT: u32 = 16;
const EPOCH_AT: u32 = 32;

impl BreakerGate {
    pub fn state(&self) -> BreakerState {
        let word = self.0.load(Ordering::Relaxed);
        BreakerState::ALL.into_iter().find(|state| u64::from(*state as u8) == word & STATE).unwrap_or_default()
    }

    /// Control alone calls this. `number`: how many probes may be under way at a time, or how many seconds a client should
    /// wait before it tries again.
    pub fn set(&self, state: BreakerState, number: u16) {
        if state == BreakerState::Admit {
            self.0.store(0, Ordering::Relaxed);
            return;
        }
        let epoch = (self.0.load(Ordering::Relaxed) >> EPOCH_AT).wrapping_add(1).max(1) & u64::from(u32::MAX);
        let word = u64::from(state as u8) | u64::from(number) << NUMBER_AT | epoch << EPOCH_AT;
        self.0.store(word, Ordering::Relaxed);
    }

    /// Asked once for each request.
    #[inline]
    pub fn admit(&self) -> Admission {
        let word = self.0.load(Ordering::Relaxed);
        if word == 0 { Admission::Admitted } else { self.admit_few(word) }
    }

    #[cold]
    fn admit_few(&self, mut word: u64) -> Admission {
        loop {
            let number = (word >> NUMBER_AT) as u16;
            let probing = word & STATE == BreakerState::Probe as u64;
            if word == 0 {
                return Admission::Admitted;
            }
            if !probing || number == 0 {
                return Admission::Rejected;
            }
            let taken = word - (1 << NUMBER_AT);
            match self.0.compare_exchange_weak(word, taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Admission::Probe((word >> EPOCH_AT) as u32),
                Err(seen) => word = seen,
            }
        }
    }

    /// After how many seconds a client that was rejected may try again.
    pub fn retry_after(&self) -> u16 {
        let word = self.0.load(Ordering::Relaxed);
        if word & STATE == BreakerState::Reject as u64 { ((word >> NUMBER_AT) as u16).max(1) } else { 1 }
    }

    /// A probe has ended: another may begin, if it is still the time of that one.
    pub fn give_back(&self, probe: u32) {
        let more = |word: u64| {
            let same = (word >> EPOCH_AT) as u32 == probe && word & STATE == BreakerState::Probe as u64;
            same.then(|| word + (1 << NUMBER_AT))
        };
        // Nothing to give back to is no failure.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_as_many_as_allowed() {
        let gate = BreakerGate::default();
        assert_eq!((gate.state(), gate.admit()), (BreakerState::Admit, Admission::Admitted));
        gate.set(BreakerState::Reject, 5);
        assert_eq!((gate.state(), gate.admit()), (BreakerState::Reject, Admission::Rejected));
        assert_eq!(gate.retry_after(), 5);
        gate.set(BreakerState::Probe, 2);
        let [Admission::Probe(one), Admission::Probe(_)] = [gate.admit(), gate.admit()] else { panic!("{gate:?}") };
        assert_eq!(gate.admit(), Admission::Rejected);
        gate.give_back(one);
        assert!(matches!(gate.admit(), Admission::Probe(_)));
        assert_eq!(gate.admit(), Admission::Rejected);
    }

    #[test]
    fn a_probe_of_another_time_gives_nothing_back() {
        let gate = BreakerGate::default();
        gate.set(BreakerState::Probe, 1);
        let Admission::Probe(early) = gate.admit() else { panic!("{gate:?}") };
        gate.set(BreakerState::Reject, 1);
        gate.give_back(early);
        gate.set(BreakerState::Probe, 1);
        assert!(matches!(gate.admit(), Admission::Probe(_)));
        gate.give_back(early);
        assert_eq!(gate.admit(), Admission::Rejected);
        gate.set(BreakerState::Admit, 0);
        gate.give_back(early);
        assert_eq!(gate.admit(), Admission::Admitted);
    }

    #[test]
    fn workers_never_probe_more_than_allowed_together() {
        let gate = BreakerGate::default();
        gate.set(BreakerState::Probe, 3);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Admission::Probe(probe) = gate.admit() {
                            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            now.fetch_sub(1, Ordering::SeqCst);
                            gate.give_back(probe);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }
}
