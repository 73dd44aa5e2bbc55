"""The inbox: settled files only, each taken whole and once, moved where a person finds it again."""

import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from abr import inbox
from abr.exceptions import DataIntegrityError, UsageError
from tests import command_line
from tests.command_line import AS_OF, BOOKS, abr
from tests.test_halts import fill, mounted

LOG = {**BOOKS["time_logs"][0], "time_log_id": "L-9"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return command_line.clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def box(folder):
    (folder / "box").mkdir()
    return inbox.Inbox(folder / "box")


def drop(box, name, content="x", *, age_seconds=0):
    path = box.folder / name
    path.write_text(content)
    moment = 1_700_000_000 - age_seconds
    os.utime(path, (moment, moment))
    return path


def taken(box, load=lambda path: None):
    return [(path.name, error and error.message) for path, error in inbox.take(box, load)]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- which files are taken ------------------------------------------------------------------------------------------


def test_a_file_is_taken_once_it_has_not_changed_between_two_looks(box):
    drop(box, "a.csv", "half", age_seconds=9)
    assert taken(box) == []
    drop(box, "a.csv", "half and half", age_seconds=9)  # grown
    assert taken(box) == []
    drop(box, "a.csv", "half and HALF", age_seconds=5)  # of one size, but written again
    assert taken(box) == []
    assert names(box.folder) == ["a.csv"]
    assert taken(box) == [("a.csv", None)]
    assert names(box.folder) == ["done/a.csv"]
    assert taken(box) == []


def refuse_leases(*_):
    raise OSError(errno.EINVAL, "no leases here")


@pytest.mark.parametrize(
    ("control", "answers"),
    [(lambda *_: 0, [False, True, True, True]), (refuse_leases, [False, False, False, True])],
    ids=["closed for certain", "the system does not tell"],
)
def test_a_file_must_have_looked_the_same_for_as_long_as_the_inbox_says_unless_it_is_closed_for_certain(
    box, monkeypatch, control, answers
):
    monkeypatch.setattr(inbox.fcntl, "fcntl", control)
    box.quiet_seconds = 0.75
    now = 100.0

    def waiting(seconds):
        nonlocal now
        now += seconds
        return inbox.is_waiting(box, clock=lambda: now)

    drop(box, "a.csv", "half")
    assert [waiting(0.05) for _ in range(2)] == [False, False]
    drop(box, "a.csv", "half and half")
    assert [waiting(0.25) for _ in range(4)] == answers
    assert [path.name for path, _ in inbox.take(box, lambda path: None, clock=lambda: now)] == ["a.csv"]
    assert not waiting(5)


def test_a_file_that_somebody_still_has_open_for_writing_is_left_alone_however_slowly_it_grows(box):
    path = box.folder / "a.csv"
    writer = subprocess.Popen(
        [sys.executable, "-c", f"f = open({str(path)!r}, 'w'); f.write('half'); f.flush(); print(); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout.readline()
    assert [taken(box) for _ in range(5)] == [[]] * 5
    assert not inbox.is_waiting(box)
    with path.open() as reader:
        writer.communicate("\n", timeout=30)
        assert taken(box) == [("a.csv", None)]  # whoever only reads is not in the way
        assert reader.read() == "half"


def test_a_file_that_changes_while_it_is_loaded_stays_and_is_taken_again(box):
    drop(box, "a.csv", "half")
    inbox.look_into(box)
    assert taken(box, lambda path: path.write_text("half and half")) == []

    def refuse(path):
        path.write_text("all three halves")
        raise UsageError("cut", "send it whole")

    inbox.look_into(box)
    assert taken(box, refuse) == []
    assert names(box.folder) == ["a.csv"]
    inbox.look_into(box)
    assert taken(box) == [("a.csv", None)]
    assert (box.folder / "done/a.csv").read_text() == "all three halves"


def test_files_are_taken_in_the_order_of_their_names(box):
    for name in ("c.csv", "a.JSONL", "b.parquet"):
        drop(box, name)
    inbox.look_into(box)
    assert [name for name, _ in taken(box)] == ["a.JSONL", "b.parquet", "c.csv"]


def test_what_is_no_data_file_is_left_alone(box):
    for name in ("notes.txt", "a.csv.part", ".hidden.csv", "._a.csv"):
        drop(box, name)
    (box.folder / "folder.csv").mkdir()
    os.mkfifo(box.folder / "pipe.csv")
    (box.folder / "dangling.csv").symlink_to("nowhere")
    before = sorted(box.folder.iterdir())
    assert taken(box) == taken(box) == []
    assert sorted(box.folder.iterdir()) == before


def test_a_file_that_vanishes_between_two_looks_is_forgotten(box):
    drop(box, "a.csv").with_name("b.csv").write_text("x")
    inbox.look_into(box)
    (box.folder / "a.csv").unlink()
    assert taken(box) == [("b.csv", None)]
    drop(box, "a.csv")
    assert taken(box) == []  # a new file, to be looked at twice


def test_a_file_that_vanishes_between_listing_and_looking_halts_nothing(box, monkeypatch):
    drop(box, "a.csv")
    drop(box, "b.csv")
    looked = Path.stat

    def vanishing(self, **options):
        if self.name == "a.csv":
            self.unlink(missing_ok=True)
        return looked(self, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    assert list(inbox.look_into(box)) == [box.folder / "b.csv"]


def test_a_file_that_vanishes_while_it_is_loaded_is_reported_by_whoever_loads_it(box):
    path = drop(box, "a.csv")
    inbox.look_into(box)

    def load(path):
        path.unlink()
        raise DataIntegrityError(f"{path.name}: has vanished", "load it again")

    assert taken(box, load) == [("a.csv", "a.csv: has vanished")]
    assert not path.exists()
    assert taken(box) == []


# ---- where they go --------------------------------------------------------------------------------------------------


def test_a_rejected_file_lies_beside_the_reason_and_the_next_file_is_taken(box):
    drop(box, "a.csv", "bad")
    drop(box, "b.csv", "good")
    inbox.look_into(box)

    def load(path):
        if path.read_text() == "bad":
            raise UsageError("a.csv: lacks a column", "add it")

    assert taken(box, load) == [("a.csv", "a.csv: lacks a column"), ("b.csv", None)]
    assert names(box.folder) == ["done/b.csv", "rejected/a.csv", "rejected/a.csv.error.txt"]
    assert (box.folder / "rejected/a.csv.error.txt").read_text() == "a.csv: lacks a column\nadd it\n"
    assert inbox.rejected(box) == ["a.csv"]
    (box.folder / "rejected/a.csv.error.txt").unlink()  # as where it found no room
    assert inbox.rejected(box) == ["a.csv"]
    (box.folder / "rejected/a.csv").unlink()
    assert inbox.rejected(box) == []


@pytest.mark.parametrize("name", ["r" * 251 + ".csv", "工時" * 41 + "xx.csv"])
def test_a_name_as_long_as_names_can_be_is_cut_where_more_is_added(box, name):
    def refuse(path):
        raise UsageError("no", "do")

    for _ in range(2):
        drop(box, name)
        inbox.look_into(box)
        assert taken(box, refuse) == [(name, "no")]
        drop(box, name)
        inbox.look_into(box)
        assert taken(box) == [(name, None)]
    for folder in ("done", "rejected"):
        files = [path.name for path in (box.folder / folder).iterdir() if not path.name.endswith(".error.txt")]
        assert len(files) == 2
        assert name in files
    messages = [path.read_text() for path in (box.folder / "rejected").glob("*.error.txt")]
    assert set(messages) == {"no\ndo\n"}


def test_twins_by_name_do_not_replace_one_another(box):
    def refuse(path):
        raise UsageError(f"no: {path.read_text()}", "do")

    for content in ("one", "two", "three"):
        drop(box, "a.csv", content)
        inbox.look_into(box)
        assert taken(box) == [("a.csv", None)]
        drop(box, "r.tar.csv", content)
        inbox.look_into(box)
        assert taken(box, refuse) == [("r.tar.csv", f"no: {content}")]
    done, rejected = box.folder / "done", box.folder / "rejected"
    assert [(done / name).read_text() for name in ("a.csv", "a-2.csv", "a-3.csv")] == ["one", "two", "three"]
    for name, content in {"r.tar.csv": "one", "r.tar-2.csv": "two", "r.tar-3.csv": "three"}.items():
        assert (rejected / name).read_text() == content
        assert (rejected / f"{name}.error.txt").read_text() == f"no: {content}\ndo\n"
    assert len(names(box.folder)) == 9


def test_any_other_error_leaves_the_file_where_it_is(box):
    drop(box, "a.csv")
    inbox.look_into(box)
    with pytest.raises(ZeroDivisionError):
        inbox.take(box, lambda path: 1 // 0)
    assert names(box.folder) == ["a.csv"]


def test_a_file_that_cannot_be_moved_halts(box):
    drop(box, "a.csv")
    drop(box, "done", "a file in the folder's place")
    inbox.look_into(box)
    with pytest.raises(DataIntegrityError, match=r"a\.csv cannot be moved to .*done"):
        inbox.take(box, lambda path: None)


def test_done_and_rejected_may_lie_on_another_file_system(box, folder):
    def refuse(path):
        raise UsageError("no", "do")

    with mounted(folder, "1m") as disk:
        for name in ("done", "rejected"):
            (disk / name).mkdir()
            (box.folder / name).symlink_to(disk / name)
        assert (disk / "done").stat().st_dev != box.folder.stat().st_dev
        for load in (lambda path: None, refuse):
            drop(box, "a.csv", "content")
            inbox.look_into(box)
            assert len(taken(box, load)) == 1
        assert names(disk) == ["done/a.csv", "rejected/a.csv", "rejected/a.csv.error.txt"]
        assert (disk / "done/a.csv").read_text() == (disk / "rejected/a.csv").read_text() == "content"
        assert names(box.folder) == []
        # And it may be full: the file is where it was, and nothing half beside those that were moved.
        fill(disk / "filler")
        drop(box, "b.csv", "x" * 10_000)
        inbox.look_into(box)
        with pytest.raises(DataIntegrityError, match=r"b\.csv cannot be moved to .*done: No space left on device"):
            inbox.take(box, lambda path: None)
        assert names(box.folder) == ["b.csv"]
        assert names(disk / "done") == ["a.csv"]
        assert list((disk / "done").glob(".*")) == []


def test_a_message_that_finds_no_room_rejects_the_file_all_the_same(box, monkeypatch):
    drop(box, "a.csv")
    inbox.look_into(box)

    def refuse(path):
        raise UsageError("no", "do")

    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert taken(box, refuse) == [("a.csv", "no")]
    assert names(box.folder) == ["rejected/a.csv"]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("")], ids=["missing", "a file"])
def test_no_folder_is_an_error_that_names_it(folder, make):
    make(folder / "nowhere")
    with pytest.raises(DataIntegrityError, match="nowhere") as caught:
        inbox.take(inbox.Inbox(folder / "nowhere"), lambda path: None)
    assert "nowhere" in caught.value.remedy


# ---- in the monitor -------------------------------------------------------------------------------------------------


def watched(cycles, *more):
    return abr("monitor", "--source", "inbox", "--inbox", "box", "--interval", 0.05, "--cycles", cycles, *more)


def test_files_that_wait_are_in_the_first_run(folder, box):
    command_line.write_books(box.folder)
    ended = watched(1, "--database", "abr.duckdb")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("run 1  ")
    assert "6 logs = " in ended.out
    assert ended.err.count(" loaded\n") == 6
    assert names(box.folder) == [f"done/{dataset}.csv" for dataset in sorted(BOOKS)]
    assert abr("verify").code == 0


def test_a_bad_file_is_rejected_and_the_monitor_goes_on(folder, box):
    assert abr("load", command_line.write_books(folder / "books")).code == 0
    (box.folder / "a.csv").write_text("nothing,known\n1,2\n")
    (box.folder / "projects.csv").write_bytes(b'project_id,contract_id\n"P-9,C-1\n')
    (box.folder / "K\x1b[31mln.csv").write_bytes(b"\xff\xfe")
    os.close(os.open(os.fsencode(box.folder) + b"/\xff.csv", os.O_CREAT | os.O_WRONLY))
    command_line.write_csv(box.folder / "time_logs.csv", list(LOG), [LOG])
    ended = watched(2)
    assert ended.code == 0, ended.err
    assert "projects.csv rejected: " in ended.err
    assert "INBOX  4 files rejected, see rejected/: " in ended.out
    assert "time_logs.csv loaded" in ended.err
    assert not command_line.UNSAFE.search(ended.err)
    assert "run 2" in ended.out
    assert "Traceback" not in ended.err
    assert "line 2" in (box.folder / "rejected/projects.csv.error.txt").read_text()
    assert len(list((box.folder / "rejected").iterdir())) == 8
    assert names(box.folder / "done") == ["time_logs.csv"]
    assert command_line.query("abr.duckdb", "select status from audit.run") == [("ok",), ("ok",)]
    assert abr("explain", "L-9").code == 0


def test_an_export_that_comes_empty_is_rejected_like_any_bad_file(folder, box):
    assert abr("load", command_line.write_books(folder / "books")).code == 0
    (box.folder / "export.csv").write_text("User,Project,Start date,Duration\n")
    ended = watched(1)
    assert ended.code == 0, ended.err
    assert "export.csv rejected: " in ended.err
    assert "no rows" in (box.folder / "rejected/export.csv.error.txt").read_text()


def test_a_workbook_and_a_packed_file_are_rejected_with_what_to_do(folder, box):
    assert abr("load", command_line.write_books(folder / "books")).code == 0
    with zipfile.ZipFile(box.folder / "Hours March.xlsx", "w") as workbook:
        workbook.writestr("xl/workbook.xml", "<workbook/>")
    (box.folder / "time_logs.csv.gz").write_bytes(gzip.compress(b"time_log_id\nL-1\n"))
    ended = watched(1)
    assert ended.code == 0
    assert ended.err.count("rejected") == 2
    assert names(box.folder) == [
        f"rejected/{name}{message}"
        for name in ("Hours March.xlsx", "time_logs.csv.gz")
        for message in ("", ".error.txt")
    ]
    assert "save the sheet as" in (box.folder / "rejected/Hours March.xlsx.error.txt").read_text()
    assert "unpack it first" in (box.folder / "rejected/time_logs.csv.gz.error.txt").read_text()


def test_files_are_taken_while_the_monitor_runs(folder, box):
    assert abr("load", command_line.write_books(folder / "books")).code == 0
    monitor = command_line.started("monitor", "--source", "inbox", "--inbox", "box", "--interval", 0.1)
    command_line.lines_of(monitor.stdout, "run 1")
    command_line.write_csv(folder / "time_logs.csv", list(LOG), [LOG]).rename(box.folder / "time_logs.csv")
    command_line.lines_of(monitor.stderr, "time_logs.csv loaded")
    command_line.lines_of(monitor.stdout, "7 logs = ")
    monitor.send_signal(signal.SIGTERM)
    assert command_line.ended(monitor).code == 0
    assert names(box.folder) == ["done/time_logs.csv"]


KILLED = """
import os, signal
from abr import inbox
def killed(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
inbox._move = killed
"""


def test_a_file_whose_move_was_prevented_by_a_kill_is_not_loaded_twice(folder, box):
    command_line.write_books(box.folder)
    process = command_line.started(
        "monitor", "--source", "inbox", "--inbox", "box", "--database", "abr.duckdb", hook=KILLED
    )
    assert command_line.ended(process).code == -signal.SIGKILL
    assert len(names(box.folder)) == 6  # the first of them is in the database all the same
    assert command_line.query("abr.duckdb", "select count(*) from source.contracts") == [(4,)]
    ended = watched(1, "--database", "abr.duckdb")
    assert ended.code == 0, ended.err
    assert len(names(box.folder / "done")) == 6
    for dataset, rows in BOOKS.items():
        assert command_line.query("abr.duckdb", f"select count(*) from source.{dataset}") == [(len(rows),)]
        ended_rows = f"select count(*) from source.{dataset} where ended_load_id is not null"
        assert command_line.query("abr.duckdb", ended_rows) == [(0,)]
    # The second load is on record, with nothing that it did; history knows one version of everything.
    second = command_line.query("abr.duckdb", "select counts from source.load order by load_id limit 1 offset 1")[0][0]
    assert {name: json.loads(second)[0][name] for name in ("read", "new", "superseded", "withdrawn")} == {
        "read": 4,
        "new": 0,
        "superseded": 0,
        "withdrawn": 0,
    }
    versions = "select count(*) - count(distinct (contract_id, class, about)) from audit.finding"
    assert command_line.query("abr.duckdb", versions) == [(0,)]
    assert command_line.query("abr.duckdb", "select count(*) from audit.position") == [(4,)]
    assert abr("verify").code == 0


def test_the_same_file_dropped_again_changes_nothing(folder, box):
    books = command_line.write_books(folder / "books")
    assert abr("load", books).code == 0
    assert abr("run", "--as-of", AS_OF).code == 0
    before = command_line.contents("abr.duckdb")
    for name in BOOKS:
        shutil.copy(books / f"{name}.csv", box.folder)
    assert watched(1).code == 0
    after = command_line.contents("abr.duckdb")
    for table in before:
        if table.startswith("source.") and table not in ("source.load", "source.change"):
            assert after[table] == before[table], table
