"""Open ABR's database: create it on first use, check its schema, say clearly why it cannot be used.

DuckDB lets one process hold a file for writing. `connect` holds it until the connection is closed.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from abr import views
from abr.exceptions import ABRError, DatabaseBusy, DataIntegrityError, SchemaMismatch, UsageError
from abr.models import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alembic.config import Config


# DuckDB 1.5 drops rows by filters that a join pushes down to its other side: where a prepared statement is executed
# again it may still hold the last execution's, and its threads and spilled rows may miss some (its issues 22075, 24182
# and 25702). Without those filters its late materialization, which finds the first rows of an order and then joins them
# with the whole table for their other columns, reads all of them: 0.8 s for the newest 40 of 14 million findings.
# Its row group pruner takes deleted rows for the first ones of an order, until the next checkpoint (its pull request
# 22949): `order by row_id desc limit 1` may find nothing, or a row that is not the last.
OPTIMIZERS_OFF = "join_filter_pushdown,late_materialization,row_group_pruner"


def path_of(database_url: str) -> Path | None:
    """Return the file a database URL names; None for a database in memory. Raises UsageError for other URLs."""
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise UsageError(f"{database_url} is no database URL", "write it as duckdb:///abr.duckdb") from error
    if url.get_backend_name() != "duckdb":
        raise UsageError(f"{database_url} is no DuckDB database", "write it as duckdb:///abr.duckdb")
    return Path(url.database) if url.database and url.database != ":memory:" else None


def set_up(driver: duckdb.DuckDBPyConnection) -> None:
    """Give a new connection the settings that every one of ABR's has."""
    # Progress on stderr is ABR's own. DuckDB's goes to stdout, wherever a process runs no script (python -c, spawned
    # ones); the setting is a connection's, not the database's.
    driver.execute("set enable_progress_bar = false")
    driver.execute(f"set disabled_optimizers = '{OPTIMIZERS_OFF}'")


# A new file is written for DuckDB 1.2 and newer. Not told, DuckDB 1.5 writes for 0.10: checkpoints take a quarter
# longer, and a log 4 % more bytes. What it writes for 1.5 is no smaller, and cycles take some more.
STORAGE_VERSION = "v1.2.0"
# ... in blocks a quarter as large as DuckDB's own: runs over a few contracts read a little of many columns, block by
# block. With still smaller ones its compression fails: a log takes a third more bytes.
BLOCK_BYTES = 65_536
_HEADER_BYTES = 3 * 4096  # of a DuckDB file, before its first block


# DuckDB writes its log into the file when it has grown to 16 MB, in whichever commit that happens. A process that calls
# `write_log` between its cycles has that done earlier, while nobody waits.
_LONG_LOG_BYTES, _LATEST_CHECKPOINT = 4_000_000, "64MB"


def tidies(connection: Connection) -> None:
    """Say that this process calls `write_log` between its cycles when `has_long_log`."""
    connection.exec_driver_sql(f"set checkpoint_threshold = '{_LATEST_CHECKPOINT}'")
    connection.rollback()


def has_long_log(connection: Connection) -> bool:
    """Return whether it is time to write the log into the file; never for a database in memory."""
    path = path_of(str(connection.engine.url))
    log = path and path.with_name(path.name + ".wal")
    return log is not None and log.exists() and log.stat().st_size >= _LONG_LOG_BYTES


def write_log(connection: Connection) -> None:
    """Write the log into the file, and nothing else: DuckDB would also merge small row groups.

    It merges them into the large one before them, of all tables at once: a second or two where there are millions.
    """
    connection.exec_driver_sql("set max_vacuum_tasks = 0")
    try:
        connection.exec_driver_sql("checkpoint")
    finally:
        connection.exec_driver_sql("reset max_vacuum_tasks")
    connection.rollback()


# What DuckDB keeps of what it has read, where it is told to keep little: so much, or this part of a larger file, which
# is more than the numbers of all keys that a load looks through.
_LITTLE_MEMORY_BYTES, _LITTLE_MEMORY_SHARE = 384_000_000, 16
# Runs over many contracts read most of the file: while they come, and so long after, so many times as much may be kept.
_BUSY_FACTOR, _BUSY_SECONDS = 4, 60.0


