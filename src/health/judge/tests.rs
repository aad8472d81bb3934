//! A small world of endpoints that serve, fail and are probed, before the judge.

use super::*;
use crate::upstream::EndpointState;

const LOOK: Duration = Duration::from_millis(250);

struct World {
    judge: Judge,
    settings: HealthSettings,
    now: Instant,
    sights: Vec<Sight>,
    /// By endpoint: what part of its requests fails.
    failing: Vec<f64>,
    /// Requests that are spread in each look.
    load: f64,
    /// Requests of each endpoint that are due and not yet whole.
    due: Vec<f64>,
    random: u64,
}

impl World {
    fn new(endpoints: u32, load: f64, settings: HealthSettings) -> World {
        let sight = |id| Sight { id, weight: 1, counts: OutcomeCounts::default(), streaks: Streaks::default() };
        let sights: Vec<Sight> = (0..endpoints).map(sight).collect();
        let mut judge = Judge::default();
        let now = Instant(1);
        sights.iter().for_each(|sight| judge.admit(now, &settings, sight, false));
        let count = endpoints as usize;
        World { judge, settings, now, sights, failing: vec![0.0; count], load, due: vec![0.0; count], random: 1 }
    }

    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    fn weight(&self, index: usize) -> f64 {
        let case = self.judge.case(self.sights[index].id).unwrap();
        if case.is_serving() { f64::from(case.standing().share) } else { 0.0 }
    }

    /// Spreads requests as a balancer would, and looks.
    fn step(&mut self) -> Vec<Event> {
        self.now = self.now + LOOK;
        let weights: Vec<f64> = (0..self.sights.len()).map(|index| self.weight(index)).collect();
        let all: f64 = weights.iter().sum();
        for (index, weight) in weights.into_iter().enumerate() {
            self.due[index] += if all > 0.0 { self.load * weight / all } else { 0.0 };
            while self.due[index] >= 1.0 {
                self.due[index] -= 1.0;
                let fails = self.chance() < self.failing[index];
                let sight = &mut self.sights[index];
                sight.counts.attempts += 1;
                sight.counts.gateway_failures += u64::from(fails);
                let streak = if fails { sight.streaks.gateway + 1 } else { 0 };
                sight.streaks = Streaks { gateway: streak, server_error: streak, unconnected: 0 };
            }
        }
        let events = self.judge.look(self.now, &self.settings, &self.sights);
        for event in &events {
            if let Event::Ejected { id, .. } | Event::Probation { id, .. } = event {
                self.sights[*id as usize].streaks = Streaks::default();
            }
        }
        events
    }

    fn run(&mut self, seconds: u32) -> Vec<Event> {
        (0..seconds * 4).flat_map(|_| self.step()).collect()
    }

    fn state(&self, id: u32) -> EndpointState {
        self.judge.case(id).unwrap().state()
    }

    fn serving(&self) -> usize {
        self.sights.iter().filter(|sight| self.state(sight.id) == EndpointState::Serving).count()
    }
}

/// As the file has it where it says nothing.
fn defaults() -> HealthSettings {
    let outlier = OutlierSettings {
        consecutive_gateway: 5,
        consecutive_connect: 3,
        failure_rate_above: Some(0.3),
        ..OutlierSettings::default()
    };
    HealthSettings { outlier, keep_needed: true, ..HealthSettings::default() }
}

#[test]
fn one_that_dies_is_out_within_a_second_and_back_a_while_after_it_works() {
    let mut world = World::new(3, 30.0, defaults());
    assert_eq!(world.run(20), []);
    world.failing[1] = 1.0;
    assert!(matches!(world.run(1)[..], [Event::Ejected { id: 1, cause: Cause::Gateway { .. }, .. }]));
    assert_eq!(world.state(1), EndpointState::Ejected);
    // It fails on probation, each time after twice as long.
    let ejected: Vec<u64> = world
        .run(100)
        .iter()
        .filter_map(|event| if let Event::Ejected { time, .. } = event { Some(time.as_secs()) } else { None })
        .collect();
    assert_eq!(ejected, [20, 40, 80]);
    world.failing[1] = 0.0;
    let events = world.run(120);
    assert!(events.contains(&Event::Returned { id: 1 }), "{events:?}");
    assert_eq!(world.judge.case(1).unwrap().standing(), crate::upstream::Standing::default());
    // What it did is forgiven in time.
    world.run(600);
    assert_eq!(world.judge.case(1).unwrap().ejections(), 0);
}

