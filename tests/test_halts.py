"""Halts and refusals: the exit code, a message that names what and where, a remedy, and a database as it was before."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import pytest
from sqlalchemy.exc import DBAPIError

from abr import database, formats, publishing, reconciliation_engine
from abr.formats import csv_files
from tests import command_line
from tests.command_line import AS_OF, BOOKS, abr

TOGGL_HEADER = (
    "User,Email,Client,Project,Task,Description,Billable,Start date,Start time,End date,End time,Duration,Tags"
)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Return a simulated database that no run has seen."""
    path = tmp_path_factory.mktemp("simulated") / "demo.duckdb"
    told = abr("simulate", "--logs", 1500, "--contracts", 20, "--until", AS_OF, "--database", path)
    assert told.code == 0, told.err
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return command_line.clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def books(template, folder):
    """Return the path of a database of the test's own, with the books in it."""
    return Path(shutil.copy(template, folder / "abr.duckdb"))


def is_halt(ended, *words):
    """Tell whether the command halted: exit code, headline, what and where on one line, what to do on the next."""
    headline, what, remedy, *more = ended.err.splitlines()[-3:]
    assert ended.code == 3, ended
    assert headline == "CRITICAL ERROR (HALT)", ended.err
    assert all(str(word) in what for word in words), (what, words)
    assert remedy, ended.err
    assert not more
    assert "Traceback" not in ended.err
    return True


def is_refusal(ended, code, *words):
    """Tell whether the command was refused: exit code, and one last line `abr: what; what to do`."""
    line = ended.err.splitlines()[-1]
    assert ended.code == code, ended
    assert line.startswith("abr: "), ended.err
    assert "; " in line, line
    assert all(str(word) in line for word in words), (line, words)
    assert "Traceback" not in ended.err
    return True


@contextlib.contextmanager
def unchanged(path, *, halts=0):
    """Demand that no row of the database changes, other than so many halted runs that are written down."""
    before, runs_before = command_line.without_runs(path), command_line.query(path, "from audit.run order by run_id")
    yield
    assert command_line.without_runs(path) == before
    runs = command_line.query(path, "from audit.run order by run_id")
    assert runs[: len(runs_before)] == runs_before
    added = command_line.query(path, "select status, error from report.run_history order by run_id")[len(runs_before) :]
    assert [status for status, _ in added] == ["halted"] * halts
    assert all(error for _, error in added)


def halted_error(path):
    return command_line.query(path, "select error from report.run_history order by run_id desc limit 1")[0][0]


# ---- the inbox ------------------------------------------------------------------------------------------------------


def test_a_missing_inbox_halts_and_is_recorded(books):
    with unchanged(books, halts=1):
        ended = abr("monitor", "--source", "inbox", "--cycles", 1)
    assert is_halt(ended, "abr.duckdb.inbox", "No such file or directory")
    assert ended.err.splitlines()[-3] == "CRITICAL ERROR (HALT)"
    assert "abr.duckdb.inbox" in halted_error(books)
    assert "halted" in abr("history").out


def test_an_inbox_that_is_a_file_halts(books, folder):
    (folder / "box").write_text("no folder")
    with unchanged(books, halts=1):
        assert is_halt(abr("monitor", "--source", "inbox", "--inbox", "box", "--cycles", 1), "box", "Not a directory")


def test_an_inbox_that_may_not_be_read_halts(books, folder, monkeypatch):
    (folder / "box").mkdir()

    def refused(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refused)
    with unchanged(books, halts=1):
        ended = abr("monitor", "--source", "inbox", "--inbox", "box", "--cycles", 1)
    assert is_halt(ended, "box", "Permission denied")


def test_an_inbox_that_somebody_names_is_never_made(books, folder, monkeypatch):
    with unchanged(books, halts=1):
        assert is_halt(abr("monitor", "--inbox", "mistyped", "--cycles", 1), "mistyped", "No such file")
    monkeypatch.setenv("ABR_INBOX", str(folder / "not-mounted/in"))
    with unchanged(books, halts=1):
        assert is_halt(abr("monitor", "--cycles", 1), "not-mounted", "No such file")
    assert not list(folder.glob("[mn]*"))


