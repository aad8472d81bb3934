//! The signals that operators and supervisors send.

use super::*;
use crate::harness::{PATIENCE, wait_for};
use std::fs;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;

on_each_engine!(term_drains_and_exits_with_0, int_does_the_same, a_drain_has_a_deadline, usr1_reopens_the_access_log);

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
