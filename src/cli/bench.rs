//! `ringgate bench`: a load generator on our own engine, for anything that speaks HTTP/1.1 or echoes bytes.
//!
//! This file holds the command line and the order of events; what is sent and checked is in `exchange`, when in `pace`,
//! by whom in `load`, what comes out in `results`, `plot` and `compare`. Called by `cli`.

mod compare;
mod exchange;
mod load;
mod pace;
mod plot;
mod progress;
mod results;
mod settings;
mod tally;

use clap::{Args, Subcommand};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use settings::LoadArguments;

/// Put load on a server and measure how it answers
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub struct BenchArguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    load: LoadArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Compare two runs that were written with --json
    Compare {
        /// The run to compare with
        before: PathBuf,
        /// The run to judge
        after: PathBuf,
        /// Write both percentile curves as SVG
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
    },
}

const EXAMPLES: &str = "Examples:
  ringgate bench http://127.0.0.1:8080/                       as fast as 64 connections go, for 10 s
  ringgate bench http://127.0.0.1:8080/ --rate 5000           5,000 requests a second, whatever the server does
  ringgate bench tcp://127.0.0.1:7000 --payload 128           echo of 128 bytes
  ringgate bench http://127.0.0.1:8080/ --json before.json    and later: ringgate bench compare before.json after.json

With --rate, latency counts from when a request was due, so that a server that stalls cannot hide it.
Exit code: 0 if every answer was right, 1 if one was not, 2 if the load could not be started.";

/// Every answer was right.
const EXIT_RIGHT: u8 = 0;
/// At least one answer was wrong or missing.
const EXIT_ERRORS: u8 = 1;
/// The command line or a file was wrong, or the server could not be reached at all.
const EXIT_NOT_STARTED: u8 = 2;

/// Runs the command; what it has to say goes to stdout, what went wrong to stderr.
pub fn run(arguments: BenchArguments) -> ExitCode {
    let outcome = match arguments.action {
        Some(Action::Compare { before, after, plot }) => compare_files(&before, &after, plot.as_deref()),
        None => generate(&arguments.load),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

fn generate(arguments: &LoadArguments) -> Result<u8, String> {
    let settings = settings::check(arguments)?;
    settings::reach(&settings)?;
    let mut log = match &arguments.hlog {
        Some(path) => Some(io::BufWriter::new(fs::File::create(path).map_err(|error| cannot_write(path, &error))?)),
        None => None,
    };
    let results = load::run(&settings, log.as_mut())?;
    if let (Some(log), Some(path)) = (&mut log, &arguments.hlog) {
        log.flush().map_err(|error| cannot_write(path, &error))?;
    }
    if let Some(path) = &arguments.json {
        write_file(path, &results.to_json())?;
    }
    if let Some(path) = &arguments.plot {
        write_file(path, &plot::percentiles(&[(&results.url, &results.percentiles)]))?;
    }
    print!("{}", results.to_text());
    Ok(if results.errors_total == 0 && results.requests > 0 { EXIT_RIGHT } else { EXIT_ERRORS })
}

fn compare_files(before: &Path, after: &Path, plot: Option<&Path>) -> Result<u8, String> {
    let (first, second) = (read_results(before)?, read_results(after)?);
    print!("{}", compare::to_text(&first, &second));
    if let Some(path) = plot {
        let (first_name, second_name) = (before.display().to_string(), after.display().to_string());
        let curves = [(first_name.as_str(), &first.percentiles), (second_name.as_str(), &second.percentiles)];
        write_file(path, &plot::percentiles(&curves))?;
    }
    Ok(EXIT_RIGHT)
}

fn read_results(path: &Path) -> Result<results::Results, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{} was not written by `ringgate bench --json`: {error}", path.display()))
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
