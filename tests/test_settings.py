from pathlib import Path

import pytest

from hyperhive import settings
from hyperhive.problem import Problem


def test_hive_toml(tmp_path: Path) -> None:
    path = tmp_path / "hive.toml"
    assert settings.hive(path) == settings.Hive("rehearsal", "sonnet")
    path.write_text('[model]\nendpoint = "https://api.example:443"\nname = "opus"\n')
    assert settings.hive(path) == settings.Hive("https://api.example:443", "opus")
    path.write_text(
        '[egress]\nprivate = ["[fd00::1]:443"]\nbytes_per_hour = "1T"\nconnection_seconds = 60\n'
    )
    found = settings.hive(path)
    assert (found.private, found.bytes_per_hour, found.connection_seconds) == (("[fd00::1]:443",), "1T", 60)
    path.write_text('[egress]\nprivate = ["git.local:443"]\n')
    with pytest.raises(Problem, match=rf"^{path}:2: 'egress.private' must be"):
        settings.hive(path)
    path.write_text('[model]\nendpoint = "file:///etc/passwd"\n')
    with pytest.raises(Problem, match=rf"^{path}:2: 'model.endpoint' must be"):
        settings.hive(path)
    path.write_bytes(b"\xff")
    with pytest.raises(Problem, match="not UTF-8 at byte 0"):
        settings.hive(path)
