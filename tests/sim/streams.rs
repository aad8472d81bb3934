//! Both ends of a byte stream through the gateway, by tcp or by an upgraded connection. The client says in the first line
//! what is to happen; each end checks every byte that it gets, and that an orderly end means that it got them all.

use crate::ledger::Ledger;
use crate::wire::{Wire, beside, pattern};
use ringgate::engine::{Engine, Event, Outgoing, Raced, join, race};
use std::io;
use std::time::Duration;

/// What either end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plot {
    /// The origin sends back what it gets, as it gets it.
    Echo,
    /// The client ends first, the origin answers then.
    Ask,
    /// The origin ends first, the client answers then.
    Tell,
    /// Both at once.
    Both,
    /// Both at once, until the client resets.
    ClientCuts,
    /// Both at once, until the origin resets.
    OriginCuts,
}

const PLOTS: [Plot; 6] = [Plot::Echo, Plot::Ask, Plot::Tell, Plot::Both, Plot::ClientCuts, Plot::OriginCuts];
/// What the origin sends before all else: whoever has it is connected.
const GREETING: u8 = b'!';
const BYTES_MAX: u64 = 200_000;
/// In one stream of so many it is far more, enough to be spliced.
const BULK_EVERY: u64 = 4;
const BULK_BYTES_MAX: u64 = 1_500_000;
/// The other end's bytes belong to another number.
const OTHER: u64 = 1 << 63;

/// What one end does.
struct Part {
    plot: Plot,
    sends: Vec<u8>,
    expects: Vec<u8>,
    order: Order,
    /// Resets when this much has been sent.
    cut: Option<usize>,
    other_cuts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    SendFirst,
    ReceiveFirst,
    AtOnce,
}

/// How an end leaves its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Orderly,
    /// It is to be reset.
    Cut,
}

/// How far the client has come.
pub enum Played {
    ToTheEnd,
    /// Broken off, with or without a sign of the origin before.
    Broken {
        greeted: bool,
        error: io::Error,
    },
}

/// The client's end.
pub async fn client(engine: &Engine, ledger: &Ledger, wire: Wire) -> Played {
    let plot = PLOTS[(engine.random() % PLOTS.len() as u64) as usize];
    let id = engine.random() >> 1;
    let most = if engine.random().is_multiple_of(BULK_EVERY) { BULK_BYTES_MAX } else { BYTES_MAX };
    let up = (engine.random() % most) as usize;
    let down = if plot == Plot::Echo { up } else { (engine.random() % most) as usize };
    let opening = format!("{} {id} {up} {down}\r\n", plot as usize);
    let greeted = async {
        wire.send(opening.as_bytes()).await?;
        let first = wire.byte().await?;
        assert_eq!(first, GREETING, "the first byte is another's");
        io::Result::Ok(())
    };
    if let Err(error) = greeted.await {
        return Played::Broken { greeted: false, error };
    }
    let part = Part {
        plot,
        sends: pattern(id, up),
        expects: pattern(if plot == Plot::Echo { id } else { id ^ OTHER }, down),
        order: match plot {
            Plot::Ask => Order::SendFirst,
            Plot::Tell => Order::ReceiveFirst,
            _ => Order::AtOnce,
        },
        cut: (plot == Plot::ClientCuts).then(|| (engine.random() % (up as u64 + 1)) as usize),
        other_cuts: plot == Plot::OriginCuts,
    };
    match play(engine, ledger, &wire, part).await {
        Ok(End::Orderly) => Played::ToTheEnd,
        Ok(End::Cut) => {
            wire.stream.reset();
            Played::ToTheEnd
        }
        Err(error) => Played::Broken { greeted: true, error },
    }
}

