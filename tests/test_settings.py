from pathlib import Path

import pytest

from hyperhive import settings
from hyperhive.problem import Problem


def test_hive_toml(tmp_path: Path) -> None:
    path = tmp_path / "hive.toml"
    assert settings.hive(path) == settings.Hive("rehearsal", "sonnet")
    path.write_text('[model]\nendpoint = "https://api.example:443"\nname = "opus"\n')
    assert settings.hive(path) == settings.Hive("https://api.example:443", "opus")
    path.write_text('[model]\nendpoint = "file:///etc/passwd"\n')
    with pytest.raises(Problem, match=rf"^{path}:2: 'model.endpoint' must be"):
        settings.hive(path)
    path.write_bytes(b"\xff")
    with pytest.raises(Problem, match="not UTF-8 at byte 0"):
        settings.hive(path)
