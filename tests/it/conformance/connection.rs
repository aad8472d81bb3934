//! RFC 9112 section 9 and RFC 9110 section 7.6: persistence, pipelining, and what belongs to one connection.

use super::case::{Case, GET, OK, answered, changed, get, passed, post, refused};

pub fn cases() -> Vec<Case> {
    [persistence(), pipelining(), hop_by_hop(), forwarding(), misses()].concat()
}

const CLOSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const KEEP: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";

fn persistence() -> Vec<Case> {
    let ends = |name, sent: String| changed("9112 9.3", name, sent, get("")).gets_and_end(CLOSE);
    let old = |fields: &str| format!("GET / HTTP/1.0\r\nHost: a\r\n{fields}\r\n");
    vec![
        passed("9112 9.3", "HTTP/1.1 stays", GET).rfc("persists by default"),
        ends("Connection: close", get("Connection: close\r\n")).rfc("MUST close after the response"),
        ends("Connection: CLOSE", get("Connection: CLOSE\r\n")).rfc("options ignore letter case"),
        ends("close among other options", get("Connection: keep-alive, close\r\n")).rfc("close wins"),
        ends("close in the second field", get("Connection: keep-alive\r\nConnection: close\r\n")).rfc("close wins"),
        ends("close behind empty elements", get("Connection: ,, close,\r\n")).rfc("empty elements are ignored"),
        ends("HTTP/1.0 ends", old("")).rfc("does not persist by default"),
        changed("9112 9.3", "HTTP/1.0 with keep-alive stays", old("Connection: keep-alive\r\n"), get(""))
            .gets(KEEP)
            .rfc("MAY persist"),
        ends("HTTP/1.0 with Proxy-Connection ends", old("Proxy-Connection: keep-alive\r\n"))
            .rfc("no standard field; to be ignored"),
        ends("HTTP/1.0 with close and keep-alive ends", old("Connection: close, keep-alive\r\n")).rfc("close wins"),
        changed(
            "9112 9.6",
            "a request behind one that closes",
            format!("{}{}", get("Connection: close\r\n"), get("X: 2\r\n")),
            get(""),
        )
        .gets_and_any_end(CLOSE)
        .rfc("MUST NOT be sent, nor processed"),
    ]
}

fn pipelining() -> Vec<Case> {
    let three = format!("{}{}{}", get("X: 1\r\n"), post("Content-Length: 3\r\n", "abc"), get("X: 3\r\n"));
    vec![
        passed("9112 9.3.2", "three requests at once", &three).gets(OK.repeat(3)).rfc("answered in their order"),
        passed("9112 9.3.2", "fifty requests at once", get("").repeat(50))
            .gets(OK.repeat(50))
            .rfc("answered in their order"),
        changed("9112 9.3.2", "an empty line between requests", format!("{GET}\r\n{GET}"), GET.repeat(2))
            .gets(OK.repeat(2))
            .rfc("SHOULD be ignored"),
        changed("9112 9.3.2", "nonsense behind a request", format!("{GET}nonsense\r\n\r\n"), GET)
            .gets_and_end(format!("{OK}{}", super::connection::BAD))
            .rfc("the first is answered all the same"),
        changed("9112 9.3.2", "half a request behind a whole one", format!("{GET}GET / HT"), GET)
            .waits(OK)
            .rfc("the first is answered all the same"),
    ]
}

pub const BAD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\n\
                       Connection: close\r\n\r\nThe request is not valid HTTP.\n";

