"""Every command: its help, its three formats, what goes to stdout and what to stderr, its exit code."""

import csv
import datetime as dt
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from decimal import Decimal
from importlib import metadata
from pathlib import Path

import duckdb
import pytest
import typer.main

from abr import cli, database
from abr.__main__ import TUNABLES
from tests import command_line, harness
from tests.command_line import AS_OF, BOOKS, abr

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Return a simulated database that no run has seen."""
    path = tmp_path_factory.mktemp("simulated") / "demo.duckdb"
    assert abr("simulate", "--logs", 600, "--contracts", 12, "--until", AS_OF, "--database", path).code == 0
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    return command_line.clean_environment(monkeypatch, tmp_path)


@pytest.fixture
def books(template, folder):
    """Return the path of a database of the test's own, with the books in it."""
    return Path(shutil.copy(template, folder / "abr.duckdb"))


def rows_of(*arguments):
    """Return the rows a command prints as JSON; a float would be a rounded amount."""
    ended = abr(*arguments, "--format", "json")
    assert (ended.code, ended.err) == (0, ""), ended
    return json.loads(ended.out, parse_float=pytest.fail)


def finding_id(contract="C-1"):
    return rows_of("findings", "--contract", contract)[0]["finding_id"]


def quarantine_id():
    return rows_of("quarantine", "--data-set", "time_logs")[0]["quarantine_id"]


# ---- help -----------------------------------------------------------------------------------------------------------


def commands(command=None, path=()):
    """Yield every command and group with the words that call it."""
    command = command or typer.main.get_command(cli.app)
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_with_an_example(path):
    ended = abr(*path, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: abr" in ended.out
    assert ESCAPE not in ended.out
    if path not in ((), ("db",)):  # these only lead to others
        assert re.search(r"Examples?:\s+(\w+=\S+ )?abr ", " ".join(ended.out.split())), ended.out
    for option in COMMANDS[path].params:
        assert getattr(option, "help", None) or option.name == "help", (path, option.name)


@pytest.mark.parametrize("path", [(), ("db",), ("bi",), ("mirror",)])
def test_without_a_command_the_help_is_shown_and_nothing_else(path):
    ended = abr(*path)
    assert (ended.code, ended.err) == (2, "")
    assert ended.out.rstrip() == abr(*path, "--help").out.rstrip()


def test_the_version_is_the_distributions():
    ended = abr("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"abr {metadata.version('abr')}\n", "")


def test_the_commands_are_those_that_are_promised():
    promised = "monitor run load simulate report findings explain write-off quarantine history verify settings db"
    assert set(promised.split()) <= {path[0] for path in COMMANDS if path}
    assert {("db", name) for name in ("upgrade", "status", "compact")} <= set(COMMANDS)
    assert ("quarantine", "waive") in COMMANDS


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if command.epilog], ids=" ".join)
def test_every_example_is_a_command_line_that_is_understood(path):
    examples = re.findall(r"\[bold\](.*?)\[/\]", COMMANDS[path].epilog)
    assert examples
    for example in examples:
        words = shlex.split(re.split(r" (?:\|\|?|&&|>) ", example)[0])
        words = words[next(place for place, word in enumerate(words) if "=" not in word) :]
        assert words[0] == "abr", example
        assert words[1 : 1 + len(path)] == list(path) or path == (), example
        parse(words[1:])


def parse(words):
    """Parse a command line without running it; a mistake raises."""
    command, context = COMMANDS[()], None
    while True:
        context = command.make_context("abr", list(words), parent=context)
        left = [*context._protected_args, *context.args]
        if not hasattr(command, "commands") or not left:
            return
        _, command, words = command.resolve_command(context, left)


def test_python_m_abr_is_abr():
    ended = command_line.ended(command_line.started("settings", "--format", "csv"))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == abr("settings", "--format", "csv").out


def test_a_command_starts_without_what_only_a_new_database_needs():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom abr import cli\nprint('alembic' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert loaded.stdout == "False\n"


def test_abr_alone_shows_the_help():
    ended = abr()
    assert "Usage: abr" in ended.out + ended.err
    assert "monitor" in ended.out + ended.err


# ---- formats --------------------------------------------------------------------------------------------------------

POSITIONS = "report.contract_position"
# Each command that prints rows, and the view it shows or its columns.
PRINTED = {
    "report": POSITIONS,
    "report --currency JPY": POSITIONS,
    "report --client nobody": POSITIONS,
    "findings": "report.finding",
    "findings --class void_not_rebilled": "report.finding",
    "findings --history": "report.finding_history",
    "quarantine": "report.quarantine",
    "quarantine --data-set rates": "report.quarantine",
    "quarantine --history": "report.quarantine_history",
    "history": "report.run_history",
    "run --as-of 2026-03-31": "report.run_history",
    "explain C-1": ["section", "step", "formula", "result"],
    "explain L-1": ["section", "step", "formula", "result"],
    "verify": ["what", "id", "detail"],
    "settings": ["setting", "value", "origin"],
    "db status": ["what", "value"],
    "load BOOKS": ["data_set", "read", "new", "superseded", "unchanged", "withdrawn", "quarantined"],
    "simulate --logs 200 --database new.duckdb": ["data_set", "read", "new"],
}


@pytest.mark.parametrize("line", PRINTED)
def test_rows_come_as_a_table_as_json_and_as_csv(books, folder, line):
    words = line.replace("BOOKS", str(command_line.write_books(folder / "books"))).split()
    columns = PRINTED[line]
    if isinstance(columns, str):
        described = [row[0] for row in command_line.query(books, f"select column_name from (describe {columns})")]
        columns = [*described, "next_step"] if columns == POSITIONS else described
    printed = {}
    for form in ("table", "json", "csv"):
        (folder / "new.duckdb").unlink(missing_ok=True)
        ended = printed[form] = abr(*words, "--format", form)
        assert ended.code == 0, ended
        assert ESCAPE not in ended.out + ended.err
        assert ended.out.endswith("\n")
        assert not command_line.UNSAFE.search(ended.out)
    found = json.loads(printed["json"].out, parse_float=pytest.fail)
    found = found if isinstance(found, list) else [found]
    header, *records = csv.reader(io.StringIO(printed["csv"].out), strict=True)
    assert header == columns
    assert len(records) == len(found)
    for row in found:
        assert list(row) == columns
        amounts = [value for name, value in row.items() if re.search("amount|hours$|rate$", name) and value is not None]
        assert all(isinstance(value, str) and re.fullmatch(r"-?\d+\.\d+", value) for value in amounts), row
        dates = [value for name, value in row.items() if re.search("_on$|as_of", name) and value is not None]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", value) for value in dates), row
        moments = [value for name, value in row.items() if name.endswith("_at") and value is not None]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) for value in moments), row


