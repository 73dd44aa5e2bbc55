"""What lies where in the file: look-ups that follow what arrives, tables sorted again, memory that is bounded."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import event

from abr import compacting, database, loading, reconciliation_engine
from abr.models import METADATA
from tests import command_line, harness
from tests.command_line import abr

ROWS = 400_000
ROW_GROUP_ROWS = 122_880
PROJECTS = 1000


def fill(connection, *, rows=ROWS, first=0):
    """Load time logs with ids of 26 random characters, made up by SQL."""
    cells = ", ".join(f"null::varchar as {cell}" for cell in loading.cells_of("time_logs"))
    driver = connection.connection.driver_connection
    connection.rollback()
    driver.execute(f"create or replace temp table arriving as select {cells} limit 0")
    driver.execute(
        "insert into arriving by name select left(md5(i::varchar), 26) as time_log_id, 'ann' as person, "
        f"'P-' || (hash(i) % {PROJECTS}) as project_id, '2026-02-02' as worked_on, '3600' as seconds "
        f"from range({first}, {first + rows}) as made(i)"
    )
    with connection.begin():
        return loading.load(connection, {"time_logs": "arriving"}, source="canonical", now=harness.NOW).counts[0]


def content(connection):
    """Return every row of the large tables, in an order that does not depend on where it lies."""
    found = {
        table: connection.exec_driver_sql(f"from {table} order by all").fetchall() for table in compacting.SORTED_TABLES
    }
    connection.rollback()
    return found


def bytes_read() -> int:
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])


# ---- a load ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux to say what a process has read")
def test_a_small_load_reads_four_bytes_of_each_row_and_no_text_of_those_it_does_not_touch(tmp_path):
    url = f"duckdb:///{tmp_path}/abr.duckdb"
    with database.connect(url) as connection:
        fill(connection)
    with database.connect(url) as connection:
        before = bytes_read()
        count = fill(connection, rows=100, first=ROWS)
        read = bytes_read() - before
        assert (count.new, count.unchanged) == (100, 0)
    # The ids alone take more than 6 MB in the file, the numbers made of them 1.6 MB.
    assert read < 4_000_000


def test_rows_get_numbers_of_their_own_also_after_whole_row_groups_were_deleted(tmp_path):
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        fill(connection, rows=ROW_GROUP_ROWS)
        with connection.begin():
            connection.exec_driver_sql("delete from source.time_logs")
        for number in range(3):
            fill(connection, rows=5, first=ROW_GROUP_ROWS + number * 5)
        numbers = connection.exec_driver_sql("select row_id from source.time_logs").scalars().all()
    assert sorted(numbers) == list(range(1, 16))


def test_the_first_row_of_an_order_is_found_among_those_that_were_not_deleted():
    with harness.fresh_database() as connection:
        run = connection.exec_driver_sql
        run("create table main.held (number bigint)")
        changes = (
            f"insert into held from range({ROW_GROUP_ROWS})",
            "delete from held",
            "insert into held from range(10)",
        )
        for change in changes:
            run(change)
            connection.commit()
        assert run("select number from held order by number desc limit 1").scalars().all() == [9]


def test_keys_with_one_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "key_hash_of", lambda dataset: "1::integer")
    log = {"project_id": "P-1", "person": "ann", "worked_on": "2026-02-02", "hours": "1"}
    with harness.fresh_database() as connection:
        harness.receive(connection, {"time_logs": [log | {"time_log_id": f"L-{number}"} for number in range(9)]})
        changed = [log | {"time_log_id": "L-3", "hours": "2"}, log | {"time_log_id": "L-4"}, log | {"time_log_id": "N"}]
        count = harness.receive(connection, {"time_logs": changed}).counts[0]
        assert (count.new, count.superseded, count.unchanged, count.withdrawn) == (1, 1, 1, 0)
        harness.receive(connection, {"time_logs": [log | {"time_log_id": "L-5"}]}, source="other")
        assert harness.rows(connection, "select distinct key from source.conflict") == [{"key": "L-5"}]
        count = harness.receive(connection, {"time_logs": changed}, is_complete=True).counts[0]
        assert (count.unchanged, count.withdrawn) == (3, 7)
        assert harness.rows(connection, "from source.conflict") == []


# ---- rows found by the contract they had when they were written -------------------------------------------------


WORK = {
    "contracts": [
        {"contract_id": name, "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"} for name in ("C-1", "C-2")
    ],
    "projects": [{"project_id": "P-1", "contract_id": "C-1"}],
    "rates": [{"contract_id": name, "hourly_rate": "100.00", "valid_from": "2026-01-01"} for name in ("C-1", "C-2")],
    "time_logs": [
        {"time_log_id": f"L-{day}", "project_id": "P-1", "person": "ann", "worked_on": f"2026-02-0{day}", "hours": "8"}
        for day in (1, 2, 3)
    ],
    "invoices": [
        {"invoice_id": "I-1", "contract_id": "C-1", "currency": "EUR", "status": "issued", "issued_on": "2026-02-04"}
    ],
    "invoice_lines": [{"invoice_id": "I-1", "line_no": "1", "time_log_id": "L-1", "net_amount": "800.00"}],
}
OWNERLESS = "select count(*) as count from source.{} where contract_hash = 0"


def positions(connection):
    """Return what is eligible and billed on each contract."""
    return {
        row["contract_id"]: (int(row["expected_amount"]), int(row["billed_amount"]))
        for row in harness.rows(connection, "from report.contract_position where expected_amount > 0")
    }


def test_rows_that_came_before_their_project_and_invoice_are_found_and_compacting_puts_them_in_their_place(tmp_path):
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        for datasets in (("contracts", "rates", "time_logs", "invoice_lines"), ("projects",), ("invoices",)):
            harness.receive(connection, {dataset: WORK[dataset] for dataset in datasets})
            harness.run(connection)
        assert positions(connection) == {"C-1": (2400, 800)}
        assert [harness.rows(connection, OWNERLESS.format(name))[0]["count"] for name in loading.OWNERS] == [3, 1]
        assert reconciliation_engine.verify(connection) == []

        compacting.compact(connection)
        assert [harness.rows(connection, OWNERLESS.format(name))[0]["count"] for name in loading.OWNERS] == [0, 0]
        harness.receive(connection, {"time_logs": [WORK["time_logs"][0] | {"time_log_id": "L-4"}]})
        harness.run(connection)
        assert positions(connection) == {"C-1": (3200, 800)}
        assert reconciliation_engine.verify(connection) == []


def test_rows_set_aside_are_found_and_get_no_new_version_whatever_number_they_were_written_with(tmp_path):
    unreadable = {"time_logs": [WORK["time_logs"][0] | {"hours": "eight"}]}
    written = "select count(*) as count from audit.quarantine"
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        harness.receive(connection, {name: WORK[name] for name in ("contracts", "rates")} | unreadable)
        harness.run(connection)
        harness.receive(connection, {"projects": WORK["projects"]})
        harness.run(connection)
        before = harness.rows(connection, written)
        compacting.compact(connection)
        assert harness.rows(connection, OWNERLESS.format("time_logs"))[0]["count"] == 0
        assert harness.rows(connection, "select contract_hash from audit.quarantine_open") == [{"contract_hash": 0}]
        harness.receive(connection, {"projects": [WORK["projects"][0] | {"name": "Roof"}]})
        harness.run(connection)
        assert harness.rows(connection, written) == before
        assert reconciliation_engine.verify(connection) == []

        harness.receive(connection, {"time_logs": WORK["time_logs"]})
        harness.run(connection)
        assert harness.rows(connection, "from audit.quarantine_open") == []
        assert reconciliation_engine.verify(connection) == []


def test_every_table_whose_rows_are_said_to_lie_sorted_is_sorted_when_it_is_compacted():
    said = {
        table.fullname
        for table in METADATA.sorted_tables
        if any("rows lie sorted by it" in (column.comment or "") for column in table.columns)
    }
    assert {"source.rates", "audit.quarantine_open", "audit.position"} < said
    assert compacting.SORTED_TABLES.keys() == said


def test_a_large_load_after_that_of_its_projects_does_not_hold_its_rows_in_memory(tmp_path):
    plans = []
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        projects = [{"project_id": f"P-{number}", "contract_id": "C-1"} for number in range(PROJECTS)]
        harness.receive(connection, {"contracts": WORK["contracts"], "projects": projects})

        @event.listens_for(connection, "before_cursor_execute")
        def explain(connection, _cursor, statement, *_):
            if statement.startswith("insert into source.time_logs"):
                plans.append(connection.connection.driver_connection.execute(f"explain {statement}").fetchall()[0][1])

        fill(connection)
    (plan,) = plans
    assert "Join Type: LEFT" in plan  # with the projects in memory; RIGHT would be the logs


@pytest.mark.parametrize("is_compacted", [False, True], ids=["as they were written", "compacted"])
def test_rows_of_a_project_and_an_invoice_that_moved_are_found_under_the_contract_they_have_now(tmp_path, is_compacted):
    moved = {name: [row | {"contract_id": "C-2"} for row in WORK[name]] for name in ("projects", "invoices")}
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        harness.receive(connection, WORK)
        harness.run(connection)
        harness.receive(connection, moved, is_complete=True)
        harness.run(connection)
        assert positions(connection) == {"C-2": (2400, 800)}
        if is_compacted:
            compacting.compact(connection)
        # Of the logs that are there the one that is billed becomes longer, and one more arrives.
        logs = [WORK["time_logs"][0] | {"hours": "9"}, WORK["time_logs"][0] | {"time_log_id": "L-4"}]
        harness.receive(connection, {"time_logs": logs})
        harness.run(connection)
        assert positions(connection) == {"C-2": (3300, 800)}
        assert reconciliation_engine.verify(connection) == []


# ---- sorting again --------------------------------------------------------------------------------------------------


@contextmanager
def scattered(tmp_path):
    """Yield a database whose small loads lie unsorted at the end of its time logs."""
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        for dataset in ("contracts", "projects", "rates", "invoices", "invoice_lines"):
            harness.receive(connection, {dataset: command_line.BOOKS[dataset]})
        fill(connection)
        for cycle in range(5):
            fill(connection, rows=1000, first=ROWS + cycle * 1000)
        harness.run(connection)
        yield connection


@pytest.mark.slow
def test_compacting_sorts_and_changes_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr(compacting, "_PIECE_ROWS_MIN", 50_000)
    with scattered(tmp_path) as connection:
        before = content(connection)
        assert not compacting.is_sorted(connection, "source.time_logs")
        told = []
        compacting.compact(connection, lambda table, share: told.append((table, share)))
        assert ("source.time_logs", 0.0) in told
        assert max(share for table, share in told if table == "source.time_logs") == 7 / 8
        assert all(compacting.is_sorted(connection, table) for table in compacting.SORTED_TABLES)
        assert content(connection) == before
        assert reconciliation_engine.verify(connection) == []
        connection.rollback()
        told.clear()
        compacting.compact(connection, lambda *what: told.append(what))
        assert told == []


CONTRACTS = 20


def owned(connection, rows, *, first=0):
    """Load logs of projects, and lines of invoices, of which several belong to each contract."""
    driver = connection.connection.driver_connection
    homes = {"projects": "project_id", "invoices": "invoice_id"}
    incoming = {}
    connection.rollback()
    for dataset, made in {
        "projects": f"select 'P-' || i as project_id, 'C-' || i % {CONTRACTS} as contract_id "
        "from range(200) as made(i)",
        "invoices": f"select 'I-' || i as invoice_id, 'C-' || i % {CONTRACTS} as contract_id, 'EUR' as currency, "
        "'issued' as status, '2026-03-01' as issued_on from range(200) as made(i)",
        "time_logs": "select 'L-' || i as time_log_id, 'P-' || hash(i) % 200 as project_id, 'ann' as person, "
        f"'2026-02-02' as worked_on, '60' as seconds from range({first}, {first + rows}) as made(i)",
        "invoice_lines": "select 'I-' || hash(i) % 200 as invoice_id, i::varchar as line_no, 'L-' || i as time_log_id, "
        f"'1.00' as net_amount from range({first}, {first + rows}) as made(i)",
    }.items():
        if dataset in homes and first:
            continue
        cells = ", ".join(f"null::varchar as {cell}" for cell in loading.cells_of(dataset))
        driver.execute(f"create or replace temp table arriving_{dataset} as select {cells} limit 0")
        driver.execute(f"insert into arriving_{dataset} by name {made}")
        incoming[dataset] = f"arriving_{dataset}"
    with connection.begin():
        loading.load(connection, incoming, source="canonical", now=harness.NOW)


def pieces(connection, table, owners, key):
    """Return in how many pieces the rows of a contract lie, at most."""
    found = connection.exec_driver_sql(
        f"select max(piece_count) from (select contract_id, count(*) as piece_count from (select contract_id, "
        f"lag(contract_id) over (order by place) as before from (select {table}.rowid as place, contract_id "
        f"from {table} inner join {owners} using ({key}))) where contract_id is distinct from before group by 1)"
    ).scalar_one()
    connection.rollback()
    return found


def test_the_rows_of_a_contract_lie_together_once_they_are_loaded_or_compacted(tmp_path):
    large = (("source.time_logs", "source.projects", "project_id"),
             ("source.invoice_lines", "source.invoices", "invoice_id"))  # fmt: skip
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        owned(connection, 20_000)
        assert [pieces(connection, *table) for table in large] == [1, 1]
        owned(connection, 500, first=20_000)
        assert min(pieces(connection, *table) for table in large) > 5
        before = content(connection)
        compacting.compact(connection)
        assert [pieces(connection, *table) for table in large] == [1, 1]
        assert content(connection) == before


def test_tidying_writes_the_log_into_the_file_once_it_is_long(tmp_path):
    path = tmp_path / "abr.duckdb"
    wal = tmp_path / "abr.duckdb.wal"
    with database.connect(f"duckdb:///{path}") as connection:
        database.tidies(connection)
        fill(connection, rows=1000)
        assert not compacting.tidy(connection)
        assert wal.stat().st_size > 0
        fill(connection, rows=100_000, first=1000)  # more than DuckDB would leave in its log
        assert wal.stat().st_size > 16_000_000 / 4
        assert compacting.tidy(connection)
        assert not wal.exists() or wal.stat().st_size == 0
        assert not compacting.tidy(connection)  # of what was there nothing is merged
        assert connection.exec_driver_sql("select count(*) from source.time_logs").scalar_one() == 101_000


def row_groups(connection, table):
    """Return the number of rows in each row group of a table, removed ones included."""
    counts = (
        f"select sum(count)::bigint from pragma_storage_info('{table}') where column_id = 0 "
        "and segment_type != 'VALIDITY' group by row_group_id order by row_group_id"
    )
    found = connection.exec_driver_sql(counts).scalars().all()
    connection.rollback()
    return found


def test_tidying_merges_what_came_lately_table_by_table_and_touches_nothing_before(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_LONG_LOG_BYTES", 1)
    monkeypatch.setattr(compacting, "_TAIL_ROWS_MAX", 3000)
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        fill(connection, rows=10_000)
        connection.exec_driver_sql("checkpoint")
        first, most = row_groups(connection, "source.time_logs"), 0
        database.tidies(connection)
        for number in range(50):
            fill(connection, rows=100, first=10_000 + number * 100)
            assert compacting.tidy(connection)
            groups = row_groups(connection, "source.time_logs")
            assert groups[: len(first)] == first
            most = max(most, len(groups) - len(first))
        assert 2500 < max(groups[len(first) :]) <= 3200  # then another one is begun
        assert most < 8
        assert connection.exec_driver_sql("select current_setting('max_vacuum_tasks')").scalar_one() == 100
        ids = "select count(*), count(distinct time_log_id), count(distinct row_id) from source.time_logs"
        assert tuple(connection.exec_driver_sql(ids).one()) == (15_000, 15_000, 15_000)


def test_tidying_goes_on_after_rows_of_a_table_have_left_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_LONG_LOG_BYTES", 1)
    kept = []
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        database.tidies(connection)
        connection.info["abr_tails"] = [compacting._Tail("source.change", 0)]
        for number in range(40):
            if number in {15, 20}:
                connection.exec_driver_sql("delete from source.change")
                kept.clear()
            kept.append(f"C-{number}")
            connection.exec_driver_sql(f"insert into source.change (kind, id) values ('contract', '{kept[-1]}')")
            connection.commit()
            assert compacting.tidy(connection)
            found = connection.exec_driver_sql("select id from source.change").scalars().all()
            assert sorted(found) == sorted(kept)
            connection.rollback()
        assert len(row_groups(connection, "source.change")) <= 2


def test_a_new_file_is_written_for_duckdb_1_2_and_an_older_one_is_opened_as_it_is(tmp_path):
    with duckdb.connect(str(tmp_path / "older.duckdb")):
        pass
    for name, version, block_bytes in (("new", "v1.2.0+", database.BLOCK_BYTES), ("older", "v1.0.0+", 262_144)):
        with database.connect(f"duckdb:///{tmp_path}/{name}.duckdb") as connection:
            tags = f"select tags['storage_version'] from duckdb_databases() where database_name = '{name}'"
            assert connection.exec_driver_sql(tags).scalar_one() == version
            size = "select block_size from pragma_database_size() where database_name = current_database()"
            assert connection.exec_driver_sql(size).scalar_one() == block_bytes
            assert fill(connection, rows=10).new == 10


def test_a_database_in_memory_has_nothing_to_tidy():
    with harness.fresh_database() as connection:
        database.tidies(connection)
        assert not compacting.tidy(connection)


KEPT_BYTES = "select coalesce(sum(memory_usage_bytes), 0)::bigint as bytes from duckdb_memory()"


@pytest.mark.parametrize(("memory_limit", "is_given_back"), [(None, True), ("1GB", False)])
def test_what_was_read_is_given_back_unless_people_have_said_how_much_may_be_kept(
    tmp_path, monkeypatch, memory_limit, is_given_back
):
    monkeypatch.setattr(database, "_LITTLE_MEMORY_BYTES", 3_000_000)
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb", memory_limit=memory_limit) as connection:
        fill(connection, rows=100_000)
        connection.exec_driver_sql("checkpoint")
        harness.rows(connection, "select max(columns(*)) from source.time_logs")
        assert harness.rows(connection, KEPT_BYTES)[0]["bytes"] > 4_500_000
        with database.little_memory(connection):
            count = harness.rows(connection, "select count(time_log_id) as count from source.time_logs")
        assert count == [{"count": 100_000}]
        assert (harness.rows(connection, KEPT_BYTES)[0]["bytes"] < 3_200_000) == is_given_back
        harness.rows(connection, "select max(columns(*)) from source.time_logs")
        assert harness.rows(connection, KEPT_BYTES)[0]["bytes"] > 4_500_000  # the limit is what it was
        database.give_memory_back(connection)
        assert (harness.rows(connection, KEPT_BYTES)[0]["bytes"] < 3_200_000) == is_given_back


def test_while_runs_look_at_many_contracts_more_is_kept_and_for_a_minute_after(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_LITTLE_MEMORY_BYTES", 3_000_000)
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        fill(connection, rows=70_000)
        connection.exec_driver_sql("checkpoint")
        harness.rows(connection, "select max(columns(*)) from source.time_logs")
        kept_bytes = harness.rows(connection, KEPT_BYTES)[0]["bytes"]
        assert 4_500_000 < kept_bytes < 18_000_000
        database.give_memory_back(connection, is_busy=True)
        database.give_memory_back(connection)
        assert harness.rows(connection, KEPT_BYTES)[0]["bytes"] >= kept_bytes
        in_a_minute = time.monotonic() + 61
        monkeypatch.setattr(database.time, "monotonic", lambda: in_a_minute)
        database.give_memory_back(connection)
        assert harness.rows(connection, KEPT_BYTES)[0]["bytes"] < 3_200_000


@pytest.mark.skipif(sys.platform != "linux", reason="how much a process holds is read as Linux tells it")
@pytest.mark.parametrize("limit", [None, "2GB"])
def test_what_was_freed_is_given_back_where_the_file_is_small(tmp_path, limit):
    def held_bytes():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb", memory_limit=limit) as connection:
        database.give_memory_back(connection)
        told = "select current_setting('memory_limit') as told"
        limit_before = harness.rows(connection, told)
        connection.exec_driver_sql("select count(distinct hash(range)) from range(3_000_000)").scalar_one()
        connection.rollback()
        database.give_memory_back(connection, is_busy=True)
        busy_bytes = held_bytes()
        connection.info["abr_busy_until"] = time.monotonic()
        database.give_memory_back(connection)
        assert held_bytes() < busy_bytes - 30_000_000
        assert harness.rows(connection, told) == limit_before


def test_a_run_of_many_contracts_says_so_until_its_tables_are_emptied(tmp_path):
    contracts = [{"contract_id": f"C-{number}", "currency": "EUR", "starts_on": "2026-01-01"} for number in range(20)]
    projects = [{"project_id": f"P-{number}", "contract_id": f"C-{number}"} for number in range(20)]
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        harness.receive(connection, {"contracts": contracts, "projects": projects})
        fill(connection, rows=1000)
        harness.run(connection, keeps_work_tables=True)
        assert reconciliation_engine.is_of_many_contracts(connection)
        reconciliation_engine.empty_work_tables(connection)
        assert not reconciliation_engine.is_of_many_contracts(connection)


def test_a_database_in_memory_gives_nothing_back(monkeypatch):
    monkeypatch.setattr(database, "_LITTLE_MEMORY_BYTES", 3_000_000)
    with harness.fresh_database() as connection:
        fill(connection, rows=50_000)
        database.give_memory_back(connection)
        assert harness.rows(connection, KEPT_BYTES)[0]["bytes"] > 4_500_000


@pytest.mark.slow
def test_a_file_does_not_grow_with_the_number_of_loads_and_compactions(tmp_path):
    path = tmp_path / "abr.duckdb"
    with database.connect(f"duckdb:///{path}") as connection:
        fill(connection, rows=100_000)
        sizes = []
        for cycle in range(30):
            fill(connection, rows=100, first=100_000 + cycle * 100)
            compacting.compact(connection)
            sizes.append(path.stat().st_size)
        assert max(sizes[10:]) <= max(sizes[:10]) * 1.2


KILLED = """
import os
from abr import compacting
from sqlalchemy import Connection
compacting._PIECE_ROWS_MIN = 20_000
real, seen = Connection.exec_driver_sql, [0]
def dies(self, statement, *more, **named):
    found = real(self, statement, *more, **named)
    if "temp.piece" in statement or statement.startswith(("create or replace temp table piece", "delete from source")):
        seen[0] += 1
        if seen[0] == {moment}:
            os.kill(os.getpid(), 9)
    return found
