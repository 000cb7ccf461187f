"""A hive-explore of the test's own before a real broker, on a unix socket and a loopback port."""

import http.client
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hyperhive.web import loopback
from tests.hive import ROOT, Hive, listening
from tests.web import free_port

NUMBER = itertools.count(1)
SOCKETS = ["operator", "system", "explore"]


class Explorer:
    def __init__(self, here: Hive, *options: str, database: Path | None = None) -> None:
        self.path = here.run / f"page{next(NUMBER)}.sock"
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"  # by which an agent's page is its own, too
        self.host, self.page = f"localhost:{port}", f"http://localhost:{port - 1}"
        self.cookie = loopback.cookie(self.page)
        config = here.folder / f"{self.path.stem}.toml"
        config.write_text(f'[web]\npublic_origin = "{self.origin}"\n')
        listen = [f"--listen={self.path}", f"--listen=127.0.0.1:{port}", "--setenv=PYTHONPATH"]
        program = [sys.executable, os.fspath(ROOT / "bin/hive-explore"), f"--config={config}"]
        program += [f"--database={database or here.state / 'db/stats.db'}", f"--datasette={ROOT}/datasette"]
        program += [f"--broker={here.run}/explore.sock", *options]
        env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
        self.process = subprocess.Popen(["systemd-socket-activate", *listen, *program], env=env)
        while not listening(self.path):
            assert self.process.poll() is None, "it went away"
            time.sleep(0.01)

    def ask(self, path: str, cookie: str = "", method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(os.fspath(self.path))
        with closing(connection):
            usual = {"Host": self.host, "Cookie": f"{self.cookie}={cookie}"}
            connection.request(method, path, headers=usual | headers)
            answer = connection.getresponse()
            self.headers = answer.headers
            return answer.status, answer.read().decode()


@contextmanager
def explorer(here: Hive, *options: str, database: Path | None = None) -> Iterator[Explorer]:
    it = Explorer(here, *options, database=database)
    try:
        yield it
    finally:
        it.process.terminate()
        it.process.wait()


def signed_in(here: Hive) -> str:
    code = here.operator().ask("url")["code"]
    return str(here.operator().ask("sign_in", code=code, agent="a test")["token"])
