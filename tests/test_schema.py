"""The database is what the models, sql/ and the migrations say it is, all three the same; and others are refused."""

import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import duckdb
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from abr import database, views
from abr.exceptions import ABRError, DatabaseBusy, DataIntegrityError, SchemaMismatch, UsageError
from abr.models import MACROS, METADATA, SCHEMAS
from tests import harness, rewrite_first_migration

MONEY = "DECIMAL(18,4)"

POSITION = """
    contract_id, client, currency, billing_model, expected_amount, billed_amount, leakage_amount, written_off_amount,
    overbilled_amount, exposure_amount, pending_amount, noise_amount, other_billed_amount, unbilled_hours,
    quarantined_hours, quarantined_line_count, threshold_amount, is_flagged, severity, oldest_leakage_on
"""
FINDING = """
    finding_id, contract_id, client, currency, side, class, about, time_log_id, project_id, person, role, task,
    worked_on, seconds, hourly_rate, expected_amount, billed_amount, amount, invoice_ids, opened_run_id, opened_at
"""
QUARANTINE = """
    quarantine_id, entity, key, contract_id, client, reasons, detail, source, raw, seconds, state, opened_run_id,
    opened_at
"""
VALIDITY = "valid_from_run_id, valid_to_run_id, valid_from_at, valid_to_at"
# As people and programs hold on to them: the order does not matter, the names do.
REPORT = {
    "contract_position": f"{POSITION}, age_days, age_bucket, as_of, run_id",
    "contract_position_history": f"{POSITION}, as_of, run_id, {VALIDITY}",
    "finding": FINDING,
    "finding_history": f"{FINDING}, version, state, {VALIDITY}",
    "quarantine": QUARANTINE,
    "quarantine_reason": "quarantine_id, entity, key, reason",
    "quarantine_history": f"{QUARANTINE}, {VALIDITY}, waived_by, waived_reason",
    "run_history": """
        run_id, as_of, started_at, finished_at, status, error, duration_ms, logs_received, logs_eligible,
        logs_quarantined, logs_excluded, logs_out_of_term, findings_opened, findings_changed, findings_closed,
        rules_digest, settings
    """,
    "leakage_aging": "currency, age_bucket, finding_count, amount",
    "leakage_by_client": "client, currency, contract_count, flagged_count, leakage_amount",
    "leakage_by_project": "project_id, contract_id, client, currency, unbilled_hours, leakage_amount",
    "leakage_trend": "currency, run_id, finished_at, leakage_amount",
}


def names(text):
    return sorted(name.strip() for name in text.split(","))


@pytest.fixture(scope="module")
def connection():
    """Return a database with a firm in which nearly everything occurs."""
    with harness.fresh_database() as opened:
        harness.receive(opened, everything_at_once())
        harness.run(opened)
        harness.run(opened, harness.AS_OF, settings={"a": "changed"}, keeps_work_tables=True)
        yield opened


