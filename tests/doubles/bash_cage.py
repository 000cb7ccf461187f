"""bash_cage.py ROOT: run each script (a JSON text per line) with bash in ROOT; say what it ran, and what
it wrote, changed or took away where it must not.

ROOT has /bin/{ok,no,evil,unknown} (stub.c). To be started by `unshare --mount --net --pid --fork`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

Files = dict[str, tuple[int, ...]]  # what is to be known of each

ROOT = Path(sys.argv[1])
OURS = ("state", "home/agent", "shared", "tmp")
ENV = {"PATH": "/bin:/usr/bin", "HOME": "/home/agent", "BASH_ENV": "/unknown.sh", "LANG": "C.UTF-8"}
# What is not found is a command that was to be run nevertheless.
UNKNOWN = 'command_not_found_handle() { /bin/unknown "$@"; }\n'
SECONDS = 2


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def enter() -> None:
    mount("--make-rprivate", "/")
    for name in ("usr", "etc", "dev", "proc", *OURS):
        (ROOT / name).mkdir(parents=True, exist_ok=True)
    for name in ("lib", "lib64"):
        if Path("/", name).is_symlink():
            (ROOT / name).symlink_to(Path("/", name).readlink())
    mount("--bind", "/usr", ROOT / "usr")
    mount("-o", "remount,bind,ro", ROOT / "usr")
    mount("-t", "proc", "proc", ROOT / "proc")
    (ROOT / "dev/null").touch()
    mount("--bind", "/dev/null", ROOT / "dev/null")
    for name, target in {"fd": "/proc/self/fd", "stdout": "fd/1", "stderr": "fd/2", "stdin": "fd/0"}.items():
        (ROOT / "dev" / name).symlink_to(target)
    (ROOT / "unknown.sh").write_text(UNKNOWN)
    (ROOT / "trace").touch()
    os.chroot(ROOT)
    os.chdir("/state")
    furnish()


def furnish() -> None:
    """/outside: what is there to be taken, and must not be touched."""
    shutil.rmtree("/outside", ignore_errors=True)
    Path("/outside/d").mkdir(parents=True)
    for name in ("a", "b", "d/a"):
        Path("/outside", name).write_text("b\na\n")
    with tarfile.open("/outside/t.tar", "w") as archive:
        archive.add("/outside/a", "packed")
    for name in ("a", "b", "d/a", "t.tar"):
        os.utime(f"/outside/{name}", (1, 1))


def files() -> Files:
    """Outside of where one may write."""
    found = {}
    for folder, names, entries in os.walk("/"):
        if folder == "/":
            names[:] = [
                name for name in names if name not in ("usr", "proc", "dev", "state", "tmp", "shared")
            ]
        if folder == "/home":
            names[:] = [name for name in names if name != "agent"]
        for name in {*entries, *names} - {"trace"}:
            path = f"{folder.rstrip('/')}/{name}"
            about = os.lstat(path)
            content = () if name in names else (about.st_size, about.st_mtime_ns)
            found[path] = (about.st_mode, about.st_uid, about.st_gid, *content)
    return found


def clear(before: Files) -> list[str]:
    after = files()
    new = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    for path in {*after} - {*before}:
        if Path(path).is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)
    if new:
        furnish()
    for folder in OURS:
        for entry in os.scandir(f"/{folder}"):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry)
            else:
                Path(entry).unlink()
    return sorted(new)


def run(script: str, before: Files) -> dict[str, object]:
    Path("/trace").write_bytes(b"")
    Path("/state/a.txt").write_text("evil\nok\n")
    Path("/state/evil").write_text("")
    Path("/state/d").mkdir()
    command = ["/usr/bin/bash", "--noprofile", "--norc", "-c", 'eval "$0"', script]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=ENV, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/state"
    ) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
        kill_all()
    traced = Path("/trace").read_bytes().decode(errors="replace").split("\0\x1e")
    return {"ran": [each.split("\0") for each in traced if each], "wrote": clear(before)}


def kill_all() -> None:
    """We are the first process here: nothing that a script left behind outlives it."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def main() -> None:
    enter()
    before = files()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), before)), flush=True)


main()
