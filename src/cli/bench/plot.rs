//! The percentile curve as SVG, written by hand: latency over 1 ÷ (1 − quantile), both logarithmic, as HdrHistogram's
//! own plots have it. Values only.

use super::results::{Percentile, time};
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 56.0;
const COLOURS: [&str; 4] = ["#0b7285", "#e8590c", "#5f3dc4", "#2b8a3e"];
/// Vertical lines: percentile and how far it is along the axis, in powers of ten of 1 ÷ (1 − quantile).
const MARKS: [(&str, f64); 7] = [
    ("0%", 0.0),
    ("50%", std::f64::consts::LOG10_2),
    ("90%", 1.0),
    ("99%", 2.0),
    ("99.9%", 3.0),
    ("99.99%", 4.0),
    ("99.999%", 5.0),
];

/// One curve for each named run.
pub fn percentiles(runs: &[(&str, &Vec<Percentile>)]) -> String {
    let axes = Axes::around(runs);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    axes.draw(&mut svg);
    for (index, (name, points)) in runs.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", axes.x(tens(point.percentile)), axes.y(point.latency_us)))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        );
        let y = TOP - 20.0 + 14.0 * index as f64;
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{y}\" fill=\"{colour}\">{}</text>", escaped(name));
    }
    svg.push_str("</svg>\n");
    svg
}

/// How far a percentile lies along the axis; 100 % lies at the end.
fn tens(percentile: f64) -> f64 {
    let left = (1.0 - percentile / 100.0).max(1e-9);
    (1.0 / left).log10().clamp(0.0, MARKS[MARKS.len() - 1].1)
}

/// What the drawing area shows: powers of ten on both axes.
struct Axes {
    tens_max: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn around(runs: &[(&str, &Vec<Percentile>)]) -> Axes {
        let points = || runs.iter().flat_map(|(_, points)| points.iter());
        let low = points().map(|point| point.latency_us).fold(f64::INFINITY, f64::min);
        let high = points().map(|point| point.latency_us).fold(0.0, f64::max);
        let tens_max = points().map(|point| tens(point.percentile)).fold(2.0, f64::max);
        if high <= 0.0 || !low.is_finite() {
            return Axes { tens_max, low: 1.0, high: 10.0 };
        }
        let low = step_below(low.max(0.1));
        Axes { tens_max, low, high: step_above(high).max(low * 2.0) }
    }

    fn x(&self, tens: f64) -> f64 {
        LEFT + tens / self.tens_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, micros: f64) -> f64 {
        let share = (micros.clamp(self.low, self.high) / self.low).log10() / (self.high / self.low).log10();
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (name, tens) in MARKS.iter().filter(|(_, tens)| *tens <= self.tens_max + 0.01) {
            let x = self.x(*tens);
            let _ =
                writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dee2e6\"/>");
            let below = bottom + 18.0;
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{name}</text>");
        }
        let mut micros = self.low;
        while micros <= self.high * 1.001 {
            let y = self.y(micros);
            let _ =
                writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#dee2e6\"/>");
            let (x, text_y) = (LEFT - 8.0, y + 4.0);
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{text_y:.1}\" text-anchor=\"end\">{}</text>", time(micros));
            micros = step_above(micros * 1.001);
        }
        let (middle, y) = ((LEFT + right) / 2.0, HEIGHT - 14.0);
        let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">latency by percentile</text>");
    }
}

/// The next of 1, 2, 5, 10, 20, 50, ... at or above `value`.
fn step_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value * 0.999_999).unwrap_or(power * 10.0)
}

/// The last of 1, 2, 5, 10, 20, 50, ... at or below `value`.
fn step_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    steps.into_iter().find(|step| *step <= value * 1.000_001).unwrap_or(power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(scale: f64) -> Vec<Percentile> {
        let at = |percentile: f64, latency_us: f64| Percentile { percentile, latency_us: latency_us * scale };
        vec![at(0.0, 80.0), at(50.0, 120.0), at(99.0, 900.0), at(99.99, 2_400.0), at(100.0, 2_500.0)]
    }

    /// Every element that opens also closes, in order.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("every < has its >");
            let name = tag.split_whitespace().next().unwrap().trim_end_matches('/');
            if let Some(name) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()), "in {svg}");
            } else if !tag.ends_with('/') {
                open.push(name.to_owned());
            }
            assert!(tag.matches('"').count().is_multiple_of(2), "quotes in {tag}");
        }
        assert!(open.is_empty(), "{open:?} stay open");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_plot_is_well_formed_and_stays_inside_its_frame() {
        let (first, second) = (curve(1.0), curve(7.0));
        let svg = percentiles(&[("http://a/?x=1&y=<2>", &first), ("b", &second)]);
        assert_well_formed(&svg);
        assert!(svg.contains("x=1&amp;y=&lt;2&gt;"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        for points in svg.split("points=\"").skip(1) {
            for pair in points.split('"').next().unwrap().split(' ') {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{x},{y}");
            }
        }
    }

    #[test]
    fn a_run_without_answers_is_an_empty_plot() {
        assert_well_formed(&percentiles(&[("nothing", &Vec::new())]));
        assert_well_formed(&percentiles(&[("one", &vec![Percentile { percentile: 100.0, latency_us: 5.0 }])]));
    }

    #[test]
    fn steps_are_1_2_5() {
        assert_eq!([step_above(1.0), step_above(1.1), step_above(60.0)], [1.0, 2.0, 100.0]);
        assert_eq!([step_below(1.0), step_below(4.9), step_below(99.0)], [1.0, 2.0, 50.0]);
    }
}
