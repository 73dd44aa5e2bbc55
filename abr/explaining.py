"""The recomputed numbers of one time log, contract or finding, as steps that a person can redo on paper.

Pure: no SQL, and no rule is decided here. A formula has the numbers in it: `x` multiplies, ` s` says seconds, `round`
and `->` round half away from zero to the currency's minor unit, a number that goes on ends with `…`. Talk follows `;`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from abr import console
from abr.console import Section, Step
from abr.reconciliation_engine import Explained

Row = Mapping[str, Any]

PARTS_MAX = 8  # of a sum that is written out; longer ones only say how many
ROWS_MAX = 12  # of a list of rates or lines
FINDINGS_MAX = 10

_SCALE = 10_000  # rates, multipliers and percentages are whole numbers of ten-thousandths
_DIGITS_MORE = 4  # shown of an exact amount beyond the minor unit
_SATURDAY = 6
_SCOPE = ("person", "task", "role", "project_id")
_SIDES = {"written_off": "written off"}

_REMEDIES = {
    "unparseable_value": "correct the value named beside it",
    "missing_value": "fill the cell named beside it",
    "conflicting_duplicate": "keep one: another row has the same key and says something else, or comes elsewhere from",
    "missing_project": "name a project",
    "unknown_project": "load the project with its contract, or correct the project",
    "missing_person": "name the person",
    "missing_date": "say on which day it was worked",
    "missing_duration": "say how long it took",
    "non_positive_duration": "correct the duration, or withdraw the log",
    "over_24_hours": "split it by day, or correct the duration",
    "future_dated": "correct the day, or wait for it",
    "invalid_contract": "correct the contract first",
    "no_rate": "add a rate that covers this work on this day",
    "ambiguous_rate": "remove one of the rates of the same scope and start that differ",
    "ends_before_start": "correct the contract's dates",
    "unknown_currency": "use a currency of ISO 4217",
    "negative_term": "correct the terms named beside it",
    "discount_over_100": "correct the discount",
    "unknown_choice": "use one of the allowed words",
    "bad_rate": "correct the contract's rates that are in quarantine",
}


@dataclass(frozen=True)
class _Money:
    """How amounts of one currency are written: counted in minor units, or as they are."""

    currency: str | None
    decimals: Mapping[str, int]
    minor_unit: Decimal

    def number(self, amount: Decimal | int | None) -> str:
        return console.money(amount, self.currency, self.decimals)

    def minor(self, count: int) -> str:
        return self.number(count * self.minor_unit)

    def amount(self, amount: Decimal | int | None) -> str:
        return f"{self.number(amount)} {self.currency or ''}".strip() if amount is not None else console.UNKNOWN

    def result(self, count: int | None) -> str:
        return self.amount(None if count is None else count * self.minor_unit)

    def rate(self, scaled: int) -> str:
        return self.number(Decimal(scaled) / _SCALE)

    def rounding(self, exact: Fraction, count: int) -> str:
        """Return how an exact amount becomes `count` minor units; nothing where it already is that."""
        if exact == Fraction(self.minor_unit) * count:
            return ""
        places = self.decimals.get(self.currency or "", 2) + _DIGITS_MORE
        cut = Decimal(int(exact * 10**places)).scaleb(-places)
        more = "" if Fraction(cut) == exact else "…"
        digits = f"{cut:,.{places}f}" if more else self.number(cut)
        return f" = {digits}{more} -> {self.minor(count)}"


def sections(explained: Explained, decimals: Mapping[str, int]) -> list[Section]:
    """Return the steps from what was recorded to what was found, with the numbers in every formula."""
    contract = explained.contract
    money = _Money(
        contract["currency"] if contract else None, decimals, contract["minor_unit"] if contract else Decimal("0.01")
    )
    parts = _of_log(explained, explained.log, money) if explained.log else _of_contract(explained, money)
    return [part for part in parts if part.steps or part.note]


# ---- a time log ---------------------------------------------------------------------------------------------------


def _of_log(explained: Explained, log: Row, money: _Money) -> list[Section]:
    parts = [_recorded(log)]
    if log["status"] == "quarantined":
        parts.append(_set_aside(explained, log))
    if explained.contract:
        parts.append(_contract_of_log(explained, explained.contract, log, money))
    pricing, billing = explained.pricing, explained.billing
    if explained.contract and pricing and billing:
        parts.append(Section("What is owed", _chain(explained, explained.contract, log, pricing, money)))
        parts.append(Section("What was billed", _billed(explained, billing, money)))
        parts.append(Section("Owed against billed", _compared(explained, explained.contract, billing, money)))
        return parts
    if log["status"] != "quarantined" and explained.contract:
        parts.append(Section("What it may be worth", _estimated(explained, explained.contract, log, money)))
    lines = _lines_naming(explained, money)
    if lines:
        parts.append(Section("What was billed", [*lines, Step("Billed for it", "only an eligible log can be billed")]))
    parts.append(Section("What was found", _findings(explained, money)))
    return parts


def _recorded(log: Row) -> Section:
    worked_on = log["worked_on"]
    steps = [
        Step("Person", log["person"] or console.NONE),
        Step("Project", log["project_id"] or console.NONE),
        *(Step(name.capitalize(), log[name]) for name in ("role", "task") if log[name]),
        Step("Worked on", f"{worked_on:%A} {worked_on}" if worked_on else console.NONE),
        Step("Entered on", str(log["entered_on"])) if log["entered_on"] else None,
        Step("Time", _clock(log["seconds"]), _seconds(log["seconds"])),
        Step("So it is", _STATUSES[log["excluded_as"] or log["status"]]),
    ]
    return Section(f"Time log {log['time_log_id']}", [step for step in steps if step])


_STATUSES = {
    "eligible": "eligible: the contract owes for it by the hour",
    "quarantined": "in quarantine: it cannot be trusted, and counts nowhere",
    "out_of_term": "out of term: no contract of its project covers the day",
    "non_billable": "excluded: marked as not billable",
    "unapproved": "excluded: not approved",
    "fixed_price": "excluded: a fixed-price contract owes nothing by the hour",
}


def _set_aside(explained: Explained, log: Row) -> Section:
    own = [reason for reason in explained.reasons if reason["dataset"] == "time_logs"]
    steps = _reasons(own)
    if any(reason["reason"] == "invalid_contract" for reason in own):
        steps += [
            Step("Contract", f"{step.label}: {step.formula}")
            for step in _reasons([reason for reason in explained.reasons if reason["dataset"] == "contracts"])
        ]
    rows = [row for row in explained.set_aside if row["entity"] == "time_logs"]
    if log["seconds"] and log["seconds"] > 0 and any(row["state"] == "open" for row in rows):
        steps.append(Step("At risk", f"{_clock(log['seconds'])}, beside the position", _seconds(log["seconds"])))
    return Section("Why it is in quarantine", [*steps, *_ways_out(rows)])


def _reasons(reasons: Sequence[Row]) -> list[Step]:
    steps = []
    for reason in reasons:
        detail = f"{reason['detail']}: " if reason["detail"] else ""
        steps.append(Step(reason["reason"], detail + _REMEDIES.get(reason["reason"], "correct it")))
    return list(dict.fromkeys(steps))


def _ways_out(rows: Sequence[Row]) -> list[Step]:
    if not rows:
        return []
    steps = [Step("What to do", "correct it where it was recorded, and load it again")]
    for row in rows:
        if row["state"] == "waived":
            steps.append(Step("Waived", f"by {row['waived_by']}: {row['waived_reason']}"))
        else:
            steps.append(Step("or accept it", f"abr quarantine waive {row['quarantine_id']} --reason 'why'"))
    return steps


def _contract_of_log(explained: Explained, contract: Row, log: Row, money: _Money) -> Section:
    how = {
        "in_force": "in force on that day",
        "nearest": f"the nearest in time of its project; its rates of {log['rate_on']} are used",
        "only": "the only one of its project",
    }
    steps = [Step("Client", contract["client"] or console.NONE), Step("Which is", how.get(log["match"], ""))]
    steps += _dates(explained.versions)
    if explained.pricing or log["excluded_as"] == "fixed_price":
        names = {"Rounding", "Minimum", "Overtime", "Prepaid", "Hours cap", "Money cap", "Discount"}
        if _is_weekend(log["worked_on"]):
            names.add("Weekend")
        if contract["billing_model"] == "fixed_price":
            names = {"Billing", "Hours cap"}
        steps += _terms(contract, money, names)
    return Section(f"Contract {contract['contract_id']}", steps)


def _dates(versions: Sequence[Row]) -> list[Step]:
    return [Step("Runs", _span(version["starts_on"], version["ends_on"])) for version in versions]


def _terms(contract: Row, money: _Money, only: Collection[str] | None = None) -> list[Step]:
    """Return the terms that do something, those named in `only` where given."""
    is_entry = contract["rounding_unit"] == "entry"
    unit = "each entry" if is_entry else "the day's entries of a project, person and task together"
    modes = {"up": "up", "down": "down", "nearest": "to the nearest, halves up"}
    steps = {
        "Billing": Step("Billing", contract["billing_model"].replace("_", " ")),
        "Rounding": Step(
            "Rounding", f"{modes.get(contract['rounding_mode'], 'up')}, {unit}", _seconds(contract["rounding_seconds"])
        ),
        "Minimum": Step("Minimum", f"at least this, {unit}", _seconds(contract["minimum_seconds"])),
        "Overtime": Step(
            "Overtime",
            f"beyond {_clock(contract['overtime_after_seconds'])} a person and day",
            f"x {_scaled(contract['overtime_factor'])}",
        ),
        "Weekend": Step("Weekend", "Saturday and Sunday", f"x {_scaled(contract['weekend_factor'])}"),
        "Prepaid": Step(
            "Prepaid",
            f"the first {_clock(contract['prepaid_seconds'])}{_per(contract['prepaid_period'])}",
            _seconds(contract["prepaid_seconds"]),
        ),
        "Hours cap": Step(
            "Hours cap",
            f"at most {_clock(contract['cap_seconds'])}{_per(contract['cap_period'])}",
            _seconds(contract["cap_seconds"]),
        ),
        "Money cap": Step("Money cap", f"at most{_per(contract['cap_period'])}", money.result(contract["cap_minor"])),
        "Discount": Step("Discount", "off every price", f"{_discount(contract)} %"),
        "Grace": Step("Grace", _grace(contract), _days(contract["grace_days"])),
        "Threshold": Step("Threshold", "leakage above it is flagged", money.amount(contract["threshold_amount"])),
    }
    idle = {
        "Rounding": not contract["rounding_seconds"],
        "Minimum": not contract["minimum_seconds"],
        "Overtime": contract["overtime_after_seconds"] is None,
        "Weekend": contract["weekend_factor"] == _SCALE,
        "Prepaid": contract["prepaid_seconds"] <= 0,
        "Hours cap": contract["cap_seconds"] is None,
        "Money cap": contract["cap_minor"] is None,
        "Discount": _discount(contract) == "0",
        "Grace": not contract["grace_days"] and contract["grace_from"] != "month_end",
    }
    return [step for name, step in steps.items() if not idle.get(name) and (only is None or name in only)]


# ---- the pricing chain --------------------------------------------------------------------------------------------


def _chain(explained: Explained, contract: Row, log: Row, pricing: Row, money: _Money) -> list[Step]:
    steps = _rounded(explained.unit, contract, pricing)
    steps += _overtime(contract, pricing)
    steps += _prepaid(contract, pricing)
    steps += _capped(contract, pricing)
    if not steps:
        why = "as logged: no rounding, overtime, prepaid time or hours cap is agreed"
        steps.append(Step("1-4 Payable", why, _seconds(pricing["payable_seconds"])))
    steps.append(_rate(explained.rates, log, pricing["hourly_rate_scaled"], money, "5 Rate"))
    steps += _price(contract, pricing, money)
    return [*steps, *_owed(contract, pricing, money)]


def _rounded(unit: Sequence[Row], contract: Row, pricing: Row) -> list[Step]:
    if not contract["rounding_seconds"] and not contract["minimum_seconds"]:
        return []
    raw, whole, own = pricing["unit_seconds"], pricing["unit_rounded_seconds"], pricing["rounded_seconds"]
    formula = _rounding_formula(contract, raw)
    if len(unit) <= 1:
        return [Step("1 Rounding", formula, _seconds(own))]
    to_here = sum(row["seconds"] for row in unit if row["place"] <= pricing["place"])
    before = to_here - pricing["seconds"]
    whose = "; all entries of the project, person, task and day"
    parts = [_seconds(row["seconds"]) for row in unit]
    day = " + ".join(parts) if len(parts) <= PARTS_MAX else f"{len(parts)} entries"
    share = f"min({_seconds(to_here)}, {_seconds(whole)})"
    if before:
        share += f" - min({_seconds(before)}, {_seconds(whole)})"
    if pricing["row_id"] == unit[-1]["row_id"] and whole > raw:
        share += f" + ({_seconds(whole)} - {_seconds(raw)})"
        why = "up to this entry less before it; the last also gets what is left"
    else:
        why = "up to this entry less before it"
    return [
        Step("1 The day's time", day + whose, _seconds(raw)),
        Step("  rounded", formula, _seconds(whole)),
        Step("  of that, here", f"{share}; {why}", _seconds(own)),
    ]


def _rounding_formula(contract: Row, raw: int) -> str:
    increment, least = contract["rounding_seconds"], contract["minimum_seconds"]
    formula = _seconds(raw)
    if increment:
        ratio = f"{_seconds(raw)} / {_seconds(increment)}"
        steps = {"down": f"floor({ratio})", "nearest": f"floor({ratio} + 1/2)"}
        formula = f"{steps.get(contract['rounding_mode'], f'ceil({ratio})')} x {_seconds(increment)}"
    return f"max({formula}, {_seconds(least)})" if least else formula


def _overtime(contract: Row, pricing: Row) -> list[Step]:
    if contract["overtime_after_seconds"] is None:
        return []
    own, before = pricing["rounded_seconds"], pricing["day_seconds_to_here"] - pricing["rounded_seconds"]
    why = f"; the day's earlier logs took {_seconds(before)}" if before else ""
    formula = _limited(own, contract["overtime_after_seconds"], before)
    regular = Step("2 Regular", formula + why, _seconds(pricing["regular_seconds"]))
    if not pricing["overtime_seconds"]:
        return [regular]
    formula = f"{_seconds(own)} - {_seconds(pricing['regular_seconds'])}"
    return [regular, Step("  Overtime", formula, _seconds(pricing["overtime_seconds"]))]


def _prepaid(contract: Row, pricing: Row) -> list[Step]:
    if contract["prepaid_seconds"] <= 0:
        return []
    own, paid = pricing["rounded_seconds"], pricing["prepaid_seconds"]
    before = pricing["prepaid_seconds_to_here"] - own
    why = _earlier("took", before and _seconds(before), contract["prepaid_period"], pricing["worked_on"])
    steps = [Step("3 Prepaid", _limited(own, contract["prepaid_seconds"], before) + why, _seconds(paid))]
    if paid:
        steps += _left(pricing, paid)
    return steps


def _left(pricing: Row, paid: int) -> list[Step]:
    """Return what prepaid time leaves to pay: regular seconds are used up first."""
    if not pricing["overtime_seconds"]:
        left = f"{_seconds(pricing['regular_seconds'])} - {_seconds(paid)}"
        return [Step("  left to pay", left, _seconds(pricing["unpaid_regular_seconds"]))]
    regular, overtime = pricing["regular_seconds"], pricing["overtime_seconds"]
    taken = f"min({_seconds(regular)}, {_seconds(paid)})"
    return [
        Step("  regular left", f"{_seconds(regular)} - {taken}", _seconds(pricing["unpaid_regular_seconds"])),
        Step(
            "  overtime left",
            f"{_seconds(overtime)} - ({_seconds(paid)} - {taken})",
            _seconds(pricing["unpaid_overtime_seconds"]),
        ),
    ]


def _capped(contract: Row, pricing: Row) -> list[Step]:
    if contract["cap_seconds"] is None:
        return []
    unpaid_regular, unpaid_overtime = pricing["unpaid_regular_seconds"], pricing["unpaid_overtime_seconds"]
    unpaid, payable = unpaid_regular + unpaid_overtime, pricing["payable_seconds"]
    before = pricing["cap_seconds_to_here"] - unpaid
    why = _earlier("took", before and _seconds(before), contract["cap_period"], pricing["worked_on"])
    steps = [Step("4 Within hours cap", _limited(unpaid, contract["cap_seconds"], before) + why, _seconds(payable))]
    if payable == unpaid:
        return steps
    if unpaid_overtime:
        regular, overtime = pricing["payable_regular_seconds"], pricing["payable_overtime_seconds"]
        steps.append(Step("  regular", f"min({_seconds(unpaid_regular)}, {_seconds(payable)})", _seconds(regular)))
        steps.append(Step("  overtime", f"{_seconds(payable)} - {_seconds(regular)}", _seconds(overtime)))
    return [*steps, Step("  over the cap", f"{_seconds(unpaid)} - {_seconds(payable)}", _seconds(unpaid - payable))]


def _rate(rates: Sequence[Row], log: Row, scaled: int | None, money: _Money, label: str) -> Step:
    day = log["rate_on"]
    matching = [
        rate
        for rate in rates
        if day is not None
        and rate["valid_from"] <= day
        and (day < rate["valid_to"] or not _rate_end(rate))
        and all(rate[name] is None or rate[name] == log[name] for name in _SCOPE)
    ]
    if scaled is None or not matching:
        return Step(label, f"there is no one rate for {day}", console.UNKNOWN)
    winner = matching[0]
    others = [rate for rate in matching if rate["precedence"] != winner["precedence"]]
    why = ""
    if others:
        is_alike = any(_specificity(rate) == _specificity(winner) for rate in others)
        best = "the latest of the most specific" if is_alike else "the most specific"
        why = f"; {best} of {len(matching)} that match"
    words = f"for {_scope(winner)}, from {winner['valid_from']}{_rate_end(winner)}"
    return Step(label, words + why, f"{money.rate(scaled)} an hour")


def _specificity(rate: Row) -> list[bool]:
    return [rate[name] is not None for name in _SCOPE]


def _scope(row: Row) -> str:
    words = [f"{name.removesuffix('_id')} {row[name]}" for name in _SCOPE if row[name] is not None]
    return ", ".join(words) or "all work"


def _rate_end(rate: Row) -> str:
    return "" if rate["valid_to"] == date.max else f" until before {rate['valid_to']}"


def _price(contract: Row, pricing: Row, money: _Money) -> list[Step]:
    regular, overtime = pricing["payable_regular_seconds"], pricing["payable_overtime_seconds"]
    why = "" if pricing["regular_factor"] == _SCALE else f"; weekend, x {_scaled(pricing['regular_factor'])}"
    formula = _price_formula(contract, pricing, (regular, overtime), pricing["amount_minor"], money)
    steps = [Step("6 Price", formula + why, money.result(pricing["amount_minor"]))]
    over_regular = pricing["unpaid_regular_seconds"] - regular
    over_overtime = pricing["unpaid_overtime_seconds"] - overtime
    if over_regular or over_overtime:
        count = pricing["over_cap_seconds_minor"]
        formula = _price_formula(contract, pricing, (over_regular, over_overtime), count, money)
        steps.append(Step("  over the cap", f"{formula}; not owed", money.result(count)))
    return steps


def _price_formula(contract: Row, pricing: Row, seconds: tuple[int, int], count: int, money: _Money) -> str:
    factors = (pricing["regular_factor"], pricing["overtime_factor"])
    is_plain = factors == (_SCALE, _SCALE) or not all(seconds)
    parts = [
        _seconds(part) if is_plain and factor == _SCALE else f"{_seconds(part)} x {_scaled(factor)}"
        for part, factor in zip(seconds, factors, strict=True)
        if part
    ]
    worth = f"({' + '.join(parts)})" if len(parts) > 1 else "".join(parts) or _seconds(0)
    weighted = sum(part * factor for part, factor in zip(seconds, factors, strict=True))
    exact = Fraction(weighted * pricing["hourly_rate_scaled"] * pricing["discount_factor"], 360_000 * _SCALE**3)
    discount = _discount(contract)
    share = " / 3,600" if discount == "0" else f" x (100 - {discount}) / 360,000"
    return f"{worth} x {money.rate(pricing['hourly_rate_scaled'])}{share}{money.rounding(exact, count)}"


def _owed(contract: Row, pricing: Row, money: _Money) -> list[Step]:
    amount, owed, over = pricing["amount_minor"], pricing["expected_minor"], pricing["over_cap_minor"]
    if contract["cap_minor"] is None:
        return []
    before, cap = pricing["amount_minor_to_here"] - amount, contract["cap_minor"]
    why = _earlier("cost", before and money.minor(before), contract["cap_period"], pricing["worked_on"])
    left = _remaining(money.minor(cap), before and money.minor(before), before - cap)
    formula = f"min({money.minor(amount)}, {left})"
    steps = [Step("7 Within money cap", formula + why, money.result(owed))]
    if amount > owed:
        beyond = f"{money.minor(amount)} - {money.minor(owed)}"
        if pricing["over_cap_seconds_minor"]:
            beyond += f" + {money.minor(pricing['over_cap_seconds_minor'])}"
        steps.append(Step("  over the caps", f"{beyond}; not owed", money.result(over)))
    return steps


# ---- what was billed ----------------------------------------------------------------------------------------------


def _billed(explained: Explained, billing: Row, money: _Money) -> list[Step]:
    steps = _lines_naming(explained, money)
    direct = [line for line in explained.lines if _bills(line, billing)]
    if direct:
        return [*steps, *_billed_direct(direct, billing, money)]
    if explained.pool:
        return [*steps, *_billed_by_pool(explained, explained.pool, billing, money)]
    if not billing["payable_seconds"]:
        why = "no live line names this log, and a pooled one bills only logs with something to pay"
    else:
        why = "no live line names this log, and no pooled one with hours matches it"
    return [*steps, Step("Billed", why, money.result(0))]


def _bills(line: Row, log: Row) -> bool:
    is_named: bool = line["is_direct"] and line["time_log_id"] is not None
    return is_named and line["contract_id"] == log["contract_id"]


def _lines_naming(explained: Explained, money: _Money) -> list[Step]:
    """Return the invoice lines that name the log, and why some of them bill nothing."""
    steps = []
    log_contract_id = explained.pricing["contract_id"] if explained.pricing else None
    named = [line for line in explained.lines if line["time_log_id"] is not None]
    for line in named[:ROWS_MAX]:
        own = _Money(line["currency"], money.decimals, money.minor_unit)
        steps.append(Step(_line_name(line), _line_words(line, log_contract_id), own.amount(line["net_amount"])))
    if len(named) > ROWS_MAX:
        steps.append(Step("", f"and {len(named) - ROWS_MAX} more lines that name it"))
    return steps + [
        Step(row["key"], f"in quarantine, bills nothing: {row['reasons'].replace(',', ', ')}")
        for row in explained.set_aside
        if row["entity"] == "invoice_lines"
    ]


def _line_name(line: Row) -> str:
    return f"{line['invoice_id']}/{line['line_no']}"


def _line_words(line: Row, contract_id: str | None) -> str:
    words = [line["status"] or "no status"]
    if line["issued_on"]:
        words.append(str(line["issued_on"]))
    words.append("no seconds given" if line["seconds"] is None else _seconds(line["seconds"]))
    why = ""
    if not line["is_live"]:
        why = "it is not live"
    elif line["kind"] != "time":
        why = f"it is of kind {line['kind']}, not time"
    elif line["billing_model"] == "fixed_price":
        why = f"contract {line['contract_id']} has a fixed price"
    elif not line["is_in_currency"]:
        why = "its currency is not the contract's"
    elif contract_id is not None and line["contract_id"] != contract_id:
        why = f"it belongs to contract {line['contract_id']}"
    return ", ".join(words) + (f"; bills nothing here: {why}" if why else "")


def _billed_direct(lines: Sequence[Row], billing: Row, money: _Money) -> list[Step]:
    total = _sum([line["amount_minor"] for line in lines], money.minor)
    steps = [Step("Billed", total or f"{len(lines)} lines", money.result(billing["billed_minor"]))]
    if any(line["seconds"] is None for line in lines):
        why = "a line has no seconds, so all payable ones count as billed"
        return [*steps, Step("Seconds billed", why, _seconds(billing["billed_seconds"]))]
    time = _sum([line["seconds"] for line in lines], _seconds)
    return [*steps, Step("Seconds billed", time or f"{len(lines)} lines", _seconds(billing["billed_seconds"]))]


def _billed_by_pool(explained: Explained, pool: Row, billing: Row, money: _Money) -> list[Step]:
    before, used, whole = pool["used_before"], pool["billed_seconds"], pool["seconds"]
    total, so_far = money.minor(pool["amount_minor"]), before + used
    formula = f"round({total} x {_seconds(so_far)} / {_seconds(whole)})"
    if before:
        formula += f" - round({total} x {_seconds(before)} / {_seconds(whole)})"
    why = f"; {_seconds(before)} were used by earlier logs" if before else ""
    return [
        *_pool_steps(explained, pool, money),
        Step("Seconds billed", _limited(billing["payable_seconds"], whole, before) + why, _seconds(used)),
        Step("Billed", f"{formula}; its share of the pool, so far less before", money.result(billing["billed_minor"])),
    ]


def _pool_steps(explained: Explained, pool: Row, money: _Money) -> list[Step]:
    lines = [line for line in explained.lines if line["time_log_id"] is None and line["is_matched"]]
    names = ", ".join(_line_name(line) for line in lines[:ROWS_MAX])
    more = f" and {len(lines) - ROWS_MAX} more" if len(lines) > ROWS_MAX else ""
    amounts = _sum([line["amount_minor"] for line in lines], money.minor)
    seconds = _sum([line["seconds"] or 0 for line in lines], _seconds)
    start, end = pool["period_start"] or date.min, pool["period_end"] or date.max
    return [
        Step("Pooled lines", f"{names}{more}, for {_scope(pool)}, {_span(start, end)}"),
        Step("Pool's amount", amounts or f"{len(lines)} lines", money.result(pool["amount_minor"])),
        Step("Pool's seconds", seconds or f"{len(lines)} lines", _seconds(pool["seconds"])),
    ]


# ---- findings -----------------------------------------------------------------------------------------------------


def _compared(explained: Explained, contract: Row, billing: Row, money: _Money) -> list[Step]:
    owed, billed = billing["expected_minor"], billing["billed_minor"]
    steps = [Step("Owed - billed", _less(owed, billed, money.minor), money.result(owed - billed))]
    if owed > billed:
        due = billing["due_on"] if isinstance(billing["due_on"], date) else "never"
        start = f"{billing['worked_on']}"
        if contract["grace_from"] == "month_end":
            start = f"the end of {billing['worked_on']:%Y-%m}"
        steps.append(Step("Due", f"{start} + {_days(contract['grace_days'])}", str(due)))
    if not explained.findings:
        return [*steps, Step("Found", "nothing: billed as owed")]
    return steps + _findings(explained, money)


def _findings(explained: Explained, money: _Money) -> list[Step]:
    found = sorted(explained.findings, key=lambda finding: finding["class"] == "over_cap")
    return [step for finding in found for step in _finding(explained, finding, money)]


def _finding(explained: Explained, finding: Row, money: _Money) -> list[Step]:
    own = _Money(finding["currency"], money.decimals, money.minor_unit)
    words = f"{_SIDES.get(finding['side'], finding['side'])}: {_why(explained, finding)}"
    formula = _finding_formula(explained, finding, money)
    name, accept = finding["finding_id"], "to accept it: abr write-off {} --reason 'why'"
    steps = [
        Step(finding["class"], f"{formula}; {words}" if formula else words, own.amount(finding["amount"])),
        Step("  finding", accept.format(name) if finding["side"] == "leakage" else name),
    ]
    if finding["side"] == "written_off":
        decision = f"by {finding['decided_by']} on {finding['decided_at']:%Y-%m-%d}: {finding['reason']}"
        steps.append(Step("  written off", f"{decision}; to take it back: abr write-off {name} --undo --reason 'why'"))
    return steps


def _finding_formula(explained: Explained, finding: Row, money: _Money) -> str:
    """Return how the finding's amount comes about; nothing where it was a step before."""
    name, billing, pricing = finding["class"], explained.billing, explained.pricing
    if name in {"invoiced_without_log", "unapplied_credit"}:
        return _unmatched_formula(explained, finding, money)
    if billing is None or pricing is None:
        return ""
    owed, billed = billing["expected_minor"], billing["billed_minor"]
    payable, used = billing["payable_seconds"], billing["billed_seconds"]
    if finding["side"] == "overbilled":
        return _less(billed, owed, money.minor)
    if name == "hours_short":
        short = f"round({money.minor(owed)} x ({_less(payable, used, _seconds)}) / {_seconds(payable)})"
        return f"min({money.minor(owed - billed)}, {short})"
    if name == "rate_under":
        hours = sum(row["amount"] for row in explained.findings if row["class"] == "hours_short")
        return f"{money.minor(owed - billed)} - {money.number(hours)}" if hours else _less(owed, billed, money.minor)
    return "" if name == "over_cap" else _less(owed, billed, money.minor)


