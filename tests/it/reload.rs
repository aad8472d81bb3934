//! A new file under traffic: what moves, what stays, and what a broken file does.

use super::*;
use crate::harness::{HEAD, RAW, WEB, wait_for};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

on_each_engine!(
    moves_traffic_and_keeps_connections,
    a_broken_file_changes_nothing,
    opens_added_listeners_and_drains_removed_ones,
    a_request_ends_where_it_began,
    an_endpoint_of_weight_0_gets_nothing,
    tunnels_outlive_their_endpoint,
    relays_to_an_endpoint_that_left_have_a_deadline,
    an_endpoint_that_comes_back_keeps_its_relays,
    an_endpoint_that_left_keeps_no_idle_connection,
    a_removed_listener_has_a_deadline,
    reloads_by_command,
    reloads_when_the_file_changes,
);

fn moves_traffic_and_keeps_connections(engine: Engine) {
    let (old, new) = (Origin::text("old"), Origin::text("new"));
    let gate = Gate::http(engine, &[&old]);
    let mut client = gate.client();
    assert_eq!(client.get("/").text(), "old");
    for (origin, expected) in [(&new, "new"), (&old, "old"), (&new, "new")] {
        gate.reload(&Gate::http_config(&[origin], ""));
        // The same connection: nothing was closed, and the next request already goes by the new file.
        assert_eq!(client.get("/").text(), expected);
        assert_eq!(gate.client().get("/").text(), expected);
    }
    assert_eq!(gate.generation(), 4);
}

fn a_broken_file_changes_nothing(engine: Engine) {
    let origin = Origin::text("old");
    let gate = Gate::http(engine, &[&origin]);
    let mut client = gate.client();
    for broken in ["ballance = \"random\"", "endpoints = [", "connect_timeout = 5"] {
        gate.write_config(&Gate::http_config(&[&origin], broken));
        gate.signal("HUP");
        // What `ringgate check` prints, with the line that it is about.
        gate.wait_log(broken.split(' ').next().expect("a word"));
        assert_eq!(client.get("/").text(), "old");
    }
    assert_eq!(gate.generation(), 1);
    gate.reload(&Gate::http_config(&[&origin], "balance = \"random\""));
    assert_eq!(client.get("/").text(), "old");
}

fn opens_added_listeners_and_drains_removed_ones(engine: Engine) {
    let origin = Origin::text("hello");
    let echo = Origin::echo();
    let with_web = Gate::http_config(&[&origin], "");
    let with_raw = format!("{HEAD}{RAW}\n[upstream.app]\nendpoints = [\"{}\"]\n", echo.address);
    let gate = Gate::start(engine, &with_web);
    let web = gate.address("web");
    let mut client = gate.client();
    assert_eq!(client.get("/").text(), "hello");
    gate.reload(&with_raw);
    let raw = gate.address("raw");
    wait_for("an open listener", || TcpStream::connect(raw).is_ok().then_some(()));
    let mut raw = gate.tcp_client();
    raw.send("hello").expect("hello");
    // The removed listener takes nobody new, and its idle connection ends.
    client.expect_end();
    wait_for("a closed listener", || TcpStream::connect(web).is_err().then_some(()));
    raw.send("again").expect("again");
}

