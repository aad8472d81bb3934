//! Listening sockets of one worker: opened, accepted from, and closed as snapshots say. What a connection then does is
//! `connection`'s; nothing here knows HTTP.

use crate::connection::{self, Client, Context, ListenerHandle, View, http1, udp};
use crate::engine::{self, DatagramOptions, ListenOptions, Raced, Stream, race};
use crate::snapshot::{Listener, Protocol};
use crate::upstream::Transport;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How long accepting pauses after an error such as EMFILE: the kernel keeps the connections queued meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Accept errors are logged once in this time.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// Bytes of datagrams that the kernel may hold for each worker until it receives them; `net.core.rmem_max` may allow less.
const DATAGRAM_QUEUE_BYTES: usize = 4 << 20;

/// The listeners that a worker has open.
#[derive(Default)]
pub struct Listeners {
    open: RefCell<Vec<Rc<ListenerHandle>>>,
}

impl Listeners {
    /// Opens what the view has and is not open, and closes what it no longer has. A listener that stays keeps its
    /// socket and its connections; one that is gone lets its connections end.
    ///
    /// # Errors
    /// Of each listener that could not be opened; the others are.
    pub fn follow(&self, context: &Rc<Context>, view: &Rc<View>) -> Vec<(String, io::Error)> {
        let mut errors = Vec::new();
        self.open.borrow_mut().retain(|handle| {
            let kept = view.snapshot.listeners.iter().any(|listener| listener.identity.id == handle.identity.id);
            if !kept {
                close(context, handle);
            }
            kept
        });
        for (index, listener) in view.snapshot.listeners.iter().enumerate() {
            if self.open.borrow().iter().any(|handle| handle.identity.id == listener.identity.id) {
                continue;
            }
            match open(context, view, index, listener) {
                Ok(Some(handle)) => self.open.borrow_mut().push(handle),
                Ok(None) => {}
                Err(error) => errors.push((listener.name.clone(), error)),
            }
        }
        errors
    }

    /// Closes all of them; connections go on to the end of their present request.
    pub fn close_all(&self, context: &Context) {
        for handle in self.open.borrow_mut().drain(..) {
            close(context, &handle);
        }
    }
}

fn open(
    context: &Rc<Context>,
    view: &Rc<View>,
    index: usize,
    listener: &Listener,
) -> io::Result<Option<Rc<ListenerHandle>>> {
    let Some(handle) = ListenerHandle::new(view, index) else { return Ok(None) };
    let address = listener.bound_address();
    match listener.protocol.transport() {
        Transport::Stream => {
            let socket = context.engine.listen(address, &ListenOptions::default())?;
            context.engine.spawn(accept_all(context.clone(), socket, handle.clone()));
        }
        Transport::Datagram if udp::resume(context, &handle) => {}
        Transport::Datagram => {
            let options = DatagramOptions { reuse_port: true, coalesce: true, queue_bytes: DATAGRAM_QUEUE_BYTES };
            let socket = context.engine.bind_datagrams(address, &options)?;
            context.engine.spawn(udp::serve(context.clone(), socket, handle.clone()));
        }
    }
    Ok(Some(handle))
}

fn close(context: &Context, handle: &ListenerHandle) {
    handle.stop.notify();
    // This also makes the handle see that the snapshot has it no more.
    let _ = handle.current(context);
    context.close_parked_of(handle.identity.id);
}

/// Accepts until the listener is closed; what the kernel has queued by then is still served.
async fn accept_all(context: Rc<Context>, socket: engine::Listener, handle: Rc<ListenerHandle>) {
    let mut quiet_until = context.engine.now();
    loop {
        let error = match race(socket.accept(), handle.stop.wait()).await {
            Raced::First(Ok((stream, address))) => {
                admit(&context, &handle, stream, address);
                continue;
            }
            Raced::First(Err(error)) => error,
            Raced::Second(()) => break,
        };
        handle.identity.stats.shard(context.worker).accept_errors.inc();
        let now = context.engine.now();
        if now >= quiet_until {
            quiet_until = now + LOG_PAUSE;
            let (view, index) = handle.current(&context);
            let name = &view.snapshot.listeners[index].name;
            context.log.warn(format_args!("listener `{name}` cannot accept: {error}{}", cure(&error)));
        }
        if let Raced::Second(()) = race(context.engine.sleep(ACCEPT_PAUSE), handle.stop.wait()).await {
            break;
        }
    }
    while let Ok(Ok((stream, address))) = context.engine.timeout(context.engine.now(), socket.accept()).await {
        admit(&context, &handle, stream, address);
    }
}

fn cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit of open files (LimitNOFILE in a systemd unit, or ulimit -n)",
        Some(libc::ENFILE) => "; raise the system's limit of open files (sysctl fs.file-max)",
        _ => "",
    }
}

/// Lets a connection in, or refuses it where the listener has no room.
fn admit(context: &Rc<Context>, handle: &Rc<ListenerHandle>, stream: Stream, address: SocketAddr) {
    let (view, index) = handle.current(context);
    let listener = &view.snapshot.listeners[index];
    if !Client::has_room(listener) {
        handle.identity.stats.shard(context.worker).connections_refused.inc();
        if let Protocol::Http(_) = listener.protocol {
            context.engine.spawn(http1::refuse_connection(context.clone(), stream));
        }
        return;
    }
    connection::accept(context, stream, Client::new(context, handle, address));
}
