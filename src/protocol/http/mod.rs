//! The message model: heads, fields and how a body is delimited. It knows no HTTP version's bytes; [`super::http1`] turns
//! bytes into it and back.
//!
//! A head owns its storage (one copy of the received bytes in a reused `Vec`, with spans into it), so it carries no
//! lifetime and costs no allocation once it has seen a head of that size. `connection` keeps one per exchange in progress.

mod head;
mod headers;
mod known;
mod path;

pub use head::{RequestHead, ResponseHead, TargetForm};
pub(in crate::protocol) use headers::{Field, IRREGULAR, LISTED, Span, is_field_value};
pub use headers::{Headers, InvalidField, Iter};
pub use known::Known;
pub(in crate::protocol) use known::token_is;
pub use path::{PathError, PathPolicy, normalize};

/// A request method. Methods are case-sensitive (RFC 9110 section 9.1); one that is not named here is `Other`, and
/// [`RequestHead::method_bytes`] has its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// Every named method, in the order of its discriminant.
    pub const NAMED: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Options,
        Method::Trace,
        Method::Patch,
    ];

    pub fn from_bytes(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// The method's name; empty for `Other`.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other => "",
        }
    }

    /// Whether the client asks for nothing but information (RFC 9110 section 9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }

    /// Whether sending the request twice has the effect of sending it once (RFC 9110 section 9.2.2).
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

/// The version that a message came in as. What a version means (keep-alive, chunked) is in the head's other fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

impl Version {
    pub const fn name(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// No body, and no framing field is written for it.
    #[default]
    Empty,
    /// Exactly this many bytes, 0 included: `Content-Length` is written.
    Exact(u64),
    /// Chunks of unknown total length, with optional trailers.
    Chunked,
    /// All that comes until the connection closes. Responses only.
    UntilClose,
}

impl BodyLength {
    /// Whether no body byte follows the head.
    pub const fn is_empty(self) -> bool {
        matches!(self, BodyLength::Empty | BodyLength::Exact(0))
    }

    /// How a response body that came like `self` is framed to a client of `downstream`: a length is kept, the rest is
    /// chunked where the client knows chunks and delimited by the close where it does not (RFC 9112 section 6.1).
    pub const fn for_downstream(self, downstream: Version) -> BodyLength {
        match (self, downstream) {
            (BodyLength::Empty, _) => BodyLength::Empty,
            (BodyLength::Exact(length), _) => BodyLength::Exact(length),
            (_, Version::Http11) => BodyLength::Chunked,
            (_, Version::Http10) => BodyLength::UntilClose,
        }
    }
}
