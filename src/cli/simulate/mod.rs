//! `ringgate simulate`: the gateway's own policies under virtual time, against modelled clients and endpoints.
//!
//! | file | what it is |
//! |---|---|
//! | `scenario` | what the file says |
//! | `policy` | its upstream, by the gateway's own reader |
//! | `world` | one run: who asks whom, and when |
//! | `control` | what control does beside the workers |
//! | `endpoint`, `chance` | what an endpoint does, and by what chance |
//! | `measure`, `outcome`, `plot` | what comes out, as figures, table, JSON and SVG |

mod chance;
mod control;
mod endpoint;
mod measure;
mod outcome;
mod plot;
mod policy;
mod scenario;
#[cfg(test)]
mod tests;
mod world;

use clap::Args;
use outcome::Outcome;
use scenario::Scenario;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use world::World;

/// Show what balancing, ejection, retries and probes do to modelled endpoints
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct SimulateArguments {
    /// The scenario
    file: PathBuf,
    /// Another seed than the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// Write all figures as JSON to stdout
    #[arg(long)]
    json: bool,
    /// Write the course of all runs as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

const HELP: &str = "\
A scenario says what the traffic is, what the endpoints are like and what befalls them, and gives an upstream as the
configuration does. The gateway's own code then decides, in virtual time: nothing is sent anywhere. The same seed gives
the same figures. docs/simulation.md has the keys, conf/scenarios/ has scenarios.

Examples:
  ringgate simulate conf/scenarios/slow-endpoint.toml
  ringgate simulate conf/scenarios/total-loss.toml --plot loss.svg
  ringgate simulate mine.toml --seed 7 --json | jq '.runs[].figures.p99_ms'

Exit code: 0 if all is as the scenario expects, 1 if not, 2 if the scenario is wrong.";

const EXIT_NOT_EXPECTED: u8 = 1;
const EXIT_WRONG: u8 = 2;

/// Runs the command.
pub fn run(arguments: &SimulateArguments) -> ExitCode {
    match simulate(arguments) {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            broken.iter().for_each(|line| eprintln!("not as expected: {line}"));
            ExitCode::from(EXIT_NOT_EXPECTED)
        }
        Err(why) => {
            eprintln!("{}: {why}", arguments.file.display());
            ExitCode::from(EXIT_WRONG)
        }
    }
}

fn simulate(arguments: &SimulateArguments) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(&arguments.file).map_err(|error| error.to_string())?;
    let mut scenario = Scenario::read(&text)?;
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    let outcomes = outcomes(&scenario)?;
    let broken = outcome::broken(&scenario, &outcomes)?;
    if arguments.json {
        super::say(&format!("{:#}", outcome::json(&scenario, &outcomes, &broken)));
    } else {
        super::say(&format!("{}\n{}\n{}", scenario.title, scenario.about, outcome::table(&outcomes)));
    }
    if let Some(path) = &arguments.plot {
        let svg = plot::seconds(&scenario.title, &outcomes);
        fs::write(path, svg).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(broken)
}

/// All runs of a scenario, one after the other.
fn outcomes(scenario: &Scenario) -> Result<Vec<Outcome>, String> {
    let one = |run: &scenario::Run| {
        let upstream = policy::upstream(scenario, run)?;
        let (measure, hurt) = World::new(scenario, upstream).run();
        let figures = measure.figures(|endpoint| hurt.get(endpoint).copied().unwrap_or(false));
        Ok(Outcome { name: run.name.clone(), figures, measure })
    };
    scenario.runs().iter().map(one).collect()
}
