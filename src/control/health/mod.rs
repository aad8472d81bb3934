//! Who is in service: reads what workers have counted, asks the judges of `health`, and tells workers by conditions and
//! breakers. It alone writes either. What it knows belongs to identities: no reload changes anything about an endpoint that
//! it does not touch, and an endpoint that leaves and comes back is known.
//!
//! One task looks several times a second, and at once when a worker rings the bell; the supervisor tells it of snapshots
//! before they are published, the prober of its verdicts, the admin listener of operators' wishes.

mod record;
mod view;
mod ward;

#[cfg(test)]
mod tests;

pub use record::Counted;
pub use view::{EndpointHealth, UpstreamHealth};

use crate::base::Instant;
use crate::health::{Operation, ProbeVerdict};
use crate::snapshot::{Published, Snapshot, Upstream};
use crate::upstream::EndpointIdentity;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant as TokioInstant, sleep, sleep_until};
use ward::Ward;

/// From one look at everything to the next ...
const LOOK: Duration = Duration::from_millis(250);
/// ... and where there are more endpoints than this: reading their counters costs workers a little.
const LOOK_OF_MANY: Duration = Duration::from_secs(1);
const MANY: usize = 2_000;
/// The bell is not heard again sooner, so that workers cannot keep control busy.
const ALARM_PAUSE: Duration = Duration::from_millis(5);

/// See the module.
pub struct Verdicts {
    published: Arc<Published>,
    started: TokioInstant,
    /// By upstream name. Held for one look at a time, by control threads alone.
    wards: Mutex<HashMap<String, Ward>>,
}

/// Why an operator's wish was not fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    Upstream,
    Endpoint,
}

/// What an operator wants of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Operate(Operation),
    /// All that operators have said is taken back, and an ejection ends.
    Return,
    /// In place of the configured one; `None` takes it back.
    Weigh(Option<u16>),
}

impl Verdicts {
    /// Begins with the snapshot in force, of which nothing is known. Called within a runtime, or before there is one.
    pub fn new(published: Arc<Published>) -> Arc<Verdicts> {
        let verdicts = Verdicts { started: TokioInstant::now(), wards: Mutex::default(), published };
        verdicts.follow(&verdicts.published.load());
        Arc::new(verdicts)
    }

    /// Takes on what is new in a snapshot, and lets go of what is not in it. Called before the snapshot is published, so
    /// that a new endpoint is never given more than its slow start or its first probe allows.
    pub fn follow(&self, snapshot: &Snapshot) {
        let now = self.now();
        let mut wards = self.wards();
        for upstream in &snapshot.upstreams {
            let ward = wards.entry(upstream.identity.name.clone()).or_insert_with(|| Ward::new(upstream));
            ward.follow(now, upstream);
            ward.show(upstream);
        }
        let present: HashSet<&str> =
            snapshot.upstreams.iter().map(|upstream| upstream.identity.name.as_str()).collect();
        wards.retain(|name, ward| present.contains(name.as_str()) || ward.let_go(now));
    }

    /// What probes say of an endpoint. Acted on within milliseconds, as far as the load allows it; many verdicts in one go.
    /// From any thread but a worker's.
    pub fn probed(&self, endpoint: &EndpointIdentity, verdict: ProbeVerdict) {
        let mut wards = self.wards();
        let Some(ward) = wards.get_mut(&endpoint.upstream) else { return };
        if ward.probed(endpoint.id, verdict) {
            ward.alarm();
            self.published.bell.ring();
        }
    }

    /// What an operator wants. It holds until an operator says otherwise, over every reload, to the end of the process.
    pub fn wish(&self, upstream: &str, endpoint: &str, wish: Wish) -> Result<(), Unknown> {
        let snapshot = self.published.load();
        let settings = upstream_of(&snapshot, upstream).ok_or(Unknown::Upstream)?;
        let mut wards = self.wards();
        let ward = wards.get_mut(upstream).ok_or(Unknown::Upstream)?;
        let of = settings.endpoints.iter().find(|of| of.identity.address.to_string() == endpoint);
        let id = of.ok_or(Unknown::Endpoint)?.identity.id;
        ward.wish(self.now(), settings, id, wish);
        ward.look(self.now(), settings);
        Ok(())
    }

    /// Every upstream of the snapshot in force, with what is known of its endpoints.
    pub fn view(&self) -> Vec<UpstreamHealth> {
        let (snapshot, now) = (self.published.load(), self.now());
        let wards = self.wards();
        let with_ward = snapshot.upstreams.iter().filter_map(|upstream| {
            let ward = wards.get(&upstream.identity.name)?;
            Some(ward.view(now, upstream))
        });
        with_ward.collect()
    }

    /// Looks at every upstream, or at those alone of which a worker has rung.
    pub fn look(&self, rung_only: bool) {
        let (snapshot, now) = (self.published.load(), self.now());
        let mut wards = self.wards();
        for upstream in &snapshot.upstreams {
            let rung = upstream.identity.alarm.load(Ordering::Relaxed)
                && upstream.identity.alarm.swap(false, Ordering::AcqRel);
            if rung_only && !rung {
                continue;
            }
            if let Some(ward) = wards.get_mut(&upstream.identity.name) {
                ward.look(now, upstream);
            }
        }
    }

    /// Looks until the future is dropped.
    ///
    /// # Errors
    /// If the bell cannot be heard, for want of file descriptors.
    pub async fn run(&self) -> io::Result<Infallible> {
        let bell = Receiver::from_owned_fd(self.published.bell.hear()?)?;
        loop {
            self.look(false);
            let next = TokioInstant::now() + self.pause();
            loop {
                tokio::select! {
                    () = sleep_until(next) => break,
                    rung = bell.readable() => {
                        rung?;
                        // Nothing to read: it was not rung.
                        let _ = bell.try_read(&mut [0; 8]);
                        self.published.bell.answer();
                        self.look(true);
                        sleep(ALARM_PAUSE).await;
                    }
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let snapshot = self.published.load();
        let endpoints: usize = snapshot.upstreams.iter().map(|upstream| upstream.endpoints.len()).sum();
        if endpoints > MANY { LOOK_OF_MANY } else { LOOK }
    }

    /// Control's own clock; it has nothing to do with that of the engines.
    fn now(&self) -> Instant {
        Instant(1) + self.started.elapsed()
    }

    fn wards(&self) -> MutexGuard<'_, HashMap<String, Ward>> {
        self.wards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn upstream_of<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Upstream> {
    snapshot.upstreams.iter().find(|upstream| upstream.identity.name == name)
}