/// The origin's end. The caller resets the stream where it is to be cut off.
pub async fn origin(engine: &Engine, ledger: &Ledger, wire: &Wire) -> io::Result<End> {
    let line = wire.line().await?;
    let mut words = line.split(' ').map(|word| word.parse::<u64>().expect("a number"));
    let mut word = || words.next().expect("four numbers");
    let (plot, id, up, down) = (PLOTS[word() as usize], word(), word() as usize, word() as usize);
    wire.send(&[GREETING]).await?;
    if plot == Plot::Echo {
        return echo(wire).await;
    }
    let part = Part {
        plot,
        sends: pattern(id ^ OTHER, down),
        expects: pattern(id, up),
        order: match plot {
            Plot::Ask => Order::ReceiveFirst,
            Plot::Tell => Order::SendFirst,
            _ => Order::AtOnce,
        },
        cut: (plot == Plot::OriginCuts).then(|| (engine.random() % (down as u64 + 1)) as usize),
        other_cuts: plot == Plot::ClientCuts,
    };
    play(engine, ledger, wire, part).await
}

async fn play(engine: &Engine, ledger: &Ledger, wire: &Wire, part: Part) -> io::Result<End> {
    let pending = wire.take_pending();
    if part.cut.is_some() {
        let receiving = async {
            let _ = receive(wire, &part, pending).await;
        };
        let _ = beside(send(engine, wire, &part), receiving).await;
        ledger.count(|counts| counts.cut += 1);
        return Ok(End::Cut);
    }
    let result = match part.order {
        Order::SendFirst => match send(engine, wire, &part).await {
            Ok(()) => receive(wire, &part, pending).await,
            failed => failed,
        },
        Order::ReceiveFirst => match receive(wire, &part, pending).await {
            Ok(()) => send(engine, wire, &part).await,
            failed => failed,
        },
        Order::AtOnce => {
            // Whoever cannot go on sending does not wait for what the other end will make of the half.
            let broken = Event::default();
            let sending = async {
                let sent = send(engine, wire, &part).await;
                if sent.is_err() {
                    broken.notify();
                }
                sent
            };
            match race(join(sending, receive(wire, &part, pending)), broken.wait()).await {
                Raced::First((sent, received)) => sent.and(received),
                Raced::Second(()) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    };
    match result {
        Err(_) if part.other_cuts => Ok(End::Orderly),
        Ok(()) => {
            ledger.count(|counts| counts.relayed += 1);
            Ok(End::Orderly)
        }
        Err(error) => Err(error),
    }
}

/// Sends in pieces, and ends the direction unless it is to be cut off.
async fn send(engine: &Engine, wire: &Wire, part: &Part) -> io::Result<()> {
    let whole = &part.sends[..part.cut.unwrap_or(part.sends.len())];
    for piece in whole.chunks(1 + (engine.random() % 50_000) as usize) {
        wire.send(piece).await?;
        if engine.random().is_multiple_of(8) {
            engine.sleep(Duration::from_millis(engine.random() % 50)).await;
        }
    }
    if part.cut.is_none() {
        wire.stream.shutdown();
    }
    Ok(())
}

/// Receives to the end. An orderly end is the end of everything: what is cut off must not look complete.
async fn receive(wire: &Wire, part: &Part, pending: Vec<u8>) -> io::Result<()> {
    assert!(part.expects.starts_with(&pending), "relayed bytes differ at the beginning");
    let mut at = pending.len();
    loop {
        let chunk = wire.stream.receive().await?;
        if chunk.is_empty() {
            let whole = part.expects.len();
            assert!(at == whole, "{:?}: an orderly end after {at} of {whole} bytes", part.plot);
            return Ok(());
        }
        assert!(part.expects.get(at..at + chunk.len()) == Some(&chunk[..]), "relayed bytes differ at {at}");
        at += chunk.len();
    }
}

/// Sends everything back, and ends when the other side has ended.
async fn echo(wire: &Wire) -> io::Result<End> {
    wire.send(&wire.take_pending()).await?;
    let mut outgoing = Outgoing::default();
    loop {
        let chunk = wire.stream.receive().await?;
        if chunk.is_empty() {
            wire.stream.shutdown();
            return Ok(End::Orderly);
        }
        outgoing.chunk(chunk);
        wire.stream.send(&mut outgoing).await?;
    }
}
