//! Two runs beside each other, as text. Values only.

use super::results::{Results, count, time};
use std::fmt::Write;

/// Differences below this share are the noise of any two runs on one machine.
const NOISE: f64 = 0.03;

/// A table of both runs with the ratio `second ÷ first`, and a warning where the runs were not alike.
pub fn to_text(first: &Results, second: &Results) -> String {
    let mut text = String::new();
    for difference in unlike(first, second) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "not the same load: {difference}");
    }
    let _ = writeln!(text, "{:<16}{:>14}{:>14}{:>10}", "", "before", "after", "ratio");
    let per_second = |results: &Results| count(results.per_second.round() as u64);
    let row = |name: &str, texts: (String, String), values: (f64, f64), more_is_better: bool| {
        let verdict = verdict(values.0, values.1, more_is_better);
        format!("{name:<16}{:>14}{:>14}{verdict}\n", texts.0, texts.1)
    };
    text += &row("requests/s", (per_second(first), per_second(second)), (first.per_second, second.per_second), true);
    let (a, b) = (&first.latency_us, &second.latency_us);
    for (name, before, after) in [
        ("mean", a.mean, b.mean),
        ("p50", a.p50, b.p50),
        ("p90", a.p90, b.p90),
        ("p99", a.p99, b.p99),
        ("p99.9", a.p99_9, b.p99_9),
        ("p99.99", a.p99_99, b.p99_99),
        ("max", a.max, b.max),
    ] {
        text += &row(name, (time(before), time(after)), (before, after), false);
    }
    let errors = (first.errors_total as f64, second.errors_total as f64);
    text += &row("errors", (count(first.errors_total), count(second.errors_total)), errors, false);
    text
}

fn unlike(first: &Results, second: &Results) -> Vec<String> {
    let mut found = Vec::new();
    if first.connections != second.connections {
        found.push(format!("{} and {} connections", first.connections, second.connections));
    }
    if first.rate != second.rate {
        let name = |rate: Option<f64>| rate.map_or("closed loop".to_owned(), |rate| format!("{rate} a second"));
        found.push(format!("{} and {}", name(first.rate), name(second.rate)));
    }
    found
}

fn verdict(before: f64, after: f64, more_is_better: bool) -> String {
    if before <= 0.0 {
        return if after > 0.0 { "         new".to_owned() } else { "         –".to_owned() };
    }
    let ratio = after / before;
    let word = if (ratio - 1.0).abs() < NOISE {
        ""
    } else if (ratio > 1.0) == more_is_better {
        "  better"
    } else {
        "  worse"
    };
    format!("{ratio:>10.2}{word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(per_second: f64, p99: f64) -> Results {
        let mut results: Results = serde_json::from_str(include_str!("example.json")).unwrap();
        results.per_second = per_second;
        results.latency_us.p99 = p99;
        results
    }

    fn line<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(name)).unwrap()
    }

    #[test]
    fn more_requests_are_better_and_more_latency_is_worse() {
        let text = to_text(&results(1000.0, 100.0), &results(2000.0, 150.0));
        assert!(line(&text, "requests/s").ends_with("2.00  better"), "{text}");
        assert!(line(&text, "p99 ").ends_with("1.50  worse"), "{text}");
        assert!(line(&text, "p50").ends_with("1.00"), "{text}");
        assert!(!text.contains("not the same load"), "{text}");
    }

    #[test]
    fn unlike_loads_are_named() {
        let (first, mut second) = (results(1.0, 1.0), results(1.0, 1.0));
        second.rate = Some(500.0);
        assert!(to_text(&first, &second).starts_with("not the same load: closed loop and 500 a second"));
    }
}
