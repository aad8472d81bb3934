//! The program under test, its origins, and what it holds.

use super::socket::Place;
use super::tally::Tally;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

const ORIGINS: usize = 4;
/// Files of the pipes that two workers may keep: eight pipes each.
const PIPES_KEPT_MAX: usize = 2 * 8 * 2;
/// How long the program may take to start.
const START: Duration = Duration::from_secs(10);

pub struct Gate {
    /// Where each listener can be reached: over TCP and over a Unix socket.
    pub http: [Place; 2],
    pub tcp: [Place; 2],
    pub udp: SocketAddr,
    /// How many origins have been killed.
    pub kills: Cell<u64>,
    addresses: [SocketAddr; 5],
    folder: PathBuf,
    child: RefCell<Child>,
    origins: RefCell<Vec<(u16, Child)>>,
    origin_faults: Arc<AtomicUsize>,
}

/// What the program holds at rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    pub resident_kib: u64,
    files: usize,
    /// Those of them that are pipes: some are kept to be lent again.
    pipes: usize,
    tasks: f64,
    buffers_free: f64,
    clients: f64,
    endpoint_connections: f64,
    pipes_used: f64,
    panics: f64,
}

impl Held {
    /// Nothing is open, and no more is held than at first.
    pub fn is_at_rest(&self, base: Option<Held>) -> bool {
        let closed = self.clients == 0.0 && self.endpoint_connections == 0.0 && self.pipes_used == 0.0;
        let no_more = base.is_none_or(|base| {
            self.files - self.pipes <= base.files - base.pipes
                && self.pipes <= base.pipes + PIPES_KEPT_MAX
                && self.tasks <= base.tasks
                && self.buffers_free >= base.buffers_free
        });
        closed && no_more && self.panics == 0.0
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { resident_kib, files, pipes, tasks, buffers_free, clients, endpoint_connections, pipes_used, panics } =
            self;
        write!(
            f,
            "{resident_kib} KiB, {files} files ({pipes} of pipes), {tasks} tasks, {buffers_free} buffers free, {clients} clients, "
        )?;
        write!(f, "{endpoint_connections} to endpoints, {pipes_used} pipes used, {panics} panics")
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a free port")
}

impl Gate {
    pub async fn start(engine: &str) -> Gate {
        let folder = std::env::temp_dir().join(format!("ringgate-soak-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let faults = Arc::new(AtomicUsize::new(0));
        let origins = (0..ORIGINS)
            .map(|_| free_address().port())
            .enumerate()
            .map(|(at, port)| (port, start_origin(port, &origin_path(&folder, at), &faults)))
            .collect::<Vec<_>>();
        let log = std::fs::File::create(folder.join("log")).expect("a temporary file");
        let addresses: [SocketAddr; 5] = std::array::from_fn(|_| free_address());
        let [http, tcp, udp, ..] = addresses;
        let ports: Vec<u16> = origins.iter().map(|(port, _)| *port).collect();
        let config = config(&folder, addresses, &[1; ORIGINS], &ports, false);
        std::fs::write(folder.join("gate.toml"), config).expect("a temporary file");
        let child = Command::new(env!("CARGO_BIN_EXE_ringgate"))
            .env("RINGGATE_ENGINE", engine)
            .arg("run")
            .arg(folder.join("gate.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let gate = Gate {
            http: [Place::Tcp(http), Place::Unix(folder.join("web"))],
            tcp: [Place::Tcp(tcp), Place::Unix(folder.join("raw"))],
            udp,
            kills: Cell::new(0),
            addresses,
            folder,
            child: RefCell::new(child),
            origins: RefCell::new(origins),
            origin_faults: faults,
        };
        let until = std::time::Instant::now() + START;
        while gate.metrics().await.is_none() {
            let waits = std::time::Instant::now() < until && gate.is_running();
            assert!(waits, "the program does not start:\n{}", gate.log());
            sleep(Duration::from_millis(20)).await;
        }
        gate
    }

    /// What the program has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        matches!(self.child.borrow_mut().try_wait(), Ok(None))
    }

    /// Another configuration: other weights, fewer endpoints, one listener more or less.
    pub fn reload(&self, tally: &Tally) {
        let mut weights: [u64; ORIGINS] = std::array::from_fn(|_| tally.random(4));
        weights[tally.random(ORIGINS as u64) as usize] = 1;
        self.put(&weights, tally.random(2) == 0);
        tally.add("reloads", 1);
        let faults = self.origin_faults.swap(0, Ordering::Relaxed);
        if faults > 0 {
            tally.fault(format!("origins saw {faults} faults"));
        }
    }

    /// As at the beginning.
    pub async fn restore(&self) {
        self.put(&[1; ORIGINS], false);
    }

    fn put(&self, weights: &[u64; ORIGINS], extra: bool) {
        let ports: Vec<u16> = self.origins.borrow().iter().map(|(port, _)| *port).collect();
        let text = config(&self.folder, self.addresses, weights, &ports, extra);
        let (fresh, file) = (self.folder.join("fresh"), self.folder.join("gate.toml"));
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &file)).expect("a temporary file");
        let pid = self.child.borrow().id();
        let sent = Command::new("kill").args(["-HUP", &pid.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the program is gone");
    }

    /// Kills one and starts it again after a moment.
    pub async fn kill_an_origin(&self, tally: &Tally) {
        self.kills.set(self.kills.get() + 1);
        let at = tally.random(ORIGINS as u64) as usize;
        let port = {
            let (port, child) = &mut self.origins.borrow_mut()[at];
            let _ = child.kill();
            let _ = child.wait();
            *port
        };
        sleep(Duration::from_millis(tally.random(300))).await;
        self.origins.borrow_mut()[at].1 = start_origin(port, &origin_path(&self.folder, at), &self.origin_faults);
        // What it still owed is missed a little later.
        self.kills.set(self.kills.get() + 1);
        tally.add("origins killed", 1);
    }

    async fn metrics(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.addresses[3]).await.ok()?;
        let question = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.addresses[3]);
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200").then_some(text)
    }

