//! What holds for all inputs: pieces and the whole are read alike, what is written is read back, nothing panics.

use super::*;
use proptest::prelude::*;

/// Values that field lines are made of, ordinary ones and those that have fooled parsers.
fn any_line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("Accept"),
        Just("X-A"),
        Just("Cookie"),
        Just("Content-Length"),
        Just("Transfer-Encoding"),
        Just("Connection"),
        Just("Te"),
        Just("Trailer"),
        Just("Upgrade"),
        Just("Expect"),
        Just("X-Forwarded-For"),
        Just("Forwarded"),
        Just("X-Request-Id"),
        Just("Keep-Alive"),
        Just("Host"),
        Just(""),
    ];
    let value = prop_oneof![
        Just("0"),
        Just("12"),
        Just("chunked"),
        Just("close"),
        Just("keep-alive, x-a"),
        Just("upgrade"),
        Just("websocket"),
        Just("trailers"),
        Just("100-continue"),
        Just("a b\tc"),
        Just(""),
        Just("a, b"),
        Just("h2c"),
        Just("\0"),
    ];
    let separator = prop_oneof![4 => Just(": "), 1 => Just(":"), 1 => Just(" : "), 1 => Just(":\t ")];
    let end = prop_oneof![8 => Just("\r\n"), 1 => Just(" \r\n"), 1 => Just("\n"), 1 => Just("\r\n ")];
    (name, separator, value, end).prop_map(|(name, separator, value, end)| format!("{name}{separator}{value}{end}"))
}

fn any_request() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => Just("GET /a?b HTTP/1.1\r\n"), 2 => Just("POST / HTTP/1.1\r\n"), 1 => Just("GET / HTTP/1.0\r\n"),
        1 => Just("GET http://x/y HTTP/1.1\r\n"), 1 => Just("OPTIONS * HTTP/1.1\r\n"), 1 => Just("GET / HTTP/2.0\r\n"),
        1 => Just("\r\nPUT http://x HTTP/1.1\r\n"), 1 => Just("GET / HTTP/1.1\n"),
    ];
    let host = prop_oneof![6 => Just("Host: x.test\r\n"), 1 => Just(""), 1 => Just("host:x.test:80 \r\n")];
    (line, host, prop::collection::vec(any_line(), 0..5))
        .prop_map(|(line, host, lines)| format!("{line}{host}{}\r\n", lines.concat()))
}

fn any_response() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => Just("HTTP/1.1 200 OK\r\n"), 1 => Just("HTTP/1.0 200 OK\r\n"), 1 => Just("HTTP/1.1 204\r\n"),
        1 => Just("HTTP/1.1 304 \r\n"), 1 => Just("HTTP/1.1 101 Switch\r\n"), 1 => Just("HTTP/1.1 103 Hint\n"),
    ];
    (line, prop::collection::vec(any_line(), 0..5)).prop_map(|(line, lines)| format!("{line}{}\r\n", lines.concat()))
}

/// All that a head says, to compare two of them.
fn facts(head: &RequestHead) -> impl PartialEq + std::fmt::Debug {
    let fields: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let line =
        (head.method_bytes().to_vec(), head.target().to_vec(), head.path().to_vec(), head.query().map(<[u8]>::to_vec));
    let flags = (head.keep_alive, head.expect_continue, head.upgrade, head.accepts_trailers);
    (line, head.host().to_vec(), head.version, head.body, flags, fields)
}

