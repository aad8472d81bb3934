//! What was asked in a world, what became of it, and what must hold of that whatever the world does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// What is written down of one world.
pub struct Ledger {
    /// Requests and connections may fail here: the network or the origins lose them.
    pub lossy: bool,
    /// Clients themselves may stop in the middle of a request: they share the memory that is short.
    pub clients_break_off: Cell<bool>,
    /// Origins close connections on which the next request may be on its way.
    pub origins_close: bool,
    requests: RefCell<BTreeMap<u64, Request>>,
    counts: Cell<Counts>,
}

/// What became of everything that was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    /// Answered by the gateway itself, with an error.
    pub refused: u64,
    /// The connection ended before the first byte of the answer.
    pub unanswered: u64,
    /// The client went away.
    pub abandoned: u64,
    /// The connection failed within the answer.
    pub broken: u64,
    /// Byte streams relayed to their ends.
    pub relayed: u64,
    /// Byte streams that one side cut off.
    pub cut: u64,
    /// Datagrams that were answered.
    pub datagrams: u64,
}

#[derive(Default)]
struct Request {
    /// Not idempotent: it may reach an origin once and no more.
    once: bool,
    seen: u32,
    answered: u32,
    abandoned: bool,
}

impl Ledger {
    pub fn new(lossy: bool, origins_close: bool) -> Ledger {
        Ledger {
            lossy,
            clients_break_off: Cell::new(false),
            origins_close,
            requests: RefCell::default(),
            counts: Cell::default(),
        }
    }

    /// The number of a request that is about to be sent.
    pub fn ask(&self, once: bool) -> u64 {
        let mut requests = self.requests.borrow_mut();
        let id = requests.len() as u64 + 1;
        requests.insert(id, Request { once, ..Request::default() });
        id
    }

    /// An origin has received a request.
    pub fn saw(&self, id: u64) {
        self.change(id, |request| request.seen += 1);
    }

    /// A client has received the right answer.
    pub fn answered(&self, id: u64) {
        self.change(id, |request| request.answered += 1);
        self.count(|counts| counts.answered += 1);
    }

    /// The client of a request has gone away.
    pub fn abandoned(&self, id: u64) {
        self.change(id, |request| request.abandoned = true);
        self.count(|counts| counts.abandoned += 1);
    }

    pub fn count(&self, note: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        note(&mut counts);
        self.counts.set(counts);
    }

    pub fn counts(&self) -> Counts {
        self.counts.get()
    }

    fn change(&self, id: u64, note: impl FnOnce(&mut Request)) {
        note(self.requests.borrow_mut().get_mut(&id).unwrap_or_else(|| panic!("nobody asked {id}")));
    }

    /// Nothing lost, nothing doubled.
    pub fn check(&self) {
        for (id, request) in self.requests.borrow().iter() {
            let Request { once, seen, answered, abandoned } = *request;
            assert!(answered <= 1, "request {id} was answered {answered} times");
            assert!(answered == 0 || seen >= 1, "request {id} was answered by nobody");
            assert!(!once || seen <= 1, "request {id} is not idempotent and came {seen} times to an origin");
            let may_repeat = self.lossy || self.origins_close || abandoned;
            assert!(may_repeat || seen <= 1, "request {id} came {seen} times to an origin");
        }
        assert!(self.lossy || self.counts().answered > 0, "nothing was answered");
        assert!(self.counts().datagrams > 0, "no datagram was answered");
    }
}
