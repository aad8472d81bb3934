//! Least request: chance proposes two endpoints in proportion to weight, the one with fewer requests in flight for its
//! weight is taken.
//!
//! The idea: the power of two choices (Azar et al. 1994; Mitzenmacher 2001). O(1) a pick. The bound: the busiest of n
//! endpoints has ln ln n / ln 2 + O(1) requests, exponentially better than one choice, and, unlike picking the least loaded
//! of all, workers that see the same counts do not all run to the same endpoint. With no load it follows the weights
//! exactly. Not where a new endpoint needs to warm up slowly, or where requests in flight say nothing about load (a few
//! long-lived streams): use `round_robin`.

use super::weighted::Weighted;
use super::{below, is_tried, mix};
use crate::upstream::Endpoint;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub(super) struct LeastRequest(Weighted);

impl LeastRequest {
    pub fn new(weights: impl Iterator<Item = u32>) -> LeastRequest {
        LeastRequest(Weighted::new(weights))
    }

    pub fn pick(&mut self, endpoints: &[Endpoint], tried: &[u32], random: u64) -> Option<usize> {
        let first = self.0.draw_except(tried, random)?;
        let Some(second) = self.second(first, tried, mix(random)) else {
            return Some(first);
        };
        let in_flight = |index: usize| {
            endpoints
                .get(index)
                .map_or(u128::MAX, |endpoint| u128::from(endpoint.identity.in_flight.load(Ordering::Relaxed)))
        };
        let weight = |index| u128::from(self.0.weight(index));
        // (in_flight₂ + ½) / weight₂ < in_flight₁ / weight₁. The half lets the first stand on equal load, so that weights
        // decide while little is in flight; among equal weights it changes nothing.
        let second_is_freer = in_flight(second).saturating_mul(2).saturating_add(1).saturating_mul(weight(first))
            < in_flight(first).saturating_mul(2).saturating_mul(weight(second));
        Some(if second_is_freer { second } else { first })
    }

    /// Another endpoint than `first`: drawn by weight, or the next one at hand where the draw falls on `first` again.
    fn second(&self, first: usize, tried: &[u32], random: u64) -> Option<usize> {
        let count = self.0.len();
        let drawn = self.0.draw(random).filter(|index| *index != first && !is_tried(tried, *index));
        drawn.or_else(|| {
            let others = u32::try_from(count).unwrap_or(u32::MAX).saturating_sub(1);
            let from = first + 1 + below(mix(random), others.max(1)) as usize;
            (from..from + tried.len() + 2)
                .map(|at| at % count)
                .find(|index| *index != first && !is_tried(tried, *index))
        })
    }
}
