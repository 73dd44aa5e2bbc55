"""The reference model against other readings of the rules: whole firms, sums done by hand, and itself."""

import csv
import datetime as dt
import json
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from abr import explaining, views
from tests import reference_model as model
from tests.firms import AS_OF, Step, firms, histories, row_of
from tests.reference_model import FailedFeedError, Result, Rows, Sources, Store, reconcile

CASES = Path(__file__).parents[2] / "shared/cases"
MONDAY = "2026-02-02"
SATURDAY = "2026-02-07"


# --------------------------------------------------------------------------------------------------
# Five whole firms


@pytest.mark.skipif(not CASES.is_dir(), reason="the five firms are not beside this checkout")
@pytest.mark.parametrize("number", range(1, 6))
def test_a_whole_firm_is_answered_as_another_reader_answers_it(number):
    folder = CASES / f"firm-{number}"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    sources = {}
    for dataset in model.COLUMNS:
        with (folder / f"{dataset}.csv").open(encoding="utf-8", newline="") as file:
            sources[dataset] = list(csv.DictReader(file))
    result = reconcile(stored(sources), AS_OF)

    assert result.counts == expected["counts"]
    assert result.quarantine == {tuple(triple) for triple in expected["quarantine"]}
    assert result.findings == {
        (finding["contract_id"], finding["class"], finding["about"]): {
            "side": finding["side"],
            "amount": None if finding["amount"] is None else Decimal(finding["amount"]),
            "currency": finding["currency"],
        }
        for finding in expected["findings"]
    }
    assert set(result.positions) == {position["contract_id"] for position in expected["positions"]}
    for position in expected["positions"]:
        mine = result.positions[position.pop("contract_id")]
        for name, value in position.items():
            theirs = Decimal(value) if name.endswith("_amount") else value
            ours = mine[name].isoformat() if isinstance(mine[name], dt.date) else mine[name]
            assert ours == theirs, name


# --------------------------------------------------------------------------------------------------
# A firm of one contract, C, at 100 an hour, with one project, P


def stored(sources: Sources) -> Store:
    store = Store()
    store.load(sources)
    return store


def log(time_log_id: str, minutes: float, worked_on: str = MONDAY, **cells: str) -> dict[str, str | None]:
    given = {"time_log_id": time_log_id, "project_id": "P", "person": "ana", "worked_on": worked_on}
    return row_of("time_logs", **(given | {"minutes": str(minutes)} | cells))


def brief(time_log_id: str, seconds: int, **cells: str) -> dict[str, str | None]:
    return log(time_log_id, 0, **cells) | {"minutes": "", "seconds": str(seconds)}


def invoice(invoice_id: str, status: str = "issued", **cells: str) -> dict[str, str | None]:
    given = {"invoice_id": invoice_id, "contract_id": "C", "currency": "USD", "status": status}
    return row_of("invoices", **(given | cells))


def line(written_key: str, amount: str, minutes: str = "", **cells: str) -> dict[str, str | None]:
    invoice_id, line_no = written_key.split("/")
    given = {"invoice_id": invoice_id, "line_no": line_no, "net_amount": amount, "minutes": minutes}
    return row_of("invoice_lines", **(given | cells))


def contract(contract_id: str = "C", **terms: str) -> dict[str, str | None]:
    given = {"contract_id": contract_id, "client": "Acme", "currency": "USD", "starts_on": "2026-01-01"}
    return row_of("contracts", **(given | terms))


def project(contract_id: str = "C", **cells: str) -> dict[str, str | None]:
    return row_of("projects", **({"project_id": "P", "contract_id": contract_id} | cells))


def rate(hourly_rate: str = "100", **cells: str) -> dict[str, str | None]:
    given = {"contract_id": "C", "hourly_rate": hourly_rate, "valid_from": "2020-01-01"}
    return row_of("rates", **(given | cells))


def firm(*logs: dict[str, str | None], **rows: Rows) -> Sources:
    default = {"contracts": [contract()], "projects": [project()], "rates": [rate()]}
    return default | {"time_logs": list(logs), "invoices": [], "invoice_lines": []} | rows


def answer(*logs: dict[str, str | None], as_of: dt.date = AS_OF, **rows: Rows) -> Result:
    return reconcile(stored(firm(*logs, **rows)), as_of)


def under(*logs: dict[str, str | None], **terms: str) -> Result:
    """Answer for logs under a contract with these terms."""
    return answer(*logs, contracts=[contract(**terms)])


