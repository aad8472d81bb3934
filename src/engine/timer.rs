//! The timer wheel: hierarchical, one per engine, every operation O(1).
//!
//! Seven levels of 64 slots; level `n` has a granularity of 64^n ticks of one millisecond. An entry sits at the level
//! of the highest bit in which its tick differs from the present one, and moves down when time reaches its slot.
//! (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.) Deadlines round up: a timer never fires early.
//!
//! Nearly every deadline is met and comes back in another place a moment later. So each task and each place of a parking
//! lot has one alarm that stays where it is: it is moved only to go off earlier, and never taken back. Who is woken by one
//! that was no longer meant sets it anew for what it waits for now.

use super::executor;
use crate::base::Instant;
use std::task::Waker;

const LEVELS: usize = 7;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
const TICK_NANOS: u64 = 1_000_000;
/// The furthest tick that the wheel holds; a later deadline waits there and is filed again.
const TICKS_MAX: u64 = 1 << (SLOT_BITS * LEVELS as u32 - 1);
const NONE: u32 = u32::MAX;

/// Names one timer. A stale id (fired or cancelled) is recognised and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId {
    index: u32,
    generation: u32,
}

/// Whose alarm it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleeper {
    Task(u32),
    Place { lot: u8, index: u32 },
}

impl Sleeper {
    /// Where its alarm is: a row, and a place in it.
    fn position(self) -> (usize, usize) {
        match self {
            Sleeper::Task(index) => (0, index as usize),
            Sleeper::Place { lot, index } => (1 + usize::from(lot), index as usize),
        }
    }
}

#[derive(Clone, Copy)]
struct Alarm {
    tick: u64,
    entry: u32,
}

impl Alarm {
    const UNSET: Alarm = Alarm { tick: u64::MAX, entry: NONE };
}

/// Whom an entry wakes.
enum Wakes {
    Nobody,
    Waker(Waker),
    Sleeper(Sleeper),
}

struct Entry {
    tick: u64,
    wakes: Wakes,
    next: u32,
    previous: u32,
    generation: u32,
    /// level * SLOTS + slot, or NONE when the entry is free.
    place: u32,
}

pub(super) struct Wheel {
    entries: Vec<Entry>,
    free: u32,
    heads: [u32; LEVELS * SLOTS],
    /// Which slots of each level are occupied.
    occupied: [u64; LEVELS],
    /// Of tasks, then of each parking lot.
    alarms: Vec<Vec<Alarm>>,
    tick: u64,
    len: usize,
}

