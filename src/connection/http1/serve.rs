//! The life of a client's HTTP/1 connection.
//!
//! ```text
//! accept → Parked ──bytes──→ Task: head → exchange → wait a little ──bytes──→ head → ...
//!            ↑                                          │ nothing
//!            └──────────────────────────────────────────┘
//! ```
//!
//! A connection that waits long has no task, no future and no buffer: it is parked. One that is likely to go on at once
//! keeps its task for [`WAIT_BEFORE_PARKING`], because making a task costs more than holding it for a moment.
//!
//! Here and in the exchange, futures on the usual path are pinned where they are made: awaiting one by value copies its
//! whole state, room for what it may never do included.

use super::reader::{MessageReader, ReadError};
use super::refuse::{Refusal, refuse};
use super::sides::{Sink, Source};
use super::tunnel::Tunnel;
use super::writer::MessageWriter;
use crate::base::Instant;
use crate::connection::exchange::{self, Lasting, Outcome, Record, RequestId, Scene};
use crate::connection::memory::Memory;
use crate::connection::opening::park;
use crate::connection::{Client, Context};
use crate::engine::{Chunk, Engine, Stream};
use crate::health::{Failure, PaceRule};
use crate::protocol::http::{RequestHead, ResponseHead};
use crate::protocol::http1::{HeadLimits, parse_request};
use crate::snapshot::{HttpSettings, Protocol};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// How long a connection waits for its next request before it is parked.
const WAIT_BEFORE_PARKING: Duration = Duration::from_millis(100);
/// Connections of a worker that may wait so; beyond them, every wait is parked at once.
const WAITING_MAX: u32 = 256;
/// Sets of buffers kept for the next task, and bytes of one that is: a set that large heads have passed through is not.
const SPARE_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 32 * 1024;
/// For how long what a client still sends is taken and dropped, so that it can read a response that came before its request's
/// end: in all, and without a byte. Many clients look at the response only once they have sent everything. There is no
/// limit of bytes: what is under way between two near hosts is already more than a sensible one, and taking bytes to drop
/// them costs no more than any upload. nginx has the same limits (`lingering_time`, `lingering_timeout`).
const LINGER_TIME_MAX: Duration = Duration::from_secs(30);
const LINGER_SILENCE_MAX: Duration = Duration::from_secs(5);

/// Buffers of tasks that have ended, for those to come.
// Boxed: what moves between here and the tasks is a pointer.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub(in crate::connection) struct Spare(RefCell<Vec<Box<Buffers>>>);

/// What a connection needs while it is not parked: heads and both directions of both sides.
struct Buffers {
    request: RequestHead,
    response: ResponseHead,
    reader: MessageReader,
    writer: MessageWriter,
    pair: Pair,
    /// What it was counted as when it was last counted.
    counted: usize,
}

impl Buffers {
    fn bytes(&self) -> usize {
        let heads = self.request.headers.bytes() + self.response.headers.bytes();
        let sides = [(&self.reader, &self.writer), (&self.pair.reader, &self.pair.writer)];
        size_of::<Buffers>()
            + heads
            + sides.map(|(reader, writer)| reader.bytes() + writer.bytes()).iter().sum::<usize>()
    }
}

/// The endpoint's side: both directions.
pub(in crate::connection) struct Pair {
    reader: MessageReader,
    writer: MessageWriter,
}

impl Pair {
    /// Makes ready for a request on `stream`.
    pub(in crate::connection) fn open<'a>(
        &'a mut self,
        engine: &'a Engine,
        stream: &'a Stream,
        idle_timeout: Duration,
    ) -> (Sink<'a>, Source<'a>) {
        self.reader.reset();
        self.writer.next_message();
        let rule = PaceRule::silence(idle_timeout);
        let (writer, reader) = (&mut self.writer, &mut self.reader);
        (Sink::new(engine, stream, writer, rule), Source::of_endpoint(engine, stream, reader, rule))
    }
}

