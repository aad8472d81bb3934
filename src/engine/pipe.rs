//! Pipes: where bytes wait inside the kernel on their way from one socket to another, never copied to this process. A
//! bounded pool for each engine; who finds it empty copies instead.
//!
//! A pipe is lent for the time between filling and draining it, so that few serve many connections: only a slow reader
//! keeps one. One that still holds bytes when it comes back is closed and never lent again: the bytes are another's.
//!
//! The kernel limits what the pipes of one user may hold (`fs.pipe-user-pages-soft`) and how large one may be
//! (`fs.pipe-max-size`), unless the process may CAP_SYS_RESOURCE. Past the limits a new pipe is made with room for two
//! pages and may not grow. Such a pipe costs more than it saves, so it counts as none.

use crate::base::Instant;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Pipes that one engine has open at most: so many slow readers can hold bytes in pipes, the others hold copies.
pub(super) const PIPES_MAX: usize = 64;
/// Of these, so many stay open when nobody uses them.
pub(super) const PIPES_IDLE_MAX: usize = 8;
/// The room that is asked for, in bytes, and the least that is worth using. The room is counted in pages, and a page may
/// hold a single small packet: with packets of 1,448 bytes a pipe of 1 MiB takes 370 KB.
const PIPE_SIZE: usize = 1 << 20;
const PIPE_SIZE_MIN: usize = 64 * 1024;
/// Bytes moved into a pipe at once, and with that what a connection may hold in one. What a move costs beside its bytes
/// is paid seldom so: HAProxy moves 590 KB at once in the same place.
pub(super) const FILL_MAX: usize = 1 << 20;
/// Bytes in all pipes of one engine at most.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// A pipe may take this part of what is left of them, so that many slow readers share; below the least, it is none.
const SHARE: usize = 4;
const FILL_MIN: usize = 64 * 1024;
/// How long no pipe is opened after the kernel had none to give.
const PIPE_PAUSE: Duration = Duration::from_secs(1);

/// A pipe of the kernel, or what stands for one under simulation.
pub(super) struct Pipe {
    body: Body,
    bytes: usize,
    /// Bytes that it may be filled with.
    room: usize,
}

enum Body {
    Kernel { into: OwnedFd, out: OwnedFd },
    Simulated(VecDeque<u8>),
}

impl Pipe {
    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Bytes that it may be filled with.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Moves what `socket` has received, `max` bytes of it at most, into the pipe, which must be empty: only then does EAGAIN
    /// mean that nothing has been received. Zero: the end of the stream. The socket must be O_NONBLOCK, because that alone
    /// keeps the kernel from waiting.
    pub(super) fn fill_from(&mut self, socket: RawFd, max: usize) -> io::Result<usize> {
        debug_assert_eq!(self.bytes, 0);
        let Body::Kernel { into, .. } = &self.body else { return Err(io::ErrorKind::Unsupported.into()) };
        let moved = splice(socket, into.as_raw_fd(), max.min(self.room))?;
        self.bytes = moved;
        Ok(moved)
    }

    /// Hands as much as it takes to `socket`, which must be O_NONBLOCK. Errors are the socket's.
    pub(super) fn drain_to(&mut self, socket: RawFd) -> io::Result<usize> {
        let Body::Kernel { out, .. } = &self.body else { return Err(io::ErrorKind::Unsupported.into()) };
        // Without SPLICE_F_MORE: the kernel would hold back the last piece for more that may never come.
        let moved = splice(out.as_raw_fd(), socket, self.bytes)?;
        self.bytes -= moved;
        Ok(moved)
    }

    /// The bytes of a simulated pipe; whoever changes them calls [`Pipe::changed`].
    pub(super) fn simulated(&mut self) -> Option<&mut VecDeque<u8>> {
        match &mut self.body {
            Body::Simulated(bytes) => Some(bytes),
            Body::Kernel { .. } => None,
        }
    }

    pub(super) fn changed(&mut self) {
        if let Body::Simulated(bytes) = &self.body {
            self.bytes = bytes.len();
        }
    }
}

/// One splice(2) that waits for nothing.
fn splice(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    const FLAGS: u32 = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    loop {
        // SAFETY: null offsets are right for pipes and sockets; no memory of this process is named.
        let moved = unsafe { libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), len, FLAGS) };
        if let Ok(moved) = usize::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The pipes of one engine.
pub(super) struct Pipes {
    simulated: bool,
    idle: Vec<Pipe>,
    lent: usize,
    /// Bytes in pipes that are lent.
    pub(super) bytes: usize,
    /// Bytes that went through pipes, since the start.
    pub(super) moved: u64,
    /// Times that there was no pipe, since the start.
    pub(super) refused: u64,
    /// No pipe is opened before this.
    open_again: Instant,
}

impl Pipes {
    pub(super) fn new(simulated: bool) -> Pipes {
        Pipes { simulated, idle: Vec::new(), lent: 0, bytes: 0, moved: 0, refused: 0, open_again: Instant(0) }
    }

    /// Pipes that are lent.
    pub(super) fn lent(&self) -> usize {
        self.lent
    }

    /// An empty pipe, unless all are lent, those that are hold as much as all may, the kernel has no more, or is to have
    /// none (`short`, under simulation).
    pub(super) fn lend(&mut self, now: Instant, short: bool) -> Option<Pipe> {
        let room = (BYTES_MAX.saturating_sub(self.bytes) / SHARE).min(FILL_MAX);
        let pipe = match short || room < FILL_MIN {
            true => None,
            false => self.idle.pop().or_else(|| self.open(now)),
        };
        match pipe {
            Some(_) => self.lent += 1,
            None => self.refused += 1,
        }
        pipe.map(|pipe| Pipe { room, ..pipe })
    }

