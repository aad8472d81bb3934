//! A connection, and where there is something to send or to expect, that exchange of bytes.

use super::{Heard, Step, contains, not_in};
use crate::health::probe::ProbeFailure;

pub(super) fn step(send: &[u8], expect: &[u8], heard: Heard<'_>) -> Step {
    if heard.sent == 0 && !send.is_empty() {
        return Step::Send(send.to_vec());
    }
    if contains(heard.bytes, expect) {
        return Step::Pass(b"");
    }
    match heard.ended && !heard.bytes.is_empty() {
        true => Step::fail(ProbeFailure::Answer, not_in(heard.bytes, expect)),
        false => Step::Receive,
    }
}
