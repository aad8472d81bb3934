//! Sockets as the drivers need them, made and configured; and the process's limit of open files.

use super::{ConnectOptions, KEEPALIVE_PROBES, ListenOptions, TcpOptions};
use crate::base::Address;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};

/// A listening socket (CLOEXEC) and its bound address.
pub(super) fn listening(
    address: &Address,
    options: &ListenOptions,
    nonblocking: bool,
) -> io::Result<(Socket, Address)> {
    let socket = match address {
        Address::Ip(address) => bound_tcp(*address, options)?,
        Address::Unix(_) | Address::UnixUnnamed => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&address.to_kernel()?)?;
            socket
        }
    };
    socket.set_nonblocking(nonblocking)?;
    socket.listen(options.backlog)?;
    let local = Address::from_kernel(&socket.local_addr()?)?;
    Ok((socket, local))
}

/// What is set here (TCP_NODELAY too) is inherited by what the socket accepts.
fn bound_tcp(address: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    set_tcp(&socket, &options.tcp)?;
    if options.transparent {
        set_transparent(&socket, address.ip(), true)?;
    }
    if options.fast_open > 0 {
        set_fast_open(&socket, options.fast_open)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket that is about to connect (CLOEXEC, TCP_NODELAY), bound to its source if it has one.
pub(super) fn connecting(address: &Address, options: &ConnectOptions, nonblocking: bool) -> io::Result<Socket> {
    let Address::Ip(address) = address else {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if nonblocking {
            socket.set_nonblocking(true)?;
        }
        return Ok(socket);
    };
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    // A new socket blocks: to say so would cost a system call for each connection.
    if nonblocking {
        socket.set_nonblocking(true)?;
    }
    set_tcp(&socket, &options.tcp)?;
    if options.fast_open {
        set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
    }
    if let Some(source) = options.source {
        if options.transparent {
            set_transparent(&socket, source, true)?;
        }
        // A port is chosen only with the destination known: else each source port would serve one connection in all
        // instead of one to each destination.
        set_option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

fn set_tcp(socket: &Socket, options: &TcpOptions) -> io::Result<()> {
    if let Some(idle) = options.keepalive {
        // The kernel counts whole seconds, and 0 is an error.
        let idle = idle.max(std::time::Duration::from_secs(1));
        let interval = (idle / KEEPALIVE_PROBES).max(std::time::Duration::from_secs(1));
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(())
}

fn set_transparent(socket: &Socket, address: IpAddr, transparent: bool) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(transparent),
        IpAddr::V6(_) => socket.set_ip_transparent_v6(transparent),
    }
}

fn set_fast_open(socket: &Socket, queue: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, i32::try_from(queue).unwrap_or(i32::MAX))
}

/// Sets the options of a listener that is open already, those that are off too.
pub(super) fn configure_listener(fd: RawFd, local: &Address, options: &ListenOptions) -> io::Result<()> {
    let Address::Ip(local) = local else { return Ok(()) };
    borrowed(fd, |socket| {
        socket.set_keepalive(false)?;
        socket.set_tcp_user_timeout(None)?;
        set_tcp(socket, &options.tcp)?;
        // Without the option the queue cannot be set to 0 on every kernel; what was never on is not switched off.
        set_fast_open(socket, options.fast_open)
            .or_else(|error| if options.fast_open > 0 { Err(error) } else { Ok(()) })?;
        set_transparent(socket, local.ip(), options.transparent)
            .or_else(|error| if options.transparent { Err(error) } else { Ok(()) })
    })
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads one integer, which lives for the call; the descriptor is the socket's own.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address of the other side.
pub(super) fn remote_address(fd: RawFd) -> io::Result<Address> {
    borrowed(fd, |socket| socket.peer_addr()).and_then(|address| Address::from_kernel(&address))
}

/// The address of this side.
pub(super) fn local_address(fd: RawFd) -> io::Result<Address> {
    borrowed(fd, |socket| socket.local_addr()).and_then(|address| Address::from_kernel(&address))
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

/// Bytes that the other side has acknowledged since the connection began (TCP_INFO), or, of a Unix socket, those of the
/// `sent` ones that it has taken; 0 if the kernel does not say.
pub(super) fn acknowledged(fd: RawFd, sent: Option<u64>) -> u64 {
    if let Some(sent) = sent {
        return sent.saturating_sub(queued(fd));
    }
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

/// Whether a TCP socket that has been received from to its end, `received` bytes (modulo 2³²), was ended by a reset or an error
/// rather than by a FIN. Asked of TCP_INFO: the socket is closed altogether, and the kernel's own count of bytes, in which a FIN
/// is one more, has no FIN. (Behind a FIN a reset takes nothing away.) False of a Unix socket, whose sends take no error away.
pub(super) fn was_reset(fd: RawFd, received: u32) -> bool {
    /// Fields of `struct tcp_info`, which only ever grows at its end: `tcpi_state` and `tcpi_bytes_received` (Linux 4.1).
    const STATE: usize = 0;
    const BYTES_RECEIVED: std::ops::Range<usize> = 128..136;
    const TCP_CLOSE: u8 = 7;
    let mut info = [0u8; BYTES_RECEIVED.end];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel fills at most `length` bytes of `info`.
    let result =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut length) };
    if result != 0 || info[STATE] != TCP_CLOSE {
        return false;
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&info[BYTES_RECEIVED]);
    u64::from_ne_bytes(bytes) as u32 != received.wrapping_add(1)
}

/// What a Unix socket's buffer holds that the other side has not taken (SIOCOUTQ), with the kernel's own records of it.
fn queued(fd: RawFd) -> u64 {
    let mut bytes: i32 = 0;
    // SAFETY: the kernel fills one integer, which lives for the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
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
