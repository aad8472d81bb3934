//! What the gateway changes in a request and in a response, what it leaves, and when it becomes a tunnel.

use super::*;
use crate::harness::WEB;

on_each_engine!(
    removes_what_belongs_to_one_hop,
    tells_the_origin_about_the_client,
    believes_only_trusted_clients,
    gives_each_request_an_id,
    rewrites_the_absolute_form,
    passes_the_asterisk_form,
    routes_by_the_path_that_the_origin_gets,
    tunnels_after_101,
    a_refused_upgrade_stays_http,
    picks_the_most_specific_route,
    spreads_over_endpoints,
);

fn removes_what_belongs_to_one_hop(engine: Engine) {
    let origin = Origin::http(|_| {
        let response = Response::ok("").with("Connection", "X-Private").with("X-Private", "1").with("X-Kept", "2");
        response.with("Keep-Alive", "timeout=5").with("Proxy-Authenticate", "Basic")
    });
    let gate = Gate::http(engine, &[&origin]);
    let fields = "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 3\r\nProxy-Connection: x\r\nTE: trailers\r\nX-End: 2\r\n";
    let response = gate.client().send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).response();
    let request = origin.request();
    for gone in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(request.field(gone), None, "{gone}");
    }
    assert_eq!((request.field("x-end"), request.field("host")), (Some("2"), Some("a")));
    assert_eq!((response.field("x-private"), response.field("keep-alive")), (None, None));
    assert_eq!(response.field("x-kept"), Some("2"));
}

