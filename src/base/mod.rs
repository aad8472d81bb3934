//! Small containers and newtypes that know nothing of load balancing. No domain words here.

pub mod address;
pub mod allocations;
pub mod bell;
pub mod counter;
pub mod heap;
pub mod memory;
pub mod networks;
pub mod secret;
pub mod shared_socket;
pub mod signal;
pub mod time;

pub use address::Address;
pub use bell::Bell;
pub use counter::{Counter, Gauge, Sharded};
pub use networks::Networks;
pub use secret::Secret;
pub use shared_socket::SharedSocket;
pub use time::Instant;
