//! Splices: whole and in order like everything else, ended and dropped in every state, and never in the way of others.

use super::*;
use crate::engine::pipe::{BYTES_MAX, FILL_MAX, PIPES_MAX};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

conformance!(
    everything_arrives_in_order,
    what_was_received_goes_first,
    copies_and_splices_alternate,
    the_end_is_a_receive,
    a_reset_sender_is_told_by_the_receive,
    a_reset_reader_fails_the_drain,
    both_directions_are_spliced_at_once,
    a_stalled_reader_holds_one_pipe,
    more_stalled_readers_than_pipes,
    a_dropped_drain_breaks_the_sending_side_only,
    a_dropped_fill_loses_nothing,
    streams_close_beside_polls,
    plain_sends_and_receives_after_a_splice,
    a_trickle_beside_spliced_floods,
    splices_end_at_random,
);
conformance_alone!(splices_leave_no_descriptor);

/// A relay's four streams: what a source sends into it, and what it sends on to a reader.
struct Line {
    source: Stream,
    from: Stream,
    to: Stream,
    reader: Stream,
}

async fn line(engine: &Engine) -> Line {
    let (source, from) = pair(engine).await;
    let (to, reader) = pair(engine).await;
    Line { source, from, to, reader }
}

/// Relays to the end, by splicing whenever that is possible. Returns how many bytes were spliced and copied.
async fn relay(engine: &Engine, from: &Stream, to: &Stream) -> std::io::Result<(usize, usize)> {
    let (mut spliced, mut copied) = (0, 0);
    let mut splice = engine.splice(from, to);
    let mut outgoing = Outgoing::default();
    loop {
        match splice.fill(usize::MAX).await {
            Filled::Bytes(count) => {
                spliced += count;
                while splice.drain().await? > 0 {}
            }
            Filled::Copy => {
                let chunk = from.receive().await?;
                if chunk.is_empty() {
                    to.shutdown();
                    return Ok((spliced, copied));
                }
                copied += chunk.len();
                outgoing.chunk(chunk);
                to.send(&mut outgoing).await?;
            }
        }
    }
}

/// Sends `bytes` from the source in pieces of `piece` bytes, and expects them at the reader through `relay`.
async fn through(engine: &Engine, line: Line, bytes: Vec<u8>, piece: usize) -> (usize, usize) {
    let Line { source, from, to, reader } = line;
    let expected = bytes.clone();
    engine.spawn(async move {
        for piece in bytes.chunks(piece) {
            send(&source, piece).await.unwrap();
        }
        source.shutdown();
        assert!(source.receive().await.unwrap().is_empty());
    });
    let (moved, received) = join(relay(engine, &from, &to), receive_to_end(&reader)).await;
    assert!(received == expected, "{} of {} bytes, or others", received.len(), expected.len());
    let (spliced, copied) = moved.unwrap();
    assert_eq!(spliced + copied, expected.len());
    (spliced, copied)
}

async fn everything_arrives_in_order(engine: Engine) {
    for (len, piece) in [(6 << 20, 1 << 20), (3_000_000, 77_777), (20_000, 77), (1, 1)] {
        let before = engine.counts();
        let (spliced, copied) = through(&engine, line(&engine).await, pattern(len), piece).await;
        assert_eq!((spliced, copied), (len, 0));
        let after = engine.counts();
        assert_eq!(after.spliced_bytes - before.spliced_bytes, len as u64);
        assert_eq!((after.pipes_used, after.pipe_bytes, after.pipes_refused), (0, 0, 0));
    }
}

async fn what_was_received_goes_first(engine: Engine) {
    for bulk in [false, true] {
        for len in [100, 5_000, 3 * BUFFER_SIZE] {
            let line = line(&engine).await;
            line.from.expect_bulk(bulk);
            assert!(is_pending(pin!(line.from.receive())).await);
            send(&line.source, &pattern(len)[..len / 2]).await.unwrap();
            turns(&engine, 2).await;
            send(&line.source, &pattern(len)[len / 2..]).await.unwrap();
            line.source.shutdown();
            let (moved, received) = join(relay(&engine, &line.from, &line.to), receive_to_end(&line.reader)).await;
            moved.unwrap();
            assert!(received == pattern(len), "{len} {bulk}");
        }
    }
}

