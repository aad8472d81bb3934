//! A client that sends exactly the bytes it is given and reads strictly; and curl, as one that others wrote.

use super::message::Response;
use super::{PATIENCE, wait_for};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Output};

#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the gate accepts");
        Client::over(stream)
    }

    /// A client whose receive buffer is small, so that a slow reader is felt early.
    pub fn connect_small(address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(&address.into()).expect("the gate accepts");
        Client::over(socket.into())
    }

    /// A client at another address of this machine, such as 127.0.0.9.
    #[track_caller]
    pub fn connect_from(from: [u8; 4], address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of the loopback");
        socket.connect(&address.into()).expect("the gate accepts");
        Client::over(socket.into())
    }

    /// Connects where every connection is closed at once: `None` where its reset is there before this client knows that it
    /// was connected.
    #[track_caller]
    pub fn connect_unless_reset(address: SocketAddr) -> Option<Client> {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => Some(Client::over(stream)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                None
            }
        }
    }

    /// Connects where every connection is closed at once.
    #[track_caller]
    pub fn expect_closed(address: SocketAddr) {
        if let Some(mut client) = Client::connect_unless_reset(address) {
            client.expect_gone();
        }
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("an open socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Client { stream: BufReader::new(stream) }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the gate takes it");
        self
    }

    /// Sends; false when the gate has closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Whether something has come, or the end.
    pub fn has_input(&mut self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).expect("an open socket");
        let found = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("an open socket");
        !matches!(found, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads some bytes, at most so many; an error at the end.
    pub fn try_read(&mut self, most: usize) -> io::Result<usize> {
        match self.stream.get_mut().read(&mut vec![0; most])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// The next line, if one comes.
    pub fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().map(|_| line)
    }

    /// `GET target` with a Host.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n")).response()
    }

    /// The next response, to anything but HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        Response::read(&mut self.stream, method).expect("a whole response")
    }

    pub fn try_response(&mut self) -> io::Result<Response> {
        Response::read(&mut self.stream, "GET")
    }

    /// The head alone, where the body is read by hand.
    #[track_caller]
    pub fn response_head(&mut self) -> Response {
        Response::read_head(&mut self.stream).expect("a response head")
    }

    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let expected = bytes.as_ref();
        let mut found = vec![0; expected.len()];
        self.stream.read_exact(&mut found).expect("as many bytes as expected");
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(expected));
        self
    }

    #[track_caller]
    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut found = vec![0; length];
        self.stream.read_exact(&mut found).expect("as many bytes");
        found
    }

    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut found = Vec::new();
        self.stream.read_to_end(&mut found).expect("an orderly end");
        found
    }

    /// No more bytes, and an end that is not a reset.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "no end but {:?}", String::from_utf8_lossy(&rest));
    }

    /// An end of either kind, with or without bytes before it.
    #[track_caller]
    pub fn expect_gone(&mut self) {
        let mut sink = Vec::new();
        match self.stream.read_to_end(&mut sink) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// An end by a reset.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let ended = self.stream.read_to_end(&mut Vec::new());
        assert_eq!(ended.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    }

    pub fn shutdown_write(&mut self) -> &mut Client {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("an open socket");
        self
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let stream = self.stream.into_inner();
        socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("an open socket");
    }

    pub fn local_address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("a bound socket")
    }

    pub fn remote_address(&self) -> SocketAddr {
        self.stream.get_ref().peer_addr().expect("a connected socket")
    }

    /// Writes until the other side takes no more; gives how many bytes it took.
    pub fn fill(&mut self, most: usize) -> usize {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).expect("an open socket");
        let block = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        let mut quiet = 0;
        // Several refusals in a row: the kernel moves bytes on for a while after the first.
        wait_for("a full connection", || {
            match stream.write(&block) {
                Ok(count) => {
                    sent += count;
                    quiet = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => quiet += 1,
                Err(error) => panic!("the gate closed a stalled connection: {error}"),
            }
            (quiet > 25 || sent >= most).then_some(())
        });
        stream.set_nonblocking(false).expect("an open socket");
        sent
    }
}

/// What curl prints for these arguments.
#[track_caller]
pub fn curl(arguments: &[&str]) -> String {
    let output = try_curl(arguments);
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs curl, which may fail.
pub fn try_curl(arguments: &[&str]) -> Output {
    Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().expect("curl is installed")
}
