//! Request and response heads. Filled by a version's parser, read by `router` and `connection`, turned into bytes by a
//! version's writer. They hold what was said, already checked; they decide nothing.

use super::path::{self, PathError, PathPolicy};
use super::{BodyLength, Headers, Method, Span, Version};

/// How the request target was written (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`; the authority overrides the Host field.
    Absolute,
    /// `*`, or an absolute form without a path, of OPTIONS alone.
    Asterisk,
}

/// A request head. Reused: [`RequestHead::clear`] keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Matches [`RequestHead::method_bytes`].
    pub method: Method,
    pub version: Version,
    pub headers: Headers,
    pub body: BodyLength,
    /// Whether the client lets the connection go on after this exchange.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client asks to leave HTTP: an Upgrade field that Connection names. Never set for HTTP/2 (`h2c`), which would
    /// carry requests past the router.
    pub upgrade: bool,
    /// The client takes trailers (`TE: trailers`).
    pub accepts_trailers: bool,
    /// How many more gateways may pass on this OPTIONS or TRACE (RFC 9110 section 7.6.2); at 0, none may.
    pub max_forwards: Option<u64>,
    pub(in crate::protocol) form: TargetForm,
    pub(in crate::protocol) method_name: Span,
    pub(in crate::protocol) target: Span,
    /// From the path's first byte to the target's last. Empty where the path is not written.
    pub(in crate::protocol) path_and_query: Span,
    pub(in crate::protocol) path_len: u32,
    pub(in crate::protocol) host: Span,
    /// The host is of letters, digits, dots and hyphens: a token, which needs no quotes.
    pub(in crate::protocol) host_is_plain: bool,
    /// Bytes of the request line with its CRLF if it can be copied as it stands, else 0.
    pub(in crate::protocol) line_len: u32,
    /// The Content-Length field as received, if it can be copied as it stands.
    pub(in crate::protocol) content_length: Option<u64>,
}

impl RequestHead {
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Forgets the request and keeps the memory.
    pub fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        *self = RequestHead { headers, ..RequestHead::default() };
    }

    /// The method as received.
    pub fn method_bytes(&self) -> &[u8] {
        self.method_name.of(&self.headers.storage)
    }

    /// The request target as received.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.headers.storage)
    }

    /// The path, as received until [`RequestHead::normalize_path`]; `/` where an absolute form has none, `*` for the asterisk
    /// form.
    pub fn path(&self) -> &[u8] {
        if self.form == TargetForm::Asterisk {
            return b"*";
        }
        if self.path_len == 0 {
            return b"/";
        }
        Span { start: self.path_and_query.start, len: self.path_len }.of(&self.headers.storage)
    }

    /// Puts the path into its form, here and for the endpoint. The query stays as it is.
    ///
    /// # Errors
    /// Where the path has no safe reading; it stays as it was received.
    #[inline]
    pub fn normalize_path(&mut self, policy: PathPolicy) -> Result<(), PathError> {
        if path::is_normal(self.path(), policy) { Ok(()) } else { self.rewrite_path(policy) }
    }

    fn rewrite_path(&mut self, policy: PathPolicy) -> Result<(), PathError> {
        let received = self.path_and_query;
        let storage = &mut self.headers.storage;
        let start = storage.len();
        // A copy behind all else: fields stay where they are.
        storage.extend_from_within(received.start as usize..received.end() as usize);
        let (path, query) = storage[start..].split_at_mut(self.path_len as usize);
        let result = path::normalize(path, policy);
        let query_len = query.len();
        let Ok(len) = result else {
            storage.truncate(start);
            return result.map(|_| ());
        };
        storage.copy_within(start + self.path_len as usize.., start + len);
        storage.truncate(start + len + query_len);
        self.path_and_query = Span { start: start as u32, len: (len + query_len) as u32 };
        self.path_len = len as u32;
        self.line_len = 0;
        Ok(())
    }

    /// What follows the first `?`, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        self.path_and_query.of(&self.headers.storage).get(self.path_len as usize + 1..)
    }

    /// The authority of an absolute form, else the Host field's value; with its port if it was given. Empty if the client
    /// named none.
    pub fn host(&self) -> &[u8] {
        self.host.of(&self.headers.storage)
    }

    pub fn form(&self) -> TargetForm {
        self.form
    }

    pub fn is_asterisk(&self) -> bool {
        self.form == TargetForm::Asterisk
    }
}

/// A response head. Reused: [`ResponseHead::clear`] keeps the memory.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    pub version: Version,
    pub headers: Headers,
    pub body: BodyLength,
    /// Whether the endpoint lets the connection go on after this response.
    pub keep_alive: bool,
    /// The endpoint switches protocols (status 101).
    pub upgrade: bool,
    pub(in crate::protocol) reason: Span,
    /// Bytes of the status line with its CRLF if it can be copied as it stands, else 0.
    pub(in crate::protocol) line_len: u32,
    /// The status that the line and the reason belong to.
    pub(in crate::protocol) line_status: u16,
    /// The Content-Length field as received, if it can be copied as it stands.
    pub(in crate::protocol) content_length: Option<u64>,
}

impl ResponseHead {
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Forgets the response and keeps the memory.
    pub fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        *self = ResponseHead { headers, ..ResponseHead::default() };
    }

    /// The reason phrase as received; often empty.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.headers.storage)
    }

    /// Whether another head follows for the same request: 1xx, except 101, after which the connection is no longer HTTP.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}
