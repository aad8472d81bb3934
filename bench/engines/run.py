#!/usr/bin/env python3
"""Our engine on both drivers beside monoio, tokio-uring and tokio: echo and a minimal HTTP proxy, interleaved.

Called by `scripts/bench engines`. Each runtime runs alone on core 0; the load and a cheap origin share core 1. The
figures are medians of CPU time per request; a run with one wrong answer does not count. Writes
bench/out/engines.{md,json,svg}.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "load"))

import measure
import report
from gateways import GATEWAY_CORE, LOAD_CORE, ROOT, accepts, answers, free_port, spawn
from measure import Case

BINARY = ROOT / "target/release/ringgate-bench-engines"
RUNTIMES = ("ringgate-uring", "ringgate-epoll", "monoio", "tokio-uring", "tokio")
CASES = {
    "proxy-128": Case("proxy-128", "HTTP proxy, 128 B, µs CPU per request", "/", 128),
    "proxy-64k": Case("proxy-64k", "HTTP proxy, 64 KiB, µs CPU per request", "/", 64 << 10),
    "echo-128": Case("echo-128", "echo, 128 B, µs CPU per message", "/", 128, listener="echo"),
    "echo-16k": Case("echo-16k", "echo, 16 KiB, µs CPU per message", "/", 16 << 10, listener="echo"),
}
IDLE = "idle"


def start(runtime, mode, directory, origin="127.0.0.1:9", payload=128, core=GATEWAY_CORE):
    address = f"127.0.0.1:{free_port()}"
    command = [str(BINARY), "--runtime", runtime, "--mode", mode, "--listen", address, "--origin", origin,
               "--payload", str(payload)]
    return spawn(f"{runtime}-{mode}", command, core, directory, address, address,
                 ready=accepts if mode == "echo" else answers)


def one_run(runtime, case, directory, options):
    """The sample of one runtime on one case; the origin and the runtime are started for it and stopped after it."""
    if case.listener == "echo":
        running = start(runtime, "echo", directory)
        try:
            return measure.sample(running, case, options.seconds)
        finally:
            running.stop()
    origin = start("tokio", "origin", directory, payload=case.bytes, core=LOAD_CORE)
    try:
        running = start(runtime, "proxy", directory, origin.http)
        try:
            return measure.sample(running, case, options.seconds)
        finally:
            running.stop()
    finally:
        origin.stop()


def idle_kib(runtime, directory, options):
    """KiB per connection that exchanged one message and then stays silent, on an echo."""
    running = start(runtime, "echo", directory)
    try:
        return measure.idle_memory(running, options.idle_connections, settle_seconds=2, expected=b"GET /128")["per_connection_kib"]
    finally:
        running.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="comma-separated (default: %(default)s)")
    parser.add_argument("--cases", default=",".join([*CASES, IDLE]), help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--idle-connections", type=int, default=5_000)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/out")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runtimes = options.runtimes.split(",")
    samples, rows, invalid = {}, {}, 0
    with tempfile.TemporaryDirectory(prefix="ringgate-bench-") as folder:
        directory = pathlib.Path(folder)
        for name in options.cases.split(","):
            if name == IDLE:
                rows["idle echo connection, KiB"] = {one: [(0, idle_kib(one, directory, options))] for one in runtimes}
                continue
            case = CASES[name]
            for turn in range(options.rounds):
                print(f"{name}, round {turn + 1}", flush=True)
                for runtime in runtimes:
                    taken = one_run(runtime, case, directory, options)
                    invalid += bool(taken.error)
                    print(f"  {runtime:16} {taken.cpu_us:.2f} µs CPU  {taken.per_second:.0f}/s  "
                          f"{'DOES NOT COUNT: ' + taken.error if taken.error else ''}", flush=True)
                    if not taken.error:
                        samples.setdefault(name, {}).setdefault(runtime, []).append({"round": turn, **dataclasses.asdict(taken)})
            rows[case.title] = {runtime: [(one["round"], one["cpu_us"]) for one in taken]
                                for runtime, taken in samples.get(name, {}).items()}
    text = report.markdown(rows, runtimes)
    (options.out / "engines.md").write_text(text)
    (options.out / "engines.json").write_text(json.dumps({"samples": samples, "rows": rows}, indent=1))
    (options.out / "engines.svg").write_text(report.svg(report.medians(rows), runtimes, "CPU and memory of one core; shorter is better"))
    print(f"\n{text}\nwritten to {options.out}/engines.md, engines.json, engines.svg")
    return 1 if invalid else 0


if __name__ == "__main__":
    sys.exit(main())
