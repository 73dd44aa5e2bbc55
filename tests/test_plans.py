"""A run over a few contracts passes over the rows of all others: what reads a large table looks at home_hash first."""

import json
import random

import pytest

from abr import compacting, database, models, prepared, reconciliation_engine
from tests import harness
from tests.test_batches import BOOKS

BILLED = {
    "invoices": [
        {"invoice_id": f"I-{number}", "contract_id": f"C-{number}", "currency": "EUR", "status": "issued",
         "issued_on": "2026-03-31"}
        for number in range(1, 9)
    ],
    "invoice_lines": [
        {"invoice_id": f"I-{number}", "line_no": "1", "time_log_id": f"L-C-{number}-0", "net_amount": "100"}
        for number in range(1, 9)
    ],
}  # fmt: skip
SET_ASIDE = {
    "time_logs": [
        row | {"time_log_id": f"{row['time_log_id']}-?", "seconds": ""}
        for row in BOOKS["time_logs"]
        if row["time_log_id"].endswith("-0")
    ]
}
LARGE_TABLES = (
    "source.contracts",
    "source.projects",
    "source.rates",
    "source.time_logs",
    "source.invoices",
    "source.invoice_lines",
    "audit.finding_open",
    "audit.balance_open",
    "audit.invoice_span_open",
    "audit.quarantine_open",
    "audit.position_open",
)


@pytest.fixture(scope="module")
def connection():
    with harness.fresh_database() as opened:
        harness.receive(opened, BOOKS | BILLED)
        harness.receive(opened, SET_ASIDE)
        harness.run(opened)
        opened.exec_driver_sql("insert into source.change (kind, id) select 'contract', 'C-1'")
        reconciliation_engine.set_inputs(opened, harness.AS_OF, harness.DEFAULT)
        reconciliation_engine.scope_to_changes(opened)
        reconciliation_engine.fill_work_tables(opened)
        yield opened


def scans(node):
    """Yield (table, filters) of every scan in a plan."""
    info = node.get("extra_info", {})
    if "Table" in info:
        yield ".".join(info["Table"].replace('"', "").split(".")[-2:]), str(info.get("Filters", ""))
    for child in node.get("children", []):
        yield from scans(child)


def scans_of(connection, query):
    plan = json.loads(connection.exec_driver_sql(f"explain (format json) {query}").fetchall()[0][1])
    return [scan for node in plan for scan in scans(node) if scan[0] in LARGE_TABLES]


def large_reads(connection):
    """Return the filters that every work view puts on the large tables it reads, by view and table."""
    return {
        (name, table): filters
        for name in reconciliation_engine._filled_tables(connection)
        for table, filters in scans_of(connection, f"from work.{name}")
    }


def test_every_work_view_that_reads_a_large_table_looks_at_the_homes_before_it_reads_other_cells(connection):
    found = large_reads(connection)
    assert {name for name, _ in found} == set(reconciliation_engine._LARGE_READS)
    assert {table for _, table in found} == set(LARGE_TABLES)
    # The numbers once for whole row groups, which may pass more, and once for single rows.
    assert [one for one in found.values() if not ("optional: " in one and "contains(" in one) or "get_bit" in one] == []


def test_many_homes_are_looked_at_by_their_bits(connection):
    connection.exec_driver_sql("create or replace temp table told as select getvariable('few_contract_homes') as few")
    connection.exec_driver_sql("set variable few_contract_homes = null; set variable contract_homes = '0101'::bit")
    try:
        found = large_reads(connection)
    finally:
        connection.exec_driver_sql("set variable few_contract_homes = (select few from temp.told)")
    assert [filters for filters in found.values() if "get_bit" not in filters or "contains(" in filters] == []


@pytest.mark.parametrize(
    ("homes", "looks"), [("[1, 2]", False), ("[0, 1]", True), ("null", True)], ids=["few", "few and homeless", "many"]
)
def test_days_are_looked_at_before_other_cells_where_the_homes_alone_leave_many_rows(homes, looks):
    later = [row | {"time_log_id": f"{row['time_log_id']} later", "worked_on": "2026-03-30"}
             for row in (*BOOKS["time_logs"], *SET_ASIDE["time_logs"])]  # fmt: skip
    with harness.fresh_database() as connection:
        for received in (BOOKS, SET_ASIDE, {"time_logs": later}):
            harness.receive(connection, received)
        harness.run(connection)
        connection.exec_driver_sql(
            f"set variable few_contract_homes = {homes}; set variable contract_homes = '0101'::bit; "
            "set variable first_day = date '2026-03-30'"
        )
        found = large_reads(connection)
    kept = (("finding_change", "audit.finding_open"), ("open_quarantine", "audit.quarantine_open"))
    assert {"worked_on" in found[read] for read in kept} == {looks}
    logs = (("log_row", "source.time_logs"), ("log_count", "source.time_logs"))
    assert {"worked_on" in found[read] for read in logs} == {True}