def test_run_prints_exactly_its_row_of_the_run_history(books):
    row = rows_of("run", "--as-of", AS_OF)
    assert isinstance(row, dict)
    assert rows_of("history")[0] == row
    assert (row["run_id"], row["as_of"], row["status"], row["error"]) == (2, AS_OF, "ok", None)
    assert (row["logs_received"], row["logs_quarantined"], row["findings_opened"]) == (6, 1, 0)
    assert json.loads(row["settings"])["threshold_amount"] == "1500.00"


def test_a_table_names_the_currency_and_groups_thousands(books):
    assert "Leakage EUR" in abr("report", "--currency", "EUR").out
    assert "2,010.00" in abr("report", "--currency", "EUR").out
    assert "Leakage JPY" in abr("report", "--currency", "JPY").out
    assert re.search(r" 1,005 ", abr("report", "--currency", "JPY").out)
    several = abr("report").out
    assert "Cur." in several
    assert several.index("C-1") < several.index("C-2")  # flagged first


def test_report_says_what_to_do_and_leaves_out_what_is_fine(books, folder):
    fine = {"contract_id": "C-5", "client": "Hooli", "currency": "EUR", "starts_on": "2026-01-01"}
    assert abr("load", command_line.write_books(folder / "more", {"contracts": [fine]})).code == 0
    assert abr("run", "--as-of", AS_OF).code == 0
    steps = {row["contract_id"]: row["next_step"] for row in rows_of("report")}
    assert steps == {"C-1": "invoice", "C-2": "invoice", "C-3": "ask", "C-4": "credit"}
    assert len(rows_of("report", "--all")) == 5
    assert "showing 4 of 5; abr report --all for the rest" in abr("report").out


def test_findings_and_quarantine_are_narrowed_down(books):
    assert {row["class"] for row in rows_of("findings", "--side", "leakage")} == {"unbilled"}
    assert {row["contract_id"] for row in rows_of("findings", "--contract", "C-1")} == {"C-1"}
    assert [row["contract_id"] for row in rows_of("findings", "--class", "rate_over")] == ["C-4"]
    assert [row["key"] for row in rows_of("quarantine", "--reason", "missing_person")] == ["L-6"]
    assert rows_of("quarantine", "--reason", "missing_date") == []
    assert "showing 1 of 2" in abr("findings", "--contract", "C-1", "--limit", 1).out
    assert len(rows_of("findings", "--contract", "C-1", "--limit", 1)) == 2  # a limit is for the eye


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["findings", "--class", "nonsense"], "unbilled"),
        (["findings", "--side", "nonsense"], "leakage"),
        (["quarantine", "--data-set", "nonsense"], "time_logs"),
    ],
    ids=str,
)
def test_a_choice_that_does_not_exist_is_answered_with_those_that_do(books, words, told):
    ended = abr(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "nonsense" in ended.err
    assert told in ended.err


def test_explain_refuses_an_id_that_nobody_has(books):
    ended = abr("explain", "nobody")
    assert (ended.code, ended.out) == (2, "")
    assert "nobody" in ended.err


# ---- stdout, stderr, colour -----------------------------------------------------------------------------------------


def test_talk_goes_to_stderr_and_results_to_stdout(books, folder):
    (folder / "projects.csv").write_text("project_id,contract_id,colour\nP-9,C-1,red\n")
    ended = abr("load", "projects.csv", "--format", "csv")
    assert ended.out.splitlines()[1:] == ["projects,1,1,0,0,0,0"]
    assert ended.err == "abr: projects: unknown columns ignored: colour\n"
    ended = abr("monitor", "--cycles", 1)
    assert ended.out.startswith("run 2 ")
    assert ended.err.startswith("abr: watching abr.duckdb")


@pytest.mark.parametrize(
    "line", ["report", "quarantine", "monitor --cycles 1", "run --strict", "--help", "run --bogus"]
)
@pytest.mark.parametrize("no_color", [False, True], ids=["colour", "NO_COLOR"])
def test_colour_is_for_a_terminal_that_wants_it(books, line, no_color):
    more = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"} | ({"NO_COLOR": "1"} if no_color else {})
    primary, secondary = pty.openpty()
    process = command_line.started(
        *line.split(), stdin=secondary, stdout=secondary, stderr=secondary, env=command_line.environment(**more)
    )
    os.close(secondary)
    shown = drained(primary)
    process.wait(60)
    colours = re.findall(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7]|38;[0-9;]+)m", shown)
    if no_color:
        assert colours == []
    elif line in ("report", "quarantine", "run --strict"):
        assert colours
    assert "Traceback" not in shown


