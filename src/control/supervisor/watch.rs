//! The watch on the configuration's files, where `watch = true` asks for it.
//!
//! Directories are watched, not files: editors and Kubernetes replace a file instead of writing it. What happens in
//! them is taken as a hint; only another content asks for a reload.

use super::Supervisor;
use crate::control::config;
use crate::telemetry::log;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// A change is read this long after it was seen, so that a file which is written in pieces is read once.
const SETTLE: Duration = Duration::from_millis(150);

/// Watches for the life of the process, as the configuration in force wants it. `known` is the fingerprint of the files
/// as they were read.
pub async fn run(supervisor: Arc<Supervisor>, mut known: Option<u64>) {
    let Some(file) = supervisor.file().map(Path::to_owned) else {
        return;
    };
    // `known` is kept from one watch to the next: what changes while the watch is set up anew is found too.
    loop {
        let (wanted, paths) = {
            let state = supervisor.state.lock().await;
            (state.running.watch, state.running.paths.clone())
        };
        let hint = Arc::new(Notify::new());
        let watcher = if wanted { start(&paths, &hint) } else { None };
        hint.notify_one();
        tokio::select! {
            () = supervisor.watched_changed.notified() => {}
            () = reload_on_change(&supervisor, &file, &hint, &mut known), if watcher.is_some() => {}
        }
    }
}

/// Never ends; each change of content is one request.
async fn reload_on_change(supervisor: &Supervisor, file: &Path, hint: &Notify, known: &mut Option<u64>) {
    loop {
        hint.notified().await;
        sleep(SETTLE).await;
        let now = fingerprint(file).await;
        if now != *known {
            *known = now;
            log::info!("the configuration has changed on disk");
            supervisor.request_reload();
        }
    }
}

async fn fingerprint(file: &Path) -> Option<u64> {
    let file = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || config::fingerprint(&file));
    reading.await.ok()
}

fn start(paths: &[PathBuf], hint: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let hint = Arc::clone(hint);
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too, and would ask for the next reading.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            hint.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        for directory in directories(paths) {
            watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    let failed = |error| log::error!("cannot watch the configuration: {error}; reload it by SIGHUP");
    watcher.map_err(failed).ok()
}

/// The directories that `paths` are in, or are.
fn directories(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let of = |path: &PathBuf| match path.parent() {
        _ if path.is_dir() => path.clone(),
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    paths.iter().map(of).collect()
}