def billed(*lines: dict[str, str | None], minutes: float = 120, as_of: dt.date = AS_OF, **terms: str) -> Result:
    """Answer for one log, L, that is owed 100 an hour, and these lines of the issued invoices I and J."""
    invoices = [invoice("I"), invoice("J"), invoice("V", "void", currency="EUR"), invoice("D", "draft")]
    contracts = [contract(**terms)]
    return answer(log("L", minutes), as_of=as_of, contracts=contracts, invoices=invoices, invoice_lines=list(lines))


def found(result: Result) -> dict[tuple[str, str], Decimal | None]:
    return {(name, about): finding["amount"] for (_, name, about), finding in result.findings.items()}


def classes(result: Result) -> dict[str, str | None]:
    """Amounts by class, where each class occurs once."""
    assert len(found(result)) == len({name for name, _ in found(result)})
    return {name: None if amount is None else str(amount) for (name, _), amount in found(result).items()}


def owed(result: Result) -> dict[str, str]:
    return {key: str(model.to_decimal(one.owed_amount)) for key, (_, one) in result.eligible.items()}


def payable(result: Result) -> dict[str, int]:
    return {key: one.payable_seconds for key, (_, one) in result.eligible.items()}


# --------------------------------------------------------------------------------------------------
# Section 1: cells


@pytest.mark.parametrize(
    ("text", "number"),
    [("5.", "5"), (".5", "0.5"), ("+1.50", "1.5"), ("-0", "0"), ("007", "7"), ("-.25", "-0.25")],
)
def test_a_number_is_digits_a_sign_and_a_point(text, number):
    assert model.read_number(text) == Fraction(number)


@pytest.mark.parametrize("text", ["", ".", "-", "1e3", "1,5", "1_0", "NaN", "inf", "٣", "1 0", "0x1", "1.2.3", "--1"])
def test_nothing_else_is_a_number(text):
    with pytest.raises(model.UnreadableError):
        model.read_number(text)


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        ({"seconds": "5400.5"}, 5401),
        ({"seconds": "-0.5"}, -1),
        ({"minutes": "1.008"}, 60),
        ({"hours": "0.33"}, 1188),
        ({"hours": " 8. "}, 28800),
        ({"duration": "1:05"}, 3900),
        ({"duration": "100:00:59"}, 360059),
        ({"duration": "1:60"}, None),
        ({"duration": "-1:00"}, None),
        ({"seconds": "3600", "hours": "1"}, None),
    ],
)
def test_a_duration_becomes_whole_seconds(cells, seconds):
    assert model.read_row("time_logs", cells).seconds() == seconds


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-02-03", 3),
        ("2026-02-03T23:30", 3),
        ("2026-02-03 23:30:15.123456789Z", 3),
        ("2026-02-03T23:30-01:00", 4),
        ("2026-02-03T00:30+01:00", 2),
    ],
)
def test_the_date_of_an_entry_is_its_date_in_utc(text, day):
    assert model.read_instant(text).date() == dt.date(2026, 2, day)


def test_a_tenth_of_a_cent_is_unparseable_but_trailing_zeros_are_not():
    result = billed(line("I/1", "10.001"), line("I/2", "10.000", kind="other"), line("X/3", "10.001"))
    assert result.quarantine == {
        ("invoice_lines", "I/1", "unparseable_value"),
        ("invoice_lines", "X/3", "unknown_invoice"),
    }


def test_blank_and_zero_differ():
    assert payable(under(log("L", 60), cap_minutes="0")) == {"L": 0}
    assert payable(under(log("L", 60), cap_minutes="")) == {"L": 3600}


# --------------------------------------------------------------------------------------------------
# Section 1: identity and withdrawal


def test_loading_twice_changes_nothing():
    store = stored(firm(log("L", 60)))
    before = reconcile(store, AS_OF)
    store.load(firm(log("L", 60)))
    assert reconcile(store, AS_OF) == before


def test_copies_of_one_value_collapse_and_versions_conflict():
    copies = answer(log("L", 60), log(" L ", 60.0, note="  "), log("M", 30))
    assert copies.counts["eligible"] == 2
    versions = answer(log("L", 60), log("L", 60, note="again"), log("M", 30))
    assert versions.quarantine == {("time_logs", "L", "conflicting_duplicate")}
    assert versions.counts == {"received": 3, "quarantined": 2, "excluded": 0, "out_of_term": 0, "eligible": 1}
    assert versions.positions["C"]["quarantined_seconds"] == 7200


def test_a_later_load_supersedes_and_a_complete_one_withdraws():
    store = stored(firm(log("L", 60), log("M", 60)))
    store.load({"time_logs": [log("L", 30)]})
    assert payable(reconcile(store, AS_OF)) == {"L": 1800, "M": 3600}
    store.load({"time_logs": [log("L", 30)]}, complete=True)
    assert payable(reconcile(store, AS_OF)) == {"L": 1800}
    with pytest.raises(FailedFeedError):
        store.load({"time_logs": []}, complete=True)


