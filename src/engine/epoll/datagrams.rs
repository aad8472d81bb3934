//! Datagram sockets of the epoll driver: an edge says that something has arrived, and the rest is the slot's.

use super::{Epoll, KIND_DATAGRAM, data};
use crate::engine::datagram::{Batch, DatagramOptions, DatagramSlot, KernelSocket};
use crate::engine::driver::DatagramId;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, Waker};

impl Epoll {
    pub(in crate::engine) fn bind_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        let (socket, local) = KernelSocket::bound(address, options, self.datagram_size)?;
        Ok((self.add_datagrams(socket)?, local))
    }

    pub(in crate::engine) fn connect_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        let (socket, local) = KernelSocket::connected(address, options, self.datagram_size)?;
        Ok((self.add_datagrams(socket)?, local))
    }

    fn add_datagrams(&mut self, socket: KernelSocket) -> io::Result<DatagramId> {
        let entry = self.datagrams.vacant_entry();
        let index = entry.key() as u32;
        self.poller.add(socket.fd(), libc::EPOLLIN, data(KIND_DATAGRAM, index))?;
        entry.insert(DatagramSlot::new(socket));
        Ok(DatagramId(index))
    }

    pub(super) fn datagram_event(&mut self, index: u32) {
        if let Some(slot) = self.datagrams.get_mut(index as usize) {
            slot.arrived();
        }
    }

    pub(in crate::engine) fn datagram_size(&self) -> usize {
        self.datagram_size
    }

    pub(in crate::engine) fn poll_receive_datagrams(
        &mut self,
        id: DatagramId,
        waker: &Waker,
        batch: &mut Batch,
    ) -> Poll<io::Result<()>> {
        self.datagrams[id.0 as usize].poll_receive(waker, batch)
    }

    pub(in crate::engine) fn send_datagram(
        &mut self,
        id: DatagramId,
        bytes: &[u8],
        segment: usize,
        to: Option<(SocketAddr, Option<IpAddr>)>,
    ) -> io::Result<()> {
        self.datagrams[id.0 as usize].socket.send(bytes, segment, to)
    }

    pub(in crate::engine) fn datagrams_overflowed(&self, id: DatagramId) -> u64 {
        self.datagrams[id.0 as usize].socket.overflowed()
    }

    pub(in crate::engine) fn close_datagrams(&mut self, id: DatagramId) {
        self.datagrams.remove(id.0 as usize);
    }
}
