//! Connections and listeners: opened, accepted, closed. One epoll_ctl for the life of each, but for sockets that are shared.

use super::{
    ACCEPTS_A_TURN, Epoll, KIND_LISTENER, KIND_STREAM, ListenerSlot, Listening, STREAM_INTEREST, StreamSlot, calls,
    data, set_waker,
};
use crate::base::{Address, SharedSocket};
use crate::engine::driver::{ListenerId, StreamId};
use crate::engine::spent::Spent;
use crate::engine::{ConnectOptions, ListenOptions, socket};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Poll, Waker};

impl Epoll {
    pub(in crate::engine) fn connect(&mut self, address: &Address, options: &ConnectOptions) -> io::Result<StreamId> {
        let socket = socket::connecting(address, options, true)?;
        match socket.connect(&address.to_kernel()?) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        // Only now: a socket that has not begun to connect reports a hangup.
        self.add_stream(socket.into(), true, address.is_unix())
    }

    pub(in crate::engine) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        let slot = &mut self.streams[id.0 as usize];
        if slot.connecting {
            set_waker(&mut slot.send_waker, waker);
            return Poll::Pending;
        }
        if !slot.hangup {
            return Poll::Ready(Ok(()));
        }
        // The other side may have accepted, sent and closed in the meantime: only an error is a failed connect.
        match socket::take_error(slot.fd.as_raw_fd()) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn add_stream(&mut self, fd: OwnedFd, connecting: bool, unix: bool) -> io::Result<StreamId> {
        let entry = self.streams.vacant_entry();
        let index = entry.key() as u32;
        self.poller.add(fd.as_raw_fd(), STREAM_INTEREST, data(KIND_STREAM, index))?;
        entry.insert(StreamSlot::new(fd, connecting, unix));
        Ok(StreamId(index))
    }

    fn fd(&self, id: StreamId) -> RawFd {
        self.streams[id.0 as usize].fd.as_raw_fd()
    }

    pub(in crate::engine) fn shutdown(&mut self, id: StreamId) {
        socket::shutdown_send(self.fd(id));
    }

    pub(in crate::engine) fn linger_off(&mut self, id: StreamId) {
        socket::linger_off(self.fd(id));
    }

    pub(in crate::engine) fn acknowledged(&self, id: StreamId) -> u64 {
        socket::acknowledged(self.fd(id), self.streams[id.0 as usize].unix_sent)
    }

    pub(in crate::engine) fn was_reset(&self, id: StreamId) -> bool {
        socket::was_reset(self.fd(id), self.streams[id.0 as usize].received)
    }

    pub(in crate::engine) fn local_address(&self, id: StreamId) -> io::Result<Address> {
        socket::local_address(self.fd(id))
    }

    pub(in crate::engine) fn close(&mut self, id: StreamId) {
        self.streams.remove(id.0 as usize);
    }

    pub(in crate::engine) fn listen(
        &mut self,
        address: &Address,
        options: &ListenOptions,
    ) -> io::Result<(ListenerId, Address)> {
        let (socket, local) = socket::listening(address, options, true)?;
        Ok((self.add_listener(Listening::Own(socket))?, local))
    }

    pub(in crate::engine) fn listen_shared(&mut self, socket: &Arc<SharedSocket>) -> io::Result<ListenerId> {
        // Another thread may take the connection that this one was told of.
        socket.set_nonblocking(true)?;
        self.add_listener(Listening::Shared(socket.clone()))
    }

    fn add_listener(&mut self, socket: Listening) -> io::Result<ListenerId> {
        let accepts = Spent::default();
        let slot = ListenerSlot { socket, registered: false, accepted: false, ready: false, accepts, waker: None };
        let id = ListenerId(self.listeners.insert(slot) as u32);
        self.register(id).inspect_err(|_| _ = self.listeners.remove(id.0 as usize))?;
        Ok(id)
    }

    fn register(&mut self, id: ListenerId) -> io::Result<()> {
        let slot = &mut self.listeners[id.0 as usize];
        self.poller.add(slot.socket.fd(), slot.socket.interest(), data(KIND_LISTENER, id.0))?;
        (slot.registered, slot.accepted) = (true, false);
        Ok(())
    }

    /// Puts a shared listener behind the others that wait for the same socket. Without this the same thread would be
    /// woken first for every connection.
    fn stand_behind(&mut self, id: ListenerId) -> io::Result<()> {
        let slot = &mut self.listeners[id.0 as usize];
        if slot.registered {
            if !slot.accepted || matches!(slot.socket, Listening::Own(_)) {
                return Ok(());
            }
            self.poller.remove(slot.socket.fd());
            slot.registered = false;
        }
        self.register(id)
    }

    pub(in crate::engine) fn poll_accept(
        &mut self,
        id: ListenerId,
        waker: &Waker,
    ) -> Poll<io::Result<(StreamId, Address)>> {
        loop {
            let slot = &mut self.listeners[id.0 as usize];
            if !slot.ready {
                if let Err(error) = self.stand_behind(id) {
                    return Poll::Ready(Err(error));
                }
                let slot = &mut self.listeners[id.0 as usize];
                set_waker(&mut slot.waker, waker);
                return Poll::Pending;
            }
            if !slot.accepts.spend(self.turn, ACCEPTS_A_TURN) {
                self.postponed.push(waker.clone());
                return Poll::Pending;
            }
            match calls::accept(slot.socket.fd()) {
                Ok((fd, client)) => {
                    slot.accepted = true;
                    let stream = self.add_stream(fd, false, client.is_unix());
                    return Poll::Ready(stream.map(|id| (id, client)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => slot.ready = false,
                Err(error) if is_of_connection(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(in crate::engine) fn listener_fd(&self, id: ListenerId) -> RawFd {
        self.listeners[id.0 as usize].socket.fd()
    }

    pub(in crate::engine) fn close_listener(&mut self, id: ListenerId) {
        let slot = self.listeners.remove(id.0 as usize);
        if let Listening::Shared(socket) = &slot.socket {
            // Others keep the socket open: without this it would go on waking an engine that accepts no more.
            self.poller.remove(socket.fd());
        }
    }
}

/// Errors of accept(2) that are those of the connection at the head of the queue, which the kernel then has dropped.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
