"""Parquet files: typed cells become the text a person would have written in the canonical form."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from abr.formats.canonical import DATES
from abr.formats.tables import PART, Table, Written, fault, file_argument, readable, shown


def columns(connection: duckdb.DuckDBPyConnection, path: Path) -> Table:
    """Return the file's columns and their types. Raises DataIntegrityError where it is not a whole Parquet file."""
    with readable(path), _whole(path):
        described = connection.execute(f"describe select * from {_scan(path)}").fetchall()
        # DuckDB makes up a name for a column whose name another has already.
        schema = connection.execute(
            f"select name, coalesce(num_children, 0) from parquet_schema({file_argument(path)})"
        ).fetchall()
    return Table(path, "parquet", tuple(_top_names(schema)), types=tuple(row[1] for row in described))


def _top_names(schema: list[tuple[str, int]]) -> Iterator[str]:
    """Yield the names of a file's columns out of its schema, which lists each element and then what is inside it."""
    inside = 0
    for name, child_count in schema[1:]:  # the first is the file's root
        if inside == 0:
            yield name.strip()
            inside = 1
        inside += child_count - 1


def write(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    wanted: Sequence[str],
) -> Written:
    """Fill PART with the file's rows, a text column for each of `wanted`, NULL where the file lacks it.

    Raises DataIntegrityError where the file is damaged.
    """
    # Places, not names: two names may differ only in blanks or case.
    given = ", ".join(f"c{place}" for place in range(len(table.names)))
    places = table.places
    cells = ", ".join(
        f'{_text(f"c{places[name]}", table.types[places[name]], name)} as "{name}"'
        if name in places
        else f'null::varchar as "{name}"'
        for name in wanted
    )
    with readable(table.path), _whole(table.path):
        result = connection.execute(
            f"create or replace temp table {PART} as select {cells} from {_scan(table.path)} as given({given})",
        ).fetchone()
    return Written(int(result[0]) if result else 0, table.names)


def _scan(path: Path) -> str:
    return f"read_parquet({file_argument(path)}, hive_partitioning = false, binary_as_string = true)"


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Say that the file is not a whole Parquet file where DuckDB cannot read it, unless it cannot be opened at all."""
    path.open("rb").close()
    try:
        yield
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error as error:
        path.open("rb").close()
        reason = shown(str(error).partition("\n")[0].replace(str(path.absolute()), path.name), 200)
        raise fault(path, f"is not a whole Parquet file ({reason})") from error


def _text(cell: str, type_name: str, column: str) -> str:
    """Return the expression of a typed cell as text."""
    if type_name in ("DOUBLE", "FLOAT"):
        return _number(cell)
    if type_name.startswith("TIMESTAMP"):
        text = f"{cell}::varchar"
        if type_name == "TIMESTAMP WITH TIME ZONE":
            text = f"if(isinf({cell}), 'infinity', make_timestamp(epoch_us({cell}))::varchar || '+00:00')"
        if column in DATES:
            # Many tools know no date but midnight.
            text = f"regexp_replace({text}, ' 00:00:00([+]00:00)?$', '')"
        return f"replace({text}, ' ', 'T')"
    if type_name.endswith("]") or type_name.startswith(("STRUCT", "MAP", "UNION")):
        return f"to_json({cell})::varchar"
    return f"{cell}::varchar"


def _number(cell: str) -> str:
    """Return the shortest decimal text of a float. Only very large and very small ones are printed with an exponent."""
    text = f"{cell}::varchar"
    digits = f"replace(regexp_extract({text}, '^-?([0-9.]+)e', 1), '.', '')"
    exponent = f"regexp_extract({text}, 'e(.+)$', 1)::integer"
    expanded = (
        f"case when {exponent} < 0 then '0.' || repeat('0', -1 - {exponent}) || {digits} "
        f"else rpad({digits}, {exponent} + 1, '0') end"
    )
    finite = f"if(contains({text}, 'e'), if({cell} < 0, '-', '') || {expanded}, {text})"
    return f"case when isnan({cell}) then 'nan' when isinf({cell}) then {text} else {finite} end"
