//! A connection of a tcp listener: pick, connect (again on another endpoint if need be), relay, log.

use super::affinity::Preference;
use super::announce::announcement;
use super::breaker;
use super::client::Client;
use super::connect::{Load, Tried, UpstreamConnection, count_failure};
use super::context::{Context, View};
use super::hello::{Hello, Opened};
use super::names::{Named, Names};
use super::outcome;
use super::relay::{self, Relayed};
use crate::base::{Address, Instant, Sharded};
use crate::engine::{Chunk, Stream};
use crate::health::Failure;
use crate::snapshot::{Protocol, Route};
use crate::telemetry::RouteStats;
use crate::telemetry::access_log::TcpRecord;
use crate::upstream::{EndpointIdentity, OutcomeClass, OutcomeRule, UpstreamIdentity, UpstreamIndex};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Serves one client connection to its end.
pub(super) async fn serve(stream: Stream, client: Client, opened: Opened) {
    let Opened { first, hello, route } = opened;
    // A connection takes a while, and must hold no receive buffer meanwhile.
    let mut first = first.unwrap_or(Chunk::empty());
    first.detach();
    let Some((mut end, idle_timeout, connected)) = pin!(begin(&stream, &client, hello, route)).await else { return };
    end.relayed = match connected {
        Ok((connection, load)) => {
            let relayed = relay::serve(&client, (stream, first), (connection, Chunk::empty()), idle_timeout).await;
            end.attempts.note(client.context(), load.endpoint(), &relayed);
            relayed
        }
        Err(failure) => {
            // An orderly end would look like an empty answer.
            stream.reset();
            Relayed { failure: Some(failure), ..Relayed::default() }
        }
    };
    finish(&client, &end);
}

/// What is done on the snapshot that the connection begins with: the connection to an endpoint. The snapshot may go then.
async fn begin(
    stream: &Stream,
    client: &Client,
    hello: Option<Hello>,
    route: Option<u32>,
) -> Option<(End, Duration, Result<(UpstreamConnection, Load), Failure>)> {
    let context = client.context();
    let (view, index) = client.listener.current(context);
    let Protocol::Tcp(settings) = &view.snapshot.listeners[index].protocol else { return None };
    let route = route.and_then(|index| view.snapshot.routes.get(index as usize));
    let destination = route.map(|route| &route.destination).or(settings.upstream.as_ref());
    let upstream = destination.map(|destination| view.upstream_of(destination, &context.engine));
    let admitted = upstream.map(|upstream| breaker::admit(&view, upstream));
    let is_rejected = matches!(admitted, Some(None));
    // As a probe of the breaker it counts while it connects.
    let (_admitted, upstream) = match admitted.flatten() {
        Some((admitted, upstream)) => (Some(admitted), Some(upstream)),
        None => (None, upstream),
    };
    let mut end = End::new(client, &view, index, route, upstream);
    let to = upstream.and_then(|upstream| view.snapshot.upstreams.get(upstream.0 as usize));
    let header = to.map_or_else(Vec::new, |to| announcement(to, client, stream, hello.as_ref()));
    end.hello = hello;
    let connected = match is_rejected {
        true => Err(Failure::BreakerOpen),
        false => connect(context, &view, (upstream, route), client, &header, &mut end.attempts).await,
    };
    if connected.is_ok() {
        end.attempts.connected = Some(context.engine.now() - client.accepted);
    }
    Some((end, settings.idle_timeout, connected))
}

/// Counts a connection that was closed before it could be served, and writes its line.
pub(super) fn refused(client: &Client, failure: Failure, hello: Option<Hello>) {
    let (view, index) = client.listener.current(client.context());
    let relayed = Relayed { failure: Some(failure), ..Relayed::default() };
    finish(client, &End { hello, relayed, ..End::new(client, &view, index, None, None) });
}

/// What is known of a connection when it has ended.
struct End {
    hello: Option<Hello>,
    route: Option<Arc<Sharded<RouteStats>>>,
    /// For the access log, if there is one.
    names: Option<Box<Names>>,
    attempts: Attempts,
    relayed: Relayed,
}

