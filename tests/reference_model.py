"""The billing rules once more: plain Python and fractions, one row at a time, no SQL.

Written from the rules page alone, so that it can disagree with the views. Speed comes second:
every function follows a numbered passage of the rules, in its order and in its words.
"""

import calendar
import datetime as dt
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

Rows = list[dict[str, str | None]]
Sources = dict[str, Rows]
Value = str | int | bool | Fraction | dt.date | dt.datetime
Finding = dict[str, str | Decimal | None]

# --------------------------------------------------------------------------------------------------
# Section 1: columns, cells

COLUMNS: dict[str, tuple[str, ...]] = {
    "contracts": (
        "contract_id", "client", "currency", "billing_model", "starts_on", "ends_on", "rounding_minutes",
        "rounding_mode", "rounding_unit", "minimum_minutes", "overtime_after_minutes", "overtime_multiplier",
        "weekend_multiplier", "prepaid_minutes", "prepaid_period", "cap_minutes", "cap_amount", "cap_period",
        "discount_percent", "grace_days", "grace_from", "threshold_amount",
    ),
    "projects": ("project_id", "contract_id", "name", "is_billable"),
    "rates": ("contract_id", "project_id", "person", "role", "task", "hourly_rate", "valid_from", "valid_to"),
    "time_logs": (
        "time_log_id", "project_id", "person", "role", "task", "worked_on", "seconds", "minutes", "hours", "duration",
        "is_billable", "is_approved", "entered_at", "note",
    ),
    "invoices": ("invoice_id", "contract_id", "currency", "issued_on", "status"),
    "invoice_lines": (
        "invoice_id", "line_no", "kind", "time_log_id", "project_id", "person", "role", "task", "period_start",
        "period_end", "seconds", "minutes", "hours", "duration", "net_amount",
    ),
}  # fmt: skip
KEY_COLUMNS: dict[str, tuple[str, ...]] = {
    "contracts": ("contract_id",),
    "projects": ("project_id", "contract_id"),
    "rates": ("contract_id", "project_id", "person", "role", "task", "valid_from"),
    "time_logs": ("time_log_id",),
    "invoices": ("invoice_id",),
    "invoice_lines": ("invoice_id", "line_no"),
}
REQUIRED: dict[str, tuple[str, ...]] = {
    "contracts": ("contract_id", "client", "currency", "starts_on"),
    "projects": ("project_id", "contract_id"),
    "rates": ("contract_id", "hourly_rate", "valid_from"),
    "time_logs": ("time_log_id",),
    "invoices": ("invoice_id", "contract_id", "currency", "status"),
    "invoice_lines": ("invoice_id", "line_no", "net_amount"),
}
SCOPE_WEIGHTS = {"project_id": 1, "person": 8, "role": 2, "task": 4}
SCOPE = tuple(SCOPE_WEIGHTS)
DURATIONS = ("seconds", "minutes", "hours", "duration")
CHOICES: dict[str, tuple[str, ...]] = {  # the default first; an invoice's status has none
    "billing_model": ("time_and_materials", "fixed_price"),
    "rounding_mode": ("up", "nearest", "down"),
    "rounding_unit": ("entry", "day"),
    "prepaid_period": ("lifetime", "month"),
    "cap_period": ("lifetime", "month"),
    "grace_from": ("worked_on", "month_end"),
    "status": ("draft", "issued", "paid", "void"),
    "kind": ("time", "expense", "fixed", "prepaid", "other"),
}

_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
    CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN
    NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC
    SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_UNITS = {currency: decimals for decimals, currencies in _DECIMALS.items() for currency in currencies.split()}

_NUMBER = re.compile(r"([+-]?)(?:([0-9]+)\.?([0-9]*)|\.([0-9]+))")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]+)?)?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))?"
)
_DURATION = re.compile(r"([0-9]+):([0-5][0-9])(?::([0-5][0-9]))?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class UnreadableError(ValueError):
    """The cell holds something, but nothing that its column can hold."""


class FailedFeedError(Exception):
    """A required source delivered nothing at all: the product halts with a DataIntegrityError."""


class BrokenBalanceError(Exception):
    """A control total of section 8 does not hold."""


def read_text(text: str) -> str:
    return text


def read_number(text: str) -> Fraction:
    match = _NUMBER.fullmatch(text)
    if not match:
        raise UnreadableError(text)
    sign, whole, decimals, only_decimals = match.groups()
    digits = only_decimals if whole is None else decimals
    number = Fraction(int((whole or "") + digits), 10 ** len(digits))
    return -number if sign == "-" else number


def read_whole(text: str) -> int:
    number = read_number(text)
    if number.denominator != 1:
        raise UnreadableError(text)
    return int(number)


def read_four_decimals(text: str) -> Fraction:
    number = read_number(text)
    if not fits_decimals(number, 4):
        raise UnreadableError(text)
    return number


def read_date(text: str) -> dt.date:
    match = _DATE.fullmatch(text)
    if not match:
        raise UnreadableError(text)
    try:
        return dt.date(*map(int, match.groups()))
    except ValueError as error:
        raise UnreadableError(text) from error


def read_instant(text: str) -> dt.datetime:
    """Read a moment in UTC. A bare date is its midnight."""
    if _DATE.fullmatch(text):
        return dt.datetime.combine(read_date(text), dt.time())
    match = _INSTANT.fullmatch(text)
    if not match:
        raise UnreadableError(text)
    day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        local = dt.datetime.combine(read_date(day), dt.time(int(hour), int(minute), int(second or 0)))
        local += dt.timedelta(microseconds=int((fraction or ".0")[1:7].ljust(6, "0")))
        if sign is None:
            return local
        dt.time(int(offset_hours), int(offset_minutes))  # an offset reads like a time of day
        offset = dt.timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
        return local - offset if sign == "+" else local + offset
    except (ValueError, OverflowError) as error:
        raise UnreadableError(text) from error


def read_boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise UnreadableError(text)
    return _BOOLEANS[text.lower()]


def read_clock_duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if not match:
        raise UnreadableError(text)
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)


def read_duration_in(unit_seconds: int) -> Callable[[str], int]:
    return lambda text: int(round_half_away(read_number(text) * unit_seconds, 0))


