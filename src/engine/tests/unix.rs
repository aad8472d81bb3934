//! Unix sockets: what is as it is with TCP, what cannot be, and one socket that several engines accept from.

use super::*;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

conformance!(
    bytes_go_both_ways,
    an_abstract_name_is_an_address_too,
    a_reset_is_an_end,
    bytes_are_spliced_between_the_families,
    a_full_queue_is_waited_for,
    nobody_listens,
    what_a_slow_reader_takes_is_seen,
    a_dropped_listener_lets_its_clients_go,
);
conformance_alone!(each_of_several_engines_accepts, who_stops_accepting_leaves_it_to_the_others);

/// A name that no other test uses; the simulation knows no files, so there is none to be removed.
fn name() -> Address {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Address::unix(&format!("@ringgate-engine-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

async fn unix_pair(engine: &Engine) -> (Stream, Stream) {
    let address = name();
    let listener = engine.listen(&address, &ListenOptions::default()).unwrap();
    let (connected, accepted) = join(engine.connect(&address, &PLAIN), listener.accept()).await;
    (connected.unwrap(), accepted.unwrap().0)
}

async fn bytes_go_both_ways(engine: Engine) {
    let address = match engine.driver_name() {
        "sim" => name(),
        _ => Address::unix(path().to_str().unwrap()),
    };
    let listener = engine.listen(&address, &ListenOptions::default()).unwrap();
    assert_eq!(listener.local_address(), address);
    let (connected, accepted) = join(engine.connect(&address, &PLAIN), listener.accept()).await;
    let (client, (server, of_client)) = (connected.unwrap(), accepted.unwrap());
    assert_eq!(of_client, Address::UnixUnnamed);
    assert_eq!(client.local_address().unwrap(), Address::UnixUnnamed);
    assert_eq!(server.local_address().unwrap(), address);
    for (from, to) in [(&client, &server), (&server, &client)] {
        let bytes = pattern(3 << 20);
        let (sent, received) = join(send(from, &bytes), receive_exactly(to, bytes.len())).await;
        sent.unwrap();
        assert!(received == bytes);
    }
    client.shutdown();
    assert!(server.receive().await.unwrap().is_empty());
    send(&server, b"still open").await.unwrap();
    assert_eq!(receive_exactly(&client, 10).await, b"still open");
    if let Some(path) = address.path() {
        std::fs::remove_file(path).unwrap();
    }
}

fn path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("ringgate-engine-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(name)
}

async fn an_abstract_name_is_an_address_too(engine: Engine) {
    let address = name();
    let listener = engine.listen(&address, &ListenOptions::default()).unwrap();
    // SO_REUSEPORT means nothing here.
    let again = engine.listen(&address, &ListenOptions::default());
    assert_eq!(again.err().unwrap().kind(), ErrorKind::AddrInUse);
    drop(listener);
    turns(&engine, 2).await;
    engine.listen(&address, &ListenOptions::default()).unwrap();
}

async fn a_reset_is_an_end(engine: Engine) {
    let (client, server) = unix_pair(&engine).await;
    client.reset();
    assert!(server.receive().await.unwrap().is_empty());
}

/// From TCP to Unix, from Unix to TCP, and from Unix to Unix; the reader is slower than the sender now and then.
async fn bytes_are_spliced_between_the_families(engine: Engine) {
    for (from_unix, to_unix) in [(false, true), (true, false), (true, true)] {
        let (source, from) = if from_unix { unix_pair(&engine).await } else { pair(&engine).await };
        let (to, reader) = if to_unix { unix_pair(&engine).await } else { pair(&engine).await };
        let bytes = pattern(3 << 20);
        let sending = async {
            send(&source, &bytes).await.unwrap();
            source.shutdown();
        };
        let relaying = async {
            let mut splice = engine.splice(&from, &to);
            let mut spliced = 0;
            while let Filled::Bytes(count) = splice.fill(usize::MAX).await {
                spliced += count;
                while splice.drain().await.unwrap() > 0 {}
            }
            assert!(from.receive().await.unwrap().is_empty());
            to.shutdown();
            spliced
        };
        let reading = async {
            turns(&engine, 5).await;
            receive_to_end(&reader).await
        };
        let (_, (spliced, received)) = join(sending, join(relaying, reading)).await;
        assert!(received == bytes);
        assert_eq!(spliced, bytes.len());
    }
}

async fn a_full_queue_is_waited_for(engine: Engine) {
    let address = name();
    let short = ListenOptions { backlog: 1, ..ListenOptions::default() };
    let listener = engine.listen(&address, &short).unwrap();
    let mut clients = Vec::new();
    for _ in 0..6 {
        let (connecting, address) = (engine.clone(), address.clone());
        let (done, connected) = (Event::default(), std::rc::Rc::new(std::cell::Cell::new(false)));
        clients.push(connected.clone());
        engine.spawn(async move {
            let stream = connecting.connect(&address, &PLAIN).await.unwrap();
            connected.set(true);
            let _stream = stream;
            done.wait().await;
        });
    }
    turns(&engine, 20).await;
    assert!(clients.iter().any(|connected| !connected.get()), "the queue has room for one");
    let mut servers = Vec::new();
    for _ in 0..clients.len() {
        servers.push(listener.accept().await.unwrap());
    }
    while !clients.iter().all(|connected| connected.get()) {
        turns(&engine, 1).await;
    }
    engine.stop();
}

async fn nobody_listens(engine: Engine) {
    let error = engine.connect(&name(), &PLAIN).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let unnamed = engine.connect(&Address::UnixUnnamed, &PLAIN).await;
    assert!(unnamed.is_err());
}

async fn what_a_slow_reader_takes_is_seen(engine: Engine) {
    let (client, server) = unix_pair(&engine).await;
    let bytes = pattern(4 << 20);
    let mut sending = pin!(send(&client, &bytes));
    for _ in 0..4 {
        assert!(is_pending(sending.as_mut()).await);
        turns(&engine, 1).await;
    }
    let before = client.acknowledged();
    let mut received = 0;
    while received < 1 << 20 {
        received += server.receive().await.unwrap().len();
    }
    turns(&engine, 5).await;
    let taken = client.acknowledged() - before;
    assert!((512 << 10..=2 << 20).contains(&taken), "{taken} bytes of about 1 MiB");
}

async fn a_dropped_listener_lets_its_clients_go(engine: Engine) {
    let address = name();
    let listener = engine.listen(&address, &ListenOptions::default()).unwrap();
    let client = engine.connect(&address, &PLAIN).await.unwrap();
    drop(listener);
    assert!(client.receive().await.map_or(true, |chunk| chunk.is_empty()));
}

// ---- one socket, several engines

fn shared() -> (Arc<SharedSocket>, PathBuf) {
    let path = path();
    let address = Address::unix(path.to_str().unwrap());
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&address.to_kernel().unwrap()).unwrap();
    socket.listen(BACKLOG).unwrap();
    (Arc::new(SharedSocket::new(socket, address).unwrap()), path)
}

/// Threads with an engine each that accept from one socket and send back their number and what they receive.
struct Crew {
    remotes: Vec<Remote>,
    threads: Vec<thread::JoinHandle<()>>,
    accepted: Arc<Vec<AtomicUsize>>,
    /// Those that accept no more.
    stopped: Arc<AtomicUsize>,
}

impl Crew {
    fn start(driver: DriverChoice, socket: &Arc<SharedSocket>, count: usize) -> Crew {
        let accepted: Arc<Vec<AtomicUsize>> = Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect());
        let remotes = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicUsize::new(0));
        let threads = (0..count).map(|index| {
            let (socket, accepted, remotes) = (socket.clone(), accepted.clone(), remotes.clone());
            let stopped = stopped.clone();
            thread::spawn(move || {
                let engine = Engine::new(&settings(driver)).unwrap();
                let inner = engine.clone();
                engine.run(async move {
                    let listener = inner.listen_shared(&socket).unwrap();
                    drop(socket);
                    remotes.lock().unwrap().push((index, inner.remote()));
                    let serving = inner.clone();
                    race(inner.woken(), async move {
                        loop {
                            let (stream, _) = listener.accept().await.unwrap();
                            accepted[index].fetch_add(1, Ordering::SeqCst);
                            serving.spawn(async move {
                                let _ = send(&stream, b"hello").await;
                                let _ = stream.receive().await;
                            });
                        }
                    })
                    .await;
                });
                // The engine goes on without the listener, as a worker does whose listener was removed.
                let last = engine.clone();
                engine.run(async move {
                    turns(&last, 2).await;
                    stopped.fetch_add(1, Ordering::SeqCst);
                    last.woken().await;
                });
                engine.stop();
            })
        });
        let threads: Vec<_> = threads.collect();
        while remotes.lock().unwrap().len() < count {
            thread::yield_now();
        }
        let mut remotes = std::mem::take(&mut *remotes.lock().unwrap());
        remotes.sort_by_key(|(index, _)| *index);
        Crew { remotes: remotes.into_iter().map(|(_, remote)| remote).collect(), threads, accepted, stopped }
    }

    fn accepted(&self) -> Vec<usize> {
        self.accepted.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }

    /// Wakes until each thread has seen both of its wakes.
    fn end(self) {
        for thread in self.threads {
            while !thread.is_finished() {
                self.remotes.iter().for_each(Remote::wake);
                thread::yield_now();
            }
            thread.join().unwrap();
        }
    }
}

