//! The command line: one file for each subcommand. Here are the list of them, the help that teaches, and what they share.
//!
//! Each takes its arguments and gives an exit code: 0 for success, 1 if what was asked for is wrong or failed, 2 if the
//! command line itself is wrong. No logic of the gateway lives here; `run` alone wires control to workers.

pub mod bench;
pub mod check;
pub mod completions;
pub mod demo;
mod memory;
pub mod reload;
pub mod run;
pub mod simulate;
pub mod version;

use crate::control::config::Report;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// The file that is read where none is named.
pub const FILE_DEFAULT: &str = "ringgate.toml";

/// A load balancer and API gateway for TCP and HTTP
#[derive(Debug, Parser)]
#[command(name = "ringgate", version = version::text(), after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
The smallest configuration, as ringgate.toml:

  [[listener]]
  address = \"127.0.0.1:8080\"
  upstream = \"app\"

  [upstream.app]
  endpoints = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]

Then:

  ringgate demo                   see it work, with origins of its own
  ringgate check                  see what a start would say
  ringgate run                    start
  ringgate reload                 put an edited file in force; no connection is lost

Every key with its default is in conf/ringgate.toml. Signals: SIGHUP reloads, SIGTERM drains, SIGUSR1 reopens logs.";

// There is one in a process, for a moment.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArguments),
    Check(check::CheckArguments),
    Reload(reload::ReloadArguments),
    Demo(demo::DemoArguments),
    Bench(bench::BenchArguments),
    Simulate(simulate::SimulateArguments),
    Version(version::VersionArguments),
    Completions(completions::CompletionsArguments),
}

/// Reads the arguments of the process and runs what they ask for.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(run::Source::File(arguments.file)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Version(arguments) => version::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// Writes a line to stdout. Whoever reads it may have heard enough and closed the pipe, which is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Shows a report on stderr, in colours where a person reads it (and NO_COLOR is not set).
fn explain(report: &Report) {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    eprint!("{}", report.render(coloured));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_example_of_the_help_is_a_right_configuration() {
        let start = EXAMPLES.find("[[listener]]").expect("it has an example");
        let end = EXAMPLES.find("Then:").expect("it goes on after it");
        let text = &EXAMPLES[start..end];
        let resolve = |_: &str, _: u16| Ok(Vec::new());
        assert!(config::load_text("help", text, &resolve).is_ok_and(|loaded| loaded.warnings.mistakes().is_empty()));
    }
}
