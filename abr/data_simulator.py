"""A synthetic services firm: contracts, people, work and invoices, made from a seed.

Chance is an argument: every draw is an md5 of seed, purpose and number, so the same seed gives the same firm on any
machine. Tables hold canonical cells (text, blank is NULL) and are loaded like anybody's files. Forty contracts hold
every term and every kind of bad row once; larger firms repeat them, most of the bad ones less often.
Invoices are what a careful clerk would issue, and then things go wrong on purpose.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from abr.formats.canonical import COLUMNS

LOGS_PER_CHUNK = 1_500_000  # bounds memory; a contract's work is never split
ROWS_PER_GROUP = 122_880  # of a Parquet file: what DuckDB reads at a time
CONTRACTS_PER_BLOCK = 40
CYCLES_PER_STRETCH = 12  # cycles in which the same few contracts get work
INVOICED_AT = 9  # in a stretch: an invoice for its work so far,
CHANGED_AT = 11  # its second thoughts,
REISSUED_AT = 2  # and, in the next stretch, its last
FORGOTTEN_AT = 5  # in every other stretch: an invoice for what was forgotten long ago
CYCLES_TO_CORRECT = 7  # cycles until a faulty arrival comes again, corrected
CONTRACTS_IN_FOCUS = 6
FIRST_ARRIVAL = 1_000_000_000_000  # arriving logs are numbered from here, 1,000 numbers a cycle
LOGS_LOOKED_THROUGH = 20_000  # what a cycle may go through for work that was forgotten


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a text: long lists read better that way."""
    return tuple(text.split())


@dataclass(frozen=True)
class FirmSize:
    """How much firm: rows of time, contracts, and days of history up to the last worked day."""

    logs: int = 5_000
    contracts: int = 40
    days: int = 120


@dataclass(frozen=True)
class _Terms:
    """What sets one contract in forty apart. Percentages are of the contract's expected work; blank is the default."""

    billing_model: str | None = None
    currency: str | None = None
    client: str | None = None
    rounding_minutes: int | None = None
    rounding_mode: str | None = None
    rounding_unit: str | None = None
    minimum_minutes: int | None = None
    overtime_after_minutes: int | None = None
    overtime_multiplier: str | None = None
    weekend_multiplier: str | None = None
    prepaid_percent: int | None = None
    prepaid_period: str | None = None
    cap_percent: int | None = None
    cap_amount_percent: int | None = None
    cap_period: str | None = None
    discount_percent: str | None = None
    grace_days: int | None = None
    grace_from: str | None = None
    threshold_amount: str | None = None
    volume: int = 100
    story: str | None = None
    extra: str | None = None


_SLOTS = (
    _Terms(extra="invoice_unparseable"),
    _Terms(rounding_minutes=15, rounding_mode="up", rounding_unit="entry", extra="invoice_missing"),
    _Terms(rounding_minutes=15, rounding_mode="nearest", extra="invoice_conflict", currency="CHF"),
    _Terms(rounding_minutes=6, rounding_mode="down", extra="invoice_unknown_contract"),
    _Terms(rounding_minutes=30, rounding_unit="day", extra="invoice_unknown_currency"),
    _Terms(rounding_minutes=15, rounding_mode="nearest", rounding_unit="day", extra="invoice_unknown_choice"),
    _Terms(rounding_minutes=10, rounding_mode="down", rounding_unit="day", extra="line_unparseable"),
    _Terms(rounding_minutes=15, minimum_minutes=30, extra="line_missing"),
    _Terms(minimum_minutes=60, rounding_unit="day", extra="line_conflict"),
    _Terms(
        overtime_after_minutes=480,
        overtime_multiplier="1.5",
        client='Bäcker, Söhne & "Partner" GmbH',
        currency="EUR",
        extra="line_unknown_invoice",
    ),
    _Terms(weekend_multiplier="1.5", extra="line_unknown_choice"),
    _Terms(overtime_after_minutes=420, overtime_multiplier="1.25", weekend_multiplier="2", extra="project_unparseable"),
    _Terms(client="東京デザイン株式会社", currency="JPY", threshold_amount="220000", extra="project_missing"),
    _Terms(prepaid_percent=25, prepaid_period="lifetime", extra="project_conflict"),
    _Terms(prepaid_percent=30, prepaid_period="month", extra="project_unknown_contract"),
    _Terms(cap_percent=85, cap_period="lifetime", extra="rate_unknown_contract"),
    _Terms(cap_percent=85, cap_period="month", extra="contract_without_id"),
    _Terms(cap_amount_percent=80, extra="currency_mismatch"),
    _Terms(cap_amount_percent=85, cap_period="month", extra="unapplied_credit"),
    _Terms(discount_percent="5", extra="stray_pool", currency="KWD", threshold_amount="450.000"),
    _Terms(discount_percent="7.5", grace_days=45, grace_from="worked_on", extra="stray_log"),
    _Terms(grace_days=15, grace_from="month_end", threshold_amount="5000.00", story="starts_late"),
    _Terms(billing_model="fixed_price", cap_percent=75, story="fixed"),
    _Terms(billing_model="fixed_price", cap_percent=120, cap_period="month", story="fixed"),
    _Terms(billing_model="fixed_price", story="fixed", volume=60),
    _Terms(billing_model="time_and_materials", story="follow_on_first", volume=160),
    _Terms(billing_model="time_and_materials", story="follow_on_second"),
    _Terms(story="umbrella", volume=160),
    _Terms(story="special", rounding_minutes=15, rounding_mode="up"),
    _Terms(story="ended", volume=110),
    _Terms(story="late_rates", volume=30),
    _Terms(story="ambiguous_rates", volume=30),
    _Terms(story="ends_before_start", volume=8),
    _Terms(story="unknown_currency", volume=8),
    _Terms(story="negative_term", volume=8),
    _Terms(story="unknown_choice", volume=8),
    _Terms(story="bad_rate", volume=8),
    _Terms(story="conflicting", volume=8),
    _Terms(grace_days=0, volume=60),
    _Terms(story="free_task", threshold_amount="750.00", rounding_minutes=15, minimum_minutes=15, cap_percent=110),
)
_INVALID_STORIES = (
    "ends_before_start",
    "unknown_currency",
    "negative_term",
    "unknown_choice",
    "bad_rate",
    "conflicting",
)

_LOG_FAULTS = (
    "unparseable",
    "missing_id",
    "conflict",
    "missing_project",
    "unknown_project",
    "missing_person",
    "missing_date",
    "missing_duration",
    "non_positive",
    "over_24",
    "future",
    "several",
)

_LEAKS = _words(
    "unbilled late hours rate unbilled late unbilled void hours unbilled "
    "rate late unbilled currency hours unbilled late void rate unbilled"
)
_EXCESSES = ("double", "hours_over", "rate_over", "credited")

_FIRST_NAMES = _words(
    "Zoë Ana Jürgen Mia Tomasz Léa Kwame Ingrid Björn Priya Oskar Chloé Mateo Aïcha Søren Nadia Luca Hana Émile Greta "
    "Yusuf Freya Diego Marta Anders Leila Pavel Nora Kenji Sofía Henrik Amara Jonas Elif Rafał Clara Omar Sigrid Hugo "
    "Mei Viktor Inés Arjun Tove Felix Rania Milan Ebba"
)
_LAST_NAMES = _words(
    "Müller Okafor Lindqvist García Nowak Dubois Sato Jensen Rossi Kaya Novák Svensson Moreau Patel Weber Haddad "
    "Fernández Larsen Kowalski Bianchi Tanaka Øberg Schäfer Mensah Petrov Lefèvre Castro Nilsen Horváth Demir Brandt "
    "Silva Virtanen Costa Meyer Dvořák Ahmed Laurent Berg Ricci Nakamura Wójcik Hoffmann Diallo Olsen Navarro Keller "
    "Ivanova Roux Chen Lehmann Torres Holm Farkas Conti Suzuki Krüger Santos Andersson Bakker Marin Fischer Vidal Lund"
)
_ROLES = (
    "Consultant",
    "Developer",
    "Senior Developer",
    "Consultant",
    "Senior Consultant",
    "Designer",
    "Analyst",
    "Architect",
    "Developer",
    "Project Manager",
)
_TASKS = ("Analysis", "Development", "Testing", "Review", "Workshop", "Support", "Documentation", "Project management")
_CLIENT_STEMS = _words(
    "Nordwind Harbour Alpenblick Meridian Kestrel Lumière Castell Fjordline Sternberg Bluefin Aurelia Copperfield "
    "Vistula Maribor Greenfield Solano Tidewater Brünn Falkirk Corvina Orchard Halden Montclair Ravenna Silverlake "
    "Ostsee Pemberton Quillon Riverstone Saffron Tamarind Umbria Velmar Westbrook Yarrow Zephyr"
)
_CLIENT_SECTORS = (
    "Logistics",
    "Energy",
    "Health",
    "Insurance",
    "Foods",
    "Robotics",
    "Media",
    "Rail",
    "Optics",
    "Retail",
    "Shipping",
    "Textiles",
)
_CLIENT_FORMS = ("GmbH", "Ltd", "Inc.", "AG", "SAS", "BV", "AB")
_NOTES = (
    "Workshop with the client on site",
    "Reviewed with Zoë, follow-up next week",
    "Travel not included",
    "東京 team joined remotely",
    "Ticket backlog",
)
_PROJECT_NAMES = (
    "Portal relaunch",
    "ERP rollout",
    "Data platform",
    "Mobile app",
    "Warehouse integration",
    "Customer onboarding",
    "Payments migration",
    "Security review",
    "Reporting suite",
    "Planning tool",
    "Website refresh",
    "Support desk",
)

