//! A datagram socket of the kernel, for the drivers that have one: made, configured, and its system calls made safe. Sends
//! fall back to one call a datagram where the kernel or the device cannot cut a piece into segments.

use super::DatagramOptions;
use super::batch::Batch;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// Parts that the kernel cuts one piece into (UDP_MAX_SEGMENTS of the oldest kernel that cuts).
const SEGMENTS_MAX: usize = 64;
/// Bytes of one send that is cut: the length field of the whole before it is.
const PIECE_BYTES_MAX: usize = 65_000;
/// Bytes of the longest piece that the kernel makes of several datagrams.
const COALESCED_BYTES_MAX: usize = 64 * 1024;
/// Bytes of ancillary data of one send: the source address and the segment size, with their headers.
const CONTROL_BYTES: usize = 128;

pub(crate) struct KernelSocket {
    socket: Socket,
    /// Whether sends may be cut into segments by the kernel. Learnt from the first that cannot.
    segments: Cell<bool>,
}

impl KernelSocket {
    /// `size` is that of the places that it will receive to.
    pub(crate) fn bound(
        address: SocketAddr,
        options: &DatagramOptions,
        size: usize,
    ) -> io::Result<(KernelSocket, SocketAddr)> {
        let socket = Self::new(address, options, size)?;
        if options.reuse_port {
            socket.socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.socket.set_only_v6(true)?;
        }
        if address.ip().is_unspecified() {
            socket.tell_destinations(address.is_ipv6())?;
        }
        socket.socket.bind(&address.into())?;
        let local = socket.local_address(address)?;
        Ok((socket, local))
    }

    /// See [`KernelSocket::bound`].
    pub(crate) fn connected(
        address: SocketAddr,
        options: &DatagramOptions,
        size: usize,
    ) -> io::Result<(KernelSocket, SocketAddr)> {
        let socket = Self::new(address, options, size)?;
        socket.socket.connect(&address.into())?;
        let local = socket.local_address(address)?;
        Ok((socket, local))
    }

    fn new(address: SocketAddr, options: &DatagramOptions, size: usize) -> io::Result<KernelSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if options.queue_bytes > 0 {
            socket.set_recv_buffer_size(options.queue_bytes)?;
        }
        let socket = KernelSocket { socket, segments: Cell::new(true) };
        if options.coalesce && size >= COALESCED_BYTES_MAX {
            // A kernel before 5.0 gives each datagram by itself.
            let _ = socket.set(libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        Ok(socket)
    }

    fn local_address(&self, like: SocketAddr) -> io::Result<SocketAddr> {
        Ok(self.socket.local_addr()?.as_socket().unwrap_or(like))
    }

    /// Asks for the local address that each datagram was sent to.
    fn tell_destinations(&self, ipv6: bool) -> io::Result<()> {
        match ipv6 {
            true => self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
            false => self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        }
    }

    fn set(&self, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the kernel reads four bytes.
        let result = unsafe {
            libc::setsockopt(self.fd(), level, name, (&raw const value).cast(), size_of::<libc::c_int>() as u32)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Receives what is there. True if there may be more.
    pub(super) fn receive(&self, batch: &mut Batch) -> io::Result<bool> {
        batch.receive(self.fd())
    }

    /// See [`super::DatagramSocket::send`] and [`super::DatagramSocket::send_to`].
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        segment: usize,
        to: Option<(SocketAddr, Option<IpAddr>)>,
    ) -> io::Result<()> {
        let to = to.map(|(to, from)| (SockAddr::from(to), from));
        if segment == 0 || segment >= bytes.len() {
            return self.send_piece(bytes, None, to.as_ref());
        }
        let mut rest = bytes;
        while self.segments.get() && rest.len() > segment {
            let piece = rest.len().min(segment * (PIECE_BYTES_MAX / segment).clamp(1, SEGMENTS_MAX));
            match self.send_piece(&rest[..piece], Some(segment), to.as_ref()) {
                Ok(()) => rest = &rest[piece..],
                Err(error) if !cannot_cut(&error) => return Err(error),
                Err(error) => {
                    // EINVAL and EMSGSIZE are about this size on the way that it would take: another may be cut.
                    self.segments.set(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE)));
                    break;
                }
            }
        }
        rest.chunks(segment).try_for_each(|one| self.send_piece(one, None, to.as_ref()))
    }

    fn send_piece(
        &self,
        bytes: &[u8],
        segment: Option<usize>,
        to: Option<&(SockAddr, Option<IpAddr>)>,
    ) -> io::Result<()> {
        const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        if segment.is_none() && to.is_none() {
            // SAFETY: the bytes live for the call.
            return sent(unsafe { libc::send(self.fd(), bytes.as_ptr().cast(), bytes.len(), FLAGS) });
        }
        let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control::default();
        // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &mut vector;
        message.msg_iovlen = 1;
        if let Some((to, from)) = to {
            message.msg_name = to.as_ptr().cast_mut().cast();
            message.msg_namelen = to.len();
            match from {
                None => {}
                Some(IpAddr::V4(from)) => {
                    let from = libc::in_addr { s_addr: u32::from(*from).to_be() };
                    let info =
                        libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: libc::in_addr { s_addr: 0 } };
                    control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                }
                Some(IpAddr::V6(from)) => {
                    let from = libc::in6_addr { s6_addr: from.octets() };
                    let info = libc::in6_pktinfo { ipi6_addr: from, ipi6_ifindex: 0 };
                    control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                }
            }
        }
        if let Some(segment) = segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, u16::try_from(segment).unwrap_or(u16::MAX));
        }
        if control.len > 0 {
            message.msg_control = control.bytes.as_mut_ptr().cast();
            message.msg_controllen = control.len as _;
        }
        // SAFETY: all that the message names lives for the call, and the kernel only reads it.
        sent(unsafe { libc::sendmsg(self.fd(), &raw const message, FLAGS) })
    }

    /// See [`super::DatagramSocket::overflowed`].
    pub(crate) fn overflowed(&self) -> u64 {
        /// `SK_MEMINFO_DROPS` of `SO_MEMINFO` (Linux 4.12).
        const DROPS: usize = 8;
        let mut info = [0u32; DROPS + 1];
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the kernel fills at most `length` bytes of `info`.
        unsafe {
            libc::getsockopt(self.fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &mut length)
        };
        u64::from(info[DROPS])
    }
}

/// Whether a send failed because it was to be cut: the kernel does not know how (ENOPROTOOPT, EOPNOTSUPP), the device cannot
/// (EIO), or a part does not fit the way (EINVAL, EMSGSIZE).
fn cannot_cut(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
    )
}

fn sent(result: isize) -> io::Result<()> {
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ancillary data of one send.
#[repr(align(8))]
struct Control {
    bytes: [u8; CONTROL_BYTES],
    len: usize,
}

impl Default for Control {
    fn default() -> Control {
        Control { bytes: [0; CONTROL_BYTES], len: 0 }
    }
}

impl Control {
    /// Appends one header with its data.
    fn push<T>(&mut self, level: i32, kind: i32, data: T) {
        let size = size_of::<T>() as u32;
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute. The header lies inside the room, as is asserted, and is aligned:
        // the room is, and CMSG_SPACE is a multiple of that.
        unsafe {
            let space = libc::CMSG_SPACE(size) as usize;
            assert!(self.len + space <= CONTROL_BYTES);
            let header: *mut libc::cmsghdr = self.bytes.as_mut_ptr().add(self.len).cast();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(data);
            self.len += space;
        }
    }
}
