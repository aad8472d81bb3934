//! Where connections come from and the options of their sockets: source addresses, the client's own among them, IPv6,
//! keep-alive, user timeout, fast open. What needs routes or broken links runs in network namespaces of its own.

use super::*;
use crate::harness::{HEAD, Namespace, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

on_each_engine!(
    ipv6_before_and_behind,
    connects_from_the_source_address,
    a_source_address_of_another_machine_is_refused,
    a_source_port_serves_each_endpoint,
    endpoints_see_the_clients_own_address,
    a_tcp_client_is_seen_by_its_own_address,
    a_transparent_upstream_never_mixes_clients,
    a_transparent_listener_accepts_for_others,
    keep_alive_finds_a_client_that_is_gone,
    the_user_timeout_finds_an_endpoint_that_is_gone,
    options_follow_a_reload,
    fast_open_saves_a_round_trip,
);

/// An origin that answers each request with the address that its connection comes from.
struct Mirror {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Mirror {
    fn over(listener: TcpListener) -> Mirror {
        let (address, accepted) = (listener.local_addr().expect("a bound socket"), Arc::new(AtomicUsize::new(0)));
        let counted = accepted.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || _ = Mirror::serve(stream));
            }
        });
        Mirror { address, accepted }
    }

    fn at(namespace: &Namespace, address: &'static str) -> Mirror {
        Mirror::over(namespace.run(move || TcpListener::bind(address).expect("the namespace has the address")))
    }

    /// A line of anything, or a head, is answered.
    fn serve(stream: TcpStream) -> std::io::Result<()> {
        let who = stream.peer_addr()?.ip().to_string();
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            if line == "who\n" {
                writeln!(stream, "{who}")?;
            } else if line == "\r\n" {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{who}", who.len())?;
            }
            line.clear();
        }
        Ok(())
    }
}

fn file(listener: &str, upstream: &str) -> String {
    format!("{HEAD}[[listener]]\nname = \"web\"\nupstream = \"app\"\n{listener}\n[upstream.app]\n{upstream}\n")
}

fn endpoint(mirror: &Mirror) -> String {
    format!("endpoints = [\"{}\"]\n", mirror.address)
}

/// A client, the gateway and an origin, each in a namespace, with the gateway between the two others.
struct Net {
    client: Namespace,
    gateway: Namespace,
    origin: Namespace,
}

impl Net {
    fn new() -> Net {
        let (client, gateway, origin) = (Namespace::new(), Namespace::new(), Namespace::new());
        gateway.cable(
            "clients",
            &["10.1.0.1/24", "fd01::1/64"],
            &client,
            "toward",
            &["10.1.0.2/24", "10.1.0.3/24", "fd01::2/64"],
        );
        gateway.cable("origins", &["10.2.0.1/24", "fd02::1/64"], &origin, "toward", &["10.2.0.2/24", "fd02::2/64"]);
        for (namespace, device, via) in
            [(&client, "toward", ["10.1.0.1", "fd01::1"]), (&origin, "toward", ["10.2.0.1", "fd02::1"])]
        {
            namespace.ip(&format!("route add default via {} dev {device}", via[0]));
            namespace.ip(&format!("-6 route add default via {} dev {device}", via[1]));
        }
        Net { client, gateway, origin }
    }

    /// Takes what comes in by this interface for the gateway's own, whatever its address: the rules of docs/tcp.md.
    fn deliver(&self, interface: &str) {
        for family in ["", "-6 "] {
            self.gateway.ip(&format!("{family}rule add iif {interface} lookup 100"));
            self.gateway.ip(&format!("{family}route replace local default dev lo table 100"));
        }
    }

    fn gate(&self, engine: Engine, file: String) -> Gate {
        self.gateway.run(move || Gate::start(engine, &file))
    }

