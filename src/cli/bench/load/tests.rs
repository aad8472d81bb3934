//! The load against a server on the same simulated engine: time is virtual, so a stall is exact.

use super::super::exchange::{Expectation, Work};
use super::*;
use crate::engine::DriverChoice;
use crate::protocol::http::Method;

/// Settings of a closed loop with one connection, to be changed by the test.
pub fn settings(url: &str) -> Settings {
    let address = "127.0.0.1:80".parse().unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    Settings {
        url: url.to_owned(),
        address,
        work: Work::Http { request: request.into(), method: Method::Get },
        expectation: Expectation { status: None, length: None, any_length: false },
        connections: 1,
        threads: 1,
        duration: Some(Duration::from_secs(10)),
        requests: None,
        warm_up: Duration::ZERO,
        rate: None,
        spin: false,
        new_connection: false,
        timeout: Duration::from_secs(10),
        driver: DriverChoice::Auto,
    }
}
