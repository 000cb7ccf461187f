"""The HTML: templates of hyperhive/page, in which every text is made harmless."""

import hashlib
import html
import time
from functools import cache
from pathlib import Path
from typing import Any

from bottle import SimpleTemplate

from hyperhive import span, wire
from hyperhive.ctl import terminal
from hyperhive.web import show

FOLDER = Path(__file__).parent / "page"
LATE = "<!-- late -->"  # where in a page that comes later which answers.page() is given
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}


def harmless(value: object) -> str:
    """No markup, and all that a terminal or a line of text would obey is made visible."""
    return html.escape(terminal.clean(str(value)), quote=True)


class Template(SimpleTemplate):  # type: ignore[misc]
    """What a template includes is made with its class alone, so that is where the escaping must be."""

    def prepare(self, **settings: Any) -> None:
        super().prepare(**settings | {"escape_func": harmless})


@cache
def template(name: str) -> Template:
    return Template(name=name, lookup=[str(FOLDER)], encoding="utf-8")


@cache
def static(name: str) -> str:
    """The path of a file of the page, which changes with its content."""
    return f"/static/{name}?{hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]}"


def age(at: str) -> str:
    return span.words(max(0, time.time() - wire.seconds_of(at)))


def render(name: str, **about: Any) -> str:
    return str(template(name).render(static=static, LATE=LATE, age=age, show=show, **about))
