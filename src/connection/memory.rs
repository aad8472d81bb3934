//! What a worker gives up when memory is short, in this order: what it keeps for later use, idle connections to endpoints,
//! what slow readers hold back, and for each client that comes one that has waited the longest. What memory a gateway is
//! allowed and what it consists of is the contract in [`crate::health::memory`].

use super::context::Context;
use crate::base::Instant;
use crate::base::heap::{self, Pressure};
use crate::engine::Event;
use crate::health::Failure;
use crate::health::memory::BUFFERS_SHARE;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// How often what is given up is looked at while memory is tight.
const LOOK: Duration = Duration::from_millis(10);
/// Clients that may have come in the place of others that are still to be closed.
const OWED_MAX: u32 = 256;
/// Idle connections to endpoints that are closed in one look.
const IDLE_A_LOOK: usize = 64;
/// Bytes held for slow readers that are given back in one look.
const SHED_A_LOOK: usize = 4 << 20;
/// Shedding is logged once in this time.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// What a worker knows of its memory.
#[derive(Default)]
pub(super) struct Memory {
    /// Memory has become tight.
    tight: Event,
    /// Clients that came while memory was tight: as many are to go.
    owed: Cell<u32>,
    /// Bytes of the heads and buffers of requests under way, as large as they were when their requests began.
    pub(super) requests: Cell<usize>,
    /// The same of what is kept for requests to come.
    pub(super) spares: Cell<usize>,
    /// Bytes of bodies that are buffered.
    buffered: Cell<usize>,
}

/// What was given up since the last line of the log.
#[derive(Default)]
struct Given {
    spares: usize,
    idle: usize,
    stalled: usize,
    parked: usize,
}

impl Memory {
    /// Whether there is room for another client although memory is tight: if another can go in its place.
    pub(super) fn make_room(&self, context: &Context) -> bool {
        self.tight.notify();
        if heap::pressure() == Pressure::Tight && context.parking.is_empty() {
            return true;
        }
        let owed = self.owed.get();
        let room = owed < OWED_MAX && (owed as usize) < context.parking.len();
        if room {
            self.owed.set(owed + 1);
        }
        room
    }

    /// Whether the heap takes what another request needs. If not, or nearly not, this has something given up for those to
    /// come.
    pub(super) fn has_room(&self) -> bool {
        let pressure = heap::pressure();
        if pressure != Pressure::Free {
            self.tight.notify();
        }
        pressure != Pressure::Full
    }

    /// Whether more of a body may be held than has to be: while memory is not short, and up to this worker's part of what
    /// buffers may take. Without the part, clients that send and read slowly could make it short for all others.
    pub(super) fn may_buffer(&self) -> bool {
        self.buffered_bytes() < usize::try_from(heap::even_share() / BUFFERS_SHARE).unwrap_or(usize::MAX)
            && heap::pressure() == Pressure::Free
    }

    /// So many bytes of a body are held from now on.
    pub(super) fn buffered(&self, bytes: usize) {
        self.buffered.set(self.buffered.get() + bytes);
    }

    /// So many bytes of a body are held no more.
    pub(super) fn unbuffered(&self, bytes: usize) {
        self.buffered.set(self.buffered.get() - bytes);
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered.get()
    }
}

/// Gives up what there is to give up whenever memory is tight. One task of the worker runs it.
pub async fn keep_to_budget(context: Rc<Context>) {
    let mut given = Given::default();
    let mut quiet_until = Instant(0);
    loop {
        if heap::look() == Pressure::Free {
            context.memory.owed.set(0);
            context.memory.tight.wait().await;
            continue;
        }
        give_up(&context, &mut given);
        if given.is_some() && context.engine.now() >= quiet_until {
            quiet_until = context.engine.now() + LOG_PAUSE;
            let Given { spares, idle, stalled, parked } = std::mem::take(&mut given);
            context.log.warn(format_args!(
                "memory is short: gave back {spares} spare buffers, closed {idle} idle connections to endpoints, cut off \
                 {stalled} slow readers, closed {parked} waiting clients for others that came; raise `memory_max` or lower \
                 `connections_max`"
            ));
        }
        context.engine.sleep(LOOK).await;
    }
}

fn give_up(context: &Rc<Context>, given: &mut Given) {
    let stats = context.worker_stats();
    let owed = context.memory.owed.take() as usize;
    if owed > 0 {
        let parked = context.parking.take_idlest(owed);
        for waiting in &parked {
            let stats = waiting.record.stats();
            stats.connections_shed.inc();
            stats.failures[Failure::MemoryFull as usize].inc();
        }
        given.parked += parked.len();
    }
    context.engine.give_back_spares();
    given.spares += context.spare.give_back(&context.memory);
    if heap::look() == Pressure::Free {
        return;
    }
    let idle = context.idle.close_idlest(IDLE_A_LOOK, context.worker);
    stats.memory_idle_closed.add(idle as u64);
    given.idle += idle;
    if heap::look() == Pressure::Free {
        return;
    }
    let (stalled, _) = context.engine.shed_sends(SHED_A_LOOK);
    given.stalled += stalled;
}

impl Given {
    fn is_some(&self) -> bool {
        self.spares + self.idle + self.stalled + self.parked > 0
    }
}
