//! How traffic is divided between groups of endpoints: by priority, by zone, and backups last.
//!
//! The idea, as in Envoy: a level takes all traffic while it has a little more capacity than needed; below that, what it
//! cannot take goes to the next level. With an overprovisioning factor of 140 %, a level whose endpoints serve with 72 % of
//! their weight or more takes everything, one with 50 % takes 70 %. Where no levels together have enough, each takes in
//! proportion to what it has. Within a level the gateway's own zone is a level of its own, before all other zones. Backups
//! get something only where nothing else is available.
//!
//! The bound: the capacity that is asked of a level, for each unit that it has, rises by at most the factor. Not where
//! endpoints are sized to the last percent: there a lower factor spills earlier.

/// Thousandths in one.
pub const ONE: u32 = 1000;
/// All traffic.
pub(super) const WHOLE: u64 = 1 << 32;

/// What a group of endpoints can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// A level by itself; in the order in which they are preferred.
    pub rank: Rank,
    /// The sum of the weights of all its endpoints.
    pub whole: u64,
    /// The part of it that can be picked now; at most `whole`.
    pub available: u64,
}

/// What is preferred to what, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub backup: bool,
    pub priority: u8,
    /// Not of the gateway's own zone.
    pub remote: bool,
}

impl Rank {
    fn level(self) -> (bool, u8) {
        (self.backup, self.priority)
    }
}

/// The share of all traffic that each group gets, of [`WHOLE`]. `groups` are in the order of their ranks, each rank once;
/// `overprovisioning` is in thousandths. The sum is [`WHOLE`] unless nothing is available.
pub(super) fn shares(groups: &[Capacity], overprovisioning: u32) -> Vec<u64> {
    let levels: Vec<&[Capacity]> = groups.chunk_by(|a, b| a.rank.level() == b.rank.level()).collect();
    let of_levels = level_shares(&levels, overprovisioning);
    let mut shares = Vec::with_capacity(groups.len());
    for (level, share) in levels.iter().zip(of_levels) {
        match level {
            [near, far] => {
                let kept = scaled(share, zone_share(*near, *far, overprovisioning));
                shares.extend([kept, share - kept]);
            }
            _ => shares.extend(level.iter().map(|_| share)),
        }
    }
    shares
}

fn level_shares(levels: &[&[Capacity]], overprovisioning: u32) -> Vec<u64> {
    let is_backup = |level: &[Capacity]| level.first().is_some_and(|group| group.rank.backup);
    let sum = |level: &[Capacity], of: fn(&Capacity) -> u64| level.iter().map(of).sum::<u64>();
    let healths: Vec<u64> = levels
        .iter()
        .map(|level| health(sum(level, |group| group.available), sum(level, |group| group.whole), overprovisioning))
        .collect();
    let regular = levels.iter().zip(&healths).any(|(level, health)| !is_backup(level) && *health > 0);
    let counted = |at: usize| if is_backup(levels[at]) == regular { 0 } else { healths[at] };
    let total: u64 = (0..levels.len()).map(counted).sum();
    let mut left = WHOLE;
    let mut shares: Vec<u64> = (0..levels.len())
        .map(|at| {
            // Where all of them together have too little, each is asked for more than it has.
            let part =
                if total < WHOLE { (u128::from(counted(at)) << 32).checked_div(u128::from(total)) } else { None };
            let share = part.map_or(counted(at), |part| part as u64).min(left);
            left -= share;
            share
        })
        .collect();
    // What rounding has left over goes where something is.
    if total > 0
        && let Some(share) = shares.iter_mut().find(|share| **share > 0)
    {
        *share += left;
    }
    shares
}

/// What of a level's traffic stays in the gateway's own zone, of [`WHOLE`].
fn zone_share(near: Capacity, far: Capacity, overprovisioning: u32) -> u64 {
    if far.available == 0 { WHOLE } else { health(near.available, near.whole, overprovisioning) }
}

/// How much of the traffic that it is there for a group can take, of [`WHOLE`]. Not 0 where anything is available.
fn health(available: u64, whole: u64, overprovisioning: u32) -> u64 {
    let parts = (u128::from(available) * u128::from(overprovisioning)) << 32;
    let health = parts / (u128::from(whole.max(1)) * u128::from(ONE));
    let least = u64::from(available > 0);
    (health.min(u128::from(WHOLE)) as u64).max(least)
}

fn scaled(share: u64, by: u64) -> u64 {
    ((u128::from(share) * u128::from(by)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(backup: bool, priority: u8, remote: bool, available: u64, whole: u64) -> Capacity {
        Capacity { rank: Rank { backup, priority, remote }, whole, available }
    }

    fn percent(groups: &[Capacity]) -> Vec<u64> {
        shares(groups, 1400).into_iter().map(|share| (share * 100 + WHOLE / 2) / WHOLE).collect()
    }

    #[test]
    fn a_level_spills_when_it_has_too_little() {
        let of = |first, second| percent(&[group(false, 0, false, first, 100), group(false, 1, false, second, 100)]);
        // Those of the Envoy documentation, "Priority levels".
        assert_eq!(of(100, 100), [100, 0]);
        assert_eq!(of(72, 72), [100, 0]);
        assert_eq!(of(71, 71), [99, 1]);
        assert_eq!(of(50, 50), [70, 30]);
        assert_eq!(of(25, 100), [35, 65]);
        assert_eq!(of(25, 25), [50, 50]);
        assert_eq!(of(0, 100), [0, 100]);
        assert_eq!(of(0, 0), [0, 0]);
    }

    #[test]
    fn backups_get_something_only_where_nothing_else_is() {
        let of = |regular| percent(&[group(false, 0, false, regular, 100), group(true, 0, false, 10, 10)]);
        assert_eq!(of(100), [100, 0]);
        assert_eq!(of(1), [100, 0]);
        assert_eq!(of(0), [0, 100]);
    }

    #[test]
    fn the_own_zone_keeps_what_it_can_take() {
        let of = |near, far| percent(&[group(false, 0, false, near, 100), group(false, 0, true, far, 200)]);
        assert_eq!(of(100, 200), [100, 0]);
        assert_eq!(of(50, 200), [70, 30]);
        assert_eq!(of(0, 200), [0, 100]);
        assert_eq!(of(10, 0), [100, 0]);
    }

    proptest! {
        #[test]
        fn everything_goes_somewhere_and_nothing_to_nobody(
            parts in prop::collection::btree_map(
                (any::<bool>(), 0u8..4, any::<bool>()), (0u64..5000, 0u64..5000), 0..12),
            overprovisioning in 1000u32..3000,
        ) {
            let groups: Vec<Capacity> = parts
                .into_iter()
                .map(|((backup, priority, remote), (a, b))| group(backup, priority, remote, a.min(b), a.max(b)))
                .collect();
            let shares = shares(&groups, overprovisioning);
            let any = groups.iter().any(|group| group.available > 0);
            prop_assert_eq!(shares.iter().sum::<u64>(), if any { WHOLE } else { 0 });
            let regular = groups.iter().any(|group| !group.rank.backup && group.available > 0);
            for (group, share) in groups.iter().zip(&shares) {
                prop_assert!(group.available > 0 || *share == 0, "{:?} {:?}", groups, shares);
                prop_assert!(!(group.rank.backup && regular) || *share == 0, "{:?} {:?}", groups, shares);
            }
        }
    }
}
