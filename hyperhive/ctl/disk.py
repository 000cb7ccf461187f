"""For hivectl doctor: the agents whose disk is limited, and what they use of it, which only root may ask."""

import os
from pathlib import Path

from hyperhive.apply import quota
from hyperhive.config import agent_toml
from hyperhive.problem import Problem
from hyperhive.wire import Message

STATE = Path("/var/lib/hyperhive")
DEPLOYED = Path("/etc/hyperhive/agents")


def check(state: Path = STATE, deployed: Path = DEPLOYED) -> Message:
    limited, wrong = [], []
    for path in sorted(deployed.glob("[!.]*/agent.toml")):
        try:
            limited += [path.parent.name] if agent_toml.read(path).disk else []
        except Problem as e:
            wrong.append(str(e))
    kept = not limited or quota.kept(state)
    wrong += [] if kept else [quota.unkept(name) for name in limited]
    uses = [using(state, name) for name in limited] if kept and os.geteuid() == 0 else []
    return {"name": "disk limits", "ok": not wrong, "limited": len(limited), "wrong": wrong, "uses": uses}


def using(state: Path, name: str) -> Message:
    return {"agent": name, **quota.use(state, (state / "agents" / name / "state").stat().st_uid)._asdict()}