/// However the two ways alternate, and whether or not a receive is in flight when a splice begins.
async fn copies_and_splices_alternate(engine: Engine) {
    let Line { source, from, to, reader } = line(&engine).await;
    let bytes = pattern(4 << 20);
    let expected = bytes.clone();
    let sender = engine.clone();
    engine.spawn(async move {
        for piece in bytes.chunks(40_000) {
            send(&source, piece).await.unwrap();
            if sender.random().is_multiple_of(3) {
                turns(&sender, 1).await;
            }
        }
    });
    let relaying = engine.clone();
    engine.spawn(async move {
        let mut outgoing = Outgoing::default();
        loop {
            if relaying.random().is_multiple_of(2) {
                let mut splice = relaying.splice(&from, &to);
                let until = relaying.now() + Duration::from_millis(relaying.random() % 3);
                match relaying.timeout(until, splice.fill(usize::MAX)).await {
                    Ok(Filled::Bytes(_)) => while splice.drain().await.unwrap() > 0 {},
                    Ok(Filled::Copy) | Err(Elapsed) => {}
                }
                drop(splice);
            }
            from.expect_bulk(relaying.random().is_multiple_of(2));
            let until = relaying.now() + Duration::from_millis(relaying.random() % 3);
            if let Ok(chunk) = relaying.timeout(until, from.receive()).await {
                let chunk = chunk.unwrap();
                if chunk.is_empty() {
                    break;
                }
                outgoing.chunk(chunk);
                to.send(&mut outgoing).await.unwrap();
            }
        }
    });
    assert!(receive_to_end(&reader).await == expected);
}

async fn the_end_is_a_receive(engine: Engine) {
    let line = line(&engine).await;
    let mut splice = engine.splice(&line.from, &line.to);
    line.source.shutdown();
    for _ in 0..3 {
        assert_eq!(splice.fill(usize::MAX).await, Filled::Copy);
        assert!(line.from.receive().await.unwrap().is_empty());
    }
    // The other direction goes on.
    send(&line.from, b"still here").await.unwrap();
    assert_eq!(receive_exactly(&line.source, 10).await, b"still here");
    line.from.shutdown();
    assert!(receive_to_end(&line.source).await.is_empty());
}

