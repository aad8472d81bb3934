//! Redis: PING, after AUTH where there is a password (RESP, the Redis serialization protocol).

use super::{Heard, Step, shown};
use crate::health::probe::{ProbeFailure, Secret};

/// Bytes of a line; an error message is far shorter.
const LINE_BYTES_MAX: usize = 1_024;

pub(super) fn step(user: Option<&str>, password: Option<&Secret>, heard: Heard<'_>) -> Step {
    if heard.sent == 0 {
        let mut bytes = Vec::new();
        if let Some(Secret(password)) = password {
            let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password.as_str()]).collect();
            write_command(&mut bytes, &words);
        }
        write_command(&mut bytes, &["PING"]);
        return Step::Send(bytes);
    }
    let expected = if password.is_some() { &["+OK", "+PONG"][..] } else { &["+PONG"] };
    let mut rest = heard.bytes;
    for expected in expected {
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else {
            return match rest.len() {
                0..=LINE_BYTES_MAX => Step::Receive,
                _ => Step::fail(ProbeFailure::Malformed, format!("no answer of Redis: \"{}\"", shown(rest))),
            };
        };
        let line = &rest[..end];
        rest = &rest[end + 2..];
        match line.first() {
            Some(_) if line == expected.as_bytes() => {}
            Some(b'-') => {
                let help = if line.starts_with(b"-NOAUTH") { "; set `password`" } else { "" };
                return Step::fail(ProbeFailure::Answer, format!("Redis says \"{}\"{help}", shown(&line[1..])));
            }
            _ => return Step::fail(ProbeFailure::Malformed, format!("no answer of Redis: \"{}\"", shown(line))),
        }
    }
    Step::Pass(b"")
}

/// A command as an array of bulk strings, so that no password needs quotes.
fn write_command(bytes: &mut Vec<u8>, words: &[&str]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}
