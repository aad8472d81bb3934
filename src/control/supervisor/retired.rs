//! Snapshots that are no longer in force, kept until no worker holds them: freeing a table of a thousand routes takes half
//! a millisecond, which a worker would otherwise spend between two requests.

use crate::snapshot::Snapshot;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked whether workers have let go.
const LOOK: Duration = Duration::from_secs(1);

/// The snapshots that a worker may still hold. One for each that a long request or tunnel began with, at most.
#[derive(Debug, Default)]
pub(super) struct Retired {
    held: Mutex<Vec<Arc<Snapshot>>>,
}

impl Retired {
    /// Takes what has just been replaced, and frees what workers have let go meanwhile. Called within a runtime.
    pub(super) fn add(self: &Arc<Retired>, snapshot: Arc<Snapshot>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // A task is there for as long as anything is held.
        if held.is_empty() {
            tokio::spawn(Arc::clone(self).watch());
        }
        release(&mut held);
        held.push(snapshot);
    }

    async fn watch(self: Arc<Retired>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            release(&mut held);
            if held.is_empty() {
                return;
            }
        }
    }
}

/// Nobody can take a new hold of what is not published, so a count of one stays one.
fn release(held: &mut Vec<Arc<Snapshot>>) {
    held.retain(|snapshot| Arc::strong_count(snapshot) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config;
    use crate::upstream::Registry;

    fn snapshot() -> Arc<Snapshot> {
        let text =
            "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n[upstream.a]\nendpoints = [\"127.0.0.1:1\"]";
        let loaded = config::load_text("test.toml", text, &|_, _| Ok(Vec::new())).unwrap();
        Arc::new(config::compile(loaded.settings, &mut Registry::new(1), 1))
    }

    #[test]
    fn a_snapshot_is_freed_when_its_last_reader_has_gone() {
        let (read, unread) = (snapshot(), snapshot());
        let freed = [Arc::downgrade(&read), Arc::downgrade(&unread)];
        let mut held = vec![Arc::clone(&read), unread];
        release(&mut held);
        assert_eq!(freed.each_ref().map(|weak| weak.strong_count()), [2, 0]);
        drop(read);
        assert_eq!(freed[0].strong_count(), 1, "it is not the reader that frees it");
        release(&mut held);
        assert!(held.is_empty() && freed[0].strong_count() == 0);
    }
}
