"""Other tools' exports: what a format has to say about itself, and its rows as canonical time logs.

A format is one module of this package with a FORMAT. It says which columns it is known by and what SQL expression over
them each canonical cell is; the rest is done here, for all formats alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import duckdb

from abr.formats.canonical import COLUMNS
from abr.formats.tables import quoted

EXPORT: Final = "tool_export"
KNOWN_PROJECT: Final = "known_project"

# What Python's str.strip() takes away; DuckDB's own trim takes only blanks.
WHITE_SPACE: Final = (
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680"
    + "".join(map(chr, range(0x2000, 0x200B)))
    + "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True)
class ToolFormat:
    """A tool's export of time entries, told by its columns (folded to lower case).

    `cells` gives each canonical time log column as an SQL expression over the export's columns, all of them text and
    all of them there (NULL where the file lacks one). Without a `time_log_id` among them, an entry's id is a hash of
    the expressions in `key` and a number that tells true twins apart.
    """

    name: str
    title: str
    required: tuple[tuple[str, ...], ...]  # one column of each group must be there
    optional: tuple[str, ...]
    cells: Mapping[str, str]
    key: tuple[str, ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the format knows."""
        return (*(name for group in self.required for name in group), *self.optional)

    def lacks(self, names: Collection[str]) -> list[str]:
        """Return what a file with these columns lacks to be such an export; nothing where it is one."""
        return [" or ".join(group) for group in self.required if not any(name in names for name in group)]

    def recognises(self, names: Collection[str]) -> bool:
        """Tell whether a file with these columns is such an export."""
        return not self.lacks(names)


def trimmed(column: str) -> str:
    """Return the expression of an export's column without white space around it, '' where it is NULL."""
    return f"coalesce(trim(\"{column}\", {quoted(WHITE_SPACE)}), '')"


def write_time_logs(connection: duckdb.DuckDBPyConnection, tool: ToolFormat, relation: str) -> None:
    """Make `relation`, a temp table of canonical time logs, of the rows in EXPORT.

    Twins, entries of one file with the same key, are numbered by their other cells, so the order of rows never counts;
    numbering each file apart lets the same entry in two overlapping exports collapse into one.
    """
    canonical = COLUMNS["time_logs"]
    cells = {name: tool.cells.get(name, "null") for name in canonical if name != "time_log_id"}
    listed = ", ".join(f'({cell})::varchar as "{name}"' for name, cell in cells.items())
    if "time_log_id" in tool.cells:
        entry_id, fingerprint = "fingerprint", f"({tool.cells['time_log_id']})::varchar"
    else:
        fingerprint = f"left(md5(to_json([{', '.join(tool.key)}])::varchar), 20)"
        others = ", ".join(f'"{name}"' for name in cells)
        occurrence = f"row_number() over (partition by file_number, fingerprint order by {others})"
        entry_id = f"fingerprint || '-' || {occurrence}::varchar"
    connection.execute(
        f"create or replace temp table {relation} as "
        f"with entry as (select file_number, {fingerprint} as fingerprint, {listed} from {EXPORT}) "
        f"select {entry_id} as time_log_id, * exclude (file_number, fingerprint) from entry",
    )


def spans(connection: duckdb.DuckDBPyConnection, tool: ToolFormat) -> tuple[tuple[date, date], ...]:
    """Return the days each file in EXPORT spans, first to last date; files that overlap or touch make one span.

    A cell that is not a date says nothing about the span.
    """
    worked_on = f"trim({tool.cells['worked_on']}, {quoted(WHITE_SPACE)})"
    found = connection.execute(
        f"select min(day), max(day) from (select file_number, try_cast({worked_on} as date) as day from {EXPORT} "
        f"where length({worked_on}) = 10 and try_cast({worked_on} as date)::varchar = {worked_on}) "
        "group by file_number order by all",
    ).fetchall()
    merged: list[tuple[date, date]] = []
    for first, last in found:
        if merged and (first - merged[-1][1]).days <= 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
