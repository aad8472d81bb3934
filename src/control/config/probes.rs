//! `[upstream.NAME.probe]` → what the prober is told. Says what cannot work (a key of another kind, an answer that a
//! method never has) and warns of what likely will not (a command that is not there, a timeout beyond the interval).

use super::keys::{self, PROBE_KINDS};
use super::reader::{Placed, Reader};
use super::report::Mistake;
use super::settings::EndpointSettings;
use super::upstreams::count;
use super::values::{self, duration_text, shown};
use crate::base::Address;
use crate::health::probe::{
    ExecProbe, HttpProbe, Initial, Probe, ProbeKind, ProbePlace, ProbeRules, Secret, StatusRange,
};
use crate::protocol::proxy::{self, Addresses, Extensions, Header, Version};
use crate::snapshot::{ConnectSettings, ProxyHeader};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What holds where the file says nothing and the interval is not shorter.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
const INTERVAL_FAST_DEFAULT: Duration = Duration::from_secs(1);
/// Bytes of a secret's file.
const SECRET_BYTES_MAX: u64 = 4 << 10;
/// Arguments of a command, the program included.
const ARGUMENTS_MAX: usize = 64;

/// What the upstream says that its probes depend on.
#[derive(Clone, Copy)]
pub struct Probed<'a> {
    pub endpoints: &'a [EndpointSettings],
    pub connect: &'a ConnectSettings,
    pub proxy_protocol: Option<ProxyHeader>,
    /// Where the paths of the file begin.
    pub directory: &'a Path,
}

