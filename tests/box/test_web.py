"""hive-web as systemd runs it: there when it is asked for, gone when nobody asks, out of a cage's reach."""

import http.client
import json
import socket
from pathlib import Path

from tests.box.crew import Crew

AS_IDLE = "[Service]\nExecStart=\nExecStart=/usr/lib/hyperhive/bin/hive-web --idle=1\n"


class OverUnix(http.client.HTTPConnection):
    """From outside the box, through the proxy's socket."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(f"127.0.0.1:{crew.port}", timeout=30)
        self.path = crew.root / "run/hyperhive/web.sock"

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def signed_in(crew: Crew) -> str:
    """The cookie that the link of hivectl url leads to."""
    link = crew.run("hivectl", "url").stdout.strip()
    place, _, code = link.partition("/sign-in?code=")
    assert place == f"http://127.0.0.1:{crew.port}"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": place}
    answer = asked(crew, "POST", "/sign-in", f"code={code}", headers)
    assert answer.status == 303
    return answer.headers["Set-Cookie"].partition(";")[0]


def asked(
    crew: Crew, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection = OverUnix(crew)
    connection.request(method, path, body, headers or {})
    return connection.getresponse()


def curl(crew: Crew, path: str, cookie: str = "") -> str:
    """In the box, as a browser there does."""
    format_ = "\n%{http_code}"
    done = crew.run(
        "curl", "--silent", "--cookie", cookie, "--write-out", format_, f"http://127.0.0.1:{crew.port}{path}"
    )
    return done.stdout


def test_it_is_there_when_it_is_asked_for(crew: Crew) -> None:
    crew.run("systemctl", "stop", "hive-web.service")
    cookie = signed_in(crew)
    assert crew.state_of("hive-web.service") == "active"
    crew.run("systemctl", "stop", "hive-web.service")
    page = curl(crew, "/", cookie)
    assert page.endswith("\n200") and ">ada<" in page.replace("\n", "").replace(" ", "")
    assert curl(crew, "/").endswith("\n401")


def test_it_ends_when_nobody_asks_and_comes_back_with_all_who_were_signed_in(crew: Crew) -> None:
    cookie = signed_in(crew)
    drop_in = Path(f"{crew.root}/run/systemd/system/hive-web.service.d/idle.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text(AS_IDLE)
    crew.run("systemctl", "daemon-reload")
    crew.run("systemctl", "stop", "hive-web.service")
    for _ in range(2):
        state = json.loads(curl(crew, "/api/state", cookie).rpartition("\n")[0])
        assert "ada" in [agent["name"] for agent in state["agents"]]
        while crew.state_of("hive-web.service") != "inactive":
            assert crew.state_of("hive-web.service") != "failed"
        assert crew.property("hive-web.service", "Result") == "success"
    drop_in.unlink()
    crew.run("systemctl", "daemon-reload")


def test_it_runs_with_no_rights_but_the_operator_s_socket(crew: Crew) -> None:
    signed_in(crew)
    pid = crew.property("hive-web.service", "MainPID")
    status = (crew.root / f"proc/{pid}/status").read_text()
    ids = dict(line.split(":", 1) for line in status.splitlines())
    names = [crew.run("getent", "group", gid).stdout.partition(":")[0] for gid in ids["Groups"].split()]
    assert {*names} <= {"hive-web", "hive-admin"}
    assert ids["CapEff"].strip() == "0" * 16 and ids["NoNewPrivs"].strip() == "1"
    user = crew.run("getent", "passwd", ids["Uid"].split()[0]).stdout.partition(":")[0]
    assert user == "hive-web"


def test_a_cage_reaches_neither_socket(crew: Crew) -> None:
    signed_in(crew)
    crew.spawn("wes", linger=5)
    said = crew.bash(
        "wes",
        f"""
        for place in 127.0.0.1 localhost [::1] 10.0.0.1; do
            curl --silent --max-time 5 --noproxy '*' http://$place:{crew.port}/ && echo reached $place
        done
        export http_proxy=http://127.0.0.1:3128 no_proxy=
        curl --silent --max-time 5 http://127.0.0.1:{crew.port}/sign-in | grep DOCTYPE && echo proxied
        find / -name 'web.sock' -o -name 'operator.sock' 2>/dev/null
        echo looked
        """,
    )
    assert said == "looked"


def test_the_journal_says_who_signed_in(crew: Crew) -> None:
    signed_in(crew)
    crew.run("journalctl", "--sync")
    assert crew.journal("HIVE_EVENT=signed_in")[-1]["SYSLOG_IDENTIFIER"] == "hive-broker"
    listed = json.loads(crew.run("hivectl", "sessions", "--json").stdout)
    crew.run("hivectl", "sessions", "--revoke", str(listed[0]["id"]))
    assert (
        "1 session ended" not in crew.run("hivectl", "sessions", "--revoke-all").stdout or len(listed) == 2
    )
    crew.run("journalctl", "--sync")
    assert crew.journal("HIVE_EVENT=signed_out")[-1]["HIVE_SESSION"]
