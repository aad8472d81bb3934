//! Sending a signal to a process, or to a group of them, by its id. Called by command line tools and by the control plane,
//! never by a worker.

use std::io;

/// Sends SIGHUP to one process. `pid` is above 0: the other numbers mean groups of processes, or all.
///
/// # Errors
/// If there is no such process, or it is not ours to signal.
pub fn send_hangup(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
    let Some(pid) = pid else { return Err(io::Error::from_raw_os_error(libc::ESRCH)) };
    // SAFETY: kill takes two integers and touches no memory of this process.
    #[allow(unsafe_code)]
    let outcome = unsafe { libc::kill(pid, libc::SIGHUP) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills the group of processes that the child `pid` leads. `pid` is above 1, and a child that was not waited for yet: its
/// number is still its own.
///
/// # Errors
/// If there is no such group, or it is not ours to kill.
pub fn kill_group(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 1);
    let Some(pid) = pid else { return Err(io::Error::from_raw_os_error(libc::ESRCH)) };
    // SAFETY: killpg takes two integers and touches no memory of this process.
    #[allow(unsafe_code)]
    let outcome = unsafe { libc::killpg(pid, libc::SIGKILL) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_group_of_processes_can_be_meant() {
        for pid in [0, u32::MAX, i32::MAX as u32] {
            assert!(send_hangup(pid).is_err());
            assert!(kill_group(pid).is_err() && kill_group(1).is_err());
        }
    }
}
