//! An endpoint for a flow, with a socket connected to it, and what is noted when one cannot be reached.
//!
//! There is no handshake that would show a dead endpoint: the first datagram to it is lost, and ICMP says so. For a while
//! after that it gets no flows, unless there is no other.

use super::{Place, UdpListener, is_unreachable};
use crate::base::Address;
use crate::connection::affinity::Preference;
use crate::connection::breaker;
use crate::connection::connect::{Load, Tried};
use crate::connection::context::Context;
use crate::connection::outcome;
use crate::engine::{DatagramOptions, DatagramSocket};
use crate::health::Failure;
use crate::snapshot::{Destination, UdpSettings, Upstream};
use crate::upstream::{EndpointIdentity, OutcomeClass, UpstreamIdentity, UpstreamIndex};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A socket that is connected to an endpoint, and its part in the endpoint's counts.
pub(super) struct Connected {
    pub(super) socket: DatagramSocket,
    pub(super) load: Load,
}

impl Connected {
    pub(super) fn endpoint(&self) -> &Arc<EndpointIdentity> {
        self.load.endpoint()
    }
}

/// An endpoint for a new flow.
pub(super) fn first(
    context: &Context,
    listener: &UdpListener,
    place: &Place,
    settings: &UdpSettings,
    client: SocketAddr,
) -> Result<(Arc<UpstreamIdentity>, Connected), Failure> {
    let index = place.view.upstream_of(&settings.upstream, &context.engine);
    // A flow lasts: as a probe it counts only while it begins.
    let (_admitted, index) = breaker::admit(&place.view, index).ok_or(Failure::BreakerOpen)?;
    let upstream = place.view.snapshot.upstreams.get(index.0 as usize).ok_or(Failure::NoEndpoint)?;
    upstream.identity.stats.shard(context.worker).requests.inc();
    let connected = connect(context, listener, place, settings, (index, upstream), (client, Tried::default()))?;
    Ok((upstream.identity.clone(), connected))
}

/// Another endpoint for a flow, of its upstream if the listener still sends there.
pub(super) fn another(
    context: &Context,
    listener: &UdpListener,
    place: &Place,
    settings: &UdpSettings,
    client: SocketAddr,
    (upstream, endpoint): (&Arc<UpstreamIdentity>, &EndpointIdentity),
) -> Result<(Arc<UpstreamIdentity>, Connected), Failure> {
    let kept = parts(&settings.upstream).find(|index| is(place, *index, upstream));
    let index = kept.unwrap_or_else(|| place.view.upstream_of(&settings.upstream, &context.engine));
    let upstream = place.view.snapshot.upstreams.get(index.0 as usize).ok_or(Failure::NoEndpoint)?;
    let mut tried = Tried::default();
    if let Some(present) = upstream.endpoints.iter().position(|other| other.identity.id == endpoint.id) {
        tried.add(present);
    }
    upstream.identity.stats.shard(context.worker).retries.inc();
    let connected = connect(context, listener, place, settings, (index, upstream), (client, tried))?;
    Ok((upstream.identity.clone(), connected))
}

/// Whether the listener still sends to this endpoint of this upstream.
pub(super) fn is_listed(
    place: &Place,
    settings: &UdpSettings,
    upstream: &Arc<UpstreamIdentity>,
    endpoint: &EndpointIdentity,
) -> bool {
    parts(&settings.upstream).filter(|index| is(place, *index, upstream)).any(|index| {
        let upstream = &place.view.snapshot.upstreams[index.0 as usize];
        upstream.endpoints.iter().any(|other| other.identity.id == endpoint.id)
    })
}

