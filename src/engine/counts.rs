//! What an engine counts of itself.

/// What the engine counts, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Times that the engine asked the kernel for events.
    pub turns: u64,
    /// Events that the kernel gave.
    pub completions: u64,
    /// Receives that paused because every buffer was in use.
    pub receive_paused: u64,
    /// Sends that the other side did not take at once, so that the rest was copied aside or waits in a pipe.
    pub sends_stalled: u64,
    /// Bytes that went from one stream to another without being copied.
    pub spliced_bytes: u64,
    /// Times that such bytes had to be copied because no pipe was free.
    pub pipes_refused: u64,
    /// Pipes that hold bytes now, and how many: bytes that connections hold beside their buffers.
    pub pipes_used: u64,
    pub pipe_bytes: u64,
    /// Of those, the ones that failed because the heap was full.
    pub sends_refused: u64,
    pub completion_overflows: u64,
    pub tasks_panicked: u64,
    pub tasks_active: u64,
    pub buffers_free: u64,
    /// Streams that are open or whose last operation has not ended.
    pub streams: u64,
    /// The same of datagram sockets.
    pub datagram_sockets: u64,
    /// Bytes of the receive buffers that hold something.
    pub bytes_received_held: u64,
    /// Bytes copied out of receive buffers because somebody takes them slowly.
    pub bytes_detached: u64,
}
