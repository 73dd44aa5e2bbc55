"""Files people drop into a folder: taken whole, moved to done/ or, with a message beside them, to rejected/.

A file still being written is left alone: it is taken once it has not changed between two looks that are far enough
apart. Where the system tells that nobody has it open for writing, they need not be far apart. One that changes while it
is loaded stays, to be taken again.
Whoever is killed between the load and the move loads the file once more, and that changes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from abr.exceptions import ABRError, DataIntegrityError
from abr.formats import SUFFIXES

# What people drop there in good faith, and learn from its message what to do with it.
_MISTAKEN = (".xlsx", ".xlsm", ".xls", ".ods", ".gz", ".zip", ".tsv")
_REJECTED, _MESSAGE = "rejected", ".error.txt"
_NAME_BYTES_MAX = 255  # as file systems have it

CLOSED_SECONDS = 0.05  # how long a file must have looked the same that nobody has open for writing

Look = tuple[int, int, int, int]  # inode, size, when its content and when anything about it changed


@dataclass
class Inbox:
    """A folder, and since when its files have looked as they did at the last look (by a clock that only counts)."""

    folder: Path
    quiet_seconds: float = 0.0  # how long a file must have looked the same where the system does not tell who writes it
    seen: dict[Path, tuple[Look, float]] = field(default_factory=dict)


def take(
    inbox: Inbox, load: Callable[[Path], object], *, clock: Callable[[], float] = time.monotonic
) -> list[tuple[Path, ABRError | None]]:
    """Hand every settled file to `load` and move it away; return the files with the error of those rejected.

    A file `load` raises an ABRError for is moved to rejected/, with the message in <name>.error.txt. Files of one name
    do not replace one another. Raises DataIntegrityError where the folder is missing or cannot be read.
    """
    settled = _settled(inbox, clock)
    looks = {path: inbox.seen.pop(path)[0] for path in settled}
    taken: list[tuple[Path, ABRError | None]] = []
    for path, look in looks.items():
        error = None
        try:
            load(path)
        except ABRError as caught:
            error = caught
        if _look(path) not in (look, None):
            continue  # half of it was loaded or refused; the whole of it comes later
        moved = _move(path, inbox.folder / (_REJECTED if error else "done"))
        if error:
            _leave_message(moved.with_name(_fitting(moved.name, _MESSAGE)), error)
        taken.append((path, error))
    return taken


def rejected(inbox: Inbox) -> list[str]:
    """Return the names of the files that lie in rejected/, where they stay until somebody takes them away."""
    try:
        names = sorted(path.name for path in (inbox.folder / _REJECTED).iterdir())
    except OSError:  # mostly there is none; one that cannot be used, the next rejected file tells
        return []
    return [name for name in names if not name.endswith(_MESSAGE)]


def is_waiting(inbox: Inbox, *, clock: Callable[[], float] = time.monotonic) -> bool:
    """Return whether there is a file to take, or the folder is in a state that `take` must tell."""
    try:
        return bool(_settled(inbox, clock))
    except DataIntegrityError:
        return True


def look_into(inbox: Inbox, *, clock: Callable[[], float] = time.monotonic) -> dict[Path, Look]:
    """Note what the files that could be taken look like now, and return that. Hidden files are half-made copies."""
    try:
        suffixes = {*SUFFIXES, *_MISTAKEN}
        found = [path for path in inbox.folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != "."]
    except OSError as error:
        raise DataIntegrityError(
            f"the inbox {inbox.folder} cannot be read: {error.strerror}",
            f"it must be a folder that ABR may read (mkdir -p {inbox.folder}); then start the monitor again",
        ) from error
    now, before, inbox.seen = clock(), inbox.seen, {}
    for path in found:
        look = _look(path)
        if look is not None:
            known = before.get(path)
            inbox.seen[path] = known if known and known[0] == look else (look, now)
    return {path: look for path, (look, _) in inbox.seen.items()}


def _settled(inbox: Inbox, clock: Callable[[], float]) -> list[Path]:
    """Return the files that looked the same long enough, in the order of their names."""
    before = inbox.seen
    look_into(inbox, clock=clock)
    now = clock()
    return [
        path
        for path, (look, since) in sorted(inbox.seen.items())
        if path in before and before[path][0] == look and now - since >= _quiet_seconds(inbox, path)
    ]


def _look(path: Path) -> Look | None:
    """Return what a file looks like; None where it was taken away, or is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if stat.S_ISREG(found.st_mode) else None


def _quiet_seconds(inbox: Inbox, path: Path) -> float:
    """Return how long a file must have looked the same to be taken.

    The system refuses a lease exactly where somebody on this machine has the file open for writing. Where there are
    none (network mounts, macOS) the looks must do.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return inbox.quiet_seconds  # whoever loads it says why
    try:
        # A writer who opens it meanwhile makes the system send a signal: one that does nothing.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except (AttributeError, OSError) as error:
        return math.inf if getattr(error, "errno", None) == errno.EAGAIN else inbox.quiet_seconds
    finally:
        os.close(descriptor)
    return min(inbox.quiet_seconds, CLOSED_SECONDS)


def _leave_message(path: Path, error: ABRError) -> None:
    try:
        path.write_text(f"{error.message}\n{error.remedy}\n", "utf-8")
    except OSError:  # the file is out of the way, and the monitor says the message too
        path.unlink(missing_ok=True)


def _fitting(name: str, ending: str) -> str:
    """Return a name with this ending, cut before it where a file system would not take the whole."""
    room = _NAME_BYTES_MAX - len(os.fsencode(ending))
    encoded = os.fsencode(name)
    return (name if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore")) + ending


def _move(path: Path, folder: Path) -> Path:
    """Move a file into a folder under its own name, or the next free one; return where it is now."""
    try:
        folder.mkdir(exist_ok=True)
        target = folder / path.name
        number = 1
        while target.exists():
            number += 1
            target = folder / _fitting(path.stem, f"-{number}{path.suffix}")
        try:
            path.replace(target)
        except FileNotFoundError:
            pass  # somebody took it away
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_away(path, target)
    except OSError as error:
        raise DataIntegrityError(
            f"{path} cannot be moved to {folder}: {error.strerror}", "check who may write there, and what room there is"
        ) from error
    return target


def _copy_away(path: Path, target: Path) -> None:
    """Move a file to another file system: the copy is whole and on the disk before the file goes."""
    unfinished = target.with_name(_fitting(f".{target.name}", ".part"))
    try:
        shutil.copy2(path, unfinished)
        with unfinished.open("rb+") as copy:
            os.fsync(copy.fileno())
        unfinished.replace(target)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    path.unlink()
