//! One simulated world: a worker, its origins, its clients, and somebody who reloads all the time.

use crate::{clients, origins};
use ringgate::base::Sharded;
use ringgate::connection::Context;
use ringgate::control::config;
use ringgate::engine::{Engine, ListenOptions, SimFaults, SimSettings};
use ringgate::snapshot::{Phase, Published, Snapshot};
use ringgate::telemetry::access_log::access_log;
use ringgate::telemetry::log::worker_log;
use ringgate::upstream::Registry;
use ringgate::worker;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const HTTP: &str = "10.0.0.1:80";
pub const TCP: &str = "10.0.0.1:6000";
const HTTP_ORIGINS: [&str; 3] = ["10.1.0.1:9000", "10.1.0.2:9000", "10.1.0.3:9000"];
const TCP_ORIGINS: [&str; 2] = ["10.2.0.1:7000", "10.2.0.2:7000"];

/// Longer than every timeout in the configuration one after the other: who waits longer waits for ever.
const LASTS_MAX: Duration = Duration::from_secs(3 * 3600);

/// What was asked and what became of it.
pub struct Ledger {
    /// Requests and connections may fail here: the network loses them.
    pub lossy: bool,
    /// Origins close connections on which the next request may be on its way.
    pub origins_close: bool,
    ids: Cell<u64>,
    seen: RefCell<HashMap<u64, u32>>,
    answers: RefCell<HashMap<u64, u32>>,
    refused: Cell<u64>,
    relayed: Cell<u64>,
}

impl Ledger {
    pub fn next_id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    /// An origin has received a request.
    pub fn saw(&self, id: u64) {
        *self.seen.borrow_mut().entry(id).or_default() += 1;
    }

    /// A client has received the right answer.
    pub fn answered(&self, id: u64) {
        *self.answers.borrow_mut().entry(id).or_default() += 1;
    }

    pub fn refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    pub fn relayed(&self) {
        self.relayed.set(self.relayed.get() + 1);
    }

    fn check(&self) {
        for (id, times) in self.answers.borrow().iter() {
            assert_eq!(*times, 1, "request {id} was answered {times} times");
            let seen = self.seen.borrow().get(id).copied().unwrap_or(0);
            assert!(seen >= 1, "request {id} was answered by nobody");
            assert!(self.lossy || self.origins_close || seen == 1, "request {id} came {seen} times to an origin");
        }
        assert!(self.lossy || !self.answers.borrow().is_empty(), "nothing was answered");
    }
}

pub struct World {
    settings: SimSettings,
    ledger: Rc<Ledger>,
    requests: usize,
}

/// What a run comes to; the same seed comes to the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    trace: u64,
    answered: usize,
    refused: u64,
    relayed: u64,
}

impl World {
    /// The seed decides what the world is like, too.
    pub fn new(seed: u64) -> World {
        let (faults, lossy) = match seed % 3 {
            0 => (SimFaults::default(), false),
            1 => {
                let some = SimFaults::some();
                (SimFaults { reset: 0.0, connect_refused: 0.0, connect_timeout: 0.0, ..some }, false)
            }
            _ => (SimFaults::some(), true),
        };
        let origins_close = seed / 3 % 2 == 1;
        let settings = SimSettings {
            seed,
            buffers: [64, 8, 4][(seed / 6 % 3) as usize],
            buffer_size: [64 * 1024, 4 * 1024][(seed / 18 % 2) as usize],
            window: [256 * 1024, 16 * 1024, 2 * 1024][(seed / 36 % 3) as usize],
            faults,
            ..SimSettings::default()
        };
        let ledger = Ledger {
            lossy,
            origins_close,
            ids: Cell::default(),
            seen: RefCell::default(),
            answers: RefCell::default(),
            refused: Cell::default(),
            relayed: Cell::default(),
        };
        World { settings, ledger: Rc::new(ledger), requests: 12 }
    }

    /// A world in which nothing fails, and every second connection is slow: some kilobytes in a second.
    pub fn slow(seed: u64) -> World {
        let mut world = World::new(seed * 18);
        assert!(!world.ledger.lossy && !world.ledger.origins_close);
        world.settings.faults.slow = 0.5;
        world.settings.latency = (Duration::from_millis(40), Duration::from_millis(60));
        world.requests = 4;
        world
    }

    /// Runs to the end and checks that nothing is left.
    pub fn run(self) -> Summary {
        let engine = Engine::simulated(&self.settings).expect("the simulation has what it needs");
        let (inner, ledger) = (engine.clone(), self.ledger.clone());
        engine.run(async move { live(inner, ledger, self.requests).await });
        let trace = engine.trace();
        engine.stop();
        let ending = engine.clone();
        engine.run(async move { ending.sleep(Duration::from_secs(300)).await });
        let counts = engine.counts();
        assert_eq!(counts.streams, 0, "streams are left");
        assert_eq!(counts.buffers_free, u64::from(self.settings.buffers), "buffers are left");
        assert_eq!(counts.tasks_panicked, 0);
        self.ledger.check();
        Summary {
            trace,
            answered: self.ledger.answers.borrow().len(),
            refused: self.ledger.refused.get(),
            relayed: self.ledger.relayed.get(),
        }
    }
}

