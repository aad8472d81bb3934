//! What binds a request or a connection to an endpoint: the key that its upstream hashes by, the endpoint that its cookie
//! names, the part of the upstream that its route is for. Found once, and asked for with every attempt.

use super::client::Client;
use crate::balancer::{Affinity, HashKey, Policy};
use crate::base::Address;
use crate::protocol::http::RequestHead;
use crate::snapshot::{Route, Upstream};
use crate::upstream::UpstreamIndex;

/// What is preferred of an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Preference {
    /// 0 is all of its endpoints; others are those with the labels of a route.
    pub subset: u32,
    pub affinity: Affinity,
}

impl Preference {
    /// Of what is not HTTP.
    pub(super) fn of_client(
        route: Option<&Route>,
        (index, upstream): (UpstreamIndex, &Upstream),
        address: &Address,
    ) -> Preference {
        Preference {
            subset: subset(route, index),
            affinity: Affinity { key: key(&upstream.policy, address, None), kept: None },
        }
    }

    /// Of a request, whose path is `path` to the router.
    pub(super) fn of_request(
        route: &Route,
        (index, upstream): (UpstreamIndex, &Upstream),
        client: &Client,
        (request, path): (&RequestHead, &[u8]),
    ) -> Preference {
        let key = key(&upstream.policy, &client.address, Some((request, path)));
        let kept = upstream.sticky.as_ref().and_then(|sticky| {
            // A browser may have two of one name, by paths; any that is ours will do.
            cookies(request, sticky.policy.cookie.as_bytes()).find_map(|value| sticky.endpoint(value))
        });
        Preference { subset: subset(Some(route), index), affinity: Affinity { key, kept } }
    }
}

fn subset(route: Option<&Route>, upstream: UpstreamIndex) -> u32 {
    let subsets = route.map_or(&[][..], |route| &route.subsets);
    subsets.iter().find(|(index, _)| *index == upstream).map_or(0, |(_, subset)| *subset)
}

/// The first of the configured keys that there is.
fn key(policy: &Policy, address: &Address, request: Option<(&RequestHead, &[u8])>) -> Option<u64> {
    if !policy.balance.is_keyed() {
        return None;
    }
    let seed = &policy.hash_seed;
    policy.hash_on.iter().find_map(|on| {
        let (request, path) = match on {
            HashKey::Source => return seed.client(address),
            _ => request?,
        };
        let value = match on {
            HashKey::Source => None,
            HashKey::Path => Some(path),
            HashKey::Header(name) => request.headers.get_name(name.as_bytes()),
            HashKey::Cookie(name) => cookies(request, name.as_bytes()).next(),
            HashKey::Query(name) => parameter(request.query()?, name.as_bytes()),
        };
        value.map(|value| seed.hash(value))
    })
}

/// The values of the cookies of this name (RFC 6265 section 4.2.1); a quoted one without its quotes.
fn cookies<'a>(request: &'a RequestHead, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let fields = request.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"));
    let pairs = fields.flat_map(|(_, value)| value.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// The value of the first query parameter of this name, as it is written.
fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::Balance;
    use crate::protocol::http1::{HeadLimits, parse_request};

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::new();
        parse_request(text.replace('\n', "\r\n").as_bytes(), &HeadLimits::default(), &mut head).expect("it is valid");
        head
    }

    const REQUEST: &str =
        "GET /a?x=1&user=ann&user=bob HTTP/1.1\nHost: a\nX-User: ann\nCookie: a=1; session=\"s1\"; b\n\n";

    #[test]
    fn each_kind_of_key_is_found() {
        let address = Address::Ip(([192, 0, 2, 1], 7).into());
        let mut policy = Policy::new(Balance::Maglev);
        let request = head(REQUEST);
        let mut key_of = |on: &[HashKey]| {
            policy.hash_on = on.to_vec();
            key(&policy, &address, Some((&request, b"/a")))
        };
        let hash = |bytes: &[u8]| Some(Policy::new(Balance::Maglev).hash_seed.hash(bytes));
        let (header, cookie, query) = (HashKey::Header, HashKey::Cookie, HashKey::Query);
        assert_eq!(key_of(&[HashKey::Source]), hash(&[192, 0, 2, 1]));
        assert_eq!(key_of(&[HashKey::Path]), hash(b"/a"));
        assert_eq!(key_of(&[header("x-USER".into())]), hash(b"ann"));
        assert_eq!(key_of(&[cookie("session".into())]), hash(b"s1"));
        assert_eq!(key_of(&[cookie("b".into())]), None);
        assert_eq!(key_of(&[query("user".into())]), hash(b"ann"));
        assert_eq!(key_of(&[query("use".into())]), None);
        assert_eq!(key_of(&[header("x-none".into()), query("x".into()), HashKey::Path]), hash(b"1"));
        assert_eq!(key(&Policy::new(Balance::Random), &address, Some((&request, b"/a"))), None);
    }

    #[test]
    fn a_client_is_its_address_or_its_64() {
        let policy = Policy::new(Balance::RingHash);
        let of = |text: &str| key(&policy, &Address::Ip((text.parse::<std::net::IpAddr>().unwrap(), 1).into()), None);
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