READERS: dict[str, Callable[[str], Value]] = {
    **dict.fromkeys(("hourly_rate", "overtime_multiplier", "weekend_multiplier"), read_four_decimals),
    "discount_percent": read_four_decimals,
    **dict.fromkeys(("rounding_minutes", "minimum_minutes", "overtime_after_minutes", "prepaid_minutes"), read_whole),
    **dict.fromkeys(("cap_minutes", "grace_days", "line_no"), read_whole),
    **dict.fromkeys(("cap_amount", "threshold_amount", "net_amount"), read_number),  # decimals: see excess_decimals
    **dict.fromkeys(("starts_on", "ends_on", "valid_from", "valid_to", "worked_on"), read_date),
    **dict.fromkeys(("issued_on", "period_start", "period_end"), read_date),
    **dict.fromkeys(("is_billable", "is_approved"), read_boolean),
    "entered_at": read_instant,
    "seconds": read_duration_in(1),
    "minutes": read_duration_in(60),
    "hours": read_duration_in(3600),
    "duration": read_clock_duration,
}  # fmt: skip


def fits_decimals(number: Fraction, decimals: int) -> bool:
    return 10**decimals % number.denominator == 0


def round_half_away(number: Fraction, decimals: int) -> Fraction:
    """Round once, half away from zero."""
    scale = 10**decimals
    units = (2 * abs(number.numerator) * scale + number.denominator) // (2 * number.denominator)
    return Fraction(units if number >= 0 else -units, scale)


def add_up(amounts: Iterable[Fraction]) -> Fraction:
    return sum(amounts, Fraction(0))


def to_decimal(number: Fraction) -> Decimal:
    """Write an exact decimal number as one; every amount here is one."""
    decimals = 0
    while not fits_decimals(number, decimals):
        decimals += 1
    return Decimal(int(number * 10**decimals)).scaleb(-decimals)


@dataclass(frozen=True)
class Row:
    """One received row: cells as given, and what they say."""

    dataset: str
    cells: dict[str, str]  # known columns as given, '' where absent
    values: dict[str, Value | None]  # None where blank or unreadable
    unreadable: frozenset[str]  # columns
    content: tuple[Value | None, ...]  # what two rows are compared by
    key: tuple[str, ...]

    def has_blank_key(self) -> bool:
        """A rate's scope may be blank; the other key cells are required ones."""
        required = REQUIRED[self.dataset]
        return any(not part for name, part in zip(KEY_COLUMNS[self.dataset], self.key, strict=True) if name in required)

    def text(self, column: str) -> str | None:
        value = self.values[column]
        return value if isinstance(value, str) else None

    def date(self, column: str) -> dt.date | None:
        value = self.values[column]
        return value if isinstance(value, dt.date) else None

    def number(self, column: str) -> Fraction | None:
        value = self.values[column]
        return Fraction(value) if isinstance(value, int | Fraction) else None

    def is_true(self, column: str) -> bool:
        return self.values[column] is not False  # every boolean of section 1 is true by default

    def seconds(self) -> int | None:
        """Return the one duration given; None where none is, where it is unreadable, or where more than one is."""
        return next((value for name in DURATIONS if isinstance(value := self.values[name], int)), None)

    def written_key(self) -> str:
        return "/".join(self.key)

    def row_text(self) -> str:
        return "|".join(self.cells[name] for name in COLUMNS[self.dataset])


def read_row(dataset: str, given: Mapping[str, str | None]) -> Row:
    """Read the known cells of a row."""
    cells = {name: given.get(name) or "" for name in COLUMNS[dataset]}
    values: dict[str, Value | None] = {}
    content: list[Value | None] = []
    filled = [name for name in DURATIONS if cells.get(name, "").strip()]
    unreadable = set(filled) if len(filled) > 1 else set()
    for name, cell in cells.items():
        trimmed = cell.strip()
        values[name] = None
        if trimmed and name not in unreadable:
            try:
                values[name] = READERS.get(name, read_text)(trimmed)
            except UnreadableError:
                unreadable.add(name)
        content.append(trimmed if name in unreadable else values[name])
    written = dict(zip(COLUMNS[dataset], content, strict=True))
    key = tuple("" if written[name] is None else str(written[name]) for name in KEY_COLUMNS[dataset])
    return Row(dataset, cells, values, frozenset(unreadable), tuple(content), key)


# --------------------------------------------------------------------------------------------------
# Section 1: identity and withdrawal

Identity = tuple[object, ...]


def identity(row: Row) -> Identity:
    """What makes a row itself: its key, or everything in it where a key cell is blank."""
    return ("content", *row.content) if row.has_blank_key() else ("key", *row.key)


class Store:
    """What was received and is still live, by data set, source and identity."""

    def __init__(self) -> None:
        self._live: dict[str, dict[str, dict[Identity, list[Row]]]] = {name: {} for name in COLUMNS}

    def load(self, sources: Sources, *, source: str = "canonical", complete: bool = False) -> None:
        """Take in one load: versions of a key replace those it had; a complete load withdraws what it lacks."""
        for dataset, rows in sources.items():
            if complete and not rows and self._live[dataset].get(source):
                raise FailedFeedError(f"{dataset} had rows and is empty in a complete load")
        for dataset, given_rows in sources.items():
            arriving: dict[Identity, list[Row]] = {}
            for given in given_rows:
                row = read_row(dataset, given)
                versions = arriving.setdefault(identity(row), [])
                if all(row.content != version.content for version in versions):
                    versions.append(row)
            held = self._live[dataset].setdefault(source, {})
            if complete:
                held.clear()
            elif dataset == "invoice_lines":
                invoice_ids = {version.key[0] for versions in arriving.values() for version in versions} - {""}
                for one, versions in list(held.items()):
                    if versions[0].key[0] in invoice_ids:
                        del held[one]
            held.update(arriving)

    def live(self, dataset: str) -> list[tuple[Row, bool]]:
        """Live rows, each with whether it is a conflicting duplicate."""
        versions_by_identity: dict[Identity, list[Row]] = defaultdict(list)
        for held in self._live[dataset].values():
            for one, versions in held.items():
                versions_by_identity[one].extend(versions)
        return [
            (row, len(versions) > 1 and dataset != "rates" and not row.has_blank_key())
            for versions in versions_by_identity.values()
            for row in versions
        ]


# --------------------------------------------------------------------------------------------------
# Section 2: quarantine

_CLASSES_BY_SIDE = {
    "leakage": "void_not_rebilled late_entry unbilled hours_short rate_under",
    "overbilled": "double_billed hours_over rate_over invoiced_without_log currency_mismatch",
    "exposure": "over_cap out_of_term non_billable_time unapproved fixed_price_overrun unapplied_credit",
    "pending": "not_due",
    "noise": "rounding",
}
SIDES = {name: side for side, names in _CLASSES_BY_SIDE.items() for name in names.split()}
FINDING_CLASSES = frozenset(SIDES)
_REASONS = {
    "contracts": "conflicting_duplicate ends_before_start unknown_currency negative_term discount_over_100 "
    "unknown_choice bad_rate",
    "projects": "conflicting_duplicate unknown_contract",
    "rates": "unknown_contract negative_term empty_rate_window",
    "time_logs": "conflicting_duplicate missing_project unknown_project missing_person missing_date missing_duration "
    "non_positive_duration over_24_hours future_dated invalid_contract no_rate ambiguous_rate",
    "invoices": "conflicting_duplicate unknown_contract unknown_currency unknown_choice",
    "invoice_lines": "conflicting_duplicate unknown_invoice unknown_choice",
}
QUARANTINE_REASONS = frozenset(
    (dataset, reason)
    for dataset, reasons in _REASONS.items()
    for reason in (*reasons.split(), "unparseable_value", "missing_value")
)


