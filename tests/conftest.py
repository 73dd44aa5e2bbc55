"""What all tests share: processes tuned as the command tunes itself, and a database to copy."""

import os
from pathlib import Path

import duckdb
import pytest

from abr.__main__ import TUNABLES
from tests import command_line
from tests.command_line import abr

os.environ.update(TUNABLES | os.environ)  # for the processes that this one starts to run the tests
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Where each core has a worker, more threads of DuckDB's only take turns: the tests take a quarter longer with two.
    # Commands in processes of their own have as many as people's have.
    threads = max(1, (os.cpu_count() or 1) // int(workers))
    connect = duckdb.connect

    def connect_with_few_threads(*arguments: object, **options: object) -> duckdb.DuckDBPyConnection:
        """Connect as always, and let this worker's databases have its share of the cores."""
        connection = connect(*arguments, **options)  # type: ignore[arg-type]
        connection.execute(f"set threads = {threads}")
        return connection

    duckdb.connect = connect_with_few_threads


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with the books loaded and one run, for tests to copy."""
    folder = tmp_path_factory.mktemp("template")
    books = command_line.write_books(folder / "books")
    assert abr("load", books, "--database", folder / "abr.duckdb").code == 0
    assert abr("run", "--as-of", command_line.AS_OF, "--database", folder / "abr.duckdb").code == 0
    return folder / "abr.duckdb"
