"""CSV files: Python reads the header, DuckDB everything else, and every cell stays as it was given.

What surprises: DuckDB guesses where rows begin when it reads a large file in pieces, and line breaks inside cells can
make it guess wrong without an error. So a read in pieces counts only if every line break of the file ended a row;
else the file is read once more in one piece. One piece is never `parallel=false`: that mode drops a last row whose
quote is not closed, and says nothing.
"""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

from abr.formats.tables import (
    PART,
    Table,
    Written,
    fault,
    file_argument,
    fill_part,
    is_in_transaction,
    quoted,
    readable,
    shown,
    unreadable,
)

DELIMITERS: Final = (",", ";", "\t")
BATCH_ROWS: Final = 20_000
PIECE_BYTES: Final = 32_000_000
LINE_BYTES_MAX: Final = 16_000_000
WHOLE_BYTES_MAX: Final = 4_000_000_000
_HEADER_BYTES_MAX: Final = 1 << 20
_NOT_UTF8 = "is not UTF-8 text"
# How files begin that people take for CSV, and what to do with them.
_CONTAINERS = {
    b"PK\x03\x04": ("is an Excel workbook or a zip archive", "save the sheet as 'CSV UTF-8', or unpack the archive"),
    b"\xd0\xcf\x11\xe0": ("is an old Excel workbook", "save the sheet as 'CSV UTF-8'"),
    b"\x1f\x8b": ("is compressed (gzip)", "unpack it first"),
}
_SAVE_AS_UTF8 = "save it as 'CSV UTF-8' and load that; nothing was loaded"


def columns(path: Path, known: Collection[str]) -> Table:
    """Return the file's columns; the delimiter is the one under which most of them are `known` (folded names).

    Raises DataIntegrityError where the file is empty, not UTF-8, or begins with no header.
    """
    with readable(path), path.open("rb") as file:
        start = file.read(_HEADER_BYTES_MAX)
    if not start:
        raise fault(path, "is empty: it has not even a header")
    text = _decoded(path, start)
    headers = {delimiter: _first_row(text, delimiter) for delimiter in DELIMITERS}
    found = {delimiter: sum(name.casefold() in known for name in names or ()) for delimiter, names in headers.items()}
    delimiter = max(DELIMITERS, key=lambda mark: found[mark])
    names = headers[delimiter]
    if names is None or (not found[delimiter] and None in headers.values()):
        raise fault(path, "line 1: the header has a quote that is not closed")
    if not any(names):
        raise fault(path, "has no header: its first line is blank", "put the columns' names on the first line")
    return Table(path, "csv", names, delimiter=delimiter)


def write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
) -> Written:
    """Fill PART with the file's rows, a text column for each of `wanted`, NULL where the file lacks it.

    Raises DataIntegrityError, with the line where it is known, where the file cannot be read whole.
    In an open transaction there is no second try, so call this outside one.
    """
    with readable(table.path):
        size = table.path.stat().st_size
        retry = not is_in_transaction(connection)
        rows = _in_pieces(connection, table, wanted) if retry and size > PIECE_BYTES else None
        if rows is None:
            rows = _in_one_piece(connection, table, wanted, size, retry=retry)
        return Written(rows, table.names)


def _in_pieces(connection: duckdb.DuckDBPyConnection, table: Table, wanted: Sequence[str]) -> int | None:
    """Read on every core and return the count of rows, or None where the file must be read in one piece."""
    try:
        rows = _write(connection, table, wanted, LINE_BYTES_MAX, PIECE_BYTES)
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error:
        return None  # read in one piece, it either works or says what is wrong
    return rows if _line_count(table.path) == rows + 1 else None


def _in_one_piece(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
    size: int,
    *,
    retry: bool,
) -> int:
    if size > WHOLE_BYTES_MAX:
        raise fault(table.path, "has line breaks inside its cells and more than 4 GB", "split it into smaller files")
    try:
        return _write(connection, table, wanted, size + 1, size + 1)
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error as error:
        return _explained(connection, table, wanted, str(error), retry=retry)


