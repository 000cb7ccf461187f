"""The OpenAPI description of hive-web's routes, made from the routes themselves."""

import re
from collections.abc import Iterable
from typing import Any

from bottle import Route

from hyperhive import wire
from hyperhive.web.api import KEY, Action, Field
from hyperhive.wire import Message

TYPES: dict[str, Message] = {
    "text": {"type": "string"},
    "when": {"type": "string"},
    "number": {"type": "integer"},
    "numbers": {"type": "array", "items": {"type": "integer"}},
    "texts": {"type": "array", "items": {"type": "string"}},
    "flag": {"type": "boolean"},
}


def describe(routes: Iterable[Route], cookie: str) -> Message:
    paths: dict[str, Message] = {}
    for route in routes:
        path = re.sub(r"<(\w+)(:\w+)?>", r"{\1}", route.rule)
        paths.setdefault(path, {})[route.method.lower()] = operation(route)
    session = {"type": "apiKey", "in": "cookie", "name": cookie}
    return {
        "openapi": "3.1.0",
        "info": {"title": "hyperhive", "version": wire.RELEASE, "description": ABOUT},
        "security": [{"session": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"session": session, "metrics": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR},
        },
    }


def operation(route: Route) -> Message:
    about: Message = {"summary": route.config["says"], "parameters": parameters(route)}
    if op := route.config.get("op"):
        about["description"] = f"The answer of the operation {op} of hyperhive-wire(7)."
    if route.config.get("public"):
        about["security"] = []
    if route.config.get("metrics"):
        about["security"] = [{"session": []}, {"metrics": []}]
    if action := route.config.get("action"):
        about["description"] = f"The operation {action.op} of hyperhive-wire(7)."
        about["requestBody"] = {"required": True, "content": bodies(action)}
    return about | {"responses": responses(route)}


def parameters(route: Route) -> list[Message]:
    inside = re.findall(r"<(\w+)(:\w+)?>", route.rule)
    found = [
        {"name": name, "in": "path", "required": True, "schema": TYPES["number" if kind else "text"]}
        for name, kind in inside
    ]
    for name, field in route.config.get("query", {}).items():
        found.append({"name": name, "in": "query", "description": field.says, "schema": TYPES[field.kind]})
        found[-1]["required"] = not field.optional
    if route.rule == "/api/stream":
        said = {"in": "header", "description": "the id of the last event seen; or ?last="}
        found.append({"name": "Last-Event-ID", "schema": TYPES["text"], "required": False, **said})
    if route.config.get("action"):
        said = {"in": "header", "description": "the token of the session, which the page has"}
        found.append({"name": "X-CSRF", "schema": TYPES["text"], "required": True, **said})
    return found


def bodies(action: Action) -> Message:
    fields: dict[str, Field] = {**action.fields, "key": KEY}
    schema = {
        "type": "object",
        "properties": {name: TYPES[each.kind] | {"description": each.says} for name, each in fields.items()},
        "required": [name for name, each in fields.items() if not each.optional],
    }
    extra = dict.fromkeys(("csrf", "next"), TYPES["text"])
    form: dict[str, Any] = schema | {"properties": {**schema["properties"], **extra}}  # type: ignore[dict-item]
    return {
        "application/json": {"schema": schema | {"additionalProperties": False}},
        "application/x-www-form-urlencoded": {"schema": form},
    }


def responses(route: Route) -> Message:
    kind = "application/json" if route.rule.startswith("/api/") else "text/html"
    kind = KINDS.get(route.rule, kind)
    wrong = {"description": "What is wrong.", "content": {"application/json": {"schema": REFERENCE}}}
    found: Message = {"200": {"description": "Done.", "content": {kind: {}}}, "default": wrong}
    if action := route.config.get("action"):
        found["303"] = {"description": "A form was done; back to its page."}
        if action.waits:
            found["202"] = {"description": "It is being carried out."}
    return found


KINDS = {"/api/stream": "text/event-stream", "/metrics": "application/openmetrics-text"}
REFERENCE = {"$ref": "#/components/schemas/Error"}
ERROR = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("error", "message", "hint")},
    "required": ["error", "message"],
}
ABOUT = (
    "All that the operator's page does. See hive-web(8) for signing in, and hyperhive-wire(7) for what the"
    " answers hold. A POST must have the header Origin with the page's own origin."
)