#[test]
fn one_that_fails_half_of_its_requests_is_found_by_comparison() {
    let mut world = World::new(5, 50.0, defaults());
    world.run(20);
    world.failing[4] = 0.5;
    let events = world.run(10);
    let found = events.iter().any(|event| matches!(event, Event::Ejected { id: 4, .. }));
    assert!(found && events.iter().all(|event| !matches!(event, Event::Ejected { id: 0..4, .. })), "{events:?}");
}

#[test]
fn where_all_fail_alike_some_are_kept_and_all_come_back() {
    let mut world = World::new(6, 60.0, defaults());
    world.run(20);
    world.failing = vec![1.0; 6];
    world.run(60);
    assert!(world.serving() >= 3, "half at most are ejected");
    world.failing = vec![0.0; 6];
    world.run(300);
    assert_eq!(world.serving(), 6);
    assert!((0..6).all(|id| world.judge.case(id).unwrap().standing() == crate::upstream::Standing::default()));
}

#[test]
fn probes_that_flap_do_not_take_what_the_load_needs() {
    let mut world = World::new(10, 200.0, defaults());
    world.run(20);
    for _ in 0..400 {
        for id in 0..10 {
            let down = ProbeVerdict::Down { reason: "timeout".to_owned() };
            let verdict = if world.chance() < 0.6 { down } else { ProbeVerdict::Up };
            world.judge.probed(id, verdict);
        }
        world.step();
        assert!(world.serving() >= 5, "{} serve: each would carry more than twice what it did", world.serving());
    }
    // Who fails closed has them obeyed.
    world.settings.keep_needed = false;
    for id in 0..10 {
        world.judge.probed(id, ProbeVerdict::Down { reason: "timeout".to_owned() });
    }
    world.step();
    assert_eq!(world.serving(), 0);
}

#[test]
fn probes_of_endpoints_that_are_dead_are_obeyed_at_any_load() {
    let mut world = World::new(4, 80.0, defaults());
    world.run(20);
    for id in 0..3 {
        world.failing[id as usize] = 1.0;
    }
    world.run(3);
    for id in 0..3 {
        world.judge.probed(id, ProbeVerdict::Down { reason: "refused".to_owned() });
    }
    world.step();
    assert_eq!((0..4).map(|id| world.state(id)).filter(|state| *state == EndpointState::Down).count(), 3);
}

#[test]
fn an_operator_goes_before_everything() {
    let mut world = World::new(2, 20.0, defaults());
    world.run(5);
    let settings = world.settings.clone();
    world.judge.operate(world.now, &settings, 0, Some(Operation::Drain));
    world.failing[0] = 1.0;
    world.run(20);
    assert_eq!(world.state(0), EndpointState::Draining);
    world.judge.operate(world.now, &settings, 0, None);
    assert_eq!(world.state(0), EndpointState::Serving);
    assert!(!world.judge.operate(world.now, &settings, 7, None), "nobody knows it");
}

#[test]
fn the_breaker_counts_all_endpoints_together() {
    let breaker = BreakerSettings {
        failure_rate: Some(0.5),
        slow_rate: None,
        slow_after: Duration::from_secs(1),
        window: Duration::from_secs(10),
        requests_min: 20,
        reject_time: Duration::from_secs(5),
        probes: 5,
    };
    let mut world = World::new(3, 30.0, HealthSettings { breaker: Some(breaker), ..HealthSettings::default() });
    world.failing = vec![0.6; 3];
    let turned = |events: Vec<Event>| -> Vec<BreakerState> {
        let state = |event| if let Event::Breaker { state } = event { Some(state) } else { None };
        events.into_iter().filter_map(state).collect()
    };
    assert_eq!(turned(world.run(2)), [BreakerState::Reject]);
    world.load = 0.0;
    assert_eq!(turned(world.run(5)), [BreakerState::Probe]);
    (world.load, world.failing) = (5.0, vec![0.0; 3]);
    assert_eq!(turned(world.run(2)), [BreakerState::Admit]);
    world.settings.breaker = None;
    assert_eq!(turned(world.run(1)), []);
}
