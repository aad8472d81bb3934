//! What a scenario file says: the traffic, the endpoints and what befalls them, the runs that are compared, and what is
//! expected of them. The policy of the gateway itself is written as an `[upstream.NAME]` is, and read by the same reader.

use crate::control::config::values;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Seconds of virtual time, endpoints, and requests of one run.
pub const DURATION_MAX: Duration = Duration::from_secs(3_600);
pub const ENDPOINTS_MAX: u32 = 16_384;
pub const REQUESTS_MAX: f64 = 20_000_000.0;
const WORKERS_MAX: u32 = 64;
const RUNS_MAX: usize = 32;
const CONCURRENCY_MAX: u32 = 1_024;

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub title: String,
    /// What it is about, for whoever reads the results.
    #[serde(default)]
    pub about: String,
    #[serde(default = "one")]
    pub seed: u64,
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// What is not measured, at the beginning.
    #[serde(default, deserialize_with = "duration")]
    pub warm_up: Duration,
    /// Workers of the gateway; each picks by itself.
    #[serde(default = "two")]
    pub workers: u32,
    pub traffic: Traffic,
    pub endpoints: Endpoints,
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// The keys of an upstream, but for `endpoints`.
    #[serde(default)]
    pub upstream: toml::Table,
    /// Runs with other keys; without any, one run by `upstream`.
    #[serde(default)]
    pub run: Vec<Run>,
    #[serde(default)]
    pub expect: Vec<Expect>,
}

/// Requests that come whether the gateway answers or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// A second, on average; they come by chance.
    pub rate: f64,
    /// When a client gives up.
    #[serde(default = "two_seconds", deserialize_with = "duration")]
    pub timeout: Duration,
    /// How often a client whose request failed asks again by itself.
    #[serde(default)]
    pub client_retries: u32,
    #[serde(default)]
    pub change: Vec<Change>,
}

/// From a time on there are so many times as many requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    #[serde(deserialize_with = "duration")]
    pub at: Duration,
    pub times: f64,
}

/// All alike, but for what befalls them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    pub count: u32,
    /// Zones that they are spread over in turn: "a", "b", ...
    #[serde(default = "one_zone")]
    pub zones: u32,
    /// Requests that one works on at a time; others wait for their turn there.
    #[serde(default = "concurrency")]
    pub concurrency: u32,
    /// Requests that wait there; of more, each is answered with 503.
    #[serde(default = "queue")]
    pub queue: u32,
    /// How long one request takes, by itself.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
    /// The 99th percentile of that, of a log-normal distribution; as `latency`: always the same.
    #[serde(default, deserialize_with = "optional_duration")]
    pub latency_p99: Option<Duration>,
    /// Distributed exponentially instead, `latency` being the mean: what the theory of queues speaks of.
    #[serde(default)]
    pub exponential: bool,
    /// How many times as slow each of these first endpoints is, for good.
    #[serde(default)]
    pub skew: Vec<f64>,
}

/// What befalls some endpoints for some time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(deserialize_with = "duration")]
    pub at: Duration,
    #[serde(deserialize_with = "optional_duration", default)]
    pub until: Option<Duration>,
    /// From this endpoint on, by number; otherwise they are drawn.
    #[serde(default)]
    pub first: Option<u32>,
    /// How many endpoints; or
    #[serde(default)]
    pub endpoints: Option<u32>,
    /// which part of them, 0 to 1; or
    #[serde(default)]
    pub part: Option<f64>,
    /// all of one zone.
    #[serde(default)]
    pub zone: Option<u32>,
    /// Times as slow.
    #[serde(default)]
    pub slow: Option<f64>,
    /// The part of requests that are answered with 500.
    #[serde(default)]
    pub fails: Option<f64>,
    /// How soon such an answer comes; otherwise after as long as a good one takes.
    #[serde(default, deserialize_with = "optional_duration")]
    pub fails_after: Option<Duration>,
    /// Refuses connections.
    #[serde(default)]
    pub refuses: bool,
    /// Takes requests and never answers.
    #[serde(default)]
    pub hangs: bool,
    /// The part of its probes that fail, whatever its requests do.
    #[serde(default)]
    pub probes_fail: Option<f64>,
}

