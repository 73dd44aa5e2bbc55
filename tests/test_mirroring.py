"""The PostgreSQL mirror, against a real server: it arrives at the same rows whatever stops, dies or lies on the way."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import psycopg
import pytest
from psycopg import sql

from abr import database, mirroring, settings
from tests import command_line
from tests.command_line import abr, clean_environment

PASSWORD = "s3cr3t-Pa55"
# Publishes the database in this process, where the program does not do so itself yet.
PUBLISHING = """
import importlib.util, pathlib
from abr import cli, mirroring
if importlib.util.find_spec("abr.publishing") is None:
    held = []
    watch, wake = cli._watch, mirroring.Mirror.wake
    def watched(connection, *given, **options):
        held.append(connection)
        return watch(connection, *given, **options)
    def woken(mirror):
        cursor = held[0].connection.driver_connection.cursor()
        name = cursor.execute("select current_database()").fetchone()[0]
        path = pathlib.Path(cursor.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()[0])
        folder = path.with_name(path.name + ".published")
        target = folder / f"generation-{len(list(folder.glob('generation-*')))}" / "abr_audit.duckdb"
        target.parent.mkdir(parents=True)
        cursor.execute(f"attach '{target}' as copied")
        cursor.execute(f'copy from database "{name}" to copied')
        cursor.execute("detach copied")
        link = folder / "next"
        link.symlink_to(target.parent.name)
        link.replace(folder / "current")
        wake(mirror)
    cli._watch, mirroring.Mirror.wake = watched, woken
"""


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

    def new_database(self) -> str:
        self.databases.append(f"books_{len(self.databases)}")
        with self.connect("postgres") as connection:
            connection.execute(f"create database {self.databases[-1]}")
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
def server(tmp_path_factory) -> Iterator[Server]:
    programs = binaries()
    if programs is None:
        reason = "no PostgreSQL server programs here: install Debian's postgresql, or put initdb on the PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("server")
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
        for parent in folder.parents[:3]:  # the server's own user must reach its folder
            if parent.stat().st_uid == os.getuid() and "pytest" in parent.name:
                parent.chmod(parent.stat().st_mode | 0o011)
    # A socket's path must be short, and a test's folder is not.
    running = Server(programs, folder, free_port())
    running.create()
    running.start()
    yield running
    with contextlib.suppress(AssertionError):  # a test stopped it
        running.stop()


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
    """Publish a database that nobody holds, as the monitor does; return the copy."""
    folder = path.with_name(path.name + ".published")
    target = folder / f"generation-{len(list(folder.glob('generation-*')))}" / "abr_audit.duckdb"
    target.parent.mkdir(parents=True)
    shutil.copyfile(path, target)  # nobody holds it, so everything is in the file
    link = folder / "next"
    link.symlink_to(target.parent.name)
    link.replace(folder / "current")
    return target


def load_books(desk: Path) -> Path:
    """Load the small firm, run once, publish; return the database."""
    command_line.write_books(desk / "books")
    assert abr("load", desk / "books").code == 0
    assert abr("run", "--as-of", command_line.AS_OF).code == 0
    path = desk / "abr.duckdb"
    publish(path)
    return path


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


def test_a_synced_mirror_equals_the_copy_row_for_row(server, desk, mirror):
    load_books(desk)
    synced = abr("mirror", "sync")
    assert (synced.code, synced.err) == (0, "")
    verified = abr("mirror", "verify")
    assert verified.code == 0, verified
    with server.connect(mirror) as connection:
        assert connection.execute("select count(*) from abr.contract_position").fetchone() == (4,)
        assert connection.execute("select count(*) from abr.finding").fetchone()[0] > 2
        assert connection.execute("select count(*) from abr.quarantine_reason").fetchone()[0] > 0
