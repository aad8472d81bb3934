//! What the exchange asks of either side, whatever version of HTTP it speaks.
//!
//! A source gives a body piece by piece as received; a sink takes pieces and is flushed when the exchange would have to
//! wait otherwise. HTTP/1 implements them in [`crate::connection::http1`].

use crate::base::Instant;
use crate::engine::{Chunk, Filled, Splice, Stream};
use crate::protocol::http::{Headers, Method, RequestHead, ResponseHead};
use crate::protocol::http1::{ErrorResponse, Forwarding, ResponseOptions};
use std::task::{Context, Poll};

/// Why nothing more can be received from a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceError {
    /// It closed before the message was complete.
    Closed,
    Reset,
    /// It was silent for too long.
    Timeout,
    /// It sent, and more slowly than is borne.
    TooSlow,
    Malformed,
    /// A request body went past the listener's limit.
    TooLarge,
}

/// Why nothing more can be sent to a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinkError {
    Closed,
    /// It did not take what it was sent for too long.
    Timeout,
    /// It took it, and more slowly than is borne.
    TooSlow,
    /// It takes slowly what it is sent, and there is no memory to hold that for it.
    NoMemory,
}

/// What a source has at hand.
pub(crate) enum Ready {
    Piece(Chunk),
    /// The body is complete; trailers can be read.
    End,
    /// More must be received first.
    Wait,
}

/// Where a body comes from.
pub(crate) trait BodySource {
    /// The next piece of what has been received already.
    fn ready(&mut self) -> Result<Ready, SourceError>;
    /// Receives more.
    async fn wait(&mut self) -> Result<(), SourceError>;
    /// What moves the rest of the body into `to` without its passing through this process: where it follows in its stream just
    /// as it is, and is long enough to gain by that.
    fn splice<'s>(&self, to: &'s Stream) -> Option<Splice<'s>>
    where
        Self: 's;
    /// Receives more into `splice`. At the end of the body there is nothing to be spliced.
    async fn fill(&mut self, splice: &mut Splice<'_>) -> Result<Filled, SourceError>;
    /// The trailers of a body that has ended.
    fn trailers(&self) -> Option<&Headers>;
    /// Holds no receive buffer: what comes next may take long.
    fn detach(&mut self);
    /// Whether all of it has been received and given.
    fn is_complete(&self) -> bool;
    /// Ready when whoever sends the body has left and wants nothing any more. For a body that has been read to its end.
    fn poll_left(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// Where a body goes.
pub(crate) trait BodySink {
    fn write(&mut self, piece: Chunk);
    /// Ends the body.
    fn end(&mut self, trailers: Option<&Headers>);
    /// Whether nothing waits to be flushed.
    fn is_empty(&self) -> bool;
    /// Whether it must be flushed before more is written.
    fn is_full(&self) -> bool;
    /// Hands everything written to the kernel.
    async fn flush(&mut self) -> Result<(), SinkError>;
    /// The stream that takes the body just as it is. `None` where it is framed in pieces.
    fn raw<'s>(&self) -> Option<&'s Stream>
    where
        Self: 's;
    /// Sends what `splice` has been filled with. For a sink that is empty.
    async fn drain(&mut self, splice: &mut Splice<'_>) -> Result<(), SinkError>;
}

/// The client's side: takes heads of responses.
pub(crate) trait ResponseSink: BodySink {
    fn response_head(&mut self, head: &ResponseHead, options: &ResponseOptions<'_>);
    /// Tells the client to send the body that it holds back (RFC 9110 section 10.1.1).
    fn invite(&mut self);
    /// A 1xx response.
    fn interim(&mut self, head: &ResponseHead, options: &ResponseOptions<'_>);
    /// The gateway's own answer, in place of whatever was written and not flushed.
    fn error(&mut self, error: &ErrorResponse<'_>);
    /// Whether any byte of a final response has gone out.
    fn has_begun(&self) -> bool;
}

/// The endpoint's side: takes the head of the request.
pub(crate) trait RequestSink: BodySink {
    fn request_head(&mut self, head: &RequestHead, forwarding: &Forwarding<'_>);
}

/// The endpoint's side: gives heads of responses.
pub(crate) trait ResponseSource: BodySource {
    /// The next response head, interim ones included, before `deadline`.
    async fn head(&mut self, method: Method, head: &mut ResponseHead, deadline: Instant) -> Result<(), SourceError>;
    /// Whether any byte of a response has arrived.
    fn has_begun(&self) -> bool;
    /// Whether the connection can carry another request: the response is complete and nothing follows it.
    fn is_reusable(&self) -> bool;
}
