"""Rows as given -> source tables: read every cell, tell versions apart, end what was replaced or withdrawn.

Everything happens in DuckDB, set by set: a cell that cannot be read is kept as text in `odd_cells`, never dropped.
A row is known by its key and its content (a digest over the typed cells), so loading the same rows again does nothing.
Whatever changed is written to source.change, where the next run picks it up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from abr import formats
from abr.exceptions import DataIntegrityError
from abr.formats.tools import WHITE_SPACE
from abr.models import METADATA, NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Progress = Callable[[str, int, float], object]

# In the order of the data sets' references: a row's target is loaded before it.
DATASETS = ("contracts", "projects", "rates", "time_logs", "invoices", "invoice_lines")
DURATION_CELLS = ("seconds", "minutes", "hours", "duration")

_FOUR_DECIMALS = r"[+-]?([0-9]+([.][0-9]{0,4}0*)?|[.][0-9]{1,4}0*)"
_WHOLE = r"[+-]?([0-9]+([.]0*)?|[.]0+)"
_TIMESTAMP = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?)?"
)
_DURATION = r"[0-9]+:[0-5][0-9](:[0-5][0-9])?"

# How a cell is read, by column. Limits keep every product in the pricing chain within 38 digits; a number beyond them
# counts as a cell that cannot be read.
_KINDS = {
    "contracts": {
        "starts_on": "date",
        "ends_on": "date",
        "rounding_minutes": "whole_5",
        "minimum_minutes": "whole_5",
        "overtime_after_minutes": "whole_9",
        "overtime_multiplier": "decimal_2",
        "weekend_multiplier": "decimal_2",
        "prepaid_minutes": "whole_9",
        "cap_minutes": "whole_9",
        "cap_amount": "decimal_12",
        "discount_percent": "decimal_4",
        "grace_days": "whole_15",
        "threshold_amount": "decimal_12",
    },
    "projects": {"is_billable": "boolean"},
    "rates": {"hourly_rate": "decimal_8", "valid_from": "date", "valid_to": "date"},
    "time_logs": {
        "worked_on": "date",
        "seconds": "duration",
        "duration_cell": "duration_cell",
        "is_billable": "boolean",
        "is_approved": "boolean",
        "entered_at": "timestamp",
    },
    "invoices": {"issued_on": "date"},
    "invoice_lines": {
        "line_no": "whole_15",
        "period_start": "date",
        "period_end": "date",
        "seconds": "duration",
        "duration_cell": "duration_cell",
        "net_amount": "decimal_12",
    },
}

# The cells a data set is known by; those that may not be blank come first, the number says how many.
_KEYS: dict[str, tuple[int, tuple[str, ...]]] = {
    "contracts": (1, ("contract_id",)),
    "projects": (2, ("project_id", "contract_id")),
    "rates": (2, ("contract_id", "valid_from", "project_id", "person", "role", "task")),
    "time_logs": (1, ("time_log_id",)),
    "invoices": (1, ("invoice_id",)),
    "invoice_lines": (2, ("invoice_id", "line_no")),
}

# Rows of large data sets that are set aside whatever else is received.
_DOUBTFUL = {
    "time_logs": (
        "time_log_id is null or project_id is null or person is null or worked_on is null or seconds is null "
        "or seconds not between 1 and 86400"
    ),
    "invoice_lines": (
        "invoice_id is null or line_no is null or net_amount is null or net_amount * 100 != round(net_amount * 100) "
        "or kind not in ('time', 'expense', 'fixed', 'prepaid', 'other')"
    ),
}

# Which contracts, projects and invoices a changed row touches.
_TOUCHES = {
    "contracts": (("contract", "contract_id"),),
    "projects": (("contract", "contract_id"), ("project", "project_id")),
    "rates": (("contract", "contract_id"),),
    "time_logs": (("project", "project_id"),),
    "invoices": (("contract", "contract_id"), ("invoice", "invoice_id")),
    "invoice_lines": (("invoice", "invoice_id"),),
}

_OWN_COLUMNS = (
    "row_id",
    "source",
    "started_load_id",
    "ended_load_id",
    "ended_by",
    "odd_cells",
    "raw",
    "digest",
    "raw_digest",
    "key_hash",
    "contract_hash",
    "home_hash",
)

# What rows are found by besides their contract, and for those that do not name it the data set that does.
HOMES = {
    "projects": "project_id",
    "time_logs": "project_id",
    "invoices": "invoice_id",
    "invoice_lines": "invoice_id",
}
OWNERS = {"time_logs": "projects", "invoice_lines": "invoices"}
# From so many changed time logs on a load says whose they are, and not which, for what follows is looked at whole.
_CHANGED_LOGS_MAX = 100_000
# So many rows are looked for one by one. Of a hundred million rows 46 share a number with one of a thousand new keys.
_FEW_PLACES = 100
# From so many new rows on it pays to sort them.
_SORTED_ROWS_MIN = 10_000


@dataclass(frozen=True)
class LoadCount:
    """What became of the rows of one data set in one load."""

    dataset: str
    read: int
    new: int
    superseded: int
    unchanged: int
    withdrawn: int
    withdrawn_of_others: int = 0  # of people whom a load that covers days does not name


@dataclass(frozen=True)
class Loaded:
    """What one load did: its number, and counts by data set."""

    load_id: int
    counts: tuple[LoadCount, ...]


def columns_of(dataset: str) -> list[str]:
    """Return the typed columns of a data set, in the order of its table."""
    return [column.name for column in METADATA.tables[f"source.{dataset}"].columns if column.name not in _OWN_COLUMNS]


def cells_of(dataset: str) -> list[str]:
    """Return the cells of a data set as files name them: seconds may come as minutes, hours or a duration."""
    names: list[str] = []
    for name in columns_of(dataset):
        if name != "duration_cell":
            names += DURATION_CELLS if name == "seconds" else (name,)
    return names


def load(
    connection: Connection,
    incoming: Mapping[str, str],
    *,
    source: str,
    format_name: str = "canonical",
    is_complete: bool = False,
    covers: Sequence[tuple[date, date]] = (),
    persons: Iterable[str] = (),
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    now: datetime,
) -> Loaded:
    """Store what `incoming` (data set -> table or view of cells as text) says about `source`; the caller commits.

    `is_complete`: rows of these data sets that the load lacks are withdrawn. `covers`: time logs of those days are,
    first and last day included.
    `persons`: only theirs. Ids of formats other than canonical are stored as `<source>:<id>`.
    `progress` is told the data set, its rows, and the share of them that is stored.
    Raises DataIntegrityError where a data set that had rows comes empty although it is declared complete.
    """
    load_id = connection.exec_driver_sql("select coalesce(max(load_id), 0) + 1 from source.load").scalar_one()
    counts = []
    for dataset in DATASETS:
        if dataset in incoming:
            count = _load_dataset(
                connection,
                dataset,
                incoming[dataset],
                load_id=load_id,
                source=source,
                prefix="" if format_name in ("canonical", "simulator") else f"{source}:",
                is_complete=is_complete,
                covers=tuple(covers) if dataset == "time_logs" else (),
                persons=tuple(persons),
                progress=progress,
            )
            counts.append(count)
    connection.execute(
        text(
            "insert into source.load by name select :load_id as load_id, :loaded_at as loaded_at, :source as source, "
            ":format as format, :is_complete as is_complete, :covers_from as covers_from, :covers_to as covers_to, "
            ":parameters as parameters, :counts as counts",
        ),
        {
            "load_id": load_id,
            "loaded_at": now,
            "source": source,
            "format": format_name,
            "is_complete": is_complete,
            "covers_from": min(first for first, _ in covers) if covers else None,
            "covers_to": max(last for _, last in covers) if covers else None,
            "parameters": None if parameters is None else json.dumps(parameters, sort_keys=True),
            "counts": json.dumps([asdict(count) for count in counts]),
        },
    )
    return Loaded(load_id, tuple(counts))


def _load_dataset(
    connection: Connection,
    dataset: str,
    relation: str,
    *,
    load_id: int,
    source: str,
    prefix: str,
    is_complete: bool,
    covers: tuple[tuple[date, date], ...],
    persons: tuple[str, ...],
    progress: Progress | None,
) -> LoadCount:
    run = connection.exec_driver_sql
    table = f"source.{dataset}"
    key = _identity(dataset)
    this_source = f"source = {_quoted(source)}"
    touched = "".join(f", {column}" for column in _touched(dataset))
    read: int = run(f"select count(*) from {relation}").scalar_one()
    if is_complete and read == 0 and run(f"from {table} where ended_load_id is null and {this_source} limit 1").first():
        raise DataIntegrityError(
            f"{dataset} of source {source} had rows and now comes empty, in a load declared complete",
            "check the export: a feed that fails looks like this; without --complete nothing is withdrawn",
        )

    # 1. Read every cell. Identical copies collapse: they have one digest.
    with _reported(connection, progress, dataset, read, 0.0):
        run(f"create or replace temp table read_row as {_reading(dataset, relation, prefix)}")
    if run("select count(distinct digest) from temp.read_row").scalar_one() < read:
        run("delete from temp.read_row where rowid not in (select min(rowid) from temp.read_row group by digest)")

    # 2. Look up what lives under these keys: the one look at the whole table that every load takes. It reads one column
    # of four bytes a row; all else is asked of the rows found. A rowid holds until this transaction ends.
    found = f"select rowid as place, row_id, source, key_hash, digest, {key} as key{touched} from {table}"
    run(
        f"create or replace temp table live_row as {found} where {_live(connection, dataset, 'read_row')}",
    )
    run("create or replace temp table read_key as select distinct key from temp.read_row where key is not null")

    # 3. What is known already stays; what has a known key and another content replaces it.
    run(
        "create or replace temp table ended_row as select *, 'superseded' as ended_by from temp.live_row "
        f"where {this_source} and key in (select key from temp.read_key) "
        "and digest not in (select digest from temp.read_row)",
    )
    of_others = 0
    if withdrawals := _withdrawals(dataset, is_complete=is_complete, covers=covers, persons=persons):
        gone = (
            f"where ended_load_id is null and {this_source} and ({' or '.join(withdrawals)}) "
            "and digest not in (select digest from temp.read_row) "
            f"and ({key} is null or {key} not in (select key from temp.read_key))"
        )
        if covers and not persons:
            named = "select person from temp.read_row where person is not null"
            of_others = run(f"select count(*) from {table} {gone} and person not in ({named})").scalar_one()
        run(f"insert into temp.ended_row select *, 'withdrawn' from ({found} {gone})")
        run(
            f"insert into temp.live_row {found} where {_live(connection, dataset, 'ended_row')} "
            "and rowid not in (select place from temp.live_row)",
        )
    run(f"delete from temp.read_row where digest in (select digest from temp.live_row where {this_source})")
    superseding: int = run(
        "select count(*) from temp.read_row "
        "where key in (select key from temp.ended_row where ended_by = 'superseded')",
    ).scalar_one()

    # 4. Write, and say what was touched.
    new_count: int = run("select count(*) from temp.read_row").scalar_one()
    ended_count: int = run("select count(*) from temp.ended_row").scalar_one()
    withdrawn: int = run("select count(*) from temp.ended_row where ended_by = 'withdrawn'").scalar_one()
    if ended_count:
        run(
            f"update {table} set ended_load_id = {load_id}, ended_by = ended_row.ended_by "
            f"from temp.ended_row where {dataset}.rowid = ended_row.place",
        )
    if new_count or ended_count:
        first_row_id = _last_row_id(connection, table) + 1
        with _reported(connection, progress, dataset, read, 0.5):
            _insert_read_rows(connection, dataset, source, load_id=load_id, first_row_id=first_row_id, count=new_count)
        # What a row group's greatest row_id rules out is not read, so this finds the new rows at once.
        new_rows = f"select row_id, key_hash, {key} as key{touched} from {table} where row_id >= {first_row_id}"
        is_large = new_count + ended_count > _CHANGED_LOGS_MAX
        changed_rows = f"{new_rows} union all by name from temp.ended_row"
        _touch(connection, dataset, load_id, changed_rows, is_large=is_large)
        _mark_conflicts(connection, dataset, load_id, new_rows)
    for name in ("read_row", "read_key", "place", "live_row", "ended_row"):
        run(f"drop table temp.{name}")
    new = new_count - superseding
    return LoadCount(dataset, read, new, superseding, read - new - superseding, withdrawn, of_others)


@contextmanager
def _reported(
    connection: Connection, progress: Progress | None, dataset: str, rows: int, share: float
) -> Iterator[None]:
    """Report how far one of the two long statements of a load is, each of which counts as half the work."""
    driver = connection.connection.driver_connection
    if progress is None or driver is None:
        yield
        return

    def report(percent: int) -> None:
        progress(dataset, rows, share + percent / 200)

    report(0)
    with formats.watched(driver, report):
        yield


def _last_row_id(connection: Connection, table: str) -> int:
    """Return the greatest row_id of a table, 0 where it has no rows.

    They count from 1, so it is at least the number of rows, and only the row groups that reach so far are read. Asked
    for without that, DuckDB reads the whole column where rows were added since the last checkpoint.
    """
    run = connection.exec_driver_sql
    rows = run(f"select count(*) from {table}").scalar_one()
    return run(f"select max(row_id) from {table} where row_id >= {rows}").scalar_one() or 0


def _live(connection: Connection, dataset: str, keys: str) -> str:
    """Return a condition on rowid that holds for the live rows with a key_hash of this temporary table.

    The numbers are looked through by themselves first: DuckDB would read every other column it is asked for together
    with them, and mostly nothing is found.
    """
    run = connection.exec_driver_sql
    run(
        f"create or replace temp table place as select rowid as place from source.{dataset} "
        f"where ended_load_id is null and key_hash in (select key_hash from temp.{keys})",
    )
    few = run(f"select place from temp.place limit {_FEW_PLACES + 1}").scalars().all()
    if not few:
        return "false"
    if len(few) <= _FEW_PLACES:
        listed = ", ".join(map(str, few))
        # The first passes over row groups, the second over rows before their other cells are read (see models.MACROS).
        return f"rowid in ({listed}) and list_contains([{listed}]::bigint[], rowid)"
    first, last = run("select min(place), max(place) from temp.place").one()
    return f"rowid between {first} and {last} and rowid in (select place from temp.place)"


def _insert_read_rows(
    connection: Connection, dataset: str, source: str, *, load_id: int, first_row_id: int, count: int
) -> None:
    is_large = count >= _SORTED_ROWS_MIN
    hashes = ["contract_hash", *(["home_hash"] if dataset in HOMES else [])]
    number, join = _OWN_CONTRACT_HASH, ""
    if dataset in OWNERS:
        home = HOMES[dataset]
        owners = contract_hashes(dataset, "" if is_large else f"and {home} in (select {home} from temp.read_row)")
        number, join = "coalesce(contract_hash, 0)", f"left join ({owners}) as owner on read_row.{home} = owner.id"
    order = f"order by {', '.join(hashes)}" if is_large else ""
    relation = f"(select read_row.*, {number} as contract_hash from temp.read_row {join} {order})"
    names = ", ".join(["odd_cells", "raw", "digest", "key_hash", *hashes, *columns_of(dataset)])
    with _joins_as_written(connection):
        connection.exec_driver_sql(
            f"insert into source.{dataset} (row_id, source, started_load_id, raw_digest, {names}) "
            f"select row_number() over () - 1 + {first_row_id}, {_quoted(source)}, {load_id}, {RAW_DIGEST}, {names} "
            f"from {relation}",
        )


@contextmanager
def _joins_as_written(connection: Connection) -> Iterator[None]:
    """Let DuckDB hold the right side of a join in memory, as written, and not the one it takes for the smaller.

    It takes a table that this transaction has filled for empty, whose hundred million rows do not fit.
    """
    off = connection.exec_driver_sql("select current_setting('disabled_optimizers')").scalar_one()
    connection.exec_driver_sql(f"set disabled_optimizers = '{off},build_side_probe_side'")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"set disabled_optimizers = '{off}'")


def contract_hashes(dataset: str, condition: str = "") -> str:
    """Return the select of id and contract_hash: of each project or invoice whose contract is known now."""
    return (
        f"select {HOMES[dataset]} as id, min({home_hash('contract_id')}) as contract_hash from "
        f"source.{OWNERS[dataset]} where ended_load_id is null and contract_id is not null {condition} group by 1"
    )


def former_contract_hashes(kind: str) -> str:
    """Return the select of the contract_hash of every contract that projects or invoices in scope once had.

    `kind` is project or invoice. Rows written while they had it carry it still.
    """
    return (
        f"select {home_hash('contract_id')} as home_hash from source.{kind}s where ended_load_id is not null "
        f"and contract_id is not null and {kind}_id in (select {kind}_id from temp.scope_{kind})"
    )


def is_contract_hash(dataset: str) -> str:
    """Return a condition that holds where a row carries a contract_hash it can have been given."""
    if dataset not in OWNERS:
        return f"contract_hash = {_OWN_CONTRACT_HASH}"
    home = HOMES[dataset]
    given = f"select {home}, {home_hash('contract_id')} from source.{OWNERS[dataset]} where contract_id is not null"
    return f"(contract_hash = 0 or coalesce(({home}, contract_hash) in ({given}), false))"


def _touched(dataset: str) -> list[str]:
    """Return the columns that say what a changed row touches."""
    return [*(column for _, column in _TOUCHES[dataset]), *(["worked_on"] if dataset == "time_logs" else [])]


def _touch(connection: Connection, dataset: str, load_id: int, rows: str, *, is_large: bool = False) -> None:
    # A changed time log changes nothing of the weeks before it.
    what = "null::date, null"
    if dataset == "time_logs" and not is_large:
        what = "coalesce(worked_on, 'infinity'), key"
    for kind, column in _TOUCHES[dataset]:
        connection.exec_driver_sql(
            "insert into source.change (load_id, kind, id, from_day, time_log_id) "
            f"select distinct {load_id}, '{kind}', coalesce({column}, ''), {what} from ({rows})",
        )


def _mark_conflicts(connection: Connection, dataset: str, load_id: int, new_rows: str) -> None:
    """Keep source.conflict in step for the keys of changed rows, and touch what their other rows belong to.

    Two rows of one key have one key_hash, and numbers are compared first: few texts are left to compare.
    """
    if dataset == "rates":
        return
    run = connection.exec_driver_sql
    changed = "select key, key_hash from temp.read_row union all select key, key_hash from temp.ended_row"
    holders = (
        f"{new_rows} union all by name select * exclude (place, source, digest) from temp.live_row "
        "where place not in (select place from temp.ended_row)"
    )
    run(
        f"create or replace temp table conflicting as with holder as ({holders}), "
        "doubtful as (select key_hash from holder where key is not null group by 1 having count(*) > 1) "
        "select key from holder where key_hash in (from doubtful) and key in ("
        f"select key from ({changed}) where key_hash in (from doubtful)) group by 1 having count(*) > 1",
    )
    run(
        f"create or replace temp table partner as select row_id from source.conflict where dataset = '{dataset}' "
        f"and key in (select key from ({changed})) "
        f"union select row_id from ({holders}) where key in (select key from temp.conflicting)",
    )
    if run("from temp.partner limit 1").first() is not None:
        run(
            f"delete from source.conflict where dataset = '{dataset}' and row_id in (select row_id from temp.partner)",
        )
        run(
            f"insert into source.conflict select '{dataset}', key, row_id from ({holders}) "
            "where key in (select key from temp.conflicting)",
        )
        _touch(
            connection,
            dataset,
            load_id,
            f"from ({new_rows} union all by name from temp.live_row) where row_id in (select row_id from temp.partner)",
        )
    run("drop table temp.conflicting")
    run("drop table temp.partner")


def _withdrawals(
    dataset: str, *, is_complete: bool, covers: tuple[tuple[date, date], ...], persons: tuple[str, ...]
) -> list[str]:
    """Return which rows of the source are withdrawn where the load lacks them."""
    # Numbers before texts, as everywhere: few ids are left to compare.
    same_invoice = (
        "home_hash in (select home_hash from temp.read_row) and invoice_id in (select invoice_id from temp.read_row)"
    )
    return [
        *(["true"] if is_complete else []),
        *([f"({same_invoice})"] if dataset == "invoice_lines" else []),
        *([_covered(covers, persons)] if covers else []),
    ]


def _covered(covers: tuple[tuple[date, date], ...], persons: tuple[str, ...]) -> str:
    who = f" and person in ({', '.join(map(_quoted, persons))})" if persons else ""
    days = " or ".join(f"worked_on between date '{first}' and date '{last}'" for first, last in covers)
    return f"(({days}){who})"


def key_expression(dataset: str) -> str:
    """Return the expression of a row's key as people write it, NULL where a cell the key needs is blank."""
    return " || '/' || ".join(_key_parts(dataset))


