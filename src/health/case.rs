//! One endpoint before the judge: all that is held for and against it, and the standing that follows. What an operator says
//! goes before what probes say, that before what its traffic says, and that before a share that is still growing.
//!
//! ```text
//!   operator:   disable, drain ──→ Down, Draining
//!   probe:      down, pending  ──→ Down
//!   traffic:    ejected        ──→ Ejected
//!   else                           Serving, with the share of probation or slow start, whichever is less
//! ```

use super::governor::{Candidate, Hold};
use super::judge::Sight;
use super::outlier::{Cause, Ejections};
use super::probation::{Probation, ReturnSettings, slow_start};
use super::window::Window;
use crate::base::Instant;
use crate::upstream::{EndpointState, OutcomeCounts, Standing, Streaks, WHOLE_SHARE};

/// What probes say of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// Nobody probes it.
    #[default]
    Unprobed,
    /// It is to be probed before it serves, and has not been yet.
    Pending,
    Up,
    /// It has failed as many probes as the rules want; the last one like this.
    Down {
        reason: String,
    },
}

/// What an operator has said of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing new is sent to it.
    Drain,
    /// The same, and it counts as broken.
    Disable,
}

/// Where an endpoint is by its traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Course {
    Serving,
    Ejected { until: Instant, cause: Cause },
    Probation(Probation, u16),
}

/// Failures in a row after which an endpoint is of no use at present, whatever it did before.
const DEAD_STREAK: u32 = 5;

/// See the module.
#[derive(Clone, Debug)]
pub struct Case {
    pub(super) last: OutcomeCounts,
    pub(super) window: Window,
    pub(super) course: Course,
    pub(super) ejections: Ejections,
    /// Since when it has served well enough for an ejection to be forgiven.
    pub(super) well_since: Instant,
    /// When its slow start began, while it goes on.
    pub(super) begun: Option<Instant>,
    pub(super) starting: u16,
    pub(super) probe: ProbeVerdict,
    /// The probe's verdict is acted on.
    pub(super) down: bool,
    /// Why it is kept although it should go.
    pub(super) held: Option<Hold>,
    /// Which reason to keep it was told last, and when.
    pub(super) told: Option<(usize, Instant)>,
    pub(super) operation: Option<Operation>,
    pub(super) weight: Option<u16>,
    /// Since when it stands as it does.
    pub(super) since: Instant,
}

impl Case {
    pub(super) fn new(now: Instant, counts: OutcomeCounts) -> Case {
        Case {
            last: counts,
            window: Window::default(),
            course: Course::Serving,
            ejections: Ejections::default(),
            well_since: now,
            begun: None,
            starting: WHOLE_SHARE,
            probe: ProbeVerdict::Unprobed,
            down: false,
            held: None,
            told: None,
            operation: None,
            weight: None,
            since: now,
        }
    }

    pub fn standing(&self) -> Standing {
        // Whoever fails open tries what is down, but never what was disabled: that has no weight.
        let disabled = matches!(self.operation, Some(Operation::Disable)).then_some(0);
        Standing { state: self.state(), share: self.share(), weight: disabled.or(self.weight) }
    }

    pub fn state(&self) -> EndpointState {
        match self.operation {
            Some(Operation::Disable) => EndpointState::Down,
            Some(Operation::Drain) => EndpointState::Draining,
            None if self.down => EndpointState::Down,
            None if matches!(self.course, Course::Ejected { .. }) => EndpointState::Ejected,
            None => EndpointState::Serving,
        }
    }

    fn share(&self) -> u16 {
        let probation = match self.course {
            Course::Probation(_, share) => share,
            _ => WHOLE_SHARE,
        };
        probation.min(self.starting)
    }

    pub fn since(&self) -> Instant {
        self.since
    }

    /// Ejections that are not forgiven yet.
    pub fn ejections(&self) -> u32 {
        self.ejections.count()
    }

    pub fn held(&self) -> Option<Hold> {
        self.held
    }

    /// What was counted within the window.
    pub fn counts(&self) -> OutcomeCounts {
        self.window.sum()
    }

    pub fn is_serving(&self) -> bool {
        self.state() == EndpointState::Serving
    }

    /// Whether it is to be remembered when its endpoint leaves the configuration, because it may come back.
    pub fn is_worth_keeping(&self) -> bool {
        let trivial = self.operation.is_none() && self.weight.is_none() && self.ejections.count() == 0;
        !(trivial && matches!(self.course, Course::Serving))
    }

    /// Whether an operator has said something of it, which holds until an operator says otherwise.
    pub fn is_operated(&self) -> bool {
        self.operation.is_some() || self.weight.is_some()
    }

    /// What it adds to what the upstream has in service.
    pub(super) fn candidate(&self, sight: &Sight) -> Candidate {
        let Streaks { gateway, server_error, unconnected } = sight.streaks;
        // The window still holds what was before it broke.
        let is_dead = gateway.max(server_error).max(unconnected) >= DEAD_STREAK;
        let useful = if is_dead { 0.0 } else { 1.0 - self.window.sum().failure_rate() };
        let weight = f64::from(self.weight.map_or(sight.weight, u32::from));
        let share = f64::from(self.share()) / f64::from(WHOLE_SHARE);
        Candidate { capacity: weight * share * useful, useful }
    }

    /// Begins a slow start, where the configuration has one.
    pub(super) fn begin(&mut self, now: Instant, settings: &ReturnSettings) {
        self.begun = Some(now);
        self.warm_up(now, settings);
    }

    pub(super) fn warm_up(&mut self, now: Instant, settings: &ReturnSettings) {
        let share = self.begun.and_then(|begun| slow_start(settings, now - begun));
        self.starting = share.unwrap_or(WHOLE_SHARE);
        if share.is_none() {
            self.begun = None;
        }
    }

    /// Why it stands as it does, in words.
    pub fn why(&self) -> String {
        match (self.operation, &self.probe, &self.course) {
            (Some(Operation::Disable), ..) => "an operator has disabled it".to_owned(),
            (Some(Operation::Drain), ..) => "an operator drains it".to_owned(),
            (None, ProbeVerdict::Down { reason }, _) if self.down => format!("its probes fail: {reason}"),
            (None, _, _) if self.down => "it has not been probed yet".to_owned(),
            (None, _, Course::Ejected { cause, .. }) => cause.to_string(),
            (None, _, Course::Probation(..)) => "it is on probation after an ejection".to_owned(),
            (None, ProbeVerdict::Down { reason }, _) => format!("its probes fail ({reason}), and it is needed"),
            _ if self.begun.is_some() => "it has a slow start".to_owned(),
            _ => "nothing is held against it".to_owned(),
        }
    }

    /// What would bring it back to its full share, in words; empty where it has it. Times are up at the second value.
    pub fn remedy(&self) -> (&'static str, Option<Instant>) {
        match (self.operation, &self.course) {
            (Some(_), _) => ("an operator's `return`", None),
            (None, _) if self.down => match self.probe {
                ProbeVerdict::Pending => ("its first successful probe", None),
                _ => ("successful probes", None),
            },
            (None, Course::Ejected { until, .. }) => ("time, then good answers on probation", Some(*until)),
            (None, Course::Probation(..)) => ("good answers to the requests that it gets", None),
            (None, Course::Serving) if self.begun.is_some() => ("time", None),
            (None, Course::Serving) => ("", None),
        }
    }
}
