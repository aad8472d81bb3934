//! Datagrams: each whole or not at all, in pieces or one by one; who is told when nothing listens; what is left behind.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

conformance!(
    datagrams_of_every_size_come_back,
    many_senders_are_told_apart,
    segments_keep_their_borders,
    an_answer_comes_from_the_address_that_was_asked,
    ipv6_datagrams,
    a_connected_socket_hears_nobody_else,
    a_sender_is_told_that_nothing_listens,
    what_arrived_before_a_refusal_is_received_after_it,
    a_dropped_receive_loses_no_datagram,
    datagram_sockets_close_in_every_state,
    datagrams_need_no_stream_buffer,
    an_address_is_shared_only_if_all_agree,
    a_full_queue_loses_what_it_counts,
    a_flood_leaves_others_their_turn,
    one_task_serves_many_sockets,
    a_key_is_woken_at_its_time,
    datagram_sockets_end_with_the_engine,
);

fn bound(engine: &Engine, address: &str) -> DatagramSocket {
    engine.bind_datagrams(address.parse().unwrap(), &DatagramOptions::default()).unwrap()
}

fn connected(engine: &Engine, to: SocketAddr) -> DatagramSocket {
    engine.connect_datagrams(to, &DatagramOptions::default()).unwrap()
}

/// Every datagram of the next receive, cut apart.
async fn receive_some(socket: &DatagramSocket) -> io::Result<Vec<(SocketAddr, Vec<u8>)>> {
    let mut found = Vec::new();
    socket
        .receive(|datagram| {
            let before = found.len();
            let parts = super::super::datagram::parts(datagram.bytes, datagram.segment);
            found.extend(parts.map(|part| (datagram.from, part.to_vec())));
            assert_eq!(found.len() - before, datagram.count());
        })
        .await?;
    Ok(found)
}

async fn receive_many(socket: &DatagramSocket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(receive_some(socket).await.unwrap());
    }
    assert_eq!(found.len(), count);
    found
}

/// Sends back what it receives, for ever.
fn spawn_echo(engine: &Engine, socket: DatagramSocket) {
    engine.spawn(async move {
        loop {
            let echoed = socket.receive(|datagram| {
                socket.send_to(datagram.bytes, datagram.segment, datagram.from, datagram.to).unwrap();
            });
            echoed.await.unwrap();
        }
    });
}

async fn datagrams_of_every_size_come_back(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let client = connected(&engine, server.local_address());
    assert_ne!(client.local_address().port(), 0);
    spawn_echo(&engine, server);
    for size in [0, 1, 2, 100, 1472, 1473, 9000, 65_507] {
        let message = pattern(size);
        client.send(&message, size).unwrap();
        let echoed = receive_many(&client, 1).await;
        assert!(echoed[0].1 == message, "{size} bytes changed");
    }
}

async fn many_senders_are_told_apart(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let clients: Vec<DatagramSocket> = (0..100).map(|_| connected(&engine, server.local_address())).collect();
    let mut expected = BTreeMap::new();
    for (number, client) in clients.iter().enumerate() {
        client.send(&pattern(number), number).unwrap();
        expected.insert(client.local_address(), pattern(number));
    }
    let found: BTreeMap<SocketAddr, Vec<u8>> = receive_many(&server, clients.len()).await.into_iter().collect();
    assert!(found == expected);
}

