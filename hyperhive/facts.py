"""What happened, for the journal: one MESSAGE_ID per event, with an entry in hyperhive.catalog."""

import sys
from functools import cache
from pathlib import Path

from systemd import journal

IDS = {
    "mail": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a101",
    "requeued": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a102",
    "dead": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a103",
    "awake": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a104",
    "asleep": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a105",
    "turn": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a106",
    "spawned": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a107",
    "apply_failed": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a108",
    "control": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a110",
    "approval": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a111",
    "model_request": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a109",
    "model": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a130",
    "command": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a131",
    "command_denied": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a170",
    "telemetry_lost": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a150",
    "egress": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a160",
    "egress_denied": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a161",
    "started": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a120",
    "recovered": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a121",
    "finished": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a122",
    "stopped": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a123",
    "quarantined": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a124",
    "container_crash": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a125",
    "mail_flood": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a180",
    "log_flood": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a181",
    "many_calls": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a182",
    "disk_low": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a183",
    "signed_in": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a140",
    "signed_out": "0b6f3f1c7c7e4c35a3c9b1d8b8e3a141",
}
NOTICE, INFO = 5, 6
PROGRAM = Path(sys.argv[0]).name


def log(event: str, text: str, *, agent: str, notice: bool = False, **fields: object) -> None:
    """One journal entry; the fields' names begin with HIVE_, what is None is left out."""
    # not journal.send(): it reads the stack for CODE_FILE=, which here takes longer than all the rest
    journal.sendv(
        f"MESSAGE={text}",
        *head(event, NOTICE if notice else INFO),
        f"HIVE_AGENT={agent}",
        *[f"{key}={value}" for key, value in fields.items() if value is not None],
    )


@cache
def head(event: str, priority: int) -> tuple[str, ...]:
    return (
        f"MESSAGE_ID={IDS[event]}",
        f"SYSLOG_IDENTIFIER={PROGRAM}",
        f"PRIORITY={priority}",
        f"HIVE_EVENT={event}",
    )
