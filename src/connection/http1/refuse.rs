//! The answer to a request whose head was not understood, after which nothing on the connection can be trusted.

use super::reader::MessageReader;
use super::sides::Sink;
use crate::connection::exchange::{BodySink as _, Outcome, Record, ResponseSink as _};
use crate::health::Failure;
use crate::protocol::http::{PathError, RequestHead, Version};
use crate::protocol::http1::{ErrorResponse, HeadError, Malformed, describe_refused};
use crate::router::METHODS;

/// Why a request is refused.
pub(super) struct Refusal {
    failure: Failure,
    /// Which rule it broke, for the log.
    detail: Option<&'static str>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { failure, detail: None }
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Refusal {
        Refusal { failure: Failure::RequestPathRefused, detail: Some(error.name()) }
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Refusal {
        let detail = match error {
            HeadError::Malformed(what) => Some(Malformed::name(what)),
            _ => None,
        };
        let failure = match error {
            HeadError::Malformed(_) => Failure::RequestMalformed,
            HeadError::TooLarge | HeadError::TooManyFields => Failure::RequestHeadTooLarge,
            HeadError::TargetTooLong => Failure::RequestTargetTooLong,
            HeadError::VersionUnsupported => Failure::VersionUnsupported,
            HeadError::TransferCodingUnknown => Failure::TransferCodingUnknown,
            HeadError::MethodUnsupported => Failure::MethodNotAllowed,
            HeadError::ExpectationUnknown => Failure::ExpectationUnknown,
        };
        Refusal { failure, detail }
    }
}

/// Answers, and notes for the log what was received.
pub(super) async fn refuse(
    refusal: Refusal,
    request: &mut RequestHead,
    reader: &mut MessageReader,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Outcome {
    let verdict = refusal.failure.verdict();
    // A path that is refused belongs to a head that was understood; the log shows it as it came.
    if refusal.failure != Failure::RequestPathRefused {
        describe_refused(reader.head_so_far(), request);
    }
    drop(reader.take_pending());
    record.failure = Some(refusal.failure);
    record.detail = refusal.detail;
    record.status = verdict.status;
    // Of what is refused here, CONNECT alone is for its method; RFC 9110 section 15.5.6 wants the others named.
    let is_method = refusal.failure == Failure::MethodNotAllowed;
    sink.error(&ErrorResponse {
        status: verdict.status,
        text: verdict.text,
        version: Version::Http11,
        keep_alive: false,
        head_only: false,
        allow: is_method.then_some(METHODS.as_bytes()),
        retry_after_s: None,
        request_id: record.request_id.as_bytes(),
    });
    match sink.flush().await {
        Ok(()) => Outcome::Close,
        Err(_) => Outcome::Abort,
    }
}
