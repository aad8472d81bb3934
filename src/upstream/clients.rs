//! How many connections each client has open at one listener, all workers together: a table of fixed size that workers
//! count in without a lock.
//!
//! A client is an IPv4 address or the /64 of an IPv6 one (whoever has one address of a /64 has all of them). Its keyed hash
//! names two buckets of eight words, each word a tag of 44 bits and a count of 20; a client's count is in the first word
//! of its buckets that carries its tag. Two choices keep buckets even (Mitzenmacher, "The Power of Two Choices", 2001):
//! with half of the words in use, a full pair of buckets is rarer than one in a million.
//!
//! Errors: two workers that count a client's first connection at the same instant may give it two words, so that it is
//! allowed one connection too many for each worker but one. Two clients of equal buckets and tag (one pair in 2^56) share
//! a count. A client that finds its buckets full is not counted, which the caller is told.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 8;
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// The most connections of one client that can be counted.
pub const CLIENT_CONNECTIONS_MAX: u32 = COUNT as u32;
/// Words of a table at most: 8 MiB.
const TABLE_WORDS_MAX: usize = 1 << 20;
/// How often a word that another worker has changed is tried again.
const TRIES_MAX: usize = 16;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; WORDS]);

/// See the module.
#[derive(Debug)]
pub struct ClientTable {
    buckets: Box<[Bucket]>,
    hash: RandomState,
}

/// Where a counted connection is counted. To be given back once.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientPlace(u32);

/// What becomes of one more connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Counted {
    Yes(ClientPlace),
    /// The client has as many as it may.
    Full,
    /// There was no room to count it: it is let in.
    NoRoom,
}

impl ClientTable {
    /// A table for as many connections at once.
    pub fn new(connections_max: u32) -> ClientTable {
        let words = (connections_max as usize * 2).next_power_of_two().clamp(WORDS * 2, TABLE_WORDS_MAX);
        ClientTable { buckets: (0..words / WORDS).map(|_| Bucket::default()).collect(), hash: RandomState::new() }
    }

    /// Bytes that the table holds.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// Counts one more connection of `client`, if it has less than `max`.
    pub fn take(&self, client: IpAddr, max: u32) -> Counted {
        let hash = self.hash.hash_one(key(client));
        let places = self.places(hash);
        let tag = hash >> COUNT_BITS << COUNT_BITS;
        for _ in 0..TRIES_MAX {
            let (word, (before, after)) = match self.find(&places, tag) {
                Find::Counted(_, seen) if seen & COUNT >= u64::from(max.min(CLIENT_CONNECTIONS_MAX)) => {
                    return Counted::Full;
                }
                Find::Counted(word, seen) => (word, (seen, seen + 1)),
                Find::Free(word, seen) => (word, (seen, tag | 1)),
                Find::NoRoom => return Counted::NoRoom,
            };
            if self.word(word).compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Counted::Yes(ClientPlace(word));
            }
        }
        Counted::NoRoom
    }

    /// One connection less.
    pub fn give_back(&self, place: ClientPlace) {
        // The count is above zero, so no bit of the tag changes, and the word is this client's until it is zero.
        self.word(place.0).fetch_sub(1, Ordering::AcqRel);
    }

    /// Connections that are counted of `client`.
    pub fn count(&self, client: IpAddr) -> u32 {
        let hash = self.hash.hash_one(key(client));
        let tag = hash >> COUNT_BITS << COUNT_BITS;
        let words = self.places(hash).into_iter().flat_map(|bucket| &self.buckets[bucket].0);
        let words = words.map(|word| word.load(Ordering::Relaxed));
        words.filter(|word| word & !COUNT == tag).map(|word| (word & COUNT) as u32).sum()
    }

    /// Two different buckets.
    fn places(&self, hash: u64) -> [usize; 2] {
        let mask = self.buckets.len() - 1;
        let first = hash as usize & mask;
        // Bits that the tag has too, mixed, as the table may need more than the tag leaves.
        let second = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & mask;
        [first, if second == first { first ^ 1 } else { second }]
    }

    fn find(&self, buckets: &[usize; 2], tag: u64) -> Find {
        let mut free = [(0, None); 2];
        for (bucket, free) in buckets.iter().zip(&mut free) {
            for (at, word) in self.buckets[*bucket].0.iter().enumerate() {
                let seen = word.load(Ordering::Acquire);
                let index = (*bucket * WORDS + at) as u32;
                if seen & COUNT == 0 {
                    *free = (free.0 + 1, free.1.or(Some((index, seen))));
                } else if seen & !COUNT == tag {
                    return Find::Counted(index, seen);
                }
            }
        }
        let [first, second] = free;
        match if first.0 >= second.0 { first.1 } else { second.1 } {
            Some((word, seen)) => Find::Free(word, seen),
            None => Find::NoRoom,
        }
    }

    fn word(&self, index: u32) -> &AtomicU64 {
        &self.buckets[index as usize / WORDS].0[index as usize % WORDS]
    }
}