def drained(descriptor):
    content = b""
    while True:
        try:
            more = os.read(descriptor, 65536)
        except OSError:  # what Linux says when the other end is closed
            break
        if not more:
            break
        content += more
    os.close(descriptor)
    return content.decode()


def test_a_reader_that_has_seen_enough_is_no_error(simulated, folder):
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    assert abr("run", "--database", path).code == 0
    for words in (["findings", "--format", "csv"], ["report"], ["run"], ["monitor", "--cycles", 1]):
        process = command_line.started(*words, "--database", path)
        process.stdout.close()
        process.stdout = None
        ended = command_line.ended(process)
        assert [line for line in ended.err.splitlines() if not line.startswith("abr: simulated data in")] == [], words


# ---- exit codes and mistakes of use ---------------------------------------------------------------------------------


def test_exit_code_10_says_that_something_is_flagged(books):
    assert abr("run", "--as-of", AS_OF, "--exit-code").code == 10
    assert abr("run", "--as-of", AS_OF).code == 0
    assert abr("run", "--as-of", AS_OF, "--exit-code", "--threshold", "99999").code == 0
    ended = abr("run", "--as-of", AS_OF, "--exit-code", "--format", "json", "--threshold", "99999,EUR=5")
    assert ended.code == 10
    assert json.loads(ended.out)["status"] == "ok"


def test_verify_ends_with_1_where_something_differs(books):
    assert abr("verify").code == 0
    with duckdb.connect(str(books)) as connection:
        connection.execute("update audit.finding_open set amount = amount + 1 where contract_id = 'C-1'")
    ended = abr("verify", "--format", "json")
    assert ended.code == 1
    assert json.loads(ended.out)


