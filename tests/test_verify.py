"""verify can fail: whatever is changed behind ABR's back is named. A run whose sums do not add up writes nothing."""

import datetime as dt
from contextlib import nullcontext
from decimal import Decimal

import pytest
from hypothesis import given

from abr import database, reconciliation_engine, views
from abr.exceptions import DataIntegrityError, UsageError
from abr.models import MACROS, METADATA
from abr.settings import Thresholds
from tests import firms, harness

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
LINE = {"invoice_id": "INV-1", "line_no": "1", "kind": "time", "time_log_id": "L-2", "hours": "10", "net_amount": "900"}
FIRM = {
    "contracts": [CONTRACT],
    "projects": [PROJECT],
    "rates": [RATE],
    "time_logs": [LOG, LOG | {"time_log_id": "L-2"}, LOG | {"time_log_id": "L-3", "person": ""}],
    "invoices": [INVOICE],
    "invoice_lines": [LINE],
}
HISTORY = ("audit.finding", "audit.position", "audit.quarantine")


@pytest.fixture(scope="module")
def opened():
    """Return a database for all tests; what verify migrates beside it, to compare views with, is migrated once."""
    connect = database.connect
    with harness.fresh_database() as connection, harness.fresh_database() as migrated:

        def connect_once(database_url, **options):
            return nullcontext(migrated) if database_url.endswith(":memory:") else connect(database_url, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database, "connect", connect_once)
            yield connection


@pytest.fixture(scope="module")
def reconciled(opened):
    """Return the rows of a firm that was reconciled, with a finding that changed and a row that was superseded."""
    harness.wipe(opened)
    harness.receive(opened, FIRM | {"time_logs": [*FIRM["time_logs"], LOG | {"time_log_id": "L-4", "person": ""}]})
    harness.run(opened)
    harness.receive(opened, {"time_logs": [LOG | {"time_log_id": "L-4", "is_approved": "no", "hours": "1"}]})
    harness.run(opened)
    names = {table.fullname: table.fullname.replace(".", "_kept_") for table in METADATA.sorted_tables}
    for name, kept in names.items():
        opened.exec_driver_sql(f"create temp table {kept} as from {name}")
    opened.commit()
    return names


@pytest.fixture
def connection(opened, reconciled):
    """Return a database that holds that firm."""
    harness.wipe(opened)
    with opened.begin():
        for name, kept in reconciled.items():
            opened.exec_driver_sql(f"insert into {name} from temp.{kept}")
    return opened


def change(connection, *statements):
    """Change the database as someone with a SQL prompt would."""
    connection.rollback()
    with connection.begin():
        for statement in statements:
            connection.exec_driver_sql(statement)


def verified(connection):
    """Return what verify finds, as (what, id); it writes nothing."""
    before = everything(connection)
    found = reconciliation_engine.verify(connection)
    assert everything(connection) == before
    assert all(difference.detail for difference in found)
    return [(difference.what, difference.id) for difference in found]


def everything(connection):
    connection.rollback()
    return {
        table.fullname: sorted(map(repr, connection.exec_driver_sql(f"from {table.fullname}").fetchall()))
        for table in METADATA.sorted_tables
    }


def one(connection, query):
    return connection.exec_driver_sql(query).scalar_one()


def finding_id(connection, about="log:L-1"):
    return one(connection, f"select finding_id from audit.finding_open where about = '{about}'")


def quarantine_id(connection, key="L-3"):
    return one(connection, f"select quarantine_id from audit.quarantine_open where key = '{key}'")


def last_run(connection):
    return f"run {one(connection, 'select run_id from reconcile.last_run')}"


def test_a_database_nobody_touched_verifies(connection):
    assert verified(connection) == []


def test_there_is_nothing_to_verify_before_the_first_run(opened):
    harness.wipe(opened)
    harness.receive(opened, FIRM)
    with pytest.raises(UsageError, match="no run to verify yet"):
        reconciliation_engine.verify(opened)


# --------------------------------------------------------------------------------------------------
# What was concluded


def test_an_amount_edited_in_the_open_findings_is_named(connection):
    edited = finding_id(connection)
    change(connection, f"update audit.finding_open set amount = amount + 0.01 where finding_id = '{edited}'")
    assert set(verified(connection)) == {("audit.finding", edited), ("finding", edited)}


def test_an_amount_edited_in_the_newest_version_of_a_finding_is_named(connection):
    edited = finding_id(connection)
    change(connection, f"update audit.finding set amount = amount + 0.01 where finding_id = '{edited}'")
    assert set(verified(connection)) == {("audit.finding", edited)}


