//! One data-plane thread: its engine, its listeners, its view of the snapshot. It follows what is published and reports
//! through counters; it decides nothing. `cli/run` starts one for each core; simulations run [`serve`] on a simulated
//! engine.

use crate::base::Sharded;
use crate::base::heap::{self, Budget, Share};
use crate::connection::{Context, keep_to_budget, watch_parked};
use crate::engine::{DriverChoice, Engine, EngineCounts, EngineSettings, Remote};
use crate::listener::Listeners;
use crate::snapshot::{Phase, Published};
use crate::telemetry::WorkerStats;
use crate::telemetry::access_log::AccessLogWriter;
use crate::telemetry::log::WorkerLog;
use crate::telemetry::timestamp::wall_clock_micros;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often engine counts go into the statistics and the log's clock is set.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often a drain looks whether everything has been accepted.
const ACCEPT_LOOK: Duration = Duration::from_millis(1);
/// How often a drain looks whether connections are left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What connections have to end in, to write their lines and to answer, once they are cut off.
const CUT_TIME_MAX: Duration = Duration::from_millis(200);
const CUT_LOOK: Duration = Duration::from_millis(2);

/// What a worker is made of.
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// The processor that the thread is pinned to, if any.
    pub processor: Option<usize>,
    pub driver: DriverChoice,
    /// What the heap of the process may come to.
    pub budget: Arc<Budget>,
    pub published: Arc<Published>,
    pub stats: Arc<Sharded<WorkerStats>>,
    pub access_log: AccessLogWriter,
    pub log: WorkerLog,
}

/// What a worker says once it listens.
pub struct Started {
    pub index: usize,
    /// Wakes the worker to look at what is published.
    pub remote: Remote,
    /// "uring" or "epoll".
    pub driver: &'static str,
    /// Why it is not uring although that was left open.
    pub fallback: Option<String>,
}

impl Worker {
    /// Starts the thread "worker-N". It calls `started` when its listeners are open, or with why it cannot run.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub fn start(self, started: impl FnOnce(Result<Started, String>) + Send + 'static) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("worker-{}", self.index)).spawn(move || {
            if let Some(processor) = self.processor {
                crate::engine::pin_thread(processor);
            }
            let _entered = Share::enter(self.budget.clone(), self.index);
            let settings = EngineSettings { driver: self.driver, ..EngineSettings::default() };
            let engine = match Engine::new(&settings) {
                Ok(engine) => engine,
                Err(error) => {
                    return started(Err(format!("worker {} cannot start: {error}", self.index)));
                }
            };
            let main = run(engine.clone(), self, started);
            engine.run(main);
            engine.stop();
        })
    }
}

async fn run(engine: Engine, worker: Worker, started: impl FnOnce(Result<Started, String>)) {
    let index = worker.index;
    let context = Context::new(&engine, index, worker.published, worker.stats, worker.access_log, worker.log);
    let report = Started {
        index,
        remote: engine.remote(),
        driver: engine.driver_name(),
        fallback: engine.fallback().map(str::to_owned),
    };
    serve(context, move |errors| {
        let outcome = if errors.is_empty() {
            Ok(report)
        } else {
            let errors: Vec<String> =
                errors.iter().map(|(name, error)| format!("listener `{name}` cannot be opened: {error}")).collect();
            Err(errors.join("\n"))
        };
        started(outcome);
    })
    .await;
}

