"""The cage from the inside: what an agent's Bash finds, and what it must not find."""

import re

import pytest

from hyperhive.problem import Problem
from tests.box.crew import Crew

COMFORT = {
    "git": "git init -q /tmp/g; cd /tmp/g && git commit -q --allow-empty -m x; git log --format='%s %an'",
    "curl": "curl --version | head -1",
    "python": "python3 -c 'import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)'",
    "node": "node --version",
    "make": "cd /tmp && printf 'a:\\n\\t@echo made\\n' > Makefile && make",
    "awk": "echo a b | awk '{ print $2 }'",
    "editor": "nano --version | xargs",
    "certificates": "test -s /etc/ssl/certs/ca-certificates.crt && echo yes",
    "passwd": "id --user --name; echo $HOME",
    "locale": "locale charmap",
    "zone": "test -e /etc/localtime && date +%Z",
    "hostname": "hostname",
    "tmp": "echo x > /tmp/x && mkdir /tmp/y && echo yes",
    "shared": "echo x > /shared/from-ada && stat --format=%U /shared/from-ada",
    "home": "touch /home/agent/x && cd && pwd",
}
EXPECTED = {
    "git": "x ada",
    "curl": "curl ",
    "python": "True",
    "node": "v",
    "make": "made",
    "awk": "b",
    "editor": "GNU nano",
    "certificates": "yes",
    "passwd": "root\n/home/agent",
    "locale": "UTF-8",
    "zone": "",
    "hostname": "ada",
    "tmp": "yes",
    "shared": "root",
    "home": "/home/agent",
}


@pytest.fixture(scope="module")
def comfort(crew: Crew) -> dict[str, str]:
    script = "\n".join(f"echo '=== {name}'; ( {command} )" for name, command in COMFORT.items())
    parts = re.split(r"^=== (\w+)\n", crew.bash("ada", script), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", COMFORT)
def test_it_is_a_comfortable_place_to_work(comfort: dict[str, str], name: str) -> None:
    assert comfort[name].startswith(EXPECTED[name]), comfort[name]


def test_the_cages_root_is_an_unprivileged_user(crew: Crew) -> None:
    base = crew.call("show", agent="ada")["agent"]["uid_base"]
    said = crew.bash(
        "ada", "cat /proc/self/uid_map; grep -E '^(Cap.*|NoNewPrivs|Seccomp):' /proc/self/status"
    )
    assert said.split()[:3] == ["0", str(base), "65536"]
    assert base >= 0x40000000
    facts = dict(re.findall(r"^(\w+):\t(\w+)$", said, flags=re.MULTILINE))
    none = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)
    assert facts == none | {"NoNewPrivs": "1", "Seccomp": "2"}


def test_there_is_no_network_but_loopback(crew: Crew) -> None:
    said = crew.bash("ada", "ls /sys/class/net; cat /proc/net/route | tail -n +2")
    assert said.split() == ["lo"]


def test_another_agent_is_another_user(crew: Crew) -> None:
    bases = {agent["uid_base"] for agent in crew.call("agents")["agents"]}
    assert len(bases) == len(crew.call("agents")["agents"])
    assert all((other - base) % 65536 == 0 for base in bases for other in bases)
    for name in ("ada", "bob"):
        base = crew.call("show", agent=name)["agent"]["uid_base"]
        # where there is an ACL, which lets the manager in, the group's bits are its mask
        for folder, mode in ((f"agents/{name}/state", 0o770), (f"homes/{name}", 0o700)):
            about = (crew.root / "var/lib/hyperhive" / folder).stat()
            assert (about.st_uid, about.st_mode & 0o777) == (base, mode)


def test_what_is_shared_belongs_to_nobody_in_particular(crew: Crew) -> None:
    crew.bash("ada", "echo x > /shared/a && chmod u+s /shared/a")
    owner = crew.run("stat", "--format=%U", "/var/lib/hyperhive/shared/a").stdout.strip()
    assert owner == "hive-shared"


def test_a_tool_that_is_not_listed_is_refused(crew: Crew) -> None:
    toml = 'linger = 5\n[tools]\nallow = ["Bash(git *)"]\n[send]\nto = ["operator"]\n'
    crew.call("spawn", agent="ivo", toml=toml)
    call = '{{ command = "{}", description = "x" }}'
    assert "Not allowed: touch" in crew.tool("ivo", "Bash", call.format("touch /state/made"))
    assert not (crew.root / "var/lib/hyperhive/agents/ivo/state/made").exists()
    said = crew.tool("ivo", "Bash", call.format("git --version"))
    assert said == crew.run("git", "--version").stdout.strip()


MACHINE = """
cd /var/lib/machines && mkdir -p tiny/usr/local/bin tiny/etc && cd tiny
for folder in bin lib lib64 share; do mkdir usr/$folder; mount --bind /usr/$folder usr/$folder; done
printf '#!/bin/sh\\necho from tiny' > usr/local/bin/whence; chmod +x usr/local/bin/whence
echo Moon > etc/timezone; echo secret > etc/shadow
"""


def test_a_root_that_the_admin_has_prepared(crew: Crew) -> None:
    crew.run("mkdir", "-p", "/var/lib/machines/empty")
    with pytest.raises(
        Problem, match="machines/empty has no usr/bin/python3, usr/bin/sh, usr/lib/hyperhive"
    ):
        crew.spawn("rae", extra='root.machine = "empty"')
    crew.run("sh", "-ec", MACHINE)
    crew.spawn("rae", extra='root.machine = "tiny"')
    said = crew.bash("rae", "whence; cat /etc/timezone; ls /etc/shadow; touch /usr/x; true")
    assert said.splitlines()[:2] == ["from tiny", "Moon"]
    assert "No such file" in said and "Read-only file system" in said
    crew.run("systemctl", "stop", "hive-agent@rae.service")
    crew.run("sh", "-c", "cd /var/lib/machines/tiny/usr && umount bin lib lib64 share")
