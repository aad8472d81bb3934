//! Why a head was refused. `connection` maps each kind to its own failure, from which the status, the log's reason and the
//! metric follow.

use std::fmt;

/// Why a head was refused. Nothing after it on the connection can be trusted: answer and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not valid HTTP, or readable in more than one way. 400 to a client; 502 from an endpoint.
    Malformed(Malformed),
    /// More bytes than [`super::HeadLimits::head_max`]. 431.
    TooLarge,
    /// More fields than [`super::HeadLimits::headers_max`]. 431.
    TooManyFields,
    /// A request target longer than [`super::HeadLimits::target_max`]. 414.
    TargetTooLong,
    /// HTTP, but neither 1.0 nor 1.1. 505.
    VersionUnsupported,
    /// A transfer coding other than `chunked`. 501.
    TransferCodingUnknown,
    /// CONNECT: this is a gateway, not a proxy that tunnels anywhere. 501.
    MethodUnsupported,
    /// An expectation other than `100-continue`. 417.
    ExpectationUnknown,
}

/// What is wrong with a malformed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The request line or status line.
    StartLine,
    /// The request target.
    Target,
    /// A line that ends in a bare LF, or a CR without LF.
    LineEnding,
    /// An empty or invalid field name, whitespace before the colon, or a folded line.
    FieldName,
    /// A control byte in a field value.
    FieldValue,
    /// Host missing, given twice or invalid.
    Host,
    /// Content-Length that is not one decimal number.
    ContentLength,
    /// Transfer-Encoding twice, in HTTP/1.0, or with `chunked` anywhere but alone.
    TransferEncoding,
    /// Both Content-Length and Transfer-Encoding, or a name that some take for one of them.
    Framing,
    /// TRACE with a body.
    Content,
    /// Max-Forwards of OPTIONS or TRACE that is not one decimal number.
    MaxForwards,
    /// A Connection field with too many options.
    Connection,
    /// A status below 100.
    Status,
}

impl Malformed {
    /// For the log.
    pub const fn name(self) -> &'static str {
        match self {
            Malformed::StartLine => "start_line",
            Malformed::Target => "target",
            Malformed::LineEnding => "line_ending",
            Malformed::FieldName => "field_name",
            Malformed::FieldValue => "field_value",
            Malformed::Host => "host",
            Malformed::ContentLength => "content_length",
            Malformed::TransferEncoding => "transfer_encoding",
            Malformed::Framing => "framing",
            Malformed::Content => "content",
            Malformed::MaxForwards => "max_forwards",
            Malformed::Connection => "connection",
            Malformed::Status => "status",
        }
    }
}

impl From<Malformed> for HeadError {
    fn from(what: Malformed) -> HeadError {
        HeadError::Malformed(what)
    }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> HeadError {
        match error {
            httparse::Error::HeaderName => Malformed::FieldName.into(),
            httparse::Error::HeaderValue => Malformed::FieldValue.into(),
            httparse::Error::NewLine => Malformed::LineEnding.into(),
            httparse::Error::Status | httparse::Error::Token | httparse::Error::Version => Malformed::StartLine.into(),
            httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadError::Malformed(what) => return write!(f, "malformed head: {}", what.name()),
            HeadError::TooLarge => "head too large",
            HeadError::TooManyFields => "too many fields",
            HeadError::TargetTooLong => "request target too long",
            HeadError::VersionUnsupported => "HTTP version not supported",
            HeadError::TransferCodingUnknown => "transfer coding not supported",
            HeadError::MethodUnsupported => "method not supported",
            HeadError::ExpectationUnknown => "expectation not supported",
        })
    }
}

impl std::error::Error for HeadError {}
