"""Whatever the README says can be done is done here, in its order, and what it prints is compared.

Blocks are told by their language: `console` is commands and what they print, `sh` commands alone, `sql` a query on the
books of the walk (a `text` block after it is its answer), `python` a script. A comment before a block may say more:
`run by .ci/run` (not here), `shown: WHY` (not here either), `file: PATH` (write it there), `in: FOLDER` (run it there).

python -m tests.test_readme writes what the program prints today, and the picture, into the README.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from unittest import mock

import duckdb
import pytest
import typer

from abr import cli, exceptions, formats, loading, settings
from tests import command_line

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PICTURE = Path("tests/pictures/monitor.svg")
WIDTH = 106
SET_UP = "run by .ci/run"
SHOWN = "shown: "
BLOCK = re.compile(r"(?ms)(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$")


@dataclass(frozen=True)
class Block:
    """A fenced block; `start` and `end` are where its text stands in the README."""

    language: str
    note: str
    text: str
    start: int
    end: int

    def __str__(self):
        return f"{self.language}: {self.text.strip().splitlines()[0] if self.text.strip() else '(empty)'}"


def blocks(readme: str) -> list[Block]:
    return [Block(m["language"], m["note"] or "", m["text"], *m.span("text")) for m in BLOCK.finditer(readme)]


READ = README.read_text("utf-8")


# ---- what it prints -------------------------------------------------------------------------------------------------


def workplace(folder: Path) -> Path:
    """Return a folder that holds what a reader has: the examples, and a checkout to add a rule to."""
    shutil.copytree(ROOT / "tests" / "examples", folder / "tests" / "examples")
    for name in ("abr", "migrations", "sql", "tests"):
        shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "alembic.ini"):
        shutil.copy(ROOT / name, folder / "checkout" / name)
    return folder


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return command_line.environment(PATH=path, COLUMNS=str(WIDTH))


def printed(command: str, folder: Path) -> tuple[str, int]:
    """Run a command line, or several, in the folder; return what a terminal would show, and the exit code."""
    if not command.startswith("abr ") or set(command) & set(";|&<>$\n"):
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.stdout, done.returncode
    # In this process, because most of the time would go into starting others.
    screen = io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(), clear=True),
        mock.patch.object(sys, "argv", shlex.split(command)),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(screen),
    ):
        code = cli._main()
    return screen.getvalue(), code


def console(text: str, folder: Path) -> str:
    """Return the text of a console block as it is today: its commands, each with what it prints."""
    lines = []
    for command in re.findall(r"^\$ (.*(?<!\\)(?:\\\n.*(?<!\\))*)$", text, re.MULTILINE):
        shown, code = printed(command, folder)
        assert code == 0, f"{command} exits {code}: {shown}"
        # Blank lines at the end would only tear the page apart.
        lines += [f"$ {command}", *map(str.rstrip, shown.rstrip().splitlines())]
    return "\n".join(lines) + "\n"


def answer(query: str, folder: Path) -> str:
    """Return what a query says, in columns."""
    with duckdb.connect(str(folder / "abr.duckdb"), read_only=True) as connection:
        found = connection.execute(query)
        rows = [[name for name, *_ in found.description], *found.fetchall()]
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    numbers = [any(isinstance(row[place], Decimal | int) for row in rows[1:]) for place in range(len(rows[0]))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(aligned) + "\n"


def today(readme: str, folder: Path) -> Iterator[tuple[Block, str]]:
    """Do what the README says, in order; yield each block that shows something printed, and what it should show."""
    before = None
    for block in blocks(readme):
        if block.note.startswith("file: "):
            path = folder / block.note.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        elif block.note != SET_UP and not block.note.startswith(SHOWN):
            here = folder / block.note.removeprefix("in: ") if block.note.startswith("in: ") else folder
            if block.language == "console":
                yield block, console(block.text, here)
            elif block.language == "sh":
                shown, code = printed("set -e\n" + block.text, here)
                assert code == 0, f"{block} exits {code}: {shown}"
            elif block.language == "python":
                code = subprocess.run([sys.executable, "-c", block.text], cwd=here, env=environment(), check=False)
                assert code.returncode == 0, str(block)
            elif block.language == "sql":
                said = answer(block.text, here)
                assert said.count("\n") > 1, f"{block} finds nothing"
            elif block.language == "text" and before and before.language == "sql":
                yield block, said
            else:
                assert block.language == "text", f"what is a {block}?"
        before = block


def plain(text: str) -> str:
    """Return the text without what differs from day to day: times, durations, the room they need."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?Z?", "TIME", text)
    text = re.sub(r"[\d,]+ ms", "DURATION", text)
    return re.sub(r"─+", "─", re.sub(r" +", " ", text))


@pytest.fixture
def folder(tmp_path):
    return workplace(tmp_path)


def test_every_command_and_query_works_and_prints_what_the_readme_shows(folder):
    for block, shown in today(READ, folder):
        assert plain(block.text) == plain(shown), f"{block}; python -m tests.test_readme writes it anew"
    assert (folder / "monitor.svg").read_text("utf-8") == (ROOT / PICTURE).read_text("utf-8")


def test_two_commands_set_it_up_and_ci_runs_just_these():
    assert len([block for block in blocks(READ) if block.note == SET_UP]) == 2


