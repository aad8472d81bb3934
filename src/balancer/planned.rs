//! The plan in force of one upstream, between control, which makes it, and workers, which read it.

use super::{Plan, Policy};
use crate::upstream::Endpoint;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// See the module.
#[derive(Debug)]
pub struct Planned {
    plan: ArcSwap<Plan>,
    /// The one before, so that it is seldom a worker that frees it.
    retired: ArcSwapOption<Plan>,
    epoch: AtomicU64,
}

impl Planned {
    /// Makes the first plan.
    pub fn new(policy: Arc<Policy>, endpoints: &[Endpoint]) -> Planned {
        let plan = Plan::new(policy, endpoints);
        let epoch = AtomicU64::new(plan.epoch);
        Planned { plan: ArcSwap::from_pointee(plan), retired: ArcSwapOption::empty(), epoch }
    }

    /// The epoch in force, by one relaxed load. Where it differs from that of the plan at hand, take the new one.
    #[inline]
    pub fn is_current(&self, plan: &Plan) -> bool {
        self.epoch.load(Ordering::Relaxed) == plan.epoch
    }

    /// The plan in force. Never blocks.
    pub fn load(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Puts a plan in force by the conditions of this moment; false if it would be the same. For control: it takes time
    /// in proportion to the endpoints. Two that call it at once leave the plan of the later conditions.
    pub fn replan(&self, endpoints: &[Endpoint]) -> bool {
        // Whoever changed a condition before a snapshot was published, or finds that snapshot afterwards, is seen.
        fence(Ordering::SeqCst);
        let mut present = self.plan.load();
        loop {
            let Some(next) = present.next(endpoints) else { return false };
            let epoch = next.epoch;
            let found = self.plan.compare_and_swap(&*present, Arc::new(next));
            if Arc::ptr_eq(&found, &present) {
                self.epoch.fetch_max(epoch, Ordering::Release);
                self.retired.store(Some(Arc::clone(&found)));
                return true;
            }
            present = found;
        }
    }
}
