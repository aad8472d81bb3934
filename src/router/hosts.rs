//! The host part of the rules: which tables of paths apply to a host, the most specific first. It knows names; what is
//! behind them is a number to it. Used by [`super::Router`] alone.

use super::paths::{Paths, Root};
use std::collections::HashMap;
use std::fmt;

/// The longest name that can match a rule that names hosts (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;

/// Hosts by how they match. Names are in lower case.
#[derive(Default)]
pub(super) struct Hosts {
    pub exact: HashMap<Box<[u8]>, Root>,
    /// By what follows `*.`.
    pub suffix: HashMap<Box<[u8]>, Root>,
    /// The most labels that any suffix has.
    suffix_labels_max: usize,
    any: Option<Root>,
}

impl Hosts {
    /// The root for `host`, made if it is new.
    pub fn add(&mut self, host: &str, paths: &mut Paths) -> Root {
        let name = host.trim_end_matches('.').to_ascii_lowercase().into_bytes();
        if name == b"*" || name.is_empty() {
            return *self.any.get_or_insert_with(|| paths.add_root());
        }
        if let Some(suffix) = name.strip_prefix(b"*.") {
            let labels = suffix.iter().filter(|byte| **byte == b'.').count() + 1;
            self.suffix_labels_max = self.suffix_labels_max.max(labels);
            return *self.suffix.entry(suffix.into()).or_insert_with(|| paths.add_root());
        }
        *self.exact.entry(name.into()).or_insert_with(|| paths.add_root())
    }

    /// Offers the roots that apply to `host`, the most specific first, until one is taken.
    #[inline]
    pub fn find<R>(&self, host: &[u8], mut take: impl FnMut(Root) -> Option<R>) -> Option<R> {
        if !(self.exact.is_empty() && self.suffix.is_empty())
            && let Some(found) = self.find_named(host, &mut take)
        {
            return Some(found);
        }
        self.any.and_then(take)
    }

    fn find_named<R>(&self, host: &[u8], take: &mut impl FnMut(Root) -> Option<R>) -> Option<R> {
        let name = without_port(host);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut lower = [0; NAME_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let name = &*lower;
        if let Some(found) = self.exact.get(name).and_then(|root| take(*root)) {
            return Some(found);
        }
        if self.suffix.is_empty() {
            return None;
        }
        // After the nth dot from the left are as many labels as there are dots from it on.
        let mut labels = name.iter().filter(|byte| **byte == b'.').count();
        for dot in memchr::memchr_iter(b'.', name) {
            if labels <= self.suffix_labels_max && dot > 0 {
                let root = self.suffix.get(&name[dot + 1..]);
                if let Some(found) = root.and_then(|root| take(*root)) {
                    return Some(found);
                }
            }
            labels -= 1;
        }
        None
    }
}

/// The host without `:port`; the colons of an address in brackets are its own.
fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr2(b':', b']', host) {
        Some(at) if host[at] == b':' => &host[..at],
        _ => host,
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exact, {} suffixes, any: {}", self.exact.len(), self.suffix.len(), self.any.is_some())
    }
}
