"""Keep a PostgreSQL schema `abr` equal to the report schema, for the many users a file is no good for.

The rows come from the published copy, never from the database itself, and by run: one PostgreSQL transaction takes the
versions that some runs wrote and moves the watermark in `abr.mirror_state`, so each run arrives exactly once.

What surprises:
- Only histories are tables; what is open now is a PostgreSQL view over them. A sync costs what the runs changed, and
  `valid_to`, `version` and the trend are continued on the server. `verify` compares every row with DuckDB's views.
- The monitor follows in a child process, not a thread: a server that never answers can then be left behind by killing
  it, and a generation held open by a reader in the publisher's own process would not look held to the publisher.
- A character that PostgreSQL cannot hold (NUL) arrives as U+FFFD, and `verify` takes the two for equal.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.csv
from sqlalchemy.engine import make_url

from abr import database, publishing
from abr import settings as settings_module
from abr.exceptions import ABRError, MirrorError, SchemaMismatch, UsageError
from abr.models import AGE_BUCKET
from abr.settings import Settings

SCHEMA: Final = "abr"
ROLE: Final = "abr_reader"
CONNECT_SECONDS: Final = 5
STATEMENT_SECONDS_MAX: Final = 600
LOCK_SECONDS_MAX: Final = 30
UNANSWERED_SECONDS_MAX: Final = 30
BACKOFF_SECONDS_MIN: Final = 1.0
BACKOFF_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 10.0  # how often the copy is looked at though nobody said that it changed
END_SECONDS: Final = 1.2
BATCH_ROWS: Final = 200_000
# How the SQLSTATE of an error begins where the server is not there, and what to do where it is, and says no.
_AWAY = ("08", "57P")
_REFUSALS = {
    "25006": "name the server that may be written, not its standby",
    "2BP01": f"drop what was built on ABR's relations in the schema {SCHEMA} first, and make it again afterwards",
    "53": "make room on the server: memory, disk or connections",
    "57014": f"find what slows the server down; a statement may take {STATEMENT_SECONDS_MAX} s",
    "55P03": f"end what holds tables of the schema {SCHEMA} over {LOCK_SECONDS_MAX} s, such as an open editor",
    "54": "shorten that cell where it was recorded, and load it again: PostgreSQL cannot index one so long",
    "40": f"end what writes to the schema {SCHEMA} beside this, and try again",
}
_LAYOUT = 1  # another number wants the mirror made anew
_ARROW_ROWS = 20_000
_PARSED_BYTES = 8_000_000
_JSON = ("raw", "settings")

# Each relation by its key. A history names the table of audit that it comes from and what it is a history of.
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "run_history": ("run_id",),
    "contract_position_history": ("contract_id", "valid_from_run_id"),
    "finding_history": ("finding_id", "version"),
    "quarantine_history": ("quarantine_id", "valid_from_run_id"),
    "leakage_trend": ("currency", "run_id"),
    "contract_position": ("contract_id",),
    "finding": ("finding_id",),
    "quarantine": ("quarantine_id",),
    "quarantine_reason": ("quarantine_id", "reason"),
    "leakage_aging": ("currency", "age_bucket"),
    "leakage_by_client": ("client", "currency"),
    "leakage_by_project": ("project_id", "contract_id", "currency"),
}
HISTORIES: Final = {
    relation: (table, publishing.HISTORIES[table])
    for relation, table in (
        ("contract_position_history", "position"),
        ("finding_history", "finding"),
        ("quarantine_history", "quarantine"),
    )
}
TABLES: Final = ("run_history", *HISTORIES, "leakage_trend")
# What a history says beyond the row of audit: SQL over s (the staged row), r, n, o (the runs that wrote the version,
# ended it, opened what it is a version of).
_CONTINUED = {
    "as_of": "r.as_of",
    "run_id": "s.run_id",
    "valid_from_run_id": "s.run_id",
    "valid_from_at": "r.finished_at",
    "valid_to_run_id": "s.next_run_id",
    "valid_to_at": "n.finished_at",
    "opened_at": "o.finished_at",
    "time_log_id": "case when s.about like 'log:%' then substr(s.about, 5) end",
    "version": "s.nth + coalesce((select max(h.version) from {history} as h where h.{key} = s.{key}), 0)",
}
_LAST_RUN = f"(select run_id, as_of from {SCHEMA}.run_history where status = 'ok' order by run_id desc limit 1)"
_POSITION_AGE = "(last_run.as_of - position.oldest_leakage_on)"
# What is open now, as views. Each select must say what the view of the same name in sql/report says.
_VIEWS: Final = {
    "contract_position": "select position.*, last_run.as_of as as_of_now, last_run.run_id as run_id_now, "
    f"{_POSITION_AGE} as age_days, "
    + AGE_BUCKET.format(age=_POSITION_AGE)
    + f" as age_bucket from {SCHEMA}.contract_position_history as position cross join {_LAST_RUN} as last_run "
    "where position.valid_to_run_id is null",
    "finding": f"select * from {SCHEMA}.finding_history where valid_to_run_id is null and state = 'open'",
    "quarantine": f"select * from {SCHEMA}.quarantine_history "
    "where valid_to_run_id is null and state in ('open', 'waived')",
    "quarantine_reason": "select quarantine_id, entity, key, reason "
    f"from {SCHEMA}.quarantine cross join lateral unnest(string_to_array(reasons, ',')) as reason",
    "leakage_aging": "select currency, age_bucket, count(*) as finding_count, sum(amount) as amount from ("
    f"select currency, amount, {AGE_BUCKET.format(age='(last_run.as_of - worked_on)')} as age_bucket "
    f"from {SCHEMA}.finding cross join {_LAST_RUN} as last_run where side = 'leakage') as aged "
    "group by currency, age_bucket",
    "leakage_by_client": "select client, currency, count(*) as contract_count, "
    "count(*) filter (where is_flagged) as flagged_count, sum(leakage_amount) as leakage_amount "
    f"from {SCHEMA}.contract_position_history where valid_to_run_id is null group by client, currency",
    "leakage_by_project": "select project_id, contract_id, min(client) as client, currency, "
    "div(sum(unbilled_seconds) * 20000 + 3600, 7200) * 0.0001 as unbilled_hours, "
    "sum(leakage_amount) as leakage_amount from (select project_id, contract_id, client, currency, "
    "sum(amount) filter (where side = 'leakage') as leakage_amount, "
    "coalesce(sum(seconds) filter (where class <> 'rate_under'), 0) as unbilled_seconds "
    f"from {SCHEMA}.finding where side in ('leakage', 'written_off') "
    "group by about, project_id, contract_id, client, currency having bool_or(side = 'leakage')) as logs "
    "group by project_id, contract_id, currency",
}
_RENAMED = {"contract_position": {"as_of": "as_of_now", "run_id": "run_id_now"}}
# Hash indexes for what may be longer than others hold.
_INDEXES: Final = (
    ("finding_history", "(contract_id, class)"),
    ("finding_history", "(valid_from_run_id)"),
    ("finding_history", "(finding_id) where valid_to_run_id is null"),
    ("finding_history", "(side, class, contract_id) where valid_to_run_id is null and state = 'open'"),
    ("finding_history", "using hash (client) where valid_to_run_id is null and state = 'open'"),
    ("finding_history", "using hash (time_log_id)"),
    ("contract_position_history", "(valid_from_run_id)"),
    ("contract_position_history", "(contract_id) where valid_to_run_id is null"),
    ("contract_position_history", "using hash (client) where valid_to_run_id is null"),
    ("quarantine_history", "(valid_from_run_id)"),
    ("quarantine_history", "(contract_id)"),
    ("quarantine_history", "(quarantine_id) where valid_to_run_id is null"),
    ("quarantine_history", "using hash (key)"),
    ("run_history", "(finished_at)"),
    ("leakage_trend", "(currency, run_id)"),
)
_STATE_COMMENT = "The one row that says what this schema is a copy of, and up to which run. Written with the rows."


@dataclass(frozen=True)
class Layout:
    """Columns (name, PostgreSQL type) by relation, comments by relation and by relation and column, and a digest."""

    columns: Mapping[str, Sequence[tuple[str, str]]]
    comments: Mapping[str, str]
    column_comments: Mapping[tuple[str, str], str]
    digest: str


@dataclass(frozen=True)
class Synced:
    """What a sync moved."""

    run_count: int
    row_count: int
    last_run_id: int


# ---- both sides -----------------------------------------------------------------------------------------------------


def url_of(settings: Settings) -> str:
    """Return the mirror's URL. UsageError where none is set."""
    if settings.mirror_url is None:
        raise UsageError(
            "no PostgreSQL mirror is set", "set ABR_MIRROR_URL=postgresql+psycopg://user:password@host:5432/database"
        )
    return settings.mirror_url


