//! A real nginx from the distribution as an origin: what others wrote, in front of which the gateway must work.

use super::wait_for;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running nginx in a folder of its own; it is killed when this value drops.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    folder: PathBuf,
    pub address: SocketAddr,
}

impl Nginx {
    /// Serves the folder [`Nginx::write`] writes to, under `/`, and takes uploads of any size at `/upload`.
    pub fn start(name: &str) -> Nginx {
        Nginx::with(name, |address, _| http_config(address))
    }

    /// Serves these server names over TLS, each with a certificate of its own in whose name it answers.
    pub fn tls(name: &str, hosts: &[&str]) -> Nginx {
        Nginx::with(name, |address, folder| {
            let paths = "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;";
            let server = |host: &&str| {
                super::certificate(folder, host);
                let files =
                    format!("ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {host}; ssl_certificate_key {host};");
                format!(
                    "server {{ listen {address} ssl http2; server_name {host}; {files} location / {{ return 200 \"{name} as {host}\"; }} }}"
                )
            };
            let servers: String = hosts.iter().map(server).collect();
            format!("events {{}} http {{ access_log off; {paths} {servers} }}")
        })
    }

    /// Runs it on a file of the scenario's own, which is told where to listen and in which folder it may put files.
    pub fn with(name: &str, config: impl Fn(SocketAddr, &std::path::Path) -> String) -> Nginx {
        let folder = std::env::temp_dir().join(format!("ringgate-it-nginx-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("html")).expect("a temporary folder");
        // Another process may take the port between the look and the start; then the next one is tried.
        (0..10)
            .find_map(|_| Nginx::try_start(&folder, &config))
            .expect("nginx starts (it is installed by scripts/test)")
    }

    fn try_start(folder: &std::path::Path, config: &impl Fn(SocketAddr, &std::path::Path) -> String) -> Option<Nginx> {
        let address =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a free port");
        let config =
            format!("daemon off; master_process off; pid nginx.pid; error_log error.log;\n{}", config(address, folder));
        fs::write(folder.join("nginx.conf"), config).expect("a temporary file");
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(folder)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .spawn()
            .ok()?;
        let up = wait_for("nginx", || match child.try_wait() {
            Ok(None) => TcpStream::connect(address).is_ok().then_some(true),
            _ => Some(false),
        });
        up.then(|| Nginx { child, folder: folder.to_path_buf(), address })
    }

    /// The folder that its file is in.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Puts a file under `/`.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.join("html").join(name), bytes).expect("a temporary file");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn http_config(address: SocketAddr) -> String {
    format!(
        r#"
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_timeout 30s; client_max_body_size 0;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {address};
        root html;
        location / {{ add_header X-Origin nginx; }}
        location /gone/ {{ return 410 "gone\n"; }}
        location /moved/ {{ return 301 /elsewhere; }}
    }}
}}
"#
    )
}
