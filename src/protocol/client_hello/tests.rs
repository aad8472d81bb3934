//! What is read whatever way it is cut, what is refused and when, and the limits.

use super::*;
use proptest::prelude::*;

/// Bytes with their number before them in two bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(value)].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &long(&[&[HOST_NAME], &long(name)[..]].concat()))
}

fn offering(protocols: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect();
    extension(ALPN, &long(&list))
}

/// A handshake message with these extensions; `None`: without any.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(extensions.map(long).unwrap_or_default());
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO, len[1], len[2], len[3]], &body[..]].concat()
}

/// The message in records of these sizes, one after the other and again.
fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut bytes) = (message, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, after) = rest.split_at(rest.len().min(*size));
        bytes.extend([HANDSHAKE, 3, 1]);
        bytes.extend(long(part));
        rest = after;
    }
    bytes
}

type Owned = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What comes of the bytes in pieces of these sizes, and how many were taken for it.
fn read(bytes: &[u8], pieces: &[usize]) -> (Result<Option<Owned>, HelloError>, usize) {
    let mut reader = HelloReader::default();
    let mut at = 0;
    for piece in pieces.iter().cycle() {
        let end = bytes.len().min(at + piece);
        let result = reader.feed(&bytes[at..end]).map(|hello| {
            hello.map(|hello| (hello.server_name.map(<[u8]>::to_vec), hello.protocols.map(<[u8]>::to_vec)))
        });
        at = end;
        if !matches!(result, Ok(None)) || at == bytes.len() {
            return (result, reader.taken);
        }
    }
    unreachable!("there is a size")
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    match read(bytes, &[usize::MAX >> 1]).0 {
        Err(error) => assert!(error.to_string().contains(why), "{error} is not {why}"),
        other => panic!("{other:?} is not {why}"),
    }
}

fn in_one(extensions: &[u8]) -> Vec<u8> {
    records(&message(Some(extensions)), &[RECORD_BYTES_MAX])
}

#[test]
fn names_and_protocols() {
    let bytes = in_one(&[named(b"a.example.com"), offering(&["h2", "http/1.1"])].concat());
    let mut reader = HelloReader::default();
    let hello = reader.feed(&bytes).unwrap().unwrap();
    assert_eq!(hello.server_name, Some(&b"a.example.com"[..]));
    assert_eq!(hello.first_protocol(), Some(&b"h2"[..]));
    let none = records(&message(None), &[20]);
    assert_eq!(read(&none, &[1]).0, Ok(Some((None, None))));
    assert_eq!(read(&in_one(&[]), &[7]).0, Ok(Some((None, None))));
}

/// What OpenSSL 3.0 sends for `s_client -servername a.example.com -alpn h2`.
#[test]
fn a_real_one() {
    let bytes = include_bytes!("../../../tests/fuzz/corpus/client_hello/openssl");
    let (hello, taken) = read(bytes, &[3]);
    assert_eq!(hello, Ok(Some((Some(b"a.example.com".to_vec()), Some(b"\x02h2".to_vec())))));
    assert_eq!(taken, bytes.len());
}

#[test]
fn what_is_no_tls_is_seen_at_once() {
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0", b"\x80\x2e\x01\x03", b"\x15\x03\x01", b"\x16\x02", b"\0"] {
        assert_eq!(read(other, &[1]).0, Err(HelloError::NotTls), "{}", other.escape_ascii());
    }
    assert_eq!(read(b"\x16\x03", &[1]).0, Ok(None));
}

#[test]
fn malformed_records() {
    refused(b"\x16\x03\x01\0\0", "a record is empty");
    refused(b"\x16\x03\x01\x40\x01", "more than 16384 bytes");
    refused(b"\x16\x03\x01\0\x01\x02", "the first message is another");
    let first = records(&message(None)[..9], &[9]);
    refused(&[&first, &b"\x17\x03\x03\0\x01x"[..]].concat(), "of another kind interrupts it");
    refused(&[&first, &b"\x16\x04"[..]].concat(), "of no version of TLS");
}