impl Wheel {
    pub(super) fn new(now: Instant) -> Wheel {
        Wheel {
            entries: Vec::new(),
            free: NONE,
            heads: [NONE; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            alarms: Vec::new(),
            tick: now.0 / TICK_NANOS,
            len: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Wakes `waker` at the first [`Wheel::advance`] to `at` or later.
    pub(super) fn insert(&mut self, at: Instant, waker: Waker) -> TimerId {
        let index = self.allocate(at.0.div_ceil(TICK_NANOS), Wakes::Waker(waker));
        self.file(index);
        TimerId { index, generation: self.entries[index as usize].generation }
    }

    /// Makes sure that `sleeper` is woken at the first [`Wheel::advance`] to `at` or later; it may be woken before.
    pub(super) fn alarm(&mut self, sleeper: Sleeper, at: Instant) {
        let tick = at.0.div_ceil(TICK_NANOS);
        let (row, place) = sleeper.position();
        let set = self.alarms.get(row).and_then(|row| row.get(place)).copied().unwrap_or(Alarm::UNSET);
        if set.tick <= tick || at == Instant::NEVER {
            return;
        }
        let entry = match set.entry {
            NONE => self.allocate(tick, Wakes::Sleeper(sleeper)),
            entry => {
                self.unlink(entry);
                self.entries[entry as usize].tick = tick;
                entry
            }
        };
        self.file(entry);
        if self.alarms.len() <= row {
            self.alarms.resize_with(row + 1, Vec::new);
        }
        let row = &mut self.alarms[row];
        if row.len() <= place {
            row.resize(place + 1, Alarm::UNSET);
        }
        row[place] = Alarm { tick, entry };
    }

    /// Forgets a timer; one that fired already is ignored.
    pub(super) fn cancel(&mut self, id: TimerId) {
        match self.entries.get(id.index as usize) {
            Some(entry) if entry.generation == id.generation && entry.place != NONE => {}
            _ => return,
        }
        self.unlink(id.index);
        self.release(id.index);
    }

    /// Fires what is due at `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        let target = now.0 / TICK_NANOS;
        while let Some((tick, level, slot)) = self.next_slot() {
            if tick > target {
                break;
            }
            self.tick = self.tick.max(tick);
            self.empty_slot(level, slot);
        }
        self.tick = self.tick.max(target);
    }

    /// When [`Wheel::advance`] has something to do next: never later than the first deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next_slot().map(|(tick, _, _)| Instant(tick.saturating_mul(TICK_NANOS)))
    }

    /// The occupied slot that time reaches first, and the tick at which it does.
    fn next_slot(&self) -> Option<(u64, usize, usize)> {
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let present = (self.tick >> shift) % SLOTS as u64;
            let ahead = self.occupied[level].rotate_right(present as u32).trailing_zeros() as u64;
            let base = (self.tick >> shift) + ahead;
            let slot = (base % SLOTS as u64) as usize;
            return Some(((base << shift).max(self.tick), level, slot));
        }
        None
    }

    fn empty_slot(&mut self, level: usize, slot: usize) {
        let place = level * SLOTS + slot;
        let mut index = std::mem::replace(&mut self.heads[place], NONE);
        self.occupied[level] &= !(1 << slot);
        while index != NONE {
            let next = self.entries[index as usize].next;
            if self.entries[index as usize].tick <= self.tick {
                let wakes = std::mem::replace(&mut self.entries[index as usize].wakes, Wakes::Nobody);
                self.release(index);
                self.fire(wakes);
            } else {
                self.file(index);
            }
            index = next;
        }
    }

    fn fire(&mut self, wakes: Wakes) {
        match wakes {
            Wakes::Nobody => {}
            Wakes::Waker(waker) => waker.wake(),
            Wakes::Sleeper(sleeper) => {
                let (row, place) = sleeper.position();
                self.alarms[row][place] = Alarm::UNSET;
                match sleeper {
                    Sleeper::Task(index) => executor::wake_task(index),
                    Sleeper::Place { lot, index } => executor::lot_waker(lot, index).wake(),
                }
            }
        }
    }

