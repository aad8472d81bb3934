//! The first message of TLS.

use ringgate::protocol::client_hello;

/// A ClientHello is read alike in any pieces, and whatever records it is cut into.
pub fn check(bytes: &[u8]) {
    let whole = hello_of(bytes, usize::MAX);
    for piece in [1, 5, 64] {
        assert_eq!(hello_of(bytes, piece), whole, "in pieces of {piece}");
    }
    // The same message in one record, if these bytes are one record.
    if let (Ok(Some(_)), Some(&[_, _, _, high, low])) = (&whole, bytes.first_chunk::<5>()) {
        let len = 5 + usize::from(u16::from_be_bytes([high, low]));
        let Some(message) = bytes.get(5..len) else { return };
        let cut: Vec<u8> =
            message.chunks(9).flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat()).collect();
        if hello_of(&bytes[..len], usize::MAX) == whole && cut.len() < client_hello::WIRE_BYTES_MAX {
            assert_eq!(hello_of(&cut, 11), whole);
        }
    }
}

type Hello = (Option<Vec<u8>>, Option<Vec<u8>>);

fn hello_of(bytes: &[u8], piece: usize) -> Result<Option<Hello>, client_hello::HelloError> {
    let mut reader = client_hello::HelloReader::default();
    for part in bytes.chunks(piece.min(bytes.len().max(1))) {
        if let Some(hello) = reader.feed(part)? {
            let name = hello.server_name.map(<[u8]>::to_vec);
            return Ok(Some((name, hello.first_protocol().map(<[u8]>::to_vec))));
        }
    }
    Ok(None)
}
