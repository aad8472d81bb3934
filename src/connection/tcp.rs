//! A connection of a tcp listener: pick, connect (again on another endpoint if need be), relay, log.

use super::announce::announcement;
use super::client::Client;
use super::connect::{Load, Tried, UpstreamConnection};
use super::context::{Context, View};
use super::idle::ANYBODY;
use super::relay::{Relayed, relay};
use crate::base::{Address, Instant};
use crate::engine::{Chunk, Stream};
use crate::health::Failure;
use crate::snapshot::{Protocol, TcpSettings};
use crate::telemetry::access_log::TcpRecord;
use crate::upstream::UpstreamIndex;
use std::rc::Rc;
use std::time::Duration;

/// Serves one client connection to its end. `first` is what has been received from it already.
pub(super) async fn serve(stream: Stream, client: Client, mut first: Chunk) {
    let context = client.context().clone();
    let (view, listener_index) = client.listener.current(&context);
    let listener = &view.snapshot.listeners[listener_index];
    let Protocol::Tcp(settings) = &listener.protocol else { return };
    let upstream = view.upstream_of(&settings.upstream, &context.engine);
    let mut attempts = Attempts::default();
    // A connection takes a while, and must hold no receive buffer meanwhile.
    first.detach();
    let header = view.snapshot.upstreams.get(upstream.0 as usize);
    let header = header.map_or_else(Vec::new, |upstream| announcement(upstream, &client, &stream));
    let relayed = match connect(&context, &view, upstream, &header, &mut attempts).await {
        Ok((connection, _load)) => {
            attempts.connected = Some(context.engine.now() - client.accepted);
            run(&context, settings, (stream, first), connection).await
        }
        Err(failure) => {
            // An orderly end would look like an empty answer.
            stream.reset();
            Relayed { failure: Some(failure), ..Relayed::default() }
        }
    };
    finish(&client, &view, listener_index, Some(upstream), &attempts, &relayed);
}

/// Counts a connection that was closed before it could be served, and writes its line.
pub(super) fn refused(client: &Client, failure: Failure) {
    let (view, index) = client.listener.current(client.context());
    let relayed = Relayed { failure: Some(failure), ..Relayed::default() };
    finish(client, &view, index, None, &Attempts::default(), &relayed);
}

/// Counts a connection that has ended, and writes its line.
fn finish(
    client: &Client,
    view: &View,
    listener: usize,
    upstream: Option<UpstreamIndex>,
    attempts: &Attempts,
    relayed: &Relayed,
) {
    let context = client.context();
    let stats = client.stats();
    stats.bytes_received.add(relayed.from_client);
    stats.bytes_sent.add(relayed.from_endpoint);
    if let Some(failure) = relayed.failure {
        stats.failures[failure as usize].inc();
    }
    if !view.snapshot.access_log {
        return;
    }
    let upstream = upstream.and_then(|index| view.snapshot.upstreams.get(index.0 as usize));
    let unique_id = client.known_unique_id(upstream);
    let record = TcpRecord {
        started: client.accepted,
        generation: view.snapshot.generation,
        listener: &view.snapshot.listeners[listener].name,
        upstream: upstream.map(|upstream| upstream.identity.name.as_str()),
        endpoint: attempts.endpoint.as_ref(),
        client: &client.address,
        proxy: client.sender(),
        unique_id: unique_id.as_deref(),
        bytes_received: relayed.from_client,
        bytes_sent: relayed.from_endpoint,
        connect: attempts.connected,
        total: context.engine.now() - client.accepted,
        attempts: attempts.count,
        reason: relayed.failure.map(|failure| failure.verdict().name),
    };
    context.access_log.tcp(context.worker_stats(), &record);
}

#[derive(Default)]
struct Attempts {
    count: u32,
    endpoint: Option<Address>,
    connected: Option<Duration>,
}

async fn connect(
    context: &Context,
    view: &Rc<View>,
    upstream_index: UpstreamIndex,
    header: &[u8],
    attempts: &mut Attempts,
) -> Result<(UpstreamConnection, Load), Failure> {
    let Some(upstream) = view.snapshot.upstreams.get(upstream_index.0 as usize) else {
        return Err(Failure::NoEndpoint);
    };
    upstream.identity.stats.shard(context.worker).requests.inc();
    let mut tried = Tried::default();
    let mut failure = Failure::NoEndpoint;
    while attempts.count <= upstream.retries {
        let Some(index) = view.pick(upstream_index, tried.as_slice(), &context.engine) else { break };
        let endpoint = &upstream.endpoints[index].identity;
        if attempts.count > 0 {
            upstream.identity.stats.shard(context.worker).retries.inc();
        }
        attempts.count += 1;
        attempts.endpoint = Some(endpoint.address.clone());
        let load = Load::new(endpoint, context.worker);
        let opened = UpstreamConnection::open(context, upstream, endpoint, ANYBODY, Instant::NEVER, header);
        match Box::pin(opened).await {
            Ok(connection) => return Ok((connection, load)),
            Err(error) => failure = error,
        }
        endpoint.stats.shard(context.worker).failures.inc();
        if !tried.add(index) {
            break;
        }
    }
    Err(failure)
}

/// Relays, and passes on a reset: the other side must not take what it got for all there is.
async fn run(
    context: &Context,
    settings: &TcpSettings,
    (stream, first): (Stream, Chunk),
    connection: UpstreamConnection,
) -> Relayed {
    let ends = ((&stream, first), (&connection.stream, Chunk::empty()));
    let relayed = relay(context, ends.0, ends.1, settings.idle_timeout).await;
    match relayed.failure {
        Some(Failure::ClientClosed) => connection.reset(),
        Some(_) => stream.reset(),
        None => {}
    }
    relayed
}