MISTAKES = {
    "nonsense": "nonsense",
    "run --nonsense": "--nonsense",
    "run --as-of 2026-02-30": "2026-02-30",
    "run --as-of today": "today",
    "run --as-of 2262-03-31": "--force",
    "simulate --out . --database new.duckdb": "--out",
    "run --threshold many": "many",
    "run --format xml": "xml",
    "load": "PATHS",
    "load . --as spreadsheet": "spreadsheet",
    "load . --covers 2026-03": "2026-03",
    "load . --covers 2026-03-31..2026-03-01": "2026-03-31",
    "explain": "ID",
    "findings --limit 0": "--limit",
    "history --limit 9223372036854775808": "--limit",
    "explain \udcff": "UTF-8",
    "write-off some-id": "--reason",
    "write-off some-id --reason why --by zoe": "some-id",
    "write-off some-id --reason= --by zoe": "--reason",
    "write-off some-id --reason \u200b --by zoe": "--reason",
    "write-off some-id --reason why --by \ufeff": "--by",
    "quarantine waive some-id --reason why --by zoe": "some-id",
    "quarantine waive some-id --reason why --by=": "--by",
    "monitor --interval 0": "interval",
    "monitor --source inbox --until 2026-03-31": "--until",
    "monitor --source inbox --fail-at 1": "--fail-at",
    "simulate --logs many --database new.duckdb": "many",
    "simulate --logs 99999999999999999999 --database new.duckdb": "more than 1,000,000,000",
    "simulate --days 0 --database new.duckdb": "days",
    "simulate --days 36500 --until 0001-01-01 --database new.duckdb": "calendar",
    "db": "",
    "db nonsense": "nonsense",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_of_use_is_answered_in_one_line(books, line):
    before = command_line.contents(books)
    ended = abr(*line.split())
    assert ended.code == 2, ended
    if line != "db":  # which shows its help
        assert ended.out == ""
        assert re.fullmatch(r"abr: .*[;] .*\n", ended.err), ended.err
        assert MISTAKES[line].casefold() in ended.err.casefold()
    assert "Traceback" not in ended.err
    assert command_line.contents(books) == before


def test_what_nobody_foresaw_is_one_line_unless_asked_for(books, monkeypatch):
    def broken(connection):
        raise RuntimeError("first line\nsecond \x1b[31m line")

    monkeypatch.setattr(cli, "_decimals", broken)
    ended = abr("report")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("abr: unexpected: RuntimeError: first line; set ABR_DEBUG=1")
    monkeypatch.setenv("ABR_DEBUG", "1")
    with pytest.raises(RuntimeError):
        abr("report")


def test_a_variable_that_is_no_setting_is_pointed_out(books, monkeypatch):
    monkeypatch.setenv("ABR_TRESHOLD_AMOUNT", "5")
    ended = abr("report")
    assert ended.code == 0
    assert "ABR_TRESHOLD_AMOUNT is not a setting" in ended.err
    monkeypatch.delenv("ABR_TRESHOLD_AMOUNT")
    assert abr("report").err == ""


# ---- loading --------------------------------------------------------------------------------------------------------


def test_loading_twice_prints_unchanged(folder):
    given = command_line.write_books(folder / "books")
    first, second = rows_of("load", given), rows_of("load", given)
    counts = {dataset: len(rows) for dataset, rows in BOOKS.items()}
    assert {row["data_set"]: (row["read"], row["new"], row["unchanged"]) for row in first} == {
        dataset: (count, count, 0) for dataset, count in counts.items()
    }
    assert {row["data_set"]: (row["read"], row["new"], row["unchanged"]) for row in second} == {
        dataset: (count, 0, count) for dataset, count in counts.items()
    }
    assert {row["data_set"] for row in first if row["quarantined"]} == {"time_logs"}


def test_loading_counts_what_is_superseded_and_withdrawn(books, folder):
    logs = [{**BOOKS["time_logs"][0], "hours": "11"}, *BOOKS["time_logs"][1:-2]]
    given = command_line.write_books(folder / "given", {"time_logs": logs})
    (row,) = rows_of("load", given, "--complete")
    assert row == {
        "data_set": "time_logs",
        "read": 4,
        "new": 0,
        "superseded": 1,
        "unchanged": 3,
        "withdrawn": 2,
        "quarantined": 0,
    }
    table = abr("load", given).out.split()
    assert [word for word in table if word.isalnum()][:2] == ["Data", "set"]


def test_an_export_withdraws_what_others_logged_and_says_so(books, folder):
    export = "User,Client,Project,Start date,Start time,Duration\n"
    (folder / "all.csv").write_text(
        export + "ann,Acme,P-1,2026-03-02,09:00:00,01:00:00\nbob,Acme,P-1,2026-03-02,09:00:00,02:00:00\n", "utf-8-sig"
    )
    (folder / "ann.csv").write_text(export + "ann,Acme,P-1,2026-03-02,09:00:00,01:00:00\n", "utf-8-sig")
    assert abr("load", "all.csv").err == ""
    (row,) = rows_of("load", "ann.csv", "--covers-person", "ann")
    assert (row["unchanged"], row["withdrawn"]) == (1, 0)
    ended = abr("load", "ann.csv", "--format", "json")
    assert json.loads(ended.out)[0]["withdrawn"] == 1
    assert "1 entries of people who are not in this export" in ended.err
    (row,) = rows_of("load", "all.csv", "--source", "other-toggl")
    assert row["new"] == 2


def test_a_person_whom_no_log_names_is_told(books, folder):
    ended = abr("load", folder / "abr.csv", "--covers", "2026-02-01..2026-02-28", "--covers-person", "Ann")
    assert ended.code == 2
    logs = command_line.write_books(folder / "given", {"time_logs": BOOKS["time_logs"][:1]})
    covering = ("--covers", "2026-02-01..2026-02-28", "--covers-person")
    told = abr("load", logs, *covering, "Ann")
    assert "no time log names 'Ann'" in told.err
    (row,) = rows_of("load", logs, *covering, "ann")
    assert row["withdrawn"] == 3
    assert abr("load", logs, *covering, "ann").err == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--complete", "--covers", "2026-02-01..2026-02-28"), "leave out one of them"),
        (("--complete", "--covers-person", "ann"), "leave out one of them"),
        (("--covers-person", "ann"), "add --covers"),
    ],
)
def test_options_that_contradict_one_another_withdraw_nothing(books, folder, options, words):
    logs = command_line.write_books(folder / "given", {"time_logs": BOOKS["time_logs"][:1]})
    ended = abr("load", logs, *options)
    assert (ended.code, words in ended.err) == (2, True)
    (row,) = rows_of("load", logs)
    assert (row["unchanged"], row["withdrawn"]) == (1, 0)


def test_an_export_declared_complete_is_all_that_its_tool_holds(books, folder):
    export = "User,Project,Start date,Duration\n"
    first, undated, other = "ann,P-1,2026-03-02,01:00:00\n", "ann,P-1,,02:00:00\n", "ann,P-1,2026-05-04,03:00:00\n"
    (folder / "all.csv").write_text(export + first + undated + other)
    (folder / "first.csv").write_text(export + first)
    (folder / "none.csv").write_text(export)
    (row,) = rows_of("load", "all.csv")
    assert (row["new"], row["quarantined"]) == (3, 1)
    (row,) = rows_of("load", "first.csv")
    assert (row["unchanged"], row["withdrawn"]) == (1, 0)
    assert abr("load", "none.csv", "--complete").code == 3
    (row,) = rows_of("load", "first.csv", "--complete")
    assert (row["unchanged"], row["withdrawn"]) == (1, 2)
    (row,) = rows_of("load", command_line.write_books(folder / "given", {"time_logs": BOOKS["time_logs"]}))
    assert row["unchanged"] == len(BOOKS["time_logs"])


@pytest.mark.parametrize(
    "options", ["nonsense=1", "memory_limit=lots", "access_mode=READ_ONLY", "threads=1&access_mode=x"]
)
def test_options_of_a_database_url_that_cannot_be_are_refused(books, options):
    ended = abr("run", "--database", f"duckdb:///{books}?{options}")
    assert (ended.code, ended.out, "unexpected" in ended.err) == (2, "", False)
    assert options.split("&")[0] in ended.err
    assert "leave it out" in ended.err


def test_options_of_a_database_url_are_taken(books):
    assert abr("run", "--database", f"duckdb:///{books}?threads=1").code == 0


# ---- decisions ------------------------------------------------------------------------------------------------------


