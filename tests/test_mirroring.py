"""The PostgreSQL mirror, against a real server: it arrives at the same rows whatever stops, dies or lies on the way."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psycopg
import pytest
from psycopg import sql

from abr import database, mirroring, publishing, settings
from tests import command_line
from tests.command_line import abr, clean_environment

PASSWORD = "s3cr3t-Pa55"


# ---- a server -------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A PostgreSQL server on a free port, with password authentication for everyone but the superuser's socket."""

    binaries: Path
    folder: Path
    port: int
    databases: list[str] = field(default_factory=list)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop")

    def create(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", self.folder / "data", "-U", "owner", "-A", "scram-sha-256", "--pwfile", secret,
            "-E", "UTF8", "--locale=C", "-N",
        )  # fmt: skip

    def url(self, name: str, user: str = "owner", password: str | None = PASSWORD) -> str:
        who = user if password is None else f"{user}:{password}"
        return f"postgresql+psycopg://{who}@127.0.0.1:{self.port}/{name}"

    def connect(self, name: str, user: str = "owner", password: str = PASSWORD) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=name, user=user, password=password, autocommit=True
        )

    def new_database(self, options: str = "") -> str:
        self.databases.append(f"books_{len(self.databases)}")
        with self.connect("postgres") as connection:
            connection.execute(f"create database {self.databases[-1]} {options}")
        return self.databases[-1]

    def _run(self, program: str, *arguments: object) -> None:
        as_somebody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_somebody, str(self.binaries / program), *map(str, arguments)],
            cwd="/",
            stdout=subprocess.DEVNULL,  # the server keeps it open
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        log = self.folder / "log"
        assert done.returncode == 0, f"{program} failed: {log.read_text('utf-8') if log.exists() else ''}"


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's server programs, the newest."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    programs = binaries()
    if programs is None:
        reason = "no PostgreSQL server programs here: install Debian's postgresql, or put initdb on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # Not pytest's own folder: the server's user must reach it, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    running = Server(programs, folder, free_port())
    try:
        running.create()
        running.start()
        yield running
        with contextlib.suppress(AssertionError):  # a test stopped it
            running.stop()
    finally:
        shutil.rmtree(folder)


# ---- books ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    return clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def mirror(server, desk, monkeypatch) -> str:
    """An empty mirror; returns the name of its PostgreSQL database."""
    name = server.new_database()
    monkeypatch.setenv("ABR_MIRROR_URL", server.url(name))
    assert abr("mirror", "init").code == 0
    return name


def publish(path: Path) -> Path:
    """Publish a database that nobody holds; return the copy."""
    with (
        database.connect(f"duckdb:///{path}") as connection,
        publishing.publisher(connection, path, tell=print) as publisher,
    ):
        publishing.publish(publisher, now=datetime.now(UTC).replace(tzinfo=None))
    return publishing.file_of(path)


