//! Which endpoint is probed when, and what is remembered of it. No I/O and no clock: `now` comes in, tickets for probes and
//! verdicts go out. What is remembered belongs to the endpoint's identity: a reload that leaves an endpoint, or takes it out
//! and brings it back while it still drains, changes nothing about it.

use crate::base::Instant;
use crate::health::probe::{Probe, ProbeKind, Probing, Verdict, spread};
use crate::snapshot::Snapshot;
use crate::upstream::{EndpointIdentity, ProbedState, UpstreamIdentity};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A probe that begins later than this is counted as late.
const LATE_MIN: Duration = Duration::from_secs(1);

/// Void appointments that may stay.
const DUE_SPARE: usize = 1_024;

/// How many probes may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All together.
    pub probes_max: usize,
    /// Those that run a command.
    pub commands_max: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    watched: HashMap<u32, Watched>,
    /// What endpoints were that are not in force any more, for as long as something still holds them.
    left: HashMap<u32, (Weak<EndpointIdentity>, Probing)>,
    /// When each is asked next: the time, the endpoint's id, and its turn.
    due: BinaryHeap<Reverse<(Instant, u32, u64)>>,
    /// Commands that are due and wait for others to end.
    commands_waiting: VecDeque<(Instant, u32, u64)>,
    under_way: usize,
    commands_under_way: usize,
    turn: u64,
    random: u64,
}

#[derive(Debug)]
struct Watched {
    identity: Arc<EndpointIdentity>,
    upstream: Arc<UpstreamIdentity>,
    probe: Arc<Probe>,
    probing: Probing,
    /// Of its next probe, or of the one under way; what has another turn is void.
    turn: u64,
}

/// A probe that is to begin.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub identity: Arc<EndpointIdentity>,
    pub upstream: Arc<UpstreamIdentity>,
    pub probe: Arc<Probe>,
    turn: u64,
    started: Instant,
}

/// What an endpoint has become.
#[derive(Clone, Debug)]
pub struct Change {
    pub identity: Arc<EndpointIdentity>,
    /// `None`: it is probed no more.
    pub verdict: Option<Verdict>,
    /// How many results in a row decided it; 0 where none did.
    pub in_a_row: u32,
    /// Whether it was the first result that was waited for.
    pub first: bool,
}

impl Schedule {
    pub fn new(limits: Limits, random: u64) -> Schedule {
        Schedule {
            limits,
            watched: HashMap::new(),
            left: HashMap::new(),
            due: BinaryHeap::new(),
            commands_waiting: VecDeque::new(),
            under_way: 0,
            commands_under_way: 0,
            turn: 0,
            random,
        }
    }

