"""The tables, typed once. Their comments travel to the database, where BI tools show them.

`source` holds what was received, every version; `audit` what was concluded, every version. A version is never edited:
what ends a source row is written into its `ended_*` columns, and everything in `audit` is added to, except the
`*_open` tables, which hold the current state so that nobody has to derive it (`abr verify` compares the two).
The large tables carry no index: in DuckDB one costs more memory and load time than the scan it saves.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Integer, MetaData, Numeric, String, Table
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData()
MONEY: Final = Numeric(18, 4)
FACTOR: Final = Numeric(9, 4)

SCHEMAS: Final = (
    "source",
    "audit",
    "staging",
    "quarantine_rules",
    "reference_rules",
    "coverage_rules",
    "matching",
    "pricing",
    "billing",
    "finding_rules",
    "work",
    "reconcile",
    "report",
)

# A cell that is a number.
NUMBER: Final = "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)"

# How many homes may be told one by one, and by how many bits of their numbers more of them.
FEW_HOMES: Final = 16
HOME_BITS: Final = 131_072
_FEW = "getvariable('few_contract_homes')::integer[]"
# What tells the rows of a large table that a run looks at, by the number of their contract. The run has set the
# variables: either a list of so many numbers (the last ones may be repeated) and each of them, or the bits of all.
# By an equality DuckDB passes over whole row groups, but only afterwards over single rows; by an expression it passes
# over rows before it reads their other cells, but over no row group, and beside another filter only if the expression
# cannot fail. So the few are asked for twice. Where the list is NULL, all of it is folded away when a query is planned;
# single variables fold faster than numbers taken out of the list.
_EACH = ", ".join(f"getvariable('contract_home_{place}')::integer" for place in range(1, FEW_HOMES + 1))
# Of work so many days old, in the words of DuckDB and of PostgreSQL.
AGE_BUCKET: Final = (
    "case when {age} is null then null when {age} <= 0 then 'current' when {age} <= 30 then '1-30' "
    "when {age} <= 60 then '31-60' when {age} <= 90 then '61-90' else '91+' end"
)
MACROS: Final = {
    "source.is_among": f"(homes, home) as get_bit(homes, home & {HOME_BITS - 1}) = 1",
    "source.is_in_scope": f"(home) as case when {_FEW} is null "
    "then source.is_among(getvariable('contract_homes')::bit, home) "
    f"else home in ({_EACH}) and list_contains({_FEW}, home) end",
    # Whether a row of this day may be looked at: a run looks at none before the first day it has set. Where all are
    # read, as that is faster than to look at the day of each row, nothing of this is left in the plan.
    "source.is_from_first_day": "(day, all_are_read) as case when all_are_read then true "
    "else day >= getvariable('first_day')::date or day is null end",
    # Whether a run looks at the rows of a few contracts, and at none that belong to no contract.
    "source.is_of_few_contracts": f"() as coalesce(not list_contains({_FEW}, 0), false)",
    # DuckDB multiplies an amount of 18 digits within 18 digits, and stops the run where they are not enough; within
    # more it takes twenty times as long.
    "source.ten_thousandths": "(amount) as trunc(amount)::bigint * 10000 "
    "+ ((amount - trunc(amount)::decimal(18, 4)) * 10000)::bigint",
    "source.is_number": f"(cell) as regexp_full_match(cell, '{NUMBER}')",
    "source.in_four_decimals": "(cell) as case when try_cast(cell as decimal(18, 4)) = 0 and cell like '-%' "
    "and regexp_matches(cell, '[1-9]') then -0.0001 else try_cast(cell as decimal(18, 4)) end::decimal(18, 4)",
    # A part of what a finding is about, so that whatever it holds no two pools are described alike.
    "source.scope_part": "(cell) as coalesce(replace(replace(cell, chr(92), repeat(chr(92), 2)), '|', "
    "chr(92) || '|'), '')",
    # The time log that a finding is about; its id is stored once.
    "report.time_log_of": "(about) as case when about like 'log:%' then substr(about, 5) end",
    "report.age_bucket": f"(age_days) as {AGE_BUCKET.format(age='age_days')}",
}


def column(name: str, kind: TypeEngine[Any], comment: str | None = None, *, required: bool = False) -> Column[Any]:
    """Return a column that holds NULL unless it is required."""
    return Column(name, kind, nullable=not required, comment=comment)


def table(schema: str, name: str, comment: str, *columns: Column[Any]) -> Table:
    """Return a table with its comment, known to METADATA."""
    return Table(name, METADATA, *columns, schema=schema, comment=comment)


LOAD: Final = table(
    "source",
    "load",
    "One row per load: a file, a folder, an export or a cycle of the simulator.",
    column("load_id", BigInteger(), required=True),
    column("loaded_at", DateTime(), "UTC", required=True),
    column("source", String(), "name of the source, never a path", required=True),
    column("format", String(), required=True),
    column("is_complete", Boolean(), "the load declared its data sets whole", required=True),
    column("covers_from", Date(), "first day the load was complete for"),
    column("covers_to", Date()),
    column("parameters", String(), "JSON: what the simulator was told, or the request a load was handed over by"),
    column("counts", String(), "JSON: rows read, new, superseded, unchanged, withdrawn by data set", required=True),
)


def source_row() -> tuple[Column[Any], ...]:
    """Return the columns that every received row carries beside its cells."""
    return (
        column("row_id", BigInteger(), required=True),
        column("source", String(), required=True),
        column("started_load_id", BigInteger(), "the load that brought this version", required=True),
        column("ended_load_id", BigInteger(), "the load that ended it; NULL = live"),
        column("ended_by", String(), "superseded or withdrawn"),
        column("odd_cells", String(), "JSON: trimmed text of the cells that could not be read"),
        column("raw", String(), "JSON: the cells as given, where the columns do not say it all"),
        column("digest", BigInteger(), "hash of the cells, so that an edit behind ABR's back shows", required=True),
        column("raw_digest", BigInteger(), "hash of raw"),
        column("key_hash", Integer(), "number made of the key; a load looks its rows up by it", required=True),
    )


def home_hash(what: str) -> Column[Any]:
    """Return the column that lets a run find the rows of a few contracts in a large table without reading it all.

    DuckDB skips what a join asks for by number, row by row and block by block, but not what it asks for by text.
    """
    return column("home_hash", Integer(), f"number made of the {what}; rows lie sorted by it", required=True)


def contract_hash(owner: str | None = None) -> Column[Any]:
    """Return the column that lets a run find the rows of a few contracts, named in the row or by its owner.

    An owner, a project or an invoice, may come after its rows, and move. A run looks for every contract that those in
    scope have ever had, and for 0 where there are such rows of theirs.
    """
    whose = f"contract that the {owner} had when the row was written" if owner else "contract id"
    return column(
        "contract_hash", Integer(), f"number made of the {whose}, 0 for none; rows lie sorted by it", required=True
    )


CONTRACT: Final = table(
    "source",
    "contracts",
    "One row per received version of a contract.",
    *source_row(),
    contract_hash(),
    column("contract_id", String()),
    column("client", String()),
    column("currency", String()),
    column("billing_model", String()),
    column("starts_on", Date()),
    column("ends_on", Date()),
    column("rounding_minutes", BigInteger()),
    column("rounding_mode", String()),
    column("rounding_unit", String()),
    column("minimum_minutes", BigInteger()),
    column("overtime_after_minutes", BigInteger()),
    column("overtime_multiplier", FACTOR),
    column("weekend_multiplier", FACTOR),
    column("prepaid_minutes", BigInteger()),
    column("prepaid_period", String()),
    column("cap_minutes", BigInteger()),
    column("cap_amount", MONEY),
    column("cap_period", String()),
    column("discount_percent", FACTOR),
    column("grace_days", BigInteger()),
    column("grace_from", String()),
    column("threshold_amount", MONEY),
)

PROJECT: Final = table(
    "source",
    "projects",
    "One row per received version of a project under a contract.",
    *source_row(),
    contract_hash(),
    home_hash("project id"),
    column("project_id", String()),
    column("contract_id", String()),
    column("name", String()),
    column("is_billable", Boolean()),
)

RATE: Final = table(
    "source",
    "rates",
    "One row per received version of an hourly rate.",
    *source_row(),
    contract_hash(),
    column("contract_id", String()),
    column("project_id", String()),
    column("person", String()),
    column("role", String()),
    column("task", String()),
    column("hourly_rate", MONEY),
    column("valid_from", Date()),
    column("valid_to", Date()),
)

TIME_LOG: Final = table(
    "source",
    "time_logs",
    "One row per received version of a time log.",
    *source_row(),
    contract_hash("project"),
    home_hash("project id"),
    column("time_log_id", String()),
    column("project_id", String()),
    column("person", String()),
    column("role", String()),
    column("task", String()),
    column("worked_on", Date()),
    column("seconds", BigInteger()),
    column("duration_cell", String(), "the cell the seconds came in: seconds, minutes, hours or duration"),
    column("is_billable", Boolean()),
    column("is_approved", Boolean()),
    column("entered_at", DateTime(), "UTC"),
    column("note", String()),
)

INVOICE: Final = table(
    "source",
    "invoices",
    "One row per received version of an invoice.",
    *source_row(),
    contract_hash(),
    home_hash("invoice id"),
    column("invoice_id", String()),
    column("contract_id", String()),
    column("currency", String()),
    column("issued_on", Date()),
    column("status", String()),
)

INVOICE_LINE: Final = table(
    "source",
    "invoice_lines",
    "One row per received version of an invoice line.",
    *source_row(),
    contract_hash("invoice"),
    home_hash("invoice id"),
    column("invoice_id", String()),
    column("line_no", BigInteger()),
    column("kind", String()),
    column("time_log_id", String()),
    column("project_id", String()),
    column("person", String()),
    column("role", String()),
    column("task", String()),
    column("period_start", Date()),
    column("period_end", Date()),
    column("seconds", BigInteger()),
    column("duration_cell", String(), "the cell the seconds came in: seconds, minutes, hours or duration"),
    column("net_amount", MONEY),
)

CONFLICT: Final = table(
    "source",
    "conflict",
    "One row per live row that shares its key with another live row of other content.",
    column("dataset", String(), required=True),
    column("key", String(), required=True),
    column("row_id", BigInteger(), required=True),
)

CHANGE: Final = table(
    "source",
    "change",
    "One row per contract, project or invoice that something touched and no run has looked at yet.",
    column("load_id", BigInteger(), "NULL: a person's decision (write-off, waiver)"),
    column("kind", String(), "contract, project or invoice", required=True),
    column("id", String(), "its id; empty for rows that name none", required=True),
    column("from_day", Date(), "what comes before the week of this day is as it was; NULL: anything may have changed"),
    column("time_log_id", String(), "the time log that changed, where from_day is not NULL"),
)

RUN: Final = table(
    "audit",
    "run",
    "One row per run, also those that halted.",
    column("run_id", BigInteger(), required=True),
    column("as_of", Date(), required=True),
    column("started_at", DateTime(), "UTC", required=True),
    column("finished_at", DateTime(), "UTC", required=True),
    column("status", String(), "ok or halted", required=True),
    column("error", String()),
    column("duration_ms", BigInteger(), required=True),
    column("logs_received", BigInteger()),
    column("logs_eligible", BigInteger()),
    column("logs_quarantined", BigInteger()),
    column("logs_excluded", BigInteger()),
    column("logs_out_of_term", BigInteger()),
    column("findings_opened", BigInteger()),
    column("findings_changed", BigInteger()),
    column("findings_closed", BigInteger()),
    column("rules_digest", String(), "md5 of the views that computed the run"),
    column("settings", String(), "JSON: the settings that change results"),
)


def finding_columns() -> tuple[Column[Any], ...]:
    """Return the columns that say what is known of a finding."""
    return (
        column("run_id", BigInteger(), "the run that wrote this version", required=True),
        column("opened_run_id", BigInteger(), "the run that opened the finding", required=True),
        home_hash("contract id"),
        column("finding_id", String(), "hash of contract, class and about", required=True),
        column("contract_id", String(), required=True),
        column("client", String()),
        column("currency", String()),
        column("side", String(), required=True),
        column("class", String(), required=True),
        column(
            "about",
            String(),
            "log:id, line:invoice/number or pool:project|person|role|task|start|end, a backslash before a | of a text",
            required=True,
        ),
        column("project_id", String()),
        column("person", String()),
        column("role", String()),
        column("task", String()),
        column("worked_on", Date()),
        column("seconds", BigInteger()),
        column("hourly_rate", MONEY),
        column("expected_amount", MONEY),
        column("billed_amount", MONEY),
        column("amount", MONEY),
        column("invoice_ids", String()),
        column("due_on", Date(), "when a not_due finding becomes leakage"),
    )


FINDING: Final = table(
    "audit",
    "finding",
    "One row per version of a finding: opened, changed or closed by a run.",
    *finding_columns(),
    column("state", String(), "open or closed", required=True),
)

FINDING_OPEN: Final = table(
    "audit",
    "finding_open",
    "One row per open finding, equal to the newest version in audit.finding.",
    *finding_columns(),
)


def position_columns() -> tuple[Column[Any], ...]:
    """Return the columns that say what is known of a contract's position."""
    return (
        column("run_id", BigInteger(), "the run that wrote this version", required=True),
        home_hash("contract id"),
        column("contract_id", String(), required=True),
        column("client", String()),
        column("currency", String()),
        column("billing_model", String(), required=True),
        column("expected_amount", MONEY, required=True),
        column("billed_amount", MONEY, required=True),
        column("leakage_amount", MONEY, required=True),
        column("written_off_amount", MONEY, required=True),
        column("overbilled_amount", MONEY, required=True),
        column("exposure_amount", MONEY, required=True),
        column("pending_amount", MONEY, required=True),
        column("noise_amount", MONEY, required=True),
        column("other_billed_amount", MONEY, required=True),
        column("unbilled_hours", MONEY, required=True),
        column("quarantined_hours", MONEY, required=True),
        column("quarantined_line_count", BigInteger(), required=True),
        column("threshold_amount", MONEY, required=True),
        column("is_flagged", Boolean(), required=True),
        column("severity", String(), "critical, watch or ok", required=True),
        column("oldest_leakage_on", Date()),
    )


