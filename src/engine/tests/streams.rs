//! Bytes from one side to the other: whole, in order, in both directions, to the end or to a reset.

use super::*;
use std::io::ErrorKind;

conformance!(
    echo,
    tiny_pieces_arrive_in_order,
    a_long_vectored_send_arrives_whole,
    both_directions_at_once,
    half_close,
    the_end_is_given_again,
    a_reset_fails_the_receive_again_and_again,
    a_reset_is_known_after_a_send_was_told_of_it,
    a_reset_behind_an_orderly_end_leaves_it_orderly,
    an_orderly_end_is_no_reset,
    sending_to_a_closed_side_fails,
    a_refused_connect_fails,
    what_was_sent_before_the_close_arrives,
    last_bytes_arrive_with_the_end,
    bulk_and_small_receives_alternate,
    ipv6,
    what_the_other_side_takes_is_acknowledged,
    an_end_is_seen_without_a_receive,
    an_end_behind_bytes_is_seen_once_they_are_taken,
    a_reset_is_seen_without_a_receive,
);

async fn echo(engine: Engine) {
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
    for round in 0..100usize {
        let message = pattern(round * 1000 + 1);
        send(&client, &message).await.unwrap();
        assert_eq!(receive_exactly(&client, message.len()).await, message);
    }
    client.shutdown();
    assert!(client.receive().await.unwrap().is_empty());
}

async fn tiny_pieces_arrive_in_order(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let message = pattern(2000);
    let expected = message.clone();
    let sender = engine.clone();
    engine.spawn(async move {
        for (at, byte) in message.iter().enumerate() {
            send(&client, &[*byte]).await.unwrap();
            if at % 7 == 0 {
                sender.yield_now().await;
            }
        }
    });
    assert_eq!(receive_to_end(&server).await, expected);
}

async fn a_long_vectored_send_arrives_whole(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let bytes = pattern(6 * 1024 * 1024);
    let expected = bytes.clone();
    engine.spawn(async move {
        let mut outgoing = Outgoing::default();
        for (at, piece) in bytes.chunks(bytes.len() / 50 + 1).enumerate() {
            match at % 2 {
                0 => outgoing.text().extend_from_slice(piece),
                _ => outgoing.chunk(Chunk::copy_of(piece)),
            }
        }
        client.send(&mut outgoing).await.unwrap();
        assert!(outgoing.is_empty());
    });
    assert!(receive_to_end(&server).await == expected);
}

async fn both_directions_at_once(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let bytes = pattern(3 * 1024 * 1024);
    let upload = async {
        send(&client, &bytes).await.unwrap();
        client.shutdown();
    };
    let download = async {
        send(&server, &bytes).await.unwrap();
        server.shutdown();
    };
    let sides = join(receive_to_end(&client), receive_to_end(&server));
    let (_, (at_client, at_server)) = join(join(upload, download), sides).await;
    assert!(at_client == bytes && at_server == bytes);
}

async fn half_close(engine: Engine) {
    let (client, server) = pair(&engine).await;
    send(&client, b"question").await.unwrap();
    client.shutdown();
    assert_eq!(receive_to_end(&server).await, b"question");
    for _ in 0..3 {
        send(&server, b"answer").await.unwrap();
        turns(&engine, 2).await;
    }
    server.shutdown();
    assert_eq!(receive_to_end(&client).await, b"answeransweranswer");
}

async fn the_end_is_given_again(engine: Engine) {
    let (client, server) = pair(&engine).await;
    drop(client);
    for _ in 0..3 {
        assert!(server.receive().await.unwrap().is_empty());
        assert!(server.is_readable());
    }
}

