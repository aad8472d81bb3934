//! MySQL and MariaDB: the greeting, and with a user a login without password (client/server protocol, "Connection Phase").
//!
//! A connection that ends after the greeting counts at the server as an interrupted one, of which it takes
//! `max_connect_errors` in a row from one host. With a user the login is complete and ends with COM_QUIT.

use super::{Heard, Step, shown};
use crate::health::probe::ProbeFailure;

/// Bytes of a packet before a session is there: greetings and errors are far shorter.
const PACKET_BYTES_MAX: usize = 4_096;
/// CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x8000 | 0x8_0000;
const PROTOCOL_41: u16 = 0x200;
const PACKET_MAX: u32 = 1 << 24;
/// utf8mb4_general_ci, which every server since 5.5 has.
const CHARSET: u8 = 45;
const COM_QUIT: &[u8] = &[1, 0, 0, 0, 1];

pub(super) fn step(user: Option<&str>, heard: Heard<'_>) -> Step {
    let mut packets = Packets(heard.bytes);
    let greeting = match packets.next() {
        Err(step) => return step,
        Ok(packet) => packet,
    };
    match (judge_greeting(greeting.payload), user) {
        (Err(step), _) => step,
        (Ok(()), None) => Step::Pass(b""),
        (Ok(()), Some(user)) if heard.sent == 0 => Step::Send(login(user)),
        (Ok(()), Some(_)) => judge_login(&mut packets, heard.sent),
    }
}

struct Packet<'a> {
    number: u8,
    payload: &'a [u8],
}

/// Packets, one after the other.
struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    fn next(&mut self) -> Result<Packet<'a>, Step> {
        let Some((&[a, b, c, number], rest)) = self.0.split_first_chunk::<4>() else {
            return Err(Step::Receive);
        };
        let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if !(1..=PACKET_BYTES_MAX).contains(&len) {
            let why = format!("no packet of MySQL: \"{}\"", shown(self.0));
            return Err(Step::fail(ProbeFailure::Malformed, why));
        }
        let Some((payload, rest)) = rest.split_at_checked(len) else {
            return Err(Step::Receive);
        };
        self.0 = rest;
        Ok(Packet { number, payload })
    }
}

fn judge_greeting(payload: &[u8]) -> Result<(), Step> {
    let malformed = |why: &str| Err(Step::fail(ProbeFailure::Malformed, format!("no greeting of MySQL: {why}")));
    match payload.split_first() {
        Some((0xff, error)) => Err(refusal(error)),
        Some((10, rest)) => {
            let Some(end) = memchr::memchr(0, rest) else { return malformed("its version has no end") };
            // After the version: thread id, salt, a zero, and the lower half of the capabilities.
            match rest.get(end + 1 + 13..end + 1 + 15) {
                Some(&[low, high]) if u16::from_le_bytes([low, high]) & PROTOCOL_41 != 0 => Ok(()),
                Some(_) => malformed("it is older than 4.1"),
                None => malformed("it is too short"),
            }
        }
        Some((version, _)) => malformed(&format!("protocol version {version}")),
        None => malformed("it is empty"),
    }
}

/// What follows the greeting. `sent` is 1 after the login, 2 after the answer to a change of the method.
fn judge_login(packets: &mut Packets<'_>, sent: usize) -> Step {
    let mut answered = 1;
    loop {
        let packet = match packets.next() {
            Err(step) => return step,
            Ok(packet) => packet,
        };
        match packet.payload {
            [0, ..] => return Step::Pass(COM_QUIT),
            [0xff, error @ ..] => return refusal(error),
            // Another method: an empty password has an empty answer in every one.
            [0xfe, ..] if sent == answered => return Step::Send(vec![0, 0, 0, packet.number.wrapping_add(1)]),
            [0xfe, ..] => answered += 1,
            // caching_sha2_password: the server knows this user; its OK follows.
            [1, 3] => {}
            [1, ..] => {
                return Step::fail(ProbeFailure::Answer, "the login needs a password; the probe's user must have none");
            }
            [byte, ..] => return Step::fail(ProbeFailure::Malformed, format!("packet {byte} after a login")),
            [] => return Step::fail(ProbeFailure::Malformed, "an empty packet after a login"),
        }
    }
}

/// ERR_Packet, after its first byte.
fn refusal(error: &[u8]) -> Step {
    let Some((&[low, high], text)) = error.split_first_chunk::<2>() else {
        return Step::fail(ProbeFailure::Malformed, "an error of MySQL without a number");
    };
    // With the protocol of 4.1 a mark and five bytes of SQL state stand before the text.
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    let code = u16::from_le_bytes([low, high]);
    Step::fail(ProbeFailure::Answer, format!("MySQL error {code}: {}", shown(text)))
}

/// HandshakeResponse41 with an empty password.
fn login(user: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&CAPABILITIES.to_le_bytes());
    payload.extend_from_slice(&PACKET_MAX.to_le_bytes());
    payload.push(CHARSET);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(user.as_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload.extend_from_slice(b"mysql_native_password\0");
    let [a, b, c, _] = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    let mut packet = vec![a, b, c, 1];
    packet.append(&mut payload);
    packet
}