def _unmatched_formula(explained: Explained, finding: Row, money: _Money) -> str:
    if finding["about"].startswith("pool:"):
        pool = explained.pool
        if pool is None or "used_before" in pool:
            return ""
        left, right = pool["amount_minor"], pool["billed_minor"]
        is_credit = finding["class"] == "unapplied_credit"
        return _less(right, left, money.minor) if is_credit else _less(left, right, money.minor)
    lines = [
        line
        for line in explained.lines
        if line["is_matched"]
        and line["time_log_id"] == finding["time_log_id"]
        and line["contract_id"] == finding["contract_id"]
    ]
    own = _Money(finding["currency"], money.decimals, money.minor_unit)
    total = _sum([line["net_amount"] for line in lines], own.number)
    return f"0 - ({total})" if total and finding["class"] == "unapplied_credit" else total


def _why(explained: Explained, finding: Row) -> str:
    name, billing, log = finding["class"], explained.billing, explained.log
    invoices = finding["invoice_ids"] or "no invoice"
    words = {
        "unbilled": "no live invoice bills it",
        "void_not_rebilled": f"void {invoices} had billed it, and no live invoice does",
        "late_entry": f"entered after {invoices} for its days went out",
        "not_due": f"as of {explained.as_of} it is not due yet",
        "rate_under": "less was billed for the hours than is owed",
        "rate_over": "more was billed for the hours than is owed",
        "over_cap": "worked beyond a cap, so not owed",
        "out_of_term": "worked without a contract in force, estimated above",
        "non_billable_time": "worked, but marked as not billable; estimated above",
        "unapproved": "worked, but not approved; estimated above",
        "fixed_price_overrun": "beyond the cap of a fixed price; estimated above",
        "invoiced_without_log": f"{invoices} bills what no eligible log accounts for",
        "unapplied_credit": f"{invoices} credits what no eligible log accounts for",
        "currency_mismatch": f"{invoices} bills in another currency than the contract's",
    }
    if explained.finding and log is None:
        words |= dict.fromkeys(("out_of_term", "non_billable_time", "unapproved", "fixed_price_overrun"), "estimated")
    if billing:
        payable, used = _seconds(billing["payable_seconds"]), _seconds(billing["billed_seconds"])
        lines = max(billing["direct_line_count"], 1)
        words |= {
            "hours_short": f"{used} billed of {payable} payable",
            "hours_over": f"{used} billed, only {payable} payable",
            "double_billed": f"{billing['positive_invoice_count']} invoices bill it ({invoices})",
            "rounding": f"no more than the smallest coin for each of {_counted(lines, 'line')}",
        }
    return str(words.get(name, name.replace("_", " ")))


