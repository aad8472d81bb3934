//! Receive buffers and the bytes in them: the arena, reference-counted [`Chunk`]s, and [`Outgoing`], what is to be sent.
//!
//! Few large buffers, returned at once (the measurements are in the design). A chunk is a slice of one of them; when
//! the last chunk of a buffer is dropped, the buffer is free again. Whoever may hold a chunk for long calls
//! [`Chunk::detach`], which copies it to memory of exactly its size, so that nothing slow pins the arena.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

thread_local! {
    /// Bytes in chunks that have memory of their own.
    static DETACHED: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that were copied out of receive buffers, on this thread, because somebody takes them slowly.
pub(super) fn detached_bytes() -> usize {
    DETACHED.get()
}

/// Bytes before each buffer into which a message head may grow that is written anew in front of its body.
const HEADROOM: usize = 512;

/// The receive buffers of one engine: one mapping, cut into equal parts, touched only where data arrives.
pub(super) struct Arena {
    base: *mut u8,
    buffer_size: usize,
    /// Chunks of each buffer.
    references: Box<[Cell<u32>]>,
    /// Buffers that nobody holds and the driver has not taken yet.
    free: RefCell<Vec<u16>>,
}

impl Arena {
    /// `count` is a power of two up to 32,768; `buffer_size` is in bytes.
    pub(super) fn new(count: u16, buffer_size: usize) -> std::io::Result<Rc<Arena>> {
        let len = usize::from(count) * (HEADROOM + buffer_size);
        // SAFETY: an anonymous private mapping at no given address touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Rc::new(Arena {
            base: base.cast(),
            buffer_size,
            references: (0..count).map(|_| Cell::new(0)).collect(),
            free: RefCell::new((0..count).rev().collect()),
        }))
    }

    pub(super) fn buffer_size(&self) -> usize {
        self.buffer_size
    }

    pub(super) fn buffer_count(&self) -> usize {
        self.references.len()
    }

    /// Buffers that nobody holds. The uring driver keeps its own count of those that the kernel holds.
    pub(super) fn free_count(&self) -> usize {
        self.free.borrow().len()
    }

    /// Bytes of the buffers that are not free.
    pub(super) fn held_bytes(&self, free: usize) -> u64 {
        (self.buffer_count().saturating_sub(free) * (HEADROOM + self.buffer_size)) as u64
    }

    /// Takes a free buffer, to be filled and then named to [`Arena::chunk`] or [`Arena::give_back`].
    /// The most recently freed one comes first: its lines are the likeliest to be in the cache.
    pub(super) fn take(&self) -> Option<u16> {
        self.free.borrow_mut().pop()
    }

    /// Returns a buffer that was taken and not made a chunk of.
    pub(super) fn give_back(&self, index: u16) {
        debug_assert_eq!(self.references[usize::from(index)].get(), 0);
        self.free.borrow_mut().push(index);
    }

    /// The start of a buffer; valid for `buffer_size` bytes as long as the arena lives.
    pub(super) fn address(&self, index: u16) -> *mut u8 {
        assert!(usize::from(index) < self.references.len());
        // SAFETY: the index was checked, so the offset stays inside the mapping.
        unsafe { self.base.add(usize::from(index) * (HEADROOM + self.buffer_size) + HEADROOM) }
    }

    /// The first `len` bytes of a taken buffer, which the kernel or the caller has filled.
    pub(super) fn chunk(self: &Rc<Arena>, index: u16, len: usize) -> Chunk {
        let start = self.address(index);
        assert!(len <= self.buffer_size);
        self.references[usize::from(index)].set(1);
        Chunk { owner: Owner::Arena(self.clone(), index), start, len }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length; every chunk holds an Rc to the arena, and the uring
        // driver leaks its Rc when the kernel may still write, so nobody can reach the memory any more.
        unsafe { libc::munmap(self.base.cast(), self.references.len() * (HEADROOM + self.buffer_size)) };
    }
}

enum Owner {
    Arena(Rc<Arena>, u16),
    Heap(Rc<[u8]>),
    Static,
}

/// A reference-counted slice of received (or static) bytes. Cloning and cutting copy no byte.
pub struct Chunk {
    owner: Owner,
    start: *const u8,
    len: usize,
}

impl Chunk {
    /// No bytes: what a receive gives at the end of the stream.
    pub const fn empty() -> Chunk {
        Chunk::from_static(&[])
    }

    pub const fn from_static(bytes: &'static [u8]) -> Chunk {
        Chunk { owner: Owner::Static, start: bytes.as_ptr(), len: bytes.len() }
    }

    /// A copy of `bytes` in memory of exactly their size.
    pub fn copy_of(bytes: &[u8]) -> Chunk {
        let heap: Rc<[u8]> = bytes.into();
        DETACHED.set(DETACHED.get() + heap.len());
        Chunk { start: heap.as_ptr(), len: heap.len(), owner: Owner::Heap(heap) }
    }

