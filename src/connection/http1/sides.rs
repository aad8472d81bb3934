//! HTTP/1 under the exchange's interface: a reader or a writer together with its stream, its clock and its limits.

use super::reader::{MessageReader, ReadError, Step};
use super::writer::MessageWriter;
use crate::base::Instant;
use crate::connection::exchange::{
    BodySink, BodySource, Ready, RequestSink, ResponseSink, ResponseSource, SinkError, SourceError,
};
use crate::engine::{Chunk, Engine, Filled, Splice, Stream, is_out_of_memory};
use crate::health::{Pace, PaceRule, Slow};
use crate::protocol::http::{BodyLength, Headers, Method, RequestHead, ResponseHead};
use crate::protocol::http1::{
    ErrorResponse, Forwarding, HeadLimits, ResponseOptions, parse_response, write_continue, write_error, write_request,
    write_response,
};
use crate::snapshot::HttpSettings;
use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of a response head at most; fields as many as the parser takes.
const RESPONSE_HEAD_LIMITS: HeadLimits = HeadLimits { head_max: 64 * 1024, headers_max: 256, target_max: 0 };

/// No less of a body than this is worth a splice.
const SPLICE_MIN: u64 = 128 * 1024;

/// A body that is received.
pub(in crate::connection) struct Source<'a> {
    engine: &'a Engine,
    stream: &'a Stream,
    reader: &'a mut MessageReader,
    /// How slowly the body may come.
    pace: Pace,
    /// Bytes of body that are still taken.
    left_max: u64,
    /// False while the other side waits for word that it may send the body: until then it is not slow.
    invited: Option<&'a Cell<bool>>,
    /// Who ends the sending side behind the body has left, and does not read any more.
    end_is_leaving: bool,
}

/// One wait for more of a body.
struct Wait {
    started: Instant,
    /// When the other side may be slower than is borne.
    until: Instant,
    /// Whether it counts.
    invited: bool,
}

impl<'a> Source<'a> {
    pub(super) fn of_endpoint(
        engine: &'a Engine,
        stream: &'a Stream,
        reader: &'a mut MessageReader,
        rule: PaceRule,
    ) -> Source<'a> {
        let pace = Pace::new(rule);
        Source { engine, stream, reader, pace, left_max: u64::MAX, invited: None, end_is_leaving: false }
    }

    pub(super) fn of_client(
        engine: &'a Engine,
        stream: &'a Stream,
        reader: &'a mut MessageReader,
        settings: &HttpSettings,
        invited: &'a Cell<bool>,
    ) -> Source<'a> {
        let (pace, left_max) = (Pace::new(settings.request_body_pace), settings.body_max);
        let end_is_leaving = settings.abort_on_close;
        Source { engine, stream, reader, pace, left_max, invited: Some(invited), end_is_leaving }
    }

    fn begin_wait(&self) -> Wait {
        let started = self.engine.now();
        Wait { started, until: started + self.pace.patience(), invited: self.invited.is_none_or(Cell::get) }
    }

    fn end_wait(&mut self, wait: &Wait, received: u64) {
        if wait.invited {
            self.pace.waited(self.engine.now() - wait.started, received);
        }
    }

    fn check_pace(&self) -> Result<(), SourceError> {
        match self.pace.slow() {
            Some(Slow::Silent) => Err(SourceError::Timeout),
            Some(Slow::BelowRate) => Err(SourceError::TooSlow),
            None => Ok(()),
        }
    }

    fn error(error: &ReadError) -> SourceError {
        match error {
            ReadError::Closed => SourceError::Closed,
            ReadError::Failed => SourceError::Reset,
            ReadError::Framing | ReadError::Head(_) => SourceError::Malformed,
        }
    }
}

