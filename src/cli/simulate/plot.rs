//! The seconds of all runs as SVG, written by hand: one panel a figure, one line a run.

use super::measure::{Measure, Second};
use super::outcome::Outcome;
use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const GAP: f64 = 34.0;
const TOP: f64 = 30.0;
const COLOURS: [&str; 8] = ["#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e", "#c2255c", "#868e96", "#f08c00", "#1864ab"];

/// A title, and what it shows of one second.
type Panel = (&'static str, fn(&Second) -> f64);

const PANELS: [Panel; 5] = [
    ("requests a second that were answered well", |second| second.succeeded as f64),
    ("p99 latency, ms", Measure::p99_ms),
    ("attempts for each request", |second| second.attempts as f64 / second.arrived.max(1) as f64),
    ("part of attempts at endpoints that something befalls", |second| {
        second.attempts_hurt as f64 / second.attempts.max(1) as f64
    }),
    ("part of the capacity in service", |second| second.capacity),
];

/// All panels, one below the other.
pub fn seconds(title: &str, outcomes: &[Outcome]) -> String {
    let height = TOP + GAP + (PANEL + GAP) * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    let mut x = LEFT;
    for (index, outcome) in outcomes.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" fill=\"{}\">{}</text>",
            TOP + 8.0,
            colour(index),
            escaped(&outcome.name)
        );
        x += 14.0 + 7.0 * outcome.name.chars().count() as f64;
    }
    for (index, panel) in PANELS.iter().enumerate() {
        draw(&mut svg, TOP + GAP + (PANEL + GAP) * index as f64, panel, outcomes);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, top: f64, (title, show): &Panel, outcomes: &[Outcome]) {
    let lines: Vec<Vec<f64>> = outcomes
        .iter()
        .map(|outcome| outcome.measure.seconds.iter().map(show).collect::<Vec<f64>>())
        .map(|mut line| {
            // The last second is cut off by the end.
            line.pop();
            line
        })
        .collect();
    let most = lines.iter().flatten().copied().fold(1e-9, f64::max);
    let count = lines.iter().map(Vec::len).max().unwrap_or(0).max(2);
    let x = |at: usize| LEFT + (WIDTH - LEFT - RIGHT) * at as f64 / (count - 1) as f64;
    let y = |value: f64| top + PANEL * (1.0 - value / most);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{title}</text>", top - 6.0);
    for part in [0.0, 0.5, 1.0] {
        let (at, value) = (y(most * part), most * part);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
            WIDTH - RIGHT
        );
        let shown = if most >= 20.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text>", LEFT - 6.0, at + 4.0);
    }
    for (index, line) in lines.iter().enumerate() {
        let points: Vec<String> =
            line.iter().enumerate().map(|(at, value)| format!("{:.1},{:.1}", x(at), y(*value))).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>",
            colour(index),
            points.join(" ")
        );
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
