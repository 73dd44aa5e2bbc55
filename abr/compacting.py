"""Put the rows of the large tables that belong together back together, piece by piece, and give back free space.

Loads of a few rows, and runs over a few contracts, add to the end of a table. Its order is that of the contracts its
rows belong to, and within them that of home_hash. A piece is every row of a range of contracts: it is taken out and
added again, sorted, in a transaction of its own. So a process that is killed leaves a database that is whole, memory
and disk are needed for one piece and not for a table, and each piece goes into the space that earlier ones have left.
After the last piece the whole table lies in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from abr import database, loading
from abr.models import METADATA

# The tables whose rows lie in order, and the columns they are in the order of.
SORTED_TABLES = {
    table.fullname: tuple(name for name in ("contract_hash", "home_hash") if name in table.columns)
    for table in METADATA.sorted_tables
    if {"contract_hash", "home_hash"} & set(table.columns.keys())
}
# What a process adds to a table is merged with what it added before up to so many rows. A hundred small row groups make
# a cycle 15 ms slower.
_TAIL_ROWS_MAX = 30_000
# Smaller pieces than some of DuckDB's row groups (122,880 rows) would be merged and written again and again; at most so
# many, because each of them ends with a checkpoint.
_PIECE_ROWS_MIN, _PIECES_MAX = 250_000, 32
_HASHES = 2**31
# So many rows at a time learn which contract they belong to now: an update is held in memory until it is committed.
_PLACED_ROWS_MAX = 5_000_000


def compact(connection: Connection, progress: Callable[[str, float], object] | None = None) -> None:
    """Sort each table whose rows do not lie in order, commit by commit, and write everything to the file.

    `progress` is told the table, and the share of it that is done. No row changes: only where it lies does, and by
    which contract it is found.
    """
    connection.rollback()
    with connection.begin():
        connection.exec_driver_sql("vacuum")
    for dataset in loading.OWNERS:
        while _place(connection, dataset):
            pass
    for table in SORTED_TABLES:
        if is_sorted(connection, table):
            continue
        rows: int = connection.exec_driver_sql(f"select count(*) from {table}").scalar_one()
        connection.rollback()
        pieces = min(max(rows // _PIECE_ROWS_MIN, 1), _PIECES_MAX)
        for piece in range(pieces):
            if progress:
                progress(table, piece / pieces)
            _sort(connection, table, _HASHES * piece // pieces, _HASHES * (piece + 1) // pieces - 1)
            _checkpoint(connection)
    _checkpoint(connection)


def is_sorted(connection: Connection, table: str) -> bool:
    """Return whether the rows of a table lie in order."""
    place = " | ".join(f"({name}::bigint << {31 * above})" for above, name in enumerate(reversed(SORTED_TABLES[table])))
    later = connection.exec_driver_sql(
        f"select 1 from (select {place} as place, lag({place}) over () as before from {table}) "
        "where place < before limit 1",
    ).first()
    connection.rollback()
    return later is None


def _place(connection: Connection, dataset: str) -> bool:
    """Write the contract that rows belong to now into rows that know none, or an earlier one; return whether more may.

    Rows that came before their project or invoice are read by every run until then.
    """
    run = connection.exec_driver_sql
    with connection.begin():
        run(
            f"create or replace temp table moved as select rows.rowid as place, "
            f"coalesce(owner.contract_hash, 0) as contract_hash from source.{dataset} as rows "
            f"left join ({loading.contract_hashes(dataset)}) as owner on rows.{loading.HOMES[dataset]} = owner.id "
            f"where rows.contract_hash != coalesce(owner.contract_hash, 0) limit {_PLACED_ROWS_MAX}"
        )
        count: int = run("select count(*) from temp.moved").scalar_one()
        if count:
            run(
                f"update source.{dataset} set contract_hash = moved.contract_hash from temp.moved "
                f"where {dataset}.rowid = moved.place"
            )
        run("drop table temp.moved")
    return count == _PLACED_ROWS_MAX


def _sort(connection: Connection, table: str, first: int, last: int) -> None:
    run = connection.exec_driver_sql
    first_column = SORTED_TABLES[table][0]
    with connection.begin():
        run(f"create or replace temp table piece as from {table} where {first_column} between {first} and {last}")
        run(f"delete from {table} where {first_column} between {first} and {last}")
        names = ", ".join(column.name for column in METADATA.tables[table].columns)
        run(f"insert into {table} ({names}) select {names} from temp.piece order by {', '.join(SORTED_TABLES[table])}")
        run("drop table temp.piece")


def _checkpoint(connection: Connection) -> None:
    connection.connection.driver_connection.execute("force checkpoint")  # type: ignore[union-attr]


# ---- between the cycles of a monitor --------------------------------------------------------------------------------


@dataclass
class _Tail:
    """The end of a table: from which rowid on its rows have been added since, and how many of those lie together."""

    table: str
    start: int
    merged: int = 0


def tidy(connection: Connection) -> bool:
    """Write a log that has become long, or merge what a table has got lately; return whether there was any of it to do.

    Each log that is written leaves a small row group in every table that got rows. After it one table, another one each
    time, has its own put into one. Each takes a tenth of a second, for a moment when nobody waits. Nothing is read of
    the rows before them, and a process that is killed leaves all as it was or all done.
    """
    with database.explained(database.path_of(str(connection.engine.url))):
        found: tuple[_Tail, int] | None = connection.info.pop("abr_small_row_groups", None)
        if found:
            _merge(connection, *found)
            return True
        if not database.has_long_log(connection):
            return False
        database.write_log(connection)
        connection.info["abr_small_row_groups"] = _next_tail(connection)
        return True


def _next_tail(connection: Connection) -> tuple[_Tail, int] | None:
    """Return the next table that has got rows, and up to which rowid; None where none has."""
    tails: list[_Tail] | None = connection.info.get("abr_tails")
    if tails is None:
        # What is there already was merged when the process before this one ended.
        connection.info["abr_tails"] = [_Tail(table, _end(connection, table)) for table in METADATA.tables]
        return None
    for tail in tails.copy():
        tails.append(tails.pop(0))
        end = _end(connection, tail.table, tail.start)
        if end == tail.start + tail.merged:
            continue
        if end - tail.start > _TAIL_ROWS_MAX:
            tail.start, tail.merged = tail.start + tail.merged, 0
        if end - tail.start <= _TAIL_ROWS_MAX:
            return tail, end
        tail.start = end  # a row group of its own
    return None


def _merge(connection: Connection, tail: _Tail, end: int) -> None:
    """Move the rows at the end of a table, up to a rowid, behind all others: together, and in order."""
    # No temporary table: the plans of this connection would not outlive it (see prepared).
    names = ", ".join(column.name for column in METADATA.tables[tail.table].columns)
    order = f" order by {', '.join(SORTED_TABLES[tail.table])}" if tail.table in SORTED_TABLES else ""
    rows = f"rowid >= {tail.start} and rowid < {end}"  # which those are not that the transaction itself has added
    with connection.begin():
        again = f"insert into {tail.table} ({names}) select {names} from {tail.table} where {rows}{order}"
        tail.merged = connection.exec_driver_sql(again).scalar_one()
        connection.exec_driver_sql(f"delete from {tail.table} where {rows}")


def _end(connection: Connection, table: str, start: int | None = None) -> int:
    """Return the rowid that the next row of a table gets, at least `start`; only the row groups from there are read."""
    if start is None:
        # Where no row was ever removed; the others are looked at.
        start = connection.exec_driver_sql(f"select count(*) from {table}").scalar_one()
    last = connection.exec_driver_sql(f"select max(rowid) from {table} where rowid >= {start}").scalar_one()
    connection.rollback()
    return start if last is None else last + 1