def place(url: str) -> str:
    """Return where the mirror is, without who connects and how."""
    parsed = make_url(url)
    host = parsed.host or parsed.query.get("host") or "this machine"
    return f"{host}{f':{parsed.port}' if parsed.port else ''}/{parsed.database}"


def copy_of(settings: Settings) -> Path:
    """Return the path of the published copy. UsageError for a database in memory."""
    path = settings_module.database_path(settings)
    if path is None:
        raise UsageError("a database in memory has no published copy to mirror", "name a file with --database")
    return publishing.file_of(path)


@contextlib.contextmanager
def _source(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to the newest published copy: one consistent state, whatever is published meanwhile."""
    if not path.exists():
        raise UsageError(f"there is no published copy at {path}", "start abr monitor, which publishes it")
    try:
        # The link may move between resolving and opening; what it named then is still whole.
        connection = duckdb.connect(str(path.resolve()), read_only=True, config={"threads": 1})
    except duckdb.Error as error:
        raise MirrorError(
            f"the published copy {path} cannot be read: {_first_line(error)}", "start abr monitor, which renews it"
        ) from error
    with connection:
        database.set_up(connection)
        yield connection


def _driver() -> Any:
    try:
        return importlib.import_module("psycopg")
    except ImportError as error:
        raise UsageError(
            f"the PostgreSQL mirror needs psycopg, which is not here ({_first_line(error)})",
            "run: pip install 'abr[postgres]'",
        ) from error


@contextlib.contextmanager
def _server(url: str) -> Iterator[Any]:
    """Yield a connection to the mirror's server. MirrorError says what is wrong with it or with what it was asked."""
    psycopg = _driver()
    parsed = make_url(url)
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "abr mirror",
        "client_encoding": "utf8",  # whatever PGCLIENTENCODING says: rows are sent as bytes
        "tcp_user_timeout": UNANSWERED_SECONDS_MAX * 1000,
        "keepalives_idle": UNANSWERED_SECONDS_MAX,
        **parsed.query,
        **parsed.translate_connect_args(username="user", database="dbname"),
    }
    try:
        with psycopg.connect(**options) as connection:
            connection.autocommit = True
            _require_utf8(connection, url)
            connection.execute(f"set statement_timeout = '{STATEMENT_SECONDS_MAX}s'")
            connection.execute(f"set lock_timeout = '{LOCK_SECONDS_MAX}s'")
            connection.execute("set timezone = 'UTC'")
            connection.execute("set datestyle = 'ISO'")
            connection.execute("set client_min_messages = 'warning'")
            yield connection
    except psycopg.Error as error:
        raise _explanation(error, url) from error


