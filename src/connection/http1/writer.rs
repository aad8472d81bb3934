//! The sending direction of an HTTP/1 stream: text is written and pieces are queued here, and flushed together.

use crate::engine::{Chunk, Outgoing, Stream};
use crate::protocol::http::{BodyLength, Headers};
use crate::protocol::http1::{write_chunk_end, write_chunk_start, write_last_chunk};
use std::io;

#[derive(Default)]
pub(in crate::connection) struct MessageWriter {
    outgoing: Outgoing,
    chunked: bool,
    /// The stream ends with the present message.
    closing: bool,
    /// Bytes handed to the kernel, of the present message.
    sent: u64,
}

impl MessageWriter {
    /// Bytes of memory of its own, beside the value itself and what it holds of others.
    pub(super) fn bytes(&self) -> usize {
        self.outgoing.own_bytes()
    }

    /// Makes ready for another message.
    pub(super) fn next_message(&mut self) {
        self.outgoing.clear();
        self.chunked = false;
        self.closing = false;
        self.sent = 0;
    }

    /// Drops what has been written and not flushed.
    pub(super) fn discard(&mut self) {
        self.outgoing.clear();
    }

    /// Where a head is written.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        self.outgoing.text()
    }

    /// Says how the body is framed of the head just written.
    pub(super) fn expect(&mut self, length: BodyLength) {
        self.chunked = length == BodyLength::Chunked;
    }

    /// Says that the stream is shut down or closed when the message has been sent, so that its last bytes and the end
    /// travel together.
    pub(super) fn close_after(&mut self) {
        self.closing = true;
    }

    pub(super) fn write(&mut self, piece: Chunk) {
        if !self.chunked {
            return self.outgoing.chunk(piece);
        }
        write_chunk_start(self.outgoing.text(), piece.len());
        self.outgoing.chunk(piece);
        write_chunk_end(self.outgoing.text());
    }

    pub(super) fn end(&mut self, trailers: Option<&Headers>) {
        if self.chunked {
            write_last_chunk(self.outgoing.text(), trailers);
        }
        if self.closing {
            self.outgoing.end();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outgoing.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.outgoing.is_full()
    }

    /// Whether the body goes out just as it is.
    pub(super) fn is_raw(&self) -> bool {
        !self.chunked
    }

    /// So many bytes of the message have been handed to the kernel by another way.
    pub(super) fn spliced(&mut self, len: usize) {
        self.sent += len as u64;
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) async fn flush(&mut self, stream: &Stream) -> io::Result<()> {
        self.sent += self.outgoing.len() as u64;
        stream.send(&mut self.outgoing).await
    }
}
