//! A real HAProxy from the distribution, before the gateway or behind it.

use super::wait_for;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running HAProxy in a folder of its own; it is killed when this value drops.
#[derive(Debug)]
pub struct Haproxy {
    child: Child,
    folder: PathBuf,
    pub address: SocketAddr,
}

impl Haproxy {
    /// Runs it on a file of the scenario's own, which is told where to listen and in which folder it may put files.
    pub fn start(name: &str, config: impl Fn(SocketAddr, &Path) -> String) -> Haproxy {
        let folder = std::env::temp_dir().join(format!("ringgate-it-haproxy-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        // Another process may take the port between the look and the start; then the next one is tried.
        (0..10).find_map(|_| Haproxy::try_start(&folder, &config)).unwrap_or_else(|| {
            let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
            panic!("haproxy does not start (it is installed by scripts/test): {said}")
        })
    }

    fn try_start(folder: &Path, config: &impl Fn(SocketAddr, &Path) -> String) -> Option<Haproxy> {
        let address =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a free port");
        let text = format!(
            "global\n    maxconn 128\n    nbthread 1\ndefaults\n    timeout connect 20s\n    timeout client 20s\n    timeout server 20s\n{}\n",
            config(address, folder)
        );
        fs::write(folder.join("haproxy.cfg"), text).expect("a temporary file");
        let log = fs::File::create(folder.join("log")).expect("a temporary file");
        let mut child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(folder.join("haproxy.cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .spawn()
            .ok()?;
        let up = wait_for("haproxy", || match child.try_wait() {
            Ok(None) => TcpStream::connect(address).is_ok().then_some(true),
            _ => Some(false),
        });
        up.then(|| Haproxy { child, folder: folder.to_path_buf(), address })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