/// Notes that an endpoint cannot be reached; says so, once until it is tried again.
pub(super) fn note_unreachable(
    context: &Context,
    place: &Place,
    settings: &UdpSettings,
    (upstream, endpoint): (&Arc<UpstreamIdentity>, &EndpointIdentity),
    error: &io::Error,
) {
    let (upstream_stats, stats) = (upstream.stats.shard(context.worker), endpoint.stats.shard(context.worker));
    upstream_stats.connect_failures.inc();
    stats.connect_failures.inc();
    stats.failures.inc();
    if !endpoint.reachability.is_unreachable(place.now) {
        let (name, address) = (&upstream.name, &endpoint.address);
        context.log.warn(format_args!("endpoint {address} of upstream `{name}` cannot be reached by UDP: {error}"));
    }
    endpoint.reachability.note_unreachable(place.now + settings.unreachable_timeout);
    note(context, place, settings, (upstream, endpoint), OutcomeClass::Unconnected, None);
}

/// Tells what became of a flow at an endpoint, as far as its upstream is still the listener's.
pub(super) fn note(
    context: &Context,
    place: &Place,
    settings: &UdpSettings,
    (upstream, endpoint): (&Arc<UpstreamIdentity>, &EndpointIdentity),
    class: OutcomeClass,
    latency: Option<Duration>,
) {
    if let Some(index) = parts(&settings.upstream).find(|index| is(place, *index, upstream)) {
        let upstream = &place.view.snapshot.upstreams[index.0 as usize];
        outcome::note(context, upstream, endpoint, class, latency);
    }
}

fn parts(destination: &Destination) -> impl Iterator<Item = UpstreamIndex> {
    let (one, several) = match destination {
        Destination::One(index) => (Some(*index), &[][..]),
        Destination::Split { parts, .. } => (None, &parts[..]),
    };
    one.into_iter().chain(several.iter().map(|(_, index)| *index))
}

fn is(place: &Place, index: UpstreamIndex, upstream: &Arc<UpstreamIdentity>) -> bool {
    let found = place.view.snapshot.upstreams.get(index.0 as usize);
    found.is_some_and(|found| Arc::ptr_eq(&found.identity, upstream))
}

fn connect(
    context: &Context,
    listener: &UdpListener,
    place: &Place,
    settings: &UdpSettings,
    (index, upstream): (UpstreamIndex, &Upstream),
    (client, mut tried): (SocketAddr, Tried),
) -> Result<Connected, Failure> {
    // Where replies are counted there are few of them: one receive more or less does not matter, a system call does.
    let options = DatagramOptions { coalesce: settings.replies.is_none(), ..DatagramOptions::default() };
    let preference = Preference::of_client(None, (index, upstream), &Address::Ip(client));
    let mut failure = Failure::NoEndpoint;
    for _ in 0..=upstream.retries {
        let Some(picked) = pick(context, place, (index, upstream), preference, &tried) else { break };
        let endpoint = &upstream.endpoints[picked].identity;
        // The check of the configuration lets no Unix socket in here.
        let Some(address) = endpoint.address.as_ip() else { break };
        match context.engine.connect_datagrams(address, &options) {
            Ok(socket) => return Ok(Connected { socket, load: Load::new(endpoint, context.worker) }),
            Err(error) if is_unreachable(&error) => {
                note_unreachable(context, place, settings, (&upstream.identity, endpoint), &error);
                failure = Failure::ConnectRefused;
            }
            Err(error) => {
                let name = &place.listener().name;
                listener.warn(context, format_args!("listener `{name}` cannot open a socket for a flow: {error}"));
                return Err(Failure::ListenerFull);
            }
        }
        if !tried.add(picked) {
            break;
        }
    }
    Err(failure)
}

/// As the balance says, but not one that is known to be unreachable as long as there is another.
fn pick(
    context: &Context,
    place: &Place,
    (index, upstream): (UpstreamIndex, &Upstream),
    preference: Preference,
    tried: &Tried,
) -> Option<usize> {
    let mut passed = tried.clone();
    let mut unreachable = None;
    while let Some(picked) = place.view.pick(index, preference, passed.as_slice(), &context.engine) {
        if !upstream.endpoints[picked].identity.reachability.is_unreachable(place.now) {
            return Some(picked);
        }
        unreachable = unreachable.or(Some(picked));
        if !passed.add(picked) {
            break;
        }
    }
    unreachable
}