def common_reasons(row: Row, *, is_conflicting: bool) -> set[str]:
    reasons = set()
    if row.unreadable:
        reasons.add("unparseable_value")
    if any(not row.cells[name].strip() for name in REQUIRED[row.dataset]):
        reasons.add("missing_value")
    if is_conflicting:
        reasons.add("conflicting_duplicate")
    for name in COLUMNS[row.dataset]:
        if name in CHOICES and row.text(name) is not None and row.text(name) not in CHOICES[name]:
            reasons.add("unknown_choice")
    return reasons


def excess_decimals(amount: Fraction | None, currency: str | None) -> bool:
    """Whether an amount has more decimals than its currency; an unknown currency sets no limit."""
    return amount is not None and currency in MINOR_UNITS and not fits_decimals(amount, MINOR_UNITS[currency])


def money_term(row: Row, column: str) -> Fraction | None:
    """Return a contract's amount; None where it is blank or does not parse, in its own currency."""
    amount = row.number(column)
    return None if excess_decimals(amount, row.text("currency")) else amount


def is_negative(number: Fraction | None) -> bool:
    return number is not None and number < 0


def contract_reasons(row: Row, *, is_conflicting: bool) -> set[str]:
    """Every reason of a contract row but bad_rate, which its rates decide."""
    reasons = common_reasons(row, is_conflicting=is_conflicting)
    starts_on, ends_on, currency = row.date("starts_on"), row.date("ends_on"), row.text("currency")
    if starts_on and ends_on and ends_on < starts_on:
        reasons.add("ends_before_start")
    if currency is not None and currency not in MINOR_UNITS:
        reasons.add("unknown_currency")
    amounts = [money_term(row, name) for name in ("cap_amount", "threshold_amount")]
    if amounts != [row.number(name) for name in ("cap_amount", "threshold_amount")]:
        reasons.add("unparseable_value")
    not_negative = ("rounding_minutes", "minimum_minutes", "overtime_after_minutes", "prepaid_minutes", "cap_minutes",
                    "discount_percent", "grace_days")  # fmt: skip
    multipliers = [row.number("overtime_multiplier"), row.number("weekend_multiplier")]
    is_term_negative = any(is_negative(number) for number in [*amounts, *(row.number(name) for name in not_negative)])
    if is_term_negative or any(multiplier is not None and multiplier <= 0 for multiplier in multipliers):
        reasons.add("negative_term")
    if (row.number("discount_percent") or 0) > 100:
        reasons.add("discount_over_100")
    return reasons


def rate_reasons(row: Row, contract_ids: set[str]) -> set[str]:
    reasons = common_reasons(row, is_conflicting=False) | unknown_contract(row, contract_ids)
    valid_from, valid_to = row.date("valid_from"), row.date("valid_to")
    if is_negative(row.number("hourly_rate")):
        reasons.add("negative_term")
    if valid_from and valid_to and valid_to <= valid_from:
        reasons.add("empty_rate_window")
    return reasons


def unknown_contract(row: Row, contract_ids: set[str]) -> set[str]:
    contract_id = row.text("contract_id")
    return {"unknown_contract"} if contract_id is not None and contract_id not in contract_ids else set()


def invoice_reasons(row: Row, contract_ids: set[str], *, is_conflicting: bool) -> set[str]:
    reasons = common_reasons(row, is_conflicting=is_conflicting) | unknown_contract(row, contract_ids)
    if row.text("currency") is not None and row.text("currency") not in MINOR_UNITS:
        reasons.add("unknown_currency")
    return reasons


def line_reasons(
    row: Row, invoices: Mapping[str, Row], currencies: Mapping[str, set[str | None]], *, is_conflicting: bool
) -> set[str]:
    reasons = common_reasons(row, is_conflicting=is_conflicting)
    invoice_id = row.text("invoice_id")
    if invoice_id is not None:
        if invoice_id not in invoices:
            reasons.add("unknown_invoice")
        # An invoice's currency is known where all its versions agree on it.
        known = currencies.get(invoice_id, set())
        if len(known) == 1 and excess_decimals(row.number("net_amount"), next(iter(known))):
            reasons.add("unparseable_value")
    return reasons


def log_reasons(row: Row, project_ids: set[str], as_of: dt.date, *, is_conflicting: bool) -> set[str]:
    """Every reason a log has on its own; its contract and rates may add more."""
    reasons = common_reasons(row, is_conflicting=is_conflicting)
    if row.text("project_id") is None:
        reasons.add("missing_project")
    elif row.text("project_id") not in project_ids:
        reasons.add("unknown_project")
    if row.text("person") is None:
        reasons.add("missing_person")
    if not row.cells["worked_on"].strip():
        reasons.add("missing_date")
    if not any(row.cells[name].strip() for name in DURATIONS):
        reasons.add("missing_duration")
    seconds, worked_on = row.seconds(), row.date("worked_on")
    if seconds is not None and seconds <= 0:
        reasons.add("non_positive_duration")
    if seconds is not None and seconds > 86_400:
        reasons.add("over_24_hours")
    if worked_on and worked_on > as_of:
        reasons.add("future_dated")
    return reasons


# --------------------------------------------------------------------------------------------------
# Contracts, rates, logs, lines as the calculation sees them


@dataclass(frozen=True)
class Rate:
    """One trusted row of rates."""

    scope: tuple[str | None, ...]
    valid_from: dt.date
    valid_to: dt.date | None
    hourly_rate: Fraction

    def is_in_force(self, day: dt.date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True)
class Contract:
    """A contract with the terms of its leading version, and the dates of every version."""

    contract_id: str
    terms: Row
    is_valid: bool
    spans: tuple[tuple[dt.date, dt.date], ...]
    rates: tuple[Rate, ...]

    @property
    def currency(self) -> str | None:
        return self.terms.text("currency")

    @property
    def decimals(self) -> int:
        return MINOR_UNITS.get(self.currency or "", 2)

    @property
    def is_fixed_price(self) -> bool:
        return self.choice("billing_model") == "fixed_price"

    def choice(self, column: str) -> str:
        return self.terms.text(column) or CHOICES[column][0]

    def term(self, column: str, default: int) -> Fraction:
        number = self.terms.number(column)
        return Fraction(default) if number is None else number

    def period(self, column: str, day: dt.date) -> tuple[int, int] | None:
        """Name the period a day falls in: its month, or the one lifetime."""
        return (day.year, day.month) if self.choice(column) == "month" else None


