//! The chunked transfer coding (RFC 9112 section 7.1), read without holding body bytes: the decoder says which part of the
//! caller's bytes is body, so that it can be sent on from the buffer that it arrived in.
//!
//! ```text
//! Size → SizeLf ─ n > 0 → Data → DataCr → DataLf → Size ...
//!   ↓      ↑     └ n = 0 → Trailers → Done
//! Extension
//! ```

use super::HEADERS_MAX;
use super::fields::read_fields;
use crate::protocol::http::{Headers, Known};
use std::fmt;

/// What chunk framing may cost beside the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of extensions in all chunks of one body. Nothing in use sends any.
    pub extensions_max: usize,
    /// Bytes of the trailer section.
    pub trailers_max: usize,
    /// Fields of the trailer section; never more than [`HEADERS_MAX`].
    pub trailer_fields_max: usize,
}

impl Default for ChunkLimits {
    fn default() -> ChunkLimits {
        ChunkLimits { extensions_max: 4 * 1024, trailers_max: 8 * 1024, trailer_fields_max: 64 }
    }
}

/// Why a chunked body was refused. The connection can not be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedError {
    /// No hexadecimal number where a chunk's size stands, or a larger one than 64 bits.
    Size,
    /// A control byte in an extension.
    Extension,
    /// More extensions than [`ChunkLimits::extensions_max`].
    ExtensionsTooLarge,
    /// A line that does not end in CRLF, or data that is longer than its chunk's size.
    LineEnding,
    /// A malformed trailer field.
    Trailer,
    /// A larger trailer section than the limits allow.
    TrailersTooLarge,
}

impl fmt::Display for ChunkedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChunkedError::Size => "malformed chunk size",
            ChunkedError::Extension => "malformed chunk extension",
            ChunkedError::ExtensionsTooLarge => "chunk extensions too large",
            ChunkedError::LineEnding => "malformed line ending in chunk framing",
            ChunkedError::Trailer => "malformed trailer",
            ChunkedError::TrailersTooLarge => "trailers too large",
        })
    }
}

impl std::error::Error for ChunkedError {}

