//! The promise of a reload, at size: 2,000 open connections of four kinds through 200 reloads that add, remove and
//! reweight endpoints, all under load. Not one error, not one reset, and every connection is the one it was at the start.

use super::*;
use crate::harness::{HEAD, RAW, WEB, wait_for};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};

const KEEP_ALIVE: usize = 1_000;
const TUNNELS: usize = 400;
const DOWNLOADS: usize = 100;
const RELAYED: usize = 500;
const RELOADS: usize = 200;

/// Open files of the test itself.
const FILES: u64 = 8_192;

/// Each connection thinks between two exchanges, as people do, so that the crowd and not its noise is the load.
const THINK: Duration = Duration::from_millis(500);
/// A download gets a part at each of these.
const DRIP: Duration = Duration::from_millis(50);

on_each_engine!(two_thousand_connections_through_two_hundred_reloads);

/// What all connections share.
#[derive(Debug, Default)]
struct Crowd {
    /// Set when the reloads are over: each connection makes one more exchange and ends.
    over: AtomicBool,
    open: AtomicUsize,
    exchanges: AtomicUsize,
}

impl Crowd {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn count(&self) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
    }
}

fn two_thousand_connections_through_two_hundred_reloads(engine: Engine) {
    // Both ends of the crowd, and the origins' ends of what the gateway opens for it.
    let limit = ringgate::engine::raise_fd_limit(FILES).expect("the limit can be read");
    assert!(limit >= FILES, "this process may open {limit} files; the scenario needs {FILES} (ulimit -Hn)");
    let runtime = Driven::start();
    let crowd = Arc::new(Crowd::default());
    let origins: Vec<SocketAddr> = (0..4).map(|_| runtime.handle.block_on(serve(crowd.clone()))).collect();
    let gate = Gate::start(engine, &config(&origins, 0));
    let everyone = join(&runtime.handle, &crowd, gate.address("web"), gate.address("raw"));
    wait_for("everyone inside", || {
        (crowd.open.load(Ordering::SeqCst) == KEEP_ALIVE + TUNNELS + DOWNLOADS + RELAYED).then_some(())
    });
    for round in 1..=RELOADS {
        gate.reload(&config(&origins, round));
    }
    let before = crowd.exchanges.load(Ordering::SeqCst);
    crowd.over.store(true, Ordering::SeqCst);
    for one in everyone {
        runtime.handle.block_on(one).expect("no connection failed");
    }
    let after = crowd.exchanges.load(Ordering::SeqCst);
    assert!(before > KEEP_ALIVE + TUNNELS && after >= before + KEEP_ALIVE + TUNNELS + RELAYED, "{before} {after}");
    assert_eq!(gate.generation(), RELOADS as u64 + 1);
    assert_eq!(gate.metric("ringgate_route_responses_total", &["class=\"5xx\""]), 0.0);
}

/// A runtime for the crowd and its origins, on one thread of its own.
struct Driven {
    handle: Handle,
    stop: Arc<tokio::sync::Notify>,
}

