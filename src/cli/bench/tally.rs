//! What is counted of the answers: latencies, bytes, statuses, and every kind of error apart.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why an exchange did not count as right. The order is that of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    Connect,
    Send,
    Receive,
    /// The server closed before the answer was whole.
    ClosedEarly,
    Timeout,
    /// The answer breaks the protocol, or an echo differs from what was sent.
    Malformed,
    WrongStatus,
    WrongLength,
}

impl ErrorKind {
    pub fn text(self) -> &'static str {
        match self {
            ErrorKind::Connect => "could not connect",
            ErrorKind::Send => "could not send",
            ErrorKind::Receive => "could not receive",
            ErrorKind::ClosedEarly => "closed before the end of the answer",
            ErrorKind::Timeout => "timed out",
            ErrorKind::Malformed => "malformed answer",
            ErrorKind::WrongStatus => "wrong status",
            ErrorKind::WrongLength => "wrong length",
        }
    }
}

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// The counts of one thread over one interval, or of all of them over all time.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Latencies of right answers, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Right answers.
    pub requests: u64,
    pub bytes_received: u64,
    pub statuses: BTreeMap<u16, u64>,
    pub errors: BTreeMap<ErrorKind, u64>,
    /// The first error of each kind in its own words.
    pub examples: BTreeMap<ErrorKind, String>,
    /// Open loop: requests that were due and that no connection was free to send before the end.
    pub unsent: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            latency: Histogram::new(DIGITS).expect("3 digits are within the histogram's 0 to 5"),
            requests: 0,
            bytes_received: 0,
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            examples: BTreeMap::new(),
            unsent: 0,
        }
    }
}

impl Tally {
    pub fn right(&mut self, latency_nanos: u64, status: Option<u16>, bytes_received: u64) {
        // An auto-resizing histogram refuses no value.
        let _ = self.latency.record(latency_nanos);
        self.requests += 1;
        self.bytes_received += bytes_received;
        if let Some(status) = status {
            *self.statuses.entry(status).or_default() += 1;
        }
    }

    pub fn wrong(&mut self, kind: ErrorKind, example: String) {
        *self.errors.entry(kind).or_default() += 1;
        self.examples.entry(kind).or_insert(example);
    }

    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn add(&mut self, other: &Tally) {
        // Both histograms resize themselves, so the addition has no value to refuse.
        let _ = self.latency.add(&other.latency);
        self.requests += other.requests;
        self.bytes_received += other.bytes_received;
        self.unsent += other.unsent;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (kind, count) in &other.errors {
            *self.errors.entry(*kind).or_default() += count;
        }
        for (kind, example) in &other.examples {
            self.examples.entry(*kind).or_insert_with(|| example.clone());
        }
    }
}
