"""Which model an agent's next turn uses: harness and broker come to the same. Standard library only."""


def choose(
    override: str | None, own: str | None, default: str, last: str | None, refused: str | None
) -> tuple[str, str]:
    """The model and whose word that is; `last` is the one of the last good turn, `own` is agent.toml's."""
    order = ((override, "override"), (own, "agent.toml"), (default, "hive"))
    wanted, source = next((model, source) for model, source in order if model)
    if wanted != refused:
        return wanted, source
    return (last, "before") if last and last != refused else (default, "hive")
