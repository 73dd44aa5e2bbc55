"""Files become temp tables cell for cell, and a file that cannot be read whole says where and why."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abr import formats
from abr.exceptions import DataIntegrityError, UsageError
from abr.formats import COLUMNS, FORMATS, REQUIRED, Reading, ToolFormat, csv_files, read
from abr.formats.tools import trimmed

TOGGL_HEADER = (
    "User,Email,Client,Project,Task,Description,Billable,Start date,Start time,End date,End time,Duration,Tags,"
    "Amount (EUR)"
)
TOGGL_ROW = (
    "Ada,ada@example.org,Acme,Website,Design,Sketches,Yes,2025-03-03,09:00:00,2025-03-03,10:30:00,01:30:00,blue,"
)
TOGGL_SAMPLE = Path(__file__).parents[2] / "shared/data/toggl-sample.csv"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def rows_of(connection: duckdb.DuckDBPyConnection, reading: Reading) -> dict[str, list[dict[str, str]]]:
    """Return the cells that are not blank, by data set and row."""
    found = {}
    for incoming in reading.incoming:
        result = connection.execute(f"select * from {incoming.relation}")
        names = [column[0] for column in result.description]
        assert names == list(COLUMNS[incoming.dataset])
        assert {str(column[1]) for column in result.description} <= {"STRING", "VARCHAR"}
        rows = result.fetchall()
        assert len(rows) == incoming.rows
        found[incoming.dataset] = [
            {name: cell for name, cell in zip(names, row, strict=True) if cell not in (None, "")} for row in rows
        ]
    return found


def write_csv(path: Path, rows: Iterable[Sequence[str]], **options: object) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **options).writerows(rows)  # type: ignore[arg-type]
    return path


def rows_in(connection: duckdb.DuckDBPyConnection, path: Path, dataset: str = "time_logs") -> list[dict[str, str]]:
    return rows_of(connection, read(connection, [path]))[dataset]


# --- Canonical files ---


def test_a_csv_file_is_read_by_column_name_in_any_order_and_case(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    path = tmp_path / "projects.csv"
    path.write_text("\ufeff Name ,CONTRACT_ID,project_id\n Web  ,C-1,P-1\n,C-2,P-2\n", encoding="utf-8")
    reading = read(connection, [path])
    assert reading.format == "canonical"
    assert reading.covers is None
    assert rows_of(connection, reading)["projects"] == [
        {"project_id": "P-1", "contract_id": "C-1", "name": " Web  "},
        {"project_id": "P-2", "contract_id": "C-2"},
    ]


def test_unknown_columns_are_ignored_and_named(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "projects.csv"
    path.write_text("project_id,Colour,contract_id,,\nP-1,red,C-1,,\n")
    (incoming,) = read(connection, [path]).incoming
    assert incoming.ignored_columns == ("Colour", "(no name)")
    assert incoming.files == (str(path),)
    assert incoming.rows == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_semicolons_and_tabs_are_accepted_where_the_header_asks_for_them(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    delimiter: str,
) -> None:
    path = write_csv(
        tmp_path / "rates.csv",
        [["contract_id", "hourly_rate", "valid_from"], ["C;1,\t", "1,5", "2025-01-01"]],
        delimiter=delimiter,
    )
    assert rows_in(connection, path, "rates") == [
        {"contract_id": "C;1,\t", "hourly_rate": "1,5", "valid_from": "2025-01-01"},
    ]


@pytest.mark.parametrize("dataset", COLUMNS)
def test_a_file_of_another_name_is_known_by_its_columns(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    dataset: str,
) -> None:
    for columns in (REQUIRED[dataset], COLUMNS[dataset]):
        path = write_csv(tmp_path / "export.csv", [columns, ["x"] * len(columns)])
        (incoming,) = read(connection, [path]).incoming
        assert (incoming.dataset, incoming.rows) == (dataset, 1)


def test_a_folder_is_all_its_files_named_for_data_sets_and_no_other(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    (tmp_path / "time_logs.csv").write_text("time_log_id\nL-1\n")
    (tmp_path / "time_logs.jsonl").write_text('{"time_log_id": "L-2"}\n')
    (tmp_path / "time_logs-2025-02.CSV").write_text("note,time_log_id\nn,L-3\n")
    (tmp_path / "Projects.2025.csv").write_text("project_id,contract_id\nP-1,C-1\n")
    connection.execute(f"copy (select 4 as time_log_id) to '{tmp_path / 'time_logs.parquet'}'")
    for other in ("time_logs_backup.csv", "notes.csv", "time_logs.txt", "invoice.csv", "README"):
        (tmp_path / other).write_text("not to be read")
    reading = read(connection, [tmp_path, tmp_path / "time_logs.csv"])
    rows = rows_of(connection, reading)
    assert list(rows) == ["projects", "time_logs"]
    assert sorted(row["time_log_id"] for row in rows["time_logs"]) == ["4", "L-1", "L-2", "L-3"]
    assert len(reading.incoming[1].files) == 4


def test_a_header_without_rows_is_a_data_set_without_rows(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    for header in ("time_log_id,note", "time_log_id,note\n", "time_log_id,note\r\n\r\n"):
        (tmp_path / "time_logs.csv").write_text(header)
        assert rows_in(connection, tmp_path / "time_logs.csv") == []
    (tmp_path / "time_logs.jsonl").write_text("")
    assert rows_in(connection, tmp_path / "time_logs.jsonl") == []


def test_reading_again_replaces_what_was_read(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "time_logs.csv"
    for expected in ("L-1", "L-2"):
        path.write_text(f"time_log_id\n{expected}\n")
        assert rows_in(connection, path) == [{"time_log_id": expected}]
    assert connection.execute("select table_name from duckdb_tables()").fetchall() == [("incoming_time_logs",)]


@pytest.mark.parametrize("name", ["it's [1]*?.csv", "a=1.csv", "time_logs-ü 🚀.csv", "time_logs.gz.csv"])
def test_a_path_is_never_taken_for_a_pattern_or_a_command(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    name: str,
) -> None:
    folder = tmp_path / "client=Acme's [x]"
    folder.mkdir()
    (folder / name).write_text("time_log_id\nL-1\n")
    assert rows_in(connection, folder / name) == [{"time_log_id": "L-1"}]
    parquet = (folder / name).with_suffix(".parquet")
    connection.execute("create table p as select 'L-1' as time_log_id")
    connection.execute("copy p to '" + str(parquet).replace("'", "''") + "'")
    assert rows_in(connection, parquet) == [{"time_log_id": "L-1"}]


def test_lines_may_end_now_in_one_way_now_in_another(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "time_logs.csv"
    path.write_bytes(b'time_log_id,note\r\nL-1,a\nL-2,"b\nc"\r\n\r\nL-3,\xc3\xa9')
    assert rows_in(connection, path) == [
        {"time_log_id": "L-1", "note": "a"},
        {"time_log_id": "L-2", "note": "b\nc"},
        {"time_log_id": "L-3", "note": "é"},
    ]
    path.write_bytes(b"time_log_id,note\r\nL-1,a\nL-2\r\n")
    with pytest.raises(DataIntegrityError, match="line 3 has 1 cell where the header has 2"):
        read(connection, [path])
    path.write_bytes(b"time_log_id,note\r\nL-1,a\nL-2,\xff\r\n")
    with pytest.raises(DataIntegrityError, match="line 3 is not UTF-8"):
        read(connection, [path])


@pytest.mark.parametrize("cell", ["NULL", "null", r"\N", "#1", "=1+1", "NaN", "1e400", "\x1b[31m", "a\0b", "  "])
def test_no_cell_means_anything_to_the_reader(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    cell: str,
) -> None:
    path = write_csv(tmp_path / "time_logs.csv", [["time_log_id", "note"], [cell, cell]])
    assert rows_in(connection, path) == [{"time_log_id": cell, "note": cell}]


@pytest.mark.parametrize("megabytes", [10, 40])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_very_large_cell_is_read(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    megabytes: int,
    suffix: str,
) -> None:
    note = "a,\"\n" * (megabytes * 250_000)
    path = tmp_path / f"time_logs.{suffix}"
    written_as(suffix, path, ("time_log_id", "note"), [("L-1", note), ("L-2", "b")])
    read(connection, [path])
    found = connection.execute("select note from incoming_time_logs order by time_log_id").fetchall()
    assert found == [(note,), ("b",)]


# --- Cell for cell ---


def written_as(suffix: str, path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    match suffix:
        case "csv":
            write_csv(path, [columns, *rows])
        case "jsonl":
            lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        case _:
            table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})  # noqa: F841
            with duckdb.connect() as writer:
                writer.execute(f"copy (select * from table) to '{path}' (format parquet)".replace("from table", "from 'x'"))


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
AWKWARD_TEXT = st.text(st.sampled_from([",", '"', "\n", "\r", " ", "a", "é", "\0", "\x1b", "🚀", ";", "\t"]), max_size=8)
