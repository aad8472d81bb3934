//! Request heads: bytes → [`RequestHead`]. `httparse` reads the grammar; this adds the rules that leave one reading only.

use super::error::{HeadError, Malformed};
use super::fields::{Framing, Seen, connection_options, decimal, framing, is_plain_number, read_fields};
use super::{EMPTY_LINES_MAX, HEADERS_MAX, HeadLimits, Parsed};
use crate::protocol::http::{BodyLength, Known, Method, RequestHead, Span, TargetForm, Version, token_is};
use std::mem::MaybeUninit;

/// Parses a request head from the start of `bytes` into `head`, which is cleared first. After [`Parsed::Partial`] and
/// after an error, what `head` holds means nothing.
///
/// # Errors
/// See [`HeadError`]. The connection can not be used for another request after one.
pub fn parse_request(bytes: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<Parsed, HeadError> {
    head.clear();
    let skipped = match bytes.first() {
        Some(b'\r' | b'\n') => empty_lines(bytes)?,
        _ => 0,
    };
    let bytes = &bytes[skipped..];
    let window = &bytes[..bytes.len().min(limits.head_max)];
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(window, &mut fields[..limits.headers_max.min(HEADERS_MAX)]);
    // A head of which too much has come is refused for its target first: the client is told what to shorten.
    if target_len(&request, window) > limits.target_max {
        return Err(HeadError::TargetTooLong);
    }
    let len = match status {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if window.len() >= limits.head_max => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::Version) => return Err(version_error(window)),
        Err(error) => return Err(error.into()),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Malformed::StartLine.into());
    };
    let whole = &window[..len];
    let seen = read_fields(whole, request.headers, &mut head.headers)?;
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.method = Method::from_bytes(method.as_bytes());
    head.method_name = Span { start: 0, len: method.len() as u32 };
    head.target = Span { start: method.len() as u32 + 1, len: target.len() as u32 };
    if head.method == Method::Connect {
        return Err(HeadError::MethodUnsupported);
    }
    read_target(target.as_bytes(), head)?;
    read_host(&seen, head)?;
    read_body(&seen, head)?;
    read_connection(&seen, head)?;
    if matches!(head.method, Method::Options | Method::Trace) {
        read_traced(&seen, head)?;
    }
    Ok(Parsed::Complete(skipped + len))
}

/// How many bytes of empty lines lead (RFC 9112 section 2.2: "a server SHOULD ignore at least one empty line").
fn empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut skipped = 0;
    while let [b'\r', b'\n', ..] = bytes[skipped..] {
        skipped += 2;
        if skipped > 2 * EMPTY_LINES_MAX {
            return Err(Malformed::StartLine.into());
        }
    }
    match bytes[skipped..] {
        [b'\n', ..] => Err(Malformed::LineEnding.into()),
        _ => Ok(skipped),
    }
}

/// Bytes of the request target so far.
fn target_len(request: &httparse::Request<'_, '_>, window: &[u8]) -> usize {
    match (request.path, request.method) {
        (Some(target), _) => target.len(),
        (None, Some(method)) => {
            let rest = window.get(method.len() + 1..).unwrap_or_default();
            memchr::memchr3(b' ', b'\r', b'\n', rest).unwrap_or(rest.len())
        }
        (None, None) => 0,
    }
}

/// Tells another version of HTTP from what is no HTTP at all.
fn version_error(window: &[u8]) -> HeadError {
    let line = &window[..memchr::memchr2(b'\r', b'\n', window).unwrap_or(window.len())];
    match line.splitn(3, |byte| *byte == b' ').nth(2) {
        Some(version) if is_other_version(version) => HeadError::VersionUnsupported,
        _ => Malformed::StartLine.into(),
    }
}

/// Whether this is, or begins, a version of HTTP that is not read here. A minor of two digits is garbage, not a version.
pub(super) fn is_other_version(version: &[u8]) -> bool {
    let Some([major, rest @ ..]) = version.strip_prefix(b"HTTP/") else { return false };
    let rest_fits = matches!(rest, [] | [b'.'] | [b'.', b'0'..=b'9']);
    major.is_ascii_digit() && rest_fits && !matches!(version, b"HTTP/1" | b"HTTP/1." | b"HTTP/1.0" | b"HTTP/1.1")
}

