//! Arguments → run → exit code.

fn main() -> std::process::ExitCode {
    ringgate::cli::main()
}
