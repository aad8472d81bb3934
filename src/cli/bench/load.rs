//! The load itself: threads, each with an engine and its share of the connections, and what they report.
//!
//! A thread reports its tally once a second over a channel; the calling thread merges, shows progress and writes the
//! interval log. Nothing is shared between threads but the length of the first answer.

use super::exchange::{Answer, Exchange, Work, Wrong, echo_datagrams};
use super::pace::Schedule;
use super::progress::Progress;
use super::results::{Collector, Results};
use super::settings::Settings;
use super::tally::{ErrorKind, Tally};
use crate::base::Instant;
use crate::engine::{
    ConnectOptions, DatagramOptions, DatagramSocket, Engine, EngineSettings, Event, Stream, raise_fd_limit,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// One interval of the log and of the progress line.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Pause of a connection after it could not connect, so that a dead server is not flooded.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// With spinning, the last stretch before a due time is waited for with the core busy.
const SPIN: Duration = Duration::from_millis(2);
/// How often the end of an open loop looks whether the last requests have begun.
const LAST_REQUESTS_POLL: Duration = Duration::from_millis(10);
/// Descriptors beside the connections: rings, files, standard streams.
const FDS_EXTRA: usize = 64;

/// What a thread tells the collector.
pub enum Report {
    /// The tally of interval `index` (whole seconds since the measurement began).
    Interval {
        index: u64,
        tally: Box<Tally>,
    },
    /// The thread is done; the measured time that it took.
    Finished {
        driver: &'static str,
        measured: Duration,
    },
    Failed(String),
}

/// Runs the load to its end. Errors are sentences for the user; wrong answers are in the results.
pub fn run(settings: &Settings, log: Option<&mut impl Write>) -> Result<Results, String> {
    let wanted = (settings.connections + FDS_EXTRA) as u64;
    match raise_fd_limit(wanted) {
        Ok(limit) if limit < wanted => {
            return Err(format!(
                "{wanted} open files are needed and the limit is {limit}: use fewer --connections or raise `ulimit -n`"
            ));
        }
        Ok(_) => {}
        Err(error) => return Err(format!("cannot read the limit of open files: {error}")),
    }
    let (sender, receiver) = channel();
    let first_length = Arc::new(OnceLock::new());
    let mut threads = Vec::new();
    for number in 0..settings.threads {
        let share = Share::of(settings, number, first_length.clone());
        let sender = sender.clone();
        let spawned = thread::Builder::new()
            .name(format!("bench-{number}"))
            .spawn(move || run_thread(share, &sender))
            .map_err(|error| format!("cannot start thread {number}: {error}"))?;
        threads.push(spawned);
    }
    drop(sender);
    let mut collector = Collector::new(settings, log)?;
    let mut progress = Progress::new(settings);
    for report in receiver {
        match report {
            Report::Interval { index, tally } => {
                progress.interval(index, &tally);
                collector.interval(index, *tally)?;
            }
            Report::Finished { driver, measured } => collector.finished(driver, measured),
            Report::Failed(error) => return Err(error),
        }
    }
    progress.end();
    for thread in threads {
        thread.join().map_err(|_| "a thread of the load generator panicked".to_owned())?;
    }
    collector.results(settings)
}

/// The part of the load that one thread carries.
struct Share {
    settings: Settings,
    connections: usize,
    requests: Option<u64>,
    /// Requests a second of this thread.
    rate: Option<f64>,
    first_length: Arc<OnceLock<u64>>,
}

impl Share {
    fn of(settings: &Settings, number: usize, first_length: Arc<OnceLock<u64>>) -> Share {
        let threads = settings.threads as u64;
        let part = |whole: u64| whole / threads + u64::from((number as u64) < whole % threads);
        Share {
            settings: settings.clone(),
            connections: part(settings.connections as u64) as usize,
            requests: settings.requests.map(part),
            rate: settings.rate.map(|rate| rate / settings.threads as f64),
            first_length,
        }
    }
}

fn run_thread(share: Share, sender: &Sender<Report>) {
    let settings = EngineSettings { driver: share.settings.driver, ..EngineSettings::default() };
    let engine = match Engine::new(&settings) {
        Ok(engine) => engine,
        Err(error) => {
            let _ = sender.send(Report::Failed(error.to_string()));
            return;
        }
    };
    let reports = sender.clone();
    // A collector that is gone has failed already: there is nobody left to tell.
    engine.run(drive(engine.clone(), share, move |report| drop(reports.send(report))));
    engine.stop();
}

/// One thread's load on its engine, from start to end.
async fn drive(engine: Engine, share: Share, report: impl Fn(Report) + 'static) {
    let connections = share.connections;
    let run = Rc::new(Run::new(engine.clone(), share, Box::new(report)));
    for _ in 0..connections {
        engine.spawn(connection(run.clone()));
    }
    if run.schedule.is_some() {
        engine.spawn(pace(run.clone()));
    }
    engine.spawn(tick(run.clone()));
    while run.connections_left.get() > 0 {
        run.connection_ended.wait().await;
    }
    run.finish();
}

/// What the tasks of one thread share.
struct Run {
    engine: Engine,
    share: Share,
    report: Box<dyn Fn(Report)>,
    measured_from: Instant,
    until: Instant,
    /// Requests that may still begin.
    requests_left: Cell<u64>,
    schedule: Option<Schedule>,
    /// Open loop: how many requests are due, and how many of them have begun.
    due: Cell<u64>,
    begun: Cell<u64>,
    ended: Cell<bool>,
    /// Connections that wait for a request to be due, the longest idle first.
    idle: RefCell<VecDeque<Rc<Event>>>,
    connections_left: Cell<usize>,
    connection_ended: Event,
    interval: Cell<u64>,
    tally: RefCell<Tally>,
}

impl Run {
    fn new(engine: Engine, share: Share, report: Box<dyn Fn(Report)>) -> Run {
        let start = engine.now();
        let measured_from = start + share.settings.warm_up;
        Run {
            measured_from,
            until: share.settings.duration.map_or(Instant::NEVER, |duration| measured_from + duration),
            requests_left: Cell::new(share.requests.unwrap_or(u64::MAX)),
            schedule: share.rate.map(|rate| Schedule::new(start, rate, !share.settings.spin)),
            due: Cell::new(0),
            begun: Cell::new(0),
            ended: Cell::new(false),
            idle: RefCell::new(VecDeque::new()),
            connections_left: Cell::new(share.connections),
            connection_ended: Event::default(),
            interval: Cell::new(0),
            tally: RefCell::new(Tally::default()),
            engine,
            share,
            report,
        }
    }

    /// When the next request counts as begun, or `None` when the run is over. Waits until one is due.
    async fn next_request(&self, event: &Rc<Event>) -> Option<Instant> {
        let Some(schedule) = &self.schedule else {
            let now = self.engine.now();
            return (now < self.until && self.take_request()).then_some(now);
        };
        loop {
            if self.ended.get() {
                return None;
            }
            let number = self.begun.get();
            if number < self.due.get() {
                self.begun.set(number + 1);
                return Some(schedule.due(number));
            }
            self.idle.borrow_mut().push_back(event.clone());
            event.wait().await;
        }
    }

    fn take_request(&self) -> bool {
        let left = self.requests_left.get();
        self.requests_left.set(left.saturating_sub(1));
        left > 0
    }

    /// Counts one exchange that began (or was due) at `from`.
    fn record(&self, from: Instant, outcome: Result<Answer, Wrong>) {
        let now = self.engine.now();
        self.roll(now);
        let judged = outcome.and_then(|answer| {
            self.share.settings.expectation.judge(&answer, &self.share.first_length).map(|()| answer)
        });
        let mut tally = self.tally.borrow_mut();
        match judged {
            Ok(answer) if now >= self.measured_from => {
                let latency = u64::try_from(now.since(from).as_nanos()).unwrap_or(u64::MAX);
                tally.right(latency, answer.status, answer.received);
            }
            Ok(_) => {}
            Err(wrong) => tally.wrong(wrong.kind, wrong.text),
        }
    }

    /// Reports every interval that has ended by `now`.
    fn roll(&self, now: Instant) {
        let index = (now.since(self.measured_from).as_nanos() / INTERVAL.as_nanos()) as u64;
        while self.interval.get() < index {
            let tally = self.tally.take();
            (self.report)(Report::Interval { index: self.interval.get(), tally: Box::new(tally) });
            self.interval.set(self.interval.get() + 1);
        }
    }

    fn finish(&self) {
        let now = self.engine.now();
        self.roll(now);
        let mut tally = self.tally.take();
        tally.unsent = self.due.get() - self.begun.get();
        (self.report)(Report::Interval { index: self.interval.get(), tally: Box::new(tally) });
        let measured = now.since(self.measured_from);
        (self.report)(Report::Finished { driver: self.engine.driver_name(), measured });
    }

    /// Lets as many idle connections go on as requests are due, or all at the end.
    fn wake_idle(&self, ended: bool) {
        let mut idle = self.idle.borrow_mut();
        let ready = (self.due.get() - self.begun.get()).min(idle.len() as u64) as usize;
        let count = if ended { idle.len() } else { ready };
        for event in idle.drain(..count) {
            event.notify();
        }
    }
}

/// One connection's requests, one after another.
async fn connection(run: Rc<Run>) {
    let settings = &run.share.settings;
    let event = Rc::new(Event::default());
    let mut exchange = Exchange::new(&settings.work);
    let mut line = None;
    while let Some(from) = run.next_request(&event).await {
        let deadline = run.engine.now() + settings.timeout;
        let attempt = attempt(&run, &mut line, &mut exchange);
        let outcome = match run.engine.timeout(deadline, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                exchange = Exchange::new(&settings.work);
                Err(Wrong::new(ErrorKind::Timeout, format_args!("no whole answer within {:?}", settings.timeout)))
            }
        };
        let keep = !settings.new_connection && outcome.as_ref().is_ok_and(|answer| answer.keep_alive);
        let unreachable = outcome.as_ref().is_err_and(|wrong| wrong.kind == ErrorKind::Connect);
        run.record(from, outcome);
        if !keep {
            line = None;
        }
        if unreachable {
            run.engine.sleep(RECONNECT_PAUSE).await;
        }
    }
    run.connections_left.set(run.connections_left.get() - 1);
    run.connection_ended.notify();
}

