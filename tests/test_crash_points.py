"""The broker dies at every point of its code that leaves a trace, is started again, and nothing is lost.

The points come from the code (tests/crash_points.py): one that no scenario reaches is a failure here.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import crash_points
from tests.crash_at import POINTS
from tests.crash_birth import BIRTH, start
from tests.crash_scenarios import SCENARIOS
from tests.crash_world import Step, World, Zygote

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
STARTS = 4  # deaths, one after the other, of a broker that is not up yet; in any other step it dies of one
Place = tuple[str, int]  # scenario, step
Dooms = dict[int, list[str]]  # of one world: points by step


class Crashes:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zygote = Zygote()
        self.born = folder / "born"
        self.places: dict[str, list[Place]] = {name: [] for name in POINTS}
        self.order: dict[Place, list[str]] = {}  # in which the points there are passed
        for scenario in SCENARIOS:
            self.record(scenario)
        self.restart = self.record_restart()

    def world(self, scenario: str) -> World:
        """On a memory disk: SIGKILL asks nothing of a disk, and there are hundreds of these."""
        return World(self.zygote, self.folder / "world", None if scenario == "birth" else self.born)

    def record(self, scenario: str) -> None:
        """Which points a scenario passes, and in which of its steps."""
        world = self.world(scenario)
        for number, step in enumerate(SCENARIOS[scenario]):
            self.take(world, step)
            self.order[scenario, number] = world.way
            for name in world.way:
                self.places[name].append((scenario, number))
        world.finish()
        self.end(world)
        if scenario == "birth":
            assert SCENARIOS[scenario] is BIRTH

    def record_restart(self) -> list[str]:
        """What each start of a broker passes, the first or not."""
        world = self.world("runs")
        world.step(start)
        world.step(dies_once)
        self.end(world)
        return world.way

    def take(self, world: World, step: Step, *dooms: str) -> list[str]:
        if world.pid or step is start:
            return world.step(step, *dooms)
        step(world)  # what is there before the broker is
        return []

    def end(self, world: World) -> None:
        world.close()
        if not self.born.exists():
            shutil.copytree(world.folder / "state", self.born)
        shutil.rmtree(world.folder)

    def chosen(self, point: str) -> list[Place]:
        return [place for place in self.places[point] if place[0] not in SLOW] or self.places[point]

    def crash(self, scenario: str, dooms: Dooms) -> set[str]:
        """The points at which it died: it may have passed by elsewhere this time."""
        world = self.world(scenario)
        died: list[str] = []
        try:
            for number, step in enumerate(SCENARIOS[scenario]):
                died += self.take(world, step, *dooms.get(number, ()))
            world.finish()
        except (AssertionError, OSError) as e:
            e.add_note(f"scenario {scenario}, which was to die at {dooms}, died at {died} and {world.died}")
            e.add_note((world.folder / "log").read_text()[-1500:])
            raise
        finally:
            self.end(world)
        return {*died}

    def dies(self, point: str, places: list[Place]) -> bool:
        return any(point in self.crash(scenario, {step: [point]}) for scenario, step in places)


def dies_once(world: World) -> None:
    world.through(world.kill)


class Plan:
    """As few worlds as will do: one dies at one point in each of its steps, or of its starts."""

    def __init__(self, crashes: Crashes) -> None:
        self.crashes = crashes
        self.worlds: dict[str, list[Dooms]] = {name: [] for name in SCENARIOS}
        self.starts = {
            (name, SCENARIOS[name].index(start)) for name in SCENARIOS if start in SCENARIOS[name]
        }
        anywhere = [point for point in crashes.restart if point not in CORE]
        for point in sorted({*POINTS} - {*anywhere}, key=lambda name: len(crashes.chosen(name))):
            places = crashes.chosen(point)
            if point in CORE:
                for place in places:
                    self.put(point, place)
            elif places and point not in OUT_OF_REACH:
                self.put(point, min(places, key=self.cost))
        self.put_in_a_restart(anywhere)

    def room(self, place: Place) -> Dooms | None:
        scenario, step = place
        most = STARTS if place in self.starts else 1
        return next((each for each in self.worlds[scenario] if len(each.get(step, ())) < most), None)

    def cost(self, place: Place) -> int:
        return 0 if self.room(place) is not None else len(SCENARIOS[place[0]])

    def put(self, point: str, place: Place) -> None:
        scenario, step = place
        world = self.room(place)
        if world is None:
            world = {}
            self.worlds[scenario].append(world)
        order = self.crashes.order[place]
        world[step] = sorted([*world.get(step, ()), point], key=order.index)

    def put_in_a_restart(self, points: list[str]) -> None:
        """Each start of a broker passes these, so also that after another death."""
        deaths = (dooms for worlds in self.worlds.values() for world in worlds for dooms in world.values())
        for point, dooms in zip(points, deaths, strict=False):
            dooms.append(point)


@pytest.fixture(scope="session")
def crashes() -> Iterator[Crashes]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        them = Crashes(Path(folder))
        yield them
        them.zygote.close()


@pytest.fixture(scope="session")
def plan(crashes: Crashes) -> Plan:
    return Plan(crashes)


def test_the_points_are_the_codes(crashes: Crashes) -> None:
    assert len(POINTS) == len(set(POINTS)) >= FLOOR
    missed = [name for name in POINTS if not crashes.places[name] and name not in OUT_OF_REACH]
    assert missed == [], "no scenario gets there: write one in tests/crash_scenarios.py"
    assert set(POINTS) >= OUT_OF_REACH.keys()


def test_no_module_of_the_broker_is_forgotten() -> None:
    """These only compute or look, or write to the journal."""
    pure = {"clip", "facts", "follow", "names", "peers", "problem", "settings", "wire"}
    pure |= {"broker.room", "cage.model_choice", "gate.egress"}
    pure |= {"stats.series", "stats.sql", "stats.ways_sql", "store.search"}
    pure |= {
        f"config.{name}" for name in "agent_toml allow_list config_tree grants objects packs starter".split()
    }
    assert {*crash_points.modules_of_the_broker()} - pure == {*crash_points.MODULES}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_lost_when_it_dies_there(crashes: Crashes, plan: Plan, scenario: str) -> None:
    count = 0
    for dooms in plan.worlds[scenario]:
        died = crashes.crash(scenario, dooms)
        count += len(died)
        for step, points in dooms.items():
            for point in {*points} - died:
                others = [each for each in crashes.chosen(point) if point not in CORE or each[0] == scenario]
                places = [(scenario, step), *others]
                assert crashes.dies(point, places), f"it never died at {point!r}"
                count += 1
    print(f"{count} deaths in {len(plan.worlds[scenario])} worlds")
