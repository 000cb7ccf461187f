"""The routes of hive-web, each with what OpenAPI says of it."""

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from bottle import Bottle, HTTPResponse, request, static_file

from hyperhive import client, names
from hyperhive.clip import clipped
from hyperhive.problem import Problem
from hyperhive.web import answers, api, openapi, pages, show
from hyperhive.web import charts as web_charts
from hyperhive.web import guard as web_guard
from hyperhive.web import metrics as web_metrics
from hyperhive.web.answers import as_json, back, page, wants_json
from hyperhive.web.broker import Pool, State
from hyperhive.web.guard import Guard
from hyperhive.web.stream import Hub
from hyperhive.wire import Message

YEAR = 365 * 24 * 3600
RECENT = 50
TURNS = 10
DECIDED = 15  # requests; the last ones, whatever became of them

# GET /api/…: what the operation of the same name answers, and which of its fields the query may have.
AGENT = api.Field("text", "only of this agent", optional=True)
BEFORE = api.Field("number", "only what is older than this number", optional=True)
SINCE = api.Field("text", "from when on, in ISO 8601", optional=True)
WINDOW = {"window": api.Field("text", f"how far back: {', '.join(web_charts.WINDOWS)}", optional=True)}
CHARTS = WINDOW | {"agent": AGENT}
LIMIT = api.Field("number", "at most so many, 50 by default", optional=True)
EVENTS_BEFORE = api.Field("number", "only events older than this one of a turn", optional=True)
PAGED = {"before": BEFORE, "limit": LIMIT}
MAIL = {
    "from": api.Field("text", "only what this one wrote", optional=True),
    "to": api.Field("text", "only what was sent to this one", optional=True),
    "state": api.Field("text", "queued, leased, done, dead or dropped", optional=True),
    "text": api.Field("text", "only with each of these words in the text or a name", optional=True),
}
LISTS: dict[str, tuple[str, str, dict[str, api.Field]]] = {
    "status": ("status", "Whether the hive is well, in numbers.", {}),
    "agents": ("agents", "All agents.", {}),
    "mail": (
        "mail",
        "Mail, newest first.",
        {"agent": AGENT, **MAIL, **PAGED},
    ),
    "inbox": (
        "inbox",
        "Mail to the operator, newest first.",
        {"unread": api.Field("flag", "only what was not read", optional=True), "limit": LIMIT},
    ),
    "questions": ("questions", "Open questions, oldest first.", {}),
    "loose-ends": ("loose_ends", "All that waits for somebody.", {"agent": AGENT}),
    "requests": (
        "approvals",
        "Requests to change agents, newest first.",
        {"state": api.Field("text", "as pending", optional=True), "agent": AGENT, **PAGED},
    ),
    "denials": (
        "denials",
        "Commands that agents' rules did not allow, newest first.",
        {"agent": AGENT, "all": api.Field("flag", "what is allowed or dismissed, too", optional=True)},
    ),
    "egress": (
        "egress",
        "Where agents went lately, and where they were refused, newest first.",
        {"agent": AGENT},
    ),
    "history": (
        "turns",
        "An agent's turns and what happened in them, newest first.",
        {
            "agent": api.AGENT,
            **PAGED,
            "events_before": EVENTS_BEFORE,
        },
    ),
    "changes": (
        "history",
        "What was asked for, decided and done to an agent, newest first.",
        {"agent": api.AGENT, **PAGED},
    ),
    "stats": (
        "stats",
        "Series of an agent, or of the hive as a whole, in steps; newest last.",
        {
            "since": api.Field("text", "from when on, in ISO 8601"),
            "until": api.Field("text", "until when; now by default", optional=True),
            "agent": AGENT,
            "key": api.Field("text", "only this series", optional=True),
            "step": api.Field("number", "seconds", optional=True),
        },
    ),
    "config": ("config", "The files that an agent runs with.", {"agent": api.AGENT}),
    "drafts": ("drafts", "Drafts of agents.", {}),
    "kept": ("kept", "What is kept of agents that were destroyed.", {}),
    "sessions": ("sessions", "Who is signed in to the page.", {}),
}


