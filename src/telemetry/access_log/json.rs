//! A JSON object written into bytes (RFC 8259), for texts that may hold any byte. Not a serializer: keys are literals of
//! this program and need no escape. The access log writes its records with it, on workers: nothing here allocates as
//! long as the vector has room.

use crate::base::Address;
use crate::telemetry::timestamp::rfc3339;
use std::io::Write as _;
use std::net::IpAddr;

/// A key as it stands in the line, made at compile time: copying it is a few moves and no call.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(super) use key;

/// An object that is being written. Members appear in the order of the calls; their keys come from [`key!`].
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Begins with the member `time`: RFC 3339 in UTC, from microseconds since 1970-01-01 UTC.
    pub(super) fn new(out: &'a mut Vec<u8>, time_micros: u64) -> Object<'a> {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(&rfc3339(time_micros));
        out.push(b'"');
        Object { out }
    }

    pub(super) fn end_line(self) {
        self.out.extend_from_slice(b"}\n");
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.out.extend_from_slice(key.as_bytes());
        decimal(self.out, value);
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub(super) fn address(&mut self, key: &'static str, address: &Address) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b'"');
        let address = match address {
            Address::Ip(address) => address,
            Address::Unix(_) | Address::UnixUnnamed => {
                self.out.extend_from_slice(b"unix:");
                if let Address::Unix(name) = address {
                    escape(self.out, name.as_bytes());
                }
                return self.out.push(b'"');
            }
        };
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
    #[inline(always)]
    pub(super) fn text(&mut self, key: &'static str, text: &[u8], bytes_max: usize) {
        self.out.extend_from_slice(key.as_bytes());
        self.quoted(text, bytes_max);
    }

    fn quoted(&mut self, text: &[u8], bytes_max: usize) {
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
    loop {
        while let Some((eight, after)) = rest.split_first_chunk::<8>()
            && !holds_special(u64::from_ne_bytes(*eight))
        {
            out.extend_from_slice(eight);
            rest = after;
        }
        let Some((&byte, after)) = rest.split_first() else { return };
        match SPECIAL[usize::from(byte)] {
            false => out.push(byte),
            true if byte < 0x80 => escape_ascii(out, byte),
            true => return escape_utf8(out, rest),
        }
        rest = after;
    }
}

/// Whether any of eight bytes may be [`SPECIAL`]; may say so wrongly, which costs a look at each.
///
/// The top bit of a byte of `x - n` is set where the byte was below n, and of `x ^ n - 1` where it was n; borrows can
/// only make it say yes too often (Hacker's Delight, chapter 6, "find first 0-byte").
fn holds_special(eight: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let equals = |byte: u8| (eight ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
    let below_space = eight.wrapping_sub(ONES * 0x20);
    let any = below_space | equals(b'"') | equals(b'\\') | equals(0x7f) | eight;
    any & (ONES * 0x80) != 0
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
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    let mut digits = [0; 20];
    let mut start = digits.len();
    while value >= 10 {
        start -= 2;
        let pair = (value % 100) as usize * 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        value /= 100;
    }
    if value > 0 {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// "00" to "99".
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + number as u8 / 10;
        pairs[number * 2 + 1] = b'0' + number as u8 % 10;
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn parsed(write: impl FnOnce(&mut Object)) -> Value {
        let mut line = Vec::new();
        let mut object = Object::new(&mut line, 0);
        write(&mut object);
        object.end_line();
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(!line.contains(&b'\n'));
        let mut value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value.as_object_mut().unwrap().remove("time").unwrap(), "1970-01-01T00:00:00.000000Z");
        value
    }

    #[test]
    fn texts_are_cut_at_their_limit() {
        let value = parsed(|object| {
            object.text(key!("cut"), b"abcdef", 3);
            object.text(key!("whole"), b"abc", 3);
            object.text(key!("within a character"), "aé".as_bytes(), 2);
        });
        assert_eq!(value, serde_json::json!({ "cut": "abc…", "whole": "abc", "within a character": "a\u{fffd}…" }));
    }

    #[test]
    fn addresses() {
        let value = parsed(|object| {
            object.address(key!("v4"), &Address::Ip("10.0.200.3:65535".parse().unwrap()));
            object.address(key!("v6"), &Address::Ip("[2001:db8::1]:80".parse().unwrap()));
            object.address(key!("unix"), &Address::unix("/run/\"a\".sock"));
            object.address(key!("client"), &Address::UnixUnnamed);
        });
        let (v4, v6) = ("10.0.200.3:65535", "[2001:db8::1]:80");
        let unix = "unix:/run/\"a\".sock";
        assert_eq!(value, serde_json::json!({ "v4": v4, "v6": v6, "unix": unix, "client": "unix:" }));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_as_text(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let value = parsed(|object| object.text(key!("text"), &text, 100));
            prop_assert_eq!(value["text"].as_str().unwrap(), String::from_utf8_lossy(&text));
        }

        #[test]
        fn any_text_comes_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let value = parsed(|object| object.text(key!("text"), text.as_bytes(), 10_000));
            prop_assert_eq!(value["text"].as_str().unwrap(), text);
        }

        #[test]
        fn any_number_comes_back(number: u64) {
            let value = parsed(|object| object.number(key!("number"), number));
            prop_assert_eq!(value["number"].as_u64().unwrap(), number);
        }
    }
}
