"""What hivectl's verbs share: the connection, and what their arguments are."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

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


def read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as e:
        raise Problem("no-file", f"{path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise Problem("no-file", f"{path}: not UTF-8 at byte {e.start}") from e
