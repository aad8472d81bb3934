//! What became of the connections of listeners that a reload removed: counted until they have ended or the deadline
//! has come, then logged. The workers drain by themselves; here it is only watched.

use crate::base::Gauge;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::log;
use crate::upstream::ListenerIdentity;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the count is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Connections of clients, or flows, that are open on a listener, all workers together.
pub fn open_connections(listener: &Listener) -> u64 {
    open(&listener.identity)
}

fn open(identity: &ListenerIdentity) -> u64 {
    let level = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
    let flows = identity.udp.as_ref().map_or(0, |udp| udp.sum(|shard| level(&shard.flows_active)));
    identity.stats.sum(|shard| level(&shard.connections_active)) + flows
}

/// Starts a task for each listener of `old` that `new` lacks. It holds the listener's identity, and nothing else of the
/// old snapshot, until it has reported.
pub fn report_removed(old: &Snapshot, new: &Snapshot) {
    for listener in &old.listeners {
        if !new.listeners.iter().any(|kept| kept.identity.id == listener.identity.id) {
            let identity = Arc::clone(&listener.identity);
            tokio::spawn(report(listener.name.clone(), identity, new.drain_timeout));
        }
    }
}

async fn report(name: String, identity: Arc<ListenerIdentity>, drain_timeout: Duration) {
    let at_first = open(&identity);
    let deadline = Instant::now() + drain_timeout;
    while open(&identity) > 0 && Instant::now() < deadline {
        sleep(INTERVAL).await;
    }
    let left = open(&identity);
    let ended = at_first.saturating_sub(left);
    if left == 0 {
        log::info!("listener `{name}` drained: {ended} connections ended by themselves");
    } else {
        log::warn!("listener `{name}` drained: {ended} connections ended by themselves, {left} are open still");
    }
}