def _identity(dataset: str) -> str:
    """Return the expression rows are told apart by: the key, with lengths, so that a/b + c is not a + b/c."""
    parts = _key_parts(dataset)
    if len(parts) == 1:
        return parts[0]
    key = key_expression(dataset)
    lengths = ", ".join(f"strlen({part})" for part in parts[:-1])
    # Only for rows with a whole key: concat_ws would pass over a blank cell.
    return f"case when {key} is not null then concat_ws('/', {lengths}, {key}) end"


def _key_parts(dataset: str) -> list[str]:
    required, cells = _KEYS[dataset]
    parts = []
    for place, cell in enumerate(cells):
        part = cell
        if cell in _KINDS[dataset]:
            part = f"coalesce({cell}::varchar, json_extract_string(odd_cells, '{cell}'))"
        parts.append(part if place < required else f"coalesce({part}, '')")
    return parts


def _md5_bits(text: str, type_name: str) -> str:
    """Return the expression of a number made of a text's md5: as many bits of it as the integer type holds.

    DuckDB's own md5_number_lower is a macro that writes the bits down as text and reads them again: four times as slow.
    """
    return f"(md5_number({text}) >> {128 - {'integer': 31, 'bigint': 63}[type_name]})::{type_name}"


def digest_expression(dataset: str) -> str:
    """Return the expression of a row's digest: 63 bits of the md5 of its typed cells and of those not read."""
    names = (*columns_of(dataset), "odd_cells")
    cells = ", ".join(f'coalesce("{name}"::varchar, chr(30))' for name in names)
    # Lengths, because a cell may hold the separator.
    lengths = ", ".join(f'strlen("{name}")' for name in names if name not in _KINDS[dataset])
    return _md5_bits(f"concat_ws(chr(31), {cells}, {lengths})", "bigint")


