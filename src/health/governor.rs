//! The governor: how much of an upstream may be taken out of service, whatever the evidence against its endpoints. Health
//! checks that flap together have taken down more services than broken endpoints have; what is left must carry the load.
//!
//! An endpoint counts with the part of its weight that is useful: one that fails every request carries nothing, and taking
//! it out costs nothing. The load is measured (answers a second), and so is what endpoints carry well: the highest load for
//! each unit of weight over ten minutes in which nothing failed. A removal may not bring the others above `load_max` times
//! that. Beside it: at most `eject_max` of the endpoints, a tenth of them (and one) in a second, never the last one, and none
//! that works while the others say that they are overloaded.
//!
//! Bound: the load of a working upstream never exceeds `load_max` times what it was seen to carry, by any removal. What
//! endpoints could carry beyond is not known, and not guessed.

use super::outlier::OutlierSettings;
use crate::base::Instant;
use std::fmt;

/// What an upstream has in service at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// All endpoints, in service or not.
    pub endpoints: usize,
    pub serving: usize,
    pub ejected: usize,
    /// The useful weight of those that serve.
    pub capacity: f64,
    /// Good answers a second.
    pub load: f64,
    /// There is so much traffic that the load means something.
    pub is_loaded: bool,
    /// The part of attempts, 0 to 1, that was answered with a request to be spared.
    pub overloads: f64,
    /// The part of attempts, 0 to 1, that failed.
    pub failures: f64,
}

/// Why an endpoint is kept although it should go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    Last,
    Most { ejected: usize, endpoints: usize },
    Load { after: f64, carried: f64 },
    Overload { part: f64 },
    Pace,
}

impl Hold {
    /// The value of the metric's label `reason`.
    pub const fn name(self) -> &'static str {
        Hold::NAMES[self.index()]
    }

    pub const NAMES: [&'static str; 5] = ["last", "eject_max", "load", "overload", "pace"];

    pub const fn index(self) -> usize {
        match self {
            Hold::Last => 0,
            Hold::Most { .. } => 1,
            Hold::Load { .. } => 2,
            Hold::Overload { .. } => 3,
            Hold::Pace => 4,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Last => f.write_str("no other endpoint is in service"),
            Hold::Most { ejected, endpoints } => {
                write!(f, "{ejected} of {endpoints} endpoints are ejected already (`outlier_eject_max`)")
            }
            Hold::Load { after, carried } => {
                let times = after / carried.max(f64::MIN_POSITIVE);
                write!(f, "the others would have to carry {times:.1} times what they were seen to carry well")
            }
            Hold::Overload { part } => write!(f, "the others are overloaded ({:.0} % of answers say so)", part * 100.0),
            Hold::Pace => f.write_str("others have just been taken out; it is next"),
        }
    }
}

/// Minutes for which a load that was carried well is remembered.
const MINUTES: usize = 10;
const MINUTE: u64 = 60_000_000_000;
const SECOND: u64 = 1_000_000_000;
/// An upstream of which more fails, or asks to be spared, carries its load badly.
const FAILURES_WELL_MAX: f64 = 0.05;
const OVERLOADS_WELL_MAX: f64 = 0.01;
/// Above this the others are overloaded.
const OVERLOADS_MAX: f64 = 0.1;
/// An endpoint that answers less of its requests well is of no use: neither load nor overload keeps it.
const USEFUL_MIN: f64 = 0.1;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Governor {
    /// The highest load for each unit of capacity, minute by minute; and the newest minute.
    peaks: [f64; MINUTES],
    minute: u64,
    /// A second, and the removals in it.
    removals: (u64, usize),
}

/// Who should go.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// What it adds to [`Room::capacity`].
    pub capacity: f64,
    /// The part of its requests that it answers well, 0 to 1.
    pub useful: f64,
}

impl Governor {
    /// Learns what is carried well. To be called with each look.
    pub fn note(&mut self, now: Instant, room: &Room) {
        let minute = now.0 / MINUTE;
        for passed in 0..minute.saturating_sub(self.minute).min(MINUTES as u64) {
            self.peaks[((minute - passed) % MINUTES as u64) as usize] = 0.0;
        }
        self.minute = minute;
        let well = room.failures <= FAILURES_WELL_MAX && room.overloads <= OVERLOADS_WELL_MAX;
        let whole = room.serving == room.endpoints || self.carried() == 0.0;
        if well && whole && room.capacity > 0.0 {
            let peak = &mut self.peaks[(minute % MINUTES as u64) as usize];
            *peak = peak.max(room.load / room.capacity);
        }
    }