@pytest.fixture(scope="module")
def published(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the books and their copy."""
    folder = tmp_path_factory.mktemp("published")
    publish(Path(shutil.copy(template, folder / "abr.duckdb")))
    return folder


def place(published: Path, desk: Path) -> Path:
    return shutil.copytree(published, desk, symlinks=True, dirs_exist_ok=True) / "abr.duckdb"


@pytest.fixture
def books(desk: Path, published: Path) -> Path:
    """Return the path of a database of the test's own, with the books in it, published."""
    return place(published, desk)


def change(desk: Path, number: int, **cells: str) -> None:
    """Load another version of a log, run, publish."""
    rows = [dict(row) for row in command_line.BOOKS["time_logs"]]
    rows[number - 1] |= cells
    columns = command_line.reference_model.COLUMNS["time_logs"]
    command_line.write_csv(desk / "time_logs.csv", columns, rows)
    assert abr("load", desk / "time_logs.csv").code == 0
    assert abr("run", "--as-of", command_line.AS_OF).code == 0
    publish(desk / "abr.duckdb")


def says(ended, *words: str) -> None:
    """Assert that a command said this, in one line for people, without the password."""
    for word in words:
        assert word in ended.err, ended
    assert "Traceback" not in ended.err + ended.out
    assert PASSWORD not in ended.err + ended.out


def test_a_synced_mirror_equals_the_copy_row_for_row(server, desk, mirror, books):
    synced = abr("mirror", "sync")
    assert (synced.code, synced.err) == (0, "")
    verified = abr("mirror", "verify")
    assert verified.code == 0, verified
    with server.connect(mirror) as connection:
        assert connection.execute("select count(*) from abr.contract_position").fetchone() == (4,)
        assert connection.execute("select count(*) from abr.finding").fetchone()[0] > 2
        assert connection.execute("select count(*) from abr.quarantine_reason").fetchone()[0] > 0


# ---- the same rows --------------------------------------------------------------------------------------------------

ODD = 'a "quote", a comma\nand\n\\.\nlines \U0001f980 \\u0000'


def live(books: Path) -> Path:
    """Give the books a history: amounts rise and fall, rows come back, a contract goes and returns."""
    desk = books.parent
    change(desk, 1, hours="12", person=ODD)
    change(desk, 2, worked_on="not a date " + ODD)
    change(desk, 6, person="zoe")
    contracts = command_line.BOOKS["contracts"]
    columns = command_line.reference_model.COLUMNS["contracts"]
    for rows in (contracts[1:], [{**contracts[0], "currency": "USD"}, *contracts[1:]], contracts):
        command_line.write_csv(desk / "contracts.csv", columns, rows)
        assert abr("load", desk / "contracts.csv", "--complete").code == 0
        assert abr("run", "--as-of", command_line.AS_OF).code == 0
    publish(books)
    return books


def equals_the_copy() -> None:
    verified = abr("mirror", "verify", "--format", "json")
    assert (verified.code, verified.out.strip(), verified.err) == (0, "[]", "")


@pytest.mark.slow
def test_run_by_run_in_small_batches_or_all_at_once_it_arrives_at_the_same_rows(server, desk, mirror, books):
    live(books)
    chosen = settings.load_settings()
    moved = mirroring.sync(chosen, batch_rows=1)
    assert moved.run_count == moved.last_run_id > 6
    equals_the_copy()
    assert mirroring.sync(chosen).row_count == 0
    assert abr("mirror", "init", "--rebuild").code == 0
    again = mirroring.sync(chosen)
    assert (again.run_count, again.row_count) == (moved.run_count, moved.row_count)
    equals_the_copy()
    with server.connect(mirror) as connection:
        assert connection.execute("select count(*) from abr.leakage_trend").fetchone()[0] > 3
        assert connection.execute("select max(version) from abr.finding_history").fetchone()[0] > 1
        assert connection.execute("select count(*) from abr.finding_history where person = %s", [ODD]).fetchone()[0]
        assert connection.execute("select count(*) from abr.quarantine_history where raw ->> 'worked_on' like %s",
                                  ["%🦀%"]).fetchone()[0] > 0  # fmt: skip


@pytest.mark.slow
def test_a_sync_after_each_run_arrives_at_the_same_rows(server, desk, mirror, books):
    for number, hours in ((1, "12"), (1, "3"), (2, "0"), (2, "10")):
        assert abr("mirror", "sync").code == 0
        change(desk, number, hours=hours)
    synced = abr("mirror", "sync", "--format", "csv")
    assert synced.out.splitlines()[1].startswith("1,")
    equals_the_copy()


def test_a_nul_in_a_cell_arrives_as_the_replacement_character(server, desk, mirror, books):
    target = books.with_name("abr.duckdb.published") / "current" / "abr_audit.duckdb"
    with duckdb.connect(str(target)) as connection:
        raw = r"""{"b": 1.50, "a": "x\u0000y", "c": "\\u0000 stays"}"""
        tables = "select concat(schema_name, '.', table_name) from duckdb_tables() where table_name like ? || '%'"
        for (table,) in connection.execute(tables, ["finding"]).fetchall():
            connection.execute(f"update {table} set person = 'a' || chr(0) || 'b', role = ''")
        for (table,) in connection.execute(tables, ["quarantine"]).fetchall():
            connection.execute(f"update {table} set raw = ?", [raw])
    assert abr("mirror", "sync").code == 0
    equals_the_copy()
    with server.connect(mirror) as connection:
        assert connection.execute("select distinct person, role from abr.finding").fetchall() == [("a\ufffdb", "")]
        found = connection.execute("select raw ->> 'a', raw ->> 'c' from abr.quarantine limit 1").fetchone()
        assert found == ("x\ufffdy", "\\u0000 stays")


@pytest.mark.slow
def test_two_syncs_at_once_move_each_run_once(server, desk, mirror, books):
    live(books)
    hook = "from abr import mirroring\nmirroring.sync.__kwdefaults__['batch_rows'] = 1"
    env = command_line.environment(ABR_MIRROR_URL=server.url(mirror))
    both = [command_line.started("mirror", "sync", "--format", "json", hook=hook, env=env) for _ in range(2)]
    assert [command_line.ended(process).code for process in both] == [0, 0]
    equals_the_copy()


@pytest.mark.slow
def test_a_sync_killed_at_any_moment_leaves_whole_runs(server, desk, mirror, books):
    live(books)
    hook = "from abr import mirroring\nmirroring.sync.__kwdefaults__['batch_rows'] = 1"
    env = command_line.environment(ABR_MIRROR_URL=server.url(mirror))
    killed_count = last = 0
    for attempt in range(20):
        process = command_line.started("mirror", "sync", hook=hook, env=env)
        with server.connect(mirror) as connection:
            before = last
            while process.poll() is None and last == before:
                last = connection.execute("select last_run_id from abr.mirror_state").fetchone()[0]
            time.sleep(attempt * 0.003)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=10)
            killed_count += process.returncode == -signal.SIGKILL
            last, runs, newest = connection.execute(
                "select last_run_id, (select count(*) from abr.run_history), greatest("
                "(select max(valid_from_run_id) from abr.finding_history), "
                "(select max(valid_to_run_id) from abr.finding_history), "
                "(select max(valid_from_run_id) from abr.contract_position_history), "
                "(select max(run_id) from abr.leakage_trend)) from abr.mirror_state"
            ).fetchone()
        assert runs == last
        assert newest is None or newest <= last
        if process.returncode == 0:
            break
    assert killed_count > 1
    assert abr("mirror", "sync").code == 0
    equals_the_copy()