fn driver_of(engine: &Engine) -> DriverChoice {
    if engine.driver_name() == "uring" { DriverChoice::Uring } else { DriverChoice::Epoll }
}

fn greeted(path: &PathBuf) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello");
    stream
}

async fn each_of_several_engines_accepts(engine: Engine) {
    const ENGINES: usize = 3;
    /// What each is to accept, and the connections in which a thread that the machine keeps waiting has come to that.
    const EACH: usize = 10;
    const CONNECTIONS_MAX: usize = 10_000;
    let (socket, path) = shared();
    let crew = Crew::start(driver_of(&engine), &socket, ENGINES);
    let mut connections = 0;
    // One after the other, so that all engines wait whenever one comes.
    while crew.accepted().iter().any(|count| *count < EACH) {
        assert!(connections < CONNECTIONS_MAX, "{:?}", crew.accepted());
        drop(greeted(&path));
        connections += 1;
    }
    assert_eq!(crew.accepted().iter().sum::<usize>(), connections);
    crew.end();
}

async fn who_stops_accepting_leaves_it_to_the_others(engine: Engine) {
    let (socket, path) = shared();
    let crew = Crew::start(driver_of(&engine), &socket, 2);
    greeted(&path);
    greeted(&path);
    crew.remotes[0].wake();
    while crew.stopped.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let before = crew.accepted()[0];
    for _ in 0..50 {
        greeted(&path).write_all(b"x").unwrap();
    }
    assert_eq!(crew.accepted()[0], before);
    crew.end();
    drop(socket);
    assert!(!path.exists());
}
