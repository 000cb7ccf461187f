"""Agents, turns and messages as hivectl shows them."""

from collections import Counter
from collections.abc import Iterable

from hyperhive import wire
from hyperhive.ctl import terminal
from hyperhive.ctl.terminal import MISSING, Column, age, clock, counted, line
from hyperhive.wire import Message

AGENTS = (
    Column("AGENT"),
    Column("STATE"),
    Column("MAIL", right=True),
    Column("TURNS", right=True),
    Column("LAST TURN"),
    Column("DOES", fill=True),
)
TURNS = (
    Column("TURN", right=True),
    Column("BEGAN"),
    Column("TOOK", right=True),
    Column("OUTCOME"),
    Column("TOOLS", right=True),
    Column("IN", right=True),
    Column("OUT", right=True),
    Column("COST", right=True),
    Column("NOTE", fill=True),
)
MAIL = (
    Column("ID", right=True),
    Column("SENT"),
    Column("FROM"),
    Column("TO"),
    Column("STATE"),
    Column("BODY", fill=True),
)
RUNS = (Column("RUN"), Column("BEGAN"), Column("LASTED", right=True), Column("END", fill=True))
STATES = ("working", "awake", "asleep", "paused", "quarantined")


def agent_row(agent: Message) -> list[str]:
    last = f"{age(agent['last_turn_at'])} ago" if agent["last_turn_at"] else MISSING
    if agent["last_outcome"] not in (None, "ok"):
        last += f", {agent['last_outcome']}"
    does = agent["doing"] or agent["status"] or agent["description"] or ""
    does = ": ".join([*(each["kind"].replace("_", " ").upper() for each in agent["wild"]), does])
    mail = str(agent["waiting"] + agent["leased"])
    return [agent["name"], agent["state"], mail, str(agent["turns"]), last, line(does)]


def mail_row(message: Message) -> list[str]:
    return [
        str(message["id"]),
        clock(message["sent_at"]),
        message["from"],
        message["to"],
        message["state"],
        line(message["body"]),
    ]


def turn_row(turn: Message) -> list[str]:
    return [
        str(turn["number"]),
        clock(turn["started_at"]),
        f"{turn['duration_ms'] / 1000:.1f} s",
        turn["outcome"],
        str(turn["tool_calls"]),
        str(turn["tokens_in"] + turn["tokens_cache_read"] + turn["tokens_cache_write"]),
        str(turn["tokens_out"]),
        f"${turn['cost_usd']:.2f}",
        line(turn.get("error") or ""),
    ]


def run_row(run: Message) -> list[str]:
    if not run["ended_at"]:
        return [run["invocation"][:8], clock(run["began_at"]), age(run["began_at"]), "runs"]
    lasted = terminal.parse_time(run["ended_at"]) - terminal.parse_time(run["began_at"])
    end = run["event"]
    if end == "container_crash":
        end = f"crashed: {wire.death(run)} (journalctl _SYSTEMD_INVOCATION_ID={run['invocation']})"
    return [run["invocation"][:8], clock(run["began_at"]), f"{lasted.total_seconds():.1f} s", end]


def by_state(agents: Iterable[Message]) -> str:
    counts = Counter(agent["state"] for agent in agents)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def headline(about: Message, agents: list[Message]) -> str:
    return (
        f"{counted(about['agents'], 'agent')} ({by_state(agents)}), {about['queued']} queued, "
        f"{about['leased']} in a turn, {about['dead']} dead, inbox {about['inbox']}"
    )


def status(about: Message, agents: list[Message]) -> None:
    """One screen: is it well, and what waits."""
    dead = " (hivectl dead)" if about["dead"] else ""
    asked = " (hivectl questions)" if about["questions"] else ""
    pending = " (hivectl approvals)" if about["pending"] else ""
    rows = [
        ("broker", f"{about['version']}, up {age(about['started_at'])}, pid {about['pid']}"),
        ("agents", f"{about['agents']}: {by_state(agents)}" if agents else "none yet (hivectl spawn NAME)"),
        ("mail", f"{about['queued']} queued, {about['leased']} in a turn, {about['dead']} dead" + dead),
        ("asked", f"{counted(about['questions'], 'question')} open" + asked),
        ("waits", f"{counted(about['pending'], 'request')} for your approval" + pending),
        ("inbox", f"{about['inbox']} unread" + (" (hivectl inbox)" if about["inbox"] else "")),
    ]
    print_pairs(rows)
    waiting = [a for a in agents if a["waiting"]]
    for agent in sorted(waiting, key=lambda a: -int(a["waiting"]))[:10]:
        waits = "waits" if agent["waiting"] == 1 else "wait"
        print(f"{counted(agent['waiting'], 'message')} {waits} for {agent['name']} ({agent['state']})")
    for each in about["wild"]:
        print(f"{each['text']}, since {clock(each['since'])}. What to do:")
        print(f"  {each['do']}")
    for agent in agents:
        if agent["state"] == "quarantined":
            unit = f"hive-agent@{agent['name']}"
            print(f"{agent['name']} is quarantined: see journalctl -u {unit}, then")
            print(f"  systemctl reset-failed '{unit}.*' && systemctl start {unit}.socket")