def test_a_condition_outside_the_view_would_not_do(connection):
    # What the test above guards against: DuckDB does not push such a condition below the joins inside a view.
    connection.exec_driver_sql("create or replace temp view outside as select * from source.time_logs "
                               "where project_id in (select project_id from temp.scope_project)")  # fmt: skip
    ((_, filters),) = scans_of(connection, "from outside where get_bit('0101'::bit, home_hash & 3) = 1")
    assert "get_bit" not in filters


def test_no_statement_that_is_prepared_for_all_runs_reads_a_large_table_or_a_variable(connection):
    statements = (*reconciliation_engine._SCOPE_STATEMENTS, *reconciliation_engine._CLOSING_STATEMENTS)
    assert [statement for statement in statements if "getvariable" in statement or "is_in_scope" in statement] == []
    assert [scan for statement in statements for scan in scans_of(connection, statement)] == []


def test_the_homes_of_what_is_in_scope_are_the_numbers_that_are_set(connection):
    (homes,) = connection.exec_driver_sql("select getvariable('few_contract_homes')").one()
    assert len(homes) == models.FEW_HOMES
    assert set(homes) == {connection.exec_driver_sql("select home_hash from temp.scope_contract").scalar_one()}
    assert connection.exec_driver_sql("select count(*) from temp.log_row").scalar_one() == 4


@pytest.mark.parametrize("touched", [models.FEW_HOMES, models.FEW_HOMES + 1])
def test_few_contracts_are_found_by_number_and_more_by_bits_each_with_all_its_rows(touched):
    contracts = [f"C-{number}" for number in range(models.FEW_HOMES + 8)]
    books = {
        name: [row | {column: contract for column in row if column == "contract_id"} for contract in contracts
               for row in rows[:1]]
        for name, rows in BOOKS.items() if name in ("contracts", "rates")
    } | {
        "projects": [{"project_id": f"P-{contract}", "contract_id": contract} for contract in contracts],
        "time_logs": [
            row | {"time_log_id": f"{contract} {number}", "project_id": f"P-{contract}"}
            for contract in contracts for number, row in enumerate(BOOKS["time_logs"][:3])
        ],
    }  # fmt: skip
    with harness.fresh_database() as connection:
        harness.receive(connection, books)
        harness.run(connection)
        connection.exec_driver_sql(
            "insert into source.change (kind, id) select 'contract', contract_id from source.contracts "
            f"order by contract_id limit {touched}"
        )
        connection.commit()
        harness.run(connection, keeps_work_tables=True)
        few, logs, findings = connection.exec_driver_sql(
            "select getvariable('few_contract_homes'), (select count(*) from temp.log_row), "
            "(select count(*) from reconcile.stored_finding)"
        ).one()
        assert (few is None) == (touched > models.FEW_HOMES)
        assert (logs, findings) == (3 * touched, 3 * touched)


def test_rows_that_belong_to_no_contract_are_read_only_where_a_run_looks_for_such(monkeypatch):
    monkeypatch.setattr(reconciliation_engine, "_MANY_LOGS", 1)
    log, line, rate = BOOKS["time_logs"][0], BILLED["invoice_lines"][0], BOOKS["rates"][0]
    invoice = BILLED["invoices"][0] | {"invoice_id": "I-later"}
    project = {"project_id": "P-later", "contract_id": "C-1"}
    with harness.fresh_database() as connection:

        def looks_for_such(dataset, *rows):
            if rows:
                harness.receive(connection, {dataset: rows})
            harness.run(connection)
            return 0 in (connection.exec_driver_sql("select getvariable('few_contract_homes')").scalar_one() or ())

        def set_aside():
            return connection.exec_driver_sql(
                "select entity || ' ' || home from audit.quarantine_open order by all"
            ).scalars().all()  # fmt: skip

        harness.receive(connection, BOOKS | BILLED)
        assert not looks_for_such("time_logs", log | {"time_log_id": "another"})
        assert looks_for_such("time_logs", log | {"time_log_id": "lost", "project_id": "P-later"})
        assert looks_for_such("invoice_lines", line | {"invoice_id": "I-later"})
        assert looks_for_such("rates", rate | {"contract_id": None})
        assert looks_for_such("invoices", invoice | {"invoice_id": "I-other", "contract_id": None})
        assert set_aside() == ["invoice_lines I-later", "invoices I-other", "rates ", "time_logs P-later"]
        assert not looks_for_such("time_logs", log | {"time_log_id": "another", "note": "changed"})

        # What came before its project or invoice is found with it, and whenever its contract is looked at again.
        assert looks_for_such("invoices", invoice)
        connection.exec_driver_sql("insert into source.change (kind, id) select 'contract', 'C-1'")
        connection.commit()
        assert looks_for_such("contracts")
        # Where the row itself has got its contract meanwhile, the one set aside has not.
        harness.receive(connection, {"projects": [project]})
        compacting.compact(connection)
        assert looks_for_such("projects")
        connection.exec_driver_sql("insert into source.change (kind, id) select 'contract', 'C-1'")
        connection.commit()
        assert not looks_for_such("contracts")
        assert set_aside() == ["invoices I-other", "rates "]
        assert reconciliation_engine.verify(connection) == []

        assert looks_for_such("time_logs", log | {"time_log_id": "last", "project_id": "P-last"})
        assert looks_for_such("projects", project | {"project_id": "P-last"})
        connection.exec_driver_sql("insert into source.change (kind, id) select 'contract', 'C-1'")
        connection.commit()
        assert looks_for_such("contracts")
        assert reconciliation_engine.verify(connection) == []


