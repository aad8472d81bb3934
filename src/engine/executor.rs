//! The executor: `!Send` futures on one thread, woken by words of one ready queue.
//!
//! A waker is one machine word (task index and generation), so that cloning, storing and waking cost a few
//! instructions and nothing is counted. The price: a waker means something on its own thread only. Woken elsewhere it
//! does nothing useful there (at worst it polls a task for nothing), which is why [`super::Remote`] exists.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

/// The bit that tells a parking lot's word from a task's.
const LOT_BIT: u64 = 1 << 63;
const LOT_SHIFT: u32 = 56;

/// The word of no task and no lot: see [`Executor::mark`].
const MARK: u64 = u64::MAX;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What a waker can reach: the queue of words that are ready, and which tasks are in it already.
#[derive(Default)]
struct Ready {
    words: VecDeque<u64>,
    tasks: Vec<TaskState>,
    lots: Vec<Lot>,
}

#[derive(Clone, Copy, Default)]
struct TaskState {
    generation: u32,
    queued: bool,
}

impl Ready {
    /// Queues the present task of this index, unless it is queued.
    fn queue(&mut self, index: u32) {
        let Some(state) = self.tasks.get_mut(index as usize) else { return };
        if !std::mem::replace(&mut state.queued, true) {
            self.words.push_back((u64::from(state.generation) << 32) | u64::from(index));
        }
    }
}

/// A queue of indices that were woken through [`lot_waker`], and who waits for it.
#[derive(Default)]
struct Lot {
    woken: VecDeque<u32>,
    waiter: Option<Waker>,
}

thread_local! {
    static READY: RefCell<Ready> = RefCell::default();
    static OCCUPIED: Cell<bool> = const { Cell::new(false) };
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |word| RawWaker::new(word, &VTABLE),
    |word| wake_word(word as u64),
    |word| wake_word(word as u64),
    |_| {},
);

fn waker_of(word: u64) -> Waker {
    // SAFETY: the vtable treats the pointer as a plain word and never dereferences it; clone, wake and drop are
    // therefore sound for every word, on every thread and at every time.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::without_provenance(word as usize), &VTABLE)) }
}

fn wake_word(word: u64) {
    // A thread that is being torn down has no queue any more; nothing on it will run again either.
    let _ = READY.try_with(|ready| {
        let mut ready = ready.borrow_mut();
        if word & LOT_BIT != 0 {
            let lot = ((word & !LOT_BIT) >> LOT_SHIFT) as usize;
            let Some(lot) = ready.lots.get_mut(lot) else { return };
            lot.woken.push_back(word as u32);
            if let Some(waiter) = lot.waiter.take() {
                drop(ready);
                waiter.wake();
            }
            return;
        }
        let (index, generation) = (word as u32, (word >> 32) as u32);
        if ready.tasks.get(index as usize).is_some_and(|state| state.generation == generation) {
            ready.queue(index);
        }
    });
}

/// The index of the task that `waker` wakes, if it is one of this module's.
pub(super) fn task_of(waker: &Waker) -> Option<u32> {
    let word = waker.data().addr() as u64;
    (std::ptr::eq(waker.vtable(), &VTABLE) && word & LOT_BIT == 0).then_some(word as u32)
}

/// Wakes whatever task has this index now.
pub(super) fn wake_task(index: u32) {
    READY.with(|ready| ready.borrow_mut().queue(index));
}

/// A waker that puts `index` into the queue of parking lot `lot`.
pub(super) fn lot_waker(lot: u8, index: u32) -> Waker {
    waker_of(LOT_BIT | (u64::from(lot & 0x7f) << LOT_SHIFT) | u64::from(index))
}

/// A new parking lot; at most 127 on a thread.
pub(super) fn new_lot() -> u8 {
    READY.with(|ready| {
        let mut ready = ready.borrow_mut();
        ready.lots.push(Lot::default());
        assert!(ready.lots.len() <= 127, "at most 127 parking lots on one thread");
        (ready.lots.len() - 1) as u8
    })
}

#[cfg(test)]
pub(super) fn forget_lots() {
    READY.with(|ready| ready.borrow_mut().lots.clear());
}

/// The next index woken in `lot`; registers `waker` if there is none.
pub(super) fn next_woken(lot: u8, waker: &Waker) -> Option<u32> {
    READY.with(|ready| {
        let mut ready = ready.borrow_mut();
        let lot = ready.lots.get_mut(usize::from(lot))?;
        let next = lot.woken.pop_front();
        if next.is_none() {
            lot.waiter = Some(waker.clone());
        }
        next
    })
}