    /// A client of a tcp listener, answered from 10.2.0.1; `None`: the gate has closed it.
    fn try_who(&self) -> Option<Client> {
        let to = SocketAddr::from(([10, 1, 0, 1], 80));
        let stream = self.client.run(move || TcpStream::connect(to)).ok()?;
        let mut client = Client::over(stream);
        client.try_send(b"who\n");
        let answered = client.try_line().is_some_and(|line| line == "10.2.0.1\n");
        answered.then_some(client)
    }

    /// A client that connects from one of its addresses.
    fn connect(&self, from: &'static str, to: &'static str) -> Client {
        self.client.run(move || {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().expect("an address"), to.parse().expect("one"));
            let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None);
            let socket = socket.expect("a socket");
            socket.bind(&from.into()).expect("an address of the namespace");
            socket.connect_timeout(&to.into(), crate::harness::PATIENCE).expect("the gate accepts");
            Client::over(socket.into())
        })
    }
}

fn ipv6_before_and_behind(engine: Engine) {
    let mirror = Mirror::over(TcpListener::bind("[::1]:0").expect("this machine has IPv6"));
    let more = "trusted = \"::1\"\n";
    let gate = Gate::start(engine, &file(&format!("address = \"[::1]:0\"\n{more}"), &endpoint(&mirror)));
    assert!(gate.address("web").is_ipv6());
    assert_eq!(gate.client().get("/").text(), "::1");
    let record = gate.wait_access("endpoint", mirror.address.to_string());
    assert!(record["client"].as_str().is_some_and(|client| client.starts_with("[::1]:")), "{record}");
    let origin = Origin::text("hello");
    let gate = Gate::start(engine, &file("address = \"[::1]:0\"", &format!("endpoints = [\"{}\"]", origin.address)));
    gate.client().get("/");
    assert_eq!(origin.request().field("x-forwarded-for"), Some("::1"));
    assert_eq!(origin.request().field("forwarded"), Some("for=\"[::1]\";host=example.com;proto=http"));
}

fn connects_from_the_source_address(engine: Engine) {
    let v4 = Mirror::over(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let sources = "source_address = [\"127.0.0.77\", \"::1\"]\n";
    let gate = Gate::start(engine, &file("address = \"127.0.0.2:0\"", &format!("{}{sources}", endpoint(&v4))));
    assert_eq!(gate.client().get("/").text(), "127.0.0.77");
    let v6 = Mirror::over(TcpListener::bind("[::1]:0").expect("this machine has IPv6"));
    gate.reload(&file("address = \"127.0.0.2:0\"", &format!("{}{sources}", endpoint(&v6))));
    assert_eq!(gate.client().get("/").text(), "::1");
}

fn a_source_address_of_another_machine_is_refused(engine: Engine) {
    let mirror = Mirror::over(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let good = file("address = \"127.0.0.2:0\"", &endpoint(&mirror));
    let gate = Gate::start(engine, &good);
    gate.write_config(&good.replace("[upstream.app]\n", "[upstream.app]\nsource_address = \"192.0.2.9\"\n"));
    gate.signal("HUP");
    let line = "upstream `app` cannot connect from 192.0.2.9";
    let whole = gate.wait_log(line);
    assert!(whole.contains("no interface of this machine has this address"), "{whole}");
    assert_eq!(gate.client().get("/").text(), "127.0.0.1");
}

fn a_source_port_serves_each_endpoint(engine: Engine) {
    let net = Net::new();
    let mirrors = [Mirror::at(&net.origin, "10.2.0.2:9001"), Mirror::at(&net.origin, "10.2.0.2:9002")];
    // Eight ports, and so up to eight connections to each of two endpoints, where the port is chosen with the destination
    // known; eight in all, where it is chosen before.
    net.gateway.shell("echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range");
    let upstream = "endpoints = [\"10.2.0.2:9001\", \"10.2.0.2:9002\"]\nsource_address = \"10.2.0.1\"\nretries = 1\n";
    let listener = "address = \"10.1.0.1:80\"\nprotocol = \"tcp\"\n";
    let gate = net.gate(engine, file(listener, upstream).replace("address = \"127.0.0.1:0\"", "address = \"off\""));
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.extend(net.try_who());
    }
    assert!((9..=16).contains(&clients.len()), "{} connections", clients.len());
    assert!(mirrors.iter().all(|mirror| mirror.accepted.load(Ordering::SeqCst) <= 8));
    gate.wait_access("reason", "no_source");
    let line = gate.wait_log("has no address to connect to");
    assert!(line.contains("ip_local_port_range"), "{line}");
}

fn endpoints_see_the_clients_own_address(engine: Engine) {
    let net = Net::new();
    net.deliver("origins");
    let mirrors = [Mirror::at(&net.origin, "10.2.0.2:9000"), Mirror::at(&net.origin, "[fd02::2]:9000")];
    for (mirror, listen, from, whose) in [
        (&mirrors[0], "10.1.0.1:80", "10.1.0.2:0", "10.1.0.2"),
        (&mirrors[1], "[fd01::1]:80", "[fd01::2]:0", "fd01::2"),
    ] {
        let listener = format!("address = \"{listen}\"\n");
        let _gate = net.gate(engine, file(&listener, &format!("{}transparent = true\n", endpoint(mirror))));
        let mut client = net.connect(from, listen);
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), whose);
        }
        assert_eq!(mirror.accepted.load(Ordering::SeqCst), 1, "one connection for all requests of the client");
    }
}

