//! `ringgate run`: wires control to workers, and waits for the end. The one place that knows both; no logic of either.

use super::FILE_DEFAULT;
use crate::base::Sharded;
use crate::base::heap::{Budget, heap_of_others};
use crate::control::admin::{self, AdminState};
use crate::control::config::{self, EngineChoice, Loaded, Report};
use crate::control::health::Verdicts;
use crate::control::memory::{Contract, Sizes};
use crate::control::prober::{self, Prober};
use crate::control::supervisor::{ControlThread, Drains, Running, Start, Supervisor, Waker, bind_first};
use crate::engine::{DriverChoice, processors, raise_fd_limit};
use crate::health::ProbeVerdict;
use crate::health::probe::Verdict;
use crate::snapshot::{Listener, Protocol, Published, Snapshot};
use crate::telemetry::access_log::{LogThread, access_log};
use crate::telemetry::log::worker_log;
use crate::telemetry::{ConfigStats, LogStats, WorkerStats, log};
use crate::upstream::Registry;
use crate::worker::{Started, Worker};
use clap::Args;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Descriptors beside those of connections: listeners, rings, logs, the admin listener.
const DESCRIPTORS_SPARE: u64 = 1_024;
/// How long the log may take to write its last lines.
const LOG_FINISH_MAX: Duration = Duration::from_secs(2);

/// Start a gateway, and run until a signal ends it
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct RunArguments {
    /// The configuration file
    #[arg(default_value = FILE_DEFAULT)]
    pub file: PathBuf,
}

const HELP: &str = "\
Signals:
  SIGHUP           read the file again: all of it applies or none; no connection is lost
  SIGTERM, SIGINT  drain: close listeners, let connections end within `drain_timeout`, then exit; again: exit at once
  SIGUSR1          reopen the access log

Examples:
  ringgate run /etc/ringgate/ringgate.toml
  RINGGATE_ENGINE=epoll ringgate run gate.toml    whatever `engine` says

Exit code: 0 after a drain, 1 if it cannot start.";

/// Where a configuration comes from.
pub enum Source {
    File(PathBuf),
    /// Built into the program: there is nothing to reload.
    BuiltIn {
        name: &'static str,
        text: String,
    },
}

/// Runs a gateway until it is told to end by a signal. Says on stderr why it cannot, if so.
pub fn run(source: Source) -> ExitCode {
    run_then(source, |_| {})
}

/// Like [`run`], and calls `ready` with the first snapshot once connections are accepted.
pub fn run_then(source: Source, ready: impl FnOnce(&Snapshot)) -> ExitCode {
    log::log_panics();
    match start(source) {
        Ok(gateway) => {
            ready(&gateway.published.load());
            gateway.wait()
        }
        Err(why) => {
            log::write_block(log::Level::Error, format_args!("cannot start"), &why);
            ExitCode::FAILURE
        }
    }
}

/// A gateway that accepts connections.
struct Gateway {
    published: Arc<Published>,
    workers: Vec<JoinHandle<()>>,
    control: ControlThread,
    log: Arc<LogThread>,
    _prober: Prober,
}

fn start(source: Source) -> Result<Gateway, String> {
    let heap_before = heap_of_others();
    let (file, loaded) = load(source).map_err(|report| report.to_string())?;
    if loaded.warnings.warnings() > 0 {
        log::write_block(
            log::Level::Warn,
            format_args!("the configuration has warnings"),
            &loaded.warnings.to_string(),
        );
    }
    let running = Running::of(&loaded);
    let driver = driver_choice(running.process.engine)?;
    let workers = super::memory::workers(&running.process);
    let memory_max = loaded.settings.memory_max;
    let mut registry = Registry::new(workers);
    let snapshot = config::compile(loaded.settings, &mut registry, 1);
    let sizes = super::memory::sizes(workers, heap_of_others().saturating_sub(heap_before));
    let budget = limit_memory(memory_max, &snapshot, &sizes)?;
    bind_first(&snapshot)?;
    check_descriptors(&snapshot)?;
    let admin = running.process.admin.map(bind_admin).transpose()?;
    let published = Arc::new(Published::new(snapshot));
    let stats = Arc::new(Sharded::<WorkerStats>::new(workers));
    let log_stats = Arc::new(LogStats::default());
    let crew = start_workers(workers, driver, &published, &stats, &budget)?;
    let log = LogThread::start(running.process.access_log.clone(), crew.readers, crew.logs, log_stats.clone())
        .map_err(|error| format!("the access log cannot be opened: {error}; see [access_log] path"))?;
    let log = Arc::new(log);
    let driver_name = announce(&published.load(), &crew.started);
    let config_stats = Arc::new(ConfigStats::default());
    let verdicts = Verdicts::new(published.clone());
    let prober = Prober::start(published.clone(), probe_report(verdicts.clone()))
        .map_err(|error| format!("the prober's thread cannot start: {error}"))?;
    let wakers = crew.started.into_iter().map(waker).chain([prober.waker()]);
    let drains = Arc::new(Drains::default());
    let supervisor = Supervisor::new(Start {
        file,
        running,
        registry,
        published: published.clone(),
        wakers: wakers.collect(),
        log: log.clone(),
        stats: config_stats.clone(),
        budget: budget.clone(),
        sizes,
        drains: drains.clone(),
        verdicts: verdicts.clone(),
    });
    let state = AdminState {
        published: published.clone(),
        started: Arc::new(AtomicBool::new(true)),
        engine: driver_name,
        workers: stats,
        config: config_stats,
        log: log_stats,
        budget,
        drains,
        verdicts,
        reload: reload_of(&supervisor),
    };
    let control = start_control(supervisor, admin, state)?;
    log::info!("ready");
    Ok(Gateway { published, workers: crew.threads, control, log, _prober: prober })
}

