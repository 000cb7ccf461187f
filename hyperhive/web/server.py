"""waitress on the sockets that systemd hands us, until nobody has asked for anything for a while."""

import socket
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from hyperhive import wire

THREADS = 260  # each open stream has one
BODY_MAX = wire.LINE_MAX
SETTINGS = {
    "connection_limit": 600,
    "max_request_body_size": BODY_MAX,
    "max_request_header_size": 32 * 1024,
    "channel_request_lookahead": 1,  # so that it is noticed when a client hangs up
    "channel_timeout": 60,  # seconds that a connection may idle
    "ident": None,
}
TURN = 10  # seconds until the loop looks up when nothing happens
YOUNG = 2  # seconds that a connection may take to say something
UNREAD_MAX = 64 * 1024  # bytes that a client may leave unread before it is sent no more


class Task(WSGITask):  # type: ignore[misc]
    """Hands the connection on, for whoever asks who is at its other end, or whether it reads."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ["hive.channel"] = self.channel
        return environ


class Channel(HTTPChannel):  # type: ignore[misc]
    task_class = Task

    def __init__(self, *args: Any, **more: Any) -> None:
        self.moved: Callable[[], None] = lambda: None  # called when the client has hung up, or reads again
        super().__init__(*args, **more)

    def handle_close(self) -> None:
        super().handle_close()
        self.moved()

    def handle_write(self) -> None:
        full = self.full()
        super().handle_write()
        if full and not self.full():
            self.moved()

    def busy(self) -> bool:
        """A request is being answered, or is about to come."""
        return bool(self.requests or self.request) or time.time() < self.creation_time + YOUNG

    def full(self) -> bool:
        return bool(self.total_outbufs_len > UNREAD_MAX)


class Server:
    def __init__(self, app: Callable[..., Any], sockets: list[socket.socket], idle: float) -> None:
        self.app = app
        self.idle = idle
        self.asked_at = time.monotonic()
        self.map: dict[int, Any] = {}
        # create_server() takes either kind of socket, not both
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(THREADS)
        for sock in sockets:
            kind = UnixWSGIServer if sock.family == socket.AF_UNIX else TcpWSGIServer
            about = (sock.family, sock.type, sock.proto, sock.getsockname())
            adj = Adjustments(**SETTINGS, sockets=[sock])
            listening = kind(self.answer, self.map, True, sock, dispatcher, adj, about, bind_socket=False)
            listening.channel_class = Channel

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.asked_at = time.monotonic()
        return self.app(environ, start_response)

    def run(self) -> None:
        """What is not accepted yet when we go stays with systemd, which starts us again for it."""
        while time.monotonic() < self.asked_at + self.idle:
            wasyncore.loop(min(TURN, self.idle), use_poll=True, map=self.map, count=1)
            if any(isinstance(each, Channel) and each.busy() for each in self.map.values()):
                self.asked_at = time.monotonic()