impl BodySource for Source<'_> {
    fn ready(&mut self) -> Result<Ready, SourceError> {
        match self.reader.step().map_err(|error| Self::error(&error))? {
            Step::End => Ok(Ready::End),
            Step::NeedMore => Ok(Ready::Wait),
            Step::Piece(piece) if piece.len() as u64 > self.left_max => Err(SourceError::TooLarge),
            Step::Piece(piece) => {
                self.left_max -= piece.len() as u64;
                Ok(Ready::Piece(piece))
            }
        }
    }

    async fn wait(&mut self) -> Result<(), SourceError> {
        let before = self.reader.received();
        loop {
            let wait = self.begin_wait();
            let received = self.engine.timeout(wait.until, pin!(self.reader.more(self.stream))).await;
            self.end_wait(&wait, self.reader.received() - before);
            match received {
                Ok(received) => {
                    // Who sends without being invited is not waiting.
                    self.invited.inspect(|invited| invited.set(true));
                    return received.map_err(|error| Self::error(&error));
                }
                Err(_) => self.check_pace()?,
            }
        }
    }

    fn splice<'s>(&self, to: &'s Stream) -> Option<Splice<'s>>
    where
        Self: 's,
    {
        (self.reader.left_in_stream() >= SPLICE_MIN).then(|| self.engine.splice(self.stream, to))
    }

    async fn fill(&mut self, splice: &mut Splice<'_>) -> Result<Filled, SourceError> {
        let left = usize::try_from(self.reader.left_in_stream()).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Filled::Copy);
        }
        loop {
            let wait = self.begin_wait();
            let filled = self.engine.timeout(wait.until, pin!(splice.fill(left))).await;
            let len = if let Ok(Filled::Bytes(len)) = filled { len } else { 0 };
            self.end_wait(&wait, len as u64);
            match filled {
                Ok(filled) => {
                    self.left_max = self.left_max.saturating_sub(len as u64);
                    self.reader.spliced(len);
                    return Ok(filled);
                }
                Err(_) => self.check_pace()?,
            }
        }
    }

    fn trailers(&self) -> Option<&Headers> {
        self.reader.trailers()
    }

    fn detach(&mut self) {
        self.reader.detach();
    }

    fn is_complete(&self) -> bool {
        self.reader.is_done()
    }

    fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.stream.poll_end(context) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            // Whoever has sent another request ahead wants its answer.
            Poll::Ready(Ok(())) if self.end_is_leaving && !self.reader.has_pending() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl ResponseSource for Source<'_> {
    async fn head(&mut self, method: Method, head: &mut ResponseHead, deadline: Instant) -> Result<(), SourceError> {
        let limits = &RESPONSE_HEAD_LIMITS;
        let parse = |bytes: &[u8]| parse_response(bytes, limits, method, head);
        match self.engine.timeout(deadline, pin!(self.reader.head(self.stream, limits.head_max, parse))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Self::error(&error)),
            Err(_) => return Err(SourceError::Timeout),
        }
        self.reader.expect(self.stream, head.body);
        Ok(())
    }

    fn has_begun(&self) -> bool {
        self.reader.received() > 0
    }

    fn is_reusable(&self) -> bool {
        self.reader.is_done() && !self.reader.has_pending()
    }
}

/// A message that is sent.
pub(in crate::connection) struct Sink<'a> {
    engine: &'a Engine,
    stream: &'a Stream,
    pub(super) writer: &'a mut MessageWriter,
    progress: Progress,
    stage: Stage,
}

impl<'a> Sink<'a> {
    /// `rule` is how slowly the other side may take the message.
    pub(super) fn new(
        engine: &'a Engine,
        stream: &'a Stream,
        writer: &'a mut MessageWriter,
        rule: PaceRule,
    ) -> Sink<'a> {
        Sink { engine, stream, writer, progress: Progress::new(rule), stage: Stage::Before }
    }
}

/// How the other side takes what it is sent.
struct Progress {
    pace: Pace,
    /// Bytes that had been taken at the last look.
    taken: Option<u64>,
    /// How long sends have waited since that look, or since the first one began.
    waited: Duration,
    /// From when on the present send waits.
    since: Instant,
}

/// Sends that have waited so long are looked at for the first time: most are done sooner, and need no system call for it.
const LOOK_FIRST: Duration = Duration::from_secs(1);
/// Looks are at least so far apart; who is slow is found out by so much later.
const LOOK_MIN: Duration = Duration::from_millis(50);

impl Progress {
    fn new(rule: PaceRule) -> Progress {
        Progress { pace: Pace::new(rule), taken: None, waited: Duration::ZERO, since: Instant::default() }
    }

    /// A send begins.
    fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// A send ends: until the next one there is nothing to take.
    fn end(&mut self, now: Instant) {
        self.waited += now - self.since;
    }

