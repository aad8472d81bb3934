//! One upstream and its judge: what is held of its endpoints, in force or gone, and how events become conditions, log lines
//! and counts.

use super::Wish;
use super::record::Counted;
use super::view::{EndpointHealth, UpstreamHealth};
use crate::base::Instant;
use crate::control::config::values::duration_text;
use crate::health::{Event, Judge, ProbeVerdict, Sight};
use crate::snapshot::Upstream;
use crate::telemetry::log;
use crate::upstream::{BreakerState, EndpointIdentity, ProbedState, UpstreamIdentity};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an endpoint that has left is remembered, should it come back; one of which an operator has said something, for
/// ever.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Endpoints of one upstream that are remembered at most; of more, those that came first.
const REMEMBERED_MAX: usize = 4_096;

pub(super) struct Ward {
    /// Held, so that the state of its breaker and the counts of its endpoints survive a time without it.
    identity: Arc<UpstreamIdentity>,
    pub(super) judge: Judge,
    known: HashMap<u32, Known>,
    counted: Counted,
}

struct Known {
    /// Held, so that its id means this endpoint for as long as anything is known of it.
    identity: Arc<EndpointIdentity>,
    gone: Option<Instant>,
}

impl Ward {
    pub(super) fn new(upstream: &Upstream) -> Ward {
        Ward {
            identity: Arc::clone(&upstream.identity),
            judge: Judge::default(),
            known: HashMap::new(),
            counted: Counted::default(),
        }
    }

    pub(super) fn follow(&mut self, now: Instant, upstream: &Upstream) {
        let starts = self.known.values().any(|known| known.gone.is_none());
        let present: HashSet<u32> = upstream.endpoints.iter().map(|of| of.identity.id).collect();
        for (of, sight) in upstream.endpoints.iter().zip(sights(upstream)) {
            let is_new = !self.judge.knows(of.identity.id);
            self.judge.admit(now, &upstream.health, &sight, starts);
            if is_new && of.identity.probed.load() == ProbedState::Waiting {
                self.judge.hold(of.identity.id);
            }
            let known = Known { identity: Arc::clone(&of.identity), gone: None };
            self.known.insert(of.identity.id, known);
        }
        for (id, known) in &mut self.known {
            if !present.contains(id) {
                known.gone.get_or_insert(now);
            }
        }
        self.forget(now);
    }

    /// Its upstream is in no snapshot. False if nothing is to be remembered.
    pub(super) fn let_go(&mut self, now: Instant) -> bool {
        for known in self.known.values_mut() {
            known.gone.get_or_insert(now);
        }
        self.forget(now);
        !self.known.is_empty()
    }

    /// Forgets endpoints that have left, unless something is to be remembered of them.
    fn forget(&mut self, now: Instant) {
        let judge = &mut self.judge;
        let mut room = REMEMBERED_MAX;
        self.known.retain(|id, known| {
            let Some(gone) = known.gone else { return true };
            let case = judge.case(*id);
            let is_operated = case.is_some_and(|case| case.is_operated());
            let is_recent = case.is_some_and(|case| case.is_worth_keeping()) && now - gone < REMEMBERED;
            let keep = (is_operated || is_recent) && room > 0;
            if keep {
                room -= 1;
            } else {
                judge.forget(*id);
            }
            keep
        });
    }

    /// True if there is something to be done about it.
    pub(super) fn probed(&mut self, id: u32, verdict: ProbeVerdict) -> bool {
        self.judge.probed(id, verdict)
    }

    /// Has the next look not wait for its time.
    pub(super) fn alarm(&self) {
        self.identity.alarm.store(true, Ordering::Relaxed);
    }

    pub(super) fn wish(&mut self, now: Instant, upstream: &Upstream, id: u32, wish: Wish) {
        let Some(known) = self.known.get(&id) else { return };
        let (name, address) = (&self.identity.name, &known.identity.address);
        match wish {
            Wish::Operate(operation) => {
                self.judge.operate(now, &upstream.health, id, Some(operation));
                log::warn!("upstream `{name}`: an operator takes out endpoint {address} ({operation:?})");
            }
            Wish::Return => {
                self.judge.operate(now, &upstream.health, id, None);
                self.judge.weigh(id, None);
                known.identity.outcomes.end_streaks();
                log::info!("upstream `{name}`: an operator returns endpoint {address}");
            }
            Wish::Weigh(weight) => {
                self.judge.weigh(id, weight);
                match weight {
                    Some(weight) => {
                        log::info!("upstream `{name}`: an operator gives endpoint {address} the weight {weight}");
                    }
                    None => log::info!("upstream `{name}`: endpoint {address} has its configured weight again"),
                }
            }
        }
    }