    /// Drops the first `count` bytes, or all if there are fewer. A chunk without bytes holds no buffer: whoever keeps
    /// one for what comes next pins nothing.
    pub fn advance(&mut self, count: usize) {
        if count >= self.len {
            *self = Chunk::empty();
            return;
        }
        // SAFETY: `count` is less than `len`, so the pointer stays inside the slice.
        self.start = unsafe { self.start.add(count) };
        self.len -= count;
    }

    /// Keeps the first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        if count == 0 {
            *self = Chunk::empty();
        }
        self.len = self.len.min(count);
    }

    /// Cuts off and returns the first `count` bytes, or all if there are fewer.
    pub fn split_to(&mut self, count: usize) -> Chunk {
        if count >= self.len {
            return std::mem::replace(self, Chunk::empty());
        }
        let mut front = self.clone();
        front.truncate(count);
        self.advance(count);
        front
    }

    /// Writes `bytes` directly before those of the chunk, over what was received there and is used up, and makes them its
    /// beginning. False, and nothing is changed, if there is no room or somebody else holds the buffer.
    fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Owner::Arena(arena, index) = &self.owner else { return false };
        let room = self.start as usize - arena.address(*index) as usize + HEADROOM;
        if arena.references[usize::from(*index)].get() != 1 || bytes.len() > room {
            return false;
        }
        // SAFETY: the target lies inside this buffer and its headroom, as `room` says, and before the chunk's own bytes.
        // This is the buffer's only chunk and borrowed exclusively, so nobody reads the target; the kernel writes only to
        // buffers that have no chunk. The source is no part of the buffer, for the same reason.
        unsafe {
            let target = self.start.cast_mut().sub(bytes.len());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
            self.start = target;
        }
        self.len += bytes.len();
        true
    }

    /// Moves the bytes out of the arena, if they are in it, so that they may be held for long.
    pub fn detach(&mut self) {
        if self.is_pinned() {
            *self = Chunk::copy_of(self);
        }
    }

    /// Whether the chunk holds a buffer of the arena.
    pub(super) fn is_pinned(&self) -> bool {
        matches!(self.owner, Owner::Arena(..))
    }
}

