"""Cells nobody would write on purpose, in every column: set aside or loaded as the rules say, and shown safely."""

import csv
import datetime as dt
import io
import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abr import database
from tests import command_line, harness, reference_model
from tests.command_line import AS_OF, BOOKS, abr

LONG = "10 MB of text, "
# ABR reads no number so large; the reference model knows no limit.
TOO_LARGE = ("9" * 60, "9" * 18)

CELLS = {
    "no such day": "2026-02-30",
    "not a leap year": "2025-02-29",
    "day without zeros": "2026-2-3",
    "year 0": "0000-01-01",
    "year 9999": "9999-12-31",
    "year 10000": "10000-01-01",
    "German day": "31.12.2025",
    "infinite day": "infinity",
    "decimal comma": "1,5",
    "not a number": "NaN",
    "infinite": "-Infinity",
    "exponent": "1e400",
    "small exponent": "1e2",
    "negative": "-1",
    "negative zero": "-0",
    "zero": "0",
    "plus": "+5",
    "25": "25",
    "25 hours": "25:00",
    "90 minutes": "0:90",
    "negative duration": "-1:30",
    "thousands": "1,000.00",
    "underscores": "1_000",
    "hexadecimal": "0x10",
    "five decimals": "1.00001",
    "many decimals": "0." + "3" * 60,
    "many digits": TOO_LARGE[0],
    "18 digits": TOO_LARGE[1],
    "full-width digits": "１２",  # noqa: RUF001
    "Arabic digits": "٣",
    "empty": "",
    "blanks": " \t\u00a0\u3000 ",
    "padded": "  true\t",
    "perhaps": "perhaps",
    "null": "NULL",
    "quotes": "\"quoted\", 'quoted' and `quoted`",
    "SQL": "'; drop table source.time_logs; --",
    "bind parameter": ":id ? %s {} $1",
    "markup": "[bold red]markup[/] [link=https://example.org]x[/link]",
    "line break": "two\nlines",
    "Mac line break": "two\rlines",
    "control characters": "bell\x07 backspace\x08 delete\x7f vertical\x0b form\x0c",
    "colour": "\x1b[31mred\x1b[0m",
    "clear screen": "\x1b[2J\x1b[H",
    "window title": "\x1b]0;title\x07",
    "hyperlink": "\x1b]8;;https://example.org\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "C1 controls": "\x9b31m \x90q\x9c \x85",
    "bidi override": "safe\u202egnp.exe\u202c \u2066x\u2069 \u200f",
    "invisible": "zero\u200bwidth \ufeff \u2028 \u2029",
    "formula": "=cmd|' /C calc'!A0",
    "plus formula": "+1+cmd|' /C calc'!A0",
    "minus formula": "-2+3+cmd|' /C calc'!A0",
    "at formula": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab formula": "\t=1+1",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 ✅",
    "combining": "Z̷̢͎a̸l̵g̶o̷",
    "wide": "東京デザイン株式会社",
    "right to left": "שלום עולם",
    "backslashes": "\\n \\x1b[31m \\",
    "NUL": "a\0b",
    "lone NUL": "\0",
    "unassigned": "\U000e0041 \uffff \ufdd0",
}
BASE = {
    "contracts": {"contract_id": "C-8", "client": "Hooli", "currency": "EUR", "starts_on": "2026-01-01"},
    "projects": {"project_id": "P-8", "contract_id": "C-1"},
    "rates": {"contract_id": "C-2", "hourly_rate": "1", "valid_from": "2020-01-01", "person": "nobody"},
    "time_logs": {"time_log_id": "L-8", "project_id": "P-1", "person": "ann", "worked_on": "2026-02-09", "hours": "1"},
    "invoices": {
        "invoice_id": "INV-8",
        "contract_id": "C-4",
        "currency": "EUR",
        "issued_on": "2026-02-28",
        "status": "issued",
    },
    "invoice_lines": {"invoice_id": "INV-1", "line_no": "8", "kind": "time", "net_amount": "1", "hours": "1"},
}
DURATIONS = ("seconds", "minutes", "hours", "duration")
TEXT = {"client", "name", "person", "role", "task", "note", "currency"}
# Which cell tells the rows of a data set apart.
KEYS = {
    "contracts": "contract_id",
    "projects": "project_id",
    "rates": "project_id",
    "time_logs": "time_log_id",
    "invoices": "invoice_id",
    "invoice_lines": "line_no",
}
ROWS = [["report", "--all"], ["findings", "--limit", "99999"], ["quarantine", "--limit", "99999"]]
SHOWN = [
    *([*words, "--format", form] for words in ROWS for form in ("table", "json", "csv")),
    ["findings", "--history", "--limit", "99999"],
    ["quarantine", "--history", "--limit", "99999", "--format", "csv"],
    ["history"],
    ["run", "--as-of", AS_OF],
]


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """Return an empty database."""
    path = tmp_path_factory.mktemp("empty") / "abr.duckdb"
    with harness.fresh_database(f"duckdb:///{path}"):
        return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, empty):
    command_line.clean_environment(monkeypatch, tmp_path)
    shutil.copy(empty, tmp_path / "abr.duckdb")
    return tmp_path


