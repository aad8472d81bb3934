//! The scenarios of `conf/scenarios` come out as they expect; the same seed gives the same figures.

use super::*;
use std::path::Path;

/// Those that a test without optimization has no time for.
const LARGE: [&str; 1] = ["ten-thousand.toml"];

fn scenarios() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/scenarios");
    let files = fs::read_dir(folder).expect("the scenarios are there").flatten();
    let mut found: Vec<(String, Scenario)> = files
        .map(|file| {
            let text = fs::read_to_string(file.path()).expect("a text");
            let scenario = Scenario::read(&text).unwrap_or_else(|why| panic!("{}: {why}", file.path().display()));
            (file.file_name().to_string_lossy().into_owned(), scenario)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[track_caller]
fn comes_out(name: &str) {
    let (_, scenario) = scenarios().into_iter().find(|(found, _)| found == name).expect("a scenario of this name");
    let outcomes = outcomes(&scenario).unwrap_or_else(|why| panic!("{why}"));
    let broken = outcome::broken(&scenario, &outcomes).unwrap_or_else(|why| panic!("{why}"));
    assert!(broken.is_empty(), "{broken:#?}\n{}", outcome::table(&outcomes));
}

macro_rules! come_out {
    ($($name:ident = $file:literal;)*) => {
        $(#[test] fn $name() { comes_out($file); })*
        const TESTED: &[&str] = &[$($file),*];
    };
}

come_out! {
    flapping_probes_keep_the_capacity_that_is_needed = "flapping-probes.toml";
    a_cold_start_is_slowed = "cold-start.toml";
    a_slow_endpoint_of_twenty_is_found = "slow-endpoint.toml";
    a_grey_failure_is_found = "grey-failure.toml";
    total_loss_is_recovered_from = "total-loss.toml";
    skew_is_beaten_as_theory_says = "skew.toml";
    the_loss_of_a_zone_is_borne = "zone-loss.toml";
}

#[test]
fn every_scenario_is_right_and_tested() {
    for (name, scenario) in scenarios() {
        assert!(TESTED.contains(&name.as_str()) || LARGE.contains(&name.as_str()), "{name} is not tested");
        for run in scenario.runs() {
            policy::upstream(&scenario, &run).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        assert!(!scenario.expect.is_empty(), "{name} expects nothing");
    }
}

fn small(seed: u64) -> Scenario {
    let text = "title = \"small\"\nduration = \"5s\"\ntraffic = { rate = 200 }\nendpoints = { count = 3, latency = \"10ms\" }\n\
                [[fault]]\nat = \"1s\"\nendpoints = 1\nfails = 0.3\n";
    Scenario { seed, ..Scenario::read(text).expect("a right scenario") }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let figures = |seed| {
        let scenario = small(seed);
        let outcomes = outcomes(&scenario).expect("it runs");
        outcome::json(&scenario, &outcomes, &[]).to_string()
    };
    assert_eq!(figures(3), figures(3));
    assert_ne!(figures(3), figures(4));
    let scenario = small(1);
    let outcomes = outcomes(&scenario).expect("it runs");
    let svg = plot::seconds("a < b", &outcomes);
    assert!(svg.starts_with("<svg") && svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
    assert!(outcome::table(&outcomes).lines().count() == 2);
}

#[test]
fn what_is_wrong_with_a_scenario_is_said() {
    let right =
        "title = \"a\"\nduration = \"5s\"\ntraffic = { rate = 200 }\nendpoints = { count = 3, latency = \"10ms\" }\n";
    assert!(Scenario::read(right).is_ok());
    let wrong = |from: &str, to: &str, why: &str| {
        let error = Scenario::read(&right.replace(from, to)).expect_err(to);
        assert!(error.contains(why), "{error}");
    };
    wrong("200", "200, rates = 3", "rates");
    wrong("count = 3", "count = 100_000", "`endpoints.count` is 100000; it may be 1 to 16384");
    wrong("\"5s\"", "\"5\"", "5");
    wrong("200", "1e7", "requests altogether");
    wrong(
        "title",
        "run = [{ name = \"b\" }]\nexpect = [{ run = \"c\", figure = \"success\", at_least = 1 }]\ntitle",
        "no run `c`",
    );
    let other = |text: &str| Scenario {
        expect: Vec::new(),
        ..Scenario::read(&format!("{right}{text}")).expect("right so far")
    };
    let wrong = outcomes(&other("[upstream]\nballance = \"random\"\n")).err().expect("an unknown key");
    assert!(wrong.contains("ballance") && wrong.contains("did you mean `balance`?"), "{wrong}");
    assert!(outcomes(&other("[upstream]\nendpoints = []\n")).err().is_some_and(|why| why.contains("endpoints")));
}
