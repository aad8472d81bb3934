//! The message model → bytes: requests to endpoints, responses to clients, chunk framing and the gateway's own answers.
//! Everything appends to the caller's `Vec<u8>`. Nothing that could break a line gets into one: field values were checked
//! when they entered the model.

use super::fields::framing_is_forbidden;
use crate::protocol::http::{
    BodyLength, Headers, IRREGULAR, Known, RequestHead, ResponseHead, Span, TargetForm, Version, is_field_value,
};
use std::io::Write;
use std::net::IpAddr;

/// What the gateway tells the endpoint about the client.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// The address that the client connected from.
    pub client: IpAddr,
    /// `http` or `https`, as the client spoke it.
    pub scheme: &'a str,
    /// Whether the client's own X-Forwarded-*, Forwarded and X-Request-Id are believed and extended. If not, they are
    /// replaced.
    pub trusted: bool,
    /// The request's id; `None` leaves X-Request-Id as the client sent it.
    pub request_id: Option<&'a [u8]>,
    /// Whether an upgrade that the client asked for is passed on.
    pub upgrade: bool,
    /// Whether the endpoint's connection goes on after this exchange.
    pub keep_alive: bool,
}

/// How a response is written to the client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseOptions<'a> {
    /// The client's version.
    pub version: Version,
    /// Whether the client's connection goes on after this exchange.
    pub keep_alive: bool,
    /// How the body is framed to the client: [`BodyLength::for_downstream`] of the response's.
    pub body: BodyLength,
    /// Written as X-Request-Id in place of the endpoint's; `None` leaves that.
    pub request_id: Option<&'a [u8]>,
}

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

/// Removed from every message: they concern one connection (RFC 9110 section 7.6.1).
const HOP_BY_HOP: u32 = Known::set(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Te,
    Known::Http2Settings,
    Known::Upgrade,
    Known::TransferEncoding,
    Known::ContentLength,
    Known::Trailer,
]);

/// Removed from the requests of clients that are not trusted.
const FORWARDED: u32 = Known::set(&[
    Known::Forwarded,
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XForwardedOther,
]);

/// The request id that an endpoint sees: a trusted client's own, else ours.
pub fn request_id<'a>(head: &'a RequestHead, forwarding: &Forwarding<'a>) -> Option<&'a [u8]> {
    let own = forwarding.request_id.filter(|id| is_field_value(id));
    match head.headers.get(Known::XRequestId) {
        Some(theirs) if !theirs.is_empty() && (forwarding.trusted || forwarding.request_id.is_none()) => Some(theirs),
        _ => own,
    }
}

