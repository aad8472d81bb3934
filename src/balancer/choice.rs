//! The best of a few endpoints that chance proposes in proportion to weight: what `least_request`, `peak_ewma` and
//! `least_time` share. As many choices as there are endpoints, or more, means that all are looked at.

use super::mix;
use super::plan::{Group, Plan};

/// Draws a first endpoint by weight and lets others challenge it. `load` is asked once for each that is looked at;
/// `beats` says whether the first of two loads is clearly lower, so that a tie leaves the draw by weight as it is.
#[inline]
pub(super) fn best<L: Copy>(
    plan: &Plan,
    group: &Group,
    tried: &[u32],
    random: u64,
    load: impl Fn(usize) -> L,
    beats: impl Fn(L, L) -> bool,
) -> Option<usize> {
    let first = group.draw_except(plan, tried, random)?;
    let choices = plan.policy.choices as usize;
    let mut best = (first, load(first));
    let mut challenge = |index: usize| {
        let challenger = load(index);
        if beats(challenger, best.1) {
            best = (index, challenger);
        }
    };
    if choices >= group.members.len().max(3) {
        all_from(group, first, tried, random).for_each(&mut challenge);
        return Some(best.0);
    }
    let mut random = random;
    for _ in 1..choices {
        random = mix(random);
        if let Some(other) = group.draw_other(first, tried, random) {
            challenge(other);
        }
    }
    Some(best.0)
}

/// All others, beginning anywhere: who comes first among equals is nobody's right.
fn all_from<'a>(group: &'a Group, first: usize, tried: &'a [u32], random: u64) -> impl Iterator<Item = usize> + 'a {
    let count = group.members.len();
    let start = super::below(mix(random), u32::try_from(count).unwrap_or(u32::MAX)) as usize;
    let (after, before) = (group.members.get(start..), group.members.get(..start));
    let all = after.into_iter().chain(before).flatten().map(|index| *index as usize);
    all.filter(move |index| *index != first && !super::is_tried(tried, *index))
}
