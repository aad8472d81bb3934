//! The supervisor: reloads, signals, the watch on the configuration's files, the drain. It alone publishes snapshots.
//!
//! Runs on the control thread ([`ControlThread`]); `cli/run` starts it and hands it what wakes the workers, since
//! nothing in `control` knows the engine. The admin listener asks it for reloads through [`Supervisor::reload`].

mod bind;
mod changes;
mod drain;
mod retired;
mod signals;
mod sources;
mod thread;
mod unix;
mod watch;

#[cfg(test)]
mod tests;

pub use bind::bind_first;
pub use drain::{Drain, Drained, Drains};
pub use thread::ControlThread;

use super::admin::ReloadOutcome;
use super::config::{self, Loaded, ProcessSettings, Report};
use super::health::Verdicts;
use super::memory::{Contract, Sizes};
use crate::base::heap::Budget;
use crate::snapshot::{Phase, Published};
use crate::telemetry::access_log::LogThread;
use crate::telemetry::{ConfigStats, log};
use crate::upstream::Registry;
use changes::Changes;
use retired::Retired;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, Notify};

/// How long endpoints go without being judged after that has failed.
const JUDGE_AGAIN: Duration = Duration::from_secs(1);

/// Wakes one worker out of its wait, so that it looks at [`Published`].
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// What a supervisor is started with: the state of a process whose first snapshot is in force.
pub struct Start {
    /// The configuration file; `None` when it is built in, and then there is nothing to reload.
    pub file: Option<PathBuf>,
    /// What the first configuration says outside of the snapshot.
    pub running: Running,
    /// The registry that the first snapshot was compiled with.
    pub registry: Registry,
    /// Holds the first snapshot.
    pub published: Arc<Published>,
    /// One for each worker.
    pub wakers: Vec<Waker>,
    /// Writes the access log; SIGUSR1 has it reopen its file.
    pub log: Arc<LogThread>,
    /// Counts reloads.
    pub stats: Arc<ConfigStats>,
    /// What workers may hold; a reload may set it otherwise.
    pub budget: Arc<Budget>,
    pub sizes: Sizes,
    /// Shows what drains.
    pub drains: Arc<Drains>,
    /// Judges the endpoints of each snapshot.
    pub verdicts: Arc<Verdicts>,
}

/// What the present configuration says outside of the snapshot.
#[derive(Clone, Debug)]
pub struct Running {
    /// What no reload can change.
    pub process: ProcessSettings,
    /// Whether to reload when a file changes on disk.
    pub watch: bool,
    /// What to watch.
    pub paths: Vec<PathBuf>,
}

impl Running {
    /// What `loaded` says outside of the snapshot.
    pub fn of(loaded: &Loaded) -> Running {
        Running { process: loaded.settings.process.clone(), watch: loaded.settings.watch, paths: loaded.paths.clone() }
    }
}

/// See the module.
pub struct Supervisor {
    file: Option<PathBuf>,
    published: Arc<Published>,
    wakers: Vec<Waker>,
    log: Arc<LogThread>,
    stats: Arc<ConfigStats>,
    budget: Arc<Budget>,
    sizes: Sizes,
    drains: Arc<Drains>,
    verdicts: Arc<Verdicts>,
    /// Held for the whole of a reload: one at a time.
    state: Mutex<State>,
    /// Asks [`run`](Supervisor::run) for a reload; several requests before it gets to it are one.
    wanted: Notify,
    /// Tells the watch that the files may be others now.
    watched_changed: Notify,
}

struct State {
    running: Running,
    registry: Registry,
    retired: Arc<Retired>,
}

/// Why a reload changed nothing.
enum Refusal {
    Report(Report),
    Other(String),
}

impl Supervisor {
    /// The start counts as a reload that was applied.
    pub fn new(start: Start) -> Arc<Supervisor> {
        note_applied(&start.stats);
        Arc::new(Supervisor {
            file: start.file,
            published: start.published,
            wakers: start.wakers,
            log: start.log,
            stats: start.stats,
            budget: start.budget,
            sizes: start.sizes,
            drains: start.drains,
            verdicts: start.verdicts,
            state: Mutex::new(State { running: start.running, registry: start.registry, retired: Arc::default() }),
            wanted: Notify::new(),
            watched_changed: Notify::new(),
        })
    }

    /// Reads the configuration anew, and puts all of it in force or changes nothing. Logs the outcome.
    pub async fn reload(&self) -> ReloadOutcome {
        let mut state = self.state.lock().await;
        let refusal = match self.load(&state.running.process).await {
            Ok(loaded) => match self.apply(&mut state, loaded) {
                Ok(outcome) => return outcome,
                Err(why) => Refusal::Other(why),
            },
            Err(refusal) => refusal,
        };
        self.refused(&refusal)
    }

    /// Blocking work (files, host names) happens on a thread of its own, so that signals are heard meanwhile.
    async fn load(&self, running: &ProcessSettings) -> Result<Loaded, Refusal> {
        if self.published.phase() != Phase::Serving {
            return Err(Refusal::Other("the process is shutting down".to_owned()));
        }
        let Some(file) = self.file.clone() else {
            let why = "this process runs on a built-in configuration: there is no file to read";
            return Err(Refusal::Other(why.to_owned()));
        };
        let running = running.clone();
        let loading = tokio::task::spawn_blocking(move || config::load(&file, Some(&running)));
        match loading.await {
            Ok(loaded) => loaded.map_err(Refusal::Report),
            Err(_) => Err(Refusal::Other("reading the configuration panicked; this is a bug".to_owned())),
        }
    }

