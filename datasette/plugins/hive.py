"""Links from rows: an agent to its page, and what to type into a shell as it is."""

from markupsafe import Markup

from datasette import hookimpl

AGENTS = {"agent", "sender", "recipient", "asker", "woken_by"}
NOBODY = {"", "operator", "system"}


@hookimpl
def render_cell(value, column):
    if column in AGENTS and isinstance(value, str) and value not in NOBODY:
        # hyperhive/explore.py knows where the operator's page is
        return Markup('<a class="agent" href="/-/agent/{name}">{name}</a>').format(name=value)
    if column == "journal" and value:
        return Markup("<code>{}</code>").format(value)
    return None