impl Driven {
    fn start() -> Driven {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let driven = Driven { handle: runtime.handle().clone(), stop: Arc::default() };
        let stop = driven.stop.clone();
        std::thread::spawn(move || runtime.block_on(stop.notified()));
        driven
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// Which endpoints there are, and how heavy, changes with every round; one is always left.
fn config(origins: &[SocketAddr], round: usize) -> String {
    let chosen: Vec<String> = origins
        .iter()
        .enumerate()
        .filter(|(index, _)| !(round + index).is_multiple_of(3))
        .map(|(index, address)| format!("{{ address = \"{address}\", weight = {} }}", 1 + (round * 7 + index) % 5))
        .collect();
    format!("{HEAD}{WEB}{RAW}\n[upstream.app]\nendpoints = [{}]\n", chosen.join(", "))
}

/// Starts the whole crowd.
fn join(runtime: &Handle, crowd: &Arc<Crowd>, web: SocketAddr, raw: SocketAddr) -> Vec<tokio::task::JoinHandle<()>> {
    let mut everyone = Vec::new();
    for index in 0..KEEP_ALIVE {
        everyone.push(runtime.spawn(keep_alive(crowd.clone(), web, index)));
    }
    for index in 0..TUNNELS {
        everyone.push(runtime.spawn(tunnel(crowd.clone(), web, index)));
    }
    for _ in 0..DOWNLOADS {
        everyone.push(runtime.spawn(download(crowd.clone(), web)));
    }
    for index in 0..RELAYED {
        everyone.push(runtime.spawn(relayed(crowd.clone(), raw, index)));
    }
    everyone
}

async fn keep_alive(crowd: Arc<Crowd>, web: SocketAddr, index: usize) {
    let mut stream = TcpStream::connect(web).await.expect("the gate accepts");
    crowd.open.fetch_add(1, Ordering::SeqCst);
    loop {
        let last = !crowd.goes_on();
        stream
            .write_all(format!("GET /{index} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .expect("an open connection");
        let (head, rest) = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let body = body(&mut stream, rest, 5).await;
        assert_eq!(body, b"hello");
        crowd.count();
        if last {
            return;
        }
        tokio::time::sleep(THINK).await;
    }
}

async fn tunnel(crowd: Arc<Crowd>, web: SocketAddr, index: usize) {
    let mut stream = TcpStream::connect(web).await.expect("the gate accepts");
    let upgrade = "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.expect("an open connection");
    let (head, rest) = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && rest.is_empty(), "{head}");
    crowd.open.fetch_add(1, Ordering::SeqCst);
    echoes(&crowd, stream, index).await;
}

async fn relayed(crowd: Arc<Crowd>, raw: SocketAddr, index: usize) {
    let mut stream = TcpStream::connect(raw).await.expect("the gate accepts");
    // The origins speak HTTP first on every connection; this asks them for a tunnel, through a relay that knows nothing of it.
    stream.write_all(b"GET /tunnel HTTP/1.1\r\n\r\n").await.expect("an open connection");
    let (head, _) = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    crowd.open.fetch_add(1, Ordering::SeqCst);
    echoes(&crowd, stream, index).await;
}

async fn echoes(crowd: &Crowd, mut stream: TcpStream, index: usize) {
    for round in 0.. {
        let last = !crowd.goes_on();
        let message = format!("{index} says {round}").into_bytes();
        stream.write_all(&message).await.expect("an open connection");
        let echo = body(&mut stream, Vec::new(), message.len()).await;
        assert_eq!(echo, message);
        crowd.count();
        if last {
            return;
        }
        tokio::time::sleep(THINK).await;
    }
}

/// One response that lasts as long as the reloads do, and ends as a whole one.
async fn download(crowd: Arc<Crowd>, web: SocketAddr) {
    let mut stream = TcpStream::connect(web).await.expect("the gate accepts");
    stream
        .write_all(b"GET /download HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .expect("an open connection");
    let (head, mut received) = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    crowd.open.fetch_add(1, Ordering::SeqCst);
    stream.read_to_end(&mut received).await.expect("an orderly end");
    assert!(received.ends_with(b"0\r\n\r\n") && received.len() > 100, "{} bytes", received.len());
}

/// A message head as text, and what came after it.
async fn head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut received = Vec::new();
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = received.split_off(end + 4);
            return (String::from_utf8_lossy(&received).into_owned(), rest);
        }
        let count = stream.read_buf(&mut received).await.expect("an open connection");
        assert!(count > 0, "closed within a head: {:?}", String::from_utf8_lossy(&received));
    }
}

async fn body(stream: &mut TcpStream, mut received: Vec<u8>, length: usize) -> Vec<u8> {
    while received.len() < length {
        let count = stream.read_buf(&mut received).await.expect("an open connection");
        assert!(count > 0, "closed within a body");
    }
    received
}

/// An origin for all four kinds: it answers, tunnels and drips by the target.
async fn serve(crowd: Arc<Crowd>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(crowd.clone(), stream));
        }
    });
    address
}

async fn answer(crowd: Arc<Crowd>, mut stream: TcpStream) -> Option<()> {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            // The gateway closes idle connections of endpoints that left: that is no error of anybody's.
            if stream.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        }
        let tunnel = received.starts_with(b"GET /tunnel");
        let download = received.starts_with(b"GET /download");
        received.clear();
        if tunnel {
            let accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(accepted.as_bytes()).await.ok()?;
            let (mut reader, mut writer) = stream.split();
            return tokio::io::copy(&mut reader, &mut writer).await.ok().map(|_| ());
        }
        if download {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
            while crowd.goes_on() {
                stream.write_all(b"10\r\n0123456789abcdef\r\n").await.ok()?;
                tokio::time::sleep(DRIP).await;
            }
            stream.write_all(b"10\r\n0123456789abcdef\r\n0\r\n\r\n").await.ok()?;
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.ok()?;
        }
    }
}
