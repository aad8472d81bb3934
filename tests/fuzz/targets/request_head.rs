//! Heads of requests.

use super::{HEAD_LIMITS, check_part};
use ringgate::protocol::http::{Known, PathPolicy, RequestHead, Version};
use ringgate::protocol::http1::{Forwarding, HeadLimits, Parsed, describe_refused, parse_request, write_request};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A request head is read alike whole and in two parts; what is written for it reads the same, once, and frames the body
/// in one way.
pub fn check(bytes: &[u8]) {
    let mut head = RequestHead::new();
    describe_refused(bytes, &mut head);
    let _ = (head.method_bytes(), head.path(), head.query(), head.host());
    let whole = parse_request(bytes, &HEAD_LIMITS, &mut head);
    let Ok(Parsed::Complete(len)) = whole else {
        check_part(bytes, |part| parse_request(part, &HEAD_LIMITS, &mut RequestHead::new()).ok(), None);
        return;
    };
    assert!(len <= bytes.len() && len <= HEAD_LIMITS.head_max + 8);
    assert!(head.headers.len() <= HEAD_LIMITS.headers_max && head.target().len() <= HEAD_LIMITS.target_max);
    check_part(&bytes[..len], |part| parse_request(part, &HEAD_LIMITS, &mut RequestHead::new()).ok(), Some(len));
    let clients = [
        (Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), PathPolicy::Off),
        (Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), PathPolicy::Merge),
        (None, PathPolicy::Strict),
    ];
    for (client, policy) in clients {
        let mut head = head.clone();
        if head.normalize_path(policy).is_err() {
            continue;
        }
        let trusted = client.is_none_or(|client| client.is_ipv6());
        let request_id = trusted.then_some(&b"id"[..]);
        let forwarding =
            Forwarding { client, scheme: "http", trusted, request_id, expect: !trusted, upgrade: trusted, keep_alive: !trusted };
        let mut out = Vec::new();
        write_request(&mut out, &head, &forwarding);
        let mut back = RequestHead::new();
        let wide = HeadLimits { head_max: usize::MAX, headers_max: 256, target_max: usize::MAX };
        assert_eq!(parse_request(&out, &wide, &mut back), Ok(Parsed::Complete(out.len())), "{head:?}");
        assert_eq!(back.method_bytes(), head.method_bytes());
        assert_eq!((back.path(), back.query(), back.host()), (head.path(), head.query(), head.host()));
        assert_eq!((back.body, back.version), (head.body, Version::Http11));
        let framings = back.headers.has(Known::ContentLength) as u8 + back.headers.has(Known::TransferEncoding) as u8;
        assert!(framings <= 1);
        assert_eq!(back.headers.get_all(Known::XForwardedFor).count(), 1);
    }
}