def _estimated(explained: Explained, contract: Row, log: Row, money: _Money) -> list[Step]:
    """Return why a log is not eligible, and its estimate where there is one."""
    steps = []
    if log["status"] == "out_of_term":
        steps.append(Step("Out of term", f"no contract of project {log['project_id']} covers {log['worked_on']}"))
    elif log["excluded_as"] == "non_billable":
        whose = "the log" if not log["is_billable"] else f"project {log['project_id']} of the contract"
        steps.append(Step("Not billable", f"{whose} says so"))
    elif log["excluded_as"] == "fixed_price":
        steps += _overrun(explained, contract, log)
    estimate = explained.estimate
    if estimate is None:
        return [*steps, Step("Estimate", "none: it is no exposure", money.result(0))]
    scaled, count = log["hourly_rate_scaled"], estimate["amount_minor"]
    steps.append(_rate(explained.rates, log, scaled, money, "Rate"))
    if scaled is None or count is None:
        why = "no single rate" if contract["is_valid"] else "the contract is in quarantine"
        return [*steps, Step("Estimate", f"{_seconds(estimate['seconds'])}, but {why}", console.UNKNOWN)]
    exact = Fraction(estimate["seconds"] * scaled, 3_600 * _SCALE)
    formula = f"{_seconds(estimate['seconds'])} x {money.rate(scaled)} / 3,600{money.rounding(exact, count)}"
    return [*steps, Step("Estimate", f"{formula}; the rate alone, no other terms", money.result(count))]


