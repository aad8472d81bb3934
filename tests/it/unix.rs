//! Unix sockets before and behind the gate: their files, who may come, what is said of a client without an address, and
//! what becomes of them when the file of the configuration changes.

use super::*;
use crate::harness::{HEAD, PATIENCE, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

on_each_engine!(
    http_comes_in_and_goes_out_over_unix_sockets,
    a_client_without_an_address_is_unknown,
    trusted_clients_of_a_unix_socket_are_believed,
    tcp_is_relayed_over_unix_sockets,
    all_workers_accept,
    a_removed_listener_serves_whom_it_has_and_takes_its_file,
    a_listener_that_comes_back_is_another_socket,
    the_mode_follows_the_file,
    a_drain_takes_the_file_at_once,
    a_killed_process_leaves_a_file_that_the_next_removes,
    abstract_names,
);

/// A folder for sockets, as short as their paths must be.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringgate-unix-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A listener of that name at that socket.
fn listener(name: &str, protocol: &str, path: &Path, more: &str) -> String {
    let path = path.display();
    format!(
        "\n[[listener]]\nname = \"{name}\"\naddress = \"unix:{path}\"\nprotocol = \"{protocol}\"\nupstream = \"app\"\n{more}\n"
    )
}

fn upstream(origin: &Origin) -> String {
    format!("[upstream.app]\nendpoints = [\"{}\"]\n", origin.address)
}

/// One http listener at that socket, before one origin.
fn config(path: &Path, origin: &Origin, more: &str) -> String {
    format!("{HEAD}{}{}", listener("web", "http", path, more), upstream(origin))
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the gate accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream
}

/// A GET on a connection of its own; the whole answer as text.
fn get(path: &Path, fields: &str) -> String {
    let mut stream = connect(path);
    get_on(&mut stream, &format!("Connection: close\r\n{fields}"));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an orderly end");
    answer
}

fn get_on(stream: &mut UnixStream, fields: &str) {
    let request = format!("GET / HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("the gate takes it");
}

/// Reads until the body "hello" is whole.
fn read_hello(stream: &mut UnixStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("more of the answer"), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
}

fn http_comes_in_and_goes_out_over_unix_sockets(engine: Engine) {
    let folder = Folder::new();
    let (front, back) = (folder.path("front"), folder.path("back"));
    let origin = Origin::text("hello");
    // One gate before the other: what goes out over a Unix socket comes in over one.
    let behind = Gate::start(engine, &config(&back, &origin, ""));
    let upstream = format!("[upstream.app]\nendpoints = [\"unix:{}\"]\n", back.display());
    let gate = Gate::start(engine, &format!("{HEAD}{}{upstream}", listener("web", "http", &front, "")));
    assert!(fs::metadata(&front).expect("the socket is there").file_type().is_socket());
    assert!(get(&front, "").ends_with("\r\n\r\nhello"));
    let mut stream = connect(&front);
    for _ in 0..10 {
        get_on(&mut stream, "");
        read_hello(&mut stream);
    }
    let body = "x".repeat(300_000);
    let post = format!("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(post.as_bytes()).expect("the gate takes it");
    read_hello(&mut stream);
    assert_eq!(origin.requests().last().expect("a request").body.len(), body.len());
    let endpoint = format!("unix:{}", back.display());
    let record = gate.wait_access("endpoint", endpoint.as_str());
    assert_eq!((&record["client"], &record["status"]), (&"unix:".into(), &200.into()), "{record}");
    behind.wait_access("client", "unix:");
    assert!(gate.metric("ringgate_endpoint_requests_total", &[&format!("endpoint=\"{endpoint}\"")]) >= 12.0);
    let snapshot: serde_json::Value = serde_json::from_str(&gate.admin("/snapshot").text()).expect("JSON");
    assert_eq!(snapshot["listeners"][0]["bound"], format!("unix:{}", front.display()));
    assert_eq!(snapshot["upstreams"][0]["endpoints"][0]["address"], endpoint);
    let curled = crate::harness::curl(&["--unix-socket", front.to_str().expect("ASCII"), "http://example.com/"]);
    assert_eq!(curled, "hello");
}

fn a_client_without_an_address_is_unknown(engine: Engine) {
    let folder = Folder::new();
    let path = folder.path("web");
    let origin = Origin::text("hello");
    let _gate = Gate::start(engine, &config(&path, &origin, "trusted = [\"0.0.0.0/0\", \"::/0\"]"));
    get(&path, "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n");
    let request = origin.request();
    assert_eq!(request.field("x-forwarded-for"), Some("unknown"));
    assert_eq!(request.field("forwarded"), Some("for=unknown;host=example.com;proto=http"));
}

fn trusted_clients_of_a_unix_socket_are_believed(engine: Engine) {
    let folder = Folder::new();
    let path = folder.path("web");
    let origin = Origin::text("hello");
    let _gate = Gate::start(engine, &config(&path, &origin, "trusted = \"unix:\""));
    get(&path, "X-Forwarded-For: 1.2.3.4\r\n");
    assert_eq!(origin.request().field("x-forwarded-for"), Some("1.2.3.4, unknown"));
}

fn tcp_is_relayed_over_unix_sockets(engine: Engine) {
    let folder = Folder::new();
    let (front, back) = (folder.path("front"), folder.path("back"));
    let origin = UnixListener::bind(&back).expect("a free path");
    std::thread::spawn(move || {
        for mut stream in origin.incoming().map_while(Result::ok) {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream.write_all(&bytes);
        }
    });
    let upstream = format!("[upstream.app]\nendpoints = [\"unix:{}\"]\n", back.display());
    let _gate = Gate::start(engine, &format!("{HEAD}{}{upstream}", listener("raw", "tcp", &front, "")));
    let mut stream = connect(&front);
    let bytes = crate::framing::pattern(2_000_000);
    stream.write_all(&bytes).expect("the gate takes it");
    stream.shutdown(std::net::Shutdown::Write).expect("an open socket");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("an orderly end");
    assert!(back == bytes);
}

fn all_workers_accept(engine: Engine) {
    let folder = Folder::new();
    let path = folder.path("web");
    let origin = Origin::text("hello");
    let gate = Gate::start(engine, &config(&path, &origin, ""));
    // Each in its turn; on a busy machine who is not running misses some.
    wait_for("connections at both workers", || {
        get(&path, "");
        let log = gate.access_log();
        [0, 1].iter().all(|worker| log.iter().any(|record| record["worker"] == *worker)).then_some(())
    });
}

fn a_removed_listener_serves_whom_it_has_and_takes_its_file(engine: Engine) {
    let folder = Folder::new();
    let (kept, removed) = (folder.path("kept"), folder.path("removed"));
    let origin = Origin::echo();
    let without = format!("{HEAD}{}{}", listener("kept", "tcp", &kept, ""), upstream(&origin));
    let gate = Gate::start(engine, &format!("{without}{}", listener("other", "tcp", &removed, "")));
    // Some of these are in the kernel's queue still when the listener goes.
    let early: Vec<UnixStream> = (0..50).map(|_| connect(&removed)).collect();
    gate.reload(&without);
    assert!(!removed.exists());
    for mut stream in early {
        stream.write_all(b"hello").expect("the gate takes it");
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).expect("the echo");
        assert_eq!(&bytes, b"hello");
    }
    connect(&kept);
    gate.wait_log("listener `other` drained");
}

fn a_listener_that_comes_back_is_another_socket(engine: Engine) {
    let folder = Folder::new();
    let (kept, other) = (folder.path("kept"), folder.path("other"));
    let origin = Origin::text("hello");
    let without = config(&kept, &origin, "");
    let both = format!("{without}{}", listener("other", "http", &other, ""));
    let gate = Gate::start(engine, &both);
    let mut held = connect(&other);
    get_on(&mut held, "");
    read_hello(&mut held);
    for _ in 0..10 {
        gate.reload(&without);
        gate.reload(&both);
        for _ in 0..4 {
            assert!(get(&other, "").ends_with("hello"));
        }
    }
}

fn the_mode_follows_the_file(engine: Engine) {
    let folder = Folder::new();
    let path = folder.path("web");
    let origin = Origin::text("hello");
    let mode = || fs::metadata(&path).expect("the socket is there").permissions().mode() & 0o777;
    let gate = Gate::start(engine, &config(&path, &origin, ""));
    assert_eq!(mode(), 0o660);
    gate.reload(&config(&path, &origin, "socket_mode = \"606\""));
    assert_eq!(mode(), 0o606);
    assert!(get(&path, "").ends_with("hello"));
}

fn a_drain_takes_the_file_at_once(engine: Engine) {
    let folder = Folder::new();
    let path = folder.path("raw");
    let origin = Origin::echo();
    let config = format!("{HEAD}{}{}", listener("raw", "tcp", &path, ""), upstream(&origin));
    let mut gate = Gate::start(engine, &config);
    let mut stream = connect(&path);
    stream.write_all(b"before").expect("the gate takes it");
    let mut bytes = [0; 6];
    stream.read_exact(&mut bytes).expect("the echo");
    gate.signal("TERM");
    wait_for("the file to be gone", || (!path.exists()).then_some(()));
    stream.write_all(b"within").expect("the gate takes it");
    stream.read_exact(&mut bytes).expect("the echo");
    assert_eq!(&bytes, b"within");
    drop(stream);
    assert!(gate.wait_exit().success());
}

fn a_killed_process_leaves_a_file_that_the_next_removes(engine: Engine) {
    let folder = Folder::new();
    let path = folder.path("web");
    let origin = Origin::text("hello");
    let mut first = Gate::start(engine, &config(&path, &origin, ""));
    let why = refused(&config(&path, &origin, ""));
    let live = format!("process {} (ringgate) listens there", first.process());
    assert!(why.contains(&live) && why.contains("listener `web`"), "{why}");
    assert!(get(&path, "").ends_with("hello"), "the first goes on");
    first.signal("KILL");
    first.wait_exit();
    assert!(path.exists());
    let _second = Gate::start(engine, &config(&path, &origin, ""));
    assert!(get(&path, "").ends_with("hello"));
    fs::write(folder.path("file"), "precious").expect("a temporary file");
    let why = refused(&config(&folder.path("file"), &origin, ""));
    assert!(why.contains("a file that is no socket is there"), "{why}");
}

/// Why a start fails.
fn refused(config: &str) -> String {
    let folder = Folder::new();
    let file = folder.path("gate.toml");
    fs::write(&file, config).expect("a temporary file");
    let output = Command::new(env!("CARGO_BIN_EXE_ringgate")).arg("run").arg(&file).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn abstract_names(engine: Engine) {
    let folder = Folder::new();
    let origin = Origin::text("hello");
    let name = format!("@ringgate-it-{}-{}", std::process::id(), engine.name());
    let behind = format!("{HEAD}{}{}", listener("web", "http", Path::new(&name), ""), upstream(&origin));
    let _behind = Gate::start(engine, &behind);
    let path = folder.path("front");
    let upstream = format!("[upstream.app]\nendpoints = [\"unix:{name}\"]\n");
    let _gate = Gate::start(engine, &format!("{HEAD}{}{upstream}", listener("web", "http", &path, "")));
    assert!(get(&path, "").ends_with("hello"));
}
