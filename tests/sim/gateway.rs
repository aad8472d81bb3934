//! The worker under test, and the control plane as far as it matters: somebody who puts other configurations in force.

use crate::world::{EXTRA_HTTP, EXTRA_TCP, EXTRA_UDP, HTTP, HTTP_ORIGINS, TCP, TCP_ORIGINS, TLS, UDP, UDP_ORIGINS};
use ringgate::base::{Secret, Sharded};
use ringgate::connection::Context;
use ringgate::control::config;
use ringgate::engine::Engine;
use ringgate::snapshot::{Phase, Published, Snapshot};
use ringgate::telemetry::access_log::access_log;
use ringgate::telemetry::log::worker_log;
use ringgate::upstream::Registry;
use ringgate::worker;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub struct Gateway {
    context: Rc<Context>,
    pub published: Arc<Published>,
    registry: RefCell<Registry>,
    stopped: Rc<Cell<bool>>,
}

impl Gateway {
    /// A worker on this configuration.
    pub fn start(engine: &Engine, text: &str) -> Gateway {
        let mut registry = Registry::new(1);
        // The same seed, the same world.
        registry.secret = Secret(b"known".to_vec());
        let published = Arc::new(Published::new(compiled(&mut registry, 1, text)));
        let stats = Arc::new(Sharded::new(1));
        let (access_log, log) = (access_log(0).0, worker_log(0).0);
        let context = Context::new(engine, 0, published.clone(), stats, access_log, log);
        let stopped = Rc::new(Cell::new(false));
        let (serving, done) = (context.clone(), stopped.clone());
        engine.spawn(async move {
            worker::serve(serving, |errors| assert!(errors.is_empty(), "{errors:?}")).await;
            done.set(true);
        });
        Gateway { context, published, registry: RefCell::new(registry), stopped }
    }

    /// Puts another configuration in force.
    pub fn reload(&self, text: &str) {
        let generation = self.published.generation() + 1;
        let snapshot = compiled(&mut self.registry.borrow_mut(), generation, text);
        self.published.publish(Arc::new(snapshot));
        self.context.engine.remote().wake();
    }

    /// Nothing is open and nothing is counted as open.
    pub fn check_idle(&self) {
        assert!(self.context.is_unused(), "client connections or flows are left");
        assert_eq!(self.context.parked(), 0, "parked connections are left");
        assert_eq!(self.context.worker_stats().connections_active.get(), 0, "connections are counted");
        assert_eq!(self.context.memory_held().0, 0, "memory of requests is counted");
        assert_eq!(self.context.memory_buffered(), 0, "bodies are buffered for nobody");
        let snapshot = self.published.load();
        for listener in &snapshot.listeners {
            let open = listener.identity.stats.shard(0).connections_active.get();
            assert_eq!(open, 0, "connections are counted at {}", listener.address);
            let flows = listener.identity.udp.as_ref().map_or(0, |udp| udp.shard(0).flows_active.get());
            assert_eq!(flows, 0, "flows are counted at {}", listener.address);
            assert_eq!(listener.identity.flows.load(Ordering::Relaxed), 0, "flows are left at {}", listener.address);
        }
        for endpoint in snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints) {
            let identity = &endpoint.identity;
            let (stats, address) = (identity.stats.shard(0), &identity.address);
            assert_eq!(identity.in_flight.load(Ordering::Relaxed), 0, "requests are left at {address}");
            assert_eq!(stats.requests_active.get(), 0, "requests are counted at {address}");
            assert_eq!(stats.connections_active.get(), 0, "connections are counted at {address}");
            assert_eq!(stats.connections_idle.get(), 0, "idle connections are counted at {address}");
        }
    }

    /// Bytes that requests under way hold.
    pub fn memory_held(&self) -> usize {
        self.context.memory_held().0
    }

    /// What had to go because memory was short.
    pub fn given_up(&self) -> u64 {
        let snapshot = self.published.load();
        let of_listeners = snapshot.listeners.iter().map(|listener| {
            let stats = listener.identity.stats.shard(0);
            stats.connections_shed.get() + stats.connections_refused.get()
        });
        let of_worker = self.context.worker_stats().memory_idle_closed.get();
        of_listeners.sum::<u64>() + of_worker + self.context.engine.counts().sends_refused
    }

    pub async fn drain(self) {
        self.published.advance(Phase::Draining);
        self.context.engine.remote().wake();
        while !self.stopped.get() {
            self.context.engine.sleep(Duration::from_millis(10)).await;
        }
        self.check_idle();
    }
}

