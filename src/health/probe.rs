//! Results of an endpoint's probes → whether it is up, and when to ask again. Pure: takes results and random numbers, and
//! knows neither the clock nor what a probe sends. The prober of the control plane and the simulation both decide by it.
//!
//! ```text
//! Waiting ── passed ──► Up ◄── `rise` in a row passed ── Down
//!    └────── failed ──────────► Down ◄── `fall` in a row failed ── Up
//! ```
//!
//! What it guards against: one lost packet must not take an endpoint out, and one lucky answer must not bring it back. What
//! it does not guard against: probes that flap for many endpoints at once. Whoever acts on a verdict keeps the capacity that
//! the load needs.

pub mod settings;

pub use settings::{ExecProbe, HttpProbe, Probe, ProbeKind, ProbePlace, Secret, StatusRange};

use std::time::Duration;

/// Thousandths: a jitter of the whole interval.
pub const WHOLE_JITTER: u16 = 1000;

/// When an endpoint is asked, and how many answers it takes to believe a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRules {
    /// Passes in a row that bring a down endpoint up; at least 1.
    pub rise: u32,
    /// Failures in a row that take an up endpoint down; at least 1.
    pub fall: u32,
    /// From one probe to the next.
    pub interval: Duration,
    /// The same while the last results speak against the verdict; at most `interval`.
    pub interval_fast: Duration,
    /// Thousandths of an interval that it may be shorter or longer by.
    pub jitter: u16,
    pub initial: Initial,
}

/// What an endpoint is before its first result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// Up, until its probes say otherwise.
    Up,
    /// Down, until it has passed a probe.
    Probe,
}

/// What the probes of an endpoint say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Up,
    Down,
}

/// What is remembered of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probing {
    /// No result yet, and it counts as down.
    Waiting,
    /// So many failures since the last pass.
    Up { failed: u32 },
    /// So many passes since the last failure.
    Down { passed: u32 },
}

impl Probing {
    /// An endpoint that was never asked.
    pub fn new(initial: Initial) -> Probing {
        match initial {
            Initial::Up => Probing::Up { failed: 0 },
            Initial::Probe => Probing::Waiting,
        }
    }

    pub fn verdict(self) -> Verdict {
        match self {
            Probing::Up { .. } => Verdict::Up,
            Probing::Waiting | Probing::Down { .. } => Verdict::Down,
        }
    }

    /// Takes one result in. The new verdict and how many results in a row made it, if it is another than before; the
    /// first result of an endpoint that waited for it is always one.
    pub fn note(&mut self, rules: &ProbeRules, passed: bool) -> Option<(Verdict, u32)> {
        let (next, decided) = match (*self, passed) {
            (Probing::Waiting, true) => (Probing::Up { failed: 0 }, Some((Verdict::Up, 1))),
            (Probing::Waiting, false) => (Probing::Down { passed: 0 }, Some((Verdict::Down, 1))),
            (Probing::Up { .. }, true) => (Probing::Up { failed: 0 }, None),
            (Probing::Down { .. }, false) => (Probing::Down { passed: 0 }, None),
            (Probing::Up { failed }, false) if failed + 1 >= rules.fall => {
                (Probing::Down { passed: 0 }, Some((Verdict::Down, failed + 1)))
            }
            (Probing::Down { passed }, true) if passed + 1 >= rules.rise => {
                (Probing::Up { failed: 0 }, Some((Verdict::Up, passed + 1)))
            }
            (Probing::Up { failed }, false) => (Probing::Up { failed: failed + 1 }, None),
            (Probing::Down { passed }, true) => (Probing::Down { passed: passed + 1 }, None),
        };
        *self = next;
        decided
    }

    /// Whether the last results speak against the verdict, so that the next ones are wanted soon.
    pub fn is_changing(self) -> bool {
        !matches!(self, Probing::Up { failed: 0 } | Probing::Down { passed: 0 })
    }

    /// How long the first probe waits: not at all where nothing is sent to the endpoint before its answer; else any part of
    /// the interval, so that the probes of a table that appears at once are spread over it.
    pub fn first_wait(self, rules: &ProbeRules, random: u64) -> Duration {
        match self {
            Probing::Waiting => Duration::ZERO,
            Probing::Up { .. } | Probing::Down { .. } => spread(rules, random),
        }
    }

    /// From the start of the last probe to the start of the next. `before` is what was remembered before its result.
    pub fn next_wait(self, before: Probing, rules: &ProbeRules, random: u64) -> Duration {
        if before == Probing::Waiting {
            // All endpoints of a new table were asked at once; from now on they are spread.
            return spread(rules, random);
        }
        let interval = if self.is_changing() { rules.interval_fast.min(rules.interval) } else { rules.interval };
        let jitter = interval * u32::from(rules.jitter.min(WHOLE_JITTER)) / u32::from(WHOLE_JITTER);
        interval - jitter + part(jitter * 2, random)
    }
}

