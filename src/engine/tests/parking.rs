//! Parked streams come back for what happened on them and for nothing else.

use super::*;
use std::rc::Rc;

conformance!(
    bytes_unpark,
    bytes_that_wait_already_unpark,
    the_end_unparks,
    a_reset_unparks,
    the_deadline_unparks,
    a_ticket_takes_back,
    a_stale_wake_unparks_nobody,
    many_parked_streams,
    a_full_buffer_does_not_unpark,
);

fn soon(engine: &Engine) -> Instant {
    engine.now() + Duration::from_millis(5)
}

async fn bytes_unpark(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    let mut stream = server;
    for round in 0..10 {
        parking.park(stream, Instant::NEVER, round);
        assert!(is_pending(pin!(parking.next())).await);
        send(&client, b"wake up").await.unwrap();
        let parked = parking.next().await;
        assert_eq!((parked.record, parked.expired), (round, false));
        assert!(parked.stream.is_readable());
        assert_eq!(receive_exactly(&parked.stream, 7).await, b"wake up");
        stream = parked.stream;
    }
}

async fn bytes_that_wait_already_unpark(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    send(&client, b"early").await.unwrap();
    turns(&engine, 3).await;
    parking.park(server, Instant::NEVER, ());
    assert_eq!(receive_exactly(&parking.next().await.stream, 5).await, b"early");
}

async fn the_end_unparks(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    parking.park(server, Instant::NEVER, ());
    drop(client);
    let parked = parking.next().await;
    assert!(!parked.expired && parked.stream.receive().await.unwrap().is_empty());
}

async fn a_reset_unparks(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    parking.park(server, Instant::NEVER, ());
    client.reset();
    assert!(parking.next().await.stream.receive().await.is_err());
}

async fn the_deadline_unparks(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    let until = soon(&engine);
    parking.park(server, until, ());
    let parked = parking.next().await;
    assert!(parked.expired && engine.now() >= until);
    send(&client, b"late").await.unwrap();
    assert_eq!(receive_exactly(&parked.stream, 4).await, b"late");
}

async fn a_ticket_takes_back(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    let ticket = parking.park(server, soon(&engine), "record");
    let parked = parking.take(ticket).unwrap();
    assert_eq!(parked.record, "record");
    assert!(parking.take(ticket).is_none() && parking.is_empty());
    let again = parking.park(parked.stream, soon(&engine), "again");
    assert!(parking.take(ticket).is_none(), "the ticket of an earlier stay");
    send(&client, b"x").await.unwrap();
    assert_eq!(parking.next().await.record, "again");
    assert!(parking.take(again).is_none());
}

async fn a_stale_wake_unparks_nobody(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    let (_quiet_client, quiet) = pair(&engine).await;
    let ticket = parking.park(server, Instant::NEVER, "first");
    send(&client, b"x").await.unwrap();
    turns(&engine, 3).await;
    // The wake for the first is under way when the second takes its place.
    let first = parking.take(ticket).unwrap();
    parking.park(quiet, Instant::NEVER, "second");
    assert!(is_pending(pin!(parking.next())).await);
    turns(&engine, 3).await;
    assert!(is_pending(pin!(parking.next())).await);
    assert_eq!(receive_exactly(&first.stream, 1).await, b"x");
    assert_eq!(parking.take_all().len(), 1);
}

async fn many_parked_streams(engine: Engine) {
    const STREAMS: usize = 200;
    let parking = Rc::new(Parking::new(&engine));
    let listener = listen(&engine);
    let mut clients = Vec::new();
    for at in 0..STREAMS {
        let (client, server) = join(engine.connect(&listener.local_address(), &PLAIN), listener.accept()).await;
        clients.push(client.unwrap());
        parking.park(server.unwrap().0, Instant::NEVER, at);
    }
    turns(&engine, 2).await;
    let buffers = engine.counts().buffers_free;
    assert_eq!(buffers, u64::from(BUFFERS), "parked streams hold no buffer");
    for round in 0..3usize {
        for at in (round..STREAMS).step_by(3) {
            send(&clients[at], b"request").await.unwrap();
        }
        for _ in (round..STREAMS).step_by(3) {
            let parked = parking.next().await;
            assert_eq!(parked.record % 3, round);
            receive_exactly(&parked.stream, 7).await;
            parking.park(parked.stream, Instant::NEVER, parked.record);
        }
        assert!(is_pending(pin!(parking.next())).await);
    }
}

/// A receive that filled its buffer leaves it open whether more is there: parking must look before it says so.
async fn a_full_buffer_does_not_unpark(engine: Engine) {
    let parking = Parking::new(&engine);
    let (client, server) = pair(&engine).await;
    let (sent, _) = join(send(&client, &pattern(BUFFER_SIZE)), receive_exactly(&server, BUFFER_SIZE)).await;
    sent.unwrap();
    parking.park(server, Instant::NEVER, ());
    for _ in 0..3 {
        assert!(is_pending(pin!(parking.next())).await);
        turns(&engine, 2).await;
    }
    send(&client, b"more").await.unwrap();
    assert_eq!(receive_exactly(&parking.next().await.stream, 4).await, b"more");
}
