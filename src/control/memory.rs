//! The memory contract of one configuration on this machine: what `ringgate check` prints, and the budget that workers keep
//! to. What the numbers mean is in [`crate::health::memory`]; here they are put together from settings and machine.

use crate::base::heap::Budget;
use crate::base::memory::{Available, available};
use crate::health::memory::{self, Figure, Parts};
use crate::snapshot::{Protocol, Route, Snapshot};
use crate::telemetry::access_log::RING_BYTES;

/// Where the machine does not say how much memory it has, it is taken to have so much.
const AVAILABLE_UNKNOWN: u64 = 2 << 30;
/// Without `memory_max` a gateway may hold one part in so many: the rest is for the kernel's socket buffers and for others.
const SHARE_OF_AVAILABLE: u64 = 2;

/// What control cannot know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub workers: usize,
    /// Bytes of one receive buffer, and of all of one worker.
    pub receive_buffer: usize,
    pub receive_buffers: usize,
    /// Bytes on the heap once the configuration is loaded and compiled.
    pub configuration: u64,
}

/// What a configuration may come to, and why.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    pub figure: Figure,
    /// Whether `memory_max` is configured.
    configured: bool,
    available: Option<Available>,
}

impl Contract {
    /// # Errors
    /// If `memory_max` is less than the process needs without connections: what would do.
    pub fn new(memory_max: Option<u64>, snapshot: &Snapshot, sizes: &Sizes) -> Result<Contract, String> {
        Contract::on(memory_max, snapshot, sizes, available())
    }

    fn on(
        memory_max: Option<u64>,
        snapshot: &Snapshot,
        sizes: &Sizes,
        available: Option<Available>,
    ) -> Result<Contract, String> {
        let parts = parts(snapshot, sizes);
        let has = available.map_or(AVAILABLE_UNKNOWN, Available::bytes);
        let configured = memory_max.is_some();
        let memory_max = memory_max.unwrap_or(has / SHARE_OF_AVAILABLE);
        let figure = Figure::new(parts, memory_max).map_err(|too_little| {
            let (needed, workers) = (text(too_little.needed), sizes.workers);
            let (max, source) = (text(memory_max), if configured { "as configured" } else { "half of what there is" });
            format!(
                "`memory_max` is {max} ({source}), and this configuration needs {needed} with {workers} workers before the \
                 first connection: set `memory_max` to \"{}MiB\" or more, or fewer `workers`",
                too_little.needed.div_ceil(1 << 20)
            )
        })?;
        Ok(Contract { figure, configured, available })
    }

    /// Puts it in force.
    pub fn keep(&self, budget: &Budget) {
        budget.set(self.figure.heap_tight, self.figure.heap_full);
    }

    /// What is doubtful about it.
    pub fn warning(&self) -> Option<String> {
        let available = self.available?;
        let (most, has) = (self.figure.most(), available.bytes());
        (self.configured && most > has / 4 * 3).then(|| {
            format!(
                "`memory_max` is {}, and {} {}: the kernel's socket buffers need room beside it, and without room the \
                 process is killed; set `memory_max` to half of it or leave it out",
                text(self.figure.memory_max),
                source(available),
                text(has)
            )
        })
    }

    /// What is promised, in one line.
    pub fn line(&self) -> String {
        let connections = grouped(self.figure.parts.connections);
        format!("memory: at {connections} connections at most {}", text(self.figure.most()))
    }

    /// The line, and what it consists of.
    pub fn explain(&self) -> String {
        let Figure { parts, fixed, idle, worst, memory_max, .. } = self.figure;
        let limit = match (self.configured, self.available) {
            (true, _) => "`memory_max`".to_owned(),
            (false, Some(available)) => format!("half: {} {}", source(available), text(available.bytes())),
            (false, None) => "the machine does not say what it has".to_owned(),
        };
        let mut lines = format!(
            "{}\n  {:>9}  without connections, {} workers\n  {:>9}  one connection at its worst\n  {:>9}  with all connections \
             waiting",
            self.line(),
            text(fixed),
            parts.workers,
            text(parts.connection_worst),
            text(idle),
        );
        if worst > memory_max {
            lines.push_str(&format!(
                "\n  {:>9}  the limit ({limit}): short of it, idle and slow connections are closed and new ones refused\n  {:>9}  \
                 with all connections at their worst, were there no limit",
                text(memory_max),
                text(worst)
            ));
        } else {
            lines.push_str(&format!("\n  {:>9}  with all connections at their worst", text(worst)));
        }
        lines
    }
}

fn source(available: Available) -> &'static str {
    match available {
        Available::Machine(_) => "the machine has",
        Available::ControlGroup(_) => "the control group has",
    }
}

