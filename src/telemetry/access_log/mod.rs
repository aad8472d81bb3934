//! The access log: one line of JSON for each request (http), connection (tcp) or flow (udp), from the workers to a file or stdout.
//!
//! A worker owns an [`AccessLogWriter`]: it encodes a record into a bounded ring of bytes and goes on. It never waits,
//! allocates or wakes anybody; a record that does not fit is dropped whole and counted. The control thread "log"
//! ([`LogThread`]) looks into the rings at an interval and writes what it finds. Not the log of the program itself:
//! that is [`crate::telemetry::log`].

mod flow;
mod json;
mod record;
mod thread;

pub use flow::FlowRecord;
pub use record::{HttpRecord, Phases, TcpRecord};
pub use thread::{Destination, LogThread};

use super::WorkerStats;
use crate::base::Instant;
use std::cell::{Cell, RefCell};

/// Bytes of records of one worker that wait for the log thread: a tenth of a second of 100,000 requests a second.
/// Memory is touched, and so used, only as far as a worker gets ahead of the log thread.
pub const RING_BYTES: usize = 4 << 20;

/// The longest record in bytes: every text at its limit and every byte of it escaped.
pub const RECORD_BYTES_MAX: usize = 24 << 10;

// A record that is longer than its ring could never be written.
const _: () = assert!(RECORD_BYTES_MAX * 16 <= RING_BYTES);

/// The ring of one worker and its two ends: the writer moves to the worker's thread, the reader to the log thread.
pub fn access_log(worker: usize) -> (AccessLogWriter, AccessLogReader) {
    with_ring(worker, RING_BYTES)
}

fn with_ring(worker: usize, bytes: usize) -> (AccessLogWriter, AccessLogReader) {
    let (producer, consumer) = rtrb::RingBuffer::new(bytes);
    let state = RefCell::new(State { ring: producer, line: Vec::with_capacity(RECORD_BYTES_MAX) });
    (AccessLogWriter { worker, clock_offset_micros: Cell::new(0), state }, AccessLogReader { ring: consumer })
}

/// The end that a worker writes.
#[derive(Debug)]
pub struct AccessLogWriter {
    worker: usize,
    /// What to add to the engine's clock to get microseconds since 1970-01-01 UTC.
    clock_offset_micros: Cell<u64>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    ring: rtrb::Producer<u8>,
    /// The record that is being encoded. Kept, so that a record costs no allocation.
    line: Vec<u8>,
}

impl AccessLogWriter {
    /// Says what the wall clock shows at an instant of the engine's clock. Called at start, and again every now and
    /// then, because the wall clock may be set. `wall_clock_micros` counts from 1970-01-01 UTC.
    pub fn sync_clock(&self, now: Instant, wall_clock_micros: u64) {
        self.clock_offset_micros.set(wall_clock_micros.wrapping_sub(now.0 / 1_000));
    }

    /// Writes the record of one request. False, and counted as dropped, if the ring is full.
    pub fn http(&self, stats: &WorkerStats, record: &HttpRecord) -> bool {
        let time = self.time_of(record.started);
        self.write(stats, |line| record.encode(line, time, self.worker))
    }

    /// Writes the record of one connection. False, and counted as dropped, if the ring is full.
    pub fn tcp(&self, stats: &WorkerStats, record: &TcpRecord) -> bool {
        let time = self.time_of(record.started);
        self.write(stats, |line| record.encode(line, time, self.worker))
    }

    /// Writes the record of one flow. False, and counted as dropped, if the ring is full.
    pub fn flow(&self, stats: &WorkerStats, record: &FlowRecord) -> bool {
        let time = self.time_of(record.started);
        self.write(stats, |line| record.encode(line, time, self.worker))
    }

    fn time_of(&self, instant: Instant) -> u64 {
        self.clock_offset_micros.get().wrapping_add(instant.0 / 1_000)
    }

    fn write(&self, stats: &WorkerStats, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let state = &mut *self.state.borrow_mut();
        state.line.clear();
        encode(&mut state.line);
        // All or nothing, and published at once: the reader never sees part of a record.
        let written = state.ring.push_entire_slice(&state.line).is_ok();
        match written {
            true => stats.access_log_written.inc(),
            false => stats.access_log_dropped.inc(),
        }
        written
    }
}

/// The end that the log thread reads.
#[derive(Debug)]
pub struct AccessLogReader {
    ring: rtrb::Consumer<u8>,
}

impl AccessLogReader {
    /// Hands over all whole records that are waiting, as one or two runs of bytes (a record may lie across both), and
    /// frees their room; how many bytes that were.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let waiting = self.ring.slots();
        let Ok(chunk) = self.ring.read_chunk(waiting) else {
            return 0;
        };
        let (first, second) = chunk.as_slices();
        take(first);
        take(second);
        chunk.commit_all();
        waiting
    }
}

#[cfg(test)]
mod tests;
