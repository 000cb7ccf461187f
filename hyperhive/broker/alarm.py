"""One timer on the wall clock, armed for the next thing that is due; a clock that is set wakes it too."""

import asyncio
import ctypes
import errno
import os
import time
from collections.abc import Callable

CLOCK_REALTIME = 0
TFD_NONBLOCK, TFD_CLOEXEC = 0o4000, 0o2000000
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


class timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", timespec), ("it_value", timespec))


class Alarm:
    """`due` says when it rings next (seconds since 1970, or None); `ring` is called then."""

    def __init__(self, due: Callable[[], float | None], ring: Callable[[], None]) -> None:
        self.due = due
        self.ring = ring
        self.fd: int = libc.timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "Cannot make a timer")
        asyncio.get_running_loop().add_reader(self.fd, self.rung)

    def arm(self) -> None:
        at = self.due()
        # A time that is past fires at once; zero would disarm it.
        value = timespec(0, 0) if at is None else timespec(max(1, int(at)), int(at % 1 * 1e9))
        spec = itimerspec(timespec(0, 0), value)
        flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
        if libc.timerfd_settime(self.fd, flags, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "Cannot arm the timer")

    def rung(self) -> None:
        try:
            os.read(self.fd, 8)
        except OSError as e:
            if e.errno not in (
                errno.ECANCELED,
                errno.EAGAIN,
            ):  # the clock was set; it was armed anew meanwhile
                raise
        at = self.due()
        if at is not None and at <= time.time():
            self.ring()  # it arms us again when that is on disk
        else:
            self.arm()