/// Serves what is published until the phase is Stopping, or Draining and nothing is left to drain.
/// `opened` is told once how the first listeners opened.
pub async fn serve(context: Rc<Context>, opened: impl FnOnce(Vec<(String, io::Error)>)) {
    let engine = &context.engine;
    let listeners = Listeners::default();
    engine.spawn(watch_parked(context.clone()));
    let idle = context.clone();
    engine.spawn(async move { idle.watch_idle().await });
    let flows = context.clone();
    engine.spawn(async move { flows.serve_flows().await });
    let drains = context.clone();
    engine.spawn(async move { drains.serve_drains().await });
    engine.spawn(keep_house(context.clone()));
    engine.spawn(keep_to_budget(context.clone()));
    let mut view = context.view();
    opened(listeners.follow(&context, &view));
    while context.published.phase() == Phase::Serving {
        engine.woken().await;
        let new = context.view();
        if Rc::ptr_eq(&view, &new) {
            continue;
        }
        let old = std::mem::replace(&mut view, new);
        for (name, error) in listeners.follow(&context, &view) {
            context.log.error(format_args!("listener `{name}` cannot be opened by worker {}: {error}", context.worker));
        }
        context.follow_endpoints(&old, &view);
    }
    drain(&context, &listeners).await;
}

/// Lets connections end, until the deadline or until the process is to stop at once.
async fn drain(context: &Rc<Context>, listeners: &Listeners) {
    let engine = &context.engine;
    listeners.close_all(context);
    // Let the accept loops take in what the kernel had queued for them.
    while context.accepting.get() > 0 && context.published.phase() == Phase::Draining {
        engine.sleep(ACCEPT_LOOK).await;
    }
    let deadline = engine.now() + context.view().snapshot.drain_timeout;
    while !context.is_unused() && engine.now() < deadline && context.published.phase() == Phase::Draining {
        engine.sleep(DRAIN_LOOK).await;
    }
    context.end_flows();
    listeners.cut_all();
    let deadline = engine.now() + CUT_TIME_MAX;
    while !context.is_unused() && engine.now() < deadline {
        engine.sleep(CUT_LOOK).await;
    }
}

async fn keep_house(context: Rc<Context>) {
    let last = Cell::new(EngineCounts::default());
    loop {
        context.access_log.sync_clock(context.engine.now(), wall_clock_micros());
        let counts = context.engine.counts();
        let before = last.replace(counts);
        let stats = context.worker_stats();
        stats.lag.set(i64::try_from(context.engine.lag().as_micros()).unwrap_or(i64::MAX));
        stats.engine_turns.add(counts.turns - before.turns);
        stats.engine_completions.add(counts.completions - before.completions);
        stats.engine_receive_paused.add(counts.receive_paused - before.receive_paused);
        stats.engine_sends_stalled.add(counts.sends_stalled - before.sends_stalled);
        stats.engine_completion_overflows.add(counts.completion_overflows - before.completion_overflows);
        stats.engine_spliced_bytes.add(counts.spliced_bytes - before.spliced_bytes);
        stats.engine_pipes_refused.add(counts.pipes_refused - before.pipes_refused);
        stats.engine_pipes_used.set(counts.pipes_used as i64);
        stats.engine_pipe_bytes.set(counts.pipe_bytes as i64);
        stats.tasks_panicked.add(counts.tasks_panicked - before.tasks_panicked);
        stats.tasks_active.set(counts.tasks_active as i64);
        stats.engine_buffers_free.set(counts.buffers_free as i64);
        stats.engine_sends_refused.add(counts.sends_refused - before.sends_refused);
        note_memory(&context, &counts);
        stats.connections_parked.set(context.parked() as i64);
        stats.snapshot_generation.set(context.view().snapshot.generation as i64);
        context.engine.sleep(HOUSEKEEPING).await;
    }
}

fn note_memory(context: &Context, counts: &EngineCounts) {
    heap::look();
    let stats = context.worker_stats();
    let (requests, spares) = context.memory_held();
    stats.memory_heap_bytes.set(heap::heap_of_thread());
    stats.memory_receive_bytes.set(counts.bytes_received_held as i64);
    stats.memory_waiting_bytes.set(counts.bytes_detached as i64);
    stats.memory_buffered_bytes.set(context.memory_buffered() as i64);
    stats.memory_request_bytes.set(requests as i64);
    stats.memory_spare_bytes.set(spares as i64);
}
