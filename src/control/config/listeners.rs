//! `[[listener]]` tables → drafts of listeners. A draft lacks its routes, which are read after all listeners.

use super::check::Names;
use super::keys::{self, LISTENERS_MAX};
use super::reader::Reader;
use super::report::{Mistake, Place};
use super::settings::ListenerSettings;
use super::sockets;
use super::upstreams::{Upstreams, count, count_if_any};
use super::values::{self, Source, shown};
use crate::base::{Address, Networks};
use crate::health::{PaceRule, Rate};
use crate::router::{PathPolicy, Router};
use crate::snapshot::{Destination, HttpSettings, Protocol, TcpSettings, UdpSettings};
use crate::upstream::{Transport, UpstreamIndex};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Silence that ends a relayed connection or flow where the file does not say otherwise. A client that has closed a
/// connection is seen, one that has left a flow is not.
const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A listener whose routes are still to come.
#[derive(Debug)]
pub struct ListenerDraft {
    pub settings: ListenerSettings,
    /// The whole table.
    pub place: Place,
    /// Where an http listener sends what no route matches, and where the file says so.
    pub otherwise: Option<(Destination, Place)>,
    /// Whether it has an `upstream`, valid or not.
    pub names_upstream: bool,
    /// Indices of its routes' rules.
    pub rules: Vec<usize>,
    /// Whether something is wrong with it that makes more words about it noise.
    pub broken: bool,
}

/// All listeners, by name.
#[derive(Debug, Default)]
pub struct Listeners {
    pub drafts: Vec<ListenerDraft>,
    pub names: Names,
    addresses: HashMap<(Address, Transport), Place>,
}

impl Listeners {
    /// Reads the listeners of all files.
    pub fn read(tops: &[Reader<'_, '_>], upstreams: &Upstreams<'_>) -> Listeners {
        let mut listeners = Listeners::default();
        for top in tops {
            for value in top.list("listener", "a list of tables: [[listener]]") {
                let Some(reader) = top.inner(&keys::LISTENER, value) else {
                    continue;
                };
                if listeners.drafts.len() >= LISTENERS_MAX {
                    let title = format!("more than {LISTENERS_MAX} listeners");
                    reader.mistake(Mistake::error(title, reader.place.clone(), "this one is too many"));
                    return listeners;
                }
                listeners.add(&reader, value, upstreams);
            }
        }
        listeners
    }

    fn add(&mut self, reader: &Reader<'_, '_>, value: &Spanned<DeValue<'_>>, upstreams: &Upstreams<'_>) {
        let place = reader.place_of(value);
        let spoken = ["http", "tcp", "udp"][reader.choice("protocol").min(2)];
        let address = if reader.required("address") { read_address(reader, spoken) } else { None };
        if let Some(address) = address.as_ref().filter(|address| address.port() != Some(0)) {
            let transport = if spoken == "udp" { Transport::Datagram } else { Transport::Stream };
            self.claim_address(reader, address, transport);
        }
        let name = self.name(reader, &place);
        refuse_keys_of_other_protocol(reader, spoken);
        let destination = upstreams.destination(reader, "upstream");
        let broken = address.is_none() || (reader.raw("upstream").is_some() && destination.is_none());
        let (protocol, otherwise) = match spoken {
            "tcp" => (Protocol::Tcp(tcp_settings(reader, destination)), None),
            "udp" => {
                refuse_stream_upstreams(reader, &destination, upstreams);
                (Protocol::Udp(udp_settings(reader, destination)), None)
            }
            _ => {
                let place = reader.value_place("upstream");
                (Protocol::Http(http_settings(reader)), destination.map(|destination| (destination, place)))
            }
        };
        let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)).into());
        let settings = ListenerSettings {
            name,
            socket: sockets::of_listener(reader, &address),
            address,
            connections_max: count(reader, "connections_max"),
            proxy_protocol: networks(reader, "proxy_protocol"),
            proxy_protocol_timeout: reader.duration("proxy_protocol_timeout"),
            connections_max_per_client: optional_count(reader, "connections_max_per_client"),
            clients_exempt: networks(reader, "clients_exempt"),
            accept_rate: accept_rate(reader),
            protocol,
        };
        let names_upstream = reader.raw("upstream").is_some();
        self.drafts.push(ListenerDraft { settings, place, otherwise, names_upstream, rules: Vec::new(), broken });
    }

    fn claim_address(&mut self, reader: &Reader<'_, '_>, address: &Address, transport: Transport) {
        let (place, claimed) = (reader.value_place("address"), (address.clone(), transport));
        if let Some(first) = self.addresses.get(&claimed) {
            let mistake = Mistake::error(format!("two listeners at {address}"), place, "again here");
            reader.mistake(mistake.and(first.clone(), "first here"));
            return;
        }
        self.addresses.insert(claimed, place);
    }

    /// The name that the file gives, or else the address as written. Unique.
    fn name(&mut self, reader: &Reader<'_, '_>, place: &Place) -> String {
        let given = reader.text_with("name", "a name such as \"web\"", values::name);
        let explicit = given.is_some();
        let (name, place) = match given {
            Some(name) => (name.value, name.place),
            None => match reader.raw("address").map(Spanned::get_ref) {
                Some(DeValue::String(address)) => (address.to_string(), reader.value_place("address")),
                _ => (String::new(), place.clone()),
            },
        };
        if let Err(first) = self.names.take(&name, self.drafts.len(), &place) {
            let same_port = reader.raw("name").is_none() && !name.ends_with(":0");
            // Two equal addresses are reported as such, and a listener without either as incomplete.
            if explicit || (!same_port && !name.is_empty()) {
                let mistake =
                    Mistake::error(format!("two listeners are named `{}`", shown(&name)), place, "again here");
                reader.mistake(mistake.and(first, "first here").help("give each a `name` of its own"));
            }
        }
        name
    }
}