fn a_tcp_client_is_seen_by_its_own_address(engine: Engine) {
    let net = Net::new();
    net.deliver("origins");
    let mirror = Mirror::at(&net.origin, "10.2.0.2:9000");
    let listener = "address = \"10.1.0.1:80\"\nprotocol = \"tcp\"\n";
    let _gate = net.gate(engine, file(listener, &format!("{}transparent = true\n", endpoint(&mirror))));
    net.connect("10.1.0.3:0", "10.1.0.1:80").send("who\n").expect("10.1.0.3\n");
}

fn a_transparent_upstream_never_mixes_clients(engine: Engine) {
    let net = Net::new();
    net.deliver("origins");
    let mirror = Mirror::at(&net.origin, "10.2.0.2:9000");
    let upstream = format!("{}transparent = true\n", endpoint(&mirror));
    let one_worker = file("address = \"10.1.0.1:80\"\n", &upstream).replace("workers = 2", "workers = 1");
    let _gate = net.gate(engine, one_worker);
    let clients = ["10.1.0.2", "10.1.0.3"];
    let mut connections = [net.connect("10.1.0.2:0", "10.1.0.1:80"), net.connect("10.1.0.3:0", "10.1.0.1:80")];
    for _ in 0..5 {
        for (whose, connection) in clients.iter().zip(&mut connections) {
            assert_eq!(connection.get("/").text(), *whose);
        }
    }
    assert_eq!(mirror.accepted.load(Ordering::SeqCst), 2);
}

fn a_transparent_listener_accepts_for_others(engine: Engine) {
    let net = Net::new();
    net.deliver("clients");
    let mirror = Mirror::at(&net.origin, "10.2.0.2:9000");
    let listener = "address = \"0.0.0.0:80\"\ntransparent = true\n";
    let _gate = net.gate(engine, file(listener, &endpoint(&mirror)));
    for foreign in ["203.0.113.9:80", "198.51.100.1:80"] {
        assert_eq!(net.connect("10.1.0.2:0", foreign).get("/").text(), "10.2.0.1");
    }
}

fn keep_alive_finds_a_client_that_is_gone(engine: Engine) {
    let net = Net::new();
    let mirror = Mirror::at(&net.origin, "10.2.0.2:9000");
    let listener = "address = \"10.1.0.1:80\"\nprotocol = \"tcp\"\ntcp_keepalive = \"1s\"\n";
    let gate = net.gate(engine, file(listener, &endpoint(&mirror)));
    let mut client = net.connect("10.1.0.2:0", "10.1.0.1:80");
    client.send("who\n").expect("10.2.0.1\n");
    net.client.ip("link set toward down");
    // Without it, the relay's `idle_timeout` of an hour would.
    gate.wait_access("client", client.local_address().to_string());
}

