//! Where one side of a byte stream is: an IP address and port, or a Unix socket. Cheap to clone; a Unix socket's name is
//! shared, an IP address is copied.
//!
//! Written as `10.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock` or `unix:@name`. A program that connects to a Unix socket
//! has no name of its own: it is shown as `unix:`, and [`Address::ip`] has nothing to say of it.

use socket2::SockAddr;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a Unix socket's path or abstract name: what `struct sockaddr_un` has room for, less one.
pub const UNIX_NAME_BYTES_MAX: usize = 107;

/// Where one side of a byte stream is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    Ip(SocketAddr),
    /// A path of the file system, or `@name` in the abstract namespace.
    Unix(Arc<str>),
    /// A Unix socket that nobody has bound to a name, as that of a client.
    UnixUnnamed,
}

impl Address {
    /// The address that a Unix socket is bound to: a path, or `@name`.
    pub fn unix(name: &str) -> Address {
        Address::Unix(Arc::from(name))
    }

    /// The IP address and port, if it has them.
    pub fn as_ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) | Address::UnixUnnamed => None,
        }
    }

    /// The IP address alone. `None`: a Unix socket, whose other side is on this machine and cannot be told from another.
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_ip().map(|address| address.ip())
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.as_ip().map(|address| address.port())
    }

    pub fn is_unix(&self) -> bool {
        !matches!(self, Address::Ip(_))
    }

    /// The file of a Unix socket that has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Unix(name) if !name.starts_with('@') => Some(Path::new(&**name)),
            _ => None,
        }
    }

    /// As the kernel takes it.
    ///
    /// # Errors
    /// A name that is too long for the kernel, or none.
    pub fn to_kernel(&self) -> io::Result<SockAddr> {
        match self {
            Address::Ip(address) => Ok((*address).into()),
            // The kernel knows an abstract name by a first byte of zero.
            Address::Unix(name) => match name.strip_prefix('@') {
                Some(name) => SockAddr::unix(format!("\0{name}")),
                None => SockAddr::unix(&**name),
            },
            Address::UnixUnnamed => Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket without a name")),
        }
    }

    /// As the kernel gives it. What is neither IP nor Unix is nothing that a stream of ours can have.
    ///
    /// # Errors
    /// An address of another family.
    pub fn from_kernel(address: &SockAddr) -> io::Result<Address> {
        if let Some(ip) = address.as_socket() {
            return Ok(Address::Ip(ip));
        }
        if let Some(path) = address.as_pathname() {
            return Ok(Address::unix(&path.to_string_lossy()));
        }
        if let Some(name) = address.as_abstract_namespace() {
            return Ok(Address::unix(&format!("@{}", String::from_utf8_lossy(name))));
        }
        match address.is_unix() {
            true => Ok(Address::UnixUnnamed),
            false => Err(io::Error::other("neither an IP nor a Unix socket")),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(name) => write!(f, "unix:{name}"),
            Address::UnixUnnamed => f.write_str("unix:"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_no_larger_than_a_socket_address() {
        // Each open connection of a client holds one.
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
        assert_eq!(size_of::<Option<Address>>(), size_of::<SocketAddr>());
    }

    #[test]
    fn goes_to_the_kernel_and_back() {
        let ip = ["10.0.0.1:80", "[2001:db8::1]:443"].map(|text| Address::Ip(text.parse().expect("an address")));
        let unix = ["/run/app.sock", "@app"].map(Address::unix);
        for address in ip.into_iter().chain(unix) {
            let back = address.to_kernel().and_then(|kernel| Address::from_kernel(&kernel));
            assert_eq!(back.expect("both ways"), address);
        }
        let longest = format!("/{}", "x".repeat(UNIX_NAME_BYTES_MAX - 1));
        assert!(Address::unix(&longest).to_kernel().is_ok());
        assert!(Address::unix(&format!("{longest}x")).to_kernel().is_err());
        assert!(Address::UnixUnnamed.to_kernel().is_err());
    }

    #[test]
    fn is_shown_as_the_file_writes_it() {
        assert_eq!(Address::unix("/run/app.sock").to_string(), "unix:/run/app.sock");
        assert_eq!(Address::UnixUnnamed.to_string(), "unix:");
        assert_eq!(Address::unix("/a").path(), Some(Path::new("/a")));
        assert_eq!(Address::unix("@a").path(), None);
        assert_eq!(Address::unix("/a").ip(), None);
    }
}
