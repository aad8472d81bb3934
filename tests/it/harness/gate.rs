//! The program under test: a process on a temporary file, with ports of the kernel's choice that it tells in its log.

use super::client::Client;
use super::message::Response;
use super::{Origin, wait_for};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Uring,
    Epoll,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Engine::Uring => "uring",
            Engine::Epoll => "epoll",
        }
    }
}

/// Lines of its output that a scenario shows when it fails.
const OUTPUT_SHOWN: usize = 20;

/// A running gateway; it is killed when this value drops.
#[derive(Debug)]
pub struct Gate {
    child: Child,
    directory: PathBuf,
    log: Lines,
    output: Lines,
}

/// What a process has printed so far.
type Lines = Arc<Mutex<Vec<String>>>;

impl Gate {
    /// One http listener `web` that sends everything to these origins, and the admin listener.
    pub fn http(engine: Engine, origins: &[&Origin]) -> Gate {
        Gate::start(engine, &Gate::http_config(origins, ""))
    }

    /// The file of [`Gate::http`], with more lines in the table of the upstream.
    pub fn http_config(origins: &[&Origin], upstream: &str) -> String {
        format!("{}{}\n[upstream.app]\nendpoints = {}\n{upstream}\n", HEAD, WEB, endpoints(origins))
    }

    /// One tcp listener `raw` that sends everything to these origins, and the admin listener.
    pub fn tcp(engine: Engine, origins: &[&Origin]) -> Gate {
        let upstream = format!("[upstream.app]\nendpoints = {}\n", endpoints(origins));
        Gate::start(engine, &format!("{HEAD}{RAW}\n{upstream}"))
    }

    /// Starts the gateway on this file and waits until it says that it is ready.
    pub fn start(engine: Engine, config: &str) -> Gate {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.env("RINGGATE_ENGINE", engine.name());
        Gate::start_by(command, config)
    }

    /// Starts it by a command of the scenario's own, to which `run FILE` is added.
    pub fn start_by(mut command: Command, config: &str) -> Gate {
        let folder = Gate::folder();
        let file = folder.join("gate.toml");
        fs::write(&file, config).expect("a temporary file");
        command.arg("run").arg(&file);
        let mut gate = Gate::spawn(command, folder);
        gate.wait_ready();
        gate
    }

    /// Starts `ringgate demo` on ports of the kernel's choice.
    pub fn start_demo(mut command: Command) -> Gate {
        command.args(["demo", "--port", "0"]);
        let mut gate = Gate::spawn(command, Gate::folder());
        gate.wait_ready();
        gate
    }

    fn folder() -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ringgate-it-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    fn spawn(mut command: Command, directory: PathBuf) -> Gate {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = collect(child.stderr.take().expect("piped"));
        let output = collect(child.stdout.take().expect("piped"));
        Gate { child, directory, log, output }
    }

    #[track_caller]
    fn wait_ready(&mut self) {
        wait_for("the gateway to be ready", || {
            let ready = self.log_lines().iter().any(|line| line.split_whitespace().any(|word| word == "ready"));
            if !ready && let Some(status) = self.child.try_wait().expect("our own child") {
                panic!("the gateway ended with {status}:\n{}", self.log_lines().join("\n"));
            }
            ready.then_some(())
        });
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the newest listener of that name listens.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let name = format!("name={listener}");
        wait_for(&format!("a listener {listener}"), || {
            let lines = self.log_lines();
            let line = lines
                .iter()
                .rev()
                .find(|line| line.contains("listening") && line.split_whitespace().any(|word| word == name))?;
            let address = line.split_whitespace().find_map(|word| word.strip_prefix("address="))?;
            address.trim_matches('"').parse().ok()
        })
    }

