//! Many connections, one after the other: nothing may be left of them.

use super::*;
use std::cell::Cell;
use std::rc::Rc;

conformance!(connections_come_and_go);
conformance_alone!(ten_thousand_connections_leave_nothing, engines_leave_nothing);

async fn connections_come_and_go(engine: Engine) {
    exchange(&engine, 500).await;
}

async fn ten_thousand_connections_leave_nothing(engine: Engine) {
    exchange(&engine, 500).await;
    let before = settled_descriptors(&engine).await;
    exchange(&engine, 10_000).await;
    assert_eq!(settled_descriptors(&engine).await, before);
}

/// Descriptors once no stream is left and every close, which may be submitted with a later turn only, has been done.
async fn settled_descriptors(engine: &Engine) -> usize {
    loop {
        let open = open_descriptors();
        turns(engine, 5).await;
        if engine.counts().streams == 0 && open_descriptors() == open {
            return open;
        }
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Opens `total` connections, some dozens at a time, with one question and answer on each.
async fn exchange(engine: &Engine, total: usize) {
    const AT_ONCE: usize = 50;
    let listener = listen(engine);
    let address = listener.local_address();
    let server = engine.clone();
    let (started, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let answered = Rc::new(Cell::new(0));
    let answers = answered.clone();
    engine.spawn(async move {
        for _ in 0..total {
            let (stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            server.spawn(async move {
                let mut outgoing = Outgoing::default();
                outgoing.chunk(stream.receive().await.unwrap());
                stream.send(&mut outgoing).await.unwrap();
                answers.set(answers.get() + 1);
            });
        }
    });
    for _ in 0..AT_ONCE {
        let (client, started, done) = (engine.clone(), started.clone(), done.clone());
        let address = address.clone();
        engine.spawn(async move {
            while started.get() < total {
                started.set(started.get() + 1);
                let stream = client.connect(&address, &PLAIN).await.unwrap();
                send(&stream, b"question").await.unwrap();
                assert_eq!(receive_to_end(&stream).await, b"question");
                done.set(done.get() + 1);
            }
        });
    }
    while done.get() < total {
        engine.sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(answered.get(), total);
    settle(engine, 0).await;
}

/// Engines that end in the middle of everything, one after the other on one thread.
async fn engines_leave_nothing(engine: Engine) {
    let driver = match engine.driver_name() {
        "uring" => DriverChoice::Uring,
        _ => DriverChoice::Epoll,
    };
    let round = move |rounds: u64| {
        for at in 0..rounds {
            let engine = Engine::new(&settings(driver)).unwrap();
            let within = engine.clone();
            engine.run(async move {
                let listener = listen(&within);
                let address = listener.local_address();
                for client in (0..20).map(|_| within.clone()) {
                    let address = address.clone();
                    within.clone().spawn(async move {
                        let stream = client.connect(&address, &PLAIN).await.unwrap();
                        let _ = join(send(&stream, &vec![7; 4 << 20]), stream.receive()).await;
                    });
                }
                for _ in 0..at % 5 {
                    let (stream, _) = listener.accept().await.unwrap();
                    within.spawn(async move { drop(stream.receive().await) });
                }
                let _ = is_pending(pin!(listener.accept())).await;
                turns(&within, at as usize % 3).await;
            });
            engine.stop();
        }
        open_descriptors()
    };
    std::thread::spawn(move || assert_eq!(round(5), round(30))).join().unwrap();
}
