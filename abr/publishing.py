"""Keep a read-only copy of the results, so that everyone can read while the one writer holds the database.

`<database>.published/` holds generations, each a folder with one file, and `current`, a link to the newest of them.
Publishing brings an idle generation up to date with what changed since it was current, and then moves the link: a
reader that has a file open keeps what it saw, whoever opens `current/abr_audit.duckdb` sees the newest.

What surprises:
- A generation says itself how far it is: by its newest run. It is trusted only if the database knows that very run, if
  its tables and views are today's, and if no `.wal` lies beside it; else it is removed.
- It is written by a DuckDB instance of its own, not by the writer's: a full disk may make DuckDB give up a whole
  instance, and that must never be the one that holds the books. Nothing here opens the database's own file.
- Each checkpoint costs what is in the file, and removing a thousand ids from ten million rows a scan of them all. So
  every version is there once, in one of three tables: what was open when things were settled some runs ago, what was
  past by then, and what has come since. History and open state are views over them; when much has come it is settled.
- Merging the small row groups that appending leaves has DuckDB write the last of a table again. So most checkpoints
  merge nothing, and now and then one merges all that has come since. Where somebody calls `tidy` (`tidies`), both that
  and settling wait for it.
- A checkpoint of DuckDB 1.5 uses the metadata of unchanged row groups again, and what is left of a block may point on
  to what is gone. Readers before 1.4.2 follow that and fail, so the copy's metadata is written whole each time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool

from abr import views
from abr.database import little_memory, set_up
from abr.exceptions import NotPublished, UsageError

FILE = "abr_audit.duckdb"
CURRENT = "current"
HEARTBEAT_SECONDS = 60.0
# Histories by the key of what they are versions of. Beside audit.finding stands audit.finding_open, its open state.
# Both are views here, over three tables that share the versions.
HISTORIES = {"finding": "finding_id", "position": "contract_id", "quarantine": "quarantine_id"}
_IS_OPEN_NOW = "is_newest and state in ('open', 'waived')"
_PARTS = {
    "settled": "Versions in audit.{}: those that were open when they were last settled.",
    "past": "Versions in audit.{}: those that had ended, or had newer ones, when they were last settled.",
    "recent": "Versions in audit.{}: those of the runs since they were last settled.",
}
_FORMAT = 3  # another number has every generation built anew
_ROOTS = ("report", "work.currency")  # what is published, with all it reads
_RULES = ("finding_rules", "quarantine_rules", "reference_rules", "coverage_rules")
# A history is settled anew when so large a part of its open state has come since: at least, and at most, so many
# versions. It takes three seconds and more where fourteen million are open.
_SETTLED_SHARE, _SETTLED_MIN, _SETTLED_MAX = 20, 20_000, 100_000
# Row groups are merged when the runs pass a multiple of this: a generation needs nothing more to know that it is time.
_MERGED_RUNS = 12
_MERGES_MAX = 100  # as DuckDB has it
# The oldest that readers can be promised. Not told, DuckDB 1.5 writes for 0.10, and makes the three kilobytes of each
# column's distinct count, as that has them, of its 64 bytes: half the time of a checkpoint.
_STORAGE_VERSION = "v1.1.0"
# How many rows are moved from one instance of DuckDB to the other at once, and how many of these make a part.
_BATCH_ROWS, _BATCHES_MAX = 61_440, 4
# What that other instance may hold, beside the writer's own; more of it goes to a folder beside the generations. What
# DuckDB notes of removed rows does not: eight bytes for every row near one, so settling may hold more.
_MEMORY_BYTES, _SPILL = 128_000_000, ".spill"
_REMOVING_BYTES = 16  # for each row of the table
_IDLE_MIN = 2  # with the current one, three generations
_PREFIX = "generation-"
_LINK = ".current"
# A reader that resolved `current` just before it moved needs a moment to open what it found.
_REST_SECONDS = 0.25
_WRITABLE, _READABLE, _FOLDER = 0o640, 0o440, 0o750


@dataclass(frozen=True)
class Recipe:
    """What a generation consists of, as the catalog of the database has it: columns by table, and statements."""

    columns: Mapping[str, Sequence[tuple[str, str]]]
    statements: Sequence[str]
    comments: Sequence[str]
    digest: str


@dataclass
class Publisher:
    """The published copy of one database, kept by the process that writes it."""

    folder: Path
    group: str | None
    holder: Connection  # of the database
    writer: duckdb.DuckDBPyConnection
    tell: Callable[[str], object]
    recipe: Recipe
    published_run_id: int | None = None
    published_at: float | None = None  # by time.monotonic, as are the next two
    asked_at: float = 0.0  # when it was last asked whether to publish
    copied_at: float = 0.0  # when a generation was last made because readers held the others
    generation: int = 0
    trouble: str | None = None  # what people were told already
    copier: duckdb.DuckDBPyConnection | None = None  # an instance of its own, in memory, that generations come to
    tidies: bool = False  # whether `tidy` is called, which merges row groups so that publishing need not
    unmerged: set[Path] = field(default_factory=set)  # the generations it is to merge
    has_told_older: bool = False  # that the database ends before what was published

    def interrupt(self) -> None:
        """Stop what is being published, from a signal handler; the copy stays as it was."""
        for connection in (self.writer, self.copier):
            if connection is not None:
                connection.interrupt()


@contextlib.contextmanager
def publisher(
    connection: Connection, database: Path, *, group: str | None = None, tell: Callable[[str], object]
) -> Iterator[Publisher]:
    """Yield a publisher for the database that this connection holds. `tell` is given notes for people.

    Raises UsageError where there is no such group.
    """
    if group is not None:
        _require_group(group)
    # A connection of its own: what it prepares and registers must not make the engine's statements stale.
    with connection.engine.connect() as other:
        writer: Any = other.connection.driver_connection
        other.rollback()
        publisher = Publisher(folder_of(database), group, connection, writer, tell, _recipe(writer))
        try:
            yield publisher
        finally:
            if publisher.copier is not None:
                publisher.copier.close()


def folder_of(database: Path) -> Path:
    """Return the folder that the published copy of a database is in."""
    return database.with_name(database.name + ".published")


def file_of(database: Path) -> Path:
    """Return the path that readers open."""
    return folder_of(database) / CURRENT / FILE


@dataclass(frozen=True)
class Publication:
    """Of which run a published copy is, and when it was published (UTC)."""

    run_id: int
    published_at: datetime


@contextlib.contextmanager
def reading(database: Path) -> Iterator[tuple[Connection, Publication]]:
    """Yield a read-only connection to the newest published copy, and what it is. Raises NotPublished."""
    path = file_of(database)
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create("duckdb", database=str(path)), poolclass=NullPool, connect_args={"read_only": True}
    )
    sqlalchemy.event.listen(engine, "connect", lambda driver, _: set_up(driver))
    try:
        if not path.exists():
            raise NotPublished(f"there is no published copy at {path}", "start the monitor")
        try:
            connection = engine.connect()
            told = connection.exec_driver_sql("select run_id, published_at from published.generation").one()
        except (duckdb.Error, sqlalchemy.exc.SQLAlchemyError) as error:
            raise NotPublished(f"the published copy {path} cannot be read: {_first_line(error)}", "") from error
        with connection:
            connection.rollback()
            yield connection, Publication(told.run_id, told.published_at)
    finally:
        engine.dispose()


def publish_if_due(
    publisher: Publisher,
    *,
    now: datetime,
    is_forced: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> bool:
    """Publish where something changed since the last time, else once a minute; return whether it did.

    What changed within a quarter of a second of the last time is waited for until that has passed. Where somebody
    tidies, what is only for the minute's sake waits for `tidy`.
    Raises NotPublished where it cannot be written; the database is unharmed, and the next call tries again.
    """
    with _explained(publisher):
        moment = publisher.asked_at = clock()
        age_seconds = None if publisher.published_at is None or is_forced else moment - publisher.published_at
        is_missing = not (publisher.folder / CURRENT / FILE).is_file()
        if publisher.published_at is not None and not publisher.folder.exists():
            publisher.tell(f"abr: {publisher.folder} was removed; building it again")
        is_old = age_seconds is not None and age_seconds >= HEARTBEAT_SECONDS and not publisher.tidies
        is_due = is_missing or age_seconds is None or is_old or _has_changed(publisher)
        if not is_due or _last_run(publisher.writer) is None:
            return False
        if age_seconds is not None and age_seconds < _REST_SECONDS:
            sleep(_REST_SECONDS - age_seconds)
            moment += _REST_SECONDS - age_seconds
        publish(publisher, now=now)
        publisher.published_at = moment
        return True


def tidy(publisher: Publisher, *, now: datetime) -> bool:
    """Publish for the minute's sake, or else merge the small row groups of the generation that is next in line.

    Each where it is time; returns whether it was. For a moment when nobody waits: it may take seconds where there are
    millions of findings. `now` is UTC. Raises NotPublished.
    """
    with _explained(publisher):
        if publisher.published_at is not None and publisher.asked_at - publisher.published_at >= HEARTBEAT_SECONDS:
            publish(publisher, now=now)
            publisher.published_at = publisher.asked_at
            return True
        if not publisher.unmerged:
            return False
        found = _generations(publisher.folder)
        publisher.unmerged &= set(found)
        current = _current(publisher.folder)
        idle = [path for path in found if path != current]
        # As in publish: only the oldest, and only where a younger one stays idle.
        if len(idle) < _IDLE_MIN or idle[0] not in publisher.unmerged or not _is_at_rest(idle[0]):
            return False
        status = (idle[0] / FILE).stat()
        # DuckDB merges only what it has to write, so the generation is brought up to date with it.
        merged = _renewed(publisher, idle[0], now, is_merging=True)
        if merged is not None:
            os.utime(merged / FILE, ns=(status.st_atime_ns, status.st_mtime_ns))  # by which it is next in line
            publisher.unmerged.discard(merged)
        return merged is not None


def publish(publisher: Publisher, *, now: datetime) -> None:
    """Make the state of the database, as committed, the current generation. `now` is UTC."""
    folder = publisher.folder
    _make_folder(folder, publisher.group)
    current = _current(folder)
    idle = [path for path in _generations(folder) if path != current and _is_at_rest(path)]
    for name in folder.glob(_LINK + "*"):
        name.unlink()
    chosen = None
    # Only the oldest is taken, and only where a younger one stays idle: readers may be about to open that.
    while chosen is None and len(idle) >= _IDLE_MIN:
        chosen = _renewed(publisher, idle.pop(0), now)
    if chosen is None and current is not None and _is_clean(current):
        publisher.copied_at = time.monotonic()
        chosen = _renewed(publisher, _duplicate(publisher, current), now)
    if chosen is None:
        chosen = _built(publisher, now)
    _switch(folder, chosen)
    publisher.published_run_id = _last_run(publisher.writer)
    if len(idle) >= _IDLE_MIN and time.monotonic() - publisher.copied_at > HEARTBEAT_SECONDS:
        shutil.rmtree(idle[0])  # was needed while a reader held another for long


# ---- what is published ----------------------------------------------------------------------------------------------


def _recipe(writer: duckdb.DuckDBPyConnection) -> Recipe:
    """Return the report views with all they read, and the tables beneath."""
    printed = {
        f"{schema}.{name}": (sql, comment)
        for schema, name, sql, comment in writer.execute(
            "select schema_name, view_name, sql, comment from duckdb_views() where not internal and not temporary"
        ).fetchall()
    }
    wanted, tables = _closure({name: sql for name, (sql, _) in printed.items()})
    columns: dict[str, list[tuple[str, str]]] = {}
    comments: list[tuple[str, str, str | None]] = []
    for table in sorted({*tables, *(name.removesuffix("_open") for name in tables)}):
        told = writer.execute(
            "select column_name, data_type, comment from duckdb_columns() where database_name = current_database() "
            "and schema_name = 'audit' and table_name = ? order by column_index",
            [table],
        ).fetchall()
        columns[table] = [(name, kind) for name, kind, _ in told]
        comments += [("column", f'audit.{table}."{name}"', comment) for name, _, comment in told]
        comment = writer.execute(
            "select comment from duckdb_tables() where database_name = current_database() "
            "and schema_name = 'audit' and table_name = ?",
            [table],
        ).fetchall()[0][0]
        comments.append(("view" if _history_of(table) else "table", f"audit.{table}", comment))
    comments += [("view", name, printed[name][1]) for name in wanted]
    macros = [
        f"create macro {name}({', '.join(parameters)}) as {definition}"
        for name, parameters, definition in writer.execute(
            "select schema_name || '.' || function_name, parameters, macro_definition from duckdb_functions() "
            "where not internal and function_type = 'macro' and database_name = current_database() order by all"
        ).fetchall()
        if any(f"{name}(" in printed[view][0].replace('"', "") for view in wanted)
    ]
    schemas = sorted({name.split(".")[0] for name in wanted} | {"audit", "published"})
    rules = writer.execute(
        "select schema_name, view_name from duckdb_views() where view_name != 'all_rules' "
        f"and schema_name in {_RULES} order by all"
    ).fetchall()
    about_generation = (
        "The one row that says of which run this copy is and when it was made (UTC). A monitor that runs renews it at "
        "least once a minute."
    )
    statements = [
        *(f"create schema {name}" for name in schemas),
        "create table published.generation (run_id bigint, published_at timestamp, recipe varchar)",
        f"comment on table published.generation is {_quoted(about_generation)}",
        "create table published.rule (schema_name varchar, view_name varchar)",
        "comment on table published.rule is 'One row per finding class or quarantine reason there is.'",
        "insert into published.rule values "
        + ", ".join(f"({_quoted(schema)}, {_quoted(name)})" for schema, name in rules),
        *(statement for table, cells in columns.items() for statement in _table(table, cells)),
        *macros,
        *(printed[name][0].rstrip().rstrip(";") for name in wanted),
    ]
    spoken = [f"comment on {kind} {name} is {_quoted(comment)}" for kind, name, comment in comments if comment]
    # A view that was written to disk and read again is printed in other words.
    digest = hashlib.sha256(json.dumps([_FORMAT, *map(views.canonical, statements), spoken]).encode()).hexdigest()
    return Recipe(columns, statements, spoken, digest)


def _closure(printed: Mapping[str, str]) -> tuple[list[str], set[str]]:
    """Return the views to publish, each after those it reads, and the tables of audit they read."""
    wanted: dict[str, set[str]] = {}
    tables: set[str] = set()
    todo = [name for name in printed if name in _ROOTS or name.split(".")[0] in _ROOTS]
    while todo:
        name = todo.pop()
        if name in printed and name not in wanted:
            wanted[name] = _named(printed[name]) - {name}
            todo += wanted[name]
        elif name.startswith("audit."):
            tables.add(name.removeprefix("audit."))
    ordered = [name for name in TopologicalSorter(wanted).static_order() if name in wanted]
    return ordered, tables


def _named(sql: str) -> set[str]:
    """Return every name with a schema in a printed view: a stored one has commas where it was written with joins."""
    return {f"{schema}.{name}" for schema, name in re.findall(r"\b(\w+)\.(\w+)", sql.replace('"', ""))}


def _history_of(table: str) -> str | None:
    """Return which history a table of the database is, or is the open state of; None for any other."""
    name = table.removesuffix("_open")
    return name if name in HISTORIES else None


def _table(table: str, cells: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield what makes a table of the database in the copy; a history comes before its open state."""
    listed = ", ".join(f'"{name}" {kind}' for name, kind in cells)
    columns = _names(cells)
    if table in HISTORIES:
        for part, comment in _PARTS.items():
            yield f"create table published.{table}_{part} ({listed})"
            yield f"comment on table published.{table}_{part} is {_quoted(comment.format(table))}"
        parts = " union all ".join(f"select {columns} from published.{table}_{part}" for part in _PARTS)
        yield f"create view audit.{table} as {parts}"
    elif name := _history_of(table):
        key = HISTORIES[name]
        yield (
            f"create view audit.{table} as select {columns} from published.{name}_settled as settled "
            f"where not exists (select 1 from published.{name}_recent as newer where newer.{key} = settled.{key}) "
            f"union all select {columns} from ({_ranked(name)}) where {_IS_OPEN_NOW}"
        )
    else:
        yield f"create table audit.{table} ({listed})"


