//! The prober: asks each endpoint of an upstream with a probe, again and again, whether it is up, and reports verdicts.
//!
//! It runs on a thread of its own with a runtime of its own, so that ten thousand endpoints delay no reload and no admin
//! page, and no worker waits for it. It follows the snapshot in force. What decides is pure: `schedule` says when,
//! [`health::probe`](crate::health::probe) says what results mean, `dialogue` what an answer is worth; `dial`, `udp` and
//! `exec` do the I/O. It takes nothing out of service: whoever it reports to does.

mod dial;
pub mod dialogue;
mod exec;
mod schedule;
#[cfg(test)]
mod tests;
mod udp;

use super::supervisor::ControlThread;
use crate::base::Instant;
use crate::health::probe::Verdict;
use crate::snapshot::Published;
use crate::telemetry::log;
use crate::upstream::EndpointIdentity;
use dialogue::Fault;
use schedule::{Change, Limits, Schedule, Ticket};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};

/// Probes under way at once. When every endpoint hangs, each holds its place for its timeout: with 2 s this is a thousand
/// endpoints a second. Each may hold [`ANSWER_BYTES_MAX`](dialogue::ANSWER_BYTES_MAX) of an answer.
pub const PROBES_AT_ONCE_MAX: usize = 2_048;
/// Of these, commands: each is a process.
pub const COMMANDS_AT_ONCE_MAX: usize = 16;
/// Lines about endpoints that are logged in one second; the rest is counted in one line.
const LINES_PER_SECOND_MAX: u32 = 100;

/// Takes what the probes of an endpoint say of it, with the reason in words. `None`: it is probed no more. Called on the
/// prober's thread, also once for each endpoint that it begins to probe.
pub type Report = Box<dyn Fn(&Arc<EndpointIdentity>, Option<Verdict>, &str) + Send>;

/// A running prober. It ends when this value drops.
#[derive(Debug)]
pub struct Prober {
    look: Arc<Notify>,
    _thread: ControlThread,
}

impl Prober {
    /// Starts the thread "prober".
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn start(published: Arc<Published>, report: Report) -> io::Result<Prober> {
        let look = Arc::new(Notify::new());
        let looked = Arc::clone(&look);
        let thread = ControlThread::start_named("prober", move || async move {
            Loop::new(published, report).run(&looked).await;
        })?;
        Ok(Prober { look, _thread: thread })
    }

    /// Tells it that another snapshot is in force.
    pub fn waker(&self) -> Box<dyn Fn() + Send + Sync> {
        let look = Arc::clone(&self.look);
        Box::new(move || look.notify_one())
    }
}

type Outcome = Result<(), Fault>;

struct Loop {
    published: Arc<Published>,
    report: Report,
    schedule: Schedule,
    running: JoinSet<Outcome>,
    tickets: HashMap<Id, (Ticket, tokio::time::Instant)>,
    origin: tokio::time::Instant,
    /// The second of the last line, and the lines that it has seen.
    lines: (u64, u32),
}

impl Loop {
    fn new(published: Arc<Published>, report: Report) -> Loop {
        let limits = Limits { probes_max: PROBES_AT_ONCE_MAX, commands_max: COMMANDS_AT_ONCE_MAX };
        Loop {
            published,
            report,
            schedule: Schedule::new(limits, RandomState::new().hash_one(0)),
            running: JoinSet::new(),
            tickets: HashMap::new(),
            origin: tokio::time::Instant::now(),
            lines: (0, 0),
        }
    }

    fn now(&self) -> Instant {
        Instant(0) + self.origin.elapsed()
    }

    async fn run(mut self, look: &Notify) {
        self.follow();
        loop {
            while let Some(ticket) = self.schedule.next_ticket(self.now()) {
                self.begin(ticket);
            }
            let next = self.schedule.next_due().map(|due| self.origin + (due - Instant(0)));
            tokio::select! {
                () = look.notified() => self.follow(),
                Some(ended) = self.running.join_next_with_id() => self.take(ended),
                () = until(next) => {}
            }
        }
    }

    fn follow(&mut self) {
        let snapshot = self.published.load();
        for change in self.schedule.follow(&snapshot, self.now()) {
            let why = match change.verdict {
                Some(Verdict::Up) => "its probes have not failed",
                Some(Verdict::Down) => "its first probe has not been answered yet",
                None => "it is probed no more",
            };
            (self.report)(&change.identity, change.verdict, why);
        }
    }

    fn begin(&mut self, ticket: Ticket) {
        let (probe, identity) = (Arc::clone(&ticket.probe), Arc::clone(&ticket.identity));
        let task = self.running.spawn(async move { dial::probe(&probe, &identity.upstream, &identity.address).await });
        self.tickets.insert(task.id(), (ticket, tokio::time::Instant::now()));
    }

    fn take(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            // The log has the panic itself; the endpoint is asked again.
            Err(error) => (error.id(), None),
        };
        let Some((ticket, started)) = self.tickets.remove(&id) else { return };
        if let (Some(outcome), Some(stats)) = (&outcome, ticket.upstream.probes.get()) {
            stats.duration.record(started.elapsed());
            if let Err(fault) = outcome
                && let Some(counter) = stats.failures.get(fault.failure.index())
            {
                counter.inc();
            }
        }
        let passed = outcome.as_ref().map(Result::is_ok);
        let now = self.now();
        if let Some(change) = self.schedule.take(&ticket, passed, now) {
            let fault = outcome.and_then(Result::err);
            self.say(&change, fault.as_ref(), now);
        }
    }

    fn say(&mut self, change: &Change, fault: Option<&Fault>, now: Instant) {
        let Some(verdict) = change.verdict else { return };
        let why = why(change, fault);
        let (address, upstream) = (&change.identity.address, &change.identity.upstream);
        if self.may_log(now) {
            match verdict {
                Verdict::Up => log::info!("endpoint {address} of {upstream} is up: {why}"),
                Verdict::Down => log::warn!("endpoint {address} of {upstream} is down: {why}"),
            }
        }
        (self.report)(&change.identity, Some(verdict), &why);
    }

    /// A whole table that goes down at once must not fill a disk.
    fn may_log(&mut self, now: Instant) -> bool {
        let second = now.0 / 1_000_000_000;
        let (last, lines) = self.lines;
        if last != second {
            if lines > LINES_PER_SECOND_MAX {
                log::warn!("{} more endpoints went up or down by their probes", lines - LINES_PER_SECOND_MAX);
            }
            self.lines = (second, 1);
            return true;
        }
        self.lines.1 = lines.saturating_add(1);
        lines < LINES_PER_SECOND_MAX
    }
}

/// What decided, in words.
fn why(change: &Change, fault: Option<&Fault>) -> String {
    let said = fault.map_or_else(String::new, |fault| format!(": {}", fault.why));
    let what = if fault.is_some() { "failed" } else { "passed" };
    match (change.first, change.in_a_row) {
        (true, _) => format!("its first probe {what}{said}"),
        (false, 1) => format!("a probe {what}{said}"),
        (false, count) => format!("{count} probes {what} in a row{said}"),
    }
}

async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Descriptors that probes of a table may hold at once.
pub fn descriptors_max(endpoints: usize) -> u64 {
    // A command has two pipes, and one while it starts.
    (endpoints.min(PROBES_AT_ONCE_MAX) + 3 * COMMANDS_AT_ONCE_MAX) as u64
}
