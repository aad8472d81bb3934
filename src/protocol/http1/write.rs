//! The message model → bytes: requests to endpoints, responses to clients, chunk framing and the gateway's own answers.
//! Everything appends to the caller's `Vec<u8>`. Nothing that could break a line gets into one: field values were checked
//! when they entered the model.

use super::answer::write_status_line;
use super::fields::framing_is_forbidden;
use super::forwarding::{FORWARDED, Forwarding, write_forwarding};
use super::output::Output;
use crate::protocol::http::{
    BodyLength, Headers, IRREGULAR, Known, RequestHead, ResponseHead, Span, TargetForm, Version, is_field_value,
};

/// Room for what the writers add to a head, about.
const ADDED: usize = 384;

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

/// Writes a request head as HTTP/1.1 in origin form (RFC 9112 section 3.2.1), with framing for `head.body`.
pub fn write_request(bytes: &mut Vec<u8>, head: &RequestHead, forwarding: &Forwarding<'_>) {
    let headers = &head.headers;
    let upgrade = forwarding.upgrade && head.upgrade;
    let mut drop = HOP_BY_HOP & !framing_in_place(headers, head.body, head.content_length);
    if upgrade {
        drop &= !Known::Upgrade.bit();
    }
    if !(head.expect_continue && forwarding.expect) {
        drop |= Known::Expect.bit();
    }
    if head.max_forwards.is_some() {
        drop |= Known::MaxForwards.bit();
    }
    if forwarding.request_id.is_some() {
        drop |= Known::XRequestId.bit();
    }
    drop |= match forwarding.trusted {
        true => const { Known::set(&[Known::Forwarded, Known::XForwardedFor]) },
        false => FORWARDED,
    };
    let mut output = Output::new(bytes, headers.storage.len() + ADDED);
    let out = &mut output;
    let in_target = head.host.end() <= head.target.end();
    if in_target {
        drop |= Known::Host.bit();
    }
    if head.line_len == 0 {
        write_request_line(out, head);
    }
    if in_target {
        // RFC 9112 section 3.2: Host is sent even where it is empty.
        out.put_field(b"Host: ", head.host());
    }
    copy_lines(out, headers, head.line_len, drop);
    write_framing(out, headers, head.body, drop);
    if let Some(number) = head.max_forwards {
        out.put(b"Max-Forwards: ");
        out.put_decimal(number.saturating_sub(1));
        out.put(b"\r\n");
    }
    write_forwarding(out, head, forwarding);
    let te = head.accepts_trailers;
    if te {
        out.put(b"TE: trailers\r\n");
    }
    let connection: &[u8] = match (forwarding.keep_alive, upgrade, te) {
        (_, true, true) => b"Connection: upgrade, TE\r\n\r\n",
        (_, true, false) => b"Connection: upgrade\r\n\r\n",
        (false, _, true) => b"Connection: close, TE\r\n\r\n",
        (false, _, false) => b"Connection: close\r\n\r\n",
        (true, _, true) => b"Connection: TE\r\n\r\n",
        (true, _, false) => b"\r\n",
    };
    out.put(connection);
    output.finish();
}

fn write_request_line(out: &mut Output<'_>, head: &RequestHead) {
    out.put(head.method_bytes());
    out.put(b" ");
    match head.form {
        TargetForm::Asterisk => out.put(b"*"),
        _ => {
            if head.path_len == 0 {
                out.put(b"/");
            }
            out.put(head.path_and_query.of(&head.headers.storage));
        }
    }
    out.put(b" HTTP/1.1\r\n");
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
fn write_framing(out: &mut Output<'_>, headers: &Headers, body: BodyLength, drop: u32) {
    let copied = headers.present & !drop;
    match body {
        BodyLength::Exact(length) if copied & Known::ContentLength.bit() == 0 => {
            out.put(b"Content-Length: ");
            out.put_decimal(length);
            out.put(b"\r\n");
        }
        BodyLength::Chunked if copied & Known::TransferEncoding.bit() == 0 => {
            out.put(b"Transfer-Encoding: chunked\r\n");
        }
        _ => {}
    }
}

/// Writes a response head as HTTP/1.1, with framing for `options.body`. The caller keeps interim responses from HTTP/1.0
/// clients (RFC 9110 section 15.2).
pub fn write_response(bytes: &mut Vec<u8>, head: &ResponseHead, options: &ResponseOptions<'_>) {
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
    let mut output = Output::new(bytes, headers.storage.len() + ADDED);
    let out = &mut output;
    let line_len = if head.status == head.line_status { head.line_len } else { 0 };
    if line_len == 0 {
        let reason = if head.status == head.line_status { head.reason() } else { b"" };
        write_status_line(out, head.status, reason);
    }
    copy_lines(out, headers, line_len, drop);
    write_framing(out, headers, options.body, drop);
    if let Some(id) = id {
        out.put_field(b"X-Request-Id: ", id);
    }
    let current = options.version == Version::Http11;
    let connection: &[u8] = match options.keep_alive {
        _ if upgrade && (head.status == 101 || options.keep_alive) => b"Connection: upgrade\r\n\r\n",
        _ if head.status < 200 => b"\r\n",
        true if current => b"\r\n",
        true => b"Connection: keep-alive\r\n\r\n",
        false => b"Connection: close\r\n\r\n",
    };
    out.put(connection);
    output.finish();
}

/// Copies the start line and the fields whose names are not in `drop`. Regular lines that follow one another are copied at
/// once: most heads are one or two runs.
#[inline]
fn copy_lines(out: &mut Output<'_>, headers: &Headers, line_len: u32, drop: u32) {
    let storage = &headers.storage[..];
    let part = |start: u32, end: u32| Span { start, len: end - start }.of(storage);
    let (mut start, mut end) = (0, line_len);
    for field in &headers.fields {
        let is_dropped = drop & field.known.bit() != 0;
        if is_dropped || field.flags != 0 {
            if !is_dropped && field.flags == IRREGULAR {
                out.put(part(start, end));
                (start, end) = (0, 0);
                out.put(field.name().of(storage));
                out.put(b": ");
                out.put(field.value.of(storage));
                out.put(b"\r\n");
            }
            continue;
        }
        if field.start != end {
            out.put(part(start, end));
            start = field.start;
        }
        end = field.value.end() + 2;
    }
    out.put(part(start, end));
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
pub fn write_last_chunk(bytes: &mut Vec<u8>, trailers: Option<&Headers>) {
    let mut output = Output::new(bytes, trailers.map_or(0, |trailers| trailers.storage.len()) + b"0\r\n\r\n".len());
    output.put(b"0\r\n");
    if let Some(trailers) = trailers {
        copy_lines(&mut output, trailers, 0, 0);
    }
    output.put(b"\r\n");
    output.finish();
}

/// Tells the client to send the body that it holds back.
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}
