//! Documents → checked settings: what the tables of all files mean together. This file has the top of the file and
//! the order of things; the tables are in `upstreams`, `listeners` and `routes`.
//!
//! Goes on after every mistake, so that all are seen at once; reads no clock, and no file but those that secrets are in. Names of
//! endpoints are
//! resolved by the function that the caller hands in.

use super::keys::{self, Kind, Table};
use super::listeners::{ListenerDraft, Listeners};
use super::reader::{Reader, near};
use super::report::{Mistake, Mistakes, Place};
use super::routers;
use super::routes::Routes;
use super::settings::{EngineChoice, ListenerSettings, ProcessSettings, Settings};
use super::upstreams::Upstreams;
use super::values::{self, shown};
use crate::snapshot::Protocol;
use crate::telemetry::access_log::Destination;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeTable;

/// Resolves a host name and a port to addresses.
pub type Resolve<'a> = &'a dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>>;

/// One parsed file.
#[derive(Debug)]
pub struct Document<'i> {
    /// Index into the sources of the report.
    pub file: usize,
    pub root: Spanned<DeTable<'i>>,
    /// Relative paths in the file begin here.
    pub directory: PathBuf,
}

/// Checks all documents, the main file first. `running` is what the process runs with, if this is a reload. The
/// settings are to be used only if no error was collected.
pub fn check(
    documents: &[Document<'_>],
    running: Option<&ProcessSettings>,
    resolve: Resolve<'_>,
    mistakes: &Mistakes,
) -> Option<Settings> {
    let (main, fragments) = documents.split_first()?;
    let open = |document| top_reader(document, mistakes);
    let tops: Vec<Reader<'_, '_>> = documents.iter().map(open).collect();
    let top = tops.first()?;
    fragments_add_tables_only(main, fragments, &tops);
    let process = process_settings(documents, top, &tops);
    if let Some(running) = running {
        refuse_process_changes(&tops, running, &process);
    }
    let upstreams = Upstreams::read(documents, &tops, resolve, mistakes);
    let mut listeners = Listeners::read(&tops, &upstreams);
    let routes = Routes::read(&tops, &mut listeners, &upstreams, mistakes);
    if listeners.drafts.is_empty() && tops.iter().all(|top| top.raw("listener").is_none()) {
        nothing_listens(top);
    }
    include_is_a_directory(top);
    upstreams.warn_unused();
    let mut ties = HashSet::new();
    let mut unreachable = HashSet::new();
    let finished =
        listeners.drafts.into_iter().map(|draft| finish(draft, &routes.rules, &mut ties, &mut unreachable, mistakes));
    Some(Settings {
        process,
        drain_timeout: top.duration("drain_timeout"),
        worker_lag_max: top.duration("worker_lag_max"),
        memory_max: top.raw("memory_max").map(|_| top.size("memory_max")),
        drain_idle_timeout: top.duration("drain_idle_timeout"),
        watch: top.boolean("watch"),
        listeners: finished.collect(),
        routes: routes.settings,
        upstreams: upstreams.settings,
    })
}

fn top_reader<'d, 'i>(document: &'d Document<'i>, mistakes: &'d Mistakes) -> Reader<'d, 'i> {
    let place = Place { file: document.file, span: 0..0 };
    Reader::new(&keys::TOP, document.file, place, document.root.get_ref(), mistakes)
}

fn nothing_listens(top: &Reader<'_, '_>) {
    let mistake = Mistake::error("there is no listener", top.place.clone(), "nothing here says where to listen");
    let example = "[[listener]]\naddress = \"127.0.0.1:8080\"\nupstream = \"app\"\n\n[upstream.app]\nendpoints = [\"127.0.0.1:3000\"]";
    top.mistake(mistake.help(format!("the smallest configuration is\n{example}")).of_absence());
}

/// What the directory holds was read before; here only what the key itself says.
fn include_is_a_directory(top: &Reader<'_, '_>) {
    let filled = |text: &str| {
        if text.is_empty() { Err("must be a directory".to_owned()) } else { Ok(()) }
    };
    top.text_with("include", "the path of a directory", filled);
}

fn finish(
    draft: ListenerDraft,
    rules: &[routers::Rule],
    ties: &mut HashSet<(usize, usize)>,
    unreachable: &mut HashSet<usize>,
    mistakes: &Mistakes,
) -> ListenerSettings {
    let mut settings = draft.settings;
    let own: Vec<_> = draft.rules.iter().filter_map(|index| rules.get(*index)).collect();
    match &mut settings.protocol {
        Protocol::Http(http) => {
            for rule in &own {
                if let Some(mistake) = routers::unreachable(rule, &settings.name, http.path_policy)
                    && unreachable.insert(rule.route)
                {
                    mistakes.push(mistake);
                }
            }
            http.router = routers::build(&own, ties, mistakes);
            if own.is_empty() && !draft.broken {
                let title = format!("no route belongs to listener `{}`", shown(&settings.name));
                mistakes.push(Mistake::warning(title, draft.place, "every request is answered with 404").of_absence());
            }
        }
        Protocol::Tcp(tcp) => {
            tcp.sni = (!own.is_empty()).then(|| routers::build(&own, ties, mistakes));
            if own.is_empty() && !draft.names_upstream {
                let help = "a tcp listener relays to one upstream: `upstream = \"NAME\"`, or has routes with `sni`";
                mistakes.push(upstream_is_missing(draft.place, help));
            }
        }
        Protocol::Udp(_) if !draft.names_upstream => {
            let help = "a udp listener relays to one upstream: `upstream = \"NAME\"`";
            mistakes.push(upstream_is_missing(draft.place, help));
        }
        Protocol::Udp(_) => {}
    }
    settings
}

fn upstream_is_missing(place: Place, help: &str) -> Mistake {
    Mistake::error("`upstream` is missing", place, "in this table").help(help).of_absence()
}

/// Fragments add tables; what the main file says stays.
fn fragments_add_tables_only(main: &Document<'_>, fragments: &[Document<'_>], tops: &[Reader<'_, '_>]) {
    for (fragment, top) in fragments.iter().zip(tops.iter().skip(1)) {
        for (key, _) in fragment.root.get_ref() {
            let name = key.get_ref().as_ref();
            let Some(known) = keys::TOP.keys.iter().find(|known| known.name == name) else {
                continue;
            };
            let earlier = main.root.get_ref().get_key_value(name);
            let mistake = match (&known.kind, earlier) {
                (Kind::Tables(_) | Kind::NamedTables(_) | Kind::OneTable(_), _) => continue,
                (_, Some((first, _))) => {
                    let title = format!("`{name}` is set in two files");
                    Mistake::error(title, top.place_of(key), "an included file cannot override the main file")
                        .and(Place { file: main.file, span: first.span() }, "it is set here")
                }
                (_, None) => {
                    let title = format!("`{name}` belongs in the main file");
                    Mistake::error(title, top.place_of(key), "an included file may add tables and nothing else")
                }
            };
            top.mistake(mistake);
        }
    }
}

