//! One request of a simulated client: what it asks, how it is written, and what its answer must be.

use crate::ledger::Ledger;
use crate::wire::{Body, Framing, Head, Wire, chunked, pattern};
use ringgate::engine::{Engine, Event};
use std::time::Duration;

/// For how long a client holds its body back for a `100 Continue` (RFC 9110 section 10.1.1: it must not wait for ever).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What is asked. An origin answers `/ID/LEN` with `LEN` bytes that belong to the id.
pub struct Request {
    pub id: u64,
    len: usize,
    method: &'static str,
    http10: bool,
    /// Of an HTTP/1.0 request: it asks for the connection to stay. Of another: it asks for it to close.
    connection: bool,
    body: Option<Upload>,
}

struct Upload {
    chunk: Option<usize>,
    trailer: bool,
    expect: bool,
    /// The origin answers before it has read the body.
    early: bool,
    pieces: usize,
    pause: Duration,
}

impl Request {
    /// A request of any kind. Only the last one of those that are sent at once may have a body or end the connection:
    /// what follows one that fails is not answered.
    pub fn any(engine: &Engine, ledger: &Ledger, last: bool) -> Request {
        let one_in = |n: u64| engine.random().is_multiple_of(n);
        let len = (engine.random() % [100, 3_000, 60_000][(engine.random() % 3) as usize]) as usize;
        let http10 = last && one_in(10);
        let body = (last && one_in(3)).then(|| Upload {
            chunk: (!http10 && one_in(2)).then(|| 1 + (engine.random() % 9_000) as usize),
            trailer: one_in(2),
            expect: !http10 && len > 0 && one_in(5),
            early: one_in(6),
            pieces: 1 + (engine.random() % 6) as usize,
            pause: Duration::from_micros(if one_in(3) { engine.random() % 30_000 } else { 0 }),
        });
        let method = match &body {
            Some(_) if one_in(3) => "PUT",
            Some(_) => "POST",
            None if one_in(6) => "HEAD",
            None => "GET",
        };
        let id = ledger.ask(method == "POST");
        Request { id, len, method, http10, connection: last && one_in(12), body }
    }

    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    pub fn head(&self) -> Vec<u8> {
        let Request { id, len, method, .. } = self;
        let version = if self.http10 { "1.0" } else { "1.1" };
        let connection = match (self.connection, self.http10) {
            (false, _) => "",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "Connection: close\r\n",
        };
        let (mut framing, mut early) = (String::new(), "");
        if let Some(body) = &self.body {
            framing = match body.chunk {
                None => format!("Content-Length: {len}\r\n"),
                Some(_) if body.trailer => "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n".to_owned(),
                Some(_) => "Transfer-Encoding: chunked\r\n".to_owned(),
            };
            if body.expect {
                framing.push_str("Expect: 100-continue\r\n");
            }
            if body.early {
                early = "/early";
            }
        }
        format!("{method} /{id}/{len}{early} HTTP/{version}\r\nHost: sim\r\n{framing}{connection}\r\n").into_bytes()
    }

    /// Sends the body, if there is one. An error is not the last word: the answer may be there all the same.
    pub async fn send_body(&self, engine: &Engine, wire: &Wire, go_on: &Event) -> bool {
        let Some(body) = &self.body else { return true };
        if body.expect {
            let _ = engine.timeout(engine.now() + CONTINUE_WAIT, go_on.wait()).await;
        }
        let bytes = pattern(self.id, self.len);
        let bytes = match body.chunk {
            Some(size) => chunked(&bytes, size, body.trailer.then_some(self.id)),
            None => bytes,
        };
        for (at, piece) in bytes.chunks((bytes.len() / body.pieces).max(1)).enumerate() {
            if at > 0 {
                engine.sleep(body.pause).await;
            }
            if wire.send(piece).await.is_err() {
                return false;
            }
        }
        true
    }

    /// How the body of the answer with this head ends.
    pub fn framing(&self, head: &Head) -> Framing {
        assert_eq!(head.first.0, "HTTP/1.1", "the version of the answer to {}", self.id);
        let bodiless = self.method == "HEAD" || matches!(head.status(), "204" | "304");
        match head.length {
            _ if bodiless => {
                assert!(!head.chunked || self.method == "HEAD", "a framing without a body: {head:?}");
                Framing::Empty
            }
            Some(length) => Framing::Exact(length),
            None if head.chunked => {
                assert!(!self.http10, "chunks for HTTP/1.0: {head:?}");
                Framing::Chunked
            }
            None => {
                assert!(self.http10 && head.close, "an answer without an end: {head:?}");
                Framing::UntilClose
            }
        }
    }

    /// Whether the connection cannot be used again.
    pub fn ends_connection(&self, head: &Head) -> bool {
        let ends = head.close || (self.http10 && !head.keep_alive);
        assert!(ends || !self.connection || self.http10, "the connection was to be closed: {head:?}");
        ends
    }

    /// Whether a gateway may answer with an error of its own: a request that is not sent twice is lost where an origin
    /// closes under it.
    fn is_excused(&self, ledger: &Ledger) -> bool {
        ledger.lossy || (self.has_body() && ledger.origins_close)
    }

    pub fn check(&self, ledger: &Ledger, head: &Head, body: &Body) {
        if matches!(head.status(), "200" | "204") {
            assert_eq!(head.id, Some(self.id), "the answer to another request");
            let expected = if self.method == "HEAD" { Vec::new() } else { pattern(self.id, self.len) };
            let (len, whole) = (body.bytes.len(), expected.len());
            assert!(body.bytes == expected, "the body of answer {} is wrong: {len} bytes of {whole}", self.id);
            if self.method == "HEAD" {
                assert!(head.length.is_none_or(|length| length == self.len), "the length for HEAD: {head:?}");
            }
            if head.chunked && head.trailer && self.method != "HEAD" {
                assert_eq!(body.sum, Some(self.id), "the trailer of answer {}", self.id);
            }
            return ledger.answered(self.id);
        }
        let status = head.status();
        let own_fault = ledger.clients_break_off.get() && status == "408";
        let excused = own_fault || (self.is_excused(ledger) && matches!(status, "502" | "503" | "504"));
        assert!(excused, "request {} {} got {status}", self.id, String::from_utf8_lossy(&self.head()));
        ledger.count(|counts| counts.refused += 1);
    }
}