def position(contract="C-1"):
    return next(row for row in rows_of("report", "--all") if row["contract_id"] == contract)


def test_a_write_off_takes_effect_at_once_and_can_be_taken_back(books):
    assert (position()["is_flagged"], position()["leakage_amount"]) == (True, "2010.0000")
    wanted = finding_id()
    ended = abr("write-off", wanted, "--reason", "goodwill", "--by", "zoe")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"written off: unbilled log:L-1 of contract C-1, 1,005\.00 EUR, by zoe: goodwill\n", ended.out)
    assert (position()["is_flagged"], position()["written_off_amount"]) == (False, "1005.0000")
    assert [row["finding_id"] for row in rows_of("findings", "--side", "written_off")] == [wanted]
    for asked in (wanted, "L-1"):
        explained = " ".join(abr("explain", asked).out.split())
        assert "by zoe on " in explained
        assert f": goodwill; to take it back: abr write-off {wanted} --undo" in explained
    row = rows_of("write-off", wanted, "--undo", "--reason", "client disputes", "--by", "zoe")
    assert (row["decision"], row["decided_by"], row["reason"]) == ("taken back", "zoe", "client disputes")
    assert (position()["is_flagged"], position()["written_off_amount"]) == (True, "0.0000")
    assert [row["as_of"] for row in rows_of("history")] == [AS_OF] * 3  # no decision moves the calendar
    assert abr("verify").code == 0
    assert abr("write-off", wanted, "--undo", "--reason", "again", "--by", "zoe").code == 2


def test_a_waiver_takes_effect_at_once(books):
    assert position()["quarantined_hours"].startswith("3.")
    wanted = quarantine_id()
    ended = abr("quarantine", "waive", wanted, "--reason", "test entry", "--by", "zoe")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"waived: .*L-6.* by zoe: test entry", ended.out)
    assert float(position()["quarantined_hours"]) == 0
    (row,) = rows_of("quarantine")
    assert row["state"] == "waived"
    last = rows_of("quarantine", "--history")[-1]
    assert (last["waived_by"], last["waived_reason"]) == ("zoe", "test entry")
    assert abr("verify").code == 0


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_decision_is_made_by_the_user_of_the_machine_unless_said_otherwise(books, monkeypatch, form):
    monkeypatch.setenv("LOGNAME", "=zoe()")
    ended = abr("write-off", finding_id(), "--reason", "why", "--format", form)
    assert ended.code == 0
    if form == "json":
        assert json.loads(ended.out)["decided_by"] == "=zoe()"
    else:
        (row,) = csv.DictReader(io.StringIO(ended.out))
        assert row["decided_by"] == "'=zoe()"


# ---- settings, database ---------------------------------------------------------------------------------------------


def test_settings_say_where_each_value_comes_from(folder, monkeypatch):
    (folder / "abr.toml").write_text('time_zone = "Asia/Tokyo"\ninterval_seconds = 7\n')
    monkeypatch.setenv("ABR_INTERVAL_SECONDS", "9")
    rows = {row["setting"]: (row["value"], row["origin"]) for row in rows_of("settings", "--database", "x.duckdb")}
    assert rows["database_url"] == ("duckdb:///x.duckdb", "flag --database")
    assert rows["interval_seconds"] == ("9", "environment ABR_INTERVAL_SECONDS")
    assert rows["time_zone"] == ("Asia/Tokyo", "abr.toml")
    assert rows["threshold_amount"] == ("1500.00", "default")
    assert not (folder / "x.duckdb").exists()


def test_the_environment_names_the_database_and_the_threshold(books, folder, monkeypatch):
    books.rename(folder / "other.duckdb")
    monkeypatch.setenv("ABR_DATABASE_URL", "duckdb:///other.duckdb")
    monkeypatch.setenv("ABR_THRESHOLD_AMOUNT", "99999,JPY=1")
    assert abr("run", "--as-of", AS_OF).code == 0
    assert [row["contract_id"] for row in rows_of("report") if row["is_flagged"]] == ["C-2"]
    assert json.loads(rows_of("history")[0]["settings"])["threshold_amount"].startswith("99999")


def test_a_date_is_that_of_the_configured_time_zone(books, monkeypatch):
    for zone, day in (("Pacific/Kiritimati", "2026-04-03"), ("Pacific/Pago_Pago", "2026-04-01")):
        monkeypatch.setattr(cli, "_now", lambda: dt.datetime(2026, 4, 2, 10, 30))
        monkeypatch.setenv("ABR_TIME_ZONE", zone)
        other = Path(shutil.copy(books, f"{zone[8:]}.duckdb"))
        assert rows_of("run", "--database", other)["as_of"] == day


def test_db_status_upgrade_and_compact(books):
    status = {row["what"]: row["value"] for row in rows_of("db", "status")}
    assert (status["file"], status["data"], status["schema"]) == ("abr.duckdb", "real", database.head())
    assert (status["source.time_logs rows"], status["size_bytes"]) == ("6", str(books.stat().st_size))
    ended = abr("db", "upgrade")
    assert (ended.code, ended.out) == (0, f"schema {database.head()}, up to date\n")
    before = command_line.contents(books)
    ended = abr("db", "compact")
    assert ended.code == 0
    assert re.fullmatch(r"[\d,]+ bytes before, [\d,]+ after\n", ended.out)
    assert command_line.contents(books) == before
    assert abr("verify").code == 0


