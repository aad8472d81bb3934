//! The receiving direction of an HTTP/1 stream: heads, then the body by its framing.
//!
//! A head that is complete in one chunk is parsed where it arrived. One that is not is copied to memory of its own, so
//! that a slow sender holds no receive buffer. Body pieces are slices of the chunks that they arrived in.

use crate::engine::{Chunk, Stream};
use crate::protocol::http::{BodyLength, Headers};
use crate::protocol::http1::{ChunkLimits, ChunkedDecoder, ChunkedEvent, HeadError, Parsed, head_may_end};

/// A body longer than this is received piece by piece as it is asked for.
const BULK_MIN: u64 = 64 * 1024;

/// Why no message could be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The end of the stream; inside a message if `received` bytes of it had arrived.
    Closed,
    Failed,
    Head(HeadError),
    /// Malformed chunk framing.
    Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Done,
    Exact(u64),
    Chunked,
    UntilClose,
    /// Its framing made no sense: where it ends, nobody knows.
    Broken,
}

impl Body {
    fn exact(left: u64) -> Body {
        if left == 0 { Body::Done } else { Body::Exact(left) }
    }
}

/// What can be had of the body without receiving.
pub(super) enum Step {
    Piece(Chunk),
    End,
    NeedMore,
}

pub(in crate::connection) struct MessageReader {
    /// Received and not used yet.
    pending: Chunk,
    /// The beginning of a head that did not arrive in one piece.
    partial: Vec<u8>,
    body: Body,
    decoder: Option<Box<ChunkedDecoder>>,
    /// Bytes of the present message, head and framing included.
    received: u64,
}

impl Default for MessageReader {
    fn default() -> MessageReader {
        MessageReader { pending: Chunk::empty(), partial: Vec::new(), body: Body::Done, decoder: None, received: 0 }
    }
}

impl MessageReader {
    /// Bytes of memory of its own, beside the value itself.
    pub(super) fn bytes(&self) -> usize {
        let decoder = self.decoder.as_ref().map_or(0, |decoder| size_of_val(&**decoder) + decoder.trailers().bytes());
        self.partial.capacity() + decoder
    }

    /// Makes ready for another stream.
    pub(super) fn reset(&mut self) {
        self.pending = Chunk::empty();
        self.partial.clear();
        self.body = Body::Done;
        self.received = 0;
    }

