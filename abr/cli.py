"""The commands: parse, call, render, exit code. The only module that prints or ends the process.

stdout carries results and nothing else, stderr carries talk.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from time import sleep
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import Connection, text

from abr import console as show
from abr import data_simulator, database, explaining, formats, inbox, loading, mirroring, monitor, reconciliation_engine
from abr import settings as settings_module
from abr.exceptions import ABRError, DataIntegrityError, UsageError
from abr.models import METADATA
from abr.settings import Settings

DEMO_DATABASE = "duckdb:///abr-demo.duckdb"
SIMULATOR = "simulator"
FLAGGED_EXIT_CODE = 10
_PROGRESS_AFTER_SECONDS = 1.0
_SETTLING_SECONDS = 1.0
_ROWS_SHOWN = 40

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
mirror_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Keep a copy in PostgreSQL for many users."
)
app.add_typer(mirror_app, name="mirror")


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


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
AsOfOption = Annotated[
    datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Date to reconcile for.", show_default="today")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit history.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who decides.", show_default="the user of this machine")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many rows in a table.")]


def main() -> None:
    """Run the command line and end the process with the exit code it deserves."""
    code = 1
    with monitor.closed_pipe_is_quiet():
        code = _main()
    sys.exit(code)


def _main() -> int:
    try:
        result = app(standalone_mode=False)
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
            _talk(f"abr: {error.format_message().replace('Value error, ', '').rstrip('.')}; see abr --help")
            return int(error.exit_code)
        if isinstance(error, BrokenPipeError) or os.environ.get("ABR_DEBUG"):
            raise
        _talk(
            f"abr: unexpected: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; "
            "set ABR_DEBUG=1 to see where, and please report it"
        )
        return 1
    return result if isinstance(result, int) else 0


# ---- shared ---------------------------------------------------------------------------------------------------------


def _talk(message: str) -> None:
    show.terminal(sys.stderr).print(show.safe(message, 2000))


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
    rows = _rows(connection, f"select source = '{SIMULATOR}' as is_simulated from source.load limit 1")
    return rows[0]["is_simulated"] if rows else None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str, float | None], None]]:
    """Yield a function to tell how far a long job is: what it does now, and how much of it, 0 to 1.

    A bar appears on a terminal's stderr once the job has taken a second, and goes when it is done.
    """
    started = datetime.now(UTC)
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
        if not is_shown and (datetime.now(UTC) - started).total_seconds() >= _PROGRESS_AFTER_SECONDS:
            bar.start()
            is_shown = True
        bar.update(task, description=show.safe(doing), total=None if share is None else 1, completed=share or 0)

    try:
        yield tell
    finally:
        if is_shown:
            bar.stop()


def _run(
    connection: Connection,
    settings: Settings,
    as_of: date,
    *,
    is_strict: bool = False,
    clock: Callable[[], datetime] = reconciliation_engine.utc_now,
    progress: Callable[[str, float | None], None] | None = None,
) -> reconciliation_engine.Run:
    return reconciliation_engine.run_once(
        connection,
        as_of,
        thresholds=settings.threshold_amount,
        settings=settings_module.result_settings(settings),
        is_strict=is_strict,
        clock=clock,
        progress=progress and (lambda done, total: progress("reconciling", done / total)),
    )


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
    database_url: DatabaseOption = None,
    interval: Annotated[float | None, typer.Option(help="Seconds between two cycles.", show_default="5")] = None,
    cycles: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many cycles.", show_default="endless")
    ] = None,
    threshold: ThresholdOption = None,
    inbox_folder: Annotated[
        Path | None, typer.Option("--inbox", help="Folder that files are dropped into.", show_default="DATABASE.inbox")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Halt on a bad contract or a fixed-price overrun.")] = False,
    seed: Annotated[int, typer.Option(help="Simulator: which firm.")] = 1,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Simulator: pretend that it is this date.", show_default="today"),
    ] = None,
    fail_at: Annotated[int | None, typer.Option(min=1, help="Simulator: let the feed fail in this cycle.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write the last screen to this file, as SVG.", show_default=False)
    ] = None,
) -> None:
    """Watch unbilled revenue appear: a cycle every 5 seconds until Ctrl-C."""
    settings = _settings(database_url, interval_seconds=interval, threshold_amount=threshold, inbox=inbox_folder)
    source, settings, why = _monitored(source, settings, is_named=database_url is not None)
    if source is Source.INBOX and (until or fail_at):
        raise UsageError("--until and --fail-at belong to the simulator", "leave them out, or add --source simulator")
    _talk(why)
    with (
        _opened(settings) as connection,
        _beside(connection, settings) as feeding,
        mirroring.following(settings, _talk) as mirror,
    ):
        if source is Source.SIMULATOR:
            feed = _simulator_feed(feeding, settings, seed=seed, until=until and until.date(), fail_at=fail_at)
        else:
            feed = _inbox_feed(feeding, settings, has_created=why.startswith("abr: watching"))
        clock = _simulated_clock(until.date(), settings) if until else reconciliation_engine.utc_now
        _watch(
            connection,
            feeding,
            settings,
            feed,
            clock,
            str(source),
            mirror=mirror,
            until=until and until.date(),
            cycles=cycles,
            is_strict=strict,
            picture=picture,
        )


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


Feed = Callable[[datetime], None]


def _simulator_feed(
    connection: Connection, settings: Settings, *, seed: int, until: date | None, fail_at: int | None
) -> Feed:
    if _is_simulated(connection) is None:
        day = until or settings_module.today(settings, _now())
        _simulate(connection, seed=seed, until=day, size=data_simulator.FirmSize(), now=_now())
    told = json.loads(
        _rows(connection, "select parameters from source.load where parameters is not null order by load_id limit 1")[
            0
        ]["parameters"]
    )
    size = data_simulator.FirmSize(told["logs"], told["contracts"], told["days"])
    cycle = 0

    def feed(now: datetime) -> None:
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

    return feed


def _cursor(connection: Connection) -> Any:
    """Return DuckDB's own connection beneath, outside any transaction."""
    connection.rollback()
    return connection.connection.driver_connection


