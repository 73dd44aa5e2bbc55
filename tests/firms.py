"""Random firms and random histories, as Hypothesis strategies.

Bills are derived from what the reference model says is owed, so that near misses (a cent off, short in hours, billed
twice) are as likely as the right amount. Faults are drawn apart from sound rows: most of a firm can be trusted.

Ids hold no `/` and no `|`: written keys and `about` are then unambiguous.
"""

import datetime as dt
import functools
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import TypedDict

from hypothesis import strategies as st

from tests import reference_model as model
from tests.reference_model import COLUMNS, DURATIONS, KEY_COLUMNS, SCOPE, Rows, Sources

AS_OF = dt.date(2026, 3, 31)
FIRST_DAY = dt.date(2025, 12, 25)

Draw = Callable[..., object]
GivenRow = dict[str, str | None]


class Step(TypedDict):
    """One load of a history, and the date it is reconciled at."""

    sources: Sources
    complete: bool
    as_of: dt.date


# --------------------------------------------------------------------------------------------------
# Small draws


@functools.cache
def one_in(count: int) -> st.SearchStrategy[bool]:
    """Return true once in `count` draws; shrinks to false."""
    return st.sampled_from([False] * (count - 1) + [True])


@functools.cache
def some(*values: str) -> st.SearchStrategy[str]:
    """Return one of the values; shrinks to the first. Repeat a value to make it likelier."""
    return st.sampled_from(values)


@functools.cache
def up_to(count: int) -> st.SearchStrategy[int]:
    return st.integers(0, count)


def row_of(dataset: str, **cells: str) -> GivenRow:
    """Return a row with every known column, blank where nothing is said."""
    unknown = set(cells) - set(COLUMNS[dataset])
    if unknown:
        raise KeyError(unknown)
    return {name: cells.get(name, "") for name in COLUMNS[dataset]}


def plain(number: Fraction | Decimal | int) -> str:
    """Write a finite decimal without exponent."""
    decimal = number if isinstance(number, Decimal) else model.to_decimal(Fraction(number))
    return format(decimal, "f")


Faults = st.SearchStrategy[dict[str, str]]


def faults(**cells_by_reason: list[dict[str, str]]) -> Faults:
    """Return cells that earn a row a reason, every reason as likely."""
    return st.sampled_from(list(cells_by_reason.values())).flatmap(st.sampled_from)


# --------------------------------------------------------------------------------------------------
# What cells may hold

PEOPLE = some("ana", "ana", "bo", "bo", "Zoë", "Zoe\u0308", "cy\x1b[31m", "李", "Ana")
ROLES = {"ana": "senior", "bo": "junior", "Zoë": "senior", "李": "junior"}
TASKS = some("", "build", "build", "travel", "Build")
# Byte order, UTF-16 order, locale order and case-blind order all differ on these.
PREFIXES = some("", "", "", "", "Z", "a", "é", "e\u0301", "\uff5e", "😀", "L-", "-")
PADDINGS = st.sampled_from([(" ", ""), ("", " "), ("\t", "\n"), ("\xa0", "\u2003"), ("", "\x1f")])
NOTES = some(
    "", "", "", "call", "line\nbreak", 'say "hi", twice', "\x1b[2J", "\x07\x7f", "=1+1", "🎉", "|", "NULL", "'"
)

UNREADABLE_NUMBERS = ("abc", "1,5", "NaN", "inf", "1e3", "3_600", "--1", ".", "0x10", "٣", "1 000", "12-", "½")
UNREADABLE_DATES = ("2026-02-30", "31/01/2026", "2026-2-3", "20260203", "2026-02-03T00:00", "soon", "\uff12026-01-01")
UNREADABLE_BOOLEANS = ("maybe", "y", "t", "2", "on", "wahr", "1.0")
UNREADABLE_INSTANTS = ("2026-01-05T25:00", "2026-01-05 9:00", "2026-01-05T09:00+1", "yesterday", "2026-01-05T09:00 Z",
                       "2026-01-05T09:00:00,5", "2026-01-05Z", "2026-13-05T09:00")  # fmt: skip
TRUE = some("", "", "", "true", "Yes", "1", " TRUE ")
FALSE = some("no", "false", "0", "No ")

CURRENCIES = some("USD", "USD", "EUR", "EUR", "JPY", "KWD")
HOURLY_RATES = {
    "JPY": some("8000", "12500", "7333", "9999.9999"),
    "KWD": some("30", "27.125", "41.6667", "199.9999"),
}
DEFAULT_HOURLY_RATES = some("100", "95.5", "87", "120.1234", "150.25", "33.33", "100", "95.5", " 80.", "+60.50",
                            "199.9999", "0")  # fmt: skip


def day(offset: int) -> dt.date:
    return FIRST_DAY + dt.timedelta(days=offset)