# Written once for history and arrivals: what a tool exports for a log, good or bad.
_LOG_CELLS = """
    insert into {table} by name
    with given as (
        select
            log.* replace ({entered_at} as entered_at),
            case fault
                when 'missing_duration' then null
                when 'non_positive' then case when whim % 3 = 0 then 0 else -seconds end
                when 'over_24' then 86400 + seconds
                when 'several' then null
                when 'unparseable' then case when whim % 3 = 0 then null else seconds end
                else seconds
            end as given_seconds,
            case fault
                when 'future' then greatest(worked_on, sim_until()) + 3 + whim % 25
                when 'missing_date' then null
                else worked_on
            end as given_on
        from sim_log as log
        {late}
    ), styled as (
        select *, sim_fitting_style(log_style, given_seconds) as style, fault = 'unparseable' as is_unparseable
        from given
    )
    select
        case fault when 'missing_id' then null else time_log_id end as time_log_id,
        case fault when 'missing_project' then null when 'unknown_project' then 'P-' || (9000 + whim) else project_id
            end as project_id,
        case when fault in ('missing_person', 'several') then null else person end as person,
        role, task,
        case when is_unparseable and whim % 3 = 1 then strftime(given_on, '%d/%m/%Y') else given_on::varchar end
            as worked_on,
        case style when 0 then given_seconds::varchar end as seconds,
        case style when 1 then (given_seconds // 60)::varchar end as minutes,
        case style when 2 then sim_hours_text(given_seconds) end as hours,
        case when is_unparseable and whim % 3 = 0 then (seconds // 3600 + 1) || 'h30'
            when style = 3 then sim_duration_text(given_seconds) end as duration,
        case when is_unparseable and whim % 3 = 2 then 'maybe' when not is_billable then ([{no}])[1 + log_style]
            when log_style > 1 then 'true' end as is_billable,
        case when not is_approved then 'false' when log_style = 1 then 'true' end as is_approved,
        case
            when whim % 32 = 5 then null
            when log_style = 0 then strftime(entered_at, '%Y-%m-%dT%H:%M:%SZ')
            when log_style = 1 then strftime(entered_at, '%Y-%m-%d %H:%M')
            when log_style = 2 then strftime(entered_at, '%Y-%m-%dT%H:%M:%S+01:00')
            else strftime(entered_at, '%Y-%m-%dT%H:%M:%S')
        end as entered_at,
        ([{notes}])[1 + whim] as note
    from styled
    order by number
"""


def build(cursor: duckdb.DuckDBPyConnection, *, seed: int, until: date, size: FirmSize) -> dict[str, str]:
    """Create a temp table of canonical cells for each data set and return {data set: table name}.

    `until` is the last worked day. Rows are ordered, so that the same seed writes the same files.
    """
    tables = {name: f"simulated_{name}" for name in COLUMNS}
    _create_empty(cursor, tables)
    for _ in _filled(cursor, seed, until, size):
        pass
    return tables


def build_in_parts(
    cursor: duckdb.DuckDBPyConnection, *, seed: int, until: date, size: FirmSize
) -> Iterator[tuple[dict[str, str], float]]:
    """Yield the firm that `build` makes a part at a time, and the share of it there has been so far.

    The tables hold that part only: memory stays the same however large the firm is.
    """
    tables = {name: f"simulated_{name}" for name in COLUMNS}
    _create_empty(cursor, tables)
    for share in _filled(cursor, seed, until, size):
        yield tables, share
        _create_empty(cursor, tables)


def write_files(
    cursor: duckdb.DuckDBPyConnection,
    folder: Path,
    *,
    suffix: str,
    seed: int,
    until: date,
    size: FirmSize,
    tell: Callable[[float], object],
) -> list[Path]:
    """Write the firm as a file for each data set, `.csv` or `.parquet`; return them. `tell` is given the share done."""
    files = {name: folder / f"{name}{suffix}" for name in COLUMNS}
    write = _appended_csv if suffix == ".csv" else _appended_parquet
    with contextlib.ExitStack() as opened:
        writers = {name: opened.enter_context(write(cursor, path)) for name, path in files.items()}
        for tables, share in build_in_parts(cursor, seed=seed, until=until, size=size):
            for name, table in tables.items():
                writers[name](table)
            tell(share)
    return list(files.values())


