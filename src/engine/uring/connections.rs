//! Connections and listeners: opened, accepted, closed. A slot is free again when its last operation has completed.

use super::{Connect, Kind, ListenerSlot, Listening, Receive, StreamSlot, Uring, set_waker, user_data};
use crate::base::{Address, SharedSocket};
use crate::engine::driver::{ListenerId, StreamId};
use crate::engine::{ConnectOptions, ListenOptions, socket};
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Accepted connections that may wait before accepting pauses.
const ACCEPTED_MAX: usize = 1024;

impl Uring {
    pub(in crate::engine) fn connect(&mut self, address: &Address, options: &ConnectOptions) -> io::Result<StreamId> {
        if address.is_unix() {
            return self.connect_unix(address, options);
        }
        let kernel_address = address.to_kernel()?;
        let fd = socket::connecting(address, options, false)?.into_raw_fd();
        let index = self.add_stream(fd, false);
        let slot = &mut self.streams[index as usize];
        let connect = slot.connect.insert(Box::new(Connect { address: kernel_address, result: None }));
        let entry = opcode::Connect::new(Fd(fd), connect.address.as_ptr().cast(), connect.address.len())
            .build()
            .user_data(user_data(Kind::Connect, index));
        slot.in_flight += 1;
        // SAFETY: the address is boxed in the slot until the completion.
        unsafe { self.ring.push(entry) };
        Ok(StreamId(index))
    }

    /// A Unix socket connects at once or not at all. Through the ring a full queue would be waited for by a thread of
    /// the kernel's.
    fn connect_unix(&mut self, address: &Address, options: &ConnectOptions) -> io::Result<StreamId> {
        let socket = socket::connecting(address, options, true)?;
        socket.connect(&address.to_kernel()?)?;
        socket.set_nonblocking(false)?;
        Ok(StreamId(self.add_stream(socket.into_raw_fd(), true)))
    }

    pub(super) fn connected(&mut self, index: u32, result: i32) {
        let slot = &mut self.streams[index as usize];
        slot.in_flight -= 1;
        if slot.closed {
            return self.release(index);
        }
        if let Some(connect) = &mut slot.connect {
            connect.result = Some(result);
        }
        if let Some(waker) = slot.send_waker.take() {
            waker.wake();
        }
    }

