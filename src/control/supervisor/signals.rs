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

/// The signals that the process no longer dies of.
pub struct Signals {
    hangup: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on signals are kept for [`run`]. Within a tokio runtime only.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Serves signals for the life of the process.
pub async fn run(supervisor: &Supervisor, mut signals: Signals) {
    let mut deadline = None;
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => supervisor.request_reload(),
            _ = signals.reopen.recv() => {
                log::info!("reopening the access log");
                supervisor.log.reopen();
            }
            name = either(&mut signals.terminate, &mut signals.interrupt) => {
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
