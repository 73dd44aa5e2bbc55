"""Statements that a connection plans once and executes often: planning costs more than running for a few rows.

Not for what reads a variable, itself or in a view: DuckDB puts the value it has then into the plan. Parameters would be
no help, since DuckDB 1.5 plans every query that has some anew each time it is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, CursorResult

from abr import database

# Under this name a connection keeps what executes a statement, by the statement.
_CALLS = "abr_prepared"


def prepare(connection: Connection, statements: Mapping[str, str]) -> None:
    """Plan statements, given as {name: statement}, for what the tables hold now; `run` finds them by their text.

    For after a commit: DuckDB's planner does not see the rows of a transaction that is still open, and plans made for
    empty tables are several times slower.
    """
    with plans_that_last(connection) as planned:
        for name, statement in statements.items():
            planned(f"prepare {name} as {statement}")
    connection.info[_CALLS] = {statement: f"execute {name}" for name, statement in statements.items()}


def is_prepared(connection: Connection) -> bool:
    """Return whether the connection has plans."""
    return _CALLS in connection.info


def forget(connection: Connection) -> None:
    """Let every statement be planned anew, for instance because the rules it rests on have changed."""
    connection.info.pop(_CALLS, None)


def call(connection: Connection, statement: str) -> str:
    """Return what executes a statement: its plan where there is one, else the statement itself."""
    calls: Mapping[str, str] = connection.info.get(_CALLS, {})
    return calls.get(statement, statement)


def run(connection: Connection, statement: str) -> CursorResult[Any]:
    """Execute a statement, by its plan where there is one."""
    return connection.exec_driver_sql(call(connection, statement))


@contextmanager
def plans_that_last(connection: Connection) -> Iterator[Callable[[str], object]]:
    """Yield what executes a statement; statements it prepares stay right whatever rows they meet later.

    A plan outlives the rows it was made for, so it may not rest on their statistics: DuckDB 1.5 packs sort keys by the
    smallest and greatest value at planning time, and returns garbage for others.
    """
    off = f"{database.OPTIMIZERS_OFF},compressed_materialization,statistics_propagation"
    connection.exec_driver_sql(f"set disabled_optimizers = '{off}'")
    try:
        yield connection.exec_driver_sql
    finally:
        connection.exec_driver_sql(f"set disabled_optimizers = '{database.OPTIMIZERS_OFF}'")
        connection.rollback()
