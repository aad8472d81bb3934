//! `[[route]]` tables → checked routes and what they match. An `upstream` of an http listener is one more route, that
//! matches what no other does.

use super::check::{Names, unknown_name};
use super::keys::{self, ROUTES_MAX, SUBSETS_MAX};
use super::listeners::{ListenerDraft, Listeners};
use super::reader::{Placed, Reader};
use super::report::{Mistake, Mistakes, Place};
use super::routers::{Rule, RulePath};
use super::settings::RouteSettings;
use super::upstreams::Upstreams;
use super::values::{self, shown};
use crate::snapshot::{Destination, Protocol};
use crate::upstream::{Labels, UpstreamIndex};
use std::collections::{HashMap, HashSet};
use toml::de::DeTable;

/// All routes; `rules[n]` is what `settings[n]` matches.
#[derive(Debug, Default)]
pub struct Routes {
    pub settings: Vec<RouteSettings>,
    pub rules: Vec<Rule>,
    names: Names,
    /// The sets of labels that are asked for of each upstream.
    subsets: HashMap<UpstreamIndex, HashSet<Labels>>,
}

impl Routes {
    /// Reads the routes of all files and tells the listeners which are theirs.
    pub fn read(
        tops: &[Reader<'_, '_>],
        listeners: &mut Listeners,
        upstreams: &Upstreams<'_>,
        mistakes: &Mistakes,
    ) -> Routes {
        let mut routes = Routes::default();
        for top in tops {
            for value in top.list("route", "a list of tables: [[route]]") {
                let Some(reader) = top.inner(&keys::ROUTE, value) else {
                    continue;
                };
                if routes.settings.len() >= ROUTES_MAX {
                    let title = format!("more than {ROUTES_MAX} routes");
                    reader.mistake(Mistake::error(title, reader.place.clone(), "this one is too many"));
                    return routes;
                }
                routes.add(&reader, listeners, upstreams);
            }
        }
        routes.add_listeners_own(listeners, mistakes);
        routes
    }

    fn add(&mut self, reader: &Reader<'_, '_>, listeners: &mut Listeners, upstreams: &Upstreams<'_>) {
        let index = self.settings.len();
        let chosen = reader.words("listener", |text| Ok(text.to_owned()));
        let sni = reader.raw("sni").is_some();
        let of = match &chosen {
            Some(chosen) => chosen_listeners(reader, chosen, listeners, sni),
            None if sni => listener_is_missing(reader),
            None => http_listeners(reader, listeners),
        };
        for listener in of {
            if let Some(draft) = listeners.drafts.get_mut(listener) {
                draft.rules.push(index);
            }
        }
        let hosts = if sni {
            refuse_keys_of_requests(reader);
            unique(reader, "sni", reader.words("sni", values::server_name))
        } else {
            unique(reader, "host", reader.words("host", values::route_host))
        };
        let methods = unique(reader, "method", reader.words("method", values::method));
        let path = read_path(reader);
        let destination = if reader.required("upstream") { upstreams.destination(reader, "upstream") } else { None };
        let rule = Rule { route: index, place: reader.place.clone(), sni, hosts, path, methods };
        let name = self.name(reader, &rule, chosen.as_deref(), index);
        let labels = self.labels(reader, destination.as_ref(), upstreams);
        self.settings.push(RouteSettings {
            name,
            labels,
            destination: destination.unwrap_or(Destination::One(UpstreamIndex(0))),
            response_head_timeout: reader.duration("timeout"),
            response_body_idle_timeout: reader.duration("response_body_idle_timeout"),
            request_buffer: buffer_size(reader, "request_buffer"),
            response_buffer: buffer_size(reader, "response_buffer"),
        });
        self.rules.push(rule);
    }

    /// The name that the file gives, or else what the route matches. Names of files are unique; the others are made so,
    /// since two routes may match the same at two listeners.
    fn name(
        &mut self,
        reader: &Reader<'_, '_>,
        rule: &Rule,
        listeners: Option<&[Placed<String>]>,
        index: usize,
    ) -> String {
        if let Some(given) = reader.text_with("name", "a name such as \"api\"", values::name) {
            if let Err(first) = self.names.take(&given.value, index, &given.place) {
                let title = format!("two routes are named `{}`", shown(&given.value));
                reader.mistake(Mistake::error(title, given.place, "again here").and(first, "first here"));
            }
            return given.value;
        }
        let names: Vec<&str> = listeners.unwrap_or_default().iter().map(|name| name.value.as_str()).collect();
        let matched = describe(&names, rule);
        let taken = self.names.take(&matched, index, &reader.place).is_err();
        if taken { format!("{matched} #{}", index + 1) } else { matched }
    }

