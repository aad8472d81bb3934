//! Network namespaces for scenarios that need addresses, routes or broken links of their own. A namespace is a thread that
//! has left the machine's: what it opens and starts is inside, and it is gone when the last of that is. Needs root.

use nix::sched::{CloneFlags, unshare};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a loopback interface and nothing else.
pub struct Namespace {
    jobs: Sender<Job>,
    /// How `ip link set ... netns` calls it.
    thread: i32,
}

impl Namespace {
    pub fn new() -> Namespace {
        let (jobs, queue) = channel::<Job>();
        let (tell, told) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace can be made; this scenario needs root");
            let _ = tell.send(nix::unistd::gettid().as_raw());
            queue.into_iter().for_each(|job| job());
        });
        let namespace = Namespace { jobs, thread: told.recv().expect("a network namespace; this scenario needs root") };
        namespace.ip("link set lo up");
        namespace
    }

    /// Does something inside. Sockets that are opened there stay inside wherever they are used; so do processes.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (give, given) = channel();
        self.jobs.send(Box::new(move || _ = give.send(job()))).expect("nothing inside has failed before");
        given.recv().expect("nothing inside fails")
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) {
        self.shell(&format!("ip {arguments}"));
    }

    /// Runs a line of shell inside.
    pub fn shell(&self, line: &str) {
        let owned = line.to_owned();
        let output = self.run(move || Command::new("sh").args(["-c", &owned]).output().expect("a shell"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Lays a cable to another: `name` here with these addresses, and `other_name` there.
    pub fn cable(&self, name: &str, addresses: &[&str], other: &Namespace, other_name: &str, other_addresses: &[&str]) {
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {}", other.thread));
        for (namespace, name, addresses) in [(self, name, addresses), (other, other_name, other_addresses)] {
            for address in addresses {
                // IPv6 would wait for a second to see whether the address is used already.
                let hurry = if address.contains(':') { " nodad" } else { "" };
                namespace.ip(&format!("address add {address} dev {name}{hurry}"));
            }
            namespace.ip(&format!("link set {name} up"));
        }
    }
}