def _write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
    line_bytes: int,
    piece_bytes: int,
) -> int:
    struct = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(table.names)))
    result = connection.execute(
        f"create or replace temp table {PART} as select {_cells(table.places, wanted)} from read_csv("
        f"{file_argument(table.path)}, columns = {{{struct}}}, header = true, auto_detect = false, "
        f"delim = {quoted(table.delimiter)}, quote = '\"', escape = '\"', strict_mode = true, compression = 'none', "
        f"hive_partitioning = false, max_line_size = {line_bytes}, buffer_size = {piece_bytes})",
    ).fetchone()
    return int(result[0]) if result else 0


def _cells(places: Mapping[str, int], wanted: Sequence[str]) -> str:
    return ", ".join(
        f'c{places[name]} as "{name}"' if name in places else f'null::varchar as "{name}"' for name in wanted
    )


def _decoded(path: Path, start: bytes) -> str:
    for magic, (what, remedy) in _CONTAINERS.items():
        if start.startswith(magic):
            raise fault(path, what, f"{remedy}; nothing was loaded")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise fault(path, f"{_NOT_UTF8} but UTF-16", _SAVE_AS_UTF8)
    if b"\0" in start.partition(b"\n")[0]:
        raise fault(path, f"line 1 {_NOT_UTF8}: it looks like UTF-16, or is no text at all", _SAVE_AS_UTF8)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        text = decoder.decode(start, final=len(start) < _HEADER_BYTES_MAX)
    except UnicodeDecodeError as error:
        line = start[: error.start].count(b"\n") + 1
        raise fault(path, f"line {line} {_NOT_UTF8}", _SAVE_AS_UTF8) from error
    return text


def _first_row(text: str, delimiter: str) -> tuple[str, ...] | None:
    """Return the names in a header; None where it cannot be read by this delimiter."""
    csv.field_size_limit(sys.maxsize)
    try:
        row = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None
    return tuple(name.strip() for name in row)


def _line_count(path: Path) -> int:
    """Return how many lines end, the last one also without a line break."""
    count = 0
    block = last = b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block
    return count + (not last.endswith(b"\n"))


def _explained(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
    message: str,
    *,
    retry: bool,
) -> int:
    """Say what is wrong with a file DuckDB refused, and on which line, by reading it in Python.

    Lines that end now in LF, now in CRLF are too much for DuckDB but no fault: then Python's rows are the rows.
    """
    if not table.path.is_file():
        raise unreadable(table.path, FileNotFoundError())
    if "CSV" not in message:
        raise fault(table.path, f"cannot be read ({shown(message.partition(chr(10))[0], 200)})")
    rows = _rows(table, wanted)
    try:
        if retry:
            return fill_part(connection, wanted, rows)
        deque(rows, maxlen=0)
    except UnicodeDecodeError as error:
        raise fault(table.path, f"line {_undecodable_line(table.path)} {_NOT_UTF8}", _SAVE_AS_UTF8) from error
    raise fault(table.path, "ends its lines now in one way, now in another", "save it with one kind of line ending")


def _rows(table: Table, wanted: Sequence[str]) -> Iterator[list[list[str | None]]]:
    """Yield the file's rows in batches, as strictly as DuckDB reads them."""
    places = [table.places.get(name) for name in wanted]
    width = len(table.names)
    batch: list[list[str | None]] = []
    line = 0
    with table.path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=table.delimiter, strict=True)
        try:
            for row in reader:
                if row and (len(row) < width or any(row[width:])):
                    cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
                    what = f"line {line + 1} has {cells} where the header has {width}"
                    raise fault(table.path, f"{what}; the file is cut off or damaged there")
                if any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in row):
                    raise csv.Error("a blank before a quote")  # noqa: TRY301  it may hide a quote that is not closed
                if row and line:
                    batch.append([None if place is None else row[place] for place in places])
                line = reader.line_num
                if len(batch) == BATCH_ROWS:
                    yield batch
                    batch = []
        except csv.Error as error:
            raise fault(
                table.path,
                f"line {line + 1}: a cell's quote is not closed, or has text beside it; "
                "the file is cut off, or a quote inside the cell is not doubled",
            ) from error
    if batch:
        yield batch


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1
