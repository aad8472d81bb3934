//! Round robin: every endpoint in its turn, as often as its weight says, and as evenly spread as its weight allows.
//!
//! The idea: earliest deadline first. An endpoint of weight w is due every 1/w; the one that is due next is picked and due
//! again 1/w later (as in weighted fair queueing, Demers et al. 1989). O(log n) a pick by a binary heap, O(1) where all
//! weights are equal. The bound: in any row of picks each endpoint has its share, give or take one. Each worker counts for
//! itself, so over few requests and many workers the spread is that of chance. Not where requests differ much in cost or
//! endpoints in speed: use `least_request`.
//!
//! A new plan costs a worker nothing at once: endpoints that it does not have leave the heap when their turn comes, those
//! that it adds enter it a few with each pick, and a weight that has changed counts from the endpoint's next turn on.

use super::plan::{Group, Plan};
use super::{below, is_tried, mix};

/// One unit of deadline time: the period of an endpoint of weight 1. Large enough that the rounding of `PERIOD / weight`
/// is no more than 1 part in 2⁸ of the smallest share even for weights of 32 bits.
const PERIOD: u64 = 1 << 40;
/// Members that enter the heap with one pick.
const ENTRIES_A_PICK: usize = 8;

/// What one worker keeps of one group.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    /// While all weights are equal: the place of the next one.
    next: Option<u32>,
    /// Otherwise.
    turns: Option<Box<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    heap: Vec<Turn>,
    /// Turns put aside during one pick.
    aside: Vec<Turn>,
    /// One bit for each endpoint that is in the heap.
    present: Vec<u64>,
    /// The latest deadline that was met: new turns begin here.
    now: u64,
    /// The member that is looked at next, and how many have not been looked at since the plan is in force.
    cursor: usize,
    unseen: usize,
}

/// When an endpoint is due. Deadlines wrap around; all of them lie within one [`PERIOD`], so which is earlier is clear.
#[derive(Clone, Copy, Debug)]
struct Turn {
    deadline: u64,
    index: u32,
}

impl Turn {
    fn is_before(self, other: Turn) -> bool {
        match self.deadline.wrapping_sub(other.deadline) as i64 {
            0 => self.index < other.index,
            distance => distance < 0,
        }
    }
}

impl RoundRobin {
    /// Another plan is in force. `random` decides where it starts, so that workers do not all begin with the same endpoint.
    pub fn follow(&mut self, group: &Group, random: u64) {
        let count = group.members.len();
        let start = below(random, u32::try_from(count).unwrap_or(u32::MAX));
        if group.draw.is_equal() {
            self.turns = None;
            self.next.get_or_insert(start);
            return;
        }
        self.next = None;
        let turns = self.turns.get_or_insert_default();
        (turns.cursor, turns.unseen) = (start as usize, count);
    }

    pub fn pick(&mut self, plan: &Plan, group: &Group, tried: &[u32], random: u64) -> Option<usize> {
        if let Some(turns) = &mut self.turns {
            return turns.pick(plan, group, tried, random);
        }
        let next = self.next.get_or_insert(0);
        let count = group.members.len();
        for _ in 0..count {
            let place = if (*next as usize) < count { *next as usize } else { 0 };
            *next = place as u32 + 1;
            let index = *group.members.get(place)? as usize;
            if !is_tried(tried, index) {
                return Some(index);
            }
        }
        None
    }
}

impl Turns {
    fn pick(&mut self, plan: &Plan, group: &Group, tried: &[u32], random: u64) -> Option<usize> {
        let picked = loop {
            self.enter_some(plan, group, random);
            let picked = self.take_due(plan, tried);
            if picked.is_some() || self.unseen == 0 {
                break picked;
            }
        };
        // They come back with the deadlines that they had: they lose no turn.
        while let Some(turn) = self.aside.pop() {
            self.push(turn);
        }
        picked
    }

    /// The endpoint that is due and was not tried; it is due again a period later.
    fn take_due(&mut self, plan: &Plan, tried: &[u32]) -> Option<usize> {
        while let Some(turn) = self.heap.first().copied() {
            let (index, weight) = (turn.index as usize, plan.weight(turn.index as usize));
            if weight > 0 && !is_tried(tried, index) {
                self.now = turn.deadline;
                self.heap[0].deadline = turn.deadline.wrapping_add(PERIOD / u64::from(weight));
                sift_down(&mut self.heap, 0);
                return Some(index);
            }
            self.heap.swap_remove(0);
            sift_down(&mut self.heap, 0);
            match weight {
                0 => self.set_present(index, false),
                _ => self.aside.push(turn),
            }
        }
        None
    }

    fn enter_some(&mut self, plan: &Plan, group: &Group, random: u64) {
        for _ in 0..ENTRIES_A_PICK.min(self.unseen) {
            self.unseen -= 1;
            self.cursor = if self.cursor < group.members.len() { self.cursor } else { 0 };
            let Some(index) = group.members.get(self.cursor).copied() else { return };
            self.cursor += 1;
            if self.is_present(index as usize) {
                continue;
            }
            self.set_present(index as usize, true);
            let period = PERIOD / u64::from(plan.weight(index as usize).max(1));
            // A first deadline anywhere in its period: the shares are right from the start and no two workers in step.
            let deadline = self.now.wrapping_add(mix(random ^ u64::from(index)) % period);
            self.push(Turn { deadline, index });
        }
    }

    fn is_present(&self, index: usize) -> bool {
        self.present.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn set_present(&mut self, index: usize, is: bool) {
        if self.present.len() <= index / 64 {
            self.present.resize(index / 64 + 1, 0);
        }
        self.present[index / 64] = self.present[index / 64] & !(1 << (index % 64)) | u64::from(is) << (index % 64);
    }

    fn push(&mut self, turn: Turn) {
        self.heap.push(turn);
        sift_up(&mut self.heap);
    }
}

fn sift_down(heap: &mut [Turn], mut at: usize) {
    loop {
        let mut earliest = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < heap.len() && heap[child].is_before(heap[earliest]) {
                earliest = child;
            }
        }
        if earliest == at {
            return;
        }
        heap.swap(at, earliest);
        at = earliest;
    }
}

/// Moves the last turn up to its place.
fn sift_up(heap: &mut [Turn]) {
    let mut at = heap.len().saturating_sub(1);
    while at > 0 && heap[at].is_before(heap[(at - 1) / 2]) {
        heap.swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}
