//! What is written from the key list: `conf/ringgate.toml`, which shows every key, and `conf/ringgate.schema.json`, by
//! which editors complete and check. The tests here hold both to the code; `UPDATE_GOLDEN=1 cargo test` writes them.
//!
//! Built for tests alone: the program itself needs none of it.

use super::keys::{self, Key, Kind, Presence, Table, Word};
use super::tests::golden;
use super::values::{duration_text, percent_text, size_text};
use super::{Settings, load_text};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const HEADING: &str = "\
#:schema ./ringgate.schema.json
#
# Every key of Ringgate's configuration. What is set here is the default, so that a file needs only what is to be
# different; what is commented out has no default, and its comment says what holds without it.
#
# Durations are whole numbers with units (\"500ms\", \"5s\", \"1m30s\", \"1h\"), sizes have binary units (\"16KiB\"), paths of
# files are relative to this file. The order of tables never matters, and no table inherits from another.
#
# `ringgate check FILE` says what is wrong with a file, all of it at once. docs/configuration.md explains the model.
";

const WIDTH: usize = 118;

fn conf() -> String {
    let mut text = HEADING.to_owned();
    for key in keys::TOP.keys.iter().filter(|key| !is_table(key)) {
        show_key(&mut text, key, None);
    }
    show_table(&mut text, &keys::ADMIN, "", None);
    show_table(&mut text, &keys::ACCESS_LOG, "", None);
    show_table(&mut text, &keys::LISTENER, "", Some("http"));
    show_table(&mut text, &keys::LISTENER, "The same for TCP: the keys of HTTP have no meaning here.", Some("tcp"));
    show_table(&mut text, &keys::LISTENER, "The same for UDP.", Some("udp"));
    show_table(&mut text, &keys::ROUTE, "", None);
    show_table(&mut text, &keys::UPSTREAM, "", None);
    show_table(&mut text, &keys::PROBE, "", Some("http"));
    other_probes(&mut text);
    text.push_str("\n[upstream.redis]\nendpoints = [\"127.0.0.1:6380\"]\n");
    text.push_str("\n[upstream.dns]\nendpoints = [\"127.0.0.1:5353\"]\n");
    text
}

fn is_table(key: &Key) -> bool {
    matches!(key.kind, Kind::OneTable(_) | Kind::Tables(_) | Kind::NamedTables(_))
}

fn show_table(text: &mut String, table: &Table, help: &str, protocol: Option<&str>) {
    text.push_str("\n\n");
    comment(text, if help.is_empty() { table.help } else { help });
    text.push_str(&table.title.replace("NAME", "api"));
    text.push('\n');
    for key in table.keys {
        if key.protocols.is_empty() || protocol.is_some_and(|protocol| key.protocols.contains(&protocol)) {
            show_key(text, key, protocol);
        }
    }
}

/// The keys that other kinds of probe have, as comments: a table has one kind.
fn other_probes(text: &mut String) {
    for kind in keys::PROBE_KINDS.into_iter().filter(|kind| *kind != "http") {
        text.push_str(&format!("\n# With kind = \"{kind}\", instead of the keys of \"http\":\n"));
        for key in keys::PROBE.keys.iter().filter(|key| key.protocols.contains(&kind)) {
            show_key(text, key, None);
        }
    }
}

