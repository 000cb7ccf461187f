"""Who may ask hive-web for what: Host, Origin, peer, session and token, for each route alike."""

import hashlib
import hmac
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bottle import HTTPResponse, Route, request

from hyperhive import peers
from hyperhive.problem import Problem
from hyperhive.store import sessions
from hyperhive.web import loopback
from hyperhive.web.broker import Pool

log = logging.getLogger(__name__)

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
YEAR = 365 * 24 * 3600
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with it a browser sends "Origin: null" with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Session:
    id: int
    csrf: str


def header(name: str) -> str:
    """Its bytes, as characters: Bottle's own wants UTF-8, and fails without."""
    value: str = request.environ.get("HTTP_" + name.upper().replace("-", "_"), "")
    return value


def csrf(token: str) -> str:
    """Only who can read our pages, or the cookie, knows it."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def origins(public: str | None, port: int | None) -> dict[str, str]:
    """By Host: what the page may be called, and the Origin that goes with it."""
    found = {f"{name}:{port}": f"http://{name}:{port}" for name in loopback.NAMES} if port else {}
    if public:
        found[public.partition("://")[2]] = public
    return found


class Guard:
    name, api = "guard", 2  # as a plugin of Bottle

    def __init__(self, origins: dict[str, str], broker: Pool) -> None:
        self.origins = origins
        self.broker = broker

    def before(self) -> None:
        """Of each request, also of one that no route is there for."""
        request.environ["hive.session"] = None
        origin = self.origins.get(header("Host"), "")
        request.environ["hive.cookie"] = loopback.cookie(origin)
        self.check_peer(request.environ["hive.channel"].socket)
        if not origin:
            raise Problem("wrong-host", "this page is not known by that name", hint=self.names())
        said = header("Origin")
        if said and said != origin:
            raise Problem("wrong-origin", "another page sent this, so nothing was done", hint=self.names())
        ours = bool(said) or header("Sec-Fetch-Site") == "same-origin"
        if request.method not in ("GET", "HEAD") and not ours:
            hint = f"programs send the header Origin: {origin}"
            raise Problem("wrong-origin", "it is not known which page sent this", hint=hint)

    def names(self) -> str:
        return "use " + " or ".join(sorted({*self.origins.values()}))

    def explore(self) -> str:
        """Where hive-explore is: at the next port, or below the page's own origin when there is a proxy."""
        name, _, port = header("Host").rpartition(":")
        return f"http://{name}:{int(port) + 1}" if name in loopback.NAMES else self.origins[header("Host")]

    def check_peer(self, sock: socket.socket) -> None:
        """An agent has no way to our sockets; should it find one, it is not let in either."""
        if sock.family == socket.AF_UNIX and (uid := peers.uid_of(sock)) >= peers.UID_FIRST:
            log.warning("Refused a request of uid %d: it is an agent's", uid)
            raise Problem("forbidden", "agents have no business here")

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Around each route: whatever is not declared public is for who is signed in."""
        if route.config.get("public"):
            return callback

        def guarded(*args: Any, **more: Any) -> Any:
            session = self.reader() if route.config.get("metrics") else self.session()
            if request.method == "POST" and not hmac.compare_digest(self.said_token(), session.csrf):
                hint = "load the page again"
                raise Problem(
                    "wrong-token", "this form is not of your session, so nothing was done", hint=hint
                )
            return callback(*args, **more)

        return guarded

    def reader(self) -> Session:
        """Who may read the metrics: a program has a token for just that, and no cookie."""
        kind, _, token = header("Authorization").partition(" ")
        return self.look(token.strip(), sessions.METRICS) if kind.lower() == "bearer" else self.session()

    def session(self) -> Session:
        return self.look(request.get_cookie(self.cookie(), ""), sessions.PAGE)

    def look(self, token: str, scope: str) -> Session:
        if not (token.isascii() and token.isprintable() and 0 < len(token) <= 100):
            raise Problem(
                "signed-out", "you are not signed in", hint="hivectl url prints a link that signs in"
            )
        about = self.broker.call("session", token=token, scope=scope)["session"]
        request.environ["hive.session"] = Session(about["id"], csrf(token))
        return Session(about["id"], csrf(token))

    def said_token(self) -> str:
        said = header("X-CSRF")
        if not said and request.content_type.startswith(FORMS):
            said = request.forms.get("csrf")
        return (said or "").encode("ascii", "replace").decode()

    def secure(self) -> bool:
        return self.origins[header("Host")].startswith("https:")

    def cookie(self) -> str:
        name: str = request.environ["hive.cookie"]
        return name

    def sign_in(self, answer: HTTPResponse, token: str) -> None:
        # how long the session lasts is the broker's to say
        answer.set_cookie(self.cookie(), token, maxage=YEAR, **self.attributes())

    def attributes(self) -> dict[str, Any]:
        return {"path": "/", "httponly": True, "samesite": "strict", "secure": self.secure()}
