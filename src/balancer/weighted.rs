//! A draw in proportion to weights, which most algorithms share.
//!
//! The alias method (Walker 1977, built as in Vose 1991): every column holds its own place up to a threshold and one other
//! place above it, so a draw is one column and one comparison however many weights there are. O(n) to build, 8 bytes a
//! place; nothing at all where the weights are equal. Not for weights that change: each change builds it anew, off the
//! workers.

use super::below;

#[derive(Debug)]
pub(super) enum Weighted {
    Equal { count: u32 },
    Columns(Box<[Column]>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// The share of the column, of 2³², that is its own.
    threshold: u32,
    /// The place that has the rest.
    alias: u32,
}

impl Weighted {
    /// Of as many places as there are weights, each at least 1.
    pub fn new(weights: &[u32]) -> Weighted {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Weighted::Equal { count: u32::try_from(weights.len()).unwrap_or(u32::MAX) };
        }
        Weighted::Columns(columns(weights))
    }

    pub fn is_equal(&self) -> bool {
        matches!(self, Weighted::Equal { .. })
    }

    /// Any place; `None` where there is none.
    #[inline]
    pub fn draw(&self, random: u64) -> Option<usize> {
        match self {
            Weighted::Equal { count: 0 } => None,
            Weighted::Equal { count } => Some(below(random, *count) as usize),
            Weighted::Columns(columns) => {
                let at = below(random, columns.len() as u32);
                let column = columns.get(at as usize)?;
                Some(if random as u32 <= column.threshold { at } else { column.alias } as usize)
            }
        }
    }
}

/// Fills the columns: each place that has less than a column's worth is topped up by one that has more.
fn columns(weights: &[u32]) -> Box<[Column]> {
    let count = weights.len() as u128;
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum::<u128>().max(1);
    // What each place still has to give, where a column holds `total`.
    let mut left: Vec<u128> = weights.iter().map(|weight| u128::from(*weight) * count).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..weights.len() as u32).partition(|place| left[*place as usize] < total);
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
