//! Endpoints + load + key + random number → endpoint. Pure; one algorithm a file.

/// How an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    LeastRequest,
    Random,
}
