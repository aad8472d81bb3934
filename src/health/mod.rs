//! Results → verdicts. Pure: takes `now`, returns events.

pub mod failure;
mod pace;
pub use failure::Failure;
pub use pace::{Pace, PaceRule, Slow};
