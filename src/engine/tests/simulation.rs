//! What only the simulation has: runs that can be had again, time that jumps, and faults.

use super::*;
use std::cell::Cell;
use std::rc::Rc;

/// Clients that send and expect an echo, under faults; returns the trace and how many bytes came back whole.
fn echoes(seed: u64, faults: SimFaults) -> (u64, u64) {
    const CLIENTS: u64 = 20;
    let engine = Engine::simulated(&SimSettings { seed, faults, buffers: 8, ..SimSettings::default() }).unwrap();
    let inner = engine.clone();
    let echoed = engine.run(async move {
        let listener = listen(&inner);
        let address = listener.local_address();
        let server = inner.clone();
        inner.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => server.spawn(async move {
                        let _ = echo_one(&stream).await;
                    }),
                    Err(_) => server.sleep(Duration::from_millis(1)).await,
                }
            }
        });
        let (echoed, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for _ in 0..CLIENTS {
            let (client, echoed, done) = (inner.clone(), echoed.clone(), done.clone());
            let address = address.clone();
            inner.spawn(async move {
                if let Ok(bytes) = ask(&client, &address).await {
                    echoed.set(echoed.get() + bytes);
                }
                done.set(done.get() + 1);
            });
        }
        while done.get() < CLIENTS {
            inner.sleep(Duration::from_millis(10)).await;
        }
        echoed.get()
    });
    let trace = engine.trace();
    engine.stop();
    let settling = engine.clone();
    engine.run(async move { settle(&settling, 0).await });
    (trace, echoed)
}

async fn echo_one(stream: &Stream) -> io::Result<()> {
    let mut outgoing = Outgoing::default();
    loop {
        let chunk = stream.receive().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        outgoing.chunk(chunk);
        stream.send(&mut outgoing).await?;
    }
}

/// What comes back is a part of what was sent, from its start and in order, whatever goes wrong.
async fn ask(engine: &Engine, address: &Address) -> io::Result<u64> {
    let stream = engine.connect(address, &PLAIN).await?;
    let bytes = pattern(1 + (engine.random() % 300_000) as usize);
    let receiving = async {
        let mut at = 0;
        while at < bytes.len() {
            let chunk = stream.receive().await?;
            assert!(!chunk.is_empty(), "an end that nobody sent");
            assert!(chunk[..] == bytes[at..at + chunk.len()]);
            at += chunk.len();
        }
        Ok(at as u64)
    };
    let (sent, received) = join(send(&stream, &bytes), receiving).await;
    sent.and(received)
}

#[test]
fn one_seed_is_one_run() {
    for seed in 0..10 {
        let run = echoes(seed, SimFaults::some());
        assert_eq!(run, echoes(seed, SimFaults::some()), "seed {seed}");
        assert_ne!(run.0, echoes(seed + 1000, SimFaults::some()).0, "seed {seed}");
    }
}

#[test]
fn faults_damage_no_byte() {
    for seed in 0..50 {
        echoes(seed, SimFaults::some());
    }
}

#[test]
fn without_faults_everything_arrives() {
    let (_, all) = echoes(1, SimFaults::default());
    assert!(all > 1_000_000);
    let harmless = SimFaults { reset: 0.0, connect_refused: 0.0, connect_timeout: 0.0, ..SimFaults::some() };
    assert_eq!(echoes(1, harmless).1, all);
}

#[test]
fn time_jumps() {
    let engine = Engine::simulated(&SimSettings::default()).unwrap();
    let inner = engine.clone();
    engine.run(async move {
        let start = inner.now();
        inner.sleep(Duration::from_secs(3600)).await;
        let slept = inner.now().since(start);
        assert!(slept >= Duration::from_secs(3600) && slept < Duration::from_millis(3_600_010));
    });
    assert!(engine.counts().turns < 100);
}

#[test]
fn a_connect_that_nobody_answers_ends() {
    let faults = SimFaults { connect_timeout: 1.0, ..SimFaults::default() };
    let engine = Engine::simulated(&SimSettings { faults, ..SimSettings::default() }).unwrap();
    let inner = engine.clone();
    engine.run(async move {
        let listener = listen(&inner);
        let error = inner.connect(&listener.local_address(), &PLAIN).await.err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    });
}