async fn segments_keep_their_borders(engine: Engine) {
    for coalesce in [false, true] {
        let options = DatagramOptions { coalesce, queue_bytes: 1 << 20, ..DatagramOptions::default() };
        let server = engine.bind_datagrams("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let client = connected(&engine, server.local_address());
        for (total, segment) in
            [(10, 4), (8, 4), (4, 4), (1, 4), (100, 1), (30_000, 1200), (20_000, 7000), (100_000, 1472), (9_000, 100)]
        {
            let bytes = pattern(total);
            client.send(&bytes, segment).unwrap();
            let expected: Vec<&[u8]> = bytes.chunks(segment).collect();
            let found = receive_many(&server, expected.len()).await;
            assert!(
                found.iter().map(|(_, part)| &part[..]).eq(expected),
                "{total} bytes by {segment}, coalesced: {coalesce}"
            );
            // And the other way, to an address.
            server.send_to(&bytes, segment, client.local_address(), None).unwrap();
            let returned = receive_many(&client, bytes.len().div_ceil(segment)).await;
            assert!(returned.iter().map(|(_, part)| &part[..]).eq(bytes.chunks(segment)));
        }
    }
}

async fn an_answer_comes_from_the_address_that_was_asked(engine: Engine) {
    let server = bound(&engine, "0.0.0.0:0");
    let port = server.local_address().port();
    let asked: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let client = connected(&engine, asked);
    client.send(b"question", 8).unwrap();
    let mut to = None;
    server.receive(|datagram| to = datagram.to).await.unwrap();
    assert_eq!(to, Some(asked.ip()));
    server.send_to(b"answer", 6, client.local_address(), to).unwrap();
    assert_eq!(receive_many(&client, 1).await[0], (asked, b"answer".to_vec()));
}

async fn ipv6_datagrams(engine: Engine) {
    for address in ["[::1]:0", "[::]:0"] {
        let server = bound(&engine, address);
        let asked: SocketAddr = format!("[::1]:{}", server.local_address().port()).parse().unwrap();
        spawn_echo(&engine, server);
        let client = connected(&engine, asked);
        client.send(&pattern(5000), 1000).unwrap();
        let echoed = receive_many(&client, 5).await;
        assert!(echoed.iter().all(|(from, part)| from.ip() == asked.ip() && part.len() == 1000));
    }
}

async fn a_connected_socket_hears_nobody_else(engine: Engine) {
    let (server, stranger) = (bound(&engine, "127.0.0.1:0"), bound(&engine, "127.0.0.1:0"));
    let client = connected(&engine, server.local_address());
    stranger.send_to(b"stranger", 8, client.local_address(), None).unwrap();
    turns(&engine, 3).await;
    server.send_to(b"server", 6, client.local_address(), None).unwrap();
    assert_eq!(receive_many(&client, 1).await[0], (server.local_address(), b"server".to_vec()));
}

async fn a_sender_is_told_that_nothing_listens(engine: Engine) {
    let address = bound(&engine, "127.0.0.1:0").local_address();
    settle(&engine, 0).await;
    let client = connected(&engine, address);
    for _ in 0..3 {
        client.send(b"anybody?", 8).unwrap();
        assert_eq!(receive_some(&client).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    // The next send fails instead, and is not made.
    client.send(b"anybody?", 8).unwrap();
    turns(&engine, 3).await;
    assert_eq!(client.send(b"lost", 4).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let server = bound(&engine, &address.to_string());
    client.send(b"hello", 5).unwrap();
    assert_eq!(receive_many(&server, 1).await[0].1, b"hello");
    // A socket that hears anybody is told nothing.
    let nobody = connected(&engine, address).local_address();
    server.send_to(b"gone", 4, nobody, None).unwrap();
    turns(&engine, 3).await;
    client.send(b"still here", 10).unwrap();
    assert_eq!(receive_many(&server, 1).await[0].1, b"still here");
}

async fn what_arrived_before_a_refusal_is_received_after_it(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let client = connected(&engine, server.local_address());
    for number in 0..3u8 {
        server.send_to(&[number], 1, client.local_address(), None).unwrap();
    }
    turns(&engine, 2).await;
    drop(server);
    settle_sockets(&engine, 1).await;
    client.send(b"anybody?", 8).unwrap();
    turns(&engine, 3).await;
    let mut found = Vec::new();
    let mut refused = 0;
    while found.len() < 3 || refused < 1 {
        match receive_some(&client).await {
            Ok(some) => found.extend(some.into_iter().map(|(_, bytes)| bytes[0])),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                refused += 1;
            }
        }
    }
    assert_eq!(found, [0, 1, 2]);
}

async fn settle_sockets(engine: &Engine, sockets: u64) {
    while engine.counts().datagram_sockets != sockets {
        turns(engine, 1).await;
    }
}

async fn a_dropped_receive_loses_no_datagram(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let client = connected(&engine, server.local_address());
    for number in 0..20u8 {
        assert!(is_pending(pin!(server.receive(|_| panic!("nothing was sent")))).await);
        client.send(&[number], 1).unwrap();
        turns(&engine, 2).await;
        assert_eq!(receive_many(&server, 1).await[0].1, [number]);
    }
}

async fn datagram_sockets_close_in_every_state(engine: Engine) {
    for state in 0..5 {
        let server = bound(&engine, "127.0.0.1:0");
        let client = connected(&engine, server.local_address());
        if state >= 1 {
            let (mut one, mut other) = (pin!(server.receive(|_| {})), pin!(client.receive(|_| {})));
            assert!(is_pending(one.as_mut()).await && is_pending(other.as_mut()).await);
        }
        if state >= 2 {
            client.send(b"never received", 14).unwrap();
        }
        if state >= 3 {
            turns(&engine, 2).await;
        }
        if state >= 4 {
            server.receive(|_| {}).await.unwrap();
        }
    }
    settle(&engine, 0).await;
}

/// Places of the usual size are longer than any datagram; so an engine with small ones.
#[test]
fn too_long_datagrams_are_counted_and_lost() {
    for driver in [DriverChoice::Uring, DriverChoice::Epoll] {
        match Engine::new(&EngineSettings { datagram_size: SMALL, ..settings(driver) }) {
            Ok(engine) => run(engine, too_long_datagrams),
            Err(error) => println!("skipped: {error}"),
        }
    }
    let settings = SimSettings { buffers: BUFFERS, datagram_size: SMALL, ..SimSettings::default() };
    run(Engine::simulated(&settings).unwrap(), too_long_datagrams);
}

const SMALL: usize = 4096;

async fn too_long_datagrams(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let client = connected(&engine, server.local_address());
    let mut received = Received::default();
    for len in [SMALL, SMALL + 1, 65_507, 10] {
        client.send(&pattern(len), len).unwrap();
    }
    assert_eq!(client.send(&pattern(65_536), 65_536).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    let mut lengths = Vec::new();
    while received.datagrams + received.truncated < 4 {
        let some = server.receive(|datagram| lengths.push(datagram.bytes.len())).await.unwrap();
        received.datagrams += some.datagrams;
        received.truncated += some.truncated;
    }
    assert_eq!((lengths, received.truncated), (vec![SMALL, 10], 2));
}

async fn datagrams_need_no_stream_buffer(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let mut held = Vec::new();
    let bytes = pattern(BUFFER_SIZE * usize::from(BUFFERS));
    engine.spawn(async move {
        let _ = send(&client, &bytes).await;
        client.receive().await.unwrap();
    });
    // Every buffer is held by somebody who is slow.
    while engine.counts().buffers_free > 0 {
        match engine.timeout(engine.now() + Duration::from_millis(50), server.receive()).await {
            Ok(chunk) => held.push(chunk.unwrap()),
            Err(Elapsed) => break,
        }
    }
    let echo = bound(&engine, "127.0.0.1:0");
    let asking = connected(&engine, echo.local_address());
    spawn_echo(&engine, echo);
    asking.send(b"hello", 5).unwrap();
    assert_eq!(receive_many(&asking, 1).await[0].1, b"hello");
    drop(held);
}

async fn an_address_is_shared_only_if_all_agree(engine: Engine) {
    let shared = DatagramOptions { reuse_port: true, ..DatagramOptions::default() };
    let first = engine.bind_datagrams("127.0.0.1:0".parse().unwrap(), &shared).unwrap();
    let address = first.local_address();
    let refused = engine.bind_datagrams(address, &DatagramOptions::default()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    let second = engine.bind_datagrams(address, &shared).unwrap();
    // Each sender has one of them for as long as both are there.
    let mut owners: BTreeMap<SocketAddr, BTreeSet<usize>> = BTreeMap::new();
    let clients: Vec<DatagramSocket> = (0..16).map(|_| connected(&engine, address)).collect();
    for _ in 0..3 {
        clients.iter().for_each(|client| client.send(b"x", 1).unwrap());
        turns(&engine, 3).await;
        for (number, socket) in [&first, &second].into_iter().enumerate() {
            while let Ok(some) = engine.timeout(engine.now(), receive_some(socket)).await {
                for (from, _) in some.unwrap() {
                    owners.entry(from).or_default().insert(number);
                }
            }
        }
    }
    assert_eq!(owners.len(), clients.len());
    assert!(owners.values().all(|owner| owner.len() == 1), "{owners:?}");
}

async fn a_full_queue_loses_what_it_counts(engine: Engine) {
    const SENT: usize = 2000;
    let server = bound(&engine, "127.0.0.1:0");
    let client = connected(&engine, server.local_address());
    for _ in 0..SENT {
        client.send(&[7; 500], 500).unwrap();
    }
    turns(&engine, 3).await;
    let mut received = 0;
    while let Ok(some) = engine.timeout(engine.now(), receive_some(&server)).await {
        received += some.unwrap().len();
        turns(&engine, 1).await;
    }
    assert!(received > 0 && server.overflowed() > 0);
    assert_eq!(received as u64 + server.overflowed(), SENT as u64);
}

async fn a_flood_leaves_others_their_turn(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let client = connected(&engine, server.local_address());
    let over = std::rc::Rc::new(Cell::new(false));
    let flooding = over.clone();
    engine.spawn(async move {
        while !flooding.get() {
            // As much as comes in: the socket is never empty.
            for _ in 0..64 {
                let _ = client.send(&[7; 100], 100);
            }
            server.receive(|_| {}).await.unwrap();
        }
    });
    let (client, server) = pair(&engine).await;
    for _ in 0..20 {
        send(&client, b"x").await.unwrap();
        receive_exactly(&server, 1).await;
        engine.sleep(Duration::from_millis(1)).await;
    }
    over.set(true);
    turns(&engine, 3).await;
}

async fn one_task_serves_many_sockets(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    let address = server.local_address();
    spawn_echo(&engine, server);
    let wakes = Wakes::new(&engine);
    let sockets: Vec<DatagramSocket> = (0..50).map(|_| connected(&engine, address)).collect();
    let mut waiting: BTreeSet<u32> = BTreeSet::new();
    for (key, socket) in sockets.iter().enumerate() {
        assert!(socket.receive_now(&wakes, key as u32, |_| panic!("nothing was sent")).is_none());
        socket.send(&[key as u8; 3], 3).unwrap();
        waiting.insert(key as u32);
    }
    while !waiting.is_empty() {
        let key = wakes.next().await;
        while let Some(received) = sockets[key as usize].receive_now(&wakes, key, |datagram| {
            assert_eq!(datagram.bytes, [key as u8; 3]);
            assert!(waiting.remove(&key));
        }) {
            received.unwrap();
        }
    }
}

async fn a_key_is_woken_at_its_time(engine: Engine) {
    let wakes = Wakes::new(&engine);
    let start = engine.now();
    let never = wakes.wake_at(start + Duration::from_millis(1), 1);
    let _later = wakes.wake_at(start + Duration::from_millis(5), 2);
    let _sooner = wakes.wake_at(start + Duration::from_millis(3), 3);
    wakes.cancel(&never);
    assert_eq!((wakes.next().await, wakes.next().await), (3, 2));
    assert!(engine.now() >= start + Duration::from_millis(5));
}

async fn datagram_sockets_end_with_the_engine(engine: Engine) {
    let server = bound(&engine, "127.0.0.1:0");
    for _ in 0..10 {
        let client = connected(&engine, server.local_address());
        engine.spawn(async move {
            client.send(b"hello", 5).unwrap();
            let _ = client.receive(|_| {}).await;
        });
    }
    engine.spawn(async move { while server.receive(|_| {}).await.is_ok() {} });
    turns(&engine, 1).await;
}