/// What a connection is made of.
enum Line {
    Stream(Stream),
    Datagrams(DatagramSocket),
}

impl Line {
    async fn open(run: &Run) -> std::io::Result<Line> {
        let settings = &run.share.settings;
        Ok(match &settings.work {
            Work::Http { .. } | Work::Echo { .. } => {
                Line::Stream(run.engine.connect(&settings.address.into(), &ConnectOptions::default()).await?)
            }
            Work::Datagrams { payload, .. } => {
                // Room for a whole answer, and more: what does not fit is lost.
                let options = DatagramOptions { queue_bytes: 16 * payload.len(), ..DatagramOptions::default() };
                Line::Datagrams(run.engine.connect_datagrams(settings.address, &options)?)
            }
        })
    }
}

async fn attempt(run: &Run, line: &mut Option<Line>, exchange: &mut Exchange) -> Result<Answer, Wrong> {
    let work = &run.share.settings.work;
    let line = match line {
        Some(line) => line,
        empty => empty.insert(Line::open(run).await.map_err(|error| Wrong::new(ErrorKind::Connect, error))?),
    };
    match (line, work) {
        (Line::Stream(stream), _) => exchange.perform(stream, work, run.engine.random()).await,
        (Line::Datagrams(socket), Work::Datagrams { payload, segment }) => {
            echo_datagrams(socket, payload, *segment).await
        }
        (Line::Datagrams(_), _) => Err(Wrong::new(ErrorKind::Send, "a socket of datagrams for a stream's work")),
    }
}

