//! How often something was done in the present turn of the event loop, so that one fast sender cannot keep its task, and
//! with it the thread, for ever. Used by the drivers and by sockets
//! of datagrams.

#[derive(Clone, Copy, Default)]
pub(super) struct Spent {
    turn: u32,
    count: u8,
}

impl Spent {
    /// Whether `limit` is reached in `turn`.
    pub(super) fn is_spent(&self, turn: u32, limit: u8) -> bool {
        self.turn == turn && self.count >= limit
    }

    /// Counts one more in `turn`. False if that is more than `limit`.
    pub(super) fn spend(&mut self, turn: u32, limit: u8) -> bool {
        if self.turn != turn {
            *self = Spent { turn, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }
}