    pub(in crate::engine) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        let Some(connect) = &slot.connect else {
            return Poll::Ready(Ok(()));
        };
        let Some(result) = connect.result else {
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        };
        slot.connect = None;
        Poll::Ready(if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) })
    }

    pub(super) fn add_stream(&mut self, fd: RawFd, unix: bool) -> u32 {
        self.streams.insert(StreamSlot::new(fd, unix)) as u32
    }

    pub(in crate::engine) fn shutdown(&mut self, id: StreamId) {
        socket::shutdown_send(self.streams[id.0 as usize].fd);
    }

    pub(in crate::engine) fn linger_off(&mut self, id: StreamId) {
        socket::linger_off(self.streams[id.0 as usize].fd);
    }

    pub(in crate::engine) fn acknowledged(&self, id: StreamId) -> u64 {
        let slot = &self.streams[id.0 as usize];
        socket::acknowledged(slot.fd, slot.unix_sent)
    }

    pub(in crate::engine) fn was_reset(&self, id: StreamId) -> bool {
        let slot = &self.streams[id.0 as usize];
        socket::was_reset(slot.fd, slot.received)
    }

    pub(in crate::engine) fn local_address(&self, id: StreamId) -> io::Result<Address> {
        socket::local_address(self.streams[id.0 as usize].fd)
    }

    pub(in crate::engine) fn close(&mut self, id: StreamId) {
        let slot = &mut self.streams[id.0 as usize];
        slot.closed = true;
        slot.queue.clear();
        (slot.receive_waker, slot.send_waker) = (None, None);
        let (fd, receive, sending, connecting) = (slot.fd, slot.receive, slot.sending, slot.connect.is_some());
        let polling_full = slot.polling_full;
        slot.fd = -1;
        match receive {
            Receive::Multishot | Receive::Single => self.cancel(user_data(Kind::Receive, id.0)),
            Receive::Polling => self.cancel(user_data(Kind::Readable, id.0)),
            Receive::Off | Receive::Ending | Receive::Starved => {}
        }
        if polling_full {
            self.cancel(user_data(Kind::Writable, id.0));
        }
        if sending {
            self.cancel(user_data(Kind::Send, id.0));
        } else {
            self.recycle_send(id.0);
        }
        if connecting {
            self.cancel(user_data(Kind::Connect, id.0));
        }
        self.close_fd(fd);
        self.release(id.0);
    }

    pub(super) fn cancel(&mut self, data: u64) {
        let entry =
            opcode::AsyncCancel::new(data).build().flags(Flags::SKIP_SUCCESS).user_data(user_data(Kind::Ignore, 0));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn close_fd(&mut self, fd: RawFd) {
        self.closing = true;
        let entry = opcode::Close::new(Fd(fd)).build().flags(Flags::SKIP_SUCCESS).user_data(user_data(Kind::Ignore, 0));
        // SAFETY: the entry points to no memory; the descriptor is ours and named nowhere else any more.
        unsafe { self.ring.push(entry) };
    }

    /// Frees the slot of a closed stream once its last operation has completed.
    pub(super) fn release(&mut self, index: u32) {
        let slot = &self.streams[index as usize];
        if slot.closed && slot.in_flight == 0 {
            self.recycle_send(index);
            self.streams.remove(index as usize);
        }
    }

    pub(in crate::engine) fn listen(
        &mut self,
        address: &Address,
        options: &ListenOptions,
    ) -> io::Result<(ListenerId, Address)> {
        let (socket, local) = socket::listening(address, options, false)?;
        let slot = ListenerSlot::new(Listening::Own(socket), &local);
        Ok((ListenerId(self.listeners.insert(slot) as u32), local))
    }

    pub(in crate::engine) fn listen_shared(&mut self, socket: &Arc<SharedSocket>) -> io::Result<ListenerId> {
        // The ring waits where there is nothing to accept.
        socket.set_nonblocking(false)?;
        let slot = ListenerSlot::new(Listening::Shared(socket.clone()), socket.address());
        Ok(ListenerId(self.listeners.insert(slot) as u32))
    }

    pub(in crate::engine) fn poll_accept(
        &mut self,
        id: ListenerId,
        waker: &Waker,
    ) -> Poll<io::Result<(StreamId, Address)>> {
        loop {
            let slot = &mut self.listeners[id.0 as usize];
            let unix = slot.unix;
            match slot.accepted.pop_front() {
                // What a client may have bound its socket to is its own affair and says nothing of who it is.
                Some(Ok(fd)) if unix => {
                    return Poll::Ready(Ok((StreamId(self.add_stream(fd, true)), Address::UnixUnnamed)));
                }
                Some(Ok(fd)) => match socket::remote_address(fd) {
                    Ok(client) => return Poll::Ready(Ok((StreamId(self.add_stream(fd, false)), client))),
                    // The client is gone already.
                    Err(_) => self.close_fd(fd),
                },
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    set_waker(&mut slot.waker, waker);
                    if !slot.armed {
                        self.arm_accept(id.0);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    pub(super) fn arm_accept(&mut self, index: u32) {
        let slot = &mut self.listeners[index as usize];
        let Some(socket) = &slot.socket else { return };
        slot.armed = true;
        let entry = match socket {
            Listening::Own(socket) => {
                opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build()
            }
            // One at a time: the kernel wakes who has waited longest, and a multishot accept never leaves its place.
            Listening::Shared(socket) => {
                let nowhere = std::ptr::null_mut();
                opcode::Accept::new(Fd(socket.fd()), nowhere, nowhere.cast()).flags(libc::SOCK_CLOEXEC).build()
            }
        };
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry.user_data(user_data(Kind::Accept, index))) };
    }

    pub(super) fn accepted(&mut self, index: u32, result: i32, flags: u32) {
        let slot = &mut self.listeners[index as usize];
        if !cqueue::more(flags) {
            slot.armed = false;
        }
        if slot.closed {
            let armed = slot.armed;
            if result >= 0 {
                self.close_fd(result);
            }
            if !armed {
                self.listeners.remove(index as usize);
            }
            return;
        }
        if result >= 0 {
            slot.accepted.push_back(Ok(result));
        } else if result != -libc::ECANCELED {
            slot.accepted.push_back(Err(io::Error::from_raw_os_error(-result)));
        }
        let pause = slot.armed && slot.accepted.len() == ACCEPTED_MAX;
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        if pause {
            self.cancel(user_data(Kind::Accept, index));
        }
    }

    pub(in crate::engine) fn listener_fd(&self, id: ListenerId) -> RawFd {
        match &self.listeners[id.0 as usize].socket {
            Some(Listening::Own(socket)) => socket.as_raw_fd(),
            Some(Listening::Shared(socket)) => socket.fd(),
            // A listener is closed when its handle is dropped, and then nobody can ask.
            None => -1,
        }
    }

    pub(in crate::engine) fn close_listener(&mut self, id: ListenerId) {
        let slot = &mut self.listeners[id.0 as usize];
        slot.closed = true;
        let accepted = std::mem::take(&mut slot.accepted);
        let socket = slot.socket.take();
        let armed = slot.armed;
        if armed {
            // Before the close: a multishot accept holds the socket and would go on accepting.
            self.cancel(user_data(Kind::Accept, id.0));
        } else {
            self.listeners.remove(id.0 as usize);
        }
        for fd in accepted.into_iter().flatten() {
            self.close_fd(fd);
        }
        match socket {
            Some(Listening::Own(socket)) => self.close_fd(socket.into_raw_fd()),
            // Others may still accept from it. An accept in flight holds the socket, whatever becomes of the descriptor.
            Some(Listening::Shared(_)) | None => {}
        }
    }
}
