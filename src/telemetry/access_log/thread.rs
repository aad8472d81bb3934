//! The control thread "log": empties the rings of all workers, writes access log records to a file or stdout and lines
//! of workers to stderr.
//!
//! It looks at an interval instead of being woken, so that a record costs a worker no system call. A destination that
//! fails (disk full, reader gone) loses records, which are counted; it never stops the thread.

use super::{AccessLogReader, RING_BYTES};
use crate::telemetry::LogStats;
use crate::telemetry::log::{self, WorkerLogReader};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a record waits for the log thread when there are few.
const INTERVAL: Duration = Duration::from_millis(50);
/// And when a ring was found fuller than [`BUSY_BYTES`].
const INTERVAL_BUSY: Duration = Duration::from_millis(2);
const BUSY_BYTES: usize = RING_BYTES / 16;
/// Bytes that are gathered for one write.
const BUFFER_BYTES: usize = 256 << 10;
/// How often it is said at most that writing fails.
const SAID_INTERVAL: Duration = Duration::from_secs(10);

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    /// Appended to; made with mode 0640 if it does not exist.
    File(PathBuf),
}

/// The handle of the thread.
#[derive(Debug)]
pub struct LogThread {
    commands: Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Reopen,
    Finish(Sender<()>),
}

impl LogThread {
    /// Starts the thread. `destination` is `None` while the configuration has no access log.
    ///
    /// # Errors
    /// If the file cannot be opened or the thread not be started.
    pub fn start(
        destination: Option<Destination>,
        readers: Vec<AccessLogReader>,
        worker_logs: Vec<WorkerLogReader>,
        stats: Arc<LogStats>,
    ) -> io::Result<LogThread> {
        let sink = destination.map(Sink::open).transpose()?;
        Ok(LogThread { commands: spawn(Drain { readers, worker_logs, stats, sink })? })
    }

    /// Closes the file and opens its path anew (log rotation). If it cannot be opened, the old file stays in use.
    pub fn reopen(&self) {
        let _ = self.commands.send(Command::Reopen);
    }

    /// Writes what is left and ends the thread; called once, after the workers have ended. False if that took longer
    /// than `within`: a reader of stdout that does not read cannot hold up the end of the program.
    pub fn finish(&self, within: Duration) -> bool {
        let (done, wait) = channel();
        self.commands.send(Command::Finish(done)).is_ok() && wait.recv_timeout(within).is_ok()
    }
}

fn spawn(drain: Drain) -> io::Result<Sender<Command>> {
    let (sender, commands) = channel();
    std::thread::Builder::new().name("log".into()).spawn(move || drain.run(&commands))?;
    Ok(sender)
}

/// What the thread holds.
struct Drain {
    readers: Vec<AccessLogReader>,
    worker_logs: Vec<WorkerLogReader>,
    stats: Arc<LogStats>,
    sink: Option<Sink>,
}

