//! Accepting: bursts, closing while connections come in, and no descriptor to accept them with.

use super::*;
use std::cell::Cell;
use std::rc::Rc;

conformance!(
    a_burst_is_accepted_whole,
    a_listener_closes_while_connections_come_in,
    unaccepted_connections_are_closed_with_their_listener,
    two_listeners_of_one_address,
);
conformance_alone!(without_descriptors_accepting_fails_and_recovers);

async fn a_burst_is_accepted_whole(engine: Engine) {
    const BURST: usize = 300;
    let listener = listen(&engine);
    let mut clients = Vec::new();
    for _ in 0..BURST {
        clients.push(engine.connect(&listener.local_address(), &PLAIN).await.unwrap());
    }
    for _ in 0..BURST {
        let (server, address) = listener.accept().await.unwrap();
        let client = clients.iter().find(|client| client.local_address().unwrap() == address).unwrap();
        send(client, b"x").await.unwrap();
        receive_exactly(&server, 1).await;
    }
    assert!(is_pending(pin!(listener.accept())).await);
}

async fn a_listener_closes_while_connections_come_in(engine: Engine) {
    let connected = Rc::new(Cell::new(0));
    for accepted in [0, 1, 10] {
        let listener = listen(&engine);
        let address = listener.local_address();
        let failed = Rc::new(Cell::new(0));
        for _ in 0..20 {
            let (client, connected, failed) = (engine.clone(), connected.clone(), failed.clone());
            let address = address.clone();
            engine.spawn(async move {
                while let Ok(stream) = client.connect(&address, &PLAIN).await {
                    connected.set(connected.get() + 1);
                    // Closed by the other side, in order or with a reset.
                    let _ = stream.receive().await;
                }
                failed.set(failed.get() + 1);
            });
        }
        for _ in 0..accepted {
            listener.accept().await.unwrap();
        }
        let _ = is_pending(pin!(listener.accept())).await;
        turns(&engine, 2).await;
        drop(listener);
        while failed.get() < 20 {
            turns(&engine, 1).await;
        }
    }
    settle(&engine, 0).await;
}

async fn unaccepted_connections_are_closed_with_their_listener(engine: Engine) {
    let listener = listen(&engine);
    let mut clients = Vec::new();
    let (first, _) = join(engine.connect(&listener.local_address(), &PLAIN), listener.accept()).await;
    drop(first);
    let _ = is_pending(pin!(listener.accept())).await;
    for _ in 0..10 {
        clients.push(engine.connect(&listener.local_address(), &PLAIN).await.unwrap());
    }
    turns(&engine, 2).await;
    drop(listener);
    for client in clients {
        assert!(client.receive().await.map_or(true, |chunk| chunk.is_empty()));
    }
}

async fn two_listeners_of_one_address(engine: Engine) {
    let first = listen(&engine);
    let address = first.local_address();
    let second = engine.listen(&address, &ListenOptions::default()).unwrap();
    let alone = ListenOptions { reuse_port: false, ..ListenOptions::default() };
    assert_eq!(engine.listen(&address, &alone).err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    let count = Rc::new(Cell::new(0));
    for listener in [first, second] {
        let count = count.clone();
        engine.spawn(async move {
            while listener.accept().await.is_ok() {
                count.set(count.get() + 1);
            }
        });
    }
    for _ in 0..50 {
        engine.connect(&address, &PLAIN).await.unwrap();
    }
    while count.get() < 50 {
        turns(&engine, 1).await;
    }
}

async fn without_descriptors_accepting_fails_and_recovers(engine: Engine) {
    let listener = listen(&engine);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(engine.connect(&listener.local_address(), &PLAIN).await.unwrap());
    }
    let free = std::fs::File::open("/dev/null").unwrap();
    let highest = std::os::fd::AsRawFd::as_raw_fd(&free) as u64;
    drop(free);
    let limit = limit_descriptors(highest);
    for _ in 0..3 {
        let turns_before = engine.counts().turns;
        let error = listener.accept().await.err().expect("no descriptor is left");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        engine.sleep(Duration::from_millis(5)).await;
        let turned = engine.counts().turns - turns_before;
        assert!(turned < 20, "{turned} turns for one failed accept");
    }
    limit_descriptors(limit);
    for _ in 0..clients.len() {
        listener.accept().await.unwrap();
    }
}

/// Sets the soft limit of open files and returns the one before.
fn limit_descriptors(limit: u64) -> u64 {
    let mut present = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: valid records for the kernel to fill and to read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut present), 0);
        let wanted = libc::rlimit { rlim_cur: limit, ..present };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &wanted), 0);
    }
    present.rlim_cur
}
