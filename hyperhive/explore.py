"""Datasette over stats.db, for who is signed in to the page, until nobody has asked for a while."""

import argparse
import asyncio
import base64
import hashlib
import html
import logging
import re
import socket
import time
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
import yaml
from datasette.app import Datasette, pm
from datasette.utils import parse_metadata
from systemd.daemon import listen_fds, notify

from hyperhive import settings
from hyperhive.client import Client
from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.web import loopback

log = logging.getLogger(__name__)

# Places of the operator's page, as datasette/plugins/hive.py links to them, and our own first page.
AGENT, OPERATOR, FIRST = "/-/agent/", "/-/operator", "/-/dashboards/crew"
TOKEN_MAX = 100
BROKER = "/run/hyperhive/explore-broker.sock"
KEPT = 15 * 60.0  # seconds for which a session is good that the broker knew, while there is no broker
KEPT_MAX = 100  # of these, as many as the broker has at most
LOOK = 1.0  # seconds from one look at the clock to the next
SETTINGS = {
    # A reader holds up the writing of telemetry for as long as it reads.
    "sql_time_limit_ms": 3000,
    "facet_time_limit_ms": 300,
    "facet_suggest_time_limit_ms": 50,
    "suggest_facets": False,
    "max_returned_rows": 1000,
    "num_sql_threads": 3,
    "allow_download": False,
    "default_cache_ttl": 0,
    "truncate_cells_html": 300,
}
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
]
NOT_KEPT = (b"cache-control", b"no-store")
FILES, FRESH = ("/-/static", "/hive/"), (b"cache-control", b"private, max-age=3600")
# Besides files of ours, what Datasette's own pages have in them runs, and no other script.
POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
WITHOUT_DATA = ("/stats", "/stats/series?_size=0", "/stats?sql=select+1")
PAGE = "<!DOCTYPE html><html lang=en><title>hyperhive</title><h1>{title}</h1><p>{text}</p></html>"

Scope = dict[str, Any]


class Guard:
    """In front of Datasette: by the Host, the method, and the session that the broker knows."""

    def __init__(self, app: Any, pages: dict[str, str], broker: str, policy: str) -> None:
        self.app = app
        self.pages = pages
        self.broker = broker
        self.headers = [*HEADERS, (b"content-security-policy", policy.encode())]
        self.known: dict[str, float] = {}  # when the broker last knew each session
        self.asked_at = time.monotonic()
        self.answering = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.answering += 1
        try:
            if refusal := await self.refusal(scope):
                await refuse(send, *refusal)
            elif place := self.elsewhere(scope):
                await redirect(send, place)
            else:
                await self.app(seen(scope), receive, with_headers(send, self.headers_of(scope["path"])))
        finally:
            self.answering -= 1
            self.asked_at = time.monotonic()

    def headers_of(self, path: str) -> list[tuple[bytes, bytes]]:
        return [*self.headers, FRESH] if path.startswith(FILES) else [*self.headers, NOT_KEPT]

    async def refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        if not (page := self.pages.get(headers.get(b"host", ""))):
            return 403, "Wrong address", "Use " + " or ".join(sorted(self.pages)) + "."
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "Read-only", "Nothing can be changed here."
        return await asyncio.to_thread(self.signed_out, token(headers.get(b"cookie", ""), page))

    def elsewhere(self, scope: Scope) -> str | None:
        path: str = scope["path"]
        page = self.pages[dict(scope["headers"])[b"host"].decode("latin-1")]
        if path == OPERATOR:
            return f"{page}/"
        return f"{page}/agent/{quote(path.removeprefix(AGENT), safe='')}" if path.startswith(AGENT) else None

    def signed_out(self, token: str) -> tuple[int, str, str] | None:
        if not token:
            return SIGNED_OUT
        try:
            with Client(self.broker, patience=0) as client:
                client.call("session", token=token)
        except Problem as e:
            if e.code == "signed-out":
                self.known.pop(token, None)
                return SIGNED_OUT
            return None if self.knew(token) else away(e)
        self.known[token] = time.monotonic()
        return None

    def knew(self, token: str) -> bool:
        """While nobody can be asked, what is here can be read on: nothing can have been revoked since."""
        oldest = time.monotonic() - KEPT
        found = sorted((at, each) for each, at in self.known.items() if at > oldest)
        self.known = {each: at for at, each in found[-KEPT_MAX:]}
        return token in self.known


def away(problem: Problem) -> tuple[int, str, str]:
    log.error("Cannot ask the broker: %s", problem)
    return 503, "The broker is away", "Nobody can say who is signed in. Is hyperhive.target running?"


SIGNED_OUT = (401, "You are not signed in", "The command hivectl url prints a link that signs in, here too.")


