//! Bytes on the wire in a form that can be compared: chunked bodies decoded, whatever their chunks were, and without what
//! the gateway tells the origin about the client. A third reader of HTTP on purpose: it knows just what well-formed
//! messages need, and leaves anything else as it came.

/// Consecutive messages, each chunked body as `[body][trailers]`. What is not whole stands at the end as it came, its
/// chunks decoded as far as they go.
pub fn comparable(bytes: &[u8], answers_head: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((head, after)) = split_head(rest) {
        let without_body = answers_head || is_bodiless(head);
        out.extend_from_slice(&without_client_fields(head));
        rest = match framing(head) {
            _ if without_body => after,
            Some(Framing::Chunked) => dechunk(after, &mut out),
            Some(Framing::Length(length)) => {
                let (body, after) = after.split_at(length.min(after.len()));
                out.extend_from_slice(body);
                after
            }
            None => after,
        };
    }
    out.extend_from_slice(rest);
    out
}

/// How many of the bytes are the first message, if it is whole; for requests.
pub fn request_len(bytes: &[u8]) -> Option<usize> {
    let (head, after) = split_head(bytes)?;
    let body = match framing(head) {
        None => 0,
        Some(Framing::Length(length)) => (after.len() >= length).then_some(length)?,
        Some(Framing::Chunked) => after.len() - chunked_end(after)?.len(),
    };
    Some(head.len() + body)
}

enum Framing {
    Length(usize),
    Chunked,
}

fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    Some(bytes.split_at(end))
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|byte| *byte == b'\n')
}

fn framing(head: &[u8]) -> Option<Framing> {
    let value = |name: &str| {
        lines(head).find_map(|line| {
            let text = String::from_utf8_lossy(line).to_ascii_lowercase();
            text.strip_prefix(name).map(|value| value.trim().to_owned())
        })
    };
    if value("transfer-encoding:").is_some_and(|coding| coding == "chunked") {
        return Some(Framing::Chunked);
    }
    value("content-length:").and_then(|length| length.parse().ok()).map(Framing::Length)
}

/// Whether this is the head of a response that has no body.
fn is_bodiless(head: &[u8]) -> bool {
    ["HTTP/1.1 1", "HTTP/1.1 204", "HTTP/1.1 304"].iter().any(|start| head.starts_with(start.as_bytes()))
}

/// Without the lines that tell the origin about the client, where they tell the truth.
fn without_client_fields(head: &[u8]) -> Vec<u8> {
    let host = lines(head).find_map(|line| line.strip_prefix(b"Host: ")).unwrap_or(b"\r\n");
    let told = |line: &&[u8]| {
        *line == b"X-Forwarded-For: 127.0.0.1\r\n"
            || *line == b"X-Forwarded-Proto: http\r\n"
            || line.strip_prefix(b"X-Forwarded-Host: ").is_some_and(|value| value == host)
            || line.starts_with(b"Forwarded: for=127.0.0.1;") && !line.contains(&b',')
    };
    lines(head).filter(|line| !told(line)).flatten().copied().collect()
}

/// Appends the decoded body and gives what follows it.
fn dechunk<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let end = chunked_end(bytes);
    let whole = &bytes[..bytes.len() - end.map_or(0, <[u8]>::len)];
    out.push(b'[');
    let mut rest = whole;
    while let Some((size, after)) = chunk(rest) {
        if size == 0 {
            out.extend_from_slice(b"][");
            out.extend_from_slice(after.strip_suffix(b"\r\n").unwrap_or(after));
            out.push(b']');
            break;
        }
        out.extend_from_slice(&after[..size.min(after.len())]);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    end.unwrap_or_default()
}

/// What follows the body, if it is whole.
fn chunked_end(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let (size, after) = chunk(rest)?;
        if size > 0 {
            rest = after.get(size + 2..)?;
            continue;
        }
        rest = after;
        while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
            rest = &rest[end + 2..];
            if end == 0 {
                return Some(rest);
            }
        }
        return None;
    }
}

/// The size in the first line, and what follows that line.
fn chunk(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
    Some((size, &bytes[end + 2..]))
}