def _ranked(history: str) -> str:
    """Return a query for what came since it was settled, with whether a version is the newest of its key."""
    return (
        f"select *, row_number() over (partition by {HISTORIES[history]} order by run_id desc) = 1 as is_newest "
        f"from published.{history}_recent"
    )


def _names(cells: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f'"{name}"' for name, _ in cells)


def _published(cells: Sequence[tuple[str, str]]) -> str:
    """Return the columns as they are published: what people noted on a time log stays in the database."""
    raw = """case when contains(raw, '"note"') then json_merge_patch(raw, '{"note": null}')::varchar else raw end"""
    return ", ".join(f"{raw} as raw" if name == "raw" else f'"{name}"' for name, _ in cells)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# ---- one generation -------------------------------------------------------------------------------------------------


def _built(publisher: Publisher, now: datetime) -> Path:
    """Return a new generation with everything in it."""
    path = _new_generation(publisher)
    with little_memory(publisher.holder), _writing(publisher, path) as copy:
        for statement in publisher.recipe.statements:
            copy.execute(statement)
        _begin(publisher.writer, copy)
        for table, cells in publisher.recipe.columns.items():
            for target, select in _all_of(publisher, table):
                for _ in _moved(publisher.writer, copy, select, target, cells):
                    # Nobody sees a part of it, and memory is needed for no more than a part.
                    copy.execute("commit")
                    _checkpoint(copy, is_merging=True)
                    copy.execute("begin")
        for statement in publisher.recipe.comments:
            copy.execute(statement)
        _finish(publisher, copy, now)
        _checkpoint(copy, is_merging=True)
    return path


