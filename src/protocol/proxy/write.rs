//! PROXY header → bytes, in either version.

use super::crc32c::crc32c;
use super::{
    Addresses, Extensions, FIXED_BYTES, Header, LINE_BYTES_MAX, NAME_BYTES_MAX, SIGNATURE, UNIQUE_ID_BYTES_MAX, tlv,
};
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Which form a header is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text. It has room for IP addresses and for nothing else.
    V1,
    /// Binary, with a CRC32c over all of it if asked for.
    V2 { checksum: bool },
}

/// Appends the header. Extensions that are longer than their kind may be are left out.
pub fn write(out: &mut Vec<u8>, header: &Header<'_>, version: Version) {
    match version {
        Version::V1 => write_line(out, &header.addresses),
        Version::V2 { checksum } => write_binary(out, header, checksum),
    }
}

/// Appends a header of version 2 by which the sender speaks for itself (LOCAL, section 2.2): nobody stands behind it.
pub fn write_local(out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[0x20, 0, 0, 0]);
}

/// Version 1 (section 2.1).
fn write_line(out: &mut Vec<u8>, addresses: &Addresses<'_>) {
    let start = out.len();
    match same_family(addresses) {
        Some((source, destination)) => {
            let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            // Writing to a vector cannot fail.
            let _ = write!(out, "PROXY {protocol} {from} {to} {} {}\r\n", source.port(), destination.port());
        }
        None => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
    }
    debug_assert!(out.len() - start <= LINE_BYTES_MAX);
}

/// Version 2 (section 2.2).
fn write_binary(out: &mut Vec<u8>, header: &Header<'_>, checksum: bool) {
    let start = out.len();
    out.extend_from_slice(&SIGNATURE);
    // Version 2, command PROXY: a header goes out only for a client's connection.
    out.push(0x21);
    let family_at = out.len();
    out.extend_from_slice(&[0; 3]);
    out[family_at] = write_addresses(out, &header.addresses);
    let Extensions { authority, alpn, unique_id } = header.extensions;
    write_extension(out, tlv::AUTHORITY, authority, NAME_BYTES_MAX);
    write_extension(out, tlv::ALPN, alpn, NAME_BYTES_MAX);
    write_extension(out, tlv::UNIQUE_ID, unique_id, UNIQUE_ID_BYTES_MAX);
    if checksum {
        write_extension(out, tlv::CRC32C, Some(&[0; 4]), 4);
    }
    // The limits of the extensions keep the length far below what two bytes can say.
    let length = u16::try_from(out.len() - start - FIXED_BYTES).unwrap_or(u16::MAX);
    out[family_at + 1..start + FIXED_BYTES].copy_from_slice(&length.to_be_bytes());
    if checksum {
        let sum = crc32c(&[&out[start..]]);
        let at = out.len() - 4;
        out[at..].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Appends the address block and gives its family and transport.
fn write_addresses(out: &mut Vec<u8>, addresses: &Addresses<'_>) -> u8 {
    if let Addresses::Unix { source, destination } = addresses {
        out.extend_from_slice(*source);
        out.extend_from_slice(*destination);
        return 0x31;
    }
    let Some((source, destination)) = same_family(addresses) else { return 0x00 };
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    if source.is_ipv4() { 0x11 } else { 0x21 }
}

/// Both addresses in one family: IPv4 if both can be, else IPv6.
fn same_family(addresses: &Addresses<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let Addresses::Ip { source, destination } = addresses else { return None };
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (from, to) = if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from), mapped(to)) };
    Some((SocketAddr::new(from, source.port()), SocketAddr::new(to, destination.port())))
}

fn mapped(ip: IpAddr) -> IpAddr {
    let ip: Ipv6Addr = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    IpAddr::V6(ip)
}

fn write_extension(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>, max: usize) {
    let Some(value) = value.filter(|value| value.len() <= max) else { return };
    let Ok(length) = u16::try_from(value.len()) else { return };
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}
