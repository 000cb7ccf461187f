"""The way out of a real cage: what everyday programs find through hive-gate, and what they are told."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box.conftest import ROOT
from tests.box.crew import Crew, Watch
from tests.box.test_denied_story import click

NAMES = ("git.test", "pypi.test", "npm.test", "other.test")
ALLOW = """[egress]
allow = ["git.test:8443", "git.test:8080", "pypi.test:8443", "pypi.test:8080", "*.test:8444",
    "npm.test:8443"]"""
OPENED = '[egress]\nprivate = ["127.0.0.1:8443", "127.0.0.1:8080"]\n'


def certificate(folder: Path) -> None:
    path = folder / "cert.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in NAMES)]
    files = ["-days", "2", "-keyout", os.fspath(folder / "key"), "-out", os.fspath(path)]
    subprocess.run([*new, *names, *files], check=True, capture_output=True)
    (folder / "both.pem").write_bytes((folder / "key").read_bytes() + path.read_bytes())


def repository(folder: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", *who, "-C", folder / "made", *words], check=True, capture_output=True)

    (folder / "made").mkdir()
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=from outside")
    git("clone", "--quiet", "--bare", ".", "../demo.git")
    git("--git-dir=../demo.git", "update-server-info")


def wheel(folder: Path) -> None:
    (folder / "simple/tiny").mkdir(parents=True)
    name, about = "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "simple/tiny" / name, "w") as file:
        file.writestr("tiny.py", "print('a tiny wheel')\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    (folder / "simple/tiny/index.html").write_text(f'<a href="{name}">{name}</a>')


def package(folder: Path) -> None:
    about = {"name": "tinier", "version": "1.0.0"}
    files = {
        "package/package.json": json.dumps(about),
        "package/index.js": "console.log('a tiny package')\n",
    }
    with tarfile.open(folder / "tinier.tgz", "w:gz") as file:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            file.addfile(entry, io.BytesIO(text.encode()))
    digest = base64.b64encode(hashlib.sha512((folder / "tinier.tgz").read_bytes()).digest()).decode()
    dist = {"tarball": "https://npm.test:8443/tinier.tgz", "integrity": f"sha512-{digest}"}
    packument = {
        "name": "tinier",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": about | {"dist": dist}},
    }
    (folder / "tinier").write_text(json.dumps(packument))
    (folder / "hello").write_text("hello")


@pytest.fixture(scope="module")
def net(crew: Crew, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An agent that may go to some of the servers that stand for the internet's."""
    folder = tmp_path_factory.mktemp("outside")
    certificate(folder)
    repository(folder)
    wheel(folder)
    package(folder)
    shutil.copytree(folder, crew.root / "srv/outside")
    shutil.copy(folder / "cert.pem", crew.root / "var/lib/hyperhive/shared/cert.pem")
    hosts, toml = crew.root / "etc/hosts", crew.root / "etc/hyperhive/hive.toml"
    before = hosts.read_text(), toml.read_text()
    hosts.write_text(f"{before[0]}\n127.0.0.1 {' '.join(NAMES)}\n")
    toml.write_text(re.sub(r"^\[egress\]\n", "", before[1], flags=re.M) + OPENED)
    web = [f"{ROOT}/tests/doubles/web", "/srv/outside", "/srv/outside/both.pem"]
    crew.run("systemd-run", "--unit=outside", "--property=Type=exec", *web)
    crew.run("systemctl", "restart", "hive-gate.service")
    crew.spawn("net", linger=60, extra=ALLOW)
    yield "net"
    hosts.write_text(before[0])
    toml.write_text(before[1])
    crew.run("systemctl", "stop", "outside.service")
    crew.run("systemctl", "restart", "hive-gate.service")


