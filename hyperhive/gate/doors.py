"""What a request to the model may not ask of its provider: to go to the agent's places for it.

A picture by its URL, a page, an MCP server of the request's own: the provider would go there from its own
network, with what the agent puts into the URL, and no [egress] allow would be asked. A quote within a text
is escaped in JSON, so that this is found in what the request says, not in what is talked about.
"""

import re

from hyperhive.gate.account import Denied

# Names that could hide behind escapes, blanks or another encoding are refused with them.
FETCH = re.compile(
    rb'"type"(?:\s{9}|\s{0,8}:(?:\s{9}|\s{0,8}"(?:url"|web_fetch|mcp_)))'  # of a source, of a tool
    rb'|"mcp_servers"'
)
HIDDEN = re.compile(rb'"\w{0,20}\\u00(?:[46][1-9a-f]|[57][0-9a]|5f)|\0', re.IGNORECASE)
LONGEST = 64  # bytes, of any of these


class Doors:
    """Of one request, whose body comes in pieces."""

    def __init__(self) -> None:
        self.before = b""

    def look(self, data: bytes) -> None:
        text = self.before + data
        if FETCH.search(text):
            raise Denied("provider", "it would have the model's provider fetch a URL of the agent's", None)
        if HIDDEN.search(text):
            raise Denied(
                "provider", "a name in it is written so that nobody can tell what it asks for", None
            )
        self.before = text[-LONGEST:]
