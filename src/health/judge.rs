//! The judge of one upstream: counts in, events out. It holds what is known of each endpoint by the endpoint's identity, so
//! that no new configuration changes anything about one that it does not touch.
//!
//! [`Judge::look`] is asked several times a second, and at once where a streak has become too long or a probe has changed
//! its mind. The caller acts on the events: it ends the streaks of an endpoint that was ejected or came back, publishes the
//! standings, logs and counts. Control does so in a gateway; a simulation does the same.

use super::breaker::{Breaker, BreakerSettings};
use super::case::{Case, Course, Operation, ProbeVerdict};
use super::governor::{Governor, Hold, Room};
use super::outlier::{Cause, OutlierSettings, Sample, suspects};
use super::probation::{Probation, Progress, ReturnSettings};
use super::window::Window;
use crate::base::Instant;
use crate::upstream::{BreakerState, OutcomeCounts, OutcomeRule, Streaks, WHOLE_SHARE};
use std::collections::HashMap;
use std::time::Duration;

/// What an upstream's health is judged by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HealthSettings {
    pub outlier: OutlierSettings,
    pub returning: ReturnSettings,
    pub breaker: Option<BreakerSettings>,
    /// Endpoints whose probes fail are kept for as long as the load needs them.
    pub keep_needed: bool,
}

impl HealthSettings {
    /// What workers are to know of it.
    pub fn rule(&self) -> OutcomeRule {
        OutcomeRule {
            gateway_streak: self.outlier.consecutive_gateway,
            server_error_streak: self.outlier.consecutive_5xx,
            unconnected_streak: self.outlier.consecutive_connect,
            slow: self.breaker.as_ref().map_or(Duration::MAX, |breaker| breaker.slow_after),
        }
    }
}

/// One endpoint as it is seen at one look.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Of its identity.
    pub id: u32,
    pub weight: u32,
    /// Everything that was ever counted at it.
    pub counts: OutcomeCounts,
    pub streaks: Streaks,
}

/// What has changed. `id` is that of an endpoint's identity.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Ejected {
        id: u32,
        cause: Cause,
        time: Duration,
    },
    /// It should go, and is kept.
    Held {
        id: u32,
        why: String,
        hold: Hold,
    },
    /// An ejection is over; `called`: before its time, because the load needs it.
    Probation {
        id: u32,
        called: bool,
    },
    /// It has its full share again.
    Returned {
        id: u32,
    },
    Down {
        id: u32,
        reason: String,
    },
    Up {
        id: u32,
    },
    Breaker {
        state: BreakerState,
    },
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    cases: HashMap<u32, Case>,
    /// Of all endpoints together, whoever is in service.
    window: Window,
    governor: Governor,
    breaker: Breaker,
}