/// The probe of an upstream that has one.
pub fn of_upstream(upstream: &Reader<'_, '_>, of: &Probed<'_>) -> Option<Arc<Probe>> {
    let reader = upstream.inner(&keys::PROBE, upstream.raw("probe")?)?;
    if !reader.required("kind") {
        return None;
    }
    let spoken = PROBE_KINDS[reader.choice("kind").min(PROBE_KINDS.len() - 1)];
    refuse_keys_of_other_kinds(&reader, spoken);
    let (rules, timeout) = rules(&reader);
    let place = place(&reader, spoken, of.endpoints);
    let kind = match spoken {
        "http" => http(&reader),
        "exec" => exec(&reader, of.directory)?,
        "redis" => redis(&reader, of.directory),
        "mysql" => ProbeKind::Mysql { user: login(&reader, "user") },
        "postgres" => postgres(&reader),
        "udp" => udp(&reader),
        _ => tcp(&reader),
    };
    let preamble = match (&place, &kind) {
        // Another port or address is another program's, which expects no header.
        (ProbePlace::Endpoint, kind) if !matches!(kind, ProbeKind::Udp { .. } | ProbeKind::Exec(_)) => {
            of.proxy_protocol.map(preamble).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let (source_v4, source_v6) = (of.connect.source_v4, of.connect.source_v6);
    Some(Arc::new(Probe { rules, timeout, place, kind, source_v4, source_v6, preamble }))
}

fn refuse_keys_of_other_kinds(reader: &Reader<'_, '_>, spoken: &str) {
    for key in reader.spec.keys {
        let fits = key.protocols.is_empty() || key.protocols.contains(&spoken);
        if fits || reader.raw(key.name).is_none() {
            continue;
        }
        let title = format!("`{}` has no meaning for a probe of kind {spoken}", key.name);
        let label = format!("only with kind = \"{}\"", key.protocols.join("\" or \""));
        let mistake = Mistake::error(title, reader.key_place(key.name), label);
        reader.mistake(mistake.and(reader.value_place("kind"), "this says so"));
    }
}

fn rules(reader: &Reader<'_, '_>) -> (ProbeRules, Duration) {
    let interval = reader.duration("interval");
    let or = |key: &str, default: Duration| match reader.raw(key) {
        Some(_) => reader.duration(key),
        None => default.min(interval),
    };
    let (interval_fast, timeout) = (or("interval_fast", INTERVAL_FAST_DEFAULT), or("timeout", TIMEOUT_DEFAULT));
    let says = |key: &str| match reader.raw(key) {
        Some(_) => (reader.value_place(key), "this says so".to_owned()),
        None => (reader.place.clone(), format!("`{key}` is {} by default", duration_text(interval))),
    };
    let (place, label) = says("interval");
    if interval_fast > interval {
        let title = "`interval_fast` is longer than `interval`";
        let mistake = Mistake::error(title, reader.value_place("interval_fast"), "at most `interval`");
        reader.mistake(mistake.and(place.clone(), label.clone()));
    }
    if timeout > interval {
        let title = "a probe may take longer than its interval";
        let late = "an endpoint that does not answer is asked less often than `interval` says";
        reader.mistake(Mistake::warning(title, reader.value_place("timeout"), late).and(place, label));
    }
    let initial = [Initial::Up, Initial::Probe][reader.choice("initial").min(1)];
    let (rise, fall, jitter) =
        (count(reader, "rise"), count(reader, "fall"), reader.percent("jitter").min(1_000) as u16);
    (ProbeRules { rise, fall, interval, interval_fast, jitter, initial }, timeout)
}

fn place(reader: &Reader<'_, '_>, spoken: &str, endpoints: &[EndpointSettings]) -> ProbePlace {
    let port = reader.optional_integer("port").and_then(|port| u16::try_from(port).ok());
    let address = reader.text_with("address", "an address such as \"10.0.0.9:8081\"", values::listener_address);
    let unix = endpoints.iter().map(|endpoint| &endpoint.address).find(|address| address.is_unix());
    match (port, address) {
        (Some(_), Some(address)) => {
            let mistake = Mistake::error("`port` and `address` say two things", address.place, "asked here, or");
            reader.mistake(mistake.and(reader.value_place("port"), "at this port of each endpoint"));
            ProbePlace::Endpoint
        }
        (None, Some(address)) => {
            if address.value.port() == Some(0) {
                let mistake =
                    Mistake::error("port 0 is nothing that one can connect to", address.place, "a port is needed");
                reader.mistake(mistake);
            } else if spoken == "udp" && address.value.is_unix() {
                refuse_unix(reader, &address.value);
            }
            ProbePlace::Address(address.value)
        }
        (Some(port), None) => {
            if let Some(unix) = unix {
                let title = format!("endpoint {unix} has no ports");
                let mistake = Mistake::error(title, reader.key_place("port"), "a Unix socket is asked itself");
                reader.mistake(mistake.help("give `address` instead, or leave both out"));
            }
            ProbePlace::Port(port)
        }
        (None, None) => {
            if let Some(unix) = unix.filter(|_| spoken == "udp") {
                refuse_unix(reader, unix);
            }
            ProbePlace::Endpoint
        }
    }
}

fn refuse_unix(reader: &Reader<'_, '_>, address: &Address) {
    let title = format!("{address} takes no datagrams");
    reader.mistake(Mistake::error(title, reader.value_place("kind"), "\"udp\" needs an IP address and a port"));
}

fn tcp(reader: &Reader<'_, '_>) -> ProbeKind {
    ProbeKind::Tcp { send: bytes(reader, "send"), expect: bytes(reader, "expect") }
}

fn udp(reader: &Reader<'_, '_>) -> ProbeKind {
    if reader.raw("send").is_none() {
        let mistake = Mistake::error("`send` is missing", reader.place.clone(), "in this table");
        reader.mistake(mistake.help("nobody answers a datagram that was not sent: `send = \"...\"`").of_absence());
    }
    ProbeKind::Udp { send: bytes(reader, "send"), expect: bytes(reader, "expect") }
}

/// Text, or bytes in hexadecimal.
fn bytes(reader: &Reader<'_, '_>, key: &str) -> Vec<u8> {
    reader.text_with(key, "a string", values::text_or_hex).map(|bytes| bytes.value).unwrap_or_default()
}

fn http(reader: &Reader<'_, '_>) -> ProbeKind {
    let method = reader.text_with("method", "a method such as \"GET\"", values::method);
    let method = method.map_or_else(String::new, |method| method.value);
    if method == "HEAD" && reader.raw("expect").is_some() {
        let title = "a response to HEAD has no body to expect anything of";
        let mistake = Mistake::error(title, reader.value_place("expect"), "nothing can contain it");
        reader.mistake(mistake.and(reader.value_place("method"), "this asks for the head alone"));
    }
    let path = reader.text_with("path", "a path such as \"/healthz\"", values::path_and_query);
    let host = reader.text_with("host", "a host such as \"api.example.com\"", values::host_field);
    let headers = reader.words("headers", values::header_field).unwrap_or_default();
    for header in headers.iter().filter(|header| is_ours(&header.value.0)) {
        let title = format!("a probe has its own `{}`", header.value.0);
        let mistake = Mistake::error(title, header.place.clone(), "it cannot be set here");
        reader.mistake(mistake.help("Host is the key `host`; a probe has no body and one request a connection"));
    }
    let statuses = reader.words("status", status_range).unwrap_or_default();
    if statuses.is_empty() && reader.raw("status").is_some() {
        reader.mistake(Mistake::error("no status passes", reader.value_place("status"), "at least one is needed"));
    }
    ProbeKind::Http(HttpProbe {
        method,
        path: path.map_or_else(String::new, |path| path.value),
        host: host.map(|host| host.value),
        headers: headers.into_iter().map(|header| header.value).collect(),
        statuses: statuses.into_iter().map(|status| status.value).collect(),
        expect: bytes(reader, "expect"),
    })
}

/// What a request of a probe says by itself, or would say wrongly.
fn is_ours(name: &str) -> bool {
    ["host", "connection", "content-length", "transfer-encoding"].iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn status_range(text: &str) -> Result<StatusRange, String> {
    let form = "a status is \"200\", or a range such as \"200-399\", of 200 to 599";
    let status = |text: &str| {
        let plain = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|status| plain && (200..=599).contains(status)).ok_or_else(|| form.to_owned())
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = StatusRange { first: status(first)?, last: status(last)? };
    if range.first > range.last { Err("the first status of a range is the smaller one".to_owned()) } else { Ok(range) }
}

fn exec(reader: &Reader<'_, '_>, directory: &Path) -> Option<ProbeKind> {
    let filled = |text: &str| match text {
        "" => Err("must not be empty".to_owned()),
        text if text.contains('\0') => Err("cannot hold a zero byte".to_owned()),
        text => Ok(text.to_owned()),
    };
    let words = reader.words("command", filled);
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        if reader.raw("command").is_none() {
            let mistake = Mistake::error("`command` is missing", reader.place.clone(), "in this table");
            reader.mistake(mistake.help("for example `command = [\"/usr/local/bin/check-app\"]`").of_absence());
        }
        return None;
    };
    if words.len() > ARGUMENTS_MAX {
        let label = format!("{} words, and at most {ARGUMENTS_MAX} are allowed", words.len());
        reader.mistake(Mistake::error("`command` is too long", reader.value_place("command"), label));
    }
    let program = directory.join(&words[0].value);
    warn_of_program(reader, &words[0], &program);
    let arguments = words.into_iter().skip(1).map(|word| word.value).collect();
    Some(ProbeKind::Exec(ExecProbe { program, arguments }))
}

/// It may be installed later, so that what is missing is no error.
fn warn_of_program(reader: &Reader<'_, '_>, word: &Placed<String>, program: &Path) {
    let why = match fs::metadata(program) {
        Err(error) => format!("{}: {error}", program.display()),
        Ok(metadata) if !metadata.is_file() => format!("{} is no file", program.display()),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            format!("{} is not executable", program.display())
        }
        Ok(_) => return,
    };
    let mistake = Mistake::warning("this command cannot be run", word.place.clone(), why);
    let help = "each of its probes fails; a path is relative to this file, and no directory of PATH is looked into";
    reader.mistake(mistake.help(help));
}

/// Who logs in; no server takes a name with a zero byte.
fn login(reader: &Reader<'_, '_>, key: &str) -> Option<String> {
    let plain = |text: &str| match text {
        "" => Err("must not be empty".to_owned()),
        text if text.contains('\0') || text.len() > keys::NAME_BYTES_MAX => {
            Err(format!("at most {} bytes, none of them zero", keys::NAME_BYTES_MAX))
        }
        text => Ok(text.to_owned()),
    };
    reader.text_with(key, "a name", plain).map(|name| name.value)
}

fn postgres(reader: &Reader<'_, '_>) -> ProbeKind {
    let (user, database) = (login(reader, "user"), login(reader, "database"));
    if user.is_none() && database.is_some() {
        let title = "`database` without `user`";
        let mistake = Mistake::error(title, reader.key_place("database"), "nobody begins a session for it");
        reader.mistake(mistake.help("add `user`, or leave this out"));
    }
    ProbeKind::Postgres { user, database }
}

fn redis(reader: &Reader<'_, '_>, directory: &Path) -> ProbeKind {
    let read = |text: &str| secret(text, directory);
    let password = reader.text_with("password", "\"env:NAME\" or \"file:PATH\"", read).map(|secret| secret.value);
    let user = login(reader, "user");
    if user.is_some() && reader.raw("password").is_none() {
        let mistake = Mistake::error("`user` without `password`", reader.key_place("user"), "nobody can log in so");
        reader.mistake(mistake.help("add `password = \"env:NAME\"` or `password = \"file:PATH\"`"));
    }
    ProbeKind::Redis { user, password }
}

/// A secret from where `text` says that it is. Messages never show more of the text than a name or a path.
fn secret(text: &str, directory: &Path) -> Result<Secret, String> {
    let found = match text.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| format!("the environment has no variable `{}`", shown(name)))?
        }
        Some(("file", path)) => {
            let path = directory.join(path);
            let why = |why: &dyn std::fmt::Display| format!("{} cannot be read: {why}", path.display());
            let metadata = fs::metadata(&path).map_err(|error| why(&error))?;
            if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
                return Err(why(&format_args!("it is no file of at most {SECRET_BYTES_MAX} bytes")));
            }
            let text = fs::read_to_string(&path).map_err(|error| why(&error))?;
            text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).to_owned()).unwrap_or(text)
        }
        _ => {
            return Err(
                "a secret does not stand in the file: \"env:NAME\" or \"file:PATH\" says where it is".to_owned()
            );
        }
    };
    if found.is_empty() { Err("what is there is empty".to_owned()) } else { Ok(Secret(found)) }
}

/// A PROXY header of the gateway itself: nobody stands behind a probe.
fn preamble(header: ProxyHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    match header {
        ProxyHeader::V1 => {
            let header = Header { addresses: Addresses::Unknown, extensions: Extensions::default(), tls: false };
            proxy::write(&mut bytes, &header, Version::V1);
        }
        ProxyHeader::V2(_) => proxy::write_local(&mut bytes),
    }
    bytes
}