def home_hash(name: str) -> str:
    """Return the expression of the number that stands for an id: 31 bits of its md5; a blank id has one too."""
    return _md5_bits(f"coalesce({name}, '')", "integer")


def key_hash_of(dataset: str) -> str:
    """Return the expression of a row's key_hash: 31 bits of the md5 of its key; of its digest where it has no key.

    Made of a row's own columns or of the row being read, which has the same.
    """
    return _md5_bits(f"coalesce({_identity(dataset)}, digest::varchar)", "integer")


def home_hash_of(dataset: str) -> str | None:
    """Return the expression of a row's home_hash; None where the data set has none."""
    return home_hash(HOMES[dataset]) if dataset in HOMES else None


_OWN_CONTRACT_HASH = f"case when contract_id is null then 0 else {home_hash('contract_id')} end"
RAW_DIGEST = _md5_bits("raw", "bigint")


def _reading(dataset: str, relation: str, prefix: str) -> str:
    """Return the select that reads a data set's cells: typed columns, odd_cells, raw, key and digest."""
    kinds = _KINDS[dataset]
    cells = cells_of(dataset)
    names = columns_of(dataset)
    typed: list[str] = []
    odd: list[str] = []
    for name in names:
        kind = kinds.get(name, "text")
        if kind == "text":
            is_foreign = prefix and dataset == "time_logs" and name == "time_log_id"
            typed.append(
                f'{_quoted(prefix)} || "text_{name}" as "{name}"' if is_foreign else f'"text_{name}" as "{name}"'
            )
        elif kind == "duration":
            typed.append(f"{_seconds()} as seconds")
            # Several at once say nothing together, so each of them is odd.
            odd += [_odd(cell, "seconds") for cell in DURATION_CELLS]
        elif kind == "duration_cell":
            filled = " ".join(f"when text_{cell} is not null then '{cell}'" for cell in DURATION_CELLS)
            typed.append(f"case {filled} end as duration_cell")
        else:
            typed.append(f'{_value(kind, f"text_{name}")} as "{name}"')
            odd.append(_odd(name, name))
    odd_cells = f"'{{' || nullif(concat_ws(',', {', '.join(odd)}), '') || '}}'" if odd else "null::varchar"
    given = ", ".join(f"'{cell}', \"given_{cell}\"" for cell in cells)
    raw = f"json_object({given})::varchar"
    if dataset in _DOUBTFUL:
        # Large data sets keep their cells as given only where a row cannot be trusted as it stands.
        raw = f"case when odd_cells is not null or {_DOUBTFUL[dataset]} then {raw} end"
    listed = ", ".join(f'"{name}"' for name in names)
    home = home_hash_of(dataset)
    return (
        f"with trimmed as (select {', '.join(_trimmed(cell) for cell in cells)} from {relation}), "
        f"typed as (select *, {', '.join(typed)} from trimmed), "
        f"judged as (select *, {odd_cells} as odd_cells from typed) "
        f"select {listed}, odd_cells, {raw} as raw, {_identity(dataset)} as key, "
        f"{digest_expression(dataset)} as digest{(home and f', {home} as home_hash') or ''}, "
        f"{key_hash_of(dataset)} as key_hash from judged"
    )


