//! What a reload may not change, and what is done at once.

use super::ward::Ward;
use super::*;
use crate::control::config::{compile, load_text};
use crate::upstream::{EndpointState, OutcomeClass, Registry, Standing};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A snapshot with one upstream of these endpoints, and more keys.
fn snapshot(registry: &mut Registry, generation: u64, ports: &BTreeSet<u16>, keys: &str) -> Snapshot {
    let endpoints: Vec<String> = ports.iter().map(|port| format!("\"10.0.0.1:{port}\"")).collect();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"app\"\n[upstream.app]\nendpoints = [{}]\n{keys}\n",
        endpoints.join(", ")
    );
    let loaded = load_text("test.toml", &text, &|_, _| Ok(Vec::new())).unwrap_or_else(|report| panic!("{report}"));
    compile(loaded.settings, registry, generation)
}

#[derive(Clone, Debug)]
enum Step {
    /// Another table, from a file or a feed, and whether its settings are others too.
    Table(BTreeSet<u16>, bool),
    Attempts(u16, OutcomeClass, u8),
    Look(u16),
    Wish(u16, Wish),
    Probe(u16, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let port = || 1u16..9;
    let class = prop_oneof![
        3 => Just(OutcomeClass::Success),
        2 => Just(OutcomeClass::Gateway),
        1 => Just(OutcomeClass::ServerError),
        2 => Just(OutcomeClass::Unconnected),
    ];
    let wish = prop_oneof![
        Just(Wish::Operate(Operation::Drain)),
        Just(Wish::Operate(Operation::Disable)),
        Just(Wish::Return),
        (0u16..5).prop_map(|weight| Wish::Weigh(Some(weight))),
    ];
    let step = prop_oneof![
        3 => (prop::collection::btree_set(port(), 1..8), any::<bool>()).prop_map(|(ports, other)| Step::Table(ports, other)),
        6 => (port(), class, 1u8..40).prop_map(|(port, class, count)| Step::Attempts(port, class, count)),
        6 => (0u16..5_000).prop_map(Step::Look),
        1 => (port(), wish).prop_map(|(port, wish)| Step::Wish(port, wish)),
        1 => (port(), any::<bool>()).prop_map(|(port, up)| Step::Probe(port, up)),
    ];
    prop::collection::vec(step, 1..60)
}

/// All that is known of an endpoint, as text, and how workers see it.
fn known(ward: &Ward, endpoint: &EndpointIdentity) -> Option<(String, Standing)> {
    let case = ward.judge.case(endpoint.id)?;
    Some((format!("{case:?}"), endpoint.condition.load()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever tables come and go, what is known of an endpoint stays as it was through each of them: of one that is in
    /// both tables, and of one that had left and comes back while there is something to remember.
    #[test]
    fn no_table_changes_what_is_known_of_an_endpoint(steps in steps()) {
        const OTHER: &str = "outlier_consecutive_gateway = 2\nslow_start = \"5s\"\nretries = 1";
        let mut registry = Registry::new(2);
        let mut now = Instant(1);
        let all: BTreeSet<u16> = (1..9).collect();
        let mut table = snapshot(&mut registry, 1, &all, "slow_start = \"20s\"");
        let mut ward = Ward::new(&table.upstreams[0]);
        ward.follow(now, &table.upstreams[0]);
        let mut remembered: HashMap<String, (String, Standing)> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let upstream = &table.upstreams[0];
            let of = |port: u16| upstream.endpoints.iter().find(|of| of.identity.address.port() == Some(port));
            match step {
                Step::Attempts(port, class, count) => {
                    let Some(of) = of(port) else { continue };
                    for worker in 0..usize::from(count) {
                        of.identity.outcomes.note(worker % 2, class, None, &upstream.rule);
                    }
                }
                Step::Look(millis) => {
                    now = now + Duration::from_millis(u64::from(millis));
                    ward.look(now, upstream);
                }
                Step::Wish(port, wish) => {
                    let Some(of) = of(port) else { continue };
                    ward.wish(now, upstream, of.identity.id, wish);
                    ward.look(now, upstream);
                }
                Step::Probe(port, up) => {
                    let Some(of) = of(port) else { continue };
                    let down = ProbeVerdict::Down { reason: "no answer".to_owned() };
                    ward.probed(of.identity.id, if up { ProbeVerdict::Up } else { down });
                    ward.look(now, upstream);
                }
                Step::Table(ports, other) => {
                    for of in &upstream.endpoints {
                        let worth = ward.judge.case(of.identity.id).is_some_and(|case| case.is_worth_keeping());
                        let stays = of.identity.address.port().is_some_and(|port| ports.contains(&port));
                        if let Some(known) = known(&ward, &of.identity).filter(|_| worth || stays) {
                            remembered.insert(of.identity.address.to_string(), known);
                        } else {
                            remembered.remove(&of.identity.address.to_string());
                        }
                    }
                    let new = snapshot(&mut registry, number as u64 + 2, &ports, if other { OTHER } else { "" });
                    ward.follow(now, &new.upstreams[0]);
                    ward.show(&new.upstreams[0]);
                    table = new;
                    for of in &table.upstreams[0].endpoints {
                        if let Some(before) = remembered.remove(&of.identity.address.to_string()) {
                            prop_assert_eq!(known(&ward, &of.identity), Some(before), "{}", of.identity.address);
                        }
                    }
                }
            }
        }
    }
}

fn on_control(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let in_time = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    runtime.block_on(in_time).expect("the test ends in time");
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

fn in_force(keys: &str) -> Arc<Published> {
    Arc::new(Published::new(snapshot(&mut Registry::new(1), 1, &(1..4).collect(), keys)))
}

#[test]
fn a_ring_is_acted_on_at_once() {
    on_control(async {
        let published = in_force("");
        let verdicts = Verdicts::new(published.clone());
        let judging = verdicts.clone();
        tokio::spawn(async move { judging.run().await });
        let table = published.load();
        let upstream = &table.upstreams[0];
        let first = &upstream.endpoints[0].identity;
        // The task has begun, and hears.
        until(|| published.bell.hear().is_ok()).await;
        tokio::task::yield_now().await;
        let crossed: Vec<bool> =
            (0..3).map(|_| first.outcomes.note(0, OutcomeClass::Unconnected, None, &upstream.rule)).collect();
        assert_eq!(crossed, [false, false, true]);
        upstream.identity.alarm.store(true, Ordering::Relaxed);
        published.bell.ring();
        until(|| first.condition.load().state == EndpointState::Ejected).await;
        assert_eq!(first.outcomes.streaks().unconnected, 0);
        assert_eq!(upstream.plan.load().weight(0), 0, "the plan has followed");
    });
}

#[test]
fn what_probes_and_operators_say_is_acted_on_at_once() {
    let published = in_force("");
    let verdicts = Verdicts::new(published.clone());
    let table = published.load();
    let first = &table.upstreams[0].endpoints[0].identity;
    let state = || first.condition.load().state;
    verdicts.probed(first, ProbeVerdict::Down { reason: "refused".to_owned() });
    verdicts.look(true);
    assert_eq!(state(), EndpointState::Down);
    assert_eq!(verdicts.view()[0].endpoints[0].why, "its probes fail: refused");
    verdicts.wish("app", "10.0.0.1:1", Wish::Operate(Operation::Drain)).unwrap();
    assert_eq!(state(), EndpointState::Draining, "an operator goes before a probe");
    verdicts.probed(first, ProbeVerdict::Up);
    verdicts.look(true);
    assert_eq!(state(), EndpointState::Draining);
    verdicts.wish("app", "10.0.0.1:1", Wish::Return).unwrap();
    assert_eq!(first.condition.load(), Standing::default());
    assert_eq!(verdicts.wish("app", "10.0.0.9:1", Wish::Return), Err(Unknown::Endpoint));
    assert_eq!(verdicts.wish("web", "10.0.0.1:1", Wish::Return), Err(Unknown::Upstream));
}

#[test]
fn a_new_endpoint_starts_slowly_where_others_serve_already() {
    let mut registry = Registry::new(1);
    let keys = "slow_start = \"1h\"";
    let published = Arc::new(Published::new(snapshot(&mut registry, 1, &[1].into(), keys)));
    let verdicts = Verdicts::new(published.clone());
    let shares = |table: &Snapshot| -> Vec<u16> {
        table.upstreams[0].endpoints.iter().map(|of| of.identity.condition.load().share).collect()
    };
    assert_eq!(shares(&published.load()), [1000], "nobody else is there");
    let next = snapshot(&mut registry, 2, &[1, 2].into(), keys);
    verdicts.follow(&next);
    assert_eq!(shares(&next), [1000, 100], "before it is published");
}
