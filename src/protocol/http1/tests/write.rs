//! What endpoints and clients are sent, by RFC section.

use super::*;

/// The part of a rewritten request that is not about forwarding.
fn rewritten(bytes: &str) -> String {
    let out = write_request_with(bytes, &forwarding());
    let kept = |line: &&str| !line.starts_with("X-Forwarded-") && !line.starts_with("Forwarded:");
    out.split_inclusive("\r\n").filter(kept).collect()
}

#[test]
fn a_small_get_is_rewritten() {
    assert_eq!(
        write_request_with(
            "GET /a?b HTTP/1.1\r\nHost: x.test\r\nConnection: keep-alive\r\nAccept:*/*\r\n\r\n",
            &forwarding()
        ),
        "GET /a?b HTTP/1.1\r\nHost: x.test\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: x.test\r\nForwarded: for=192.0.2.7;host=x.test;proto=http\r\n\r\n"
    );
}

#[test]
fn rfc9112_3_2_requests_go_out_in_origin_form_as_http_1_1() {
    for (from, to) in [
        ("GET http://x.test:1/a?b HTTP/1.1\r\nHost: y\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: x.test:1\r\n\r\n"),
        ("GET http://x?b HTTP/1.1\r\nA: b\r\nHost: y\r\n\r\n", "GET /?b HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n"),
        ("GET http://x HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("OPTIONS http://x HTTP/1.1\r\nHost: y\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: y\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: y\r\n\r\n"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET / HTTP/1.0\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\nA: b\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    ] {
        assert_eq!(rewritten(from), to);
    }
    let bytes = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(rewritten(bytes), bytes[2..]);
}

#[test]
fn rfc9110_7_6_1_hop_by_hop_fields_are_removed() {
    assert_eq!(
        rewritten(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-Mine, keep-alive\r\nKeep-Alive: timeout=5\r\nX-MINE: 1\r\n\
             Proxy-Connection: keep-alive\r\nX-Yours: 2\r\nTE: gzip\r\nTrailer: X\r\nUpgrade: websocket\r\nx-mine:3\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Yours: 2\r\n\r\n"
    );
}

#[test]
fn rfc9110_7_6_1_connection_can_not_remove_what_is_for_all() {
    let fields = "Host: a\r\nAuthorization: b\r\nCookie: c\r\nContent-Type: d\r\nContent-Length: 1\r\nIf-Match: e\r\n";
    let connection =
        "Connection: host, authorization, cookie, content-type, content-length, if-match, x-forwarded-for\r\n";
    let out = write_request_with(&format!("POST / HTTP/1.1\r\n{fields}{connection}\r\n"), &forwarding());
    assert!(out.starts_with(&format!("POST / HTTP/1.1\r\n{fields}X-Forwarded-For: 192.0.2.7\r\n")), "{out}");
}

#[test]
fn rfc9110_7_8_an_upgrade_is_passed_on_where_allowed() {
    let bytes = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    let out = write_request_with(bytes, &Forwarding { upgrade: true, ..forwarding() });
    assert!(out.contains("\r\nUpgrade: websocket\r\n") && out.ends_with("\r\nConnection: upgrade\r\n\r\n"), "{out}");
    assert_eq!(rewritten(bytes), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let bytes =
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n";
    let out = write_request_with(bytes, &Forwarding { upgrade: true, ..forwarding() });
    assert!(!out.contains("h2c") && !out.to_lowercase().contains("http2") && !out.contains("Connection"), "{out}");
}

#[test]
fn rfc9110_10_1_4_te_trailers_is_passed_on_with_its_option() {
    let bytes = "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n";
    assert!(write_request_with(bytes, &forwarding()).ends_with("\r\nTE: trailers\r\nConnection: TE\r\n\r\n"));
    let closing = Forwarding { keep_alive: false, ..forwarding() };
    assert!(write_request_with(bytes, &closing).ends_with("\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"));
}

#[test]
fn rfc9112_6_framing_is_written_from_the_model() {
    for (from, to) in [
        ("Content-Length: 12\r\n", "Content-Length: 12\r\n"),
        ("content-length:12\r\n", "content-length: 12\r\n"),
        ("Content-Length: 012\r\n", "Content-Length: 12\r\n"),
        ("Content-Length: 0\r\n", "Content-Length: 0\r\n"),
        ("Transfer-Encoding: Chunked\r\nTrailer: A\r\n", "Transfer-Encoding: Chunked\r\nTrailer: A\r\n"),
        ("Content-Length: 1\r\nTrailer: A\r\n", "Content-Length: 1\r\n"),
    ] {
        let out = rewritten(&format!("POST / HTTP/1.1\r\nHost: a\r\n{from}\r\n"));
        assert_eq!(out, format!("POST / HTTP/1.1\r\nHost: a\r\n{to}\r\n"));
    }
    // A body that came in another way than it goes out.
    let mut head = request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    head.body = BodyLength::Chunked;
    let mut out = Vec::new();
    write_request(&mut out, &head, &forwarding());
    assert!(text(&out).contains("\r\nTransfer-Encoding: chunked\r\n") && !text(&out).contains("Content-Length"));
    head.body = BodyLength::Exact(6);
    out.clear();
    write_request(&mut out, &head, &forwarding());
    assert_eq!(text(&out).matches("Content-Length").count(), 1);
    assert!(text(&out).contains("\r\nContent-Length: 6\r\n"));
}

#[test]
fn rfc9110_10_1_1_expect_is_passed_on_where_it_means_something() {
    let with = |version: &str| {
        rewritten(&format!("POST / {version}\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"))
    };
    assert!(with("HTTP/1.1").contains("\r\nExpect: 100-continue\r\n"));
    assert!(!with("HTTP/1.0").contains("Expect"));
}

const CLAIMS: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\nForwarded: for=1.1.1.1\r\nX-Request-Id: theirs\r\n\r\n";

#[test]
fn rfc7239_what_an_untrusted_client_claims_is_replaced() {
    assert_eq!(
        write_request_with(CLAIMS, &Forwarding { request_id: Some(b"ours"), ..forwarding() }),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\
         Forwarded: for=192.0.2.7;host=a;proto=http\r\nX-Request-Id: ours\r\n\r\n"
    );
}

#[test]
fn rfc7239_what_a_trusted_client_claims_is_extended() {
    assert_eq!(
        write_request_with(CLAIMS, &Forwarding { trusted: true, request_id: Some(b"ours"), ..forwarding() }),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\n\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7\r\nForwarded: for=1.1.1.1, for=192.0.2.7;host=a;proto=http\r\n\
         X-Request-Id: theirs\r\n\r\n"
    );
    assert!(write_request_with(CLAIMS, &forwarding()).contains("\r\nX-Request-Id: theirs\r\n"));
}

#[test]
fn rfc7239_6_addresses_and_ports_are_quoted() {
    let with = |client: &str, host: &str| {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let out = write_request_with(&bytes, &Forwarding { client: client.parse().ok(), ..forwarding() });
        out.split("\r\n").filter(|line| line.contains("or")).map(str::to_owned).collect::<Vec<_>>().join("|")
    };
    assert_eq!(
        with("2001:db8::1", "a:80"),
        "X-Forwarded-For: 2001:db8::1|X-Forwarded-Proto: http|X-Forwarded-Host: a:80|\
         Forwarded: for=\"[2001:db8::1]\";host=\"a:80\";proto=http"
    );
    assert!(with("::ffff:10.200.3.45", "").ends_with("Forwarded: for=10.200.3.45;proto=http"));
    assert!(with("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "").contains("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"));
}

#[test]
fn rfc9110_5_5_nothing_can_break_a_line() {
    let out = write_request_with(CLAIMS, &Forwarding { request_id: Some(b"a\r\nX: y"), ..forwarding() });
    assert!(!out.contains("X: y") && !out.contains("X-Request-Id"), "{out}");
    let mut headers = Headers::new();
    for value in ["a\r\nb", "a\nb", "a\rb", "a\0b", " a", "a ", "\u{7f}"] {
        assert_eq!(headers.push(b"X", value.as_bytes()), Err(InvalidField), "{value:?}");
    }
    for name in ["", "X Y", "X:", "X\r\n", "\u{e4}"] {
        assert_eq!(headers.push(name.as_bytes(), b"a"), Err(InvalidField), "{name:?}");
    }
    assert!(headers.is_empty());
}

#[test]
fn fields_can_be_added_and_removed_between_reading_and_writing() {
    let mut head = request("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB:2\r\nC: 3\r\n\r\n");
    head.headers.remove(b"a");
    head.headers.push(b"D", b"4").unwrap();
    head.headers.push(b"E", b"").unwrap();
    let mut out = Vec::new();
    write_request(&mut out, &head, &forwarding());
    assert!(
        text(&out).starts_with("GET / HTTP/1.1\r\nHost: a\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: \r\nX-Forwarded-For"),
        "{}",
        text(&out)
    );
    head.headers.remove(b"D");
    assert_eq!(head.headers.len(), 4);
}

#[test]
fn responses_are_passed_on_without_what_concerns_one_connection() {
    let head = response(
        "HTTP/1.1 200 Fine\r\nDate: x\r\nServer: y\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\n\
         X-Mine: 1\r\nContent-Length: 5\r\nContent-Type: z\r\n\r\n",
    );
    let kept = "HTTP/1.1 200 Fine\r\nDate: x\r\nServer: y\r\nContent-Length: 5\r\nContent-Type: z\r\n";
    assert_eq!(write_response_with(&head, Version::Http11, true), format!("{kept}\r\n"));
    assert_eq!(write_response_with(&head, Version::Http11, false), format!("{kept}Connection: close\r\n\r\n"));
    assert_eq!(write_response_with(&head, Version::Http10, true), format!("{kept}Connection: keep-alive\r\n\r\n"));
}

#[test]
fn rfc9112_4_status_lines_are_written_as_http_1_1() {
    for (from, to) in [
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.0 200 Fine", "HTTP/1.1 200 Fine"),
        ("HTTP/1.1 200", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 200 ", "HTTP/1.1 200 "),
        ("HTTP/1.1 599 ", "HTTP/1.1 599 "),
        ("HTTP/1.1 599", "HTTP/1.1 599 "),
    ] {
        let head = response(&format!("{from}\r\nContent-Length: 1\r\n\r\n"));
        assert_eq!(write_response_with(&head, Version::Http11, true), format!("{to}\r\nContent-Length: 1\r\n\r\n"));
    }
    let mut head = response("HTTP/1.1 200 Fine\r\nContent-Length: 1\r\n\r\n");
    head.status = 503;
    assert!(write_response_with(&head, Version::Http11, true).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
}

#[test]
fn rfc9112_6_response_bodies_are_framed_for_the_client() {
    let check = |method, fields: &str, version, expected: &str| {
        let head = response_to(method, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let out = write_response_with(&head, version, true);
        let framing: String = out
            .split_inclusive("\r\n")
            .filter(|line| line.starts_with("Content-Length") || line.starts_with("Transfer-Encoding"))
            .collect();
        assert_eq!(framing, expected, "{method:?} {fields} {version:?}");
    };
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    check(Method::Get, length, Version::Http11, length);
    check(Method::Get, length, Version::Http10, length);
    check(Method::Get, "Content-Length: 05\r\n", Version::Http11, length);
    check(Method::Get, chunked, Version::Http11, chunked);
    check(Method::Get, chunked, Version::Http10, "");
    check(Method::Get, "", Version::Http11, chunked);
    check(Method::Get, "", Version::Http10, "");
    check(Method::Head, length, Version::Http11, length);
    check(Method::Head, chunked, Version::Http11, "");
    check(Method::Head, "", Version::Http11, "");
}

#[test]
fn rfc9110_8_6_no_length_on_204_and_interim_responses() {
    for (status, kept) in [(204, false), (103, false), (304, true)] {
        let head = response(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nA: b\r\n\r\n"));
        assert_eq!(write_response_with(&head, Version::Http11, true).contains("Content-Length"), kept, "{status}");
    }
}

#[test]
fn rfc9110_15_2_interim_responses_say_nothing_of_the_connection() {
    let head = response("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    assert_eq!(write_response_with(&head, Version::Http11, false), "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    let mut out = Vec::new();
    write_continue(&mut out);
    assert_eq!(text(&out), "HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn rfc9110_15_2_2_a_switch_of_protocols_is_passed_on() {
    let head = response("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(
        write_response_with(&head, Version::Http11, true),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    );
}

#[test]
fn the_request_id_is_written_in_place_of_the_endpoints() {
    let head = response("HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n");
    let mut out = Vec::new();
    let options =
        ResponseOptions { version: Version::Http11, keep_alive: true, body: head.body, request_id: Some(b"ours") };
    write_response(&mut out, &head, &options);
    assert_eq!(text(&out), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Request-Id: ours\r\n\r\n");
}

#[test]
fn rfc9112_7_1_chunk_sizes_are_hexadecimal() {
    for len in [1, 9, 15, 16, 255, 256, 0xabcdef, usize::MAX] {
        let mut out = Vec::new();
        write_chunk_start(&mut out, len);
        assert_eq!(text(&out), format!("{len:x}\r\n"));
    }
}

#[test]
fn the_gateways_own_answers() {
    let error = ErrorResponse {
        status: 405,
        text: "No.",
        version: Version::Http11,
        keep_alive: true,
        head_only: false,
        allow: Some(b"GET, HEAD"),
        retry_after_s: None,
        request_id: Some(b"id"),
    };
    let write = |error: &ErrorResponse<'_>| {
        let mut out = Vec::new();
        write_error(&mut out, error);
        String::from_utf8(out).unwrap()
    };
    let head = "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\
        Allow: GET, HEAD\r\nX-Request-Id: id\r\n";
    assert_eq!(write(&error), format!("{head}\r\nNo.\n"));
    assert_eq!(write(&ErrorResponse { head_only: true, ..error }), format!("{head}\r\n"));
    assert_eq!(write(&ErrorResponse { keep_alive: false, ..error }), format!("{head}Connection: close\r\n\r\nNo.\n"));
    let busy = ErrorResponse { status: 503, allow: None, request_id: None, retry_after_s: Some(7), ..error };
    assert!(write(&busy).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(write(&busy).contains("\r\nRetry-After: 7\r\n"));
}
