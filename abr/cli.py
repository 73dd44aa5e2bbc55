"""The commands: parse, call, render, exit code. The only module that prints or ends the process.

stdout carries results and nothing else, stderr carries talk.
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated, Any

import duckdb
import typer
from rich.console import RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import Connection, Engine, text

from abr import (
    __version__,
    compacting,
    dashboards,
    data_simulator,
    database,
    exceptions,
    explaining,
    formats,
    handover,
    inbox,
    loading,
    mirroring,
    monitor,
    publishing,
    reconciliation_engine,
)
from abr import console as show
from abr import settings as settings_module
from abr import views as views_module
from abr.exceptions import (
    ABRError,
    ContractComplianceError,
    DatabaseBusy,
    DataIntegrityError,
    NotPublished,
    UsageError,
)
from abr.models import METADATA
from abr.settings import Settings

DEMO_DATABASE = "duckdb:///abr-demo.duckdb"
SIMULATOR = "simulator"
FLAGGED_EXIT_CODE = 10
_PROGRESS_AFTER_SECONDS = 1.0
_SIMULATED_LOGS_MAX = 1_000_000_000
_SETTLING_SECONDS = 1.0
_PATIENCE_SECONDS = 1.0  # for a holder of the database that may be a monitor about to say so
_PATIENCE_AFTER_SECONDS = 10.0  # for a monitor that was there and is closing the database
_ROWS_SHOWN = 40
_DAYS_AHEAD_MAX = 366
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

app = typer.Typer(
    name="abr",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Find the hours a services firm worked and never billed.\n\nStart with [bold]abr monitor[/]: it shows live "
    "demo data. Then load your own files with [bold]abr load[/].",
)
quarantine_app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")
database_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Look after the database.")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(database_app, name="db")
bi_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Connect BI tools.",
    epilog="Example:  [bold]abr bi superset --out abr.zip[/]",
)
app.add_typer(bi_app, name="bi")
mirror_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Keep a copy in PostgreSQL for many users.",
    epilog="Example:  [bold]abr mirror status[/]",
)
app.add_typer(mirror_app, name="mirror")


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        _print(f"abr {__version__}")
        raise typer.Exit


@app.callback()
def _before_any_command(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say which version this is.")
    ] = False,
) -> None: ...


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class FileKind(StrEnum):
    """What kind of files the simulator writes."""

    CSV = "csv"
    PARQUET = "parquet"


class Source(StrEnum):
    """Where the monitor's data comes from."""

    SIMULATOR = "simulator"
    INBOX = "inbox"


DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="Database file, or a duckdb:/// URL.", show_default="abr.duckdb")
]
FormatOption = Annotated[Format, typer.Option("--format", help="table for people, json or csv for programs.")]
ThresholdOption = Annotated[
    str | None,
    typer.Option("--threshold", help="Flag contracts above this leakage: 1500.00, or 1500.00,JPY=220000."),
]


def _day(text_: str) -> date:
    """Return the day an option names."""
    try:
        return date.fromisoformat(text_)
    except ValueError as error:
        raise typer.BadParameter(f"{text_!r} is no date; write it as 2026-03-31") from error


AsOfOption = Annotated[
    date | None,
    typer.Option("--as-of", parser=_day, metavar="DATE", help="Date to reconcile for.", show_default="today"),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit history.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides.", show_default="the user of this machine")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=1_000_000_000, help="Show at most this many rows in a table.")
]


def main() -> None:
    """Run the command line and end the process with the exit code it deserves."""
    code = 1
    with monitor.closed_pipe_is_quiet():
        code = _main()
    sys.exit(code)


def _require_text(arguments: Sequence[str]) -> None:
    """Refuse bytes that are no text: neither a terminal nor DuckDB could take them."""
    for argument in arguments:
        if argument != argument.encode("utf-8", "ignore").decode():
            raise UsageError(f"{argument!a} is not UTF-8 text", "type it as UTF-8; where it is a file, rename it")


def _main() -> int:
    try:
        _require_text(sys.argv[1:])
        result = app(standalone_mode=False)
        sys.stdout.flush()
    except ABRError as error:
        _print_error(error)
        return error.exit_code
    except typer.Exit as end:
        return end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _talk("abr: stopped")
        return 1
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # what Click says of a wrong command line
            if told := error.format_message().replace("Value error, ", "").rstrip("."):  # else it has shown the help
                context = getattr(error, "ctx", None)
                _talk(f"abr: {told}; see {context.command_path if context else 'abr'} --help")
            return int(error.exit_code)
        if isinstance(error, BrokenPipeError) or os.environ.get("ABR_DEBUG"):
            raise
        _talk(f"abr: {_unexpected(error)}")
        return 1
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"the output cannot be written as {error.encoding}; set PYTHONIOENCODING=utf-8"
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        return f"the output cannot be written: {error.strerror}"
    first_line = str(error).splitlines()[0] if str(error) else ""
    return f"unexpected: {type(error).__name__}: {first_line}; set ABR_DEBUG=1 to see where, and please report it"


# ---- shared ---------------------------------------------------------------------------------------------------------


_told_elsewhere: list[list[str]] = []


def _talk(message: str) -> None:
    if _told_elsewhere:
        _told_elsewhere[-1].append(message)
    else:
        show.terminal(sys.stderr).print(show.safe(message, 2000))


@contextmanager
def _telling(lines: list[str]) -> Iterator[None]:
    """Let what is said meanwhile go to another process's stderr: into these lines, that is."""
    _told_elsewhere.append(lines)
    try:
        yield
    finally:
        _told_elsewhere.pop()


def _print_error(error: ABRError) -> None:
    show.terminal(sys.stderr).print(show.problem(error))


def _print(renderable: RenderableType) -> None:
    show.terminal(sys.stdout).print(renderable)


def _write(content: str) -> None:
    sys.stdout.write(content if content.endswith("\n") else content + "\n")


def _print_rows(rows: Sequence[Mapping[str, Any]], form: Format, table: RenderableType, columns: Sequence[str]) -> None:
    if form is Format.JSON:
        _write(show.json_text(rows))
    elif form is Format.CSV:
        _write(show.csv_text(rows, columns))
    else:
        _print(table)


def _settings(database_url: str | None, **flags: Any) -> Settings:
    loaded = settings_module.load_settings({"database_url": database_url, **flags})
    for name in settings_module.unknown_environment():
        if name != "ABR_DEBUG":
            _talk(f"abr: {name} is not a setting of ABR; abr settings lists them")
    return loaded


@contextmanager
def _opened(settings: Settings, *, must_exist: bool = False, upgrade: bool = False) -> Iterator[Connection]:
    path = settings_module.database_path(settings)
    if must_exist and path is not None and not path.exists():
        demo = database.path_of(DEMO_DATABASE)
        has_demo = demo is not None and demo.exists()
        raise UsageError(
            f"there is no database {path}",
            f"add --database {demo} to see the demo's, or load your own files first: abr load FOLDER"
            if has_demo
            else "load files first: abr load FOLDER, or name one with --database",
        )
    with (
        database.connect(settings.database_url, memory_limit=settings.memory_limit, upgrade=upgrade) as connection,
        database.explained(path),
    ):
        yield connection


@contextmanager
def _readable(settings: Settings) -> Iterator[Connection]:
    """Yield a connection to read results from: the database, or its published copy while another process holds it."""
    path = settings_module.database_path(settings)
    with ExitStack() as opened:
        try:
            connection = opened.enter_context(_opened(settings, must_exist=True))
        except DatabaseBusy as busy:
            if path is None:
                raise
            try:
                connection, copy = opened.enter_context(publishing.reading(path))
            except NotPublished as error:
                busy.add_note(error.message)
                raise busy from None
            _talk(
                f"abr: {busy.message}; this is its published copy as of run {copy.run_id}, "
                f"{copy.published_at:%Y-%m-%d %H:%M:%S}Z"
            )
        yield connection


@contextmanager
def _publisher(connection: Connection, settings: Settings) -> Iterator[publishing.Publisher | None]:
    """Yield what keeps the database's published copy; None for a database in memory, which nobody else can read."""
    path = settings_module.database_path(settings)
    if path is None:
        yield None
        return
    with publishing.publisher(connection, path, group=settings.published_group, tell=_talk) as publisher:
        yield publisher


def _publish(
    publisher: publishing.Publisher | None, *, mirror: mirroring.Mirror | None = None, is_forced: bool = False
) -> None:
    """Let readers and the mirror see the newest; where that cannot be done, say so once and not in every cycle."""
    if publisher is None:
        return
    try:
        if publishing.publish_if_due(publisher, now=_now(), is_forced=is_forced):
            publisher.trouble = None
    except NotPublished as error:
        if publisher.trouble != error.message:
            publisher.trouble = error.message
            _talk(f"abr: {error.message}; {error.remedy}")
    if mirror:
        mirror.wake()


@contextmanager
def _beside(connection: Connection, settings: Settings) -> Iterator[Connection]:
    """Yield a connection of this process for loading: temp tables of loads make plans on their connection stale."""
    if settings_module.database_path(settings) is None:
        yield connection
        return
    with connection.engine.connect() as other:
        yield other


