"""History is only ever added to: which versions a life leaves behind, and what can be read back from them."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given

from abr import reconciliation_engine, views
from abr.exceptions import ContractComplianceError, UsageError
from abr.models import METADATA
from abr.settings import Thresholds
from tests import firms, harness

FIRST = dt.date(2026, 3, 31)

CONTRACT = {"contract_id": "C-1", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"}
PROJECT = {"project_id": "P-1", "contract_id": "C-1", "name": "Launch"}
RATE = {"contract_id": "C-1", "hourly_rate": "100", "valid_from": "2026-01-01"}
LOG = {"time_log_id": "L-1", "project_id": "P-1", "person": "ann", "worked_on": "2026-02-02", "hours": "10"}
INVOICE = {
    "invoice_id": "INV-1",
    "contract_id": "C-1",
    "currency": "EUR",
    "issued_on": "2026-02-28",
    "status": "issued",
}
LINE = {
    "invoice_id": "INV-1",
    "line_no": "1",
    "kind": "time",
    "time_log_id": "L-1",
    "hours": "10",
    "net_amount": "1000",
}
FIRM = {"contracts": [CONTRACT], "projects": [PROJECT], "rates": [RATE], "time_logs": [LOG]}


@pytest.fixture(scope="module")
def database():
    with harness.fresh_database() as opened:
        yield opened


@pytest.fixture
def connection(database):
    harness.wipe(database)
    return database


def finished_at(run_id):
    """Return when the run of that number ends, on the clock of these tests: a day after the one before."""
    return harness.NOW + dt.timedelta(days=run_id)


def run(connection, as_of=FIRST, thresholds=harness.DEFAULT, settings=None):
    """Run one cycle; the clock is a day further than at the run before."""
    connection.rollback()
    number = connection.exec_driver_sql("select count(*) + 1 from audit.run").scalar_one()
    connection.rollback()
    return reconciliation_engine.run_once(
        connection, as_of, thresholds=thresholds, settings=settings or {}, clock=lambda: finished_at(number)
    )


def told(connection, **sources):
    """Load these rows, run, and return the run."""
    harness.receive(connection, sources)
    return run(connection)


def read(connection, query):
    return [tuple(row.values()) for row in harness.rows(connection, query)]


def versions_of(connection, about="log:L-1"):
    """Return the versions of the findings about something: class, version, state, side, amount, from and to run."""
    return read(
        connection,
        "select class, version, state, side, amount, valid_from_run_id, valid_to_run_id from report.finding_history "
        f"where about = '{about}' order by valid_from_run_id, class, version",
    )


def finding_of(connection, about="log:L-1"):
    (found,) = harness.rows(connection, f"select * from report.finding where about = '{about}'")
    return found


def position(connection, contract_id="C-1"):
    (found,) = harness.rows(connection, f"select * from report.contract_position where contract_id = '{contract_id}'")
    return found


def quarantine_history(connection):
    return read(
        connection,
        "select entity, key, reasons, state, valid_from_run_id, valid_to_run_id from report.quarantine_history "
        "order by valid_from_run_id, state",
    )


def everything(connection, *, but=()):
    """Return every row of every table, as text."""
    return {
        table.fullname: sorted(map(repr, connection.exec_driver_sql(f"from {table.fullname}").fetchall()))
        for table in METADATA.sorted_tables
        if table.fullname not in but
    }


def decide(connection, decision, *arguments, **words):
    connection.rollback()
    with connection.begin():
        return decision(connection, *arguments, decided_by="mia", reason="agreed by mail", now=harness.NOW, **words)


def write_off(connection, **words):
    return decide(connection, reconciliation_engine.write_off, finding_of(connection)["finding_id"], **words)


# --------------------------------------------------------------------------------------------------
# Findings and positions


def test_a_log_that_is_logged_billed_voided_and_billed_again_leaves_exactly_these_versions(connection):
    told(connection, **FIRM)
    told(connection, invoices=[INVOICE], invoice_lines=[LINE])
    told(connection, invoices=[INVOICE | {"status": "void"}])
    again = INVOICE | {"invoice_id": "INV-2", "issued_on": "2026-03-30"}
    told(connection, invoices=[again], invoice_lines=[LINE | {"invoice_id": "INV-2"}])
    full, none = Decimal(1000), Decimal(0)
    assert versions_of(connection) == [
        ("unbilled", 1, "open", "leakage", full, 1, 2),
        ("unbilled", 2, "closed", "leakage", none, 2, None),
        ("void_not_rebilled", 1, "open", "leakage", full, 3, 4),
        ("void_not_rebilled", 2, "closed", "leakage", none, 4, None),
    ]
    assert read(
        connection,
        "select expected_amount, billed_amount, leakage_amount, valid_from_run_id, valid_to_run_id "
        "from report.contract_position_history order by valid_from_run_id",
    ) == [
        (full, none, full, 1, 2),
        (full, full, none, 2, 3),
        (full, none, full, 3, 4),
        (full, full, none, 4, None),
    ]
    assert read(
        connection,
        "select status, findings_opened, findings_changed, findings_closed from report.run_history order by run_id",
    ) == [("ok", 1, 0, 0), ("ok", 0, 0, 1), ("ok", 1, 0, 0), ("ok", 0, 0, 1)]


def test_a_version_says_when_it_began_and_when_it_ended(connection):
    told(connection, **FIRM)
    told(connection, time_logs=[LOG | {"hours": "12"}])
    for view in ("finding_history", "contract_position_history"):
        assert read(connection, f"select valid_from_at, valid_to_at from report.{view} order by valid_from_at") == [
            (finished_at(1), finished_at(2)),
            (finished_at(2), None),
        ]


def test_a_finding_that_reopens_keeps_its_id_and_its_versions_count_on(connection):
    told(connection, **FIRM)
    finding_id = finding_of(connection)["finding_id"]
    told(connection, time_logs=[LOG | {"is_billable": "no"}])
    told(connection, time_logs=[LOG])
    assert finding_of(connection)["finding_id"] == finding_id
    assert read(
        connection,
        "select version, state, amount, valid_from_run_id, valid_to_run_id from report.finding_history "
        f"where finding_id = '{finding_id}' order by version",
    ) == [(1, "open", 1000, 1, 2), (2, "closed", 0, 2, 3), (3, "open", 1000, 3, None)]


def test_a_changed_amount_is_a_new_version_of_the_same_finding(connection):
    told(connection, **FIRM)
    run_of_change = told(connection, time_logs=[LOG | {"hours": "7.5"}])
    assert run_of_change.findings_changed == 1
    assert versions_of(connection) == [
        ("unbilled", 1, "open", "leakage", 1000, 1, 2),
        ("unbilled", 2, "open", "leakage", 750, 2, None),
    ]
    assert finding_of(connection)["opened_run_id"] == 1


def test_a_contract_that_is_withdrawn_has_no_position_and_its_history_stays(connection):
    other = CONTRACT | {"contract_id": "C-2"}
    told(connection, **FIRM | {"contracts": [CONTRACT, other]})
    harness.receive(connection, {"contracts": [CONTRACT]}, is_complete=True)
    run(connection)
    assert read(connection, "select contract_id from report.contract_position") == [("C-1",)]
    assert read(
        connection,
        "select valid_from_run_id, valid_to_run_id from report.contract_position_history where contract_id = 'C-2'",
    ) == [(1, 2)]


@pytest.mark.slow
def test_a_thousand_cycles_over_unchanged_data_add_a_thousand_run_rows_and_not_one_other(connection):
    told(connection, **FIRM, invoices=[INVOICE], invoice_lines=[LINE | {"net_amount": "900"}])
    told(connection, time_logs=[LOG | {"time_log_id": "L-2", "hours": "bad"}])
    write_off(connection)
    run(connection)
    before = everything(connection, but={"audit.run"})
    run_count = connection.exec_driver_sql("select count(*) from audit.run").scalar_one()
    for _ in range(1000):
        harness.run(connection)
    assert connection.exec_driver_sql("select count(*) from audit.run").scalar_one() == run_count + 1000
    assert everything(connection, but={"audit.run"}) == before


def test_a_past_run_is_read_back_with_one_query(connection):
    believed = {}
    hours_by_run = ("10", "12", "12", "4", "10")
    for hours in hours_by_run:
        number = told(connection, **FIRM | {"time_logs": [LOG | {"hours": hours}]}).run_id
        believed[number] = position(connection)["leakage_amount"]
    assert list(believed.values()) == [1000, 1200, 1200, 400, 1000]
    for number, amount in believed.items():
        assert read(
            connection,
            "select contract_id, leakage_amount from report.contract_position_history "
            f"where valid_from_run_id <= {number} and (valid_to_run_id is null or valid_to_run_id > {number})",
        ) == [("C-1", amount)]


@harness.examples(0.2, at_least=3)
@given(history=firms.histories())
def test_whatever_happens_every_past_run_can_be_read_back_and_the_sums_equal_the_positions(connection, history):
    harness.wipe(connection)
    positions, findings, quarantine = {}, {}, {}
    shown = "contract_id, currency, leakage_amount, expected_amount, overbilled_amount, quarantined_hours, is_flagged"
    for step in history:
        harness.receive(connection, step["sources"], is_complete=step["complete"])
        feed = "select count(*) from source.contracts where ended_load_id is null"
        if not connection.exec_driver_sql(feed).scalar_one():
            continue
        if not connection.exec_driver_sql(feed.replace("contracts", "time_logs")).scalar_one():
            continue
        number = harness.run(connection, step["as_of"]).run_id
        positions[number] = read(connection, f"select {shown} from report.contract_position order by all")
        findings[number] = read(
            connection, "select finding_id, class, side, amount, invoice_ids from report.finding order by all"
        )
        quarantine[number] = read(
            connection, "select quarantine_id, reasons, detail, raw, state from report.quarantine order by all"
        )
        assert_sums_equal_positions(connection)
    for number, expected in positions.items():
        at_run = f"valid_from_run_id <= {number} and (valid_to_run_id is null or valid_to_run_id > {number})"
        assert (
            read(connection, f"select {shown} from report.contract_position_history where {at_run} order by all")
            == expected
        )
        assert (
            read(
                connection,
                "select finding_id, class, side, amount, invoice_ids from report.finding_history "
                f"where {at_run} and state = 'open' order by all",
            )
            == findings[number]
        )
        assert (
            read(
                connection,
                "select quarantine_id, reasons, detail, raw, state from report.quarantine_history "
                f"where {at_run} and state in ('open', 'waived') order by all",
            )
            == quarantine[number]
        )
        assert leakage_by_currency(connection, trend_at(number)) == leakage_by_currency(
            connection, f"select currency, leakage_amount from report.contract_position_history where {at_run}"
        )


def trend_at(number):
    return (
        "select currency, arg_max(leakage_amount, run_id) as leakage_amount from report.leakage_trend "
        f"where run_id <= {number} group by currency"
    )


def test_hours_of_a_project_are_those_of_its_contract_also_where_a_part_is_written_off(connection):
    line = {"invoice_id": "INV-1", "line_no": "1", "kind": "time", "time_log_id": "L-1", "hours": "5"}
    told(connection, **FIRM, invoices=[INVOICE], invoice_lines=[line | {"net_amount": "400"}])
    short = next(row for row in harness.rows(connection, "from report.finding") if row["class"] == "hours_short")
    decide(connection, reconciliation_engine.write_off, short["finding_id"])
    run(connection)
    assert read(connection, "select class, side, amount from report.finding order by class") == [
        ("hours_short", "written_off", Decimal(500)),
        ("rate_under", "leakage", Decimal(100)),
    ]
    for view in ("contract_position", "leakage_by_project"):
        said = read(connection, f"select unbilled_hours, leakage_amount from report.{view}")
        assert said == [(Decimal(5), Decimal(100))], view


def test_two_pools_whose_text_could_be_taken_for_one_another_are_two_findings(connection):
    line = {"invoice_id": "INV-1", "kind": "time", "hours": "1", "net_amount": "100"}
    lines = [line | {"line_no": "1", "person": "a|"}, line | {"line_no": "2", "person": "a", "role": "|"}]
    told(connection, **FIRM, invoices=[INVOICE], invoice_lines=lines)
    found = read(connection, "select about, amount from report.finding where class = 'invoiced_without_log' order by 1")
    assert found == [("pool:|a\\|||||", Decimal(100)), ("pool:|a|\\||||", Decimal(100))]
    assert position(connection)["overbilled_amount"] == 200


def leakage_by_currency(connection, query, amount="leakage_amount"):
    found = read(connection, f"select currency, sum({amount}) from ({query}) group by currency")
    return {currency: total for currency, total in found if total}


def assert_sums_equal_positions(connection):
    want = leakage_by_currency(connection, "from report.contract_position")
    assert leakage_by_currency(connection, "from report.leakage_aging", "amount") == want
    assert leakage_by_currency(connection, "from report.leakage_by_client") == want
    assert leakage_by_currency(connection, "from report.leakage_by_project") == want
    by_client = "client, currency, count(*), count(*) filter (where is_flagged), sum(leakage_amount)"
    assert read(connection, "from report.leakage_by_client order by all") == read(
        connection, f"select {by_client} from report.contract_position group by all order by all"
    )
    by_contract = "select contract_id, sum(leakage_amount) from report.{} group by all having sum(leakage_amount) != 0"
    assert sorted(read(connection, by_contract.format("leakage_by_project"))) == sorted(
        read(connection, by_contract.format("contract_position"))
    )


def test_leakage_trend_says_the_total_after_each_run_that_changed_it_also_when_a_currency_was_corrected(connection):
    told(connection, **FIRM)
    run(connection)
    second = CONTRACT | {"contract_id": "C-2"}
    told(
        connection,
        contracts=[second],
        projects=[PROJECT | {"project_id": "P-2", "contract_id": "C-2"}],
        rates=[RATE | {"contract_id": "C-2", "hourly_rate": "50"}],
        time_logs=[LOG | {"time_log_id": "L-2", "project_id": "P-2"}],
    )
    told(connection, contracts=[second | {"currency": "USD"}])
    told(connection, time_logs=[LOG | {"is_billable": "no"}])
    assert read(
        connection, "select currency, run_id, finished_at, leakage_amount from report.leakage_trend order by run_id, 1"
    ) == [
        ("EUR", 1, finished_at(1), 1000),
        ("EUR", 3, finished_at(3), 1500),
        ("EUR", 4, finished_at(4), 1000),
        ("USD", 4, finished_at(4), 500),
        ("EUR", 5, finished_at(5), 0),
    ]


def test_leakage_ages_with_the_calendar_and_leaves_no_version(connection):
    harness.receive(connection, FIRM)
    buckets = []
    for day in ("2026-02-02", "2026-03-04", "2026-03-05", "2026-04-03", "2026-04-04", "2026-05-03", "2026-05-04"):
        run(connection, dt.date.fromisoformat(day))
        buckets += read(connection, "select age_bucket, finding_count, amount from report.leakage_aging")
        assert position(connection)["age_bucket"] == buckets[-1][0]
    assert [name for name, _, _ in buckets] == ["current", "1-30", "31-60", "31-60", "61-90", "61-90", "91+"]
    assert connection.exec_driver_sql("select count(*) from report.contract_position_history").scalar_one() == 1


# --------------------------------------------------------------------------------------------------
# Quarantine


def test_a_corrected_row_comes_back_by_itself_and_its_history_says_when(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"hours": "1,5"}, LOG | {"time_log_id": "L-2"}]})
    assert read(connection, "select key, reasons from report.quarantine") == [("L-1", "unparseable_value")]
    told(connection, time_logs=[LOG | {"hours": "1.5"}])
    assert read(connection, "select key from report.quarantine") == []
    assert finding_of(connection)["amount"] == 150
    assert read(
        connection,
        "select key, state, valid_from_at, valid_to_at from report.quarantine_history order by valid_from_at",
    ) == [("L-1", "open", finished_at(1), finished_at(2)), ("L-1", "superseded", finished_at(2), None)]


def test_a_row_that_was_right_all_along_comes_back_when_what_it_names_arrives(connection):
    told(connection, **FIRM | {"projects": [PROJECT | {"project_id": "P-0"}]})
    told(connection, projects=[PROJECT])
    assert finding_of(connection)["amount"] == 1000
    assert quarantine_history(connection) == [
        ("time_logs", "L-1", "unknown_project", "open", 1, 2),
        ("time_logs", "L-1", "unknown_project", "resolved", 2, None),
    ]


def test_a_row_set_aside_that_is_withdrawn_is_resolved(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"time_log_id": "L-2"}, LOG | {"person": ""}]})
    harness.receive(connection, {"time_logs": [LOG | {"time_log_id": "L-2"}]}, is_complete=True)
    run(connection)
    assert quarantine_history(connection) == [
        ("time_logs", "L-1", "missing_person", "open", 1, 2),
        ("time_logs", "L-1", "missing_person", "resolved", 2, None),
    ]


def test_a_row_replaced_by_another_bad_one_is_superseded_and_the_new_one_is_set_aside(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"person": ""}]})
    told(connection, time_logs=[LOG | {"hours": "-1"}])
    assert quarantine_history(connection) == [
        ("time_logs", "L-1", "missing_person", "open", 1, 2),
        ("time_logs", "L-1", "non_positive_duration", "open", 2, None),
        ("time_logs", "L-1", "missing_person", "superseded", 2, None),
    ]


def test_a_row_that_gets_another_reason_is_another_version_of_the_same_row(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"person": ""}]})
    told(connection, projects=[PROJECT | {"contract_id": "C-9"}])
    harness.receive(connection, {"projects": [PROJECT | {"contract_id": "C-9"}]}, is_complete=True)
    run(connection)
    assert read(
        connection,
        "select key, reasons, state, valid_from_run_id, valid_to_run_id, opened_run_id from report.quarantine_history "
        "where entity = 'time_logs' order by valid_from_run_id",
    ) == [
        ("L-1", "missing_person", "open", 1, 3, 1),
        ("L-1", "missing_person,unknown_project", "open", 3, None, 1),
    ]
    assert len(read(connection, "select distinct quarantine_id from audit.quarantine where entity = 'time_logs'")) == 1


def waive(connection, key="L-1"):
    ((quarantine_id,),) = read(connection, f"select quarantine_id from report.quarantine where key = '{key}'")
    return decide(connection, reconciliation_engine.waive, quarantine_id)


def test_a_waived_row_is_no_longer_at_risk_until_a_new_version_comes(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"person": ""}]})
    assert position(connection)["quarantined_hours"] == 10
    waive(connection)
    run(connection)
    assert position(connection)["quarantined_hours"] == 0
    assert read(connection, "select key, state from report.quarantine") == [("L-1", "waived")]
    told(connection, time_logs=[LOG | {"person": "", "hours": "4"}])
    assert position(connection)["quarantined_hours"] == 4
    assert read(
        connection,
        "select state, waived_by, waived_reason, valid_from_run_id, valid_to_run_id from report.quarantine_history "
        "order by valid_from_run_id, state",
    ) == [
        ("open", None, None, 1, 2),
        ("waived", "mia", "agreed by mail", 2, 3),
        ("open", None, None, 3, None),
        ("superseded", "mia", "agreed by mail", 3, None),
    ]


def test_a_waived_row_still_counts_as_quarantined_in_the_control_total(connection):
    told(connection, **FIRM | {"time_logs": [LOG, LOG | {"time_log_id": "L-2", "person": ""}]})
    waive(connection, "L-2")
    after = run(connection)
    assert (after.logs_received, after.logs_quarantined, after.logs_eligible) == (2, 1, 1)


def test_waiving_twice_or_what_is_not_there_is_refused(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"person": ""}]})
    with pytest.raises(UsageError, match="no row nonsense in quarantine"):
        decide(connection, reconciliation_engine.waive, "nonsense")
    waive(connection)
    run(connection)
    with pytest.raises(UsageError, match="waived already"):
        waive(connection)


# --------------------------------------------------------------------------------------------------
# Write-offs


def test_a_written_off_finding_leaves_leakage_and_the_flag(connection):
    told(connection, **FIRM | {"time_logs": [LOG | {"hours": "20"}]})
    assert (position(connection)["is_flagged"], position(connection)["severity"]) == (True, "critical")
    decision = write_off(connection)
    assert (decision.contract_id, decision.amount, decision.currency) == ("C-1", 2000, "EUR")
    after = run(connection)
    assert (after.findings_opened, after.findings_changed, after.findings_closed) == (0, 1, 0)
    now = position(connection)
    assert (now["leakage_amount"], now["written_off_amount"]) == (0, 2000)
    assert (now["is_flagged"], now["severity"], now["unbilled_hours"]) == (False, "ok", 0)
    assert (now["oldest_leakage_on"], now["age_bucket"]) == (None, None)
    assert versions_of(connection) == [
        ("unbilled", 1, "open", "leakage", 2000, 1, 2),
        ("unbilled", 2, "open", "written_off", 2000, 2, None),
    ]


def test_an_amount_that_falls_stays_written_off_and_one_that_rises_above_is_leakage_again_whole(connection):
    told(connection, **FIRM)
    write_off(connection)
    run(connection)
    sides = {}
    for hours in ("9", "10", "10.01", "10"):
        told(connection, time_logs=[LOG | {"hours": hours}])
        sides[finding_of(connection)["amount"]] = finding_of(connection)["side"]
    assert sides == {900: "written_off", 1000: "written_off", 1001: "leakage"}


def test_a_write_off_taken_back_is_leakage_again(connection):
    told(connection, **FIRM)
    write_off(connection)
    run(connection)
    write_off(connection, is_undone=True)
    run(connection)
    assert [version[3] for version in versions_of(connection)] == ["leakage", "written_off", "leakage"]
    assert position(connection)["leakage_amount"] == 1000
    write_off(connection)
    run(connection)
    assert finding_of(connection)["side"] == "written_off"
    assert read(
        connection, "select accepted_amount, decided_by, reason from audit.write_off order by write_off_id"
    ) == [
        (1000, "mia", "agreed by mail"),
        (None, "mia", "agreed by mail"),
        (1000, "mia", "agreed by mail"),
    ]


def test_a_finding_that_closes_and_reopens_is_still_written_off(connection):
    told(connection, **FIRM)
    write_off(connection)
    run(connection)
    told(connection, time_logs=[LOG | {"is_billable": "no"}])
    told(connection, time_logs=[LOG])
    assert finding_of(connection)["side"] == "written_off"


def test_a_write_off_waits_for_the_next_run_and_then_holds_on_every_later_one(connection):
    told(connection, **FIRM)
    write_off(connection)
    assert finding_of(connection)["side"] == "leakage"
    run(connection)
    run(connection, FIRST + dt.timedelta(days=1), settings={"a": "changed"})
    assert finding_of(connection)["side"] == "written_off"
    assert len(versions_of(connection)) == 2


@pytest.mark.parametrize(
    ("sources", "is_undone", "message"),
    [
        (FIRM, True, "is leakage, not written off"),
        (FIRM | {"time_logs": [LOG | {"is_approved": "no"}]}, False, "is exposure, not leakage"),
    ],
)
def test_only_leakage_can_be_written_off_and_only_a_write_off_taken_back(connection, sources, is_undone, message):
    told(connection, **sources)
    with pytest.raises(UsageError, match=message):
        write_off(connection, is_undone=is_undone)
    with pytest.raises(UsageError, match="no open finding nonsense"):
        decide(connection, reconciliation_engine.write_off, "nonsense", is_undone=is_undone)
    assert read(connection, "from audit.write_off") == []


# --------------------------------------------------------------------------------------------------
# The calendar, settings, rules


def test_a_step_of_the_date_alone_turns_not_due_into_leakage(connection):
    harness.receive(connection, FIRM | {"contracts": [CONTRACT | {"grace_days": "30"}]})
    run(connection, dt.date(2026, 3, 3))
    assert (finding_of(connection)["class"], position(connection)["pending_amount"]) == ("not_due", 1000)
    run(connection, dt.date(2026, 3, 4))
    assert (finding_of(connection)["class"], position(connection)["leakage_amount"]) == ("unbilled", 1000)
    assert versions_of(connection) == [
        ("not_due", 1, "open", "pending", 1000, 1, 2),
        ("not_due", 2, "closed", "pending", 0, 2, None),
        ("unbilled", 1, "open", "leakage", 1000, 2, None),
    ]


def test_a_step_of_the_date_alone_turns_a_future_log_into_a_valid_one(connection):
    harness.receive(connection, FIRM)
    assert run(connection, dt.date(2026, 2, 1)).logs_quarantined == 1
    assert run(connection, dt.date(2026, 2, 2)).logs_eligible == 1
    assert finding_of(connection)["amount"] == 1000
    assert quarantine_history(connection) == [
        ("time_logs", "L-1", "future_dated", "open", 1, 2),
        ("time_logs", "L-1", "future_dated", "resolved", 2, None),
    ]


@pytest.mark.parametrize(("day", "due"), [(1, []), (2, [("project", "P-1", None)])])
def test_a_step_of_the_date_looks_at_a_future_log_when_its_day_has_come(connection, day, due):
    harness.receive(connection, FIRM)
    run(connection, dt.date(2026, 1, 31))
    reconciliation_engine.set_inputs(connection, dt.date(2026, 2, day), harness.DEFAULT)
    assert read(connection, "from reconcile.due") == due


def test_a_step_of_the_date_that_moves_nothing_writes_no_version(connection):
    told(connection, **FIRM)
    before = everything(connection, but={"audit.run"})
    run(connection, FIRST + dt.timedelta(days=400))
    assert everything(connection, but={"audit.run"}) == before


def test_a_run_for_a_date_before_the_last_one_is_refused_and_leaves_no_trace(connection):
    told(connection, **FIRM)
    before = everything(connection)
    with pytest.raises(UsageError, match="would go back behind the last one") as refused:
        run(connection, FIRST - dt.timedelta(days=1))
    assert refused.value.exit_code == 2
    assert "2026-03-31" in refused.value.message + refused.value.remedy
    assert everything(connection) == before


def test_a_halted_run_does_not_move_the_date(connection):
    told(connection, **FIRM)
    harness.receive(connection, {"contracts": [CONTRACT | {"contract_id": "C-2", "discount_percent": "101"}]})
    with pytest.raises(ContractComplianceError, match="cannot be trusted"):
        harness.run(connection, FIRST + dt.timedelta(days=9), is_strict=True)
    assert run(connection, FIRST).status == "ok"


def test_a_change_of_settings_looks_at_every_contract_again_and_leaves_a_trace(connection):
    harness.receive(connection, FIRM)
    run(connection, settings={"threshold_amount": "1500.00"})
    assert position(connection)["is_flagged"] is False
    run(connection, thresholds=Thresholds(Decimal("999.99")), settings={"threshold_amount": "999.99"})
    assert (position(connection)["is_flagged"], position(connection)["threshold_amount"]) == (True, Decimal("999.99"))
    assert read(connection, "select run_id, settings from report.run_history order by run_id") == [
        (1, '{"threshold_amount": "1500.00"}'),
        (2, '{"threshold_amount": "999.99"}'),
    ]
    assert read(
        connection,
        "select threshold_amount, is_flagged, valid_from_run_id, valid_to_run_id "
        "from report.contract_position_history order by valid_from_run_id",
    ) == [(1500, False, 1, 2), (Decimal("999.99"), True, 2, None)]


def test_a_changed_rule_looks_at_every_contract_again_and_leaves_a_trace():
    name = "quarantine_rules.over_24_hours"
    stricter = views.load()[name].replace("86400", "28800")
    assert stricter != views.load()[name]
    with harness.fresh_database() as connection:
        told(connection, **FIRM)
        told(connection, projects=[PROJECT | {"name": "a run with prepared statements"}])
        with connection.begin():
            connection.exec_driver_sql(f"create or replace view {name} as {stricter}")
        run(connection)
        assert quarantine_history(connection) == [("time_logs", "L-1", "over_24_hours", "open", 3, None)]
        # Statements prepared before the change must not live on with the old rule.
        told(connection, time_logs=[LOG | {"time_log_id": "L-2", "hours": "9"}])
        assert read(connection, "select key from report.quarantine order by key") == [("L-1",), ("L-2",)]
        digests = read(connection, "select rules_digest from report.run_history order by run_id")
        assert digests[0] == digests[1] != digests[2] == digests[3]