impl End {
    fn new(
        client: &Client,
        view: &View,
        listener: usize,
        route: Option<&Route>,
        upstream: Option<UpstreamIndex>,
    ) -> End {
        let names = || Box::new(Names::keep(&Named::of(client, view, listener, route, upstream)));
        End {
            hello: None,
            route: route.map(|route| route.stats.clone()),
            names: view.snapshot.access_log.then(names),
            attempts: Attempts::default(),
            relayed: Relayed::default(),
        }
    }
}

/// Counts a connection that has ended, and writes its line.
fn finish(client: &Client, end: &End) {
    let End { relayed, attempts, .. } = end;
    let context = client.context();
    let stats = client.stats();
    stats.bytes_received.add(relayed.from_client);
    stats.bytes_sent.add(relayed.from_endpoint);
    let total = context.engine.now() - client.accepted;
    let route_stats = end.route.as_ref().map(|route| route.shard(context.worker));
    if let Some(route_stats) = route_stats {
        route_stats.requests.inc();
        route_stats.duration.record(total);
    }
    if let Some(failure) = relayed.failure {
        route_stats.map_or(&stats.failures, |route| &route.failures)[failure as usize].inc();
    }
    let Some(names) = &end.names else { return };
    let named = names.named();
    let record = TcpRecord {
        started: client.accepted,
        generation: named.generation,
        listener: named.listener,
        route: named.route,
        upstream: named.upstream,
        endpoint: attempts.endpoint.as_ref(),
        client: &client.address,
        proxy: client.sender(),
        sni: end.hello.as_ref().and_then(|hello| hello.server_name.as_deref()),
        unique_id: named.unique_id.as_deref(),
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
    /// How long the last connect took, and whom to tell what became of it.
    connect: Option<(Duration, Arc<UpstreamIdentity>, OutcomeRule)>,
}

impl Attempts {
    /// Tells what became of a connection that was relayed: an endpoint that accepts, and resets before it has said a word to
    /// a client that did, does not work.
    fn note(&self, context: &Context, endpoint: &EndpointIdentity, relayed: &Relayed) {
        let Some((connect, upstream, rule)) = &self.connect else { return };
        let is_mute = relayed.from_endpoint == 0 && relayed.from_client > 0;
        let class = match relayed.failure {
            Some(Failure::UpstreamReset) if is_mute => OutcomeClass::Gateway,
            _ => OutcomeClass::Success,
        };
        outcome::note_by(context, (upstream, rule), endpoint, class, Some(*connect));
    }
}

async fn connect(
    context: &Context,
    view: &Rc<View>,
    (upstream_index, route): (Option<UpstreamIndex>, Option<&Route>),
    client: &Client,
    header: &[u8],
    attempts: &mut Attempts,
) -> Result<(UpstreamConnection, Load), Failure> {
    let upstream_index = upstream_index.ok_or(Failure::NoEndpoint)?;
    let upstream = view.snapshot.upstreams.get(upstream_index.0 as usize).ok_or(Failure::NoEndpoint)?;
    upstream.identity.stats.shard(context.worker).requests.inc();
    let preference = Preference::of_client(route, (upstream_index, upstream), &client.address);
    let mut tried = Tried::default();
    let mut failure = Failure::NoEndpoint;
    while attempts.count <= upstream.retries {
        let Some(index) = view.pick(upstream_index, preference, tried.as_slice(), &context.engine) else {
            break;
        };
        let endpoint = &upstream.endpoints[index].identity;
        if attempts.count > 0 {
            upstream.identity.stats.shard(context.worker).retries.inc();
        }
        attempts.count += 1;
        attempts.endpoint = Some(endpoint.address.clone());
        let load = Load::new(endpoint, context.worker);
        let started = context.engine.now();
        let opened = UpstreamConnection::open(context, upstream, endpoint, client, Instant::NEVER, header, false);
        let opened = Box::pin(opened).await;
        let now = context.engine.now();
        upstream.policy.observe(endpoint, opened.is_ok().then(|| now - started), now);
        match opened {
            Ok(connection) => {
                endpoint.outcomes.note_connected();
                attempts.connect = Some((now - started, upstream.identity.clone(), upstream.rule));
                return Ok((connection, load));
            }
            Err(error) => failure = error,
        }
        outcome::note_failure(context, upstream, endpoint, failure, None);
        count_failure(context, endpoint, failure);
        if !tried.add(index) {
            break;
        }
    }
    Err(failure)
}
