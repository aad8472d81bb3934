//! Ring hash: endpoints have points on a ring of numbers, in proportion to their weights; a key goes to the next point.
//!
//! The idea (Karger et al. 1997; the ketama ring of many caches): when an endpoint comes or goes, only the arcs before its points
//! change hands. O(log n) a pick. The bound: with p points each, shares are even to about 1 / √p (8 % for 160), and when
//! one of n endpoints comes or goes exactly its 1 / n of the keys move. Not where even shares matter more than the last
//! per cent of moved keys: use `maglev`, which is quicker too.
//!
//! Points belong to endpoints whatever their state: a key whose endpoint does not serve goes on to the next point that does,
//! and comes back with it. Beyond [`POINTS_MAX`] points in all, each endpoint has fewer.

use super::mix;

/// Points of an endpoint of mean weight.
const POINTS: u64 = 160;
/// Points of a ring at most: 4 MiB.
pub const POINTS_MAX: u64 = 1 << 18;

/// See the module.
#[derive(Debug)]
pub(super) struct Ring(Box<[(u64, u32)]>);

impl Ring {
    /// Of these endpoints: index, hash of the address, weight of at least 1.
    pub fn new(endpoints: impl Iterator<Item = (u32, u64, u32)> + Clone) -> Ring {
        let count = endpoints.clone().count() as u64;
        let total: u64 = endpoints.clone().map(|(_, _, weight)| u64::from(weight)).sum();
        let points = (count * POINTS).min(POINTS_MAX);
        let of = |(index, hash, weight): (u32, u64, u32)| {
            let own = (u128::from(points) * u128::from(weight)).div_ceil(u128::from(total.max(1))) as u64;
            (0..own.max(1)).map(move |point| (mix(hash ^ mix(point)), index))
        };
        let mut ring: Vec<(u64, u32)> = endpoints.flat_map(of).collect();
        ring.sort_unstable();
        ring.dedup_by_key(|(point, _)| *point);
        Ring(ring.into())
    }

    /// The endpoints from a hash on around the ring, some more than once, without end unless there is none.
    pub fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.0.partition_point(|(point, _)| *point < hash);
        let (after, before) = (self.0.get(start..), self.0.get(..start));
        after.into_iter().chain(before).flatten().map(|(_, index)| *index as usize)
    }
}
