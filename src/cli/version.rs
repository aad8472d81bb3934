//! `ringgate version`: which version this is.

use clap::Args;
use std::process::ExitCode;

/// Say which version this is
#[derive(Debug, Args)]
pub struct VersionArguments {}

/// The version, as `--version` shows it too.
pub fn text() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Runs the command.
pub fn run(_: &VersionArguments) -> ExitCode {
    super::say(&format!("ringgate {} ({}-{})", text(), std::env::consts::ARCH, std::env::consts::OS));
    ExitCode::SUCCESS
}
