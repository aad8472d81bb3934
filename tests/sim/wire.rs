//! HTTP/1.1 as the simulated clients and origins read it: simply, and not with the code that is under test.

use memchr::memmem;
use ringgate::engine::{Outgoing, Stream};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

/// A stream and what has been received from it and not been read. One task may send while another one receives.
pub struct Wire {
    pub stream: Stream,
    pending: RefCell<Vec<u8>>,
}

/// What is looked at of a head.
#[derive(Debug, Default)]
pub struct Head {
    /// Method and target, or version and status.
    pub first: (String, String),
    pub length: Option<usize>,
    pub chunked: bool,
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    pub expect: bool,
    /// Trailers are announced.
    pub trailer: bool,
    pub id: Option<u64>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Exact(usize),
    Chunked,
    UntilClose,
}

/// A body and the number in its trailer.
pub struct Body {
    pub bytes: Vec<u8>,
    pub sum: Option<u64>,
}

impl Wire {
    pub fn new(stream: Stream) -> Wire {
        Wire { stream, pending: RefCell::default() }
    }

    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(bytes);
        self.stream.send(&mut outgoing).await
    }

    /// Receives; false at the end of the stream.
    async fn more(&self) -> io::Result<bool> {
        let chunk = self.stream.receive().await?;
        self.pending.borrow_mut().extend_from_slice(&chunk);
        Ok(!chunk.is_empty())
    }

    async fn must_have_more(&self) -> io::Result<()> {
        if self.more().await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next head; `None` if the other side closes instead.
    pub async fn head(&self) -> io::Result<Option<Head>> {
        loop {
            if let Some(text) = self.take_through(b"\r\n\r\n") {
                return Ok(Some(Head::parse(&text)));
            }
            if !self.more().await? {
                return if self.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    pub async fn body(&self, framing: Framing) -> io::Result<Body> {
        let mut bytes = Vec::new();
        match framing {
            Framing::Empty => {}
            Framing::Exact(len) => bytes = self.exactly(len).await?,
            Framing::Chunked => return self.chunked_body().await,
            Framing::UntilClose => {
                while self.more().await? {}
                bytes = self.take_pending();
            }
        }
        Ok(Body { bytes, sum: None })
    }

    async fn chunked_body(&self) -> io::Result<Body> {
        let (mut bytes, mut sum) = (Vec::new(), None);
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .unwrap_or_else(|_| panic!("chunk size {line:?}"));
            if size > 0 {
                bytes.extend(self.exactly(size).await?);
                assert_eq!(self.line().await?, "", "a chunk ends with an empty line");
                continue;
            }
            loop {
                let line = self.line().await?;
                match line.split_once(':') {
                    Some((name, value)) if name.eq_ignore_ascii_case("x-sum") => sum = value.trim().parse().ok(),
                    Some(_) => {}
                    None => return Ok(Body { bytes, sum }),
                }
            }
        }
    }

    /// Whether this is what comes next, once it is known.
    pub async fn begins_with(&self, bytes: &[u8]) -> io::Result<bool> {
        loop {
            let (so_far, enough) = {
                let pending = self.pending.borrow();
                let len = pending.len().min(bytes.len());
                (pending[..len] == bytes[..len], len == bytes.len())
            };
            if enough || !so_far {
                return Ok(so_far);
            }
            if !self.more().await? {
                return Ok(false);
            }
        }
    }

    pub async fn exactly(&self, len: usize) -> io::Result<Vec<u8>> {
        while self.pending.borrow().len() < len {
            self.must_have_more().await?;
        }
        Ok(self.pending.borrow_mut().drain(..len).collect())
    }

    /// The next line, without its end.
    pub async fn line(&self) -> io::Result<String> {
        loop {
            if let Some(line) = self.take_through(b"\r\n") {
                return Ok(line.trim_end().to_owned());
            }
            self.must_have_more().await?;
        }
    }

    pub async fn byte(&self) -> io::Result<u8> {
        Ok(self.exactly(1).await?[0])
    }

    /// Takes what has been received up to and with `end`.
    fn take_through(&self, end: &[u8]) -> Option<String> {
        let mut pending = self.pending.borrow_mut();
        let at = memmem::find(&pending, end)? + end.len();
        Some(String::from_utf8(pending.drain(..at).collect()).expect("heads and lines are text"))
    }

    /// What has been received and not been read.
    pub fn take_pending(&self) -> Vec<u8> {
        self.pending.take()
    }

    /// Nothing may be left over: a byte too many is an answer too many.
    pub fn is_empty(&self) -> bool {
        self.pending.borrow().is_empty()
    }
}

impl Head {
    fn parse(text: &str) -> Head {
        let mut lines = text.trim_end().split("\r\n");
        let mut words = lines.next().unwrap_or("").splitn(3, ' ').map(str::to_owned);
        let first = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut head = Head { first, ..Head::default() };
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("field {line:?}"));
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Some(value.parse().expect("a length")),
                "transfer-encoding" => head.chunked = value == "chunked",
                "connection" => {
                    head.close |= value.eq_ignore_ascii_case("close");
                    head.keep_alive |= value.eq_ignore_ascii_case("keep-alive");
                }
                "upgrade" => head.upgrade = true,
                "expect" => head.expect = true,
                "trailer" => head.trailer = true,
                "x-id" => head.id = value.parse().ok(),
                _ => {}
            }
        }
        assert!(!(head.chunked && head.length.is_some()), "two framings: {text}");
        head
    }

    /// Of a request.
    pub fn request_framing(&self) -> Framing {
        match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Exact(length),
            None => Framing::Empty,
        }
    }

    pub fn status(&self) -> &str {
        &self.first.1
    }

    pub fn is_interim(&self) -> bool {
        self.status().starts_with('1')
    }
}

/// Runs `main`, and `side` for as long as that takes.
pub async fn beside<M: Future>(main: M, side: impl Future<Output = ()>) -> M::Output {
    let (mut main, mut side) = (pin!(main), pin!(side));
    let mut side_done = false;
    poll_fn(|context| {
        side_done = side_done || side.as_mut().poll(context).is_ready();
        match main.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The bytes that belong to a request or a connection.
pub fn pattern(id: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len.next_multiple_of(8)];
    for (at, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(id ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `body` as chunks of some size, with a trailer if there is a number for it.
pub fn chunked(body: &[u8], size: usize, sum: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + body.len() / size.max(1) * 8 + 32);
    for chunk in body.chunks(size.max(1)) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    if let Some(sum) = sum {
        bytes.extend_from_slice(format!("X-Sum: {sum}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
