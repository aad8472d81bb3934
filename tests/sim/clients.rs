//! Simulated clients: what they ask, and what they must get.

use crate::wire::{Wire, chunked, pattern};
use crate::world::{HTTP, Ledger, TCP};
use ringgate::engine::{Engine, join};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// What was asked.
struct Asked {
    id: u64,
    len: usize,
    posted: bool,
}

/// Asks `total` requests, on one connection for as long as it holds.
pub async fn http(engine: Engine, ledger: Rc<Ledger>, total: usize) {
    let mut left = total;
    while left > 0 {
        let connected = engine.connect(HTTP.parse().expect("an address")).await;
        let Ok(stream) = connected else {
            assert!(ledger.lossy, "cannot connect");
            left -= 1;
            continue;
        };
        let mut wire = Wire::new(stream);
        while left > 0 {
            let batch = 1 + (engine.random() % 3).min(left as u64 - 1) as usize;
            left -= batch;
            match ask(&engine, &ledger, &mut wire, batch).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    assert!(ledger.lossy, "a connection broke: {error}");
                    break;
                }
            }
            if engine.random().is_multiple_of(4) {
                engine.sleep(Duration::from_millis(engine.random() % 300)).await;
            }
        }
    }
}

/// Asks `batch` requests at once and takes the answers. False if the connection is not to be used again.
async fn ask(engine: &Engine, ledger: &Ledger, wire: &mut Wire, batch: usize) -> io::Result<bool> {
    let asked: Vec<Asked> = (0..batch)
        .map(|_| Asked {
            id: ledger.next_id(),
            len: (engine.random() % [100, 3_000, 60_000][(engine.random() % 3) as usize]) as usize,
            // Only a request that comes alone has a body: what follows one that fails is not answered.
            posted: batch == 1 && engine.random().is_multiple_of(3),
        })
        .collect();
    let bytes: Vec<u8> = asked.iter().flat_map(|asked| question(engine, asked)).collect();
    if engine.random().is_multiple_of(30) {
        // A client that loses patience.
        let until = engine.now() + Duration::from_micros(engine.random() % 5_000);
        let _ = engine.timeout(until, wire.send(&bytes)).await;
        return Ok(false);
    }
    wire.send(&bytes).await?;
    for (at, asked) in asked.iter().enumerate() {
        let Some(head) = wire.head().await? else {
            assert!(ledger.lossy, "request {} was not answered", asked.id);
            return Ok(false);
        };
        let body = wire.body(&head).await?;
        check(ledger, asked, &head.first.1, head.id, &body);
        if head.close {
            assert!(ledger.lossy || at + 1 == batch, "a request was left without an answer");
            return Ok(false);
        }
    }
    assert!(wire.is_empty(), "more came than was asked for");
    Ok(true)
}

fn question(engine: &Engine, asked: &Asked) -> Vec<u8> {
    let Asked { id, len, .. } = asked;
    if !asked.posted {
        return format!("GET /{id}/{len} HTTP/1.1\r\nHost: sim\r\n\r\n").into_bytes();
    }
    let body = pattern(*id, *len);
    let (framing, body) = match engine.random() % 2 {
        0 => (format!("Content-Length: {len}"), body),
        _ => ("Transfer-Encoding: chunked".to_owned(), chunked(&body, 1 + (engine.random() % 9_000) as usize)),
    };
    let head = format!("POST /{id}/{len} HTTP/1.1\r\nHost: sim\r\n{framing}\r\n\r\n");
    [head.into_bytes(), body].concat()
}

fn check(ledger: &Ledger, asked: &Asked, status: &str, id: Option<u64>, body: &[u8]) {
    if status == "200" {
        assert_eq!(id, Some(asked.id), "the answer to another request");
        assert!(body == pattern(asked.id, asked.len), "the body of answer {} is wrong", asked.id);
        return ledger.answered(asked.id);
    }
    // A request with a body is not sent twice, so an endpoint that closes under it costs it.
    let excused = ledger.lossy || (asked.posted && ledger.origins_close);
    assert!(excused && matches!(status, "502" | "503" | "504"), "request {} got {status}", asked.id);
    ledger.refused();
}

/// Sends some bytes through the tcp listener and expects them back.
pub async fn tcp(engine: Engine, ledger: Rc<Ledger>) {
    let result = async {
        let stream = engine.connect(TCP.parse().expect("an address")).await?;
        there_and_back(&engine, &ledger, Wire::new(stream)).await
    };
    if let Err(error) = result.await {
        assert!(ledger.lossy, "a tcp connection broke: {error}");
    }
}

/// The same through a connection that has been upgraded.
pub async fn tunnel(engine: Engine, ledger: Rc<Ledger>) {
    let result = async {
        let mut wire = Wire::new(engine.connect(HTTP.parse().expect("an address")).await?);
        wire.send(b"GET /echo HTTP/1.1\r\nHost: sim\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await?;
        match wire.head().await? {
            Some(head) if head.first.1 == "101" => there_and_back(&engine, &ledger, wire).await,
            head => {
                assert!(ledger.lossy, "no tunnel but {head:?}");
                Ok(())
            }
        }
    };
    if let Err(error) = result.await {
        assert!(ledger.lossy, "a tunnel broke: {error}");
    }
}

/// Sends in pieces while what comes back is received.
async fn there_and_back(engine: &Engine, ledger: &Ledger, mut wire: Wire) -> io::Result<()> {
    assert!(wire.take_pending().is_empty(), "an echo before there was a sound");
    let bytes = pattern(engine.random(), (engine.random() % 200_000) as usize);
    let sending = async {
        for piece in bytes.chunks(1 + (engine.random() % 50_000) as usize) {
            wire.send(piece).await?;
        }
        wire.stream.shutdown();
        io::Result::Ok(())
    };
    let receiving = async {
        let mut at = 0;
        loop {
            let chunk = wire.stream.receive().await?;
            if chunk.is_empty() {
                return io::Result::Ok(at);
            }
            assert!(bytes.get(at..at + chunk.len()) == Some(&chunk[..]), "relayed bytes differ at {at}");
            at += chunk.len();
        }
    };
    let (sent, received) = join(sending, receiving).await;
    sent?;
    let received = received?;
    assert!(ledger.lossy || received == bytes.len(), "{received} of {} bytes came back", bytes.len());
    ledger.relayed();
    Ok(())
}
