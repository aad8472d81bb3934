//! What must hold for any bytes at all. The fuzz targets call these with bytes that a fuzzer makes up; the everyday tests
//! (`tests/it/corpus.rs`) call them with the seeds and with changed seeds. They panic where something does not hold.

use ringgate::control::config;
use ringgate::protocol::client_hello;
use ringgate::protocol::http::{Known, Method, PathPolicy, RequestHead, ResponseHead, Version, normalize};
use ringgate::protocol::http1::{
    ChunkLimits, ChunkedDecoder, ChunkedError, ChunkedEvent, Forwarding, HeadLimits, Parsed, ResponseOptions,
    describe_refused, parse_request, parse_response, write_request, write_response,
};
use ringgate::protocol::proxy::{self, Parsed as ProxyParsed, Version::V2 as Version2};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LIMITS: HeadLimits = HeadLimits { head_max: 2048, headers_max: 20, target_max: 512 };

/// A request head is read alike whole and in two parts; what is written for it reads the same, once, and frames the body
/// in one way.
pub fn request_head(bytes: &[u8]) {
    let mut head = RequestHead::new();
    describe_refused(bytes, &mut head);
    let _ = (head.method_bytes(), head.path(), head.query(), head.host());
    let whole = parse_request(bytes, &LIMITS, &mut head);
    let Ok(Parsed::Complete(len)) = whole else {
        check_part(bytes, |part| parse_request(part, &LIMITS, &mut RequestHead::new()).ok(), None);
        return;
    };
    assert!(len <= bytes.len() && len <= LIMITS.head_max + 8);
    assert!(head.headers.len() <= LIMITS.headers_max && head.target().len() <= LIMITS.target_max);
    check_part(&bytes[..len], |part| parse_request(part, &LIMITS, &mut RequestHead::new()).ok(), Some(len));
    let clients = [
        (Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), PathPolicy::Off),
        (Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), PathPolicy::Merge),
        (None, PathPolicy::Strict),
    ];
    for (client, policy) in clients {
        let mut head = head.clone();
        if head.normalize_path(policy).is_err() {
            continue;
        }
        let trusted = client.is_none_or(|client| client.is_ipv6());
        let request_id = trusted.then_some(&b"id"[..]);
        let forwarding =
            Forwarding { client, scheme: "http", trusted, request_id, upgrade: trusted, keep_alive: !trusted };
        let mut out = Vec::new();
        write_request(&mut out, &head, &forwarding);
        let mut back = RequestHead::new();
        let wide = HeadLimits { head_max: usize::MAX, headers_max: 256, target_max: usize::MAX };
        assert_eq!(parse_request(&out, &wide, &mut back), Ok(Parsed::Complete(out.len())), "{head:?}");
        assert_eq!(back.method_bytes(), head.method_bytes());
        assert_eq!((back.path(), back.query(), back.host()), (head.path(), head.query(), head.host()));
        assert_eq!((back.body, back.version), (head.body, Version::Http11));
        let framings = back.headers.has(Known::ContentLength) as u8 + back.headers.has(Known::TransferEncoding) as u8;
        assert!(framings <= 1);
        assert_eq!(back.headers.get_all(Known::XForwardedFor).count(), 1);
    }
}

const POLICIES: [PathPolicy; 4] = [PathPolicy::Off, PathPolicy::Resolve, PathPolicy::Merge, PathPolicy::Strict];

/// A path's form is no longer than the path, is its own form, and holds nothing of what it was to be rid of.
pub fn path(bytes: &[u8]) {
    let path = [b"/", bytes.strip_prefix(b"/").unwrap_or(bytes)].concat();
    for policy in POLICIES {
        let mut form = path.clone();
        let Ok(len) = normalize(&mut form, policy) else { continue };
        form.truncate(len);
        let mut again = form.clone();
        assert_eq!(normalize(&mut again, policy), Ok(len));
        assert_eq!(again, form);
        let dots = form.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b".."));
        assert!(policy == PathPolicy::Off || (form[0] == b'/' && !dots));
    }
}