def _all_of(publisher: Publisher, table: str) -> Iterator[tuple[str, str]]:
    """Yield each table of a new generation that a table of the database goes to, with the query for what goes there."""
    columns = publisher.recipe.columns
    cells = _published(columns[table])
    history = f"audit.{table}"
    if table not in HISTORIES:
        if _history_of(table) is None:
            yield history, f"select {cells} from {history}"
        return
    open_state, key = f"{history}_open", HISTORIES[table]
    # An open state that does not say how its rows are open has no other way.
    stated = "*" if "state" in dict(columns[f"{table}_open"]) else "*, 'open' as state"
    yield f"published.{table}_settled", f"select {cells} from (select {stated} from {open_state})"
    # To look for what is past takes a hash table of all that is open: not where there can be none.
    if _count(publisher.writer, history) > _count(publisher.writer, open_state):
        newest = f"select 1 from {open_state} as newest where newest.{key} = version.{key} and "
        is_newest = f"exists ({newest} newest.run_id = version.run_id)"
        yield f"published.{table}_past", f"select {cells} from {history} as version where not {is_newest}"


def _renewed(publisher: Publisher, path: Path, now: datetime, *, is_merging: bool = False) -> Path | None:
    """Return the generation, brought up to date; None where it is not to be trusted (then it is gone) or is held.

    `is_merging`: merge its small row groups too, as is done from time to time anyhow.
    """
    _write_mode(path, _WRITABLE)
    try:
        with _writing(publisher, path) as copy:
            run_id = _trusted_run_id(publisher, copy)
            if run_id is not None:
                _begin(publisher.writer, copy)
                _add(publisher, copy, run_id, is_settling=is_merging or not publisher.tidies)
                is_time = _finish(publisher, copy, now) // _MERGED_RUNS > run_id // _MERGED_RUNS
                _checkpoint(copy, is_merging=is_merging or (is_time and not publisher.tidies))
                if is_time and publisher.tidies and not is_merging:
                    publisher.unmerged.add(path)
    except duckdb.Error as error:
        if isinstance(error, duckdb.InterruptException) or _is_disk(error):
            raise
        if "conflicting lock" in str(error).lower():  # a reader came
            _write_mode(path, _READABLE)
            return None
        run_id = None
    if run_id is None:
        shutil.rmtree(path)
        return None
    return path