def _overrun(explained: Explained, contract: Row, log: Row) -> list[Step]:
    before, cap, own = explained.seconds_before, contract["cap_seconds"], log["seconds"]
    if cap is None or before is None:
        return [Step("Hours cap", "none is agreed, so nothing can overrun")]
    over = own - min(own, max(cap - before, 0))
    why = _earlier("took", before and _seconds(before), contract["cap_period"], log["worked_on"])
    return [Step("Beyond the cap", f"{_seconds(own)} - {_limited(own, cap, before)}{why}", _seconds(over))]


# ---- a contract ---------------------------------------------------------------------------------------------------


def _of_contract(explained: Explained, money: _Money) -> list[Section]:
    contract, position = explained.contract, explained.position
    if contract is None or position is None:
        return []
    head = [
        Step("Client", contract["client"] or console.NONE),
        Step("Currency", contract["currency"] or console.NONE),
        *_dates(explained.versions),
    ]
    reasons = _reasons([reason for reason in explained.reasons if reason["dataset"] == "contracts"])
    rows = [row for row in explained.set_aside if row["entity"] == "contracts"]
    return [
        _asked_for(explained, money),
        Section(f"Contract {contract['contract_id']}", head),
        Section("Why it is in quarantine", [*reasons, *_ways_out(rows)] if reasons else []),
        Section("Terms that do something", _terms(contract, money)),
        Section("Rates", _rate_list(explained.rates, money)),
        Section("Its time logs", _log_counts(explained.logs)),
        Section("Findings", _classes(explained, money)),
        Section("Do the figures add up", _identity(explained.findings, position, money)),
        Section("Is it flagged", _flag(contract, position, money)),
        Section("Beside the position", _beside(position, money)),
        _largest(explained.findings, money),
    ]


