//! The admin listener: metrics, readiness, what is in force, reload. HTTP on the control plane's runtime.
//!
//! It shows and asks; it decides nothing: [`AdminState`] is all that it reaches, a reload is a call that the supervisor
//! answers, and what operators want of endpoints is told to the verdicts. It reads atomics and the published snapshot, so no worker ever waits for it. `cli/run` wires it.

mod guard;
mod metrics;
mod pages;
mod process;
mod upstreams;
mod view;

use super::health::Verdicts;
use super::supervisor::Drains;
use crate::base::Sharded;
use crate::base::heap::Budget;
use crate::snapshot::Published;
use crate::telemetry::{ConfigStats, LogStats, WorkerStats, log};
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Open connections; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head. No page reads a body.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// From a connection's first byte, or the end of a response, to the end of the next request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After this a connection ends with the response that is under way ...
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// ... which has this long.
const CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// How long a failed accept (no file descriptor left) waits before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All that the admin listener sees and may ask for.
pub struct AdminState {
    /// The snapshot in force and whether the process drains.
    pub published: Arc<Published>,
    /// Set once, when every worker has bound its listeners.
    pub started: Arc<AtomicBool>,
    /// The driver that the workers run on: `uring` or `epoll`.
    pub engine: &'static str,
    pub workers: Arc<Sharded<WorkerStats>>,
    pub config: Arc<ConfigStats>,
    pub log: Arc<LogStats>,
    /// What the heap holds and may hold.
    pub budget: Arc<Budget>,
    pub drains: Arc<Drains>,
    /// How endpoints stand, and what operators want of them.
    pub verdicts: Arc<Verdicts>,
    /// Asks the supervisor to read the configuration anew.
    pub reload: Box<dyn Fn() -> ReloadFuture + Send + Sync>,
}

/// What [`AdminState::reload`] gives back.
pub type ReloadFuture = Pin<Box<dyn Future<Output = ReloadOutcome> + Send>>;

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReloadOutcome {
    /// Whether the new configuration is in force. If not, nothing has changed.
    pub applied: bool,
    /// Of the snapshot in force now.
    pub generation: u64,
    /// What changed, or what `ringgate check` says about the file.
    pub text: String,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// Binds the admin listener. Apart from [`serve`], so that start-up can fail before anything runs.
///
/// # Errors
/// Whatever the kernel answers; [`io::ErrorKind::AddrInUse`] usually means that another Ringgate runs.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the future is dropped. Runs within a tokio runtime that has I/O and time.
///
/// # Errors
/// If the listener cannot be registered with the runtime.
pub async fn serve(listener: std::net::TcpListener, state: Arc<AdminState>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let pages = pages::pages(state);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                let pages = pages.clone();
                tokio::spawn(async move {
                    serve_connection(stream, client, pages).await;
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("admin listener: cannot accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Where a request comes from; the guard finds it beside the request.
#[derive(Clone, Copy, Debug)]
struct Client(SocketAddr);

async fn serve_connection(stream: TcpStream, client: SocketAddr, pages: Router) {
    let service = TowerToHyperService::new(pages);
    let with_client = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Client(client));
        hyper::service::Service::call(&service, request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), with_client);
    let mut connection = pin!(connection);
    // An error here is a client that went away or spoke no HTTP: nothing to do.
    if timeout(CONNECTION_LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CONNECTION_GRACE, connection).await;
    }
}

#[cfg(test)]
mod tests;
