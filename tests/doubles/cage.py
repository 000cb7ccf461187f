"""cage.py FOLDER AGENT UID FIFO LINGER TURN_TIMEOUT LIMITS MODEL: the real harness, from `unshare --pid`.

FOLDER is its /mnt, for UID may not walk down pytest's folders. LIMITS is a JSON object.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from hyperhive.cage import harness
from hyperhive.cage.claude import Limits
from hyperhive.problem import run_main

FOLDER, AGENT, UID, FIFO, LINGER, TURN_TIMEOUT, LIMITS, MODEL = sys.argv[1:]
PLACES = harness.Places(
    config=Path("/mnt/config"),
    home=Path("/mnt/home"),
    prompts=Path("/mnt/prompts"),
    socket=f"/mnt/run/agents/{AGENT}/hive.sock",
    claude="/mnt/claude",
    mcp="none",
    rules="none",
    base_url=MODEL,
    runtime=Path("/mnt/home/runtime"),
    watchdog="/mnt/notify",
    limits=Limits(**json.loads(LIMITS)),
)


def main() -> None:
    harness.be_first()
    subprocess.run(["mount", "--bind", FOLDER, "/mnt"], check=True)  # nobody else sees it
    os.chdir("/mnt/home")
    os.setgid(int(UID))
    os.setuid(int(UID))
    os.environ["HOME"] = "/mnt/home"
    it = harness.Harness(PLACES, os.environ["INVOCATION_ID"])
    # shorter than agent.toml allows
    it.agent = dataclasses.replace(it.agent, linger=int(LINGER), turn_timeout=int(TURN_TIMEOUT))
    it.run(int(FIFO))


run_main(main)
