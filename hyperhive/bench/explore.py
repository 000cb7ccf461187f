"""Figures for `make bench`: Datasette's answers."""

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import yaml

from hyperhive.bench import mail
from hyperhive.bench.bench import WAIT, Figure, figure
from hyperhive.bench.mail import NAMES, Hive, Peer, request
from hyperhive.problem import Problem

PROGRAM = Path(__file__).resolve().parents[2] / "bin/hive-explore"
DATASETTE = Path("/usr/share/hyperhive/datasette")


class Datasette:
    """A hive-explore on a database, before the broker of a Hive, and somebody who is signed in."""

    def __init__(self, path: Path, operator: Path) -> None:
        self.path = path
        peer = Peer(operator)
        code = json.loads(peer.ask(request("url")))["code"]
        begun = json.loads(peer.ask(request("sign_in", code=code, agent="bench")))
        self.headers = {"Host": "bench", "Cookie": f"hive={begun['token']}"}

    def get(self, place: str) -> int:
        connection = http.client.HTTPConnection("localhost", timeout=WAIT)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.fspath(self.path))
        with closing(connection):
            connection.request("GET", place, headers=self.headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status


@contextmanager
def datasette(hive: Hive, database: Path) -> Iterator[Datasette]:
    run = hive.folder / "run"
    path = run / f"{database.parent.name}.sock"
    command = ["systemd-socket-activate", f"--listen={path}", "--setenv=PYTHONPATH", sys.executable]
    command += [os.fspath(PROGRAM), f"--database={database}", f"--datasette={DATASETTE}"]
    (config := run / "hive.toml").write_text('[web]\npublic_origin = "http://bench"\n')
    command += [f"--config={config}"]
    with mail.running([*command, f"--broker={run}/operator.sock"], path, nice=10):
        it = Datasette(path, run / "operator.sock")
        if it.get("/stats") != 200:
            raise Problem("failed", "Datasette does not answer")
        yield it


def questions(hive: Hive, database: Path) -> Figure:
    ready = yaml.safe_load((DATASETTE / "metadata.yaml").read_text())["databases"]["stats"]["queries"]
    with datasette(hive, database) as place:
        took = [middle(place, name) for name in ready]
    return figure(f"the slowest of {len(ready)} questions through Datasette", "ms", [max(took)], 1000)


def middle(place: Datasette, name: str) -> float:
    """Milliseconds: the middle of three."""
    asked = urlencode({"agent": "", "since": "", "minutes": ""})
    times = []
    for _ in range(3):
        began = time.perf_counter()
        if place.get(f"/stats/{name}.json?{asked}") != 200:
            raise Problem("failed", f"{name} has no answer")
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[1]


def run(parent: Path, database: Path) -> Figure:
    """`database` is a stats.db of much telemetry."""
    hive = Hive(parent / "hive", NAMES[:1])
    with hive.broker():
        return questions(hive, database)
