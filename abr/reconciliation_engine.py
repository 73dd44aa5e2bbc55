"""One cycle: compare everything that was touched with what is open, and record what changed. One transaction.

The engine decides no amount. It says which contracts a run looks at (temp.scope_*), fills the work tables from their
views in order, checks the control totals, and writes what differs from the open state to `audit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from abr import compacting, database, loading, prepared, publishing, views
from abr.exceptions import ABRError, ContractComplianceError, DataIntegrityError, NotPublished, UsageError
from abr.models import FEW_HOMES, HOME_BITS
from abr.settings import Thresholds
from abr.settings import thresholds as thresholds_of

# Told how many of how many steps are done.
Progress = Callable[[int, int], object]
# The tables a run writes itself; every other work table is filled from its view.
_INPUTS = ("cycle", "threshold", "scope_contract", "scope_project", "scope_invoice")
_LOG_COUNTS = ("logs_received", "logs_eligible", "logs_quarantined", "logs_excluded", "logs_out_of_term")
_SUMMED_LOG_COUNTS = ", ".join(f"coalesce(sum({name}), 0)::bigint as {name}" for name in _LOG_COUNTS)
SECONDS_PER_HOUR = Decimal(3600)
_FINDING_COUNTS = ("findings_opened", "findings_changed", "findings_closed")
# The work tables that decide how far back a run must look; they are filled before all others.
_FIRST_FILLED = ("project_row", "invoice_row", "early_line")
# The work tables that read a table which grows; planned for every run, as what they may pass over differs.
_LARGE_READS = (
    "early_line",
    "contract_row",
    "project_row",
    "rate_row",
    "log_row",
    "invoice_row",
    "line_row",
    "log_count",
    "kept_finding",
    "opening",
    "invoice_span",
    "finding_change",
    "open_quarantine",
    "position_change",
)
# Above so many time logs in all it pays to tell a few contracts by their numbers, so that row groups are passed over.
_MANY_LOGS = 4_000_000
# And above this many times the logs of the contracts in scope, to read all of these instead of the days of all logs.
_LOGS_PER_LOG_IN_SCOPE = 32
# As a from_day: all time logs.
_EVER = "'-infinity'::date"
_KINDS = ("contract", "project", "invoice")
_CHANGES = "select kind, id, from_day from source.change"
_IN_SCOPE = " union all ".join(f"select '{kind}' as kind, {kind}_id as id from temp.scope_{kind}" for kind in _KINDS)
# The contract_hash of rows that name no contract, or came before their project or invoice.
_NO_CONTRACT = "select 0 as home_hash"
# The same, where there are such rows of what is in scope: mostly none, and of all others there may be very many.
_NO_CONTRACT_IN_SCOPE = (
    f"{_NO_CONTRACT} from temp.scope_contract where contract_id = ''",
    *(
        f"{_NO_CONTRACT} from source.{dataset} semi join temp.scope_{home.removesuffix('_id')} using (home_hash) "
        "where contract_hash = 0"
        for dataset, home in loading.HOMES.items()
    ),
    (
        f"{_NO_CONTRACT} from audit.quarantine_open semi join "
        f"({' union all '.join(f'select {kind}_id as home from temp.scope_{kind}' for kind in _KINDS)}) using (home) "
        "where contract_hash = 0"
    ),
)


def _is_among(variable: str, column: str) -> str:
    """Return the condition by which the rows of a large table whose home is not among these bits are passed over."""
    return f"source.is_among(getvariable('{variable}')::bit, {column})"


# The kind of id that the home of a row in quarantine is.
_KIND_OF_HOME = (
    "case when entity = 'time_logs' then 'project' when entity in ('invoices', 'invoice_lines') then 'invoice' "
    "else 'contract' end"
)


def _ties(rows_of: Callable[[str, str], str]) -> tuple[tuple[str, str, str], ...]:
    """Return what belongs to what is in scope, and is therefore in scope too, from the same day on.

    Each tie: of which kind to which, and what selects the ids. `rows_of` says where the live projects or invoices are
    looked for that have one of the homes in scope in a column.
    """
    # Invoices without an id are looked at together, projects without one are nobody's.
    ids = {"project": "project_id", "invoice": "coalesce(invoice_id, '')"}
    ties: list[tuple[str, str, str]] = []
    for kind, owned_id in ids.items():
        ties += (
            (
                kind,
                "contract",
                (
                    f"select contract_id, from_day from {rows_of(f'{kind}s', 'home_hash')} as owned "
                    f"inner join temp.scope_{kind} as scope on {owned_id.replace(f'{kind}_id', f'owned.{kind}_id')} "
                    f"= scope.{kind}_id where contract_id is not null"
                ),
            ),
            (
                "contract",
                kind,
                (
                    f"select {owned_id}, from_day from {rows_of(f'{kind}s', 'contract_hash')} as owned "
                    "inner join temp.scope_contract as scope on coalesce(owned.contract_id, '') = scope.contract_id"
                ),
            ),
        )
    return tuple(ties)


def _source_rows(dataset: str, home: str) -> str:
    return f"(from source.{dataset} where ended_load_id is null and {_is_among('tied_homes', home)})"


def _rows_in_scope(dataset: str, _: str) -> str:
    return f"temp.{dataset.removesuffix('s')}_row"


# The first day of the week that a from_day lies in, as temp.balance has them. It is the day itself for days that never
# come: '-infinity', and 'infinity' for logs without a date. Of a column that holds no other days DuckDB works out the
# month while it plans, and fails.
_MONTH = "date_trunc('month', case when isfinite(from_day) then from_day end)::date"
_WEEK = f"coalesce(from_day - ((from_day - {_MONTH}) % 7)::integer, from_day)"
# What a change of later time logs only cannot leave as it was: the contract of a live line that names a changed log
# (what it bills, and which days its invoice speaks of, may be others now), and the time a pool of earlier logs runs.
_EARLIER = """
    select invoice_row.contract_id, case
        when early_line.time_log_id is not null then '-infinity'
        else coalesce(early_line.period_start, '-infinity')
    end
    from temp.early_line
    inner join temp.invoice_row using (invoice_id) inner join temp.scope_contract using (contract_id)
    where early_line.kind = 'time' and invoice_row.status in ('issued', 'paid') and (
        early_line.time_log_id is not null
        or coalesce(early_line.period_start < scope_contract.from_day, true)
        and coalesce(early_line.period_end >= scope_contract.from_day, true)
    )