@contextmanager
def little_memory(connection: Connection, *, factor: int = 1) -> Iterator[None]:
    """Let DuckDB hold little memory meanwhile, or so many times as much, unless people have said how much it may hold.

    It gives back what it has read, which else it keeps up to its limit; the operating system has that at hand too. Only
    for what needs little, such as reading from one end to the other, or nothing at all; and not while another thread
    uses the database. Nothing changes for a small file.
    """
    little_bytes = _little_memory_bytes(connection)
    if little_bytes is None:
        yield
        return
    # Another connection to it, because this one may be in the middle of something.
    driver = connection.connection.driver_connection.duplicate()  # type: ignore[union-attr]
    # More than that may be in use; then it stays as it is.
    with suppress(duckdb.OutOfMemoryException):
        driver.execute(f"set memory_limit = '{factor * little_bytes}B'")
    try:
        yield
    finally:
        # A reset would only say so: DuckDB keeps to the last one set.
        driver.execute(f"set memory_limit = '{connection.info['abr_memory_limit']}'")
        driver.close()


def give_memory_back(connection: Connection, *, is_busy: bool = False) -> None:
    """Let go of what DuckDB has read and keeps, where that has become much. For a moment when nothing runs.

    Of a small file it keeps less than its allocator keeps of freed memory, which is a hundred megabytes and more: then,
    and where people have said how much it may hold, that is let go of. The next run pays for it with some 30 ms.
    `is_busy`: the last run looked at many contracts, so that the next one is likely to read the same again, and to need
    as much memory.
    """
    if is_busy:
        connection.info["abr_busy_until"] = time.monotonic() + _BUSY_SECONDS
    factor = _BUSY_FACTOR if time.monotonic() < connection.info.get("abr_busy_until", 0.0) else 1
    little_bytes = _little_memory_bytes(connection)
    kept = "select coalesce(sum(memory_usage_bytes), 0) from duckdb_memory()"
    if little_bytes and connection.exec_driver_sql(kept).scalar_one() > factor * little_bytes * 3 // 2:
        with little_memory(connection, factor=factor):
            pass
    elif little_bytes is None and factor == 1:
        # Whenever a limit is set, be it the same.
        connection.exec_driver_sql(f"set memory_limit = '{connection.info['abr_memory_limit']}'")
    connection.rollback()


def _little_memory_bytes(connection: Connection) -> int | None:
    """Return how much DuckDB should keep of a file where it is to keep little.

    None where it may keep all of it: the file is small, or people have said how much.
    """
    path = path_of(str(connection.engine.url))
    file_bytes = 0
    if path and not connection.info["abr_is_limited"]:
        with suppress(FileNotFoundError):  # somebody removed it: the next cycle says so
            file_bytes = path.stat().st_size
    return max(_LITTLE_MEMORY_BYTES, file_bytes // _LITTLE_MEMORY_SHARE) if file_bytes > _LITTLE_MEMORY_BYTES else None


@contextmanager
def connect(database_url: str, *, memory_limit: str | None = None, upgrade: bool = False) -> Iterator[Connection]:
    """Yield a connection to a database with the current schema and its work tables, created if it is new.

    `upgrade`: bring an older schema up to date instead of refusing it.
    Raises DatabaseBusy, SchemaMismatch, DataIntegrityError (unreadable, damaged, read-only) or UsageError.
    """
    path = path_of(database_url)
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} for the database does not exist", "create it, or name another")
    if path is not None and path.name.split(".")[0].lower() in SCHEMAS:
        # DuckDB calls a database by its file, and could not tell the one from the other.
        raise UsageError(f"{path} has the name of a part of every database of ABR's", "give the file another name")
    config = {
        "storage_compatibility_version": STORAGE_VERSION,
        "default_block_size": str(BLOCK_BYTES),
        "autoinstall_known_extensions": "false",  # no file, whatever it is, makes a program come from the network
    }
    engine = sqlalchemy.create_engine(database_url, poolclass=NullPool, connect_args={"config": config})
    sqlalchemy.event.listen(engine, "connect", lambda driver, _: set_up(driver))
    connection = _open(engine, path)
    try:
        with explained(path):
            if memory_limit:
                memory_limit = memory_limit.replace("'", "")
                connection.exec_driver_sql(f"set memory_limit = '{memory_limit}'")
            connection.info["abr_is_limited"] = bool(memory_limit)
            limit = "select current_setting('memory_limit')"
            connection.info["abr_memory_limit"] = memory_limit or connection.exec_driver_sql(limit).scalar_one()
            _require_whole_file(connection, path)
            is_new = _bring_up_to_date(connection, path, upgrade=upgrade)
            connection.rollback()
            if not is_new:  # else its migrations have just made them
                views.create_work_tables(connection)
            connection.commit()
        connection.info["abr_file"] = _identity(path)
        yield connection
    finally:
        connection.close()
        engine.dispose()


