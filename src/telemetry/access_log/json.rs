//! A JSON object written into bytes (RFC 8259), for texts that may hold any byte. Not a serializer: keys are literals of
//! this program and need no escape. The access log writes its records with it, on workers: nothing here allocates as
//! long as the vector has room.

use crate::telemetry::timestamp::rfc3339;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// An object that is being written. Members appear in the order of the calls.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> Object<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Object<'a> {
        Object { out, separator: b'{' }
    }

    pub(super) fn end_line(self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        decimal(self.out, value);
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// RFC 3339 in UTC.
    pub(super) fn time(&mut self, key: &str, micros: u64) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(&rfc3339(micros));
        self.out.push(b'"');
    }

    pub(super) fn address(&mut self, key: &str, address: SocketAddr) {
        self.key(key);
        self.out.push(b'"');
        match address.ip() {
            IpAddr::V4(ip) => {
                for (index, octet) in ip.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(b'.');
                    }
                    decimal(self.out, u64::from(octet));
                }
            }
            IpAddr::V6(ip) => {
                // Writing to a vector cannot fail.
                let _ = write!(self.out, "[{ip}]");
            }
        }
        self.out.push(b':');
        decimal(self.out, u64::from(address.port()));
        self.out.push(b'"');
    }

    /// At most `bytes_max` bytes of the text; "…" stands for the rest. What is not UTF-8 becomes U+FFFD.
    pub(super) fn text(&mut self, key: &str, text: &[u8], bytes_max: usize) {
        self.key(key);
        self.out.push(b'"');
        escape(self.out, &text[..text.len().min(bytes_max)]);
        if text.len() > bytes_max {
            self.out.extend_from_slice("…".as_bytes());
        }
        self.out.push(b'"');
    }
}

/// Bytes that cannot stand in a JSON string as they are (RFC 8259 section 7), DEL, and whatever is not ASCII.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = byte < 0x20 || byte >= 0x7f || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    special
};

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| SPECIAL[usize::from(byte)]) {
        out.extend_from_slice(&rest[..at]);
        if rest[at] >= 0x80 {
            return escape_utf8(out, &rest[at..]);
        }
        escape_ascii(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
    }
}

/// The slow way, from the first byte on that is not ASCII.
fn escape_utf8(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte < 0x80 && SPECIAL[usize::from(byte)] {
                true => escape_ascii(out, byte),
                false => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn parsed(write: impl FnOnce(&mut Object)) -> Value {
        let mut line = Vec::new();
        let mut object = Object::new(&mut line);
        write(&mut object);
        object.end_line();
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(!line.contains(&b'\n'));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn texts_are_cut_at_their_limit() {
        let value = parsed(|object| {
            object.text("cut", b"abcdef", 3);
            object.text("whole", b"abc", 3);
            object.text("within a character", "aé".as_bytes(), 2);
        });
        assert_eq!(value, serde_json::json!({ "cut": "abc…", "whole": "abc", "within a character": "a\u{fffd}…" }));
    }

    #[test]
    fn addresses() {
        let value = parsed(|object| {
            object.address("v4", "10.0.200.3:65535".parse().unwrap());
            object.address("v6", "[2001:db8::1]:80".parse().unwrap());
        });
        assert_eq!(value, serde_json::json!({ "v4": "10.0.200.3:65535", "v6": "[2001:db8::1]:80" }));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_text(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let value = parsed(|object| object.text("text", &text, 100));
            prop_assert_eq!(value["text"].as_str().unwrap(), String::from_utf8_lossy(&text));
        }

        #[test]
        fn any_text_comes_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let value = parsed(|object| object.text("text", text.as_bytes(), 10_000));
            prop_assert_eq!(value["text"].as_str().unwrap(), text);
        }

        #[test]
        fn any_number_comes_back(number: u64) {
            let value = parsed(|object| object.number("number", number));
            prop_assert_eq!(value["number"].as_u64().unwrap(), number);
        }
    }
}
