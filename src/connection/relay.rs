//! Bytes in both directions between two streams, as they come: tcp connections and tunnels after an upgrade.
//!
//! Each direction ends on its own (half-close is passed on); silence in both ends the relay. A direction that has become
//! bulk is spliced, past this process; [`Pace`] says when.

use super::context::Context;
use super::pace::Pace;
use crate::base::Instant;
use crate::engine::{Chunk, Filled, Outgoing, Raced, Stream, join, race};
use crate::health::Failure;
use std::cell::Cell;
use std::io;
use std::time::Duration;

/// What was relayed, and how it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Relayed {
    pub from_client: u64,
    pub from_endpoint: u64,
    /// `None`: both sides closed in good order, or the relay was idle.
    pub failure: Option<Failure>,
}

/// Relays until both directions have ended, one has failed, or nothing has moved for `idle_timeout`.
/// The chunks are what has been received already and is sent on first.
pub(super) async fn relay(
    context: &Context,
    client: (&Stream, Chunk),
    endpoint: (&Stream, Chunk),
    idle_timeout: Duration,
) -> Relayed {
    let activity =
        Activity { last: Cell::new(context.engine.now()), from_client: Cell::new(0), from_endpoint: Cell::new(0) };
    let failed = {
        let up = forward(context, client.0, endpoint.0, client.1, &activity, &activity.from_client);
        let down = forward(context, endpoint.0, client.0, endpoint.1, &activity, &activity.from_endpoint);
        let both = both_or_first_failure(up, down);
        match race(both, idle(context, &activity.last, idle_timeout)).await {
            Raced::First(failed) => failed,
            Raced::Second(()) => None,
        }
    };
    let failure = failed.map(|end| match end {
        Ended::Client => Failure::ClientClosed,
        Ended::Endpoint => Failure::UpstreamReset,
    });
    Relayed { from_client: activity.from_client.get(), from_endpoint: activity.from_endpoint.get(), failure }
}

struct Activity {
    last: Cell<Instant>,
    from_client: Cell<u64>,
    from_endpoint: Cell<u64>,
}

/// Which side failed.
enum Ended {
    Client,
    Endpoint,
}

/// Moves one direction; `Err(true)`: the sender failed, `Err(false)`: the receiver.
async fn forward(
    context: &Context,
    from: &Stream,
    to: &Stream,
    first: Chunk,
    activity: &Activity,
    count: &Cell<u64>,
) -> Result<(), bool> {
    let mut outgoing = Outgoing::default();
    let mut pace = Pace::default();
    let mut chunk = first;
    loop {
        if !chunk.is_empty() {
            count.set(count.get() + chunk.len() as u64);
            pace.copied(chunk.len());
            outgoing.chunk(chunk);
            sent(to.send(&mut outgoing).await)?;
            activity.last.set(context.engine.now());
        }
        if pace.is_bulk() {
            // Boxed: most connections never come here, and need not hold the room for it.
            Box::pin(splice(context, from, to, &mut pace, activity, count)).await?;
        }
        chunk = from.receive().await.map_err(|_| true)?;
        if chunk.is_empty() {
            to.shutdown();
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
    pace: &mut Pace,
    activity: &Activity,
    count: &Cell<u64>,
) -> Result<(), bool> {
    let mut splice = context.engine.splice(from, to);
    while pace.is_bulk() {
        let Filled::Bytes(len) = splice.fill().await else { return Ok(()) };
        count.set(count.get() + len as u64);
        activity.last.set(context.engine.now());
        pace.spliced(len);
        while splice.drain().await.map_err(|_| false)? > 0 {
            activity.last.set(context.engine.now());
        }
        activity.last.set(context.engine.now());
    }
    from.expect_bulk(false);
    Ok(())
}

fn sent(result: io::Result<()>) -> Result<(), bool> {
    result.map_err(|_| false)
}

async fn both_or_first_failure(
    up: impl Future<Output = Result<(), bool>>,
    down: impl Future<Output = Result<(), bool>>,
) -> Option<Ended> {
    // A failure of one direction must not wait for the other, so it is turned into the end of the whole.
    let failed: Cell<Option<Ended>> = Cell::new(None);
    let stop = crate::engine::Event::default();
    let note = |sender_failed: bool, sender: Ended, receiver: Ended| {
        failed.set(Some(if sender_failed { sender } else { receiver }));
        stop.notify();
    };
    let up = async {
        if let Err(sender) = up.await {
            note(sender, Ended::Client, Ended::Endpoint);
        }
    };
    let down = async {
        if let Err(sender) = down.await {
            note(sender, Ended::Endpoint, Ended::Client);
        }
    };
    race(join(up, down), stop.wait()).await;
    failed.take()
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
