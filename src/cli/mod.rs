//! cli

pub mod bench;