# ---- its tables ------------------------------------------------------------------------------------------------------


def table(header: str) -> list[list[str]]:
    """Return the cells of the table that has this header, row by row."""
    rows = READ.partition(f"\n| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows, f"there is no table {header}"
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def said_by(sql: str, column: str) -> set[str]:
    return set(re.findall(rf"'(\w+)' as {column}\b", sql))


def test_the_terms_are_those_of_a_contract():
    told = [names(row[0])[0] for row in table("term | meaning | blank means | example")]
    assert told == loading.columns_of("contracts")


def test_the_data_sets_have_the_columns_they_say_and_the_required_ones_are_bold():
    rows = {names(row[0])[0]: row[2] for row in table("data set | key | columns")}
    assert list(rows) == list(loading.DATASETS)
    for dataset, columns in rows.items():
        if dataset != "contracts":
            # What stands in brackets is a value, not a column.
            told = re.sub(r"\([^)]*\)", "", columns)
            assert set(names(told)) == set(loading.cells_of(dataset))
            assert re.findall(r"\*\*`(\w+)`\*\*", told) == [
                name for name in loading.cells_of(dataset) if name in formats.REQUIRED[dataset]
            ]


def test_the_limits_are_those_of_the_loader():
    told = {name: int(row[1].removeprefix("10^")) for row in table("cells | less than") for name in names(row[0])}
    kinds = {name: kind for columns in loading._KINDS.values() for name, kind in columns.items()}
    assert told == {
        name: int(kind.partition("_")[2]) for name, kind in kinds.items() if kind.startswith(("decimal_", "whole_"))
    }


def test_the_classes_and_their_sides_are_those_of_the_rules():
    told = {names(row[0])[0]: {row[1]} for row in table("class | side | meaning | seconds | what to do")}
    assert told == {
        path.stem: said_by(path.read_text("utf-8"), "side") for path in (ROOT / "sql" / "finding_rules").glob("*.sql")
    }


def test_the_reasons_and_their_data_sets_are_those_of_the_rules():
    told = {}
    for reason, data_sets, *_ in table("reason | data set | meaning | what to do"):
        named = set(names(data_sets))
        told[names(reason)[0]] = set(loading.DATASETS) - named if data_sets.startswith("all") else named
    assert told == {
        path.stem: said_by(path.read_text("utf-8"), "dataset")
        for folder in ("quarantine_rules", "reference_rules", "coverage_rules")
        for path in (ROOT / "sql" / folder).glob("*.sql")
    }


def test_the_views_are_those_of_the_report_schema():
    told = [names(row[0])[0] for row in table("view | one row for each | what it says")]
    assert sorted(told) == sorted(f"report.{path.stem}" for path in (ROOT / "sql" / "report").glob("*.sql"))


def commands():
    """Return every command by its full name, a group that does something itself included."""
    found = {}

    def walk(command, name):
        children = getattr(command, "commands", {})
        if not children or command.invoke_without_command:
            found[name] = command
        for child, inner in children.items():
            walk(inner, f"{name} {child}")

    walk(typer.main.get_command(cli.app), "abr")
    return found


def test_the_commands_are_those_of_the_program():
    assert {names(row[0])[0] for row in table("command | what it does")} == commands().keys()


def test_every_command_line_names_options_that_exist():
    known = commands()
    lines = [line for block in blocks(READ) for line in re.findall(r"\babr [a-z][^\n;|&>]*", block.text)]
    checked = 0
    for line in lines + re.findall(r"`(abr [^`\n]*)`", READ):
        words = line.split()
        command = next((known[name] for name in (" ".join(words[:3]), " ".join(words[:2])) if name in known), None)
        if command:
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options | {"--help"}, line
            checked += 1
    assert checked > 40


def test_the_exit_codes_are_those_of_the_exceptions():
    told = {int(row[0]) for row in table("exit code | meaning")}
    raised = {
        error.exit_code
        for error in vars(exceptions).values()
        if isinstance(error, type) and issubclass(error, exceptions.ABRError)
    }
    assert told == {0, cli.FLAGGED_EXIT_CODE} | raised


def test_the_settings_are_those_of_the_program():
    told = {names(row[0])[0]: row for row in table("setting | flag | environment | default | what it does")}
    assert list(told) == list(settings.Settings.model_fields)
    options = {option for command in commands().values() for parameter in command.params for option in parameter.opts}
    for name, row in told.items():
        flag = settings.FLAGS.get(name)
        assert flag is None or flag in options
        assert row[1] == (f"`{flag}`" if flag else "none")
        assert names(row[2]) == [settings.ENVIRONMENT_PREFIX + name.upper()]


def test_every_link_leads_somewhere():
    titles = re.findall(r"^#+ (.*)$", READ, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", READ):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (ROOT / target).exists(), target


# ---- writing it anew -------------------------------------------------------------------------------------------------


def rewrite(folder: Path) -> None:
    """Write what the program prints today into the README."""
    readme = READ
    for block, shown in reversed(list(today(READ, workplace(folder)))):
        if plain(block.text) != plain(shown):
            readme = readme[: block.start] + shown + readme[block.end :]
    README.write_text(readme, "utf-8")
    shutil.copy(folder / "monitor.svg", ROOT / PICTURE)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        rewrite(Path(scratch))
