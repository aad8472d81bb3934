//! What the machine allows: a kernel without io_uring, few open files, engines by name.

use super::*;
use crate::harness::wait_for;
use std::os::unix::process::CommandExt;
use std::process::Command;

on_each_engine!(
    a_request_without_a_file_left_blames_no_endpoint,
    few_open_files_cost_only_the_connections_beyond,
    a_full_listener_recovers
);

/// In the environment of this test binary when it is started again only to become the gateway without io_uring.
const BLOCKED: &str = "RINGGATE_IT_BLOCKED";

/// Not a scenario of its own: `starts_where_io_uring_is_blocked` runs it in a process that then becomes the gateway.
#[test]
fn become_the_gateway_without_io_uring() {
    let Ok(file) = std::env::var(BLOCKED) else { return };
    let blocked = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    let rules = blocked.into_iter().map(|call| (call, Vec::new())).collect();
    let filter = seccompiler::SeccompFilter::new(
        rules,
        seccompiler::SeccompAction::Allow,
        seccompiler::SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into().expect("a known machine"),
    );
    let program: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).expect("a valid filter");
    seccompiler::apply_filter(&program).expect("the kernel takes filters");
    let error = Command::new(env!("CARGO_BIN_EXE_ringgate")).args(["run", &file]).exec();
    panic!("the gateway does not start: {error}");
}

#[test]
fn starts_where_io_uring_is_blocked() {
    let origin = Origin::text("hello");
    // The shell puts the file, the last of the arguments that the harness adds, where the second process finds it.
    let test = std::env::current_exe().expect("a test is a file");
    let name = format!("{}::become_the_gateway_without_io_uring", module_path!().split_once("::").expect("a path").1);
    let line = format!("{BLOCKED}=\"$2\" exec \"$0\" --exact {name} --nocapture");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).arg(test).env_remove("RINGGATE_ENGINE");
    let gate = Gate::start_by(shell, &Gate::http_config(&[&origin], ""));
    assert_eq!(gate.client().get("/").text(), "hello");
    let line = gate.wait_log("engine: epoll");
    assert!(line.contains("io_uring"), "the line says why: {line}");
}

#[test]
fn each_engine_is_named_in_the_log() {
    for engine in [Engine::Uring, Engine::Epoll] {
        let origin = Origin::text("hello");
        let gate = Gate::http(engine, &[&origin]);
        gate.wait_log(&format!("workers on {}", engine.name()));
    }
}

fn few_open_files_cost_only_the_connections_beyond(engine: Engine) {
    let origin = Origin::text("hello");
    let mut shell = Command::new("sh");
    let line = "ulimit -n 96; exec \"$0\" \"$@\"";
    shell.args(["-c", line, env!("CARGO_BIN_EXE_ringgate")]).env("RINGGATE_ENGINE", engine.name());
    let mut gate = Gate::start_by(shell, &Gate::http_config(&[&origin], "").replace("workers = 2", "workers = 1"));
    let web = gate.address("web");
    let mut served = gate.client();
    assert_eq!(served.get("/").text(), "hello");
    let crowd: Vec<Client> = (0..150).map(|_| Client::connect(web)).collect();
    assert_eq!(served.get("/").text(), "hello");
    drop(crowd);
    gate.expect_running();
    // With room again everybody is served.
    wait_for("room", || {
        let mut client = Client::connect(web);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().ok().filter(|response| response.status == 200)
    });
    gate.expect_running();
}

fn a_request_without_a_file_left_blames_no_endpoint(engine: Engine) {
    let (origin, other) = (Origin::text("hello"), Origin::text("other"));
    let mut shell = Command::new("sh");
    let line = "ulimit -n 96; exec \"$0\" \"$@\"";
    shell.args(["-c", line, env!("CARGO_BIN_EXE_ringgate")]).env("RINGGATE_ENGINE", engine.name());
    let route = "[[route]]\nlistener = \"web\"\npath = \"/other\"\nupstream = \"other\"\n";
    let upstream = format!("[upstream.other]\nendpoints = [\"{}\"]\n", other.address);
    let config = Gate::http_config(&[&origin], "").replace("workers = 2", "workers = 1") + route + &upstream;
    let gate = Gate::start_by(shell, &config);
    let web = gate.address("web");
    let mut served = gate.client();
    assert_eq!(served.get("/").text(), "hello");
    let crowd: Vec<Client> = (0..150).map(|_| Client::connect(web)).collect();
    gate.wait_log("cannot accept");
    assert_eq!(served.get("/other").status, 503);
    gate.wait_access("reason", "files_full");
    let line = gate.wait_log("cannot connect");
    assert!(line.contains("`other`") && line.contains("LimitNOFILE"), "the line names the cure: {line}");
    drop(crowd);
    wait_for("room", || (served.get("/other").status == 200).then_some(()));
    let failed = gate.metric("ringgate_endpoint_failures_total", &["upstream=\"other\""]);
    assert_eq!(failed, 0.0, "the endpoint is not blamed");
}

fn a_full_listener_recovers(engine: Engine) {
    let origin = Origin::text("hello");
    let config = Gate::http_config(&[&origin], "").replace("workers = 2", "workers = 1");
    let config = config.replacen("protocol = \"http\"\n", "protocol = \"http\"\nconnections_max = 10\n", 1);
    let gate = Gate::start(engine, &config);
    let mut crowd: Vec<Client> = (0..10).map(|_| gate.client()).collect();
    for client in &mut crowd {
        assert_eq!(client.get("/").text(), "hello");
    }
    let mut beyond = gate.client();
    beyond.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(beyond.response().status, 503);
    assert_eq!(gate.metric("ringgate_listener_connections_refused_total", &["listener=\"web\""]), 1.0);
    drop(crowd);
    wait_for("room", || {
        let mut client = gate.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().ok().filter(|response| response.status == 200)
    });
}
