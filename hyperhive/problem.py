"""The one exception whose text is meant for people and peers."""

import logging
import sys
from collections.abc import Callable
from typing import NoReturn

log = logging.getLogger(__name__)

EX_TEMPFAIL = 75
EX_CONFIG = 78  # units carry RestartPreventExitStatus=78: a bad setup is not retried


class Problem(Exception):
    def __init__(self, code: str, message: str, *, hint: str = "", exit_status: int = 1) -> None:
        super().__init__(message)
        self.code = code  # short and stable ("unknown-agent"): peers match on it, people never see it
        self.hint = hint
        self.exit_status = exit_status


def run_main(main: Callable[[], int | None]) -> NoReturn:
    try:
        sys.exit(main())
    except Problem as e:
        log.error("%s", e)
        if e.hint:
            log.warning("(%s)", e.hint)
        sys.exit(e.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
