"""Every formula that is shown evaluates to the result shown beside it, and the results are the reference model's."""

import datetime as dt
import io
import math
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from rich.cells import cell_len
from rich.console import Console

from abr import console, explaining, reconciliation_engine
from abr.exceptions import UsageError
from tests import firms, harness, reference_model

DECIMALS = {"JPY": 0, "KWD": 3}


@pytest.fixture(scope="module")
def connection():
    with harness.fresh_database() as opened:
        yield opened


# ---- formulas, redone ---------------------------------------------------------------------------------------------


NUMBER = re.compile(r"\d+(?:\.\d+)?")
RESULT = re.compile(r"(-?[\d,]+(?:\.\d+)?)(?: (\w+))?")


def sanitized(text):
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return re.sub(r"(?<=\d) s\b", "", text)


def is_formula(text):
    rest = re.sub(r"\b(?:min|max|round|floor|ceil|x)\b", "", sanitized(text).partition(" = ")[0])
    return bool(NUMBER.search(rest)) and not re.sub(r"[\d.,()+*/ -]", "", rest)


def evaluate(expression, places):
    """Return the exact value of a formula, read as a person reads it."""
    functions = {
        "__builtins__": {},
        "Fraction": Fraction,
        "min": min,
        "max": max,
        "floor": math.floor,
        "ceil": math.ceil,
        "round": lambda number: reference_model.round_half_away(Fraction(number), places),
    }
    source = NUMBER.sub(r"Fraction('\g<0>')", sanitized(expression).replace(" x ", " * "))
    return Fraction(eval(source, functions))


def redo(sections):
    """Redo every step that shows a formula and a number; return how many there were."""
    count = 0
    for section in sections:
        for step in section.steps:
            formula, _, _ = step.formula.partition("; ")
            result = RESULT.fullmatch(step.result)
            if not result or not is_formula(formula):
                continue
            shown = Fraction(result[1].replace(",", ""))
            places = DECIMALS.get(result[2], 2)
            expression, _, steps = formula.partition(" = ")
            value = evaluate(expression, places)
            if steps:
                cut, _, rounded = steps.partition(" -> ")
                digits = cut.rstrip("…").replace(",", "")
                unit = Fraction(1, 10 ** len(digits.partition(".")[2]))
                assert 0 <= value - Fraction(digits) < unit, step
                assert (value == Fraction(digits)) == (not cut.endswith("…")), step
                assert Fraction(rounded.replace(",", "")) == shown, step
                value = reference_model.round_half_away(value, places)
            assert value == shown, step
            count += 1
    return count


def rendered(sections, width=80):
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False, emoji=False).print(console.explanation(sections))
    text = file.getvalue()
    assert all(cell_len(line) <= width for line in text.splitlines())
    return text


def flat(sections):
    return [step for section in sections for step in section.steps]


def explained_sections(connection, wanted_id):
    explained = reconciliation_engine.explain(connection, wanted_id, thresholds=harness.DEFAULT, today=harness.AS_OF)
    return explained, explaining.sections(explained, DECIMALS)


# ---- small firms --------------------------------------------------------------------------------------------------


def log(name, worked_on, seconds, **cells):
    first = {"time_log_id": name, "project_id": "P", "person": "ana", "worked_on": worked_on}
    return first | {"seconds": str(seconds)} | cells


def line(number, amount, **cells):
    return {"invoice_id": "I-1", "line_no": str(number), "net_amount": amount} | cells


def firm(terms, logs, lines=(), *, rate="150.25", invoice=(), projects=(), **more):
    contract = {"contract_id": "C-1", "client": "Acme", "currency": "USD", "starts_on": "2026-01-01"} | terms
    issued = {"invoice_id": "I-1", "contract_id": "C-1", "currency": contract["currency"], "issued_on": "2026-03-20"}
    return {
        "contracts": [contract],
        "projects": list(projects) or [{"project_id": "P", "contract_id": "C-1"}],
        "rates": [{"contract_id": "C-1", "hourly_rate": rate, "valid_from": "2026-01-01"}],
        "time_logs": list(logs),
        "invoices": [issued | {"status": "issued"} | dict(invoice)],
        "invoice_lines": list(lines),
    } | more