/// Takes the target apart (RFC 9112 section 3.2).
#[inline]
fn read_target(target: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let start = head.target.start;
    // Where the request line can be copied as it is.
    if head.version == Version::Http11 {
        head.line_len = start + target.len() as u32 + b" HTTP/1.1\r\n".len() as u32;
    }
    match target {
        [b'/', ..] => {
            head.form = TargetForm::Origin;
            head.path_and_query = head.target;
            head.path_len = path_len(target)?;
            Ok(())
        }
        b"*" if head.method == Method::Options => {
            head.form = TargetForm::Asterisk;
            Ok(())
        }
        _ => read_absolute_target(target, head),
    }
}

/// Bytes before the `?`. A `#` is no part of a target: what follows it would be path to one reader and nothing to another.
#[inline]
fn path_len(path_and_query: &[u8]) -> Result<u32, HeadError> {
    match memchr::memchr2(b'?', b'#', path_and_query) {
        None => Ok(path_and_query.len() as u32),
        Some(at) if path_and_query[at] == b'?' && memchr::memchr(b'#', &path_and_query[at..]).is_none() => {
            Ok(at as u32)
        }
        Some(_) => Err(Malformed::Target.into()),
    }
}

/// RFC 9112 section 3.2.2: the authority replaces whatever Host says.
fn read_absolute_target(target: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let scheme_len = match memchr::memchr(b':', target) {
        Some(4) if token_is(&target[..4], b"http") => 4,
        Some(5) if token_is(&target[..5], b"https") => 5,
        _ => return Err(Malformed::Target.into()),
    };
    let Some(rest) = target[scheme_len..].strip_prefix(b"://") else {
        return Err(Malformed::Target.into());
    };
    let authority_len = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let (authority, path_and_query) = rest.split_at(authority_len);
    let kinds = host_kinds(authority).filter(|_| !authority.is_empty()).ok_or(Malformed::Target)?;
    head.host_is_plain = kinds == PLAIN;
    let authority_start = head.target.start + (scheme_len + b"://".len()) as u32;
    head.line_len = 0;
    head.host = Span { start: authority_start, len: authority_len as u32 };
    head.path_and_query = Span { start: authority_start + authority_len as u32, len: path_and_query.len() as u32 };
    head.path_len = path_len(path_and_query)?;
    // RFC 9112 section 3.2.4: OPTIONS for an authority as a whole goes on as the asterisk form.
    let whole_server = head.method == Method::Options && path_and_query.is_empty();
    head.form = if whole_server { TargetForm::Asterisk } else { TargetForm::Absolute };
    Ok(())
}

/// RFC 9112 section 3.2: one valid Host field, which HTTP/1.0 alone may lack.
#[inline]
fn read_host(seen: &Seen, head: &mut RequestHead) -> Result<(), HeadError> {
    if seen.is_duplicate(Known::Host) {
        return Err(Malformed::Host.into());
    }
    let Some(host) = seen.span(Known::Host) else {
        return if head.version == Version::Http11 { Err(Malformed::Host.into()) } else { Ok(()) };
    };
    let kinds = host_kinds(host.of(&head.headers.storage)).ok_or(Malformed::Host)?;
    if head.host.len == 0 {
        head.host = host;
        head.host_is_plain = kinds == PLAIN;
    }
    Ok(())
}

/// Checks that this is `uri-host [ ":" port ]` (RFC 9110 section 7.2) as far as routing and rewriting depend on it: no byte
/// that could end the authority, brackets only around all of an address, and a port of digits. May be empty. Returns the
/// kinds of bytes in it.
#[inline]
fn host_kinds(host: &[u8]) -> Option<u8> {
    let kinds = host.iter().fold(0, |kinds, byte| kinds | HOST_BYTES[*byte as usize]);
    let is_host = if kinds < COLON {
        true
    } else if kinds < BRACKET {
        memchr::memchr(b':', host).is_some_and(|colon| is_port(&host[colon + 1..]))
    } else {
        kinds < OUTSIDE && is_bracketed(host)
    };
    is_host.then_some(kinds)
}

