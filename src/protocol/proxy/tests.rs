//! What is read, what is refused and when, and that what is written reads back.

use super::*;
use proptest::prelude::*;

fn whole(bytes: &[u8]) -> (Header<'_>, usize) {
    match read(bytes) {
        Ok(Parsed::Complete { header, len }) => (header, len),
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    match read(bytes) {
        Err(error) => assert!(error.to_string().contains(why), "{}: {error}", bytes.escape_ascii()),
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

fn ip(source: &str, destination: &str) -> Addresses<'static> {
    Addresses::Ip { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A version 2 header with this command, family and block.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

const BLOCK4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xbb];

fn block4_and(extensions: &[u8]) -> Vec<u8> {
    [&BLOCK4, extensions].concat()
}

#[test]
fn lines() {
    let check = |line: &str, addresses| assert_eq!(whole(line.as_bytes()).0.addresses, addresses, "{line}");
    check("PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", ip("192.0.2.7:40000", "198.51.100.1:443"));
    check("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", ip("[2001:db8::7]:0", "[::1]:65535"));
    check("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", ip("[::ffff:192.0.2.7]:1", "[::1]:2"));
    check("PROXY UNKNOWN\r\n", Addresses::Unknown);
    check("PROXY UNKNOWN whatever \0 follows\r\n", Addresses::Unknown);
    let full = "f".repeat(4) + &":ffff".repeat(7);
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    check(&longest, Addresses::Unknown);
    assert_eq!(whole(b"PROXY UNKNOWN\r\nGET /").1, 15);
}

#[test]
fn lines_that_are_wrong() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443 x\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 40000 443\r\n",
        "PROXY TCP4 2001:db8::7 ::1 40000 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 40000 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 40000 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 40000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 040000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +40000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
        "PROXY TCP 192.0.2.7 198.51.100.1 40000 443\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 40000 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 40000 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\r\n",
        "PROXY TCP4\u{a0}192.0.2.7 198.51.100.1 40000 443\r\n",
    ] {
        refused(line.as_bytes(), "the PROXY line is wrong");
    }
    let filled = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(whole(filled(LINE_BYTES_MAX).as_bytes()).1, LINE_BYTES_MAX);
    for len in [LINE_BYTES_MAX + 1, 10 * LINE_BYTES_MAX] {
        refused(filled(len).as_bytes(), "more than 107 bytes");
    }
}

#[test]
fn what_is_no_header_is_seen_at_its_first_wrong_byte() {
    for other in ["GET / HTTP/1.1\r\n", "\u{16}\u{3}\u{1}", "PROXYTCP4", "proxy ", "\r\n\r\nGET", "PR0"] {
        let bytes = other.as_bytes();
        refused(bytes, "does not begin with a PROXY header");
        let shown = (0..=bytes.len()).find(|len| read(&bytes[..*len]).is_err()).unwrap();
        assert!((0..shown).all(|len| read(&bytes[..len]) == Ok(Parsed::Partial)), "{other:?}");
    }
    assert_eq!(read(b""), Ok(Parsed::Partial));
}

#[test]
fn binary_addresses() {
    let v4 = binary(0x21, 0x11, &BLOCK4);
    assert_eq!(whole(&v4).0.addresses, ip("192.0.2.7:40000", "198.51.100.1:443"));
    assert_eq!(whole(&v4).1, 28);
    // A client of a datagram protocol is a client too.
    assert_eq!(whole(&binary(0x21, 0x12, &BLOCK4)).0, whole(&v4).0);
    let mut block6 = [0; 36];
    (block6[0], block6[15], block6[31], block6[33], block6[35]) = (0x20, 7, 1, 80, 90);
    assert_eq!(whole(&binary(0x21, 0x21, &block6)).0.addresses, ip("[2000::7]:80", "[::1]:90"));
    let mut unix = [0; 216];
    unix[..2].copy_from_slice(b"/a");
    unix[108..110].copy_from_slice(b"/b");
    let bytes = binary(0x21, 0x31, &unix);
    let Addresses::Unix { source, destination } = whole(&bytes).0.addresses else { panic!("a unix address") };
    assert!(source.starts_with(b"/a\0") && destination.starts_with(b"/b\0"));
}

#[test]
fn local_and_unknown_senders_keep_their_own_addresses() {
    for (command, family, block) in [
        (0x20, 0x00, &[][..]),
        (0x20, 0x11, &BLOCK4),
        (0x20, 0xff, b"\x03\0\x04dead"),
        (0x21, 0x00, &[]),
        (0x21, 0x00, &BLOCK4),
    ] {
        let bytes = binary(command, family, block);
        let (header, len) = whole(&bytes);
        assert_eq!((header.addresses, len), (Addresses::Unknown, bytes.len()));
    }
    let bytes = binary(0x21, 0x00, b"\x05\0\x02id");
    assert_eq!(whole(&bytes).0.extensions.unique_id, Some(&b"id"[..]));
}

#[test]
fn binary_headers_that_are_wrong() {
    refused(&binary(0x11, 0x11, &BLOCK4), "its version is not 2");
    refused(&binary(0x31, 0x11, &BLOCK4), "its version is not 2");
    refused(&binary(0x22, 0x11, &BLOCK4), "neither LOCAL nor PROXY");
    for family in [0x01, 0x10, 0x13, 0x30, 0x41, 0xff] {
        refused(&binary(0x21, family, &[0; 300]), "its address family or protocol is unknown");
    }
    for (family, bytes) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        assert_eq!(whole(&binary(0x21, family, &vec![0; bytes])).1, 16 + bytes);
        refused(&binary(0x21, family, &vec![0; bytes - 1]), "too short for its addresses");
    }
    let with = |extensions: &[u8]| binary(0x21, 0x11, &block4_and(extensions));
    refused(&with(b"\x04\0"), "an extension is cut off");
    refused(&with(b"\x04\0\x02x"), "an extension is longer than the header");
    refused(&with(b"\x02\0\x01a\x02\0\x01b"), "an extension is there twice");
    refused(&with(b"\x03\0\x03sum"), "its CRC32c does not have four bytes");
    refused(&with(b"\x03\0\x04bad!"), "does not match its CRC32c");
    let unique = |len: usize| with(&[&[5, 0, len as u8], &vec![b'u'; len][..]].concat());
    assert_eq!(whole(&unique(UNIQUE_ID_BYTES_MAX)).0.extensions.unique_id.map(<[u8]>::len), Some(UNIQUE_ID_BYTES_MAX));
    refused(&unique(UNIQUE_ID_BYTES_MAX + 1), "longer than its kind may be");
}

