//! `ringgate demo`: a gateway on an embedded configuration, with origins of its own behind it, so that a newcomer sees
//! traffic go through within a minute. It says where it listens and what to type; Ctrl-C ends it.
//!
//! The gateway is the real one, started as `run` starts it; only the origins and the file are the demo's.

mod origins;

use super::run::{Source, run_then};
use crate::snapshot::Snapshot;
use clap::Args;
use origins::Origins;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;

/// What the gateway of the demo runs on, with places to fill in.
const CONFIG: &str = include_str!("demo/demo.toml");

/// Start a gateway with origins of its own behind it, and say what to try
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArguments {
    /// The port of its http listener; tcp and the admin pages take the two after it. 0: any three that are free
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

const EXAMPLES: &str = "\
Everything listens on 127.0.0.1 and ends with Ctrl-C.

Examples:
  ringgate demo
  ringgate demo --port 0

Exit code: 0 after Ctrl-C, 1 if it cannot start.";

/// Runs the command.
pub fn run(arguments: &DemoArguments) -> ExitCode {
    match prepare(arguments.port) {
        Ok((places, text)) => run_then(Source::BuiltIn { name: "the demo's configuration", text }, |snapshot| {
            super::say(&places.bound(snapshot).to_string());
        }),
        Err(error) => {
            eprintln!("the demo cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the origins, and says what the gateway is to run on.
fn prepare(port: u16) -> io::Result<(Places, String)> {
    let places = Places::from(port)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let origins = runtime.block_on(origins::start())?;
    // They serve until the process ends.
    let serve = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("demo-origins".to_owned()).spawn(serve)?;
    Ok((places, config(&places, &origins)))
}

/// Where the gateway of the demo listens.
#[derive(Clone, Copy, Debug)]
struct Places {
    web: SocketAddr,
    tcp: SocketAddr,
    admin: SocketAddr,
}

impl Places {
    /// `port` and the two after it, on loopback. With port 0 each is found when it is bound, but the admin's: nothing
    /// tells it later, so it is found now.
    ///
    /// # Errors
    /// `port` is among the last two that exist, or no port is free.
    fn from(port: u16) -> io::Result<Places> {
        let [web, tcp, admin] = match (port, port.checked_add(1), port.checked_add(2)) {
            (0, ..) => [0, 0, free_port()?],
            (_, Some(second), Some(third)) => [port, second, third],
            _ => {
                return Err(io::Error::other(format!(
                    "it takes three ports from {port} on; the last to begin with is 65533"
                )));
            }
        };
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Places { web: at(web), tcp: at(tcp), admin: at(admin) })
    }

    /// With the ports that were found.
    fn bound(self, snapshot: &Snapshot) -> Places {
        let named = |name| snapshot.listeners.iter().find(|listener| listener.name == name);
        let of = |name| named(name).and_then(|listener| listener.bound_address().as_ip());
        Places { web: of("web").unwrap_or(self.web), tcp: of("echo").unwrap_or(self.tcp), ..self }
    }
}

fn free_port() -> io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

/// The configuration with all places filled in.
fn config(places: &Places, origins: &Origins) -> String {
    [
        ("{WEB}", places.web),
        ("{TCP}", places.tcp),
        ("{ADMIN}", places.admin),
        ("{FAST_A}", origins.fast[0]),
        ("{FAST_B}", origins.fast[1]),
        ("{SLOW}", origins.slow),
        ("{FLAKY}", origins.flaky),
        ("{WEBSOCKET}", origins.websocket),
        ("{ECHO}", origins.tcp),
    ]
    .into_iter()
    .fold(CONFIG.to_string(), |text, (place, address)| text.replace(place, &address.to_string()))
}

/// What a visitor reads.
impl fmt::Display for Places {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Places { web, tcp, admin } = self;
        writeln!(out, "Ringgate serves a demo: http on {web}, tcp on {tcp}, admin pages on {admin}.")?;
        writeln!(out)?;
        writeln!(out, "Try:")?;
        writeln!(out, "  curl http://{web}/hello     # a few times: two origins take turns")?;
        writeln!(out, "  curl http://{web}/flaky     # every other endpoint hangs up, and you never notice")?;
        writeln!(out, "  curl http://{admin}/metrics   # what was counted")?;
        writeln!(out)?;
        writeln!(out, "More: http://{web}/slow takes a second, ws://{web}/ws echoes WebSocket messages, and")?;
        write!(out, "`nc {} {}` is relayed to a TCP echo. Ctrl-C ends it all.", tcp.ip(), tcp.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Places, Origins) {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let origins = Origins { fast: [at(1), at(2)], slow: at(3), flaky: at(4), websocket: at(5), tcp: at(6) };
        (Places::from(8080).unwrap(), origins)
    }

    #[test]
    fn every_place_of_the_configuration_is_filled_in() {
        let (places, origins) = sample();
        let text = config(&places, &origins);
        let settings: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(!settings.contains('{') && settings.contains("127.0.0.1:8081"), "{text}");
    }

    #[test]
    fn its_configuration_is_right() {
        let (places, origins) = sample();
        let loaded = crate::control::config::load_text("demo", &config(&places, &origins), &|_, _| Ok(Vec::new()));
        assert!(loaded.is_ok_and(|loaded| loaded.warnings.mistakes().is_empty()));
    }

    #[test]
    fn ports_follow_each_other_or_are_free() {
        assert_eq!(Places::from(8080).unwrap().admin.port(), 8082);
        assert!(Places::from(65_534).is_err());
        assert_ne!(Places::from(0).unwrap().admin.port(), 0);
    }
}
