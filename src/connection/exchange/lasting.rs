//! An exchange that has become a tunnel: what is needed when that ends, without the request and the snapshot that it began
//! with.

use super::record::{Asked, Record};
use crate::base::Sharded;
use crate::connection::names::{Named, Names};
use crate::connection::relay::Relayed;
use crate::connection::{Client, View};
use crate::protocol::http::RequestHead;
use crate::telemetry::RouteStats;
use std::sync::Arc;

pub(crate) struct Lasting {
    record: Record,
    route: Option<Arc<Sharded<RouteStats>>>,
    /// For the access log, if there is one.
    log: Option<Box<Log>>,
}

struct Log {
    names: Names,
    method: Box<[u8]>,
    host: Box<[u8]>,
    path: Box<[u8]>,
    protocol: &'static str,
    request_id: Option<Box<[u8]>>,
}

impl Lasting {
    /// `listener` is its index in the view.
    pub(crate) fn new(record: Record, view: &View, listener: usize, client: &Client, request: &RequestHead) -> Lasting {
        let route = record.route(view);
        let log = view.snapshot.access_log.then(|| {
            let Asked { method, host, path, protocol, request_id } = record.asked(request);
            let names = Names::keep(&Named::of(client, view, listener, route, record.upstream));
            let (method, host, path) = (method.into(), host.into(), path.into());
            Box::new(Log { names, method, host, path, protocol, request_id: request_id.map(Box::from) })
        });
        Lasting { route: route.map(|route| route.stats.clone()), log, record }
    }

    /// Counts the exchange and the tunnel that it became, and writes its line.
    pub(crate) fn finish(mut self, client: &Client, relayed: &Relayed) {
        let context = client.context();
        self.record.bytes_received += relayed.from_client;
        self.record.bytes_sent += relayed.from_endpoint;
        self.record.failure = relayed.failure;
        self.record.count(context, client, self.route.as_deref());
        let Some(log) = self.log else { return };
        let Log { names, method, host, path, protocol, request_id } = &*log;
        let asked = Asked { method, host, path, protocol, request_id: request_id.as_deref() };
        self.record.write(context, client, &names.named(), asked);
    }
}
