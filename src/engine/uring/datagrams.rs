//! Datagram sockets of the uring driver: a multishot poll says that something has arrived, and the slot then takes all of it
//! with one call.
//!
//! Not a multishot receive: that takes a buffer of the ring for each datagram, of which there are few and large ones, and
//! completes once for each, where one call takes dozens of datagrams into places that are free again when it returns. And
//! sends are made at once: a datagram is copied or lost, so there is nothing to wait for.

use super::{Kind, Uring, user_data};
use crate::engine::datagram::{Batch, DatagramOptions, DatagramSlot, KernelSocket};
use crate::engine::driver::DatagramId;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, Waker};

impl Uring {
    pub(in crate::engine) fn bind_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        let (socket, local) = KernelSocket::bound(address, options, self.datagram_size)?;
        Ok((self.add_datagrams(socket), local))
    }

    pub(in crate::engine) fn connect_datagrams(
        &mut self,
        address: SocketAddr,
        options: &DatagramOptions,
    ) -> io::Result<(DatagramId, SocketAddr)> {
        let (socket, local) = KernelSocket::connected(address, options, self.datagram_size)?;
        Ok((self.add_datagrams(socket), local))
    }

    fn add_datagrams(&mut self, socket: KernelSocket) -> DatagramId {
        let index = self.datagrams.insert(DatagramSlot::new(socket)) as u32;
        self.arm_datagrams(index);
        DatagramId(index)
    }

    fn arm_datagrams(&mut self, index: u32) {
        let entry = opcode::PollAdd::new(Fd(self.datagrams[index as usize].socket.fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(user_data(Kind::Datagram, index));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(entry) };
    }

    pub(super) fn datagram_event(&mut self, index: u32, flags: u32) {
        let slot = &mut self.datagrams[index as usize];
        let ended = !cqueue::more(flags);
        if slot.closed {
            if ended {
                self.datagrams.remove(index as usize);
            }
            return;
        }
        slot.arrived();
        if ended {
            // The poll was ended by a full completion queue; made again, it tells what has arrived meanwhile.
            self.arm_datagrams(index);
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
        let slot = &mut self.datagrams[id.0 as usize];
        slot.close();
        // The poll holds the socket: without this it would stay open, and go on receiving.
        self.cancel(user_data(Kind::Datagram, id.0));
    }
}
