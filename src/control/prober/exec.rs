//! A command that asks in its own way: it passes by ending with 0.
//!
//! It gets an environment of its own (where to ask, and PATH), no input, and its timeout; then its whole group of processes
//! is killed. It is always waited for, so that no process is left as a zombie. The first of what it prints says why it failed.

use super::dial::plain;
use super::dialogue::{Fault, shown};
use crate::base::Address;
use crate::base::signal::kill_group;
use crate::control::config::values::duration_text;
use crate::health::probe::{ExecProbe, ProbeFailure};
use crate::telemetry::log;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Bytes of output that are kept; the rest is read and dropped, so that the command can end.
const OUTPUT_BYTES_MAX: usize = 4 << 10;
/// How long the output of a command that has ended is waited for.
const LAST_WORDS_MAX: Duration = Duration::from_millis(100);
/// How long the end of a killed process may take before it is given up.
const KILL_MAX: Duration = Duration::from_secs(5);

/// What a command is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub upstream: &'a str,
    pub endpoint: &'a Address,
    pub address: &'a Address,
}

/// Runs the command once.
pub(super) async fn run(command: &ExecProbe, limit: Duration, asked: &Asked<'_>) -> Result<(), Fault> {
    let mut child = start(command, asked).map_err(|error| {
        Fault::new(ProbeFailure::Local, format!("{} cannot be run: {}", command.program.display(), plain(&error)))
    })?;
    let mut output = Vec::new();
    let ended = timeout(limit, finish(&mut child, &mut output)).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Fault::new(ProbeFailure::Exit, why(status, &output))),
        Ok(Err(error)) => Err(Fault::new(ProbeFailure::Local, plain(&error))),
        Err(_) => {
            kill(&mut child).await;
            let said = if output.is_empty() { String::new() } else { format!(": {}", first_line(&output)) };
            let why = format!("the command did not end within {}{said}", duration_text(limit));
            Err(Fault::new(ProbeFailure::Timeout, why))
        }
    }
}

fn start(command: &ExecProbe, asked: &Asked<'_>) -> std::io::Result<Child> {
    let host = match asked.address {
        Address::Ip(address) => address.ip().to_string(),
        Address::Unix(_) | Address::UnixUnnamed => asked.address.to_string(),
    };
    let port = asked.address.port().map_or_else(String::new, |port| port.to_string());
    let mut child = Command::new(&command.program);
    child.args(&command.arguments).env_clear();
    child.env("RINGGATE_UPSTREAM", asked.upstream).env("RINGGATE_ENDPOINT", asked.endpoint.to_string());
    child.env("RINGGATE_ADDRESS", host).env("RINGGATE_PORT", port);
    if let Some(path) = std::env::var_os("PATH") {
        child.env("PATH", path);
    }
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    child.process_group(0).kill_on_drop(true).spawn()
}

/// Until the command itself ends, whoever else may still hold its output.
async fn finish(child: &mut Child, output: &mut Vec<u8>) -> std::io::Result<ExitStatus> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut errors = Vec::new();
    let status = {
        let mut reading = pin!(async { tokio::join!(keep_first(stdout, output), keep_first(stderr, &mut errors)) });
        let (status, is_read) = tokio::select! {
            status = child.wait() => (status, false),
            _ = &mut reading => (child.wait().await, true),
        };
        if !is_read {
            // Its last words are in the pipe; a process that it has left behind may hold that open.
            let _ = timeout(LAST_WORDS_MAX, reading).await;
        }
        status
    };
    if output.is_empty() {
        output.append(&mut errors);
    }
    status
}

async fn keep_first(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..count.min(room)]);
    }
}

/// Kills the command and what it has started, and waits for it.
async fn kill(child: &mut Child) {
    // Not waited for yet, so its number is still its own.
    let killed = child.id().map(kill_group);
    if let Some(Err(error)) = killed {
        log::warn!("a probe's command cannot be killed: {error}");
    }
    if timeout(KILL_MAX, child.wait()).await.is_err() {
        log::warn!("a probe's command was killed and does not end");
    }
}

fn why(status: ExitStatus, output: &[u8]) -> String {
    let end = match (status.code(), status.signal()) {
        (Some(code), _) => format!("the command ended with {code}"),
        (None, Some(signal)) => format!("the command was ended by signal {signal}"),
        (None, None) => "the command ended".to_owned(),
    };
    match first_line(output) {
        line if line.is_empty() => end,
        line => format!("{end}: {line}"),
    }
}

fn first_line(output: &[u8]) -> String {
    let line = output.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    shown(line.unwrap_or_default())
}
