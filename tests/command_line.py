"""The command line as people and scripts use it: in this process where that is enough, else in one of its own."""

import contextlib
import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import duckdb

from abr import cli
from tests import reference_model

AS_OF = "2026-03-31"
# What must never reach a terminal: control characters, and what changes the direction of text.
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

# A small firm: C-1 is flagged, C-2 on watch, C-3 a fixed price that is overrun, C-4 over-billed; a log has no person.
BOOKS: dict[str, list[dict[str, str]]] = {
    "contracts": [
        {"contract_id": "C-1", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"},
        {"contract_id": "C-2", "client": "Globex", "currency": "JPY", "starts_on": "2026-01-01"},
        {
            "contract_id": "C-3",
            "client": "Initech",
            "currency": "EUR",
            "starts_on": "2026-01-01",
            "billing_model": "fixed_price",
            "cap_minutes": "60",
        },
        {"contract_id": "C-4", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"},
    ],
    "projects": [
        {"project_id": f"P-{number}", "contract_id": f"C-{number}", "name": f"Project {number}"}
        for number in range(1, 5)
    ],
    "rates": [
        {"contract_id": f"C-{number}", "hourly_rate": "100.50", "valid_from": "2026-01-01"} for number in range(1, 5)
    ],
    "time_logs": [
        {"time_log_id": "L-1", "project_id": "P-1", "person": "ann", "worked_on": "2026-02-02", "hours": "10"},
        {"time_log_id": "L-2", "project_id": "P-1", "person": "bob", "worked_on": "2026-02-03", "hours": "10"},
        {"time_log_id": "L-3", "project_id": "P-2", "person": "ann", "worked_on": "2026-02-04", "hours": "10"},
        {"time_log_id": "L-4", "project_id": "P-3", "person": "ann", "worked_on": "2026-02-05", "hours": "2"},
        {"time_log_id": "L-5", "project_id": "P-4", "person": "ann", "worked_on": "2026-02-06", "hours": "1"},
        {"time_log_id": "L-6", "project_id": "P-1", "person": "", "worked_on": "2026-02-06", "hours": "3"},
    ],
    "invoices": [
        {
            "invoice_id": "INV-1",
            "contract_id": "C-4",
            "currency": "EUR",
            "issued_on": "2026-02-28",
            "status": "issued",
        },
    ],
    "invoice_lines": [
        {
            "invoice_id": "INV-1",
            "line_no": "1",
            "kind": "time",
            "time_log_id": "L-5",
            "hours": "1",
            "net_amount": "200.00",
        },
    ],
}


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def abr(*arguments: object) -> Ended:
    """Run a command in this process, as in a pipe."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["abr", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = cli._main()
    return Ended(code, out.getvalue(), err.getvalue())


def started(*arguments: object, hook: str | None = None, **options: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own, its output in pipes; `hook` is Python that runs there first."""
    run = ["-m", "abr"] if hook is None else ["-c", f"{hook}\nimport sys\nfrom abr import cli\nsys.exit(cli._main())"]
    settings: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    settings |= {"encoding": "utf-8", "env": environment(), **options}
    return subprocess.Popen([sys.executable, *run, *map(str, arguments)], **settings)  # type: ignore[call-overload]


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process and return how it ended."""
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out or "", err or "")


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what changes ABR's settings or pretends that a pipe is a terminal."""
    misleading = ("ABR_", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(misleading)}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"} | more


def clean_environment(monkeypatch: object, folder: Path) -> Path:
    """Move into the folder, with an environment that says nothing about ABR; return the folder."""
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)  # type: ignore[attr-defined]
    monkeypatch.chdir(folder)  # type: ignore[attr-defined]
    return folder


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str | None]]) -> Path:
    """Write the rows as a CSV file; what a row lacks is blank."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")  # ends lines in CRLF, else a CR would not be quoted
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_books(folder: Path, books: Mapping[str, Sequence[Mapping[str, str | None]]] = BOOKS) -> Path:
    """Write the data sets as canonical CSV files into the folder; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for dataset, rows in books.items():
        write_csv(folder / f"{dataset}.csv", reference_model.COLUMNS[dataset], rows)
    return folder


def contents(database: Path | str) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table of a database, read through a connection of its own."""
    with duckdb.connect(str(database), read_only=True) as connection:
        names = connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables() "
            "where not internal and not temporary order by all"
        ).fetchall()
        return {name: connection.execute(f"from {name} order by all").fetchall() for (name,) in names}


def without_runs(database: Path | str) -> dict[str, list[tuple[object, ...]]]:
    """Return the contents without the list of runs, where a halt is written down."""
    return {name: rows for name, rows in contents(database).items() if name != "audit.run"}


def query(database: Path | str, select: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(select).fetchall()


def lines_of(stream: Iterator[str], wanted: str) -> list[str]:
    """Read lines until one contains what is wanted; return them all."""
    read = []
    for line in stream:
        read.append(line)
        if wanted in line:
            return read
    raise AssertionError(f"{wanted!r} never came: {read}")
