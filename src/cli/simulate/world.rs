//! One run: virtual time, modelled clients and endpoints, and between them the policies of the gateway itself: the plan and
//! the pickers of `balancer`, the judge, the failure table and the probes of `health`, asked as workers and control ask
//! them. Nothing of what they decide is modelled here.

use super::chance::Chance;
use super::control::Control;
use super::endpoint::{Fate, Server};
use super::measure::Measure;
use super::scenario::Scenario;
use crate::balancer::{Affinity, Ask, Picker, Plan};
use crate::base::Instant;
use crate::health::Failure;
use crate::health::failure::Retry;
use crate::health::probe::{Probing, Verdict};
use crate::snapshot::Upstream;
use crate::upstream::EndpointState;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often control looks at everything, and how soon where a streak has become too long.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_OF_MANY: Duration = Duration::from_secs(1);
const MANY: usize = 2_000;
const ALARM: Duration = Duration::from_millis(5);
/// How long a client waits before it asks again.
const CLIENT_PAUSE: Duration = Duration::from_millis(100);
/// Requests under way, so that a scenario that never answers ends by itself.
const REQUESTS_OPEN_MAX: usize = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Fault { index: usize, begins: bool },
    Arrival,
    ClientAgain { left: u32 },
    Ended { request: usize, endpoint: usize, came: Came },
    Retry { request: usize },
    Look,
    Alarm,
    Probe { endpoint: usize },
    Probed { endpoint: usize, passed: bool, started: Instant },
}

/// How an attempt came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    Answered,
    Failed,
    Full,
    Refused,
    TooLate,
}

#[derive(Debug)]
struct Request {
    arrived: Instant,
    began: Instant,
    deadline: Instant,
    worker: usize,
    tried: Vec<u32>,
    client_retries: u32,
}

/// See the module.
pub struct World<'s> {
    scenario: &'s Scenario,
    upstream: Upstream,
    servers: Vec<Server>,
    plan: Arc<Plan>,
    pickers: Vec<Picker>,
    control: Control,
    probing: Vec<Probing>,
    requests: Slab<Request>,
    /// The second value keeps what happens at the same instant in order.
    to_come: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    count: u64,
    alarmed: bool,
    times: f64,
    arrivals: Chance,
    chance: Chance,
    now: Instant,
    measure: Measure,
}

impl<'s> World<'s> {
    pub fn new(scenario: &'s Scenario, upstream: Upstream) -> World<'s> {
        let start = Instant(0);
        let of = |at: Option<Duration>| at.map(|at| start + at);
        let hurting = || scenario.fault.iter().filter(|fault| fault.hurts());
        let first = hurting().map(|fault| fault.at).min();
        let last = hurting().map(|fault| fault.until.unwrap_or(scenario.duration)).max();
        let hurt = (of(first), of(last.max(scenario.traffic.change.last().map(|change| change.at))));
        let count = upstream.endpoints.len();
        let seconds = scenario.duration.as_secs_f64().ceil() as usize;
        let workers = scenario.workers as usize;
        World {
            servers: (0..scenario.endpoints.count).map(|index| Server::new(index, &scenario.endpoints)).collect(),
            plan: upstream.plan.load(),
            pickers: (0..workers).map(|_| Picker::default()).collect(),
            control: Control::new(&upstream),
            probing: Vec::new(),
            requests: Slab::new(),
            to_come: BinaryHeap::new(),
            count: 0,
            alarmed: false,
            times: 1.0,
            arrivals: Chance::new(scenario.seed),
            chance: Chance::new(!scenario.seed),
            now: start,
            measure: Measure::new(start + scenario.warm_up, seconds, count, hurt),
            scenario,
            upstream,
        }
    }

    /// Runs to the end of the scenario. What was measured, and which endpoints something befell at any time.
    pub fn run(mut self) -> (Measure, Vec<bool>) {
        self.begin();
        let end = Instant(0) + self.scenario.duration;
        while let Some(Reverse((at, _, happening))) = self.to_come.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.happen(happening);
        }
        let faults = self.scenario.fault.iter().enumerate().filter(|(_, fault)| fault.hurts());
        let mut hurt = vec![false; self.servers.len()];
        for (index, _) in faults {
            self.chosen(index).into_iter().for_each(|endpoint| hurt[endpoint] = true);
        }
        for (index, skew) in self.scenario.endpoints.skew.iter().enumerate().take(hurt.len()) {
            hurt[index] |= *skew != 1.0;
        }
        (self.measure, hurt)
    }