/// One of the configurations that this world knows. Endpoints, their weights, the extra listeners and the PROXY headers for
/// endpoints come and go. An endpoint of weight 0 is drained; at least one has another.
pub fn configuration(chance: u64) -> String {
    let balance = ["round_robin", "least_request", "random"][(chance % 3) as usize];
    let present = 1 + chance / 3 % 7;
    let mut weights: Vec<u64> = (0..HTTP_ORIGINS.len()).map(|at| (chance >> (8 * at)) % 5).collect();
    weights[present.trailing_zeros() as usize] += 1;
    let endpoints: Vec<String> = HTTP_ORIGINS
        .iter()
        .enumerate()
        .filter(|(at, _)| present & (1 << at) != 0)
        .map(|(at, address)| format!("{{ address = \"{address}\", weight = {} }}", weights[at]))
        .collect();
    let tcp = TCP_ORIGINS[(chance >> 32) as usize % 2];
    let http_listener = |address: &str| format!("[[listener]]\naddress = \"{address}\"\nprotocol = \"http\"\n");
    let tcp_listener =
        |address: &str| format!("[[listener]]\naddress = \"{address}\"\nprotocol = \"tcp\"\nupstream = \"stream\"\n");
    let wants_header = "proxy_protocol = \"0.0.0.0/0\"\n";
    let udp_present = 1 + (chance >> 48) % 3;
    let udp_origins: Vec<String> = UDP_ORIGINS
        .iter()
        .enumerate()
        .filter(|(at, _)| udp_present & (1 << at) != 0)
        .map(|(_, address)| format!("\"{address}\""))
        .collect();
    let replies = if chance >> 50 & 1 == 1 { "replies = 1\n" } else { "" };
    let udp_listener = |address: &str| {
        format!("[[listener]]\naddress = \"{address}\"\nprotocol = \"udp\"\nupstream = \"datagrams\"\n{replies}")
    };
    let tls = format!(
        "[[listener]]\nname = \"tls\"\naddress = \"{TLS}\"\nprotocol = \"tcp\"\n\
         [[route]]\nlistener = \"tls\"\nsni = [\"a.sim\", \"*.b.sim\"]\nupstream = \"stream\"\n"
    );
    let header = |at: u32| ["off", "v1", "v2"][(chance >> at) as usize % 3];
    let (api_header, stream_header) = (header(52), header(56));
    let both = "request_buffer = \"1KiB\"\nresponse_buffer = \"8KiB\"\n";
    let buffers =
        ["", both, "request_buffer = \"1MiB\"\n", "response_buffer = \"1MiB\"\n"][(chance >> 60) as usize % 4];
    let mut listeners = http_listener(HTTP) + &tcp_listener(TCP) + &udp_listener(UDP) + &tls;
    if chance >> 40 & 3 != 3 {
        listeners += &(http_listener(EXTRA_HTTP) + wants_header);
    }
    if chance >> 42 & 3 != 3 {
        listeners += &(tcp_listener(EXTRA_TCP) + wants_header);
    }
    if chance >> 44 & 3 != 3 {
        listeners += &udp_listener(EXTRA_UDP);
    }
    format!(
        "drain_timeout = \"1h\"\n\
         {listeners}\
         [[route]]\nupstream = \"api\"\ntimeout = \"20m\"\n{buffers}\
         [upstream.api]\nendpoints = [{}]\nbalance = \"{balance}\"\ndrain_timeout = \"off\"\n\
         proxy_protocol = \"{api_header}\"\n\
         [upstream.stream]\nendpoints = [\"{tcp}\"]\ndrain_timeout = \"off\"\nproxy_protocol = \"{stream_header}\"\n\
         [upstream.datagrams]\nendpoints = [{}]\nbalance = \"{balance}\"\n",
        endpoints.join(", "),
        udp_origins.join(", ")
    )
}

fn compiled(registry: &mut Registry, generation: u64, text: &str) -> Snapshot {
    let loaded =
        config::load_text("sim.toml", text, &|_, _| Ok(Vec::new())).unwrap_or_else(|report| panic!("{report}"));
    config::compile(loaded.settings, registry, generation)
}