def _require_utf8(server: Any, url: str) -> None:
    encoding = server.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UsageError(
            f"the database at {place(url)} stores text as {encoding}, which cannot hold every name",
            "give the mirror one that was made with: create database NAME encoding 'UTF8' template template0",
        )


def _explanation(error: Exception, url: str) -> MirrorError:
    """Return what a driver's error means; never with a password in it."""
    psycopg = _driver()
    said = re.sub(r"^.*failed: ", "", _first_line(error))
    said = re.sub(r"^(FATAL|ERROR): +", "", said)
    password = make_url(url).password
    if password:
        said = re.sub(rf"(?<!\w){re.escape(str(password))}(?!\w)", "***", said)
    at = f"the PostgreSQL mirror at {place(url)}"
    for wanted, remedy in (
        ("no password supplied", "put the password into ABR_MIRROR_URL, or into ~/.pgpass"),
        ("authentication failed", "correct user and password in ABR_MIRROR_URL"),
        ("does not exist", "create it, or correct ABR_MIRROR_URL"),
        ("timeout expired", "check that host and port in ABR_MIRROR_URL are those of a PostgreSQL server"),
    ):
        if wanted in said and isinstance(error, psycopg.OperationalError):
            return MirrorError(f"{at} cannot be reached: {said}", remedy, is_away=True)
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (not state or state.startswith(_AWAY)):
        return MirrorError(
            f"{at} cannot be reached: {said}",
            "start the server, or correct host and port in ABR_MIRROR_URL",
            is_away=True,
        )
    for kind, remedy in _REFUSALS.items():
        if state.startswith(kind):
            return MirrorError(f"{at} refuses: {said}", remedy)
    if isinstance(error, psycopg.ProgrammingError) and not state:
        return MirrorError(f"{at} is not named as a server can be: {said}", "correct ABR_MIRROR_URL")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        user = make_url(url).username or "the connecting user"
        return MirrorError(
            f"{at} refuses: {said}",
            f"connect as the owner of the schema {SCHEMA}; where there is none yet, let an administrator run there: "
            f"create schema if not exists {SCHEMA} authorization {user}",
        )
    return MirrorError(f"{at} refuses: {said}", "abr mirror init --rebuild makes it anew")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


# ---- the layout -----------------------------------------------------------------------------------------------------


def layout_of(source: duckdb.DuckDBPyConnection) -> Layout:
    """Return what the mirror of this database looks like: the report schema in PostgreSQL's types."""
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in KEYS}
    for relation, column, kind in source.execute(
        "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'report' "
        "and database_name = current_database() order by table_name, column_index"
    ).fetchall():
        if relation in found:
            found[relation].append((column, _type_of(column, kind)))
    comments = dict(
        source.execute(
            "select view_name, comment from duckdb_views() where schema_name = 'report' and comment is not null "
            "and database_name = current_database()"
        ).fetchall()
    )
    by_table: dict[str, dict[str, str]] = {}
    for table, column, comment in source.execute(
        "select table_name, column_name, comment from duckdb_columns() where schema_name = 'audit' "
        "and comment is not null and database_name = current_database()"
    ).fetchall():
        by_table.setdefault(table, {})[column] = comment
    column_comments = {
        (relation, column): comment
        for relation, columns in found.items()
        for column, _ in columns
        if (comment := by_table.get(_base_of(relation), {}).get(column))
        and (relation, column) != ("contract_position", "run_id")
    }
    digest = hashlib.sha256(json.dumps([_LAYOUT, found]).encode()).hexdigest()[:16]
    return Layout(found, comments, column_comments, digest)


def _base_of(relation: str) -> str:
    if relation == "run_history":
        return "run"
    return HISTORIES.get(relation, HISTORIES.get(f"{relation}_history", ("", "")))[0]


def _type_of(column: str, kind: str) -> str:
    if column in _JSON:
        return "jsonb"
    if kind.startswith("DECIMAL"):
        return kind.replace("DECIMAL", "numeric").replace(" ", "").lower()
    if kind.startswith("TIMESTAMP"):
        return "timestamptz"
    known = {"VARCHAR": "text", "DATE": "date", "BOOLEAN": "boolean", "DOUBLE": "double precision"}
    whole = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
    if kind in known:
        return known[kind]
    if kind in whole:
        return "bigint"
    if kind in {"HUGEINT", "UBIGINT"}:
        return "numeric(38,0)"
    raise ABRError(f"report column {column} is a {kind}, which the mirror has no type for", "please report it")


def _sent(column: str, kind: str) -> str:
    """Return the DuckDB expression that words a cell as PostgreSQL reads it."""
    name = f'"{column}"'
    if kind == "timestamptz":
        return f"strftime({name}, '%Y-%m-%d %H:%M:%S.%f') || '+00' as {name}"
    if kind == "jsonb":
        valid = f"case when json_valid({name}) then {name}::varchar else to_json({name})::varchar end"
        # An escaped backslash is put aside, so that what looks like an escaped NUL behind it is left alone.
        whole = f"replace(replace(replace({valid}, '\\\\', chr(1)), '\\u0000', '\\ufffd'), chr(1), '\\\\')"
        return f"{whole} as {name}"
    if kind == "text":
        return f"replace({name}, chr(0), chr(65533)) as {name}"
    return f"{name}::varchar as {name}"


