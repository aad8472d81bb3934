//! One simulated world: a worker, its origins, its clients, and somebody who reloads all the time.

use crate::clients;
use crate::datagrams;
use crate::gateway::{Gateway, configuration};
use crate::ledger::{Counts, Ledger};
use crate::origins::{Speaks, origin};
use ringgate::base::heap::{self, Budget, Share};
use ringgate::engine::{Engine, SimFaults, SimSettings};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

pub const HTTP: &str = "10.0.0.1:80";
pub const TCP: &str = "10.0.0.1:6000";
/// A listener that passes TLS through, by server name: those that have a route, and one that has none.
pub const TLS: &str = "10.0.0.1:443";
pub const SERVER_NAMES: [&str; 2] = ["a.sim", "deep.in.b.sim"];
pub const UNKNOWN_NAME: &str = "b.sim";
/// Listeners that some configurations have and others do not. They want a PROXY header from everybody.
pub const EXTRA_HTTP: &str = "10.0.0.1:81";
pub const EXTRA_TCP: &str = "10.0.0.1:6001";
/// The same port as one of TCP, which is another listener.
pub const UDP: &str = "10.0.0.1:6000";
pub const EXTRA_UDP: &str = "10.0.0.1:53";
pub const HTTP_ORIGINS: [&str; 3] = ["10.1.0.1:9000", "10.1.0.2:9000", "10.1.0.3:9000"];
pub const TCP_ORIGINS: [&str; 2] = ["10.2.0.1:7000", "10.2.0.2:7000"];
pub const UDP_ORIGINS: [&str; 2] = ["10.3.0.1:5300", "10.3.0.2:5300"];

/// Longer than every timeout in the configuration one after the other: who waits longer waits for ever.
const LASTS_MAX: Duration = Duration::from_secs(3 * 3600);
/// Longer than any connection stays open by itself that nobody uses, and than the slowest takes for what was sent before it
/// was closed: 50 KB at some hundred bytes a second. Shorter than a relay may be idle.
const SETTLES: Duration = Duration::from_secs(15 * 60);

/// Where a client goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub address: &'static str,
    /// Not every configuration has it.
    pub comes_and_goes: bool,
    /// A connection to it begins with a PROXY header.
    pub wants_header: bool,
}

pub struct World {
    settings: SimSettings,
    ledger: Rc<Ledger>,
    /// Origins are killed and started again.
    origins_die: bool,
    requests: usize,
    /// Bytes beyond what the world itself needs at its beginning.
    memory: Option<u64>,
}

/// What a run comes to; the same seed comes to the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    trace: u64,
    pub counts: Counts,
    pub spliced_bytes: u64,
    /// Connections, requests and sends that had to go because memory was short.
    pub given_up: u64,
}