#[test]
fn malformed_messages() {
    let with = |extensions: &[u8]| in_one(extensions);
    refused(&with(&named(b"")), "not one host name");
    refused(&with(&named(&[b'a'; NAME_BYTES_MAX + 1])), "not one host name");
    refused(&with(&extension(SERVER_NAME, b"\0\x04\x01\0\x01a")), "not one host name");
    refused(&with(&extension(SERVER_NAME, b"\0\x08\0\0\x01a\0\0\x01b")), "not one host name");
    refused(&with(&extension(SERVER_NAME, b"\0\x04\0\0\x01ab")), "not one host name");
    refused(&with(&extension(SERVER_NAME, b"")), "not one host name");
    refused(&with(&[named(b"a"), named(b"a")].concat()), "there twice");
    refused(&with(&offering(&[])), "list of protocols is wrong");
    refused(&with(&offering(&["h2", ""])), "list of protocols is wrong");
    refused(&with(&extension(ALPN, b"\0\x03\x03h2")), "list of protocols is wrong");
    refused(&with(b"\0\x01\0\x05x"), "longer than the whole");
    let mut version = message(None);
    version[4] = 2;
    refused(&records(&version, &[99]), "it is of no version of TLS");
    let mut odd = message(None);
    odd.truncate(odd.len() - 6);
    odd.extend([0, 1, 0x13, 1, 0]);
    odd[3] -= 1;
    refused(&records(&odd, &[99]), "a length that it cannot have");
    let mut more = message(Some(b""));
    more.push(0);
    more[3] += 1;
    refused(&records(&more, &[99]), "something follows its extensions");
    for len in MESSAGE_HEADER + 1..message(None).len() {
        let mut cut = message(None);
        cut.truncate(len);
        cut[3] = (len - MESSAGE_HEADER) as u8;
        refused(&records(&cut, &[99]), "longer than the whole");
    }
}

/// A message of `len` bytes.
fn padded(len: usize) -> Vec<u8> {
    let fill = len - message(Some(b"")).len() - 4;
    let filled = message(Some(&extension(21, &vec![0; fill])));
    assert_eq!(filled.len(), len);
    filled
}

#[test]
fn the_longest_message_is_taken_and_no_longer_one() {
    let found = |len, size| read(&records(&padded(len), &[size]), &[1_000]).0.map(|hello| hello.is_some());
    assert_eq!(found(HELLO_BYTES_MAX, RECORD_BYTES_MAX), Ok(true));
    assert_eq!(found(HELLO_BYTES_MAX + 1, RECORD_BYTES_MAX), Err(HelloError::TooLarge));
    // Refused by its length alone.
    assert_eq!(read(b"\x16\x03\x01\0\x04\x01\xff\xff\xff", &[1]).0, Err(HelloError::TooLarge));
}

#[test]
fn the_wire_has_a_limit_of_its_own() {
    // A record for each byte: six bytes each.
    let fits = WIRE_BYTES_MAX / 6;
    let bytes = |len| records(&padded(len), &[1]);
    let (found, taken) = read(&bytes(fits), &[4_000]);
    assert!(matches!(found, Ok(Some(_))) && taken <= WIRE_BYTES_MAX);
    for len in [fits + 1, 10 * fits / 4] {
        for piece in [1, 4_000, usize::MAX >> 1] {
            assert_eq!(read(&bytes(len), &[piece]), (Err(HelloError::TooLarge), WIRE_BYTES_MAX), "{len} by {piece}");
        }
    }
}

#[test]
fn alerts() {
    assert_eq!(Alert::UnrecognizedName.record(), *b"\x15\x03\x03\0\x02\x02\x70");
}

fn any_extensions() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-z0-9.-]{1,40}".prop_map(|name| named(name.as_bytes()));
    let alpn = prop::collection::vec("[a-z0-9/]{1,10}", 1..6)
        .prop_map(|names| offering(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let other =
        (17u16..100, prop::collection::vec(any::<u8>(), 0..1_500)).prop_map(|(kind, value)| extension(kind, &value));
    let one = prop_oneof![name, alpn, other.clone(), other];
    prop::collection::vec(one, 0..6).prop_map(|all| all.concat())
}

proptest! {
    /// However it is cut into records and pieces, and whatever follows: the same comes of it.
    #[test]
    fn cuts_change_nothing(
        extensions in any_extensions(),
        sizes in prop::collection::vec(1usize..600, 1..6),
        pieces in prop::collection::vec(1usize..900, 1..6),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        after in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut message = message(Some(&extensions));
        if let Some((at, byte)) = damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let whole = read(&records(&message, &[RECORD_BYTES_MAX]), &[usize::MAX >> 1]).0;
        let mut cut = records(&message, &sizes);
        cut.extend(after);
        prop_assume!(cut.len() < WIRE_BYTES_MAX);
        let at_once = read(&cut, &[usize::MAX >> 1]).0;
        prop_assert_eq!(&read(&cut, &pieces).0, &at_once);
        prop_assert_eq!(&read(&cut, &[1]).0, &at_once);
        if whole != Ok(None) {
            prop_assert_eq!(at_once, whole);
        }
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), pieces in prop::collection::vec(1usize..50, 1..4)) {
        prop_assert_eq!(read(&bytes, &pieces), read(&bytes, &[usize::MAX >> 1]));
        // As the body of a message whose frame is right.
        let len = bytes.len() as u8;
        bytes.truncate(usize::from(len));
        let framed = [&[CLIENT_HELLO, 0, 0, len], &bytes[..]].concat();
        let _ = read(&records(&framed, &pieces), &pieces);
    }
}
