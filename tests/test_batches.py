"""Too much for one run is worked off in batches, each a run of its own: the end is the same, and nothing gets lost."""

import datetime as dt
import functools
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from sqlalchemy import event

from abr import database, reconciliation_engine
from tests import firms, harness
from tests.test_order import has_feed, told

CONTRACTS = [
    {"contract_id": f"C-{number}", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"}
    for number in range(1, 9)
]
BOOKS = {
    "contracts": CONTRACTS,
    "projects": [{"project_id": f"P-{row['contract_id']}", "contract_id": row["contract_id"]} for row in CONTRACTS],
    "rates": [
        {"contract_id": row["contract_id"], "hourly_rate": "100", "valid_from": "2026-01-01"} for row in CONTRACTS
    ],
    "time_logs": [
        {
            "time_log_id": f"L-{row['contract_id']}-{number}",
            "project_id": f"P-{row['contract_id']}",
            "person": "Nora",
            "worked_on": "2026-03-02",
            "seconds": "3600",
        }
        for row in CONTRACTS
        for number in range(3)
    ],
}


@pytest.fixture(scope="module")
def connection():
    with harness.fresh_database() as opened:
        yield opened


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(reconciliation_engine, "_BATCH_IDS_MIN", 2)
    monkeypatch.setattr(reconciliation_engine, "_BATCH_LOGS", 8)


def run_all(connection, as_of=harness.AS_OF, *, given_settings=None, progress=None):
    connection.rollback()

    def once(told):
        return reconciliation_engine.run_once(
            connection,
            as_of,
            thresholds=harness.DEFAULT,
            settings=given_settings or {},
            clock=lambda: harness.NOW,
            progress=told,
        )

    return reconciliation_engine.run_all(connection, once, progress)


@harness.examples(0.2, at_least=3)
@given(firm=firms.firms())
def test_a_firm_worked_off_in_batches_ends_where_one_run_ends(connection, firm):
    harness.wipe(connection)
    harness.receive(connection, firm)
    harness.run(connection)
    want = told(connection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconciliation_engine, "_BATCH_IDS_MIN", 2)
        patch.setattr(reconciliation_engine, "_BATCH_LOGS", 8)
        harness.wipe(connection)
        harness.receive(connection, firm)
        run_all(connection)
        got = told(connection)
        assert reconciliation_engine.verify(connection) == []
    for part, rows in want.items():
        assert got[part] == rows, part


@pytest.mark.usefixtures("small_batches")
def test_each_batch_is_a_run_and_what_is_left_is_taken_up_by_the_next(connection):
    harness.wipe(connection)
    harness.receive(connection, BOOKS)
    first = harness.run(connection)
    assert 0 < first.logs_received < 24
    assert reconciliation_engine.is_pending(connection)
    last = run_all(connection)
    assert last.logs_received == 24
    assert last.run_id > first.run_id + 1
    assert not reconciliation_engine.is_pending(connection)
    assert len(harness.rows(connection, "from report.finding")) == 24
    assert harness.rows(connection, "select count(*) as n from audit.finding")[0]["n"] == 24


@pytest.mark.usefixtures("small_batches")
def test_other_settings_put_everything_on_the_list_again_also_while_batches_are_left(connection):
    harness.wipe(connection)
    harness.receive(connection, BOOKS)
    run_all(connection)
    changed = run_all(connection, given_settings={"time_zone": "Europe/Zurich"})
    assert changed.logs_received == 24
    firsts = harness.rows(connection, "select settings, count(*) as n from audit.run group by all order by all")
    assert len(firsts) == 2
    assert all(row["n"] > 2 for row in firsts)
    assert reconciliation_engine.verify(connection) == []


@pytest.mark.usefixtures("small_batches")
def test_verify_in_batches_finds_what_differs_once_and_leaves_the_list_as_it_was(connection):
    harness.wipe(connection)
    harness.receive(connection, BOOKS)
    run_all(connection)
    with connection.begin():
        connection.exec_driver_sql("delete from audit.position_open where contract_id = 'C-5'")
        connection.exec_driver_sql("delete from audit.position where contract_id = 'C-5'")
    differences = reconciliation_engine.verify(connection)
    assert [(difference.what, difference.id) for difference in differences] == [("position", "C-5")]
    assert not reconciliation_engine.is_pending(connection)


@pytest.mark.usefixtures("small_batches")
def test_progress_runs_over_all_batches_and_never_back(connection):
    harness.wipe(connection)
    harness.receive(connection, BOOKS)
    told_so_far = []
    run_all(connection, progress=lambda done, steps: told_so_far.append(done / steps))
    assert told_so_far == sorted(told_so_far)
    assert 0 < told_so_far[0] < 0.5 < told_so_far[-1] <= 1


@pytest.mark.usefixtures("small_batches")
def test_a_new_day_before_the_batches_are_through_still_reaches_what_it_made_due(connection):
    harness.wipe(connection)
    books = {**BOOKS, "contracts": [{**row, "grace_days": "40"} for row in CONTRACTS]}
    harness.receive(connection, books)
    run_all(connection, dt.date(2026, 3, 10))
    assert {row["class"] for row in harness.rows(connection, "from report.finding")} == {"not_due"}
    harness.run(connection, dt.date(2026, 4, 20))
    assert {row["class"] for row in harness.rows(connection, "from report.finding")} == {"not_due", "unbilled"}
    run_all(connection, dt.date(2026, 4, 21))
    assert {row["class"] for row in harness.rows(connection, "from report.finding")} == {"unbilled"}


BATCH_BY_BATCH = """
import datetime as dt, sys
from decimal import Decimal
from abr import database, reconciliation_engine
from abr.settings import Thresholds
reconciliation_engine._BATCH_IDS_MIN, reconciliation_engine._BATCH_LOGS = 2, 8
with database.connect(sys.argv[1]) as connection:
    while True:
        reconciliation_engine.run_once(connection, dt.date(2026, 3, 31), thresholds=Thresholds(Decimal("1500.00")),
                                       settings={})
        print("ran", flush=True)
        if not reconciliation_engine.is_pending(connection):
            break
"""


def test_a_first_run_killed_between_or_within_batches_goes_on_where_it_was(tmp_path):
    url = f"duckdb:///{tmp_path}/abr.duckdb"
    with database.connect(url) as opened:
        harness.receive(opened, BOOKS)
    command = [sys.executable, "-c", BATCH_BY_BATCH, url]
    for wait_seconds in (0, 0.05, 0.1):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        time.sleep(wait_seconds)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    subprocess.run(command, check=True, capture_output=True)
    with database.connect(url) as opened:
        assert len(harness.rows(opened, "from report.finding")) == 24
        assert harness.rows(opened, "select count(*) as n from audit.finding")[0]["n"] == 24
        assert reconciliation_engine.verify(opened) == []


def test_an_invoice_without_an_id_counts_at_its_contract_also_when_only_a_log_was_touched(connection):
    bills = [
        {"contract_id": "C-1", "currency": "EUR", "status": "issued", "issued_on": "2026-03-31"},
        {"contract_id": "C-2", "currency": "EUR", "status": "issued", "issued_on": "2026-03-30"},
        {"invoice_id": "I-1", "contract_id": "C-3", "currency": "EUR", "status": "issued", "issued_on": "2026-03-30"},
        {"invoice_id": "I-1", "contract_id": "C-4", "currency": "EUR", "status": "issued", "issued_on": "2026-03-30"},
    ]
    harness.wipe(connection)
    harness.receive(connection, BOOKS | {"invoices": bills})
    run_all(connection)
    later = [{**BOOKS["time_logs"][place], "time_log_id": f"later-{place}"} for place in (0, 6)]
    harness.receive(connection, {"time_logs": later})
    run_all(connection)
    assert reconciliation_engine.verify(connection) == []
    positions = harness.rows(
        connection, "select contract_id, quarantined_line_count as n from report.contract_position where n > 0"
    )
    assert sorted(row["contract_id"] for row in positions) == ["C-1", "C-2", "C-3", "C-4"]


def test_no_prepared_plan_is_used_where_a_temporary_table_was_made_in_the_same_run(connection, monkeypatch):
    # DuckDB would plan it again, with the optimizers on that a plan for other rows must not have.
    monkeypatch.setattr(reconciliation_engine, "_BATCH_IDS_MIN", 2)
    harness.wipe(connection)
    harness.receive(connection, BOOKS)
    run_all(connection)
    later = [{**log, "time_log_id": f"later-{log['time_log_id']}"} for log in BOOKS["time_logs"]]
    for logs in (later[:1], later[1:2], later[2:]):
        harness.receive(connection, {"time_logs": logs})
        told_so_far = []
        event.listen(connection, "before_cursor_execute", lambda *args, told=told_so_far: told.append(args[2]))
        run_all(connection)
    assert any("temp table batch" in statement for statement in told_so_far)
    assert not any(statement.startswith("execute abr_fill") for statement in told_so_far)
    assert reconciliation_engine.verify(connection) == []


def test_logs_of_projects_that_no_contract_has_are_batched_by_their_number_too(connection, monkeypatch):
    monkeypatch.setattr(reconciliation_engine, "_BATCH_IDS_MIN", 2)
    monkeypatch.setattr(reconciliation_engine, "_BATCH_LOGS", 8)
    harness.wipe(connection)
    harness.receive(connection, BOOKS | {"projects": [{"project_id": "other", "contract_id": "C-1"}]})
    connection.rollback()
    counts = []
    inputs = functools.partial(reconciliation_engine.set_inputs, connection, harness.AS_OF, harness.DEFAULT)
    for _ in reconciliation_engine.batches(connection, inputs, touches_everything=True):
        reconciliation_engine.fill_work_tables(connection, until="log_row")
        counts.append(connection.exec_driver_sql("select count(*) from temp.log_row").scalar_one())
    assert sum(counts) == 24
    assert max(counts) <= 9


def test_looking_at_everything_in_batches_looks_at_each_log_and_line_once(connection, small_batches):
    invoices = [
        {"invoice_id": f"I-{row['time_log_id']}", "contract_id": row["project_id"].removeprefix("P-"),
         "currency": "EUR", "status": "issued", "issued_on": "2026-03-05"}
        for row in BOOKS["time_logs"]
    ]  # fmt: skip
    lines = [
        {"invoice_id": f"I-{row['time_log_id']}", "line_no": "1", "time_log_id": row["time_log_id"], "seconds": "3600",
         "net_amount": "90.00"}
        for row in BOOKS["time_logs"]
    ]  # fmt: skip
    harness.wipe(connection)
    harness.receive(connection, BOOKS | {"invoices": invoices, "invoice_lines": lines})
    run_all(connection)
    counted = "select (select count(*) from temp.log_row), (select count(*) from temp.line_row)"
    inputs = functools.partial(reconciliation_engine.set_inputs, connection, harness.AS_OF, harness.DEFAULT)
    counts, left = [], []
    for batches_left in reconciliation_engine.batches(connection, inputs, touches_everything=True):
        reconciliation_engine.fill_work_tables(connection)
        counts.append(tuple(connection.exec_driver_sql(counted).one()))
        left.append(batches_left)
    assert left == sorted(left, reverse=True)
    assert len(left) > 2
    assert [sum(column) for column in zip(*counts, strict=True)] == [len(BOOKS["time_logs"]), len(lines)]
    connection.rollback()
    assert harness.rows(connection, "from source.change") == []


def test_where_only_logs_were_touched_their_projects_are_batched_by_the_logs_they_have(connection, small_batches):
    harness.wipe(connection)
    harness.receive(connection, BOOKS)
    run_all(connection)
    runs = len(harness.rows(connection, "from audit.run"))
    later = [row | {"time_log_id": f"{row['time_log_id']}-later"} for row in BOOKS["time_logs"][::3]]
    harness.receive(connection, {"time_logs": later})
    run_all(connection)
    # 32 logs now, four to a contract, at most eight and one contract more to a batch.
    assert 3 <= len(harness.rows(connection, "from audit.run")) - runs <= 5
    assert reconciliation_engine.verify(connection) == []


@pytest.mark.slow
@harness.examples(0.2, at_least=3)
@given(history=firms.histories())
def test_a_history_worked_off_in_batches_ends_where_one_full_computation_ends(connection, small_batches, history):
    harness.wipe(connection)
    for step in history:
        harness.receive(connection, step["sources"], is_complete=step["complete"])
        if has_feed(connection):
            run_all(connection, step["as_of"])
    if has_feed(connection):
        assert reconciliation_engine.verify(connection) == []