fn bind_admin(address: SocketAddr) -> Result<TcpListener, String> {
    admin::bind(address).map_err(|error| {
        format!(
            "the admin listener cannot listen at {address}: {error}; does another Ringgate run? Set `address` of [admin], to \
             another port or to \"off\""
        )
    })
}

fn load(source: Source) -> Result<(Option<PathBuf>, Loaded), Report> {
    match source {
        Source::File(path) => {
            let loaded = config::load(&path, None)?;
            Ok((Some(path), loaded))
        }
        Source::BuiltIn { name, text } => {
            let loaded = config::load_text(name, &text, &|_, _| Ok(Vec::new()))?;
            Ok((None, loaded))
        }
    }
}

/// The configured driver, unless `RINGGATE_ENGINE` names another.
fn driver_choice(configured: EngineChoice) -> Result<DriverChoice, String> {
    match std::env::var("RINGGATE_ENGINE").as_deref() {
        Ok("auto") => Ok(DriverChoice::Auto),
        Ok("uring") => Ok(DriverChoice::Uring),
        Ok("epoll") => Ok(DriverChoice::Epoll),
        Ok(other) => Err(format!("RINGGATE_ENGINE is `{other}`; it may be auto, uring or epoll")),
        Err(_) => Ok(match configured {
            EngineChoice::Auto => DriverChoice::Auto,
            EngineChoice::Uring => DriverChoice::Uring,
            EngineChoice::Epoll => DriverChoice::Epoll,
        }),
    }
}

/// Raises the limit of open files to what the configuration may need, or says what will not fit.
fn check_descriptors(snapshot: &Snapshot) -> Result<(), String> {
    // Each client connection may have one to an endpoint; a flow is one socket to an endpoint.
    let of_listener = |listener: &Listener| match &listener.protocol {
        Protocol::Udp(udp) => u64::from(udp.flows_max),
        Protocol::Http(_) | Protocol::Tcp(_) => 2 * u64::from(listener.connections_max),
    };
    let open: u64 = snapshot.listeners.iter().map(of_listener).sum();
    let probed = snapshot.upstreams.iter().filter(|upstream| upstream.probe.is_some());
    let probes = prober::descriptors_max(probed.map(|upstream| upstream.endpoints.len()).sum());
    let wanted = open + probes + DESCRIPTORS_SPARE;
    let limit = raise_fd_limit(wanted).map_err(|error| format!("the limit of open files cannot be read: {error}"))?;
    if limit < wanted {
        log::warn!(
            "the limit of open files is {limit}; connections and flows may need {wanted}. Accepting pauses where it is \
             reached. Raise LimitNOFILE (systemd) or ulimit -n, or lower `connections_max` and `flows_max` of the listeners"
        );
    }
    Ok(())
}

/// The budget that all workers keep to, and in the log what it is.
fn limit_memory(memory_max: Option<u64>, snapshot: &Snapshot, sizes: &Sizes) -> Result<Arc<Budget>, String> {
    let contract = Contract::new(memory_max, snapshot, sizes)?;
    if let Some(warning) = contract.warning() {
        log::warn!("{warning}");
    }
    log::info!("{}", contract.line());
    let budget = Budget::new(sizes.workers, u64::MAX, u64::MAX);
    contract.keep(&budget);
    Ok(budget)
}

/// The workers, and the ends of their queues that control reads.
struct Crew {
    threads: Vec<JoinHandle<()>>,
    started: Vec<Started>,
    readers: Vec<crate::telemetry::access_log::AccessLogReader>,
    logs: Vec<crate::telemetry::log::WorkerLogReader>,
}

