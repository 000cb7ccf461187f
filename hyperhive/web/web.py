"""The operator's page and the HTTP interface. See hive-web(8)."""

import argparse
import logging
import socket
import threading
from pathlib import Path

from bottle import BaseRequest, Bottle
from systemd.daemon import listen_fds, notify

from hyperhive import settings
from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.web import answers, loopback
from hyperhive.web import guard as web_guard
from hyperhive.web import routes as web_routes
from hyperhive.web import server as web_server
from hyperhive.web.broker import Pool, State
from hyperhive.web.guard import Guard
from hyperhive.web.server import Server
from hyperhive.web.stream import Hub

IDLE = 600  # seconds


def make_app(pool: Pool, hub: Hub, guard: Guard) -> Bottle:
    BaseRequest.MEMFILE_MAX = web_server.BODY_MAX  # what came is in memory already
    app = Bottle()
    app.config["json.enable"] = False
    routes = web_routes.Routes(pool, hub, State(pool, lambda: (hub.epoch, hub.end)), guard)
    app.install(answers.answered)
    app.install(guard)  # the last one is the nearest to the route
    app.add_hook("before_request", answers.answered(guard.before, fatal=True))
    app.default_error_handler = answers.error
    routes.add(app)
    return app


def inherited() -> list[socket.socket]:
    found = [socket.socket(fileno=fd) for fd in listen_fds()]
    if not found:
        raise Problem(
            "no-socket", "systemd passed no socket", hint="start hive-web.socket", exit_status=EX_CONFIG
        )
    return found


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hive-web", description="Show the operator's page.")
    top.add_argument("--config", type=Path, default="/etc/hyperhive/hive.toml", help="the hive's settings")
    top.add_argument("--socket", default="/run/hyperhive/operator.sock", help="the broker's operator socket")
    top.add_argument(
        "--idle", type=float, metavar="SECONDS", default=IDLE, help="end when nobody asks for so long"
    )
    return top


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # who hangs up, and who waits while many do something at once, is nobody's business
    logging.getLogger("waitress").setLevel(logging.ERROR)
    args = parser().parse_args()
    sockets = inherited()
    hub, pool = Hub(args.socket), Pool(args.socket)
    threading.Thread(target=hub.run, name="events", daemon=True).start()
    public = settings.hive(args.config).public_origin
    guard = Guard(web_guard.origins(public, loopback.port_of(sockets)), pool)
    server = Server(answers.with_headers(make_app(pool, hub, guard)), sockets, args.idle)
    notify("READY=1")
    server.run()
