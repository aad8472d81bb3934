//! RFC 9112 section 6: Content-Length and Transfer-Encoding of requests, alone, together and malformed.

use super::case::{Case, changed, chunked, get, incomplete, passed, post, refused};

pub fn cases() -> Vec<Case> {
    [both(), lengths(), codings(), coding_fields(), bodies()].concat()
}

const UNKNOWN: &str = "SHOULD be 501";
const LAST: &str = "MUST be 400: `chunked` is not the last coding";
const TWICE: &str = "`chunked` MUST NOT be applied twice";
const LENGTH: &str = "MUST be 400: one decimal number";

fn both() -> Vec<Case> {
    const BOTH: &str = "Transfer-Encoding overrides; MAY be refused as smuggling";
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        refused(400, "9112 6.3", "CL.TE", post("Content-Length: 45\r\nTransfer-Encoding: chunked\r\n", smuggled))
            .rfc(BOTH),
        refused(
            400,
            "9112 6.3",
            "TE.CL",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                "29\r\nGET /smuggled HTTP/1.1\r\n\r\n0\r\n\r\n",
            ),
        )
        .rfc(BOTH),
        refused(
            400,
            "9112 6.3",
            "both, with the length right",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        )
        .rfc(BOTH),
        refused(
            400,
            "9112 6.3",
            "both, with Content-Length 0",
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", smuggled),
        )
        .rfc(BOTH),
        refused(
            400,
            "9112 6.3",
            "both, far apart",
            post("Content-Length: 3\r\nA: b\r\nC: d\r\ntRANSFER-eNCODING: chunked\r\n", smuggled),
        )
        .rfc(BOTH),
        refused(
            400,
            "9112 6.3",
            "both, the coding unknown",
            post("Content-Length: 3\r\nTransfer-Encoding: xchunked\r\n", "abc"),
        )
        .rfc(BOTH),
        refused(
            400,
            "9112 6.3",
            "both, the coding `identity`",
            post("Content-Length: 3\r\nTransfer-Encoding: identity\r\n", "abc"),
        )
        .rfc(BOTH),
        refused(400, "9112 6.3", "both, the coding empty", post("Content-Length: 3\r\nTransfer-Encoding:\r\n", "abc"))
            .rfc(BOTH),
        refused(400, "9112 6.3", "both of GET", get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")).rfc(BOTH),
        refused(
            400,
            "9112 6.1",
            "both of HTTP/1.0",
            "POST / HTTP/1.0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        )
        .rfc("MUST be treated as faulty framing"),
        refused(
            400,
            "9112 6.3",
            "both, one hidden by Connection",
            post("Connection: Content-Length\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", smuggled),
        )
        .rfc(BOTH),
    ]
}

