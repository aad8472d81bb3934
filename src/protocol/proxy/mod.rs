//! The PROXY protocol, versions 1 and 2: a header before the first byte of a connection, by which a proxy tells who its
//! client is (HAProxy's doc/proxy-protocol.txt; the sections named here are of that text). Pure: bytes to a [`Header`] in
//! `read`, a [`Header`] to bytes in `write`. Whom to believe is the caller's to say.

mod crc32c;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{HeaderError, Parsed, read};
pub use write::{Version, write, write_local};

use std::fmt;
use std::net::SocketAddr;

/// Bytes of a version 1 line, its line break included (section 2.1).
pub const LINE_BYTES_MAX: usize = 107;
/// Bytes of a version 2 header that are taken: what is longer is refused as soon as it says so, because the whole header is
/// held in memory before it is read. The addresses and every registered extension together need less than a quarter of it.
pub const HEADER_BYTES_MAX: usize = 4_096;
/// Bytes of a unique id (section 2.2.5).
pub const UNIQUE_ID_BYTES_MAX: usize = 128;
/// Bytes of a server name, and of a protocol name (RFC 6066 section 3 by way of DNS; RFC 7301 section 3.1).
pub const NAME_BYTES_MAX: usize = 255;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub addresses: Addresses<'a>,
    pub extensions: Extensions<'a>,
    /// The client spoke TLS to the sender (section 2.2.6). It is read and never written.
    pub tls: bool,
}

/// Where the client's connection comes from and went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// The sender speaks for itself (LOCAL), or does not know: the connection's own addresses hold.
    Unknown,
    /// Both of the same family.
    Ip { source: SocketAddr, destination: SocketAddr },
    /// Paths of unix sockets, filled up with zeros.
    Unix { source: &'a [u8; UNIX_BYTES], destination: &'a [u8; UNIX_BYTES] },
}

/// Bytes of the address of a unix socket.
pub const UNIX_BYTES: usize = 108;

/// What a version 2 header may say beside the addresses.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// The server name that the client asked for (section 2.2.2).
    pub authority: Option<&'a [u8]>,
    /// The protocol above TLS (section 2.2.1).
    pub alpn: Option<&'a [u8]>,
    pub unique_id: Option<&'a [u8]>,
}

impl fmt::Debug for Extensions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: Option<&[u8]>| value.map(|bytes| bytes.escape_ascii().to_string());
        let Extensions { authority, alpn, unique_id } = self;
        write!(f, "{:?} {:?} {:?}", shown(*authority), shown(*alpn), shown(*unique_id))
    }
}

/// The first bytes of a version 2 header (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The bytes before the addresses: signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// Types of extensions (section 2.2).
mod tlv {
    pub const ALPN: u8 = 0x01;
    pub const AUTHORITY: u8 = 0x02;
    pub const CRC32C: u8 = 0x03;
    pub const UNIQUE_ID: u8 = 0x05;
    pub const SSL: u8 = 0x20;
}