    /// Whether something has arrived that belongs to a message not read yet.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.partial.is_empty()
    }

    /// Whether the body of the present message has been read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.body == Body::Done
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Begins another message on the same stream, with what of it has arrived already.
    pub(super) fn next_message(&mut self) {
        self.received = self.pending.len() as u64;
    }

    /// Hands over a chunk that was received elsewhere.
    pub(super) fn feed(&mut self, chunk: Chunk) {
        self.received += chunk.len() as u64;
        self.pending = chunk;
    }

    /// What has arrived of a head that was not taken.
    pub(super) fn head_so_far(&self) -> &[u8] {
        if self.partial.is_empty() { &self.pending } else { &self.partial }
    }

    /// What has arrived and was not used.
    pub(super) fn take_pending(&mut self) -> Chunk {
        std::mem::replace(&mut self.pending, Chunk::empty())
    }

    /// Keeps nothing in receive buffers: what follows may take long.
    pub(super) fn detach(&mut self) {
        self.pending.detach();
    }

    /// Reads a head. `parse` is given what has arrived of it, from its beginning; `head_max` is what it refuses to
    /// exceed, in bytes.
    pub(super) async fn head(
        &mut self,
        stream: &Stream,
        head_max: usize,
        mut parse: impl FnMut(&[u8]) -> Result<Parsed, HeadError>,
    ) -> Result<(), ReadError> {
        loop {
            if !self.pending.is_empty() && self.parse_head(head_max, &mut parse)? {
                return Ok(());
            }
            let chunk = stream.receive().await.map_err(|_| ReadError::Failed)?;
            if chunk.is_empty() {
                return Err(ReadError::Closed);
            }
            self.feed(chunk);
        }
    }

    /// True if the head is complete.
    fn parse_head(
        &mut self,
        head_max: usize,
        parse: &mut impl FnMut(&[u8]) -> Result<Parsed, HeadError>,
    ) -> Result<bool, ReadError> {
        if self.partial.is_empty()
            && let Parsed::Complete(len) = parse(&self.pending).map_err(ReadError::Head)?
        {
            self.pending.advance(len);
            return Ok(true);
        }
        let before = self.partial.len();
        let taken = self.pending.len().min((head_max + 1).saturating_sub(before));
        self.partial.extend_from_slice(&self.pending[..taken]);
        // A head that trickles in is not parsed anew for each byte of it.
        if taken == self.pending.len() && self.partial.len() < head_max && !head_may_end(&self.partial, before) {
            self.pending = Chunk::empty();
            return Ok(false);
        }
        match parse(&self.partial).map_err(ReadError::Head)? {
            Parsed::Complete(len) => {
                self.pending.advance(len.saturating_sub(before));
                self.partial.clear();
                Ok(true)
            }
            Parsed::Partial if taken < self.pending.len() => Err(ReadError::Head(HeadError::TooLarge)),
            Parsed::Partial => {
                self.pending = Chunk::empty();
                Ok(false)
            }
        }
    }

    /// Says how the body of the head just read is framed.
    pub(super) fn expect(&mut self, stream: &Stream, length: BodyLength) {
        // Trailers of an earlier message, which may have been another client's, are not this one's.
        if let Some(decoder) = &mut self.decoder {
            decoder.reset();
        }
        self.body = match length {
            BodyLength::Empty => Body::Done,
            BodyLength::Exact(len) => Body::exact(len),
            BodyLength::UntilClose => Body::UntilClose,
            BodyLength::Chunked => {
                let decoder = || Box::new(ChunkedDecoder::new(ChunkLimits::default()));
                self.decoder.get_or_insert_with(decoder);
                Body::Chunked
            }
        };
        // Until the next head says otherwise: who sent one long body is likely to send another, and then the first bytes of it
        // must not be received ahead.
        let long = matches!(self.body, Body::Exact(len) if len.saturating_sub(self.pending.len() as u64) > BULK_MIN);
        stream.expect_bulk(long);
    }

    /// The next piece of the body, as far as it has arrived.
    pub(super) fn step(&mut self) -> Result<Step, ReadError> {
        Ok(match self.body {
            Body::Done => Step::End,
            Body::Broken => return Err(ReadError::Framing),
            _ if self.pending.is_empty() => Step::NeedMore,
            Body::UntilClose => Step::Piece(self.take_pending()),
            Body::Exact(left) => {
                let piece = self.pending.split_to(usize::try_from(left).unwrap_or(usize::MAX));
                self.body = Body::exact(left - piece.len() as u64);
                Step::Piece(piece)
            }
            Body::Chunked => self.step_chunked()?,
        })
    }

    fn step_chunked(&mut self) -> Result<Step, ReadError> {
        let Some(decoder) = &mut self.decoder else { return Err(ReadError::Framing) };
        let Ok(step) = decoder.next(&self.pending) else {
            self.body = Body::Broken;
            return Err(ReadError::Framing);
        };
        self.pending.advance(step.consumed);
        Ok(match step.event {
            ChunkedEvent::NeedMore => Step::NeedMore,
            ChunkedEvent::Data { len } => Step::Piece(self.pending.split_to(len)),
            ChunkedEvent::End => {
                self.body = Body::Done;
                Step::End
            }
        })
    }

    /// Receives more of the body.
    pub(super) async fn more(&mut self, stream: &Stream) -> Result<(), ReadError> {
        let chunk = stream.receive().await.map_err(|_| ReadError::Failed)?;
        if !chunk.is_empty() {
            self.feed(chunk);
            return Ok(());
        }
        if self.body != Body::UntilClose {
            return Err(ReadError::Closed);
        }
        // The upload may have been told of a reset in place of this receive.
        if stream.was_reset() {
            return Err(ReadError::Failed);
        }
        self.body = Body::Done;
        Ok(())
    }

    /// Bytes of body that follow in the stream just as they are, nothing of which has been received.
    pub(super) fn left_in_stream(&self) -> u64 {
        match self.body {
            Body::Exact(left) if self.pending.is_empty() => left,
            _ => 0,
        }
    }

    /// So many bytes of body have left the stream by another way.
    pub(super) fn spliced(&mut self, len: usize) {
        self.received += len as u64;
        if let Body::Exact(left) = self.body {
            self.body = Body::exact(left.saturating_sub(len as u64));
        }
    }

    /// The trailers of a chunked body that has ended.
    pub(super) fn trailers(&self) -> Option<&Headers> {
        self.decoder.as_ref().map(|decoder| decoder.trailers()).filter(|trailers| !trailers.is_empty())
    }
}
