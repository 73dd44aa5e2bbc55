"""Put the rows of the large tables back into the order of home_hash, piece by piece, and give back free space.

Loads of a few rows, and runs over a few contracts, add to the end of a table. A piece is every row with a home_hash in
one range: it is taken out and added again, sorted, in a transaction of its own. So a process that is killed leaves a
database that is whole, memory and disk are needed for one piece and not for a table, and each piece goes into the
space that earlier ones have left. After the last piece the whole table lies in order.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from abr.models import METADATA

# The tables whose rows lie together by home_hash.
SORTED_TABLES = tuple(table.fullname for table in METADATA.sorted_tables if "home_hash" in table.columns)
# Smaller pieces than some of DuckDB's row groups (122,880 rows) would be merged and written again and again; at most so
# many, because each of them ends with a checkpoint.
_PIECE_ROWS_MIN, _PIECES_MAX = 250_000, 32
_HASHES = 2**31


def compact(connection: Connection, progress: Callable[[str, float], object] | None = None) -> None:
    """Sort each table whose rows do not lie in order, commit by commit, and write everything to the file.

    `progress` is told the table, and the share of it that is done. No row changes: only where it lies does.
    """
    connection.rollback()
    with connection.begin():
        connection.exec_driver_sql("vacuum")
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
    """Return whether the rows of a table lie in the order of home_hash."""
    later = connection.exec_driver_sql(
        f"select 1 from (select home_hash < lag(home_hash) over () as is_less from {table}) where is_less limit 1",
    ).first()
    connection.rollback()
    return later is None


def _sort(connection: Connection, table: str, first: int, last: int) -> None:
    run = connection.exec_driver_sql
    with connection.begin():
        run(f"create or replace temp table piece as from {table} where home_hash between {first} and {last}")
        run(f"delete from {table} where home_hash between {first} and {last}")
        run(f"insert into {table} from temp.piece order by home_hash")
        run("drop table temp.piece")


def _checkpoint(connection: Connection) -> None:
    connection.connection.driver_connection.execute("force checkpoint")  # type: ignore[union-attr]
