//! Operations that are dropped before they are done, in every state that they can be in.

use super::*;
use std::io::ErrorKind;

conformance!(
    a_dropped_receive_loses_nothing,
    a_dropped_send_breaks_the_sending_side_only,
    a_dropped_connect_leaves_nothing,
    a_dropped_accept_loses_no_connection,
    streams_close_with_everything_in_flight,
    an_engine_ends_with_everything_in_flight,
    random_ends,
);

async fn a_dropped_receive_loses_nothing(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let bytes = pattern(600_000);
    let expected = bytes.clone();
    let sender = engine.clone();
    engine.spawn(async move {
        for (at, piece) in bytes.chunks(1777).enumerate() {
            send(&client, piece).await.unwrap();
            if at % 20 == 0 {
                turns(&sender, 1).await;
            }
        }
    });
    let mut received = Vec::new();
    loop {
        match race(server.receive(), engine.yield_now()).await {
            Raced::First(chunk) => match chunk.unwrap() {
                chunk if chunk.is_empty() => break,
                chunk => received.extend_from_slice(&chunk),
            },
            Raced::Second(()) => {}
        }
    }
    assert!(received == expected);
}

async fn a_dropped_send_breaks_the_sending_side_only(engine: Engine) {
    let (client, server) = pair(&engine).await;
    fill(&engine, &client).await;
    for _ in 0..3 {
        assert_eq!(send(&client, b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        turns(&engine, 1).await;
    }
    send(&server, b"still here").await.unwrap();
    assert_eq!(receive_exactly(&client, 10).await, b"still here");
}

async fn a_dropped_connect_leaves_nothing(engine: Engine) {
    let listener = listen(&engine);
    let address = listener.local_address();
    for polled in 0..4 {
        let mut connecting = pin!(engine.connect(&address, &PLAIN));
        for _ in 0..polled {
            if !is_pending(connecting.as_mut()).await {
                break;
            }
        }
    }
    settle(&engine, 0).await;
}

async fn a_dropped_accept_loses_no_connection(engine: Engine) {
    let listener = listen(&engine);
    for _ in 0..5 {
        assert!(is_pending(pin!(listener.accept())).await);
        let client = engine.connect(&listener.local_address(), &PLAIN).await.unwrap();
        turns(&engine, 2).await;
        let (server, _) = listener.accept().await.unwrap();
        send(&client, b"hello").await.unwrap();
        assert_eq!(receive_exactly(&server, 5).await, b"hello");
    }
}

async fn streams_close_with_everything_in_flight(engine: Engine) {
    for waited in 0..4 {
        let (client, server) = pair(&engine).await;
        fill(&engine, &client).await;
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(&vec![7; 8 << 20]);
        {
            let mut receiving = pin!(client.receive());
            let mut sending = pin!(server.send(&mut outgoing));
            assert!(is_pending(receiving.as_mut()).await);
            let _ = is_pending(sending.as_mut()).await;
            turns(&engine, waited).await;
        }
        drop((client, server));
    }
    settle(&engine, 0).await;
}

async fn an_engine_ends_with_everything_in_flight(engine: Engine) {
    let listener = listen(&engine);
    let address = listener.local_address();
    for _ in 0..10 {
        let (client, server) = join(engine.connect(&address, &PLAIN), listener.accept()).await;
        let (client, (server, _)) = (client.unwrap(), server.unwrap());
        engine.spawn(async move {
            let bytes = vec![7; 9 << 20];
            let _ = join(send(&client, &bytes), client.receive()).await;
        });
        engine.spawn(async move { while !server.receive().await.is_ok_and(|chunk| chunk.is_empty()) {} });
    }
    let connecting = engine.clone();
    engine.spawn(async move {
        let _ = connecting.connect(&address, &PLAIN).await;
    });
    engine.spawn(async move { while listener.accept().await.is_ok() {} });
    turns(&engine, 1).await;
}

/// Many connections at once, each ended in some way at some point; what is leaked shows at the end.
async fn random_ends(engine: Engine) {
    const CONNECTIONS: usize = 200;
    let listener = listen(&engine);
    let address = listener.local_address();
    let accepting = engine.clone();
    engine.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            accepting.spawn(random_side(accepting.clone(), stream));
        }
    });
    for _ in 0..CONNECTIONS {
        let (connecting, address) = (engine.clone(), address.clone());
        engine.spawn(async move {
            let wait = Duration::from_millis(connecting.random() % 20);
            connecting.sleep(wait).await;
            let until = connecting.now() + Duration::from_millis(connecting.random() % 4);
            if let Ok(Ok(stream)) = connecting.timeout(until, connecting.connect(&address, &PLAIN)).await {
                random_side(connecting.clone(), stream).await;
            }
        });
    }
    while engine.counts().tasks_active > 2 {
        engine.sleep(Duration::from_millis(1)).await;
    }
    settle(&engine, 0).await;
}

async fn random_side(engine: Engine, stream: Stream) {
    for _ in 0..engine.random() % 12 {
        let until = engine.now() + Duration::from_millis(engine.random() % 3);
        let result = match engine.random() % 5 {
            0 | 1 => {
                let bytes = pattern(1 << (engine.random() % 21));
                engine.timeout(until, send(&stream, &bytes)).await.map(|sent| sent.is_ok())
            }
            2 | 3 => engine.timeout(until, stream.receive()).await.map(|chunk| chunk.is_ok_and(|c| !c.is_empty())),
            _ => {
                stream.expect_bulk(engine.random().is_multiple_of(2));
                Ok(true)
            }
        };
        if result == Ok(false) {
            break;
        }
    }
    match engine.random() % 3 {
        0 => stream.reset(),
        1 => stream.shutdown(),
        _ => {}
    }
}
