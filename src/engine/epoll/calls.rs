//! The system calls of the epoll driver, each made safe: arguments that cannot be wrong, errors as [`io::Error`].
//! It holds no state but the epoll descriptor and decides nothing. Called by the driver alone.

use crate::base::Address;
use crate::engine::buffer::{Arena, Outgoing};
use socket2::SockAddr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Vectors of one sendmsg; the kernel takes no more (IOV_MAX).
const VECTORS_MAX: usize = 1024;

/// The epoll descriptor.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Poller> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) } as isize)?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(Poller { epoll: unsafe { OwnedFd::from_raw_fd(fd as RawFd) } })
    }

    /// Reports the edges of `interest` on `fd` as `data` until the descriptor is closed.
    pub(super) fn add(&self, fd: RawFd, interest: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (interest | libc::EPOLLET) as u32, u64: data };
        // SAFETY: `event` is a valid record that the kernel only reads.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) };
        checked(result as isize).map(|_| ())
    }

    /// Reports nothing of `fd` any more. Needed where the descriptor's close does not close the socket.
    pub(super) fn remove(&self, fd: RawFd) {
        // SAFETY: the kernel reads no record for a removal. It fails only where there is nothing to remove.
        unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Replaces what is in `events` by what has happened; waits at most `timeout_ms` (-1: for ever). At most
    /// `events.capacity()` are taken, the others come with the next call. A signal ends the wait with none.
    pub(super) fn wait(&self, events: &mut Vec<libc::epoll_event>, timeout_ms: i32) {
        events.clear();
        let room = i32::try_from(events.capacity()).unwrap_or(i32::MAX);
        // SAFETY: the vector has room for `room` records.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) };
        // SAFETY: the kernel has filled `count` records, at most as many as there is room for.
        unsafe { events.set_len(usize::try_from(count).unwrap_or(0)) };
    }
}

/// Receives into a buffer that was taken from the arena. Zero bytes: the end of the stream.
pub(super) fn receive(fd: RawFd, arena: &Arena, buffer: u16) -> io::Result<usize> {
    // SAFETY: the buffer is ours (taken, not yet a chunk) and `buffer_size` bytes long.
    checked(unsafe { libc::recv(fd, arena.address(buffer).cast(), arena.buffer_size(), libc::MSG_DONTWAIT) })
}

/// Whether a receive would give bytes, the end or an error.
pub(super) fn has_input(fd: RawFd) -> bool {
    !matches!(peek(fd), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// What a receive of one byte would give, without taking it. The kernel forgets an error that it has told.
pub(super) fn peek(fd: RawFd) -> io::Result<usize> {
    let mut byte = 0u8;
    // SAFETY: one writable byte.
    checked(unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_DONTWAIT | libc::MSG_PEEK) })
}

/// Hands as much of `outgoing` to the kernel as it takes and drops it from there. True if nothing is left; false means
/// that the socket will report when it takes more.
pub(super) fn send(fd: RawFd, outgoing: &mut Outgoing, vectors: &mut Vec<libc::iovec>) -> io::Result<bool> {
    loop {
        let offered = fill(vectors, outgoing);
        match send_vectors(fd, vectors, outgoing.is_last()) {
            Ok(taken) if taken == outgoing.len() => {
                outgoing.clear();
                return Ok(true);
            }
            Ok(taken) => {
                outgoing.sent(taken);
                if taken < offered {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn fill(vectors: &mut Vec<libc::iovec>, outgoing: &mut Outgoing) -> usize {
    vectors.clear();
    let mut offered = 0;
    for slice in outgoing.slices().take(VECTORS_MAX) {
        vectors.push(libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() });
        offered += slice.len();
    }
    offered
}

/// `vectors` have just been filled from bytes that are still borrowed by the caller.
fn send_vectors(fd: RawFd, vectors: &mut [libc::iovec], last: bool) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | if last { libc::MSG_MORE } else { 0 };
    if let [only] = vectors {
        // SAFETY: the vector names bytes that live for the call.
        return checked(unsafe { libc::send(fd, only.iov_base, only.iov_len, flags) });
    }
    // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    // SAFETY: message and vectors live for the call and name bytes that do; the kernel only reads them.
    checked(unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// The next connection in the listener's queue, non-blocking and CLOEXEC, and its client's address.
pub(super) fn accept(fd: RawFd) -> io::Result<(OwnedFd, Address)> {
    const FLAGS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel fills the storage and its length, and gives a descriptor to us alone.
    let (socket, address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let fd = checked(libc::accept4(fd, storage.cast(), length, FLAGS) as isize)?;
            Ok(OwnedFd::from_raw_fd(fd as RawFd))
        })?
    };
    let address = match address.is_unix() {
        // What a client may have bound its socket to is its own affair and says nothing of who it is.
        true => Address::UnixUnnamed,
        false => Address::from_kernel(&address)?,
    };
    Ok((socket, address))
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