def _rows(connection: Connection, query: str, **bound: Any) -> list[dict[str, Any]]:
    found = [dict(row) for row in connection.execute(text(query), bound).mappings()]
    connection.rollback()
    return found


def _decimals(connection: Connection) -> dict[str, int]:
    return {
        row["currency"]: row["decimals"] for row in _rows(connection, "select currency, decimals from work.currency")
    }


def _columns(connection: Connection, view: str) -> list[str]:
    return [row["column_name"] for row in _rows(connection, f"select column_name from (describe {view})")]


def _interrupt(connection: Connection) -> Callable[[], None]:
    driver = connection.connection.driver_connection
    if driver is None:
        raise DataIntegrityError("the database connection is closed", "start the command again")
    return driver.interrupt  # type: ignore[no-any-return]


def _now() -> datetime:
    return reconciliation_engine.utc_now()


def _is_simulated(connection: Connection) -> bool | None:
    """Return whether the database holds simulated data; None where it holds none at all."""
    rows = _rows(connection, f"select format = '{SIMULATOR}' as is_simulated from source.load limit 1")
    return rows[0]["is_simulated"] if rows else None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str, float | None], None]]:
    """Yield a function to tell how far a long job is: what it does now, and how much of it, 0 to 1.

    A bar appears on a terminal's stderr once the job has taken a second, and goes when it is done.
    """
    started = monotonic()
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=show.terminal(sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task(show.safe(what), total=None)
    is_shown = False

    def tell(doing: str, share: float | None = None) -> None:
        nonlocal is_shown
        if not is_shown and monotonic() - started >= _PROGRESS_AFTER_SECONDS:
            bar.start()
            is_shown = True
        bar.update(task, description=show.safe(doing), total=None if share is None else 1, completed=share or 0)

    try:
        yield tell
    finally:
        if is_shown:
            bar.stop()


# ---- work that a running monitor does for others --------------------------------------------------------------------

Tell = Callable[[str, float | None], None]
Arguments = Mapping[str, Any]  # as JSON has them
# What a command does with the database, apart from what it reads from its command line and prints. The answer is JSON.
Work = Callable[[Connection, Settings, Arguments, Tell, str | None], handover.Answer]


def _answer(
    command: str, settings: Settings, arguments: Arguments, *, doing: str, must_exist: bool = True
) -> handover.Answer:
    """Return what the command's work says: done here, or by the monitor that holds the database."""
    path = settings_module.database_path(settings)
    request_id: str | None = None
    give_up_at = monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _done_here(command, settings, arguments, request_id, doing=doing, must_exist=must_exist)
        except DatabaseBusy as error:
            busy = error
        folder = None if path is None else handover.folder_of(path)
        if folder is not None and handover.is_served(folder):
            # The same id as before, where a monitor has ended: what is done already is not done again.
            request_id = request_id or handover.new_id()
            answer = _handed_over(folder, handover.Request(request_id, command, arguments), busy)
            if answer is not None:
                return _unpacked(answer, arguments, str(path))
            give_up_at = monotonic() + _PATIENCE_AFTER_SECONDS
        elif monotonic() > give_up_at:
            raise busy
        else:
            sleep(handover.LOOK_SECONDS)


def _done_here(
    command: str, settings: Settings, arguments: Arguments, request_id: str | None, *, doing: str, must_exist: bool
) -> handover.Answer:
    work = _WORK[command]
    with _opened(settings, must_exist=must_exist) as connection, _progress(doing) as tell:
        tell(doing, None)
        if command == "load":
            return _interruptible(
                connection, tell, lambda tell: work(connection, settings, arguments, tell, request_id)
            )
        answer = work(connection, settings, arguments, tell, request_id)
        if command in _DECISIONS:
            _rerun(connection, settings)
        return answer


def _interruptible(connection: Connection, tell: Tell, load: Callable[[Tell], handover.Answer]) -> handover.Answer:
    last = ""

    def noted(doing: str, share: float | None) -> None:
        nonlocal last
        last = doing
        tell(doing, share)

    answer: handover.Answer = {}
    with monitor.Signals(_interrupt(connection)) as signals, signals.working():
        answer = load(noted)
    if signals.interrupted:
        _talk(f"abr: stopped; {'everything' if last == _CHECKING else 'nothing'} was loaded")
        raise typer.Exit(1)
    return answer


def _handed_over(folder: Path, request: handover.Request, busy: DatabaseBusy) -> handover.Answer | None:
    """Return the monitor's answer, None where it has ended. It gets absolute paths: it works in another folder."""
    away = replace(request, arguments={**request.arguments, "paths": _absolute(request.arguments.get("paths", ()))})
    with monitor.Signals(lambda: None) as signals, _progress("the monitor does it") as tell:

        def wait(seconds: float) -> None:
            tell("waiting for the monitor", None)
            signals.sleep(seconds)

        try:
            return handover.ask(folder, away, sleep=wait, stopped=signals.stopped)
        except OSError as error:
            raise DatabaseBusy(
                f"{busy.message}, and the work cannot be handed over: {folder}: {error.strerror}",
                "check what room there is and who may write there, or stop the monitor",
            ) from error


def _absolute(paths: Sequence[str]) -> list[str]:
    return [os.path.abspath(path) for path in paths]  # noqa: PTH100  as typed otherwise: no link is followed


def _unpacked(answer: handover.Answer, arguments: Arguments, database_file: str) -> handover.Answer:
    """Return the answer; what is said beside it, or an error, is said as it would have been here: paths as typed."""
    spellings = {os.path.abspath(typed): typed for typed in arguments.get("paths", ())}  # noqa: PTH100  see _absolute
    spellings[answer["database"]] = database_file

    def typed(message: str) -> str:
        for spelling in sorted(spellings, key=len, reverse=True):
            message = message.replace(spelling, spellings[spelling])
        return message

    for line in answer["talk"]:
        _talk(typed(line))
    if "error" in answer:
        kind = getattr(exceptions, str(answer["error"]), ABRError)
        raise kind(typed(answer["message"]), typed(answer["remedy"]))
    return answer


def _serve(
    desk: handover.Desk | None, settings: Settings, engine: Engine, interrupts: list[Callable[[], None]]
) -> list[tuple[str, handover.Answer]]:
    """Do what others ask for; return the answers that must wait until the cycle has acted on them."""
    held: list[tuple[str, handover.Answer]] = []
    if desk is None:
        return held
    for request in handover.take(desk):
        answer = _served(request, settings, engine, interrupts)
        if request.command in _DECISIONS and "error" not in answer:
            held.append((request.request_id, answer))
        else:
            handover.leave(desk, request.request_id, answer)
    if problem := handover.new_problem(desk):
        _talk(f"abr: other commands cannot hand over their work: {problem}")
    return held


def _send(desk: handover.Desk | None, answers: Sequence[tuple[str, handover.Answer]]) -> None:
    if desk is not None:
        for request_id, answer in answers:
            handover.leave(desk, request_id, answer)


def _served(
    request: handover.Request, settings: Settings, engine: Engine, interrupts: list[Callable[[], None]]
) -> handover.Answer:
    path = settings_module.database_path(settings)
    talk: list[str] = []
    work = _WORK.get(request.command, _unknown_work)
    try:
        # A connection for this alone: what it keeps in memory goes with it, and no plan of the monitor's gets stale.
        with engine.connect() as connection, database.explained(path), _telling(talk):
            interrupts.append(_interrupt(connection))
            try:
                views_module.create_work_tables(connection)
                connection.commit()
                answer = work(connection, settings, request.arguments, _untold, request.request_id)
            finally:
                interrupts.pop()
    except Exception as error:
        if _is_interruption(error):
            raise
        known = isinstance(error, ABRError)
        answer = {
            "error": type(error).__name__,
            "message": error.message if isinstance(error, ABRError) else f"unexpected: {type(error).__name__}: {error}",
            "remedy": error.remedy if isinstance(error, ABRError) else "please report it",
        }
        if not known:
            _talk(f"abr: {request.command}, asked for by another process: {answer['message']}")
    return {**answer, "talk": talk, "database": str(path)}


def _is_interruption(error: BaseException | None) -> bool:
    """Return whether a signal's interruption lies beneath an error."""
    while error is not None:
        if isinstance(getattr(error, "orig", error), duckdb.InterruptException):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unknown_work(
    connection: Connection,  # noqa: ARG001
    settings: Settings,
    arguments: Arguments,  # noqa: ARG001
    tell: Tell,  # noqa: ARG001
    request_id: str | None,  # noqa: ARG001
) -> handover.Answer:
    raise UsageError(
        f"the monitor of {settings_module.database_path(settings)} does not know what is asked for",
        "start the monitor again with this version of ABR",
    )


def _untold(doing: str, share: float | None) -> None:
    """Tell nobody: the monitor's screen is not for others' progress."""


def _run(
    connection: Connection,
    settings: Settings,
    as_of: date,
    *,
    is_strict: bool = False,
    clock: Callable[[], datetime] = reconciliation_engine.utc_now,
    progress: Callable[[str, float | None], None] | None = None,
    is_batch: bool = False,
) -> reconciliation_engine.Run:
    def run(told: reconciliation_engine.Progress | None) -> reconciliation_engine.Run:
        return reconciliation_engine.run_once(
            connection,
            as_of,
            thresholds=settings.threshold_amount,
            settings=settings_module.result_settings(settings),
            is_strict=is_strict,
            clock=clock,
            progress=told,
            empties_work_tables=not is_batch,
        )

    def tell(done: int, total: int) -> None:
        if progress:
            progress("reconciling", done / total)

    return run(tell) if is_batch else reconciliation_engine.run_all(connection, run, tell)


# ---- the main job -----------------------------------------------------------------------------------------------


@app.command(
    "monitor",
    epilog="Examples:  [bold]abr monitor[/]   [bold]abr monitor --source inbox --interval 5[/]   "
    "[bold]abr monitor --source simulator --cycles 3 --seed 7[/]",
)
def monitor_command(
    source: Annotated[
        Source | None,
        typer.Option(
            help="simulator: live demo data. inbox: files dropped into a folder.",
            show_default="inbox where the database holds your data, else simulator",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database", help="Database file, or a duckdb:/// URL.", show_default="abr.duckdb, or abr-demo.duckdb"
        ),
    ] = None,
    interval: Annotated[float | None, typer.Option(help="Seconds between two cycles.", show_default="5")] = None,
    cycles: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many cycles.", show_default="endless")
    ] = None,
    threshold: ThresholdOption = None,
    inbox_folder: Annotated[
        Path | None, typer.Option("--inbox", help="Folder that files are dropped into.", show_default="DATABASE.inbox")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Halt on a bad contract or a fixed-price overrun.")] = False,
    seed: Annotated[int | None, typer.Option(help="Simulator: which firm.", show_default="1")] = None,
    until: Annotated[
        date | None,
        typer.Option(
            parser=_day, metavar="DATE", help="Simulator: pretend that it is this date.", show_default="today"
        ),
    ] = None,
    fail_at: Annotated[int | None, typer.Option(min=1, help="Simulator: let the feed fail in this cycle.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the last screen to this file, as SVG.", show_default=False)
    ] = None,
) -> None:
    """Watch unbilled revenue appear: a cycle every 5 seconds until Ctrl-C."""
    settings = _settings(database_url, interval_seconds=interval, threshold_amount=threshold, inbox=inbox_folder)
    is_found = source is None and settings.inbox is None  # then nobody says that there is an inbox already
    source, settings, why = _monitored(source, settings, is_named=database_url is not None)
    if picture and not picture.parent.is_dir():
        raise UsageError(f"the folder {picture.parent} for the picture does not exist", "create it, or name another")
    if source is Source.INBOX and (until or fail_at or seed is not None):
        raise UsageError(
            "--seed, --until and --fail-at belong to the simulator", "leave them out, or add --source simulator"
        )
    _talk(why)
    is_waiting: Callable[[], bool] = lambda: False  # noqa: E731  the simulator never has anything before its time
    # The desk is open before the database is taken, and until it is given back: nobody finds the one without the other.
    with (
        _desk(settings, source) as desk,
        _opened(settings) as connection,
        _beside(connection, settings) as feeding,
        _publisher(connection, settings) as publisher,
        mirroring.following(settings, _talk) as mirror,
    ):
        if source is Source.SIMULATOR:
            feed = _simulator_feed(feeding, settings, seed=seed, until=until, fail_at=fail_at)
        else:
            feed, is_waiting = _inbox_feed(feeding, settings, may_make=is_found)
        clock = _simulated_clock(until, settings) if until else reconciliation_engine.utc_now
        database.tidies(connection)
        if publisher is not None:
            publisher.tidies = True
        try:
            _watch(
                connection,
                feeding,
                publisher,
                settings,
                feed,
                clock,
                str(source),
                desk,
                is_waiting,
                mirror=mirror,
                until=until,
                cycles=cycles,
                is_strict=strict,
                picture=picture,
            )
        except ABRError:
            if database.has_its_file(connection):
                _publish(publisher, is_forced=True)  # readers see the halt
            raise


def _monitored(source: Source | None, settings: Settings, *, is_named: bool) -> tuple[Source, Settings, str]:
    """Return the source to watch, the settings with the database to use, and a sentence saying so."""
    path = settings_module.database_path(settings)
    is_configured = is_named or settings_module.origins(settings)["database_url"] != "default"
    kind: bool | None = None
    if path is None or path.exists():
        with _opened(settings) as connection:
            kind = _is_simulated(connection)
    if source is None and kind is False:
        folder = settings_module.inbox_path(settings)
        return Source.INBOX, settings, f"abr: watching {path} and the inbox {folder}; abr load FILE adds data too"
    if source is Source.INBOX:
        if kind is True:
            raise UsageError(
                f"{path} holds simulated data", "watch it with --source simulator, or name another --database"
            )
        return source, settings, f"abr: inbox {settings_module.inbox_path(settings)}, database {path}"
    if kind is False:
        raise UsageError(f"{path} holds real data, and the simulator must not mix with it", "name another --database")
    if is_configured:
        return Source.SIMULATOR, settings, f"abr: simulated data in {path}"
    settings = settings_module.on_database(settings, DEMO_DATABASE, "the demo")
    demo = settings_module.database_path(settings)
    return (
        Source.SIMULATOR,
        settings,
        f"abr: no data of your own yet, so this is a simulated firm in {demo}; see abr load --help",
    )


def _desk(settings: Settings, source: Source) -> AbstractContextManager[handover.Desk | None]:
    """Open the desk for requests. It never makes the inbox that is watched: a missing one must halt."""
    path = settings_module.database_path(settings)
    folder = None if path is None else handover.folder_of(path)
    watched = settings_module.inbox_path(settings) if source is Source.INBOX else None
    is_watched = folder is not None and watched is not None and watched.resolve() == folder.parent
    return handover.serving(folder, may_make_parent=not is_watched)


def _simulated_clock(until: date, settings: Settings) -> Callable[[], datetime]:
    """Return a clock that says noon of that date in the first run, and an interval later in each that follows."""
    moment = datetime.combine(until, time(12, 0))
    asked = 0

    def clock() -> datetime:
        nonlocal asked
        run, is_end = divmod(asked, 2)  # two readings to a run, its start and its end
        asked += 1
        return moment + timedelta(seconds=settings.interval_seconds * (run + is_end / 10))

    return clock


Feed = Callable[[datetime], Sequence[str]]  # returns the files that lie rejected


def _simulator_feed(
    connection: Connection, settings: Settings, *, seed: int | None, until: date | None, fail_at: int | None
) -> Feed:
    if _is_simulated(connection) is None:
        day = until or settings_module.today(settings, _now())
        _simulate(connection, seed=1 if seed is None else seed, until=day, size=data_simulator.FirmSize(), now=_now())
    told = json.loads(
        _rows(connection, "select parameters from source.load where parameters is not null order by load_id limit 1")[
            0
        ]["parameters"]
    )
    if seed not in (None, told["seed"]):
        _talk(f"abr: the firm that is there is of seed {told['seed']}; for another one name another --database")
    size = data_simulator.FirmSize(told["logs"], told["contracts"], told["days"])
    cycle = 0

    def feed(now: datetime) -> Sequence[str]:
        nonlocal cycle
        cycle += 1
        if cycle == fail_at:
            raise DataIntegrityError(
                f"failed feed: the simulator stopped delivering in cycle {cycle}",
                "this is what --fail-at shows; start the monitor again without it",
            )
        lived = _rows(connection, "select count(*) - 1 as cycles from source.load")[0]["cycles"]
        incoming = data_simulator.arrive(
            _cursor(connection),
            seed=told["seed"],
            until=date.fromisoformat(told["until"]),
            size=size,
            cycle=lived,
            now=datetime.combine(until, time(12, 0)) + timedelta(seconds=5 * lived) if until else now,
        )
        with connection.begin():
            loading.load(connection, incoming, source=SIMULATOR, format_name=SIMULATOR, now=now)
        return ()

    return feed


def _cursor(connection: Connection) -> Any:
    """Return DuckDB's own connection beneath, outside any transaction."""
    connection.rollback()
    return connection.connection.driver_connection


def _inbox_feed(connection: Connection, settings: Settings, *, may_make: bool) -> tuple[Feed, Callable[[], bool]]:
    """Return what loads the files that are there, and what tells whether there are any."""
    folder = settings_module.inbox_path(settings)
    if folder is None:
        raise UsageError("a database in memory has no inbox", "name a folder with --inbox")
    if may_make and not folder.exists():
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"the inbox {folder} cannot be made: {error.strerror}", "name one with --inbox") from error
    box = inbox.Inbox(folder, quiet_seconds=min(settings.interval_seconds, _SETTLING_SECONDS))
    with suppress(DataIntegrityError):  # the first cycle says it
        if inbox.look_into(box):
            # What lies there already is for the first cycle, provided nobody is still writing it.
            sleep(box.quiet_seconds)

    def feed(now: datetime) -> Sequence[str]:
        def load_one(path: Path) -> None:
            _load(connection, [path], as_="auto", now=now)

        for path, error in inbox.take(box, load_one):
            _talk(f"abr: inbox: {path.name} " + (f"rejected: {error.message}" if error else "loaded"))
        return inbox.rejected(box)

    return feed, lambda: inbox.is_waiting(box)