    /// Takes over what `snapshot` says. Endpoints that it leaves as they were keep their appointments.
    pub fn follow(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Change> {
        self.left.retain(|_, (identity, _)| identity.strong_count() > 0);
        let mut before = std::mem::take(&mut self.watched);
        let mut changes = Vec::new();
        for upstream in &snapshot.upstreams {
            for endpoint in &upstream.endpoints {
                let identity = &endpoint.identity;
                let known = before.remove(&identity.id).filter(|known| Arc::ptr_eq(&known.identity, identity));
                match (&upstream.probe, known) {
                    (Some(probe), Some(known)) => self.keep(known, probe, &upstream.identity, now),
                    (Some(probe), None) => changes.push(self.begin(identity, probe, &upstream.identity, now)),
                    (None, Some(known)) => changes.push(release(known)),
                    (None, None) => {}
                }
            }
        }
        // Appointments of endpoints that left are void; many of them are only in the way.
        if self.due.len() > 2 * self.watched.len() + DUE_SPARE {
            let watched = &self.watched;
            self.due.retain(|Reverse((_, id, turn))| watched.get(id).is_some_and(|watched| watched.turn == *turn));
        }
        for (id, gone) in before {
            self.left.insert(id, (Arc::downgrade(&gone.identity), gone.probing));
        }
        changes
    }

    /// An endpoint that was watched before. Other settings are tried within one of their intervals.
    fn keep(&mut self, mut known: Watched, probe: &Arc<Probe>, upstream: &Arc<UpstreamIdentity>, now: Instant) {
        let id = known.identity.id;
        known.upstream = Arc::clone(upstream);
        if known.probe != *probe {
            known.probe = Arc::clone(probe);
            let wait = spread(&probe.rules, self.draw());
            known.turn = self.appoint(id, now + wait);
        }
        self.watched.insert(id, known);
    }

    fn begin(
        &mut self,
        identity: &Arc<EndpointIdentity>,
        probe: &Arc<Probe>,
        upstream: &Arc<UpstreamIdentity>,
        now: Instant,
    ) -> Change {
        let id = identity.id;
        let left = self.left.remove(&id).filter(|(held, _)| std::ptr::eq(held.as_ptr(), Arc::as_ptr(identity)));
        // Whoever compiled the snapshot knows which endpoints are new; one that served unprobed goes on serving.
        let waits = identity.probed.load() == ProbedState::Waiting;
        let probing = match left {
            Some((_, probing)) => probing,
            None if waits => Probing::Waiting,
            None => Probing::Up { failed: 0 },
        };
        let wait = probing.first_wait(&probe.rules, self.draw());
        let turn = self.appoint(id, now + wait);
        let (identity, upstream, probe) = (Arc::clone(identity), Arc::clone(upstream), Arc::clone(probe));
        let change =
            Change { identity: Arc::clone(&identity), verdict: Some(probing.verdict()), in_a_row: 0, first: false };
        identity.probed.store(state(probing));
        self.watched.insert(id, Watched { identity, upstream, probe, probing, turn });
        change
    }

    /// The next probe that is to begin now, if one may. Call until there is none.
    pub fn next_ticket(&mut self, now: Instant) -> Option<Ticket> {
        if self.under_way >= self.limits.probes_max {
            return None;
        }
        while self.commands_under_way < self.limits.commands_max
            && let Some((due, id, turn)) = self.commands_waiting.pop_front()
        {
            if let Some(ticket) = self.ticket(id, turn, due, now) {
                return Some(ticket);
            }
        }
        while let Some(Reverse((due, id, turn))) = self.due.peek().copied().filter(|Reverse((due, ..))| *due <= now) {
            self.due.pop();
            let runs = self.watched.get(&id).is_some_and(|watched| is_command(&watched.probe));
            if runs && self.commands_under_way >= self.limits.commands_max {
                self.commands_waiting.push_back((due, id, turn));
            } else if let Some(ticket) = self.ticket(id, turn, due, now) {
                return Some(ticket);
            }
        }
        None
    }

    fn ticket(&mut self, id: u32, turn: u64, due: Instant, now: Instant) -> Option<Ticket> {
        let watched = self.watched.get(&id).filter(|watched| watched.turn == turn)?;
        let Watched { identity, upstream, probe, .. } = watched;
        let ticket = Ticket {
            identity: Arc::clone(identity),
            upstream: Arc::clone(upstream),
            probe: Arc::clone(probe),
            turn,
            started: now,
        };
        if let Some(stats) = ticket.upstream.probes.get() {
            stats.sent.inc();
            if now.since(due) > LATE_MIN {
                stats.late.inc();
            }
        }
        self.under_way += 1;
        self.commands_under_way += usize::from(is_command(&ticket.probe));
        Some(ticket)
    }

    /// When [`next_ticket`](Schedule::next_ticket) is worth calling again; `None`: not before a probe has ended.
    pub fn next_due(&self) -> Option<Instant> {
        let full = self.under_way >= self.limits.probes_max;
        self.due.peek().map(|Reverse((due, ..))| *due).filter(|_| !full)
    }

    /// Takes the result of a probe; `None` is one that came to none. What that changes, if anything.
    pub fn take(&mut self, ticket: &Ticket, passed: Option<bool>, now: Instant) -> Option<Change> {
        self.under_way = self.under_way.saturating_sub(1);
        self.commands_under_way -= usize::from(is_command(&ticket.probe)).min(self.commands_under_way);
        let id = ticket.identity.id;
        let random = self.draw();
        let watched = self.watched.get_mut(&id).filter(|watched| watched.turn == ticket.turn)?;
        let before = watched.probing;
        let decided = passed.and_then(|passed| watched.probing.note(&watched.probe.rules, passed));
        let after = watched.probing;
        let wait = after.next_wait(before, &watched.probe.rules, random);
        let turn = self.appoint(id, (ticket.started + wait).max(now));
        let watched = self.watched.get_mut(&id)?;
        watched.turn = turn;
        let (verdict, in_a_row) = decided?;
        watched.identity.probed.store(state(after));
        if let Some(stats) = watched.upstream.probes.get() {
            match verdict {
                Verdict::Up => stats.ups.inc(),
                Verdict::Down => stats.downs.inc(),
            }
        }
        Some(Change {
            identity: Arc::clone(&watched.identity),
            verdict: Some(verdict),
            in_a_row,
            first: before == Probing::Waiting,
        })
    }

    fn appoint(&mut self, id: u32, at: Instant) -> u64 {
        self.turn += 1;
        self.due.push(Reverse((at, id, self.turn)));
        self.turn
    }

    /// The next of a sequence of random numbers (SplitMix64, Steele et al. 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

fn is_command(probe: &Probe) -> bool {
    matches!(probe.kind, ProbeKind::Exec(_))
}

fn release(known: Watched) -> Change {
    known.identity.probed.store(ProbedState::Unprobed);
    Change { identity: known.identity, verdict: None, in_a_row: 0, first: false }
}

fn state(probing: Probing) -> ProbedState {
    match probing {
        Probing::Waiting => ProbedState::Waiting,
        Probing::Up { .. } => ProbedState::Up,
        Probing::Down { .. } => ProbedState::Down,
    }
}