def test_an_amount_edited_in_both_is_named_because_it_is_computed_again(connection):
    edited = finding_id(connection)
    change(
        connection,
        *(
            f"update audit.{table} set amount = amount + 0.01 where finding_id = '{edited}'"
            for table in ("finding", "finding_open")
        ),
    )
    assert verified(connection) == [("finding", edited)]


@pytest.mark.parametrize("tables", [["finding_open"], ["finding"], ["finding_open", "finding"]])
def test_a_finding_that_was_deleted_is_named(connection, tables):
    deleted = finding_id(connection)
    change(connection, *(f"delete from audit.{table} where finding_id = '{deleted}'" for table in tables))
    assert {name for _, name in verified(connection)} == {deleted}


def test_a_finding_that_was_made_up_is_named(connection):
    change(
        connection,
        "insert into audit.finding_open select * replace ('made up' as finding_id) from audit.finding_open limit 1",
    )
    assert {name for _, name in verified(connection)} == {"made up"}


def test_a_closed_finding_that_was_opened_again_by_hand_is_named(connection):
    harness.receive(connection, {"time_logs": [LOG | {"is_billable": "no"}]})
    closed = finding_id(connection)
    harness.run(connection)
    change(connection, f"delete from audit.finding where finding_id = '{closed}' and state = 'closed'")
    assert ("audit.finding", closed) in verified(connection)


@pytest.mark.parametrize(
    "column",
    [
        "expected_amount",
        "leakage_amount",
        "other_billed_amount",
        "unbilled_hours",
        "quarantined_line_count",
        "threshold_amount",
    ],
)
def test_a_position_edited_in_any_figure_is_named(connection, column):
    change(connection, *(f"update audit.{table} set {column} = 77" for table in ("position", "position_open")))
    assert verified(connection) == [("position", "C-1")]


def test_a_position_that_differs_from_its_newest_version_is_named(connection):
    change(connection, "update audit.position_open set is_flagged = not is_flagged")
    assert set(verified(connection)) == {("audit.position", "C-1"), ("position", "C-1")}


def test_a_position_that_was_deleted_is_named(connection):
    change(connection, "delete from audit.position_open")
    assert {name for _, name in verified(connection)} == {"C-1"}


@pytest.mark.parametrize(
    "edit",
    [
        "reasons = 'missing_date'",
        "seconds = seconds - 1",
        "state = 'waived'",
        "client = 'somebody else'",
    ],
)
def test_a_row_in_quarantine_that_was_edited_is_named(connection, edit):
    edited = quarantine_id(connection)
    change(connection, f"update audit.quarantine_open set {edit} where quarantine_id = '{edited}'")
    assert {name for _, name in verified(connection)} == {edited}


def test_a_row_in_quarantine_whose_raw_cells_were_edited_is_named(connection):
    edited = quarantine_id(connection)
    change(connection, "update audit.quarantine_open set raw = '{}'")
    assert set(verified(connection)) == {("audit.quarantine", edited)}


@pytest.mark.parametrize("tables", [["quarantine_open"], ["quarantine"], ["quarantine_open", "quarantine"]])
def test_a_row_in_quarantine_that_was_deleted_is_named(connection, tables):
    deleted = quarantine_id(connection)
    change(connection, *(f"delete from audit.{table} where quarantine_id = '{deleted}'" for table in tables))
    assert {name for _, name in verified(connection)} == {deleted}


def test_a_log_count_that_was_edited_is_named(connection):
    change(connection, "update audit.log_count_open set logs_eligible = logs_eligible + 1")
    assert set(verified(connection)) == {("log count", "P-1"), ("audit.run", last_run(connection))}


def test_a_log_count_that_was_deleted_is_named(connection):
    change(connection, "delete from audit.log_count_open")
    assert set(verified(connection)) == {("log count", "P-1"), ("audit.run", last_run(connection))}


def test_a_run_whose_counts_were_edited_is_named(connection):
    change(connection, "update audit.run set logs_eligible = logs_eligible + 1")
    assert verified(connection) == [("audit.run", last_run(connection))]


def test_a_write_off_that_nobody_made_is_named(connection):
    edited = finding_id(connection)
    change(
        connection,
        "insert into audit.write_off by name select 1 as write_off_id, now()::timestamp as decided_at, "
        f"'{edited}' as finding_id, 'C-1' as contract_id, 99999 as accepted_amount, 'x' as decided_by, 'x' as reason",
    )
    assert set(verified(connection)) == {("finding", edited), ("position", "C-1"), ("balance", "C-1 2026-02-01")}


# --------------------------------------------------------------------------------------------------
# What was received