def bad_rows(dataset):
    """Yield a row for each column of the data set and each bad cell in it."""
    for column in reference_model.COLUMNS[dataset]:
        for number, cell in enumerate(CELLS.values()):
            if cell in TOO_LARGE and column not in TEXT:
                continue
            row = BASE[dataset] | {KEYS[dataset]: f"{900 + number}{len(column)}{sum(map(ord, column))}"}
            if column in DURATIONS:
                row = {name: value for name, value in row.items() if name not in DURATIONS}
            yield row | {column: cell}


def books_with(dataset, rows):
    return {**BOOKS, dataset: [*BOOKS[dataset], *rows]}


def is_as_the_model_says(books):
    """Demand that the last run's answers are those of the reference model for these books."""
    store = reference_model.Store()
    store.load({name: [dict(row) for row in rows] for name, rows in books.items()})
    want = reference_model.reconcile(store, dt.date.fromisoformat(AS_OF))
    with database.connect("duckdb:///abr.duckdb") as connection:
        assert harness.differences(harness.answers(connection), harness.expected(want)) == []


def is_safe(ended, words=()):
    """Demand that a command succeeded and printed nothing that steers a terminal or a spreadsheet."""
    assert ended.code == 0, ended
    for stream in (ended.out, ended.err):
        unsafe = command_line.UNSAFE.search(stream)
        assert not unsafe, stream[max(unsafe.start() - 40, 0) : unsafe.end() + 40]
        assert "Traceback" not in stream
    if "json" in words:
        json.loads(ended.out)
    if "csv" in words:
        for row in csv.reader(io.StringIO(ended.out), strict=True):
            for cell in row:
                assert not re.match(r"\s*[=@+-]", cell) or re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", cell), cell


def load_and_run(folder, books):
    command_line.write_books(folder / "books", books)
    is_safe(abr("load", folder / "books"))
    is_safe(abr("run", "--as-of", AS_OF))


@pytest.mark.parametrize(
    "dataset",
    [name if name in ("contracts", "time_logs") else pytest.param(name, marks=pytest.mark.slow) for name in BOOKS],
)
def test_every_bad_cell_in_every_column_is_set_aside_or_loaded_as_the_rules_say_and_shown_safely(folder, dataset):
    books = books_with(dataset, bad_rows(dataset))
    load_and_run(folder, books)
    is_as_the_model_says(books)
    for words in SHOWN:
        is_safe(abr(*words), words)
    is_safe(abr("monitor", "--cycles", 2, "--interval", 0.05))
    verified = abr("verify")
    assert verified.code == 0, verified.out
    before = command_line.query("abr.duckdb", f"select count(*) from source.{dataset}")
    is_safe(abr("load", folder / "books"))
    assert command_line.query("abr.duckdb", f"select count(*) from source.{dataset}") == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clipboard", "bidi override", "formula"])
def test_names_that_are_not_set_aside_are_shown_and_explained_safely(folder, name):
    cell = CELLS[name]
    given = {
        dataset: [
            {
                column: cell + value if value and (column.endswith("_id") or column in ("client", "person")) else value
                for column, value in row.items()
            }
            for row in rows
        ]
        for dataset, rows in BOOKS.items()
    }
    load_and_run(folder, given)
    is_as_the_model_says(given)
    explained = [["explain", cell + one, "--format", form] for one in ("C-1", "L-1") for form in ("table", "csv")]
    for words in [*SHOWN, *explained]:
        is_safe(abr(*words), words)
    listed = json.loads(abr("report", "--all", "--format", "json").out)
    assert {row["contract_id"] for row in listed} == {cell + f"C-{number}" for number in range(1, 5)}
    finding = json.loads(abr("findings", "--side", "leakage", "--format", "json").out)[0]["finding_id"]
    is_safe(abr("explain", finding))
    is_safe(abr("write-off", finding, "--reason", cell, "--by", "zoe" + cell))
    row = json.loads(abr("quarantine", "--format", "json").out)[0]["quarantine_id"]
    is_safe(abr("quarantine", "waive", row, "--reason", cell, "--by", "zoe" + cell))
    is_safe(abr("report", "--client", cell))
    unknown = abr("explain", cell)
    assert unknown.code == 2
    assert not command_line.UNSAFE.search(unknown.err)