def test_an_invoice_s_lines_are_replaced_as_a_set():
    invoices = [invoice("I"), invoice("J")]
    lines = [line("I/1", "10"), line("I/2", "20"), line("J/1", "5")]
    store = stored(firm(log("L", 0.1), invoices=invoices, invoice_lines=lines))
    store.load({"invoice_lines": [line("I/02", "20")]})
    assert found(reconcile(store, AS_OF))["invoiced_without_log", "pool:|||||"] == 25


def test_an_id_live_in_two_sources_conflicts():
    store = stored(firm(log("L", 60)))
    store.load({"time_logs": [log("L", 60)]}, source="elsewhere")
    result = reconcile(store, AS_OF)
    assert result.quarantine == {("time_logs", "L", "conflicting_duplicate")}
    assert result.counts["quarantined"] == 2


def test_a_row_without_its_key_has_no_duplicate():
    result = answer(log("L", 60), log("", 60), log("", 30))
    assert result.quarantine == {("time_logs", "", "missing_value")}
    assert result.counts["quarantined"] == 2


def test_no_contracts_or_no_logs_is_a_failed_feed():
    with pytest.raises(FailedFeedError):
        answer()
    with pytest.raises(FailedFeedError):
        answer(log("L", 60), contracts=[])


# --------------------------------------------------------------------------------------------------
# Section 2: quarantine


def test_a_log_has_every_reason_it_has():
    result = answer(log("L", 1500, "2026-04-01", person=" ", project_id="Q", is_billable="maybe"))
    reasons = {"over_24_hours", "future_dated", "missing_person", "unknown_project", "unparseable_value"}
    assert result.quarantine == {("time_logs", "L", reason) for reason in reasons}


def test_an_unreadable_cell_is_present():
    result = answer(log("L", 60, "soon"), log("M", 60) | {"minutes": "x"})
    assert {reason for _, _, reason in result.quarantine} == {"unparseable_value"}


def test_a_bad_rate_makes_its_contract_invalid_and_its_logs_wait():
    rates = [rate(), rate("-5", person="bo")]
    result = answer(log("L", 60), log("M", 60, is_approved="no"), rates=rates)
    assert result.quarantine == {
        ("rates", "C//bo///2020-01-01", "negative_term"),
        ("contracts", "C", "bad_rate"),
        ("time_logs", "L", "invalid_contract"),
    }
    assert classes(result) == {"unapproved": None}
    assert result.positions["C"]["quarantined_seconds"] == 3600


def test_invalid_contract_and_no_rate_come_together():
    result = answer(log("L", 60), contracts=[contract(client="")], rates=[])
    assert {reason for dataset, _, reason in result.quarantine if dataset == "time_logs"} == {
        "invalid_contract",
        "no_rate",
    }


def test_conflicting_contracts_keep_the_terms_of_the_latest_start():
    contracts = [contract(billing_model="fixed_price"), contract(starts_on="2026-01-02", currency="EUR")]
    result = answer(log("L", 60), contracts=contracts)
    assert result.positions["C"]["currency"] == "EUR"
    assert ("time_logs", "L", "invalid_contract") in result.quarantine


def test_hours_in_quarantine_go_to_the_contract_in_force_or_the_only_one():
    result = answer(log("L", 60, "2025-06-01", person=""), log("M", 30, ""), log("N", 15, project_id=""))
    assert result.positions["C"]["quarantined_seconds"] == 5400
    contracts, projects = [contract(), contract("D")], [project(), project("D")]
    result = answer(log("L", 60, person=""), log("M", 30, ""), contracts=contracts, projects=projects)
    assert result.positions["C"]["quarantined_seconds"] == 0
    assert result.positions["D"]["quarantined_seconds"] == 3600


def test_what_a_person_waives_is_no_longer_at_risk_but_stays_out():
    invoices = [invoice("I"), invoice("K", "lost")]
    lines = [line("I/1", "x"), line("I/2", "x"), line("K/1", "5")]
    store = stored(firm(log("L", 60, person=""), log("M", 30, person=""), invoices=invoices, invoice_lines=lines))
    before = reconcile(store, AS_OF)
    assert before.positions["C"]["quarantined_line_count"] == 3
    after = reconcile(store, AS_OF, waived=[("time_logs", "L"), ("invoice_lines", "I/1"), ("invoices", "K")])
    assert after.positions["C"]["quarantined_seconds"] == 1800
    assert after.positions["C"]["quarantined_line_count"] == 1
    assert after.quarantine == before.quarantine


# --------------------------------------------------------------------------------------------------
# Section 3: contract in force


