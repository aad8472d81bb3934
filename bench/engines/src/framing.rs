//! Where an HTTP/1.1 head ends and how many bytes of body follow: all that the minimal proxies know of HTTP.
//!
//! Enough for the requests without a body and the answers with a Content-Length that the benchmark makes; anything
//! else is an error, so that a measurement never passes over it. Not a parser: the product's is `ringgate::protocol`.

use memchr::memmem;
use std::io;

/// Whether `request` (one or more heads without bodies) is whole.
pub fn request_is_whole(request: &[u8]) -> bool {
    request.ends_with(b"\r\n\r\n")
}

/// Counts a response down as its bytes pass.
#[derive(Default)]
pub struct ResponseEnd {
    /// Body bytes that are yet to come; `None` before the head.
    left: Option<usize>,
}

impl ResponseEnd {
    /// Whether the response ends with these bytes. The head must come in one piece.
    pub fn after(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let (expected, came) = match self.left {
            Some(left) => (left, bytes.len()),
            None => {
                let head = memmem::find(bytes, b"\r\n\r\n").ok_or_else(|| invalid("a head in pieces"))? + 4;
                (content_length(&bytes[..head])?, bytes.len() - head)
            }
        };
        let left = expected.checked_sub(came).ok_or_else(|| invalid("more bytes than the response has"))?;
        self.left = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let name = b"content-length: ";
    let value = head
        .windows(name.len())
        .position(|window| window.eq_ignore_ascii_case(name))
        .map(|at| &head[at + name.len()..])
        .ok_or_else(|| invalid("a response without Content-Length"))?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0usize, |sum, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the benchmark does not expect {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_ends_where_its_content_length_says() {
        let mut end = ResponseEnd::default();
        assert!(!end.after(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nab").unwrap());
        assert!(!end.after(b"cd").unwrap());
        assert!(end.after(b"ef").unwrap());
        assert!(end.after(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").unwrap());
        assert!(end.after(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy").is_err());
        assert!(ResponseEnd::default().after(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