def _watch(  # noqa: C901, PLR0915  one loop: what it draws and what it does belong together
    connection: Connection,
    feeding: Connection,
    publisher: publishing.Publisher | None,
    settings: Settings,
    feed: Feed,
    clock: Callable[[], datetime],
    source: str,
    desk: handover.Desk | None,
    is_waiting: Callable[[], bool],
    *,
    mirror: mirroring.Mirror,
    until: date | None,
    cycles: int | None,
    is_strict: bool,
    picture: Path | None,
) -> None:
    terminal = show.terminal(sys.stdout)
    is_live = terminal.is_terminal and not terminal.is_dumb_terminal
    decimals = _decimals(connection)
    shown: show.Snapshot | None = None
    is_unfinished = False  # more than fits one run is left
    live = Live(console=terminal, screen=True, auto_refresh=False) if is_live else None
    interrupts = [_interrupt(connection), _interrupt(feeding), *([publisher.interrupt] if publisher else [])]

    def draw(seconds_left: float | None) -> None:
        if live and shown:
            snapshot = replace(shown, next_run_in_seconds=seconds_left)
            live.update(show.screen(snapshot, width=terminal.width, height=terminal.height), refresh=True)

    def tick() -> None:
        nonlocal shown, is_unfinished
        database.require_its_file(connection)
        now = _now()
        as_of = until or settings_module.today(settings, now)
        answers = _serve(desk, settings, connection.engine, interrupts)
        try:
            with database.explained(settings_module.database_path(settings)):
                rejected = feed(now)
        except DataIntegrityError as error:
            reconciliation_engine.record_halt(
                connection,
                as_of,
                error,
                settings=settings_module.result_settings(settings),
                started_at=clock(),
                clock=clock,
            )
            raise
        is_first = shown is None
        with _progress("reconciling") if is_first and not live else _silent() as tell:
            run = _run(
                connection,
                settings,
                as_of,
                is_strict=is_strict,
                clock=clock,
                progress=tell,
                is_batch=True,
            )
        _publish(publisher, mirror=mirror)
        _send(desk, answers)
        before, shown = shown, _snapshot(connection, asdict(run), decimals, source, shown)
        shown = replace(shown, rejected_files=rejected)
        if live:
            draw(settings.interval_seconds)
        else:
            _print(show.lines(shown, before))
            sys.stdout.flush()
        reconciliation_engine.tidy(connection, publisher, now=_now())
        is_unfinished = reconciliation_engine.is_pending(connection)

    try:
        if live:
            live.start()
        signals = monitor.watch(
            settings.interval_seconds,
            tick,
            interrupt=lambda: [interrupt() for interrupt in interrupts],
            idle=draw if is_live else None,
            woken=lambda: is_unfinished or is_waiting() or (desk is not None and handover.has_requests(desk)),
            cycles=cycles,
        )
    finally:
        if live:
            live.stop()
            if shown:
                _print(show.lines(shown, None))
    if signals.interrupted:
        _talk("abr: stopped; the cycle that was running is rolled back")
    if picture and shown:
        content = show.screen(shown, width=_PICTURE_WIDTH, height=_PICTURE_HEIGHT)
        try:
            picture.write_text(show.svg(content, width=_PICTURE_WIDTH, title="abr monitor"), "utf-8")
        except OSError as error:
            raise UsageError(f"{picture} cannot be written: {error.strerror}", "name another file") from error


