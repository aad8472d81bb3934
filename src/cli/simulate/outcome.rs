//! What runs have come to: the table, the JSON, and whether it is what the scenario expects.

use super::measure::{Figures, Measure};
use super::scenario::{Expect, Scenario};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One run that is over.
pub struct Outcome {
    pub name: String,
    pub figures: Figures,
    pub measure: Measure,
}

/// A heading, and the text of a figure below it.
type Column = (&'static str, fn(&Figures) -> String);

const COLUMNS: [Column; 11] = [
    ("success", |f| format!("{:.3} %", f.success * 100.0)),
    ("p50 ms", |f| ms(f.p50_ms)),
    ("p99 ms", |f| ms(f.p99_ms)),
    ("p99.9 ms", |f| ms(f.p999_ms)),
    ("attempts", |f| format!("{:.3}", f.amplification)),
    ("worst second", |f| format!("{:.3}", f.amplification_second)),
    ("spread", |f| format!("{:.2}", f.spread)),
    ("to hurt", |f| format!("{:.2} %", f.hurt_part * 100.0)),
    ("found s", |f| f.found_after_s.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"))),
    ("out (wrong)", |f| format!("{} ({})", f.taken_out, f.taken_out_wrongly)),
    ("capacity", |f| format!("{:.0} %", f.capacity_min * 100.0)),
];

fn ms(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// The figures of all runs, one a line.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut rows = vec![vec!["run".to_owned()]];
    rows[0].extend(COLUMNS.iter().map(|(heading, _)| (*heading).to_owned()));
    for outcome in outcomes {
        let mut row = vec![outcome.name.clone()];
        row.extend(COLUMNS.iter().map(|(_, show)| show(&outcome.figures)));
        rows.push(row);
    }
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match at {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

/// All of it, for programs.
pub fn json(scenario: &Scenario, outcomes: &[Outcome], broken: &[String]) -> Value {
    let runs: Vec<Value> =
        outcomes.iter().map(|outcome| json!({ "name": outcome.name, "figures": outcome.figures })).collect();
    json!({ "title": scenario.title, "seed": scenario.seed, "runs": runs, "not_as_expected": broken })
}

/// What is not as the scenario expects it, in words.
pub fn broken(scenario: &Scenario, outcomes: &[Outcome]) -> Result<Vec<String>, String> {
    let mut broken = Vec::new();
    for expect in &scenario.expect {
        let meant = |outcome: &&Outcome| expect.run.as_ref().is_none_or(|name| *name == outcome.name);
        for outcome in outcomes.iter().filter(meant) {
            broken.extend(judge(expect, outcome, outcomes)?);
        }
    }
    Ok(broken)
}

fn judge(expect: &Expect, outcome: &Outcome, all: &[Outcome]) -> Result<Option<String>, String> {
    let Expect { figure, of, at_least, at_most, .. } = expect;
    let Some(own) = figure_of(&outcome.figures, figure)? else {
        return Ok(Some(format!("run `{}`: {figure} was never seen", outcome.name)));
    };
    let other = of.as_ref().and_then(|name| all.iter().find(|outcome| outcome.name == *name));
    let (value, what) = match other {
        None => (own, figure.clone()),
        Some(other) => {
            let theirs = figure_of(&other.figures, figure)?.unwrap_or(f64::NAN);
            (own / theirs, format!("{figure} as a multiple of that of `{}`", other.name))
        }
    };
    let fits = at_least.is_none_or(|least| value >= least) && at_most.is_none_or(|most| value <= most);
    let wanted = match (at_least, at_most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => return Err(format!("of `{figure}` nothing is expected: `at_least` or `at_most`")),
    };
    Ok((!fits).then(|| format!("run `{}`: {what} is {value:.4}, expected {wanted}", outcome.name)))
}

/// A figure by the name that `--json` gives it.
fn figure_of(figures: &Figures, name: &str) -> Result<Option<f64>, String> {
    const OPTIONAL: [&str; 2] = ["found_after_s", "recovered_after_s"];
    let all = serde_json::to_value(figures).map_err(|error| error.to_string())?;
    match all.get(name) {
        Some(value) => Ok(value.as_f64()),
        None if OPTIONAL.contains(&name) => Ok(None),
        None => {
            let names: Vec<&str> = all.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            Err(format!("there is no figure `{name}`; there are {}", names.join(", ")))
        }
    }
}
