"""What publishing 1,000 changed rows costs, by size of history: pytest -n 0 -s tests/benchmarks/bench_publishing.py

Not part of the default suite, because machines are noisy. ABR_BENCHMARK_AUDIT_ROWS sets other sizes, comma-separated.
Every finding stays open and the changed ones lie scattered: the hardest case for the open state.
"""

import datetime as dt
import os
import statistics
import time

import pytest

from abr import database, publishing
from tests.benchmarks import firm

SIZES = [int(size) for size in os.environ.get("ABR_BENCHMARK_AUDIT_ROWS", "100000,1000000,10000000").split(",")]
CHANGED = 1_000
ROUNDS = 60  # each generation merges row groups and, below 10M rows, settles within them
NOW = dt.datetime(2026, 3, 31, 12, 0)
P50_MS_MAX = 100
FLAT = 1.5


def add_run(connection, run_id: int, findings: str) -> None:
    """Let a run write a version of each of these findings, and renew the open state as the engine does."""
    run = connection.exec_driver_sql
    with connection.begin():
        run(
            f"insert into audit.run by name select {run_id} as run_id, date '2026-03-31' as as_of, "
            f"timestamp '2026-03-31' + interval ({run_id}) second as started_at, "
            f"timestamp '2026-03-31' + interval ({run_id}) second as finished_at, 'ok' as status, 5 as duration_ms"
        )
        run(f"create or replace temp table n as select n from ({findings}) as t(n)")
        run(
            "insert into audit.finding by name select "
            f"{run_id} as run_id, 1 as opened_run_id, right(md5(n::varchar), 16) as finding_id, "
            "(n % 5000)::integer as home_hash, "
            "concat('C-', n % 5000) as contract_id, concat('Client ', n % 700) as client, 'EUR' as currency, "
            "'leakage' as side, 'unbilled' as class, concat('log:', n) as about, "
            "concat('P-', n % 9000) as project_id, concat('person ', n % 300) as person, "
            "date '2026-01-01' + (n % 90)::integer as worked_on, n % 30000 as seconds, 100.5 as hourly_rate, "
            "n % 1000 + 0.25 as expected_amount, 0 as billed_amount, n % 1000 + 0.25 as amount, 'open' as state from n"
        )
        run("delete from audit.finding_open where finding_id in (select right(md5(n::varchar), 16) from n)")
        run(
            "insert into audit.finding_open by name select * exclude (state) from audit.finding "
            f"where run_id = {run_id}"
        )


def costs_ms(folder, size: int) -> tuple[list[float], list[float]]:
    """Return what each publish took, by the clock and of the processor: a busy machine stretches only the first."""
    with database.connect(f"duckdb:///{folder}/abr.duckdb") as connection:
        add_run(connection, 1, f"select n from range({size}) as r(n)")
        connection.connection.driver_connection.execute("checkpoint")
        connection.rollback()
        taken, worked = [], []
        with publishing.publisher(connection, folder / "abr.duckdb", tell=print) as publisher:
            started = time.perf_counter()
            publishing.publish(publisher, now=NOW)
            print(f"\n{size:,} audit rows: built in {time.perf_counter() - started:.1f} s", end="")
            for number in range(ROUNDS + firm.WARM_UP):
                step = size // CHANGED
                add_run(
                    connection, number + 2, f"select (i * {step} + {number} % {step}) from range({CHANGED}) as r(i)"
                )
                started, processor = time.perf_counter(), time.process_time()
                publishing.publish(publisher, now=NOW)
                taken.append((time.perf_counter() - started) * 1000)
                worked.append((time.process_time() - processor) * 1000)
                assert publisher.published_run_id == number + 2
            size_mb = publishing.file_of(folder / "abr.duckdb").stat().st_size / 1e6
            print(f", {size_mb:,.0f} MB; then ms: {' '.join(f'{each:.0f}' for each in taken)}")
    return taken[firm.WARM_UP :], worked[firm.WARM_UP :]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return {size: costs_ms(tmp_path_factory.mktemp(f"audit{size}"), size) for size in SIZES}


def test_publishing_costs_what_changed_and_not_what_there_is(measured):
    for size, (taken, worked) in measured.items():
        print(
            f"{size:>12,} audit rows: p50 {firm.p50(taken):5.1f} ms, mean {statistics.mean(taken):5.1f} ms, "
            f"max {max(taken):5.1f} ms; processor p50 {firm.p50(worked):5.1f} ms, "
            f"mean {statistics.mean(worked):5.1f} ms"
        )
    worked_p50 = [firm.p50(worked) for _, worked in measured.values()]
    assert max(worked_p50) <= FLAT * min(worked_p50)
    assert firm.p50(measured[max(SIZES)][0]) <= P50_MS_MAX
