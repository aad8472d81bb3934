//! Request head → route. Pure.

/// How a route's path matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMatch<'a> {
    Exact(&'a str),
    /// Segment-wise: `/v1` and `/v1/` are the same prefix and match `/v1`, `/v1/` and `/v1/x`, not `/v1x`.
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

/// The methods that would have been allowed.
#[derive(Clone, Copy, Debug)]
pub struct Allow<'a> {
    router: &'a Router,
}

impl Allow<'_> {
    /// Appends the value of an Allow field: `GET, HEAD`.
    pub fn write(&self, _out: &mut Vec<u8>) {
        let _ = self.router;
    }
}

/// Collects the rules of one listener.
#[derive(Debug, Default)]
pub struct RouterBuilder {}

impl RouterBuilder {
    /// `hosts`: exact or `*.suffix`; empty is any. `methods`: empty is any.
    pub fn add<H: AsRef<str>, M: AsRef<str>>(
        &mut self,
        _hosts: &[H],
        _path: PathMatch<'_>,
        _methods: &[M],
        _route: u32,
    ) -> Result<(), Conflict> {
        Ok(())
    }
    pub fn build(self) -> Router {
        Router {}
    }
}

/// Compiled match rules of one listener.
#[derive(Debug, Default)]
pub struct Router {}

impl Router {
    /// Finds the most specific route that matches.
    pub fn route(&self, _host: &[u8], _path: &[u8], _method: &[u8]) -> Result<u32, Miss<'_>> {
        Ok(0)
    }
}
