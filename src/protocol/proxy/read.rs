//! Bytes → PROXY header. What does not match exactly is an error (section 2.1: "must be discarded"), and it is one as soon
//! as the bytes that have arrived show it, so that a sender that is not meant to be one does not wait for a timeout.

use super::crc32c::crc32c;
use super::{
    Addresses, Extensions, FIXED_BYTES, HEADER_BYTES_MAX, Header, LINE_BYTES_MAX, NAME_BYTES_MAX, SIGNATURE,
    UNIQUE_ID_BYTES_MAX, UNIX_BYTES, tlv,
};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far the header has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// It is complete and `len` bytes long.
    Complete { header: Header<'a>, len: usize },
    /// More bytes are needed, and those at hand may be the beginning of a header.
    Partial,
}

/// Why bytes are no header, in words for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// They begin like no header of either version: likely the sender was not told to send one.
    NotAHeader,
    /// A version 1 line that is wrong.
    Line(&'static str),
    /// A version 2 header that is wrong.
    Binary(&'static str),
    /// A version 2 header of more than [`HEADER_BYTES_MAX`] bytes.
    TooLarge,
    BadChecksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::NotAHeader => f.write_str("the connection does not begin with a PROXY header"),
            HeaderError::Line(why) => write!(f, "the PROXY line is wrong: {why}"),
            HeaderError::Binary(why) => write!(f, "the PROXY v2 header is wrong: {why}"),
            HeaderError::TooLarge => write!(f, "the PROXY v2 header has more than {HEADER_BYTES_MAX} bytes"),
            HeaderError::BadChecksum => f.write_str("the PROXY v2 header does not match its CRC32c"),
        }
    }
}

/// Reads the header at the start of `bytes`, whichever version it is.
///
/// # Errors
/// As soon as the bytes can no longer become a header.
pub fn read(bytes: &[u8]) -> Result<Parsed<'_>, HeaderError> {
    const WORD: &[u8] = b"PROXY ";
    if begins_as(bytes, &SIGNATURE) {
        return read_binary(bytes);
    }
    if begins_as(bytes, WORD) {
        return read_line(bytes);
    }
    Err(HeaderError::NotAHeader)
}

/// Whether as much of `start` as can be there is there.
fn begins_as(bytes: &[u8], start: &[u8]) -> bool {
    let len = bytes.len().min(start.len());
    bytes[..len] == start[..len]
}

/// Version 1 (section 2.1).
fn read_line(bytes: &[u8]) -> Result<Parsed<'_>, HeaderError> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    // A carriage return that comes last may yet be followed by its line feed.
    let end = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(window.len());
    match &window[end..] {
        [b'\r', b'\n', ..] => {}
        [] | [b'\r'] if window.len() < LINE_BYTES_MAX => return Ok(Parsed::Partial),
        [] | [b'\r'] => return Err(HeaderError::Line("it has more than 107 bytes")),
        _ => return Err(HeaderError::Line("it does not end in CR LF")),
    }
    let addresses = line_addresses(&window[..end])?;
    let header = Header { addresses, extensions: Extensions::default(), tls: false };
    Ok(Parsed::Complete { header, len: end + 2 })
}

