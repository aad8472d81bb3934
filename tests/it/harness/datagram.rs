//! Datagrams: origins whose answers a scenario decides, clients that wait for theirs, and a real DNS server from the
//! distribution.

use super::{PATIENCE, wait_for};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A server of datagrams. Dropping it closes its socket: what comes afterwards is refused by ICMP.
#[derive(Debug)]
pub struct UdpOrigin {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    /// Datagrams by the address that they came from: the gateway's sockets.
    received: Mutex<BTreeMap<SocketAddr, Vec<Vec<u8>>>>,
}

impl UdpOrigin {
    /// Sends back what it receives.
    pub fn echo() -> UdpOrigin {
        UdpOrigin::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |bytes| vec![bytes.to_vec()])
    }

    /// Answers every datagram with this text.
    pub fn text(text: &'static str) -> UdpOrigin {
        UdpOrigin::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |_| vec![text.as_bytes().to_vec()])
    }

    pub fn start(address: SocketAddr, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> UdpOrigin {
        let socket = UdpSocket::bind(address).expect("a free port");
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20);
        let address = socket.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let remembered = shared.clone();
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                if remembered.over.load(Ordering::SeqCst) {
                    return;
                }
                let bytes = &buffer[..len];
                remembered.received.lock().expect("nobody panics").entry(from).or_default().push(bytes.to_vec());
                for one in answer(bytes) {
                    let _ = socket.send_to(&one, from);
                }
            }
        });
        UdpOrigin { address, shared, thread: Some(thread) }
    }

    /// What has come, by the sockets of the gateway: one a flow.
    pub fn received(&self) -> BTreeMap<SocketAddr, Vec<Vec<u8>>> {
        self.shared.received.lock().expect("nobody panics").clone()
    }

    /// The sockets of the gateway that have sent something.
    pub fn flows(&self) -> usize {
        self.received().len()
    }
}

impl Drop for UdpOrigin {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let mut to = self.address;
        if to.ip().is_unspecified() {
            to.set_ip(if to.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { "::1".parse().expect("an address") });
        }
        let waker = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).and_then(|socket| socket.send_to(b"over", to));
        if waker.is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// A client with a socket that is connected to the gateway.
#[derive(Debug)]
pub struct UdpClient {
    pub socket: UdpSocket,
}

/// How long an answer that may not come is waited for before the question is sent again.
const AGAIN: Duration = Duration::from_millis(50);

impl UdpClient {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> UdpClient {
        let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        UdpClient::connect_from(SocketAddr::new(any, 0), address)
    }

    #[track_caller]
    pub fn connect_from(from: SocketAddr, address: SocketAddr) -> UdpClient {
        let socket = UdpSocket::bind(from).expect("a free port");
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        socket.connect(address).expect("a datagram socket connects at once");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        UdpClient { socket }
    }

    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> &UdpClient {
        let sent = self.socket.send(bytes.as_ref()).expect("the kernel takes it");
        assert_eq!(sent, bytes.as_ref().len());
        self
    }

    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let len = self.socket.recv(&mut buffer).expect("an answer in time");
        buffer.truncate(len);
        buffer
    }

    /// Sends, and waits for one answer.
    #[track_caller]
    pub fn ask(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(bytes).receive()
    }

    /// Sends again and again until there is an answer, as clients of UDP do.
    #[track_caller]
    pub fn insist(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.socket.set_read_timeout(Some(AGAIN)).expect("not zero");
        let mut buffer = vec![0; 65_536];
        let answer = wait_for("an answer to one of several datagrams", || {
            self.send(bytes.as_ref());
            self.socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())
        });
        self.socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        answer
    }

    /// What has come already, of at most `most` datagrams.
    pub fn pending(&self, most: usize) -> Vec<Vec<u8>> {
        self.socket.set_nonblocking(true).expect("an open socket");
        let mut buffer = vec![0; 65_536];
        let mut found = Vec::new();
        while found.len() < most {
            match self.socket.recv(&mut buffer) {
                Ok(len) => found.push(buffer[..len].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a client's socket failed: {error}"),
            }
        }
        self.socket.set_nonblocking(false).expect("an open socket");
        found
    }
}

/// A running unbound in a folder of its own, that knows some names and asks nobody; it is killed when this value drops.
#[derive(Debug)]
pub struct Unbound {
    child: Child,
    folder: PathBuf,
    pub address: SocketAddr,
}

impl Unbound {
    /// Knows `records`, such as `"a.test. IN A 192.0.2.1"`.
    pub fn start(name: &str, records: &[&str]) -> Unbound {
        let folder = std::env::temp_dir().join(format!("ringgate-it-unbound-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        // Another process may take the port between the look and the start; then the next one is tried.
        (0..10).find_map(|_| Unbound::try_start(&folder, records)).expect("unbound starts (scripts/test installs it)")
    }

    fn try_start(folder: &std::path::Path, records: &[&str]) -> Option<Unbound> {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("a bound socket");
        drop(free);
        let data: Vec<String> = records.iter().map(|record| format!("  local-data: '{record}'\n")).collect();
        let config = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  \
             pidfile: \"\"\n  directory: \"{folder}\"\n  use-syslog: no\n  logfile: \"{folder}/log\"\n  do-ip6: no\n  \
             access-control: 127.0.0.0/8 allow\n  module-config: \"iterator\"\n  local-zone: \"test.\" static\n{data}\n\
             remote-control:\n  control-enable: no\n",
            port = address.port(),
            folder = folder.display(),
            data = data.concat(),
        );
        let file = folder.join("unbound.conf");
        fs::write(&file, config).expect("a temporary file");
        let mut child = Command::new("unbound")
            .args(["-d", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .spawn()
            .ok()?;
        let up = wait_for("unbound", || match child.try_wait() {
            Ok(None) => std::net::TcpStream::connect(address).is_ok().then_some(true),
            _ => Some(false),
        });
        up.then(|| Unbound { child, folder: folder.to_path_buf(), address })
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What dig prints for these arguments, asked of this server.
#[track_caller]
pub fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut command = Command::new("dig");
    command.args([&at, "-p", &port, "+short", "+tries=3", "+time=5"]).args(arguments);
    let output = command.output().expect("dig is installed (scripts/test installs it)");
    assert!(output.status.success(), "dig {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
