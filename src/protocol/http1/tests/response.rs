//! Response heads by RFC section.

use super::*;

#[test]
fn rfc9112_4_a_response_is_read() {
    let head = response("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((head.status, text(head.reason()), head.body), (404, "Not Found", BodyLength::Exact(5)));
    assert!(head.keep_alive && !head.upgrade);
}

#[test]
fn rfc9112_4_the_reason_may_be_anything_or_nothing() {
    assert_eq!(text(response("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n").reason()), "");
    assert_eq!(text(response("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n").reason()), "");
    assert_eq!(text(response("HTTP/1.1 200 \u{e4} b\r\n\r\n").reason()), "\u{e4} b");
    assert_eq!(text(response("HTTP/1.1 200 OK\r\n\r\n").reason()), "OK");
}

#[test]
fn rfc9112_4_malformed_status_lines_are_refused() {
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1200 OK",
        "HTTP/1.1 2x0 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "ICY 200 OK",
    ] {
        refuse_response(&format!("{line}\r\nContent-Length: 0\r\n\r\n"), Malformed::StartLine);
    }
    refuse_response("HTTP/1.1 099 Low\r\n\r\n", Malformed::Status);
    refuse_response("HTTP/2.0 200 OK\r\n\r\n", HeadError::VersionUnsupported);
    refuse_response("\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed::StartLine);
    refuse_response("HTTP/1.1 200 OK\n\r\n", Malformed::LineEnding);
    refuse_response("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", Malformed::LineEnding);
    refuse_response("HTTP/1.1 200 OK\r\nX: y\n\r\n", Malformed::LineEnding);
    refuse_response("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", Malformed::FieldName);
    refuse_response("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", Malformed::FieldName);
}

#[test]
fn rfc9112_6_3_how_a_response_body_ends() {
    let check = |method, status: u16, fields: &str, body, keep_alive| {
        let head = response_to(method, &format!("HTTP/1.1 {status} X\r\n{fields}\r\n"));
        assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{method:?} {status} {fields}");
    };
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    check(Method::Get, 200, length, BodyLength::Exact(5), true);
    check(Method::Get, 200, chunked, BodyLength::Chunked, true);
    check(Method::Get, 200, "", BodyLength::UntilClose, false);
    check(Method::Head, 200, length, BodyLength::Empty, true);
    check(Method::Head, 200, chunked, BodyLength::Empty, true);
    check(Method::Head, 200, "", BodyLength::Empty, true);
    check(Method::Get, 304, length, BodyLength::Empty, true);
    check(Method::Get, 304, "", BodyLength::Empty, true);
    check(Method::Get, 204, "", BodyLength::Empty, true);
    check(Method::Get, 204, "Content-Length: 0\r\n", BodyLength::Empty, true);
    check(Method::Get, 100, "", BodyLength::Empty, true);
    check(Method::Get, 103, "Link: x\r\n", BodyLength::Empty, true);
    check(Method::Get, 101, "Upgrade: x\r\nConnection: upgrade\r\n", BodyLength::Empty, true);
    // RFC 9112 section 6.1: no framing on 1xx and 204. What follows may be a body all the same.
    check(Method::Get, 204, length, BodyLength::Empty, false);
    check(Method::Get, 204, chunked, BodyLength::Empty, false);
    check(Method::Get, 100, length, BodyLength::Empty, false);
}

#[test]
fn rfc9112_6_3_ambiguous_framing_is_refused() {
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    refuse_response(&with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Malformed::Framing);
    refuse_response(&with("Content-Length: 5\r\nContent-Length: 5\r\n"), Malformed::ContentLength);
    refuse_response(&with("Content-Length: 5, 5\r\n"), Malformed::ContentLength);
    refuse_response(&with("Content-Length: -5\r\n"), Malformed::ContentLength);
    refuse_response(&with("Transfer-Encoding: gzip, chunked\r\n"), HeadError::TransferCodingUnknown);
    refuse_response(&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Malformed::TransferEncoding);
    refuse_response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::TransferEncoding);
}

#[test]
fn rfc9112_9_3_persistence() {
    let keep_alive = |version: &str, fields: &str| {
        response(&format!("{version} 200 OK\r\nContent-Length: 0\r\n{fields}\r\n")).keep_alive
    };
    assert!(keep_alive("HTTP/1.1", ""));
    assert!(!keep_alive("HTTP/1.1", "Connection: close\r\n"));
    assert!(!keep_alive("HTTP/1.0", ""));
    assert!(keep_alive("HTTP/1.0", "Connection: keep-alive\r\n"));
}

#[test]
fn rfc9110_15_2_interim_responses_are_heads_of_their_own() {
    let bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut head = ResponseHead::new();
    assert_eq!(parse_response(bytes.as_bytes(), &LIMITS, Method::Post, &mut head), Ok(Parsed::Complete(25)));
    assert!(head.is_interim());
    let head = response("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    assert!(head.upgrade && !head.is_interim());
}

#[test]
fn limits_at_n_and_one_more() {
    let limits = HeadLimits { head_max: 60, headers_max: 2, target_max: 0 };
    let parse = |bytes: &str| parse_response(bytes.as_bytes(), &limits, Method::Get, &mut ResponseHead::new());
    let sized = |len: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(len - 24));
    assert_eq!(parse(&sized(60)), Ok(Parsed::Complete(60)));
    assert_eq!(parse(&sized(61)), Err(HeadError::TooLarge));
    assert_eq!(parse(&sized(61)[..59]), Ok(Parsed::Partial));
    assert_eq!(parse("HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n\r\n"), Ok(Parsed::Complete(31)));
    assert_eq!(parse("HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\nA: b\r\n\r\n"), Err(HeadError::TooManyFields));
}
