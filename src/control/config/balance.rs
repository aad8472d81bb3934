//! How an upstream's endpoints are picked: the keys of `[upstream.NAME]` and of its endpoints that say so.

use super::reader::Reader;
use super::report::Mistake;
use super::values;
use crate::balancer::{Balance, Fail, Policy};
use crate::upstream::Placement;
use std::sync::Arc;

/// In the order of the key list.
const BALANCES: [Balance; 3] = [Balance::LeastRequest, Balance::RoundRobin, Balance::Random];

/// What an upstream says. `zone` is the gateway's own.
pub fn policy(reader: &Reader<'_, '_>, zone: Option<&Arc<str>>) -> Policy {
    let mut policy = Policy::new(BALANCES[reader.choice("balance").min(BALANCES.len() - 1)]);
    policy.fail = [Fail::Open, Fail::Closed][reader.choice("fail").min(1)];
    policy.overprovisioning = reader.percent("overprovisioning");
    policy.zone = zone.cloned();
    policy
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
    Placement { priority, backup, zone: zone(reader) }
}

/// The value of a `zone` key.
pub fn zone(reader: &Reader<'_, '_>) -> Option<Arc<str>> {
    let zone = reader.text_with("zone", "the name of a zone such as \"eu-1a\"", values::name);
    zone.map(|zone| Arc::from(zone.value))
}
