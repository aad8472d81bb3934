//! Real databases from the distribution, each in a folder of its own and at a Unix socket in it, so that none needs a free
//! port. They run as nobody where the scenario runs as root, which some of them insist on.

use super::wait_for;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65_534;

/// A running database; it is killed when this value drops.
#[derive(Debug)]
pub struct Database {
    child: Child,
    folder: PathBuf,
    socket: PathBuf,
}

impl Database {
    /// Redis, with these arguments beside those that it needs.
    pub fn redis(name: &str, arguments: &[&str]) -> Database {
        let folder = folder(name);
        let socket = folder.join("redis.sock");
        let mut command = unprivileged("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocketperm", "777", "--dir"]).arg(&folder);
        command.arg("--unixsocket").arg(&socket).args(arguments);
        Database::start(command, folder, socket)
    }

    /// MariaDB, whose root has no password.
    pub fn mariadb(name: &str) -> Database {
        let folder = folder(name);
        let (data, socket) = (folder.join("data"), folder.join("mariadb.sock"));
        let mut install = unprivileged("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--force"]);
        install.arg(format!("--datadir={}", data.display()));
        prepare(install);
        let mut command = unprivileged("mariadbd");
        command.args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]);
        command.arg(format!("--datadir={}", data.display())).arg(format!("--socket={}", socket.display()));
        Database::start(command, folder, socket)
    }

    /// PostgreSQL, which lets everybody who exists in without a password, and with `recovering` nobody before it has
    /// recovered, which it never has.
    pub fn postgres(name: &str, recovering: bool) -> Database {
        let folder = folder(name);
        let (data, socket) = (folder.join("data"), folder.join(".s.PGSQL.5432"));
        let program = |name: &str| {
            let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed by scripts/test");
            let newest = versions.flatten().map(|entry| entry.path().join("bin").join(name)).max();
            newest.expect("a version of postgresql")
        };
        let mut init = unprivileged(program("initdb"));
        init.args(["-A", "trust", "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8", "-D"]).arg(&data);
        prepare(init);
        let mut command = unprivileged(program("postgres"));
        command.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
        command.arg(format!("unix_socket_directories={}", folder.display()));
        if recovering {
            fs::write(data.join("standby.signal"), "").expect("a temporary file");
            command.args(["-c", "hot_standby=off"]);
        }
        Database::start(command, folder, socket)
    }

    fn start(mut command: Command, folder: PathBuf, socket: PathBuf) -> Database {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test installs it"));
        let mut database = Database { child, folder, socket };
        wait_for("a database", || {
            let ended = database.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            UnixStream::connect(&database.socket).is_ok().then_some(())
        });
        database
    }

    /// As the file of the gateway names it.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops it for good; its socket stays behind.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("there is a /proc").uid() == 0
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ringgate-it-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("our own folder");
    if is_root() {
        chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may do this");
    }
    folder
}

/// A command that is nobody's, says nothing, and finds what Debian keeps in /usr/sbin.
fn unprivileged(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Runs what makes the folder of the data.
fn prepare(mut command: Command) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test installs it"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
}