fn tells_the_origin_about_the_client(engine: Engine) {
    let origin = Origin::text("");
    let gate = Gate::http(engine, &[&origin]);
    let claims = "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.9.9.9\r\n";
    gate.client().send(format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{claims}\r\n")).response();
    let request = origin.request();
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop.example"]);
    let forwarded = request.all("forwarded");
    assert_eq!(forwarded.len(), 1, "{forwarded:?}");
    assert!(forwarded[0].contains("for=127.0.0.1") && !forwarded[0].contains("10.9.9.9"), "{forwarded:?}");
}

fn believes_only_trusted_clients(engine: Engine) {
    let origin = Origin::text("");
    let config = Gate::http_config(&[&origin], "");
    let trusting = WEB.replacen("protocol = \"http\"\n", "protocol = \"http\"\ntrusted = [\"127.0.0.0/8\"]\n", 1);
    let gate = Gate::start(engine, &config.replace(WEB, &trusting));
    let claims = "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n";
    gate.client().send(format!("GET / HTTP/1.1\r\nHost: inner\r\n{claims}\r\n")).response();
    let request = origin.request();
    assert_eq!(request.all("x-forwarded-for").join(", "), "10.9.9.9, 127.0.0.1");
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop.example"]);
}

fn gives_each_request_an_id(engine: Engine) {
    let origin = Origin::text("");
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for _ in 0..3 {
        client.get("/");
    }
    let mut ids: Vec<String> =
        origin.requests().iter().map(|request| request.field("x-request-id").unwrap_or_default().to_string()).collect();
    ids.sort();
    ids.dedup();
    assert!(ids.len() == 3 && ids.iter().all(|id| id.len() >= 16), "{ids:?}");
}

fn rewrites_the_absolute_form(engine: Engine) {
    let origin = Origin::text("");
    let gate = Gate::http(engine, &[&origin]);
    gate.client().send("GET http://shop.example/a?b=c HTTP/1.1\r\nHost: other.example\r\n\r\n").response();
    let request = origin.request();
    // RFC 9112 section 3.2.2: the host of the target wins over the field.
    assert_eq!((request.target.as_str(), request.all("host")), ("/a?b=c", vec!["shop.example"]));
}

fn passes_the_asterisk_form(engine: Engine) {
    let origin = Origin::text("");
    let gate = Gate::http(engine, &[&origin]);
    assert_eq!(gate.client().send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").response().status, 200);
    let request = origin.request();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("OPTIONS", "*"));
}

/// The route's view of a path is the origin's, whatever the listener does with it.
fn routes_by_the_path_that_the_origin_gets(engine: Engine) {
    for (policy, sent, expected) in [
        ("merge", "/x/..//%61dmin/./?q=/../%61", Some(("admin", "/admin/?q=/../%61"))),
        ("merge", "http://a//admin/x", Some(("admin", "/admin/x"))),
        ("resolve", "/x/../admin/a//b", Some(("admin", "/admin/a//b"))),
        ("resolve", "//admin", Some(("all", "//admin"))),
        ("strict", "/%61dmin", Some(("admin", "/admin"))),
        ("strict", "//admin", None),
        ("strict", "/x%2Fadmin", None),
        ("off", "/x/../admin", Some(("all", "/x/../admin"))),
        ("off", "/%61dmin//", Some(("all", "/%61dmin//"))),
    ] {
        let origins = ["all", "admin"].map(|_| Origin::http(|request| Response::ok(request.target.clone())));
        let config = Gate::http_config(&[&origins[0]], "");
        let listener = format!("protocol = \"http\"\npath_normalize = \"{policy}\"\n");
        let mut config = config.replacen("protocol = \"http\"\n", &listener, 1);
        config.push_str("[[route]]\nlistener = \"web\"\npath = \"/admin\"\nupstream = \"admin\"\n");
        config.push_str(&format!("[upstream.admin]\nendpoints = [\"{}\"]\n", origins[1].address));
        let gate = Gate::start(engine, &config);
        let response = gate.client().send(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n")).response();
        let Some((upstream, target)) = expected else {
            assert_eq!(response.status, 400, "{policy} {sent}");
            gate.wait_access("reason", "request_path_refused");
            continue;
        };
        assert_eq!((response.status, response.text().as_str()), (200, target), "{policy} {sent}");
        assert_eq!(origins[usize::from(upstream == "admin")].request().target, target, "{policy} {sent}");
        let record = gate.wait_access("status", 200);
        assert_eq!(record["path"], target.split('?').next().unwrap_or_default(), "{policy} {sent}");
    }
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn tunnels_after_101(engine: Engine) {
    let origin = Origin::upgrade_echo();
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    let response = client.send(UPGRADE).response();
    assert_eq!((response.status, response.field("upgrade")), (101, Some("websocket")));
    for round in 0..10 {
        let frame = format!("GET /{round} HTTP/1.1\r\n\r\n\0\u{1}");
        client.send(&frame).expect(&frame);
    }
    client.shutdown_write().expect_end();
}

fn a_refused_upgrade_stays_http(engine: Engine) {
    let origin = Origin::http(|request| Response::ok(request.target.clone()));
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    // What follows is a request and no tunnel: it must be parsed, not passed on.
    client.send(format!("{UPGRADE}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().text(), "/chat");
    assert_eq!(client.response().text(), "/next");
}

fn picks_the_most_specific_route(engine: Engine) {
    let named = |name: &'static str| Origin::text(name);
    let origins = ["any", "host", "wild", "deep", "exact"].map(named);
    let mut config = format!("{}{}", crate::harness::HEAD, WEB.replace("\"app\"", "\"any\""));
    for (name, rule) in [
        ("host", "host = \"a.example.com\""),
        ("wild", "host = \"*.example.com\""),
        ("deep", "path = \"/v1/deep/\""),
        ("exact", "path_exact = \"/v1/deep/one\""),
    ] {
        config.push_str(&format!("[[route]]\nlistener = \"web\"\n{rule}\nupstream = \"{name}\"\n"));
    }
    for (name, origin) in ["any", "host", "wild", "deep", "exact"].iter().zip(&origins) {
        config.push_str(&format!("[upstream.{name}]\nendpoints = [\"{}\"]\n", origin.address));
    }
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    for (host, path, expected) in [
        ("other", "/", "any"),
        ("A.Example.COM:80", "/", "host"),
        ("b.c.example.com", "/v1/deep/one", "wild"),
        ("other", "/v1/deep/two", "deep"),
        ("other", "/v1/deeper", "any"),
        ("other", "/v1/deep/one", "exact"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), expected, "{host}{path}");
    }
}

fn spreads_over_endpoints(engine: Engine) {
    for balance in ["round_robin", "least_request", "random"] {
        let origins = [Origin::text("a"), Origin::text("b"), Origin::text("c")];
        let all: Vec<&Origin> = origins.iter().collect();
        let gate = Gate::start(engine, &Gate::http_config(&all, &format!("balance = \"{balance}\"")));
        let mut client = gate.client();
        for _ in 0..90 {
            assert_eq!(client.get("/").status, 200);
        }
        let counts: Vec<usize> = origins.iter().map(|origin| origin.requests().len()).collect();
        assert!(counts.iter().all(|count| *count > 0), "{balance}: {counts:?}");
        if balance == "round_robin" {
            assert_eq!(counts, [30, 30, 30]);
        }
    }
}