@pytest.mark.parametrize(
    ("dataset", "edit", "key"),
    [
        ("contracts", "discount_percent = 5", "C-1"),
        ("contracts", "client = 'somebody else'", "C-1"),
        ("projects", "name = 'renamed'", "P-1/C-1"),
        ("rates", "hourly_rate = hourly_rate + 0.0001", "C-1/2026-01-01/"),
        ("time_logs", "seconds = seconds + 1", "L-1"),
        ("time_logs", "note = 'nobody wrote this'", "L-1"),
        ("time_logs", "person = null", "L-1"),
        ("time_logs", "odd_cells = '{}'", "L-1"),
        ("time_logs", "home_hash = home_hash + 1", "L-1"),
        ("invoice_lines", "home_hash = 0", "INV-1/1"),
        ("time_logs", "contract_hash = contract_hash + 1", "L-1"),
        ("invoice_lines", "contract_hash = contract_hash + 1", "INV-1/1"),
        ("invoices", "contract_hash = 0", "INV-1"),
        ("time_logs", "key_hash = key_hash + 1", "L-1"),
        ("contracts", "key_hash = 0", "C-1"),
        ("invoices", "status = 'void'", "INV-1"),
        ("invoice_lines", "net_amount = -net_amount", "INV-1/1"),
        ("invoice_lines", "duration_cell = 'minutes'", "INV-1/1"),
    ],
)
def test_one_changed_cell_of_a_source_row_is_named(connection, dataset, edit, key):
    change(
        connection,
        f"update source.{dataset} set {edit} where row_id = (select min(row_id) from source.{dataset})",
    )
    found = verified(connection)
    assert [name for what, name in found if what == f"source.{dataset}" and name.startswith(key)], found


@pytest.mark.parametrize(
    "dataset",
    [
        *("contracts", "time_logs"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("projects", "rates", "invoices", "invoice_lines")),
    ],
)
def test_the_cells_as_given_of_a_source_row_cannot_be_changed_unseen(connection, dataset):
    harness.receive(connection, {"time_logs": [LOG | {"time_log_id": "L-5", "hours": "x"}]})
    harness.receive(connection, {"invoice_lines": [LINE | {"line_no": "2", "net_amount": "x"}, LINE]})
    harness.run(connection)
    change(connection, f"update source.{dataset} set raw = '{{}}' where raw is not null")
    assert [what for what, _ in verified(connection) if what == f"source.{dataset}"]


def test_a_changed_cell_of_an_older_version_is_named_too(connection):
    change(connection, "update source.time_logs set person = 'bob' where ended_load_id is not null")
    assert verified(connection) == [("source.time_logs", "L-4")]


@pytest.mark.parametrize("dataset", ["projects", "rates", "time_logs", "invoices", "invoice_lines"])
def test_a_source_row_that_was_deleted_shows_in_what_it_explained(connection, dataset):
    change(connection, f"delete from source.{dataset}")
    assert verified(connection)


def test_a_source_row_that_was_made_live_again_shows(connection):
    change(connection, "update source.time_logs set ended_load_id = null, ended_by = null")
    assert verified(connection)


def test_a_source_row_that_was_ended_by_hand_shows(connection):
    change(connection, "update source.time_logs set ended_load_id = 1 where time_log_id = 'L-1'")
    assert ("finding", finding_id(connection)) in verified(connection)


def test_a_conflict_that_was_hidden_shows(connection):
    harness.receive(connection, {"time_logs": [LOG | {"note": "a"}, LOG | {"note": "b"}]})
    harness.run(connection)
    change(connection, "delete from source.conflict")
    assert verified(connection)


# --------------------------------------------------------------------------------------------------
# The rules


@pytest.fixture
def replaceable(opened):
    """Return the database, and put its views back as they were."""
    harness.wipe(opened)
    harness.receive(opened, FIRM)
    harness.run(opened)
    before = views.stored_text(opened)
    yield opened
    after = views.stored_text(opened)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    change(opened, *views.ddl({name: views.load().get(name) for name in changed}))
    assert reconciliation_engine.verify(opened) == []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("quarantine_rules.over_24_hours", "86400", "86401"),
        ("report.leakage_by_client", "count(*) as contract_count", "count(*) + 1 as contract_count"),
        ("reconcile.broken_total", "logs_received != ", "logs_received < "),
        ("reconcile.due", "due_on <= ", "due_on < "),
        ("work.cycle", "null::date", "date '2026-01-01'"),
    ],
)
def test_a_view_that_was_replaced_is_named(replaceable, name, old, new):
    text = views.load()[name]
    assert old in text
    change(replaceable, f"create or replace view {name} as {text.replace(old, new)}")
    assert verified(replaceable) == [("view", name)]


