//! RFC 9112 section 7: chunked requests, extensions and trailers.

use super::case::{Case, OK, changed, chunked, get, incomplete, passed, post, refused};

pub fn cases() -> Vec<Case> {
    [sizes(), endings(), extensions(), trailers()].concat()
}

const SIZE: &str = "a size is hexadecimal digits alone";
const CRLF: &str = "the line ends in CRLF";

/// One chunk with this size line, then the end.
fn with(size: &str) -> String {
    chunked(&format!("{size}\r\nabc\r\n0\r\n\r\n"))
}

fn plain() -> String {
    with("3")
}

fn sizes() -> Vec<Case> {
    const OVERFLOW: &str = "large sizes MUST be anticipated";
    vec![
        passed("9112 7.1", "one chunk", plain()).rfc("valid"),
        passed("9112 7.1", "several chunks", chunked("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")).rfc("valid"),
        changed(
            "9112 7.1",
            "a size in capitals",
            chunked("A\r\n0123456789\r\n0\r\n\r\n"),
            chunked("a\r\n0123456789\r\n0\r\n\r\n"),
        )
        .rfc("valid"),
        changed("9112 7.1", "leading zeros", with("0003"), plain()).rfc("valid"),
        changed("9112 7.1", "sixteen digits", with("0000000000000003"), plain()).rfc("valid"),
        refused(400, "9112 7.1", "seventeen digits, all but one zeros", with("00000000000000003"))
            .rfc("valid")
            .why("Sixteen are 64 bits; nobody writes more."),
        changed("9112 7.1", "an end of several zeros", chunked("3\r\nabc\r\n000\r\n\r\n"), plain())
            .rfc("valid: last-chunk is 1*\"0\""),
        refused(400, "9112 7.1", "a size of 65 bits", with("10000000000000003")).rfc(OVERFLOW),
        refused(400, "9112 7.1", "a size of 68 bits", with("F0000000000000003")).rfc(OVERFLOW),
        refused(
            413,
            "9112 7.1",
            "the largest size of 64 bits",
            chunked(&format!("ffffffffffffffff\r\n{}", "x".repeat(66000))),
        )
        .rfc(OVERFLOW)
        .why("The size is taken; the body ends at its limit."),
        refused(400, "9112 7.1", "a minus sign", with("-3")).rfc(SIZE),
        refused(400, "9112 7.1", "a plus sign", with("+3")).rfc(SIZE),
        refused(400, "9112 7.1", "0x", with("0x3")).rfc(SIZE),
        refused(400, "9112 7.1", "an underscore", with("0_3")).rfc(SIZE),
        refused(400, "9112 7.1", "a letter past F", with("3g")).rfc(SIZE),
        refused(400, "9112 7.1", "an empty size", with("")).rfc(SIZE),
        refused(400, "9112 7.1", "a space before the size", with(" 3")).rfc(SIZE),
        refused(400, "9112 7.1", "a tab before the size", with("\t3")).rfc(SIZE),
        refused(400, "9112 7.1", "a space behind the size", with("3 ")).rfc(SIZE),
        refused(400, "9112 7.1", "a comma", with("3,3")).rfc(SIZE),
        refused(400, "9112 7.1", "a NUL behind the size", with("3\0")).rfc(SIZE),
        refused(400, "9112 7.1", "a quoted size", with("\"3\"")).rfc(SIZE),
        refused(400, "9112 7.1", "digits of another script", with("\u{663}")).rfc(SIZE),
        refused(400, "9112 7.1", "no chunks at all", chunked("xyz")).rfc(SIZE),
    ]
}

