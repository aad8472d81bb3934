//! The PROXY header that a connection to an endpoint begins with, where the upstream asks for one: who the client is, as it
//! is known here. What a PROXY header of the client's own proxy said is passed on.

use super::client::{Client, Conveyed};
use super::hello::Hello;
use crate::engine::Stream;
use crate::protocol::proxy::{self, Addresses, Extensions, Header, Version};
use crate::snapshot::{ProxyExtensions, ProxyHeader, Upstream};

/// The header for a connection to this upstream, for this client; empty if the upstream asks for none.
///
/// The ClientHello, where there is one, is the client's own word; what its proxy said of it is asked where there is none.
pub(super) fn announcement(upstream: &Upstream, client: &Client, stream: &Stream, hello: Option<&Hello>) -> Vec<u8> {
    let (version, wanted) = match upstream.proxy_protocol {
        None => return Vec::new(),
        Some(ProxyHeader::V1) => (Version::V1, ProxyExtensions::default()),
        Some(ProxyHeader::V2(wanted)) => (Version::V2 { checksum: wanted.crc32c }, wanted),
    };
    let conveyed = client.conveyed.as_deref();
    let name = hello.and_then(|hello| hello.server_name.as_deref());
    let protocol = hello.and_then(|hello| hello.protocol.as_deref());
    let unique_id = wanted.unique_id.then(|| client.unique_id());
    let extensions = Extensions {
        authority: name.or(conveyed.and_then(|conveyed| conveyed.authority.as_deref())).filter(|_| wanted.sni),
        alpn: protocol.or(conveyed.and_then(|conveyed| conveyed.alpn.as_deref())).filter(|_| wanted.alpn),
        unique_id: unique_id.as_deref(),
    };
    let mut bytes = Vec::new();
    proxy::write(&mut bytes, &Header { addresses: addresses(client, stream), extensions, tls: false }, version);
    bytes
}

fn addresses<'a>(client: &'a Client, stream: &Stream) -> Addresses<'a> {
    match (client.conveyed.as_deref(), client.address.as_ip()) {
        (Some(Conveyed { unix: Some(paths), .. }), _) => Addresses::Unix { source: &paths[0], destination: &paths[1] },
        (Some(Conveyed { destination: Some(destination), .. }), Some(source)) => {
            Addresses::Ip { source, destination: *destination }
        }
        // Of a socket that has an address on one side only, neither would be of use. A client of a Unix socket has none.
        (_, source) => match (source, stream.local_address().ok().and_then(|address| address.as_ip())) {
            (Some(source), Some(destination)) => Addresses::Ip { source, destination },
            _ => Addresses::Unknown,
        },
    }
}
