//! The conformance suite: what every driver must do, written once and run on each of them.
//!
//! A test is an async function over an engine with [`BUFFERS`] buffers of [`BUFFER_SIZE`] bytes; when it returns and
//! its tasks are dropped, every stream slot and every buffer must be free again. Tests that look at the whole process
//! (its descriptors, its limits) run in a process of their own.

use super::*;
use std::pin::Pin;
use std::time::Duration;

mod buffers;
mod cancel;
mod churn;
mod datagrams;
mod fairness;
mod fallback;
mod listeners;
mod parking;
mod simulation;
mod splicing;
mod streams;
mod tasks;
mod unix;

const BUFFERS: u16 = 8;
const PLAIN: ConnectOptions = ConnectOptions {
    source: None,
    transparent: false,
    fast_open: false,
    tcp: TcpOptions { keepalive: None, user_timeout: None },
};
const BUFFER_SIZE: usize = 64 * 1024;
const DATAGRAM_SIZE: usize = 64 * 1024;

/// Makes a module for each driver with each of the named tests in it.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod uring { $(#[test] fn $name() { $crate::engine::tests::uring(super::$name); })* }
        mod epoll { $(#[test] fn $name() { $crate::engine::tests::epoll(super::$name); })* }
        mod sim { $(#[test] fn $name() { $crate::engine::tests::sim(super::$name); })* }
    };
}

/// As `conformance`, for what only a real kernel has; each test runs in a process of its own.
macro_rules! conformance_alone {
    ($($name:ident),* $(,)?) => {
        mod uring_alone {
            $(#[test] fn $name() {
                $crate::engine::tests::alone(module_path!(), stringify!($name), || {
                    $crate::engine::tests::uring(super::$name)
                });
            })*
        }
        mod epoll_alone {
            $(#[test] fn $name() {
                $crate::engine::tests::alone(module_path!(), stringify!($name), || {
                    $crate::engine::tests::epoll(super::$name)
                });
            })*
        }
    };
}
pub(crate) use {conformance, conformance_alone};

fn uring<F: Future<Output = ()> + 'static>(test: impl Fn(Engine) -> F) {
    match Engine::new(&settings(DriverChoice::Uring)) {
        Ok(engine) => run(engine, test),
        Err(error) => println!("skipped: {error}"),
    }
}

fn epoll<F: Future<Output = ()> + 'static>(test: impl Fn(Engine) -> F) {
    run(Engine::new(&settings(DriverChoice::Epoll)).unwrap(), test);
}

fn sim<F: Future<Output = ()> + 'static>(test: impl Fn(Engine) -> F) {
    const SEEDS: u64 = 3;
    for seed in 0..SEEDS {
        let (buffer_size, datagram_size) = (BUFFER_SIZE, DATAGRAM_SIZE);
        let settings = SimSettings { seed, buffers: BUFFERS, buffer_size, datagram_size, ..SimSettings::default() };
        run(Engine::simulated(&settings).unwrap(), &test);
    }
}

fn settings(driver: DriverChoice) -> EngineSettings {
    EngineSettings { driver, buffers: BUFFERS, buffer_size: BUFFER_SIZE, datagram_size: DATAGRAM_SIZE }
}

fn run<F: Future<Output = ()> + 'static>(engine: Engine, test: impl Fn(Engine) -> F) {
    let future = test(engine.clone());
    engine.run(future);
    engine.stop();
    let settling = engine.clone();
    engine.run(async move { settle(&settling, 0).await });
}

/// Runs `test` in a process that runs nothing else.
fn alone(module: &str, name: &str, test: impl Fn()) {
    const MARK: &str = "RINGGATE_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return test();
    }
    let path = format!("{}::{name}", module.split_once("::").unwrap().1);
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", &path, "--nocapture"])
        .env(MARK, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Waits until closed streams have ended and every buffer is free again. No pipe is left then.
async fn settle(engine: &Engine, streams: u64) {
    const TURNS_MAX: usize = 1000;
    for _ in 0..TURNS_MAX {
        let counts = engine.counts();
        let given_back = counts.datagram_sockets == 0 && counts.buffers_free == u64::from(BUFFERS);
        if counts.streams == streams && given_back {
            assert_eq!((counts.pipes_used, counts.pipe_bytes), (0, 0));
            return;
        }
        engine.sleep(Duration::from_millis(1)).await;
    }
    panic!("not given back: {:?}", engine.counts());
}

/// Lets the engine take events a few times.
async fn turns(engine: &Engine, count: usize) {
    for _ in 0..count {
        engine.sleep(Duration::from_millis(1)).await;
    }
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

fn listen(engine: &Engine) -> Listener {
    engine.listen(&ip("127.0.0.1:0"), &ListenOptions::default()).unwrap()
}

/// A connection: the side that connected and the side that accepted.
async fn pair(engine: &Engine) -> (Stream, Stream) {
    let listener = listen(engine);
    let (connected, accepted) = join(engine.connect(&listener.local_address(), &PLAIN), listener.accept()).await;
    (connected.unwrap(), accepted.unwrap().0)
}

async fn send(stream: &Stream, bytes: &[u8]) -> std::io::Result<()> {
    let mut outgoing = Outgoing::default();
    outgoing.text().extend_from_slice(bytes);
    stream.send(&mut outgoing).await
}

async fn receive_exactly(stream: &Stream, len: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < len {
        let chunk = stream.receive().await.unwrap();
        assert!(!chunk.is_empty(), "the end after {} of {len} bytes", received.len());
        received.extend_from_slice(&chunk);
    }
    assert_eq!(received.len(), len);
    received
}

async fn receive_to_end(stream: &Stream) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        let chunk = stream.receive().await.unwrap();
        if chunk.is_empty() {
            return received;
        }
        received.extend_from_slice(&chunk);
    }
}

/// Bytes in which a lost, doubled or moved piece shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Polls `future` once; true if it is not done.
async fn is_pending<F: Future>(future: Pin<&mut F>) -> bool {
    let mut future = future;
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// Sends until the other side takes no more: leaves a send that waits, and gives how much was taken before.
async fn fill(engine: &Engine, stream: &Stream) -> usize {
    let block = vec![7u8; 256 * 1024];
    let stalled_before = engine.counts().sends_stalled;
    for sent in 0.. {
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(&block);
        let mut sending = pin!(stream.send(&mut outgoing));
        for _ in 0..4 {
            if !is_pending(sending.as_mut()).await {
                break;
            }
            turns(engine, 1).await;
            if engine.counts().sends_stalled > stalled_before {
                return sent * block.len();
            }
        }
    }
    unreachable!()
}