impl Drain {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut interval = INTERVAL;
        loop {
            let command = commands.recv_timeout(interval);
            let most = self.round();
            interval = if most > BUSY_BYTES { INTERVAL_BUSY } else { INTERVAL };
            match command {
                Ok(Command::Reopen) => self.reopen(),
                Ok(Command::Finish(done)) => {
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes all that waits now; the most bytes that waited in one ring.
    fn round(&mut self) -> usize {
        for worker_log in &mut self.worker_logs {
            worker_log.drain();
        }
        let mut most = 0;
        for reader in &mut self.readers {
            let drained = reader.drain(|bytes| {
                // Without a sink the snapshot says that there is no access log, and nothing comes.
                if let Some(sink) = &mut self.sink {
                    sink.append(bytes, &self.stats);
                }
            });
            most = most.max(drained);
        }
        if let Some(sink) = &mut self.sink {
            sink.flush(&self.stats);
        }
        most
    }

    fn reopen(&mut self) {
        let Some(sink) = &mut self.sink else { return };
        let Destination::File(path) = &sink.destination else {
            return;
        };
        match open(path) {
            Ok(file) => {
                log::info!("access log {} reopened", path.display());
                sink.replace(Box::new(file), &self.stats);
            }
            Err(error) => {
                self.stats.write_errors.inc();
                log::error!("access log {} cannot be reopened, the old file stays in use: {error}", path.display());
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// A destination and what waits to be written to it.
struct Sink {
    destination: Destination,
    output: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    /// It was said that writing fails, and not yet that it works again.
    failing: bool,
    said: Option<Instant>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Sink({:?})", self.destination)
    }
}

impl Sink {
    fn open(destination: Destination) -> io::Result<Sink> {
        let output: Box<dyn Write + Send> = match &destination {
            Destination::File(path) => Box::new(open(path)?),
            // Not `io::stdout()` itself: that one writes at every line.
            Destination::Stdout => Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        };
        Ok(Sink::new(destination, output))
    }

    fn new(destination: Destination, output: Box<dyn Write + Send>) -> Sink {
        Sink { destination, output, buffer: Vec::with_capacity(BUFFER_BYTES * 2), failing: false, said: None }
    }

    fn append(&mut self, bytes: &[u8], stats: &LogStats) {
        for part in bytes.chunks(BUFFER_BYTES) {
            self.buffer.extend_from_slice(part);
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush(stats);
            }
        }
    }

    /// Writes all whole records of the buffer; the beginning of one whose rest is still to be appended stays.
    fn flush(&mut self, stats: &LogStats) {
        let end = memchr::memrchr(b'\n', &self.buffer).map_or(0, |at| at + 1);
        let mut written = 0;
        while written < end {
            match self.output.write(&self.buffer[written..end]) {
                Ok(0) => return self.failed(written, end, &ErrorKind::WriteZero.into(), stats),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.failed(written, end, &error, stats),
            }
        }
        stats.bytes_written.add(written as u64);
        self.buffer.drain(..end);
        if self.failing && written > 0 {
            self.failing = false;
            log::info!("access log: writing works again; {} bytes were lost since the start", stats.bytes_lost.get());
        }
    }

    /// Drops the whole records that could not be written. The rest of a record whose beginning was written stays: it
    /// completes its line as soon as there is room.
    fn failed(&mut self, written: usize, end: usize, error: &io::Error, stats: &LogStats) {
        let is_cut = written > 0 && self.buffer[written - 1] != b'\n';
        let rest = match memchr::memchr(b'\n', &self.buffer[written..end]) {
            Some(at) if is_cut => at + 1,
            _ => 0,
        };
        stats.bytes_written.add(written as u64);
        stats.bytes_lost.add((end - written - rest) as u64);
        stats.write_errors.inc();
        self.buffer.drain(written + rest..end);
        self.buffer.drain(..written);
        // A disk on the verge of full fails many times a second: that is one line now and then.
        if !self.failing && self.said.is_none_or(|said| said.elapsed() >= SAID_INTERVAL) {
            self.failing = true;
            self.said = Some(Instant::now());
            log::error!("access log: cannot write, records are lost until it works again: {error}");
        }
    }

    fn replace(&mut self, output: Box<dyn Write + Send>, stats: &LogStats) {
        // The rest of a cut record belongs to the old file.
        stats.bytes_lost.add(self.buffer.len() as u64);
        self.buffer.clear();
        self.output = output;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Takes so many bytes, then is full until it is given more room.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, content) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room);
            *room -= count;
            content.extend_from_slice(&bytes[..count]);
            if count == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(count) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_whole_records_and_counts_them() {
        let disk = Disk::default();
        disk.0.lock().unwrap().0 = 6;
        let stats = LogStats::default();
        let mut sink = Sink::new(Destination::Stdout, Box::new(disk.clone()));
        sink.append(b"one\ntwo\nthree\nfo", &stats);
        sink.flush(&stats);
        sink.append(b"ur\nfive\n", &stats);
        disk.0.lock().unwrap().0 = 1_000;
        sink.flush(&stats);
        assert_eq!(disk.0.lock().unwrap().1, b"one\ntwo\nfour\nfive\n");
        assert_eq!((stats.bytes_lost.get(), stats.write_errors.get(), stats.bytes_written.get()), (6, 1, 18));
    }

    #[test]
    fn a_disk_that_stays_full_does_not_gather_memory() {
        let stats = LogStats::default();
        let mut sink = Sink::new(Destination::Stdout, Box::new(Disk::default()));
        let record = [b"a".repeat(99), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            sink.append(&record, &stats);
        }
        assert!(sink.buffer.capacity() <= BUFFER_BYTES * 2);
        sink.flush(&stats);
        assert_eq!(stats.bytes_lost.get(), 1_000_000);
    }
}
