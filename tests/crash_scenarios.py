"""What happens in a hive, step by step; a broker may die in any of them, and the step is gone on with.

Each subject has a module of its own, tests/crash_SUBJECT.py.
"""

from tests import (
    crash_changes,
    crash_commands,
    crash_ends,
    crash_mail,
    crash_rest,
    crash_telemetry,
    crash_watch,
    crash_web,
)
from tests.crash_birth import BIRTH, start
from tests.crash_world import Step

AWAKE = crash_changes.SCENARIOS | crash_mail.SCENARIOS | crash_ends.SCENARIOS | crash_watch.SCENARIOS
AWAKE |= crash_commands.SCENARIOS | {"page": crash_web.STEPS, "stats": crash_telemetry.STEPS}
SCENARIOS: dict[str, list[Step]] = {
    "birth": BIRTH,
    # the longest first: where several get to a point, it dies in the last
    **{name: [start, *steps] for name, steps in AWAKE.items()},
    **crash_rest.SCENARIOS,
    "upgrade": crash_telemetry.UPGRADE,
}