# ---- init -----------------------------------------------------------------------------------------------------------


def init(settings: Settings, *, is_rebuilt: bool = False) -> list[dict[str, str]]:
    """Create the schema, or what is missing of it; return one row for each relation with what it holds.

    Running it again changes nothing. `is_rebuilt` drops the mirror's own relations first; the next sync fills them.
    """
    url = url_of(settings)
    with database.connect("duckdb:///:memory:") as connection:
        layout = layout_of(connection.connection.driver_connection)  # type: ignore[arg-type]
    with _server(url) as server:
        with server.transaction():
            server.execute("select pg_advisory_xact_lock(hashtext('abr mirror init'))")
            _require_ours(server, url)
            if is_rebuilt:
                _drop(server)
            if not _has_state(server):
                _create(server, layout)
            _require_layout(server, url, layout.digest)
            _comment(server, layout)
        _let_read(server, url)
        return [
            {
                "relation": f"{SCHEMA}.{name}",
                "kind": "table" if name in TABLES else "view",
                "comment": layout.comments.get(name, ""),
            }
            for name in KEYS
        ]


def _has_state(server: Any) -> bool:
    return server.execute("select to_regclass(%s)", [f"{SCHEMA}.mirror_state"]).fetchone()[0] is not None


def _require_ours(server: Any, url: str) -> None:
    found = server.execute(
        "select relname from pg_class where relnamespace = to_regnamespace(%s) "
        "and relkind in ('r', 'v', 'm', 'p', 'f') order by relname",
        [SCHEMA],
    ).fetchall()
    if found and "mirror_state" not in {name for (name,) in found}:
        raise UsageError(
            f"the schema {SCHEMA} in {place(url)} is not ABR's: it holds {found[0][0]}",
            "give the mirror a PostgreSQL database of its own",
        )


def _require_layout(server: Any, url: str, digest: str) -> None:
    there = server.execute(f"select layout, abr_version from {SCHEMA}.mirror_state").fetchone()
    if there is None or there[0] != digest:
        maker = f"ABR {there[1]} with another report schema" if there else "an unfinished ABR"
        raise SchemaMismatch(
            f"the mirror at {place(url)} was made by {maker}; this is ABR {version('abr')}",
            "use the same version of ABR, or make the mirror anew: abr mirror init --rebuild",
        )


def _drop(server: Any) -> None:
    for name in reversed(_VIEWS):
        server.execute(f"drop view if exists {SCHEMA}.{name}")
    for name in (*TABLES, "mirror_state"):
        server.execute(f"drop table if exists {SCHEMA}.{name}")


def _create(server: Any, layout: Layout) -> None:
    # `if not exists` asks for the right to create it even where it exists.
    if server.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone()[0] is None:
        server.execute(f"create schema {SCHEMA}")
    for name in TABLES:
        columns = ", ".join(f'"{column}" {kind}' for column, kind in layout.columns[name])
        key = "" if name == "leakage_trend" else f", primary key ({', '.join(KEYS[name])})"  # its currency may be NULL
        server.execute(f"create table {SCHEMA}.{name} ({columns}{key})")
    for number, (table, what) in enumerate(_INDEXES, 1):
        server.execute(f"create index {table}_{number} on {SCHEMA}.{table} {what}")
    for name, select_ in _VIEWS.items():
        renamed = _RENAMED.get(name, {})
        columns = ", ".join(
            f'"{renamed.get(column, column)}"::{kind} as "{column}"' for column, kind in layout.columns[name]
        )
        server.execute(f"create view {SCHEMA}.{name} as select {columns} from ({select_}) as shown")
    server.execute(
        f"create table {SCHEMA}.mirror_state (is_only boolean primary key default true check (is_only), "
        "layout text not null, abr_version text not null, schema_revision text not null, database_id text, "
        "last_run_id bigint not null, synced_at timestamptz, last_error text, last_error_at timestamptz)"
    )
    server.execute(
        f"insert into {SCHEMA}.mirror_state (layout, abr_version, schema_revision, last_run_id) values (%s, %s, %s, 0)",
        [layout.digest, version("abr"), database.head()],
    )


