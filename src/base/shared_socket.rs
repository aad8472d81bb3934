//! One listening socket for several threads, each of which accepts from it. For sockets that cannot be opened once a
//! thread, as TCP's can with SO_REUSEPORT: Unix sockets. Whoever opens it also says when it is to take no more
//! connections; the descriptor closes when the last thread has let go of it.

use super::Address;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// A listening socket that threads share.
#[derive(Debug)]
pub struct SharedSocket {
    socket: socket2::Socket,
    address: Address,
    file: Option<SocketFile>,
    retired: AtomicBool,
}

/// The file of a Unix socket, and which one it is: another may stand in its place by the time it is removed.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SharedSocket {
    /// Takes over a socket that is bound to `address` and listens.
    ///
    /// # Errors
    /// If the socket's file is gone already.
    pub fn new(socket: socket2::Socket, address: Address) -> io::Result<SharedSocket> {
        let file = match address.path() {
            Some(path) => {
                let metadata = fs::symlink_metadata(path)?;
                Some(SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
            }
            None => None,
        };
        Ok(SharedSocket { socket, address, file, retired: AtomicBool::new(false) })
    }

    /// What it is bound to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether an accept that finds nothing returns at once, for every thread.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// Takes no more connections: the file is removed, and who still finds the socket is refused. What the kernel has
    /// queued can be accepted; after that an accept fails with EINVAL. Only the first call does anything.
    pub fn retire(&self) {
        if self.retired.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(file) = &self.file
            && fs::symlink_metadata(&file.path).is_ok_and(|now| (now.dev(), now.ino()) == (file.device, file.inode))
        {
            // One that cannot be removed (its directory is read-only by now) is removed as stale by the next start.
            let _ = fs::remove_file(&file.path);
        }
        // The receiving side of a listening Unix socket is its queue.
        let _ = self.socket.shutdown(Shutdown::Read);
    }
}

impl Drop for SharedSocket {
    fn drop(&mut self) {
        self.retire();
    }
}

/// The process that listened where `client` has connected to, if it lives where we can see it.
#[allow(unsafe_code)]
pub fn listening_process(client: &socket2::Socket) -> Option<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let place = (&raw mut credentials).cast();
    // SAFETY: the kernel fills at most `length` bytes of the record, which lives for the call.
    let result =
        unsafe { libc::getsockopt(client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut length) };
    if result == 0 { u32::try_from(credentials.pid).ok().filter(|pid| *pid > 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    fn listening(address: &Address) -> SharedSocket {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.bind(&address.to_kernel().expect("a short name")).expect("a free name");
        socket.listen(8).expect("it is bound");
        SharedSocket::new(socket, address.clone()).expect("its file is there")
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringgate-shared-{}-{name}", std::process::id()))
    }

    fn unix(path: &Path) -> Address {
        Address::unix(path.to_str().expect("a path of ASCII"))
    }

    #[test]
    fn a_retired_socket_refuses_and_gives_what_was_queued() {
        let path = path("retired");
        let shared = listening(&unix(&path));
        let _queued = UnixStream::connect(&path).expect("it listens");
        shared.retire();
        assert!(!path.exists());
        assert!(shared.socket.accept().is_ok(), "what was queued");
        let error = shared.socket.accept().expect_err("nothing is left");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn an_abstract_socket_refuses_too() {
        let name = format!("@ringgate-shared-{}", std::process::id());
        let shared = listening(&Address::unix(&name));
        shared.retire();
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let error = client.connect(&shared.address.to_kernel().expect("a short name")).expect_err("it is retired");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn the_file_of_another_socket_in_its_place_is_left() {
        let path = path("replaced");
        let first = listening(&unix(&path));
        fs::remove_file(&path).expect("it is there");
        let second = listening(&unix(&path));
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