fn endings() -> Vec<Case> {
    vec![
        refused(400, "9112 7.1", "a size that ends in a bare LF", chunked("3\nabc\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "a size that ends in a bare CR", chunked("3\rabc\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "a size that ends in two CR", chunked("3\r\r\nabc\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "data that ends in a bare LF", chunked("3\r\nabc\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "data that ends in a bare CR", chunked("3\r\nabc\r0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "data that ends in two other bytes", chunked("3\r\nabcXX0\r\n\r\n"))
            .rfc(CRLF)
            .why("CVE-2025-43859 and others skip them unseen."),
        refused(400, "9112 7.1", "data longer than its size", chunked("3\r\nabcdef\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "data without an end", chunked("3\r\nabc0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "a last chunk that ends in a bare LF", chunked("3\r\nabc\r\n0\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1", "an end of bare LF", chunked("3\r\nabc\r\n0\r\n\n")).rfc(CRLF),
        refused(400, "9112 7.1", "a last chunk with data", chunked("0\r\nabc\r\n\r\n"))
            .rfc("trailers are fields")
            .refused(400),
        incomplete("9112 8", "no last chunk", chunked("3\r\nabc\r\n")).rfc("an incomplete message"),
        incomplete("9112 8", "a last chunk without its empty line", chunked("3\r\nabc\r\n0\r\n"))
            .rfc("an incomplete message"),
        incomplete("9112 8", "half a chunk", chunked("5\r\nabc")).rfc("an incomplete message"),
        changed(
            "9112 7.1",
            "a request behind the last chunk",
            format!("{}{}", plain(), get("X: second\r\n")),
            format!("{}{}", plain(), get("X: second\r\n")),
        )
        .rfc("what follows the body is the next request")
        .gets([OK, OK].concat()),
        refused(400, "9112 7.1", "bytes behind the last chunk that are no request", format!("{}XYZ\r\n\r\n", plain()))
            .rfc("what follows the body is the next request")
            .at_origin(plain())
            .gets_and_end(format!("{OK}{BAD_REQUEST}")),
    ]
}

const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\n\
                           Connection: close\r\n\r\nThe request is not valid HTTP.\n";

fn extensions() -> Vec<Case> {
    const IGNORE: &str = "unknown extensions MUST be ignored";
    const QUOTE: &str = "a quoted string holds no line ending";
    vec![
        changed("9112 7.1.1", "an extension", with("3;a=b"), plain()).rfc(IGNORE).why("And not passed on."),
        changed("9112 7.1.1", "a quoted extension", with("3;a=\"b;c\""), plain()).rfc(IGNORE),
        changed("9112 7.1.1", "an extension without a value", with("3;a"), plain()).rfc(IGNORE),
        changed("9112 7.1.1", "a bare semicolon", with("3;"), plain()).rfc("no extension; MAY be ignored"),
        changed("9112 7.1.1", "whitespace within extensions", with("3; a = b"), plain()).rfc("MUST be removed"),
        refused(400, "9112 7.1.1", "whitespace before an extension", with("3 ;a"))
            .rfc("MUST be removed")
            .why("What ends a size is where readers differ most; nobody sends it."),
        refused(400, "9112 7.1.1", "a bare LF within an extension", chunked("3;a\nabc\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1.1", "a bare LF ends an empty extension", chunked("3;\nabc\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1.1", "a bare CR within an extension", chunked("3;a\rX\r\nabc\r\n0\r\n\r\n")).rfc(CRLF),
        refused(400, "9112 7.1.1", "CRLF within a quoted extension", chunked("3;a=\"\r\nabc\r\n0\r\n\r\n\""))
            .rfc(QUOTE)
            .refused(400)
            .at_origin(plain())
            .gets_and_end(format!("{OK}{BAD_REQUEST}"))
            .why("The line ends at CRLF, whatever the quotes say."),
        refused(400, "9112 7.1.1", "a NUL in an extension", with("3;a\0b")).rfc("no token"),
        refused(400, "9112 7.1.1", "a control byte in an extension", with("3;a=\x01")).rfc("no token"),
        refused(400, "9112 7.1.1", "an extension above the limit", with(&format!("3;{}", "x".repeat(5000))))
            .rfc("ought to be limited"),
        refused(
            400,
            "9112 7.1.1",
            "extensions above the limit, all together",
            chunked(&format!("1;{}\r\na\r\n", "x".repeat(100)).repeat(50)),
        )
        .rfc("ought to be limited"),
        changed("9112 7.1.1", "an extension of the last chunk", chunked("3\r\nabc\r\n0;a=b\r\n\r\n"), plain())
            .rfc(IGNORE),
    ]
}

fn trailers() -> Vec<Case> {
    let trailing = |fields: &str| chunked(&format!("3\r\nabc\r\n0\r\n{fields}\r\n"));
    const DROP: &str = "MUST NOT be sent in trailers, nor merged";
    let dropped = |name: &'static str, field: &str| changed("9110 6.5.1", name, trailing(field), plain()).rfc(DROP);
    vec![
        passed("9112 7.1.2", "a trailer", trailing("X-Sum: 1\r\n")).rfc("MAY be passed on"),
        changed("9112 7.1.2", "a trailer with odd whitespace", trailing("X-Sum:1 \r\n"), trailing("X-Sum: 1\r\n"))
            .rfc("valid"),
        dropped("Content-Length in the trailers", "Content-Length: 100\r\n"),
        dropped("Transfer-Encoding in the trailers", "Transfer-Encoding: chunked\r\n"),
        dropped("Host in the trailers", "Host: evil\r\n"),
        dropped("Connection in the trailers", "Connection: close\r\n"),
        dropped("Expect in the trailers", "Expect: 100-continue\r\n"),
        dropped("Upgrade in the trailers", "Upgrade: websocket\r\n"),
        dropped("Authorization in the trailers", "Authorization: Basic YTpi\r\n"),
        dropped("Cookie in the trailers", "Cookie: a=b\r\n"),
        dropped("Content-Type in the trailers", "Content-Type: text/html\r\n"),
        dropped("X-Forwarded-For in the trailers", "X-Forwarded-For: 10.0.0.1\r\n"),
        dropped("a condition in the trailers", "If-Match: \"a\"\r\n"),
        dropped("Max-Forwards in the trailers", "Max-Forwards: 1\r\n"),
        changed(
            "9110 6.5.1",
            "a good trailer beside a bad one",
            trailing("Host: evil\r\nX-Sum: 1\r\nTE: gzip\r\n"),
            trailing("X-Sum: 1\r\n"),
        )
        .rfc(DROP),
        refused(400, "9112 7.1.2", "a trailer that ends in a bare LF", trailing("X: a\n")).rfc(CRLF),
        refused(400, "9112 7.1.2", "a trailer without a colon", trailing("nonsense\r\n")).rfc("trailers are fields"),
        refused(400, "9112 7.1.2", "a folded trailer", trailing("X: a\r\n b\r\n"))
            .rfc("MUST be 400, or replaced by spaces"),
        refused(400, "9112 7.1.2", "a space before a trailer's colon", trailing("X : a\r\n")).rfc("MUST be 400"),
        refused(400, "9112 7.1.2", "a trailer with an empty name", trailing(": a\r\n")).rfc("a name is a token"),
        refused(400, "9112 7.1.2", "a NUL in a trailer", trailing("X: a\0\r\n")).rfc("MUST be refused or replaced"),
        refused(400, "9112 7.1.2", "a request for a trailer", trailing("GET /smuggled HTTP/1.1\r\nHost: a\r\n"))
            .rfc("trailers are fields"),
        refused(400, "9112 7.1.2", "trailers above the limit", trailing(&format!("X: {}\r\n", "y".repeat(9000))))
            .rfc("may be limited"),
        refused(400, "9112 7.1.2", "too many trailers", trailing(&"X: y\r\n".repeat(65))).rfc("may be limited"),
        changed(
            "9110 6.6.2",
            "Trailer names what follows",
            post("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
            post("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
        )
        .rfc("a hint; passed on"),
    ]
}
