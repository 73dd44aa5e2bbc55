"""JSONL files, one object a line: read in Python, because DuckDB reads 1.10 as 1.1 and long decimals as floats.

Numbers stay as written, true and false become words, null is a blank, and what is nested is kept as its JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from abr.exceptions import DataIntegrityError
from abr.formats.tables import Report, Table, Written, fault, fill_part, readable, shown

BATCH_ROWS: Final = 20_000
_BATCH_BYTES: Final = 32_000_000
_HEAD_LINES: Final = 1_000
_LAYOUTS_MAX: Final = 10_000
_ONE_OBJECT_A_LINE = "write one JSON object a line; nothing was loaded"


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """An object's pairs as they were written, twins included."""


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object,
    parse_float=_Number,
    parse_int=_Number,
    parse_constant=_Number,
)


def columns(path: Path) -> Table:
    """Return the names that occur in the first thousand objects. Raises DataIntegrityError where a line is broken."""
    names: dict[str, None] = {}
    for (_, _, pairs), _ in zip(_objects(path), range(_HEAD_LINES), strict=False):
        known = {name.casefold() for name in names}
        names.update((name.strip(), None) for name, _ in pairs if name.strip().casefold() not in known)
    return Table(path, "jsonl", tuple(names))


def write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
    report: Report | None = None,
) -> Written:
    """Fill PART with the file's objects, a text column for each of `wanted`, NULL where an object lacks it.

    Raises DataIntegrityError with the line that is not one JSON object.
    """
    names = dict.fromkeys(table.names)
    rows = fill_part(connection, wanted, _rows(table.path, wanted, names, report))
    return Written(rows, tuple(names))


def _rows(
    path: Path,
    wanted: Sequence[str],
    names: dict[str, None],
    report: Report | None,
) -> Iterator[list[list[str | None]]]:
    layouts: dict[tuple[str, ...], list[int | None]] = {}
    batch: list[list[str | None]] = []
    batch_bytes = done_bytes = 0
    for number, line_bytes, pairs in _objects(path):
        given, values = zip(*pairs, strict=True) if pairs else ((), ())
        if given not in layouts:
            if len(layouts) > _LAYOUTS_MAX:
                layouts.clear()
            layouts[given] = _layout(path, number, given, wanted)
            names.update((name.strip(), None) for name in given)
        cells = [None if place is None else values[place] for place in layouts[given]]
        try:
            batch.append([cell if cell is None or type(cell) is str else _text(cell) for cell in cells])
        except RecursionError as error:
            raise _too_deep(path, number) from error
        batch_bytes += line_bytes
        if len(batch) == BATCH_ROWS or batch_bytes > _BATCH_BYTES:
            yield batch
            done_bytes += batch_bytes
            if report:
                report(min(99, 100 * done_bytes // max(1, path.stat().st_size)))
            batch, batch_bytes = [], 0
    if batch:
        yield batch


def _layout(path: Path, number: int, given: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Return where in an object with these names each wanted cell lies."""
    places: dict[str, int] = {}
    for place, name in enumerate(given):
        folded = name.strip().casefold()
        if folded in places:
            raise fault(path, f"line {number} has {shown(name)!r} twice", _ONE_OBJECT_A_LINE)
        places[folded] = place
    return [places.get(name) for name in wanted]


def _objects(path: Path) -> Iterator[tuple[int, int, _Object]]:
    """Yield each line's number, length and pairs."""
    number = 0
    try:
        with readable(path), path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \t\r\n")
                if not text:
                    continue
                value = _DECODER.decode(text)
                if not isinstance(value, _Object):
                    what = "an array" if text.startswith("[") else "not a JSON object"
                    raise fault(path, f"line {number} is {what}", _ONE_OBJECT_A_LINE)
                if "\\u" in text:
                    value = _Object((_storable(name), _storable(inner)) for name, inner in value)
                yield number, len(line), value
    except UnicodeDecodeError as error:
        raise fault(path, f"line {number} is not UTF-8 text", "save it as UTF-8; nothing was loaded") from error
    except json.JSONDecodeError as error:
        what = f"line {number} is not one whole JSON object ({error.msg.lower()} at character {error.pos + 1})"
        raise fault(path, what, _ONE_OBJECT_A_LINE) from error
    except RecursionError as error:
        raise _too_deep(path, number) from error


def _too_deep(path: Path, number: int) -> DataIntegrityError:
    return fault(path, f"line {number} is nested too deeply", _ONE_OBJECT_A_LINE)


def _text(value: Any) -> str:
    """Return a value as the text of a cell: JSON where it is nested."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value) if isinstance(value, str) else _json(value)


def _storable(value: Any) -> Any:
    """Return a value with half characters (lone surrogates, which no text file can hold) as the escapes they were."""
    return value if value is None else _text(value).encode("utf-8", "backslashreplace").decode()


def _json(value: Any) -> str:
    if isinstance(value, _Object):
        return "{" + ",".join(f"{_json(name)}:{_json(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)
