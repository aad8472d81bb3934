//! What the text must be for a strict reader to take it.

use super::super::stats::{EndpointStats, RouteStats, WorkerStats};
use super::*;
use crate::base::Sharded;
use std::time::Duration;

const REASONS: [&str; 3] = ["no_route", "connect_refused", "internal"];

fn page<S: Stats>(things: &[Counted<'_, S>]) -> strict::Series {
    let mut page = Page::default();
    page.table(things, &REASONS);
    let text = page.into_text();
    strict::parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

#[test]
fn shards_are_summed() {
    let stats = Sharded::<RouteStats>::new(3);
    for worker in 0..3 {
        stats.shard(worker).requests.add(10);
        stats.shard(worker).responses[1].inc();
        stats.shard(worker).failures[1].add(2);
        stats.shard(worker).duration.record(Duration::from_micros(1_500_000));
    }
    let series = page(&[Counted { labels: labels(&[("route", "api")]), shards: Shards::All(&stats) }]);
    assert_eq!(series["ringgate_route_requests_total{route=\"api\"}"], 30.0);
    assert_eq!(series["ringgate_route_responses_total{route=\"api\",class=\"2xx\"}"], 3.0);
    assert_eq!(series["ringgate_route_responses_total{route=\"api\",class=\"5xx\"}"], 0.0);
    assert_eq!(series["ringgate_route_failures_total{route=\"api\",reason=\"connect_refused\"}"], 6.0);
    assert!(!series.contains_key("ringgate_route_failures_total{route=\"api\",reason=\"internal\"}"));
    assert_eq!(series["ringgate_route_duration_seconds_bucket{route=\"api\",le=\"1\"}"], 0.0);
    assert_eq!(series["ringgate_route_duration_seconds_bucket{route=\"api\",le=\"2.5\"}"], 3.0);
    assert_eq!(series["ringgate_route_duration_seconds_sum{route=\"api\"}"], 4.5);
    assert_eq!(series["ringgate_route_duration_seconds_count{route=\"api\"}"], 3.0);
}

#[test]
fn gauges_may_fall_below_zero_on_one_worker() {
    let stats = Sharded::<EndpointStats>::new(2);
    stats.shard(0).connections_idle.add(3);
    stats.shard(1).connections_idle.add(-1);
    let series =
        page(&[Counted { labels: labels(&[("upstream", "a"), ("endpoint", "b")]), shards: Shards::All(&stats) }]);
    assert_eq!(series["ringgate_endpoint_connections_idle{upstream=\"a\",endpoint=\"b\"}"], 2.0);
}

#[test]
fn a_series_for_each_worker() {
    let stats = Sharded::<WorkerStats>::new(2);
    stats.shard(1).engine_turns.add(7);
    stats.shard(1).lag.set(1_050_000);
    let things: Vec<_> = stats
        .iter()
        .enumerate()
        .map(|(worker, shard)| Counted { labels: format!("worker=\"{worker}\""), shards: Shards::One(shard) })
        .collect();
    let series = page(&things);
    assert_eq!(series["ringgate_worker_engine_turns_total{worker=\"0\"}"], 0.0);
    assert_eq!(series["ringgate_worker_engine_turns_total{worker=\"1\"}"], 7.0);
    assert_eq!(series["ringgate_worker_lag_seconds{worker=\"1\"}"], 1.05);
}

#[test]
fn any_label_value_is_escaped() {
    let stats = Sharded::<RouteStats>::new(1);
    let labels = labels(&[("route", "a\"b\\c\nd},{é")]);
    assert_eq!(labels, r#"route="a\"b\\c\nd},{é""#);
    page(&[Counted { labels, shards: Shards::All(&stats) }]);
}

#[test]
fn the_parser_is_strict() {
    #[track_caller]
    fn check(text: &str) {
        assert!(strict::parse(text).is_err(), "{text}");
    }
    let head = "# HELP a A.\n# TYPE a counter\n";
    assert!(strict::parse(&format!("{head}a{{b=\"c\"}} 1\n")).is_ok());
    for line in [
        "a 1",
        "b 1\n",
        "a{b=\"c} 1\n",
        "a{b=\"\\x\"} 1\n",
        "a{b=\"c\"}1\n",
        "a x\n",
        "a 1\na 1\n",
        "a{b=\"\",b=\"\"} 1\n",
    ] {
        check(&format!("{head}{line}"));
    }
    check("a 1\n");
    check("# TYPE a counter\na 1\n");
    check("# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 3\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2\n");
}