    /// When to look next, if the send goes on until then.
    fn next_look(&self) -> Instant {
        let patience = self.pace.patience();
        let apart = if self.taken.is_some() { patience.max(LOOK_MIN) } else { LOOK_FIRST.min(patience / 2) };
        self.since + apart.saturating_sub(self.waited)
    }

    fn look(&mut self, now: Instant, taken: u64) -> Result<(), SinkError> {
        self.end(now);
        self.begin(now);
        let waited = std::mem::take(&mut self.waited);
        // What had been taken before the first look is not known.
        if let Some(before) = self.taken.replace(taken) {
            self.pace.waited(waited, taken.saturating_sub(before));
        }
        match self.pace.slow() {
            None => Ok(()),
            Some(Slow::Silent) => Err(SinkError::Timeout),
            Some(Slow::BelowRate) => Err(SinkError::TooSlow),
        }
    }
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing, or interim responses alone.
    Before,
    /// The final head is written; what is not flushed may still be replaced.
    Written,
    /// Some of it has gone out.
    Begun,
}

impl BodySink for Sink<'_> {
    fn write(&mut self, piece: Chunk) {
        self.writer.write(piece);
    }

    fn end(&mut self, trailers: Option<&Headers>) {
        self.writer.end(trailers);
    }

    fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        if self.writer.is_empty() {
            return Ok(());
        }
        if self.stage == Stage::Written {
            self.stage = Stage::Begun;
        }
        let flushed = pin!(self.writer.flush(self.stream));
        let result = watched(self.engine, self.stream, &mut self.progress, flushed).await;
        if result.is_err() {
            // Some of it may have gone out, be it of an interim response: nothing can follow.
            self.stage = Stage::Begun;
        }
        result
    }

    fn raw<'s>(&self) -> Option<&'s Stream>
    where
        Self: 's,
    {
        self.writer.is_raw().then_some(self.stream)
    }

    async fn drain(&mut self, splice: &mut Splice<'_>) -> Result<(), SinkError> {
        self.stage = Stage::Begun;
        self.writer.spliced(splice.held());
        let drained = pin!(async {
            while splice.drain().await? > 0 {}
            Ok(())
        });
        watched(self.engine, self.stream, &mut self.progress, drained).await
    }
}

/// Waits for a send, and looks how the other side takes it.
async fn watched(
    engine: &Engine,
    stream: &Stream,
    progress: &mut Progress,
    mut sent: Pin<&mut impl Future<Output = io::Result<()>>>,
) -> Result<(), SinkError> {
    progress.begin(engine.now());
    let result = loop {
        match engine.timeout(progress.next_look(), sent.as_mut()).await {
            Ok(result) => break result,
            Err(_) => progress.look(engine.now(), stream.acknowledged())?,
        }
    };
    progress.end(engine.now());
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => SinkError::Timeout,
        _ if is_out_of_memory(&error) => SinkError::NoMemory,
        _ => SinkError::Closed,
    })
}

impl RequestSink for Sink<'_> {
    fn request_head(&mut self, head: &RequestHead, forwarding: &Forwarding<'_>) {
        write_request(self.writer.text(), head, forwarding);
        self.writer.expect(head.body);
    }
}

impl ResponseSink for Sink<'_> {
    fn response_head(&mut self, head: &ResponseHead, options: &ResponseOptions<'_>) {
        self.stage = Stage::Written;
        write_response(self.writer.text(), head, options);
        self.writer.expect(options.body);
        if !options.keep_alive {
            self.writer.close_after();
        }
    }

    fn invite(&mut self) {
        write_continue(self.writer.text());
        self.writer.expect(BodyLength::Empty);
    }

    fn interim(&mut self, head: &ResponseHead, options: &ResponseOptions<'_>) {
        write_response(self.writer.text(), head, options);
        self.writer.expect(BodyLength::Empty);
    }

    fn error(&mut self, error: &ErrorResponse<'_>) {
        self.stage = Stage::Written;
        self.writer.discard();
        self.writer.expect(BodyLength::Empty);
        write_error(self.writer.text(), error);
        if !error.keep_alive {
            self.writer.close_after();
        }
        self.writer.end(None);
    }

    fn has_begun(&self) -> bool {
        self.stage == Stage::Begun
    }
}
