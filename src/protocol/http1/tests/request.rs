//! Request heads by RFC section, and the request smuggling vectors.

use super::*;

#[test]
fn rfc9112_2_1_a_request_is_read() {
    let head = request("POST /a/b?c=d HTTP/1.1\r\nHost: x.test:81\r\nContent-Length: 3\r\nAccept: */*\r\n\r\n");
    assert_eq!(head.method, Method::Post);
    assert_eq!(text(head.method_bytes()), "POST");
    assert_eq!(text(head.target()), "/a/b?c=d");
    assert_eq!(text(head.path()), "/a/b");
    assert_eq!(head.query().map(text), Some("c=d"));
    assert_eq!(text(head.host()), "x.test:81");
    assert_eq!(head.body, BodyLength::Exact(3));
    assert!(head.keep_alive && !head.upgrade && !head.expect_continue);
    assert_eq!(head.headers.get(Known::ContentLength).map(text), Some("3"));
    assert_eq!(head.headers.get_name(b"ACCEPT").map(text), Some("*/*"));
    let fields: Vec<_> = head.headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    assert_eq!(fields, [("Host", "x.test:81"), ("Content-Length", "3"), ("Accept", "*/*")]);
}

#[test]
fn rfc9112_2_2_leading_empty_lines_are_skipped_up_to_a_bound() {
    for lines in 0..=EMPTY_LINES_MAX {
        let bytes = "\r\n".repeat(lines) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(request_error(&bytes), Ok(Parsed::Complete(bytes.len())));
        assert_eq!(request_error(&bytes[..2 * lines]), Ok(Parsed::Partial));
    }
    refuse(&"\r\n".repeat(EMPTY_LINES_MAX + 1), Malformed::StartLine);
    refuse("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::LineEnding);
}

#[test]
fn rfc9112_2_2_bare_lf_and_bare_cr_are_refused() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a \nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nX:\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.0\n\r\n",
        "GET / HTTP/1.0\n\n",
    ] {
        refuse(bytes, Malformed::LineEnding);
    }
    refuse("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", Malformed::FieldValue);
    refuse("GET / HTTP/1.1\rHost: a\r\n\r\n", Malformed::LineEnding);
    refuse("GET / HTTP/1.1\r\nHost: a\r\n\rX", Malformed::LineEnding);
}

#[test]
fn rfc9112_2_3_other_versions_are_told_apart_from_garbage() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3", "HTTP/2"] {
        refuse(&format!("GET / {version}\r\nHost: a\r\n\r\n"), HeadError::VersionUnsupported);
    }
    refuse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::VersionUnsupported);
    for version in ["http/1.1", "HTTP/1.10", "HTTP/11", "HTTP /1.1", "HTTPS/1.1", "HTTP/1,1", "HTTP/x.1"] {
        let bytes = format!("GET / {version}\r\nHost: a\r\n\r\n");
        assert!(matches!(request_error(&bytes), Err(HeadError::Malformed(_))), "{version}");
    }
}

#[test]
fn rfc9112_3_request_lines_have_one_form() {
    for bytes in [
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n",
        "/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert!(matches!(request_error(bytes), Err(HeadError::Malformed(_))), "{bytes:?}");
    }
    // RFC 9110 section 9.1: methods are case-sensitive, and any token is one.
    assert_eq!(request("get / HTTP/1.1\r\nHost: a\r\n\r\n").method, Method::Other);
    assert_eq!(text(request("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n").method_bytes()), "M-SEARCH");
}

#[test]
fn rfc9112_3_2_targets_without_a_form_are_refused() {
    for target in [
        "a",
        "*",
        "//",
        "ftp://a/",
        "http:/a",
        "http://",
        "http:///a",
        "http://u@a/",
        "?a",
        "/a#b",
        "/?a#b",
        "http://a#b",
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        if target == "//" {
            assert_eq!(text(request(&bytes).path()), "//");
            continue;
        }
        refuse(&bytes, Malformed::Target);
    }
}

#[test]
fn rfc9112_3_2_host_occurs_once_and_is_valid() {
    refuse("GET / HTTP/1.1\r\n\r\n", Malformed::Host);
    refuse("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Malformed::Host);
    refuse("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", Malformed::Host);
    refuse("GET http://a/ HTTP/1.1\r\n\r\n", Malformed::Host);
    for host in [
        "a b", "a,b", "a/b", "a@b", "a?b", "a#b", "a\\b", "a\"b", "a:b", "a:1:2", "a:123456", "[::1", "::1", "[]",
        "[::1]x", "[g::1]", "x[::1]", "[::1]:x", "[::1]]", "a\u{e4}",
    ] {
        refuse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Malformed::Host);
    }
    for host in ["a", "a:80", "a:", "a.b-c_d", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:80", "[::ffff:1.2.3.4]", ""] {
        assert_eq!(text(request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).host()), host);
    }
    assert_eq!(text(request("GET / HTTP/1.0\r\n\r\n").host()), "");
}

