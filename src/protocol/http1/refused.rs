//! What can be told of a request that was refused, for the log alone: its method, path, host and version, as far as the
//! bytes have them. Nothing here is checked, and nothing of it is ever sent.

use crate::protocol::http::{Method, RequestHead, Span, TargetForm, Version};

/// Bytes of a refused head that are looked at.
const SHOWN_MAX: usize = 4 * 1024;

/// Fills what the log shows of `head` from the beginning of a head that was refused or never ended.
pub fn describe_refused(bytes: &[u8], head: &mut RequestHead) {
    head.clear();
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let shown = &bytes[start..bytes.len().min(start + SHOWN_MAX)];
    head.headers.storage.extend_from_slice(shown);
    let line_len = line_len(shown);
    let mut words = shown[..line_len].split(|byte| matches!(byte, b' ' | b'\t'));
    let method = words.next().unwrap_or_default();
    head.method_name = Span { start: 0, len: method.len() as u32 };
    head.method = Method::from_bytes(method);
    let target_start = (method.len() + 1).min(shown.len());
    let target = words.next().unwrap_or_default();
    if words.next() == Some(b"HTTP/1.0") {
        head.version = Version::Http10;
    }
    let (path_start, path_len) = path_of(target);
    // An asterisk or an authority is shown as it is; a target that never came is not a path.
    head.form = TargetForm::Origin;
    head.path_and_query = Span { start: (target_start + path_start) as u32, len: path_len as u32 };
    head.path_len = path_len as u32;
    if let Some((start, len)) = host_of(shown, line_len) {
        head.host = Span { start: start as u32, len: len as u32 };
    }
}

fn line_len(bytes: &[u8]) -> usize {
    memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len())
}

/// Where the path of a target begins and how long it is: without the query, which may hold secrets, and without an authority,
/// which may hold a password.
fn path_of(target: &[u8]) -> (usize, usize) {
    let authority = memchr::memmem::find(target, b"://").map(|at| at + 3);
    let start =
        authority.map_or(0, |at| memchr::memchr2(b'/', b'?', &target[at..]).map_or(target.len(), |len| at + len));
    let len = memchr::memchr2(b'?', b'#', &target[start..]).unwrap_or(target.len() - start);
    (start, len)
}

/// The value of the first line that looks like a Host field.
fn host_of(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    while at < bytes.len() {
        let rest = &bytes[at..];
        let start = rest.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
        let line = &rest[start..start + line_len(&rest[start..])];
        if line.len() > 5 && line[..5].eq_ignore_ascii_case(b"host:") {
            let value = line[5..].trim_ascii();
            let before = line[5..].len() - line[5..].trim_ascii_start().len();
            return Some((at + start + 5 + before, value.len()));
        }
        at += start + line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, method: &str, path: &str, host: &str) {
        let mut head = RequestHead::new();
        describe_refused(bytes.as_ref(), &mut head);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = (text(head.method_bytes()), text(head.path()), text(head.host()));
        assert_eq!(found, (method.into(), path.into(), host.into()));
    }

    #[test]
    fn what_came_is_told() {
        check("GET /a?secret=1 HTTP/1.1\r\nHost: a.test\r\nX : y\r\n\r\n", "GET", "/a", "a.test");
        check("GET  /a HTTP/1.1\r\n\r\n", "GET", "/", "");
        check("\r\n\r\nPOST /a", "POST", "/a", "");
        check("GET", "GET", "/", "");
        check("", "", "/", "");
        check("CONNECT a:80 HTTP/1.1\r\nhost:\ta:80 \r\n\r\n", "CONNECT", "a:80", "a:80");
        check("GET http://user:secret@a/b?c HTTP/1.1\nHOST:a\n\n", "GET", "/b", "a");
        check("GET http://user:secret@a HTTP/1.1\r\n\r\n", "GET", "/", "");
        check("GET http://a?secret HTTP/1.1\r\n\r\n", "GET", "/", "");
        check(b"\x16\x03\x01", "\u{16}\u{3}\u{1}", "/", "");
        check("x".repeat(100_000), &"x".repeat(SHOWN_MAX), "/", "");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[ \r\n:/?#hostHOST.]{0,60}") {
            describe_refused(&bytes, &mut RequestHead::new());
            describe_refused(text.as_bytes(), &mut RequestHead::new());
        }
    }
}
