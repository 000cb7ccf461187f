"""hivectl as a process that a test runs, in a pipe or on a terminal."""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hive import ROOT, Hive
from tests.scripted import Scripted

HIVECTL = [sys.executable, os.fspath(ROOT / "bin/hivectl")]


def environment(socket: Path, **more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.fspath(ROOT), "HIVE_OPERATOR_SOCKET": os.fspath(socket)} | more


def run(
    here: Hive | Scripted, *words: str, stdin: bytes = b"", status: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    socket = here.run / "operator.sock" if isinstance(here, Hive) else here.socket
    done = subprocess.run(
        [*HIVECTL, *words], env=environment(socket, **more), input=stdin, capture_output=True, timeout=60
    )
    assert done.returncode == status, done.stderr.decode()
    return subprocess.CompletedProcess(words, status, done.stdout.decode(), done.stderr.decode())


def load(here: Hive | Scripted, *words: str) -> Any:
    return json.loads(run(here, *words, "--json").stdout)


def on_terminal(
    here: Hive, *words: str, columns: int = 80, do: Callable[[], object] | None = None, until: bytes = b""
) -> str:
    """What it writes to a terminal. Once it has drawn, `do` is done; at `until`, q is pressed."""
    child, fd = pty.fork()
    if child == 0:
        size = {"COLUMNS": str(columns), "LINES": "24", "TERM": "xterm-256color"}
        os.execve(HIVECTL[0], [*HIVECTL, *words], environment(here.run / "operator.sock", **size))  # noqa: S606
    seen = b""
    end = time.monotonic() + 30
    with contextlib.suppress(OSError):  # EIO: the child has ended
        while data := select.select([fd], [], [], end - time.monotonic())[0] and os.read(fd, 65536):
            seen += data
            if do and b"q: quit" in seen:
                do()
                do = None
            if until and until in seen:
                os.write(fd, b"q")
                until = b""
    os.close(fd)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    return seen.decode()
