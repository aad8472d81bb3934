//! Sticky sessions: a cookie that brings a client back to the endpoint that served it first.
//!
//! The cookie is the endpoint's name under a secret: HMAC-SHA-256 (RFC 2104, FIPS 180-4) of upstream and address, cut to 128
//! bits. So nobody can make one that was not handed out, and it says nothing of the address: only that two clients with
//! the same cookie have the same endpoint. It is the same for all workers, reloads and, with the same key, gateways.
//!
//! The bound: one lookup among n by halves, O(log n), and no HMAC for a request. Not a place for state: a client whose endpoint is
//! gone, full or out of service goes by the balance, and takes a new cookie home. Not for many clients behind few cookies.

use super::secret;
use crate::upstream::Endpoint;
use std::fmt;
use std::time::Duration;

/// What makes a cookie impossible to guess.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyKey(pub [u8; 32]);

impl StickyKey {
    /// The key that a secret of any length stands for.
    pub fn of(secret: &[u8]) -> StickyKey {
        StickyKey(secret::derive(secret, b"sticky_key"))
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey")
    }
}

/// Which requests a browser sends a cookie with that come from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// None but a visit by a link.
    Lax,
    /// None.
    Strict,
    /// All of them; a browser asks for `Secure` then.
    None,
}

/// Whether a cookie is for encrypted connections alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secure {
    /// Where the client's connection is known to be encrypted.
    Auto,
    Always,
    Never,
}

/// What is said of the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyPolicy {
    pub cookie: Box<str>,
    pub path: Box<str>,
    /// `None`: until the browser ends.
    pub max_age: Option<Duration>,
    pub same_site: SameSite,
    pub secure: Secure,
}

/// Hexadecimal digits of a cookie's value.
const DIGITS: usize = 32;

/// The cookies of an upstream's endpoints.
#[derive(Debug)]
pub struct Sticky {
    pub policy: StickyPolicy,
    /// By endpoint.
    values: Box<[u128]>,
    /// The same with their endpoints, in order.
    sorted: Box<[(u128, u32)]>,
}

impl Sticky {
    pub fn new(policy: StickyPolicy, key: &StickyKey, upstream: &str, endpoints: &[Endpoint]) -> Sticky {
        let of = |endpoint: &Endpoint| value(key, upstream, &endpoint.identity.address.to_string());
        let values: Box<[u128]> = endpoints.iter().map(of).collect();
        let mut sorted: Box<[(u128, u32)]> = values.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        Sticky { policy, values, sorted }
    }

    /// The endpoint that a cookie names; `None` if it is none of these, or not a cookie of ours.
    pub fn endpoint(&self, cookie: &[u8]) -> Option<u32> {
        let digits = std::str::from_utf8(cookie).ok().filter(|text| text.len() == DIGITS)?;
        // `from_str_radix` takes a sign.
        let value = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u128::from_str_radix(digits, 16))?;
        let value = value.ok()?;
        let at = self.sorted.binary_search_by_key(&value, |(value, _)| *value).ok()?;
        self.sorted.get(at).map(|(_, index)| *index)
    }

    /// The value of a Set-Cookie field that names an endpoint (RFC 6265 section 4.1). `encrypted`: the client's connection is.
    pub fn set_cookie(&self, endpoint: usize, encrypted: bool) -> Option<String> {
        use fmt::Write;
        let StickyPolicy { cookie, path, max_age, same_site, secure } = &self.policy;
        let mut text = format!("{cookie}={:032x}; Path={path}; HttpOnly", self.values.get(endpoint)?);
        if let Some(max_age) = max_age {
            let _ = write!(text, "; Max-Age={}", max_age.as_secs());
        }
        text.push_str(match same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        if matches!((secure, encrypted), (Secure::Always, _) | (Secure::Auto, true)) {
            text.push_str("; Secure");
        }
        Some(text)
    }
}

fn value(key: &StickyKey, upstream: &str, address: &str) -> u128 {
    // A name has no byte 0, so no two pairs are written alike.
    let digest = secret::authenticate(&key.0, &[upstream.as_bytes(), &[0], address.as_bytes()]);
    digest.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}