def _inbox_feed(connection: Connection, settings: Settings, *, has_created: bool) -> Feed:
    folder = settings_module.inbox_path(settings)
    if folder is None:
        raise UsageError("a database in memory has no inbox", "name a folder with --inbox")
    if has_created and not folder.exists():
        folder.mkdir(parents=True)
    box = inbox.Inbox(folder)
    with suppress(DataIntegrityError):  # the first cycle says it
        if inbox.look_into(box):
            # What lies there already is for the first cycle, provided nobody is still writing it.
            sleep(min(settings.interval_seconds, _SETTLING_SECONDS))

    def feed(now: datetime) -> None:
        def load_one(path: Path) -> None:
            _load(connection, [path], as_="auto", now=now)

        for path, error in inbox.take(box, load_one):
            _talk(f"abr: inbox: {path.name} " + (f"rejected: {error.message}" if error else "loaded"))

    return feed


def _watch(  # noqa: C901  one loop: what it draws and what it does belong together
    connection: Connection,
    feeding: Connection,
    settings: Settings,
    feed: Feed,
    clock: Callable[[], datetime],
    source: str,
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
    live = Live(console=terminal, screen=True, auto_refresh=False) if is_live else None

    def draw(seconds_left: float | None) -> None:
        if live and shown:
            snapshot = replace(shown, next_run_in_seconds=seconds_left)
            live.update(show.screen(snapshot, width=terminal.width, height=terminal.height), refresh=True)

    def tick() -> None:
        nonlocal shown
        now = _now()
        as_of = until or settings_module.today(settings, now)
        try:
            with database.explained(settings_module.database_path(settings)):
                feed(now)
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
            )
        mirror.wake()
        before, shown = shown, _snapshot(connection, asdict(run), decimals, source, shown)
        if live:
            draw(settings.interval_seconds)
        else:
            _print(show.lines(shown, before))
            sys.stdout.flush()

    interrupts = [_interrupt(connection), _interrupt(feeding)]
    try:
        if live:
            live.start()
        signals = monitor.watch(
            settings.interval_seconds,
            tick,
            interrupt=lambda: [interrupt() for interrupt in interrupts],
            idle=draw if is_live else None,
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


def _snapshot(
    connection: Connection,
    run: Mapping[str, Any],
    decimals: Mapping[str, int],
    source: str,
    before: show.Snapshot | None,
) -> show.Snapshot:
    """Return what the screen shows after a run; what a run without changes cannot have changed is kept."""
    has_changed = any(run[name] for name in ("findings_opened", "findings_changed", "findings_closed"))
    changes, changed_run = (before.changes, before.changed_run) if before else ((), None)
    if has_changed:
        changes = _rows(
            connection,
            "select *, case state when 'closed' then 'closed' when 'open' then "
            "case when version = 1 or valid_from_run_id = opened_run_id then 'opened' else 'changed' end end as change "
            "from report.finding_history where valid_from_run_id = :run_id "
            "order by side != 'leakage', amount desc nulls last limit 40",
            run_id=run["run_id"],
        )
        changed_run = run
    totals = _rows(
        connection,
        "select currency, count(*) as contract_count, count(*) filter (where is_flagged) as flagged_count, "
        "count(*) filter (where severity = 'watch') as watch_count, "
        + ", ".join(
            f"sum({name})::decimal(18, 4) as {name}"
            for name in (column.name for column in show.TOTAL_COLUMNS if column.kind in {"money", "hours"})
        )
        + " from report.contract_position group by currency order by currency",
    )
    positions = _rows(
        connection,
        "select * from report.contract_position where leakage_amount > 0 or overbilled_amount > 0 "
        "order by is_flagged desc, leakage_amount / greatest(threshold_amount, 1) desc limit 500",
    )
    at_risk = _rows(
        connection,
        "select count(*) as row_count, coalesce(sum(seconds) filter (where entity = 'time_logs' and seconds > 0), 0) "
        "as seconds from report.quarantine where state = 'open'",
    )[0]
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
        overruns=_rows(
            connection, "select * from report.finding where class = 'fixed_price_overrun' order by contract_id"
        ),
        quarantine_reasons={
            row["reason"]: row["row_count"]
            for row in _rows(
                connection,
                "select reason, count(*) as row_count from report.quarantine_reason inner join report.quarantine "
                "using (quarantine_id) where state = 'open' group by reason order by row_count desc, reason",
            )
        },
        quarantined_rows=at_risk["row_count"],
        quarantined_hours=at_risk["seconds"] / reconciliation_engine.SECONDS_PER_HOUR,
        changes=changes,
        changed_run=changed_run,
    )


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
    form: FormatOption = Format.TABLE,
) -> int:
    """Reconcile once, for cron and scripts."""
    settings = _settings(database_url, threshold_amount=threshold)
    with _opened(settings) as connection:
        day = as_of.date() if as_of else settings_module.today(settings, _now())
        with monitor.Signals(_interrupt(connection)) as signals, signals.working(), _progress("reconciling") as tell:
            run = _run(connection, settings, day, is_strict=strict, progress=tell)
        if signals.interrupted:
            _talk("abr: stopped; the run is rolled back")
            return 0
        row = _rows(connection, "select * from report.run_history where run_id = :run_id", run_id=run.run_id)[0]
        if form is Format.JSON:
            _write(show.json_text([row], one=True))
        elif form is Format.CSV:
            _write(show.csv_text([row], list(row)))
        else:
            _print(show.lines(_snapshot(connection, row, _decimals(connection), "", None), None))
        flagged = _rows(connection, "select count(*) as n from report.contract_position where is_flagged")[0]["n"]
    return FLAGGED_EXIT_CODE if exit_code and flagged else 0


