//! What the process asks of the kernel about memory: pages of the usual size, and how much there is.

#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Asks for pages of the usual size only (PR_SET_THP_DISABLE, for this process). Called once, by `main`, before anything
/// is started.
///
/// The allocator offers its memory for huge pages. A gateway's heap is small and scattered: with huge pages, 10,000 idle
/// connections cost 19 MiB instead of 9, and the first request alone 9 MiB. No request got slower without them.
pub fn refuse_huge_pages() {
    // SAFETY: the call takes numbers only. Where the kernel does not know it, memory is larger and nothing else differs.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Has the C library map each block of this size or more by itself, so that it is the kernel's again once it is freed
/// (mallopt(3)). Called once, by `main`, before anything is started.
///
/// Blocks that large are what slow readers hold back. Left to itself the C library would learn from the first of them to
/// cut all later ones out of its arenas, which then keep the holes. With 1,500 slow readers that come and go, the process
/// had 108 MiB at most and 51 afterwards; with mimalloc, 142 and 116.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 64 << 10;
        // SAFETY: the call takes numbers only; no other thread runs yet. Where it fails, memory is larger and nothing else
        // differs.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    }
}

/// Memory that this process can have at most, and what says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {
    /// The machine's.
    Machine(u64),
    /// What its control group leaves it, which is less.
    ControlGroup(u64),
}

impl Available {
    pub fn bytes(self) -> u64 {
        match self {
            Available::Machine(bytes) | Available::ControlGroup(bytes) => bytes,
        }
    }
}

/// Reads `/proc` and `/sys/fs/cgroup`; `None` if neither says anything. Blocks.
pub fn available() -> Option<Available> {
    let machine = total(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(Path::new("/sys/fs/cgroup"), &groups);
    Some(match group {
        Some(group) if group < machine => Available::ControlGroup(group),
        _ => Available::Machine(machine),
    })
}

/// proc_meminfo(5): kibibytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the group that `groups` (cgroups(7), `/proc/self/cgroup`) names and of those above it, in version 2
/// and in version 1 of control groups.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let limit = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => least(root, path, "memory.max"),
            controllers if controllers.split(',').any(|name| name == "memory") => {
                least(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    };
    groups.lines().filter_map(limit).min()
}

/// In a container the path may be one of the host's and not be there: what there is at the root then counts.
fn least(root: &Path, path: &str, file: &str) -> Option<u64> {
    let mut place: PathBuf = root.join(path.trim_start_matches('/'));
    let mut least = None;
    loop {
        let text = fs::read_to_string(place.join(file)).unwrap_or_default();
        // "max", or in version 1 a number near 2^63, is no limit.
        least = least.into_iter().chain(text.trim().parse::<u64>().ok()).min();
        if place == root || !place.pop() || !place.starts_with(root) {
            return least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_the_groups_above_counts() {
        let root = std::env::temp_dir().join(format!("ringgate-groups-{}", std::process::id()));
        let inner = root.join("system.slice/gate.service");
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir_all(root.join("memory/docker")).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(group_limit(&root, "0::/system.slice/gate.service\n"), None);
        fs::write(root.join("system.slice/memory.max"), "1000\n").unwrap();
        assert_eq!(group_limit(&root, "0::/system.slice/gate.service\n"), Some(1_000));
        fs::write(inner.join("memory.max"), "500\n").unwrap();
        assert_eq!(group_limit(&root, "0::/system.slice/gate.service\n"), Some(500));
        fs::write(root.join("memory/memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        fs::write(root.join("memory/docker/memory.limit_in_bytes"), "700\n").unwrap();
        let first_version = "12:cpu,cpuacct:/\n5:memory:/docker\n0::/\n";
        assert_eq!(group_limit(&root, first_version), Some(700));
        assert_eq!(group_limit(&root, "0::/not/there/in/this/container\n"), None);
        assert_eq!(group_limit(&root, "not a line\n::\n"), None);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn this_machine_has_memory() {
        assert_eq!(total("MemTotal:       24683520 kB\nMemFree: 1 kB\n"), Some(24_683_520 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(available().is_some_and(|available| available.bytes() > 1 << 20));
    }
}
