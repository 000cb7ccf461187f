"""All that is measured from outside of the box, which is the bench's own, and what asks it for the rest."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

from hyperhive.bench import bench, inside
from hyperhive.problem import Problem

INSIDE = [*inside.PARTS, inside.AGENTS]
PARTS = ["box", *INSIDE, "browser", "charts"]  # in this order: charts looks at what stats has left
TREE = Path(__file__).resolve().parents[2]
STATE = TREE / "build/box-bench"
ENVIRONMENT = os.environ | {"HIVE_BOX": os.fspath(STATE)}


def run(*command: str) -> str:
    program = [os.fspath(TREE / "bin" / command[0]), *command[1:]]
    done = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise Problem("failed", f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def box() -> list[bench.Figure]:
    ups = []
    for _ in range(bench.RUNS):
        run("hive-box", "down")
        ups.append(bench.seconds(lambda: run("hive-box", "up")))
    demo = partial(run, "hive-box", "run", "--", "/usr/lib/hyperhive/bin/hive-demo", "--inside")
    demo()
    return [
        bench.figure("box: up until hyperhive.target is active", "s", ups, 3),
        bench.figure("demo, second run", "s", [bench.seconds(demo)], 60),
    ]


def measure(parts: list[str]) -> list[bench.Figure]:
    run("hive-box", "up")
    figures = box() if "box" in parts else []
    if there := [part for part in INSIDE if part in parts]:
        said = run("hive-box", "run", "--", "/usr/lib/hyperhive/bin/hive-bench", "--inside", *there)
        figures += [bench.Figure(**each) for each in json.loads(said)]
    from hyperhive.bench import browser, charts  # what these import is not in the box

    figures += browser.run(STATE.parent) if "browser" in parts else []
    return [*figures, *(charts.run(STATE) if "charts" in parts else [])]
