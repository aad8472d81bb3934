//! The log of the program itself: start-up, reload, drain, trouble. One line each, to stderr, with time and level.
//!
//! Not the access log (see [`crate::telemetry::access_log`]). Control-plane threads and start-up code use `info!`,
//! `warn!` and `error!`, which write at once and may block. A worker may not block: it owns a [`WorkerLog`], a
//! bounded queue that a control thread empties with [`WorkerLogReader::drain`].

use super::timestamp::{rfc3339, wall_clock_micros};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Lines of one worker that wait to be written. More are dropped and counted.
pub const WORKER_LOG_LINES_MAX: usize = 256;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
}

impl Level {
    /// As the line shows it, all of the same width.
    fn label(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN ",
            Level::Info => "INFO ",
        }
    }
}

/// Writes one line to stderr. May block: never for a worker. The macros `info!`, `warn!` and `error!` call it.
pub fn write(level: Level, text: fmt::Arguments) {
    emit(&line(level, wall_clock_micros(), text));
}

/// Writes one line and below it a text of many lines (such as what `ringgate check` prints), all in one piece.
pub fn write_block(level: Level, text: fmt::Arguments, block: &str) {
    let mut lines = line(level, wall_clock_micros(), text);
    for part in block.lines() {
        let _ = write!(OneLine(&mut lines), "  {part}");
        lines.push('\n');
    }
    emit(&lines);
}

/// From now on a panic is a line of this log, with a backtrace below it where `RUST_BACKTRACE` asks for one. Called once
/// at start. A panic is a bug, so that the thread that has one may block for its line.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let payload = panic.payload();
        let owned = payload.downcast_ref::<String>().map(String::as_str);
        let text = owned.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let backtrace = Backtrace::capture();
        let below = match backtrace.status() {
            BacktraceStatus::Captured => backtrace.to_string(),
            _ => String::new(),
        };
        let name = thread.name().unwrap_or("without a name");
        write_block(Level::Error, format_args!("bug: thread {name} panicked at {place}: {text}"), &below);
    }));
}

/// Writes a line at level info, as `format!` takes it.
#[allow(unused_macros)]
macro_rules! info {
    ($($text:tt)*) => { $crate::telemetry::log::write($crate::telemetry::log::Level::Info, format_args!($($text)*)) };
}
// `warn` alone would be ambiguous with the lint attribute of that name.
#[allow(unused_macros)]
macro_rules! warning {
    ($($text:tt)*) => { $crate::telemetry::log::write($crate::telemetry::log::Level::Warn, format_args!($($text)*)) };
}
/// Writes a line at level error, as `format!` takes it.
#[allow(unused_macros)]
macro_rules! error {
    ($($text:tt)*) => { $crate::telemetry::log::write($crate::telemetry::log::Level::Error, format_args!($($text)*)) };
}
#[allow(unused_imports)]
pub(crate) use {error, info, warning as warn};

/// The queue of one worker and its two ends. The writing end moves to the worker's thread, the other to the log thread.
pub fn worker_log(worker: usize) -> (WorkerLog, WorkerLogReader) {
    let (producer, consumer) = rtrb::RingBuffer::new(WORKER_LOG_LINES_MAX);
    let log = WorkerLog { worker, lines: RefCell::new(producer), dropped: Cell::new(0) };
    (log, WorkerLogReader { lines: consumer })
}

/// How a worker logs: never blocks, drops when its queue is full and says so with the next line that fits.
///
/// For events that are rare (a driver falls back, a task panicked, an accept error that repeats): each line allocates.
#[derive(Debug)]
pub struct WorkerLog {
    worker: usize,
    lines: RefCell<rtrb::Producer<Box<str>>>,
    dropped: Cell<u64>,
}

impl WorkerLog {
    /// Queues one line. The time is read here, the line is written by the log thread a few milliseconds later.
    pub fn write(&self, level: Level, text: fmt::Arguments) {
        let mut lines = self.lines.borrow_mut();
        if lines.is_full() {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        let worker = self.worker;
        let line = match self.dropped.take() {
            0 => line(level, wall_clock_micros(), format_args!("worker {worker}: {text}")),
            n => line(
                level,
                wall_clock_micros(),
                format_args!("worker {worker}: {text} ({n} lines before it were lost)"),
            ),
        };
        let _ = lines.push(line.into());
    }
    pub fn info(&self, text: fmt::Arguments) {
        self.write(Level::Info, text);
    }
    pub fn warn(&self, text: fmt::Arguments) {
        self.write(Level::Warn, text);
    }
    pub fn error(&self, text: fmt::Arguments) {
        self.write(Level::Error, text);
    }
}

/// The end of a [`WorkerLog`] that the log thread holds.
#[derive(Debug)]
pub struct WorkerLogReader {
    lines: rtrb::Consumer<Box<str>>,
}

impl WorkerLogReader {
    /// Writes what has been queued to stderr; how many lines that were.
    pub fn drain(&mut self) -> usize {
        let mut count = 0;
        while let Ok(line) = self.lines.pop() {
            emit(&line);
            count += 1;
        }
        count
    }

    /// The next queued line, with its line break.
    pub fn pop(&mut self) -> Option<Box<str>> {
        self.lines.pop().ok()
    }
}

/// One write call for each line, so that lines of different threads do not mix. A stderr that is gone is no reason to
/// stop: the error is dropped.
fn emit(line: &str) {
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn line(level: Level, micros: u64, text: fmt::Arguments) -> String {
    let mut line = String::with_capacity(128);
    let time = rfc3339(micros);
    // Milliseconds are enough for people: "2026-01-31T23:59:59.123Z".
    line.push_str(std::str::from_utf8(&time[..23]).unwrap_or_default());
    line.push_str("Z ");
    line.push_str(level.label());
    line.push(' ');
    let _ = OneLine(&mut line).write_fmt(text);
    line.push('\n');
    line
}

/// Escapes control characters, so that no text from outside can forge a line or drive a terminal.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                c if c.is_control() => self.0.extend(c.escape_default()),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_time_and_level() {
        let line = line(Level::Warn, 951_782_400_123_456, format_args!("open {}: {}", "a\nb", "\u{1b}[31m"));
        assert_eq!(line, "2000-02-29T00:00:00.123Z WARN  open a\\nb: \\u{1b}[31m\n");
    }

    #[test]
    fn a_full_queue_drops_and_says_so_with_the_next_line() {
        let (log, mut reader) = worker_log(3);
        for n in 0..WORKER_LOG_LINES_MAX + 5 {
            log.info(format_args!("line {n}"));
        }
        assert!(reader.pop().unwrap().ends_with("INFO  worker 3: line 0\n"));
        log.error(format_args!("after"));
        let mut last = None;
        while let Some(line) = reader.pop() {
            last = Some(line);
        }
        assert!(last.unwrap().ends_with("ERROR worker 3: after (5 lines before it were lost)\n"));
    }
}
