"""What the operator approved, as hive-apply finds it, and the cage that it makes of it."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from hyperhive import names, wire
from hyperhive.config import agent_toml
from hyperhive.peers import UID_FIRST
from hyperhive.problem import Problem

REQUEST_MAX = 4 * 1024 * 1024  # as JSON
SIZE_MAX = 512 * 1024  # of a file
FILES = rf"{'|'.join(map(re.escape, (agent_toml.FILE, *agent_toml.PROMPTS)))}|bin/{agent_toml.PROGRAM}"
FILES_MAX = 64
UID_LAST = 0x6FFF0000
UID_RANGE = 65536
OURS = ("/usr/lib/hyperhive", "/usr/share/hyperhive")
WRITABLE = "/run/hyperhive/cages"  # /var/lib/hyperhive as run-hyperhive-cages.mount has it
TEMPORARY = "size=5%,nr_inodes=20k,nosuid,nodev"
TASKS_MAX = 2048  # as in hive-agent@.service
WATCHDOG_MARGIN = 60  # seconds, in which the harness itself can end a turn that hangs

# Of the host's /etc: what programs in /usr look for and nobody has a secret in.
HOST_ETC = """
    alternatives bash_completion.d ca-certificates ca-certificates.conf fonts gai.conf inputrc
    ld.so.cache ld.so.conf ld.so.conf.d
    locale.alias localtime magic magic.mime mime.types nanorc perl protocols python3 services
    ssl/certs ssl/openssl.cnf terminfo timezone vim
""".split()


@dataclass(frozen=True)
class Places:
    state: Path
    etc: Path  # /etc, below which all deployed files are
    share: Path
    system_socket: Path

    @property
    def agents(self) -> Path:
        return self.state / "agents"

    def state_of(self, name: str) -> Path:
        return self.agents / name / "state"

    def config(self, name: str) -> Path:
        """The repository in which the manager proposes."""
        return self.agents / name / "config"

    def home(self, name: str) -> Path:
        return self.state / "homes" / name

    def deployed(self, name: str) -> Path:
        return self.etc / "hyperhive/agents" / name

    def root(self, agent: agent_toml.Agent) -> Path:
        """The folder whose /usr and harmless files of /etc its cage gets."""
        return self.state.parent / "machines" / agent.root if agent.root else self.etc.parent

    def nspawn(self, name: str) -> Path:
        return self.etc / f"systemd/nspawn/{names.machine(name)}.nspawn"

    def drop_in(self, name: str) -> Path:
        return self.etc / f"systemd/system/hive-agent@{name}.service.d/50-hive-apply.conf"


@dataclass(frozen=True)
class Request:
    number: int
    op: str
    agent: str
    files: dict[str, str]
    executable: frozenset[str]
    description: str
    commit: str
    deploy: int


def read_request(path: Path) -> Request:
    """The folder is the broker's: what lies in it must be a plain file of the broker."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise Problem("bad-request", f"{path.name} is not a file of the broker: {e.strerror}") from e
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or about.st_uid != path.parent.stat().st_uid:
        os.close(fd)
        raise Problem("bad-request", f"{path.name} is not a file of the broker")
    with os.fdopen(fd, "rb") as file:
        data = file.read(REQUEST_MAX + 1)
    if len(data) > REQUEST_MAX:
        raise Problem("too-large", f"{path.name} is over {REQUEST_MAX} bytes")
    message = wire.decode(data)
    number = wire.get_int(message, "id", 1, wire.ID_MAX)
    if path.name != f"{number}.json":
        raise Problem("bad-request", f"{path.name} says that it is request {number}")
    return Request(
        number=number,
        op=wire.get_text(message, "op", 20),
        agent=names.check(wire.get_text(message, "agent", 64)),
        files=files_of(wire.get(message, "files", dict, {})),
        executable=frozenset(wire.get(message, "executable", list, [])),
        description=wire.get_text(message, "description", 2000, ""),
        commit=wire.get_text(message, "commit", 64, ""),
        deploy=wire.get_int(message, "deploy", 0, wire.ID_MAX, 0),
    )


def files_of(message: wire.Message) -> dict[str, str]:
    """Nothing but what an agent's config may hold."""
    for name in message:
        if not re.fullmatch(FILES, name):
            raise Problem("bad-config", f"{name[:100]!r} is not a file that an agent's config can have")
    if len(message) > FILES_MAX:
        raise Problem("too-large", f"the config has over {FILES_MAX} files")
    return {name: wire.get_text(message, name, SIZE_MAX) for name in message}


def checked(request: Request) -> agent_toml.Agent:
    if agent_toml.FILE not in request.files:
        raise Problem("bad-config", f"there is no {agent_toml.FILE}")
    executable = {name: name in request.executable for name in request.files}
    return agent_toml.check_config(executable, request.files[agent_toml.FILE])