def everything_at_once():
    """Return a firm with leakage, double and short bills, pools, estimates, conflicts and rows nobody can read."""
    contract = {"contract_id": "C-1", "client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"}
    log = {"project_id": "P-1", "person": "ann", "worked_on": "2026-02-02", "hours": "10"}
    invoice = {"contract_id": "C-1", "currency": "EUR", "issued_on": "2026-02-28", "status": "issued"}
    line = {"kind": "time", "hours": "10", "net_amount": "900"}
    return {
        "contracts": [
            contract,
            contract | {"contract_id": "C-2", "client": "Bolt", "currency": "JPY", "ends_on": "2026-02-01"},
            contract | {"contract_id": "C-3", "discount_percent": "101"},
            contract | {"contract_id": "C-3", "discount_percent": "102"},
            contract | {"contract_id": "C-4", "billing_model": "fixed_price", "cap_minutes": "60"},
            contract | {"contract_id": "", "client": "Nobody"},
            contract | {"contract_id": "", "client": "Nobody else"},
        ],
        "projects": [{"project_id": f"P-{number}", "contract_id": f"C-{number}"} for number in (1, 2, 3, 4, 9)],
        "rates": [
            {"contract_id": name, "hourly_rate": rate, "valid_from": "2026-01-01"}
            for name, rate in (("C-1", "100"), ("C-2", "9000"), ("C-2", "9100"), ("C-4", "80"), ("C-9", "1"))
        ],
        "time_logs": [
            *(log | {"time_log_id": f"L-{number}", "task": f"T-{number % 3}"} for number in range(9)),
            *(log | {"time_log_id": f"M-{number}", "project_id": f"P-{number}"} for number in (2, 3, 4, 7, 9)),
            log | {"time_log_id": "N-1", "is_billable": "no"},
            log | {"time_log_id": "N-2", "is_approved": "no"},
            log | {"time_log_id": "N-3", "worked_on": "2025-12-01"},
            log | {"time_log_id": "N-4", "hours": "x"},
            log | {"time_log_id": "N-5", "note": "a"},
            log | {"time_log_id": "N-5", "note": "b"},
            log | {"time_log_id": "", "note": "a"},
            log | {"time_log_id": "", "note": "b"},
        ],
        "invoices": [
            invoice | {"invoice_id": "I-1"},
            invoice | {"invoice_id": "I-2"},
            invoice | {"invoice_id": "I-3", "status": "void"},
            invoice | {"invoice_id": "I-4", "currency": "USD"},
            invoice | {"invoice_id": "I-5", "status": "lost"},
        ],
        "invoice_lines": [
            line | {"invoice_id": "I-1", "line_no": "1", "time_log_id": "L-1"},
            line | {"invoice_id": "I-1", "line_no": "2", "time_log_id": "L-2"},
            line | {"invoice_id": "I-2", "line_no": "1", "time_log_id": "L-2"},
            line | {"invoice_id": "I-2", "line_no": "2", "time_log_id": "nobody"},
            line | {"invoice_id": "I-2", "line_no": "3", "task": "T-0", "hours": "5"},
            line | {"invoice_id": "I-2", "line_no": "4", "task": "T-0", "person": "ann"},
            line | {"invoice_id": "I-2", "line_no": "5", "kind": "expense"},
            line | {"invoice_id": "I-3", "line_no": "1", "time_log_id": "L-4"},
            line | {"invoice_id": "I-4", "line_no": "1"},
            line | {"invoice_id": "I-5", "line_no": "1"},
            line | {"invoice_id": "I-6", "line_no": "x"},
        ],
    }


def stored_views(connection):
    return [name for name in views.stored_text(connection) if not name.startswith("information_schema.")]


def columns_of(connection, condition):
    return connection.exec_driver_sql(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() "
        f"where not internal and {condition}",
    ).fetchall()


# --------------------------------------------------------------------------------------------------
# Migrations, models and sql/ say the same


def test_the_views_frozen_in_the_migrations_are_those_in_sql():
    frozen = views.frozen(ScriptDirectory.from_config(database.alembic_config()))
    loaded = views.load()
    assert [name for name in frozen.keys() | loaded.keys() if frozen.get(name) != loaded.get(name)] == []


def test_the_first_migration_is_what_the_program_that_writes_it_would_write():
    assert rewrite_first_migration.PATH.read_text("utf-8") == rewrite_first_migration.text()


def test_there_is_one_head():
    scripts = ScriptDirectory.from_config(database.alembic_config())
    assert scripts.get_heads() == [database.head()]


@pytest.fixture
def migrate_further(monkeypatch, tmp_path):
    """Return what adds migrations, given as {revision: what it says it follows}, to a copy of those there are."""
    packaged = views.packaged
    folder = tmp_path / "migrations"
    shutil.copytree(packaged("migrations"), folder)
    monkeypatch.setattr(views, "packaged", lambda name: folder if name == "migrations" else packaged(name))

    def add(**followed):
        for revision, down_revision in followed.items():
            text = f"revision = '{revision}'\ndown_revision = {down_revision!r}\n\ndef upgrade():\n    pass\n"
            (folder / "versions" / f"{revision}_more.py").write_text(text)

    return add


def test_the_newest_migration_is_the_one_alembic_finds_also_after_branches_were_merged(migrate_further):
    first = database.head()
    migrate_further(a1=first, b1=first, b2="b1", c1=("a1", "b2"))
    scripts = ScriptDirectory.from_config(database.alembic_config())
    assert (scripts.get_heads(), database.head()) == (["c1"], "c1")
    assert database._revisions().keys() == {script.revision for script in scripts.walk_revisions()}