POSITION: Final = table(
    "audit",
    "position",
    "One row per version of a contract's position.",
    *position_columns(),
    column("state", String(), "open, or closed when the contract is gone", required=True),
)

POSITION_OPEN: Final = table(
    "audit",
    "position_open",
    "One row per contract, equal to the newest version in audit.position.",
    *position_columns(),
)


def quarantine_columns() -> tuple[Column[Any], ...]:
    """Return the columns that say what is known of a row set aside."""
    return (
        column("run_id", BigInteger(), "the run that wrote this version", required=True),
        column("opened_run_id", BigInteger(), "the run that set the row aside", required=True),
        contract_hash("row or its owner"),
        column("quarantine_id", String(), "hash of data set, source, key and content", required=True),
        column("row_id", BigInteger(), "the row in source", required=True),
        column("home", String(), "the contract, project or invoice a run finds the row by", required=True),
        column("entity", String(), "data set", required=True),
        column("key", String(), required=True),
        column("contract_id", String()),
        column("client", String()),
        column("reasons", String(), "every reason, sorted, comma-separated", required=True),
        column("detail", String()),
        column("source", String(), required=True),
        column("raw", String(), "JSON: the row's cells", required=True),
        column("seconds", BigInteger()),
        column("worked_on", Date(), "of a time log"),
        column("state", String(), "open, waived; in history also resolved or superseded", required=True),
        column("waived_by", String()),
        column("waived_reason", String()),
    )