async fn a_reset_fails_the_receive_again_and_again(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let (_, received) = join(
        async {
            turns(&engine, 2).await;
            client.reset();
        },
        server.receive(),
    )
    .await;
    assert_eq!(received.unwrap_err().kind(), ErrorKind::ConnectionReset);
    for _ in 0..3 {
        assert_eq!(server.receive().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert!(send(&server, b"late").await.is_err());
}

async fn a_reset_is_known_after_a_send_was_told_of_it(engine: Engine) {
    for already in [0, 3, 100_000] {
        let (client, server) = pair(&engine).await;
        let (received, sent) = join(receive_exactly(&server, already), send(&client, &pattern(already))).await;
        sent.unwrap();
        assert_eq!(received, pattern(already));
        client.reset();
        while send(&server, b"more").await.is_ok() {
            turns(&engine, 1).await;
        }
        // Whether the kernel tells of it once more is not said.
        let received = server.receive().await;
        assert!(received.is_err() || server.was_reset(), "{} bytes", received.unwrap().len());
    }
}

/// The message is complete, and he who sent it wants no answer.
async fn a_reset_behind_an_orderly_end_leaves_it_orderly(engine: Engine) {
    for len in [0, 3, 100_000] {
        let (client, server) = pair(&engine).await;
        let (received, sent) = join(receive_exactly(&server, len), send(&client, &pattern(len))).await;
        sent.unwrap();
        assert_eq!(received, pattern(len));
        client.shutdown();
        client.reset();
        while send(&server, b"answer").await.is_ok() {
            turns(&engine, 1).await;
        }
        assert!(server.receive().await.unwrap().is_empty());
        assert!(!server.was_reset());
    }
}

async fn an_orderly_end_is_no_reset(engine: Engine) {
    let (client, server) = pair(&engine).await;
    client.shutdown();
    assert!(server.receive().await.unwrap().is_empty());
    assert!(!server.was_reset());
    send(&server, b"answer").await.unwrap();
    assert_eq!(receive_exactly(&client, 6).await, b"answer");
}

async fn sending_to_a_closed_side_fails(engine: Engine) {
    let (client, server) = pair(&engine).await;
    drop(server);
    for _ in 0..100 {
        if let Err(error) = send(&client, b"anybody there?").await {
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
            assert!(send(&client, b"and now?").await.is_err());
            return;
        }
        turns(&engine, 1).await;
    }
    panic!("sending goes on and on");
}

async fn a_refused_connect_fails(engine: Engine) {
    let address = listen(&engine).local_address();
    turns(&engine, 2).await;
    let error = engine.connect(&address, &PLAIN).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

async fn what_was_sent_before_the_close_arrives(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let bytes = pattern(40_000);
    send(&client, &bytes).await.unwrap();
    drop(client);
    assert!(receive_to_end(&server).await == bytes);
}

async fn last_bytes_arrive_with_the_end(engine: Engine) {
    for (round, length) in [1, 100, 40_000, 3_000_000].into_iter().cycle().take(8).enumerate() {
        let (client, server) = pair(&engine).await;
        let bytes = pattern(length);
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(&bytes);
        outgoing.end();
        let sending = async {
            client.send(&mut outgoing).await.unwrap();
            match round / 4 {
                0 => client.shutdown(),
                _ => drop(client),
            }
        };
        let (received, ()) = join(receive_to_end(&server), sending).await;
        assert!(received == bytes, "{length} bytes");
    }
}

async fn bulk_and_small_receives_alternate(engine: Engine) {
    let (client, server) = pair(&engine).await;
    for round in 0..20usize {
        server.expect_bulk(round % 3 == 0);
        client.expect_bulk(round % 2 == 0);
        let bytes = pattern(1 + round * 30_000);
        let (sent, received) = join(send(&client, &bytes), receive_exactly(&server, bytes.len())).await;
        sent.unwrap();
        assert!(received == bytes);
        send(&server, b"ok").await.unwrap();
        assert_eq!(receive_exactly(&client, 2).await, b"ok");
    }
}

async fn ipv6(engine: Engine) {
    let Ok(listener) = engine.listen(&ip("[::1]:0"), &ListenOptions::default()) else {
        return println!("skipped: no IPv6 here");
    };
    let (client, server) = join(engine.connect(&listener.local_address(), &PLAIN), listener.accept()).await;
    let (client, (server, address)) = (client.unwrap(), server.unwrap());
    assert_eq!(client.local_address().unwrap(), address);
    assert_eq!(server.local_address().unwrap(), listener.local_address());
    send(&client, b"six").await.unwrap();
    assert_eq!(receive_exactly(&server, 3).await, b"six");
}

async fn what_the_other_side_takes_is_acknowledged(engine: Engine) {
    let (client, server) = pair(&engine).await;
    send(&client, &pattern(1000)).await.unwrap();
    receive_exactly(&server, 1000).await;
    let before = client.acknowledged();
    send(&client, &pattern(5000)).await.unwrap();
    receive_exactly(&server, 5000).await;
    // An answer carries the acknowledgement, if nothing has before.
    send(&server, b"thanks").await.unwrap();
    receive_exactly(&client, 6).await;
    turns(&engine, 3).await;
    assert!(client.acknowledged() >= before + 5000, "{before} and then {}", client.acknowledged());
}

/// Waits for the end of a stream as one does who receives nothing.
async fn end_of(stream: &Stream) -> std::io::Result<()> {
    poll_fn(|context| stream.poll_end(context)).await
}

async fn an_end_is_seen_without_a_receive(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let mut ended = pin!(end_of(&server));
    assert!(is_pending(ended.as_mut()).await);
    turns(&engine, 2).await;
    assert!(is_pending(ended.as_mut()).await);
    client.shutdown();
    ended.await.unwrap();
    end_of(&server).await.unwrap();
    assert!(server.receive().await.unwrap().is_empty());
    // It reads on all the same.
    send(&server, b"bye").await.unwrap();
    assert_eq!(receive_exactly(&client, 3).await, b"bye");
}

async fn an_end_behind_bytes_is_seen_once_they_are_taken(engine: Engine) {
    let (client, server) = pair(&engine).await;
    for _ in 0..3 {
        // Watched in between, as a connection is that waits for another.
        assert!(is_pending(pin!(end_of(&server))).await);
        send(&client, b"next").await.unwrap();
        turns(&engine, 2).await;
        assert!(is_pending(pin!(end_of(&server))).await);
        assert_eq!(receive_exactly(&server, 4).await, b"next");
    }
    send(&client, b"last").await.unwrap();
    drop(client);
    turns(&engine, 2).await;
    assert!(is_pending(pin!(end_of(&server))).await);
    assert_eq!(receive_exactly(&server, 4).await, b"last");
    end_of(&server).await.unwrap();
}

async fn a_reset_is_seen_without_a_receive(engine: Engine) {
    let (client, server) = pair(&engine).await;
    let (_, ended) = join(
        async {
            turns(&engine, 2).await;
            client.reset();
        },
        end_of(&server),
    )
    .await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(end_of(&server).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.receive().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