def has_its_file(connection: Connection) -> bool:
    """Return whether the file that this connection has open still lies under its name, and no other in its place."""
    known: tuple[int, int] | None = connection.info["abr_file"]
    return _identity(path_of(str(connection.engine.url))) == known


def require_its_file(connection: Connection) -> None:
    """Raise DataIntegrityError where the database was removed or replaced: what is written would be in no file."""
    if not has_its_file(connection):
        path = path_of(str(connection.engine.url))
        raise DataIntegrityError(
            f"the database {path} was {'replaced' if path and path.exists() else 'removed'} while it was open",
            "stop the monitor before a backup is put in its place, and start it again afterwards; then load again what "
            "was loaded since the backup was made",
        )


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found else None


_WITHOUT_OPTIONS = "leave it out; what ABR itself can be told stands under Settings in the README"


def _open(engine: sqlalchemy.Engine, path: Path | None) -> Connection:
    is_new = path is not None and not path.exists()
    try:
        if path is not None and not is_new:
            _require_usable_file(path)
        with explained(path):
            connection = engine.connect()
    except (DBAPIError, duckdb.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not engine.url.query or isinstance(cause, duckdb.InterruptException):
            raise
        raise UsageError(
            f"DuckDB does not accept what stands behind the question mark of {engine.url}: "
            f"{str(cause).splitlines()[0]}",
            _WITHOUT_OPTIONS,
        ) from error
    except OSError as error:
        raise DataIntegrityError(
            f"the database {path} cannot be opened for writing: {error.strerror}",
            "check who owns it, its mode, and whether its disk may be written",
        ) from error
    except DataIntegrityError:
        if path is not None and is_new and path.is_file() and path.stat().st_size == 0:
            path.unlink()  # else the next try would take it for an emptied one
        raise
    if engine.url.query:
        _require_writable(connection)
    return connection


def _require_writable(connection: Connection) -> None:
    is_read_only = "select readonly from duckdb_databases() where database_name = current_database()"
    if connection.exec_driver_sql(is_read_only).scalar_one():
        connection.close()
        raise UsageError(f"{connection.engine.url} opens the database for reading only", _WITHOUT_OPTIONS)
    connection.rollback()


def _require_usable_file(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a database", "name a file")
    if path.stat().st_size == 0:
        # DuckDB takes an empty file for a new database; an emptied one must not pass for that.
        raise DataIntegrityError(f"the database {path} is empty", "restore it from a backup, or remove the file")
    with path.open("r+b"):
        pass


def _require_whole_file(connection: Connection, path: Path | None) -> None:
    """Refuse a file whose end is missing: DuckDB finds out only when it reads what lay there.

    It may be without free blocks at its end, which DuckDB cuts off only after it has counted them.
    """
    counted = "select used_blocks * block_size from pragma_database_size() where database_name = current_database()"
    used_bytes = _HEADER_BYTES + connection.exec_driver_sql(counted).scalar_one()
    found_bytes = path.stat().st_size if path else used_bytes
    if found_bytes < used_bytes:
        raise DataIntegrityError(
            f"the end of {path} is missing: it has {found_bytes:,} of at least {used_bytes:,} bytes",
            "restore it from a backup",
        )


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Turn what DuckDB says of a database that cannot be used into ABR's errors.

    An interruption, and what only a mistake of ours can cause, go on as they are.
    """
    try:
        yield
    except (DBAPIError, duckdb.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        explanation = _explanation(cause, path)
        if explanation is None:
            raise
        raise explanation from error


def _explanation(cause: BaseException | None, path: Path | None) -> ABRError | None:
    message = str(cause).split("\n", 1)[0]
    lowered = message.lower()
    if isinstance(cause, duckdb.InterruptException):
        return None
    if "conflicting lock" in lowered:
        holder = re.search(r"PID (\d+)", message)
        return DatabaseBusy(
            f"{path} is in use by {'process ' + holder[1] if holder else 'another process'}",
            "close it, or wait until it is done",
        )
    is_full = "no space left" in lowered or "enospc" in lowered
    is_foreign = path is not None and (
        "not a valid duckdb database file" in lowered or "serializ" in lowered or ".duckdb_extension" in lowered
    )
    is_broken = isinstance(
        cause, duckdb.IOException | duckdb.SerializationException | duckdb.FatalException | duckdb.InternalException
    )
    is_too_large = isinstance(cause, duckdb.ConversionException | duckdb.OutOfRangeException) and (
        "out of range" in lowered or "overflow" in lowered
    )
    for applies, what, remedy in (
        (
            is_too_large,
            f"a number, or a sum of them, is larger than can be stored exactly: {message}",
            "look for amounts or hours that cannot be true in what was loaded last, and load them corrected",
        ),
        (
            path is not None and "permission denied" in lowered,
            f"the folder {path and path.parent} of the database cannot be written: {message}",
            "check who owns the folder, and its mode: DuckDB writes beside the database",
        ),
        (is_full, f"no space left for the database {path}", "free some disk space"),
        (
            isinstance(cause, duckdb.OutOfMemoryException),
            f"the memory does not suffice for the database {path}: {message}",
            "close other programs, raise ABR_MEMORY_LIMIT, or free disk space beside the database",
        ),
        (is_foreign, f"{path} is no DuckDB database, or a damaged one: {message}", "restore it from a backup"),
        (
            is_broken,
            f"the database {path} cannot be used: {message}",
            "check the disk, or restore it from a backup",
        ),
    ):
        if applies:
            return DataIntegrityError(what, remedy)
    return None


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the migrations that come with this program."""
    from alembic.config import Config  # noqa: PLC0415  a fifth of the time a command needs to start, and seldom needed

    config = Config()
    config.set_main_option("script_location", str(views.packaged("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revision(connection: Connection) -> str | None:
    """Return the schema revision of a database; None for one without a schema."""
    found = connection.exec_driver_sql(
        "select 1 from duckdb_tables() where schema_name = 'main' and table_name = 'alembic_version'",
    ).first()
    return None if found is None else connection.exec_driver_sql("select version_num from alembic_version").scalar()


def head() -> str:
    """Return the schema revision this program needs: the one that no other follows."""
    revisions = _revisions()
    newest = revisions.keys() - set().union(*revisions.values())
    if len(newest) != 1:
        raise ABRError("this installation of ABR lacks migrations", "install it again")
    return newest.pop()


def _revisions() -> Mapping[str, set[str]]:
    """Return the revisions that come with this program, each with those it follows, as Alembic reads them."""
    revisions = {}
    for path in views.packaged("migrations").glob("versions/*.py"):
        text = path.read_text("utf-8")
        own, followed = (re.search(rf"^{name} = (.+)$", text, re.MULTILINE) for name in ("revision", "down_revision"))
        if own and followed:
            revisions[own[1].strip("\"'")] = set(re.findall(r"\w+", followed[1])) - {"None"}
    return revisions


def _bring_up_to_date(connection: Connection, path: Path | None, *, upgrade: bool) -> bool:
    """Return whether the database was new."""
    current = revision(connection)
    if current is None:
        if connection.exec_driver_sql("select 1 from duckdb_tables() where not internal").first() is not None:
            raise UsageError(f"{path} is a DuckDB database, but not one of ABR's", "name another file")
        _migrate(connection)
        return True
    if current == head():
        return False
    if current not in _revisions():
        raise SchemaMismatch(f"{path} was written by a newer version of ABR", "update the program: pip install -U abr")
    if not upgrade:
        raise SchemaMismatch(f"the schema of {path} is older than this program", "run: abr db upgrade")
    _migrate(connection)
    return False


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  as above

    connection.rollback()
    command.upgrade(alembic_config(connection), "head")
