//! HTTP/1.0 and 1.1 over streams, on either side of the exchange, and the life of a client's connection.
//!
//! `reader` and `writer` are the two directions of one stream and serve both sides; `sides` puts them under the
//! exchange's interface; `refuse` answers what is not understood; `serve` is a client's connection from its first byte to its last,
//! or to an upgrade, from which on it is a `tunnel`.

mod reader;
mod refuse;
mod serve;
mod sides;
mod tunnel;
mod writer;

pub(super) use serve::{Pair, Spare};
pub(super) use serve::{linger, serve};
