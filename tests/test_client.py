"""The client of hyperhive-wire(7), and a broker that does not behave; one that dies: test_restart.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperhive.client import Client
from hyperhive.problem import EX_TEMPFAIL, Problem
from tests.scripted import Scripted


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Scripted]:
    broker = Scripted(tmp_path)
    yield broker
    broker.stop()


def test_after_a_call_without_an_answer_the_next_one_is_answered(broker: Scripted) -> None:
    broker.start(status=["park"], whoami=[{"agent": "ada"}])
    with Client(str(broker.socket), patience=0) as client:
        with pytest.raises(Problem, match="did not answer 'status'") as e:
            client.call("status", answer_wait=0.2)
        assert (e.value.code, e.value.exit_status) == ("no-answer", EX_TEMPFAIL)
        assert client.call("whoami") == {"agent": "ada"}
