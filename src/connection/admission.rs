//! Whether a new connection is let in, and what one that is not gets to hear: an answer that was written before it came,
//! or at once the end.
//!
//! What is asked, in this order, cheapest and most general first: is the listener full, is the worker behind with its work,
//! is the heap full, do connections come too fast, has this client too many. Every refusal is counted by its reason and
//! has one record in the access log.

use super::client::{Client, ListenerHandle};
use super::context::Context;
use crate::base::heap::{Pressure, pressure};
use crate::base::{Address, Instant};
use crate::engine::{Outgoing, Stream};
use crate::health::{Failure, Rate};
use crate::protocol::http::Version;
use crate::protocol::http1::{ErrorResponse, write_error};
use crate::snapshot::{Listener, Protocol};
use crate::telemetry::access_log::{HttpRecord, TcpRecord};
use crate::upstream::{ClientPlace, Counted};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Refused connections that a worker answers at a time. Those beyond are closed without an answer.
const REFUSALS_MAX: u32 = 256;
/// Seconds after which a client that found no room is told to come again.
const RETRY_AFTER_S: u32 = 1;
/// What a refused client may send before its connection is closed, and how long it has to take the answer.
const REFUSED_BYTES_MAX: usize = 64 * 1024;
const REFUSED_TIME_MAX: Duration = Duration::from_secs(1);
/// How often the shared rate is tried again when another worker was quicker.
const RATE_TRIES_MAX: usize = 64;

/// What a worker keeps for refusing connections.
#[derive(Default)]
pub(super) struct Answers {
    /// Refused connections that are being answered.
    answering: Cell<u32>,
    /// Written when first needed.
    answers: RefCell<Vec<(Failure, Rc<[u8]>)>>,
}

/// Lets in a connection that `handle` has accepted, or says why not.
///
/// # Errors
/// The reason, which [`refuse`] counts.
pub fn admit(context: &Rc<Context>, handle: &Rc<ListenerHandle>, address: &Address) -> Result<Client, Failure> {
    let (view, index) = handle.current(context);
    let listener = &view.snapshot.listeners[index];
    check(context, listener)?;
    // Whose connection a proxy's is, its PROXY header will say: see `Client::count`.
    let conveyed = listener.proxy_protocol.contains(address);
    let place = if conveyed { None } else { count_client(context, listener, address)? };
    Ok(Client::new(context, handle, address.clone(), place))
}

fn check(context: &Context, listener: &Listener) -> Result<(), Failure> {
    if !has_room(listener) {
        return Err(Failure::ListenerFull);
    }
    if context.engine.lag() > context.view().snapshot.worker_lag_max {
        return Err(Failure::Overloaded);
    }
    if pressure() != Pressure::Free && !context.memory.make_room(context) {
        return Err(Failure::MemoryFull);
    }
    if let Some(rate) = listener.accept_rate
        && !within_rate(rate, listener, context.engine.now())
    {
        return Err(Failure::AcceptRate);
    }
    Ok(())
}

/// Whether `listener` has room for another connection, all workers together.
fn has_room(listener: &Listener) -> bool {
    let open: i64 = listener.identity.stats.iter().map(|shard| shard.connections_active.get()).sum();
    open < i64::from(listener.connections_max)
}

/// All workers share the rate: exact, by one exchange of one number.
fn within_rate(rate: Rate, listener: &Listener, now: Instant) -> bool {
    let due = &listener.identity.accepts;
    let mut seen = due.load(Ordering::Relaxed);
    for _ in 0..RATE_TRIES_MAX {
        let Some(next) = rate.admit(seen, now.0) else { return false };
        match due.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) => seen = other,
        }
    }
    // So many others were let in meanwhile that one more makes no difference.
    true
}

/// Counts a connection of this client, if the listener limits those.
///
/// # Errors
/// If it has as many as it may.
pub(super) fn count_client(
    context: &Context,
    listener: &Listener,
    address: &Address,
) -> Result<Option<ClientPlace>, Failure> {
    let (Some(max), Some(table)) = (listener.connections_max_per_client, listener.identity.clients.get()) else {
        return Ok(None);
    };
    // Clients that come over a Unix socket cannot be told from each other.
    let Some(ip) = address.ip().filter(|_| !listener.clients_exempt.contains(address)) else { return Ok(None) };
    match table.take(ip, max) {
        Counted::Yes(place) => Ok(Some(place)),
        Counted::Full => Err(Failure::ClientFull),
        Counted::NoRoom => {
            listener.identity.stats.shard(context.worker).clients_uncounted.inc();
            Ok(None)
        }
    }
}