fn parts(snapshot: &Snapshot, sizes: &Sizes) -> Parts {
    let workers = sizes.workers as u64;
    let endpoints = snapshot.upstreams.iter().map(|upstream| {
        let each = u64::from(upstream.idle_connections_max) * workers;
        each.saturating_mul(upstream.endpoints.len() as u64)
    });
    let idle_upstream = endpoints.fold(0, u64::saturating_add).saturating_mul(memory::CONNECTION);
    let mut parts = Parts {
        workers,
        receive_buffers: sizes.receive_buffers as u64,
        configuration: sizes.configuration + workers * (RING_BYTES as u64 + memory::WORKER_HEAP),
        connections: 0,
        connection_worst: 0,
        connections_idle: 0,
        connections_worst: idle_upstream,
    };
    // Which route a request takes is not known before it is there.
    let largest = |of: fn(&Route) -> usize| snapshot.routes.iter().map(of).max().unwrap_or(0) as u64;
    let buffers = [largest(|route| route.request_buffer), largest(|route| route.response_buffer)];
    for listener in &snapshot.listeners {
        let (count, head_max, buffers) = match &listener.protocol {
            Protocol::Http(http) => (listener.connections_max, http.head_max as u64, buffers),
            Protocol::Tcp(_) => (listener.connections_max, 0, [0; 2]),
            // A flow is a connection that has no client's half of its own.
            Protocol::Udp(udp) => (udp.flows_max, 0, [0; 2]),
        };
        let count = u64::from(count);
        let worst = memory::connection_worst(head_max, sizes.receive_buffer as u64, buffers);
        parts.connections = parts.connections.saturating_add(count);
        parts.connection_worst = parts.connection_worst.max(worst);
        parts.connections_idle = parts.connections_idle.saturating_add(count.saturating_mul(memory::CONNECTION));
        parts.connections_worst = parts.connections_worst.saturating_add(count.saturating_mul(worst));
    }
    parts
}

/// As people read it: three digits at least.
fn text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)];
    let (unit, factor) = UNITS.into_iter().find(|(_, factor)| bytes >= *factor).unwrap_or(("MiB", 1 << 20));
    // Rounded up: what is shown is promised.
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(factor));
    if tenths >= 1_000 {
        format!("{} {unit}", tenths.div_ceil(10))
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{compile, load_text};
    use crate::upstream::Registry;

    const FILE: &str =
        "[[listener]]\naddress = \"127.0.0.1:80\"\nupstream = \"a\"\n[upstream.a]\nendpoints = [\"127.0.0.1:81\"]\n";
    const SIZES: Sizes =
        Sizes { workers: 2, receive_buffer: 256 << 10, receive_buffers: 16 << 20, configuration: 1 << 20 };

    fn contract(before: &str, available: Option<Available>) -> Result<Contract, String> {
        contract_of(&format!("{before}\n{FILE}"), available)
    }

    fn contract_of(text: &str, available: Option<Available>) -> Result<Contract, String> {
        let loaded = load_text("test", text, &|_, _| Ok(Vec::new())).unwrap_or_else(|report| panic!("{report}"));
        let memory_max = loaded.settings.memory_max;
        let snapshot = compile(loaded.settings, &mut Registry::new(2), 1);
        Contract::on(memory_max, &snapshot, &SIZES, available)
    }

    #[test]
    fn without_a_key_it_is_half_of_what_there_is() {
        let contract = contract("", Some(Available::ControlGroup(4 << 30))).unwrap();
        assert_eq!(contract.figure.most(), 2 << 30);
        assert_eq!(contract.warning(), None);
        let text = contract.explain();
        assert!(text.starts_with("memory: at 65,536 connections at most 2.0 GiB\n"), "{text}");
        assert!(text.contains("the control group has 4.0 GiB"), "{text}");
        assert!(text.contains("2.0 MiB  one connection at its worst"), "{text}");
    }

    #[test]
    fn a_limit_near_all_there_is_is_doubted() {
        let of = |max: &str| contract(&format!("memory_max = \"{max}\""), Some(Available::Machine(2 << 30))).unwrap();
        assert_eq!(of("1GiB").warning(), None);
        assert!(of("2GiB").warning().is_some_and(|warning| warning.contains("the machine has 2.0 GiB")));
    }

    #[test]
    fn a_limit_that_does_not_do_is_refused_with_one_that_does() {
        let refused = contract("memory_max = \"64MiB\"", None).unwrap_err();
        let (_, after) = refused.split_once("set `memory_max` to \"").unwrap();
        let (least, _) = after.split_once('"').unwrap();
        assert!(contract(&format!("memory_max = \"{least}\""), None).is_ok(), "{refused}");
    }

    #[test]
    fn buffers_of_bodies_count() {
        let text = |keys: &str| format!("[[route]]\npath = \"/x\"\nupstream = \"a\"\n{keys}");
        let worst =
            |keys: &str| contract_of(&format!("{FILE}{}", text(keys)), None).unwrap().figure.parts.connections_worst;
        let (without, with) = (worst(""), worst("request_buffer = \"1MiB\"\nresponse_buffer = \"64KiB\""));
        let each = (with - without) / 65_536;
        assert!((1_114_112..1_300_000).contains(&each), "{each} bytes for each connection");
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(text(2 << 30), "2.0 GiB");
        assert_eq!(text((2 << 30) + 1), "2.1 GiB");
        assert_eq!(text(1), "0.1 MiB");
        assert_eq!(text(999 << 20), "999 MiB");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