def explain(connection, sources, wanted_id="L-1", as_of=harness.AS_OF):
    harness.wipe(connection)
    harness.receive(connection, sources)
    harness.run(connection, as_of)
    return explained_sections(connection, wanted_id)


WEDNESDAY, SATURDAY = "2026-03-04", "2026-03-07"
TWO_LOGS = [log("L-0", WEDNESDAY, 5000), log("L-1", WEDNESDAY, 4200)]

# The terms, the logs, and the steps that must be there, word for word.
CHAINS = {
    "nothing but a rate": (
        {},
        [log("L-1", WEDNESDAY, 4200)],
        [("6 Price", "4,200 s x 150.25 / 3,600 = 175.291666… -> 175.29", "175.29 USD")],
    ),
    "rounding of an entry up": (
        {"rounding_minutes": "15"},
        [log("L-1", WEDNESDAY, 4200)],
        [("1 Rounding", "ceil(4,200 s / 900 s) x 900 s", "4,500 s")],
    ),
    "rounding of an entry to the nearest": (
        {"rounding_minutes": "15", "rounding_mode": "nearest"},
        [log("L-1", WEDNESDAY, 4050)],
        [("1 Rounding", "floor(4,050 s / 900 s + 1/2) x 900 s", "4,500 s")],
    ),
    "rounding of an entry down, to a minimum": (
        {"rounding_minutes": "15", "rounding_mode": "down", "minimum_minutes": "30"},
        [log("L-1", WEDNESDAY, 1000)],
        [("1 Rounding", "max(floor(1,000 s / 900 s) x 900 s, 1,800 s)", "1,800 s")],
    ),
    "rounding of a day": (
        {"rounding_minutes": "60", "rounding_unit": "day"},
        TWO_LOGS,
        [
            ("1 The day's time", "5,000 s + 4,200 s", "9,200 s"),
            ("  rounded", "ceil(9,200 s / 3,600 s) x 3,600 s", "10,800 s"),
            (
                "  of that, here",
                "min(9,200 s, 10,800 s) - min(5,000 s, 10,800 s) + (10,800 s - 9,200 s)",
                "5,800 s",
            ),
        ],
    ),
    "overtime": (
        {"overtime_after_minutes": "120", "overtime_multiplier": "1.5"},
        TWO_LOGS,
        [
            ("2 Regular", "min(4,200 s, 7,200 s - 5,000 s)", "2,200 s"),
            ("  Overtime", "4,200 s - 2,200 s", "2,000 s"),
            ("6 Price", "(2,200 s x 1 + 2,000 s x 1.5) x 150.25 / 3,600 = 217.027777… -> 217.03", "217.03 USD"),
        ],
    ),
    "overtime under prepaid time and an hours cap": (
        {
            "overtime_after_minutes": "60",
            "overtime_multiplier": "2",
            "prepaid_minutes": "30",
            "cap_minutes": "50",
        },
        [log("L-1", WEDNESDAY, 7200)],
        [
            ("3 Prepaid", "min(7,200 s, 1,800 s)", "1,800 s"),
            ("  regular left", "3,600 s - min(3,600 s, 1,800 s)", "1,800 s"),
            ("  overtime left", "3,600 s - (1,800 s - min(3,600 s, 1,800 s))", "3,600 s"),
            ("4 Within hours cap", "min(5,400 s, 3,000 s)", "3,000 s"),
            ("  regular", "min(1,800 s, 3,000 s)", "1,800 s"),
            ("  overtime", "3,000 s - 1,800 s", "1,200 s"),
            ("  over the cap", "5,400 s - 3,000 s", "2,400 s"),
            ("  over the cap", "2,400 s x 2 x 150.25 / 3,600 = 200.333333… -> 200.33", "200.33 USD"),
            ("over_cap", "exposure: worked beyond a cap, so not owed", "200.33 USD"),
        ],
    ),
    "a weekend": (
        {"weekend_multiplier": "1.25"},
        [log("L-1", SATURDAY, 3600)],
        [
            ("Worked on", "Saturday 2026-03-07", ""),
            ("6 Price", "3,600 s x 1.25 x 150.25 / 3,600 = 187.8125 -> 187.81", "187.81 USD"),
        ],
    ),
    "prepaid time of the month": (
        {"prepaid_minutes": "120", "prepaid_period": "month"},
        [log("L-z", "2026-02-02", 7000), *TWO_LOGS],
        [
            ("3 Prepaid", "min(4,200 s, 7,200 s - 5,000 s)", "2,200 s"),
            ("  left to pay", "4,200 s - 2,200 s", "2,000 s"),
        ],
    ),
    "a money cap": (
        {"cap_amount": "300"},
        TWO_LOGS,
        [
            ("7 Within money cap", "min(175.29, 300.00 - 208.68)", "91.32 USD"),
            ("  over the caps", "175.29 - 91.32", "83.97 USD"),
        ],
    ),
    "a money cap that is used up": (
        {"cap_amount": "200"},
        TWO_LOGS,
        [("7 Within money cap", "min(175.29, max(200.00 - 208.68, 0))", "0.00 USD")],
    ),
    "a discount": (
        {"discount_percent": "12.5"},
        [log("L-1", WEDNESDAY, 4200)],
        [("6 Price", "4,200 s x 150.25 x (100 - 12.5) / 360,000 = 153.380208… -> 153.38", "153.38 USD")],
    ),
    "everything at once": (
        {
            "overtime_after_minutes": "120",
            "overtime_multiplier": "1.5",
            "discount_percent": "12.5",
        },
        [log("L-1", WEDNESDAY, 9000)],
        [
            (
                "6 Price",
                "(7,200 s x 1 + 1,800 s x 1.5) x 150.25 x (100 - 12.5) / 360,000 = 361.539062… -> 361.54",
                "361.54 USD",
            )
        ],
    ),
    "a currency without decimals": (
        {"currency": "JPY"},
        [log("L-1", WEDNESDAY, 4200)],
        [("6 Price", "4,200 s x 150.25 / 3,600 = 175.2916… -> 175", "175 JPY")],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_chain_shows_each_step_that_did_something(connection, name):
    terms, logs, wanted = CHAINS[name]
    _explained, sections = explain(connection, firm(terms, logs))
    shown = [(step.label, step.formula.partition("; ")[0], step.result) for step in flat(sections)]
    wanted = [(label, formula.partition("; ")[0], result) for label, formula, result in wanted]
    assert [step for step in wanted if step not in shown] == []
    assert redo(sections) >= 3
    assert "Contract C-1" in rendered(sections)


def test_terms_that_are_not_agreed_are_left_out(connection):
    _, sections = explain(connection, firm({}, [log("L-1", WEDNESDAY, 4200)]))
    labels = [step.label for step in flat(sections)]
    assert "1-4 Payable" in labels
    assert not {"1 Rounding", "2 Regular", "3 Prepaid", "4 Within hours cap", "7 Within money cap"} & set(labels)


def test_the_winning_rate_says_its_scope_its_days_and_whom_it_beat(connection):
    rates = [
        {"contract_id": "C-1", "hourly_rate": "100", "valid_from": "2026-01-01"},
        {"contract_id": "C-1", "hourly_rate": "120", "valid_from": "2026-01-01", "person": "ana",
         "valid_to": "2026-04-01"},
        {"contract_id": "C-1", "hourly_rate": "130", "valid_from": "2026-02-01", "person": "ana"},
        {"contract_id": "C-1", "hourly_rate": "999", "valid_from": "2026-01-01", "person": "bo"},
    ]  # fmt: skip
    _, sections = explain(connection, firm({}, [log("L-1", WEDNESDAY, 3600)], rates=rates))
    (rate,) = [step for step in flat(sections) if step.label == "5 Rate"]
    assert rate.formula == "for person ana, from 2026-02-01; the latest of the most specific of 3 that match"
    assert rate.result == "130.00 an hour"


def test_a_rate_without_an_end_holds_to_the_last_day_there_is(connection):
    _, sections = explain(connection, firm({}, [log("L-1", "9999-12-31", 3600)]), as_of=dt.date(9999, 12, 31))
    (rate,) = [step for step in flat(sections) if step.label == "5 Rate"]
    assert rate.result == "150.25 an hour"


# ---- what was billed ----------------------------------------------------------------------------------------------


BILLS = {
    "direct and right": ([line(1, "175.29", time_log_id="L-1", seconds="4200")], "175.29 USD", {}),
    "direct, short in hours and rate": (
        [line(1, "100", time_log_id="L-1", seconds="3600"), line(2, "-10", time_log_id="L-1", seconds="-600")],
        "90.00 USD",
        {"hours_short": "50.08 USD", "rate_under": "35.21 USD"},
    ),
    "direct without seconds": ([line(1, "100", time_log_id="L-1")], "100.00 USD", {"rate_under": "75.29 USD"}),
    "a cent off": ([line(1, "175.30", time_log_id="L-1", seconds="4200")], "175.30 USD", {"rounding": "-0.01 USD"}),
    "credited below zero": (
        [line(1, "-20", time_log_id="L-1", seconds="-600")],
        "-20.00 USD",
        {"hours_short": "195.29 USD"},
    ),
    "too many hours": ([line(1, "200", time_log_id="L-1", seconds="4800")], "200.00 USD", {"hours_over": "24.71 USD"}),
    "too high a rate": ([line(1, "200", time_log_id="L-1", seconds="4200")], "200.00 USD", {"rate_over": "24.71 USD"}),
    "pooled": (
        [line(1, "300", seconds="7200"), line(2, "-0.01")],
        "91.66 USD",
        {"hours_short": "83.47 USD", "rate_under": "0.16 USD"},
    ),
    "not at all": ([], "0.00 USD", {"unbilled": "175.29 USD"}),
    "not as time": ([line(1, "80", kind="expense", time_log_id="L-1")], "0.00 USD", {"unbilled": "175.29 USD"}),
}


@pytest.mark.parametrize("name", BILLS)
def test_what_was_billed_and_what_is_missing_can_be_redone(connection, name):
    lines, billed, findings = BILLS[name]
    explained, sections = explain(connection, firm({}, TWO_LOGS, lines))
    steps = flat(sections)
    assert [step.result for step in steps if step.label == "Billed"] == [billed]
    found = {step.label: step.result for step in steps if step.label in {row["class"] for row in explained.findings}}
    assert found == findings
    assert redo(sections) >= 2 + len(findings)
    rendered(sections)


def test_a_leakage_finding_says_how_to_accept_it(connection):
    explained, sections = explain(connection, firm({}, TWO_LOGS))
    (finding,) = explained.findings
    assert f"to accept it: abr write-off {finding['finding_id']} --reason 'why'" in [
        step.formula for step in flat(sections)
    ]


def test_a_log_that_is_not_due_says_when_it_will_be(connection):
    terms = {"grace_days": "30", "grace_from": "month_end"}
    _, sections = explain(connection, firm(terms, TWO_LOGS))
    assert ("Due", "the end of 2026-03 + 30 days", "2026-04-30") in [
        (step.label, step.formula, step.result) for step in flat(sections)
    ]
    _, sections = explain(connection, firm({"grace_days": "9999999"}, TWO_LOGS))
    assert [step.result for step in flat(sections) if step.label == "Due"] == ["never"]


def test_lines_that_bill_nothing_say_why(connection):
    void = {"invoice_id": "I-2", "contract_id": "C-1", "currency": "USD", "status": "void"}
    sources = firm({}, TWO_LOGS, [line(1, "80", time_log_id="L-1") | {"invoice_id": "I-2"},
                                  line(1, "9", time_log_id="L-1", kind="expense"),
                                  line("x", "9", time_log_id="L-1")])  # fmt: skip
    sources["invoices"].append(void)
    _, sections = explain(connection, sources)
    shown = {step.label: step.formula for step in flat(sections)}
    assert shown["I-1/1"].endswith("bills nothing here: it is of kind expense, not time")
    assert shown["I-2/1"] == "void, no seconds given; bills nothing here: it is not live"
    assert shown["I-1/x"] == "in quarantine, bills nothing: unparseable_value"
    assert "void I-2 had billed it" in shown["void_not_rebilled"]


def test_another_contracts_line_for_the_log_is_shown(connection):
    sources = firm({}, TWO_LOGS, [line(1, "80", time_log_id="L-1")], invoice={"contract_id": "C-2"})
    sources["contracts"].append(sources["contracts"][0] | {"contract_id": "C-2"})
    explained, sections = explain(connection, sources)
    assert {(row["contract_id"], row["class"]) for row in explained.findings} == {
        ("C-1", "unbilled"),
        ("C-2", "invoiced_without_log"),
    }
    shown = {step.label: step for step in flat(sections)}
    assert shown["I-1/1"].formula.endswith("it belongs to contract C-2")
    assert shown["Billed"].result == "0.00 USD"
    redo(sections)


# ---- logs outside the chain ---------------------------------------------------------------------------------------


def test_a_quarantined_log_says_every_reason_and_what_to_do(connection):
    broken = log("L-1", "2026-05-04", 90_000, person="")
    _, sections = explain(connection, firm({}, [*TWO_LOGS[:1], broken]))
    shown = {step.label: step for step in flat(sections)}
    assert {"missing_person", "over_24_hours", "future_dated"} <= shown.keys()
    assert shown["At risk"].result == "90,000 s"
    assert shown["or accept it"].formula.startswith("abr quarantine waive ")
    assert "in quarantine" in rendered(sections)


def test_a_log_of_a_contract_in_quarantine_says_what_is_wrong_with_the_contract(connection):
    _, sections = explain(connection, firm({"discount_percent": "101"}, TWO_LOGS))
    shown = [step.formula for step in flat(sections) if step.label == "Contract"]
    assert [words.partition(":")[0] for words in shown] == ["discount_over_100"]
    assert shown[0].endswith("correct the discount")


OUTSIDE = {
    "out of term": (
        {"ends_on": "2026-01-31"},
        {},
        ("4,200 s x 150.25 / 3,600 = 175.291666… -> 175.29", "175.29 USD"),
        "out_of_term",
    ),
    "unapproved": ({}, {"is_approved": "no"}, ("4,200 s x 150.25 / 3,600 = 175.291666… -> 175.29", "175.29 USD"),
                   "unapproved"),
    "not billable": ({"discount_percent": "50"}, {"is_billable": "no"},
                     ("4,200 s x 150.25 / 3,600 = 175.291666… -> 175.29", "175.29 USD"), "non_billable_time"),
    "beyond a fixed price": (
        {"billing_model": "fixed_price", "cap_minutes": "100"},
        {},
        ("3,200 s x 150.25 / 3,600 = 133.555555… -> 133.56", "133.56 USD"),
        "fixed_price_overrun",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_estimate_is_seconds_at_the_rate(connection, name):
    terms, cells, (formula, amount), finding = OUTSIDE[name]
    _explained, sections = explain(connection, firm(terms, [TWO_LOGS[0], TWO_LOGS[1] | cells]))
    shown = {step.label: step for step in flat(sections)}
    assert shown["Estimate"].formula.partition("; ")[0] == formula
    assert shown["Estimate"].result == shown[finding].result == amount
    assert redo(sections) >= 1
    rendered(sections)


def test_a_fixed_price_log_within_its_cap_is_no_exposure(connection):
    terms = {"billing_model": "fixed_price", "cap_minutes": "1000"}
    _, sections = explain(connection, firm(terms, TWO_LOGS))
    shown = {step.label: step for step in flat(sections)}
    assert shown["Beyond the cap"].formula.partition("; ")[0] == "4,200 s - min(4,200 s, 60,000 s - 5,000 s)"
    assert shown["Beyond the cap"].result == "0 s"
    assert shown["Estimate"].result == "0.00 USD"


def test_an_estimate_without_a_rate_is_unknown_and_never_zero(connection):
    _, sections = explain(connection, firm({}, [TWO_LOGS[0], TWO_LOGS[1] | {"is_approved": "no"}], rates=[]))
    shown = {step.label: step for step in flat(sections)}
    assert shown["Estimate"].result == shown["unapproved"].result == "unknown"


# ---- contracts and findings ---------------------------------------------------------------------------------------


def test_a_contract_adds_up_with_its_numbers(connection):
    lines = [line(1, "300", time_log_id="L-0", seconds="5000"), line(2, "9", kind="expense"), line("x", "1")]
    logs = [*TWO_LOGS, log("L-2", WEDNESDAY, 90_000), log("L-3", WEDNESDAY, 60, is_approved="no")]
    explained, sections = explain(connection, firm({"threshold_amount": "175.29"}, logs, lines), "C-1")
    shown = {step.label: step for step in flat(sections)}
    assert shown["Owed - billed"].formula == "383.97 - 300.00"
    assert shown["Owed - billed"].result == shown["The same, found"].result == "83.97 USD"
    assert shown["The same, found"].formula.startswith("175.29 + 0.00 + 0.00 + 0.00 - 91.32; ")
    assert (shown["Flagged"].result, shown["At risk"].result) == ("no", "25.00 h")
    assert "is not more than 175.29" in shown["Flagged"].formula
    assert shown["Other billed"].result == "9.00 USD"
    assert {row["finding_id"] for row in explained.findings} <= shown.keys()
    assert redo(sections) >= 2
    assert "Contract C-1" in rendered(sections)


def test_a_contract_in_quarantine_says_why_and_is_never_flagged(connection):
    _, sections = explain(connection, firm({"discount_percent": "101"}, TWO_LOGS), "C-1")
    shown = {step.label: step for step in flat(sections)}
    assert shown["discount_over_100"].formula.endswith("correct the discount")
    assert shown["Flagged"].formula.endswith("never flagged")


@pytest.mark.parametrize(
    ("lines", "formula", "amount"),
    [
        ([line(1, "80", project_id="other", seconds="60"), line(2, "5", project_id="other")], "85.00 - 0.00", "85.00"),
        ([line(1, "-80", project_id="other")], "0.00 + 80.00", "80.00"),
        ([line(1, "70", time_log_id="nobody"), line(2, "-5", time_log_id="nobody")], "70.00 - 5.00", "65.00"),
        ([line(1, "-70", time_log_id="nobody"), line(2, "5", time_log_id="nobody")], "0 - (-70.00 + 5.00)", "65.00"),
    ],
)
def test_a_finding_without_a_log_is_explained_with_its_contract(connection, lines, formula, amount):
    harness.wipe(connection)
    harness.receive(connection, firm({}, TWO_LOGS, lines))
    harness.run(connection)
    (finding,) = harness.rows(connection, "select * from report.finding where class != 'unbilled'")
    _, sections = explained_sections(connection, finding["finding_id"])
    assert sections[0].title == f"Finding {finding['finding_id']}"
    (step,) = [step for step in sections[0].steps if step.label == finding["class"]]
    assert step.formula.partition("; ")[0] == formula
    assert step.result == f"{amount} USD"
    assert redo(sections) >= 2


def test_a_foreign_line_keeps_its_currency(connection):
    harness.wipe(connection)
    harness.receive(connection, firm({}, TWO_LOGS, [line(1, "80", time_log_id="L-1")], invoice={"currency": "JPY"}))
    harness.run(connection)
    (finding,) = harness.rows(connection, "select * from report.finding where class = 'currency_mismatch'")
    _, sections = explained_sections(connection, finding["finding_id"])
    assert [step.result for step in sections[0].steps if step.label == "currency_mismatch"] == ["80 JPY"]


def test_a_findings_id_leads_to_its_log(connection):
    explain(connection, firm({}, TWO_LOGS))
    (finding,) = harness.rows(connection, "select * from report.finding where time_log_id = 'L-1'")
    explained, sections = explained_sections(connection, finding["finding_id"])
    assert explained.log["time_log_id"] == "L-1"
    assert sections[0].title == "Time log L-1"


def test_an_unknown_id_is_refused(connection):
    with pytest.raises(UsageError):
        explain(connection, firm({}, TWO_LOGS), "L-2")


# ---- any firm -----------------------------------------------------------------------------------------------------


@harness.examples(0.2, at_least=3)
@given(sources=firms.firms())
def test_everything_in_a_random_firm_can_be_explained_and_redone(connection, sources):
    harness.wipe(connection)
    store = reference_model.Store()
    store.load(sources)
    harness.receive(connection, sources)
    harness.run(connection)
    model = reference_model.reconcile(store, harness.AS_OF)
    log_ids = ids(connection, "select time_log_id from source.time_logs")
    contract_ids = ids(connection, "select contract_id from source.contracts")
    findings = harness.rows(connection, "select * from report.finding order by finding_id")
    # Filled once for all of them; explain() fills the tables for each, which is the same but slow.
    reconciliation_engine.set_inputs(connection, harness.AS_OF, harness.DEFAULT)
    reconciliation_engine.touch_everything(connection)
    reconciliation_engine.scope_to_changes(connection)
    reconciliation_engine.fill_work_tables(connection)
    for log_id in log_ids:
        explained = reconciliation_engine._explained(connection, log_id, None, None)
        assert_like_model(explained, redone(explained), model, log_id)
    for contract_id in contract_ids:
        explained = reconciliation_engine._explained(connection, None, contract_id, None)
        redone(explained)
        found = {(row["contract_id"], row["class"], row["about"]) for row in explained.findings}
        assert found == {key for key in model.findings if key[0] == contract_id}
    for finding in findings:
        if finding["time_log_id"] not in log_ids:
            explained = reconciliation_engine._explained(connection, None, finding["contract_id"], finding)
            assert redone(explained)[0].title == f"Finding {finding['finding_id']}"
    for wanted_id in (*log_ids[:1], *contract_ids[:1], *(row["finding_id"] for row in findings[:1])):
        explained, _ = explained_sections(connection, wanted_id)
        redone(explained)


def ids(connection, query):
    return sorted({value for (value,) in connection.exec_driver_sql(query) if value})


def redone(explained):
    sections = explaining.sections(explained, DECIMALS)
    redo(sections)
    rendered(sections)
    return sections


def assert_like_model(explained, sections, model, log_id):
    """Check what is owed, billed and found for a log against the model, in the rows and in the words."""
    assert (explained.pricing is not None) == (log_id in model.eligible)
    wanted = {key: row for key, row in model.findings.items() if key[2] == f"log:{log_id}"}
    found = {(row["contract_id"], row["class"], row["about"]): row for row in explained.findings}
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        assert (row["amount"], row["side"], row["currency"]) == tuple(
            wanted[key][name] for name in ("amount", "side", "currency")
        )
    shown = {step.label: step.result for section in sections for step in section.steps}
    for key, row in found.items():
        if key[0] == (explained.log["contract_id"]):
            amount = "unknown" if row["amount"] is None else console.money(row["amount"], row["currency"], DECIMALS)
            result = amount if row["amount"] is None else f"{amount} {row['currency']}"
            # Another contract may have a finding of that class about the same log.
            assert (key[1], result) in [(step.label, step.result) for section in sections for step in section.steps]
    if log_id in model.eligible:
        contract_id, one = model.eligible[log_id]
        assert explained.contract["contract_id"] == contract_id
        unit = explained.contract["minor_unit"]
        assert Fraction(explained.billing["expected_minor"] * unit) == one.owed_amount
        assert Fraction(explained.billing["billed_minor"] * unit) == one.billed_amount
        last = next(name for name in ("7 Within money cap", "6 Price") if name in shown)
        currency = explained.contract["currency"]
        assert shown[last] == f"{console.money(decimal(one.owed_amount), currency, DECIMALS)} {currency}"
        assert shown["Billed"] == f"{console.money(decimal(one.billed_amount), currency, DECIMALS)} {currency}"


def decimal(number):
    return Decimal(number.numerator) / Decimal(number.denominator)


def test_a_due_date_is_a_date_wherever_the_calendar_has_one(connection):
    explained, _ = explain(connection, firm({"grace_days": "1"}, TWO_LOGS))
    assert explained.billing["due_on"] == dt.date(2026, 3, 5)
