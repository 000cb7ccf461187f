"""hivectl's verbs for the databases: backup, restore."""

import argparse
import base64
import os
from pathlib import Path

from hyperhive.ctl import terminal, units
from hyperhive.ctl.verb import Verb, connect
from hyperhive.problem import EX_TEMPFAIL, Problem

FOLDER = Path("/var/lib/hyperhive/db")
COPY_WAIT = 3600.0  # seconds that the broker may take for the copy
UNITS = (
    "hive-broker.service",
    "hive-broker.socket",
    "hive-broker-system.socket",
    "hive-broker-explore.socket",
)


def add(verb: Verb) -> None:
    p = verb("backup", make, "write mail, requests and statistics into a file")
    p.add_argument("file", type=Path, metavar="FILE", help="a tar file; one that is there is replaced")
    p = verb("restore", restore, "put a backup in the place of mail, requests and statistics")
    p.add_argument("file", type=Path, metavar="FILE", help="what backup wrote")


def make(args: argparse.Namespace) -> int:
    from hyperhive import backup  # here and below, as no other verb needs SQLite

    with connect() as client:

        def ask(name: str, offset: int) -> bytes:
            return base64.b64decode(client.call("backup_read", name=name, offset=offset)["data"])

        version = client.call("status")["version"]
        snapshot = client.call("backup", answer_wait=COPY_WAIT)
        try:
            backup.write(args.file, snapshot, ask, version)
        except OSError as e:
            raise Problem("no-file", f"{e.filename or args.file}: {e.strerror or e}") from e
        except Problem as e:
            if e.code != "no-backup":
                raise
            text = "the broker was restarted meanwhile, so there is no backup"
            raise Problem("lost", text, hint="run it again", exit_status=EX_TEMPFAIL) from e
    size = args.file.stat().st_size
    if args.json:
        terminal.print_json({"file": str(args.file), "bytes": size, "at": snapshot["at"]})
    else:
        print(f"{args.file}: {size / 1e6:.1f} MB")
    return 0


def restore(args: argparse.Namespace) -> int:
    from hyperhive import backup

    if os.geteuid():
        raise Problem("not-root", "only root may restore the databases", hint="use sudo")
    refuse_while_running()
    try:
        aside = backup.restore(args.file, FOLDER)
    except OSError as e:
        raise Problem("no-file", f"{e.filename}: {e.strerror}", hint="nothing is lost") from e
    if args.json:
        terminal.print_json({"aside": str(aside)})
    else:
        print(f"restored; what was there is in {aside}  (systemctl start hyperhive.target)")
    return 0


def refuse_while_running() -> None:
    active = units.active(UNITS)
    if active is None:
        raise Problem("no-systemd", "systemd does not answer, so it is not known whether the broker runs")
    if active:
        hint = f"systemctl stop hyperhive.target {' '.join(UNITS)}"
        raise Problem("running", f"not while {', '.join(active)} is active", hint=hint)