"""
# More than so many touched ids are worked off in batches of about so many time logs, each a run of its own.
_BATCH_IDS_MIN = 1_000
_BATCH_LOGS = 1_500_000
_RUN_COLUMNS = (
    "run_id",
    "as_of",
    "started_at",
    "finished_at",
    "status",
    "error",
    "duration_ms",
    *_LOG_COUNTS,
    *_FINDING_COUNTS,
    "rules_digest",
    "settings",
)


@dataclass(frozen=True)
class Run:
    """One row of report.run_history, and the load it took in last. Timestamps are UTC, naive."""

    run_id: int
    as_of: date
    started_at: datetime
    finished_at: datetime
    status: str
    error: str | None
    duration_ms: int
    logs_received: int | None
    logs_eligible: int | None
    logs_quarantined: int | None
    logs_excluded: int | None
    logs_out_of_term: int | None
    findings_opened: int | None
    findings_changed: int | None
    findings_closed: int | None
    rules_digest: str | None
    settings: str | None


class _Size(NamedTuple):
    """How much there was when statements were prepared: live time logs, contracts, logs that had no contract."""

    logs: int
    contracts: int
    homeless_logs: int


def utc_now() -> datetime:
    """Return the time in UTC, without a zone, as the database stores it."""
    return datetime.now(UTC).replace(tzinfo=None)


def run_once(
    connection: Connection,
    as_of: date,
    *,
    thresholds: Thresholds,
    settings: Mapping[str, str],
    is_strict: bool = False,
    clock: Callable[[], datetime] = utc_now,
    progress: Progress | None = None,
    empties_work_tables: bool = True,
) -> Run:
    """Reconcile everything up to `as_of` and record what changed; return the run.

    `settings` are those that change results, beside the thresholds; both are stored with the run, and when they differ
    from the last run's every contract is looked at again. Nothing is written unless everything is. Who has something
    better to do first calls `tidy` later.
    Raises UsageError (`as_of` before the last run's), DataIntegrityError (failed feed, broken control total),
    ContractComplianceError (`is_strict`, see rules); a halted run is recorded before they leave.
    """
    started_at = clock()
    settings = {**settings, "threshold_amount": str(thresholds)}
    connection.info.pop("abr_fills_to_prepare", None)  # of a run that was rolled back
    try:
        with database.explained(database.path_of(str(connection.engine.url))):
            empty_work_tables(connection)
            with connection.begin():
                run = _reconcile(
                    connection,
                    as_of,
                    thresholds,
                    settings,
                    is_strict=is_strict,
                    started_at=started_at,
                    clock=clock,
                    progress=progress,
                )
            _prepare(connection, run)
            if empties_work_tables:
                empty_work_tables(connection)
            return run
    except UsageError:
        raise
    except ABRError as error:
        record_halt(connection, as_of, error, settings=settings, started_at=started_at, clock=clock)
        raise


def run_all(connection: Connection, run: Callable[[Progress], Run], progress: Progress | None = None) -> Run:
    """Run until nothing touched is left and return the last run. `run` is `run_once` with all but its progress given.

    What is left after an interruption is taken up by the next run, whoever starts it.
    """
    steps = 0

    def told(done: int, left: int) -> None:
        nonlocal steps
        steps = max(steps, left)
        if progress:
            progress(steps - left + done, steps)

    last = run(told)
    while is_pending(connection):
        last = run(told)
    return last


def is_pending(connection: Connection) -> bool:
    """Return whether something was touched that no run has looked at yet."""
    left = connection.exec_driver_sql("select 1 from source.change limit 1").first()
    connection.rollback()
    return left is not None


def record_halt(
    connection: Connection,
    as_of: date,
    error: ABRError,
    *,
    settings: Mapping[str, str],
    started_at: datetime,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    """Record a run that an error ended, also one of the source before the run began; the caller raises the error.

    Where the database does not accept it (a full or broken disk) the error gets a note instead.
    """
    finished_at = clock()
    blank = dict.fromkeys((*_LOG_COUNTS, *_FINDING_COUNTS, "rules_digest"))
    try:
        connection.rollback()
        with connection.begin():
            run_id = connection.exec_driver_sql("select coalesce(max(run_id), 0) + 1 from audit.run").scalar_one()
            _insert_run(
                connection,
                Run(
                    run_id=run_id,
                    as_of=as_of,
                    started_at=started_at,
                    finished_at=finished_at,
                    status="halted",
                    error=error.message,
                    duration_ms=_milliseconds(started_at, finished_at),
                    settings=json.dumps(dict(sorted(settings.items()))),
                    **blank,
                ),
            )
    except DBAPIError as second:
        # The halt itself is what people must see.
        error.add_note(f"the halted run could not be recorded: {second.orig}")


def _reconcile(
    connection: Connection,
    as_of: date,
    thresholds: Thresholds,
    settings: Mapping[str, str],
    *,
    is_strict: bool,
    started_at: datetime,
    clock: Callable[[], datetime],
    progress: Progress | None,
) -> Run:
    last = connection.exec_driver_sql("select as_of, run_id from reconcile.last_run").first()
    if last is not None and as_of < last.as_of:
        raise UsageError(
            f"a run for {as_of} would go back behind the last one, which was for {last.as_of}",
            f"run it for {last.as_of} or later; what was believed then is in report.finding_history",
        )
    _require_feed(connection)
    rules_digest = views.digest(connection)
    settings_json = json.dumps(dict(sorted(settings.items())))
    before = (
        last
        and connection.exec_driver_sql(
            f"select rules_digest, settings, {', '.join(_LOG_COUNTS)} from audit.run where run_id = {last.run_id}",
        ).one()
    )
    if connection.info.get("abr_prepared_for") != rules_digest:
        prepared.forget(connection)
    is_same = before is not None and before.rules_digest == rules_digest and before.settings == settings_json
    run_id = connection.exec_driver_sql("select coalesce(max(run_id), 0) + 1 from audit.run").scalar_one()
    set_inputs(connection, as_of, thresholds, run_id)
    if not is_same:
        touch_everything(connection)
    elif last is not None and as_of != last.as_of:
        connection.exec_driver_sql("insert into source.change (kind, id, from_day) from reconcile.due")
    batches_left = scope_to_changes(connection)
    counts = dict.fromkeys(_FINDING_COUNTS, 0)
    log_counts = {name: getattr(before, name) if before else 0 for name in _LOG_COUNTS}
    if is_scoped(connection):
        fill_work_tables(
            connection,
            is_planned_once=batches_left == 1 and (is_same or prepared.is_prepared(connection)),
            progress=progress and (lambda done, steps: progress(done, steps * batches_left)),
        )
        require_control_totals(connection)
        counts = _write_changes(connection, run_id)
        # The sum of all there are would take the longer the more there are.
        for name, difference in _renew_log_counts(connection).items():
            log_counts[name] += difference
    _clear_changes(connection, batches_left)
    if is_strict:
        _require_compliance(connection)
    finished_at = clock()
    run = Run(
        run_id=run_id,
        as_of=as_of,
        started_at=started_at,
        finished_at=finished_at,
        status="ok",
        error=None,
        duration_ms=_milliseconds(started_at, finished_at),
        **log_counts,
        **counts,
        rules_digest=rules_digest,
        settings=settings_json,
    )
    _insert_run(connection, run)
    return run


def set_inputs(connection: Connection, as_of: date, thresholds: Thresholds, run_id: int | None = None) -> None:
    """Write where views read them: the date a run is for, its number if it is recorded, and the thresholds."""
    connection.exec_driver_sql("delete from temp.cycle")
    cycle = {"as_of": as_of, "run_id": run_id}
    connection.execute(text("insert into temp.cycle values (:as_of, :run_id)"), cycle)
    connection.exec_driver_sql("delete from temp.threshold")
    rows: list[dict[str, Any]] = [{"currency": None, "amount": thresholds.default_amount}]
    rows += [{"currency": name, "amount": amount} for name, amount in thresholds.amount_by_currency.items()]
    connection.execute(text("insert into temp.threshold values (:currency, :amount)"), rows)


def _require_feed(connection: Connection) -> None:
    for dataset in ("contracts", "time_logs"):
        if (
            connection.exec_driver_sql(f"select 1 from source.{dataset} where ended_load_id is null limit 1").first()
            is None
        ):
            raise DataIntegrityError(
                f"failed feed: there are no {dataset.replace('_', ' ')} at all",
                f"load some first: abr load {dataset}.csv",
            )


def touch_everything(connection: Connection) -> None:
    """Let the next runs look at every contract, project and invoice that is known or has anything open."""
    selects = [
        f"select '{kind}' as kind, coalesce({kind}_id, '') as id from source.{table} where ended_load_id is null"
        for kind, tables in {
            "contract": ("contracts", "projects", "rates", "invoices"),
            "project": ("projects", "time_logs"),
            "invoice": ("invoices", "invoice_lines"),
        }.items()
        for table in tables
    ]
    selects += [f"select 'contract', contract_id from audit.{name}_open" for name in ("finding", "position")]
    selects.append("select 'project', project_id from audit.log_count_open")
    selects.append(f"select {_KIND_OF_HOME}, home from audit.quarantine_open")
    connection.exec_driver_sql(
        f"insert into source.change (kind, id) select kind, id from ({' union '.join(selects)})",
    )


def scope_to_changes(connection: Connection) -> int:
    """Let the run look at what was touched since the last one, and at everything connected with it by a project.

    Where too much was touched for one run, it looks at a batch. Returns how many batches are left, this one included.
    """
    _clear_scope(connection)
    count = connection.exec_driver_sql(
        "select count(*) from (select distinct kind, id from source.change)"
    ).scalar_one()
    if count <= _BATCH_IDS_MIN:
        if count:
            _close_scope(connection, _CHANGES)
        return 1
    # A new temporary table makes DuckDB plan prepared statements again, with the optimizers on that they must not have.
    prepared.forget(connection)
    if not _is_batched(connection):
        _make_batches(connection)
    # What a batch brings along of later ones is not there any more when their turn comes.
    number, batches_left = connection.exec_driver_sql(
        "select min(number), count(distinct number) from temp.batch semi join source.change using (kind, id)"
    ).one()
    _close_scope_of_batch(connection, f"from temp.batch where number = {number}")
    return int(batches_left)


def _close_scope_of_batch(connection: Connection, batch: str) -> None:
    _close_scope(connection, f"{_CHANGES} semi join ({batch}) using (kind, id)")
    # What else was touched of a batch's contracts may stand in another one, and may reach further back.
    while _close_scope(connection, f"{_CHANGES} semi join ({_IN_SCOPE}) using (kind, id)"):
        pass


def _is_batched(connection: Connection) -> bool:
    """Return whether all that is touched has a place in the batches made for an earlier run."""
    run = connection.exec_driver_sql
    if run("select 1 from duckdb_tables() where temporary and table_name = 'batch'").first() is None:
        return False
    return run("select 1 from source.change anti join temp.batch using (kind, id) limit 1").first() is None


def _make_batches(connection: Connection) -> None:
    """Deal what is touched out to batches (kind, id, number).

    What an id weighs is read from the numbers that its rows carry; two projects that share one count twice. A project
    counts with its contract where that was touched too. Contracts come in the order of their numbers: so their rows lie
    in the large tables, and so what the batches write comes to lie.
    """
    touched = "select distinct kind, id from source.change"
    connection.exec_driver_sql(
        f"""
        create or replace temp table batch as
        with
        log_home as materialized (
            select home_hash, count(*) as log_count from source.time_logs where ended_load_id is null group by all
        ),
        project as (
            select project_id, contract_id, coalesce(log_count, 0) as log_count from source.projects
            left join log_home on log_home.home_hash = {loading.home_hash("project_id")} where ended_load_id is null
        ),
        owner as (
            select 'contract' as kind, contract_id as id, log_count from project where contract_id is not null
            union all
            select 'project', id, log_count from ({touched}) inner join log_home
            on kind = 'project' and log_home.home_hash = {loading.home_hash("id")}
            where id not in (
                select project_id from project
                where project_id is not null
                and contract_id in (select contract.id from ({touched}) as contract where contract.kind = 'contract')
            )
        ),
        weighed as (
            select kind, id, 1 + coalesce(sum(log_count), 0) as weight
            from ({touched}) left join owner using (kind, id) group by all
        )
        select
            kind,
            id,
            (sum(weight) over (order by kind, {loading.home_hash("id")}, id) - weight) // {_BATCH_LOGS} as number
        from weighed
        """,
    )


def _clear_changes(connection: Connection, batches_left: int) -> None:
    run = connection.exec_driver_sql
    if batches_left == 1:
        run("delete from source.change")
    else:
        for kind in _KINDS:
            run(f"delete from source.change where kind = '{kind}' and id in (select {kind}_id from temp.scope_{kind})")
    if run("select 1 from source.change limit 1").first() is None:
        run("drop table if exists temp.batch")


def _close_scope(connection: Connection, touched: str) -> bool:
    """Put what was touched in scope, and what it is tied to; `touched` selects kind, id and from_day.

    Returns whether any of it was new.
    """
    added = [kind for kind, adding in zip(_KINDS, _adding_touched(touched), strict=True) if _added(connection, adding)]
    _follow_ties(connection, added, _ADDING_TIED)
    return bool(added)


def _follow_ties(connection: Connection, added: Collection[str], ties: Collection[tuple[str, str, str]]) -> None:
    """Put what is tied to what was added to the scope in scope too, each id from its earliest day on.

    A project shared by two contracts ties them together: which one a log belongs to depends on both. So does an invoice
    that names two, and one without an id: its rows are looked at together.
    """
    waiting = [tie for tie in ties if tie[0] in added]
    is_touched = "invoice" in added
    while waiting:
        tied, to, adding = waiting.pop(0)
        if tied == "invoice" and not is_touched and prepared.run(connection, _SHARED_INVOICE).first() is None:
            continue  # they came with their contracts, and have no others
        if "tied_homes" in adding:
            _set_bits(connection, "tied_homes", _NO_CONTRACT, f"select home_hash from temp.scope_{tied}")
        if _added(connection, adding):
            waiting += [tie for tie in ties if tie[0] == to and tie not in waiting]
    if added:
        for statement in _KEEPING_EARLIEST:
            prepared.run(connection, statement)


def _look_back(connection: Connection) -> None:
    """Let a run that looks at later weeks only look as far back as their invoices make it."""
    later = f"select 1 from temp.scope_contract where from_day > {_EVER} limit 1"
    while connection.exec_driver_sql(later).first() and _added(connection, _ADDING_EARLIER):
        _follow_ties(connection, ["contract"], _ADDING_EARLIER_TIED)


def _added(connection: Connection, adding: str) -> int:
    """Add ids to a scope; return how many were new, or new from an earlier day on."""
    added: int = prepared.run(connection, adding).scalar_one()
    return added


def _adding(kind: str, ids: str) -> str:
    """Return what adds ids to a scope, each with its earliest day (NULL: ever), and returns how many.

    Ids that are there already from that day on or earlier are passed over.
    """
    table, column = f"temp.scope_{kind}", f"{kind}_id"
    found = (
        f"select id, min(coalesce({_WEEK}, {_EVER})) as from_day from ({ids}) as found(id, from_day) "
        "where id is not null group by id"
    )
    return (
        f"insert into {table} select found.id, {loading.home_hash('found.id')}, found.from_day from ({found}) as found "
        f"anti join {table} as known on found.id = known.{column} and found.from_day >= known.from_day"
    )


def _adding_touched(touched: str) -> list[str]:
    return [
        _adding(
            kind, f"select id, from_day::date from ({touched}) as touched(kind, id, from_day) where kind = '{kind}'"
        )
        for kind in _KINDS
    ]


_ADDING_TIED = [(kind, to, _adding(to, ids)) for kind, to, ids in _ties(_source_rows)]
# When the scope is complete, and its projects and invoices are read; what changes is from which day on.
_ADDING_EARLIER_TIED = [(kind, to, _adding(to, ids)) for kind, to, ids in _ties(_rows_in_scope)]
_ADDING_EARLIER = _adding("contract", _EARLIER)
# Whether an invoice in scope may name several contracts: it has rows that contradict one another, or no id.
_SHARED_INVOICE = (
    "select 1 from temp.scope_invoice where invoice_id = '' "
    "or invoice_id in (select key from source.conflict where dataset = 'invoices') limit 1"
)
_KEEPING_EARLIEST = [
    f"delete from temp.scope_{kind} using temp.scope_{kind} as earlier "
    f"where scope_{kind}.{kind}_id = earlier.{kind}_id and scope_{kind}.from_day > earlier.from_day"
    for kind in _KINDS
]
# What most runs do to find their scope, as far as no large table is read.
_SCOPE_STATEMENTS = (
    *_adding_touched(_CHANGES),
    *(adding for _, _, adding in _ADDING_EARLIER_TIED),
    _ADDING_EARLIER,
    _SHARED_INVOICE,
    *_KEEPING_EARLIEST,
)


def _clear_scope(connection: Connection) -> None:
    connection.exec_driver_sql("; ".join(f"delete from temp.scope_{kind}" for kind in _KINDS))


def is_scoped(connection: Connection) -> bool:
    """Return whether there is anything to look at."""
    any_of_kind = " or ".join(f"exists (from temp.scope_{kind})" for kind in _KINDS)
    return bool(connection.exec_driver_sql(f"select {any_of_kind}").scalar_one())


def fill_work_tables(
    connection: Connection,
    *,
    is_planned_once: bool = False,
    until: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Fill every work table from its view, in order, for what is in scope.

    `is_planned_once`: by statements prepared at first use, as planning them costs more than running them for a few
    contracts. For very many a plan made for them is better. `until` names the last table wanted; `progress` is told how
    many of how many are filled.
    """
    run = connection.exec_driver_sql
    connection.info["abr_is_filled"] = True
    is_prepared = is_planned_once and prepared.is_prepared(connection)
    order: list[str] = connection.info["abr_order"] if is_prepared else _filled_tables(connection)
    if not is_prepared:
        prepared.forget(connection)
        if is_planned_once:
            connection.info["abr_fills_to_prepare"] = order
    _set_homes(connection)
    first = len(_FIRST_FILLED)
    # Where all of it is a fraction of a second, what each call costs counts.
    steps = [order[:first], order[first:]] if is_prepared else [[name] for name in order]
    done = 0
    for names in steps:
        run(
            "; ".join(
                prepared.call(connection, _filling(name))
                if is_planned_once
                else f"create or replace temp table {name} as from work.{name}"
                for name in names
            )
        )
        done += len(names)
        if done == first:
            _look_back(connection)
            # What comes before any day that is asked for is passed over like the rows of other homes.
            days = "select from_day from temp.scope_project union all select from_day from temp.scope_contract"
            run(f"set variable first_day = (select min(from_day) from ({days}))")
        if progress:
            progress(done, len(order))
        if names[-1] == until:
            break


def _filling(name: str) -> str:
    """Return the statement that fills an empty work table."""
    return f"insert into temp.{name} from work.{name}"


def _set_homes(connection: Connection) -> None:
    """Say which contracts are in scope, in the variables that the views over large tables look at.

    An `in (select ...)` drops rows only after all their columns were read. An expression over one column does so
    before, for a whole run of equal numbers at once; where rows lie sorted by it that leaves next to nothing to read.
    A few contracts are told by their numbers, so that whole row groups are passed over (see models.MACROS), more as
    bits, by the lowest ones of their numbers. Rows of other homes that share a bit are let through: of a hundred
    contracts in 50,000 those of 38 others. The ids decide. Where there are few row groups bits are told faster.
    """
    contracts = [*_NO_CONTRACT_IN_SCOPE, "select home_hash from temp.scope_contract"]
    contracts += [loading.former_contract_hashes(kind) for kind in ("project", "invoice")]
    few: Sequence[int] = ()
    size: _Size | None = connection.info.get("abr_size")
    if size is None or size.logs > _MANY_LOGS:
        distinct = f"select distinct home_hash from ({' union all '.join(contracts)}) limit {FEW_HOMES + 1}"
        few = connection.exec_driver_sql(distinct).scalars().all()
    if 0 < len(few) <= FEW_HOMES:
        padded = [*few, *[few[-1]] * (FEW_HOMES - len(few))]
        settings = [f"set variable contract_home_{place} = {home}" for place, home in enumerate(padded, 1)]
        settings += [f"set variable few_contract_homes = {padded}::integer[]", "set variable reads_all_days = false"]
        connection.exec_driver_sql("; ".join(settings))
    else:
        _set_bits(connection, "contract_homes", *contracts)
        connection.exec_driver_sql(
            f"set variable few_contract_homes = null; set variable reads_all_days = {_reads_all_days(connection, size)}"
        )


def _reads_all_days(connection: Connection, size: _Size | None) -> bool:
    """Return whether the time logs in scope are so few, whatever their day, that to look at all logs' days is slower.

    Like the bits the days are asked for before other cells are read, but of every row there is.
    """
    if size is None or size.logs <= _MANY_LOGS:
        return False
    contracts, is_homeless = connection.exec_driver_sql(
        f"select count(*), coalesce({_is_among('contract_homes', '0')}, false) from temp.scope_contract"
    ).one()
    logs_in_scope: int = contracts * size.logs // max(size.contracts, 1) + (size.homeless_logs if is_homeless else 0)
    return logs_in_scope * _LOGS_PER_LOG_IN_SCOPE < size.logs


def _set_bits(connection: Connection, variable: str, *homes: str) -> None:
    connection.exec_driver_sql(
        f"set variable {variable} = (select bitstring_agg(home_hash & {HOME_BITS - 1}, 0, {HOME_BITS - 1}) "
        f"from ({' union all '.join(homes)}))"
    )


def _prepare(connection: Connection, run: Run) -> None:
    """Prepare what the next runs execute, if this one has just made the work tables anew."""
    order: list[str] | None = connection.info.pop("abr_fills_to_prepare", None)
    if order is None:
        return
    statements = {f"abr_clear_{name}": f"delete from temp.{name}" for name in order}
    statements |= {f"abr_fill_{name}": _filling(name) for name in order if name not in _LARGE_READS}
    for kind, known in (("scope", _SCOPE_STATEMENTS), ("close", _CLOSING_STATEMENTS)):
        statements |= {f"abr_{kind}_{place}": statement for place, statement in enumerate(known)}
    prepared.prepare(connection, statements)
    connection.info.update(
        abr_order=order,
        abr_prepared_for=run.rules_digest,
        abr_size=_size(connection, run),
    )


def _size(connection: Connection, run: Run) -> _Size:
    contracts, homeless_logs = connection.exec_driver_sql(
        "select (select count(*) from audit.position_open), "
        "(select count(*) from source.time_logs where contract_hash = 0)"
    ).one()
    connection.rollback()
    return _Size(run.logs_received or 0, contracts, homeless_logs)


def is_of_many_contracts(connection: Connection) -> bool:
    """Return whether the last run looked at many contracts, and so read most of the file; until they are emptied."""
    count: int = connection.exec_driver_sql("select count(*) from temp.scope_contract").scalar_one()
    connection.rollback()
    return count > FEW_HOMES


def empty_work_tables(connection: Connection) -> None:
    """Empty the work tables that a run has filled, also one that was stopped, in a transaction of its own."""
    if not connection.info.get("abr_is_filled"):
        return
    _clear_work_tables(connection)
    _clear_scope(connection)
    connection.commit()
    if prepared.is_prepared(connection):
        # The removed rows of a temporary table stay in memory, and every scan passes over them, until a checkpoint.
        connection.exec_driver_sql("checkpoint temp")
        connection.rollback()
    del connection.info["abr_is_filled"]


def tidy(connection: Connection, publisher: publishing.Publisher | None, *, now: datetime) -> None:
    """Do what can wait until a cycle is over, while nobody waits.

    Empty the work tables, write the log into the file, merge row groups there or in the copy, give memory back. `now`
    is UTC.
    """
    with database.explained(database.path_of(str(connection.engine.url))):
        is_busy = is_of_many_contracts(connection)
        empty_work_tables(connection)
    if not compacting.tidy(connection) and publisher is not None:  # one of them at a time
        with suppress(NotPublished):  # the next publication meets the same trouble, and tells
            publishing.tidy(publisher, now=now)
    with database.explained(database.path_of(str(connection.engine.url))):
        database.give_memory_back(connection, is_busy=is_busy)


def _clear_work_tables(connection: Connection) -> None:
    """Remove all rows; where no plans are prepared by making the tables anew, which gives many rows back faster."""
    if prepared.is_prepared(connection):
        order: list[str] = connection.info["abr_order"]
        statements = [prepared.call(connection, f"delete from temp.{name}") for name in order]
    else:
        names = _filled_tables(connection)
        statements = [f"create or replace temp table {name} as from temp.{name} limit 0" for name in names]
    connection.exec_driver_sql("; ".join(statements))


def _filled_tables(connection: Connection) -> list[str]:
    """Return the work tables that views fill, each after those it reads."""
    return [
        *_FIRST_FILLED,
        *(name for name in views.work_order(connection) if name not in _INPUTS and name not in _FIRST_FILLED),
    ]


def require_control_totals(connection: Connection) -> None:
    """Raise DataIntegrityError where a control total does not hold for what is in scope."""
    broken = prepared.run(connection, _BROKEN_TOTALS).fetchall()
    if broken:
        first = broken[0]
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise DataIntegrityError(
            f"control total broken for {first.what} {first.id}: {first.detail}{more}",
            "nothing was written; run abr verify, and report this: ABR's own arithmetic is at fault",
        )


def _require_compliance(connection: Connection) -> None:
    contract = connection.exec_driver_sql(
        "select key, reasons from audit.quarantine_open where entity = 'contracts' order by key limit 1",
    ).first()
    if contract is not None:
        raise ContractComplianceError(
            f"contract {contract.key or '(without id)'} cannot be trusted: {contract.reasons}",
            "correct the contract, or run without --strict to set it aside",
        )
    overrun = connection.exec_driver_sql(
        "select contract_id, about from audit.finding_open where class = 'fixed_price_overrun' order by all limit 1",
    ).first()
    if overrun is not None:
        raise ContractComplianceError(
            f"fixed-price contract {overrun.contract_id} is overrun ({overrun.about})",
            "agree a change order, or run without --strict to see it as a warning",
        )


_STATE = "case change when 'closed' then 'closed' else 'open' end as state"
_ADDING_VERSIONS = (
    (
        f"insert into audit.finding by name select finding_change.* exclude (change, opened_run_id), run_id, "
        f"coalesce(opened_run_id, run_id) as opened_run_id, {_STATE} from temp.finding_change cross join temp.cycle "
        "order by home_hash"
    ),
    (
        f"insert into audit.position by name select position_change.* exclude (change), run_id, {_STATE} "
        "from temp.position_change cross join temp.cycle"
    ),
)
_REMOVING_OPEN = (
    (
        "delete from audit.finding_open where source.is_in_scope(finding_open.home_hash) "
        "and finding_id in (select finding_id from temp.finding_change)"
    ),
    (
        "delete from audit.position_open where source.is_in_scope(position_open.home_hash) "
        "and contract_id in (select contract_id from temp.position_change)"
    ),
    (
        "delete from audit.balance_open using temp.scope_contract as scope "
        "where source.is_in_scope(balance_open.home_hash) "
        "and balance_open.contract_id = scope.contract_id and coalesce(week >= from_day, true)"
    ),
    (
        "delete from audit.invoice_span_open using temp.scope_contract as scope "
        "where source.is_in_scope(invoice_span_open.home_hash) "
        f"and invoice_span_open.contract_id = scope.contract_id and from_day = {_EVER}"
    ),
)
_ADDING_OPEN = (
    (
        "insert into audit.finding_open by name select finding_change.* exclude (change, opened_run_id), run_id, "
        "coalesce(opened_run_id, run_id) as opened_run_id from temp.finding_change cross join temp.cycle "
        "where change != 'closed' order by home_hash"
    ),
    (
        "insert into audit.position_open by name select position_change.* exclude (change), run_id "
        "from temp.position_change cross join temp.cycle where change != 'closed'"
    ),
    "insert into audit.balance_open by name from temp.balance order by home_hash",
    (
        "insert into audit.invoice_span_open by name from temp.invoice_span where contract_id in "
        f"(select contract_id from temp.scope_contract where from_day = {_EVER}) order by home_hash"
    ),
)
_REMOVING_LOG_COUNTS = (
    "delete from audit.log_count_open using temp.scope_project as scope "
    f"where {_is_among('project_homes', 'log_count_open.home_hash')} "
    "and log_count_open.project_id = scope.project_id and coalesce(week >= from_day, true) "
    f"returning {', '.join(f'log_count_open.{name}' for name in _LOG_COUNTS)}"
)
_ADDING_LOG_COUNTS = (
    f"insert into audit.log_count_open by name select home_hash, project_id, week, {', '.join(_LOG_COUNTS)} "
    "from temp.log_count where logs_received > 0 order by home_hash"
)
_SUMMING_LOG_COUNTS = f"select {_SUMMED_LOG_COUNTS} from temp.log_count where logs_received > 0"
_COUNTING_FINDINGS = "select change, count(*) from temp.finding_change group by change"
_BROKEN_TOTALS = "select what, id, detail from reconcile.broken_total order by all"
# What every run does at its end, as far as no large table is read.
_CLOSING_STATEMENTS = (
    *_ADDING_VERSIONS,
    *_ADDING_OPEN,
    _ADDING_LOG_COUNTS,
    _SUMMING_LOG_COUNTS,
    _COUNTING_FINDINGS,
    _BROKEN_TOTALS,
)


def _write_changes(connection: Connection, run_id: int) -> dict[str, int]:
    """Add a version for every finding, position and row set aside that changed, and renew the open tables."""
    for statement in (*_ADDING_VERSIONS, *_REMOVING_OPEN, *_ADDING_OPEN):
        prepared.run(connection, statement)
    _write_quarantine(connection, run_id)
    counts = dict.fromkeys(_FINDING_COUNTS, 0)
    for change, count in prepared.run(connection, _COUNTING_FINDINGS).fetchall():
        counts[f"findings_{change}"] = count
    return counts


def _renew_log_counts(connection: Connection) -> dict[str, int]:
    """Renew the stored counts of time logs, and return by how much each of them has changed."""
    _set_bits(connection, "project_homes", "select home_hash from temp.scope_project")
    before = prepared.run(connection, _REMOVING_LOG_COUNTS).fetchall()
    prepared.run(connection, _ADDING_LOG_COUNTS)
    after = prepared.run(connection, _SUMMING_LOG_COUNTS).one()
    gone = [sum(column) for column in zip(*before, strict=True)] or [0] * len(_LOG_COUNTS)
    return {name: after[place] - gone[place] for place, name in enumerate(_LOG_COUNTS)}


def _write_quarantine(connection: Connection, run_id: int) -> None:
    run = connection.exec_driver_sql
    if run("select 1 from temp.quarantine_change limit 1").first() is None:
        return  # mostly; and the views behind the cells as given and what superseded them look at every data set
    for dataset in ("time_logs", "invoice_lines"):
        run(
            f"set variable opened_{dataset} = (select [min(row_id), max(row_id)] from temp.quarantine_change "
            f"where entity = '{dataset}' and change = 'opened')"
        )
    run(
        f"insert into audit.quarantine by name select quarantine_change.* exclude (change, opened_run_id), "
        f"{run_id} as run_id, coalesce(opened_run_id, {run_id}) as opened_run_id, "
        "coalesce(stored.raw, raw_row.raw, '{}') as raw from temp.quarantine_change "
        "left join (select quarantine_id, raw from audit.quarantine_open "
        "where source.is_in_scope(contract_hash)) as stored using (quarantine_id) "
        "left join reconcile.raw_row "
        "on quarantine_change.entity = raw_row.dataset and quarantine_change.row_id = raw_row.row_id "
        "order by contract_hash",
    )
    run(
        "delete from audit.quarantine_open where source.is_in_scope(quarantine_open.contract_hash) "
        "and quarantine_id in (select quarantine_id from temp.quarantine_change)",
    )
    run(
        f"insert into audit.quarantine_open by name from audit.quarantine where run_id = {run_id} "
        "and state in ('open', 'waived') order by contract_hash",
    )


@dataclass(frozen=True)
class Decision:
    """What a person decided, as it was recorded."""

    about: str
    contract_id: str | None
    amount: Decimal | None
    currency: str | None
    decided_by: str
    reason: str


def write_off(
    connection: Connection, finding_id: str, *, decided_by: str, reason: str, is_undone: bool = False, now: datetime
) -> Decision:
    """Accept a leakage finding at its present amount, or take that back; the next run acts on it. The caller commits.

    Raises UsageError where the finding is not open, is no leakage, or there is nothing to take back.
    """
    finding = connection.execute(
        text("select contract_id, about, class, side, amount, currency from audit.finding_open where finding_id = :id"),
        {"id": finding_id},
    ).first()
    if finding is None:
        raise UsageError(f"there is no open finding {finding_id}", "see abr findings for those there are")
    needed = "written_off" if is_undone else "leakage"
    if finding.side != needed:
        raise UsageError(
            f"finding {finding_id} is {finding.side.replace('_', ' ')}, not {needed.replace('_', ' ')}",
            "see abr findings --side " + needed,
        )
    _add_decision(
        connection,
        "write_off",
        {
            "decided_at": now,
            "finding_id": finding_id,
            "contract_id": finding.contract_id,
            "accepted_amount": None if is_undone else finding.amount,
            "decided_by": decided_by,
            "reason": reason,
        },
    )
    _touch(connection, "contract", finding.contract_id)
    about = f"{finding._mapping['class']} {finding.about}"  # noqa: SLF001  'class' is a keyword
    return Decision(about, finding.contract_id, finding.amount, finding.currency, decided_by, reason)


def waive(connection: Connection, quarantine_id: str, *, decided_by: str, reason: str, now: datetime) -> Decision:
    """Accept that a row in quarantine stays out until a new version comes; the next run acts on it. The caller commits.

    Raises UsageError where no such row is set aside, or it is waived already.
    """
    row = connection.execute(
        text(
            f"select entity, key, home, {_KIND_OF_HOME} as kind, contract_id, state from audit.quarantine_open "
            "where quarantine_id = :id"
        ),
        {"id": quarantine_id},
    ).first()
    if row is None:
        raise UsageError(f"there is no row {quarantine_id} in quarantine", "see abr quarantine for those there are")
    if row.state == "waived":
        raise UsageError(f"row {quarantine_id} is waived already", "abr quarantine shows by whom and why")
    _add_decision(
        connection,
        "waiver",
        {"decided_at": now, "quarantine_id": quarantine_id, "decided_by": decided_by, "reason": reason},
    )
    _touch(connection, row.kind, row.home)
    return Decision(f"{row.entity} {row.key}", row.contract_id, None, None, decided_by, reason)


def _add_decision(connection: Connection, table: str, values: Mapping[str, Any]) -> None:
    names = ", ".join(values)
    connection.execute(
        text(
            f"insert into audit.{table} ({table}_id, {names}) "
            f"select (select coalesce(max({table}_id), 0) + 1 from audit.{table}), "
            f"{', '.join(f':{name}' for name in values)}",
        ),
        values,
    )


def _touch(connection: Connection, kind: str, touched_id: str) -> None:
    connection.execute(
        text("insert into source.change (load_id, kind, id) values (null, :kind, :id)"),
        {"kind": kind, "id": touched_id},
    )


@dataclass(frozen=True)
class Difference:
    """One thing `verify` found: what kind of thing, which one, and how it differs."""

    what: str
    id: str
    detail: str


def verify(connection: Connection) -> list[Difference]:
    """Recompute everything from the sources and compare it with what is stored; return every difference.

    Compared: views with the migrations', source rows with the digests taken when they were loaded, open state with the
    newest versions, the last run's counts with the stored ones, and findings, positions, quarantine and log counts with
    a fresh computation as of the last run. What was touched since that run is left out: it is the next run's. Nothing
    is written.
    Raises UsageError before the first run.
    """
    last = connection.exec_driver_sql(
        "select last_run.as_of, run.settings from reconcile.last_run inner join audit.run using (run_id)",
    ).first()
    connection.rollback()
    if last is None:
        raise UsageError("there is no run to verify yet", "run one: abr run")
    found = [*_changed_views(connection), *_changed_sources(connection), *_broken_histories(connection)]
    if any(difference.what == "view" for difference in found):
        # What these views compute proves nothing.
        return found
    thresholds = thresholds_of(json.loads(last.settings)["threshold_amount"])
    connection.rollback()
    found += _recomputed_differently(connection, lambda: set_inputs(connection, last.as_of, thresholds))
    return found


def _changed_views(connection: Connection) -> list[Difference]:
    stored, migrated = views.rules(connection), _migrated_rules()
    return [
        Difference("view", name, "missing" if name not in stored else "unknown" if name not in migrated else "replaced")
        for name in sorted(stored.keys() | migrated.keys())
        if stored.get(name) != migrated.get(name)
    ]


@cache
def _migrated_rules() -> Mapping[str, str]:
    with database.connect("duckdb:///:memory:") as fresh:
        return views.rules(fresh)


def _changed_sources(connection: Connection) -> list[Difference]:
    found = []
    for dataset in loading.DATASETS:
        rows = connection.exec_driver_sql(
            f"select row_id, {loading.key_expression(dataset)} as key from source.{dataset} "
            f"where digest != {loading.digest_expression(dataset)} "
            f"or raw_digest is distinct from {loading.RAW_DIGEST} "
            f"or key_hash != {loading.key_hash_of(dataset)} "
            f"{_misplaced(dataset)} order by row_id",
        ).fetchall()
        found += [
            Difference(f"source.{dataset}", row.key or f"row {row.row_id}", "a cell was changed since it was loaded")
            for row in rows
        ]
    return found


def _misplaced(dataset: str) -> str:
    """Return a condition that holds for rows of a data set that a run would not find."""
    home = loading.home_hash_of(dataset)
    return f"{f'or home_hash != {home} ' if home else ''}or not {loading.is_contract_hash(dataset)}"


def _broken_histories(connection: Connection) -> list[Difference]:
    found = []
    for name, key in publishing.HISTORIES.items():
        columns = ", ".join(
            row[0]
            for row in connection.exec_driver_sql(
                f"select column_name from duckdb_columns() where schema_name = 'audit' and table_name = '{name}_open' "
                "order by column_index",
            )
        )
        newest = (
            f"select {columns} from (from audit.{name} qualify row_number() over (partition by {key} "
            "order by run_id desc) = 1) where state in ('open', 'waived')"
        )
        differing = connection.exec_driver_sql(
            f"select {key} as id, 'open state lacks or contradicts the newest version' as detail from "
            f"({newest} except all select {columns} from audit.{name}_open) union all "
            f"select {key}, 'open state has what no newest version says' from "
            f"(select {columns} from audit.{name}_open except all {newest}) order by all",
        ).fetchall()
        found += [Difference(f"audit.{name}", row.id, row.detail) for row in differing]
    counts = ", ".join(_LOG_COUNTS)
    miscounted = connection.exec_driver_sql(
        f"select run_id from audit.run where run_id = (select run_id from reconcile.last_run) "
        f"and ({counts}) is distinct from (select ({counts}) from (select {_SUMMED_LOG_COUNTS} "
        "from audit.log_count_open))"
    ).fetchall()
    return [
        *found,
        *(Difference("audit.run", f"run {row.run_id}", "its counts are not those of the logs") for row in miscounted),
    ]


def _recomputed_differently(connection: Connection, begin: Callable[[], object]) -> list[Difference]:
    run = connection.exec_driver_sql
    _clear_scope(connection)
    _close_scope(connection, "select kind, id, null from source.change")
    run(f"create or replace temp table pending as {_IN_SCOPE}")
    connection.commit()  # of temporary tables
    try:
        found: dict[Difference, None] = {}
        for _ in batches(connection, begin, touches_everything=True):
            fill_work_tables(connection)
            found |= dict.fromkeys(_differences(connection))
        return list(found)
    finally:
        connection.rollback()
        run("drop table temp.pending")
        connection.commit()


def batches(connection: Connection, begin: Callable[[], object], *, touches_everything: bool = False) -> Iterator[int]:
    """Scope to one batch of what is touched, or of everything, after the other; yield how many are left, with this one.

    Each has a transaction of its own that is thrown away, with all the caller does in it: until its end DuckDB keeps
    what work tables held before they were filled again. `begin` sets the inputs, in each of them.
    """
    begin()
    if touches_everything:
        touch_everything(connection)
    if scope_to_changes(connection) == 1:
        yield 1
        connection.rollback()
        return
    driver: Any = connection.connection.driver_connection
    left = driver.execute("from temp.batch").to_arrow_table()
    try:
        while len(left):
            connection.rollback()
            driver.register("dealt", left)  # outside of any transaction, so that it outlives the next one
            begin()
            number, batches_left = connection.exec_driver_sql(
                "select min(number), count(distinct number) from dealt"
            ).one()
            batch = f"select kind, id from dealt where number = {number}"
            if touches_everything:
                connection.exec_driver_sql(f"insert into source.change (kind, id) {batch}")
            _clear_scope(connection)
            _close_scope_of_batch(connection, batch)
            yield batches_left
            # What a batch brings along of later ones is not looked at again when their turn comes.
            rest = f"from dealt anti join ({_IN_SCOPE}) using (kind, id) where number != {number}"
            left = driver.execute(rest).to_arrow_table()
    finally:
        connection.rollback()
        driver.unregister("dealt")


def _differences(connection: Connection) -> list[Difference]:
    """Return what the work tables have that is not stored, and the other way round, for all that is not pending."""
    run = connection.exec_driver_sql
    settled = "not in (select id from temp.pending where kind = 'contract')"
    found = [
        Difference("control total", f"{row.what} {row.id}", row.detail)
        for row in run("select what, id, detail from reconcile.broken_total order by all").fetchall()
    ]
    changed = run(
        f"""
        select 'finding' as what, finding_id as id,
            concat(contract_id, ' ', class, ' ', about, ' ', amount, ' ', change)
        from temp.finding_change where contract_id {settled}
        union all
        select 'position', contract_id, change from temp.position_change where contract_id {settled}
        union all
        select 'quarantine', quarantine_id, concat(entity, ' ', key, ' ', reasons, ' ', change)
        from temp.quarantine_change
        where ({_KIND_OF_HOME}, home) not in (select (kind, id) from temp.pending)
        union all
        select distinct 'log count', project_id, 'stored count differs' from {
            _differing(
                "log_count_open",
                f"project_id, week, {', '.join(_LOG_COUNTS)}",
                "project_id",
                "where logs_received > 0",
            )
        } where project_id not in (select id from temp.pending where kind = 'project')
        union all
        select distinct 'balance', concat_ws(' ', contract_id, week), 'stored balance differs'
        from {_differing("balance_open", "*", "contract_id")} where contract_id {settled}
        union all
        select distinct 'invoice span', invoice_id, 'stored span differs'
        from {_differing("invoice_span_open", "*", "contract_id")} where contract_id {settled}
        order by all
        """,
    ).fetchall()
    wording = {"opened": "is missing", "changed": "differs", "written": "differs", "closed": "should not be there"}
    for what, changed_id, detail in changed:
        head, _, change = detail.rpartition(" ")
        found.append(
            Difference(
                what, changed_id, f"{head} {wording.get(change, change)}".strip() if change in wording else detail
            )
        )
    return found


def _differing(open_table: str, columns: str, home: str, condition: str = "") -> str:
    """Return the rows in scope that only one of a table of the newest run and its work table has."""
    fresh = f"(select {columns} from temp.{open_table.removesuffix('_open')} {condition})"
    stored = f"(select {columns} from audit.{open_table} where {home} in (select {home} from temp.scope_{home[:-3]}))"
    return f"({fresh} except all {stored} union all ({stored} except all {fresh}))"


def quarantined_by_load(connection: Connection, load_id: int, as_of: date, thresholds: Thresholds) -> dict[str, int]:
    """Return how many of the rows that a load brought have a reason of their own to be set aside, by data set.

    Reasons a time log gets from its contract or rates (coverage_rules) are not counted: only a run knows them.
    Nothing is written.
    """
    connection.rollback()
    try:
        set_aside: dict[str, set[int]] = {dataset: set() for dataset in loading.DATASETS}
        for _ in batches(connection, lambda: set_inputs(connection, as_of, thresholds)):
            fill_work_tables(connection, until="row_reason")
            for dataset, row_ids in set_aside.items():
                row_ids |= set(
                    connection.exec_driver_sql(
                        f"select distinct row_id from temp.row_reason where dataset = '{dataset}' "
                        f"and row_id in (select row_id from source.{dataset} where started_load_id = {load_id})",
                    ).scalars()
                )
        return {dataset: len(row_ids) for dataset, row_ids in set_aside.items()}
    finally:
        connection.rollback()


@dataclass(frozen=True)
class Explained:
    """Everything one number rests on, recomputed: rows as mappings, amounts exact, durations in seconds.

    `log` is None when a contract was asked for. `pricing` has every step of the chain, `billing` what was billed;
    both are None for a log that is not eligible. `logs` counts the contract's logs by status.
    `finding` is the one asked for by its id; findings have who decided on them last (decided_by, decided_at, reason).
    `unit` are the logs rounded together with this one, `pool` the pool that
    bills it (or that the finding is about) with the seconds used before it, `seconds_before` what a fixed-price
    contract's cap period had used before it. `set_aside` are rows in quarantine that bear on it.
    """

    as_of: date
    contract: Mapping[str, Any] | None
    position: Mapping[str, Any] | None
    log: Mapping[str, Any] | None
    pricing: Mapping[str, Any] | None
    billing: Mapping[str, Any] | None
    rates: Sequence[Mapping[str, Any]]
    lines: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, Any]]
    reasons: Sequence[Mapping[str, Any]]
    logs: Sequence[Mapping[str, Any]]
    finding: Mapping[str, Any] | None = None
    versions: Sequence[Mapping[str, Any]] = ()
    unit: Sequence[Mapping[str, Any]] = ()
    pool: Mapping[str, Any] | None = None
    estimate: Mapping[str, Any] | None = None
    seconds_before: int | None = None
    set_aside: Sequence[Mapping[str, Any]] = ()


