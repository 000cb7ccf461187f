"""A restart of the broker under load: systemd holds its sockets, clients wait and go on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from hyperhive.client import Client
from tests.box.crew import Crew

SENDERS, KILLS = 8, 8


def send(path: str, sender: int, over: threading.Event) -> list[int]:
    ids: list[int] = []
    with Client(path, patience=20) as client:
        for n in count():
            if over.is_set():
                break
            ids += client.call("send", to="hal", body=f"{sender}/{n}")["ids"]
    return ids


def ask(path: str, over: threading.Event) -> int:
    """Questions and reminders, each cancelled again. Gives how many of each."""
    done = 0
    with Client(path, patience=20) as client:
        while not over.is_set():
            number = client.call("ask", to="hal", question=f"question {done}?")["question"]
            client.call("cancel_loose_end", kind="question", number=number)
            number = client.call("remind", message=f"reminder {done}", delay=1000)["reminder"]
            client.call("cancel_loose_end", kind="reminder", number=number)
            done += 1
    return done


def restart_again_and_again(crew: Crew) -> None:
    for n in range(KILLS):
        how = ("restart",) if n % 2 else ("kill", "--signal=KILL")
        before = crew.property("hive-broker.service", "InvocationID")
        crew.run("systemctl", *how, "hive-broker.service")
        crew.until_other("hive-broker.service", before)


def stored(crew: Crew, sender: str) -> list[int]:
    """The mail to hal that is in the database."""
    found: list[int] = []
    oldest = 2**62
    while rows := crew.call("mail", agent="hal", limit=1000, before=oldest)["messages"]:
        found += [row["id"] for row in rows if row["from"] == sender]
        oldest = rows[-1]["id"]
    return found


def test_no_call_fails_when_the_broker_is_restarted_under_load(crew: Crew) -> None:
    """Killed more often than systemd's default start limit would bear."""
    crew.spawn("hal")
    crew.run("systemctl", "stop", "hive-agent@hal.socket")  # its mail waits
    over, path = threading.Event(), crew.client.path
    with ThreadPoolExecutor(SENDERS + 1) as pool:
        asked = pool.submit(ask, path, over)
        jobs = [pool.submit(send, path, n, over) for n in range(SENDERS)]
        try:
            restart_again_and_again(crew)
        finally:
            over.set()
        told = [number for job in jobs for number in job.result()]
    assert len(told) == len({*told}) > 0
    assert asked.result() > 0
    assert crew.call("questions")["questions"] == []
    assert not [end for end in crew.call("loose_ends")["loose_ends"] if end["kind"] == "reminder"]
    assert {*told} == {*stored(crew, "operator")}, "mail that nobody was told of, or the other way round"
    events = stored(crew, "system")
    assert len(events) == 2 * asked.result(), "a question was put or cancelled twice, or not at all"
    assert crew.property("hive-broker.service", "ActiveState") == "active"


def test_a_socket_that_vanished_is_made_anew_and_kept_once(crew: Crew) -> None:
    crew.spawn("ivy")
    kept = crew.property("hive-broker.service", "NFileDescriptorStore")
    socket = crew.root / "run/hyperhive/agents/ivy/hive.sock"
    for _ in range(2):
        socket.unlink()
        before = crew.property("hive-broker.service", "InvocationID")
        crew.run("systemctl", "restart", "hive-broker.service")
        crew.until_other("hive-broker.service", before)
        assert socket.is_socket()
        assert crew.property("hive-broker.service", "NFileDescriptorStore") == kept
    assert crew.bash("ivy", "echo here") == "here"
