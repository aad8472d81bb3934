//! What request and response heads share: taking over the fields that `httparse` found, and reading the ones that frame the
//! message. Called by `request` and `response` alone.

use super::error::{HeadError, Malformed};
use crate::protocol::http::{Field, Headers, IRREGULAR, Known, LISTED, Span, Version, token_is};

/// Options in one message's Connection fields. More serve nobody, and each costs a walk over the fields.
const CONNECTION_OPTIONS_MAX: usize = 32;

const KNOWN: usize = Known::FramingLookalike as usize + 1;

/// Where the known names occurred.
pub(super) struct Seen {
    pub present: u32,
    /// Names that occurred more than once.
    pub duplicate: u32,
    /// The value of each known name's last occurrence.
    values: [Span; KNOWN],
}

impl Seen {
    pub fn has(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    pub fn span(&self, known: Known) -> Option<Span> {
        self.has(known).then(|| self.values[known as usize])
    }

    pub fn is_duplicate(&self, known: Known) -> bool {
        self.duplicate & known.bit() != 0
    }
}

/// Copies the head into the storage of `headers` and adds the fields that `httparse` found in it. `head` is the whole head
/// with its empty line; the fields are parts of it.
///
/// `httparse` takes a bare LF for a line ending; this does not (RFC 9112 section 2.2 allows it, and others read it
/// otherwise).
#[inline(always)]
pub(super) fn read_fields(
    head: &[u8],
    parsed: &[httparse::Header<'_>],
    headers: &mut Headers,
) -> Result<Seen, HeadError> {
    let Some(lines) = head.strip_suffix(b"\r\n") else {
        return Err(Malformed::LineEnding.into());
    };
    headers.storage.extend_from_slice(lines);
    headers.fields.reserve(parsed.len());
    let base = head.as_ptr() as usize;
    let mut seen = Seen { present: 0, duplicate: 0, values: [Span::default(); KNOWN] };
    let mut flags_all = 0;
    // Where the line before this one ends if it is regular. Of the start line, only that it ends in CRLF matters.
    let mut regular_end = parsed.first().map_or(lines.len(), |field| field.name.as_ptr() as usize - base);
    for field in parsed {
        let start = field.name.as_ptr() as usize - base;
        flags_all |= end_line(lines, start, regular_end, &mut headers.fields)?;
        let (name_len, value_len) = (field.name.len(), field.value.len());
        let value_start = field.value.as_ptr() as usize - base;
        let regular = value_start == start + name_len + 2 && lines.get(value_start - 1) == Some(&b' ');
        regular_end = if regular { value_start + value_len + 2 } else { 0 };
        if name_len > u16::MAX as usize {
            return Err(HeadError::TooLarge);
        }
        let known = Known::classify(field.name.as_bytes());
        let value = Span { start: value_start as u32, len: value_len as u32 };
        headers.fields.push(Field { start: start as u32, name_len: name_len as u16, known, flags: 0, value });
        if known != Known::Other {
            seen.duplicate |= seen.present & known.bit();
            seen.present |= known.bit();
            seen.values[known as usize] = value;
        }
    }
    flags_all |= end_line(lines, lines.len(), regular_end, &mut headers.fields)?;
    headers.present = seen.present;
    headers.flags = flags_all;
    Ok(seen)
}

/// Checks that the line before `end` ends in CRLF, and marks its field if the line is not regular.
#[inline(always)]
fn end_line(lines: &[u8], end: usize, regular_end: usize, fields: &mut [Field]) -> Result<u8, HeadError> {
    if !lines.get(..end).is_some_and(|before| before.ends_with(b"\r\n")) {
        return Err(Malformed::LineEnding.into());
    }
    if end == regular_end {
        return Ok(0);
    }
    if let Some(field) = fields.last_mut() {
        field.flags = IRREGULAR;
    }
    Ok(IRREGULAR)
}

/// What Content-Length and Transfer-Encoding say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Reads the framing fields (RFC 9112 section 6), refusing all that is ambiguous.
#[inline]
pub(super) fn framing(seen: &Seen, headers: &Headers, version: Version) -> Result<Framing, HeadError> {
    const FRAMING: u32 = Known::set(&[Known::ContentLength, Known::TransferEncoding]);
    const NAMED: u32 = FRAMING | Known::FramingLookalike.bit();
    if seen.present & NAMED == 0 {
        return Ok(Framing::None);
    }
    if seen.has(Known::FramingLookalike) {
        return Err(Malformed::Framing.into());
    }
    // RFC 9112 section 6.3: both at once "might indicate an attempt to perform request smuggling".
    if seen.present & FRAMING == FRAMING {
        return Err(Malformed::Framing.into());
    }
    if let Some(value) = seen.span(Known::ContentLength) {
        // RFC 9110 section 8.6 lets equal duplicates be merged; it does not ask for it.
        if seen.is_duplicate(Known::ContentLength) {
            return Err(Malformed::ContentLength.into());
        }
        return decimal(value.of(&headers.storage)).map(Framing::Length).ok_or(Malformed::ContentLength.into());
    }
    transfer_encoding(seen, headers, version).map(|()| Framing::Chunked)
}

/// One decimal number of at most 64 bits (RFC 9110 section 8.6): no sign, no list, no blank.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Accepts `chunked` alone (RFC 9112 section 6.1).
fn transfer_encoding(seen: &Seen, headers: &Headers, version: Version) -> Result<(), HeadError> {
    let value = seen.span(Known::TransferEncoding).unwrap_or_default().of(&headers.storage);
    // RFC 9112 section 6.1: in HTTP/1.0 "the recipient MUST treat the message as if the framing is faulty".
    if version == Version::Http10 || seen.is_duplicate(Known::TransferEncoding) {
        return Err(Malformed::TransferEncoding.into());
    }
    if token_is(value, b"chunked") {
        return Ok(());
    }
    let coded = value.split(|byte| *byte == b',').any(|coding| token_is(coding.trim_ascii(), b"chunked"));
    let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    // `gzip, chunked` is well framed in a coding that is not known here; `chunked, gzip` is not framed at all.
    if coded && !token_is(last, b"chunked") || last.is_empty() {
        return Err(Malformed::TransferEncoding.into());
    }
    Err(HeadError::TransferCodingUnknown)
}

/// What the Connection fields say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

/// Reads all Connection fields and marks the fields that they name (RFC 9110 section 7.6.1).
#[inline]
pub(super) fn connection_options(seen: &Seen, headers: &mut Headers) -> Result<ConnectionOptions, HeadError> {
    let mut options = ConnectionOptions::default();
    let Some(value) = seen.span(Known::Connection) else {
        return Ok(options);
    };
    let value = value.of(&headers.storage);
    if !seen.is_duplicate(Known::Connection) {
        if token_is(value, b"keep-alive") {
            options.keep_alive = true;
            return Ok(options);
        }
        if token_is(value, b"close") {
            options.close = true;
            return Ok(options);
        }
    }
    walk_connection_options(headers, &mut options)?;
    Ok(options)
}

fn walk_connection_options(headers: &mut Headers, options: &mut ConnectionOptions) -> Result<(), HeadError> {
    let Headers { storage, fields, flags, .. } = headers;
    let mut count = 0;
    for at in 0..fields.len() {
        if fields[at].known != Known::Connection {
            continue;
        }
        for option in fields[at].value.of(storage).split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            count += 1;
            if count > CONNECTION_OPTIONS_MAX {
                return Err(Malformed::Connection.into());
            }
            match option {
                _ if token_is(option, b"close") => options.close = true,
                _ if token_is(option, b"keep-alive") => options.keep_alive = true,
                _ if token_is(option, b"upgrade") => options.upgrade = true,
                _ if option.is_empty() || is_end_to_end(option) => {}
                _ => *flags |= mark_listed(storage, fields, option),
            }
        }
    }
    Ok(())
}

fn mark_listed(storage: &[u8], fields: &mut [Field], option: &[u8]) -> u8 {
    let mut marked = 0;
    for field in fields.iter_mut().filter(|field| field.name().of(storage).eq_ignore_ascii_case(option)) {
        field.flags |= LISTED;
        marked = LISTED;
    }
    marked
}

/// Fields that a Connection option must not remove: they are for all recipients (RFC 9110 section 7.6.1), and a client that
/// could remove them would hide from the endpoint what the gateway or the client's own side has said. Every name in
/// [`Known`] has its own rule.
fn is_end_to_end(name: &[u8]) -> bool {
    const NAMES: [&str; 14] = [
        "accept",
        "age",
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "etag",
        "location",
        "origin",
        "proxy-authorization",
        "range",
        "set-cookie",
        "vary",
        "www-authenticate",
    ];
    const PREFIXES: [&str; 4] = ["content-", "if-", "access-control-", "sec-"];
    Known::classify(name) != Known::Other
        || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || PREFIXES
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())))
}

/// Whether a Content-Length field can be passed on as it was written: a number without leading zeros.
pub(super) fn is_plain_number(value: &[u8]) -> bool {
    !matches!(value, [b'0', _, ..])
}

/// Whether responses of this status carry no framing at all (RFC 9112 section 6.1, RFC 9110 section 8.6).
pub(super) fn framing_is_forbidden(status: u16) -> bool {
    status < 200 || status == 204
}