fn show_key(text: &mut String, key: &Key, protocol: Option<&str>) {
    text.push('\n');
    comment(text, key.help);
    let range = range(&key.kind);
    if !range.is_empty() {
        comment(text, &format!("Allowed: {range}."));
    }
    let line = match (&key.presence, key.name) {
        (_, "protocol") if protocol == Some("tcp") => "protocol = \"tcp\"".to_owned(),
        (_, "upstream") if protocol == Some("tcp") => "upstream = \"redis\"".to_owned(),
        (_, "address") if protocol == Some("tcp") => "address = \"127.0.0.1:6379\"".to_owned(),
        (_, "protocol") if protocol == Some("udp") => "protocol = \"udp\"".to_owned(),
        (_, "upstream") if protocol == Some("udp") => "upstream = \"dns\"".to_owned(),
        (_, "address") if protocol == Some("udp") => "address = \"127.0.0.1:53\"".to_owned(),
        (Presence::Required { example }, name) => format!("{name} = {example}"),
        (Presence::Default(default), name) => format!("{name} = {default}"),
        (Presence::Optional { example, without }, name) => {
            comment(text, &format!("Without it: {without}."));
            format!("# {name} = {example}")
        }
    };
    text.push_str(&line);
    text.push('\n');
}

fn range(kind: &Kind) -> String {
    match kind {
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Duration { min, max } => format!("{} to {}", duration_text(*min), duration_text(*max)),
        Kind::Size { min, max, unlimited: false } => format!("{} to {}", size_text(*min), size_text(*max)),
        Kind::DurationOrOff { min, max } => format!("{} to {}, or \"off\"", duration_text(*min), duration_text(*max)),
        Kind::Rate { max } => format!("\"off\", or up to {}/s", size_text(*max)),
        Kind::Percent { min, max } => format!("{} to {}", percent_text(*min), percent_text(*max)),
        Kind::PercentOrOff { min, max } => format!("{} to {}, or \"off\"", percent_text(*min), percent_text(*max)),
        Kind::Choice(words) | Kind::Words(Word::Of(words)) => {
            words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

/// `help` as comment lines of at most [`WIDTH`].
fn comment(text: &mut String, help: &str) {
    let mut line = String::new();
    for word in help.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            text.push_str(&format!("#{line}\n"));
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&format!("#{line}\n"));
}

fn schema() -> Value {
    let mut root = table_schema(&keys::TOP);
    let about = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Ringgate configuration",
        "definitions": {
            "admin": table_schema(&keys::ADMIN),
            "access_log": table_schema(&keys::ACCESS_LOG),
            "listener": table_schema(&keys::LISTENER),
            "route": table_schema(&keys::ROUTE),
            "upstream": table_schema(&keys::UPSTREAM),
            "probe": table_schema(&keys::PROBE),
            "endpoint": table_schema(&keys::ENDPOINT),
        },
    });
    if let (Value::Object(root), Value::Object(about)) = (&mut root, about) {
        root.extend(about);
    }
    root
}

