"""The CLI's PreToolUse hook: deny what no rule allows, and tell the broker. Standard library only."""

import json
import signal
import sys
import tomllib
from typing import Any

from hyperhive.rules.plain import plain
from hyperhive.rules.rules import Denial, judge

JUDGING = 10  # seconds; it takes milliseconds
TELLING = 2.0  # seconds that the broker has
COMMAND_MAX = 2000  # characters of the command that the broker is told


def main() -> None:
    """Whatever goes wrong here must end with another exit status than 0, which denies."""
    config, socket, invocation = sys.argv[1:]
    signal.alarm(JUDGING)
    event = json.load(sys.stdin)
    command = event["tool_input"]["command"]
    # It was checked when it was deployed; what checks it takes as long to load as all that is here.
    with open(config, "rb") as file:
        allow = tomllib.load(file)["tools"]["allow"]
    denial = judge(command, allow, event["cwd"])
    both = not denial and plain(command, allow, event["cwd"])
    signal.alarm(0)
    if denial:
        print(json.dumps(answer("deny", reason(denial))), flush=True)
        tell(socket, invocation, command, denial)
    elif not both:
        # The CLI would refuse what it cannot read itself: loops, variables, redirections. Where it can,
        # nothing is said, and its own list has to allow the command, too.
        print(json.dumps(answer("allow", "each part is allowed by a rule")))


def reason(denial: Denial) -> str:
    """For the model, which is to find another way."""
    nearest = f" The nearest that is allowed: {denial.nearest}." if denial.nearest else ""
    return (
        f"Not allowed: {denial.part}\nWhy: {denial.rule}.{nearest}\n"
        "Nothing of the command was run. Do it in an allowed way, or say what you would need and why."
    )


def answer(what: str, why: str) -> dict[str, Any]:
    decision = {"permissionDecision": what, "permissionDecisionReason": why}
    return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision}}


def tell(socket: str, invocation: str, command: str, denial: Denial) -> None:
    # Only a denial is worth the time that these take.
    from hyperhive.client import Client
    from hyperhive.problem import Problem

    hello = {"role": "tool", "invocation": invocation}
    what = {"part": denial.part, "rule": denial.rule, "nearest": denial.nearest}
    try:
        with Client(socket, hello=hello, patience=0) as client:
            client.call("denied", answer_wait=TELLING, tool="Bash", command=command[:COMMAND_MAX], **what)
    except Problem as e:
        print(f"Cannot tell the broker: {e}, ignoring", file=sys.stderr)
