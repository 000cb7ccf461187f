"""What hivectl's verbs share: the connection, and what their arguments are."""

import argparse
import os
from collections.abc import Callable

from hyperhive import span
from hyperhive.client import Client
from hyperhive.problem import Problem

SOCKET = "/run/hyperhive/operator.sock"
PATIENCE = 2.0  # seconds: longer than a restart of the broker takes

Run = Callable[[argparse.Namespace], int]
Verb = Callable[[str, Run, str], argparse.ArgumentParser]  # makes one: name, what it does, in words


def connect(patience: float = PATIENCE) -> Client:
    return Client(os.environ.get("HIVE_OPERATOR_SOCKET", SOCKET), patience=patience)


def number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def time_span(text: str) -> int:
    try:
        return span.seconds(text)
    except Problem as e:
        raise argparse.ArgumentTypeError(f"{e}: {e.hint}") from e
