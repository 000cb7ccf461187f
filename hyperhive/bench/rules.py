"""How long claude's PreToolUse hook takes, started as claude starts it."""

import json
import subprocess
from pathlib import Path

from hyperhive.bench.bench import LIB, Figure, figure, seconds

RUNS = 40
LIMIT = 60  # milliseconds
RULES = ["Bash(git *)", "Bash(make check)", "Bash(npm run test:*)", "Bash(head *)", "Bash(cat *)"]
COMMAND = """cd src && for f in $(git diff --name-only); do git add "$f"; done
git commit -m "$(cat <<'EOF'
Say what changed
EOF
)" && make check 2>&1 | head -50"""


def run(folder: Path) -> list[Figure]:
    config = folder / "bench-rules.toml"
    config.write_text(f"[tools]\nallow = {json.dumps(RULES)}\n")
    hook = f"{LIB}/hive-rules {config} /nowhere bench || exit 2"
    event = json.dumps({"tool_name": "Bash", "tool_input": {"command": COMMAND}, "cwd": "/state"})

    def judge() -> None:
        done = subprocess.run(["sh", "-c", hook], input=event, capture_output=True, text=True, check=True)
        assert '"allow"' in done.stdout, done.stdout

    times = [seconds(judge) * 1000 for _ in range(RUNS)]
    config.unlink()
    return [figure("a command judged by hive-rules: the whole hook", "ms", times, LIMIT)]
