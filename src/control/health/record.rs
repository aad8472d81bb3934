//! What control counts of verdicts, and how it says them. Plain numbers: one lock guards them with the rest.

use crate::health::governor::Hold;
use crate::health::outlier::Cause;
use crate::upstream::BreakerState;

/// What has been decided about one upstream since it became known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By [`Cause::index`].
    pub ejections: [u64; Cause::NAMES.len()],
    /// By [`Hold::index`].
    pub held: [u64; Hold::NAMES.len()],
    pub returns: u64,
    /// Into each [`BreakerState`].
    pub breaker_turns: [u64; BreakerState::ALL.len()],
}
