//! One client connection from accept to close: the only place where engine, protocol, routing, balancing and telemetry
//! meet. `listener` hands a stream over; what happens to it until it closes is written here.
//!
//! | file | what it is |
//! |---|---|
//! | `context` | what all connections of a worker share; a worker's view of the snapshot |
//! | `admission` | whether a new connection is let in, and what happens to one that is not |
//! | `memory` | what is given up when memory is short |
//! | `client` | the client's side of a connection, and its part in the counts |
//! | `opening` | what comes before its protocol: a PROXY header |
//! | `hello` | the ClientHello of TLS that is passed through, and the route for its server name |
//! | `http1` | HTTP/1 on either side: heads, bodies and trailers over a stream; the life of a client connection |
//! | `exchange` | one request and its response, whatever version either side speaks |
//! | `drain` | endpoints that have left: what is relayed to them ends by a deadline |
//! | `affinity` | what binds a request to an endpoint: its key, its cookie, the labels of its route |
//! | `connect` | a connection to an endpoint: an idle one, or a new one |
//! | `breaker` | whether its breaker lets a request through to an upstream |
//! | `announce` | the PROXY header that a new one begins with |
//! | `idle` | idle connections to endpoints |
//! | `names` | what the log calls what a connection began with |
//! | `outcome` | what became of an attempt, told to whoever judges its endpoint |
//! | `tcp`, `relay` | a tcp listener's connection; bytes in both directions |
//! | `volume` | when a direction is bulk, and spliced rather than copied |
//! | `udp` | a udp listener: flows of datagrams |
//!
//! No parsing of configuration, no decision that a pure module could make.

mod admission;
mod affinity;
mod announce;
mod breaker;
mod client;
mod connect;
mod context;
mod drain;
mod exchange;
mod hello;
pub mod http1;
mod idle;
mod memory;
mod names;
mod opening;
mod outcome;
mod relay;
mod tcp;
pub mod udp;
mod volume;

pub use admission::{admit, refuse};
pub use client::{Client, ListenerHandle};
pub(crate) use connect::cure;
pub use context::{Context, View};
pub use memory::keep_to_budget;
pub use opening::{accept, watch_parked};