fn start_workers(
    count: usize,
    driver: DriverChoice,
    published: &Arc<Published>,
    stats: &Arc<Sharded<WorkerStats>>,
    budget: &Arc<Budget>,
) -> Result<Crew, String> {
    let processors = processors();
    let (report, reports) = channel();
    let mut crew = Crew { threads: Vec::new(), started: Vec::new(), readers: Vec::new(), logs: Vec::new() };
    for index in 0..count {
        let (access_log, reader) = access_log(index);
        let (log, log_reader) = worker_log(index);
        crew.readers.push(reader);
        crew.logs.push(log_reader);
        let worker = Worker {
            index,
            // More workers than processors: the kernel may move them.
            processor: (count <= processors.len()).then(|| processors[index]),
            driver,
            budget: budget.clone(),
            published: published.clone(),
            stats: stats.clone(),
            access_log,
            log,
        };
        let thread = worker.start(said(&report)).map_err(|error| format!("worker {index} cannot start: {error}"))?;
        crew.threads.push(thread);
    }
    drop(report);
    for _ in 0..count {
        match reports.recv() {
            Ok(Ok(started)) => crew.started.push(started),
            Ok(Err(why)) => return Err(why),
            Err(_) => return Err("a worker ended before it had started; this is a bug".to_owned()),
        }
    }
    crew.started.sort_by_key(|started| started.index);
    Ok(crew)
}

/// Passes on what one worker says of its start. If nobody listens any more, the start has failed already.
fn said(report: &Sender<Result<Started, String>>) -> impl FnOnce(Result<Started, String>) + Send + use<> {
    let report = report.clone();
    move |started| _ = report.send(started)
}

/// Says what runs and where it listens; gives the driver's name.
fn announce(snapshot: &Snapshot, started: &[Started]) -> &'static str {
    let driver = started.first().map_or("none", |started| started.driver);
    log::info!("ringgate {} with {} workers on {driver}", env!("CARGO_PKG_VERSION"), started.len());
    if let Some(why) = started.first().and_then(|started| started.fallback.as_deref()) {
        log::info!("engine: epoll instead of io_uring, because {why}");
    }
    for listener in &snapshot.listeners {
        log::info!("listening name={} address={}", listener.name, listener.bound_address());
    }
    driver
}

/// What the prober says puts an endpoint in service or takes it out, as far as the verdicts on all of them allow it.
fn probe_report(verdicts: Arc<Verdicts>) -> prober::Report {
    Box::new(move |endpoint, verdict, why| {
        let verdict = match verdict {
            None => ProbeVerdict::Unprobed,
            Some(Verdict::Up) => ProbeVerdict::Up,
            Some(Verdict::Down) => ProbeVerdict::Down { reason: why.to_owned() },
        };
        verdicts.probed(endpoint, verdict);
    })
}

fn waker(started: Started) -> Waker {
    Box::new(move || started.remote.wake())
}

fn reload_of(supervisor: &Arc<Supervisor>) -> Box<dyn Fn() -> admin::ReloadFuture + Send + Sync> {
    let supervisor = supervisor.clone();
    Box::new(move || {
        let supervisor = supervisor.clone();
        Box::pin(async move { supervisor.reload().await })
    })
}

fn start_control(
    supervisor: Arc<Supervisor>,
    admin: Option<TcpListener>,
    state: AdminState,
) -> Result<ControlThread, String> {
    if let Some(listener) = &admin
        && let Ok(address) = listener.local_addr()
    {
        log::info!("listening name=admin address={address}");
    }
    let (ready, is_ready) = channel();
    let control = ControlThread::start(move || async move {
        if let Some(listener) = admin {
            tokio::spawn(async move {
                let Err(error) = admin::serve(listener, Arc::new(state)).await;
                log::error!("the admin listener ended: {error}");
            });
        }
        let running = supervisor.run();
        let _ = ready.send(running.as_ref().map(|_| ()).map_err(ToString::to_string));
        if let Ok(running) = running {
            running.await;
        }
    })
    .map_err(|error| format!("the control thread cannot start: {error}"))?;
    match is_ready.recv() {
        Ok(Ok(())) => Ok(control),
        Ok(Err(error)) => Err(format!("signals cannot be received: {error}")),
        Err(_) => Err("the control thread ended at its start; this is a bug".to_owned()),
    }
}

impl Gateway {
    /// Waits until the workers have ended, which they do when they are told to drain or to stop.
    fn wait(self) -> ExitCode {
        let failed = self.workers.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        self.control.finish();
        log::info!("ended");
        self.log.finish(LOG_FINISH_MAX);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