impl Spare {
    fn take(&self, memory: &Memory) -> Box<Buffers> {
        let kept = self.0.borrow_mut().pop();
        if let Some(kept) = &kept {
            memory.spares.set(memory.spares.get() - kept.counted);
        }
        let mut buffers = kept.unwrap_or_else(|| {
            let pair = Pair { reader: MessageReader::default(), writer: MessageWriter::default() };
            Box::new(Buffers {
                request: RequestHead::new(),
                response: ResponseHead::new(),
                reader: MessageReader::default(),
                writer: MessageWriter::default(),
                pair,
                counted: 0,
            })
        });
        buffers.counted = buffers.bytes();
        memory.requests.set(memory.requests.get() + buffers.counted);
        buffers
    }

    fn put(&self, memory: &Memory, mut buffers: Box<Buffers>) {
        buffers.reader.reset();
        buffers.pair.reader.reset();
        buffers.writer.next_message();
        buffers.pair.writer.next_message();
        memory.requests.set(memory.requests.get() - buffers.counted);
        buffers.counted = buffers.bytes();
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_MAX && buffers.counted <= SPARE_BYTES_MAX {
            memory.spares.set(memory.spares.get() + buffers.counted);
            spare.push(buffers);
        }
    }

    /// Frees all of it. How many sets.
    pub(in crate::connection) fn give_back(&self, memory: &Memory) -> usize {
        memory.spares.set(0);
        std::mem::take(&mut *self.0.borrow_mut()).len()
    }
}

/// What follows an exchange.
enum Next {
    Request,
    Park,
    Close,
    Reset,
    Tunnel(Box<Tunnel>),
}

/// Serves a connection on which something has arrived until it is parked or closed. `first` is what has been received of it
/// already.
pub(in crate::connection) async fn serve(stream: Stream, mut client: Client, first: Chunk) {
    let (context, listener) = (client.context().clone(), client.listener.clone());
    let _enrolled = listener.cut.enroll().await;
    let mut buffers = context.spare.take(&context.memory);
    buffers.reader.feed(first);
    let next = loop {
        match pin!(request(&context, &stream, &mut client, &mut buffers)).await {
            Next::Request => {}
            next => break next,
        }
    };
    context.spare.put(&context.memory, buffers);
    match next {
        Next::Park if !listener.closes_idle(&context) => park(&context, stream, client),
        Next::Reset => stream.reset(),
        Next::Tunnel(tunnel) => context.engine.spawn(tunnel.serve(stream, client)),
        _ => {}
    }
}

/// One request, from its first byte to the wait for the next.
async fn request(context: &Rc<Context>, stream: &Stream, client: &mut Client, buffers: &mut Buffers) -> Next {
    buffers.reader.next_message();
    if !buffers.reader.has_pending() {
        match pin!(first_bytes(context, stream, client, buffers)).await {
            Next::Request => {}
            next => return next,
        }
    }
    let (view, index) = client.listener.current(context);
    let Protocol::Http(settings) = &view.snapshot.listeners[index].protocol else { return Next::Close };
    let Buffers { request, response, reader, writer, pair, .. } = buffers;
    let started = context.engine.now();
    writer.next_message();
    let mut record = Record { started, ..Record::default() };
    if settings.request_id_header {
        record.request_id = RequestId::new(context.engine.random(), context.engine.random());
    }
    let head = pin!(client.listener.cut.unless(read_head(context, stream, settings, started, reader, request))).await;
    let head = head.unwrap_or(Err(None));
    client.requests += 1;
    record.head_received = context.engine.now();
    let understood = head.is_ok();
    let mut sink = Sink::new(&context.engine, stream, writer, settings.response_pace);
    let outcome = match head {
        Ok(()) => {
            reader.expect(stream, request.body);
            let goes_on = client.may_go_on(settings);
            if request.keep_alive && !goes_on {
                client.stats().keep_alive_ended.inc();
            }
            let keep_alive = request.keep_alive && goes_on && !client.listener.is_draining(context);
            let invited = Cell::new(!request.expect_continue);
            let scene =
                Scene { context, view: &view, settings, client, stream, request, keep_alive, invited: &invited };
            let mut body = Source::of_client(&context.engine, stream, reader, settings, &invited);
            pin!(exchange::run(scene, &mut body, &mut sink, response, pair, &mut record)).await
        }
        Err(None) => return Next::Close,
        Err(Some(refusal)) => Box::pin(refuse(refusal, request, reader, &mut sink, &mut record)).await,
    };
    record.bytes_received = reader.received();
    record.bytes_sent = sink.writer.sent();
    if let Outcome::Tunnel(connection) = outcome {
        let pending = (reader.take_pending(), pair.reader.take_pending());
        let lasting = Lasting::new(record, &view, index, client, request);
        let idle_timeout = settings.tunnel_idle_timeout;
        return Next::Tunnel(Box::new(Tunnel { connection, pending, idle_timeout, lasting }));
    }
    record.finish(context, &view, index, client, request);
    match outcome {
        Outcome::Keep => Next::Request,
        Outcome::Close => {
            // RFC 9112 section 9.6: a client that asks for the close sends nothing after that request, so that nothing can
            // come that would turn the close into a reset.
            let client_done = understood && !request.keep_alive && reader.is_done() && !reader.has_pending();
            if !client_done || stream.is_readable() {
                drop(reader.take_pending());
                Box::pin(client.listener.cut.unless(linger(context, stream))).await;
            }
            Next::Close
        }
        Outcome::Reset => Next::Reset,
        Outcome::Abort | Outcome::Tunnel(_) => Next::Close,
    }
}