#[test]
fn a_large_header_is_refused_by_its_length_alone() {
    let padded = |len: usize| {
        let fill = len - 28 - 3;
        let size = u16::try_from(fill).unwrap().to_be_bytes();
        binary(0x21, 0x11, &block4_and(&[&[4, size[0], size[1]], &vec![0; fill][..]].concat()))
    };
    let largest = padded(HEADER_BYTES_MAX);
    assert_eq!(whole(&largest).1, HEADER_BYTES_MAX);
    for len in [HEADER_BYTES_MAX + 1, 10 * HEADER_BYTES_MAX] {
        refused(&padded(len)[..16], "more than 4096 bytes");
    }
}

#[test]
fn extensions() {
    let ssl = b"\x20\0\x05\x01\0\0\0\0";
    let known = [&b"\x01\0\x02h2\x02\0\x03a.b\xe0\0\x01x\x04\0\0"[..], ssl].concat();
    let bytes = binary(0x21, 0x11, &block4_and(&known));
    let (header, _) = whole(&bytes);
    let expected = Extensions { authority: Some(b"a.b"), alpn: Some(b"h2"), unique_id: None };
    assert_eq!((header.extensions, header.tls), (expected, true));
}

#[test]
fn families_are_made_the_same() {
    let written = |source: &str, destination: &str| {
        let header = Header { addresses: ip(source, destination), extensions: Extensions::default(), tls: false };
        let mut line = Vec::new();
        write(&mut line, &header, Version::V1);
        String::from_utf8(line).unwrap()
    };
    let mapped = written("[::ffff:192.0.2.7]:1", "[::ffff:192.0.2.1]:2");
    assert_eq!(mapped, "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n");
    let mixed = written("192.0.2.7:1", "[::1]:2");
    assert_eq!(mixed, "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n");
}