def _comment(server: Any, layout: Layout) -> None:
    def literal(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    server.execute(f"comment on schema {SCHEMA} is 'A copy of the report schema of ABR, kept up to date by run.'")
    server.execute(f"comment on table {SCHEMA}.mirror_state is {literal(_STATE_COMMENT)}")
    for name in KEYS:
        kind = "table" if name in TABLES else "view"
        if name in layout.comments:
            server.execute(f"comment on {kind} {SCHEMA}.{name} is {literal(layout.comments[name])}")
    for (name, column), comment in layout.column_comments.items():
        server.execute(f'comment on column {SCHEMA}.{name}."{column}" is {literal(comment)}')


def _let_read(server: Any, url: str) -> None:
    psycopg = _driver()
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        if server.execute("select 1 from pg_roles where rolname = %s", [ROLE]).fetchone() is None:
            try:
                server.execute(f"create role {ROLE} nologin")
            except psycopg.errors.InsufficientPrivilege as error:
                raise MirrorError(
                    f"the mirror at {place(url)} is ready, but its user may not create the role {ROLE}",
                    f"let an administrator run there: create role {ROLE} nologin; then run abr mirror init again",
                ) from error
    with server.transaction():
        server.execute(f"grant usage on schema {SCHEMA} to {ROLE}")
        server.execute(f"grant select on all tables in schema {SCHEMA} to {ROLE}")
        server.execute(f"alter default privileges in schema {SCHEMA} grant select on tables to {ROLE}")


# ---- sync -----------------------------------------------------------------------------------------------------------


def sync(settings: Settings, *, stopped: Callable[[], bool] = lambda: False, batch_rows: int = BATCH_ROWS) -> Synced:
    """Bring the mirror up to the newest published run, in batches of whole runs; return what was moved.

    Raises MirrorError; what a server that is there says is left on it for `abr mirror status`.
    """
    try:
        return _synced(settings, stopped, batch_rows)
    except MirrorError as error:
        if not error.is_away:
            _remember(settings, error)
        raise


def _synced(settings: Settings, stopped: Callable[[], bool], batch_rows: int) -> Synced:
    url = url_of(settings)
    run_count = row_count = last_run_id = 0
    with _source(copy_of(settings)) as source, _server(url) as server:
        layout = layout_of(source)
        _require_init(server, url, layout.digest)
        while not stopped():
            with server.transaction():
                state = server.execute(
                    f"select last_run_id, database_id from {SCHEMA}.mirror_state for update"
                ).fetchone()
                last_run_id = state[0]
                _require_same_books(server, source, url, last_run_id, state[1])
                until = _batch_end(source, last_run_id, batch_rows)
                if until is None:
                    break
                moved = _move(server, source, layout, last_run_id, until)
                server.execute(
                    f"update {SCHEMA}.mirror_state set last_run_id = %s, database_id = %s, synced_at = now()",
                    [until, _database_id(source)],
                )
            row_count += sum(moved.values())
            run_count += moved["run_history"]
            last_run_id = until
    return Synced(run_count, row_count, last_run_id)


def _require_init(server: Any, url: str, digest: str) -> None:
    _require_ours(server, url)
    if not _has_state(server):
        raise UsageError(f"there is no mirror yet at {place(url)}", "run: abr mirror init")
    _require_layout(server, url, digest)


def _database_id(source: duckdb.DuckDBPyConnection) -> str | None:
    """Return what tells one ABR database from another: when its first run started."""
    first = source.execute("select run_id, started_at from audit.run order by run_id limit 1").fetchone()
    return None if first is None else f"run {first[0]} of {first[1].isoformat(sep=' ')}"


def _require_same_books(
    server: Any, source: duckdb.DuckDBPyConnection, url: str, last_run_id: int, database_id: str | None
) -> None:
    here = _database_id(source)
    if database_id is not None and here is not None and here != database_id:
        raise UsageError(
            f"the mirror at {place(url)} is of another database (its first is {database_id}, here {here})",
            "give each database a PostgreSQL database of its own, or fill this one anew: abr mirror init --rebuild",
        )
    ours = source.execute("select started_at from audit.run where run_id = ?", [last_run_id]).fetchone()
    theirs = server.execute(
        f"select started_at at time zone 'UTC' from {SCHEMA}.run_history where run_id = %s", [last_run_id]
    ).fetchone()
    newest = source.execute("select max(run_id) from audit.run").fetchone()
    is_ahead = here is not None and newest is not None and newest[0] < last_run_id
    if is_ahead or (ours and theirs and ours[0] != theirs[0]):
        what = "is newer than all runs here" if is_ahead else f"is not run {last_run_id} here"
        raise UsageError(
            f"run {last_run_id} in the mirror at {place(url)} {what}: an older copy of the database was restored",
            "fill the mirror anew: abr mirror init --rebuild",
        )


def _batch_end(source: duckdb.DuckDBPyConnection, after: int, batch_rows: int) -> int | None:
    """Return the last of the runs after this one that fit a batch, at least one; None where there is none."""
    counts = " union all ".join(
        f"select run_id, count(*) as row_count from audit.{table} where run_id > $after group by run_id"
        for table in ("run", *(table for table, _ in HISTORIES.values()))
    )
    found = source.execute(
        f"with runs as (select run_id, sum(row_count) as row_count from ({counts}) group by run_id), "
        "before as (select run_id, sum(row_count) over (order by run_id) - row_count as row_count from runs) "
        "select max(run_id) from before where row_count < $rows",
        {"after": after, "rows": batch_rows},
    ).fetchone()
    return None if found is None else found[0]


def _move(server: Any, source: duckdb.DuckDBPyConnection, layout: Layout, after: int, until: int) -> dict[str, int]:
    """Copy what these runs wrote, and end the versions they ended; return the rows by table."""
    span = "where run_id > $after and run_id <= $until"
    runs = layout.columns["run_history"]
    sent = ", ".join(_sent(column, kind) for column, kind in runs)
    names = ", ".join(f'"{column}"' for column, _ in runs)
    bound = {"after": after, "until": until}
    moved = {
        "run_history": _copy(
            server,
            source,
            f"select {sent} from report.run_history {span} order by run_id",
            bound,
            f"{SCHEMA}.run_history ({names})",
        )
    }
    for history, (table, key) in HISTORIES.items():
        columns = [(column, kind) for column, kind in layout.columns[history] if column not in _CONTINUED]
        staged = [("run_id", "bigint"), *columns]
        staged += [] if "state" in dict(columns) else [("state", "text")]
        listed = ", ".join(f'"{column}" {kind}' for column, kind in staged)
        server.execute(f"create temp table staged_{table} ({listed}) on commit drop")
        sent = ", ".join(_sent(column, kind) for column, kind in staged)
        moved[history] = _copy(
            server, source, f"select {sent} from audit.{table} {span}", bound, f"pg_temp.staged_{table}"
        )
        if moved[history] == 0:
            continue
        server.execute(f"analyze pg_temp.staged_{table}")
        if table == "position":
            _continue_trend(server)
        _continue(server, history, table, key, [column for column, _ in layout.columns[history]])
    return moved


def _copy(server: Any, source: duckdb.DuckDBPyConnection, query: str, bound: Mapping[str, int], into: str) -> int:
    """Stream the rows of a DuckDB query, all of them text, into a PostgreSQL table; return how many."""
    # What is quoted is a value, also an empty one; what is not quoted is NULL. Both sides read it that way.
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
    row_count = 0
    with server.cursor() as cursor, cursor.copy(f"copy {into} from stdin (format csv)") as copy:
        for batch in source.execute(query, bound).to_arrow_reader(_ARROW_ROWS):
            if batch.num_rows:
                text = io.BytesIO()
                pyarrow.csv.write_csv(batch, text, options)
                copy.write(text.getvalue())
                row_count += batch.num_rows
    return row_count


def _continue(server: Any, history: str, table: str, key: str, columns: Sequence[str]) -> None:
    """End the versions that have a successor now, then add the staged ones."""
    name = f"{SCHEMA}.{history}"
    server.execute(
        f"update {name} as h set valid_to_run_id = r.run_id, valid_to_at = r.finished_at "
        f"from (select {key}, min(run_id) as run_id from pg_temp.staged_{table} group by {key}) as s "
        f"inner join {SCHEMA}.run_history as r on s.run_id = r.run_id "
        f"where h.{key} = s.{key} and h.valid_to_run_id is null"
    )
    listed = ", ".join(f'"{column}"' for column in columns)
    selected = ", ".join(
        _CONTINUED[column].format(history=name, key=key) if column in _CONTINUED else f's."{column}"'
        for column in columns
    )
    opened = "s.opened_run_id" if "opened_run_id" in columns else "null"
    # A contract that is gone has no position: its closed version only ends the one before.
    only = "where s.state = 'open'" if "state" not in columns else ""
    server.execute(
        f"insert into {name} ({listed}) select {selected} from ("
        f"select *, row_number() over by_key as nth, lead(run_id) over by_key as next_run_id "
        f"from pg_temp.staged_{table} window by_key as (partition by {key} order by run_id)) as s "
        f"inner join {SCHEMA}.run_history as r on s.run_id = r.run_id "
        f"left join {SCHEMA}.run_history as n on s.next_run_id = n.run_id "
        f"left join {SCHEMA}.run_history as o on {opened} = o.run_id {only}"
    )


def _continue_trend(server: Any) -> None:
    """Add the totals after the staged runs, from the last total there is; before the positions are continued."""
    server.execute(
        "with versions as ("
        "select run_id, contract_id, currency, case when state = 'open' then leakage_amount else 0 end as amount, "
        "row_number() over by_contract as nth, lag(currency) over by_contract as lag_currency, "
        "lag(case when state = 'open' then leakage_amount else 0 end) over by_contract as lag_amount "
        "from pg_temp.staged_position window by_contract as (partition by contract_id order by run_id)), "
        "steps as (select run_id, currency, amount from versions "
        "union all select v.run_id, case when v.nth > 1 then v.lag_currency else h.currency end, "
        "-case when v.nth > 1 then v.lag_amount else h.leakage_amount end "
        f"from versions as v left join {SCHEMA}.contract_position_history as h "
        "on v.nth = 1 and v.contract_id = h.contract_id and h.valid_to_run_id is null "
        "where v.nth > 1 or h.contract_id is not null), "
        "by_run as (select currency, run_id, sum(amount) as amount from steps group by currency, run_id "
        "having sum(amount) <> 0) "
        f"insert into {SCHEMA}.leakage_trend (currency, run_id, finished_at, leakage_amount) "
        "select b.currency, b.run_id, r.finished_at, sum(b.amount) over (partition by b.currency order by b.run_id) "
        f"+ coalesce((select t.leakage_amount from {SCHEMA}.leakage_trend as t "
        "where t.currency is not distinct from b.currency order by t.run_id desc limit 1), 0) "
        f"from by_run as b inner join {SCHEMA}.run_history as r on b.run_id = r.run_id"
    )


# ---- status and verify ----------------------------------------------------------------------------------------------


def status(settings: Settings) -> tuple[list[dict[str, str]], ABRError | None]:
    """Return where both sides are as rows of what and value, and what is wrong, if something is."""
    url = url_of(settings)
    told: dict[str, str] = {"mirror": settings_module.masked_url(url)}
    trouble: ABRError | None = None
    try:
        with _source(copy_of(settings)) as source:
            here = source.execute("select coalesce(max(run_id), 0), max(finished_at) from audit.run").fetchone() or (0,)
            told["last run here"] = str(here[0])
            with _server(url) as server:
                _require_init(server, url, layout_of(source).digest)
                last_run_id, synced_at, error, error_at, database_id = server.execute(
                    f"select last_run_id, synced_at, last_error, last_error_at, database_id from {SCHEMA}.mirror_state"
                ).fetchone()
                told["last run there"] = str(last_run_id)
                _require_same_books(server, source, url, last_run_id, database_id)
                behind = source.execute(
                    "select count(*), min(finished_at) from audit.run where run_id > ?", [last_run_id]
                ).fetchone() or (0, None)
                told["lag in runs"] = str(behind[0])
                # How long the first run that is missing there has been waiting.
                waiting = datetime.now(UTC).replace(tzinfo=None) - behind[1] if behind[0] else timedelta()
                told["lag in seconds"] = f"{max(waiting.total_seconds(), 0):.0f}"
                told["last synced"] = f"{synced_at:%Y-%m-%d %H:%M:%SZ}" if synced_at else "never"
                told["last error"] = f"{error_at:%Y-%m-%d %H:%M:%SZ} {error}" if error else "none"
    except ABRError as error:
        trouble = error
        told["error"] = error.message
    told["state"] = "failing" if trouble else "up to date" if told["lag in runs"] == "0" else "behind"
    return [{"what": what, "value": value} for what, value in told.items()], trouble


def verify(settings: Settings, *, patience_seconds: float = 30.0) -> list[dict[str, str]]:
    """Compare every relation row for row; return one row for each difference: what, id, detail.

    Both sides are read as of the same run: while the mirror is catching up, that is waited for, up to a limit.
    """
    url = url_of(settings)
    until = time.monotonic() + patience_seconds
    while True:
        with _source(copy_of(settings)) as source, _server(url) as server:
            layout = layout_of(source)
            _require_init(server, url, layout.digest)
            with server.transaction():
                server.execute("set transaction isolation level repeatable read, read only")
                there, database_id = server.execute(
                    f"select last_run_id, database_id from {SCHEMA}.mirror_state"
                ).fetchone()
                _require_same_books(server, source, url, there, database_id)
                here = (source.execute("select coalesce(max(run_id), 0) from audit.run").fetchone() or (0,))[0]
                if here == there:
                    return [difference for name in KEYS for difference in _differences(server, source, name, layout)]
                if time.monotonic() >= until:
                    return [{"what": "mirror_state", "id": "last_run_id", "detail": f"here {here}, mirror {there}"}]
        time.sleep(0.5)


def _one_json(text: str) -> str:
    """Return the same JSON in one spelling: jsonb keeps neither the order of keys nor blanks."""
    return json.dumps(json.loads(text, parse_float=Decimal), sort_keys=True, default=str)


def _differences(server: Any, source: duckdb.DuckDBPyConnection, name: str, layout: Layout) -> Iterator[dict[str, str]]:
    """Yield what differs in one relation, by its key, both sides as text."""
    columns = layout.columns[name]
    names = [column for column, _ in columns]
    sent = ", ".join(_sent(column, kind) for column, kind in columns)
    for table in ("ours", "theirs"):
        listed = ", ".join(f'"{column}" varchar' for column in names)
        source.execute(f"create or replace temp table {table} ({listed})")
    if any(kind == "jsonb" for _, kind in columns):
        for batch in source.cursor().execute(f"select {sent} from report.{name}").to_arrow_reader(_ARROW_ROWS):
            _add(source, "ours", pa.Table.from_batches([batch]), columns)
    else:
        source.execute(f"insert into ours select {sent} from report.{name}")
    _fetch(server, source, name, columns)
    source.execute("create or replace temp table only_ours as from ours except all from theirs")
    source.execute("create or replace temp table only_theirs as from theirs except all from ours")
    joined = " and ".join(f'o."{column}" is not distinct from t."{column}"' for column in KEYS[name])
    both = ", ".join(f'o."{column}", t."{column}"' for column in names)
    found = source.execute(
        f"select o.is_there, t.is_there, {both} "
        "from (select true as is_there, * from only_ours) as o "
        f"full join (select true as is_there, * from only_theirs) as t on {joined} order by all"
    )
    for is_here, is_there, *cells in iter(found.fetchone, None):
        here, there = dict(zip(names, cells[::2], strict=True)), dict(zip(names, cells[1::2], strict=True))
        if is_here and is_there:
            detail = ", ".join(
                f"{column} {_worded(here[column])} here, {_worded(there[column])} in the mirror"
                for column in names
                if here[column] != there[column]
            )
        else:
            detail = "only here" if is_here else "only in the mirror"
        key = (here if is_here else there)[KEYS[name][0]], *((here if is_here else there)[c] for c in KEYS[name][1:])
        yield {"what": f"{SCHEMA}.{name}", "id": "/".join(map(_worded, key)), "detail": detail}


def _worded(cell: str | None) -> str:
    return "NULL" if cell is None else cell


def _fetch(server: Any, source: duckdb.DuckDBPyConnection, name: str, columns: Sequence[tuple[str, str]]) -> None:
    """Bring the mirror's rows of a relation into the temporary table `theirs`, as text."""
    selected = ", ".join(
        f"to_char(\"{column}\" at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'"
        if kind == "timestamptz"
        else f'"{column}"::text'
        for column, kind in columns
    )
    names = [column for column, _ in columns]
    waiting: list[bytes] = []
    byte_count = 0
    query = f"copy (select {selected} from {SCHEMA}.{name}) to stdout (format csv, force_quote *)"
    with server.cursor() as cursor, cursor.copy(query) as copy:
        for row in copy:
            waiting.append(bytes(row))
            byte_count += len(waiting[-1])
            if byte_count >= _PARSED_BYTES:
                _add(source, "theirs", _parsed(b"".join(waiting), names), columns)
                waiting, byte_count = [], 0
    if waiting:
        _add(source, "theirs", _parsed(b"".join(waiting), names), columns)


def _parsed(text: bytes, names: Sequence[str]) -> Any:
    return pyarrow.csv.read_csv(
        io.BytesIO(text),
        # A block holds whole rows, however long one is.
        pyarrow.csv.ReadOptions(column_names=list(names), block_size=len(text) + 1, use_threads=False),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )


def _add(source: duckdb.DuckDBPyConnection, into: str, table: Any, columns: Sequence[tuple[str, str]]) -> None:
    """Add the rows to a temporary table, their JSON in one spelling."""
    for place_, (column, kind) in enumerate(columns):
        if kind == "jsonb":
            cells = [None if cell is None else _one_json(cell) for cell in table.column(place_).to_pylist()]
            table = table.set_column(place_, column, pa.array(cells, pa.string()))
    source.register("added", table)
    source.execute(f"insert into {into} from added")
    source.unregister("added")


# ---- following ------------------------------------------------------------------------------------------------------


def follow(settings: Settings, tell: Callable[[str], object], *, stream: int = 0) -> None:
    """Sync after every line that comes on `stream`, and now and then without one, until it ends.

    What goes wrong is told once, and again when it is over; meanwhile it is tried at growing intervals.
    """
    url_of(settings)
    ended, woken = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(stream, ended, woken), daemon=True).start()
    trouble: ABRError | None = None
    since = 0.0
    backoff_seconds = BACKOFF_SECONDS_MIN
    has_woken = is_last = False
    while True:
        has_woken |= woken.is_set()
        woken.clear()
        try:
            if has_woken or copy_of(settings).exists():  # before the first cycle nothing may be published yet
                sync(settings)
        except ABRError as error:
            # A server that goes away says so in other words each time; that is one trouble.
            if trouble is None or _kind(trouble) != _kind(error):
                tell(f"abr: mirror: {error.message}; {error.remedy}; it is tried again, and reconciliation goes on")
            since = since if trouble else time.monotonic()
            trouble = error
            if ended.wait(backoff_seconds):
                return
            backoff_seconds = min(backoff_seconds * 2, BACKOFF_SECONDS_MAX)
            continue
        if trouble is not None:
            _remember(settings, trouble)
            tell(f"abr: mirror: up to date again after {time.monotonic() - since:.0f} s")
            trouble, backoff_seconds = None, BACKOFF_SECONDS_MIN
        if is_last:
            return
        if not ended.is_set():
            woken.wait(LOOK_SECONDS)
        is_last = ended.is_set()


