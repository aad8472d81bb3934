//! Small containers and newtypes that know nothing of load balancing. No domain words here.

pub mod allocations;
pub mod counter;
pub mod memory;
pub mod signal;
pub mod time;

pub use counter::{Counter, Gauge, Sharded};
pub use time::Instant;
