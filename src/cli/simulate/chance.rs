//! Chance from one seed: the same scenario gives the same results on every machine.

use super::scenario::Endpoints;
use std::time::Duration;

/// The 99th percentile of the normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// A sequence of random numbers (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 up to 1, without 1.
    pub fn part(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The time to the next of events that come `rate` times a second by chance (exponential).
    pub fn gap(&mut self, rate: f64) -> Duration {
        let gap = -(1.0 - self.part()).ln() / rate.max(1e-9);
        Duration::from_secs_f64(gap.min(3_600.0))
    }

    /// How long a request takes.
    pub fn latency(&mut self, all: &Endpoints) -> Duration {
        if all.exponential {
            return self.gap(1.0 / all.latency.as_secs_f64());
        }
        let Some(p99) = all.latency_p99.filter(|p99| *p99 > all.latency) else { return all.latency };
        let sigma = (p99.as_secs_f64() / all.latency.as_secs_f64()).ln() / NORMAL_P99;
        all.latency.mul_f64((sigma * self.normal()).exp())
    }

    /// Normally distributed (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.part(), self.part());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
