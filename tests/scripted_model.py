"""A model whose every byte the test decides, and a gate before it."""

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import endpoints

BASE = 700_000_000
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Model:
    """A model whose every byte the test decides: each connection is handed to `behave` in a thread."""

    behave: Callable[[socket.socket, "Model"], None]
    tls: ssl.SSLContext | None = None
    seen: "queue.Queue[bytes]" = field(default_factory=queue.Queue)
    go: threading.Event = field(default_factory=threading.Event)
    connections: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=self.serve, args=(server,), daemon=True).start()
            yield f"http{'s' if self.tls else ''}://127.0.0.1:{server.getsockname()[1]}"
            server.shutdown(socket.SHUT_RDWR)

    def serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain = server.accept()[0]
                self.connections += 1
                threading.Thread(target=self.handle, args=(plain,), daemon=True).start()

    def handle(self, plain: socket.socket) -> None:
        plain.settimeout(endpoints.PATIENCE)
        with contextlib.suppress(OSError), plain:
            s = self.tls.wrap_socket(plain, server_side=True) if self.tls else plain
            with s:
                self.behave(s, self)


def read_request(s: socket.socket) -> bytes:
    """Head and body of one request with a Content-Length, b"" when the peer hangs up."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := s.recv(65536)):
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(li[15:]) for li in head.lower().split(b"\r\n") if li.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += s.recv(65536)
    return head + b"\r\n\r\n" + body


def always_ok(s: socket.socket, model: Model) -> None:
    while request := read_request(s):
        model.seen.put(request)
        s.sendall(OK)


def post(body: bytes = b"{}", *headers: bytes, path: bytes = b"/v1/messages") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*parts: bytes) -> bytes:
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


@contextlib.contextmanager
def gate_to(folder: Path, endpoint: str, **setenv: str) -> Iterator[str]:
    """ada's side of a gate to a model elsewhere."""
    folder.chmod(0o755)
    endpoints.agent(folder, "ada", BASE)
    config = f'[model]\nendpoint = "{endpoint}"\n'
    with endpoints.gate(folder, config, **setenv) as gate, endpoints.relay(gate.path, BASE) as url:
        yield url
