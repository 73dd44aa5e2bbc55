"""Work handed to a running monitor: the same answer as alone, done once, whoever of the two is killed or goes away."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abr import handover
from tests import command_line
from tests.command_line import AS_OF, BOOKS, abr
from tests.test_halts import fill, is_refusal, mounted

LOG = {**BOOKS["time_logs"][0], "time_log_id": "L-9"}
BOX = Path("abr.duckdb.inbox")
REQUESTS = BOX / "requests"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Return a database with the books loaded and a run of today."""
    folder = tmp_path_factory.mktemp("template")
    assert abr("load", command_line.write_books(folder / "books"), "--database", folder / "abr.duckdb").code == 0
    assert abr("run", "--database", folder / "abr.duckdb").code == 0
    return folder / "abr.duckdb"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return command_line.clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def books(template, folder):
    """Return the path of a database of the test's own, with the books in it, and its inbox beside it."""
    (folder / BOX).mkdir()
    return Path(shutil.copy(template, folder / "abr.duckdb"))


@contextlib.contextmanager
def monitored(*arguments, hook=None, **options):
    """Run a monitor of the books until the end; it must take its first cycle before anything else."""
    words = arguments or ("--source", "inbox", "--interval", 30)
    process = command_line.started("monitor", *words, hook=hook, stderr=subprocess.STDOUT, **options)
    try:
        command_line.lines_of(process.stdout, "run ")
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        out, _ = process.communicate(timeout=60)
        assert "Traceback" not in out


def with_log(folder, name="more", log_id="L-9"):
    return command_line.write_books(folder / name, {"time_logs": [{**LOG, "time_log_id": log_id}]})


def first_id(command, key, **wanted):
    """Return the id of the first row that is as wanted; only where no monitor runs."""
    rows = json.loads(abr(command, "--format", "json").out)
    return next(row[key] for row in rows if all(row[name] == value for name, value in wanted.items()))


def left():
    return sorted(path.name for path in REQUESTS.iterdir() if path.name != "monitor.lock")


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    return found


# ---- the same answer ------------------------------------------------------------------------------------------------


def told(words):
    ended = abr(*words)
    # Sizes depend on what was written before; how long a wait took is nobody's result.
    return ended.code, re.sub(r"[\d,]+ (bytes|after)", r"N \1", ended.out), ended.err


@pytest.mark.slow
def test_every_command_that_is_handed_over_says_what_it_says_alone(template, folder, monkeypatch):
    shutil.copy(template, folder / "abr.duckdb")
    finding, row = first_id("findings", "finding_id", side="leakage"), first_id("quarantine", "quarantine_id")
    why = ["--reason", "agreed", "--by", "zoe"]
    lines = [
        ["explain", "C-1"],
        ["explain", "L-1", "--format", "json"],
        ["explain", finding, "--format", "csv"],
        ["explain", "nobody"],
        ["write-off", finding, *why],
        ["write-off", finding, *why],
        ["write-off", finding, "--undo", *why, "--format", "json"],
        ["write-off", finding, *why, "--format", "csv"],
        ["write-off", "nobody", *why],
        ["quarantine", "waive", row, *why, "--format", "json"],
        ["quarantine", "waive", row, *why],
        ["verify"],
        ["verify", "--format", "json"],
        ["db", "compact"],
        ["load", "more"],
        ["load", "more", "--format", "json"],
        ["load", "more/time_logs.csv", "--format", "csv"],
        ["load", "odd"],
        ["load", "nowhere.csv"],
        ["load", "../alone-or-not/nowhere"],
        ["load", "bad"],
        ["load", "more", "--as", "toggle"],
        ["load", "more", "--covers", "2026-01-01..2026-01-31", "--source", "x"],
        ["load", "contracts", "--complete"],
    ]
    said = {}
    for place in ("alone", "beside"):
        here = folder / place
        (here / BOX).mkdir(parents=True)
        shutil.copy(template, here / "abr.duckdb")
        with_log(here)
        command_line.write_csv(here / "odd.csv", [*LOG, "mood"], [{**LOG, "time_log_id": "L-10", "mood": "good"}])
        (here / "odd").mkdir()
        (here / "odd.csv").rename(here / "odd/time_logs.csv")
        (here / "bad").mkdir()
        (here / "bad/projects.csv").write_text('project_id,contract_id\n"P-9,C-1\n')
        command_line.write_books(here / "contracts", {"contracts": BOOKS["contracts"][1:]})
        monkeypatch.chdir(here)
        # The monitor works in another folder, so whatever is relative is relative to the asker.
        words = ("--source", "inbox", "--interval", 30, "--database", here / "abr.duckdb")
        with monitored(*words, cwd="/") if place == "beside" else contextlib.nullcontext():
            said[place] = [told(line) for line in lines]
    for line, alone, beside in zip(lines, said["alone"], said["beside"], strict=True):
        assert beside == alone, line
    assert {code for code, _, _ in said["alone"]} == {0, 2, 3}
    for place in ("alone", "beside"):
        monkeypatch.chdir(folder / place)
        assert abr("run").code == 0  # alone, nobody has looked at what was loaded
        assert abr("verify").code == 0
        said[place] = {
            name: rows
            for name, rows in command_line.contents("abr.duckdb").items()
            if name.startswith("source.") and name not in ("source.load", "source.change")
        } | {
            name: command_line.query("abr.duckdb", f"select {columns} from {name} order by all")
            for name, columns in {
                "report.finding": "* exclude (opened_run_id, opened_at)",
                "report.contract_position": "* exclude run_id",
                "report.quarantine": "* exclude (opened_run_id, opened_at)",
                "report.quarantine_reason": "*",
            }.items()
        }
    assert said["beside"] == said["alone"]


