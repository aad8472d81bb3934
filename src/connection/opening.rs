//! What comes before a connection is served: a PROXY header, from senders that must bring one; then, where a tcp listener
//! has routes by server name, a ClientHello. Until it comes, the connection is parked like one that waits for a request;
//! while it arrives in parts, they are kept in memory of their own, never in a receive buffer.
//!
//! ```text
//!          a header is due
//! accept ───────────────────→ Header ──wrong, late──→ closed, counted, logged
//!    │                           │ complete
//!    └──────── none is due ──────┤
//!                                ├── http ──────────────→ Open: waits for a request
//!                                ├── tcp, routes by sni → Hello ──wrong, late, no route──→ alert, closed, counted
//!                                │                          │ complete
//!                                └── tcp ───────────────────┴─→ connects
//! ```

use super::admission::{self, dismiss};
use super::client::{Client, Stage};
use super::context::Context;
use super::hello::{self, Opened};
use super::{http1, tcp};
use crate::base::Instant;
use crate::engine::{Chunk, Parked, Stream};
use crate::health::Failure;
use crate::protocol::proxy::{self, HEADER_BYTES_MAX, HeaderError, Parsed};
use crate::snapshot::{Protocol, TcpSettings};
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A line about refused connections is logged once in this time by each worker; the others are counted in the next.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of a refused connection that its line shows.
const SHOWN_BYTES_MAX: usize = 24;

/// Takes a connection that has just been accepted.
pub fn accept(context: &Rc<Context>, stream: Stream, mut client: Client) {
    let (view, index) = client.listener.current(context);
    if view.snapshot.listeners[index].proxy_protocol.contains(&client.address) {
        client.stage = Stage::Header;
        return park(context, stream, client);
    }
    open(context, stream, client, Chunk::empty());
}

/// Starts what the listener speaks, with what of it has arrived.
fn open(context: &Rc<Context>, stream: Stream, mut client: Client, first: Chunk) {
    client.opened = context.engine.now();
    let (view, index) = client.listener.current(context);
    let protocol = &view.snapshot.listeners[index].protocol;
    client.stage = match protocol {
        Protocol::Tcp(TcpSettings { sni: Some(_), .. }) => Stage::Hello,
        Protocol::Tcp(_) | Protocol::Http(_) => Stage::Open,
        // A listener of datagrams accepts no connections.
        Protocol::Udp(_) => return,
    };
    match (client.stage, protocol) {
        (Stage::Open, Protocol::Tcp(_)) => {
            let first = Some(first).filter(|first| !first.is_empty());
            context.engine.spawn(tcp::serve(stream, client, Opened { first, ..Opened::default() }));
        }
        _ if first.is_empty() => park(context, stream, client),
        (Stage::Hello, _) => context.engine.spawn(hello::begin(stream, client, first)),
        _ => context.engine.spawn(http1::serve(stream, client, first)),
    }
}

/// Parks a connection until bytes arrive, for as long as its stage allows.
pub(super) fn park(context: &Context, stream: Stream, client: Client) {
    let (view, index) = client.listener.current(context);
    let listener = &view.snapshot.listeners[index];
    let now = context.engine.now();
    let until = match (client.stage, &listener.protocol) {
        (Stage::Header, _) => client.accepted + listener.proxy_protocol_timeout,
        (Stage::Hello, Protocol::Tcp(settings)) => client.opened + settings.client_hello_timeout,
        (Stage::Open, Protocol::Http(settings)) if client.requests == 0 => now + settings.request_head_timeout,
        (Stage::Open, Protocol::Http(settings)) => now + settings.keep_alive_timeout,
        // Its listener spoke another protocol a reload ago.
        (Stage::Open, Protocol::Tcp(_)) | (Stage::Hello, Protocol::Http(_)) | (_, Protocol::Udp(_)) => return,
    };
    let until = until.min(client.listener.idle_until.get());
    context.parking.park(stream, until, client);
}

/// Starts a task for each parked connection on which something arrives. One task of the worker runs it.
pub async fn watch_parked(context: Rc<Context>) {
    loop {
        let Parked { stream, record: client, expired } = context.parking.next().await;
        match (client.stage, expired) {
            (Stage::Open, true) => {}
            (_, false) if !context.memory.has_room() => {
                client.stats().connections_shed.inc();
                dismiss(&context, &client.listener, stream, &client.address, Failure::MemoryFull);
            }
            (Stage::Open, false) => context.engine.spawn(http1::serve(stream, client, Chunk::empty())),
            (Stage::Hello, true) => tcp::refused(&client, Failure::ClientHelloTimeout, None),
            (Stage::Hello, false) => context.engine.spawn(hello::begin(stream, client, Chunk::empty())),
            (Stage::Header, true) => refuse(&context, &client, Failure::ProxyHeaderTimeout, &Why::Late),
            (Stage::Header, false) => context.engine.spawn(begin(stream, client)),
        }
    }
}