    pub async fn held(&self) -> Option<Held> {
        let text = self.metrics().await?;
        let sum = |name: &str| -> f64 {
            let lines =
                text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let pid = self.child.borrow().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let files: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .ok()?
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .collect();
        let files: Vec<String> = files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        Some(Held {
            resident_kib: resident.split_whitespace().next()?.parse().ok()?,
            files: files.len(),
            pipes: files.iter().filter(|file| file.starts_with("pipe:")).count(),
            tasks: sum("ringgate_worker_tasks_active"),
            buffers_free: sum("ringgate_worker_engine_buffers_free"),
            clients: sum("ringgate_worker_connections_active"),
            endpoint_connections: sum("ringgate_endpoint_connections_active")
                + sum("ringgate_endpoint_connections_idle"),
            pipes_used: sum("ringgate_worker_engine_pipes_used"),
            panics: sum("ringgate_worker_tasks_panicked_total"),
        })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let children = self.origins.get_mut().iter_mut().map(|(_, child)| child);
        for child in children.chain([self.child.get_mut()]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn origin_path(folder: &Path, at: usize) -> PathBuf {
    folder.join(format!("origin-{at}"))
}

fn start_origin(port: u16, path: &Path, faults: &Arc<AtomicUsize>) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["origin", &port.to_string()])
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("an origin starts");
    let (lines, faults) = (BufReader::new(child.stderr.take().expect("piped")).lines(), faults.clone());
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            eprintln!("{line}");
            faults.fetch_add(1, Ordering::Relaxed);
        }
    });
    child
}

/// Idle connections are given up soon, so that a rest shows what is left behind. Every second origin is reached over its Unix
/// socket; datagrams go to ports alone.
fn config(folder: &Path, addresses: [SocketAddr; 5], weights: &[u64], ports: &[u16], extra: bool) -> String {
    let [http, tcp, udp, admin, more] = addresses;
    let endpoint = |address: &str, weight: &u64| format!("{{ address = \"{address}\", weight = {weight} }}, ");
    let by_port = |port: &u16| format!("127.0.0.1:{port}");
    let path = |name: &str| format!("unix:{}", folder.join(name).display());
    let streams: String = (ports.iter().zip(weights).enumerate())
        .map(|(at, (port, weight))| match at % 2 {
            0 => endpoint(&by_port(port), weight),
            _ => endpoint(&format!("unix:{}", origin_path(folder, at).display()), weight),
        })
        .collect();
    let datagrams: String = ports.iter().zip(weights).map(|(port, weight)| endpoint(&by_port(port), weight)).collect();
    let (local_web, local_raw, local_more) = (path("web"), path("raw"), path("more"));
    let extra = [more.to_string(), local_more].map(|more| match extra {
        true => format!("[[listener]]\naddress = \"{more}\"\nupstream = \"web\"\n"),
        false => String::new(),
    });
    let extra = extra.concat();
    format!(
        "workers = 2\ndrain_timeout = \"5s\"\n[admin]\naddress = \"{admin}\"\n\
         [[listener]]\nname = \"web\"\naddress = \"{http}\"\nupstream = \"web\"\nkeep_alive_timeout = \"2s\"\n\
         [[listener]]\nname = \"raw\"\naddress = \"{tcp}\"\nprotocol = \"tcp\"\nupstream = \"raw\"\n\
         [[listener]]\nname = \"local-web\"\naddress = \"{local_web}\"\nupstream = \"web\"\nkeep_alive_timeout = \"2s\"\n\
         [[listener]]\nname = \"local-raw\"\naddress = \"{local_raw}\"\nprotocol = \"tcp\"\nupstream = \"raw\"\n\
         [[listener]]\nname = \"datagrams\"\naddress = \"{udp}\"\nprotocol = \"udp\"\nupstream = \"datagrams\"\n\
         idle_timeout = \"2s\"\n{extra}\
         [upstream.web]\nendpoints = [{streams}]\nidle_timeout = \"1s\"\n\
         [upstream.raw]\nendpoints = [{streams}]\nproxy_protocol = \"v1\"\n\
         [upstream.datagrams]\nendpoints = [{datagrams}]\n"
    )
}
