//! The chunked coding by RFC section.

use super::*;

const LIMITS: ChunkLimits = ChunkLimits { extensions_max: 8, trailers_max: 20, trailer_fields_max: 2 };

/// Decodes `bytes` in pieces of at most `piece`: the body, the bytes after the body, or the error.
pub(super) fn decode(
    decoder: &mut ChunkedDecoder,
    bytes: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, Option<usize>), ChunkedError> {
    let (mut body, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = bytes.len().min(at + piece);
        let mut part = &bytes[at..end];
        loop {
            let step = decoder.next(part)?;
            part = &part[step.consumed..];
            match step.event {
                ChunkedEvent::Data { len } => {
                    assert!(len > 0);
                    body.extend_from_slice(&part[..len]);
                    part = &part[len..];
                }
                ChunkedEvent::End => return Ok((body, Some(bytes.len() - (end - part.len())))),
                ChunkedEvent::NeedMore => {
                    assert!(part.is_empty());
                    break;
                }
            }
        }
        at = end;
    }
    Ok((body, None))
}

/// What a body decodes to, whatever pieces it comes in.
fn check(bytes: &str, expected: Result<(&str, Option<usize>), ChunkedError>) {
    for piece in [1, 2, 3, 5, 1000] {
        let decoded = decode(&mut ChunkedDecoder::new(LIMITS), bytes.as_bytes(), piece);
        let decoded = decoded.map(|(body, rest)| (String::from_utf8(body).unwrap(), rest));
        assert_eq!(decoded, expected.map(|(body, rest)| (body.to_owned(), rest)), "{bytes:?} by {piece}");
    }
}

#[test]
fn rfc9112_7_1_chunks_are_decoded() {
    check("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", Some(0))));
    check("5\r\nhello\r\n00a\r\n, world...\r\n000\r\n\r\nGET", Ok(("hello, world...", Some(3))));
    check("A\r\n0123456789\r\na\r\n0123456789\r\n", Ok(("01234567890123456789", None)));
    check("0\r\n\r\n", Ok(("", Some(0))));
    check("5\r\nhel", Ok(("hel", None)));
    check("", Ok(("", None)));
}

#[test]
fn rfc9112_7_1_sizes_are_hexadecimal_numbers_of_64_bits() {
    for size in ["", " 5", "+5", "-5", "0x5", "5 ", "g", "5\t", "\u{661}"] {
        check(&format!("{size}\r\nhello\r\n0\r\n\r\n"), Err(ChunkedError::Size));
    }
    check("ffffffffffffffff\r\nabc", Ok(("abc", None)));
    check("10000000000000000\r\nabc", Err(ChunkedError::Size));
    check("00000000000000005\r\nhello", Err(ChunkedError::Size));
}

#[test]
fn rfc9112_7_1_lines_end_in_crlf_and_data_where_the_size_says() {
    check("5\nhello\r\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("5\r\nhello\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("5\r\nhello!\r\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("5\rhello\r\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("5\r\r\nhello\r\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("5\r\nhello\r\r\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("0\n\n", Err(ChunkedError::LineEnding));
    check("0\r\n\n", Err(ChunkedError::LineEnding));
}

#[test]
fn rfc9112_7_1_1_extensions_are_skipped_and_bounded() {
    check("1;a=b\r\nx\r\n0;c\r\n\r\n", Ok(("x", Some(0))));
    check("1;a=\"b\"\r\nx\r\n", Ok(("x", None)));
    // Eight bytes are the limit over all chunks, the CR counted with them.
    check("1;1234567\r\nx\r\n", Ok(("x", None)));
    check("1;123456789\r\nx\r\n", Err(ChunkedError::ExtensionsTooLarge));
    check(&"1;12\r\nx\r\n".repeat(5), Err(ChunkedError::ExtensionsTooLarge));
    // TERM.EXT and EXT.TERM: a bare LF in an extension ends the line to some.
    check("1;a\nx\r\n0\r\n\r\n", Err(ChunkedError::LineEnding));
    check("1;a\rx\r\n", Err(ChunkedError::LineEnding));
    check("1;a\0\r\nx\r\n", Err(ChunkedError::Extension));
}

#[test]
fn rfc9112_7_1_2_trailers_are_collected_and_bounded() {
    let trailers = |bytes: &str| {
        let mut decoder = ChunkedDecoder::new(LIMITS);
        let decoded = decode(&mut decoder, bytes.as_bytes(), 1);
        decoded.map(|(_, end)| (end, format!("{:?}", decoder.trailers())))
    };
    assert_eq!(trailers("0\r\nA: b\r\nC:d\r\n\r\n"), Ok((Some(0), r#"{"A": "b", "C": "d"}"#.to_owned())));
    for malformed in ["A : b", " A: b", "A", ": b", "A: \0"] {
        assert_eq!(trailers(&format!("0\r\n{malformed}\r\n\r\n")), Err(ChunkedError::Trailer), "{malformed:?}");
    }
    assert_eq!(trailers("0\r\nA: b\n\r\n"), Err(ChunkedError::LineEnding));
    assert_eq!(trailers("0\r\nA: b\r\nA: b\r\nA: b\r\n\r\n"), Err(ChunkedError::TrailersTooLarge));
    let sized = |len: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(len - 5));
    assert_eq!(trailers(&sized(20)).map(|(end, _)| end), Ok(Some(0)));
    assert_eq!(trailers(&sized(21)), Err(ChunkedError::TrailersTooLarge));
    assert_eq!(trailers(&sized(200)), Err(ChunkedError::TrailersTooLarge));
}

#[test]
fn rfc9110_6_5_1_trailers_do_not_frame_route_or_authenticate() {
    let limits = ChunkLimits { trailers_max: 1000, trailer_fields_max: 20, ..LIMITS };
    let mut decoder = ChunkedDecoder::new(limits);
    let bytes = b"0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\nX: y\r\nAuthorization: z\r\n\
        Set-Cookie: a\r\nX-Forwarded-For: b\r\nIf-Match: c\r\nConnection: close\r\n\r\n";
    assert_eq!(decode(&mut decoder, bytes, 7).map(|(_, end)| end), Ok(Some(0)));
    assert_eq!(format!("{:?}", decoder.trailers()), r#"{"X": "y"}"#);
    let mut out = Vec::new();
    write_last_chunk(&mut out, Some(decoder.trailers()));
    assert_eq!(text(&out), "0\r\nX: y\r\n\r\n");
    decoder.reset();
    assert!(decoder.trailers().is_empty());
    assert_eq!(decode(&mut decoder, b"0\r\n\r\n", 1).map(|(_, end)| end), Ok(Some(0)));
}
