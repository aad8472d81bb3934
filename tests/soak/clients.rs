//! The clients: requests on connections that are kept, several at once, with bodies of either framing; byte streams through
//! a tcp listener and through upgraded connections; datagrams. Some are slow, some reset, some leave in the middle.

use super::gate::Gate;
use super::origin::{RESETS, RESETS_NOT, chunked, line};
use super::socket::{Place, Socket};
use super::story::{OTHER, Order, Part, is_short, pattern, play, wrong};
use super::tally::Tally;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

pub const COUNT: usize = 40;
/// Longer than anything that a client does.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client after another in the same place, until the time is over.
pub async fn client(number: usize, gate: Rc<Gate>, tally: Rc<Tally>, until: Instant) {
    while Instant::now() < until {
        let kills = gate.kills.get();
        let (kind, work): (_, std::pin::Pin<Box<dyn Future<Output = io::Result<()>>>>) = match number % 8 {
            0..=3 => ("http", Box::pin(http(&gate, &tally, until))),
            4 | 5 => ("tcp", Box::pin(stream(&gate, &tally, &gate.tcp, ""))),
            6 => ("tunnel", Box::pin(stream(&gate, &tally, &gate.http, UPGRADE))),
            _ => ("udp", Box::pin(datagrams(&gate, &tally))),
        };
        match timeout(PATIENCE, work).await {
            Ok(Ok(())) => continue,
            // A killed origin ends its streams in order, whatever it still owed.
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData && gate.kills.get() == kills => {
                tally.fault(format!("{kind}: {error}"));
            }
            Ok(Err(error)) => tally.failure(format!("{kind}: {:?}", error.kind())),
            Err(_) => tally.fault(format!("{kind}: not done after {PATIENCE:?}")),
        }
        sleep(Duration::from_millis(tally.random(50))).await;
    }
}

const UPGRADE: &str = "GET /0/0 HTTP/1.1\r\nHost: soak\r\nConnection: upgrade\r\nUpgrade: bytes\r\n\r\n";

/// A connection to one of the two places of a listener.
async fn connect(places: &[Place; 2], tally: &Tally) -> io::Result<BufReader<Socket>> {
    let place = &places[usize::from(tally.random(3) == 0)];
    Socket::connect(place).await.map(BufReader::new)
}

fn some_len(tally: &Tally) -> usize {
    tally.random([200, 20_000, 400_000][tally.random(3) as usize]) as usize
}

/// A connection with some requests.
async fn http(gate: &Gate, tally: &Tally, until: Instant) -> io::Result<()> {
    let mut stream = connect(&gate.http, tally).await?;
    for _ in 0..1 + tally.random(60) {
        let posts = tally.random(4) == 0;
        let ids: Vec<(u64, usize)> = (0..if posts { 1 } else { 1 + tally.random(4) })
            .map(|_| (tally.random(1 << 62), some_len(tally)))
            .collect();
        let chunks = posts && tally.random(2) == 0;
        let questions: Vec<u8> = ids.iter().flat_map(|(id, len)| question(*id, *len, posts, chunks)).collect();
        if tally.random(40) == 0 {
            return leave(stream, &questions, tally).await;
        }
        for (at, piece) in questions.chunks(questions.len().div_ceil(1 + tally.random(4) as usize)).enumerate() {
            if at > 0 {
                sleep(Duration::from_millis(tally.random(30))).await;
            }
            stream.get_mut().write_all(piece).await?;
        }
        for (id, len) in ids {
            if !answer(&mut stream, tally, id, len).await? {
                return Ok(());
            }
        }
        if Instant::now() > until {
            break;
        }
        sleep(Duration::from_millis(if tally.random(20) == 0 { 1_500 } else { tally.random(20) })).await;
    }
    Ok(())
}

