//! Bodies on their way: from a source to a sink, and an upload beside the response that it may outlive.

use super::sides::{BodySink, BodySource, Ready, SinkError, SourceError};
use crate::base::Instant;
use crate::connection::volume::Volume;
use crate::engine::{Engine, Filled, Splice};
use crate::health::Failure;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Which side ended a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferError {
    Source(SourceError),
    Sink(SinkError),
}

/// Moves a body to its end. Everything at hand goes out in one flush; what is long and needs no framing is spliced.
pub(super) async fn transfer(source: &mut impl BodySource, sink: &mut impl BodySink) -> Result<(), TransferError> {
    let mut volume = Volume::bulk();
    loop {
        match source.ready().map_err(TransferError::Source)? {
            Ready::Piece(piece) => {
                volume.copied(piece.len());
                sink.write(piece);
                if sink.is_full() {
                    // The rest must hold no receive buffer for as long as the other side takes its time.
                    source.detach();
                    pin!(sink.flush()).await.map_err(TransferError::Sink)?;
                }
            }
            Ready::End => {
                sink.end(source.trailers());
                source.detach();
                return pin!(sink.flush()).await.map_err(TransferError::Sink);
            }
            Ready::Wait => {
                if !sink.is_empty() {
                    pin!(sink.flush()).await.map_err(TransferError::Sink)?;
                }
                if volume.is_bulk()
                    && let Some(splice) = sink.raw().and_then(|to| source.splice(to))
                    // Boxed: most bodies are short, and need not hold the room for it.
                    && Box::pin(pass(source, sink, splice, &mut volume)).await?
                {
                    continue;
                }
                pin!(source.wait()).await.map_err(TransferError::Source)?;
            }
        }
    }
}

/// Splices a body until it is at its end or does not come as bulk. False where there was nothing to be spliced.
async fn pass(
    source: &mut impl BodySource,
    sink: &mut impl BodySink,
    mut splice: Splice<'_>,
    volume: &mut Volume,
) -> Result<bool, TransferError> {
    let mut passed = false;
    while volume.is_bulk() {
        let Filled::Bytes(len) = source.fill(&mut splice).await.map_err(TransferError::Source)? else { break };
        volume.spliced(len);
        passed = true;
        sink.drain(&mut splice).await.map_err(TransferError::Sink)?;
    }
    Ok(passed)
}

/// Runs `main` to its end; `None` if whoever has sent `body` leaves before.
pub(super) async fn unless_left<M: Future>(body: &impl BodySource, main: M) -> Option<M::Output> {
    let mut main = pin!(main);
    poll_fn(|context| match main.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => body.poll_left(context).map(|()| None),
    })
    .await
}

/// Sends a request body and notes in `sent` when all of it is; then waits until the client leaves. Ends with an error.
pub(super) async fn upload(
    engine: &Engine,
    body: &mut impl BodySource,
    request: &mut impl BodySink,
    sent: &Cell<Option<Instant>>,
) -> Result<Infallible, TransferError> {
    transfer(body, request).await?;
    sent.set(Some(engine.now()));
    poll_fn(|context| body.poll_left(context)).await;
    Err(TransferError::Source(SourceError::Closed))
}

/// A request body on its way, polled beside whatever the exchange waits for.
pub(super) struct Upload<'a, F> {
    future: Pin<&'a mut F>,
    sent: &'a Cell<Option<Instant>>,
    error: Option<TransferError>,
}

impl<'a, F: Future<Output = Result<Infallible, TransferError>>> Upload<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>, sent: &'a Cell<Option<Instant>>) -> Upload<'a, F> {
        Upload { future, sent, error: None }
    }

    /// Whether all of the body has been sent.
    pub(super) fn is_complete(&self) -> bool {
        self.sent.get().is_some()
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        if self.error.is_none()
            && let Poll::Ready(Err(error)) = self.future.as_mut().poll(context)
        {
            self.error = Some(error);
        }
    }

    /// Why the upload failed, if that ends the exchange: not if the endpoint takes no more of it.
    fn failure(&self) -> Option<Failure> {
        match self.error? {
            TransferError::Source(error) => Some(request_failure(error)),
            TransferError::Sink(SinkError::NoMemory) => Some(Failure::MemoryFull),
            TransferError::Sink(_) => None,
        }
    }

    /// Drives the upload until `main` is done. Ends early if the client's side of the upload fails, or the client leaves
    /// after it; a failure of the endpoint's side does not end it: its response may be there all the same.
    pub(super) async fn beside<M: Future>(&mut self, main: M) -> Result<M::Output, Failure> {
        let mut main = pin!(main);
        poll_fn(|context| {
            self.poll(context);
            if let Poll::Ready(output) = main.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            match self.failure() {
                Some(failure) => Poll::Ready(Err(failure)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Drives the upload until `main` is done, whatever becomes of the upload.
    pub(super) async fn alongside<M: Future>(&mut self, main: M) -> M::Output {
        let mut main = pin!(main);
        poll_fn(|context| {
            self.poll(context);
            main.as_mut().poll(context)
        })
        .await
    }
}

pub(super) fn request_failure(error: SourceError) -> Failure {
    match error {
        SourceError::Closed | SourceError::Reset => Failure::ClientClosed,
        SourceError::Timeout => Failure::RequestBodyTimeout,
        SourceError::TooSlow => Failure::RequestBodyTooSlow,
        SourceError::Malformed => Failure::RequestBodyMalformed,
        SourceError::TooLarge => Failure::RequestBodyTooLarge,
    }
}
