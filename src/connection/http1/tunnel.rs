//! A connection after an upgrade: bytes in both directions. It has a task of its own, so that the buffers of the exchange
//! that it began with are another's and the snapshot may go.

use crate::connection::Client;
use crate::connection::connect::UpstreamConnection;
use crate::connection::exchange::Lasting;
use crate::connection::relay;
use crate::engine::{Chunk, Stream};
use std::time::Duration;

pub(super) struct Tunnel {
    pub connection: UpstreamConnection,
    /// What the client and the endpoint have said already.
    pub pending: (Chunk, Chunk),
    pub idle_timeout: Duration,
    pub lasting: Lasting,
}

impl Tunnel {
    pub(super) async fn serve(self, stream: Stream, client: Client) {
        let Tunnel { connection, pending, idle_timeout, lasting } = self;
        let relayed = relay::serve(&client, (stream, pending.0), (connection, pending.1), idle_timeout).await;
        lasting.finish(&client, &relayed);
    }
}
