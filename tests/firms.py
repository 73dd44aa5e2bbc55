"""Random firms and random histories, as Hypothesis strategies.

Everything about a contract, or about a log and its bill, is drawn in one go, so that shrinking can drop it whole.
Bills are then derived from what the reference model says is owed: near misses (a cent off, short in hours, billed
twice) are as likely as the right amount. Faults are rare enough for most of a firm to be trusted.

Ids hold no `/` and no `|`: written keys and `about` are then unambiguous.
"""

import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypedDict

from hypothesis import strategies as st

from tests import reference_model as model
from tests.reference_model import COLUMNS, DURATIONS, KEY_COLUMNS, SCOPE, Rows, Sources

AS_OF = dt.date(2026, 3, 31)
FIRST_DAY = dt.date(2025, 12, 25)

Draw = Callable[..., object]
GivenRow = dict[str, str | None]
Cells = dict[str, str]


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


def faults(*, once_in: int, **cells_by_reason: list[Cells]) -> st.SearchStrategy[Cells]:
    """Return no cells, or once in a while cells that earn a row a reason, every reason as likely."""
    reasons = list(cells_by_reason.values())
    return one_in(once_in).flatmap(
        lambda is_faulty: st.sampled_from(reasons).flatmap(st.sampled_from) if is_faulty else st.just({})
    )


def row_of(dataset: str, **cells: str) -> GivenRow:
    """Return a row with every known column, blank where nothing is said."""
    unknown = set(cells) - set(COLUMNS[dataset])
    if unknown:
        raise KeyError(unknown)
    return {name: cells.get(name, "") for name in COLUMNS[dataset]}


def plain(number: Fraction) -> str:
    """Write a finite decimal without exponent."""
    return format(model.to_decimal(number), "f")


# --------------------------------------------------------------------------------------------------
# What cells may hold

PEOPLE = some("ana", "ana", "bo", "bo", "Zoë", "Zoe\u0308", "cy\x1b[31m", "李", "Ana")
ROLES = {"ana": "senior", "bo": "junior", "Zoë": "senior", "李": "junior"}
TASKS = some("", "build", "build", "travel", "Build")
# Byte order, UTF-16 order, locale order and case-blind order all differ on these.
PREFIXES = some("", "", "", "", "Z", "a", "é", "e\u0301", "\uff5e", "😀", "L-", "-")
NOTES = some(
    "", "", "", "call", "line\nbreak", 'say "hi", twice', "\x1b[2J", "\x07\x7f", "=1+1", "🎉", "|", "NULL", "'"
)
BILLABLE = some(*[""] * 8, "true", "Yes", "1", " TRUE ", "no")
APPROVED = some(*[""] * 8, "true", "YES", "1", " yes", "false")
PROJECT_BILLABLE = some(*[""] * 8, "true", "yes", "1", "True", "0")

UNREADABLE_NUMBERS = ("abc", "1,5", "NaN", "inf", "1e3", "3_600", "--1", ".", "0x10", "٣", "1 000", "12-", "½")
UNREADABLE_DATES = ("2026-02-30", "31/01/2026", "2026-2-3", "20260203", "2026-02-03T00:00", "soon", "\uff12026-01-01")
UNREADABLE_BOOLEANS = ("maybe", "y", "t", "2", "on", "wahr", "1.0")
UNREADABLE_INSTANTS = ("2026-01-05T25:00", "2026-01-05 9:00", "2026-01-05T09:00+1", "yesterday", "2026-01-05T09:00 Z",
                       "2026-01-05T09:00:00,5", "2026-01-05Z", "2026-13-05T09:00")  # fmt: skip

CURRENCIES = some("USD", "USD", "EUR", "EUR", "JPY", "KWD")
HOURLY_RATES = {
    "JPY": some("8000", "12500", "7333", "9999.9999"),
    "KWD": some("30", "27.125", "41.6667", "199.9999"),
}
DEFAULT_HOURLY_RATES = some("100", "95.5", "87", "120.1234", "150.25", "33.33", "100", "95.5", " 80.", "+60.50",
                            "199.9999", "0")  # fmt: skip


