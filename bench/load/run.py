#!/usr/bin/env python3
"""Ringgate beside nginx and HAProxy on one core each, interleaved: CPU per request, latency, memory when idle.

Called by scripts/bench, which installs the rivals and builds Ringgate first. The gateway runs alone on core 0 with
one worker; origin and load share core 1. Rounds go A B C A B C, the figures are medians, and a run in which one
answer had a wrong status or length does not count. Writes bench/out/load.{md,json,svg}. See docs/benchmarking.md.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import sys
import tempfile

import measure
import report
from cases import CASES, groups
from gateways import GATEWAYS, ROOT, start_datagram_origin, start_gateway, start_light_origin, start_origin

IDLE = "idle"
STARTUP = "start to first answer, ms"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateways", default=",".join(GATEWAYS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--cases", default="http-128,http-64k,idle",
                        help=f"comma-separated, of {', '.join(CASES)}, {IDLE} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; medians are over these (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="length of one measured run (default: 2)")
    parser.add_argument("--idle-connections", type=int, default=10_000, help="connections of the idle case (default: 10000)")
    parser.add_argument("--load", choices=measure.LOADS, default="ringgate", help="load generator (default: %(default)s)")
    parser.add_argument("--origin", choices=("light", "nginx"), default="light",
                        help="light: a fixed answer from memory; nginx: from its configuration and files (default: light)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/out", help="folder for the results")
    return parser.parse_args()


def one_run(name, case_name, turn, origin, directory, options, results):
    """Starts one gateway, measures one case on it, stops it; an invalid run is reported and left out."""
    case = CASES.get(case_name)
    if case and case.swaps and not name.startswith(report.OURS):
        return  # The others start new processes for a new table, which is not the same.
    if case and case.datagrams and not GATEWAYS[name].datagrams:
        return  # It relays none.
    running = start_gateway(GATEWAYS[name], origin.http, directory, case.table if case else 0)
    results.setdefault(STARTUP, {}).setdefault(name, []).append(running.started_ms)
    try:
        if case_name == IDLE:
            figures = measure.idle_memory(running, options.idle_connections, settle_seconds=4)
            results.setdefault(IDLE, {}).setdefault(name, []).append({"round": turn, **figures})
            print(f"  {name:16} {figures['per_connection_kib']:.2f} KiB a connection, {figures['after_kib']} KiB in all, "
                  f"{figures['idle_cpu_us_per_second']:.0f} µs CPU a second", flush=True)
            return
        taken = measure.sample(running, case, options.seconds, options.load)
        if taken.error:
            print(f"  {name:16} DOES NOT COUNT: {taken.error}", flush=True)
            results.setdefault("invalid", []).append({"gateway": name, "case": case_name, "error": taken.error})
            return
        results.setdefault(case_name, {}).setdefault(name, []).append({"round": turn, **dataclasses.asdict(taken)})
        print(f"  {name:16} {taken.cpu_us:.2f} µs CPU  {taken.per_second:.0f}/s  p50 {taken.p50_us:.0f} µs  "
              f"p99 {taken.p99_us:.0f} µs  p99.9 {taken.p999_us:.0f} µs"
              + (f"  {taken.swaps_per_second:.0f} swaps/s" if case.swaps else ""), flush=True)
    finally:
        running.stop()


def rows_of(results, options):
    """{row title: {gateway: [(round, figure), ...]}} for the table and the plot."""
    rows = {}

    def add(title, gateway, figures):
        rows.setdefault(title, {})[gateway] = figures

    for name, case in CASES.items():
        for gateway, samples in results.get(name, {}).items():
            add(case.title, gateway, [(one["round"], one[case.figure]) for one in samples])
    for first, *others in groups([name for name in CASES if name in results]):
        for other in others:
            for gateway, samples in results[other].items():
                of = CASES[first].figure
                ratios = report.ratios([(one["round"], one[of]) for one in samples],
                                       [(one["round"], one[of]) for one in results[first].get(gateway, [])])
                add(f"{other} ÷ {first}", gateway, ratios)
    for gateway, samples in results.get(IDLE, {}).items():
        add("idle keep-alive connection, KiB", gateway, [(one["round"], one["per_connection_kib"]) for one in samples])
        add(f"all memory with {options.idle_connections} idle connections, MiB", gateway,
            [(one["round"], one["after_kib"] / 1024) for one in samples])
    for gateway, starts in results.get(STARTUP, {}).items():
        add(STARTUP, gateway, list(enumerate(starts)))
    return rows


def start_origin_of(case, directory, options):
    if case and case.datagrams:
        return start_datagram_origin(directory)
    if options.origin == "nginx":
        return start_origin(directory)
    body_bytes, everywhere = (case.bytes, case.table > 0) if case else (128, False)
    return start_light_origin(directory, body_bytes, everywhere)


def main() -> int:
    options = arguments()
    names = [name for name in options.gateways.split(",") if GATEWAYS[name].available()]
    cases = options.cases.split(",")
    for case in cases:
        if case not in CASES and case != IDLE:
            sys.exit(f"no case {case!r}; there are {', '.join(CASES)}, {IDLE}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    with tempfile.TemporaryDirectory(prefix="ringgate-bench-") as folder:
        directory = pathlib.Path(folder)
        for group in groups(cases):
            origin = start_origin_of(CASES.get(group[0]), directory, options)
            try:
                for turn in range(1 if group == [IDLE] else options.rounds):
                    for case in group:
                        print(f"{case}, round {turn + 1}", flush=True)
                        for name in names:
                            one_run(name, case, turn, origin, directory, options, results)
            finally:
                origin.stop()
    rows = rows_of(results, options)
    text = report.markdown(rows, names)
    (options.out / "load.md").write_text(text)
    (options.out / "load.json").write_text(json.dumps({"kernel": platform.release(), "results": results}, indent=1))
    (options.out / "load.svg").write_text(report.svg(report.medians(rows), names, "CPU and memory of one gateway core; shorter is better"))
    print(f"\n{text}\nwritten to {options.out}/load.md, load.json, load.svg")
    return 1 if results.get("invalid") else 0


if __name__ == "__main__":
    sys.exit(main())