def test_a_monitor_of_the_simulator_answers_too_and_takes_no_real_data(folder):
    command_line.write_books(folder / "books")
    to = ("--database", "demo.duckdb")
    size = ("--logs", 300, "--contracts", 12, "--until", AS_OF)
    assert abr("simulate", *size, *to).code == 0
    assert abr("run", "--as-of", AS_OF, *to).code == 0
    found = command_line.query(
        "demo.duckdb", "select finding_id, contract_id from report.finding where side = 'leakage' order by amount desc"
    )
    why = ("--reason", "agreed", "--by", "zoe")
    with monitored("--source", "simulator", "--interval", 30, "--until", AS_OF, *to):
        assert is_refusal(abr("load", "books", *to), 2, "demo.duckdb", "simulated")
        assert found[0][1] in abr("explain", found[0][1], *to).out
        assert abr("write-off", found[0][0], *why, *to).out.startswith("written off")
        assert is_refusal(abr("quarantine", "waive", "nobody", *why, *to), 2, "nobody")
        assert abr("verify", *to).code == 0
        assert "after" in abr("db", "compact", *to).out


def test_a_decision_is_answered_once_the_cycle_has_acted_on_it(books):
    finding = first_id("findings", "finding_id", side="leakage", contract_id="C-1")
    with monitored() as monitor:
        assert abr("write-off", finding, "--reason", "agreed", "--by", "zoe").code == 0
        monitor.kill()
        monitor.wait()
    assert command_line.query(books, f"select side from report.finding where finding_id = '{finding}'") == [
        ("written_off",)
    ]


def test_an_idle_monitor_wakes_at_once(books, folder):
    more = with_log(folder)
    with monitored("--source", "inbox", "--interval", 600):
        started = time.monotonic()
        assert abr("load", more).code == 0
        assert time.monotonic() - started < 5  # it would have been ten minutes
        shutil.copy(more / "time_logs.csv", folder / "dropped.csv")
        (folder / "dropped.csv").rename(BOX / "dropped.csv")
        wait_for((BOX / "done/dropped.csv").exists, 10)


# ---- somebody is killed, or goes ------------------------------------------------------------------------------------

# The monitor dies at the moment when it has taken a request, or has done it and not said so.
KILLED = """
import os, signal
from abr import handover
real = handover.{function}
def killed(*arguments):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
handover.{function} = killed
"""
MOMENTS = {
    "taken": KILLED.format(function="_taken", before="real(*arguments)"),
    "done": KILLED.format(function="leave", before="pass"),
}


@pytest.mark.parametrize(
    "command", ["load", *(pytest.param(name, marks=pytest.mark.slow) for name in ("write-off", "waive", "undo"))]
)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_monitor_that_is_killed_neither_loses_nor_doubles_what_it_took(books, folder, moment, command):
    finding, row = first_id("findings", "finding_id", side="leakage"), first_id("quarantine", "quarantine_id")
    why = ["--reason", "agreed", "--by", "zoe"]
    if command == "undo":
        assert abr("write-off", finding, *why).code == 0
    line = {
        "load": ["load", with_log(folder)],
        "write-off": ["write-off", finding, *why],
        "undo": ["write-off", finding, "--undo", *why],
        "waive": ["quarantine", "waive", row, *why],
    }[command]
    alone = folder / "alone.duckdb"
    shutil.copy(books, alone)
    expected = abr(*line, "--database", alone)
    assert expected.code == 0
    counted = (
        "select (select count(*) from source.load), (select count(*) from source.time_logs), "
        "(select count(*) from audit.write_off), (select count(*) from audit.waiver), "
        "(select count(*) from audit.finding where state = 'open'), (select count(*) from audit.quarantine)"
    )
    with monitored(hook=MOMENTS[moment]) as monitor:
        ended = abr(*line)
        assert monitor.wait(30) == -signal.SIGKILL
    assert ended == expected
    assert command_line.query(books, counted) == command_line.query(alone, counted)
    assert left() == []
    assert abr("verify").code == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_was_taken_is_done_once_also_where_asker_and_monitor_are_killed(books, folder, moment):
    more = with_log(folder)
    with monitored(hook=MOMENTS[moment]) as monitor:
        # An asker that is gone before it could see the answer.
        request = {"paths": [str(more)], "as": "auto", "source": None, "complete": False, "covers": None, "persons": []}
        handover._write(REQUESTS / "1.request", {"command": "load", "arguments": request})
        assert monitor.wait(30) == -signal.SIGKILL
    assert left() == ["1.taken"]
    with monitored():
        wait_for(lambda: left() == ["1.answer"])
        told = json.loads((REQUESTS / "1.answer").read_text())
        assert [(row["read"], row["new"]) for row in told["rows"]] == [(1, 1)]
        os.utime(REQUESTS / "1.answer", (1, 1))
        assert abr("explain", "C-1").code == 0  # with whatever is taken next, old receipts go
        assert left() == []
    assert command_line.query(books, "select count(*) from source.load") == [(2,)]
    assert command_line.query(books, "select count(*) from source.time_logs where time_log_id = 'L-9'") == [(1,)]


