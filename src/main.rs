//! Arguments → run → exit code.

use ringgate::base::heap::Metered;
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Metered<System> = Metered(System);

fn main() -> std::process::ExitCode {
    ringgate::base::memory::refuse_huge_pages();
    ringgate::base::memory::return_large_blocks();
    ringgate::cli::main()
}
