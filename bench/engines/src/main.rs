//! Echo and a minimal HTTP/1.1 proxy on our engine and on the published runtimes, to be compared in one run.
//!
//! Every runtime does the same work: no routing, no limits, no timers, and of HTTP only where a head ends and how long
//! the body is. What differs is the runtime alone. `bench/engines/run.py` starts these one after another and measures.

mod framing;
mod on_monoio;
mod on_ringgate;
mod on_tokio;
mod on_tokio_uring;

use clap::{Parser, ValueEnum};
use ringgate::engine::DriverChoice;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Bytes of a receive buffer where the runtime wants one handed in.
pub const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Runtime {
    RinggateUring,
    RinggateEpoll,
    Monoio,
    TokioUring,
    Tokio,
}

/// What each connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Sends back what arrives.
    Echo,
    /// Passes each request to the origin and each response back; connections are kept on both sides.
    Proxy,
    /// Answers each request with a fixed response (tokio only): a cheap origin for the proxies.
    Origin,
    /// Sends back the datagrams that arrive (Ringgate only): a cheap origin for the relays.
    DatagramEcho,
}

/// One runtime doing one kind of work, on the core that it was started on, until it is killed.
#[derive(Clone, Debug, Parser)]
pub struct Arguments {
    #[arg(long)]
    runtime: Runtime,
    #[arg(long)]
    pub mode: Mode,
    /// Where to listen.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where the proxy sends requests to.
    #[arg(long, default_value = "127.0.0.1:9")]
    pub origin: SocketAddr,
    /// Body length of the origin's answers, in bytes.
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{:?} on {}: {error}", arguments.runtime, arguments.listen);
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    match arguments.runtime {
        Runtime::RinggateUring => on_ringgate::serve(arguments, DriverChoice::Uring),
        Runtime::RinggateEpoll => on_ringgate::serve(arguments, DriverChoice::Epoll),
        Runtime::Monoio => on_monoio::serve(arguments),
        Runtime::TokioUring => on_tokio_uring::serve(arguments),
        Runtime::Tokio => on_tokio::serve(arguments),
    }
}
