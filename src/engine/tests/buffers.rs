//! Receive buffers: they run out and come back, and nothing slow keeps them.

use super::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

conformance!(
    receives_wait_for_buffers_and_go_on,
    a_starved_stream_may_close,
    a_stalled_reader_holds_no_buffer_and_little_memory,
    unread_bytes_hold_few_buffers,
    forgotten_receives_hold_no_buffer,
);

/// What one connection may hold in our memory while its reader stalls: what it was asked to send, and what the driver
/// had received ahead.
const HELD_MAX: usize = 4 * BUFFER_SIZE;

async fn receives_wait_for_buffers_and_go_on(engine: Engine) {
    const STREAMS: usize = 3 * BUFFERS as usize;
    let held: Rc<RefCell<Vec<Chunk>>> = Rc::default();
    let seen = Rc::new(Cell::new(0));
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        let (client, server) = pair(&engine).await;
        let (held, seen) = (held.clone(), seen.clone());
        engine.spawn(async move {
            let mut total = 0;
            while total < 5000 {
                let chunk = server.receive().await.unwrap();
                total += chunk.len();
                held.borrow_mut().push(chunk);
            }
            seen.set(seen.get() + 1);
        });
        clients.push(client);
    }
    for client in &clients {
        send(client, &pattern(5000)).await.unwrap();
    }
    turns(&engine, 20).await;
    assert_eq!(engine.counts().buffers_free, 0, "every buffer is held here");
    assert!(engine.counts().receive_paused > 0);
    assert!(seen.get() < STREAMS);
    while seen.get() < STREAMS {
        held.borrow_mut().pop();
        turns(&engine, 1).await;
    }
    held.borrow_mut().clear();
    assert_eq!(engine.counts().buffers_free, u64::from(BUFFERS));
}

async fn a_starved_stream_may_close(engine: Engine) {
    let mut held = Vec::new();
    let mut pairs = Vec::new();
    while held.len() < usize::from(BUFFERS) {
        let (client, server) = pair(&engine).await;
        send(&client, &pattern(5000)).await.unwrap();
        held.push(server.receive().await.unwrap());
        pairs.push((client, server));
    }
    for round in 0..3u64 {
        let (client, server) = pair(&engine).await;
        send(&client, &pattern(5000)).await.unwrap();
        let until = engine.now() + Duration::from_millis(3 + round);
        assert!(engine.timeout(until, server.receive()).await.is_err());
    }
    drop((held, pairs));
    let (client, server) = pair(&engine).await;
    send(&client, b"again").await.unwrap();
    assert_eq!(receive_exactly(&server, 5).await, b"again");
    drop((client, server));
    settle(&engine, 0).await;
}

/// More relays stall than there are buffers, and another connection still gets through.
async fn a_stalled_reader_holds_no_buffer_and_little_memory(engine: Engine) {
    const RELAYS: usize = 2 * BUFFERS as usize;
    let lent = Rc::new(Cell::new(0usize));
    let mut readers = Vec::new();
    for _ in 0..RELAYS {
        let (source, inward) = pair(&engine).await;
        let (outward, reader) = pair(&engine).await;
        readers.push(reader);
        engine.spawn(async move {
            let block = pattern(BUFFER_SIZE);
            while send(&source, &block).await.is_ok() {}
        });
        let lent = lent.clone();
        engine.spawn(async move {
            let mut outgoing = Outgoing::default();
            while let Ok(chunk) = inward.receive().await {
                let len = chunk.len();
                outgoing.chunk(chunk);
                lent.set(lent.get() + len);
                if outward.send(&mut outgoing).await.is_err() {
                    break;
                }
                lent.set(lent.get() - len);
            }
        });
    }
    let mut quiet = 0;
    let mut last = lent.get();
    while quiet < 50 {
        turns(&engine, 1).await;
        let held = engine.core.driver.borrow().held_bytes() + lent.get();
        assert!(held <= RELAYS * HELD_MAX, "{held} bytes are held for {RELAYS} connections");
        quiet = if lent.get() == last && lent.get() > 0 { quiet + 1 } else { 0 };
        last = lent.get();
    }
    let (client, server) = pair(&engine).await;
    for _ in 0..50 {
        send(&client, b"through").await.unwrap();
        assert_eq!(receive_exactly(&server, 7).await, b"through");
    }
    assert!(engine.counts().buffers_free >= u64::from(BUFFERS) / 2);
}

/// Received ahead of being asked for, or not at all: either way the others have buffers.
async fn unread_bytes_hold_few_buffers(engine: Engine) {
    let mut unread = Vec::new();
    for _ in 0..2 * BUFFERS {
        let (client, server) = pair(&engine).await;
        // One receive, so that a driver that receives ahead does so.
        send(&client, b"first").await.unwrap();
        receive_exactly(&server, 5).await;
        let sender = engine.clone();
        let client = Rc::new(client);
        let sending = client.clone();
        sender.spawn(async move {
            let block = pattern(BUFFER_SIZE);
            while send(&sending, &block).await.is_ok() {}
        });
        unread.push((client, server));
    }
    turns(&engine, 20).await;
    let held = engine.core.driver.borrow().held_bytes();
    assert!(held <= unread.len() * HELD_MAX, "{held} bytes are held");
    let (client, server) = pair(&engine).await;
    send(&client, &pattern(100_000)).await.unwrap();
    assert!(receive_exactly(&server, 100_000).await == pattern(100_000));
    for (_, server) in &unread {
        assert!(!server.receive().await.unwrap().is_empty());
    }
}

/// A receive that was dropped may have left its mark with the driver: what arrives for it must still give way.
async fn forgotten_receives_hold_no_buffer(engine: Engine) {
    for len in [100, 5000] {
        let mut forgotten = Vec::new();
        for _ in 0..2 * BUFFERS {
            let (client, server) = pair(&engine).await;
            assert!(is_pending(pin!(server.receive())).await);
            send(&client, &pattern(len)).await.unwrap();
            forgotten.push((client, server));
        }
        turns(&engine, 3).await;
        let (client, server) = pair(&engine).await;
        send(&client, &pattern(100_000)).await.unwrap();
        assert!(receive_exactly(&server, 100_000).await == pattern(100_000));
        for (_, server) in &forgotten {
            assert!(receive_exactly(server, len).await == pattern(len));
        }
    }
}
