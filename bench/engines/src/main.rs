//! Runs the engines that are compared side by side.

fn main() {}
