//! Signals: SIGHUP reloads, SIGUSR1 reopens the access log, the first SIGTERM or SIGINT drains, the second stops.

use super::Supervisor;
use crate::snapshot::Phase;
use crate::telemetry::log;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// Workers close by themselves what is left at the drain deadline; this much later they are told to.
const DEADLINE_GRACE: Duration = Duration::from_secs(1);

/// Serves signals for the life of the process.
pub async fn run(supervisor: &Supervisor) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut deadline = None;
    loop {
        tokio::select! {
            _ = hangup.recv() => supervisor.request_reload(),
            _ = reopen.recv() => {
                log::info!("reopening the access log");
                supervisor.log.reopen();
            }
            name = either(&mut terminate, &mut interrupt) => {
                log::info!("{name} received");
                deadline = end(supervisor);
            }
            () = until(deadline) => {
                supervisor.stop();
                deadline = None;
            }
        }
    }
}

/// Drains at first, stops after that. Gives the instant of the stop that needs no second signal.
fn end(supervisor: &Supervisor) -> Option<Instant> {
    if supervisor.published.phase() != Phase::Serving {
        supervisor.stop();
        return None;
    }
    supervisor.drain();
    Some(Instant::now() + supervisor.published.load().drain_timeout + DEADLINE_GRACE)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
