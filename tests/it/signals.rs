//! The signals that operators and supervisors send.

use super::*;
use crate::harness::{PATIENCE, wait_for};
use std::fs;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;

on_each_engine!(
    term_drains_and_exits_with_0,
    int_does_the_same,
    a_drain_has_a_deadline,
    a_second_signal_ends_at_once,
    a_request_that_races_the_drain_is_answered,
    no_request_under_load_fails_by_a_drain,
    the_demo_drains_and_ends,
    usr1_reopens_the_access_log,
);

/// An origin that answers each request after a cue.
fn cued() -> (Origin, mpsc::Sender<()>) {
    let (cue, waiting) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let origin = Origin::raw(move |mut connection| {
        connection.head();
        let _ = waiting.lock().expect("one at a time").recv_timeout(PATIENCE);
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        connection.read_to_end();
    });
    (origin, cue)
}

fn drains(engine: Engine, signal: &str) {
    let (origin, cue) = cued();
    let mut gate = Gate::http(engine, &[&origin]);
    let web = gate.address("web");
    let mut idle = gate.client();
    let mut busy = gate.client();
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_accepted(1);
    gate.signal(signal);
    // An idle connection ends, nobody new comes in, and the request in flight is answered.
    idle.expect_end();
    wait_for("a closed listener", || TcpStream::connect(web).is_err().then_some(()));
    gate.expect_running();
    cue.send(()).expect("the origin waits");
    let response = busy.response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("late", Some("close")));
    busy.expect_end();
    assert_eq!(gate.wait_exit().code(), Some(0));
}

fn term_drains_and_exits_with_0(engine: Engine) {
    drains(engine, "TERM");
}

fn int_does_the_same(engine: Engine) {
    drains(engine, "INT");
}

fn a_drain_has_a_deadline(engine: Engine) {
    let (origin, _cue) = cued();
    let config = format!("drain_timeout = \"200ms\"\n{}", Gate::http_config(&[&origin], ""));
    let mut gate = Gate::start(engine, &config);
    let mut stuck = gate.client();
    stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_accepted(1);
    gate.signal("TERM");
    assert_eq!(gate.wait_exit().code(), Some(0));
    stuck.expect_gone();
}

fn a_second_signal_ends_at_once(engine: Engine) {
    let (origin, _cue) = cued();
    let mut gate = Gate::http(engine, &[&origin]);
    let mut stuck = gate.client();
    stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_accepted(1);
    gate.signal("TERM");
    gate.wait_log("draining");
    gate.expect_running();
    // Far sooner than the drain deadline, which is longer than any scenario may take.
    gate.signal("TERM");
    assert_eq!(gate.wait_exit().code(), Some(0));
    // What has no answer yet is told so.
    assert_eq!(stuck.response().status, 503);
    gate.wait_access("reason", "draining");
}

fn a_request_that_races_the_drain_is_answered(engine: Engine) {
    let origin = Origin::text("hello");
    let config = format!("drain_idle_timeout = \"10s\"\n{}", Gate::http_config(&[&origin], ""));
    let mut gate = Gate::start(engine, &config);
    let mut clients: Vec<_> = (0..20).map(|_| gate.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").field("connection"), None);
    }
    gate.signal("TERM");
    wait_for("a closed listener", || TcpStream::connect(gate.address("web")).is_err().then_some(()));
    for client in &mut clients {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.field("connection")), ("hello", Some("close")));
        client.expect_end();
    }
    // Nobody is left, so nothing is waited for.
    assert_eq!(gate.wait_exit().code(), Some(0));
}

fn no_request_under_load_fails_by_a_drain(engine: Engine) {
    const CLIENTS: usize = 16;
    let origin = Origin::http(|request| Response::ok(request.body.clone()));
    let mut gate = Gate::http(engine, &[&origin]);
    let web = gate.address("web");
    let (told, answered) = mpsc::channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let told = told.clone();
            // A client that keeps its connection until it is told to close it, and sends what must not be sent twice.
            std::thread::spawn(move || {
                while let Ok(stream) = TcpStream::connect(web) {
                    let mut client = Client::over(stream);
                    for number in 0.. {
                        if !client.try_send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody") {
                            return number == 0;
                        }
                        // A connection that the kernel took in while the listener was closing has seen no gateway.
                        let Ok(response) = client.try_response() else { return number == 0 };
                        assert_eq!(response.text(), "body");
                        let _ = told.send(());
                        if response.field("connection") == Some("close") {
                            break;
                        }
                    }
                }
                true
            })
        })
        .collect();
    for _ in 0..50 * CLIENTS {
        answered.recv_timeout(PATIENCE).expect("the clients are served");
    }
    gate.signal("TERM");
    assert_eq!(gate.wait_exit().code(), Some(0));
    for client in clients {
        assert!(client.join().expect("every answer is right"), "a request was cut off by the drain");
    }
}

fn the_demo_drains_and_ends(engine: Engine) {
    for signals in [1, 2] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.env("RINGGATE_ENGINE", engine.name());
        let mut gate = Gate::start_demo(command);
        let address = gate.log_lines().iter().find_map(|line| line.split("address=").nth(1)?.parse().ok());
        // Held open, so that the first signal alone ends nothing yet.
        let mut open = Client::connect(address.expect("it listens"));
        open.send("GET / HTT");
        for number in 1..=signals {
            gate.signal("INT");
            gate.wait_log(if number == 1 { "draining" } else { "stopping at once" });
        }
        if signals == 1 {
            gate.expect_running();
            drop(open);
        }
        assert_eq!(gate.wait_exit().code(), Some(0));
    }
}

fn usr1_reopens_the_access_log(engine: Engine) {
    let origin = Origin::text("hello");
    let config = Gate::http_config(&[&origin], "").replace("path = \"-\"", "path = \"access.log\"");
    let gate = Gate::start(engine, &config);
    let file = gate.directory().join("access.log");
    let holds = |file: &std::path::Path, target: &str| {
        wait_for(&format!("{target} in {}", file.display()), || {
            fs::read_to_string(file).is_ok_and(|text| text.contains(target)).then_some(())
        });
    };
    gate.client().get("/first");
    holds(&file, "/first");
    let old = gate.directory().join("access.log.1");
    fs::rename(&file, &old).expect("a file");
    gate.client().get("/second");
    holds(&old, "/second");
    gate.signal("USR1");
    wait_for("a new file", || file.exists().then_some(()));
    gate.client().get("/third");
    holds(&file, "/third");
    assert!(!fs::read_to_string(&old).expect("a file").contains("/third"));
}