/// The one table of this name in all files, and whose file it is in. A second one is a mistake.
fn only_table<'d, 'i>(
    tops: &'d [Reader<'d, 'i>],
    name: &'static str,
    spec: &'static Table,
) -> Option<(usize, Reader<'d, 'i>)> {
    let mut found: Option<(usize, Reader<'d, 'i>)> = None;
    for (index, top) in tops.iter().enumerate() {
        let Some(value) = top.raw(name) else { continue };
        if let Some((_, first)) = &found {
            let mistake =
                Mistake::error(format!("`{}` is in two files", spec.title), top.key_place(name), "again here");
            top.mistake(mistake.and(first.place.clone(), "first here"));
            continue;
        }
        found = top.inner(spec, value).map(|reader| (index, reader));
    }
    found
}

fn process_settings(documents: &[Document<'_>], top: &Reader<'_, '_>, tops: &[Reader<'_, '_>]) -> ProcessSettings {
    let workers = top.optional_integer("workers").and_then(|workers| u32::try_from(workers).ok());
    let engine = [EngineChoice::Auto, EngineChoice::Uring, EngineChoice::Epoll][top.choice("engine").min(2)];
    let admin = admin(tops, top.mistakes());
    ProcessSettings { workers, engine, admin, access_log: access_log(documents, tops) }
}

fn access_log(documents: &[Document<'_>], tops: &[Reader<'_, '_>]) -> Option<Destination> {
    let (index, reader) = only_table(tops, "access_log", &keys::ACCESS_LOG)?;
    let filled = |text: &str| match text {
        "" => Err("must be a file, or \"-\" for standard output".to_owned()),
        path => Ok(path.to_owned()),
    };
    let path = reader.text_with("path", "a path, or \"-\" for standard output", filled)?;
    if path.value == "-" {
        return Some(Destination::Stdout);
    }
    let directory = documents.get(index).map_or(Path::new(""), |document| &document.directory);
    Some(Destination::File(directory.join(&path.value)))
}

/// The address of the admin listener alone.
pub fn admin_only(documents: &[Document<'_>], mistakes: &Mistakes) -> Option<SocketAddr> {
    let tops: Vec<_> = documents.iter().map(|document| top_reader(document, mistakes)).collect();
    admin(&tops, mistakes)
}

fn admin(tops: &[Reader<'_, '_>], mistakes: &Mistakes) -> Option<SocketAddr> {
    if let Some((_, reader)) = only_table(tops, "admin", &keys::ADMIN) {
        return admin_address(&reader);
    }
    let none = DeTable::new();
    admin_address(&Reader::new(&keys::ADMIN, 0, Place { file: 0, span: 0..0 }, &none, mistakes))
}

fn admin_address(reader: &Reader<'_, '_>) -> Option<SocketAddr> {
    let read = |text: &str| {
        if text == "off" { Ok(None) } else { values::socket_address(text).map(Some) }
    };
    let address = reader.text_with("address", "an address such as \"127.0.0.1:9900\", or \"off\"", read)?;
    if let Some(open) = address.value.filter(|address| !address.ip().is_loopback()) {
        let title = format!("the admin listener is reachable from other machines, at {open}");
        let mistake =
            Mistake::warning(title, address.place, "whoever reaches it may read metrics and what is in force");
        reader.mistake(mistake.help("keep it on 127.0.0.1, or see to it that only operators reach it"));
    }
    address.value
}

/// All of a reload applies or none: what needs a restart refuses it.
fn refuse_process_changes(tops: &[Reader<'_, '_>], running: &ProcessSettings, wanted: &ProcessSettings) {
    let refuse = |table: &str, key: &str| {
        let Some(top) = tops.iter().find(|top| top.raw(table).is_some() || top.raw(key).is_some()).or(tops.first())
        else {
            return;
        };
        let (name, place) = match top.raw(table) {
            Some(value) => {
                let inner = value.get_ref().as_table().and_then(|entries| entries.get(key));
                (format!("{table}.{key}"), inner.map_or_else(|| top.place_of(value), |inner| top.place_of(inner)))
            }
            None if table.is_empty() => (key.to_owned(), top.value_place(key)),
            None => (format!("{table}.{key}"), top.place.clone()),
        };
        let title = format!("`{name}` cannot change while the process runs");
        let mistake = Mistake::error(title, place, "differs from what the process was started with");
        top.mistake(
            mistake.help("restart the process to change it, or change it back; nothing of this reload was applied"),
        );
    };
    if running.workers != wanted.workers {
        refuse("", "workers");
    }
    if running.engine != wanted.engine {
        refuse("", "engine");
    }
    if running.admin != wanted.admin {
        refuse("admin", "address");
    }
    if running.access_log != wanted.access_log {
        refuse("access_log", "path");
    }
}

/// A name that refers to nothing.
pub fn unknown_name(what: &str, given: &str, place: Place, names: &Names, mistakes: &Mistakes) -> Mistake {
    const NAMES_SHOWN_MAX: usize = 10;
    let title = format!("there is no {what} `{}`", shown(given));
    let mistake = Mistake::error(title, place, "nothing has this name").of_absence();
    if mistakes.are_many() {
        return mistake;
    }
    let known = names.sorted();
    if let Some(suggestion) = near(given, known.iter().copied()) {
        return mistake.help(suggestion);
    }
    let first: Vec<String> = known.iter().take(NAMES_SHOWN_MAX).map(|name| format!("`{}`", shown(name))).collect();
    match known.len() {
        0 => mistake.help(format!("the configuration has no {what} at all")),
        1..=NAMES_SHOWN_MAX => mistake.help(format!("there is {}", first.join(", "))),
        count => mistake.help(format!("there is {} and {} more", first.join(", "), count - NAMES_SHOWN_MAX)),
    }
}

/// Names that must be unique, and where each was first given.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, (usize, Place)>);

impl Names {
    /// Takes `name` for `index`; gives the place of the first if it is taken.
    pub fn take(&mut self, name: &str, index: usize, place: &Place) -> Result<(), Place> {
        if let Some((_, first)) = self.0.get(name) {
            return Err(first.clone());
        }
        self.0.insert(name.to_owned(), (index, place.clone()));
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<usize> {
        self.0.get(name).map(|(index, _)| *index)
    }

    /// In the order of their indices, so that messages do not change from run to run.
    pub fn sorted(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.iter().map(|(name, (index, _))| (*index, name.as_str())).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }
}
