"""An agent's conversation, and the claude process that goes on with it. Standard library only."""

from collections.abc import Callable
from pathlib import Path

from hyperhive.cage import claude, turn

Setup = Callable[[str, str | None], claude.Setup]  # of a model and a session


class Session:
    def __init__(self, file: Path, setup: Setup, ear: claude.Aside) -> None:
        self.file = file
        self.setup = setup
        self.ear = ear
        self.process: claude.Claude | None = None
        self.model = ""  # that the process was asked to use
        self.cost = 0.0  # of the process, as of the last turn

    def start(self, model: str) -> claude.Claude:
        """The process that runs, or a new one with this model."""
        if not self.process:
            self.process = claude.Claude(self.setup(model, claude.read_session(self.file)), self.ear)
            self.model, self.cost = model, 0.0
        return self.process

    def end(self) -> None:
        if self.process:
            self.process.end()
            self.process = None

    def forget(self) -> None:
        self.end()
        self.file.unlink(missing_ok=True)

    def keep(self, session: str) -> None:
        if session and session != claude.read_session(self.file):
            claude.write_session(self.file, session)

    def switch(self, model: str) -> tuple[bool, str]:
        """Whether the endpoint refuses it, and what is wrong; the conversation goes on either way."""
        assert self.process
        try:
            answer = self.process.set_model(model)
        except (claude.Silent, claude.Ended) as e:
            self.end()  # which model it would use is not known; the next one is started with this one
            self.start(model)
            return False, f"claude did not switch: {e}"
        if answer.get("subtype") != "error":
            self.model = model
            return False, ""
        # With any other error the endpoint has not said that it does not know the model.
        refused = answer.get("error_code") in ("not_found", "check_rejected")
        return refused, turn.clip(str(answer.get("error")), 500)

    def compact(self, model: str, patience: float, feed: Callable[[], None]) -> str:
        """What went wrong, or ''."""
        process = self.start(model)
        this = turn.Turn(0, "", 0, "")
        said = "there was nothing to compact"
        try:
            for event in process.turn("/compact", patience):
                feed()
                turn.note(this, event)
                if event.get("type") == "assistant":
                    said = turn.harmless(texts(event)) or said
        except (claude.Silent, claude.Ended) as e:
            self.end()
            return f"claude: {e or 'silent'}"
        self.cost = this.total_cost or self.cost
        self.keep(this.session)
        return "" if this.compacted else this.error or said


def texts(event: claude.Event) -> str:
    content = turn.get(turn.get(event, "message", dict), "content", list)
    return " ".join(turn.get(block, "text", str) for block in content if isinstance(block, dict))
