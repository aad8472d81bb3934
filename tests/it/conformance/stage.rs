//! Plays cases: one gateway, one origin that follows the present case's script, and a client for each case. After each
//! case, a request of another client's shows that no connection was left with bytes that are not its own.

use super::case::{Case, Client, OK, Origin, Script};
use super::wire::{comparable, request_len};
use crate::harness::{Engine, Gate, HEAD};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a case may be silent before it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n";
const PROBED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nprobed";

/// How bytes are handed to the kernel, by either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    Whole,
    Bytes,
}

/// Messages longer than this go in pieces of several bytes.
const BYTEWISE_MAX: usize = 2048;

/// What the origin has been told, and what it has seen since.
struct Present {
    script: Option<Script>,
    segments: Segments,
    requests: Vec<u8>,
}

pub struct Stage {
    gate: Gate,
    present: Arc<Mutex<Present>>,
}

impl Stage {
    /// A gateway whose routes have these lines.
    pub fn start(engine: Engine, route: &str) -> Stage {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let present = Present { script: None, segments: Segments::Whole, requests: Vec::new() };
        let present = Arc::new(Mutex::new(present));
        let shared = present.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || serve(stream, &shared));
            }
        });
        // One worker, so that every case meets the connections that the one before it left.
        let config = format!(
            "{}\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.2:0\"\nrequest_id = false\n\
             head_max = \"8KiB\"\ntarget_max = \"2KiB\"\nheaders_max = 64\nbody_max = \"64KiB\"\n\
             [[route]]\nlistener = \"web\"\nupstream = \"app\"\n{route}\
             [[route]]\nlistener = \"web\"\npath = \"/none\"\nupstream = \"none\"\n\
             [upstream.app]\nendpoints = [\"{address}\"]\n\
             [upstream.none]\nendpoints = [{{ address = \"{address}\", weight = 0 }}]\n",
            HEAD.replace("workers = 2", "workers = 1")
        );
        Stage { gate: Gate::start(engine, &config), present }
    }

    /// Plays each case, and gives one text for each that went otherwise.
    pub fn play(&self, cases: &[Case], segments: Segments) -> Vec<String> {
        let mut faults = Vec::new();
        for case in cases {
            if let Err(fault) = self.play_one(case, segments) {
                faults.push(format!("{} {} ({segments:?}): {fault}", case.section, case.name));
            }
        }
        faults
    }

    fn play_one(&self, case: &Case, segments: Segments) -> Result<(), String> {
        {
            let mut present = self.present.lock().expect("nothing panics with it");
            *present = Present { script: Some(case.script.clone()), segments, requests: Vec::new() };
        }
        let address = self.gate.address("web");
        let mut client = connect(address);
        send(&mut client, &case.sent, segments);
        self.check_client(case, &mut client)?;
        let mut other = connect(address);
        send(&mut other, PROBE.as_bytes(), Segments::Whole);
        expect(&mut other, PROBED.as_bytes(), false).map_err(|fault| format!("the next client {fault}"))?;
        let present = self.present.lock().expect("nothing panics with it");
        let found = comparable(&present.requests, false);
        let expected = match &case.origin {
            Origin::NoRequest => Vec::new(),
            Origin::Gets(bytes) => comparable(bytes, false),
        };
        if found == expected { Ok(()) } else { Err(format!("the origin got\n{}", difference(&found, &expected))) }
    }

    fn check_client(&self, case: &Case, client: &mut TcpStream) -> Result<(), String> {
        let head = case.sent.starts_with(b"HEAD ");
        match &case.client {
            Client::Refused(status) => {
                let found = to_end(client)?;
                check_own(&found, *status, "Connection: close\r\n")
            }
            Client::OwnAndEnd(status) => check_own(&to_end(client)?, *status, ""),
            Client::Own(status) => {
                send(client, PROBE.as_bytes(), Segments::Whole);
                let found = until(client, |found| found.ends_with(PROBED.as_bytes()))?;
                let own = found.strip_suffix(PROBED.as_bytes()).ok_or(format!("ended after {}", shown(&found)))?;
                check_own(own, *status, "")
            }
            Client::Gets(bytes) => {
                expect(client, bytes, head)?;
                send(client, PROBE.as_bytes(), Segments::Whole);
                expect(client, PROBED.as_bytes(), false).map_err(|fault| format!("on the same connection: {fault}"))
            }
            Client::GetsAndEnd(bytes) => same(&to_end(client)?, bytes, head),
            Client::GetsAndAnyEnd(bytes) => {
                let found = to_any_end(client);
                if bytes.starts_with(&found) { Ok(()) } else { same(&found, bytes, head) }
            }
            Client::GetsBroken(bytes) => {
                let found = to_any_end(client);
                // Where nothing of it had gone out, it could still be replaced.
                if found.starts_with(b"HTTP/1.1 502 ") {
                    return check_own(&found, 502, "");
                }
                let (found, whole) = (comparable(&found, head), comparable(bytes, head));
                if whole.starts_with(&found) { Ok(()) } else { Err(format!("got\n{}", difference(&found, &whole))) }
            }
            Client::Waits(bytes) => {
                expect(client, bytes, head)?;
                client.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
                same(&to_end(client)?, b"", head)
            }
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the gate accepts");
    stream.set_nodelay(true).expect("an open socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// A gate that has heard enough closes: what it does not take is no fault.
fn send(stream: &mut TcpStream, bytes: &[u8], segments: Segments) {
    let size = match segments {
        Segments::Whole => bytes.len().max(1),
        Segments::Bytes => bytes.len().div_ceil(BYTEWISE_MAX).max(1),
    };
    for piece in bytes.chunks(size) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// One connection of the origin.
fn serve(mut stream: TcpStream, present: &Mutex<Present>) {
    let _ = stream.set_nodelay(true);
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let early = present.lock().expect("nothing panics with it").script.as_ref().is_some_and(|script| script.early);
        let head = received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let Some(len) = (if early { head } else { request_len(&received) }) else {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => received.extend_from_slice(&buffer[..count]),
                _ => return,
            }
            continue;
        };
        let request: Vec<u8> = received.drain(..len).collect();
        if request.starts_with(b"GET /probe ") {
            let _ = stream.write_all(PROBED.as_bytes());
            continue;
        }
        let (script, segments) = {
            let mut present = present.lock().expect("nothing panics with it");
            present.requests.extend_from_slice(&request);
            (present.script.take(), present.segments)
        };
        let script = script.unwrap_or(Script { bytes: OK.into(), early: false, close: false, whole: false });
        send(&mut stream, &script.bytes, if script.whole { Segments::Whole } else { segments });
        if script.close {
            return;
        }
    }
}

/// Reads until `done` says so; what was read.
fn until(stream: &mut TcpStream, done: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, String> {
    let mut found = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while !done(&found) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(found),
            Ok(count) => found.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(format!("got {error} after {}", shown(&found))),
        }
    }
    Ok(found)
}

fn to_end(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    until(stream, |_| false)
}

/// Everything up to an end of either kind, or to the gateway's own answer that stands in place of it.
fn to_any_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut found = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if check_own(&found, 502, "").is_ok() {
            return found;
        }
        match stream.read(&mut buffer) {
            Ok(0) => return found,
            Ok(count) => found.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return found,
            Err(error) => panic!("no end but {error} after {}", shown(&found)),
        }
    }
}

fn expect(stream: &mut TcpStream, bytes: &[u8], head: bool) -> Result<(), String> {
    let expected = comparable(bytes, head);
    let found = until(stream, |found| comparable(found, head) == expected)?;
    same(&found, bytes, head)
}

fn same(found: &[u8], expected: &[u8], head: bool) -> Result<(), String> {
    let (found, expected) = (comparable(found, head), comparable(expected, head));
    if found == expected { Ok(()) } else { Err(format!("got\n{}", difference(&found, &expected))) }
}

/// Whether this is one answer of the gateway's own, and nothing more.
fn check_own(found: &[u8], status: u16, field: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(found);
    let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        length.is_some_and(|length| length.parse() == Ok(body.len()))
    });
    let right = text.starts_with(&format!("HTTP/1.1 {status} ")) && text.contains(field);
    if whole && right { Ok(()) } else { Err(format!("got\n{}instead of {status} {field:?}", shown(found))) }
}

fn difference(found: &[u8], expected: &[u8]) -> String {
    format!("{}instead of\n{}", shown(found), shown(expected))
}

fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(1500)];
    format!("    {}\n", cut.escape_ascii().to_string().replace("\\n", "\\n\n    "))
}
