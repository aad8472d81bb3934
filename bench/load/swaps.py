"""Replaces a running gateway's table many times a second, as a busy control plane does.

The data plane's part is what is measured, so the control plane's threads are moved to the load's core, where they get
what that has left: on a machine with more cores than workers they would be out of the way as well.
"""

import os
import pathlib
import signal
import threading
import time
import urllib.request

from gateways import LOAD_CORE, Running

RELOADS = "ringgate_config_reloads_total"


class Swaps:
    """While it is entered, the files of `variants` take turns in the place of `config`, and each is reloaded."""

    def __init__(self, running: Running, config: pathlib.Path, variants: list, per_second: int):
        self.running, self.config, self.variants, self.per_second = running, config, variants, per_second
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.replace)
        self.per_second_done = 0.0

    def __enter__(self):
        set_control_apart(self.running.process.pid)
        self.before, self.begun = reloads(self.running), time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.per_second_done = (reloads(self.running) - self.before) / (time.monotonic() - self.begun)

    def replace(self):
        begun, fresh = time.monotonic(), self.config.with_suffix(".fresh")
        number = 0
        while not self.ended.wait(max(0, begun + number / self.per_second - time.monotonic())):
            # A symbolic link, so that two names are never one file: renaming would do nothing then.
            os.symlink(self.variants[number % len(self.variants)], fresh)
            os.replace(fresh, self.config)
            self.running.process.send_signal(signal.SIGHUP)
            number += 1


def set_control_apart(pid: int):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if not (task / "comm").read_text().startswith("worker-"):
            os.sched_setaffinity(int(task.name), {LOAD_CORE})
            os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))


def reloads(running: Running) -> float:
    with urllib.request.urlopen(f"http://{running.admin}/metrics", timeout=10) as metrics:
        for line in metrics.read().decode().splitlines():
            if line.startswith(RELOADS):
                return float(line.split()[-1])
    raise SystemExit(f"{running.name} has no {RELOADS}")
