//! A response's body that is taken from its endpoint ahead of its client: up to a route's `response_buffer`, so that the
//! endpoint is free again while a slow client still reads.
//!
//! ```text
//!  endpoint ──take──► Ahead ──pass──► client
//! ```
//!
//! Both halves run in one task. The one that takes ends first, and its endpoint is released then.

use super::pieces::Pieces;
use super::sides::{BodySink, BodySource, Ready, SinkError, SourceError};
use super::transfer::TransferError;
use crate::connection::memory::Memory;
use crate::engine::Event;
use crate::protocol::http::Headers;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Bytes that are handed to the client's kernel at once, about: what they make room for can be taken sooner.
const PASS_MAX: usize = 256 * 1024;

/// What has been taken and not passed on.
pub(super) struct Ahead<'a> {
    /// Bytes; one piece may go beyond.
    max: usize,
    pieces: RefCell<Pieces<'a>>,
    end: RefCell<End>,
    /// There is more to pass on, or the end.
    taken: Event,
    /// There is room to take more.
    passed: Event,
}

/// How the body ended, as far as is known.
enum End {
    Open,
    Complete(Option<Box<Headers>>),
    /// The endpoint broke off.
    Broken,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(memory: &'a Memory, max: usize) -> Ahead<'a> {
        let pieces = RefCell::new(Pieces::new(memory));
        let (taken, passed) = (Event::default(), Event::default());
        Ahead { max, pieces, end: RefCell::new(End::Open), taken, passed }
    }

    /// Takes all of the body, while `passing` passes it on. Gives what that has come to, if it has ended too.
    pub(super) async fn take_beside<P: Future<Output = Result<(), SinkError>>>(
        &self,
        source: &mut impl BodySource,
        mut passing: Pin<&mut P>,
    ) -> (Result<(), TransferError>, Option<P::Output>) {
        let mut taking = pin!(self.take(source));
        let mut passed = None;
        let taken = poll_fn(|context| {
            let taken = taking.as_mut().poll(context);
            if passed.is_none()
                && let Poll::Ready(result) = passing.as_mut().poll(context)
            {
                passed = Some(result);
            }
            // What is left waits for the client, and must hold no receive buffer meanwhile.
            self.pieces.borrow_mut().settle();
            match (taken, passed) {
                (Poll::Ready(taken), _) => Poll::Ready(taken.map_err(TransferError::Source)),
                (Poll::Pending, Some(Err(error))) => Poll::Ready(Err(TransferError::Sink(error))),
                (Poll::Pending, _) => Poll::Pending,
            }
        })
        .await;
        (taken, passed)
    }

    async fn take(&self, source: &mut impl BodySource) -> Result<(), SourceError> {
        let taken = self.take_all(source).await;
        *self.end.borrow_mut() = match taken {
            Ok(()) => End::Complete(source.trailers().map(|trailers| Box::new(trailers.clone()))),
            Err(_) => End::Broken,
        };
        source.detach();
        self.taken.notify();
        taken
    }

    async fn take_all(&self, source: &mut impl BodySource) -> Result<(), SourceError> {
        loop {
            while !self.has_room() {
                source.detach();
                self.passed.wait().await;
            }
            match source.ready()? {
                Ready::Piece(piece) => {
                    self.pieces.borrow_mut().push(piece);
                    self.taken.notify();
                }
                Ready::End => return Ok(()),
                Ready::Wait => pin!(source.wait()).await?,
            }
        }
    }

    /// Without memory for more, one piece at a time goes through.
    fn has_room(&self) -> bool {
        let pieces = self.pieces.borrow();
        pieces.bytes() == 0 || pieces.has_room(self.max)
    }

    /// Passes everything on to the client, up to the end of the body or to where it broke off.
    pub(super) async fn pass(&self, sink: &mut impl BodySink) -> Result<(), SinkError> {
        loop {
            let mut bytes = 0;
            while bytes < PASS_MAX
                && !sink.is_full()
                && let Some(piece) = self.pieces.borrow_mut().pop()
            {
                bytes += piece.len();
                sink.write(piece);
            }
            let ends = self.pieces.borrow().is_empty() && !matches!(*self.end.borrow(), End::Open);
            if ends && let End::Complete(trailers) = &*self.end.borrow() {
                sink.end(trailers.as_deref());
            }
            if !sink.is_empty() {
                pin!(sink.flush()).await?;
                self.pieces.borrow_mut().forget(bytes);
                self.passed.notify();
            }
            if ends {
                return Ok(());
            }
            if self.pieces.borrow().is_empty() && matches!(*self.end.borrow(), End::Open) {
                self.taken.wait().await;
            }
        }
    }
}
