//! Request head → route. Pure; compiled once for each listener of a snapshot, asked once for each request.
//!
//! A route matches a request by host, path and method. Of those that match, the most specific wins: an exact host before
//! the longest `*.suffix` before none; then an exact path before the longest prefix; then one that names methods before one
//! that does not. Two that tie are a [`Conflict`], so the order of routes never matters.
//!
//! Paths are compared byte for byte, the query left off. That `/a/../b` is `/b` is settled before: a request's path is put
//! into the form of the listener's [`PathPolicy`], and that form is what the router and the endpoint get.

mod hosts;
mod paths;

#[cfg(test)]
mod tests;

pub use crate::protocol::http::PathPolicy;

use crate::protocol::http::Method;
use hosts::Hosts;
use paths::{Entry, Paths};
use std::collections::HashMap;
use std::fmt;

/// How a route's path matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMatch<'a> {
    /// This path alone: `/v1` does not match `/v1/`.
    Exact(&'a str),
    /// Segment-wise: `/v1` and `/v1/` are the same prefix and match `/v1`, `/v1/` and `/v1/x`, not `/v1x`. `/` matches
    /// every path, and the `*` of OPTIONS.
    Prefix(&'a str),
}

/// Two routes match the same requests and neither is more specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The route that was there first.
    pub first: u32,
}

/// Why no route was found.
#[derive(Clone, Copy, Debug)]
pub enum Miss<'a> {
    NoRoute,
    /// Routes match but for the method.
    MethodNotAllowed(Allow<'a>),
}

/// What a method is to a router: a named method's discriminant, or [`NAMED`] and the place in its list of others.
type MethodIndex = u32;

const NAMED: MethodIndex = Method::NAMED.len() as u32;
const UNKNOWN: MethodIndex = MethodIndex::MAX;

/// Collects the routes of one listener.
#[derive(Default)]
pub struct RouterBuilder {
    router: Router,
}

impl RouterBuilder {
    pub fn new() -> RouterBuilder {
        RouterBuilder::default()
    }

    /// Adds a route. `hosts` are exact names or `*.suffix`, without ports; none, or `*`, is any. `methods` are
    /// case-sensitive; none is any. `route` is what [`Router::route`] answers.
    ///
    /// # Errors
    /// Where another route matches the same requests. The builder is of no further use then.
    pub fn add<H: AsRef<str>, M: AsRef<str>>(
        &mut self,
        hosts: &[H],
        path: PathMatch<'_>,
        methods: &[M],
        route: u32,
    ) -> Result<(), Conflict> {
        let router = &mut self.router;
        let methods: Vec<MethodIndex> = methods.iter().map(|method| router.add_method(method.as_ref())).collect();
        if hosts.is_empty() {
            let root = router.hosts.add("*", &mut router.paths);
            return router.paths.entry(root, path).add(&methods, route);
        }
        for host in hosts {
            let root = router.hosts.add(host.as_ref(), &mut router.paths);
            router.paths.entry(root, path).add(&methods, route)?;
        }
        Ok(())
    }

    pub fn build(self) -> Router {
        self.router
    }
}

/// Compiled match rules of one listener. A lookup costs what the host's labels and the path's segments cost as far as the
/// rules go, whatever the number of routes; it allocates nothing.
#[derive(Default)]
pub struct Router {
    hosts: Hosts,
    paths: Paths,
    /// Methods that [`Method`] does not name.
    methods: HashMap<Box<[u8]>, MethodIndex>,
}

impl Router {
    /// Finds the most specific route that matches. `host` as received, with or without port; `path` without query;
    /// `method` as received.
    #[inline]
    pub fn route<'a>(&'a self, host: &'a [u8], path: &'a [u8], method: &[u8]) -> Result<u32, Miss<'a>> {
        let method = self.method_index(method);
        let mut other_method = false;
        let found = self.hosts.find(host, |root| {
            let mut best = None;
            self.paths.walk(root, path, |entry| match entry.find(method) {
                Some(route) => best = Some(route),
                None => other_method = true,
            });
            best
        });
        match found {
            Some(route) => Ok(route),
            None if other_method => Err(Miss::MethodNotAllowed(self.allow(host, path))),
            None => Err(Miss::NoRoute),
        }
    }

    /// The methods that routes for this host and path take.
    pub fn allow<'a>(&'a self, host: &'a [u8], path: &'a [u8]) -> Allow<'a> {
        Allow { router: self, host, path }
    }

    #[inline]
    fn method_index(&self, method: &[u8]) -> MethodIndex {
        match Method::from_bytes(method) {
            Method::Other => self.methods.get(method).copied().unwrap_or(UNKNOWN),
            named => named as MethodIndex,
        }
    }

    fn add_method(&mut self, method: &str) -> MethodIndex {
        match Method::from_bytes(method.as_bytes()) {
            Method::Other => {
                let next = NAMED + self.methods.len() as MethodIndex;
                *self.methods.entry(method.as_bytes().into()).or_insert(next)
            }
            named => named as MethodIndex,
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// Every method that a route without methods takes and that has a name here; CONNECT is none of them.
pub const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH";

/// The methods that would have found a route.
#[derive(Clone, Copy)]
pub struct Allow<'a> {
    router: &'a Router,
    host: &'a [u8],
    path: &'a [u8],
}

impl Allow<'_> {
    /// Appends the value of an Allow field (RFC 9110 section 10.2.1): `GET, HEAD`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut methods: Vec<MethodIndex> = Vec::new();
        let mut any = false;
        self.router.hosts.find(self.host, |root| {
            self.router.paths.walk(root, self.path, |entry: &Entry| {
                any |= entry.takes_any();
                methods.extend(entry.methods());
            });
            None::<()>
        });
        if any {
            return out.extend_from_slice(METHODS.as_bytes());
        }
        methods.sort_unstable();
        methods.dedup();
        for (at, index) in methods.into_iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            match Method::NAMED.get(index as usize) {
                Some(method) => out.extend_from_slice(method.name().as_bytes()),
                None => out.extend_from_slice(
                    self.router.methods.iter().find(|(_, at)| **at == index).map_or(&[], |(name, _)| name),
                ),
            }
        }
    }
}

impl fmt::Debug for Allow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}