def _trimmed(cell: str) -> str:
    """Return a cell as given and as trimmed text; the costly trim runs only where the ends may be white space."""
    # A text below '!' is blank or begins with white space or a control character.
    may_be_blank = f'"{cell}" < \'!\' or "{cell}"[-1] < \'!\' or strlen("{cell}") != length("{cell}")'
    trimmed = f"nullif(trim(\"{cell}\", {_quoted(WHITE_SPACE)}), '')"
    return f'"{cell}" as "given_{cell}", case when {may_be_blank} then {trimmed} else "{cell}" end as "text_{cell}"'


def _value(kind: str, cell: str) -> str:
    """Return the expression that reads a trimmed cell; NULL where it is blank or cannot be read."""
    name, _, limit = kind.partition("_")
    match name:
        case "date":
            # A date that prints as it was written is one: no 2026-2-3, no infinity, no year 0.
            day = f"try_cast({cell} as date)"
            return f"case when length({cell}) = 10 and {day}::varchar = {cell} then {day} end"
        case "boolean":
            word = f"lower({cell})"
            yes = f"when {word} in ('true', 'yes', '1') then true"
            no = f"when {word} in ('false', 'no', '0') then false"
            return f"case {yes} {no} end"
        case "timestamp":
            return _timestamp(cell)
        case "whole":
            number = f"try_cast({cell} as decimal(18, 0))"  # longer ones DuckDB reads digit by digit in 128 bits
            return (
                f"case when regexp_full_match({cell}, '{_WHOLE}') and abs({number}) < 1{'0' * int(limit)} "
                f"then {number}::bigint end"
            )
        case _:
            width = "18" if int(limit) > 4 else "9"  # noqa: PLR2004  the widths of models.MONEY and models.FACTOR
            number = f"try_cast({cell} as decimal(18, 4))"
            return (
                f"case when regexp_full_match({cell}, '{_FOUR_DECIMALS}') and abs({number}) < 1{'0' * int(limit)} "
                f"then {number}::decimal({width}, 4) end"
            )


