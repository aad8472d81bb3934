//! Endpoints + load + random number → endpoint. Pure: no clock, and randomness comes in as a number. One algorithm a file.
//!
//! `connection` keeps one [`Picker`] for each worker and upstream of a snapshot, and asks it once per attempt.

mod least_request;
mod random;
mod round_robin;
mod weighted;

#[cfg(test)]
mod tests;

use crate::upstream::Endpoint;
use least_request::LeastRequest;
use random::Random;
use round_robin::RoundRobin;

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, each in proportion to its weight.
    RoundRobin,
    /// The less loaded of two that chance proposes.
    LeastRequest,
    /// By chance, in proportion to weight.
    Random,
}

/// What one worker keeps of one upstream between picks.
#[derive(Debug)]
pub struct Picker(Algorithm);

#[derive(Debug)]
enum Algorithm {
    RoundRobin(RoundRobin),
    LeastRequest(LeastRequest),
    Random(Random),
}

impl Picker {
    /// `random` decides where round robin starts, so that workers and snapshots do not all begin with the same endpoint.
    pub fn new(balance: Balance, endpoints: &[Endpoint], random: u64) -> Picker {
        let weights = || endpoints.iter().map(|endpoint| endpoint.weight);
        Picker(match balance {
            Balance::RoundRobin => Algorithm::RoundRobin(RoundRobin::new(weights(), random)),
            Balance::LeastRequest => Algorithm::LeastRequest(LeastRequest::new(weights())),
            Balance::Random => Algorithm::Random(Random::new(weights())),
        })
    }

    /// The index of the endpoint for the next attempt. `tried` are the indexes that this request has been sent to already;
    /// none of them is picked. `endpoints` are those that the picker was made for. `random` is a fresh number.
    ///
    /// `None` where there is no endpoint or all were tried.
    #[inline]
    pub fn pick(&mut self, endpoints: &[Endpoint], tried: &[u32], random: u64) -> Option<usize> {
        let picked = match &mut self.0 {
            Algorithm::RoundRobin(algorithm) => algorithm.pick(tried),
            Algorithm::LeastRequest(algorithm) => algorithm.pick(endpoints, tried, random),
            Algorithm::Random(algorithm) => algorithm.pick(tried, random),
        };
        // Endpoints of another snapshot would be the caller's mistake; it costs an attempt and no panic.
        picked.filter(|index| *index < endpoints.len())
    }
}

/// Turns one random number into another, equally good (the output function of SplitMix64, Steele et al. 2014).
fn mix(random: u64) -> u64 {
    let mut bits = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number below `bound` from the upper half of `random`, without division (Lemire 2019). Off by at most bound / 2³².
fn below(random: u64, bound: u32) -> u32 {
    (((random >> 32) * u64::from(bound)) >> 32) as u32
}

fn is_tried(tried: &[u32], index: usize) -> bool {
    tried.iter().any(|tried| *tried as usize == index)
}