_PICTURE_WIDTH = 148
_PICTURE_HEIGHT = 44


@contextmanager
def _silent() -> Iterator[None]:
    yield None


_SUMMED = (column.name for column in show.TOTAL_COLUMNS if column.kind in {"money", "hours"})
_TOTALS = (
    "select currency, count(*) as contract_count, count(*) filter (where is_flagged) as flagged_count, "
    "count(*) filter (where severity = 'watch') as watch_count, "
    + ", ".join(f"sum({name})::decimal(38, 4) as {name}" for name in _SUMMED)
    + " from report.contract_position"
)


def _snapshot(
    connection: Connection,
    run: Mapping[str, Any],
    decimals: Mapping[str, int],
    source: str,
    before: show.Snapshot | None,
) -> show.Snapshot:
    """Return what the screen shows after a run. What no run since the screen `before` can have changed is kept."""
    if before and run["as_of"] == before.run["as_of"] and not _has_written(connection, before.run):
        return replace(before, run=run, source=source)
    changes, changed_run, overruns = (before.changes, before.changed_run, before.overruns) if before else ((), None, ())
    if any(run[name] for name in ("findings_opened", "findings_changed", "findings_closed")):
        changes = _rows(
            connection,
            # Not from report.finding_history, which numbers the versions of every finding there is.
            "select *, case when state = 'closed' then 'closed' when run_id = opened_run_id then 'opened' "
            "else 'changed' end as change from audit.finding where run_id = :run_id "
            "order by side != 'leakage', amount desc nulls last limit 40",
            run_id=run["run_id"],
        )
        changed_run = run
    if not before or _has_written(connection, before.run, "finding", condition="class = 'fixed_price_overrun'"):
        overruns = _rows(
            connection,
            "select contract_id, any_value(client) as client, any_value(currency) as currency, "
            "coalesce(sum(seconds), 0)::bigint as seconds, "
            "case when count(*) = count(amount) then sum(amount)::decimal(38, 4) end as amount "
            "from report.finding where class = 'fixed_price_overrun' group by contract_id order by contract_id",
        )
    totals = _rows(connection, f"{_TOTALS} group by currency order by currency")
    positions = _rows(
        connection,
        "select * from report.contract_position where leakage_amount > 0 or overbilled_amount > 0 "
        "order by is_flagged desc, leakage_amount / greatest(threshold_amount, 1) desc limit 500",
    )
    # Rows set aside have few combinations of reasons; to take those of each row apart takes ten times as long.
    set_aside = _rows(
        connection,
        "select string_split(reasons, ',') as reasons, count(*) as row_count, "
        f"{_AT_RISK} from report.quarantine where state = 'open' group by quarantine.reasons",
    )
    reasons: Counter[str] = Counter()
    for row in set_aside:
        reasons.update(dict.fromkeys(row["reasons"], row["row_count"]))
    return show.Snapshot(
        run=run,
        decimals=decimals,
        source=source,
        positions=positions,
        position_count=_rows(
            connection,
            "select count(*) as n from report.contract_position where leakage_amount > 0 or overbilled_amount > 0",
        )[0]["n"],
        totals=totals,
        overruns=overruns,
        quarantine_reasons=reasons,
        quarantined_rows=sum(row["row_count"] for row in set_aside),
        quarantined_hours=sum(row["seconds_at_risk"] for row in set_aside) / reconciliation_engine.SECONDS_PER_HOUR,
        changes=changes,
        changed_run=changed_run,
    )


def _has_written(connection: Connection, run: Mapping[str, Any], *tables: str, condition: str = "true") -> bool:
    """Return whether a run after this one has written versions into one of the histories (all, if none is named)."""
    written = " or ".join(
        f"exists (from audit.{table} where run_id > {run['run_id']} and {condition})"
        for table in tables or publishing.HISTORIES
    )
    return bool(_rows(connection, f"select {written} as is_so")[0]["is_so"])


@app.command(
    "run",
    epilog="Examples:  [bold]abr run[/]   [bold]abr run --as-of 2026-03-31 --format json[/]   "
    "[bold]abr run --exit-code || mail -s 'unbilled revenue' finance@example.com[/]",
)
def run_command(
    as_of: AsOfOption = None,
    database_url: DatabaseOption = None,
    threshold: ThresholdOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Halt on a bad contract or a fixed-price overrun.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"End with {FLAGGED_EXIT_CODE} when a contract is flagged.")
    ] = False,
    is_forced: Annotated[bool, typer.Option("--force", help="Also for a date more than a year ahead.")] = False,
    form: FormatOption = Format.TABLE,
) -> int:
    """Reconcile once, for cron and scripts."""
    settings = _settings(database_url, threshold_amount=threshold)
    today = settings_module.today(settings, _now())
    day = as_of or today
    if (day - today).days > _DAYS_AHEAD_MAX and not is_forced:
        raise UsageError(
            f"{day} is more than a year ahead, and no later run could be for an earlier date",
            "check the year; or add --force",
        )
    path = settings_module.database_path(settings)
    is_new = path is not None and not path.exists()
    with _opened(settings) as connection:
        if is_new:
            _talk(f"abr: there was no database {path}; an empty one was made")
        with monitor.Signals(_interrupt(connection)) as signals, signals.working(), _progress("reconciling") as tell:
            try:
                run = _run(connection, settings, day, is_strict=strict, progress=tell)
            except (DataIntegrityError, ContractComplianceError) as error:
                if not hasattr(error, "__notes__"):  # as where the database did not take the halt
                    _renew_copy(connection, settings)  # readers see it
                raise
        if signals.interrupted:
            _talk("abr: stopped; what was running is rolled back, and the next run goes on from there")
            return 0
        _renew_copy(connection, settings)
        row = _rows(connection, "select * from report.run_history where run_id = :run_id", run_id=run.run_id)[0]
        if form is Format.JSON:
            _write(show.json_text([row], one=True))
        elif form is Format.CSV:
            _write(show.csv_text([row], list(row)))
        else:
            _print(show.lines(_snapshot(connection, row, _decimals(connection), "", None), None))
        flagged = _rows(connection, "select count(*) as n from report.contract_position where is_flagged")[0]["n"]
    return FLAGGED_EXIT_CODE if exit_code and flagged else 0


