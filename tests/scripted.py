"""tests/peer.py as a process that a test starts, stops and asks what it was asked."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hive import ROOT


def wait_until(met: Callable[[], object], process: subprocess.Popen[Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert process.poll() is None, f"{process.args!r} went away"
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)  # no event says it; it fails when the process is gone


class Scripted:
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "hive.sock"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **answers: Any) -> None:
        program = os.fspath(ROOT / "tests/peer.py")
        command = [sys.executable, program, os.fspath(self.socket), os.fspath(self.log), json.dumps(answers)]
        self.process = subprocess.Popen(command)
        wait_until(self.socket.exists, self.process)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.socket.unlink()
            self.process = None

    def requests(self, op: str) -> list[Any]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [request for request in map(json.loads, lines) if request["op"] == op]

    def wait_for(self, op: str, count: int = 1) -> None:
        assert self.process
        wait_until(lambda: len(self.requests(op)) >= count, self.process)