def _kind(trouble: ABRError) -> tuple[type, bool]:
    return type(trouble), isinstance(trouble, MirrorError) and trouble.is_away


def _listen(stream: int, ended: threading.Event, woken: threading.Event) -> None:
    """Note each line, and the end of the stream: then the process has a moment to finish, and goes."""
    while os.read(stream, 4096):
        woken.set()
    ended.set()
    woken.set()
    time.sleep(END_SECONDS)
    os._exit(0)  # what PostgreSQL has not committed yet it takes back


def _remember(settings: Settings, trouble: ABRError) -> None:
    """Leave the last trouble on the server, for `abr mirror status`."""
    with contextlib.suppress(ABRError), _server(url_of(settings)) as server:
        server.execute(f"update {SCHEMA}.mirror_state set last_error = %s, last_error_at = now()", [trouble.message])


@dataclass
class Mirror:
    """The process that follows, seen from the monitor. Nothing here waits for it, and nothing it does raises here."""

    start: Callable[[], subprocess.Popen[str]]
    process: subprocess.Popen[str] | None = None
    started_at: float = 0.0

    def wake(self) -> None:
        """Say that there is something new. A process that was killed is replaced, at most every few seconds."""
        if self.process is None:
            return
        if self.process.poll() is not None and time.monotonic() - self.started_at > LOOK_SECONDS / 2:
            self.process, self.started_at = self.start(), time.monotonic()
        with contextlib.suppress(OSError):  # it is gone, or has not read the last lines yet
            if self.process.stdin is not None:
                os.write(self.process.stdin.fileno(), b"\n")


