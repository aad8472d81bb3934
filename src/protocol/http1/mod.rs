//! HTTP/1.0 and HTTP/1.1 (RFC 9112): bytes to the message model and back. Pure functions over slices; the caller owns the
//! connection, the buffers and the time.
//!
//! Reading rests on `httparse` for the grammar and on rules of our own for what the grammar leaves open. They are strict:
//! a head that two parsers could read differently is refused, because the difference is what request smuggling is made of.
//! Writing goes from the model, so nothing that was not understood is passed on.

mod answer;
mod chunked;
mod error;
mod fields;
mod forwarding;
mod output;
mod refused;
mod request;
mod response;
mod write;

#[cfg(test)]
mod tests;

pub use answer::{ErrorResponse, write_error};
pub use chunked::{ChunkLimits, ChunkedDecoder, ChunkedError, ChunkedEvent, ChunkedStep};
pub use error::{HeadError, Malformed};
pub use forwarding::{Forwarding, request_id};
pub use refused::describe_refused;
pub use request::parse_request;
pub use response::parse_response;
pub use write::{
    ResponseOptions, write_chunk_end, write_chunk_start, write_continue, write_last_chunk, write_request,
    write_response,
};

/// The most fields of a head, whatever the limits say.
pub const HEADERS_MAX: usize = 256;

/// The most empty lines that are skipped before a request line (RFC 9112 section 2.2).
const EMPTY_LINES_MAX: usize = 4;

/// What a head may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first of the start line to the last of the empty line. A head of exactly this size is accepted.
    pub head_max: usize,
    /// Fields; never more than [`HEADERS_MAX`].
    pub headers_max: usize,
    /// Bytes of the request target.
    pub target_max: usize,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits { head_max: 16 * 1024, headers_max: 100, target_max: 8 * 1024 }
    }
}

/// The outcome of parsing what has arrived so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head took this many bytes; what follows is the body or the next message.
    Complete(usize),
    /// No fault so far; parse again, from the start, when more bytes are there and [`head_may_end`] says so.
    Partial,
}

/// Whether the end of a head, or a line that is the fault of it all, may lie in `bytes`, of which the first `seen` were looked at before. Asked after
/// [`Parsed::Partial`], so that a head that trickles in by the byte is not parsed anew for each of them.
pub fn head_may_end(bytes: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(3).min(bytes.len());
    let bytes = &bytes[from..];
    memchr::memchr_iter(b'\n', bytes).any(|at| matches!(bytes[at + 1..], [b'\n', ..] | [b'\r', _, ..]))
}