def duration_cells(draw: Draw, seconds: int) -> dict[str, str]:
    """Write seconds in one of the ways there are, now and then rounded by its decimals."""
    way = draw(some("seconds", "seconds", "seconds", "minutes", "hours", "duration", "clock", "decimals"))
    if way == "minutes":
        return {"minutes": plain(model.round_half_away(Fraction(seconds, 60), draw(up_to(4))))}
    if way == "hours":
        return {"hours": plain(model.round_half_away(Fraction(seconds, 3600), 2 + draw(up_to(4))))}
    if way == "duration" and seconds >= 0:
        return {"duration": f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"}
    if way == "clock" and seconds >= 60:
        return {"duration": f"{seconds // 3600:02}:{seconds // 60 % 60:02}"}
    if way == "decimals":
        return {"seconds": f"{seconds}{draw(some('.0', '.', '.4', '.49', '.5', '.5000'))}"}
    return {"seconds": str(seconds)}


def padded(draw: Draw, row: GivenRow) -> GivenRow:
    """Return the same row by value, with blanks around some of its last cells."""
    before, after = draw(PADDINGS)
    # A contract's row text decides between versions; its last columns decide it last.
    names = [name for name in row if row[name]][-2:]
    return row | {name: f"{before}{row[name]}{after}" for name in names}


# --------------------------------------------------------------------------------------------------
# Contracts, projects, rates

CONTRACT_FAULTS = faults(
    missing_value=[{"client": ""}, {"currency": ""}, {"starts_on": " "}],
    unknown_currency=[{"currency": "XYZ"}, {"currency": "usd"}, {"currency": "€"}],
    unparseable_value=[
        {"starts_on": "2026-02-30"},
        {"ends_on": "soon"},
        {"rounding_minutes": "7.5"},
        {"grace_days": "1.5"},
        {"overtime_multiplier": "1.23456"},
        {"weekend_multiplier": "1,5"},
        {"prepaid_minutes": "1e3"},
        {"cap_amount": "NaN"},
        {"cap_amount": "-100.00001"},
        {"threshold_amount": "1.5.0"},
        {"threshold_amount": "250.00001"},
    ],
    ends_before_start=[{"ends_on": "2025-10-31"}, {"starts_on": "2026-02-01", "ends_on": "2026-01-31"}],
    unknown_choice=[
        {"billing_model": "retainer"},
        {"billing_model": "Fixed_Price"},
        {"rounding_mode": "sideways"},
        {"rounding_unit": "week"},
        {"prepaid_period": "year"},
        {"cap_period": "quarter"},
        {"grace_from": "invoice"},
    ],
    negative_term=[
        {"billing_model": "fixed_price", "discount_percent": "-5"},
        {"rounding_minutes": "-15"},
        {"minimum_minutes": "-1"},
        {"overtime_after_minutes": "-480"},
        {"overtime_multiplier": "0"},
        {"weekend_multiplier": "-0.00"},
        {"prepaid_minutes": "-1"},
        {"cap_minutes": "-60"},
        {"cap_amount": "-1"},
        {"grace_days": "-7"},
        {"threshold_amount": "-1"},
    ],
    discount_over_100=[{"discount_percent": "100.01"}, {"discount_percent": "150"}],
)
STARTS = some("2025-11-01", "2025-11-01", "2025-11-01", "2026-01-01", "2026-01-11", "2024-11-27", " 2025-12-01 ")
ENDS = some("", "", "", "", "", "", "2026-03-22", "2027-05-16", "9999-12-31")


FOLLOWED = ("2026-01-31", "2026-02-10")


@st.composite
def contract_rows(draw: Draw, index: int, previous: GivenRow | None) -> GivenRow:
    """Return one sound contract; where there is a previous one it may follow that."""
    currency = draw(CURRENCIES)
    starts_on, ends_on = draw(STARTS), draw(ENDS)
    if previous and draw(one_in(4)):
        previous["ends_on"] = draw(some(*FOLLOWED))
        starts_on, ends_on = draw(some("2026-02-01", "2026-02-11", "2026-02-14")), ""
    cap_amounts = {"JPY": some("", "", "", "", "", "90000"), "KWD": some("", "", "", "", "", "250.125", "1000.000")}
    thresholds = {"JPY": some("", "", "60000", "0.0"), "KWD": some("", "", "200.005")}
    cells = {
        "contract_id": f"{draw(PREFIXES)}C{index}",
        "client": draw(some("Acme", "Globex", "Ünlü & Söhne", " Acme")),
        "currency": currency,
        "billing_model": draw(some("", "", "", "", "time_and_materials", "fixed_price")),
        "starts_on": starts_on,
        "ends_on": ends_on,
        "rounding_minutes": draw(some("", "0", "6", "15", "15.0", "30")),
        "rounding_mode": draw(some("", "up", "nearest", "down")),
        "rounding_unit": draw(some("", "entry", "day", "day")),
        "minimum_minutes": draw(some("", "0", "0", "15", "60")),
        "overtime_after_minutes": draw(some("", "", "", "240", "480", "0")),
        "overtime_multiplier": draw(some("", "1.5", "2", "1.3333", "1.")),
        "weekend_multiplier": draw(some("", "", "1.25", "2", ".5")),
        "prepaid_minutes": draw(some("", "", "", "", "", "0", "60", "120", "240")),
        "prepaid_period": draw(some("", "month", "lifetime")),
        "cap_minutes": draw(some("", "", "", "", "", "", "300", "600", "1200", "2400", "2400")),
        "cap_amount": draw(cap_amounts.get(currency, some("", "", "", "", "", "", "750", "1000.00", "2000.50", "0"))),
        "cap_period": draw(some("", "month", "lifetime")),
        "discount_percent": draw(some("", "", "", "", "0", "5", "12.5", "12.5", "33.3333", "33.3333", "15.00", "100")),
        "grace_days": draw(some("", "", "", "", "0", "7", "30", "90", "999999999")),
        "grace_from": draw(some("", "worked_on", "month_end")),
        "threshold_amount": draw(thresholds.get(currency, some("", "", "", "250", "0", "10000", "400.50"))),
    }
    return row_of("contracts", **cells)


@st.composite
def rate_rows(draw: Draw, contract: GivenRow, project_ids: list[str]) -> Rows:
    """Return a contract's rates: one for all, and some for few."""
    hourly_rates = HOURLY_RATES.get((contract["currency"] or "").strip(), DEFAULT_HOURLY_RATES)
    contract_id = contract["contract_id"] or ""
    rows = []
    if not draw(one_in(12)):
        valid_from = draw(some("2024-01-01", "2024-01-01", "2024-01-01", "2026-01-21"))
        valid_to = draw(some("", "", "", "", "", "2026-03-02"))
        rows.append(
            row_of(
                "rates",
                contract_id=contract_id,
                hourly_rate=draw(hourly_rates),
                valid_from=valid_from,
                valid_to=valid_to,
            )
        )
    for _ in range(draw(up_to(3))):
        scope = {
            "project_id": draw(some("", "", *project_ids)),
            "person": draw(some("", "", "", "ana", "bo", "Zoë")),
            "role": draw(some("", "", "senior", "junior")),
            "task": draw(some("", "", "build", "travel")),
        }
        valid_from = draw(some("2025-12-01", "2026-01-15", "2026-02-15"))
        valid_to = draw(some("", "", "2026-02-15", "2026-03-16"))
        if valid_to and valid_to <= valid_from:
            valid_to = ""
        rate = row_of(
            "rates", contract_id=contract_id, hourly_rate=draw(hourly_rates), valid_from=valid_from, valid_to=valid_to
        )
        rows.append(rate | scope)
    if rows and draw(one_in(7)):  # a second price for the same thing, or the same price twice
        rows.append(rows[-1] | {"hourly_rate": draw(hourly_rates)})
    if rows and draw(one_in(10)):
        rows.append(rows[-1] | draw(RATE_FAULTS))
    return rows


RATE_FAULTS = faults(
    missing_value=[{"hourly_rate": ""}, {"valid_from": ""}, {"contract_id": ""}],
    unparseable_value=[
        {"hourly_rate": "abc"},
        {"hourly_rate": "1.23456"},
        {"valid_from": "2026-02-30"},
        {"valid_to": "2026-2-3"},
    ],
    negative_term=[{"hourly_rate": "-5"}, {"hourly_rate": "-.0001"}],
    empty_rate_window=[{"valid_to": "2023-12-31"}, {"valid_from": "2026-01-01", "valid_to": "2026-01-01"}],
    unknown_contract=[{"contract_id": "C-ghost"}, {"contract_id": "c1"}],
)


@st.composite
def contracts_and_projects(draw: Draw) -> tuple[Rows, Rows, list[str]]:
    """Return contracts, the projects that share them, and ids to book on."""
    contracts: Rows = []
    for index in range(1, 2 + draw(st.sampled_from([0, 1, 1, 2, 2, 3, 4]))):
        contracts.append(draw(contract_rows(index, contracts[-1] if contracts else None)))
    contract_ids = [row["contract_id"] or "" for row in contracts]
    project_ids = [f"{draw(PREFIXES)}P{index}" for index in range(len(contracts) + draw(up_to(1)))]
    projects: Rows = []
    for index, project_id in enumerate(project_ids):
        owner = index % len(contracts)
        members = {contract_ids[owner]}
        if contracts[owner]["ends_on"] in FOLLOWED and owner + 1 < len(contracts):
            members.add(contract_ids[owner + 1])
        if draw(one_in(2)):
            members.add(draw(st.sampled_from(contract_ids)))
        projects += [
            row_of(
                "projects",
                project_id=project_id,
                contract_id=contract_id,
                name=draw(some("", "Site", "Site\x1b[0m", "移行")),
                is_billable=draw(FALSE if draw(one_in(16)) else TRUE),
            )
            for contract_id in sorted(members)
        ]
    return contracts, projects, project_ids


# --------------------------------------------------------------------------------------------------
# Time logs

SECONDS = st.sampled_from([3600, 5400, 900, 7200, 28800, 59, 1, 3601, 1799, 10845, 24692, 14400, 21600, 86400])
NO_DURATION = dict.fromkeys(DURATIONS, "")
LOG_FAULTS = faults(
    missing_value=[{"time_log_id": ""}],
    missing_project=[{"project_id": ""}],
    unknown_project=[{"project_id": "nope"}, {"project_id": "p0"}],
    missing_person=[{"person": ""}, {"person": " \t"}],
    missing_date=[{"worked_on": ""}],
    missing_duration=[NO_DURATION, NO_DURATION | {"minutes": "\u2003"}],
    non_positive_duration=[
        NO_DURATION | {"seconds": "0"},
        NO_DURATION | {"seconds": "-60"},
        NO_DURATION | {"hours": "0.0001"},
        NO_DURATION | {"duration": "0:00"},
    ],
    over_24_hours=[
        NO_DURATION | {"seconds": "86400.5"},
        NO_DURATION | {"hours": "25."},
        NO_DURATION | {"minutes": "999999999"},
        NO_DURATION | {"duration": "24:00:01"},
    ],
    future_dated=[{"worked_on": "2026-04-01"}, {"worked_on": "2026-05-20"}],
    unparseable_value=[
        *({"worked_on": text} for text in UNREADABLE_DATES),
        *({"is_billable": text} for text in UNREADABLE_BOOLEANS),
        {"is_approved": "pending"},
        *({"entered_at": text} for text in UNREADABLE_INSTANTS),
    ],
    unreadable_duration=[
        *(NO_DURATION | {"seconds": text} for text in UNREADABLE_NUMBERS),
        *(NO_DURATION | {"duration": text} for text in ("-1:00", "1:60", "1:5", "1:00:60", "90", ":30")),
        NO_DURATION | {"seconds": "5400", "minutes": "90"},
        NO_DURATION | {"hours": "1.5", "duration": "1:30"},
        NO_DURATION | {"hours": "8", "minutes": "x"},
    ],
    several=[
        NO_DURATION | {"person": "", "worked_on": "2026-04-02", "duration": "25:00"},
        NO_DURATION | {"project_id": "", "worked_on": "soon", "seconds": "-1"},
    ],
)


@st.composite
def work_days(draw: Draw, project_ids: list[str]) -> list[GivenRow]:
    """Return what one person booked on one day, mostly on one project."""
    person = draw(PEOPLE)
    worked_on = day(draw(up_to(95)))
    project_id = draw(st.sampled_from(project_ids))
    task = draw(TASKS)
    rows = []
    for _ in range(1 + draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        if draw(one_in(4)):
            project_id, task = draw(st.sampled_from(project_ids)), draw(TASKS)
        entered_at = ""
        if draw(one_in(2)):
            entered_on = worked_on + dt.timedelta(days=draw(st.sampled_from([0, 1, 7, 30, 50])))
            entered_at = entered_on.isoformat() + draw(
                some("", "T10:00", "T10:00:00Z", " 23:30:15.25-01:00", "T00:15+02:00", " 23:59Z", "T23:59:59.999999")
            )
        row = row_of(
            "time_logs",
            project_id=project_id,
            person=person,
            role=ROLES.get(person, "") if draw(one_in(2)) else "",
            task=task,
            worked_on=worked_on.isoformat(),
            is_billable=draw(FALSE if draw(one_in(14)) else TRUE),
            is_approved=draw(FALSE if draw(one_in(14)) else TRUE),
            entered_at=entered_at,
            note=draw(NOTES),
        )
        rows.append(row | duration_cells(draw, draw(SECONDS)))
    return rows


@st.composite
def time_log_rows(draw: Draw, project_ids: list[str]) -> Rows:
    """Return the firm's logs, faults and duplicates among them."""
    days = draw(st.lists(work_days(project_ids), min_size=6, max_size=28))
    rows = [row for rows in days for row in rows]
    for index, row in enumerate(rows):
        row["time_log_id"] = f"{draw(PREFIXES)}L{index}"
    for _ in range(draw(st.sampled_from([0, 1, 2, 3, 4]))):
        draw(st.sampled_from(rows)).update(draw(LOG_FAULTS))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        row = draw(st.sampled_from(rows))
        change = draw(st.sampled_from([{}, {}, {"note": "another version"}, {"task": "another"}, {"is_approved": "0"}]))
        rows.append(padded(draw, row) | change)
    return rows


# --------------------------------------------------------------------------------------------------
# Invoices

STATUSES = some("issued", "paid", "issued", "void", "paid", "void", "draft")
ISSUED = some("2026-02-28", "2026-01-31", "2026-03-15", "2026-01-10", "", " 2026-03-31")
PLANS = some("none", "right", "right", "right", "cent", "cent", "short hours", "short rate", "short both", "over hours",
             "over rate", "double", "double", "halves", "no hours", "nothing", "credited", "credit", "void", "void",
             "zero")  # fmt: skip
INVOICE_FAULTS = faults(
    missing_value=[{"status": ""}, {"contract_id": ""}, {"currency": ""}, {"invoice_id": ""}],
    unparseable_value=[{"issued_on": "31/01/2026"}, {"issued_on": "2026-02-29"}],
    unknown_choice=[{"status": "lost"}, {"status": "Paid"}],
    unknown_contract=[{"contract_id": "C-ghost"}],
    unknown_currency=[{"currency": "XYZ"}, {"currency": "eur"}],
)
LINE_FAULTS = faults(
    missing_value=[{"invoice_id": ""}, {"line_no": ""}, {"net_amount": ""}],
    unknown_invoice=[{"invoice_id": "INV-ghost"}],
    unknown_choice=[{"kind": "gift"}, {"kind": "Time"}],
    unparseable_value=[
        {"line_no": "x"},
        {"line_no": "1.5"},
        {"net_amount": "1,5"},
        {"net_amount": "10.00001"},
        {"period_start": "2026-02-30"},
        {"period_end": "2026-1-1"},
        NO_DURATION | {"seconds": "x"},
        NO_DURATION | {"seconds": "60", "minutes": "1"},
    ],
)


class Invoicing:
    """The invoices of one contract while they are drawn."""

    def __init__(self, draw: Draw, contract_id: str, currency: str, index: int) -> None:
        self.draw = draw
        self.contract_id = contract_id
        self.decimals = model.MINOR_UNITS[currency]
        self.cent = Fraction(1, 10**self.decimals)
        self.invoices: Rows = []
        self.lines: dict[str, Rows] = {}
        self.by_status: dict[str, list[str]] = {"live": [], "void": [], "draft": [], "foreign": []}
        for number in range(1 + draw(up_to(3))):
            self.add(f"{draw(PREFIXES)}INV{index}-{number}", currency)

    def add(self, invoice_id: str, currency: str) -> None:
        draw = self.draw
        status = draw(STATUSES)
        foreign = draw(one_in(10))
        row = row_of(
            "invoices",
            invoice_id=invoice_id,
            contract_id=self.contract_id,
            currency="GBP" if foreign else currency,
            issued_on=draw(ISSUED),
            status=status,
        )
        self.invoices.append(row)
        self.lines[invoice_id] = []
        self.by_status["foreign" if foreign else "live" if status in {"issued", "paid"} else status].append(invoice_id)

    def line(self, invoice_id: str, amount: Fraction, seconds: int | None, **cells: str) -> None:
        draw = self.draw
        rows = self.lines[invoice_id]
        number = str(len(rows) + 1)
        if draw(one_in(12)):
            number = draw(some(f"0{number}", f"{number}.0", f"+{number}", f"{number}."))
        rounded = model.round_half_away(amount, self.decimals)
        row = row_of("invoice_lines", invoice_id=invoice_id, line_no=number, net_amount=plain(rounded), **cells)
        if seconds is not None:
            row |= duration_cells(draw, seconds)
        rows.append(row)

    def one(self, kind_of_invoice: str) -> str:
        """Return an invoice of that kind, or any where there is none."""
        return self.draw(st.sampled_from(self.by_status[kind_of_invoice] or list(self.lines)))

    def bill(self, time_log_id: str, owed: Fraction, seconds: int) -> None:
        """Bill one log in one of the ways in which it goes right or wrong."""
        plan = self.draw(PLANS)
        half_amount, half_seconds = model.round_half_away(owed / 2, 0), seconds // 2
        near = {
            "right": (owed, seconds),
            "cent": (owed + self.cent * self.draw(st.sampled_from([1, -1, 2, -2])), seconds),
            "short hours": (half_amount, half_seconds),
            "short rate": (half_amount, seconds),
            "short both": (half_amount / 2, half_seconds),
            "over hours": (owed * 2, seconds + 1800),
            "over rate": (owed + 20, seconds),
            "no hours": (owed / 2, None),
            "zero": (Fraction(0), 0),
            "credit": (-half_amount - 1, -half_seconds),
        }
        if plan in near:
            amount, billed_seconds = near[plan]
            self.line(self.one("live"), amount, billed_seconds, time_log_id=time_log_id)
        elif plan == "double":
            for invoice_id in (self.by_status["live"] * 2)[:2]:
                self.line(invoice_id, owed, seconds, time_log_id=time_log_id)
        elif plan == "halves":
            self.line(self.one("live"), owed / 2, half_seconds, time_log_id=time_log_id)
            self.line(self.one("live"), owed / 2, seconds - half_seconds, time_log_id=time_log_id)
        elif plan == "credited":
            self.line(self.one("live"), owed, seconds, time_log_id=time_log_id)
            self.line(self.one("live"), -owed, -seconds, time_log_id=time_log_id)
        elif plan == "nothing":
            self.line(self.one(self.draw(some("draft", "foreign"))), owed, seconds, time_log_id=time_log_id)
        elif plan == "void":
            self.line(self.one("void"), owed, seconds, time_log_id=time_log_id)

    def pool(self, members: list[model.EligibleLog], strangers: list[str]) -> None:
        """Bill the hours of some logs in one go: rightly, wrongly, or for nobody."""
        draw = self.draw
        cells: dict[str, str] = {}
        if members:
            like = draw(st.sampled_from(members)).log
            for name, value in zip(SCOPE, like.scope, strict=True):
                if draw(one_in(3)):
                    cells[name] = value or ""
            members = [one for one in members if is_within(cells, one.log)]
        elif strangers:
            cells["project_id"] = draw(st.sampled_from(strangers))
        cells["period_start"], cells["period_end"] = draw(PERIODS)
        members = [one for one in members if covers(cells, one.log.worked_on)]
        amount = model.add_up(one.owed_amount for one in members)
        seconds = sum(one.payable_seconds for one in members)
        factor = Fraction(draw(some("1", "1", "0.5", "0.75", "1.1", "-1", "0")))
        share = Fraction(draw(some("1", "1", "1", "0.5", "1.5", "0", "-1")))
        pooled_seconds = None if draw(one_in(8)) else int(seconds * share)
        which = self.one(draw(some("live", "live", "live", "live", "void", "draft", "foreign")))
        self.line(which, amount * factor, pooled_seconds, **cells)
        if draw(one_in(4)):  # a second line of the same pool
            factor = Fraction(draw(some("0.25", "-0.25", "-1", "0.5")))
            self.line(which, amount * factor, int(seconds * factor), **cells)

    def rest(self, stray_ids: list[str]) -> None:
        """Add lines for logs that are not there to be billed, and lines that are not about time."""
        draw = self.draw
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            time_log_id = draw(st.sampled_from([*stray_ids, "L-ghost"]))
            amount = draw(st.sampled_from([120, 45, -30, 0]))
            self.line(
                self.one("live"), Fraction(amount), draw(st.sampled_from([3600, None, -3600])), time_log_id=time_log_id
            )
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            kind = draw(some("expense", "fixed", "prepaid", "other", "time"))
            amount = draw(st.sampled_from([250, 99, -50]))
            self.line(self.one(draw(some("live", "live", "foreign"))), Fraction(amount), None, kind=kind)

    def all_lines(self) -> Rows:
        return [row for rows in self.lines.values() for row in rows]


PERIODS = st.sampled_from(
    [
        ("", ""),
        ("", ""),
        ("2026-01-01", "2026-01-31"),
        ("2026-02-01", "2026-02-28"),
        ("2026-03-01", "2026-03-31"),
        ("2026-01-01", "2026-03-31"),
        ("", "2026-02-28"),
        ("2026-02-01", ""),
        ("2026-03-31", "2026-03-01"),
        ("2026-01-05", "2026-01-05"),
    ]
)


def is_within(cells: dict[str, str], log: model.Log) -> bool:
    return all(cells.get(name, "") in {"", value} for name, value in zip(SCOPE, log.scope, strict=True))


def covers(cells: dict[str, str], worked_on: dt.date) -> bool:
    return (cells["period_start"] or "0001-01-01") <= worked_on.isoformat() <= (cells["period_end"] or "9999-12-31")


def invoice_firm(draw: Draw, firm: Sources) -> tuple[Rows, Rows]:
    """Return invoices and lines for a firm, from what the model says is owed."""
    store = model.Store()
    store.load(firm)
    result = model.reconcile(store, AS_OF)
    all_ids = sorted({row["time_log_id"] or "" for row in firm["time_logs"]} - {""})
    invoices: Rows = []
    lines: Rows = []
    by_contract: dict[str, list[model.EligibleLog]] = {}
    for contract_id, one in result.eligible.values():
        by_contract.setdefault(contract_id, []).append(one)
    for index, (contract_id, position) in enumerate(sorted(result.positions.items())):
        if draw(one_in(8)):
            continue
        currency = str(position["currency"] or "")
        billing = Invoicing(draw, contract_id, currency if currency in model.MINOR_UNITS else "USD", index)
        eligible = by_contract.get(contract_id, [])
        pooled = []
        for one in eligible:
            if draw(one_in(3)):
                pooled.append(one)
            else:
                billing.bill(one.log.time_log_id, one.owed_amount, one.payable_seconds)
        for _ in range(1 + draw(up_to(1)) if pooled else draw(st.sampled_from([0, 0, 1]))):
            billing.pool(pooled, [row["project_id"] or "" for row in firm["projects"]])
        own_ids = {one.log.time_log_id for one in eligible}
        billing.rest([time_log_id for time_log_id in all_ids if time_log_id not in own_ids][:6])
        invoices += billing.invoices
        lines += billing.all_lines()
    return invoices, lines


# --------------------------------------------------------------------------------------------------
# Whole firms


PROJECT_FAULTS = faults(
    unparseable_value=[{"is_billable": "maybe"}],
    unknown_contract=[{"contract_id": "C-ghost"}],
    missing_value=[{"contract_id": ""}, {"project_id": ""}],
)
CONTRACT_CONFLICTS = st.sampled_from(
    [
        {"client": "Somebody else"},
        {"starts_on": "2026-01-20"},
        {"ends_on": "2026-01-05"},
        {"billing_model": "fixed_price"},
        {"currency": "GBP", "cap_amount": "", "threshold_amount": "5.05"},
        {"contract_id": ""},
    ]
)
PROJECT_CONFLICTS = st.sampled_from([{"name": "other"}, {"is_billable": "no", "name": "other"}])
INVOICE_CONFLICTS = st.sampled_from([{"issued_on": "2026-03-30"}, {"currency": "CHF"}, {"contract_id": "C1"}])
LINE_CONFLICTS = st.sampled_from([{"net_amount": "77"}, {"kind": "other"}, {"task": "another"}])


SPOILING = {  # how often a row is broken, how, and what a second version of it says
    "contracts": (st.sampled_from([0, 0, 1]), CONTRACT_FAULTS, CONTRACT_CONFLICTS),
    "projects": (st.sampled_from([0, 0, 0, 1]), PROJECT_FAULTS, PROJECT_CONFLICTS),
    "invoices": (st.sampled_from([0, 0, 1, 1, 2]), INVOICE_FAULTS, INVOICE_CONFLICTS),
    "invoice_lines": (st.sampled_from([0, 0, 1, 1, 2, 3]), LINE_FAULTS, LINE_CONFLICTS),
}


def spoil(draw: Draw, firm: Sources, dataset: str) -> None:
    """Now and then break a row, add a second version of one, or the same once more."""
    rows = firm[dataset]
    fault_counts, row_faults, conflicts = SPOILING[dataset]
    for _ in range(draw(fault_counts) if rows else 0):
        row, fault = draw(st.sampled_from(rows)), draw(row_faults)
        is_widely_used = dataset in {"contracts", "projects"}
        if is_widely_used and not fault.keys().isdisjoint(KEY_COLUMNS[dataset]):
            rows.append(row | fault)  # beside the sound row, which many others need
        else:
            row.update(fault)
    if rows and draw(one_in(8)):
        rows.append(draw(st.sampled_from(rows)) | draw(conflicts))
    if rows and draw(one_in(10)):
        rows.append(padded(draw, draw(st.sampled_from(rows))))


@st.composite
def firms(draw: Draw) -> Sources:
    """Return a whole firm: the six data sets, every known column in every row."""
    contracts, projects, project_ids = draw(contracts_and_projects())
    rates = [row for contract in contracts for row in draw(rate_rows(contract, project_ids))]
    firm: Sources = {
        "contracts": contracts,
        "projects": projects,
        "rates": rates,
        "time_logs": draw(time_log_rows(project_ids)),
        "invoices": [],
        "invoice_lines": [],
    }
    spoil(draw, firm, "contracts")
    spoil(draw, firm, "projects")
    firm["invoices"], firm["invoice_lines"] = invoice_firm(draw, firm)
    spoil(draw, firm, "invoices")
    spoil(draw, firm, "invoice_lines")
    return firm


# --------------------------------------------------------------------------------------------------
# Histories

COMPLETE_SETS = some("time_logs", "invoices", "invoice_lines", "rates", "projects", "contracts")
CHANGES: dict[str, list[dict[str, str]]] = {
    "contracts": [{"discount_percent": "10"}, {"ends_on": "2026-03-01"}, {"client": "Renamed"}, {"cap_minutes": "240"}],
    "projects": [{"is_billable": "no"}, {"name": "Renamed"}],
    "rates": [{"hourly_rate": "111"}, {"valid_to": "2026-03-20"}, {"hourly_rate": "bad"}],
    "time_logs": [
        dict.fromkeys(DURATIONS, "") | {"hours": "2"},
        {"is_approved": "no"},
        {"note": "corrected"},
        {"worked_on": "2026-03-02"},
        {"person": ""},
    ],
    "invoices": [{"status": "void"}, {"status": "paid"}, {"issued_on": "2026-03-20"}, {"currency": "XYZ"}],
}
# What an attentive person would make of a row that was set aside.
CORRECTIONS = {
    "person": "ana",
    "worked_on": "2026-03-03",
    "is_billable": "yes",
    "is_approved": "yes",
    "entered_at": "",
    **dict.fromkeys(DURATIONS, ""),
    "seconds": "3600",
}


def merged(held: Rows, arriving: Rows, dataset: str) -> Rows:
    """Return what a source holds after a partial load, as it would export it whole."""
    gone = {model.identity(model.read_row(dataset, row)) for row in arriving}
    if dataset == "invoice_lines":
        reissued = {(row["invoice_id"] or "").strip() for row in arriving} - {""}
        kept = [row for row in held if (row["invoice_id"] or "").strip() not in reissued]
    else:
        kept = held
    return [row for row in kept if model.identity(model.read_row(dataset, row)) not in gone] + arriving


class Telling:
    """A firm while its history is drawn: what its source holds, and what it has not told yet."""

    def __init__(self, draw: Draw, firm: Sources) -> None:
        self.draw = draw
        later_ids = {
            invoice_id
            for invoice_id in sorted({(row["invoice_id"] or "").strip() for row in firm["invoices"]})
            if draw(one_in(3))
        }
        later_count = draw(up_to(min(6, len(firm["time_logs"]) - 1)))
        cut = len(firm["time_logs"]) - later_count
        self.later_logs = firm["time_logs"][cut:]
        self.later_invoices = [row for row in firm["invoices"] if (row["invoice_id"] or "").strip() in later_ids]
        self.later_lines = [row for row in firm["invoice_lines"] if (row["invoice_id"] or "").strip() in later_ids]
        self.held = firm | {
            "time_logs": firm["time_logs"][:cut],
            "invoices": [row for row in firm["invoices"] if row not in self.later_invoices],
            "invoice_lines": [row for row in firm["invoice_lines"] if row not in self.later_lines],
        }

    def take(self, sources: Sources) -> Sources:
        for dataset, rows in sources.items():
            self.held[dataset] = merged(self.held[dataset], rows, dataset)
        return sources

    def next_load(self) -> tuple[Sources, bool]:
        """Return what comes next, and whether it is declared whole."""
        kind = self.draw(some("date", "logs", "invoices", "supersede", "correct", "void", "reissue", "lines",
                              "withdraw", "whole", "again"))  # fmt: skip
        if kind == "withdraw":
            return self.withdraw(), True
        if kind in {"whole", "again"}:
            return {name: list(rows) for name, rows in self.held.items() if rows}, kind == "whole"
        tell = {
            "date": dict,
            "logs": self.more_logs,
            "invoices": self.more_invoices,
            "supersede": self.supersede,
            "correct": self.correct,
            "void": self.void,
            "reissue": self.reissue,
            "lines": self.change_lines,
        }[kind]
        return self.take(tell()), False

    def more_logs(self) -> Sources:
        rows, self.later_logs = self.later_logs, []
        return {"time_logs": rows} if rows else {}

    def more_invoices(self) -> Sources:
        invoices, lines = self.later_invoices, self.later_lines
        self.later_invoices, self.later_lines = [], []
        arriving = {"invoices": invoices, "invoice_lines": lines}
        return {name: rows for name, rows in arriving.items() if rows}

    def supersede(self) -> Sources:
        dataset = self.draw(some("time_logs", "time_logs", "contracts", "rates", "projects", "invoices"))
        if not self.held[dataset]:
            return {}
        row = self.draw(st.sampled_from(self.held[dataset]))
        return {dataset: [row | self.draw(st.sampled_from(CHANGES[dataset]))]}

    def correct(self) -> Sources:
        store = model.Store()
        store.load(self.held)
        bad_keys = {key for dataset, key, _ in model.reconcile(store, AS_OF).quarantine if dataset == "time_logs"}
        project_id = (self.held["projects"][0]["project_id"] or "") if self.held["projects"] else "P0"
        rows = {
            row["time_log_id"]: row | CORRECTIONS | {"project_id": project_id}
            for row in self.held["time_logs"]
            if (row["time_log_id"] or "").strip() in bad_keys - {""}
        }
        return {"time_logs": list(rows.values())} if rows else {}

    def void(self) -> Sources:
        if not self.held["invoices"]:
            return {}
        return {"invoices": [self.draw(st.sampled_from(self.held["invoices"])) | {"status": "void"}]}

    def reissue(self) -> Sources:
        """Void an invoice and bill the same again under a new number."""
        if not self.held["invoices"]:
            return {}
        old = self.draw(st.sampled_from(self.held["invoices"]))
        invoice_id = f"{(old['invoice_id'] or '').strip()}-R"
        lines = [
            row | {"invoice_id": invoice_id}
            for row in self.held["invoice_lines"]
            if (row["invoice_id"] or "").strip() == (old["invoice_id"] or "").strip()
        ]
        new = old | {"invoice_id": invoice_id, "status": "issued", "issued_on": "2026-03-29"}
        sources = {"invoices": [old | {"status": "void"}, new], "invoice_lines": lines}
        return {name: rows for name, rows in sources.items() if rows}

    def change_lines(self) -> Sources:
        """Send one invoice's lines again, one of them gone or changed."""
        invoice_ids = sorted({(row["invoice_id"] or "").strip() for row in self.held["invoice_lines"]} - {""})
        if not invoice_ids:
            return {}
        invoice_id = self.draw(st.sampled_from(invoice_ids))
        rows = [row for row in self.held["invoice_lines"] if (row["invoice_id"] or "").strip() == invoice_id]
        chosen = self.draw(up_to(len(rows) - 1))
        if len(rows) > 1 and self.draw(one_in(2)):
            return {"invoice_lines": rows[:chosen] + rows[chosen + 1 :]}
        return {"invoice_lines": [*rows[:chosen], rows[chosen] | {"net_amount": "42"}, *rows[chosen + 1 :]]}

    def withdraw(self) -> Sources:
        """Declare one data set whole without one of its rows."""
        dataset = self.draw(COMPLETE_SETS)
        rows = self.held[dataset]
        if len(rows) < 2:
            return {}
        gone = self.draw(up_to(len(rows) - 1))
        self.held[dataset] = rows[:gone] + rows[gone + 1 :]
        return {dataset: list(self.held[dataset])}


@st.composite
def histories(draw: Draw) -> list[Step]:
    """Return loads in sequence, each with the date that is then reconciled."""
    telling = Telling(draw, draw(firms()))
    as_of = AS_OF - dt.timedelta(days=draw(st.sampled_from([0, 10, 30, 60])))
    first = {name: list(rows) for name, rows in telling.held.items() if rows}
    steps = [Step(sources=first, complete=draw(one_in(2)), as_of=as_of)]
    for _ in range(1 + draw(up_to(5))):
        as_of += dt.timedelta(days=draw(st.sampled_from([0, 0, 1, 15, 31])))
        sources, complete = telling.next_load()
        steps.append(Step(sources=sources, complete=complete, as_of=as_of))
    return steps
