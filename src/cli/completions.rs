//! `ringgate completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

/// Write completions for a shell to stdout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  ringgate completions bash > /etc/bash_completion.d/ringgate
  ringgate completions zsh > ~/.zfunc/_ringgate
  ringgate completions fish > ~/.config/fish/completions/ringgate.fish";

/// Runs the command.
pub fn run(arguments: &CompletionsArguments) -> ExitCode {
    let mut command = super::Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "ringgate", &mut script);
    super::say(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}
