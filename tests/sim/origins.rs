//! Simulated origins: an HTTP one whose answers follow from the requests, and a TCP one that sends everything back.

use crate::wire::{Wire, chunked, pattern};
use crate::world::Ledger;
use ringgate::engine::{Engine, Listener, Outgoing, Stream};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Accepts for ever; errors are faults of the world, and are waited out.
pub async fn accept_all<F: Future<Output = ()> + 'static>(
    engine: Engine,
    listener: Listener,
    serve: impl Fn(Stream) -> F,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => engine.spawn(serve(stream)),
            Err(_) => engine.sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Answers `METHOD /ID/LEN`: to a GET with `LEN` bytes that belong to the id, to a POST with its body.
pub async fn http(engine: Engine, ledger: Rc<Ledger>, stream: Stream) {
    let mut wire = Wire::new(stream);
    if let Ok(true) = answer_all(&engine, &ledger, &mut wire).await {
        let first = wire.take_pending();
        if wire.send(&first).await.is_ok() {
            echo(wire.stream).await;
        }
    }
}

/// True if the connection has become a tunnel.
async fn answer_all(engine: &Engine, ledger: &Ledger, wire: &mut Wire) -> io::Result<bool> {
    while let Some(head) = wire.head().await? {
        if head.upgrade {
            wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await?;
            return Ok(true);
        }
        let mut parts = head.first.1.trim_start_matches('/').split('/');
        let mut part = || parts.next().and_then(|text| text.parse::<u64>().ok()).expect("an id and a length");
        let (id, len) = (part(), part() as usize);
        let posted = head.first.0 == "POST";
        let received = wire.body(&head).await?;
        if posted {
            assert!(received == pattern(id, len), "the body of request {id} was changed on its way");
        }
        ledger.saw(id);
        let body = if posted { received } else { pattern(id, len) };
        engine.sleep(Duration::from_millis(engine.random() % 8)).await;
        let close = engine.random().is_multiple_of(20);
        wire.send(&answer(engine, id, &body, close)).await?;
        if close {
            return Ok(false);
        }
        // As servers do that have waited long enough, at the moment at which the next request may be on its way.
        if ledger.origins_close && engine.random().is_multiple_of(10) {
            engine.sleep(Duration::from_micros(engine.random() % 2000)).await;
            return Ok(false);
        }
    }
    Ok(false)
}

fn answer(engine: &Engine, id: u64, body: &[u8], close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    if engine.random().is_multiple_of(3) {
        let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n{close}Transfer-Encoding: chunked\r\n\r\n");
        let size = 1 + (engine.random() % 20_000) as usize;
        return [head.as_bytes(), &chunked(body, size)].concat();
    }
    let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n{close}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends everything back, and ends when the other side has ended.
pub async fn echo(stream: Stream) {
    let mut outgoing = Outgoing::default();
    while let Ok(chunk) = stream.receive().await {
        if chunk.is_empty() {
            stream.shutdown();
            break;
        }
        outgoing.chunk(chunk);
        if stream.send(&mut outgoing).await.is_err() {
            break;
        }
    }
}