def _asked_for(explained: Explained, money: _Money) -> Section:
    finding = explained.finding
    if finding is None:
        return Section("")
    steps = [Step("About", finding["about"].partition(":")[0] + " " + finding["about"].partition(":")[2])]
    pool = explained.pool
    if pool and finding["about"].startswith("pool:"):
        steps += _pool_steps(explained, pool, money)
        steps.append(Step("Billed for logs", "what eligible logs took of it", money.result(pool["billed_minor"])))
    else:
        for line in explained.lines[:ROWS_MAX]:
            own = _Money(line["currency"], money.decimals, money.minor_unit)
            steps.append(Step(_line_name(line), _line_words(line, None), own.amount(line["net_amount"])))
    return Section(f"Finding {finding['finding_id']}", [*steps, *_finding(explained, finding, money)])


def _rate_list(rates: Sequence[Row], money: _Money) -> list[Step]:
    steps = [
        Step(f"from {rate['valid_from']}", _scope(rate) + _rate_end(rate), money.number(rate["hourly_rate"]))
        for rate in rates
    ]
    if len(steps) > ROWS_MAX:
        return [*steps[:ROWS_MAX], Step("", f"and {len(steps) - ROWS_MAX} more")]
    return steps or [Step("None", "so no log of it can be priced")]