# ---- data in --------------------------------------------------------------------------------------------------------


@app.command(
    "load",
    epilog="Examples:  [bold]abr load books/[/]   [bold]abr load time_logs.csv[/]   "
    "[bold]abr load toggl-export.csv --covers 2026-03-01..2026-03-31[/]",
)
def load_command(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of them: csv, jsonl, parquet.")],
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
) -> int:
    """Load your own files; loading the same rows again changes nothing."""
    settings = _settings(database_url)
    span = _span(covers)
    with _opened(settings) as connection:
        if _is_simulated(connection):
            raise UsageError(
                f"{settings_module.database_path(settings)} holds simulated data, and real data must not mix with it",
                "name another database, such as --database abr.duckdb",
            )
        loaded = None
        with monitor.Signals(_interrupt(connection)) as signals, signals.working(), _progress("reading") as tell:
            loaded = _load(
                connection,
                paths,
                as_=as_,
                source=source,
                is_complete=complete,
                covers=span,
                persons=covers_person or (),
                tell=tell,
                now=_now(),
            )
            tell("checking", None)
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
    if signals.interrupted:
        _talk(f"abr: stopped; {'nothing' if loaded is None else 'everything'} was loaded")
        return 1
    _print_rows(rows, form, show.load_summary(rows), list(rows[0]) if rows else [])
    if loaded.withdrawn_of_others:
        _talk(
            f"abr: {loaded.withdrawn_of_others} entries of people who are not in this export were withdrawn, as it "
            "covers their days; if it is one person's export, load the others' again and this with --covers-person",
        )
    return 0


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
    tell: Callable[[str, float | None], None] | None = None,
    now: datetime,
) -> loading.Loaded:
    driver = _cursor(connection)
    reading = formats.read(
        driver, paths, as_=as_, progress=tell and (lambda name, percent: tell(f"reading {name}", percent / 100))
    )
    is_tool = reading.format != "canonical"
    if (covers or persons) and not is_tool and not any(part.dataset == "time_logs" for part in reading.incoming):
        raise UsageError("--covers speaks of time logs, and there are none here", "leave it out")
    for part in reading.incoming:
        if part.ignored_columns:
            _talk(f"abr: {part.dataset}: unknown columns ignored: {', '.join(part.ignored_columns)}")
    if tell:
        tell("storing", None)
    with connection.begin():
        return loading.load(
            connection,
            {part.dataset: part.relation for part in reading.incoming},
            source=source or reading.format,
            format_name=reading.format,
            is_complete=is_complete and not is_tool,
            covers=covers or (reading.spans if is_tool else ()),
            persons=persons,
            now=now,
        )


