"""What a live test took: seconds, and the memory of its process and all that it started, looked at twice a second.

A test adds what it measured by `record_property`: ``apart``, the largest difference of any loss or weight from the
recipe by hand, and ``recipes``, the strings that it trained.
"""

import json
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import psutil
import pytest

PACKAGES = ("trl", "verl", "tinker", "skyrl", "vllm", "ray", "transformers", "torch")
_EVERY = 0.5


class Measured:
    """A plug-in of pytest: a line of JSON a test, with the first line of its docstring for what it is."""

    def __init__(self, file):
        self.file, self.peak, self.done = Path(file), 0, False
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"versions": versions(), "python": sys.version.split()[0]}) + "\n")

    def pytest_sessionstart(self):
        threading.Thread(target=self._look, daemon=True).start()

    def pytest_sessionfinish(self, exitstatus):
        self.done = True
        with self.file.open("a") as out:
            out.write(json.dumps({"exit": int(exitstatus)}) + "\n")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.peak, start = 0, time.monotonic()
        self.outcome, self.found = "skipped", {}
        try:
            return (yield)
        finally:
            what = (item.function.__doc__ or item.originalname.replace("_", " ")).strip().splitlines()[0]
            row = {
                "test": item.nodeid,
                "what": what,
                "outcome": self.outcome,
                "seconds": round(time.monotonic() - start, 1),
                "peak_mb": round(max(self.peak, memory()) / 2**20),
            }
            row |= self.found
            with self.file.open("a") as out:
                out.write(json.dumps(row) + "\n")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.failed:
            self.outcome = report.outcome
            self.found = dict(report.user_properties)

    def _look(self):
        while not self.done:
            self.peak = max(self.peak, memory())
            time.sleep(_EVERY)


def memory():
    """Bytes of this process and its descendants; pages that several share are counted once (PSS)."""
    total = 0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
