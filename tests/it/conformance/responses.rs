//! RFC 9112 sections 4, 6 and 7 and RFC 9110 section 15 as endpoints break them: an endpoint is trusted no more than a
//! client, because one client's bytes must not get into another client's answer.

use super::case::{Case, GET, OK, bad_response, get, passed, post, response};

pub fn cases() -> Vec<Case> {
    [status_line(), fields(), framing(), behind_the_body(), chunks(), bodiless(), interim(), ends()].concat()
}

const BAD: &str = "a gateway answers 502";

const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 43\r\n\r\n\
                           The endpoint's response is not valid HTTP.\n";

/// A whole response with this status line.
fn line(line: &str) -> String {
    format!("{line}\r\nContent-Length: 2\r\n\r\nok")
}

/// A response of 200 with these fields.
fn with(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

fn status_line() -> Vec<Case> {
    vec![
        response("9112 4", "a reason of its own", line("HTTP/1.1 200 All is well")).rfc("valid"),
        response("9112 4", "an empty reason", line("HTTP/1.1 200 ")).rfc("valid"),
        response("9112 4", "a reason that is not ASCII", line("HTTP/1.1 200 caf\u{e9}")).rfc("valid (obs-text)"),
        passed("9112 4", "no space behind the status", GET)
            .answered_by(line("HTTP/1.1 200"))
            .gets(line("HTTP/1.1 200 OK"))
            .rfc("invalid; many servers do it"),
        passed("9110 2.5", "HTTP/1.0 of the origin", GET)
            .answered_by(line("HTTP/1.0 200 OK"))
            .gets(line("HTTP/1.1 200 OK"))
            .rfc("each side speaks its own version"),
        response("9110 15", "a status that nobody registered", line("HTTP/1.1 299 Odd")).rfc("treated as its class"),
        response("9110 15", "a status above 599", line("HTTP/1.1 799 Odd")).rfc("invalid; SHOULD be treated as 5xx"),
        bad_response("9112 4", "a status of two digits", line("HTTP/1.1 20 OK")).rfc(BAD),
        bad_response("9112 4", "a status of four digits", line("HTTP/1.1 2000 OK")).rfc(BAD),
        bad_response("9112 4", "a status below 100", line("HTTP/1.1 099 OK")).rfc(BAD),
        bad_response("9112 4", "a status with a sign", line("HTTP/1.1 +20 OK")).rfc(BAD),
        bad_response("9112 4", "two spaces before the status", line("HTTP/1.1  200 OK")).rfc(BAD),
        bad_response("9112 4", "HTTP/2.0", line("HTTP/2.0 200 OK")).rfc(BAD),
        bad_response("9112 4", "HTTP/1.2", line("HTTP/1.2 200 OK")).rfc(BAD),
        bad_response("9112 4", "http in lower case", line("http/1.1 200 OK")).rfc(BAD),
        bad_response("9112 4", "another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n").rfc(BAD),
        bad_response("9112 4", "HTTP/0.9: a body without a head", "<html>hello</html>").closing().rfc(BAD),
        bad_response("9112 4", "an empty line before the status line", format!("\r\n{OK}"))
            .rfc(BAD)
            .why("What stands there belongs to the response before."),
        bad_response("9112 4", "a bare LF behind the status line", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok")
            .rfc("MAY be taken for a line ending"),
        bad_response("9112 4", "a NUL in the reason", line("HTTP/1.1 200 O\0K")).rfc(BAD),
        bad_response("9112 4", "a bare CR in the reason", line("HTTP/1.1 200 O\rK")).rfc(BAD),
    ]
}

fn fields() -> Vec<Case> {
    let bad = |name, fields: &str| bad_response("9112 5", name, with(fields, "ok"));
    vec![
        bad("a folded value", "X: a\r\n b\r\nContent-Length: 2\r\n").rfc("MUST be replaced by spaces, or 502"),
        bad("a space before the colon", "Content-Length : 2\r\n")
            .rfc("a proxy MUST remove it")
            .why("The response is refused: who writes this may frame as badly."),
        bad("an empty name", ": a\r\nContent-Length: 2\r\n").rfc(BAD),
        bad("a NUL in a value", "X: a\0\r\nContent-Length: 2\r\n").rfc("MUST be refused or replaced"),
        bad("a bare CR in a value", "X: a\rSet-Cookie: b=c\r\nContent-Length: 2\r\n")
            .rfc("MUST be refused or replaced"),
        bad("a bare LF between fields", "X: a\nSet-Cookie: b=c\r\nContent-Length: 2\r\n")
            .rfc("MAY be taken for a line ending"),
        bad("a control byte in a value", "X: \x01\r\nContent-Length: 2\r\n").rfc("invalid"),
        bad("a line without a colon", "nonsense\r\nContent-Length: 2\r\n").rfc(BAD),
        bad_response(
            "9112 5",
            "a head above the limit",
            with(&format!("X: {}\r\nContent-Length: 2\r\n", "y".repeat(70_000)), "ok"),
        )
        .rfc("a gateway answers 502"),
        bad_response(
            "9112 5",
            "more fields than the limit",
            with(&format!("{}Content-Length: 2\r\n", "X: y\r\n".repeat(256)), "ok"),
        )
        .rfc("a gateway answers 502"),
        response(
            "9110 5.5",
            "bytes that are not ASCII",
            b"HTTP/1.1 200 OK\r\nX: \xe9\xff\r\nContent-Length: 2\r\n\r\nok",
        )
        .rfc("valid (obs-text)"),
        response(
            "9110 5.3",
            "several Set-Cookie",
            with("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n", "ok"),
        )
        .rfc("MUST NOT be combined"),
        passed("9112 5.1", "odd whitespace", GET)
            .answered_by(with("X:b \t\r\nContent-Length:2\r\n", "ok"))
            .gets(with("X: b\r\nContent-Length: 2\r\n", "ok"))
            .rfc("valid"),
    ]
}

fn framing() -> Vec<Case> {
    let bad = |name, fields: &str| bad_response("9112 6.3", name, with(fields, "0\r\n\r\n"));
    const BOTH: &str = "MUST remove Content-Length, and close; MAY be an error";
    const LENGTH: &str = "MUST be 502";
    vec![
        bad("Content-Length and Transfer-Encoding", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").rfc(BOTH),
        bad("Transfer-Encoding and Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n").rfc(BOTH),
        bad("two lengths that differ", "Content-Length: 5\r\nContent-Length: 2\r\n").rfc(LENGTH),
        bad("two lengths that agree", "Content-Length: 5\r\nContent-Length: 5\r\n")
            .rfc("MAY be merged, else MUST be 502"),
        bad("a list of lengths", "Content-Length: 5, 5\r\n").rfc("MAY be merged, else MUST be 502"),
        bad("a length with a sign", "Content-Length: +5\r\n").rfc(LENGTH),
        bad("a length of no number", "Content-Length: five\r\n").rfc(LENGTH),
        bad("an empty length", "Content-Length:\r\n").rfc(LENGTH),
        bad("a length above 64 bits", "Content-Length: 18446744073709551616\r\n").rfc(LENGTH),
        bad("an unknown coding", "Transfer-Encoding: xchunked\r\n").rfc("until the close, to one who knows the coding"),
        bad("a coding before chunked", "Transfer-Encoding: gzip, chunked\r\n")
            .rfc("MUST NOT be sent to one who did not ask"),
        bad("chunked before another coding", "Transfer-Encoding: chunked, identity\r\n").rfc("until the close"),
        bad("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")
            .rfc("MUST NOT be applied twice"),
        bad("Content_Length", "Content_Length: 5\r\n").rfc("valid, with no meaning"),
        bad_response(
            "9112 6.1",
            "chunked of HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .rfc("MUST be treated as faulty framing"),
        passed("9110 8.6", "leading zeros", GET)
            .answered_by(with("Content-Length: 002\r\n", "ok"))
            .gets(with("Content-Length: 2\r\n", "ok"))
            .rfc("valid"),
        passed("9112 6.3", "until the close", GET)
            .answered_by(with("", "until the end"))
            .closing()
            .gets(with("Transfer-Encoding: chunked\r\n", "d\r\nuntil the end\r\n0\r\n\r\n"))
            .rfc("valid")
            .why("Framed in chunks, so that the client keeps its connection and sees whether all came."),
        passed(
            "9112 6.3",
            "until the close, to HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        )
        .at_origin(GET)
        .answered_by(with("", "until the end"))
        .closing()
        .gets_and_end(with("Connection: close\r\n", "until the end"))
        .rfc("valid"),
        passed("9112 7.1", "chunked, to HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .at_origin(GET)
            .answered_by(with("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"))
            .gets_and_end(with("Connection: close\r\n", "ok"))
            .rfc("MUST be decoded"),
        response(
            "9112 6.3",
            "a response for a body",
            with("Content-Length: 38\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        )
        .rfc("a body is opaque"),
    ]
}

fn behind_the_body() -> Vec<Case> {
    vec![
        passed("9112 6.3", "bytes behind the body", GET)
            .answered_by(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
            .gets(OK)
            .rfc("MUST NOT be taken for the next response")
            .why("The connection to the endpoint is closed: the next client gets its own answer."),
        passed("9112 6.3", "the next response at once", get("").repeat(2))
            .answered_by(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
            .at_once()
            .gets(OK.repeat(2))
            .rfc("MUST NOT be taken for the next response"),
    ]
}

fn chunks() -> Vec<Case> {
    let head = with("Transfer-Encoding: chunked\r\n", "");
    let cut = |name, body: &str| {
        let sent = passed("9112 7.1", name, GET).answered_by(format!("{head}2\r\nok\r\n{body}"));
        sent.gets_broken(format!("{head}2\r\nok\r\n"))
            .rfc("an incomplete message")
            .why("Cut off: the client must see that it is not whole.")
    };
    let changed = |name, body: &str, gets: &str| {
        passed("9112 7.1", name, GET).answered_by(format!("{head}{body}")).gets(format!("{head}{gets}"))
    };
    vec![
        changed("chunks", "2\r\nok\r\n0\r\n\r\n", "2\r\nok\r\n0\r\n\r\n").rfc("valid"),
        changed("extensions", "2;a=b\r\nok\r\n0;c\r\n\r\n", "2\r\nok\r\n0\r\n\r\n")
            .rfc("MUST be ignored where unknown"),
        changed("trailers", "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
            .rfc("MAY be passed on"),
        changed(
            "trailers that frame",
            "2\r\nok\r\n0\r\nContent-Length: 1\r\nSet-Cookie: a=b\r\nX-Sum: 1\r\n\r\n",
            "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
        .rfc("MUST NOT be sent in trailers, nor merged"),
        cut("a size that is no number", "zz\r\n"),
        cut("data longer than its size", "2\r\nevil\r\n0\r\n\r\n").gets_broken(format!("{head}2\r\nok\r\n2\r\nev\r\n")),
        cut("a bare LF behind a size", "2\nok\r\n0\r\n\r\n"),
        cut("a size of 65 bits", "10000000000000002\r\nok\r\n0\r\n\r\n"),
        cut("a malformed trailer", "0\r\nX : 1\r\n\r\n"),
        cut("no last chunk", "").closing(),
        cut("half a chunk size", "2").closing(),
    ]
}

fn bodiless() -> Vec<Case> {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let of = |status: &str, fields: &str| format!("HTTP/1.1 {status}\r\n{fields}\r\n");
    let no_body = |name, status: &str, fields: &str, gets: &str| {
        passed("9110 15.3.5", name, GET).answered_by(of(status, fields)).gets(of(status, gets))
    };
    vec![
        no_body("204", "204 No Content", "", "").rfc("no content"),
        no_body("204 with Content-Length 0", "204 No Content", "Content-Length: 0\r\n", "").rfc("MUST NOT have one"),
        passed("9110 15.3.5", "204 with a body", GET)
            .answered_by("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil")
            .gets("HTTP/1.1 204 No Content\r\n\r\n")
            .rfc("ends with its head")
            .why("The connection to the endpoint is closed, so that its bytes reach nobody."),
        passed("9110 15.3.5", "204 with chunks", GET)
            .answered_by("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n")
            .gets("HTTP/1.1 204 No Content\r\n\r\n")
            .rfc("ends with its head"),
        no_body(
            "304 with the length of what is not sent",
            "304 Not Modified",
            "ETag: \"a\"\r\nContent-Length: 9\r\n",
            "ETag: \"a\"\r\nContent-Length: 9\r\n",
        )
        .rfc("describes what 200 would have"),
        passed("9110 15.4.5", "304 with a body", GET)
            .answered_by("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil")
            .gets("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n")
            .rfc("ends with its head"),
        response("9110 15.3.6", "205 with an empty body", of("205 Reset Content", "Content-Length: 0\r\n"))
            .rfc("no content"),
        passed("9110 9.3.2", "a body for HEAD", head)
            .answered_by(OK)
            .gets("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            .rfc("ends with its head"),
        passed("9110 9.3.2", "chunks for HEAD", head)
            .answered_by("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .gets("HTTP/1.1 200 OK\r\n\r\n")
            .rfc("ends with its head"),
        passed("9110 9.3.2", "no framing for HEAD", head)
            .answered_by("HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
            .gets("HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
            .rfc("ends with its head"),
    ]
}

fn interim() -> Vec<Case> {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    vec![
        response("9110 15.2", "103", format!("{HINTS}{OK}")).rfc("MUST be passed on"),
        response("9110 15.2", "several 1xx", format!("{HINTS}HTTP/1.1 102 Processing\r\n\r\n{HINTS}{OK}"))
            .rfc("MUST be passed on"),
        response("9110 15.2", "a 1xx that nobody registered", format!("HTTP/1.1 199 Odd\r\n\r\n{OK}"))
            .rfc("MUST be passed on"),
        passed("9110 15.2", "1xx, to HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            .at_origin(GET)
            .answered_by(format!("{HINTS}{OK}"))
            .gets_and_end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .rfc("MUST NOT be sent"),
        response("9110 10.1.1", "100 that nobody waits for", format!("{CONTINUE}{OK}"))
            .rfc("MUST be passed on, or dropped"),
        passed("9112 6.1", "1xx with Content-Length", GET)
            .answered_by(format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\n{OK}"))
            .gets(format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}"))
            .rfc("MUST NOT have one"),
        response("9110 15.2", "as many 1xx as the limit", format!("{}{OK}", CONTINUE.repeat(32)))
            .rfc("no limit is given"),
        passed("9110 15.2", "more 1xx than the limit", GET)
            .answered_by(format!("{}{OK}", CONTINUE.repeat(33)))
            .gets(format!("{}{BAD_GATEWAY}", CONTINUE.repeat(32)))
            .rfc("no limit is given")
            .why("An endpoint that floods is stopped."),
        bad_response("9110 15.2", "1xx and then nothing HTTP", "nonsense\r\n\r\n").rfc(BAD),
    ]
}

fn ends() -> Vec<Case> {
    const INCOMPLETE: &str = "an incomplete message";
    let head = with("Content-Length: 5\r\n", "");
    let early = |answer: &str| passed("9112 9.3", "", post("Content-Length: 3\r\n", "")).early().answered_by(answer);
    vec![
        passed("9112 8", "the close before the length", GET)
            .answered_by(format!("{head}abc"))
            .closing()
            .gets_broken(format!("{head}abc"))
            .rfc(INCOMPLETE)
            .why("Cut off: the client must see that it is not whole."),
        bad_response("9112 8", "the close within the head", "HTTP/1.1 200 OK\r\nContent-Le").closing().rfc(INCOMPLETE),
        bad_response("9112 8", "the close within the status line", "HTTP/1.1 2").closing().rfc(INCOMPLETE),
        passed("9112 9.6", "Connection: close of the origin", GET)
            .answered_by(with("Connection: close\r\nContent-Length: 2\r\n", "ok"))
            .closing()
            .gets(OK)
            .rfc("concerns that connection alone"),
        passed("9112 9.6", "Connection: close, and no close", GET)
            .answered_by(with("Connection: close\r\nContent-Length: 2\r\n", "ok"))
            .gets(OK)
            .rfc("MUST NOT be used again")
            .why("The gateway closes it itself."),
        passed("9112 9.3", "a close that was not announced", GET)
            .answered_by(OK)
            .closing()
            .gets(OK)
            .rfc("may happen at any time"),
        passed("9112 9.3", "HTTP/1.0 that does not say keep-alive", GET)
            .answered_by("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .gets(OK)
            .rfc("MUST NOT be used again"),
        passed("9112 9.3", "HTTP/1.0 that says keep-alive", GET)
            .answered_by("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
            .gets(OK)
            .rfc("may be used again"),
        Case { name: "an answer before the body was sent", ..early("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno") }
            .gets_and_end("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .rfc("the client SHOULD stop sending")
            .why("Passed on at once; neither connection is used again."),
        Case {
            name: "an answer before the body was sent, and a close",
            ..early("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").closing()
        }
        .gets_and_end("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .rfc("the client SHOULD stop sending"),
    ]
}
