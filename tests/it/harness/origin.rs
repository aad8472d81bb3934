//! Origins whose every step a scenario decides: one thread accepts, one thread serves each connection.

use super::message::{Request, Response};
use super::{PATIENCE, wait_for};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A server that the gate sends to. It goes on until the process ends; a scenario is one process's while.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicUsize,
    requests: Mutex<Vec<Request>>,
}

impl Origin {
    /// Answers each request by `answer`, keeps connections open, and remembers every request.
    pub fn http(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Origin {
        let shared = Arc::new(Shared::default());
        let remembered = shared.clone();
        Origin::start(shared, move |mut connection| {
            let _ = serve(&mut connection, &remembered, &answer);
        })
    }

    /// Answers every request with this text.
    pub fn text(text: &'static str) -> Origin {
        Origin::http(move |_| Response::ok(text))
    }

    /// Runs the script on each connection; the connection closes when the script ends.
    pub fn raw(script: impl Fn(Connection) + Send + Sync + 'static) -> Origin {
        Origin::start(Arc::new(Shared::default()), script)
    }

    /// Sends back what it receives, and ends its side when the client ends its own.
    pub fn echo() -> Origin {
        Origin::raw(|mut connection| {
            let _ = connection.echo();
        })
    }

    /// Accepts an upgrade and then echoes: what matters of a WebSocket to a gateway.
    pub fn upgrade_echo() -> Origin {
        Origin::raw(|mut connection| {
            connection.head();
            connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            let _ = connection.echo();
        })
    }

    fn start(shared: Arc<Shared>, script: impl Fn(Connection) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (counted, script) = (shared.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let index = counted.accepted.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                thread::spawn(move || script(Connection::over(stream, index)));
            }
        });
        Origin { address, shared }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub fn wait_accepted(&self, count: usize) {
        wait_for("connections at the origin", || (self.accepted() >= count).then_some(()));
    }

    /// Requests answered so far, in the order of their arrival. For `Origin::http`.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no script panicked").clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.into_iter().next().expect("one")
    }
}

fn serve(connection: &mut Connection, shared: &Shared, answer: &impl Fn(&Request) -> Response) -> io::Result<()> {
    let mut writer = connection.stream.get_ref().try_clone()?;
    loop {
        let before_body = |head: &Request| {
            if head.field("expect").is_some() {
                let _ = writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
        };
        let Some(mut request) = Request::read(&mut connection.stream, before_body)? else {
            return Ok(());
        };
        request.connection = connection.index;
        let response = answer(&request);
        let head_only = request.method == "HEAD";
        shared.requests.lock().expect("no script panicked").push(request);
        connection.stream.get_mut().write_all(&response.bytes(head_only))?;
        if response.closes() {
            return Ok(());
        }
    }
}

/// One connection of an origin, for scripts.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// From 0, in the order of acceptance.
    pub index: usize,
}

impl Connection {
    fn over(stream: TcpStream, index: usize) -> Connection {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Connection { stream: BufReader::new(stream), index }
    }

    /// The next request head, its body unread; an empty one when the gate closed.
    pub fn head(&mut self) -> Request {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0] as char),
                _ => return Request::default(),
            }
        }
        // The head alone is a request without a body, whatever its framing says.
        let unframed: String = head
            .split_inclusive("\r\n")
            .filter(|line| {
                let line = line.to_ascii_lowercase();
                !line.starts_with("content-length:") && !line.starts_with("transfer-encoding:")
            })
            .collect();
        Request::read(&mut unframed.as_bytes(), |_| {}).ok().flatten().unwrap_or_default()
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// The next request with its body.
    pub fn request(&mut self) -> Option<Request> {
        Request::read(&mut self.stream, |_| {}).ok().flatten()
    }

    /// Sends; a gate that closed already is no failure of the script.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Connection {
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
        self
    }

    /// Sends; false when the gate has closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Takes as many bytes, or what there is of them.
    pub fn read_exact(&mut self, length: usize) {
        let _ = self.stream.read_exact(&mut vec![0; length]);
    }

    /// Everything up to the end; `None` where the end is a reset.
    pub fn read_to_end(&mut self) -> Option<Vec<u8>> {
        let mut found = Vec::new();
        self.stream.read_to_end(&mut found).ok()?;
        Some(found)
    }

    pub fn shutdown_write(&mut self) -> &mut Connection {
        let _ = self.stream.get_mut().shutdown(Shutdown::Write);
        self
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let stream = self.stream.into_inner();
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }

    fn echo(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return self.stream.get_mut().shutdown(Shutdown::Write);
            }
            self.stream.get_mut().write_all(&buffer[..count])?;
        }
    }
}

/// An address that refuses connections for as long as the socket lives.
pub fn closed_address() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound socket");
    (socket, address)
}

/// An address that answers no connection attempt, for as long as the sockets live: its queue is full.
pub fn full_address() -> (Vec<socket2::Socket>, SocketAddr) {
    let (listener, address) = closed_address();
    listener.listen(0).expect("a bound socket");
    let mut held = vec![listener];
    let stuck = |held: &mut Vec<socket2::Socket>| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let refused = socket.connect_timeout(&address.into(), Duration::from_millis(200)).is_err();
        held.push(socket);
        refused
    };
    wait_for("a full queue", || stuck(&mut held).then_some(()));
    (held, address)
}