    /// Asks the judge and does what it says.
    pub(super) fn look(&mut self, now: Instant, upstream: &Upstream) {
        let events = self.judge.look(now, &upstream.health, &sights(upstream));
        for event in &events {
            self.act(upstream, event);
        }
        self.show(upstream);
    }

    /// Tells workers how the endpoints stand.
    pub(super) fn show(&self, upstream: &Upstream) {
        let mut changed = false;
        for of in &upstream.endpoints {
            let Some(case) = self.judge.case(of.identity.id) else { continue };
            let standing = case.standing();
            if of.identity.condition.load() != standing {
                of.identity.condition.store(standing);
                changed = true;
            }
        }
        if changed {
            upstream.replan();
        }
    }

    fn act(&mut self, upstream: &Upstream, event: &Event) {
        let name = &self.identity.name;
        let address =
            |id: &u32| self.known.get(id).map_or_else(String::new, |known| known.identity.address.to_string());
        let end_streaks = |id: &u32| {
            if let Some(known) = self.known.get(id) {
                known.identity.outcomes.end_streaks();
            }
        };
        match event {
            Event::Ejected { id, cause, time } => {
                end_streaks(id);
                self.counted.ejections[cause.index()] += 1;
                let (address, time) = (address(id), duration_text(*time));
                log::warn!("upstream `{name}`: endpoint {address} is ejected for {time}: {cause}");
            }
            Event::Held { id, why, hold } => {
                self.counted.held[hold.index()] += 1;
                log::warn!("upstream `{name}`: endpoint {} should go ({why}) and is kept: {hold}", address(id));
            }
            Event::Probation { id, called } => {
                end_streaks(id);
                let why = if *called { "the load needs it" } else { "its ejection is over" };
                log::info!("upstream `{name}`: endpoint {} is on probation: {why}", address(id));
            }
            Event::Returned { id } => {
                self.counted.returns += 1;
                log::info!("upstream `{name}`: endpoint {} is back", address(id));
            }
            // The prober has said so.
            Event::Down { .. } => {}
            Event::Up { id } => end_streaks(id),
            Event::Breaker { state } => {
                self.counted.breaker_turns[*state as usize] += 1;
                self.turn(upstream, *state);
            }
        }
    }

    fn turn(&self, upstream: &Upstream, state: BreakerState) {
        let name = &self.identity.name;
        let settings = upstream.health.breaker.as_ref();
        let reject_time = settings.map_or(Duration::ZERO, |settings| settings.reject_time);
        match state {
            BreakerState::Admit => {
                self.identity.breaker.set(state, 0);
                log::info!("upstream `{name}`: the breaker admits requests again");
            }
            BreakerState::Reject => {
                let seconds = reject_time.as_secs_f64().ceil().clamp(1.0, f64::from(u16::MAX)) as u16;
                self.identity.breaker.set(state, seconds);
                let why = self.judge.breaker().why().map_or_else(String::new, |why| why.to_string());
                let time = duration_text(reject_time);
                log::warn!("upstream `{name}`: the breaker rejects requests for {time}: {why}");
            }
            BreakerState::Probe => {
                let probes = settings.map_or(1, |settings| settings.probes);
                self.identity.breaker.set(state, probes);
                log::info!(
                    "upstream `{name}`: the breaker lets up to {probes} requests at a time through, to find out"
                );
            }
        }
    }

    pub(super) fn view(&self, now: Instant, upstream: &Upstream) -> UpstreamHealth {
        let endpoints = upstream.endpoints.iter().filter_map(|of| {
            let case = self.judge.case(of.identity.id)?;
            Some(EndpointHealth::new(now, of, case))
        });
        UpstreamHealth::new(now, upstream, self.judge.breaker(), self.counted, endpoints.collect())
    }
}

fn sights(upstream: &Upstream) -> Vec<Sight> {
    let sight = |of: &crate::upstream::Endpoint| Sight {
        id: of.identity.id,
        weight: of.weight,
        counts: of.identity.outcomes.counts(),
        streaks: of.identity.outcomes.streaks(),
    };
    upstream.endpoints.iter().map(sight).collect()
}