@contextlib.contextmanager
def _appended_csv(cursor: duckdb.DuckDBPyConnection, path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds a table's rows to a CSV file. DuckDB writes only whole files, so each is a part."""
    part = path.with_name(f".{path.name}.part")
    with path.open("wb") as file:

        def append(table: str) -> None:
            header = "true" if file.tell() == 0 else "false"
            cursor.execute(f"copy (from {table}) to {_literals([str(part)])} (format csv, header {header})")
            with part.open("rb") as written:
                shutil.copyfileobj(written, file)

        yield append
    part.unlink(missing_ok=True)


@contextlib.contextmanager
def _appended_parquet(cursor: duckdb.DuckDBPyConnection, path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds a table's rows to a Parquet file."""
    schema = pa.schema([(column, pa.string()) for column in COLUMNS[path.stem]])
    with pq.ParquetWriter(path, schema, compression="zstd") as file:

        def append(table: str) -> None:
            for batch in cursor.execute(f"from {table}").to_arrow_reader(ROWS_PER_GROUP):
                file.write_batch(batch)

        yield append


def _filled(cursor: duckdb.DuckDBPyConnection, seed: int, until: date, size: FirmSize) -> Iterator[float]:
    """Fill the tables a chunk at a time, and yield the share of the firm that has been written after each."""
    macros = _define_chance(cursor, seed, until, size)
    contracts = max(size.contracts, 1)
    _create_people(cursor)
    _create_contracts(cursor, 0, contracts)
    _write_contracts(cursor)
    _write_projects(cursor)
    _write_rates(cursor)
    for first, last in _chunks(cursor):
        _create_numbers(cursor, first, last)
        _create_logs(cursor)
        _create_priced(cursor)
        _create_items(cursor)
        _create_mistakes(cursor)
        _create_lines(cursor)
        _write_logs(cursor)
        _write_invoices(cursor)
        yield last / contracts
    _write_extras(cursor)
    _drop_work(cursor, macros)
    yield 1.0


def arrive(
    cursor: duckdb.DuckDBPyConnection, *, seed: int, until: date, size: FirmSize, cycle: int, now: datetime
) -> dict[str, str]:
    """Create temp tables with what arrives in a cycle at the same firm, and return {data set: table name}.

    Logs of today and the days before, late ones, faulty ones and, some cycles on, their corrections; at the end of a
    stretch of cycles an invoice for its work, not always right at once; now and then one for what was forgotten.
    Data sets without rows are left out. Cycles count the firm's life: who goes on later, counts on.
    """
    instant = (now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now).replace(microsecond=0)
    tables = {name: f"simulated_{name}" for name in COLUMNS}
    _create_empty(cursor, tables)
    macros = _define_chance(cursor, seed, until, size)
    _create_people(cursor)
    stretch, place = divmod(cycle, CYCLES_PER_STRETCH)
    _create_focus(cursor, stretch, size)
    _create_arriving_numbers(cursor, cycle, instant)
    _create_logs(cursor)
    cursor.execute("create or replace temp table sim_mistake (tail_number bigint, kind varchar, entered_on date)")
    _write_logs(cursor)
    if place in (INVOICED_AT, CHANGED_AT):
        _write_arriving_invoice(cursor, stretch, place, instant)
    elif place == REISSUED_AT and stretch > 0:
        _create_focus(cursor, stretch - 1, size)
        _write_arriving_invoice(cursor, stretch - 1, place, instant)
    elif place == FORGOTTEN_AT and stretch % 2 == 1:
        _write_forgotten(cursor, stretch, instant.date())
    _drop_work(cursor, macros)
    return {
        name: table for name, table in tables.items() if cursor.execute(f"select 1 from {table} limit 1").fetchone()
    }


def _create_empty(cursor: duckdb.DuckDBPyConnection, tables: dict[str, str]) -> None:
    """Create the tables that are handed over, all text."""
    for name, table in tables.items():
        columns = ", ".join(f"{column} varchar" for column in COLUMNS[name])
        cursor.execute(f"create or replace temp table {table} ({columns})")


def _literals(words: Iterable[str | int | None]) -> str:
    """Write words as SQL literals, comma-separated."""
    return ", ".join(
        "null" if word is None else str(word) if isinstance(word, int) else "'" + word.replace("'", "''") + "'"
        for word in words
    )


def _define_chance(cursor: duckdb.DuckDBPyConnection, seed: int, until: date, size: FirmSize) -> list[str]:
    """Define what all statements draw from, and the constants of this firm, as temp macros; return their names."""
    days = max(size.days, 1)
    contracts = max(size.contracts, 1)
    people = min(max(size.logs * 2 // (days * 3), 12), 40_000)
    macros = {
        "draw(purpose, number)": f"(md5_number('{seed}:' || purpose || ':' || number) >> 64)::ubigint",
        "slice(draw, shift, modulus)": "((draw >> shift) % modulus::ubigint)::integer",
        "until()": f"date '{until.isoformat()}'",
        "first()": f"date '{(until - timedelta(days=days - 1)).isoformat()}'",
        "days()": str(days),
        "logs()": str(max(size.logs, 0)),
        "contracts()": str(contracts),
        "people()": str(people),
        # Half away from zero, once: seconds in hundredths (of a multiplier) at thousandths of a currency unit.
        "price(hundredths, rate_milli, discount, minor_units)": (
            "((hundredths::hugeint * rate_milli * (10000 - discount) * minor_units * 2 + 3600000000000)"
            " // 7200000000000)::bigint"
        ),
        "digits(minor, minor_units)": (
            "case minor_units when 1 then minor::varchar"
            " when 1000 then format('{:d}.{:03d}', minor // 1000, minor % 1000)"
            " else format('{:d}.{:02d}', minor // 100, minor % 100) end"
        ),
        "money(minor, minor_units)": (
            "case when minor < 0 then '-' || sim_digits(-minor, minor_units) else sim_digits(minor, minor_units) end"
        ),
        "rate_text(milli)": (
            "case when milli % 10 = 0 then format('{:d}.{:02d}', milli // 1000, milli % 1000 // 10)"
            " else format('{:d}.{:03d}', milli // 1000, milli % 1000) end"
        ),
        # Which duration cell a tool fills: 0 seconds, 1 minutes, 2 hours, 3 duration; seconds where it would not fit.
        "fitting_style(style, amount)": (
            "case when amount <= 0 then 0 when style = 1 and amount % 60 <> 0 then 0"
            " when style = 2 and amount % 36 <> 0 then 0 else style end"
        ),
        "hours_text(amount)": "format('{:d}.{:02d}', amount // 3600, amount % 3600 // 36)",
        "duration_text(amount)": (
            "case when amount % 60 = 0 then format('{:d}:{:02d}', amount // 3600, amount % 3600 // 60)"
            " else format('{:d}:{:02d}:{:02d}', amount // 3600, amount % 3600 // 60, amount % 60) end"
        ),
        "log_id(name)": f"'01' || upper(left(md5('{seed}:' || name), 24))",
        "contract_id(number)": "format('C-{:04d}', number + 1)",
        "project_id(leader, project)": "format('P-{:04d}-{:d}', leader + 1, project)",
        "invoice_id(number, in_month, suffix)": (
            "'INV-' || strftime(in_month, '%Y%m') || format('-{:04d}', number + 1) || suffix"
        ),
        # Issued in the first days of the next month; many contracts are billed for the month so far, a few days late.
        "month_issued_on(in_month, issue_day)": "(last_day(in_month) + 1 + (issue_day + month(in_month)::integer) % 7)",
        "issued_on(in_month, worked_on, issue_day, lag_days)": (
            "case when sim_month_issued_on(in_month, issue_day) <= sim_until()"
            " then sim_month_issued_on(in_month, issue_day)"
            " when worked_on <= sim_until() - lag_days then sim_until() - greatest(lag_days - 1, 0) end"
        ),
    }
    for name, text in macros.items():
        cursor.execute(f"create or replace temp macro sim_{name} as {text}")
    return [f"sim_{name.partition('(')[0]}" for name in macros]


def _create_people(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create sim_person: one row per person, with the role they have everywhere."""
    cursor.execute(
        f"""
        create or replace temp table sim_person as
        with names as (
            select
                [{_literals(_FIRST_NAMES)}] as first_names,
                [{_literals(_LAST_NAMES)}] as last_names,
                [{_literals(_ROLES)}] as roles
        ), placed as (
            select number::integer as number, number + sim_slice(sim_draw('people', 0), 0, 3072) as place
            from range(sim_people()) as people(number)
        )
        select
            number,
            first_names[1 + place % 48]
                || case when number >= 3072 then ' ' || chr((64 + number // 3072)::integer) || '.' else '' end
                || ' ' || last_names[1 + (place // 48 + place % 48 * 5) % 64] as person,
            roles[1 + sim_slice(sim_draw('role', number), 0, 10)] as role
        from placed, names
        order by number
        """
    )


def _create_contracts(cursor: duckdb.DuckDBPyConnection, first: int, last: int) -> None:
    """Create sim_contract: one row per contract number in [first, last), whole blocks, with terms and what befalls it.

    A leader is the contract whose projects a follow-on contract shares; logs are numbered by leader.
    """
    columns = ", ".join(field.name for field in fields(_Terms))
    slots = ", ".join(f"({slot}, {_literals(astuple(terms))})" for slot, terms in enumerate(_SLOTS))
    cursor.execute(
        f"""
        create or replace temp table sim_contract as
        with numbered as (
            select
                number::integer as number, (number // {CONTRACTS_PER_BLOCK})::integer as block,
                sim_draw('contract', number) as draw_1, sim_draw('terms', number) as draw_2,
                (row_number() over (
                    partition by number // {CONTRACTS_PER_BLOCK} order by sim_draw('slot', number), number
                ) - 1)::integer as slot
            from range({first}, {last}) as contracts(number)
        ), slots(slot, {columns}) as (
            values {slots}
        ), placed as (
            select
                numbered.*,
                slots.* exclude (
                    slot, story, extra, volume, prepaid_percent, prepaid_period, cap_percent, cap_amount_percent,
                    cap_period
                ),
                -- Beyond the first forty, a tenth of the contracts is capped or prepaid,
                block = 0 or sim_slice(draw_1, 50, 9) < 4 as has_limit,
                case when has_limit then prepaid_percent end as prepaid_percent,
                case when has_limit then prepaid_period end as prepaid_period,
                case when has_limit then cap_percent end as cap_percent,
                case when has_limit then cap_amount_percent end as cap_amount_percent,
                case when has_limit then cap_period end as cap_period,
                -- and bad contracts and bad rows become rare.
                case when block > 0 and sim_slice(draw_1, 3, 8) > 0 and story in ({_literals(_INVALID_STORIES)})
                    then null else story end as story,
                case when block > 0 and sim_slice(draw_1, 6, 4) > 0 then null else extra end as extra,
                volume
            from numbered
            join slots using (slot)
        ), led as (
            select
                *,
                coalesce(case story
                    when 'follow_on_second'
                        then max(number) filter (story = 'follow_on_first') over (partition by block)
                    when 'special' then max(number) filter (story = 'umbrella') over (partition by block)
                end, number)::integer as leader
            from placed
        ), weighed as (
            select
                *,
                case
                    when leader <> number then 0
                    when story is not null and story <> 'fixed' then volume * 100
                    else volume * (40 + sim_slice(draw_1, 8, 1000) * sim_slice(draw_1, 8, 1000) // 4000)
                end as weight,
                sim_logs() * (block * {CONTRACTS_PER_BLOCK})::bigint // sim_contracts() as block_first,
                sim_logs() * least((block + 1) * {CONTRACTS_PER_BLOCK}, sim_contracts())::bigint // sim_contracts()
                    as block_next
            from led
        ), numbered_logs as (
            select
                *,
                (block_first + (block_next - block_first) * (sum(weight) over upto - weight)::bigint
                    // greatest(sum(weight) over whole, 1)::bigint)::bigint as first_log,
                (block_first + (block_next - block_first) * (sum(weight) over upto)::bigint
                    // greatest(sum(weight) over whole, 1)::bigint)::bigint as next_log
            from weighed
            window
                whole as (partition by block),
                upto as (partition by block order by number rows unbounded preceding)
        ), dated as (
            select
                *,
                (first_value(next_log - first_log) over paired
                    // (case when count(*) over (partition by leader) > 1 then 2 else 1 end))::bigint as expected_logs,
                date_trunc('month', sim_first() + sim_days() // 2)::date as split_on,
                case
                    when story = 'follow_on_second' then date_trunc('month', sim_first() + sim_days() // 2)::date
                    when story = 'special' then sim_first() + sim_days() // 3
                    when story = 'starts_late' then sim_first() + sim_days() // 4
                    when story is not null or sim_slice(draw_1, 20, 10) < 7
                        then date_trunc('month', sim_first() - 20 - 30 * sim_slice(draw_1, 24, 20))::date
                    else sim_first() + sim_slice(draw_1, 24, sim_days() * 2 // 5 + 1)
                end as starts_on
            from numbered_logs
            window paired as (partition by leader order by number = leader desc, number)
        ), priced as (
            select
                * exclude (grace_days, grace_from, currency),
                case story
                    when 'follow_on_first' then split_on - 1
                    when 'special' then sim_first() + sim_days() * 2 // 3
                    when 'ended' then sim_until() - greatest(sim_days() // 6, 1)
                    when 'umbrella' then null
                    else case when sim_slice(draw_1, 30, 10) < 4 then sim_until() + 30 + sim_slice(draw_1, 34, 400) end
                end as ends_on,
                coalesce(currency, case
                    when sim_slice(draw_1, 40, 100) < 46 then 'EUR' when sim_slice(draw_1, 40, 100) < 75 then 'USD'
                    when sim_slice(draw_1, 40, 100) < 95 then 'GBP' else 'CHF'
                end) as currency,
                case
                    when story = 'fixed' then null
                    else coalesce(grace_days, ([10, 15, 20, 30, 40, 45, 60, 15, 30, 0])[1 + sim_slice(draw_1, 46, 10)])
                end as grace_days,
                case
                    when story = 'fixed' or grace_days is not null then grace_from
                    when sim_slice(draw_1, 46, 10) in (0, 1, 2, 3, 7, 8) then 'month_end'
                end as grace_from,
                60000 + 2500 * sim_slice(draw_2, 0, 65) as euro_milli
            from dated
        ), rated as (
            select
                *,
                (case currency when 'JPY' then 1 when 'KWD' then 1000 else 100 end)::bigint as minor_units,
                (case currency
                    when 'JPY' then euro_milli // 1000 * 15 // 10 * 100000
                    when 'KWD' then euro_milli * 3 // 10
                    else euro_milli
                end)::bigint as rate_milli,
                (case currency when 'JPY' then 100000 when 'KWD' then 250 else 500 end)::bigint as rate_step,
                3 + sim_slice(draw_2, 8, 5) as increase_percent,
                -- Two in five raise their rates inside the history, the others at the next half-year.
                case
                    when sim_slice(draw_2, 12, 5) < 2 then split_on
                    else date_trunc('month', make_date(year(sim_until()), case when month(sim_until()) < 7 then 7
                        else 12 end, 1) + case when month(sim_until()) < 7 then 0 else 31 end)::date
                end as increase_on,
                case when story = 'late_rates' then sim_first() + sim_days() // 4 else starts_on end as rates_from,
                greatest(2, least(sim_people(), expected_logs // (sim_days() + 10) + 2))::integer as team_size,
                sim_slice(sim_draw('team', leader), 0, sim_people()) as team_first,
                1 + sim_slice(sim_draw('projects', leader), 0, 3) as project_count,
                sim_slice(sim_draw('task', leader), 0, {len(_TASKS)}) as main_task,
                (case when story is null and billing_model is null then slot % 6 else -1 end) as scope_kind,
                expected_logs * 190 as expected_minutes,
                greatest(sim_days() // 30, 1) as month_count
            from priced
        ), scoped as (
            select
                rated.*,
                case when scope_kind in (1, 5) then member.person end as special_person,
                case when scope_kind = 2 then colleague.role end as special_role,
                case when scope_kind in (3, 5) or story in ('free_task', 'ambiguous_rates')
                    then ([{_literals(_TASKS)}])[1 + main_task] end as special_task,
                case when scope_kind = 4 then sim_project_id(leader, 1) end as special_project
            from rated
            join sim_person as member on member.number = team_first
            join sim_person as colleague on colleague.number = (team_first + 1) % sim_people()
        ), termed as (
            select
                *,
                case when prepaid_percent > 0 then greatest(expected_minutes * prepaid_percent
                    // (case prepaid_period when 'month' then 100 * month_count else 100 end) // 60, 1) * 60 end::bigint
                    as prepaid_minutes,
                case when cap_percent > 0 then greatest(expected_minutes * cap_percent
                    // (case cap_period when 'month' then 100 * month_count else 100 end) // 60, 1) * 60 end::bigint
                    as cap_minutes,
                case when cap_amount_percent > 0 then greatest(
                    expected_minutes * rate_milli * cap_amount_percent // 60000
                    // (case cap_period when 'month' then 100 * month_count else 100 end) // 100, 1) * 100 end::bigint
                    as cap_units,
                (coalesce(discount_percent, '0')::decimal(6, 2) * 100)::integer as discount,
                (coalesce(overtime_multiplier, '1')::decimal(6, 2) * 100)::integer as overtime,
                (coalesce(weekend_multiplier, '1')::decimal(6, 2) * 100)::integer as weekend,
                (coalesce(threshold_amount, '1500')::decimal(12, 3))::integer as threshold_units,
                (expected_minutes * rate_milli * minor_units // 60000)::bigint as expected_minor,
                coalesce(billing_model, '') = 'fixed_price' as is_fixed,
                coalesce(story in ({_literals(_INVALID_STORIES)}), false) as is_invalid
            from scoped
        )
        select
            * exclude (split_on, block_first, block_next, weight, euro_milli, month_count, volume),
            coalesce(rounding_unit = 'day' or overtime_after_minutes > 0 or prepaid_minutes > 0 or cap_minutes > 0
                or cap_units > 0, false) as is_complex,
            overtime > 100 or weekend > 100 or cap_units is not null or coalesce(story = 'free_task', false)
                or sim_slice(draw_2, 16, 100) < 38 as is_direct,
            special_project is not null or sim_slice(draw_2, 24, 3) > 0 as pools_project,
            special_person is not null or sim_slice(draw_2, 24, 3) < 2 as pools_person,
            sim_slice(draw_2, 28, 7) as issue_day,
            -- Beyond the first forty, contracts are billed for the month so far some weeks late.
            case when grace_days = 0 then 0
                when sim_slice(draw_2, 30, 10) < 8 and block = 0 then 2 + sim_slice(draw_2, 34, 5)
                when sim_slice(draw_2, 30, 10) < 8 then 14 + sim_slice(draw_2, 34, 15) end
                as lag_days,
            sim_slice(draw_2, 32, 4) as log_style,
            sim_slice(draw_2, 36, 4) as line_style,
            -- Of a leader: the contract that follows on its projects, or lies over it for a while.
            max(number) over followers as next_number,
            max(starts_on) over followers as next_starts_on,
            max(ends_on) over followers as next_ends_on,
            greatest(starts_on, sim_first()) as active_from,
            case when story in ('follow_on_first', 'umbrella') and count(*) over (partition by leader) > 1
                then sim_until() else least(coalesce(ends_on, sim_until()), sim_until()) end as active_to,
            row_number() over (
                partition by block, not (is_fixed or is_invalid) order by sim_draw('health', number), number
            ) as health
        from termed
        window followers as (partition by leader order by number = leader desc rows between 1 following and 1 following)
        order by number
        """
    )


def _write_contracts(cursor: duckdb.DuckDBPyConnection) -> None:
    """Fill the contract cells: defaults written out or left blank, and the contracts nobody should trust."""
    cursor.execute(
        f"""
        insert into simulated_contracts by name
        with cells as (
            select
                number, story, extra,
                sim_contract_id(number) as contract_id,
                coalesce(client, client_name) as client,
                currency,
                coalesce(billing_model, case when is_explicit then 'time_and_materials' end) as billing_model,
                starts_on::varchar as starts_on,
                ends_on::varchar as ends_on,
                coalesce(rounding_minutes::varchar, case when is_explicit then '0' end) as rounding_minutes,
                rounding_mode, rounding_unit,
                coalesce(minimum_minutes::varchar, case when is_explicit then '0' end) as minimum_minutes,
                overtime_after_minutes::varchar as overtime_after_minutes,
                overtime_multiplier, weekend_multiplier,
                prepaid_minutes::varchar as prepaid_minutes,
                prepaid_period,
                cap_minutes::varchar as cap_minutes,
                cap_units || case when minor_units = 1 then '' else '.00' end as cap_amount,
                cap_period, discount_percent,
                coalesce(grace_days::varchar, case when is_explicit then '0' end) as grace_days,
                grace_from, threshold_amount
            from (
                select
                    *,
                    sim_slice(draw_2, 40, 3) = 0 as is_explicit,
                    sim_slice(sim_draw('client', 0), 0, 4032)
                        + sim_slice(sim_draw('client', number), 0, greatest(sim_contracts() * 3 // 5, 1))
                        as client_number,
                    ([{_literals(_CLIENT_STEMS)}])[1 + client_number % 36] || ' '
                        || ([{_literals(_CLIENT_SECTORS)}])[1 + (client_number // 36 + client_number) % 12] || ' '
                        || ([{_literals(_CLIENT_FORMS)}])[1 + (client_number // 432 + client_number) % 7] as client_name
                from sim_contract
            )
        ), versions as (
            select * replace (
                case story when 'ends_before_start' then (starts_on::date - 30)::varchar else ends_on end as ends_on,
                case story when 'unknown_currency' then 'EURO' else currency end as currency,
                case story when 'unknown_choice' then null else client end as client,
                case story when 'unknown_choice' then 'ceil' else rounding_mode end as rounding_mode,
                case story when 'negative_term' then '-30' else minimum_minutes end as minimum_minutes,
                case story when 'negative_term' then '150' when 'unknown_currency' then '5 %' else discount_percent end
                    as discount_percent
            )
            from cells
            union all by name
            select * replace (
                case grace_days when '45' then '50' else '45' end as grace_days,
                coalesce(ends_on, sim_until()::varchar) as ends_on
            )
            from cells
            where story = 'conflicting'
            union all by name
            select * replace (null as contract_id)
            from cells
            where extra = 'contract_without_id'
        )
        select {", ".join(COLUMNS["contracts"])}
        from versions
        order by number, contract_id nulls last, ends_on nulls first, grace_days nulls first
        """
    )


def _write_projects(cursor: duckdb.DuckDBPyConnection) -> None:
    """Fill the project cells: every contract lists its leader's projects; the third is the firm's own time."""
    names = _literals(_PROJECT_NAMES)
    cursor.execute(
        f"""
        insert into simulated_projects by name
        with listed as (
            select
                number, project,
                sim_project_id(leader, project) as project_id,
                sim_contract_id(number) as contract_id,
                case when project = 3 then 'Onboarding and handover'
                    else ([{names}])[1 + (sim_slice(sim_draw('name', leader), 0, 12) + project * 5) % 12] end as name,
                case
                    when project = 3 then case when sim_slice(draw_2, 42, 2) = 0 then 'false' else 'no' end
                    else ([null, 'true', 'yes', '1'])[1 + sim_slice(draw_2, 42, 4)]
                end as is_billable
            from (select *, unnest(range(1, project_count + 1))::integer as project from sim_contract)
            union all by name
            select
                number, 4 as project, sim_project_id(leader, 4) as project_id,
                case extra when 'project_missing' then null
                    when 'project_unknown_contract' then sim_contract_id(number) || '-B'
                    else sim_contract_id(number) end as contract_id,
                'Second phase' as name,
                case extra when 'project_unparseable' then 'maybe' else 'true' end as is_billable
            from sim_contract
            where extra like 'project_%'
            union all by name
            select
                number, 4 as project, sim_project_id(leader, 4) as project_id, sim_contract_id(number) as contract_id,
                'Phase two' as name, 'false' as is_billable
            from sim_contract
            where extra = 'project_conflict'
        )
        select project_id, contract_id, name, is_billable
        from listed
        order by number, project, is_billable desc nulls first
        """
    )


def _write_rates(cursor: duckdb.DuckDBPyConnection) -> None:
    """Fill the rate cells: a general rate, sometimes one for a person, role, task or project, each raised once."""
    cursor.execute(
        """
        insert into simulated_rates by name
        with scopes as (
            select *, null as project_id, null as person, null as role, null as task, 100 as percent, 1 as place
            from sim_contract
            union all by name
            select *, special_person as person, 125 as percent, 2 as place
            from sim_contract where special_person is not null
            union all by name
            select *, special_role as role, 115 as percent, 3 as place
            from sim_contract where special_role is not null
            union all by name
            select *, special_task as task, case story when 'free_task' then 0 else 110 end as percent, 4 as place
            from sim_contract where special_task is not null
            union all by name
            select *, special_task as task, 120 as percent, 5 as place
            from sim_contract where story = 'ambiguous_rates'
            union all by name
            select *, special_project as project_id, 95 as percent, 6 as place
            from sim_contract where special_project is not null
        ), dated as (
            select
                *, rates_from as valid_from,
                case when sim_slice(draw_2, 44, 2) = 0 then increase_on end as valid_to,
                rate_milli * percent // 100 // rate_step * rate_step as milli
            from scopes
            union all by name
            select
                *, increase_on as valid_from, null as valid_to,
                rate_milli * (100 + increase_percent) // 100 // rate_step * rate_step * percent // 100
                    // rate_step * rate_step as milli
            from scopes
            where increase_on > rates_from
        ), cells as (
            select
                number, place, sim_contract_id(number) as contract_id, project_id, person, role, task,
                sim_rate_text(milli) as hourly_rate, valid_from::varchar as valid_from,
                case when valid_to > valid_from then valid_to::varchar end as valid_to
            from dated
        ), faulty as (
            select
                number, 7 + fault as place, sim_contract_id(number) as contract_id, 'Workshop' as task,
                case fault when 0 then 'TBD' when 1 then '-85.00' else '95.00' end as hourly_rate,
                case fault when 2 then null else starts_on::varchar end as valid_from,
                case fault when 3 then starts_on::varchar end as valid_to
            from (select *, unnest(range(4)) as fault from sim_contract where story = 'bad_rate')
            union all by name
            select
                number, 11 as place, sim_contract_id(number) || '-B' as contract_id, null as task,
                sim_rate_text(rate_milli) as hourly_rate, starts_on::varchar as valid_from, null as valid_to
            from sim_contract
            where extra = 'rate_unknown_contract'
        )
        select contract_id, project_id, person, role, task, hourly_rate, valid_from, valid_to
        from (from cells union all by name from faulty)
        order by number, place, valid_from nulls last
        """
    )


def _chunks(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int]]:
    """Yield ranges of leaders [first, last] whose logs fit one chunk, in order; a larger leader is a chunk alone."""
    rows = cursor.execute("select number, next_log - first_log from sim_contract order by number").fetchall()
    first, logs = 0, 0
    for number, count in rows:
        if logs and logs + count > LOGS_PER_CHUNK:
            yield first, number - 1
            first, logs = number, 0
        logs += count
    yield first, len(rows) - 1


def _create_numbers(cursor: duckdb.DuckDBPyConnection, first: int, last: int) -> None:
    """Create sim_number: the logs of leaders first to last, one row per log, with its fault if it has one.

    One log in 60 is faulty; the kinds take turns, so each occurs. A conflict takes the id of the log before it.
    """
    cursor.execute(
        f"""
        create or replace temp table sim_number as
        select number as leader, unnest(range(first_log, next_log)) as number
        from sim_contract
        where number between {first} and {last} and next_log > first_log
        order by leader
        """
    )
    cursor.execute(
        f"""
        create or replace temp table sim_number as
        with placed as (
            select
                leader, number,
                number % 60 as place,
                (number // 60 * 31 + sim_slice(sim_draw('fault', 0), 0, 59)) % 59 + 1 as faulty_place,
                ((number // 60 + sim_slice(sim_draw('fault', 1), 0, 12)) % 12)::integer as fault_kind
            from sim_number
        )
        select
            leader, number,
            case
                when place = faulty_place then ([{_literals(_LOG_FAULTS)}])[1 + fault_kind]
                when place = faulty_place - 1 and fault_kind = 2 then 'conflict'
            end as fault,
            number - (place = faulty_place and fault_kind = 2)::integer as id_number,
            null::date as given_on,
            null::timestamp as given_at
        from placed
        """
    )


def _create_logs(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create sim_log: one row per row of sim_number, with who did what, when and for which contract."""
    cursor.execute(
        f"""
        create or replace temp table sim_log as
        with drawn as (
            select *, sim_draw('log', number) as day_draw, sim_draw('work', number) as work_draw
            from sim_number
        ), placed as (
            select
                drawn.*,
                (led.team_first + sim_slice(day_draw, 24, led.team_size)) % sim_people() as person_number,
                led.log_style, led.weekend,
                case when led.project_count = 1 or sim_slice(day_draw, 40, 100) < 55 then 1
                    when led.project_count = 2 or sim_slice(day_draw, 40, 100) < 92 then 2 else 3 end as project,
                case when sim_slice(day_draw, 48, 100) < 32 then led.main_task
                    when sim_slice(day_draw, 48, 100) < 95 then sim_slice(day_draw, 45, {len(_TASKS)})
                end as task_number,
                case
                    when given_on is not null then given_on
                    when led.story = 'ended' and sim_slice(work_draw, 38, 100) < 12
                        then led.ends_on + 1 + sim_slice(day_draw, 0, greatest(sim_until() - led.ends_on, 1))
                    when led.story = 'starts_late' and sim_slice(work_draw, 38, 100) < 9
                        then led.starts_on - 1 - sim_slice(day_draw, 0, 20)
                    else led.active_from
                        + sim_slice(day_draw, 0, greatest(led.active_to - led.active_from + 1, 1))
                end as drawn_on,
                led.active_from
            from drawn
            join sim_contract as led on led.number = drawn.leader
        ), dated as (
            select
                * exclude (drawn_on, active_from, weekend),
                -- Little work falls on weekends; the rest of it moves back into the week before.
                case
                    when given_on is not null or isodow(drawn_on) < 6 or sim_slice(day_draw, 16, 100) < weekend - 88
                        then drawn_on
                    else greatest(drawn_on - isodow(drawn_on)::integer + 1 + sim_slice(day_draw, 17, 5), active_from)
                end as worked_on,
                case
                    when sim_slice(work_draw, 0, 100) < 45 then 900 * (2 + sim_slice(work_draw, 10, 15))
                    when sim_slice(work_draw, 0, 100) < 72 then 1800 * (6 + sim_slice(work_draw, 10, 11))
                    when sim_slice(work_draw, 0, 100) < 90 then 300 * (3 + sim_slice(work_draw, 10, 40))
                    when sim_slice(work_draw, 0, 100) < 95 then 900 * (32 + sim_slice(work_draw, 10, 5))
                    else 900 + sim_slice(work_draw, 10, 6000)
                end as seconds
            from placed
        )
        select
            dated.* exclude (day_draw, work_draw, task_number, person_number, given_on, given_at, id_number),
            sim_log_id('id:' || id_number) as time_log_id,
            sim_project_id(dated.leader, project) as project_id,
            person, role,
            ([{_literals(_TASKS)}])[1 + task_number] as task,
            case
                when worked_on >= next_starts_on and worked_on <= coalesce(next_ends_on, worked_on) then next_number
                when worked_on >= starts_on and worked_on <= coalesce(ends_on, worked_on) then dated.leader
            end as contract_number,
            sim_slice(work_draw, 24, 1000) >= 25 as is_billable,
            sim_slice(work_draw, 34, 1000) >= 20 as is_approved,
            coalesce(given_at, least(worked_on + sim_slice(work_draw, 20, 3), sim_until()) + interval 8 hour
                + sim_slice(work_draw, 44, 600) * interval 1 minute) as entered_at,
            sim_slice(work_draw, 46, 262144) as luck,
            sim_slice(work_draw, 14, 256) as whim
        from dated
        join sim_person on sim_person.number = person_number
        join sim_contract as led on led.number = dated.leader
        """
    )


def _create_priced(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create sim_priced: one row per eligible log, its payable seconds and what its contract owes, in minor units.

    Contracts with a memory (days, overtime, prepaid, caps) take the long way, the others are priced log by log.
    """
    cursor.execute(
        """
        create or replace temp table sim_rounded as
        select
            log.number, log.contract_number, log.time_log_id, log.project_id, log.person, log.role, log.task,
            log.worked_on, log.luck, log.whim,
            date_trunc('month', log.worked_on)::date as in_month,
            log.seconds as raw_seconds,
            coalesce(rounding_minutes, 0) * 60 as step,
            coalesce(rounding_mode, 'up') as rounding_mode,
            coalesce(minimum_minutes, 0) * 60 as minimum,
            case
                when log.person = special_person then 125 when log.task = special_task
                    then case story when 'free_task' then 0 else 110 end
                when log.role = special_role then 115 when log.project_id = special_project then 95 else 100
            end as percent,
            increase_on > rates_from and log.worked_on >= increase_on as is_raised,
            (case when increase_on > rates_from and log.worked_on >= increase_on
                then rate_milli * (100 + increase_percent) // 100 // rate_step * rate_step
                else rate_milli end * percent // 100 // rate_step * rate_step)::bigint as log_rate,
            case when isodow(log.worked_on) > 5 then weekend else 100 end as regular_factor,
            greatest(case when isodow(log.worked_on) > 5 then weekend else 100 end, overtime) as overtime_factor,
            discount, minor_units, is_complex
        from sim_log as log
        join sim_contract as contract on contract.number = log.contract_number
        where
            log.fault is null and log.is_billable and log.is_approved and log.project < 3
            and not contract.is_fixed and not contract.is_invalid and log.worked_on >= rates_from
            and not (coalesce(story = 'ambiguous_rates', false) and coalesce(log.task = special_task, false))
        """
    )
    rounded = """(greatest(case
        when step = 0 then {seconds}
        when rounding_mode = 'up' then ({seconds} + step - 1) // step * step
        when rounding_mode = 'down' then {seconds} // step * step
        else ({seconds} * 2 + step) // (step * 2) * step
    end, minimum))::bigint"""
    cursor.execute(
        f"""
        create or replace temp table sim_priced as
        select
            number, contract_number, time_log_id, project_id, person, role, task, worked_on, in_month, luck, whim,
            log_rate, is_raised,
            {rounded.format(seconds="raw_seconds")} as seconds,
            sim_price({rounded.format(seconds="raw_seconds")} * regular_factor, log_rate, discount, minor_units)
                as amount
        from sim_rounded
        where not is_complex
        """
    )
    cursor.execute(
        f"""
        insert into sim_priced by name
        with units as (
            select
                *,
                sum(raw_seconds) over so_far as unit_so_far,
                sum(raw_seconds) over unit as unit_seconds,
                lead(number) over ordered is null as is_last
            from (
                select rounded.*, rounding_unit, overtime_after_minutes, prepaid_minutes, prepaid_period, cap_minutes,
                    cap_units, cap_period
                from sim_rounded as rounded
                join sim_contract as contract on contract.number = rounded.contract_number
                where rounded.is_complex
            )
            window
                unit as (
                    partition by contract_number, case rounding_unit when 'day' then worked_on end,
                        case rounding_unit when 'day' then project_id end,
                        case rounding_unit when 'day' then person end,
                        case rounding_unit when 'day' then coalesce(task, '') else time_log_id end
                ),
                ordered as (unit order by time_log_id),
                so_far as (unit order by time_log_id rows unbounded preceding)
        ), shared as (
            select
                *,
                (least(unit_so_far, rounded_unit) - least(unit_so_far - raw_seconds, rounded_unit)
                    + case when is_last then rounded_unit - least(unit_so_far, rounded_unit) else 0 end)::bigint
                    as seconds
            from (select *, {rounded.format(seconds="unit_seconds")} as rounded_unit from units)
        ), days as (
            select
                *,
                case when overtime_after_minutes is null then seconds else greatest(0, least(seconds,
                    overtime_after_minutes * 60 - (sum(seconds) over day - seconds)))::bigint end as regular,
                greatest(0, least(
                    seconds, coalesce(prepaid_minutes, 0) * 60 - (sum(seconds) over term - seconds)
                ))::bigint
                    as prepaid
            from shared
            window
                day as (
                    partition by contract_number, person, worked_on order by time_log_id rows unbounded preceding
                ),
                term as (
                    partition by contract_number, case prepaid_period when 'month' then in_month end
                    order by worked_on, time_log_id rows unbounded preceding
                )
        ), owed as (
            select
                * replace (
                    greatest(regular - prepaid, 0) as regular,
                    seconds - prepaid as seconds
                )
            from days
        ), capped as (
            select
                *,
                greatest(0, least(seconds, coalesce(cap_minutes * 60, 4000000000000)
                    - (sum(seconds) over term - seconds)))::bigint as payable
            from owed
            window term as (
                partition by contract_number, case cap_period when 'month' then in_month end
                order by worked_on, time_log_id rows unbounded preceding
            )
        ), amounts as (
            select
                *,
                sim_price(
                    least(regular, payable) * regular_factor + (payable - least(regular, payable)) * overtime_factor,
                    log_rate, discount, minor_units
                ) as amount
            from capped
        )
        select
            number, contract_number, time_log_id, project_id, person, role, task, worked_on, in_month, luck, whim,
            log_rate, is_raised, payable as seconds,
            greatest(0, least(amount, coalesce(cap_units * minor_units, 4000000000000000)
                - (sum(amount) over term - amount)))::bigint as amount
        from amounts
        where payable > 0
        window term as (
            partition by contract_number, case cap_period when 'month' then in_month end
            order by worked_on, time_log_id rows unbounded preceding
        )
        """
    )


def _create_items(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create sim_item: what a careful clerk would put on invoices by now, one row per direct line or pool.

    The tail of an item is its last log, or the log itself: what is left out when hours are forgotten.
    """
    cursor.execute(
        """
        create or replace temp table sim_item as
        with priced as (
            select
                priced.*,
                is_direct, discount, minor_units,
                sim_issued_on(in_month, worked_on, issue_day, lag_days) as issued_on,
                case when sim_month_issued_on(in_month, issue_day) <= sim_until() then last_day(in_month)
                    else least(last_day(in_month), sim_until() - coalesce(lag_days, 0)) end as period_end,
                case when grace_from = 'month_end' then last_day(worked_on) else worked_on end + grace_days as due_on,
                case when pools_project then project_id end as pool_project,
                case when pools_person then person end as pool_person,
                case when special_role is not null then role end as pool_role,
                case when special_task is not null then task end as pool_task
            from sim_priced as priced
            join sim_contract as contract on contract.number = priced.contract_number
        ), pools as (
            select
                contract_number, in_month, issued_on, period_end, pool_project as project_id, pool_person as person,
                pool_role as role, pool_task as task,
                min(number) as number, sum(seconds)::bigint as seconds, count(*) as logs, max(log_rate) as log_rate,
                bool_or(is_raised) as is_raised, max(discount) as discount, max(minor_units) as minor_units,
                arg_max(
                    struct_pack(
                        number := number, time_log_id := time_log_id, seconds := seconds, amount := amount,
                        due_on := due_on, luck := luck
                    ),
                    struct_pack(worked_on := worked_on, time_log_id := time_log_id)
                ) as tail
            from priced
            where not is_direct
            group by all
        )
        select
            contract_number, in_month, issued_on, null::date as period_end, number, time_log_id, project_id, person,
            role, task, seconds, amount, minor_units, log_rate, is_raised, luck, whim, due_on,
            number as tail_number, time_log_id as tail_log_id, seconds as tail_seconds, amount as tail_amount
        from priced
        where is_direct
        union all by name
        select
            contract_number, in_month, issued_on, period_end, number, null as time_log_id, project_id, person, role,
            task, seconds, sim_price(seconds * 100, log_rate, discount, minor_units) as amount,
            minor_units, log_rate, is_raised, tail.luck as luck, 0 as whim, tail.due_on as due_on,
            tail.number as tail_number, tail.time_log_id as tail_log_id, tail.seconds as tail_seconds,
            tail.amount as tail_amount
        from pools
        """
    )


def _create_mistakes(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create sim_mistake: one row per item that is billed wrongly, and how, within what each contract may lose.

    Of the contracts in a block five lose more than their threshold, four come near it, five lose nothing.
    """
    cursor.execute(
        f"""
        create or replace temp table sim_mistake as
        with budgets as (
            select
                number as contract_number, health,
                threshold_units * minor_units as threshold,
                health <= 5 as is_careless,
                (case
                    when health <= 5 then threshold * (130 + sim_slice(draw_2, 48, 220)) // 100
                        + expected_minor * (2 + sim_slice(draw_2, 50, 6)) // 100
                    when health <= 9 then threshold * (85 + sim_slice(draw_2, 48, 12)) // 100
                    when health <= 14 then 0
                    else threshold * sim_slice(draw_2, 48, 42) // 100
                end)::bigint as leak_budget,
                (case when health % 3 = 0 or slot in (9, 17) then threshold * (40 + sim_slice(draw_2, 52, 60)) // 100
                    else 0 end)::bigint
                    as excess_budget,
                -- Only as many items are looked at as could be needed.
                least(262144, 262144 * 8 * leak_budget // greatest(expected_minor, 1)
                    + 262144 * 40 // greatest(expected_logs, 1))::bigint as luck_below
            from sim_contract
            where not is_fixed and not is_invalid
        ), candidates as (
            select item.*, leak_budget, is_careless, health,
                row_number() over (partition by item.contract_number order by item.luck, item.number) as place
            from sim_item as item
            join budgets using (contract_number)
            where leak_budget > 0 and issued_on is not null and due_on <= sim_until()
                and (luck < luck_below or time_log_id is null) and amount > 0
        ), kinds as (
            select *, ([{_literals(_LEAKS)}])[1 + (place + health) % {len(_LEAKS)}] as drawn_kind
            from candidates
        ), settled as (
            select
                * exclude (drawn_kind),
                case
                    when drawn_kind = 'late' and issued_on >= sim_until() then 'unbilled'
                    when drawn_kind = 'currency' and time_log_id is null then 'unbilled'
                    when drawn_kind = 'hours' and tail_seconds < 1800 then 'unbilled'
                    when drawn_kind = 'rate' and time_log_id is null and luck % 3 > 0 then 'unbilled'
                    else drawn_kind
                end as kind,
                (tail_seconds // 1800 * 900)::bigint as short_seconds
            from kinds
        ), billed as (
            select
                *,
                case kind when 'hours' then seconds - short_seconds when 'rate' then seconds
                    when 'unbilled' then seconds - tail_seconds when 'late' then seconds - tail_seconds
                    else 0 end as billed_seconds,
                (case kind
                    when 'hours' then amount - tail_amount * short_seconds // tail_seconds
                    when 'rate' then amount * (case when is_raised then 96 else 91 end) // 100
                    when 'unbilled' then amount - tail_amount
                    when 'late' then amount - tail_amount
                    else 0
                end)::bigint as billed_amount
            from settled
        ), running as (
            select *, sum(amount - billed_amount) over (partition by contract_number order by place) as lost
            from billed
            where amount - billed_amount <= leak_budget * (case when is_careless then 100 else 60 end) // 100
        ), leaks as (
            select contract_number, number, kind, billed_seconds, billed_amount, tail_number,
                case when kind = 'late' then least(issued_on + 1 + luck % 6, sim_until()) end as entered_on
            from running
            where case when is_careless then lost - (amount - billed_amount) < leak_budget else lost <= leak_budget end
        ), spare as (
            select item.*, excess_budget, health,
                row_number() over (partition by item.contract_number order by item.luck desc, item.number) as place
            from sim_item as item
            join budgets using (contract_number)
            where excess_budget > 0 and issued_on is not null and amount > 0
                and amount <= excess_budget * case when time_log_id is null then 8 else 1 end
                and (luck >= 262144 - luck_below or time_log_id is null)
                and not exists (select 1 from leaks where leaks.number = item.number)
        ), excess_kinds as (
            select *, ([{_literals(_EXCESSES)}])[1 + case when time_log_id is null then 1 + (place + health) % 2
                else (place - 1) % {len(_EXCESSES)} end] as kind
            from spare
        ), excesses as (
            select
                contract_number, number, kind,
                case kind when 'hours_over' then seconds + 1800 else seconds end as billed_seconds,
                (case kind
                    when 'hours_over' then amount * (seconds + 1800) // seconds
                    when 'rate_over' then amount * 110 // 100
                    else amount
                end)::bigint as billed_amount,
                sum(case kind
                    when 'hours_over' then amount * 1800 // seconds
                    when 'rate_over' then amount * 10 // 100
                    when 'double' then amount else 0
                end) over (partition by contract_number order by place) as given,
                excess_budget
            from excess_kinds
        )
        select * from leaks
        union all by name
        select * exclude (given, excess_budget) from excesses where given <= excess_budget
        """
    )


def _create_lines(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create sim_line: one row per line of an invoice; the suffix tells the contract's invoices of a month apart.

    '' the monthly invoice, -R issued again after '' was voided, -V void and forgotten, -X in the wrong currency,
    -2 billed a second time, -CN a credit note, -D a draft.
    """
    cursor.execute(
        """
        create or replace temp table sim_line as
        with billed as (
            select
                item.contract_number, item.in_month, item.number, item.time_log_id, item.project_id, item.person,
                item.role, item.task, item.issued_on, item.period_end, item.amount as whole_amount,
                item.seconds as whole_seconds,
                mistake.kind as mistake,
                coalesce(mistake.billed_seconds, item.seconds) as seconds,
                coalesce(mistake.billed_amount, item.amount + case when item.whim = 7 then 1 else 0 end) as amount,
                sim_slice(sim_draw('reissued', item.contract_number || ':' || item.in_month), 0, 18) = 0 as is_reissued
            from sim_item as item
            left join sim_mistake as mistake using (number)
        ), monthly as (
            select *, case when is_reissued then '-R' else '' end as suffix
            from billed
            where issued_on is not null and seconds > 0
            union all by name
            select *, '' as suffix
            from billed
            where issued_on is not null and seconds > 0 and is_reissued
            union all by name
            select * replace (whole_seconds as seconds, whole_amount as amount),
                case mistake when 'void' then '-V' when 'currency' then '-X' else '-2' end as suffix
            from billed
            where mistake in ('void', 'currency', 'double', 'credited')
            union all by name
            select * replace (-seconds as seconds, -amount as amount), '-CN' as suffix
            from billed
            where mistake = 'credited'
            union all by name
            select billed.*, '-D' as suffix
            from billed
            join sim_contract as contract on contract.number = billed.contract_number
            where issued_on is null and sim_slice(draw_2, 56, 3) = 0
        )
        select
            contract_number, in_month, suffix, number, 'time' as kind, time_log_id, project_id, person, role, task,
            period_end, seconds, amount, mistake is not null as is_mistaken, issued_on
        from monthly
        union all by name
        select
            contract_number, in_month, suffix, 1000000000000 as number,
            case when sim_slice(draw, 8, 4) = 0 then 'other' else 'expense' end as kind,
            max(minor_units) * (40 + sim_slice(draw, 16, 600)) * case max(minor_units) when 1 then 100 else 1 end
                as amount,
            false as is_mistaken, any_value(issued_on) as issued_on
        from (
            select monthly.*, minor_units,
                sim_draw('expense', contract_number || ':' || in_month) as draw
            from monthly
            join sim_contract as contract on contract.number = monthly.contract_number
            where suffix in ('', '-R')
        )
        where sim_slice(draw, 0, 8) = 0
        group by contract_number, in_month, suffix, draw
        """
    )


def _write_logs(cursor: duckdb.DuckDBPyConnection) -> None:
    """Fill the cells of the logs in sim_log, faults included, with the entry dates that mistakes call for."""
    cursor.execute(
        _LOG_CELLS.format(
            table="simulated_time_logs",
            no="'false', 'no', '0', 'False'",
            notes=_literals(_NOTES),
            entered_at="coalesce(late.entered_on + interval 9 hour + luck % 500 * interval 1 minute, log.entered_at)",
            late="left join sim_mistake as late on late.tail_number = log.number and late.kind = 'late'",
        )
    )


def _write_invoices(cursor: duckdb.DuckDBPyConnection) -> None:
    """Fill the invoice and line cells from sim_line."""
    cursor.execute(
        """
        insert into simulated_invoices by name
        with drawn as (
            select contract_number, in_month, suffix, min(issued_on) as issued_on,
                sim_draw('paid', contract_number || ':' || in_month) as draw
            from sim_line
            group by all
        ), dated as (
            select
                * replace (case suffix
                    when '-2' then least(issued_on + 14, sim_until()) when '-CN' then least(issued_on + 20, sim_until())
                    when '-R' then least(issued_on + 4, sim_until()) else issued_on end as issued_on),
                suffix = '-V' or suffix = '' and count(*) filter (suffix = '-R') over (
                    partition by contract_number, in_month) > 0 as is_void
            from drawn
        )
        select
            sim_invoice_id(contract_number, in_month, suffix) as invoice_id,
            sim_contract_id(contract_number) as contract_id,
            case when suffix = '-X' then case currency when 'USD' then 'EUR' when 'KWD' then 'BHD' else 'USD' end
                else currency end
                as currency,
            issued_on::varchar as issued_on,
            case when is_void then 'void' when suffix = '-D' then 'draft'
                when issued_on + 25 + sim_slice(draw, 0, 20) <= sim_until() and sim_slice(draw, 8, 20) > 0 then 'paid'
                else 'issued' end as status
        from dated
        join sim_contract as contract on contract.number = contract_number
        order by contract_number, in_month, suffix
        """
    )
    cursor.execute(
        """
        insert into simulated_invoice_lines by name
        with styled as (
            select
                line.*, minor_units,
                case
                    when line.kind <> 'time' or time_log_id is not null and line_style = 3 and not is_mistaken then -1
                    else sim_fitting_style(line_style, seconds)
                end as style,
                kind = 'time' and time_log_id is null as is_pool,
                sim_slice(draw_2, 58, 2) = 0 as is_explicit,
                row_number() over (
                    partition by contract_number, in_month, suffix order by line.number, time_log_id
                ) as line_no
            from sim_line as line
            join sim_contract as contract on contract.number = line.contract_number
        )
        select
            sim_invoice_id(contract_number, in_month, suffix) as invoice_id,
            line_no::varchar as line_no,
            case when kind <> 'time' or is_explicit then kind end as kind,
            time_log_id, project_id, person, role, task,
            case when is_pool then in_month::varchar end as period_start,
            period_end::varchar as period_end,
            case style when 0 then seconds::varchar end as seconds,
            case style when 1 then (seconds // 60)::varchar end as minutes,
            case style when 2 then sim_hours_text(seconds) end as hours,
            case style when 3 then sim_duration_text(seconds) end as duration,
            sim_money(amount, minor_units) as net_amount
        from styled
        order by contract_number, in_month, suffix, styled.line_no
        """
    )


def _write_extras(cursor: duckdb.DuckDBPyConnection) -> None:
    """Add what else lies in the books: fixed fees, prepayments, and invoices and lines that cannot be trusted."""
    cursor.execute(
        """
        create or replace temp table sim_extra as
        with months as (
            select number, extra, story, currency, minor_units, rate_milli, prepaid_minutes, prepaid_period, is_fixed,
                unnest(generate_series(date_trunc('month', active_from), greatest(active_to, active_from),
                    interval 1 month))::date as in_month,
                date_trunc('month', active_from)::date as first_month
            from sim_contract
            where is_fixed or prepaid_minutes is not null or extra is not null
        ), dated as (
            select *, least(last_day(in_month) + 3, sim_until()) as issued_on,
                case currency when 'USD' then 'EUR' else 'USD' end as other_currency,
                -- The price of two hours.
                rate_milli * 2 * minor_units // 1000 as little
            from months
        )
        select number, extra, in_month, issued_on, currency, '-F' as suffix, null as fault, 'fixed' as kind,
            rate_milli * 70 * minor_units // 1000 as amount, minor_units
        from dated
        where is_fixed
        union all by name
        select number, extra, in_month, in_month as issued_on, currency, '-P' as suffix, null as fault,
            'prepaid' as kind, prepaid_minutes * rate_milli * minor_units // 60000 as amount, minor_units
        from dated
        where prepaid_minutes > 0 and (prepaid_period = 'month' or in_month = first_month)
        union all by name
        select number, extra, in_month, issued_on,
            case extra when 'invoice_unknown_currency' then 'EURO' when 'currency_mismatch' then other_currency
                else currency end as currency,
            '-E' as suffix, extra as fault,
            case when extra in ('currency_mismatch', 'unapplied_credit', 'stray_pool', 'stray_log') then 'time'
                else 'expense' end as kind,
            case when extra = 'unapplied_credit' then -little else little end as amount,
            case extra when 'currency_mismatch' then 100 else minor_units end as minor_units
        from dated
        where in_month = first_month
            and (extra like 'invoice_%' or extra like 'line_%'
                or extra in ('currency_mismatch', 'unapplied_credit', 'stray_pool', 'stray_log'))
        """
    )
    cursor.execute(
        """
        insert into simulated_invoices by name
        with versions as (
            select *, issued_on as dated_on from sim_extra
            union all
            select *, issued_on - 2 as dated_on from sim_extra where fault = 'invoice_conflict'
        )
        select
            sim_invoice_id(number, in_month, suffix) as invoice_id,
            case fault when 'invoice_unknown_contract' then sim_contract_id(number) || '-B'
                else sim_contract_id(number) end as contract_id,
            currency,
            case fault when 'invoice_unparseable' then strftime(in_month, '%Y-%m') || '-32' else dated_on::varchar end
                as issued_on,
            case fault when 'invoice_unknown_choice' then 'sent' when 'invoice_missing' then null else 'issued' end
                as status
        from versions
        order by number, in_month, suffix, dated_on
        """
    )
    cursor.execute(
        """
        insert into simulated_invoice_lines by name
        with numbered as (
            select *, 1 as line_no, sim_money(amount, minor_units) as net_amount, kind as given_kind,
                sim_invoice_id(number, in_month, suffix) as invoice_id
            from sim_extra
            union all by name
            select *, 2 as line_no,
                case fault when 'line_unparseable' then '1.250,00' when 'line_missing' then null
                    else sim_money(amount, minor_units) end as net_amount,
                case fault when 'line_unknown_choice' then 'mileage' else kind end as given_kind,
                sim_invoice_id(number, in_month, case fault when 'line_unknown_invoice' then '-L' else suffix end)
                    as invoice_id
            from sim_extra
            where fault like 'line_%'
            union all by name
            select *, 2 as line_no, sim_money(amount * 2, minor_units) as net_amount, kind as given_kind,
                sim_invoice_id(number, in_month, suffix) as invoice_id
            from sim_extra
            where fault = 'line_conflict'
        )
        select
            invoice_id, line_no::varchar as line_no, given_kind as kind,
            case when fault = 'stray_log' then sim_log_id('stray:' || number) end as time_log_id,
            case when kind = 'time' and fault <> 'stray_log' then 'Change requests' end as task,
            case when kind = 'time' and fault <> 'stray_log' then in_month::varchar end as period_start,
            case when kind = 'time' and fault <> 'stray_log' then last_day(in_month)::varchar end as period_end,
            case when kind = 'time' and fault <> 'unapplied_credit' then '2.00' end as hours,
            net_amount
        from numbered
        order by number, in_month, suffix, line_no, net_amount
        """
    )


def _create_focus(cursor: duckdb.DuckDBPyConnection, stretch: int, size: FirmSize) -> None:
    """Create the contracts of the block a stretch of cycles deals with, and sim_focus: the few that get work."""
    contracts = max(size.contracts, 1)
    blocks = -(-contracts // CONTRACTS_PER_BLOCK)
    drawn = cursor.execute(f"select sim_slice(sim_draw('block', {stretch}), 0, {blocks})").fetchone()
    block = 0 if stretch % 3 == 0 or drawn is None else int(drawn[0])
    _create_contracts(cursor, block * CONTRACTS_PER_BLOCK, min((block + 1) * CONTRACTS_PER_BLOCK, contracts))
    cursor.execute(
        f"""
        create or replace temp table sim_focus as
        select
            number as leader,
            row_number() over (order by is_fixed, sim_draw('focus', {stretch} || ':' || number), number) - 1 as place
        from sim_contract
        where leader = number and not is_invalid and coalesce(story, '') not in ('ambiguous_rates', 'late_rates')
        qualify place < {CONTRACTS_IN_FOCUS}
        """
    )


def _arriving_logs(cycles: Iterable[int], instant: datetime) -> str:
    """Return SQL for the ordinary logs that arrive in some cycles: number, leader and day worked."""
    return f"""
        select
            leader, number, null::varchar as fault, number as id_number,
            date '{instant.date()}' - case when sim_slice(draw, 8, 10) < 7 then 0
                when sim_slice(draw, 8, 40) < 38 then 1 + sim_slice(draw, 12, 4)
                -- Entered long after the month was billed.
                else 35 + sim_slice(draw, 12, 25) end as given_on,
            timestamp '{instant}' as given_at
        from (
            select number, sim_draw('arrival', number) as draw
            from (
                select unnest(range(
                    {FIRST_ARRIVAL} + cycle * 1000,
                    {FIRST_ARRIVAL} + cycle * 1000 + 3 + sim_slice(sim_draw('arrivals', cycle), 0, 12)
                )) as number
                from (select unnest([{_literals(cycles)}]::bigint[]) as cycle)
            )
        )
        join sim_focus on place = sim_slice(draw, 20, (select count(*) from sim_focus)::integer)
    """


def _create_arriving_numbers(cursor: duckdb.DuckDBPyConnection, cycle: int, instant: datetime) -> None:
    """Create sim_number for a cycle: ordinary logs, a faulty one, and the correction of an earlier faulty one."""
    kinds = (*_LOG_FAULTS, "invalid_contract", "no_rate", "ambiguous_rate")
    faulty = ", ".join(
        f"({when}, '{kinds[when % len(kinds)]}', {is_corrected})"
        for when, is_corrected in ((cycle, False), (cycle - CYCLES_TO_CORRECT, True))
        if when >= 0
    )
    cursor.execute(
        f"""
        create or replace temp table sim_number as
        with faulty(cycle, kind, is_corrected) as (
            values {faulty}
        ), placed as (
            select
                kind, is_corrected, {FIRST_ARRIVAL} + cycle * 1000 + 900 as number,
                kind not in ({_literals(_LOG_FAULTS)}) as is_faulty_by_contract,
                coalesce(
                    case kind
                        when 'invalid_contract' then (
                            select min(number) from sim_contract where is_invalid and story <> 'ends_before_start')
                        when 'no_rate' then (select min(number) from sim_contract where story = 'late_rates')
                        when 'ambiguous_rate' then (
                            select min(number) from sim_contract where story = 'ambiguous_rates')
                    end,
                    (select arg_min(leader, place) from sim_focus),
                    0
                ) as leader
            from faulty
            where not is_corrected
                or kind not in ('missing_id', 'invalid_contract', 'no_rate', 'ambiguous_rate')
                and sim_slice(sim_draw('corrected', cycle), 0, 10) < 7
        ), copied as (
            select *, unnest(range(case
                when is_corrected then 1 when kind = 'conflict' then 2 when kind = 'ambiguous_rate' then 4 else 1
            end)) as copy
            from placed
        )
        {_arriving_logs([cycle], instant)}
        union all by name
        select
            copied.leader, copied.number + copy as number,
            case when not is_corrected and not is_faulty_by_contract then kind end as fault,
            copied.number + case when kind = 'conflict' then 0 else copy end as id_number,
            case when kind = 'no_rate' and story = 'late_rates' then rates_from - 2 else date '{instant.date()}' end
                as given_on,
            timestamp '{instant}' as given_at
        from copied
        join sim_contract as contract on contract.number = copied.leader
        """
    )


def _write_arriving_invoice(cursor: duckdb.DuckDBPyConnection, stretch: int, place: int, instant: datetime) -> None:
    """Fill the cells of the invoice of a stretch for one contract, if it has news: issued at first, or put right later.

    What becomes of it depends on the stretch; a later row of the same invoice supersedes the one before.
    """
    story = ("right", "hours", "draft", "rate", "void", "wrong", "over", "late")[stretch % 8]
    status = {
        ("draft", INVOICED_AT): "draft",
        ("draft", CHANGED_AT): "issued",
        ("void", CHANGED_AT): "void",
        ("void", REISSUED_AT): "issued",
        ("wrong", CHANGED_AT): "issued",
        ("late", INVOICED_AT): None,
        ("late", REISSUED_AT): "issued",
    }.get((story, place), "issued" if place == INVOICED_AT else None)
    if status is None:
        return
    invoice_id = f"'INV-S{stretch + 1:05d}'"
    cycles = range(stretch * CYCLES_PER_STRETCH, stretch * CYCLES_PER_STRETCH + INVOICED_AT)
    cursor.execute(f"create or replace temp table sim_number as {_arriving_logs(cycles, instant)}")
    _create_logs(cursor)
    _create_priced(cursor)
    cursor.execute(
        """
        create or replace temp table sim_billed as
        select priced.*, minor_units, currency
        from sim_priced as priced
        join sim_contract as contract on contract.number = contract_number
        where contract_number = (
            select contract_number
            from sim_priced
            group by contract_number
            order by count(*) desc, contract_number
            limit 1
        )
        """
    )
    cursor.execute(
        f"""
        insert into simulated_invoices by name
        select
            {invoice_id} as invoice_id, sim_contract_id(contract_number) as contract_id,
            case when '{story}' = 'wrong' and {place} = {INVOICED_AT} then 'EURO' else currency end as currency,
            '{instant.date()}' as issued_on, '{status}' as status
        from sim_billed
        group by all
        """
    )
    if place == INVOICED_AT or story == "late":
        cursor.execute(
            f"""
            insert into simulated_invoice_lines by name
            select
                {invoice_id} as invoice_id, row_number() over (order by number)::varchar as line_no, 'time' as kind,
                time_log_id, project_id, person,
                (case '{story}' when 'hours' then (seconds + 1) // 2 when 'over' then seconds + 1800 else seconds end)
                    ::varchar as seconds,
                sim_money((case '{story}'
                    when 'hours' then amount * ((seconds + 1) // 2) // seconds
                    when 'over' then amount * (seconds + 1800) // seconds
                    when 'rate' then amount * 9 // 10
                    else amount
                end)::bigint, minor_units) as net_amount
            from sim_billed
            order by number
            """
        )


def _write_forgotten(cursor: duckdb.DuckDBPyConnection, stretch: int, issued_on: date) -> None:
    """Fill the cells of an invoice for what one careless contract of the block forgot, so that its leakage shrinks."""
    row = cursor.execute(
        f"""
        select own.number, own.leader
        from sim_contract as own
        join sim_contract as led on led.number = own.leader
        where own.health <= 9 and not own.is_fixed and not own.is_invalid
            and led.next_log - led.first_log <= {LOGS_LOOKED_THROUGH}
        order by own.health <= 5 desc, sim_draw('forgotten', {stretch} || ':' || own.number), own.number
        limit 1
        """
    ).fetchone()
    if row is None:
        return
    number, leader = row
    _create_numbers(cursor, leader, leader)
    _create_logs(cursor)
    _create_priced(cursor)
    _create_items(cursor)
    _create_mistakes(cursor)
    cursor.execute(
        f"""
        create or replace temp table sim_billed as
        select mistake.tail_number, item.tail_log_id, item.tail_seconds, item.tail_amount, item.minor_units,
            sim_contract_id({number}) as contract_id, currency,
            'INV-L{number + 1:05d}' as invoice_id
        from sim_mistake as mistake
        join sim_item as item on item.number = mistake.number
        join sim_contract as contract on contract.number = mistake.contract_number
        where mistake.contract_number = {number} and mistake.kind in ('unbilled', 'late')
        """
    )
    cursor.execute(
        f"""
        insert into simulated_invoices by name
        select distinct invoice_id, contract_id, currency, '{issued_on}' as issued_on, 'issued' as status
        from sim_billed
        """
    )
    cursor.execute(
        """
        insert into simulated_invoice_lines by name
        select
            invoice_id, row_number() over (order by tail_number)::varchar as line_no, 'time' as kind,
            tail_log_id as time_log_id, tail_seconds::varchar as seconds,
            sim_money(tail_amount, minor_units) as net_amount
        from sim_billed
        order by tail_number
        """
    )


def _drop_work(cursor: duckdb.DuckDBPyConnection, macros: list[str]) -> None:
    """Drop everything but the tables handed over."""
    for (name,) in cursor.execute(
        "select table_name from duckdb_tables() where temporary and starts_with(table_name, 'sim_')"
    ).fetchall():
        cursor.execute(f"drop table {name}")
    for name in macros:
        cursor.execute(f"drop macro {name}")
