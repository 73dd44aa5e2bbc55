"""The copy that others read: right after every change, whole at any moment, and never in the writer's way.

Locks are a process's, so whoever reads while something is published is another process here.
"""

import contextlib
import datetime as dt
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import duckdb
import pytest

from abr import database, publishing, reconciliation_engine
from abr.exceptions import NotPublished, UsageError
from tests import command_line, harness
from tests.command_line import BOOKS, abr, query

ROOT = Path(__file__).parent.parent
KILLS = max(harness.EXAMPLES // 5, 4)
NOW = dt.datetime(2026, 3, 31, 12, 0)
OLDEST_DUCKDB = "1.1.3"


# ---- helpers ---------------------------------------------------------------------------------------------------------


def log_of(number: int, hours: int, **more: str) -> dict[str, str]:
    cells = {"time_log_id": f"M-{number}", "project_id": "P-1", "person": "ann", "worked_on": "2026-02-10"}
    return cells | {"hours": str(hours)} | more


def work(connection, number: int) -> int:
    """Let a run see new, changed, withdrawn and faulty logs; return its number."""
    changed = [log_of(number, 1), log_of(number - 1, 2), log_of(number - 2, 0), log_of(number - 3, 25)]
    harness.receive(connection, {"time_logs": [{**log, "note": "ann was ill"} for log in changed]})
    return reconciliation_engine.run_once(
        connection, harness.AS_OF, thresholds=harness.DEFAULT, settings={}, clock=reconciliation_engine.utc_now
    ).run_id


@pytest.fixture
def path(tmp_path):
    return tmp_path / "abr.duckdb"


@pytest.fixture
def told():
    return []


@pytest.fixture
def opened(path):
    with database.connect(f"duckdb:///{path}") as connection:
        harness.receive(connection, BOOKS)
        work(connection, 0)
        yield connection


@pytest.fixture
def copy(opened, path, told):
    """Yield a publisher that has published once."""
    with publishing.publisher(opened, path, tell=told.append) as publisher:
        publishing.publish(publisher, now=NOW)
        yield publisher


def generations(path: Path) -> set[str]:
    return {each.name for each in publishing.folder_of(path).iterdir() if each.name != "current"}


def current(path: Path) -> str:
    return str((publishing.folder_of(path) / "current").readlink())


def views_of(connection) -> list[str]:
    found = connection.execute("select view_name from duckdb_views() where schema_name = 'report' order by 1")
    return [name for (name,) in found.fetchall()]


def without_notes(row):
    return tuple(re.sub(r',?"note":(null|"[^"]*")', "", cell) if isinstance(cell, str) else cell for cell in row)


def assert_same(connection, path: Path) -> None:
    """Every report view says the same in the copy and in the database, but for people's notes."""
    driver = connection.connection.driver_connection
    names = views_of(driver)
    assert len(names) > 10
    with duckdb.connect(str(publishing.file_of(path)), read_only=True) as published:
        assert views_of(published) == names
        for name in names:
            ours = driver.execute(f"select * from report.{name} order by all").fetchall()
            theirs = published.execute(f"select * from report.{name} order by all").fetchall()
            assert sorted(map(str, map(without_notes, ours))) == sorted(map(str, theirs)), name
    connection.rollback()


def assert_whole(path: Path) -> int:
    """The current copy can be opened, and its parts fit together; return its run."""
    assert not publishing.file_of(path).with_name(publishing.FILE + ".wal").exists()
    with duckdb.connect(str(publishing.file_of(path)), read_only=True) as published:
        (run_id, newest), *more = published.execute(
            "select run_id, (select max(run_id) from report.run_history) from published.generation"
        ).fetchall()
        assert run_id == newest
        assert not more
        for name, key in publishing.HISTORIES.items():
            columns = ", ".join(f'"{row[0]}"' for row in published.execute(f"describe audit.{name}_open").fetchall())
            ours = f"select {columns} from audit.{name}_open"
            newest = (
                f"select {columns} from (from audit.{name} qualify row_number() over (partition by {key} "
                "order by run_id desc) = 1) where state in ('open', 'waived')"
            )
            assert published.execute(f"{ours} except all {newest}").fetchall() == []
            assert published.execute(f"{newest} except all {ours}").fetchall() == []
            twice = f"select 1 from audit.{name} group by run_id, {key} having count(*) > 1"
            assert published.execute(twice).fetchall() == []
        assert published.execute("select count(*) from report.finding").fetchall()[0][0] > 0
    return run_id


HOLDER = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as copy:
    for line in sys.stdin:
        print(copy.execute("select max(run_id), sum(amount), count(*) from report.finding_history, "
            "(select max(run_id) as run_id from report.run_history)").fetchall(), flush=True)
"""


@contextlib.contextmanager
def holding(file: Path):
    """Yield a function that asks another process, which holds the copy open, what it sees."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask() -> str:
        process.stdin.write("\n")
        process.stdin.flush()
        return process.stdout.readline()

    try:
        assert ask().startswith("[(")
        yield ask
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


# ---- what is in it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settled_min", [1, pytest.param(20_000, marks=pytest.mark.slow)])
def test_after_every_change_every_report_view_says_the_same(opened, path, copy, monkeypatch, settled_min):
    monkeypatch.setattr(publishing, "_SETTLED_MIN", settled_min)
    assert_same(opened, path)
    seen = set()
    for number in range(1, 9):
        run_id = work(opened, number)
        publishing.publish(copy, now=NOW)
        assert_same(opened, path)
        assert assert_whole(path) == run_id
        seen.add(current(path))
    assert len(seen) == 3


def test_every_version_lies_in_a_generation_once_also_in_one_that_is_built_late(opened, path, copy, monkeypatch):
    def counts(file: Path) -> dict[str, list[int]]:
        return {
            name: [query(file, f"select count(*) from published.{name}_{part}")[0][0] for part in publishing._PARTS]
            for name in publishing.HISTORIES
        }

    def versions() -> dict[str, int]:
        driver = opened.connection.driver_connection
        return {
            name: driver.execute(f"select count(*) from audit.{name}").fetchone()[0] for name in publishing.HISTORIES
        }

    for number in range(1, 7):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    added = counts(publishing.file_of(path))
    assert {name: sum(parts) for name, parts in added.items()} == versions()
    assert all(recent > 0 for _, _, recent in added.values())  # too few to be settled
    assert_same(opened, path)
    shutil.rmtree(publishing.folder_of(path))
    publishing.publish(copy, now=NOW)
    built = counts(publishing.file_of(path))
    assert {name: sum(parts) for name, parts in built.items()} == versions()
    assert all(past > 0 and recent == 0 for _, past, recent in built.values())
    assert_same(opened, path)
    monkeypatch.setattr(publishing, "_SETTLED_MIN", 1)
    work(opened, 7)
    publishing.publish(copy, now=NOW)
    settled = counts(publishing.file_of(path))
    assert {name: sum(parts) for name, parts in settled.items()} == versions()
    assert all(
        past > before and recent == 0
        for (_, past, recent), (_, before, _) in zip(settled.values(), built.values(), strict=True)
    )
    assert_same(opened, path)
    assert_whole(path)


@pytest.mark.slow
def test_what_lies_scattered_over_millions_is_settled_in_little_memory(opened, path, copy, monkeypatch):
    monkeypatch.setattr(publishing, "_MEMORY_BYTES", 40_000_000)
    monkeypatch.setattr(publishing, "_SETTLED_MAX", 20_000)
    rows, changed = 3_000_000, 20_000
    with opened.begin():
        for table in ("finding", "finding_open"):
            state = "" if table == "finding_open" else ", 'open' as state"
            opened.exec_driver_sql(
                f"insert into audit.{table} by name select 1 as run_id, 1 as opened_run_id, n::integer as home_hash, "
                f"'F-' || n as finding_id, 'C-' || n % 1000 as contract_id, 'leakage' as side, 'unbilled' as class, "
                f"'log:' || n as about{state} from range({rows}) as r(n)"
            )
    shutil.rmtree(publishing.folder_of(path))
    copy.copier.close()
    copy.copier = None
    publishing.publish(copy, now=NOW)
    built = publishing._current(publishing.folder_of(path))
    monkeypatch.setattr(publishing, "_IDLE_MIN", 1)
    work(opened, 1)
    publishing.publish(copy, now=NOW)  # so that the one built is idle
    run_id = work(opened, 2)
    with opened.begin():
        opened.exec_driver_sql(
            f"insert into audit.finding by name select * replace ({run_id} as run_id) from audit.finding "
            f"where finding_id in (select 'F-' || n * {rows // changed} from range({changed}) as r(n))"
        )
    publishing.publish(copy, now=NOW)
    assert publishing._current(publishing.folder_of(path)) == built
    count = "(select count(*) from published.finding_{})"
    counts = query(publishing.file_of(path), f"select {count.format('past')} >= {changed}, {count.format('recent')}")
    assert counts == [(True, 0)]


@pytest.mark.slow
def test_what_publishing_appends_is_merged_so_that_row_groups_stay_few(opened, path, copy, monkeypatch):
    monkeypatch.setattr(publishing, "_MERGED_RUNS", 12)
    row_groups = []
    for number in range(1, 40):
        work(opened, number)
        publishing.publish(copy, now=NOW)
        found = query(publishing.file_of(path), "select max(row_group_id) + 1 from pragma_storage_info('audit.run')")
        row_groups.append(found[0][0])
    assert max(row_groups) <= 12 // 3 + 2  # every third run comes to a generation
    assert row_groups[12:24] == row_groups[24:36]


@pytest.mark.slow
def test_what_publishing_appends_is_merged_afterwards_where_somebody_tidies(opened, path, copy, monkeypatch):
    monkeypatch.setattr(publishing, "_MERGED_RUNS", 12)
    copy.tidies = True
    row_groups, tidied = [], []
    for number in range(1, 40):
        work(opened, number)
        publishing.publish(copy, now=NOW)
        found = query(publishing.file_of(path), "select max(row_group_id) + 1 from pragma_storage_info('audit.run')")
        row_groups.append(found[0][0])
        before = current(path)
        if publishing.tidy(copy, now=NOW):
            tidied.append(number)
        assert current(path) == before
        assert_same(opened, path)
    assert len(tidied) == 9  # three times for each of three generations
    assert max(row_groups) <= 12 // 3 + 3
    assert not copy.unmerged


def test_a_generation_that_somebody_reads_is_not_tidied(opened, path, copy, monkeypatch):
    monkeypatch.setattr(publishing, "_MERGED_RUNS", 1)
    copy.tidies = True
    for number in range(1, 5):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    held = next(file for file in publishing._generations(publishing.folder_of(path)) if file != current(path))
    with holding(held / publishing.FILE):
        assert not publishing.tidy(copy, now=NOW)
    assert publishing.tidy(copy, now=NOW)


def test_a_database_that_ends_before_what_was_published_is_told_once(path, told):
    older = path.with_name("older.duckdb")
    with database.connect(f"duckdb:///{path}") as connection:
        harness.receive(connection, BOOKS)
        work(connection, 1)
    shutil.copy(path, older)
    with (
        database.connect(f"duckdb:///{path}") as connection,
        publishing.publisher(connection, path, tell=told.append) as publisher,
    ):
        for number in range(2, 6):
            work(connection, number)
            publishing.publish(publisher, now=NOW)
    assert not told
    older.replace(path)
    with (
        database.connect(f"duckdb:///{path}") as connection,
        publishing.publisher(connection, path, tell=told.append) as publisher,
    ):
        for number in range(6, 9):
            publishing.publish(publisher, now=NOW)
            assert_same(connection, path)
            work(connection, number)
    (words,) = told
    assert "the database ends with run" in words


def test_comments_travel_and_stay(opened, path, copy, monkeypatch):
    monkeypatch.setattr(publishing, "_SETTLED_MIN", 1)
    for number in range(1, 5):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    comments = (
        "select view_name, comment from duckdb_views() where schema_name in ('report', 'reconcile') "
        "and (schema_name = 'report' or view_name = 'last_run') order by all"
    )
    theirs = query(publishing.file_of(path), comments)
    assert theirs == opened.connection.driver_connection.execute(comments).fetchall()
    assert all(comment for _, comment in theirs)
    tables = "select {0}_name, comment from duckdb_{0}s() where schema_name = 'audit' and {0}_name like '%finding%'"
    told = dict(query(publishing.file_of(path), f"{tables.format('table')} union all {tables.format('view')}"))
    assert told.keys() == {"finding", "finding_open"}
    assert all(told.values())
    own = "select table_name from duckdb_tables() where schema_name = 'published' and comment is null"
    assert query(publishing.file_of(path), own) == []


def test_the_catalog_is_named_alike_in_every_generation(opened, path, copy):
    for number in range(1, 4):
        work(opened, number)
        publishing.publish(copy, now=NOW)
        assert query(publishing.file_of(path), "select current_database()") == [("abr_audit",)]


def test_notes_of_people_are_not_in_it(opened, path, copy):
    (raw,) = opened.connection.driver_connection.execute(
        "select raw from report.quarantine where raw like '%ann was ill%' limit 1"
    ).fetchone()
    assert '"note"' in raw
    for number in range(1, 5):  # built, copied, added to
        work(opened, number)
        publishing.publish(copy, now=NOW)
    with duckdb.connect(str(publishing.file_of(path)), read_only=True) as published:
        tables = published.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()
        assert not [name for (name,) in tables if not name.startswith(("audit.", "published."))]
        for (name,) in tables:
            assert "ann was ill" not in str(published.execute(f"from {name}").fetchall()), name
        assert published.execute("select count(*) from report.quarantine where raw like '%time_log_id%'").fetchone()[0]
    for file in publishing.folder_of(path).glob("generation-*/*"):
        assert b"ann was ill" not in file.read_bytes()


@pytest.fixture(scope="session")
def oldest_python():
    """Return a Python that has the oldest DuckDB promised, in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        wanted = f"duckdb=={OLDEST_DUCKDB}"
        done = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"pip cannot get {wanted} here: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        yield python


READ_ALL = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as copy:
    print(duckdb.__version__)
    for name, comment in copy.execute("select view_name, comment from duckdb_views() where schema_name = 'report' "
            "order by 1").fetchall():
        print(name, bool(comment), sorted(map(str, copy.execute(f"from report.{name}").fetchall())))
"""


def read_all(python: str | Path, file: Path) -> list[str]:
    """Return what that Python's DuckDB reads of the copy: its version, then a line for each view."""
    done = subprocess.run([python, "-c", READ_ALL, file], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_oldest_duckdb_promised_reads_every_view_as_todays_does(opened, path, copy, monkeypatch, oldest_python):
    monkeypatch.setattr(publishing, "_SETTLED_MIN", 12)
    for number in range(1, 8):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    file = publishing.file_of(path)
    old, new = (read_all(python, file) for python in (oldest_python, sys.executable))
    assert (old[0], new[0]) == (OLDEST_DUCKDB, duckdb.__version__)
    assert len(old) == 13
    assert all(" True [" in line for line in old[1:])
    assert old[1:] == new[1:]


# ---- readers ---------------------------------------------------------------------------------------------------------


def test_who_holds_it_open_keeps_what_he_saw_and_who_comes_sees_the_newest(opened, path, copy):
    before = current(path)
    with holding(publishing.file_of(path)) as ask:
        seen = ask()
        for number in range(1, 8):
            run_id = work(opened, number)
            publishing.publish(copy, now=NOW)
            assert ask() == seen
            assert query(publishing.file_of(path), "select run_id from published.generation") == [(run_id,)]
            assert current(path) != before
        assert before in generations(path)


@pytest.mark.slow
def test_held_generations_are_left_alone_and_disk_use_stays_bounded(opened, path, copy, monkeypatch):
    with contextlib.ExitStack() as held:
        asks = []
        for number in range(1, 5):
            asks.append(held.enter_context(holding(publishing.file_of(path))))
            work(opened, number)
            publishing.publish(copy, now=NOW)
        seen = [ask() for ask in asks]
        assert len(set(seen)) == 4
        for number in range(5, 12):
            work(opened, number)
            publishing.publish(copy, now=NOW)
        assert [ask() for ask in asks] == seen
        assert len(generations(path)) == 4 + 3  # those held, and three to go round
        assert assert_whole(path) == copy.published_run_id
    monkeypatch.setattr(publishing, "HEARTBEAT_SECONDS", 0.0)
    for number in range(12, 20):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    assert len(generations(path)) == 3
    assert_same(opened, path)


def test_files_can_only_be_read_and_only_by_their_group(opened, path):
    with publishing.publisher(opened, path, tell=print) as publisher:
        for number in range(1, 5):
            work(opened, number)
            publishing.publish(publisher, now=NOW)
    folder = publishing.folder_of(path)
    assert folder.stat().st_mode & 0o777 == 0o750
    for generation in generations(path):
        assert (folder / generation).stat().st_mode & 0o777 == 0o750
    assert publishing.file_of(path).stat().st_mode & 0o777 == 0o440


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_the_group_may_read_and_not_write_and_others_may_neither(opened, path):
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        away = Path(scratch) / "abr.duckdb"
        with publishing.publisher(opened, away, group="nogroup", tell=print) as publisher:
            publishing.publish(publisher, now=NOW)
        file = publishing.file_of(away)
        assert file.group() == file.parent.group() == file.parent.parent.group() == "nogroup"

        def as_member(code: str, group: int) -> str:
            other = f"import os; os.setgroups([]); os.setgid({group}); os.setuid(65534)\n"
            done = subprocess.run(
                [sys.executable, "-c", "import decimal, duckdb, pathlib, shutil\n" + other + code],
                capture_output=True,
                text=True,
                check=False,
            )
            return done.stdout + done.stderr

        member = file.stat().st_gid
        select = "select count(*) from report.finding"
        read = f"print(duckdb.connect({str(file)!r}, read_only=True).execute({select!r}).fetchone())"
        assert re.fullmatch(r"\([1-9]\d*,\)\n", as_member(read, member))
        assert "Permission denied" in as_member(read, 12345)
        assert "Permission denied" in as_member(f"duckdb.connect({str(file)!r})", member)
        assert "Permission denied" in as_member(f"import shutil; shutil.rmtree({str(file.resolve().parent)!r})", member)


# ---- when ------------------------------------------------------------------------------------------------------------


def test_a_quiet_monitor_publishes_once_a_minute_and_a_busy_one_at_once(opened, path, told):
    clock = 1000.0
    with publishing.publisher(opened, path, tell=told.append) as publisher:

        def after(seconds: float) -> bool:
            nonlocal clock
            clock += seconds
            return publishing.publish_if_due(publisher, now=NOW, clock=lambda: clock)

        def quiet() -> int:
            return reconciliation_engine.run_once(opened, harness.AS_OF, thresholds=harness.DEFAULT, settings={}).run_id

        assert after(0)
        quiet()
        assert not after(5)
        run_id = quiet()
        assert not after(54)
        assert after(1)
        assert query(publishing.file_of(path), "select max(run_id) from report.run_history") == [(run_id,)]
        work(opened, 1)
        assert after(5)
        quiet()
        assert not after(5)
        assert_whole(path)
    assert not told


def test_where_somebody_tidies_a_quiet_cycle_leaves_the_minute_to_that(opened, path, told):
    with publishing.publisher(opened, path, tell=told.append) as publisher:
        publisher.tidies = True
        assert publishing.publish_if_due(publisher, now=NOW, clock=lambda: 0.0)
        newest = reconciliation_engine.run_once(opened, harness.AS_OF, thresholds=harness.DEFAULT, settings={}).run_id
        for moment in (59.0, 61.0):
            assert not publishing.publish_if_due(publisher, now=NOW, clock=lambda moment=moment: moment)
            assert publishing.tidy(publisher, now=NOW) == (moment > 60)
        assert query(publishing.file_of(path), "select max(run_id) from report.run_history") == [(newest,)]
        assert not publishing.tidy(publisher, now=NOW)
        work(opened, 1)
        assert publishing.publish_if_due(publisher, now=NOW, clock=lambda: 62.0)
    assert not told


def test_what_changes_right_after_a_publication_is_waited_for_and_published(opened, path, told):
    waits = []
    with publishing.publisher(opened, path, tell=told.append) as publisher:

        def at(seconds: float) -> bool:
            return publishing.publish_if_due(publisher, now=NOW, clock=lambda: seconds, sleep=waits.append)

        assert at(100.0)
        assert not at(100.1)
        assert waits == []
        work(opened, 1)
        assert at(100.2)
        assert waits == [pytest.approx(0.05)]
        assert_same(opened, path)
    assert not told


def test_the_copy_says_when_it_was_made(path, copy):
    assert query(publishing.file_of(path), "select published_at from published.generation") == [(NOW,)]


def test_a_database_without_runs_is_not_published(path, told):
    with (
        database.connect(f"duckdb:///{path}") as connection,
        publishing.publisher(connection, path, tell=told.append) as publisher,
    ):
        assert not publishing.publish_if_due(publisher, now=NOW)
        assert not publishing.folder_of(path).exists()


# ---- what may be found there -----------------------------------------------------------------------------------------


def test_a_generation_with_a_wal_beside_it_is_thrown_away(opened, path, copy):
    for number in range(1, 4):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    torn = {name for name in generations(path) if name != current(path)}
    for name in torn:
        (publishing.folder_of(path) / name / f"{publishing.FILE}.wal").write_bytes(b"left behind")
    work(opened, 4)
    publishing.publish(copy, now=NOW)
    assert not torn & generations(path)
    assert_same(opened, path)


@pytest.mark.parametrize(
    "harm", ["half", "gone", *(pytest.param(name, marks=pytest.mark.slow) for name in ("empty", "garbage", "foreign"))]
)
def test_a_damaged_generation_is_thrown_away_also_when_it_is_the_current_one(opened, path, copy, harm):
    for number in range(1, 4):
        work(opened, number)
        publishing.publish(copy, now=NOW)
    for name in generations(path):
        file = publishing.folder_of(path) / name / publishing.FILE
        file.chmod(0o640)
        content = file.read_bytes()
        if harm in {"gone", "foreign"}:
            file.unlink()
        if harm == "foreign":
            with duckdb.connect(str(file)) as foreign:
                foreign.execute("create table t as select 1 as a")
        if harm in {"empty", "garbage", "half"}:
            file.write_bytes({"empty": b"", "garbage": b"x" * 9000, "half": content[: len(content) // 2]}[harm])
    for number in range(4, 8):
        work(opened, number)
        publishing.publish(copy, now=NOW)
        assert_same(opened, path)
    assert len(generations(path)) == 3


def test_the_copy_of_another_database_is_not_added_to(opened, path, copy, tmp_path):
    work(opened, 1)
    publishing.publish(copy, now=NOW)
    other = tmp_path / "other" / "abr.duckdb"
    other.parent.mkdir()
    with database.connect(f"duckdb:///{other}") as connection:
        harness.receive(connection, BOOKS)
        for number in range(5):
            work(connection, number * 10)
        shutil.copytree(publishing.folder_of(path), publishing.folder_of(other), symlinks=True)
        with publishing.publisher(connection, other, tell=print) as publisher:
            publishing.publish(publisher, now=NOW)
        assert_same(connection, other)


def test_a_folder_somebody_removed_is_built_again_and_told_in_a_line(opened, path, copy, told):
    publishing.publish_if_due(copy, now=NOW, clock=lambda: 0.0)
    shutil.rmtree(publishing.folder_of(path))
    assert publishing.publish_if_due(copy, now=NOW, clock=lambda: 5.0)
    assert told == [f"abr: {publishing.folder_of(path)} was removed; building it again"]
    assert_same(opened, path)


def test_a_group_that_does_not_exist_is_told(opened, path):
    with (
        pytest.raises(UsageError, match="no group nobodys, which ABR_PUBLISHED_GROUP names"),
        publishing.publisher(opened, path, group="nobodys", tell=print),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_told_and_the_next_time_it_is_tried_again(opened, path, told):
    folder = publishing.folder_of(path)
    folder.write_text("somebody's file")
    with publishing.publisher(opened, path, tell=told.append) as publisher:
        for _ in range(2):
            with pytest.raises(NotPublished, match=f"{re.escape(str(folder))} cannot be written: File exists"):
                publishing.publish_if_due(publisher, now=NOW)
        folder.unlink()
        assert publishing.publish_if_due(publisher, now=NOW)
        assert_same(opened, path)


FULL_DISK = """
import resource, signal
from abr import publishing
inner, count = publishing.publish, 0
def publish(*given, **named):
    global count
    count += 1
    if count == 2:  # no file may grow: what a full disk does to the copy alone
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        inner(*given, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
publishing.publish = publish
"""


def test_where_the_copy_cannot_grow_the_monitor_says_so_and_goes_on(path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    ended = command_line.ended(
        command_line.started(
            *("monitor", "--source", "simulator", "--database", path, "--interval", "0.4", "--cycles", "6"),
            hook=FULL_DISK,
        )
    )
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    told = [line for line in ended.err.splitlines() if "readers do not see the newest" in line]
    assert len(told) == 1, ended.err
    assert "the monitor goes on and tries again" in told[0]
    assert query(path, "select count(*), bool_and(status = 'ok') from audit.run") == [(6, True)]
    assert assert_whole(path) > 2


# ---- the monitor -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def monitored(path: Path, *more: object, hook: str | None = None, interval: float = 0.3):
    process = command_line.started(
        *("monitor", "--source", "simulator", "--database", path, "--interval", interval, *more), hook=hook
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        command_line.ended(process)


def wait_until(true, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


def locks_on(path: Path) -> set[str]:
    """Return the ids of the processes that hold a lock on the file."""
    inode = path.stat().st_ino
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {words[4] for words in lines if words[5].endswith(f":{inode}")}


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not list its locks")
def test_the_writer_keeps_its_lock_through_every_publish(path):
    with monitored(path) as process:
        wait_until(publishing.file_of(path).exists)
        runs = set()
        end = time.monotonic() + 60
        while len(runs) < 6 and time.monotonic() < end:
            assert locks_on(path) == {str(process.pid)}
            runs |= set(query(publishing.file_of(path), "select run_id from published.generation"))
            opener = f"import duckdb; duckdb.connect({str(path)!r}, read_only=True)"
            tried = subprocess.run([sys.executable, "-c", opener], capture_output=True, text=True, check=False)
            assert "Conflicting lock" in tried.stderr
        assert len(runs) >= 6


def test_beside_a_monitor_the_reading_commands_read_the_copy_and_say_of_which_run(path):
    with monitored(path, interval=1):
        wait_until(publishing.file_of(path).exists)
        for command in (
            ["report"],
            ["findings", "--class", "unbilled"],
            ["findings", "--history", "--format", "csv"],
            ["quarantine", "--reason", "missing_person"],
            ["quarantine", "--history"],
            ["history", "--format", "json"],
        ):
            read = abr(*command, "--database", path)
            assert read.code == 0, read.err
            assert len(read.out.splitlines()) > 2
            assert re.fullmatch(
                r"abr: \S+ is in use by process \d+; this is its published copy as of run \d+, "
                r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n",
                read.err,
            )
        wrong = abr("findings", "--class", "nonsense", "--database", path)
        assert wrong.code == 2
        assert "choose one of currency_mismatch, " in wrong.err
        for command in (["run"], ["verify"]):
            assert abr(*command, "--database", path).code in {0, 4}
    after = abr("report", "--database", path)
    assert after.code == 0
    assert not after.err


@contextlib.contextmanager
def in_use(path: Path):
    """Let another process hold the database."""
    code = f"import duckdb, sys; held = duckdb.connect({str(path)!r}); print('held', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.communicate(timeout=60)


def test_what_is_read_from_the_copy_is_what_the_database_says(path):
    assert abr("monitor", "--source", "simulator", "--database", path, "--cycles", "1").code == 0
    commands = [
        [*command, "--format", form, "--database", path]
        for command in (["report", "--all"], ["findings"], ["quarantine"], ["findings", "--history"], ["history"])
        for form in ("json", "table")
    ]
    with in_use(path):
        held = [abr(*command) for command in commands]
    alone = [abr(*command) for command in commands]
    assert [each.code for each in held + alone] == [0] * 20
    assert all("published copy" in each.err for each in held)
    assert not any(each.err for each in alone)
    note = re.compile(r',?\\"note\\":(null|\\"[^"]*\\")')
    assert [note.sub("", each.out) for each in held] == [note.sub("", each.out) for each in alone]


def test_without_a_copy_a_database_in_use_is_what_it_was(path):
    assert abr("monitor", "--source", "simulator", "--database", path, "--cycles", "1").code == 0
    shutil.rmtree(publishing.folder_of(path))
    with in_use(path):
        read = abr("report", "--database", path)
    assert read.code == 4
    assert re.fullmatch(r"abr: \S+ is in use by process \d+; .*\n", read.err), read.err


def test_a_single_run_renews_a_copy_that_is_there_and_makes_none(path, tmp_path):
    assert abr("load", command_line.write_books(tmp_path / "books"), "--database", path).code == 0
    run = ["run", "--as-of", command_line.AS_OF, "--database", path]
    assert abr(*run).code == 0
    assert not publishing.folder_of(path).exists()
    publishing.folder_of(path).mkdir()
    assert abr(*run).code == 0
    assert assert_whole(path) == 2
    assert abr(*run).code == 0
    assert assert_whole(path) == 3


def test_readers_see_that_the_monitor_halted(path):
    with monitored(path, "--fail-at", "3") as process:
        process.wait(timeout=60)
    seen = query(publishing.file_of(path), "select run_id, status from report.run_history order by run_id desc limit 1")
    assert seen == [(3, "halted")]


def test_a_monitor_whose_folder_is_removed_loses_no_cycle(path):
    with monitored(path) as process:
        wait_until(publishing.file_of(path).exists)
        shutil.rmtree(publishing.folder_of(path))
        wait_until(publishing.file_of(path).exists)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        ended = command_line.ended(process)
    assert ended.code == 0
    assert ended.err.count("was removed; building it again") == 1
    assert "Traceback" not in ended.err
    assert query(path, "select count(*) = max(run_id) and bool_and(status = 'ok') from audit.run") == [(True,)]


READER = """
import duckdb, sys, time
count, path = 0, sys.argv[1]
while not (len(sys.argv) > 2 and count >= int(sys.argv[2])):
    with duckdb.connect(path, read_only=True) as copy:
        for _ in range(3):
            (run, newest, total, again), = copy.execute("select run_id, (select max(run_id) from report.run_history), "
                "(select sum(amount) from report.finding where side = 'leakage'), "
                "(select sum(leakage_amount) from report.contract_position) from published.generation").fetchall()
            assert run == newest and total == again, (run, newest, total, again)
            time.sleep(0.01)
    count += 1
    print(run, flush=True)
"""


@pytest.mark.slow
def test_readers_in_a_loop_meet_no_error_and_no_state_that_does_not_fit_together(path):
    with monitored(path, interval=0.3):
        wait_until(publishing.file_of(path).exists)
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, str(publishing.file_of(path)), "60"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        read = [command_line.ended(reader) for reader in readers]
    for each in read:
        assert each.code == 0, each.err
        runs = [int(line) for line in each.out.split()]
        assert runs == sorted(runs)
        assert len(set(runs)) > 2


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from abr import database, publishing, reconciliation_engine
    from tests import test_publishing as t
    path = Path(sys.argv[1])
    with database.connect(f"duckdb:///{path}") as connection:
        number = connection.exec_driver_sql("select coalesce(max(run_id), 0) from audit.run").scalar_one()
        connection.rollback()
        if not number:
            t.harness.receive(connection, t.BOOKS)
        publishing._SETTLED_MIN = 10
        with publishing.publisher(connection, path, tell=print) as publisher:
            while True:
                number = t.work(connection, number + 1)
                publishing.publish(publisher, now=reconciliation_engine.utc_now())
                print(number, flush=True)
    """
)


def test_killed_at_any_moment_it_leaves_a_copy_that_is_whole(path):
    chance = random.Random(7)
    newest, seen = 0, 0
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            first = int(process.stdout.readline())
            assert first > seen, kill
            time.sleep(chance.uniform(0, 0.4))
        finally:
            process.kill()
            said = process.stdout.read().split()
            process.wait(timeout=60)
            process.stdout.close()
        newest = int(said[-1]) if said and said[-1].isdigit() else first
        seen = assert_whole(path)
        assert seen >= newest - 0
        assert len(generations(path)) <= 5
    with database.connect(f"duckdb:///{path}") as connection:
        with publishing.publisher(connection, path, tell=print) as publisher:
            publishing.publish(publisher, now=NOW)
        assert_same(connection, path)
    assert len(generations(path)) <= 5
