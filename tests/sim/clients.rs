//! Simulated clients: they ask on connections that they keep, several requests at a time, and lose patience now and then.

use crate::ledger::Ledger;
use crate::opening;
use crate::requests::Request;
use crate::streams::{self, Played};
use crate::wire::{Wire, beside};
use crate::world::{Place, SERVER_NAMES, UNKNOWN_NAME};
use ringgate::base::Address;
use ringgate::engine::{ConnectOptions, Engine, Event};
use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Requests that are sent without waiting for answers.
const AT_ONCE_MAX: u64 = 8;

/// What becomes of a connection after some requests.
enum Next {
    Again,
    Close,
    Reset,
}

/// Asks `total` requests, on one connection for as long as it holds.
pub async fn http(engine: Engine, ledger: Rc<Ledger>, place: Place, total: usize) {
    let mut left = total;
    while left > 0 {
        let Some(wire) = connect(&engine, &ledger, place).await else {
            left -= 1;
            continue;
        };
        while left > 0 {
            let at_once = 1 + engine.random() % if engine.random().is_multiple_of(6) { AT_ONCE_MAX } else { 3 };
            let batch = at_once.min(left as u64) as usize;
            left -= batch;
            match ask(&engine, &ledger, place, &wire, batch).await {
                Next::Again => {}
                Next::Close => break,
                Next::Reset => {
                    wire.stream.reset();
                    break;
                }
            }
            if engine.random().is_multiple_of(4) {
                engine.sleep(Duration::from_millis(engine.random() % 300)).await;
            }
        }
    }
}

async fn connect(engine: &Engine, ledger: &Ledger, place: Place) -> Option<Wire> {
    let address = Address::Ip(place.address.parse().expect("an address"));
    match engine.connect(&address, &ConnectOptions::default()).await {
        Ok(stream) => {
            let wire = Wire::new(stream);
            if place.wants_header {
                announce(engine, &wire).await;
            }
            Some(wire)
        }
        Err(error) => {
            assert!(ledger.lossy || place.comes_and_goes, "cannot connect: {error}");
            engine.sleep(Duration::from_millis(engine.random() % 100)).await;
            None
        }
    }
}

/// Asks `batch` requests at once and takes the answers.
async fn ask(engine: &Engine, ledger: &Ledger, place: Place, wire: &Wire, batch: usize) -> Next {
    let requests: Vec<Request> = (1..=batch).map(|at| Request::any(engine, ledger, at == batch)).collect();
    let exchange = exchange(engine, ledger, place, wire, &requests);
    if !engine.random().is_multiple_of(25) {
        return exchange.await;
    }
    // A client that loses patience, or is killed.
    let until = engine.now() + Duration::from_micros(engine.random() % 20_000);
    if let Ok(next) = engine.timeout(until, exchange).await {
        return next;
    }
    for request in &requests {
        ledger.abandoned(request.id);
    }
    if engine.random().is_multiple_of(2) { Next::Reset } else { Next::Close }
}

async fn exchange(engine: &Engine, ledger: &Ledger, place: Place, wire: &Wire, requests: &[Request]) -> Next {
    let go_on = Event::default();
    let (sent, refused) = (Cell::new(false), Cell::new(false));
    let heads = requests.iter().flat_map(Request::head).collect::<Vec<_>>();
    let sending = async {
        // What cannot be sent shows where answers are missing.
        if let Some(last) = requests.last()
            && wire.send(&heads).await.is_ok()
        {
            last.send_body(engine, wire, &go_on).await;
        }
        sent.set(true);
    };
    let answers = async {
        for (at, request) in requests.iter().enumerate() {
            let last = at + 1 == requests.len();
            match answer(ledger, wire, request, &go_on, &refused).await {
                Ok(Some(false)) => {}
                Ok(Some(true)) => {
                    let expected = last || ledger.lossy || place.comes_and_goes;
                    assert!(expected, "a request was left without an answer");
                    return Next::Close;
                }
                Ok(None) => {
                    assert!(ledger.lossy || place.comes_and_goes, "request {} was not answered", request.id);
                    ledger.count(|counts| counts.unanswered += 1);
                    return Next::Close;
                }
                Err(error) => {
                    assert!(ledger.lossy, "the answer to {} broke off: {error}", request.id);
                    ledger.count(|counts| counts.broken += 1);
                    return Next::Close;
                }
            }
        }
        assert!(wire.is_empty(), "more came than was asked for");
        Next::Again
    };
    let mut sending = pin!(sending);
    let next = beside(answers, sending.as_mut()).await;
    if matches!(next, Next::Again) && !sent.get() {
        assert!(refused.get(), "a connection goes on in the middle of a body");
        // The gateway's own answer came early; it reads what is left of the body before the next request.
        sending.await;
    }
    next
}

