//! The epoll driver.
use super::buffer::{Chunk, Outgoing};
use super::driver::{ListenerId, RemoteWaker, StreamId};
use super::{EngineCounts, EngineSettings, ListenOptions};
use crate::base::Instant;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};

pub(super) struct Epoll;
macro_rules! stub {
    () => {
        unreachable!()
    };
}
#[allow(unused_variables)]
impl Epoll {
    pub(super) fn new(settings: &EngineSettings) -> io::Result<Epoll> {
        Err(io::Error::other("not yet"))
    }
    pub(super) fn remote(&self) -> Arc<RemoteWaker> {
        stub!()
    }
    pub(super) fn wait(&mut self, until: Option<Instant>) -> Instant {
        stub!()
    }
    pub(super) fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<(ListenerId, SocketAddr)> {
        stub!()
    }
    pub(super) fn poll_accept(&mut self, id: ListenerId, waker: &Waker) -> Poll<io::Result<(StreamId, SocketAddr)>> {
        stub!()
    }
    pub(super) fn close_listener(&mut self, id: ListenerId) {
        stub!()
    }
    pub(super) fn connect(&mut self, address: SocketAddr) -> io::Result<StreamId> {
        stub!()
    }
    pub(super) fn poll_connected(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<()>> {
        stub!()
    }
    pub(super) fn poll_receive(&mut self, id: StreamId, waker: &Waker) -> Poll<io::Result<Chunk>> {
        stub!()
    }
    pub(super) fn watch(&mut self, id: StreamId, waker: &Waker) {
        stub!()
    }
    pub(super) fn is_readable(&self, id: StreamId) -> bool {
        stub!()
    }
    pub(super) fn expect_bulk(&mut self, id: StreamId, bulk: bool) {
        stub!()
    }
    pub(super) fn send(&mut self, id: StreamId, outgoing: &mut Outgoing) -> Option<io::Result<()>> {
        stub!()
    }
    pub(super) fn poll_sent(&mut self, id: StreamId, waker: &Waker) -> Poll<(Outgoing, io::Result<()>)> {
        stub!()
    }
    pub(super) fn abandon_send(&mut self, id: StreamId) {
        stub!()
    }
    pub(super) fn shutdown(&mut self, id: StreamId) {
        stub!()
    }
    pub(super) fn linger_off(&mut self, id: StreamId) {
        stub!()
    }
    pub(super) fn close(&mut self, id: StreamId) {
        stub!()
    }
    pub(super) fn local_address(&self, id: StreamId) -> io::Result<SocketAddr> {
        stub!()
    }
    pub(super) fn counts(&self) -> EngineCounts {
        stub!()
    }
}
