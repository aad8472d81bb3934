//! Listening sockets of one worker: opened, accepted from, and closed as snapshots say. What a connection then does is
//! `connection`'s; nothing here knows HTTP.

use crate::base::{Address, SharedSocket};
use crate::connection::{self, Context, ListenerHandle, View, udp};
use crate::engine::{self, DatagramOptions, ListenOptions, Raced, Stream, TcpOptions, race};
use crate::snapshot::{Listener, Snapshot, SocketSettings, TcpSocket};
use crate::upstream::Transport;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long accepting pauses after an error such as EMFILE: the kernel keeps the connections queued meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a retired socket is silent when nothing is left in its queue: far more than a turn of the engine.
const ACCEPT_LAST: Duration = Duration::from_millis(10);
/// Accept errors are logged once in this time.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// Bytes of datagrams that the kernel may hold for each worker until it receives them; `net.core.rmem_max` may allow less.
const DATAGRAM_QUEUE_BYTES: usize = 4 << 20;

/// The listeners that a worker has open.
#[derive(Default)]
pub struct Listeners {
    open: RefCell<Vec<Open>>,
    /// Those that drain.
    closing: RefCell<Vec<Rc<ListenerHandle>>>,
}

/// A listener that accepts.
struct Open {
    handle: Rc<ListenerHandle>,
    /// The socket, if other workers accept from it too.
    shared: Option<Arc<SharedSocket>>,
    /// What connections are accepted from.
    socket: Option<Rc<engine::Listener>>,
    /// What its socket is set to.
    settings: RefCell<SocketSettings>,
}

impl Open {
    /// Whether `listener` is this one, on this socket. A listener that was removed and added again between two looks of
    /// this worker has another.
    fn serves(&self, listener: &Listener) -> bool {
        let identity = &listener.identity;
        let same = |socket: &Arc<SharedSocket>| {
            identity.shared.load().as_ref().is_some_and(|present| Arc::ptr_eq(present, socket))
        };
        identity.id == self.handle.identity.id && self.shared.as_ref().is_none_or(same)
    }

    /// Sets the socket to what the listener says now.
    fn set_options(&self, listener: &Listener) -> io::Result<()> {
        if *self.settings.borrow() == listener.socket {
            return Ok(());
        }
        self.settings.replace(listener.socket.clone());
        self.socket.as_ref().map_or(Ok(()), |socket| socket.set_options(&options(listener)))
    }
}

impl Listeners {
    /// Opens what the view has and is not open, and closes what it no longer has. A listener that stays keeps its
    /// socket and its connections; one that is gone lets its connections end.
    ///
    /// # Errors
    /// Of each listener that could not be opened; the others are.
    pub fn follow(&self, context: &Rc<Context>, view: &Rc<View>) -> Vec<(String, io::Error)> {
        let mut errors = Vec::new();
        let is_kept = |open: &Open| view.snapshot.listeners.iter().any(|listener| open.serves(listener));
        let gone: Vec<_> = self.open.borrow_mut().extract_if(.., |open| !is_kept(open)).collect();
        self.close(context, view, gone);
        for (index, listener) in view.snapshot.listeners.iter().enumerate() {
            if let Some(open) = self.open.borrow().iter().find(|open| open.serves(listener)) {
                if let Err(error) = open.set_options(listener) {
                    errors.push((listener.name.clone(), error));
                }
                // Takes over its place in this view, and lets the old one go.
                open.handle.current(context);
                continue;
            }
            match open(context, view, index, listener) {
                Ok(Some(opened)) => self.open.borrow_mut().push(opened),
                Ok(None) => {}
                Err(error) => errors.push((listener.name.clone(), error)),
            }
        }
        errors
    }

    /// Closes all of them; connections go on to the end of their present request, and to the drain deadline at most.
    pub fn close_all(&self, context: &Rc<Context>) {
        let all = self.open.take();
        self.close(context, &context.view(), all);
    }

    fn close(&self, context: &Rc<Context>, view: &View, gone: Vec<Open>) {
        let mut closing = self.closing.borrow_mut();
        closing.retain(|handle| handle.connections.get() > 0);
        for Open { handle, .. } in gone {
            context.engine.spawn(close(context.clone(), handle.clone(), &view.snapshot));
            closing.push(handle);
        }
    }

