"""What ABR costs as the books grow: a firm of so many logs is built, loaded, run, and then measured from every side.

Every step runs in a process of its own, so that one's memory is not counted as another's. What is built is kept and
never touched: the measures are taken on a copy of it. Arrivals are drawn from a seed of their own.
"""

import contextlib
import datetime as dt
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from abr import data_simulator, database, loading, publishing, reconciliation_engine
from tests import command_line, reference_model
from tests.benchmarks import firm

ROOT = Path(__file__).parents[2]
LOGS_PER_CONTRACT = 2_000
KINDS = {"steady": firm.STEADY, "burst": firm.BURST, "nothing": (0, 0)}
INTERVAL_SECONDS = 5.0
POLARS_ROUNDS = 5
DIFFERENCES_SHOWN = 20
SAMPLE = 500  # contracts
# For what looks at everything, and for cycles with little memory: ABR_MEMORY_LIMIT, as a user would set it. Half a
# GB is held beside what it limits.
MEMORY_LIMIT, LITTLE_MEMORY, LITTLE_MEMORY_OF_MANY = "7GB", "500MB", "2GB"
MANY = 50_000_000  # logs

Measures = dict[str, Any]


def measured(folder: Path, logs: int, *, cycles: int) -> Measures:
    """Build the firm in the folder unless it is there, measure everything, and return the raw numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{logs:,} logs"
    little = LITTLE_MEMORY if logs < MANY else LITTLE_MEMORY_OF_MANY
    built = _built(folder, logs, name)
    as_of = dt.date.fromisoformat(built["until"])
    path = folder / "measured.duckdb"
    _remove(path)
    with doing(f"{name}: copying the database"):
        shutil.copyfile(folder / "abr.duckdb", path)
    steps: Mapping[str, Callable[[], Measures | None]] = {
        "cycles": lambda: {kind: apart(_cycles, path, as_of, kind, cycles, name) for kind in KINDS},
        "limited": lambda: apart(_cycles, path, as_of, "steady", cycles, f"{name}, {little}", little),
        "everything": lambda: apart(_everything, path, as_of, name),
        "views": lambda: apart(_views, path, as_of, name),
        "polars": lambda: _polars_if_it_fits(path, name),
        "inbox": lambda: _inbox(path, as_of, cycles, name),
        "verify": lambda: apart(_verify, path, name),
    }
    found: Measures = {"logs": logs, "built": built}
    try:
        for step, measure in steps.items():
            found[step] = measure()
            # What took hours is not lost when a later step runs out of memory, or of its user's patience.
            (folder / "measured.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        return found
    finally:
        _remove(path)


# ---- processes and progress -----------------------------------------------------------------------------------------


def apart(work: Callable[..., Measures], *arguments: object) -> Measures:
    """Return what the work measured in a new process, and the most memory that process held."""
    context = multiprocessing.get_context("spawn")  # a fork would start with this process's memory
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        return processes.submit(_with_peak, work, arguments).result()


def _with_peak(work: Callable[..., Measures], arguments: tuple[object, ...]) -> Measures:
    found = work(*arguments)
    return found | {"peak_bytes": firm.peak_bytes(resource.getrusage(resource.RUSAGE_SELF))}


@contextlib.contextmanager
def doing(what: str, *, has_bar: bool = True) -> Iterator[Callable[[float], None]]:
    """Say on stderr what is done and how long it took; on a terminal also how far it is, which is told 0 to 1."""
    console = Console(stderr=True, highlight=False)
    started = time.perf_counter()
    if console.is_terminal and has_bar:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda share: bar.update(task, total=1, completed=share)
    else:
        console.print(f"{what} ...")
        yield lambda share: None
    console.print(f"{what}: {time.perf_counter() - started:,.1f} s")


# ---- building -------------------------------------------------------------------------------------------------------


def _built(folder: Path, logs: int, name: str) -> Measures:
    """Return what building the data and its database took, now or when that was done.

    The data are made anew when the simulator has changed since, the database when what is stored has.
    """
    record = folder / "built.json"
    known: Measures = json.loads(record.read_text()) if record.exists() else {}
    simulator = _digest(Path(data_simulator.__file__))
    storage = _digest(*sorted((ROOT / "migrations").rglob("*.py")), ROOT / "abr/loading.py")
    storage += f" for DuckDB {database.STORAGE_VERSION}, blocks of {database.BLOCK_BYTES}"
    if known.get("simulator") != simulator:
        record.unlink(missing_ok=True)
        known = {"simulator": simulator, "until": str(reconciliation_engine.utc_now().date())}
        known["simulate"] = _simulated(folder / "books", logs, dt.date.fromisoformat(known["until"]), name)
        record.write_text(json.dumps(known, indent=2))
    if known.get("storage") != storage:
        path = folder / "abr.duckdb"
        _remove(path)
        as_of = dt.date.fromisoformat(known["until"])
        known["load"] = apart(_loaded, path, folder / "books", name)
        known["first_run"] = apart(_first_run, path, as_of, name)
        known["database_bytes"] = path.stat().st_size
        known |= {"storage": storage, "engine": _digest_of_engine()}
        record.write_text(json.dumps(known, indent=2))
    return known | {"is_of_this_engine": known["engine"] == _digest_of_engine()}


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _digest_of_engine() -> str:
    """Return what tells one state of the program from another, as far as loading and the first run go."""
    return _digest(*sorted((ROOT / "abr").rglob("*.py")), *sorted((ROOT / "sql").rglob("*.sql")))


def _remove(path: Path) -> None:
    """Remove a database and everything beside it that is named after it."""
    for found in path.parent.glob(f"{path.name}*"):
        if found.is_dir():
            shutil.rmtree(found)
        else:
            found.unlink()


def _simulated(folder: Path, logs: int, until: dt.date, name: str) -> Measures:
    contracts = max(logs // LOGS_PER_CONTRACT, 1)
    started = time.perf_counter()
    with doing(f"{name}: abr simulate", has_bar=False):  # it has its own
        peak_bytes = firm.simulate(folder, logs=logs, contracts=contracts, until=until, files="parquet")
    return {
        "seconds": time.perf_counter() - started,
        "peak_bytes": peak_bytes,
        "contracts": contracts,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def _loaded(path: Path, books: Path, name: str) -> Measures:
    """Load one data set after the other: a load of all of them keeps what it has read, on disk, until it ends."""
    files = [books / f"{dataset}.parquet" for dataset in loading.DATASETS]
    rows = 0
    with (
        database.connect(f"duckdb:///{path}", memory_limit=MEMORY_LIMIT) as connection,
        doing(f"{name}: loading") as tell,
    ):
        started = time.perf_counter()
        for place, file in enumerate(files):
            loaded = firm.load(
                connection, file, progress=lambda _, done, place=place: tell((place + done / 100) / len(files))
            )
            rows += sum(count.read for count in loaded.counts)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "rows": rows}


def _first_run(path: Path, as_of: dt.date, name: str) -> Measures:
    """Run once over everything; say also what the firm turned out to be, from the tables the run has filled."""
    with database.connect(f"duckdb:///{path}", memory_limit=MEMORY_LIMIT) as connection:
        with doing(f"{name}: first run") as tell:
            started = time.perf_counter()
            run = firm.run(connection, as_of, progress=lambda done, total: tell(done / total))
            seconds = time.perf_counter() - started
        findings = connection.exec_driver_sql("select count(*) from audit.finding_open").scalar_one()
        # What the firm is, a few hundred of its contracts tell.
        connection.exec_driver_sql(
            "insert into source.change (kind, id) select 'contract', contract_id from source.contracts "
            f"order by contract_id limit {SAMPLE}"
        )
        reconciliation_engine.scope_to_changes(connection)
        reconciliation_engine.fill_work_tables(connection)
        firm_is = connection.exec_driver_sql(
            "select count(*) filter (billed_seconds > 0) / count(*) as billed_share, "
            "count(*) filter (billed_seconds > 0 and row_id in (select row_id from temp.pooled_log)) "
            "/ count(*) filter (billed_seconds > 0) as pooled_share, "
            "(select count(*) filter (coalesce(cap_minutes, cap_amount, prepaid_minutes) is not null) / count(*) "
            "from source.contracts) as capped_or_prepaid_share from temp.billed_log"
        ).one()
        connection.rollback()
    return {
        "seconds": seconds,
        "logs_eligible": run.logs_eligible,
        "logs_quarantined": run.logs_quarantined,
        "findings": findings,
        **firm_is._mapping,
    }


# ---- measuring ------------------------------------------------------------------------------------------------------


def _cycles(path: Path, as_of: dt.date, kind: str, cycles: int, name: str, memory_limit: str | None = None) -> Measures:
    """Time cycles as the monitor makes them, every five seconds to their own clock, alone and with publishing.

    What the monitor does after a cycle, while nobody waits, is timed by itself (`tidied_ms`).
    """
    chance = random.Random(f"{kind} {memory_limit}")  # the same logs again would be nothing new
    beats = itertools.count(time.monotonic(), INTERVAL_SECONDS)
    with (
        database.connect(f"duckdb:///{path}", memory_limit=memory_limit) as connection,
        publishing.publisher(connection, path, tell=print) as publisher,
        doing(f"{name}: {cycles} cycles after {KINDS[kind][0]:,} new logs") as tell,
    ):
        database.tidies(connection)
        publisher.tidies = True

        def cycle() -> tuple[float, float, float, float]:
            if any(KINDS[kind]):
                firm.add_logs(connection, *KINDS[kind], chance=chance, as_of=as_of)
            started, worked = time.perf_counter(), time.process_time()
            firm.run(connection, as_of, empties_work_tables=False)
            ran = time.perf_counter()
            publishing.publish_if_due(publisher, now=reconciliation_engine.utc_now(), clock=lambda: next(beats))
            published, worked = time.perf_counter(), time.process_time() - worked
            reconciliation_engine.tidy(connection, publisher, now=reconciliation_engine.utc_now())
            tidied = time.perf_counter()
            return (ran - started) * 1000, (published - started) * 1000, worked * 1000, (tidied - published) * 1000

        started = time.perf_counter()
        publishing.publish(publisher, now=reconciliation_engine.utc_now())
        start_seconds = time.perf_counter() - started
        timed = []
        for number in range(firm.WARM_UP + cycles):
            timed.append(cycle())
            tell((number + 1) / (firm.WARM_UP + cycles))
    # The processor's time tells a busy machine from slow code.
    names = ("alone_ms", "published_ms", "processor_ms", "tidied_ms")
    return {"first_publish_seconds": start_seconds} | {
        name: list(values) for name, values in zip(names, zip(*timed[firm.WARM_UP :], strict=True), strict=True)
    }


def _everything(path: Path, as_of: dt.date, name: str) -> Measures:
    """Time the cycle after a new log in every contract there is."""
    with database.connect(f"duckdb:///{path}", memory_limit=MEMORY_LIMIT) as connection:
        contracts = connection.exec_driver_sql("select count(distinct contract_id) from source.projects").scalar_one()
        firm.add_logs(connection, contracts, contracts, chance=random.Random(0), as_of=as_of)
        with doing(f"{name}: every contract touched at once") as tell:
            started = time.perf_counter()
            firm.run(connection, as_of, progress=lambda done, total: tell(done / total))
            return {
                "seconds": time.perf_counter() - started,
                "contracts": contracts,
            }


def _views(path: Path, as_of: dt.date, name: str) -> Measures:
    """Time our own views, asked for everything, of which nothing is written."""
    with (
        database.connect(f"duckdb:///{path}", memory_limit=MEMORY_LIMIT) as connection,
        doing(f"{name}: our views, asked for everything") as tell,
    ):
        started = time.perf_counter()

        def begin() -> None:
            reconciliation_engine.set_inputs(connection, as_of, firm.SETTINGS.threshold_amount)

        for batches_left in reconciliation_engine.batches(connection, begin, touches_everything=True):
            reconciliation_engine.fill_work_tables(connection)
            tell(1 / batches_left)
        seconds = time.perf_counter() - started
    return {"seconds": seconds}


def _polars_if_it_fits(path: Path, name: str) -> Measures | None:
    """Return what the rival took; None where the frames, or what it makes of them, do not fit in memory."""
    try:
        return apart(_polars, path, name)
    except (BrokenProcessPool, MemoryError, duckdb.OutOfMemoryException):
        Console(stderr=True, highlight=False).print(f"{name}: the frames do not fit in memory; no report by Polars")
        return None


def _polars(path: Path, name: str) -> Measures:
    # Without a limit it would be the machine that runs out of memory, and something else that is killed for it.
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes * 9 // 10, resource.RLIM_INFINITY))
    with doing(f"{name}: reading frames for Polars"), duckdb.connect(str(path), read_only=True) as connection:
        given = firm.frames(connection)
    with doing(f"{name}: the report by Polars") as tell:
        taken = []
        for number in range(POLARS_ROUNDS + 1):
            started = time.perf_counter()
            firm.polars_report(given)
            taken.append((time.perf_counter() - started) * 1000)
            tell((number + 1) / (POLARS_ROUNDS + 1))
    return {"ms": taken[1:], "frame_bytes": sum(frame.estimated_size() for frame in given.values())}


def _inbox(path: Path, as_of: dt.date, files: int, name: str) -> Measures:
    """Time a monitor in a process of its own, from a file that lies in its inbox to the run that has taken it in.

    A run is told by the line the monitor prints: by then its findings are committed and published.
    """
    chance = random.Random("inbox")
    inbox = path.with_name(path.name + ".inbox")
    inbox.mkdir()
    with duckdb.connect(str(path), read_only=True) as connection:
        arrivals = [firm.arriving_logs(connection, *firm.BURST, chance=chance, as_of=as_of) for _ in range(files)]
    with tempfile.TemporaryFile("w+") as talk, doing(f"{name}: a monitor and {files} files in its inbox") as tell:
        monitor = command_line.started(
            "monitor", "--source", "inbox", "--database", path, "--threshold", firm.SETTINGS.threshold_amount,
            "--interval", INTERVAL_SECONDS, stderr=talk, cwd=path.parent,
            env=command_line.environment(ABR_TIME_ZONE=firm.SETTINGS.time_zone),
        )  # fmt: skip
        try:
            received = _logs_received(monitor.stdout, 0, talk)
            seconds = []
            for number, rows in enumerate(arrivals):
                time.sleep(chance.random() * INTERVAL_SECONDS)
                half = command_line.write_csv(inbox / ".half.csv", reference_model.COLUMNS["time_logs"], rows)
                half.rename(inbox / f"time_logs-{number}.csv")
                started = time.perf_counter()
                received = _logs_received(monitor.stdout, received + len(rows), talk)
                seconds.append(time.perf_counter() - started)
                tell((number + 1) / files)
        finally:
            monitor.terminate()
            monitor.wait(600)
    return {"seconds": seconds, "logs": firm.BURST[0], "interval_seconds": INTERVAL_SECONDS}


def _logs_received(lines: Iterator[str], wanted: int, talk: Any) -> int:
    """Read what a monitor prints until a run has received that many logs; return how many it has."""
    for line in lines:
        told = re.match(r"run .* ([\d,]+) logs = ", line)
        if told and int(told[1].replace(",", "")) >= wanted:
            return int(told[1].replace(",", ""))
    talk.seek(0)
    raise SystemExit(f"the monitor ended without taking the file in:\n{talk.read()}")


def _verify(path: Path, name: str) -> Measures:
    with database.connect(f"duckdb:///{path}", memory_limit=MEMORY_LIMIT) as connection, doing(f"{name}: abr verify"):
        started = time.perf_counter()
        found = reconciliation_engine.verify(connection)
        seconds = time.perf_counter() - started
    shown = [f"{one.what} {one.id}: {one.detail}" for one in found[:DIFFERENCES_SHOWN]]
    return {"seconds": seconds, "difference_count": len(found), "differences": shown}


def machine() -> Mapping[str, object]:
    """Return what the numbers depend on besides the program."""
    return {
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "duckdb": duckdb.__version__,
    }
