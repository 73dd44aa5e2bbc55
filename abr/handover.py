"""Work handed to the process that holds the database: a request in a file, a receipt in another.

A command that finds the database held by a monitor leaves `<id>.request` in `<database>.inbox/requests/`; the monitor
takes it (`<id>.taken`), does it and leaves `<id>.answer`. Every step is one rename, so each side sees whole files, and
either the asker gets its request back or the monitor has it, never both.
That a monitor is there is said by a lock on `monitor.lock`, which the system drops with the process, not by its number.
Whoever does a request for the second time (the first one was killed before the answer) must know it by its id.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abr.exceptions import ABRError

LOOK_SECONDS = 0.05  # how often an asker looks for its answer
RECEIPT_SECONDS_MAX = 3600.0  # how long an answer that nobody fetches is kept
_LOCK = "monitor.lock"
_REQUEST, _TAKEN, _ANSWER, _UNFINISHED = ".request", ".taken", ".answer", ".part"
_LOCK_TRIES = 40
_ALIVE_EVERY_LOOKS = 10

Answer = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What somebody asks for: a command by its name, and its arguments as JSON has them."""

    request_id: str
    command: str
    arguments: Mapping[str, Any]


@dataclass
class Desk:
    """The monitor's side: the folder, the lock it holds, and the answers that found no room yet."""

    folder: Path
    may_make_parent: bool = True
    lock: int | None = None
    problem: str | None = None  # why nothing can be handed over at the moment
    told: str | None = None  # the problem that was told last
    unsent: dict[str, Answer] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)  # names of files that cannot be taken


def folder_of(database: Path) -> Path:
    """Return where requests for a database lie, by whatever path or link it was named."""
    actual = database.resolve()
    return actual.with_name(actual.name + ".inbox") / "requests"


# ---- the monitor's side ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path | None, *, may_make_parent: bool) -> Iterator[Desk | None]:
    """Let everyone know that requests are taken here, until the end; nothing without a folder (a memory database).

    `may_make_parent`: not where the folder above is an inbox that somebody else must have made.
    """
    if folder is None:
        yield None
        return
    desk = Desk(folder, may_make_parent)
    try:
        _open_desk(desk)
        for name in _names(desk):
            if name.endswith(_TAKEN):  # of a monitor that ended in the middle
                left = folder / name
                with contextlib.suppress(OSError):  # taken back by its asker meanwhile
                    left.rename(left.with_suffix(_REQUEST))
        yield desk
    finally:
        if desk.lock is not None:
            os.close(desk.lock)


def has_requests(desk: Desk) -> bool:
    """Return whether somebody asks for something."""
    _open_desk(desk)
    return any(name.endswith(_REQUEST) and name not in desk.stuck for name in _names(desk))


def take(desk: Desk) -> list[Request]:
    """Take what is asked for, the oldest first; remove answers that nobody fetched, and send those that are left."""
    _open_desk(desk)
    for request_id in list(desk.unsent):
        leave(desk, request_id, desk.unsent.pop(request_id))
    taken = []
    for name in sorted(_names(desk)):
        path = desk.folder / name
        if name.endswith(_REQUEST):
            try:
                taken.append(_taken(path))
            except FileNotFoundError:
                continue  # withdrawn meanwhile
            except OSError as error:
                desk.stuck.add(name)
                desk.problem = f"{path} cannot be taken: {error.strerror}"
        elif name.endswith((_ANSWER, _UNFINISHED)):
            with contextlib.suppress(FileNotFoundError):  # fetched meanwhile
                if time.time() - path.stat().st_mtime > RECEIPT_SECONDS_MAX:
                    path.unlink()
    return taken


def new_problem(desk: Desk) -> str | None:
    """Return why nothing can be handed over at the moment, once."""
    is_new = desk.problem is not None and desk.problem != desk.told
    desk.told = desk.problem
    return desk.problem if is_new else None


