//! What the log calls the things that a connection began with.
//!
//! [`Named`] borrows from the snapshot. [`Names`] keeps the same in its place, for connections that may last for days: with
//! the snapshot they would keep a configuration in memory for each reload that they outlive.

use super::client::Client;
use super::context::View;
use crate::snapshot::Route;
use crate::upstream::UpstreamIndex;
use std::borrow::Cow;

#[derive(Clone)]
pub(super) struct Named<'a> {
    pub generation: u64,
    pub listener: &'a str,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,
    /// Of the client's connection, where somebody else knows it.
    pub unique_id: Option<Cow<'a, [u8]>>,
}

impl<'a> Named<'a> {
    pub(super) fn of(
        client: &'a Client,
        view: &'a View,
        listener: usize,
        route: Option<&'a Route>,
        upstream: Option<UpstreamIndex>,
    ) -> Named<'a> {
        let snapshot = &view.snapshot;
        let upstream = upstream.and_then(|index| snapshot.upstreams.get(index.0 as usize));
        Named {
            generation: snapshot.generation,
            listener: &snapshot.listeners[listener].name,
            route: route.map(|route| route.name.as_str()),
            upstream: upstream.map(|upstream| upstream.identity.name.as_str()),
            unique_id: client.known_unique_id(upstream),
        }
    }
}

pub(super) struct Names {
    generation: u64,
    listener: Box<str>,
    route: Option<Box<str>>,
    upstream: Option<Box<str>>,
    unique_id: Option<Box<[u8]>>,
}

impl Names {
    pub(super) fn keep(named: &Named<'_>) -> Names {
        Names {
            generation: named.generation,
            listener: named.listener.into(),
            route: named.route.map(Box::from),
            upstream: named.upstream.map(Box::from),
            unique_id: named.unique_id.as_deref().map(Box::from),
        }
    }

    pub(super) fn named(&self) -> Named<'_> {
        Named {
            generation: self.generation,
            listener: &self.listener,
            route: self.route.as_deref(),
            upstream: self.upstream.as_deref(),
            unique_id: self.unique_id.as_deref().map(Cow::Borrowed),
        }
    }
}