async fn live(engine: Engine, ledger: Rc<Ledger>, requests: usize) {
    const HTTP_CLIENTS: usize = 8;
    const TCP_CLIENTS: usize = 3;
    const TUNNELS: usize = 2;
    start_origins(&engine, &ledger);
    let gateway = Gateway::start(&engine);
    let running = Rc::new(Cell::new(HTTP_CLIENTS + TCP_CLIENTS + TUNNELS));
    for _ in 0..HTTP_CLIENTS {
        count_down(&engine, &running, clients::http(engine.clone(), ledger.clone(), requests));
    }
    for _ in 0..TCP_CLIENTS {
        count_down(&engine, &running, clients::tcp(engine.clone(), ledger.clone()));
    }
    for _ in 0..TUNNELS {
        count_down(&engine, &running, clients::tunnel(engine.clone(), ledger.clone()));
    }
    let (start, until) = (engine.now(), engine.now() + LASTS_MAX);
    while running.get() > 0 {
        // Less often as time goes on: a slow world is reloaded often enough.
        engine.sleep(Duration::from_millis(1 + engine.random() % 100) + (engine.now() - start) / 10).await;
        gateway.reload(engine.random());
        assert_eq!(engine.counts().tasks_panicked, 0, "a task panicked");
        assert!(engine.now() < until, "{} clients wait for ever", running.get());
    }
    gateway.drain().await;
}

fn count_down(engine: &Engine, running: &Rc<Cell<usize>>, task: impl Future<Output = ()> + 'static) {
    let running = running.clone();
    engine.spawn(async move {
        task.await;
        running.set(running.get() - 1);
    });
}

fn start_origins(engine: &Engine, ledger: &Rc<Ledger>) {
    let listen = |address: &str| {
        let address = address.parse().expect("an address");
        engine.listen(address, &ListenOptions::default()).expect("the address is free")
    };
    for address in HTTP_ORIGINS {
        let (inner, ledger) = (engine.clone(), ledger.clone());
        let serve = move |stream| origins::http(inner.clone(), ledger.clone(), stream);
        engine.spawn(origins::accept_all(engine.clone(), listen(address), serve));
    }
    for address in TCP_ORIGINS {
        engine.spawn(origins::accept_all(engine.clone(), listen(address), origins::echo));
    }
}

/// The worker, and the control plane as far as it matters.
struct Gateway {
    context: Rc<Context>,
    published: Arc<Published>,
    registry: RefCell<Registry>,
    stopped: Rc<Cell<bool>>,
}

impl Gateway {
    fn start(engine: &Engine) -> Gateway {
        let mut registry = Registry::new(1);
        let published = Arc::new(Published::new(snapshot(&mut registry, 1, 0)));
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
    fn reload(&self, chance: u64) {
        let generation = self.published.generation() + 1;
        let snapshot = snapshot(&mut self.registry.borrow_mut(), generation, chance);
        self.published.publish(Arc::new(snapshot));
        self.context.engine.remote().wake();
    }

    async fn drain(self) {
        let snapshot = self.published.load();
        self.published.advance(Phase::Draining);
        self.context.engine.remote().wake();
        while !self.stopped.get() {
            self.context.engine.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.context.connections.get(), 0, "client connections are left");
        for upstream in &snapshot.upstreams {
            for endpoint in &upstream.endpoints {
                let in_flight = endpoint.identity.in_flight.load(Ordering::Relaxed);
                assert_eq!(in_flight, 0, "requests are left at {}", endpoint.identity.address);
            }
        }
    }
}

/// One of the configurations that this world knows.
fn snapshot(registry: &mut Registry, generation: u64, chance: u64) -> Snapshot {
    let balance = ["round_robin", "least_request", "random"][(chance % 3) as usize];
    let present = 1 + chance / 3 % 7;
    let endpoints: Vec<String> = HTTP_ORIGINS
        .iter()
        .enumerate()
        .filter(|(at, _)| present & (1 << at) != 0)
        .map(|(at, address)| format!("{{ address = \"{address}\", weight = {} }}", 1 + (chance >> (8 * at)) % 5))
        .collect();
    let tcp = TCP_ORIGINS[(chance >> 32) as usize % 2];
    let text = format!(
        "[[listener]]\naddress = \"{HTTP}\"\nprotocol = \"http\"\n\
         [[listener]]\naddress = \"{TCP}\"\nprotocol = \"tcp\"\nupstream = \"echo\"\n\
         [[route]]\nupstream = \"api\"\ntimeout = \"5m\"\n\
         [upstream.api]\nendpoints = [{}]\nbalance = \"{balance}\"\n\
         [upstream.echo]\nendpoints = [\"{tcp}\"]\n",
        endpoints.join(", ")
    );
    let loaded =
        config::load_text("sim.toml", &text, &|_, _| Ok(Vec::new())).unwrap_or_else(|report| panic!("{report}"));
    config::compile(loaded.settings, registry, generation)
}
