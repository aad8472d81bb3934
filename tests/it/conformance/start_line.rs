//! RFC 9112 sections 2 and 3: the lines of a message, the request line and its target.

use super::case::{Case, OK, changed, get, incomplete, passed, refused};

pub fn cases() -> Vec<Case> {
    [lines(), request_line(), versions(), targets(), paths(), absolute_targets(), authorities()].concat()
}

/// A request of this line, with a Host.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

fn lines() -> Vec<Case> {
    const LF: &str = "MAY take a bare LF for a line ending";
    vec![
        refused(400, "9112 2.2", "every line ends in a bare LF", "GET / HTTP/1.1\nHost: a\n\n").rfc(LF),
        refused(400, "9112 2.2", "the request line ends in a bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n").rfc(LF),
        refused(400, "9112 2.2", "a field line ends in a bare LF", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n").rfc(LF),
        refused(400, "9112 2.2", "a field smuggled behind a bare LF", get("X: a\nContent-Length: 5\r\n")).rfc(LF),
        refused(400, "9112 2.2", "the empty line is a bare LF", "GET / HTTP/1.1\r\nHost: a\r\n\n").rfc(LF),
        refused(400, "9112 2.2", "LF CR in place of CR LF", "GET / HTTP/1.1\n\rHost: a\n\r\n\r").rfc("no line ending"),
        refused(400, "9112 2.2", "a bare CR ends the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n")
            .rfc("a bare CR MUST be invalid or replaced by a space"),
        refused(400, "9112 2.2", "a bare CR ends a field line", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n")
            .rfc("a bare CR MUST be invalid or replaced by a space"),
        refused(400, "9112 2.2", "a bare CR within a field value", get("X: a\rb\r\n"))
            .rfc("a bare CR MUST be invalid or replaced by a space"),
        refused(400, "9112 2.2", "a framing field behind a bare CR", get("X: a\rTransfer-Encoding: chunked\r\n"))
            .rfc("a bare CR MUST be invalid or replaced by a space"),
        refused(400, "9112 2.2", "two CR before the LF", "GET / HTTP/1.1\r\r\nHost: a\r\r\n\r\r\n")
            .rfc("MAY ignore a CR before a LF"),
        changed("9112 2.2", "an empty line before the request line", format!("\r\n{}", get("")), get(""))
            .rfc("SHOULD ignore at least one"),
        changed(
            "9112 2.2",
            "four empty lines before the request line",
            format!("{}{}", "\r\n".repeat(4), get("")),
            get(""),
        )
        .rfc("SHOULD ignore at least one"),
        refused(
            400,
            "9112 2.2",
            "five empty lines before the request line",
            format!("{}{}", "\r\n".repeat(5), get("")),
        )
        .rfc("need not ignore more than one"),
        refused(400, "9112 2.2", "a bare LF before the request line", format!("\n{}", get(""))).rfc(LF),
        refused(400, "9112 2.2", "a space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n")
            .rfc("MUST be refused, or the line consumed without processing"),
        refused(400, "9112 2.2", "a tab before the first field", "GET / HTTP/1.1\r\n\tX: b\r\nHost: a\r\n\r\n")
            .rfc("MUST be refused, or the line consumed without processing"),
        incomplete("9112 8", "a head that never ends", "GET / HTTP/1.1\r\nHost: a\r\n").rfc("an incomplete message"),
        incomplete("9112 8", "half a request line", "GET / HT").rfc("an incomplete message"),
    ]
}

fn request_line() -> Vec<Case> {
    const SPLIT: &str = "SHOULD be 400; MAY be split at any whitespace";
    vec![
        refused(400, "9112 3", "two spaces after the method", line("GET  / HTTP/1.1")).rfc(SPLIT),
        refused(400, "9112 3", "two spaces before the version", line("GET /  HTTP/1.1")).rfc(SPLIT),
        refused(400, "9112 3", "a tab after the method", line("GET\t/ HTTP/1.1")).rfc(SPLIT),
        refused(400, "9112 3", "a tab before the version", line("GET /\tHTTP/1.1")).rfc(SPLIT),
        refused(400, "9112 3", "a form feed for a space", line("GET\x0c/ HTTP/1.1")).rfc(SPLIT),
        refused(400, "9112 3", "a space after the version", line("GET / HTTP/1.1 ")).rfc(SPLIT),
        refused(400, "9112 3", "a space before the method", line(" GET / HTTP/1.1")).rfc(SPLIT),
        refused(400, "9112 3", "a word after the version", line("GET / HTTP/1.1 x")).rfc("SHOULD be 400"),
        refused(400, "9112 3.2", "a space in the target", line("GET /a b HTTP/1.1")).rfc("SHOULD be 400"),
        refused(400, "9112 3.2", "a second version within the target", line("GET / HTTP/1.1 HTTP/1.1"))
            .rfc("SHOULD be 400"),
        refused(400, "9112 3.1", "no method", line("/ HTTP/1.1")).rfc("a method is a token"),
        refused(400, "9112 3.1", "an empty method", line(" / HTTP/1.1")).rfc("a method is a token"),
        refused(400, "9112 3.1", "a method with a colon", line("GET: / HTTP/1.1")).rfc("a method is a token"),
        refused(400, "9112 3.1", "a method with a NUL", line("GE\0T / HTTP/1.1")).rfc("a method is a token"),
        refused(400, "9112 3.1", "a method that is not ASCII", line("G\u{c9}T / HTTP/1.1")).rfc("a method is a token"),
        refused(400, "9112 3.1", "no target", line("GET HTTP/1.1")).rfc("SHOULD be 400"),
        passed("9112 3.1", "a method in lower case", line("get / HTTP/1.1"))
            .rfc("methods are case-sensitive")
            .why("Another method than GET; the origin knows what it means."),
        passed("9110 9.1", "a method that nobody registered", line("MKCALENDAR / HTTP/1.1"))
            .rfc("an origin that does not know it SHOULD answer 501"),
        refused(400, "9112 3", "no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            .rfc("SHOULD be 400")
            .why("A TLS ClientHello sent to a plain listener."),
    ]
}

fn versions() -> Vec<Case> {
    const OTHER: &str = "MAY be 505 where the major version is another";
    const GRAMMAR: &str = "the version is `HTTP/` digit `.` digit";
    vec![
        refused(400, "9112 2.3", "HTTP/0.9, which has no version", "GET /\r\n\r\n").rfc("obsolete"),
        refused(505, "9112 2.3", "HTTP/0.9, spelled out", line("GET / HTTP/0.9")).rfc(OTHER),
        refused(505, "9112 2.3", "HTTP/2.0", line("GET / HTTP/2.0")).rfc(OTHER),
        refused(505, "9112 2.3", "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").rfc(OTHER),
        refused(505, "9112 2.3", "HTTP/3.0", line("GET / HTTP/3.0")).rfc(OTHER),
        refused(505, "9110 2.5", "HTTP/1.2", line("GET / HTTP/1.2"))
            .rfc("SHOULD be read as the highest minor version known")
            .why("There is no such version: who sends it is no client."),
        refused(400, "9112 2.3", "http in lower case", line("GET / http/1.1")).rfc("the name is case-sensitive"),
        refused(400, "9112 2.3", "HTTP/1.10", line("GET / HTTP/1.10")).rfc(GRAMMAR),
        refused(400, "9112 2.3", "HTTP/1.01", line("GET / HTTP/1.01")).rfc(GRAMMAR),
        refused(400, "9112 2.3", "HTTP/+1.1", line("GET / HTTP/+1.1")).rfc(GRAMMAR),
        refused(400, "9112 2.3", "HTTP 1.1", line("GET / HTTP 1.1")).rfc(GRAMMAR),
        refused(505, "9112 2.3", "HTTP/1", line("GET / HTTP/1")).rfc(GRAMMAR).refused(400),
        refused(400, "9112 2.3", "another protocol", line("GET / ICY/1.1")).rfc(GRAMMAR),
        changed("9110 2.5", "HTTP/1.0 becomes HTTP/1.1", line("GET / HTTP/1.0"), get(""))
            .rfc("an intermediary sends its own version")
            .gets_and_end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    ]
}

fn targets() -> Vec<Case> {
    vec![
        passed("9112 3.2.1", "origin form with a query", line("GET /a/b?c=d&e=/../?f HTTP/1.1"))
            .rfc("a query is opaque")
            .why("Never changed, never part of what is matched."),
        refused(400, "9112 3.2.1", "a path without a slash", line("GET a HTTP/1.1")).rfc("no form of a target"),
        refused(400, "9112 3.2", "a fragment", line("GET /a#b HTTP/1.1")).rfc("no part of a target"),
        refused(400, "9112 3.2", "a fragment in the query", line("GET /a?b#c HTTP/1.1")).rfc("no part of a target"),
        refused(400, "9112 3.2", "a NUL in the target", line("GET /a\0b HTTP/1.1")).rfc("no URI"),
        refused(400, "9112 3.2", "a control byte in the target", line("GET /a\x01b HTTP/1.1")).rfc("no URI"),
        refused(400, "9112 3.2", "DEL in the target", line("GET /a\x7fb HTTP/1.1")).rfc("no URI"),
        passed("9112 3.2", "UTF-8 in the target", line("GET /caf\u{e9} HTTP/1.1"))
            .rfc("no URI: percent-encoding was due")
            .why("Many clients send it and every origin takes it."),
        passed("9112 3.2", "a target of exactly the limit", line(&format!("GET /{} HTTP/1.1", "x".repeat(2047))))
            .rfc("8,000 bytes are RECOMMENDED")
            .gets(OK),
        refused(
            414,
            "9112 3",
            "a target one byte above the limit",
            line(&format!("GET /{} HTTP/1.1", "x".repeat(2048))),
        )
        .rfc("MUST be 414 where it is longer than is parsed"),
        refused(414, "9112 3", "a request line that never ends", format!("GET /{}", "x".repeat(9000)))
            .rfc("MUST be 414 where it is longer than is parsed"),
        refused(400, "9112 3", "a method that never ends", "x".repeat(9000)).rfc("SHOULD be 501").refused(431),
    ]
}

fn paths() -> Vec<Case> {
    const SAME: &str = "equivalent URIs; MAY be normalised (RFC 3986 section 6.2.2)";
    const NONE: &str = "no equivalent of another URI";
    let get = |path: &str| line(&format!("GET {path} HTTP/1.1"));
    let form = |name, path: &str, form: &str| changed("9110 4.2.3", name, get(path), get(form)).rfc(SAME);
    let bad = |name, path: &str| refused(400, "9110 4.2.3", name, get(path));
    vec![
        form("dot segments", "/a/./b/../c?d=/../e", "/a/c?d=/../e"),
        form("encoded dot segments", "/a/%2e%2E/b", "/b"),
        form("encoded letters", "/%61%62%7e", "/ab~"),
        form("hexadecimal digits in lower case", "/%c3%a9", "/%C3%A9"),
        changed("9110 4.2.3", "several slashes", get("//a///b//"), get("/a/b/"))
            .rfc(NONE)
            .why("To many origins they are one; `path_normalize` has other choices."),
        changed(
            "9110 4.2.3",
            "dot segments in absolute form",
            get("http://b/x/../y?z"),
            "GET /y?z HTTP/1.1\r\nHost: b\r\n\r\n",
        )
        .rfc(SAME),
        passed("9110 4.2.3", "an encoded slash", get("/a%2Fb")).rfc(NONE),
        passed("9110 4.2.3", "a percent sign encoded twice", get("/%252e%252e/a")).rfc(NONE),
        passed("9110 4.2.3", "path parameters", get("/a;b=c/d;e")).rfc(NONE),
        bad("`..` above the root", "/../a")
            .rfc("RFC 3986 section 5.2.4 drops it")
            .why("No client sends it that means well."),
        bad("encoded `..` above the root", "/%2e%2e/a").rfc("RFC 3986 section 5.2.4 drops it"),
        bad("a dot segment behind an encoded slash", "/a%2f..%2fb")
            .rfc(NONE)
            .why("To an origin that decodes it is `/b`."),
        bad("a dot segment with a parameter", "/a/..;x/b").rfc(NONE).why("To servlet containers it is `/b`."),
        bad("a backslash", "/a\\..\\b").rfc("no URI").why("To some origins it is a slash."),
        bad("an encoded NUL", "/a%00b").rfc(NONE).why("To some origins the path ends there."),
        bad("an overlong slash", "/a%c0%afb").rfc(NONE).why("To sloppy decoders it is a slash."),
        bad("a percent sign without digits", "/100%").rfc("no URI"),
        bad("a percent sign with other letters", "/%zz").rfc("no URI"),
    ]
}

fn absolute(authority: &str) -> String {
    format!("GET http://{authority}/x HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn absolute_targets() -> Vec<Case> {
    let rewritten = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    vec![
        changed("9112 3.2.2", "absolute form", absolute("b.example"), rewritten("/x", "b.example"))
            .rfc("the Host field MUST be replaced by the target's authority"),
        changed(
            "9112 3.2.2",
            "absolute form with a port",
            absolute("b.example:8080"),
            rewritten("/x", "b.example:8080"),
        )
        .rfc("the Host field MUST be replaced by the target's authority"),
        changed("9112 3.2.2", "absolute form without a path", line("GET http://b HTTP/1.1"), rewritten("/", "b"))
            .rfc("an empty path is sent as `/`"),
        changed("9112 3.2.2", "absolute form of a query alone", line("GET http://b?c HTTP/1.1"), rewritten("/?c", "b"))
            .rfc("an empty path is sent as `/`"),
        changed(
            "9112 3.2.2",
            "absolute form, scheme in capitals",
            line("GET HTTP://b/x HTTP/1.1"),
            rewritten("/x", "b"),
        )
        .rfc("schemes ignore letter case"),
        refused(400, "9112 3.2.2", "absolute form without Host", "GET http://b/ HTTP/1.1\r\n\r\n")
            .rfc("Host MUST be sent all the same; 400 where it is not"),
        refused(
            400,
            "9112 3.2.2",
            "absolute form and two Hosts",
            "GET http://b/ HTTP/1.1\r\nHost: b\r\nHost: b\r\n\r\n",
        )
        .rfc("MUST be 400"),
    ]
}

fn authorities() -> Vec<Case> {
    vec![
        refused(400, "9110 4.2.4", "user information in the authority", absolute("user:secret@b"))
            .rfc("SHOULD be treated as an error"),
        refused(400, "9110 4.2.4", "an authority in disguise", absolute("a@b.example"))
            .rfc("SHOULD be treated as an error"),
        refused(400, "9110 4.2.1", "an empty authority", line("GET http:///x HTTP/1.1")).rfc("MUST be refused"),
        refused(400, "9110 4.2.1", "one slash after the scheme", line("GET http:/b/x HTTP/1.1")).rfc("MUST be refused"),
        refused(400, "9112 3.2.2", "a backslash in the authority", absolute("b\\c")).rfc("no URI"),
        refused(400, "9112 3.2.2", "a port that is no number", absolute("b:8o")).rfc("no URI"),
        refused(400, "9112 3.2.2", "a scheme that is not HTTP", line("GET ftp://b/x HTTP/1.1"))
            .rfc("an origin server need not know it"),
        refused(400, "9112 3.2.3", "authority form of GET", line("GET a:80 HTTP/1.1")).rfc("for CONNECT alone"),
        refused(405, "9112 3.2.3", "authority form of CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
            .rfc("an origin server may refuse CONNECT")
            .why("A gateway that tunnels anywhere is an open proxy."),
        refused(
            405,
            "9110 9.3.6",
            "CONNECT with a body in wait",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        )
        .rfc("CONNECT has no content"),
        refused(405, "9110 9.3.6", "CONNECT in origin form", line("CONNECT / HTTP/1.1")).rfc("no form of CONNECT"),
        passed("9112 3.2.4", "the asterisk form of OPTIONS", line("OPTIONS * HTTP/1.1")).rfc("for OPTIONS alone"),
        changed(
            "9112 3.2.4",
            "OPTIONS for an authority",
            line("OPTIONS http://b HTTP/1.1"),
            "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
        )
        .rfc("the last proxy MUST send `*`"),
        refused(400, "9112 3.2.4", "the asterisk form of GET", line("GET * HTTP/1.1")).rfc("for OPTIONS alone"),
        refused(400, "9112 3.2.4", "an asterisk and more", line("OPTIONS *x HTTP/1.1")).rfc("no form of a target"),
    ]
}