    /// The highest load for each unit of capacity that was carried well lately.
    pub fn carried(&self) -> f64 {
        self.peaks.iter().copied().fold(0.0, f64::max)
    }

    /// Whether what is in service carries more than `load_max` allows: then somebody who was taken out is needed.
    pub fn is_short(&self, settings: &OutlierSettings, room: &Room) -> bool {
        let carried = self.carried();
        room.is_loaded && carried > 0.0 && room.load > settings.load_max * carried * room.capacity
    }

    /// Whether an endpoint may be ejected. If so it is out of `room`.
    pub fn eject(
        &mut self,
        now: Instant,
        settings: &OutlierSettings,
        room: &mut Room,
        candidate: Candidate,
    ) -> Result<(), Hold> {
        let most = (settings.eject_max * room.endpoints as f64).ceil() as usize;
        if room.serving <= 1 {
            return Err(Hold::Last);
        }
        if room.ejected >= most {
            return Err(Hold::Most { ejected: room.ejected, endpoints: room.endpoints });
        }
        self.spare(settings, room, candidate)?;
        let second = now.0 / SECOND;
        if self.removals.0 != second {
            self.removals = (second, 0);
        }
        if self.removals.1 >= (room.endpoints / 10).max(1) {
            return Err(Hold::Pace);
        }
        self.removals.1 += 1;
        room.ejected += 1;
        remove(room, candidate);
        Ok(())
    }

    /// Whether an endpoint whose probes fail may be taken down. If so it is out of `room`.
    pub fn take_down(&self, settings: &OutlierSettings, room: &mut Room, candidate: Candidate) -> Result<(), Hold> {
        self.spare(settings, room, candidate)?;
        remove(room, candidate);
        Ok(())
    }

    /// Whether the load can spare it.
    fn spare(&self, settings: &OutlierSettings, room: &Room, candidate: Candidate) -> Result<(), Hold> {
        if !room.is_loaded || candidate.useful < USEFUL_MIN {
            return Ok(());
        }
        if room.overloads >= OVERLOADS_MAX {
            return Err(Hold::Overload { part: room.overloads });
        }
        let left = room.capacity - candidate.capacity;
        let now = room.load / room.capacity.max(f64::MIN_POSITIVE);
        let carried = match self.carried() {
            0.0 => now,
            carried => carried,
        };
        let after = if left > 0.0 { room.load / left } else { f64::INFINITY };
        // A little above is rounding.
        if after > settings.load_max * carried * 1.001 { Err(Hold::Load { after, carried }) } else { Ok(()) }
    }
}