enum Find {
    Counted(u32, u64),
    Free(u32, u64),
    NoRoom,
}

/// What tells one client from another.
fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        // Nobody has a /64 whose first 32 bits are zero (RFC 4291 section 2.4), so the two do not meet.
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn client(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_client_is_held_to_its_limit_and_others_are_not() {
        let table = ClientTable::new(1_000);
        let held: Vec<_> = (0..3).map(|_| table.take(client(1), 3)).collect();
        assert_eq!(table.take(client(1), 3), Counted::Full);
        assert!(matches!(table.take(client(2), 3), Counted::Yes(_)));
        for one in held {
            let Counted::Yes(place) = one else { panic!("{one:?}") };
            table.give_back(place);
        }
        assert_eq!(table.count(client(1)), 0);
        assert!(matches!(table.take(client(1), 1), Counted::Yes(_)));
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_a_mapped_address_is_the_ipv4_one() {
        let table = ClientTable::new(10);
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let _held = table.take(of("2001:db8::1"), 1);
        assert_eq!(table.take(of("2001:db8::ffff:2"), 1), Counted::Full);
        assert!(matches!(table.take(of("2001:db8:0:1::1"), 1), Counted::Yes(_)));
        let _held = table.take(of("192.0.2.1"), 1);
        assert_eq!(table.take(of("::ffff:192.0.2.1"), 1), Counted::Full);
    }

    #[test]
    fn many_clients_fit_and_what_does_not_is_let_in() {
        let table = ClientTable::new(4_096);
        let no_room = (0..4_096).filter(|number| table.take(client(*number), 1) == Counted::NoRoom).count();
        assert_eq!(no_room, 0);
        let small = ClientTable::new(1);
        let no_room = (0..100).filter(|number| small.take(client(*number), 1) == Counted::NoRoom).count();
        assert_eq!(no_room, 100 - 16);
    }

    #[test]
    fn workers_count_together() {
        const WORKERS: u32 = 4;
        const MAX: u32 = 50;
        let table = ClientTable::new(10_000);
        let held: Vec<Vec<ClientPlace>> = std::thread::scope(|scope| {
            let worker = || {
                let places = (0..200).filter_map(|_| match table.take(client(7), MAX) {
                    Counted::Yes(place) => Some(place),
                    _ => None,
                });
                places.collect()
            };
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let count = held.iter().map(Vec::len).sum::<usize>() as u32;
        assert!((MAX..MAX + WORKERS).contains(&count), "{count}");
        assert_eq!(table.count(client(7)), count);
        held.into_iter().flatten().for_each(|place| table.give_back(place));
        assert_eq!(table.count(client(7)), 0);
    }

    proptest! {
        /// Connections come and go; a plain map says what is right.
        #[test]
        fn one_worker_counts_exactly(steps in prop::collection::vec((0u32..12, any::<bool>()), 1..300)) {
            let table = ClientTable::new(1_000);
            let mut open: HashMap<u32, Vec<ClientPlace>> = HashMap::new();
            for (number, comes) in steps {
                let places = open.entry(number).or_default();
                if comes {
                    match table.take(client(number), 5) {
                        Counted::Yes(place) => places.push(place),
                        refused => {
                            prop_assert_eq!(refused, Counted::Full);
                            prop_assert_eq!(places.len(), 5);
                        }
                    }
                } else if let Some(place) = places.pop() {
                    table.give_back(place);
                }
                prop_assert!(places.len() <= 5);
                prop_assert_eq!(table.count(client(number)) as usize, places.len());
            }
        }
    }
}
