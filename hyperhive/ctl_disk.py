"""For hivectl doctor: the agents whose disk is limited, and what they use of it, which only root may ask."""

import os
from pathlib import Path

from hyperhive import agent_toml, quota
from hyperhive.wire import Message

STATE = Path("/var/lib/hyperhive")
DEPLOYED = Path("/etc/hyperhive/agents")


def check(state: Path = STATE, deployed: Path = DEPLOYED) -> Message:
    read = {path.parent.name: agent_toml.read(path) for path in sorted(deployed.glob("[!.]*/agent.toml"))}
    limited = [name for name, agent in read.items() if agent.disk]
    kept = not limited or quota.kept(state)
    found = {"name": "disk limits", "ok": kept, "limited": len(limited)}
    if not kept:
        return found | {"wrong": [quota.unkept(name) for name in limited]}
    uses = [using(state, name) for name in limited] if os.geteuid() == 0 else []
    return found | {"wrong": [], "uses": uses}


def using(state: Path, name: str) -> Message:
    return {"agent": name, **quota.use(state, (state / "agents" / name / "state").stat().st_uid)._asdict()}
