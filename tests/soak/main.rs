//! A soak: the real program under minutes of churn, with origins that are killed, clients that reset, readers and senders
//! that are slow, and reloads all the time. Every byte is checked; in between, all is let go, and what the program
//! holds must be what it held at first. `scripts/soak` runs it; it is no part of the everyday tests.
//!
//! The same program is its own origins: `soak origin PORT PATH` is a process that can be killed.

mod clients;
mod gate;
mod origin;
mod socket;
mod story;
mod tally;

use gate::{Gate, Held};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tally::Tally;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

/// How long a stretch of churn is, before everything is let go and counted.
const STRETCH: Duration = Duration::from_secs(20);
/// How long the program may take to let go of everything.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Stretches before memory is expected to stay where it is: pools and tables have reached their size by then.
const WARM_UP: usize = 3;
/// By how much resident memory may grow from the warm-up to the end: allocators do not give every page back.
const GROWTH_KIB_MAX: u64 = 4 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = LocalSet::new();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["origin", port, path] => local.block_on(&runtime, origin::serve(port.parse().expect("a port"), path.into())),
        [engine @ ("uring" | "epoll"), minutes] if minutes.parse::<f64>().is_ok_and(|minutes| minutes > 0.0) => {
            let time = Duration::from_secs_f64(60.0 * minutes.parse::<f64>().unwrap_or(1.0));
            local.block_on(&runtime, soak(engine.to_owned(), time))
        }
        _ => {
            eprintln!("usage: soak uring|epoll MINUTES");
            ExitCode::from(2)
        }
    }
}

async fn soak(engine: String, time: Duration) -> ExitCode {
    let tally = Rc::new(Tally::default());
    let gate = Rc::new(Gate::start(&engine).await);
    let until = Instant::now() + time;
    let mut base: Option<Held> = None;
    let mut last = Held::default();
    let mut resident = Vec::new();
    while Instant::now() < until && tally.faults() == 0 {
        churn(&gate, &tally, STRETCH.min(until.saturating_duration_since(Instant::now()))).await;
        let held = settle(&gate, base, &tally).await;
        println!(
            "{engine} {:>4} s  {held}  {}",
            time.saturating_sub(until - Instant::now().min(until)).as_secs(),
            tally.line()
        );
        resident.push(held.resident_kib);
        last = held;
        // The first stretch opens what stays open: log, timers, the metrics page's own connection.
        base.get_or_insert(held);
    }
    if let [_, .., last] = resident[..]
        && let Some(first) = resident.get(WARM_UP)
        && last > first + GROWTH_KIB_MAX
    {
        tally.fault(format!("memory grew from {first} KiB after the warm-up to {last} KiB"));
    }
    if !gate.is_running() {
        tally.fault("the program has ended".to_owned());
    }
    println!("{engine}: resident memory at rest, KiB: {resident:?}\n{}", tally.report());
    println!("  at first: {}\n  at last:  {last}", base.unwrap_or_default());
    if tally.faults() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Clients, reloads and killings for a while; all of the clients have ended when it returns.
async fn churn(gate: &Rc<Gate>, tally: &Rc<Tally>, time: Duration) {
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for number in 0..clients::COUNT {
        tasks.spawn_local(clients::client(number, gate.clone(), tally.clone(), until));
    }
    while Instant::now() < until {
        sleep(Duration::from_millis(20 + tally.random(150))).await;
        gate.reload(tally);
        if tally.random(12) == 0 {
            gate.kill_an_origin(tally).await;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tally.fault(format!("a client failed: {error}"));
        }
    }
}

/// Waits until the program holds no more than at first; says what it holds then.
async fn settle(gate: &Rc<Gate>, base: Option<Held>, tally: &Rc<Tally>) -> Held {
    gate.restore().await;
    let until = Instant::now() + SETTLE_MAX;
    loop {
        sleep(Duration::from_secs(1)).await;
        let Some(held) = gate.held().await else {
            tally.fault("the metrics cannot be had".to_owned());
            return base.unwrap_or_default();
        };
        if held.is_at_rest(base) {
            return held;
        }
        if Instant::now() > until {
            tally.fault(format!("not let go after {SETTLE_MAX:?}: {held}; at first it was {base:?}"));
            return held;
        }
    }
}