def _log_counts(logs: Sequence[Row]) -> list[Step]:
    steps = []
    for row in logs:
        status = row["status"].replace("_", " ")
        words = (row["excluded_as"] or "").replace("_", " ")
        count = _counted(row["log_count"], "log")
        steps.append(Step(status, f"{count}, {words}" if words else count, _clock(row["seconds"])))
    return steps or [Step("None", "no log belongs to it")]


def _classes(explained: Explained, money: _Money) -> list[Step]:
    groups: dict[tuple[str, str, str | None], list[Row]] = defaultdict(list)
    for finding in explained.findings:
        groups[finding["side"], finding["class"], finding["currency"]].append(finding)
    steps = []
    order = ("leakage", "written_off", "pending", "noise", "overbilled", "exposure")
    for side, name, currency in sorted(groups, key=lambda key: (order.index(key[0]), key[1], key[2] or "")):
        group = groups[side, name, currency]
        own = _Money(currency, money.decimals, money.minor_unit)
        known = [finding["amount"] for finding in group if finding["amount"] is not None]
        total = _sum(known, own.number) if len(known) > 1 else ""
        words = f"{_SIDES.get(side, side)}, {_counted(len(group), 'finding')}"
        if len(known) < len(group):
            words += f", {len(group) - len(known)} of unknown amount"
        steps.append(Step(name, f"{total}; {words}" if total else words, own.amount(sum(known) if known else None)))
    is_set_aside = explained.reasons or any(row["status"] == "quarantined" for row in explained.logs)
    none = "what is in quarantine was not looked at" if is_set_aside else "everything owed was billed, and nothing else"
    return steps or [Step("None", none)]