NO_DURATION = dict.fromkeys(DURATIONS, "")


@dataclass(frozen=True)
class Way:
    """One of the ways there are to write a duration."""

    unit: str
    decimals: int = 0
    ending: str = ""


WAYS = st.sampled_from(
    [
        *[Way("seconds")] * 6,
        *(Way("minutes", decimals) for decimals in (0, 2, 4)),
        *(Way("hours", decimals) for decimals in (2, 4, 6)),
        *[Way("duration")] * 2,
        Way("clock"),
        *(Way("seconds", ending=ending) for ending in (".0", ".", ".4", ".49", ".5", ".5000")),
    ]
)


def duration_cells(way: Way, seconds: int) -> Cells:
    """Write seconds, now and then changed by the decimals they are given."""
    if way.unit == "minutes":
        return {"minutes": plain(model.round_half_away(Fraction(seconds, 60), way.decimals))}
    if way.unit == "hours":
        return {"hours": plain(model.round_half_away(Fraction(seconds, 3600), way.decimals))}
    if way.unit == "duration" and seconds >= 0:
        return {"duration": f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"}
    if way.unit == "clock" and seconds >= 60:
        return {"duration": f"{seconds // 3600:02}:{seconds // 60 % 60:02}"}
    return {"seconds": f"{seconds}{way.ending}"}


@dataclass(frozen=True)
class Twin:
    """A second row beside one: the same by value but for blanks, or another version."""

    change: Cells
    before: str = ""
    after: str = ""

    def of(self, row: GivenRow) -> GivenRow:
        # A contract's row text decides between versions; its last columns decide it last.
        names = [name for name in row if row[name]][-2:]
        return row | {name: f"{self.before}{row[name]}{self.after}" for name in names} | self.change


def twins(*changes: Cells, once_in: int = 8) -> st.SearchStrategy[Twin | None]:
    paddings = [(" ", ""), ("", " "), ("\t", "\n"), ("\xa0", "\u2003"), ("", "\x1f")]
    found = [*(Twin({}, *padding) for padding in paddings), *map(Twin, changes)]
    return st.sampled_from([None] * len(found) * (once_in - 1) + found)


# --------------------------------------------------------------------------------------------------
# Contracts, with their projects, rates, invoices

CONTRACT_FAULTS = faults(
    once_in=5,
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
        {"currency": "EUR", "threshold_amount": "250.005"},
        {"currency": "EUR", "threshold_amount": "-0.005"},
        {"currency": "JPY", "threshold_amount": "99.5", "cap_amount": "600.50"},
        {"currency": "KWD", "cap_amount": "-10.0005"},
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
CONTRACT_TWINS = twins(
    {"client": "Somebody else"},
    {"starts_on": "2026-01-20"},
    {"ends_on": "2026-01-05"},
    {"billing_model": "fixed_price"},
    {"currency": "GBP", "cap_amount": "", "threshold_amount": "5.05"},
    {"contract_id": ""},
    once_in=14,
)
STARTS = some("2025-11-01", "2025-11-01", "2025-11-01", "2026-01-01", "2026-01-11", "2024-11-27", " 2025-12-01 ")
ENDS = some(*[""] * 6, "2026-03-22", "2027-05-16", "9999-12-31")


@st.composite
def contract_rows(draw: Draw) -> GivenRow:
    """Return the terms of one sound contract."""
    currency = draw(CURRENCIES)
    cap_amounts = {"JPY": some(*[""] * 5, "90000"), "KWD": some(*[""] * 5, "250.125", "1000.000")}
    thresholds = {"JPY": some("", "", "60000", "0.0"), "KWD": some("", "", "200.005")}
    return row_of(
        "contracts",
        client=draw(some("Acme", "Globex", "Ünlü & Söhne", " Acme")),
        currency=currency,
        billing_model=draw(some(*[""] * 4, "time_and_materials", "fixed_price")),
        starts_on=draw(STARTS),
        ends_on=draw(ENDS),
        rounding_minutes=draw(some("", "0", "6", "15", "15.0", "30")),
        rounding_mode=draw(some("", "up", "nearest", "down")),
        rounding_unit=draw(some("", "entry", "day", "day")),
        minimum_minutes=draw(some("", "0", "0", "15", "60")),
        overtime_after_minutes=draw(some("", "", "", "240", "480", "0")),
        overtime_multiplier=draw(some("", "1.5", "2", "1.3333", "1.")),
        weekend_multiplier=draw(some("", "", "1.25", "2", ".5")),
        prepaid_minutes=draw(some(*[""] * 5, "0", "60", "120", "240")),
        prepaid_period=draw(some("", "month", "lifetime")),
        cap_minutes=draw(some(*[""] * 6, "300", "600", "600", "1200", "2400")),
        cap_amount=draw(
            cap_amounts.get(currency, some(*[""] * 6, "750", "1000.00", "2000.50", "0", "999999999999.99"))
        ),
        cap_period=draw(some("", "month", "lifetime")),
        discount_percent=draw(some(*[""] * 4, "0", "5", "12.5", "12.5", "33.3333", "33.3333", "15.00", "100")),
        grace_days=draw(some(*[""] * 4, "0", "7", "30", "90", "999999999")),
        grace_from=draw(some("", "worked_on", "month_end")),
        threshold_amount=draw(thresholds.get(currency, some("", "", "", "250", "0", "10000", "400.50", "10000000000"))),
    )


PROJECT_FAULTS = faults(
    once_in=14,
    unparseable_value=[{"is_billable": "maybe"}],
    unknown_contract=[{"contract_id": "C-ghost"}],
    missing_value=[{"contract_id": ""}, {"project_id": ""}],
)
PROJECT_TWINS = twins({"name": "other"}, {"is_billable": "no", "name": "other"}, once_in=14)


@dataclass(frozen=True)
class ProjectPlan:
    """One project of a contract, maybe shared with another, and what is wrong with its row."""

    prefix: str
    cells: Cells
    shared_with: int | None
    fault: Cells
    twin: Twin | None


@st.composite
def project_plans(draw: Draw) -> ProjectPlan:
    cells = {"name": draw(some("", "Site", "Site\x1b[0m", "移行")), "is_billable": draw(PROJECT_BILLABLE)}
    shared_with = draw(st.sampled_from([None, None, None, 1, 2]))
    return ProjectPlan(draw(PREFIXES), cells, shared_with, draw(PROJECT_FAULTS), draw(PROJECT_TWINS))


RATE_FAULTS = faults(
    once_in=12,
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
RATE_SCOPES = st.sampled_from(
    [
        {},
        {"person": "ana"},
        {"person": "bo"},
        {"person": "Zoë"},
        {"role": "senior"},
        {"role": "junior"},
        {"task": "build"},
        {"task": "travel"},
        {"project_id": "own"},
        {"project_id": "own", "task": "build"},
        {"person": "ana", "role": "senior"},
        {"person": "ana", "task": "build", "project_id": "own"},
        {"role": "senior", "task": "build"},
    ]
)
RATE_WINDOWS = st.sampled_from(
    [
        {"valid_from": "2025-12-01"},
        {"valid_from": "2025-12-01"},
        {"valid_from": "2026-01-15"},
        {"valid_from": "2026-02-15"},
        {"valid_from": "2025-12-01", "valid_to": "2026-02-15"},
        {"valid_from": "2026-01-15", "valid_to": "2026-03-16"},
    ]
)
BASE_WINDOWS = st.sampled_from(
    [
        *[{"valid_from": "2024-01-01"}] * 10,
        {"valid_from": "2026-01-21"},
        {"valid_from": "2024-01-01", "valid_to": "2026-03-02"},
    ]
)


@st.composite
def rate_rows(draw: Draw, hourly_rates: st.SearchStrategy[str]) -> list[Cells]:
    """Return one special rate, now and then contradicted or repeated."""
    rate = draw(RATE_SCOPES) | draw(RATE_WINDOWS) | {"hourly_rate": draw(hourly_rates)}
    if draw(one_in(8)):
        return [rate, rate | {"hourly_rate": draw(hourly_rates)}]
    return [rate | draw(RATE_FAULTS)]


INVOICE_FAULTS = faults(
    once_in=8,
    missing_value=[{"status": ""}, {"contract_id": ""}, {"currency": ""}, {"invoice_id": ""}],
    unparseable_value=[{"issued_on": "31/01/2026"}, {"issued_on": "2026-02-29"}],
    unknown_choice=[{"status": "lost"}, {"status": "Paid"}],
    unknown_contract=[{"contract_id": "C-ghost"}],
    unknown_currency=[{"currency": "XYZ"}, {"currency": "eur"}],
)
LINE_FAULTS = faults(
    once_in=3,
    missing_value=[{"invoice_id": ""}, {"line_no": ""}, {"net_amount": ""}],
    unknown_invoice=[{"invoice_id": "INV-ghost"}],
    unknown_choice=[{"kind": "gift"}, {"kind": "Time"}],
    unparseable_value=[
        {"line_no": "x"},
        {"line_no": "1.5"},
        {"net_amount": "1,5"},
        {"net_amount": "10.00001"},
        {"net_amount": "-99999999999.99999"},
        {"period_start": "2026-02-30"},
        {"period_end": "2026-1-1"},
        NO_DURATION | {"seconds": "x"},
        NO_DURATION | {"seconds": "60", "minutes": "1"},
    ],
)
INVOICE_TWINS = twins({"issued_on": "2026-03-30"}, {"currency": "CHF"}, {"contract_id": "C1"}, once_in=25)
LINE_TWINS = twins(
    {"net_amount": "77"}, {"net_amount": "-10000000000"}, {"kind": "other"}, {"task": "another"}, once_in=5
)
STATUSES = some("issued", "paid", "issued", "void", "paid", "void", "draft")
ISSUED = some("2026-02-28", "2026-01-31", "2026-03-15", "2026-01-10", "", " 2026-03-31")
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
POOL_SCOPES = st.sampled_from(
    [(), (), ("project_id",), ("person",), ("task",), ("role",), ("person", "task"), ("role", "project_id"), SCOPE]
)
FACTORS = st.sampled_from([Fraction(text) for text in ("1", "1", "1", "0.5", "0.75", "1.1", "-1", "0")])
SHARES = st.sampled_from(
    [None if text == "" else Fraction(text) for text in ("1", "1", "1", "0.5", "1.5", "0", "-1", "")]
)
SECOND_FACTORS = st.sampled_from(
    [None if text == "" else Fraction(text) for text in ("", "", "", "0.25", "-0.25", "-1", "0.5")]
)


@dataclass(frozen=True)
class InvoiceHead:
    """One invoice without its lines."""

    prefix: str
    status: str
    is_foreign: bool
    issued_on: str
    fault: Cells
    twin: Twin | None


@dataclass(frozen=True)
class Pen:
    """On which invoice of a kind a line is written, and how."""

    kind_of_invoice: str
    pick: int
    way: Way


@dataclass(frozen=True)
class PoolPlan:
    """Hours billed in one go: rightly, wrongly, or for nobody."""

    like: int
    scope: tuple[str, ...]
    period: tuple[str, str]
    amount_factor: Fraction
    seconds_share: Fraction | None
    second_line_factor: Fraction | None
    pen: Pen


@dataclass(frozen=True)
class OddPlan:
    """A line for a log that is not there to be billed (`kind` blank), or one that is not about time."""

    log: int
    kind: str
    amount: int
    seconds: int | None
    pen: Pen


@dataclass(frozen=True)
class ContractPlan:
    """Everything about one contract but its ids."""

    prefix: str
    row: GivenRow
    follows: str
    twin: Twin | None
    projects: list[ProjectPlan]
    rates: list[Cells]
    invoices: list[InvoiceHead]
    pools: list[PoolPlan]
    odd_lines: list[OddPlan]


PENS = st.builds(Pen, some("live", "live", "live", "live", "void", "draft", "foreign"), up_to(15), WAYS)
INVOICE_HEADS = st.builds(InvoiceHead, PREFIXES, STATUSES, one_in(10), ISSUED, INVOICE_FAULTS, INVOICE_TWINS)
POOL_PLANS = st.builds(PoolPlan, up_to(15), POOL_SCOPES, PERIODS, FACTORS, SHARES, SECOND_FACTORS, PENS)
ODD_PLANS = st.builds(
    OddPlan,
    up_to(15),
    some("", "", "", "expense", "fixed", "prepaid", "other"),
    st.sampled_from([120, 45, -30, 0, 250]),
    st.sampled_from([3600, None, -3600]),
    PENS,
)
INVOICE_LISTS = st.lists(INVOICE_HEADS, min_size=1, max_size=4)
POOL_LISTS = st.lists(POOL_PLANS, max_size=2)
ODD_LISTS = st.lists(ODD_PLANS, max_size=3)
PROJECT_LISTS = st.lists(project_plans(), min_size=1, max_size=2)
RATE_LISTS = {
    currency: st.lists(rate_rows(HOURLY_RATES.get(currency, DEFAULT_HOURLY_RATES)), max_size=3)
    for currency in ("USD", "EUR", "JPY", "KWD")
}


@st.composite
def contract_plans(draw: Draw) -> ContractPlan:
    row = draw(contract_rows())
    currency = row["currency"] or ""
    base = {"hourly_rate": draw(HOURLY_RATES.get(currency, DEFAULT_HOURLY_RATES))} | draw(BASE_WINDOWS)
    rates = [] if draw(one_in(14)) else [base]
    for special in draw(RATE_LISTS[currency]):
        rates += special
    return ContractPlan(
        prefix=draw(PREFIXES),
        row=row | draw(CONTRACT_FAULTS),
        follows=draw(some("", "", "", "2026-01-31", "2026-02-10")),
        twin=draw(CONTRACT_TWINS),
        projects=draw(PROJECT_LISTS),
        rates=rates,
        invoices=draw(INVOICE_LISTS),
        pools=draw(POOL_LISTS),
        odd_lines=draw(ODD_LISTS),
    )


def put_together(plans: list[ContractPlan]) -> tuple[Sources, list[str]]:
    """Return contracts, projects and rates, and the ids of contracts, which are sound."""
    contract_ids = [f"{plan.prefix}C{index}" for index, plan in enumerate(plans, start=1)]
    contracts: Rows = [plan.row | {"contract_id": name} for plan, name in zip(plans, contract_ids, strict=True)]
    projects: Rows = []
    rates: Rows = []
    for index, plan in enumerate(plans):
        follows = plan.follows if index else ""
        if follows:  # takes over from the contract before
            contracts[index - 1]["ends_on"] = follows
            contracts[index]["starts_on"] = (dt.date.fromisoformat(follows) + dt.timedelta(days=1)).isoformat()
        for number, project in enumerate(plan.projects):
            members = {index}
            if project.shared_with:
                members.add((index + project.shared_with) % len(plans))
            if follows:
                members.add(index - 1)
            rows = [
                row_of(
                    "projects",
                    project_id=f"{project.prefix}P{index}-{number}",
                    contract_id=contract_ids[member],
                    **project.cells,
                )
                for member in sorted(members)
            ]
            projects += with_twin(rows[0], project.twin) + rows[1:]
            if not project.fault.keys().isdisjoint(KEY_COLUMNS["projects"]):
                projects.append(rows[0] | project.fault)  # beside the sound row, which many others need
            else:
                rows[0].update(project.fault)
        own_id = f"{plan.projects[0].prefix}P{index}-0"
        for cells in plan.rates:
            own = {"project_id": own_id} if cells.get("project_id") else {}
            rates.append(row_of("rates", **({"contract_id": contract_ids[index]} | cells | own)))
    for plan, row in zip(plans, list(contracts), strict=True):
        contracts += with_twin(row, plan.twin)[1:]
    return {"contracts": contracts, "projects": projects, "rates": rates}, contract_ids


def with_twin(row: GivenRow, twin: Twin | None) -> Rows:
    return [row] if twin is None else [row, twin.of(row)]


# --------------------------------------------------------------------------------------------------
# Time logs, with their bills

SECONDS = st.sampled_from([3600, 5400, 900, 7200, 28800, 59, 1, 3601, 1799, 10845, 24692, 14400, 21600, 86400])
LOG_FAULTS = faults(
    once_in=9,
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
LOG_TWINS = twins({"note": "another version"}, {"task": "another"}, {"is_approved": "0"}, once_in=25)
PLANS = some("right", "none", "right", "right", "cent more", "cent less", "two cents", "short hours", "short rate",
             "short both", "over hours", "over rate", "double", "double", "halves", "no hours", "draft", "foreign",
             "credited", "credit", "void", "void", "zero", *["pooled"] * 10)  # fmt: skip
ENTERED = st.sampled_from(
    [
        *[None] * 8,
        (0, ""),
        (0, " 23:30:15.25-01:00"),
        (1, "T00:15+02:00"),
        (1, "T10:00:00Z"),
        (7, " 23:59Z"),
        (30, "T10:00"),
        (50, ""),
        (50, "T23:59:59.999999"),
    ]
)


@dataclass(frozen=True)
class Entry:
    """One log, and how it is billed."""

    prefix: str
    cells: Cells
    elsewhere: tuple[int, str] | None  # on another project and task than the day's
    entered: tuple[int, str] | None  # days after the work, and how the time is written
    has_role: bool
    fault: Cells
    twin: Twin | None
    plan: str
    pen: Pen


@dataclass(frozen=True)
class WorkDay:
    """What one person booked on one day, mostly on one project."""

    person: str
    worked_on: dt.date
    project: int
    task: str
    entries: list[Entry]


@st.composite
def entries(draw: Draw) -> Entry:
    cells = {"is_billable": draw(BILLABLE), "is_approved": draw(APPROVED), "note": draw(NOTES)}
    return Entry(
        prefix=draw(PREFIXES),
        cells=cells | duration_cells(draw(WAYS), draw(SECONDS)),
        elsewhere=(draw(up_to(9)), draw(TASKS)) if draw(one_in(4)) else None,
        entered=draw(ENTERED),
        has_role=draw(one_in(2)),
        fault=draw(LOG_FAULTS),
        twin=draw(LOG_TWINS),
        plan=draw(PLANS),
        pen=Pen("live", draw(up_to(15)), draw(WAYS)),
    )


WORK_DAYS = st.builds(
    WorkDay,
    PEOPLE,
    up_to(95).map(lambda offset: FIRST_DAY + dt.timedelta(days=offset)),
    up_to(9),
    TASKS,
    st.lists(entries(), min_size=1, max_size=4),
)


def write_logs(days: list[WorkDay], project_ids: list[str]) -> tuple[Rows, dict[str, Entry]]:
    """Return the logs, and by id how each is to be billed."""
    rows: Rows = []
    by_id = {}
    for day in days:
        for entry in day.entries:
            project, task = entry.elsewhere or (day.project, day.task)
            time_log_id = f"{entry.prefix}L{len(by_id)}"
            entered_at = ""
            if entry.entered:
                entered_on = day.worked_on + dt.timedelta(days=entry.entered[0])
                entered_at = entered_on.isoformat() + entry.entered[1]
            row = row_of(
                "time_logs",
                time_log_id=time_log_id,
                project_id=project_ids[project % len(project_ids)],
                person=day.person,
                role=ROLES.get(day.person, "") if entry.has_role else "",
                task=task,
                worked_on=day.worked_on.isoformat(),
                entered_at=entered_at,
                **entry.cells,
            )
            by_id[time_log_id] = entry
            rows += with_twin(row | entry.fault, entry.twin)
    return rows, by_id


# --------------------------------------------------------------------------------------------------
# Bills


class Billing:
    """The invoices of one contract while they are written."""

    def __init__(self, contract_id: str, currency: str, index: int, heads: list[InvoiceHead]) -> None:
        self.decimals = model.MINOR_UNITS[currency]
        self.cent = Fraction(1, 10**self.decimals)
        self.invoices: Rows = []
        self.lines: dict[str, Rows] = {}
        self.by_kind: dict[str, list[str]] = {"live": [], "void": [], "draft": [], "foreign": []}
        for number, head in enumerate(heads):
            invoice_id = f"{head.prefix}INV{index}-{number}"
            row = row_of(
                "invoices",
                invoice_id=invoice_id,
                contract_id=contract_id,
                currency="GBP" if head.is_foreign else currency,
                issued_on=head.issued_on,
                status=head.status,
            )
            self.invoices += with_twin(row | head.fault, head.twin)
            self.lines[invoice_id] = []
            kind = "live" if head.status in {"issued", "paid"} else head.status
            self.by_kind["foreign" if head.is_foreign else kind].append(invoice_id)

    def line(self, pen: Pen, amount: Fraction, seconds: int | None, *, kind_of_invoice: str = "", **cells: str) -> None:
        """Write a line on an invoice of that kind, or on any where there is none."""
        candidates = self.by_kind[kind_of_invoice or pen.kind_of_invoice] or list(self.lines)
        rows = self.lines[candidates[pen.pick % 4 % len(candidates)]]
        number = len(rows) + 1
        line_no = [f"{number}"] * 12 + [f"0{number}", f"{number}.0", f"+{number}", f"{number}."]
        net_amount = plain(model.round_half_away(amount, self.decimals))
        invoice_id = next(name for name, held in self.lines.items() if held is rows)
        row = row_of("invoice_lines", invoice_id=invoice_id, line_no=line_no[pen.pick], net_amount=net_amount, **cells)
        rows.append(row if seconds is None else row | duration_cells(pen.way, seconds))

    def bill(self, one: model.EligibleLog, entry: Entry) -> None:
        """Bill one log in one of the ways in which it goes right or wrong."""
        owed, seconds, plan = one.owed_amount, one.payable_seconds, entry.plan
        half_amount, half_seconds = model.round_half_away(owed / 2, 0), seconds // 2
        near: dict[str, list[tuple[Fraction, int | None]]] = {
            "right": [(owed, seconds)],
            "cent more": [(owed + self.cent, seconds)],
            "cent less": [(owed - self.cent, seconds)],
            "two cents": [(owed - 2 * self.cent, seconds)],
            "short hours": [(half_amount, half_seconds)],
            "short rate": [(half_amount, seconds)],
            "short both": [(half_amount / 2, half_seconds)],
            "over hours": [(owed * 2, seconds + 1800)],
            "over rate": [(owed + 20, seconds)],
            "no hours": [(owed / 2, None)],
            "zero": [(Fraction(0), 0)],
            "credit": [(-half_amount - 1, -half_seconds)],
            "halves": [(owed / 2, half_seconds), (owed / 2, seconds - half_seconds)],
            "credited": [(owed, seconds), (-owed, -seconds)],
            "double": [(owed, seconds), (owed, seconds)],
            "void": [(owed, seconds)],
            "draft": [(owed, seconds)],
            "foreign": [(owed, seconds)],
        }
        for nth, (amount, line_seconds) in enumerate(near.get(plan, [])):
            pen = Pen("live", (entry.pen.pick + nth) % 16 if plan == "double" else entry.pen.pick, entry.pen.way)
            kind = plan if plan in {"void", "draft", "foreign"} else "live"
            self.line(pen, amount, line_seconds, kind_of_invoice=kind, time_log_id=one.log.time_log_id)

    def pool(self, plan: PoolPlan, members: list[model.EligibleLog]) -> None:
        cells = dict(zip(("period_start", "period_end"), plan.period, strict=True))
        if members:
            like = members[plan.like % len(members)].log.scope
            cells |= {name: value or "" for name, value in zip(SCOPE, like, strict=True) if name in plan.scope}
        members = [one for one in members if speaks_of(cells, one.log)]
        amount = model.add_up(one.owed_amount for one in members) or Fraction(150)
        seconds = sum(one.payable_seconds for one in members) or 5400
        share = plan.seconds_share
        self.line(plan.pen, amount * plan.amount_factor, None if share is None else int(seconds * share), **cells)
        if plan.second_line_factor is not None:
            factor = plan.second_line_factor
            self.line(plan.pen, amount * factor, int(seconds * factor), **cells)

    def odd(self, plan: OddPlan, stray_ids: list[str]) -> None:
        cells = {"kind": plan.kind} if plan.kind else {"time_log_id": stray_ids[plan.log % len(stray_ids)]}
        self.line(plan.pen, Fraction(plan.amount), plan.seconds, **cells)


def speaks_of(cells: Cells, log: model.Log) -> bool:
    """Whether a pool's cells match a log."""
    is_within = (
        (cells["period_start"] or "0001-01-01") <= log.worked_on.isoformat() <= (cells["period_end"] or "9999-12-31")
    )
    return is_within and all(cells.get(name, "") in {"", value} for name, value in zip(SCOPE, log.scope, strict=True))


def write_bills(firm: Sources, plans: dict[str, ContractPlan], by_id: dict[str, Entry]) -> tuple[Rows, Rows]:
    """Return invoices and lines for a firm, from what the model says is owed."""
    store = model.Store()
    store.load(firm)
    result = model.reconcile(store, AS_OF)
    all_ids = sorted({row["time_log_id"] or "" for row in firm["time_logs"]} - {""})
    invoices: Rows = []
    lines: Rows = []
    for index, (contract_id, plan) in enumerate(plans.items()):
        currency = str(result.positions[contract_id]["currency"])
        currency = currency if currency in model.MINOR_UNITS else "USD"
        billing = Billing(contract_id, currency, index, plan.invoices)
        owed = {name: one for name, (owner, one) in result.eligible.items() if owner == contract_id}
        for time_log_id, one in owed.items():
            billing.bill(one, by_id[time_log_id])
        pooled = [one for time_log_id, one in owed.items() if by_id[time_log_id].plan == "pooled"]
        for pool in plan.pools:
            billing.pool(pool, pooled)
        for odd in plan.odd_lines:
            billing.odd(odd, [*[name for name in all_ids if name.strip() not in owed][:7], "L-ghost"])
        invoices += billing.invoices
        lines += [row for rows in billing.lines.values() for row in rows]
    return invoices, lines


# --------------------------------------------------------------------------------------------------
# Whole firms

CONTRACT_LISTS = st.lists(contract_plans(), min_size=1, max_size=5)
DAY_LISTS = {count: st.lists(WORK_DAYS, min_size=count, max_size=24) for count in (1, 5, 12)}
SPOILT_LINES = st.lists(st.tuples(up_to(63), LINE_FAULTS, LINE_TWINS), max_size=3)


@st.composite
def firms(draw: Draw) -> Sources:
    """Return a whole firm: the six data sets, every known column in every row."""
    plans = draw(CONTRACT_LISTS)
    firm, contract_ids = put_together(plans)
    project_ids = [row["project_id"] or "" for row in firm["projects"] if row["project_id"]]
    days = draw(DAY_LISTS[draw(st.sampled_from([1, 5, 5, 12]))])
    firm["time_logs"], by_id = write_logs(days, sorted(set(project_ids)))
    invoices, lines = write_bills(firm, dict(zip(contract_ids, plans, strict=True)), by_id)
    for pick, fault, twin in draw(SPOILT_LINES):
        if lines:
            row = lines[pick % len(lines)]
            lines += with_twin(row, twin)[1:]
            row.update(fault)
    return firm | {"invoices": invoices, "invoice_lines": lines}


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
        if kind == "date":
            return {}, False
        tell = {
            "logs": self.more_logs,
            "invoices": self.more_invoices,
            "supersede": self.supersede,
            "correct": self.correct,
            "void": self.void,
            "reissue": self.reissue,
            "lines": self.change_lines,
        }[kind]
        return self.take(tell() or self.supersede()), False

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
