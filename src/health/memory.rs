//! The memory contract: what a gateway may hold, what that consists of, and when it is short. Pure: sizes and limits in,
//! one figure out. `ringgate check` prints the figure and `ringgate run` keeps to it.
//!
//! # What is promised
//!
//! The resident memory of the process stays below the figure, whatever clients and endpoints do. The figure is
//! `memory_max`, or less where all connections together can never come to that.
//!
//! # What it consists of
//!
//! | part | what | how it is bounded |
//! |---|---|---|
//! | process | the program, the stacks of its threads, what the allocator keeps for itself | fixed ([`PROCESS`]) |
//! | worker | receive buffers, touched as far as data arrives; the ring; a stack | fixed for each worker |
//! | configuration | the snapshot, and while a reload is under way the next one; counters of every listener, route, upstream and endpoint for every worker; log rings; tables of clients | by the file; measured once it is loaded |
//! | connections | everything else on the heap | by `memory_max` |
//!
//! What a connection of a client can hold in each of its states:
//!
//! | state | what | size |
//! |---|---|---|
//! | waiting (parked) | a place in four tables (stream, timer, parking, and none of its own) | under 1 KiB |
//! | a PROXY header or a ClientHello arrives | a task; what has arrived of it, in memory that doubles as it grows | up to twice 4 KiB, or 48 KiB |
//! | a request's head arrives | a task; head and partial head; the same as it is written anew | 8 KiB, and up to six times `head_max` |
//! | a response's head | the same for the other side | up to six times 64 KiB |
//! | a body on its way | nothing: it is sent on from the receive buffer that it arrived in | receive buffers |
//! | a body that is buffered | its beginning, or what the client has not read | `request_buffer`, `response_buffer` |
//! | the other side takes it slowly | what was received and not taken, copied to memory of its size; the sender is then held back | up to three receive buffers in each direction |
//! | relayed (tcp, tunnels) | a task, and what the other side takes slowly | as above |
//!
//! An idle connection to an endpoint has the size of a waiting one.
//!
//! # What is not in it
//!
//! Pipes that bulk is spliced through hold pages of the kernel: at most 32 MiB for each worker.
//! Socket buffers are the kernel's too. They are bounded by `net.ipv4.tcp_rmem`, `tcp_wmem` (one socket) and `tcp_mem` (all of
//! them), and a control group pays for those of its processes: leave it as much again as `memory_max`.
//!
//! # How it is counted
//!
//! The allocator counts ([`crate::base::heap`]): every byte on the heap, whoever asked for it. A worker counts its own in a
//! cell, without atomics, and looks at the sum over all threads after every 64 KiB that it has taken and whenever memory
//! was short at the last look. Between two looks of all workers each may take so much more, plus one message's rest, which
//! the limit leaves room for ([`WORKER_MARGIN`]). An allocator needs more than it gives: the limit is set lower by a fifth
//! ([`SLACK`]), more than was ever measured after churn.
//!
//! Buffered bodies take a quarter of it at most ([`BUFFERS_SHARE`]), each worker its part; beyond that, and whenever memory is
//! tight, bodies are streamed. So clients that fill buffers slowly never make memory short for the others.
//!
//! # What happens when it is short
//!
//! *Tight*, at seven eighths: within 10 ms each worker gives up, as long as memory stays tight: spare buffers, then idle
//! connections to endpoints, then what it holds for slow readers, the largest first, by cutting them off. For each new
//! client it closes one that waits, the one whose time would be up first.
//!
//! *Full*: who would take more is refused. A new connection or request is answered with 503 at once, a reader that stalls
//! is cut off rather than that what it leaves is copied aside. Nothing waits, panics or aborts.

/// Bytes of the process without workers, configuration and connections.
pub const PROCESS: u64 = 24 << 20;
/// Beside its receive buffers, bytes of a worker that are not on the heap.
pub const WORKER: u64 = 1 << 20;
/// What a worker may take between two looks at the sum: a step, and the rest of one message.
pub const WORKER_MARGIN: u64 = 512 << 10;
/// What the allocator needs beyond what it gives: one part in so many.
pub const SLACK: u64 = 4;
/// What is left for connections at least.
pub const CONNECTIONS_MIN: u64 = 8 << 20;
/// Bytes on the heap of a worker that has no connection, log rings not included.
pub const WORKER_HEAP: u64 = 1 << 20;
/// A connection that waits: its places in the tables, which double as they grow.
pub const CONNECTION: u64 = 1 << 10;
/// A request under way without its heads and bodies: a task, places in tables, empty buffers, a connection to an endpoint.
pub const REQUEST: u64 = 12 << 10;
/// A response head at most.
pub const RESPONSE_HEAD_MAX: u64 = 64 << 10;
/// How often the bytes of a head are in memory at most: as they arrived in parts, as they were parsed, as they are written
/// anew; each in memory that doubles as it grows.
const HEAD_COPIES: u64 = 6;
/// Receive buffers' worth of a message's bytes that wait in one direction at most: what was not taken, and what arrived
/// before the sender was held back.
const WAITING: u64 = 3;

