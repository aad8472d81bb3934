//! Round robin: every endpoint in its turn, as often as its weight says, and as evenly spread as its weight allows.
//!
//! The idea: earliest deadline first. An endpoint of weight w is due every 1/w; the one that is due next is picked and due
//! again 1/w later (as in weighted fair queueing, Demers et al. 1989). O(log n) a pick by a binary heap, O(1) where all
//! weights are equal. The bound: in any row of picks each endpoint has its share, give or take one. Each worker counts for
//! itself, so over few requests and many workers the spread is that of chance. Not where requests differ much in cost or
//! endpoints in speed: use `least_request`.

use super::{below, is_tried, mix};

/// One unit of deadline time: the period of an endpoint of weight 1. Large enough that the rounding of `PERIOD / weight`
/// is no more than 1 part in 2⁸ of the smallest share even for weights of 32 bits.
const PERIOD: u64 = 1 << 40;

#[derive(Debug)]
pub(super) enum RoundRobin {
    Equal { next: u32, count: u32 },
    Heap { heap: Vec<Turn>, aside: Vec<Turn> },
}

/// When an endpoint is due. Deadlines wrap around; all of them lie within one [`PERIOD`], so which is earlier is clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    deadline: u64,
    index: u32,
    weight: u32,
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
    /// A weight of 0 counts as 1.
    pub fn new(weights: impl Iterator<Item = u32>, random: u64) -> RoundRobin {
        let turn = |(index, weight): (usize, u32)| {
            let weight = weight.max(1);
            let period = PERIOD / u64::from(weight);
            // A first deadline anywhere in its period: the shares are right from the start and no two workers in step.
            Turn { deadline: mix(random ^ index as u64) % period, index: index as u32, weight }
        };
        let mut heap: Vec<Turn> = weights.enumerate().map(turn).collect();
        if heap.windows(2).all(|pair| pair[0].weight == pair[1].weight) {
            let count = u32::try_from(heap.len()).unwrap_or(u32::MAX);
            return RoundRobin::Equal { next: below(mix(random), count), count };
        }
        for at in (0..heap.len() / 2).rev() {
            sift_down(&mut heap, at);
        }
        RoundRobin::Heap { heap, aside: Vec::new() }
    }

    pub fn pick(&mut self, tried: &[u32]) -> Option<usize> {
        match self {
            RoundRobin::Equal { next, count } => {
                for _ in 0..*count {
                    let index = *next;
                    *next = if index + 1 >= *count { 0 } else { index + 1 };
                    if !is_tried(tried, index as usize) {
                        return Some(index as usize);
                    }
                }
                None
            }
            RoundRobin::Heap { heap, aside } => pick_from(heap, aside, tried),
        }
    }
}

/// Endpoints that were tried are put aside and come back with the deadlines that they had: they lose no turn.
fn pick_from(heap: &mut Vec<Turn>, aside: &mut Vec<Turn>, tried: &[u32]) -> Option<usize> {
    while let Some(turn) = heap.first().copied().filter(|turn| is_tried(tried, turn.index as usize)) {
        aside.push(turn);
        heap.swap_remove(0);
        sift_down(heap, 0);
    }
    let picked = heap.first_mut().map(|turn| {
        turn.deadline = turn.deadline.wrapping_add(PERIOD / u64::from(turn.weight));
        turn.index as usize
    });
    sift_down(heap, 0);
    for turn in aside.drain(..) {
        heap.push(turn);
        sift_up(heap);
    }
    picked
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
