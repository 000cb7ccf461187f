"""Carry out what the operator approved: root, once, one request after the other, names and ids only."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pystemd.systemd1 import Manager

from hyperhive import agent_toml, names, settings, wire
from hyperhive.client import Client
from hyperhive.problem import Problem

REQUEST_MAX = 1024 * 1024
UID_FIRST = 0x40000000  # systemd leaves 524288 to 1879048191 to containers; this is its upper part
UID_LAST = 0x6FFF0000
UID_RANGE = 65536
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


@dataclass(frozen=True)
class Request:
    number: int
    agent: str
    toml: str
    prompt: str


def read_request(path: Path) -> Request:
    """The folder is the broker's: what lies in it must be a plain file of the broker."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        raise Problem("bad-request", f"{path.name} is not a file of the broker: {e.strerror}") from e
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != path.parent.stat().st_uid:
            raise Problem("bad-request", f"{path.name} is not a file of the broker")
        data = file.read(REQUEST_MAX + 1)
    if len(data) > REQUEST_MAX:
        raise Problem("too-large", f"{path.name} is over {REQUEST_MAX} bytes")
    message = wire.decode(data)
    if message.get("op") != "spawn":
        raise Problem("unknown-op", f"{path.name}: no such operation")
    return Request(
        number=wire.get_int(message, "id", 1, wire.ID_MAX),
        agent=names.check(wire.get_text(message, "agent", 64)),
        toml=wire.get_text(message, "toml", settings.SIZE_MAX),
        prompt=wire.get_text(message, "prompt", settings.SIZE_MAX) if message.get("prompt") else "",
    )


def uid_base(agents: Path, name: str, users: set[int]) -> int:
    """The owner of an agent's state records its range, which is in use as long as its files exist."""
    owners = {
        folder.name: (folder / "state").lstat().st_uid
        for folder in agents.iterdir()
        if (folder / "state").is_dir()
    }
    if name in owners:
        return owners[name]
    taken = users | {*owners.values()}
    free = max([UID_FIRST - UID_RANGE, *owners.values()]) + UID_RANGE
    while any(free <= uid < free + UID_RANGE for uid in taken):
        free += UID_RANGE
    if free > UID_LAST:
        raise Problem("no-uids", "no uid range is left", hint="purge agents that are gone")
    return free


def own_folder(path: Path, uid: int) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, uid, uid, follow_symlinks=False)


def write(path: Path, text: str) -> None:
    """Whole or not at all, also over a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def nspawn(places: Places, name: str, base: int) -> str:
    agent = f"{places.state}/agents/{name}"
    shared_etc = [f"{places.etc}/{entry}" for entry in HOST_ETC if (places.etc / entry).exists()]
    own_etc = sorted((places.share / "cage/etc").iterdir())
    lines = [
        "# Written by hive-apply(8): the cage of this agent. Static parts are in hive-agent@.service.",
        "[Exec]",
        f"PrivateUsers={base}:{UID_RANGE}",
        "[Files]",
        f"Bind={agent}/state:/state",
        f"Bind={places.state}/homes/{name}:/home/agent",
        f"BindReadOnly={places.etc}/hyperhive/agents/{name}:/config",
        f"BindReadOnly=/run/hyperhive/agents/{name}:/run/hive",
        "BindReadOnly=/run/hyperhive/gate",
        f"BindReadOnly=/run/hive-agent/{name}:/run/hive-unit",
        *(["BindReadOnly=/run/hyperhive/control"] if name == names.MANAGER else []),
        # whoever writes there, the file belongs to the folder's owner
        f"Bind={places.state}/shared:/shared:rootidmap",
        *[f"BindReadOnly={path}:/etc/{path.name}" for path in own_etc],
        *[
            f"BindReadOnly={path}:/etc/{path.removeprefix(str(places.etc)).lstrip('/')}"
            for path in shared_etc
        ],
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


def deploy(places: Places, request: Request) -> dict[str, Any]:
    """Every step can be done again: a run that was cut short is finished by the next one."""
    name = request.agent
    agent = agent_toml.check_config({}, request.toml)
    base = uid_base(places.state / "agents", name, {entry.pw_uid for entry in pwd.getpwall()})
    (places.state / "agents" / name).mkdir(mode=0o755, exist_ok=True)
    own_folder(places.state / "agents" / name / "state", base)
    own_folder(places.state / "homes" / name, base)
    write(places.etc / f"hyperhive/agents/{name}/agent.toml", request.toml)
    if request.prompt:
        write(places.etc / f"hyperhive/agents/{name}/prompt.md", request.prompt)
    write(places.etc / f"systemd/nspawn/{names.machine(name)}.nspawn", nspawn(places, name, base))
    write(
        places.etc / f"systemd/system/hive-agent@{name}.service.d/50-hive-apply.conf", drop_in(name, agent)
    )
    role = names.MANAGER if name == names.MANAGER else "agent"
    return {
        "name": name,
        "role": role,
        "uid_base": base,
        "model": agent.model,
        "description": agent.description,
        "send_to": agent.send_to,
    }


def start(name: str) -> None:
    unit = f"hive-agent@{name}.socket".encode()
    with Manager() as manager:
        manager.Manager.EnableUnitFiles([unit], False, True)
        manager.Manager.Reload()  # else hyperhive.target wants the socket from the next boot on only
        manager.Manager.StartUnit(unit, b"replace")


def carry_out(places: Places, path: Path) -> None:
    number = int(path.stem) if path.stem.isdecimal() else 0
    with Client(os.fspath(places.system_socket), patience=30) as broker:
        try:
            request = read_request(path)
            if request.number != number:
                raise Problem("bad-request", f"{path.name} says that it is request {request.number}")
            agent = deploy(places, request)
            start(request.agent)
            broker.call("applied", request=number, agent=agent)
        except Problem as e:
            if number:
                broker.call("apply_failed", request=number, message=str(e))
            path.unlink()
            raise
    path.unlink()


def waiting(queue: Path) -> list[Path]:
    return sorted(queue.glob("*.json"), key=lambda path: (len(path.stem), path.stem))