def check_root(places: Places, agent: agent_toml.Agent) -> None:
    """What the admin has prepared holds a cage: our own programs are bound into it."""
    root = places.root(agent)
    wanted = (
        ["usr/bin/python3", "usr/bin/sh", *(folder.lstrip("/") for folder in OURS)] if agent.root else []
    )
    if missing := [path for path in wanted if not (root / path).exists()]:
        hint = f"see hyperhive-agent.toml(5) on 'root.machine'; for a folder, mkdir -p {root / missing[-1]}"
        raise Problem("no-root", f"{root} has no {', '.join(missing)}", hint=hint)


def agent_in(folder: Path) -> agent_toml.Agent:
    return agent_toml.read(folder / agent_toml.FILE)


def owner(folder: Path) -> int | None:
    try:
        return folder.lstat().st_uid
    except FileNotFoundError:
        return None


def uid_base(places: Places, name: str, users: set[int]) -> int:
    """The owner of an agent's state records its range, which is in use as long as its files exist."""
    known = [folder.name for folder in places.agents.iterdir() if re.fullmatch(names.RULE, folder.name)]
    bases = {each: base for each in known if (base := owner(places.state_of(each))) is not None}
    if name in bases:
        return bases[name]
    managers = {base for each in known if (base := owner(places.config(each)))}  # not root's
    if name == names.MANAGER and managers:
        return managers.pop()
    used = {*bases.values(), *managers}
    taken = users | used
    free = max([UID_FIRST - UID_RANGE, *used]) + UID_RANGE
    while any(free <= uid < free + UID_RANGE for uid in taken):
        free += UID_RANGE
    if free > UID_LAST:
        raise Problem("no-uids", "no uid range is left", hint="purge agents that are gone")
    return free


def nspawn(places: Places, name: str, base: int, agent: agent_toml.Agent) -> str:
    root = places.root(agent)
    etc = root / "etc"
    shared_etc = [entry for entry in HOST_ETC if (etc / entry).exists()]
    own_etc = sorted((places.share / "cage/etc").iterdir())
    lines = [
        "# Written by hive-apply(8): the cage of this agent. Static parts are in hive-agent@.service.",
        "[Exec]",
        f"PrivateUsers={base}:{UID_RANGE}",
        # also where there is no control group to count: a fork bomb stays in its cage
        f"LimitNPROC={agent.limits.get('TasksMax', TASKS_MAX)}",
        "[Files]",
        f"BindReadOnly={root / 'usr'}:/usr",
        *([f"BindReadOnly={folder}" for folder in OURS] if agent.root else []),
        f"TemporaryFileSystem=/etc:mode=755,{TEMPORARY}",
        f"TemporaryFileSystem=/var/tmp:mode=1777,{TEMPORARY}",
        f"Bind={WRITABLE}/agents/{name}/state:/state",
        f"Bind={WRITABLE}/homes/{name}:/home/agent",
        f"BindReadOnly={places.etc}/hyperhive/agents/{name}:/config",
        f"BindReadOnly=/run/hyperhive/agents/{name}:/run/hive",
        "BindReadOnly=/run/hyperhive/gate",
        f"BindReadOnly=/run/hive-agent/{name}:/run/hive-unit",
        *(["BindReadOnly=/run/hyperhive/control"] if name == names.MANAGER else []),
        # all of them, so that a new draft appears in a running cage; what it may do there is said by owners
        *([f"Bind={WRITABLE}/agents:/agents"] if name == names.MANAGER else []),
        # whoever writes there, the file belongs to the folder's owner
        f"Bind={WRITABLE}/shared:/shared:rootidmap",
        # claude would take what it finds there before all else, also that no hook is to judge commands
        "BindReadOnly=/run/hyperhive/empty:/etc/claude-code",
        *[f"BindReadOnly={path}:/etc/{path.name}" for path in own_etc],
        *[f"BindReadOnly={etc / entry}:/etc/{entry}" for entry in shared_etc],
    ]
    return "\n".join(lines) + "\n"


def drop_in(name: str, agent: agent_toml.Agent) -> str:
    title = f"Agent {name}: {agent.description}" if agent.description else f"Agent {name}"
    lines = [
        "# Written by hive-apply(8) from agent.toml.",
        "[Unit]",
        f"Description={title.replace('%', '%%')}",
    ]
    # Longer than anything lasts in which a healthy harness hears nothing: a turn, or a wait for mail.
    watchdog = max(agent.turn_timeout, wire.RECV_WAIT_MAX) + WATCHDOG_MARGIN
    lines += [
        "[Service]",
        f"WatchdogSec={watchdog}s",
        *[f"{key}={value}" for key, value in agent.limits.items()],
    ]
    return "\n".join(lines) + "\n"
