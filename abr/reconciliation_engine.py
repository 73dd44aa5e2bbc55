"""One cycle: compare everything that was touched with what is open, and record what changed. One transaction.

The engine decides no amount. It says which contracts a run looks at (temp.scope_*), fills the work tables from their
views in order, checks the control totals, and writes what differs from the open state to `audit`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from abr import views
from abr.exceptions import ABRError, ContractComplianceError, DataIntegrityError, UsageError

if TYPE_CHECKING:
    from abr.settings import Settings

# The tables a run writes itself; every other work table is filled from its view.
_INPUTS = ("cycle", "threshold", "scope_contract", "scope_project", "scope_invoice")
_LOG_COUNTS = ("logs_received", "logs_eligible", "logs_quarantined", "logs_excluded", "logs_out_of_term")
_FINDING_COUNTS = ("findings_opened", "findings_changed", "findings_closed")
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


@dataclass(frozen=True)
class Thresholds:
    """Leakage above which a contract is flagged: for any currency, and for those that have their own."""

    default: Decimal = Decimal("1500.00")
    by_currency: Mapping[str, Decimal] | None = None


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
) -> Run:
    """Reconcile everything up to `as_of` and record what changed; return the run.

    `settings` are those that change results; they are stored with the run, and when they differ from the last run's
    every contract is looked at again. Nothing is written unless everything is.
    Raises UsageError (`as_of` before the last run's), DataIntegrityError (failed feed, broken control total),
    ContractComplianceError (`is_strict`, see rules); a halted run is recorded before they leave.
    """
    started_at = clock()
    try:
        with connection.begin():
            return _reconcile(connection, as_of, thresholds, settings, is_strict=is_strict, started_at=started_at, clock=clock)
    except UsageError:
        raise
    except ABRError as error:
        _record_halt(connection, as_of, settings, error, started_at=started_at, clock=clock)
        raise


def _reconcile(
    connection: Connection,
    as_of: date,
    thresholds: Thresholds,
    settings: Mapping[str, str],
    *,
    is_strict: bool,
    started_at: datetime,
    clock: Callable[[], datetime],
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
    before = last and connection.exec_driver_sql(
        f"select rules_digest, settings from audit.run where run_id = {last.run_id}",
    ).one()
    is_same = before is not None and before.rules_digest == rules_digest and before.settings == settings_json
    set_inputs(connection, as_of, thresholds)
    is_incremental = is_same and last is not None
    if is_incremental and last is not None:
        scope_to_changes(connection, is_new_day=as_of != last.as_of)
    else:
        scope_to_everything(connection)
    run_id = connection.exec_driver_sql("select coalesce(max(run_id), 0) + 1 from audit.run").scalar_one()
    counts = dict.fromkeys(_FINDING_COUNTS, 0)
    if is_scoped(connection):
        fill_work_tables(connection, is_planned_once=is_incremental)
        require_control_totals(connection)
        counts = _write_changes(connection, run_id)
    connection.exec_driver_sql("delete from source.change")
    if is_strict:
        _require_compliance(connection)
    totals = connection.exec_driver_sql(
        f"select {', '.join(f'coalesce(sum({name}), 0)::bigint as {name}' for name in _LOG_COUNTS)} "
        "from audit.log_count_open",
    ).one()
    finished_at = clock()
    run = Run(
        run_id=run_id,
        as_of=as_of,
        started_at=started_at,
        finished_at=finished_at,
        status="ok",
        error=None,
        duration_ms=_milliseconds(started_at, finished_at),
        **totals._mapping,  # noqa: SLF001  SQLAlchemy's public name for a row as a mapping
        **counts,
        rules_digest=rules_digest,
        settings=settings_json,
    )
    _insert_run(connection, run)
    return run


def set_inputs(connection: Connection, as_of: date, thresholds: Thresholds) -> None:
    """Write the date a run is for, and the thresholds, where the views read them."""
    connection.exec_driver_sql("delete from temp.cycle")
    connection.execute(text("insert into temp.cycle values (:as_of)"), {"as_of": as_of})
    connection.exec_driver_sql("delete from temp.threshold")
    rows: list[dict[str, Any]] = [{"currency": None, "amount": thresholds.default}]
    rows += [{"currency": name, "amount": amount} for name, amount in (thresholds.by_currency or {}).items()]
    connection.execute(text("insert into temp.threshold values (:currency, :amount)"), rows)


def _require_feed(connection: Connection) -> None:
    for dataset in ("contracts", "time_logs"):
        if connection.exec_driver_sql(f"select 1 from source.{dataset} where ended_load_id is null limit 1").first() is None:
            raise DataIntegrityError(
                f"failed feed: there are no {dataset.replace('_', ' ')} at all",
                f"load some first: abr load {dataset}.csv",
            )


def scope_to_everything(connection: Connection) -> None:
    """Let the run look at every contract, project and invoice that is known or has anything open."""
    _clear_scope(connection)
    for kind, tables in {
        "contract": ("contracts", "projects", "rates", "invoices"),
        "project": ("projects", "time_logs"),
        "invoice": ("invoices", "invoice_lines"),
    }.items():
        selects = [f"select coalesce({kind}_id, '') from source.{table} where ended_load_id is null" for table in tables]
        if kind == "contract":
            selects += [f"select contract_id from audit.{name}_open" for name in ("finding", "position")]
        if kind == "project":
            selects.append("select project_id from audit.log_count_open")
        entities = {
            "contract": "'contracts', 'projects', 'rates'",
            "project": "'time_logs'",
            "invoice": "'invoices', 'invoice_lines'",
        }
        selects.append(f"select home from audit.quarantine_open where entity in ({entities[kind]})")
        connection.exec_driver_sql(f"insert into temp.scope_{kind} {' union '.join(selects)}")


def scope_to_changes(connection: Connection, *, is_new_day: bool) -> None:
    """Let the run look at what was touched since the last one, and at everything connected with it by a project."""
    _clear_scope(connection)
    touched = "select kind, id from source.change"
    if is_new_day:
        touched += " union all select kind, id from reconcile.due"
    _close_scope(connection, touched)


def scope_to_contract(connection: Connection, contract_id: str) -> None:
    """Let the run look at one contract, and at everything connected with it by a project."""
    _clear_scope(connection)
    _close_scope(connection, f"select 'contract' as kind, '{contract_id.replace(chr(39), chr(39) * 2)}' as id")


def _close_scope(connection: Connection, touched: str) -> None:
    run = connection.exec_driver_sql
    for kind in ("contract", "project", "invoice"):
        run(f"insert into temp.scope_{kind} select distinct id from ({touched}) where kind = '{kind}'")
    if not is_scoped(connection):
        return
    _extend(
        connection,
        "contract",
        "select contract_id from source.invoices where ended_load_id is null and contract_id is not null "
        "and coalesce(invoice_id, '') in (select invoice_id from temp.scope_invoice)",
    )
    # A project shared by two contracts ties them together: which one a log belongs to depends on both.
    while _extend(
        connection,
        "contract",
        "select contract_id from source.projects where ended_load_id is null and contract_id is not null "
        "and project_id in (select project_id from temp.scope_project)",
    ) + _extend(
        connection,
        "project",
        "select project_id from source.projects where ended_load_id is null and project_id is not null "
        "and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)",
    ):
        pass
    _extend(
        connection,
        "invoice",
        "select invoice_id from source.invoices where ended_load_id is null and invoice_id is not null "
        "and coalesce(contract_id, '') in (select contract_id from temp.scope_contract)",
    )


def _extend(connection: Connection, kind: str, ids: str) -> int:
    """Add ids to a scope; return how many were new."""
    table, column = f"temp.scope_{kind}", f"{kind}_id"
    before = connection.exec_driver_sql(f"select count(*) from {table}").scalar_one()
    connection.exec_driver_sql(f"insert into {table} ({ids}) except select {column} from {table}")
    after: int = connection.exec_driver_sql(f"select count(*) from {table}").scalar_one()
    return after - int(before)


def _clear_scope(connection: Connection) -> None:
    for kind in ("contract", "project", "invoice"):
        connection.exec_driver_sql(f"delete from temp.scope_{kind}")


def is_scoped(connection: Connection) -> bool:
    """Return whether there is anything to look at."""
    return any(
        connection.exec_driver_sql(f"select 1 from temp.scope_{kind} limit 1").first() is not None
        for kind in ("contract", "project", "invoice")
    )


def fill_work_tables(connection: Connection, *, is_planned_once: bool = False) -> None:
    """Fill every work table from its view, in order, for what is in scope.

    `is_planned_once`: by statements prepared at first use, as planning them costs more than running them for a few
    contracts. For very many a plan made for them is better.
    """
    run = connection.exec_driver_sql
    if not is_planned_once:
        for name in views.work_order(connection):
            if name not in _INPUTS:
                run(f"delete from temp.{name}")
                run(f"insert into temp.{name} from work.{name}")
        return
    # A plan outlives the rows it was made for, so it may not rest on their statistics: DuckDB 1.5 packs sort keys by the
    # smallest and greatest value at planning time, and returns garbage for others.
    run("set disabled_optimizers = 'compressed_materialization,statistics_propagation'")
    try:
        names: Sequence[str] | None = connection.info.get("abr_prepared")
        if names is None:
            names = [name for name in views.work_order(connection) if name not in _INPUTS]
            for name in names:
                run(f"prepare abr_clear_{name} as delete from temp.{name}")
                run(f"prepare abr_fill_{name} as insert into temp.{name} from work.{name}")
            connection.info["abr_prepared"] = names
        for name in names:
            run(f"execute abr_clear_{name}")
            run(f"execute abr_fill_{name}")
    finally:
        run("set disabled_optimizers = ''")


def require_control_totals(connection: Connection) -> None:
    """Raise DataIntegrityError where a control total does not hold for what is in scope."""
    broken = connection.exec_driver_sql("select what, id, detail from reconcile.broken_total order by all").fetchall()
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


def _write_changes(connection: Connection, run_id: int) -> dict[str, int]:
    """Add a version for every finding, position and row set aside that changed, and bring the open tables up to date."""
    run = connection.exec_driver_sql
    run(
        f"insert into audit.finding by name select * exclude (change, opened_run_id), {run_id} as run_id, "
        f"coalesce(opened_run_id, {run_id}) as opened_run_id, "
        "case change when 'closed' then 'closed' else 'open' end as state from temp.finding_change",
    )
    run("delete from audit.finding_open where finding_id in (select finding_id from temp.finding_change)")
    run(
        f"insert into audit.finding_open by name select * exclude (change, opened_run_id), {run_id} as run_id, "
        f"coalesce(opened_run_id, {run_id}) as opened_run_id from temp.finding_change where change != 'closed'",
    )
    run(
        f"insert into audit.position by name select * exclude (change), {run_id} as run_id, "
        "case change when 'closed' then 'closed' else 'open' end as state from temp.position_change",
    )
    run("delete from audit.position_open where contract_id in (select contract_id from temp.position_change)")
    run(
        f"insert into audit.position_open by name select * exclude (change), {run_id} as run_id "
        "from temp.position_change where change != 'closed'",
    )
    run(
        f"insert into audit.quarantine by name select quarantine_change.* exclude (change, opened_run_id, raw), "
        f"{run_id} as run_id, coalesce(opened_run_id, {run_id}) as opened_run_id, "
        "coalesce(quarantine_change.raw, raw_row.raw, '{}') as raw "
        "from temp.quarantine_change left join reconcile.raw_row "
        "on quarantine_change.entity = raw_row.dataset and quarantine_change.row_id = raw_row.row_id",
    )
    run("delete from audit.quarantine_open where quarantine_id in (select quarantine_id from temp.quarantine_change)")
    run(
        f"insert into audit.quarantine_open by name from audit.quarantine where run_id = {run_id} "
        "and state in ('open', 'waived')",
    )
    run("delete from audit.log_count_open where project_id in (select project_id from temp.scope_project)")
    run(
        "insert into audit.log_count_open by name "
        f"select project_id, {', '.join(_LOG_COUNTS)} from temp.log_count where logs_received > 0",
    )
    counted = run("select change, count(*) from temp.finding_change group by change").fetchall()
    counts = dict.fromkeys(_FINDING_COUNTS, 0)
    for change, count in counted:
        counts[f"findings_{change}"] = count
    return counts


def _insert_run(connection: Connection, run: Run) -> None:
    connection.execute(
        text(
            f"insert into audit.run ({', '.join(_RUN_COLUMNS)}) "
            f"values ({', '.join(f':{name}' for name in _RUN_COLUMNS)})",
        ),
        {name: getattr(run, name) for name in _RUN_COLUMNS},
    )


def _record_halt(
    connection: Connection,
    as_of: date,
    settings: Mapping[str, str],
    error: ABRError,
    *,
    started_at: datetime,
    clock: Callable[[], datetime],
) -> None:
    """Write the halted run down, where the database still accepts it."""
    finished_at = clock()
    with connection.begin():
        run_id = connection.exec_driver_sql("select coalesce(max(run_id), 0) + 1 from audit.run").scalar_one()
        blank = dict.fromkeys((*_LOG_COUNTS, *_FINDING_COUNTS, "rules_digest"))
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
                **blank,  # type: ignore[arg-type]
            ),
        )


def _milliseconds(start: datetime, end: datetime) -> int:
    return round((end - start).total_seconds() * 1000)
