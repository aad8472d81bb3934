//! Configuration text.

use ringgate::control::config;
use std::net::Ipv4Addr;

/// A configuration is accepted or refused with a report; its text can be shown.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let resolve = |_: &str, port| Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    match config::load_text("fuzz.toml", text, &resolve) {
        Ok(loaded) => {
            let _ = loaded.warnings.to_string();
        }
        Err(report) => assert!(!report.to_string().is_empty()),
    }
}
