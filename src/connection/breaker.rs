//! The way past an upstream's breaker: asked once for each request, connection or flow, before an endpoint is picked.

use super::context::View;
use crate::snapshot::Upstream;
use crate::upstream::{Admission, UpstreamIdentity, UpstreamIndex};
use std::sync::Arc;

/// What has been let through. While a breaker probes, it counts as one of few until it is dropped.
#[derive(Default)]
pub(super) struct Admitted(Option<(Arc<UpstreamIdentity>, u32)>);

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((upstream, probe)) = self.0.take() {
            upstream.breaker.give_back(probe);
        }
    }
}

/// Where to go in place of `index`: there, or to its fallback. `None`: the breaker rejects it, and that of the fallback
/// does too.
pub(super) fn admit(view: &View, index: UpstreamIndex) -> Option<(Admitted, UpstreamIndex)> {
    let upstream = view.snapshot.upstreams.get(index.0 as usize);
    // What is not there is the caller's to say.
    let Some(upstream) = upstream else { return Some((Admitted::default(), index)) };
    if let Some(admitted) = pass(upstream) {
        return Some((admitted, index));
    }
    let fallback = upstream.rejection.fallback?;
    let admitted = view.snapshot.upstreams.get(fallback.0 as usize).and_then(pass)?;
    Some((admitted, fallback))
}

fn pass(upstream: &Upstream) -> Option<Admitted> {
    match upstream.identity.breaker.admit() {
        Admission::Admitted => Some(Admitted::default()),
        Admission::Probe(probe) => Some(Admitted(Some((Arc::clone(&upstream.identity), probe)))),
        Admission::Rejected => None,
    }
}
