"""A hive-web of the test's own before a real broker, on a loopback port and a unix socket."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hyperhive.web import guard, loopback
from tests.hive import ROOT, Hive

Headers = dict[str, str | None]
FORM: Headers = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class OverUnix(http.client.HTTPConnection):
    """As an agent would come: with a uid of its own."""

    def __init__(self, path: Path, uid: int) -> None:
        super().__init__("localhost", timeout=20)
        self.path, self.uid = path, uid

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        before = Path.cwd()
        os.chdir(self.path.parent)  # that uid may not walk down pytest's folders
        os.seteuid(self.uid)
        try:
            self.sock.connect(self.path.name)
        finally:
            os.seteuid(os.getuid())
            os.chdir(before)


class Stream:
    """An open stream of events."""

    def __init__(self, port: int, cookie: str, last: str = "", *, header: bool = False) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        headers = {"Cookie": cookie} | ({"Last-Event-ID": last} if header else {})
        path = "/api/stream" if header or not last else f"/api/stream?last={last}"
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.readline() == b"retry: 1000\n" and self.answer.readline() == b"\n"

    def next(self) -> tuple[str, str, Any]:
        """id, event, data; nothing but '' when the stream has ended."""
        found = {"id": "", "event": "", "data": "null"}
        while (line := self.answer.readline().decode().rstrip("\n")) and line.strip():
            name, _, value = line.partition(": ")
            found[name] = value
        return found["id"], found["event"], json.loads(found["data"])

    def until(self, event: str, **fields: Any) -> tuple[str, Any]:
        """The id and the data of the next one of these."""
        while True:
            number, name, data = self.next()
            assert name, f"the stream ended before {event} {fields}"
            if name == event and fields.items() <= data.items():
                return number, data

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@dataclass
class Web:
    hive: Hive
    port: int
    process: subprocess.Popen[bytes]
    cookies: dict[str, str] = field(default_factory=dict)
    csrf_token: str = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        """Of the cookie."""
        return loopback.cookie(self.origin)

    @property
    def token(self) -> str:
        return self.cookies[self.name]

    @property
    def unix(self) -> Path:
        return self.hive.run / "web.sock"

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def code(self) -> str:
        """What hivectl url prints in its link."""
        code: str = self.hive.operator().ask("url")["code"]
        return code

    def sign_in(self) -> str:
        """The token of a new session, which is the cookie's value, too."""
        answer = self.post("/sign-in", form={"code": self.code()})
        assert answer.status == 303, answer.text
        token = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
        self.cookies[self.name] = token
        self.csrf_token = guard.csrf(token)
        return token

    def csrf(self) -> str:
        """As the page has it."""
        return self.get("/sessions").text.partition('name="csrf" content="')[2].partition('"')[0]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Headers | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """None as a header leaves one out that would be there."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        usual = {"Cookie": self.cookie, "Origin": self.origin if method == "POST" else None}
        usual |= {"Host": f"127.0.0.1:{self.port}"}
        given = usual | (headers or {})
        connection.request(method, path, body, {k: v for k, v in given.items() if v})
        came = connection.getresponse()
        if came.getheader("Content-Type", "").startswith("text/event-stream"):
            answer = Answer(came.status, {}, came.read(1))
        else:
            answer = Answer(came.status, {k.lower(): v for k, v in came.getheaders()}, came.read())
        connection.close()
        return answer

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, form: dict[str, Any]) -> Answer:
        return self.ask("POST", path, urlencode(form, doseq=True).encode(), FORM)

    def stream(self, last: str = "", *, header: bool = False) -> Stream:
        return Stream(self.port, self.cookie, last, header=header)

    def do(self, action: str, **said: Any) -> Answer:
        """An action, as the page's JavaScript asks for it."""
        headers: Headers = {"Content-Type": "application/json", "X-CSRF": self.csrf_token}
        return self.ask("POST", f"/api/{action}", json.dumps(said).encode(), headers)


@contextmanager
def web(hive: Hive, config: str = "", *arguments: str) -> Iterator[Web]:
    """Signed in already."""
    settings = hive.folder / "hive.toml"
    settings.write_text(config)
    port = free_port()
    (hive.run / "web.sock").unlink(missing_ok=True)
    program = [sys.executable, os.fspath(ROOT / "bin/hive-web"), f"--config={settings}"]
    program += [f"--socket={hive.run}/operator.sock", *arguments]
    # in this order: the port is waited for
    listen = [f"--listen={hive.run}/web.sock", f"--listen=127.0.0.1:{port}"]
    command = ["systemd-socket-activate", *listen, "--setenv=PYTHONPATH", *program]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.fspath(ROOT)}) as process:
        try:
            it = Web(hive, port, process)
            wait_for_port(port, process)
            (hive.run / "web.sock").chmod(0o666)  # so that it is the program that refuses agents
            it.sign_in()
            yield it
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while f"0100007F:{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
        assert process.poll() is None, "hive-web went away"
        time.sleep(0.01)
