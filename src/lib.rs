//! Ringgate (the map is written here once the rooms stand).
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
