//! HTTP/1 under the exchange's interface: a reader or a writer together with its stream, its clock and its limits.

use super::reader::{MessageReader, ReadError, Step};
use super::writer::MessageWriter;
use crate::base::Instant;
use crate::connection::exchange::{
    BodySink, BodySource, Ready, RequestSink, ResponseSink, ResponseSource, SinkError, SourceError,
};
use crate::engine::{Chunk, Engine, Stream};
use crate::protocol::http::{BodyLength, Headers, Method, RequestHead, ResponseHead};
use crate::protocol::http1::{
    ErrorResponse, Forwarding, HeadLimits, ResponseOptions, parse_response, write_error, write_request, write_response,
};
use std::io;
use std::pin::pin;
use std::time::Duration;

/// Bytes of a response head at most; fields as many as the parser takes.
const RESPONSE_HEAD_LIMITS: HeadLimits = HeadLimits { head_max: 64 * 1024, headers_max: 256, target_max: 0 };

/// A body that is received.
pub(in crate::connection) struct Source<'a> {
    pub engine: &'a Engine,
    pub stream: &'a Stream,
    pub reader: &'a mut MessageReader,
    /// Silence that is borne.
    pub idle_timeout: Duration,
    /// Bytes of body that are still taken.
    pub left_max: u64,
}

impl Source<'_> {
    fn error(error: &ReadError) -> SourceError {
        match error {
            ReadError::Closed => SourceError::Closed,
            ReadError::Failed => SourceError::Reset,
            ReadError::Framing | ReadError::Head(_) => SourceError::Malformed,
        }
    }
}

impl BodySource for Source<'_> {
    fn ready(&mut self) -> Result<Ready, SourceError> {
        match self.reader.step(self.stream).map_err(|error| Self::error(&error))? {
            Step::End => Ok(Ready::End),
            Step::NeedMore => Ok(Ready::Wait),
            Step::Piece(piece) if piece.len() as u64 > self.left_max => Err(SourceError::TooLarge),
            Step::Piece(piece) => {
                self.left_max -= piece.len() as u64;
                Ok(Ready::Piece(piece))
            }
        }
    }

    async fn wait(&mut self) -> Result<(), SourceError> {
        let until = self.engine.now() + self.idle_timeout;
        match self.engine.timeout(until, pin!(self.reader.more(self.stream))).await {
            Ok(received) => received.map_err(|error| Self::error(&error)),
            Err(_) => Err(SourceError::Timeout),
        }
    }

    fn trailers(&self) -> Option<&Headers> {
        self.reader.trailers()
    }

    fn detach(&mut self) {
        self.reader.detach();
    }
}

impl ResponseSource for Source<'_> {
    async fn head(&mut self, method: Method, head: &mut ResponseHead, deadline: Instant) -> Result<(), SourceError> {
        let limits = &RESPONSE_HEAD_LIMITS;
        let parse = |bytes: &[u8]| parse_response(bytes, limits, method, head);
        match self.engine.timeout(deadline, pin!(self.reader.head(self.stream, limits.head_max, parse))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Self::error(&error)),
            Err(_) => return Err(SourceError::Timeout),
        }
        self.reader.expect(self.stream, head.body);
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.reader.received() > 0
    }

    fn is_reusable(&self) -> bool {
        self.reader.is_done() && !self.reader.has_pending()
    }
}

/// A message that is sent.
pub(in crate::connection) struct Sink<'a> {
    pub engine: &'a Engine,
    pub stream: &'a Stream,
    pub writer: &'a mut MessageWriter,
    /// How long the other side may take nothing.
    pub timeout: Duration,
    pub stage: Stage,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Stage {
    /// Nothing, or interim responses alone.
    Before,
    /// The final head is written; what is not flushed may still be replaced.
    Written,
    /// Some of it has gone out.
    Begun,
}

impl BodySink for Sink<'_> {
    fn write(&mut self, piece: Chunk) {
        self.writer.write(piece);
    }

    fn end(&mut self, trailers: Option<&Headers>) {
        self.writer.end(trailers);
    }

    fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        if self.writer.is_empty() {
            return Ok(());
        }
        if self.stage == Stage::Written {
            self.stage = Stage::Begun;
        }
        let mut flushed = pin!(self.writer.flush(self.stream));
        // Looked at twice in the time: who took nothing from one look to the next is not slow but gone.
        let mut taken = None;
        loop {
            let until = self.engine.now() + self.timeout / 2;
            match self.engine.timeout(until, flushed.as_mut()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => return Err(SinkError::Timeout),
                Ok(Err(_)) => return Err(SinkError::Closed),
                Err(_) => {
                    let before = taken.replace(self.stream.acknowledged());
                    if before == taken {
                        return Err(SinkError::Timeout);
                    }
                }
            }
        }
    }
}

impl RequestSink for Sink<'_> {
    fn request_head(&mut self, head: &RequestHead, forwarding: &Forwarding<'_>) {
        write_request(self.writer.text(), head, forwarding);
        self.writer.expect(head.body);
    }
}

impl ResponseSink for Sink<'_> {
    fn response_head(&mut self, head: &ResponseHead, options: &ResponseOptions<'_>) {
        self.stage = Stage::Written;
        write_response(self.writer.text(), head, options);
        self.writer.expect(options.body);
        if !options.keep_alive {
            self.writer.close_after();
        }
    }

    fn interim(&mut self, head: &ResponseHead, options: &ResponseOptions<'_>) {
        write_response(self.writer.text(), head, options);
        self.writer.expect(BodyLength::Empty);
    }

    fn error(&mut self, error: &ErrorResponse<'_>) {
        self.stage = Stage::Written;
        self.writer.discard();
        self.writer.expect(BodyLength::Empty);
        write_error(self.writer.text(), error);
        if !error.keep_alive {
            self.writer.close_after();
        }
        self.writer.end(None);
    }

    fn has_begun(&self) -> bool {
        self.stage == Stage::Begun
    }
}
