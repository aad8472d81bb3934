//! The futures that the interface hands out, and the few ways to combine them.

use super::driver::StreamId;
use super::timer::{Sleeper, TimerId};
use super::{Core, Outgoing, executor};
use crate::base::Instant;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Resolves at an instant.
pub(super) struct Sleep {
    core: Rc<Core>,
    at: Instant,
    /// Where it is not a task of this engine that waits, which has an alarm.
    timer: Option<TimerId>,
}

impl Sleep {
    pub(super) fn new(core: &Rc<Core>, at: Instant) -> Sleep {
        Sleep { core: core.clone(), at, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.core.now.get() >= self.at {
            return Poll::Ready(());
        }
        let mut timers = self.core.timers.borrow_mut();
        match executor::task_of(context.waker()) {
            Some(task) => timers.alarm(Sleeper::Task(task), self.at),
            None => {
                self.timer.into_iter().for_each(|timer| timers.cancel(timer));
                let timer = timers.insert(self.at, context.waker().clone());
                drop(timers);
                self.timer = Some(timer);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.core.timers.borrow_mut().cancel(timer);
        }
    }
}

/// The deadline passed before the future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// A future with a deadline.
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

impl<F> Timeout<F> {
    pub(super) fn new(core: &Rc<Core>, at: Instant, future: F) -> Timeout<F> {
        Timeout { future, sleep: Sleep::new(core, at) }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned structurally: it is never moved out of a pinned Timeout and there is no Drop for
        // Timeout itself; `sleep` is Unpin and used by reference only.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.sleep)
        };
        if let Poll::Ready(output) = future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(sleep).poll(context).map(|()| Err(Elapsed))
    }
}

/// Waits for the end of a send and takes back what was lent to the driver.
pub(super) struct Sending<'a> {
    core: &'a Rc<Core>,
    id: StreamId,
    done: bool,
}

impl<'a> Sending<'a> {
    pub(super) fn new(core: &'a Rc<Core>, id: StreamId) -> Sending<'a> {
        Sending { core, id, done: false }
    }
}

impl Future for Sending<'_> {
    type Output = (Outgoing, io::Result<()>);
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.core.driver.borrow_mut().poll_sent(self.id, context.waker());
        if polled.is_ready() {
            self.done = true;
        }
        polled
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.core.driver.borrow_mut().abandon_send(self.id);
        }
    }
}

/// Something that happened, for one task to wait for. Notifications before the wait count, once.
#[derive(Default)]
pub struct Event {
    happened: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Event {
    pub fn notify(&self) {
        self.happened.set(true);
        if let Some(waiter) = self.waiter.borrow_mut().take() {
            waiter.wake();
        }
    }

    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.happened.take() {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A sign for many tasks that stays once it is given.
#[derive(Default)]
pub struct Latch {
    given: Cell<bool>,
    waiters: RefCell<Slab<Waker>>,
}

/// Has its task woken when the latch is given, until it is dropped.
pub struct Enrolled<'a> {
    latch: &'a Latch,
    place: usize,
}

impl Latch {
    pub fn give(&self) {
        self.given.set(true);
        self.waiters.take().into_iter().for_each(|(_, waiter)| waiter.wake());
    }

    pub fn is_given(&self) -> bool {
        self.given.get()
    }

    /// Enrolls the task that awaits it.
    pub async fn enroll(&self) -> Enrolled<'_> {
        let place = poll_fn(|context| Poll::Ready(self.waiters.borrow_mut().insert(context.waker().clone()))).await;
        Enrolled { latch: self, place }
    }

    /// Runs `future` to its end; `None` if the latch is given before. For a task that is enrolled.
    pub async fn unless<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| match self.given.get() {
            true => Poll::Ready(None),
            false => future.as_mut().poll(context).map(Some),
        })
        .await
    }
}

impl Drop for Enrolled<'_> {
    fn drop(&mut self) {
        self.latch.waiters.borrow_mut().try_remove(self.place);
    }
}

pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs both to their ends.
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (None, None);
    poll_fn(|context| {
        if a_done.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            a_done = Some(output);
        }
        if b_done.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            b_done = Some(output);
        }
        match (a_done.take(), b_done.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (a_done, b_done) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Which of two futures was first.
pub enum Raced<A, B> {
    First(A),
    Second(B),
}

/// Runs both until one is done and drops the other; the first one has precedence.
pub async fn race<A: Future, B: Future>(a: A, b: B) -> Raced<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(output) = a.as_mut().poll(context) {
            return Poll::Ready(Raced::First(output));
        }
        b.as_mut().poll(context).map(Raced::Second)
    })
    .await
}