def test_verify_names_each_row_that_differs(server, desk, mirror, books):
    assert abr("mirror", "sync").code == 0
    with server.connect(mirror) as connection:
        connection.execute("update abr.finding_history set amount = amount + 0.01 where contract_id = 'C-2'")
        connection.execute("delete from abr.quarantine_history")
        connection.execute("insert into abr.leakage_trend values ('XXX', 1, now(), 5)")
    verified = abr("mirror", "verify", "--format", "csv")
    assert verified.code == 1
    for line in (
        r"abr\.finding_history,\w+/1,\"?amount [\d.]+ here, [\d.]+ in the mirror",
        r"abr\.finding,\w+,\"?amount [\d.]+ here, [\d.]+ in the mirror",
        r"abr\.quarantine_history,\w+/1,only here",
        r"abr\.quarantine,\w+,only here",
        r"abr\.leakage_trend,XXX/1,only in the mirror",
    ):
        assert re.search(line, verified.out), (line, verified.out)


def test_verify_says_when_the_mirror_is_behind(server, desk, mirror, books):
    behind = mirroring.verify(settings.load_settings(), patience_seconds=0)
    assert behind == [{"what": "mirror_state", "id": "last_run_id", "detail": "here 1, mirror 0"}]


# ---- what is there --------------------------------------------------------------------------------------------------


