//! A datagram and its answer. One that is lost is a failure like any other: `fall` decides what several of them mean.

use super::dial::{no_connection, plain};
use super::dialogue::{ANSWER_BYTES_MAX, Fault, contains, not_in};
use crate::health::probe::ProbeFailure;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::UdpSocket;

/// Asks `to`; waits for as long as the caller does.
pub(super) async fn ask(to: SocketAddr, source: Option<IpAddr>, send: &[u8], expect: &[u8]) -> Result<(), Fault> {
    let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await;
    let socket = socket.map_err(|error| Fault::new(ProbeFailure::Local, plain(&error)))?;
    // Connected, so that answers come from there alone, and ICMP says where nothing listens.
    socket.connect(to).await.map_err(|error| no_connection(&error))?;
    socket.send(send).await.map_err(|error| no_connection(&error))?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let len = socket.recv(&mut answer).await.map_err(|error| no_connection(&error))?;
    let answer = answer.get(..len).unwrap_or_default();
    if contains(answer, expect) { Ok(()) } else { Err(Fault::new(ProbeFailure::Answer, not_in(answer, expect))) }
}
