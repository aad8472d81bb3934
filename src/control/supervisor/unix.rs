//! Unix sockets that listeners are to accept from: opened here once for all workers, which cannot each have one of their
//! own as with SO_REUSEPORT. A file that an earlier process has left is removed; one at which somebody listens is not.

use crate::base::{Address, SharedSocket, shared_socket};
use socket2::{Domain, Socket, Type};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections that the kernel queues until a worker accepts them; it allows at most net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// How long the kernel may take to close the sockets of a process that has ended, and how often that is looked at.
const CLOSE_MAX: Duration = Duration::from_secs(3);
const CLOSE_LOOK: Duration = Duration::from_millis(5);

/// A listening socket at `address`, whose file has these permissions.
///
/// # Errors
/// Why there can be none, in words.
pub fn open(address: &Address, mode: u32) -> Result<SharedSocket, String> {
    if let Some(path) = address.path() {
        make_way(address, path)?;
    }
    bind(address, mode).map_err(|error| explain(address, &error))
}

/// Sets the permissions of a socket's file.
///
/// # Errors
/// The kernel's.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn bind(address: &Address, mode: u32) -> io::Result<SharedSocket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before the bind too, which takes them over less the umask: the file is never more open than it is to be.
    let descriptor = File::from(OwnedFd::from(socket.try_clone()?));
    descriptor.set_permissions(Permissions::from_mode(mode))?;
    socket.bind(&address.to_kernel()?)?;
    let listening = socket.try_clone()?;
    let shared = SharedSocket::new(socket, address.clone())?;
    if let Some(path) = address.path() {
        set_mode(path, mode)?;
    }
    listening.listen(BACKLOG)?;
    Ok(shared)
}

/// Removes the file of a socket at which nobody listens any more.
fn make_way(address: &Address, path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err("a file that is no socket is there; remove it, or choose another path".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(address, &error)),
    }
    match outlasting(address) {
        Ok(Use::Nobody) => fs::remove_file(path)
            .map_err(|error| format!("the socket of an earlier process is there and cannot be removed: {error}")),
        Ok(Use::Process(process)) => Err(format!("{} listens there; stop it, or choose another path", name(process))),
        Ok(Use::OtherType) => Err("a socket of another type is there; choose another path".to_owned()),
        Err(error) => Err(format!("whether another process listens there cannot be found out: {error}")),
    }
}

/// Who holds a socket's file.
enum Use {
    /// It is what an ended process has left.
    Nobody,
    /// The process that began to listen, if the kernel names it.
    Process(Option<u32>),
    /// No stream socket.
    OtherType,
}

/// Who holds the file of `address`, once the kernel has had the time to close what a process had open that has just
/// been killed: with io_uring that comes some moments after its end.
fn outlasting(address: &Address) -> io::Result<Use> {
    let patience = Instant::now() + CLOSE_MAX;
    loop {
        match probe(address)? {
            Use::Process(Some(process)) if comm(process).is_none() && Instant::now() < patience => {
                std::thread::sleep(CLOSE_LOOK);
            }
            found => return Ok(found),
        }
    }
}

fn probe(address: &Address) -> io::Result<Use> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&address.to_kernel()?) {
        Ok(()) => Ok(Use::Process(shared_socket::listening_process(&probe))),
        // Its queue is full, so there is one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Use::Process(None)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Use::Nobody),
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Ok(Use::OtherType),
        Err(error) => Err(error),
    }
}

fn name(process: Option<u32>) -> String {
    match process.map(|process| (process, comm(process))) {
        None => "another process".to_owned(),
        Some((process, Some(name))) => format!("process {process} ({name})"),
        Some((process, None)) => format!("a process that got its socket from process {process}, which has ended,"),
    }
}

/// The name of a process that lives.
fn comm(process: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/comm")).ok().map(|name| name.trim_end().to_owned())
}

fn explain(address: &Address, error: &io::Error) -> String {
    let cause = match (error.kind(), address.path()) {
        (io::ErrorKind::NotFound, _) => "; its directory does not exist",
        (io::ErrorKind::PermissionDenied, _) => "; the user that Ringgate runs as may not write to its directory",
        (io::ErrorKind::AddrInUse, None) => "; another process listens there",
        _ => "",
    };
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("ringgate-unix-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Directory(path)
        }

        fn socket(&self) -> (PathBuf, Address) {
            let path = self.0.join("a.sock");
            let address = Address::unix(path.to_str().expect("a path of ASCII"));
            (path, address)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("the socket is there").permissions().mode() & 0o7777
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_socket() {
        let directory = Directory::new("mode");
        let (path, address) = directory.socket();
        for wanted in [0o660, 0o600, 0o666] {
            let socket = open(&address, wanted).expect("a free path");
            assert_eq!(mode(&path), wanted);
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_file_is_removed_and_a_live_one_is_not() {
        let directory = Directory::new("stale");
        let (path, address) = directory.socket();
        let live = UnixListener::bind(&path).expect("a free path");
        let why = open(&address, 0o660).expect_err("somebody listens");
        assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
        assert!(path.exists());
        drop(live);
        assert!(path.exists(), "std leaves it behind");
        assert!(open(&address, 0o660).is_ok());
    }

    #[test]
    fn what_is_no_listening_socket_is_left_alone() {
        let directory = Directory::new("other");
        let (path, address) = directory.socket();
        fs::write(&path, "precious").expect("a temporary file");
        let why = open(&address, 0o660).expect_err("a file is there");
        assert!(why.contains("no socket") && path.exists(), "{why}");
        fs::remove_file(&path).expect("it is there");
        let _datagrams = UnixDatagram::bind(&path).expect("a free path");
        let why = open(&address, 0o660).expect_err("a socket of datagrams is there");
        assert!(why.contains("another type") && path.exists(), "{why}");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let why = open(&Address::unix("/nowhere-at-all/a.sock"), 0o660).expect_err("there is no such directory");
        assert!(why.contains("directory does not exist"), "{why}");
    }

    #[test]
    fn abstract_names_are_one_at_a_time() {
        let address = Address::unix(&format!("@ringgate-unix-{}", std::process::id()));
        let first = open(&address, 0o660).expect("a free name");
        assert!(open(&address, 0o660).is_err());
        drop(first);
        assert!(open(&address, 0o660).is_ok());
    }
}
