//! Chunked bodies.

use ringgate::protocol::http1::{ChunkLimits, ChunkedDecoder, ChunkedError, ChunkedEvent};

/// A chunked body decodes to the same bytes, ends at the same place or fails with the same error in any parts.
pub fn check(bytes: &[u8]) {
    let whole = decode(bytes, usize::MAX);
    for part in [1, 3] {
        assert_eq!(decode(bytes, part), whole, "in parts of {part}");
    }
    if let Ok((body, Some(end))) = whole {
        assert!(body.len() < end);
    }
}

/// The body, and the bytes up to its end if there is one.
fn decode(bytes: &[u8], part: usize) -> Result<(Vec<u8>, Option<usize>), ChunkedError> {
    let mut decoder = ChunkedDecoder::new(ChunkLimits { extensions_max: 64, trailers_max: 256, trailer_fields_max: 4 });
    let (mut body, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = bytes.len().min(at.saturating_add(part));
        let step = decoder.next(&bytes[at..end])?;
        at += step.consumed;
        match step.event {
            ChunkedEvent::Data { len } => {
                assert!(len > 0 && at + len <= end);
                body.extend_from_slice(&bytes[at..at + len]);
                at += len;
            }
            ChunkedEvent::End => return Ok((body, Some(at))),
            ChunkedEvent::NeedMore => assert_eq!(at, end),
        }
    }
    Ok((body, None))
}
