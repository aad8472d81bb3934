//! Ringgate is a load balancer and API gateway for one Linux host. This page is the map.
//!
//! # One connection's way through
//!
//! ```text
//!   client                                                                                 endpoint
//!     │ 1                                                                                      ▲
//!     ▼                                                                                        │
//!  listener ──2──► connection ──3──► protocol ──4──► router ──5──► balancer ──6──► connection ─┘
//!  accept          parked until      bytes to        head to       endpoints      an idle connection
//!  admit or        the first byte    a head          a route       to one of      or a new one: head,
//!  refuse          arrives                                         them           body, response back
//!                       │                                                              │
//!                       └── health: what a failure means ◄── 7 ── what happened ───────┘
//!                                                              └──► telemetry: counted, logged
//! ```
//!
//! 1. A worker's own socket (SO_REUSEPORT) takes the connection: [`listener`].
//! 2. It waits without task or buffer until bytes come: [`engine::Parking`], [`connection`].
//! 3. Bytes become a request head: [`protocol::http1`]. A tcp listener skips to 5. A udp listener ([`connection::udp`]) has
//!    no connections: the first datagram of a client goes to 5, those that follow take the same way.
//! 4. The head finds its route: [`router`].
//! 5. The route's upstream gives the endpoint for this attempt: [`balancer`], [`upstream`].
//! 6. The exchange runs: request out, response back, tried again where that is safe: [`connection`].
//! 7. Every failure is one of a table: [`health::failure`]. Everything is counted: [`telemetry`].
//!
//! # The threads
//!
//! ```text
//!   worker-0   worker-1   worker-N      one a core: an engine each, no lock, no blocking call
//!      │  ▲       │  ▲       │  ▲
//!      │  └───────┼──┴───────┼──┴──── snapshot, down: one pointer swap, picked up between requests
//!      ▼          ▼          ▼
//!   counters and log rings, up: read without stopping a worker
//!      │
//!   control (configuration, reload, signals, admin)        log (access log, workers' lines)
//! ```
//!
//! # The rooms, in the order in which a byte meets them
//!
//! | room | what it is |
//! |---|---|
//! | [`cli`] | one file a subcommand; `run` wires control to workers |
//! | [`snapshot`] | the one value that crosses from control to data |
//! | [`worker`] | one data-plane thread |
//! | [`listener`] | sockets that accept |
//! | [`connection`] | one client connection from accept to close |
//! | [`protocol`] | bytes to messages and back; pure |
//! | [`router`] | request head to route; pure |
//! | [`balancer`] | endpoints and load to one endpoint; pure |
//! | [`upstream`] | upstreams and endpoints, and the identities that outlive a table |
//! | [`health`] | what results mean; pure |
//! | [`control`] | configuration, supervisor, admin; threads of its own |
//! | [`engine`] | sockets, timers and tasks of one thread: uring, epoll or simulated |
//! | [`telemetry`] | what is counted and logged |
//! | [`base`] | small containers without domain words |

pub mod cli;
pub mod snapshot;
pub mod worker;

pub mod listener;

pub mod connection;

pub mod protocol;

pub mod router;

pub mod balancer;

pub mod upstream;

pub mod health;

pub mod control;

pub mod engine;

pub mod telemetry;

pub mod base;
