//! Clients and origins that are slow, in virtual time: who is cut off for it, and who is not.

use crate::gateway::Gateway;
use crate::wire::{Framing, Wire};
use ringgate::base::Address;
use ringgate::engine::{ConnectOptions, Engine, ListenOptions, SimSettings};
use ringgate::health::Failure;
use std::io;
use std::rc::Rc;
use std::time::Duration;

const GATE: &str = "10.0.0.1:80";
const ORIGIN: &str = "10.1.0.1:9000";
const CONFIG: &str = "[[listener]]\naddress = \"10.0.0.1:80\"\n\
     [[route]]\nhost = [\"a\"]\nupstream = \"app\"\ntimeout = \"1h\"\nresponse_body_idle_timeout = \"1h\"\n\
     [upstream.app]\nendpoints = [\"10.1.0.1:9000\"]\n";
/// Bytes of a body: far more than all buffers between the two sides, so that who is slow is felt at the other side.
const BODY: usize = 200_000;
/// Little of it fits into the network.
const WINDOW: usize = 1024;

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

/// What a story ends with: what the client got, how long it took, and the failures that were counted.
struct Ending {
    result: io::Result<()>,
    took: Duration,
    failures: Vec<Failure>,
}

/// Tells one story: an origin that serves one connection, and a client.
fn tell<O, C>(
    origin: impl FnOnce(Engine, Wire) -> O + 'static,
    client: impl FnOnce(Engine, Wire) -> C + 'static,
) -> Ending
where
    O: Future<Output = io::Result<()>> + 'static,
    C: Future<Output = io::Result<()>> + 'static,
{
    let settings = SimSettings { window: WINDOW, ..SimSettings::default() };
    let engine = Engine::simulated(&settings).expect("the simulation has what it needs");
    let inner = engine.clone();
    let ending = engine.run(async move {
        let engine = inner;
        let listener = engine.listen(&ip(ORIGIN), &ListenOptions::default());
        let (listener, serving) = (listener.expect("the address is free"), engine.clone());
        engine.spawn(async move {
            let (stream, _) = listener.accept().await.expect("nothing fails here");
            let _ = origin(serving, Wire::new(stream)).await;
        });
        let gateway = Rc::new(Gateway::start(&engine, CONFIG));
        let started = engine.now();
        let stream = engine.connect(&ip(GATE), &ConnectOptions::default()).await.expect("nothing fails here");
        let result = client(engine.clone(), Wire::new(stream)).await;
        let took = engine.now() - started;
        // Let the gateway see the end.
        engine.sleep(Duration::from_secs(60)).await;
        let stats = gateway.published.load().routes[0].stats.clone();
        let counted = |failure: &Failure| stats.sum(|shard| shard.failures[*failure as usize].get()) > 0;
        Ending { result, took, failures: Failure::ALL.iter().copied().filter(counted).collect() }
    });
    engine.stop();
    ending
}

async fn answer(_: Engine, wire: Wire) -> io::Result<()> {
    wire.head().await?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    wire.send(&[head.as_bytes(), &[b'x'; BODY]].concat()).await
}

/// Takes the body at this rate after the first kilobytes.
async fn read_at(engine: Engine, wire: Wire, rate: usize) -> io::Result<()> {
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    wire.head().await?;
    let mut left = BODY - wire.take_pending().len();
    while left > 0 {
        let chunk = wire.stream.receive().await?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= chunk.len();
        engine.sleep(Duration::from_millis((chunk.len() * 1000 / rate) as u64)).await;
    }
    Ok(())
}

/// Takes a request whole, and answers.
async fn collect(_: Engine, wire: Wire) -> io::Result<()> {
    let Some(head) = wire.head().await? else { return Ok(()) };
    wire.body(Framing::Exact(head.length.unwrap_or(0))).await?;
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
}

async fn send_at(engine: Engine, wire: Wire, rate: usize) -> io::Result<()> {
    wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n").as_bytes()).await?;
    for piece in [b'x'; BODY].chunks(100) {
        wire.send(piece).await?;
        engine.sleep(Duration::from_millis((100_000 / rate) as u64)).await;
    }
    expect_200(&wire).await
}

