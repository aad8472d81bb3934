//! What is on the heap, counted by the allocator itself, and what may be: no byte can be forgotten by whoever allocates
//! it. A worker counts in a cell of its thread; every other thread adds to one shared number.
//!
//! A worker's [`Share`] compares the sum with the [`Budget`] now and then, whenever it is about to take more. Who decides
//! what is given up then is `connection`; what the numbers mean to an operator is `health::memory`.
#![allow(unsafe_code)]

use crossbeam_utils::CachePadded;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// An allocator that counts what it gives and takes back.
pub struct Metered<A>(pub A);

/// What one thread has allocated and not freed, if it counts for itself.
struct Thread {
    counts: Cell<bool>,
    heap: Cell<i64>,
}

thread_local! {
    static THREAD: Thread = const { Thread { counts: Cell::new(false), heap: Cell::new(0) } };
    static SHARE: RefCell<Option<Rc<Share>>> = const { RefCell::new(None) };
}

/// What all threads together hold that do not count for themselves. May be below zero: one thread frees what another
/// has allocated, and only the sum over all of them means something.
static OTHERS: AtomicI64 = AtomicI64::new(0);

/// What a small block costs beside its bytes, at least: allocators round up.
const ROUND: usize = 16;

#[inline]
fn count(bytes: i64) {
    // A thread that is being torn down counts with the others.
    let own = THREAD.try_with(|thread| {
        if thread.counts.get() {
            thread.heap.set(thread.heap.get() + bytes);
        }
        thread.counts.get()
    });
    if own != Ok(true) {
        OTHERS.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[inline]
fn cost(size: usize) -> i64 {
    size.next_multiple_of(ROUND) as i64
}

// SAFETY: every call is passed on to the inner allocator as it came; counting neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Metered<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is passed on.
        let pointer = unsafe { self.0.alloc(layout) };
        if !pointer.is_null() {
            count(cost(layout.size()));
        }
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is passed on.
        let pointer = unsafe { self.0.alloc_zeroed(layout) };
        if !pointer.is_null() {
            count(cost(layout.size()));
        }
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-cost(layout.size()));
        // SAFETY: the caller's contract is passed on.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract is passed on.
        let moved = unsafe { self.0.realloc(pointer, layout, size) };
        if !moved.is_null() {
            count(cost(size) - cost(layout.size()));
        }
        moved
    }
}

/// What this thread has allocated and not freed, in bytes; means something only while a [`Share`] is entered.
pub fn heap_of_thread() -> i64 {
    THREAD.with(|thread| thread.heap.get())
}

/// What the threads hold that do not count for themselves, in bytes: all of the process, before there are workers.
pub fn heap_of_others() -> u64 {
    u64::try_from(OTHERS.load(Ordering::Relaxed)).unwrap_or(0)
}

/// How the heap stands to its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    #[default]
    Free,
    /// Little is left: what can be spared is given up.
    Tight,
    /// Nothing is left: who would take more is refused.
    Full,
}

/// What the heap of the process may come to.
#[derive(Debug)]
pub struct Budget {
    tight: AtomicU64,
    full: AtomicU64,
    /// Threads that are no workers count too.
    whole_process: bool,
    /// What each worker's thread held when it last looked.
    workers: Box<[CachePadded<AtomicI64>]>,
}

impl Budget {
    /// Bytes at which the heap of the whole process is tight, and at which it is full.
    pub fn new(workers: usize, tight: u64, full: u64) -> Arc<Budget> {
        Budget::of(workers, tight, full, true)
    }

    /// For a world of its own in a process with others: what its thread allocates counts and nothing else.
    pub fn of_one_thread(tight: u64, full: u64) -> Arc<Budget> {
        Budget::of(1, tight, full, false)
    }

    /// Nothing is limited.
    pub fn unlimited() -> Arc<Budget> {
        Budget::of_one_thread(u64::MAX, u64::MAX)
    }

    fn of(workers: usize, tight: u64, full: u64, whole_process: bool) -> Arc<Budget> {
        let workers = (0..workers.max(1)).map(|_| CachePadded::new(AtomicI64::new(0))).collect();
        Arc::new(Budget { tight: tight.into(), full: full.into(), whole_process, workers })
    }

    /// Bytes on the heap, as far as each worker has said. Off by [`LOOK_STEP`] for each of them.
    pub fn held(&self) -> u64 {
        let workers: i64 = self.workers.iter().map(|worker| worker.load(Ordering::Relaxed)).sum();
        let others = if self.whole_process { OTHERS.load(Ordering::Relaxed) } else { 0 };
        u64::try_from(workers + others).unwrap_or(0)
    }

    /// The bytes at which nothing more is given.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Sets other limits.
    pub fn set(&self, tight: u64, full: u64) {
        self.tight.store(tight, Ordering::Relaxed);
        self.full.store(full, Ordering::Relaxed);
    }

