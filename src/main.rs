//! Arguments → run → exit code.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ringgate::base::memory::refuse_huge_pages();
    ringgate::cli::main()
}