async fn a_reset_sender_is_told_by_the_receive(engine: Engine) {
    let Line { source, from, to, reader } = line(&engine).await;
    send(&source, &pattern(100_000)).await.unwrap();
    let resetting = engine.clone();
    engine.spawn(async move {
        turns(&resetting, 5).await;
        source.reset();
    });
    let (moved, received) = join(
        async {
            let moved = relay(&engine, &from, &to).await;
            to.shutdown();
            moved
        },
        receive_to_end(&reader),
    )
    .await;
    assert_eq!(moved.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(received == pattern(100_000));
    let mut splice = engine.splice(&from, &to);
    assert_eq!(splice.fill(usize::MAX).await, Filled::Copy);
    assert_eq!(from.receive().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// A source that never stops. Ends with its stream.
fn flood(engine: &Engine, source: Stream) {
    engine.spawn(async move {
        let block = pattern(BUFFER_SIZE);
        while send(&source, &block).await.is_ok() {}
    });
}

async fn a_reset_reader_fails_the_drain(engine: Engine) {
    for stalled in [false, true] {
        let Line { source, from, to, reader } = line(&engine).await;
        flood(&engine, source);
        let resetting = engine.clone();
        engine.spawn(async move {
            if !stalled {
                for _ in 0..20 {
                    reader.receive().await.unwrap();
                }
            }
            turns(&resetting, 20).await;
            reader.reset();
        });
        let error = relay(&engine, &from, &to).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        assert!(send(&to, b"anybody there?").await.is_err());
    }
}

async fn both_directions_are_spliced_at_once(engine: Engine) {
    let Line { source, from, to, reader } = line(&engine).await;
    let bytes = pattern(3 << 20);
    let sending = async {
        join(send(&source, &bytes), send(&reader, &bytes)).await.0.unwrap();
        source.shutdown();
        reader.shutdown();
    };
    let relaying = join(relay(&engine, &from, &to), relay(&engine, &to, &from));
    let receiving = join(receive_to_end(&source), receive_to_end(&reader));
    let ((up, down), (_, (at_source, at_reader))) = join(relaying, join(sending, receiving)).await;
    assert!(at_source == bytes && at_reader == bytes);
    assert_eq!((up.unwrap().0, down.unwrap().0), (bytes.len(), bytes.len()));
}

/// A spliced flow whose reader reads nothing, once it stands.
async fn stalled(engine: &Engine) -> Stream {
    let Line { source, from, to, reader } = line(engine).await;
    flood(engine, source);
    let relaying = engine.clone();
    let stalls = engine.counts().sends_stalled;
    engine.spawn(async move {
        let _ = relay(&relaying, &from, &to).await;
    });
    // The flood stalls too, when the relay does.
    while engine.counts().sends_stalled < stalls + 2 {
        turns(engine, 1).await;
    }
    reader
}

async fn a_stalled_reader_holds_one_pipe(engine: Engine) {
    let reader = stalled(&engine).await;
    turns(&engine, 20).await;
    let counts = engine.counts();
    assert_eq!((counts.pipes_used, counts.buffers_free), (1, u64::from(BUFFERS)));
    assert!((1..=FILL_MAX as u64).contains(&counts.pipe_bytes), "{} bytes in a pipe", counts.pipe_bytes);
    // It reads again: everything goes on where it stood.
    let mut received = 0;
    while received < 20 << 20 {
        received += reader.receive().await.unwrap().len();
    }
}

async fn more_stalled_readers_than_pipes(engine: Engine) {
    let mut readers = Vec::new();
    for _ in 0..PIPES_MAX + 10 {
        readers.push(stalled(&engine).await);
    }
    turns(&engine, 20).await;
    let counts = engine.counts();
    assert!(counts.pipes_used <= PIPES_MAX as u64 && counts.pipes_used > (BYTES_MAX / FILL_MAX) as u64);
    assert!(counts.pipes_refused >= 10 && counts.pipe_bytes <= BYTES_MAX as u64);
    // With nothing left to splice through, bytes are copied.
    let before = engine.counts().spliced_bytes;
    let (spliced, copied) = through(&engine, line(&engine).await, pattern(1 << 20), 1 << 18).await;
    assert_eq!((spliced, copied, engine.counts().spliced_bytes), (0, 1 << 20, before));
    // And spliced again when there is.
    drop(readers);
    settle_pipes(&engine).await;
    let (spliced, _) = through(&engine, line(&engine).await, pattern(1 << 20), 1 << 18).await;
    assert!(spliced > 0);
}

async fn settle_pipes(engine: &Engine) {
    while engine.counts().pipes_used > 0 {
        turns(engine, 1).await;
    }
}

async fn a_dropped_drain_breaks_the_sending_side_only(engine: Engine) {
    let Line { source, from, to, reader } = line(&engine).await;
    flood(&engine, source);
    let stalls = engine.counts().sends_stalled;
    {
        let mut relaying = pin!(relay(&engine, &from, &to));
        while engine.counts().sends_stalled < stalls + 2 || engine.counts().pipe_bytes == 0 {
            assert!(is_pending(relaying.as_mut()).await);
            turns(&engine, 1).await;
        }
    }
    assert_eq!((engine.counts().pipes_used, engine.counts().pipe_bytes), (0, 0));
    assert_eq!(send(&to, b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut splice = engine.splice(&from, &to);
    if let Filled::Bytes(_) = splice.fill(usize::MAX).await {
        assert_eq!(splice.drain().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
    drop(splice);
    send(&reader, b"still here").await.unwrap();
    assert_eq!(receive_exactly(&to, 10).await, b"still here");
}

async fn a_dropped_fill_loses_nothing(engine: Engine) {
    let Line { source, from, to, reader } = line(&engine).await;
    for round in 0..20usize {
        for waited in 0..round % 4 {
            let mut splice = engine.splice(&from, &to);
            let mut filling = pin!(splice.fill(usize::MAX));
            assert!(is_pending(filling.as_mut()).await);
            turns(&engine, waited % 2).await;
        }
        let bytes = pattern(1 + round * 10_000);
        send(&source, &bytes).await.unwrap();
        if round % 2 == 0 {
            assert!(receive_exactly(&from, bytes.len()).await == bytes);
        } else {
            let mut moved = 0;
            let mut splice = engine.splice(&from, &to);
            let mut outgoing = Outgoing::default();
            let relaying = async {
                while moved < bytes.len() {
                    match splice.fill(usize::MAX).await {
                        Filled::Bytes(count) => {
                            moved += count;
                            while splice.drain().await.unwrap() > 0 {}
                        }
                        Filled::Copy => {
                            let chunk = from.receive().await.unwrap();
                            moved += chunk.len();
                            outgoing.chunk(chunk);
                            to.send(&mut outgoing).await.unwrap();
                        }
                    }
                }
            };
            let (_, received) = join(relaying, receive_exactly(&reader, bytes.len())).await;
            assert!(received == bytes);
        }
    }
}

async fn streams_close_beside_polls(engine: Engine) {
    for waited in 0..4 {
        // One that waits for bytes, and one that waits for room.
        let waiting = line(&engine).await;
        let full = line(&engine).await;
        flood(&engine, full.source);
        let stalls = engine.counts().sends_stalled;
        {
            let mut splice = engine.splice(&waiting.from, &waiting.to);
            let mut filling = pin!(splice.fill(usize::MAX));
            let mut relaying = pin!(relay(&engine, &full.from, &full.to));
            while engine.counts().sends_stalled < stalls + 2 {
                assert!(is_pending(filling.as_mut()).await);
                assert!(is_pending(relaying.as_mut()).await);
                turns(&engine, 1).await;
            }
            turns(&engine, waited).await;
        }
        // The other sides hear of it although polls were in flight.
        drop((waiting.from, full.to));
        assert!(receive_to_end(&waiting.source).await.is_empty());
        while !full.reader.receive().await.unwrap_or(Chunk::empty()).is_empty() {}
    }
}

/// A spliced socket is another to the kernel (O_NONBLOCK), and must be none to its user.
async fn plain_sends_and_receives_after_a_splice(engine: Engine) {
    let Line { source, from, to, reader } = line(&engine).await;
    for stream in [(&source, &from, &to, &reader), (&reader, &to, &from, &source)] {
        let (source, from, to, reader) = stream;
        send(source, b"once").await.unwrap();
        let mut splice = engine.splice(from, to);
        assert_eq!(splice.fill(usize::MAX).await, Filled::Bytes(4));
        assert_eq!(splice.drain().await.unwrap(), 0);
        drop(splice);
        assert_eq!(receive_exactly(reader, 4).await, b"once");
    }
    // A receive that waits, and a send that stalls, on sockets that have been spliced.
    let bytes = pattern(9 << 20);
    let whole = [&bytes[..], b"end"].concat();
    for (one, other) in [(&from, &source), (&to, &reader)] {
        let sending = async {
            turns(&engine, 2).await;
            send(one, &bytes).await.unwrap();
            turns(&engine, 2).await;
            send(one, b"end").await.unwrap();
        };
        let receiving = async {
            turns(&engine, 10).await;
            receive_exactly(other, whole.len()).await
        };
        assert!(join(sending, receiving).await.1 == whole);
        let answering = async {
            turns(&engine, 2).await;
            send(other, b"thanks").await.unwrap();
        };
        assert_eq!(join(receive_exactly(one, 6), answering).await.0, b"thanks");
    }
}

async fn a_trickle_beside_spliced_floods(engine: Engine) {
    const ROUNDS: u64 = 100;
    const BYTES_A_ROUND_MAX: u64 = 64 << 20;
    for _ in 0..2 {
        let Line { source, from, to, reader } = line(&engine).await;
        flood(&engine, source);
        engine.spawn(async move { while !reader.receive().await.unwrap().is_empty() {} });
        let relaying = engine.clone();
        engine.spawn(async move {
            let _ = relay(&relaying, &from, &to).await;
        });
    }
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
    let before = engine.counts().spliced_bytes;
    for _ in 0..ROUNDS {
        send(&client, b"drop").await.unwrap();
        assert_eq!(receive_exactly(&client, 4).await, b"drop");
    }
    let moved = engine.counts().spliced_bytes - before;
    assert!(moved <= ROUNDS * BYTES_A_ROUND_MAX, "{moved} bytes of the floods in {ROUNDS} rounds of the trickle");
    assert!(moved > 0, "the floods starve");
}

/// Relays that are dropped, ended and reset at any point: what is left of them shows when everything settles.
async fn splices_end_at_random(engine: Engine) {
    let done = Rc::new(Cell::new(0));
    const LINES: usize = 60;
    for _ in 0..LINES {
        let (relaying, done) = (engine.clone(), done.clone());
        engine.spawn(async move {
            let Line { source, from, to, reader } = line(&relaying).await;
            flood(&relaying, source);
            let reading = relaying.clone();
            relaying.spawn(async move {
                for _ in 0..reading.random() % 40 {
                    match reading.timeout(reading.now() + Duration::from_millis(3), reader.receive()).await {
                        Ok(Ok(chunk)) if !chunk.is_empty() => {}
                        _ => break,
                    }
                }
                turns(&reading, (reading.random() % 8) as usize).await;
                if reading.random().is_multiple_of(2) {
                    reader.reset();
                }
            });
            let until = relaying.now() + Duration::from_micros(relaying.random() % 20_000);
            let _ = relaying.timeout(until, relay(&relaying, &from, &to)).await;
            done.set(done.get() + 1);
        });
    }
    while done.get() < LINES {
        turns(&engine, 1).await;
    }
    settle(&engine, 0).await;
}

async fn splices_leave_no_descriptor(engine: Engine) {
    splices_end_at_random(engine.clone()).await;
    let open = |engine: Engine| async move {
        turns(&engine, 5).await;
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    };
    let before = open(engine.clone()).await;
    for _ in 0..5 {
        splices_end_at_random(engine.clone()).await;
    }
    // Idle pipes stay open, for the next.
    let idle = 2 * crate::engine::pipe::PIPES_IDLE_MAX;
    let after = open(engine.clone()).await;
    assert!(after <= before + idle, "{before} descriptors before and {after} after");
}
