//! What state an endpoint is in and how much of its weight counts: one word, which control writes and workers read.

use std::sync::atomic::{AtomicU64, Ordering};

/// The share of an endpoint that takes all that its weight says.
pub const WHOLE_SHARE: u16 = 1000;

/// Whether requests are sent to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndpointState {
    /// It takes requests.
    #[default]
    Serving = 0,
    /// It was taken out because it did worse than the others; it comes back by itself.
    Ejected = 1,
    /// Somebody takes it out of service: nothing new is sent to it, what is under way ends.
    Draining = 2,
    /// Its probes fail, or have not been answered yet; or an operator disabled it, and then its weight is 0 too, so that it
    /// is not tried even where nothing else is left.
    Down = 3,
}

impl EndpointState {
    pub const ALL: [EndpointState; 4] =
        [EndpointState::Serving, EndpointState::Ejected, EndpointState::Draining, EndpointState::Down];

    /// As metrics, the log and the admin listener say it.
    pub const fn name(self) -> &'static str {
        match self {
            EndpointState::Serving => "serving",
            EndpointState::Ejected => "ejected",
            EndpointState::Draining => "draining",
            EndpointState::Down => "down",
        }
    }
}

/// How an endpoint stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: EndpointState,
    /// Thousandths of its weight that count while it serves: less than [`WHOLE_SHARE`] while it warms up or is on probation.
    pub share: u16,
    /// An operator's weight in place of the configured one.
    pub weight: Option<u16>,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing { state: EndpointState::Serving, share: WHOLE_SHARE, weight: None }
    }
}

/// The standing that everybody sees. It belongs to the endpoint's identity, so a swap changes nothing about it.
#[derive(Debug)]
pub struct Condition(AtomicU64);

impl Default for Condition {
    fn default() -> Condition {
        Condition(AtomicU64::new(packed(Standing::default())))
    }
}

impl Condition {
    pub fn load(&self) -> Standing {
        let word = self.0.load(Ordering::Relaxed);
        let state = EndpointState::ALL.into_iter().find(|state| *state as u8 == word as u8);
        let weight = (word >> 32) as u32;
        Standing {
            state: state.unwrap_or_default(),
            share: (word >> 8) as u16,
            weight: (weight & HAS_WEIGHT != 0).then_some(weight as u16),
        }
    }

    /// Control alone calls this.
    pub fn store(&self, standing: Standing) {
        self.0.store(packed(standing), Ordering::Relaxed);
    }
}

/// Tells a weight of 0 from none.
const HAS_WEIGHT: u32 = 1 << 16;

fn packed(standing: Standing) -> u64 {
    let weight = standing.weight.map_or(0, |weight| HAS_WEIGHT | u32::from(weight));
    u64::from(standing.state as u8) | u64::from(standing.share) << 8 | u64::from(weight) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let condition = Condition::default();
        assert_eq!(condition.load(), Standing::default());
        for state in EndpointState::ALL {
            for share in [0, 1, 500, WHOLE_SHARE, u16::MAX] {
                for weight in [None, Some(0), Some(1), Some(u16::MAX)] {
                    let standing = Standing { state, share, weight };
                    condition.store(standing);
                    assert_eq!(condition.load(), standing);
                }
            }
        }
    }
}
