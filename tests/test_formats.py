"""Files become temp tables cell for cell, and a file that cannot be read whole says where and why."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

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
    assert reading.spans == ()
    assert rows_of(connection, reading)["projects"] == [
        {"project_id": "P-1", "contract_id": "C-1", "name": " Web  "},
        {"project_id": "P-2", "contract_id": "C-2"},
    ]


def test_unknown_columns_are_ignored_and_named(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "projects.csv"
    path.write_text("project_id,Colour,contract_id,,\nP-1,red,C-1,,\n")
    (incoming,) = read(connection, [path]).incoming
    assert incoming.ignored_columns == ("Colour", "(no name)")


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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_names_in_a_header_may_be_quoted_whatever_the_delimiter(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, delimiter: str
) -> None:
    path = tmp_path / "rates.csv"
    lines = [["contract_id", "hourly_rate", "valid_from"], ["C-1", "1.5", "2025-01-01"]]
    path.write_text("".join(delimiter.join(f'"{cell}"' for cell in line) + "\n" for line in lines), "utf-8")
    assert rows_in(connection, path, "rates") == [
        {"contract_id": "C-1", "hourly_rate": "1.5", "valid_from": "2025-01-01"}
    ]


@pytest.mark.parametrize("dataset", COLUMNS)
def test_a_file_of_another_name_is_known_by_its_columns(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    dataset: str,
) -> None:
    for columns in (REQUIRED[dataset], COLUMNS[dataset]):
        path = write_csv(tmp_path / "export.csv", [columns, ["x"] * len(columns)])
        assert {name: len(rows) for name, rows in rows_of(connection, read(connection, [path])).items()} == {dataset: 1}


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
    columnar = (folder / name).with_suffix(".parquet")
    written_as("parquet", columnar, ("time_log_id",), [("L-1",)])
    assert rows_in(connection, columnar) == [{"time_log_id": "L-1"}]


def test_lines_may_end_now_in_one_way_now_in_another(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "time_logs.csv"
    path.write_bytes(b'time_log_id,note\r\nL-1,a\nL-2,"b\nc"\r\n\r\nL-3,\xc3\xa9')
    assert rows_in(connection, path) == [
        {"time_log_id": "L-1", "note": "a"},
        {"time_log_id": "L-2", "note": "b\nc"},
        {"time_log_id": "L-3", "note": "é"},
    ]
    path.write_bytes(b'time_log_id,note\r\nL-1,a\r\nL-2,"b"\n')
    assert len(rows_in(connection, path)) == 2
    connection.execute("begin")
    with pytest.raises(DataIntegrityError, match="ends its lines now in one way, now in another"):
        read(connection, [path])
    connection.execute("rollback")
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
    note = 'a,"\n' * (megabytes * 250_000)
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
            path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        case _:
            cells = [pa.array([row[place] for row in rows], pa.string()) for place in range(len(columns))]
            parquet.write_table(pa.Table.from_arrays(cells, names=list(columns)), path)


AWKWARD = [",", '"', "\n", "\r", "\r\n", " ", "a", "é", "\0", "\x1b", "\u2028", "🚀", ";", "\t", "\\", "'", "{", "["]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.lists(st.sampled_from(AWKWARD), max_size=8).map("".join),
    st.sampled_from(["NULL", "1e400", "-0.0", "2026-02-30", "=1+1", "true"]),
)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), dataset=st.sampled_from(list(COLUMNS)), suffix=st.sampled_from(["csv", "jsonl", "parquet"]))
def test_every_cell_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dataset: str,
    suffix: str,
) -> None:
    columns = data.draw(st.permutations(COLUMNS[dataset]))
    rows = data.draw(st.lists(st.tuples(*[TEXTS] * len(columns)), max_size=5))
    path = tmp_path_factory.mktemp("cells") / f"{dataset}.{suffix}"
    written_as(suffix, path, columns, rows)
    # What is blank in every cell is a blank line to a CSV reader's eye, but not to ours: it has commas.
    expected = [{name: cell for name, cell in zip(columns, row, strict=True) if cell} for row in rows]
    with duckdb.connect() as connection:
        assert rows_in(connection, path, dataset) == expected


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=12),
    times=st.integers(100, 600),
    seed=st.integers(0, 99),
    piece_bytes=st.sampled_from([2_100, 5_100, 70_000, 32_000_000]),
    style=st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n")]),
)
def test_rows_survive_being_read_in_pieces(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[str, str, str]],
    times: int,
    seed: int,
    piece_bytes: int,
    style: tuple[int, str],
) -> None:
    many = rows * times
    random.Random(seed).shuffle(many)
    path = tmp_path / "time_logs.csv"
    columns = ("time_log_id", "task", "note")
    write_csv(path, [columns, *many], quoting=style[0], lineterminator=style[1])
    monkeypatch.setattr(csv_files, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(csv_files, "LINE_BYTES_MAX", piece_bytes * 2 // 5)
    expected = [{name: cell for name, cell in zip(columns, row, strict=True) if cell} for row in many]
    with duckdb.connect() as connection:
        assert rows_in(connection, path) == expected


@pytest.mark.parametrize("note", ["plain", 'two\nlines, "quoted"\n1,2'])
def test_a_file_of_several_pieces_keeps_its_rows_and_their_order(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    note: str,
) -> None:
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 4_000_000)
    monkeypatch.setattr(csv_files, "LINE_BYTES_MAX", 2_000_000)
    rows = [(f"L-{number}", note * (number % 5)) for number in range(600_000 if note == "plain" else 200_000)]
    path = write_csv(tmp_path / "time_logs.csv", [("time_log_id", "note"), *rows])
    assert path.stat().st_size > csv_files.PIECE_BYTES * 2
    read(connection, [path])
    found = connection.execute("select time_log_id, coalesce(note, '') from incoming_time_logs").fetchall()
    assert found == rows


def test_a_large_file_is_read_whole_within_a_transaction_too(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 2_100)
    monkeypatch.setattr(csv_files, "LINE_BYTES_MAX", 1_000)
    rows = [("L-1", 'x\n1,"\n' * (number % 90)) for number in range(2_000)]
    path = write_csv(tmp_path / "time_logs.csv", [("time_log_id", "note"), *rows])
    connection.execute("begin")
    connection.execute("create table kept as select 1")
    read(connection, [path])
    connection.execute("commit")
    assert connection.execute("select time_log_id, coalesce(note, '') from incoming_time_logs").fetchall() == rows


# --- JSONL and Parquet ---


def test_json_values_stay_as_they_were_written(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "time_logs.jsonl"
    path.write_text(
        '\ufeff{"time_log_id": 7, "hours": 1.10, "minutes": 12345678901234567890.12, "seconds": 1e400}\r\n'
        "\n"
        '{"Note ": {"a": [1.50, "ü\\n", null, true]}, "time_log_id": "L-2", "is_billable": true, "is_approved": false}'
        "\n"
        '{"time_log_id": "\\ud83d\\ude80\\u0000", "role": null, "task": "", "hours": -0, "minutes": NaN, "other": 1}\n'
        '{"time_log_id": "\\ud83d", "note": ["\\udc00", 1.0], "\\ud83d": 1}\n'
        '{"time_log_id": ' + "9" * 5_000 + "}",
        encoding="utf-8",
    )
    reading = read(connection, [path])
    assert reading.incoming[0].ignored_columns == ("other", r"\ud83d")
    assert rows_of(connection, reading)["time_logs"] == [
        {"time_log_id": "7", "hours": "1.10", "minutes": "12345678901234567890.12", "seconds": "1e400"},
        {
            "note": '{"a":[1.50,"ü\\n",null,true]}',
            "time_log_id": "L-2",
            "is_billable": "true",
            "is_approved": "false",
        },
        {"time_log_id": "🚀\0", "hours": "-0", "minutes": "NaN"},
        {"time_log_id": r"\ud83d", "note": r'["\udc00",1.0]'},
        {"time_log_id": "9" * 5_000},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"time_log_id": "L-2"', "line 2 is not one whole JSON object"),
        ('{"time_log_id": "L-2', "line 2 is not one whole JSON object"),
        ('{"time_log_id": 1} {"time_log_id": 2}', "line 2 is not one whole JSON object"),
        ("time_log_id", "line 2 is not one whole JSON object"),
        ('["L-2"]', "line 2 is an array"),
        ("17", "line 2 is not a JSON object"),
        ("null", "line 2 is not a JSON object"),
        ('{"time_log_id": 1, "Time_Log_ID ": 2}', "line 2 has 'Time_Log_ID ' twice"),
        ('{"time_log_id": 1, "x": 1, "x": 2}', "line 2 has 'x' twice"),
        ('{"time_log_id": ' + "[" * 100_000, "line 2 is nested too deeply"),
        ('{"time_log_id": ' + "[" * 700 + "]" * 700 + "}", "line 2 is nested too deeply"),
        ('{"time_log_id": ' + '{"a":' * 700 + "1" + "}" * 701, "line 2 is nested too deeply"),
        ('{"time_log_id": 012}', "line 2 is not one whole JSON object"),
    ],
)
@pytest.mark.parametrize("lines_before", [1, 2_000])
def test_a_broken_line_of_json_is_named(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    line: str,
    message: str,
    lines_before: int,
) -> None:
    path = tmp_path / "time_logs.jsonl"
    path.write_text('{"time_log_id": "L-1"}\n' * lines_before + line)
    refuses(connection, path, message.replace("line 2", f"line {lines_before + 1}"))


def test_parquet_cells_become_the_text_a_person_would_write(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    moment = dt.datetime(2025, 1, 2, 3, 4, 5, 600_000, tzinfo=dt.UTC)
    cells = {
        "time_log_id": pa.array([2**64 - 1, 1], pa.uint64()),
        "project_id": pa.array(["a", None]).dictionary_encode(),
        "worked_on": pa.array([dt.datetime(2025, 1, 2), dt.datetime(2025, 1, 2, 3)], pa.timestamp("ns")),
        "entered_at": pa.array([moment, None], pa.timestamp("us", "Europe/Vienna")),
        "hours": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(38, 2)),
        "minutes": pa.array([1e20, float("nan")], pa.float64()),
        "seconds": pa.array([0.1, -1e-7], pa.float32()),
        "is_billable": pa.array([True, False]),
        "note": pa.array([{"a": [1]}, None], pa.struct({"a": pa.list_(pa.int8())})),
        "task": pa.array([b"bytes", None], pa.binary()),
        "role": pa.array([dt.date(2025, 1, 2), None]),
        "Person ": pa.array([dt.datetime(2025, 1, 2), None], pa.timestamp("s")),
        "more": pa.nulls(2),
    }
    path = tmp_path / "time_logs.parquet"
    parquet.write_table(pa.table(cells), path)
    reading = read(connection, [path])
    assert reading.incoming[0].ignored_columns == ("more",)
    assert rows_of(connection, reading)["time_logs"] == [
        {
            "time_log_id": "18446744073709551615",
            "project_id": "a",
            "worked_on": "2025-01-02",
            "entered_at": "2025-01-02T03:04:05.6+00:00",
            "hours": "1.10",
            "minutes": "100000000000000000000",
            "seconds": "0.1",
            "is_billable": "true",
            "note": '{"a":[1]}',
            "task": "bytes",
            "role": "2025-01-02",
            "person": "2025-01-02T00:00:00",
        },
        {
            "time_log_id": "1",
            "worked_on": "2025-01-02T03:00:00",
            "minutes": "nan",
            "seconds": "-0.0000001",
            "is_billable": "false",
        },
    ]


@settings(deadline=None, max_examples=60)
@given(numbers=st.lists(st.floats(width=64), min_size=1), singles=st.lists(st.floats(width=32), min_size=1))
def test_a_float_is_its_shortest_decimal_text_without_an_exponent(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[float],
    singles: list[float],
) -> None:
    path = tmp_path_factory.mktemp("floats") / "time_logs.parquet"
    for values, kind in ((numbers, pa.float64()), (singles, pa.float32())):
        ids = pa.array(range(len(values)))
        parquet.write_table(pa.table({"time_log_id": ids, "hours": pa.array(values, kind)}), path)
        with duckdb.connect() as connection:
            texts = [row["hours"] for row in rows_in(connection, path)]
        for value, text in zip(values, texts, strict=True):
            assert "e" not in text.casefold()
            again = pa.scalar(float(text), kind).as_py()
            assert again == value or (value != value and text == "nan")  # noqa: PLR0124  NaN
            if kind == pa.float64() and abs(value) < float("inf"):
                assert decimal.Decimal(text) == decimal.Decimal(repr(value))


# --- Files that cannot be read whole ---


def refuses(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    *messages: str,
    error: type[DataIntegrityError | UsageError] = DataIntegrityError,
    as_: str = "auto",
) -> None:
    with pytest.raises(error) as caught:
        read(connection, [path], as_=as_)
    assert [message for message in (*messages, path.name) if message not in caught.value.message] == []
    assert caught.value.remedy
    assert caught.value.message.isprintable()
    assert connection.execute("select table_name from duckdb_tables() where table_name like '%part'").fetchall() == []


def test_what_cannot_be_asked_for_is_a_usage_error(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    refuses(connection, tmp_path / "none.csv", "does not exist", error=UsageError)
    (tmp_path / "time_logs.csv").write_text("time_log_id\nL-1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    refuses(connection, tmp_path / "link.csv", "does not exist", error=UsageError)
    with pytest.raises(UsageError, match="no format 'harvest'"):
        read(connection, [tmp_path], as_="harvest")
    with pytest.raises(UsageError, match="nothing to load"):
        read(connection, [])
    (tmp_path / "export.csv").write_text(f"{TOGGL_HEADER}\n{TOGGL_ROW}\n")
    with pytest.raises(UsageError, match="several formats: canonical, toggl"):
        read(connection, [tmp_path / "time_logs.csv", tmp_path / "export.csv"])


def test_a_folder_without_data_sets_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    refuses(connection, tmp_path, "holds no data set")
    (tmp_path / "time_logs.xlsx").write_text("")
    (tmp_path / "notes.csv").write_text("a,b\n")
    refuses(connection, tmp_path, "holds no data set")


def test_what_is_not_a_file_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "time_logs.csv").mkdir()
    with pytest.raises(DataIntegrityError, match=r"time_logs\.csv: is a folder"):
        read(connection, [tmp_path])
    (tmp_path / "time_logs.csv").rmdir()
    os.mkfifo(tmp_path / "time_logs.csv")  # no reader would ever come back from it
    refuses(connection, tmp_path / "time_logs.csv", "is not a regular file")
    (tmp_path / "time_logs.csv").unlink()
    path = tmp_path / os.fsdecode(b"time_logs-\xff.csv")
    path.write_text("time_log_id\n")
    with pytest.raises(DataIntegrityError, match="has a name that is not UTF-8"):
        read(connection, [path])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_that_may_not_be_read_or_vanishes_is_named(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    path = tmp_path / f"time_logs.{suffix}"
    written_as(suffix, path, ("time_log_id",), [("L-1",)])

    def opened_by_nobody(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened_by_nobody)
        refuses(connection, path, "cannot be read (permission denied)")

    check = formats._check_names  # called between looking at the file and reading it

    def vanishing(table: object) -> None:
        path.unlink()
        check(table)  # type: ignore[arg-type]

    monkeypatch.setattr(formats, "_check_names", vanishing)
    refuses(connection, path, "has vanished")


CUTS: dict[str, tuple[str, str]] = {
    "in a quoted cell": ('L-2,"design, sket', "a cell's quote is not closed"),
    "in a quoted cell that would end the row": ('L-2,design,"sketches', "a cell's quote is not closed"),
    "in a quoted cell with more lines": ('L-2,design,"sketches\nL-3,a,b\nL-4,a,b\n', "a cell's quote is not closed"),
    "between cells": ("L-2,design", "has 2 cells where the header has 3"),
    "in the first cell": ("L-", "has 1 cell where the header has 3"),
    "by a cell too many": ("L-2,design,x,y\nL-3,a,b\n", "has 4 cells where the header has 3"),
    "by text after a quote": ('L-2,"design" x,y\n', "a cell's quote is not closed"),
}


@pytest.mark.parametrize("row_count", [0, 3, 100_000])
@pytest.mark.parametrize("row", ["L-1,task,note", 'L-1,"task, one","no\nte"'])
@pytest.mark.parametrize("cut", CUTS)
def test_a_damaged_row_is_refused_with_its_line(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    cut: str,
    row: str,
    row_count: int,
) -> None:
    tail, message = CUTS[cut]
    whole = "time_log_id,task,note\n" + f"{row}\n" * row_count
    path = tmp_path / "time_logs.csv"
    path.write_text(whole + tail)
    refuses(connection, path, f"line {whole.count(chr(10)) + 1}", message)


def test_wherever_a_file_is_cut_no_row_is_lost_in_silence(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    rows = [("L-1", "a, b", 'say "hi"'), ("L-2", "", "two\nlines"), ("L-3", "ü", "plain"), ("L-4", "🚀", "")]
    path = write_csv(tmp_path / "time_logs.csv", [("time_log_id", "task", "note"), *rows], quoting=csv.QUOTE_NONNUMERIC)
    whole = path.read_bytes()
    for suffix, start in (("csv", whole.index(b"\n") + 1), ("jsonl", 0)):
        if suffix == "jsonl":
            path = tmp_path / "time_logs.jsonl"
            written_as(suffix, path, ("time_log_id", "task", "note"), rows)
            whole = path.read_bytes()
        for length in range(start, len(whole)):
            path.write_bytes(whole[:length])
            try:
                read(connection, [path])
            except DataIntegrityError:
                continue
            found = connection.execute("select time_log_id, task, note from incoming_time_logs").fetchall()
            # Only a cut between rows, or in a last cell right where a doubled quote looks like its end, goes unseen.
            kept = [tuple(cell or "" for cell in row) for row in found]
            assert kept[:-1] == rows[: len(kept)][:-1]
            assert not kept or (
                kept[-1][:2] == rows[len(kept) - 1][:2] and rows[len(kept) - 1][2].startswith(kept[-1][2])
            )
            assert whole[:length].count(b"L-") == len(kept)


def test_a_large_file_cut_in_its_last_cell_is_refused(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 4_000_000)
    monkeypatch.setattr(csv_files, "LINE_BYTES_MAX", 2_000_000)
    path = tmp_path / "time_logs.csv"
    for row in ('L-1,"task, one",a note of some length\n', 'L-1,"task, one","a note\nof some length"\n'):
        row_count = csv_files.PIECE_BYTES * 2 // len(row)
        path.write_text("time_log_id,task,note\n" + row * row_count + 'L-2,task,"no')
        refuses(connection, path, f"line {row_count * row.count(chr(10)) + 2}: a cell's quote is not closed")


@pytest.mark.parametrize("row_count", [0, 100_000])
def test_text_that_is_not_utf8_is_refused_with_its_line(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    row_count: int,
) -> None:
    path = tmp_path / "time_logs.csv"
    text = "time_log_id,note\n" + 'L-1,"a\nb"\n' * row_count + "L-2,Büro\n"
    path.write_bytes(text.encode("latin-1"))
    refuses(connection, path, f"line {2 * row_count + 2} is not UTF-8")
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes(text.encode(encoding))
        refuses(connection, path, "UTF-16")
    path.with_suffix(".jsonl").write_bytes(
        ('{"time_log_id": 1}\n' * row_count + '{"time_log_id": "ü"}').encode("latin-1")
    )
    refuses(connection, path.with_suffix(".jsonl"), f"line {row_count + 1} is not UTF-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n", "its first line is blank"),
        ("\ufeff", "its first line is blank"),
        ("\ntime_log_id\nL-1\n", "its first line is blank"),
        ("L-1,P-1,Ada\nL-2,P-1,Ada\n", "has no header, or lacks the column time_log_id"),
        ("project_id,note\nP-1,x\n", "lacks the column time_log_id that time_logs must have; found: project_id, note"),
        ("time_log_id,note,Note \nL-1,a,b\n", "two columns named 'Note'"),
        ('time_log_id,"note\nL-1,a\n', "the header has a quote that is not closed"),
        ("a\x1b[31m,b\n1,2\n", "found: a\\x1b[31m, b"),
        ("PK\x03\x04\x00\x00\n", "is an Excel workbook or a zip archive"),
        ("\x00\x01\n", "is no text at all"),
    ],
)
def test_a_file_without_the_header_it_needs_is_refused(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    text: str,
    message: str,
) -> None:
    path = tmp_path / "time_logs.csv"
    path.write_text(text, encoding="utf-8")
    refuses(connection, path, message)


@pytest.mark.parametrize("second", ["hours", "HOURS", " hours "])
def test_a_parquet_file_with_two_columns_of_one_name_is_refused(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, second: str
) -> None:
    nested = pa.array([{"a": [1], "b": {"c": 2}}])
    table = pa.Table.from_arrays([pa.array(["L-1"]), nested, *[pa.array([1])] * 3],
                                 ["time_log_id", "nested", "hours", "note", second])  # fmt: skip
    parquet.write_table(table, tmp_path / "time_logs.parquet")
    refuses(connection, tmp_path / "time_logs.parquet", f"two columns named {second.strip()!r}")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("dataset", "column"), [(dataset, name) for dataset in REQUIRED for name in REQUIRED[dataset]])
def test_a_required_column_that_is_lacking_is_named(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    dataset: str,
    column: str,
    suffix: str,
) -> None:
    columns = [name for name in COLUMNS[dataset] if name != column]
    path = tmp_path / f"{dataset}.{suffix}"
    written_as(suffix, path, columns, [["x"] * len(columns)])
    refuses(connection, path, f"lacks the column {column} that {dataset} must have; found: {columns[0]}, ")


def test_a_file_nobody_knows_is_refused_with_what_it_comes_nearest_to(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    path = tmp_path / "export.csv"
    path.write_text("1,2\n3,4\n")
    refuses(connection, path, "has no header ABR knows; its first line reads: 1, 2")
    path.write_text("User,Project,Client,Description,Duration\na,b,c,d,e\n")
    refuses(connection, path, "lacks the column start date that Toggl Track's detailed CSV export must have")
    path.write_text("line_no,invoice_id,hours\n1,2,3\n")
    refuses(connection, path, "lacks the column net_amount that invoice_lines must have")


@pytest.mark.parametrize("keep", [0, 4, 100, -1, -9])
def test_a_damaged_parquet_file_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "time_logs.parquet"
    written_as("parquet", path, ("time_log_id", "note"), [(f"L-{number}", "x" * number) for number in range(500)])
    path.write_bytes(path.read_bytes()[:keep])
    refuses(connection, path, "is not a whole Parquet file")
    path.write_text("time_log_id\nL-1\n")
    refuses(connection, path, "is not a whole Parquet file")


def test_parquet_pages_that_do_not_unpack_are_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "time_logs.parquet"
    written_as("parquet", path, ("time_log_id",), [(f"L-{number}",) for number in range(5_000)])
    whole = bytearray(path.read_bytes())
    whole[60:2_000] = b"\xff" * 1_940
    path.write_bytes(whole)
    refuses(connection, path, "is not a whole Parquet file")


def test_an_interrupted_read_stays_an_interruption(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_csv(tmp_path / "time_logs.csv", [("time_log_id",), ("L-1",)])

    def interrupted(*_: object) -> int:
        raise duckdb.InterruptException("Interrupted!")

    monkeypatch.setattr(csv_files, "_write", interrupted)
    for piece_bytes in (1, 1_000):
        monkeypatch.setattr(csv_files, "PIECE_BYTES", piece_bytes)
        with pytest.raises(duckdb.InterruptException):
            read(connection, [path])


# --- Toggl ---


def toggl(path: Path, rows: Iterable[dict[str, str]], columns: Sequence[str] = TOGGL_HEADER.split(",")) -> Path:
    usual = dict(zip(TOGGL_HEADER.split(","), TOGGL_ROW.split(","), strict=True))
    cells = [[{**usual, **row}[name] for name in columns] for row in rows]
    write_csv(path, [columns, *cells])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    return path


def by_id(connection: duckdb.DuckDBPyConnection, *paths: Path) -> dict[str, dict[str, str]]:
    rows = rows_of(connection, read(connection, paths))["time_logs"]
    return {row["time_log_id"]: row for row in rows}


def test_a_toggl_export_becomes_time_logs(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = toggl(tmp_path / "Toggl_Track_detailed.csv", [{}, {"Email": " ", "Billable": "No", "Duration": "25:30:00"}])
    reading = read(connection, [path])
    assert reading.format == "toggl"
    assert reading.spans == ((dt.date(2025, 3, 3), dt.date(2025, 3, 3)),)
    assert reading.incoming[0].ignored_columns == ()
    first, second = sorted(rows_of(connection, reading)["time_logs"], key=lambda row: row["person"], reverse=True)
    assert first.pop("time_log_id") != second.pop("time_log_id")
    assert first == {
        "project_id": "Website",
        "person": "ada@example.org",
        "task": "Design",
        "worked_on": "2025-03-03",
        "duration": "01:30:00",
        "is_billable": "Yes",
        "note": "Sketches",
    }
    assert second == {**first, "person": "Ada", "is_billable": "No", "duration": "25:30:00"}


def test_toggl_ids_do_not_change_between_versions_of_this_program(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    assert list(by_id(connection, toggl(tmp_path / "export.csv", [{}]))) == ["89bcff3a110a938bae91-1"]


def test_columns_may_be_missing_and_in_any_order(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = toggl(tmp_path / "a.csv", [{}], ["Duration", "Project", "Start date", "User"])
    reading = read(connection, [path])
    (row,) = rows_of(connection, reading)["time_logs"]
    del row["time_log_id"]
    assert row == {"project_id": "Website", "person": "Ada", "worked_on": "2025-03-03", "duration": "01:30:00"}
    usual = by_id(connection, toggl(tmp_path / "b.csv", [{}]))
    assert by_id(connection, toggl(tmp_path / "c.csv", [{}], sorted(TOGGL_HEADER.split(",")))) == usual


def test_true_twins_survive_and_the_order_of_rows_does_not_count(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    rows = [{}, {"Duration": "02:00:00"}, {}, {"Billable": "No"}, {"Tags": "red"}, {"Description": "Other"}]
    once = by_id(connection, toggl(tmp_path / "once.csv", rows))
    assert len(once) == 6
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert by_id(connection, toggl(tmp_path / "again.csv", rows)) == once
    # An entry that came or went leaves the others' ids alone.
    fewer = by_id(connection, toggl(tmp_path / "fewer.csv", [row for row in rows if "Duration" not in row]))
    assert set(fewer) < set(once)


@pytest.mark.parametrize("column", ["Email", "Start date", "Start time", "Duration", "Project", "Task", "Description"])
def test_an_entry_is_another_one_when_what_it_is_known_by_changes(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    column: str,
) -> None:
    (before,) = by_id(connection, toggl(tmp_path / "before.csv", [{}]))
    (after,) = by_id(connection, toggl(tmp_path / "after.csv", [{column: "2025-03-04"}]))
    assert before != after
    for column_beside in ("User", "Client", "Billable", "End date", "End time", "Tags", "Amount (EUR)"):
        assert list(by_id(connection, toggl(tmp_path / "beside.csv", [{column_beside: "x"}]))) == [before]


def test_cells_do_not_run_into_one_another_in_a_toggl_id(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    rows = [{"Task": "a", "Description": "b"}, {"Task": "ab", "Description": ""}, {"Task": 'a","b', "Description": ""}]
    rows += [{"Task": "a\0", "Description": "b"}, {"Task": "a\0b", "Description": ""}]
    found = by_id(connection, toggl(tmp_path / "export.csv", rows))
    assert {entry.partition("-")[2] for entry in found} == {"1"}
    assert len(found) == 5


def test_clients_who_share_a_project_name_are_told_apart(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    rows = [
        {"Client": "Acme"},
        {"Client": " Globex ", "Project": "Website "},
        {"Client": ""},
        {"Client": "Acme", "Project": "App"},
        {"Client": " Acme", "Project": "App", "Task": "x"},
        {"Client": "Acme", "Project": ""},
        {"Client": "Globex", "Project": ""},
    ]
    found = by_id(connection, toggl(tmp_path / "export.csv", rows)).values()
    assert sorted(row.get("project_id", "") for row in found) == [
        "",
        "",
        "Acme / Website",
        "App",
        "App",
        "Globex / Website",
        "Website",
    ]


def test_a_project_the_books_know_by_its_client_is_that_whatever_else_the_export_holds(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    known = "select unnest(['Website', 'Globex / Website', 'Acme / App'])"
    both = [{"Client": "Acme"}, {"Client": "Globex"}]
    globex = {"Client": " Globex", "Start time": "13:00:00"}

    def projects(rows: list[dict[str, str]]) -> list[str]:
        reading = read(connection, [toggl(tmp_path / "export.csv", rows)], known_projects=known)
        return sorted(row["project_id"] for row in rows_of(connection, reading)["time_logs"])

    assert projects(both) == ["Acme / Website", "Globex / Website"]
    assert projects([globex]) == ["Globex / Website"]
    assert projects([{"Client": "Acme"}, {"Client": ""}]) == ["Acme / Website", "Website"]
    assert projects([{"Client": "Acme"}]) == ["Website"]
    assert projects([{"Client": "Initech", "Project": "App"}]) == ["App"]


def test_a_date_that_is_none_stays_a_cell_and_does_not_stretch_the_span(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    odd = ["2025-02-30", "", "03/05/2025", "9999-99-99", "infinity", "2025-3-9", "0000-01-01", "2025-03-04 10:00:00"]
    dates = [*odd, "2025-03-09", " 2025-03-02 ", "2025-03-05"]
    reading = read(connection, [toggl(tmp_path / "export.csv", [{"Start date": date} for date in dates])])
    assert reading.spans == ((dt.date(2025, 3, 2), dt.date(2025, 3, 9)),)
    found = [row.get("worked_on", "") for row in rows_of(connection, reading)["time_logs"]]
    assert sorted(found) == sorted(dates)
    assert read(connection, [toggl(tmp_path / "export.csv", [{"Start date": "?"}])]).spans == ()


def test_two_exports_cover_their_own_days_and_not_those_between(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    def export(name: str, *days: int) -> Path:
        return toggl(tmp_path / name, [{"Start date": f"2025-03-{day:02}"} for day in days])

    apart = read(connection, [export("a.csv", 1, 3), export("b.csv", 7, 9)])
    assert apart.spans == ((dt.date(2025, 3, 1), dt.date(2025, 3, 3)), (dt.date(2025, 3, 7), dt.date(2025, 3, 9)))
    touching = read(connection, [export("a.csv", 4, 9), export("b.csv", 1, 3), export("c.csv", 2, 5)])
    assert touching.spans == ((dt.date(2025, 3, 1), dt.date(2025, 3, 9)),)
    # The same entry in two exports is one entry, so it has one id.
    both = read(connection, [export("a.csv", 1, 2), export("b.csv", 2, 3)])
    rows = rows_of(connection, both)["time_logs"]
    assert (len(rows), len({row["time_log_id"] for row in rows})) == (4, 3)


def test_a_folder_of_exports_is_read_when_the_format_is_named(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
) -> None:
    toggl(tmp_path / "january.csv", [{"Start date": "2025-01-02"}])
    toggl(tmp_path / "time_logs.csv", [{"Start date": "2025-02-02"}])
    assert len(rows_of(connection, read(connection, [tmp_path], as_="toggl"))["time_logs"]) == 2
    assert read(connection, [tmp_path / "time_logs.csv"]).format == "toggl"


def test_an_export_without_rows_is_a_failed_feed(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    refuses(connection, toggl(tmp_path / "export.csv", []), "an export with a header and no rows")


def test_an_export_that_lacks_a_column_is_refused(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = toggl(tmp_path / "export.csv", [{}], ["Start date", "Duration", "Client", "Description"])
    message = "lacks the columns project, email or user that Toggl Track's detailed CSV export must have; found: Start"
    refuses(connection, path, message)
    refuses(connection, path, message, as_="toggl")
    refuses(connection, toggl(path, [{}]), "must have; found: User, Email", as_="canonical")


@pytest.mark.skipif(not TOGGL_SAMPLE.exists(), reason="the real export lies beside the checkout, not in it")
def test_a_real_toggl_export_is_read_whole(connection: duckdb.DuckDBPyConnection) -> None:
    reading = read(connection, [TOGGL_SAMPLE])
    rows = rows_of(connection, reading)["time_logs"]
    assert len({row["time_log_id"] for row in rows}) == len(rows) == 250
    parts = [[int(part) for part in row["duration"].split(":")] for row in rows]
    assert sum(3_600 * hours + 60 * minutes + seconds for hours, minutes, seconds in parts) == 518 * 3_600 + 7 * 60
    assert reading.spans == ((dt.date(2023, 1, 2), dt.date(2023, 1, 30)),)


# --- Another format, and progress ---


def test_a_format_says_only_what_its_columns_mean(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    punch = ToolFormat(
        name="punch",
        title="Punch's export",
        required=(("punch no",), ("who",), ("day",)),
        optional=("hrs",),
        cells={
            "time_log_id": '"punch no"',
            "person": trimmed("who"),
            "worked_on": '"day"',
            "hours": "replace(\"hrs\", ',', '.')",
            "is_approved": "'yes'",
        },
    )
    path = tmp_path / "punches.csv"
    path.write_text("Punch No;Who;Day;Hrs;Mood\n17; Ada ;2025-03-03;1,5;fine\n")
    reading = read(connection, [path], formats=(*FORMATS, punch))
    assert (reading.format, reading.spans) == ("punch", ((dt.date(2025, 3, 3),) * 2,))
    assert rows_of(connection, reading)["time_logs"] == [
        {"time_log_id": "17", "person": "Ada", "worked_on": "2025-03-03", "hours": "1.5", "is_approved": "yes"},
    ]
    with pytest.raises(DataIntegrityError):
        read(connection, [path])


def test_every_format_is_found_and_speaks_of_time_logs() -> None:
    assert [tool.name for tool in FORMATS] == ["toggl"]
    for tool in FORMATS:
        assert set(tool.cells) <= set(COLUMNS["time_logs"])
        assert "worked_on" in tool.cells
        assert "time_log_id" in tool.cells or tool.key
        assert all(name == name.strip().casefold() for name in tool.columns)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_progress_rises_to_a_hundred_and_leaves_the_settings_alone(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    suffix: str,
) -> None:
    path = tmp_path / f"time_logs.{suffix}"
    written_as(suffix, path, ("time_log_id", "note"), [(f"L-{number}", "x" * 50) for number in range(60_000)])
    settings_before = connection.execute("select * from duckdb_settings() where name like '%progress%'").fetchall()
    told: list[tuple[str, int]] = []
    read(connection, [path], progress=lambda name, percent: told.append((name, percent)))
    assert {name for name, _ in told} == {path.name}
    assert told[0][1] == 0
    assert told[-1][1] == 100
    assert (
        connection.execute("select * from duckdb_settings() where name like '%progress%'").fetchall() == settings_before
    )
