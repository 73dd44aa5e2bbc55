"""Name, order, freeze and materialise the SQL views in sql/.

A file's path is its view's name: sql/staging/time_logs.sql is staging.time_logs.
A folder whose name ends in _rules also gets a view named all_rules, the union of its files.
Every view in the folder work describes a temporary table of the same name: a run fills it once from the view, and
later views read it as temp.<name>. Planning forty views on top of each other costs more than running them.

Only migrations and tests read sql/. A running job reads the views of the migrated database.
"""

from __future__ import annotations

import hashlib
import re
from graphlib import TopologicalSorter
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from alembic.script import ScriptDirectory

WORK = "work"
T = TypeVar("T")


def packaged(name: str) -> Path:
    """Return the folder sql or migrations: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else Path(__file__).parent.parent / name


def load(root: Path | None = None) -> dict[str, str]:
    """Return every view as {name: select}, each after the views it reads."""
    root = root or packaged("sql")
    views = {f"{path.parent.name}.{path.stem}": path.read_text("utf-8") for path in sorted(root.glob("*/*.sql"))}
    for folder in sorted(root.glob("*_rules")):
        rules = [name for name in views if name.startswith(f"{folder.name}.")]
        views[f"{folder.name}.all_rules"] = union_of(rules)
    return in_order(views)


def union_of(names: list[str]) -> str:
    """Return a select of every row of these views, each row naming its view as rule_name."""
    selects = [f"select '{name.split('.')[1]}' as rule_name, * from {name}\n" for name in names]
    return "-- Every row of every rule in this folder.\n" + "union all by name\n".join(selects)


def in_order(views: Mapping[str, str]) -> dict[str, str]:
    """Return the same views, each after the views it reads."""
    graph = {name: reads(sql) & views.keys() for name, sql in views.items()}
    return {name: views[name] for name in TopologicalSorter(graph).static_order()}


def reads(sql: str) -> set[str]:
    """Return the schema-qualified names a select reads from; temp.log is work.log."""
    # DuckDB prints a stored view with some names quoted, and may spell out the schema of temporary tables.
    plain = re.sub(r"--.*", "", sql).replace('"', "").replace("temp.main.", "temp.")
    # Of a stored view it prints a cross join as a comma, with a space before it as nowhere else.
    names = re.findall(r"(?:\b(?:from|join)| ,)\s+(\w+\.\w+)", plain, re.IGNORECASE)
    return {re.sub(r"^temp\.", f"{WORK}.", name) for name in names}


def header(sql: str) -> str:
    """Return a view's leading comment as one line."""
    lines = takewhile(lambda line: line.startswith("--"), sql.splitlines())
    return " ".join(line.removeprefix("--").strip() for line in lines)


