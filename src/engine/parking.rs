//! Parked streams: connections that wait without a task, a future or a buffer.
//!
//! An idle connection costs a stream slot, an alarm and its record here. When bytes arrive, the other side closes or
//! the deadline passes, [`Parking::next`] gives stream and record back, and the caller starts a task for it.

use super::timer::Sleeper;
use super::{Engine, Stream, executor};
use crate::base::Instant;
use slab::Slab;
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;

/// A place where streams wait, each with a record of type `T`.
pub struct Parking<T> {
    engine: Engine,
    lot: u8,
    places: RefCell<Slab<Place<T>>>,
}

struct Place<T> {
    stream: Stream,
    record: T,
    until: Instant,
    ticket: u32,
}

/// Names a parked stream until it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    index: u32,
    /// Tells this occupant of the place from the one before.
    ticket: u32,
}

/// A stream that is parked no longer.
pub struct Parked<T> {
    pub stream: Stream,
    pub record: T,
    /// The deadline passed and nothing has arrived.
    pub expired: bool,
}

impl<T> Parking<T> {
    /// A parking lot of this engine; an engine has room for 127.
    pub fn new(engine: &Engine) -> Parking<T> {
        Parking { engine: engine.clone(), lot: executor::new_lot(), places: RefCell::new(Slab::new()) }
    }

    pub fn len(&self) -> usize {
        self.places.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parks a stream until something arrives on it, or `until` at the latest.
    pub fn park(&self, stream: Stream, until: Instant, record: T) -> Ticket {
        let core = &self.engine.core;
        let mut places = self.places.borrow_mut();
        let entry = places.vacant_entry();
        let index = entry.key() as u32;
        let waker = executor::lot_waker(self.lot, index);
        core.timers.borrow_mut().alarm(Sleeper::Place { lot: self.lot, index }, until);
        let ticket = self.engine.random() as u32;
        core.driver.borrow_mut().watch(stream.id, &waker);
        entry.insert(Place { stream, record, until, ticket });
        Ticket { index, ticket }
    }

    /// Whether the stream that `ticket` names is still here.
    pub fn holds(&self, ticket: Ticket) -> bool {
        self.places.borrow().get(ticket.index as usize).is_some_and(|place| place.ticket == ticket.ticket)
    }

    /// Takes a parked stream back, whatever has happened on it.
    pub fn take(&self, ticket: Ticket) -> Option<Parked<T>> {
        self.holds(ticket).then(|| self.remove(ticket.index, false))
    }

    /// The next stream on which something has happened. For one caller at a time.
    pub async fn next(&self) -> Parked<T> {
        poll_fn(|context| {
            while let Some(index) = executor::next_woken(self.lot, context.waker()) {
                // A wake may be stale (the place has a new occupant) or early; both are looked through here.
                let happened = match self.places.borrow().get(index as usize) {
                    None => continue,
                    Some(place) => (place.stream.is_readable(), self.engine.now() >= place.until),
                };
                match happened {
                    (true, _) => return Poll::Ready(self.remove(index, false)),
                    (false, true) => return Poll::Ready(self.remove(index, true)),
                    (false, false) => self.watch_again(index),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes every parked stream.
    pub fn take_all(&self) -> Vec<Parked<T>> {
        self.take_where(|_| true)
    }

    /// Takes every parked stream whose record is one of those meant; the others stay, and their deadlines.
    pub fn take_where(&self, meant: impl Fn(&T) -> bool) -> Vec<Parked<T>> {
        let places = self.places.borrow();
        let taken = places.iter().filter(|(_, place)| meant(&place.record)).map(|(index, _)| index as u32);
        let indices: Vec<u32> = taken.collect();
        drop(places);
        indices.into_iter().map(|index| self.remove(index, false)).collect()
    }

    /// Takes up to `count` streams, those first whose time would be up first.
    pub fn take_idlest(&self, count: usize) -> Vec<Parked<T>> {
        let mut waiting: Vec<(Instant, u32)> =
            self.places.borrow().iter().map(|(index, place)| (place.until, index as u32)).collect();
        if count < waiting.len() {
            waiting.select_nth_unstable(count);
            waiting.truncate(count);
        }
        waiting.into_iter().map(|(_, index)| self.remove(index, false)).collect()
    }

    fn watch_again(&self, index: u32) {
        if let Some(place) = self.places.borrow().get(index as usize) {
            let (core, waker) = (&self.engine.core, executor::lot_waker(self.lot, index));
            core.timers.borrow_mut().alarm(Sleeper::Place { lot: self.lot, index }, place.until);
            core.driver.borrow_mut().watch(place.stream.id, &waker);
        }
    }

    fn remove(&self, index: u32, expired: bool) -> Parked<T> {
        let place = self.places.borrow_mut().remove(index as usize);
        Parked { stream: place.stream, record: place.record, expired }
    }
}