def test_the_latest_start_wins_then_the_greatest_id_byte_by_byte():
    contracts = [contract("C"), contract("\uff5e"), contract("😀"), contract("Z", starts_on="2025-01-01")]
    projects = [project(row["contract_id"] or "") for row in contracts]
    rates = [rate(contract_id=row["contract_id"] or "") for row in contracts]
    result = answer(log("L", 60), contracts=contracts, projects=projects, rates=rates)
    assert result.eligible["L"][0] == "😀"


def test_a_fixed_price_owes_nothing_by_the_hour_but_its_overrun_shows():
    contracts = [contract(billing_model="fixed_price", cap_minutes="90", cap_period="month")]
    logs = [log("A", 60), log("B", 60, "2026-02-03"), log("C", 60, "2026-02-04"), log("D", 60, "2026-03-01")]
    lines = [line("I/1", "500", kind="fixed"), line("I/2", "7", time_log_id="A"), line("F/1", "9")]
    invoices = [invoice("I"), invoice("F", currency="EUR")]
    result = answer(*logs, contracts=contracts, invoices=invoices, invoice_lines=lines)
    overruns = {("fixed_price_overrun", "log:B"): 50, ("fixed_price_overrun", "log:C"): 100}
    assert found(result) == overruns
    assert result.positions["C"]["other_billed_amount"] == 507
    assert result.counts["excluded"] == 4


# --------------------------------------------------------------------------------------------------
# Section 4: the pricing chain


@pytest.mark.parametrize(
    ("mode", "seconds", "rounded"),
    [
        ("up", 900, 900),
        ("up", 901, 1800),
        ("nearest", 1349, 900),
        ("nearest", 1350, 1800),
        ("nearest", 449, 0),
        ("down", 1799, 900),
        ("down", 899, 0),
    ],
)
def test_a_log_is_rounded_to_the_increment(mode, seconds, rounded):
    one = brief("L", seconds)
    assert payable(under(one, rounding_minutes="15", rounding_mode=mode)) == {"L": rounded}


def test_the_minimum_comes_after_rounding_and_applies_without_it():
    assert payable(under(log("L", 14), rounding_minutes="15", rounding_mode="down", minimum_minutes="20")) == {
        "L": 1200
    }
    assert payable(under(log("L", 1), minimum_minutes="20")) == {"L": 1200}


@pytest.mark.parametrize(
    ("mode", "increment", "shares"),
    [
        ("up", "15", {"A": 1000, "B": 1000, "C": 1600}),  # 3000 becomes 3600: the last log gets what is left
        ("down", "15", {"A": 1000, "B": 1000, "C": 700}),  # 2700
        ("down", "30", {"A": 1000, "B": 800, "C": 0}),  # 1800
        ("down", "60", {"A": 0, "B": 0, "C": 0}),
    ],
)
def test_a_day_is_rounded_whole_and_shared_out_in_order(mode, increment, shares):
    logs = [brief(name, 1000, role=name) for name in "CAB"]
    terms = {"rounding_unit": "day", "rounding_mode": mode, "rounding_minutes": increment}
    assert payable(under(*logs, **terms)) == shares


def test_another_task_is_another_day_unit():
    logs = [log("A", 10), log("B", 10), log("C", 10, task="travel")]
    assert payable(under(*logs, rounding_unit="day", rounding_minutes="30")) == {"A": 600, "B": 1200, "C": 1800}


def test_overtime_begins_within_a_log_and_anew_for_each_person():
    logs = [log("A", 45), log("B", 45), log("C", 45, person="bo")]
    result = under(*logs, overtime_after_minutes="60", overtime_multiplier="1.5")
    assert owed(result) == {"A": "75", "B": "100", "C": "75"}


def test_at_weekends_the_greater_multiplier_prices_overtime():
    terms = {"overtime_after_minutes": "60", "overtime_multiplier": "1.5", "weekend_multiplier": "2"}
    assert owed(under(log("L", 120, SATURDAY), **terms)) == {"L": "400"}
    assert owed(under(log("L", 120, SATURDAY), **(terms | {"weekend_multiplier": ".5"}))) == {"L": "200"}


def test_prepaid_hours_go_before_the_cap_counts():
    result = under(log("A", 90), log("B", 60), prepaid_minutes="60", cap_minutes="60")
    assert owed(result) == {"A": "50", "B": "50"}
    assert found(result)["over_cap", "log:B"] == 50


def test_prepaid_and_cap_use_up_regular_seconds_first():
    terms = {"overtime_after_minutes": "60", "overtime_multiplier": "2", "prepaid_minutes": "30", "cap_minutes": "45"}
    # 60 regular + 60 overtime: 30 regular prepaid, 30 regular and 15 overtime payable, 45 overtime over the cap.
    result = under(log("L", 120), **terms)
    assert owed(result) == {"L": "100"}
    assert found(result)["over_cap", "log:L"] == 150


