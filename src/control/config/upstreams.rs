//! `[upstream.NAME]` tables → checked upstreams, and the references of others to them.

use super::balance;
use super::check::{Document, Names, Resolve, unknown_name};
use super::health;
use super::keys::{self, ENDPOINTS_MAX, PROXY_TLVS, SPLIT_PARTS_MAX, UPSTREAMS_MAX};
use super::probes::{self, Probed};
use super::reader::{Placed, Reader};
use super::report::{Mistake, Mistakes, Place};
use super::settings::{BalanceSettings, EndpointSettings, UpstreamSettings};
use super::sockets;
use super::values::{self, EndpointAddress, shown};
use crate::balancer::{Balance, Policy};
use crate::base::Address;
use crate::health::HealthSettings;
use crate::snapshot::{ConnectSettings, Destination, ProxyExtensions, ProxyHeader, Rejection};
use crate::upstream::{Placement, UpstreamIndex};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::DeValue;

/// All upstreams, and which of them something refers to.
#[derive(Debug)]
pub struct Upstreams<'d> {
    pub settings: Vec<UpstreamSettings>,
    names: Names,
    places: Vec<Place>,
    used: RefCell<Vec<bool>>,
    /// The gateway's own.
    zone: Option<Arc<str>>,
    mistakes: &'d Mistakes,
}

impl<'d> Upstreams<'d> {
    /// Reads the upstreams of all files.
    pub fn read(
        documents: &[Document<'_>],
        tops: &[Reader<'d, '_>],
        resolve: Resolve<'_>,
        mistakes: &'d Mistakes,
    ) -> Upstreams<'d> {
        let mut upstreams = Upstreams {
            settings: Vec::new(),
            names: Names::default(),
            places: Vec::new(),
            used: RefCell::new(Vec::new()),
            zone: tops.first().and_then(balance::zone),
            mistakes,
        };
        let mut resolver = Resolver { resolve, known: HashMap::new(), directory: Path::new("") };
        for (top, document) in tops.iter().zip(documents) {
            resolver.directory = &document.directory;
            for (key, value) in top.named("upstream", "a table of tables: [upstream.NAME]") {
                let place = top.place_of(key);
                upstreams.add((top, &document.directory), key.get_ref(), place, value, &mut resolver);
            }
        }
        upstreams.find_fallbacks(tops);
        upstreams
    }

    /// The upstreams that others fall back to, once all of them are known.
    fn find_fallbacks(&mut self, tops: &[Reader<'d, '_>]) {
        for top in tops {
            let Some(DeValue::Table(tables)) = top.raw("upstream").map(Spanned::get_ref) else { continue };
            for (key, value) in tables {
                let of = self.names.get(key.get_ref());
                let DeValue::Table(entries) = value.get_ref() else { continue };
                let Some(DeValue::String(name)) = entries.get("breaker_fallback").map(Spanned::get_ref) else {
                    continue;
                };
                let place = top.place_of(&entries["breaker_fallback"]);
                let found = self.index(name, place.clone());
                if found.is_some_and(|found| of == Some(found.0 as usize)) {
                    let title = "an upstream cannot fall back to itself";
                    self.mistakes.push(Mistake::error(title, place, "this is the upstream that is rejected"));
                } else if let Some(settings) = of.and_then(|of| self.settings.get_mut(of)) {
                    settings.rejection.fallback = found;
                }
            }
        }
    }

    fn add(
        &mut self,
        (top, directory): (&Reader<'_, '_>, &Path),
        name: &str,
        place: Place,
        value: &Spanned<DeValue<'_>>,
        resolver: &mut Resolver<'_>,
    ) {
        if self.settings.len() >= UPSTREAMS_MAX {
            let title = format!("more than {UPSTREAMS_MAX} upstreams");
            return self.mistakes.push(Mistake::error(title, place, "this one is too many"));
        }
        if let Err(why) = values::name(name) {
            self.mistakes.push(Mistake::error(format!("`{}` cannot be a name", shown(name)), place.clone(), why));
        }
        if let Err(first) = self.names.take(name, self.settings.len(), &place) {
            let title = format!("upstream `{}` is defined twice", shown(name));
            return self.mistakes.push(Mistake::error(title, place, "again here").and(first, "first here"));
        }
        let reader = top.inner(&keys::UPSTREAM, value).map(|mut reader| {
            reader.place = place.clone();
            reader
        });
        let settings = match &reader {
            Some(reader) => read_one(name, reader, (self.zone.as_ref(), directory), resolver),
            None => stand_in(name),
        };
        self.settings.push(settings);
        self.places.push(place);
        self.used.borrow_mut().push(false);
    }