def _timestamp(cell: str) -> str:
    # Of a text of this form each part has its place, from the start or from the end; DuckDB itself leaves offsets out.
    local = (
        f"try_cast(case when {cell}[20] = '.' then regexp_extract({cell}, '^.{{19}}[.][0-9]{{1,6}}') "
        f"when {cell}[17] = ':' then left({cell}, 19) else left({cell}, 16) end as timestamp)"
    )
    minutes = f"({cell}[-5:-4]::integer * 60 + {cell}[-2:]::integer)"
    offset = (
        f"to_minutes(case when length({cell}) <= 16 then 0 when {cell}[-6] = '+' then {minutes} "
        f"when {cell}[-6] = '-' then -{minutes} else 0 end)"
    )
    return f"case when regexp_full_match({cell}, '{_TIMESTAMP}') and {cell} > '0001' then {local} - {offset} end"


def _seconds() -> str:
    """Return the expression of a row's seconds, from whichever duration cell is filled; NULL where several are."""
    filled = " + ".join(f"(text_{cell} is not null)::integer" for cell in DURATION_CELLS)
    values = ", ".join(_seconds_of(cell) for cell in DURATION_CELLS)
    return f"case when {filled} = 1 then coalesce({values}) end"


def _seconds_of(cell: str) -> str:
    if cell == "duration":
        return (
            f"case when regexp_full_match(text_duration, '{_DURATION}') "
            "then try_cast(regexp_extract(text_duration, '^0*([0-9]{1,10}):', 1) as bigint) * 3600 "
            "+ regexp_extract(text_duration, ':([0-9]{2})', 1)::bigint * 60 "
            "+ coalesce(try_cast(regexp_extract(text_duration, ':[0-9]{2}:([0-9]{2})', 1) as bigint), 0) end"
        )
    factor = {"seconds": 1, "minutes": 60, "hours": 3600}[cell]
    whole = f"try_cast(text_{cell} as bigint) * {factor}"
    # Whole units and their fraction apart: 34 decimals fit beside nothing else. Up to nine are read as a whole number.
    units = f"try_cast(coalesce(nullif(regexp_extract(text_{cell}, '^[+-]?([0-9]*)', 1), ''), '0') as bigint)"
    decimals = f"regexp_extract(text_{cell}, '[.]([0-9]{{0,34}})', 1)"
    few = f"(2 * rpad({decimals}, 9, '0')::bigint * {factor} + 1000000000) // 2000000000"
    # Half a second is a number of units with five decimals, or one that goes on with one digit for ever. Whether a cell
    # with more than 34 reaches it tells the first digit behind them that is another one than the last of them.
    last = f"regexp_extract(text_{cell}, '[.][0-9]{{33}}([0-9])', 1)"
    behind = f"regexp_extract(text_{cell}, '[.][0-9]{{34}}([0-9]*)', 1)"
    reaches = f"(ltrim({behind}, {last})[1] > {last})::integer * '0.{'1':0>34}'::decimal(38, 34)"
    many = f"round((('0.' || {decimals} || '0')::decimal(38, 34) + {reaches}) * {factor})::bigint"
    value = f"{units} * {factor} + case when length({decimals}) <= 9 then {few} else {many} end"
    return (
        f"case when regexp_full_match(text_{cell}, '[+-]?[0-9]{{1,10}}') then {whole} "
        f"when regexp_full_match(text_{cell}, '{NUMBER}') and {units} < 10000000000 "
        f"then case when text_{cell}[1] = '-' then -({value}) else {value} end end"
    )


def _odd(cell: str, value: str) -> str:
    return f"case when text_{cell} is not null and {value} is null then '\"{cell}\":' || to_json(text_{cell}) end"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
