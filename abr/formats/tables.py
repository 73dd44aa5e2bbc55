"""What the readers of CSV, JSONL and Parquet share: a file's columns, the temp table its cells go to, its errors.

Every reader fills one temp table, PART, with text cells exactly as given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from abr.exceptions import DataIntegrityError

PART: Final = "incoming_part"
EXPORT_AGAIN: Final = "export it again, or repair it; nothing was loaded"

# Told the part of a file that has been read, in percent.
Report = Callable[[int], None]


@dataclass(frozen=True)
class Table:
    """A file and its columns: `names` as written, trimmed, in the file's order, '' for a column without a name."""

    path: Path
    kind: str
    names: tuple[str, ...]
    delimiter: str = ","
    types: tuple[str, ...] = ()

    @property
    def places(self) -> dict[str, int]:
        """Each column's place by its folded name, in which case does not count."""
        return {name.casefold(): place for place, name in enumerate(self.names) if name}


@dataclass(frozen=True)
class Written:
    """What went into PART: how many rows, and every column name that was met."""

    rows: int
    names: tuple[str, ...]


def fault(path: Path, what: str, remedy: str = EXPORT_AGAIN) -> DataIntegrityError:
    """Return the error that says what is wrong with a file, on one line and free of control characters."""
    return DataIntegrityError(f"{shown(str(path), 500)}: {what}", remedy)


def unreadable(path: Path, error: Exception) -> DataIntegrityError:
    """Return the error for a file the operating system does not hand out."""
    if isinstance(error, FileNotFoundError):
        return fault(path, "has vanished while it was being loaded", "load it again once it is whole")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return fault(path, f"cannot be read ({shown(reason.lower())})", "check that it is a file and that you may read it")


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a file into a DataIntegrityError."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


def shown(text: str, length_max: int = 60) -> str:
    """Return text that is safe in a message: control characters escaped, cut where it is long."""
    safe = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return safe if len(safe) <= length_max else safe[: length_max - 1] + "…"


def quoted(text: str) -> str:
    """Return text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def file_argument(path: Path) -> str:
    """Return a path as DuckDB takes it: absolute, so never a URL, and with nothing in it read as a pattern."""
    plain = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path.absolute()))
    return quoted(plain)


def is_in_transaction(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether a transaction is open: only then do two statements share its number."""
    first, second = (connection.execute("select txid_current()").fetchone() for _ in range(2))
    return first == second


def fill_part(
    connection: duckdb.DuckDBPyConnection,
    wanted: Sequence[str],
    batches: Iterable[list[list[str | None]]],
) -> int:
    """Fill PART with rows made in Python and return how many there were. Each row has a cell for each wanted column."""
    columns = ", ".join(f'"{name}" varchar' for name in wanted)
    connection.execute(f"create or replace temp table {PART} ({columns})")
    row_count = 0
    for rows in batches:
        cells = [pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)]
        connection.register("incoming_batch", pa.Table.from_arrays(cells, names=list(wanted)))
        try:
            connection.execute(f"insert into {PART} select * from incoming_batch")
        finally:
            connection.unregister("incoming_batch")
        row_count += len(rows)
    return row_count
