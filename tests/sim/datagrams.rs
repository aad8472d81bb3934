//! Both ends of UDP flows through the gateway: questions and answers that are checked byte by byte, whatever is lost,
//! doubled, overtaken or sent as one piece on the way, and wherever the endpoint goes.

use crate::ledger::Ledger;
use crate::wire::pattern;
use crate::world::Place;
use ringgate::engine::{Datagram, DatagramOptions, DatagramSocket, Engine, Raced, race};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of a datagram's number, before the pattern that belongs to it.
const NUMBER_BYTES: usize = 8;
/// Questions that a client sends at once, at most, and their longest.
const AT_ONCE: u64 = 12;
const BYTES_MAX: [u64; 3] = [100, 1_400, 9_000];
/// How long an answer is waited for until the question is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a client asks where nobody may listen.
const TRIES_MAX: u32 = 20;
/// How long an origin lives and how long it is gone, in milliseconds, at most.
const LIVES_MS: u64 = 3_000;
const DEAD_MS: u64 = 400;

fn datagram(number: u64, len: usize) -> Vec<u8> {
    [&number.to_le_bytes()[..], &pattern(number, len)].concat()
}

/// The numbers of the datagrams in a piece. Each must be what it was when it was sent.
fn numbers(piece: &Datagram<'_>) -> Vec<u64> {
    let of = |bytes: &[u8]| {
        let (number, rest) = bytes.split_first_chunk::<NUMBER_BYTES>().expect("a datagram is whole");
        let number = u64::from_le_bytes(*number);
        assert!(rest == pattern(number, rest.len()), "datagram {number} was changed on its way");
        number
    };
    piece.bytes.chunks(piece.segment.max(1)).map(of).collect()
}

/// Sends every question back, for ever. `dies`: is gone now and then.
pub async fn origin(engine: Engine, address: SocketAddr, dies: bool) {
    loop {
        let socket = engine.bind_datagrams(address, &DatagramOptions::default()).expect("the address is free");
        let answering = async {
            loop {
                let received = socket.receive(|piece| {
                    numbers(&piece);
                    // What finds no room is lost, and asked for again.
                    let _ = socket.send_to(piece.bytes, piece.segment, piece.from, piece.to);
                });
                received.await.expect("a bound socket fails at nothing");
            }
        };
        if !dies {
            return answering.await;
        }
        let life = engine.sleep(Duration::from_millis(engine.random() % LIVES_MS));
        let _: Raced<(), ()> = race(answering, life).await;
        drop(socket);
        engine.sleep(Duration::from_millis(engine.random() % DEAD_MS)).await;
    }
}

/// Asks `total` questions, each until it is answered.
pub async fn client(engine: Engine, ledger: Rc<Ledger>, at: Place, total: usize) {
    let address = at.address.parse().expect("an address");
    let mut left = total;
    while left > 0 {
        // What is sent to a socket that is gone reaches no other: answers are to what was asked by this one.
        let mut asked = BTreeSet::new();
        let socket = engine.connect_datagrams(address, &DatagramOptions::default()).expect("a socket");
        for _ in 0..1 + engine.random() % 3 {
            let count = 1 + engine.random() % AT_ONCE;
            let most = BYTES_MAX[(engine.random() % 3) as usize];
            let len = (engine.random() % most) as usize;
            let numbers: Vec<u64> = (0..count).map(|_| engine.random()).collect();
            left = left.saturating_sub(numbers.len());
            asked.extend(&numbers);
            let open = numbers.into_iter().map(|number| (number, datagram(number, len))).collect();
            ask_until_answered(&engine, &ledger, &socket, at, &asked, open).await;
            // Sometimes for so long that the flow ends.
            let pause_ms = if engine.random().is_multiple_of(8) { 45_000 } else { engine.random() % 100 };
            engine.sleep(Duration::from_millis(pause_ms)).await;
        }
    }
}

async fn ask_until_answered(
    engine: &Engine,
    ledger: &Ledger,
    socket: &DatagramSocket,
    at: Place,
    asked: &BTreeSet<u64>,
    mut open: BTreeMap<u64, Vec<u8>>,
) {
    for _ in 0..if at.comes_and_goes { TRIES_MAX } else { u32::MAX } {
        // All are equally long, so they may go as one piece.
        let bytes: Vec<u8> = open.values().flatten().copied().collect();
        let segment = open.values().next().map_or(0, Vec::len);
        let one_piece = engine.random().is_multiple_of(2);
        // A send that fails is a datagram that is lost.
        if one_piece && bytes.len() < 60_000 {
            let _ = socket.send(&bytes, segment);
        } else {
            open.values().for_each(|question| _ = socket.send(question, question.len()));
        }
        let until = engine.now() + AGAIN;
        while !open.is_empty() && engine.now() < until {
            let receiving = socket.receive(|piece| {
                for number in numbers(&piece) {
                    assert!(asked.contains(&number), "an answer to what was not asked here: {number}");
                    if open.remove(&number).is_some() {
                        ledger.count(|counts| counts.datagrams += 1);
                    }
                }
            });
            // ECONNREFUSED where the listener is gone for a while; and else the end of patience.
            let _ = engine.timeout(until, receiving).await;
        }
        if open.is_empty() {
            return;
        }
    }
}