def test_a_macro_that_was_replaced_is_named(replaceable):
    change(replaceable, "create or replace macro source.is_in_scope(home) as true")
    found = verified(replaceable)
    change(replaceable, f"create or replace macro source.is_in_scope{MACROS['source.is_in_scope']}")
    assert found == [("view", "source.is_in_scope")]


def test_a_view_that_was_dropped_or_added_is_named(replaceable):
    change(replaceable, "drop view report.leakage_aging", "create view report.extra as select 1 as one")
    found = reconciliation_engine.verify(replaceable)
    assert [(each.what, each.id, each.detail) for each in found] == [
        ("view", "report.extra", "unknown"),
        ("view", "report.leakage_aging", "missing"),
    ]


def test_a_view_put_back_as_it_was_verifies(replaceable):
    (text,) = replaceable.exec_driver_sql(
        "select sql from duckdb_views() where schema_name = 'report' and view_name = 'finding'"
    ).first()
    change(replaceable, "create or replace view report.finding as select 1 as one", "drop view report.finding", text)
    assert verified(replaceable) == []


# --------------------------------------------------------------------------------------------------
# What may differ


def test_a_database_that_was_closed_and_opened_again_verifies_and_has_the_same_rules(tmp_path):
    url = f"duckdb:///{tmp_path / 'abr.duckdb'}"
    with harness.fresh_database(url) as connection:
        harness.receive(connection, FIRM)
        before = harness.run(connection)
    with database.connect(url) as connection:
        assert reconciliation_engine.verify(connection) == []
        assert harness.run(connection).rules_digest == before.rules_digest


def test_what_no_run_has_looked_at_yet_does_not_make_it_fail(connection):
    harness.receive(connection, {"time_logs": [LOG | {"hours": "12"}, LOG | {"time_log_id": "L-9", "hours": "x"}]})
    assert verified(connection) == []
    harness.receive(connection, {"invoices": [INVOICE | {"status": "void"}]})
    assert verified(connection) == []
    harness.receive(connection, {"rates": [RATE | {"hourly_rate": "110"}], "contracts": []})
    assert verified(connection) == []
    harness.run(connection)
    assert verified(connection) == []


def test_a_decision_no_run_has_looked_at_yet_does_not_make_it_fail(connection):
    words = {"decided_by": "mia", "reason": "agreed", "now": harness.NOW}
    connection.rollback()
    with connection.begin():
        reconciliation_engine.write_off(connection, finding_id(connection), **words)
        reconciliation_engine.waive(connection, quarantine_id(connection), **words)
    assert verified(connection) == []
    harness.run(connection)
    assert verified(connection) == []


def test_an_edit_beside_what_is_pending_is_still_named(connection):
    harness.receive(
        connection,
        {
            "contracts": [CONTRACT | {"contract_id": "C-2"}],
            "projects": [PROJECT | {"project_id": "P-2", "contract_id": "C-2"}],
            "time_logs": [LOG | {"time_log_id": "L-8", "project_id": "P-2"}],
        },
    )
    edited = finding_id(connection)
    change(
        connection,
        *(
            f"update audit.{table} set amount = 1 where finding_id = '{edited}'"
            for table in ("finding", "finding_open")
        ),
    )
    assert verified(connection) == [("finding", edited)]


def test_it_computes_for_the_date_and_the_thresholds_of_the_last_run(opened):
    harness.wipe(opened)
    harness.receive(opened, FIRM | {"contracts": [CONTRACT | {"grace_days": "30"}]})
    harness.run(
        opened,
        dt.date(2026, 2, 10),
        Thresholds(Decimal("5.00"), {"JPY": Decimal(9)}),
        settings={"threshold_amount": "5.00,JPY=9", "time_zone": "UTC"},
    )
    assert one(opened, "select threshold_amount from report.contract_position") == 5
    assert verified(opened) == []


def test_a_halted_run_in_between_does_not_make_it_fail(connection):
    harness.receive(connection, {"contracts": [CONTRACT | {"contract_id": "C-3", "discount_percent": "101"}]})
    with pytest.raises(Exception, match="cannot be trusted"):
        harness.run(connection, is_strict=True)
    assert verified(connection) == []


@harness.examples(0.1, at_least=3)
@given(history=firms.histories())
def test_whatever_happens_a_database_nobody_touched_verifies_before_and_after_the_next_run(opened, history):
    harness.wipe(opened)
    has_run = False
    for step in history:
        harness.receive(opened, step["sources"], is_complete=step["complete"])
        if has_run:
            assert reconciliation_engine.verify(opened) == []
        try:
            harness.run(opened, step["as_of"])
            has_run = True
        except DataIntegrityError as failure:
            # A firm may be drawn without a contract.
            assert "failed feed" in failure.message  # noqa: PT017
    if has_run:
        assert reconciliation_engine.verify(opened) == []