def _trusted_run_id(publisher: Publisher, copy: duckdb.DuckDBPyConnection) -> int | None:
    """Return how far a generation is; None where it is not a copy of this database, or not as it would be made now.

    Tells, once, where the database ends before it.
    """
    told = copy.execute("select run_id, recipe from published.generation").fetchall()
    if len(told) != 1 or told[0][1] != publisher.recipe.digest:
        return None
    run_id: int = told[0][0]
    same = "select started_at, finished_at, status from audit.run where run_id = ?"
    if copy.execute(same, [run_id]).fetchall() == publisher.writer.execute(same, [run_id]).fetchall():
        return run_id
    last = _last_run(publisher.writer) or 0
    if last < run_id and not publisher.has_told_older:
        publisher.has_told_older = True
        publisher.tell(
            f"abr: run {run_id} was published, and the database ends with run {last}: it is an older copy, or its .wal "
            "was lost; load again what was loaded since"
        )
    return None


def _add(publisher: Publisher, copy: duckdb.DuckDBPyConnection, run_id: int, *, is_settling: bool) -> None:
    """Add what runs after this one wrote. Histories are in the order of runs, so only their ends are read."""
    for table, cells in publisher.recipe.columns.items():
        is_history = table in HISTORIES
        if not is_history and _history_of(table):
            continue  # an open state follows from its history
        target = f"published.{table}_recent" if is_history else f"audit.{table}"
        if "run_id" in dict(cells):
            select = f"select {_published(cells)} from audit.{table} where run_id > {run_id}"
        else:
            copy.execute(f"delete from {target}")
            select = f"select {_published(cells)} from audit.{table}"
        for _ in _moved(publisher.writer, copy, select, target, cells):
            pass
        if is_history and is_settling:
            _settle(copy, table, _names(cells))