def query(fields: dict[str, api.Field]) -> Message:
    said = {name: request.query.getall(name) for name in fields}
    return {name: api.converted(name, fields[name], values) for name, values in said.items() if any(values)}


def fields_of_form() -> dict[str, list[str]]:
    try:
        form = request.forms.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Problem("bad-request", f"the form is not UTF-8: {e.reason}") from e
    return {name: form.getall(name) for name in form}


def running(broker: client.Client, agent: str) -> Message:
    """What it runs with; nothing where nobody has deployed it."""
    try:
        return broker.call("config", agent=agent)
    except Problem as e:
        if e.code != "unknown-deploy":
            raise
        return {"files": []}


def mail_of(broker: client.Client, agent: str | None = None) -> Message:
    """What the filter of the page lets through, and where the older part of it begins."""
    wanted = query({**MAIL, "older": BEFORE})
    asked = {"before" if name == "older" else name: value for name, value in wanted.items()}
    asked |= {"agent": agent} if agent else {}
    found = broker.call("mail", limit=RECENT, **asked)
    mails = [clipped(row) for row in found["messages"]]
    return {"mails": mails, "wanted": wanted, "older": older(wanted, found["next"])}


def older(wanted: Message, before: int | None) -> str:
    return urlencode(wanted | {"older": before}) if before else ""


def which_turns() -> Message:
    """The last ones, those before one, or one alone with what happened in it before what is known."""
    asked = query({"before": BEFORE, "events_before": EVENTS_BEFORE})
    return {"limit": 1 if "events_before" in asked else TURNS} | asked