def test_an_installation_without_its_migrations_says_so(migrate_further, tmp_path):
    shutil.rmtree(tmp_path / "migrations" / "versions")
    with pytest.raises(ABRError, match="lacks migrations"):
        database.head()


def catalog(connection):
    """Return all that the database says of itself, apart from numbers it gives to things."""
    queries = {
        "tables": "select schema_name, table_name, comment, has_primary_key, index_count, check_constraint_count, "
        "column_count from duckdb_tables() where not internal",
        "columns": "select schema_name, table_name, column_name, column_index, comment, column_default, is_nullable, "
        "data_type, numeric_precision, numeric_scale from duckdb_columns() where not internal",
        "constraints": "select schema_name, table_name, constraint_type, constraint_text, constraint_column_names "
        "from duckdb_constraints()",
        "views": "select schema_name, view_name, comment, sql from duckdb_views() where not internal",
        "macros": "select schema_name, function_name, parameters, macro_definition from duckdb_functions() "
        "where not internal",
        "sequences": "select schema_name, sequence_name, start_value, increment_by from duckdb_sequences()",
        "schemas": "select schema_name, comment from duckdb_schemas() where not internal",
    }
    found = {}
    for name, query in queries.items():
        # The tables that a run works in belong to the connection, not to the database.
        condition = "and" if "where" in query else "where"
        listed = connection.exec_driver_sql(f"{query} {condition} database_name = current_database()").fetchall()
        found[name] = sorted(repr(row) for row in listed if "alembic_version" not in row)
    return found


def test_the_catalog_of_models_and_views_is_that_of_upgrade_head(connection):
    engine = create_engine("duckdb:///:memory:", poolclass=NullPool)
    with engine.connect() as other:
        for schema in SCHEMAS:
            other.exec_driver_sql(f"create schema {schema}")
        METADATA.create_all(other)
        for name, text in MACROS.items():
            other.exec_driver_sql(f"create macro {name}{text}")
        for statement in views.ddl(views.load()):
            other.exec_driver_sql(statement)
        other.commit()
        modelled, migrated = catalog(other), catalog(connection)
    assert modelled.keys() == migrated.keys()
    for part, listed in modelled.items():
        assert sorted(set(listed) ^ set(migrated[part])) == [], part
        assert listed == migrated[part], part
    assert len(migrated["tables"]) == len(METADATA.tables)
    assert migrated["sequences"] == []


def test_the_work_tables_of_a_new_database_are_those_of_one_that_is_opened_again(tmp_path):
    def work_tables():
        with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as opened:
            return opened.exec_driver_sql(
                "select table_name, column_name, data_type from duckdb_columns() "
                "where database_name = 'temp' order by all"
            ).fetchall()

    made = work_tables()
    assert {name for name, *_ in made} >= {"cycle", "log", "finding"}
    assert work_tables() == made


def test_an_upgrade_can_be_taken_back_and_done_again():
    engine = create_engine("duckdb:///:memory:", poolclass=NullPool)
    with engine.connect() as connection:
        config = database.alembic_config(connection)
        command.upgrade(config, "head")
        upgraded = catalog(connection)
        connection.rollback()
        command.downgrade(config, "base")
        assert database.revision(connection) is None
        downgraded = catalog(connection)
        assert (downgraded["tables"], downgraded["views"]) == ([], [])
        assert downgraded["schemas"] == [row for row in downgraded["schemas"] if "'main'" in row]
        connection.rollback()
        command.upgrade(config, "head")
        assert catalog(connection) == upgraded
        assert database.revision(connection) == database.head()


# --------------------------------------------------------------------------------------------------
# Every view


def test_every_view_can_be_selected_from(connection):
    found = stored_views(connection)
    assert len(found) == len(views.load())
    for name in found:
        connection.exec_driver_sql(f"select * from {name} limit 1").fetchall()


def key_of(header, columns):
    """Return the columns a header names as the key: those the first parentheses begin with."""
    match = re.search(r"\(([a-z_]+(?:, [a-z_]+)*)", header)
    return list(takewhile(columns.__contains__, match[1].split(", "))) if match else []


# Views without a key: what they say is that there is one row, or every row of another view.
KEYLESS = {"work.cycle", "reconcile.last_run"}


def described_views():
    return {name: views.header(sql) for name, sql in views.load().items() if not name.endswith(".all_rules")}


