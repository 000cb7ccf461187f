"""The figures of `make bench` on the operator's page: a broker and a hive-web of its own."""

import http.client
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperhive.bench.bench import WAIT, Figure, figure, status_kb
from hyperhive.bench.mail import BODY, NAMES, PROGRAM, Hive, Peer, request, running
from hyperhive.web import guard

AGENTS = 50
MESSAGES = 10_000
ROUNDS = 200
STREAMS = 200


class Page:
    """A browser's side of hive-web."""

    def __init__(self, hive: Hive, host: str, pid: int) -> None:
        self.hive, self.host, self.pid = hive, host, pid
        self.operator = Peer(hive.folder / "run/operator.sock")
        code = json.loads(self.operator.ask(request("url")))["code"]
        begun = self.ask("POST", "/sign-in", f"code={code}")
        self.cookie = begun.headers["Set-Cookie"].partition(";")[0]
        self.token = guard.csrf(self.cookie.partition("=")[2])

    def ask(self, method: str, path: str, body: str = "", cookie: str = "") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.host, timeout=WAIT)
        kind = "application/x-www-form-urlencoded"
        headers = {"Origin": f"http://{self.host}", "Cookie": cookie, "Content-Type": kind}
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def get(self, path: str) -> bytes:
        answer = self.ask("GET", path, cookie=self.cookie)
        assert answer.status == 200, answer.status
        return answer.read()

    def stream(self) -> http.client.HTTPResponse:
        answer = self.ask("GET", "/api/stream", cookie=self.cookie)
        assert answer.readline() + answer.readline() == b"retry: 1000\n\n"
        return answer

    def send(self) -> None:
        assert b'"ok":true' in self.operator.ask(request("send", to=self.hive.names[-1], body=BODY))


def free_host() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def page(hive: Hive) -> Iterator[Page]:
    run, host = hive.folder / "run", free_host()
    config = hive.folder / "hive.toml"
    config.write_text("")
    program = [sys.executable, os.fspath(PROGRAM.parent / "hive-web"), f"--config={config}"]
    listen = [f"--listen={host}", f"--listen={run}/web.sock", "--setenv=PYTHONPATH"]
    command = ["systemd-socket-activate", *listen, *program, f"--socket={run}/operator.sock"]
    with running(command, run / "web.sock") as pid:
        yield Page(hive, host, pid)


def heard(stream: http.client.HTTPResponse) -> None:
    while not stream.readline().startswith(b"event: mail"):
        pass


def loading(page: Page, path: str) -> list[float]:
    """Milliseconds. Something has happened before each, so that nothing can be kept from the last one."""
    stream, times = page.stream(), []
    for _ in range(ROUNDS):
        page.send()
        heard(stream)
        began = time.perf_counter()
        page.get(path)
        times.append((time.perf_counter() - began) * 1000)
    stream.close()
    return times


def live(page: Page) -> list[float]:
    """Milliseconds from the moment that the operator's client writes until the event is at the browser."""
    stream, times = page.stream(), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        page.send()
        heard(stream)
        times.append((time.perf_counter() - began) * 1000)
    stream.close()
    return times


def memory(page: Page) -> float:
    return status_kb(page.pid, "VmRSS") / 1024


def crowded(page: Page) -> list[Figure]:
    streams = [page.stream() for _ in range(STREAMS - 1)]
    figures = [
        figure(f"mail sent → on a stream, {STREAMS} streams", "ms", live(page), None),
        figure(f"hive-web with {STREAMS} streams, RSS", "MB", [memory(page)], None),
    ]
    for stream in streams:
        stream.close()
    return figures


def run(parent: Path) -> list[Figure]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(dir=parent) as name:
        Path(name).chmod(0o711)
        hive = Hive(Path(name) / "hive", NAMES[:AGENTS])
        hive.fill(MESSAGES)
        about = f"{AGENTS} agents, {MESSAGES} messages"
        with hive.broker(), page(hive) as it:
            idle = memory(it)
            pages, states = loading(it, "/"), loading(it, "/api/state")
            parts = [len(it.get(path)) for path in ("/", "/static/page.css", "/static/page.js")]
            return [
                figure(f"page: {about}: asked → all of it there", "ms", pages, 300),
                figure("… with its style and script", "KB", [sum(parts) / 1000], 150),
                figure(f"state as JSON: {about}", "ms", states, None),
                figure("mail sent → on the browser's stream", "ms", live(it), 150),
                figure("hive-web, idle, RSS", "MB", [idle], 60),
                *crowded(it),
            ]
