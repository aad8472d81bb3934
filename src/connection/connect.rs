//! A connection to an endpoint: an idle one if there is one, else a new one within the connect timeout.

use super::client::Client;
use super::context::Context;
use super::idle::{ANYBODY, Use};
use crate::base::Instant;
use crate::engine::{ConnectOptions, Outgoing, Stream, TcpOptions};
use crate::health::failure::Fault;
use crate::health::{Failure, is_old};
use crate::snapshot::{TcpSocket, Upstream};
use crate::upstream::EndpointIdentity;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Idle connections to endpoints that are closed when a connection finds no file descriptor.
const IDLE_FOR_FILES: usize = 8;

/// A connection to an endpoint, with its part in the counts.
pub(super) struct UpstreamConnection {
    pub stream: Stream,
    /// It was idle before: its endpoint may have closed it in this moment.
    pub reused: bool,
    /// It is not to be kept after the present request, and its endpoint is told so.
    pub is_last: bool,
    /// Whose it is: a client's id, or [`ANYBODY`].
    owner: u64,
    use_so_far: Use,
    open: Open,
}

/// Counts one open connection to an endpoint.
struct Open {
    endpoint: Arc<EndpointIdentity>,
    worker: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.endpoint.stats.shard(self.worker).connections_active.dec();
    }
}

impl UpstreamConnection {
    fn new(
        context: &Context,
        stream: Stream,
        upstream: &Upstream,
        endpoint: &Arc<EndpointIdentity>,
        owner: u64,
        before: Option<Use>,
    ) -> UpstreamConnection {
        endpoint.stats.shard(context.worker).connections_active.inc();
        let open = Open { endpoint: endpoint.clone(), worker: context.worker };
        let now = context.engine.now();
        let use_so_far = match before {
            Some(Use { since, requests }) => Use { since, requests: requests.saturating_add(1) },
            None => Use { since: now, requests: 1 },
        };
        let Use { since, requests } = use_so_far;
        let is_last =
            requests >= upstream.connection_requests_max || is_old(now - since, upstream.connection_age_max, since.0);
        UpstreamConnection { stream, reused: before.is_some(), is_last, owner, use_so_far, open }
    }

    /// Whose a connection to this upstream is that carries this client's requests.
    pub(super) fn owner(upstream: &Upstream, client: &Client) -> u64 {
        if upstream.proxy_protocol.is_some() || upstream.connect.transparent { client.id } else { ANYBODY }
    }

    /// An idle connection of this owner to `endpoint`, if there is one.
    pub(super) fn idle(
        context: &Context,
        upstream: &Upstream,
        endpoint: &Arc<EndpointIdentity>,
        owner: u64,
    ) -> Option<UpstreamConnection> {
        let (stream, before) = context.idle.take(endpoint.id, owner, context.worker)?;
        Some(UpstreamConnection::new(context, stream, upstream, endpoint, owner, Some(before)))
    }

    /// A new connection to `endpoint`, within the upstream's connect timeout and before `deadline`. `header` is what it
    /// begins with, if anything. `repeatable`: what it carries may arrive twice.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn open(
        context: &Context,
        upstream: &Upstream,
        endpoint: &Arc<EndpointIdentity>,
        client: &Client,
        deadline: Instant,
        header: &[u8],
        repeatable: bool,
    ) -> Result<UpstreamConnection, Failure> {
        let (upstream_stats, stats) =
            (upstream.identity.stats.shard(context.worker), endpoint.stats.shard(context.worker));
        let started = context.engine.now();
        let until = deadline.min(started + upstream.connect_timeout);
        let owner = UpstreamConnection::owner(upstream, client);
        let connected = match options(upstream, client, endpoint, repeatable) {
            Some(options) => context.engine.timeout(until, connect(context, endpoint, &options, header)).await,
            None => Ok(Err(io::ErrorKind::AddrNotAvailable.into())),
        };
        upstream_stats.connects.inc();
        stats.connects.inc();
        let failure = match connected {
            Ok(Ok(stream)) => {
                upstream_stats.connect_duration.record(context.engine.now() - started);
                return Ok(UpstreamConnection::new(context, stream, upstream, endpoint, owner, None));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Failure::ConnectTimeout,
            Ok(Err(error)) if is_of_source(&error) => {
                note_no_source(context, upstream, endpoint, &error);
                Failure::NoSource
            }
            Ok(Err(error)) if is_of_files(&error) => {
                // Idle ones are the first to go, so that the next one has room.
                context.idle.close_idlest(IDLE_FOR_FILES, context.worker);
                note_no_file(context, upstream, endpoint, &error);
                Failure::FilesFull
            }
            Ok(Err(_)) => Failure::ConnectRefused,
            Err(_) => Failure::ConnectTimeout,
        };
        upstream_stats.connect_failures.inc();
        stats.connect_failures.inc();
        Err(failure)
    }

    pub(super) fn endpoint(&self) -> &EndpointIdentity {
        &self.open.endpoint
    }

    /// Closes the connection with a reset.
    pub(super) fn reset(self) {
        self.stream.reset();
    }

    /// Keeps the connection for another request: of this client, if it is this client's.
    pub(super) fn keep(self, context: &Context, upstream: &Upstream, client: &Client) {
        let UpstreamConnection { stream, open, owner, use_so_far, is_last, .. } = self;
        if is_last || (owner != ANYBODY && !client.bind(open.endpoint.id)) {
            return;
        }
        let (max, timeout) = (upstream.idle_connections_max, upstream.idle_timeout);
        context.idle.put(stream, &open.endpoint, (owner, use_so_far), max, timeout, context.worker);
    }
}

