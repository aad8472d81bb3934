//! RFC 9110 sections 10.1.1, 7.8 and 9.3: expectations, upgrades, and methods with a meaning to a gateway.

use super::case::{Case, GET, OK, answered, changed, get, passed, post, refused};

pub fn cases() -> Vec<Case> {
    [expectations(), early_answers(), upgrades(), clear_http2(), methods()].concat()
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn expectations() -> Vec<Case> {
    let with = |value: &str| post(&format!("Expect: {value}\r\nContent-Length: 3\r\n"), "abc");
    const UNKNOWN: &str = "MAY be 417";
    vec![
        passed("9110 10.1.1", "100-continue, the body sent at once", with("100-continue"))
            .rfc("100 MAY be left out then"),
        passed("9110 10.1.1", "100-Continue", with("100-Continue")).rfc("ignores letter case"),
        passed("9110 10.1.1", "the origin continues", with("100-continue"))
            .answered_by(format!("{CONTINUE}{OK}"))
            .gets(format!("{CONTINUE}{OK}"))
            .rfc("a 100 MUST be passed on"),
        changed("9110 10.1.1", "100-continue without a body", get("Expect: 100-continue\r\n"), GET)
            .rfc("MUST NOT be sent without content")
            .why("Removed: an origin that waits for a body would take the next request for it (0.CL)."),
        changed(
            "9110 10.1.1",
            "100-continue with an empty body",
            post("Expect: 100-continue\r\nContent-Length: 0\r\n", ""),
            post("Content-Length: 0\r\n", ""),
        )
        .rfc("MUST NOT be sent without content"),
        changed(
            "9110 10.1.1",
            "100-continue of HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
            post("Content-Length: 3\r\n", "abc"),
        )
        .gets_and_end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .rfc("MUST be ignored"),
        refused(417, "9110 10.1.1", "another expectation", with("200-ok")).rfc(UNKNOWN),
        refused(417, "9110 10.1.1", "an expectation in disguise", with("y 100-continue")).rfc(UNKNOWN),
        refused(417, "9110 10.1.1", "100-continue and more", with("100-continue, x")).rfc(UNKNOWN),
        refused(417, "9110 10.1.1", "100-continue twice in a list", with("100-continue, 100-continue")).rfc(UNKNOWN),
        refused(
            417,
            "9110 10.1.1",
            "100-continue in two fields",
            post("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 3\r\n", "abc"),
        )
        .rfc(UNKNOWN),
        refused(417, "9110 10.1.1", "an empty expectation", with("")).rfc(UNKNOWN),
        refused(417, "9110 10.1.1", "100-continue in quotes", with("\"100-continue\"")).rfc(UNKNOWN),
        refused(
            400,
            "9110 10.1.1",
            "a space before the colon of Expect",
            post("Expect : 100-continue\r\nContent-Length: 3\r\n", "abc"),
        )
        .rfc("MUST be 400"),
    ]
}

fn early_answers() -> Vec<Case> {
    vec![
        changed(
            "9110 10.1.1",
            "an origin that does not read the body",
            post("Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n", "abc"),
            post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""),
        )
        .gets_and_end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .early()
        .rfc("the body belongs to the request all the same")
        .why("The connection to the endpoint is not used again: the body would stand before the next request."),
        passed(
            "9110 10.1.1",
            "an early refusal by the origin",
            post("Expect: 100-continue\r\nContent-Length: 3\r\n", ""),
        )
        .early()
        .answered_by("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        .gets_and_end("HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .rfc("the client may send the body or not")
        .why("Both connections close: nobody could tell the body from the next request."),
    ]
}

fn upgrades() -> Vec<Case> {
    const WS: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const WS_OUT: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let both = [OK, OK].concat();
    vec![
        changed("9110 7.8", "an upgrade that the origin makes", WS, WS_OUT)
            .answered_by(format!("{SWITCH}bytes of another protocol"))
            .closing()
            .gets_and_end(format!("{SWITCH}bytes of another protocol"))
            .rfc("after 101 the connection is another protocol's"),
        changed(
            "9110 7.8",
            "an upgrade that the origin ignores",
            format!("{WS}{}", get("X: next\r\n")),
            format!("{WS_OUT}{}", get("X: next\r\n")),
        )
        .gets(&both)
        .rfc("the server MAY ignore it")
        .why("What follows is parsed, and never tunnelled before a 101 (CVE-2026-2833)."),
        changed("9110 7.8", "an upgrade that the origin refuses", WS, WS_OUT)
            .answered_by("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            .gets("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            .rfc("the connection stays HTTP"),
        changed(
            "9110 7.8",
            "an upgrade of HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            GET,
        )
        .gets_and_end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .rfc("MUST be ignored"),
        changed(
            "9110 7.8",
            "an upgrade with a body",
            post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", "abc"),
            post("Upgrade: websocket\r\nContent-Length: 3\r\nConnection: upgrade\r\n", "abc"),
        )
        .rfc("the whole request comes before another protocol"),
        changed(
            "9110 7.8",
            "101 before the body was there",
            post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", ""),
            post("Upgrade: websocket\r\nContent-Length: 3\r\nConnection: upgrade\r\n", ""),
        )
        .early()
        .answered_by(SWITCH)
        .refused(502)
        .rfc("the server MUST NOT switch before it has the request")
        .why("What follows would be body to one and protocol to the other."),
        passed("9110 7.8", "101 that nobody asked for", GET)
            .answered_by(format!("{SWITCH}{OK}"))
            .own(502)
            .rfc("MUST NOT be sent unasked"),
    ]
}

fn clear_http2() -> Vec<Case> {
    vec![
        changed(
            "9110 7.8",
            "h2c",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            GET,
        )
        .rfc("MAY be ignored")
        .why("Requests inside it would go past the routes."),
        changed(
            "9110 7.8",
            "h2c behind another protocol",
            get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
            GET,
        )
        .rfc("MAY be ignored"),
    ]
}

fn methods() -> Vec<Case> {
    let with = |method: &str, fields: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    const CHECK: &str = "a gateway MUST count it down";
    vec![
        passed("9110 9.3.8", "TRACE", with("TRACE", "")).rfc("an origin answers it or not"),
        refused(400, "9110 9.3.8", "TRACE with a body", format!("{}abc", with("TRACE", "Content-Length: 3\r\n")))
            .rfc("a client MUST NOT send content"),
        refused(
            400,
            "9110 9.3.8",
            "TRACE with a chunked body",
            format!("{}0\r\n\r\n", with("TRACE", "Transfer-Encoding: chunked\r\n")),
        )
        .rfc("a client MUST NOT send content"),
        passed("9110 9.3.8", "TRACE with Content-Length 0", with("TRACE", "Content-Length: 0\r\n")).rfc("no content"),
        changed(
            "9110 7.6.2",
            "OPTIONS with Max-Forwards",
            with("OPTIONS", "Max-Forwards: 10\r\n"),
            with("OPTIONS", "Max-Forwards: 9\r\n"),
        )
        .rfc(CHECK),
        changed(
            "9110 7.6.2",
            "TRACE with Max-Forwards 1",
            with("TRACE", "Max-Forwards: 1\r\n"),
            with("TRACE", "Max-Forwards: 0\r\n"),
        )
        .rfc(CHECK),
        answered(200, "9110 7.6.2", "OPTIONS with Max-Forwards 0", with("OPTIONS", "Max-Forwards: 0\r\n"))
            .rfc("MUST NOT be forwarded; answered as the last recipient")
            .why("With the methods that the routes allow."),
        answered(
            200,
            "9110 7.6.2",
            "OPTIONS * with Max-Forwards 0",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        )
        .rfc("MUST NOT be forwarded; answered as the last recipient"),
        answered(405, "9110 7.6.2", "TRACE with Max-Forwards 0", with("TRACE", "Max-Forwards: 0\r\n"))
            .rfc("MUST NOT be forwarded; answered as the last recipient")
            .why("Not by sending the request back: it may hold what a script must not read."),
        refused(400, "9110 7.6.2", "OPTIONS with Max-Forwards of no number", with("OPTIONS", "Max-Forwards: many\r\n"))
            .rfc("one decimal number"),
        refused(
            400,
            "9110 7.6.2",
            "OPTIONS with two Max-Forwards",
            with("OPTIONS", "Max-Forwards: 1\r\nMax-Forwards: 2\r\n"),
        )
        .rfc("one decimal number"),
        passed("9110 7.6.2", "GET with Max-Forwards", get("Max-Forwards: 0\r\n"))
            .rfc("MAY be ignored with other methods"),
        passed("9110 9.3.2", "HEAD", with("HEAD", ""))
            .answered_by("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            .gets("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            .rfc("no content in the response"),
        passed("9110 9.3.7", "OPTIONS", with("OPTIONS", "")).rfc("valid"),
    ]
}
