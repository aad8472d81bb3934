//! One flow from its first datagram to its end: client to endpoint, endpoint to client, on to another endpoint, silence.

use super::endpoint::{self, Connected};
use super::table::FlowKey;
use super::{Place, Room, UdpListener, is_unreachable};
use crate::base::Instant;
use crate::connection::context::Context;
use crate::engine::{Datagram, Received, WakeTimer};
use crate::health::Failure;
use crate::snapshot::UdpSettings;
use crate::telemetry::access_log::FlowRecord;
use crate::upstream::{OutcomeClass, UpstreamIdentity};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Why a flow has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Silence in both directions.
    Expired,
    /// Every reply that was to come has come.
    Answered,
    /// Its listener is gone, or the process is about to be.
    Drained,
}

/// Datagrams and their bytes in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    datagrams: u64,
    bytes: u64,
}

impl Traffic {
    fn add(&mut self, datagram: &Datagram<'_>) {
        self.datagrams += datagram.count() as u64;
        self.bytes += datagram.bytes.len() as u64;
    }
}

pub(super) struct Flow {
    listener: Rc<UdpListener>,
    key: FlowKey,
    upstream: Arc<UpstreamIdentity>,
    connected: Connected,
    /// Of the snapshot that is known to have its endpoint.
    generation: u64,
    /// Its endpoint could not be reached: the next datagram goes to another.
    unreachable: bool,
    started: Instant,
    last: Instant,
    timer: (Instant, WakeTimer),
    received: Traffic,
    sent: Traffic,
    attempts: u32,
    reason: Option<Failure>,
    _room: Room,
}

impl Flow {
    /// A flow under its key and its place among the worker's flows.
    pub(super) fn new(
        context: &Context,
        listener: &Rc<UdpListener>,
        place: &Place,
        settings: &UdpSettings,
        (key, index): (FlowKey, u32),
        (upstream, connected): (Arc<UpstreamIdentity>, Connected),
        room: Room,
    ) -> Flow {
        if let Some(stats) = listener.stats(context) {
            stats.flows_opened.inc();
            stats.flows_active.inc();
        }
        context.flows.wakes.wake(index);
        let until = place.now + settings.idle_timeout;
        Flow {
            listener: listener.clone(),
            key,
            upstream,
            connected,
            generation: place.view.snapshot.generation,
            unreachable: false,
            started: place.now,
            last: place.now,
            timer: (until, context.flows.wakes.wake_at(until, index)),
            received: Traffic::default(),
            sent: Traffic::default(),
            attempts: 1,
            reason: None,
            _room: room,
        }
    }

    // ---- client to endpoint

    pub(super) fn forward(
        &mut self,
        context: &Context,
        place: &Place,
        datagram: &Datagram<'_>,
        index: u32,
    ) -> Result<(), Failure> {
        let settings = place.settings().ok_or(Failure::Internal)?;
        self.last = place.now;
        self.received.add(datagram);
        let generation = place.view.snapshot.generation;
        if self.generation != generation {
            self.unreachable |= !endpoint::is_listed(place, settings, &self.upstream, self.connected.endpoint());
            self.generation = generation;
        }
        if std::mem::take(&mut self.unreachable) {
            self.go_to_another(context, place, settings, index);
        }
        match self.send(context, datagram) {
            Err(error) if is_unreachable(&error) => {
                self.note_unreachable(context, place, settings, &error);
                self.go_to_another(context, place, settings, index);
                self.send(context, datagram).map_err(|error| self.unsent(&error))
            }
            result => result.map_err(|error| self.unsent(&error)),
        }
    }

    fn send(&self, context: &Context, datagram: &Datagram<'_>) -> io::Result<()> {
        self.connected.socket.send(datagram.bytes, datagram.segment)?;
        let stats = self.connected.endpoint().stats.shard(context.worker);
        stats.bytes_sent.add(datagram.bytes.len() as u64);
        Ok(())
    }

    fn unsent(&mut self, error: &io::Error) -> Failure {
        let failure = match error.raw_os_error() {
            Some(libc::EMSGSIZE) => Failure::DatagramTooLong,
            _ if is_unreachable(error) => Failure::ConnectRefused,
            _ => Failure::DatagramUnsent,
        };
        self.reason = Some(failure);
        failure
    }

    /// Moves on to another endpoint, or stays where there is none.
    fn go_to_another(&mut self, context: &Context, place: &Place, settings: &UdpSettings, index: u32) {
        let present = (&self.upstream, &**self.connected.endpoint());
        let found = endpoint::another(context, &self.listener, place, settings, self.key.client, present);
        let Ok((upstream, connected)) = found else { return };
        (self.upstream, self.connected) = (upstream, connected);
        self.attempts += 1;
        if let Some(stats) = self.listener.stats(context) {
            stats.flows_moved.inc();
        }
        context.flows.wakes.wake(index);
    }

    fn note_unreachable(&mut self, context: &Context, place: &Place, settings: &UdpSettings, error: &io::Error) {
        self.reason = Some(Failure::ConnectRefused);
        endpoint::note_unreachable(context, place, settings, (&self.upstream, self.connected.endpoint()), error);
        // What was sent before, and what ICMP is about.
        self.listener.count_drop(context, Failure::ConnectRefused, 1);
    }