def test_a_monthly_money_cap_owes_only_the_first_of_the_month():
    logs = [log("A", 60), log("B", 60, "2026-02-03"), log("C", 60, "2026-03-03")]
    result = under(*logs, cap_amount="150", cap_period="month")
    assert owed(result) == {"A": "100", "B": "50", "C": "100"}
    assert found(result)["over_cap", "log:B"] == 50
    assert owed(under(*logs, cap_amount="150")) == {"A": "100", "B": "50", "C": "0"}


def test_money_is_rounded_once_half_away_from_zero_to_the_minor_unit():
    one = brief("L", 18)
    for currency, hourly_rate, amount in [
        ("USD", "1", "0.01"),
        ("KWD", "1", "0.005"),
        ("JPY", "99.9", "0"),
        ("JPY", "100", "1"),
    ]:
        result = answer(one, contracts=[contract(currency=currency)], rates=[rate(hourly_rate)])
        assert owed(result) == {"L": amount}
    assert owed(under(log("L", 60), discount_percent="33.3333")) == {"L": "66.67"}


def test_the_most_specific_rate_wins_then_the_latest():
    person, rest = rate("70", person="ana"), rate("60", task="build", role="lead", project_id="P")
    one = log("L", 60, task="build", role="lead")
    assert owed(answer(one, rates=[person, rest, rate()])) == {"L": "70"}
    assert owed(answer(one, rates=[rest, rate()])) == {"L": "60"}
    newer = rate("80", valid_from=MONDAY)
    assert owed(answer(one, rates=[rate(), newer])) == {"L": "80"}
    assert owed(answer(one, rates=[rate(), newer | {"valid_from": "2026-01-02", "valid_to": MONDAY}])) == {"L": "100"}
    ambiguous = answer(one, rates=[rate(), rate("100.0000"), rate("80")])
    assert ambiguous.quarantine == {("time_logs", "L", "ambiguous_rate")}


# --------------------------------------------------------------------------------------------------
# Sections 5 and 6: one log and its lines


def test_a_cent_a_line_is_rounding_but_nothing_billed_is_not():
    assert classes(billed(line("I/1", "199.99", "120", time_log_id="L"))) == {"rounding": "0.01"}
    two = [line("I/1", "100.01", "60", time_log_id="L"), line("I/2", "100.01", "60", time_log_id="L")]
    assert classes(billed(*two)) == {"rounding": "-0.02"}
    assert classes(billed(minutes=0.01)) == {"unbilled": "0.03"}
    assert classes(answer(log("L", 1), rates=[rate(".6")])) == {"unbilled": "0.01"}


def test_an_underbilled_log_splits_into_hours_and_rate():
    assert classes(billed(line("I/1", "50", "60", time_log_id="L"))) == {"hours_short": "100", "rate_under": "50"}
    assert classes(billed(line("I/1", "150", "60", time_log_id="L"))) == {"hours_short": "50"}
    assert classes(billed(line("I/1", "150", "120", time_log_id="L"))) == {"rate_under": "50"}
    assert classes(billed(line("I/1", "150", time_log_id="L"))) == {"rate_under": "50"}  # no seconds: u = p


def test_an_overbilled_log_was_billed_twice_or_too_long_or_too_dear():
    one = line("I/1", "200", "120", time_log_id="L")
    assert classes(billed(one, line("J/1", "200", "120", time_log_id="L"))) == {"double_billed": "200"}
    assert classes(billed(one, line("I/2", "200", "120", time_log_id="L"))) == {"hours_over": "200"}
    assert classes(billed(line("I/1", "220", "120", time_log_id="L"))) == {"rate_over": "20"}


def test_an_unbilled_log_was_voided_or_entered_late_or_forgotten():
    assert classes(billed()) == {"unbilled": "200"}
    assert classes(billed(line("D/1", "200", "120", time_log_id="L"))) == {"unbilled": "200"}
    assert classes(billed(line("V/1", "200", "120", time_log_id="L"))) == {"void_not_rebilled": "200"}
    pooled = line("V/1", "0", period_start="2026-02-01", person="ana")
    assert classes(billed(pooled)) == {"void_not_rebilled": "200"}
    assert classes(billed(pooled | {"person": "bo"})) == {"unbilled": "200"}
    assert classes(billed(pooled | {"period_end": "2026-01-01"})) == {"unbilled": "200"}
    assert classes(billed(pooled | {"kind": "other"})) == {"unbilled": "200"}


