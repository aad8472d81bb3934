//! Whether one direction of a relay is bulk, which is cheaper to splice, or chatter, which is cheaper to copy. A decision
//! over lengths alone; `relay` asks it, each direction apart, and the exchange for long bodies.

/// A piece of this length, in bytes, speaks for bulk while the direction is copied. Measured on loopback, a splice of 16
/// KiB costs 1.05 times as much as a copy, one of 64 KiB 0.9 times, one of 256 KiB 0.65 times.
const LARGE: usize = 32 * 1024;
/// Bytes in large pieces, one after the other, after which a direction is spliced. Flows that end soon after cost the same
/// with any threshold from 64 to 512 KiB.
const BULK_AFTER: usize = 256 * 1024;
/// A spliced piece below this speaks for chatter; so many of them in a row, and the direction is copied again.
const SMALL: usize = 16 * 1024;
const SMALL_IN_A_ROW: u8 = 8;

/// How one direction has gone lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Volume {
    /// While copied: bytes in large pieces since the last small one.
    large_bytes: usize,
    /// While spliced: small pieces since the last large one.
    small_pieces: u8,
    bulk: bool,
}

impl Volume {
    /// A direction that is known to be long.
    pub(super) fn bulk() -> Volume {
        Volume { bulk: true, ..Volume::default() }
    }

    /// Whether the next bytes are to be spliced.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// So many bytes came with one receive.
    pub(super) fn copied(&mut self, len: usize) {
        self.large_bytes = if len < LARGE { 0 } else { self.large_bytes.saturating_add(len) };
        if !self.bulk && self.large_bytes >= BULK_AFTER {
            *self = Volume::bulk();
        }
    }

    /// So many bytes were moved by one splice.
    pub(super) fn spliced(&mut self, len: usize) {
        self.small_pieces = if len < SMALL { self.small_pieces + 1 } else { 0 };
        if self.small_pieces >= SMALL_IN_A_ROW {
            *self = Volume::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn large_pieces_in_a_row_are_bulk() {
        let mut volume = Volume::default();
        for _ in 1..BULK_AFTER / LARGE {
            volume.copied(LARGE);
            assert!(!volume.is_bulk());
        }
        volume.copied(LARGE);
        assert!(volume.is_bulk());
    }

    #[test]
    fn a_small_piece_between_begins_anew() {
        let mut volume = Volume::default();
        for _ in 0..1000 {
            volume.copied(BULK_AFTER - 1);
            volume.copied(LARGE - 1);
        }
        assert!(!volume.is_bulk());
    }

    #[test]
    fn small_splices_in_a_row_are_chatter() {
        let mut volume = Volume::bulk();
        for _ in 0..1000 {
            (1..SMALL_IN_A_ROW).for_each(|_| volume.spliced(1));
            volume.spliced(SMALL);
        }
        assert!(volume.is_bulk());
        (0..SMALL_IN_A_ROW).for_each(|_| volume.spliced(SMALL - 1));
        assert!(!volume.is_bulk());
        // From then on it is as it was at first.
        volume.copied(BULK_AFTER - 1);
        assert!(!volume.is_bulk());
    }

    #[test]
    fn copies_that_a_bulk_direction_makes_do_not_end_it() {
        let mut volume = Volume::bulk();
        (0..100).for_each(|_| volume.copied(1));
        assert!(volume.is_bulk());
    }

    proptest! {
        /// Whatever the lengths, pieces below both limits never become bulk and pieces above both never stay chatter.
        #[test]
        fn settles(lengths in proptest::collection::vec(0usize..1 << 20, 0..100), small: bool) {
            let mut volume = Volume::default();
            let mut feed = |len| if volume.is_bulk() { volume.spliced(len) } else { volume.copied(len) };
            lengths.into_iter().for_each(&mut feed);
            let steady = if small { SMALL - 1 } else { LARGE };
            (0..BULK_AFTER / LARGE + usize::from(SMALL_IN_A_ROW)).for_each(|_| feed(steady));
            prop_assert_eq!(volume.is_bulk(), !small);
        }
    }
}
