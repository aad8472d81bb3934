//! A request's body whose beginning is kept, so that it can be sent again.
//!
//! ```text
//!             before an endpoint is picked          an attempt              the next one
//!  client ──► collect ──► Kept               Kept ──► Buffered ──► endpoint   (rewind) ...
//!                                         client ──┘ what is beyond
//! ```
//!
//! [`Kept`] says whether the body can be sent from its beginning: it can until something beyond what is kept has been taken
//! from the client, or until what is kept is given away because a response has begun. A body of which nothing is kept can be
//! sent again as long as nothing of it has been taken, and one that is kept as a whole as often as one likes.

use super::pieces::Pieces;
use super::sides::{BodySource, Ready, SourceError};
use crate::connection::memory::Memory;
use crate::engine::{Chunk, Filled, Splice, Stream};
use crate::protocol::http::Headers;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::task::{Context, Poll};

/// The beginning of a body.
pub(super) struct Kept<'a> {
    pieces: RefCell<Pieces<'a>>,
    repeatable: Cell<bool>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(memory: &'a Memory) -> Kept<'a> {
        Kept { pieces: RefCell::new(Pieces::new(memory)), repeatable: Cell::new(true) }
    }

    /// Whether the body can be sent from its beginning.
    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable.get()
    }

    /// It is not to be sent again: what is kept is forgotten as soon as it has been given, or at once if all of it has.
    pub(super) fn give_away(&self, all_given: bool) {
        self.repeatable.set(false);
        if all_given {
            let mut pieces = self.pieces.borrow_mut();
            while pieces.pop().is_some() {}
            let bytes = pieces.bytes();
            pieces.forget(bytes);
        }
    }

    /// The piece at this place; without a further attempt, the first that is left.
    fn give(&self, place: &mut usize) -> Option<Chunk> {
        if self.repeatable.get() {
            let piece = self.pieces.borrow().get(*place)?;
            *place += 1;
            return Some(piece);
        }
        let mut pieces = self.pieces.borrow_mut();
        let mut next = || {
            let piece = pieces.pop()?;
            pieces.forget(piece.len());
            Some(piece)
        };
        for _ in 0..std::mem::take(place) {
            next();
        }
        next()
    }
}

/// A body as one attempt after the other reads it.
pub(super) struct Buffered<'a, 'm, S> {
    source: &'a mut S,
    kept: &'a Kept<'m>,
    /// Which of the pieces that are kept comes next.
    place: usize,
    /// Of a piece that did not fit the part that is not kept.
    rest: Chunk,
}

impl<'a, 'm, S: BodySource> Buffered<'a, 'm, S> {
    pub(super) fn new(source: &'a mut S, kept: &'a Kept<'m>) -> Buffered<'a, 'm, S> {
        Buffered { source, kept, place: 0, rest: Chunk::empty() }
    }

    pub(super) fn kept(&self) -> &'a Kept<'m> {
        self.kept
    }

    /// Begins from the beginning. For a body that is repeatable.
    pub(super) fn rewind(&mut self) {
        self.place = 0;
    }

    /// Takes up to `max` bytes from the client and keeps them; less if memory is short.
    pub(super) async fn collect(&mut self, max: usize) -> Result<(), SourceError> {
        let pieces = &self.kept.pieces;
        while pieces.borrow().has_room(max) {
            match self.source.ready()? {
                Ready::Piece(mut piece) => {
                    let mut pieces = pieces.borrow_mut();
                    let fitting = piece.split_to(max - pieces.bytes());
                    pieces.push(fitting);
                    self.rest = piece;
                }
                Ready::End => break,
                Ready::Wait => {
                    pieces.borrow_mut().settle();
                    pin!(self.source.wait()).await?;
                }
            }
        }
        pieces.borrow_mut().close();
        self.detach();
        Ok(())
    }
}

impl<S: BodySource> BodySource for Buffered<'_, '_, S> {
    fn ready(&mut self) -> Result<Ready, SourceError> {
        if let Some(piece) = self.kept.give(&mut self.place) {
            return Ok(Ready::Piece(piece));
        }
        let ready = match std::mem::replace(&mut self.rest, Chunk::empty()) {
            rest if rest.is_empty() => self.source.ready()?,
            rest => Ready::Piece(rest),
        };
        if matches!(ready, Ready::Piece(_)) {
            self.kept.repeatable.set(false);
        }
        Ok(ready)
    }

    async fn wait(&mut self) -> Result<(), SourceError> {
        self.source.wait().await
    }

    /// It waits: what is kept has been given.
    fn splice<'s>(&self, to: &'s Stream) -> Option<Splice<'s>>
    where
        Self: 's,
    {
        self.source.splice(to)
    }

    async fn fill(&mut self, splice: &mut Splice<'_>) -> Result<Filled, SourceError> {
        let filled = self.source.fill(splice).await?;
        if matches!(filled, Filled::Bytes(_)) {
            self.kept.repeatable.set(false);
        }
        Ok(filled)
    }

    fn trailers(&self) -> Option<&Headers> {
        self.source.trailers()
    }

    fn detach(&mut self) {
        self.rest.detach();
        self.source.detach();
    }

    fn is_complete(&self) -> bool {
        self.rest.is_empty() && self.source.is_complete()
    }

    fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        self.source.poll_left(context)
    }
}
