//! Connections that outlive the configuration which they began with hold nothing of it.

use crate::gateway::Gateway;
use crate::wire::Wire;
use ringgate::base::Address;
use ringgate::engine::{ConnectOptions, Engine, ListenOptions, SimSettings};
use std::sync::Arc;
use std::time::Duration;

const HTTP: &str = "10.0.0.1:80";
const TCP: &str = "10.0.0.1:6000";
const ORIGIN: &str = "10.1.0.1:9000";
const CONFIG: &str = "[[listener]]\naddress = \"10.0.0.1:80\"\nupstream = \"app\"\n\
     [[listener]]\naddress = \"10.0.0.1:6000\"\nprotocol = \"tcp\"\nupstream = \"app\"\n\
     [upstream.app]\nendpoints = [\"10.1.0.1:9000\"]\n";

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

/// Sends back what comes, after the answer to an upgrade if that is what comes first.
async fn echo(wire: Wire) -> Option<()> {
    loop {
        let chunk = wire.stream.receive().await.ok().filter(|chunk| !chunk.is_empty())?;
        let answer: &[u8] = match chunk.starts_with(b"GET ") {
            true => b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            false => &chunk,
        };
        wire.send(answer).await.ok()?;
    }
}

async fn connect(engine: &Engine, address: &str) -> Wire {
    Wire::new(engine.connect(&ip(address), &ConnectOptions::default()).await.expect("nothing fails here"))
}

async fn expect_echo(wire: &Wire, text: &[u8]) {
    wire.send(text).await.expect("nothing fails here");
    let mut found = wire.take_pending().to_vec();
    while found.len() < text.len() {
        found.extend_from_slice(&wire.stream.receive().await.expect("nothing fails here"));
    }
    assert_eq!(found, text);
}

#[test]
fn tunnels_and_relays_hold_neither_buffers_nor_their_snapshot() {
    let engine = Engine::simulated(&SimSettings::default()).expect("the simulation has what it needs");
    let inner = engine.clone();
    engine.run(async move {
        let engine = inner;
        let listener = engine.listen(&ip(ORIGIN), &ListenOptions::default()).expect("the address is free");
        let serving = engine.clone();
        engine.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(async move {
                    echo(Wire::new(stream)).await;
                });
            }
        });
        let gateway = Gateway::start(&engine, CONFIG);
        engine.sleep(Duration::from_secs(1)).await;
        let first = Arc::downgrade(&gateway.published.load());
        let tunnel = connect(&engine, HTTP).await;
        tunnel
            .send(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            .await
            .expect("sent");
        let head = tunnel.head().await.expect("received").expect("an answer");
        assert_eq!(head.status(), "101");
        let relayed = connect(&engine, TCP).await;
        for wire in [&tunnel, &relayed] {
            expect_echo(wire, b"before").await;
        }
        assert_eq!(gateway.memory_held(), 0, "buffers of a request are held by a tunnel");
        assert!(first.strong_count() > 0);
        gateway.reload(CONFIG);
        engine.sleep(Duration::from_secs(1)).await;
        assert_eq!(first.strong_count(), 0, "the first snapshot is held");
        for wire in [tunnel, relayed] {
            expect_echo(&wire, b"after").await;
        }
        engine.sleep(Duration::from_secs(1)).await;
        gateway.check_idle();
    });
    engine.stop();
}
