//! Sockets as the drivers need them, made and configured; and the process's limit of open files.

use super::ListenOptions;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};

/// A listening TCP socket (CLOEXEC; TCP_NODELAY is inherited by what it accepts) and its bound address.
pub(super) fn listening(
    address: SocketAddr,
    options: &ListenOptions,
    nonblocking: bool,
) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(nonblocking)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, local))
}

/// A TCP socket that is about to connect (CLOEXEC, TCP_NODELAY).
pub(super) fn connecting(address: SocketAddr, nonblocking: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(nonblocking)?;
    Ok(socket)
}

/// The address of the other side.
pub(super) fn remote_address(fd: RawFd) -> io::Result<SocketAddr> {
    borrowed(fd, |socket| socket.peer_addr()).and_then(ip_address)
}

/// The address of this side.
pub(super) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    borrowed(fd, |socket| socket.local_addr()).and_then(ip_address)
}

/// Sets O_NONBLOCK. It cannot fail on a socket that is open.
pub(super) fn make_nonblocking(fd: RawFd) {
    let _ = borrowed(fd, |socket| socket.set_nonblocking(true));
}

/// Ends the sending side. A socket that is gone already needs no end.
pub(super) fn shutdown_send(fd: RawFd) {
    let _ = borrowed(fd, |socket| socket.shutdown(std::net::Shutdown::Write));
}

/// Makes the close of `fd` a reset.
pub(super) fn linger_off(fd: RawFd) {
    let _ = borrowed(fd, |socket| socket.set_linger(Some(std::time::Duration::ZERO)));
}

/// The error that a connect or another asynchronous act has left on the socket; the kernel then forgets it.
pub(super) fn take_error(fd: RawFd) -> Option<io::Error> {
    borrowed(fd, |socket| socket.take_error()).ok().flatten()
}

/// Bytes that the other side has acknowledged since the connection began (TCP_INFO); 0 if the kernel does not say.
pub(super) fn acknowledged(fd: RawFd) -> u64 {
    /// `tcpi_bytes_acked` in `struct tcp_info`, which only ever grows at its end (Linux 4.1 has this field).
    const BYTES_ACKED: std::ops::Range<usize> = 120..128;
    let mut info = [0u8; BYTES_ACKED.end];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel fills at most `length` bytes of `info`.
    unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut length) };
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&info[BYTES_ACKED]);
    u64::from_ne_bytes(bytes)
}

fn ip_address(address: SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))
}

fn borrowed<T>(fd: RawFd, act: impl FnOnce(&Socket) -> T) -> T {
    // SAFETY: the caller owns `fd` and keeps it open for the time of the call; `into_raw_fd` below gives it back, so
    // that it is not closed here.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    let result = act(&socket);
    let _ = socket.into_raw_fd();
    result
}

/// Raises the limit of open files (RLIMIT_NOFILE) to its hard limit, or to `wanted` where the process may raise that
/// too. Returns the limit then in force.
pub fn raise_fd_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let both = libc::rlimit { rlim_cur: wanted, rlim_max: wanted.max(limit.rlim_max) };
    let soft = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    for attempt in [both, soft] {
        // SAFETY: `attempt` is a valid rlimit that the kernel only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &attempt) } == 0 {
            return Ok(attempt.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// Pins the calling thread to one processor. A refusal (a cpuset that changed) leaves it where the kernel likes.
pub fn pin_thread(processor: usize) {
    // SAFETY: an all-zero cpu_set_t is the empty set; CPU_SET checks nothing but the index is far below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if processor < libc::CPU_SETSIZE as usize {
            libc::CPU_SET(processor, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        }
    }
}

/// The processors that this process may run on.
pub fn processors() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is valid for the kernel to fill; CPU_ISSET reads below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return vec![0];
        }
        (0..libc::CPU_SETSIZE as usize).filter(|index| libc::CPU_ISSET(*index, &set)).collect()
    }
}