def test_simulate_writes_the_same_files_for_the_same_seed(folder):
    for out in ("one", "two", "three"):
        seed = 8 if out == "three" else 7
        ended = abr("simulate", "--logs", "3e2", "--seed", seed, "--until", AS_OF, "--out", out)
        assert ended.code == 0
        assert ended.out.splitlines() == [f"{dataset}.csv" for dataset in BOOKS]
    contents = [{path.name: path.read_bytes() for path in sorted((folder / out).iterdir())} for out in ("one", "two")]
    assert contents[0] == contents[1]
    assert (folder / "one/time_logs.csv").read_bytes() != (folder / "three/time_logs.csv").read_bytes()
    assert abr("load", "one").code == 0


def test_simulate_writes_parquet_files_that_say_the_same(folder):
    for suffix in ("csv", "parquet"):
        ended = abr("simulate", "--logs", 300, "--until", AS_OF, "--out", suffix, "--files", suffix)
        assert ended.out.splitlines() == [f"{dataset}.{suffix}" for dataset in BOOKS]
    assert abr("load", "csv").code == 0
    loaded = json.loads(abr("load", "parquet", "--format", "json").out)
    assert {row["data_set"]: row["new"] + row["superseded"] + row["withdrawn"] for row in loaded} == dict.fromkeys(
        BOOKS, 0
    )


def test_simulate_into_a_database_does_not_pass_over_a_kind_of_files(folder):
    ended = abr("simulate", "--logs", 300, "--until", AS_OF, "--files", "parquet")
    assert ended.code == 2
    assert "add --out FOLDER" in ended.err
    assert not list(folder.iterdir())


# ---- the monitor ----------------------------------------------------------------------------------------------------


def test_the_monitor_in_a_pipe_prints_lines_and_a_table_only_when_something_changed(books, folder):
    ended = abr("monitor", "--cycles", 3, "--interval", 0.05)
    assert ended.code == 0
    assert (folder / "abr.duckdb.inbox").is_dir()
    lines = ended.out.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("run ")]
    assert [lines[place].split()[1] for place in starts] == ["2", "3", "4"]
    assert starts[1] > 5  # the table of the first run
    assert "⚠ QUARANTINE" in ended.out
    assert "PROFITABILITY WARNING" in ended.out
    assert lines[starts[1] :] == [lines[starts[1]], lines[starts[2]]]
    assert "6 logs = 4 priced + 1 quarantined + 1 excluded" in lines[starts[1]]
    assert ESCAPE not in ended.out + ended.err


def test_the_monitor_shows_the_demo_where_there_is_no_data(folder, monkeypatch):
    monkeypatch.setattr(cli.data_simulator.FirmSize, "__init__", small_firm(cli.data_simulator.FirmSize.__init__))
    ended = abr("monitor", "--cycles", 2, "--interval", 0.05, "--until", AS_OF, "--picture", "screen.svg")
    assert ended.code == 0, ended.err
    assert "simulated firm in abr-demo.duckdb" in ended.err
    assert [line.split()[1] for line in ended.out.splitlines() if line.startswith("run ")] == ["1", "2"]
    assert "<svg" in (folder / "screen.svg").read_text("utf-8")
    assert {row["as_of"] for row in rows_of("history", "--database", "abr-demo.duckdb")} == {AS_OF}
    assert not (folder / "abr.duckdb").exists()


def small_firm(real):
    def made(self, logs=300, contracts=8, days=60):
        real(self, min(logs, 300), min(contracts, 8), min(days, 60))

    return made


def test_until_is_the_date_of_the_run_in_any_time_zone(simulated, folder, monkeypatch):
    monkeypatch.setenv("ABR_TIME_ZONE", "Pacific/Kiritimati")
    path = Path(shutil.copy(simulated, folder / "demo.duckdb"))
    assert abr("monitor", "--cycles", 1, "--until", AS_OF, "--database", path, "--source", "simulator").code == 0
    assert {row["as_of"] for row in rows_of("history", "--database", path)} == {AS_OF}


@pytest.mark.parametrize(("picture", "runs"), [("nowhere/screen.svg", 1), (".", 2)])
def test_a_picture_that_cannot_be_written_is_a_mistake_of_use(books, picture, runs):
    ended = abr("monitor", "--cycles", 1, "--picture", picture)
    assert ended.code == 2
    assert picture.split("/")[0] in ended.err
    assert command_line.query(books, "select count(*) from audit.run") == [(runs,)]  # told first, where it can be