    /// A client of the listener `web`.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address("web"))
    }

    /// A client of the listener `raw`.
    #[track_caller]
    pub fn tcp_client(&self) -> Client {
        Client::connect(self.address("raw"))
    }

    #[track_caller]
    pub fn admin(&self, target: &str) -> Response {
        // Pages on this machine are refused under other names than these (DNS rebinding).
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        Client::connect(self.address("admin")).send(request).response()
    }

    /// The sum of all samples of a metric whose line holds each of these parts.
    #[track_caller]
    pub fn metric(&self, name: &str, parts: &[&str]) -> f64 {
        let text = self.admin("/metrics").text();
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && parts.iter().all(|part| line.contains(part))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The generation in force.
    #[track_caller]
    pub fn generation(&self) -> u64 {
        let text = self.admin("/snapshot").text();
        let snapshot: serde_json::Value = serde_json::from_str(&text).expect("the snapshot is JSON");
        snapshot["generation"].as_u64().expect("a snapshot has a generation")
    }

    /// Replaces the file.
    pub fn write_config(&self, config: &str) {
        fs::write(self.directory.join("gate.toml"), config).expect("a temporary file");
    }

    /// Replaces the file, sends SIGHUP and waits until the new generation is in force.
    #[track_caller]
    pub fn reload(&self, config: &str) {
        let before = self.generation();
        self.write_config(config);
        self.signal("HUP");
        wait_for("the new generation", || (self.generation() > before).then_some(()));
    }

    /// Sends a signal by its name without SIG.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success(), "{command}");
    }

    /// Waits for the process to end.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_for("the gateway to end", || self.child.try_wait().expect("our own child"))
    }

    #[track_caller]
    pub fn expect_running(&mut self) {
        let ended = self.child.try_wait().expect("our own child");
        assert!(ended.is_none(), "the gateway ended: {ended:?}\n{}", self.log_lines().join("\n"));
    }

    /// What it wrote to stderr.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lock().expect("the reader does not panic").clone()
    }

    /// Waits for a line of the log that contains this text.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in the log"), || self.log_lines().into_iter().find(|line| line.contains(text)))
    }

    /// Waits until its standard output contains this text, and gives all of it.
    #[track_caller]
    pub fn wait_output(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in the output"), || {
            let output = self.output.lock().expect("the reader does not panic").join("\n");
            output.contains(text).then_some(output)
        })
    }

    /// What it wrote to stdout: the access log, where the file says so.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let lines = self.output.lock().expect("the reader does not panic").clone();
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of the access log is JSON")).collect()
    }

    /// Waits for a record of the access log with this value, and gives it.
    #[track_caller]
    pub fn wait_access(&self, key: &str, value: impl Into<serde_json::Value>) -> serde_json::Value {
        let value = value.into();
        wait_for(&format!("{key}={value} in the access log"), || {
            self.access_log().into_iter().find(|record| record[key] == value)
        })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Of its own accord, if it did.
        let ended = self.child.try_wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the gateway: {ended:?}; its log ---\n{}", self.log_lines().join("\n"));
            let output = self.output.lock().expect("the reader does not panic");
            let last = &output[output.len().saturating_sub(OUTPUT_SHOWN)..];
            eprintln!("--- the last of its output ---\n{}", last.join("\n"));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn collect(stream: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let shared = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            shared.lock().expect("nothing panics with it").push(line);
        }
    });
    lines
}

/// A TOML list of the origins' addresses.
fn endpoints(origins: &[&Origin]) -> String {
    let addresses: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    format!("[{}]", addresses.join(", "))
}

/// Two workers, so that what is one worker's alone shows; port 0 on addresses that differ, because a listener is known by
/// its address.
pub const HEAD: &str = r#"
workers = 2
[admin]
address = "127.0.0.1:0"
[access_log]
path = "-"
"#;

pub const WEB: &str = r#"
[[listener]]
name = "web"
address = "127.0.0.2:0"
protocol = "http"
[[route]]
listener = "web"
upstream = "app"
"#;

pub const RAW: &str = r#"
[[listener]]
name = "raw"
address = "127.0.0.3:0"
protocol = "tcp"
upstream = "app"
"#;
