//! The memory contract: what `ringgate check` prints is more than the process ever holds, with a crowd that does its worst:
//! idle, slow to read and slow to send; and where the limit is too low for the crowd, it is the crowd that gives way.
//!
//! The crowd and its origin are a process of their own, because one process may not open as many files as it has and the
//! other scenarios too.

use super::*;
use crate::harness::{HEAD, PATIENCE, WEB, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

on_each_engine!(a_crowd_at_its_worst_stays_below_the_figure, a_crowd_beyond_the_limit_gives_way);

/// In the environment of this test binary when it is started again only to be the crowd: how many there are of each kind.
const CROWD: &str = "RINGGATE_IT_MEMORY_CROWD";
/// Open files of the crowd's process.
const FILES: u64 = 18_000;
/// Clients that connect at a time: fewer than the queue of a listener holds.
const AT_ONCE: usize = 500;
const BIG: usize = 1 << 20;

/// One crowd at a time: two would compete for the machine and measure the same.
static TURN: Mutex<()> = Mutex::new(());

/// How many of each kind.
#[derive(Clone, Copy)]
struct Kinds {
    idle: usize,
    slow_reading: usize,
    slow_sending: usize,
}

fn a_crowd_at_its_worst_stays_below_the_figure(engine: Engine) {
    let _turn = TURN.lock();
    let here = Origin::text("hello");
    let crowd = Crowd::start(Kinds { idle: 10_000, slow_reading: 2_000, slow_sending: 1_000 });
    // How much a slow reader holds depends on how its bytes arrive: from 30 KiB to three receive buffers. With this limit all
    // of them have room; with half of it some had to go in some runs.
    let gate = Gate::start(engine, &config(crowd.origin, &here, "640MiB"));
    let figure = printed_figure(&gate);
    let crowd = crowd.join(gate.address("web"));
    // The kernel says that a connection is there before the gateway has accepted it.
    wait_for("all of the crowd", || {
        (gate.metric("ringgate_listener_connections_active", &[]) == 13_000.0).then_some(())
    });
    let peak = peak_resident(&gate);
    println!("{}: {} of {} MiB", engine.name(), peak >> 20, figure >> 20);
    assert!(peak < figure, "{peak} bytes resident, and {figure} promised");
    let reasons = ["connections_shed", "connections_refused"]
        .map(|of| gate.metric(&format!("ringgate_listener_{of}_total"), &[]));
    assert_eq!(reasons, [0.0; 2], "nobody has to go");
    assert_eq!(gate.client().get("/here").text(), "hello");
    drop(crowd);
    wait_for("the crowd to be gone", || {
        (gate.metric("ringgate_listener_connections_active", &[]) <= 1.0).then_some(())
    });
    for kind in ["waiting", "request"] {
        wait_for(kind, || (gate.metric(&format!("ringgate_worker_memory_{kind}_bytes"), &[]) == 0.0).then_some(()));
    }
}

fn a_crowd_beyond_the_limit_gives_way(engine: Engine) {
    let _turn = TURN.lock();
    let here = Origin::text("hello");
    // Enough of them that it is too much also where responses come in small pieces, as on a machine with much else to do.
    let crowd = Crowd::start(Kinds { idle: 1_000, slow_reading: 4_000, slow_sending: 500 });
    let gate = Gate::start(engine, &config(crowd.origin, &here, "128MiB"));
    let figure = printed_figure(&gate);
    let crowd = crowd.join(gate.address("web"));
    let line = gate.wait_log("memory is short");
    assert!(line.contains("memory_max"), "the line names the cure: {line}");
    let peak = peak_resident(&gate);
    println!("{}: {} of {} MiB", engine.name(), peak >> 20, figure >> 20);
    assert!(peak < figure, "{peak} bytes resident, and {figure} promised");
    gate.wait_access("reason", "memory_full");
    drop(crowd);
    wait_for("room", || {
        let mut client = gate.client();
        client.send("GET /here HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().ok().filter(|response| response.status == 200)
    });
}

/// Nobody is sent away for being slow, so that all are there at once. The path `/here` is answered by an origin that stays
/// when the crowd and its own have left.
fn config(origin: SocketAddr, here: &Origin, memory_max: &str) -> String {
    let patient = "protocol = \"http\"\nsend_timeout = \"5m\"\nrequest_head_timeout = \"5m\"\nkeep_alive_timeout = \"5m\"\n\
                   request_body_idle_timeout = \"5m\"\nrate_grace = \"5m\"\n";
    let web = WEB.replacen("protocol = \"http\"\n", patient, 1);
    let route = "[[route]]\nlistener = \"web\"\npath = \"/here\"\nupstream = \"here\"\n";
    let upstreams =
        format!("[upstream.app]\nendpoints = [\"{origin}\"]\n[upstream.here]\nendpoints = [\"{}\"]\n", here.address);
    format!("memory_max = \"{memory_max}\"\n{HEAD}{web}{route}{upstreams}")
}

/// What `ringgate check` prints of the file that the gate runs on, in bytes.
fn printed_figure(gate: &Gate) -> u64 {
    let file = gate.directory().join("gate.toml");
    let output =
        Command::new(env!("CARGO_BIN_EXE_ringgate")).arg("check").arg(file).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, figure) = text.split_once("connections at most ").unwrap_or_else(|| panic!("no figure in {text}"));
    let mut words = figure.split_whitespace();
    let (number, unit) = (words.next().expect("a number"), words.next().expect("a unit"));
    assert_eq!(unit, "MiB", "{text}");
    number.parse::<u64>().unwrap_or_else(|_| panic!("a number of MiB in {text}")) << 20
}

/// The most that the process has had resident since its start, in bytes.
fn peak_resident(gate: &Gate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.process())).expect("the gate runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says it");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number") << 10
}

