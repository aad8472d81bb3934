//! Results → verdicts. Pure: takes `now`, returns events.

mod age;
pub mod failure;
pub mod limits;
pub mod memory;
mod pace;
pub mod probe;

pub use age::is_old;
pub use failure::Failure;
pub use limits::Rate;
pub use pace::{Pace, PaceRule, Slow};
