//! The origins of `ringgate demo`: small servers inside this process that behave as real ones do, well and badly. They
//! serve the demo alone and are no part of the gateway: traffic reaches them through it, over loopback.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::Uri;
use axum::routing::any;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long the slow origin thinks.
const SLOW: Duration = Duration::from_secs(1);
/// The flaky origin reads this much of a request head before it hangs up.
const FLAKY_READ_BYTES: usize = 4096;

/// Where the origins listen: on loopback, on ports of the kernel's choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origins {
    /// Two alike, so that one can see the load being shared.
    pub fast: [SocketAddr; 2],
    /// Answers after a second.
    pub slow: SocketAddr,
    /// Hangs up on every request without an answer.
    pub flaky: SocketAddr,
    pub websocket: SocketAddr,
    pub tcp: SocketAddr,
}

/// Starts all origins on the runtime of the caller; they end with it.
///
/// # Errors
/// No port is free, or the process may open no more files.
pub(super) async fn start() -> io::Result<Origins> {
    Ok(Origins {
        fast: [serve(fast("A")).await?, serve(fast("B")).await?],
        slow: serve(slow()).await?,
        flaky: accept(hang_up).await?,
        websocket: serve(websocket()).await?,
        tcp: accept(echo).await?,
    })
}

fn fast(name: &'static str) -> Router {
    Router::new().fallback(any(async move |uri: Uri| format!("hello from fast origin {name}: you asked for {uri}\n")))
}

fn slow() -> Router {
    Router::new().fallback(any(async || {
        tokio::time::sleep(SLOW).await;
        "the slow origin took its second\n"
    }))
}

fn websocket() -> Router {
    Router::new().fallback(any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages)))
}

async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let content = matches!(message, Message::Text(_) | Message::Binary(_));
        if content && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn hang_up(mut stream: TcpStream) -> io::Result<()> {
    let mut head = [0; FLAKY_READ_BYTES];
    stream.read(&mut head).await.map(|_| ())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

async fn listener() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve(router: Router) -> io::Result<SocketAddr> {
    let (listener, address) = listener().await?;
    // It ends with the runtime; there is nobody to tell that a demo's origin stopped.
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Runs `each` on every connection. A connection that fails is the visitor's affair.
async fn accept<F>(each: fn(TcpStream) -> F) -> io::Result<SocketAddr>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (listener, address) = listener().await?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(each(stream))),
                // Out of files for a moment: let some connections end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn each_behaves_as_it_is_called() {
        let origins = start().await.unwrap();
        assert!(ask(origins.fast[0]).await.ends_with("fast origin A: you asked for /x\n"));
        assert!(ask(origins.fast[1]).await.ends_with("fast origin B: you asked for /x\n"));
        assert!(ask(origins.slow).await.contains("slow origin"));
        assert_eq!(ask(origins.flaky).await, "");
        let refused = ask(origins.websocket).await;
        assert!(refused.starts_with("HTTP/1.1 4"), "no upgrade asked for: {refused}");
        let mut stream = TcpStream::connect(origins.tcp).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");
    }
}
