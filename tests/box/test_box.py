import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from hyperhive.box import box as box_module
from tests.box.conftest import HIVE_BOX, ROOT, Run, hive_box

# who may look everywhere, as the checkout may lie where nobody else may
NOBODY = ["setpriv", "--reuid=65534", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
# unshare(1) cannot below a chroot
ALONE = (
    "import os, sys; from hyperhive.box import boot\n"
    "boot.private_mounts(); os.execvp(sys.argv[1], sys.argv[1:])"
)
OWN_MOUNTS = [sys.executable, "-c", ALONE]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "box"
    hive_box(tmp_path / "box", "down")


def pid_of(state: Path) -> int:
    found = re.search(r"pid (\d+)", hive_box(state, "status").stdout)
    assert found
    return int(found[1])


def namespace(pid: int | str) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:  # it ended
        return ""


def processes_in(name: str) -> list[Path]:
    """Without the dead that the machine's own PID 1 has still to collect: nobody else can."""
    listed = [p for p in Path("/proc").iterdir() if p.name.isdigit() and namespace(p.name) == name]
    return [p for p in listed if "\nState:\tZ" not in (p / "status").read_text()]


def cgroups(state: Path) -> list[str]:
    name = box_module.scope_name(state)
    tree = [*OWN_MOUNTS, "sh", "-c", "mount -t cgroup2 cgroup2 /mnt && find /mnt -type d"]
    # find fails when another box's cgroup goes while it looks
    listed = subprocess.run(tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return [line for line in listed.splitlines() if name in line]


def mounts() -> list[str]:
    """Mounts of this namespace, without their ids: pytest's neighbours may mount things meanwhile."""
    return [m for m in Path("/proc/self/mountinfo").read_text().splitlines() if "/box/" in m]


def await_true(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, "the process ended first"
        time.sleep(0.005)  # mounts and processes of the box give no event


def test_up_twice_is_harmless(box: Path) -> None:
    pid = pid_of(box)
    assert "already up" in hive_box(box, "up").stderr
    assert pid_of(box) == pid


def test_up_at_the_same_time_boots_once(state: Path) -> None:
    environment = os.environ | {"HIVE_BOX": str(state)}
    both = [
        subprocess.Popen([HIVE_BOX, "up"], env=environment, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = sorted((p.communicate()[1] for p in both), key=lambda text: "already up" not in text)
    assert [p.returncode for p in both] == [0, 0]
    assert "already up" in said[0]
    assert said[1].endswith(f": up, pid {pid_of(state)}\n")


def test_status_and_run_of_a_box_that_is_down(tmp_path: Path) -> None:
    assert hive_box(tmp_path, "status", check=False).returncode == 3
    done = hive_box(tmp_path, "run", "--", "true", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "hive-box: the box is not up\nhive-box: (start it with 'hive-box up')\n",
    )


def test_a_fresh_box_is_healthy(state: Path) -> None:
    hive_box(state, "up")
    shown = hive_box(state, "status").stdout
    assert re.fullmatch(
        rf"up since .* UTC, pid \d+, running \({re.escape(str(state))}\)\npage at http://127.0.0.1:7\d+\n",
        shown,
    )


def test_state_survives_and_the_rest_does_not(state: Path) -> None:
    kept = ["/etc/hyperhive/mark", "/etc/systemd/system/mark.service", "/var/lib/hyperhive/mark"]
    lost = ["/tmp/mark", "/var/tmp/mark", "/root/mark", "/run/mark", "/usr/lib/mark"]
    hive_box(state, "up")
    hive_box(state, "run", "--", "touch", *kept, *lost)
    hive_box(state, "run", "--", "useradd", "--system", "hive-mark")
    hive_box(state, "run", "--", "systemd-cat", "--identifier=mark", "echo", "from the first boot")
    machine_id = hive_box(state, "run", "--", "cat", "/etc/machine-id").stdout
    hive_box(state, "down")
    hive_box(state, "up")
    hive_box(state, "run", "--", "ls", *kept)
    for path in lost:
        assert hive_box(state, "run", "--", "ls", path, check=False).returncode == 2, path
        assert not Path(path).exists()
    hive_box(state, "run", "--", "getent", "passwd", "hive-mark")
    boots = hive_box(state, "run", "--", "journalctl", "--identifier=mark", "--output=cat", "--boot=-1")
    assert boots.stdout == "from the first boot\n"
    assert hive_box(state, "run", "--", "cat", "/etc/machine-id").stdout == machine_id


def test_run_passes_input_output_and_status(run: Run) -> None:
    script = 'cat; echo "to stderr" >&2; exit 7'
    done = run("sh", "-c", script, input="through stdin", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "through stdin", "to stderr\n")


@pytest.mark.parametrize(
    "word", ["$HOME", "$$", "${x}", "%n %%", "a  b", "", "--", "-x", "é", "'\"\\", "\n"]
)
def test_run_passes_every_word_as_it_is(run: Run, word: str) -> None:
    assert run("printf", "%s|", word, "end").stdout == f"{word}|end|"


def test_run_tells_how_the_command_died(run: Run) -> None:
    assert run("sh", "-c", "kill -TERM $$", check=False).returncode == 128 + signal.SIGTERM
    assert run("sh", "-c", "kill -KILL $$", check=False).returncode == 128 + signal.SIGKILL
    assert run("no-such-command", check=False).returncode == 127


def test_run_is_a_unit_of_its_own(run: Run) -> None:
    assert re.search(r"/hive-box-run-[0-9a-f]+\.service$", run("cat", "/proc/self/cgroup").stdout.rstrip())
    assert run("pwd").stdout == "/root\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_passes_signals_on(box: Path, number: signal.Signals) -> None:
    script = "trap 'echo caught; exit 5' HUP INT TERM; echo ready; while :; do sleep 0.05; done"
    environment = os.environ | {"HIVE_BOX": str(box)}
    command = [HIVE_BOX, "run", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.stdout.read() == "caught\n"
        assert running.wait() == 5


def test_run_has_a_terminal_when_it_is_given_one(box: Path) -> None:
    terminal = pexpect.spawn(
        str(HIVE_BOX),
        ["run", "--", "sh", "-c", "tty; read x; echo got $x; exit 4"],
        env=os.environ | {"HIVE_BOX": str(box)},
        encoding="utf-8",
    )
    terminal.expect("/dev/pts/[0-9]+")
    terminal.sendline("words")
    terminal.expect("got words")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 4


def test_run_wants_a_command() -> None:
    for words in (["run"], ["run", "--"], ["up", "--", "x"], []):
        assert subprocess.run([HIVE_BOX, *words], capture_output=True).returncode == 2


@pytest.mark.parametrize("blow", ["none", "pid 1"])
def test_down_leaves_nothing(state: Path, blow: str) -> None:
    hive_box(state, "up")
    pid = pid_of(state)
    inside = namespace(pid)
    assert processes_in(inside)
    assert cgroups(state)
    if blow == "pid 1":
        os.kill(pid, signal.SIGKILL)
    hive_box(state, "down")
    assert not processes_in(inside)
    assert cgroups(state) == mounts() == []
    hive_box(state, "down")


def test_after_pid_1_was_killed_up_boots_again(state: Path) -> None:
    hive_box(state, "up")
    first = pid_of(state)
    os.kill(first, signal.SIGKILL)
    hive_box(state, "up")
    assert pid_of(state) != first


@pytest.mark.parametrize("then", ["down", "up"])
def test_a_half_done_up_leaves_no_trouble(state: Path, then: str) -> None:
    environment = os.environ | {"HIVE_BOX": str(state)}
    with subprocess.Popen([HIVE_BOX, "up"], env=environment, text=True) as booting:
        await_true(lambda: cgroups(state), booting)
        booting.kill()
    hive_box(state, then)
    assert hive_box(state, "status", check=False).returncode == {"down": 3, "up": 0}[then]
    hive_box(state, "down")
    assert cgroups(state) == mounts() == []


def test_a_target_that_fails_is_told_with_its_last_words(state: Path) -> None:
    units = state / "etc/systemd/system"
    (units / "hyperhive.target.d").mkdir(parents=True)
    (units / "hyperhive.target.d/need.conf").write_text(
        "[Unit]\nRequires=mark.service\nAfter=mark.service\n"
    )
    (units / "mark.service").write_text(
        "[Service]\nType=oneshot\nExecStart=sh -c 'echo my last words; exit 1'\n"
    )
    done = hive_box(state, "up", check=False)
    assert done.returncode == 1
    assert "hyperhive.target did not come up" in done.stderr
    assert "my last words" in done.stderr
    assert "mark.service" in hive_box(state, "status").stdout
    (units / "hyperhive.target.d/need.conf").unlink()
    hive_box(state, "up")


def test_the_machine_stays_outside(box: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    assert run("ls", str(tmp_path), check=False).returncode == 2
    assert run("touch", "/srv/hyperhive/mark", check=False).returncode == 1
    assert run("sh", "-c", "echo 1 > /sys/kernel/mm/ksm/run", check=False).returncode != 0
    assert run("cat", "/etc/hostname").stdout == "hyperhive\n"
    assert "\nlo" not in run("ls", "/sys/class/net").stdout
    assert run("systemctl", "is-active", "dbus.service").stdout == "active\n"
    services = run(
        "systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend"
    ).stdout
    names = {line.split()[0] for line in services.splitlines()}
    own = {"dbus.service", "polkit.service"}  # the second as soon as somebody asks it
    assert {n for n in names if not n.startswith(("systemd-", "hive-"))} <= own


def test_units_enabled_on_the_machine_do_not_start(state: Path) -> None:
    """A unit in the machine's /etc, as seen from a mount namespace: the real one stays as it is."""
    script = """
        mount -t tmpfs tmpfs /etc/systemd/system
        mkdir /etc/systemd/system/basic.target.wants
        printf '[Service]\\nExecStart=sleep inf\\n' > /etc/systemd/system/mark.service
        ln -s ../mark.service /etc/systemd/system/basic.target.wants/
        "$0" up
    """
    environment = os.environ | {"HIVE_BOX": str(state)}
    subprocess.run([*OWN_MOUNTS, "sh", "-ec", script, HIVE_BOX], env=environment, check=True)
    loaded = hive_box(state, "run", "--", "systemctl", "show", "--property=LoadState", "mark.service").stdout
    assert loaded == "LoadState=not-found\n"


def test_two_boxes_do_not_touch_each_other(box: Path, run: Run, state: Path) -> None:
    pid = pid_of(box)
    hive_box(state, "up")
    hive_box(state, "run", "--", "touch", "/etc/hyperhive/other")
    assert run("ls", "/etc/hyperhive/other", check=False).returncode == 2
    hive_box(state, "down")
    assert pid_of(box) == pid


def test_a_box_in_a_box_is_a_scope_of_that_systemd(run: Run) -> None:
    script = """
        export HIVE_BOX=/var/lib/hyperhive/inner
        /srv/hyperhive/bin/hive-box up
        systemctl list-units --type=scope --plain --no-legend 'hive-box-*'
        /srv/hyperhive/bin/hive-box run -- systemctl is-system-running
        /srv/hyperhive/bin/hive-box down
        systemctl list-units --type=scope --plain --no-legend 'hive-box-*'
    """
    said = run("sh", "-ec", script).stdout.splitlines()
    assert [said[0].split()[2:4], *said[1:]] == [["active", "running"], "running"]


def refusal(state: Path, *prefix: str) -> str:
    environment = os.environ | {"HIVE_BOX": str(state)}
    done = subprocess.run([*prefix, HIVE_BOX, "up"], env=environment, capture_output=True, text=True)
    assert done.returncode == 78, done.stderr
    return done.stderr


def hidden(path: str) -> list[str]:
    return [*OWN_MOUNTS, "sh", "-c", f'mount --bind /dev/null {path} && exec "$@"', "sh"]


def test_it_says_what_is_missing(state: Path) -> None:
    assert "only root can boot a box" in refusal(state, *NOBODY)
    assert "apt-get install systemd-container" in refusal(state, *hidden("/usr/bin/systemd-nspawn"))
    powerless = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    assert "cannot make namespaces: Operation not permitted" in refusal(state, *powerless)
    assert "overlayfs options cannot hold" in refusal(state / "a,b")
    assert (ROOT / "build/root").is_dir()


def answer_of(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as asked:
        asked.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return asked.makefile().read()


def test_its_pages_are_seen_from_outside(state: Path) -> None:
    """The port that the test's own box has is taken, so this one has others."""
    said = hive_box(state, "up").stderr
    found = re.search(r"the page is at http://127\.0\.0\.1:(\d+) ", said)
    assert found and f"page at http://127.0.0.1:{found[1]}\n" in hive_box(state, "status").stdout
    link = hive_box(state, "run", "--", "hivectl", "url").stdout
    assert link.startswith(f"http://127.0.0.1:{found[1]}/sign-in?code=")
    for port in (int(found[1]), int(found[1]) + 1):
        assert "401 Unauthorized" in (answer := answer_of(port)) and "hivectl url" in answer
    hive_box(state, "down")
    with pytest.raises(ConnectionRefusedError):
        answer_of(int(found[1]))


@pytest.mark.parametrize("taken", [0, 1])
def test_a_taken_port_is_told(state: Path, taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = hive_box(state, "up", f"--port={port - taken}", check=False)
    assert done.returncode == 78
    assert (
        f"127.0.0.1:{port - taken} or the port after it cannot be had: Address already in use" in done.stderr
    )
    assert hive_box(state, "status", check=False).returncode == 3
