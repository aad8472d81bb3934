//! An origin, as a process that can be killed at any moment: HTTP and byte streams at one port and at one Unix socket, and
//! datagrams at the port.
//!
//! `GET /ID/LEN` gives `LEN` bytes that belong to the id, `POST` takes them; an upgrade begins a byte stream, as does a
//! connection whose first line is a PROXY header.

use super::socket::Socket;
use super::story::{OTHER, Order, Part, is_short, pattern, play, wrong};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UdpSocket, UnixListener};

pub async fn serve(port: u16, path: PathBuf) -> ExitCode {
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
    // The one who was killed has left it.
    let _ = std::fs::remove_file(&path);
    let unix = UnixListener::bind(&path).expect("a path");
    tokio::task::spawn_local(async move {
        let mut bytes = vec![0; 2048];
        loop {
            // What is refused (a client that is gone) concerns that client alone.
            if let Ok((count, client)) = datagrams.recv_from(&mut bytes).await {
                let _ = datagrams.send_to(&bytes[..count], client).await;
            }
        }
    });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.and_then(|(stream, _)| Socket::tcp(stream)),
            accepted = unix.accept() => accepted.map(|(stream, _)| Socket::Unix(stream)),
        };
        let Ok(stream) = accepted else { continue };
        tokio::task::spawn_local(async move {
            if let Err(error) = connection(stream).await
                && error.kind() == io::ErrorKind::InvalidData
            {
                eprintln!("ORIGIN FAULT: {error}");
            }
        });
    }
}

async fn connection(stream: Socket) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Some(first) = line(&mut stream).await? else { return Ok(()) };
        if first.starts_with("PROXY ") {
            return tell(&mut stream).await;
        }
        let mut head = Vec::new();
        loop {
            match line(&mut stream).await? {
                Some(field) if field.is_empty() => break,
                Some(field) => head.push(field.to_ascii_lowercase()),
                None => return Ok(()),
            }
        }
        if head.iter().any(|field| field.starts_with("upgrade:")) {
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: bytes\r\n\r\n";
            stream.get_mut().write_all(switch).await?;
            return tell(&mut stream).await;
        }
        answer(&mut stream, &first, &head).await?;
    }
}

/// One line without its end; `None` at the end of the stream.
pub async fn line(stream: &mut BufReader<Socket>) -> io::Result<Option<String>> {
    let mut text = String::new();
    let count = stream.read_line(&mut text).await?;
    Ok((count > 0).then(|| text.trim_end().to_owned()))
}

fn numbers(text: &str, between: char) -> Vec<u64> {
    text.split(between).filter_map(|word| word.parse().ok()).collect()
}

async fn answer(stream: &mut BufReader<Socket>, first: &str, head: &[String]) -> io::Result<()> {
    let target = first.split(' ').nth(1).unwrap_or_default();
    let [id, len] = numbers(target, '/')[..] else { return Err(wrong(format!("the request {first:?}"))) };
    if first.starts_with("POST") {
        let body = if head.iter().any(|field| field == "transfer-encoding: chunked") {
            chunked(stream).await?
        } else {
            let mut body = vec![0; len as usize];
            stream.read_exact(&mut body).await?;
            body
        };
        if body != pattern(id, len as usize) {
            let text = "HTTP/1.1 400 Wrong Body\r\nContent-Length: 0\r\n\r\n";
            stream.get_mut().write_all(text.as_bytes()).await?;
            return Err(wrong(format!("the body of request {id}")));
        }
    }
    let body = pattern(id ^ OTHER, len as usize);
    let bytes = if id % 3 == 0 {
        let mut bytes = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(5_000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    } else {
        let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\nContent-Length: {len}\r\n\r\n");
        [head.as_bytes(), &body].concat()
    };
    stream.get_mut().write_all(&bytes).await
}

/// A chunked body, simply and not with the code that is under test.
pub async fn chunked(stream: &mut BufReader<Socket>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| wrong(format!("the chunk size {size:?}")))?;
        let from = body.len();
        body.resize(from + size, 0);
        stream.read_exact(&mut body[from..]).await?;
        let end = line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if size == 0 {
            return Ok(body);
        }
        if !end.is_empty() {
            return Err(wrong(format!("{end:?} behind a chunk")));
        }
    }
}

/// The greeting of an origin whose connection can be reset, and of one whose cannot.
pub const RESETS: u8 = b'!';
pub const RESETS_NOT: u8 = b'~';

/// The origin's part of a byte stream: `ORDER ID UP DOWN CUT PAUSE`.
async fn tell(stream: &mut BufReader<Socket>) -> io::Result<()> {
    let Some(opening) = line(stream).await? else { return Ok(()) };
    let [order, id, up, down, cut, pause] = numbers(&opening, ' ')[..] else {
        return Err(wrong(format!("the opening {opening:?}")));
    };
    let unix = stream.get_ref().is_unix();
    stream.get_mut().write_all(&[if unix { RESETS_NOT } else { RESETS }]).await?;
    let part = Part {
        sends: (id ^ OTHER, down as usize),
        expects: (id, up as usize),
        order: [Order::ReceiveFirst, Order::SendFirst, Order::AtOnce][order as usize % 3],
        cut: (cut == 1).then_some(down as usize / 2),
        pause: Duration::from_millis(pause),
    };
    match play(stream, part).await {
        // Over a Unix socket a stream that the client has cut ends in order.
        Err(error) if (cut == 2 && unix || cut == 3) && is_short(&error) => Ok(()),
        played => played.map(|_| ()),
    }
}