def test_types_comments_and_indexes_are_those_promised(server, desk, mirror):
    with server.connect(mirror) as connection:
        types = {
            (relation, column): kind
            for relation, column, kind in connection.execute(
                "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a "
                "inner join pg_class as c on a.attrelid = c.oid where c.relnamespace = 'abr'::regnamespace "
                "and a.attnum > 0 and c.relkind in ('r', 'v')"
            )
        }
        told = dict(
            connection.execute(
                "select relname, obj_description(oid) from pg_class where relnamespace = 'abr'::regnamespace "
                "and relkind in ('r', 'v')"
            ).fetchall()
        )
        indexed = " ".join(
            definition
            for (definition,) in connection.execute("select indexdef from pg_indexes where schemaname = 'abr'")
        )
        with_comment = connection.execute(
            "select col_description('abr.finding'::regclass, attnum) from pg_attribute "
            "where attrelid = 'abr.finding'::regclass and attname = 'finding_id'"
        ).fetchone()
    with database.connect("duckdb:///:memory:") as memory:
        columns = memory.exec_driver_sql(
            "select table_name, column_name from duckdb_columns() where schema_name = 'report'"
        ).fetchall()
    assert {pair for pair in types if pair[0] != "mirror_state"} == {tuple(pair) for pair in columns}
    for pair, kind in {
        ("finding", "amount"): "numeric(18,4)",
        ("leakage_by_client", "leakage_amount"): "numeric(18,4)",
        ("finding_history", "valid_from_at"): "timestamp with time zone",
        ("quarantine", "raw"): "jsonb",
        ("run_history", "settings"): "jsonb",
        ("contract_position", "age_days"): "bigint",
        ("contract_position", "is_flagged"): "boolean",
        ("finding", "worked_on"): "date",
        ("finding", "person"): "text",
    }.items():
        assert types[pair] == kind
    assert all(told.values()), told
    assert with_comment == ("hash of contract, class and about",)
    for wanted in ("(contract_id, class)", "(valid_from_run_id)", "(client)"):
        assert wanted in indexed


def test_init_again_changes_nothing_and_rebuild_empties(server, desk, mirror, books):
    assert abr("mirror", "sync").code == 0
    assert abr("mirror", "init").code == 0
    equals_the_copy()
    assert abr("mirror", "init", "--rebuild").code == 0
    with server.connect(mirror) as connection:
        assert connection.execute("select count(*) from abr.run_history").fetchone() == (0,)


def test_the_reading_role_reads_everything_and_is_refused_every_write(server, desk, mirror, books):
    assert abr("mirror", "sync").code == 0
    with server.connect("postgres") as connection:
        connection.execute(f"drop role if exists analyst; create role analyst login password '{PASSWORD}'")
        connection.execute("grant abr_reader to analyst")
    with server.connect(mirror, "analyst") as connection:
        for relation in [*mirroring.KEYS, "mirror_state"]:
            name = sql.Identifier("abr", relation)
            connection.execute(sql.SQL("select * from {}").format(name))
            is_table = relation in (*mirroring.TABLES, "mirror_state")
            column = "layout" if relation == "mirror_state" else mirroring.KEYS[relation][0]
            for write in (
                f"insert into {{}} ({column}) values (null)",
                f"update {{}} set {column} = null",
                "delete from {}",
                "truncate {}" if is_table else "delete from {} where true",
                "drop table {}" if is_table else "drop view {}",
                f"comment on column {{}}.{column} is 'x'",
            ):
                # An aggregating view takes no writes from anybody.
                refusals = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
                with pytest.raises(refusals) as refused:
                    connection.execute(sql.SQL(write).format(name))
                assert is_table <= isinstance(refused.value, psycopg.errors.InsufficientPrivilege)
        for write in ("create table abr.mine (a int)", "alter table abr.finding_history add column a int",
                      "update abr.finding_history set amount = 0", "update abr.mirror_state set last_run_id = 0",
                      "create view abr.mine as select 1", "drop schema abr cascade"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(write)
    equals_the_copy()


def test_status_tells_both_sides_and_the_lag(server, desk, mirror, books):
    before = abr("mirror", "status", "--format", "csv")
    assert before.code == 0
    for line in ("last run here,1", "last run there,0", "lag in runs,1", "last synced,never", "state,behind"):
        assert line in before.out.splitlines()
    assert abr("mirror", "sync").code == 0
    after = abr("mirror", "status", "--format", "csv")
    for line in ("last run there,1", "lag in runs,0", "lag in seconds,0", "last error,none", "state,up to date"):
        assert line in after.out.splitlines()
    assert PASSWORD not in before.out + after.out


# ---- what is wrong with it ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "command", ["init", "sync", *(pytest.param(name, marks=pytest.mark.slow) for name in ("status", "verify"))]
)
@pytest.mark.parametrize(
    ("make_url", "words"),
    [
        (lambda server, name: server.url(name, password=None), ["no password", "~/.pgpass"]),
        (lambda server, name: server.url(name, password="wrong-" + PASSWORD), ["authentication failed", "correct"]),
        (lambda server, name: server.url("nowhere"), ['database "nowhere" does not exist', "create it"]),
        (
            lambda server, name: server.url(name).replace(f":{server.port}/", f":{free_port()}/"),
            ["cannot be reached", "refused", "start the server"],
        ),
    ],
    ids=["no password", "wrong password", "no such database", "closed port"],
)
def test_a_server_that_does_not_let_us_in_is_explained(
    server, desk, mirror, monkeypatch, command, make_url, words, books
):
    monkeypatch.setenv("ABR_MIRROR_URL", make_url(server, mirror))
    told = abr("mirror", command)
    assert told.code == 1
    says(told, *words)
    assert told.err.count("\n") <= 4