@pytest.mark.parametrize(
    "dataset", ["time_logs", *(pytest.param(name, marks=pytest.mark.slow) for name in ("contracts", "invoice_lines"))]
)
def test_ten_megabytes_in_a_cell_are_one_line_on_the_screen(folder, dataset):
    text = LONG * (10_000_000 // len(LONG))
    column = reference_model.COLUMNS[dataset][1]
    books = books_with(dataset, [BASE[dataset] | {column: text}])
    load_and_run(folder, books)
    for words in ROWS:
        ended = abr(*words)
        is_safe(ended)
        assert len(ended.out) < 100_000
    is_as_the_model_says(books)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_bad_cells_mean_the_same_in_every_format(folder, ending):
    rows = [row for row in bad_rows("time_logs") if "\0" not in "".join(row.values())]
    books = books_with("time_logs", rows)
    command_line.write_books(folder / "books", books)
    if ending == "jsonl":
        (folder / "books/time_logs.csv").unlink()
        lines = "".join(json.dumps(row) + "\n" for row in books["time_logs"])
        (folder / "books/time_logs.jsonl").write_text(lines, "utf-8")
    is_safe(abr("load", folder / "books"))
    is_safe(abr("run", "--as-of", AS_OF))
    is_as_the_model_says(books)


def test_bad_cells_of_an_export_are_set_aside_one_by_one(folder):
    command_line.write_books(folder / "books")
    columns = ["User", "Email", "Client", "Project", "Task", "Description", "Start date", "Start time", "Duration"]
    good = dict(zip(columns, ["ann", "", "Acme", "P-1", "", "", "2026-02-10", "09:00:00", "01:00:00"], strict=True))
    rows = [{**good, column: cell} for column in columns for cell in CELLS.values() if cell != "\0"]
    command_line.write_csv(folder / "export.csv", columns, rows)
    is_safe(abr("load", folder / "books"))
    is_safe(abr("load", "export.csv"))
    is_safe(abr("run", "--as-of", AS_OF))
    is_safe(abr("load", "export.csv"))
    for words in SHOWN:
        is_safe(abr(*words))
    verified = abr("verify")
    assert verified.code == 0, verified.out


# ---- any cell at all ------------------------------------------------------------------------------------------------

characters = st.characters(exclude_categories=["Cs"])
cells = st.one_of(
    st.sampled_from(list(CELLS.values())),
    st.text(characters, max_size=12),
    st.from_regex(r"[+-]?[0-9]{0,20}[.,]?[0-9]{0,8}", fullmatch=True),
    st.dates().map(str),
    st.from_regex(r"[0-9]{1,3}:[0-9]{2}(:[0-9]{2})?", fullmatch=True),
)


@st.composite
def spoiled_books(draw):
    """Return the small firm with some of its cells, in any column, replaced by anything."""
    spoiled = {}
    for dataset, rows in BOOKS.items():
        spoiled[dataset] = []
        for row in rows:
            if draw(st.integers(0, 9)) == 0:
                continue
            changes = draw(st.dictionaries(st.sampled_from(reference_model.COLUMNS[dataset]), cells, max_size=2))
            spoiled[dataset].append(row | changes)
    return spoiled


@harness.examples(0.25, at_least=4)
@given(books=spoiled_books())
def test_no_cell_stops_a_load_or_a_run(empty, books):
    with tempfile.TemporaryDirectory() as name:
        path = Path(shutil.copy(empty, Path(name) / "abr.duckdb"))
        is_safe(abr("load", command_line.write_books(Path(name) / "books", books), "--database", path))
        ended = abr("run", "--as-of", AS_OF, "--database", path)
        if not (books["contracts"] and books["time_logs"]):
            assert ended.code == 3
            assert "failed feed" in ended.err
            return
        is_safe(ended)
        for words in (["report", "--all"], ["quarantine"]):
            is_safe(abr(*words, "--database", path))