def agent(shown: Message) -> None:
    about = shown["agent"]
    rows = [
        ("agent", f"{about['name']} ({about['role']})"),
        ("state", about["state"] + (f": {line(about['doing'])}" if about["doing"] else "")),
        ("status", status_of(about)),
        ("job", line(about["description"]) or MISSING),
        ("model", line(about["model"] or "the hive's default")),
        ("mail", f"{about['waiting']} queued, {about['leased']} in a turn"),
        ("turns", str(about["turns"])),
        ("created", f"{clock(about['created_at'])}, {age(about['created_at'])} ago"),
        ("uids", f"{about['uid_base']} to {about['uid_base'] + 65535}"),
        ("unit", f"hive-agent@{about['name']}.service, machine h-{about['name']}"),
    ]
    if denied := about["denied"]:
        newest = f"the newest: {line(denied['part'])} (hivectl denials {about['name']})"
        rows.insert(7, ("denied", f"{counted(denied['commands'], 'command')}, {newest}"))
    rows += [("wild", f"{each['text']}, since {clock(each['since'])}") for each in about["wild"]]
    print_pairs(rows)
    if shown["recent_runs"]:
        print()
        terminal.print_table(RUNS, [run_row(run) for run in reversed(shown["recent_runs"])])
    if shown["recent_turns"]:
        print()
        terminal.print_table(TURNS, [turn_row(turn) for turn in reversed(shown["recent_turns"])])
    if shown["messages"]:
        print()
        mail(reversed(shown["messages"]))


def status_of(about: Message) -> str:
    return f"{line(about['status'])} ({age(about['status_at'])} ago)" if about["status"] else MISSING


def print_pairs(rows: Iterable[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f"{name:<8} {value}")


def mail(messages: Iterable[Message]) -> None:
    terminal.print_table(MAIL, [mail_row(message) for message in messages])


def flow(message: Message) -> str:
    """A message as one line of the flow."""
    reply = f" (to {message['in_reply_to']})" if message["in_reply_to"] else ""
    at = clock(message["sent_at"])
    return f"{message['id']:>6}  {at}  {message['from']} -> {message['to']}{reply}: {line(message['body'])}"


def event(event: Message) -> str:
    """An event as one line for those who watch; "" for what the agents' table shows already."""
    match event["event"]:
        case "mail":
            return f"{event['from']} -> {event['to']}: {line(event['body'])}"
        case "requeued":
            return f"message {event['id']} to {event['agent']} is back in the queue: {line(event['reason'])}"
        case "dead":
            return f"message {event['id']} to {event['agent']} is given up: {line(event['reason'])}"
        case "awake":
            took = f" after {event['wake_ms']} ms" if event["wake_ms"] is not None else ""
            return f"{event['agent']} is awake{took}"
        case "asleep":
            return f"{event['agent']} is asleep" + ("" if event["orderly"] else " without having said so")
        case "turn":
            took = f"{event['duration_ms'] / 1000:.1f} s"
            return f"{event['agent']} ended turn {event['number']}: {event['outcome']}, {took}"
        case "status":
            return f"{event['agent']}: {line(event['status'])}"
        case "container_crash":
            return f"{event['unit']} crashed: {wire.death(event)}"
        case "quarantined" | "recovered":
            return f"{event['unit']}: {event['event']}"
        case "command_denied":
            return f"{event['agent']} may not run {event['program'] or 'a command'}: {event['kind']}"
        case "wild":
            return f"{event['text']}{': this is over' if event['over'] else ''}"
        case "spawned":
            return f"{event['agent']} was created"
        case "approval":
            request = f"request {event['id']} ({event['kind']} of {event['agent']})"
            return f"{request} is {event['state']}, by {event['by']}"
    return ""