# --------------------------------------------------------------------------------------------------
# Control totals


def wrapped(name, outer):
    """Return a view as it is, read through another select."""
    return f"create or replace view {name} as {outer.format('(' + views.load()[name] + chr(10) + ')')}"


IS_L9 = "row_id in (select row_id from source.time_logs where time_log_id = 'L-9')"
# Each makes the figures of L-9 not add up, and those of everybody else as they were.
BREAKS = {
    "a log disappears": (
        wrapped("work.log", f"select * from {{}} where not {IS_L9}"),
        "control total broken for ",
    ),
    "a log is counted twice": (
        wrapped(
            "work.log",
            f"with logs as (select * from {{}}) from logs union all by name from logs where {IS_L9}",
        ),
        "control total broken for ",
    ),
    "seconds go astray": (
        wrapped("work.log", f"select * replace (if({IS_L9}, 1, seconds) as seconds) from {{}}"),
        "control total broken for ",
    ),
    "a finding disappears": (
        wrapped("work.finding", "select * from {} where about != 'log:L-9'"),
        "control total broken for amounts of contract C-1",
    ),
    "a cent goes astray": (
        wrapped(
            "work.gap",
            "select * replace (gap_minor + (time_log_id = 'L-9')::integer as gap_minor) from {}",
        ),
        "control total broken for amounts of contract C-1",
    ),
}
BAD = {"time_logs": [LOG | {"time_log_id": "L-9", "hours": "3"}]}
CHANGED = {"time_logs": [LOG | {"hours": "11"}]}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("a log disappears", "a cent goes astray") else pytest.param(name, marks=pytest.mark.slow)
        for name in BREAKS
    ],
)
def test_sums_that_differ_halt_the_run_roll_back_everything_and_are_recorded(tmp_path, name):
    statement, message = BREAKS[name]
    url = f"duckdb:///{tmp_path / 'abr.duckdb'}"
    with harness.fresh_database(url) as connection:
        harness.receive(connection, FIRM)
        harness.run(connection)
        harness.receive(connection, CHANGED)
        change(connection, statement)
        # Under the replaced view, and by statements prepared for it, nothing is wrong until L-9 comes.
        harness.run(connection)
        harness.receive(connection, {"projects": [PROJECT | {"name": "again"}]})
        harness.run(connection)
        halts_and_writes_nothing(connection, message)
    with database.connect(url) as connection:
        halts_and_writes_nothing(connection, message)
        # A connection that prepares its statements only now halts too, and goes on halting.
        halts_and_writes_nothing(connection, message)
        change(connection, f"create or replace view {view_of(statement)} as {views.load()[view_of(statement)]}")
        after = harness.run(connection)
        assert after.status == "ok"
        assert one(connection, "select amount from report.finding where about = 'log:L-9'") == 300
        assert reconciliation_engine.verify(connection) == []


def view_of(statement):
    return statement.split()[4]


def halts_and_writes_nothing(connection, message):
    harness.receive(connection, BAD)
    before = everything(connection)
    with pytest.raises(DataIntegrityError, match=message) as halted:
        harness.run(connection)
    assert halted.value.exit_code == 3
    after = everything(connection)
    runs = "audit.run"
    assert {name: rows for name, rows in after.items() if name != runs} == {
        name: rows for name, rows in before.items() if name != runs
    }
    assert len(after[runs]) == len(before[runs]) + 1
    last = harness.rows(connection, "select * from report.run_history order by run_id desc limit 1")[0]
    assert (last["status"], last["error"]) == ("halted", halted.value.message)
    assert last["rules_digest"] is None
    assert last["logs_received"] is None


def test_a_view_replaced_before_the_first_run_halts_that_run(opened):
    harness.wipe(opened)
    stored = views.stored_text(opened)["work.log"]
    try:
        change(opened, BREAKS["a log disappears"][0])
        harness.receive(opened, FIRM | {"time_logs": [*FIRM["time_logs"], *BAD["time_logs"]]})
        with pytest.raises(DataIntegrityError, match="control total broken"):
            harness.run(opened)
        assert all(one(opened, f"select count(*) from {name}") == 0 for name in HISTORY)
        assert one(opened, "select count(*) from source.change") > 0
    finally:
        change(opened, "drop view work.log", stored)
    assert harness.run(opened).status == "ok"