impl Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` and `len` lie within the memory that `owner` keeps alive; nobody writes to it while a chunk
        // of it exists (the buffer goes back to the kernel only when the last chunk is dropped).
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Chunk {
        let owner = match &self.owner {
            Owner::Arena(arena, index) => {
                let references = &arena.references[usize::from(*index)];
                references.set(references.get() + 1);
                Owner::Arena(arena.clone(), *index)
            }
            Owner::Heap(heap) => Owner::Heap(heap.clone()),
            Owner::Static => Owner::Static,
        };
        Chunk { owner, start: self.start, len: self.len }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Arena(arena, index) => {
                let references = &arena.references[usize::from(*index)];
                references.set(references.get() - 1);
                if references.get() == 0 {
                    arena.free.borrow_mut().push(*index);
                }
            }
            Owner::Heap(heap) if Rc::strong_count(heap) == 1 => DETACHED.set(DETACHED.get() - heap.len()),
            Owner::Heap(_) | Owner::Static => {}
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len)
    }
}

/// Pieces that one vectored send may have; a caller sends and goes on before it is reached.
pub const PIECES_MAX: usize = 64;

enum Piece {
    Written(Range<usize>),
    Chunk(Chunk),
}

/// What is to be sent: bytes written here (heads, chunk-size lines) and received chunks, in order.
///
/// The value is lent to the engine for the time of a send and comes back empty with its memory, so that a connection
/// that sends again allocates nothing.
#[derive(Default)]
pub struct Outgoing {
    written: Vec<u8>,
    /// Where the bytes begin that are written but not yet a piece.
    open: usize,
    pieces: Vec<Piece>,
    len: usize,
    last: bool,
}

impl Outgoing {
    /// Says that nothing follows these bytes but the end of the stream: the caller shuts down or closes it as soon as they
    /// are sent. The kernel then keeps what is left of a segment for that moment, and bytes and end travel together.
    pub fn end(&mut self) {
        self.last = true;
    }

    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// Where to append bytes. Nothing may be removed from it.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.written
    }

    /// Appends a chunk without copying it. Text that stands directly before it goes into its buffer, if there is room: one
    /// piece is cheaper to send than two.
    pub fn chunk(&mut self, mut chunk: Chunk) {
        if chunk.is_empty() {
            return;
        }
        if chunk.prepend(&self.written[self.open..]) {
            self.written.truncate(self.open);
        }
        self.close_text();
        self.len += chunk.len();
        self.pieces.push(Piece::Chunk(chunk));
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len + (self.written.len() - self.open)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether another two pieces might exceed `PIECES_MAX`.
    pub fn is_full(&self) -> bool {
        self.pieces.len() + 2 >= PIECES_MAX
    }

    /// Bytes of its own memory: room for what is written and for pieces, not the chunks.
    pub fn own_bytes(&self) -> usize {
        self.written.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    pub fn clear(&mut self) {
        self.written.clear();
        self.pieces.clear();
        self.open = 0;
        self.len = 0;
        self.last = false;
    }

    fn close_text(&mut self) {
        if self.written.len() > self.open {
            self.len += self.written.len() - self.open;
            self.pieces.push(Piece::Written(self.open..self.written.len()));
            self.open = self.written.len();
        }
    }

    /// The bytes of each piece, in order.
    pub(super) fn slices(&mut self) -> impl Iterator<Item = &[u8]> {
        self.close_text();
        let written = &self.written;
        self.pieces.iter().map(move |piece| match piece {
            Piece::Written(range) => &written[range.clone()],
            Piece::Chunk(chunk) => &chunk[..],
        })
    }

    /// Drops the first `count` bytes, which have been sent.
    pub(super) fn sent(&mut self, mut count: usize) {
        self.close_text();
        self.len -= count.min(self.len);
        let mut gone = 0;
        for piece in &mut self.pieces {
            let len = match piece {
                Piece::Written(range) => range.len(),
                Piece::Chunk(chunk) => chunk.len(),
            };
            if count < len {
                match piece {
                    Piece::Written(range) => range.start += count,
                    Piece::Chunk(chunk) => chunk.advance(count),
                }
                break;
            }
            count -= len;
            gone += 1;
        }
        self.pieces.drain(..gone);
    }

    /// Moves everything to memory of its own, so that a slow reader pins no receive buffer.
    pub(super) fn detach(&mut self) {
        self.close_text();
        for piece in &mut self.pieces {
            if let Piece::Chunk(chunk) = piece {
                chunk.detach();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_with_its_last_chunk() {
        let arena = Arena::new(2, 4096).unwrap();
        let first = arena.take().unwrap();
        let mut chunk = arena.chunk(first, 10);
        let front = chunk.split_to(4);
        assert_eq!((front.len(), chunk.len()), (4, 6));
        assert_eq!(arena.free_count(), 1);
        drop(chunk);
        assert_eq!(arena.free_count(), 1);
        drop(front);
        assert_eq!(arena.free_count(), 2);
    }

    #[test]
    fn a_chunk_that_was_used_up_holds_no_buffer() {
        let arena = Arena::new(1, 4096).unwrap();
        let index = arena.take().unwrap();
        let mut chunk = arena.chunk(index, 10);
        chunk.advance(10);
        assert_eq!((chunk.len(), arena.free_count()), (0, 1));
        let index = arena.take().unwrap();
        let mut chunk = arena.chunk(index, 10);
        chunk.truncate(0);
        assert_eq!((chunk.len(), arena.free_count()), (0, 1));
    }

    #[test]
    fn detached_bytes_hold_no_buffer() {
        let arena = Arena::new(1, 4096).unwrap();
        let index = arena.take().unwrap();
        let mut chunk = arena.chunk(index, 5);
        chunk.detach();
        assert_eq!(arena.free_count(), 1);
        assert_eq!(&chunk[..], &[0; 5]);
    }

    #[test]
    fn text_goes_before_a_chunk_where_nobody_else_holds_its_buffer() {
        let arena = Arena::new(1, 4096).unwrap();
        let mut chunk = arena.chunk(arena.take().unwrap(), 4096);
        chunk.advance(4000);
        let mut outgoing = Outgoing::default();
        for (len, pieces) in [(HEADROOM + 4000, 1), (HEADROOM + 4001, 2), (1, 1)] {
            outgoing.text().extend(std::iter::repeat_n(b'h', len));
            let body = std::mem::replace(&mut chunk, Chunk::empty());
            outgoing.chunk(body);
            assert_eq!((outgoing.len(), outgoing.slices().count()), (len + 96, pieces));
            let sent = outgoing.slices().collect::<Vec<_>>().concat();
            assert!(sent[..len].iter().all(|byte| *byte == b'h') && sent[len..].iter().all(|byte| *byte == 0));
            outgoing.clear();
            chunk = arena.chunk(arena.take().unwrap(), 4096);
            // What earlier rounds wrote lies before the body.
            chunk.advance(4000);
        }
        let held = chunk.clone();
        outgoing.text().push(b'h');
        outgoing.chunk(chunk);
        assert_eq!(outgoing.slices().count(), 2);
        assert_eq!(held.len(), 96);
    }

    #[test]
    fn outgoing_keeps_order_and_forgets_what_was_sent() {
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(b"head");
        outgoing.chunk(Chunk::from_static(b"body"));
        outgoing.text().extend_from_slice(b"tail");
        assert_eq!(outgoing.len(), 12);
        outgoing.sent(6);
        assert_eq!(outgoing.slices().collect::<Vec<_>>().concat(), b"dytail");
        outgoing.detach();
        outgoing.sent(2);
        assert_eq!(outgoing.slices().collect::<Vec<_>>().concat(), b"tail");
        assert_eq!(outgoing.len(), 4);
    }
}
