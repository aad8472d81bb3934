//! What the gateway tells an endpoint about the client: X-Forwarded-*, Forwarded (RFC 7239) and X-Request-Id. Which clients
//! are believed is the caller's to say. Called by `write`.

use super::output::Output;
use crate::protocol::http::{Headers, Known, RequestHead, is_field_value};
use std::io::Write;
use std::net::IpAddr;

/// What the gateway tells the endpoint about the client.
#[derive(Clone, Copy, Debug)]
pub struct Forwarding<'a> {
    /// The address that the client connected from. `None`: it has none, because it came over a Unix socket; it is then
    /// told to the endpoint as `unknown` (RFC 7239 section 6.2), in X-Forwarded-For too.
    pub client: Option<IpAddr>,
    /// `http` or `https`, as the client spoke it.
    pub scheme: &'a str,
    /// Whether the client's own X-Forwarded-*, Forwarded and X-Request-Id are believed and extended. If not, they are
    /// replaced.
    pub trusted: bool,
    /// The request's id; `None` leaves X-Request-Id as the client sent it.
    pub request_id: Option<&'a [u8]>,
    /// Whether an `Expect: 100-continue` is passed on.
    pub expect: bool,
    /// Whether an upgrade that the client asked for is passed on.
    pub upgrade: bool,
    /// Whether the endpoint's connection goes on after this exchange.
    pub keep_alive: bool,
}

/// Removed from the requests of clients that are not trusted.
pub(super) const FORWARDED: u32 = Known::set(&[
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

/// X-Forwarded-*, Forwarded (RFC 7239) and X-Request-Id.
pub(super) fn write_forwarding(out: &mut Output<'_>, head: &RequestHead, forwarding: &Forwarding<'_>) {
    let mut address = [0; 48];
    let address = match forwarding.client {
        Some(client) => address_text(&mut address, client),
        None => b"unknown",
    };
    let host = head.host();
    let kept = if forwarding.trusted { head.headers.present } else { 0 };
    out.put(b"X-Forwarded-For: ");
    if kept & Known::XForwardedFor.bit() != 0 {
        push_list(out, &head.headers, Known::XForwardedFor);
    }
    out.put(address);
    if kept & Known::XForwardedProto.bit() == 0 {
        out.put(b"\r\nX-Forwarded-Proto: ");
        out.put(forwarding.scheme.as_bytes());
    }
    if kept & Known::XForwardedHost.bit() == 0 {
        out.put(b"\r\nX-Forwarded-Host: ");
        out.put(host);
    }
    out.put(b"\r\nForwarded: ");
    if kept & Known::Forwarded.bit() != 0 {
        push_list(out, &head.headers, Known::Forwarded);
    }
    // RFC 7239 section 6: an IPv6 address stands in brackets and therefore in quotes.
    let (open, close): (&[u8], &[u8]) = match forwarding.client.map(|client| client.to_canonical()) {
        Some(IpAddr::V6(_)) => (b"for=\"[", b"]\""),
        Some(IpAddr::V4(_)) | None => (b"for=", b""),
    };
    out.put(open);
    out.put(address);
    out.put(close);
    if !host.is_empty() {
        let (open, close): (&[u8], &[u8]) = if head.host_is_plain { (b";host=", b"") } else { (b";host=\"", b"\"") };
        out.put(open);
        out.put(host);
        out.put(close);
    }
    out.put(b";proto=");
    out.put(forwarding.scheme.as_bytes());
    out.put(b"\r\n");
    if let Some(id) = forwarding.request_id.and_then(|_| request_id(head, forwarding)) {
        out.put_field(b"X-Request-Id: ", id);
    }
}

/// The values of all fields of one name as one list that goes on.
fn push_list(out: &mut Output<'_>, headers: &Headers, known: Known) {
    for value in headers.get_all(known).filter(|value| !value.is_empty()) {
        out.put(value);
        out.put(b", ");
    }
}

fn address_text(buffer: &mut [u8; 48], address: IpAddr) -> &[u8] {
    let mut len = 0;
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for octet in address.octets() {
                if let Some(place) = buffer[len..].first_chunk_mut() {
                    *place = OCTETS[octet as usize];
                }
                len += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
            }
            // Without the last dot.
            len -= 1;
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

/// Every octet in decimal, with a dot behind it.
static OCTETS: [[u8; 4]; 256] = {
    let mut table = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut from = if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        };
        let mut to = 0;
        while from < 3 {
            table[octet][to] = b'0' + digits[from] as u8;
            from += 1;
            to += 1;
        }
        octet += 1;
    }
    table
};
