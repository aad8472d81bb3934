//! Chunks that wait on one stream for their receiver. Mostly there is one at most, and it needs no memory of its own.

use crate::engine::buffer::Chunk;
use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct ChunkQueue {
    first: Option<Chunk>,
    /// What came after the first.
    // Boxed: it is rare, and its place is in every idle stream.
    #[allow(clippy::box_collection)]
    rest: Option<Box<VecDeque<Chunk>>>,
}

impl ChunkQueue {
    pub(super) fn push_back(&mut self, chunk: Chunk) {
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.rest.get_or_insert_default().push_back(chunk),
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Chunk> {
        let first = self.first.take()?;
        self.first = self.rest.as_mut().and_then(|rest| rest.pop_front());
        Some(first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(super) fn clear(&mut self) {
        *self = ChunkQueue::default();
    }

    /// Gives back memory that an empty queue does not need.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.rest = None;
        }
    }

    /// Moves the bytes out of the receive buffers.
    pub(super) fn detach(&mut self) {
        self.first.iter_mut().for_each(Chunk::detach);
        self.rest.iter_mut().flat_map(|rest| rest.iter_mut()).for_each(Chunk::detach);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let rest = self.rest.iter().flat_map(|rest| rest.iter());
        self.first.iter().chain(rest).map(|chunk| chunk.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order() {
        let mut queue = ChunkQueue::default();
        for text in [b"one", b"two", b"six"] {
            queue.push_back(Chunk::from_static(text));
        }
        assert_eq!((queue.len(), queue.bytes()), (3, 9));
        assert_eq!(&queue.pop_front().unwrap()[..], b"one");
        queue.push_back(Chunk::from_static(b"ten"));
        let left: Vec<Vec<u8>> = std::iter::from_fn(|| queue.pop_front()).map(|chunk| chunk.to_vec()).collect();
        assert_eq!(left, [b"two", b"six", b"ten"]);
        assert!(queue.is_empty());
    }
}
