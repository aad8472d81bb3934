//! Ringgate (the map is written here once the rooms stand).
pub mod balancer;
pub mod base;
pub mod cli;
pub mod connection;
pub mod control;
pub mod engine;
pub mod health;
pub mod listener;
pub mod protocol;
pub mod router;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
pub mod worker;