Connection.exec_driver_sql = dies
before = compacting._checkpoint
def checkpoint(connection):
    if seen[0] >= {moment} - 1 and {before_checkpoint}:
        os.kill(os.getpid(), 9)
    before(connection)
compacting._checkpoint = checkpoint
"""


@pytest.mark.parametrize(
    ("moment", "before_checkpoint"),
    [(2, False), (9, True), *(pytest.param(moment, False, marks=pytest.mark.slow) for moment in (1, 7))],
)
def test_a_kill_at_any_moment_of_compacting_loses_nothing(tmp_path, moment, before_checkpoint):
    path = tmp_path / "abr.duckdb"
    with database.connect(f"duckdb:///{path}") as connection:
        fill(connection, rows=100_000)
        fill(connection, rows=1000, first=100_000)
        before = content(connection)
    hook = KILLED.format(moment=moment, before_checkpoint=before_checkpoint)
    ended = command_line.ended(command_line.started("db", "compact", "--database", path, hook=hook))
    assert ended.code == -signal.SIGKILL, ended
    with database.connect(f"duckdb:///{path}") as connection:
        assert content(connection) == before
        compacting.compact(connection)
        assert compacting.is_sorted(connection, "source.time_logs")
        assert content(connection) == before


# ---- bounded memory -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    subprocess.run(
        [sys.executable, "-m", "abr", "simulate", "--logs", "200000", "--contracts", "400", "--until", "2026-03-31",
         "--out", folder],
        check=True,
        capture_output=True,
        env=command_line.environment(),
    )  # fmt: skip
    return folder


def limited(limit, *arguments):
    return command_line.ended(command_line.started(*arguments, env=command_line.environment(ABR_MEMORY_LIMIT=limit)))


SPILLS = """
import atexit, os, threading
from pathlib import Path
seen, done = set(), threading.Event()
def watch():
    while not done.wait(0.002):
        seen.update(path.name for path in Path({folder!r}).glob("abr.duckdb.tmp/*"))