def _identity(findings: Sequence[Row], position: Row, money: _Money) -> list[Step]:
    owed, billed = position["expected_amount"], position["billed_amount"]
    over: dict[str, Decimal] = {}
    for row in sorted(findings, key=lambda row: row["class"]):
        if row["side"] == "overbilled" and row["expected_amount"] is not None:  # of an eligible log
            over[row["class"]] = over.get(row["class"], Decimal(0)) + row["amount"]
    sides = [position[f"{side}_amount"] for side in ("leakage", "written_off", "pending", "noise")]
    words = "leakage + written off + pending + noise"
    formula = _sum(sides, money.number)
    if over:
        formula += " - " + _together(_sum(list(over.values()), money.number))
        words += " - " + _together(" + ".join(over))
    return [
        Step("Owed", "for its eligible logs", money.amount(owed)),
        Step("Billed", "to these logs", money.amount(billed)),
        Step("Owed - billed", _less(owed, billed, money.number), money.amount(owed - billed)),
        Step("The same, found", f"{formula}; {words}", money.amount(sum(sides, Decimal(0)) - sum(over.values()))),
    ]


def _together(terms: str) -> str:
    return f"({terms})" if " " in terms else terms


def _flag(contract: Row, position: Row, money: _Money) -> list[Step]:
    leakage, threshold = position["leakage_amount"], position["threshold_amount"]
    how = "is more than" if leakage > threshold else "is not more than"
    words = f"leakage of {money.number(leakage)} {how} {money.number(threshold)}"
    if not contract["is_valid"]:
        words += "; a contract in quarantine is never flagged"
    elif position["severity"] == "watch":
        words += ", but at least half of it: watch"
    steps = [Step("Flagged", words, "yes" if position["is_flagged"] else "no")]
    if position["oldest_leakage_on"] is not None:
        steps.append(Step("Oldest leakage", "worked on", str(position["oldest_leakage_on"])))
    return steps