/// Connects, and sends the header: a connection whose header did not go out is none.
async fn connect(
    context: &Context,
    endpoint: &EndpointIdentity,
    options: &ConnectOptions,
    header: &[u8],
) -> io::Result<Stream> {
    let stream = context.engine.connect(&endpoint.address, options).await?;
    if !header.is_empty() {
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(header);
        stream.send(&mut outgoing).await?;
    }
    Ok(stream)
}

/// How to connect to `endpoint` for `client`. `None`: it is to come from the client's own address, and the client has none
/// from which this endpoint could be reached.
fn options(
    upstream: &Upstream,
    client: &Client,
    endpoint: &EndpointIdentity,
    repeatable: bool,
) -> Option<ConnectOptions> {
    let settings = &upstream.connect;
    let TcpSocket { keepalive, user_timeout } = settings.tcp;
    let mut options = ConnectOptions {
        source: None,
        transparent: false,
        // RFC 7413 section 6.1: what is sent with the handshake may arrive twice.
        fast_open: settings.fast_open && repeatable,
        tcp: TcpOptions { keepalive, user_timeout },
    };
    let Some(to) = endpoint.address.ip() else { return Some(options) };
    options.source = if to.is_ipv4() { settings.source_v4 } else { settings.source_v6 };
    if settings.transparent {
        let from = client.address.ip().map(|from| from.to_canonical());
        options.source = Some(from.filter(|from| from.is_ipv4() == to.is_ipv4())?);
        options.transparent = true;
    }
    Some(options)
}

/// Counts a failed attempt at an endpoint, if it was the endpoint's fault.
pub(super) fn count_failure(context: &Context, endpoint: &EndpointIdentity, failure: Failure) {
    if failure.verdict().fault == Fault::Endpoint {
        endpoint.stats.shard(context.worker).failures.inc();
    }
}

/// Whether it is the address to connect from that is missing: it is not of this machine (any more), or has no port left.
fn is_of_source(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// Whether it is a file descriptor that is missing, here or in the whole machine.
fn is_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn note_no_file(context: &Context, upstream: &Upstream, endpoint: &EndpointIdentity, error: &io::Error) {
    let (name, address) = (&upstream.identity.name, &endpoint.address);
    if context.may_warn() {
        context.log.warn(format_args!("upstream `{name}` cannot connect to {address}: {error}{}", cure(error)));
    }
}

/// What helps against an error for want of files, as the end of a line.
pub(crate) fn cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit of open files (LimitNOFILE in a systemd unit, or ulimit -n)",
        Some(libc::ENFILE) => "; raise the system's limit of open files (sysctl fs.file-max)",
        _ => "",
    }
}

fn note_no_source(context: &Context, upstream: &Upstream, endpoint: &EndpointIdentity, error: &io::Error) {
    let (name, address) = (&upstream.identity.name, &endpoint.address);
    let cure = match upstream.connect.transparent {
        true => "`transparent` needs a client with an address of the endpoint's IP version",
        false => "see `source_address`, and sysctl net.ipv4.ip_local_port_range if its ports are used up",
    };
    if context.may_warn() {
        let line = format_args!("upstream `{name}` has no address to connect to {address} from: {error}; {cure}");
        context.log.warn(line);
    }
}

/// Counts one request (http), connection (tcp) or flow (udp) in flight at an endpoint.
pub(super) struct Load {
    endpoint: Arc<EndpointIdentity>,
    worker: usize,
}

impl Load {
    pub(super) fn endpoint(&self) -> &Arc<EndpointIdentity> {
        &self.endpoint
    }

    pub(super) fn new(endpoint: &Arc<EndpointIdentity>, worker: usize) -> Load {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        endpoint.upstream_in_flight.shard(worker).inc();
        let stats = endpoint.stats.shard(worker);
        stats.requests.inc();
        stats.requests_active.inc();
        Load { endpoint: endpoint.clone(), worker }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.upstream_in_flight.shard(self.worker).dec();
        self.endpoint.stats.shard(self.worker).requests_active.dec();
    }
}

/// The endpoints that one request or connection has tried. Beyond [`TRIED_MAX`] attempts it forgets none: it refuses.
#[derive(Clone, Default)]
pub(super) struct Tried {
    indices: [u32; TRIED_MAX],
    len: usize,
}

/// Attempts of one request at most.
pub(super) const TRIED_MAX: usize = 16;

impl Tried {
    pub(super) fn as_slice(&self) -> &[u32] {
        &self.indices[..self.len]
    }

    /// False if there is no room for another attempt.
    pub(super) fn add(&mut self, index: usize) -> bool {
        match self.indices.get_mut(self.len) {
            Some(place) => *place = index as u32,
            None => return false,
        }
        self.len += 1;
        true
    }
}
