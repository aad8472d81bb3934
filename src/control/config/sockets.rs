//! The options of sockets: of listeners', and of connections to endpoints.

use super::reader::{Placed, Reader};
use super::report::Mistake;
use super::settings::EndpointSettings;
use super::upstreams::count;
use super::values;
use crate::base::Address;
use crate::snapshot::{ConnectSettings, SocketSettings, TcpSocket};
use std::net::IpAddr;

/// The options of a listener's sockets. What its kind of socket has no place for is refused.
pub fn of_listener(reader: &Reader<'_, '_>, address: &Address) -> SocketSettings {
    if address.is_unix() {
        for key in ["tcp_keepalive", "tcp_user_timeout", "tcp_fastopen", "transparent"] {
            refuse(reader, key, "a Unix socket has none of TCP");
        }
    }
    if address.path().is_none() {
        refuse(reader, "socket_mode", "only a Unix socket with a path has a file");
    }
    let mode = reader.text_with("socket_mode", "permissions such as \"660\"", values::file_mode);
    SocketSettings {
        mode: mode.map_or(SocketSettings::default().mode, |mode| mode.value),
        tcp: tcp(reader),
        fast_open: count(reader, "tcp_fastopen"),
        transparent: reader.boolean("transparent"),
    }
}

fn refuse(reader: &Reader<'_, '_>, key: &str, why: &str) {
    if reader.raw(key).is_some() {
        let mistake = Mistake::error(format!("`{key}` has no meaning here"), reader.key_place(key), why);
        reader.mistake(mistake.and(reader.value_place("address"), "this says where"));
    }
}

fn tcp(reader: &Reader<'_, '_>) -> TcpSocket {
    let optional = |key: &str| reader.raw(key).map(|_| reader.duration(key));
    TcpSocket { keepalive: optional("tcp_keepalive"), user_timeout: optional("tcp_user_timeout") }
}

/// The options of connections to `endpoints`.
pub fn of_upstream(reader: &Reader<'_, '_>, endpoints: &[EndpointSettings]) -> ConnectSettings {
    let transparent = reader.boolean("transparent");
    let mut settings = ConnectSettings {
        tcp: tcp(reader),
        fast_open: reader.boolean("tcp_fastopen"),
        transparent,
        ..ConnectSettings::default()
    };
    for source in reader.words("source_address", values::ip_address).unwrap_or_default() {
        let place = match source.value {
            IpAddr::V4(_) => &mut settings.source_v4,
            IpAddr::V6(_) => &mut settings.source_v6,
        };
        if place.replace(source.value).is_some() {
            let title = "two source addresses of one family";
            reader.mistake(Mistake::error(title, source.place, "at most one of IPv4 and one of IPv6"));
        } else if transparent {
            refuse_both(reader, &source);
        }
    }
    if settings.source_v4.is_some() || settings.source_v6.is_some() {
        refuse_other_family(reader, &settings, endpoints);
    }
    settings
}

fn refuse_both(reader: &Reader<'_, '_>, source: &Placed<IpAddr>) {
    let title = "`source_address` and `transparent` say two things";
    let mistake = Mistake::error(title, source.place.clone(), "connections come from this address, or");
    reader.mistake(mistake.and(reader.value_place("transparent"), "from the client's"));
}

fn refuse_other_family(reader: &Reader<'_, '_>, settings: &ConnectSettings, endpoints: &[EndpointSettings]) {
    let unreachable = |endpoint: &&EndpointSettings| match endpoint.address.ip() {
        Some(IpAddr::V4(_)) => settings.source_v4.is_none(),
        Some(IpAddr::V6(_)) => settings.source_v6.is_none(),
        None => false,
    };
    if let Some(EndpointSettings { address, .. }) = endpoints.iter().find(unreachable) {
        let title = format!("`source_address` has no address to reach endpoint {address} from");
        let mistake = Mistake::error(title, reader.value_place("source_address"), "these are of the other IP version");
        reader.mistake(mistake.help("write a list with an IPv4 and an IPv6 address, or make two upstreams"));
    }
}
