//! `ringgate check`: says what a start or a reload would say, and does neither.

use super::FILE_DEFAULT;
use crate::control::config::{self, Loaded, Report, Settings};
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
    let outcome = config::load(&arguments.file, None);
    if arguments.json {
        let report = outcome.as_ref().map_or_else(|report| report, |loaded| &loaded.warnings);
        super::say(&format!("{:#}", report.to_json()));
    } else {
        show(&arguments.file.display().to_string(), &outcome);
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(file: &str, outcome: &Result<Loaded, Report>) {
    match outcome {
        Ok(loaded) => {
            super::explain(&loaded.warnings);
            let summary = summary(&loaded.settings);
            super::say(&format!("{file} is right: {summary}{}", warnings(&loaded.warnings)));
        }
        Err(report) => {
            super::explain(report);
            let mistakes = counted(report.errors(), "mistake", "mistakes");
            eprintln!("{file} is wrong: {mistakes}{}", warnings(report));
        }
    }
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
