//! What a probe over a stream says next, by what it has heard. Pure, so that every parser of answers is tested on values
//! alone; `dial` performs the steps, and each kind has its own in a file of its name.

mod http;
mod mysql;
mod postgres;
mod redis;
mod tcp;

use crate::health::probe::{ProbeFailure, ProbeKind};

/// Bytes of an answer that are kept and looked at.
pub const ANSWER_BYTES_MAX: usize = 32 << 10;
/// Characters of an answer that a message shows.
const CHARS_SHOWN_MAX: usize = 100;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    /// More of the answer is needed.
    Receive,
    /// The endpoint is fine. What is left to be said so that it ends the connection without a complaint.
    Pass(&'static [u8]),
    Fail(Fault),
}

/// Why a probe failed, for metrics and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub failure: ProbeFailure,
    pub why: String,
}

impl Fault {
    pub fn new(failure: ProbeFailure, why: impl Into<String>) -> Fault {
        Fault { failure, why: why.into() }
    }
}

impl Step {
    /// Fails with a reason.
    pub fn fail(failure: ProbeFailure, why: impl Into<String>) -> Step {
        Step::Fail(Fault::new(failure, why))
    }
}

/// A conversation up to now.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// All that the endpoint has said, from the first byte; at most [`ANSWER_BYTES_MAX`].
    pub bytes: &'a [u8],
    /// How many times something was sent.
    pub sent: usize,
    /// The endpoint says no more: it has ended its side, or no more is kept.
    pub ended: bool,
}

/// The next step of a probe of this kind; `address` is where it asks, as text. A command and a datagram have none.
pub fn step(kind: &ProbeKind, address: &str, heard: Heard<'_>) -> Step {
    let next = match kind {
        ProbeKind::Tcp { send, expect } => tcp::step(send, expect, heard),
        ProbeKind::Http(probe) => http::step(probe, address, heard),
        ProbeKind::Redis { user, password } => redis::step(user.as_deref(), password.as_ref(), heard),
        ProbeKind::Mysql { user } => mysql::step(user.as_deref(), heard),
        ProbeKind::Postgres { user, database } => postgres::step(user.as_deref(), database.as_deref(), heard),
        ProbeKind::Udp { .. } | ProbeKind::Exec(_) => Step::Pass(b""),
    };
    match next {
        Step::Receive if heard.ended => cut_short(heard.bytes.len()),
        next => next,
    }
}

fn cut_short(len: usize) -> Step {
    match len {
        0 => Step::fail(ProbeFailure::Closed, "closed without an answer"),
        ANSWER_BYTES_MAX.. => Step::fail(ProbeFailure::Answer, format!("an answer of more than {len} bytes")),
        len => Step::fail(ProbeFailure::Closed, format!("closed after {len} bytes, in the middle of its answer")),
    }
}

/// Bytes of an answer inside a message, and short; the log escapes what cannot be printed.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.trim().chars().take(CHARS_SHOWN_MAX).collect();
    if text.trim().chars().nth(CHARS_SHOWN_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Whether `bytes` contain `wanted`; everything contains nothing.
pub fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

/// What an answer lacks, in words.
pub fn not_in(answer: &[u8], expect: &[u8]) -> String {
    format!("the answer \"{}\" does not contain \"{}\"", shown(answer), shown(expect))
}