/// Writes a request head as HTTP/1.1 in origin form (RFC 9112 section 3.2.1), with framing for `head.body`.
pub fn write_request(out: &mut Vec<u8>, head: &RequestHead, forwarding: &Forwarding<'_>) {
    let headers = &head.headers;
    let upgrade = forwarding.upgrade && head.upgrade;
    let mut drop = HOP_BY_HOP & !framing_in_place(headers, head.body, head.content_length);
    if upgrade {
        drop &= !Known::Upgrade.bit();
    }
    if !head.expect_continue {
        drop |= Known::Expect.bit();
    }
    if forwarding.request_id.is_some() {
        drop |= Known::XRequestId.bit();
    }
    drop |= match forwarding.trusted {
        true => const { Known::set(&[Known::Forwarded, Known::XForwardedFor]) },
        false => FORWARDED,
    };
    out.reserve(headers.storage.len() + 256);
    let in_target = head.host.end() <= head.target.end();
    if in_target {
        drop |= Known::Host.bit();
    }
    if head.line_len == 0 {
        write_request_line(out, head);
    }
    if in_target {
        // RFC 9112 section 3.2: Host is sent even where it is empty.
        push_field(out, b"Host: ", head.host());
    }
    copy_lines(out, headers, head.line_len, drop);
    write_framing(out, headers, head.body, drop);
    write_forwarding(out, head, forwarding);
    let te = head.accepts_trailers;
    if te {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    let connection: &[u8] = match (forwarding.keep_alive, upgrade, te) {
        (_, true, true) => b"Connection: upgrade, TE\r\n\r\n",
        (_, true, false) => b"Connection: upgrade\r\n\r\n",
        (false, _, true) => b"Connection: close, TE\r\n\r\n",
        (false, _, false) => b"Connection: close\r\n\r\n",
        (true, _, true) => b"Connection: TE\r\n\r\n",
        (true, _, false) => b"\r\n",
    };
    out.extend_from_slice(connection);
}

fn write_request_line(out: &mut Vec<u8>, head: &RequestHead) {
    out.extend_from_slice(head.method_bytes());
    out.push(b' ');
    match head.form {
        TargetForm::Asterisk => out.push(b'*'),
        _ => {
            if head.path_len == 0 {
                out.push(b'/');
            }
            out.extend_from_slice(head.path_and_query.of(&head.headers.storage));
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// The framing fields that say what is to be said already.
fn framing_in_place(headers: &Headers, body: BodyLength, content_length: Option<u64>) -> u32 {
    match body {
        BodyLength::Exact(length) if content_length == Some(length) => Known::ContentLength.bit(),
        BodyLength::Chunked if headers.has(Known::TransferEncoding) => {
            const { Known::set(&[Known::TransferEncoding, Known::Trailer]) }
        }
        BodyLength::Chunked => Known::Trailer.bit(),
        _ => 0,
    }
}

/// Writes the framing field of `body`, unless it was copied.
fn write_framing(out: &mut Vec<u8>, headers: &Headers, body: BodyLength, drop: u32) {
    let copied = headers.present & !drop;
    match body {
        BodyLength::Exact(length) if copied & Known::ContentLength.bit() == 0 => {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        BodyLength::Chunked if copied & Known::TransferEncoding.bit() == 0 => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        _ => {}
    }
}

/// X-Forwarded-*, Forwarded (RFC 7239) and X-Request-Id.
fn write_forwarding(out: &mut Vec<u8>, head: &RequestHead, forwarding: &Forwarding<'_>) {
    let mut address = [0; 48];
    let address = address_text(&mut address, forwarding.client);
    let host = head.host();
    let kept = if forwarding.trusted { head.headers.present } else { 0 };
    out.extend_from_slice(b"X-Forwarded-For: ");
    if kept & Known::XForwardedFor.bit() != 0 {
        push_list(out, &head.headers, Known::XForwardedFor);
    }
    out.extend_from_slice(address);
    if kept & Known::XForwardedProto.bit() == 0 {
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
        out.extend_from_slice(forwarding.scheme.as_bytes());
    }
    if kept & Known::XForwardedHost.bit() == 0 {
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        out.extend_from_slice(host);
    }
    out.extend_from_slice(b"\r\nForwarded: ");
    if kept & Known::Forwarded.bit() != 0 {
        push_list(out, &head.headers, Known::Forwarded);
    }
    // RFC 7239 section 6: an IPv6 address stands in brackets and therefore in quotes.
    let (open, close): (&[u8], &[u8]) = match forwarding.client.to_canonical() {
        IpAddr::V4(_) => (b"for=", b""),
        IpAddr::V6(_) => (b"for=\"[", b"]\""),
    };
    out.extend_from_slice(open);
    out.extend_from_slice(address);
    out.extend_from_slice(close);
    if !host.is_empty() {
        let plain = host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        let (open, close): (&[u8], &[u8]) = if plain { (b";host=", b"") } else { (b";host=\"", b"\"") };
        out.extend_from_slice(open);
        out.extend_from_slice(host);
        out.extend_from_slice(close);
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(forwarding.scheme.as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(id) = forwarding.request_id.and_then(|_| request_id(head, forwarding)) {
        push_field(out, b"X-Request-Id: ", id);
    }
}

/// The values of all fields of one name as one list that goes on.
fn push_list(out: &mut Vec<u8>, headers: &Headers, known: Known) {
    for value in headers.get_all(known).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

fn address_text(buffer: &mut [u8; 48], address: IpAddr) -> &[u8] {
    let mut len = 0;
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    buffer[len] = b'.';
                    len += 1;
                }
                if octet >= 100 {
                    buffer[len] = b'0' + octet / 100;
                    len += 1;
                }
                if octet >= 10 {
                    buffer[len] = b'0' + octet / 10 % 10;
                    len += 1;
                }
                buffer[len] = b'0' + octet % 10;
                len += 1;
            }
        }
        IpAddr::V6(address) => {
            let mut rest = &mut buffer[..];
            // 48 bytes hold every IPv6 address; what does not fit would be cut.
            let _ = write!(rest, "{address}");
            len = 48 - rest.len();
        }
    }
    &buffer[..len]
}

/// Writes a response head as HTTP/1.1, with framing for `options.body`. The caller keeps interim responses from HTTP/1.0
/// clients (RFC 9110 section 15.2).
pub fn write_response(out: &mut Vec<u8>, head: &ResponseHead, options: &ResponseOptions<'_>) {
    let headers = &head.headers;
    let mut drop = HOP_BY_HOP & !framing_in_place(headers, options.body, head.content_length);
    // A length without a body describes what GET would have got (RFC 9110 section 8.6).
    if options.body == BodyLength::Empty && !framing_is_forbidden(head.status) && head.content_length.is_some() {
        drop &= !Known::ContentLength.bit();
    }
    let upgrade = head.status == 101 || head.status == 426;
    if upgrade {
        drop &= !Known::Upgrade.bit();
    }
    let id = options.request_id.filter(|id| is_field_value(id));
    if id.is_some() {
        drop |= Known::XRequestId.bit();
    }
    out.reserve(headers.storage.len() + 128);
    let line_len = if head.status == head.line_status { head.line_len } else { 0 };
    if line_len == 0 {
        let reason = if head.status == head.line_status { head.reason() } else { b"" };
        write_status_line(out, head.status, reason);
    }
    copy_lines(out, headers, line_len, drop);
    write_framing(out, headers, options.body, drop);
    if let Some(id) = id {
        push_field(out, b"X-Request-Id: ", id);
    }
    let current = options.version == Version::Http11;
    let connection: &[u8] = match options.keep_alive {
        _ if upgrade && (head.status == 101 || options.keep_alive) => b"Connection: upgrade\r\n\r\n",
        _ if head.status < 200 => b"\r\n",
        true if current => b"\r\n",
        true => b"Connection: keep-alive\r\n\r\n",
        false => b"Connection: close\r\n\r\n",
    };
    out.extend_from_slice(connection);
}

fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(if reason.is_empty() { reason_of(status).as_bytes() } else { reason });
    out.extend_from_slice(b"\r\n");
}

/// Copies the start line and the fields whose names are not in `drop`. Regular lines that follow one another are copied at
/// once: most heads are one or two runs.
#[inline]
fn copy_lines(out: &mut Vec<u8>, headers: &Headers, line_len: u32, drop: u32) {
    let storage = &headers.storage[..];
    if headers.flags == 0 && headers.present & drop == 0 {
        let start =
            if line_len > 0 { 0 } else { headers.fields.first().map_or(storage.len(), |field| field.start as usize) };
        out.extend_from_slice(&storage[start..]);
        return;
    }
    let mut run = Span { start: 0, len: line_len };
    for field in &headers.fields {
        if drop & field.known.bit() != 0 {
            continue;
        }
        if field.flags == 0 {
            if field.start != run.end() {
                out.extend_from_slice(run.of(storage));
                run.start = field.start;
            }
            run.len = field.value.end() + 2 - run.start;
        } else if field.flags == IRREGULAR {
            out.extend_from_slice(run.of(storage));
            run.len = 0;
            out.extend_from_slice(field.name().of(storage));
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value.of(storage));
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(run.of(storage));
}

/// Starts a chunk of `len` bytes, at least 1 (0 would end the body).
pub fn write_chunk_start(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0);
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (4 * at) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunk.
pub fn write_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Ends a chunked body (RFC 9112 section 7.1.2).
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        copy_lines(out, trailers, 0, 0);
    }
    out.extend_from_slice(b"\r\n");
}

/// Tells the client to send the body that it holds back.
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Writes an answer of the gateway's own, head and body.
pub fn write_error(out: &mut Vec<u8>, error: &ErrorResponse<'_>) {
    write_status_line(out, error.status, b"");
    out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
    push_decimal(out, error.text.len() as u64 + 1);
    out.extend_from_slice(b"\r\n");
    if let Some(allow) = error.allow.filter(|allow| is_field_value(allow)) {
        push_field(out, b"Allow: ", allow);
    }
    if let Some(seconds) = error.retry_after_s {
        out.extend_from_slice(b"Retry-After: ");
        push_decimal(out, u64::from(seconds));
        out.extend_from_slice(b"\r\n");
    }
    if let Some(id) = error.request_id.filter(|id| is_field_value(id)) {
        push_field(out, b"X-Request-Id: ", id);
    }
    match (error.keep_alive, error.version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
    if !error.head_only {
        out.extend_from_slice(error.text.as_bytes());
        out.push(b'\n');
    }
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
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
