//! Results → verdicts. Pure: takes `now`, returns events.

pub mod failure;
pub mod limits;
pub mod memory;
mod pace;

pub use failure::Failure;
pub use limits::Rate;
pub use pace::{Pace, PaceRule, Slow};
