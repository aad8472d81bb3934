//! The supervisor over real files: all or nothing, what is kept, what is said.

use super::*;
use crate::control::config::{compile, load};
use crate::control::health::Verdicts;
use crate::telemetry::LogStats;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

const FIRST: &str = r#"
[[listener]]
name = "web"
address = "127.0.0.1:0"
upstream = "app"

[upstream.app]
endpoints = ["127.0.0.1:3000", "127.0.0.1:3001"]
"#;

/// A directory of its own for each test; removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringgate-supervisor-{}-{count}", std::process::id()));
        std::fs::create_dir_all(path.join("conf.d")).expect("a temporary directory can be made");
        Directory(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Fixture {
    directory: Directory,
    supervisor: Arc<Supervisor>,
    woken: Arc<AtomicUsize>,
    published: Arc<Notify>,
    stats: Arc<ConfigStats>,
}

fn started_with(text: &str) -> Fixture {
    let directory = Directory::new();
    let file = directory.write("ringgate.toml", text);
    let loaded = load(&file, None).expect("the first configuration is right");
    let running = Running::of(&loaded);
    let mut registry = Registry::new(2);
    let snapshot = compile(loaded.settings, &mut registry, 1);
    let log = LogThread::start(None, vec![], vec![], Arc::new(LogStats::default())).expect("a thread starts");
    let (woken, published) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let stats = Arc::new(ConfigStats::default());
    let (counted, told) = (Arc::clone(&woken), Arc::clone(&published));
    let wake: Waker = Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        told.notify_one();
    });
    let in_force = Arc::new(Published::new(snapshot));
    let supervisor = Supervisor::new(Start {
        file: Some(file),
        running,
        registry,
        verdicts: Verdicts::new(Arc::clone(&in_force)),
        published: in_force,
        wakers: vec![wake],
        log: Arc::new(log),
        stats: Arc::clone(&stats),
        budget: Budget::unlimited(),
        sizes: Sizes { workers: 2, receive_buffer: 0, receive_buffers: 0, configuration: 0 },
        drains: Arc::default(),
    });
    Fixture { directory, supervisor, woken, published, stats }
}

fn on_control(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let in_time = runtime.block_on(async { timeout(Duration::from_secs(30), test).await });
    in_time.expect("the test ends in time");
}

#[test]
fn a_reload_swaps_the_table_and_keeps_identities() {
    on_control(async {
        let fixture = started_with(FIRST);
        let before = fixture.supervisor.published.load();
        before.upstreams[0].endpoints[1].identity.in_flight.store(5, Ordering::Relaxed);
        let added = "{ address = \"127.0.0.1:3002\", weight = 3 }, ";
        fixture.directory.write("ringgate.toml", &FIRST.replace("\"127.0.0.1:3000\", ", added));
        let outcome = fixture.supervisor.reload().await;
        assert!(outcome.applied, "{}", outcome.text);
        let expected = "upstream `app`: endpoint 127.0.0.1:3002 added\n\
                        upstream `app`: endpoint 127.0.0.1:3000 removed\n\
                        listeners kept: 1; connections kept: 0; connections draining: 0";
        assert_eq!(outcome.text, expected);
        let after = fixture.supervisor.published.load();
        assert_eq!((after.generation, fixture.supervisor.published.generation()), (2, 2));
        assert_eq!(after.listeners[0].identity.id, before.listeners[0].identity.id);
        let kept = &after.upstreams[0].endpoints[1].identity;
        assert_eq!(kept.in_flight.load(Ordering::Relaxed), 5);
        assert_eq!(fixture.woken.load(Ordering::Relaxed), 1);
        assert_eq!((fixture.stats.reloads.get(), fixture.stats.last_reload_successful.get()), (1, 1));
    });
}

