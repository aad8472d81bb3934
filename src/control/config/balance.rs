//! How an upstream's endpoints are picked: the keys of `[upstream.NAME]` and of its endpoints that say so.

use super::reader::{Placed, Reader};
use super::report::Mistake;
use super::secrets;
use super::settings::{BalanceSettings, EndpointSettings, StickySettings};
use super::upstreams::count;
use super::values;
use crate::balancer::{Balance, Fail, HashKey, Policy, RENDEZVOUS_ENDPOINTS_MAX, SameSite, Secure, StickyPolicy};
use crate::upstream::Placement;
use std::path::Path;
use std::sync::Arc;

/// What an upstream says. `zone` is the gateway's own; paths of files begin at `directory`.
pub fn read(reader: &Reader<'_, '_>, zone: Option<&Arc<str>>, directory: &Path) -> BalanceSettings {
    let balance = Balance::ALL.get(reader.choice("balance")).copied().unwrap_or(Balance::LeastRequest);
    let mut policy = Policy::new(balance);
    policy.fail = [Fail::Open, Fail::Closed][reader.choice("fail").min(1)];
    policy.overprovisioning = reader.percent("overprovisioning");
    policy.zone = zone.cloned();
    if reader.raw("choices").is_some() {
        policy.choices = count(reader, "choices");
    }
    for (key, place) in [("latency_decay", &mut policy.latency_decay), ("failure_penalty", &mut policy.failure_penalty)]
    {
        if reader.raw(key).is_some() {
            *place = reader.duration(key);
        }
    }
    if let Some(keys) = reader.words("hash_on", values::hash_key) {
        policy.hash_on = unique(reader, keys);
    }
    policy.hash_load_max = reader.raw("hash_load_max").map(|_| reader.percent("hash_load_max"));
    refuse_keys_of_others(reader, balance);
    BalanceSettings {
        policy,
        hash_secret: secrets::read(reader, "hash_seed", directory),
        sticky: sticky(reader, directory),
    }
}

fn unique(reader: &Reader<'_, '_>, keys: Vec<Placed<HashKey>>) -> Vec<HashKey> {
    let mut kept: Vec<HashKey> = Vec::new();
    for key in keys {
        if kept.contains(&key.value) {
            reader.mistake(Mistake::error("this key is listed twice in `hash_on`", key.place, "again here"));
        } else {
            kept.push(key.value);
        }
    }
    kept
}

/// Whether a balance goes by certain keys.
type GoesBy = fn(Balance) -> bool;

/// Nothing is silently ignored: a key that the balance does not go by is a mistake.
fn refuse_keys_of_others(reader: &Reader<'_, '_>, balance: Balance) {
    let of = |goes_by: GoesBy| Balance::ALL.into_iter().filter(move |balance| goes_by(*balance));
    let rules = [
        (&["choices"][..], Balance::has_choices as GoesBy),
        (&["hash_on", "hash_seed", "hash_load_max"], Balance::is_keyed),
        (&["latency_decay", "failure_penalty"], Balance::is_timed),
    ];
    for (keys, goes_by) in rules {
        for key in keys.iter().filter(|key| reader.raw(key).is_some() && !goes_by(balance)) {
            let names: Vec<_> = of(goes_by).map(|balance| format!("\"{}\"", balance.name())).collect();
            let title = format!("`{key}` has no meaning with `balance = \"{}\"`", balance.name());
            let mistake = Mistake::error(title, reader.key_place(key), format!("is for {}", names.join(", ")));
            reader.mistake(match reader.raw("balance") {
                Some(_) => mistake.and(reader.value_place("balance"), "this says otherwise"),
                None => mistake.help("`balance` is \"least_request\" by default"),
            });
        }
    }
}

fn sticky(reader: &Reader<'_, '_>, directory: &Path) -> Option<StickySettings> {
    let cookie = reader.text_with("sticky_cookie", "the name of a cookie such as \"gate\"", values::token);
    let secret = secrets::read(reader, "sticky_key", directory);
    let path = reader.text_with("sticky_path", "a path such as \"/app\"", values::cookie_path);
    let same_site = [SameSite::Lax, SameSite::Strict, SameSite::None][reader.choice("sticky_same_site").min(2)];
    let secure = [Secure::Auto, Secure::Always, Secure::Never][reader.choice("sticky_secure").min(2)];
    if reader.raw("sticky_cookie").is_none() {
        for key in ["sticky_key", "sticky_path", "sticky_max_age", "sticky_same_site", "sticky_secure"] {
            if reader.raw(key).is_some() {
                let title = format!("`{key}` has no meaning without `sticky_cookie`");
                reader.mistake(Mistake::error(title, reader.key_place(key), "of which cookie?"));
            }
        }
    }
    if same_site == SameSite::None && secure == Secure::Never {
        let title = "browsers refuse a cookie with SameSite=None that is not Secure";
        let mistake = Mistake::error(title, reader.value_place("sticky_same_site"), "needs an encrypted connection");
        reader.mistake(mistake.and(reader.value_place("sticky_secure"), "this says never"));
    }
    Some(StickySettings {
        policy: StickyPolicy {
            cookie: cookie?.value.into(),
            path: path.map_or_else(|| "/".into(), |path| path.value.into()),
            max_age: reader.raw("sticky_max_age").map(|_| reader.duration("sticky_max_age")),
            same_site,
            secure,
        },
        secret,
    })
}

/// What holds for the endpoints together.
pub fn check_endpoints(reader: &Reader<'_, '_>, balance: Balance, endpoints: &[EndpointSettings]) {
    if balance == Balance::Rendezvous && endpoints.len() > RENDEZVOUS_ENDPOINTS_MAX {
        let title = format!("more than {RENDEZVOUS_ENDPOINTS_MAX} endpoints for `balance = \"rendezvous\"`");
        let label = format!("asks all {} of them for each request", endpoints.len());
        let mistake = Mistake::error(title, reader.value_place("balance"), label);
        reader.mistake(mistake.help("\"maglev\" asks one table, however many there are"));
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.placement.backup) {
        let title = "every endpoint of this upstream is a backup";
        reader.mistake(Mistake::warning(title, reader.value_place("endpoints"), "they are in use all the time"));
    }
}

/// What an endpoint says.
pub fn placement(reader: &Reader<'_, '_>) -> Placement {
    let backup = reader.boolean("backup");
    if backup && reader.raw("priority").is_some() {
        let title = "an endpoint has either `priority` or `backup`";
        let mistake = Mistake::error(title, reader.key_place("priority"), "this orders endpoints that are in use");
        reader.mistake(mistake.and(reader.key_place("backup"), "this one comes after all of them"));
    }
    let priority = u8::try_from(reader.integer("priority")).unwrap_or(u8::MAX);
    Placement { priority, backup, zone: zone(reader), labels: reader.labels("labels") }
}

/// The value of a `zone` key.
pub fn zone(reader: &Reader<'_, '_>) -> Option<Arc<str>> {
    let zone = reader.text_with("zone", "the name of a zone such as \"eu-1a\"", values::name);
    zone.map(|zone| Arc::from(zone.value))
}
