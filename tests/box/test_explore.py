"""hive-explore as systemd runs it: asleep until asked, out of a cage's reach, able to read one file."""

from tests.box.crew import Crew
from tests.box.test_web import curl as curl_page
from tests.box.test_web import signed_in

HIVE_DB = "/var/lib/hyperhive/db/hive.db"
STATS_DB = "/var/lib/hyperhive/db/stats.db"


def curl(crew: Crew, path: str, cookie: str) -> str:
    options = ("--silent", "--cookie", cookie, "--write-out", "\n%{http_code}")
    return crew.run("curl", *options, f"http://127.0.0.1:{crew.port + 1}{path}").stdout


def test_it_sleeps_until_it_is_asked_and_knows_who_is_signed_in(crew: Crew) -> None:
    crew.bash("ada", "echo fine")
    cookie = signed_in(crew)
    crew.run("systemctl", "stop", "hive-explore.service")
    page = curl(crew, "/stats/turns_per_day?agent=&since=", cookie)
    assert page.endswith("\n200") and "cost_usd" in page
    assert crew.state_of("hive-explore.service") == "active"
    assert curl(crew, "/stats", "").endswith("\n401")
    assert curl_page(crew, "/", cookie).endswith("\n200")


def test_its_user_reads_stats_db_and_no_other_file_of_the_hive(crew: Crew) -> None:
    crew.run("runuser", "-u", "hive-explore", "--", "head", "--bytes=1", STATS_DB)
    for denied in (f"head --bytes=1 {HIVE_DB}", f"touch {STATS_DB}", "ls /var/lib/hyperhive/db"):
        assert crew.run("runuser", "-u", "hive-explore", "--", "sh", "-c", denied, check=False).returncode
    assert crew.run("stat", "--format=%U %G %a", STATS_DB).stdout == "hive hive-explore 640\n"


def test_a_cage_reaches_neither_it_nor_datasette(crew: Crew) -> None:
    said = crew.bash(
        "ada",
        f"""
        curl --silent --max-time 5 --noproxy '*' http://127.0.0.1:{crew.port + 1}/ && echo reached
        find / -name 'explore*.sock' -o -name 'stats.db' 2>/dev/null
        echo looked
        """,
    )
    assert said == "looked"