def test_a_contract_whose_findings_are_in_no_sum_is_reported_too_and_the_totals_are_those_of_all(folder, monkeypatch):
    term = {"client": "Acme", "currency": "EUR", "starts_on": "2026-01-01"}
    fixed = {"billing_model": "fixed_price", "cap_minutes": "60"}
    invoice = {"contract_id": "C-USD", "issued_on": "2026-02-28", "status": "issued"}
    line = {"kind": "time", "time_log_id": "L-USD", "line_no": "1", "hours": "2"}
    log = {"person": "ann", "worked_on": "2026-02-02", "hours": "2"}
    books = {
        "contracts": [
            {"contract_id": "C-USD", **term},
            {"contract_id": "C-OVER", **term, **fixed},
            *({"contract_id": f"C-{name}", **term} for name in ("A", "B", "IDLE")),
        ],
        "projects": [{"project_id": f"P-{name}", "contract_id": f"C-{name}"} for name in ("USD", "OVER", "A", "B")],
        "rates": [
            {"contract_id": f"C-{name}", "hourly_rate": "100", "valid_from": "2026-01-01"} for name in ("USD", "A", "B")
        ],
        "time_logs": [
            {"time_log_id": f"L-{name}", "project_id": f"P-{name}", **log} for name in ("USD", "OVER", "A", "B")
        ],
        "invoices": [
            {"invoice_id": "INV-EUR", "currency": "EUR", **invoice},
            {"invoice_id": "INV-USD", "currency": "USD", **invoice},
        ],
        "invoice_lines": [
            {"invoice_id": "INV-EUR", "net_amount": "200.00", **line},
            {"invoice_id": "INV-USD", "net_amount": "900.00", **line},
        ],
    }
    assert abr("load", command_line.write_books(folder / "books", books)).code == 0
    assert abr("run", "--as-of", AS_OF).code == 0
    steps = {row["contract_id"]: row["next_step"] for row in rows_of("report")}
    assert steps == {"C-USD": "credit", "C-OVER": "ask", "C-A": "invoice", "C-B": "invoice"}
    monkeypatch.setattr(cli, "_ROWS_SHOWN", 1)
    ended = abr("report")
    assert "showing 1 of 5" in ended.out
    totals = ended.out[ended.out.index("Totals of all 5 contracts") :]
    assert re.search(r"EUR +400\.00 ", totals)
    assert totals in abr("report", "--all").out


def test_what_no_contract_has_is_named_as_it_may_be_mistyped(books):
    for asked in (["report", "--client", "acme"], ["report", "--currency", "xyz"], ["findings", "--contract", "c-1"]):
        ended = abr(*asked)
        assert (ended.code, asked[2].casefold() in ended.err.casefold()) == (0, True)
    assert abr("report", "--currency", "eur").out == abr("report", "--currency", "EUR").out != "nothing to report\n"


def test_an_empty_path_is_not_the_folder_one_is_in(books):
    ended = abr("load", "")
    assert (ended.code, ended.out) == (2, "")
    assert "empty" in ended.err


def test_a_date_far_ahead_is_run_where_that_is_meant(books):
    assert abr("run", "--as-of", "2262-03-31", "--force").code == 0


def test_files_that_are_there_are_simulated_over_only_where_that_is_meant(folder):
    (folder / "rates.csv").write_text("somebody's own")
    simulated = ["simulate", "--logs", 20, "--out", folder]
    ended = abr(*simulated)
    assert (ended.code, "rates.csv" in ended.err, "--force" in ended.err) == (2, True, True)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("rates.csv", "somebody's own")]
    assert abr(*simulated, "--force").code == 0
    assert "somebody" not in (folder / "rates.csv").read_text()


def test_files_of_a_folder_that_are_not_loaded_are_named(folder):
    books = command_line.write_books(folder / "books")
    (books / "time_logs.csv").rename(books / "timelogs.csv")
    (books / "notes.txt").write_text("not even a kind that could be")
    ended = abr("load", books)
    assert ended.code == 0
    assert "left out" in ended.err
    assert "timelogs.csv" in ended.err
    assert "notes.txt" not in ended.err
    assert "left out" not in abr("load", books / "timelogs.csv").err


def test_hours_at_risk_are_those_of_open_logs_whatever_the_limit(books):
    logs = [
        {"time_log_id": f"X-{hours}", "project_id": "P-9", "person": "ann", "worked_on": "2026-02-02", "hours": hours}
        for hours in ("-50", "7.25", "4")
    ]
    extra = command_line.write_csv(books.parent / "time_logs.csv", list(logs[0]), logs)
    assert abr("load", extra).code == 0
    assert abr("run", "--as-of", AS_OF).code == 0
    assert "4 rows, 14.25 h at risk" in abr("quarantine", "--limit", 1).out
    (waived,) = (row["quarantine_id"] for row in rows_of("quarantine") if row["key"] == "X-4")
    assert abr("quarantine", "waive", waived, "--reason", "test entry").code == 0
    assert "4 rows, 10.25 h at risk" in abr("quarantine").out


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only the GNU C library is tuned")
@pytest.mark.parametrize("after_ms", [0, 20, 40, 80, 160, 320])
def test_ctrl_c_while_the_command_starts_ends_it_without_a_word(books, after_ms):
    given = {name: value for name, value in command_line.environment().items() if name not in TUNABLES}
    process = command_line.started("report", env=given)
    # What Python says before it comes to the command is not ours; from the moment that starts itself again, all is.
    while b"GLIBC_TUNABLES" not in Path(f"/proc/{process.pid}/environ").read_bytes():
        assert process.poll() is None, command_line.ended(process)
        time.sleep(0.001)
    time.sleep(after_ms / 1000)
    process.send_signal(signal.SIGINT)
    ended = command_line.ended(process)
    assert "Traceback" not in ended.err
    assert "KeyboardInterrupt" not in ended.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_output_that_cannot_be_written_is_told(books, form):
    with Path("/dev/full").open("w") as full:
        ended = command_line.ended(command_line.started("report", "--format", form, stdout=full))
    assert (ended.code, ended.err) == (1, "abr: the output cannot be written: No space left on device\n")


def test_output_that_the_encoding_has_no_letters_for_is_told(books):
    environment = command_line.environment(PYTHONIOENCODING="ascii")
    ended = command_line.ended(command_line.started("report", env=environment))
    assert (ended.code, ended.err) == (
        1,
        "abr: the output cannot be written as ascii; set PYTHONIOENCODING=utf-8\n",
    )


