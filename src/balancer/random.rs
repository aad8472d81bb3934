//! Random: each pick is independent, in proportion to weight.
//!
//! The idea: no state, so nothing to agree on between workers or snapshots. O(1) a pick. The bound: with n endpoints and as
//! many requests at once, the busiest one has about ln n / ln ln n of them (Raab and Steger 1998), where the better of two
//! has ln ln n. Not for few slow requests: use `least_request`. Not where an even spread of few requests matters: use
//! `round_robin`.

use super::weighted::Weighted;

#[derive(Debug)]
pub(super) struct Random(Weighted);

impl Random {
    pub fn new(weights: impl Iterator<Item = u32>) -> Random {
        Random(Weighted::new(weights))
    }

    pub fn pick(&mut self, tried: &[u32], random: u64) -> Option<usize> {
        self.0.draw_except(tried, random)
    }
}