/// An origin that answers only when the scenario says so.
fn cued() -> (Origin, Arc<(Mutex<bool>, Condvar)>) {
    let cue = Arc::new((Mutex::new(false), Condvar::new()));
    let waiting = cue.clone();
    let origin = Origin::raw(move |mut connection| {
        connection.head();
        let (open, changed) = &*waiting;
        let mut open = open.lock().expect("nothing panics with it");
        while !*open {
            open = changed.wait(open).expect("nothing panics with it");
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        connection.read_to_end();
    });
    (origin, cue)
}

fn give(cue: &(Mutex<bool>, Condvar)) {
    *cue.0.lock().expect("nothing panics with it") = true;
    cue.1.notify_all();
}

fn a_request_ends_where_it_began(engine: Engine) {
    let (slow, cue) = cued();
    let origin = Origin::text("new");
    let gate = Gate::http(engine, &[&slow]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.wait_accepted(1);
    gate.reload(&Gate::http_config(&[&origin], ""));
    assert_eq!(gate.client().get("/").text(), "new");
    give(&cue);
    assert_eq!(client.response().text(), "late");
    assert_eq!(client.get("/").text(), "new");
}

fn an_endpoint_of_weight_0_gets_nothing(engine: Engine) {
    let (a, b) = (Origin::text("a"), Origin::text("b"));
    let weighted = |a_weight: u32, b_weight: u32| {
        let endpoint = |origin: &Origin, weight| format!("{{ address = \"{}\", weight = {weight} }}", origin.address);
        let list = format!("[{}, {}]", endpoint(&a, a_weight), endpoint(&b, b_weight));
        Gate::http_config(&[], "balance = \"round_robin\"").replace("[]", &list)
    };
    let config = weighted(3, 1).replace("workers = 2", "workers = 1");
    let gate = Gate::start(engine, &config);
    let mut client = gate.client();
    for _ in 0..40 {
        client.get("/");
    }
    assert_eq!((a.requests().len(), b.requests().len()), (30, 10));
    gate.reload(&weighted(0, 1).replace("workers = 2", "workers = 1"));
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "b");
    }
}

