"""How fast the main job is, at a million logs: python -m tests.benchmarks speed

That command starts itself as the command abr does, with settings of its allocators (abr/__main__.py).
Not part of the default suite, because machines are noisy. What is compared is compared in one run.
ABR_BENCHMARK_LOGS sets another size.
"""

import os
import random
from pathlib import Path

import duckdb
import pytest

from abr import database
from abr.__main__ import is_tuned
from tests.benchmarks import firm

LOGS = int(os.environ.get("ABR_BENCHMARK_LOGS", "1000000"))
CONTRACTS = max(LOGS // 500, 10)
CYCLES = 20


@pytest.fixture(scope="session", autouse=True)
def _tuned_as_the_command_is():
    if not is_tuned():
        pytest.exit("the command abr tunes its allocators, and so does: python -m tests.benchmarks speed", 1)


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
        firm.load(connection, books)
        firm.run(connection)
        yield connection


def simulate(folder: Path) -> None:
    firm.simulate(folder, logs=LOGS, contracts=CONTRACTS)


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

    benchmark.pedantic(firm.load, setup=fresh, rounds=3)
    for manager in managers:
        manager.__exit__(None, None, None)


def test_first_run(benchmark, books, tmp_path):
    with database.connect(f"duckdb:///{tmp_path}/abr.duckdb") as connection:
        firm.load(connection, books)
        first = benchmark.pedantic(firm.run, args=(connection,), rounds=1)
        assert first.logs_received == LOGS


@pytest.mark.parametrize(("logs", "contracts"), [firm.BURST, firm.STEADY])
def test_cycle_after_new_logs(benchmark, opened, logs, contracts):
    chance = random.Random(logs)

    def arrive():
        firm.add_logs(opened, logs, contracts, chance=chance, as_of=firm.AS_OF)
        return (opened,), {}

    benchmark.pedantic(firm.run, setup=arrive, rounds=CYCLES, warmup_rounds=1)


def test_cycle_without_anything_new(benchmark, opened):
    benchmark.pedantic(firm.run, args=(opened,), rounds=CYCLES, warmup_rounds=1)


def test_polars_recomputes_the_simple_case(benchmark, opened):
    opened.rollback()
    frames = firm.frames(opened.connection.driver_connection)
    benchmark.pedantic(firm.polars_report, args=(frames,), rounds=CYCLES, warmup_rounds=1)
