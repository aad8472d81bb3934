//! Response heads: bytes → [`ResponseHead`]. The endpoint is trusted no more than the client: a response that could be read
//! in two ways would put one client's bytes into another client's answer.

use super::error::{HeadError, Malformed};
use super::fields::{Framing, Seen, connection_options, framing, framing_is_forbidden, is_plain_number, read_fields};
use super::request::is_other_version;
use super::{HEADERS_MAX, HeadLimits, Parsed};
use crate::protocol::http::{BodyLength, Known, Method, ResponseHead, Span, Version};
use std::mem::MaybeUninit;

/// `HTTP/1.1 200 `
const REASON_START: usize = 13;

/// Parses a response head from the start of `bytes` into `head`, which is cleared first. After [`Parsed::Partial`] and
/// after an error, what `head` holds means nothing. A 1xx response is a head of its own, and another follows it.
///
/// # Errors
/// See [`HeadError`]. The connection can not be used again after one.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Parsed, HeadError> {
    head.clear();
    // `httparse` skips any number of empty lines; an endpoint has no reason to send one.
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(Malformed::StartLine.into());
    }
    let window = &bytes[..bytes.len().min(limits.head_max)];
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        window,
        &mut fields[..limits.headers_max.min(HEADERS_MAX)],
    );
    let len = match status {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if window.len() >= limits.head_max => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::Version) if is_other_version(version_of(window)) => {
            return Err(HeadError::VersionUnsupported);
        }
        Err(error) => return Err(error.into()),
    };
    let (Some(code), Some(minor)) = (response.code, response.version) else {
        return Err(Malformed::StartLine.into());
    };
    if code < 100 {
        return Err(Malformed::Status.into());
    }
    let whole = &window[..len];
    let seen = read_fields(whole, response.headers, &mut head.headers)?;
    head.status = code;
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    read_status_line(whole, head)?;
    read_body(&seen, request_method, head)?;
    read_connection(&seen, head)?;
    Ok(Parsed::Complete(len))
}

fn version_of(window: &[u8]) -> &[u8] {
    window.split(u8::is_ascii_whitespace).next().unwrap_or_default()
}

/// Finds the reason phrase, which `httparse` drops where it has obs-text (RFC 9112 section 4).
#[inline]
fn read_status_line(whole: &[u8], head: &mut ResponseHead) -> Result<(), HeadError> {
    let line_len = match head.headers.fields.first() {
        Some(first) => first.start as usize,
        None => head.headers.storage.len(),
    };
    // Where the line ends was checked with the fields; that it is one line is checked here.
    let Some(line) = whole.get(..line_len - 2) else {
        return Err(Malformed::StartLine.into());
    };
    if let Some(reason) = line.get(REASON_START..) {
        head.line_status = head.status;
        head.reason = Span { start: REASON_START as u32, len: reason.len() as u32 };
        if head.version == Version::Http11 {
            head.line_len = line_len as u32;
        }
    }
    Ok(())
}

/// RFC 9112 section 6.3, for responses.
#[inline]
fn read_body(seen: &Seen, request_method: Method, head: &mut ResponseHead) -> Result<(), HeadError> {
    let framing = framing(seen, &head.headers, head.version)?;
    if let Framing::Length(length) = framing {
        let value = seen.span(Known::ContentLength).unwrap_or_default().of(&head.headers.storage);
        head.content_length = is_plain_number(value).then_some(length);
    }
    let bodiless = head.status < 200 || matches!(head.status, 204 | 304) || request_method == Method::Head;
    head.body = match framing {
        _ if bodiless => BodyLength::Empty,
        Framing::Length(length) => BodyLength::Exact(length),
        Framing::Chunked => BodyLength::Chunked,
        Framing::None => BodyLength::UntilClose,
    };
    head.upgrade = head.status == 101;
    Ok(())
}

#[inline]
fn read_connection(seen: &Seen, head: &mut ResponseHead) -> Result<(), HeadError> {
    let options = connection_options(seen, &mut head.headers)?;
    // RFC 9112 section 9.3.
    head.keep_alive = !options.close
        && (head.version == Version::Http11 || options.keep_alive)
        && head.body != BodyLength::UntilClose
        && !claims_forbidden_body(seen, head);
    Ok(())
}

/// RFC 9112 section 6.1: 1xx and 204 carry no framing. What such an endpoint sends next may be that body: its connection
/// is not used again.
fn claims_forbidden_body(seen: &Seen, head: &ResponseHead) -> bool {
    let claims = seen.has(Known::TransferEncoding) || head.content_length.is_some_and(|length| length > 0);
    claims && framing_is_forbidden(head.status)
}