/// The tasks of one engine.
#[derive(Default)]
pub(super) struct Executor {
    tasks: RefCell<Vec<Option<Task>>>,
    free: RefCell<Vec<u32>>,
    active: Cell<usize>,
    panicked: Cell<u64>,
    reached_mark: Cell<bool>,
}

/// A thread holds one engine at a time, because wakers name tasks by their index on the thread.
#[derive(Debug)]
pub struct ThreadOccupied;

impl Executor {
    pub(super) fn new() -> Result<Executor, ThreadOccupied> {
        if OCCUPIED.replace(true) {
            return Err(ThreadOccupied);
        }
        READY.with(|ready| {
            let mut ready = ready.borrow_mut();
            ready.words.clear();
            ready.tasks.iter_mut().for_each(|state| state.queued = false);
            ready.lots.clear();
        });
        let executor = Executor::default();
        // Slots of an earlier engine stay known with their generations, so that its wakers stay stale.
        let known = READY.with(|ready| ready.borrow().tasks.len());
        executor.tasks.borrow_mut().resize_with(known, || None);
        executor.free.borrow_mut().extend((0..known as u32).rev());
        Ok(executor)
    }

    pub(super) fn spawn(&self, task: Task) {
        let index = self.free.borrow_mut().pop();
        let index = READY.with(|ready| {
            let mut ready = ready.borrow_mut();
            let index = index.unwrap_or_else(|| {
                ready.tasks.push(TaskState::default());
                (ready.tasks.len() - 1) as u32
            });
            ready.queue(index);
            index as usize
        });
        let mut tasks = self.tasks.borrow_mut();
        if index == tasks.len() {
            tasks.push(Some(task));
        } else {
            tasks[index] = Some(task);
        }
        self.active.set(self.active.get() + 1);
    }

    /// Polls the tasks that are ready, at most `budget` of them. True if some are left.
    pub(super) fn run_ready(&self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(word) = READY.with(|ready| ready.borrow_mut().words.pop_front()) else {
                return false;
            };
            if word == MARK {
                self.reached_mark.set(true);
                continue;
            }
            self.poll(word);
        }
        READY.with(|ready| !ready.borrow().words.is_empty())
    }

    /// Whether no task is ready.
    pub(super) fn is_idle(&self) -> bool {
        READY.with(|ready| ready.borrow().words.is_empty())
    }

    /// Puts a mark behind all that is ready now.
    pub(super) fn mark(&self) {
        READY.with(|ready| ready.borrow_mut().words.push_back(MARK));
    }

    /// Whether the mark has come to the front since the last call.
    pub(super) fn reached_mark(&self) -> bool {
        self.reached_mark.take()
    }

    fn poll(&self, word: u64) {
        let index = word as u32 as usize;
        // A word may outlive its task: one that was woken while it ended.
        let stale = READY.with(|ready| {
            let state = &mut ready.borrow_mut().tasks[index];
            let stale = state.generation != (word >> 32) as u32;
            state.queued &= stale;
            stale
        });
        if stale {
            return;
        }
        let Some(mut task) = self.tasks.borrow_mut()[index].take() else {
            return;
        };
        let waker = waker_of(word);
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut Context::from_waker(&waker))));
        match polled {
            Ok(std::task::Poll::Pending) => self.tasks.borrow_mut()[index] = Some(task),
            Ok(std::task::Poll::Ready(())) => self.retire(index, task),
            Err(panic) => {
                self.panicked.set(self.panicked.get() + 1);
                discard(panic);
                self.retire(index, task);
            }
        }
    }

    fn retire(&self, index: usize, task: Task) {
        READY.with(|ready| {
            let state = &mut ready.borrow_mut().tasks[index];
            state.generation = (state.generation + 1) & (u32::MAX >> 1);
            state.queued = false;
        });
        self.free.borrow_mut().push(index as u32);
        self.active.set(self.active.get() - 1);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
            self.panicked.set(self.panicked.get() + 1);
            discard(panic);
        }
    }

    /// Drops every task. Their destructors still find the engine alive.
    pub(super) fn clear(&self) {
        let len = self.tasks.borrow().len();
        for index in 0..len {
            let task = self.tasks.borrow_mut()[index].take();
            if let Some(task) = task {
                self.retire(index, task);
            }
        }
    }

    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    pub(super) fn panicked(&self) -> u64 {
        self.panicked.get()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.clear();
        OCCUPIED.set(false);
    }
}

/// The panic hook has printed the message; a payload whose own drop panics must not take the worker with it.
fn discard(panic: Box<dyn Any + Send>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
}