/// Ends a connection that was not let in.
pub fn refuse(context: &Rc<Context>, handle: &ListenerHandle, stream: Stream, address: &Address, why: Failure) {
    handle.identity.stats.shard(context.worker).connections_refused.inc();
    dismiss(context, handle, stream, address, why);
}

/// Ends a connection without a request of its own: counts the reason, logs it, and answers where the listener speaks HTTP.
pub(super) fn dismiss(context: &Rc<Context>, handle: &ListenerHandle, stream: Stream, address: &Address, why: Failure) {
    let (view, index) = handle.current(context);
    let listener = &view.snapshot.listeners[index];
    handle.identity.stats.shard(context.worker).failures[why as usize].inc();
    let answered = match listener.protocol {
        Protocol::Http(_) => answer(context, stream, why),
        Protocol::Tcp(_) | Protocol::Udp(_) => 0,
    };
    if view.snapshot.access_log {
        log(context, listener, view.snapshot.generation, address, why, answered);
    }
}

fn log(context: &Context, listener: &Listener, generation: u64, client: &Address, why: Failure, answered: u64) {
    let (started, reason) = (context.engine.now(), Some(why.verdict().name));
    match listener.protocol {
        Protocol::Http(_) => {
            let status = if answered > 0 { why.verdict().status } else { 0 };
            let protocol = Version::Http11.name();
            let bare = HttpRecord::of_connection(started, generation, &listener.name, client);
            let record = HttpRecord { protocol, status, bytes_sent: answered, reason, ..bare };
            context.access_log.http(context.worker_stats(), &record);
        }
        Protocol::Tcp(_) | Protocol::Udp(_) => {
            let bare = TcpRecord::of_connection(started, generation, &listener.name, client);
            let record = TcpRecord { reason, ..bare };
            context.access_log.tcp(context.worker_stats(), &record);
        }
    }
}

/// Answers a connection without reading a request from it. Gives the bytes of the answer; none if too many others are
/// being answered.
fn answer(context: &Rc<Context>, stream: Stream, why: Failure) -> u64 {
    let answering = context.answers.answering.get();
    if answering >= REFUSALS_MAX {
        return 0;
    }
    context.answers.answering.set(answering + 1);
    let text = context.answers.text(why);
    let bytes = text.len() as u64;
    let ending = context.clone();
    context.engine.spawn(async move {
        say(&ending, &stream, &text).await;
        ending.answers.answering.set(ending.answers.answering.get() - 1);
    });
    bytes
}

/// Sends, and takes for a moment what the client sends: a close with unread bytes would reset the connection and might
/// take the answer with it (RFC 9112 section 9.6).
async fn say(context: &Context, stream: &Stream, text: &[u8]) {
    let until = context.engine.now() + REFUSED_TIME_MAX;
    let mut outgoing = Outgoing::default();
    outgoing.text().extend_from_slice(text);
    if !matches!(context.engine.timeout(until, stream.send(&mut outgoing)).await, Ok(Ok(()))) {
        return;
    }
    stream.shutdown();
    let mut left = REFUSED_BYTES_MAX;
    while let Ok(Ok(chunk)) = context.engine.timeout(until, stream.receive()).await {
        if chunk.is_empty() || chunk.len() > left {
            return;
        }
        left -= chunk.len();
    }
}

impl Answers {
    fn text(&self, why: Failure) -> Rc<[u8]> {
        let mut answers = self.answers.borrow_mut();
        if let Some((_, text)) = answers.iter().find(|(failure, _)| *failure == why) {
            return text.clone();
        }
        let verdict = why.verdict();
        let mut bytes = Vec::new();
        let error = ErrorResponse {
            status: verdict.status,
            text: verdict.text,
            version: Version::Http11,
            keep_alive: false,
            head_only: false,
            allow: None,
            retry_after_s: Some(RETRY_AFTER_S),
            request_id: None,
        };
        write_error(&mut bytes, &error);
        let text: Rc<[u8]> = bytes.into();
        answers.push((why, text.clone()));
        text
    }
}
