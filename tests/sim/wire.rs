//! HTTP/1.1 as the simulated clients and origins read it: simply, and not with the code that is under test.

use ringgate::engine::{Outgoing, Stream};
use std::io;

/// A stream and what has been received from it and not been read.
pub struct Wire {
    pub stream: Stream,
    pending: Vec<u8>,
}

/// What is looked at of a head.
#[derive(Debug)]
pub struct Head {
    /// Method and target, or version and status.
    pub first: (String, String),
    length: Option<usize>,
    chunked: bool,
    pub close: bool,
    pub upgrade: bool,
    pub id: Option<u64>,
}

impl Wire {
    pub fn new(stream: Stream) -> Wire {
        Wire { stream, pending: Vec::new() }
    }

    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut outgoing = Outgoing::default();
        outgoing.text().extend_from_slice(bytes);
        self.stream.send(&mut outgoing).await
    }

    async fn more(&mut self) -> io::Result<()> {
        let chunk = self.stream.receive().await?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pending.extend_from_slice(&chunk);
        Ok(())
    }

    /// The next head; `None` if the other side closes instead.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                let text = String::from_utf8(self.pending.drain(..end + 4).collect()).expect("a head is text");
                return Ok(Some(Head::parse(&text)));
            }
            match self.more().await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.pending.is_empty() => {
                    return Ok(None);
                }
                other => other?,
            }
        }
    }

    pub async fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if !head.chunked {
            return self.exactly(head.length.unwrap_or(0)).await;
        }
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .unwrap_or_else(|_| panic!("chunk size {line:?}"));
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            assert_eq!(self.line().await?, "", "a chunk ends with an empty line");
        }
    }

    async fn exactly(&mut self, len: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < len {
            self.more().await?;
        }
        Ok(self.pending.drain(..len).collect())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.pending, b"\r\n") {
                let line = String::from_utf8(self.pending.drain(..end + 2).collect()).expect("a line is text");
                return Ok(line.trim_end().to_owned());
            }
            self.more().await?;
        }
    }

    /// What has been received and not been read.
    pub fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Nothing may be left over: a byte too many is an answer too many.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

impl Head {
    fn parse(text: &str) -> Head {
        let mut lines = text.trim_end().split("\r\n");
        let mut words = lines.next().unwrap_or("").splitn(3, ' ').map(str::to_owned);
        let first = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut head = Head { first, length: None, chunked: false, close: false, upgrade: false, id: None };
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("field {line:?}"));
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Some(value.parse().expect("a length")),
                "transfer-encoding" => head.chunked = value == "chunked",
                "connection" => head.close = value.eq_ignore_ascii_case("close"),
                "upgrade" => head.upgrade = true,
                "x-id" => head.id = value.parse().ok(),
                _ => {}
            }
        }
        assert!(!(head.chunked && head.length.is_some()), "two framings: {text}");
        head
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The bytes that belong to a request or a connection.
pub fn pattern(id: u64, len: usize) -> Vec<u8> {
    let word = |at: u64| (id ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..=len as u64 / 8).flat_map(word).take(len).collect()
}

/// `body` as chunks of some sizes.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size.max(1)) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
