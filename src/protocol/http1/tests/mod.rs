//! What HTTP/1 reading and writing promise, named by RFC section, and what must hold for all inputs.

mod any;
mod chunked;
mod request;
mod response;
mod write;

use super::*;
use crate::protocol::http::*;
use std::net::{IpAddr, Ipv4Addr};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const LIMITS: HeadLimits = HeadLimits { head_max: 16 * 1024, headers_max: 100, target_max: 8 * 1024 };

fn forwarding() -> Forwarding<'static> {
    Forwarding {
        client: Some(CLIENT),
        scheme: "http",
        trusted: false,
        request_id: None,
        expect: true,
        upgrade: false,
        keep_alive: true,
    }
}

/// Parses a request that must be complete and take all bytes.
fn request(bytes: &str) -> RequestHead {
    let mut head = RequestHead::new();
    assert_eq!(parse_request(bytes.as_bytes(), &LIMITS, &mut head), Ok(Parsed::Complete(bytes.len())), "{bytes:?}");
    head
}

/// Parses a response that must be complete and take all bytes.
fn response_to(method: Method, bytes: &str) -> ResponseHead {
    let mut head = ResponseHead::new();
    let parsed = parse_response(bytes.as_bytes(), &LIMITS, method, &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete(bytes.len())), "{bytes:?}");
    head
}

fn response(bytes: &str) -> ResponseHead {
    response_to(Method::Get, bytes)
}

fn request_error(bytes: &str) -> Result<Parsed, HeadError> {
    parse_request(bytes.as_bytes(), &LIMITS, &mut RequestHead::new())
}

fn refuse(bytes: &str, error: impl Into<HeadError>) {
    assert_eq!(request_error(bytes), Err(error.into()), "{bytes:?}");
}

fn refuse_response(bytes: &str, error: impl Into<HeadError>) {
    let parsed = parse_response(bytes.as_bytes(), &LIMITS, Method::Get, &mut ResponseHead::new());
    assert_eq!(parsed, Err(error.into()), "{bytes:?}");
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn write_request_with(bytes: &str, forwarding: &Forwarding<'_>) -> String {
    let mut out = Vec::new();
    write_request(&mut out, &request(bytes), forwarding);
    String::from_utf8(out).unwrap()
}

fn write_response_with(head: &ResponseHead, version: Version, keep_alive: bool) -> String {
    let options = ResponseOptions { version, keep_alive, body: head.body.for_downstream(version), request_id: None };
    let mut out = Vec::new();
    write_response(&mut out, head, &options);
    String::from_utf8(out).unwrap()
}