def sections(said: str) -> dict[str, str]:
    parts = re.split(r"^=== (\w+)\n", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# pip as a new venv gets it, without the seconds that one takes
SETUP = """exec 2>&1
cd /tmp
CERT=/shared/cert.pem
export PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl)
"""
PROGRAMS = {
    "git": "git -c http.sslCAInfo=$CERT clone -q https://{git}:8443/demo.git g; git -C g log --format=%s",
    "pip": "python3 -m pip install --retries=1 --cert=$CERT --target=t"
    " --index-url=https://{pip}:8443/simple tiny; python3 t/tiny.py",
    "npm": "npm install --no-audit --fund=false --fetch-retries=0 --cafile $CERT"
    " --registry https://{npm}:8443/ tinier; node -e 'require(`tinier`)'",
    "curl": "curl --silent --show-error --cacert $CERT https://{git}:8443/hello",
    "plain": "curl --silent --show-error http://{git}:8080/hello",
}
# in the order of PROGRAMS: what each prints of an allowed host, and of another
FOUND = ("from outside", "a tiny wheel", "a tiny package", "hello", "hello")
REASON = "hive-gate: other.test:{} is not in [egress] allow of its agent.toml"
BARE = "CONNECT tunnel failed, response 403"  # git and curl show no more
TOLD = (BARE, REASON.format(8443), REASON.format(8443), BARE, REASON.format(8080))


@pytest.fixture(scope="module")
def said(crew: Crew, net: str) -> dict[str, str]:
    """What everyday programs say in one turn: of a host that is not allowed, then of one that is."""
    lines = [SETUP]
    for what, hosts in (("told", ("other.test",) * 3), ("found", NAMES)):
        for name, line in PROGRAMS.items():
            command = line.format(**dict(zip(("git", "pip", "npm"), hosts, strict=False)))
            lines.append(f"printf '\\n=== {what} {name}\\n'; ( {command} )")
    parts = re.split(r"^=== (.*)\n", crew.bash(net, "\n".join(lines)), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("program", "text"), [*zip(PROGRAMS, FOUND, strict=True)])
def test_everyday_programs_find_an_allowed_host(said: dict[str, str], program: str, text: str) -> None:
    assert text in said[f"found {program}"]


@pytest.mark.parametrize(("program", "text"), [*zip(PROGRAMS, TOLD, strict=True)])
def test_they_say_why_another_host_is_not_reached(said: dict[str, str], program: str, text: str) -> None:
    assert text in said[f"told {program}"]


def test_an_admin_finds_what_was_reached_and_what_was_refused(crew: Crew, said: dict[str, str]) -> None:
    crew.run("journalctl", "--sync")
    reached = crew.journal("HIVE_EVENT=egress", "HIVE_AGENT=net", "HIVE_HOST=pypi.test")
    assert {fact["HIVE_RULE"] for fact in reached if fact["HIVE_PORT"] == "8443"} == {"pypi.test:8443"}
    assert {fact["HIVE_ADDRESS"] for fact in reached} == {"127.0.0.1"}
    denied = crew.journal("HIVE_EVENT=egress_denied", "HIVE_AGENT=net")
    assert {(fact["HIVE_HOST"], fact["HIVE_RULE"]) for fact in denied} == {("other.test", "allow")}
    doctor = crew.run("hivectl", "doctor").stdout
    assert "  net: other.test:8443 by the rule 'allow', " in doctor
    explained = crew.run("journalctl", "--catalog", "--lines=1", "HIVE_EVENT=egress_denied").stdout
    assert "To let it go there, change [egress] allow in its agent.toml." in explained


COUNTED = """
import json, sqlite3
db = sqlite3.connect("file:/var/lib/hyperhive/db/stats.db?mode=ro", uri=True)
each = "select host, port, rule, end, count, bytes_received from egress where agent = 'net' and not summed"
sums = "select key, sum(sum) from stats_hour where agent = 'net' and key like 'egress%' group by key"
print(json.dumps([db.execute(each).fetchall(), dict(db.execute(sums).fetchall())]))
"""


def told(crew: Crew, watch: Watch) -> None:
    """Until hive-watch has handed on all that stands in the journal."""
    crew.run("journalctl", "--sync")
    wanted = len(crew.journal("HIVE_EVENT=egress", "HIVE_EVENT=egress_denied", "HIVE_AGENT=net"))
    while counted(crew)[0] < wanted:
        watch.until("egress", agent="net")


def counted(crew: Crew) -> tuple[int, dict[str, int], dict[str, float]]:
    """How many there are, of each host and how it ended, and in the series."""
    crew.call("egress", agent="net")  # which has all written that was told
    rows, sums = json.loads(crew.run("/usr/bin/python3", "-c", COUNTED).stdout)
    found: dict[str, int] = {}
    for host, port, _, end, count, _ in rows:
        found[f"{host}:{port} {end}"] = found.get(f"{host}:{port} {end}", 0) + count
    return sum(found.values()), found, sums


def test_an_analyst_and_the_operator_find_it_too(crew: Crew, net: str) -> None:
    watch = crew.watch()
    crew.run("systemctl", "stop", "hive-watch.service")  # what it misses stands in the journal
    assert crew.bash(net, "curl --silent http://git.test:8080/hello").endswith("hello")
    crew.run("systemctl", "start", "hive-watch.service")
    told(crew, watch)
    watch.connection.close()
    _, rows, series = counted(crew)
    facts = crew.journal("HIVE_EVENT=egress", "HIVE_AGENT=net")
    assert series["egress"] == len(facts)
    assert series["egress_received_bytes"] == sum(int(fact["HIVE_BYTES_OUT"]) for fact in facts)
    assert series["egress_sent_bytes"] == sum(int(fact["HIVE_BYTES_IN"]) for fact in facts)
    denied = crew.journal("HIVE_EVENT=egress_denied", "HIVE_AGENT=net")
    assert series.get("egress_denied", 0) == len(denied)
    assert rows["git.test:8080 closed"] >= 1
    shown = crew.call("egress", agent="net")["reached"]
    assert {each["rule"] for each in shown if each["host"] == "git.test"} >= {"git.test:8080"}


def test_a_host_is_reached_once_the_operator_has_approved_it(crew: Crew, said: dict[str, str]) -> None:
    """By one click on the agent's page, and another one."""
    assert REASON.format(8080) in said["told plain"]
    watch = crew.watch()
    told(crew, watch)
    watch.connection.close()
    page = click(crew, "net", "/api/allow", "other.test:8080")
    number = crew.call("approvals", agent="net", state="pending")["approvals"][0]["id"]
    assert f"Request {number}</a> asks for it" in page
    shown = crew.run("hivectl", "approve", str(number)).stdout
    assert "may now reach other.test:8080" in shown
    assert crew.bash("net", "curl --silent http://other.test:8080/hello") == "hello"
    refused = {(each["host"], each["port"]) for each in crew.call("egress", agent="net")["refused"]}
    assert refused == {("other.test", 8443)}


def test_no_gate_no_way_out(crew: Crew, net: str) -> None:
    assert crew.bash(net, "echo awake") == "awake"
    pid = crew.process(net, "python3 -I /usr/lib/hyperhive/bin/hive-harness")
    curl = ("curl", "--silent", "--proxy", "127.0.0.1:3128", "http://pypi.test:8080/hello")
    cage = ("nsenter", f"--target={pid}", "--all")
    assert crew.run(*cage, *curl).stdout == "hello"
    crew.run("systemctl", "stop", "hive-gate.socket", "hive-gate.service")
    assert crew.run(*cage, *curl).stdout.startswith("hive-gate cannot be reached: ")
    crew.run("systemctl", "start", "hive-gate.socket")
    assert crew.run(*cage, *curl).stdout == "hello"
