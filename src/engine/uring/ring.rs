//! The ring itself: set-up with what the kernel has, the provided-buffer ring, submission and waiting.

use crate::base::Instant;
use crate::engine::buffer::Arena;
use crate::engine::driver::monotonic;
use io_uring::register::Restriction;
use io_uring::types::BufRingEntry;
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Submission entries; a full queue is submitted and goes on, so this limits batching only.
pub(super) const SUBMISSIONS: u32 = 1024;
/// Multishot operations complete more often than they are submitted, so the completion queue is larger.
pub(super) const COMPLETIONS: u32 = 8 * SUBMISSIONS;
/// The one buffer group.
pub(super) const BUFFER_GROUP: u16 = 0;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;
const ENTER_REGISTERED_RING: u32 = 16;
const REGISTER_RING_FDS: u32 = 20;
const REGISTER_BUFFER_RING: u8 = 22;
const REGISTER_SYNC_CANCEL: u8 = 24;
const ENTER_NO_IOWAIT: u32 = 128;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEvents {
    signal_mask: u64,
    signal_mask_size: u32,
    min_wait_micros: u32,
    timeout: u64,
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

pub(super) struct Ring {
    ring: IoUring,
    /// The ring's descriptor, or its index among the registered ones.
    enter_fd: RawFd,
    enter_flags: u32,
}

impl Ring {
    /// A ring with as many of the wanted features as this kernel has. Errors: EPERM where io_uring is forbidden (not
    /// tried again), EINVAL or EOPNOTSUPP where the kernel is too old for what the driver cannot do without.
    pub(super) fn new() -> io::Result<Ring> {
        let full = |builder: &mut io_uring::Builder| {
            builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
            builder.setup_r_disabled();
        };
        let mut builder = IoUring::builder();
        full(builder.dontfork().setup_cqsize(COMPLETIONS).setup_submit_all().setup_no_sqarray());
        let ring = match builder.build(SUBMISSIONS) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                // Before 6.6 there is no NO_SQARRAY; DEFER_TASKRUN has been there since 6.1.
                let mut builder = IoUring::builder();
                full(builder.dontfork().setup_cqsize(COMPLETIONS).setup_submit_all());
                builder.build(SUBMISSIONS)?
            }
            built => built?,
        };
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Recv::CODE, opcode::SendMsg::CODE, opcode::Accept::CODE, opcode::AsyncCancel::CODE];
        if !ring.params().is_feature_ext_arg() || needed.iter().any(|code| !probe.is_supported(*code)) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        restrict(&ring)?;
        let mut ring = Ring { enter_fd: ring.as_raw_fd(), ring, enter_flags: ENTER_GETEVENTS };
        if ring.ring.params().is_feature_no_iowait() {
            ring.enter_flags |= ENTER_NO_IOWAIT;
        }
        ring.register_descriptor();
        Ok(ring)
    }

    /// Registers the ring's own descriptor, which saves its look-up on every enter. Older kernels do without.
    fn register_descriptor(&mut self) {
        let mut update = RingUpdate { offset: u32::MAX, reserved: 0, data: self.enter_fd as u64 };
        // SAFETY: one valid record, which the kernel reads and writes during the call alone.
        let registered =
            unsafe { libc::syscall(libc::SYS_io_uring_register, self.enter_fd, REGISTER_RING_FDS, &raw mut update, 1) };
        if registered == 1 {
            self.enter_fd = update.offset as RawFd;
            self.enter_flags |= ENTER_REGISTERED_RING;
        }
    }

    /// Queues an entry, submitting first if the queue is full.
    ///
    /// # Safety
    /// What the entry points to must stay valid until its final completion has been seen.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: passed on to the caller.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter(0, None);
        }
    }

    /// Submits what is queued and waits for one completion until `until` (`None`: for ever).
    pub(super) fn wait(&mut self, until: Option<Instant>) {
        let Some(until) = until else { return self.enter(1, None) };
        let left = until.0.saturating_sub(monotonic().0);
        if left == 0 {
            return self.enter(0, None);
        }
        let timeout = Timespec { seconds: (left / 1_000_000_000) as i64, nanos: (left % 1_000_000_000) as i64 };
        self.enter(1, Some(&timeout));
    }

    fn enter(&mut self, wanted: u32, timeout: Option<&Timespec>) {
        let to_submit = {
            let mut queue = self.ring.submission();
            queue.sync();
            queue.len() as u32
        };
        let events = timeout.map(|timeout| GetEvents {
            signal_mask: 0,
            signal_mask_size: 0,
            min_wait_micros: 0,
            timeout: ptr::from_ref(timeout) as u64,
        });
        let (argument, size, flag) = match &events {
            Some(events) => (ptr::from_ref(events), size_of::<GetEvents>(), ENTER_EXT_ARG),
            None => (ptr::null(), 0, 0),
        };
        let flags = self.enter_flags | flag;
        // SAFETY: `events` and the timespec that it points to outlive the call; what the queued entries point to is
        // valid by the contract of `push`.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, self.enter_fd, to_submit, wanted, flags, argument, size) };
        // ETIME is the timeout, EINTR a signal, EBUSY an overflow that the reaping below this call resolves; entries
        // that were not taken stay queued for the next call.
        debug_assert!(
            result >= 0
                || matches!(
                    io::Error::last_os_error().raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ),
            "io_uring_enter: {:?}",
            io::Error::last_os_error()
        );
    }

    /// The next completion, if there is one.
    pub(super) fn completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    pub(super) fn has_completion(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Moves completions into `into` (at most its free capacity is used; more stay queued).
    pub(super) fn reap(&mut self, into: &mut Vec<cqueue::Entry>) {
        let queue = self.ring.completion();
        into.extend(queue);
    }

    pub(super) fn overflows(&mut self) -> u32 {
        self.ring.completion().overflow()
    }

    /// Cancels everything that is in flight. True if the kernel says that nothing is left.
    pub(super) fn cancel_all(&mut self) -> bool {
        let timeout = io_uring::types::Timespec::new().sec(1);
        let cancelled =
            self.ring.submitter().register_sync_cancel(Some(timeout), io_uring::types::CancelBuilder::any());
        match cancelled {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        }
    }
}