/// The writer's rules, one field at a time: what [`write_request`] does in runs.
fn plain_lines(headers: &Headers, keep: impl Fn(&[u8], Known) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| keep(name, Known::classify(name))) {
        out.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_in_pieces_is_read_like_the_whole(bytes in any_request()) {
        let mut whole = RequestHead::new();
        let expected = parse_request(bytes.as_bytes(), &LIMITS, &mut whole);
        let mut head = RequestHead::new();
        for end in 0..bytes.len() {
            match parse_request(&bytes.as_bytes()[..end], &LIMITS, &mut head) {
                Ok(Parsed::Partial) => {}
                // A fault may show before the end, never a head.
                Ok(Parsed::Complete(len)) => prop_assert!(expected == Ok(Parsed::Complete(len)) && len <= end),
                Err(_) => prop_assert!(expected.is_err(), "{:?} at {end}", bytes),
            }
        }
        let again = parse_request(bytes.as_bytes(), &LIMITS, &mut head);
        prop_assert_eq!(again, expected);
        if matches!(expected, Ok(Parsed::Complete(_))) {
            prop_assert_eq!(facts(&head), facts(&whole));
        }
    }

    #[test]
    fn a_response_in_pieces_is_read_like_the_whole(bytes in any_response()) {
        let mut head = ResponseHead::new();
        let expected = parse_response(bytes.as_bytes(), &LIMITS, Method::Get, &mut head);
        for end in 0..bytes.len() {
            match parse_response(&bytes.as_bytes()[..end], &LIMITS, Method::Get, &mut head) {
                Ok(Parsed::Partial) => {}
                Ok(Parsed::Complete(len)) => prop_assert!(expected == Ok(Parsed::Complete(len)) && len <= end),
                Err(_) => prop_assert!(expected.is_err(), "{:?} at {end}", bytes),
            }
        }
    }

    #[test]
    fn a_written_request_is_read_back(bytes in any_request(), trusted: bool, upgrade: bool) {
        let mut head = RequestHead::new();
        if let Ok(Parsed::Complete(_)) = parse_request(bytes.as_bytes(), &LIMITS, &mut head) {
            let forwarding = Forwarding { trusted, upgrade, request_id: Some(b"id"), ..forwarding() };
            let mut out = Vec::new();
            write_request(&mut out, &head, &forwarding);
            let mut back = RequestHead::new();
            prop_assert_eq!(parse_request(&out, &LIMITS, &mut back), Ok(Parsed::Complete(out.len())), "{}", text(&out));
            prop_assert_eq!(back.method_bytes(), head.method_bytes());
            prop_assert_eq!((back.path(), back.query(), back.host()), (head.path(), head.query(), head.host()));
            prop_assert_eq!(back.body, head.body);
            prop_assert_eq!(back.version, Version::Http11);
            prop_assert_eq!(back.upgrade, head.upgrade && upgrade);
            prop_assert_eq!(back.expect_continue, head.expect_continue);
            // Writing what was read back changes nothing more but what is appended.
            let again = plain_lines(&back.headers, |_, _| true);
            prop_assert!(out.ends_with(&[&again[..], b"\r\n"].concat()), "not in canonical form: {}", text(&out));
        }
    }

    #[test]
    fn a_written_response_is_read_back(bytes in any_response(), keep_alive: bool, current: bool) {
        let mut head = ResponseHead::new();
        if let Ok(Parsed::Complete(_)) = parse_response(bytes.as_bytes(), &LIMITS, Method::Get, &mut head) {
            let version = if current { Version::Http11 } else { Version::Http10 };
            let out = write_response_with(&head, version, keep_alive);
            let mut back = ResponseHead::new();
            let parsed = parse_response(out.as_bytes(), &LIMITS, Method::Get, &mut back);
            prop_assert_eq!(parsed, Ok(Parsed::Complete(out.len())), "{}", &out);
            prop_assert_eq!(back.status, head.status);
            prop_assert_eq!(back.body, head.body.for_downstream(version));
            let again = plain_lines(&back.headers, |_, _| true);
            prop_assert!(out.as_bytes().ends_with(&[&again[..], b"\r\n"].concat()), "not in canonical form: {}", &out);
        }
    }

    #[test]
    fn runs_are_copied_as_single_lines_would_be(bytes in any_response()) {
        let mut head = ResponseHead::new();
        if let Ok(Parsed::Complete(_)) = parse_response(bytes.as_bytes(), &LIMITS, Method::Get, &mut head) {
            prop_assume!(!head.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"connection")));
            let mut out = Vec::new();
            write_last_chunk(&mut out, Some(&head.headers));
            prop_assert_eq!(out, [b"0\r\n", &plain_lines(&head.headers, |_, _| true)[..], b"\r\n"].concat());
        }
    }

    #[test]
    fn chunks_in_pieces_are_read_like_the_whole(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        pieces in prop::collection::vec(1usize..20, 1..10),
        rest in prop::collection::vec(any::<u8>(), 0..10),
        trailer: bool,
    ) {
        let mut trailers = Headers::new();
        trailers.push(b"X-Sum", b"1").unwrap();
        let mut bytes = Vec::new();
        for chunk in &chunks {
            write_chunk_start(&mut bytes, chunk.len());
            bytes.extend_from_slice(chunk);
            write_chunk_end(&mut bytes);
        }
        write_last_chunk(&mut bytes, trailer.then_some(&trailers));
        bytes.extend_from_slice(&rest);
        for piece in pieces {
            let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
            let decoded = chunked::decode(&mut decoder, &bytes, piece).unwrap();
            let ended = decoded.1.is_some();
            prop_assert!(ended && decoded.0 == chunks.concat());
            prop_assert_eq!(decoded.1, Some(rest.len()));
            prop_assert_eq!(decoder.trailers().len(), usize::from(trailer));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), method in 0usize..9) {
        let _ = parse_request(&bytes, &LIMITS, &mut RequestHead::new());
        let _ = parse_response(&bytes, &LIMITS, Method::NAMED[method], &mut ResponseHead::new());
        let whole = chunked::decode(&mut ChunkedDecoder::new(ChunkLimits::default()), &bytes, 1000);
        for piece in [1, 7] {
            prop_assert_eq!(&chunked::decode(&mut ChunkedDecoder::new(ChunkLimits::default()), &bytes, piece), &whole);
        }
    }
}