fn the_user_timeout_finds_an_endpoint_that_is_gone(engine: Engine) {
    let net = Net::new();
    let mirror = Mirror::at(&net.origin, "10.2.0.2:9000");
    let listener = "address = \"10.1.0.1:80\"\nprotocol = \"tcp\"\n";
    let _gate = net.gate(engine, file(listener, &format!("{}tcp_user_timeout = \"500ms\"\n", endpoint(&mirror))));
    let mut client = net.connect("10.1.0.2:0", "10.1.0.1:80");
    client.send("who\n").expect("10.2.0.1\n");
    net.origin.ip("link set toward down");
    client.send("who\n").expect_gone();
}

fn options_follow_a_reload(engine: Engine) {
    let net = Net::new();
    let mirror = Mirror::at(&net.origin, "10.2.0.2:9000");
    let without = file("address = \"10.1.0.1:80\"\nprotocol = \"tcp\"\n", &endpoint(&mirror));
    let with = file("address = \"10.1.0.1:80\"\nprotocol = \"tcp\"\ntcp_keepalive = \"1s\"\n", &endpoint(&mirror));
    let gate = net.gate(engine, without);
    let gate = net.gateway.run(move || {
        gate.reload(&with);
        gate
    });
    // The listener stays, and what it accepts from now on has the option; workers take a moment.
    let mut client = net.connect("10.1.0.2:0", "10.1.0.1:80");
    wait_for("a connection with keep-alive", || {
        client = net.connect("10.1.0.2:0", "10.1.0.1:80");
        client.send("who\n").expect("10.2.0.1\n");
        let port = client.local_address().port();
        let timers = net.gateway.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp").expect("Linux says it"));
        // The other side's port, and a timer of kind 2, which is keep-alive.
        let line = timers.lines().find(|line| line.contains(&format!(":{port:04X} 01 ")))?;
        line.split_whitespace().nth(5).filter(|timer| timer.starts_with("02:")).map(|_| ())
    });
    net.client.ip("link set toward down");
    gate.wait_access("client", client.local_address().to_string());
}

fn fast_open_saves_a_round_trip(engine: Engine) {
    let net = Net::new();
    for namespace in [&net.gateway, &net.origin] {
        namespace.shell("echo 3 > /proc/sys/net/ipv4/tcp_fastopen");
    }
    // One gate behind the other, so that both ends are ours.
    let mirror = Mirror::at(&net.gateway, "127.0.0.1:9000");
    let behind = file("address = \"10.2.0.1:81\"\ntcp_fastopen = 16\n", &endpoint(&mirror));
    let _behind = net.gate(engine, behind);
    let upstream = "endpoints = [\"10.2.0.1:81\"]\nidle_connections_max = 0\ntcp_fastopen = true\n";
    let _gate = net.gate(engine, file("address = \"10.1.0.1:80\"\n", upstream));
    let mut client = net.connect("10.1.0.2:0", "10.1.0.1:80");
    wait_for("a connection that began with its request", || {
        assert_eq!(client.get("/").status, 200);
        (counter(&net, "TCPFastOpenActive") > 0 && counter(&net, "TCPFastOpenPassive") > 0).then_some(())
    });
    let before = counter(&net, "TCPFastOpenActive");
    let post = "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(client.send(post).response().status, 200);
    }
    assert_eq!(counter(&net, "TCPFastOpenActive"), before, "a POST must not arrive twice");
}

/// A counter of the gateway's namespace.
fn counter(net: &Net, name: &str) -> u64 {
    let text = net.gateway.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat").expect("Linux says it"));
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { panic!("two lines of TcpExt") };
    let pairs = names.zip(values);
    pairs.filter(|(found, _)| *found == name).find_map(|(_, value)| value.parse().ok()).expect("a counter of that name")
}