fn line_addresses(line: &[u8]) -> Result<Addresses<'_>, HeaderError> {
    let text = std::str::from_utf8(line).map_err(|_| HeaderError::Line("it is not ASCII"))?;
    let rest = text.strip_prefix("PROXY ").ok_or(HeaderError::NotAHeader)?;
    // What follows UNKNOWN up to the end of the line is of no concern.
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(Addresses::Unknown);
    }
    let mut words = rest.split(' ');
    let mut next = || words.next().ok_or(HeaderError::Line("a word is missing"));
    let parse: fn(&str) -> Option<IpAddr> = match next()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(HeaderError::Line("the protocol is none of TCP4, TCP6 and UNKNOWN")),
    };
    let address = |text| parse(text).ok_or(HeaderError::Line("an address is not one of the protocol's family"));
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(HeaderError::Line("there are more words than an address needs"));
    }
    Ok(Addresses::Ip {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// A port as section 2.1 has it: decimal, without leading zeros.
fn port(text: &str) -> Result<u16, HeaderError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = text.parse().ok().filter(|_| plain);
    number.ok_or(HeaderError::Line("a port is not a number from 0 to 65535 without leading zeros"))
}

/// Version 2 (section 2.2).
fn read_binary(bytes: &[u8]) -> Result<Parsed<'_>, HeaderError> {
    // Each byte is judged when it is there, the later ones or not.
    let command = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(byte) if byte >> 4 != 2 => return Err(HeaderError::Binary("its version is not 2")),
        Some(_) => return Err(HeaderError::Binary("its command is neither LOCAL nor PROXY")),
    };
    let family = match bytes.get(13) {
        None => return Ok(Parsed::Partial),
        // The family of a LOCAL header is ignored (section 2.2).
        Some(_) if command == Command::Local => Family::Unspecified,
        Some(0x00) => Family::Unspecified,
        Some(0x11 | 0x12) => Family::Ip4,
        Some(0x21 | 0x22) => Family::Ip6,
        Some(0x31 | 0x32) => Family::Unix,
        Some(_) => return Err(HeaderError::Binary("its address family or protocol is unknown")),
    };
    let Some(length) = bytes.get(14..FIXED_BYTES) else { return Ok(Parsed::Partial) };
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if len > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLarge);
    }
    if len < FIXED_BYTES + family.address_bytes() {
        return Err(HeaderError::Binary("it is too short for its addresses"));
    }
    let Some(whole) = bytes.get(..len) else { return Ok(Parsed::Partial) };
    let mut header = Header { addresses: Addresses::Unknown, extensions: Extensions::default(), tls: false };
    if command == Command::Proxy {
        let block = &whole[FIXED_BYTES..];
        header.addresses = family.addresses(block).ok_or(HeaderError::Binary("it is too short for its addresses"))?;
        let plain = header.clone();
        match read_extensions(whole, FIXED_BYTES + family.address_bytes(), &mut header) {
            // Some senders put addresses after UNSPEC, and how long those are nobody knows: it is ignored as a whole.
            Err(HeaderError::Binary(_)) if family == Family::Unspecified => header = plain,
            read => read?,
        }
    }
    Ok(Parsed::Complete { header, len })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Ip4,
    Ip6,
    Unix,
}

impl Family {
    fn address_bytes(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::Ip4 => 12,
            Family::Ip6 => 36,
            Family::Unix => 2 * UNIX_BYTES,
        }
    }

    fn addresses(self, block: &[u8]) -> Option<Addresses<'_>> {
        Some(match self {
            Family::Unspecified => Addresses::Unknown,
            Family::Ip4 => ip::<4>(block)?,
            Family::Ip6 => ip::<16>(block)?,
            Family::Unix => {
                let (source, rest) = block.split_first_chunk()?;
                Addresses::Unix { source, destination: rest.first_chunk()? }
            }
        })
    }
}

/// Two addresses of `N` bytes each, then two ports.
fn ip<const N: usize>(block: &[u8]) -> Option<Addresses<'_>>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let destination_port = rest.first_chunk()?;
    Some(Addresses::Ip {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes(*destination_port)),
    })
}

/// The extensions from `at` on. What is not known is skipped (section 2.2).
fn read_extensions<'a>(whole: &'a [u8], mut at: usize, header: &mut Header<'a>) -> Result<(), HeaderError> {
    let mut checked = false;
    while at < whole.len() {
        let Some(&[kind, high, low]) = whole[at..].first_chunk() else {
            return Err(HeaderError::Binary("an extension is cut off"));
        };
        let start = at + 3;
        let end = start + usize::from(u16::from_be_bytes([high, low]));
        let value = whole.get(start..end).ok_or(HeaderError::Binary("an extension is longer than the header"))?;
        let extensions = &mut header.extensions;
        match kind {
            tlv::AUTHORITY => once(&mut extensions.authority, value, NAME_BYTES_MAX)?,
            tlv::ALPN => once(&mut extensions.alpn, value, NAME_BYTES_MAX)?,
            tlv::UNIQUE_ID => once(&mut extensions.unique_id, value, UNIQUE_ID_BYTES_MAX)?,
            tlv::SSL => header.tls = value.first().is_some_and(|flags| flags & 1 == 1),
            tlv::CRC32C if checked => return Err(HeaderError::Binary("an extension is there twice")),
            tlv::CRC32C => {
                let sum = value.try_into().map_err(|_| HeaderError::Binary("its CRC32c does not have four bytes"))?;
                if crc32c(&[&whole[..start], &[0; 4], &whole[end..]]) != u32::from_be_bytes(sum) {
                    return Err(HeaderError::BadChecksum);
                }
                checked = true;
            }
            _ => {}
        }
        at = end;
    }
    Ok(())
}

fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8], max: usize) -> Result<(), HeaderError> {
    if value.len() > max {
        return Err(HeaderError::Binary("an extension is longer than its kind may be"));
    }
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeaderError::Binary("an extension is there twice")),
    }
}
