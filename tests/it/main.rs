//! The real binary from outside: each scenario starts origins, starts `ringgate run` on a file, speaks to it as a client
//! would and says what it expects. It knows nothing of the inside; what a module decides is tested beside the module. `corpus`
//! alone calls the library: it runs the checks of the fuzz targets over their seeds.
//!
//! A scenario is a function of the engine, listed in `on_each_engine!`; nothing sleeps, and nothing asserts a duration.

mod harness;

use harness::{Client, Engine, Gate, Haproxy, Nginx, Origin, Request, Response, on_each_engine};

mod balance;
mod buffering;
mod conformance;
mod corpus;
mod crowd;
mod cut;
mod errors;
mod forwarding;
mod framing;
mod guides;
mod health;
mod keep_alive;
mod limits;
mod memory;
mod outside;
mod pipelining;
mod probes;
mod proxy;
mod proxy_rivals;
mod reload;
mod retry;
mod signals;
mod sni;
mod slow;
mod sockets;
mod splicing;
mod surroundings;
mod tcp;
mod udp;
mod unix;
