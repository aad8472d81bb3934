//! Bytes from one stream to another without passing through this process: [`Splice`], over the pipes of the engine and
//! what each driver knows of readiness.
//!
//! Nothing is ever in flight: the moves are system calls that wait for nothing (IORING_OP_SPLICE would take a thread of
//! the kernel each time), so that a splice may be dropped at every point.

use super::pipe::Pipe;
use super::{Core, Stream};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

/// What filling has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes are in the pipe.
    Bytes(usize),
    /// Nothing is: receive and send this time. Bytes had been received already, the stream has ended or failed, or no
    /// pipe is free. The receive tells which.
    Copy,
}

/// Bytes on their way between two streams. Made by [`super::Engine::splice`].
///
/// It is the one receive of the first stream and the one send of the second for as long as it is being filled or
/// drained. Dropping it while it holds bytes loses them, and breaks the second stream's sending side.
pub struct Splice<'a> {
    from: &'a Stream,
    to: &'a Stream,
    /// Lent only while it holds bytes.
    pipe: Option<Pipe>,
    /// The turn in which it was filled last: once in a turn, so that a fast sender starves nobody.
    turn: u64,
}

impl<'a> Splice<'a> {
    pub(super) fn new(from: &'a Stream, to: &'a Stream) -> Splice<'a> {
        Splice { from, to, pipe: None, turn: u64::MAX }
    }

    /// Waits for bytes of the first stream and takes them out of it, `max` of them at most. Call it only when all has been
    /// drained.
    pub async fn fill(&mut self, max: usize) -> Filled {
        poll_fn(|context| self.poll_fill(context, max)).await
    }

    /// Hands bytes to the second stream, and waits until it takes some. Returns how many are left. The error is the
    /// second stream's.
    pub async fn drain(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_drain(context)).await
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::len)
    }

    fn core(&self) -> &'a Core {
        &self.from.core
    }

    fn poll_fill(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Filled> {
        debug_assert!(self.pipe.is_none(), "filled before it was drained");
        let core = self.core();
        if self.turn == core.turns.get() {
            core.postponed.borrow_mut().push(context.waker().clone());
            return Poll::Pending;
        }
        let mut driver = core.driver.borrow_mut();
        let mut pipes = core.pipes.borrow_mut();
        while ready!(driver.poll_spliceable(self.from.id, context.waker())) {
            let short = driver.is_short_of_pipes();
            let Some(mut pipe) = pipes.lend(core.now.get(), short) else { return Poll::Ready(Filled::Copy) };
            let moved = driver.splice_in(self.from.id, &mut pipe, max);
            if let Ok(count @ 1..) = moved {
                pipes.bytes += count;
                pipes.moved += count as u64;
                self.pipe = Some(pipe);
                self.turn = core.turns.get();
                return Poll::Ready(Filled::Bytes(count));
            }
            pipes.take_back(pipe);
            if moved.is_err() {
                pipes.give_up();
            }
        }
        Poll::Ready(Filled::Copy)
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let core = self.core();
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(0)) };
        let mut driver = core.driver.borrow_mut();
        let moved = loop {
            match driver.splice_out(self.to.id, pipe) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(driver.poll_writable(self.to.id, context.waker()));
                }
                moved => break moved?,
            }
        };
        let mut pipes = core.pipes.borrow_mut();
        pipes.bytes -= moved;
        let left = pipe.len();
        if left == 0 {
            pipes.take_back(self.pipe.take().expect("it has just been drained"));
        }
        Poll::Ready(Ok(left))
    }
}

impl Drop for Splice<'_> {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            let core = self.core();
            core.pipes.borrow_mut().take_back(pipe);
            core.driver.borrow_mut().abandon_send(self.to.id);
        }
    }
}

/// The error of the stream that a splice out of it has met; what is not the stream's is given back: the kernel, or what
/// watches over its calls, does not let these be spliced.
pub(super) fn stream_error(error: io::Error) -> io::Result<i32> {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EOPNOTSUPP | libc::ENOMEM) | None => {
            Err(error)
        }
        Some(code) => Ok(code),
    }
}
