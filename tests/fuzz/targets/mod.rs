//! What must hold for any bytes at all: one file for each target, with a `check` that panics where something does not hold.
//!
//! The fuzzer (`fuzzer.rs`) calls a check with bytes that it makes up, the everyday tests (`tests/it/corpus.rs`) with the
//! seeds in `corpus` and with changed seeds. Whoever adds a target adds a file here, its name to the list and its seeds.

use ringgate::protocol::http1::{HeadLimits, Parsed};

macro_rules! targets {
    ($($name:ident,)*) => {
        $(mod $name;)*
        /// Every target by its name, which is that of its folder of seeds too.
        pub const ALL: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::check)),*];
    };
}

targets! {
    chunked_body,
    client_hello,
    configuration,
    path,
    probe_answer,
    proxy_header,
    request_head,
    response_head,
}

const HEAD_LIMITS: HeadLimits = HeadLimits { head_max: 2048, headers_max: 20, target_max: 512 };

/// A part is never read as a whole head, nor a good head's part as bad.
fn check_part(bytes: &[u8], mut parse: impl FnMut(&[u8]) -> Option<Parsed>, len: Option<usize>) {
    let cut = bytes.len() / 2;
    let part = parse(&bytes[..cut]);
    match len {
        Some(_) if cut < bytes.len() => assert_eq!(part, Some(Parsed::Partial)),
        _ => assert!(!matches!(part, Some(Parsed::Complete(len)) if len > cut)),
    }
}
