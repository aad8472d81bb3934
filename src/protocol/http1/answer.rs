//! The gateway's own answers: status lines and small plain bodies. Called by `connection` when there is no response to pass
//! on; which status a failure has is not decided here.

use super::output::Output;
use crate::protocol::http::{Version, is_field_value};

/// An answer of the gateway itself, with a small plain body.
#[derive(Clone, Copy, Debug)]
pub struct ErrorResponse<'a> {
    pub status: u16,
    /// The body: one sentence.
    pub text: &'a str,
    /// The client's version.
    pub version: Version,
    pub keep_alive: bool,
    /// Answers HEAD: the body is announced and not sent.
    pub head_only: bool,
    /// The Allow field of a 405.
    pub allow: Option<&'a [u8]>,
    /// The Retry-After field, in seconds.
    pub retry_after_s: Option<u32>,
    pub request_id: Option<&'a [u8]>,
}

/// Writes an answer of the gateway's own, head and body.
pub fn write_error(bytes: &mut Vec<u8>, error: &ErrorResponse<'_>) {
    let mut output = Output::new(bytes, 256 + error.text.len());
    let out = &mut output;
    write_status_line(out, error.status, b"");
    out.put(b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    out.put_decimal(error.text.len() as u64 + 1);
    out.put(b"\r\n");
    if let Some(allow) = error.allow.filter(|allow| is_field_value(allow)) {
        out.put_field(b"Allow: ", allow);
    }
    if let Some(seconds) = error.retry_after_s {
        out.put(b"Retry-After: ");
        out.put_decimal(u64::from(seconds));
        out.put(b"\r\n");
    }
    if let Some(id) = error.request_id.filter(|id| is_field_value(id)) {
        out.put_field(b"X-Request-Id: ", id);
    }
    match (error.keep_alive, error.version) {
        (false, _) => out.put(b"Connection: close\r\n"),
        (true, Version::Http10) => out.put(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
    out.put(b"\r\n");
    if !error.head_only {
        out.put(error.text.as_bytes());
        out.put(b"\n");
    }
    output.finish();
}

/// `reason` empty: the registered one.
pub(super) fn write_status_line(out: &mut Output<'_>, status: u16, reason: &[u8]) {
    out.put(b"HTTP/1.1 ");
    out.put_decimal(u64::from(status));
    out.put(b" ");
    out.put(if reason.is_empty() { reason_of(status).as_bytes() } else { reason });
    out.put(b"\r\n");
}

/// The reason phrase for a status (RFC 9110 section 15); empty for one that is not registered.
fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
