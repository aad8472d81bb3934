//! What a simulated world is like: its seed, its network, and what goes wrong in it. Values only.

use std::time::Duration;

/// A simulated world. The default one is quick and nothing goes wrong in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SimSettings {
    /// Everything that is left to chance follows from it: the same seed, the same run.
    pub seed: u64,
    /// Receive buffers: up to 32,768.
    pub buffers: u16,
    /// Bytes of each receive buffer.
    pub buffer_size: usize,
    /// Bytes of the longest datagram that is received.
    pub datagram_size: usize,
    /// The shortest and the longest time that bytes are under way. They arrive in order within a stream.
    pub latency: (Duration, Duration),
    /// Bytes that one side may have sent and the other not yet received.
    pub window: usize,
    /// Bytes that one stream carries in a second, in each direction.
    pub bandwidth: u64,
    pub faults: SimFaults,
}

impl Default for SimSettings {
    fn default() -> SimSettings {
        SimSettings {
            seed: 0,
            buffers: 64,
            buffer_size: 64 * 1024,
            datagram_size: 64 * 1024,
            latency: (Duration::from_micros(20), Duration::from_micros(200)),
            window: 256 * 1024,
            bandwidth: 1 << 30,
            faults: SimFaults::default(),
        }
    }
}

/// What goes wrong, each as a probability from 0.0 (never, the default) to 1.0 (always).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimFaults {
    /// A receive gives only a part of what is there.
    pub short_receive: f64,
    /// The network takes only a part of a send at first.
    pub short_send: f64,
    /// A send resets its connection.
    pub reset: f64,
    /// A piece is under way for up to `stall_time` longer.
    pub stall: f64,
    /// The longest stall.
    pub stall_time: Duration,
    /// A receive finds no free buffer (ENOBUFS) and pauses.
    pub no_buffer: f64,
    /// There is no pipe to splice through.
    pub no_pipe: f64,
    /// A waiting receive is told late that something has arrived: it had ended by itself (a multishot without
    /// F_MORE) and had to be made again.
    pub lost_multishot: f64,
    /// An accept fails with EMFILE.
    pub accept_error: f64,
    /// A listener hears of nothing for some milliseconds, and then of all connections at once.
    pub accept_burst: f64,
    /// A connection is refused.
    pub connect_refused: f64,
    /// A connection is never answered and fails with ETIMEDOUT after two minutes.
    pub connect_timeout: f64,
    /// Both sides of a connection are slow: a window of at most 4 KiB and twenty times the latency.
    pub slow: f64,
    /// A datagram does not arrive.
    pub datagram_lost: f64,
    /// A datagram arrives twice.
    pub datagram_doubled: f64,
    /// A datagram arrives after later ones.
    pub datagram_overtaken: f64,
    /// Equal datagrams of one sender that wait are received as one piece.
    pub datagrams_coalesced: f64,
    /// A send of a datagram finds no room.
    pub datagram_unsent: f64,
}

impl SimFaults {
    /// Everything goes wrong now and then.
    pub fn some() -> SimFaults {
        SimFaults {
            short_receive: 0.1,
            short_send: 0.1,
            reset: 0.002,
            stall: 0.02,
            stall_time: Duration::from_millis(400),
            no_buffer: 0.02,
            no_pipe: 0.05,
            lost_multishot: 0.02,
            accept_error: 0.02,
            accept_burst: 0.05,
            connect_refused: 0.01,
            connect_timeout: 0.002,
            slow: 0.05,
            datagram_lost: 0.02,
            datagram_doubled: 0.02,
            datagram_overtaken: 0.05,
            datagrams_coalesced: 0.5,
            datagram_unsent: 0.01,
        }
    }
}

/// Chance, from a seed.
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        // Not the seed itself: the tasks draw from that.
        Dice { state: seed ^ 0x5851_f42d_4c95_7f2d }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    pub(super) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end` - 1; 0 if `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// From `shortest` to `longest`.
    pub(super) fn between(&mut self, (shortest, longest): (Duration, Duration)) -> Duration {
        let spread = longest.saturating_sub(shortest).as_nanos() as u64;
        shortest + Duration::from_nanos(self.below(spread + 1))
    }

    /// True with the given probability; rolls only where there is one, so that a fault that is off changes nothing.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && (self.roll() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }
}