    /// The labels that a route asks for; each of its upstreams has an endpoint with them.
    fn labels(
        &mut self,
        reader: &Reader<'_, '_>,
        destination: Option<&Destination>,
        upstreams: &Upstreams<'_>,
    ) -> Labels {
        let labels = reader.labels("labels");
        if labels.is_empty() {
            return labels;
        }
        let parts = match destination {
            None => Vec::new(),
            Some(Destination::One(index)) => vec![*index],
            Some(Destination::Split { parts, .. }) => parts.iter().map(|(_, index)| *index).collect(),
        };
        for index in parts {
            let Some(upstream) = upstreams.settings.get(index.0 as usize) else { continue };
            let name = shown(&upstream.name);
            let mut placements = upstream.endpoints.iter().map(|endpoint| &endpoint.placement);
            if !upstream.endpoints.is_empty() && !placements.any(|placement| placement.has(&labels)) {
                let title = format!("no endpoint of upstream `{name}` has the labels of this route");
                let help = "labels are given to endpoints: { address = \"...\", labels = { name = \"value\" } }";
                let label = "each request would fail with 503";
                reader.mistake(Mistake::error(title, reader.value_place("labels"), label).help(help));
            }
            let subsets = self.subsets.entry(index).or_default();
            subsets.insert(labels.clone());
            if subsets.len() > SUBSETS_MAX {
                let title =
                    format!("routes ask upstream `{name}` for more than {SUBSETS_MAX} different sets of labels");
                let mistake = Mistake::error(title, reader.value_place("labels"), "this one is too many");
                reader.mistake(mistake.help("make upstreams of the endpoints that have them"));
            }
        }
        labels
    }

    /// The routes that listeners bring along by an `upstream` of their own.
    fn add_listeners_own(&mut self, listeners: &mut Listeners, mistakes: &Mistakes) {
        let none = DeTable::new();
        for draft in &mut listeners.drafts {
            let Some((destination, place)) = draft.otherwise.take() else {
                continue;
            };
            let defaults = Reader::new(&keys::ROUTE, place.file, place.clone(), &none, mistakes);
            let index = self.settings.len();
            draft.rules.push(index);
            let name = format!("{} *", draft.settings.name);
            let taken = self.names.take(&name, index, &place).is_err();
            self.settings.push(RouteSettings {
                name: if taken { format!("{name} #{}", index + 1) } else { name },
                destination,
                labels: Labels::new(),
                response_head_timeout: defaults.duration("timeout"),
                response_body_idle_timeout: defaults.duration("response_body_idle_timeout"),
                request_buffer: buffer_size(&defaults, "request_buffer"),
                response_buffer: buffer_size(&defaults, "response_buffer"),
            });
            let (hosts, methods) = (Vec::new(), Vec::new());
            let path = RulePath::Prefix(String::new());
            self.rules.push(Rule { route: index, place, sni: false, hosts, path, methods });
        }
    }
}