def ddl(views: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the statements that leave a database with these views; None drops one."""
    for name in views:
        yield f"drop view if exists {name}"
    for name, sql in in_order({name: sql for name, sql in views.items() if sql is not None}).items():
        yield f"create view {name} as\n{sql}"
        # DuckDB strips comments from stored views, and BI tools show COMMENT ON text.
        text = header(sql).replace("'", "''")
        yield f"comment on view {name} is '{text}'"
        if name.startswith(f"{WORK}."):
            yield f"create or replace temp table {name.removeprefix(f'{WORK}.')} as from {name} limit 0"


def work_order(connection: Connection) -> list[str]:
    """Return the names of the work tables of this database, each after those it reads."""
    return _of_present_views(connection, _work_order)


def _work_order(connection: Connection) -> list[str]:
    names = in_order(stored_text(connection))
    return [name.removeprefix(f"{WORK}.") for name in names if name.startswith(f"{WORK}.")]


def create_work_tables(connection: Connection) -> None:
    """Create the temporary table of every stored view in work.

    Temporary tables belong to the connection: nothing of them reaches the database file.
    """
    # The columns a view is stored with; asking the views themselves would plan them all.
    columns = connection.exec_driver_sql(
        "select table_name, string_agg(format('\"{}\" {}', column_name, data_type), ', ' order by column_index) "
        f"from duckdb_columns() where schema_name = '{WORK}' group by table_name order by table_name",
    ).fetchall()
    if columns:  # none where the first migration has yet to make the views
        connection.exec_driver_sql(
            "; ".join(f"create or replace temp table {table} ({definition})" for table, definition in columns)
        )


def stored_text(connection: Connection) -> dict[str, str]:
    """Return the text of every view as the database prints it, by name."""
    rows = connection.exec_driver_sql(
        "select schema_name || '.' || view_name, sql from duckdb_views() where not internal order by all",
    )
    return {name: sql for name, sql in rows.fetchall() if not name.startswith(("main.", "temp."))}


def stored_macros(connection: Connection) -> dict[str, str]:
    """Return the text of every macro that views share as the database prints it, by name."""
    rows = connection.exec_driver_sql(
        "select schema_name || '.' || function_name, macro_definition from duckdb_functions() "
        "where not internal and function_type = 'macro' order by all",
    )
    return {name: sql for name, sql in rows.fetchall() if not name.startswith(("main.", "temp."))}


def canonical(sql: str) -> str:
    """Return a printed view in one spelling.

    DuckDB prints the same view differently after it was written to disk and read back: names gain and lose quotes,
    the branches of a union gain parentheses, cross joins become commas, the names of an exclude list change places,
    casts to BIT lose a length.
    """
    parts = re.split(r"('(?:[^']|'')*')", sql)
    parts[::2] = [part.replace('"', "").replace("CROSS JOIN", ",").replace("BIT(1)", "BIT") for part in parts[::2]]
    parts[::2] = [
        re.sub(r"EXCLUDE \(([^()]*)\)", lambda names: f"EXCLUDE ({', '.join(sorted(names[1].split(', ')))})", part)
        for part in parts[::2]
    ]
    tokens = [
        token for place, part in enumerate(parts) for token in ([part] if place % 2 else re.split(r"([()])", part))
    ]
    open_at: list[int] = []
    for place, word in enumerate(tokens):
        if word == "(":
            open_at.append(place)
        elif word == ")" and open_at:
            start = open_at.pop()
            inside = next((part for part in tokens[start + 1 : place] if part.strip() and part != "("), "")
            if inside.lstrip().startswith("SELECT"):
                tokens[start] = tokens[place] = ""
    return "".join(token if token.startswith("'") else "".join(token.split()) for token in tokens)


def digest(connection: Connection) -> str:
    """Return the md5 of every view and macro in the database: the rules that compute a run."""
    return _of_present_views(connection, _digest)


def _digest(connection: Connection) -> str:
    text = "\n".join(f"{name}\n{sql}" for name, sql in rules(connection).items())
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _of_present_views(connection: Connection, find: Callable[[Connection], T]) -> T:
    """Return what `find` does of the database's views; looked for once, as long as they stay the same."""
    # A view that is made or replaced gets a new number, and asking for numbers is ten times as fast as for texts.
    numbers = tuple(connection.exec_driver_sql("select count(*), sum(view_oid) from duckdb_views()").one())
    known: tuple[tuple[int, int], dict[Any, Any]] | None = connection.info.get("abr_of_views")
    if known is None or known[0] != numbers:
        known = connection.info["abr_of_views"] = (numbers, {})
    found: dict[Any, T] = known[1]
    if find not in found:
        found[find] = find(connection)
    return found[find]


def rules(connection: Connection) -> dict[str, str]:
    """Return the text of every view and macro of a database in one spelling, by name."""
    stored = stored_text(connection) | stored_macros(connection)
    return {name: canonical(sql) for name, sql in sorted(stored.items())}


def frozen(scripts: ScriptDirectory) -> dict[str, str]:
    """Return the view text the migrations leave behind at head."""
    views: dict[str, str | None] = {}
    for revision in reversed(list(scripts.walk_revisions())):
        views |= getattr(revision.module, "VIEWS", {})
    return {name: sql for name, sql in views.items() if sql is not None}


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str | None]:
    """Return the views that turn old into new; None drops one."""
    return {name: new.get(name) for name in {**new, **old} if new.get(name) != old.get(name)}
