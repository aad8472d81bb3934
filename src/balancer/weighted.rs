//! A draw in proportion to weights, which `random` and `least_request` share.
//!
//! The alias method (Walker 1977, built as in Vose 1991): every column holds its own index up to a threshold and one other
//! index above it, so a draw is one column and one comparison however many weights there are. O(n) to build, 8 bytes an
//! index; nothing at all where the weights are equal. Not for weights that change: each change builds it anew.

use super::{below, is_tried, mix};

/// Draws that may hit an index to be left out before the remaining ones are walked.
const DRAWS_MAX: u64 = 8;

#[derive(Debug)]
pub(super) struct Weighted {
    weights: Weights,
}

#[derive(Debug)]
enum Weights {
    Equal { count: u32 },
    Columns { columns: Box<[Column]>, weights: Box<[u32]> },
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// The share of the column, of 2³², that is its own.
    threshold: u32,
    /// The index that has the rest.
    alias: u32,
}

impl Weighted {
    /// A weight of 0 counts as 1.
    pub fn new(weights: impl Iterator<Item = u32>) -> Weighted {
        let weights: Box<[u32]> = weights.map(|weight| weight.max(1)).collect();
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        Weighted {
            weights: match equal {
                true => Weights::Equal { count: u32::try_from(weights.len()).unwrap_or(u32::MAX) },
                false => Weights::Columns { columns: columns(&weights), weights },
            },
        }
    }

    pub fn len(&self) -> usize {
        match &self.weights {
            Weights::Equal { count } => *count as usize,
            Weights::Columns { columns, .. } => columns.len(),
        }
    }

    pub fn weight(&self, index: usize) -> u32 {
        match &self.weights {
            Weights::Equal { .. } => 1,
            Weights::Columns { weights, .. } => weights.get(index).copied().unwrap_or(1),
        }
    }

    /// Any index; `None` where there is none.
    pub fn draw(&self, random: u64) -> Option<usize> {
        match &self.weights {
            Weights::Equal { count: 0 } => None,
            Weights::Equal { count } => Some(below(random, *count) as usize),
            Weights::Columns { columns, .. } => {
                let at = below(random, columns.len() as u32);
                let column = columns.get(at as usize)?;
                Some(if random as u32 <= column.threshold { at } else { column.alias } as usize)
            }
        }
    }

    /// An index that is not among `excluded`, in proportion to the weights of those left; `None` where none is left.
    pub fn draw_except(&self, excluded: &[u32], random: u64) -> Option<usize> {
        if excluded.is_empty() {
            return self.draw(random);
        }
        let draws = (0..DRAWS_MAX).map(|at| self.draw(mix(random.wrapping_add(at))));
        draws.flatten().find(|index| !is_tried(excluded, *index)).or_else(|| self.walk_except(excluded, mix(!random)))
    }

    /// The same by walking all: the excluded ones have nearly all the weight, or are nearly all.
    fn walk_except(&self, excluded: &[u32], random: u64) -> Option<usize> {
        let left = || (0..self.len()).filter(|index| !is_tried(excluded, *index));
        let total: u64 = left().map(|index| u64::from(self.weight(index))).sum();
        let mut rest = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        left().find(|index| {
            let weight = u64::from(self.weight(*index));
            let here = rest < weight;
            rest = rest.saturating_sub(weight);
            here
        })
    }
}

/// Fills the columns: each index that has less than a column's worth is topped up by one that has more.
fn columns(weights: &[u32]) -> Box<[Column]> {
    let count = weights.len() as u128;
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    // What each index still has to give, where a column holds `total`.
    let mut left: Vec<u128> = weights.iter().map(|weight| u128::from(*weight) * count).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..weights.len() as u32).partition(|index| left[*index as usize] < total);
    let mut columns: Box<[Column]> =
        (0..weights.len() as u32).map(|alias| Column { threshold: u32::MAX, alias }).collect();
    while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
        let own = left[poor as usize];
        columns[poor as usize] = Column { threshold: ((own << 32) / total) as u32, alias: rich };
        left[rich as usize] -= total - own;
        if left[rich as usize] < total {
            large.pop();
            small.push(rich);
        }
    }
    columns
}