    fn begin(&mut self) {
        let start = self.now;
        for (index, fault) in self.scenario.fault.iter().enumerate() {
            self.push(start + fault.at, Happening::Fault { index, begins: true });
            if let Some(until) = fault.until {
                self.push(start + until, Happening::Fault { index, begins: false });
            }
        }
        if let Some(probe) = self.upstream.probe.clone() {
            self.probing = vec![Probing::new(probe.rules.initial); self.servers.len()];
            for endpoint in 0..self.servers.len() {
                let wait = self.probing[endpoint].first_wait(&probe.rules, self.chance.draw());
                self.push(start + wait, Happening::Probe { endpoint });
            }
        }
        self.push(start, Happening::Look);
        self.push(start, Happening::Arrival);
    }

    fn push(&mut self, at: Instant, happening: Happening) {
        self.count += 1;
        self.to_come.push(Reverse((at, self.count, happening)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Fault { index, begins } => self.befall(index, begins),
            Happening::Arrival => {
                self.arrive(self.scenario.traffic.client_retries);
                let passed = self.now - Instant(0);
                let change = self.scenario.traffic.change.iter().rfind(|change| change.at <= passed);
                self.times = change.map_or(1.0, |change| change.times);
                let gap = self.arrivals.gap(self.scenario.traffic.rate * self.times);
                self.push(self.now + gap, Happening::Arrival);
            }
            Happening::ClientAgain { left } => self.arrive(left),
            Happening::Ended { request, endpoint, came } => self.ended(request, endpoint, came),
            Happening::Retry { request } => self.attempt(request),
            Happening::Look => {
                self.look();
                let pause = if self.servers.len() > MANY { LOOK_OF_MANY } else { LOOK };
                self.push(self.now + pause, Happening::Look);
            }
            Happening::Alarm => {
                self.alarmed = false;
                self.look();
            }
            Happening::Probe { endpoint } => self.probe(endpoint),
            Happening::Probed { endpoint, passed, started } => self.probed(endpoint, passed, started),
        }
    }

    /// Which endpoints a fault befalls: the same in every run.
    fn chosen(&self, index: usize) -> Vec<usize> {
        let Some(fault) = self.scenario.fault.get(index) else { return Vec::new() };
        let count = self.servers.len();
        if let Some(zone) = fault.zone {
            return (0..count).filter(|endpoint| self.servers[*endpoint].zone == zone).collect();
        }
        let part = fault.part.map(|part| (part * count as f64).round() as usize);
        let wanted = part.or(fault.endpoints.map(|wanted| wanted as usize)).unwrap_or(1).min(count);
        if let Some(first) = fault.first {
            return (first as usize..count).take(wanted).collect();
        }
        let mut chance = Chance::new(self.scenario.seed.wrapping_add(index as u64 + 1));
        let mut all: Vec<usize> = (0..count).collect();
        for at in 0..wanted {
            let other = at + (chance.part() * (count - at) as f64) as usize;
            all.swap(at, other);
        }
        all.truncate(wanted);
        all
    }

    fn befall(&mut self, index: usize, begins: bool) {
        for endpoint in self.chosen(index) {
            let faults = &mut self.servers[endpoint].faults;
            match begins {
                true => faults.push(index),
                false => faults.retain(|other| *other != index),
            }
        }
    }

    fn arrive(&mut self, client_retries: u32) {
        let worker = (self.chance.draw() % self.pickers.len() as u64) as usize;
        self.measure.arrived(self.now);
        let deadline = self.now + self.scenario.traffic.timeout;
        let (arrived, began) = (self.now, self.now);
        let request = Request { arrived, began, deadline, worker, tried: Vec::new(), client_retries };
        let is_full = self.requests.len() >= REQUESTS_OPEN_MAX;
        let request = self.requests.insert(request);
        match is_full || !self.control.admits(&self.upstream) {
            true => self.finish(request, false),
            false => self.attempt(request),
        }
    }

    fn attempt(&mut self, at: usize) {
        let in_flight = self.requests.len() as u64;
        let Some(request) = self.requests.get_mut(at) else { return };
        // Each request is of a client of its own, as far as keys go.
        let key = self.upstream.policy.hash_seed.hash(&request.arrived.0.to_le_bytes());
        let ask = Ask {
            tried: &request.tried,
            random: self.chance.draw(),
            now: self.now,
            affinity: Affinity { key: Some(key), kept: None },
            in_flight,
        };
        let picked = self.pickers[request.worker].pick(&self.plan, &self.upstream.endpoints, &ask);
        let Some(endpoint) = picked else { return self.finish(at, false) };
        request.tried.push(endpoint as u32);
        request.began = self.now;
        let limit = request.deadline;
        self.upstream.endpoints[endpoint].identity.in_flight.fetch_add(1, Ordering::Relaxed);
        let faults = &self.scenario.fault;
        let server = &mut self.servers[endpoint];
        self.measure.attempted(self.now, endpoint, server.is_hurt(faults));
        let fate = server.take(self.now, &self.scenario.endpoints, faults, &mut self.chance);
        let (came, ends) = match fate {
            Fate::Answered { at } => (Came::Answered, at),
            Fate::Failed { at } => (Came::Failed, at),
            Fate::Full { at } => (Came::Full, at),
            Fate::Refused { at } => (Came::Refused, at),
            Fate::Hung => (Came::TooLate, limit),
        };
        let (came, ends) = if ends > limit { (Came::TooLate, limit) } else { (came, ends) };
        self.push(ends, Happening::Ended { request: at, endpoint, came });
    }

    fn ended(&mut self, at: usize, endpoint: usize, came: Came) {
        let Some(request) = self.requests.get(at) else { return };
        let (worker, took) = (request.worker, self.now - request.began);
        self.upstream.endpoints[endpoint].identity.in_flight.fetch_sub(1, Ordering::Relaxed);
        let latency = (came == Came::Answered).then_some(took);
        self.upstream.policy.observe(&self.upstream.endpoints[endpoint].identity, latency, self.now);
        if self.control.ended(&self.upstream, worker, endpoint, came, took) {
            self.alarm();
        }
        match came {
            Came::Answered => self.finish(at, true),
            Came::Refused => self.again(at, Failure::ConnectRefused),
            Came::TooLate => self.again(at, Failure::UpstreamHeadTimeout),
            // An error is an answer, and is passed on.
            Came::Failed | Came::Full => self.finish(at, false),
        }
    }

    /// Another attempt at once, where that is safe and one is left.
    fn again(&mut self, at: usize, failure: Failure) {
        let Some(request) = self.requests.get(at) else { return };
        let is_left = request.tried.len() <= self.upstream.retries as usize && self.now < request.deadline;
        match failure.verdict().retry {
            Retry::Always | Retry::Idempotent if is_left => self.push(self.now, Happening::Retry { request: at }),
            _ => self.finish(at, false),
        }
    }

    fn finish(&mut self, at: usize, succeeded: bool) {
        let Some(request) = self.requests.try_remove(at) else { return };
        self.measure.ended(request.arrived, self.now, succeeded);
        if !succeeded && request.client_retries > 0 {
            self.push(self.now + CLIENT_PAUSE, Happening::ClientAgain { left: request.client_retries - 1 });
        }
    }

    fn alarm(&mut self) {
        if !std::mem::replace(&mut self.alarmed, true) {
            self.push(self.now + ALARM, Happening::Alarm);
        }
    }

    /// What control does several times a second.
    fn look(&mut self) {
        for endpoint in self.control.look(self.now, &self.upstream) {
            let hurt = self.servers.get(endpoint).is_some_and(|server| server.is_hurt(&self.scenario.fault));
            self.measure.took_out(self.now, hurt);
        }
        self.plan = self.upstream.plan.load();
        self.measure.capacity(self.now, in_service(&self.upstream));
    }

    fn probe(&mut self, endpoint: usize) {
        let Some(probe) = &self.upstream.probe else { return };
        let asked = self.servers[endpoint].probe(&self.scenario.endpoints, &self.scenario.fault, &mut self.chance);
        let (passed, took) = asked.filter(|(_, took)| *took <= probe.timeout).unwrap_or((false, probe.timeout));
        self.push(self.now + took, Happening::Probed { endpoint, passed, started: self.now });
    }

    fn probed(&mut self, endpoint: usize, passed: bool, started: Instant) {
        let Some(probe) = self.upstream.probe.clone() else { return };
        let before = self.probing[endpoint];
        let decided = self.probing[endpoint].note(&probe.rules, passed);
        let wait = self.probing[endpoint].next_wait(before, &probe.rules, self.chance.draw());
        self.push((started + wait).max(self.now), Happening::Probe { endpoint });
        if let Some((verdict, _)) = decided {
            self.control.probed(&self.upstream, endpoint, verdict == Verdict::Up);
            self.alarm();
        }
    }
}

/// The part of the whole weight that serves, whatever share of it.
fn in_service(upstream: &Upstream) -> f64 {
    let (mut serving, mut whole) = (0, 0);
    for of in &upstream.endpoints {
        whole += u64::from(of.weight);
        if of.identity.condition.load().state == EndpointState::Serving {
            serving += u64::from(of.weight);
        }
    }
    serving as f64 / whole.max(1) as f64
}