def in_words(name):
    """Return where the rows of a view are: those in work are kept in a temporary table."""
    return name.replace("work.", "temp.", 1) if name.startswith("work.") else name


@pytest.mark.parametrize("name", sorted(described_views()))
def test_the_header_of_a_view_names_its_key_and_the_key_is_one(connection, name):
    header = described_views()[name]
    assert header, f"{name} has no header"
    columns = [column for _, _, column, _ in columns_of(connection, f"schema_name || '.' || table_name = '{name}'")]
    key = key_of(header, columns)
    if not key:
        is_rule = name.split(".")[0].endswith("_rules")
        assert is_rule or name in KEYLESS, f"{name} names no key of its own: {header}"
        return
    listed = ", ".join(key)
    twice = connection.exec_driver_sql(
        f"select {listed}, count(*) from {in_words(name)} group by {listed} having count(*) > 1"
    ).fetchall()
    assert twice == [], f"{name} is not unique by ({listed})"


def test_the_firm_of_these_tests_puts_a_row_into_nearly_every_view(connection):
    empty = {
        name
        for name in views.load()
        if connection.exec_driver_sql(f"select 1 from {in_words(name)} limit 1").first() is None
    }
    assert {name for name in empty if name.startswith("report.")} == set()
    assert len(empty) < len(views.load()) / 3, sorted(empty)


def test_the_comment_of_every_view_is_its_header(connection):
    comments = dict(
        connection.exec_driver_sql(
            "select schema_name || '.' || view_name, comment from duckdb_views() where not internal"
        ).fetchall()
    )
    assert {name: comments[name] for name in views.load()} == {
        name: views.header(sql) for name, sql in views.load().items()
    }
    assert all(comments[f"report.{name}"] for name in REPORT)


def test_every_table_has_a_comment(connection):
    assert (
        connection.exec_driver_sql(
            "select schema_name, table_name from duckdb_tables() where schema_name in ('source', 'audit') "
            "and coalesce(comment, '') = ''"
        ).fetchall()
        == []
    )


def test_no_view_file_holds_what_a_migration_cannot_freeze():
    files = sorted(views.packaged("sql").glob("*/*.sql"))
    assert files
    assert [path.name for path in files if '"""' in path.read_text("utf-8") or "\\" in path.read_text("utf-8")] == []


def test_no_view_asks_the_clock():
    clock = re.compile(r"\b(now|today|current_date|current_timestamp|get_current_time\w*|localtimestamp)\b")
    assert [name for name, sql in views.load().items() if clock.search(re.sub(r"--.*", "", sql))] == []


# --------------------------------------------------------------------------------------------------
# Types and promises


def test_no_column_of_any_table_or_view_is_a_float(connection):
    assert [column for column in columns_of(connection, "true") if re.search("FLOAT|DOUBLE|REAL", column[3])] == []


def test_report_has_no_list_or_map_and_its_times_carry_no_zone(connection):
    odd = re.compile(r"\[|MAP|STRUCT|UNION|HUGEINT|ZONE|JSON|ENUM")
    assert [column for column in columns_of(connection, "schema_name = 'report'") if odd.search(column[3])] == []


def test_money_and_hours_in_report_and_audit_are_decimals_of_one_kind(connection):
    assert [
        column
        for column in columns_of(connection, "schema_name in ('report', 'audit')")
        if re.search(r"(^|_)(amount|hours)$|^hourly_rate$", column[2]) and column[3] != MONEY
    ] == []


@pytest.mark.parametrize("name", sorted(REPORT))
def test_a_report_view_has_exactly_the_columns_that_were_promised(connection, name):
    found = columns_of(connection, f"schema_name = 'report' and table_name = '{name}'")
    assert sorted(column for _, _, column, _ in found) == names(REPORT[name])


def test_report_has_exactly_the_views_that_were_promised(connection):
    assert {name for name in stored_views(connection) if name.startswith("report.")} == {f"report.{n}" for n in REPORT}


# --------------------------------------------------------------------------------------------------
# Refusals


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a database file that was used and closed."""
    path = tmp_path_factory.mktemp("written") / "abr.duckdb"
    with database.connect(f"duckdb:///{path}") as connection:
        harness.receive(connection, everything_at_once())
        harness.run(connection)
    return path


@pytest.fixture
def path(written, tmp_path):
    return Path(shutil.copy(written, tmp_path / "abr.duckdb"))


def refused(path, error, exit_code, **options):
    """Return what the refusal says; the file is left as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught, database.connect(f"duckdb:///{path}", **options):
        pass
    assert type(caught.value) is error
    assert caught.value.exit_code == exit_code
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    assert (path.read_bytes() if path.is_file() else None) == before
    return f"{caught.value.message}; {caught.value.remedy}"