/// What a rule matches, in one line: `web GET api.example.com/v1/`.
fn describe(listeners: &[&str], rule: &Rule) -> String {
    let mut parts = Vec::new();
    if !listeners.is_empty() {
        parts.push(listeners.join(","));
    }
    if !rule.methods.is_empty() {
        parts.push(rule.methods.join(","));
    }
    let path = match &rule.path {
        _ if rule.sni => String::new(),
        RulePath::Exact(path) => path.clone(),
        RulePath::Prefix(prefix) => format!("{prefix}/*"),
    };
    parts.push(format!("{}{path}", rule.hosts.join(",")));
    // A name is a label in metrics: as long as a name of the file may be, and no longer.
    let mut text = parts.join(" ");
    if text.len() > keys::NAME_BYTES_MAX {
        let cut = values::border_before(&text, keys::NAME_BYTES_MAX - 3);
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// A route by server name makes its listener wait for what a client says first, so it never takes one by itself.
fn listener_is_missing(reader: &Reader<'_, '_>) -> Vec<usize> {
    let mistake = Mistake::error("`listener` is missing", reader.place.clone(), "in this table");
    reader.mistake(mistake.help("a route with `sni` names its tcp listener").of_absence());
    Vec::new()
}

/// Bytes of a buffer; none where the key is absent.
fn buffer_size(reader: &Reader<'_, '_>, key: &str) -> usize {
    usize::try_from(reader.size(key)).unwrap_or(usize::MAX)
}

fn refuse_keys_of_requests(reader: &Reader<'_, '_>) {
    const KEYS: [&str; 8] = [
        "host",
        "path",
        "path_exact",
        "method",
        "timeout",
        "response_body_idle_timeout",
        "request_buffer",
        "response_buffer",
    ];
    for key in KEYS {
        if reader.raw(key).is_some() {
            let title = format!("`{key}` has no meaning for a route with `sni`");
            let mistake = Mistake::error(title, reader.key_place(key), "matches or limits requests");
            reader.mistake(
                mistake.and(reader.key_place("sni"), "by this it is a route of TLS connections, passed through"),
            );
        }
    }
}

fn chosen_listeners(
    reader: &Reader<'_, '_>,
    chosen: &[Placed<String>],
    listeners: &Listeners,
    sni: bool,
) -> Vec<usize> {
    let mut found = Vec::new();
    for name in chosen {
        let Some(index) = listeners.names.get(&name.value) else {
            let place = name.place.clone();
            reader.mistake(unknown_name("listener", &name.value, place, &listeners.names, reader.mistakes()));
            continue;
        };
        let Some(draft) = listeners.drafts.get(index) else {
            continue;
        };
        if let Some(mistake) = misfit(sni, draft, name) {
            reader.mistake(mistake);
            continue;
        }
        if found.contains(&index) {
            let title = format!("listener `{}` is listed twice", shown(&name.value));
            reader.mistake(Mistake::error(title, name.place.clone(), "again here"));
            continue;
        }
        found.push(index);
    }
    found
}

/// Why a route of this kind cannot belong to this listener.
fn misfit(sni: bool, draft: &ListenerDraft, name: &Placed<String>) -> Option<Mistake> {
    let shown = shown(&name.value);
    match (&draft.settings.protocol, sni) {
        (Protocol::Http(_), false) | (Protocol::Tcp(_), true) => None,
        (Protocol::Tcp(_), false) => {
            let title = format!("listener `{shown}` has no routes of requests: it speaks tcp");
            let mistake = Mistake::error(title, name.place.clone(), "needs an http listener, or `sni`");
            Some(mistake.and(draft.place.clone(), "a tcp listener sends to its own `upstream`, or by server name"))
        }
        (Protocol::Udp(_), _) => {
            let title = format!("listener `{shown}` has no routes: it speaks udp");
            let mistake = Mistake::error(title, name.place.clone(), "a route needs an http listener, or a tcp one");
            Some(mistake.and(draft.place.clone(), "a udp listener sends to its own `upstream`"))
        }
        (Protocol::Http(_), true) => {
            let title = format!("listener `{shown}` has no routes with `sni`: it speaks http");
            let mistake = Mistake::error(title, name.place.clone(), "needs a tcp listener");
            Some(mistake.and(draft.place.clone(), "an http listener routes by `host`"))
        }
    }
}

fn http_listeners(reader: &Reader<'_, '_>, listeners: &Listeners) -> Vec<usize> {
    let http = |(_, draft): &(usize, &ListenerDraft)| matches!(draft.settings.protocol, Protocol::Http(_));
    let found: Vec<usize> = listeners.drafts.iter().enumerate().filter(http).map(|(index, _)| index).collect();
    if found.is_empty() && !listeners.drafts.is_empty() {
        let mistake =
            Mistake::error("this route belongs to no listener", reader.place.clone(), "no listener speaks http");
        reader.mistake(mistake.of_absence());
    }
    found
}

/// `words` without their places; one that is there twice is a mistake.
fn unique(reader: &Reader<'_, '_>, key: &str, words: Option<Vec<Placed<String>>>) -> Vec<String> {
    let mut seen: HashMap<String, Place> = HashMap::new();
    let mut kept = Vec::new();
    for word in words.unwrap_or_default() {
        if let Some(first) = seen.get(&word.value) {
            let title = format!("`{}` is listed twice in `{key}`", shown(&word.value));
            reader.mistake(Mistake::error(title, word.place, "again here").and(first.clone(), "first here"));
            continue;
        }
        seen.insert(word.value.clone(), word.place);
        kept.push(word.value);
    }
    kept
}

fn read_path(reader: &Reader<'_, '_>) -> RulePath {
    const FORM: &str = "a path such as \"/v1/\"";
    let prefix = reader.text_with("path", FORM, values::url_path);
    let exact = reader.text_with("path_exact", FORM, values::url_path);
    if reader.raw("path").is_some() && reader.raw("path_exact").is_some() {
        let title = "a route has either `path` or `path_exact`";
        let mistake = Mistake::error(title, reader.key_place("path_exact"), "this is the whole path");
        reader.mistake(mistake.and(reader.key_place("path"), "this is a prefix"));
    }
    match (exact, prefix) {
        (Some(exact), _) => RulePath::Exact(exact.value),
        (None, Some(prefix)) => RulePath::Prefix(prefix.value.trim_end_matches('/').to_owned()),
        (None, None) => RulePath::Prefix(String::new()),
    }
}