def _beside(position: Row, money: _Money) -> list[Step]:
    steps = []
    if position["unbilled_hours"]:
        steps.append(Step("Hours not billed", "of its leakage", f"{console.hours(position['unbilled_hours'])} h"))
    if position["quarantined_hours"] or position["quarantined_line_count"]:
        words = "time logs in quarantine, not in any sum above"
        steps.append(Step("At risk", words, f"{console.hours(position['quarantined_hours'])} h"))
        words = "invoices and lines in quarantine; they may explain leakage"
        steps.append(Step("", words, f"{position['quarantined_line_count']:,}"))
    if position["other_billed_amount"]:
        words = "invoiced outside the hours: travel, licences, fixed fees"
        steps.append(Step("Other billed", words, money.amount(position["other_billed_amount"])))
    return steps


def _largest(findings: Sequence[Row], money: _Money) -> Section:
    ranked = sorted(
        findings, key=lambda row: (row["side"] != "leakage", -abs(row["amount"] or 0), row["class"], row["about"])
    )
    steps = [
        Step(
            finding["finding_id"],
            f"{finding['class']}, {finding['about']}",
            _Money(finding["currency"], money.decimals, money.minor_unit).amount(finding["amount"]),
        )
        for finding in ranked[:FINDINGS_MAX]
    ]
    if len(ranked) > FINDINGS_MAX:
        steps.append(Step("", f"{FINDINGS_MAX} of {len(ranked):,}; abr findings for the rest"))
    return Section("Largest findings, leakage first (abr explain ID)", steps)


# ---- words and numbers --------------------------------------------------------------------------------------------


def _seconds(count: int | None) -> str:
    return console.NONE if count is None else f"{count:,} s"


def _clock(count: int | None) -> str:
    """Return seconds as H:MM:SS."""
    if count is None:
        return console.NONE
    minutes, seconds = divmod(abs(int(count)), 60)
    return f"{'-' if count < 0 else ''}{minutes // 60:,}:{minutes % 60:02}:{seconds:02}"


def _scaled(factor: int) -> str:
    """Return ten-thousandths as a number without needless zeros."""
    whole, rest = divmod(factor, _SCALE)
    return f"{whole:,}.{rest:04}".rstrip("0").rstrip(".")


def _discount(contract: Row) -> str:
    percent = 100 * _SCALE - contract["discount_factor"]
    return f"-{_scaled(-percent)}" if percent < 0 else _scaled(percent)


def _limited(own: int, limit: int, before: int) -> str:
    """Return how much of `own` seconds lies within a limit of which `before` were used."""
    return f"min({_seconds(own)}, {_remaining(_seconds(limit), before and _seconds(before), before - limit)})"


def _remaining(limit: str, before: str | int, excess: int) -> str:
    if not before:
        return limit
    return f"max({limit} - {before}, 0)" if excess > 0 else f"{limit} - {before}"


def _less(left: Any, right: Any, written: Callable[[Any], str]) -> str:
    return f"{written(left)} + {written(-right)}" if right < 0 else f"{written(left)} - {written(right)}"


def _sum(parts: Sequence[Any], written: Callable[[Any], str]) -> str:
    """Return the parts as a sum, or nothing where they are too many to write out."""
    if not parts or len(parts) > PARTS_MAX:
        return ""
    text = written(parts[0])
    for part in parts[1:]:
        text += f" - {written(-part)}" if part < 0 else f" + {written(part)}"
    return text


def _per(period: str) -> str:
    return " per calendar month" if period == "month" else " in all"


def _earlier(verb: str, amount: str | int, period: str, day: date) -> str:
    """Return what a period's earlier logs used, as talk; nothing where there were none."""
    within = f" in {day:%Y-%m}" if period == "month" else ""
    return f"; earlier logs{within} {verb} {amount}" if amount else ""


def _is_weekend(day: date | None) -> bool:
    return day is not None and day.isoweekday() >= _SATURDAY


def _grace(contract: Row) -> str:
    return "to invoice, from the end of the month" if contract["grace_from"] == "month_end" else "to invoice"


def _days(count: int) -> str:
    return _counted(count, "day")


def _span(start: date, end: date) -> str:
    if start == date.min:
        return "on any day" if end == date.max else f"up to {end}"
    return f"from {start} on" if end == date.max else f"{start} to {end}"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
