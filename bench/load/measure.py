"""What is read off a running gateway: CPU time, resident memory, and what the load generator saw.

CPU time is the first column of /proc/PID/task/*/schedstat (nanoseconds on a core), summed over the gateway's
processes, so that neither clock ticks nor the load's own time blur it.
"""

import contextlib
import json
import pathlib
import re
import resource
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

import tables
from cases import Case
from gateways import HERE, LOAD_CORE, RINGGATE, Running
from swaps import Swaps


@dataclass
class Sample:
    """One run of one case on one gateway; invalid when a single answer was wrong."""

    cpu_us: float
    requests: int
    per_second: float
    p50_us: float
    p99_us: float
    p999_us: float
    error: str = ""
    swaps_per_second: float = 0.0


def processes(running: Running) -> list:
    """The gateway's first process and all its descendants."""
    found, queue = [], [running.process.pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
            queue.extend(int(child) for child in children.read_text().split())
    return found


def cpu_ns(running: Running) -> int:
    total = 0
    for pid in processes(running):
        for schedstat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            total += int(schedstat.read_text().split()[0])
    return total


def pss_kib(running: Running) -> int:
    """Proportional resident memory of all the gateway's processes, in KiB."""
    total = 0
    for pid in processes(running):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def run_wrk(running: Running, case: Case, seconds: float) -> dict:
    address = running.http if case.listener == "http" else running.tcp
    headers = ["-H", "Connection: close"] if case.new_connection else []
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{case.connections}", f"-d{max(1, round(seconds))}s", "--timeout",
               "10s", "-s", str(HERE / "check.lua"), *headers, f"http://{address}{case.path}", "--", "200", str(case.bytes)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise SystemExit(f"wrk printed no result:\n{output}")


def run_ringgate(running: Running, case: Case, seconds: float) -> dict:
    """The same figures from `ringgate bench`, which also speaks to an echo."""
    if case.datagrams:
        address = running.tcp if case.listener == "datagrams" else running.http
        work = [f"udp://{address}", "--payload", str(case.bytes), "--segment", str(min(case.bytes, case.segment or case.bytes)),
                "--timeout", "1s"]
    elif case.listener == "echo":
        work = [f"tcp://{running.tcp}", "--payload", str(case.bytes)]
    else:
        address = running.http if case.listener == "http" else running.tcp
        work = [f"http://{address}{case.path}", "--expect-status", "200", "--expect-length", str(case.bytes)]
    if case.new_connection:
        work.append("--new-connection")
    if case.table:
        work += ["--vary", str(case.table)]
    if case.rate:
        work += ["--rate", str(case.rate)]
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "results.json"
        command = ["taskset", "-c", str(LOAD_CORE), RINGGATE, "bench", *work, "--connections", str(case.connections),
                   *(["--requests", str(case.requests)] if case.requests else ["--duration", f"{int(seconds * 1000)}ms"]),
                   "--json", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not out.exists():
            raise SystemExit(f"ringgate bench failed:\n{done.stdout}{done.stderr}")
        result = json.loads(out.read_text())
    latency = result["latency_us"]
    wrong = sum(result["errors"].get(kind, {"count": 0})["count"] for kind in ("wrong_status", "wrong_length", "malformed"))
    return {"requests": result["requests"], "micros": result["elapsed_us"], "wrong": wrong,
            "errors": result["errors_total"] - wrong,
            "p50": latency["p50"], "p99": latency["p99"], "p999": latency["p99.9"]}


# Enough to open every connection on both sides.
WARM_UP_SECONDS = 0.4
# What the control plane must have managed of the table swaps for a run to count.
SWAPS_SHARE_MIN = 0.9
LOADS = {"ringgate": run_ringgate, "wrk": run_wrk}


def sample(running: Running, case: Case, seconds: float, load: str = "ringgate") -> Sample:
    """One measured run after a short warm-up that fills the gateway's pool of origin connections."""
    run = LOADS[load]
    tables.verify(running.http, case.table)
    run(running, case, WARM_UP_SECONDS)
    with swapping(running, case) as swaps:
        before = cpu_ns(running)
        result = run(running, case, seconds)
        spent_us = (cpu_ns(running) - before) / 1000
    wrong, errors, requests = result["wrong"], result["errors"], result["requests"]
    error = "" if requests and not wrong and not errors else f"{wrong} wrong answers, {errors} errors, {requests} requests"
    if swaps and swaps.per_second_done < SWAPS_SHARE_MIN * case.swaps:
        error = f"{swaps.per_second_done:.0f} table swaps a second instead of {case.swaps}"
    requests = max(requests, 1)
    return Sample(spent_us / requests, requests, requests * 1e6 / max(result["micros"], 1),
                  result["p50"], result["p99"], result["p999"], error, swaps.per_second_done if swaps else 0.0)


def swapping(running: Running, case: Case):
    """Replaces the table while it is entered, where the case wants that."""
    if not case.swaps:
        return contextlib.nullcontext()
    port = re.search(r'"127\.1\.0\.1:(\d+)"', running.config.read_text()).group(1)
    variants = []
    for weight in (1, 2):
        path = running.config.with_suffix(f".{weight}")
        old, new = (tables.ringgate(case.table, port, each)["UPSTREAMS"] for each in (1, weight))
        path.write_text(running.config.read_text().replace(old, new))
        variants.append(path)
    return Swaps(running, running.config, variants, case.swaps)


def idle_memory(running: Running, connections: int, settle_seconds: float, expected=b"HTTP/1.1 200") -> dict:
    """KiB per idle keep-alive connection: each makes one request, then all stay silent for a while."""
    raise_file_limit(connections + 256)
    host, port = running.http.rsplit(":", 1)
    request = b"GET /128 HTTP/1.1\r\nHost: bench\r\n\r\n"
    before = pss_kib(running)
    held = []
    try:
        for _ in range(connections):
            connection = socket.create_connection((host, int(port)), timeout=10)
            connection.sendall(request)
            answer = connection.recv(4096)
            if not answer.startswith(expected):
                raise SystemExit(f"{running.name}: an idle connection's request was answered {answer[:80]!r}")
            held.append(connection)
        time.sleep(settle_seconds)
        after = pss_kib(running)
        idle_from = cpu_ns(running)
        time.sleep(1)
        idle_us = (cpu_ns(running) - idle_from) / 1000
    finally:
        for connection in held:
            connection.close()
    return {"before_kib": before, "after_kib": after, "per_connection_kib": (after - before) / connections,
            "idle_cpu_us_per_second": idle_us}


def raise_file_limit(wanted: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"{wanted} open files are needed but the limit is {hard} ({error}): "
                         f"raise it with `ulimit -n {wanted}` or pass --idle-connections") from error
