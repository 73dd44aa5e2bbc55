"""Put rows into a database as a file would, run, and read the answers back in the reference model's words."""

import datetime as dt
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection

from abr import database, loading, reconciliation_engine
from abr.models import METADATA
from abr.settings import Thresholds
from tests.reference_model import Result

AS_OF = dt.date(2026, 3, 31)
NOW = dt.datetime(2026, 3, 31, 12, 0)
DEFAULT = Thresholds(Decimal("1500.00"))
# Of how many drawn firms the property that is tested most is tested, where somebody asks for many; the others in
# proportion to what one costs. Asked for none, each is tested of as few as keep the tests quick.
EXAMPLES = int(os.environ.get("ABR_TEST_EXAMPLES", "0"))


def examples(share: float, *, at_least: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what makes a test a property that is tested with this share of EXAMPLES, and with `at_least` so many."""
    counted = settings(
        max_examples=max(int(EXAMPLES * share), at_least),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
        print_blob=True,
    )
    return lambda test: pytest.mark.drawn(counted(test))


@contextmanager
def fresh_database(url: str = "duckdb:///:memory:") -> Iterator[Connection]:
    """Yield a new database with ABR's schema."""
    with database.connect(url) as connection:
        yield connection


def wipe(connection: Connection) -> None:
    """Empty every table."""
    connection.rollback()
    with connection.begin():
        for table in METADATA.sorted_tables:
            connection.exec_driver_sql(f"delete from {table.fullname}")


def receive(
    connection: Connection,
    sources: Mapping[str, Sequence[Mapping[str, str | None]]],
    *,
    is_complete: bool = False,
    source: str = "canonical",
) -> loading.Loaded:
    """Load rows as a file of all-text cells would be."""
    connection.rollback()
    raw = connection.connection.driver_connection
    incoming = {}
    for dataset, rows in sources.items():
        cells = loading.cells_of(dataset)
        table = pa.table({cell: pa.array([row.get(cell) for row in rows], pa.string()) for cell in cells})
        raw.register("cells_as_given", table)
        raw.execute(f"create or replace temp table given_{dataset} as select * from cells_as_given")
        raw.unregister("cells_as_given")
        incoming[dataset] = f"given_{dataset}"
    with connection.begin():
        return loading.load(connection, incoming, source=source, is_complete=is_complete, now=NOW)


def run(
    connection: Connection,
    as_of: dt.date = AS_OF,
    thresholds: Thresholds = DEFAULT,
    *,
    settings: Mapping[str, str] | None = None,
    is_strict: bool = False,
    keeps_work_tables: bool = False,
) -> reconciliation_engine.Run:
    """Run one cycle. `keeps_work_tables`: leave in the work tables what it filled them with."""
    connection.rollback()
    return reconciliation_engine.run_once(
        connection,
        as_of,
        thresholds=thresholds,
        settings=settings or {},
        is_strict=is_strict,
        clock=lambda: NOW,
        empties_work_tables=not keeps_work_tables,
    )


def rows(connection: Connection, query: str) -> list[dict[str, object]]:
    """Return the rows of a query as dictionaries."""
    return [dict(row) for row in connection.exec_driver_sql(query).mappings()]


def answers(connection: Connection) -> dict[str, object]:
    """Return what the report schema says: counts, positions, findings and quarantine, as the model words them."""
    last = rows(connection, "select * from report.run_history where status = 'ok' order by run_id desc limit 1")[0]
    names = ("received", "quarantined", "excluded", "out_of_term", "eligible")
    positions = {}
    for row in rows(connection, "select * from report.contract_position"):
        row["unbilled_seconds"] = round(row.pop("unbilled_hours") * 3600)
        row["quarantined_seconds"] = round(row.pop("quarantined_hours") * 3600)
        positions[row.pop("contract_id")] = {
            name: value for name, value in row.items() if name not in ("client", "billing_model", "as_of", "run_id")
        }
    findings = {
        (row["contract_id"], row["class"], row["about"]): {
            "side": row["side"],
            "amount": row["amount"],
            "currency": row["currency"],
        }
        for row in rows(connection, "select * from report.finding")
    }
    quarantine = {
        tuple(row.values()) for row in rows(connection, "select entity, key, reason from report.quarantine_reason")
    }
    return {
        "counts": {name: last[f"logs_{name}"] for name in names},
        "positions": positions,
        "findings": findings,
        "quarantine": quarantine,
    }


def expected(result: Result) -> dict[str, object]:
    """Return the model's answers in the same shape."""
    return {
        "counts": dict(result.counts),
        "positions": result.positions,
        "findings": result.findings,
        "quarantine": result.quarantine,
    }


def differences(got: Mapping[str, object], want: Mapping[str, object]) -> list[str]:
    """Return one line per answer that differs, worded so that a failing test can be understood."""
    lines = []
    for part in want:
        left, right = got[part], want[part]
        if isinstance(left, set):
            lines += [f"{part}: views say {item}, model does not" for item in sorted(left - right)]
            lines += [f"{part}: model says {item}, views do not" for item in sorted(right - left)]
            continue
        for key in sorted(left.keys() | right.keys(), key=str):
            a, b = left.get(key), right.get(key)
            if isinstance(a, dict) and isinstance(b, dict):
                lines += [
                    f"{part} {key} {name}: views {a[name]}, model {b.get(name)}"
                    for name in a
                    if name in b and not _same(a[name], b[name])
                ]
            elif a != b:
                lines.append(f"{part} {key}: views {a}, model {b}")
    return lines


def _same(a: object, b: object) -> bool:
    return Decimal(a) == Decimal(b) if isinstance(a, Decimal) and isinstance(b, Decimal) else a == b