#[test]
fn rfc9112_3_2_2_the_authority_of_an_absolute_form_overrides_host() {
    let head = request("GET HTTP://X.test:8080/a?b HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!((text(head.host()), text(head.path()), head.query().map(text)), ("X.test:8080", "/a", Some("b")));
    let head = request("GET https://x?b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((text(head.host()), text(head.path()), head.query().map(text)), ("x", "/", Some("b")));
    let head = request("GET http://x HTTP/1.0\r\n\r\n");
    assert_eq!((text(head.host()), text(head.path()), head.query()), ("x", "/", None));
}

#[test]
fn rfc9112_3_2_3_connect_is_refused() {
    refuse("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", HeadError::MethodUnsupported);
}

#[test]
fn rfc9112_3_2_4_the_asterisk_is_for_options() {
    let head = request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.is_asterisk());
    assert_eq!(text(head.path()), "*");
    assert!(request("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").is_asterisk());
    assert!(!request("OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").is_asterisk());
}

#[test]
fn rfc9112_5_1_names_are_tokens_directly_before_the_colon() {
    for line in ["X : y", "X\t: y", ": y", "X y", "X(: y", "\0X: y", "X\u{7f}: y", "X\u{b}: y", "\u{e4}: y"] {
        refuse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"), Malformed::FieldName);
    }
}

#[test]
fn rfc9112_5_2_folded_lines_are_refused() {
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
    ] {
        refuse(bytes, Malformed::FieldName);
    }
}

#[test]
fn rfc9110_5_5_control_bytes_in_values_are_refused() {
    for byte in (0u8..0x20).chain([0x7f]).filter(|byte| !b"\t\n\r".contains(byte)) {
        for value in [format!("a{}b", byte as char), format!("{}b", byte as char), format!("a{}", byte as char)] {
            refuse(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n"), Malformed::FieldValue);
        }
    }
    let head = request("GET / HTTP/1.1\r\nHost: a\r\nX:  \t a\tb \u{e4} \t \r\nY:\r\nZ: \r\n\r\n");
    assert_eq!(head.headers.get_name(b"x").map(text), Some("a\tb \u{e4}"));
    assert_eq!(head.headers.get_name(b"y").map(text), Some(""));
    assert_eq!(head.headers.get_name(b"z").map(text), Some(""));
}

#[test]
fn rfc9112_6_1_a_transfer_coding_other_than_chunked_is_refused() {
    let with = |value: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n");
    for value in ["chunked", "Chunked", "CHUNKED", "  chunked\t"] {
        assert_eq!(request(&with(value)).body, BodyLength::Chunked);
    }
    for value in
        ["gzip", "gzip, chunked", "xchunked", "chunkedx", "\"chunked\"", "'chunked'", "chunked;a=b", "identity", "x"]
    {
        refuse(&with(value), HeadError::TransferCodingUnknown);
    }
    for value in ["chunked, gzip", "chunked, identity", "chunked,", ",chunked,", ""] {
        refuse(&with(value), Malformed::TransferEncoding);
    }
    refuse(&with("chunked, chunked"), HeadError::TransferCodingUnknown);
    refuse(&with("chunked\u{b}"), Malformed::FieldValue);
    refuse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::TransferEncoding);
    refuse(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        Malformed::TransferEncoding,
    );
    refuse(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n",
        Malformed::TransferEncoding,
    );
}

#[test]
fn rfc9112_6_3_content_length_with_transfer_encoding_is_refused() {
    refuse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Framing);
    refuse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", Malformed::Framing);
    refuse("POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n", Malformed::Framing);
}

#[test]
fn rfc9110_8_6_content_length_is_one_number() {
    let with = |value: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n");
    for (value, length) in [("0", 0), ("007", 7), ("18446744073709551615", u64::MAX)] {
        assert_eq!(request(&with(value)).body, BodyLength::Exact(length));
    }
    for value in [
        "",
        "+1",
        "-1",
        "1 2",
        "1,1",
        "1, 1",
        "0x1",
        "1a",
        "1.0",
        "18446744073709551616",
        "99999999999999999999",
        "\u{661}",
    ] {
        refuse(&with(value), Malformed::ContentLength);
    }
    for second in ["5", "6"] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: {second}\r\n\r\n");
        refuse(&bytes, Malformed::ContentLength);
    }
}

#[test]
fn rfc9112_6_3_a_request_without_framing_has_no_body() {
    assert_eq!(request("POST / HTTP/1.1\r\nHost: a\r\n\r\n").body, BodyLength::Empty);
}

