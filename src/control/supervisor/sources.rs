//! Whether connections to endpoints can come from where the configuration says, asked before anything is published.

use crate::snapshot::{Snapshot, Upstream};
use crate::telemetry::log;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Tries each source address of `snapshot`.
///
/// # Errors
/// The first that cannot be used, with the likely cause.
pub fn try_all(snapshot: &Snapshot) -> Result<(), String> {
    warn_of_fast_open(snapshot);
    snapshot.upstreams.iter().try_for_each(try_one)
}

fn try_one(upstream: &Upstream) -> Result<(), String> {
    let (name, connect) = (&upstream.identity.name, &upstream.connect);
    for source in [connect.source_v4, connect.source_v6].into_iter().flatten() {
        let tried = socket(source).and_then(|socket| socket.bind(&SocketAddr::new(source, 0).into()));
        tried.map_err(|error| {
            let cause = match error.kind() {
                io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
                _ => "",
            };
            format!("upstream `{name}` cannot connect from {source}: {error}{cause}")
        })?;
    }
    if connect.transparent {
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let tried = socket(address).and_then(|socket| set_transparent(&socket, address));
        tried.map_err(|error| format!("upstream `{name}` cannot be transparent: {error}"))?;
    }
    Ok(())
}

fn socket(like: IpAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(SocketAddr::new(like, 0)), Type::STREAM, Some(Protocol::TCP))
}

/// Lets a socket have addresses that are not of this machine.
///
/// # Errors
/// That the process may not, in words.
pub fn set_transparent(socket: &Socket, address: IpAddr) -> io::Result<()> {
    let set = match address {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true),
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true),
    };
    set.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            io::Error::other(format!("{error}; `transparent` needs the capability CAP_NET_ADMIN"))
        }
        _ => error,
    })
}

/// The kernel takes the option and does nothing with it unless it was switched on.
fn warn_of_fast_open(snapshot: &Snapshot) {
    const CLIENT: u32 = 1;
    const SERVER: u32 = 2;
    let Ok(text) = fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen") else { return };
    let Ok(switches) = text.trim().parse::<u32>() else { return };
    let listener = snapshot.listeners.iter().find(|listener| listener.socket.fast_open > 0);
    if let Some(listener) = listener.filter(|_| switches & SERVER == 0) {
        let name = &listener.name;
        log::warn!("`tcp_fastopen` of listener `{name}` does nothing: set sysctl net.ipv4.tcp_fastopen to 3");
    }
    let upstream = snapshot.upstreams.iter().find(|upstream| upstream.connect.fast_open);
    if let Some(upstream) = upstream.filter(|_| switches & CLIENT == 0) {
        let name = &upstream.identity.name;
        log::warn!("`tcp_fastopen` of upstream `{name}` does nothing: set sysctl net.ipv4.tcp_fastopen to 3");
    }
}
