//! Bytes ⇄ messages. Pure: values in, values out; no sockets, no clock, not async, and nothing here allocates once its
//! reused storage is warm.
//!
//! [`http`] is the message model, which knows no HTTP version; [`http1`] reads and writes it as HTTP/1.0 and HTTP/1.1.
//! [`proxy`] is what may come before a connection's own bytes, [`client_hello`] how those of TLS begin. `connection` calls
//! them all; `router` borrows [`http::Method`].

pub mod client_hello;
pub mod http;
pub mod http1;
pub mod proxy;
