//! Results → verdicts. Pure: takes `now`, returns events.

pub mod failure;
pub use failure::Failure;