QUARANTINE: Final = table(
    "audit",
    "quarantine",
    "One row per version of a row set aside.",
    *quarantine_columns(),
)

QUARANTINE_OPEN: Final = table(
    "audit",
    "quarantine_open",
    "One row per row set aside now, equal to the newest version in audit.quarantine.",
    *quarantine_columns(),
)

LOG_COUNT_OPEN: Final = table(
    "audit",
    "log_count_open",
    "One row per project id and week (see balance_open): where its live time logs ended up, as of the newest run.",
    home_hash("project id"),
    column("project_id", String(), "empty for logs that name none", required=True),
    column("week", Date(), "its first day; NULL for logs without a date"),
    column("logs_received", BigInteger(), required=True),
    column("logs_eligible", BigInteger(), required=True),
    column("logs_quarantined", BigInteger(), required=True),
    column("logs_excluded", BigInteger(), required=True),
    column("logs_out_of_term", BigInteger(), required=True),
)

BALANCE_OPEN: Final = table(
    "audit",
    "balance_open",
    "One row per contract and week (from the 1st, 8th, 15th, 22nd or 29th on): what its logs of that week add up to, "
    "as of the newest run.",
    home_hash("contract id"),
    column("contract_id", String(), required=True),
    column("week", Date(), "its first day; NULL for logs without a date"),
    column("rounded_seconds", BigInteger(), "what counts towards prepaid time", required=True),
    column("unpaid_seconds", BigInteger(), "what counts towards the hours cap", required=True),
    column("amount_minor", BigInteger(), "what counts towards the money cap, in minor units", required=True),
    column("fixed_seconds", BigInteger(), "what counts towards the cap of a fixed price", required=True),
    column("expected_minor", BigInteger(), required=True),
    column("billed_minor", BigInteger(), required=True),
    column("unbilled_seconds", BigInteger(), "of leakage findings", required=True),
    column("quarantined_seconds", BigInteger(), "not waived", required=True),
)

INVOICE_SPAN_OPEN: Final = table(
    "audit",
    "invoice_span_open",
    "One row per live invoice whose lines speak of dates: the span of those dates, as of the newest run.",
    home_hash("contract id"),
    column("contract_id", String(), required=True),
    column("invoice_id", String(), required=True),
    column("first_day", Date(), required=True),
    column("last_day", Date(), required=True),
)

WRITE_OFF: Final = table(
    "audit",
    "write_off",
    "One row per decision to accept a leakage finding, or to take that back.",
    column("write_off_id", BigInteger(), required=True),
    column("decided_at", DateTime(), "UTC", required=True),
    column("finding_id", String(), required=True),
    column("contract_id", String(), required=True),
    column("accepted_amount", MONEY, "NULL: taken back"),
    column("decided_by", String(), required=True),
    column("reason", String(), required=True),
)

WAIVER: Final = table(
    "audit",
    "waiver",
    "One row per decision that a row in quarantine stays out.",
    column("waiver_id", BigInteger(), required=True),
    column("decided_at", DateTime(), "UTC", required=True),
    column("quarantine_id", String(), required=True),
    column("decided_by", String(), required=True),
    column("reason", String(), required=True),
)
