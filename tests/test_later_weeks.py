"""A change of time logs is reconciled from its week on, and the end is what looking at everything gives."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abr import reconciliation_engine, views
from tests import firms, harness

BOOKS = {
    "contracts": [{"contract_id": "C-1", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"}],
    "projects": [{"project_id": "P-1", "contract_id": "C-1"}],
    "rates": [{"contract_id": "C-1", "hourly_rate": "100.00", "valid_from": "2026-01-01"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def connection():
    """Yield a connection that remembers what its newest run looked at, which that run empties when it is done."""
    empty = reconciliation_engine.empty_work_tables

    def remember(connection):
        scope = "select contract_id, from_day, from_day > '-infinity' as is_later from temp.scope_contract"
        connection.info["scope"] = harness.rows(connection, scope)
        connection.info["logs"] = harness.rows(connection, "from temp.log_row")
        empty(connection)
        connection.rollback()

    with harness.fresh_database() as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconciliation_engine, "empty_work_tables", remember)
        yield opened


def log(time_log_id, worked_on, **cells):
    return {
        "time_log_id": time_log_id,
        "project_id": "P-1",
        "person": "ana",
        "worked_on": worked_on,
        "hours": "10",
    } | cells


def started(connection, **terms):
    """Load a firm of one contract with these terms, one log in each of three months, and run."""
    harness.wipe(connection)
    contract = BOOKS["contracts"][0] | terms
    logs = [log("L-1", "2026-01-10"), log("L-2", "2026-02-10"), log("L-3", "2026-03-10")]
    harness.receive(connection, BOOKS | {"contracts": [contract], "time_logs": logs})
    harness.run(connection)


def looked_from(connection):
    """Return from which day on the newest run looked at each contract in its scope; None: ever."""
    return {row["contract_id"]: row["from_day"] if row["is_later"] else None for row in connection.info["scope"]}


def looked_at(connection):
    """Return the ids of the logs that the newest run read."""
    return {row["time_log_id"] for row in connection.info["logs"]}


def position(connection):
    (row,) = harness.rows(connection, "select * from report.contract_position")
    return row


@pytest.mark.parametrize(("day", "first_day"), [(8, 8), (9, 8), (14, 8), (1, 1), (7, 1), (10, 8)])
def test_a_new_log_is_looked_at_with_its_week_and_those_after_it(connection, day, first_day):
    started(connection)
    harness.receive(connection, {"time_logs": [log("L-4", f"2026-02-{day:02}")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": dt.date(2026, 2, first_day)}
    assert looked_at(connection) == {"L-2", "L-3", "L-4"}
    assert position(connection)["leakage_amount"] == 4000
    assert position(connection)["oldest_leakage_on"] == dt.date(2026, 1, 10)
    assert reconciliation_engine.verify(connection) == []


@pytest.mark.parametrize(
    ("day", "first_day"), [(21, dt.date(2026, 3, 15)), (22, dt.date(2026, 3, 22)), (31, dt.date(2026, 3, 29))]
)
def test_the_last_week_of_a_month_is_what_is_left_of_it(connection, day, first_day):
    started(connection)
    harness.receive(connection, {"time_logs": [log("L-4", f"2026-03-{day}")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": first_day}
    assert looked_at(connection) == {"L-4"}
    assert reconciliation_engine.verify(connection) == []


def test_a_log_moved_to_a_later_week_is_looked_at_from_the_week_it_left(connection):
    started(connection)
    harness.receive(connection, {"time_logs": [log("L-2", "2026-03-20")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": dt.date(2026, 2, 8)}
    assert reconciliation_engine.verify(connection) == []


def test_what_earlier_months_used_of_prepaid_time_and_caps_stays_used(connection):
    started(connection, prepaid_minutes="900", cap_minutes="1200", cap_amount="1600.00")
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-20", hours="1")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": dt.date(2026, 3, 15)}
    # 31 hours worked, 15 prepaid, 16 of 20 within the cap: 1,600.00, which is just what the money cap allows.
    assert position(connection)["expected_amount"] == 1600
    harness.receive(connection, {"time_logs": [log("L-5", "2026-03-21", hours="1")]})
    harness.run(connection)
    assert position(connection)["expected_amount"] == 1600
    assert position(connection)["exposure_amount"] == 100
    assert reconciliation_engine.verify(connection) == []


def test_what_earlier_weeks_of_a_month_used_of_its_prepaid_time_and_caps_stays_used(connection):
    periods = {"prepaid_period": "month", "cap_period": "month"}
    started(connection, prepaid_minutes="120", cap_minutes="600", cap_amount="950.00", **periods)
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-20", hours="3"), log("L-5", "2026-04-02")]})
    harness.run(connection, dt.date(2026, 4, 10))
    assert looked_from(connection) == {"C-1": dt.date(2026, 3, 15)}
    # A month: 2 hours prepaid, then 8 of the 10 within the cap. In March 3 more, 2 of them within the cap of 10 hours,
    # and 150.00 of these within that of 950.00. In April as in January.
    assert position(connection)["expected_amount"] == 800 + 800 + 950 + 800
    assert position(connection)["exposure_amount"] == 50 + 100
    assert reconciliation_engine.verify(connection) == []


def test_what_earlier_months_used_of_the_hours_of_a_fixed_price_stays_used(connection):
    started(connection, billing_model="fixed_price", cap_minutes="1860")
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-20", hours="2")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": dt.date(2026, 3, 15)}
    assert harness.rows(connection, "select class, seconds, amount from report.finding") == [
        {"class": "fixed_price_overrun", "seconds": 3600, "amount": 100}
    ]
    assert reconciliation_engine.verify(connection) == []


def bill(connection, *lines, **cells):
    invoice = {
        "invoice_id": "I-1", "contract_id": "C-1", "currency": "EUR", "status": "issued", "issued_on": "2026-03-31"
    } | cells  # fmt: skip
    numbered = [
        {"invoice_id": invoice["invoice_id"], "line_no": str(place), "net_amount": "1000.00"} | line
        for place, line in enumerate(lines, 1)
    ]
    harness.receive(connection, {"invoices": [invoice], "invoice_lines": numbered})
    harness.run(connection)


@pytest.mark.parametrize(
    ("period", "first_day"),
    [
        ({"period_start": "2026-02-01", "period_end": "2026-03-14"}, dt.date(2026, 3, 15)),
        ({"period_start": "2026-03-15", "period_end": "2026-03-31"}, dt.date(2026, 3, 15)),
        ({"period_start": "2026-02-23", "period_end": "2026-03-15"}, dt.date(2026, 2, 22)),
        ({"period_start": "2026-02-23"}, dt.date(2026, 2, 22)),
        ({"period_end": "2026-03-14"}, dt.date(2026, 3, 15)),
        ({"period_end": "2026-03-31"}, None),
        ({}, None),
    ],
)
def test_a_pool_that_reaches_over_the_start_of_the_week_is_looked_at_from_its_own_start(connection, period, first_day):
    started(connection)
    bill(connection, {"hours": "10"} | period)
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-20")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": first_day}
    assert reconciliation_engine.verify(connection) == []


def test_a_log_that_a_line_names_already_is_looked_at_with_everything(connection):
    started(connection)
    bill(connection, {"time_log_id": "L-1"}, {"time_log_id": "L-9"})
    assert {row["class"] for row in harness.rows(connection, "from report.finding")} == {
        "unbilled", "invoiced_without_log"
    }  # fmt: skip
    harness.receive(connection, {"time_logs": [log("L-9", "2026-03-20")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": None}
    assert {row["class"] for row in harness.rows(connection, "from report.finding")} == {"unbilled"}
    assert reconciliation_engine.verify(connection) == []


def test_a_late_entry_is_known_by_the_span_of_an_invoice_that_bills_earlier_months_too(connection):
    started(connection)
    bill(connection, {"time_log_id": "L-1"}, {"time_log_id": "L-3"})
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-09", entered_at="2026-04-01")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": dt.date(2026, 3, 8)}
    assert harness.rows(connection, "select class, invoice_ids from report.finding where time_log_id = 'L-4'") == [
        {"class": "late_entry", "invoice_ids": "I-1"}
    ]
    assert reconciliation_engine.verify(connection) == []


def test_what_was_billed_without_a_log_in_earlier_months_stays_found(connection):
    started(connection)
    bill(
        connection,
        {"time_log_id": "L-1"},
        {"time_log_id": "nobody's"},
        {"period_start": "2026-02-01", "period_end": "2026-02-28", "hours": "30", "net_amount": "3000.00"},
        {"kind": "expense", "net_amount": "70.00"},
    )
    before = harness.rows(connection, "select * from report.finding where class = 'invoiced_without_log' order by all")
    assert [row["amount"] for row in before] == [2000, 1000]
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-20")]})
    harness.run(connection)
    assert looked_from(connection) == {"C-1": dt.date(2026, 3, 15)}
    assert before == harness.rows(
        connection, "select * from report.finding where class = 'invoiced_without_log' order by all"
    )
    assert position(connection)["other_billed_amount"] == 70
    assert reconciliation_engine.verify(connection) == []


def test_a_log_that_became_due_is_looked_at_from_its_week_on(connection):
    started(connection, grace_days="30")
    harness.receive(connection, {"time_logs": [log("L-4", "2026-03-25")]})
    harness.run(connection, dt.date(2026, 4, 10))
    assert looked_from(connection) == {"C-1": dt.date(2026, 3, 8)}
    assert position(connection)["pending_amount"] == 1000
    assert reconciliation_engine.verify(connection) == []


def test_a_log_without_a_date_makes_a_run_look_at_logs_without_a_date_only(connection):
    started(connection)
    harness.receive(connection, {"time_logs": [log("L-4", "")]})
    harness.run(connection)
    assert looked_at(connection) == {"L-4"}
    assert position(connection)["quarantined_hours"] == 10
    assert position(connection)["leakage_amount"] == 3000
    assert reconciliation_engine.verify(connection) == []


def test_two_contracts_of_one_project_are_looked_at_from_the_same_day(connection):
    started(connection, ends_on="2026-02-15")
    harness.receive(
        connection,
        {
            "contracts": [BOOKS["contracts"][0] | {"contract_id": "C-2", "starts_on": "2026-02-16"}],
            "projects": [{"project_id": project_id, "contract_id": "C-2"} for project_id in ("P-1", "P-2")],
            "rates": [BOOKS["rates"][0] | {"contract_id": "C-2"}],
        },
    )
    harness.run(connection)
    for later, first_day in (
        ([log("L-4", "2026-03-20", project_id="P-2")], dt.date(2026, 3, 15)),
        ([log("L-5", "2026-02-20"), log("L-6", "2026-03-20", project_id="P-2")], dt.date(2026, 2, 15)),
    ):
        harness.receive(connection, {"time_logs": later})
        harness.run(connection)
        assert looked_from(connection) == dict.fromkeys(["C-1", "C-2"], first_day)
        assert reconciliation_engine.verify(connection) == []


def test_an_invoice_that_names_two_contracts_ties_them_also_where_only_a_log_of_one_changed(connection):
    started(connection)
    invoice = {"invoice_id": "I-1", "contract_id": "C-1", "currency": "EUR", "status": "issued"}
    other = BOOKS["contracts"][0] | {"contract_id": "C-2"}
    harness.receive(connection, {"contracts": [other], "invoices": [invoice]})
    harness.receive(connection, {"invoices": [invoice | {"contract_id": "C-2"}]}, source="another")
    harness.run(connection)
    harness.receive(connection, {"time_logs": [log("L-4", "2026-02-10")]})
    harness.run(connection)
    assert looked_from(connection).keys() == {"C-1", "C-2"}
    assert reconciliation_engine.verify(connection) == []


@st.composite
def changing_logs(draw):
    """Return a firm, and steps: time logs that arrive or change, whether all others go, and the date of the run."""
    firm = draw(firms.firms())
    logs = firm["time_logs"]
    place = st.integers(0, max(len(logs) - 1, 0))
    held = draw(st.sets(place, max_size=8))
    edit = st.one_of(
        st.fixed_dictionaries({"worked_on": st.dates(dt.date(2025, 12, 20), dt.date(2026, 4, 3)).map(str)}),
        st.fixed_dictionaries({"is_billable": st.sampled_from(["no", "yes"])}),
        st.fixed_dictionaries({"person": st.sampled_from(["ana", "ben", ""])}),
        st.fixed_dictionaries({"project_id": st.sampled_from(sorted({row["project_id"] for row in firm["projects"]}))}),
        st.just({}),
    )
    steps = []
    day = harness.AS_OF - dt.timedelta(days=draw(st.integers(0, 40)))
    for _ in range(draw(st.integers(1, 5))):
        changed = draw(st.lists(st.tuples(place, edit), min_size=1, max_size=4))
        day = draw(st.sampled_from([day, day, min(day + dt.timedelta(days=9), harness.AS_OF)]))
        steps.append(([logs[at] | cells for at, cells in changed if logs], draw(firms.one_in(8)), day))
    first = firm | {"time_logs": [row for at, row in enumerate(logs) if at not in held]}
    return first, steps


@harness.examples(0.3, at_least=4)
@given(drawn=changing_logs())
def test_any_change_of_time_logs_ends_where_looking_at_everything_ends(connection, drawn):
    first, steps = drawn
    harness.wipe(connection)
    harness.receive(connection, first)
    if not (first["time_logs"] and first["contracts"]):
        return
    harness.run(connection, steps[0][2])
    for logs, is_complete, as_of in steps:
        harness.receive(connection, {"time_logs": logs}, is_complete=is_complete and bool(logs))
        harness.run(connection, as_of)
        assert reconciliation_engine.verify(connection) == []


# ---- classes of findings that somebody adds --------------------------------------------------------------------------

OF_A_LINE = """
-- Billed on an invoice that is not out.
select
    'exposure' as side,
    line.contract_id,
    'line:' || line.invoice_id || '/' || line_row.line_no as about,
    line.seconds,
    line.amount_minor,
    line.invoice_id as invoice_ids
