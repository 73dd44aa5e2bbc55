"""Call a function every few seconds until told to stop; let it finish, or interrupt it, when a signal comes.

The beat stays on its grid (start, start + interval, start + 2 intervals, ...) whatever a tick costs: nothing drifts and
ticks never overlap. After a late tick the next one follows at once, one however many beats were missed, and the one
after that is back on the grid. A wait may be ended early when there is something to do: that tick is an extra one, and
the beat that was waited for still comes.

A signal handler may run anywhere, so it only notes the signal, writes to a pipe that ends a wait, and interrupts.
An interrupt that arrives between two queries is lost (measured on DuckDB), so it is repeated until the tick has ended.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from abr.exceptions import ABRError

GRACE_SECONDS = 5.0  # how long the first signal lets a tick run on
IDLE_SECONDS = 0.5  # how often a wait refreshes the countdown
WAKING_SECONDS = 0.0625  # how often it looks whether it should end early
_REPEAT_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_every(
    interval_seconds: float,
    tick: Callable[[], object],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
    idle: Callable[[float], object] | None = None,
    woken: Callable[[], bool] | None = None,
    cycles: int | None = None,
) -> int:
    """Call tick on a fixed beat until stopped, or `cycles` times; return how often it was called.

    While waiting, `idle` gets the seconds that are left, when they are a multiple of IDLE_SECONDS, so that a countdown
    changes on the second; last with 0. `woken` is asked more often, and a wait that it ends is waited out after the
    tick.
    """
    started_at, beat, calls, is_extra = clock(), 0, 0, False
    while not stopped() and (cycles is None or calls < cycles):
        tick()
        calls += 1
        if calls == cycles:
            break
        beat = max(beat if is_extra else beat + 1, math.floor((clock() - started_at) / interval_seconds))
        is_extra = _wait_until(started_at + beat * interval_seconds, clock, sleep, stopped, idle, woken)
    return calls


def _wait_until(
    due_at: float,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
    stopped: Callable[[], bool],
    idle: Callable[[float], object] | None,
    woken: Callable[[], bool] | None,
) -> bool:
    """Wait; return whether `woken` ended it before it was due."""
    step = WAKING_SECONDS if woken is not None else IDLE_SECONDS if idle is not None else math.inf
    halves_told = math.inf
    while not stopped() and (seconds_left := due_at - clock()) > 0:
        if woken is not None and woken():
            break
        if idle is not None and (halves := math.ceil(seconds_left / IDLE_SECONDS)) < halves_told:
            idle(seconds_left)
            halves_told = halves
        seconds_left = due_at - clock()  # they took their time
        sleep(max(min(seconds_left, seconds_left % step or step), 0))
    if idle is not None and not stopped():
        idle(0)
    return clock() < due_at


class Signals:
    """While entered, SIGINT, SIGTERM and SIGHUP end the work in an orderly way instead of the process.

    The first one lets the running work finish within `grace_seconds`, then calls `interrupt`; a second one calls it at
    once. `interrupt` must be safe to call at any moment and more than once, as duckdb's `connection.interrupt` is.
    """

    def __init__(self, interrupt: Callable[[], object], *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._interrupt = interrupt
        self._grace_seconds = grace_seconds
        self._is_working = False
        self._previous: dict[signal.Signals, Any] = {}
        self._pipe = (-1, -1)
        self._has_called_interrupt = False
        self.count = 0
        self.interrupted = False  # the work was cut short

    def __enter__(self) -> Self:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started with nohup
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._previous.items():
            # Once a signal has come the process is on its way out; one more must not change its exit code.
            signal.signal(number, signal.SIG_IGN if self.count and number in _SIGNALS else handler)
        for end in self._pipe:
            os.close(end)

    def stopped(self) -> bool:
        """Return whether a signal has come."""
        return self.count > 0

    def sleep(self, seconds: float) -> None:
        """Wait that long, or until a signal comes."""
        select.select([self._pipe[0]], [], [], seconds)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Mark the work that must finish or be interrupted. What the interruption raises in it ends here, quietly.

        An ABRError that nothing else caused is a verdict about the books, not the interruption: it goes on.
        """
        self.interrupted = self._has_called_interrupt = False
        self._is_working = True
        try:
            if self.count:  # the signal came on the way here
                self._arm()
            yield
        except Exception as error:
            if not self._has_called_interrupt or _is_verdict(error):
                raise
            self.interrupted = True
        finally:
            self._is_working = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  signal's signature
        self.count += 1
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe[1], b"!")
        if self._is_working:
            self._arm()

    def _arm(self) -> None:
        if self.count == 1:
            signal.setitimer(signal.ITIMER_REAL, max(self._grace_seconds, 1e-6), _REPEAT_SECONDS)
        elif not self._has_called_interrupt:
            self._on_alarm(signal.SIGALRM, None)
            signal.setitimer(signal.ITIMER_REAL, _REPEAT_SECONDS, _REPEAT_SECONDS)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  signal's signature
        if self._is_working:
            self._has_called_interrupt = True
            with contextlib.suppress(Exception):  # a connection just closed has nothing to interrupt
                self._interrupt()


def _is_verdict(error: BaseException) -> bool:
    """Return whether ABR raised this for a reason of its own, not because a driver's error lies beneath it."""
    below: BaseException | None = error
    while below is not None:
        if not isinstance(below, ABRError):
            return False
        below = below.__cause__ or below.__context__
    return True


def watch(
    interval_seconds: float,
    tick: Callable[[], object],
    *,
    interrupt: Callable[[], object],
    idle: Callable[[float], object] | None = None,
    woken: Callable[[], bool] | None = None,
    cycles: int | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Signals:
    """Tick until `cycles` are done or a signal comes; return the signals, to say whether the last tick was interrupted.

    Any error of a tick that is not the interruption ends the loop and goes on to the caller: a HALT stops the monitor.
    """
    with Signals(interrupt, grace_seconds=grace_seconds) as signals:

        def guarded() -> None:
            with signals.working():
                tick()

        run_every(
            interval_seconds,
            guarded,
            sleep=signals.sleep,
            stopped=signals.stopped,
            idle=idle,
            woken=woken,
            cycles=cycles,
        )
    return signals


@contextlib.contextmanager
def closed_pipe_is_quiet() -> Iterator[None]:
    """Let `abr report | head` end without a word: a reader that has seen enough is no error. Nor is a closed stream."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # as Python has it; also, no file that is opened later should get its number
            setattr(sys, name, Path(os.devnull).open("r+", encoding="utf-8"))  # noqa: SIM115  for the whole process
    try:
        yield
    except BrokenPipeError:
        pass
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # a full disk was told before
                _write_nowhere(stream)


def _write_nowhere(stream: TextIO) -> None:
    """Python flushes its streams once more on exit, and complains again: give this one somewhere to write to."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
