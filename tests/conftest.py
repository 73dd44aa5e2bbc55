"""What all tests share: processes tuned as the command tunes itself, and a database to copy."""

import os
from pathlib import Path

import pytest

from abr.__main__ import TUNABLES
from tests import command_line
from tests.command_line import abr

os.environ.update(TUNABLES | os.environ)  # for the processes that this one starts to run the tests


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with the books loaded and one run, for tests to copy."""
    folder = tmp_path_factory.mktemp("template")
    books = command_line.write_books(folder / "books")
    assert abr("load", books, "--database", folder / "abr.duckdb").code == 0
    assert abr("run", "--as-of", command_line.AS_OF, "--database", folder / "abr.duckdb").code == 0
    return folder / "abr.duckdb"