fn optional_count(reader: &Reader<'_, '_>, key: &str) -> Option<u32> {
    reader.optional_integer(key).and_then(|count| u32::try_from(count).ok())
}

/// Without a burst of its own, what a second gives may come at once.
fn accept_rate(reader: &Reader<'_, '_>) -> Option<Rate> {
    let (rate, burst) = (optional_count(reader, "accepts_per_second"), optional_count(reader, "accepts_burst"));
    if rate.is_none() && burst.is_some() {
        let title = "`accepts_burst` without `accepts_per_second`";
        let mistake = Mistake::error(title, reader.key_place("accepts_burst"), "a burst of nothing");
        reader.mistake(mistake.help("add `accepts_per_second`, or leave this out"));
    }
    rate.map(|rate| Rate::new(rate, burst.unwrap_or(rate)))
}

fn refuse_keys_of_other_protocol(reader: &Reader<'_, '_>, protocol: &str) {
    for key in reader.spec.keys {
        let fits = key.protocols.is_empty() || key.protocols.contains(&protocol);
        if fits || reader.raw(key.name).is_none() {
            continue;
        }
        let wanted = key.protocols.join("\" or \"");
        let title = format!("`{}` has no meaning for a listener of protocol {protocol}", key.name);
        let label = format!("only with protocol = \"{wanted}\"");
        let mistake = Mistake::error(title, reader.key_place(key.name), label);
        let says = if reader.raw("protocol").is_some() { "this says so" } else { "http is the default of `protocol`" };
        reader.mistake(mistake.and(reader.value_place("protocol"), says));
    }
}

fn read_address(reader: &Reader<'_, '_>, spoken: &str) -> Option<Address> {
    let address = reader.listener_address("address")?;
    if spoken == "udp" && address.is_unix() {
        let title = "a udp listener cannot be at a Unix socket";
        let mistake = Mistake::error(title, reader.value_place("address"), "an IP address and a port are needed");
        reader.mistake(mistake.and(reader.value_place("protocol"), "this says udp"));
        return None;
    }
    Some(address)
}

fn tcp_settings(reader: &Reader<'_, '_>, destination: Option<Destination>) -> TcpSettings {
    TcpSettings {
        upstream: destination,
        sni: None,
        client_hello_timeout: reader.duration("client_hello_timeout"),
        idle_timeout: idle_timeout(reader, TCP_IDLE_TIMEOUT),
    }
}

fn udp_settings(reader: &Reader<'_, '_>, destination: Option<Destination>) -> UdpSettings {
    let replies = reader.optional_integer("replies").and_then(|replies| u32::try_from(replies).ok());
    UdpSettings {
        upstream: destination.unwrap_or(Destination::One(UpstreamIndex(0))),
        idle_timeout: idle_timeout(reader, UDP_IDLE_TIMEOUT),
        flows_max: count(reader, "flows_max"),
        flows_per_client_max: count(reader, "flows_per_client_max"),
        replies,
        unreachable_timeout: reader.duration("unreachable_timeout"),
    }
}