    /// What may still fail, the ports of added listeners, is tried before anything is published.
    fn apply(&self, state: &mut State, loaded: Loaded) -> Result<ReloadOutcome, String> {
        let old = self.published.load();
        let running = Running::of(&loaded);
        let generation = old.generation + 1;
        let warnings = loaded.warnings;
        let memory_max = loaded.settings.memory_max;
        let snapshot = Arc::new(config::compile(loaded.settings, &mut state.registry, generation));
        let memory = Contract::new(memory_max, &snapshot, &self.sizes)?;
        bind::try_added(&old, &snapshot)?;
        memory.keep(&self.budget);
        if let Some(warning) = memory.warning() {
            log::warn!("{warning}");
        }
        let text = Changes::between(&old, &snapshot).to_string();
        self.verdicts.follow(&snapshot);
        self.published.publish(Arc::clone(&snapshot));
        // For conditions that changed while it was made.
        snapshot.upstreams.iter().for_each(|upstream| {
            upstream.replan();
        });
        bind::retire_removed(&old, &snapshot);
        bind::set_modes(&old, &snapshot);
        self.wake_workers();
        state.running = running;
        self.watched_changed.notify_one();
        note_applied(&self.stats);
        self.stats.reloads.inc();
        if warnings.warnings() > 0 {
            let title = format_args!("the configuration has warnings");
            log::write_block(log::Level::Warn, title, &warnings.to_string());
        }
        log::write_block(log::Level::Info, format_args!("reloaded: generation {generation}"), &text);
        for listener in bind::added(&old, &snapshot) {
            log::info!("listening name={} address={}", listener.name, listener.bound_address());
        }
        self.drains.follow(&old, &snapshot);
        state.retired.add(old);
        Ok(ReloadOutcome { applied: true, generation, text })
    }

    fn refused(&self, refusal: &Refusal) -> ReloadOutcome {
        let text = match refusal {
            Refusal::Report(report) => report.to_string(),
            Refusal::Other(why) => why.clone(),
        };
        let generation = self.published.generation();
        self.stats.reloads_refused.inc();
        self.stats.last_reload_successful.set(0);
        let title = format_args!("reload refused; generation {generation} stays in force");
        log::write_block(log::Level::Error, title, &text);
        ReloadOutcome { applied: false, generation, text }
    }

    /// Asks for a reload without waiting for it.
    pub fn request_reload(&self) {
        self.wanted.notify_one();
    }

    /// Listens to signals, and gives the future that serves them, the watch and requests for reloads for the life of
    /// the process. Once this has returned no signal is lost. Called within the runtime of a [`ControlThread`].
    ///
    /// # Errors
    /// If signals cannot be listened to.
    pub fn run(self: Arc<Self>) -> std::io::Result<impl Future<Output = ()>> {
        let signals = signals::Signals::listen()?;
        // Read here, so that no change is missed once this has returned.
        let known = self.file().map(config::fingerprint);
        Ok(async move {
            let watch = tokio::spawn(watch::run(Arc::clone(&self), known));
            let reloads = tokio::spawn(Arc::clone(&self).reload_when_wanted());
            let verdicts = tokio::spawn(judge(Arc::clone(&self.verdicts)));
            signals::run(&self, signals).await;
            watch.abort();
            reloads.abort();
            verdicts.abort();
        })
    }

    async fn reload_when_wanted(self: Arc<Self>) {
        loop {
            self.wanted.notified().await;
            let supervisor = Arc::clone(&self);
            // A task of its own, so that a bug costs one reload and not all later ones.
            let reload = tokio::spawn(async move { supervisor.reload().await });
            if reload.await.is_err() {
                log::error!("a reload panicked; this is a bug");
            }
        }
    }

    /// Closes listeners and lets open connections end, until the drain deadline.
    pub fn drain(&self) {
        let snapshot = self.published.load();
        let open: u64 = snapshot.listeners.iter().map(drain::open_connections).sum();
        let most = config::values::duration_text(snapshot.drain_timeout);
        log::info!("draining: {open} open connections have at most {most} to end");
        self.drains.begin_process();
        self.published.advance(Phase::Draining);
        bind::retire_all(&snapshot);
        self.wake_workers();
    }

    /// Closes everything at once.
    pub fn stop(&self) {
        log::info!("stopping at once");
        self.published.advance(Phase::Stopping);
        bind::retire_all(&self.published.load());
        self.wake_workers();
    }

    fn wake_workers(&self) {
        for wake in &self.wakers {
            wake();
        }
    }

    fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Judges endpoints for the life of the process, whatever happens to one look.
async fn judge(verdicts: Arc<Verdicts>) {
    loop {
        let verdicts = Arc::clone(&verdicts);
        match tokio::spawn(async move { verdicts.run().await }).await {
            Ok(Err(error)) => log::error!("endpoints are not judged: {error}; trying again"),
            Ok(Ok(never)) => match never {},
            Err(end) if end.is_cancelled() => return,
            Err(_) => log::error!("judging endpoints panicked; this is a bug"),
        }
        tokio::time::sleep(JUDGE_AGAIN).await;
    }
}

/// Notes in the metrics that the configuration on disk is the one in force.
fn note_applied(stats: &ConfigStats) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    stats.last_reload_successful.set(1);
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    stats.last_reload_success_timestamp.set(seconds);
}
