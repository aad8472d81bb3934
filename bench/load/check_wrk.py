#!/usr/bin/env python3
"""Holds `ringgate bench` to wrk: closed loop, same connections, same nginx, interleaved.

Called by `scripts/bench wrk`. nginx runs alone on core 0 and is the bottleneck; each generator has core 1 to itself, so
both must see the throughput that nginx gives. Exits with 1 when the median ratio leaves the band or an answer was wrong.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

import measure
from cases import Case
from gateways import GATEWAY_CORE, start_origin

CASES = (
    Case("keep-alive", "keep-alive, 128 B", "/128", 128),
    Case("bulk", "keep-alive, 64 KiB", "/64k", 64 << 10),
    Case("new", "a new connection each, 128 B", "/128", 128, new_connection=True),
)


def per_second(load, origin, case, seconds):
    result = measure.LOADS[load](origin, case, seconds)
    if result["wrong"] or result["errors"]:
        raise SystemExit(f"{load} saw errors: {result}")
    return result["requests"] * 1e6 / result["micros"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--band", type=float, default=0.15, help="how far from 1 the ratio may be, below (default: 0.15)")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="ringgate-bench-") as folder:
        directory = pathlib.Path(folder)
        origin = start_origin(directory, core=GATEWAY_CORE)
        try:
            for case in CASES:
                ratios = []
                for _ in range(options.rounds):
                    wrk = per_second("wrk", origin, case, options.seconds)
                    ours = per_second("ringgate", origin, case, options.seconds)
                    ratios.append(ours / wrk)
                    print(f"  {case.title:30} wrk {wrk:8.0f}/s  ringgate bench {ours:8.0f}/s  ratio {ours / wrk:.2f}", flush=True)
                ratio = statistics.median(ratios)
                within = ratio >= 1 - options.band
                failed |= not within
                print(f"{case.title}: median ratio {ratio:.2f}, {'within' if within else 'BELOW'} {1 - options.band:.2f}")
        finally:
            origin.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
