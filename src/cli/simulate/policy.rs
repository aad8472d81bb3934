//! The keys of a scenario's upstream → an upstream as the gateway would have it, by its own reader and compiler.

use super::scenario::{Run, Scenario};
use crate::base::Secret;
use crate::control::config;
use crate::snapshot::Upstream;
use crate::upstream::Registry;
use toml::{Table, Value};

const NAME: &str = "simulated";

/// The upstream of one run.
pub fn upstream(scenario: &Scenario, run: &Run) -> Result<Upstream, String> {
    let text = file(scenario, run)?;
    let loaded = config::load_text("the scenario's upstream", &text, &|_, _| Ok(Vec::new()))
        .map_err(|report| format!("run `{}`: {report}", run.name))?;
    let mut registry = Registry::new(scenario.workers as usize);
    // The same scenario, the same outcome.
    registry.secret = Secret(b"simulated".to_vec());
    let snapshot = config::compile(loaded.settings, &mut registry, 1);
    snapshot.upstreams.into_iter().next().ok_or_else(|| "there is no upstream".to_owned())
}

fn file(scenario: &Scenario, run: &Run) -> Result<String, String> {
    let mut keys = scenario.upstream.clone();
    keys.extend(run.upstream.clone());
    if keys.contains_key("endpoints") {
        return Err("the endpoints of a scenario are those of its table `endpoints`".to_owned());
    }
    let endpoint = |index: u32| {
        let [_, a, b, c] = index.to_be_bytes();
        let mut endpoint = Table::new();
        endpoint.insert("address".to_owned(), Value::String(format!("10.{a}.{b}.{c}:80")));
        if scenario.endpoints.zones > 1 {
            endpoint.insert("zone".to_owned(), Value::String(zone(index % scenario.endpoints.zones)));
        }
        Value::Table(endpoint)
    };
    keys.insert("endpoints".to_owned(), Value::Array((0..scenario.endpoints.count).map(endpoint).collect()));
    let mut listener = Table::new();
    listener.insert("address".to_owned(), Value::String("127.0.0.1:1".to_owned()));
    listener.insert("upstream".to_owned(), Value::String(NAME.to_owned()));
    let mut upstreams = Table::new();
    upstreams.insert(NAME.to_owned(), Value::Table(keys));
    let mut all = Table::new();
    all.insert("listener".to_owned(), Value::Array(vec![Value::Table(listener)]));
    all.insert("upstream".to_owned(), Value::Table(upstreams));
    toml::to_string(&all).map_err(|error| error.to_string())
}

/// "a", "b", ...
fn zone(index: u32) -> String {
    char::from(b'a' + (index % 26) as u8).to_string()
}