@pytest.mark.parametrize(
    ("entered_at", "issued_on", "cells", "name"),
    [
        ("2026-02-11", "2026-02-10", {"period_start": MONDAY, "period_end": MONDAY}, "late_entry"),
        ("2026-02-10T23:59", "2026-02-10", {}, "unbilled"),
        ("2026-02-10T23:59-00:01", "2026-02-10", {}, "late_entry"),
        ("2026-02-11", "", {}, "unbilled"),
        ("", "2026-02-10", {}, "unbilled"),
        ("2026-02-11", "2026-02-10", {"period_start": "2026-02-03"}, "unbilled"),
        ("2026-02-11", "2026-02-10", {"period_start": "2026-02-05", "period_end": "2026-02-01"}, "unbilled"),
    ],
)
def test_a_log_is_late_if_entered_after_an_invoice_that_covers_it(entered_at, issued_on, cells, name):
    rows = {"invoices": [invoice("I", issued_on=issued_on)], "invoice_lines": [line("I/1", "0", **cells)]}
    assert classes(answer(log("L", 60, entered_at=entered_at), **rows)) == {name: "100"}


def test_an_invoice_spans_from_its_first_log_to_its_last():
    logs = [log("A", 60, "2026-02-01"), log("B", 60, entered_at="2026-03-09"), log("C", 60, "2026-02-28")]
    lines = [line("I/1", "100", "60", time_log_id="A"), line("I/2", "100", "60", time_log_id="C")]
    result = answer(*logs, invoices=[invoice("I", issued_on="2026-03-01")], invoice_lines=lines)
    assert found(result) == {("late_entry", "log:B"): 100}


def test_until_it_is_due_what_is_missing_is_pending():
    due = dt.date(2026, 2, 9)
    assert classes(billed(as_of=due - dt.timedelta(days=1), grace_days="7")) == {"not_due": "200"}
    assert classes(billed(as_of=due, grace_days="7")) == {"unbilled": "200"}
    assert classes(billed(as_of=due, grace_days="1", grace_from="month_end")) == {"not_due": "200"}
    assert classes(billed(as_of=dt.date(2026, 3, 1), grace_days="1", grace_from="month_end")) == {"unbilled": "200"}
    assert classes(billed(grace_days="999999999")) == {"not_due": "200"}


def test_lines_for_no_eligible_log_are_one_finding_per_log_id():
    lines = [line("I/1", "30", time_log_id="X"), line("I/2", "-50", time_log_id="X"), line("J/1", "5", time_log_id="Y"),
             line("J/2", "4", time_log_id="Z"), line("J/3", "-4", time_log_id="Z")]  # fmt: skip
    result = billed(*lines, line("I/9", "200", time_log_id="L"))
    assert found(result) == {("unapplied_credit", "log:X"): 20, ("invoiced_without_log", "log:Y"): 5}


def test_another_currency_matches_nothing_and_shows_even_at_zero():
    invoices = [invoice("I", currency="EUR")]
    lines = [line("I/1", "0"), line("I/2", "-5", time_log_id="L"), line("I/3", "9", kind="expense")]
    result = answer(log("L", 60, is_billable="no"), invoices=invoices, invoice_lines=lines)
    assert found(result) == {
        ("currency_mismatch", "line:I/1"): 0,
        ("currency_mismatch", "line:I/2"): -5,
        ("non_billable_time", "log:L"): 100,
    }
    assert result.positions["C"]["overbilled_amount"] == 0
    assert result.positions["C"]["other_billed_amount"] == 0


# --------------------------------------------------------------------------------------------------
# Section 5: pools


@pytest.mark.parametrize("sign", [1, -1])
def test_a_pool_is_shared_by_cumulative_rounding(sign):
    logs = [log(name, 60) for name in "BAC"]
    lines = [line("I/1", str(10 * sign), "180")]
    result = answer(*logs, invoices=[invoice("I")], invoice_lines=lines)
    shares = {key: one.billed_amount * sign for key, (_, one) in result.eligible.items()}
    assert shares == {"A": Fraction("3.33"), "B": Fraction("3.34"), "C": Fraction("3.33")}
    assert result.positions["C"]["billed_amount"] == 10 * sign


def test_a_used_up_pool_is_not_left_for_another():
    logs = [log("A", 60), log("B", 60), log("C", 60)]
    lines = [line("I/1", "150", "90", person="ana"), line("I/2", "500", "300")]
    result = answer(*logs, invoices=[invoice("I")], invoice_lines=lines)
    assert found(result) == {
        ("hours_short", "log:B"): 50,
        ("unbilled", "log:C"): 100,
        ("invoiced_without_log", "pool:|||||"): 500,
    }
    assert result.positions["C"]["unbilled_seconds"] == 1800 + 3600