/// The same for a response head, to each kind of request and client.
pub fn response_head(bytes: &[u8]) {
    for method in [Method::Get, Method::Head] {
        let mut head = ResponseHead::new();
        let Ok(Parsed::Complete(len)) = parse_response(bytes, &LIMITS, method, &mut head) else { continue };
        assert!(len <= bytes.len().min(LIMITS.head_max) && head.headers.len() <= LIMITS.headers_max);
        check_part(
            &bytes[..len],
            |part| parse_response(part, &LIMITS, method, &mut ResponseHead::new()).ok(),
            Some(len),
        );
        for (version, keep_alive) in [(Version::Http11, true), (Version::Http10, true), (Version::Http11, false)] {
            let body = head.body.for_downstream(version);
            let mut out = Vec::new();
            write_response(&mut out, &head, &ResponseOptions { version, keep_alive, body, request_id: Some(b"id") });
            let mut back = ResponseHead::new();
            let wide = HeadLimits { head_max: usize::MAX, headers_max: 256, target_max: usize::MAX };
            assert_eq!(parse_response(&out, &wide, method, &mut back), Ok(Parsed::Complete(out.len())), "{head:?}");
            assert_eq!((back.status, back.body), (head.status, body));
        }
    }
}

/// A part is never read as a whole head, nor a good head's part as bad.
fn check_part(bytes: &[u8], mut parse: impl FnMut(&[u8]) -> Option<Parsed>, len: Option<usize>) {
    let cut = bytes.len() / 2;
    let part = parse(&bytes[..cut]);
    match len {
        Some(_) if cut < bytes.len() => assert_eq!(part, Some(Parsed::Partial)),
        _ => assert!(!matches!(part, Some(Parsed::Complete(len)) if len > cut)),
    }
}

/// A chunked body decodes to the same bytes, ends at the same place or fails with the same error in any parts.
pub fn chunked_body(bytes: &[u8]) {
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

/// A PROXY header is read alike whole and in parts, refused for good once it is refused, and reads the same when it is
/// written again.
pub fn proxy_header(bytes: &[u8]) {
    let whole = proxy::read(bytes);
    for cut in 0..bytes.len().min(400) {
        match (proxy::read(&bytes[..cut]), &whole) {
            (Ok(ProxyParsed::Partial), _) => {}
            (Ok(part), whole) => assert_eq!(Ok(&part), whole.as_ref()),
            (Err(_), whole) => assert!(whole.is_err()),
        }
    }
    let Ok(ProxyParsed::Complete { header, len }) = whole else { return };
    assert!(len <= bytes.len() && len <= proxy::HEADER_BYTES_MAX);
    for version in [Version2 { checksum: false }, Version2 { checksum: true }] {
        let mut out = Vec::new();
        proxy::write(&mut out, &header, version);
        let Ok(ProxyParsed::Complete { header: back, len }) = proxy::read(&out) else { panic!("{header:?}") };
        assert_eq!((len, back.extensions), (out.len(), header.extensions));
        let mut again = Vec::new();
        proxy::write(&mut again, &back, version);
        assert_eq!(again, out);
    }
    let mut line = Vec::new();
    proxy::write(&mut line, &header, proxy::Version::V1);
    assert!(line.len() <= proxy::LINE_BYTES_MAX);
    assert!(matches!(proxy::read(&line), Ok(ProxyParsed::Complete { .. })));
}

/// A ClientHello is read alike in any pieces, and whatever records it is cut into.
pub fn client_hello(bytes: &[u8]) {
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

/// A configuration is accepted or refused with a report; its text can be shown.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let resolve = |_: &str, port| Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    match config::load_text("fuzz.toml", text, &resolve) {
        Ok(loaded) => {
            let _ = loaded.warnings.to_string();
        }
        Err(report) => assert!(!report.to_string().is_empty()),
    }
}