    // ---- endpoint to client

    /// Brings back what has arrived, and looks at the time. `Some`: the flow is over.
    pub(super) fn attend(&mut self, context: &Context, index: u32) -> Option<End> {
        let (mut sent, mut unsent) = (Traffic::default(), Traffic::default());
        loop {
            let (listener, key) = (&self.listener, &self.key);
            let received = self.connected.socket.receive_now(&context.flows.wakes, index, |datagram| {
                match listener.socket.send_to(datagram.bytes, datagram.segment, key.client, key.local) {
                    Ok(()) => sent.add(&datagram),
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                        listener.count_drop(context, Failure::DatagramTooLong, datagram.count());
                        unsent.add(&datagram);
                    }
                    Err(_) => {
                        listener.count_drop(context, Failure::DatagramUnsent, datagram.count());
                        unsent.add(&datagram);
                    }
                }
            });
            match received {
                None => break,
                Some(Ok(Received { truncated, .. })) => {
                    self.listener.count_drop(context, Failure::DatagramTruncated, truncated);
                }
                Some(Err(error)) => self.failed(context, &error),
            }
        }
        if sent.datagrams + unsent.datagrams > 0 {
            self.replied(context, sent, unsent);
        }
        self.look_at_time(context, index)
    }

    fn failed(&mut self, context: &Context, error: &io::Error) {
        let place = Place::of(context, &self.listener);
        if let (true, Some(settings)) = (is_unreachable(error), place.settings()) {
            self.note_unreachable(context, &place, settings, error);
            self.unreachable = true;
        }
    }

    fn replied(&mut self, context: &Context, sent: Traffic, unsent: Traffic) {
        let now = context.engine.now();
        if self.sent.datagrams == 0 {
            self.note(context, OutcomeClass::Success, Some(now - self.last));
        }
        self.last = now;
        self.sent.datagrams += sent.datagrams;
        self.sent.bytes += sent.bytes;
        if let Some(stats) = self.listener.stats(context) {
            stats.datagrams_sent.add(sent.datagrams);
            stats.bytes_sent.add(sent.bytes);
        }
        let endpoint = self.connected.endpoint();
        endpoint.reachability.note_reachable();
        endpoint.stats.shard(context.worker).bytes_received.add(sent.bytes + unsent.bytes);
    }

    /// Tells what became of the flow at its endpoint.
    fn note(&self, context: &Context, class: OutcomeClass, latency: Option<Duration>) {
        let place = Place::of(context, &self.listener);
        if let Some(settings) = place.settings() {
            let of = (&self.upstream, &**self.connected.endpoint());
            endpoint::note(context, &place, settings, of, class, latency);
        }
    }

    fn look_at_time(&mut self, context: &Context, index: u32) -> Option<End> {
        let now = context.engine.now();
        let replied = self.sent.datagrams;
        let place = Place::of(context, &self.listener);
        let settings = place.settings()?;
        if settings.replies.is_some_and(|replies| replied >= u64::from(replies) * self.received.datagrams) {
            return Some(End::Answered);
        }
        let until = self.last + settings.idle_timeout;
        if now >= until {
            return Some(End::Expired);
        }
        // Set anew where it has gone off, and where it would come too late because the configuration has changed.
        if now >= self.timer.0 || until < self.timer.0 {
            context.flows.wakes.cancel(&self.timer.1);
            self.timer = (until, context.flows.wakes.wake_at(until, index));
        }
        None
    }

    // ---- the end

    /// Takes the flow, which is out of the worker's flows already, out of the table and the counts, and logs it.
    pub(super) fn finish(&self, context: &Context, end: End) {
        let listener = &self.listener;
        context.flows.wakes.cancel(&self.timer.1);
        listener.table.borrow_mut().remove(&self.key);
        if listener.draining.get() && listener.table.borrow().len() == 0 {
            listener.drained.notify();
        }
        let word = match end {
            End::Expired => "expired",
            End::Answered => "answered",
            End::Drained => "drained",
        };
        if let Some(stats) = listener.stats(context) {
            stats.flows_active.dec();
            match end {
                End::Expired => stats.flows_expired.inc(),
                End::Answered => stats.flows_answered.inc(),
                End::Drained => {}
            }
        }
        let place = Place::of(context, listener);
        let is_asking = place.settings().is_some_and(|settings| settings.replies.is_some());
        if end == End::Expired && is_asking && self.sent.datagrams == 0 && self.reason.is_none() {
            self.note(context, OutcomeClass::Timeout, Some(self.last - self.started));
        }
        if place.view.snapshot.access_log {
            let record = FlowRecord {
                started: self.started,
                generation: place.view.snapshot.generation,
                listener: &place.listener().name,
                upstream: Some(&self.upstream.name),
                endpoint: &self.connected.endpoint().address,
                client: self.key.client,
                received: (self.received.datagrams, self.received.bytes),
                sent: (self.sent.datagrams, self.sent.bytes),
                total: self.last - self.started,
                attempts: self.attempts,
                end: word,
                reason: self.reason.map(|failure| failure.verdict().name),
            };
            context.access_log.flow(context.worker_stats(), &record);
        }
    }
}