fn lengths() -> Vec<Case> {
    let with = |value: &str| post(&format!("Content-Length: {value}\r\n"), "abc");
    const LIST: &str = "equal values MAY be merged, else MUST be 400";
    vec![
        refused(400, "9112 6.3", "two lengths that differ", post("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"))
            .rfc("MUST be 400"),
        refused(400, "9110 8.6", "two lengths that agree", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"))
            .rfc(LIST),
        refused(
            400,
            "9110 8.6",
            "two lengths, one with a leading zero",
            post("Content-Length: 3\r\nContent-Length: 03\r\n", "abc"),
        )
        .rfc(LIST),
        refused(400, "9110 8.6", "a list of equal lengths", with("3, 3")).rfc(LIST),
        refused(400, "9110 8.6", "a list of lengths", with("3, 4")).rfc(LIST),
        refused(400, "9110 8.6", "a list without spaces", with("3,3")).rfc(LIST),
        refused(400, "9110 8.6", "a comma behind the length", with("3,")).rfc(LENGTH),
        refused(400, "9110 8.6", "an empty length", with("")).rfc(LENGTH),
        refused(400, "9110 8.6", "a plus sign", with("+3")).rfc(LENGTH),
        refused(400, "9110 8.6", "a minus sign", with("-3")).rfc(LENGTH),
        refused(400, "9110 8.6", "minus nothing", with("-0")).rfc(LENGTH),
        refused(400, "9110 8.6", "hexadecimal", with("0x3")).rfc(LENGTH),
        refused(400, "9110 8.6", "octal by a letter", with("0o3")).rfc(LENGTH),
        refused(400, "9110 8.6", "an underscore between digits", with("1_0")).rfc(LENGTH),
        refused(400, "9110 8.6", "a fraction", with("3.0")).rfc(LENGTH),
        refused(400, "9110 8.6", "an exponent", with("3e0")).rfc(LENGTH),
        refused(400, "9110 8.6", "two numbers", with("3 4")).rfc(LENGTH),
        refused(400, "9110 8.6", "a unit", with("3B")).rfc(LENGTH),
        refused(400, "9110 8.6", "quotes", with("\"3\"")).rfc(LENGTH),
        refused(400, "9110 8.6", "a parameter", with("3;a=b")).rfc(LENGTH),
        refused(400, "9110 8.6", "digits of another script", with("\u{663}")).rfc(LENGTH),
        refused(400, "9110 8.6", "one more than 64 bits", with("18446744073709551616"))
            .rfc("integer overflow MUST be anticipated"),
        refused(400, "9110 8.6", "2 to the 64th and three", with("18446744073709551619"))
            .rfc("integer overflow MUST be anticipated"),
        refused(400, "9110 8.6", "a hundred digits", with(&"9".repeat(100)))
            .rfc("integer overflow MUST be anticipated"),
        refused(413, "9110 8.6", "the largest length of 64 bits", with("18446744073709551615"))
            .rfc("may be refused as too large"),
        refused(400, "9112 6.3", "a length behind a vertical tab", with("\x0b3")).rfc(LENGTH),
        passed("9110 8.6", "a plain length", with("3")).rfc("valid"),
        changed("9110 8.6", "a length with leading zeros", with("0003"), with("3"))
            .rfc("valid")
            .why("Written anew, for those who read it as octal."),
        changed("9112 5.1", "a length with blanks around it", with(" \t3 \t"), with("3")).rfc("valid"),
        incomplete("9112 6.3", "less body than the length says", post("Content-Length: 5\r\n", "abc"))
            .rfc("an incomplete message"),
    ]
}

fn codings() -> Vec<Case> {
    let with = |coding: &str| post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n");
    vec![
        changed("9112 6.1", "chunked in capitals", with("CHUNKED"), with("CHUNKED")).rfc("codings ignore letter case"),
        passed("9112 6.1", "chunked", with("chunked")).rfc("valid"),
        changed("9112 5.1", "chunked with blanks around it", with(" \tchunked \t"), with("chunked")).rfc("valid"),
        refused(501, "9112 6.1", "a coding before chunked", with("gzip, chunked")).rfc(UNKNOWN),
        refused(501, "9112 6.1", "xchunked", with("xchunked")).rfc(UNKNOWN),
        refused(501, "9112 6.1", "chunkedx", with("chunkedx")).rfc(UNKNOWN),
        refused(501, "9112 6.1", "chunk", with("chunk")).rfc(UNKNOWN),
        refused(501, "9112 6.1", "cow", with("cow")).rfc(UNKNOWN),
        refused(501, "9112 6.1", "identity", with("identity")).rfc("obsolete; SHOULD be 501"),
        refused(501, "9112 6.1", "identity, chunked", with("identity, chunked")).rfc("obsolete; SHOULD be 501"),
        refused(501, "9112 6.1", "chunked in quotes", with("\"chunked\"")).rfc(UNKNOWN),
        refused(501, "9112 7.1", "chunked with a parameter", with("chunked;a=b")).rfc("SHOULD be an error"),
        refused(501, "9112 6.1", "chunked twice in one field", with("chunked, chunked")).rfc(TWICE),
        refused(400, "9112 6.3", "chunked before another coding", with("chunked, gzip")).rfc(LAST),
        refused(400, "9112 6.3", "a comma behind chunked", with("chunked,"))
            .rfc("an empty element is to be ignored")
            .why("To some readers the last coding is an empty one."),
        refused(400, "9112 6.3", "a comma before chunked", with(",chunked"))
            .rfc("an empty element is to be ignored")
            .refused(501),
        refused(400, "9112 6.1", "an empty Transfer-Encoding", with("")).rfc(LAST),
        refused(400, "9110 5.5", "a vertical tab before chunked", with("\x0bchunked")).rfc("no field value"),
        refused(400, "9110 5.5", "a form feed behind chunked", with("chunked\x0c")).rfc("no field value"),
        refused(400, "9110 5.5", "a NUL behind chunked", with("chunked\0")).rfc("no field value"),
        refused(400, "9112 2.2", "chunked behind a bare CR", with("x\rchunked")).rfc("a bare CR MUST be invalid"),
        refused(400, "9112 2.2", "chunked behind a bare LF", with("\nchunked"))
            .rfc("MAY take a bare LF for a line ending"),
    ]
}

fn coding_fields() -> Vec<Case> {
    vec![
        changed(
            "9112 5.1",
            "no space before chunked",
            post("Transfer-Encoding:chunked\r\n", "0\r\n\r\n"),
            post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        )
        .rfc("valid"),
        refused(
            400,
            "9112 6.1",
            "chunked in two fields",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        )
        .rfc(TWICE),
        refused(
            400,
            "9112 6.1",
            "chunked and then identity",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        )
        .rfc(LAST),
        refused(
            400,
            "9112 6.1",
            "identity and then chunked",
            post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        )
        .rfc("well framed, in a coding that is obsolete"),
        refused(
            501,
            "9110 5.5",
            "a byte that is not ASCII behind chunked",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xff\r\n\r\n0\r\n\r\n",
        )
        .rfc(UNKNOWN),
        refused(
            400,
            "9112 6.1",
            "Transfer-Encoding of HTTP/1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .rfc("MUST be treated as faulty framing"),
        refused(
            400,
            "9112 6.1",
            "Transfer-Encoding of HTTP/1.0 that stays",
            "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .rfc("MUST be treated as faulty framing"),
        changed(
            "9112 6.1",
            "chunked named by Connection",
            post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
            chunked("3\r\nabc\r\n0\r\n\r\n"),
        )
        .rfc("Connection MUST NOT name what all recipients need"),
        changed(
            "9112 6.2",
            "Content-Length named by Connection",
            post("Connection: Content-Length\r\nContent-Length: 3\r\n", "abc"),
            post("Content-Length: 3\r\n", "abc"),
        )
        .rfc("Connection MUST NOT name what all recipients need"),
    ]
}

fn bodies() -> Vec<Case> {
    let two = |first: &str| format!("{first}{}", get("X: second\r\n"));
    const NEXT: &str = "what follows the body is the next request";
    let both = [super::case::OK, super::case::OK].concat();
    vec![
        passed(
            "9110 8.4",
            "Content-Encoding: chunked",
            post("Content-Encoding: chunked\r\nContent-Length: 3\r\n", "abc"),
        )
        .rfc("another field: it frames nothing"),
        passed("9112 6.3", "POST without framing has no body", two(&post("", ""))).rfc(NEXT).gets(&both),
        passed("9112 6.3", "GET with a body", two(&get("Content-Length: 3\r\n").replace("\r\n\r\n", "\r\n\r\nabc")))
            .rfc("no meaning, and framed all the same")
            .gets(&both)
            .why("CL.0 and 0.CL live where one side leaves it unread."),
        passed("9112 6.3", "a request for a body", two(&post("Content-Length: 37\r\n", "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n")[..].replace("37", "38")))
            .rfc("a body is opaque")
            .gets(&both),
        passed("9112 6.3", "HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            .rfc("no meaning, and framed all the same")
            .answered_by("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            .gets("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        passed("9112 6.3", "DELETE with a chunked body", "DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .rfc("no meaning, and framed all the same"),
        passed("9112 6.3", "OPTIONS with a body", "OPTIONS / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").rfc("valid"),
        passed("9112 6.3", "Content-Length 0", two(&post("Content-Length: 0\r\n", ""))).rfc("valid").gets(&both),
        refused(413, "9110 15.5.14", "a body above the limit, by its length", post("Content-Length: 65537\r\n", ""))
            .rfc("413, and the connection may be closed"),
        refused(413, "9110 15.5.14", "a body above the limit, with Expect", post("Expect: 100-continue\r\nContent-Length: 65537\r\n", ""))
            .rfc("413 in place of 100; the connection may be closed"),
        refused(413, "9110 15.5.14", "a body above the limit, by its chunks", chunked(&format!("10001\r\n{}\r\n0\r\n\r\n", "x".repeat(65537))))
            .rfc("413, and the connection may be closed"),
        passed("9110 15.5.14", "a body of exactly the limit", post("Content-Length: 65536\r\n", &"x".repeat(65536))).rfc("valid"),
    ]
}