class Routes:
    def __init__(self, pool: Pool, hub: Hub, state: State, guard: Guard) -> None:
        self.pool, self.hub, self.state, self.guard = pool, hub, state, guard

    def add(self, app: Bottle) -> None:
        def get(path: str, callback: Callable[..., Any], says: str, **config: Any) -> None:
            app.route(path, "GET", callback, says=says, **config)

        get("/", self.index, "The page.")
        get("/agent/<agent>", self.agent, "The page of an agent.")
        get("/charts", self.charts, "The page of the hive's charts.", query=WINDOW)
        get("/agent/<agent>/charts", self.charts, "The page of an agent's charts.", query=WINDOW)
        asked = {"agent": AGENT, "since": SINCE}
        get("/explore/<question>", self.explore, "To a question that is ready in Datasette.", query=asked)
        get("/request/<number:int>", self.request, "The page of a request: what it grants, and the diff.")
        get("/message/<number:int>", self.message, "The page of a message, whole.")
        get("/sessions", self.sessions, "The page of the sessions.")
        get("/static/<name>", self.static, "A file of the page.", public=True)
        get("/sign-in", self.sign_in_form, "The page with the button that signs in.", public=True)
        app.route("/sign-in", "POST", self.sign_in, says="Sign in with a code.", public=True)
        get("/metrics", self.metrics, "What Prometheus reads: OpenMetrics.", metrics=True)
        get("/api/state", self.api_state, "All that the page shows, as of one moment.")
        get("/api/stream", self.api_stream, "Events as they happen (text/event-stream).")
        get("/api/charts", self.api_charts, "The series that are drawn, as of one moment.", query=CHARTS)
        get("/api/agents/<agent>", self.api_agent, "An agent, its last runs, turns and mail.")
        get("/api/requests/<number:int>", self.api_request, "A request, and what it grants.")
        get("/api/requests/<number:int>/diff", self.api_diff, "What a request changes.")
        get("/api/messages/<number:int>", self.api_message, "A message, whole.")
        for name, (op, says, fields) in LISTS.items():
            get(f"/api/{name}", functools.partial(self.listed, op, fields), says, query=fields, op=op)
        for name, action in api.ACTIONS.items():
            called = functools.partial(self.act, name, action)
            app.route(f"/api/{name}", "POST", called, says=action.says, action=action)
        get("/api/openapi.json", lambda: self.description(app), "This description.")

    # pages

    def index(self) -> HTTPResponse:
        state = self.state.look()
        with self.pool.take() as broker:
            decided = broker.call("approvals", limit=DECIDED)["approvals"]
            mail = mail_of(broker)
        return page("index.tpl", state=state, decided=decided, **mail)

    def agent(self, agent: str) -> HTTPResponse:
        with self.pool.take() as broker:
            shown = broker.call("show", agent=agent)
            history = broker.call("history", agent=agent, limit=RECENT)["history"]
            ends = broker.call("loose_ends", agent=agent)["loose_ends"]
            denials = broker.call("denials", agent=agent)["denials"]
            egress = broker.call("egress", agent=agent)
            mail = mail_of(broker, agent=agent)
            config = running(broker, agent)
            turns = broker.call("turns", agent=agent, **which_turns())["turns"]
        lists = {
            "history": history,
            "denials": denials,
            "egress": egress,
            "ends": ends,
            "turns": turns,
            "config": config,
        }
        return page("agent.tpl", state=self.state.look(), shown=shown, **lists, **mail)

    def charts(self, agent: str = "") -> HTTPResponse:
        window = request.query.getunicode("window") or web_charts.USUAL
        web_charts.hours(window)  # refuses one that there is not
        if agent:
            self.pool.call("show", agent=agent)  # refuses a name that nobody has
        opened = "text/html" in web_guard.header("Accept")  # by a browser; page.js wants only the table
        late = functools.partial(self.late_charts, agent, window, whole=opened)
        return page("chart_page.tpl", state=self.state.look(), of=agent, window=window, late=late)

    def late_charts(self, agent: str, window: str, *, whole: bool) -> str:
        """While this is looked for, a browser loads what draws it."""
        try:
            with self.pool.take() as broker:
                found = web_charts.read(broker, agent, window, whole=whole)
        except Problem as e:
            return pages.render("chart_found.tpl", wrong=str(e))
        figures = web_charts.figures(found["series"], agent)
        about = {"window": window, "figures": figures, "found": found if whole else None}
        return pages.render("chart_found.tpl", **about)

    def explore(self, question: str) -> HTTPResponse:
        place, asked = self.guard.explore(), urlencode(query({"agent": AGENT, "since": SINCE}))
        return HTTPResponse("", 303, {"Location": f"{place}/stats/{quote(question, safe='')}?{asked}"})

    def request(self, number: int) -> HTTPResponse:
        about = self.pool.call("approval", request=number)
        try:
            diff = self.pool.call("diff", request=number)
        except Problem as e:
            if e.code != "no-files":
                raise
            diff = {}
        return page("request.tpl", state=self.state.look(), **about, diff=diff)

    def message(self, number: int) -> HTTPResponse:
        return page("mail.tpl", state=self.state.look(), message=self.one_message(number))

    def sessions(self) -> HTTPResponse:
        found = self.pool.call("sessions")["sessions"]
        return page("sessions.tpl", sessions=found, mine=request.environ["hive.session"].id)

    def static(self, name: str) -> HTTPResponse:
        kind = next((kind for end, kind in pages.TYPES.items() if name.endswith(end)), None)
        if not kind or "/" in name or not (pages.FOLDER / name).is_file():
            raise Problem("not-found", "there is no such file")
        age = YEAR if request.query_string else 0  # see pages.static()
        cached = {"Cache-Control": f"public, max-age={age}"}
        return static_file(name, str(pages.FOLDER), mimetype=kind, headers=cached)

    # signing in

    def sign_in_form(self) -> HTTPResponse:
        """A button, as a preview of the link must not use up its code."""
        return answers.sign_in(code=request.query.getunicode("code") or "")

    def sign_in(self) -> HTTPResponse:
        code = (request.forms.getunicode("code") or "").strip().rpartition("code=")[2]  # or the whole link
        if not code:
            raise Problem("bad-request", "there is no code", hint="hivectl url prints a link with one")
        begun = HTTPResponse("", 303, {"Location": "/"})
        try:
            self.guard.sign_in(begun, self.token(code, web_guard.header("User-Agent")[:150]))
        except Problem as e:
            status = answers.STATUS.get(e.code)
            if status in answers.WAITS:
                return answers.sign_in(status, "Not yet signed in", str(e), code)
            if e.code != "wrong-code":
                raise
            if not self.is_signed_in():
                return answers.sign_in(403, "This link does not sign in", str(e))
        return begun

    def is_signed_in(self) -> bool:
        """So that who follows a link again is not sent away."""
        try:
            return bool(self.guard.session())
        except Problem:
            return False

    def token(self, code: str, browser: str) -> str:
        token: str = self.pool.call("sign_in", code=code, agent=browser)["token"]
        return token

    # the interface

    def metrics(self) -> HTTPResponse:
        found = self.pool.call("metrics")["series"]
        return HTTPResponse(web_metrics.text(found), 200, {"Content-Type": web_metrics.KIND})

    def description(self, app: Bottle) -> HTTPResponse:
        return as_json(openapi.describe(app.routes, self.guard.cookie()))

    def api_state(self) -> HTTPResponse:
        return as_json(self.state.look())

    def api_stream(self) -> HTTPResponse:
        last = web_guard.header("Last-Event-ID") or request.query.get("last", "")
        session, channel = request.environ["hive.session"].id, request.environ["hive.channel"]
        events = self.hub.stream(session, last[:100], channel)
        # a proxy would keep it back (nginx)
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        return HTTPResponse(events, 200, headers)

    def api_charts(self) -> HTTPResponse:
        asked = {"agent": "", "window": web_charts.USUAL} | query(CHARTS)
        with self.pool.take() as broker:
            return as_json(web_charts.read(broker, asked["agent"], asked["window"]))

    def api_agent(self, agent: str) -> HTTPResponse:
        return as_json(self.pool.call("show", agent=agent))

    def api_request(self, number: int) -> HTTPResponse:
        return as_json(self.pool.call("approval", request=number))

    def api_diff(self, number: int) -> HTTPResponse:
        return as_json(self.pool.call("diff", request=number))

    def api_message(self, number: int) -> HTTPResponse:
        return as_json({"message": self.one_message(number)})

    def one_message(self, number: int) -> Message:
        found = self.pool.call("mail", before=number + 1, limit=1)["messages"]
        if not found or found[0]["id"] != number:
            raise Problem("unknown-message", f"there is no message {number}")
        message: Message = found[0]
        return message

    def listed(self, op: str, fields: dict[str, api.Field]) -> HTTPResponse:
        return as_json(self.pool.call(op, **query(fields)))

    def act(self, name: str, action: api.Action) -> HTTPResponse:
        said = self.said(action) | action.always
        if action.op == "model":
            said.setdefault("model", None)  # left out, it would only be read
        if action.op == "sign_out" and not said:
            said = {"session": request.environ["hive.session"].id}
        try:
            answer = self.pool.call(
                action.op, answer_wait=api.WAIT if action.waits else client.ANSWER_WAIT, **said
            )
        except Problem as e:
            if not (action.waits and e.code == "no-answer"):
                raise
            answer = {"waiting": "it is being carried out"}
        finally:
            self.state.forget()
        text = action.done.format_map({"to": names.OPERATOR, "due_at": "", **said, **answer})
        text = answer.get("waiting", text)
        if action.op == "model" and answer.get("until"):
            text += f" Until {show.clock(answer['until'])}."
        if wants_json():
            return as_json(answer | {"said": text}, 202 if "waiting" in answer else 200)
        return back(text)

    def said(self, action: api.Action) -> Message:
        if request.content_type.startswith(web_guard.FORMS):
            return api.from_form(action, fields_of_form())
        if request.content_type.startswith("application/json"):
            return api.from_json(action, request.body.read())
        raise Problem("wrong-type", "send application/json, or a form")
