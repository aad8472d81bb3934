//! The PROXY protocol against HAProxy and nginx as they come, on either side of the gateway.

use super::*;
use crate::harness::{HEAD, WEB, certificate, curl};
use std::net::SocketAddr;

on_each_engine!(
    haproxy_sends_each_version,
    haproxy_says_what_tls_the_client_spoke,
    haproxy_sends_over_a_unix_socket,
    nginx_sends,
    haproxy_receives_each_version,
    nginx_receives_each_version,
);

fn wanting_gate(engine: Engine, origin: &Origin) -> Gate {
    let listener = WEB.replacen("address =", "proxy_protocol = [\"127.0.0.0/8\"]\naddress =", 1);
    Gate::start(engine, &format!("{HEAD}{listener}\n[upstream.app]\nendpoints = [\"{}\"]\n", origin.address))
}

/// Asks as a client at 127.0.0.9, and gives the last request that the origin saw.
#[track_caller]
fn ask(origin: &Origin, address: SocketAddr, scheme: &str, more: &[&str]) -> Request {
    let url = format!("{scheme}://{address}/");
    let answer = curl(&[&["--interface", "127.0.0.9", &url], more].concat());
    assert_eq!(answer, "hello");
    origin.requests().pop().expect("it was asked")
}

fn haproxy_sends_each_version(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = wanting_gate(engine, &origin);
    let to = gate.address("web");
    for sending in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
        "send-proxy check-send-proxy check inter 1s",
    ] {
        let rival = Haproxy::start(&format!("send-{}", engine.name()), |address, _| {
            let unique = "unique-id-format from-haproxy";
            format!("listen in\n mode tcp\n bind {address}\n {unique}\n server gate {to} {sending}")
        });
        let request = ask(&origin, rival.address, "http", &[]);
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.9"), "{sending}");
        if sending.contains("unique-id") {
            let record = gate.wait_access("unique_id", "from-haproxy");
            assert!(record["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.9:")), "{record}");
        }
    }
    assert_eq!(gate.metric("ringgate_listener_failures_total", &["proxy_header"]), 0.0);
}

fn haproxy_sends_over_a_unix_socket(engine: Engine) {
    let origin = Origin::text("hello");
    let folder = std::env::temp_dir().join(format!("ringgate-proxy-{}-{}", std::process::id(), engine.name()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let socket = folder.join("web").display().to_string();
    let listener = format!("[[listener]]\naddress = \"unix:{socket}\"\nproxy_protocol = \"unix:\"\nupstream = \"app\"");
    let config = format!("{HEAD}{listener}\n[upstream.app]\nendpoints = [\"{}\"]\n", origin.address);
    let gate = Gate::start(engine, &config);
    for sending in ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c"] {
        let rival = Haproxy::start(&format!("unix-{}", engine.name()), |address, _| {
            format!("listen in\n mode tcp\n bind {address}\n server gate unix@{socket} {sending}")
        });
        let request = ask(&origin, rival.address, "http", &[]);
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.9"), "{sending}");
    }
    drop(gate);
    let _ = std::fs::remove_dir_all(&folder);
}

fn haproxy_says_what_tls_the_client_spoke(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = wanting_gate(engine, &origin);
    let to = gate.address("web");
    for sending in ["send-proxy-v2-ssl", "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,authority,crc32c"] {
        let rival = Haproxy::start(&format!("ssl-{}", engine.name()), |address, folder| {
            certificate(folder, "server");
            certificate(folder, "client");
            let (server, client) = (folder.join("server"), folder.join("client.crt"));
            let tls = format!("ssl crt {} ca-file {} verify required", server.display(), client.display());
            format!("listen in\n mode tcp\n bind {address} {tls}\n server gate {to} {sending}")
        });
        let client = rival.folder().join("client").display().to_string();
        let request = ask(&origin, rival.address, "https", &["-k", "--http1.1", "--cert", &client]);
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.9"), "{sending}");
        assert_eq!(request.field("x-forwarded-proto"), Some("https"), "{sending}");
    }
}

const STREAM_MODULE: &str = "load_module /usr/lib/nginx/modules/ngx_stream_module.so; events {}";

fn nginx_sends(engine: Engine) {
    let origin = Origin::text("hello");
    let gate = wanting_gate(engine, &origin);
    let to = gate.address("web");
    let rival = Nginx::with(&format!("send-{}", engine.name()), |address, _| {
        format!("{STREAM_MODULE} stream {{ server {{ listen {address}; proxy_pass {to}; proxy_protocol on; }} }}")
    });
    let request = ask(&origin, rival.address, "http", &[]);
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.9"));
}

/// Asks twice through a gateway before `receiver`, and checks that it names the client; gives its last answer.
#[track_caller]
fn asked_through(engine: Engine, receiver: SocketAddr, header: &str) -> (String, Gate) {
    let upstream = format!("\n[upstream.app]\n{header}\nendpoints = [\"{receiver}\"]\n");
    let gate = Gate::start(engine, &format!("{HEAD}{WEB}{upstream}"));
    let mut client = Client::connect_from([127, 0, 0, 9], gate.address("web"));
    let (port, to) = (client.local_address().port(), gate.address("web").port());
    client.get("/");
    let answer = client.get("/").text();
    let expected = format!("127.0.0.9 {port} 127.0.0.2 {to}");
    assert!(answer.starts_with(&expected), "{answer} is not {expected}: {header}");
    (answer, gate)
}

const HEADERS: [&str; 3] = [
    "proxy_protocol = \"v1\"",
    "proxy_protocol = \"v2\"",
    "proxy_protocol = \"v2\"\nproxy_protocol_tlvs = [\"sni\", \"alpn\", \"unique_id\", \"crc32c\"]",
];

fn haproxy_receives_each_version(engine: Engine) {
    let rival = Haproxy::start(&format!("receive-{}", engine.name()), |address, _| {
        let shown = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_unique_id]";
        let answer = format!("http-request return status 200 content-type text/plain lf-string \"{shown}\"");
        format!(" timeout http-request 20s\nfrontend in\n mode http\n bind {address} accept-proxy\n {answer}")
    });
    for header in HEADERS {
        let (answer, gate) = asked_through(engine, rival.address, header);
        if header.contains("unique_id") {
            let id = answer.rsplit(' ').next().expect("a last word");
            assert_eq!(id.len(), 32, "{answer}");
            gate.wait_access("unique_id", id);
        }
    }
}

fn nginx_receives_each_version(engine: Engine) {
    let rival = Nginx::with(&format!("receive-{}", engine.name()), |address, _| {
        let client = "$proxy_protocol_addr $proxy_protocol_port";
        let shown = format!("{client} $proxy_protocol_server_addr $proxy_protocol_server_port");
        let paths = "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;";
        format!(
            "events {{}} http {{ access_log off; {paths} server {{ listen {address} proxy_protocol; return 200 \"{shown}\"; }} }}"
        )
    });
    for header in HEADERS {
        asked_through(engine, rival.address, header);
    }
}