@dataclass(frozen=True)
class Log:
    """One time log that passed its own checks."""

    time_log_id: str
    project_id: str
    scope: tuple[str | None, ...]
    worked_on: dt.date
    seconds: int
    is_billable: bool
    is_approved: bool
    entered_on: dt.date | None

    @property
    def person(self) -> str | None:
        return self.scope[1]


@dataclass(frozen=True)
class Line:
    """One trusted invoice line, with what its invoice says of it."""

    invoice_id: str
    line_no: int
    contract_id: str
    currency: str
    status: str
    issued_on: dt.date | None
    kind: str
    time_log_id: str | None
    scope: tuple[str | None, ...]
    period_start: dt.date | None
    period_end: dt.date | None
    seconds: int | None
    amount: Fraction

    @property
    def is_live(self) -> bool:
        return self.status in {"issued", "paid"}

    @property
    def is_inverted(self) -> bool:
        return bool(self.period_start and self.period_end and self.period_end < self.period_start)


@dataclass
class EligibleLog:
    """One log that is owed by the hour, and how its numbers came about."""

    log: Log
    hourly_rate: Fraction
    regular_seconds: int = 0  # rounded
    overtime_seconds: int = 0
    payable_regular_seconds: int = 0
    payable_overtime_seconds: int = 0
    over_cap_regular_seconds: int = 0
    over_cap_overtime_seconds: int = 0
    owed_amount: Fraction = Fraction(0)
    over_cap_amount: Fraction = Fraction(0)
    billed_amount: Fraction = Fraction(0)
    billed_seconds: int = 0
    direct_lines: list[Line] = field(default_factory=list)

    @property
    def payable_seconds(self) -> int:
        return self.payable_regular_seconds + self.payable_overtime_seconds


@dataclass(frozen=True)
class Result:
    """Every answer the rules give for one date."""

    counts: dict[str, int]
    positions: dict[str, dict[str, object]]
    findings: dict[tuple[str, str, str], Finding]
    quarantine: set[tuple[str, str, str]]
    eligible: dict[str, tuple[str, EligibleLog]]  # by time log: its contract, its numbers


def scope_of(row: Row) -> tuple[str | None, ...]:
    return tuple(row.text(name) for name in SCOPE)


def scope_matches(scope: tuple[str | None, ...], log_scope: tuple[str | None, ...]) -> bool:
    return all(wanted is None or wanted == has for wanted, has in zip(scope, log_scope, strict=True))


def specificity(scope: tuple[str | None, ...]) -> int:
    return sum(weight for weight, part in zip(SCOPE_WEIGHTS.values(), scope, strict=True) if part is not None)


def applicable_rates(contract: Contract, log: Log, day: dt.date) -> set[Fraction]:
    """Rule 4.5: no rate, the rate, or several that contradict each other."""
    found = [
        (specificity(rate.scope), rate.valid_from, rate.hourly_rate)
        for rate in contract.rates
        if rate.is_in_force(day) and scope_matches(rate.scope, log.scope)
    ]
    best = max((one[:2] for one in found), default=None)
    return {one[2] for one in found if one[:2] == best}


def estimate(contract: Contract, log: Log, seconds: int, day: dt.date) -> Fraction | None:
    """Section 7: seconds at the rate and nothing else."""
    rates = applicable_rates(contract, log, day)
    if not contract.is_valid or len(rates) != 1:
        return None
    return round_half_away(seconds * next(iter(rates)) / 3600, contract.decimals)


def contract_in_force(contracts: Iterable[Contract], day: dt.date) -> Contract | None:
    """Section 3: the latest start, then the greatest id."""
    return max(
        (
            (starts_on, contract.contract_id, contract)
            for contract in contracts
            for starts_on, ends_on in contract.spans
            if starts_on <= day <= ends_on
        ),
        key=lambda candidate: candidate[:2],
        default=(None, None, None),
    )[2]


def nearest_contract(contracts: Iterable[Contract], day: dt.date) -> tuple[Contract, dt.date]:
    """Section 7: the contract nearest to a day that none covers, and its day nearest to that day."""
    best = None
    for contract in contracts:
        for starts_on, ends_on in contract.spans:
            edges = [(day - ends_on, 0, ends_on)] if ends_on < day else []
            edges += [(starts_on - day, 1, starts_on)] if day < starts_on else []
            away, side, moved_to = min(edges)
            rank = (ends_on < starts_on, away, side)
            better = best is None or rank < best[0] or (rank == best[0] and contract.contract_id > best[1].contract_id)
            if better:
                best = (rank, contract, moved_to)
    if best is None:
        raise AssertionError("a known project has a contract")
    return best[1], best[2]


# --------------------------------------------------------------------------------------------------
# Section 4: what the contract owes


def in_order(log: Log) -> tuple[dt.date, str]:
    return (log.worked_on, log.time_log_id)


def round_unit(contract: Contract, raw_seconds: int) -> int:
    increment = int(contract.term("rounding_minutes", 0)) * 60
    rounded = raw_seconds
    if increment:
        steps = Fraction(raw_seconds, increment)
        whole_steps = {"up": math.ceil(steps), "down": math.floor(steps), "nearest": math.floor(steps + Fraction(1, 2))}
        rounded = increment * whole_steps[contract.choice("rounding_mode")]
    return max(rounded, int(contract.term("minimum_minutes", 0)) * 60)


def rounded_seconds(contract: Contract, logs: list[Log]) -> dict[str, int]:
    """Rule 4.1, by time log."""
    if contract.choice("rounding_unit") == "entry":
        return {log.time_log_id: round_unit(contract, log.seconds) for log in logs}
    units: dict[tuple[object, ...], list[Log]] = defaultdict(list)
    for log in logs:
        project_id, person, _, task = log.scope
        units[project_id, person, task, log.worked_on].append(log)
    shares = {}
    for unit in units.values():
        rounded = round_unit(contract, sum(log.seconds for log in unit))
        cumulative = 0
        for log in unit:
            before, cumulative = cumulative, cumulative + log.seconds
            shares[log.time_log_id] = min(cumulative, rounded) - min(before, rounded)
        shares[unit[-1].time_log_id] += rounded - min(cumulative, rounded)
    return shares