def set_revision(path, revision):
    with duckdb.connect(str(path)) as raw:
        raw.execute("update alembic_version set version_num = ?", [revision])


def test_a_database_that_was_closed_opens_again(path):
    with database.connect(f"duckdb:///{path}") as connection:
        assert connection.exec_driver_sql("select count(*) from report.run_history").scalar_one() == 1


def test_no_connection_shows_the_progress_bar_of_duckdb_also_where_duckdb_takes_the_process_for_a_person(path):
    script = f"""
from abr import database
shown = "select current_setting('enable_progress_bar')"
with database.connect("duckdb:///{path}") as connection, connection.engine.connect() as other:
    print([one.exec_driver_sql(shown).scalar() for one in (connection, other)])
"""
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert told.stdout == "[False, False]\n"


def test_a_database_of_a_newer_program_is_refused(path):
    set_revision(path, "ffffffffffff")
    assert "newer version" in refused(path, SchemaMismatch, 5)
    assert "newer version" in refused(path, SchemaMismatch, 5, upgrade=True)


def test_a_database_of_an_older_program_is_refused_until_it_is_upgraded(path, migrate_further):
    migrate_further(d1=database.head())
    assert "abr db upgrade" in refused(path, SchemaMismatch, 5)
    with database.connect(f"duckdb:///{path}", upgrade=True) as connection:
        assert database.revision(connection) == "d1"
    with database.connect(f"duckdb:///{path}") as connection:
        assert connection.exec_driver_sql("select count(*) from report.run_history").scalar_one() == 1


def test_a_duckdb_file_of_someone_else_is_refused(tmp_path):
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect(str(path)) as raw:
        raw.execute("create table theirs as select 1 as one")
    assert "not one of ABR's" in refused(path, UsageError, 2)


def test_a_folder_and_a_folder_that_does_not_exist_are_refused(tmp_path):
    assert "folder" in refused(tmp_path, UsageError, 2)
    assert "does not exist" in refused(tmp_path / "nowhere" / "abr.duckdb", UsageError, 2)


@pytest.mark.parametrize("name", ["audit.duckdb", "source", "Report.db", "work.2026.duckdb"])
def test_a_file_with_the_name_of_a_schema_is_refused_and_not_made(tmp_path, name):
    assert "another name" in refused(tmp_path / name, UsageError, 2)
    assert not (tmp_path / name).exists()


def test_no_schema_is_missing_among_the_names_that_are_refused(tmp_path):
    with database.connect(f"duckdb:///{tmp_path}/audit-2026.duckdb") as connection:
        found = connection.exec_driver_sql("select distinct schema_name from duckdb_schemas() where not internal")
        assert set(found.scalars()) <= {*SCHEMAS, "main"}


@pytest.mark.parametrize("url", ["sqlite:///abr.db", "no url at all", "postgresql://localhost/abr"])
def test_what_is_no_duckdb_url_is_refused(url):
    with pytest.raises(UsageError) as caught, database.connect(url):
        pass
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"not a database\n" * 1000, b"x", b"SQLite format 3\0" + bytes(8192)])
def test_a_file_that_is_no_database_is_refused(tmp_path, content):
    path = tmp_path / "abr.duckdb"
    path.write_bytes(content)
    assert str(path) in refused(path, DataIntegrityError, 3)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "abr.duckdb"
    path.touch()
    assert "empty" in refused(path, DataIntegrityError, 3)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_database_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in refused(path, DataIntegrityError, 3)


def test_a_database_held_by_another_process_is_busy(path):
    hold = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        assert f"process {holder.pid}" in refused_unread(path)
    finally:
        holder.communicate()
    with database.connect(f"duckdb:///{path}"):
        pass


def refused_unread(path):
    """Return what the refusal says; reading the file here would not disturb the other process, but proves nothing."""
    with pytest.raises(DatabaseBusy) as caught, database.connect(f"duckdb:///{path}"):
        pass
    assert caught.value.exit_code == 4
    return caught.value.message
