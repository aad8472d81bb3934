//! `ringgate reload`: has a running Ringgate read its configuration anew, and says how that went.
//!
//! It asks the admin listener, which answers with what changed or with what is wrong. With `--pid` it sends SIGHUP
//! instead, which has no answer.

use super::FILE_DEFAULT;
use crate::base::signal::send_hangup;
use crate::control::config;
use clap::Args;
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Have a running Ringgate read its configuration anew
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReloadArguments {
    /// The configuration file of the running Ringgate, which says where its admin listener is [default: ringgate.toml]
    file: Option<PathBuf>,
    /// The address of the admin listener, instead of what the file says
    #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
    admin: Option<SocketAddr>,
    /// Send SIGHUP to this process instead; the outcome is in its log
    #[arg(long, value_name = "PID", conflicts_with_all = ["file", "admin"])]
    pid: Option<u32>,
}

const EXAMPLES: &str = "\
All of the new configuration applies or, if anything is wrong with it, none. No connection is lost.

Examples:
  ringgate reload                              of the ringgate.toml in this directory
  ringgate reload /etc/ringgate/ringgate.toml
  ringgate reload --admin 127.0.0.1:9900
  ringgate reload --pid 1234                   by signal: says nothing of the outcome

Exit code: 0 if the new configuration is in force, 1 if it was refused or nothing answered.";

/// To reach the admin listener.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For its answer: host names may have to be resolved.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Runs the command.
pub fn run(arguments: &ReloadArguments) -> ExitCode {
    let outcome = match arguments.pid {
        Some(pid) => match send_hangup(pid) {
            Ok(()) => Ok(format!("sent SIGHUP to process {pid}; the outcome is in its log")),
            Err(error) => Err(format!("error: cannot signal process {pid}: {error}")),
        },
        None => admin_address(arguments).and_then(ask),
    };
    match outcome {
        Ok(text) => {
            super::say(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn admin_address(arguments: &ReloadArguments) -> Result<SocketAddr, String> {
    if let Some(admin) = arguments.admin {
        return Ok(admin);
    }
    let file = arguments.file.as_deref().unwrap_or(Path::new(FILE_DEFAULT));
    if arguments.file.is_some() && !file.exists() {
        return Err(format!("error: there is no file {}", file.display()));
    }
    // The file may be wrong, which the running process will say better; only the address is wanted here.
    match config::admin_address(file) {
        Some(address) if address.port() == 0 => {
            Err("error: the admin listener has a port of its own choice; say which with --admin ADDRESS".to_owned())
        }
        Some(address) => Ok(address),
        None => Err("error: this configuration has no admin listener; use --pid PID".to_owned()),
    }
}

/// What the admin listener answers.
#[derive(Debug, Deserialize)]
struct Answer {
    applied: bool,
    generation: u64,
    text: String,
}

fn ask(admin: SocketAddr) -> Result<String, String> {
    let answer = post_reload(admin).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("error: nothing listens at {admin}: is Ringgate running, and is this its admin address?")
        }
        _ => format!("error: the admin listener at {admin} did not answer: {error}"),
    })?;
    let body = body_of(&answer).ok_or_else(|| format!("error: what listens at {admin} is not Ringgate"))?;
    match serde_json::from_slice::<Answer>(body) {
        Ok(Answer { applied: true, generation, text }) => Ok(format!("{text}\nreloaded: generation {generation}")),
        Ok(Answer { generation, text, .. }) => {
            Err(format!("{text}\n\nreload refused; generation {generation} stays in force"))
        }
        Err(_) => Err(format!("error: {}", String::from_utf8_lossy(body).trim())),
    }
}

fn post_reload(admin: SocketAddr) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect_timeout(&admin, CONNECT_TIMEOUT)?;
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    connection.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    let request = format!("POST /reload HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of a response that the end of the connection delimits. The admin listener sends reloads whole, so there is
/// no transfer coding to undo.
fn body_of(answer: &[u8]) -> Option<&[u8]> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => answer.get(length..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn asked(response: &'static str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let admin = listener.local_addr().expect("it has an address");
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a client comes");
            let mut request = [0; 1_024];
            let length = connection.read(&mut request).expect("it asks");
            connection.write_all(response.as_bytes()).expect("it listens");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let outcome = ask(admin);
        assert!(server.join().expect("the server ends").starts_with("POST /reload HTTP/1.1\r\n"));
        outcome
    }

    #[test]
    fn the_outcome_is_said_and_decides_the_exit_code() {
        let applied = "HTTP/1.1 200 OK\r\n\r\n{\"applied\":true,\"generation\":3,\"text\":\"nothing changed\"}";
        assert_eq!(asked(applied), Ok("nothing changed\nreloaded: generation 3".to_owned()));
        let refused = "HTTP/1.1 422 No\r\n\r\n{\"applied\":false,\"generation\":2,\"text\":\"error: x\"}";
        assert!(asked(refused).is_err_and(|text| text.starts_with("error: x\n") && text.contains("generation 2")));
        assert!(asked("HTTP/1.1 403 No\r\n\r\nrefused: why\n").is_err_and(|text| text == "error: refused: why"));
        assert!(asked("220 mail\r\n").is_err_and(|text| text.contains("is not Ringgate")));
    }

    #[test]
    fn nobody_there_is_said_with_the_likely_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let admin = listener.local_addr().expect("it has an address");
        drop(listener);
        assert!(ask(admin).is_err_and(|text| text.contains("is Ringgate running")));
    }
}
