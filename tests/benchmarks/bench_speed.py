"""How fast the main job is, at a million logs: pytest -n 0 tests/benchmarks/bench_speed.py

Not part of the default suite, because machines are noisy. What is compared is compared in one run.
ABR_BENCHMARK_LOGS sets another size.
"""

import datetime as dt
import os
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from abr import database, formats, loading, reconciliation_engine
from abr.settings import Thresholds

LOGS = int(os.environ.get("ABR_BENCHMARK_LOGS", "1000000"))
CONTRACTS = max(LOGS // 500, 10)
AS_OF = dt.date(2026, 3, 31)
NOW = dt.datetime(2026, 3, 31, 12, 0)
THRESHOLDS = Thresholds(Decimal("1500.00"))
CYCLES = 20


@pytest.fixture(scope="session")
def books(tmp_path_factory) -> Path:
    """Return a folder with the simulated firm as canonical CSV files."""
    folder = tmp_path_factory.mktemp("books")
    simulate(folder)
    return folder


@pytest.fixture(scope="session")
def opened(books, tmp_path_factory):
    """Yield a connection to a database that holds the firm and has run once."""
    with database.connect(f"duckdb:///{tmp_path_factory.mktemp('database')}/abr.duckdb") as connection:
        load(connection, books)
        run(connection)
        yield connection


def simulate(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "abr", "simulate", "--logs", str(LOGS), "--contracts", str(CONTRACTS), "--days", "365",
         "--until", str(AS_OF), "--out", str(folder)],
        check=True,
        capture_output=True,
    )  # fmt: skip


def load(connection, path: Path) -> loading.Loaded:
    connection.rollback()
    reading = formats.read(connection.connection.driver_connection, [path])
    with connection.begin():
        return loading.load(
            connection, {part.dataset: part.relation for part in reading.incoming}, source="canonical", now=NOW
        )


def run(connection) -> reconciliation_engine.Run:
    connection.rollback()
    return reconciliation_engine.run_once(connection, AS_OF, thresholds=THRESHOLDS, settings={})


def test_simulate(benchmark, tmp_path):
    benchmark.pedantic(simulate, args=(tmp_path,), rounds=1)


def test_duckdb_reads_the_time_log_csv(benchmark, books, tmp_path):
    def read(connection):
        connection.execute(f"create table logs as select * from read_csv('{books}/time_logs.csv')")
        connection.execute("checkpoint")

    numbers = iter(range(100))
    benchmark.pedantic(read, setup=lambda: ((duckdb.connect(str(tmp_path / f"{next(numbers)}.duckdb")),), {}), rounds=3)


def test_abr_loads_the_time_log_csv(benchmark, books, tmp_path):
    numbers = iter(range(100))
    managers = []

    def fresh():
        manager = database.connect(f"duckdb:///{tmp_path}/{next(numbers)}.duckdb")
        managers.append(manager)
        return (manager.__enter__(), books / "time_logs.csv"), {}

    benchmark.pedantic(load, setup=fresh, rounds=3)
    for manager in managers:
        manager.__exit__(None, None, None)


def test_first_run(benchmark, books, tmp_path):
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        load(connection, books)
        first = benchmark.pedantic(run, args=(connection,), rounds=1)
        assert first.logs_received == LOGS


def add_logs(connection, count: int, contracts: int) -> None:
    """Add logs to contracts drawn at random."""
    connection.rollback()
    chosen = connection.exec_driver_sql(
        "select project_id from (select contract_id, min(project_id) as project_id "
        "from source.projects where ended_load_id is null group by 1) "
        f"order by hash(project_id || '{random.random()}') limit {contracts}",
    ).fetchall()
    connection.rollback()
    # As the monitor does: on a connection of its own, so that its temp tables do not make the run's plans stale.
    own = connection.engine.connect()
    cells = ", ".join(f"null::varchar as {cell}" for cell in loading.cells_of("time_logs"))
    rows = " union all ".join(
        f"select '{random.getrandbits(128):032x}', '{project[0]}', 'Nora Ahmed', '2026-03-30', '3600' "
        f"from range({count // contracts})"
        for project in chosen
    )
    driver = own.connection.driver_connection
    driver.execute(f"create or replace temp table arriving as select {cells} limit 0")
    driver.execute(
        "insert into arriving by name select id || '-' || row_number() over () as time_log_id, project_id, person, "
        f"worked_on, seconds from ({rows}) as t(id, project_id, person, worked_on, seconds)"
    )
    with own.begin():
        loading.load(own, {"time_logs": "arriving"}, source="canonical", now=NOW)
    own.close()


@pytest.mark.parametrize(("count", "contracts"), [(1000, 100), (20, 10)])
def test_cycle_after_new_logs(benchmark, opened, count, contracts):
    def arrive():
        add_logs(opened, count, contracts)
        return (opened,), {}

    benchmark.pedantic(run, setup=arrive, rounds=CYCLES, warmup_rounds=1)


def test_cycle_without_anything_new(benchmark, opened):
    benchmark.pedantic(run, args=(opened,), rounds=CYCLES, warmup_rounds=1)


def test_polars_recomputes_the_simple_case(benchmark, opened):
    """Unbilled hours times rate, over the threshold, from frames in memory: no terms, no history, no reasons."""
    opened.rollback()
    driver = opened.connection.driver_connection
    logs = driver.sql("select time_log_id, project_id, worked_on, seconds from source.time_logs").pl()
    projects = driver.sql("select project_id, min(contract_id) as contract_id from source.projects group by 1").pl()
    rates = driver.sql("select contract_id, max(hourly_rate) as hourly_rate from source.rates group by 1").pl()
    billed = driver.sql("select distinct time_log_id from source.invoice_lines where time_log_id is not null").pl()

    def recompute() -> pl.DataFrame:
        return (
            logs.lazy()
            .join(billed.lazy(), on="time_log_id", how="anti")
            .join(projects.lazy(), on="project_id")
            .join(rates.lazy(), on="contract_id")
            .with_columns((pl.col("seconds") * pl.col("hourly_rate") / 3600).alias("amount"))
            .group_by("contract_id")
            .agg(pl.col("amount").sum(), pl.col("seconds").sum())
            .filter(pl.col("amount") > 1500)
            .collect()
        )

    benchmark.pedantic(recompute, rounds=CYCLES, warmup_rounds=1)