    /// What the value of an `upstream` key refers to: a name, or a table of names and weights.
    pub fn destination(&self, reader: &Reader<'_, '_>, key: &str) -> Option<Destination> {
        let value = reader.raw(key)?;
        match value.get_ref() {
            DeValue::String(name) => self.index(name, reader.place_of(value)).map(Destination::One),
            DeValue::Table(_) => self.split(reader, key, value),
            _ => reader.wrong_type(value, "the name of an upstream, or a table of names and weights", Some(key)),
        }
    }

    fn split(&self, reader: &Reader<'_, '_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Destination> {
        let entries = reader.named(key, "a table of upstreams and weights");
        if entries.len() > SPLIT_PARTS_MAX {
            reader.too_many(value, key, entries.len(), SPLIT_PARTS_MAX);
            return None;
        }
        let mut parts = Vec::with_capacity(entries.len());
        let mut all_are_zero = true;
        for (name, weight) in &entries {
            let upstream = self.index(name.get_ref(), reader.place_of(name));
            let weight = split_weight(reader, weight);
            all_are_zero &= weight == Some(0);
            if let (Some(upstream), Some(weight @ 1..)) = (upstream, weight) {
                parts.push((weight, upstream));
            }
        }
        let total = parts.iter().map(|(weight, _)| weight).sum();
        if all_are_zero {
            let label = "at least one upstream needs a weight of 1 or more";
            reader.mistake(
                Mistake::error("this split sends nothing anywhere", reader.place_of(value), label).of_absence(),
            );
            return None;
        }
        Some(Destination::Split { parts, total })
    }

    fn index(&self, name: &str, place: Place) -> Option<UpstreamIndex> {
        let Some(index) = self.names.get(name) else {
            self.mistakes.push(unknown_name("upstream", name, place, &self.names, self.mistakes));
            return None;
        };
        if let Some(used) = self.used.borrow_mut().get_mut(index) {
            *used = true;
        }
        u32::try_from(index).ok().map(UpstreamIndex)
    }

    /// Upstreams that nothing refers to are allowed and likely not meant.
    pub fn warn_unused(&self) {
        let used = self.used.borrow();
        for ((settings, place), used) in self.settings.iter().zip(&self.places).zip(used.iter()) {
            if !used {
                let title = format!("nothing uses upstream `{}`", shown(&settings.name));
                let mistake = Mistake::warning(title, place.clone(), "no route and no listener sends to it");
                self.mistakes.push(mistake.of_absence());
            }
        }
    }
}

fn split_weight(reader: &Reader<'_, '_>, value: &Spanned<DeValue<'_>>) -> Option<u32> {
    let DeValue::Integer(given) = value.get_ref() else {
        return reader.wrong_type(value, "a weight, which is a whole number", None);
    };
    let weight = u32::from_str_radix(given.as_str(), given.radix()).ok();
    let fits = weight.filter(|weight| u64::from(*weight) <= keys::ENDPOINT_WEIGHT_MAX);
    if fits.is_none() {
        let label = format!("must be 0 to {}", keys::ENDPOINT_WEIGHT_MAX);
        reader.mistake(Mistake::error("this weight is out of range", reader.place_of(value), label));
    }
    fits
}

fn stand_in(name: &str) -> UpstreamSettings {
    UpstreamSettings {
        name: name.to_owned(),
        balance: BalanceSettings { policy: Policy::new(Balance::LeastRequest), hash_secret: None, sticky: None },
        endpoints: Vec::new(),
        connect_timeout: std::time::Duration::ZERO,
        retries: 0,
        idle_connections_max: 0,
        idle_timeout: std::time::Duration::ZERO,
        connection_requests_max: u32::MAX,
        connection_age_max: None,
        drain_timeout: None,
        connect: ConnectSettings::default(),
        proxy_protocol: None,
        probe: None,
        health: HealthSettings::default(),
        rejection: Rejection::default(),
    }
}

fn read_one(
    name: &str,
    reader: &Reader<'_, '_>,
    (zone, directory): (Option<&Arc<str>>, &Path),
    resolver: &mut Resolver<'_>,
) -> UpstreamSettings {
    let balance = balance::read(reader, zone, directory);
    let endpoints = read_endpoints(reader, resolver);
    balance::check_endpoints(reader, balance.policy.balance, &endpoints);
    let connect = sockets::of_upstream(reader, &endpoints);
    let proxy_protocol = proxy_header(reader);
    let probed = Probed { endpoints: &endpoints, connect: &connect, proxy_protocol, directory };
    let probe = probes::of_upstream(reader, &probed);
    UpstreamSettings {
        name: name.to_owned(),
        balance,
        connect,
        endpoints,
        connect_timeout: reader.duration("connect_timeout"),
        retries: count(reader, "retries"),
        idle_connections_max: count(reader, "idle_connections_max"),
        idle_timeout: reader.duration("idle_timeout"),
        connection_requests_max: count_if_any(reader, "connection_requests_max"),
        connection_age_max: reader.duration_or_off("connection_age_max"),
        drain_timeout: reader.duration_or_off("drain_timeout"),
        proxy_protocol,
        probe,
        health: health::read(reader),
        rejection: health::rejection(reader),
    }
}

/// The PROXY header that is sent; version 1 has room for addresses alone.
fn proxy_header(reader: &Reader<'_, '_>) -> Option<ProxyHeader> {
    let version = reader.choice("proxy_protocol");
    let of_list = |text: &str| {
        let known = PROXY_TLVS.iter().find(|tlv| **tlv == text);
        known
            .copied()
            .ok_or_else(|| format!("must be one of {}", PROXY_TLVS.map(|tlv| format!("\"{tlv}\"")).join(", ")))
    };
    let wanted = reader.words("proxy_protocol_tlvs", of_list).unwrap_or_default();
    if version != 2 && !wanted.is_empty() {
        let title = "only a PROXY header of version 2 has room for `proxy_protocol_tlvs`";
        let mistake = Mistake::error(title, reader.key_place("proxy_protocol_tlvs"), "needs proxy_protocol = \"v2\"");
        reader.mistake(match reader.raw("proxy_protocol") {
            Some(_) => mistake.and(reader.value_place("proxy_protocol"), "this says otherwise"),
            None => mistake.help("`proxy_protocol` is \"off\" by default"),
        });
    }
    let has = |name: &str| wanted.iter().any(|tlv| tlv.value == name);
    match version {
        1 => Some(ProxyHeader::V1),
        2 => Some(ProxyHeader::V2(ProxyExtensions {
            sni: has("sni"),
            alpn: has("alpn"),
            unique_id: has("unique_id"),
            crc32c: has("crc32c"),
        })),
        _ => None,
    }
}

/// A count that has no limit where the key is absent.
pub fn count_if_any(reader: &Reader<'_, '_>, key: &str) -> u32 {
    reader.optional_integer(key).map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// A count whose limit in the key list is far below `u32::MAX`.
pub fn count(reader: &Reader<'_, '_>, key: &str) -> u32 {
    u32::try_from(reader.integer(key)).unwrap_or(u32::MAX)
}

fn read_endpoints(reader: &Reader<'_, '_>, resolver: &mut Resolver<'_>) -> Vec<EndpointSettings> {
    const FORM: &str = "a list of addresses such as [\"10.0.0.1:9000\"]";
    if !reader.required("endpoints") {
        return Vec::new();
    }
    let items = reader.list("endpoints", FORM);
    let mut seen: HashMap<EndpointAddress, Place> = HashMap::new();
    let mut addresses: HashMap<Address, Place> = HashMap::new();
    let mut endpoints = Vec::new();
    for item in items {
        let Some((address, weight, placement)) = read_endpoint(reader, item) else {
            continue;
        };
        if let Some(first) = seen.insert(address.value.clone(), address.place.clone()) {
            let mistake = Mistake::error("this endpoint is listed twice", address.place, "again here");
            reader.mistake(mistake.and(first, "first here").help("to send it more, give it a weight"));
            continue;
        }
        for resolved in resolver.resolve(reader, &address) {
            if let Some(first) = addresses.get(&resolved) {
                let title = format!("two endpoints are the same address {resolved}");
                let mistake = Mistake::warning(title, address.place.clone(), "this one is left out");
                reader.mistake(mistake.and(first.clone(), "this one is kept"));
                continue;
            }
            addresses.insert(resolved.clone(), address.place.clone());
            endpoints.push(EndpointSettings { address: resolved, weight, placement: placement.clone() });
        }
    }
    check_count(reader, items.len(), &endpoints);
    endpoints.retain(|endpoint| endpoint.weight > 0);
    endpoints
}

fn check_count(reader: &Reader<'_, '_>, listed: usize, endpoints: &[EndpointSettings]) {
    let place = || reader.value_place("endpoints");
    if listed == 0 && matches!(reader.raw("endpoints").map(Spanned::get_ref), Some(DeValue::Array(_))) {
        let mistake = Mistake::error("this upstream has no endpoint", place(), "the list is empty");
        reader.mistake(mistake.help("an upstream needs at least one endpoint, or each request to it fails with 503"));
    }
    if endpoints.len() > ENDPOINTS_MAX {
        let title = format!("more than {ENDPOINTS_MAX} endpoints in one upstream");
        reader.mistake(Mistake::error(title, place(), format!("these are {}", endpoints.len())));
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        let title = "every endpoint of this upstream has weight 0";
        reader.mistake(Mistake::warning(title, place(), "each request to it fails with 503"));
    }
}

/// An endpoint as a string or as a table; the weight of a mistake is 1.
fn read_endpoint(
    reader: &Reader<'_, '_>,
    item: &Spanned<DeValue<'_>>,
) -> Option<(Placed<EndpointAddress>, u32, Placement)> {
    const FORM: &str = "an address such as \"10.0.0.1:9000\"";
    match item.get_ref() {
        DeValue::Table(_) => {
            let inner = reader.inner(&keys::ENDPOINT, item)?;
            let (weight, placement) = (count(&inner, "weight"), balance::placement(&inner));
            if !inner.required("address") {
                return None;
            }
            inner.text_with("address", FORM, values::endpoint_address).map(|address| (address, weight, placement))
        }
        DeValue::String(_) => {
            let address = reader.text_as(item, "endpoints", FORM, values::endpoint_address)?;
            Some((Placed { value: address, place: reader.place_of(item) }, 1, Placement::default()))
        }
        _ => reader.wrong_type(item, "an address \"host:port\", or a table { address, weight }", None),
    }
}

/// Resolves each name once; and where the paths of the file at hand begin.
struct Resolver<'a> {
    directory: &'a Path,
    resolve: Resolve<'a>,
    known: HashMap<(String, u16), Result<Vec<SocketAddr>, String>>,
}

impl Resolver<'_> {
    fn resolve(&mut self, reader: &Reader<'_, '_>, address: &Placed<EndpointAddress>) -> Vec<Address> {
        let (host, port) = match &address.value {
            EndpointAddress::Literal(literal) => return vec![literal.clone()],
            EndpointAddress::Named { host, port } => (host, *port),
        };
        let found = self.known.entry((host.clone(), port)).or_insert_with(|| {
            let mut found = (self.resolve)(host, port).map_err(|error| error.to_string())?;
            found.sort_unstable();
            found.dedup();
            if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
        });
        match found {
            Ok(found) => found.iter().map(|address| Address::Ip(*address)).collect(),
            Err(why) => {
                let title = format!("cannot resolve `{}`", shown(host));
                let mistake = Mistake::error(title, address.place.clone(), why.trim().to_owned());
                reader.mistake(mistake.help("check the name and this machine's resolver, or write the IP address"));
                Vec::new()
            }
        }
    }
}