impl World {
    /// The seed decides what the world is like, too.
    pub fn new(seed: u64) -> World {
        let origins_die = seed % 3 == 2 && seed / 6 % 2 == 1;
        let (faults, lossy) = match seed % 3 {
            0 => (SimFaults::default(), false),
            1 => {
                let some = SimFaults::some();
                (SimFaults { reset: 0.0, connect_refused: 0.0, connect_timeout: 0.0, ..some }, false)
            }
            _ if origins_die => (SimFaults::default(), true),
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
        World { settings, ledger: Rc::new(Ledger::new(lossy, origins_close)), origins_die, requests: 12, memory: None }
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

    /// A world in which memory is short now and then.
    pub fn poor(seed: u64) -> World {
        let mut world = World::new(seed * 3 + 2);
        world.ledger.clients_break_off.set(true);
        world.memory = Some([1_000_000, 400_000, 100_000][(seed % 3) as usize]);
        world
    }

    /// Runs to the end and checks that nothing is left.
    pub fn run(self) -> Summary {
        let engine = Engine::simulated(&self.settings).expect("the simulation has what it needs");
        let budget = Budget::of_one_thread(u64::MAX, u64::MAX);
        let _entered = self.memory.map(|_| Share::enter(budget.clone(), 0));
        let (inner, ledger, buffers) = (engine.clone(), self.ledger.clone(), self.settings.buffers);
        let given_up = engine.run(async move { live(inner, self, buffers, &budget).await });
        let trace = engine.trace();
        engine.stop();
        let ending = engine.clone();
        engine.run(async move { ending.sleep(Duration::from_secs(300)).await });
        check_engine(&engine, buffers);
        assert_eq!(engine.counts().datagram_sockets, 0, "datagram sockets are left");
        ledger.check();
        Summary { trace, counts: ledger.counts(), spliced_bytes: engine.counts().spliced_bytes, given_up }
    }
}

fn check_engine(engine: &Engine, buffers: u16) {
    let counts = engine.counts();
    assert_eq!(counts.streams, 0, "streams are left");
    assert_eq!(counts.buffers_free, u64::from(buffers), "buffers are left");
    assert_eq!((counts.pipes_used, counts.pipe_bytes), (0, 0), "pipes are left");
    assert_eq!(counts.bytes_detached, 0, "bytes wait for nobody");
    assert_eq!(counts.bytes_received_held, 0, "receive buffers are held");
    assert_eq!(counts.tasks_panicked, 0);
}

/// Gives how much was given up for want of memory.
async fn live(engine: Engine, world: World, buffers: u16, budget: &Budget) -> u64 {
    start_origins(&engine, &world);
    let dying = world.origins_die;
    let gateway = Gateway::start(&engine, &configuration(0));
    engine.sleep(Duration::from_millis(1)).await;
    let (tasks, sockets) = (engine.counts().tasks_active, engine.counts().datagram_sockets);
    if let Some(memory) = world.memory {
        heap::look();
        let full = budget.held() + memory;
        budget.set(full - memory / 8, full);
    }
    let running = start_clients(&engine, &world);
    let (start, until) = (engine.now(), engine.now() + LASTS_MAX);
    while running.get() > 0 {
        // Less often as time goes on: a slow world is reloaded often enough.
        engine.sleep(Duration::from_millis(1 + engine.random() % 100) + (engine.now() - start) / 10).await;
        gateway.reload(&configuration(engine.random()));
        assert_eq!(engine.counts().tasks_panicked, 0, "a task panicked");
        assert!(engine.now() < until, "{} clients wait for ever", running.get());
    }
    // As at the beginning, so that what is left can be told from what is there.
    gateway.reload(&configuration(0));
    engine.sleep(SETTLES).await;
    check_engine(&engine, buffers);
    assert_eq!(engine.counts().tasks_active, tasks, "tasks are left");
    if !dying {
        assert_eq!(engine.counts().datagram_sockets, sockets, "datagram sockets are left");
    }
    gateway.check_idle();
    let given_up = gateway.given_up();
    gateway.drain().await;
    given_up
}

fn start_clients(engine: &Engine, world: &World) -> Rc<Cell<usize>> {
    let running = Rc::new(Cell::new(0));
    let place = |address| Place { address, comes_and_goes: false, wants_header: false };
    let extra = |address| Place { address, comes_and_goes: true, wants_header: true };
    for at in [HTTP; 6].map(place).into_iter().chain([EXTRA_HTTP; 2].map(extra)) {
        let client = clients::http(engine.clone(), world.ledger.clone(), at, world.requests);
        count_down(engine, &running, client);
    }
    for at in [TCP; 3].map(place).into_iter().chain([extra(EXTRA_TCP)]) {
        count_down(engine, &running, clients::tcp(engine.clone(), world.ledger.clone(), at));
    }
    for _ in 0..3 {
        count_down(engine, &running, clients::tls(engine.clone(), world.ledger.clone(), place(TLS)));
    }
    for at in [place(HTTP), extra(EXTRA_HTTP)] {
        count_down(engine, &running, clients::tunnel(engine.clone(), world.ledger.clone(), at));
    }
    for at in [UDP; 2].map(place).into_iter().chain([extra(EXTRA_UDP)]) {
        let client = datagrams::client(engine.clone(), world.ledger.clone(), at, world.requests * 3);
        count_down(engine, &running, client);
    }
    running
}

fn count_down(engine: &Engine, running: &Rc<Cell<usize>>, task: impl Future<Output = ()> + 'static) {
    running.set(running.get() + 1);
    let running = running.clone();
    engine.spawn(async move {
        task.await;
        running.set(running.get() - 1);
    });
}

fn start_origins(engine: &Engine, world: &World) {
    let http = HTTP_ORIGINS.iter().map(|address| (address, Speaks::Http));
    for (address, speaks) in http.chain(TCP_ORIGINS.iter().map(|address| (address, Speaks::Tcp))) {
        let address = address.parse().expect("an address");
        engine.spawn(origin(engine.clone(), world.ledger.clone(), address, speaks, world.origins_die));
    }
    for address in UDP_ORIGINS {
        let address = address.parse().expect("an address");
        engine.spawn(datagrams::origin(engine.clone(), address, world.origins_die));
    }
}