_FINDING = "*, report.time_log_of(about) as time_log_id"
# A finding, and who said of it last that it is accepted, or that it is not.
_DECIDED_FINDING = (
    f"select {_FINDING} from temp.finding left join (select finding_id, arg_max(decided_by, write_off_id) as "
    "decided_by, arg_max(decided_at, write_off_id) as decided_at, arg_max(reason, write_off_id) as reason "
    "from audit.write_off group by finding_id) using (finding_id)"
)


def explain(connection: Connection, wanted_id: str, *, thresholds: Thresholds, today: date) -> Explained:
    """Recompute one time log, finding or contract as of the last run (else `today`) and return all it rests on.

    Nothing is written. Raises UsageError where no time log, contract or finding has that id.
    """
    connection.rollback()
    try:
        last = connection.exec_driver_sql("select as_of from reconcile.last_run").first()
        set_inputs(connection, last.as_of if last else today, thresholds)
        finding = _first(connection, f"select {_FINDING} from audit.finding_open where finding_id = :id", wanted_id)
        log_id = finding["time_log_id"] if finding else wanted_id
        logs = _all(
            connection, "select * from source.time_logs where ended_load_id is null and time_log_id = :id", log_id
        )
        _clear_scope(connection)
        if logs:
            # Another contract may bill this log as well: its lines and what was found about them belong to the answer.
            touched = [
                (
                    "select 'invoice', coalesce(invoice_id, ''), null from source.invoice_lines "
                    f"where ended_load_id is null and time_log_id = {_quoted(log_id)}"
                ),
                *(
                    f"select 'project', {_quoted(name)}, null"
                    for name in sorted({log["project_id"] or "" for log in logs})
                ),
            ]
            if finding:
                touched.append(f"select 'contract', {_quoted(finding['contract_id'])}, null")
            _close_scope(connection, " union all ".join(touched))
        else:
            contract_id = finding["contract_id"] if finding else wanted_id
            known = _first(
                connection,
                "select 1 from source.contracts where ended_load_id is null and contract_id = :id",
                contract_id,
            )
            if known is None:
                raise UsageError(
                    f"there is no time log, contract or finding {wanted_id}", "see abr findings and abr report for ids"
                )
            _close_scope(connection, f"select 'contract', {_quoted(contract_id)}, null")
        fill_work_tables(connection)
        return _explained(connection, log_id if logs else None, None if logs else contract_id, finding)
    finally:
        connection.rollback()


