//! Where datagrams are received to: room for some dozens of them, one such room an engine, lent out for the length of a call.
//! Memory is touched only where data arrives: small datagrams touch one page of each place.

use super::Datagram;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// Datagrams, or pieces of several, that one receive takes.
pub(crate) const PLACES: usize = 32;
/// Bytes of ancillary data of one receive: PKTINFO of IPv4 and IPv6 and UDP_GRO, with their headers.
const CONTROL_BYTES: usize = 128;

/// Aligned as the kernel's headers are. Written and read by way of the messages.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control(#[allow(dead_code)] [u8; CONTROL_BYTES]);

/// What is known of one received piece.
#[derive(Clone, Copy)]
struct Envelope {
    from: SocketAddr,
    to: Option<IpAddr>,
    len: usize,
    segment: usize,
    truncated: bool,
}

pub(crate) struct Batch {
    memory: *mut u8,
    size: usize,
    names: Box<[libc::sockaddr_in6]>,
    // The kernel is given its address.
    #[allow(dead_code)]
    controls: Box<[Control]>,
    #[allow(dead_code)]
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
    envelopes: Vec<Envelope>,
}

impl Batch {
    /// `size` is how many bytes one piece may have.
    pub(crate) fn new(size: usize) -> io::Result<Batch> {
        // SAFETY: an anonymous private mapping at no given address touches no existing memory.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PLACES * size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory: *mut u8 = memory.cast();
        // SAFETY: an all-zero sockaddr_in6 is valid.
        let mut names = vec![unsafe { std::mem::zeroed::<libc::sockaddr_in6>() }; PLACES].into_boxed_slice();
        let mut controls = vec![Control([0; CONTROL_BYTES]); PLACES].into_boxed_slice();
        let place = |at: usize| libc::iovec { iov_base: memory.wrapping_add(at * size).cast(), iov_len: size };
        let mut vectors: Box<[libc::iovec]> = (0..PLACES).map(place).collect();
        let (name, control, vector) = (names.as_mut_ptr(), controls.as_mut_ptr(), vectors.as_mut_ptr());
        let messages = (0..PLACES).map(|at| {
            // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_name = name.wrapping_add(at).cast();
            message.msg_hdr.msg_namelen = NAME_BYTES;
            message.msg_hdr.msg_iov = vector.wrapping_add(at);
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.wrapping_add(at).cast();
            message.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            message
        });
        let messages = messages.collect();
        Ok(Batch { memory, size, names, controls, vectors, messages, envelopes: Vec::with_capacity(PLACES) })
    }

    /// Receives what is there from a socket, without waiting. True if there may be more.
    pub(super) fn receive(&mut self, fd: RawFd) -> io::Result<bool> {
        self.envelopes.clear();
        // SAFETY: each message names an address, a vector and ancillary room that live as long as the batch, which is
        // borrowed exclusively; their lengths are what they have room for.
        let received = unsafe {
            libc::recvmmsg(fd, self.messages.as_mut_ptr(), PLACES as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?.min(PLACES);
        for (message, name) in self.messages[..count].iter_mut().zip(&self.names) {
            // SAFETY: the kernel has filled the message, its name and its ancillary data.
            let envelope = unsafe { opened(message, name) };
            self.envelopes.push(envelope);
            message.msg_hdr.msg_namelen = NAME_BYTES;
            message.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        Ok(count == PLACES)
    }

    /// Empties it, to be filled with [`Batch::put`].
    pub(in crate::engine) fn clear(&mut self) {
        self.envelopes.clear();
    }

    pub(in crate::engine) fn is_full(&self) -> bool {
        self.envelopes.len() == PLACES
    }

    /// Adds a piece as if the kernel had received it; what is longer than a place is cut off.
    pub(in crate::engine) fn put(&mut self, datagram: &Datagram<'_>) {
        let len = datagram.bytes.len().min(self.size);
        let at = self.envelopes.len();
        assert!(at < PLACES);
        // SAFETY: the place lies inside the mapping, and this batch is borrowed exclusively.
        let place = unsafe { std::slice::from_raw_parts_mut(self.memory.add(at * self.size), len) };
        place.copy_from_slice(&datagram.bytes[..len]);
        let (from, to, segment) = (datagram.from, datagram.to, datagram.segment);
        self.envelopes.push(Envelope { from, to, len, segment, truncated: len < datagram.bytes.len() });
    }

    pub(super) fn truncated(&self) -> usize {
        self.envelopes.iter().filter(|envelope| envelope.truncated).count()
    }

    /// The whole ones.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let whole = self.envelopes.iter().enumerate().filter(|(_, envelope)| !envelope.truncated);
        whole.map(|(at, envelope)| {
            // SAFETY: the place lies inside the mapping, `len` is at most its size, and the kernel has written it (what
            // it has not is zeroed memory of the mapping). Nobody writes to it while the batch is borrowed.
            let bytes = unsafe { std::slice::from_raw_parts(self.memory.add(at * self.size), envelope.len) };
            Datagram { from: envelope.from, to: envelope.to, bytes, segment: envelope.segment }
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length; nothing that was lent out of it is left.
        unsafe { libc::munmap(self.memory.cast(), PLACES * self.size) };
    }
}

const NAME_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

/// # Safety
/// The kernel has filled `message`, whose name is `name`.
unsafe fn opened(message: &libc::mmsghdr, name: &libc::sockaddr_in6) -> Envelope {
    let len = message.msg_len as usize;
    let mut envelope = Envelope {
        from: address(name, message.msg_hdr.msg_namelen),
        to: None,
        len,
        segment: len,
        truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
    };
    // SAFETY: passed on to the caller; the macros stay inside the length that the kernel has left.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message.msg_hdr);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    envelope.to = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    let to = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    // Nothing can be sent from a group's address.
                    envelope.to = (!to.is_multicast()).then_some(to.into());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    envelope.segment = data.cast::<libc::c_int>().read_unaligned().max(0) as usize;
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&message.msg_hdr, header);
        }
    }
    envelope
}

/// The address that the kernel has written; an unspecified one where it has written none.
fn address(name: &libc::sockaddr_in6, len: libc::socklen_t) -> SocketAddr {
    match i32::from(name.sin6_family) {
        _ if len == 0 => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into(),
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in, which is shorter and no more strictly aligned.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            SocketAddrV4::new(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)), u16::from_be(name.sin_port)).into()
        }
        _ => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            SocketAddrV6::new(ip, u16::from_be(name.sin6_port), name.sin6_flowinfo, name.sin6_scope_id).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_and_what_is_too_long_does_not() {
        let mut batch = Batch::new(8).unwrap();
        let from = "10.0.0.1:5".parse().unwrap();
        for bytes in [&b"12345678"[..], b"123456789", b"", b"abc"] {
            batch.put(&Datagram { from, to: None, bytes, segment: bytes.len() });
        }
        let whole: Vec<&[u8]> = batch.datagrams().map(|datagram| datagram.bytes).collect();
        assert_eq!(whole, [&b"12345678"[..], b"", b"abc"]);
        assert_eq!(batch.truncated(), 1);
    }
}