/// Waits for the first bytes of a request.
async fn first_bytes(context: &Context, stream: &Stream, client: &Client, buffers: &mut Buffers) -> Next {
    if client.listener.closes_idle(context) {
        return Next::Close;
    }
    let received = if client.requests == 0 || stream.is_readable() {
        stream.receive().await
    } else {
        if context.waiting.get() >= WAITING_MAX {
            return Next::Park;
        }
        context.waiting.set(context.waiting.get() + 1);
        let until = context.engine.now() + WAIT_BEFORE_PARKING;
        let received = context.engine.timeout(until, pin!(stream.receive())).await;
        context.waiting.set(context.waiting.get() - 1);
        match received {
            Ok(received) => received,
            Err(_) => return Next::Park,
        }
    };
    match received {
        Ok(chunk) if !chunk.is_empty() => {
            buffers.reader.feed(chunk);
            Next::Request
        }
        _ => Next::Close,
    }
}

/// `Err(None)`: the client is gone, and there is nobody to answer.
async fn read_head(
    context: &Context,
    stream: &Stream,
    settings: &HttpSettings,
    started: Instant,
    reader: &mut MessageReader,
    request: &mut RequestHead,
) -> Result<(), Option<Refusal>> {
    let limits =
        HeadLimits { head_max: settings.head_max, headers_max: settings.headers_max, target_max: settings.target_max };
    let deadline = started + settings.request_head_timeout;
    let read = {
        let read = pin!(reader.head(stream, limits.head_max, |bytes| parse_request(bytes, &limits, request)));
        context.engine.timeout(deadline, read).await
    };
    match read {
        Ok(Ok(())) => request.normalize_path(settings.path_policy).map_err(|error| Some(error.into())),
        Ok(Err(ReadError::Head(error))) => Err(Some(error.into())),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(Failure::RequestHeadTimeout.into())),
    }
}

/// Closes in an orderly way: a close with unread bytes would reset the connection and might take the response with it
/// (RFC 9112 section 9.6).
pub(in crate::connection) async fn linger(context: &Context, stream: &Stream) {
    stream.shutdown();
    let end = context.engine.now() + LINGER_TIME_MAX;
    while context.engine.now() < end {
        let until = end.min(context.engine.now() + LINGER_SILENCE_MAX);
        match context.engine.timeout(until, pin!(stream.receive())).await {
            Ok(Ok(chunk)) if !chunk.is_empty() => {}
            _ => return,
        }
    }
}