#[test]
fn rfc9112_9_3_persistence() {
    for (version, connection, keep_alive) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.1", "Connection: keep-alive, Close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("HTTP/1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
        ("HTTP/1.0", "Connection: close, keep-alive\r\n", false),
        ("HTTP/1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let head = request(&format!("GET / {version}\r\nHost: a\r\n{connection}\r\n"));
        assert_eq!(head.keep_alive, keep_alive, "{version} {connection}");
    }
}

#[test]
fn rfc9110_7_6_1_connection_options_are_bounded() {
    let with =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", vec!["a"; count].join(","));
    assert!(request(&with(32)).keep_alive);
    refuse(&with(33), Malformed::Connection);
}

#[test]
fn rfc9110_7_8_upgrade_needs_both_fields_and_http_1_1() {
    let with = |version: &str, fields: &str| request(&format!("GET / {version}\r\nHost: a\r\n{fields}\r\n")).upgrade;
    assert!(with("HTTP/1.1", "Upgrade: websocket\r\nConnection: Upgrade\r\n"));
    assert!(with("HTTP/1.1", "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n"));
    assert!(!with("HTTP/1.1", "Upgrade: websocket\r\n"));
    assert!(!with("HTTP/1.1", "Connection: upgrade\r\n"));
    assert!(!with("HTTP/1.0", "Upgrade: websocket\r\nConnection: upgrade\r\n"));
    for protocol in ["h2c", "H2C", "h2", "websocket, h2c"] {
        assert!(!with("HTTP/1.1", &format!("Upgrade: {protocol}\r\nConnection: upgrade, HTTP2-Settings\r\n")));
    }
}

#[test]
fn rfc9110_10_1_1_expectations() {
    let with = |version: &str, expect: &str, length: u64| {
        format!("POST / {version}\r\nHost: a\r\nContent-Length: {length}\r\nExpect: {expect}\r\n\r\n")
    };
    assert!(request(&with("HTTP/1.1", "100-Continue", 1)).expect_continue);
    assert!(!request(&with("HTTP/1.1", "100-continue", 0)).expect_continue);
    assert!(!request(&with("HTTP/1.0", "100-continue", 1)).expect_continue);
    refuse(&with("HTTP/1.1", "200-ok", 1), HeadError::ExpectationUnknown);
    refuse(&with("HTTP/1.1", "100-continue, x", 1), HeadError::ExpectationUnknown);
}

#[test]
fn rfc9110_10_1_4_te_trailers() {
    let with = |te: &str| request(&format!("GET / HTTP/1.1\r\nHost: a\r\nTE: {te}\r\n\r\n")).accepts_trailers;
    assert!(with("trailers"));
    assert!(with("gzip, Trailers"));
    assert!(!with("gzip"));
}

#[test]
fn limits_at_n_and_one_more() {
    let limits = HeadLimits { head_max: 100, headers_max: 3, target_max: 10 };
    let parse = |bytes: &str| parse_request(bytes.as_bytes(), &limits, &mut RequestHead::new());
    let sized = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - 32));
    assert_eq!(sized(100).len(), 100);
    assert_eq!(parse(&sized(100)), Ok(Parsed::Complete(100)));
    assert_eq!(parse(&sized(101)), Err(HeadError::TooLarge));
    assert_eq!(parse(&sized(1000)), Err(HeadError::TooLarge));
    assert_eq!(parse(&sized(101)[..99]), Ok(Parsed::Partial));
    assert_eq!(parse(&sized(101)[..100]), Err(HeadError::TooLarge));
    // Bytes after the head do not count.
    assert_eq!(parse(&(sized(100) + &"x".repeat(1000))), Ok(Parsed::Complete(100)));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    assert!(matches!(parse(&fields(3)), Ok(Parsed::Complete(_))));
    assert_eq!(parse(&fields(4)), Err(HeadError::TooManyFields));
    assert_eq!(parse(&fields(10)), Err(HeadError::TooManyFields));
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1));
    assert!(matches!(parse(&target(10)), Ok(Parsed::Complete(_))));
    assert_eq!(parse(&target(11)), Err(HeadError::TargetTooLong));
    assert_eq!(parse(&target(200)), Err(HeadError::TargetTooLong));
    assert_eq!(parse(&target(200)[..14]), Ok(Parsed::Partial));
    assert_eq!(parse(&target(200)[..15]), Err(HeadError::TargetTooLong));
    // The limits may be larger than what is possible.
    let limits = HeadLimits { head_max: usize::MAX, headers_max: usize::MAX, target_max: usize::MAX };
    let parse = |bytes: &str| parse_request(bytes.as_bytes(), &limits, &mut RequestHead::new());
    assert!(matches!(parse(&fields(HEADERS_MAX)), Ok(Parsed::Complete(_))));
    assert_eq!(parse(&fields(HEADERS_MAX + 1)), Err(HeadError::TooManyFields));
    let name = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: b\r\n\r\n", "n".repeat(70_000));
    assert_eq!(parse(&name), Err(HeadError::TooLarge));
}

#[test]
fn a_head_that_trickles_in_is_parsed_anew_only_where_it_may_end() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for seen in 0..bytes.len() {
        assert_eq!(head_may_end(&bytes[..seen + 1], seen), seen + 1 == bytes.len(), "{seen}");
        assert!(head_may_end(bytes, seen));
    }
    assert!(head_may_end(b"GET / HTTP/1.1\nHost: a\n\n", 20));
    // No line begins with CR but the empty one: such a head never ends, and is refused at once.
    assert!(head_may_end(b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\r\n", 28));
}
