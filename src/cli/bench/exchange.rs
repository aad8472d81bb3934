//! One exchange on a connection: send the request, receive the answer, judge it.
//!
//! HTTP answers are read by the product's own parser; echoes are compared byte by byte. When an exchange begins and how
//! long it took is `load`'s business.

use super::tally::ErrorKind;
use crate::engine::{Chunk, DatagramSocket, Outgoing, Stream};
use crate::protocol::http::{BodyLength, Method, ResponseHead};
use crate::protocol::http1::{ChunkLimits, ChunkedDecoder, ChunkedEvent, HeadLimits, Parsed, parse_response};
use std::fmt::Display;
use std::sync::{Arc, OnceLock};

/// What each exchange sends.
#[derive(Clone, Debug)]
pub enum Work {
    /// One request, or several of which each exchange sends one by chance.
    Http {
        requests: Arc<[Box<[u8]>]>,
        method: Method,
    },
    Echo {
        payload: Arc<[u8]>,
    },
    /// The payload as datagrams of `segment` bytes, the last of which may be shorter.
    Datagrams {
        payload: Arc<[u8]>,
        segment: usize,
    },
}

/// What a right answer looks like.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    /// `None`: any from 200 to 299.
    pub status: Option<u16>,
    /// `None`: that of the first answer.
    pub length: Option<u64>,
    pub any_length: bool,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `None` for an echo.
    pub status: Option<u16>,
    pub body_len: u64,
    /// Bytes of heads, framing and body.
    pub received: u64,
    /// Whether the server takes another request on this connection.
    pub keep_alive: bool,
}

/// Why there is no right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub kind: ErrorKind,
    pub text: String,
}

impl Wrong {
    pub fn new(kind: ErrorKind, text: impl Display) -> Wrong {
        Wrong { kind, text: text.to_string() }
    }
}

impl Expectation {
    /// Judges a whole answer; `first_length` is set by the first answer of all threads.
    pub fn judge(&self, answer: &Answer, first_length: &OnceLock<u64>) -> Result<(), Wrong> {
        if let Some(status) = answer.status {
            let right = match self.status {
                Some(expected) => status == expected,
                None => (200..300).contains(&status),
            };
            if !right {
                return Err(Wrong::new(ErrorKind::WrongStatus, format_args!("status {status}")));
            }
        }
        let expected = match self.length {
            _ if self.any_length => return Ok(()),
            Some(length) => length,
            None => *first_length.get_or_init(|| answer.body_len),
        };
        if answer.body_len != expected {
            let text = format!("{} bytes instead of {expected}", answer.body_len);
            return Err(Wrong::new(ErrorKind::WrongLength, text));
        }
        Ok(())
    }
}

/// The memory of one connection's exchanges, reused by each.
pub struct Exchange {
    /// What every exchange sends; `None` if they differ.
    sent: Option<Chunk>,
    outgoing: Outgoing,
    head: ResponseHead,
    /// The start of a head whose end has not arrived.
    partial: Vec<u8>,
    limits: HeadLimits,
}

/// Enough for any answer that a benchmark should meet.
const HEAD_BYTES_MAX: usize = 256 * 1024;

impl Exchange {
    pub fn new(work: &Work) -> Exchange {
        let sent = match work {
            Work::Http { requests, .. } => match &requests[..] {
                [request] => Some(Chunk::copy_of(request)),
                _ => None,
            },
            Work::Echo { payload } | Work::Datagrams { payload, .. } => Some(Chunk::copy_of(payload)),
        };
        Exchange {
            sent,
            outgoing: Outgoing::default(),
            head: ResponseHead::new(),
            partial: Vec::new(),
            limits: HeadLimits { head_max: HEAD_BYTES_MAX, ..HeadLimits::default() },
        }
    }

    /// Sends once and receives the whole answer. After an error the connection is of no more use.
    /// `random` decides what is sent where requests differ.
    pub async fn perform(&mut self, stream: &Stream, work: &Work, random: u64) -> Result<Answer, Wrong> {
        match (&self.sent, work) {
            (Some(sent), _) => self.outgoing.chunk(sent.clone()),
            (None, Work::Http { requests, .. }) => {
                let index = ((u128::from(random) * requests.len() as u128) >> 64) as usize;
                self.outgoing.text().extend_from_slice(&requests[index]);
            }
            (None, Work::Echo { .. } | Work::Datagrams { .. }) => {}
        }
        stream.send(&mut self.outgoing).await.map_err(|error| Wrong::new(ErrorKind::Send, error))?;
        match work {
            Work::Http { method, .. } => self.receive_response(stream, *method).await,
            Work::Echo { payload } | Work::Datagrams { payload, .. } => receive_echo(stream, payload).await,
        }
    }

    async fn receive_response(&mut self, stream: &Stream, method: Method) -> Result<Answer, Wrong> {
        let mut received = 0;
        self.partial.clear();
        let (mut body, mut rest) = loop {
            let chunk = receive(stream).await?;
            if chunk.is_empty() {
                return Err(closed_early("in the response head"));
            }
            received += chunk.len() as u64;
            if let Some(begun) = self.read_head(chunk, method)? {
                break begun;
            }
        };
        loop {
            if body.take(&rest)? {
                break;
            }
            // Not held while waiting: a chunk is a receive buffer, and the connections might hold all of them.
            drop(rest);
            rest = receive(stream).await?;
            received += rest.len() as u64;
            if rest.is_empty() {
                body.end_of_stream()?;
                break;
            }
        }
        let keep_alive = self.head.keep_alive && !matches!(body.framing, Framing::UntilClose) && !self.head.upgrade;
        Ok(Answer { status: Some(self.head.status), body_len: body.len, received, keep_alive })
    }

