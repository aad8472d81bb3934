//! Bytes in both directions between two streams, as they come: tcp connections and tunnels after an upgrade.
//!
//! Each direction ends on its own (half-close is passed on); silence in both ends the relay. A direction that has become
//! bulk is spliced, past this process; [`Volume`] says when.

use super::client::Client;
use super::connect::UpstreamConnection;
use super::context::Context;
use super::volume::Volume;
use crate::base::Instant;
use crate::engine::{Chunk, Filled, Outgoing, Stream, is_out_of_memory};
use crate::health::Failure;
use crate::upstream::EndpointIdentity;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What was relayed, and how it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Relayed {
    pub from_client: u64,
    pub from_endpoint: u64,
    /// `None`: both sides closed in good order, or the relay was idle.
    pub failure: Option<Failure>,
}

/// Relays until both directions have ended, one has failed, nothing has moved for `idle_timeout`, or the listener's or the
/// endpoint's drain is at its deadline, and closes both sides. A reset of one is passed on to the other, which must not take
/// what it got for all there is.
/// The chunks are what has been received already and is sent on first.
pub(super) async fn serve(
    client: &Client,
    (stream, first): (Stream, Chunk),
    (connection, answered): (UpstreamConnection, Chunk),
    idle_timeout: Duration,
) -> Relayed {
    let ends = ((&stream, first), (&connection.stream, answered));
    let relayed = relay(client, connection.endpoint(), ends.0, ends.1, idle_timeout).await;
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

async fn relay(
    of: &Client,
    to: &EndpointIdentity,
    client: (&Stream, Chunk),
    endpoint: (&Stream, Chunk),
    idle_timeout: Duration,
) -> Relayed {
    let context = &**of.context();
    let (listener_cut, endpoint_cut) = (&of.listener.cut, context.drains.cut_of(to.id));
    let _enrolled = (listener_cut.enroll().await, endpoint_cut.enroll().await);
    let activity = Activity {
        last: Cell::new(context.engine.now()),
        from_client: Cell::new(0),
        from_endpoint: Cell::new(0),
        one_ended: Cell::new(false),
    };
    let failure = {
        // Pinned here and polled by hand: futures that are handed to combinators are held twice, and moved each time.
        let mut up = pin!(forward(context, client.0, endpoint.0, client.1, &activity, &activity.from_client));
        let mut down = pin!(forward(context, endpoint.0, client.0, endpoint.1, &activity, &activity.from_endpoint));
        let mut idle = pin!(idle(context, &activity.last, idle_timeout));
        let (mut up_ended, mut down_ended) = (false, false);
        poll_fn(|context| {
            if listener_cut.is_given() {
                return Poll::Ready(Some(Failure::Draining));
            }
            if endpoint_cut.is_given() {
                return Poll::Ready(Some(Failure::EndpointDraining));
            }
            // A failure of one direction does not wait for the other.
            if !up_ended && let Poll::Ready(ended) = up.as_mut().poll(context) {
                up_ended = true;
                if let Err(side) = ended {
                    return Poll::Ready(Some(side.failure(Failure::ClientClosed, Failure::UpstreamReset)));
                }
            }
            if !down_ended && let Poll::Ready(ended) = down.as_mut().poll(context) {
                down_ended = true;
                if let Err(side) = ended {
                    return Poll::Ready(Some(side.failure(Failure::UpstreamReset, Failure::ClientClosed)));
                }
            }
            if up_ended && down_ended { Poll::Ready(None) } else { idle.as_mut().poll(context).map(|()| None) }
        })
        .await
    };
    if failure == Some(Failure::EndpointDraining) {
        to.stats.shard(context.worker).connections_cut.inc();
    }
    Relayed { from_client: activity.from_client.get(), from_endpoint: activity.from_endpoint.get(), failure }
}

struct Activity {
    last: Cell<Instant>,
    from_client: Cell<u64>,
    from_endpoint: Cell<u64>,
    /// One direction has ended in good order.
    one_ended: Cell<bool>,
}

/// Which side of a direction failed.
enum Side {
    Sender,
    Receiver,
    /// Neither: the receiver is slow, and there is no memory to hold for it what it does not take.
    Gateway,
}

impl Side {
    fn failure(self, sender: Failure, receiver: Failure) -> Failure {
        match self {
            Side::Sender => sender,
            Side::Receiver => receiver,
            Side::Gateway => Failure::MemoryFull,
        }
    }
}

/// Moves one direction to its end.
async fn forward(
    context: &Context,
    from: &Stream,
    to: &Stream,
    first: Chunk,
    activity: &Activity,
    count: &Cell<u64>,
) -> Result<(), Side> {
    let mut outgoing = Outgoing::default();
    let mut volume = Volume::default();
    let mut chunk = first;
    loop {
        if !chunk.is_empty() {
            count.set(count.get() + chunk.len() as u64);
            volume.copied(chunk.len());
            outgoing.chunk(chunk);
            let sent = to.send(&mut outgoing).await;
            sent.map_err(|error| if is_out_of_memory(&error) { Side::Gateway } else { Side::Receiver })?;
            activity.last.set(context.engine.now());
        }
        if volume.is_bulk() {
            // Boxed: most connections never come here, and need not hold the room for it.
            Box::pin(splice(context, from, to, &mut volume, activity, count)).await?;
        }
        chunk = from.receive().await.map_err(|_| Side::Sender)?;
        if chunk.is_empty() {
            // Where the other direction has ended, the close that follows says it too.
            if !activity.one_ended.replace(true) {
                // A send of the other direction may have been told of the reset, and then this receive is not.
                if from.was_reset() {
                    return Err(Side::Sender);
                }
                to.shutdown();
            }
            return Ok(());
        }
        activity.last.set(context.engine.now());
    }
}

/// Splices one direction for as long as it is bulk and nothing asks for a receive.
async fn splice(
    context: &Context,
    from: &Stream,
    to: &Stream,
    volume: &mut Volume,
    activity: &Activity,
    count: &Cell<u64>,
) -> Result<(), Side> {
    let mut splice = context.engine.splice(from, to);
    while volume.is_bulk() {
        let Filled::Bytes(len) = splice.fill(usize::MAX).await else { return Ok(()) };
        count.set(count.get() + len as u64);
        activity.last.set(context.engine.now());
        volume.spliced(len);
        while splice.drain().await.map_err(|_| Side::Receiver)? > 0 {
            activity.last.set(context.engine.now());
        }
        activity.last.set(context.engine.now());
    }
    from.expect_bulk(false);
    Ok(())
}

async fn idle(context: &Context, last: &Cell<Instant>, timeout: Duration) {
    loop {
        let until = last.get() + timeout;
        if context.engine.now() >= until {
            return;
        }
        context.engine.sleep_until(until).await;
    }
}