/// Makes requests due as the schedule says, until the run is over.
async fn pace(run: Rc<Run>) {
    let Some(schedule) = &run.schedule else { return };
    let requests_max = run.requests_left.get();
    loop {
        let next = schedule.due(run.due.get());
        if next >= run.until || run.due.get() >= requests_max {
            break;
        }
        wait_until(&run, next).await;
        let before_end = Instant(run.until.0.saturating_sub(1));
        let due = schedule.due_count(run.engine.now().min(before_end), run.due.get());
        run.due.set(due.min(requests_max));
        run.wake_idle(false);
    }
    // What is due still begins, unless the duration is over first.
    while run.begun.get() < run.due.get() && run.engine.now() < run.until {
        run.engine.sleep(LAST_REQUESTS_POLL).await;
    }
    if run.due.get() < requests_max {
        run.engine.sleep_until(run.until).await;
    }
    run.ended.set(true);
    run.wake_idle(true);
}

async fn wait_until(run: &Run, at: Instant) {
    if !run.share.settings.spin {
        return run.engine.sleep_until(at).await;
    }
    if at.since(run.engine.now()) > SPIN {
        run.engine.sleep_until(Instant(at.0 - SPIN.as_nanos() as u64)).await;
    }
    while run.engine.now() < at {
        run.engine.yield_now().await;
    }
}

/// Reports intervals in which nothing was answered.
async fn tick(run: Rc<Run>) {
    loop {
        run.engine.sleep(INTERVAL).await;
        run.roll(run.engine.now());
    }
}

#[cfg(test)]
pub mod tests;