/// `[address]`, with or without a port.
fn is_bracketed(host: &[u8]) -> bool {
    let Some(close) = memchr::memchr(b']', host) else { return false };
    let (Some(address), rest) = (host[..close].strip_prefix(b"["), &host[close + 1..]) else { return false };
    !address.is_empty()
        && address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// The kinds of bytes in a uri-host and its port (RFC 3986 section 3.2.2), without the comma, which would make a list of it.
const PLAIN: u8 = 1;
const MARK: u8 = 2;
const COLON: u8 = 4;
const BRACKET: u8 = 8;
const OUTSIDE: u8 = 16;

static HOST_BYTES: [u8; 256] = {
    let mut table = [OUTSIDE; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => PLAIN,
            b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' => MARK,
            b':' => COLON,
            b'[' | b']' => BRACKET,
            _ => OUTSIDE,
        };
        byte += 1;
    }
    table
};

/// RFC 9112 section 6.3, for requests.
#[inline]
fn read_body(seen: &Seen, head: &mut RequestHead) -> Result<(), HeadError> {
    head.body = match framing(seen, &head.headers, head.version)? {
        Framing::None => BodyLength::Empty,
        Framing::Chunked => BodyLength::Chunked,
        Framing::Length(length) => {
            let value = seen.span(Known::ContentLength).unwrap_or_default().of(&head.headers.storage);
            head.content_length = is_plain_number(value).then_some(length);
            BodyLength::Exact(length)
        }
    };
    Ok(())
}

/// What OPTIONS and TRACE ask of each gateway on their way (RFC 9110 sections 7.6.2 and 9.3.8).
fn read_traced(seen: &Seen, head: &mut RequestHead) -> Result<(), HeadError> {
    if head.method == Method::Trace && !head.body.is_empty() {
        return Err(Malformed::Content.into());
    }
    if let Some(value) = seen.span(Known::MaxForwards) {
        let number = decimal(value.of(&head.headers.storage)).filter(|_| !seen.is_duplicate(Known::MaxForwards));
        head.max_forwards = Some(number.ok_or(Malformed::MaxForwards)?);
    }
    Ok(())
}

#[inline]
fn read_connection(seen: &Seen, head: &mut RequestHead) -> Result<(), HeadError> {
    let options = connection_options(seen, &mut head.headers)?;
    let current = head.version == Version::Http11;
    // RFC 9112 section 9.3.
    head.keep_alive = !options.close && (current || options.keep_alive);
    const SELDOM: u32 = Known::set(&[Known::Expect, Known::Te, Known::Upgrade]);
    if seen.present & SELDOM == 0 {
        return Ok(());
    }
    let storage = &head.headers.storage;
    if let Some(expect) = seen.span(Known::Expect) {
        // RFC 9110 section 10.1.1; of an HTTP/1.0 client the expectation is ignored.
        if seen.is_duplicate(Known::Expect) || !token_is(expect.of(storage), b"100-continue") {
            return Err(HeadError::ExpectationUnknown);
        }
        head.expect_continue = current && !matches!(head.body, BodyLength::Empty | BodyLength::Exact(0));
    }
    let mut codings = head.headers.get_all(Known::Te).flat_map(|value| value.split(|byte| *byte == b','));
    head.accepts_trailers = current && codings.any(|coding| token_is(coding.trim_ascii(), b"trailers"));
    if seen.has(Known::Upgrade) {
        let mut protocols = head.headers.get_all(Known::Upgrade).flat_map(|value| value.split(|byte| *byte == b','));
        // RFC 9110 section 7.8: HTTP/1.0 can not upgrade. `h2c` would carry requests past the router.
        let to_http = protocols.any(|name| name.trim_ascii().get(..2).is_some_and(|start| token_is(start, b"h2")));
        head.upgrade = options.upgrade && current && !to_http;
    }
    Ok(())
}