#[test]
fn a_broken_file_changes_nothing_and_says_what_check_says() {
    on_control(async {
        let fixture = started_with(FIRST);
        let file = fixture.directory.write("ringgate.toml", &FIRST.replace("\"app\"", "\"ap\""));
        let outcome = fixture.supervisor.reload().await;
        assert!(!outcome.applied);
        assert_eq!(outcome.generation, 1);
        assert_eq!(outcome.text, load(&file, None).expect_err("it is wrong").to_string());
        assert_eq!(fixture.supervisor.published.load().generation, 1);
        assert_eq!(fixture.woken.load(Ordering::Relaxed), 0);
        assert_eq!((fixture.stats.reloads_refused.get(), fixture.stats.last_reload_successful.get()), (1, 0));
        std::fs::remove_file(&file).expect("it can be removed");
        assert!(!fixture.supervisor.reload().await.applied);
        fixture.directory.write("ringgate.toml", FIRST);
        let outcome = fixture.supervisor.reload().await;
        assert!(outcome.applied && outcome.text.starts_with("nothing changed"), "{}", outcome.text);
    });
}

#[test]
fn a_port_that_is_taken_refuses_the_whole_reload() {
    on_control(async {
        let fixture = started_with(FIRST);
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let address = taken.local_addr().expect("it has an address");
        let second = format!("{FIRST}\n[[listener]]\naddress = \"{address}\"\nupstream = \"app\"\n");
        fixture.directory.write("ringgate.toml", &second.replace("127.0.0.1:3000", "127.0.0.1:3009"));
        let outcome = fixture.supervisor.reload().await;
        assert!(!outcome.applied && outcome.text.contains("another program listens there"), "{}", outcome.text);
        assert_eq!(fixture.supervisor.published.load().generation, 1);
    });
}

#[test]
fn a_removed_listener_leaves_the_snapshot_and_its_connections_are_counted() {
    on_control(async {
        let second = "[[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\nupstream = \"app\"\n";
        let fixture = started_with(&format!("{FIRST}{second}"));
        let before = fixture.supervisor.published.load();
        before.listeners[0].identity.stats.shard(0).connections_active.set(7);
        before.listeners[1].identity.stats.shard(1).connections_active.set(3);
        fixture.directory.write("ringgate.toml", FIRST);
        let text = fixture.supervisor.reload().await.text;
        assert!(text.contains("listener `other` at 127.0.0.1:0 removed: 3 connections drain"), "{text}");
        assert!(text.contains("listeners kept: 1; connections kept: 7; connections draining: 3"), "{text}");
    });
}

#[test]
fn what_needs_a_restart_refuses_the_whole_reload() {
    on_control(async {
        let fixture = started_with(FIRST);
        let text = format!("workers = 7\n{}", FIRST.replace(":3000", ":3009"));
        fixture.directory.write("ringgate.toml", &text);
        let outcome = fixture.supervisor.reload().await;
        assert!(!outcome.applied && outcome.text.contains("`workers` cannot change while the process runs"));
    });
}

#[test]
fn a_drain_goes_only_forward_and_ends_reloads() {
    on_control(async {
        let fixture = started_with(FIRST);
        fixture.supervisor.drain();
        assert_eq!(fixture.supervisor.published.phase(), Phase::Draining);
        assert!(fixture.supervisor.reload().await.text.contains("shutting down"));
        fixture.supervisor.stop();
        fixture.supervisor.drain();
        assert_eq!(fixture.supervisor.published.phase(), Phase::Stopping);
        assert_eq!(fixture.woken.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_change_on_disk_reloads_where_the_file_asks_for_it() {
    on_control(async {
        let fixture = started_with(&format!("watch = true\ninclude = \"conf.d\"\n{FIRST}"));
        let running = tokio::spawn(Arc::clone(&fixture.supervisor).run().expect("signals can be listened to"));
        let fragment = |port: u16| format!("[upstream.more]\nendpoints = [\"127.0.0.1:{port}\"]\n");
        // The first fingerprint may be taken after the first write, so write until a change is seen.
        for port in 4_000.. {
            fixture.directory.write("conf.d/more.toml", &fragment(port));
            if timeout(Duration::from_millis(500), fixture.published.notified()).await.is_ok() {
                break;
            }
        }
        assert!(fixture.supervisor.published.generation() >= 2);
        running.abort();
    });
}
