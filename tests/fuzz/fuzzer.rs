//! The fuzzer: one binary for all targets, told by RINGGATE_FUZZ_TARGET which one it is for. `scripts/fuzz` builds and runs
//! it.
#![no_main]

mod targets;

use std::sync::OnceLock;

static CHECK: OnceLock<fn(&[u8])> = OnceLock::new();

fn find() -> fn(&[u8]) {
    let wanted = std::env::var("RINGGATE_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(name, _)| *name == wanted);
    let names = || targets::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.unwrap_or_else(|| panic!("RINGGATE_FUZZ_TARGET={wanted:?}: there are {}", names())).1
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHECK.get_or_init(find)(bytes));