/// The other process, before it has joined.
struct Crowd {
    child: Child,
    said: BufReader<ChildStdout>,
    told: ChildStdin,
    origin: SocketAddr,
}

/// The other process while it holds its connections; they end with this value.
struct Joined(Child);

impl Crowd {
    fn start(kinds: Kinds) -> Crowd {
        let name = format!("{}::become_the_crowd", module_path!().split_once("::").expect("a path").1);
        let mut command = Command::new(std::env::current_exe().expect("a test is a file"));
        command.args(["--exact", &name, "--nocapture"]);
        command.env(CROWD, format!("{} {} {}", kinds.idle, kinds.slow_reading, kinds.slow_sending));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the test binary starts again");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let told = child.stdin.take().expect("piped");
        let origin = told_by(&mut said, "origin ").parse().expect("an address");
        Crowd { child, said, told, origin }
    }

    fn join(mut self, gate: SocketAddr) -> Joined {
        writeln!(self.told, "{gate}").expect("the crowd listens");
        told_by(&mut self.said, "joined");
        Joined(self.child)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The rest of the next line that has this in it: the test binary's own words may come first on it.
fn told_by(said: &mut impl BufRead, what: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(said.read_line(&mut line).is_ok_and(|read| read > 0), "the crowd ended without saying {what}");
        if let Some((_, rest)) = line.split_once(what) {
            return rest.trim().to_owned();
        }
    }
}

/// Not a scenario of its own: the others run it in a process that then is the crowd.
#[test]
fn become_the_crowd() {
    let Ok(kinds) = std::env::var(CROWD) else { return };
    let mut counts = kinds.split(' ').map(|count| count.parse().expect("a count"));
    let mut count = || counts.next().expect("three counts");
    let kinds = Kinds { idle: count(), slow_reading: count(), slow_sending: count() };
    let limit = ringgate::engine::raise_fd_limit(FILES).expect("the limit can be read");
    assert!(limit >= FILES, "this process may open {limit} files; the scenario needs {FILES} (ulimit -Hn)");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("origin {}", listener.local_addr().expect("a bound socket"));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        let gate = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await.expect("no panic");
        let gate = gate.expect("the gate's address").expect("text").parse().expect("an address");
        let held = tokio::time::timeout(3 * PATIENCE, everyone(gate, kinds)).await.expect("the crowd gets in");
        println!("joined");
        // Until it is killed.
        std::future::pending::<()>().await;
        drop(held);
    });
}

async fn everyone(gate: SocketAddr, kinds: Kinds) -> Vec<TcpStream> {
    let mut held = Vec::new();
    let Kinds { idle, slow_reading, slow_sending } = kinds;
    let all = (0..idle).map(|_| Kind::Idle);
    let all = all.chain((0..slow_reading).map(|number| Kind::SlowReading { chunked: number % 2 == 0 }));
    let all: Vec<Kind> =
        all.chain((0..slow_sending).map(|number| Kind::SlowSending { head: number % 2 == 0 })).collect();
    for (group, kinds) in all.chunks(AT_ONCE).enumerate() {
        let joining = kinds.iter().map(|kind| tokio::spawn(join(gate, *kind, group))).collect::<Vec<_>>();
        for one in joining {
            held.extend(one.await.expect("no panic"));
        }
    }
    held
}

#[derive(Clone, Copy)]
enum Kind {
    /// Has had an answer and waits.
    Idle,
    SlowReading {
        chunked: bool,
    },
    /// Within the head, or within the body.
    SlowSending {
        head: bool,
    },
}

/// A client that has done what its kind does; `None` if the gate has sent it away.
async fn join(gate: SocketAddr, kind: Kind, group: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    if matches!(kind, Kind::SlowReading { .. }) {
        socket.set_recv_buffer_size(4096).expect("a small buffer");
    }
    // From several addresses: one has not ports enough.
    let from = SocketAddr::from(([127, 0, 1, 1 + group as u8], 0));
    socket.bind(from).expect("a free port");
    let mut stream = socket.connect(gate).await.expect("the gate accepts");
    let request = match kind {
        Kind::Idle => "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        Kind::SlowReading { chunked: true } => "GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        Kind::SlowReading { chunked: false } => "GET /big HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        Kind::SlowSending { head: true } => format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(4_000)),
        Kind::SlowSending { head: false } => {
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(2_000))
        }
    };
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut first = [0; 64];
    if !matches!(kind, Kind::SlowSending { .. }) {
        // The beginning of an answer: what is waited for has happened.
        stream.read(&mut first).await.ok().filter(|count| *count > 0)?;
    }
    Some(stream)
}

/// The origin: a short answer, a long one, a long one in chunks; a request with a body is never answered.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut received = Vec::new();
    loop {
        while !received.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        }
        let asks = |what: &[u8]| received.starts_with(what);
        if asks(b"GET /big") {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n").as_bytes()).await.ok()?;
            stream.write_all(&vec![b'b'; BIG]).await.ok()?;
        } else if asks(b"GET /chunked") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
            stream.write_all(format!("{BIG:x}\r\n").as_bytes()).await.ok()?;
            stream.write_all(&vec![b'c'; BIG]).await.ok()?;
            stream.write_all(b"\r\n0\r\n\r\n").await.ok()?;
        } else if asks(b"POST") {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok()?;
            return None;
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.ok()?;
        }
        received.clear();
    }
}