from temp.line
inner join temp.line_row using (row_id)
where not line.is_live
"""
OF_A_POOL = """
-- Billed for nothing, by a pool.
select
    'exposure' as side,
    contract_id,
    about,
    seconds,
    amount_minor
from temp.unmatched
where amount_minor > 0 and about like 'pool:%'
"""
BILLED = {
    "invoices": [
        {"invoice_id": name, "contract_id": "C-1", "currency": "EUR", "issued_on": "2026-02-01", "status": status}
        for name, status in (("I-1", "draft"), ("I-2", "issued"), ("I-3", "issued"))
    ],
    "invoice_lines": [
        {"invoice_id": "I-1", "line_no": "1", "time_log_id": "L-1", "seconds": "36000", "net_amount": "1000"},
        {"invoice_id": "I-2", "line_no": "1", "time_log_id": "L-1", "seconds": "36000", "net_amount": "1200"},
        {"invoice_id": "I-3", "line_no": "1", "seconds": "3600", "net_amount": "70", "person": "bo",
         "period_start": "2026-01-01", "period_end": "2026-12-31"},
    ],
}  # fmt: skip


def over_billed(name):
    """Return rate_over, and half of it taken out of it as a class of its own."""
    rate_over = views.load()["finding_rules.rate_over"]
    return {"finding_rules.rate_over": f"{rate_over} and false", f"finding_rules.{name}": rate_over}


@pytest.mark.parametrize(
    ("added", "amount"),
    [
        ({"finding_rules.added": OF_A_LINE}, 1000),
        ({"finding_rules.added": OF_A_POOL}, 70),
        (over_billed("added"), 200),
    ],
    ids=["of a line", "of a pool", "over-billed"],
)
def test_a_class_that_is_added_stays_open_through_runs_of_later_weeks_and_the_totals_hold(added, amount):
    with harness.fresh_database() as connection:
        rules = [name for name in views.load() if name.startswith("finding_rules.") and not name.endswith("all_rules")]
        union = views.union_of(sorted({*rules, *added}))
        with connection.begin():
            for statement in views.ddl(added | {"finding_rules.all_rules": union}):
                connection.exec_driver_sql(statement)
        started(connection)
        harness.receive(connection, BILLED)
        harness.run(connection)
        for number in (4, 5):
            harness.receive(connection, {"time_logs": [log(f"L-{number}", f"2026-03-2{number}")]})
            harness.run(connection)
        found = harness.rows(connection, "select state, amount from report.finding_history where class = 'added'")
        assert found == [{"state": "open", "amount": amount}]