/// The path of the listener's form: what the router gets, what the endpoint gets, and neither of them another.
#[test]
fn the_route_and_the_endpoint_see_one_path() {
    let path = prop::collection::vec(
        prop::sample::select(vec!["/", ".", "..", "%2e", "%41", "%2f", "a", "b;c", "%c3%a9", "\u{e9}", "//", "%7E"]),
        0..10,
    );
    let policy =
        prop::sample::select(vec![PathPolicy::Off, PathPolicy::Resolve, PathPolicy::Merge, PathPolicy::Strict]);
    let query = prop::sample::select(vec!["", "?", "?q=/../%41//"]);
    let start = prop::sample::select(vec!["/", "http://b/", "http://b"]);
    let all = (start, path, query, policy, any_line(), any_line());
    proptest!(|((start, path, query, policy, first, second) in all)| {
        let target = format!("{start}{}{query}", if start.ends_with('/') { path.concat() } else { String::new() });
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{first}{second}\r\n");
        let mut head = RequestHead::new();
        let Ok(Parsed::Complete(_)) = parse_request(bytes.as_bytes(), &LIMITS, &mut head) else { return Ok(()) };
        let mut as_received = Vec::new();
        write_request(&mut as_received, &head, &forwarding());
        if head.normalize_path(policy).is_err() {
            return Ok(());
        }
        let mut written = Vec::new();
        write_request(&mut written, &head, &forwarding());
        let mut endpoint = RequestHead::new();
        prop_assert_eq!(parse_request(&written, &LIMITS, &mut endpoint), Ok(Parsed::Complete(written.len())));
        prop_assert_eq!(endpoint.path(), head.path());
        prop_assert_eq!(endpoint.query(), head.query());
        prop_assert_eq!(head.query(), query.strip_prefix('?').map(str::as_bytes));
        // The line apart, all is as it would have been.
        let rest = |bytes: &[u8]| bytes[memchr::memchr(b'\n', bytes).unwrap_or(0)..].to_vec();
        prop_assert_eq!(rest(&written), rest(&as_received));
    });
}