threading.Thread(target=watch, daemon=True).start()
atexit.register(lambda: (done.set(), Path({folder!r}, "spilled").write_text(" ".join(seen))))
"""


@pytest.mark.slow
def test_a_load_and_a_first_run_that_do_not_fit_into_memory_use_a_folder_beside_the_database(tmp_path, books):
    path = tmp_path / "abr.duckdb"
    hook = SPILLS.format(folder=str(tmp_path))
    for command in (["load", books], ["run", "--as-of", "2026-03-31"]):
        process = command_line.started(
            *command, "--database", path, hook=hook, env=command_line.environment(ABR_MEMORY_LIMIT="250MB")
        )
        ended = command_line.ended(process)
        assert ended.code == 0, ended
        assert "duckdb_temp" in (tmp_path / "spilled").read_text(), command
        assert not (tmp_path / "abr.duckdb.tmp").exists()


def test_too_little_memory_says_so_halts_and_leaves_nothing_half_done(tmp_path, books):
    path = tmp_path / "abr.duckdb"
    assert abr("load", "tests/examples/books", "--database", path).code == 0
    before = command_line.contents(path)
    ended = limited("25MB", "load", books, "--database", path)
    assert ended.code == 3
    assert "CRITICAL ERROR (HALT)" in ended.err
    assert "ABR_MEMORY_LIMIT" in ended.err
    assert "Traceback" not in ended.err
    assert command_line.contents(path) == before