/// Any part of the interval.
pub fn spread(rules: &ProbeRules, random: u64) -> Duration {
    part(rules.interval, random)
}

/// `random` as a part of `whole`, evenly.
fn part(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

/// Why a probe failed, as metrics tell it. The words of the log say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProbeFailure {
    /// No connection: refused, unreachable, no such socket.
    Connect = 0,
    /// Not done within its timeout.
    Timeout = 1,
    /// The connection ended or broke before the answer was whole.
    Closed = 2,
    /// An HTTP status that is not expected.
    Status = 3,
    /// An answer that is not the expected one, or says that the server cannot serve.
    Answer = 4,
    /// An answer that does not follow its protocol.
    Malformed = 5,
    /// The command ended with a failure.
    Exit = 6,
    /// Nothing could be asked, by no fault of the endpoint: no file descriptor, no such command.
    Local = 7,
}

impl ProbeFailure {
    /// The value of the label `reason`, by index.
    pub const NAMES: [&'static str; 8] =
        ["connect", "timeout", "closed", "status", "answer", "malformed", "exit", "local"];

    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: ProbeRules = ProbeRules {
        rise: 2,
        fall: 3,
        interval: Duration::from_secs(5),
        interval_fast: Duration::from_secs(1),
        jitter: 100,
        initial: Initial::Up,
    };

    /// What each result decides; `.` is nothing.
    #[track_caller]
    fn check(initial: Initial, results: &str, expected: &str) {
        let mut probing = Probing::new(initial);
        let decided = |result| match probing.note(&RULES, result == '+') {
            None => '.',
            Some((Verdict::Up, _)) => 'U',
            Some((Verdict::Down, _)) => 'D',
        };
        assert_eq!(results.chars().map(decided).collect::<String>(), expected);
    }

    #[test]
    fn it_takes_several_results_in_a_row() {
        check(Initial::Up, "--+--+---", "........D");
        check(Initial::Up, "---+-++", "..D...U");
        check(Initial::Probe, "+---", "U..D");
        check(Initial::Probe, "-++", "D.U");
    }

    #[test]
    fn changes_are_asked_about_sooner() {
        let mut probing = Probing::new(Initial::Up);
        let half = 1 << 63;
        assert_eq!(probing.first_wait(&RULES, half), RULES.interval / 2);
        let before = probing;
        probing.note(&RULES, false);
        assert_eq!(probing.next_wait(before, &RULES, half), RULES.interval_fast);
        let waiting = Probing::new(Initial::Probe);
        assert_eq!(waiting.first_wait(&RULES, half), Duration::ZERO);
        let mut answered = waiting;
        answered.note(&RULES, true);
        assert_eq!(answered.next_wait(waiting, &RULES, half), RULES.interval / 2);
    }

    proptest! {
        /// Against the plain reading of the rules: the last results in a row.
        #[test]
        fn a_verdict_changes_exactly_when_the_rules_say(
            results in prop::collection::vec(any::<bool>(), 0..200),
            rise in 1u32..6,
            fall in 1u32..6,
            up: bool,
        ) {
            let initial = if up { Initial::Up } else { Initial::Probe };
            let rules = ProbeRules { rise, fall, initial, ..RULES };
            let mut probing = Probing::new(initial);
            let mut verdict = if up { Some(Verdict::Up) } else { None };
            for count in 0..results.len() {
                let passed = results[count];
                let row = results[..=count].iter().rev().take_while(|result| **result == passed).count() as u32;
                let wanted = if passed { Verdict::Up } else { Verdict::Down };
                let needed = if passed { rise } else { fall };
                let changes = verdict.is_none() || (verdict != Some(wanted) && row >= needed);
                let decided = probing.note(&rules, passed);
                prop_assert_eq!(decided.is_some(), changes);
                if let Some((decided, _)) = decided {
                    prop_assert_eq!(decided, wanted);
                    verdict = Some(wanted);
                }
                prop_assert_eq!(Some(probing.verdict()), verdict);
            }
        }

        #[test]
        fn waits_stay_within_their_jitter(random: u64, jitter in 0u16..=1000, failed in 0u32..3) {
            let rules = ProbeRules { jitter, ..RULES };
            let before = Probing::Up { failed: 0 };
            let wait = Probing::Up { failed }.next_wait(before, &rules, random);
            let interval = if failed > 0 { rules.interval_fast } else { rules.interval };
            let most = interval * u32::from(jitter) / 1000;
            prop_assert!(wait >= interval - most && wait <= interval + most, "{wait:?}");
            prop_assert!(spread(&rules, random) < rules.interval);
        }
    }
}