def _renew_copy(connection: Connection, settings: Settings) -> None:
    """Publish where there is a copy already: a monitor makes the first."""
    path = settings_module.database_path(settings)
    if path is not None and publishing.folder_of(path).is_dir():
        with _publisher(connection, settings) as publisher:
            _publish(publisher, is_forced=True)


# ---- data in --------------------------------------------------------------------------------------------------------


@app.command(
    "load",
    epilog="Examples:  [bold]abr load books/[/]   [bold]abr load time_logs.csv[/]   "
    "[bold]abr load toggl-export.csv --covers 2026-03-01..2026-03-31[/]",
)
def load_command(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATHS", help="Files, or folders of them: csv, jsonl, parquet.")
    ],
    as_: Annotated[
        str,
        typer.Option("--as", help="auto, canonical, or a tool: " + ", ".join(f.name for f in formats.FORMATS) + "."),
    ] = "auto",
    source: Annotated[str | None, typer.Option(help="Name of the source.", show_default="the format's")] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="These data sets are whole: what they no longer hold is withdrawn.")
    ] = False,
    covers: Annotated[
        str | None,
        typer.Option(
            help="Days the export is complete for, FROM..TO.", show_default="those from its first to its last"
        ),
    ] = None,
    covers_person: Annotated[
        list[str] | None, typer.Option(help="The export is complete for this person only. Repeatable.")
    ] = None,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Load your own files; loading the same rows again changes nothing."""
    settings = _settings(database_url)
    _span(covers)
    if "" in paths:
        raise UsageError("one of the paths is empty", "name a file or a folder; was it a variable that is not set?")
    arguments = {
        "paths": paths,
        "as": as_,
        "source": source,
        "complete": complete,
        "covers": covers,
        "persons": covers_person or [],
    }
    answer = _answer("load", settings, arguments, doing="reading", must_exist=False)
    rows = answer["rows"]
    _print_rows(rows, form, show.load_summary(rows), list(rows[0]) if rows else [])
    if answer["withdrawn_of_others"]:
        _talk(
            f"abr: {answer['withdrawn_of_others']} entries of people who are not in this export were withdrawn, as it "
            "covers their days; if it is one person's export, load the others' again and this with --covers-person",
        )


_CHECKING = "checking"  # what a load says that is stored, and cannot be interrupted any more


def _load_work(
    connection: Connection, settings: Settings, arguments: Arguments, tell: Tell, request_id: str | None
) -> handover.Answer:
    if _is_simulated(connection):
        raise UsageError(
            f"{settings_module.database_path(settings)} holds simulated data, and real data must not mix with it",
            "name another database, such as --database abr.duckdb",
        )
    loaded = _loaded_before(connection, request_id) or _load(
        connection,
        [Path(path) for path in arguments["paths"]],
        as_=arguments["as"],
        source=arguments["source"],
        is_complete=arguments["complete"],
        covers=_span(arguments["covers"]),
        persons=arguments["persons"],
        tell=tell,
        parameters=None if request_id is None else {"request": request_id},
        now=_now(),
    )
    tell(_CHECKING, None)
    set_aside = reconciliation_engine.quarantined_by_load(
        connection, loaded.load_id, settings_module.today(settings, _now()), settings.threshold_amount
    )
    rows = [
        {
            "data_set": count.dataset,
            "read": count.read,
            "new": count.new,
            "superseded": count.superseded,
            "unchanged": count.unchanged,
            "withdrawn": count.withdrawn,
            "quarantined": set_aside[count.dataset],
        }
        for count in loaded.counts
    ]
    return {"rows": rows, "withdrawn_of_others": sum(count.withdrawn_of_others for count in loaded.counts)}


def _loaded_before(connection: Connection, request_id: str | None) -> loading.Loaded | None:
    """Return what a request has loaded already, where whoever did it was killed before saying so."""
    if request_id is None:
        return None
    found = _rows(
        connection,
        "select load_id, counts from source.load where parameters = :parameters",
        parameters=json.dumps({"request": request_id}),
    )
    return next(
        (
            loading.Loaded(row["load_id"], tuple(loading.LoadCount(**count) for count in json.loads(row["counts"])))
            for row in found
        ),
        None,
    )


def _span(covers: str | None) -> tuple[tuple[date, date], ...]:
    if covers is None:
        return ()
    first, dots, last = covers.partition("..")
    try:
        span = (date.fromisoformat(first.strip()), date.fromisoformat(last.strip()))
    except ValueError:
        span = None
    if not dots or span is None or span[1] < span[0]:
        raise UsageError(f"--covers {covers} is no span of days", "write it as 2026-03-01..2026-03-31")
    return (span,)


def _load(
    connection: Connection,
    paths: Sequence[Path],
    *,
    as_: str,
    source: str | None = None,
    is_complete: bool = False,
    covers: tuple[tuple[date, date], ...] = (),
    persons: Sequence[str] = (),
    tell: Tell | None = None,
    parameters: Mapping[str, Any] | None = None,
    now: datetime,
) -> loading.Loaded:
    driver = _cursor(connection)
    reading = formats.read(
        driver,
        paths,
        as_=as_,
        progress=tell and (lambda name, percent: tell(f"reading {name}", percent / 100)),
        known_projects="select project_id from source.projects where ended_load_id is null",
    )
    is_tool = reading.format != "canonical"
    if (covers or persons) and not is_tool and not any(part.dataset == "time_logs" for part in reading.incoming):
        raise UsageError("--covers speaks of time logs, and there are none here", "leave it out")
    if is_complete and (covers or persons):
        raise UsageError(
            "--complete says that the data sets are whole, --covers and --covers-person that they are so in part",
            "leave out one of them",
        )
    if persons and not covers and not is_tool:
        raise UsageError("--covers-person needs to know of which days", "add --covers FROM..TO")
    for part in reading.incoming:
        if part.ignored_columns:
            _talk(f"abr: {part.dataset}: unknown columns ignored: {', '.join(part.ignored_columns)}")
    if reading.left_out:
        names = ", ".join(path.name for path in reading.left_out)
        _talk(f"abr: left out, as their names are no data set's: {names}; load such a file by its own path")
    if tell:
        tell("storing", None)
    with connection.begin():
        loaded = loading.load(
            connection,
            {part.dataset: part.relation for part in reading.incoming},
            progress=tell and _storing(tell),
            source=source or reading.format,
            format_name=reading.format,
            is_complete=is_complete,
            covers=covers or (reading.spans if is_tool and not is_complete else ()),
            persons=persons,
            parameters=parameters,
            now=now,
        )
        unknown = [person for person in persons if not _has_logs_of(connection, person)]
    if unknown:
        _talk(f"abr: no time log names {', '.join(map(repr, unknown))}; --covers-person takes persons letter by letter")
    return loaded


def _has_logs_of(connection: Connection, person: str) -> bool:
    query = text("select 1 from source.time_logs where person = :person limit 1")
    return connection.execute(query, {"person": person}).first() is not None


def _storing(tell: Tell) -> Callable[[str, int, float], None]:
    """Return what tells how far the rows of a data set are stored, and how many it were in a second so far."""
    begun: dict[str, float] = {}

    def storing(dataset: str, rows: int, share: float) -> None:
        seconds = monotonic() - begun.setdefault(dataset, monotonic())
        rate = f", {rows * share / seconds:,.0f} a second" if share and seconds else ""
        tell(f"storing {rows:,} {dataset.replace('_', ' ')}{rate}", share)

    return storing


@app.command(
    "simulate",
    epilog="Examples:  [bold]abr simulate[/]   [bold]abr simulate --logs 1_000_000 --contracts 2000 --days 365[/]   "
    "[bold]abr simulate --seed 7 --until 2026-03-31 --out books/[/]   [bold]abr simulate --logs 1e8 --contracts 50000 "
    "--out books/ --files parquet[/]",
)
def simulate_command(
    logs: Annotated[str, typer.Option(help="How many time logs; 1_000_000 and 1e6 are fine.")] = "5000",
    contracts: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="How many contracts.", show_default="40, or 1 per 500 logs")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=36500, help="How many days back.")] = 120,
    until: Annotated[
        date | None, typer.Option(parser=_day, metavar="DATE", help="Last day of work.", show_default="today")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, another firm.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write canonical files to this folder instead of a database.")
    ] = None,
    is_forced: Annotated[bool, typer.Option("--force", help="Replace the files that --out finds there.")] = False,
    files: Annotated[
        FileKind | None,
        typer.Option(help="What files --out writes; Parquet is smaller and loads faster.", show_default="csv"),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--database", help="Database file, or a duckdb:/// URL.", show_default="abr-demo.duckdb"),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Write a synthetic firm, by default to abr-demo.duckdb; the same seed and date give the same data."""
    if out and database_url:
        raise UsageError("--out writes files and --database a database", "leave one of them out")
    if files and not out:
        raise UsageError("--files says what --out writes", "add --out FOLDER, or leave --files out to write a database")
    settings = _settings(database_url)
    if database_url is None and settings_module.origins(settings)["database_url"] == "default":
        settings = settings_module.on_database(settings, DEMO_DATABASE, "the demo")
    count = _count(logs)
    size = data_simulator.FirmSize(count, contracts or max(40, count // 500), days)
    day = until or settings_module.today(settings, _now())
    if day.toordinal() <= days:
        raise UsageError(f"{days} days before {day} the calendar has not begun", "take fewer days, or a later --until")
    if out:
        suffix = f".{files or FileKind.CSV}"
        if not is_forced:
            _require_no_files(out, suffix)
        _write_files(out, suffix, seed=seed, until=day, size=size)
        return
    path = settings_module.database_path(settings)
    with _opened(settings) as connection:
        if _is_simulated(connection) is not None:
            raise UsageError(f"{path} holds data already", "name a new --database, or remove that one")
        loaded = _simulate(connection, seed=seed, until=day, size=size, now=_now())
    rows = [
        {"data_set": count.dataset, **{name: getattr(count, name) for name in ("read", "new")}}
        for count in loaded.counts
    ]
    columns = [
        show.Column("data_set", "Data set"),
        show.Column("read", "Read", "count"),
        show.Column("new", "New", "count"),
    ]
    _print_rows(rows, form, show.rows_table(rows, columns), [column.name for column in columns])
    _talk(f"abr: written to {path}; now: abr run --database {path}")


def _count(text_: str) -> int:
    cleaned = text_.replace("_", "").replace(",", "")
    mantissa, _, exponent = cleaned.lower().partition("e")
    if not mantissa.isascii() or not mantissa.isdigit() or (exponent and not exponent.isdigit()) or len(exponent) > 1:
        raise UsageError(f"--logs {text_} is no number of time logs", "write it as 1000000, 1_000_000 or 1e6")
    count = int(mantissa) * int(10 ** int(exponent or 0))
    if count > _SIMULATED_LOGS_MAX:
        raise UsageError(f"--logs {text_} is more than {_SIMULATED_LOGS_MAX:,}", "ask for fewer")
    return count


def _simulate(
    connection: Connection, *, seed: int, until: date, size: data_simulator.FirmSize, now: datetime
) -> loading.Loaded:
    with _progress("simulating") as tell:
        tell(f"simulating {size.logs:,} time logs", None)
        incoming = data_simulator.build(_cursor(connection), seed=seed, until=until, size=size)
        tell("storing", None)
        with connection.begin():
            return loading.load(
                connection,
                incoming,
                source=SIMULATOR,
                format_name=SIMULATOR,
                parameters={"seed": seed, "until": str(until), **asdict(size)},
                now=now,
            )


def _require_no_files(folder: Path, suffix: str) -> None:
    there = [name for name in loading.DATASETS if (folder / f"{name}{suffix}").exists()]
    if there:
        raise UsageError(
            f"{folder} holds {there[0]}{suffix} already, which may be somebody's real data",
            "name another folder, or add --force to replace it",
        )


def _write_files(folder: Path, suffix: str, *, seed: int, until: date, size: data_simulator.FirmSize) -> None:
    with database.connect("duckdb:///:memory:") as connection, _progress("simulating") as tell:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = data_simulator.write_files(
                _cursor(connection),
                folder,
                suffix=suffix,
                seed=seed,
                until=until,
                size=size,
                tell=lambda share: tell(f"simulating {size.logs:,} time logs", share),
            )
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}", "name another folder") from error
    for path in files:
        _write(path.name)


# Of rows of report.finding. Some are in no sum: those of an unknown amount, or in another currency.
_NEEDS_SOMEBODY = "side in ('leakage', 'overbilled', 'exposure')"
# Of rows of report.quarantine: the seconds at risk.
_AT_RISK = (
    "coalesce(sum(seconds) filter (where entity = 'time_logs' and state = 'open' and seconds > 0), 0) "
    "as seconds_at_risk"
)


# ---- results out ----------------------------------------------------------------------------------------------------


@app.command(
    "report",
    epilog="Examples:  [bold]abr report[/]   [bold]abr report --all --currency EUR[/]   "
    "[bold]abr report --format csv > positions.csv[/]",
)
def report_command(
    every: Annotated[bool, typer.Option("--all", help="Also contracts with nothing to do.")] = False,
    currency: Annotated[str | None, typer.Option(help="Only this currency.")] = None,
    client: Annotated[str | None, typer.Option(help="Only this client.")] = None,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show where every contract stands, flagged ones first, with the next step for each."""
    settings = _settings(database_url)
    with _readable(settings) as connection:
        where = "where (:currency is null or currency = upper(:currency)) and (:client is null or client = :client)"
        worth = (
            "(leakage_amount > 0 or overbilled_amount > 0 or exposure_amount > 0 or quarantined_hours > 0 "
            "or quarantined_line_count > 0 or contract_id in (select contract_id from report.finding where "
            f"{_NEEDS_SOMEBODY}))"
        )
        bound = {"currency": currency, "client": client}
        positions = _rows(
            connection, f"select * from report.contract_position {where} {'' if every else 'and ' + worth}", **bound
        )
        total = _rows(connection, f"select count(*) as n from report.contract_position {where}", **bound)[0]["n"]
        if not total:
            _tell_unknown(connection, client=client, currency=currency and currency.upper())
        findings = _rows(
            connection,
            f"select distinct contract_id, side, class from report.finding where {_NEEDS_SOMEBODY}",
        )
        totals = _rows(connection, f"{_TOTALS} {where} group by currency order by currency", **bound)
        decimals = _decimals(connection)
        columns = _columns(connection, "report.contract_position")
    rows = show.flagged_first(show.with_next_step(positions, findings))
    limit = len(rows) if every else _ROWS_SHOWN
    if form is Format.TABLE:
        shown = rows[:limit]
        _print(show.report(shown, decimals=decimals, findings=findings, totals=totals, total_count=total))
        return
    _print_rows(rows, form, "", [*columns, "next_step"])


@app.command(
    "findings",
    epilog="Examples:  [bold]abr findings --side leakage[/]   "
    "[bold]abr findings --contract C-014 --class late_entry[/]   "
    "[bold]abr findings --history --format json[/]",
)
def findings_command(
    contract: Annotated[str | None, typer.Option(help="Only this contract.")] = None,
    class_: Annotated[str | None, typer.Option("--class", help="Only this class, such as unbilled.")] = None,
    side: Annotated[
        str | None, typer.Option(help="leakage, overbilled, exposure, pending, noise or written_off.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Every version of every finding.")] = False,
    limit: LimitOption = _ROWS_SHOWN,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List the findings, largest first."""
    settings = _settings(database_url)
    view = "report.finding_history" if history else "report.finding"
    with _readable(settings) as connection:
        if class_:
            _require_choice("class", class_, _rules(connection, "finding_rules"))
        if side:
            _require_choice("side", side, ("leakage", "overbilled", "exposure", "pending", "noise", "written_off"))
        where = (
            "where (:contract is null or contract_id = :contract) and (:class is null or class = :class) "
            "and (:side is null or side = :side)"
        )
        bound = {"contract": contract, "class": class_, "side": side}
        order = (
            "finding_id, version"
            if history
            else (
                "case side when 'leakage' then 1 when 'overbilled' then 2 when 'exposure' then 3 else 4 end, "
                "amount desc nulls last, contract_id, about"
            )
        )
        only = f"limit {limit}" if form is Format.TABLE else ""
        rows = _rows(connection, f"select * from {view} {where} order by {order} {only}", **bound)
        total = _rows(connection, f"select count(*) as n from {view} {where}", **bound)[0]["n"]
        if not total:
            _tell_unknown(connection, contract=contract)
        decimals = _decimals(connection)
        columns = _columns(connection, view)
    _print_rows(rows, form, show.findings_table(rows, decimals=decimals, total_count=total), columns)


def _rules(connection: Connection, *folders: str) -> list[str]:
    """Return the names of the rules in these folders: finding classes, or quarantine reasons."""
    is_copy = _rows(connection, "select 1 from duckdb_tables() where schema_name = 'published' and table_name = 'rule'")
    names = _rows(
        connection,
        f"select schema_name, view_name from {'published.rule' if is_copy else 'duckdb_views()'} "
        "where view_name != 'all_rules' order by 2",
    )
    return [row["view_name"] for row in names if row["schema_name"] in folders]


def _tell_unknown(connection: Connection, **asked_for: str | None) -> None:
    """Say of what was asked for that no contract has it: nothing found may be a word mistyped."""
    for what, value in asked_for.items():
        column = "contract_id" if what == "contract" else what
        known = f"select 1 from report.contract_position where {column} = :value limit 1"
        if value is not None and not _rows(connection, known, value=value):
            _talk(f"abr: there is no {what} {value}; abr report --all shows those there are")


def _require_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"there is no {what} {value}", f"choose one of {', '.join(choices)}")


@app.command(
    "explain",
    epilog="Examples:  [bold]abr explain C-014[/]   [bold]abr explain 01J9ZK3T5QH8[/] (a time log or a finding)",
)
def explain_command(
    wanted_id: Annotated[str, typer.Argument(metavar="ID", help="A time log, a contract or a finding.")],
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show how a number came about, step by step, so that you can redo it on paper."""
    answer = _answer("explain", _settings(database_url), {"id": wanted_id}, doing="explaining")
    sections = [
        show.Section(section["title"], [show.Step(**step) for step in section["steps"]], section["note"])
        for section in answer["sections"]
    ]
    steps = [
        {"section": section.title, "step": step.label, "formula": step.formula, "result": step.result}
        for section in sections
        for step in section.steps
    ]
    _print_rows(steps, form, show.explanation(sections), ["section", "step", "formula", "result"])


def _explain_work(
    connection: Connection,
    settings: Settings,
    arguments: Arguments,
    tell: Tell,  # noqa: ARG001
    request_id: str | None,  # noqa: ARG001
) -> handover.Answer:
    explained = reconciliation_engine.explain(
        connection,
        arguments["id"],
        thresholds=settings.threshold_amount,
        today=settings_module.today(settings, _now()),
    )
    return {"sections": [asdict(section) for section in explaining.sections(explained, _decimals(connection))]}


@app.command(
    "write-off",
    epilog="Examples:  [bold]abr write-off 9f2c1a77e0b4d5c3 --reason 'goodwill, agreed with the client' --by zoe[/]   "
    "[bold]abr write-off 9f2c1a77e0b4d5c3 --undo --reason 'client disputes' --by zoe[/]",
)
def write_off_command(
    finding_id: Annotated[str, typer.Argument(metavar="ID", help="A finding, as abr findings shows it.")],
    reason: ReasonOption,
    by: ByOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take a write-off back.")] = False,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Accept a leakage finding at its present amount: it leaves the flag, and comes back if it rises."""
    arguments = {**_decision(finding_id, by, reason), "undo": undo}
    answer = _answer("write-off", _settings(database_url), arguments, doing="reconciling")
    _print_decision(answer, form, "taken back" if undo else "written off")


def _write_off_work(
    connection: Connection,
    settings: Settings,  # noqa: ARG001
    arguments: Arguments,
    tell: Tell,  # noqa: ARG001
    request_id: str | None,
) -> handover.Answer:
    decided = request_id and _decided_before(
        connection,
        arguments,
        "select class || ' ' || about as about, write_off.contract_id, "
        "coalesce(accepted_amount, amount)::decimal(18, 4) as amount, currency, write_off.decided_by, write_off.reason "
        "from audit.write_off inner join report.finding_history using (finding_id) "
        "where finding_id = :id and decided_at = :decided_at and decided_by = :decided_by "
        "order by version desc limit 1",
    )
    if not decided:
        with connection.begin():
            decided = reconciliation_engine.write_off(
                connection,
                arguments["id"],
                decided_by=arguments["decided_by"],
                reason=arguments["reason"],
                is_undone=arguments["undo"],
                now=datetime.fromisoformat(arguments["decided_at"]),
            )
    return _decision_answer(connection, decided)


def _decision(wanted_id: str, by: str | None, reason: str) -> dict[str, str]:
    """Return the arguments of a decision. It is made when it is asked for, and known again by that moment."""
    return {
        "id": wanted_id,
        "decided_by": _person(by),
        "reason": _reason(reason),
        "decided_at": _now().isoformat(),
    }


def _decided_before(connection: Connection, arguments: Arguments, query: str) -> reconciliation_engine.Decision | None:
    """Return the decision that a request has brought already, where whoever did it was killed before saying so."""
    found = _rows(
        connection,
        query,
        id=arguments["id"],
        decided_at=datetime.fromisoformat(arguments["decided_at"]),
        decided_by=arguments["decided_by"],
    )
    return reconciliation_engine.Decision(**found[0]) if found else None


def _decision_answer(connection: Connection, decision: reconciliation_engine.Decision) -> handover.Answer:
    amount = None if decision.amount is None else str(decision.amount)
    return {"decision": {**asdict(decision), "amount": amount}, "decimals": _decimals(connection)}


def _rerun(connection: Connection, settings: Settings) -> None:
    """Let a decision take effect at once, as of the last run, so that it does not move the calendar."""
    last = _rows(connection, "select as_of from reconcile.last_run")
    if last:
        _run(connection, settings, last[0]["as_of"])


def _person(by: str | None) -> str:
    if by is None:
        try:
            return getpass.getuser()
        except (KeyError, OSError) as error:
            raise UsageError("this machine does not say who you are", "name yourself with --by") from error
    if not _is_visible(by):
        raise UsageError("--by is empty", "name the person who decides")
    return by.strip()


def _reason(reason: str) -> str:
    if not _is_visible(reason):
        raise UsageError("--reason is empty", "say why; an auditor will ask")
    return reason.strip()


def _is_visible(words: str) -> bool:
    return any(letter.isprintable() and not letter.isspace() for letter in words)


def _print_decision(answer: handover.Answer, form: Format, what: str) -> None:
    told = answer["decision"]
    amount_ = None if told["amount"] is None else Decimal(told["amount"])
    decision = reconciliation_engine.Decision(**{**told, "amount": amount_})
    decimals = answer["decimals"]
    row = {"decision": what, **asdict(decision)}
    if form is Format.JSON:
        _write(show.json_text([row], one=True))
    elif form is Format.CSV:
        _write(show.csv_text([row], list(row)))
    else:
        amount = (
            ""
            if decision.amount is None
            else (f", {show.money(decision.amount, decision.currency, decimals)} {decision.currency}")
        )
        contract = f" of contract {decision.contract_id}" if decision.contract_id else ""
        _write(
            show.safe(f"{what}: {decision.about}{contract}{amount}, by {decision.decided_by}: {decision.reason}", 2000)
        )


@quarantine_app.callback(
    epilog="Examples:  [bold]abr quarantine[/]   [bold]abr quarantine --reason unknown_project[/]   "
    "[bold]abr quarantine waive 4be1c09d2f3a6b58 --reason 'test entry' --by zoe[/]",
)
def quarantine_command(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only rows with this reason.")] = None,
    data_set: Annotated[str | None, typer.Option(help="Only this data set, such as time_logs.")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every version of every row, also those that came back.")
    ] = False,
    limit: LimitOption = _ROWS_SHOWN,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show what is set aside, and every reason; waive what may stay out."""
    if context.invoked_subcommand:
        return
    settings = _settings(database_url)
    view = "report.quarantine_history" if history else "report.quarantine"
    with _readable(settings) as connection:
        if data_set:
            _require_choice("data set", data_set, loading.DATASETS)
        if reason:
            _require_choice(
                "reason", reason, _rules(connection, "quarantine_rules", "reference_rules", "coverage_rules")
            )
        where = (
            "where (:reason is null or list_contains(string_split(reasons, ','), :reason)) "
            "and (:data_set is null or entity = :data_set)"
        )
        bound = {"reason": reason, "data_set": data_set}
        order = "valid_from_run_id" if history else "quarantine_id"
        only = f"limit {limit}" if form is Format.TABLE else ""
        rows = _rows(
            connection, f"select * from {view} {where} order by entity, key, opened_run_id, {order} {only}", **bound
        )
        total = _rows(connection, f"select count(*) as n, {_AT_RISK} from {view} {where}", **bound)[0]
        columns = _columns(connection, view)
    table = show.quarantine_table(rows, total_count=total["n"], seconds_at_risk=total["seconds_at_risk"])
    _print_rows(rows, form, table, columns)


@quarantine_app.command(
    "waive", epilog="Example:  [bold]abr quarantine waive 4be1c09d2f3a6b58 --reason 'test entry' --by zoe[/]"
)
def waive_command(
    quarantine_id: Annotated[str, typer.Argument(metavar="ID", help="A row, as abr quarantine shows it.")],
    reason: ReasonOption,
    by: ByOption = None,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Accept that a row stays out: it is at risk no longer, until a new version of it comes."""
    answer = _answer("waive", _settings(database_url), _decision(quarantine_id, by, reason), doing="reconciling")
    _print_decision(answer, form, "waived")


def _waive_work(
    connection: Connection,
    settings: Settings,  # noqa: ARG001
    arguments: Arguments,
    tell: Tell,  # noqa: ARG001
    request_id: str | None,
) -> handover.Answer:
    decided = request_id and _decided_before(
        connection,
        arguments,
        "select entity || ' ' || key as about, contract_id, null::decimal(18, 4) as amount, null::varchar as currency, "
        "waiver.decided_by, waiver.reason from audit.waiver inner join report.quarantine using (quarantine_id) "
        "where quarantine_id = :id and decided_at = :decided_at and decided_by = :decided_by",
    )
    if not decided:
        with connection.begin():
            decided = reconciliation_engine.waive(
                connection,
                arguments["id"],
                decided_by=arguments["decided_by"],
                reason=arguments["reason"],
                now=datetime.fromisoformat(arguments["decided_at"]),
            )
    return _decision_answer(connection, decided)


@app.command("history", epilog="Examples:  [bold]abr history[/]   [bold]abr history --limit 500 --format csv[/]")
def history_command(
    limit: LimitOption = 20, database_url: DatabaseOption = None, form: FormatOption = Format.TABLE
) -> None:
    """List the runs, newest first: when, how long, what changed, what halted."""
    settings = _settings(database_url)
    with _readable(settings) as connection:
        only = f"limit {limit}" if form is Format.TABLE else ""
        rows = _rows(connection, f"select * from report.run_history order by run_id desc {only}")
        total = _rows(connection, "select count(*) as n from report.run_history")[0]["n"]
        columns = _columns(connection, "report.run_history")
    _print_rows(rows, form, show.history_table(rows, total_count=total), columns)


@app.command("verify", epilog="Examples:  [bold]abr verify[/]   [bold]abr verify --format json[/]")
def verify_command(database_url: DatabaseOption = None, form: FormatOption = Format.TABLE) -> int:
    """Recompute everything from the sources and compare it with what is stored; exit 1 names each difference."""
    rows = _answer("verify", _settings(database_url), {}, doing="verifying")["rows"]
    _print_rows(rows, form, show.verify_differences(rows), ["what", "id", "detail"])
    return 1 if rows else 0


def _verify_work(
    connection: Connection,
    settings: Settings,  # noqa: ARG001
    arguments: Arguments,  # noqa: ARG001
    tell: Tell,  # noqa: ARG001
    request_id: str | None,  # noqa: ARG001
) -> handover.Answer:
    return {"rows": [asdict(difference) for difference in reconciliation_engine.verify(connection)]}


@app.command("settings", epilog="Example:  [bold]ABR_THRESHOLD_AMOUNT=1500.00,JPY=220000 abr settings[/]")
def settings_command(database_url: DatabaseOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show every setting and where its value came from."""
    rows = settings_module.settings_rows(_settings(database_url))
    _print_rows(rows, form, show.settings_table(rows), ["setting", "value", "origin"])


# ---- the database ---------------------------------------------------------------------------------------------------


@database_app.command("upgrade", epilog="Example:  [bold]abr db upgrade --database abr.duckdb[/]")
def upgrade_command(database_url: DatabaseOption = None) -> None:
    """Bring the database's schema up to this program's."""
    settings = _settings(database_url)
    with _opened(settings, upgrade=True) as connection:
        _write(f"schema {database.revision(connection)}, up to date")


@database_app.command("status", epilog="Example:  [bold]abr db status --format json[/]")
def status_command(database_url: DatabaseOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show the schema, the file's size and the rows of every table."""
    settings = _settings(database_url)
    path = settings_module.database_path(settings)
    with _opened(settings, must_exist=True) as connection:
        rows = [
            {"what": "file", "value": str(path)},
            {"what": "size_bytes", "value": str(path.stat().st_size if path else 0)},
            {"what": "schema", "value": str(database.revision(connection))},
            {"what": "data", "value": {None: "none", True: "simulated", False: "real"}[_is_simulated(connection)]},
            *(
                {"what": f"{row['table']} rows", "value": str(row["rows"])}
                for row in _rows(
                    connection,
                    " union all by name ".join(
                        f"select '{table.fullname}' as table, count(*) as rows from {table.fullname}"
                        for table in METADATA.sorted_tables
                    )
                    + " order by all",
                )
            ),
        ]
    _print_rows(
        rows,
        form,
        show.rows_table(rows, [show.Column("what", "What"), show.Column("value", "Value")]),
        ["what", "value"],
    )


@database_app.command("compact", epilog="Example:  [bold]abr db compact[/]")
def compact_command(database_url: DatabaseOption = None) -> None:
    """Sort the large tables, so that a run reads little of them, and give back the space of removed rows."""
    answer = _answer("compact", _settings(database_url), {}, doing="compacting")
    _write(f"{answer['bytes_before']:,} bytes before, {answer['bytes_after']:,} after")


def _compact_work(
    connection: Connection,
    settings: Settings,
    arguments: Arguments,  # noqa: ARG001
    tell: Tell,
    request_id: str | None,  # noqa: ARG001
) -> handover.Answer:
    path = settings_module.database_path(settings)
    database.write_log(connection)  # so that what it holds counts before, too
    before = path.stat().st_size if path else 0
    compacting.compact(connection, lambda table, share: tell(f"sorting {table}", share))
    return {"bytes_before": before, "bytes_after": path.stat().st_size if path else 0}


_WORK: dict[str, Work] = {
    "load": _load_work,
    "write-off": _write_off_work,
    "waive": _waive_work,
    "explain": _explain_work,
    "verify": _verify_work,
    "compact": _compact_work,
}
_DECISIONS = ("write-off", "waive")  # a run acts on them before they are answered


# ---- BI tools -------------------------------------------------------------------------------------------------------


@bi_app.command(
    "superset",
    epilog="Examples:  [bold]abr bi superset --out abr.zip[/]   "
    "[bold]abr bi superset --mirror --user bi --out abr.zip[/]   "
    "[bold]abr bi superset --sqlalchemy-uri postgresql://abr_reader@db.example.com/finance --out abr.zip[/]",
)
def superset_command(
    out: Annotated[Path, typer.Option("--out", help="The zip file to write, for Superset to import.")],
    mirror: Annotated[bool, typer.Option("--mirror", help="Read the PostgreSQL mirror, not the DuckDB copy.")] = False,
    sqlalchemy_uri: Annotated[
        str | None,
        typer.Option(
            "--sqlalchemy-uri",
            help="Where Superset finds the data, as it sees it; a password is left out.",
            show_default="the published copy",
        ),
    ] = None,
    user: Annotated[
        str, typer.Option("--user", help="Mirror: who signs in there; a login that may only read.")
    ] = mirroring.ROLE,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    database_url: DatabaseOption = None,
) -> None:
    """Write a dashboard for Apache Superset: leakage, flagged contracts, ageing, findings, quarantine, runs."""
    settings = _settings(database_url)
    if mirror and sqlalchemy_uri:
        raise UsageError("--mirror and --sqlalchemy-uri both say where the data is", "leave one out")
    uri = sqlalchemy_uri
    if mirror:
        uri = settings.mirror_url
        if not uri:
            raise UsageError("no mirror is set", "set ABR_MIRROR_URL, or name it with --sqlalchemy-uri")
        uri = dashboards.mirror_uri(uri, user)
    if uri is None:
        path = settings_module.database_path(settings)
        if path is None:
            raise UsageError("a database in memory is not published", "name a database file with --database")
        published = publishing.file_of(path)
        if not published.exists():
            _talk(f"abr: nothing is published at {published} yet; abr monitor publishes it")
        uri = dashboards.copy_uri(published)
    dashboards.write(dashboards.bundle(uri), out, overwrite=force)
    _write(str(out))


# ---- the PostgreSQL mirror ------------------------------------------------------------------------------------------


@mirror_app.command(
    "init",
    epilog="Examples:  [bold]ABR_MIRROR_URL=postgresql+psycopg://abr:secret@db.example.com/books abr mirror init[/]   "
    "[bold]abr mirror init --rebuild[/]",
)
def mirror_init_command(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Empty the mirror first; the next sync fills it.")] = False,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Create the schema abr with its tables, views, comments and indexes, and the role abr_reader. Repeatable."""
    rows = mirroring.init(_settings(database_url), is_rebuilt=rebuild)
    columns = [
        show.Column("relation", "Relation", whole=True),
        show.Column("kind", "Kind", whole=True),
        show.Column("comment", "What it holds", "words"),
    ]
    _print_rows(rows, form, show.rows_table(rows, columns), ["relation", "kind", "comment"])


@mirror_app.command(
    "sync", epilog="Examples:  [bold]abr mirror sync[/]   [bold]abr mirror sync --follow[/] (what the monitor starts)"
)
def mirror_sync_command(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until stdin ends, with every line on it and every 10 seconds.")
    ] = False,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Bring the mirror up to the newest published run. A monitor with ABR_MIRROR_URL does so by itself."""
    settings = _settings(database_url)
    if follow:
        mirroring.follow(settings, _talk)
        return
    row = asdict(mirroring.sync(settings))
    text = f"{row['run_count']:,} runs, {row['row_count']:,} rows; the mirror is at run {row['last_run_id']}"
    if form is Format.TABLE:
        _write(text)
    else:
        _print_rows([row], form, "", list(row))


@mirror_app.command("status", epilog="Examples:  [bold]abr mirror status[/]   [bold]abr mirror status --format json[/]")
def mirror_status_command(database_url: DatabaseOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show the last run here and there, the lag in runs and seconds, and the last error."""
    rows, trouble = mirroring.status(_settings(database_url))
    columns = [show.Column("what", "What", whole=True), show.Column("value", "Value", "words")]
    _print_rows(rows, form, show.rows_table(rows, columns), ["what", "value"])
    if trouble:
        raise trouble


@mirror_app.command("verify", epilog="Examples:  [bold]abr mirror verify[/]   [bold]abr mirror verify --format json[/]")
def mirror_verify_command(database_url: DatabaseOption = None, form: FormatOption = Format.TABLE) -> int:
    """Compare the mirror with the published copy, row for row; exit 1 names each row that differs."""
    with _progress("comparing") as tell:
        tell("comparing", None)
        rows = mirroring.verify(_settings(database_url))
    table = show.rows_table(
        rows, show.VERIFY_COLUMNS, style=lambda _: "red", empty="every row of the mirror equals the published copy"
    )
    _print_rows(rows, form, table, ["what", "id", "detail"])
    return 1 if rows else 0