@app.command(
    "simulate",
    epilog="Examples:  [bold]abr simulate[/]   [bold]abr simulate --logs 1_000_000 --contracts 2000 --days 365[/]   "
    "[bold]abr simulate --seed 7 --until 2026-03-31 --out books/[/]",
)
def simulate_command(
    logs: Annotated[str, typer.Option(help="How many time logs; 1_000_000 and 1e6 are fine.")] = "5000",
    contracts: Annotated[
        int | None, typer.Option(min=1, help="How many contracts.", show_default="40, or 1 per 500 logs")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=36500, help="How many days back.")] = 120,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day of work.", show_default="today")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number, another firm.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write canonical CSV files to this folder instead of a database.")
    ] = None,
    database_url: DatabaseOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Write a synthetic firm, by default to abr-demo.duckdb; the same seed and date give the same data."""
    settings = _settings(database_url)
    if database_url is None and settings_module.origins(settings)["database_url"] == "default":
        settings = settings_module.on_database(settings, DEMO_DATABASE, "the demo")
    count = _count(logs)
    size = data_simulator.FirmSize(count, contracts or max(40, count // 500), days)
    day = until.date() if until else settings_module.today(settings, _now())
    if out:
        _write_files(out, seed=seed, until=day, size=size)
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
    return int(mantissa) * int(10 ** int(exponent or 0))


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


def _write_files(folder: Path, *, seed: int, until: date, size: data_simulator.FirmSize) -> None:
    with database.connect("duckdb:///:memory:") as connection, _progress("simulating") as tell:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}", "name another folder") from error
        cursor = _cursor(connection)
        tell(f"simulating {size.logs:,} time logs", None)
        for dataset, table in data_simulator.build(cursor, seed=seed, until=until, size=size).items():
            tell(f"writing {dataset}.csv", None)
            target = str(folder / f"{dataset}.csv").replace("'", "''")
            cursor.execute(f"copy (from {table}) to '{target}' (header, delimiter ',')")
            _write(f"{dataset}.csv")


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
    with _opened(settings, must_exist=True) as connection:
        where = "where (:currency is null or currency = :currency) and (:client is null or client = :client)"
        worth = (
            "(leakage_amount > 0 or overbilled_amount > 0 or exposure_amount > 0 or quarantined_hours > 0 "
            "or quarantined_line_count > 0)"
        )
        bound = {"currency": currency, "client": client}
        positions = _rows(
            connection, f"select * from report.contract_position {where} {'' if every else 'and ' + worth}", **bound
        )
        total = _rows(connection, f"select count(*) as n from report.contract_position {where}", **bound)[0]["n"]
        findings = _rows(
            connection,
            "select distinct contract_id, side, class from report.finding "
            "where side in ('leakage', 'overbilled', 'exposure')",
        )
        decimals = _decimals(connection)
        columns = _columns(connection, "report.contract_position")
    rows = show.flagged_first(show.with_next_step(positions, findings))
    limit = len(rows) if every else _ROWS_SHOWN
    if form is Format.TABLE:
        shown = rows[:limit]
        _print(show.report(shown, decimals=decimals, findings=findings, total_count=total))
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
    with _opened(settings, must_exist=True) as connection:
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
        decimals = _decimals(connection)
        columns = _columns(connection, view)
    _print_rows(rows, form, show.findings_table(rows, decimals=decimals, total_count=total), columns)


def _rules(connection: Connection, *folders: str) -> list[str]:
    """Return the names of the rules in these folders: finding classes, or quarantine reasons."""
    names = _rows(
        connection, "select schema_name, view_name from duckdb_views() where view_name != 'all_rules' order by 2"
    )
    return [row["view_name"] for row in names if row["schema_name"] in folders]


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
    settings = _settings(database_url)
    with _opened(settings, must_exist=True) as connection:
        explained = reconciliation_engine.explain(
            connection,
            wanted_id,
            thresholds=settings.threshold_amount,
            today=settings_module.today(settings, _now()),
        )
        sections = explaining.sections(explained, _decimals(connection))
    steps = [
        {"section": section.title, "step": step.label, "formula": step.formula, "result": step.result}
        for section in sections
        for step in section.steps
    ]
    _print_rows(steps, form, show.explanation(sections), ["section", "step", "formula", "result"])


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
    settings = _settings(database_url)
    with _opened(settings, must_exist=True) as connection:
        with connection.begin():
            decision = reconciliation_engine.write_off(
                connection, finding_id, decided_by=_person(by), reason=_reason(reason), is_undone=undo, now=_now()
            )
        _rerun(connection, settings)
        decimals = _decimals(connection)
    _print_decision(decision, decimals, form, "taken back" if undo else "written off")


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
    if not by.strip():
        raise UsageError("--by is empty", "name the person who decides")
    return by.strip()


def _reason(reason: str) -> str:
    if not reason.strip():
        raise UsageError("--reason is empty", "say why; an auditor will ask")
    return reason.strip()


def _print_decision(
    decision: reconciliation_engine.Decision, decimals: Mapping[str, int], form: Format, what: str
) -> None:
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
    with _opened(settings, must_exist=True) as connection:
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
        total = _rows(connection, f"select count(*) as n from {view} {where}", **bound)[0]["n"]
        columns = _columns(connection, view)
    _print_rows(rows, form, show.quarantine_table(rows, total_count=total), columns)


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
    settings = _settings(database_url)
    with _opened(settings, must_exist=True) as connection:
        with connection.begin():
            decision = reconciliation_engine.waive(
                connection, quarantine_id, decided_by=_person(by), reason=_reason(reason), now=_now()
            )
        _rerun(connection, settings)
        decimals = _decimals(connection)
    _print_decision(decision, decimals, form, "waived")


@app.command("history", epilog="Examples:  [bold]abr history[/]   [bold]abr history --limit 500 --format csv[/]")
def history_command(
    limit: LimitOption = 20, database_url: DatabaseOption = None, form: FormatOption = Format.TABLE
) -> None:
    """List the runs, newest first: when, how long, what changed, what halted."""
    settings = _settings(database_url)
    with _opened(settings, must_exist=True) as connection:
        only = f"limit {limit}" if form is Format.TABLE else ""
        rows = _rows(connection, f"select * from report.run_history order by run_id desc {only}")
        total = _rows(connection, "select count(*) as n from report.run_history")[0]["n"]
        columns = _columns(connection, "report.run_history")
    _print_rows(rows, form, show.history_table(rows, total_count=total), columns)


@app.command("verify", epilog="Examples:  [bold]abr verify[/]   [bold]abr verify --format json[/]")
def verify_command(database_url: DatabaseOption = None, form: FormatOption = Format.TABLE) -> int:
    """Recompute everything from the sources and compare it with what is stored; exit 1 names each difference."""
    settings = _settings(database_url)
    with _opened(settings, must_exist=True) as connection, _progress("verifying") as tell:
        tell("verifying", None)
        rows = [asdict(difference) for difference in reconciliation_engine.verify(connection)]
    _print_rows(rows, form, show.verify_differences(rows), ["what", "id", "detail"])
    return 1 if rows else 0


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
    """Write everything to the database file and give back the space of removed rows."""
    settings = _settings(database_url)
    path = settings_module.database_path(settings)
    with _opened(settings, must_exist=True) as connection, _progress("compacting") as tell:
        tell("compacting", None)
        before = path.stat().st_size if path else 0
        connection.rollback()
        with connection.begin():
            connection.exec_driver_sql("vacuum")
        connection.connection.driver_connection.execute("force checkpoint")  # type: ignore[union-attr]
        after = path.stat().st_size if path else 0
    _write(f"{before:,} bytes before, {after:,} after")


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
