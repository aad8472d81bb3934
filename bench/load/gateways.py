"""The gateways under test and the origin behind them: how each is configured, started and stopped.

Not how they are measured (measure.py) or compared (run.py). A gateway is a name, a template of its configuration
and a command line; whoever adds a rival adds one entry to `GATEWAYS`.
"""

import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field

import tables

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GATEWAY_CORE = 0
LOAD_CORE = 1
START_SECONDS_MAX = 10.0
NGINX_STREAM = """stream {{
    server {{ listen {tcp} reuseport backlog=8192; proxy_buffer_size 64k; proxy_pass {origin}; }}
    server {{ listen {tcp} udp reuseport rcvbuf=4m; proxy_buffer_size 64k; proxy_timeout 30s; proxy_pass {origin}; }}
    server {{ listen {http} udp reuseport rcvbuf=4m; proxy_responses 1; proxy_timeout 30s; proxy_pass {origin}; }}
}}"""
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


@dataclass
class Gateway:
    """One program that can stand in front of the origin."""

    name: str
    template: str
    command: list  # @CONFIG@ stands for the filled template
    environment: dict = field(default_factory=dict)
    datagrams: bool = True

    def available(self) -> bool:
        return shutil.which(self.command[0]) is not None


RINGGATE = str(ROOT / "target/release/ringgate")
ENGINES = str(ROOT / "target/release/ringgate-bench-engines")
RINGGATE_RUN = [RINGGATE, "run", "@CONFIG@"]
GATEWAYS = {
    "ringgate-uring": Gateway("ringgate-uring", "ringgate.toml.in", RINGGATE_RUN, {"RINGGATE_ENGINE": "uring"}),
    "ringgate-epoll": Gateway("ringgate-epoll", "ringgate.toml.in", RINGGATE_RUN, {"RINGGATE_ENGINE": "epoll"}),
    "haproxy": Gateway("haproxy", "haproxy.cfg.in", ["haproxy", "-db", "-f", "@CONFIG@"], datagrams=False),
    "haproxy-splice": Gateway("haproxy-splice", "haproxy.cfg.in", ["haproxy", "-db", "-f", "@CONFIG@"], {"SPLICE_ALWAYS": "1"},
                              datagrams=False),
    "nginx": Gateway("nginx", "nginx.conf.in", ["nginx", "-c", "@CONFIG@", "-e", "stderr"]),
}


@dataclass
class Running:
    """A started program: its first process and the addresses that it answers on."""

    name: str
    process: subprocess.Popen
    http: str
    tcp: str
    log: pathlib.Path
    started_ms: float = 0.0
    admin: str = ""
    config: pathlib.Path = pathlib.Path()
    beside: "Running | None" = None

    def stop(self):
        if self.beside:
            self.beside.stop()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fill(template: str, directory: pathlib.Path, name: str, values: dict) -> pathlib.Path:
    text = (HERE / template).read_text()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for key, value in {"DIR": directory, "FILES": files, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    path = directory / f"{name}-{template.removesuffix('.in')}"
    path.write_text(text)
    return path


def spawn(name: str, command: list, core: int, directory: pathlib.Path, http: str, tcp: str, environment=None,
          ready=None) -> Running:
    """Starts `command` on `core` and waits until `ready` says so; the log goes to a file in `directory`."""
    ready = ready or answers
    log = directory / f"{name}.log"
    begun = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env={**os.environ, **(environment or {})},
        )
    running = Running(name, process, http, tcp, log)
    while not ready(http):
        if process.poll() is not None or time.monotonic() - begun > START_SECONDS_MAX:
            process.kill()
            raise SystemExit(f"{name} did not start; its log {log} says:\n{log.read_text(errors='replace')}")
        time.sleep(0.001)
    running.started_ms = (time.monotonic() - begun) * 1000
    return running


def answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.sendall(b"GET /128 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            return connection.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def accepts(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


def start_gateway(gateway: Gateway, origin: str, directory: pathlib.Path, table: int = 0) -> Running:
    """`table` is how many routes there are beside the one for everything else."""
    http, tcp, admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
    stream = pathlib.Path(STREAM_MODULE).exists()
    config = fill(gateway.template, directory, gateway.name, {
        "ORIGIN": origin, "LISTEN": http, "LISTEN_TCP": tcp, "LISTEN_ADMIN": admin,
        "STREAM_MODULE": f"load_module {STREAM_MODULE};" if stream else "",
        "STREAM": NGINX_STREAM.format(tcp=tcp, http=http, origin=origin) if stream else "",
        **tables.render(gateway.name, table, origin.rsplit(":", 1)[1], directory),
    })
    command = [part.replace("@CONFIG@", str(config)) for part in gateway.command]
    running = spawn(gateway.name, command, GATEWAY_CORE, directory, http, tcp, gateway.environment)
    running.admin, running.config = admin, config
    return running


def start_light_origin(directory: pathlib.Path, body_bytes: int, everywhere: bool) -> Running:
    """The cheapest origin that there is here, so that the load's core leaves the gateway's core no rest. `everywhere`: on
    each loopback address, and it says on which it was asked."""
    address = f"127.0.0.1:{free_port()}"
    listen = address.replace("127.0.0.1", "0.0.0.0") if everywhere else address
    command = [ENGINES, "--runtime", "tokio", "--mode", "origin", "--listen", listen, "--payload", str(body_bytes)]
    return spawn("light-origin", command, LOAD_CORE, directory, address, address)


def start_datagram_origin(directory: pathlib.Path) -> Running:
    """Sends every datagram back. It speaks HTTP too, so that what waits for a gateway's first answer gets one."""
    origin = start_light_origin(directory, 128, everywhere=False)
    command = [ENGINES, "--runtime", "ringgate-epoll", "--mode", "datagram-echo", "--listen", origin.http]
    echo = spawn("datagram-origin", command, LOAD_CORE, directory, origin.http, origin.tcp, ready=echoes)
    echo.beside = origin
    return echo


def echoes(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect((host, int(port)))
            probe.send(b"ready?")
            return probe.recv(64) == b"ready?"
        except OSError:
            return False


def start_origin(directory: pathlib.Path, core: int = LOAD_CORE) -> Running:
    """nginx with fixed answers of 128 bytes, 64 KiB and 1 MiB, on the load's core unless another is named."""
    address = f"127.0.0.1:{free_port()}"
    www = directory / "www"
    www.mkdir(exist_ok=True)
    for name, length in (("64k", 64 << 10), ("1m", 1 << 20)):
        (www / name).write_bytes(b"r" * length)
    for path in (directory, www):
        path.chmod(0o755)
    config = fill("origin.conf.in", directory, "origin", {"LISTEN": address, "BODY_128": "r" * 128})
    return spawn("origin", ["nginx", "-c", str(config), "-e", "stderr"], core, directory, address, address)
