import json
import os
import sys
from pathlib import Path

from . import files, kernel, sockets  # noqa: F401
from .tries import ABOUT, ATTEMPTS, Tries, alone, connect, connect_tcp, write


def control(tries: Tries) -> None:
    """What an agent may do, tried in the same way: these are open."""
    tries("its own socket", connect, "/run/hive/hive.sock")
    tries("the gate", connect, "/run/hive/gate.sock")
    tries("the relay", connect_tcp, "127.0.0.1", 3128)
    tries("a file", write, "/state/about.json", " ")
    tries("a process", alone, os.getpid)


def main() -> None:
    about, result = sys.argv[1:]
    ABOUT.update(json.loads(Path(about).read_text()))
    said: dict[str, Tries] = {}
    for title, function in ATTEMPTS.items():
        said[title] = Tries()
        function(said[title])
    said["control"] = Tries()
    control(said["control"])
    Path(result).write_text(json.dumps(said))


main()