/// A PROXY header begins a connection, and a flow has none; datagrams go to IP addresses alone.
fn refuse_stream_upstreams(reader: &Reader<'_, '_>, destination: &Option<Destination>, upstreams: &Upstreams<'_>) {
    let parts = match destination {
        None => Vec::new(),
        Some(Destination::One(index)) => vec![*index],
        Some(Destination::Split { parts, .. }) => parts.iter().map(|(_, index)| *index).collect(),
    };
    for upstream in parts.iter().filter_map(|index| upstreams.settings.get(index.0 as usize)) {
        if upstream.proxy_protocol.is_some() {
            let title =
                format!("upstream `{}` has `proxy_protocol`, which UDP has no place for", shown(&upstream.name));
            let mistake = Mistake::error(title, reader.value_place("upstream"), "this listener speaks udp");
            reader.mistake(mistake.help("give the udp listener an upstream of its own, without `proxy_protocol`"));
        }
        let mut addresses = upstream.endpoints.iter().map(|endpoint| &endpoint.address);
        if let Some(unix) = addresses.find(|address| address.is_unix()) {
            let title =
                format!("upstream `{}` has the Unix socket {unix}, which UDP cannot go to", shown(&upstream.name));
            let mistake = Mistake::error(title, reader.value_place("upstream"), "this listener speaks udp");
            reader.mistake(mistake.help("give the udp listener an upstream of its own, with IP addresses"));
        }
    }
}

fn idle_timeout(reader: &Reader<'_, '_>, otherwise: Duration) -> Duration {
    let given = reader.duration("idle_timeout");
    if reader.raw("idle_timeout").is_some() { given } else { otherwise }
}

fn http_settings(reader: &Reader<'_, '_>) -> HttpSettings {
    let bytes = |key: &str| usize::try_from(reader.size(key)).unwrap_or(usize::MAX);
    let (head_max, target_max) = (bytes("head_max"), bytes("target_max"));
    if target_max > head_max && head_max > 0 {
        target_does_not_fit(reader, head_max, target_max);
    }
    let pace = |silence: &str, rate: &str| PaceRule {
        rate_min: reader.rate(rate),
        grace: reader.duration("rate_grace"),
        silence_max: reader.duration(silence),
    };
    HttpSettings {
        router: Router::default(),
        path_policy: path_policy(reader),
        trusted: networks(reader, "trusted"),
        head_max,
        headers_max: usize::try_from(reader.integer("headers_max")).unwrap_or(usize::MAX),
        target_max,
        body_max: reader.size("body_max"),
        request_head_timeout: reader.duration("request_head_timeout"),
        request_body_pace: pace("request_body_idle_timeout", "request_body_rate_min"),
        keep_alive_timeout: reader.duration("keep_alive_timeout"),
        keep_alive_requests_max: count_if_any(reader, "keep_alive_requests_max"),
        keep_alive_age_max: reader.duration_or_off("keep_alive_age_max"),
        response_pace: pace("send_timeout", "response_rate_min"),
        tunnel_idle_timeout: reader.duration("tunnel_idle_timeout"),
        abort_on_close: reader.boolean("abort_on_close"),
        request_id_header: reader.boolean("request_id"),
    }
}

fn networks(reader: &Reader<'_, '_>, key: &str) -> Networks {
    let mut networks = Networks::default();
    for source in reader.words(key, values::source).unwrap_or_default() {
        match source.value {
            Source::Network(network) => networks.ip.push(network),
            Source::Unix => networks.unix = true,
        }
    }
    networks
}

fn path_policy(reader: &Reader<'_, '_>) -> PathPolicy {
    // In the order of the key's words.
    const POLICIES: [PathPolicy; 4] = [PathPolicy::Merge, PathPolicy::Resolve, PathPolicy::Strict, PathPolicy::Off];
    POLICIES.get(reader.choice("path_normalize")).copied().unwrap_or_default()
}

fn target_does_not_fit(reader: &Reader<'_, '_>, head_max: usize, target_max: usize) {
    let text = |bytes: usize| values::size_text(bytes as u64);
    let (head, target) = (text(head_max), text(target_max));
    let explicit = reader.raw("target_max").is_some();
    let place = reader.value_place(if explicit { "target_max" } else { "head_max" });
    let title = format!("`target_max` ({target}) is more than `head_max` ({head})");
    let mistake = Mistake::error(title, place, "a request target is a part of the head");
    reader.mistake(if !explicit {
        mistake.help(format!("`target_max` is {target} by default; set it lower too"))
    } else if reader.raw("head_max").is_some() {
        mistake.and(reader.value_place("head_max"), "the whole head")
    } else {
        mistake.help(format!("`head_max` is {head} by default; set it higher too"))
    });
}