fn hop_by_hop() -> Vec<Case> {
    const REMOVE: &str = "MUST be removed";
    const NEEDED: &str = "MUST NOT name fields for all recipients";
    let gone = |name, fields: &str| changed("9110 7.6.1", name, get(fields), get("")).rfc(REMOVE);
    let kept = |name, fields: &str, left: &str| changed("9110 7.6.1", name, get(fields), get(left)).rfc(NEEDED);
    let options = |count: usize| get(&format!("Connection: {}\r\n", vec!["x"; count].join(",")));
    vec![
        gone("a field that Connection names", "Connection: X-Own\r\nX-Own: 1\r\n"),
        gone("a field named in another case", "Connection: x-OWN\r\nX-Own: 1\r\n"),
        gone("a named field before Connection", "X-Own: 1\r\nConnection: X-Own\r\n"),
        gone("several fields of a named name", "X-Own: 1\r\nConnection: X-Own\r\nX-Own: 2\r\n"),
        gone("names in two Connection fields", "Connection: A\r\nConnection: B\r\nA: 1\r\nB: 2\r\n"),
        gone("Keep-Alive", "Keep-Alive: timeout=5\r\n"),
        gone("Proxy-Connection", "Proxy-Connection: keep-alive\r\n"),
        gone("TE without trailers", "Connection: TE\r\nTE: gzip\r\n"),
        gone("HTTP2-Settings", "HTTP2-Settings: AAMAAABk\r\n"),
        gone("Upgrade that Connection does not name", "Upgrade: websocket\r\n"),
        changed("9110 10.1.4", "TE: trailers", get("Connection: TE\r\nTE: trailers, gzip;q=0.5\r\n"), get("TE: trailers\r\nConnection: TE\r\n"))
            .rfc("an intermediary speaks for itself")
            .why("Trailers are passed on, so it may say so."),
        kept("Connection names Host", "Connection: Host\r\n", ""),
        kept("Connection names Authorization", "Connection: Authorization\r\nAuthorization: Basic YTpi\r\n", "Authorization: Basic YTpi\r\n"),
        kept("Connection names Cookie", "Connection: Cookie\r\nCookie: a=b\r\n", "Cookie: a=b\r\n"),
        kept("Connection names Cache-Control", "Connection: Cache-Control\r\nCache-Control: no-store\r\n", "Cache-Control: no-store\r\n"),
        changed("9110 7.6.1", "Connection names what the gateway adds", get("Connection: X-Forwarded-For, Forwarded\r\n"), get(""))
            .rfc(NEEDED)
            .why("The gateway's own fields reach the origin all the same."),
        changed("9110 7.6.1", "as many options as the limit", options(32), get("")).rfc("no limit is given"),
        refused(400, "9110 7.6.1", "one option above the limit", options(33))
            .rfc("no limit is given")
            .why("Each costs a walk over the fields."),
        passed("9110 7.6.1", "a response to one connection", GET)
            .answered_by("HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n")
            .gets("HTTP/1.1 200 OK\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n")
            .rfc(REMOVE),
        passed("9110 7.6.1", "Connection of a response names Set-Cookie", GET)
            .answered_by("HTTP/1.1 200 OK\r\nConnection: Set-Cookie\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
            .gets("HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
            .rfc(NEEDED),
    ]
}

fn forwarding() -> Vec<Case> {
    let claim = |name, fields: &str| {
        changed("7239 8.1", name, get(fields), get(""))
            .rfc("cannot be trusted unless the client is")
            .why("Replaced by what the gateway saw itself.")
    };
    vec![
        claim("X-Forwarded-For of a stranger", "X-Forwarded-For: 10.0.0.1\r\n"),
        claim("X-Forwarded-Proto of a stranger", "X-Forwarded-Proto: https\r\n"),
        claim("X-Forwarded-Host of a stranger", "X-Forwarded-Host: evil\r\n"),
        claim("X-Forwarded-Port of a stranger", "X-Forwarded-Port: 443\r\n"),
        claim("Forwarded of a stranger", "Forwarded: for=10.0.0.1\r\n"),
        claim("X-Forwarded-For in two fields", "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\n"),
        passed("9110 7.6.3", "Via", get("Via: 1.0 outer\r\n"))
            .rfc("a gateway MUST add itself on the way in")
            .why("It does not: origins such as nginx stop compressing where they see one. What others said stays."),
    ]
}

fn misses() -> Vec<Case> {
    let none = |fields: &str, body: &str| format!("POST /none HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    vec![
        answered(
            503,
            "9112 9.3",
            "a small body behind an answer that came early",
            none("Content-Length: 5\r\n", "abcde"),
        )
        .rfc("read the rest, or close")
        .why("Up to 64 KiB are read, so that the connection goes on."),
        answered(
            503,
            "9112 9.3",
            "a small chunked body behind an answer that came early",
            none("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        )
        .rfc("read the rest, or close"),
        refused(
            503,
            "9112 9.3",
            "a malformed body behind an answer that came early",
            none("Transfer-Encoding: chunked\r\n", "3\r\nabcdef\r\n"),
        )
        .own_and_end(503)
        .rfc("close where the next request cannot be found"),
        refused(
            503,
            "9110 10.1.1",
            "an early answer to one who waits for 100",
            none("Expect: 100-continue\r\nContent-Length: 5\r\n", ""),
        )
        .rfc("says whether it closes or reads on")
        .why("The body may come or not: nobody could tell it from the next request."),
    ]
}
