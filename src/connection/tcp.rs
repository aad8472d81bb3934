//! A connection of a tcp listener: pick, connect (again on another endpoint if need be), relay, log.

use super::announce::announcement;
use super::client::Client;
use super::connect::{Load, Tried, UpstreamConnection};
use super::context::{Context, View};
use super::hello::{Hello, Opened};
use super::relay::{Relayed, relay};
use crate::base::{Address, Instant};
use crate::engine::{Chunk, Stream};
use crate::health::Failure;
use crate::snapshot::{Protocol, Route, TcpSettings, Upstream};
use crate::telemetry::access_log::TcpRecord;
use crate::upstream::UpstreamIndex;
use std::rc::Rc;
use std::time::Duration;

/// Serves one client connection to its end.
pub(super) async fn serve(stream: Stream, client: Client, mut opened: Opened) {
    let context = client.context().clone();
    let (view, listener_index) = client.listener.current(&context);
    let listener = &view.snapshot.listeners[listener_index];
    let Protocol::Tcp(settings) = &listener.protocol else { return };
    let route = opened.route.and_then(|index| view.snapshot.routes.get(index as usize));
    let destination = route.map(|route| &route.destination).or(settings.upstream.as_ref());
    let upstream = destination.map(|destination| view.upstream_of(destination, &context.engine));
    let mut end = End { hello: opened.hello.as_ref(), route, upstream, ..End::default() };
    // A connection takes a while, and must hold no receive buffer meanwhile.
    let mut first = opened.first.take().unwrap_or(Chunk::empty());
    first.detach();
    let header = end.upstream(&view).map_or_else(Vec::new, |to| announcement(to, &client, &stream, end.hello));
    end.relayed = match connect(&context, &view, upstream, &client, &header, &mut end.attempts).await {
        Ok((connection, _load)) => {
            end.attempts.connected = Some(context.engine.now() - client.accepted);
            run(&client, settings, (stream, first), connection).await
        }
        Err(failure) => {
            // An orderly end would look like an empty answer.
            stream.reset();
            Relayed { failure: Some(failure), ..Relayed::default() }
        }
    };
    finish(&client, &view, listener_index, &end);
}

/// Counts a connection that was closed before it could be served, and writes its line.
pub(super) fn refused(client: &Client, failure: Failure, hello: Option<&Hello>) {
    let (view, index) = client.listener.current(client.context());
    let relayed = Relayed { failure: Some(failure), ..Relayed::default() };
    finish(client, &view, index, &End { hello, relayed, ..End::default() });
}

/// What is known of a connection when it has ended.
#[derive(Default)]
struct End<'a> {
    hello: Option<&'a Hello>,
    route: Option<&'a Route>,
    upstream: Option<UpstreamIndex>,
    attempts: Attempts,
    relayed: Relayed,
}

impl End<'_> {
    fn upstream<'v>(&self, view: &'v View) -> Option<&'v Upstream> {
        view.snapshot.upstreams.get(self.upstream?.0 as usize)
    }
}

/// Counts a connection that has ended, and writes its line.
fn finish(client: &Client, view: &View, listener: usize, end: &End<'_>) {
    let End { relayed, attempts, .. } = end;
    let context = client.context();
    let stats = client.stats();
    stats.bytes_received.add(relayed.from_client);
    stats.bytes_sent.add(relayed.from_endpoint);
    let total = context.engine.now() - client.accepted;
    let route_stats = end.route.map(|route| route.stats.shard(context.worker));
    if let Some(route_stats) = route_stats {
        route_stats.requests.inc();
        route_stats.duration.record(total);
    }
    if let Some(failure) = relayed.failure {
        route_stats.map_or(&stats.failures, |route| &route.failures)[failure as usize].inc();
    }
    if !view.snapshot.access_log {
        return;
    }
    let upstream = end.upstream(view);
    let unique_id = client.known_unique_id(upstream);
    let record = TcpRecord {
        started: client.accepted,
        generation: view.snapshot.generation,
        listener: &view.snapshot.listeners[listener].name,
        route: end.route.map(|route| route.name.as_str()),
        upstream: upstream.map(|upstream| upstream.identity.name.as_str()),
        endpoint: attempts.endpoint.as_ref(),
        client: &client.address,
        proxy: client.sender(),
        sni: end.hello.and_then(|hello| hello.server_name.as_deref()),
        unique_id: unique_id.as_deref(),
        bytes_received: relayed.from_client,
        bytes_sent: relayed.from_endpoint,
        connect: attempts.connected,
        total,
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
    upstream_index: Option<UpstreamIndex>,
    client: &Client,
    header: &[u8],
    attempts: &mut Attempts,
) -> Result<(UpstreamConnection, Load), Failure> {
    let upstream_index = upstream_index.ok_or(Failure::NoEndpoint)?;
    let upstream = view.snapshot.upstreams.get(upstream_index.0 as usize).ok_or(Failure::NoEndpoint)?;
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
        let opened = UpstreamConnection::open(context, upstream, endpoint, client, Instant::NEVER, header, false);
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
    client: &Client,
    settings: &TcpSettings,
    (stream, first): (Stream, Chunk),
    connection: UpstreamConnection,
) -> Relayed {
    let ends = ((&stream, first), (&connection.stream, Chunk::empty()));
    let relayed = relay(client, connection.endpoint(), ends.0, ends.1, settings.idle_timeout).await;
    match relayed.failure {
        Some(Failure::ClientClosed) => connection.reset(),
        Some(Failure::MemoryFull | Failure::Draining | Failure::EndpointDraining) => {
            connection.reset();
            stream.reset();
        }
        Some(_) => stream.reset(),
        None => {}
    }
    relayed
}
