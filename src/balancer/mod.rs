//! Endpoints + load + key + random number → endpoint. Pure; one algorithm a file.

use crate::upstream::Endpoint;

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    LeastRequest,
    Random,
}

/// One worker's view of one upstream: what its algorithm keeps between picks.
#[derive(Debug)]
pub struct Picker {
    at: usize,
}

impl Picker {
    /// `random` decides where the algorithm starts, so that workers and snapshots do not all begin with one endpoint.
    pub fn new(_balance: Balance, _endpoints: &[Endpoint], random: u64) -> Picker {
        Picker { at: random as usize }
    }

    /// The index of the endpoint to use; one in `tried` only when all are. `None` only where there are no endpoints.
    pub fn pick(&mut self, endpoints: &[Endpoint], tried: &[u32], _random: u64) -> Option<usize> {
        let n = endpoints.len();
        (0..n)
            .map(|_| {
                self.at = self.at.wrapping_add(1);
                self.at % n
            })
            .find(|at| !tried.contains(&(*at as u32)))
            .or((n > 0).then_some(0))
    }
}
