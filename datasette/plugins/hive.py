"""Links from rows: an agent to its page, a run, turn or message to the line that shows it in the journal."""

from markupsafe import Markup

from datasette import hookimpl

AGENTS = {"agent", "sender", "recipient", "asker", "asked", "woken_by"}
NOBODY = {"", "operator", "system"}
COMMANDS = {"journal", "command"}


@hookimpl
def render_cell(row, value, column, table):
    if column in AGENTS and isinstance(value, str) and value not in NOBODY:
        # hyperhive/explore.py knows where the operator's page is
        return Markup('<a class="agent" href="/-/agent/{name}">{name}</a>').format(name=value)
    if column in COMMANDS and value:
        return command(value)
    if line := journal(row, column, table):
        return Markup("{} {}").format(value, command(line))
    return None


def journal(row, column, table):
    """Beside a column of the row's table that is no key: Datasette makes links of those."""
    if (table, column) == ("turns", "number"):
        return f"journalctl HIVE_AGENT={row['agent']} HIVE_TURN={row['number']}"
    if (table, column) == ("messages", "state"):
        return f"journalctl HIVE_MESSAGE={row['id']}"
    if (table, column) in (("crashes", "event"), ("starts", "at")):
        return f"journalctl _SYSTEMD_INVOCATION_ID={row['invocation']}"
    return None


def command(line):
    """A click on it marks the whole."""
    return Markup('<code class="command">{}</code>').format(line)


@hookimpl
def menu_links():
    return [
        {"href": "/", "label": "The crew, as charts"},
        {"href": "/stats", "label": "Questions and tables"},
        {"href": "/-/operator", "label": "The operator's page"},
    ]