@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "removed"])
def test_a_database_that_is_replaced_or_removed_while_the_monitor_runs_halts_before_anything_is_lost(
    books, folder, is_replaced
):
    backup = Path(shutil.copy(books, folder / "backup"))
    (folder / "box").mkdir()
    process = command_line.started("monitor", "--source", "inbox", "--inbox", "box", "--interval", 0.3)
    command_line.lines_of(process.stdout, "run 2")
    if is_replaced:
        backup.replace(books)
    else:
        books.unlink()
    given = command_line.write_books(folder / "given", {"time_logs": [{**BOOKS["time_logs"][0], "time_log_id": "L-9"}]})
    (given / "time_logs.csv").rename(folder / "box/time_logs.csv")
    ended = command_line.ended(process)
    assert is_halt(ended, str(books.name), "replaced" if is_replaced else "removed")
    assert (folder / "box/time_logs.csv").exists()
    assert "time_logs.csv loaded" not in ended.err
    if is_replaced:
        assert command_line.query(books, "select count(*) from source.time_logs") == [(len(BOOKS["time_logs"]),)]


def test_an_inbox_that_is_deleted_while_the_monitor_runs_halts(books, folder):
    (folder / "box").mkdir()
    process = command_line.started("monitor", "--source", "inbox", "--inbox", "box", "--interval", 0.1)
    command_line.lines_of(process.stdout, "run 2")
    (folder / "box").rmdir()
    ended = command_line.ended(process)
    assert is_halt(ended, "box", "No such file or directory")
    assert "box" in halted_error(books)
    assert abr("verify").code == 0


# ---- files ----------------------------------------------------------------------------------------------------------

BAD_FILES = {
    "cut in a quoted field": (b'project_id,contract_id\nP-8,C-1\n"P-9,C-1\n', ["projects.csv", "line 3", "quote"]),
    "cut in a row": (b"project_id,contract_id\nP-8,C-1\nP-9\n", ["projects.csv", "line 3", "1 cell"]),
    "not UTF-8": (b"project_id,contract_id\nP-8,C-1\nK\xf6ln,C-1\n", ["projects.csv", "line 3", "UTF-8"]),
    "UTF-16": ("project_id,contract_id\nP-8,C-1\n".encode("utf-16"), ["projects.csv", "UTF-8"]),
    "no header": (b"P-8,C-1\nP-9,C-1\n", ["projects.csv", "header", "P-8"]),
    "empty": (b"", ["projects.csv", "empty"]),
    "lacks a required column": (b"project_id,name\nP-8,Launch\n", ["projects.csv", "contract_id"]),
    "two columns of one name": (b"project_id,contract_id,project_id\nP-8,C-1,P-8\n", ["projects.csv", "project_id"]),
}


