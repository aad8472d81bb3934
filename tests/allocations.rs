//! The keep-alive path of a small GET and the path of a datagram allocate nothing: a worker runs on the test's thread, under an allocator that
//! counts that thread's allocations, between a client and an origin on threads of their own.

use ringgate::base::Sharded;
use ringgate::base::allocations::{CountingAllocator, allocations};
use ringgate::connection::Context;
use ringgate::control::config::{compile, load_text};
use ringgate::engine::{DriverChoice, Engine, EngineSettings, Remote};
use ringgate::snapshot::{Phase, Published};
use ringgate::telemetry::access_log::access_log;
use ringgate::telemetry::log::worker_log;
use ringgate::upstream::Registry;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const REQUEST: &[u8] = b"GET /small?x=1 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
/// Enough for every buffer, pool and table to have reached its size.
const WARM_UP: usize = 200;
const COUNTED: usize = 1_000;
/// A busy machine may keep the client from sending until its connection is parked; then the next request makes a task
/// anew. So the best of a few rounds counts: an allocation on the path itself shows in each of them.
const ROUNDS: usize = 10;

#[test]
fn a_small_get_on_a_kept_connection_allocates_nothing() {
    let text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        origin()
    );
    allocates_nothing(&text, ask_by_http);
}

#[test]
fn a_datagram_of_a_known_flow_allocates_nothing() {
    let text = format!(
        "[[listener]]\nname = \"udp\"\naddress = \"127.0.0.1:0\"\nprotocol = \"udp\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        udp_origin()
    );
    allocates_nothing(&text, ask_by_udp);
}

/// Makes something that sends so many requests, one after another, and takes their answers.
type Asker = fn(SocketAddr) -> Box<dyn FnMut(usize)>;

fn allocates_nothing(text: &str, asker: Asker) {
    for driver in [DriverChoice::Uring, DriverChoice::Epoll] {
        let settings = EngineSettings { driver, ..EngineSettings::default() };
        let round = || Engine::new(&settings).map(|engine| allocations_of_counted(&engine, text, asker));
        match round() {
            Ok(first) => {
                let mut counts = std::iter::once(first).chain((1..ROUNDS).flat_map(|_| round()));
                assert!(counts.any(|count| count == 0), "{driver:?}");
            }
            Err(error) => println!("{driver:?} is not tested: {error}"),
        }
    }
}

fn allocations_of_counted(engine: &Engine, text: &str, asker: Asker) -> u64 {
    let loaded = load_text("test", text, &|_, _| Ok(Vec::new())).expect("the configuration is right");
    let mut registry = Registry::new(1);
    let snapshot = compile(loaded.settings, &mut registry, 1);
    ringgate::control::supervisor::bind_first(&snapshot).expect("a port is free");
    let address = snapshot.listeners[0].bound_address().as_ip().expect("an IP listener");
    let published = Arc::new(Published::new(snapshot));
    let (access_log, _reader) = access_log(0);
    let (log, _log_reader) = worker_log(0);
    let context = Context::new(engine, 0, published.clone(), Arc::new(Sharded::new(1)), access_log, log);
    let (opened, start) = channel();
    let looks = Arc::new(Looks::default());
    engine.spawn(look_often(engine.clone(), looks.clone()));
    let counts = client(asker, address, engine.remote(), start, published, looks);
    engine.run(ringgate::worker::serve(context, move |errors| {
        assert!(errors.is_empty(), "{errors:?}");
        opened.send(()).expect("the client waits");
    }));
    engine.stop();
    let (before, after) = counts.recv().expect("the client ends");
    assert!(before > 0, "allocations are counted");
    after - before
}

/// What the worker's thread had allocated when it last looked, and how often it has looked.
#[derive(Default)]
struct Looks {
    allocations: AtomicU64,
    count: AtomicU64,
}

async fn look_often(engine: Engine, looks: Arc<Looks>) {
    loop {
        looks.allocations.store(allocations(), Ordering::Release);
        looks.count.fetch_add(1, Ordering::AcqRel);
        engine.sleep(Duration::from_millis(1)).await;
    }
}

impl Looks {
    /// What a look that begins after this call finds.
    fn next(&self) -> u64 {
        // The second look from here on began after the call.
        let wanted = self.count.load(Ordering::Acquire) + 2;
        while self.count.load(Ordering::Acquire) < wanted {
            thread::yield_now();
        }
        self.allocations.load(Ordering::Acquire)
    }
}

fn ask_by_http(address: SocketAddr) -> Box<dyn FnMut(usize)> {
    let mut stream = TcpStream::connect(address).expect("the worker listens");
    Box::new(move |times| {
        for _ in 0..times {
            stream.write_all(REQUEST).expect("the worker reads");
            let mut response = Vec::new();
            while !response.ends_with(b"hello") {
                let mut buffer = [0; 4096];
                let len = stream.read(&mut buffer).expect("the worker answers");
                assert!(len > 0, "the worker closed the connection");
                response.extend_from_slice(&buffer[..len]);
            }
        }
    })
}

fn ask_by_udp(address: SocketAddr) -> Box<dyn FnMut(usize)> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.connect(address).expect("a socket of datagrams connects at once");
    Box::new(move |times| {
        for _ in 0..times {
            socket.send(b"hello").expect("the kernel takes it");
            let mut buffer = [0; 16];
            assert_eq!(socket.recv(&mut buffer).expect("the worker answers"), 5);
        }
    })
}

/// Sends every datagram back.
fn udp_origin() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
    address
}

/// Answers every request of every connection.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("the gateway connects");
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|len| len > 0) {
                    if stream.write_all(RESPONSE).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Sends the requests and ends the worker; gives the worker's allocations before and after the counted ones.
fn client(
    asker: Asker,
    address: SocketAddr,
    remote: Remote,
    start: Receiver<()>,
    published: Arc<Published>,
    looks: Arc<Looks>,
) -> Receiver<(u64, u64)> {
    let (send, counts) = channel();
    thread::spawn(move || {
        start.recv().expect("the worker starts");
        let mut ask = asker(address);
        ask(WARM_UP);
        let before = looks.next();
        ask(COUNTED);
        let after = looks.next();
        send.send((before, after)).expect("the test waits");
        published.advance(Phase::Stopping);
        remote.wake();
    });
    counts
}