fn remove(room: &mut Room, candidate: Candidate) {
    room.serving = room.serving.saturating_sub(1);
    room.capacity = (room.capacity - candidate.capacity).max(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(eject_max: f64, load_max: f64) -> OutlierSettings {
        OutlierSettings { eject_max, load_max, ..OutlierSettings::default() }
    }

    fn room(endpoints: usize, load: f64) -> Room {
        let capacity = endpoints as f64;
        Room { endpoints, serving: endpoints, capacity, load, is_loaded: load > 0.0, ..Room::default() }
    }

    const WORKS: Candidate = Candidate { capacity: 1.0, useful: 1.0 };
    const DEAD: Candidate = Candidate { capacity: 0.0, useful: 0.0 };

    /// Each removal a second after the one before.
    fn ejected(settings: &OutlierSettings, room: &mut Room, governor: &mut Governor, who: Candidate) -> (usize, Hold) {
        for count in 0.. {
            let now = Instant(MINUTE + count as u64 * SECOND);
            if let Err(hold) = governor.eject(now, settings, room, who) {
                return (count, hold);
            }
        }
        unreachable!("the last one is kept")
    }

    #[test]
    fn at_its_highest_load_half_can_be_spared_and_at_a_quarter_of_it_more() {
        let mut governor = Governor::default();
        let all = settings(1.0, 2.0);
        governor.note(Instant(MINUTE), &room(8, 800.0));
        let (count, hold) = ejected(&all, &mut room(8, 800.0), &mut governor.clone(), WORKS);
        assert!(count == 4 && matches!(hold, Hold::Load { .. }), "{count} {hold:?}");
        let (count, hold) = ejected(&all, &mut room(8, 200.0), &mut governor, WORKS);
        assert!(count == 7 && matches!(hold, Hold::Last | Hold::Load { .. }), "{count} {hold:?}");
    }

    #[test]
    fn what_is_of_no_use_can_be_spared_at_any_load_but_not_the_last() {
        let mut dead = Room { capacity: 1.0, ..room(4, 1_000.0) };
        assert_eq!(ejected(&settings(1.0, 1.0), &mut dead, &mut Governor::default(), DEAD), (3, Hold::Last));
    }

    #[test]
    fn no_more_than_the_file_says_and_none_at_an_overload() {
        let half = settings(0.5, 100.0);
        let (count, hold) = ejected(&half, &mut room(5, 0.0), &mut Governor::default(), WORKS);
        assert_eq!((count, hold), (3, Hold::Most { ejected: 3, endpoints: 5 }), "half of five is three");
        let mut overloaded = Room { overloads: 0.2, ..room(4, 100.0) };
        let (count, hold) = ejected(&half, &mut overloaded, &mut Governor::default(), WORKS);
        assert_eq!((count, hold), (0, Hold::Overload { part: 0.2 }));
    }

    #[test]
    fn removals_have_a_pace() {
        let (mut governor, mut room) = (Governor::default(), room(30, 0.0));
        let mut count = |at| {
            let one = |_: &usize| governor.eject(Instant(at), &settings(1.0, 100.0), &mut room, WORKS).is_ok();
            (0..10).take_while(one).count()
        };
        assert_eq!([count(SECOND), count(SECOND + 1), count(2 * SECOND)], [3, 0, 3]);
    }

    #[test]
    fn what_was_carried_is_forgotten_after_ten_minutes() {
        let mut governor = Governor::default();
        governor.note(Instant(MINUTE), &room(2, 10.0));
        governor.note(Instant(5 * MINUTE), &room(2, 4.0));
        assert_eq!(governor.carried(), 5.0);
        governor.note(Instant(11 * MINUTE), &room(2, 1.0));
        assert_eq!(governor.carried(), 2.0);
        governor.note(Instant(100 * MINUTE), &Room { failures: 0.5, ..room(2, 8.0) });
        assert_eq!(governor.carried(), 0.0, "that was not well");
    }

    #[test]
    fn a_load_that_grows_calls_back_who_was_ejected() {
        let mut governor = Governor::default();
        let settings = settings(0.5, 2.0);
        governor.note(Instant(MINUTE), &room(4, 100.0));
        let half = |load| Room { serving: 2, ejected: 2, capacity: 2.0, ..room(4, load) };
        governor.note(Instant(MINUTE + SECOND), &half(150.0));
        assert_eq!(governor.carried(), 25.0, "what is not whole proves nothing");
        assert!(!governor.is_short(&settings, &half(100.0)) && governor.is_short(&settings, &half(101.0)));
    }

    proptest! {
        /// Whatever is asked, what is left carries the load within the bound.
        #[test]
        fn the_load_is_always_carried(
            weights in prop::collection::vec(1.0f64..20.0, 1..40),
            load in 1.0f64..1_000.0,
            now in 0.05f64..1.0,
            asked in prop::collection::vec((0usize..40, any::<bool>()), 1..100),
            load_max in 1.0f64..4.0,
        ) {
            let mut governor = Governor::default();
            let settings = settings(1.0, load_max);
            let capacity: f64 = weights.iter().sum();
            let mut room = Room { capacity, ..room(weights.len(), load) };
            governor.note(Instant(MINUTE), &room);
            let carried = governor.carried();
            room.load *= now;
            let mut out = vec![false; weights.len()];
            for (step, (index, by_probe)) in asked.into_iter().enumerate() {
                let Some(weight) = weights.get(index).filter(|_| !out[index]) else { continue };
                let who = Candidate { capacity: *weight, useful: 1.0 };
                let gone = match by_probe {
                    true => governor.take_down(&settings, &mut room, who).is_ok(),
                    false => governor.eject(Instant(step as u64 * SECOND), &settings, &mut room, who).is_ok(),
                };
                out[index] |= gone;
            }
            let left: f64 = weights.iter().zip(&out).filter(|(_, out)| !**out).map(|(weight, _)| weight).sum();
            prop_assert!(left > 0.0);
            prop_assert!(load * now / left <= load_max * carried * 1.002, "{left} of {capacity}");
        }
    }
}