def leave(desk: Desk, request_id: str, answer: Answer) -> None:
    """Leave the answer for whoever asked; where there is no room for it now, with the next look."""
    try:
        _write(desk.folder / (request_id + _ANSWER), answer)
        (desk.folder / (request_id + _TAKEN)).unlink(missing_ok=True)
    except FileNotFoundError:
        pass  # somebody removed the folder: the asker sees that, and asks again under the same id
    except OSError as error:
        desk.problem = f"{desk.folder} takes no answer: {error.strerror}"
        desk.unsent[request_id] = answer


def _taken(path: Path) -> Request:
    taken = path.with_suffix(_TAKEN)
    path.rename(taken)
    try:
        asked = json.loads(taken.read_text("utf-8"))
        return Request(path.stem, str(asked["command"]), dict(asked["arguments"]))
    except (ValueError, TypeError, KeyError, OSError, RecursionError):
        return Request(path.stem, "", {})  # no request of ABR's: it is answered as any unknown command


def _names(desk: Desk) -> list[str]:
    try:
        return os.listdir(desk.folder)  # noqa: PTH208  names alone: this is done twice a second
    except OSError as error:
        desk.problem = f"{desk.folder} cannot be read: {error.strerror}"
        return []


def _open_desk(desk: Desk) -> None:
    """Make the folder and lock its file, also again where somebody removed them; `problem` says what stands against it.

    An asker that looks holds the lock for a moment, so one refusal says nothing.
    """
    try:
        if desk.lock is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(desk.folder / _LOCK), os.fstat(desk.lock)):  # noqa: PTH116  twice a second
                    desk.problem = None
                    return
            os.close(desk.lock)
            desk.lock = None
        desk.folder.mkdir(parents=desk.may_make_parent, exist_ok=True)
        lock = os.open(desk.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for _ in range(_LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                desk.lock = lock
                break
            time.sleep(LOOK_SECONDS)
        else:
            os.close(lock)
            desk.problem = f"{desk.folder / _LOCK} is locked by another process"
            return
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        desk.problem = None
    except OSError as error:
        desk.problem = f"{desk.folder} cannot be used: {error.strerror}"


# ---- the asker's side -----------------------------------------------------------------------------------------------


def new_id() -> str:
    """Return an id for a request; those of later requests sort after it."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


def is_served(folder: Path) -> bool:
    """Return whether a monitor takes requests in this folder now."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def ask(
    folder: Path, request: Request, *, sleep: Callable[[float], object], stopped: Callable[[], bool]
) -> Answer | None:
    """Hand a request over and wait for its answer; None where nobody will give one, and the request is taken back.

    None may come after the work was done, when the monitor was killed before it could say so.
    Raises OSError where the request cannot be written, Withdrawn where `stopped` says so while it waits.
    """
    asked, taken, answer = (folder / (request.request_id + suffix) for suffix in (_REQUEST, _TAKEN, _ANSWER))
    _write(asked, {"command": request.command, "arguments": request.arguments})
    looks = 0
    while True:
        # In this order, so that an answer which comes between the looks is seen.
        is_gone = not asked.exists() and not taken.exists()
        if answer.exists():
            found: Answer = json.loads(answer.read_text("utf-8"))
            answer.unlink(missing_ok=True)
            return found
        if is_gone:
            return None  # somebody removed it
        if stopped():
            raise Withdrawn(_removed(asked))
        looks += 1
        if looks % _ALIVE_EVERY_LOOKS == 0 and not is_served(folder) and not answer.exists():
            # Whichever there is: the monitor that might have taken it has ended.
            if _removed(asked) or _removed(taken):
                return None
            continue
        sleep(LOOK_SECONDS)


class Withdrawn(ABRError):  # noqa: N818  it is a state
    """The wait for an answer was ended; `was_waiting`: before anybody had taken the request, so nothing was done."""

    def __init__(self, was_waiting: bool) -> None:
        super().__init__(
            "stopped; the request is withdrawn, nothing was done"
            if was_waiting
            else "stopped; the monitor has taken the request already, and will finish it"
        )


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_suffix(path.suffix + _UNFINISHED)
    try:
        unfinished.write_text(json.dumps(content), "utf-8")
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