def price(contract: Contract, one: EligibleLog, regular_seconds: int, overtime_seconds: int) -> Fraction:
    """Rule 4.6: one exact fraction, rounded once."""
    is_weekend = one.log.worked_on.weekday() >= 5
    multiplier = contract.term("weekend_multiplier", 1) if is_weekend else Fraction(1)
    overtime_multiplier = max(contract.term("overtime_multiplier", 1), multiplier)
    weighted = regular_seconds * multiplier + overtime_seconds * overtime_multiplier
    amount = weighted * one.hourly_rate * (100 - contract.term("discount_percent", 0)) / 360_000
    return round_half_away(amount, contract.decimals)


def price_contract(contract: Contract, eligible: list[EligibleLog]) -> None:
    """Section 4 for one contract's eligible logs, given in order."""
    rounded = rounded_seconds(contract, [one.log for one in eligible])
    overtime_after = contract.terms.number("overtime_after_minutes")
    worked_today: dict[tuple[str | None, dt.date], int] = defaultdict(int)
    prepaid_used: dict[object, int] = defaultdict(int)
    cap_used: dict[object, int] = defaultdict(int)
    amount_used: dict[object, Fraction] = defaultdict(Fraction)
    cap_minutes, cap_amount = contract.terms.number("cap_minutes"), contract.terms.number("cap_amount")
    for one in eligible:
        seconds = rounded[one.log.time_log_id]
        day = (one.log.person, one.log.worked_on)
        one.regular_seconds = seconds
        if overtime_after is not None:
            one.regular_seconds = min(seconds, max(0, int(overtime_after) * 60 - worked_today[day]))
        one.overtime_seconds = seconds - one.regular_seconds
        worked_today[day] += seconds

        period = contract.period("prepaid_period", one.log.worked_on)
        prepaid = min(seconds, int(contract.term("prepaid_minutes", 0)) * 60 - prepaid_used[period])
        prepaid_used[period] += prepaid
        regular = max(0, one.regular_seconds - prepaid)
        overtime = one.overtime_seconds - (prepaid - (one.regular_seconds - regular))

        period = contract.period("cap_period", one.log.worked_on)
        payable = regular + overtime
        if cap_minutes is not None:
            payable = min(payable, int(cap_minutes) * 60 - cap_used[period])
        cap_used[period] += payable
        one.payable_regular_seconds = min(regular, payable)
        one.payable_overtime_seconds = payable - one.payable_regular_seconds
        one.over_cap_regular_seconds = regular - one.payable_regular_seconds
        one.over_cap_overtime_seconds = overtime - one.payable_overtime_seconds

        amount = price(contract, one, one.payable_regular_seconds, one.payable_overtime_seconds)
        one.owed_amount = amount if cap_amount is None else min(amount, cap_amount - amount_used[period])
        amount_used[period] += one.owed_amount
        one.over_cap_amount = price(contract, one, one.over_cap_regular_seconds, one.over_cap_overtime_seconds)
        one.over_cap_amount += amount - one.owed_amount


# --------------------------------------------------------------------------------------------------
# Section 5: what was billed

PoolKey = tuple[tuple[str | None, ...], dt.date | None, dt.date | None]


def pool_key(line: Line) -> PoolKey:
    return (line.scope, line.period_start, line.period_end)


