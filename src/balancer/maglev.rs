//! Maglev: a table of 65,537 places, each of which belongs to an endpoint; a key's hash names a place.
//!
//! The idea (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016): every endpoint has its own
//! permutation of the places, made from its address alone, and endpoints take turns to claim the next place of theirs
//! that is free, the heavier ones more often. O(1) a pick, by one read of a table of 128 KiB; a few milliseconds to
//! build, off the workers. The bound: shares are even to about n / 65,537, and when one of n endpoints comes or goes,
//! about 1 / n of the keys move with it and a few per cent of the others.
//!
//! A table is made of all endpoints and their configured weights, whatever their state. An endpoint that does not serve
//! keeps its places, and a key that falls on one is hashed again until it finds one that serves: no other key moves, and
//! all of them come back. So it is with a share that warms up, key by key. Not for many upstreams of one or two endpoints:
//! a table is 128 KiB each; use `rendezvous`.

use super::mix;

/// Places of a table: a prime.
pub const PLACES: usize = 65_537;

/// See the module.
#[derive(Debug)]
pub(super) struct Maglev(Box<[u16]>);

/// One endpoint's permutation of the places.
struct Claims {
    index: u16,
    at: usize,
    skip: usize,
    /// Turns that it has in each round, where one of mean weight has one, of 2³².
    rate: u64,
    turns: u64,
}

impl Maglev {
    /// Of these endpoints: index, hash of the address, weight of at least 1. Indexes beyond `u16` get no place.
    pub fn new(endpoints: impl Iterator<Item = (u32, u64, u32)> + Clone) -> Maglev {
        let total: u128 = endpoints.clone().map(|(_, _, weight)| u128::from(weight)).sum();
        let count = endpoints.clone().count() as u128;
        let claims = endpoints.filter_map(|(index, hash, weight)| {
            Some(Claims {
                index: u16::try_from(index).ok()?,
                at: hash as usize % PLACES,
                skip: mix(hash) as usize % (PLACES - 1) + 1,
                rate: (((u128::from(weight) * count) << 32) / total.max(1)).max(1) as u64,
                turns: 0,
            })
        });
        let mut claims: Vec<Claims> = claims.collect();
        let mut places = vec![FREE; if claims.is_empty() { 0 } else { PLACES }];
        let mut left = places.len();
        while left > 0 {
            for claim in &mut claims {
                claim.turns += claim.rate;
                while claim.turns >= TURN && left > 0 {
                    claim.turns -= TURN;
                    claim.take(&mut places);
                    left -= 1;
                }
            }
        }
        Maglev(places.into())
    }

    /// The endpoint of a hash; `None` where there is none.
    #[inline]
    pub fn at(&self, hash: u64) -> Option<usize> {
        let place = ((u128::from(hash) * PLACES as u128) >> 64) as usize;
        self.0.get(place).map(|index| usize::from(*index))
    }
}

const FREE: u16 = u16::MAX;
const TURN: u64 = 1 << 32;

impl Claims {
    /// Takes the next free place. There is one.
    fn take(&mut self, places: &mut [u16]) {
        while places[self.at] != FREE {
            self.step();
        }
        places[self.at] = self.index;
        self.step();
    }

    fn step(&mut self) {
        self.at += self.skip;
        if self.at >= PLACES {
            self.at -= PLACES;
        }
    }
}
