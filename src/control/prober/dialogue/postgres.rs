//! PostgreSQL: an SSLRequest, which any running server answers with one byte and without a line in its log; with a user
//! the beginning of a session, which tells a server that starts up or recovers from one that serves (protocol 3.0,
//! "Message Formats").

use super::{Heard, Step, shown};
use crate::health::probe::ProbeFailure;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const VERSION_3_0: u32 = 196_608;
/// Bytes of a message before a session is there.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
const TERMINATE: &[u8] = b"X\0\0\0\x04";

pub(super) fn step(user: Option<&str>, database: Option<&str>, heard: Heard<'_>) -> Step {
    let Some(user) = user else { return ask(heard) };
    if heard.sent == 0 {
        return Step::Send(startup(user, database));
    }
    let mut rest = heard.bytes;
    loop {
        let (kind, body) = match message(&mut rest) {
            Err(step) => return step,
            Ok(message) => message,
        };
        match kind {
            b'Z' => return Step::Pass(TERMINATE),
            b'E' => return refusal(body),
            // Asked for a password: it serves. Let in without a question: whether the session comes about is still open.
            b'R' if body != [0; 4] => return Step::Pass(b""),
            b'R' | b'S' | b'K' | b'N' | b'v' => {}
            _ => {
                return Step::fail(ProbeFailure::Malformed, format!("no answer of PostgreSQL: \"{}\"", shown(&[kind])));
            }
        }
    }
}

fn ask(heard: Heard<'_>) -> Step {
    match heard.bytes.first() {
        _ if heard.sent == 0 => Step::Send(SSL_REQUEST.to_vec()),
        None => Step::Receive,
        Some(b'S' | b'N') => Step::Pass(b""),
        Some(b'E') => {
            let mut rest = heard.bytes;
            match message(&mut rest) {
                Err(step) => step,
                Ok((_, body)) => refusal(body),
            }
        }
        Some(_) => Step::fail(ProbeFailure::Malformed, format!("no answer of PostgreSQL: \"{}\"", shown(heard.bytes))),
    }
}

/// The next message: its kind and its body.
fn message<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Step> {
    let Some((&[kind, a, b, c, d], after)) = rest.split_first_chunk::<5>() else {
        return Err(Step::Receive);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&len) {
        let why = format!("no answer of PostgreSQL: \"{}\"", shown(rest));
        return Err(Step::fail(ProbeFailure::Malformed, why));
    }
    let Some((body, after)) = after.split_at_checked(len - 4) else {
        return Err(Step::Receive);
    };
    *rest = after;
    Ok((kind, body))
}

/// ErrorResponse: fields of one byte and a text, each ended by a zero.
fn refusal(body: &[u8]) -> Step {
    let fields = body.split(|byte| *byte == 0).filter_map(<[u8]>::split_first);
    let field = |wanted: u8| fields.clone().find(|(name, _)| **name == wanted).map(|(_, text)| shown(text));
    let (state, text) = (field(b'C').unwrap_or_default(), field(b'M').unwrap_or_default());
    Step::fail(ProbeFailure::Answer, format!("PostgreSQL says {state}: {text}"))
}

fn startup(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut body = VERSION_3_0.to_be_bytes().to_vec();
    let named = [("user", Some(user)), ("database", database), ("application_name", Some("ringgate"))];
    for (name, value) in named {
        if let Some(value) = value {
            body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
    }
    body.push(0);
    let mut message = u32::try_from(body.len() + 4).unwrap_or(0).to_be_bytes().to_vec();
    message.append(&mut body);
    message
}
