"""The agent.toml of an agent of which only the job is known."""

import json

TOOLS = ["Read", "Edit", "Write", "Glob", "Grep", "Bash"]


def agent_toml(description: str | None, model: str | None = None) -> str:
    lines = [f"description = {toml_string(description)}"] if description else []
    lines += [f"model = {toml_string(model)}"] if model else []
    tools = ", ".join(toml_string(tool) for tool in TOOLS)
    return "\n".join([*lines, "", "[tools]", f"allow = [{tools}]", ""])


def toml_string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