fn any_addresses() -> impl Strategy<Value = Addresses<'static>> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<(u16, u16)>()).prop_map(|(source, destination, ports)| {
        Addresses::Ip { source: (source, ports.0).into(), destination: (destination, ports.1).into() }
    });
    let v6 = (any::<[u16; 8]>(), any::<[u16; 8]>(), any::<(u16, u16)>()).prop_map(|(source, destination, ports)| {
        // Not one that stands for an IPv4 address: that one is written as what it stands for.
        let (source, destination) = (source.map(|part| part | 1), destination.map(|part| part | 1));
        Addresses::Ip { source: (source, ports.0).into(), destination: (destination, ports.1).into() }
    });
    prop_oneof![Just(Addresses::Unknown), v4, v6]
}

type Values = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

fn any_values() -> impl Strategy<Value = Values> {
    let value = |max| prop::option::of(prop::collection::vec(any::<u8>(), 0..=max));
    (value(NAME_BYTES_MAX), value(NAME_BYTES_MAX), value(UNIQUE_ID_BYTES_MAX))
}

proptest! {
    #[test]
    fn a_binary_header_reads_back(addresses in any_addresses(), values in any_values(), checksum: bool, after: Vec<u8>) {
        let extensions = Extensions {
            authority: values.0.as_deref(), alpn: values.1.as_deref(), unique_id: values.2.as_deref(),
        };
        let header = Header { addresses, extensions, tls: false };
        let mut bytes = Vec::new();
        write(&mut bytes, &header, Version::V2 { checksum });
        let len = bytes.len();
        bytes.extend(after);
        prop_assert_eq!(read(&bytes), Ok(Parsed::Complete { header, len }));
        for cut in 0..len {
            prop_assert_eq!(read(&bytes[..cut]), Ok(Parsed::Partial));
        }
    }

    #[test]
    fn a_unix_header_reads_back(source in prop::array::uniform32(any::<u8>()), checksum: bool) {
        let mut path = [0; UNIX_BYTES];
        path[..32].copy_from_slice(&source);
        let addresses = Addresses::Unix { source: &path, destination: &[7; UNIX_BYTES] };
        let header = Header { addresses, extensions: Extensions::default(), tls: false };
        let mut bytes = Vec::new();
        write(&mut bytes, &header, Version::V2 { checksum });
        prop_assert_eq!(read(&bytes), Ok(Parsed::Complete { header, len: bytes.len() }));
    }

    #[test]
    fn a_line_reads_back(addresses in any_addresses(), after: Vec<u8>) {
        let header = Header { addresses, extensions: Extensions::default(), tls: false };
        let mut bytes = Vec::new();
        write(&mut bytes, &header, Version::V1);
        let len = bytes.len();
        bytes.extend(after);
        prop_assert_eq!(read(&bytes), Ok(Parsed::Complete { header, len }));
        for cut in 0..len {
            prop_assert_eq!(read(&bytes[..cut]), Ok(Parsed::Partial));
        }
    }

    /// One changed bit of an address or of the sum itself is seen.
    #[test]
    fn a_checksum_finds_a_changed_bit(bit in 0usize..8, at in 0usize..16) {
        let addresses = ip("192.0.2.7:40000", "198.51.100.1:443");
        let header = Header { addresses, extensions: Extensions::default(), tls: false };
        let mut bytes = Vec::new();
        write(&mut bytes, &header, Version::V2 { checksum: true });
        let at = if at < 12 { 16 + at } else { bytes.len() - 16 + at };
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(read(&bytes), Err(HeaderError::BadChecksum));
    }
}