    /// Ends the connections of all listeners that drain.
    pub fn cut_all(&self) {
        self.closing.borrow().iter().for_each(|handle| handle.cut.give());
    }
}

fn open(context: &Rc<Context>, view: &Rc<View>, index: usize, listener: &Listener) -> io::Result<Option<Open>> {
    let Some(handle) = ListenerHandle::new(view, index) else { return Ok(None) };
    let shared = listener.identity.shared.load_full();
    let settings = RefCell::new(listener.socket.clone());
    let socket = match (listener.bound_address(), listener.protocol.transport()) {
        (Address::Ip(address), Transport::Datagram) => {
            open_datagrams(context, *address, &handle)?;
            None
        }
        (address, _) => {
            let socket = Rc::new(match &shared {
                Some(shared) => context.engine.listen_shared(shared)?,
                None => context.engine.listen(address, &options(listener))?,
            });
            context.accepting.set(context.accepting.get() + 1);
            context.engine.spawn(accept_all(context.clone(), socket.clone(), handle.clone()));
            Some(socket)
        }
    };
    Ok(Some(Open { handle, shared, socket, settings }))
}

fn options(listener: &Listener) -> ListenOptions {
    let SocketSettings { tcp: TcpSocket { keepalive, user_timeout }, fast_open, transparent, .. } = listener.socket;
    let tcp = TcpOptions { keepalive, user_timeout };
    ListenOptions { transparent, fast_open, tcp, ..ListenOptions::default() }
}

fn open_datagrams(context: &Rc<Context>, address: SocketAddr, handle: &Rc<ListenerHandle>) -> io::Result<()> {
    if !udp::resume(context, handle) {
        let options = DatagramOptions { reuse_port: true, coalesce: true, queue_bytes: DATAGRAM_QUEUE_BYTES };
        let socket = context.engine.bind_datagrams(address, &options)?;
        context.engine.spawn(udp::serve(context.clone(), socket, handle.clone()));
    }
    Ok(())
}

/// Closes a listener: it accepts no more, its idle connections may bring one more request for a moment, and what is left at
/// the drain deadline is cut off.
fn close(context: Rc<Context>, handle: Rc<ListenerHandle>, snapshot: &Snapshot) -> impl Future<Output = ()> + use<> {
    handle.stop.notify();
    let deadline = context.engine.now() + snapshot.drain_timeout;
    let idle_until = deadline.min(context.engine.now() + snapshot.drain_idle_timeout);
    handle.drain(idle_until);
    async move {
        // In this time the accept loop takes in what the kernel had queued.
        context.engine.sleep_until(idle_until).await;
        context.close_parked_of(&handle);
        while handle.connections.get() > 0 && context.engine.now() < deadline {
            let _ = context.engine.timeout(deadline, handle.emptied.wait()).await;
        }
        if handle.connections.get() > 0 {
            handle.cut.give();
        }
    }
}

/// Accepts until the listener is closed; what the kernel has queued by then is still served.
async fn accept_all(context: Rc<Context>, socket: Rc<engine::Listener>, handle: Rc<ListenerHandle>) {
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
            context.log.warn(format_args!("listener `{name}` cannot accept: {error}{}", connection::cure(&error)));
        }
        if let Raced::Second(()) = race(context.engine.sleep(ACCEPT_PAUSE), handle.stop.wait()).await {
            break;
        }
    }
    // A shared socket takes no more by now, so what it still has is bounded, and must all be taken: it is lost with the
    // last worker that lets go of the socket. Others share nothing, and go on being filled until they are closed.
    let last = if socket.local_address().is_unix() { ACCEPT_LAST } else { Duration::ZERO };
    while let Ok(Ok((stream, address))) = context.engine.timeout(context.engine.now() + last, socket.accept()).await {
        admit(&context, &handle, stream, address);
    }
    context.accepting.set(context.accepting.get().saturating_sub(1));
}

/// Lets a connection in, or refuses it.
fn admit(context: &Rc<Context>, handle: &Rc<ListenerHandle>, stream: Stream, address: Address) {
    let client = match connection::admit(context, handle, &address) {
        Ok(client) => client,
        Err(why) => return connection::refuse(context, handle, stream, &address, why),
    };
    connection::accept(context, stream, client);
}
