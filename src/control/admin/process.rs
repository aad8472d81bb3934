//! What the kernel knows about this process, from `/proc`. The names are those that every Prometheus client uses.

use crate::telemetry::prometheus::Page;
use crate::telemetry::stats;
use std::fs;

/// The kernel gives times to user space in hundredths of a second, on every architecture (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// How much of the machine the process uses. What `/proc` does not show is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    cpu_seconds: f64,
    /// Since 1970-01-01 UTC, exact to the second.
    start_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    fds: u64,
    fds_max: u64,
}

/// Reads `/proc`; `None` if it is not there.
pub(super) fn usage() -> Option<Usage> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let mut usage = Usage::default();
    usage.read_stat(&read("/proc/self/stat")?, &read("/proc/stat").unwrap_or_default());
    usage.read_status(&read("/proc/self/status").unwrap_or_default());
    usage.read_limits(&read("/proc/self/limits").unwrap_or_default());
    usage.fds = open_fds();
    Some(usage)
}

/// Since Linux 6.2 the size of the directory is the number of open descriptors; before, its entries are counted.
fn open_fds() -> u64 {
    match fs::metadata("/proc/self/fd").map_or(0, |directory| directory.len()) {
        // The descriptor that reads the directory is one of the entries.
        0 => fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        count => count,
    }
}

impl Usage {
    pub(super) fn show(&self, page: &mut Page) {
        let plain = String::new;
        page.metric(&stats::PROCESS_CPU, [(plain(), self.cpu_seconds)]);
        page.metric(&stats::PROCESS_MEMORY_RESIDENT, [(plain(), self.resident_bytes)]);
        page.metric(&stats::PROCESS_MEMORY_VIRTUAL, [(plain(), self.virtual_bytes)]);
        page.metric(&stats::PROCESS_FDS, [(plain(), self.fds)]);
        page.metric(&stats::PROCESS_FDS_MAX, [(plain(), self.fds_max)]);
        page.metric(&stats::PROCESS_THREADS, [(plain(), self.threads)]);
        page.metric(&stats::PROCESS_START_TIME, [(plain(), self.start_seconds)]);
    }

    /// proc_pid_stat(5): after the name in parentheses, which may hold anything, fields 14, 15 and 22.
    fn read_stat(&mut self, own: &str, system: &str) {
        let fields: Vec<&str> = own.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // The first field after the name is number 3.
        let ticks = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        self.cpu_seconds = (ticks(14) + ticks(15)) / TICKS_PER_SECOND;
        let boot = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        self.start_seconds = boot.map_or(0.0, |boot| boot + ticks(22) / TICKS_PER_SECOND);
    }

    /// proc_pid_status(5).
    fn read_status(&mut self, status: &str) {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        self.resident_bytes = number("VmRSS") * 1024;
        self.virtual_bytes = number("VmSize") * 1024;
        self.threads = number("Threads");
    }

    /// proc_pid_limits(5): the soft limit.
    fn read_limits(&mut self, limits: &str) {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().next());
        self.fds_max = soft.map_or(0, |soft| soft.parse().unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_process_may_hold_anything() {
        let mut usage = Usage::default();
        let own = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 1000 1 1 1";
        usage.read_stat(own, "cpu 1 2\nbtime 1700000000\n");
        assert_eq!((usage.cpu_seconds, usage.start_seconds), (2.0, 1_700_000_010.0));
    }

    #[test]
    fn nothing_readable_is_zero() {
        let mut usage = Usage::default();
        usage.read_stat("", "");
        usage.read_status("VmRSS:\nThreads: many\n");
        usage.read_limits("Max open files\n");
        assert_eq!(usage, Usage::default());
        usage.read_limits("Max open files            unlimited            unlimited            files\n");
        assert_eq!(usage.fds_max, u64::MAX);
    }

    #[test]
    fn this_process_is_seen() {
        let usage = usage().unwrap();
        assert!(usage.resident_bytes > 0 && usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.threads > 0 && usage.fds > 0 && usage.fds_max > 0);
        assert!(usage.start_seconds > 1_600_000_000.0);
    }
}
