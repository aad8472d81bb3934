//! Bytes of a body that are held in memory: in their order, small ones put together, counted by the worker.
//!
//! A piece stays in the receive buffer that it arrived in until [`Pieces::settle`] is called: before whoever holds it waits.

use crate::connection::memory::Memory;
use crate::engine::Chunk;
use std::collections::VecDeque;

/// Pieces shorter than this are put together to blocks of [`BLOCK`]: who sends single bytes gets no more memory than others.
const SMALL: usize = 4 * 1024;
const BLOCK: usize = 16 * 1024;
/// Pieces that may wait in receive buffers.
const FRESH_MAX: usize = 64;

pub(super) struct Pieces<'a> {
    memory: &'a Memory,
    /// In memory of their own.
    settled: VecDeque<Chunk>,
    /// What comes behind them, until it is a block.
    block: Vec<u8>,
    /// What comes behind that, as received.
    fresh: VecDeque<Chunk>,
    /// Counted, some of which may have been taken and not been forgotten yet.
    bytes: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(memory: &'a Memory) -> Pieces<'a> {
        Pieces { memory, settled: VecDeque::new(), block: Vec::new(), fresh: VecDeque::new(), bytes: 0 }
    }

    /// Bytes that have been pushed and not forgotten.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.block.is_empty() && self.fresh.is_empty()
    }

    /// Whether there may be more: there are fewer than `max` bytes, and the worker has memory to spare.
    pub(super) fn has_room(&self, max: usize) -> bool {
        self.bytes < max && self.memory.may_buffer()
    }

    pub(super) fn push(&mut self, piece: Chunk) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        self.memory.buffered(piece.len());
        self.fresh.push_back(piece);
        if self.fresh.len() >= FRESH_MAX {
            self.settle();
        }
    }

    /// Takes the first piece. It counts until it is forgotten.
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        if self.settled.is_empty() {
            self.seal();
        }
        self.settled.pop_front().or_else(|| self.fresh.pop_front())
    }

    /// So many bytes that have been taken are held no more.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.memory.unbuffered(bytes);
    }

    /// A settled piece, by its place.
    pub(super) fn get(&self, place: usize) -> Option<Chunk> {
        self.settled.get(place).cloned()
    }

    /// Moves everything out of receive buffers.
    pub(super) fn settle(&mut self) {
        while let Some(mut piece) = self.fresh.pop_front() {
            if piece.len() < SMALL {
                self.block.extend_from_slice(&piece);
                if self.block.len() >= BLOCK {
                    self.seal();
                }
            } else {
                self.seal();
                piece.detach();
                self.settled.push_back(piece);
            }
        }
    }

    /// Settles everything, and leaves no block open: every piece can be had by its place.
    pub(super) fn close(&mut self) {
        self.settle();
        self.seal();
        self.block = Vec::new();
    }

    fn seal(&mut self) {
        if !self.block.is_empty() {
            self.settled.push_back(Chunk::copy_of(&self.block));
            self.block.clear();
        }
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        self.memory.unbuffered(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is pushed is what is popped, however it settles in between; the worker's count comes back to nothing.
    fn check(pushed: &[usize], settle_after: usize) {
        let memory = Memory::default();
        let mut pieces = Pieces::new(&memory);
        let mut expected = Vec::new();
        for (number, len) in pushed.iter().enumerate() {
            let bytes = vec![number as u8; *len];
            expected.extend_from_slice(&bytes);
            pieces.push(Chunk::copy_of(&bytes));
            if (number + 1) % settle_after == 0 {
                pieces.settle();
            }
        }
        assert_eq!((pieces.bytes(), memory.buffered_bytes()), (expected.len(), expected.len()));
        let mut found = Vec::new();
        while let Some(piece) = pieces.pop() {
            found.extend_from_slice(&piece);
        }
        assert!(pieces.is_empty());
        assert_eq!(found, expected);
        pieces.forget(found.len() / 2);
        assert_eq!(memory.buffered_bytes(), found.len() - found.len() / 2);
        drop(pieces);
        assert_eq!(memory.buffered_bytes(), 0);
    }

    proptest! {
        #[test]
        fn bytes_stay_in_order_and_counted(
            pushed in proptest::collection::vec(prop_oneof![1usize..10, 1usize..2 * SMALL, Just(3 * BLOCK)], 0..200),
            settle_after in 1usize..80,
        ) {
            check(&pushed, settle_after);
        }
    }

    #[test]
    fn single_bytes_become_blocks() {
        let memory = Memory::default();
        let mut pieces = Pieces::new(&memory);
        for _ in 0..2 * BLOCK + 1 {
            pieces.push(Chunk::copy_of(b"x"));
            pieces.settle();
        }
        pieces.close();
        let lens: Vec<usize> = (0..4).map_while(|place| pieces.get(place)).map(|piece| piece.len()).collect();
        assert_eq!(lens, [BLOCK, BLOCK, 1]);
    }
}