/// The part of the heap that bodies may take which are buffered: one part in so many.
pub const BUFFERS_SHARE: u64 = 4;
/// What a buffer needs beside the bytes that it is for: a block that small pieces are put together in, and its copy.
const BUFFER_BESIDE: u64 = 64 << 10;

/// What one connection holds at worst. `head_max` is 0 for one that has no heads; `buffers` are the bytes of each buffer for
/// bodies that it may fill.
pub fn connection_worst(head_max: u64, receive_buffer: u64, buffers: [u64; 2]) -> u64 {
    let heads = if head_max == 0 { 0 } else { HEAD_COPIES * (head_max + RESPONSE_HEAD_MAX) };
    let buffered = buffers.map(|max| if max == 0 { 0 } else { max + max / 64 + BUFFER_BESIDE });
    CONNECTION + REQUEST + heads + 2 * WAITING * receive_buffer + buffered.iter().sum::<u64>()
}

/// What a configuration on a machine is made of. Bytes, all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub workers: u64,
    /// Receive buffers of one worker.
    pub receive_buffers: u64,
    /// On the heap before the first connection: snapshot, counters, log rings.
    pub configuration: u64,
    /// Connections of clients at most.
    pub connections: u64,
    /// What the largest of them holds at worst.
    pub connection_worst: u64,
    /// What all of them hold while they wait.
    pub connections_idle: u64,
    /// What all of them hold at worst, idle connections to endpoints included.
    pub connections_worst: u64,
}

/// What a gateway may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    pub parts: Parts,
    pub memory_max: u64,
    /// Without any connection.
    pub fixed: u64,
    /// With all connections waiting.
    pub idle: u64,
    /// With all of them at their worst, were there no limit.
    pub worst: u64,
    /// The heap is tight, and full.
    pub heap_tight: u64,
    pub heap_full: u64,
}

/// `memory_max` is less than what is needed without any connection, and what it would have to be at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLittle {
    pub needed: u64,
}

impl Figure {
    /// # Errors
    /// If `memory_max` leaves nothing for connections.
    pub fn new(parts: Parts, memory_max: u64) -> Result<Figure, TooLittle> {
        let outside = PROCESS + parts.workers * (parts.receive_buffers + WORKER);
        // Another snapshot is made beside the one in force, and the text that it is made from is held meanwhile.
        let fixed = outside + with_slack(2 * parts.configuration) + parts.workers * WORKER_MARGIN;
        let needed = fixed + CONNECTIONS_MIN;
        if memory_max < needed {
            return Err(TooLittle { needed });
        }
        let heap = (memory_max - outside - parts.workers * WORKER_MARGIN) / (SLACK + 1) * SLACK;
        let with = |connections: u64| fixed.saturating_add(with_slack(connections));
        Ok(Figure {
            parts,
            memory_max,
            fixed,
            idle: with(parts.connections_idle),
            worst: with(parts.connections_worst),
            heap_tight: heap / 8 * 7,
            heap_full: heap,
        })
    }

    /// What is promised.
    pub fn most(&self) -> u64 {
        self.memory_max.min(self.worst)
    }
}

fn with_slack(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn parts() -> Parts {
        Parts {
            workers: 2,
            receive_buffers: 16 * MIB,
            configuration: 10 * MIB,
            connections: 65_536,
            connection_worst: MIB,
            connections_idle: 65_536 * 1_000,
            connections_worst: 65_536 * MIB,
        }
    }

    #[test]
    fn a_limit_below_what_is_needed_is_refused_and_the_least_is_named() {
        let refused = Figure::new(parts(), 64 * MIB).unwrap_err();
        assert!(Figure::new(parts(), refused.needed - 1).is_err());
        let least = Figure::new(parts(), refused.needed).unwrap();
        assert!(least.heap_full >= 2 * parts().configuration + CONNECTIONS_MIN / 2, "{least:?}");
    }

    #[test]
    fn where_connections_cannot_fill_it_the_figure_is_less_than_the_limit() {
        let few = Parts { connections: 100, connections_worst: 100 * MIB, ..parts() };
        let figure = Figure::new(few, 1 << 40).unwrap();
        assert_eq!(figure.most(), figure.worst);
        assert!(figure.worst < 1 << 30);
        assert_eq!(Figure::new(parts(), 1 << 30).unwrap().most(), 1 << 30);
    }

    proptest! {
        /// What is counted, what the allocator adds to it and what is not counted never come to more than the limit.
        #[test]
        fn a_full_heap_is_within_the_limit(
            workers in 1u64..1_024,
            configuration in 0u64..1 << 32,
            connections in 0u64..1 << 24,
            memory_max in 0u64..1 << 42,
        ) {
            let parts = Parts { workers, configuration, connections, ..parts() };
            if let Ok(figure) = Figure::new(parts, memory_max) {
                let outside = PROCESS + workers * (parts.receive_buffers + WORKER + WORKER_MARGIN);
                prop_assert!(outside + with_slack(figure.heap_full) <= memory_max);
                prop_assert!(figure.heap_tight < figure.heap_full);
                prop_assert!(figure.heap_full > 2 * configuration);
                prop_assert!(figure.fixed <= figure.idle && figure.idle <= figure.worst);
            }
        }
    }
}