fn tunnels_outlive_their_endpoint(engine: Engine) {
    let (tunnel, origin) = (Origin::upgrade_echo(), Origin::text("new"));
    let gate = Gate::http(engine, &[&tunnel]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response().status, 101);
    for round in 0..5 {
        gate.reload(&Gate::http_config(&[&origin], &format!("retries = {round}")));
        client.send("still here").expect("still here");
        assert_eq!(gate.client().get("/").text(), "new");
    }
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// One http and one tcp listener before one upstream of these endpoints.
fn both(origins: &[&Origin], top: &str, upstream: &str) -> String {
    let config = Gate::http_config(origins, upstream);
    format!("{top}{}", config.replace("[upstream.app]", &format!("{RAW}\n[upstream.app]")))
}

fn relays_to_an_endpoint_that_left_have_a_deadline(engine: Engine) {
    let (leaving, staying) = (Origin::upgrade_echo(), Origin::echo());
    let gate = Gate::start(engine, &both(&[&leaving], "", "drain_timeout = \"400ms\""));
    let mut tunnel = gate.client();
    tunnel.send(UPGRADE);
    assert_eq!(tunnel.response().status, 101);
    // The same word goes through the tcp listener; the origin takes it for a request.
    let mut raw = gate.tcp_client();
    raw.send(UPGRADE);
    assert_eq!(raw.response().status, 101);
    gate.reload(&both(&[&staying], "", "drain_timeout = \"400ms\""));
    gate.wait_log("2 connections drain");
    let page = gate.admin("/drain").text();
    assert!(page.contains(&format!("\"address\":\"{}\"", leaving.address)), "{page}");
    assert_eq!(gate.metric("ringgate_draining_connections", &["kind=\"endpoint\""]), 2.0);
    tunnel.expect_gone();
    raw.expect_gone();
    gate.wait_log("drained: 0 connections ended by themselves, 2 were cut off");
    gate.wait_access("reason", "endpoint_draining");
    assert!(!gate.admin("/drain").text().contains("endpoint"));
    let mut raw = gate.tcp_client();
    raw.send("new").expect("new");
}

fn an_endpoint_that_comes_back_keeps_its_relays(engine: Engine) {
    let (leaving, staying) = (Origin::upgrade_echo(), Origin::text("new"));
    let config = |origin: &Origin| both(&[origin], "", "drain_timeout = \"300ms\"");
    let gate = Gate::start(engine, &config(&leaving));
    let mut tunnel = gate.client();
    tunnel.send(UPGRADE);
    assert_eq!(tunnel.response().status, 101);
    gate.reload(&config(&staying));
    gate.reload(&config(&leaving));
    // A second drain that began later than the first one's deadline shows that nothing was cut off at that.
    let mut other = gate.client();
    other.send(UPGRADE);
    assert_eq!(other.response().status, 101);
    std::thread::park_timeout(std::time::Duration::from_millis(600));
    tunnel.send("still here").expect("still here");
    other.send("and me").expect("and me");
}

fn an_endpoint_that_left_keeps_no_idle_connection(engine: Engine) {
    let (slow, cue) = cued();
    let staying = Origin::text("new");
    let gate = Gate::http(engine, &[&slow]);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.wait_accepted(1);
    gate.reload(&Gate::http_config(&[&staying], "idle_timeout = \"1h\""));
    assert_eq!(gate.client().get("/").text(), "new");
    give(&cue);
    assert_eq!(client.response().text(), "late");
    // What was in flight is answered, and the connection that carried it is closed: the drain ends with it.
    gate.wait_log("drained: 1 connections ended by themselves");
    wait_for("a closed connection", || (gate.metric("ringgate_endpoint_connections_idle", &[]) <= 1.0).then_some(()));
    assert_eq!(client.get("/").text(), "new");
}

fn a_removed_listener_has_a_deadline(engine: Engine) {
    let (slow, _cue) = cued();
    let echo = Origin::echo();
    let top = "drain_timeout = \"400ms\"\n";
    let web = format!("{top}{}", Gate::http_config(&[&slow], ""));
    let with_raw = format!("{web}{RAW}").replace("upstream = \"app\"\n\n[upstream", "upstream = \"app\"\n[upstream");
    let with_raw = with_raw.replace(RAW, &RAW.replace("\"app\"", "\"echo\""));
    let upstream = format!("\n[upstream.echo]\nendpoints = [\"{}\"]\n", echo.address);
    let gate = Gate::start(engine, &format!("{with_raw}{upstream}"));
    let mut raw = gate.tcp_client();
    raw.send("hello").expect("hello");
    let mut stuck = gate.client();
    stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.wait_accepted(1);
    let other = WEB.replace("\"web\"", "\"other\"").replace("127.0.0.2", "127.0.0.4").replace("\"app\"", "\"echo\"");
    gate.reload(&format!("{top}{HEAD}{other}{upstream}"));
    assert!(gate.admin("/drain").text().contains("\"kind\":\"listener\",\"name\":\"raw\""));
    raw.expect_gone();
    assert_eq!(stuck.response().status, 503);
    stuck.expect_gone();
    gate.wait_log("listener `raw` drained: 0 connections ended by themselves, 1 were cut off, 0 are open still");
    gate.wait_log("listener `web` drained: 0 connections ended by themselves, 1 were cut off, 0 are open still");
    gate.wait_access("reason", "draining");
}

fn reloads_by_command(engine: Engine) {
    let (old, new) = (Origin::text("old"), Origin::text("new"));
    let gate = Gate::http(engine, &[&old]);
    let reload = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.args(["reload", "--admin", &gate.address("admin").to_string()]).output().expect("the program starts")
    };
    gate.write_config(&Gate::http_config(&[&new], ""));
    let output = reload();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(gate.client().get("/").text(), "new");
    gate.write_config("workers = \"many\"");
    let output = reload();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("workers"), "{output:?}");
    assert_eq!(gate.client().get("/").text(), "new");
}

fn reloads_when_the_file_changes(engine: Engine) {
    let (old, new) = (Origin::text("old"), Origin::text("new"));
    let watching = |origin: &Origin| format!("watch = true\n{}", Gate::http_config(&[origin], ""));
    let gate = Gate::start(engine, &watching(&old));
    let mut client = gate.client();
    assert_eq!(client.get("/").text(), "old");
    gate.write_config(&watching(&new));
    wait_for("the new file", || (gate.generation() > 1).then_some(()));
    assert_eq!(client.get("/").text(), "new");
}