/// One of several runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub name: String,
    /// In place of those of the scenario.
    #[serde(default)]
    pub upstream: toml::Table,
}

/// What must come out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Of this run; of each, if it is not said.
    #[serde(default)]
    pub run: Option<String>,
    /// A figure, as `--json` names it.
    pub figure: String,
    /// As a multiple of the same figure of another run.
    #[serde(default)]
    pub of: Option<String>,
    #[serde(default)]
    pub at_least: Option<f64>,
    #[serde(default)]
    pub at_most: Option<f64>,
}

impl Scenario {
    /// Reads and checks a file's text.
    pub fn read(text: &str) -> Result<Scenario, String> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The runs, at least one.
    pub fn runs(&self) -> Vec<Run> {
        match self.run.is_empty() {
            true => vec![Run { name: "as configured".to_owned(), upstream: toml::Table::new() }],
            false => self.run.clone(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} is {value}; it may be {least} to {most}")),
        };
        within("`duration`, in seconds,", self.duration.as_secs_f64(), 1.0, DURATION_MAX.as_secs_f64())?;
        within("`warm_up`, in seconds,", self.warm_up.as_secs_f64(), 0.0, self.duration.as_secs_f64() - 1.0)?;
        within("`workers`", f64::from(self.workers), 1.0, f64::from(WORKERS_MAX))?;
        within("`endpoints.count`", f64::from(self.endpoints.count), 1.0, f64::from(ENDPOINTS_MAX))?;
        within("`endpoints.zones`", f64::from(self.endpoints.zones), 1.0, 26.0)?;
        within("`endpoints.concurrency`", f64::from(self.endpoints.concurrency), 1.0, f64::from(CONCURRENCY_MAX))?;
        within("`endpoints.latency`, in seconds,", self.endpoints.latency.as_secs_f64(), 1e-4, 60.0)?;
        within("`traffic.client_retries`", f64::from(self.traffic.client_retries), 0.0, 10.0)?;
        within("`traffic.rate`", self.traffic.rate, 0.1, 1e7)?;
        for factor in self.endpoints.skew.iter().chain(self.fault.iter().filter_map(|fault| fault.slow.as_ref())) {
            within("how many times as slow an endpoint is", *factor, 0.01, 10_000.0)?;
        }
        for change in &self.traffic.change {
            within("`traffic.change.times`", change.times, 0.0, 1_000.0)?;
        }
        for part in self.fault.iter().flat_map(|fault| [fault.part, fault.fails, fault.probes_fail]).flatten() {
            within("a part", part, 0.0, 1.0)?;
        }
        let most = self.traffic.change.iter().map(|change| change.times).fold(1.0, f64::max);
        within("requests altogether", most * self.traffic.rate * self.duration.as_secs_f64(), 1.0, REQUESTS_MAX)?;
        if self.run.len() > RUNS_MAX {
            return Err(format!("{} runs; there may be {RUNS_MAX}", self.run.len()));
        }
        let names = self.runs();
        for wanted in self.expect.iter().flat_map(|expect| [&expect.run, &expect.of]).flatten() {
            if names.iter().all(|run| run.name != *wanted) {
                return Err(format!("there is no run `{wanted}`, of which something is expected"));
            }
        }
        Ok(())
    }
}

impl Fault {
    /// How it counts a second: whether it hurts requests, rather than probes alone.
    pub fn hurts(&self) -> bool {
        self.slow.is_some() || self.fails.is_some() || self.refuses || self.hangs
    }
}

fn one() -> u64 {
    1
}

fn one_zone() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn concurrency() -> u32 {
    16
}

fn queue() -> u32 {
    1_000
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    values::duration(&text).map_err(serde::de::Error::custom)
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}