def about_pool(key: PoolKey) -> str:
    scope, period_start, period_end = key
    parts = [*scope, period_start and period_start.isoformat(), period_end and period_end.isoformat()]
    return "pool:" + "|".join((part or "").replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def line_matches(line: Line, log: Log) -> bool:
    """Whether a pooled line speaks of a log. An inverted period matches nothing."""
    return (
        (line.period_start is None or line.period_start <= log.worked_on)
        and (line.period_end is None or log.worked_on <= line.period_end)
        and scope_matches(line.scope, log.scope)
    )


def pool_rank(lines: list[Line]) -> tuple[object, ...]:
    """Sort the pool that wins first."""
    line = lines[0]
    is_endless = line.period_start is None or line.period_end is None
    days = 0 if is_endless else (line.period_end - line.period_start).days  # type: ignore[operator]
    return (-specificity(line.scope), is_endless, days, min((line.invoice_id, line.line_no) for line in lines))


def bill_direct(eligible: dict[str, EligibleLog], lines: list[Line]) -> dict[str, Fraction]:
    """Apply direct lines to their logs; return what is billed for other logs, by id."""
    strays: dict[str, Fraction] = defaultdict(Fraction)
    for line in lines:
        if line.time_log_id in eligible:
            eligible[line.time_log_id].direct_lines.append(line)
        elif line.time_log_id is not None:
            strays[line.time_log_id] += line.amount
    for one in eligible.values():
        one.billed_amount = add_up(line.amount for line in one.direct_lines)
        seconds = [line.seconds for line in one.direct_lines]
        one.billed_seconds = one.payable_seconds if None in seconds else sum(s for s in seconds if s is not None)
    return strays


def bill_pooled(contract: Contract, eligible: list[EligibleLog], lines: list[Line]) -> dict[str, Fraction]:
    """Use up the pools in order; return what is left of each, by what it is about."""
    pools: dict[PoolKey, list[Line]] = defaultdict(list)
    for line in lines:
        if line.time_log_id is None:
            pools[pool_key(line)].append(line)
    pool_seconds = {key: sum(line.seconds or 0 for line in pool) for key, pool in pools.items()}
    ranked = sorted((key for key in pools if pool_seconds[key] > 0), key=lambda key: pool_rank(pools[key]))
    members: dict[PoolKey, list[EligibleLog]] = defaultdict(list)
    for one in eligible:
        if one.payable_seconds > 0 and not one.direct_lines:
            key = next((key for key in ranked if line_matches(pools[key][0], one.log)), None)
            if key is not None:
                members[key].append(one)
    left_over = {}
    for key, pool in pools.items():
        pool_amount = add_up(line.amount for line in pool)
        cumulative, billed = 0, Fraction(0)
        for one in members[key]:
            one.billed_seconds = min(one.payable_seconds, pool_seconds[key] - cumulative)
            cumulative += one.billed_seconds
            billed_before, billed = billed, round_half_away(
                pool_amount * cumulative / pool_seconds[key], contract.decimals
            )  # fmt: skip
            one.billed_amount = billed - billed_before
        left_over[about_pool(key)] = pool_amount - billed
    return left_over


# --------------------------------------------------------------------------------------------------
# Section 6: findings of an eligible log


def due_on(contract: Contract, day: dt.date) -> dt.date | None:
    """When a log must have been billed; None where that is beyond the calendar."""
    if contract.choice("grace_from") == "month_end":
        day = day.replace(day=calendar.monthrange(day.year, day.month)[1])
    try:
        return day + dt.timedelta(days=int(contract.term("grace_days", 0)))
    except OverflowError:
        return None


Span = tuple[dt.date, dt.date]


def invoice_spans(lines: list[Line], eligible: Mapping[str, EligibleLog]) -> list[tuple[dt.date, Span]]:
    """When each invoice was issued, and the earliest and latest date its lines speak of."""
    dates: dict[tuple[str, dt.date], list[dt.date]] = defaultdict(list)
    for line in lines:
        if line.issued_on is None:
            continue
        spoken_of = dates[line.invoice_id, line.issued_on]
        if line.time_log_id in eligible:
            spoken_of.append(eligible[line.time_log_id].log.worked_on)
        elif line.time_log_id is None and not line.is_inverted:
            spoken_of += [line.period_start or dt.date.min, line.period_end or dt.date.max]
    return [(issued_on, (min(days), max(days))) for (_, issued_on), days in dates.items() if days]


def why_unbilled(log: Log, void_lines: list[Line], spans: list[tuple[dt.date, Span]]) -> str:
    for line in void_lines:
        if line.time_log_id == log.time_log_id or (line.time_log_id is None and line_matches(line, log)):
            return "void_not_rebilled"
    for issued_on, (earliest, latest) in spans:
        if log.entered_on is not None and log.entered_on > issued_on and earliest <= log.worked_on <= latest:
            return "late_entry"
    return "unbilled"


def is_double_billed(one: EligibleLog) -> bool:
    by_invoice: dict[str, Fraction] = defaultdict(Fraction)
    for line in one.direct_lines:
        by_invoice[line.invoice_id] += line.amount
    return sum(amount > 0 for amount in by_invoice.values()) >= 2


def compare(
    contract: Contract, one: EligibleLog, as_of: dt.date, void_lines: list[Line], spans: list[tuple[dt.date, Span]]
) -> dict[str, Fraction]:
    """Amounts of one log's findings, by class, without those of 0."""
    owed, billed, payable = one.owed_amount, one.billed_amount, one.payable_seconds
    difference = owed - billed
    tolerance = Fraction(max(1, len(one.direct_lines)), 10**contract.decimals)
    due = due_on(contract, one.log.worked_on)
    amounts = {}
    if difference == 0:
        pass
    elif abs(difference) <= tolerance and billed != 0:
        amounts["rounding"] = difference
    elif difference > 0 and (due is None or as_of < due):
        amounts["not_due"] = difference
    elif difference > 0 and one.billed_seconds == 0 and billed == 0:
        amounts[why_unbilled(one.log, void_lines, spans)] = owed
    elif difference > 0:
        hours_short = Fraction(0)
        if payable > 0 and one.billed_seconds < payable:
            short = round_half_away(owed * (payable - one.billed_seconds) / payable, contract.decimals)
            hours_short = min(difference, short)
        amounts["hours_short"] = hours_short
        amounts["rate_under"] = difference - hours_short
    elif is_double_billed(one):
        amounts["double_billed"] = -difference
    else:
        amounts["hours_over" if one.billed_seconds > payable else "rate_over"] = -difference
    amounts["over_cap"] = one.over_cap_amount
    return {name: amount for name, amount in amounts.items() if amount != 0}


# --------------------------------------------------------------------------------------------------
# The whole calculation


@dataclass
class Books:
    """The trusted rows, and what was set aside on the way to them."""

    contracts: dict[str, Contract]
    project_rows: dict[str, dict[str, bool]]  # project: its contracts, each with whether it is billable there
    logs: list[tuple[Row, set[str]]]
    lines: list[Line]
    quarantine: set[tuple[str, str, str]]
    quarantined_line_count: dict[str, int]

    def contracts_of(self, project_id: str | None) -> list[Contract]:
        return [self.contracts[contract_id] for contract_id in self.project_rows.get(project_id or "", {})]


def set_aside(quarantine: set[tuple[str, str, str]], row: Row, reasons: set[str]) -> None:
    quarantine.update((row.dataset, row.written_key(), reason) for reason in reasons)


def open_books(store: Store, as_of: dt.date, waived: set[tuple[str, str]]) -> Books:
    """Sections 1 and 2 up to the logs' own reasons."""
    quarantine: set[tuple[str, str, str]] = set()
    contract_versions = [(row, contract_reasons(row, is_conflicting=c)) for row, c in store.live("contracts")]
    contract_ids = {row.key[0] for row, _ in contract_versions} - {""}

    rates: dict[str, list[Rate]] = defaultdict(list)
    bad_rate_ids = set()
    for row, _ in store.live("rates"):
        reasons = rate_reasons(row, contract_ids)
        set_aside(quarantine, row, reasons)
        if reasons:
            bad_rate_ids.add(row.key[0])
        else:
            valid_from, hourly_rate = row.date("valid_from"), row.number("hourly_rate")
            rates[row.key[0]].append(Rate(scope_of(row), valid_from, row.date("valid_to"), hourly_rate))  # type: ignore[arg-type]

    versions: dict[str, list[tuple[Row, set[str]]]] = defaultdict(list)
    for row, reasons in contract_versions:
        if row.key[0] and row.key[0] in bad_rate_ids:
            reasons.add("bad_rate")
        set_aside(quarantine, row, reasons)
        if row.key[0]:
            versions[row.key[0]].append((row, reasons))
    contracts = {
        contract_id: Contract(
            contract_id,
            terms=max((row for row, _ in rows), key=lambda row: (row.date("starts_on") or dt.date.min, row.row_text())),
            is_valid=not any(reasons for _, reasons in rows),
            spans=tuple((row.date("starts_on") or dt.date.min, row.date("ends_on") or dt.date.max) for row, _ in rows),
            rates=tuple(rates[contract_id]),
        )
        for contract_id, rows in versions.items()
    }

    project_rows: dict[str, dict[str, bool]] = defaultdict(dict)
    for row, is_conflicting in store.live("projects"):
        reasons = common_reasons(row, is_conflicting=is_conflicting) | unknown_contract(row, contract_ids)
        set_aside(quarantine, row, reasons)
        if not reasons:
            project_rows[row.key[0]][row.key[1]] = row.is_true("is_billable")

    lines, quarantined_line_count = trusted_lines(store, contract_ids, quarantine, waived)
    logs = [
        (row, log_reasons(row, set(project_rows), as_of, is_conflicting=is_conflicting))
        for row, is_conflicting in store.live("time_logs")
    ]
    return Books(contracts, project_rows, logs, lines, quarantine, quarantined_line_count)


def trusted_lines(
    store: Store, contract_ids: set[str], quarantine: set[tuple[str, str, str]], waived: set[tuple[str, str]]
) -> tuple[list[Line], dict[str, int]]:
    """Lines that exist, and per contract how many of its invoices and lines do not."""
    invoices: dict[str, Row] = {}
    currencies: dict[str, set[str | None]] = defaultdict(set)
    quarantined_count: dict[str, int] = defaultdict(int)
    for row, is_conflicting in store.live("invoices"):
        reasons = invoice_reasons(row, contract_ids, is_conflicting=is_conflicting)
        set_aside(quarantine, row, reasons)
        currencies[row.key[0]].add(row.text("currency"))
        if not reasons:
            invoices[row.key[0]] = row
        elif (row.dataset, row.written_key()) not in waived:
            quarantined_count[row.text("contract_id") or ""] += 1
    lines = []
    for row, is_conflicting in store.live("invoice_lines"):
        reasons = line_reasons(row, invoices, currencies, is_conflicting=is_conflicting)
        set_aside(quarantine, row, reasons)
        invoice = invoices.get(row.key[0])
        if not reasons and invoice:
            lines.append(line_of(row, invoice))
        elif invoice and (row.dataset, row.written_key()) not in waived:
            quarantined_count[invoice.text("contract_id") or ""] += 1
    return lines, quarantined_count


def line_of(row: Row, invoice: Row) -> Line:
    return Line(
        invoice_id=row.key[0],
        line_no=int(row.number("line_no") or 0),
        contract_id=invoice.text("contract_id") or "",
        currency=invoice.text("currency") or "",
        status=invoice.text("status") or "",
        issued_on=invoice.date("issued_on"),
        kind=row.text("kind") or CHOICES["kind"][0],
        time_log_id=row.text("time_log_id"),
        scope=scope_of(row),
        period_start=row.date("period_start"),
        period_end=row.date("period_end"),
        seconds=row.seconds(),
        amount=row.number("net_amount") or Fraction(0),
    )


def log_of(row: Row) -> Log:
    entered_at = row.values["entered_at"]
    return Log(
        time_log_id=row.key[0],
        project_id=row.text("project_id") or "",
        scope=scope_of(row),
        worked_on=row.date("worked_on") or dt.date.min,
        seconds=row.seconds() or 0,
        is_billable=row.is_true("is_billable"),
        is_approved=row.is_true("is_approved"),
        entered_on=entered_at.date() if isinstance(entered_at, dt.datetime) else None,
    )


@dataclass
class Sorted:
    """Where each log went, and the findings met on the way."""

    eligible: dict[str, list[EligibleLog]] = field(default_factory=lambda: defaultdict(list))
    fixed_price: dict[str, list[Log]] = field(default_factory=lambda: defaultdict(list))
    findings: dict[tuple[str, str, str], Fraction | None] = field(default_factory=dict)
    quarantined_seconds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    oldest: dict[str, dt.date] = field(default_factory=dict)


def sort_logs(books: Books, waived: set[tuple[str, str]]) -> Sorted:
    """Section 3, the rest of section 2, and the logs' part of section 7."""
    out = Sorted()
    for row, reasons in books.logs:
        place, more = ("quarantined", set()) if reasons else sort_log(books, out, log_of(row))
        set_aside(books.quarantine, row, reasons | more)
        out.counts["received"] += 1
        out.counts[place] += 1
        seconds = row.seconds() or 0
        if place == "quarantined" and seconds > 0 and ("time_logs", row.written_key()) not in waived:
            owner = contract_at_risk(books, row)
            if owner:
                out.quarantined_seconds[owner.contract_id] += seconds
    return out


def contract_at_risk(books: Books, row: Row) -> Contract | None:
    """Section 8: the contract in force, else the project's only contract, else nobody's."""
    candidates = books.contracts_of(row.text("project_id"))
    worked_on = row.date("worked_on")
    in_force = contract_in_force(candidates, worked_on) if worked_on else None
    return in_force or (candidates[0] if len(candidates) == 1 else None)


def sort_log(books: Books, out: Sorted, log: Log) -> tuple[str, set[str]]:
    """Say where a valid log belongs, and why it is set aside if it is."""
    candidates = books.contracts_of(log.project_id)
    contract = contract_in_force(candidates, log.worked_on)
    if contract is None:
        return sort_out_of_term(books, out, log, candidates), set()
    is_project_billable = books.project_rows[log.project_id][contract.contract_id]
    if not (is_project_billable and log.is_billable and log.is_approved):
        if is_project_billable and not contract.is_fixed_price:
            name = "unapproved" if log.is_billable else "non_billable_time"
            amount = estimate(contract, log, log.seconds, log.worked_on)
            out.findings[contract.contract_id, name, f"log:{log.time_log_id}"] = amount
        return "excluded", set()

    reasons = set() if contract.is_valid else {"invalid_contract"}
    rates = applicable_rates(contract, log, log.worked_on)
    if not contract.is_fixed_price and len(rates) != 1:
        reasons.add("ambiguous_rate" if rates else "no_rate")
    if reasons:
        return "quarantined", reasons
    if contract.is_fixed_price:
        out.fixed_price[contract.contract_id].append(log)
        return "excluded", set()
    out.eligible[contract.contract_id].append(EligibleLog(log, next(iter(rates))))
    return "eligible", set()


def sort_out_of_term(books: Books, out: Sorted, log: Log, candidates: list[Contract]) -> str:
    """Section 7: a log that no contract covers goes to the nearest, unless it would be excluded there."""
    contract, moved_to = nearest_contract(candidates, log.worked_on)
    is_project_billable = books.project_rows[log.project_id][contract.contract_id]
    if not (is_project_billable and log.is_billable and log.is_approved):
        return "excluded"
    amount = estimate(contract, log, log.seconds, moved_to)
    out.findings[contract.contract_id, "out_of_term", f"log:{log.time_log_id}"] = amount
    return "out_of_term"


def find_overruns(contract: Contract, logs: list[Log], out: Sorted) -> None:
    """Section 3: the seconds of a fixed price beyond its cap, one finding per log."""
    cap_minutes = contract.terms.number("cap_minutes")
    if cap_minutes is None:
        return
    used: dict[object, int] = defaultdict(int)
    for log in sorted(logs, key=in_order):
        period = contract.period("cap_period", log.worked_on)
        before, used[period] = used[period], used[period] + log.seconds
        beyond = used[period] - max(before, int(cap_minutes) * 60)
        if beyond > 0:
            amount = estimate(contract, log, beyond, log.worked_on)
            out.findings[contract.contract_id, "fixed_price_overrun", f"log:{log.time_log_id}"] = amount


@dataclass
class Account:
    """One contract's logs and lines, brought together."""

    eligible: dict[str, EligibleLog]
    other_billed_amount: Fraction
    mismatches: list[Line]


def settle(contract: Contract, eligible: list[EligibleLog], lines: list[Line], as_of: dt.date, out: Sorted) -> Account:
    """Sections 4 to 6 and the invoices' part of 7 for one contract."""
    live = [line for line in lines if line.is_live]
    own = [line for line in live if line.currency == contract.currency]
    if contract.is_fixed_price:
        find_overruns(contract, out.fixed_price[contract.contract_id], out)
        return Account({}, add_up(line.amount for line in own), [])

    eligible.sort(key=lambda one: in_order(one.log))
    by_id = {one.log.time_log_id: one for one in eligible}
    time_lines = [line for line in own if line.kind == "time"]
    price_contract(contract, eligible)
    strays = bill_direct(by_id, time_lines)
    left_over = bill_pooled(contract, eligible, time_lines)
    without_log = {f"log:{time_log_id}": amount for time_log_id, amount in strays.items()} | left_over
    for about, amount in without_log.items():
        if amount:
            name = "invoiced_without_log" if amount > 0 else "unapplied_credit"
            out.findings[contract.contract_id, name, about] = abs(amount)

    void_lines = [line for line in lines if line.status == "void" and line.kind == "time"]
    spans = invoice_spans(time_lines, by_id)
    for one in eligible:
        for name, amount in compare(contract, one, as_of, void_lines, spans).items():
            out.findings[contract.contract_id, name, f"log:{one.log.time_log_id}"] = amount
    other = add_up(line.amount for line in own if line.kind != "time")
    mismatches = [line for line in live if line.kind == "time" and line.currency != contract.currency]
    return Account(by_id, other, mismatches)


def age_bucket(age_days: int) -> str:
    for last_day, name in ((0, "current"), (30, "1-30"), (60, "31-60"), (90, "61-90")):
        if age_days <= last_day:
            return name
    return "91+"


def position(
    contract: Contract,
    account: Account,
    findings: Mapping[tuple[str, str, str], tuple[str, Fraction | None]],
    as_of: dt.date,
    thresholds: Mapping[str | None, Decimal],
) -> dict[str, object]:
    """Section 8 without what is set aside. `findings` are this contract's, in its currency: side and amount."""
    totals: dict[str, Fraction] = defaultdict(Fraction)
    overbilled_logs = Fraction(0)
    leaking: dict[str, EligibleLog] = {}
    for (_, name, about), (side, amount) in findings.items():
        totals[side] += amount or 0
        if name in {"double_billed", "hours_over", "rate_over"}:
            overbilled_logs += amount or 0
        if side == "leakage":
            leaking[about] = account.eligible[about.removeprefix("log:")]
    expected = add_up(one.owed_amount for one in account.eligible.values())
    billed = add_up(one.billed_amount for one in account.eligible.values())
    explained = add_up(totals[side] for side in ("leakage", "written_off", "pending", "noise"))
    if expected - billed != explained - overbilled_logs:
        raise BrokenBalanceError(contract.contract_id)

    default = thresholds.get(contract.currency, thresholds[None])
    own_threshold = money_term(contract.terms, "threshold_amount")
    threshold = Fraction(default) if own_threshold is None else own_threshold
    leakage = totals["leakage"]
    is_flagged = contract.is_valid and leakage > threshold
    is_watched = leakage > 0 and 2 * leakage >= threshold
    oldest = min((one.log.worked_on for one in leaking.values()), default=None)
    age_days = (as_of - oldest).days if oldest else None
    unbilled_seconds = sum(max(0, one.payable_seconds - one.billed_seconds) for one in leaking.values())
    sides = ("leakage", "written_off", "overbilled", "exposure", "pending", "noise")
    return {
        "currency": contract.currency,
        "expected_amount": to_decimal(expected),
        "billed_amount": to_decimal(billed),
        **{f"{side}_amount": to_decimal(totals[side]) for side in sides},
        "other_billed_amount": to_decimal(account.other_billed_amount),
        "unbilled_seconds": unbilled_seconds,
        "threshold_amount": to_decimal(threshold),
        "is_flagged": is_flagged,
        "severity": "critical" if is_flagged else "watch" if is_watched else "ok",
        "oldest_leakage_on": oldest,
        "age_days": age_days,
        "age_bucket": None if age_days is None else age_bucket(age_days),
    }


DEFAULT_THRESHOLDS: Mapping[str | None, Decimal] = {None: Decimal("1500.00")}


def reconcile(
    store: Store,
    as_of: dt.date,
    *,
    thresholds: Mapping[str | None, Decimal] | None = None,
    write_offs: Iterable[tuple[str, str, str, Decimal]] = (),
    waived: Iterable[tuple[str, str]] = (),
) -> Result:
    """Answer everything the rules answer, for one date."""
    waived = set(waived)
    accepted = {(contract_id, name, about): amount for contract_id, name, about, amount in write_offs}
    books = open_books(store, as_of, waived)
    if not store.live("contracts") or not books.logs:
        raise FailedFeedError("no contracts or no time logs at all")
    out = sort_logs(books, waived)

    lines: dict[str, list[Line]] = defaultdict(list)
    for line in books.lines:
        lines[line.contract_id].append(line)
    accounts = {
        contract_id: settle(contract, out.eligible[contract_id], lines[contract_id], as_of, out)
        for contract_id, contract in books.contracts.items()
    }

    sided: dict[str, dict[tuple[str, str, str], tuple[str, Fraction | None]]] = defaultdict(dict)
    findings: dict[tuple[str, str, str], Finding] = {}
    for key, amount in out.findings.items():
        side = SIDES[key[1]]
        if side == "leakage" and key in accepted and amount is not None and amount <= Fraction(accepted[key]):
            side = "written_off"
        sided[key[0]][key] = (side, amount)
        decimal = None if amount is None else to_decimal(amount)
        findings[key] = {"side": side, "amount": decimal, "currency": books.contracts[key[0]].currency}
    for contract_id, account in accounts.items():
        for line in account.mismatches:
            about = f"line:{line.invoice_id}/{line.line_no}"
            findings[contract_id, "currency_mismatch", about] = {
                "side": "overbilled",
                "amount": to_decimal(line.amount),
                "currency": line.currency,
            }

    thresholds = thresholds or DEFAULT_THRESHOLDS
    positions = {
        contract_id: position(contract, accounts[contract_id], sided[contract_id], as_of, thresholds)
        | {
            "quarantined_seconds": out.quarantined_seconds[contract_id],
            "quarantined_line_count": books.quarantined_line_count[contract_id],
        }
        for contract_id, contract in books.contracts.items()
    }
    counts = {name: out.counts[name] for name in ("received", "quarantined", "excluded", "out_of_term", "eligible")}
    if counts["received"] != sum(counts.values()) - counts["received"]:
        raise BrokenBalanceError("time logs")
    eligible = {
        time_log_id: (contract_id, one)
        for contract_id, account in accounts.items()
        for time_log_id, one in account.eligible.items()
    }
    return Result(counts, positions, findings, books.quarantine, eligible)