def _settle(copy: duckdb.DuckDBPyConnection, history: str, columns: str) -> None:
    """Share what came since this was last done among what is open and what is past, where it has become much."""
    key = HISTORIES[history]
    settled, past, recent = (f"published.{history}_{part}" for part in _PARTS)
    count, settled_count = _count(copy, recent), _count(copy, settled)
    if count < min(max(settled_count // _SETTLED_SHARE, _SETTLED_MIN), _SETTLED_MAX):
        return
    copy.execute(f"set memory_limit = '{_MEMORY_BYTES + settled_count * _REMOVING_BYTES}B'")
    has_newer = f"{key} in (select {key} from {recent})"
    copy.execute(f"insert into {past} select {columns} from {settled} where {has_newer}")
    copy.execute(f"delete from {settled} where {has_newer}")
    copy.execute(f"insert into {settled} select {columns} from ({_ranked(history)}) where {_IS_OPEN_NOW}")
    copy.execute(f"insert into {past} select {columns} from ({_ranked(history)}) where not ({_IS_OPEN_NOW})")
    copy.execute(f"delete from {recent}")


def _count(copy: duckdb.DuckDBPyConnection, rows: str) -> int:
    count: int = copy.execute(f"select count(*) from {rows}").fetchall()[0][0]
    return count


def _begin(writer: duckdb.DuckDBPyConnection, copy: duckdb.DuckDBPyConnection) -> None:
    writer.execute("begin")
    copy.execute("begin")


def _finish(publisher: Publisher, copy: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Commit, and return the newest run, which the generation is of."""
    run_id = _last_run(publisher.writer) or 0
    publisher.writer.execute("rollback")
    copy.execute("delete from published.generation")
    copy.execute("insert into published.generation values (?, ?, ?)", [run_id, now, publisher.recipe.digest])
    copy.execute("commit")
    return run_id


def _checkpoint(copy: duckdb.DuckDBPyConnection, *, is_merging: bool) -> None:
    """Write all to the file. Only what is merged is compressed: to find out how takes longer than writing few rows."""
    copy.execute(f"set max_vacuum_tasks = {_MERGES_MAX if is_merging else 0}")
    copy.execute(f"set force_compression = '{'auto' if is_merging else 'uncompressed'}'")
    copy.execute("checkpoint")


def _moved(
    writer: duckdb.DuckDBPyConnection,
    copy: duckdb.DuckDBPyConnection,
    select: str,
    target: str,
    cells: Sequence[tuple[str, str]],
) -> Iterator[None]:
    """Move what the writer selects, part by part; yield after each of them."""
    rows = writer.execute(select).to_arrow_reader(_BATCH_ROWS)
    try:
        while part := list(itertools.islice(rows, _BATCHES_MAX)):
            copy.register("arriving", pa.Table.from_batches(part))
            try:
                copy.execute(f"insert into {target} ({_names(cells)}) select {_names(cells)} from arriving")
            finally:
                copy.unregister("arriving")
            yield
    finally:
        rows.close()


@contextlib.contextmanager
def _writing(publisher: Publisher, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection that writes a generation. Whatever happens, it is closed and nothing of it stays open."""
    file = path / FILE
    copy = publisher.copier
    if copy is None:
        # One thread: there is little to do each time, and the machine has readers to serve.
        spill = str(publisher.folder / _SPILL)
        config: dict[str, Any] = {"threads": 1, "memory_limit": f"{_MEMORY_BYTES}B", "temp_directory": spill}
        publisher.copier = copy = duckdb.connect(config=config)
        set_up(copy)
        copy.execute("set experimental_metadata_reuse = false")
    try:
        # What is torn is thrown away: it needs no log to be mended from, only that a checkpoint is all or nothing.
        how = f"recovery_mode 'no_wal_writes', storage_version '{_STORAGE_VERSION}'"
        copy.execute(f"attach {_quoted(str(file))} as abr_audit ({how})")
        copy.execute("use abr_audit")
        yield copy
        copy.execute("use memory")
        copy.execute("detach abr_audit")
        copy.execute(f"set memory_limit = '{_MEMORY_BYTES}B'")
    except BaseException:  # also an interruption: closing all lets go of the file, whatever state it is in
        publisher.copier = None
        copy.close()
        with contextlib.suppress(duckdb.TransactionException):  # where it got as far as beginning none
            publisher.writer.execute("rollback")
        raise
    if not _is_clean(path):
        raise NotPublished(f"{file} was not written whole", "check the disk")
    _write_mode(path, _READABLE)
    _own(file, publisher.group)
    _sync(file)
    _sync(path)


# ---- folders and files ----------------------------------------------------------------------------------------------


def _generations(folder: Path) -> list[Path]:
    """Return the generations, the one that was current longest ago first."""
    found = [path for path in folder.iterdir() if path.name.startswith(_PREFIX)]
    return sorted(found, key=lambda path: (_modified_ns(path), path.name))


def _modified_ns(path: Path) -> int:
    try:
        return (path / FILE).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _current(folder: Path) -> Path | None:
    try:
        path = folder / (folder / CURRENT).readlink()
    except FileNotFoundError:
        return None
    return path if path.is_dir() else None


def _is_clean(path: Path) -> bool:
    """Return whether a generation was closed in order. A `.wal` would be replayed, perhaps into what it is not of."""
    return (path / FILE).is_file() and not (path / f"{FILE}.wal").exists()


def _is_at_rest(path: Path) -> bool:
    """Return whether a generation that is not current can be written: whole, and read by nobody. A torn one is removed.

    Readers hold a lock that the system keeps; asking for the writer's shows them.
    """
    if not _is_clean(path):
        shutil.rmtree(path)
        return False
    _write_mode(path, _WRITABLE)
    with (path / FILE).open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EAGAIN}:
                raise
            _write_mode(path, _READABLE)
            return False
    return True


def _new_generation(publisher: Publisher) -> Path:
    numbers = [int(path.name.removeprefix(_PREFIX)) for path in _generations(publisher.folder)]
    publisher.generation = max(publisher.generation, *numbers, 0) + 1  # no path is used twice
    path = publisher.folder / f"{_PREFIX}{publisher.generation:06}"
    path.mkdir()
    path.chmod(_FOLDER)
    _own(path, publisher.group)
    return path


def _duplicate(publisher: Publisher, current: Path) -> Path:
    path = _new_generation(publisher)
    shutil.copyfile(current / FILE, path / FILE)
    return path


def _switch(folder: Path, path: Path) -> None:
    link = folder / f"{_LINK}-{path.name}"
    link.symlink_to(path.name, target_is_directory=True)
    link.replace(folder / CURRENT)
    _sync(folder)


def _make_folder(folder: Path, group: str | None) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(_FOLDER)
    _own(folder, group)


def _write_mode(path: Path, mode: int) -> None:
    (path / FILE).chmod(mode)


def _own(path: Path, group: str | None) -> None:
    if group is not None:
        shutil.chown(path, group=group)


def _require_group(group: str) -> None:
    try:
        grp.getgrnam(group)
    except KeyError:
        raise UsageError(
            f"there is no group {group}, which ABR_PUBLISHED_GROUP names", "name a group of this machine, or none"
        ) from None


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# ---- when, and what may go wrong ------------------------------------------------------------------------------------


def _last_run(writer: duckdb.DuckDBPyConnection) -> int | None:
    run_id: int | None = writer.execute("select max(run_id) from audit.run").fetchall()[0][0]
    return run_id


def _has_changed(publisher: Publisher) -> bool:
    """Return whether a run since the published one wrote more than that it ran."""
    run_id = publisher.published_run_id or 0
    if any(
        publisher.writer.execute(f"select 1 from audit.{table} where run_id > {run_id} limit 1").fetchall()
        for table in publisher.recipe.columns
        if table in HISTORIES
    ):
        return True
    differing = publisher.writer.execute(
        "select count(distinct (as_of, status, logs_received, logs_eligible, logs_quarantined, logs_excluded, "
        f"logs_out_of_term)) from audit.run where run_id >= {run_id}"
    ).fetchall()
    return bool(differing[0][0] > 1)


@contextlib.contextmanager
def _explained(publisher: Publisher) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        raise
    except (OSError, duckdb.Error) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else _first_line(error)
        if _is_disk(error):
            what, remedy = "no space left on its disk", "free some disk space"
        else:
            what, remedy = reason, "check who may write there"
        raise NotPublished(
            f"readers do not see the newest: {publisher.folder} cannot be written: {what}",
            f"{remedy}; the monitor goes on and tries again",
        ) from error


def _is_disk(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    lowered = str(error).lower()
    return "no space left" in lowered or "enospc" in lowered


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
