//! What HTTP/1 reading and writing promise, named by RFC section.

use super::*;
use crate::protocol::http::*;
use std::net::{IpAddr, Ipv4Addr};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn forwarding() -> Forwarding<'static> {
    Forwarding { client: CLIENT, scheme: "http", trusted: false, request_id: None, upgrade: false, keep_alive: true }
}

fn rewritten(request: &str) -> String {
    let mut head = RequestHead::new();
    let parsed = parse_request(request.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
    assert_eq!(parsed, Parsed::Complete(request.len()));
    let mut out = Vec::new();
    write_request(&mut out, &head, &forwarding());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_small_get_is_rewritten() {
    assert_eq!(
        rewritten("GET /a?b HTTP/1.1\r\nHost: x.test\r\nConnection: keep-alive\r\nAccept:*/*\r\n\r\n"),
        "GET /a?b HTTP/1.1\r\nHost: x.test\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: x.test\r\nForwarded: for=192.0.2.7;host=x.test;proto=http\r\n\r\n"
    );
}
