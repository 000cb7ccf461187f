"""What the manager proposes, the registry, drafts: with the real git on the manager's side."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hyperhive.config import repository
from hyperhive.config.config_tree import File
from hyperhive.problem import Problem
from tests.proposed import TOML, Proposed, everything

UID = 1_250_000_000
MORE = {"prompt.md": "Be kind.\n", "CLAUDE.md": "Be brief.\n", "bin/mine": "#!/bin/sh\n"}


@pytest.fixture
def proposed(tmp_path: Path) -> Proposed:
    return Proposed(tmp_path / "agents/ada/config")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "ada.git"
    repository.create(folder)
    repository.create(folder)
    return folder


def fsck(registry: Path) -> str:
    words = ["git", "fsck", "--strict", "--full", "--no-dangling"]
    done = subprocess.run(words, cwd=registry, capture_output=True, text=True)
    return "".join(line for line in (done.stdout + done.stderr).splitlines() if "unborn branch" not in line)


def test_a_commit_is_pinned_with_who_and_why(proposed: Proposed, registry: Path) -> None:
    number = proposed.commit({"agent.toml": TOML, **MORE}, "Ada reviews\n\nas asked")
    commit = repository.examine(proposed.folder, "main")
    assert (commit.number, commit.subject, commit.parents) == (number, "Ada reviews", ())
    assert commit.agent.description == "reviews"
    assert {path: file.text for path, file in commit.files.items()} == {"agent.toml": TOML, **MORE}
    assert [path for path, file in commit.files.items() if file.executable] == ["bin/mine"]
    tag = repository.pin(registry, commit, "proposal/7", "manager", "she is needed\n\x1b[2J")
    assert (tag.name, tag.commit, tag.who, tag.why) == (
        "proposal/7",
        number,
        "manager",
        "she is needed\n?[2J",
    )
    assert repository.read(registry, "proposal/7") == commit
    assert fsck(registry) == ""


def test_nothing_that_is_done_to_the_repository_later_changes_what_was_pinned(
    proposed: Proposed, registry: Path
) -> None:
    proposed.commit({"agent.toml": TOML})
    pinned = repository.examine(proposed.folder, "main")
    repository.pin(registry, pinned, "proposal/1", "manager", "")
    before = everything(registry)
    proposed.git("commit", "--quiet", "--amend", "--message=another", "--allow-empty")
    proposed.git("branch", "--force", "other")
    proposed.git("reflog", "expire", "--expire=now", "--all")
    proposed.git("gc", "--quiet", "--prune=now")
    with pytest.raises(Problem, match="is not a commit of this repository"):
        repository.examine(proposed.folder, pinned.number)
    for path in proposed.dot_git.rglob("*.pack"):
        path.chmod(0o600)
        path.write_bytes(b"PACK")
    with pytest.raises(Problem, match="is damaged"):
        repository.examine(proposed.folder, "main")
    shutil.rmtree(proposed.folder)
    with pytest.raises(Problem, match="cannot be read: No such file"):
        repository.examine(proposed.folder, "main")
    assert everything(registry) == before
    assert repository.read(registry, "proposal/1") == pinned


def test_tags_are_made_once(proposed: Proposed, registry: Path) -> None:
    numbers = []
    for text in ("one", "two"):
        number = proposed.commit({"agent.toml": f'description = "{text}"\n'})
        pin = repository.examine(proposed.folder, number)
        numbers.append(number)
        repository.pin(registry, pin, f"proposal/{len(numbers)}", "manager", text)
    first, second = numbers
    made = repository.tag(registry, "approved/1", first, "operator", "fine")
    assert repository.tag(registry, "approved/1", first, "operator", "again") == made
    with pytest.raises(Problem, match=f"^approved/1 is {first} already$"):
        repository.tag(registry, "approved/1", second, "operator", "")
    for name in ("approved/0", "../1", "approved/1/2", "--delete", "heads/1"):
        with pytest.raises(Problem, match="cannot be a tag"):
            repository.tag(registry, name, first, "operator", "")
    with pytest.raises(Problem, match=r"^git tag in .*: fatal: "):
        repository.tag(registry, "deployed/1", "0" * 40, "operator", "")
    repository.tag(registry, "deployed/12", second, "system", "")
    assert {tag.name for tag in repository.tags(registry)} == {
        *("proposal/1", "proposal/2", "approved/1", "deployed/12")
    }
    assert [tag.name for tag in repository.tags(registry, "deployed")] == ["deployed/12"]
    assert repository.tags(registry, "deployed/1") == []


def test_a_git_that_was_killed_holds_up_nothing(proposed: Proposed, registry: Path) -> None:
    proposed.commit({"agent.toml": TOML})
    commit = repository.examine(proposed.folder, "main")
    (registry / "refs/tags/proposal").mkdir()
    for name in (
        "refs/tags/proposal/1.lock",
        "config.lock",
        "HEAD.lock",
        f"objects/.{commit.number[2:]}.new",
    ):
        (registry / name).write_text("cut o")
    repository.create(registry)
    repository.pin(registry, commit, "proposal/1", "manager", "")
    assert repository.read(registry, "proposal/1") == commit
    assert fsck(registry) == ""


def test_git_runs_only_as_the_registrys_owner(proposed: Proposed, registry: Path) -> None:
    number = proposed.commit({"agent.toml": TOML})
    repository.pin(registry, repository.examine(proposed.folder, number), "proposal/1", "manager", "")
    os.chown(registry, UID, UID)
    with pytest.raises(Problem, match=r"^git for-each-ref in .*"):
        repository.tags(registry)
    assert repository.read(registry, "proposal/1").number == number


def test_history_is_kept_as_far_as_it_was_proposed(proposed: Proposed, registry: Path) -> None:
    for number in range(4):
        proposed.commit({"agent.toml": f"linger = {number + 5}\n"})
        if number != 1:
            commit = repository.examine(proposed.folder, "HEAD")
            repository.pin(registry, commit, f"proposal/{number + 1}", "manager", "")
    log = ["git", "log", "--format=%s", "proposal/4"]
    said = subprocess.run(log, cwd=registry, check=True, capture_output=True, text=True).stdout
    assert said == "a change\n" * 2
    assert fsck(registry) == ""


def test_a_diff_is_text(proposed: Proposed, registry: Path) -> None:
    old = proposed.commit({"agent.toml": TOML, "bin/mine": "#!/bin/sh\n"})
    repository.pin(registry, repository.examine(proposed.folder, old), "proposal/1", "manager", "")
    (proposed.folder / "bin/mine").unlink()
    new = proposed.commit({"agent.toml": TOML.replace("Read", "Edit"), "prompt.md": "été\n"})
    repository.pin(registry, repository.examine(proposed.folder, new), "proposal/2", "manager", "")
    lines = repository.diff(registry, old, new).splitlines()
    for line in ('-allow = ["Read"]', '+allow = ["Edit"]', "+été", "-#!/bin/sh", "deleted file mode 100755"):
        assert line in lines
    assert '+description = "reviews"' in repository.diff(registry, None, new).splitlines()
    assert repository.diff(registry, new, new) == ""


@pytest.mark.parametrize("how", ["loose", "gc", "aggressive", "by name"])
def test_packed_repositories_are_read(proposed: Proposed, how: str) -> None:
    """Deltas upon deltas, by offset and by name; refs in packed-refs; tags."""
    text = "".join(f"{number * 7919 % 1000}\n" for number in range(5000))
    for number in range(15):
        text = text.replace(f"\n{number}\n", f"\nchanged {number}\n")
        proposed.commit({"agent.toml": f"linger = {number + 5}\n", "prompt.md": text})
    proposed.git("tag", "light")
    proposed.git("tag", "--annotate", "--message=x", "heavy")
    proposed.git("tag", "--annotate", "--message=x", "heavier", "heavy")
    proposed.git("branch", "feature/x@y")
    if how != "loose":
        kind = ["-c", f"repack.useDeltaBaseOffset={str(how != 'by name').lower()}"]
        proposed.git(*kind, "gc", "--quiet", *(["--aggressive"] if how == "aggressive" else []))
        assert not (proposed.dot_git / "refs/heads/main").exists()
    head = proposed.git("rev-parse", "HEAD")
    for ref in ("main", "HEAD", "light", "heavy", "heavier", "feature/x@y", head):
        commit = repository.examine(proposed.folder, ref)
        assert (commit.number, commit.files["prompt.md"].text) == (head, text)
    lingers = [
        repository.examine(proposed.folder, number).agent.linger
        for number in proposed.git("rev-list", "HEAD").split()
    ]
    assert lingers == [*range(19, 4, -1)]


def test_a_draft_belongs_to_the_manager_and_can_be_proposed(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    (tmp_path / ".config.new").mkdir()  # of a run that was killed
    (tmp_path / ".config.new/rest").touch()
    files = {"agent.toml": File(TOML), "bin/mine": File("#!/bin/sh\n", executable=True)}
    repository.draft(folder, files, UID, "manager")
    owners = {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
    assert owners == {UID}
    assert repository.examine(folder, "main").files == files
    assert (folder.stat().st_mode & 0o777, (folder / "bin/mine").stat().st_mode & 0o777) == (0o755, 0o755)
    assert not (folder / ".git/hooks").exists()
    with pytest.raises(Problem, match="is there already"):
        repository.draft(folder, files, UID, "manager")
    assert [path.name for path in tmp_path.iterdir()] == ["config"]