fn question(id: u64, len: usize, posts: bool, chunks: bool) -> Vec<u8> {
    if !posts {
        return format!("GET /{id}/{len} HTTP/1.1\r\nHost: soak\r\n\r\n").into_bytes();
    }
    let framing = if chunks { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {len}") };
    let mut bytes = format!("POST /{id}/{len} HTTP/1.1\r\nHost: soak\r\n{framing}\r\n\r\n").into_bytes();
    for chunk in pattern(id, len).chunks(if chunks { 3_000 } else { len.max(1) }) {
        if chunks {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        }
        bytes.extend_from_slice(chunk);
        if chunks {
            bytes.extend_from_slice(b"\r\n");
        }
    }
    if chunks {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}

/// Asks, and goes away in the middle: with a reset or in order.
async fn leave(mut stream: BufReader<Socket>, questions: &[u8], tally: &Tally) -> io::Result<()> {
    let count = 1 + tally.random(questions.len() as u64) as usize;
    stream.get_mut().write_all(&questions[..count]).await?;
    sleep(Duration::from_millis(tally.random(20))).await;
    if tally.random(2) == 0 {
        stream.get_ref().break_off()?;
    }
    tally.add("clients that left", 1);
    Ok(())
}

/// Takes one answer. False if it is the connection's last.
async fn answer(stream: &mut BufReader<Socket>, tally: &Tally, id: u64, len: usize) -> io::Result<bool> {
    let first = line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (mut length, mut is_chunked, mut keeps, mut answered) = (None, false, true, None);
    loop {
        let field = line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?.to_ascii_lowercase();
        let Some((name, value)) = field.split_once(": ") else { break };
        match name {
            "content-length" => length = value.parse::<usize>().ok(),
            "transfer-encoding" => is_chunked = value == "chunked",
            "connection" => keeps = value != "close",
            "x-id" => answered = value.parse().ok(),
            _ => {}
        }
    }
    let body = if is_chunked {
        chunked(stream).await?
    } else {
        let mut body = vec![0; length.ok_or_else(|| wrong(format!("no framing: {first}")))?];
        // A slow reader now and then.
        for piece in body.chunks_mut(32 * 1024) {
            stream.read_exact(piece).await?;
            if tally.random(60) == 0 {
                sleep(Duration::from_millis(50)).await;
            }
        }
        body
    };
    match first.split(' ').nth(1).unwrap_or_default() {
        "200" if answered == Some(id) && body == pattern(id ^ OTHER, len) => {
            tally.add("answers", 1);
            tally.add("bytes of answers", len as u64);
            Ok(keeps)
        }
        "200" => Err(wrong(format!("the answer to {id} is another's or has other bytes: {first}, {answered:?}"))),
        status @ ("502" | "503" | "504") => {
            tally.failure(format!("http: {status}"));
            Ok(keeps)
        }
        _ => Err(wrong(format!("the answer {first}"))),
    }
}

/// A byte stream, through a tunnel if there is something to ask for it.
async fn stream(gate: &Gate, tally: &Tally, to: &[Place; 2], question: &str) -> io::Result<()> {
    let kills = gate.kills.get();
    let mut stream = connect(to, tally).await?;
    stream.get_mut().write_all(question.as_bytes()).await?;
    if !question.is_empty() {
        let first = line(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        while !line(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {}
        if !first.contains(" 101 ") {
            return Err(io::Error::other(first));
        }
    }
    let bulk = tally.random(4) == 0;
    let some = || if bulk { tally.random(8 << 20) as usize } else { some_len(tally) };
    let (id, up, down) = (tally.random(1 << 62), some(), some());
    let order = [Order::SendFirst, Order::ReceiveFirst, Order::AtOnce][tally.random(3) as usize];
    // 1: the origin cuts, 2: this end does, 3: this end does and cannot reset.
    let unix = stream.get_ref().is_unix();
    let cut = if order == Order::AtOnce && tally.random(3) == 0 { 1 + tally.random(2) } else { 0 };
    let cut = if cut == 2 && unix { 3 } else { cut };
    let pause = if bulk || tally.random(3) > 0 { 0 } else { 1 + tally.random(15) };
    let opening = format!("{} {id} {up} {down} {cut} {pause}\r\n", order as usize);
    stream.get_mut().write_all(opening.as_bytes()).await?;
    // A reset does not get through a Unix socket.
    let passes_resets = match stream.read_u8().await? {
        RESETS => !unix,
        RESETS_NOT => false,
        _ => return Err(wrong("another greeting".to_owned())),
    };
    let part = Part {
        sends: (id, up),
        expects: (id ^ OTHER, down),
        order,
        cut: (cut >= 2).then_some(up / 2),
        pause: Duration::from_millis(pause),
    };
    match play(&mut stream, part).await {
        Ok(true) if cut == 1 && passes_resets && gate.kills.get() == kills => {
            Err(wrong("a stream that was cut ended in order".to_owned()))
        }
        Ok(_) | Err(_) if cut >= 2 => {
            tally.add("streams that a client cut", 1);
            Ok(())
        }
        Ok(_) => {
            tally.add("streams", 1);
            tally.add("bytes of streams", (up + down) as u64);
            Ok(())
        }
        Err(error)
            if cut == 1 && (error.kind() != io::ErrorKind::InvalidData || is_short(&error) && !passes_resets) =>
        {
            tally.add("streams that an origin cut", 1);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Some datagrams there and back. One that is lost is none of anybody's promises; one that is another's is a fault.
async fn datagrams(gate: &Gate, tally: &Tally) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(gate.udp).await?;
    let id = tally.random(1 << 62);
    let mut found = vec![0; 2048];
    for number in 0..1 + tally.random(20) {
        let sent = pattern(id ^ number, 8 + tally.random(1_300) as usize);
        socket.send(&sent).await?;
        match timeout(Duration::from_millis(500), socket.recv(&mut found)).await {
            Ok(Ok(count)) if found[..count] == sent => tally.add("datagrams", 1),
            Ok(Ok(_)) => return Err(wrong("another's datagram".to_owned())),
            Ok(Err(error)) => return Err(error),
            // What is late would be taken for the next one's.
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        sleep(Duration::from_millis(tally.random(10))).await;
    }
    Ok(())
}
