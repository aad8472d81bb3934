//! The beginning of a TLS connection that is passed through: its ClientHello is read, a route found by its server name, and
//! everything received goes on to the endpoint unchanged. Called by `opening` for tcp listeners that have routes by `sni`.
//!
//! What has arrived of an incomplete ClientHello is held in memory of its own, at most
//! [`WIRE_BYTES_MAX`](crate::protocol::client_hello::WIRE_BYTES_MAX) bytes of it, and never in a receive buffer.

use super::client::Client;
use super::context::Context;
use super::{http1, tcp};
use crate::engine::{Chunk, Outgoing, Stream};
use crate::health::Failure;
use crate::protocol::client_hello::{Alert, ClientHello, HelloError, HelloReader, is_host_name};
use crate::router::Router;
use crate::snapshot::{Protocol, TcpSettings};
use std::time::Duration;

/// How long a client may take to take the alert that it is sent.
const ALERT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client asked for.
#[derive(Default)]
pub(super) struct Hello {
    pub server_name: Option<Box<[u8]>>,
    /// The one that it prefers.
    pub protocol: Option<Box<[u8]>>,
}

impl Hello {
    fn new(hello: &ClientHello<'_>) -> Hello {
        let protocol = hello.first_protocol().map(Box::from);
        Hello { server_name: hello.server_name.map(Box::from), protocol }
    }
}

/// A connection whose destination is known.
#[derive(Default)]
pub(super) struct Opened {
    /// What has been received from the client already.
    pub first: Option<Chunk>,
    pub hello: Option<Hello>,
    /// The route that its server name found.
    pub route: Option<u32>,
}

/// Why it is closed instead.
enum Refused {
    /// Nothing has come: it was a look at the port.
    Unused,
    Gone,
    Wrong(HelloError),
    NoRoute(Hello),
}

/// Reads the ClientHello and serves the connection. `first` is what has been received already.
pub(super) async fn begin(stream: Stream, client: Client, mut first: Chunk) {
    let context = client.context().clone();
    let (view, index) = client.listener.current(&context);
    let Protocol::Tcp(settings) = &view.snapshot.listeners[index].protocol else { return };
    let deadline = client.opened + settings.client_hello_timeout;
    let mut held = Vec::new();
    let read = context.engine.timeout(deadline, receive(&stream, &mut first, &mut held)).await;
    let opened = match read {
        Ok(Ok(hello)) => find(settings, Some(hello)),
        // Whoever does not speak TLS has no server name, and goes where all go that have none.
        Ok(Err(Refused::Wrong(HelloError::NotTls))) if settings.upstream.is_some() => find(settings, None),
        Ok(Err(refused)) => Err(refused),
        Err(_) => return tcp::refused(&client, Failure::ClientHelloTimeout, None),
    };
    match opened {
        Ok(mut opened) => {
            if !held.is_empty() {
                held.extend_from_slice(&first);
                first = Chunk::copy_of(&held);
            }
            drop(held);
            opened.first = Some(first);
            // A task of its own: this one holds the snapshot.
            context.engine.spawn(tcp::serve(stream, client, opened));
        }
        Err(refused) => refuse(&context, stream, &client, refused).await,
    }
}

/// Receives until the ClientHello is complete: `held` and then `first` are then all that has arrived.
async fn receive(stream: &Stream, first: &mut Chunk, held: &mut Vec<u8>) -> Result<Hello, Refused> {
    let mut reader = HelloReader::default();
    loop {
        if !first.is_empty() {
            match reader.feed(first) {
                Ok(Some(hello)) => return Ok(Hello::new(&hello)),
                Ok(None) => held.extend_from_slice(first),
                Err(error) => return Err(Refused::Wrong(error)),
            }
        }
        // Before the wait: it may be long.
        *first = Chunk::empty();
        *first = match stream.receive().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ if held.is_empty() => return Err(Refused::Unused),
            _ => return Err(Refused::Gone),
        };
    }
}

/// The route for the server name; without one, the listener's own upstream if it has one.
fn find(settings: &TcpSettings, hello: Option<Hello>) -> Result<Opened, Refused> {
    let name = hello.as_ref().and_then(|hello| hello.server_name.as_deref());
    let route = settings.sni.as_ref().zip(name).and_then(|(router, name)| route_of(router, name));
    match hello {
        Some(hello) if route.is_none() && settings.upstream.is_none() => Err(Refused::NoRoute(hello)),
        hello => Ok(Opened { first: None, hello, route }),
    }
}

/// Routes by server name are routes by host, with any path and method.
fn route_of(router: &Router, name: &[u8]) -> Option<u32> {
    if !is_host_name(name) {
        return None;
    }
    router.route(name, b"/", b"").ok()
}

/// Closes the connection, with an alert if the client speaks TLS, and counts it.
async fn refuse(context: &Context, stream: Stream, client: &Client, refused: Refused) {
    let (failure, alert, hello) = match refused {
        Refused::Unused => return,
        Refused::Gone => (Failure::ClientClosed, None, None),
        Refused::Wrong(HelloError::NotTls) => (Failure::NotTls, None, None),
        Refused::Wrong(HelloError::TooLarge) => (Failure::ClientHelloTooLarge, Some(Alert::DecodeError), None),
        Refused::Wrong(HelloError::Malformed(_)) => (Failure::ClientHelloMalformed, Some(Alert::DecodeError), None),
        Refused::NoRoute(hello) if hello.server_name.is_none() => {
            (Failure::NoRoute, Some(Alert::MissingExtension), Some(hello))
        }
        Refused::NoRoute(hello) => (Failure::NoRoute, Some(Alert::UnrecognizedName), Some(hello)),
    };
    tcp::refused(client, failure, hello);
    let Some(alert) = alert else { return };
    let mut outgoing = Outgoing::default();
    outgoing.text().extend_from_slice(&alert.record());
    let until = context.engine.now() + ALERT_TIMEOUT;
    if let Ok(Ok(())) = context.engine.timeout(until, stream.send(&mut outgoing)).await {
        http1::linger(context, &stream).await;
    }
}