async fn expect_200(wire: &Wire) -> io::Result<()> {
    match wire.head().await? {
        Some(head) if head.first.1 == "200" => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

#[test]
fn a_reader_below_the_rate_is_cut_off_and_one_above_is_not() {
    let ending = tell(answer, |engine, wire| read_at(engine, wire, 120));
    assert!(ending.result.is_err());
    assert_eq!(ending.failures, [Failure::ClientTooSlow]);
    // Half the rate: the credit of thirty seconds at most is spent in a minute, and looks cost a little.
    assert!(ending.took < Duration::from_secs(90), "{:?}", ending.took);
    let ending = tell(answer, |engine, wire| read_at(engine, wire, 300));
    assert!(ending.result.is_ok() && ending.failures.is_empty(), "{:?} {:?}", ending.result, ending.failures);
    assert!(ending.took > Duration::from_secs(600), "{:?}", ending.took);
}

#[test]
fn a_sender_below_the_rate_is_cut_off_and_one_above_is_not() {
    let ending = tell(collect, |engine, wire| send_at(engine, wire, 120));
    assert!(ending.result.is_err());
    assert_eq!(ending.failures, [Failure::RequestBodyTooSlow]);
    assert!(ending.took < Duration::from_secs(90), "{:?}", ending.took);
    let ending = tell(collect, |engine, wire| send_at(engine, wire, 300));
    assert!(ending.result.is_ok() && ending.failures.is_empty(), "{:?} {:?}", ending.result, ending.failures);
}

#[test]
fn a_client_is_not_blamed_for_an_origin_that_takes_its_time() {
    let slow = |engine: Engine, wire: Wire| async move {
        engine.sleep(Duration::from_secs(600)).await;
        let Some(head) = wire.head().await? else { return Ok(()) };
        let mut left = BODY;
        while left > 0 {
            left -= match wire.take_pending() {
                pending if pending.is_empty() => wire.stream.receive().await?.len(),
                pending => pending.len(),
            };
            engine.sleep(Duration::from_secs(5)).await;
        }
        drop(head);
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
    };
    let ending = tell(slow, |engine, wire| send_at(engine, wire, 1_000_000));
    assert!(ending.result.is_ok() && ending.failures.is_empty(), "{:?} {:?}", ending.result, ending.failures);
    assert!(ending.took > Duration::from_secs(900), "{:?}", ending.took);
}

#[test]
fn a_client_is_not_blamed_for_an_origin_that_has_little_to_say() {
    let drip = |engine: Engine, wire: Wire| async move {
        wire.head().await?;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes()).await?;
        for piece in [b'x'; BODY].chunks(BODY / 20) {
            engine.sleep(Duration::from_secs(100)).await;
            wire.send(piece).await?;
        }
        Ok(())
    };
    let ending = tell(drip, |engine, wire| read_at(engine, wire, 1_000_000));
    assert!(ending.result.is_ok() && ending.failures.is_empty(), "{:?} {:?}", ending.result, ending.failures);
}

#[test]
fn a_client_that_waits_for_100_continue_is_not_slow() {
    let late = |engine: Engine, wire: Wire| async move {
        let Some(head) = wire.head().await? else { return Ok(()) };
        engine.sleep(Duration::from_secs(300)).await;
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        wire.body(Framing::Exact(head.length.unwrap_or(0))).await?;
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
    };
    let waits = |_: Engine, wire: Wire| async move {
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await?;
        wire.head().await?;
        wire.send(b"body").await?;
        expect_200(&wire).await
    };
    let ending = tell(late, waits);
    assert!(ending.result.is_ok() && ending.failures.is_empty(), "{:?} {:?}", ending.result, ending.failures);
    // Once invited, it is held to the rate.
    let never = |engine: Engine, wire: Wire| async move {
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await?;
        wire.head().await?;
        engine.sleep(Duration::from_secs(120)).await;
        expect_200(&wire).await
    };
    assert_eq!(tell(late, never).failures, [Failure::RequestBodyTooSlow]);
}

/// A client that was refused and goes on: how long the gateway goes on taking what it sends.
async fn goes_on(engine: Engine, wire: Wire, pause: Duration) -> io::Result<()> {
    wire.send(b"POST /lost HTTP/1.1\r\nHost: other\r\nContent-Length: 9000000\r\n\r\n").await?;
    let refused = wire.head().await?;
    assert!(refused.is_some_and(|head| head.first.1 == "404" && head.close));
    loop {
        wire.send(b"more").await?;
        engine.sleep(pause).await;
    }
}

#[test]
fn a_refused_client_is_listened_to_for_a_while() {
    let never = |_: Engine, _: Wire| async { Ok(()) };
    // The first piece that comes too late is answered with a reset, and the next cannot be sent.
    let late = Duration::from_secs(1);
    for (pause_ms, limit_s) in [(200, 30), (7_000, 5)] {
        let (pause, limit) = (Duration::from_millis(pause_ms), Duration::from_secs(limit_s));
        let ending = tell(never, move |engine, wire| goes_on(engine, wire, pause));
        assert!(ending.result.is_err());
        assert!((limit..limit + 2 * pause + late).contains(&ending.took), "{:?} at {pause:?}", ending.took);
    }
}