def token(cookie: str, page: str) -> str:
    """In hive-web's cookie, which is its host's, whatever the port."""
    try:
        jar = SimpleCookie(cookie)
    except CookieError:
        return ""
    name = loopback.cookie(page)
    said = jar[name].value if name in jar else ""
    return said if said.isascii() and said.isprintable() and len(said) <= TOKEN_MAX else ""


def seen(scope: Scope) -> Scope:
    """By Datasette and its plugins, which need not know the operator's token."""
    first = {"path": FIRST, "raw_path": FIRST.encode()} if scope["path"] == "/" else {}
    return scope | first | {"headers": [pair for pair in scope["headers"] if pair[0] != b"cookie"]}


def with_headers(send: Any, headers: list[tuple[bytes, bytes]]) -> Any:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            given = [pair for pair in message["headers"] if pair[0].lower() not in dict(headers)]
            message = message | {"headers": [*given, *headers]}
        await send(message)

    return sending


async def redirect(send: Any, place: str) -> None:
    headers = [(b"location", place.encode()), *HEADERS, NOT_KEPT]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def refuse(send: Any, status: int, title: str, text: str) -> None:
    body = PAGE.format(title=html.escape(title), text=html.escape(text)).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), *HEADERS, NOT_KEPT]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def pages(public: str | None, port: int | None) -> dict[str, str]:
    """By Host: what we may be called, and where the operator's page is then: on the port before ours."""
    own = {f"{name}:{port}": f"http://{name}:{port - 1}" for name in loopback.NAMES} if port else {}
    return own | ({public.partition("://")[2]: public} if public else {})


def dressed(folder: Path, database: Path) -> Datasette:
    # with it, it prints what it has in memory for each wrong address
    pm.get_plugin("datasette.handle_exception").rich = None
    metadata = parse_metadata((folder / "metadata.yaml").read_text())
    stats = metadata["databases"]["stats"]
    stats["tables"]["_sqlite_migrations"] = {"hidden": True}
    dashboards = yaml.safe_load((folder / "dashboard.yaml").read_text())
    metadata |= {"plugins": {"datasette-dashboards": dashboards}, "extra_css_urls": ["/hive/hive.css"]}
    return Datasette(
        [str(database)],
        metadata=metadata,
        settings=SETTINGS,
        plugins_dir=str(folder / "plugins"),
        template_dir=str(folder / "templates"),
        static_mounts=[("hive", str(folder / "static"))],
    )


async def policy(datasette: Datasette) -> str:
    """Known before there is anything in a page that an agent could have written."""
    pages = [(await datasette.client.get(path)).text for path in WITHOUT_DATA]
    scripts = sorted({each for page in pages for each in INLINE.findall(page)})
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    return POLICY.format(scripts=" ".join(f"'sha256-{each}'" for each in digests))


async def serve(args: argparse.Namespace, sockets: list[socket.socket]) -> None:
    datasette = dressed(args.datasette, args.database)
    await datasette.invoke_startup()
    known_as = pages(settings.hive(args.config).public_origin, loopback.port_of(sockets))
    guard = Guard(datasette.app(), known_as, args.broker, await policy(datasette))
    config = uvicorn.Config(guard, lifespan="on", log_level="warning", access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets))
    notify("READY=1")  # who connects waits in the sockets, which were there before us
    while not serving.done():
        await asyncio.wait([serving], timeout=LOOK)
        if not guard.answering and time.monotonic() > guard.asked_at + args.idle:
            server.should_exit = True
    await serving


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hive-explore", description="Let analysts ask stats.db.")
    top.add_argument("--database", type=Path, default="/var/lib/hyperhive/db/stats.db", metavar="FILE")
    top.add_argument("--datasette", type=Path, default="/usr/share/hyperhive/datasette", metavar="FOLDER")
    top.add_argument("--config", type=Path, default="/etc/hyperhive/hive.toml", metavar="FILE")
    top.add_argument("--broker", default=BROKER, metavar="PATH", help="the broker's socket for hive-explore")
    text = "seconds without a request after which it ends (default: 600)"
    top.add_argument("--idle", type=int, default=600, metavar="SECONDS", help=text)
    return top


def main() -> None:
    args = parser().parse_args()
    sockets = [socket.socket(fileno=fd) for fd in listen_fds()]
    if not sockets:
        hint = "start hive-explore.socket"
        raise Problem("no-socket", "systemd passed no socket", hint=hint, exit_status=EX_CONFIG)
    if not args.database.exists():
        hint = "hive-broker makes it"
        raise Problem("no-database", f"{args.database} is not there", hint=hint, exit_status=EX_CONFIG)
    asyncio.run(serve(args, sockets))