def test_the_narrowest_pool_wins_then_the_shortest_then_the_first():
    def pool(written_key: str, amount: str, **cells: str) -> dict[str, str | None]:
        return line(written_key, amount, "60", **cells)

    def left_over(*lines: dict[str, str | None]) -> set[str]:
        result = answer(log("L", 60), invoices=[invoice("I"), invoice("J")], invoice_lines=list(lines))
        return {about for name, about in found(result) if name == "invoiced_without_log"}

    assert left_over(pool("I/1", "120"), pool("I/2", "120", project_id="P")) == {"pool:|||||"}
    endless, february = {"period_start": "2026-02-02"}, {"period_start": "2026-02-01", "period_end": "2026-02-28"}
    assert left_over(pool("I/1", "120", **endless), pool("I/2", "120", **february)) == {"pool:||||2026-02-02|"}
    one, other = {"period_start": "2026-02-01"}, {"period_end": "2026-03-01"}
    assert left_over(pool("I/10", "120", **one), pool("I/2", "120", **other)) == {"pool:||||2026-02-01|"}
    # The pool's earliest line counts, not the one that happens to come first.
    lines = [pool("J/1", "120", **one), pool("I/3", "120", **other), line("I/1", "0", **one)]
    assert left_over(*lines) == {"pool:|||||2026-03-01"}


def test_a_pool_without_hours_bills_nobody():
    result = billed(line("I/1", "70"), line("I/2", "-90", "-60"))
    assert found(result) == {("unapplied_credit", "pool:|||||"): 20, ("unbilled", "log:L"): 200}


# --------------------------------------------------------------------------------------------------
# Section 7: findings without an eligible log


def out_of_term(worked_on: str, *contracts: dict[str, str | None], **cells: str) -> Result:
    projects = [project(row["contract_id"] or "") for row in contracts]
    rates = [
        rate("10", contract_id="A", valid_to="2026-01-31"),
        rate("20", contract_id="A", valid_from="2026-01-31"),
        rate("50", contract_id="B"),
        rate("70", contract_id="Z"),
    ]
    return answer(log("L", 90, worked_on, **cells), contracts=list(contracts), projects=projects, rates=rates)


def test_a_log_out_of_term_goes_to_the_nearest_contract_at_its_nearest_day():
    first = contract("A", ends_on="2026-01-31", weekend_multiplier="2")
    second = contract("B", starts_on="2026-02-10", minimum_minutes="600")
    assert out_of_term("2026-02-04", first, second).findings == {
        ("A", "out_of_term", "log:L"): {"side": "exposure", "amount": Decimal(30), "currency": "USD"}
    }
    assert set(out_of_term("2026-02-06", first, second).findings) == {("B", "out_of_term", "log:L")}
    assert set(out_of_term("2026-02-05", first, second).findings) == {("A", "out_of_term", "log:L")}
    inverted = contract("Z", starts_on="2026-02-05", ends_on="2026-02-04")
    assert set(out_of_term("2026-02-05", second, inverted).findings) == {("B", "out_of_term", "log:L")}
    assert out_of_term("2026-02-05", inverted).findings["Z", "out_of_term", "log:L"]["amount"] is None
    excluded = out_of_term("2026-02-05", first, is_approved="no")
    assert excluded.findings == {}
    assert excluded.counts["excluded"] == 1


def test_estimates_know_seconds_and_rate_and_nothing_else():
    terms = {"rounding_minutes": "60", "discount_percent": "50", "weekend_multiplier": "2", "cap_minutes": "0"}
    logs = [log("A", 30, SATURDAY, is_billable="no", is_approved="no"), log("B", 30, SATURDAY, is_approved="0")]
    assert classes(under(*logs, **terms)) == {"non_billable_time": "50", "unapproved": "50"}
    assert classes(answer(*logs, rates=[rate(), rate("90")])) == {"non_billable_time": None, "unapproved": None}
    assert classes(answer(*logs, projects=[project(is_billable="no")])) == {}
    assert classes(under(*logs, billing_model="fixed_price")) == {}


# --------------------------------------------------------------------------------------------------
# Section 8: position


@pytest.mark.parametrize(
    ("threshold", "is_flagged", "severity"),
    [
        ("200", False, "watch"),
        ("199.99", True, "critical"),
        ("400", False, "watch"),
        ("400.01", False, "ok"),
        ("0", True, "critical"),
        ("", False, "ok"),
    ],
)
def test_a_contract_is_flagged_strictly_above_its_threshold(threshold, is_flagged, severity):
    position = billed(threshold_amount=threshold).positions["C"]
    assert (position["is_flagged"], position["severity"]) == (is_flagged, severity)
    assert position["threshold_amount"] == Decimal(threshold or "1500")


