"""agent.toml: what an agent may be, and what its config may hold. See hyperhive-agent.toml(5)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperhive import names, settings
from hyperhive.gate import egress
from hyperhive.problem import EX_CONFIG, Problem
from hyperhive.settings import MODEL, REQUIRED, Each, Rule, Schema, listing, text, whole

FILE = "agent.toml"
PROMPTS = ("prompt.md", "CLAUDE.md")  # in the order in which the model reads them
CLAUDE = "claude"
EXEC = "exec:"
HIVE_SERVER = "hive"  # the MCP server of the hive's own tools
MEMORY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

PROGRAM = r"[A-Za-z0-9_][\w.+-]{0,63}"
# A comma, a line break or a second pair of parentheses would smuggle a second rule into the CLI's argument.
TOOL = r"(?!mcp__)[A-Za-z_][\w-]{0,63}(\([^()]{1,500}\))?"
MACHINE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
TURN_TIMEOUT = 1800  # seconds, by default
PLAIN = 'texts of at most 1000 printable characters without "${"'


@dataclass(frozen=True)
class Server:
    """An MCP server besides the hive's own."""

    command: str
    args: tuple[str, ...]
    env: dict[str, str]
    allow: tuple[str, ...]


@dataclass(frozen=True)
class Agent:
    description: str
    runner: str
    model: str | None  # None: the hive's default
    linger: int  # seconds
    turn_timeout: int  # seconds
    allow: tuple[str, ...]
    send_to: tuple[str, ...]
    limits: dict[str, str]  # unit settings, as systemd spells them
    disk: str | None  # how much of it what the agent writes may take
    mcp: dict[str, Server]
    egress: tuple[str, ...]
    root: str | None  # below /var/lib/machines, whose /usr it gets in the place of the host's

    @property
    def program(self) -> str | None:
        """Of its config, that runs its turns in claude's place."""
        return self.runner.removeprefix(EXEC) if self.runner != CLAUDE else None


def one_line(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 500 and value.isprintable()


def plain(value: Any) -> bool:
    # The CLI would put a variable of its own in the place of ${NAME}.
    return isinstance(value, str) and len(value) <= 1000 and "${" not in value and value.isprintable()


def plain_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 50 and all(map(plain, value))


def variables(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 50
        and all(re.fullmatch(r"[A-Za-z_]\w{0,63}", name, re.ASCII) for name in value)
        and all(map(plain, value.values()))
    )


def size(value: Any) -> bool:
    spelt = isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,14}[KMGT]?", value)
    return bool(spelt) and 64 * 2**20 <= in_bytes(value) <= 2**40


def in_bytes(text: str) -> int:
    digits = text.rstrip("KMGT")
    return int(digits) * MEMORY[text.removeprefix(digits)]


SERVER: Schema = {
    "command": text(
        rf"(bin/)?{PROGRAM}", 'the name of a program, or "bin/" and that of one in the config', REQUIRED
    ),
    "args": Rule(f"a list of at most 50 {PLAIN}", plain_list, ()),
    "env": Rule(f"a table of at most 50 variables and their values, {PLAIN}", variables, {}),
    "allow": listing(100, r"\*|[\w-]{1,64}", 'names of its tools, or "*" for all'),
}

AGENT: Schema = {
    "description": Rule("one line of at most 500 printable characters", one_line, ""),
    "runner": text(
        rf"claude|exec:{PROGRAM}", '"claude", or "exec:" and a program in bin/ of the config', CLAUDE
    ),
    "model": text(MODEL, "a model's name"),
    "linger": whole(5, 86_400, "a whole number of seconds", 300),
    "turn_timeout": whole(10, 86_400, "a whole number of seconds", TURN_TIMEOUT),
    "tools": {"allow": listing(100, TOOL, 'tools such as "Read", "Edit" or "Bash(git *)"')},
    "send": {
        "to": listing(100, rf"operator|all|(?!system$){names.RULE}", 'agents, "operator" or "all"', ("all",))
    },
    "limits": {
        "MemoryMax": Rule('a size from "64M" to "1T"', size),
        "CPUQuota": text(r"[1-9][0-9]{0,4}%", 'a share of one core from "1%" to "99999%"'),
        "TasksMax": whole(16, 100_000, "a whole number"),
        "disk": Rule('a size from "64M" to "1T"', size),
    },
    "mcp": Each(
        text(rf"(?!{HIVE_SERVER}$){names.RULE}", "like an agent, but not 'hive'"),
        16,
        SERVER,
    ),
    "egress": {
        "allow": listing(100, egress.RULE, 'HOST:PORT such as "example.org:443" or "*.example.org:443"')
    },
    "root": {"machine": text(MACHINE, "the name of a folder in /var/lib/machines")},
}


def default(*path: str) -> Any:
    rule: Any = AGENT
    for key in path:
        rule = rule[key]
    return rule.default


def parse(source: str, where: str = FILE) -> Agent:
    document = settings.parse(source, AGENT, where)

    def get(*path: str) -> Any:
        value: Any = document
        for key in path:
            value = value.get(key, {})
        return value if value != {} else default(*path)

    return Agent(
        **{key: get(key) for key in ("description", "runner", "model", "linger", "turn_timeout")},
        allow=tuple(get("tools", "allow")),
        send_to=tuple(get("send", "to")),
        limits={key: str(value) for key, value in document.get("limits", {}).items() if key != "disk"},
        disk=get("limits", "disk"),
        mcp={name: server(table) for name, table in document.get("mcp", {}).items()},
        egress=tuple(get("egress", "allow")),
        root=document.get("root", {}).get("machine"),
    )


def server(table: dict[str, Any]) -> Server:
    args, allow = tuple(table.get("args", ())), tuple(table.get("allow", ()))
    return Server(table["command"], args, table.get("env", {}), allow)


def read(path: Path) -> Agent:
    return parse(settings.read(path), str(path))


def programs(agent: Agent) -> dict[str, str]:
    """What it runs of its config: the key that says so, by path."""
    wanted = {f"bin/{agent.program}": "runner"} if agent.program else {}
    servers = {each.command: f"mcp.{name}.command" for name, each in agent.mcp.items()}
    return wanted | {path: key for path, key in servers.items() if path.startswith("bin/")}


def check_config(executable: Mapping[str, bool], source: str, where: str = FILE) -> Agent:
    """The whole config: agent.toml, and that what it runs is there. `executable` says it by path."""
    agent = parse(source, where)
    for path, key in programs(agent).items():
        if not executable.get(path):
            how = "is not executable" if path in executable else "is not in the config"
            at = f"{where}:{settings.line_of(source, tuple(key.split('.')))}"
            raise Problem("bad-config", f"{at}: '{key}' names {path}, which {how}", exit_status=EX_CONFIG)
    return agent
