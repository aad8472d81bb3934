//! The conformance suite: what every driver must do, run on each.

use super::*;

fn engine(driver: DriverChoice) -> Engine {
    Engine::new(&EngineSettings { driver, buffers: 8, buffer_size: 64 * 1024 }).unwrap()
}

#[test]
fn echo() {
    let engine = engine(DriverChoice::Uring);
    let listener = engine.listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = listener.local_address();
    let server = engine.clone();
    engine.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            server.spawn(async move {
                let mut outgoing = Outgoing::default();
                loop {
                    let chunk = stream.receive().await.unwrap();
                    if chunk.is_empty() {
                        break;
                    }
                    outgoing.chunk(chunk);
                    stream.send(&mut outgoing).await.unwrap();
                }
            });
        }
    });
    let client = engine.clone();
    let total = engine.run(async move {
        let stream = client.connect(address).await.unwrap();
        let mut outgoing = Outgoing::default();
        let mut total = 0;
        for round in 0..100usize {
            outgoing.text().extend(std::iter::repeat_n(b'x', round * 1000 + 1));
            let len = outgoing.len();
            stream.send(&mut outgoing).await.unwrap();
            let mut back = 0;
            while back < len {
                back += stream.receive().await.unwrap().len();
            }
            total += back;
        }
        stream.shutdown();
        assert!(stream.receive().await.unwrap().is_empty());
        total
    });
    assert_eq!(total, 4_950_100);
    engine.stop();
}
