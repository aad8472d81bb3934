//! A request over HTTP/1.1, one a connection, and what its response must be. The response is read by the parsers that the
//! data plane trusts: an endpoint whose responses they refuse is not fine, whatever its status.

use super::{ANSWER_BYTES_MAX, Heard, Step, contains, shown};
use crate::health::probe::{HttpProbe, ProbeFailure};
use crate::protocol::http::{BodyLength, Method, ResponseHead};
use crate::protocol::http1::{ChunkLimits, ChunkedDecoder, ChunkedEvent, HeadLimits, Parsed, parse_response};
use std::fmt::Write as _;

/// The first bytes of a TLS alert, which a server of TLS answers to anything else.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];
/// Responses that announce another.
const INTERIM_MAX: usize = 8;

pub(super) fn step(probe: &HttpProbe, address: &str, heard: Heard<'_>) -> Step {
    if heard.sent == 0 {
        return Step::Send(request(probe, address));
    }
    let method = if probe.method == "HEAD" { Method::Head } else { Method::Get };
    let mut head = ResponseHead::default();
    let mut rest = heard.bytes;
    for _ in 0..INTERIM_MAX {
        match parse_response(rest, &HeadLimits::default(), method, &mut head) {
            Ok(Parsed::Partial) => return Step::Receive,
            Ok(Parsed::Complete(len)) => rest = rest.get(len..).unwrap_or_default(),
            Err(_) if heard.bytes.starts_with(&TLS_ALERT) => {
                return Step::fail(ProbeFailure::Malformed, "it speaks TLS, and was asked without");
            }
            Err(error) => return Step::fail(ProbeFailure::Malformed, format!("no response of HTTP/1.1: {error}")),
        }
        if head.status >= 200 || head.status == 101 {
            return judge(probe, &head, rest, heard.ended);
        }
    }
    Step::fail(ProbeFailure::Malformed, format!("more than {INTERIM_MAX} responses of 1xx"))
}

fn judge(probe: &HttpProbe, head: &ResponseHead, body: &[u8], ended: bool) -> Step {
    let passes = probe.statuses.iter().any(|range| (range.first..=range.last).contains(&head.status));
    if !passes {
        let wanted: Vec<String> = probe.statuses.iter().map(ToString::to_string).collect();
        let why = format!("HTTP {}, expected {}", head.status, wanted.join(", "));
        return Step::fail(ProbeFailure::Status, why);
    }
    if probe.expect.is_empty() {
        return Step::Pass(b"");
    }
    let (text, whole) = match head.body {
        BodyLength::Empty => (Vec::new(), true),
        BodyLength::UntilClose => (body.to_vec(), ended),
        BodyLength::Exact(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            (body[..body.len().min(length)].to_vec(), body.len() >= length)
        }
        BodyLength::Chunked => match unchunked(body) {
            Ok(found) => found,
            Err(why) => return Step::fail(ProbeFailure::Malformed, why),
        },
    };
    let expected = shown(&probe.expect);
    match (contains(&text, &probe.expect), whole, ended) {
        (true, _, _) => Step::Pass(b""),
        (false, true, _) => Step::fail(ProbeFailure::Answer, format!("the body does not contain \"{expected}\"")),
        (false, false, true) if body.len() + 1024 > ANSWER_BYTES_MAX => {
            let kib = ANSWER_BYTES_MAX >> 10;
            Step::fail(
                ProbeFailure::Answer,
                format!("the first {kib} KiB of the response do not contain \"{expected}\""),
            )
        }
        (false, false, _) => Step::Receive,
    }
}

/// The body so far, and whether that is all of it.
fn unchunked(mut bytes: &[u8]) -> Result<(Vec<u8>, bool), String> {
    let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
    let mut text = Vec::new();
    loop {
        let step = decoder.next(bytes).map_err(|error| format!("no chunked body: {error}"))?;
        bytes = bytes.get(step.consumed..).unwrap_or_default();
        match step.event {
            ChunkedEvent::NeedMore => return Ok((text, false)),
            ChunkedEvent::End => return Ok((text, true)),
            ChunkedEvent::Data { len } => {
                let len = len.min(bytes.len());
                text.extend_from_slice(&bytes[..len]);
                bytes = &bytes[len..];
            }
        }
    }
}

fn request(probe: &HttpProbe, address: &str) -> Vec<u8> {
    let host = probe.host.as_deref().unwrap_or(if address.starts_with("unix:") { "localhost" } else { address });
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", probe.method, probe.path);
    let has = |name: &str| probe.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    // Writing to a String cannot fail.
    if !has("user-agent") {
        let _ = write!(text, "User-Agent: ringgate/{} (probe)\r\n", env!("CARGO_PKG_VERSION"));
    }
    if !has("accept") {
        text.push_str("Accept: */*\r\n");
    }
    for (name, value) in &probe.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    // RFC 9110 section 8.6: a method that anticipates content says that there is none.
    if matches!(probe.method.as_str(), "POST" | "PUT" | "PATCH") {
        text.push_str("Content-Length: 0\r\n");
    }
    text.push_str("Connection: close\r\n\r\n");
    text.into_bytes()
}
