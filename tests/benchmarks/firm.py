"""What every benchmark does with a simulated firm: make it, load it, run, let logs arrive; and the rival's report.

One place for it, so that two benchmarks that say the same words mean the same work.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from sqlalchemy import Connection

from abr import formats, loading, reconciliation_engine
from abr import settings as settings_module
from tests import command_line

if TYPE_CHECKING:
    import polars as pl

AS_OF = dt.date(2026, 3, 31)  # where a benchmark names no other day
SETTINGS = settings_module.load_settings({"threshold_amount": "1500.00", "time_zone": "UTC"})
RESULT_SETTINGS = settings_module.result_settings(SETTINGS)
WARM_UP = 4  # the first publications make the generations, the first cycles the plans
# What arrives in a cycle: logs, and the contracts they fall on.
STEADY = (20, 10)
BURST = (1_000, 100)


def simulate(folder: Path, *, logs: int, contracts: int, until: dt.date = AS_OF, files: str = "csv") -> int:
    """Write a firm into the folder as `abr simulate` does; return the peak memory of that process, in bytes."""
    with command_line.started(
        "simulate", "--logs", logs, "--contracts", contracts, "--days", 365, "--until", until, "--out", folder,
        "--files", files, stdout=subprocess.DEVNULL, stderr=None,
    ) as process:  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"abr simulate ended with {process.returncode}")
    return peak_bytes(usage)


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Return the most memory a process held, in bytes: Linux counts in kilobytes, macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def load(connection: Connection, path: Path, *, progress: formats.Progress | None = None) -> loading.Loaded:
    """Load a file or folder as `abr load` does."""
    connection.rollback()
    reading = formats.read(connection.connection.driver_connection, [path], progress=progress)
    with connection.begin():
        return loading.load(
            connection,
            {part.dataset: part.relation for part in reading.incoming},
            source="canonical",
            now=reconciliation_engine.utc_now(),
        )


def run(
    connection: Connection,
    as_of: dt.date = AS_OF,
    *,
    progress: Callable[[int, int], object] | None = None,
    empties_work_tables: bool = True,
) -> reconciliation_engine.Run:
    """Make one cycle, or those that much work takes, with the settings a monitor has that was told nothing."""
    connection.rollback()

    def once(told: reconciliation_engine.Progress) -> reconciliation_engine.Run:
        return reconciliation_engine.run_once(
            connection,
            as_of,
            thresholds=SETTINGS.threshold_amount,
            settings=RESULT_SETTINGS,
            progress=told,
            empties_work_tables=empties_work_tables,
        )

    return reconciliation_engine.run_all(connection, once, progress)


def arriving_logs(
    driver: duckdb.DuckDBPyConnection, logs: int, contracts: int, *, chance: random.Random, as_of: dt.date
) -> list[Mapping[str, str]]:
    """Return new logs, an hour each of the day before, on contracts drawn at random, or on all if there are fewer."""
    projects = driver.execute(
        "select min(project_id) from source.projects where ended_load_id is null and contract_id is not null "
        "group by contract_id order by 1"
    ).fetchall()
    drawn = chance.sample(projects, min(contracts, len(projects)))
    return [
        {
            "time_log_id": f"{chance.getrandbits(104):026X}",
            "project_id": drawn[number % len(drawn)][0],
            "person": "Nora Ahmed",
            "worked_on": str(as_of - dt.timedelta(days=1)),
            "seconds": "3600",
        }
        for number in range(logs)
    ]


def add_logs(connection: Connection, logs: int, contracts: int, *, chance: random.Random, as_of: dt.date) -> None:
    """Load new logs, as the monitor does: on a connection of its own, so that the run's plans do not become stale."""
    connection.rollback()
    with connection.engine.connect() as own:
        driver = own.connection.driver_connection
        rows = arriving_logs(driver, logs, contracts, chance=chance, as_of=as_of)
        cells = ", ".join(
            name if name in rows[0] else f"null::varchar as {name}" for name in loading.cells_of("time_logs")
        )
        driver.register("arrived", pa.Table.from_pylist(rows))
        driver.execute(f"create or replace temp table arriving as select {cells} from arrived")
        driver.unregister("arrived")
        with own.begin():
            loading.load(own, {"time_logs": "arriving"}, source="canonical", now=reconciliation_engine.utc_now())


def frames(driver: duckdb.DuckDBPyConnection) -> dict[str, pl.DataFrame]:
    """Return what the rival's report reads, as frames in memory."""
    queries = {
        "logs": "select time_log_id, project_id, worked_on, seconds from source.time_logs where ended_load_id is null",
        "projects": "select project_id, min(contract_id) as contract_id from source.projects group by 1",
        "rates": "select contract_id, max(hourly_rate) as hourly_rate from source.rates group by 1",
        "billed": "select distinct time_log_id from source.invoice_lines where time_log_id is not null",
    }
    return {name: driver.sql(query).pl() for name, query in queries.items()}


def polars_report(given: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Recompute the simple case, unbilled hours times rate over the threshold: no terms, no history, no reasons."""
    import polars as pl  # noqa: PLC0415  whose 25 MB are not the monitor's

    return (
        given["logs"]
        .lazy()
        .join(given["billed"].lazy(), on="time_log_id", how="anti")
        .join(given["projects"].lazy(), on="project_id")
        .join(given["rates"].lazy(), on="contract_id")
        .with_columns((pl.col("seconds") * pl.col("hourly_rate") / 3600).alias("amount"))
        .group_by("contract_id")
        .agg(pl.col("amount").sum(), pl.col("seconds").sum())
        .filter(pl.col("amount") > 1500)
        .collect()
    )


def p50(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    """Return what 95 of 100 values do not exceed."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