@pytest.mark.parametrize("command", ["init", "sync", "status", "verify"])
@pytest.mark.parametrize(
    ("url", "word"),
    [
        (f"postgresql+psycopg://owner:{PASSWORD}@host:port/books", "is not a URL"),
        (f"owner:{PASSWORD}@host/books", "is not a URL"),
        (f"mysql://owner:{PASSWORD}@host/books", "is not a PostgreSQL URL"),
        (f"postgresql+psycopg://owner:{PASSWORD}@host", "names no database"),
    ],
)
def test_a_malformed_url_is_told_without_its_password(desk, monkeypatch, command, url, word):
    monkeypatch.setenv("ABR_MIRROR_URL", url)
    told = abr("mirror", command)
    assert told.code == 2
    says(told, word, "environment ABR_MIRROR_URL", "postgresql+psycopg://")


def test_a_server_that_never_answers_is_given_up(server, desk, mirror, monkeypatch, books):
    with silent_server() as port:
        monkeypatch.setenv("ABR_MIRROR_URL", server.url(mirror).replace(f":{server.port}/", f":{port}/"))
        started = time.monotonic()
        told = abr("mirror", "status")
        assert time.monotonic() - started < mirroring.CONNECT_SECONDS + 5
    assert told.code == 1
    says(told, "timeout expired")


def test_without_a_url_or_a_copy_or_an_init_the_remedy_is_told(server, desk, monkeypatch, published):
    told = abr("mirror", "status")
    assert told.code == 2
    says(told, "ABR_MIRROR_URL")
    monkeypatch.setenv("ABR_MIRROR_URL", server.url(server.new_database()))
    for command in ("sync", "verify"):
        told = abr("mirror", command)
        assert told.code == 2
        says(told, "no published copy", "abr monitor")
    place(published, desk)
    for command in ("sync", "verify", "status"):
        told = abr("mirror", command)
        assert told.code == 2
        says(told, "no mirror yet", "abr mirror init")


def test_a_mirror_of_another_version_exits_5(server, desk, mirror, books):
    with server.connect(mirror) as connection:
        connection.execute("update abr.mirror_state set layout = 'other', abr_version = '9.9'")
    for command in ("init", "sync", "verify", "status"):
        told = abr("mirror", command)
        assert told.code == 5
        says(told, "made by ABR 9.9", "abr mirror init --rebuild")
    assert abr("mirror", "init", "--rebuild").code == 0
    assert abr("mirror", "sync").code == 0
    equals_the_copy()


def test_a_schema_that_is_not_ours_is_left_alone(server, desk, monkeypatch, books):
    name = server.new_database()
    monkeypatch.setenv("ABR_MIRROR_URL", server.url(name))
    with server.connect(name) as connection:
        connection.execute("create schema abr; create table abr.precious (a int); insert into abr.precious values (1)")
    for arguments in (["init"], ["init", "--rebuild"], ["sync"], ["verify"], ["status"]):
        told = abr("mirror", *arguments)
        assert told.code == 2
        says(told, "precious", "of its own")
    with server.connect(name) as connection:
        assert connection.execute("select * from abr.precious").fetchall() == [(1,)]


