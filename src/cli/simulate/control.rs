//! What control does beside the workers: asks the judge of `health` about what was counted, and puts standings in force.

use super::world::Came;
use crate::base::Instant;
use crate::health::{Event, Judge, ProbeVerdict, Sight};
use crate::snapshot::Upstream;
use crate::upstream::{BreakerState, Endpoint, OutcomeClass};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Control {
    judge: Judge,
    breaker: BreakerState,
    /// Requests that a breaker in state Probe has let through.
    let_through: u16,
}

impl Control {
    pub fn new(upstream: &Upstream) -> Control {
        let mut judge = Judge::default();
        for sight in sights(upstream) {
            judge.admit(Instant(0), &upstream.health, &sight, false);
        }
        Control { judge, breaker: BreakerState::Admit, let_through: 0 }
    }

    /// Whether a new request is let through.
    pub fn admits(&mut self, upstream: &Upstream) -> bool {
        match self.breaker {
            BreakerState::Admit => true,
            BreakerState::Reject => false,
            BreakerState::Probe => {
                self.let_through = self.let_through.saturating_add(1);
                upstream.health.breaker.as_ref().is_none_or(|breaker| self.let_through <= breaker.probes)
            }
        }
    }

    /// An attempt came out. True if control is to look at once.
    pub fn ended(&mut self, upstream: &Upstream, worker: usize, endpoint: usize, came: Came, took: Duration) -> bool {
        let (class, latency) = match came {
            Came::Answered => (OutcomeClass::Success, Some(took)),
            Came::Failed => (OutcomeClass::ServerError, Some(took)),
            Came::Full => (OutcomeClass::Unavailable, Some(took)),
            Came::Refused => (OutcomeClass::Unconnected, None),
            Came::TooLate => (OutcomeClass::Timeout, Some(took)),
        };
        let of = upstream.endpoints.get(endpoint);
        of.is_some_and(|of| of.identity.outcomes.note(worker, class, latency, &upstream.rule))
    }

    /// The probes of an endpoint have come to another verdict.
    pub fn probed(&mut self, upstream: &Upstream, endpoint: usize, up: bool) {
        let verdict = match up {
            true => ProbeVerdict::Up,
            false => ProbeVerdict::Down { reason: "its probes fail".to_owned() },
        };
        if let Some(of) = upstream.endpoints.get(endpoint) {
            self.judge.probed(of.identity.id, verdict);
        }
    }

    /// Asks the judge and does what it says; gives the endpoints that were taken out.
    pub fn look(&mut self, now: Instant, upstream: &Upstream) -> Vec<usize> {
        let mut taken_out = Vec::new();
        for event in self.judge.look(now, &upstream.health, &sights(upstream)) {
            match event {
                Event::Ejected { id, .. } | Event::Down { id, .. } => {
                    end_streaks(upstream, id);
                    taken_out.extend(place(upstream, id));
                }
                Event::Probation { id, .. } | Event::Up { id } => end_streaks(upstream, id),
                Event::Breaker { state } => (self.breaker, self.let_through) = (state, 0),
                Event::Held { .. } | Event::Returned { .. } => {}
            }
        }
        let mut changed = false;
        for of in &upstream.endpoints {
            let Some(case) = self.judge.case(of.identity.id) else { continue };
            changed |= of.identity.condition.load() != case.standing();
            of.identity.condition.store(case.standing());
        }
        if changed {
            upstream.replan();
        }
        taken_out
    }
}

fn sights(upstream: &Upstream) -> Vec<Sight> {
    let sight = |of: &Endpoint| Sight {
        id: of.identity.id,
        weight: of.weight,
        counts: of.identity.outcomes.counts(),
        streaks: of.identity.outcomes.streaks(),
    };
    upstream.endpoints.iter().map(sight).collect()
}

fn place(upstream: &Upstream, id: u32) -> Option<usize> {
    upstream.endpoints.iter().position(|of| of.identity.id == id)
}

fn end_streaks(upstream: &Upstream, id: u32) {
    if let Some(of) = place(upstream, id).and_then(|at| upstream.endpoints.get(at)) {
        of.identity.outcomes.end_streaks();
    }
}
