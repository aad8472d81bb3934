//! The path and method part of the rules: one trie of path segments for each host rule, all in one arena. Used by
//! [`super::Router`] alone.
//!
//! A walk goes down one child per segment and stops where the rules end, so a path of thousands of segments costs no more
//! than the longest rule. Where many children follow one segment they are looked up by a
//! keyed hash.

use super::{Conflict, MethodIndex, PathMatch};
use std::collections::HashMap;
use std::fmt;

/// The branch where a trie begins.
pub(super) type Root = u32;

/// The tries of all hosts.
#[derive(Default)]
pub(super) struct Paths {
    branches: Vec<Branch>,
}

#[derive(Default)]
struct Branch {
    children: Children,
    prefix: Option<Entry>,
    exact: Option<Entry>,
}

/// What follows a segment. Few are compared one by one, which is quicker than a hash; the number of many has no part in
/// what a lookup costs.
pub(super) enum Children {
    Few(Vec<(Box<[u8]>, u32)>),
    Many(HashMap<Box<[u8]>, u32>),
}

/// Children that are compared one by one.
const FEW_MAX: usize = 4;

impl Default for Children {
    fn default() -> Children {
        Children::Few(Vec::new())
    }
}

impl Children {
    #[inline]
    fn get(&self, segment: &[u8]) -> Option<u32> {
        match self {
            Children::Few(few) => few.iter().find(|(name, _)| **name == *segment).map(|(_, branch)| *branch),
            Children::Many(many) => many.get(segment).copied(),
        }
    }

    fn insert(&mut self, segment: &[u8], branch: u32) {
        match self {
            Children::Few(few) if few.len() < FEW_MAX => few.push((segment.into(), branch)),
            Children::Few(few) => {
                few.push((segment.into(), branch));
                *self = Children::Many(few.drain(..).collect());
            }
            Children::Many(many) => {
                many.insert(segment.into(), branch);
            }
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Children::Few(few) if few.is_empty())
    }
}

/// The routes of one host rule and one path rule.
#[derive(Default)]
pub(super) struct Entry {
    /// The route that names no method.
    any: Option<u32>,
    /// Those that do, with the method; few, so in no order.
    named: Vec<(MethodIndex, u32)>,
}

impl Entry {
    pub fn add(&mut self, methods: &[MethodIndex], route: u32) -> Result<(), Conflict> {
        if methods.is_empty() {
            return match self.any {
                Some(first) if first != route => Err(Conflict { first }),
                _ => {
                    self.any = Some(route);
                    Ok(())
                }
            };
        }
        for method in methods {
            match self.naming(*method) {
                // The route names the method, or the host, twice.
                Some(first) if first == route => {}
                Some(first) => return Err(Conflict { first }),
                None => self.named.push((*method, route)),
            }
        }
        Ok(())
    }

    /// The route for a method: one that names it, else the one that names none.
    #[inline]
    pub fn find(&self, method: MethodIndex) -> Option<u32> {
        self.naming(method).or(self.any)
    }

    /// Whether a route here names no methods.
    pub fn takes_any(&self) -> bool {
        self.any.is_some()
    }

    pub fn methods(&self) -> impl Iterator<Item = MethodIndex> {
        self.named.iter().map(|(method, _)| *method)
    }

    #[inline]
    fn naming(&self, method: MethodIndex) -> Option<u32> {
        self.named.iter().find(|(named, _)| *named == method).map(|(_, route)| *route)
    }
}

impl Paths {
    pub fn add_root(&mut self) -> Root {
        self.branches.push(Branch::default());
        self.branches.len() as u32 - 1
    }

    /// The entry for a path rule under `root`, made if it is new.
    pub fn entry(&mut self, root: Root, path: PathMatch<'_>) -> &mut Entry {
        let (PathMatch::Exact(text) | PathMatch::Prefix(text)) = path;
        // The slash at the end of a prefix means nothing; `/` is the prefix of no segment.
        let text = match path {
            PathMatch::Exact(_) => Some(text),
            PathMatch::Prefix(_) => Some(text.strip_suffix('/').unwrap_or(text)).filter(|text| !text.is_empty()),
        };
        let segments = text.map(|text| text.strip_prefix('/').unwrap_or(text).split('/'));
        let mut at = root;
        for segment in segments.into_iter().flatten() {
            at = self.child(at, segment);
        }
        let branch = &mut self.branches[at as usize];
        match path {
            PathMatch::Exact(_) => branch.exact.get_or_insert_default(),
            PathMatch::Prefix(_) => branch.prefix.get_or_insert_default(),
        }
    }

    fn child(&mut self, at: u32, segment: &str) -> u32 {
        let next = self.branches.len() as u32;
        let children = &mut self.branches[at as usize].children;
        if let Some(child) = children.get(segment.as_bytes()) {
            return child;
        }
        children.insert(segment.as_bytes(), next);
        self.branches.push(Branch::default());
        next
    }

    /// Shows every entry that matches `path`, the least specific first.
    #[inline]
    pub fn walk<'a>(&'a self, root: Root, path: &[u8], mut show: impl FnMut(&'a Entry)) {
        let Some(mut branch) = self.branches.get(root as usize) else {
            return;
        };
        let Some(mut rest) = path.strip_prefix(b"/") else {
            // The asterisk form, or no path at all.
            branch.prefix.iter().for_each(show);
            return;
        };
        loop {
            if let Some(entry) = &branch.prefix {
                show(entry);
            }
            if branch.children.is_empty() {
                return;
            }
            // Segments are short: a search made for long texts costs more than it saves.
            let end = rest.iter().position(|byte| *byte == b'/');
            let segment = &rest[..end.unwrap_or(rest.len())];
            let Some(child) = branch.children.get(segment) else {
                return;
            };
            branch = &self.branches[child as usize];
            let Some(end) = end else { break };
            rest = &rest[end + 1..];
        }
        for entry in branch.prefix.iter().chain(&branch.exact) {
            show(entry);
        }
    }
}

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} path branches", self.branches.len())
    }
}
