//! `ringgate check`: says what a start or a reload would say, and does neither.

use super::FILE_DEFAULT;
use crate::base::heap::heap_of_others;
use crate::control::config::{self, Loaded, Report, Settings};
use crate::control::memory::Contract;
use crate::upstream::Registry;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what a start or a reload would say about a configuration
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArguments {
    /// The configuration file
    #[arg(default_value = FILE_DEFAULT)]
    file: PathBuf,
    /// Write every mistake with its place as JSON to stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Every mistake is shown at once, each with its line, what is allowed there and the nearest name.
Host names of endpoints are resolved, as a start would; nothing is connected to and no port is opened.

Examples:
  ringgate check /etc/ringgate/ringgate.toml
  ringgate check gate.toml --json | jq '.errors[].place'

Exit code: 0 if the file is right (warnings are allowed), 1 if anything is wrong.";

/// Runs the command.
pub fn run(arguments: &CheckArguments) -> ExitCode {
    let before = heap_of_others();
    let outcome = config::load(&arguments.file, None);
    if arguments.json {
        let report = outcome.as_ref().map_or_else(|report| report, |loaded| &loaded.warnings);
        super::say(&format!("{:#}", report.to_json()));
        return if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    show(&arguments.file.display().to_string(), outcome, before)
}

fn show(file: &str, outcome: Result<Loaded, Report>, heap_before: u64) -> ExitCode {
    match outcome {
        Ok(loaded) => {
            super::explain(&loaded.warnings);
            let summary = summary(&loaded.settings);
            match contract(loaded.settings, heap_before) {
                Ok(contract) => {
                    if let Some(warning) = contract.warning() {
                        eprintln!("warning: {warning}\n");
                    }
                    super::say(&format!("{file} is right: {summary}{}", warnings(&loaded.warnings)));
                    super::say(&contract.explain());
                    ExitCode::SUCCESS
                }
                Err(why) => {
                    eprintln!("{file} is wrong for this machine: {why}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(report) => {
            super::explain(&report);
            let mistakes = counted(report.errors(), "mistake", "mistakes");
            eprintln!("{file} is wrong: {mistakes}{}", warnings(&report));
            ExitCode::FAILURE
        }
    }
}

/// The configuration is compiled to see what it takes. `heap_before` is what was on the heap before it was loaded.
fn contract(settings: Settings, heap_before: u64) -> Result<Contract, String> {
    let (workers, memory_max) = (super::memory::workers(&settings.process), settings.memory_max);
    let snapshot = config::compile(settings, &mut Registry::new(workers), 1);
    let sizes = super::memory::sizes(workers, heap_of_others().saturating_sub(heap_before));
    Contract::new(memory_max, &snapshot, &sizes)
}

fn summary(settings: &Settings) -> String {
    let endpoints = settings.upstreams.iter().map(|upstream| upstream.endpoints.len()).sum();
    let parts = [
        counted(settings.listeners.len(), "listener", "listeners"),
        counted(settings.routes.len(), "route", "routes"),
        counted(settings.upstreams.len(), "upstream", "upstreams"),
        counted(endpoints, "endpoint", "endpoints"),
    ];
    parts.join(", ")
}

fn warnings(report: &Report) -> String {
    match report.warnings() {
        0 => String::new(),
        count => format!("; {}", counted(count, "warning", "warnings")),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
