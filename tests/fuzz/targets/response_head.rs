//! Heads of responses.

use super::{HEAD_LIMITS, check_part};
use ringgate::protocol::http::{Method, ResponseHead, Version};
use ringgate::protocol::http1::{HeadLimits, Parsed, ResponseOptions, parse_response, write_response};

/// The same for a response head, to each kind of request and client.
pub fn check(bytes: &[u8]) {
    for method in [Method::Get, Method::Head] {
        let mut head = ResponseHead::new();
        let Ok(Parsed::Complete(len)) = parse_response(bytes, &HEAD_LIMITS, method, &mut head) else { continue };
        assert!(len <= bytes.len().min(HEAD_LIMITS.head_max) && head.headers.len() <= HEAD_LIMITS.headers_max);
        check_part(
            &bytes[..len],
            |part| parse_response(part, &HEAD_LIMITS, method, &mut ResponseHead::new()).ok(),
            Some(len),
        );
        for (version, keep_alive) in [(Version::Http11, true), (Version::Http10, true), (Version::Http11, false)] {
            let body = head.body.for_downstream(version);
            let mut out = Vec::new();
            write_response(&mut out, &head, &ResponseOptions { version, keep_alive, body, request_id: Some(b"id") });
            let mut back = ResponseHead::new();
            let wide = HeadLimits { head_max: usize::MAX, headers_max: 256, target_max: usize::MAX };
            assert_eq!(parse_response(&out, &wide, method, &mut back), Ok(Parsed::Complete(out.len())), "{head:?}");
            assert_eq!((back.status, back.body), (head.status, body));
        }
    }
}