@pytest.mark.parametrize("many", [1, 1_000_000], ids=["of many", "of few"])
def test_a_connection_that_goes_on_tells_a_few_contracts_by_number_where_there_are_many_logs(monkeypatch, many):
    monkeypatch.setattr(reconciliation_engine, "_MANY_LOGS", many)
    with harness.fresh_database() as connection:
        harness.receive(connection, BOOKS | BILLED)
        for contract in ("C-1", "C-2", "C-3", "C-4"):
            log = {**BOOKS["time_logs"][0], "time_log_id": f"later {contract}", "project_id": f"P-{contract}"}
            harness.receive(connection, {"time_logs": [log]})
            harness.run(connection)
        few = connection.exec_driver_sql("select getvariable('few_contract_homes')").scalar_one()
        assert (few is None) == (many == 1_000_000)
        assert reconciliation_engine.verify(connection) == []


@pytest.mark.parametrize("ratio", [0, 1_000_000_000], ids=["a small part", "a large part"])
def test_a_run_over_a_small_part_of_many_logs_does_not_look_at_the_day_of_each_and_finds_the_same(monkeypatch, ratio):
    monkeypatch.setattr(reconciliation_engine, "_MANY_LOGS", 1)
    monkeypatch.setattr(reconciliation_engine, "_LOGS_PER_LOG_IN_SCOPE", ratio)
    monkeypatch.setattr(reconciliation_engine, "FEW_HOMES", 0)
    log = BOOKS["time_logs"][0]
    homeless = {"time_log_id": "homeless", "project_id": "P-unknown"}
    with harness.fresh_database() as connection:
        harness.receive(connection, BOOKS | BILLED)
        harness.receive(connection, {"time_logs": [log | homeless]})
        for number in range(3):
            later = log | {"time_log_id": f"later {number}", "worked_on": "2026-03-30"}
            harness.receive(connection, {"time_logs": [later, later | {"time_log_id": f"lost {number}"} | homeless]})
            harness.run(connection, keeps_work_tables=True)
        found = large_reads(connection)
        for name in ("log_row", "log_count"):
            assert ("worked_on" in found[name, "source.time_logs"]) == (ratio > 0)
        assert reconciliation_engine.verify(connection) == []


@pytest.mark.parametrize("stopped_after", [1, 2, 3], ids=["the first run", "the one that prepares", "a prepared one"])
def test_what_a_run_that_was_stopped_left_in_the_work_tables_does_not_count_twice(stopped_after):
    with harness.fresh_database() as connection:
        harness.receive(connection, BOOKS | BILLED)
        for number in range(1, stopped_after + 2):
            connection.exec_driver_sql("insert into source.change (kind, id) select 'contract', 'C-1'")
            connection.commit()
            harness.run(connection, keeps_work_tables=number == stopped_after)
        assert reconciliation_engine.verify(connection) == []


def test_a_prepared_join_with_sums_finds_every_row_when_it_is_executed_again_for_others():
    chance = random.Random(0)
    with database.connect("duckdb://") as connection:
        run = connection.exec_driver_sql
        run("set threads = 2")
        run(
            "create temp table known as select log::bigint as log, 'C-' || (log // 1000) as contract_id "
            "from range(614400) as logs(log)"
        )
        run("create temp table asked as from known limit 2")
        connection.commit()
        with prepared.plans_that_last(connection) as planned:
            planned(
                "prepare matched as select count(log_count) from asked left join "
                "(select contract_id, log, count(*) as log_count from known group by all) using (contract_id, log)"
            )
        for _ in range(20):
            wanted = ", ".join(str(log) for log in chance.sample(range(614_400), 2))
            run("delete from asked")
            run(f"insert into asked from known where log in ({wanted})")
            assert run("execute matched").scalar_one() == 2


def test_no_connection_pushes_join_filters_down(tmp_path):
    shown = "select current_setting('disabled_optimizers')"
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection, connection.engine.connect() as other:
        settings = [one.exec_driver_sql(shown).scalar() for one in (connection, other)]
    assert settings == [database.OPTIMIZERS_OFF] * 2
