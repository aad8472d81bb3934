//! Text → checked settings → snapshot. The data plane never sees what is in here: it gets a snapshot, or, if anything
//! at all is wrong, nothing; whoever asked gets a [`Report`] with every mistake and its line.
//!
//! [`load`] reads and checks, [`compile`] makes the snapshot. Called by `cli` at a start and for `check`, and by the
//! supervisor for a reload.
//!
//! | file | what it is |
//! |---|---|
//! | `keys` | every key, once, with kind, limits, default and help |
//! | `files` | the file and its fragments, read and parsed |
//! | `reader`, `values` | one table by its key list; the values that are written as strings |
//! | `secrets` | what stands elsewhere |
//! | `check`, `upstreams`, `balance`, `probes`, `listeners`, `sockets`, `routes`, `routers`, `health` | what the tables mean together |
//! | `settings`, `compile` | the outcome, and the snapshot from it |
//! | `report` | mistakes, for people and for programs |

mod balance;
mod check;
mod compile;
mod files;
mod health;
pub mod keys;
mod listeners;
mod probes;
mod reader;
pub mod report;
mod routers;
mod routes;
mod secrets;
mod settings;
mod sockets;
mod upstreams;
pub mod values;

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;

pub use check::Resolve;
pub use compile::compile;
pub use report::Report;
pub use settings::{
    BalanceSettings, EndpointSettings, EngineChoice, ListenerSettings, ProcessSettings, RouteSettings, Settings,
    StickySettings, UpstreamSettings,
};

use files::Files;
use report::{Level, Mistakes};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration that nothing is wrong with.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What is doubtful but allowed.
    pub warnings: Report,
    /// Every file and directory that it was read from, to be watched for changes.
    pub paths: Vec<PathBuf>,
}

/// Reads and checks the file at `path` and its fragments. Blocks: it reads files and resolves host names.
///
/// With `running`, this is for a reload, which cannot change what holds for the life of the process.
pub fn load(path: &Path, running: Option<&ProcessSettings>) -> Result<Loaded, Report> {
    load_files(files::read(path), running, &|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// Like [`load`], from text instead of a file. `shown_path` is what messages call it; relative paths begin at the
/// working directory, and nothing is included.
pub fn load_text(shown_path: &str, text: &str, resolve: Resolve<'_>) -> Result<Loaded, Report> {
    load_files(Files::of_text(shown_path, text), None, resolve)
}

fn load_files(files: Files, running: Option<&ProcessSettings>, resolve: Resolve<'_>) -> Result<Loaded, Report> {
    let Files { sources, directories, paths, mistakes: found } = files;
    let sources = Arc::new(sources);
    let mistakes = Mistakes::default();
    let (documents, broken_lines) = files::parse(&sources, &directories);
    let whole = found.is_empty() && broken_lines.is_empty();
    let checked = || check::check(&documents, running, resolve, &mistakes);
    let settings = if broken_lines.is_most() { None } else { checked() };
    let mut all = mistakes.into_inner();
    if !whole {
        all.retain(|mistake| !mistake.of_absence && !broken_lines.cover(mistake));
    }
    all.extend(broken_lines.into_mistakes());
    all.extend(found);
    let refused = all.iter().any(|mistake| mistake.level == Level::Error);
    // What nothing uses may be what a misspelt name meant.
    all.retain(|mistake| !refused || mistake.level == Level::Error || !mistake.of_absence);
    let report = Report::new(Arc::clone(&sources), all);
    match settings {
        Some(settings) if !refused => Ok(Loaded { settings, warnings: report, paths }),
        _ => Err(report),
    }
}

/// Where the admin listener of a configuration is, whatever else may be wrong with the file; `None` is nowhere. For a
/// file that cannot be read, the default.
pub fn admin_address(path: &Path) -> Option<SocketAddr> {
    let Files { sources, directories, .. } = files::read(path);
    let mistakes = Mistakes::default();
    let (documents, _) = files::parse(&sources, &directories);
    check::admin_only(&documents, &mistakes)
}

/// A number that is another as soon as the file at `path` or one of its fragments is another. Reads all of them.
pub fn fingerprint(path: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let files = files::read(path);
    let mut hasher = DefaultHasher::new();
    for source in &files.sources {
        (&source.path, &source.text).hash(&mut hasher);
    }
    files.mistakes.len().hash(&mut hasher);
    hasher.finish()
}