def test_a_currency_may_have_a_threshold_of_its_own():
    store = stored(firm(log("L", 60), contracts=[contract(currency="JPY")]))
    thresholds = {None: Decimal(1500), "JPY": Decimal(99)}
    assert reconcile(store, AS_OF, thresholds=thresholds).positions["C"]["is_flagged"] is True


@pytest.mark.parametrize(
    ("age_days", "bucket"),
    [
        (0, "current"),
        (1, "1-30"),
        (30, "1-30"),
        (31, "31-60"),
        (60, "31-60"),
        (61, "61-90"),
        (90, "61-90"),
        (91, "91+"),
    ],
)
def test_age_runs_from_the_oldest_leakage(age_days, bucket):
    worked_on = AS_OF - dt.timedelta(days=age_days)
    logs = [log("A", 60, worked_on.isoformat()), log("B", 60, AS_OF.isoformat()), log("C", 0.001, "2025-01-01")]
    position = under(*logs, starts_on="2025-12-01").positions["C"]
    assert (position["oldest_leakage_on"], position["age_days"], position["age_bucket"]) == (
        worked_on,
        age_days,
        bucket,
    )
    paid = billed(line("I/1", "200", time_log_id="L")).positions["C"]
    assert (paid["oldest_leakage_on"], paid["age_days"], paid["age_bucket"]) == (None, None, None)


def test_an_accepted_finding_is_written_off_until_it_rises():
    store = stored(firm(log("L", 60)))
    for accepted, side in [("100", "written_off"), ("99.99", "leakage")]:
        result = reconcile(store, AS_OF, write_offs=[("C", "unbilled", "log:L", Decimal(accepted))])
        assert result.findings["C", "unbilled", "log:L"]["side"] == side
        assert result.positions["C"][f"{side}_amount"] == 100
        assert result.positions["C"]["unbilled_seconds"] == (3600 if side == "leakage" else 0)


# --------------------------------------------------------------------------------------------------
# Who else knows the lists


def test_the_model_knows_every_reason_and_class_that_has_a_rule_and_no_other():
    def rules(*folders: str) -> set[str]:
        return {path.stem for folder in folders for path in views.packaged("sql").glob(f"{folder}/*.sql")}

    reasons = {reason for _, reason in model.QUARANTINE_REASONS}
    assert rules("quarantine_rules", "reference_rules", "coverage_rules") == reasons
    assert rules("finding_rules") == model.FINDING_CLASSES


def test_what_is_explained_has_a_remedy_of_its_own_for_every_reason():
    explained = {reason for dataset, reason in model.QUARANTINE_REASONS if dataset in ("time_logs", "contracts")}
    assert explaining._REMEDIES.keys() == explained


# --------------------------------------------------------------------------------------------------
# Random firms


@pytest.mark.slow
def test_random_firms_reach_every_finding_class_and_every_quarantine_reason():
    missing = set(model.FINDING_CLASSES | model.QUARANTINE_REASONS)

    def reach(sources: Sources) -> None:
        result = reconcile(stored(sources), AS_OF)
        missing.difference_update(name for _, name, _ in result.findings)
        missing.difference_update((dataset, reason) for dataset, _, reason in result.quarantine)

    rules = settings(
        max_examples=100, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    batch = 0
    while missing and batch < 12:  # a few batches do; examples of one batch resemble each other
        seed(batch)(rules(given(firms())(reach)))()
        batch += 1
    assert not missing, sorted(map(str, missing))


@settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))
@given(firms(), st.integers(0, 9))
def test_the_order_of_rows_and_loading_twice_do_not_matter(sources, shuffle):
    once = reconcile(stored(sources), AS_OF)
    shuffled = {name: random.Random(shuffle).sample(rows, len(rows)) for name, rows in sources.items()}
    store = stored(sources)
    store.load(shuffled)
    twice = reconcile(store, AS_OF)
    assert (twice.counts, twice.positions, twice.findings) == (once.counts, once.positions, once.findings)
    assert twice.quarantine == once.quarantine


@settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))
@given(histories())
def test_a_history_ends_where_a_complete_load_of_what_is_left_would(steps: list[Step]):
    store = Store()
    for step in steps:
        store.load(step["sources"], complete=step["complete"])
        result = reconcile(store, step["as_of"])
    cells = {name: [dict(row.cells) for row, _ in store.live(name)] for name in model.COLUMNS}
    assert reconcile(stored(cells), steps[-1]["as_of"]) == result
    assert [step["as_of"] for step in steps] == sorted(step["as_of"] for step in steps)