/// Forbids the ring whatever this driver does not use, so that a fault elsewhere in the process cannot use it for more,
/// and lets it begin. A kernel that does not take the restrictions does without them.
fn restrict(ring: &IoUring) -> io::Result<()> {
    const OPERATIONS: [u8; 8] = [
        opcode::Recv::CODE,
        opcode::Send::CODE,
        opcode::SendMsg::CODE,
        opcode::Connect::CODE,
        opcode::Accept::CODE,
        opcode::PollAdd::CODE,
        opcode::AsyncCancel::CODE,
        opcode::Close::CODE,
    ];
    const REGISTRATIONS: [u8; 3] = [REGISTER_RING_FDS as u8, REGISTER_BUFFER_RING, REGISTER_SYNC_CANCEL];
    let flags = squeue::Flags::BUFFER_SELECT | squeue::Flags::SKIP_SUCCESS;
    let mut restrictions: Vec<Restriction> = OPERATIONS.into_iter().map(Restriction::sqe_op).collect();
    restrictions.extend(REGISTRATIONS.into_iter().map(Restriction::register_op));
    restrictions.push(Restriction::sqe_flags_allowed(flags.bits()));
    let _ = ring.submitter().register_restrictions(&mut restrictions);
    ring.submitter().register_enable_rings()
}

/// The ring of free receive buffers that the kernel takes from.
pub(super) struct BufferRing {
    arena: Rc<Arena>,
    entries: *mut BufRingEntry,
    count: u16,
    tail: u16,
    /// Buffers that the kernel has and has not filled.
    pub(super) available: usize,
}

impl BufferRing {
    pub(super) fn new(ring: &Ring, arena: &Rc<Arena>) -> io::Result<BufferRing> {
        let count = arena.buffer_count() as u16;
        // SAFETY: an anonymous private mapping at no given address touches no existing memory.
        let entries = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::len(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if entries == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let entries: *mut BufRingEntry = entries.cast();
        let mut buffers = BufferRing { arena: arena.clone(), entries, count, tail: 0, available: 0 };
        // SAFETY: the mapping is page-aligned, large enough for `count` entries and lives until after the ring is
        // gone (`Uring::drop` leaks it otherwise).
        unsafe { ring.ring.submitter().register_buf_ring_with_flags(entries as u64, count, BUFFER_GROUP, 0)? };
        buffers.refill();
        Ok(buffers)
    }

    fn len(count: u16) -> usize {
        usize::from(count) * size_of::<BufRingEntry>()
    }

    /// Gives the kernel every buffer that nobody holds any more.
    pub(super) fn refill(&mut self) {
        let mut added = false;
        while let Some(index) = self.arena.take() {
            let slot = self.tail & (self.count - 1);
            // SAFETY: `slot` is below `count`, so the entry lies inside the mapping; the kernel reads it only after
            // the tail is published below.
            let entry = unsafe { &mut *self.entries.add(usize::from(slot)) };
            entry.set_addr(self.arena.address(index) as u64);
            entry.set_len(self.arena.buffer_size() as u32);
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            self.available += 1;
            added = true;
        }
        if added {
            // SAFETY: the address of the tail is inside the first entry, aligned for u16, and shared with the kernel,
            // which reads it atomically.
            let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// Unmaps the entries. Call it only when the ring is gone.
    pub(super) fn unmap(&mut self) {
        // SAFETY: `entries` was mapped by `new` with this length, and per the precondition the kernel no longer reads.
        unsafe { libc::munmap(self.entries.cast(), Self::len(self.count)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_does_nothing_that_it_was_not_made_for() {
        let mut ring = match Ring::new() {
            Ok(ring) => ring,
            Err(error) => return println!("skipped: {error}"),
        };
        // SAFETY: the entry points to no memory.
        unsafe { ring.push(opcode::Nop::new().build()) };
        ring.wait(Some(Instant::NEVER));
        assert_eq!(ring.completion().map(|completion| completion.result()), Some(-libc::EACCES));
    }
}
