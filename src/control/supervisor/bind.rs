//! Whether workers will be able to bind the listeners that a reload adds. Asked before anything is published, because a
//! reload applies as a whole or not at all. The sockets that workers share are opened here, and let go of here.

use super::{sources, unix};
use crate::base::Address;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::log;
use crate::upstream::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Binds each address of the first snapshot and lets it go again.
///
/// # Errors
/// The first address that cannot be bound, with the likely cause.
pub fn bind_first(snapshot: &Snapshot) -> Result<(), String> {
    sources::try_all(snapshot)?;
    try_all(snapshot.listeners.iter())
}

/// Binds each added address and lets it go again.
///
/// # Errors
/// The first address that cannot be bound, with the likely cause.
pub fn try_added(old: &Snapshot, new: &Snapshot) -> Result<(), String> {
    sources::try_all(new)?;
    try_all(added(old, new))
}

/// The listeners of `new` that `old` does not have.
pub fn added<'s>(old: &'s Snapshot, new: &'s Snapshot) -> impl Iterator<Item = &'s Listener> {
    let held = |id: u32| old.listeners.iter().any(|listener| listener.identity.id == id);
    new.listeners.iter().filter(move |listener| !held(listener.identity.id))
}

/// Lets go of the shared sockets that `new` does not have, after it was published and before workers are woken: from now
/// on clients are refused, and the workers find in the queue all that is left to be accepted.
pub fn retire_removed(old: &Snapshot, new: &Snapshot) {
    added(new, old).for_each(retire);
}

/// Lets go of all shared sockets.
pub fn retire_all(snapshot: &Snapshot) {
    snapshot.listeners.iter().for_each(retire);
}

fn retire(listener: &Listener) {
    if let Some(socket) = listener.identity.shared.swap(None) {
        socket.retire();
    }
}

/// Gives the files of sockets that stay the permissions that `new` wants.
pub fn set_modes(old: &Snapshot, new: &Snapshot) {
    for listener in &new.listeners {
        let Some(path) = listener.address.path() else { continue };
        let earlier = old.listeners.iter().find(|earlier| earlier.identity.id == listener.identity.id);
        if earlier.is_some_and(|earlier| earlier.socket.mode != listener.socket.mode)
            && let Err(error) = unix::set_mode(path, listener.socket.mode)
        {
            log::error!("the permissions of {} cannot be changed: {error}", listener.address);
        }
    }
}

/// All of them, or none and why.
fn try_all<'a>(added: impl Iterator<Item = &'a Listener>) -> Result<(), String> {
    let mut opened: Vec<&Listener> = Vec::new();
    for listener in added {
        let tried = match listener.address {
            Address::Ip(address) => {
                let bound = try_bind(address, listener.protocol.transport(), listener.socket.transparent);
                bound.map(Address::Ip).map_err(|error| explain(&error))
            }
            Address::Unix(_) | Address::UnixUnnamed => open(listener).map(|()| {
                opened.push(listener);
                listener.address.clone()
            }),
        };
        match tried {
            // A value that is there already is the same listener's, which a drain of an earlier removal still holds.
            Ok(bound) => _ = listener.identity.bound.set(bound),
            Err(why) => {
                opened.into_iter().for_each(retire);
                let Listener { name, address, .. } = listener;
                return Err(format!("listener `{name}` cannot listen at {address}: {why}"));
            }
        }
    }
    Ok(())
}

fn open(listener: &Listener) -> Result<(), String> {
    let socket = unix::open(&listener.address, listener.socket.mode)?;
    listener.identity.shared.store(Some(Arc::new(socket)));
    Ok(())
}

/// Binds without listening: no connection can end up in the queue of a socket that nobody serves; datagrams are lost for
/// this moment, as they were before it. Gives the address,
/// with the port that was found for port 0.
fn try_bind(address: SocketAddr, transport: Transport, transparent: bool) -> io::Result<SocketAddr> {
    let (kind, protocol) = match transport {
        Transport::Stream => (Type::STREAM, Protocol::TCP),
        Transport::Datagram => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if transport == Transport::Stream {
        // Of a datagram socket it would make an address free that another program has.
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(true)?;
    if transparent {
        sources::set_transparent(&socket, address.ip())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.local_addr()?.as_socket().unwrap_or(address))
}

fn explain(error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_found_and_a_free_one_stays_free() {
        let check = |address, transport, taken: Box<dyn std::any::Any>| {
            let tried = try_bind(address, transport, false).map_err(|error| error.kind());
            assert_eq!(tried, Err(io::ErrorKind::AddrInUse));
            drop(taken);
            assert!(try_bind(address, transport, false).is_ok());
            assert!(try_bind(address, transport, false).is_ok());
        };
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        check(tcp.local_addr().expect("it has an address"), Transport::Stream, Box::new(tcp));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback can be bound");
        check(udp.local_addr().expect("it has an address"), Transport::Datagram, Box::new(udp));
    }
}