    fn file(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick.clamp(self.tick, self.tick + TICKS_MAX - 1);
        let difference = (tick ^ self.tick) | 1;
        let level = ((63 - difference.leading_zeros()) / SLOT_BITS) as usize;
        let level = level.min(LEVELS - 1);
        let slot = ((tick >> (SLOT_BITS * level as u32)) % SLOTS as u64) as usize;
        let place = level * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[place], index);
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.next = head;
        entry.previous = NONE;
        entry.place = place as u32;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let (next, previous, place) = {
            let entry = &self.entries[index as usize];
            (entry.next, entry.previous, entry.place as usize)
        };
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.heads[place] = next;
            if next == NONE {
                self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            }
        }
    }

    fn allocate(&mut self, tick: u64, wakes: Wakes) -> u32 {
        self.len += 1;
        if self.free != NONE {
            let index = self.free;
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            (entry.tick, entry.wakes) = (tick, wakes);
            return index;
        }
        self.entries.push(Entry { tick, wakes, next: NONE, previous: NONE, generation: 0, place: NONE });
        (self.entries.len() - 1) as u32
    }

    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.wakes = Wakes::Nobody;
        entry.place = NONE;
        entry.next = std::mem::replace(&mut self.free, index);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Fired(AtomicU64);
    impl Wake for Fired {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    proptest! {
        /// Every timer fires, none early, none more than a tick late, and a cancelled one never.
        #[test]
        fn fires_when_due(
            start in 0u64..5_000_000_000_000,
            timers in proptest::collection::vec((0u64..400_000_000_000, any::<bool>()), 1..60),
        ) {
            let mut wheel = Wheel::new(Instant(start));
            let mut set = Vec::new();
            for (delay, cancelled) in &timers {
                let fired = Arc::new(Fired::default());
                let at = Instant(start + delay);
                let id = wheel.insert(at, fired.clone().into());
                set.push((at, *cancelled, fired, id));
            }
            for (_, cancelled, _, id) in &set {
                if *cancelled { wheel.cancel(*id); wheel.cancel(*id); }
            }
            let mut now = Instant(start);
            while let Some(next) = wheel.next_deadline() {
                prop_assert!(next.0 + 1_000_000 > now.0);
                now = Instant(next.0.max(now.0));
                wheel.advance(now);
                for (at, cancelled, fired, _) in &set {
                    let count = fired.0.load(Ordering::Relaxed);
                    if *cancelled { prop_assert_eq!(count, 0); continue; }
                    if count == 1 { prop_assert!(at.0 <= now.0); }
                    if at.0 + 1_000_000 <= now.0 { prop_assert_eq!(count, 1); }
                }
            }
            prop_assert_eq!(wheel.len(), 0);
            prop_assert!(set.iter().all(|(_, cancelled, fired, _)| *cancelled || fired.0.load(Ordering::Relaxed) == 1));
        }
    }

    proptest! {
        /// Whatever a sleeper waits for, one after the other, it is woken when that is due, and seldom before: once for
        /// each time that its alarm was moved ahead.
        #[test]
        fn an_alarm_goes_off_in_time(
            start in 0u64..5_000_000_000_000,
            waits in proptest::collection::vec((0u64..4_000_000_000, 0u64..3_000_000_000), 1..60),
        ) {
            let lot = executor::new_lot();
            let sleeper = Sleeper::Place { lot, index: 7 };
            let mut wheel = Wheel::new(Instant(start));
            let mut now = Instant(start);
            let mut woken = 0;
            for (timeout, passes) in &waits {
                let until = Instant(now.0 + timeout);
                let stop = Instant(now.0 + passes);
                let mut done = false;
                wheel.alarm(sleeper, until);
                while !done && wheel.next_deadline().is_some_and(|next| next < stop) {
                    now = Instant(wheel.next_deadline().unwrap().0.max(now.0));
                    wheel.advance(now);
                    while executor::next_woken(lot, Waker::noop()).is_some() {
                        woken += 1;
                        done = now >= until;
                        if !done { wheel.alarm(sleeper, until) }
                    }
                    prop_assert!(done || now.0 < until.0 + 1_000_000);
                }
                if !done { prop_assert!(stop.0 <= until.0 + 1_000_000); }
                now = now.max(stop);
                wheel.advance(now);
                woken += std::iter::from_fn(|| executor::next_woken(lot, Waker::noop())).count();
                prop_assert!(wheel.len() <= 1, "one alarm at most");
            }
            prop_assert!(woken <= 2 * waits.len());
            executor::forget_lots();
        }
    }

    #[test]
    fn a_time_jump_fires_everything_between() {
        let mut wheel = Wheel::new(Instant(0));
        let fired = Arc::new(Fired::default());
        for second in 0..1000u64 {
            wheel.insert(Instant(second * 1_000_000_000), fired.clone().into());
        }
        wheel.advance(Instant(2_000_000_000_000));
        assert_eq!(fired.0.load(Ordering::Relaxed), 1000);
    }

    #[test]
    fn the_furthest_deadline_never_fires() {
        let mut wheel = Wheel::new(Instant(0));
        let fired = Arc::new(Fired::default());
        wheel.insert(Instant::NEVER, fired.clone().into());
        wheel.advance(Instant(1 << 60));
        assert_eq!(fired.0.load(Ordering::Relaxed), 0);
        assert_eq!(wheel.len(), 1);
    }
}