fn table_schema(table: &Table) -> Value {
    let properties: Map<String, Value> = table.keys.iter().map(|key| (key.name.to_owned(), key_schema(key))).collect();
    let required = |key: &&Key| matches!(key.presence, Presence::Required { .. });
    let required: Vec<_> = table.keys.iter().filter(required).map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !table.help.is_empty() {
        schema["description"] = json!(table.help);
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn key_schema(key: &Key) -> Value {
    let mut schema = kind_schema(key);
    let mut help = key.help.to_owned();
    match &key.presence {
        Presence::Default(text) => schema["default"] = default_json(text),
        Presence::Optional { without, .. } if !without.is_empty() => help.push_str(&format!(" Without it: {without}.")),
        _ => {}
    }
    schema["description"] = json!(help);
    schema
}

fn kind_schema(key: &Key) -> Value {
    let weight = json!({ "type": "integer", "minimum": 0, "maximum": keys::ENDPOINT_WEIGHT_MAX });
    let name = json!({ "type": "string", "minLength": 1, "maxLength": keys::NAME_BYTES_MAX });
    match &key.kind {
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$" }),
        Kind::Size { unlimited: false, .. } => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$" }),
        Kind::Size { unlimited: true, .. } => {
            json!({ "type": "string", "pattern": "^([0-9]+(B|KiB|MiB|GiB|TiB)|unlimited)$" })
        }
        Kind::DurationOrOff { .. } => json!({ "type": "string", "pattern": "^(([0-9]+(d|h|m|s|ms))+|off)$" }),
        Kind::Rate { .. } => json!({ "type": "string", "pattern": "^([0-9]+(B|KiB|MiB|GiB|TiB)/s|off)$" }),
        Kind::Percent { .. } => json!({ "type": "string", "pattern": "^[0-9]+([.][0-9])?%$" }),
        Kind::PercentOrOff { .. } => json!({ "type": "string", "pattern": "^([0-9]+([.][0-9])?%|off)$" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Name => name,
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Secret => json!({ "type": "string", "pattern": "^(env|file):.+$" }),
        Kind::Address => json!({ "type": "string", "pattern": "^(.+:[0-9]+|unix:[/@].+)$" }),
        Kind::AddressOrOff => json!({ "type": "string", "pattern": "^(.+:[0-9]+|off)$" }),
        Kind::FileMode => json!({ "type": "string", "pattern": "^0?[0-7]{3}$" }),
        Kind::FilePath => json!({ "type": "string", "minLength": 1 }),
        Kind::Token => json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }),
        Kind::Labels => {
            let most = keys::LABELS_MAX;
            json!({ "type": "object", "maxProperties": most, "additionalProperties": { "type": "string" } })
        }
        Kind::UrlPath => json!({ "type": "string", "pattern": "^/" }),
        Kind::Words(word) => {
            let fewest = if matches!(word, Word::Network | Word::Header | Word::Of(_)) { 0 } else { 1 };
            let item = match word {
                Word::Of(words) => json!({ "enum": words }),
                _ => json!({ "type": "string" }),
            };
            let list = json!({ "type": "array", "items": item, "minItems": fewest, "maxItems": keys::WORDS_MAX });
            json!({ "anyOf": [item, list] })
        }
        Kind::Upstream => {
            let most = keys::SPLIT_PARTS_MAX;
            let split =
                json!({ "type": "object", "minProperties": 1, "maxProperties": most, "additionalProperties": weight });
            json!({ "anyOf": [name, split] })
        }
        Kind::Endpoints => {
            let endpoint = json!({ "anyOf": [{ "type": "string" }, { "$ref": "#/definitions/endpoint" }] });
            json!({ "type": "array", "minItems": 1, "maxItems": keys::ENDPOINTS_MAX, "items": endpoint })
        }
        Kind::OneTable(_) => json!({ "allOf": [definition(key.name)] }),
        Kind::Tables(_) => json!({ "type": "array", "items": definition(key.name) }),
        Kind::NamedTables(_) => json!({ "type": "object", "additionalProperties": definition(key.name) }),
    }
}

fn definition(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

fn default_json(text: &str) -> Value {
    let table: toml::Table = format!("value = {text}").parse().expect("every default is TOML");
    serde_json::to_value(&table["value"]).expect("a default is a string, a number, a boolean or a list")
}

/// The keys of a table as a table of Markdown.
fn markdown(table: &Table) -> String {
    let mut text = "| key | without it | what it does |\n|---|---|---|\n".to_owned();
    for key in table.keys.iter().filter(|key| !is_table(key)) {
        let without = match &key.presence {
            Presence::Required { .. } => "required".to_owned(),
            Presence::Default(default) => format!("`{default}`"),
            Presence::Optional { without, .. } => (*without).to_owned(),
        };
        let range = range(&key.kind);
        let allowed = if range.is_empty() { range } else { format!(" Allowed: {range}.") };
        let only = match key.protocols {
            [] => String::new(),
            [only] => format!(" For {only} alone."),
            several => format!(" For {}.", several.join(" and ")),
        };
        text.push_str(&format!("| `{}` | {without} | {}{allowed}{only} |\n", key.name, key.help));
    }
    text
}

/// `page` with what stands between `<!-- keys: NAME -->` and `<!-- end -->` written anew.
fn with_keys(page: &str, name: &str, table: &Table) -> String {
    let begin = format!("<!-- keys: {name} -->\n");
    let (before, rest) = page.split_once(&begin).expect("the page has a place for the table");
    let (_, after) = rest.split_once("<!-- end -->").expect("the place has an end");
    format!("{before}{begin}{}<!-- end -->{after}", markdown(table))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

fn settings_of(name: &str, text: &str) -> Settings {
    let unresolvable = |_: &str, _: u16| Err(std::io::Error::other("samples hold addresses, not names"));
    match load_text(name, text, &unresolvable) {
        Ok(loaded) => {
            assert!(loaded.warnings.mistakes().is_empty(), "{}", loaded.warnings);
            loaded.settings
        }
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn the_full_example_shows_every_key_of_the_code_and_no_other() {
    golden(&path("ringgate.toml"), &conf());
    let settings = settings_of("conf/ringgate.toml", &conf());
    // An unknown key is an error, so every key of the example is in the code. Now the other way round.
    for table in
        [&keys::TOP, &keys::ADMIN, &keys::ACCESS_LOG, &keys::LISTENER, &keys::ROUTE, &keys::UPSTREAM, &keys::PROBE]
    {
        for key in table.keys.iter().filter(|key| !is_table(key)) {
            let lines = [format!("\n{} = ", key.name), format!("\n# {} = ", key.name)];
            assert!(lines.iter().any(|line| conf().contains(line)), "{} {}", table.title, key.name);
        }
    }
    assert_eq!((settings.listeners.len(), settings.routes.len(), settings.upstreams.len()), (3, 1, 3));
}

#[test]
fn the_defaults_that_the_example_shows_are_those_of_the_code() {
    let without_defaults = "
        [access_log]
        [[listener]]
        address = \"0.0.0.0:8080\"
        [[listener]]
        address = \"127.0.0.1:6379\"
        protocol = \"tcp\"
        upstream = \"redis\"
        [[listener]]
        address = \"127.0.0.1:53\"
        protocol = \"udp\"
        upstream = \"dns\"
        [[route]]
        upstream = \"api\"
        [upstream.api]
        endpoints = [\"10.0.0.1:9000\", { address = \"10.0.0.2:9000\", weight = 2 }]
        [upstream.api.probe]
        kind = \"http\"
        [upstream.redis]
        endpoints = [\"127.0.0.1:6380\"]
        [upstream.dns]
        endpoints = [\"127.0.0.1:5353\"]
    ";
    let shown = settings_of("conf/ringgate.toml", &conf());
    let of_code = settings_of("without defaults", without_defaults);
    // Routers have no order to print by; what they hold is what the rest says.
    let print = |mut settings: Settings| {
        for listener in &mut settings.listeners {
            if let crate::snapshot::Protocol::Http(http) = &mut listener.protocol {
                http.router = crate::router::Router::default();
            }
        }
        format!("{settings:#?}")
    };
    assert_eq!(print(shown), print(of_code));
}

#[test]
fn the_schema_for_editors_is_current() {
    golden(&path("ringgate.schema.json"), &format!("{:#}\n", schema()));
}

#[test]
fn the_guide_has_the_keys_of_the_code() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let mut page = std::fs::read_to_string(&guide).expect("the guide is there");
    let tables = [("top", &keys::TOP), ("admin", &keys::ADMIN), ("access_log", &keys::ACCESS_LOG)];
    let more = [("listener", &keys::LISTENER), ("route", &keys::ROUTE), ("upstream", &keys::UPSTREAM)];
    for (name, table) in tables.into_iter().chain(more).chain([("probe", &keys::PROBE), ("endpoint", &keys::ENDPOINT)])
    {
        page = with_keys(&page, name, table);
    }
    golden(&guide, &page);
}

#[test]
fn the_samples_are_right() {
    for name in ["l4.toml", "l7.toml"] {
        let text = std::fs::read_to_string(path(name)).expect("the sample is there");
        settings_of(name, &text);
    }
}
