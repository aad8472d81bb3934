//! What both ends of a byte stream do, as the client says in the first line, and the bytes that belong to a number. Each end
//! checks every byte that it gets.

use super::socket::Socket;
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::sleep;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    SendFirst,
    ReceiveFirst,
    AtOnce,
}

/// One end.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub sends: (u64, usize),
    pub expects: (u64, usize),
    pub order: Order,
    /// Stops sending after so many bytes, and resets.
    pub cut: Option<usize>,
    /// Between pieces that are sent and between pieces that are received.
    pub pause: Duration,
}

/// The other end's bytes belong to another number.
pub const OTHER: u64 = 1 << 63;
const PIECE: usize = 16 * 1024;

/// The bytes from `at` that belong to `id`.
pub fn fill(id: u64, at: usize, bytes: &mut [u8]) {
    for (offset, byte) in bytes.iter_mut().enumerate() {
        let place = (at + offset) as u64;
        let word = (id ^ (place / 8)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        *byte = (word >> (8 * (place % 8))) as u8;
    }
}

pub fn pattern(id: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill(id, 0, &mut bytes);
    bytes
}

/// Bytes that are not what they should be, or too few of them with an orderly end.
pub fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// All that was received was right, but an orderly end came too soon.
#[derive(Debug)]
struct Short {
    at: usize,
    whole: usize,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an orderly end after {} of {} bytes", self.at, self.whole)
    }
}

impl std::error::Error for Short {}

pub fn is_short(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Short>())
}

/// Plays a part to its end. `Ok(false)`: it was cut by this end.
pub async fn play(stream: &mut BufReader<Socket>, part: Part) -> io::Result<bool> {
    let early = stream.buffer().to_vec();
    stream.consume(early.len());
    let (mut from, mut to) = tokio::io::split(stream.get_mut());
    let sent = match part.order {
        Order::SendFirst => {
            send(&mut to, part).await?;
            receive(&mut from, part, early).await
        }
        Order::ReceiveFirst => {
            receive(&mut from, part, early).await?;
            send(&mut to, part).await
        }
        Order::AtOnce if part.cut.is_some() => tokio::select! {
            sent = send(&mut to, part) => sent,
            received = async { receive(&mut from, part, early).await?; std::future::pending().await } => received,
        },
        Order::AtOnce => tokio::try_join!(send(&mut to, part), receive(&mut from, part, early)).map(|_| ()),
    };
    if part.cut.is_some() {
        drop((from, to));
        stream.get_ref().break_off()?;
        return Ok(false);
    }
    sent.map(|()| true)
}

async fn send(to: &mut (impl AsyncWrite + Unpin), part: Part) -> io::Result<()> {
    let (id, whole) = part.sends;
    let (len, mut at, mut piece) = (part.cut.unwrap_or(whole), 0, vec![0; PIECE]);
    while at < len {
        let count = PIECE.min(len - at);
        fill(id, at, &mut piece[..count]);
        to.write_all(&piece[..count]).await?;
        at += count;
        if !part.pause.is_zero() {
            sleep(part.pause).await;
        }
    }
    if part.cut.is_none() {
        to.shutdown().await?;
    }
    Ok(())
}

async fn receive(from: &mut (impl AsyncRead + Unpin), part: Part, early: Vec<u8>) -> io::Result<()> {
    let (id, whole) = part.expects;
    let (mut at, mut piece, mut expected) = (0, vec![0; PIECE], vec![0; PIECE]);
    let mut early = &early[..];
    loop {
        let count = if early.is_empty() { from.read(&mut piece).await? } else { early.read(&mut piece).await? };
        if count == 0 {
            return if at == whole {
                Ok(())
            } else {
                Err(io::Error::new(io::ErrorKind::InvalidData, Short { at, whole }))
            };
        }
        fill(id, at, &mut expected[..count]);
        if at + count > whole || piece[..count] != expected[..count] {
            return Err(wrong(format!("other bytes at {at} of {whole}")));
        }
        at += count;
        if !part.pause.is_zero() {
            sleep(part.pause).await;
        }
    }
}