def _explained(
    connection: Connection, log_id: str | None, contract_id: str | None, finding: Mapping[str, Any] | None
) -> Explained:
    as_of: date = connection.exec_driver_sql("select as_of from temp.cycle").scalar_one()
    log = _first(
        connection,
        "select log.*, log_contract.rate_on, log_contract.is_approved, log_row.time_log_id, log_row.project_id, "
        "log_row.person, log_row.role, log_row.task, log_row.entered_on from temp.log "
        "inner join temp.log_contract using (row_id) inner join temp.log_row using (row_id) "
        "where log_row.time_log_id = :id order by log.status limit 1",
        log_id,
    )
    row_id = log["row_id"] if log else None
    contract_id = contract_id or (log["contract_id"] if log else None)
    contract = _first(connection, "select * from temp.contract where contract_id = :id", contract_id)
    about = finding["about"] if finding else None
    # The pool that bills the log, else the one the finding is about.
    pools = _all(
        connection,
        "select pool.*, pooled_log.billed_seconds, pooled_log.billed_minor, "
        "(select coalesce(sum(other.billed_seconds), 0)::bigint from temp.pooled_log as other "
        "inner join temp.priced_log as earlier using (row_id) "
        "where other.contract_id = pool.contract_id and other.place = pool.place and earlier.place < priced_log.place) "
        "as used_before from temp.pooled_log inner join temp.priced_log using (row_id) "
        "inner join temp.pool on pooled_log.contract_id = pool.contract_id and pooled_log.place = pool.place "
        "where pooled_log.row_id = :id",
        row_id,
    ) or _all(
        connection,
        "select *, (select coalesce(sum(billed_minor), 0)::bigint from temp.pooled_log "
        "where contract_id = pool.contract_id and place = pool.place) as billed_minor "
        "from temp.pool where contract_id = :id and about = :about",
        contract_id,
        about=None if log else about,
    )
    pool = pools[0] if pools else None
    return Explained(
        as_of=as_of,
        contract=contract,
        position=_first(connection, "select * from temp.position where contract_id = :id", contract_id),
        log=log,
        pricing=_first(connection, "select * from pricing.money_cap where row_id = :id", row_id),
        billing=_first(
            connection,
            "select billed_log.*, log_row.worked_on from temp.billed_log inner join temp.log_row using (row_id) "
            "where row_id = :id",
            row_id,
        ),
        rates=_all(
            connection,
            "select rate.*, (rate.hourly_rate_scaled * 0.0001)::decimal(18, 4) as hourly_rate from temp.rate "
            "where contract_id = :id order by precedence desc, hourly_rate desc",
            contract_id,
        ),
        lines=_all(
            connection,
            "with line as (select line.*, line_row.line_no, line_row.kind, line_row.project_id, line_row.person, "
            "line_row.role, line_row.task, line_row.period_start, line_row.period_end, invoice.currency, "
            "invoice.issued_on, invoice.status, invoice.billing_model from temp.line "
            "inner join temp.line_row using (row_id) "
            "inner join temp.invoice on line.invoice_id = invoice.invoice_id) "
            "select line.*, direct.row_id is not null and line.is_matched as is_direct from line "
            "left join temp.direct using (contract_id, time_log_id) where line.time_log_id = :id "
            "or line.contract_id = :contract_id and concat('line:', line.invoice_id, '/', line.line_no) = :about "
            "or exists (select 1 from temp.pool where pool.contract_id = :contract_id and pool.about = :pool "
            "and line.time_log_id is null and line.is_matched "
            "and line.contract_id = pool.contract_id and (line.project_id, line.person, line.role, line.task, "
            "line.period_start, line.period_end) is not distinct from (pool.project_id, pool.person, pool.role, "
            "pool.task, pool.period_start, pool.period_end)) order by line.contract_id, line.invoice_id, line.line_no",
            log_id or (finding["time_log_id"] if finding else None),
            contract_id=contract_id,
            about=None if log else about,
            pool=pool["about"] if pool else None,
        ),
        findings=_all(
            connection,
            f"{_DECIDED_FINDING} where {'time_log_id' if log_id else 'contract_id'} = :id order by class, about",
            log_id or contract_id,
        ),
        reasons=_all(
            connection,
            "select reason.* from temp.reason inner join temp.log_row on reason.row_id = log_row.row_id "
            "where reason.dataset = 'time_logs' and log_row.time_log_id = :id "
            "union select reason.* from temp.reason inner join temp.contract_row using (row_id) "
            "where reason.dataset = 'contracts' and contract_row.contract_id = :contract_id order by all",
            log_id,
            contract_id=contract_id,
        ),
        logs=_all(
            connection,
            "select status, excluded_as, count(*) as log_count, sum(seconds) as seconds from temp.log "
            "where contract_id = :id group by all order by all",
            contract_id,
        ),
        finding=(
            _first(connection, f"{_DECIDED_FINDING} where finding_id = :id", finding["finding_id"]) if finding else None
        ),
        versions=_all(
            connection,
            "select starts_on, ends_on from temp.contract_version where contract_id = :id order by all",
            contract_id,
        ),
        unit=_all(
            connection,
            "with priced as (select priced_log.*, log_row.time_log_id, log_row.project_id, log_row.person, "
            "log_row.task, log_row.seconds from temp.priced_log inner join temp.log_row using (row_id)) "
            "select other.* from priced as other inner join priced as own on "
            "(other.contract_id, other.project_id, other.person, other.task, other.worked_on) is not distinct from "
            "(own.contract_id, own.project_id, own.person, own.task, own.worked_on) where own.row_id = :id "
            "order by other.place",
            row_id if contract and contract["rounding_unit"] != "entry" else None,
        ),
        pool=pool,
        estimate=_first(connection, "select * from temp.estimate where row_id = :id", row_id),
        seconds_before=connection.execute(
            text(
                "with log as (select log.*, log_row.time_log_id from temp.log inner join temp.log_row using (row_id)) "
                "select coalesce(sum(other.seconds), 0)::bigint from log as other inner join log as own "
                "using (contract_id) inner join temp.contract using (contract_id) where own.row_id = :id "
                "and other.excluded_as = 'fixed_price' "
                "and (other.worked_on, other.time_log_id) < (own.worked_on, own.time_log_id) and (contract.cap_period "
                "!= 'month' or date_trunc('month', other.worked_on) = date_trunc('month', own.worked_on))",
            ),
            {"id": row_id},
        ).scalar_one(),
        set_aside=_all(
            connection,
            "select * from temp.quarantined where case entity when 'time_logs' then key = :id and :id != '' "
            "when 'contracts' then contract_id = :contract_id "
            "when 'invoice_lines' then row_id in (select row_id from temp.line_row where time_log_id = :id) "
            "else false end order by entity, key",
            log_id,
            contract_id=contract_id,
        ),
    )


def _all(connection: Connection, query: str, wanted: object, **more: object) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(text(query), {"id": wanted, **more}).mappings()]


def _first(connection: Connection, query: str, wanted: object) -> Mapping[str, Any] | None:
    rows = _all(connection, query, wanted)
    return rows[0] if rows else None


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _insert_run(connection: Connection, run: Run) -> None:
    connection.execute(
        text(
            f"insert into audit.run ({', '.join(_RUN_COLUMNS)}) "
            f"values ({', '.join(f':{name}' for name in _RUN_COLUMNS)})",
        ),
        {name: getattr(run, name) for name in _RUN_COLUMNS},
    )


def _milliseconds(start: datetime, end: datetime) -> int:
    return round((end - start).total_seconds() * 1000)
