//! Arguments → run → exit code.
use ringgate::cli::run::{Source, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    run(Source::File(std::env::args().nth(2).unwrap_or_default().into()))
}