    /// The body that follows and its first bytes, once the final head is whole; interim heads (1xx) are passed over.
    fn read_head(&mut self, mut chunk: Chunk, method: Method) -> Result<Option<(Body, Chunk)>, Wrong> {
        let before = self.partial.len();
        if before > 0 {
            self.partial.extend_from_slice(&chunk);
        }
        // `read` counts from the start of `partial` or, while that is empty, of `chunk`.
        let mut read = 0;
        loop {
            let bytes = if before > 0 { &self.partial[..] } else { &chunk[..] };
            let parsed = parse_response(&bytes[read..], &self.limits, method, &mut self.head)
                .map_err(|error| Wrong::new(ErrorKind::Malformed, error))?;
            let Parsed::Complete(len) = parsed else {
                let left = bytes[read..].to_vec();
                self.partial = left;
                return Ok(None);
            };
            read += len;
            if !self.head.is_interim() {
                break;
            }
        }
        // A head that was not whole before this chunk ends within it.
        chunk.advance(read - before);
        Ok(Some((Body::new(self.head.body), chunk)))
    }
}

async fn receive(stream: &Stream) -> Result<Chunk, Wrong> {
    stream.receive().await.map_err(|error| Wrong::new(ErrorKind::Receive, error))
}

async fn receive_echo(stream: &Stream, payload: &[u8]) -> Result<Answer, Wrong> {
    let mut left = payload;
    while !left.is_empty() {
        let chunk = receive(stream).await?;
        if chunk.is_empty() {
            return Err(closed_early("in the echo"));
        }
        match left.strip_prefix(&chunk[..]) {
            Some(rest) => left = rest,
            None => return Err(Wrong::new(ErrorKind::Malformed, "the echo differs from what was sent")),
        }
    }
    let len = payload.len() as u64;
    Ok(Answer { status: None, body_len: len, received: len, keep_alive: true })
}

/// Sends a payload as datagrams and waits until as many bytes have come back. A datagram that is lost is an answer that does
/// not come: the caller's timeout.
pub async fn echo_datagrams(socket: &DatagramSocket, payload: &[u8], segment: usize) -> Result<Answer, Wrong> {
    socket.send(payload, segment).map_err(|error| Wrong::new(ErrorKind::Send, error))?;
    let (mut came, mut differs) = (0, false);
    while came < payload.len() {
        let received = socket.receive(|datagram| {
            let expected = payload.get(came..came + datagram.bytes.len());
            differs |= expected != Some(datagram.bytes);
            came += datagram.bytes.len();
        });
        received.await.map_err(|error| Wrong::new(ErrorKind::Receive, error))?;
        if differs {
            return Err(Wrong::new(ErrorKind::Malformed, "the echo differs from what was sent"));
        }
    }
    let len = payload.len() as u64;
    Ok(Answer { status: None, body_len: len, received: len, keep_alive: true })
}

fn closed_early(place: &str) -> Wrong {
    Wrong::new(ErrorKind::ClosedEarly, format_args!("closed {place}"))
}

/// Counts a body down as its bytes pass.
struct Body {
    framing: Framing,
    /// Body bytes so far, without framing.
    len: u64,
}

enum Framing {
    Exact(u64),
    /// With the data bytes that remain of the present chunk.
    Chunked(Box<ChunkedDecoder>, usize),
    UntilClose,
}

impl Body {
    fn new(length: BodyLength) -> Body {
        let framing = match length {
            BodyLength::Empty => Framing::Exact(0),
            BodyLength::Exact(len) => Framing::Exact(len),
            BodyLength::Chunked => Framing::Chunked(Box::new(ChunkedDecoder::new(ChunkLimits::default())), 0),
            BodyLength::UntilClose => Framing::UntilClose,
        };
        Body { framing, len: 0 }
    }

    /// Whether the body ends with these bytes. Bytes past its end are an error: nothing else was asked for.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, Wrong> {
        let surplus = || Wrong::new(ErrorKind::Malformed, "bytes after the end of the answer");
        match &mut self.framing {
            Framing::Exact(left) => {
                let came = bytes.len() as u64;
                *left = left.checked_sub(came).ok_or_else(surplus)?;
                self.len += came;
                Ok(*left == 0)
            }
            Framing::UntilClose => {
                self.len += bytes.len() as u64;
                Ok(false)
            }
            Framing::Chunked(decoder, data_left) => {
                let mut rest = bytes;
                loop {
                    let data = rest.len().min(*data_left);
                    *data_left -= data;
                    self.len += data as u64;
                    rest = &rest[data..];
                    let step = decoder.next(rest).map_err(|error| Wrong::new(ErrorKind::Malformed, error))?;
                    rest = &rest[step.consumed..];
                    match step.event {
                        ChunkedEvent::NeedMore => return Ok(false),
                        ChunkedEvent::Data { len } => *data_left = len,
                        ChunkedEvent::End if rest.is_empty() => return Ok(true),
                        ChunkedEvent::End => return Err(surplus()),
                    }
                }
            }
        }
    }

    fn end_of_stream(&self) -> Result<(), Wrong> {
        match self.framing {
            Framing::UntilClose => Ok(()),
            Framing::Exact(_) | Framing::Chunked(..) => Err(closed_early("in the response body")),
        }
    }
}