/// Takes one answer: whether it ends the connection, or `None` if nothing came. `refused` says whether it was the gateway's
/// own.
async fn answer(
    ledger: &Ledger,
    wire: &Wire,
    request: &Request,
    go_on: &Event,
    refused: &Cell<bool>,
) -> io::Result<Option<bool>> {
    let mut begun = false;
    let head = loop {
        let head = match wire.head().await {
            Ok(Some(head)) => head,
            Ok(None) if !begun => return Ok(None),
            // Reset before the first byte.
            Err(_) if !begun && wire.is_empty() => return Ok(None),
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        };
        if !head.is_interim() {
            break head;
        }
        begun = true;
        go_on.notify();
    };
    let body = wire.body(request.framing(&head)).await?;
    request.check(ledger, &head, &body);
    refused.set(head.status().starts_with('5'));
    Ok(Some(request.ends_connection(&head)))
}

/// Sends a PROXY header as some proxy might: at once or in two parts. What comes of a connection that is gone by then, its
/// first request or byte shows.
async fn announce(engine: &Engine, wire: &Wire) {
    let header: &[u8] = match engine.random() % 3 {
        0 => b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n",
        1 => b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb",
        _ => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    };
    let (first, second) = header.split_at(engine.random() as usize % (header.len() + 1));
    if wire.send(first).await.is_ok() && !second.is_empty() {
        engine.sleep(Duration::from_millis(engine.random() % 50)).await;
        let _ = wire.send(second).await;
    }
}

/// A byte stream through a tcp listener.
pub async fn tcp(engine: Engine, ledger: Rc<Ledger>, place: Place) {
    let Some(wire) = connect(&engine, &ledger, place).await else { return };
    note(&ledger, place, streams::client(&engine, &ledger, wire).await);
}

/// A byte stream behind a ClientHello, which may come in any number of pieces; or an alert, where no route has the name.
pub async fn tls(engine: Engine, ledger: Rc<Ledger>, place: Place) {
    let Some(wire) = connect(&engine, &ledger, place).await else { return };
    let name = match engine.random() % 4 {
        0 => UNKNOWN_NAME,
        chance => SERVER_NAMES[(chance % 2) as usize],
    };
    let hello = opening::client_hello(name, 1 + (engine.random() % 200) as usize);
    for piece in hello.chunks(1 + engine.random() as usize % hello.len()) {
        // What becomes of a connection that is gone, the first byte shows.
        let _ = wire.send(piece).await;
        engine.sleep(Duration::from_millis(engine.random() % 20)).await;
    }
    if name != UNKNOWN_NAME {
        return note(&ledger, place, streams::client(&engine, &ledger, wire).await);
    }
    match wire.exactly(opening::UNRECOGNIZED_NAME.len()).await {
        Ok(alert) => assert_eq!(alert, opening::UNRECOGNIZED_NAME),
        Err(error) => assert!(ledger.lossy, "no alert but {error}"),
    }
}

/// A byte stream through a connection that has been upgraded.
pub async fn tunnel(engine: Engine, ledger: Rc<Ledger>, place: Place) {
    let Some(wire) = connect(&engine, &ledger, place).await else { return };
    let upgraded = async {
        wire.send(b"GET /echo HTTP/1.1\r\nHost: sim\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await?;
        wire.head().await
    };
    match upgraded.await {
        Ok(Some(head)) if head.status() == "101" => {
            note(&ledger, place, streams::client(&engine, &ledger, wire).await);
        }
        head => assert!(ledger.lossy || place.comes_and_goes, "no tunnel but {head:?}"),
    }
}

fn note(ledger: &Ledger, place: Place, played: Played) {
    if let Played::Broken { greeted, error } = played {
        let excused = ledger.lossy || (place.comes_and_goes && !greeted);
        assert!(excused, "a byte stream broke: {error}");
        ledger.count(|counts| counts.broken += 1);
    }
}
