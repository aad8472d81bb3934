//! What has been done and what went wrong. A failure is what killed origins and reset connections explain; a fault is what
//! nothing explains.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Default)]
pub struct Tally {
    counts: RefCell<BTreeMap<&'static str, u64>>,
    failures: RefCell<BTreeMap<String, u64>>,
    faults: RefCell<Vec<String>>,
    random: Cell<u64>,
}

/// Faults that are written out.
const FAULTS_SHOWN: usize = 20;

impl Tally {
    pub fn add(&self, what: &'static str, count: u64) {
        *self.counts.borrow_mut().entry(what).or_default() += count;
    }

    pub fn failure(&self, kind: impl Into<String>) {
        *self.failures.borrow_mut().entry(kind.into()).or_default() += 1;
    }

    pub fn fault(&self, text: String) {
        eprintln!("FAULT: {text}");
        self.faults.borrow_mut().push(text);
    }

    pub fn faults(&self) -> usize {
        self.faults.borrow().len()
    }

    /// A number below `end` (SplitMix64).
    pub fn random(&self, end: u64) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    pub fn line(&self) -> String {
        let counts = self.counts.borrow();
        let of = |what| counts.get(what).copied().unwrap_or(0);
        let failures: u64 = self.failures.borrow().values().sum();
        format!("{} answers, {} streams, {failures} failures, {} faults", of("answers"), of("streams"), self.faults())
    }

    pub fn report(&self) -> String {
        let mut text = String::new();
        for (what, count) in self.counts.borrow().iter() {
            let _ = writeln!(text, "  {count:>12} {what}");
        }
        for (kind, count) in self.failures.borrow().iter() {
            let _ = writeln!(text, "  {count:>12} failed: {kind}");
        }
        for fault in self.faults.borrow().iter().take(FAULTS_SHOWN) {
            let _ = writeln!(text, "  FAULT: {fault}");
        }
        text
    }
}
