//! Who may ask for what. The admin listener has no passwords, so it must not be reachable by way of a browser on the
//! same machine, and what changes something is for this machine alone.
//!
//! Three rules: a request with an `Origin` comes from a web page and is refused; a request from this machine must name
//! this machine in `Host`, because a name that a web page chose could have been bound to 127.0.0.1 (DNS rebinding); only
//! this machine may use any method but GET and HEAD.

use super::Client;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

/// Refuses what the rules refuse and hands on the rest.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Client>().copied();
    let allowed = client
        .map_or(Err("the client is unknown"), |Client(client)| check(client.ip(), request.method(), request.headers()));
    match allowed {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, format!("refused: {why}\n")).into_response(),
    }
}

fn check(client: IpAddr, method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Err("requests from web pages are not answered (the request has an Origin)");
    }
    if !client.to_canonical().is_loopback() {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        return if reads { Ok(()) } else { Err("only clients on this machine may change anything") };
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() || !names_an_address(host) {
        return Err("Host must be localhost or an address");
    }
    Ok(())
}

/// `localhost` or an IP address, with or without a port. An address cannot be rebound, a name can.
fn names_an_address(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, port)| match port.parse::<u16>() {
        Ok(_) => name,
        Err(_) => host,
    });
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_is(client: &str, method: Method, pairs: &[(&'static str, &'static str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        assert_eq!(check(client.parse().unwrap(), &method, &headers).is_ok(), expected, "{pairs:?}");
    }

    #[test]
    fn this_machine_must_be_named() {
        for host in ["localhost", "LOCALHOST:9900", "127.0.0.1", "127.0.0.1:9900", "[::1]:9900", "[::1]", "10.1.2.3:80"]
        {
            check_is("127.0.0.1", Method::POST, &[("host", host)], true);
            check_is("::ffff:127.0.0.1", Method::POST, &[("host", host)], true);
        }
        for host in
            ["", "evil.example", "evil.example:9900", "localhost.evil.example", "127.0.0.1.evil.example", "a:b:c"]
        {
            check_is("127.0.0.1", Method::POST, &[("host", host)], false);
            check_is("::1", Method::GET, &[("host", host)], false);
        }
        check_is("127.0.0.1", Method::GET, &[], false);
        check_is("127.0.0.1", Method::GET, &[("host", "localhost"), ("host", "localhost")], false);
    }

    #[test]
    fn web_pages_are_refused() {
        check_is("127.0.0.1", Method::POST, &[("host", "localhost"), ("origin", "http://localhost")], false);
        check_is("127.0.0.1", Method::GET, &[("host", "localhost"), ("origin", "null")], false);
    }

    #[test]
    fn others_may_read_only() {
        check_is("10.0.0.9", Method::GET, &[("host", "ringgate.internal:9900")], true);
        check_is("10.0.0.9", Method::HEAD, &[("host", "ringgate.internal:9900")], true);
        check_is("10.0.0.9", Method::POST, &[("host", "10.0.0.1:9900")], false);
    }
}
