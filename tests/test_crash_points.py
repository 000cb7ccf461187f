"""The broker dies at every point of its code that leaves a trace, is started again, and nothing is lost.

The points come from the code (tests/crash_points.py): one that no scenario reaches is a failure here.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import crash_points
from tests.crash_at import NUMBER, POINTS
from tests.crash_birth import BIRTH
from tests.crash_scenarios import SCENARIOS
from tests.crash_world import World, Zygote

CHUNKS = 8
FLOOR = 280  # points there were when this was written
# Where mail changes its state for good: here it dies in every step. Elsewhere in one.
CORE = {
    "before store.commit.Writer.commit: store.db.execute('commit')",
    "after store.commit.Writer.commit: store.db.execute('commit')",
}
# What is under no scenario's control, each with the reason.
ALONE = "store.commit.Writer.undo: self.commit([change], give=False)"
OUT_OF_REACH = dict.fromkeys(
    [f"before {ALONE}", f"after {ALONE}"], "wants a disk that fails: tests/test_disk.py"
)
OUT_OF_REACH |= dict.fromkeys(
    [name for name in POINTS if " config.repository.draft: " in name],
    "is hive-apply's: tests/test_repository.py",
)
OUT_OF_REACH |= dict.fromkeys(
    [name for name in POINTS if "self.db.execute('rollback')" in name], "wants a reader of a minute"
)
SLOW = {"birth", "wait"}  # only for what no other scenario reaches
Place = tuple[str, int]  # scenario, step


class Crashes:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zygote = Zygote()
        self.born = folder / "born"
        self.places: dict[str, list[Place]] = {name: [] for name in POINTS}
        for scenario in SCENARIOS:
            self.record(scenario)

    def world(self, scenario: str) -> World:
        """On a memory disk: SIGKILL asks nothing of a disk, and there are hundreds of these."""
        return World(self.zygote, self.folder / "world", None if scenario == "birth" else self.born)

    def record(self, scenario: str) -> None:
        """Which points a scenario passes, and in which of its steps."""
        world = self.world(scenario)
        for number, step in enumerate(SCENARIOS[scenario]):
            before = world.counts()
            step(world)
            world.settle()
            for name, was, now in zip(POINTS, before, world.counts(), strict=True):
                if now > was:
                    self.places[name].append((scenario, number))
        world.finish()
        self.end(world)
        if scenario == "birth":
            assert SCENARIOS[scenario] is BIRTH

    def end(self, world: World) -> None:
        world.close()
        if not self.born.exists():
            shutil.copytree(world.folder / "state", self.born)
        shutil.rmtree(world.folder)

    def chosen(self, point: str) -> list[Place]:
        places = [place for place in self.places[point] if place[0] not in SLOW] or self.places[point]
        return places if point in CORE else places[::-1]

    def crash(self, point: str, place: Place) -> bool:
        """False when the broker passed by elsewhere this time."""
        scenario, at = place
        world = self.world(scenario)
        try:
            for number, step in enumerate(SCENARIOS[scenario]):
                if number == at:
                    world.die_at(point)
                step(world)
                world.settle()
            died = world.died_at() == point
            world.finish()
        except (AssertionError, OSError) as e:
            e.add_note(f"point {point!r}, scenario {scenario}, step {SCENARIOS[scenario][at].__name__}")
            e.add_note((world.folder / "log").read_text()[-1500:])
            raise
        finally:
            self.end(world)
        return died


@pytest.fixture(scope="session")
def crashes() -> Iterator[Crashes]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        them = Crashes(Path(folder))
        yield them
        them.zygote.close()


def test_the_points_are_the_codes(crashes: Crashes) -> None:
    assert len(POINTS) == len(set(POINTS)) >= FLOOR
    missed = [name for name in POINTS if not crashes.places[name] and name not in OUT_OF_REACH]
    assert missed == [], "no scenario gets there: write one in tests/crash_scenarios.py"
    assert set(POINTS) >= OUT_OF_REACH.keys()


def test_no_module_of_the_broker_is_forgotten() -> None:
    """These only compute or look, or write to the journal."""
    pure = {"clip", "facts", "follow", "names", "peers", "problem", "settings", "wire"}
    pure |= {"broker.room", "cage.model_choice", "gate.egress"}
    pure |= {"stats.series", "stats.sql", "stats.ways_sql"}
    pure |= {
        f"config.{name}" for name in "agent_toml allow_list config_tree grants objects packs starter".split()
    }
    assert {*crash_points.modules_of_the_broker()} - pure == {*crash_points.MODULES}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_when_it_dies_there(crashes: Crashes, chunk: int) -> None:
    count = 0
    for point in POINTS:
        if NUMBER[point] % CHUNKS != chunk or point in OUT_OF_REACH:
            continue
        deaths = 0
        for place in crashes.chosen(point):
            deaths += crashes.crash(point, place)
            if deaths and point not in CORE:
                break
        assert deaths, f"it never died at {point!r}"
        count += deaths
    print(f"{count} deaths")