def test_a_monitor_that_stops_gives_back_what_it_has_not_taken(books, folder):
    with monitored() as monitor:
        monitor.send_signal(signal.SIGSTOP)
        load = command_line.started("load", with_log(folder))
        wait_for(lambda: any(name.endswith(".request") for name in left()))
        monitor.kill()
        ended = command_line.ended(load)
    assert (ended.code, ended.err) == (0, "")
    assert left() == []
    assert command_line.query(books, "select count(*) from source.load") == [(2,)]


def test_ctrl_c_withdraws_what_nobody_has_taken(books, folder):
    with monitored() as monitor:
        monitor.send_signal(signal.SIGSTOP)
        load = command_line.started("load", with_log(folder))
        wait_for(lambda: any(name.endswith(".request") for name in left()))
        load.send_signal(signal.SIGINT)
        ended = command_line.ended(load)
        assert (ended.code, ended.out) == (1, "")
        assert "withdrawn, nothing was done" in ended.err
        assert left() == []
        monitor.send_signal(signal.SIGCONT)
        assert abr("explain", "C-1").code == 0
    assert command_line.query(books, "select count(*) from source.load") == [(1,)]


SLOW = """
import time
from abr import loading
real = loading.load
def slow(*arguments, **options):
    time.sleep(2)
    return real(*arguments, **options)
loading.load = slow
"""


def test_ctrl_c_says_so_where_the_monitor_has_it_already_and_it_is_done_once(books, folder):
    with monitored(hook=SLOW):
        load = command_line.started("load", with_log(folder))
        wait_for(lambda: any(name.endswith(".taken") for name in left()))
        load.send_signal(signal.SIGINT)
        ended = command_line.ended(load)
        assert (ended.code, ended.out) == (1, "")
        assert "has taken the request already" in ended.err
        wait_for(lambda: [name for name in left() if name.endswith(".answer")])
    assert command_line.query(books, "select count(*) from source.time_logs where time_log_id = 'L-9'") == [(1,)]


def test_a_wait_of_more_than_a_second_shows_on_a_terminal(books, folder):
    with monitored() as monitor:
        monitor.send_signal(signal.SIGSTOP)
        parent, child = pty.openpty()
        environment = command_line.environment(TERM="xterm", COLUMNS="100")
        load = command_line.started("load", with_log(folder), stderr=child, env=environment)
        os.close(child)
        shown = b""
        while b"waiting for the monitor" not in shown:
            shown += os.read(parent, 1000)
        monitor.send_signal(signal.SIGCONT)
        with contextlib.suppress(OSError):  # the terminal ends with the process
            while os.read(parent, 1000):
                pass
        out, _ = load.communicate(timeout=30)
        assert load.returncode == 0
        assert "time_logs" in out


def test_a_signal_to_the_monitor_in_the_middle_of_somebody_elses_load_rolls_it_back_for_the_asker_to_do(books, folder):
    hook = """
from abr import loading, monitor
import functools
real = loading.load
def endless(connection, *arguments, **options):
    result = real(connection, *arguments, **options)
    connection.exec_driver_sql("select count(*) from range(1000000000) a, range(1000000000) b where hash(a.range) = 1")
loading.load = endless
monitor.watch = functools.partial(monitor.watch, grace_seconds=0.2)
"""
    with monitored(hook=hook) as monitor:
        load = command_line.started("load", with_log(folder))
        wait_for(lambda: any(name.endswith(".taken") for name in left()))
        time.sleep(1)
        monitor.send_signal(signal.SIGTERM)
        assert monitor.wait(30) == 0
        ended = command_line.ended(load)
    assert (ended.code, ended.err) == (0, ""), ended
    assert command_line.query(books, "select count(*) from source.load") == [(2,)]
    assert left() == []