def test_a_mirror_of_another_database_is_refused(server, desk, mirror, books):
    assert abr("mirror", "sync").code == 0
    assert abr("simulate", "--logs", 300, "--contracts", 5, "--days", 20).code == 0
    assert abr("run", "--database", "abr-demo.duckdb").code == 0
    publish(desk / "abr-demo.duckdb")
    for command in ("sync", "verify", "status"):
        told = abr("mirror", command, "--database", "abr-demo.duckdb")
        assert told.code == 2
        says(told, "of another database", "--rebuild")
    equals_the_copy()


def test_an_older_database_that_was_restored_is_noticed(server, desk, mirror, books):
    backup = books.read_bytes()
    change(desk, 1, hours="12")
    assert abr("mirror", "sync").code == 0
    books.write_bytes(backup)
    change(desk, 1, hours="13")
    told = abr("mirror", "sync")
    assert told.code == 2
    says(told, "restored", "--rebuild")


def test_an_older_database_that_was_restored_is_noticed_also_while_the_mirror_is_ahead_of_it(
    server, desk, mirror, books
):
    backup = books.read_bytes()
    change(desk, 1, hours="12")
    change(desk, 1, hours="13")
    assert abr("mirror", "sync").code == 0
    books.write_bytes(backup)
    publish(books)
    for command in ("sync", "status", "verify"):
        told = abr("mirror", command)
        assert told.code == 2, told
        says(told, "newer than all runs here", "restored", "--rebuild")


def test_text_arrives_whole_whatever_encoding_the_environment_names(server, desk, mirror, books, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    change(desk, 1, person="Zoë Größe")
    assert abr("mirror", "sync").code == 0
    equals_the_copy()
    with server.connect(mirror) as connection:
        connection.execute("set client_encoding = 'UTF8'")
        query = "select max(length(person)) from abr.finding where person like 'Zo_ Gr__e'"
        assert connection.execute(query).fetchone() == (9,)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_name_is_refused(server, desk, books, monkeypatch, encoding):
    name = server.new_database(f"encoding '{encoding}' locale 'C' template template0")
    monkeypatch.setenv("ABR_MIRROR_URL", server.url(name))
    for command in (("init",), ("init", "--rebuild"), ("sync",)):
        told = abr("mirror", *command)
        assert told.code == 2, told
        says(told, encoding, "encoding 'UTF8'")


def test_very_long_cells_arrive_too(server, desk, mirror, books):
    long = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(4_000))
    change(desk, 1, time_log_id=long)
    change(desk, 6, time_log_id=f"{long}-6", person="")
    contracts = [{**row, "client": long} for row in command_line.BOOKS["contracts"]]
    command_line.write_csv(desk / "contracts.csv", command_line.reference_model.COLUMNS["contracts"], contracts)
    assert abr("load", desk / "contracts.csv").code == 0
    assert abr("run", "--as-of", command_line.AS_OF).code == 0
    publish(books)
    synced = abr("mirror", "sync")
    assert synced.code == 0, synced.err
    equals_the_copy()


def test_what_the_server_refuses_is_not_called_unreachable_and_stands_in_the_status(server, desk, mirror, books):
    with server.connect(mirror) as connection:
        connection.execute("alter table abr.run_history add constraint no_more check (run_id < 1)")
    told = abr("mirror", "sync")
    assert told.code == 1
    says(told, "refuses", "no_more")
    assert "cannot be reached" not in told.err
    assert "no_more" in abr("mirror", "status").out


