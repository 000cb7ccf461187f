"""How hive-web answers: JSON to programs, pages to people, and both when something is wrong."""

import functools
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from bottle import HTTPError, HTTPResponse, request

from hyperhive.problem import Problem
from hyperhive.web import guard, pages
from hyperhive.wire import Message

log = logging.getLogger(__name__)

# What is not here is the request's own fault: 400.
STATUS = {
    "signed-out": 401,
    "wrong-code": 403,
    "wrong-host": 403,
    "wrong-origin": 403,
    "wrong-token": 403,
    "forbidden": 403,
    "not-found": 404,
    "unknown-agent": 404,
    "unknown-question": 404,
    "unknown-request": 404,
    "unknown-message": 404,
    "unknown-loose-end": 404,
    "unknown-denial": 404,
    "unknown-deploy": 404,
    "unknown-session": 404,
    "wrong-method": 405,
    "closed": 409,
    "conflict": 409,
    "exists": 409,
    "not-pending": 409,
    "not-running": 409,
    "line-too-long": 413,
    "too-large": 413,
    "wrong-type": 415,
    "too-many": 429,
    "queue-full": 429,
    "apply-failed": 502,
    "busy": 503,
    "no-answer": 503,
    "storage": 503,
    "unreachable": 503,
}
ROUTING = {404: ("not-found", "there is no such page"), 405: ("wrong-method", "that is not done this way")}
SAID_MAX = 1000


def wants_json() -> bool:
    """Of the interface's own answers; a form of a page is told in a page, unless page.js has sent it."""
    scripted = guard.header("Accept").startswith("application/json")
    form = request.content_type.startswith(guard.FORMS) and not scripted
    return bool(request.path.startswith("/api/")) and not (request.method == "POST" and form)


def as_json(about: Message, status: int = 200) -> HTTPResponse:
    # ASCII: nothing in it is taken for anything by whoever prints it
    return HTTPResponse(json.dumps(about), status, {"Content-Type": "application/json"})


def said_cookie() -> str:
    """With what a form has done, for the next page."""
    return f"said-{request.environ['hive.cookie']}"


def page(name: str, status: int = 200, late: Callable[[], str] | None = None, **about: Any) -> HTTPResponse:
    """`late` makes what takes long: the page up to there is sent before."""
    said = unquote(request.get_cookie(said_cookie(), ""))[:SAID_MAX]
    session = request.environ.get("hive.session")
    text = pages.render(name, said=said, csrf=session.csrf if session else "", **about)
    body = in_parts(text, late) if late else text
    answer = HTTPResponse(body, status, {"Content-Type": "text/html; charset=utf-8"})
    if said:
        answer.delete_cookie(said_cookie(), path="/")
    return answer


def in_parts(text: str, late: Callable[[], str]) -> Iterator[bytes]:
    before, _, after = text.partition(pages.LATE)
    yield before.encode()
    yield late().encode() + after.encode()


def back(said: str) -> HTTPResponse:
    """To the page that the form was on, which shows it once."""
    to = request.forms.getunicode("next") or "/"
    # a path of ours: "//host" and "/\\host" are other people's
    if not (to.startswith("/") and to.isascii() and to.isprintable()) or to[1:2] in ("/", "\\"):
        to = "/"
    answer = HTTPResponse("", 303, {"Location": to})
    name, text = said_cookie(), quote(said[:SAID_MAX])
    answer.set_cookie(name, text, path="/", httponly=True, samesite="strict", maxage=60)
    return answer


def problem(wrong: Problem) -> HTTPResponse:
    status = STATUS.get(wrong.code, 400)
    if wants_json():
        hint = {"hint": wrong.hint} if wrong.hint else {}
        answer = as_json({"error": wrong.code, "message": str(wrong)} | hint, status)
    elif wrong.code == "signed-out":
        answer = sign_in(status, "Sign in", NO_COOKIE if comes_from_sign_in() else str(wrong))
    else:
        answer = told(wrong, status)
    return later(answer)


def told(wrong: Problem, status: int) -> HTTPResponse:
    """In a page."""
    title, hint = TITLES.get(wrong.code, TITLES.get(status, "That did not work")), wrong.hint
    again = status == 503 and request.method == "GET"
    if wrong.code == "unreachable":
        hint = f"Is it running? systemctl status hive-broker{'' if again else f'. {UNKNOWN}'}"
    answer = page("message.tpl", status, title=title, text=str(wrong), hint=hint, again=again)
    if again:
        answer.set_header("Refresh", str(AGAIN))
    return answer


def sign_in(status: int = 200, title: str = "Sign in", text: str = "", code: str = "") -> HTTPResponse:
    return later(page("sign_in.tpl", status, title=title, text=text, code=code))


def later(answer: HTTPResponse) -> HTTPResponse:
    if answer.status_code in WAITS:
        answer.set_header("Retry-After", str(WAITS[answer.status_code]))
    return answer


def comes_from_sign_in() -> bool:
    return urlsplit(guard.header("Referer")).path == "/sign-in"


AGAIN = 5  # seconds
WAITS = {429: 60, 503: AGAIN}  # seconds after which it may be otherwise
TITLES: dict[str | int, str] = {
    "unreachable": "The broker is away",
    "failed": "The page failed",
    403: "Not allowed",
    404: "Not found",
    429: "Too many",
    503: "Try again",
}
UNKNOWN = "Look whether it was done before you do it again"
NO_COOKIE = "the browser has sent no cookie; if you have just signed in, let it keep those of this page"


def answered(callback: Callable[..., Any], *, fatal: bool = False) -> Callable[..., Any]:
    """Around each route, and what comes before all of them: there the answer to a problem is the end."""

    @functools.wraps(callback)
    def called(*args: Any, **more: Any) -> Any:
        try:
            return callback(*args, **more)
        except Problem as e:
            if fatal:
                raise problem(e) from e
            return problem(e)

    return called


def error(wrong: HTTPError) -> HTTPResponse:
    """What Bottle itself has to say."""
    code, text = ROUTING.get(wrong.status_code, ("bad-request", str(wrong.body)))
    hint = ""
    if wrong.status_code >= 500:
        mark = secrets.token_hex(4)
        # its traceback was printed by Bottle just now
        log.error("Failure %s: %s %s: %r", mark, request.method, request.path, wrong.exception)
        code, text = "failed", "that is a fault in hive-web, and was noted in its journal"
        hint = f"journalctl --unit=hive-web --grep={mark}"
    answer = problem(Problem(code, text, hint=hint))
    answer.status = wrong.status_code
    return answer


def with_headers(app: Callable[..., Any]) -> Callable[..., Any]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            cached = any(name == "Cache-Control" for name, _ in headers)
            added = guard.HEADERS | ({} if cached else {"Cache-Control": "no-store"})
            return start_response(status, [*headers, *added.items()], *more)

        return app(environ, start)

    return answer