/// One step through the bytes at hand: skip `consumed` bytes, then act on `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkedStep {
    /// Bytes of framing, to be skipped.
    pub consumed: usize,
    pub event: ChunkedEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedEvent {
    /// All bytes were framing. Call again when more have arrived, with those alone.
    NeedMore,
    /// The next `len` bytes (at least 1) are body. Call again with what follows them.
    Data { len: usize },
    /// The body is complete; what follows is the next message.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `digits` hexadecimal digits of a chunk's size have been read.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Decodes one chunked body after another.
#[derive(Debug)]
pub struct ChunkedDecoder {
    limits: ChunkLimits,
    state: State,
    extensions: usize,
    /// The trailer section so far, after one CRLF that stands for the line before it.
    section: Vec<u8>,
    trailers: Headers,
}

const START: State = State::Size { size: 0, digits: 0 };

impl ChunkedDecoder {
    pub fn new(limits: ChunkLimits) -> ChunkedDecoder {
        ChunkedDecoder { limits, state: START, extensions: 0, section: Vec::new(), trailers: Headers::new() }
    }

    /// Makes ready for another body and keeps the memory.
    pub fn reset(&mut self) {
        self.state = START;
        self.extensions = 0;
        self.section.clear();
        self.trailers.clear();
    }

    /// The trailer fields that may be passed on. Empty before [`ChunkedEvent::End`].
    pub fn trailers(&self) -> &Headers {
        &self.trailers
    }

    /// Reads framing from the start of `bytes` up to body bytes, the body's end or the end of `bytes`.
    ///
    /// # Errors
    /// See [`ChunkedError`]. The decoder is of no use after one until it is reset.
    pub fn next(&mut self, bytes: &[u8]) -> Result<ChunkedStep, ChunkedError> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            self.state = match self.state {
                State::Size { size, digits } => size_byte(size, digits, byte)?,
                State::Extension { size } => self.extension_byte(size, byte)?,
                State::SizeLf { size } => match (byte, size) {
                    (b'\n', 0) => self.start_trailers(),
                    (b'\n', left) => State::Data { left },
                    _ => return Err(ChunkedError::LineEnding),
                },
                State::Data { left } => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    let left = left - len as u64;
                    self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                    return Ok(ChunkedStep { consumed: at, event: ChunkedEvent::Data { len } });
                }
                State::DataCr if byte == b'\r' => State::DataLf,
                State::DataLf if byte == b'\n' => START,
                State::DataCr | State::DataLf => return Err(ChunkedError::LineEnding),
                State::Trailers => {
                    at += self.trailer_bytes(&bytes[at..])?;
                    continue;
                }
                State::Done => break,
            };
            at += 1;
        }
        let event = if self.state == State::Done { ChunkedEvent::End } else { ChunkedEvent::NeedMore };
        Ok(ChunkedStep { consumed: at, event })
    }

    /// An extension is skipped: none has a meaning here (RFC 9112 section 7.1.1).
    fn extension_byte(&mut self, size: u64, byte: u8) -> Result<State, ChunkedError> {
        self.extensions += 1;
        match byte {
            b'\r' => Ok(State::SizeLf { size }),
            b'\t' | b' '..=0x7e | 0x80.. if self.extensions <= self.limits.extensions_max => {
                Ok(State::Extension { size })
            }
            b'\t' | b' '..=0x7e | 0x80.. => Err(ChunkedError::ExtensionsTooLarge),
            b'\n' => Err(ChunkedError::LineEnding),
            _ => Err(ChunkedError::Extension),
        }
    }

    fn start_trailers(&mut self) -> State {
        self.section.clear();
        self.section.extend_from_slice(b"\r\n");
        State::Trailers
    }

    /// Takes one line, or what there is of it, and returns its length.
    fn trailer_bytes(&mut self, bytes: &[u8]) -> Result<usize, ChunkedError> {
        let newline = memchr::memchr(b'\n', bytes);
        let len = newline.map_or(bytes.len(), |at| at + 1);
        if self.section.len() + len > self.limits.trailers_max + b"\r\n\r\n".len() {
            return Err(ChunkedError::TrailersTooLarge);
        }
        self.section.extend_from_slice(&bytes[..len]);
        if newline.is_some() {
            if !self.section.ends_with(b"\r\n") {
                return Err(ChunkedError::LineEnding);
            }
            if self.section.ends_with(b"\r\n\r\n") {
                self.parse_trailers()?;
                self.state = State::Done;
            }
        }
        Ok(len)
    }

    fn parse_trailers(&mut self) -> Result<(), ChunkedError> {
        if self.section.len() == b"\r\n\r\n".len() {
            return Ok(());
        }
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let room = &mut fields[..self.limits.trailer_fields_max.min(HEADERS_MAX)];
        let parsed = match httparse::parse_headers(&self.section[2..], room) {
            Ok(httparse::Status::Complete((_, parsed))) => parsed,
            Err(httparse::Error::TooManyHeaders) => return Err(ChunkedError::TrailersTooLarge),
            Ok(httparse::Status::Partial) | Err(_) => return Err(ChunkedError::Trailer),
        };
        read_fields(&self.section, parsed, &mut self.trailers).map_err(|_| ChunkedError::Trailer)?;
        self.trailers.retain(|name, known| !is_head_only(name, known));
        Ok(())
    }
}

/// A size is hexadecimal digits and nothing else: no sign, no `0x`, no blank before or after it.
fn size_byte(size: u64, digits: u8, byte: u8) -> Result<State, ChunkedError> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b';' if digits > 0 => return Ok(State::Extension { size }),
        b'\r' if digits > 0 => return Ok(State::SizeLf { size }),
        b'\n' if digits > 0 => return Err(ChunkedError::LineEnding),
        _ => return Err(ChunkedError::Size),
    };
    // RFC 9112 section 7.1: large sizes must be anticipated. Sixteen digits are 64 bits, leading zeros included.
    if digits == 16 {
        return Err(ChunkedError::Size);
    }
    Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
}

/// Fields that frame, route, authenticate or describe the message: not to be taken from a trailer section (RFC 9110
/// section 6.5.1), where whoever merges it into the head would believe them.
fn is_head_only(name: &[u8], known: Known) -> bool {
    const NAMES: [&str; 20] = [
        "age",
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "expires",
        "location",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "retry-after",
        "set-cookie",
        "vary",
        "warning",
        "www-authenticate",
        "content-encoding",
        "content-range",
        "content-type",
    ];
    known != Known::Other
        || NAMES.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
        || name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"if-"))
}