def test_a_closed_output_is_nowhere(books):
    shell = [os.environ.get("SHELL", "/bin/sh"), "-c", f"{shlex.quote(sys.executable)} -m abr report >&- 2>&-"]
    assert subprocess.run(shell, env=command_line.environment(), check=False).returncode == 0


def test_ctrl_c_between_two_runs_ends_the_monitor_at_once(books):
    process = command_line.started("monitor", "--interval", 3600)
    command_line.lines_of(process.stdout, "run 2")
    process.send_signal(signal.SIGINT)
    ended = command_line.ended(process)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert abr("verify").code == 0


def test_head_of_the_report_ends_quietly_in_a_shell(books):
    ended = subprocess.run(
        f"{shlex.quote(sys.executable)} -m abr report --all | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env=command_line.environment(),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Severity")


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only the GNU C library is tuned")
@pytest.mark.parametrize("own", [{}, {"GLIBC_TUNABLES": "glibc.malloc.check=0"}, {"DUCKDB_JE_MALLOC_CONF": ""}])
def test_the_command_tunes_its_allocators_unless_somebody_did(tmp_path, own):
    given = {name: value for name, value in command_line.environment().items() if name not in TUNABLES} | own
    monitor = command_line.started(
        "monitor", "--source", "simulator", "--database", f"{tmp_path}/demo.duckdb", env=given
    )
    try:
        assert monitor.stdout.readline().startswith("run 1 ")
        found = set(Path(f"/proc/{monitor.pid}/environ").read_text("utf-8").split("\0"))
        assert found >= {f"{name}={value}" for name, value in (TUNABLES | own).items()}
    finally:
        monitor.terminate()
    assert command_line.ended(monitor).code == 0


# ---- what the monitor's screen is made of ---------------------------------------------------------------------------


def test_the_screen_has_what_a_run_changed_and_what_overruns_add_up_to():
    contract = {"client": "Acme", "currency": "EUR", "billing_model": "fixed_price", "cap_minutes": "60"}
    log = {"person": "ana", "hours": "2"}
    books = {
        "contracts": [contract | {"contract_id": name, "starts_on": "2026-01-01"} for name in ("F-1", "F-2")],
        "projects": [{"project_id": f"P-{name}", "contract_id": f"F-{name}"} for name in "12"],
        "rates": [
            {"contract_id": "F-1", "hourly_rate": "100.00", "valid_from": "2026-01-01"},
            {"contract_id": "F-2", "hourly_rate": "100.00", "valid_from": "2026-01-01", "valid_to": "2026-02-28"},
        ],
        "time_logs": [
            log | {"time_log_id": f"L-{name}{month}", "project_id": f"P-{name}", "worked_on": f"2026-0{month}-02"}
            for name in "12"
            for month in (2, 3)
        ],
    }  # fmt: skip

    def screen(before=None):
        run = asdict(harness.run(connection))
        return cli._snapshot(connection, run, {"EUR": 2}, "", before)

    with harness.fresh_database() as connection:
        harness.receive(connection, books)
        first = screen()
        assert first.overruns == [
            {"contract_id": "F-1", "client": "Acme", "currency": "EUR", "seconds": 3 * 3600, "amount": Decimal(300)},
            {"contract_id": "F-2", "client": "Acme", "currency": "EUR", "seconds": 3 * 3600, "amount": None},
        ]
        assert {(row["change"], row["about"]) for row in first.changes} == {
            ("opened", f"log:L-{name}{month}") for name in "12" for month in (2, 3)
        }
        changed = books["time_logs"][0] | {"hours": "5"}
        gone = books["time_logs"][1] | {"is_billable": "no"}
        harness.receive(connection, {"time_logs": [changed, gone]})
        second = screen(first)
        assert {(row["change"], row["about"]) for row in second.changes} == {
            ("changed", "log:L-12"), ("closed", "log:L-13")
        }  # fmt: skip
        assert screen(second).changes == second.changes
        assert screen(first).overruns == screen(second).overruns == second.overruns != first.overruns


def test_the_screen_keeps_what_no_run_has_changed_and_lets_go_of_what_one_has():
    def screen(before, **how):
        return cli._snapshot(connection, asdict(harness.run(connection, **how)), {"EUR": 2}, "", before)

    with harness.fresh_database() as connection:
        harness.receive(connection, command_line.BOOKS)
        first = screen(None)
        second = screen(first)
        assert second.run["run_id"] == first.run["run_id"] + 1
        assert replace(second, run=first.run) == first
        assert second.positions is first.positions  # nothing was read again
        later = screen(second, as_of=harness.AS_OF + dt.timedelta(days=1))
        ages = [
            [row["age_days"] for row in shown.positions if row["age_days"] is not None] for shown in (second, later)
        ]
        assert ages[0]
        assert ages[1] == [days + 1 for days in ages[0]]
        unreadable = command_line.BOOKS["time_logs"][5] | {"time_log_id": "L-7", "hours": "-1"}
        harness.receive(connection, {"time_logs": [unreadable]})
        harness.run(connection, later.run["as_of"])  # one that no screen showed
        newest = screen(later, as_of=later.run["as_of"])
        assert newest.quarantined_rows == later.quarantined_rows + 1
        assert sum(newest.quarantine_reasons.values()) > sum(later.quarantine_reasons.values()) + 1  # it has two