/// Receives the header, and opens the connection that follows it.
async fn begin(stream: Stream, mut client: Client) {
    let context = client.context().clone();
    let (view, index) = client.listener.current(&context);
    let deadline = client.accepted + view.snapshot.listeners[index].proxy_protocol_timeout;
    match context.engine.timeout(deadline, receive_header(&stream, &mut client)).await {
        Ok(Ok(rest)) => {
            client.stats().proxy_headers.inc();
            match client.count() {
                Ok(()) => open(&context, stream, client, rest),
                Err(why) => admission::refuse(&context, &client.listener, stream, &client.address, why),
            }
        }
        // Who connects only to see whether the port is open sends nothing.
        Ok(Err(None)) => {}
        Ok(Err(Some(why))) => refuse(&context, &client, Failure::ProxyHeaderMalformed, &why),
        Err(_) => refuse(&context, &client, Failure::ProxyHeaderTimeout, &Why::Late),
    }
}

/// Receives the header and gives what came behind it. `Err(None)`: nothing came at all.
async fn receive_header(stream: &Stream, client: &mut Client) -> Result<Chunk, Option<Why>> {
    let mut held: Vec<u8> = Vec::new();
    loop {
        let mut chunk = match stream.receive().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ if held.is_empty() => return Err(None),
            _ => return Err(Some(Why::CutOff)),
        };
        let before = held.len();
        let taken = chunk.len().min(HEADER_BYTES_MAX - before);
        // The usual header comes in one piece and is read where it lies.
        let bytes = if before == 0 {
            &chunk[..taken]
        } else {
            held.extend_from_slice(&chunk[..taken]);
            &held
        };
        match proxy::read(bytes) {
            Ok(Parsed::Complete { header, len }) => {
                client.convey(&header);
                chunk.advance(len - before);
                return Ok(chunk);
            }
            Ok(Parsed::Partial) if before == 0 => held.extend_from_slice(&chunk[..taken]),
            Ok(Parsed::Partial) => {}
            Err(error) => return Err(Some(Why::wrong(error, bytes))),
        }
    }
}

/// Why a connection was closed before it was opened, in words for the log.
enum Why {
    Late,
    CutOff,
    Wrong { error: HeaderError, shown: String },
}

impl Why {
    fn wrong(error: HeaderError, bytes: &[u8]) -> Why {
        let shown = bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string();
        Why::Wrong { error, shown }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Late => f.write_str("its PROXY header did not arrive within `proxy_protocol_timeout`"),
            Why::CutOff => f.write_str("it ended within its PROXY header"),
            Why::Wrong { error: HeaderError::NotAHeader, shown } => write!(
                f,
                "it does not begin with a PROXY header but with \"{shown}\": tell its sender to send one, or take it out of \
                 `proxy_protocol`"
            ),
            Why::Wrong { error, shown } => write!(f, "{error} (it begins \"{shown}\")"),
        }
    }
}

/// Counts a connection that is closed before it was opened, and says so.
fn refuse(context: &Context, client: &Client, failure: Failure, why: &dyn fmt::Display) {
    let (view, index) = client.listener.current(context);
    let listener = &view.snapshot.listeners[index];
    match listener.protocol {
        Protocol::Http(_) | Protocol::Udp(_) => client.stats().failures[failure as usize].inc(),
        Protocol::Tcp(_) => tcp::refused(client, failure, None),
    }
    context
        .refusals
        .log(context, format_args!("listener `{}` closed a connection from {}: {why}", listener.name, client.address));
}

/// Lines about refused connections, few of them however many there are.
#[derive(Default)]
pub(super) struct Refusals {
    quiet_until: Cell<Option<Instant>>,
    kept_back: Cell<u64>,
}

impl Refusals {
    fn log(&self, context: &Context, text: fmt::Arguments<'_>) {
        let now = context.engine.now();
        if self.quiet_until.get().is_some_and(|until| now < until) {
            self.kept_back.set(self.kept_back.get() + 1);
            return;
        }
        self.quiet_until.set(Some(now + LOG_PAUSE));
        match self.kept_back.take() {
            0 => context.log.warn(text),
            more => context.log.warn(format_args!("{text} ({more} more were refused since the last such line)")),
        }
    }
}
