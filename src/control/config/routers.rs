//! Match rules → one router for each listener. Two routes that no request could tell apart are a tie; the router finds
//! them, and here they become mistakes that show both.

use super::report::{Mistake, Mistakes, Place};
use super::values::shown;
use crate::protocol::http::normalize;
use crate::router::{PathMatch, PathPolicy, Router, RouterBuilder};
use std::collections::HashSet;

/// What one route matches, as the file says it.
#[derive(Debug)]
pub struct Rule {
    /// Index into the routes.
    pub route: usize,
    /// Where the route stands.
    pub place: Place,
    /// Its hosts are server names of TLS connections.
    pub sni: bool,
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

/// The path of a rule that no request has, because the listener puts paths into another form; said once for each route.
pub fn unreachable(rule: &Rule, listener: &str, policy: PathPolicy) -> Option<Mistake> {
    let (RulePath::Exact(path) | RulePath::Prefix(path)) = &rule.path;
    let mut form = path.clone().into_bytes();
    let result = match form.is_empty() {
        true => Ok(0),
        false => normalize(&mut form, policy),
    };
    let (title, help) = match result {
        Ok(len) if form[..len] == *path.as_bytes() => return None,
        Ok(len) => {
            let form = String::from_utf8_lossy(&form[..len]).into_owned();
            (format!("no request has the path `{}`", shown(path)), format!("it arrives as `{}`", shown(&form)))
        }
        Err(error) => (format!("requests with the path `{}` are refused", shown(path)), format!("it has {error}")),
    };
    let help = format!("{help}: `path_normalize` puts paths into one form (docs/routing.md)");
    let label = format!("this route matches nothing at listener `{}`", shown(listener));
    Some(Mistake::error(title, rule.place.clone(), label).help(help))
}

/// The router of one listener. Ties are reported, each pair of routes once for all listeners.
pub fn build(rules: &[&Rule], ties: &mut HashSet<(usize, usize)>, mistakes: &Mistakes) -> Router {
    let mut builder = RouterBuilder::new();
    for rule in rules {
        let path = match &rule.path {
            RulePath::Exact(path) => PathMatch::Exact(path),
            RulePath::Prefix(prefix) => PathMatch::Prefix(prefix),
        };
        // The limit on routes is far below `u32::MAX`.
        let route = u32::try_from(rule.route).unwrap_or(u32::MAX);
        let Err(conflict) = builder.add(&rule.hosts, path, &rule.methods, route) else { continue };
        let first = rules.iter().find(|earlier| earlier.route == conflict.first as usize);
        if let Some(first) = first
            && ties.insert((first.route, rule.route))
        {
            mistakes.push(tie(first, rule));
        }
    }
    builder.build()
}

fn tie(first: &Rule, second: &Rule) -> Mistake {
    let (matched, by) = if second.sni { ("connections", "server name") } else { ("requests", "host, path or method") };
    Mistake::error(format!("two routes match the same {matched}"), second.place.clone(), "this one ties ...")
        .and(first.place.clone(), "... with this one")
        .help(format!("make one of them more specific by {by}, or remove one"))
}
