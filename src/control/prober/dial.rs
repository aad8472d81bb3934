//! One probe from its start to its result: connects, and performs the steps of its kind. All I/O of probes over streams.

use super::dialogue::{ANSWER_BYTES_MAX, Fault, Heard, Step, step};
use super::{exec, udp};
use crate::base::Address;
use crate::control::config::values::duration_text;
use crate::health::probe::{Probe, ProbeFailure, ProbeKind, ProbePlace};
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;

/// Where a probe of the endpoint at `endpoint` asks.
pub fn asked_address(place: &ProbePlace, endpoint: &Address) -> Address {
    match (place, endpoint) {
        (ProbePlace::Address(address), _) => address.clone(),
        (ProbePlace::Port(port), Address::Ip(ip)) => Address::Ip(SocketAddr::new(ip.ip(), *port)),
        (ProbePlace::Port(_) | ProbePlace::Endpoint, endpoint) => endpoint.clone(),
    }
}

/// Asks once. Ends within the probe's timeout.
pub async fn probe(probe: &Probe, upstream: &str, endpoint: &Address) -> Result<(), Fault> {
    let address = asked_address(&probe.place, endpoint);
    if let ProbeKind::Exec(command) = &probe.kind {
        return exec::run(command, probe.timeout, &exec::Asked { upstream, endpoint, address: &address }).await;
    }
    let connected = AtomicBool::new(false);
    let asking = async {
        if let ProbeKind::Udp { send, expect } = &probe.kind {
            let to = address.as_ip().ok_or_else(|| Fault::new(ProbeFailure::Local, "no IP address to ask"))?;
            connected.store(true, Ordering::Relaxed);
            return udp::ask(to, source(probe, to.ip()), send, expect).await;
        }
        converse(probe, &address, &connected).await
    };
    match timeout(probe.timeout, asking).await {
        Ok(result) => result,
        Err(_) => Err(late(probe.timeout, connected.load(Ordering::Relaxed))),
    }
}

fn late(limit: Duration, connected: bool) -> Fault {
    let what = if connected { "no whole answer" } else { "no connection" };
    Fault::new(ProbeFailure::Timeout, format!("{what} within {}", duration_text(limit)))
}

async fn converse(probe: &Probe, address: &Address, connected: &AtomicBool) -> Result<(), Fault> {
    let shown = address.to_string();
    match address {
        Address::Ip(to) => {
            let mut stream = connect(*to, source(probe, to.ip())).await.map_err(|error| no_connection(&error))?;
            connected.store(true, Ordering::Relaxed);
            let result = exchange(probe, &shown, &mut stream).await;
            if matches!(&probe.kind, ProbeKind::Tcp { send, expect } if send.is_empty() && expect.is_empty()) {
                // Nothing was said: a reset leaves no socket behind on either side. Whether it takes the option is all one.
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            result
        }
        Address::Unix(_) | Address::UnixUnnamed => {
            let mut stream = connect_unix(address).map_err(|error| no_connection(&error))?;
            connected.store(true, Ordering::Relaxed);
            exchange(probe, &shown, &mut stream).await
        }
    }
}

pub(super) fn source(probe: &Probe, to: IpAddr) -> Option<IpAddr> {
    if to.is_ipv4() { probe.source_v4 } else { probe.source_v6 }
}

async fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// At a Unix socket there is nothing to wait for: it takes the connection, or its queue is full.
fn connect_unix(address: &Address) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address.to_kernel()?)?;
    UnixStream::from_std(std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(socket)))
}

/// What the kernel says of a connection that did not come about.
pub(super) fn no_connection(error: &io::Error) -> Fault {
    let failure = if is_local(error) { ProbeFailure::Local } else { ProbeFailure::Connect };
    Fault::new(failure, plain(error))
}

/// Whether this machine lacks something, and nothing was asked.
fn is_local(error: &io::Error) -> bool {
    let want = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOBUFS,
        libc::EADDRNOTAVAIL,
        libc::EADDRINUSE,
        libc::EACCES,
        libc::EPERM,
    ];
    error.raw_os_error().is_some_and(|code| want.contains(&code))
}

/// The words of an error, without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    probe: &Probe,
    address: &str,
    stream: &mut S,
) -> Result<(), Fault> {
    let broken = |error: io::Error| Fault::new(ProbeFailure::Closed, plain(&error));
    if !probe.preamble.is_empty() {
        stream.write_all(&probe.preamble).await.map_err(broken)?;
    }
    let mut received = Vec::new();
    let (mut sent, mut ended) = (0, false);
    loop {
        match step(&probe.kind, address, Heard { bytes: &received, sent, ended }) {
            Step::Send(bytes) => {
                stream.write_all(&bytes).await.map_err(broken)?;
                sent += 1;
            }
            Step::Receive => ended = receive(stream, &mut received).await.map_err(broken)?,
            Step::Pass(farewell) => {
                // It has passed, whether it still hears this or not.
                let _ = stream.write_all(farewell).await;
                return Ok(());
            }
            Step::Fail(fault) => return Err(fault),
        }
    }
}

/// Waits for more; whether that was all.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S, received: &mut Vec<u8>) -> io::Result<bool> {
    let room = ANSWER_BYTES_MAX.saturating_sub(received.len());
    received.reserve(READ_BYTES.min(room));
    let count = stream.take(room as u64).read_buf(received).await?;
    Ok(count == 0 || received.len() >= ANSWER_BYTES_MAX)
}
