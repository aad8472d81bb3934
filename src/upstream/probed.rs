//! What the probes of an endpoint say: one byte, which the prober writes and the admin listener reads.

use std::sync::atomic::{AtomicU8, Ordering};

/// What probes say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProbedState {
    /// It is not probed.
    Unprobed = 0,
    /// Its first answer is awaited, and it counts as down.
    Waiting = 1,
    Up = 2,
    Down = 3,
}

impl ProbedState {
    const ALL: [ProbedState; 4] = [ProbedState::Unprobed, ProbedState::Waiting, ProbedState::Up, ProbedState::Down];
}

/// The state that everybody sees. It belongs to the endpoint's identity, so a swap changes nothing about it.
#[derive(Debug, Default)]
pub struct Probed(AtomicU8);

impl Probed {
    pub fn load(&self) -> ProbedState {
        let byte = self.0.load(Ordering::Acquire);
        ProbedState::ALL.into_iter().find(|state| *state as u8 == byte).unwrap_or(ProbedState::Unprobed)
    }

    /// The prober alone calls this, and whoever compiles a snapshot before the prober knows of the endpoint.
    pub fn store(&self, state: ProbedState) {
        self.0.store(state as u8, Ordering::Release);
    }
}
