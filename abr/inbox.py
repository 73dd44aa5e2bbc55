"""Files people drop into a folder: taken whole, moved to done/ or, with a message beside them, to rejected/.

A file still being written is left alone: it is taken once it has not changed between two looks.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from abr.exceptions import ABRError, DataIntegrityError

_SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass
class Inbox:
    """A folder, and what its files looked like at the last look."""

    folder: Path
    seen: dict[Path, tuple[int, int]] = field(default_factory=dict)


def take(inbox: Inbox, load: Callable[[Path], object]) -> list[tuple[Path, ABRError | None]]:
    """Hand every settled file to `load` and move it away; return the files with the error of those rejected.

    A file `load` raises an ABRError for is moved to rejected/, with the message in <name>.error.txt. Files of one name
    do not replace one another. Raises DataIntegrityError where the folder is missing or cannot be read.
    """
    before = inbox.seen
    settled = [path for path, look in sorted(look_into(inbox).items()) if before.get(path) == look]
    for path in settled:
        del inbox.seen[path]
    taken: list[tuple[Path, ABRError | None]] = []
    for path in settled:
        try:
            load(path)
        except ABRError as error:
            moved = _move(path, inbox.folder / "rejected")
            moved.with_name(moved.name + ".error.txt").write_text(f"{error.message}\n{error.remedy}\n", "utf-8")
            taken.append((path, error))
        else:
            _move(path, inbox.folder / "done")
            taken.append((path, None))
    return taken


def look_into(inbox: Inbox) -> dict[Path, tuple[int, int]]:
    """Note what the files that could be taken look like now, and return that. Hidden files are half-made copies."""
    try:
        found = [path for path in inbox.folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.name[0] != "."]
    except OSError as error:
        raise DataIntegrityError(
            f"the inbox {inbox.folder} cannot be read: {error.strerror}",
            f"it must be a folder that ABR may read (mkdir -p {inbox.folder}); then start the monitor again",
        ) from error
    inbox.seen = {}
    for path in found:
        with contextlib.suppress(OSError):  # taken away meanwhile
            look = path.stat()
            if stat.S_ISREG(look.st_mode):
                inbox.seen[path] = (look.st_size, look.st_mtime_ns)
    return dict(inbox.seen)


def _move(path: Path, folder: Path) -> Path:
    """Move a file into a folder under its own name, or the next free one; return where it is now."""
    try:
        folder.mkdir(exist_ok=True)
        target = folder / path.name
        number = 1
        while target.exists():
            number += 1
            target = folder / f"{path.stem}-{number}{path.suffix}"
        with contextlib.suppress(FileNotFoundError):
            path.replace(target)
    except OSError as error:
        raise DataIntegrityError(
            f"{path} cannot be moved to {folder}: {error.strerror}", "check who may write there"
        ) from error
    return target