# ---- nobody there, no room, rubbish ---------------------------------------------------------------------------------


def test_a_holder_that_is_no_monitor_is_told_apart_promptly(books, folder):
    hold = "import duckdb, sys; c = duckdb.connect('abr.duckdb'); print('held', flush=True); sys.stdin.read()"
    (REQUESTS).mkdir()
    (REQUESTS / "monitor.lock").write_text("1\n")  # of a monitor long gone, with the number of a process that lives
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    started = time.monotonic()
    for line in (["load", with_log(folder)], ["explain", "C-1"], ["verify"], ["db", "compact"]):
        assert is_refusal(abr(*line), 4, "abr.duckdb", f"process {holder.pid}")
    assert time.monotonic() - started < 4 * 3
    assert left() == []
    holder.communicate(timeout=30)


def test_an_inbox_on_another_full_disk_refuses_the_request_and_the_monitor_goes_on(books, folder):
    (folder / BOX).rmdir()
    with mounted(folder, "1m") as disk:
        (folder / BOX).symlink_to(disk)
        with monitored() as monitor:
            assert abr("explain", "C-1").code == 0  # another file system is as good
            fill(disk / "filler")
            ended = abr("load", with_log(folder))
            assert is_refusal(ended, 4, "abr.duckdb", f"process {monitor.pid}", "No space left on device")
            (disk / "filler").unlink()
            assert abr("load", with_log(folder)).code == 0
            assert left() == []
        assert command_line.query(books, "select count(*) from source.load") == [(2,)]


def test_an_answer_that_finds_no_room_is_left_with_the_next_look(folder, monkeypatch):
    real = handover._write

    def full(path, content):
        raise OSError(28, "No space left on device")

    with handover.serving(folder / "desk", may_make_parent=False) as desk:
        real(folder / "desk/1.request", {"command": "explain", "arguments": {}})
        assert handover.has_requests(desk)
        assert [request.command for request in handover.take(desk)] == ["explain"]
        monkeypatch.setattr(handover, "_write", full)
        handover.leave(desk, "1", {"rows": []})
        assert "No space left" in handover.new_problem(desk)
        assert handover.new_problem(desk) is None
        monkeypatch.setattr(handover, "_write", real)
        assert handover.take(desk) == []
    assert sorted(path.name for path in (folder / "desk").iterdir()) == ["1.answer", "monitor.lock"]


def test_a_request_that_may_not_be_taken_is_said_once_and_does_not_keep_the_monitor_awake(folder, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(handover, "_taken", refused)
    with handover.serving(folder / "desk", may_make_parent=False) as desk:
        handover._write(folder / "desk/1.request", {"command": "explain", "arguments": {}})
        assert handover.has_requests(desk)
        assert handover.take(desk) == []
        assert "1.request" in handover.new_problem(desk)
        assert not handover.has_requests(desk)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"command": "run", "arguments": {}}',
        '{"command": "load", "arguments": {}}',
        "[" * 200_000,
        *(pytest.param(content, marks=pytest.mark.slow) for content in ("", "[]", "null")),
    ],
)
def test_a_request_that_is_none_is_answered_and_the_monitor_goes_on(books, content):
    with monitored():
        (REQUESTS / "1.request").write_text(content)
        wait_for(lambda: left() == ["1.answer"])
        assert "error" in json.loads((REQUESTS / "1.answer").read_text())
        (REQUESTS / "1.answer").unlink()
        assert abr("explain", "C-1").code == 0


def test_a_folder_of_requests_that_somebody_removes_is_made_again(books, folder):
    (folder / "box").mkdir()
    with monitored("--source", "inbox", "--inbox", "box", "--interval", 0.2) as monitor:
        assert abr("explain", "C-1").code == 0
        shutil.rmtree(BOX)
        command_line.lines_of(monitor.stdout, "run ")
        wait_for(lambda: handover.is_served(folder / REQUESTS))
        assert abr("load", with_log(folder)).code == 0


def test_the_lock_says_that_a_monitor_is_there_however_often_others_look(folder):
    desk = folder / "desk"
    assert not handover.is_served(desk)
    with handover.serving(desk, may_make_parent=False):
        assert all(handover.is_served(desk) for _ in range(100))
        assert (desk / "monitor.lock").read_text() == f"{os.getpid()}\n"
    assert not handover.is_served(desk)


def test_a_database_is_the_same_by_whatever_link_it_is_named(folder):
    (folder / "abr.duckdb").touch()
    (folder / "link.duckdb").symlink_to("abr.duckdb")
    assert handover.folder_of(Path("link.duckdb")) == handover.folder_of(folder / "abr.duckdb")
