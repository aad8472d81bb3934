//! Request head → route. Pure.

/// Compiled match rules of one listener.
#[derive(Debug, Default)]
pub struct Router {}