    fn pressure(&self) -> Pressure {
        match self.held() {
            held if held >= self.full.load(Ordering::Relaxed) => Pressure::Full,
            held if held >= self.tight.load(Ordering::Relaxed) => Pressure::Tight,
            _ => Pressure::Free,
        }
    }
}

/// How much a worker may allocate before it looks at the sum again, in bytes.
pub const LOOK_STEP: i64 = 64 * 1024;

/// One worker's view of the budget, for as long as it is entered.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    worker: usize,
    /// What the thread held before.
    before: i64,
    looked_at: Cell<i64>,
    pressure: Cell<Pressure>,
}

/// Ends a share when it is dropped: the thread counts with the others again.
#[derive(Debug)]
pub struct Entered(());

impl Share {
    /// From here on this thread counts for itself, as worker `worker` of the budget.
    pub fn enter(budget: Arc<Budget>, worker: usize) -> Entered {
        let before = THREAD.with(|thread| {
            thread.counts.set(true);
            thread.heap.get()
        });
        let share =
            Share { budget, worker, before, looked_at: Cell::new(i64::MIN / 2), pressure: Cell::new(Pressure::Free) };
        SHARE.with(|place| *place.borrow_mut() = Some(Rc::new(share)));
        Entered(())
    }

    fn pressure(&self) -> Pressure {
        let own = heap_of_thread() - self.before;
        if self.pressure.get() != Pressure::Free || own >= self.looked_at.get() + LOOK_STEP {
            self.look(own);
        }
        self.pressure.get()
    }

    fn look(&self, own: i64) {
        self.looked_at.set(own);
        if let Some(shard) = self.budget.workers.get(self.worker) {
            shard.store(own, Ordering::Relaxed);
        }
        self.pressure.set(self.budget.pressure());
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let share = SHARE.with(|place| place.borrow_mut().take());
        let Some(share) = share else { return };
        share.look(heap_of_thread() - share.before);
        if let Some(shard) = share.budget.workers.get(share.worker)
            && share.budget.whole_process
        {
            OTHERS.fetch_add(shard.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        THREAD.with(|thread| {
            thread.counts.set(false);
            thread.heap.set(share.before);
        });
    }
}

/// How the heap stands to its budget, as the thread's share sees it. A few instructions while there is plenty and little
/// was allocated since the last look.
pub fn pressure() -> Pressure {
    SHARE.with(|place| place.borrow().as_ref().map_or(Pressure::Free, |share| share.pressure()))
}

/// What each worker may have on the heap if all have the same, in bytes.
pub fn even_share() -> u64 {
    let of = |share: &Rc<Share>| share.budget.full() / share.budget.workers.len() as u64;
    SHARE.with(|place| place.borrow().as_ref().map_or(u64::MAX, of))
}

/// Like [`pressure`], and tells the budget what the thread holds now.
pub fn look() -> Pressure {
    SHARE.with(|place| {
        place.borrow().as_ref().map_or(Pressure::Free, |share| {
            share.look(heap_of_thread() - share.before);
            share.pressure.get()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_sees_what_its_thread_takes_and_gives_back() {
        // The allocator of tests does not count, so this does.
        let budget = Budget::of_one_thread(1_000_000, 2_000_000);
        let entered = Share::enter(budget.clone(), 0);
        assert_eq!(pressure(), Pressure::Free);
        count(1_500_000);
        assert_eq!(pressure(), Pressure::Tight);
        count(500_000);
        assert_eq!(pressure(), Pressure::Full);
        count(-2_000_000);
        assert_eq!((pressure(), budget.held()), (Pressure::Free, 0));
        drop(entered);
        assert_eq!(pressure(), Pressure::Free);
    }

    #[test]
    fn little_growth_needs_no_look() {
        let budget = Budget::of_one_thread(100_000, 200_000);
        let _entered = Share::enter(budget.clone(), 0);
        assert_eq!(pressure(), Pressure::Free);
        count(LOOK_STEP - 1);
        assert_eq!((pressure(), budget.held()), (Pressure::Free, 0));
        assert_eq!(look(), Pressure::Free);
        assert_eq!(budget.held(), LOOK_STEP as u64 - 1);
        count(-(LOOK_STEP - 1));
    }

    #[test]
    fn what_another_thread_frees_is_freed_in_the_sum() {
        let budget = Budget::new(2, u64::MAX, u64::MAX);
        let taken = 1 << 40;
        let before = budget.held();
        std::thread::scope(|scope| {
            let budget = &budget;
            scope.spawn(move || {
                let _entered = Share::enter(budget.clone(), 1);
                count(taken);
                look();
                assert!(budget.held() >= before + taken as u64);
            });
        });
        // The worker is gone; what it held is still there, until somebody frees it.
        assert!(budget.held() >= before + taken as u64);
        count(-taken);
        assert!(budget.held() < taken as u64);
    }
}