    fn open(&mut self, now: Instant) -> Option<Pipe> {
        if self.lent >= PIPES_MAX || now < self.open_again {
            return None;
        }
        if self.simulated {
            return Some(Pipe { body: Body::Simulated(VecDeque::new()), bytes: 0, room: 0 });
        }
        let opened = open_pipe();
        if opened.is_none() {
            self.open_again = now + PIPE_PAUSE;
        }
        opened
    }

    /// For a kernel that does not splice what it was asked to: from now on there are no pipes.
    pub(super) fn give_up(&mut self) {
        self.idle.clear();
        self.open_again = Instant::NEVER;
    }

    pub(super) fn take_back(&mut self, pipe: Pipe) {
        self.lent -= 1;
        self.bytes -= pipe.bytes;
        if pipe.bytes == 0 && self.idle.len() < PIPES_IDLE_MAX && self.open_again != Instant::NEVER {
            self.idle.push(pipe);
        }
    }
}

/// A pipe with as much room as the kernel grants; `None` if that is too little, or no descriptor is free.
fn open_pipe() -> Option<Pipe> {
    let mut ends = [0; 2];
    // SAFETY: room for the two descriptors that the kernel writes.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        return None;
    }
    // SAFETY: the kernel has just given both descriptors to us alone.
    let (out, into) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    // Halved until it is granted.
    let mut sizes =
        std::iter::successors(Some(PIPE_SIZE), |size| Some(size / 2)).take_while(|size| *size >= PIPE_SIZE_MIN);
    // SAFETY: fcntl with F_SETPIPE_SZ takes an integer.
    let granted = sizes.any(|size| unsafe { libc::fcntl(into.as_raw_fd(), libc::F_SETPIPE_SZ, size as i32) } >= 0);
    granted.then_some(Pipe { body: Body::Kernel { into, out }, bytes: 0, room: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1_000_000_000);

    #[test]
    fn pipes_are_lent_again_and_few_stay_open() {
        let mut pipes = Pipes::new(false);
        let lent: Vec<Pipe> = std::iter::from_fn(|| pipes.lend(NOW, false)).collect();
        assert_eq!((lent.len(), pipes.lent(), pipes.refused), (PIPES_MAX, PIPES_MAX, 1));
        lent.into_iter().for_each(|pipe| pipes.take_back(pipe));
        assert_eq!((pipes.idle.len(), pipes.lent()), (PIPES_IDLE_MAX, 0));
        assert!(pipes.lend(NOW, false).is_some());
        assert_eq!(pipes.idle.len(), PIPES_IDLE_MAX - 1);
    }

    #[test]
    fn a_pipe_that_holds_bytes_is_not_lent_again() {
        let mut pipes = Pipes::new(true);
        let mut pipe = pipes.lend(NOW, false).unwrap();
        pipe.simulated().unwrap().extend(b"another's");
        pipe.changed();
        pipes.bytes += pipe.len();
        pipes.take_back(pipe);
        assert_eq!((pipes.idle.len(), pipes.lent(), pipes.bytes), (0, 0, 0));
    }

    #[test]
    fn all_pipes_together_hold_no_more_than_they_may() {
        let mut pipes = Pipes::new(true);
        let mut held = Vec::new();
        while let Some(mut pipe) = pipes.lend(NOW, false) {
            assert!((FILL_MIN..=FILL_MAX).contains(&pipe.room()));
            let room = pipe.room();
            pipe.simulated().unwrap().resize(room, 0);
            pipe.changed();
            pipes.bytes += pipe.len();
            held.push(pipe);
        }
        assert!(pipes.bytes <= BYTES_MAX && pipes.bytes > BYTES_MAX - SHARE * FILL_MIN, "{}", pipes.bytes);
        assert!(held.len() > BYTES_MAX / FILL_MAX);
        pipes.take_back(held.remove(0));
        assert!(pipes.lend(NOW, false).is_some());
    }

    #[test]
    fn what_cannot_be_spliced_is_not_tried_again() {
        let mut pipes = Pipes::new(true);
        let pipe = pipes.lend(NOW, false).unwrap();
        pipes.give_up();
        pipes.take_back(pipe);
        assert!(pipes.lend(NOW + Duration::from_secs(3600), false).is_none());
    }

    /// Becomes a user without privileges, on this thread alone (libc's own call would change all threads).
    fn become_nobody() -> bool {
        const NOBODY: libc::uid_t = 64_123;
        // SAFETY: setresuid takes three integers.
        unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0 }
    }

    /// Once the user's pipes hold too many pages, the kernel makes small ones that may not grow: those are of no use.
    #[test]
    fn a_user_with_too_many_pipes_gets_no_more_and_later_does() {
        std::thread::spawn(|| {
            if !become_nobody() {
                return println!("skipped: only root can become a user that has no other pipes");
            }
            let pages = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
            if pages.trim() == "0" {
                return println!("skipped: no limit here");
            }
            let mut others = Pipes::new(false);
            let mut held = Vec::new();
            // Pools of other workers take all that there is.
            for _ in 0..64 {
                held.extend(std::iter::from_fn(|| others.lend(NOW, false)));
                (others.lent, others.open_again) = (0, NOW);
            }
            let mut pipes = Pipes::new(false);
            assert!(pipes.lend(NOW, false).is_none());
            held.truncate(1);
            // Not at once: the kernel is not asked each time.
            assert!(pipes.lend(NOW, false).is_none());
            assert_eq!(pipes.refused, 2);
            assert!(pipes.lend(NOW + PIPE_PAUSE, false).is_some());
        })
        .join()
        .unwrap();
    }
}
