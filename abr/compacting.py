"""Put the rows of the large tables that belong together back together, piece by piece, and give back free space.

Loads of a few rows, and runs over a few contracts, add to the end of a table. Its order is that of the contracts its
rows belong to, and within them that of home_hash. A piece is every row of a range of contracts: it is taken out and
added again, sorted, in a transaction of its own. So a process that is killed leaves a database that is whole, memory
and disk are needed for one piece and not for a table, and each piece goes into the space that earlier ones have left.
After the last piece the whole table lies in order.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from abr import loading
from abr.models import METADATA

# The tables whose rows lie in order.
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
    """Return whether the rows of a table lie in order."""
    # The homes in the order in which they lie, each as often as its rows lie apart.
    connection.exec_driver_sql(
        "create or replace temp table run_of_home as select rowid as place, home_hash "
        f"from (select rowid, home_hash, lag(home_hash) over () as before from {table}) "
        "where home_hash is distinct from before",
    )
    later = connection.exec_driver_sql(
        "select 1 from (select (piece, home_hash) < lag((piece, home_hash)) over (order by place) as is_less "
        f"from temp.run_of_home inner join ({_pieces(table)}) using (home_hash)) where is_less limit 1",
    ).first()
    connection.rollback()
    return later is None


def _pieces(table: str) -> str:
    """Return the select of every home_hash in a table and the number, 31 bits, that its place in the table goes by."""
    homes = f"select distinct home_hash from {table}"
    schema, dataset = table.split(".")
    if schema != "source":
        return f"select home_hash, home_hash as piece from ({homes})"
    return (
        f"select home_hash, coalesce(contract_hash, home_hash) as piece from ({homes}) "
        f"left join ({loading.contract_hashes(dataset)}) using (home_hash)"
    )


def _sort(connection: Connection, table: str, first: int, last: int) -> None:
    run = connection.exec_driver_sql
    with connection.begin():
        run(
            f"create or replace temp table home_of_piece as from ({_pieces(table)}) "
            f"where piece between {first} and {last}"
        )
        run(f"create or replace temp table piece as from {table} semi join temp.home_of_piece using (home_hash)")
        run(f"delete from {table} where home_hash in (select home_hash from temp.home_of_piece)")
        names = ", ".join(column.name for column in METADATA.tables[table].columns)
        run(
            f"insert into {table} ({names}) select {names} from temp.piece inner join temp.home_of_piece "
            "using (home_hash) order by piece, home_hash"
        )
        run("drop table temp.piece")
        run("drop table temp.home_of_piece")


def _checkpoint(connection: Connection) -> None:
    connection.connection.driver_connection.execute("force checkpoint")  # type: ignore[union-attr]
