//! RFC 9112 section 5 and RFC 9110 section 5: field lines, their names and values; and Host.

use super::case::{Case, changed, get, passed, post, refused};

pub fn cases() -> Vec<Case> {
    [names(), values(), folding(), host(), limits()].concat()
}

fn names() -> Vec<Case> {
    const COLON: &str = "MUST be 400";
    const TOKEN: &str = "a name is a token";
    vec![
        refused(400, "9112 5.1", "a space before the colon", get("X : b\r\n")).rfc(COLON),
        refused(400, "9112 5.1", "a tab before the colon", get("X\t: b\r\n")).rfc(COLON),
        refused(400, "9112 5.1", "a space before the colon of Host", "GET / HTTP/1.1\r\nHost : a\r\n\r\n").rfc(COLON),
        refused(400, "9112 5.1", "a space before the colon of Content-Length", post("Content-Length : 3\r\n", "abc"))
            .rfc(COLON),
        refused(
            400,
            "9112 5.1",
            "a space before the colon of Transfer-Encoding",
            post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        )
        .rfc(COLON),
        refused(400, "9110 5.1", "an empty name", get(": b\r\n")).rfc(TOKEN).why("CVE-2023-25725."),
        refused(400, "9110 5.1", "an empty name hides what follows", post(": x\r\nContent-Length: 3\r\n", "abc"))
            .rfc(TOKEN)
            .why("CVE-2023-25725."),
        refused(400, "9110 5.1", "a space within a name", get("X Y: b\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a NUL within a name", get("X\0Y: b\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a NUL behind a framing name", post("Content-Length\0: 3\r\n", "abc")).rfc(TOKEN),
        refused(400, "9110 5.1", "a control byte within a name", get("X\x01: b\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a name that is not ASCII", get("X\u{e9}: b\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a name in parentheses", get("(X): b\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a name in quotes", get("\"Content-Length\": 3\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a line without a colon", get("nonsense\r\n")).rfc(TOKEN),
        refused(400, "9110 5.1", "a request line among the fields", get("GET /b HTTP/1.1\r\n")).rfc(TOKEN),
        passed("9110 5.1", "every byte of a token", get("!#$%&'*+-.^_`|~09AZaz: b\r\n")).rfc("valid"),
        passed("9110 5.1", "names in any case, in their order", get("zZ: 1\r\nAa: 2\r\nzz: 3\r\n"))
            .rfc("the order of fields of one name is kept"),
        passed("9110 5.1", "an underscore in a name", get("X_Y: b\r\n"))
            .rfc("valid")
            .why("Names that frame or forward, written so, are not: below."),
        refused(400, "9110 5.1", "Content_Length", post("Content_Length: 3\r\nContent-Length: 3\r\n", "abc"))
            .rfc("valid, with no meaning")
            .why("To origins that see fields as environment variables it is Content-Length."),
        refused(400, "9110 5.1", "Transfer_Encoding", get("Transfer_Encoding: chunked\r\n"))
            .rfc("valid, with no meaning")
            .why("To origins that see fields as environment variables it is Transfer-Encoding."),
        changed("9110 5.1", "X_Forwarded_For", get("X_Forwarded_For: 10.0.0.1\r\n"), get(""))
            .rfc("valid, with no meaning")
            .why("Removed: origins that see fields as environment variables would believe it."),
    ]
}

fn values() -> Vec<Case> {
    const CONTROL: &str = "CR, LF and NUL MUST be refused or replaced; other controls are invalid";
    vec![
        refused(400, "9110 5.5", "a NUL in a value", get("X: a\0b\r\n")).rfc(CONTROL),
        refused(400, "9110 5.5", "a NUL in Host", "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n").rfc(CONTROL),
        refused(400, "9110 5.5", "a vertical tab in a value", get("X: a\x0bb\r\n")).rfc(CONTROL),
        refused(400, "9110 5.5", "an escape in a value", get("X: \x1b[31m\r\n")).rfc(CONTROL),
        refused(400, "9110 5.5", "DEL in a value", get("X: a\x7f\r\n")).rfc(CONTROL),
        passed("9110 5.5", "a tab within a value", get("X: a\tb\r\n")).rfc("valid"),
        passed("9110 5.5", "bytes that are not ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\xff\x80\r\n\r\n")
            .rfc("obs-text: valid, opaque"),
        passed("9110 5.5", "an empty value", get("X: \r\n")).rfc("valid"),
        changed("9112 5.1", "no space after the colon", get("X:b\r\n"), get("X: b\r\n"))
            .rfc("valid: the space is optional"),
        changed("9112 5.1", "whitespace around a value", get("X: \t b \t\r\n"), get("X: b\r\n"))
            .rfc("no part of the value"),
        changed("9112 5.1", "no value and no space", get("X:\r\n"), get("X: \r\n")).rfc("valid"),
        passed("9110 5.3", "several fields of one name", get("X: 1\r\nX: 2\r\nY: 3\r\nX: 4\r\n"))
            .rfc("MAY be combined; their order MUST stay"),
        passed("9110 5.3", "several Cookies", get("Cookie: a=1\r\nCookie: b=2\r\n")).rfc("no list: not to be combined"),
        passed("9110 5.5", "a value of colons", get("X: a: b:: \"c\"\r\n")).rfc("valid"),
    ]
}

fn folding() -> Vec<Case> {
    const FOLD: &str = "MUST be 400, or replaced by spaces";
    vec![
        refused(400, "9112 5.2", "a folded value", get("X: a\r\n b\r\n")).rfc(FOLD),
        refused(400, "9112 5.2", "a value folded by a tab", get("X: a\r\n\tb\r\n")).rfc(FOLD),
        refused(400, "9112 5.2", "a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"))
            .rfc(FOLD),
        refused(400, "9112 5.2", "Content-Length hidden in a fold", get("X: a\r\n Content-Length: 5\r\n")).rfc(FOLD),
        refused(400, "9112 5.2", "a folded Host", "GET / HTTP/1.1\r\nHost: a\r\n .evil\r\n\r\n").rfc(FOLD),
        refused(400, "9112 5.2", "a line of blanks alone", get("X: a\r\n  \r\nY: b\r\n")).rfc(FOLD),
        refused(400, "9112 5.2", "a folded Expect", post("Expect:\r\n 100-continue\r\nContent-Length: 1\r\n", "a"))
            .rfc(FOLD),
    ]
}

fn host() -> Vec<Case> {
    let host = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    const MUST: &str = "MUST be 400";
    vec![
        refused(400, "9112 3.2", "no Host", "GET / HTTP/1.1\r\n\r\n").rfc(MUST),
        refused(400, "9112 3.2", "two Hosts that differ", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").rfc(MUST),
        refused(400, "9112 3.2", "two Hosts that agree", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").rfc(MUST),
        refused(400, "9112 3.2", "two Hosts far apart", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n")
            .rfc(MUST),
        refused(400, "9110 7.2", "a list of hosts", host("a, b")).rfc(MUST),
        refused(400, "9110 7.2", "two hosts by a space", host("a b")).rfc(MUST),
        refused(400, "9110 7.2", "a host with a path", host("a/b")).rfc(MUST),
        refused(400, "9110 7.2", "a host with user information", host("a@b")).rfc(MUST),
        refused(400, "9110 7.2", "a host with a query", host("a?b")).rfc(MUST),
        refused(400, "9110 7.2", "a URI for a host", host("http://a")).rfc(MUST),
        refused(400, "9110 7.2", "a port that is no number", host("a:b")).rfc(MUST),
        refused(400, "9110 7.2", "a port with a sign", host("a:+80")).rfc(MUST),
        refused(400, "9110 7.2", "two ports", host("a:80:81")).rfc(MUST),
        refused(400, "9110 7.2", "a bracket that does not close", host("[::1")).rfc(MUST),
        refused(400, "9110 7.2", "bytes behind a bracket", host("[::1]x")).rfc(MUST),
        refused(400, "9110 7.2", "a host that is not ASCII", host("caf\u{e9}")).rfc(MUST),
        refused(400, "9110 7.2", "a quoted host", host("\"a\"")).rfc(MUST),
        refused(400, "9110 7.2", "a backslash in a host", host("a\\b")).rfc(MUST),
        passed("9110 7.2", "an empty Host", host("")).rfc("valid where the target has no authority"),
        passed("9110 7.2", "a host with a port", host("a.example:8080")).rfc("valid"),
        passed("9110 7.2", "a host with an empty port", host("a:")).rfc("valid"),
        passed("9110 7.2", "an IPv6 address", host("[2001:db8::1]:443")).rfc("valid"),
        passed("9110 7.2", "an underscore in a host", host("a_b.example")).rfc("valid (reg-name)"),
        changed("9112 3.2", "HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", host(""))
            .rfc("valid; the client of the origin MUST send one")
            .gets_and_end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    ]
}

fn limits() -> Vec<Case> {
    let many = |count: usize| get(&(0..count).map(|at| format!("X-{at}: y\r\n")).collect::<String>());
    let sized = |size: usize| get(&format!("X: {}\r\n", "y".repeat(size - get("X: \r\n").len())));
    vec![
        passed("9110 5.4", "as many fields as the limit", many(63)).rfc("no limit is given"),
        refused(431, "9110 5.4", "one field above the limit", many(64)).rfc("MUST be a 4xx where it is too large"),
        passed("9110 5.4", "a head of exactly the limit", sized(8192)).rfc("no limit is given"),
        refused(431, "9110 5.4", "a head one byte above the limit", sized(8193))
            .rfc("MUST be a 4xx where it is too large"),
        refused(431, "9110 5.4", "a field that never ends", format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(9000)))
            .rfc("MUST be a 4xx where it is too large"),
    ]
}