@contextlib.contextmanager
def following(settings: Settings, tell: Callable[[str], object]) -> Iterator[Mirror]:
    """While entered, a process of its own keeps the mirror up to date, where one is set. `tell` gets its notes."""
    if settings.mirror_url is None:
        yield Mirror(_nothing)
        return
    copy_of(settings)
    listeners: list[threading.Thread] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603  this program itself
            [sys.executable, "-m", "abr", "mirror", "sync", "--follow", "--database", settings.database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            # Not on the command line, which every user of a machine can read.
            env=os.environ | {"ABR_MIRROR_URL": url_of(settings), "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
            start_new_session=True,  # Ctrl-C is for the monitor, which then ends this one
        )
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
        listener = threading.Thread(target=_pass_on, args=(process, tell), daemon=True)
        listener.start()
        listeners.append(listener)
        return process

    mirror = Mirror(start, start(), time.monotonic())
    try:
        yield mirror
    finally:
        _end(mirror.process)
        for listener in listeners:
            listener.join(0.2)


def _nothing() -> subprocess.Popen[str]:
    raise ABRError("no mirror is set", "please report it")


def _pass_on(process: subprocess.Popen[str], tell: Callable[[str], object]) -> None:
    for line in process.stderr or ():
        tell(line.rstrip())


def _end(process: subprocess.Popen[str] | None) -> None:
    """Let the process finish what it is at, for a moment, then kill it."""
    if process is None:
        return
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(END_SECONDS + 0.3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
