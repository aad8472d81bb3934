//! Cuts Rust source into words and signs, comments and literals, just well enough for the rules of `tests/tidy.rs`.
//! It is not a parser and knows no grammar: it only never takes a comment or a string for code.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An identifier, keyword, number, `::` or a single sign.
    Code,
    Comment,
    /// The inside of a string, byte string or character literal, with its quotes.
    Text,
}

#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

/// Every token of `text` in order; white space lies between them.
pub fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (kind, end) = token_at(bytes, at);
        found.push(Token { kind, start: at, end });
        at = end;
    }
    found
}

/// The number of the line, from 1, that holds the byte at `offset`.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn token_at(bytes: &[u8], at: usize) -> (TokenKind, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        return (TokenKind::Comment, at + length);
    }
    if rest.starts_with(b"/*") {
        return (TokenKind::Comment, block_comment_end(bytes, at));
    }
    if let Some(end) = literal_end(bytes, at) {
        return (TokenKind::Text, end);
    }
    if is_word(rest[0]) {
        let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        return (TokenKind::Code, at + length);
    }
    (TokenKind::Code, at + if rest.starts_with(b"::") { 2 } else { 1 })
}

/// Identifiers may hold letters beyond ASCII; their bytes are all at least 0x80.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Block comments nest.
fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The end of the literal that starts at `at`, if one does: "", b"", c"", r#""#, br"", 'c', b'c'.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let prefix = bytes[at..].iter().take(2).take_while(|byte| matches!(byte, b'b' | b'r' | b'c')).count();
    let raw = prefix > 0 && bytes[at + prefix - 1] == b'r';
    let mut open = at + prefix;
    let mut hashes = 0;
    if raw {
        hashes = bytes[open..].iter().take_while(|byte| **byte == b'#').count();
        open += hashes;
    }
    match bytes.get(open)? {
        b'"' if raw => Some(raw_end(bytes, open + 1, hashes)),
        b'"' => Some(quoted_end(bytes, open + 1, b'"')),
        b'\'' if !raw && is_character(bytes, open) => Some(quoted_end(bytes, open + 1, b'\'')),
        _ => None,
    }
}

/// A quote opens a character and not a lifetime where it closes after one character or an escape.
fn is_character(bytes: &[u8], quote: usize) -> bool {
    match bytes.get(quote + 1) {
        Some(b'\\') => true,
        Some(first) => {
            let length = match first {
                0x00..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            bytes.get(quote + 1 + length) == Some(&b'\'')
        }
        None => false,
    }
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn raw_end(bytes: &[u8], start: usize, hashes: usize) -> usize {
    let closed =
        |at: usize| bytes[at] == b'"' && bytes[at + 1..].iter().take(hashes).filter(|b| **b == b'#').count() == hashes;
    (start..bytes.len()).find(|at| closed(*at)).map_or(bytes.len(), |at| at + 1 + hashes)
}
