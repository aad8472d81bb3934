//! Bodies on their way: from a source to a sink, and an upload beside the response that it may outlive.

use super::sides::{BodySink, BodySource, Ready, SinkError, SourceError};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

/// Which side ended a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferError {
    Source(SourceError),
    Sink(SinkError),
}

/// Moves a body to its end. Everything at hand goes out in one flush.
pub(super) async fn transfer(source: &mut impl BodySource, sink: &mut impl BodySink) -> Result<(), TransferError> {
    loop {
        match source.ready().map_err(TransferError::Source)? {
            Ready::Piece(piece) => {
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
                pin!(source.wait()).await.map_err(TransferError::Source)?;
            }
        }
    }
}

/// A request body on its way, polled beside whatever the exchange waits for.
pub(super) struct Upload<'a, F> {
    future: Pin<&'a mut F>,
    result: Option<Result<(), TransferError>>,
}

impl<'a, F: Future<Output = Result<(), TransferError>>> Upload<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>) -> Upload<'a, F> {
        Upload { future, result: None }
    }

    /// Whether all of the body has been sent.
    pub(super) fn is_complete(&self) -> bool {
        self.result == Some(Ok(()))
    }

    /// Why the upload failed, if the client is to blame.
    pub(super) fn client_error(&self) -> Option<SourceError> {
        match self.result {
            Some(Err(TransferError::Source(error))) => Some(error),
            _ => None,
        }
    }

    /// Drives the upload until `main` is done. Ends early if the client's side of the upload fails; a failure of the
    /// endpoint's side does not: its response may be there all the same.
    pub(super) async fn beside<M: Future>(&mut self, main: M) -> Result<M::Output, SourceError> {
        let mut main = pin!(main);
        poll_fn(|context| {
            if self.result.is_none()
                && let Poll::Ready(result) = self.future.as_mut().poll(context)
            {
                self.result = Some(result);
            }
            if let Poll::Ready(output) = main.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            match self.client_error() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            }
        })
        .await
    }
}