impl Judge {
    pub fn case(&self, id: u32) -> Option<&Case> {
        self.cases.get(&id)
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub fn governor(&self) -> &Governor {
        &self.governor
    }

    /// Takes an endpoint on; nothing changes about one that is known. `starts`: others serve already, so that it is given
    /// its share slowly.
    pub fn admit(&mut self, now: Instant, settings: &HealthSettings, sight: &Sight, starts: bool) {
        self.cases.entry(sight.id).or_insert_with(|| {
            let mut case = Case::new(now, sight.counts);
            if starts {
                case.begin(now, &settings.returning);
            }
            case
        });
    }

    /// Whether anything is known of an endpoint.
    pub fn knows(&self, id: u32) -> bool {
        self.cases.contains_key(&id)
    }

    /// Forgets an endpoint whose identity is gone.
    pub fn forget(&mut self, id: u32) {
        self.cases.remove(&id);
    }

    /// Takes note of what probes say; the next look acts on it. True if there is something for it to do.
    pub fn probed(&mut self, id: u32, verdict: ProbeVerdict) -> bool {
        let Some(case) = self.cases.get_mut(&id) else { return false };
        let fails = matches!(verdict, ProbeVerdict::Down { .. } | ProbeVerdict::Pending);
        let failed = matches!(case.probe, ProbeVerdict::Down { .. } | ProbeVerdict::Pending);
        case.probe = verdict;
        fails != failed || fails != case.down
    }

    /// Keeps an endpoint that has just been taken on out of service until it has passed a probe.
    pub fn hold(&mut self, id: u32) {
        if let Some(case) = self.cases.get_mut(&id) {
            (case.probe, case.down) = (ProbeVerdict::Pending, true);
        }
    }

    /// Takes note of what an operator says; `None` takes back what was said, and ends an ejection. False if the endpoint is
    /// not known.
    pub fn operate(&mut self, now: Instant, settings: &HealthSettings, id: u32, operation: Option<Operation>) -> bool {
        let Some(case) = self.cases.get_mut(&id) else { return false };
        case.operation = operation;
        case.since = now;
        if operation.is_none() {
            let was_out = !matches!(case.course, Course::Serving);
            case.course = Course::Serving;
            case.well_since = now;
            case.held = None;
            case.window.clear();
            if !was_out {
                case.begin(now, &settings.returning);
            }
        }
        true
    }

    /// An operator's weight in place of the configured one; `None` takes it back.
    pub fn weigh(&mut self, id: u32, weight: Option<u16>) -> bool {
        let Some(case) = self.cases.get_mut(&id) else { return false };
        case.weight = weight;
        true
    }

    /// Looks at all endpoints of the upstream, each of which has been admitted.
    pub fn look(&mut self, now: Instant, settings: &HealthSettings, sights: &[Sight]) -> Vec<Event> {
        let mut events = Vec::new();
        let before: Vec<_> = sights.iter().map(|sight| self.cases.get(&sight.id).map(Case::state)).collect();
        let mut counted = OutcomeCounts::default();
        let mut failed = Vec::new();
        for sight in sights {
            let Some(case) = self.cases.get_mut(&sight.id) else { continue };
            let new = sight.counts.since(case.last);
            case.last = sight.counts;
            case.window.add(now, settings.outlier.window, new);
            counted = counted.plus(new);
            case.warm_up(now, &settings.returning);
            failed.extend(go_on(case, now, settings, sight, &mut events));
        }
        self.window.add(now, settings.outlier.window, counted);
        self.weigh_probes(now, settings, sights, &mut events);
        self.weigh_traffic(now, settings, sights, failed, &mut events);
        for (sight, before) in sights.iter().zip(before) {
            if let Some(case) = self.cases.get_mut(&sight.id)
                && before != Some(case.state())
            {
                case.since = now;
            }
        }
        events.extend(self.turn_breaker(now, settings, counted));
        events
    }

    /// What is in service, as far as it is of use.
    fn room(&self, settings: &OutlierSettings, sights: &[Sight]) -> Room {
        let mut room = Room { endpoints: sights.len(), ..Room::default() };
        let mut served = OutcomeCounts::default();
        for (sight, case) in sights.iter().filter_map(|sight| Some((sight, self.cases.get(&sight.id)?))) {
            if matches!(case.course, Course::Ejected { .. }) {
                room.ejected += 1;
            }
            if case.is_serving() {
                room.serving += 1;
                room.capacity += case.candidate(sight).capacity;
                served = served.plus(case.window.sum());
            }
        }
        let (attempts, all) = (served.attempts.max(1) as f64, self.window.sum());
        room.load = all.successes() as f64 / settings.window.as_secs_f64().max(0.001);
        room.is_loaded = all.attempts >= u64::from(settings.requests_min.max(1));
        room.overloads = served.overloads as f64 / attempts;
        room.failures = served.failure_rate();
        room
    }

    /// Takes down endpoints whose probes fail, as far as the load can spare them, and up those whose probes succeed.
    fn weigh_probes(&mut self, now: Instant, settings: &HealthSettings, sights: &[Sight], events: &mut Vec<Event>) {
        let mut room = self.room(&settings.outlier, sights);
        for sight in sights {
            let Some(case) = self.cases.get_mut(&sight.id) else { continue };
            let reason = match &case.probe {
                ProbeVerdict::Up | ProbeVerdict::Unprobed => {
                    if std::mem::take(&mut case.down) {
                        case.window.clear();
                        case.begin(now, &settings.returning);
                        events.push(Event::Up { id: sight.id });
                    }
                    continue;
                }
                _ if case.down => continue,
                ProbeVerdict::Pending => {
                    case.down = true;
                    continue;
                }
                ProbeVerdict::Down { reason } => reason.clone(),
            };
            let serves = case.is_serving() && settings.keep_needed;
            let candidate = case.candidate(sight);
            match if serves { self.governor.take_down(&settings.outlier, &mut room, candidate) } else { Ok(()) } {
                Ok(()) => {
                    (case.down, case.held) = (true, None);
                    events.push(Event::Down { id: sight.id, reason });
                }
                Err(hold) => events.extend(hold_back(case, now, sight.id, format!("its probes fail: {reason}"), hold)),
            }
        }
    }

    /// Ejects outliers, as far as the governor allows it, and calls back who is needed.
    fn weigh_traffic(
        &mut self,
        now: Instant,
        settings: &HealthSettings,
        sights: &[Sight],
        failed: Vec<(u32, Cause)>,
        events: &mut Vec<Event>,
    ) {
        let mut room = self.room(&settings.outlier, sights);
        self.governor.note(now, &room);
        let mut wanted = failed;
        let served: Vec<&Sight> =
            sights.iter().filter(|sight| self.cases.get(&sight.id).is_some_and(Case::is_serving)).collect();
        let sample = |sight: &&Sight| {
            let counts = self.cases.get(&sight.id).map(Case::counts).unwrap_or_default();
            Sample { streaks: sight.streaks, counts }
        };
        let samples: Vec<Sample> = served.iter().map(sample).collect();
        for (index, cause) in suspects(&settings.outlier, &samples) {
            if wanted.iter().all(|(id, _)| *id != served[index].id) {
                wanted.push((served[index].id, cause));
            }
        }
        for sight in sights {
            let is_wanted = wanted.iter().any(|(id, _)| *id == sight.id);
            if let Some(case) = self.cases.get_mut(&sight.id).filter(|_| !is_wanted)
                && !matches!(case.probe, ProbeVerdict::Down { .. })
            {
                case.held = None;
            }
        }
        for (id, cause) in wanted {
            let Some(sight) = sights.iter().find(|sight| sight.id == id) else { continue };
            let Some(case) = self.cases.get_mut(&id).filter(|case| case.is_serving()) else { continue };
            match self.governor.eject(now, &settings.outlier, &mut room, case.candidate(sight)) {
                Ok(()) => {
                    let time = case.ejections.next(&settings.outlier);
                    (case.course, case.held) = (Course::Ejected { until: now + time, cause }, None);
                    events.push(Event::Ejected { id, cause, time });
                }
                Err(hold) => events.extend(hold_back(case, now, id, cause.to_string(), hold)),
            }
        }
        if self.governor.is_short(&settings.outlier, &room) {
            events.extend(self.call_back(now, sights));
        }
    }

    /// Ends the ejection of who would be most useful, before its time.
    fn call_back(&mut self, now: Instant, sights: &[Sight]) -> Option<Event> {
        let ends = |sight: &&Sight| match self.cases.get(&sight.id).map(|case| case.course) {
            // Who answered nothing would be of no use.
            Some(Course::Ejected { until, cause: Cause::Latency { .. } | Cause::FailureRateAbove { .. } }) => {
                Some(until)
            }
            _ => None,
        };
        let sight = sights.iter().filter(|sight| ends(sight).is_some()).min_by_key(ends)?;
        let case = self.cases.get_mut(&sight.id)?;
        begin_probation(case, now, sight);
        Some(Event::Probation { id: sight.id, called: true })
    }

    fn turn_breaker(&mut self, now: Instant, settings: &HealthSettings, counted: OutcomeCounts) -> Option<Event> {
        let state = match &settings.breaker {
            Some(breaker) => self.breaker.look(breaker, now, counted),
            None if self.breaker.state() == BreakerState::Admit => None,
            None => Some(self.breaker.admit(now)),
        };
        state.map(|state| Event::Breaker { state })
    }
}

/// What time does to one endpoint; the cause if its probation has failed.
fn go_on(
    case: &mut Case,
    now: Instant,
    settings: &HealthSettings,
    sight: &Sight,
    events: &mut Vec<Event>,
) -> Option<(u32, Cause)> {
    let id = sight.id;
    match &mut case.course {
        Course::Serving => {
            if case.ejections.count() > 0 && now - case.well_since >= case.ejections.time(&settings.outlier) {
                case.ejections.forgive();
                case.well_since = now;
            }
            None
        }
        Course::Ejected { until, .. } if now >= *until => {
            begin_probation(case, now, sight);
            events.push(Event::Probation { id, called: false });
            None
        }
        Course::Ejected { .. } => None,
        Course::Probation(probation, share) => match probation.look(&settings.returning, now, sight.counts) {
            Progress::Share(granted) => {
                *share = granted;
                None
            }
            Progress::Passed => {
                (case.course, case.well_since) = (Course::Serving, now);
                events.push(Event::Returned { id });
                None
            }
            Progress::Failed { failures, attempts } => Some((id, Cause::Probation { failures, attempts })),
        },
    }
}

fn begin_probation(case: &mut Case, now: Instant, sight: &Sight) {
    let mut probation = Probation::begin(now, sight.counts);
    let share = match probation.look(&ReturnSettings::default(), now, sight.counts) {
        Progress::Share(share) => share,
        _ => WHOLE_SHARE,
    };
    case.course = Course::Probation(probation, share);
    case.window.clear();
}

/// It is not told again sooner why an endpoint is kept, unless for another reason.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Notes why an endpoint is kept; the event if that is news.
fn hold_back(case: &mut Case, now: Instant, id: u32, why: String, hold: Hold) -> Option<Event> {
    let known = case.told.is_some_and(|(told, at)| told == hold.index() && now - at < TELL_AGAIN);
    case.held = Some(hold);
    if known {
        return None;
    }
    case.told = Some((hold.index(), now));
    Some(Event::Held { id, why, hold })
}

#[cfg(test)]
mod tests;