@pytest.mark.parametrize(
    ("error", "is_away", "remedy"),
    [
        (psycopg.errors.AdminShutdown("terminating connection"), True, "start the server"),
        (psycopg.OperationalError("connection refused"), True, "start the server"),
        (psycopg.errors.ConnectionFailure("gone"), True, "start the server"),
        (psycopg.errors.DiskFull("no space left"), False, "make room"),
        (psycopg.errors.TooManyConnections("sorry"), False, "make room"),
        (psycopg.errors.QueryCanceled("statement timeout"), False, "slows the server down"),
        (psycopg.errors.LockNotAvailable("lock timeout"), False, "holds tables"),
        (psycopg.errors.ProgramLimitExceeded("index row size"), False, "shorten that cell"),
        (psycopg.errors.DependentObjectsStillExist("own view"), False, "built on ABR's relations"),
        (psycopg.errors.ReadOnlySqlTransaction("standby"), False, "may be written"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_of_a_server_has_a_remedy_that_helps(error, is_away, remedy):
    told = mirroring._explanation(error, "postgresql+psycopg://ann:a@db/books")
    assert (told.is_away, "cannot be reached" in told.message) == (is_away, is_away)
    assert remedy in told.remedy


def test_what_a_column_means_is_said_of_the_right_column(server, desk, mirror, books):
    with server.connect(mirror) as connection:

        def comment(relation: str) -> str | None:
            query = (
                "select col_description(attrelid, attnum) from pg_attribute "
                "where attrelid = %s::regclass and attname = 'run_id'"
            )
            return connection.execute(query, [relation]).fetchone()[0]

        assert comment("abr.contract_position_history") == "the run that wrote this version"
        assert comment("abr.contract_position") is None


def test_a_user_without_rights_is_told_what_an_administrator_runs(server, desk, monkeypatch):
    name = server.new_database()
    with server.connect(name) as connection:
        connection.execute("drop role if exists abr_reader") if not _has_grants(server) else None
        connection.execute(f"create role plain_{name} login password '{PASSWORD}'")
    monkeypatch.setenv("ABR_MIRROR_URL", server.url(name, f"plain_{name}"))
    told = abr("mirror", "init")
    assert told.code == 1
    says(told, "permission denied", f"create schema if not exists abr authorization plain_{name}")
    with server.connect(name) as connection:
        connection.execute(f"create schema if not exists abr authorization plain_{name}")
    assert abr("mirror", "init").code == 0


def _has_grants(server: Server) -> bool:
    """Return whether an earlier test's mirror grants something to the role, so that it cannot be dropped."""
    return len(server.databases) > 1


# ---- beside the monitor ---------------------------------------------------------------------------------------------


def watching(url: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a monitor of the demo that keeps the mirror, a cycle a second."""
    env = command_line.environment(ABR_MIRROR_URL=url)
    return command_line.started("monitor", "--source", "simulator", "--interval", 1, *arguments, env=env)


def worker_of(process: subprocess.Popen[str]) -> int:
    """Return the id of the process that follows."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
    return int(child)


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text("utf-8").rpartition(")")[2].split()[0] != "Z"


def until_true(check, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)


def last_run(server: Server, name: str) -> int:
    with server.connect(name) as connection:
        return connection.execute("select last_run_id from abr.mirror_state").fetchone()[0]


def demo_equals_the_copy() -> None:
    verified = abr("mirror", "verify", "--database", "abr-demo.duckdb", "--format", "json")
    assert (verified.code, verified.out.strip()) == (0, "[]"), verified


@pytest.mark.slow
def test_server_and_worker_may_go_and_come_back_while_the_monitor_goes_on(server, desk, mirror):
    process = watching(server.url(mirror), "--cycles", 22)
    seen = command_line.lines_of(process.stdout, "run 3 ")
    until_true(lambda: last_run(server, mirror) >= 1)
    server.stop()
    try:
        seen += command_line.lines_of(process.stdout, "run 7 ")
    finally:
        server.start()
    assert last_run(server, mirror) < 7
    told = command_line.lines_of(process.stderr, "up to date again")
    assert last_run(server, mirror) >= 7
    os.kill(worker_of(process), signal.SIGKILL)
    done = command_line.ended(process)
    assert done.code == 0
    done = dataclasses.replace(done, err="".join(told) + done.err)
    says(done, "cannot be reached", "reconciliation goes on", "up to date again")
    assert done.err.count("cannot be reached") == done.err.count("up to date again") == 1
    # The worker that was killed was replaced, and no cycle was lost or waited.
    demo_equals_the_copy()
    assert last_run(server, mirror) == 22
    status = abr("mirror", "status", "--database", "abr-demo.duckdb", "--format", "csv")
    assert "cannot be reached" in status.out.partition("last error")[2]


def test_a_killed_monitor_takes_its_worker_along_and_the_next_one_catches_up(server, desk, mirror):
    process = watching(server.url(mirror))
    command_line.lines_of(process.stdout, "run 2 ")
    worker = worker_of(process)
    process.kill()
    process.communicate(timeout=10)
    until_true(lambda: not is_running(worker), 10)
    done = command_line.ended(watching(server.url(mirror), "--cycles", 4))
    assert done.code == 0
    demo_equals_the_copy()


def test_beside_a_server_that_never_answers_the_monitor_goes_on_and_ends(server, desk, mirror):
    with silent_server() as port:
        process = watching(server.url(mirror).replace(f":{server.port}/", f":{port}/"))
        command_line.lines_of(process.stdout, "run 4 ")
        worker = worker_of(process)
        process.send_signal(signal.SIGINT)
        done = command_line.ended(process)
    assert done.code == 0
    assert not is_running(worker)
    assert PASSWORD not in done.out + done.err
    assert "Traceback" not in done.err
    assert len(command_line.query("abr-demo.duckdb", "from audit.run")) >= 4


def test_waking_a_worker_that_hangs_takes_no_time_and_ending_it_two_seconds(server, desk, mirror, monkeypatch, books):
    with silent_server() as port:
        monkeypatch.setenv("ABR_MIRROR_URL", server.url(mirror).replace(f":{server.port}/", f":{port}/"))
        with mirroring.following(settings.load_settings({"database_url": str(books)}), print) as followed:
            os.kill(followed.process.pid, signal.SIGSTOP)
            started = time.monotonic()
            for _ in range(100_000):  # more than a pipe holds
                followed.wake()
            assert time.monotonic() - started < 10
            ending = time.monotonic()
        assert time.monotonic() - ending < 2
        assert followed.process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make_url", "word"),
    [
        (lambda server, name: server.url(name, password="wrong-" + PASSWORD), "authentication failed"),
        (lambda server, name: server.url(name, password=None), "no password"),
        (lambda server, name: server.url("postgres"), "abr mirror init"),
    ],
    ids=["wrong password", "no password", "no mirror"],
)
def test_a_mirror_that_cannot_work_is_told_once_and_costs_no_cycle(server, desk, mirror, make_url, word):
    done = command_line.ended(watching(make_url(server, mirror), "--cycles", 6))
    assert done.code == 0
    says(done, word, "reconciliation goes on")
    assert done.err.count("abr: mirror:") == 1
    assert len(command_line.query("abr-demo.duckdb", "from audit.run where status = 'ok'")) == 6


def test_a_malformed_url_stops_the_monitor_before_it_starts(desk, monkeypatch):
    monkeypatch.setenv("ABR_MIRROR_URL", f"postgresql+psycopg://owner:{PASSWORD}@host:port/books")
    told = abr("monitor", "--cycles", 1)
    assert told.code == 2
    says(told, "mirror_url", "is not a URL")


def test_the_password_is_masked_wherever_settings_are_shown(server, desk, monkeypatch):
    monkeypatch.setenv("ABR_MIRROR_URL", server.url("books") + f"?password={PASSWORD}&sslpassword={PASSWORD}")
    for form in ("table", "json", "csv"):
        told = abr("settings", "--format", form)
        assert "owner:***@" in told.out
        assert PASSWORD not in told.out + told.err
    assert PASSWORD not in repr(settings.load_settings())
    (desk / "abr.toml").write_text(f'mirror_url = "mysql://owner:{PASSWORD}@host/books"\n', "utf-8")
    monkeypatch.delenv("ABR_MIRROR_URL")
    says(abr("settings"), "mirror_url (abr.toml) is not a PostgreSQL URL")
