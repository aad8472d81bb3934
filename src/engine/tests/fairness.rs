//! One that never stops must not keep the thread from the others.

use super::*;
use std::cell::Cell;
use std::rc::Rc;

conformance!(a_trickle_beside_a_flood, timers_beside_a_flood, accepting_beside_a_flood);

/// A connection on which bytes never stop. Counts the chunks that arrived.
async fn flood(engine: &Engine) -> Rc<Cell<u64>> {
    let (client, server) = pair(engine).await;
    let chunks = Rc::new(Cell::new(0));
    let counted = chunks.clone();
    engine.spawn(async move {
        let block = pattern(BUFFER_SIZE);
        while send(&client, &block).await.is_ok() {}
    });
    engine.spawn(async move {
        while !server.receive().await.unwrap().is_empty() {
            counted.set(counted.get() + 1);
        }
    });
    chunks
}

async fn a_trickle_beside_a_flood(engine: Engine) {
    const ROUNDS: u64 = 200;
    const CHUNKS_A_ROUND_MAX: u64 = 100;
    let floods = [flood(&engine).await, flood(&engine).await];
    let (client, server) = pair(&engine).await;
    engine.spawn(async move {
        let mut outgoing = Outgoing::default();
        loop {
            let chunk = server.receive().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            outgoing.chunk(chunk);
            server.send(&mut outgoing).await.unwrap();
        }
    });
    let before: u64 = floods.iter().map(|flood| flood.get()).sum();
    for _ in 0..ROUNDS {
        send(&client, b"drop").await.unwrap();
        assert_eq!(receive_exactly(&client, 4).await, b"drop");
    }
    let chunks: u64 = floods.iter().map(|flood| flood.get()).sum::<u64>() - before;
    assert!(chunks <= ROUNDS * CHUNKS_A_ROUND_MAX, "{chunks} chunks of the flood in {ROUNDS} rounds of the trickle");
    assert!(chunks > 0, "the flood starves");
}

async fn timers_beside_a_flood(engine: Engine) {
    flood(&engine).await;
    for _ in 0..20 {
        engine.sleep(Duration::from_millis(1)).await;
    }
}

async fn accepting_beside_a_flood(engine: Engine) {
    flood(&engine).await;
    for _ in 0..20 {
        pair(&engine).await;
    }
}
