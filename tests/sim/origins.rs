//! Simulated origins: an HTTP one whose answers follow from the requests, and a TCP one that plays its part of a stream.
//! In some worlds they die: their connections are reset and nobody listens for a while.

use crate::ledger::Ledger;
use crate::opening;
use crate::streams;
use crate::wire::{Body, Framing, Head, Wire, chunked, pattern};
use ringgate::engine::{Engine, ListenOptions, Listener, Raced, Stream, join, race};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long an origin lives and how long it is gone, in milliseconds, at most.
const LIVES_MS: u64 = 3_000;
const DEAD_MS: u64 = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http,
    Tcp,
}

/// Serves for ever. `dies`: is killed now and then, and started again.
pub async fn origin(engine: Engine, ledger: Rc<Ledger>, address: SocketAddr, speaks: Speaks, dies: bool) {
    loop {
        let listener = engine.listen(&address.into(), &ListenOptions::default()).expect("the address is free");
        let life = Rc::new(Life::default());
        let accepting = accept_all(&engine, &ledger, &listener, speaks, &life);
        if !dies {
            return accepting.await;
        }
        race(accepting, engine.sleep(Duration::from_millis(engine.random() % LIVES_MS))).await;
        drop(listener);
        life.end();
        engine.sleep(Duration::from_millis(engine.random() % DEAD_MS)).await;
    }
}

/// Errors are faults of the world, and are waited out.
async fn accept_all(engine: &Engine, ledger: &Rc<Ledger>, listener: &Listener, speaks: Speaks, life: &Rc<Life>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => engine.spawn(serve(engine.clone(), ledger.clone(), stream, speaks, life.clone())),
            Err(_) => engine.sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn serve(engine: Engine, ledger: Rc<Ledger>, stream: Stream, speaks: Speaks, life: Rc<Life>) {
    let wire = Wire::new(stream);
    let served = async {
        if opening::take(&wire).await.is_err() {
            return false;
        }
        let is_stream = match speaks {
            Speaks::Tcp => true,
            Speaks::Http => matches!(answer_all(&engine, &ledger, &wire).await, Ok(true)),
        };
        is_stream && matches!(streams::origin(&engine, &ledger, &wire).await, Ok(streams::End::Cut))
    };
    let cut = match race(served, life.over()).await {
        Raced::First(cut) => cut,
        Raced::Second(()) => true,
    };
    if cut {
        wire.stream.reset();
    }
}

/// For as long as an origin lives.
#[derive(Default)]
struct Life {
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Life {
    fn end(&self) {
        self.over.set(true);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    async fn over(&self) {
        poll_fn(|context| {
            if self.over.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Answers `METHOD /ID/LEN` with `LEN` bytes that belong to the id. True if the connection has become a tunnel.
async fn answer_all(engine: &Engine, ledger: &Ledger, wire: &Wire) -> io::Result<bool> {
    while let Some(head) = wire.head().await? {
        if head.upgrade {
            wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await?;
            return Ok(true);
        }
        let mut parts = head.first.1.trim_start_matches('/').split('/');
        let mut part = || parts.next().and_then(|text| text.parse::<u64>().ok()).expect("an id and a length");
        let asked = Asked { id: part(), len: part() as usize, early: parts.next() == Some("early") };
        let go_on = if asked.early {
            ledger.saw(asked.id);
            answer_early(engine, wire, &head, &asked).await?
        } else {
            answer(engine, ledger, wire, &head, &asked).await?
        };
        if !go_on {
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

struct Asked {
    id: u64,
    len: usize,
    early: bool,
}

/// Reads the body, then answers. False if that ends the connection.
async fn answer(engine: &Engine, ledger: &Ledger, wire: &Wire, head: &Head, asked: &Asked) -> io::Result<bool> {
    if head.expect {
        engine.sleep(Duration::from_micros(engine.random() % 3_000)).await;
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let framing = head.request_framing();
    let received = wire.body(framing).await?;
    check(head, asked, framing, &received);
    ledger.saw(asked.id);
    engine.sleep(Duration::from_millis(engine.random() % 8)).await;
    if engine.random().is_multiple_of(12) {
        wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n").await?;
    }
    let (bytes, close) = written(engine, head, asked, false);
    send(engine, wire, &bytes).await?;
    Ok(!close)
}

fn check(head: &Head, asked: &Asked, framing: Framing, received: &Body) {
    if framing != Framing::Empty {
        assert!(received.bytes == pattern(asked.id, asked.len), "the body of {} was changed on its way", asked.id);
    }
    if head.chunked && head.trailer {
        assert_eq!(received.sum, Some(asked.id), "the trailer of request {}", asked.id);
    }
}

/// Answers before the body has come. It takes the rest of it all the same, or ends the connection in an orderly way.
async fn answer_early(engine: &Engine, wire: &Wire, head: &Head, asked: &Asked) -> io::Result<bool> {
    let takes_all = engine.random().is_multiple_of(2);
    let (bytes, close) = written(engine, head, asked, !takes_all);
    let framing = head.request_framing();
    if !close {
        let (sent, received) = join(send(engine, wire, &bytes), wire.body(framing)).await;
        sent?;
        check(head, asked, framing, &received?);
        return Ok(true);
    }
    send(engine, wire, &bytes).await?;
    wire.stream.shutdown();
    while !wire.stream.receive().await?.is_empty() {}
    Ok(false)
}

/// An answer, and whether the connection ends with it, which it says.
fn written(engine: &Engine, head: &Head, asked: &Asked, close: bool) -> (Vec<u8>, bool) {
    let one_in = |n: u64| engine.random().is_multiple_of(n);
    let Asked { id, len, .. } = asked;
    let mut close = close || one_in(20);
    let body = pattern(*id, *len);
    let head_only = head.first.0 == "HEAD";
    let (status, framing, body) = if *len == 0 && one_in(3) {
        ("204 No Content", String::new(), Vec::new())
    } else if one_in(3) {
        let size = 1 + (engine.random() % 20_000) as usize;
        let sum = one_in(2).then_some(*id);
        let trailer = if sum.is_some() { "Trailer: X-Sum\r\n" } else { "" };
        ("200 OK", format!("{trailer}Transfer-Encoding: chunked\r\n"), chunked(&body, size, sum))
    } else if one_in(8) {
        // It ends with the connection.
        close = true;
        ("200 OK", String::new(), body)
    } else {
        ("200 OK", format!("Content-Length: {len}\r\n"), body)
    };
    let connection = if close { "Connection: close\r\n" } else { "" };
    let mut bytes = format!("HTTP/1.1 {status}\r\nX-Id: {id}\r\n{framing}{connection}\r\n").into_bytes();
    if !head_only {
        bytes.extend_from_slice(&body);
    }
    (bytes, close)
}

/// In one piece or in some.
async fn send(engine: &Engine, wire: &Wire, bytes: &[u8]) -> io::Result<()> {
    let pieces = if engine.random().is_multiple_of(4) { 1 + engine.random() % 5 } else { 1 };
    for (at, piece) in bytes.chunks((bytes.len() / pieces as usize).max(1)).enumerate() {
        if at > 0 {
            engine.sleep(Duration::from_micros(engine.random() % 5_000)).await;
        }
        wire.send(piece).await?;
    }
    Ok(())
}