@pytest.mark.parametrize(("content", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_read_whole_halts_and_nothing_of_it_is_loaded(books, folder, content, words):
    (folder / "projects.csv").write_bytes(content)
    with unchanged(books):
        ended = abr("load", "projects.csv")
    assert is_halt(ended, *words)
    assert ended.out == ""


def test_nothing_is_loaded_of_the_good_files_beside_a_bad_one(books, folder):
    more = command_line.write_books(folder / "more", {"time_logs": [{**BOOKS["time_logs"][0], "time_log_id": "L-9"}]})
    (more / "projects.csv").write_bytes(b'project_id,contract_id\n"P-9,C-1\n')
    with unchanged(books):
        assert is_halt(abr("load", more), "projects.csv", "line 2")


def test_a_folder_without_data_sets_halts(books, folder):
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.csv").write_text("a,b\n")
    with unchanged(books):
        assert is_halt(abr("load", "empty"), "empty", "holds no data set")


def test_a_path_that_does_not_exist_is_a_mistake_of_use(books):
    with unchanged(books):
        assert is_refusal(abr("load", "nowhere.csv"), 2, "nowhere.csv", "does not exist")


def test_a_folder_in_the_place_of_a_file_halts(books, folder):
    (folder / "time_logs.csv").mkdir()
    (folder / "given").mkdir()
    (folder / "time_logs.csv").rename(folder / "given" / "time_logs.csv")
    with unchanged(books):
        assert is_halt(abr("load", "given"), "time_logs.csv", "is a folder")


def test_a_pipe_in_the_place_of_a_file_halts_instead_of_waiting(books, folder):
    os.mkfifo(folder / "time_logs.csv")
    with unchanged(books):
        assert is_halt(abr("load", "time_logs.csv"), "time_logs.csv", "not a regular file")


def test_a_file_that_vanishes_after_its_folder_was_listed_halts(books, folder, monkeypatch):
    given = command_line.write_books(folder / "given", {"rates": BOOKS["rates"], "projects": BOOKS["projects"]})
    listed = formats._files

    def listing(paths, **options):
        files = listed(paths, **options)
        (given / "projects.csv").unlink()
        return files

    monkeypatch.setattr(formats, "_files", listing)
    with unchanged(books):
        assert is_halt(abr("load", given), "projects.csv", "vanished")


def test_a_file_that_vanishes_after_its_header_was_read_halts(books, folder, monkeypatch):
    given = command_line.write_books(folder / "given", {"rates": BOOKS["rates"]})
    write = csv_files.write

    def vanishing(connection, table, wanted):
        table.path.unlink()
        return write(connection, table, wanted)

    monkeypatch.setattr(csv_files, "write", vanishing)
    with unchanged(books):
        assert is_halt(abr("load", given), "rates.csv", "vanished")


def test_a_file_that_may_not_be_read_halts(books, folder, monkeypatch):
    given = command_line.write_books(folder / "given", {"rates": BOOKS["rates"]})
    refuse_to_open(monkeypatch, given / "rates.csv", PermissionError(13, "Permission denied"))
    with unchanged(books):
        assert is_halt(abr("load", given), "rates.csv", "permission denied")


def refuse_to_open(monkeypatch, path, error):
    """Let opening this path fail; a mode of 0000 would not stop a test that runs as root."""
    opened = Path.open

    def guarded(self, *arguments, **options):
        if self.resolve() == path.resolve():
            raise error
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)


# ---- real and simulated data ---------------------------------------------------------------------------------------


def test_real_data_do_not_go_into_a_simulated_database(simulated, folder):
    given = command_line.write_books(folder / "given")
    with unchanged(simulated):
        assert is_refusal(abr("load", given, "--database", simulated), 2, simulated, "simulated")
        assert is_refusal(abr("monitor", "--source", "inbox", "--database", simulated), 2, simulated, "simulated")


def test_books_from_a_source_that_is_called_simulator_are_no_simulated_data(folder):
    given = command_line.write_books(folder / "given")
    path = folder / "own.duckdb"
    assert abr("load", given, "--source", "simulator", "--database", path).code == 0
    assert abr("load", given, "--source", "simulator", "--database", path).code == 0
    assert is_refusal(abr("monitor", "--source", "simulator", "--database", path), 2, path, "real data")
    assert abr("monitor", "--cycles", 1, "--database", path).code == 0


def test_simulated_data_do_not_go_into_a_database_with_data(books, simulated):
    with unchanged(books):
        assert is_refusal(abr("simulate", "--database", books), 2, books, "holds data")
        assert is_refusal(abr("monitor", "--source", "simulator", "--database", books), 2, books, "real data")
    with unchanged(simulated):
        assert is_refusal(abr("simulate", "--database", simulated), 2, simulated, "holds data")


# ---- the database file ----------------------------------------------------------------------------------------------


def damage_text(path):
    path.write_text("this is a letter to the bank\n" * 1000)


def damage_empty(path):
    path.write_bytes(b"")


def damage_cut(size):
    def damage(path):
        os.truncate(path, path.stat().st_size // 2 if size is None else size)

    return damage


@pytest.mark.parametrize("command", [["report"], ["load", "given"]], ids=str)
@pytest.mark.parametrize(
    "damage",
    [damage_text, damage_empty, damage_cut(None), damage_cut(4096), damage_cut(12_288), damage_cut(100)],
    ids=["text", "empty", "half", "4 KB", "12 KB", "100 B"],
)
def test_a_damaged_database_halts_and_is_left_alone(books, folder, damage, command):
    command_line.write_books(folder / "given")
    damage(books)
    before = books.read_bytes()
    assert is_halt(abr(*command), "abr.duckdb")
    assert books.read_bytes() == before


def test_a_database_with_any_flipped_byte_halts_or_works(template, folder):
    whole = template.read_bytes()
    chance = random.Random(2026)
    for number in range(20):
        damaged = bytearray(whole)
        # The first blocks hold the headers and, at the end, the catalog: what matters most.
        place = chance.randrange(3 * 4096) if number % 2 else chance.randrange(len(whole))
        damaged[place] ^= 1 << chance.randrange(8)
        path = folder / f"{number}.duckdb"
        path.write_bytes(damaged)
        ended = abr("report", "--database", path)
        assert ended.code in (0, 3), (place, ended)
        if ended.code:
            assert is_halt(ended, path.name)
        path.unlink()


def test_a_database_of_another_program_is_refused(folder):
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("create table t as select 1 as a")
    before = (folder / "other.duckdb").read_bytes()
    assert is_refusal(abr("run", "--database", "other.duckdb"), 2, "other.duckdb", "not one of ABR's")
    assert (folder / "other.duckdb").read_bytes() == before


def test_there_must_be_a_database_to_report_from_and_none_is_made(folder):
    for command in (["report"], ["findings"], ["quarantine"], ["history"], ["verify"], ["explain", "C-1"]):
        assert is_refusal(abr(*command), 2, "abr.duckdb", "no database")
    assert list(folder.iterdir()) == []


def test_a_folder_or_a_missing_folder_is_no_place_for_a_database(folder):
    assert is_refusal(abr("run", "--database", folder), 2, folder.name, "folder")
    assert is_refusal(abr("run", "--database", "nowhere/abr.duckdb"), 2, "nowhere", "does not exist")
    assert is_refusal(abr("run", "--database", "sqlite:///abr.db"), 2, "sqlite:///abr.db")


def test_a_database_that_may_not_be_written_halts(books, monkeypatch):
    refuse_to_open(monkeypatch, books, PermissionError(13, "Permission denied"))
    with unchanged(books):
        assert is_halt(abr("report"), "abr.duckdb", "Permission denied")
        assert is_halt(abr("run", "--as-of", AS_OF), "abr.duckdb", "Permission denied")


@pytest.mark.skipif(os.geteuid() == 0, reason="a file's mode does not bind root; the two tests around this one do")
def test_a_database_of_mode_0444_halts(books):
    books.chmod(0o444)
    with unchanged(books):
        assert is_halt(abr("run", "--as-of", AS_OF), "abr.duckdb", "Permission denied")


@contextlib.contextmanager
def mounted(folder, size):
    """Mount a disk of that size on a new folder; skip where that is not permitted."""
    disk = folder / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no small or read-only disk: mounting one needs root and the right to mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_database_on_a_read_only_disk_halts(template, folder):
    with mounted(folder, "64m") as disk:
        path = Path(shutil.copy(template, disk / "abr.duckdb"))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with unchanged(path):
            for command in (["report"], ["run"], ["load", command_line.write_books(folder / "given")]):
                assert is_halt(abr(*command, "--database", path), "abr.duckdb", "Read-only file system")
        assert is_halt(abr("run", "--database", disk / "new.duckdb"), "new.duckdb", "Read-only file system")


def test_a_full_disk_halts_and_the_database_keeps_what_it_had(template, folder):
    given = {**BOOKS, "time_logs": [{**BOOKS["time_logs"][0], "time_log_id": f"L-{n}"} for n in range(20_000)]}
    command_line.write_books(folder / "given", given)
    with mounted(folder, "24m") as disk:
        path = Path(shutil.copy(template, disk / "abr.duckdb"))
        fill(disk / "filler")
        with unchanged(path):
            assert is_halt(abr("load", "given", "--database", path), "no space left", "abr.duckdb")
            assert is_halt(abr("run", "--threshold", 7, "--database", path), "no space left", "abr.duckdb")
            ended = abr("monitor", "--source", "inbox", "--inbox", folder, "--cycles", 1, "--database", path)
            assert is_halt(ended, "no space left", "abr.duckdb")
        assert abr("report", "--database", path).code == 0  # what can be read still can
        assert is_halt(abr("run", "--database", disk / "new.duckdb"), "no space left", "new.duckdb")
        (disk / "filler").unlink()
        assert abr("load", "given", "--database", path).code == 0
        assert abr("run", "--threshold", 7, "--database", path).code == 0
        assert abr("verify", "--database", path).code == 0
        # The file that could not be made is not in the way either.
        assert is_halt(abr("run", "--database", disk / "new.duckdb"), "failed feed")


def fill(path):
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


# ---- the schema -----------------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused(books):
    with duckdb.connect(str(books)) as connection:
        connection.execute("update alembic_version set version_num = 'feedc0ffee00'")
    with unchanged(books):
        for command in (["run"], ["report"], ["db", "upgrade"], ["load", command_line.write_books(Path("given"))]):
            assert is_refusal(abr(*command), 5, "abr.duckdb", "newer", "update the program")


def test_an_older_schema_is_refused_with_the_command_that_helps(books, monkeypatch):
    monkeypatch.setattr(database, "head", lambda: "feedc0ffee00")
    with unchanged(books):
        for command in (["run"], ["report"], ["verify"]):
            assert is_refusal(abr(*command), 5, "abr.duckdb", "older", "abr db upgrade")


def test_amounts_ordinary_in_some_currencies_halt_nothing_and_a_sum_nobody_can_store_halts_cleanly(folder):
    contract = {"contract_id": "C-1", "client": "Acme", "currency": "IDR", "starts_on": "2026-01-01"}
    terms = {"cap_amount": "10000000000", "threshold_amount": "999999999999.99"}
    invoice = {"invoice_id": "I-1", "contract_id": "C-1", "currency": "IDR", "issued_on": "2026-02-28"}
    line = {"invoice_id": "I-1", "kind": "other", "net_amount": "-999999999999.99"}
    large = [line | {"line_no": str(number)} for number in range(101)]
    for count, code in ((1, 0), (100, 0), (101, 3)):
        books = {name: BOOKS[name][:1] for name in ("projects", "rates", "time_logs")}
        books |= {"contracts": [contract | terms], "invoices": [invoice | {"status": "issued"}]}
        given = command_line.write_books(folder / f"given-{count}", books | {"invoice_lines": large[:count]})
        assert abr("load", given).code == 0
        ended = abr("run", "--as-of", AS_OF)
        assert ended.code == code, ended
    assert is_halt(ended, "larger than can be stored")
    told = command_line.query("abr.duckdb", "select status, count(*) from report.run_history group by all order by 1")
    assert told == [("halted", 1), ("ok", 2)]


def test_logs_without_a_day_that_come_alone_are_set_aside(books, folder):
    log = BOOKS["time_logs"][0]
    for number, day in enumerate(("31.03.2026", "")):
        alone = {"time_logs": [log | {"time_log_id": f"N-{number}", "worked_on": day}]}
        assert abr("load", command_line.write_books(folder / f"more-{number}", alone)).code == 0
        assert abr("run", "--as-of", AS_OF).code == 0
    reasons = "select key, reasons from report.quarantine where key like 'N-%' order by key"
    assert command_line.query(books, reasons) == [("N-0", "unparseable_value"), ("N-1", "missing_date")]
    assert abr("verify").code == 0


@pytest.mark.parametrize("grace_days", ["-2147483649", "-999999999999999", "999999999999999"])
def test_days_of_grace_beyond_every_calendar_halt_nothing(books, folder, grace_days):
    contract = BOOKS["contracts"][0] | {"grace_days": grace_days}
    assert abr("load", command_line.write_books(folder / "more", {"contracts": [contract]})).code == 0
    assert abr("run", "--as-of", AS_OF).code == 0


# ---- feeds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datasets", "lacks"),
    [([], "contracts"), (["contracts", "projects"], "time logs"), (["time_logs"], "contracts")],
    ids=str,
)
def test_a_run_without_contracts_or_time_logs_is_a_failed_feed(folder, datasets, lacks):
    given = command_line.write_books(folder / "given", {name: BOOKS[name] for name in datasets})
    if datasets:
        assert abr("load", given).code == 0
    ended = abr("run", "--as-of", AS_OF)
    assert is_halt(ended, "failed feed", lacks)
    assert ("there was no database abr.duckdb" in ended.err) == (not datasets)  # perhaps its name was mistyped
    (status, error) = command_line.query("abr.duckdb", "select status, error from report.run_history")[0]
    assert status == "halted"
    assert lacks in error


@pytest.mark.parametrize("dataset", BOOKS)
def test_a_data_set_that_had_rows_and_is_empty_in_a_complete_load_is_a_failed_feed(books, folder, dataset):
    given = command_line.write_books(folder / "given", {**BOOKS, dataset: []})
    with unchanged(books):
        assert is_halt(abr("load", given, "--complete"), dataset, "empty")


def test_an_export_with_a_header_and_no_rows_is_a_failed_feed(books, folder):
    (folder / "toggl.csv").write_text(TOGGL_HEADER + "\n", "utf-8-sig")
    with unchanged(books):
        assert is_halt(abr("load", "toggl.csv"), "toggl.csv", "no rows", "feed")


def test_a_simulator_that_fails_shows_the_halt_and_records_it(simulated, folder):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    ended = abr("monitor", "--source", "simulator", "--fail-at", 2, "--interval", 0.1, "--database", path)
    assert is_halt(ended, "failed feed", "cycle 2")
    assert "run 1" in ended.out
    runs = command_line.query(path, "select run_id, status, error from report.run_history order by run_id")
    assert [run[:2] for run in runs] == [(1, "ok"), (2, "halted")]
    assert "cycle 2" in runs[1][2]
    assert abr("verify", "--database", path).code == 0


# ---- strict, and dates ----------------------------------------------------------------------------------------------


def test_strict_halts_on_a_contract_that_cannot_be_trusted(books, folder):
    bad = {**BOOKS["contracts"][1], "discount_percent": "101"}
    assert abr("load", command_line.write_books(folder / "given", {"contracts": [bad]})).code == 0
    with unchanged(books, halts=1):
        ended = abr("run", "--strict", "--as-of", AS_OF)
    assert is_halt(ended, "C-2", "discount_over_100")
    assert ended.out == ""
    assert "C-2" in halted_error(books)
    assert abr("run", "--as-of", AS_OF).code == 0


def test_strict_halts_on_a_fixed_price_that_is_overrun(books):
    with unchanged(books, halts=1):
        ended = abr("run", "--strict", "--as-of", AS_OF)
    assert is_halt(ended, "C-3", "L-4")
    ended = abr("run", "--as-of", AS_OF)
    assert ended.code == 0
    assert "PROFITABILITY WARNING" in ended.out
    with unchanged(books, halts=1):
        assert is_halt(abr("monitor", "--strict", "--source", "inbox", "--inbox", ".", "--cycles", 1), "C-3")


def test_readers_of_the_published_copy_see_that_a_run_halted(books):
    assert abr("monitor", "--source", "inbox", "--inbox", ".", "--cycles", 1).code == 0
    assert is_halt(abr("run", "--strict"), "C-3", "L-4")
    copy = publishing.file_of(books)
    states = command_line.query(copy, "select status from report.run_history order by run_id")
    assert states == command_line.query(books, "select status from audit.run order by run_id")
    assert states[-1] == ("halted",)


def test_strict_passes_where_nothing_is_wrong(books, folder):
    fine = [{**BOOKS["contracts"][2], "cap_minutes": "120"}]
    assert abr("load", command_line.write_books(folder / "given", {"contracts": fine})).code == 0
    assert abr("run", "--strict", "--as-of", AS_OF).code == 0


def test_a_run_does_not_go_back_behind_the_last_one(books):
    with unchanged(books):
        assert is_refusal(abr("run", "--as-of", "2026-03-30"), 2, "2026-03-30", AS_OF)


# ---- two processes --------------------------------------------------------------------------------------------------


def test_a_second_process_is_told_who_holds_the_database_and_the_monitor_goes_on(books, folder):
    (folder / "box").mkdir()
    monitor = command_line.started("monitor", "--source", "inbox", "--inbox", "box", "--interval", 0.2)
    command_line.lines_of(monitor.stdout, "run 2")
    for command in (
        ["run"],
        ["simulate"],
        ["db", "upgrade"],
        ["monitor"],
    ):
        assert is_refusal(abr(*command, "--database", books), 4, "abr.duckdb", f"process {monitor.pid}")
    command_line.lines_of(monitor.stdout, "run 4")
    monitor.send_signal(signal.SIGTERM)
    ended = command_line.ended(monitor)
    assert (ended.code, "HALT" in ended.err) == (0, False), ended
    assert abr("verify").code == 0


# ---- signals --------------------------------------------------------------------------------------------------------

# A query that would take years, at the end of a function that a transaction calls.
ENDLESS = """
import functools, sys
from abr import monitor, {module} as module
real = module.{function}
def endless(connection, *arguments, **options):
    real(connection, *arguments, **options)
    print("in the query", file=sys.stderr, flush=True)
    connection.exec_driver_sql("select count(*) from range(1000000000) as a, range(1000000000) as b "
                               "where hash(a.range, b.range) = 1")
module.{function} = endless
monitor.watch = functools.partial(monitor.watch, grace_seconds={grace_seconds})
monitor.Signals.__init__.__kwdefaults__["grace_seconds"] = {grace_seconds}
"""


def endless(grace_seconds, module="reconciliation_engine", function="fill_work_tables"):
    """Return the hook that lets that function never return, and the first signal leave it so much time."""
    return ENDLESS.format(module=module, function=function, grace_seconds=grace_seconds)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_one_signal_in_a_long_query_rolls_the_cycle_back_when_its_time_is_up(simulated, folder, number):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    process = command_line.started("monitor", "--source", "simulator", "--database", path, hook=endless(0.5))
    command_line.lines_of(process.stderr, "in the query")
    process.send_signal(number)
    is_stopped_without_a_trace(process, path)


def test_a_second_signal_rolls_back_at_once(simulated, folder):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    process = command_line.started("monitor", "--source", "simulator", "--database", path, hook=endless(3600))
    command_line.lines_of(process.stderr, "in the query")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # it may finish what it does
    process.send_signal(signal.SIGTERM)
    is_stopped_without_a_trace(process, path)


def test_a_signal_rolls_a_single_run_back_as_well(simulated, folder):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    process = command_line.started("run", "--exit-code", "--database", path, hook=endless(0.2))
    command_line.lines_of(process.stderr, "in the query")
    process.send_signal(signal.SIGTERM)
    is_stopped_without_a_trace(process, path)


def is_stopped_without_a_trace(process, path):
    ended = command_line.ended(process)
    assert ended.code == 0, ended
    assert ended.out == ""
    assert ended.err.count("\n") == 1, ended.err
    assert "rolled back" in ended.err
    assert command_line.query(path, "select count(*) from audit.run") == [(0,)]
    assert command_line.query(path, "select count(*) from audit.finding") == [(0,)]
    goes_on(path)


def goes_on(path):
    """Demand that the database opens, the next run completes, and everything stored is what it should be."""
    ended = abr("run", "--database", path)
    assert ended.code == 0, ended.err
    verified = abr("verify", "--database", path)
    assert verified.code == 0, verified.out


def test_a_signal_while_a_load_reads_loads_nothing(books, folder):
    given = command_line.write_books(folder / "given", {"time_logs": [{**BOOKS["time_logs"][0], "time_log_id": "L-9"}]})
    with unchanged(books):
        process = command_line.started("load", given, hook=endless(0.2, "loading", "_mark_conflicts"))
        command_line.lines_of(process.stderr, "in the query")
        process.send_signal(signal.SIGTERM)
        ended = command_line.ended(process)
        assert (ended.code, ended.out) == (1, "")
        assert "nothing was loaded" in ended.err
    assert abr("load", given).code == 0


@pytest.mark.parametrize(
    ("signals", "delay_seconds"),
    [
        ([signal.SIGTERM], 0.4),
        ([signal.SIGKILL], 0.1),
        pytest.param([signal.SIGTERM], 0.0, marks=pytest.mark.slow),
        pytest.param([signal.SIGTERM] * 2, 0.2, marks=pytest.mark.slow),
        pytest.param([signal.SIGKILL], 0.6, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_real_first_run_may_be_signalled_or_killed_at_any_moment(simulated, folder, signals, delay_seconds):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    process = command_line.started("monitor", "--source", "simulator", "--interval", 60, "--database", path)
    wal = path.with_name("demo.duckdb.wal")
    while not (wal.exists() and wal.stat().st_size):  # the first logs have arrived, so the signals are watched
        assert process.poll() is None, command_line.ended(process)
        time.sleep(0.01)
    time.sleep(delay_seconds)
    for number in signals:
        process.send_signal(number)
    ended = command_line.ended(process)
    assert ended.code == (-signal.SIGKILL if signal.SIGKILL in signals else 0), ended
    assert "Traceback" not in ended.err
    runs = command_line.query(path, "select status from audit.run")
    assert runs in ([], [("ok",)])
    versions = command_line.query(path, "select count(*) from audit.position")[0][0]
    assert bool(versions) == bool(runs)
    goes_on(path)


KILLED = """
import os, signal, sys
from abr import {module} as module
real = module.{function}
def killed(*arguments, **options):
    result = real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
    return result
module.{function} = killed
"""


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("reconciliation_engine", "fill_work_tables"),
        ("reconciliation_engine", "_write_changes"),
        ("reconciliation_engine", "_insert_run"),
    ],
    ids=str,
)
def test_a_run_that_is_killed_leaves_nothing_half_written(books, folder, module, function):
    more = [{**BOOKS["time_logs"][0], "time_log_id": "L-9"}]
    assert abr("load", command_line.write_books(folder / "more", {"time_logs": more})).code == 0
    with unchanged(books):
        process = command_line.started("run", hook=KILLED.format(module=module, function=function))
        assert command_line.ended(process).code == -signal.SIGKILL
    goes_on(books)


@pytest.mark.parametrize("function", ["_load_dataset", "_mark_conflicts"])
def test_a_load_that_is_killed_leaves_nothing_half_written(books, folder, function):
    given = command_line.write_books(folder / "given", {"time_logs": [{**BOOKS["time_logs"][0], "time_log_id": "L-9"}]})
    with unchanged(books):
        process = command_line.started("load", given, hook=KILLED.format(module="loading", function=function))
        assert command_line.ended(process).code == -signal.SIGKILL
    assert abr("load", given).code == 0
    goes_on(books)


@pytest.mark.parametrize(
    "function", ["_migrate", *(pytest.param(name, marks=pytest.mark.slow) for name in ("_open", "_bring_up_to_date"))]
)
def test_a_first_start_that_is_killed_does_not_stand_in_the_way_of_the_next(folder, function):
    given = command_line.write_books(folder / "given")
    process = command_line.started("load", given, hook=KILLED.format(module="database", function=function))
    assert command_line.ended(process).code == -signal.SIGKILL
    assert abr("load", given).code == 0
    goes_on(folder / "abr.duckdb")


TIDIES_ALWAYS = """
import os
from abr import compacting, database, publishing
database._LONG_LOG_BYTES = 0
publishing._MERGED_RUNS = 1
seen = {"compacting": 0, "publishing": 0}
"""
KILLED_AFTER = """
def counted(module, name):
    tidy = module.tidy
    def tidies(*given, **named):
        done = tidy(*given, **named)
        seen[name] += done
        if seen[name] == {times} and name == "{module}":
            os.kill(os.getpid(), 9)
        return done and name == "publishing"  # so that both are done after every cycle
    module.tidy = tidies
counted(compacting, "compacting")
counted(publishing, "publishing")
"""


@pytest.mark.parametrize("module", ["compacting", pytest.param("publishing", marks=pytest.mark.slow)])
def test_a_monitor_that_is_killed_while_it_tidies_leaves_nothing_half_written(simulated, folder, module):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    hook = TIDIES_ALWAYS + KILLED_AFTER.format(module=module, times=3)
    words = ("monitor", "--source", "simulator", "--interval", 1, "--database", path)
    ended = command_line.ended(command_line.started(*words, hook=hook))
    assert ended.code == -signal.SIGKILL, ended
    assert abr("verify", "--database", path).code == 0
    assert abr("monitor", "--source", "simulator", "--cycles", 1, "--database", path).code == 0
    with publishing.reading(path) as (copy, publication):
        assert copy.exec_driver_sql("select max(run_id) from report.run_history").scalar_one() == publication.run_id


# ---- a halt of ABR's own --------------------------------------------------------------------------------------------


def test_a_halt_that_cannot_be_written_down_is_still_shown(books, monkeypatch):
    def broken(connection, run):
        raise DBAPIError("insert", {}, duckdb.IOException("the disk is gone"))

    monkeypatch.setattr(reconciliation_engine, "_insert_run", broken)
    with unchanged(books):
        assert is_halt(abr("run", "--strict", "--as-of", AS_OF), "C-3")
